//! Which address a client gets, and which it may keep.
//!
//! The order is: its reservation, its current binding, what it was offered, what it had before,
//! a shadow of its owner, what it asks for, and at last the next free one; if there is none, that of
//! a shadow of others.

use std::net::Ipv4Addr;

use crate::base::{NetworkId, Resource, Sort};
use crate::config::policy::RelocationMode;
use crate::lease::{Lease, Offer, Owner, QuarantineReason, State};

use super::Engine;
use super::context::{Ctx, Proof};
use super::effects::{DropReason, Effects, NakReason};
use super::network::{NetPool, address, ordinal};
use super::quota::Rank;
use super::relocate::is_draining;
use super::v4::{is_of, is_sibling};

/// How many offers of lower priority are looked at for one that gives way.
pub(super) const OFFERS_LOOKED_AT: usize = 64;

/// The outcome of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This one.
    Take(Chosen),
    /// Perhaps this one: ask the wire first.
    Ask(Ipv4Addr),
}

/// An address for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The address.
    pub addr: Ipv4Addr,
    /// Known to be free on the wire, or the client's own from before.
    pub proven: bool,
    /// It is out of its pool already.
    pub taken: bool,
}

impl Engine {
    /// Chooses an address for a client that has none to name, or names one it would like.
    pub(super) fn choose(
        &mut self,
        ctx: &Ctx<'_>,
        wanted: Option<Ipv4Addr>,
        fx: &mut Effects,
    ) -> Result<Choice, DropReason> {
        if !self.port_has_room(ctx) {
            return Err(DropReason::PortFull);
        }
        if !self.account_has_room(ctx, fx) {
            return Err(DropReason::AccountFull);
        }
        if let Some(addr) = self.its_own(ctx) {
            return Ok(Choice::Take(Chosen { addr, proven: true, taken: false }));
        }
        if !self.has_room_for(ctx.id(), &ctx.hw) {
            return Err(DropReason::TooManyLeases);
        }
        if !self.has_offer_room(ctx) {
            return Err(DropReason::Exhausted);
        }
        if let Some(chosen) = self.claim4(ctx) {
            return Ok(Choice::Take(chosen));
        }
        let may_ask =
            |addr: &Ipv4Addr| self.entitled(ctx, *addr).is_ok() && self.has_rank_for(ctx, *addr);
        if let Some(addr) = wanted.filter(may_ask)
            && let Some(choice) = self.consider(ctx, addr, fx)
        {
            return Ok(choice);
        }
        self.next_free(ctx).map(Choice::Take)
    }

    /// Whether the client's port may have the binding of this client: who is bound stays so, and
    /// what is reserved was the operator's to count.
    pub(super) fn port_has_room(&self, ctx: &Ctx<'_>) -> bool {
        self.room_on_port(ctx.network, ctx.access_port()) != Some(0)
            || ctx.reservation.is_some()
            || self.bindings_of(ctx).any(|l| l.state == State::Leased)
    }

    /// Whether a client may have `addr` now, or why not.
    pub(super) fn entitled(&self, ctx: &Ctx<'_>, addr: Ipv4Addr) -> Result<(), NakReason> {
        if !ctx.is_on_network(addr) {
            return Err(NakReason::WrongNetwork);
        }
        if self.is_reserved_for_other(ctx, addr) || !ctx.may_have(addr) || self.is_own(addr.into())
        {
            return Err(NakReason::NotAllowed);
        }
        let lease = self.table.get(ctx.id(), addr.into());
        if let Some(lease) = lease.filter(|l| is_draining(l) && is_of(l, ctx))
            && ctx.reservation.is_none_or(|r| r.addr != addr)
            && !ctx.keeps(addr)
            && self.is_moving(ctx, lease)
        {
            return Err(NakReason::Moved);
        }
        let holds = lease.is_some_and(|l| match l.state {
            State::Leased => is_of(l, ctx) || is_reserved_alike(l, ctx),
            State::Quarantined(QuarantineReason::InUse(mac)) => ctx.hw.mac() == Some(mac),
            // Its own instance was destroyed and made again.
            State::Quarantined(QuarantineReason::Leaving) => l.hw == ctx.hw && ctx.keeps(addr),
            State::Shadow => {
                let offer = self.offers.get(ctx.id(), addr.into());
                let to_it = offer.map(|offer| is_to(offer, ctx));
                // Reserved since it was held: an operator's word counts for more.
                let its = ctx.reservation.is_some_and(|r| r.addr == addr);
                let to_it = to_it.or(its.then_some(true));
                self.may_claim(l, ctx.owner(None).as_ref(), to_it)
            }
            _ => false,
        });
        if holds {
            return Ok(());
        }
        match lease.map(|l| l.state) {
            Some(State::Leased | State::Shadow) => return Err(NakReason::Taken),
            Some(State::Quarantined(_)) => return Err(NakReason::NotAllowed),
            _ => {}
        }
        if let Some(offer) = self.offers.get(ctx.id(), addr.into()).filter(|_| !ctx.keeps(addr)) {
            return if is_to(offer, ctx) { Ok(()) } else { Err(NakReason::Taken) };
        }
        // A release that is not durable yet holds the address for its client alone.
        let pending = self.table.is_pending(ctx.id(), addr.into());
        match pending && !lease.is_some_and(|l| is_of(l, ctx)) {
            true => Err(NakReason::Taken),
            false => Ok(()),
        }
    }

    /// Whether the client has a reservation other than `addr` that it could have now.
    pub(super) fn has_better(&self, ctx: &Ctx<'_>, addr: Ipv4Addr) -> bool {
        ctx.reservation.is_some_and(|r| r.addr != addr && self.entitled(ctx, r.addr).is_ok())
    }

    /// Whether another client's reservation names `addr`.
    pub(super) fn is_reserved_for_other(&self, ctx: &Ctx<'_>, addr: Ipv4Addr) -> bool {
        let bound = || self.table.get(ctx.id(), addr.into()).is_some_and(|l| is_of(l, ctx));
        if self.is_paired_for_other(ctx.id(), addr.into(), Some(&ctx.hw), bound) {
            return true;
        }
        ctx.reservation.is_none_or(|r| r.addr != addr)
            && (self.nets.get(ctx.net).is_some_and(|net| net.by_addr.contains_key(&addr))
                || self.is_kept_for_other(ctx.id(), addr.into(), ctx.kept))
    }

    /// All bindings of a client and of the other stages of its boot, of any state.
    pub(super) fn bindings_of<'a>(&'a self, ctx: &'a Ctx<'_>) -> impl Iterator<Item = &'a Lease> {
        let own = self.table.of_client(ctx.id(), &ctx.client);
        let siblings = self.table.of_hw(ctx.id(), &ctx.hw);
        own.chain(siblings.filter(|l| l.client != ctx.client && is_sibling(l, ctx)))
    }

    /// Whether `addr` was offered to the client, is or was its own, or is reserved for it.
    pub(super) fn has_claim(&self, ctx: &Ctx<'_>, addr: Ipv4Addr) -> bool {
        ctx.reservation.is_some_and(|r| r.addr == addr)
            || self.offers.get(ctx.id(), addr.into()).is_some()
            || self.bindings_of(ctx).any(|l| l.resource == addr.into())
    }

    /// The address a client has a claim to: reserved, bound, offered, or its last one.
    fn its_own(&self, ctx: &Ctx<'_>) -> Option<Ipv4Addr> {
        let entitled = |addr: &Ipv4Addr| self.entitled(ctx, *addr).is_ok();
        let best = |wanted: fn(State) -> bool| {
            self.bindings_of(ctx)
                .filter(|l| wanted(l.state))
                .filter_map(|l| Some((l.updated, l.resource.v4()?)))
                .filter(|(_, addr)| entitled(addr))
                .max()
                .map(|(_, addr)| addr)
        };
        let offered = || {
            let offer = self.offers.of_client(ctx.id(), &ctx.client)?;
            offer.resource.v4().filter(entitled)
        };
        ctx.reservation
            .map(|r| r.addr)
            .filter(entitled)
            .or_else(|| best(|s| s == State::Leased))
            .or_else(offered)
            .or_else(|| best(|s| s != State::Leased).filter(|addr| self.has_tier_for(ctx, *addr)))
    }

    /// Whether one of the client's tiers has room for an address.
    pub(super) fn has_tier_for(&self, ctx: &Ctx<'_>, addr: Ipv4Addr) -> bool {
        ctx.network.tiers.is_none() || {
            let owner = ctx.owner(None);
            self.tier_has_room(ctx.id(), addr.into(), self.rank_of_client(ctx, owner.as_ref()))
        }
    }

    /// What the client may have of a pool that others want too.
    fn rank_of_client(&self, ctx: &Ctx<'_>, owner: Option<&Owner>) -> Rank {
        self.rank(ctx.network, owner, ctx.classes.iter())
    }

    /// An address that the client asks for and may have: at once if it cannot be proven free, else
    /// after the wire was asked, even if that was done of late: who names an address has a reason
    /// to, and so may another. `None` if somebody else answered for it.
    pub(super) fn consider(
        &mut self,
        ctx: &Ctx<'_>,
        addr: Ipv4Addr,
        fx: &mut Effects,
    ) -> Option<Choice> {
        let verify = ctx.network.verify;
        let at_once = |proven| Some(Choice::Take(Chosen { addr, proven, taken: false }));
        if !verify.enabled || !ctx.can_probe() {
            return at_once(false);
        }
        match ctx.proof(addr) {
            None if self.waiting.is_full(ctx.share()) => None,
            None => Some(Choice::Ask(addr)),
            Some(Proof { answer: None, heard, .. }) => heard.then(|| at_once(true)).flatten(),
            Some(Proof { answer: Some(mac), .. }) if ctx.hw.mac() == Some(mac) => at_once(true),
            Some(Proof { answer: Some(mac), source, .. }) => {
                self.in_use(ctx.now, ctx.net, addr, mac, source, fx);
                None
            }
        }
    }

    /// Whether there may be one offer more: room is made at the cost of ports that hold more offers
    /// than their share.
    fn has_offer_room(&mut self, ctx: &Ctx<'_>) -> bool {
        // What could not be written is offered again, and may be more than one too many.
        while self.offers.count(ctx.id()) >= ctx.network.offers_max {
            if !self.evict_offer(ctx) {
                return false;
            }
        }
        true
    }

    /// The next free address that the client may use.
    fn next_free(&mut self, ctx: &Ctx<'_>) -> Result<Chosen, DropReason> {
        if !self.may_use_any(ctx) {
            return Err(DropReason::Denied);
        }
        let owner = ctx.owner(None);
        let owner = owner.as_ref();
        self.next_or_lent(ctx, owner)
            .or_else(|| self.evict_offer(ctx).then(|| self.next_or_lent(ctx, owner)).flatten())
            .or_else(|| self.displace(ctx, owner))
            .ok_or_else(|| self.refused(ctx, owner))
    }

    /// A client got nothing for this reason: if nothing was free for it, the best of its tiers is to
    /// have more.
    pub(super) fn note_refusal(&mut self, ctx: &Ctx<'_>, reason: DropReason) {
        let none_free = matches!(reason, DropReason::Exhausted | DropReason::TierFull);
        if !none_free || ctx.network.relocation.mode == RelocationMode::Off {
            return;
        }
        let owner = ctx.owner(None);
        let Some(order) = self.rank_of_client(ctx, owner.as_ref()).tiers else { return };
        let pools = self.nets.get(ctx.net).map(|net| &net.pools[..]).unwrap_or_default();
        let usable = |(subnet, pool): (usize, &NetPool)| {
            let of = pool.policy(ctx.network).filter(|_| pool.subnet == subnet);
            of.is_some_and(|of| {
                ctx.may_use(of) && self.may_use_range4(owner.as_ref(), ctx.id(), &of.range)
            })
        };
        let usable = pools
            .iter()
            .enumerate()
            .filter(|(_, pool)| ctx.subnets().any(|(subnet, _)| usable((subnet, pool))));
        let usable: Vec<usize> = usable.map(|(at, _)| at).collect();
        self.asked_in_vain(ctx.net, false, &order, &usable);
    }

    /// Why there is nothing for a client.
    fn refused(&self, ctx: &Ctx<'_>, owner: Option<&Owner>) -> DropReason {
        if ctx.network.tiers.is_none() {
            return DropReason::Exhausted;
        }
        let rank = Rank { tiers: None, ..self.rank_of_client(ctx, owner) };
        let pools = self.nets.get(ctx.net).map_or(0, |net| net.pools.len());
        let mut subnets = ctx.subnets();
        let open = subnets.any(|(subnet, _)| {
            (0..pools).any(|at| self.is_open_to(ctx, owner, rank, (subnet, at)))
        });
        if open { DropReason::TierFull } else { DropReason::Exhausted }
    }

    fn next_or_lent(&mut self, ctx: &Ctx<'_>, owner: Option<&Owner>) -> Option<Chosen> {
        self.take_next(ctx, owner, false)
            .or_else(|| self.take_shadow(ctx, owner))
            // What somebody may still have is the worst that can be given.
            .or_else(|| self.take_next(ctx, owner, true))
    }

    /// Whether the client's priority lets it have a free address that it names: the last ones of a
    /// short pool are for others.
    fn has_rank_for(&self, ctx: &Ctx<'_>, addr: Ipv4Addr) -> bool {
        let owner = ctx.owner(None);
        let net = self.nets.get(ctx.net);
        let at = net.and_then(|net| net.pool_of(ctx.network, addr));
        let pool = net.zip(at).and_then(|(net, at)| net.pools.get(at));
        let lent = at.map_or(0, |at| self.lent(ctx.id(), Sort::V4, at));
        let (rank, owner) = (self.rank_of_client(ctx, owner.as_ref()), owner.as_ref());
        pool.is_none_or(|pool| {
            let of = pool.policy(ctx.network);
            let is_shadow = self.is_unpromised_shadow(ctx.id(), addr.into());
            pool.has_room_at(ctx.network, (ordinal(addr), is_shadow), rank, lent)
                && of.is_none_or(|of| self.may_use_range4(owner, ctx.id(), &of.range))
        })
    }

    /// The address of an unanswered offer of lower priority.
    fn displace(&mut self, ctx: &Ctx<'_>, owner: Option<&Owner>) -> Option<Chosen> {
        let id = ctx.id();
        let lower = self.offers.below(id, self.priority(owner)).take(OFFERS_LOOKED_AT);
        let addr = lower.filter_map(|(_, resource)| resource.v4()).find(|addr| {
            let pool = ctx.pool_of(*addr).filter(|pool| ctx.may_use(pool));
            self.is_only_offered(id, (*addr).into())
                && self.has_tier_for(ctx, *addr)
                && pool.is_some_and(|pool| self.may_use_range4(owner, id, &pool.range))
        })?;
        self.offers.remove(id, addr.into());
        Some(Chosen { addr, proven: true, taken: true })
    }

    /// Whether nothing but an offer holds `resource`: it is bound to nobody, kept for nobody, and free
    /// on disk.
    pub(super) fn is_only_offered(&self, network: NetworkId, resource: Resource) -> bool {
        !self.table.get(network, resource).is_some_and(|l| l.is_bound())
            && !self.table.is_pending(network, resource)
            && !self.directory.is_kept(network, resource)
            && !self.directory.is_pending(network, resource)
    }

    fn may_use_any(&self, ctx: &Ctx<'_>) -> bool {
        ctx.subnets().any(|(_, s)| s.pools.iter().any(|p| ctx.may_use(p)))
    }

    fn evict_offer(&mut self, ctx: &Ctx<'_>) -> bool {
        let evicted = self.offers.evict_for(ctx.id(), ctx.share());
        evicted.map(|offer| self.settle(offer.network, offer.resource)).is_some()
    }

    /// Whether a client may have the next address of a pool.
    pub(super) fn is_open(
        &self,
        ctx: &Ctx<'_>,
        owner: Option<&Owner>,
        subnet: usize,
        at: usize,
    ) -> bool {
        self.is_open_to(ctx, owner, self.rank_of_client(ctx, owner), (subnet, at))
    }

    fn is_open_to(
        &self,
        ctx: &Ctx<'_>,
        owner: Option<&Owner>,
        rank: Rank,
        (subnet, at): (usize, usize),
    ) -> bool {
        let net = self.nets.get(ctx.net);
        let Some(pool) = net.and_then(|net| net.pools.get(at)) else { return false };
        let Some(of) = pool.policy(ctx.network).filter(|_| pool.subnet == subnet) else {
            return false;
        };
        let lent = self.lent(ctx.id(), Sort::V4, at);
        ctx.may_use(of)
            && !self.is_to_leave(ctx.id(), &ctx.hw, Sort::V4, at)
            && pool.has_room_for(ctx.network, rank, lent)
            && self.may_use_range4(owner, ctx.id(), &of.range)
    }

    /// The address of a shadow of others: real clients come before what is foreseen.
    fn take_shadow(&mut self, ctx: &Ctx<'_>, owner: Option<&Owner>) -> Option<Chosen> {
        let mut subnets = ctx.subnets();
        let (addr, proven) = subnets.find_map(|(subnet, _)| {
            self.yielding4(ctx.id(), ctx.net, |at| self.is_open(ctx, owner, subnet, at))
        })?;
        Some(Chosen { addr, proven, taken: true })
    }

    /// The next free address of a pool, of those where all that is free is doubted, or of the
    /// others.
    fn take_next(&mut self, ctx: &Ctx<'_>, owner: Option<&Owner>, doubted: bool) -> Option<Chosen> {
        let fresh_for = ctx.network.verify.fresh;
        for (subnet, _) in ctx.subnets() {
            for at in 0..self.nets.get(ctx.net)?.pools.len() {
                let pool = self.nets.get(ctx.net)?.pools.get(at)?;
                if pool.free.is_doubted() != doubted || !self.is_open(ctx, owner, subnet, at) {
                    continue;
                }
                let pool = self.nets.get_mut(ctx.net)?.pools.get_mut(at)?;
                if let Some((value, proven)) = pool.free.take_next(ctx.now, fresh_for) {
                    return Some(Chosen { addr: address(value), proven, taken: true });
                }
            }
        }
        None
    }
}

/// Whether an offer was made to this client, or to another stage of its boot.
fn is_to(offer: &Offer, ctx: &Ctx<'_>) -> bool {
    offer.client == ctx.client || (ctx.boot_stage && offer.hw == ctx.hw)
}

/// The holder of the client's reserved address is the same machine under another name. (What
/// replaced it on its port waits until its lease is over: two may live behind one port.)
fn is_reserved_alike(lease: &Lease, ctx: &Ctx<'_>) -> bool {
    ctx.reservation.is_some_and(|r| lease.resource == r.addr.into()) && lease.hw == ctx.hw
}
