//! One simulated world: the server, its disk, the wires, and everybody on them, all driven by one
//! queue of events and one source of chance.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foreshadow::base::{LinkId, Mac, NetworkId, Resource, Timestamp};
use foreshadow::config::Policy;
use foreshadow::engine::Input;
use foreshadow::engine::effects::Neighbour;
use foreshadow::lease::Offer;
use foreshadow::wire::{Message, Message6};

use super::affinity::Affinity;
use super::client4::{Client4, Said};
use super::client6::{self, Client6, named};
use super::cloud::{Cloud, Happens};
use super::disk::SimDisk;
use super::foresight::Foresight;
use super::random::Random;
use super::relays::RELAYED;
use super::server::Server;
use super::tally::Tally;
use super::time::Time;
use super::troubles::open;
use super::watched::Durable;
use super::witness::{Live, Moment, Witness};

/// Who floods from behind the relay, and how many bindings one machine may have.
pub(crate) const FLOODER: Mac = Mac([2, 0, 0, 0, 2, 0]);
const OF_MACHINE: usize = 64;
/// Bridge ports are numbered from here by client.
pub(crate) const PORTS: u32 = 1 << 20;
/// Clients on the bridge.
pub(crate) const CLIENTS: usize = 24;
pub(crate) const CLIENTS6: usize = 16;
pub(crate) const DUID: &[u8] = b"\0\x04our-own-duid-1234";
/// Longer than any offer, quarantine or lease.
pub(crate) const CALM: u64 = 130_000;
pub(crate) const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
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
    /// The server looks whether its time is right.
    Clock,
    /// Somebody who means no good sends something, about what another was just offered.
    Hostile(Option<Resource>),
    /// The bridge is there again.
    LinkBack,
    /// Something about a machine of the orchestrator.
    Cloud(u64, Happens),
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) now: u64,
    /// How much has happened at this moment.
    still: u32,
    pub(crate) time: Time,
    pub(crate) ticks: Arc<AtomicU64>,
    pub(crate) events: BTreeMap<(u64, u64), Event>,
    pub(crate) numbered: u64,
    pub(crate) policies: Vec<Arc<Policy>>,
    pub(crate) current: usize,
    pub(crate) disk: SimDisk,
    pub(crate) durable: Durable,
    pub(crate) server: Server,
    /// When a commit failed last.
    failed_at: Option<u64>,
    pub(crate) clients: Vec<Client4>,
    pub(crate) clients6: Vec<Client6>,
    /// The bridge, while it is there; another number each time.
    pub(crate) bridge: Option<LinkId>,
    pub(crate) bridges: u32,
    pub(crate) witness: Witness,
    pub(crate) affinity: Affinity,
    pub(crate) cloud: Cloud,
    pub(crate) foresight: Foresight,
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
            Event::Clock => write!(f, "clock"),
            Event::Hostile(about) => write!(f, "hostile about {about:?}"),
            Event::LinkBack => write!(f, "the bridge is back"),
            Event::Cloud(n, what) => write!(f, "machine {n}: {what:?}"),
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
        let clients = (0..CLIENTS + RELAYED).map(|i| client(i, &mut random)).collect();
        let clients6 = (0..CLIENTS6 + RELAYED).map(|i| client6(i, &mut random)).collect();
        let mut world = World {
            random,
            now: 0,
            still: 0,
            time: Time::new(),
            ticks,
            events: BTreeMap::new(),
            numbered: 0,
            policies: policies.to_vec(),
            current: 0,
            disk,
            durable,
            server,
            failed_at: None,
            clients,
            clients6,
            bridge: None,
            bridges: 0,
            witness: Witness::default(),
            affinity: Affinity::default(),
            cloud: Cloud::new(seed),
            foresight: Foresight::new(seed),
            tally: Tally::default(),
            verbose: std::env::var("SIM_VERBOSE").is_ok(),
            digest: 0,
        };
        world.identify();
        world.link_back();
        for i in 0..CLIENTS + RELAYED {
            world.set_alarm(i);
        }
        for i in 0..CLIENTS6 + RELAYED {
            world.client6_says(i, None);
        }
        world.at(1000, Event::Trouble);
        world.at(5000, Event::Clock);
        world.at(1500, Event::Hostile(None));
        world.at(2000, Event::Cloud(0, Happens::Acts));
        world.at(2500, Event::Cloud(0, Happens::Foresees));
        world
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { now: self.now, server: self.server_now(), turn: self.server.turn }
    }

    pub(crate) fn server_now(&self) -> Timestamp {
        Timestamp(self.now + self.time.ahead())
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
        let wake = wake.0.saturating_sub(self.time.ahead()).max(self.now);
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
        self.look_at_shadows();
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
            Event::Clock => self.look_at_clock(),
            Event::Hostile(about) => self.guest_acts(about),
            Event::LinkBack => self.link_back(),
            Event::Cloud(n, what) => self.cloud_happens(n, what),
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
                let soon = if self.random.chance(500) { 10 } else { 4000 };
                vec![delay, self.random.below(soon)]
            }
            7..11 => {
                self.tally.fault("packet late, others overtake it");
                vec![self.random.below(3000)]
            }
            _ => vec![delay],
        }
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
                0..2 => {
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
        self.cloud_heard();
        if self.server.failed > before {
            self.tally.seen("commits failed");
            self.failed_at = Some(self.now);
            self.declines_lost();
        }
    }

    /// What has a limit stays within it.
    pub(crate) fn check_bounds(&self) {
        let engine = &self.server.engine;
        for network in &self.policies[self.current].networks {
            // What could not be written is offered again, and be it too much.
            if self.failed_at.is_some_and(|at| self.now <= at + network.offer_hold.0) {
                continue;
            }
            // Whoever was bound before, or has a reservation, costs no offer more.
            let reserved = |r: Resource| network.reservations.iter().any(|of| r == of.addr.into());
            let unknown = |offer: &&Offer| {
                offer.network == network.id
                    && !reserved(offer.resource)
                    && engine.leases().get(network.id, offer.resource).is_none()
            };
            let held = engine.offers().iter().filter(unknown).count();
            assert!(held <= network.offers_max, "{held} offers on {}", network.name);
        }
        let held = engine.leases().of_hw(NetworkId::of("far"), &FLOODER.into()).count();
        assert!(held <= OF_MACHINE, "one machine has {held} bindings");
    }
}

/// All clients, at a moment.
pub(crate) struct Machines<'a>(
    pub(crate) &'a [Client4],
    pub(crate) &'a [Client6],
    pub(crate) u64,
    pub(crate) &'a Cloud,
);

impl Live for Machines<'_> {
    fn has(&self, mac: Mac, resource: Resource) -> bool {
        let there = self.3.has(mac, self.2, resource);
        match resource {
            _ if there => true,
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
        _ if i >= CLIENTS => Some(b"\0image behind a relay".to_vec()),
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
        3 if i >= CLIENTS6 => b"\0\x02image behind a relay".to_vec(),
        _ => [&[0, 3, 0, 1][..], &mac6(i).0].concat(),
    }
}

pub(crate) fn client6(i: usize, random: &mut Random) -> Client6 {
    Client6::new(mac6(i), duid(i), i.is_multiple_of(2), random.below(20_000))
}
