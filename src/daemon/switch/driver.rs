//! What drivers do to guests, each in a thread of its own, so that a slow one holds up nobody.
//!
//! Which act is due is decided from the record; whoever was killed has it done once more, and each
//! is to succeed if it is done already.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::base::Timestamp;
use crate::config::policy::{DriverPolicy, DriverWay};
use crate::lease::directory::{Party, Standby};

use super::super::hooks::{command, webhook};

/// Most bytes that are read of one answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// What finds `virsh`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a driver is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Bring over the last of the state.
    FinalPass,
    /// Have the standby go on.
    Wake,
    /// End the former active.
    End,
}

impl Deed {
    /// The word for logs, and what is posted.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Deed::FinalPass => "final-pass",
            Deed::Wake => "wake",
            Deed::End => "end",
        }
    }

    /// How a driver does it, if it does.
    pub(super) fn way(self, driver: &DriverPolicy) -> Option<&DriverWay> {
        match self {
            Deed::FinalPass => driver.final_pass.as_ref(),
            Deed::Wake => driver.wake.as_ref(),
            Deed::End => driver.end.as_ref(),
        }
    }
}

/// Does it, now, and says how it went: `Err` says why it failed.
pub(super) fn start(
    driver: &Arc<DriverPolicy>,
    pair: &Arc<Standby>,
    (deed, at): (Deed, Timestamp),
    done: impl FnOnce(Result<(), String>) + Send + 'static,
) -> io::Result<()> {
    let (driver, pair) = (driver.clone(), pair.clone());
    let work = move || {
        let since = Instant::now();
        let (standby, act) = (pair.id.clone(), deed.as_str());
        tracing::info!(%standby, driver = %driver.name, act, "begins");
        let result = run(&driver, &pair, (deed, at));
        let took_ms = since.elapsed().as_millis();
        match &result {
            Ok(()) => tracing::info!(%standby, driver = %driver.name, act, took_ms, "done"),
            Err(why) => {
                tracing::error!(%standby, driver = %driver.name, act, took_ms, %why, "failed");
            }
        }
        done(result);
    };
    std::thread::Builder::new().name("driver".into()).spawn(work).map(drop)
}

fn run(driver: &DriverPolicy, pair: &Standby, (deed, at): (Deed, Timestamp)) -> Result<(), String> {
    let Some(way) = deed.way(driver) else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let limit = Duration::from_millis(driver.timeout.0);
        let doing = carry_out(driver, way, pair, (deed, at));
        let timed = tokio::time::timeout(limit, doing).await;
        timed.unwrap_or_else(|_| Err(format!("not done in {}", driver.timeout)))
    })
}

async fn carry_out(
    driver: &DriverPolicy,
    way: &DriverWay,
    pair: &Standby,
    (deed, at): (Deed, Timestamp),
) -> Result<(), String> {
    match way {
        DriverWay::Command(argv) => {
            let argv: Result<Vec<Arc<str>>, String> =
                argv.iter().map(|text| fill(text, pair).map(Arc::from)).collect();
            command::run(&argv?, deed.as_str(), &body(pair, deed)).await
        }
        DriverWay::Virsh(domain) => virsh(&fill(domain, pair)?, deed).await,
        DriverWay::Qmp(path) => qmp(Path::new(&fill(path, pair)?), deed).await,
        DriverWay::Url { url, secret_file, ca_file } => {
            let secret = webhook::secret(secret_file)?;
            let body = body(pair, deed);
            let signed = webhook::sign(&secret, at.secs(), &body);
            let key = format!("{}-{}-{}", pair.id, pair.epoch, deed.as_str());
            let head = webhook::Head { hook: &driver.name, event: deed.as_str(), key, signed };
            webhook::post(url, ca_file.as_deref(), head, body).await.map_err(|why| why.to_string())
        }
    }
}

/// What is told of the pair.
fn body(pair: &Standby, deed: Deed) -> Vec<u8> {
    let party = |of: &Party| {
        let mac = of.who.mac.map(|mac| mac.to_string());
        json!({ "mac": mac, "port": of.port, "host": of.host })
    };
    let addresses: Vec<String> = pair.resources.iter().map(ToString::to_string).collect();
    let body = json!({
        "act": deed.as_str(),
        "id": pair.id,
        "epoch": pair.epoch,
        "addresses": addresses,
        "active": party(&pair.active),
        "standby": party(&pair.standby),
    });
    body.to_string().into_bytes()
}

/// A text with what its names in braces stand for. Nothing of a pair becomes an option by it.
fn fill(text: &str, pair: &Standby) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, (name, after))) =
        rest.split_once('{').and_then(|(before, after)| Some((before, after.split_once('}')?)))
    {
        filled.push_str(before);
        filled.push_str(&named(name, pair).ok_or_else(|| format!("the pair has no {name}"))?);
        rest = after;
    }
    filled.push_str(rest);
    match filled.starts_with('-') && !text.starts_with('-') {
        true => Err(format!("\"{filled}\" would be taken for an option")),
        false => Ok(filled),
    }
}

fn named(name: &str, pair: &Standby) -> Option<String> {
    let (party, of) = match name.split_once('.') {
        Some(("active", of)) => (&pair.active, of),
        Some(("standby", of)) => (&pair.standby, of),
        Some(_) => return None,
        None => {
            return match name {
                "id" => Some(pair.id.to_string()),
                "epoch" => Some(pair.epoch.to_string()),
                "addresses" => {
                    let all: Vec<String> = pair.resources.iter().map(ToString::to_string).collect();
                    Some(all.join(","))
                }
                _ => None,
            };
        }
    };
    match of {
        "mac" => party.who.mac.map(|mac| mac.to_string()),
        "port" => party.port.as_deref().map(str::to_owned),
        "host" => party.host.as_deref().map(str::to_owned),
        _ => None,
    }
}

/// Asks libvirt. What is so already is left as it is.
async fn virsh(domain: &str, deed: Deed) -> Result<(), String> {
    let ask = async |verb: &str| {
        let mut command = tokio::process::Command::new("virsh");
        command.args(["-q", verb, domain]).env_clear().env("PATH", PATH).env("LC_ALL", "C");
        command.stdin(Stdio::null()).kill_on_drop(true);
        let told = command.output().await.map_err(|error| format!("virsh: {error}"))?;
        match told.status.success() {
            true => Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned()),
            false => {
                let why = String::from_utf8_lossy(&told.stderr);
                Err(format!("virsh {verb} {domain}: {}", why.lines().next().unwrap_or_default()))
            }
        }
    };
    let (wanted, verb) = match deed {
        Deed::End => ("shut off", "destroy"),
        _ => ("running", "resume"),
    };
    if ask("domstate").await? == wanted {
        return Ok(());
    }
    ask(verb).await.map(drop)
}

/// Asks a QEMU by its monitor (QEMU Machine Protocol). One that quit has closed it.
async fn qmp(path: &Path, deed: Deed) -> Result<(), String> {
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let stream = match UnixStream::connect(path).await {
        // The socket is there, and nobody listens any more.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && deed == Deed::End => {
            return Ok(());
        }
        connected => connected.map_err(named)?,
    };
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read.take(ANSWER_BYTES_MAX)).lines();
    let verb = if deed == Deed::End { "quit" } else { "cont" };
    for verb in ["qmp_capabilities", verb] {
        let request = json!({ "execute": verb }).to_string() + "\n";
        write.write_all(request.as_bytes()).await.map_err(named)?;
        loop {
            let line = match lines.next_line().await {
                Ok(line) => line,
                // Who quits may do so before its answer was read.
                Err(error) if verb != "quit" => return Err(named(error)),
                Err(_) => None,
            };
            let Some(line) = line else {
                let ended = format!("{}: closed before an answer to {verb}", path.display());
                return if verb == "quit" { Ok(()) } else { Err(ended) };
            };
            let answer: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(error) = answer.get("error") {
                let why = error["desc"].as_str().unwrap_or_default();
                return Err(format!("{}: {verb}: {why}", path.display()));
            }
            if answer.get("return").is_some() {
                break;
            }
        }
    }
    // It has quit when its end of the connection is closed, and not before.
    while deed == Deed::End && matches!(lines.next_line().await, Ok(Some(_))) {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::NetworkId;
    use crate::config::policy::OnFailure;
    use crate::lease::directory::{Identifiers, StandbyState};

    fn pair(id: &str) -> Standby {
        let party = |last: u8, port: Option<&str>| Party {
            who: Identifiers {
                mac: Some(crate::base::Mac([2, 0, 0, 0, 0, last])),
                ..Identifiers::default()
            },
            port: port.map(Into::into),
            host: None,
        };
        Standby {
            id: id.into(),
            network: NetworkId(1),
            resources: vec!["10.0.0.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
            active: party(1, Some("tap1")),
            standby: party(2, None),
            hostname: None,
            account: None,
            application: None,
            instance: None,
            state: StandbyState::Ready,
            progress: 100,
            gated: true,
            epoch: 3,
            planned: None,
            on_failure: OnFailure::Alert,
            unfenced: false,
            told: Vec::new(),
            created: crate::base::Timestamp(0),
            changed: crate::base::Timestamp(0),
            until: crate::base::Timestamp::NEVER,
        }
    }

    #[test]
    fn names_stand_for_what_they_name_and_never_for_an_option() {
        let db = pair("db");
        let all = "{id}/{epoch} {active.mac}@{active.port} {addresses} {";
        let want = "db/3 02:00:00:00:00:01@tap1 10.0.0.7,2001:db8::7 {";
        assert_eq!(fill(all, &db).as_deref(), Ok(want));
        assert!(fill("{standby.port}", &db).unwrap_err().contains("standby.port"));
        assert!(fill("{id}", &pair("-rf")).is_err());
        assert_eq!(fill("--of={id}", &pair("-rf")).as_deref(), Ok("--of=-rf"));
    }
}
