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
use tokio::sync::oneshot;

use crate::base::Timestamp;
use crate::config::policy::{DriverPolicy, DriverWay};
use crate::lease::directory::{Party, Standby};

use super::super::hooks::{command, webhook};

/// Most bytes that are read of one answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Files as they are, what was deleted too, and how far all of it is.
const RSYNC: [&str; 7] =
    ["rsync", "-aHS", "--numeric-ids", "--delete", "--no-inc-recursive", "--info=progress2", "--"];
/// What finds `virsh`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a driver is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Make the standby, and have it boot.
    Create,
    /// Bring the state over while the active runs.
    Sync,
    /// Find out whether the standby is well.
    Check,
    /// Bring over the last of the state.
    FinalPass,
    /// Have the standby go on.
    Wake,
    /// End the former active.
    End,
    /// End a standby that is not needed.
    Discard,
}

impl Deed {
    /// The word for logs, and what is posted.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Deed::Create => "create",
            Deed::Sync => "sync",
            Deed::Check => "check",
            Deed::FinalPass => "final-pass",
            Deed::Wake => "wake",
            Deed::End => "end",
            Deed::Discard => "discard",
        }
    }

    /// How a driver does it, if it does.
    pub(super) fn way(self, driver: &DriverPolicy) -> Option<&DriverWay> {
        match self {
            Deed::Create => driver.create.as_ref(),
            Deed::Sync => driver.sync.as_ref(),
            Deed::Check => driver.check.as_ref(),
            Deed::FinalPass => driver.final_pass.as_ref(),
            Deed::Wake => driver.wake.as_ref(),
            Deed::End => driver.end.as_ref(),
            Deed::Discard => driver.discard.as_ref(),
        }
    }

    /// Whether it is about a standby before there is a switchover: a switchover ends it.
    pub(super) fn is_preparation(self) -> bool {
        matches!(self, Deed::Create | Deed::Sync | Deed::Check)
    }

    /// Whether a machine is to be ended by it.
    fn ends(self) -> bool {
        matches!(self, Deed::End | Deed::Discard)
    }

    fn limit(self, driver: &DriverPolicy) -> Duration {
        let of = if self == Deed::Sync { driver.sync_timeout } else { driver.timeout };
        Duration::from_millis(of.0)
    }
}

/// What is asked of a driver: enough to know its answer from one to an older question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Errand {
    /// The pair.
    pub(super) id: Arc<str>,
    /// When that was made: another can have its name by now.
    pub(super) created: Timestamp,
    /// Its epoch.
    pub(super) epoch: u64,
    /// What is to be done.
    pub(super) deed: Deed,
}

/// What is heard of it.
#[derive(Debug)]
pub(super) enum Told {
    /// So many percent of it are done.
    Progress(u8),
    /// It is done, or why not.
    Done(Result<(), String>),
}

/// Does it, now, and says how it goes. It is broken off when `stop` is.
pub(super) fn start(
    driver: &Arc<DriverPolicy>,
    pair: &Arc<Standby>,
    (deed, at): (Deed, Timestamp),
    stop: Option<oneshot::Receiver<()>>,
    tell: impl Fn(Told) + Send + 'static,
) -> io::Result<()> {
    let (driver, pair) = (driver.clone(), pair.clone());
    let work = move || {
        let since = Instant::now();
        let (standby, act) = (pair.id.clone(), deed.as_str());
        tracing::info!(%standby, driver = %driver.name, act, "begins");
        let result =
            run(&driver, &pair, (deed, at), stop, &|percent| tell(Told::Progress(percent)));
        let took_ms = since.elapsed().as_millis();
        match &result {
            Ok(()) => tracing::info!(%standby, driver = %driver.name, act, took_ms, "done"),
            Err(why) => {
                tracing::error!(%standby, driver = %driver.name, act, took_ms, %why, "failed");
            }
        }
        tell(Told::Done(result));
    };
    std::thread::Builder::new().name("driver".into()).spawn(work).map(drop)
}

fn run(
    driver: &DriverPolicy,
    pair: &Standby,
    (deed, at): (Deed, Timestamp),
    stop: Option<oneshot::Receiver<()>>,
    heard: &dyn Fn(u8),
) -> Result<(), String> {
    let Some(way) = deed.way(driver) else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let doing = carry_out(driver, way, pair, (deed, at), heard);
        let timed = tokio::time::timeout(deed.limit(driver), doing);
        let unfinished = || format!("not done in {} ms", deed.limit(driver).as_millis());
        tokio::select! {
            done = timed => done.unwrap_or_else(|_| Err(unfinished())),
            () = stopped(stop) => Err("broken off: it is not wanted any longer".into()),
        }
    })
}

/// Until it is to be broken off.
async fn stopped(stop: Option<oneshot::Receiver<()>>) {
    match stop {
        // Whoever could say so is gone, or said so.
        Some(stop) => drop(stop.await),
        None => std::future::pending().await,
    }
}

async fn carry_out(
    driver: &DriverPolicy,
    way: &DriverWay,
    pair: &Standby,
    (deed, at): (Deed, Timestamp),
    heard: &dyn Fn(u8),
) -> Result<(), String> {
    match way {
        DriverWay::Command(argv) => {
            let argv: Result<Vec<Arc<str>>, String> =
                argv.iter().map(|text| fill(text, pair).map(Arc::from)).collect();
            let body = body(pair, deed);
            match deed {
                Deed::Sync => command::watch(&argv?, deed.as_str(), &body, heard).await,
                _ => command::run(&argv?, deed.as_str(), &body).await,
            }
        }
        DriverWay::Rsync([from, to]) => {
            let (from, to) = (fill(from, pair)?, fill(to, pair)?);
            let argv: Vec<Arc<str>> =
                RSYNC.iter().copied().chain([&*from, &*to]).map(Arc::from).collect();
            command::watch(&argv, deed.as_str(), &[], heard).await
        }
        DriverWay::Virsh(domain) => virsh(&fill(domain, pair)?, deed).await,
        DriverWay::Qmp(path) => qmp(Path::new(&fill(path, pair)?), deed).await,
        DriverWay::Url { url, secret_file, ca_file } => {
            let secret = webhook::secret(secret_file)?;
            let body = body(pair, deed);
            let signed = webhook::sign(&secret, at.secs(), &body);
            let key = key(pair, deed, at);
            let head = webhook::Head { hook: &driver.name, event: deed.as_str(), key, signed };
            webhook::post(url, ca_file.as_deref(), head, body).await.map_err(|why| why.to_string())
        }
    }
}

/// What is the same whenever the same is asked again. Before a switchover each time is another.
fn key(pair: &Standby, deed: Deed, at: Timestamp) -> String {
    let key = format!("{}-{}-{}", pair.id, pair.epoch, deed.as_str());
    if deed.is_preparation() { format!("{key}-{}", at.0) } else { key }
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

/// A text with what its names in braces stand for. Nothing of a pair becomes an option by it, or
/// leads out of a directory.
fn fill(text: &str, pair: &Standby) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, (name, after))) =
        rest.split_once('{').and_then(|(before, after)| Some((before, after.split_once('}')?)))
    {
        filled.push_str(before);
        let word = named(name, pair).ok_or_else(|| format!("the pair has no {name}"))?;
        // The length of a prefix is behind one.
        if name != "addresses" && (word.contains('/') || word.starts_with('.')) {
            return Err(format!("{name} \"{word}\" could lead out of a directory"));
        }
        filled.push_str(&word);
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
        _ if deed.ends() => ("shut off", "destroy"),
        Deed::Create => ("running", "start"),
        _ => ("running", "resume"),
    };
    let state = ask("domstate").await?;
    match deed {
        _ if state == wanted => Ok(()),
        Deed::Check => Err(format!("virsh domstate {domain}: {state}, want {wanted}")),
        _ => ask(verb).await.map(drop),
    }
}

/// Asks a QEMU by its monitor (QEMU Machine Protocol). One that quit has closed it.
async fn qmp(path: &Path, deed: Deed) -> Result<(), String> {
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let stream = match UnixStream::connect(path).await {
        // The socket is there, and nobody listens any more.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && deed.ends() => {
            return Ok(());
        }
        connected => connected.map_err(named)?,
    };
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read.take(ANSWER_BYTES_MAX)).lines();
    let verb = match deed {
        _ if deed.ends() => "quit",
        Deed::Check => "query-status",
        _ => "cont",
    };
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
            let Some(told) = answer.get("return") else { continue };
            match told["status"].as_str().filter(|_| deed == Deed::Check) {
                Some("running") | None => break,
                Some(other) => return Err(format!("{}: it is {other}", path.display())),
            }
        }
    }
    // It has quit when its end of the connection is closed, and not before.
    while deed.ends() && matches!(lines.next_line().await, Ok(Some(_))) {}
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
        assert!(fill("/srv/{id}", &pair("../etc")).is_err());
        assert!(fill("/srv/{id}", &pair("..")).is_err());
        assert_eq!(fill("--of={id}", &pair("-rf")).as_deref(), Ok("--of=-rf"));
    }
}
