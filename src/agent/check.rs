//! Whether a switchover of a pair would go well, as far as its host can tell.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::base::Mac;
use crate::net::{FrameSocket, Link, LinkMonitor, Mode, Outbox, RecvBatch};
use crate::wire::arp;
use crate::wire::ndp::{self, NdpMessage};

use super::hold::{Hold, Holder};
use super::learn::Neighbours;

/// How often each guest is asked for each address.
const ROUNDS: u32 = 3;
/// Addresses of a pair that are asked for: so the answer comes within seconds.
const ASKED_MAX: usize = 8;
/// How long an answer is waited for, each time.
const ROUND: Duration = Duration::from_millis(30);

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What.
    pub what: Box<str>,
    /// How it is.
    pub state: State,
    /// What was found, in words.
    pub text: Box<str>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it is to be.
    Good,
    /// A switchover goes on, and may lose more than it has to.
    Doubtful,
    /// A switchover would fail, or two would speak.
    Bad,
}

impl Check {
    /// One.
    pub fn new(what: &str, state: State, text: impl Into<Box<str>>) -> Check {
        Check { what: what.into(), state, text: text.into() }
    }
}

/// The ports of the guests that are here: whether they are on the bridge, have a link, and let
/// through what a switchover says.
pub(super) fn ports(hold: &Hold, links: &mut LinkMonitor) -> Vec<Check> {
    let mut found = Vec::new();
    let bridge = links.links().find(|link| *link.name == *hold.bridge).map(|link| link.id);
    for (what, of) in here(hold) {
        let name = format!("{what} port");
        let mut say = |state, text: String| found.push(Check::new(&name, state, text));
        let Some(link) = links.links().find(|link| *link.name == *of.port).cloned() else {
            say(State::Bad, format!("no interface {} is here", of.port));
            continue;
        };
        match (link.master == bridge && bridge.is_some(), link.is_up && link.has_carrier) {
            (false, _) => say(State::Bad, format!("{} is no port of {}", of.port, hold.bridge)),
            (_, false) => say(State::Bad, format!("{} has no link", of.port)),
            _ => say(State::Good, format!("{} on {}", of.port, hold.bridge)),
        }
        for (flag, want, text) in FLAGS {
            if flag_of(&link, flag).is_some_and(|is| is != *want) {
                say(State::Doubtful, format!("{}: {text}", of.port));
            }
        }
        let learned = bridge.and_then(|bridge| links.look_up(bridge, of.mac));
        let elsewhere = learned.filter(|at| *at != link.id && Some(*at) != bridge);
        if let Some(other) = elsewhere.and_then(|at| links.link(at)) {
            say(State::Bad, format!("{} is behind {}, not {}", of.mac, other.name, of.port));
        }
    }
    found
}

/// Whether the kernel has the gate.
pub(super) fn gate(in_force: bool) -> Check {
    let (state, text) = match in_force {
        true => (State::Good, "the kernel has it"),
        false => (State::Bad, "the kernel has other rules; they are made again"),
    };
    Check::new("gate", state, text)
}

/// Who is told one by one.
pub(super) fn neighbours(hold: &Hold, known: Option<&Neighbours>) -> Vec<Check> {
    let count = |addr| known.map_or(0, |known| known.of(addr).count());
    let say = |addr: &IpAddr| format!("{} known of {addr}: they are told one by one", count(*addr));
    let each = hold.addresses.iter().map(say);
    each.map(|text| Check::new("neighbours", State::Good, text)).collect()
}

/// Whether the active is watched, if it is to be.
pub(super) fn watch(hold: &Hold, is_watched: bool) -> Option<Check> {
    let is_due = hold.watch.is_some() && !hold.active.elsewhere && !is_watched;
    is_due.then(|| Check::new("watch", State::Doubtful, "the active is not watched"))
}

/// What may be set at a port of a bridge, what it is as a rule, and what another value means.
const FLAGS: &[(&str, bool, &str)] = &[
    ("isolated", false, "it is isolated: other isolated ports will not hear of the switchover"),
    ("broadcast_flood", true, "broadcasts do not reach it (bcast_flood off)"),
    ("multicast_flood", true, "multicasts do not reach it (mcast_flood off)"),
    ("neigh_suppress", false, "the bridge answers ARP for others there (neigh_suppress on)"),
    ("locked", false, "it is locked: what is not in the forwarding database is dropped"),
];

fn flag_of(link: &Link, flag: &str) -> Option<bool> {
    let path = Path::new("/sys/class/net").join(&*link.name).join("brport").join(flag);
    fs::read_to_string(path).ok().map(|text| text.trim() != "0")
}

fn here(hold: &Hold) -> impl Iterator<Item = (&'static str, &Holder)> {
    let both = [("active", &hold.active), ("standby", &hold.standby)];
    both.into_iter().filter(|(_, of)| !of.elsewhere)
}

/// Asks both guests for the addresses: the active is to answer, and the standby is not to.
pub(super) fn voices(hold: &Hold, links: &LinkMonitor) -> io::Result<Vec<Check>> {
    let bridge = links.links().find(|link| *link.name == *hold.bridge).cloned();
    let Some(bridge) = bridge else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (what, of) in here(hold) {
        let silent = hold.silent().any(|silent| silent.mac == of.mac);
        for addr in hold.addresses.iter().take(ASKED_MAX) {
            let answers = answers(&bridge, of.mac, *addr)?;
            let (state, text) = match (silent, answers) {
                (true, true) => (State::Bad, format!("{} answers for {addr}", of.mac)),
                (true, false) => (State::Good, format!("{} is silent for {addr}", of.mac)),
                (false, true) => (State::Good, format!("{} answers for {addr}", of.mac)),
                (false, false) => {
                    (State::Doubtful, format!("{} does not answer for {addr}", of.mac))
                }
            };
            found.push(Check::new(what, state, text));
        }
    }
    Ok(found)
}

/// Whether this guest answers for an address, if it is asked alone.
fn answers(bridge: &Link, mac: Mac, addr: IpAddr) -> io::Result<bool> {
    let socket = match addr {
        IpAddr::V4(_) => FrameSocket::arp(bridge.id, Mode::Serve)?,
        IpAddr::V6(_) => FrameSocket::neighbour_discovery(bridge.id, Mode::Serve)?,
    };
    let (mut outbox, mut batch) = (Outbox::default(), RecvBatch::default());
    for _ in 0..ROUNDS {
        outbox.push(|out| ask(out, bridge, mac, addr));
        socket.send(&mut outbox);
        let until = Instant::now() + ROUND;
        loop {
            let count = socket.recv(&mut batch)?;
            let mut frames = (0..count).filter_map(|i| FrameSocket::frame(&batch, i));
            if frames.any(|frame| !frame.outgoing && says(frame.bytes, mac, addr)) {
                return Ok(true);
            }
            if Instant::now() >= until {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(false)
}

fn ask(out: &mut Vec<u8>, bridge: &Link, mac: Mac, addr: IpAddr) {
    match addr {
        IpAddr::V4(target) => {
            let own = bridge.addrs.iter().find(|own| own.prefix.contains(target));
            let source = own.map_or(Ipv4Addr::UNSPECIFIED, |own| own.addr);
            arp::write_request(out, bridge.mac, mac, bridge.mac, source, target);
        }
        IpAddr::V6(target) => {
            ndp::write_request(out, bridge.mac, Some(mac), bridge.link_local(), target);
        }
    }
}

fn says(frame: &[u8], mac: Mac, addr: IpAddr) -> bool {
    if let Some(arp) = arp::read(frame) {
        return arp.eth_src == mac && IpAddr::from(arp.sender_ip) == addr;
    }
    ndp::read(frame, true).is_ok_and(|nd| {
        let target = match nd.message {
            NdpMessage::NeighbourAdvert { target, .. } => target,
            _ => nd.src,
        };
        nd.eth_src == mac && IpAddr::from(target) == addr
    })
}
