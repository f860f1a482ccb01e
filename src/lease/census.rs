//! How many bindings each pool has in each state, and each account, kept up to date with every
//! change.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::base::{NetworkId, Resource, Sort};

use super::{Counts, Lease, RangeSet, State};

/// The pools of all networks, and the count of each. One lookup where a binding changes its state;
/// none where it is only extended.
#[derive(Debug, Default)]
pub struct Census {
    of: HashMap<(NetworkId, Sort), Pools>,
    accounts: Accounts,
}

/// The pools of one sort on one network.
#[derive(Debug, Default)]
struct Pools {
    /// Disjoint ranges, ascending: first, last, and which pool gives them.
    ranges: Vec<(u128, u128, usize)>,
    counts: Vec<Counts>,
}

/// Leases by account.
#[derive(Debug, Default)]
pub struct Accounts {
    leases: HashMap<Arc<str>, u64>,
    /// Those with most come last.
    by_leases: BTreeSet<(u64, Arc<str>)>,
    sum: u64,
}

impl Accounts {
    /// The accounts with most leases, `most` at most, and the leases of all others.
    pub fn largest(&self, most: usize) -> (Vec<(Arc<str>, u64)>, u64) {
        let largest = self.by_leases.iter().rev().take(most);
        let largest: Vec<_> = largest.map(|(n, account)| (account.clone(), *n)).collect();
        let rest = largest.iter().fold(self.sum, |sum, (_, n)| sum.saturating_sub(*n));
        (largest, rest)
    }

    /// How many accounts have leases.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Adds `n` leases to those of `account`; [`u64::MAX`] takes one away.
    fn add(&mut self, account: &Arc<str>, n: u64) {
        let before = self.leases.get(account).copied().unwrap_or(0);
        let now = before.wrapping_add(n);
        self.sum = self.sum.wrapping_add(n);
        self.by_leases.remove(&(before, account.clone()));
        if now == 0 {
            self.leases.remove(account);
        } else {
            self.leases.insert(account.clone(), now);
            self.by_leases.insert((now, account.clone()));
        }
    }
}

impl Census {
    /// Leases by account.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Adds the next pool of this sort, which gives the values in `given`.
    pub fn add_pool(&mut self, network: NetworkId, sort: Sort, given: &RangeSet) {
        let pools = self.of.entry((network, sort)).or_default();
        let pool = pools.counts.len();
        pools.counts.push(Counts::default());
        pools.ranges.extend(given.ranges().map(|(first, last)| (first, last, pool)));
        pools.ranges.sort_unstable();
    }

    /// How many bindings a pool has, by its place among those of its sort.
    pub fn counts(&self, network: NetworkId, sort: Sort, pool: usize) -> Counts {
        let pools = self.of.get(&(network, sort));
        pools.and_then(|pools| pools.counts.get(pool)).copied().unwrap_or_default()
    }

    /// A binding was the one and is the other; `None` where there is none.
    pub(super) fn change(&mut self, from: Option<&Lease>, to: Option<&Lease>) {
        let (before, after) = (from.and_then(account), to.and_then(account));
        if before != after {
            before.into_iter().for_each(|account| self.accounts.add(account, u64::MAX));
            after.into_iter().for_each(|account| self.accounts.add(account, 1));
        }
        if let Some(lease) = from.or(to) {
            let states = (from.map(|l| l.state), to.map(|l| l.state));
            self.change_state(lease.network, lease.resource, states);
        }
    }

    fn change_state(
        &mut self,
        network: NetworkId,
        resource: Resource,
        (from, to): (Option<State>, Option<State>),
    ) {
        if from == to {
            return;
        }
        let Some(counts) = self.counts_of(network, resource) else { return };
        from.into_iter().for_each(|state| counts.add(state, u64::MAX));
        to.into_iter().for_each(|state| counts.add(state, 1));
    }

    /// The pool of its sort that gives `resource`, by its place among them.
    pub fn pool_of(&self, network: NetworkId, resource: Resource) -> Option<usize> {
        let pools = self.of.get(&(network, resource.sort()))?;
        let value = match resource {
            Resource::V4(addr) => u128::from(addr.to_bits()),
            Resource::V6(addr) | Resource::Prefix6(addr, _) => addr.to_bits(),
        };
        let after = pools.ranges.partition_point(|(first, ..)| *first <= value);
        let (_, last, pool) = *pools.ranges.get(after.checked_sub(1)?)?;
        (value <= last).then_some(pool)
    }

    fn counts_of(&mut self, network: NetworkId, resource: Resource) -> Option<&mut Counts> {
        let pool = self.pool_of(network, resource)?;
        self.of.get_mut(&(network, resource.sort()))?.counts.get_mut(pool)
    }
}

/// Whom a lease counts for.
fn account(lease: &Lease) -> Option<&Arc<str>> {
    lease.details.account.as_ref().filter(|_| lease.state == State::Leased)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NET: NetworkId = NetworkId(7);

    fn set(ranges: &[(u128, u128)]) -> RangeSet {
        let mut set = RangeSet::new();
        ranges.iter().for_each(|(first, last)| set.insert_range(*first, *last));
        set
    }

    #[test]
    fn each_pool_counts_what_it_gives() {
        let mut census = Census::default();
        census.add_pool(NET, Sort::V4, &set(&[(20, 29)]));
        census.add_pool(NET, Sort::V4, &set(&[(1, 9), (12, 19)]));
        let mut change = |value: u32, from, to| {
            census.change_state(NET, Ipv4Addr::from_bits(value).into(), (from, to));
        };
        for value in [1, 9, 10, 11, 12, 20, 29, 30] {
            change(value, None, Some(State::Leased));
        }
        change(9, Some(State::Leased), Some(State::Leased));
        change(12, Some(State::Leased), Some(State::Expired));
        change(20, Some(State::Leased), None);
        let of = |pool| {
            let counts = census.counts(NET, Sort::V4, pool);
            (counts.leased, counts.remembered)
        };
        assert_eq!([of(0), of(1), of(2)], [(1, 0), (2, 1), (0, 0)]);
        assert_eq!(census.counts(NET, Sort::V6, 0), Counts::default());
    }

    #[test]
    fn the_accounts_with_most_leases_come_first() {
        let mut accounts = Accounts::default();
        for (account, n) in [("a", 1), ("b", 3), ("c", 2), ("d", 1)] {
            (0..n).for_each(|_| accounts.add(&account.into(), 1));
        }
        accounts.add(&"a".into(), u64::MAX);
        let largest = |most| {
            let (largest, rest) = accounts.largest(most);
            (largest.iter().map(|(a, n)| format!("{a}{n}")).collect::<Vec<_>>(), rest)
        };
        assert_eq!(largest(2), (vec!["b3".into(), "c2".into()], 1));
        assert_eq!(largest(9).1, 0);
        assert_eq!(largest(0), (vec![], 6));
        assert_eq!(accounts.len(), 3);
    }
}
