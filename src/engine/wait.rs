//! Decisions that wait for ARP: is this address free, does its holder live, and is the one who
//! renews it the one who has it? They wait beside the path of everybody else.
//!
//! Answers can be forged, so what a client answers for itself proves nothing before the time is
//! over and nobody else has spoken.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::base::{LinkId, Mac, NetworkId, Span, Timestamp};

use super::Engine;
use super::context::{Ctx, Proof};
use super::effects::{ArpOut, ArpSeen, Arrival, DropReason, Effects};
use super::verify::Source;

/// Most packets that wait at once.
const WAITING_MAX: usize = 1024;
/// Most of them from one access port.
const PORT_MAX: usize = 64;
/// How long an answer may take.
const WAIT: Span = Span::from_ms(100);

/// Packets kept until ARP has spoken.
#[derive(Debug, Default)]
pub struct WaitingRoom {
    questions: BTreeMap<(NetworkId, Ipv4Addr), Question>,
    deadlines: BTreeSet<(Timestamp, NetworkId, Ipv4Addr)>,
    count: usize,
    by_port: BTreeMap<LinkId, usize>,
}

#[derive(Debug)]
struct Question {
    deadline: Timestamp,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    arrival: Arrival,
    bytes: Box<[u8]>,
    proofs: Vec<Proof>,
    /// Whose share it counts against.
    share: Option<LinkId>,
    /// The one who asks.
    mac: Option<Mac>,
    /// The one who was asked, if not everybody.
    holder: Option<Mac>,
    /// The one who asks has answered.
    own_answer: bool,
}

impl WaitingRoom {
    /// When the first of them has waited long enough.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, ..)| *at)
    }

    /// Whether no more are kept for clients of this port.
    pub fn is_full(&self, share: Option<LinkId>) -> bool {
        let of_port = share.and_then(|port| self.by_port.get(&port)).copied().unwrap_or(0);
        self.count >= WAITING_MAX || of_port >= PORT_MAX
    }

    fn left(&mut self, waiting: &Waiting) {
        self.count -= 1;
        if let Some(port) = waiting.share
            && let Some(count) = self.by_port.get_mut(&port)
        {
            *count -= 1;
            if *count == 0 {
                self.by_port.remove(&port);
            }
        }
    }

    /// Takes out what `decided` says is decided about `addr`.
    fn take(
        &mut self,
        network: NetworkId,
        addr: Ipv4Addr,
        decided: impl FnMut(&mut Waiting) -> bool,
    ) -> Vec<Waiting> {
        let Some(question) = self.questions.get_mut(&(network, addr)) else { return Vec::new() };
        let taken: Vec<Waiting> = question.waiting.extract_if(.., decided).collect();
        if question.waiting.is_empty() {
            let deadline = question.deadline;
            self.questions.remove(&(network, addr));
            self.deadlines.remove(&(deadline, network, addr));
        }
        taken.iter().for_each(|waiting| self.left(waiting));
        taken
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
        let (room, share) = (&mut self.waiting, ctx.share());
        if room.is_full(share) {
            return Err(DropReason::Overload);
        }
        let deadline = ctx.now + WAIT;
        let question = room.questions.entry((ctx.id(), addr)).or_insert_with(|| {
            room.deadlines.insert((deadline, ctx.id(), addr));
            Question { deadline, waiting: Vec::new() }
        });
        // A client that repeats itself while it waits gets one answer.
        if question.waiting.iter().any(|w| *w.bytes == *ctx.bytes) {
            return Ok(());
        }
        let holder = Some(to).filter(|to| !to.is_group());
        if question.waiting.iter().all(|w| w.holder != holder) {
            // RFC 5227 s2.1.1: a probe names no sender, so that it upsets no neighbour's table.
            let sender_ip = Ipv4Addr::UNSPECIFIED;
            fx.arps.push(ArpOut { link: ctx.arrival.link, to, sender_ip, target_ip: addr });
        }
        question.waiting.push(Waiting {
            arrival: ctx.arrival,
            bytes: ctx.bytes.into(),
            proofs: ctx.proofs.to_vec(),
            share,
            mac: ctx.hw.mac(),
            holder,
            own_answer: false,
        });
        room.count += 1;
        if let Some(port) = share {
            *room.by_port.entry(port).or_default() += 1;
        }
        Ok(())
    }

    /// Decides what has waited long enough: nobody but, perhaps, the one who asks has answered.
    pub(super) fn resolve_waiting(&mut self, now: Timestamp, fx: &mut Effects) {
        while let Some((at, network, addr)) = self.waiting.deadlines.first().copied() {
            if at > now {
                return;
            }
            for waiting in self.waiting.take(network, addr, |_| true) {
                let answer = waiting.mac.filter(|_| waiting.own_answer);
                let port = waiting.arrival.port;
                self.decide(now, waiting, Proof { addr, answer, port }, fx);
            }
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
        // What does not come from the one it speaks of is hearsay.
        if addr.is_unspecified() || mac.is_group() || ours || seen.frame_source != mac {
            return;
        }
        let Some(net) = self.net_index(network) else { return };
        let source = Source::of(seen.port, mac);
        let believed = !self.nets[net].verifier.is_proxy(source, now);
        let decided = self.waiting.take(network, addr, |waiting| {
            let own = waiting.mac == Some(mac);
            waiting.own_answer |= own;
            !own && (believed || waiting.holder == Some(mac))
        });
        for waiting in decided {
            let proof = Proof { addr, answer: Some(mac), port: seen.port };
            self.decide(now, waiting, proof, fx);
        }
        if believed {
            self.verifier_heard(now, net, addr, mac, source, fx);
        }
    }

    fn decide(&mut self, now: Timestamp, mut waiting: Waiting, proof: Proof, fx: &mut Effects) {
        waiting.proofs.push(proof);
        self.packet4(now, waiting.arrival, &waiting.bytes, &waiting.proofs, fx);
    }
}
