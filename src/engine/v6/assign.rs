//! Which addresses and prefixes an identity association gets.
//!
//! The order is that of v4: reserved, bound, offered, what it had before, what it asks for, and
//! the next free one.

use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::base::{ClientKey, Prefix6, Resource};
use crate::config::policy::{Generate, Pool6};
use crate::engine::Engine;
use crate::engine::effects::{DropReason, Effects, EventKind, Offered};
use crate::engine::grant::{Grant, cause};
use crate::engine::identity::Identified;
use crate::engine::lots::Lots;
use crate::engine::network::NetDelegation;
use crate::engine::relocate::is_draining;
use crate::engine::wake;
use crate::lease::{Details, Lease, Offer, Owner, QuarantineReason, State};
use crate::wire::{Ia, IaKind};

use super::bind::{binding6, details6};
use super::context::{Ctx6, is_about};
use super::doubt::QUESTIONS_MAX;
use super::reply::IaAnswer;

/// What was found for one IA. Dynamic resources are taken out of their pools when they are
/// offered or granted, not before.
#[derive(Debug)]
pub struct Assigned {
    /// The IA's key.
    pub key: ClientKey,
    /// What it gets; empty if there is nothing.
    pub resources: Vec<Resource>,
    /// Known to be free on the wire, or the client's own from before.
    pub proven: bool,
}

impl Engine {
    /// The key of an IA. Whose holder could not be asked about it takes nothing from that holder.
    pub(super) fn key6(&self, ctx: &Ctx6<'_>, ia: &Ia<'_>) -> ClientKey {
        match self.identify6(ctx, ia) {
            Identified::Known(key) | Identified::CloneOf(key, _) => key,
            Identified::Ask { own, .. } if ctx.proofs.len() >= QUESTIONS_MAX => own,
            Identified::Ask { key, .. } => key,
        }
    }

    /// The live bindings of an IA.
    pub(super) fn held(&self, ctx: &Ctx6<'_>, key: &ClientKey, kind: IaKind) -> Vec<Lease> {
        let held = self.table.of_client(ctx.id(), key);
        let mut held: Vec<Lease> = held
            .filter(|l| l.state == State::Leased && is_about(kind, l.resource))
            .cloned()
            .collect();
        held.sort_by_key(|l| l.resource);
        held
    }

    /// Chooses for one IA; `taken` was chosen for the IAs before it in the same message.
    pub(super) fn assign(
        &mut self,
        ctx: &Ctx6<'_>,
        ia: &Ia<'_>,
        taken: &[Resource],
        fx: &mut Effects,
    ) -> Assigned {
        let key = self.key6(ctx, ia);
        let claimed = self.claimed(ctx, ia, &key, taken);
        let counted = |r: &&Resource| !self.is_free_of_count(ctx, **r);
        let wanted = claimed.iter().filter(counted).count().max(usize::from(claimed.is_empty()));
        let chosen = taken.iter().filter(counted).count();
        if self.is_port_full(ctx, chosen + wanted) {
            let full = EventKind::Dropped(DropReason::PortFull, ctx.hw);
            self.say(ctx.now, Some(ctx.id()), full, fx);
            return Assigned { key, resources: Vec::new(), proven: true };
        }
        let more = self.counted_anew(ctx, ia.kind, &claimed, taken);
        let owner = ctx.owner(None);
        if let Some(met) = self.limit_met(owner.as_ref(), more) {
            let full = EventKind::Dropped(DropReason::AccountFull, ctx.hw);
            self.say(ctx.now, Some(ctx.id()), full, fx);
            self.say_met(ctx.now, ctx.id(), met, fx);
            return Assigned { key, resources: Vec::new(), proven: true };
        }
        if !claimed.is_empty() {
            return Assigned { key, resources: claimed, proven: true };
        }
        // Whoever has no claim costs an offer more, and of these there are only so many.
        let hw = ctx.hw.unwrap_or_default();
        if !self.has_room6(ctx) || !self.has_room_for(ctx.id(), &hw) {
            return Assigned { key, resources: Vec::new(), proven: true };
        }
        let free = |r: &Resource| !taken.contains(r) && self.entitled6(ctx, &key, *r);
        let silent = |r: &Resource| !matches!(r, Resource::V6(addr) if !ctx.is_silent(*addr));
        let own = |r: Resource| {
            ia.kind == IaKind::Na && free(&r) && self.has_tier_for6(ctx, r, owner.as_ref())
        };
        if let Some((claimed, proven)) = self.claim6(ctx, owner.as_ref(), own) {
            return Assigned { key, resources: vec![claimed], proven };
        }
        let mut named = ctx.named(ia).filter(|r| is_about(ia.kind, *r)).filter(free);
        let ranked = |r: &Resource| self.has_rank_for6(ctx, *r, owner.as_ref());
        if let Some(named) = named.find(|r| silent(r) && ranked(r)) {
            return Assigned { key, resources: vec![named], proven: true };
        }
        let next = self.next6(ctx, ia, &key, owner.as_ref());
        let proven = next.is_none_or(|(_, proven)| proven);
        Assigned { key, resources: next.map(|(next, _)| next).into_iter().collect(), proven }
    }

    /// What an IA has a claim to: reserved, bound, offered, or its last one.
    pub(super) fn claimed(
        &self,
        ctx: &Ctx6<'_>,
        ia: &Ia<'_>,
        key: &ClientKey,
        taken: &[Resource],
    ) -> Vec<Resource> {
        let free = |r: &Resource| !taken.contains(r) && self.entitled6(ctx, key, *r);
        let reserved: Vec<Resource> = reserved(ctx, ia.kind).filter(&free).collect();
        if !reserved.is_empty() {
            return reserved;
        }
        let of = |wanted: fn(State) -> bool| {
            let mut found: Vec<&Lease> = self
                .table
                .of_client(ctx.id(), key)
                .filter(|l| is_about(ia.kind, l.resource) && wanted(l.state) && free(&l.resource))
                .collect();
            found.sort_by_key(|l| (l.updated, l.resource));
            found.into_iter().map(|l| l.resource).collect::<Vec<_>>()
        };
        let bound = of(|s| s == State::Leased);
        if !bound.is_empty() {
            return bound;
        }
        let offered = self.offers.of_client(ctx.id(), key).map(|o| o.resource);
        let offered = offered.filter(|r| is_about(ia.kind, *r) && free(r));
        let last = || {
            let last = of(|s| s.is_remembered()).pop();
            last.filter(|r| self.has_tier_for6(ctx, *r, ctx.owner(None).as_ref()))
        };
        offered.or_else(last).into_iter().collect()
    }

    fn has_room6(&mut self, ctx: &Ctx6<'_>) -> bool {
        while self.offers.count(ctx.id()) >= ctx.network.offers_max {
            if !self.evict_offer6(ctx) {
                return false;
            }
        }
        true
    }

    /// Makes room at the cost of a port that holds more offers than its share.
    fn evict_offer6(&mut self, ctx: &Ctx6<'_>) -> bool {
        let evicted = self.offers.evict_for(ctx.id(), ctx.share());
        evicted.map(|offer| self.settle(offer.network, offer.resource)).is_some()
    }

    /// Whether an IA may have `resource` now. What is reserved for others is of no pool.
    pub(super) fn entitled6(&self, ctx: &Ctx6<'_>, key: &ClientKey, resource: Resource) -> bool {
        let bound = || self.table.get(ctx.id(), resource).is_some_and(|l| l.client == *key);
        let for_other = self.is_kept_for_other(ctx.id(), resource, ctx.kept)
            || self.is_paired_for_other(ctx.id(), resource, ctx.hw.as_ref(), bound);
        if !ctx.may_have(resource) || self.is_own(resource) || for_other {
            return false;
        }
        let kept = ctx.kept.is_some_and(|kept| kept.keeps(resource));
        let lease = self.table.get(ctx.id(), resource);
        if let Some(lease) = lease.filter(|l| l.state.is_held()) {
            return match lease.state {
                State::Leased => {
                    let own = lease.client == *key && !self.is_leaving6(ctx, lease, kept);
                    own || is_reserved_alike(ctx, key, lease)
                }
                // Its own, unknown to us until now.
                State::Quarantined(QuarantineReason::InUse(mac)) => {
                    ctx.hw.and_then(|hw| hw.mac()) == Some(mac)
                }
                // Its own instance was destroyed and made again.
                State::Quarantined(QuarantineReason::Leaving) => kept && ctx.hw == Some(lease.hw),
                State::Shadow => {
                    let offer = self.offers.get(ctx.id(), resource);
                    let to_it = offer.map(|offer| offer.client == *key);
                    // Reserved since it was held: an operator's word counts for more.
                    let its = || reserved(ctx, IaKind::Na).any(|r| r == resource).then_some(true);
                    let to_it = to_it.or_else(its);
                    self.may_claim(lease, ctx.owner(None).as_ref(), to_it)
                }
                _ => false,
            };
        }
        if let Some(offer) = self.offers.get(ctx.id(), resource) {
            return offer.client == *key || kept;
        }
        // A release that is not durable yet holds it for its client alone.
        if self.table.is_pending(ctx.id(), resource) {
            return lease.is_some_and(|l| l.client == *key);
        }
        // What it shares with its standby is in no pool either.
        if kept || self.directory.pair_of(ctx.id(), resource).is_some() {
            return true;
        }
        match resource {
            Resource::Prefix6(addr, len) => {
                Prefix6::new(addr, len).is_some_and(|prefix| self.is_whole(ctx, prefix))
            }
            _ => true,
        }
    }

    /// Whether a client is to leave what it has: there is a place for it elsewhere.
    fn is_leaving6(&self, ctx: &Ctx6<'_>, lease: &Lease, kept: bool) -> bool {
        is_draining(lease)
            && !kept
            && !reserved(ctx, IaKind::Na).any(|own| own == lease.resource)
            && self.is_moving6(ctx, lease, ctx.owner(None).as_ref())
    }

    /// Whether no part of a prefix is held: one of another length may overlap it.
    fn is_whole(&self, ctx: &Ctx6<'_>, prefix: Prefix6) -> bool {
        let resource = Resource::Prefix6(prefix.network(), prefix.len());
        if ctx.delegation_of(prefix).is_some() {
            return self.prefix_is_free(ctx.id(), resource);
        }
        // Reserved: of no pool, and yet held in part by others if a reload has cut the pools anew.
        let held = |stray: &Prefix6| {
            let resource = Resource::from(*stray);
            self.table.get(ctx.id(), resource).is_some_and(|l| l.state.is_held())
                || self.offers.get(ctx.id(), resource).is_some()
        };
        let strays = self.nets.get(ctx.net).map(|net| &net.strays[..]).unwrap_or_default();
        !strays.iter().any(|stray| stray.overlaps(&prefix) && *stray != prefix && held(stray))
    }

    /// The next free address or prefix.
    pub(super) fn next6(
        &mut self,
        ctx: &Ctx6<'_>,
        ia: &Ia<'_>,
        key: &ClientKey,
        owner: Option<&Owner>,
    ) -> Option<(Resource, bool)> {
        if !self.may_use_network(owner, ctx.id()) {
            return None;
        }
        let next = |engine: &mut Engine| match ia.kind {
            IaKind::Pd => engine.next_prefix(ctx, ia, owner).map(|prefix| (prefix, true)),
            _ => {
                let next = engine.next_addr(ctx, key, owner, false);
                let next = next.or_else(|| engine.take_shadow6(ctx, owner));
                // What somebody may still have is the worst that can be given.
                next.or_else(|| engine.next_addr(ctx, key, owner, true))
            }
        };
        next(self)
            .or_else(|| self.evict_offer6(ctx).then(|| next(self)).flatten())
            .or_else(|| self.displace6(ctx, ia.kind, owner).map(|resource| (resource, true)))
    }

    /// The next free address of a pool, of those where all that is free is doubted, or of the
    /// others; and whether it is proven.
    fn next_addr(
        &mut self,
        ctx: &Ctx6<'_>,
        key: &ClientKey,
        owner: Option<&Owner>,
        doubted: bool,
    ) -> Option<(Resource, bool)> {
        for (subnet, policy) in ctx.subnets() {
            for at in 0..self.nets.get(ctx.net)?.pools6.len() {
                let Some(of) = self.open6(ctx, owner, (subnet, policy), at) else { continue };
                if self.nets.get(ctx.net)?.pools6.get(at)?.free.is_doubted() != doubted {
                    continue;
                }
                let pool = self.nets.get_mut(ctx.net)?.pools6.get_mut(at)?;
                match of.generate {
                    Generate::Iterative => {}
                    Generate::Random => {
                        let from = self.lots.draw(of.first.to_bits(), of.last.to_bits());
                        pool.free.look_from(from);
                    }
                    Generate::Stable => pool.free.look_from(stable_start(&self.lots, of, key)),
                }
                let fresh_for = ctx.network.verify.fresh;
                if let Some((value, proven)) = pool.free.take_next(ctx.now, fresh_for) {
                    let addr = Ipv6Addr::from_bits(value);
                    let asked = ctx.proof(addr).is_some_and(|proof| proof.heard);
                    return Some((addr.into(), proven || asked));
                }
            }
        }
        None
    }

    fn next_prefix(
        &mut self,
        ctx: &Ctx6<'_>,
        ia: &Ia<'_>,
        owner: Option<&Owner>,
    ) -> Option<Resource> {
        let wanted = ia.prefixes().map(|p| p.len).find(|len| *len > 0);
        for (subnet, policy) in ctx.subnets() {
            for (index, of) in policy.delegations.iter().enumerate() {
                if !ctx.may_use(&of.allow, &of.deny)
                    || !self.may_use_delegation(owner, ctx.id(), of)
                {
                    continue;
                }
                let priority = self.priority(owner);
                let pools = &mut self.nets.get_mut(ctx.net)?.delegations;
                let is_it = |p: &&mut NetDelegation| (p.subnet, p.index) == (subnet, index);
                let Some(pool) = pools.iter_mut().find(is_it) else { continue };
                // s18.3.9: as near to the hint as the policy allows.
                let len = wanted.map_or(of.length, |w| w.clamp(of.min_length, of.max_length));
                if !pool.has_room_for(ctx.network, priority, len) {
                    continue;
                }
                if let Some(prefix) = pool.free.take_next(len) {
                    return Some(Resource::Prefix6(prefix, len));
                }
            }
        }
        None
    }

    /// Holds what was assigned until the client asks for it.
    pub(super) fn offer6(
        &mut self,
        ctx: &Ctx6<'_>,
        ia: &Ia<'_>,
        assigned: Assigned,
        fx: &mut Effects,
    ) -> IaAnswer {
        let Assigned { key, resources, proven } = assigned;
        for resource in &resources {
            self.take_from_pool(ctx.id(), *resource);
            self.count_tier6(ctx, *resource);
            self.promise(ctx.id(), *resource, true);
        }
        let told = self.answer6(ctx, ia, &key, &resources);
        self.wake_verifier(ctx.id());
        // One offer per IA: what is reserved or bound needs none to be kept.
        if let [resource] = resources[..] {
            let offer = Offer {
                network: ctx.id(),
                resource,
                client: key,
                hw: ctx.hw.unwrap_or_default(),
                until: ctx.now + ctx.network.offer_hold,
                port: ctx.share(),
                priority: self.priority(ctx.owner(Some(resource)).as_ref()),
            };
            if let Some(before) = self.offers.insert(offer.clone()) {
                self.settle(ctx.id(), before);
            }
            let offered = Offered { offer, proven };
            self.say(ctx.now, Some(ctx.id()), EventKind::Offered(Box::new(offered)), fx);
        }
        told
    }

    /// Binds what was assigned, as part of the open batch.
    pub(super) fn grant6(
        &mut self,
        ctx: &Ctx6<'_>,
        ia: &Ia<'_>,
        assigned: Assigned,
        how: Grant,
        fx: &mut Effects,
    ) -> Result<IaAnswer, DropReason> {
        if !self.store_ok {
            return Err(DropReason::StoreFailed);
        }
        let Assigned { key, resources, .. } = assigned;
        for resource in &resources {
            self.take_from_pool(ctx.id(), *resource);
            self.count_tier6(ctx, *resource);
        }
        let result = self.answer6(ctx, ia, &key, &resources);
        let hostname = self.client_name6(ctx);
        self.note_duid(ctx, fx);
        for (resource, term) in resources.iter().zip(&result.terms) {
            self.offers.remove(ctx.id(), *resource);
            if let Some(other) = self.offers.remove_client(ctx.id(), &key) {
                self.settle(other.network, other.resource);
            }
            self.wake_verifier(ctx.id());
            let before = self.table.get(ctx.id(), *resource).filter(|l| l.client == key).cloned();
            if before.is_none() {
                self.make_room_for(ctx.id(), &ctx.hw.unwrap_or_default(), fx);
            }
            let next_hop = self.next_hop(ctx, *resource);
            let tier = self.tier_of(ctx.id(), *resource);
            let wakes = wake::wakes(ctx.takes_reconfigure(), &key, before.as_ref());
            let details = details6(ctx, *resource, hostname.clone(), next_hop);
            let details = Details { tier, wakes, ..details };
            let details = match before.as_ref().filter(|l| *l.details == details) {
                Some(lease) => Arc::clone(&lease.details),
                None => self.table.share(details),
            };
            let lease = binding6(ctx, &key, term, details, before.as_ref());
            let known = before.as_ref().filter(|l| l.state == State::Leased);
            let mut own = self.table.of_client(ctx.id(), &key);
            let is_new = how != Grant::Extend && how != Grant::Adopt && before.is_none();
            let is_create = is_new && ctx.kept.is_none() && own.next().is_none();
            drop(own);
            self.count_grant(ctx.now, &lease, is_create);
            let why = cause(known, &lease, how);
            self.put(lease.clone(), why, fx);
            let told = Box::new(lease);
            let kind = match before.map(|before| before.state) {
                Some(State::Leased) => EventKind::Renewed(told),
                None if how == Grant::Adopt => EventKind::Adopted(told),
                _ => EventKind::Granted(told),
            };
            self.say(ctx.now, Some(ctx.id()), kind, fx);
        }
        self.abandon_left(ctx, ia, &key, fx);
        Ok(result)
    }

    /// What an IA was to leave and names no more has been left: its client knows that it is over.
    fn abandon_left(&mut self, ctx: &Ctx6<'_>, ia: &Ia<'_>, key: &ClientKey, fx: &mut Effects) {
        let of = self.table.of_client(ctx.id(), key).filter(|l| is_draining(l));
        let left: Vec<Lease> =
            of.filter(|l| ctx.named(ia).all(|named| named != l.resource)).cloned().collect();
        let others = self.table.of_client(ctx.id(), key).filter(|l| l.state == State::Leased);
        if others.count() <= left.len() {
            return;
        }
        for lease in left {
            self.abandon(ctx.now, lease, fx);
        }
    }

    /// The name that is kept for a client: its reservation's, or the first label of its own that
    /// is nobody's by reservation.
    fn client_name6(&self, ctx: &Ctx6<'_>) -> Option<Box<str>> {
        if let Some(name) = ctx.reservation.and_then(|r| r.hostname.as_deref()) {
            return Some(name.into());
        }
        let name = ctx.msg.fqdn()?.name()?;
        let label = crate::engine::grant::own_label(&name)?;
        (!self.is_reserved_name(label)).then(|| label.into())
    }
}

/// Where a stable pool begins to look for a client's address.
pub(in crate::engine) fn stable_start(lots: &Lots, of: &Pool6, key: &ClientKey) -> u128 {
    let parts = [key.as_bytes(), &of.first.octets()];
    lots.of(&parts, of.first.to_bits(), of.last.to_bits())
}

pub(super) fn reserved<'a>(
    ctx: &Ctx6<'a>,
    kind: IaKind,
) -> impl Iterator<Item = Resource> + use<'a> {
    let reserved = ctx.reservation.into_iter();
    reserved.flat_map(move |r| {
        let addrs = r.addrs.iter().filter(move |_| kind == IaKind::Na).map(|a| Resource::V6(*a));
        let prefixes = r.prefixes.iter().filter(move |_| kind == IaKind::Pd);
        addrs.chain(prefixes.map(|p| Resource::Prefix6(p.network(), p.len())))
    })
}

/// The holder of the client's reserved resource is the same machine under another DUID: its
/// firmware, or what was installed on it before.
fn is_reserved_alike(ctx: &Ctx6<'_>, key: &ClientKey, lease: &Lease) -> bool {
    let mut reserved = reserved(ctx, IaKind::Na).chain(reserved(ctx, IaKind::Pd));
    // Told apart from its clones since it was registered.
    let same_ia = ctx.is_registered() && lease.client.association() == key.association();
    ctx.hw.is_some_and(|hw| hw == lease.hw)
        && (!lease.client.as_bytes().ends_with(ctx.duid) || same_ia)
        && reserved.any(|resource| resource == lease.resource)
}
