//! What a machine may have before it boots, and why it gets no address.

use crate::base::{Resource, Sort};

use super::Engine;
use super::instances::Denied;
use super::network::NetPool;
use super::quota::Rank;
use super::site::Site;

impl Engine {
    /// Why a machine gets no address.
    pub(super) fn exhausted(&self, site: &Site<'_>, family: &'static str) -> Denied {
        let sorts = [("IPv6", Sort::V4), ("IPv4", Sort::V6)];
        let of = sorts.iter().filter(|(other, _)| *other != family);
        let out = of.map(|(_, sort)| self.table.counts(site.network.id, *sort).quarantined).sum();
        let without = Rank { tiers: None, ..self.rank_of_site(site) };
        let full = |rank: Rank| {
            let room = |sort: Sort, pools: &[NetPool]| {
                let mut pools = pools.iter().enumerate();
                pools.any(|(at, pool)| {
                    let lent = self.lent(site.network.id, sort, at);
                    pool.has_room_for(site.network, rank, lent)
                })
            };
            self.nets.get(site.at).is_some_and(|net| match family {
                "IPv4" => room(Sort::V4, &net.pools),
                _ => room(Sort::V6, &net.pools6),
            })
        };
        match self.rank_of_site(site).tiers {
            Some(order) if full(without) => {
                Denied::TierFull(family, site.network.name.to_string(), order.text())
            }
            _ => Denied::Exhausted(family, site.network.name.to_string(), out),
        }
    }

    pub(super) fn rank_of_site(&self, site: &Site<'_>) -> Rank {
        self.rank(site.network, site.owner, site.classes(self))
    }

    /// Whether one of the tiers of a machine has room for an address.
    pub(super) fn check_tier(&self, site: &Site<'_>, resource: Resource) -> Result<(), Denied> {
        let rank = self.rank_of_site(site);
        match rank.tiers {
            Some(order) if !self.tier_has_room(site.network.id, resource, rank) => {
                let family = if resource.sort() == Sort::V4 { "IPv4" } else { "IPv6" };
                Err(Denied::TierFull(family, site.network.name.to_string(), order.text()))
            }
            _ => Ok(()),
        }
    }

    /// Counts what was chosen for a machine for its tiers.
    pub(super) fn count_tier_of_site(&mut self, site: &Site<'_>, resource: Resource) {
        if let Some(order) = self.rank_of_site(site).tiers {
            self.count_tier(site.network.id, resource, &order);
        }
    }
}
