//! Who speaks with an address: neighbours that are to be told one by one when its holder changes.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use crate::base::{LinkId, Mac};
use crate::net::{FrameSocket, Mode};
use crate::wire::arp;
use crate::wire::ndp::{self, NdpMessage};

/// Most neighbours that are remembered of an address: those heard last.
const NEIGHBOURS_MAX: usize = 512;

/// The neighbours of each address of a bridge.
#[derive(Debug, Default)]
pub(super) struct Neighbours(BTreeMap<IpAddr, BTreeMap<IpAddr, (Mac, Instant)>>);

impl Neighbours {
    /// Remembers these addresses' neighbours from now on, and no others'.
    pub(super) fn keep(&mut self, addresses: impl Iterator<Item = IpAddr>) {
        let mut before = std::mem::take(&mut self.0);
        self.0 = addresses.map(|addr| (addr, before.remove(&addr).unwrap_or_default())).collect();
    }

    /// A frame of ARP or neighbour discovery was seen.
    pub(super) fn learn(&mut self, now: Instant, frame: &[u8]) {
        let Some((addr, neighbour, mac)) = spoken_with(frame) else { return };
        let Some(known) = self.0.get_mut(&addr) else { return };
        if mac.is_group() || neighbour == addr {
            return;
        }
        if known.len() >= NEIGHBOURS_MAX && !known.contains_key(&neighbour) {
            let oldest = known.iter().min_by_key(|(_, (_, at))| *at).map(|(ip, _)| *ip);
            oldest.map(|ip| known.remove(&ip));
        }
        known.insert(neighbour, (mac, now));
    }

    /// The neighbours of an address.
    pub(super) fn of(&self, addr: IpAddr) -> impl Iterator<Item = (IpAddr, Mac)> {
        self.0.get(&addr).into_iter().flatten().map(|(ip, (mac, _))| (*ip, *mac))
    }
}

/// An address that is asked for, and who asks; or that answers, and who is answered.
fn spoken_with(frame: &[u8]) -> Option<(IpAddr, IpAddr, Mac)> {
    if let Some(arp) = arp::read(frame) {
        return match arp.is_reply {
            true => Some((arp.sender_ip.into(), arp.target_ip.into(), arp.target)),
            false if arp.sender_ip.is_unspecified() => None,
            false => Some((arp.target_ip.into(), arp.sender_ip.into(), arp.sender)),
        };
    }
    let nd = ndp::read(frame, false).ok()?;
    match nd.message {
        NdpMessage::NeighbourSolicit { target, source } if !nd.src.is_unspecified() => {
            Some((target.into(), nd.src.into(), source.unwrap_or(nd.eth_src)))
        }
        NdpMessage::NeighbourAdvert { target, .. } if !nd.dst.is_multicast() => {
            Some((target.into(), nd.dst.into(), nd.eth_dst))
        }
        _ => None,
    }
}

/// The sockets by which a link is listened on.
pub(super) fn ears(link: LinkId) -> io::Result<[FrameSocket; 2]> {
    Ok([FrameSocket::arp(link, Mode::Serve)?, FrameSocket::neighbour_discovery(link, Mode::Serve)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::arp::ArpFrame;

    fn ip(n: u8) -> std::net::Ipv4Addr {
        [10, 0, 0, n].into()
    }

    fn arp(sender: u8, target: u8, is_reply: bool) -> Vec<u8> {
        let mac = |n| Mac([2, 0, 0, 0, 0, n]);
        let frame = ArpFrame {
            eth_src: mac(sender),
            sender: mac(sender),
            sender_ip: ip(sender),
            target: mac(target),
            target_ip: ip(target),
            is_reply,
        };
        let mut out = Vec::new();
        arp::write(&mut out, Mac::BROADCAST, &frame);
        out
    }

    #[test]
    fn who_asks_and_who_is_answered_is_a_neighbour() {
        let now = Instant::now();
        let mut neighbours = Neighbours::default();
        neighbours.keep([ip(7).into()].into_iter());
        neighbours.learn(now, &arp(9, 7, false));
        neighbours.learn(now, &arp(7, 8, true));
        // Its own announcement, a frame for another, and what is no frame.
        neighbours.learn(now, &arp(7, 7, false));
        neighbours.learn(now, &arp(9, 6, false));
        neighbours.learn(now, &[0; 3]);
        let found: Vec<_> = neighbours.of(ip(7).into()).collect();
        let want = [8, 9].map(|n| (ip(n).into(), Mac([2, 0, 0, 0, 0, n])));
        assert_eq!(found, want);
        neighbours.keep([ip(6).into()].into_iter());
        assert_eq!(neighbours.of(ip(7).into()).count(), 0);
    }

    #[test]
    fn the_oldest_make_room() {
        let start = Instant::now();
        let mut neighbours = Neighbours::default();
        neighbours.keep([ip(7).into()].into_iter());
        for n in 0..2_000u32 {
            let mut frame = arp(9, 7, false);
            frame[28..32].copy_from_slice(&(0x0b00_0000 + n).to_be_bytes());
            neighbours.learn(start + std::time::Duration::from_millis(n.into()), &frame);
        }
        let last: IpAddr = (0x0b00_0000u32 + 1_999).to_be_bytes().into();
        assert_eq!(neighbours.of(ip(7).into()).count(), NEIGHBOURS_MAX);
        assert!(neighbours.of(ip(7).into()).any(|(ip, _)| ip == last));
    }
}
