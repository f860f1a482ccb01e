//! Demand shadows, by whom they are held for: which can be claimed now, and which go first when
//! real clients need their addresses.
//!
//! What is durable of a shadow is its binding. Here stands what is not: whether its address was
//! proven free of late, and whether it is promised to a client by an offer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
    /// Of each pool and priority, without those that are promised.
    ranks: BTreeMap<Rank, Ranked>,
    /// Of each owner that has some.
    priorities: HashMap<Owner, u8>,
    /// Those of each pool that are not promised.
    in_pool: HashMap<(NetworkId, Sort, usize), u64>,
    /// How many each owner has, promised or not.
    of_owner: HashMap<Owner, u64>,
    count: usize,
}

/// No rank is made anew for fewer gaps.
const GAPS_MIN: usize = 4096;

/// Network, sort, pool and priority.
type Rank = (NetworkId, Sort, usize, u8);
/// Since when, and which.
type Age = (Timestamp, Resource);

/// Shadows of one rank, the oldest first: they come in that order, and those that are claimed, which
/// are the youngest of their lines, are struck out where they stand.
#[derive(Debug, Default)]
struct Ranked {
    /// By their numbers; `None` where one is gone, but not at the ends.
    made: VecDeque<Option<Age>>,
    /// The number of the first.
    first: u64,
    /// How many are left.
    left: usize,
    /// Those that came again, after an offer of them lapsed or a write was taken back.
    again: BTreeSet<Age>,
}

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
    /// Its number in its rank; `None` if it came again, or is promised.
    number: Option<u64>,
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
        let (of, resource) = self.first_rank(network, sort, pool)?;
        (of < priority).then_some(resource)
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
        self.first_rank(network, sort, pool).map(|(_, resource)| resource)
    }

    /// The lowest priority of a pool, and which of it goes first.
    fn first_rank(&self, network: NetworkId, sort: Sort, pool: usize) -> Option<(u8, Resource)> {
        let of_pool = (network, sort, pool, 0)..=(network, sort, pool, u8::MAX);
        let mut ranks = self.ranks.range(of_pool);
        ranks.find_map(|(rank, of)| of.oldest().map(|(_, resource)| (rank.3, resource)))
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
        let Some(stock) = self.of.get_mut(line) else { return };
        let Some(stand) = stock.shadows.get_mut(&resource) else { return };
        let before = std::mem::replace(&mut stand.proven, at).is_some();
        if let Some(place) = stand.at.filter(|_| before != at.is_some()) {
            stock.unqueue(usize::from(before), place);
            stock.enqueue(resource);
        }
    }

    /// A shadow is promised to a client, or not any more.
    pub fn set_promised(&mut self, line: &Line, resource: Resource, promised: bool) {
        let priority = self.priorities.get(&line.owner).copied().unwrap_or_default();
        let Some(stock) = self.of.get_mut(line) else { return };
        let Some(stand) = stock.shadows.get_mut(&resource) else { return };
        let (ranked, age) = (rank(line, priority, stand), (stand.since, resource));
        let ranked = self.ranks.entry(ranked).or_default();
        let in_pool = self.in_pool.entry((line.network, line.sort, stand.pool)).or_default();
        match (stand.at, promised) {
            (Some(place), true) => {
                ranked.strike(age, stand.number);
                *in_pool -= 1;
                (stand.at, stand.number) = (None, None);
                let queue = usize::from(stand.proven.is_some());
                stock.unqueue(queue, place);
            }
            (None, false) => {
                stand.number = ranked.add(age);
                *in_pool += 1;
                stock.enqueue(resource);
            }
            _ => {}
        }
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
        self.ranks.clear();
        self.in_pool.clear();
        let priorities = &self.priorities;
        let mut all: Vec<(Rank, Age, &mut Stand)> = Vec::new();
        for (line, stock) in &mut self.of {
            let priority = priorities.get(&line.owner).copied().unwrap_or_default();
            let free = stock.shadows.iter_mut().filter(|(_, stand)| stand.at.is_some());
            all.extend(free.map(|(resource, stand)| {
                (rank(line, priority, stand), (stand.since, *resource), stand)
            }));
        }
        all.sort_unstable_by_key(|(rank, age, _)| (*rank, *age));
        for (rank, age, stand) in all {
            stand.number = self.ranks.entry(rank).or_default().add(age);
            *self.in_pool.entry((rank.0, rank.1, rank.2)).or_default() += 1;
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
                number: None,
                kept: lease.details.foreseen.as_ref().is_some_and(|f| f.by == Foreseer::Operator),
            };
            self.insert(line, lease.resource, stand);
        }
    }

    fn insert(&mut self, line: Line, resource: Resource, mut stand: Stand) {
        let priority = *self.priorities.entry(line.owner.clone()).or_default();
        let stock = self.of.entry(line.clone()).or_default();
        if stand.at.is_some() {
            let queue = &mut stock.queues[usize::from(stand.proven.is_some())];
            stand.at = Some(queue.len());
            queue.push(resource);
            let ranked = self.ranks.entry(rank(&line, priority, &stand)).or_default();
            stand.number = ranked.add((stand.since, resource));
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
        let mut crumbles = false;
        if let Some(at) = stand.at {
            if let Some(ranked) = self.ranks.get_mut(&rank(line, priority, &stand)) {
                ranked.strike((stand.since, resource), stand.number);
                crumbles = ranked.crumbles();
            }
            if let Some(count) = self.in_pool.get_mut(&(line.network, line.sort, stand.pool)) {
                *count -= 1;
            }
            stock.unqueue(usize::from(stand.proven.is_some()), at);
        }
        stock.kept -= usize::from(stand.kept);
        if stock.shadows.is_empty() {
            self.of.remove(line);
        }
        if crumbles {
            self.rank_anew();
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

    /// Puts a shadow that is not promised where it belongs now.
    fn enqueue(&mut self, resource: Resource) {
        let Some(stand) = self.shadows.get_mut(&resource) else { return };
        let queue = &mut self.queues[usize::from(stand.proven.is_some())];
        stand.at = Some(queue.len());
        queue.push(resource);
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

impl Ranked {
    /// Adds one; its number, if it came in its order.
    fn add(&mut self, age: Age) -> Option<u64> {
        if self.made.back().is_some_and(|last| last.is_some_and(|last| last > age)) {
            self.again.insert(age);
            return None;
        }
        self.made.push_back(Some(age));
        self.left += 1;
        Some(self.first + self.made.len() as u64 - 1)
    }

    /// Takes one away.
    fn strike(&mut self, age: Age, number: Option<u64>) {
        let Some(number) = number else {
            self.again.remove(&age);
            return;
        };
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(place) = at.and_then(|at| self.made.get_mut(at)) {
            self.left -= usize::from(place.take().is_some());
        }
        while self.made.front().is_some_and(Option::is_none) {
            self.made.pop_front();
            self.first += 1;
        }
        while self.made.back().is_some_and(Option::is_none) {
            self.made.pop_back();
        }
    }

    /// Whether most of it is gaps.
    fn crumbles(&self) -> bool {
        self.made.len() > GAPS_MIN && self.left < self.made.len() / 4
    }

    fn oldest(&self) -> Option<Age> {
        let made = self.made.front().copied().flatten();
        made.into_iter().chain(self.again.first().copied()).min()
    }
}

fn rank(line: &Line, priority: u8, stand: &Stand) -> Rank {
    (line.network, line.sort, stand.pool, priority)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever comes, goes and comes again: the oldest is that of a plain set.
        #[test]
        fn the_oldest_of_a_rank_goes_first(
            steps in prop::collection::vec((any::<bool>(), 0..60_u64, any::<u8>()), 0..400),
        ) {
            let (mut ranked, mut plain) = (Ranked::default(), BTreeMap::new());
            for (adds, at, which) in steps {
                let age = (Timestamp(at), Resource::V4(Ipv4Addr::from_bits(which.into())));
                if adds && !plain.contains_key(&age) {
                    plain.insert(age, ranked.add(age));
                } else if let Some((age, number)) = plain.iter().nth(usize::from(which) % plain.len().max(1)) {
                    let age = *age;
                    ranked.strike(age, *number);
                    plain.remove(&age);
                }
                prop_assert_eq!(ranked.oldest(), plain.keys().next().copied());
                let numbered = plain.values().flatten().count();
                prop_assert_eq!(ranked.left, numbered);
                prop_assert!(ranked.made.len() >= numbered && ranked.made.front() != Some(&None));
            }
        }
    }

    #[test]
    fn gaps_do_not_pile_up() {
        let mut shadows = Shadows::default();
        let line =
            Line { network: NetworkId::of("lab"), sort: Sort::V4, owner: ("shop".into(), None) };
        let stand = |since| Stand {
            since: Timestamp(since),
            pool: 0,
            proven: None,
            at: Some(0),
            number: None,
            kept: false,
        };
        let addr = |n: u64| Resource::V4(Ipv4Addr::from_bits(n as u32));
        shadows.insert(line.clone(), addr(0), stand(0));
        // The oldest stays, and the others come and go, but for the one that came last.
        for n in 1..50_000 {
            shadows.insert(line.clone(), addr(n), stand(n));
            if n > 1 {
                assert!(shadows.remove(&line, addr(n - 1)).is_some());
            }
        }
        assert_eq!((shadows.len(), shadows.lowest(line.network, Sort::V4, 0)), (2, Some(addr(0))));
        assert_eq!(shadows.in_pool(line.network, Sort::V4, 0), 2);
        let gaps = shadows.ranks.values().map(|ranked| ranked.made.len()).sum::<usize>();
        assert!(gaps <= GAPS_MIN + 1, "{gaps}");
    }
}
