//! Whether a DHCPv6 client may have more: by its port, by its account, and by its rank.

use std::net::Ipv6Addr;

use crate::base::{Prefix6, Resource, Sort};
use crate::config::policy::{Pool6, RelocationMode, Subnet6, Tier};
use crate::engine::Engine;
use crate::engine::choose::OFFERS_LOOKED_AT;
use crate::engine::network::NetPool;
use crate::engine::quota::Rank;
use crate::lease::{Held, Owner, State};
use crate::wire::IaKind;

use super::assign::reserved;
use super::context::{Ctx6, is_about};

impl Engine {
    /// How much of what is chosen counts anew for the limits of the client's account, with what was
    /// chosen for it before.
    pub(super) fn counted_anew(
        &self,
        ctx: &Ctx6<'_>,
        kind: IaKind,
        claimed: &[Resource],
        taken: &[Resource],
    ) -> Held {
        let counts = |r: &&Resource| !self.is_free_of_count(ctx, **r);
        let new = claimed.iter().filter(counts).count().max(usize::from(claimed.is_empty())) as u64;
        let own = match kind {
            _ if new == 0 => return Held::default(),
            IaKind::Pd => Held { addresses: 0, prefixes: new },
            _ => Held { addresses: new, prefixes: 0 },
        };
        taken.iter().filter(counts).fold(own, |sum, r| sum.plus(Held::of(*r)))
    }

    /// Whether the client's priority and account let it have a free address or prefix that it names.
    pub(super) fn has_rank_for6(
        &self,
        ctx: &Ctx6<'_>,
        resource: Resource,
        owner: Option<&Owner>,
    ) -> bool {
        if let Resource::Prefix6(addr, len) = resource {
            let pool = Prefix6::new(addr, len).and_then(|prefix| ctx.delegation_of(prefix));
            return pool.is_none_or(|of| self.may_use_delegation(owner, ctx.id(), of))
                && self.has_rank_for_prefix(ctx, (addr, len), owner);
        }
        let (Resource::V6(addr), Some(net)) = (resource, self.nets.get(ctx.net)) else {
            return true;
        };
        let rank = self.rank(ctx.network, owner, ctx.classes.iter());
        net.pools6.iter().enumerate().all(|(at, pool)| {
            let subnet = ctx.network.subnets6.get(pool.subnet);
            let of = subnet.and_then(|s| s.pools.get(pool.index)).filter(|of| of.gives(addr));
            of.is_none_or(|of| {
                let lent = self.lent(ctx.id(), Sort::V6, at);
                let is_shadow = self.is_unpromised_shadow(ctx.id(), resource);
                pool.has_room_at(ctx.network, (addr.to_bits(), is_shadow), rank, lent)
                    && self.may_use_range6(owner, ctx.id(), of.first, of.last)
            })
        })
    }

    /// The same of a prefix, where it is free: what is held is a matter of who holds it.
    fn has_rank_for_prefix(
        &self,
        ctx: &Ctx6<'_>,
        (addr, len): (Ipv6Addr, u8),
        owner: Option<&Owner>,
    ) -> bool {
        let pools = self.nets.get(ctx.net).map(|net| &net.delegations[..]).unwrap_or_default();
        let free = pools.iter().find(|pool| pool.free.is_free(addr, len));
        free.is_none_or(|pool| pool.has_room_for(ctx.network, self.priority(owner), len))
    }

    /// A pool whose next address a client may have.
    pub(in crate::engine) fn open6<'a>(
        &self,
        ctx: &Ctx6<'_>,
        owner: Option<&Owner>,
        (subnet, policy): (usize, &'a Subnet6),
        at: usize,
    ) -> Option<&'a Pool6> {
        let rank = self.rank(ctx.network, owner, ctx.classes.iter());
        self.open6_to(ctx, owner, rank, (subnet, policy), at)
    }

    fn open6_to<'a>(
        &self,
        ctx: &Ctx6<'_>,
        owner: Option<&Owner>,
        rank: Rank,
        (subnet, policy): (usize, &'a Subnet6),
        at: usize,
    ) -> Option<&'a Pool6> {
        let pool = self.nets.get(ctx.net)?.pools6.get(at)?;
        let of = policy.pools.get(pool.index).filter(|_| pool.subnet == subnet)?;
        let lent = self.lent(ctx.id(), Sort::V6, at);
        let usable = ctx.may_use(&of.allow, &of.deny)
            && !self.is_to_leave(ctx.id(), &ctx.hw.unwrap_or_default(), Sort::V6, at)
            && pool.has_room_for(ctx.network, rank, lent)
            && self.may_use_range6(owner, ctx.id(), of.first, of.last);
        usable.then_some(of)
    }

    /// A client got nothing: the best of its tiers is to have more.
    pub(super) fn note_refusal6(&mut self, ctx: &Ctx6<'_>) {
        if ctx.network.relocation.mode == RelocationMode::Off {
            return;
        }
        let owner = ctx.owner(None);
        let rank = self.rank(ctx.network, owner.as_ref(), ctx.classes.iter());
        let (Some(order), Some(net)) = (rank.tiers, self.nets.get(ctx.net)) else { return };
        let usable = |pool: &NetPool| {
            ctx.subnets().any(|(subnet, policy)| {
                let of = policy.pools.get(pool.index).filter(|_| pool.subnet == subnet);
                of.is_some_and(|of| {
                    ctx.may_use(&of.allow, &of.deny)
                        && self.may_use_range6(owner.as_ref(), ctx.id(), of.first, of.last)
                })
            })
        };
        let pools = net.pools6.iter().enumerate().filter(|(_, pool)| usable(pool));
        let usable: Vec<usize> = pools.map(|(at, _)| at).collect();
        self.asked_in_vain(ctx.net, true, &order, &usable);
    }

    /// Whether it is for its tiers that a client finds no address.
    pub(super) fn is_tier_full6(&self, ctx: &Ctx6<'_>, owner: Option<&Owner>) -> bool {
        if ctx.network.tiers.is_none() {
            return false;
        }
        let rank = Rank { tiers: None, ..self.rank(ctx.network, owner, ctx.classes.iter()) };
        let pools = self.nets.get(ctx.net).map_or(0, |net| net.pools6.len());
        let mut subnets = ctx.subnets();
        subnets.any(|subnet| {
            (0..pools).any(|at| self.open6_to(ctx, owner, rank, subnet, at).is_some())
        })
    }

    /// Whether one of the client's tiers has room for an address.
    pub(super) fn has_tier_for6(
        &self,
        ctx: &Ctx6<'_>,
        resource: Resource,
        owner: Option<&Owner>,
    ) -> bool {
        ctx.network.tiers.is_none() || {
            let rank = self.rank(ctx.network, owner, ctx.classes.iter());
            self.tier_has_room(ctx.id(), resource, rank)
        }
    }

    /// Counts an address for the client's tier.
    pub(super) fn count_tier6(&mut self, ctx: &Ctx6<'_>, resource: Resource) -> Option<Tier> {
        ctx.network.tiers.as_ref()?;
        let order = self.tier_order(ctx.owner(Some(resource)).as_ref(), ctx.classes.iter());
        self.count_tier(ctx.id(), resource, &order)
    }

    /// The address of a shadow of others: real clients come before what is foreseen.
    pub(super) fn take_shadow6(
        &self,
        ctx: &Ctx6<'_>,
        owner: Option<&Owner>,
    ) -> Option<(Resource, bool)> {
        let mut subnets = ctx.subnets();
        let (addr, proven) = subnets.find_map(|subnet| {
            let open = |at| self.open6(ctx, owner, subnet, at).is_some();
            self.yielding6(ctx.id(), ctx.net, open)
        })?;
        Some((addr.into(), proven))
    }

    /// What an unanswered offer of lower priority holds.
    pub(super) fn displace6(
        &mut self,
        ctx: &Ctx6<'_>,
        kind: IaKind,
        owner: Option<&Owner>,
    ) -> Option<Resource> {
        let id = ctx.id();
        let may_use = |resource: Resource| match resource {
            Resource::V6(addr) => ctx
                .pool_of(addr)
                .is_some_and(|pool| self.may_use_range6(owner, id, pool.first, pool.last)),
            Resource::Prefix6(addr, len) => Prefix6::new(addr, len)
                .and_then(|prefix| ctx.delegation_of(prefix))
                .is_some_and(|of| self.may_use_delegation(owner, id, of)),
            Resource::V4(_) => false,
        };
        let lower = self.offers.below(id, self.priority(owner)).take(OFFERS_LOOKED_AT);
        let resource = lower.map(|(_, resource)| resource).find(|r| {
            is_about(kind, *r)
                && self.is_only_offered(id, *r)
                && ctx.may_have(*r)
                && may_use(*r)
                && self.has_tier_for6(ctx, *r, owner)
        })?;
        self.offers.remove(id, resource);
        Some(resource)
    }

    /// Whether so many bindings more are too many for the client's port.
    pub(super) fn is_port_full(&self, ctx: &Ctx6<'_>, more: usize) -> bool {
        let room = self.room_on_port(ctx.network, ctx.access_port());
        more > 0 && room.is_some_and(|room| more > room as usize)
    }

    /// Whether a resource counts for no port anew: it is bound, or reserved, which was the
    /// operator's to count.
    pub(super) fn is_free_of_count(&self, ctx: &Ctx6<'_>, resource: Resource) -> bool {
        let mut reserved = reserved(ctx, IaKind::Na).chain(reserved(ctx, IaKind::Pd));
        reserved.any(|r| r == resource)
            || self.table.get(ctx.id(), resource).is_some_and(|l| l.state == State::Leased)
    }
}
