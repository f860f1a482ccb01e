//! What must hold of what is foreseen, judged from outside after each step: to whom goes what was held
//! for whom, for how long and how much is held, and whether anybody is refused for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use foreshadow::base::{Mac, Resource, Sort, Span};
use foreshadow::config::policy::Terms;
use foreshadow::engine::effects::DropReason;
use foreshadow::engine::shadows::Tally as Counted;
use foreshadow::engine::tally::Outcome;
use foreshadow::lease::{Owner, State};

use super::cloud::{Machine, Stage};
use super::foresight::{Held, addresses, cloud};
use super::world::World;

/// How long what is over may stand, by everybody's time, while the server can end it.
const OVERDUE: u64 = 10_000;
/// The priority of whoever has no account.
const NO_ACCOUNT: u8 = 5;

/// Whether what is held for `of` may be an instance's of `owner`.
fn is_for(of: &Owner, owner: &Owner) -> bool {
    of.0 == owner.0 && (of.1.is_none() || of.1 == owner.1)
}

fn family(resource: Resource) -> usize {
    usize::from(resource.v4().is_none())
}

impl World {
    /// What is held now.
    pub(crate) fn shadows(&self) -> BTreeMap<Resource, Held> {
        let engine = &self.server.engine;
        let of = |resource: Resource| {
            let lease = engine.leases().get(cloud(), resource)?;
            let lease = Some(lease).filter(|lease| lease.state == State::Shadow)?;
            let account = lease.details.account.clone().expect("a shadow is of an account");
            let offer = engine.offers().get(cloud(), resource);
            let promised = offer.and_then(|offer| Some((offer.hw.mac()?, offer.until)));
            let owner = (account, lease.details.application.clone());
            let held = Held { owner, since: lease.since, until: lease.until, promised };
            Some((resource, held))
        };
        addresses().filter_map(of).collect()
    }

    /// How many addresses of a family would give way.
    pub(crate) fn lent_in_cloud(&self, family_of: Resource) -> usize {
        let all = self.shadows();
        let alike = |(r, held): &(&Resource, &Held)| {
            r.sort() == family_of.sort() && held.promised.is_none()
        };
        all.iter().filter(alike).count()
    }

    /// Looks at all that is held, after each step.
    pub(crate) fn look_at_shadows(&mut self) {
        let age = (self.server.failed, self.foresight.starts, self.current);
        let held = self.shadows();
        let known = std::mem::replace(&mut self.foresight.age, age) == age;
        let free = addresses_of_both().map(|one| self.free_in_cloud(one));
        if known {
            self.check_transitions(&held, free);
        }
        self.check_ages(&held);
        self.check_counts(&held, known);
        self.check_places(&held);
        self.foresight.held = held;
        self.foresight.free = free;
        self.count_outcomes();
    }

    /// What was held for one goes to another only if nothing else is left, and not at all once it is
    /// promised.
    fn check_transitions(&self, held: &BTreeMap<Resource, Held>, free: [u128; 2]) {
        for (resource, before) in &self.foresight.held {
            let after = held.get(resource);
            let Some((mac, owner)) = self.who_got(*resource, after) else { continue };
            // Whoever was offered it takes it, or one of a higher priority: what was right then is
            // right now.
            if let Some((to, until)) = before.promised {
                let first = self.priority_of(mac) > self.priority_of(to);
                let kept = to == mac || first || self.server_now() >= until;
                assert!(kept, "{resource} was promised: {before:?}, and goes to {mac}");
                continue;
            }
            let own = owner.as_ref().is_some_and(|owner| is_for(&before.owner, owner));
            let left = self.foresight.free[family(*resource)].min(free[family(*resource)]);
            assert!(
                own || left == 0,
                "{resource} was held: {before:?}, goes to {mac} of {owner:?}, and {left} are free"
            );
        }
    }

    fn priority_of(&self, mac: Mac) -> u8 {
        let machine = self.cloud.machines.values().find(|m| m.client.mac == mac);
        let account = machine.and_then(|machine| machine.account.as_deref());
        let account = account.and_then(|name| self.server.engine.directory().accounts().get(name));
        account.map_or(NO_ACCOUNT, |of| of.account.priority(None))
    }

    /// Who has or is offered what was a shadow.
    fn who_got(&self, resource: Resource, now: Option<&Held>) -> Option<(Mac, Option<Owner>)> {
        let engine = &self.server.engine;
        let leased = engine.leases().get(cloud(), resource).filter(|l| l.state == State::Leased);
        let offered = engine.offers().get(cloud(), resource).map(|offer| offer.hw);
        let kept = engine.directory().keeper(cloud(), resource);
        let kept = kept.filter(|_| now.is_none()).and_then(|kept| kept.instance.clone());
        let mac = leased.map(|lease| lease.hw).or(offered).and_then(|hw| hw.mac());
        let mut machines = self.cloud.machines.values();
        let machine = machines.find(|m| {
            mac == Some(m.client.mac) || (mac.is_none() && kept.as_ref() == Some(&m.id))
        })?;
        let owner = machine.account.clone().map(|account| (account, machine.application.clone()));
        (mac.is_some() || kept.is_some()).then_some((machine.client.mac, owner))
    }

    /// No shadow outlives what was said of it.
    fn check_ages(&mut self, held: &BTreeMap<Resource, Held>) {
        let ages = self.policies.iter().map(|policy| policy.shadow.max_age.0);
        let max_age = Span(ages.max().unwrap_or(0));
        let now = self.server_now();
        let (may_end, here) = (self.server.store_ok() && self.time.is_trusted(), self.now);
        for (resource, held) in held {
            let said = self.foresight.said.entry((*resource, held.since)).or_default();
            // Who was offered it may still take it.
            *said = held.promised.map_or(*said, |(_, until)| until.max(*said));
            let most = (*said).max(held.since + max_age);
            assert!(held.until <= most, "{resource} is held for too long: {held:?}, not {most:?}");
            if held.until >= now || !may_end {
                self.foresight.overdue.remove(resource);
                continue;
            }
            let since = *self.foresight.overdue.entry(*resource).or_insert(here);
            assert!(here <= since + OVERDUE, "{resource} is over, and still held: {held:?}");
        }
        self.foresight.overdue.retain(|resource, _| held.contains_key(resource));
        if self.foresight.said.len() > 1000 {
            self.foresight.said.retain(|_, until| *until > now);
        }
    }

    /// No owner gets more than it may have, and all together no more than there may be.
    fn check_counts(&mut self, held: &BTreeMap<Resource, Held>, known: bool) {
        let policy = &self.policies[self.current];
        let mut counts: BTreeMap<(Owner, Sort), usize> = BTreeMap::new();
        for (resource, held) in held {
            *counts.entry((held.owner.clone(), resource.sort())).or_default() += 1;
        }
        let accounts = self.server.engine.directory().accounts();
        for (key, count) in counts.iter().filter(|_| known) {
            let ((account, application), before) = (&key.0, self.foresight.counts.get(key));
            let (of_account, of) = accounts.terms(account, application.as_deref());
            let terms = if application.is_some() { of } else { of_account };
            let max =
                terms.and_then(|terms| terms.shadow.max).unwrap_or(policy.shadow.max_per_owner);
            let grew = *count > before.copied().unwrap_or(0);
            assert!(
                !grew || *count <= max as usize,
                "{key:?} has {count} shadows of at most {max}"
            );
        }
        let (all, before) = (held.len(), self.foresight.held.len());
        let max = policy.shadow.max as usize;
        assert!(!known || all <= before || all <= max, "{all} shadows of at most {max}");
        self.foresight.counts = counts;
    }

    /// What is held is not free as well, and is counted once.
    fn check_places(&self, held: &BTreeMap<Resource, Held>) {
        let engine = &self.server.engine;
        let nets = engine.networks();
        let net = nets.iter().find(|net| net.id == cloud()).expect("it is there");
        for (resource, held) in held {
            let is_free = match resource {
                Resource::V4(addr) => {
                    net.pools.iter().any(|p| p.free.is_free(u128::from(addr.to_bits())))
                }
                Resource::V6(addr) => net.pools6.iter().any(|p| p.free.is_free(addr.to_bits())),
                Resource::Prefix6(..) => false,
            };
            assert!(!is_free, "{resource} is held and free: {held:?}");
        }
        assert_eq!(engine.leases().shadows().len(), held.len(), "shadows are miscounted");
    }

    /// What came of them since the last look.
    fn count_outcomes(&mut self) {
        let total = self.server.engine.tallies().total();
        let before = std::mem::replace(&mut self.foresight.counted, total);
        let new = total.minus(&before);
        for (count, name) in [
            (new.hits, "instances that found what was held for them"),
            (new.misses, "instances that found nothing held"),
            (new.held, "shadows made by plans"),
            (new.aged, "shadows that nobody claimed in their time"),
            (new.yielded, "shadows that gave way"),
        ] {
            (0..count).for_each(|_| self.tally.seen(name));
        }
    }

    /// Whoever was refused could have had nothing that is only foreseen.
    pub(crate) fn judge_refusal(&mut self, n: u64) {
        let Some((_, Outcome::Dropped(why))) = self.server.outcomes.last().copied() else { return };
        let is_known = |m: &&Machine| matches!(m.stage, Stage::Here | Stage::WalkIn);
        let Some(machine) = self.cloud.machines.get(&n).filter(is_known) else { return };
        let one = Resource::V4(Ipv4Addr::UNSPECIFIED);
        match why {
            DropReason::Exhausted => {
                let could = self.free_in_cloud(one) + self.lent_in_cloud(one) as u128;
                let kept = self.kept_from(machine.account.as_deref(), one);
                let (id, who, held) = (&machine.id, &machine.account, self.shadows());
                assert!(
                    could <= kept,
                    "{id} of {who:?} is refused, {could} could be had: {held:?}"
                );
                self.tally.seen("clients refused for want of an address");
            }
            DropReason::AccountFull => {
                let (held, cap) = self.held_by_account(n);
                assert!(held >= cap, "{} is refused, with {held} of {cap}", machine.id);
                self.tally.seen("clients refused by a cap");
            }
            _ => {}
        }
    }

    /// How many of the last addresses of a pool of the cloud may be for those of higher priority.
    pub(crate) fn kept_from(&self, account: Option<&str>, one: Resource) -> u128 {
        let policy = &self.policies[self.current];
        let network = policy.networks.iter().find(|n| n.id == cloud()).expect("it is there");
        let accounts = self.server.engine.directory().accounts();
        let of = |name: &str| accounts.get(name).map_or(NO_ACCOUNT, |of| of.account.priority(None));
        let own = account.map_or(NO_ACCOUNT, of);
        let higher = accounts.iter().any(|of| of.account.priority(None) > own);
        let size = addresses().filter(|other| other.sort() == one.sort()).count() as u128;
        if higher { (size * u128::from(network.short_percent)).div_ceil(100) } else { 0 }
    }

    /// How many addresses the tightest of a machine's caps leaves, as all that its owner has, and of how
    /// many.
    fn held_by_account(&self, n: u64) -> (u64, u64) {
        let machine = &self.cloud.machines[&n];
        let Some(account) = &machine.account else { return (0, u64::MAX) };
        let accounts = self.server.engine.directory().accounts();
        let (whole, part) = accounts.terms(account, machine.application.as_deref());
        let held = |application: Option<&str>| {
            let fits = |of: Option<&str>, app: Option<&str>| {
                of == Some(account) && (application.is_none() || app == application)
            };
            let mut all = BTreeSet::new();
            for machine in self.cloud.machines.values().filter(|m| m.is_kept()) {
                if fits(machine.account.as_deref(), machine.application.as_deref()) {
                    all.extend(machine.promise.iter().copied());
                }
            }
            let leases = self.server.engine.leases();
            for lease in addresses().filter_map(|r| leases.get(cloud(), r)) {
                let details = &lease.details;
                let bound = lease.state != State::Shadow && lease.state.is_held();
                if bound && fits(details.account.as_deref(), details.application.as_deref()) {
                    all.insert(lease.resource);
                }
            }
            all.len() as u64
        };
        let cap =
            |terms: Option<&Terms>| terms.and_then(|terms| terms.max_addresses).unwrap_or(u64::MAX);
        let of_account = (held(None), cap(whole));
        let of_part = match machine.application.as_deref() {
            Some(application) => (held(Some(application)), cap(part)),
            None => (0, u64::MAX),
        };
        let left = |(held, cap): (u64, u64)| cap.saturating_sub(held);
        if left(of_part) < left(of_account) { of_part } else { of_account }
    }

    /// The server begins anew, with what its disk has.
    pub(crate) fn foresight_reboots(&mut self) {
        self.foresight.starts += 1;
        self.foresight.counted = Counted::default();
        self.foresight.overdue.clear();
        let stored = self.durable.with(|facts| {
            let own = facts.values().filter(|l| l.network == cloud() && l.state == State::Shadow);
            own.map(|l| (l.resource, l.until)).collect::<BTreeMap<_, _>>()
        });
        let held = self.shadows();
        let there: BTreeMap<_, _> = held.iter().map(|(r, held)| (*r, held.until)).collect();
        assert_eq!(there, stored, "other shadows than on disk");
        if !there.is_empty() {
            self.tally.seen("power cuts while something was held");
        }
    }

    /// What an instance of an owner could have had of what is held for it: free of promises.
    pub(crate) fn held_for(&self, owner: &Owner) -> Vec<Resource> {
        let all = self.shadows();
        let own = all.iter().filter(|(_, h)| is_for(&h.owner, owner) && h.promised.is_none());
        own.map(|(resource, _)| *resource).collect()
    }
}

fn addresses_of_both() -> [Resource; 2] {
    [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
}
