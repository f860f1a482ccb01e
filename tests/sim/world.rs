//! One simulated world: the server, its disk, the wires, and everybody on them, all driven by one
//! queue of events and one source of chance.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foreshadow::base::Span;
use foreshadow::base::{LinkId, Mac, NetworkId, Prefix4, Resource, Timestamp};
use foreshadow::config::{self, Policy};
use foreshadow::engine::effects::{Arrival6, LinkUp, Neighbour, Probe, Source};
use foreshadow::engine::{Arrival, Destination, Engine, Input};
use foreshadow::lease::{Lease, State};
use foreshadow::store::disk::Op;
use foreshadow::store::{Contents, DiskStore, StoreOptions};
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::{Kind, Kind6, Message, Message6, MessageType, MessageType6, options as opt};

use super::client4::{Client4, Said};
use super::client6::{self, Client6, named};
use super::disk::{SimDisk, Trouble};
use super::random::Random;
use super::server::{Outgoing, Server};
use super::tally::Tally;
use super::watched::{Durable, Watched};
use super::witness::{Live, Moment, Witness};

const BRIDGE: LinkId = LinkId(1);
/// Bridge ports are numbered from here by client.
const PORTS: u32 = 100;
const CLIENTS: usize = 24;
const CLIENTS6: usize = 16;
const DUID: &[u8] = b"\0\x04our-own-duid-1234";
/// Longer than any offer, quarantine or lease.
const CALM: u64 = 130_000;
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

enum Event {
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
    /// Somebody who means no good sends something.
    Hostile,
}

pub(crate) struct World {
    pub(crate) random: Random,
    now: u64,
    /// What the server's clock is ahead of `now`.
    ahead: u64,
    ticks: Arc<AtomicU64>,
    events: BTreeMap<(u64, u64), Event>,
    numbered: u64,
    policies: Vec<Arc<Policy>>,
    current: usize,
    disk: SimDisk,
    durable: Durable,
    server: Server,
    clients: Vec<Client4>,
    clients6: Vec<Client6>,
    witness: Witness,
    pub(crate) tally: Tally,
    /// Says everything that happens: `SIM_VERBOSE`.
    verbose: bool,
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
            Event::Hostile => write!(f, "hostile"),
        }
    }
}

/// What matters of a packet, for people.
fn spelt(bytes: &[u8]) -> String {
    let Ok(msg) = Message::parse(bytes) else { return "noise".to_owned() };
    let (kind, mac, ciaddr, yiaddr) = (msg.kind(), msg.hw(), msg.ciaddr(), msg.yiaddr());
    let (wanted, xid, secs) = (msg.requested_ip(), msg.xid(), msg.lease_time());
    format!("{kind:?} {mac:?} xid {xid:x} ci {ciaddr} yi {yiaddr} wants {wanted:?} {secs:?}")
}

fn spelt6(bytes: &[u8]) -> String {
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
            ahead: 1_700_000_000_000,
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

    fn moment(&self) -> Moment {
        Moment { now: self.now, server: self.server_now(), turn: self.server.turn }
    }

    fn server_now(&self) -> Timestamp {
        Timestamp(self.now + self.ahead)
    }

    fn at(&mut self, delay: u64, event: Event) {
        self.numbered += 1;
        self.events.insert((self.now + delay, self.numbered), event);
    }

    fn set_alarm(&mut self, i: usize) {
        let alarm = self.clients[i].alarm;
        self.at(alarm.saturating_sub(self.now), Event::Wake4(i, alarm));
    }

    fn pass_to(&mut self, at: u64) {
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

    fn happen(&mut self, event: Event) {
        if self.verbose {
            println!("{:>10} {event:?}", self.now);
        }
        match event {
            Event::ToServer4(i, bytes, broadcast) => self.to_server4(i, &bytes, broadcast),
            Event::ToClient4(i, bytes) => {
                let said = self.clients[i].hear(self.now, &bytes, &mut self.random);
                self.client_says(i, said);
            }
            Event::Wake4(i, alarm) if self.clients[i].alarm == alarm => {
                let said = self.clients[i].wake(self.now, &mut self.random);
                self.client_says(i, said);
            }
            Event::Wake4(..) => {}
            Event::ToServer6(i, bytes) => self.to_server6(i, &bytes),
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
            Event::Hostile => self.hostile(),
        }
    }

    fn client_says(&mut self, i: usize, said: Vec<Said>) {
        for said in said {
            for copy in self.copies() {
                self.at(copy, Event::ToServer4(i, said.bytes.clone(), said.broadcast));
            }
        }
        self.set_alarm(i);
    }

    /// What the wire makes of one packet: the delay of each copy that arrives.
    fn copies(&mut self) -> Vec<u64> {
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

    fn to_server4(&mut self, i: usize, bytes: &[u8], broadcast: bool) {
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

    fn client6_says(&mut self, i: usize, said: Option<Vec<u8>>) {
        for bytes in said {
            for copy in self.copies() {
                self.at(copy, Event::ToServer6(i, bytes.clone()));
            }
        }
        let alarm = self.clients6[i].alarm;
        self.at(alarm.saturating_sub(self.now), Event::Wake6(i, alarm));
    }

    fn to_server6(&mut self, i: usize, bytes: &[u8]) {
        let mac = self.clients6[i].mac;
        let live = Machines(&self.clients, &self.clients6, self.now);
        let at = Moment { now: self.now, server: self.server_now(), turn: self.server.turn };
        self.witness.arrives6(at, mac, bytes, &live);
        self.meet6(bytes, mac);
        let arrival = Arrival6 {
            link: BRIDGE,
            port: is_access(i).then_some(LinkId(PORTS + i as u32)),
            trunk: !is_access(i),
            src_mac: Some(mac),
            src: SocketAddrV6::new(mac.link_local(), 546, 0, 0),
            dst: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2),
        };
        self.server.input(self.server_now(), Input::Packet6(arrival, bytes));
    }

    fn meet6(&mut self, bytes: &[u8], mac: Mac) {
        let Ok(msg) = Message6::parse(bytes) else { return };
        let message = match msg.kind() {
            Kind6::Known(MessageType6::Solicit) => "SOLICIT",
            Kind6::Known(MessageType6::Request) => "REQUEST",
            Kind6::Known(MessageType6::Confirm) => "CONFIRM",
            Kind6::Known(MessageType6::Renew) => "RENEW",
            Kind6::Known(MessageType6::Rebind) => "REBIND",
            Kind6::Known(MessageType6::Release) => "RELEASE",
            Kind6::Known(MessageType6::Decline) => "DECLINE",
            _ => "INFORMATION",
        };
        let state = match named(&msg).first() {
            Some((resource, _)) => self.state_of(*resource, mac),
            None => "nothing named",
        };
        self.tally.met(state, message);
    }

    /// How the server knows what a message of `mac` names.
    fn state_of(&self, resource: Resource, mac: Mac) -> &'static str {
        let (lab, engine) = (NetworkId::of("lab"), &self.server.engine);
        let table = engine.leases();
        match table.get(lab, resource) {
            Some(l) if table.is_pending(lab, resource) && l.hw.mac() == Some(mac) => "pending",
            Some(l) if l.state == State::Leased && l.hw.mac() == Some(mac) => "leased",
            Some(l) if l.state == State::Leased => "another's",
            Some(l) if l.state == State::Expired => "expired",
            Some(l) if l.state == State::Released => "released",
            Some(_) => "quarantined",
            None if engine.offers().get(lab, resource).is_some() => "offered",
            None => "free",
        }
    }

    /// A packet of a guest's own making: noise, a message that makes no sense, or one that speaks
    /// for somebody else.
    fn hostile(&mut self) {
        let own = Mac([2, 0, 0, 0, 1, self.random.below(4) as u8]);
        let victim = Mac([2, 0, 0, 0, 0, self.random.below(CLIENTS as u64) as u8]);
        let forged = self.random.chance(500);
        self.tally.fault(if forged { "packet forged" } else { "packet hostile" });
        let kind = self.random.pick(&MessageType::ALL);
        let addr = Ipv4Addr::new(10, 0, 0, self.random.below(26) as u8);
        let named = if forged { victim } else { own };
        let mut packet = RequestV4::new(kind, named).xid(self.random.next() as u32);
        if self.random.chance(500) {
            packet = packet.ciaddr(addr);
        }
        if self.random.chance(500) {
            packet = packet.addr(opt::REQUESTED_IP, addr);
        }
        if self.random.chance(300) {
            packet = packet.addr(opt::SERVER_ID, OWN);
        }
        let mut bytes = packet.build();
        if !forged && self.random.chance(300) {
            let from = self.random.within(44, bytes.len() as u64) as usize;
            bytes[from..].iter_mut().for_each(|byte| *byte = self.random.next() as u8);
        }
        // It can choose everything but the port that it is behind, and the bridge drops frames
        // in another's name.
        let port = LinkId(PORTS + 50 + u32::from(own.0[5]));
        self.meet4(&bytes);
        self.witness.arrives4(
            self.moment(),
            &bytes,
            false,
            &Machines(&self.clients, &self.clients6, self.now),
        );
        let arrival = Arrival {
            link: BRIDGE,
            port: Some(port),
            trusted: false,
            trunk: false,
            src_mac: Some(own),
            src: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            dst: Ipv4Addr::BROADCAST,
            dst_port: 67,
        };
        self.server.input(self.server_now(), Input::Packet4(arrival, &bytes));
        let next = self.random.within(10, 2000);
        self.at(next, Event::Hostile);
    }

    /// Notes in which state of what it names the server meets a message.
    fn meet4(&mut self, bytes: &[u8]) {
        let Ok(msg) = Message::parse(bytes) else { return };
        let ciaddr = Some(msg.ciaddr()).filter(|addr| !addr.is_unspecified());
        let message = match (msg.kind(), msg.server_id().is_some(), ciaddr.is_some()) {
            (Kind::Dhcp(MessageType::Discover), ..) => "DISCOVER",
            (Kind::Dhcp(MessageType::Request), true, _) => "SELECT",
            (Kind::Dhcp(MessageType::Request), false, true) => "RENEW4",
            (Kind::Dhcp(MessageType::Request), false, false) => "REBOOT",
            (Kind::Dhcp(MessageType::Decline), ..) => "DECLINE4",
            (Kind::Dhcp(MessageType::Release), ..) => "RELEASE4",
            (Kind::Dhcp(MessageType::Inform), ..) => "INFORM",
            _ => "other",
        };
        let Some(addr) = msg.requested_ip().or(ciaddr) else {
            return self.tally.met("nothing named", message);
        };
        let state = self.state_of(addr.into(), msg.hw().mac().unwrap_or(Mac::ZERO));
        self.tally.met(state, message);
    }

    /// Takes up everything that the server has done.
    fn look(&mut self) {
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

    fn disk_works(&mut self) {
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

    fn leaves(&mut self, out: Outgoing) {
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
        self.witness.leaves4(at, decided, &out.bytes, &durable, true, &live);
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
    fn answer(&mut self, probe: &Probe) {
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

    fn trouble(&mut self) {
        match self.random.below(18) {
            0..6 => {
                use Op::{Checkpoint, Create, Remove, Rename, Resize, Sync, SyncDir, Write};
                let ops = [Write, Write, Sync, Sync, Create, SyncDir, Rename, Remove, Checkpoint];
                self.disk.cause(Trouble::Eio(self.random.pick(&ops)));
                let _ = Resize;
            }
            6 => self.disk.cause(Trouble::Torn),
            7 => self.disk.cause(Trouble::Full),
            8 => self.disk.cause(Trouble::ReadOnly),
            9 | 10 => {
                let n = self.random.within(1, 60);
                self.disk.cause(Trouble::PowerIn(n));
            }
            11 => {
                self.tally.fault("power cut");
                self.crash();
            }
            12 | 13 => {
                self.tally.fault("reload");
                self.current = (self.current + 1) % self.policies.len();
                let policy = self.policies[self.current].clone();
                self.server.set_policy(self.server_now(), policy);
            }
            14 => self.what_if(),
            15 => self.calm(),
            _ => self.disk.recover(),
        }
        let next = self.random.within(100, 30_000);
        self.at(next, Event::Trouble);
    }

    /// Everybody is quiet and the disk is sound until all offers have lapsed: what nobody holds must
    /// be free again, in the pools as on the disk.
    fn calm(&mut self) {
        self.tally.seen("calms, in which all that is free was found free");
        self.disk.recover();
        let until = self.now + CALM;
        while self.now < until {
            let quiet = |event: &Event| matches!(event, Event::Disk | Event::Neighbour(_));
            let next = self.events.iter().find(|(_, event)| quiet(event)).map(|(key, _)| *key);
            let wake = self.server.engine.next_wakeup().unwrap_or(Timestamp::NEVER);
            let wake = wake.0.saturating_sub(self.ahead).max(self.now);
            let tend = self.now + self.server.patience().max(1);
            let at = next.map_or(u64::MAX, |key| key.0).max(self.now);
            self.pass_to(at.min(wake).min(tend).min(until));
            match next.filter(|_| at <= wake && at <= tend) {
                Some(key) => match self.events.remove(&key) {
                    Some(Event::Neighbour(seen)) => self.heard(seen),
                    _ => self.disk_works(),
                },
                None if wake <= tend => self.server.input(self.server_now(), Input::Tick),
                None => self.disk_works(),
            }
            self.look();
        }
        self.check_nothing_leaked();
    }

    fn heard(&mut self, seen: Neighbour) {
        self.server.input(self.server_now(), Input::Neighbour(BRIDGE, seen));
    }

    fn check_nothing_leaked(&self) {
        assert!(self.server.store_ok(), "the disk is sound and the store is not");
        assert_eq!(self.server.engine.offers().iter().count(), 0, "offers that do not lapse");
        let leases: Vec<Lease> = self.durable.with(|facts| facts.values().cloned().collect());
        let now = self.server_now();
        let over = leases.iter().find(|l| l.state.is_held() && l.until.0 + 10_000 < now.0);
        assert!(over.is_none(), "it is over and does not come back: {over:?}");
        let mut fresh =
            Engine::new(self.policies[self.current].clone(), leases, foreshadow::lease::Seq(1));
        fresh.set_identity(DUID, [7; 16]);
        fresh.handle(now, Input::LinkUp(bridge()), &mut foreshadow::engine::Effects::default());
        assert_eq!(free(&self.server.engine), free(&fresh), "lost from a pool");
    }

    /// What would be left if the power went now?
    fn what_if(&mut self) {
        self.tally.seen("power cuts tried beside the run");
        let left = self.disk.what_if();
        let opened = DiskStore::open(&left, &OPTIONS, false);
        let (_, contents, _) = opened.unwrap_or_else(|e| panic!("after a power cut: {e}"));
        self.witness.survives(self.moment(), &contents);
    }

    fn crash(&mut self) {
        self.events.retain(|_, event| !matches!(event, Event::Disk));
        self.disk.cut_power();
        let (store, contents) =
            open(&self.disk).unwrap_or_else(|e| panic!("after a power cut: {e}"));
        self.witness.survives(self.moment(), &contents);
        self.durable = store.durable.clone();
        let policy = self.policies[self.current].clone();
        let ticks = Arc::clone(&self.ticks);
        self.server = Server::start(policy, Box::new(store), contents, ticks);
        self.link_up();
    }

    fn link_up(&mut self) {
        self.server.engine.set_identity(DUID, [7; 16]);
        self.server.input(self.server_now(), Input::LinkUp(bridge()));
    }

    fn check_bounds(&self) {
        assert!(self.server.waiting() < 10_000, "promises pile up");
        assert!(self.server.engine.offers().iter().count() <= 64, "offers pile up");
    }
}

/// Small journals, so that they take turns often; time does not make them.
const OPTIONS: StoreOptions = StoreOptions {
    journal_bytes: 48 << 10,
    checkpoint_every: Span::from_secs(1_000_000),
    cache_bytes: 1 << 20,
};

fn open(disk: &SimDisk) -> Result<(Watched, Contents), foreshadow::store::StoreError> {
    let (hooked, dir) = disk.mount();
    let (store, contents, _) = DiskStore::open_on(hooked, &dir, &OPTIONS, false)?;
    let durable = Durable::of(&contents);
    Ok((Watched { store, durable }, contents))
}

/// The interface that the server listens on.
fn bridge() -> LinkUp {
    LinkUp {
        link: BRIDGE,
        name: "br0".into(),
        network: NetworkId::of("lab"),
        mac: Mac([2, 0xff, 0, 0, 0, 1]),
        addrs: vec![(OWN, Prefix4::new(Ipv4Addr::new(10, 0, 0, 0), 24).expect("a prefix"))],
        addrs6: vec![OWN6],
    }
}

/// What is free in each pool.
fn free(engine: &Engine) -> Vec<u128> {
    let net = &engine.networks()[0];
    let addrs = net.pools.iter().chain(&net.pools6).map(|pool| pool.free.available());
    addrs.chain(net.delegations.iter().map(|pool| pool.free.available())).collect()
}

/// All clients, at a moment.
struct Machines<'a>(&'a [Client4], &'a [Client6], u64);

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
fn is_access(i: usize) -> bool {
    !i.is_multiple_of(4)
}

fn client(i: usize, random: &mut Random) -> Client4 {
    let mac = Mac([2, 0, 0, 0, 0, i as u8]);
    let id = match i % 3 {
        0 => None,
        1 => Some([&[1][..], &mac.0].concat()),
        _ if i < 9 => Some(b"\0image".to_vec()),
        _ => Some(vec![0, i as u8]),
    };
    Client4::new(mac, id, random.below(20_000))
}

fn client6(i: usize, random: &mut Random) -> Client6 {
    let mac = Mac([2, 0, 0, 0, 6, i as u8]);
    let duid = match i % 4 {
        3 if i < 12 => b"\0\x02image".to_vec(),
        _ => [&[0, 3, 0, 1][..], &mac.0].concat(),
    };
    Client6::new(mac, duid, i.is_multiple_of(2), random.below(20_000))
}

/// The configurations that are put in force in turn.
pub(crate) fn policies() -> Vec<Arc<Policy>> {
    let parse = |text: &&str| Arc::new(config::check(text, "sim").expect("sound").policy);
    POLICIES.iter().map(parse).collect()
}

const POLICIES: [&str; 2] = [
    "[[network]]\nname='lab'\ninterfaces=['br0']\nauthoritative=true\nquarantine='30s'\n\
     offers_max=64\nverify={ready=2,probes_per_s=50}\nlease={min='5s',default='60s'}\n\
     [[network.subnet]]\nprefix='10.0.0.0/24'\npools=['10.0.0.2-10.0.0.19']\n\
     [[network.subnet]]\nprefix='2001:db8:1::/64'\npools=['2001:db8:1::2-2001:db8:1::f']\n\
     delegations=[{prefix='2001:db8:aa00::/56',length=60,min_length=58,max_length=61}]\n\
     [[network.reservation]]\nmac='02:00:00:00:00:01'\naddress='10.0.0.5'\n",
    "[[network]]\nname='lab'\ninterfaces=['br0']\nrapid_commit=true\n\
     quarantine='30s'\noffers_max=64\nverify=false\nlease={min='5s',default='20s'}\n\
     [[network.subnet]]\nprefix='10.0.0.0/24'\npools=['10.0.0.6-10.0.0.22']\n\
     [[network.subnet]]\nprefix='2001:db8:1::/64'\npools=['2001:db8:1::4-2001:db8:1::14']\n\
     delegations=[{prefix='2001:db8:aa00::/56',length=59,min_length=57}]\n\
     [[network.reservation]]\nmac='02:00:00:00:00:02'\naddress='10.0.0.6'\n",
];
