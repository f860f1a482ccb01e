//! Demand shadows, by whom they are held for: which can be claimed now, and which go first when
//! real clients need their addresses.
//!
//! What is durable of a shadow is its binding. Here stands what is not: whether its address was
//! proven free of late, and whether it is promised to a client by an offer.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use crate::base::{NetworkId, Resource, Sort, Timestamp};

use super::{Foreseer, Lease, Owner, State};

/// Whom shadows are held for: an account, or one of its applications, on one network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// The segment.
    pub network: NetworkId,
    /// Which family.
    pub sort: Sort,
    /// Account and application.
    pub owner: Owner,
}

/// All shadows.
#[derive(Debug, Default)]
pub struct Shadows {
    of: HashMap<Line, Stock>,
    /// By network, sort, pool and priority, the oldest first; without those that are promised.
    by_rank: BTreeSet<Rank>,
    /// Of each owner that has some.
    priorities: HashMap<Owner, u8>,
    /// Those of each pool that are not promised.
    in_pool: HashMap<(NetworkId, Sort, usize), u64>,
    /// How many each owner has, promised or not.
    of_owner: HashMap<Owner, u64>,
    count: usize,
}

type Rank = (NetworkId, Sort, usize, u8, Timestamp, Resource);

/// The shadows of one line.
#[derive(Debug, Default)]
struct Stock {
    shadows: HashMap<Resource, Stand>,
    /// Those that can be claimed, unproven and proven: the last one is the next.
    queues: [Vec<Resource>; 2],
    /// How many were reserved by hand.
    kept: usize,
}

/// Where a shadow stands.
#[derive(Clone, Copy, Debug)]
struct Stand {
    since: Timestamp,
    pool: usize,
    /// When its address was last proven free, since the start.
    proven: Option<Timestamp>,
    /// Its place in its queue; `None` if it is promised to a client.
    at: Option<usize>,
    /// It was reserved by hand.
    kept: bool,
}

/// How many shadows a line has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stocked {
    /// Proven free, and promised to nobody.
    pub ready: usize,
    /// Not proven free since the start, and promised to nobody.
    pub unproven: usize,
    /// Promised to a client by an offer.
    pub promised: usize,
    /// Of all these, such that somebody reserved by hand.
    pub kept: usize,
}

impl Stocked {
    /// All of them.
    pub fn all(self) -> usize {
        self.ready + self.unproven + self.promised
    }

    /// Those that can be claimed.
    pub fn claimable(self) -> usize {
        self.ready + self.unproven
    }
}

impl Line {
    /// The line that a binding is a shadow of.
    pub fn of(lease: &Lease) -> Option<Line> {
        let account = lease.details.account.clone().filter(|_| lease.state == State::Shadow)?;
        let owner = (account, lease.details.application.clone());
        Some(Line { network: lease.network, sort: lease.resource.sort(), owner })
    }
}

impl Shadows {
    /// The shadow of a line to claim next, and whether it is proven.
    pub fn next(&self, line: &Line) -> Option<(Resource, bool)> {
        self.claimable(line).next()
    }

    /// All that can be claimed of a line: the proven first, and of these the youngest.
    pub fn claimable(&self, line: &Line) -> impl Iterator<Item = (Resource, bool)> + '_ {
        let stock = self.of.get(line);
        let queue = move |proven: bool| {
            let queue = stock.map(|stock| &stock.queues[usize::from(proven)][..]);
            queue.unwrap_or_default().iter().rev().map(move |resource| (*resource, proven))
        };
        queue(true).chain(queue(false))
    }

    /// The shadow of a line that is missed least: one that is not proven, or the longest ready. Not
    /// what is promised, nor what was reserved by hand.
    pub fn least(&self, line: &Line) -> Option<Resource> {
        let stock = self.of.get(line)?;
        let by_hand = |r: &&Resource| stock.shadows.get(*r).is_some_and(|stand| stand.kept);
        stock.queues.iter().flatten().find(|r| !by_hand(r)).copied()
    }

    /// The shadow that goes first for one of a higher priority, as [`Shadows::lowest`].
    pub fn lowest_below(
        &self,
        network: NetworkId,
        sort: Sort,
        pool: usize,
        priority: u8,
    ) -> Option<Resource> {
        let next = self.first_rank(network, sort, pool)?;
        (next.3 < priority).then_some(next.5)
    }

    /// How many a line has.
    pub fn stocked(&self, line: &Line) -> Stocked {
        self.of.get(line).map(Stock::stocked).unwrap_or_default()
    }

    /// All lines that have shadows, in no order.
    pub fn lines(&self) -> impl Iterator<Item = (&Line, Stocked)> {
        self.of.iter().map(|(line, stock)| (line, stock.stocked()))
    }

    /// The shadow that goes first when a pool has no other address: of the lowest priority, and of
    /// these the oldest. Not what is promised.
    pub fn lowest(&self, network: NetworkId, sort: Sort, pool: usize) -> Option<Resource> {
        self.first_rank(network, sort, pool).map(|rank| rank.5)
    }

    fn first_rank(&self, network: NetworkId, sort: Sort, pool: usize) -> Option<&Rank> {
        let from = (network, sort, pool, 0, Timestamp(0), lowest(sort));
        let next = self.by_rank.range(from..).next()?;
        ((next.0, next.1, next.2) == (network, sort, pool)).then_some(next)
    }

    /// Whether a shadow is promised to a client.
    pub fn is_promised(&self, line: &Line, resource: Resource) -> bool {
        let stand = self.of.get(line).and_then(|stock| stock.shadows.get(&resource));
        stand.is_some_and(|stand| stand.at.is_none())
    }

    /// When the address of a shadow was last proven free.
    pub fn proven(&self, line: &Line, resource: Resource) -> Option<Timestamp> {
        self.of.get(line)?.shadows.get(&resource)?.proven
    }

    /// The address of a shadow was found silent, or an answer made that doubtful (`None`).
    pub fn set_proven(&mut self, line: &Line, resource: Resource, at: Option<Timestamp>) {
        self.change_stand(line, resource, |stand| stand.proven = at);
    }

    /// A shadow is promised to a client, or not any more.
    pub fn set_promised(&mut self, line: &Line, resource: Resource, promised: bool) {
        self.change_stand(line, resource, |stand| stand.at = (!promised).then_some(0));
    }

    /// Says anew what priority the shadows of each owner have.
    pub fn set_priorities(&mut self, priorities: impl IntoIterator<Item = (Owner, u8)>) {
        let priorities: HashMap<Owner, u8> = priorities.into_iter().collect();
        if std::mem::replace(&mut self.priorities, priorities) != self.priorities {
            self.rank_anew();
        }
    }

    /// Each owner that has shadows, once for each of its lines.
    pub fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.of.keys().map(|line| &line.owner)
    }

    /// What priority the shadows of an owner have that has none yet.
    pub fn set_priority(&mut self, owner: &Owner, priority: u8) {
        self.priorities.entry(owner.clone()).or_insert(priority);
    }

    /// How many shadows of a pool are promised to nobody.
    pub fn in_pool(&self, network: NetworkId, sort: Sort, pool: usize) -> u64 {
        self.in_pool.get(&(network, sort, pool)).copied().unwrap_or_default()
    }

    /// How many an owner has, of all networks.
    pub fn of_owner(&self, owner: &Owner) -> u64 {
        self.of_owner.get(owner).copied().unwrap_or_default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Says anew of which pool each shadow is; those of none stay with none.
    pub(super) fn move_to_pools(&mut self, pool: impl Fn(NetworkId, Resource) -> Option<usize>) {
        for (line, stock) in &mut self.of {
            for (resource, stand) in &mut stock.shadows {
                stand.pool = pool(line.network, *resource).unwrap_or(usize::MAX);
            }
        }
        self.rank_anew();
    }

    fn rank_anew(&mut self) {
        let priorities = &self.priorities;
        let all = self.of.iter().flat_map(|(line, stock)| {
            let priority = priorities.get(&line.owner).copied().unwrap_or_default();
            let free = stock.shadows.iter().filter(|(_, stand)| stand.at.is_some());
            free.map(move |(resource, stand)| rank(line, priority, *resource, stand))
        });
        self.by_rank = all.collect();
        self.in_pool.clear();
        for (network, sort, pool, ..) in &self.by_rank {
            *self.in_pool.entry((*network, *sort, *pool)).or_default() += 1;
        }
    }

    /// A binding was the one and is the other.
    pub(super) fn change(&mut self, from: Option<&Lease>, to: Option<&Lease>, pool: Option<usize>) {
        let (before, after) = (from.and_then(Line::of), to.and_then(Line::of));
        if before == after {
            return;
        }
        if let Some((line, lease)) = before.zip(from) {
            self.remove(&line, lease.resource);
        }
        if let Some((line, lease)) = after.zip(to) {
            let stand = Stand {
                since: lease.since,
                pool: pool.unwrap_or(usize::MAX),
                proven: None,
                at: Some(0),
                kept: lease.details.foreseen.as_ref().is_some_and(|f| f.by == Foreseer::Operator),
            };
            self.insert(line, lease.resource, stand);
        }
    }

    fn change_stand(&mut self, line: &Line, resource: Resource, change: impl FnOnce(&mut Stand)) {
        let Some(mut stand) = self.remove(line, resource) else { return };
        change(&mut stand);
        self.insert(line.clone(), resource, stand);
    }

    fn insert(&mut self, line: Line, resource: Resource, mut stand: Stand) {
        let priority = *self.priorities.entry(line.owner.clone()).or_default();
        let stock = self.of.entry(line.clone()).or_default();
        if stand.at.is_some() {
            let queue = &mut stock.queues[usize::from(stand.proven.is_some())];
            stand.at = Some(queue.len());
            queue.push(resource);
            self.by_rank.insert(rank(&line, priority, resource, &stand));
            *self.in_pool.entry((line.network, line.sort, stand.pool)).or_default() += 1;
        }
        self.count += 1;
        *self.of_owner.entry(line.owner.clone()).or_default() += 1;
        stock.kept += usize::from(stand.kept);
        stock.shadows.insert(resource, stand);
    }

    fn remove(&mut self, line: &Line, resource: Resource) -> Option<Stand> {
        let stock = self.of.get_mut(line)?;
        let stand = stock.shadows.remove(&resource)?;
        let priority = self.priorities.get(&line.owner).copied().unwrap_or_default();
        self.count -= 1;
        if let Some(count) = self.of_owner.get_mut(&line.owner) {
            *count -= 1;
            if *count == 0 {
                self.of_owner.remove(&line.owner);
            }
        }
        if let Some(at) = stand.at {
            self.by_rank.remove(&rank(line, priority, resource, &stand));
            if let Some(count) = self.in_pool.get_mut(&(line.network, line.sort, stand.pool)) {
                *count -= 1;
            }
            stock.unqueue(usize::from(stand.proven.is_some()), at);
        }
        stock.kept -= usize::from(stand.kept);
        if stock.shadows.is_empty() {
            self.of.remove(line);
        }
        Some(stand)
    }
}

impl Stock {
    fn stocked(&self) -> Stocked {
        let [unproven, ready] = &self.queues;
        let (ready, unproven) = (ready.len(), unproven.len());
        let promised = self.shadows.len() - ready - unproven;
        Stocked { ready, unproven, promised, kept: self.kept }
    }

    fn unqueue(&mut self, queue: usize, at: usize) {
        let queue = &mut self.queues[queue];
        queue.swap_remove(at);
        if let Some(moved) = queue.get(at)
            && let Some(stand) = self.shadows.get_mut(moved)
        {
            stand.at = Some(at);
        }
    }
}

fn rank(line: &Line, priority: u8, resource: Resource, stand: &Stand) -> Rank {
    (line.network, line.sort, stand.pool, priority, stand.since, resource)
}

/// The resource of a sort before all others.
fn lowest(sort: Sort) -> Resource {
    match sort {
        Sort::V4 => Resource::V4(std::net::Ipv4Addr::UNSPECIFIED),
        Sort::V6 => Resource::V6(std::net::Ipv6Addr::UNSPECIFIED),
        Sort::Prefix6 => Resource::Prefix6(std::net::Ipv6Addr::UNSPECIFIED, 0),
    }
}
