//! What the orchestrator does about its machines, and what must hold of it: what is promised is nobody
//! else's and within the caps, and what the disk has of it is there after failures and restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use foreshadow::base::{Mac, NetworkId, Resource, Span};
use foreshadow::config::policy::{Account, Terms};
use foreshadow::engine::hosts::HostWish;
use foreshadow::engine::instances::{Denied, Rename, Wish};
use foreshadow::engine::network::NetPool;
use foreshadow::lease::directory::Identifiers;
use foreshadow::lease::{Lease, Seq};

use super::client4::Client4;
use super::client6::Client6;
use super::cloud::{Happens, Machine, Stage, duid};
use super::relays::network_of;
use super::tiers;
use super::witness::Drops;
use super::world::{Event, World};

/// More machines than there are addresses for.
const MACHINES: usize = 14;
/// For so long many come, or few.
const LULL: u64 = 90_000;

impl World {
    pub(crate) fn orchestrate(&mut self) {
        // Now and then there is time to hold something.
        let busy = self.now / LULL % 3 != 2;
        match self.cloud.random.below(10) {
            0..4 if busy && self.cloud.machines.len() < MACHINES => self.comes(),
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
    pub(crate) fn new_machine(&mut self, id: &str, seq: Seq) -> Machine {
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

    fn comes(&mut self) {
        let account = self.cloud.random.pick(&[None, Some("acme"), Some("acme"), Some("made")]);
        let is_web = account == Some("acme") && self.cloud.random.chance(500);
        self.registers(account.map(Arc::from), is_web.then(|| "web".into()));
    }

    /// A machine of an account is registered.
    pub(crate) fn registers(&mut self, account: Option<Arc<str>>, application: Option<Arc<str>>) {
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
        (machine.account, machine.application) = (account, application);
        let owner = machine.account.clone().map(|account| (account, machine.application.clone()));
        let held = owner.map(|owner| self.held_for(&owner)).unwrap_or_default();
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
                    machine.is_called(mac);
                }
                machine.stage = Stage::Asked(seq);
                self.check_new(&machine);
                self.check_claim(&machine, &held);
                let ghosts = self.cloud.machines.values().filter(|m| m.stage == Stage::Ghost);
                if ghosts.flat_map(|m| &m.had).any(|(had, _)| machine.promise.contains(had)) {
                    self.tally.seen("addresses promised beside a ghost whose time is over");
                }
                self.cloud.machines.insert(self.cloud.made, machine);
            }
            (Err(Denied::Exhausted(family, ..)), _) => {
                self.tally.seen("instances refused for want of an address");
                self.check_exhausted(family, machine.account.as_deref());
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
    pub(crate) fn free_in_cloud(&self, resource: Resource) -> u128 {
        let nets = self.server.engine.networks();
        let net = nets.iter().find(|net| net.id == NetworkId::of("cloud")).expect("it is there");
        let pools = if resource.v4().is_some() { &net.pools } else { &net.pools6 };
        let of = |pool: &NetPool| pool.free.available() - pool.free.doubted().count() as u128;
        pools.iter().map(of).sum()
    }

    /// Who comes first gets the last one, be it held for somebody; for those after it some may be
    /// kept free.
    fn check_exhausted(&self, family: &str, account: Option<&str>) {
        let one = match family {
            "IPv4" => Resource::V4(Ipv4Addr::UNSPECIFIED),
            _ => Resource::V6(std::net::Ipv6Addr::UNSPECIFIED),
        };
        let could = self.free_in_cloud(one) + self.lent_in_cloud(one) as u128;
        let kept = self.kept_from(account, one);
        assert!(could <= kept, "{account:?} is refused {family}, and {could} could be had");
    }

    /// An instance gets what is held for its owner first, where neither tiers nor ranks have a say.
    fn check_claim(&mut self, new: &Machine, held: &[Resource]) {
        let networks = &self.policies[self.current].networks;
        let tiered = networks.iter().any(|n| n.id == NetworkId::of("cloud") && n.tiers.is_some());
        for resource in new.promise.iter().filter(|_| !tiered) {
            if self.kept_from(new.account.as_deref(), *resource) > 0 {
                continue;
            }
            let alike = held.iter().any(|own| own.sort() == resource.sort());
            let claimed = held.contains(resource);
            assert!(claimed || !alike, "{} gets {resource}, and {held:?} were held", new.id);
            if claimed {
                self.tally.seen("promises of what was held");
            }
        }
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
        let turn = self.server.turn;
        let Some(machine) = self.cloud.machines.get_mut(&n) else { return };
        machine.stage = Stage::Here;
        machine.since = turn;
        if machine.is_unnamed {
            return;
        }
        self.turns_on(n);
    }

    /// A machine boots.
    pub(crate) fn turns_on(&mut self, n: u64) {
        let now = self.now;
        let Some(machine) = self.cloud.machines.get_mut(&n) else { return };
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

    /// What was over by the time of before is over, whatever the time is after a power cut.
    pub(crate) fn forget_over_in_cloud(&mut self) {
        let now = self.server_now();
        let machines = self.cloud.machines.values_mut();
        machines.for_each(|machine| machine.had.retain(|(_, until)| *until > now));
    }

    /// All ghosts are laid.
    pub(crate) fn no_ghosts(&mut self) {
        self.cloud.machines.retain(|_, machine| machine.stage != Stage::Ghost);
    }
}
