//! Decisions that wait for the wire: is this address free, does its holder live, and is the one
//! who renews it the one who has it? They wait beside the path of everybody else.
//!
//! Answers can be forged, so what a client answers for itself proves nothing before the time is
//! over and nobody else has spoken.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::{LinkId, Mac, NetworkId, Span, Timestamp};

use super::Engine;
use super::context::Proof;
use super::effects::{Arrival, Arrival6, DropReason, Effects, Neighbour, Probe, Source};

/// Most packets that wait at once.
const WAITING_MAX: usize = 1024;
/// Most questions at once for packets from one access port: each is a frame to everybody.
const PORT_MAX: usize = 64;
/// How long an answer may take.
pub(super) const WAIT: Span = Span::from_ms(100);

/// Packets kept until the wire has spoken.
#[derive(Debug, Default)]
pub struct WaitingRoom {
    waiting: BTreeMap<u64, Waiting>,
    entered: u64,
    asked: BTreeSet<(NetworkId, IpAddr, u64)>,
    deadlines: BTreeSet<(Timestamp, u64)>,
    by_port: BTreeMap<LinkId, usize>,
}

#[derive(Debug)]
struct Waiting {
    packet: Packet,
    network: NetworkId,
    deadline: Timestamp,
    questions: Vec<Question>,
    /// How many there were.
    asked: usize,
    /// Answers may have been missed.
    deaf: bool,
}

/// A packet, to be decided anew when the wire has said what it waits for.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Where it came in.
    pub came: Came,
    /// Its bytes.
    pub bytes: Box<[u8]>,
    /// What the wire has said already.
    pub proofs: Vec<Proof>,
    /// Whose share it counts against.
    pub share: Option<LinkId>,
    /// The one who asks.
    pub mac: Option<Mac>,
}

/// The arrival of a packet of either protocol.
#[derive(Clone, Copy, Debug)]
pub enum Came {
    /// DHCPv4.
    V4(Arrival),
    /// DHCPv6.
    V6(Arrival6),
}

/// One address that is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    addr: IpAddr,
    /// The one who was asked, if not everybody.
    holder: Option<Mac>,
    /// The one who asks has answered.
    own_answer: bool,
}

impl Question {
    /// Who has `addr`? Asked of `holder`, or of everybody.
    pub fn new(addr: impl Into<IpAddr>, holder: Option<Mac>) -> Question {
        Question { addr: addr.into(), holder, own_answer: false }
    }

    /// Whether the holder of a binding is asked, and not everybody.
    pub fn is_of_holder(&self) -> bool {
        self.holder.is_some()
    }
}

impl Came {
    fn link(&self) -> LinkId {
        match self {
            Came::V4(arrival) => arrival.link,
            Came::V6(arrival) => arrival.link,
        }
    }
}

impl WaitingRoom {
    /// When the first of them has waited long enough.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// How many have ever waited.
    pub(super) fn entered(&self) -> u64 {
        self.entered
    }

    /// Whether no more are kept for clients of this port.
    pub fn is_full(&self, share: Option<LinkId>) -> bool {
        let of_port = share.and_then(|port| self.by_port.get(&port)).copied().unwrap_or(0);
        self.waiting.len() >= WAITING_MAX || of_port >= PORT_MAX
    }

    /// Those that ask about `addr`.
    fn asking(&self, network: NetworkId, addr: IpAddr) -> Vec<u64> {
        let range = (network, addr, 0)..=(network, addr, u64::MAX);
        self.asked.range(range).map(|(.., id)| *id).collect()
    }

    fn enter(&mut self, waiting: Waiting) {
        self.entered += 1;
        let id = self.entered;
        self.asked.extend(waiting.questions.iter().map(|q| (waiting.network, q.addr, id)));
        self.deadlines.insert((waiting.deadline, id));
        if let Some(port) = waiting.packet.share {
            *self.by_port.entry(port).or_default() += waiting.asked;
        }
        self.waiting.insert(id, waiting);
    }

    fn leave(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        self.deadlines.remove(&(waiting.deadline, id));
        for question in &waiting.questions {
            self.asked.remove(&(waiting.network, question.addr, id));
        }
        if let Some(port) = waiting.packet.share
            && let Some(count) = self.by_port.get_mut(&port)
        {
            *count = count.saturating_sub(waiting.asked);
            if *count == 0 {
                self.by_port.remove(&port);
            }
        }
        Some(waiting)
    }

    /// `proof` settles a question of this one, and the others to the same host: it lives. The
    /// packet, if nothing is left to ask.
    fn settle(&mut self, id: u64, proof: Proof) -> Option<Packet> {
        let waiting = self.waiting.get_mut(&id)?;
        let settled = |q: &mut Question| {
            q.addr == proof.addr || (q.holder.is_some() && q.holder == proof.answer)
        };
        for question in waiting.questions.extract_if(.., settled) {
            self.asked.remove(&(waiting.network, question.addr, id));
        }
        waiting.packet.proofs.push(proof);
        let over = waiting.questions.is_empty();
        over.then(|| self.leave(id)).flatten().map(|waiting| waiting.packet)
    }
}

impl Engine {
    /// Keeps the packet until the wire has answered every question, or 100 ms have passed.
    pub(super) fn wait(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        packet: Packet,
        mut questions: Vec<Question>,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let link = packet.came.link();
        let room = &mut self.waiting;
        if room.is_full(packet.share) {
            return Err(DropReason::Overload);
        }
        for question in &mut questions {
            let mut asked = false;
            for id in room.asking(network, question.addr) {
                let Some(other) = room.waiting.get(&id) else { continue };
                // A client that repeats itself while it waits gets one answer.
                if other.packet.bytes == packet.bytes {
                    return Ok(());
                }
                for same in other.questions.iter().filter(|q| q.addr == question.addr) {
                    asked |= same.holder == question.holder;
                    question.own_answer |= same.own_answer && other.packet.mac == packet.mac;
                }
            }
            if !asked {
                fx.probes.push(Probe { link, to: question.holder, target: question.addr });
            }
        }
        let asked = questions.len();
        let (deadline, deaf) = (now + WAIT, false);
        room.enter(Waiting { packet, network, deadline, questions, asked, deaf });
        Ok(())
    }

    /// Decides what has waited long enough: nobody but, perhaps, the one who asks has answered.
    pub(super) fn resolve_waiting(&mut self, now: Timestamp, fx: &mut Effects) {
        while let Some((at, id)) = self.waiting.deadlines.first().copied() {
            if at > now {
                return;
            }
            let Some(Waiting { mut packet, questions, deaf, .. }) = self.waiting.leave(id) else {
                return;
            };
            packet.proofs.extend(questions.iter().map(|question| {
                let answer = packet.mac.filter(|_| question.own_answer);
                Proof { addr: question.addr, answer, source: Source::Unknown, heard: !deaf }
            }));
            self.decide(now, &packet, fx);
        }
    }

    /// Somebody on `link` said who it is.
    pub(super) fn neighbour_heard(
        &mut self,
        now: Timestamp,
        link: LinkId,
        seen: Neighbour,
        fx: &mut Effects,
    ) {
        let Some(network) = self.links.get(&link).map(|up| up.network) else { return };
        let Neighbour { addr, mac, source, .. } = seen;
        let ours = self.links.values().any(|up| up.mac == mac);
        // What does not come from the one it speaks of is hearsay.
        if addr.is_unspecified() || mac.is_group() || ours || seen.frame_source != mac {
            return;
        }
        let Some(net) = self.net_index(network) else { return };
        let believed = !self.nets[net].verifier.is_proxy(source, now);
        for id in self.waiting.asking(network, addr) {
            let Some(waiting) = self.waiting.waiting.get_mut(&id) else { continue };
            let own = waiting.packet.mac == Some(mac);
            let question = waiting.questions.iter_mut().find(|q| q.addr == addr);
            let Some(question) = question else { continue };
            question.own_answer |= own;
            if own || !(believed || question.holder == Some(mac)) {
                continue;
            }
            let proof = Proof { addr, answer: Some(mac), source, heard: true };
            if let Some(packet) = self.waiting.settle(id, proof) {
                self.decide(now, &packet, fx);
            }
        }
        if believed {
            self.nets[net].farewells.heard(now, addr);
            self.verifier_heard(now, net, addr, mac, source, fx);
        }
    }

    /// Nobody may be taken for silent by what was asked on `link` before now: whoever floods it
    /// with answers of others could else have a neighbour's address.
    pub(super) fn deaf(&mut self, link: LinkId) {
        for waiting in self.waiting.waiting.values_mut() {
            waiting.deaf |= waiting.packet.came.link() == link;
        }
        let Some(network) = self.links.get(&link).map(|up| up.network) else { return };
        if let Some(net) = self.net_index(network).and_then(|net| self.nets.get_mut(net)) {
            net.abandon_proofs();
            net.farewells.deaf();
        }
    }

    fn decide(&mut self, now: Timestamp, packet: &Packet, fx: &mut Effects) {
        match packet.came {
            Came::V4(arrival) => self.packet4(now, arrival, &packet.bytes, &packet.proofs, fx),
            Came::V6(arrival) => self.packet6(now, arrival, &packet.bytes, &packet.proofs, fx),
        }
    }
}
