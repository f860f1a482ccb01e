//! The lifecycle score of an address, and what is known of it.

use std::sync::Arc;

use crate::base::{NetworkId, Resource, Timestamp};
use crate::config::policy::{Lifecycle, PRIORITY_MAX, Tier};
use crate::lease::{Lease, Owner, Score, Uses};

use super::Engine;

/// What the score of an address is made of.
#[derive(Clone, Debug)]
pub struct Valued {
    /// How much it is used; never if nothing is remembered of it.
    pub uses: Uses,
    /// Its parts.
    pub score: Score,
    /// The mean of them by the weights, before anything faded.
    pub whole: u16,
    /// What is left of it now.
    pub now: u16,
    /// Whose its last holder is, and of what priority.
    pub owner: Option<(Owner, u8)>,
    /// Which share of its pool it counts for.
    pub tier: Option<Tier>,
    /// The weights.
    pub policy: Lifecycle,
}

impl Engine {
    /// Where a remembered binding's address stands among those that are free.
    pub(super) fn rank_of(&self, lease: &Lease) -> Timestamp {
        self.score_of(lease).rank(&self.lifecycle(lease.network))
    }

    /// What the score of an address of a network is made of, whether it is bound or not.
    pub fn valued(&self, now: Timestamp, network: NetworkId, resource: Resource) -> Valued {
        let policy = self.lifecycle(network);
        let lease = self.table.get(network, resource);
        let score = lease.map_or(Score::NONE, |lease| self.score_of(lease));
        Valued {
            uses: lease.map_or(Uses::NONE, |lease| lease.uses),
            score,
            whole: score.whole(&policy),
            now: score.at(&policy, now),
            owner: lease.and_then(owner).map(|owner| {
                let priority = self.priority(Some(&owner));
                (owner, priority)
            }),
            tier: self.tier_of(network, resource),
            policy,
        }
    }

    /// How much traffic an instance has now, by [`Uses::traffic_of`]; of one that nobody registered
    /// it says nothing.
    pub fn note_traffic(&mut self, instance: &str, level: u8) {
        let Some(kept) = self.directory.instance(instance).map(|i| Arc::clone(&i.kept)) else {
            return;
        };
        for resource in kept.resources() {
            self.table.note_traffic(kept.network, resource, level);
        }
    }

    /// The whole score of the address of a lease, before anything fades.
    pub(super) fn worth(&self, lease: &Lease) -> u16 {
        self.score_of(lease).whole(&self.lifecycle(lease.network))
    }

    fn score_of(&self, lease: &Lease) -> Score {
        let priority = owner(lease).map(|owner| self.priority(Some(&owner)));
        Score::of(lease, priority, PRIORITY_MAX)
    }

    pub(super) fn lifecycle(&self, network: NetworkId) -> Lifecycle {
        let of = self.net_index(network).and_then(|at| self.policy.networks.get(at));
        of.map_or(Lifecycle::DEFAULT, |network| network.lifecycle)
    }
}

/// Whom a binding counts for.
fn owner(lease: &Lease) -> Option<Owner> {
    Some((lease.details.account.clone()?, lease.details.application.clone()))
}
