//! `foreshadow audit` and `who`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;

use crate::api::audit::{HolderView, RecordView, RecordsView, WhoView};
use crate::api::client::{Client, escape};
use crate::api::leases::time_text;
use crate::api::page::LIMIT_MAX;
use crate::api::view::LeaseView;

use super::args::{Audit, Who};
use super::args_audit::Which;
use super::exit::Failure;
use super::output::{Output, Safe};
use super::source;
use super::table::{Table, Tone};

impl Which {
    /// As parameters of a query.
    pub(super) fn query(&self) -> String {
        let (begin, end) = (self.begin.map(time_text), self.end.map(time_text));
        let all = [
            ("from", &begin),
            ("to", &end),
            ("network", &self.network),
            ("address", &self.address),
            ("account", &self.account),
            ("client", &self.client),
            ("kind", &self.kind),
        ];
        let given = all.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        given.map(|(name, value)| format!("&{name}={}", escape(value))).collect()
    }
}

/// Shows or exports audit records.
pub(super) fn audit(args: &Audit, out: &mut Output) -> Result<(), Failure> {
    let mut client = source::running(&args.target)?;
    if let Some(format) = &args.export {
        return export(&mut client, format, args, out);
    }
    let found = newest(&mut client, &args.which.query(), args.limit)?;
    if args.json { out.json(&found) } else { list(&found, out) }
}

/// The newest records, page by page.
pub(super) fn newest(
    client: &mut Client,
    query: &str,
    most: usize,
) -> Result<Vec<RecordView>, Failure> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    while found.len() < most {
        let limit = (most - found.len()).min(LIMIT_MAX);
        let page: RecordsView = client.get(&format!("/v1/audit?limit={limit}{query}{cursor}"))?;
        found.extend(page.records);
        let Some(next) = page.next else { break };
        cursor = format!("&cursor={next}");
    }
    Ok(found)
}

/// Writes records as they come; a file only if it is whole.
fn export(
    client: &mut Client,
    format: &str,
    args: &Audit,
    out: &mut Output,
) -> Result<(), Failure> {
    let path = format!("/v1/audit/export?format={format}{}", args.which.query());
    let Some(to) = &args.output else {
        return client.stream(&path, |piece| out.write_all(piece).map_err(Failure::from));
    };
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut written = || -> Result<(), Failure> {
        let file = File::create(&part).with_context(|| part.display().to_string())?;
        let mut file = BufWriter::new(file);
        client.stream(&path, |piece| file.write_all(piece).map_err(Failure::from))?;
        let file = file.into_inner().map_err(|error| error.into_error())?;
        file.sync_all()?;
        Ok(std::fs::rename(&part, to).with_context(|| to.display().to_string())?)
    };
    written().inspect_err(|_| drop(std::fs::remove_file(&part)))
}

fn list(records: &[RecordView], out: &mut Output) -> Result<(), Failure> {
    let mut table =
        Table::new(&["TIME", "KIND", "WHAT", "NETWORK", "HARDWARE", "HOSTNAME", "ACCOUNT", "BY"]);
    for record in records {
        let cells = cells(record);
        table.row(&cells.each_ref().map(|cell| (cell.as_str(), Tone::Plain)));
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}

/// A record in eight cells.
pub(super) fn cells(record: &RecordView) -> [String; 8] {
    let plain = |text: Option<&String>| text.cloned().unwrap_or_else(|| "-".into());
    let (binding, act) = (record.binding.as_ref(), record.act.as_ref());
    let hardware = binding.and_then(|it| it.hardware.as_ref().or(it.client.as_ref()));
    [
        record.time.clone(),
        act.map_or(&record.kind, |act| &act.verb).clone(),
        plain(record.address.as_ref().or(act.map(|act| &act.object))),
        plain(record.network.as_ref()),
        plain(hardware),
        plain(binding.and_then(|it| it.hostname.as_ref())),
        plain(record.account.as_ref()),
        plain(act.map(|act| &act.who)),
    ]
}

/// Says who had an address.
pub(super) fn who(args: &Who, out: &mut Output) -> Result<(), Failure> {
    let mut path = format!("/v1/who?address={}", escape(&args.address.to_string()));
    for (name, value) in [("at", args.at.map(time_text)), ("network", args.network.clone())] {
        path += &value.map_or(String::new(), |value| format!("&{name}={}", escape(&value)));
    }
    let found: WhoView = source::running(&args.target)?.get(&path)?;
    if args.json {
        return out.json(&found);
    }
    let (address, at) = (Safe(&found.address), Safe(&found.at));
    if found.networks.is_empty() {
        return Ok(writeln!(out, "nothing is known of {address} at {at}")?);
    }
    for of in &found.networks {
        let network = Safe(&of.network);
        match (of.held, &of.binding) {
            (true, Some(binding)) => {
                writeln!(out, "{address} at {at} on {network}: {}", Holder(binding))?;
            }
            (_, None) => writeln!(out, "nobody had {address} at {at} on {network}")?,
            (false, Some(binding)) => {
                let state = Safe(&binding.state);
                let last = Holder(binding);
                writeln!(
                    out,
                    "nobody had {address} at {at} on {network} ({state}); last was {last}"
                )?;
            }
        }
        times(of, out)?;
    }
    Ok(())
}

fn times(of: &HolderView, out: &mut Output) -> Result<(), Failure> {
    let (Some(from), Some(until)) = (&of.from, &of.until) else { return Ok(()) };
    write!(out, "  from {} until {}", Safe(from), Safe(until))?;
    if let (Some(cause), Some(record)) = (&of.cause, of.record) {
        write!(out, "; {}, record {record}", Safe(cause))?;
    }
    Ok(writeln!(out)?)
}

/// Who has a binding, in one line.
struct Holder<'a>(&'a LeaseView);

impl std::fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Holder(lease) = self;
        let name = lease.hardware.as_ref().or(lease.client.as_ref()).map_or("?", |text| text);
        write!(f, "{}", Safe(name))?;
        for (what, text) in [
            ("host name", &lease.hostname),
            ("account", &lease.account),
            ("application", &lease.application),
            ("instance", &lease.instance),
        ] {
            if let Some(text) = text {
                write!(f, ", {what} {}", Safe(text))?;
            }
        }
        Ok(())
    }
}
