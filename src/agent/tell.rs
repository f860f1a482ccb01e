//! Telling a segment who holds an address: at once, and some times again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::base::{LinkId, Mac};
use crate::net::{FrameSocket, Link, Mode, Outbox};
use crate::wire::announce::Announcement;

use super::learn::Neighbours;

/// How long after the first time it is said again: a frame can be lost, and a neighbour whose entry
/// was fresh believes it when a second has passed.
const AGAIN_MS: [u64; 5] = [10, 50, 200, 1_100, 3_000];

/// What is to be said again.
#[derive(Debug)]
struct Again {
    at: Instant,
    /// How often it was said again.
    times: usize,
    bridge: LinkId,
    port: Mac,
    addresses: Vec<IpAddr>,
    holder: Mac,
}

/// Sends announcements.
#[derive(Debug, Default)]
pub(super) struct Teller {
    sockets: BTreeMap<LinkId, FrameSocket>,
    outbox: Outbox,
    /// By pair.
    again: BTreeMap<Box<str>, Again>,
}

impl Teller {
    /// Tells all, then each neighbour, that `holder` has these addresses; how many it told alone.
    pub(super) fn tell(
        &mut self,
        now: Instant,
        pair: &str,
        (bridge, port): (LinkId, Mac),
        (addresses, holder): (&[IpAddr], Mac),
        neighbours: Option<&Neighbours>,
    ) -> io::Result<u32> {
        let told = self.say((bridge, port), (addresses, holder), neighbours)?;
        let addresses = addresses.to_vec();
        let at = now + Duration::from_millis(AGAIN_MS[0]);
        let again = Again { at, times: 0, bridge, port, addresses, holder };
        self.again.insert(pair.into(), again);
        Ok(told)
    }

    /// Opens what it takes to speak on a bridge, ahead of need.
    pub(super) fn warm_up(&mut self, bridge: LinkId) {
        if let Entry::Vacant(vacant) = self.sockets.entry(bridge) {
            match FrameSocket::arp(bridge, Mode::Serve) {
                Ok(socket) => drop(vacant.insert(socket)),
                Err(error) => tracing::debug!(%error, "cannot be spoken on"),
            }
        }
    }

    /// Nothing more is said of a pair.
    pub(super) fn hush(&mut self, pair: &str) {
        self.again.remove(pair);
    }

    /// When something is to be said again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.again.values().map(|again| again.at).min()
    }

    /// Says again what is due.
    pub(super) fn say_again(&mut self, now: Instant, of: &BTreeMap<LinkId, Neighbours>) {
        let due: Vec<Box<str>> =
            self.again.iter().filter(|(_, a)| a.at <= now).map(|(pair, _)| pair.clone()).collect();
        for pair in due {
            let Some(mut again) = self.again.remove(&pair) else { continue };
            let what = (again.addresses.as_slice(), again.holder);
            if let Err(error) = self.say((again.bridge, again.port), what, of.get(&again.bridge)) {
                tracing::warn!(pair = %pair, %error, "announcement not repeated");
            }
            again.times += 1;
            let Some(later) = AGAIN_MS.get(again.times) else { continue };
            again.at = now + Duration::from_millis(later - AGAIN_MS[again.times - 1]);
            self.again.insert(pair, again);
        }
    }

    fn say(
        &mut self,
        (bridge, port): (LinkId, Mac),
        (addresses, holder): (&[IpAddr], Mac),
        neighbours: Option<&Neighbours>,
    ) -> io::Result<u32> {
        let Teller { sockets, outbox, .. } = self;
        outbox.clear();
        let said = |addr: &IpAddr| Announcement { addr: *addr, holder, port };
        for frame in addresses.iter().flat_map(|addr| said(addr).to_all()) {
            outbox.push(|out| out.extend_from_slice(&frame));
        }
        let mut told = 0;
        for (addr, known) in addresses.iter().flat_map(|addr| {
            neighbours.into_iter().flat_map(|n| n.of(*addr)).map(move |known| (addr, known))
        }) {
            let Some(frame) = said(addr).to_one(known.0, known.1) else { continue };
            told += 1;
            outbox.push(|out| out.extend_from_slice(&frame));
        }
        if let Entry::Vacant(vacant) = sockets.entry(bridge) {
            vacant.insert(FrameSocket::arp(bridge, Mode::Serve)?);
        }
        let Some(socket) = sockets.get(&bridge) else { return Ok(0) };
        let frames = outbox.len() as u64;
        if socket.send(outbox).sent < frames {
            // The bridge was made anew, or is down.
            sockets.remove(&bridge);
            return Err(io::Error::other("not every frame was sent"));
        }
        Ok(told)
    }
}

/// Whether an interface is on the link of an address.
pub(super) fn is_on_link(link: &Link, addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => link.addrs.iter().any(|own| own.prefix.contains(addr)),
        IpAddr::V6(addr) => link.addrs6.iter().any(|own| own.is_on_link(addr)),
    }
}
