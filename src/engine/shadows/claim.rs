//! Who gets a shadow: an instance of its owner, at once; and if nothing else is free, anybody whom
//! a shadow kept it from.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::base::{NetworkId, Resource, Sort, Span, Timestamp};
use crate::engine::Engine;
use crate::engine::choose::Chosen;
use crate::engine::context::Ctx;
use crate::engine::effects::Effects;
use crate::engine::quota::Rank;
use crate::engine::site::Site;
use crate::engine::v6::context::Ctx6;
use crate::lease::directory::Kept;
use crate::lease::{Cause, Lease, Line, Owner, State};

use super::{Tallies, is_for, lines};

/// How many shadows of a line are looked at for one that a client may have: its subnet or class
/// may keep it from some.
const LOOKED_AT: usize = 16;

impl Engine {
    /// A shadow that a client may claim.
    pub(in crate::engine) fn claim4(&self, ctx: &Ctx<'_>) -> Option<Chosen> {
        if self.table.shadows().is_empty() {
            return None;
        }
        let owner = ctx.owner(None)?;
        let usable =
            |addr: Ipv4Addr| self.entitled(ctx, addr).is_ok() && self.has_tier_for(ctx, addr);
        let usable = |resource: Resource| resource.v4().is_some_and(usable);
        let (resource, proven) = self.claimable(ctx.id(), Sort::V4, &owner, usable)?;
        Some(Chosen { addr: resource.v4()?, proven, taken: true })
    }

    /// The same for DHCPv6.
    pub(in crate::engine) fn claim6(
        &self,
        ctx: &Ctx6<'_>,
        owner: Option<&Owner>,
        usable: impl Fn(Resource) -> bool,
    ) -> Option<(Resource, bool)> {
        let owner = owner.filter(|_| !self.table.shadows().is_empty())?;
        self.claimable(ctx.id(), Sort::V6, owner, usable)
    }

    /// The same for an instance before it boots.
    pub(in crate::engine) fn claim_for_site(
        &self,
        site: &Site<'_>,
        sort: Sort,
        usable: impl Fn(Resource) -> bool,
    ) -> Option<Resource> {
        let owner = site.owner.filter(|_| !self.table.shadows().is_empty())?;
        self.claimable(site.network.id, sort, owner, usable).map(|(resource, _)| resource)
    }

    fn claimable(
        &self,
        network: NetworkId,
        sort: Sort,
        owner: &Owner,
        usable: impl Fn(Resource) -> bool,
    ) -> Option<(Resource, bool)> {
        let shadows = self.table.shadows();
        lines(network, sort, owner).find_map(|line| {
            let mut next = shadows.claimable(&line).take(LOOKED_AT);
            next.find(|(resource, _)| usable(*resource) && self.has_rank(network, *resource, owner))
        })
    }

    /// Whether an owner's priority lets it have the address of a shadow as if that were free: the last
    /// ones of a short pool are for others, whatever was foreseen.
    fn has_rank(&self, network: NetworkId, resource: Resource, owner: &Owner) -> bool {
        let Some(spot) = self.spot(network, resource) else { return true };
        let policy = self.policy.networks.get(spot.net);
        let ranked = policy.zip(self.pool(spot)).filter(|(policy, pool)| pool.is_ranked(policy));
        ranked.is_none_or(|(policy, pool)| {
            let lent = self.lent(network, resource.sort(), spot.pool);
            let rank = Rank { priority: self.priority(Some(owner)), tiers: None };
            pool.has_room_for(policy, rank, lent)
        })
    }

    /// Whether a client of `owner` may have the address of a shadow: it is its owner's and
    /// promised to nobody, or it was promised to this client.
    pub(in crate::engine) fn may_claim(
        &self,
        shadow: &Lease,
        owner: Option<&Owner>,
        promised_to_it: Option<bool>,
    ) -> bool {
        promised_to_it.unwrap_or_else(|| {
            let line = Line::of(shadow);
            owner.is_some_and(|own| line.is_some_and(|line| is_for(&line.owner, own)))
        })
    }

    /// How many addresses of a pool are held by shadows that would give way.
    pub(in crate::engine) fn lent(&self, network: NetworkId, sort: Sort, pool: usize) -> u128 {
        self.table.shadows().in_pool(network, sort, pool).into()
    }

    /// The IPv4 address of a shadow that gives way, of the pools that `usable` names.
    pub(in crate::engine) fn yielding4(
        &self,
        network: NetworkId,
        net: usize,
        usable: impl Fn(usize) -> bool,
    ) -> Option<(Ipv4Addr, bool)> {
        let pools = self.nets.get(net)?.pools.len();
        let (resource, proven) = self.yielding(network, Sort::V4, pools, usable)?;
        Some((resource.v4()?, proven))
    }

    /// The same for IPv6.
    pub(in crate::engine) fn yielding6(
        &self,
        network: NetworkId,
        net: usize,
        usable: impl Fn(usize) -> bool,
    ) -> Option<(Ipv6Addr, bool)> {
        let pools = self.nets.get(net)?.pools6.len();
        match self.yielding(network, Sort::V6, pools, usable)? {
            (Resource::V6(addr), proven) => Some((addr, proven)),
            _ => None,
        }
    }

    fn yielding(
        &self,
        network: NetworkId,
        sort: Sort,
        pools: usize,
        usable: impl Fn(usize) -> bool,
    ) -> Option<(Resource, bool)> {
        let shadows = self.table.shadows();
        if shadows.is_empty() {
            return None;
        }
        let of = |pool: usize| shadows.lowest(network, sort, pool);
        let resource = (0..pools).filter(|pool| usable(*pool)).find_map(of)?;
        let line = self.table.get(network, resource).and_then(Line::of)?;
        Some((resource, shadows.proven(&line, resource).is_some()))
    }

    /// Says whether a shadow is promised to a client by an offer. Nothing happens to what is no
    /// shadow.
    pub(in crate::engine) fn promise(
        &mut self,
        network: NetworkId,
        resource: Resource,
        promised: bool,
    ) {
        if self.table.shadows().is_empty() {
            return;
        }
        let Some(lease) = self.table.get(network, resource) else { return };
        if lease.state == State::Shadow
            && let Some(line) = Line::of(lease)
            && self.table.shadows().is_promised(&line, resource) != promised
        {
            self.table.shadows_mut().set_promised(&line, resource, promised);
        }
    }
}

impl Engine {
    /// Whether an address is held for somebody to come, and promised to nobody.
    pub(in crate::engine) fn is_unpromised_shadow(
        &self,
        network: NetworkId,
        resource: Resource,
    ) -> bool {
        !self.table.shadows().is_empty()
            && self.is_shadow(network, resource)
            && self.offers.get(network, resource).is_none()
    }

    /// A lease is about to be written: says what became of the shadow that its address was, and
    /// whether a new instance found one.
    pub(in crate::engine) fn count_grant(
        &mut self,
        now: Timestamp,
        lease: &Lease,
        is_create: bool,
    ) {
        if self.directory.accounts().is_empty() {
            return;
        }
        let account = lease.details.account.clone();
        let owner = account.map(|account| (account, lease.details.application.clone()));
        let outcome = self.shadow_used(now, lease.network, lease.resource, owner.as_ref());
        if let Some(owner) = owner.filter(|_| is_create)
            && self.counts_creates(lease.network, lease.resource.sort())
        {
            self.count_create(now, lease.network, &owner, outcome);
        }
    }

    /// The shadow of an address goes to an instance of `owner`, or to somebody else: whether it was
    /// its own, and ready.
    pub(in crate::engine) fn shadow_used(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        resource: Resource,
        owner: Option<&Owner>,
    ) -> Claimed {
        let shadow = self.table.get(network, resource).filter(|l| l.state == State::Shadow);
        let Some((line, since)) = shadow.and_then(|l| Some((Line::of(l)?, l.since))) else {
            return Claimed::Nothing;
        };
        let own = owner.is_some_and(|owner| is_for(&line.owner, owner));
        let proven = self.table.shadows().proven(&line, resource).is_some();
        let ready = proven && !self.table.is_pending(network, resource);
        self.tallies.count(&line.owner, |tally| match own {
            true => tally.waited_ms = tally.waited_ms.saturating_add(now.since(since).0),
            false => {
                tally.yielded += 1;
                tally.unused(since, now);
            }
        });
        self.shadow_went(now, &line, own);
        match (own, ready) {
            (true, true) => Claimed::Ready,
            (true, false) => Claimed::Unready,
            (false, _) => Claimed::Nothing,
        }
    }

    /// Takes what is kept for a machine from the shadows, as part of the open batch: whether the
    /// address by which instances are counted was one of them.
    pub(in crate::engine) fn take_shadows(
        &mut self,
        now: Timestamp,
        kept: &Kept,
        fx: &mut Effects,
    ) -> Claimed {
        let settings = &kept.settings;
        let owner = settings.account.clone().map(|a| (a, settings.application.clone()));
        let mut found = Claimed::Nothing;
        for resource in kept.resources() {
            let claimed = self.shadow_used(now, kept.network, resource, owner.as_ref());
            if self.counts_creates(kept.network, resource.sort()) {
                found = claimed;
            }
            if self.is_shadow(kept.network, resource) {
                self.offers.remove(kept.network, resource);
                self.forget(kept.network, resource, Some(now), fx);
            }
        }
        found
    }

    pub(super) fn is_shadow(&self, network: NetworkId, resource: Resource) -> bool {
        self.table.get(network, resource).is_some_and(|lease| lease.state == State::Shadow)
    }

    /// Whether the instances of a network are counted by addresses of this family: by one of them.
    fn counts_creates(&self, network: NetworkId, sort: Sort) -> bool {
        let net = self.net_index(network).and_then(|at| self.nets.get(at));
        let four = net.is_some_and(|net| !net.pools.is_empty());
        sort == if four { Sort::V4 } else { Sort::V6 }
    }

    /// An instance of `owner` came on `network`.
    pub(in crate::engine) fn count_create(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        owner: &Owner,
        claimed: Claimed,
    ) {
        self.tallies.count(owner, |tally| {
            tally.creates += 1;
            match claimed {
                Claimed::Ready => tally.hits += 1,
                Claimed::Unready => tally.unready += 1,
                Claimed::Nothing => tally.misses += 1,
            }
        });
        self.tallies.came(network, owner);
        self.count_for_plans(now, network, owner);
    }

    /// Somebody answered for the address of a shadow.
    pub(in crate::engine) fn shadow_taken(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        resource: Resource,
    ) {
        let shadow = self.table.get(network, resource).and_then(|l| Some((Line::of(l)?, l.since)));
        if let Some((line, since)) = shadow {
            self.tallies.count(&line.owner, |tally| {
                tally.conflicts += 1;
                tally.unused(since, now);
            });
            self.shadow_went(now, &line, false);
        }
    }

    /// Nobody claimed a shadow in its time.
    pub(in crate::engine) fn shadow_aged(
        &mut self,
        now: Timestamp,
        lease: Lease,
        fx: &mut Effects,
    ) {
        // Who was offered its address may still take it.
        if let Some(offer) = self.offers.get(lease.network, lease.resource) {
            let until = offer.until.max(now + Span(1));
            return self.put(Lease { until, ..lease }, Cause::Renewed, fx);
        }
        if let Some(line) = Line::of(&lease) {
            self.tallies.count(&line.owner, |tally| {
                tally.aged += 1;
                tally.unused(lease.since, now);
            });
            self.shadow_went(now, &line, false);
        }
        self.give_back_shadow(now, lease.network, lease.resource, fx);
    }

    /// What became of the shadows of each owner since the start.
    pub fn tallies(&self) -> &Tallies {
        &self.tallies
    }
}

/// What an instance found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claimed {
    /// No shadow of its owner.
    Nothing,
    /// One that was not proven free, or not durable yet.
    Unready,
    /// One that was both.
    Ready,
}
