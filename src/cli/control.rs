//! `foreshadow status`, `reload` and `backup`.

use std::io::Write;

use anyhow::Context;

use crate::api::view::{ReloadView, StatusView};

use super::args;
use super::exit::Failure;
use super::output::{Output, Safe};
use super::parts;
use super::source::{self, Access, Source};
use super::table::{Table, Tone};

/// What the running server is doing.
pub(super) fn status(args: &args::Status, out: &mut Output) -> Result<(), Failure> {
    let status: StatusView = source::running(&args.target)?.get("/v1/status")?;
    if args.json {
        return out.json(&status);
    }
    let started = status.started.as_deref().unwrap_or("?");
    writeln!(out, "foreshadow {}, {}, since {started}", Safe(&status.version), Safe(&status.mode))?;
    for alarm in &status.alarms {
        writeln!(out, "ALARM: {}", Safe(alarm))?;
    }
    let store = &status.store;
    let writable = if store.writable { "writable" } else { "NOT WRITABLE" };
    writeln!(
        out,
        "store: {writable}, {} bytes, {} commits, {} checkpoints, last sync {} us",
        store.disk_bytes, store.commits, store.checkpoints, store.last_sync_us
    )?;
    writeln!(out, "{} bindings, {} offers\n", status.bindings, status.offers)?;
    let mut table = Table::new(&[
        "NETWORK",
        "INTERFACES",
        "ADDRESSES",
        "LEASED",
        "FREE",
        "PROVEN",
        "QUARANTINED",
        "IN USE",
    ]);
    for network in &status.networks {
        let interfaces = match network.interfaces.as_slice() {
            [] => "-".to_owned(),
            some => some.join(","),
        };
        let cell = |number: u64| number.to_string();
        table.row(&[
            (&network.name, Tone::Plain),
            (&interfaces, Tone::Plain),
            (&cell(network.addresses), Tone::Plain),
            (&cell(network.leased), Tone::Good),
            (&cell(network.free), Tone::Plain),
            (&cell(network.proven), Tone::Plain),
            (&cell(network.quarantined), bad_if(network.quarantined > 0)),
            (&cell(network.in_use), bad_if(network.in_use > 0)),
        ]);
    }
    let colour = out.colour();
    table.write(out, colour)?;
    counts("counted", &status.packets, out)?;
    counts("dropped", &status.dropped, out)
}

fn bad_if(bad: bool) -> Tone {
    if bad { Tone::Bad } else { Tone::Plain }
}

fn counts(
    what: &str,
    counts: &std::collections::BTreeMap<String, u64>,
    out: &mut Output,
) -> Result<(), Failure> {
    let some: Vec<_> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{} {count}", Safe(name)))
        .collect();
    if !some.is_empty() {
        writeln!(out, "\n{what}: {}", some.join(", "))?;
    }
    Ok(())
}

/// Has the running server read its configuration again.
pub(super) fn reload(args: &args::Reload, out: &mut Output) -> Result<(), Failure> {
    let done: ReloadView = source::running(&args.target)?.post("/v1/reload", &())?;
    for warning in &done.warnings {
        out.note(format!("warning: {warning}"));
    }
    Ok(writeln!(out, "reloaded: {}", parts::count(done.networks, "network"))?)
}

/// Copies the store into a new directory.
pub(super) fn backup(args: &args::Backup, out: &mut Output) -> Result<(), Failure> {
    // The server's working directory is another one.
    let directory = std::path::absolute(&args.directory).context("working directory")?;
    let mut source = Source::open(&args.target, Access::Change, out)?;
    let done = source.backup(&directory);
    source.close()?;
    done?;
    Ok(writeln!(out, "the store is copied to {}", directory.display())?)
}
