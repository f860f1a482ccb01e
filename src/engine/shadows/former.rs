//! Addresses that stay with their account: those that its instances had, for its next shadows.
//!
//! Kept in memory alone; what the table remembers of ended bindings brings them back at the start.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::base::{Resource, Sort};
use crate::engine::Engine;
use crate::engine::site::Site;
use crate::lease::directory::Standing;
use crate::lease::{Lease, Owner};

use super::hold::{has_spare, is_within, value};
use super::plan::PlanKey;

/// So many of an owner are known, on a network and of a family: the latest.
const FORMER_MAX: usize = 1024;
/// So many are tried for one shadow.
const TRIES: usize = 16;

/// What the instances of each owner had, the latest at the end.
#[derive(Debug, Default)]
pub struct Former {
    of: HashMap<(PlanKey, Sort), VecDeque<Resource>>,
}

impl Engine {
    /// Finds in the table what instances had.
    pub(in crate::engine) fn find_former(&mut self) {
        self.former = Former::default();
        let is_sticky = |standing: &Standing| {
            let account = &standing.account;
            let mut applications = account.applications.iter();
            account.terms.shadow.sticky || applications.any(|a| a.terms.shadow.sticky)
        };
        if !self.directory.accounts().iter().any(is_sticky) {
            return;
        }
        let ended = self.table.iter().filter(|l| l.state.is_remembered());
        let ended = ended.filter(|l| l.details.account.is_some());
        let mut ended: Vec<_> = ended.map(|l| (l.until, l.network, l.resource)).collect();
        ended.sort();
        for (_, network, resource) in ended {
            if let Some(lease) = self.table.get(network, resource).cloned() {
                self.note_former(&lease);
            }
        }
    }

    /// Notes whose an address was, for owners who want such addresses again.
    pub(in crate::engine) fn note_former(&mut self, ended: &Lease) {
        let Some(account) = &ended.details.account else { return };
        let applications = [ended.details.application.clone(), None];
        let stocks = if applications[0].is_some() { &applications[..] } else { &applications[1..] };
        for application in stocks {
            let owner: Owner = (account.clone(), application.clone());
            if self.shadow_terms(&owner).is_some_and(|terms| terms.sticky) {
                let key = ((ended.network, owner), ended.resource.sort());
                let former = self.former.of.entry(key).or_default();
                former.push_back(ended.resource);
                if former.len() > FORMER_MAX {
                    former.pop_front();
                }
            }
        }
    }

    /// The latest address that an instance of this owner had, that nobody else has had since, and
    /// that a pool can spare: out of that pool, and whether it is proven free.
    pub(super) fn take_former(
        &mut self,
        site: &Site<'_>,
        sort: Sort,
        pools: &[usize],
        ranges: &[(u128, u128)],
    ) -> Option<(u128, bool)> {
        let (account, application) = site.owner?;
        let key = ((site.network.id, (account.clone(), application.clone())), sort);
        let keep_free = self.policy.shadow.keep_free_percent;
        for _ in 0..TRIES {
            let resource = self.former.of.get_mut(&key)?.pop_back()?;
            let lease = self.table.get(site.network.id, resource);
            let still = lease.filter(|l| l.state.is_remembered());
            let still = still.is_some_and(|l| l.details.account.as_ref() == Some(account));
            let number = value(resource);
            if !still || !is_within(ranges, number) {
                continue;
            }
            // It may be on its way to the disk yet, or what is left of its pool kept for others.
            self.former.of.get_mut(&key)?.push_front(resource);
            let net = self.nets.get_mut(site.at)?;
            let all = if sort == Sort::V4 { &mut net.pools } else { &mut net.pools6 };
            for at in pools {
                let Some(pool) = all.get_mut(*at) else { continue };
                if has_spare(pool, site.network, keep_free)
                    && let Some(found) = pool.free.take_within(number, number)
                {
                    self.former.of.get_mut(&key)?.pop_front();
                    return Some(found);
                }
            }
        }
        None
    }
}
