//! What accounts and applications may have: how many addresses, how many requests, and who comes
//! first when a pool runs short.

use std::net::Ipv6Addr;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::base::{NetworkId, Range4, Span, Timestamp};
use crate::config::policy::{Account, DelegationPool, Level, Network, Rate, TierOrder};
use crate::lease::{Held, Owner};

use super::Engine;
use super::effects::{Effects, EventKind};
use super::network::{NetDelegation, NetPool};

/// The priority of clients without an account.
pub const PRIORITY: u8 = 5;
/// How often it is told that an owner met one of its limits.
const SAY_AGAIN: Span = Span::from_secs(60);

/// A limit of an account or an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// `max_addresses`.
    Addresses,
    /// `max_prefixes`.
    Prefixes,
    /// `max_standbys`.
    Standbys,
    /// `requests_per_s`.
    Requests,
}

impl Limit {
    /// As the configuration calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Limit::Addresses => "max_addresses",
            Limit::Prefixes => "max_prefixes",
            Limit::Standbys => "max_standbys",
            Limit::Requests => "requests_per_s",
        }
    }
}

/// A limit that was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// Whose: an account, or one of its applications.
    pub owner: Owner,
    /// Which.
    pub limit: Limit,
    /// What it is.
    pub max: u64,
}

impl std::fmt::Display for Met {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (account, application) = (&self.owner.0, &self.owner.1);
        match application {
            Some(application) => write!(f, "application {account}/{application}")?,
            None => write!(f, "account {account}")?,
        }
        write!(f, " has its {} = {}", self.limit.as_str(), self.max)
    }
}

/// Tokens of those whose requests are limited, and who was told of.
#[derive(Debug, Default)]
pub struct Meters {
    /// Until when the debts of each last, in microseconds (the generic cell rate algorithm).
    until_us: HashMap<Owner, u64>,
    told: HashMap<(Owner, Limit), Timestamp>,
}

impl Meters {
    /// Takes a token; whether there was one.
    fn take(&mut self, owner: &Owner, now: Timestamp, rate: Rate) -> bool {
        let now_us = now.0.saturating_mul(1000);
        let token_us = 1_000_000 / u64::from(rate.per_s.max(1));
        let latest = now_us.saturating_add(token_us.saturating_mul(u64::from(rate.burst)));
        let until_us = self.until_us.entry(owner.clone()).or_default();
        let until = (*until_us).clamp(now_us, latest).saturating_add(token_us);
        let had = until <= latest;
        *until_us = if had { until } else { until - token_us };
        had
    }

    /// Forgets those whose account is gone.
    pub(super) fn forget_others(&mut self, known: impl Fn(&str) -> bool) {
        self.until_us.retain(|(account, _), _| known(account));
        self.told.retain(|((account, _), _), _| known(account));
    }
}

/// The owners that count what a client has: its application and its account.
fn owners(owner: &Owner) -> impl Iterator<Item = Owner> + use<> {
    let of_application = owner.1.is_some().then(|| owner.clone());
    of_application.into_iter().chain([(Arc::clone(&owner.0), None)])
}

impl Engine {
    /// The priority of an owner's clients.
    pub(super) fn priority(&self, owner: Option<&Owner>) -> u8 {
        let Some((account, application)) = owner else { return PRIORITY };
        let standing = self.directory.accounts().get(account);
        let priority = standing.map(|standing| standing.account.priority(application.as_deref()));
        priority.unwrap_or(Level::default().priority())
    }

    /// How much an owner has: what is kept for its instances, and what else is bound.
    pub fn held_by(&self, owner: &Owner) -> Held {
        self.table.held_by(owner).plus(self.directory.kept_for(owner))
    }

    /// The limit that `more` would be beyond.
    pub(super) fn limit_met(&self, owner: Option<&Owner>, more: Held) -> Option<Met> {
        let owner = owner.filter(|_| !self.directory.accounts().is_empty())?;
        owners(owner).find_map(|owner| {
            let (account, application) =
                self.directory.accounts().terms(&owner.0, owner.1.as_deref());
            let terms = if owner.1.is_some() { application } else { account }?;
            let held = self.held_by(&owner).plus(more);
            let over =
                |max: Option<u64>, more: u64, held: u64| max.filter(|m| more > 0 && held > *m);
            let addresses = over(terms.max_addresses, more.addresses, held.addresses);
            let prefixes = over(terms.max_prefixes, more.prefixes, held.prefixes);
            let (limit, max) = addresses
                .map(|max| (Limit::Addresses, max))
                .or(prefixes.map(|max| (Limit::Prefixes, max)))?;
            Some(Met { owner, limit, max })
        })
    }

    /// The limit that another standby would be beyond.
    pub(super) fn standbys_met(&self, owner: Option<&Owner>) -> Option<Met> {
        owners(owner?).find_map(|owner| {
            let (account, application) =
                self.directory.accounts().terms(&owner.0, owner.1.as_deref());
            let terms = if owner.1.is_some() { application } else { account }?;
            let max = terms.max_standbys?;
            let full = u64::from(self.directory.standbys_for(&owner)) >= max;
            full.then_some(Met { owner, limit: Limit::Standbys, max })
        })
    }

    /// Takes a token for a request of an owner; the limit if there is none left.
    pub(super) fn request_met(&mut self, now: Timestamp, owner: Option<&Owner>) -> Option<Met> {
        let owner = owner.filter(|_| !self.directory.accounts().is_empty())?;
        for owner in owners(owner) {
            let (account, application) =
                self.directory.accounts().terms(&owner.0, owner.1.as_deref());
            let terms = if owner.1.is_some() { application } else { account };
            let Some(rate) = terms.and_then(|terms| terms.requests) else { continue };
            if !self.meters.take(&owner, now, rate) {
                let max = u64::from(rate.per_s);
                return Some(Met { owner, limit: Limit::Requests, max });
            }
        }
        None
    }

    /// Tells of a limit that was met, once in a while.
    pub(super) fn say_met(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        met: Met,
        fx: &mut Effects,
    ) {
        let key = (met.owner.clone(), met.limit);
        if self.meters.told.get(&key).is_some_and(|said| now.since(*said) < SAY_AGAIN) {
            return;
        }
        self.meters.told.insert(key, now);
        self.say(now, Some(network), EventKind::Limited(Box::new(met)), fx);
    }

    /// Whether an owner may have addresses of a pool at all.
    pub(super) fn may_use_range4(
        &self,
        owner: Option<&Owner>,
        network: NetworkId,
        range: &Range4,
    ) -> bool {
        self.account_of(owner).is_none_or(|account| {
            let of = |blocks: &[_]| {
                blocks.is_empty()
                    || blocks.iter().any(|b: &crate::config::policy::Block| b.holds4(range))
            };
            account.may_use(network) && of(&account.pools)
        })
    }

    /// The same for IPv6.
    pub(super) fn may_use_range6(
        &self,
        owner: Option<&Owner>,
        network: NetworkId,
        first: Ipv6Addr,
        last: Ipv6Addr,
    ) -> bool {
        self.account_of(owner).is_none_or(|account| {
            account.may_use(network)
                && (account.pools.is_empty() || account.pools.iter().any(|b| b.holds6(first, last)))
        })
    }

    /// The same for prefixes of a delegation.
    pub(super) fn may_use_delegation(
        &self,
        owner: Option<&Owner>,
        network: NetworkId,
        of: &DelegationPool,
    ) -> bool {
        self.may_use_range6(owner, network, of.prefix.network(), of.prefix.last())
    }

    /// Whether an owner may use a network.
    pub(super) fn may_use_network(&self, owner: Option<&Owner>, network: NetworkId) -> bool {
        self.account_of(owner).is_none_or(|account| account.may_use(network))
    }

    fn account_of(&self, owner: Option<&Owner>) -> Option<&Account> {
        let (account, _) = owner?;
        self.directory.accounts().get(account).map(|standing| &*standing.account)
    }

    /// Notes anew which priorities there are on each pool.
    pub(super) fn rank_pools(&mut self) {
        let policy = Arc::clone(&self.policy);
        let accounts: Vec<Arc<Account>> =
            self.directory.accounts().iter().map(|s| Arc::clone(&s.account)).collect();
        for (net, network) in self.nets.iter_mut().zip(&policy.networks) {
            let of: Vec<&Account> =
                accounts.iter().map(|a| &**a).filter(|a| a.may_use(network.id)).collect();
            for pool in &mut net.pools {
                let Some(range) = pool.policy(network).map(|p| p.range) else { continue };
                let uses =
                    |a: &&&Account| a.pools.is_empty() || a.pools.iter().any(|b| b.holds4(&range));
                pool.priorities = of.iter().filter(uses).fold(1 << PRIORITY, with_priorities);
            }
            for pool in &mut net.pools6 {
                let subnet = network.subnets6.get(pool.subnet);
                let Some(p) = subnet.and_then(|s| s.pools.get(pool.index)) else { continue };
                let uses = |a: &&&Account| {
                    a.pools.is_empty() || a.pools.iter().any(|b| b.holds6(p.first, p.last))
                };
                pool.priorities = of.iter().filter(uses).fold(1 << PRIORITY, with_priorities);
            }
            for pool in &mut net.delegations {
                let subnet = network.subnets6.get(pool.subnet);
                let Some(d) = subnet.and_then(|s| s.delegations.get(pool.index)) else { continue };
                let (first, last) = (d.prefix.network(), d.prefix.last());
                let uses = |a: &&&Account| {
                    a.pools.is_empty() || a.pools.iter().any(|b| b.holds6(first, last))
                };
                pool.priorities = of.iter().filter(uses).fold(1 << PRIORITY, with_priorities);
            }
        }
        let accounts = self.directory.accounts();
        self.meters.forget_others(|name| accounts.get(name).is_some());
        self.tallies.forget_others(|name| accounts.get(name).is_some());
        let priorities: Vec<(Owner, u8)> = self
            .table
            .shadows()
            .owners()
            .map(|owner| (owner.clone(), self.priority(Some(owner))))
            .collect();
        self.table.shadows_mut().set_priorities(priorities);
        self.wake_plans(Timestamp(0));
    }
}

/// What a client may have of a pool that others want too.
#[derive(Clone, Copy, Debug)]
pub struct Rank {
    /// 0 to 9: who comes first when a pool is short.
    pub priority: u8,
    /// Which tiers it may use, where its network has some.
    pub tiers: Option<TierOrder>,
}

/// A bit for each priority of an account and its applications.
fn with_priorities(all: u16, account: &&Account) -> u16 {
    let applications = account.applications.iter();
    let own = applications.fold(0, |all, a| all | 1 << account.priority(Some(&a.name)));
    all | own | 1 << account.priority(None)
}

impl NetPool {
    /// Whether a client of this rank may have one of the free addresses: the last ones of a short
    /// pool are for priorities above it, the more of them the more ranks there are above; and one of
    /// its tiers is to have room.
    ///
    /// `lent` are held by shadows, and would give way.
    pub fn has_room_for(&self, network: &Network, rank: Rank, lent: u128) -> bool {
        let free = self.free.available().saturating_add(lent);
        let tiers = self.tiers.as_ref().zip(rank.tiers);
        free > 0
            && free > self.kept_back(network, rank.priority)
            && tiers.is_none_or(|(tiers, order)| tiers.has_room_for(&order, free))
    }

    /// Whether it may have this one, where that is one of the free, or of what is `lent`.
    pub fn has_room_at(
        &self,
        network: &Network,
        (value, is_lent): (u128, bool),
        rank: Rank,
        lent: u128,
    ) -> bool {
        let counts = is_lent || self.free.is_free(value);
        !counts || self.has_room_for(network, rank, lent)
    }

    /// Whether some of its addresses are kept for some priorities.
    pub fn is_ranked(&self, network: &Network) -> bool {
        network.short_percent > 0 && self.priorities.count_ones() > 1
    }

    fn kept_back(&self, network: &Network, priority: u8) -> u128 {
        kept_back(self.size, self.priorities, network.short_percent, priority)
    }
}

impl NetDelegation {
    /// Whether a client of this priority may have a free prefix of that length: the last ones of a
    /// short pool are for those above it.
    pub fn has_room_for(&self, network: &Network, priority: u8, len: u8) -> bool {
        let kept = kept_back(self.size, self.priorities, network.short_percent, priority);
        self.free.available() >= kept.saturating_add(self.free.units_of(len))
    }
}

/// How many of the last addresses, or units of prefixes, are for higher priorities.
fn kept_back(size: u128, priorities: u16, short_percent: u8, priority: u8) -> u128 {
    let ranks = u128::from(priorities.count_ones()).saturating_sub(1);
    if ranks == 0 {
        return 0;
    }
    let above = priorities.checked_shr(u32::from(priority) + 1).unwrap_or(0);
    let short = size.saturating_mul(short_percent.into()).div_ceil(100);
    short.saturating_mul(above.count_ones().into()).div_ceil(ranks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_a_rate() {
        let (mut meters, rate) = (Meters::default(), Rate { per_s: 10, burst: 3 });
        let owner: Owner = ("shop".into(), None);
        let at = |ms: u64| Timestamp(1_700_000_000_000 + ms);
        let had =
            |meters: &mut Meters, ms| (0..10).filter(|_| meters.take(&owner, at(ms), rate)).count();
        assert_eq!(had(&mut meters, 0), 3);
        assert_eq!(had(&mut meters, 99), 0);
        assert_eq!(had(&mut meters, 100), 1);
        assert_eq!(had(&mut meters, 10_000), 3);
    }
}
