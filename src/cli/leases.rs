//! `foreshadow leases`.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::Context;

use crate::api::client::escape;
use crate::api::quarantine::QuarantineRequest;
use crate::api::transfer::{self, Format, Writer};
use crate::api::view::{ImportView, LeaseView};
use crate::base::Resource;

use super::args::{Asked, Leases};
use super::entries::client;
use super::exit::{Exit, Failure};
use super::output::{Output, Safe};
use super::source::{Access, Source, Wanted};
use super::table::{Table, Tone};

/// How many refusals are told one by one.
const TOLD_MAX: usize = 20;

/// Does what was asked of the leases.
pub(super) fn leases(command: Leases, out: &mut Output) -> Result<(), Failure> {
    match command {
        Leases::List { network, state, account, json, target } => {
            let wanted = Wanted {
                network: network.as_deref(),
                state: state.as_deref(),
                account: account.as_deref(),
            };
            let mut source = Source::open(&target, Access::Read, out)?;
            if json {
                return write_all(&mut source, &wanted, Format::Json, out);
            }
            list(&mut source, &wanted, out)
        }
        Leases::Show { address, network, json, target } => {
            let found =
                Source::open(&target, Access::Read, out)?.show(address, network.as_deref())?;
            if json { out.json(&found) } else { show(&found, out) }
        }
        Leases::Release { address, network, target } => {
            let mut source = Source::open(&target, Access::Change, out)?;
            let was = source.release(address, network.as_deref());
            source.close()?;
            let was = was?;
            let client = was.hardware.or(was.client).unwrap_or_default();
            Ok(writeln!(out, "{address} is free; it was {} by {}", was.state, Safe(&client))?)
        }
        Leases::Quarantine { address, network, seconds, asked } => {
            let request = QuarantineRequest { seconds };
            let path = place(address, "quarantine", network.as_deref());
            let now: LeaseView = client(&asked)?.post(&path, &request)?;
            if asked.json {
                return out.json(&now);
            }
            let until = now.until.unwrap_or_default();
            Ok(writeln!(out, "{address} is in quarantine until {until}")?)
        }
        Leases::Lift { address, network, asked } => {
            let path = place(address, "lift", network.as_deref());
            let was: LeaseView = client(&asked)?.post(&path, &())?;
            if asked.json {
                return out.json(&was);
            }
            Ok(writeln!(out, "{address} is free; it was {}", was.state)?)
        }
        Leases::Drain { address, network, asked } => {
            let told = format!("{address} is left when its client renews or boots");
            tell(&place(address, "drain", network.as_deref()), &told, &asked, out)
        }
        Leases::Stay { address, network, asked } => {
            let told = format!("the client of {address} stays");
            tell(&place(address, "stay", network.as_deref()), &told, &asked, out)
        }
        Leases::Export { format, output, target } => {
            let mut source = Source::open(&target, Access::Read, out)?;
            let format = format.or_else(|| by_name(output.as_deref()?)).unwrap_or_default();
            match output {
                None => write_all(&mut source, &Wanted::default(), format, out),
                Some(path) => export(&mut source, format, &path),
            }
        }
        Leases::Import { file, dry_run, json, target } => {
            let leases = read(&file)?;
            let mut source = Source::open(&target, Access::Change, out)?;
            let done = source.import(leases, dry_run);
            source.close()?;
            tell_import(&done?, dry_run, json, out)
        }
    }
}

fn place(address: Resource, verb: &str, network: Option<&str>) -> String {
    let address = escape(&address.to_string());
    let network = network.map_or(String::new(), |name| format!("?network={}", escape(name)));
    format!("/v1/leases/{address}/{verb}{network}")
}

fn list(source: &mut Source, wanted: &Wanted<'_>, out: &mut Output) -> Result<(), Failure> {
    let mut leases: Vec<LeaseView> = Vec::new();
    source.leases(wanted, |page| {
        leases.extend(page);
        Ok(())
    })?;
    leases.sort_by_cached_key(|lease| (lease.network.clone(), lease.address.parse::<Resource>()));
    let mut table =
        Table::new(&["ADDRESS", "STATE", "HARDWARE", "HOSTNAME", "NETWORK", "ACCOUNT", "UNTIL"]);
    for lease in &leases {
        let plain = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        table.row(&[
            (&lease.address, Tone::Plain),
            (&lease.state, tone(&lease.state)),
            (&plain(&lease.hardware), Tone::Plain),
            (&plain(&lease.hostname), Tone::Plain),
            (&plain(&lease.network), Tone::Plain),
            (&plain(&lease.account), Tone::Plain),
            (&plain(&lease.until), Tone::Plain),
        ]);
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}

fn tone(state: &str) -> Tone {
    match state {
        "leased" => Tone::Good,
        "expired" | "released" => Tone::Dim,
        _ => Tone::Bad,
    }
}

/// Has it done, and says what was done.
fn tell(path: &str, told: &str, asked: &Asked, out: &mut Output) -> Result<(), Failure> {
    let now: LeaseView = client(asked)?.post(path, &())?;
    match asked.json {
        true => out.json(&now),
        false => Ok(writeln!(out, "{told}")?),
    }
}

/// Every field that is known, one a line.
fn show(leases: &[LeaseView], out: &mut Output) -> Result<(), Failure> {
    for (lease, index) in leases.iter().zip(0..) {
        if index > 0 {
            writeln!(out)?;
        }
        let boot = lease.boot_stage.then(|| "yes".to_owned());
        let fields = [
            ("address", &Some(lease.address.clone())),
            ("network", &lease.network),
            ("state", &Some(lease.state.clone())),
            ("answered by", &lease.answered),
            ("client", &lease.client),
            ("hardware", &lease.hardware),
            ("hostname", &lease.hostname),
            ("account", &lease.account),
            ("since", &lease.since),
            ("updated", &lease.updated),
            ("until", &lease.until),
            ("to move since", &lease.draining),
            ("circuit id", &lease.circuit_id),
            ("remote id", &lease.remote_id),
            ("relay", &lease.relay),
            ("next hop", &lease.next_hop),
            ("boot stage", &boot),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                writeln!(out, "{name:<12} {}", Safe(value))?;
            }
        }
    }
    Ok(())
}

fn write_all(
    source: &mut Source,
    wanted: &Wanted<'_>,
    format: Format,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut writer = Writer::new(format);
    source.leases(wanted, |mut page| {
        // What nobody has yet is nothing to be taken over elsewhere.
        page.retain(|lease| wanted.state.is_some() || lease.state != "shadow");
        Ok(writer.leases(&page, out)?)
    })?;
    Ok(writer.finish(out)?)
}

/// Writes a new file beside `path` and puts it in its place when it is whole.
fn export(source: &mut Source, format: Format, path: &Path) -> Result<(), Failure> {
    let mut unready = path.as_os_str().to_owned();
    unready.push(".new");
    let unready = Path::new(&unready);
    let file = File::create(unready).with_context(|| format!("create {}", unready.display()))?;
    let mut file = BufWriter::new(file);
    write_all(source, &Wanted::default(), format, &mut file)?;
    let file = file.into_inner().map_err(|error| error.into_error())?;
    file.sync_all().with_context(|| format!("sync {}", unready.display()))?;
    std::fs::rename(unready, path).with_context(|| format!("write {}", path.display()))?;
    Ok(())
}

fn by_name(path: &Path) -> Option<Format> {
    path.extension()?.to_str()?.parse().ok()
}

/// Reads an export; JSON begins with `[`.
fn read(path: &Path) -> Result<Vec<LeaseView>, Failure> {
    let stdin = path.as_os_str() == "-";
    let named = || {
        format!("read {}", if stdin { "standard input".into() } else { path.display().to_string() })
    };
    let file: Box<dyn Read> = if stdin {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).with_context(named)?)
    };
    let mut file = BufReader::new(file);
    let start = file.fill_buf().with_context(named)?.trim_ascii_start().first();
    let format = if start == Some(&b'[') { Format::Json } else { Format::Csv };
    transfer::read(format, file)
        .map_err(|why| Failure::says(Exit::Failed, format!("{}: {why}", named())))
}

/// Says what became of an import.
pub(super) fn tell_import(
    done: &ImportView,
    dry_run: bool,
    json: bool,
    out: &mut Output,
) -> Result<(), Failure> {
    if json {
        return out.json(done);
    }
    for refused in done.refused.iter().take(TOLD_MAX) {
        out.note(format!("not imported: {}: {}", refused.address, refused.reason));
    }
    if done.refused.len() > TOLD_MAX {
        out.note(format!("and {} more", done.refused.len() - TOLD_MAX));
    }
    let verb = if dry_run { "could be imported" } else { "imported" };
    Ok(writeln!(out, "{} {verb}, {} not", done.imported, done.refused.len())?)
}
