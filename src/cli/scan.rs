//! `foreshadow scan`: what answers on a network, compared with what is bound there.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde_json::json;

use crate::api::client::{Client, escape};
use crate::api::findings::{FindingView, FindingsView, ScanRequest, ScanView};
use crate::base::{Mac, Span, Timestamp};
use crate::daemon::clock;
use crate::net::sys::boot_time;
use crate::reconcile::{
    Allowed, Bound, Detector, Finding, Known, Outcome, Pair, Settings, Severity,
};
use crate::scan::Wire;

use super::args_scan::{Pool, Scan, Speaker, Subnet};
use super::entries::client;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::table::{Table, Tone};

/// Sweeps of a scan that ends by itself: a lost frame hides nobody in both.
const SWEEPS_ONCE: u64 = 2;
/// The most that is waited for frames, so that a scan ends when it is to.
const WAIT_MAX: Span = Span(200);

/// Asks a network and shows what is wrong there.
pub(super) fn scan(said: &Scan, out: &mut Output) -> Result<(), Failure> {
    match &said.interface {
        Some(interface) => alone(said, interface, out),
        None => of_server(said, out),
    }
}

/// What a running server found; with `--once`, after it looked again.
fn of_server(said: &Scan, out: &mut Output) -> Result<(), Failure> {
    let mut client = client(&said.asked)?;
    let path = match &said.network {
        Some(network) => format!("/v1/findings?network={}", escape(network)),
        None => "/v1/findings".to_owned(),
    };
    if said.once {
        let request = ScanRequest { network: said.network.clone() };
        let before: Vec<ScanView> = client.post("/v1/scans", &request)?;
        if before.is_empty() {
            return Err(Failure::says(Exit::Failed, "no network is watched: `reconcile` is off"));
        }
        wait_for_sweeps(&mut client, &path, &before)?;
    }
    let view: FindingsView = client.get(&path)?;
    match said.asked.json {
        true => out.json(&view)?,
        false => {
            table(&view.findings, out)?;
            for ScanView { network, interface, mode, sweeps, asked, .. } in &view.scans {
                out.note(format_args!(
                    "{network} on {interface}: {mode}, {sweeps} sweeps, {asked} questions"
                ));
            }
            if view.scans.is_empty() {
                out.note("no network is watched: `reconcile` is off");
            }
        }
    }
    verdict(view.findings.iter().filter(|finding| finding.severity != "info").count())
}

/// Until each of these was swept once more from beginning to end, and nothing is in doubt.
fn wait_for_sweeps(client: &mut Client, path: &str, before: &[ScanView]) -> Result<(), Failure> {
    loop {
        let now: FindingsView = client.get(path)?;
        let is_done = |before: &ScanView| {
            // One that goes on is waited for, and the next is the one that was asked for.
            let wanted = before.sweeps + if before.sweeping { 2 } else { 1 };
            let now = now
                .scans
                .iter()
                .find(|scan| scan.network == before.network && scan.interface == before.interface);
            now.is_none_or(|now| now.settled >= wanted)
        };
        if before.iter().all(is_done) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(WAIT_MAX.0));
    }
}

fn verdict(conflicts: usize) -> Result<(), Failure> {
    match conflicts {
        0 => Ok(()),
        count => Err(Failure::says(Exit::Conflict, super::parts::count(count, "conflict"))),
    }
}

/// Without a server.
fn alone(said: &Scan, interface: &str, out: &mut Output) -> Result<(), Failure> {
    let time = Time::start();
    let mut wire = Wire::open(interface, (time.start.0 & 0xffff) as u16)
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    let known = known(said, &wire, time.now())?;
    let settings = settings(said, time.start);
    let mut detector = Detector::new(settings, known, time.now());
    let until = said.seconds.map(|seconds| time.start + Span((seconds * 1000.0) as u64));
    let mut all = Outcome::default();
    loop {
        let now = time.now();
        let mut new = Outcome::default();
        let heard = wire.receive(|heard| detector.heard(heard, now, &mut new));
        heard.with_context(|| format!("listen on {interface}"))?;
        detector.poll(now, &mut new);
        wire.send(&new.asks);
        if new.refresh || new.look {
            detector.learn(self::known(said, &wire, now)?, now, &mut new);
        }
        tell(&new, &wire, said, out)?;
        all.found.append(&mut new.found);
        let is_over = match until {
            Some(until) => now >= until,
            None => detector.settled() >= SWEEPS_ONCE,
        };
        if is_over {
            break;
        }
        let rest = until.map_or(WAIT_MAX, |until| until.since(now).min(WAIT_MAX));
        let wait = detector.next_wakeup().since(now).min(rest).max(Span(1));
        wire.wait(Some(wait)).context("wait for frames")?;
    }
    conclude(&detector, &wire, said, out)
}

/// What is wrong at the end, and whether that is a failure.
fn conclude(
    detector: &Detector,
    wire: &Wire,
    said: &Scan,
    out: &mut Output,
) -> Result<(), Failure> {
    let views: Vec<FindingView> = detector.findings().map(|finding| view(finding, wire)).collect();
    if !said.asked.json {
        table(&views, out)?;
        let counts = detector.counts();
        let (asked, sweeps) = (counts.asked, counts.sweeps);
        out.note(format_args!("{asked} questions, {sweeps} sweeps done"));
        if counts.lost > 0 {
            out.note(format_args!("{} of what was heard found no room", counts.lost));
        }
    }
    if wire.failed() > 0 {
        out.note(format_args!("{} questions could not be sent", wire.failed()));
    }
    let is_conflict = |finding: &&Finding| finding.severity() >= Severity::Warning;
    verdict(detector.findings().filter(is_conflict).count())
}

/// Findings as they come, one JSON object a line.
fn tell(new: &Outcome, wire: &Wire, said: &Scan, out: &mut Output) -> Result<(), Failure> {
    if !said.asked.json {
        return Ok(());
    }
    for finding in &new.found {
        let line = serde_json::to_string(&view(finding, wire)).context("write JSON")?;
        writeln!(out, "{line}")?;
    }
    for finding in &new.cleared {
        let FindingView { kind, ip, macs, .. } = view(finding, wire);
        let line = json!({ "type": "cleared", "cleared": kind, "ip": ip, "macs": macs });
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

/// Findings for people.
pub(super) fn table(views: &[FindingView], out: &mut Output) -> Result<(), Failure> {
    if views.is_empty() {
        return Ok(writeln!(out, "nothing found")?);
    }
    let mut table = Table::new(&["FINDING", "ADDRESS", "MACS", "PORTS", "SINCE"]);
    for view in views {
        let tone = match view.severity.as_str() {
            "critical" => Tone::Bad,
            "info" => Tone::Dim,
            _ => Tone::Plain,
        };
        let ports: Vec<&str> = view.evidence.iter().map(|of| of.port.as_str()).collect();
        let ports: BTreeSet<&str> = ports.into_iter().collect();
        let ports: Vec<&str> = ports.into_iter().collect();
        table.row(&[
            (&view.kind, tone),
            (&view.ip, Tone::Plain),
            (&view.macs.join(" "), Tone::Plain),
            (&ports.join(" "), Tone::Plain),
            (&view.first_seen, Tone::Dim),
        ]);
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}

fn view(finding: &Finding, wire: &Wire) -> FindingView {
    FindingView::of(finding, None, |port| wire.name_of(port))
}

fn settings(said: &Scan, start: Timestamp) -> Settings {
    Settings {
        rate: said.rate,
        // One after the other.
        interval: Span::ZERO,
        whole_subnets: !said.pools_only,
        probe_servers: !said.no_probe,
        seed: start.0 ^ u64::from(std::process::id()) << 32,
        ..Settings::default()
    }
}

/// A line of the leases.
#[derive(Deserialize)]
struct LeaseLine {
    ip: IpAddr,
    mac: String,
}

/// A line of the pairs.
#[derive(Deserialize)]
struct PairLine {
    ip: IpAddr,
    active: String,
    standby: String,
}

/// What the command line and its files say, now.
fn known(said: &Scan, wire: &Wire, now: Timestamp) -> Result<Known, Failure> {
    let (own, own_macs) = wire.own();
    let own_mac = wire.asker().mac;
    let mut known = Known { as_of: now, own, own_macs, own_mac, ..Known::default() };
    for subnet in &said.subnet {
        match subnet {
            Subnet::V4(subnet) => known.subnets4.push(*subnet),
            Subnet::V6(subnet) => known.subnets6.push(*subnet),
        }
    }
    for pool in &said.pool {
        match pool {
            Pool::V4(pool) => known.pools4.push(*pool),
            Pool::V6(pool) => known.pools6.push(*pool),
        }
    }
    for line in lines::<LeaseLine>(said.leases.as_deref())? {
        let mac = Some(mac(&line.mac)?);
        known.bound.insert(line.ip, Bound { mac, leased: true });
    }
    for line in lines::<PairLine>(said.pairs.as_deref())? {
        let (active, standby) = (mac(&line.active)?, mac(&line.standby)?);
        known.pairs.insert(line.ip, Pair { active, standby });
    }
    known.hosts = said.host.iter().map(|host| host.0.iter().copied().collect()).collect();
    known.servers = allowed(&said.server);
    known.routers = allowed(&said.router);
    Ok(known)
}

fn allowed(said: &[Speaker]) -> Allowed {
    let mut allowed = Allowed::default();
    for speaker in said {
        match speaker {
            Speaker::Addr(addr) => drop(allowed.addrs.insert(*addr)),
            Speaker::Mac(mac) => drop(allowed.macs.insert(*mac)),
        }
    }
    allowed
}

fn lines<L: for<'a> Deserialize<'a>>(path: Option<&Path>) -> Result<Vec<L>, Failure> {
    let Some(path) = path else { return Ok(vec![]) };
    let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let read = serde_json::from_slice(&text);
    read.map_err(|error| Failure::says(Exit::Usage, format_args!("{}: {error}", path.display())))
}

fn mac(text: &str) -> Result<Mac, Failure> {
    let wrong = || Failure::says(Exit::Usage, format_args!("{text:?}: want a MAC"));
    text.parse().map_err(|()| wrong())
}

/// The time by the wall clock at the start, and by the boot clock from then on.
struct Time {
    start: Timestamp,
    booted_ms: u64,
}

impl Time {
    fn start() -> Time {
        Time { start: clock::wall(), booted_ms: boot_ms() }
    }

    fn now(&self) -> Timestamp {
        self.start + Span(boot_ms().saturating_sub(self.booted_ms))
    }
}

fn boot_ms() -> u64 {
    u64::try_from(boot_time().as_millis()).unwrap_or(u64::MAX)
}
