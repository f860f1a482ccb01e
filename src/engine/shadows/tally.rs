//! What came of shadows: by account and application, for metrics, the API and reports.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use hashbrown::HashMap;

use crate::base::{NetworkId, Timestamp};
use crate::lease::Owner;

/// How many owners can have series of their own.
const FIRST_MAX: usize = 10_000;

/// What happened to the instances and shadows of one owner since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Instances that came: first binds, by API or DHCP.
    pub creates: u64,
    /// Of these, such that found a shadow that was proven and durable before.
    pub hits: u64,
    /// Such that found one that was not.
    pub unready: u64,
    /// Such that found none.
    pub misses: u64,
    /// Shadows that were made.
    pub held: u64,
    /// Shadows that nobody claimed in their time.
    pub aged: u64,
    /// Shadows that were given back, because they were too many or by hand.
    pub given_back: u64,
    /// Shadows that gave way to clients of others.
    pub yielded: u64,
    /// Shadows whose address somebody answered for.
    pub conflicts: u64,
    /// How long shadows were held that nobody claimed, in milliseconds.
    pub unused_ms: u64,
    /// How long shadows were held before they were claimed, in milliseconds.
    pub waited_ms: u64,
}

/// The tallies of all owners.
#[derive(Debug, Default)]
pub struct Tallies {
    of: HashMap<Owner, Tally>,
    /// Of all owners, those that are gone included.
    total: Tally,
    /// Those that were there first, for metrics: a series that is there stays.
    first: Vec<Owner>,
    /// Instances that came since the start, by network too.
    creates: BTreeMap<(NetworkId, Owner), u64>,
}

impl Tallies {
    /// Of one owner.
    pub fn get(&self, owner: &Owner) -> Tally {
        self.of.get(owner).copied().unwrap_or_default()
    }

    /// Of all owners, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Owner, &Tally)> {
        self.of.iter()
    }

    /// Of all owners together.
    pub fn total(&self) -> Tally {
        self.total
    }

    /// The owners that were there first.
    pub fn first(&self) -> &[Owner] {
        &self.first
    }

    /// How many instances came since the start, by network and owner: up to `most` of them after
    /// one, in their order.
    pub fn creates(
        &self,
        after: Option<&(NetworkId, Owner)>,
        most: usize,
    ) -> impl Iterator<Item = (&(NetworkId, Owner), u64)> {
        let from = after.map_or(Unbounded, Excluded);
        self.creates.range((from, Unbounded)).take(most).map(|(key, count)| (key, *count))
    }

    /// An instance came on a network.
    pub(in crate::engine) fn came(&mut self, network: NetworkId, owner: &Owner) {
        *self.creates.entry((network, owner.clone())).or_default() += 1;
    }

    /// Counts something for an owner.
    pub(in crate::engine) fn count(&mut self, owner: &Owner, add: impl Fn(&mut Tally)) {
        add(&mut self.total);
        if let Some(known) = self.of.get_mut(owner) {
            return add(known);
        }
        if self.first.len() < FIRST_MAX {
            self.first.push(owner.clone());
        }
        add(self.of.entry(owner.clone()).or_default());
    }

    /// Forgets those whose account is gone.
    pub(in crate::engine) fn forget_others(&mut self, known: impl Fn(&str) -> bool) {
        self.of.retain(|(account, _), _| known(account));
        self.first.retain(|(account, _)| known(account));
        self.creates.retain(|(_, (account, _)), _| known(account));
    }
}

impl Tally {
    /// Without what is in `other`, for the rest of a sum.
    pub fn minus(&self, other: &Tally) -> Tally {
        Tally {
            creates: self.creates.saturating_sub(other.creates),
            hits: self.hits.saturating_sub(other.hits),
            unready: self.unready.saturating_sub(other.unready),
            misses: self.misses.saturating_sub(other.misses),
            held: self.held.saturating_sub(other.held),
            aged: self.aged.saturating_sub(other.aged),
            given_back: self.given_back.saturating_sub(other.given_back),
            yielded: self.yielded.saturating_sub(other.yielded),
            conflicts: self.conflicts.saturating_sub(other.conflicts),
            unused_ms: self.unused_ms.saturating_sub(other.unused_ms),
            waited_ms: self.waited_ms.saturating_sub(other.waited_ms),
        }
    }

    /// A shadow that was held since then was not used.
    pub(in crate::engine) fn unused(&mut self, since: Timestamp, now: Timestamp) {
        self.unused_ms = self.unused_ms.saturating_add(now.since(since).0);
    }
}
