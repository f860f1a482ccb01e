//! Shadows are made, and given back.

use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::base::{ClientKey, HwAddr, NetworkId, Resource, Sort, Timestamp};
use crate::config::policy::{Generate, Network};
use crate::engine::Engine;
use crate::engine::effects::Effects;
use crate::engine::instances::{Denied, Wish};
use crate::engine::network::{NetPool, address};
use crate::engine::site::Site;
use crate::lease::{Cause, Details, Foreseen, Foreseer, Lease, Line, Owner, State, Uses};

/// What somebody asks to be held.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// For whom.
    pub line: Line,
    /// How many.
    pub count: u32,
    /// Until when.
    pub until: Timestamp,
    /// On whose word, and what is known of the instance.
    pub foreseen: Foreseen,
}

/// Why a shadow cannot be held, extended or given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShadowDenied {
    /// There is no shadow of that address.
    #[error("{0} is no shadow")]
    None(Resource),
    /// It is promised to a client.
    #[error("{0} is promised to a client that was offered it")]
    Promised(Resource),
    /// As for instances.
    #[error(transparent)]
    Denied(#[from] Denied),
}

impl Engine {
    /// Holds addresses ahead of need, as part of the open batch; which ones. There are fewer than
    /// were asked for where the pools cannot spare them.
    pub(super) fn hold(
        &mut self,
        now: Timestamp,
        reserve: &Reserve,
        fx: &mut Effects,
    ) -> Vec<Resource> {
        let Reserve { line, count, until, foreseen } = reserve;
        let policy = Arc::clone(&self.policy);
        let Some(at) = self.net_index(line.network) else { return Vec::new() };
        let Some(network) = policy.networks.get(at) else { return Vec::new() };
        let wish = Wish {
            network: Some(line.network),
            account: Some(Arc::clone(&line.owner.0)),
            application: line.owner.1.clone(),
            ..Wish::default()
        };
        let site = Site { now, at, network, wish: &wish, owner: Some(&line.owner), own: &[] };
        let priority = self.priority(Some(&line.owner));
        self.table.shadows_mut().set_priority(&line.owner, priority);
        let details = Details {
            account: Some(Arc::clone(&line.owner.0)),
            application: line.owner.1.clone(),
            foreseen: Some(Box::new(foreseen.clone())),
            ..Details::default()
        };
        let details = self.table.share(details);
        let mut held = Vec::new();
        let mut last = None;
        while (held.len() as u64) < u64::from(*count) && self.may_hold_more() {
            let spare = self.spare(&site, line.sort, last);
            let found = spare.or_else(|| self.outrank(now, &site, line.sort, priority));
            let Some((resource, proven)) = found else { break };
            last = Some(resource);
            let lease = shadow(now, line.network, resource, *until, Arc::clone(&details));
            self.put(lease, Cause::Foreseen, fx);
            let can_ask = self.can_ask_about(network, resource);
            if proven || !can_ask {
                self.table.shadows_mut().set_proven(line, resource, Some(now));
            }
            if can_ask {
                self.watch_shadow(now, at, resource, proven);
            }
            held.push(resource);
        }
        if !held.is_empty() {
            self.wake_verifier(line.network);
        }
        held
    }

    /// Whether there may be one shadow more.
    fn may_hold_more(&self) -> bool {
        self.store_ok && self.table.shadows().len() < self.policy.shadow.max as usize
    }

    /// An address that the pools can spare, out of its pool, and whether it is proven free.
    fn spare(
        &mut self,
        site: &Site<'_>,
        sort: Sort,
        last: Option<Resource>,
    ) -> Option<(Resource, bool)> {
        match sort {
            Sort::V4 => self.spare4(site, last),
            Sort::V6 => self.spare6(site, last),
            Sort::Prefix6 => None,
        }
    }

    /// The address of a shadow of lower priority, where no other can be spared: those of higher
    /// priority are served first.
    fn outrank(
        &mut self,
        now: Timestamp,
        site: &Site<'_>,
        sort: Sort,
        priority: u8,
    ) -> Option<(Resource, bool)> {
        let pools: Vec<usize> = match sort {
            Sort::V4 => self.usable4(site, &site.subnets().ok()?),
            _ => {
                let subnets = site.subnets6().ok()?;
                self.usable6(site, &subnets).into_iter().map(|(at, _)| at).collect()
            }
        };
        let network = site.network.id;
        let ranges = self.shadow_ranges(site.owner, sort);
        let shadows = self.table.shadows();
        let mut lower = pools.iter().filter_map(|pool| {
            let resource = shadows.lowest_below(network, sort, *pool, priority)?;
            is_within(&ranges, value(resource)).then_some(())?;
            Some((resource, self.table.get(network, resource)?))
        });
        let (resource, lease) = lower.next()?;
        let (line, since) = (Line::of(lease)?, lease.since);
        let proven = shadows.proven(&line, resource).is_some();
        self.tallies.count(&line.owner, |tally| {
            tally.yielded += 1;
            tally.unused(since, now);
        });
        // Whoever lost it looks again when that is due: at once would be in vain.
        Some((resource, proven))
    }

    fn spare4(&mut self, site: &Site<'_>, last: Option<Resource>) -> Option<(Resource, bool)> {
        let subnets = site.subnets().ok()?;
        let usable = self.usable4(site, &subnets);
        let keep_free = self.policy.shadow.keep_free_percent;
        let ranges = self.shadow_ranges(site.owner, Sort::V4);
        if let Some((value, proven)) = self.take_former(site, Sort::V4, &usable, &ranges) {
            return Some((address(value).into(), proven));
        }
        let contiguous = self.is_contiguous(site.owner);
        for at in usable {
            let pool = self.nets.get_mut(site.at)?.pools.get_mut(at)?;
            if !has_spare(pool, site.network, keep_free) {
                continue;
            }
            if let Some((value, proven)) = next_of(pool, site, &ranges, contiguous, last) {
                return Some((address(value).into(), proven));
            }
        }
        None
    }

    fn spare6(&mut self, site: &Site<'_>, last: Option<Resource>) -> Option<(Resource, bool)> {
        let subnets = site.subnets6().ok()?;
        let usable: Vec<(usize, Generate, u128, u128)> = self
            .usable6(site, &subnets)
            .into_iter()
            // Which address of a stable pool a client gets depends on the client.
            .filter(|(_, of)| of.generate != Generate::Stable)
            .map(|(at, of)| (at, of.generate, of.first.to_bits(), of.last.to_bits()))
            .collect();
        let keep_free = self.policy.shadow.keep_free_percent;
        let ranges = self.shadow_ranges(site.owner, Sort::V6);
        let pools: Vec<usize> = usable.iter().map(|(at, ..)| *at).collect();
        if let Some((value, proven)) = self.take_former(site, Sort::V6, &pools, &ranges) {
            return Some((Ipv6Addr::from_bits(value).into(), proven));
        }
        let contiguous = self.is_contiguous(site.owner);
        for (at, generate, first, end) in usable {
            let from = (generate == Generate::Random).then(|| self.lots.draw(first, end));
            let pool = self.nets.get_mut(site.at)?.pools6.get_mut(at)?;
            if !has_spare(pool, site.network, keep_free) {
                continue;
            }
            from.into_iter().for_each(|from| pool.free.look_from(from));
            if let Some((value, proven)) = next_of(pool, site, &ranges, contiguous, last) {
                return Some((Ipv6Addr::from_bits(value).into(), proven));
            }
        }
        None
    }

    fn is_contiguous(&self, owner: Option<&Owner>) -> bool {
        owner.and_then(|owner| self.shadow_terms(owner)).is_some_and(|terms| terms.contiguous)
    }

    /// Where the shadows of an owner are to lie, as pools count; anywhere if there are none.
    fn shadow_ranges(&self, owner: Option<&Owner>, sort: Sort) -> Vec<(u128, u128)> {
        let terms = owner.and_then(|owner| self.shadow_terms(owner));
        let ranges = terms.map(|terms| &terms.ranges[..]).unwrap_or_default();
        ranges.iter().filter_map(|block| block.values(sort)).collect()
    }

    /// Gives a shadow back, as part of the open batch: its address is free once that is durable.
    pub(in crate::engine) fn give_back_shadow(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        resource: Resource,
        fx: &mut Effects,
    ) {
        if self.is_shadow(network, resource) {
            self.forget(network, resource, Some(now), fx);
        }
    }

    /// The shadow of an address, if it is promised to nobody.
    fn own_shadow(&self, network: NetworkId, resource: Resource) -> Result<&Lease, ShadowDenied> {
        let lease = self.table.get(network, resource);
        let lease = lease.filter(|lease| lease.state == State::Shadow);
        let lease = lease.ok_or(ShadowDenied::None(resource))?;
        match self.offers.get(network, resource) {
            Some(_) => Err(ShadowDenied::Promised(resource)),
            None => Ok(lease),
        }
    }

    /// Somebody reserves addresses ahead of need, as part of the open batch.
    pub fn reserve_shadows(
        &mut self,
        now: Timestamp,
        reserve: &Reserve,
        fx: &mut Effects,
    ) -> Result<Vec<Lease>, ShadowDenied> {
        let (network, owner) = (reserve.line.network, &reserve.line.owner);
        self.net_index(network).ok_or_else(|| Denied::Unknown("no such network".into()))?;
        self.check_store()?;
        self.check_owner(network, Some(&owner.0), owner.1.as_deref())?;
        let stocked = self.table.shadows().stocked(&reserve.line);
        let count = reserve.count.min(self.room(owner, stocked));
        let held = self.hold(now, &Reserve { count, ..reserve.clone() }, fx);
        self.wake_plan(now, network, owner);
        Ok(held.iter().filter_map(|r| self.table.get(network, *r).cloned()).collect())
    }

    /// Somebody gives a shadow back, as part of the open batch; what it was.
    pub fn release_shadow(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        resource: Resource,
        fx: &mut Effects,
    ) -> Result<Lease, ShadowDenied> {
        let lease = self.own_shadow(network, resource)?.clone();
        self.check_store()?;
        if let Some(line) = Line::of(&lease) {
            self.tallies.count(&line.owner, |tally| {
                tally.given_back += 1;
                tally.unused(lease.since, now);
            });
            self.shadow_went(now, &line, false);
        }
        self.give_back_shadow(now, network, resource, fx);
        Ok(lease)
    }

    /// Somebody lets a shadow live until another time, as part of the open batch; what it is now.
    pub fn extend_shadow(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        resource: Resource,
        until: Timestamp,
        fx: &mut Effects,
    ) -> Result<Lease, ShadowDenied> {
        let lease = self.own_shadow(network, resource)?.clone();
        self.check_store()?;
        let lease = Lease { until, updated: now, ..lease };
        self.put(lease.clone(), Cause::Renewed, fx);
        Ok(lease)
    }
}

/// Whether a pool has more free addresses than are kept from shadows. What somebody may still have
/// is not held ahead of need.
pub(super) fn has_spare(pool: &NetPool, network: &Network, keep_free_percent: u8) -> bool {
    let percent = keep_free_percent.max(network.short_percent);
    !pool.free.is_doubted()
        && pool.free.available() > pool.size.saturating_mul(percent.into()).div_ceil(100)
}

/// Whether a shadow may lie there.
pub(super) fn is_within(ranges: &[(u128, u128)], value: u128) -> bool {
    ranges.is_empty() || ranges.iter().any(|(first, last)| (*first..=*last).contains(&value))
}

/// The next address of a pool for a shadow, and whether it is proven.
fn next_of(
    pool: &mut NetPool,
    site: &Site<'_>,
    ranges: &[(u128, u128)],
    contiguous: bool,
    last: Option<Resource>,
) -> Option<(u128, bool)> {
    if ranges.is_empty() && !contiguous {
        return pool.free.take_next(site.now, site.network.verify.fresh);
    }
    let after = last.map(value).filter(|_| contiguous).and_then(|last| last.checked_add(1));
    let all = [(0, u128::MAX)];
    let within = if ranges.is_empty() { &all[..] } else { ranges };
    let beside = after.and_then(|after| {
        let (_, end) = within.iter().find(|(first, end)| (*first..=*end).contains(&after))?;
        pool.free.take_within(after, *end)
    });
    beside.or_else(|| within.iter().find_map(|(first, end)| pool.free.take_within(*first, *end)))
}

/// An address as pools count.
pub(super) fn value(resource: Resource) -> u128 {
    match resource {
        Resource::V4(addr) => u128::from(addr.to_bits()),
        Resource::V6(addr) | Resource::Prefix6(addr, _) => addr.to_bits(),
    }
}

fn shadow(
    now: Timestamp,
    network: NetworkId,
    resource: Resource,
    until: Timestamp,
    details: Arc<Details>,
) -> Lease {
    let addr = match resource {
        Resource::V4(addr) => addr.into(),
        Resource::V6(addr) | Resource::Prefix6(addr, _) => addr.into(),
    };
    Lease {
        network,
        resource,
        client: ClientKey::shadow(addr),
        hw: HwAddr::default(),
        state: State::Shadow,
        since: now,
        updated: now,
        until,
        port: None,
        uses: Uses::NONE,
        details,
    }
}

impl Foreseen {
    /// Nothing but on whose word.
    pub fn by(by: Foreseer) -> Foreseen {
        Foreseen { by, prediction: None, instance_type: None }
    }
}
