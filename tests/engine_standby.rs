//! A pair under everything that may happen to it, in any order, the same for the same seed: packets of
//! the active, the standby and strangers, operators, drivers of switchovers, time, lost commits and
//! restarts. Whatever happens, the address is promised to nobody but the one whose turn it is.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

#[allow(dead_code, reason = "the simulation uses all of it")]
#[path = "sim/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use foreshadow::base::{LinkId, Mac, NetworkId, Resource, Span, Timestamp};
use foreshadow::config::{self, Policy};
use foreshadow::engine::effects::LinkUp;
use foreshadow::engine::standbys::Report;
use foreshadow::engine::standbys::name::StandbyWish;
use foreshadow::engine::{Arrival, Effects, Engine, Input, Reply};
use foreshadow::lease::directory::{
    Identifiers, Kind, Party, Readiness, Standby, StandbyState, Step,
};
use foreshadow::lease::{Change, Lease, Seq};
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::{Kind as MessageKind, Message, MessageType, options as opt};
use random::Random;

const LAN: &str = "[[network]]\nname = \"lab\"\ninterfaces = [\"br0\"]\nverify = false\n\
    rapid_commit = true\nquarantine = \"20s\"\nlease = { min = \"10s\", default = \"40s\" }\n\
    standby = { timeout = \"2m\" }\n[[network.subnet]]\nprefix = \"10.0.0.0/24\"\n\
    pools = [\"10.0.0.10-10.0.0.13\"]\n";
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const MACHINES: u64 = 5;
const RUNS: u64 = 400;
const OPS: usize = 220;

fn mac(machine: u64) -> Mac {
    Mac([2, 0, 0, 0, 0, machine as u8 + 1])
}

struct World {
    random: Random,
    policy: Arc<Policy>,
    engine: Engine,
    now: Timestamp,
    last: Seq,
    disk: BTreeMap<Resource, Lease>,
    facts: BTreeMap<Box<str>, Box<[u8]>>,
    /// The standby sends the client identifier of its active.
    cloned: bool,
    /// How often each thing that matters was seen.
    seen: Seen,
}

#[derive(Debug, Default)]
struct Seen {
    to_active: u32,
    to_standby: u32,
    to_promoted: u32,
    promotions: u32,
    naks_of_former: u32,
    restarts: u32,
    lost: u32,
}

impl World {
    fn new(seed: u64) -> World {
        let policy = Arc::new(config::check(LAN, "test").unwrap().policy);
        let mut random = Random::new(seed);
        let mut world = World {
            cloned: random.chance(500),
            random,
            engine: Engine::new(Arc::clone(&policy), Vec::new(), Seq(0)),
            policy,
            now: Timestamp(1_700_000_000_000),
            last: Seq(0),
            disk: BTreeMap::new(),
            facts: BTreeMap::new(),
            seen: Seen::default(),
        };
        world.begin();
        world
    }

    fn id(&self) -> NetworkId {
        self.policy.networks[0].id
    }

    fn begin(&mut self) {
        let up = LinkUp {
            link: LinkId(1),
            name: "br0".into(),
            network: self.id(),
            mac: Mac([2, 0xff, 0, 0, 0, 1]),
            addrs: vec![(OWN, "10.0.0.0/24".parse().unwrap())],
            addrs6: Vec::new(),
        };
        self.engine.set_identity(b"\0\x04our-own-duid", [7; 16]);
        self.engine.handle(self.now, Input::LinkUp(up), &mut Effects::default());
    }

    fn restart(&mut self) {
        self.seen.restarts += 1;
        let leases = self.disk.values().map(|l| Lease { port: None, ..l.clone() }).collect();
        self.engine = Engine::new(Arc::clone(&self.policy), leases, self.last);
        self.engine.load_facts(self.facts.clone()).unwrap();
        self.begin();
    }

    /// What becomes of a batch: it is durable and its answers leave, or it is lost, or the server
    /// dies before it could be.
    fn finish(&mut self, fx: &Effects, before: &Before) {
        self.check(&fx.send_now, fx, before);
        let Some(seq) = self.engine.end_batch() else { return };
        self.last = seq;
        match self.random.below(30) {
            0 => {
                self.seen.lost += 1;
                let mut lost = Effects::default();
                self.engine.handle(self.now, Input::CommitFailed(seq), &mut lost);
                self.engine.handle(self.now, Input::StoreReady, &mut lost);
            }
            1 => self.restart(),
            _ => {
                self.store(&fx.changes);
                self.engine.handle(self.now, Input::Committed(seq), &mut Effects::default());
                self.check(&fx.send_after, fx, before);
            }
        }
        let facts: BTreeMap<_, _> = self.engine.facts().collect();
        assert_eq!(facts, self.facts, "what is durable is what is believed");
    }

    fn store(&mut self, changes: &[Change]) {
        for change in changes.iter().cloned() {
            match change {
                Change::Put(lease, _) => drop(self.disk.insert(lease.resource, lease)),
                Change::Remove(_, resource, _) => drop(self.disk.remove(&resource)),
                Change::Meta(name, value) => drop(self.facts.insert(name, value)),
                Change::Forget(name) => drop(self.facts.remove(&name)),
                Change::Act(_) => {}
            }
        }
    }

    /// Nobody but those whose turn it is are told of what a pair shares, and a standby of nothing
    /// else.
    fn check(&mut self, replies: &[Reply], fx: &Effects, before: &Before) {
        for reply in replies {
            let msg = Message::parse(&fx.bytes[reply.payload.clone()]).unwrap();
            let (addr, who) = (msg.yiaddr(), msg.hw().mac().unwrap());
            let pairs = &before.pairs;
            if msg.kind() == MessageKind::Dhcp(MessageType::Nak) {
                let former = pairs.iter().any(|p| p.is_promoted() && p.active.who.mac == Some(who));
                self.seen.naks_of_former += u32::from(former);
            }
            if addr.is_unspecified() {
                continue;
            }
            for pair in pairs {
                let is_standby = pair.standby.who.mac == Some(who);
                let is_active = pair.active.who.mac == Some(who);
                let shares = pair.resources.contains(&addr.into());
                if shares && pair.is_promoted() {
                    assert!(is_standby, "{addr} to {who} after the promotion of {pair:?}");
                    self.seen.to_promoted += 1;
                } else if shares {
                    let opened = pair.state.switchover().is_some_and(|s| s.step >= Step::Opened);
                    let may = is_active || (is_standby && (pair.gated || opened));
                    assert!(may, "{addr} to {who} of {pair:?}");
                    self.seen.to_active += u32::from(is_active);
                    self.seen.to_standby += u32::from(is_standby);
                } else if is_standby && !pair.is_promoted() {
                    panic!("{addr} to the standby of {pair:?}");
                }
            }
        }
    }

    /// What is shared is free in no pool, and its lease is of the one whose turn it is.
    fn check_pairs(&self) {
        let net = &self.engine.networks()[0];
        for pair in self.engine.directory().standbys() {
            for resource in &pair.resources {
                let value = u128::from(resource.v4().unwrap().to_bits());
                assert!(!net.pools.iter().any(|p| p.free.is_free(value)), "{resource} is free");
                let lease = self.engine.leases().get(self.id(), *resource);
                let Some(lease) = lease.filter(|l| l.is_bound()) else { continue };
                let holder = if pair.is_promoted() { &pair.standby } else { &pair.active };
                assert_eq!(lease.hw.mac(), holder.who.mac, "{pair:?}");
            }
        }
    }

    fn before(&self) -> Before {
        Before { pairs: self.engine.directory().standbys().cloned().collect() }
    }

    fn step(&mut self) {
        let before = self.before();
        let mut fx = Effects::default();
        match self.random.below(100) {
            0..55 => self.packet(&mut fx),
            55..85 => self.drive(&mut fx),
            85..92 => {
                self.now = self.now + Span::from_secs(self.random.within(1, 40));
                self.engine.handle(self.now, Input::Tick, &mut fx);
            }
            92..96 => self.operate(&mut fx),
            _ => return self.restart(),
        }
        self.finish(&fx, &before);
        self.check_pairs();
    }

    fn addr(&mut self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, 10 + self.random.below(4) as u8)
    }

    fn packet(&mut self, fx: &mut Effects) {
        let machine = self.random.below(MACHINES);
        let (mac, addr) = (mac(machine), self.addr());
        let own =
            self.disk.values().find(|l| l.hw.mac() == Some(mac)).and_then(|l| l.resource.v4());
        let addr = own.filter(|_| self.random.chance(600)).unwrap_or(addr);
        use MessageType::{Decline, Discover, Release, Request};
        let named = |kind| RequestV4::new(kind, mac).addr(opt::SERVER_ID, OWN);
        let packet = match self.random.below(12) {
            0..3 => RequestV4::new(Discover, mac),
            3 => RequestV4::new(Discover, mac).option(opt::RAPID_COMMIT, &[]),
            4 => RequestV4::new(Discover, mac).addr(opt::REQUESTED_IP, addr),
            5..8 => named(Request).addr(opt::REQUESTED_IP, addr),
            8 => RequestV4::new(Request, mac).addr(opt::REQUESTED_IP, addr),
            9 | 10 if self.random.chance(150) => named(Release).ciaddr(addr),
            9 | 10 => RequestV4::new(Request, mac).ciaddr(addr),
            _ => named(Decline).addr(opt::REQUESTED_IP, addr),
        };
        let same_id = self.cloned && machine < 2;
        let packet = if same_id { packet.option(opt::CLIENT_ID, &[255, 1, 2]) } else { packet };
        let arrival = Arrival {
            link: LinkId(1),
            port: None,
            trusted: false,
            trunk: false,
            src_mac: Some(mac),
            src: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            dst: Ipv4Addr::BROADCAST,
            dst_port: 67,
        };
        self.engine.handle(self.now, Input::Packet4(arrival, &packet.build()), fx);
    }

    /// What a driver of switchovers says, right or wrong.
    fn drive(&mut self, fx: &mut Effects) {
        let epoch = self.engine.directory().standby("p").map_or(0, |of| of.epoch);
        let epoch = if self.random.chance(50) { epoch.saturating_sub(1) } else { epoch };
        let (engine, now) = (&mut self.engine, self.now);
        match self.random.below(24) {
            0..4 => {
                let party = |machine| Party {
                    who: Identifiers { mac: Some(mac(machine)), ..Identifiers::default() },
                    ..Party::default()
                };
                let wish = StandbyWish {
                    id: Some("p".into()),
                    network: Some(self.policy.networks[0].id),
                    active: party(0),
                    standby: party(1),
                    ..StandbyWish::default()
                };
                drop(engine.create_standby(now, &wish, fx));
            }
            4..8 => drop(engine.gated(now, "p", self.random.chance(850), fx)),
            8..11 => {
                let all = [Readiness::Preparing, Readiness::Synced, Readiness::Ready];
                let state = Some(self.random.pick(&all));
                drop(engine.report(now, "p", Report { progress: None, state }, fx));
            }
            11..14 => {
                let kind = self.random.pick(&[Kind::Planned, Kind::Failure]);
                let how = (kind, self.random.chance(300), "test");
                drop(engine.begin_switchover(now, "p", how, fx));
            }
            14..19 => {
                let step = self.random.pick(&Step::ALL);
                drop(engine.step_switchover(now, "p", epoch, step, fx));
            }
            19..22 => {
                let was = engine.directory().standby("p").is_some_and(|p| p.is_promoted());
                let done = engine.promote(now, "p", epoch, fx);
                self.seen.promotions += u32::from(done.is_ok() && !was);
            }
            22 if self.random.chance(500) => drop(engine.abort_switchover(now, "p", epoch, fx)),
            22 => drop(engine.finish_switchover(now, "p", epoch, fx)),
            _ if self.random.chance(200) => drop(engine.drop_standby(now, "p", fx)),
            _ => {}
        }
    }

    fn operate(&mut self, fx: &mut Effects) {
        let (network, resource) = (self.id(), Resource::V4(self.addr()));
        match self.random.below(3) {
            0 => drop(self.engine.release(self.now, network, resource, fx)),
            1 => drop(self.engine.quarantine(self.now, network, resource, None, fx)),
            _ => drop(self.engine.lift(self.now, network, resource, fx)),
        }
    }
}

/// How things stood before something happened.
struct Before {
    pairs: Vec<Arc<Standby>>,
}

fn sum(all: &mut Seen, run: &Seen) {
    all.to_active += run.to_active;
    all.to_standby += run.to_standby;
    all.to_promoted += run.to_promoted;
    all.promotions += run.promotions;
    all.naks_of_former += run.naks_of_former;
    all.restarts += run.restarts;
    all.lost += run.lost;
}

#[test]
fn the_address_is_promised_to_whose_turn_it_is_and_to_nobody_else() {
    let mut all = Seen::default();
    for seed in 0..RUNS {
        let mut world = World::new(seed);
        for _ in 0..OPS {
            world.step();
        }
        sum(&mut all, &world.seen);
    }
    let rare = [all.to_active, all.to_standby, all.to_promoted, all.promotions, all.naks_of_former];
    assert!(rare.iter().all(|seen| *seen >= 100), "too little was tried: {all:?}");
    assert!(all.restarts >= 100 && all.lost >= 100, "too little was tried: {all:?}");
}

#[test]
fn a_step_is_of_its_switchover_and_only_goes_forward() {
    for seed in 0..RUNS {
        let mut world = World::new(seed + 10_000);
        let mut before: Option<Arc<Standby>> = None;
        for _ in 0..OPS {
            world.step();
            let now = world.engine.directory().standby("p").cloned();
            if let (Some(was), Some(is)) = (&before, &now)
                && was.created == is.created
            {
                assert!(is.epoch >= was.epoch, "{was:?}, {is:?}");
                if let (StandbyState::Promoted(_), StandbyState::Switching(_)) =
                    (&was.state, &is.state)
                {
                    panic!("a promotion that was durable is undone: {was:?}, {is:?}");
                }
                let steps = was.state.switchover().zip(is.state.switchover());
                if let Some((old, new)) = steps.filter(|_| was.epoch == is.epoch) {
                    assert!(new.step >= old.step, "{was:?}, {is:?}");
                }
            }
            before = now;
        }
    }
}
