//! One simulated world: the server, its disk, the wires, and everybody on them, all driven by one
//! queue of events and one source of chance.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foreshadow::base::{LinkId, Mac, NetworkId, Prefix4, Resource, Timestamp};
use foreshadow::config::Policy;
use foreshadow::engine::effects::{Arrival6, LinkUp, Neighbour, Probe, Source};
use foreshadow::engine::{Arrival, Destination, Input};
use foreshadow::lease::Lease;
use foreshadow::wire::{Message, Message6};

use super::client4::{Client4, Said};
use super::client6::{self, Client6, named};
use super::disk::SimDisk;
use super::random::Random;
use super::server::{Outgoing, Server};
use super::tally::Tally;
use super::troubles::open;
use super::watched::Durable;
use super::witness::{Live, Moment, Witness};

pub(crate) const BRIDGE: LinkId = LinkId(1);
/// Bridge ports are numbered from here by client.
pub(crate) const PORTS: u32 = 100;
pub(crate) const CLIENTS: usize = 24;
pub(crate) const CLIENTS6: usize = 16;
pub(crate) const DUID: &[u8] = b"\0\x04our-own-duid-1234";
/// Longer than any offer, quarantine or lease.
pub(crate) const CALM: u64 = 130_000;
pub(crate) const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
/// How long a clock is doubted that may be wrong.
pub(crate) const GRACE: u64 = 600_000;
pub(crate) const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

pub(crate) enum Event {
    /// A packet reaches the server: from which client, its bytes, sent to everybody.
    ToServer4(usize, Vec<u8>, bool),
    /// A packet reaches a client.
    ToClient4(usize, Vec<u8>),
    /// The same for DHCPv6.
    ToServer6(usize, Vec<u8>),
    ToClient6(usize, Vec<u8>),
    Wake6(usize, u64),
    /// A client's alarm.
    Wake4(usize, u64),
    /// Somebody answers a probe.
    Neighbour(Neighbour),
    /// The disk is done.
    Disk,
    /// Something is about to go wrong.
    Trouble,
    /// The server is told that its time is right.
    Trusted,
    /// Somebody who means no good sends something.
    Hostile,
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) now: u64,
    /// How much has happened at this moment.
    still: u32,
    /// What the server's clock is ahead of `now`.
    pub(crate) ahead: u64,
    /// Whether it is known to be right.
    pub(crate) trusted: bool,
    pub(crate) ticks: Arc<AtomicU64>,
    pub(crate) events: BTreeMap<(u64, u64), Event>,
    pub(crate) numbered: u64,
    pub(crate) policies: Vec<Arc<Policy>>,
    pub(crate) current: usize,
    pub(crate) disk: SimDisk,
    pub(crate) durable: Durable,
    pub(crate) server: Server,
    pub(crate) clients: Vec<Client4>,
    pub(crate) clients6: Vec<Client6>,
    pub(crate) witness: Witness,
    pub(crate) tally: Tally,
    /// Says everything that happens: `SIM_VERBOSE`.
    pub(crate) verbose: bool,
    /// A checksum of all that left.
    pub(crate) digest: u64,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Event::ToServer4(i, bytes, _) => write!(f, "client {i} to server: {}", spelt(bytes)),
            Event::ToClient4(i, bytes) => write!(f, "server to client {i}: {}", spelt(bytes)),
            Event::Wake4(i, _) => write!(f, "alarm of {i}"),
            Event::ToServer6(i, bytes) => write!(f, "client6 {i} to server: {}", spelt6(bytes)),
            Event::ToClient6(i, bytes) => write!(f, "server to client6 {i}: {}", spelt6(bytes)),
            Event::Wake6(i, _) => write!(f, "alarm of client6 {i}"),
            Event::Neighbour(seen) => write!(f, "{} has {}", seen.mac, seen.addr),
            Event::Disk => write!(f, "disk"),
            Event::Trouble => write!(f, "trouble"),
            Event::Trusted => write!(f, "clock trusted"),
            Event::Hostile => write!(f, "hostile"),
        }
    }
}

/// What matters of a packet, for people.
pub(crate) fn spelt(bytes: &[u8]) -> String {
    let Ok(msg) = Message::parse(bytes) else { return "noise".to_owned() };
    let (kind, mac, ciaddr, yiaddr) = (msg.kind(), msg.hw(), msg.ciaddr(), msg.yiaddr());
    let (wanted, xid, secs) = (msg.requested_ip(), msg.xid(), msg.lease_time());
    format!("{kind:?} {mac:?} xid {xid:x} ci {ciaddr} yi {yiaddr} wants {wanted:?} {secs:?}")
}

pub(crate) fn spelt6(bytes: &[u8]) -> String {
    let Ok(msg) = Message6::parse(bytes) else { return "noise".to_owned() };
    format!("{:?} xid {:x} {:?}", msg.kind(), msg.xid(), named(&msg))
}

impl World {
    pub(crate) fn new(seed: u64, policies: &[Arc<Policy>]) -> World {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(random.next());
        let ticks = Arc::new(AtomicU64::new(0));
        let (store, contents) = open(&disk).expect("a new disk is sound");
        let durable = store.durable.clone();
        let store = Box::new(store);
        let server = Server::start(policies[0].clone(), store, contents, Arc::clone(&ticks));
        let clients = (0..CLIENTS).map(|i| client(i, &mut random)).collect();
        let clients6 = (0..CLIENTS6).map(|i| client6(i, &mut random)).collect();
        let mut world = World {
            random,
            now: 0,
            still: 0,
            ahead: 1_700_000_000_000,
            trusted: true,
            ticks,
            events: BTreeMap::new(),
            numbered: 0,
            policies: policies.to_vec(),
            current: 0,
            disk,
            durable,
            server,
            clients,
            clients6,
            witness: Witness::default(),
            tally: Tally::default(),
            verbose: std::env::var("SIM_VERBOSE").is_ok(),
            digest: 0,
        };
        world.link_up();
        for i in 0..CLIENTS {
            world.set_alarm(i);
        }
        for i in 0..CLIENTS6 {
            world.client6_says(i, None);
        }
        world.at(1000, Event::Trouble);
        world.at(1500, Event::Hostile);
        world
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { now: self.now, server: self.server_now(), turn: self.server.turn }
    }

    pub(crate) fn server_now(&self) -> Timestamp {
        Timestamp(self.now + self.ahead)
    }

    pub(crate) fn at(&mut self, delay: u64, event: Event) {
        self.numbered += 1;
        self.events.insert((self.now + delay, self.numbered), event);
    }

    pub(crate) fn set_alarm(&mut self, i: usize) {
        let alarm = self.clients[i].alarm;
        self.at(alarm.saturating_sub(self.now), Event::Wake4(i, alarm));
    }

    pub(crate) fn pass_to(&mut self, at: u64) {
        self.still = if at > self.now { 0 } else { self.still + 1 };
        assert!(self.still < 5_000, "time stands still: something is due and does not happen");
        self.now = self.now.max(at);
        self.ticks.store(self.now, Ordering::Relaxed);
    }

    /// The next thing happens.
    pub(crate) fn step(&mut self) {
        let head = self.events.first_key_value().map_or(u64::MAX, |((at, _), _)| *at);
        let wake = self.server.engine.next_wakeup().unwrap_or(Timestamp::NEVER);
        let wake = wake.0.saturating_sub(self.ahead).max(self.now);
        let tend = self.now + self.server.patience().max(1);
        if tend < head && tend < wake {
            self.pass_to(tend);
            self.disk_works();
        } else if wake <= head {
            self.pass_to(wake);
            if self.verbose {
                println!("{:>10} tick", self.now);
            }
            self.server.input(self.server_now(), Input::Tick);
        } else if let Some(((at, _), event)) = self.events.pop_first() {
            self.pass_to(at);
            self.happen(event);
        }
        self.look();
        self.check_bounds();
    }

    pub(crate) fn happen(&mut self, event: Event) {
        if self.verbose {
            println!("{:>10} {event:?}", self.now);
        }
        match event {
            Event::ToServer4(i, bytes, broadcast) => self.deliver4(i, &bytes, broadcast),
            Event::ToClient4(i, bytes) => {
                let said = self.clients[i].hear(self.now, &bytes, &mut self.random);
                self.client_says(i, said);
            }
            Event::Wake4(i, alarm) if self.clients[i].alarm == alarm => {
                let said = self.clients[i].wake(self.now, &mut self.random);
                self.client_says(i, said);
            }
            Event::Wake4(..) => {}
            Event::ToServer6(i, bytes) => self.deliver6(i, &bytes),
            Event::ToClient6(i, bytes) => {
                let said = self.clients6[i].hear(self.now, &bytes, &mut self.random);
                self.client6_says(i, said);
            }
            Event::Wake6(i, alarm) if self.clients6[i].alarm == alarm => {
                let said = self.clients6[i].wake(self.now, &mut self.random);
                self.client6_says(i, said);
            }
            Event::Wake6(..) => {}
            Event::Neighbour(seen) => self.heard(seen),
            Event::Disk => self.disk_works(),
            Event::Trouble => self.trouble(),
            Event::Trusted => {
                self.trusted = true;
                self.server.input(self.server_now(), Input::ClockTrusted(true));
            }
            Event::Hostile if self.random.chance(500) => self.hostile(),
            Event::Hostile => self.hostile6(),
        }
    }

    pub(crate) fn client_says(&mut self, i: usize, said: Vec<Said>) {
        for said in said {
            for copy in self.copies() {
                self.at(copy, Event::ToServer4(i, said.bytes.clone(), said.broadcast));
            }
        }
        self.set_alarm(i);
    }

    /// What the wire makes of one packet: the delay of each copy that arrives.
    pub(crate) fn copies(&mut self) -> Vec<u64> {
        let delay = self.random.below(3);
        match self.random.below(100) {
            0..4 => {
                self.tally.fault("packet lost");
                Vec::new()
            }
            4..7 => {
                self.tally.fault("packet duplicated");
                vec![delay, self.random.below(4000)]
            }
            7..11 => {
                self.tally.fault("packet late, others overtake it");
                vec![self.random.below(3000)]
            }
            _ => vec![delay],
        }
    }

    pub(crate) fn deliver4(&mut self, i: usize, bytes: &[u8], broadcast: bool) {
        let live = Machines(&self.clients, &self.clients6, self.now);
        self.witness.arrives4(self.moment(), bytes, true, &live);
        self.meet4(bytes);
        let client = &self.clients[i];
        let addr = client.addr.filter(|addr| client.has(self.now, *addr));
        let src = addr.filter(|_| !broadcast).unwrap_or(Ipv4Addr::UNSPECIFIED);
        let arrival = Arrival {
            link: BRIDGE,
            port: is_access(i).then_some(LinkId(PORTS + i as u32)),
            trusted: false,
            trunk: !is_access(i),
            src_mac: Some(client.mac),
            src: SocketAddrV4::new(src, 68),
            dst: if broadcast { Ipv4Addr::BROADCAST } else { OWN },
            dst_port: 67,
        };
        self.server.input(self.server_now(), Input::Packet4(arrival, bytes));
    }

    pub(crate) fn client6_says(&mut self, i: usize, said: Option<Vec<u8>>) {
        if let Some(bytes) = said {
            for copy in self.copies() {
                self.at(copy, Event::ToServer6(i, bytes.clone()));
            }
        }
        let alarm = self.clients6[i].alarm;
        self.at(alarm.saturating_sub(self.now), Event::Wake6(i, alarm));
    }

    pub(crate) fn deliver6(&mut self, i: usize, bytes: &[u8]) {
        let port = is_access(i).then_some(LinkId(PORTS + i as u32));
        self.from6(self.clients6[i].mac, port, bytes);
    }

    pub(crate) fn from6(&mut self, mac: Mac, port: Option<LinkId>, bytes: &[u8]) {
        let live = Machines(&self.clients, &self.clients6, self.now);
        let at = Moment { now: self.now, server: self.server_now(), turn: self.server.turn };
        self.witness.arrives6(at, mac, bytes, &live);
        self.meet6(bytes, mac);
        let arrival = Arrival6 {
            link: BRIDGE,
            port,
            trunk: port.is_none(),
            src_mac: Some(mac),
            src: SocketAddrV6::new(mac.link_local(), 546, 0, 0),
            dst: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2),
        };
        self.server.input(self.server_now(), Input::Packet6(arrival, bytes));
    }

    /// Takes up everything that the server has done.
    pub(crate) fn look(&mut self) {
        for out in std::mem::take(&mut self.server.sent) {
            self.leaves(out);
        }
        for probe in std::mem::take(&mut self.server.probes) {
            self.answer(&probe);
        }
        if self.server.wants_disk() {
            self.server.begin();
            let delay = match self.random.below(100) {
                0 => {
                    self.tally.fault("sync slow");
                    self.random.within(500, 20_000)
                }
                _ => self.random.below(8),
            };
            self.at(delay, Event::Disk);
        }
    }

    pub(crate) fn disk_works(&mut self) {
        if self.server.group_size() > 1 {
            self.tally.seen("batches committed as a group");
        }
        let before = self.server.failed;
        self.server.work();
        let hits = self.disk.hits();
        hits.into_iter().for_each(|hit| self.tally.fault(hit));
        if self.disk.is_off() {
            return self.crash();
        }
        self.server.hear(self.server_now());
        if self.server.failed > before {
            self.tally.seen("commits failed");
        }
    }

    pub(crate) fn leaves(&mut self, out: Outgoing) {
        if self.verbose {
            println!("{:>10} leaves {}", self.now, spelt(&out.bytes));
        }
        let durable = self.durable.clone();
        let network = NetworkId::of("lab");
        let durable = |resource: Resource| -> Option<Lease> {
            durable.with(|facts| facts.get(&(network, resource)).cloned())
        };
        let (server, turn) = out.decided;
        let decided = Moment { now: server.0 - self.ahead, server, turn };
        let (at, live) = (self.moment(), Machines(&self.clients, &self.clients6, self.now));
        for byte in &out.bytes {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Destination::Frame6 { mac, .. } = out.to {
            self.witness.leaves6(at, decided, mac, &out.bytes, &durable, &live);
            let Some(i) = self.clients6.iter().position(|client| client.mac == mac) else { return };
            for copy in self.copies() {
                self.at(copy, Event::ToClient6(i, out.bytes.clone()));
            }
            return;
        }
        self.witness.leaves4(at, decided, &out.bytes, &durable, self.trusted, &live);
        let msg = Message::parse(&out.bytes).expect("we write what we can read");
        let mac = msg.hw().mac().expect("Ethernet");
        if let Destination::Frame { mac: to, .. } = out.to {
            assert!(to == mac || to == Mac::BROADCAST, "an answer to {mac} is sent to {to}");
        }
        let Some(i) = self.clients.iter().position(|client| client.mac == mac) else { return };
        for copy in self.copies() {
            self.at(copy, Event::ToClient4(i, out.bytes.clone()));
        }
    }

    /// Who has the address answers for it, in time.
    pub(crate) fn answer(&mut self, probe: &Probe) {
        if self.verbose {
            println!("{:>10} who has {}? To {:?}", self.now, probe.target, probe.to);
        }
        let asked = |mac: Mac| probe.to.is_none_or(|to| to == mac);
        let holders: Vec<Mac> = match probe.target {
            IpAddr::V4(target) => {
                let has = self.clients.iter().filter(|c| c.has(self.now, target));
                has.map(|c| c.mac).filter(|mac| asked(*mac)).collect()
            }
            IpAddr::V6(target) => {
                let has = self.clients6.iter().filter(|c| {
                    let is_on = c.state != client6::State::Off;
                    c.has(self.now, target.into()) || (is_on && c.mac.link_local() == target)
                });
                has.map(|c| c.mac).filter(|mac| asked(*mac)).collect()
            }
        };
        for mac in holders {
            let source = Source::Behind(mac);
            let seen = Neighbour { addr: probe.target, mac, frame_source: mac, source };
            let delay = self.random.below(50);
            self.at(delay, Event::Neighbour(seen));
        }
    }

    pub(crate) fn link_up(&mut self) {
        self.server.engine.set_identity(DUID, [7; 16]);
        self.server.input(self.server_now(), Input::LinkUp(bridge()));
        self.server.input(self.server_now(), Input::ClockTrusted(self.trusted));
    }

    pub(crate) fn check_bounds(&self) {
        assert!(self.server.waiting() < 10_000, "promises pile up");
        assert!(self.server.engine.offers().iter().count() <= 64, "offers pile up");
    }
}

/// The interface that the server listens on.
pub(crate) fn bridge() -> LinkUp {
    LinkUp {
        link: BRIDGE,
        name: "br0".into(),
        network: NetworkId::of("lab"),
        mac: Mac([2, 0xff, 0, 0, 0, 1]),
        addrs: vec![(OWN, Prefix4::new(Ipv4Addr::new(10, 0, 0, 0), 24).expect("a prefix"))],
        addrs6: vec![OWN6],
    }
}

/// All clients, at a moment.
pub(crate) struct Machines<'a>(pub(crate) &'a [Client4], pub(crate) &'a [Client6], pub(crate) u64);

impl Live for Machines<'_> {
    fn has(&self, mac: Mac, resource: Resource) -> bool {
        match resource {
            Resource::V4(addr) => self.0.iter().any(|c| c.mac == mac && c.has(self.2, addr)),
            // Whoever is on answers for its link-local address.
            _ => self.1.iter().any(|c| c.mac == mac && c.state != client6::State::Off),
        }
    }
}

/// Some have a port of their own, some are behind a trunk.
pub(crate) fn is_access(i: usize) -> bool {
    !i.is_multiple_of(4)
}

pub(crate) fn client(i: usize, random: &mut Random) -> Client4 {
    let mac = Mac([2, 0, 0, 0, 0, i as u8]);
    let id = match i % 3 {
        0 => None,
        1 => Some([&[1][..], &mac.0].concat()),
        _ if i < 9 => Some(b"\0image".to_vec()),
        _ => Some(vec![0, i as u8]),
    };
    Client4::new(mac, id, random.below(20_000))
}

pub(crate) fn mac6(i: usize) -> Mac {
    Mac([2, 0, 0, 0, 6, i as u8])
}

/// Some are made from one image and share theirs.
pub(crate) fn duid(i: usize) -> Vec<u8> {
    match i % 4 {
        3 if i < 12 => b"\0\x02image".to_vec(),
        _ => [&[0, 3, 0, 1][..], &mac6(i).0].concat(),
    }
}

pub(crate) fn client6(i: usize, random: &mut Random) -> Client6 {
    Client6::new(mac6(i), duid(i), i.is_multiple_of(2), random.below(20_000))
}
