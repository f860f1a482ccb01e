//! An orchestrator and its machines, on a network of their own: it registers them by the engine's
//! calls, boots them, names a MAC later, and ends them; of those that are ended some are gone at
//! once, and some go on answering for what they had. What it was told counts from when the disk
//! has it, as an answer of the API does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use foreshadow::base::{LinkId, Mac, NetworkId, Prefix4, Resource, Span, Timestamp};
use foreshadow::config::policy::{Account, Terms};
use foreshadow::engine::effects::{Arrival6, LinkUp, Neighbour, Probe, Source};
use foreshadow::engine::hosts::HostWish;
use foreshadow::engine::instances::{Denied, Rename, Wish};
use foreshadow::engine::network::NetPool;
use foreshadow::engine::{Arrival, Input};
use foreshadow::lease::directory::Identifiers;
use foreshadow::lease::{Lease, Seq};
use foreshadow::wire::{Message, Message6, MessageType};

use super::client4::Client4;
use super::client6::{self, Client6, granted};
use super::random::Random;
use super::relays::network_of;
use super::tiers;
use super::witness::{Drops, Moment};
use super::world::{Event, Machines, World};

/// Its interface, which is always there.
pub(crate) const LINK: LinkId = LinkId(1 << 19);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1);
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// More machines than there are addresses for.
const MACHINES: usize = 14;

/// What happens on its network.
#[derive(Clone, Debug)]
pub(crate) enum Happens {
    /// The orchestrator does something.
    Acts,
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
enum Stage {
    /// The disk does not have it yet.
    Asked(Seq),
    Here,
    /// Its end is not on the disk yet.
    Ending(Seq),
    /// It was ended, and answers for what it had.
    Ghost,
}

#[derive(Debug)]
struct Machine {
    id: Arc<str>,
    /// A reservation made at run time, and not an instance.
    is_host: bool,
    stage: Stage,
    account: Option<Arc<str>>,
    application: Option<Arc<str>>,
    /// What is kept for it, and since which turn.
    promise: Vec<Resource>,
    since: u64,
    /// Nobody knows its MAC yet.
    is_unnamed: bool,
    /// It said itself that somebody else has what it was given.
    has_declined: bool,
    /// What it had when it was ended, and until when that is kept back.
    had: Vec<(Resource, Timestamp)>,
    /// What it said that it has, since the server last asked for it.
    said: BTreeSet<Resource>,
    client: Client4,
    client6: Client6,
}

/// The orchestrator, as it sees the world.
#[derive(Debug)]
pub(crate) struct Cloud {
    random: Random,
    machines: BTreeMap<u64, Machine>,
    made: u64,
}

impl Cloud {
    pub(crate) fn new(seed: u64) -> Cloud {
        Cloud { random: Random::new(seed ^ 0xc10d), machines: BTreeMap::new(), made: 0 }
    }

    fn of_mac(&self, mac: Mac) -> Option<u64> {
        self.machines.iter().find(|(_, m)| m.client.mac == mac).map(|(n, _)| *n)
    }

    fn one(&mut self, fits: impl Fn(&Machine) -> bool) -> Option<u64> {
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
    fn answers(&self, now: u64, resource: Resource) -> bool {
        match (self.stage, resource) {
            (Stage::Ghost, _) => self.had.iter().any(|(had, _)| *had == resource),
            (_, Resource::V4(addr)) => self.client.has(now, addr),
            _ => self.client6.has(now, resource),
        }
    }

    fn is_kept(&self) -> bool {
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

    fn orchestrate(&mut self) {
        match self.cloud.random.below(10) {
            0..4 if self.cloud.machines.len() < MACHINES => self.registers(),
            0..7 => self.ends(),
            7 => self.names_later(),
            8 => self.reserves(),
            _ => self.opens_account(),
        }
        self.check_cloud();
        let next = self.cloud.random.within(300, 8000);
        self.at(next, Event::Cloud(0, Happens::Acts));
    }

    /// A machine that nobody knows yet.
    fn new_machine(&mut self, id: &str, seq: Seq) -> Machine {
        self.cloud.made += 1;
        let made = (self.cloud.made as u16).to_be_bytes();
        let mac = Mac([2, 0, 0, 0x70, made[0], made[1]]);
        Machine {
            id: id.into(),
            is_host: false,
            stage: Stage::Asked(seq),
            account: None,
            application: None,
            promise: Vec::new(),
            since: u64::MAX,
            is_unnamed: false,
            has_declined: false,
            had: Vec::new(),
            said: BTreeSet::new(),
            client: Client4::new(mac, None, 0),
            client6: Client6::new(mac, duid(mac), false, 0),
        }
    }

    fn registers(&mut self) {
        let id = format!("i{}", self.cloud.made);
        let mut machine = self.new_machine(&id, Seq(0));
        let mut who = Identifiers::default();
        match self.cloud.random.below(4) {
            0 => {}
            1 => {
                machine.is_unnamed = true;
                who.duid = Some(duid(machine.client.mac).into());
            }
            _ => who.mac = Some(machine.client.mac),
        }
        let account = self.cloud.random.pick(&[None, Some("acme"), Some("acme"), Some("made")]);
        machine.account = account.map(Arc::from);
        let is_web = account == Some("acme") && self.cloud.random.chance(500);
        machine.application = is_web.then(|| "web".into());
        let network = Some(NetworkId::of("cloud"));
        let (id, account) = (Some(machine.id.clone()), machine.account.clone());
        let application = machine.application.clone();
        let wish = Wish { id, network, who, account, application, ..Wish::default() };
        let now = self.server_now();
        let (made, seq) = self.server.act(now, |e, fx| e.create_instance(now, &wish, fx));
        match (made, seq) {
            (Ok((instance, _)), Some(seq)) => {
                let kept = &instance.kept;
                machine.promise = kept.resources().collect();
                if let Some(mac) = kept.who.mac.filter(|_| instance.mac_made) {
                    machine.client = Client4::new(mac, None, 0);
                    machine.client6 = Client6::new(mac, duid(mac), false, 0);
                }
                machine.stage = Stage::Asked(seq);
                self.check_new(&machine);
                let ghosts = self.cloud.machines.values().filter(|m| m.stage == Stage::Ghost);
                if ghosts.flat_map(|m| &m.had).any(|(had, _)| machine.promise.contains(had)) {
                    self.tally.seen("addresses promised beside a ghost whose time is over");
                }
                self.cloud.machines.insert(self.cloud.made, machine);
            }
            (Err(Denied::Exhausted(family, ..)), _) => {
                self.tally.seen("instances refused for want of an address");
                if machine.account.is_some() {
                    self.check_exhausted(family);
                }
            }
            (Err(Denied::TierFull(..)), _) => self.tally.seen("instances refused by their tiers"),
            (Err(Denied::Limit(_)), _) => self.tally.seen("instances refused by a cap"),
            _ => {}
        }
    }

    /// What is promised is nobody's, and within the caps.
    fn check_new(&self, new: &Machine) {
        for resource in &new.promise {
            for old in self.cloud.machines.values() {
                let twice = old.is_kept() && old.promise.contains(resource);
                assert!(!twice, "{resource} is promised to {} and {}", old.id, new.id);
                let now = self.server_now();
                let held = old.had.iter().any(|(had, until)| had == resource && now < *until);
                let back = old.stage == Stage::Ghost && held;
                assert!(!back, "{resource} is promised to {}, and {} answers", new.id, old.id);
                let haunted = old.stage == Stage::Ghost && old.said.contains(resource);
                let free = self.free_in_cloud(*resource);
                assert!(!haunted || free == 0, "{resource} has a ghost, and others are free");
            }
            let told = self.witness.told.get(resource);
            let other = told.filter(|t| t.until > self.now && t.client != new.client.mac);
            assert!(other.is_none(), "{resource} is promised to {}, and is of {other:?}", new.id);
        }
        let Some(account) = &new.account else { return };
        let accounts = self.server.engine.directory().accounts();
        let (of_account, of_web) = accounts.terms(account, new.application.as_deref());
        let kept = || self.cloud.machines.values().filter(|m| m.is_kept());
        let its = kept().filter(|m| m.account.as_ref() == Some(account));
        let web = its.clone().filter(|m| m.application.is_some());
        let cap = |terms: Option<&Terms>| terms.and_then(|t| t.max_addresses).unwrap_or(u64::MAX);
        let held = its.chain([new]).map(|m| m.promise.len() as u64).sum::<u64>();
        assert!(held <= cap(of_account), "{account} has {held}");
        let held = web.chain([new]).map(|m| m.promise.len() as u64).sum::<u64>();
        assert!(held <= cap(of_web), "{account}/web has {held}");
    }

    /// How many addresses of the family of `resource` are free, and nobody's as far as is known.
    fn free_in_cloud(&self, resource: Resource) -> u128 {
        let nets = self.server.engine.networks();
        let net = nets.iter().find(|net| net.id == NetworkId::of("cloud")).expect("it is there");
        let pools = if resource.v4().is_some() { &net.pools } else { &net.pools6 };
        let of = |pool: &NetPool| pool.free.available() - pool.free.doubted().count() as u128;
        pools.iter().map(of).sum()
    }

    /// Who comes first gets the last one; for those after it some may be kept free.
    fn check_exhausted(&self, family: &str) {
        let nets = self.server.engine.networks();
        let net = nets.iter().find(|net| net.id == NetworkId::of("cloud")).expect("it is there");
        let pools = if family == "IPv4" { &net.pools[..] } else { &[][..] };
        let free: u128 = pools.iter().map(|pool| pool.free.available()).sum();
        assert_eq!(free, 0, "refused, and there is one free");
    }

    fn ends(&mut self) {
        let Some(n) = self.cloud.one(|m| m.stage == Stage::Here) else { return };
        let (id, is_host) = {
            let machine = &self.cloud.machines[&n];
            (machine.id.clone(), machine.is_host)
        };
        let now = self.server_now();
        let (ended, seq) = self.server.act(now, |e, fx| match is_host {
            true => e.remove_host(&id, fx).map(drop),
            false => e.end_instance(now, &id, fx).map(drop),
        });
        if let (Ok(()), Some(seq)) = (ended, seq) {
            let at = self.moment();
            let Some(machine) = self.cloud.machines.get_mut(&n) else { return };
            let mac = machine.client.mac;
            let networks = &self.policies[self.current].networks;
            let hold = networks.iter().find(|n| n.id == NetworkId::of("cloud")).map(|n| n.hold);
            let hold_max = hold.and_then(|hold| hold.max).unwrap_or(Span::FOREVER);
            let its = |r: &Resource| {
                let told = self.witness.told.get(r).filter(|told| told.client == mac);
                told.map(|told| (*r, told.until_server.min(now + hold_max)))
            };
            let had = machine.promise.iter().filter_map(its);
            let had = had.filter(|(r, _)| machine.answers(self.now, *r) && !machine.is_host);
            machine.had = had.collect();
            machine.stage = Stage::Ending(seq);
            if !is_host {
                self.witness.gives_up(at, mac, Drops::V4);
                self.witness.gives_up(at, mac, Drops::V6);
            }
        }
    }

    fn names_later(&mut self) {
        let Some(n) = self.cloud.one(|m| m.stage == Stage::Here && m.is_unnamed) else { return };
        let machine = &self.cloud.machines[&n];
        let (id, mac) = (machine.id.clone(), Some(machine.client.mac));
        let now = self.server_now();
        let change = Rename { mac, ..Rename::default() };
        let (named, seq) = self.server.act(now, |e, fx| e.change_instance(now, &id, &change, fx));
        if let (Ok(_), Some(seq), Some(machine)) = (named, seq, self.cloud.machines.get_mut(&n)) {
            machine.is_unnamed = false;
            machine.stage = Stage::Asked(seq);
            self.tally.seen("MACs named later");
        }
    }

    fn reserves(&mut self) {
        let id = format!("h{}", self.cloud.made);
        let mut machine = self.new_machine(&id, Seq(0));
        let addr = Ipv4Addr::new(10, 1, 0, 10 + self.cloud.random.below(12) as u8);
        let who = Identifiers { mac: Some(machine.client.mac), ..Identifiers::default() };
        let network = Some(NetworkId::of("cloud"));
        let (id, v4) = (Some(machine.id.clone()), Some(addr));
        let wish = HostWish { id, network, who, v4, ..HostWish::default() };
        let now = self.server_now();
        let (made, seq) = self.server.act(now, |e, fx| e.create_host(now, &wish, fx));
        if let (Ok(_), Some(seq)) = (made, seq) {
            machine.is_host = true;
            machine.stage = Stage::Asked(seq);
            // Who has it keeps it: what is reserved is its own only if it was free.
            let is_free = !self.cloud.machines.values().any(|m| m.answers(self.now, addr.into()));
            let is_free = is_free
                && self.server.engine.leases().get(NetworkId::of("cloud"), addr.into()).is_none();
            machine.promise = Some(Resource::V4(addr)).filter(|_| is_free).into_iter().collect();
            self.tally.seen("reservations at run time");
            self.cloud.machines.insert(self.cloud.made, machine);
        }
    }

    /// An account that the configuration does not know.
    fn opens_account(&mut self) {
        let declared = &self.policies[self.current].accounts[0];
        let account = Account { name: "made".into(), ..Account::clone(declared) };
        let now = self.server_now();
        let (made, _) = self.server.act(now, |e, fx| e.put_account(account, fx));
        if made.is_ok() {
            self.tally.seen("accounts made at run time");
        }
    }

    /// What the disk has of what was asked: so much is durable, or lost from there on.
    pub(crate) fn cloud_heard(&mut self) {
        for outcome in std::mem::take(&mut self.server.heard) {
            let numbers: Vec<u64> = self.cloud.machines.keys().copied().collect();
            for n in numbers {
                let stage = self.cloud.machines[&n].stage;
                match (stage, outcome) {
                    (Stage::Asked(seq), Ok(upto)) if seq <= upto => self.boots(n),
                    (Stage::Ending(seq), Ok(upto)) if seq <= upto => self.is_ended(n),
                    (Stage::Asked(seq), Err(from)) if seq >= from => self.undone(n),
                    (Stage::Ending(seq), Err(from)) if seq >= from => self.undone(n),
                    _ => {}
                }
            }
            if outcome.is_err() {
                self.check_facts();
            }
        }
    }

    fn boots(&mut self, n: u64) {
        let (now, turn) = (self.now, self.server.turn);
        let Some(machine) = self.cloud.machines.get_mut(&n) else { return };
        machine.stage = Stage::Here;
        machine.since = turn;
        if machine.is_unnamed {
            return;
        }
        let alarm = now + self.cloud.random.within(1, 3000);
        let alarm6 = now + self.cloud.random.within(1, 3000);
        (machine.client.alarm, machine.client6.alarm) = (alarm, alarm6);
        self.at(alarm - now, Event::Cloud(n, Happens::Wake4(alarm)));
        self.at(alarm6 - now, Event::Cloud(n, Happens::Wake6(alarm6)));
    }

    fn is_ended(&mut self, n: u64) {
        let stays = self.cloud.random.chance(600);
        let gone = self.cloud.random.within(1000, 200_000);
        let turn = self.server.turn;
        let Some(machine) = self.cloud.machines.get_mut(&n) else { return };
        self.tally.seen("instances that were ended");
        if machine.had.is_empty() || !stays {
            self.cloud.machines.remove(&n);
            return;
        }
        (machine.stage, machine.since) = (Stage::Ghost, turn);
        self.tally.seen("ghosts that answer for what they had");
        self.at(gone, Event::Cloud(n, Happens::Gone));
    }

    /// A failed commit: the directory says what is left of it.
    fn undone(&mut self, n: u64) {
        let Some(machine) = self.cloud.machines.get_mut(&n) else { return };
        let directory = self.server.engine.directory();
        let kept = match machine.is_host {
            true => directory.host(&machine.id).map(|host| &host.kept),
            false => directory.instance(&machine.id).map(|instance| &instance.kept),
        };
        let Some(kept) = kept else {
            self.cloud.machines.remove(&n);
            return;
        };
        machine.is_unnamed = kept.who.mac.is_none();
        machine.stage = Stage::Here;
        machine.since = self.server.turn;
        machine.had.clear();
        self.tally.seen("writes of the orchestrator that were taken back");
    }

    /// The power is back: what was not acknowledged is there, or not.
    pub(crate) fn cloud_reboots(&mut self) {
        let numbers: Vec<u64> = self.cloud.machines.keys().copied().collect();
        for n in numbers {
            if matches!(self.cloud.machines[&n].stage, Stage::Asked(_)) {
                self.undone(n);
                self.cloud.machines.contains_key(&n).then(|| self.boots(n));
            } else if matches!(self.cloud.machines[&n].stage, Stage::Ending(_)) {
                self.undone(n);
            }
        }
        for machine in self.cloud.machines.values_mut().filter(|m| m.stage == Stage::Here) {
            machine.since = 0;
        }
        // What was heard before is not known after a restart.
        self.cloud.machines.values_mut().for_each(|m| m.said.clear());
        self.server.heard.clear();
        self.check_facts();
        self.check_cloud();
    }

    /// All that was acknowledged is there, and what is kept back is.
    pub(crate) fn check_cloud(&self) {
        tiers::check(&self.server.engine).unwrap();
        let directory = self.server.engine.directory();
        for machine in self.cloud.machines.values() {
            let is_there = match machine.is_host {
                true => directory.host(&machine.id).is_some(),
                false => directory.instance(&machine.id).is_some(),
            };
            let want = machine.stage == Stage::Here;
            assert!(is_there || !want, "{} was acknowledged, and is lost", machine.id);
            let gone = machine.stage == Stage::Ghost;
            assert!(!(is_there && gone), "{} was ended, and is there", machine.id);
            let now = self.server_now();
            for (had, _) in machine.had.iter().filter(|(_, until)| gone && now < *until) {
                let kept = self.durable.with(|facts| {
                    facts.get(&(network_of(*had), *had)).is_some_and(|l: &Lease| l.state.is_held())
                });
                assert!(kept, "{had} is free, and the ghost {} answers for it", machine.id);
            }
        }
    }

    /// The directory is as the disk has it: what was written since is taken back.
    pub(crate) fn check_facts(&self) {
        let facts = self.server.engine.facts();
        let stored = self.durable.facts();
        let own = |name: &str| !self.server.is_note(name);
        let kept: BTreeMap<_, _> = facts.collect();
        let stored: BTreeMap<_, _> = stored.into_iter().filter(|(n, _)| own(n)).collect();
        assert!(kept == stored, "other facts than on disk: {:?} {:?}", kept.keys(), stored.keys());
    }

    /// All ghosts are laid.
    pub(crate) fn no_ghosts(&mut self) {
        self.cloud.machines.retain(|_, machine| machine.stage != Stage::Ghost);
    }
}

fn duid(mac: Mac) -> Vec<u8> {
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
