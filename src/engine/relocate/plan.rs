//! Which pools are too short for their hot tier, and whom to move for that.

use std::net::Ipv6Addr;

use crate::base::{Resource, Sort, Timestamp};
use crate::config::policy::{Relocation, Tier};
use crate::engine::Engine;
use crate::engine::network::{NetPool, address};
use crate::engine::quota::Rank;
use crate::engine::tiers::Spot;
use crate::lease::{Lease, Owner, State};

use super::cost::{Cost, region};

/// Of each tier, so many of the lowest scores are looked at for what is cheapest to move.
const LOOKED_AT: usize = 64;
/// So many pools are planned for at a time; the next ones when these are short no more.
const PLANS: usize = 8;

/// A pool that is short, and who would be moved.
#[derive(Clone, Debug)]
pub struct PoolPlan {
    /// The first address of the pool.
    pub first: Resource,
    /// The last one.
    pub last: Resource,
    /// How many its hot tier lacks, those that are being moved already not counted.
    pub lacking: u128,
    /// How many clients are being moved.
    pub draining: usize,
    /// No move may begin at this hour.
    pub frozen: bool,
    /// Who was looked at: those who move first, the cheapest of them first.
    pub candidates: Vec<Candidate>,
}

/// A client that could be moved.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its address.
    pub resource: Resource,
    /// Which tier it counts for.
    pub tier: Tier,
    /// The lifecycle score of the address.
    pub score: u16,
    /// What it costs to move it.
    pub cost: Cost,
    /// The mean of that, in percent.
    pub whole: u8,
    /// The first address of the pool that has room for it.
    pub to: Option<Resource>,
    /// Why it stays, if it does.
    pub stays: Option<Stays>,
}

/// Why a client is not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// Others are cheaper, and enough.
    Enough,
    /// Its account or application is exempt.
    Exempt,
    /// It has had its address for too short a time.
    Recent,
    /// Its lease has no end, so that it never renews.
    Endless,
    /// No other pool has room for it.
    NoPlace,
    /// It costs more than is allowed.
    Dear,
}

impl Stays {
    /// The word that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Stays::Enough => "enough",
            Stays::Exempt => "exempt",
            Stays::Recent => "recent",
            Stays::Endless => "endless",
            Stays::NoPlace => "no-place",
            Stays::Dear => "dear",
        }
    }
}

impl PoolPlan {
    /// Who would be moved.
    pub fn moves(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(|candidate| candidate.stays.is_none())
    }

    /// Whether anybody may be moved now.
    pub fn begins(&self) -> bool {
        !self.frozen
    }
}

impl Engine {
    /// What would be done about the pools of a network that are short, `most` moves at most.
    pub fn plans_of(&self, now: Timestamp, net: usize, most: usize) -> Vec<PoolPlan> {
        let (mut plans, mut left) = (Vec::new(), most);
        let Some(of) = self.nets.get(net) else { return plans };
        let v4 = (0..of.pools.len()).map(|pool| Spot { net, v6: false, pool, value: 0 });
        let v6 = (0..of.pools6.len()).map(|pool| Spot { net, v6: true, pool, value: 0 });
        for spot in v4.chain(v6) {
            let Some(plan) = self.plan_pool(now, spot, left) else { continue };
            left -= plan.moves().count();
            plans.push(plan);
            if plans.len() >= PLANS {
                break;
            }
        }
        plans
    }

    /// How much more the hot tier of a pool lacks than is free, if it does.
    pub(super) fn shortage(&self, spot: Spot) -> Option<u128> {
        let pool = self.pool(spot)?;
        let tiers = pool.tiers.as_ref()?;
        let sort = if spot.v6 { Sort::V6 } else { Sort::V4 };
        let network = self.nets.get(spot.net)?.id;
        let free = pool.free.available().saturating_add(self.lent(network, sort, spot.pool));
        let short = tiers.lacks(Tier::Hot).saturating_sub(free);
        (short > 0).then_some(short)
    }

    fn plan_pool(&self, now: Timestamp, spot: Spot, most: usize) -> Option<PoolPlan> {
        let short = self.shortage(spot)?;
        let pool = self.pool(spot)?;
        let network = self.policy.networks.get(spot.net)?;
        let policy = &network.relocation;
        let tiers = pool.tiers.as_ref()?;
        let below = [Tier::Cold, Tier::Warm].into_iter();
        let mut room = self.room_elsewhere(spot);
        let lowest =
            below.flat_map(|of| tiers.movable(of).take(LOOKED_AT).map(move |found| (of, found)));
        let mut candidates: Vec<Candidate> = lowest
            .filter_map(|(of, (score, value))| {
                let resource = resource(spot.v6, value);
                let lease = self.table.get(network.id, resource)?;
                let is_it = lease.state == State::Leased && lease.details.draining.is_none();
                is_it.then(|| self.candidate(now, spot, lease, (of, score, room), policy))
            })
            .collect();
        candidates.sort_by_key(|c| (c.stays.is_some(), c.whole, c.score, c.resource));
        let draining = tiers.draining().len();
        let lacking = short.saturating_sub(draining as u128);
        let wanted = usize::try_from(lacking).unwrap_or(usize::MAX).min(most);
        for (at, candidate) in candidates.iter_mut().enumerate() {
            if candidate.stays.is_some() {
                break;
            }
            candidate.stays = match room.checked_sub(1) {
                _ if at >= wanted => Some(Stays::Enough),
                None => Some(Stays::NoPlace),
                Some(left) => {
                    room = left;
                    None
                }
            };
        }
        let (first, last) = bounds(network, pool, spot.v6)?;
        let frozen = policy.frozen.iter().any(|window| window.contains(now));
        Some(PoolPlan { first, last, lacking, draining, frozen, candidates })
    }

    fn candidate(
        &self,
        now: Timestamp,
        spot: Spot,
        lease: &Lease,
        (tier, score, room): (Tier, u16, u128),
        policy: &Relocation,
    ) -> Candidate {
        let owner = owner(lease);
        let to = (room > 0).then(|| self.elsewhere(lease, spot)).flatten();
        let network = self.policy.networks.get(spot.net);
        let region = |of: Option<Resource>| network.zip(of).and_then(|(n, of)| region(n, of));
        let priority = owner.as_ref().map_or(0, |owner| self.priority(Some(owner)));
        let cost = Cost::of(lease, priority, (region(Some(lease.resource)), region(to)), policy);
        let whole = cost.whole(&policy.weights);
        let held = now.since(lease.since);
        let exempt = |(account, application): &Owner| {
            let all = |of: &&Owner| &of.0 == account && (of.1.is_none() || &of.1 == application);
            policy.exempt.iter().find(all).is_some()
        };
        let stays = if owner.as_ref().is_some_and(exempt) {
            Some(Stays::Exempt)
        } else if held < policy.min_retention {
            Some(Stays::Recent)
        } else if lease.until == Timestamp::NEVER {
            Some(Stays::Endless)
        } else if to.is_none() {
            Some(Stays::NoPlace)
        } else if whole > policy.max_cost && policy.max_retention.is_none_or(|max| held < max) {
            Some(Stays::Dear)
        } else {
            None
        };
        Candidate { resource: lease.resource, tier, score, cost, whole, to, stays }
    }

    /// The first address of another pool of the network that has room for a client. Which classes
    /// the client is of is known only when it asks: a pool for some of them is no such place.
    pub(super) fn elsewhere(&self, lease: &Lease, from: Spot) -> Option<Resource> {
        let network = self.policy.networks.get(from.net)?;
        let owner = owner(lease);
        let rank = self.rank(network, owner.as_ref(), std::iter::empty());
        let net = self.nets.get(from.net)?;
        let pools = if from.v6 { &net.pools6 } else { &net.pools };
        let others = pools.iter().enumerate().filter(|(at, _)| *at != from.pool);
        others.into_iter().find_map(|(at, pool)| {
            let spot = Spot { pool: at, ..from };
            let open = self.is_open_pool(spot, pool, owner.as_ref(), rank);
            open.then(|| bounds(network, pool, from.v6).map(|(first, _)| first)).flatten()
        })
    }

    fn is_open_pool(&self, spot: Spot, pool: &NetPool, owner: Option<&Owner>, rank: Rank) -> bool {
        let Some(network) = self.policy.networks.get(spot.net) else { return false };
        let sort = if spot.v6 { Sort::V6 } else { Sort::V4 };
        let lent = self.lent(network.id, sort, spot.pool);
        let usable = if spot.v6 {
            let subnet = network.subnets6.get(pool.subnet);
            subnet.and_then(|s| s.pools.get(pool.index)).is_some_and(|of| {
                let open = of.allow.is_empty() && of.deny.is_empty();
                open && self.may_use_range6(owner, network.id, of.first, of.last)
            })
        } else {
            pool.policy(network).is_some_and(|of| {
                let open = of.allow.is_empty() && of.deny.is_empty();
                open && self.may_use_range4(owner, network.id, &of.range)
            })
        };
        usable && self.shortage(spot).is_none() && pool.has_room_for(network, rank, lent)
    }

    /// How many clients the other pools of a network can take, beside those that are on their way.
    fn room_elsewhere(&self, from: Spot) -> u128 {
        let Some(net) = self.nets.get(from.net) else { return 0 };
        let pools = if from.v6 { &net.pools6 } else { &net.pools };
        let sort = if from.v6 { Sort::V6 } else { Sort::V4 };
        let others = pools.iter().enumerate().filter(|(at, _)| *at != from.pool);
        let room = others.map(|(at, pool)| {
            let free = pool.free.available().saturating_add(self.lent(net.id, sort, at));
            let kept = pool.tiers.as_ref().map_or(0, |tiers| tiers.lacks(Tier::Warm));
            free.saturating_sub(kept)
        });
        let room = room.fold(0, u128::saturating_add);
        let leaving = pools.get(from.pool).and_then(|pool| pool.tiers.as_ref());
        room.saturating_sub(leaving.map_or(0, |tiers| tiers.draining().len()) as u128)
    }
}

/// Whom a binding counts for.
fn owner(lease: &Lease) -> Option<Owner> {
    Some((lease.details.account.clone()?, lease.details.application.clone()))
}

fn resource(v6: bool, value: u128) -> Resource {
    if v6 { Resource::V6(Ipv6Addr::from_bits(value)) } else { address(value).into() }
}

/// The first and the last address of a pool.
fn bounds(
    network: &crate::config::policy::Network,
    pool: &NetPool,
    v6: bool,
) -> Option<(Resource, Resource)> {
    if v6 {
        let of = network.subnets6.get(pool.subnet)?.pools.get(pool.index)?;
        return Some((of.first.into(), of.last.into()));
    }
    let of = pool.policy(network)?;
    Some((of.range.first.into(), of.range.last.into()))
}
