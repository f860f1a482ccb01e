//! Which share of its pool an address counts for, and who may have one of which.
//!
//! An address counts for a tier from when it is offered, kept or bound until it is free again. A
//! shadow counts for none before it is claimed: it would give way.

use std::net::Ipv6Addr;

use crate::base::{NetworkId, Resource, Sort, Span, Timestamp};
use crate::config::policy::{ClassId, Level, Network, Settings, Tier, TierOrder};
use crate::lease::directory::Kept;
use crate::lease::{Details, Lease, Owner, Shares, State};

use super::Engine;
use super::effects::Effects;
use super::network::{NetPool, address, ordinal};
use super::quota::Rank;

/// How often what is kept for a tier and not used becomes less.
const SHRINK: Span = Span::from_secs(60);

/// An address that counts for a tier.
pub(super) type Counted = (NetworkId, Resource, Tier);

impl Engine {
    /// What an owner's priority, its terms and the classes of its client let it have on a network.
    pub(super) fn rank(
        &self,
        network: &Network,
        owner: Option<&Owner>,
        classes: impl Iterator<Item = ClassId>,
    ) -> Rank {
        let tiers = network.tiers.is_some().then(|| self.tier_order(owner, classes));
        Rank { priority: self.priority(owner), tiers }
    }

    /// Which tiers a client uses: its application, its account, its class, or its account's level
    /// says so.
    pub(super) fn tier_order(
        &self,
        owner: Option<&Owner>,
        classes: impl Iterator<Item = ClassId>,
    ) -> TierOrder {
        let accounts = self.directory.accounts();
        let named =
            owner.map(|(account, application)| accounts.terms(account, application.as_deref()));
        let (account, application) = named.unwrap_or_default();
        let mut classes = classes.filter_map(|c| self.policy.classes.get(usize::from(c.0)));
        let said = application.and_then(|t| t.tier).or(account.and_then(|t| t.tier));
        said.or_else(|| classes.find_map(|class| class.tier)).unwrap_or_else(|| {
            let level = application.and_then(|t| t.level).or(account.and_then(|t| t.level));
            let by_level = match account.map(|_| level.unwrap_or_default()) {
                Some(Level::Premium) => &[Tier::Hot, Tier::Warm][..],
                Some(Level::Standard) => &[Tier::Warm, Tier::Cold],
                Some(Level::Economy) | None => &[Tier::Cold],
            };
            TierOrder::of(by_level)
        })
    }

    /// Counts an address that is of no pool's free ones, or will not be, for the first tier of
    /// `order` that has room; for the last of them if none has. `None` where there are no tiers.
    pub(super) fn count_tier(
        &mut self,
        network: NetworkId,
        resource: Resource,
        order: &TierOrder,
    ) -> Option<Tier> {
        let spot = self.spot(network, resource)?;
        let free = self.free_with(spot, network, resource)?;
        let pool = self.pool_mut(spot)?;
        let (size, tiers, value) = (pool.size, pool.tiers.as_mut()?, spot.value);
        let tier = tiers.choose(order, free, value).or_else(|| order.tiers().last())?;
        tiers.assign(value, tier);
        tiers.resize(size, false);
        Some(tier)
    }

    /// A binding that counts for the tier that is said of it, if its network has tiers.
    pub(super) fn in_its_tier(&mut self, lease: Lease) -> Lease {
        let order = self.tier_order(owner(&lease).as_ref(), std::iter::empty());
        let tier = match lease.state {
            State::Leased => self.count_tier(lease.network, lease.resource, &order),
            _ => None,
        };
        if lease.details.tier == tier {
            return lease;
        }
        let details = Details { tier, ..Details::clone(&lease.details) };
        Lease { details: self.table.share(details), ..lease }
    }

    /// Whether a client with this rank may have one address: it is of no pool with tiers, or one of
    /// its tiers has room for it.
    pub(super) fn tier_has_room(&self, network: NetworkId, resource: Resource, rank: Rank) -> bool {
        let Some(order) = rank.tiers else { return true };
        let Some(spot) = self.spot(network, resource) else { return true };
        let free = self.free_with(spot, network, resource);
        let tiers = self.pool(spot).and_then(|pool| pool.tiers.as_ref()).zip(free);
        tiers.is_none_or(|(tiers, free)| tiers.choose(&order, free, spot.value).is_some())
    }

    /// What is free in the pool of an address, or would give way, this one included; `None` if its
    /// pool has no tiers, or it is reserved.
    fn free_with(&self, spot: Spot, network: NetworkId, resource: Resource) -> Option<u128> {
        let pool = self.pool(spot).filter(|pool| pool.tiers.is_some())?;
        if self.directory.keeper(network, resource).is_some_and(|kept| kept.instance.is_none()) {
            return None;
        }
        let counted = pool.free.is_free(spot.value) || self.is_unpromised_shadow(network, resource);
        let lent = self.lent(network, resource.sort(), spot.pool);
        let free = pool.free.available().saturating_add(lent);
        Some(free.saturating_add(u128::from(!counted)))
    }

    /// Which tier an address counts for now.
    pub fn tier_of(&self, network: NetworkId, resource: Resource) -> Option<Tier> {
        let spot = self.spot(network, resource)?;
        self.pool(spot)?.tiers.as_ref()?.tier(spot.value)
    }

    /// What is durable of an address, or was before a write was lost, says what it counts for.
    pub(super) fn follow_tier(&mut self, network: NetworkId, resource: Resource) {
        let Some(spot) = self.spot(network, resource) else { return };
        if self.pool(spot).is_none_or(|pool| pool.tiers.is_none()) {
            return;
        }
        let lease = self.table.get(network, resource);
        let leased = lease.filter(|l| l.state == State::Leased);
        let tier = leased.and_then(|l| l.details.tier);
        let gone = leased.is_none()
            && self.offers.get(network, resource).is_none()
            && !self.directory.is_kept(network, resource);
        let Some(tiers) = self.pool_mut(spot).and_then(|pool| pool.tiers.as_mut()) else { return };
        match tier {
            Some(tier) => tiers.assign(spot.value, tier),
            None if gone => drop(tiers.release(spot.value)),
            None => {}
        }
        self.note_hold(network, resource);
    }

    /// What the tier of an address says of its lease.
    pub(super) fn tier_settings<'a>(
        &self,
        network: &'a Network,
        resource: Resource,
    ) -> Option<&'a Settings> {
        let tiers = network.tiers.as_ref()?;
        let tier = self.tier_of(network.id, resource)?;
        tiers.get(tier as usize).map(|tier| &tier.settings)
    }

    /// All that count for a tier now.
    pub(super) fn counted(&self) -> Vec<Counted> {
        let mut counted = Vec::new();
        for net in &self.nets {
            let v4 = net.pools.iter().map(|pool| (Sort::V4, pool));
            for (sort, pool) in v4.chain(net.pools6.iter().map(|pool| (Sort::V6, pool))) {
                let all = pool.tiers.iter().flat_map(Shares::iter);
                counted.extend(all.map(|(value, tier)| (net.id, resource(sort, value), tier)));
            }
        }
        counted
    }

    /// Counts all that is held anew: as it was counted before, as its binding says, or by whom it is
    /// for.
    pub(super) fn count_tiers(&mut self, before: &[Counted]) {
        if self.policy.networks.iter().all(|network| network.tiers.is_none()) {
            return;
        }
        let first = |owner: Option<Owner>| {
            self.tier_order(owner.as_ref(), std::iter::empty()).tiers().next()
        };
        let mut all: Vec<Counted> = Vec::new();
        for (network, resource) in self.directory.held() {
            let kept = self.directory.keeper(network, resource).filter(|k| k.instance.is_some());
            all.extend(kept.and_then(|kept| Some((network, resource, first(owner_of(kept))?))));
        }
        let offers = self.offers.iter();
        all.extend(offers.map(|offer| (offer.network, offer.resource, Tier::Cold)));
        all.extend(before);
        for lease in self.table.iter().filter(|l| l.state == State::Leased) {
            let known = lease.details.tier.or_else(|| first(owner(lease)));
            all.extend(known.map(|tier| (lease.network, lease.resource, tier)));
        }
        // Of what is said twice, the last word counts.
        for (network, resource, tier) in all {
            if let Some(spot) = self.spot(network, resource)
                && let Some(pool) = self.pool_mut(spot)
                && !pool.free.is_free(spot.value)
                && let Some(tiers) = pool.tiers.as_mut()
            {
                tiers.assign(spot.value, tier);
            }
            self.note_hold(network, resource);
        }
        self.resize_tiers(false);
    }

    /// When what is kept for tiers is looked at next.
    pub(super) fn next_resize(&self) -> Option<Timestamp> {
        let any = self.policy.networks.iter().any(|network| network.tiers.is_some());
        any.then_some(self.resized + SHRINK)
    }

    /// Lets tiers shrink once in a while, and has clients moved where one is short.
    pub(super) fn follow_tiers(&mut self, now: Timestamp, fx: &mut Effects) {
        if self.next_resize().is_some_and(|at| at <= now) {
            self.resized = now;
            self.relocate(now, fx);
            self.resize_tiers(true);
        }
    }

    /// A client found nothing in the pools that it may use (by index): if it would have used hot
    /// first, there is to be more of that.
    pub(super) fn asked_in_vain(&mut self, net: usize, v6: bool, order: &TierOrder, of: &[usize]) {
        let hot = order.tiers().next() == Some(Tier::Hot);
        let Some(net) = self.nets.get_mut(net).filter(|_| hot) else { return };
        let pools = if v6 { &mut net.pools6 } else { &mut net.pools };
        for (at, pool) in pools.iter_mut().enumerate() {
            let tiers = pool.tiers.as_mut().filter(|_| of.contains(&at));
            tiers.into_iter().for_each(|tiers| tiers.want_hot(pool.size));
        }
    }

    fn resize_tiers(&mut self, may_shrink: bool) {
        for net in &mut self.nets {
            for pool in net.pools.iter_mut().chain(&mut net.pools6) {
                let size = pool.size;
                pool.tiers.iter_mut().for_each(|tiers| tiers.resize(size, may_shrink));
            }
        }
    }
}

impl Engine {
    /// Where in which pool an address is, whether it is free or not.
    pub(super) fn spot(&self, network: NetworkId, resource: Resource) -> Option<Spot> {
        let net = self.net_index(network)?;
        let (policy, of) = (self.policy.networks.get(net)?, self.nets.get(net)?);
        match resource {
            Resource::V4(addr) => {
                let pool = of.pool_of(policy, addr)?;
                Some(Spot { net, v6: false, pool, value: ordinal(addr) })
            }
            Resource::V6(addr) => {
                let pool = of.pools6.iter().position(|p| {
                    let of = policy.subnets6.get(p.subnet).and_then(|s| s.pools.get(p.index));
                    of.is_some_and(|pool| pool.gives(addr))
                })?;
                Some(Spot { net, v6: true, pool, value: addr.to_bits() })
            }
            Resource::Prefix6(..) => None,
        }
    }

    /// The pool of a spot.
    pub(super) fn pool(&self, spot: Spot) -> Option<&NetPool> {
        let net = self.nets.get(spot.net)?;
        if spot.v6 { net.pools6.get(spot.pool) } else { net.pools.get(spot.pool) }
    }

    /// The same, to change it.
    pub(super) fn pool_mut(&mut self, spot: Spot) -> Option<&mut NetPool> {
        let net = self.nets.get_mut(spot.net)?;
        if spot.v6 { net.pools6.get_mut(spot.pool) } else { net.pools.get_mut(spot.pool) }
    }
}

/// Where an address is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    /// Which network, by index.
    pub net: usize,
    /// Whether it is one of IPv6.
    pub v6: bool,
    /// Which of its pools, by index.
    pub pool: usize,
    /// The address as pools count.
    pub value: u128,
}

impl NetPool {
    /// The tiers that a network's policy gives a pool of this size.
    pub(super) fn tiers(network: &Network, size: u128) -> Option<Shares> {
        let tiers = network.tiers.as_ref()?;
        let share = |percent: u8| size.saturating_mul(percent.into());
        let at = |at: usize| {
            tiers.get(at).map_or((0, size), |tier| {
                (share(tier.min_percent) / 100, share(tier.max_percent).div_ceil(100))
            })
        };
        Some(Shares::new([0, 1, 2].map(at)))
    }
}

/// Whom a binding counts for.
fn owner(lease: &Lease) -> Option<Owner> {
    Some((lease.details.account.clone()?, lease.details.application.clone()))
}

fn owner_of(kept: &Kept) -> Option<Owner> {
    Some((kept.settings.account.clone()?, kept.settings.application.clone()))
}

fn resource(sort: Sort, value: u128) -> Resource {
    match sort {
        Sort::V4 => address(value).into(),
        _ => Resource::V6(Ipv6Addr::from_bits(value)),
    }
}
