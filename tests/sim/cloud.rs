//! An orchestrator and its machines, on a network of their own: it registers them by the engine's
//! calls, boots them, names a MAC later, and ends them; of those that are ended some are gone at
//! once, and some go on answering for what they had. What it was told counts from when the disk
//! has it, as an answer of the API does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use foreshadow::base::{LinkId, Mac, NetworkId, Prefix4, Resource, Timestamp};
use foreshadow::engine::effects::{Arrival6, LinkUp, Neighbour, Probe, Source};
use foreshadow::engine::{Arrival, Input};
use foreshadow::lease::{Owner, Seq};
use foreshadow::wire::{Message, Message6, MessageType};

use super::client4::Client4;
use super::client6::{self, Client6, granted};
use super::random::Random;
use super::witness::Moment;
use super::world::{Event, Machines, World};

/// Its interface, which is always there.
pub(crate) const LINK: LinkId = LinkId(1 << 19);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1);
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// What happens on its network.
#[derive(Clone, Debug)]
pub(crate) enum Happens {
    /// The orchestrator does something.
    Acts,
    /// Somebody foresees something, or does something about it.
    Foresees,
    /// An instance comes that was foreseen.
    Comes(Owner),
    Wake4(u64),
    Wake6(u64),
    ToServer4(Vec<u8>, bool),
    ToServer6(Vec<u8>),
    ToClient4(Vec<u8>),
    ToClient6(Vec<u8>),
    Answers(Neighbour),
    /// A machine that was ended is gone at last.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The disk does not have it yet.
    Asked(Seq),
    Here,
    /// Its end is not on the disk yet.
    Ending(Seq),
    /// It was ended, and answers for what it had.
    Ghost,
    /// Nobody registered it.
    WalkIn,
}

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) id: Arc<str>,
    /// A reservation made at run time, and not an instance.
    pub(crate) is_host: bool,
    pub(crate) stage: Stage,
    pub(crate) account: Option<Arc<str>>,
    pub(crate) application: Option<Arc<str>>,
    /// What is kept for it, and since which turn.
    pub(crate) promise: Vec<Resource>,
    pub(crate) since: u64,
    /// Nobody knows its MAC yet.
    pub(crate) is_unnamed: bool,
    /// It said itself that somebody else has what it was given.
    pub(crate) has_declined: bool,
    /// What it had when it was ended, and until when that is kept back.
    pub(crate) had: Vec<(Resource, Timestamp)>,
    /// What it said that it has, since the server last asked for it.
    pub(crate) said: BTreeSet<Resource>,
    pub(crate) client: Client4,
    pub(crate) client6: Client6,
}

/// The orchestrator, as it sees the world.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) random: Random,
    pub(crate) machines: BTreeMap<u64, Machine>,
    pub(crate) made: u64,
}

impl Cloud {
    pub(crate) fn new(seed: u64) -> Cloud {
        Cloud { random: Random::new(seed ^ 0xc10d), machines: BTreeMap::new(), made: 0 }
    }

    fn of_mac(&self, mac: Mac) -> Option<u64> {
        self.machines.iter().find(|(_, m)| m.client.mac == mac).map(|(n, _)| *n)
    }

    pub(crate) fn one(&mut self, fits: impl Fn(&Machine) -> bool) -> Option<u64> {
        let fit: Vec<u64> =
            self.machines.iter().filter(|(_, m)| fits(m)).map(|(n, _)| *n).collect();
        (!fit.is_empty()).then(|| self.random.pick(&fit))
    }

    fn copies(&mut self) -> Vec<u64> {
        match self.random.below(100) {
            0..4 => Vec::new(),
            4..7 => vec![self.random.below(3), self.random.below(4000)],
            _ => vec![self.random.below(3)],
        }
    }

    /// Whether the machine `mac` or its ghost is there to answer.
    pub(crate) fn has(&self, mac: Mac, now: u64, resource: Resource) -> bool {
        let mut of = self.machines.values().filter(|m| m.client.mac == mac);
        of.any(|m| m.answers(now, resource))
    }
}

impl Machine {
    pub(crate) fn answers(&self, now: u64, resource: Resource) -> bool {
        match (self.stage, resource) {
            (Stage::Ghost, _) => self.had.iter().any(|(had, _)| *had == resource),
            (_, Resource::V4(addr)) => self.client.has(now, addr),
            _ => self.client6.has(now, resource),
        }
    }

    /// It has another MAC.
    pub(crate) fn is_called(&mut self, mac: Mac) {
        self.client = Client4::new(mac, None, 0);
        self.client6 = Client6::new(mac, duid(mac), false, 0);
    }

    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.stage, Stage::Asked(_) | Stage::Here)
    }
}

/// The interface that the server listens on.
pub(crate) fn link() -> LinkUp {
    LinkUp {
        link: LINK,
        name: "br1".into(),
        network: NetworkId::of("cloud"),
        mac: Mac([2, 0xff, 0, 0, 0, 2]),
        addrs: vec![(OWN, Prefix4::new(Ipv4Addr::new(10, 1, 0, 0), 24).expect("a prefix"))],
        addrs6: vec![OWN6],
    }
}

impl World {
    pub(crate) fn cloud_happens(&mut self, n: u64, what: Happens) {
        match what {
            Happens::Acts => return self.orchestrate(),
            Happens::Foresees => return self.foresees(),
            Happens::Comes(owner) => return self.registers(Some(owner.0), owner.1),
            Happens::Answers(seen) => {
                let mut of = self.cloud.machines.values_mut().filter(|m| m.client.mac == seen.mac);
                of.by_ref().for_each(|m| m.said.extend([Resource::from(seen.addr)]));
                return self.server.input(self.server_now(), Input::Neighbour(LINK, seen));
            }
            _ => {}
        }
        let (now, cloud) = (self.now, &mut self.cloud);
        let Some(machine) = cloud.machines.get_mut(&n) else { return };
        let is_ghost = machine.stage == Stage::Ghost;
        let (said, said6) = match what {
            Happens::Gone => {
                cloud.machines.remove(&n);
                return;
            }
            Happens::ToServer4(bytes, broadcast) => return self.cloud_says4(n, &bytes, broadcast),
            Happens::ToServer6(bytes) => return self.cloud_says6(n, &bytes),
            _ if is_ghost => return,
            Happens::Wake4(alarm) if machine.client.alarm == alarm => {
                (Some(machine.client.wake(now, &mut cloud.random)), None)
            }
            Happens::ToClient4(bytes) => {
                (Some(machine.client.hear(now, &bytes, &mut cloud.random)), None)
            }
            Happens::Wake6(alarm) if machine.client6.alarm == alarm => {
                (None, Some(machine.client6.wake(now, &mut cloud.random)))
            }
            Happens::ToClient6(bytes) => {
                (None, Some(machine.client6.hear(now, &bytes, &mut cloud.random)))
            }
            _ => return,
        };
        let (alarm, alarm6) = (machine.client.alarm, machine.client6.alarm);
        for said in said.into_iter().flatten() {
            for copy in self.cloud.copies() {
                let bytes = said.bytes.clone();
                self.at(copy, Event::Cloud(n, Happens::ToServer4(bytes, said.broadcast)));
            }
        }
        if let Some(said) = said6 {
            let copies = said.as_ref().map(|_| self.cloud.copies()).unwrap_or_default();
            for copy in copies {
                let bytes = said.clone().unwrap_or_default();
                self.at(copy, Event::Cloud(n, Happens::ToServer6(bytes)));
            }
            self.at(alarm6.saturating_sub(now), Event::Cloud(n, Happens::Wake6(alarm6)));
        } else {
            self.at(alarm.saturating_sub(now), Event::Cloud(n, Happens::Wake4(alarm)));
        }
    }

    fn cloud_says4(&mut self, n: u64, bytes: &[u8], broadcast: bool) {
        let now = self.now;
        let Some(machine) = self.cloud.machines.get_mut(&n) else { return };
        let is_decline = bytes.windows(3).any(|o| o == [53, 1, MessageType::Decline as u8]);
        machine.has_declined |= is_decline;
        let addr = machine.client.addr.filter(|addr| machine.client.has(now, *addr));
        let src = addr.filter(|_| !broadcast).unwrap_or(Ipv4Addr::UNSPECIFIED);
        let arrival = Arrival {
            link: LINK,
            port: None,
            trusted: false,
            trunk: true,
            src_mac: Some(machine.client.mac),
            src: SocketAddrV4::new(src, 68),
            dst: if broadcast { Ipv4Addr::BROADCAST } else { OWN },
            dst_port: 67,
        };
        let live = Machines(&self.clients, &self.clients6, self.now, &self.cloud);
        let believed = self.server.store_ok().then_some(30_000);
        let at = self.moment();
        self.witness.arrives4(at, bytes, Some(believed), &live);
        self.server.input(self.server_now(), Input::Packet4(arrival, bytes));
        self.judge_refusal(n);
    }

    fn cloud_says6(&mut self, n: u64, bytes: &[u8]) {
        let Some(machine) = self.cloud.machines.get_mut(&n) else { return };
        machine.has_declined |= bytes.first() == Some(&9);
        let mac = machine.client6.mac;
        let arrival = Arrival6 {
            link: LINK,
            port: None,
            trunk: true,
            src_mac: Some(mac),
            src: SocketAddrV6::new(mac.link_local(), 546, 0, 0),
            dst: SERVERS,
        };
        let live = Machines(&self.clients, &self.clients6, self.now, &self.cloud);
        let believed = self.server.store_ok().then_some(30_000);
        let at = self.moment();
        self.witness.arrives6(at, mac, bytes, believed, &live);
        self.server.input(self.server_now(), Input::Packet6(arrival, bytes));
    }

    /// Something leaves for one of the machines.
    pub(crate) fn cloud_leaves4(&mut self, decided: Moment, mac: Mac, bytes: &[u8]) {
        let msg = Message::parse(bytes).expect("we write what we can read");
        let addr = Some(msg.yiaddr()).filter(|addr| !addr.is_unspecified());
        let is_ack = msg.lease_time().is_some() && !is_offer(bytes);
        addr.into_iter().for_each(|addr| self.judge_cloud(decided, mac, addr.into(), is_ack));
        let found = self.cloud.of_mac(mac);
        for copy in found.iter().flat_map(|_| self.cloud.copies()).collect::<Vec<_>>() {
            let what = Happens::ToClient4(bytes.to_vec());
            self.at(copy, Event::Cloud(found.unwrap_or_default(), what));
        }
    }

    pub(crate) fn cloud_leaves6(&mut self, decided: Moment, mac: Mac, bytes: &[u8]) {
        let msg = Message6::parse(bytes).expect("we write what we can read");
        let is_reply = bytes.first() == Some(&7);
        for (resource, _) in granted(&msg) {
            self.judge_cloud(decided, mac, resource, is_reply);
        }
        let found = self.cloud.of_mac(mac);
        for copy in found.iter().flat_map(|_| self.cloud.copies()).collect::<Vec<_>>() {
            let what = Happens::ToClient6(bytes.to_vec());
            self.at(copy, Event::Cloud(found.unwrap_or_default(), what));
        }
    }

    /// A promise is kept: nobody else gets it, and its machine gets nothing else. What a ghost
    /// answers for is nobody's until its time is over.
    fn judge_cloud(&mut self, decided: Moment, mac: Mac, resource: Resource, is_granted: bool) {
        for machine in self.cloud.machines.values() {
            let own = machine.client.mac == mac;
            let known = machine.stage == Stage::Here && decided.turn > machine.since;
            if known && !own {
                let promised = machine.promise.contains(&resource);
                assert!(!promised, "{resource} of {} goes to {mac}", machine.id);
            }
            let alike = |p: &&Resource| p.sort() == resource.sort();
            let judged = known && own && is_granted && !machine.has_declined;
            let promised = machine.promise.iter().find(alike);
            if let Some(promised) = promised.filter(|_| judged && !machine.is_unnamed) {
                assert_eq!(*promised, resource, "{} was promised another", machine.id);
                self.tally.seen("promised addresses that were given at boot");
            }
            let held = |(had, until): &(Resource, Timestamp)| {
                *had == resource && decided.server < *until && machine.since < decided.turn
            };
            let back = machine.stage == Stage::Ghost && !own && machine.had.iter().any(held);
            assert!(!back, "{resource} goes to {mac}, and the ghost {} answers", machine.id);
        }
    }

    /// The wire is asked: who has it answers, be it a ghost.
    pub(crate) fn cloud_answers(&mut self, probe: &Probe) {
        let asked = |m: &&Machine| {
            let addr = Resource::from(probe.target);
            let is_on = m.client6.state != client6::State::Off || m.stage == Stage::Ghost;
            let by_link = is_on && probe.target == IpAddr::V6(m.client.mac.link_local());
            probe.to.is_none_or(|to| to == m.client.mac) && (m.answers(self.now, addr) || by_link)
        };
        let macs: Vec<Mac> =
            self.cloud.machines.values().filter(asked).map(|m| m.client.mac).collect();
        for machine in self.cloud.machines.values_mut() {
            machine.said.remove(&probe.target.into());
        }
        for mac in macs {
            let source = Source::Behind(mac);
            let seen = Neighbour { addr: probe.target, mac, frame_source: mac, source };
            let delay = self.cloud.random.below(50);
            self.at(delay, Event::Cloud(0, Happens::Answers(seen)));
        }
    }
}

pub(crate) fn duid(mac: Mac) -> Vec<u8> {
    [&[0, 3, 0, 1][..], &mac.0].concat()
}

fn is_offer(bytes: &[u8]) -> bool {
    bytes.windows(3).any(|option| option == [53, 1, MessageType::Offer as u8])
}

/// Whose link-local address that is (RFC 4291 appendix A).
pub(crate) fn mac_of(addr: Ipv6Addr) -> Option<Mac> {
    let [.., a, b, c, _, _, d, e, f] = addr.octets();
    let mac = Mac([a ^ 2, b, c, d, e, f]);
    (mac.link_local() == addr).then_some(mac)
}
