//! Decisions that wait for one ARP answer: is this address free, does its holder live, and is
//! the one who renews it the one who has it? They wait beside the path of everybody else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::base::{Mac, NetworkId, Span, Timestamp};

use super::Engine;
use super::context::{Ctx, Proof};
use super::effects::{ArpOut, ArpSeen, Arrival, DropReason, Effects};
use crate::base::LinkId;

/// Most packets that wait at once.
const WAITING_MAX: usize = 1024;
/// How long an answer may take.
const WAIT: Span = Span::from_ms(100);

/// Packets kept until ARP has spoken.
#[derive(Debug, Default)]
pub struct WaitingRoom {
    by_addr: BTreeMap<(NetworkId, Ipv4Addr), Vec<Waiting>>,
    deadlines: BTreeSet<(Timestamp, NetworkId, Ipv4Addr)>,
    count: usize,
}

#[derive(Debug)]
struct Waiting {
    arrival: Arrival,
    bytes: Box<[u8]>,
    proofs: Vec<Proof>,
}

impl WaitingRoom {
    /// When the first of them has waited long enough.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, ..)| *at)
    }

    /// Whether no more are kept.
    pub fn is_full(&self) -> bool {
        self.count >= WAITING_MAX
    }

    fn take(&mut self, network: NetworkId, addr: Ipv4Addr) -> Vec<Waiting> {
        let waiting = self.by_addr.remove(&(network, addr)).unwrap_or_default();
        self.count -= waiting.len();
        waiting
    }
}

impl Engine {
    /// Keeps the packet until ARP has answered for `addr`, or 100 ms have passed. The question
    /// goes to `to`: one host, or everybody.
    pub(super) fn wait(
        &mut self,
        ctx: &Ctx<'_>,
        addr: Ipv4Addr,
        to: Mac,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let key = (ctx.id(), addr);
        let room = &mut self.waiting;
        if room.is_full() {
            return Err(DropReason::Overload);
        }
        let queue = room.by_addr.entry(key).or_default();
        // A client that repeats itself while it waits gets one answer.
        let again =
            |w: &Waiting| w.bytes.get(4..8) == ctx.bytes.get(4..8) && *w.bytes == *ctx.bytes;
        if queue.iter().any(again) {
            return Ok(());
        }
        if queue.is_empty() {
            room.deadlines.insert((ctx.now + WAIT, key.0, key.1));
            // RFC 5227 s2.1.1: a probe names no sender, so that it upsets no neighbour's table.
            let sender_ip = Ipv4Addr::UNSPECIFIED;
            fx.arps.push(ArpOut { link: ctx.arrival.link, to, sender_ip, target_ip: addr });
        }
        queue.push(Waiting {
            arrival: ctx.arrival,
            bytes: ctx.bytes.into(),
            proofs: ctx.proofs.to_vec(),
        });
        room.count += 1;
        Ok(())
    }

    /// Decides what has waited long enough: nobody answered.
    pub(super) fn resolve_waiting(&mut self, now: Timestamp, fx: &mut Effects) {
        while let Some((at, network, addr)) = self.waiting.deadlines.first().copied() {
            if at > now {
                return;
            }
            self.waiting.deadlines.pop_first();
            self.resolve(now, network, Proof { addr, answer: None }, fx);
        }
    }

    /// Somebody on `link` said who it is.
    pub(super) fn arp_seen(
        &mut self,
        now: Timestamp,
        link: LinkId,
        seen: ArpSeen,
        fx: &mut Effects,
    ) {
        let Some(network) = self.links.get(&link).map(|up| up.network) else { return };
        let (addr, mac) = (seen.sender_ip, seen.sender);
        let ours = self.links.values().any(|up| up.mac == mac);
        if addr.is_unspecified() || mac.is_group() || ours {
            return;
        }
        let Some(net) = self.net_index(network) else { return };
        if self.nets[net].verifier.is_proxy(mac) {
            return;
        }
        if self.waiting.by_addr.contains_key(&(network, addr)) {
            self.waiting.deadlines.retain(|(_, n, a)| (*n, *a) != (network, addr));
            self.resolve(now, network, Proof { addr, answer: Some(mac) }, fx);
        }
        self.verifier_heard(now, net, addr, mac, fx);
    }

    fn resolve(&mut self, now: Timestamp, network: NetworkId, proof: Proof, fx: &mut Effects) {
        for mut waiting in self.waiting.take(network, proof.addr) {
            waiting.proofs.push(proof);
            self.packet4(now, waiting.arrival, &waiting.bytes, &waiting.proofs, fx);
        }
    }
}
