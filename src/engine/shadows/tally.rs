//! What came of shadows: by account and application, for metrics, the API and reports.

use hashbrown::HashMap;

use crate::base::Timestamp;
use crate::lease::Owner;

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

    pub(in crate::engine) fn of(&mut self, owner: &Owner) -> &mut Tally {
        self.of.entry(owner.clone()).or_default()
    }

    /// Forgets those whose account is gone.
    pub(in crate::engine) fn forget_others(&mut self, known: impl Fn(&str) -> bool) {
        self.of.retain(|(account, _), _| known(account));
    }
}

impl Tally {
    /// A shadow that was held since then was not used.
    pub(in crate::engine) fn unused(&mut self, since: Timestamp, now: Timestamp) {
        self.unused_ms = self.unused_ms.saturating_add(now.since(since).0);
    }
}
