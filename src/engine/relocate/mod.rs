//! Relocation: clients that are moved off addresses which a hot tier needs.
//!
//! [`plan`] says who would be moved and what that [`cost`]s; this file does it. Nothing is taken
//! from anybody: the binding of a client that is to move says so, durably, and stays its own. When
//! the client renews or boots, and there is a place for it elsewhere, it is sent there (DHCPv4: a
//! NAK; DHCPv6: the new address beside the old one, whose lifetimes end). If there is none by then,
//! it stays.

pub mod cost;
pub mod plan;

use crate::base::{HwAddr, NetworkId, Resource, Sort, Timestamp};
use crate::config::policy::{Network, RelocationMode};
use crate::lease::{Cause, Details, Drain, Hold, Lease, Mover, Owner, State};

use super::Engine;
use super::context::Ctx;
use super::effects::{Effects, EventKind};
use super::instances::Denied;
use super::v6::context::Ctx6;
use plan::PoolPlan;

/// What was last said of a pool that is short: by how many, and how many move.
pub(super) type Said = (u128, usize);

impl Engine {
    /// Begins what is due: once a minute, with the tiers.
    pub(super) fn relocate(&mut self, now: Timestamp, fx: &mut Effects) {
        if !self.store_ok {
            return;
        }
        let policy = self.policy.clone();
        for (net, network) in policy.networks.iter().enumerate() {
            if network.tiers.is_none() {
                continue;
            }
            let mut left = network.relocation.rate as usize;
            for plan in self.plans_of(now, net, left) {
                self.say_short(now, network, &plan, fx);
                let moves = plan.moves().take(left).map(|c| c.resource);
                if network.relocation.mode == RelocationMode::On && plan.begins() {
                    let moves: Vec<Resource> = moves.collect();
                    left -= moves.len();
                    for resource in moves {
                        self.begin(now, network.id, resource, Mover::Policy, fx);
                    }
                }
            }
            self.spare_needless(now, net, fx);
        }
    }

    /// An operator has a client moved, as part of the open batch; the lease as it is now.
    pub fn drain(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        resource: Resource,
        fx: &mut Effects,
    ) -> Result<Lease, Denied> {
        let lease = self.table.get(network, resource).filter(|l| l.state == State::Leased);
        let unknown = || Denied::Unknown(format!("{resource} is not leased"));
        let lease = lease.ok_or_else(unknown)?.clone();
        if lease.details.draining.is_some() {
            return Ok(lease);
        }
        if self.is_pinned(network, resource) {
            let why = format!("{resource} is reserved, registered for its instance, or shared");
            return Err(Denied::InUse(why));
        }
        let place = self.spot(network, resource).and_then(|spot| self.elsewhere(&lease, spot));
        if place.is_none() {
            let why = format!("no other pool of the network has room for the client of {resource}");
            return Err(Denied::InUse(why));
        }
        self.check_store()?;
        self.begin(now, network, resource, Mover::Operator, fx);
        self.table.get(network, resource).cloned().ok_or_else(unknown)
    }

    /// An operator lets a client stay that was to move, as part of the open batch; the lease as it
    /// is now. Once the client has another address, the old one is as free as any.
    pub fn let_stay(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        resource: Resource,
        fx: &mut Effects,
    ) -> Result<Lease, Denied> {
        let lease = self.table.get(network, resource).filter(|l| is_draining(l));
        let unknown = || Denied::Unknown(format!("nobody is being moved off {resource}"));
        let lease = lease.ok_or_else(unknown)?.clone();
        self.check_store()?;
        let spared = self.end(now, &lease, fx);
        Ok(spared)
    }

    /// All leases whose clients are to move.
    pub fn draining(&self) -> impl Iterator<Item = &Lease> {
        self.table.draining()
    }

    fn begin(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        resource: Resource,
        by: Mover,
        fx: &mut Effects,
    ) {
        let Some(lease) = self.table.get(network, resource).cloned() else { return };
        let draining = Some(Drain { since: now, by });
        let details = Details { draining, ..Details::clone(&lease.details) };
        let lease = Lease { details: self.table.share(details), updated: now, ..lease };
        self.put(lease.clone(), Cause::Draining, fx);
        self.note_hold(network, resource);
        self.ask_to_renew(now, &lease, 0, fx);
        self.say(now, Some(network), EventKind::Draining(Box::new(lease)), fx);
    }

    pub(super) fn end(&mut self, now: Timestamp, lease: &Lease, fx: &mut Effects) -> Lease {
        let details = Details { draining: None, ..Details::clone(&lease.details) };
        let spared = Lease { details: self.table.share(details), updated: now, ..lease.clone() };
        self.put(spared.clone(), Cause::Spared, fx);
        self.note_hold(lease.network, lease.resource);
        self.say(now, Some(lease.network), EventKind::Spared(Box::new(spared.clone())), fx);
        spared
    }

    /// Whom the policy had moved may stay where the pool is short no more.
    fn spare_needless(&mut self, now: Timestamp, net: usize, fx: &mut Effects) {
        let by_policy = |l: &Lease| l.details.draining.is_some_and(|d| d.by == Mover::Policy);
        let id = self.nets.get(net).map(|net| net.id);
        let draining = self.table.draining().filter(|l| Some(l.network) == id && by_policy(l));
        let needless = draining.filter(|lease| {
            let spot = self.spot(lease.network, lease.resource);
            spot.is_none_or(|spot| self.shortage(spot).is_none())
        });
        let needless: Vec<Lease> = needless.cloned().collect();
        for lease in needless {
            self.end(now, &lease, fx);
        }
    }

    /// Says that a pool is short when that is news.
    fn say_short(&mut self, now: Timestamp, network: &Network, plan: &PoolPlan, fx: &mut Effects) {
        if network.relocation.mode == RelocationMode::Off {
            return;
        }
        let said = (plan.lacking, plan.moves().count());
        if self.short_said.insert((network.id, plan.first), said) != Some(said) {
            self.say(now, Some(network.id), EventKind::Short(Box::new(plan.clone())), fx);
        }
    }

    /// Notes what can be done about an address that counts for a tier.
    pub(super) fn note_hold(&mut self, network: NetworkId, resource: Resource) {
        let Some(spot) = self.spot(network, resource) else { return };
        if self.pool(spot).is_none_or(|pool| pool.tiers.is_none()) {
            return;
        }
        let lease = self.table.get(network, resource).filter(|l| l.state == State::Leased);
        let hold = match lease {
            Some(lease) if is_draining(lease) => Hold::Draining,
            Some(lease) if !self.is_pinned(network, resource) => Hold::Movable(self.worth(lease)),
            _ => Hold::Fixed,
        };
        if let Some(tiers) = self.pool_mut(spot).and_then(|pool| pool.tiers.as_mut()) {
            tiers.note(spot.value, hold);
        }
    }

    /// Whether an address is reserved for somebody, or registered for an instance: whoever has it
    /// was promised this one.
    pub(super) fn is_pinned(&self, network: NetworkId, resource: Resource) -> bool {
        let net = self.net_index(network).and_then(|at| self.nets.get(at));
        self.directory.is_kept(network, resource)
            || net.is_some_and(|net| match resource {
                Resource::V4(addr) => net.by_addr.contains_key(&addr),
                _ => net.by_resource6.contains_key(&resource),
            })
    }
}

/// What becomes of a client that is to move, when it asks.
impl Engine {
    /// Whether a machine is to leave a pool of its network: what it has next is of another.
    pub(super) fn is_to_leave(
        &self,
        network: NetworkId,
        hw: &HwAddr,
        sort: Sort,
        pool: usize,
    ) -> bool {
        self.table.draining().next().is_some()
            && self.table.of_hw(network, hw).filter(|l| is_draining(l)).any(|lease| {
                let spot = self.spot(network, lease.resource);
                lease.resource.sort() == sort && spot.is_some_and(|spot| spot.pool == pool)
            })
    }

    /// Whether a client is to leave this lease now: there is a place for it elsewhere.
    pub(super) fn is_moving(&self, ctx: &Ctx<'_>, lease: &Lease) -> bool {
        is_draining(lease) && {
            let owner = ctx.owner(None);
            let own = lease.resource.v4().and_then(|addr| {
                self.nets.get(ctx.net).and_then(|net| net.pool_of(ctx.network, addr))
            });
            let pools = self.nets.get(ctx.net).map_or(0, |net| net.pools.len());
            ctx.subnets().any(|(subnet, _)| {
                let mut others = (0..pools).filter(|at| Some(*at) != own);
                others.any(|at| self.is_open(ctx, owner.as_ref(), subnet, at))
            })
        }
    }

    /// The same for DHCPv6.
    pub(super) fn is_moving6(&self, ctx: &Ctx6<'_>, lease: &Lease, owner: Option<&Owner>) -> bool {
        let Some(spot) = self.spot(lease.network, lease.resource).filter(|_| is_draining(lease))
        else {
            return false;
        };
        let pools = self.nets.get(ctx.net).map_or(0, |net| net.pools6.len());
        ctx.subnets().any(|subnet| {
            let mut others = (0..pools).filter(|at| *at != spot.pool);
            others.any(|at| self.open6(ctx, owner, subnet, at).is_some())
        })
    }
}

/// Whether a lease's client is to move.
pub(super) fn is_draining(lease: &Lease) -> bool {
    lease.state == State::Leased && lease.details.draining.is_some()
}
