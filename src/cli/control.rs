//! `foreshadow status`, `reload` and `backup`.

use std::io::Write;

use anyhow::Context;

use crate::api::view::{NetworkView, ReloadView, StatusView};

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
    if let Some(duid) = &status.duid {
        writeln!(out, "DUID {}", Safe(duid))?;
    }
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
    networks(&status.networks, out)?;
    networks6(&status.networks, out)?;
    counts("counted", &status.packets, out)?;
    counts("dropped", &status.dropped, out)
}

/// The table of IPv4, with the networks that have nothing of either.
fn networks(networks: &[NetworkView], out: &mut Output) -> Result<(), Failure> {
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
    for network in networks {
        let cell = |number: u64| number.to_string();
        table.row(&[
            (&network.name, Tone::Plain),
            (&interfaces(network), Tone::Plain),
            (&cell(network.addresses), Tone::Plain),
            (&cell(network.leased), Tone::Good),
            (&cell(network.free), Tone::Plain),
            (&cell(network.proven), Tone::Plain),
            (&cell(network.quarantined), bad_if(network.quarantined > 0)),
            (&cell(network.in_use), bad_if(network.in_use > 0)),
        ]);
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}

/// The table of IPv6, if a network has any.
fn networks6(networks: &[NetworkView], out: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new(&[
        "NETWORK",
        "INTERFACES",
        "IPV6 ADDRESSES",
        "LEASED",
        "FREE",
        "PROVEN",
        "QUARANTINED",
        "IN USE",
        "PREFIXES LEASED",
        "PREFIXES FREE",
    ]);
    let with_ipv6 = networks.iter().filter_map(|n| Some((n, n.ipv6.as_ref()?)));
    for (network, ipv6) in with_ipv6.clone() {
        let cell = |number: u64| number.to_string();
        table.row(&[
            (&network.name, Tone::Plain),
            (&interfaces(network), Tone::Plain),
            (&readable(&ipv6.addresses), Tone::Plain),
            (&cell(ipv6.leased), Tone::Good),
            (&readable(&ipv6.free), Tone::Plain),
            (&cell(ipv6.proven), Tone::Plain),
            (&cell(ipv6.quarantined), bad_if(ipv6.quarantined > 0)),
            (&cell(ipv6.in_use), bad_if(ipv6.in_use > 0)),
            (&cell(ipv6.prefixes_leased), Tone::Good),
            (&readable(&ipv6.prefixes_free), Tone::Plain),
        ]);
    }
    if with_ipv6.count() == 0 {
        return Ok(());
    }
    writeln!(out)?;
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}

fn interfaces(network: &NetworkView) -> String {
    match network.interfaces.as_slice() {
        [] => "-".to_owned(),
        some => some.join(","),
    }
}

/// Nobody reads the twenty digits of a /64.
fn readable(digits: &str) -> String {
    match digits.parse::<u128>() {
        Ok(number) if number >= 100_000_000 => format!("{:.1e}", number as f64),
        _ => digits.to_owned(),
    }
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
    let done: ReloadView = source::running(&args.target)?.post("/v1/configuration/reload", &())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_figures_are_short() {
        assert_eq!(readable("18446744073709551487"), "1.8e19");
        assert_eq!(readable("65536"), "65536");
        assert_eq!(readable(&u128::MAX.to_string()), "3.4e38");
    }
}
