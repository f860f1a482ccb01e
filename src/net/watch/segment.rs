//! The bridges that watched VMs are on: whom to ask there, and who answers.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use crate::base::Mac;
use crate::wire::arp;
use crate::wire::ndp::{self, NdpMessage};

use super::super::link::Link;
use super::super::outbox::Outbox;
use super::super::poll::{Poller, Token};
use super::super::raw::{Checksum, Frame, FrameSocket, Mode};
use super::super::sys::RecvBatch;
use super::SegmentId;

/// Batches read from a socket before others have their turn.
const BATCHES_PER_TURN: usize = 64;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Segments {
    segments: HashMap<SegmentId, Segment>,
    /// Who is watched by which address.
    watched: HashMap<(SegmentId, IpAddr), Vec<usize>>,
}

/// One, with its sockets: those of a family are opened when the first of it is watched, and stay,
/// as to close one takes milliseconds.
#[derive(Debug, Default)]
struct Segment {
    arp: Option<Asker>,
    nd: Option<Asker>,
}

#[derive(Debug)]
struct Asker {
    socket: FrameSocket,
    outbox: Outbox,
    /// Whom what is in the outbox asks.
    asked: Vec<usize>,
}

/// The socket of a segment that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Arp,
    Nd,
}

impl Segments {
    /// Has the answers of a VM found, and opens what it takes to ask it.
    pub(super) fn add(
        &mut self,
        id: SegmentId,
        slot: usize,
        addrs: &[IpAddr],
        poller: &Poller,
        token: impl Fn(Family) -> Token,
    ) -> io::Result<()> {
        let segment = self.segments.entry(id).or_default();
        for addr in addrs {
            let (family, asker) = match addr {
                IpAddr::V4(_) => (Family::Arp, &mut segment.arp),
                IpAddr::V6(_) => (Family::Nd, &mut segment.nd),
            };
            if asker.is_none() {
                let socket = match family {
                    Family::Arp => FrameSocket::arp(id, Mode::Serve)?,
                    Family::Nd => FrameSocket::neighbour_discovery(id, Mode::Serve)?,
                };
                poller.add(&socket, token(family))?;
                *asker = Some(Asker { socket, outbox: Outbox::default(), asked: Vec::new() });
            }
            self.watched.entry((id, *addr)).or_default().push(slot);
        }
        Ok(())
    }

    /// Forgets a VM on a segment.
    pub(super) fn remove(&mut self, id: SegmentId, slot: usize, addrs: &[IpAddr]) {
        for addr in addrs {
            if let Some(slots) = self.watched.get_mut(&(id, *addr)) {
                slots.retain(|other| *other != slot);
                if slots.is_empty() {
                    self.watched.remove(&(id, *addr));
                }
            }
        }
    }

    /// The interface is gone.
    pub(super) fn close(&mut self, id: SegmentId) {
        self.segments.remove(&id);
    }

    /// The segments that there are sockets of.
    pub(super) fn ids(&self) -> impl Iterator<Item = SegmentId> {
        self.segments.keys().copied()
    }

    /// Puts a question to a VM into the outbox, from `link`; whether there is one.
    pub(super) fn ask(&mut self, link: &Link, slot: usize, mac: Mac, addr: IpAddr) -> bool {
        let Some(segment) = self.segments.get_mut(&link.id) else { return false };
        let asker = match addr {
            IpAddr::V4(_) => &mut segment.arp,
            IpAddr::V6(_) => &mut segment.nd,
        };
        let Some(asker) = asker else { return false };
        asker.outbox.push(|out| match addr {
            IpAddr::V4(target) => {
                // Without an address of the same prefix it is a probe (RFC 5227 s2.1.1), which
                // changes nobody's cache.
                let own = link.addrs.iter().find(|a| a.prefix.contains(target));
                let source = own.map_or(Ipv4Addr::UNSPECIFIED, |a| a.addr);
                arp::write_request(out, link.mac, mac, link.mac, source, target);
            }
            IpAddr::V6(target) => {
                ndp::write_request(out, link.mac, Some(mac), link.link_local(), target);
            }
        });
        asker.asked.push(slot);
        true
    }

    /// Sends what was put into the outboxes; whom that may not have reached goes to `missed`.
    pub(super) fn flush(&mut self, missed: &mut Vec<usize>) {
        for segment in self.segments.values_mut() {
            for asker in [&mut segment.arp, &mut segment.nd].into_iter().flatten() {
                if asker.outbox.is_empty() {
                    continue;
                }
                if asker.socket.send(&mut asker.outbox).failed > 0 {
                    missed.extend_from_slice(&asker.asked);
                }
                asker.asked.clear();
            }
        }
    }

    /// Reads what came to a socket: each watched VM that an address of was spoken for, and by whom.
    pub(super) fn read(
        &self,
        id: SegmentId,
        family: Family,
        batch: &mut RecvBatch,
        mut heard: impl FnMut(usize, Mac),
    ) -> io::Result<()> {
        let Some(segment) = self.segments.get(&id) else { return Ok(()) };
        let asker = match family {
            Family::Arp => &segment.arp,
            Family::Nd => &segment.nd,
        };
        let Some(asker) = asker else { return Ok(()) };
        for _ in 0..BATCHES_PER_TURN {
            let count = asker.socket.recv(batch)?;
            for i in 0..count {
                let spoken = FrameSocket::frame(batch, i).and_then(|frame| spoken_for(&frame));
                let Some((addr, by)) = spoken else { continue };
                let slots = self.watched.get(&(id, addr)).map(Vec::as_slice).unwrap_or_default();
                slots.iter().for_each(|slot| heard(*slot, by));
            }
            if count < super::super::sys::BATCH {
                break;
            }
        }
        Ok(())
    }
}

/// The address that a frame's sender says is its own, and the sender's hardware address.
fn spoken_for(frame: &Frame<'_>) -> Option<(IpAddr, Mac)> {
    if frame.to_other_host || frame.vlan.is_some() || frame.truncated {
        return None;
    }
    if !frame.is_ipv6() {
        let arp = arp::read(frame.bytes)?;
        return Some((arp.sender_ip.into(), arp.eth_src));
    }
    let nd = ndp::read(frame.bytes, frame.checksum == Checksum::Unknown).ok()?;
    match nd.message {
        NdpMessage::NeighbourAdvert { target, .. } => Some((target.into(), nd.eth_src)),
        _ => Some((nd.src.into(), nd.eth_src)),
    }
}
