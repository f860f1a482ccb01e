//! What is free in one pool, in the order in which it is given out.
//!
//! A free address is in one of five places: *fresh* (never bound, or forgotten), *remembered*
//! (free, but its last client would like it back), being *proved* free on the wire, *proven*, or
//! *doubted* (free, but somebody answered for it when the wire was last asked).
//! New clients get a proven address; else the lowest fresh one; else the remembered one of the lowest
//! rank; and a doubted one when nothing else is left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::{Span, Timestamp};

use super::RangeSet;

/// The free addresses of a pool, as integers (an IPv4 address, an IPv6 address, or the index of a
/// delegated prefix). Costs grow with what was touched, not with the size of the range.
#[derive(Debug, Default)]
pub struct Pool {
    fresh: RangeSet,
    remembered: BTreeSet<(Timestamp, u128)>,
    ranks: BTreeMap<u128, Timestamp>,
    checked: BTreeMap<u128, Check>,
    queue: VecDeque<(u128, Timestamp)>,
    proven: usize,
    doubted: BTreeSet<u128>,
    /// Doubted, and being proved: few, as all that is checked.
    retried: BTreeSet<u128>,
    /// Where the next fresh value is looked for first.
    cursor: u128,
}

/// Where the proof of a free address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// A probe was sent; silence until then proves it free.
    Proving { until: Timestamp },
    /// Nobody answered at that moment.
    Proven { at: Timestamp },
}

impl Pool {
    /// A pool of `first..=last`, all fresh.
    pub fn new(first: u128, last: u128) -> Pool {
        let mut pool = Pool::default();
        pool.fresh.insert_range(first, last);
        pool
    }

    /// Begins the next search for a fresh value at `value`, so that a caller with randomness
    /// gives addresses that nobody can guess.
    pub fn look_from(&mut self, value: u128) {
        self.cursor = value;
    }

    /// What [`Pool::take_next`] would give if nothing were proven and it looked from `value`.
    pub fn peek_from(&self, value: u128) -> Option<u128> {
        let fresh = self.fresh.next_from(value).or_else(|| self.fresh.first());
        fresh.or_else(|| self.remembered.first().map(|(_, value)| *value))
    }

    /// Takes `first..=last` out for good: excluded, reserved, or held at start.
    pub fn exclude(&mut self, first: u128, last: u128) {
        self.fresh.remove_range(first, last);
    }

    /// Whether `value` is free.
    pub fn is_free(&self, value: u128) -> bool {
        self.fresh.contains(value)
            || self.ranks.contains_key(&value)
            || self.checked.contains_key(&value)
            || self.doubted.contains(&value)
    }

    /// Gives `value` back: it is free again, and if it has a rank it is remembered. Ranks are
    /// moments: without further policy, when its last binding ended.
    pub fn free(&mut self, value: u128, rank: Option<Timestamp>) {
        self.take(value);
        match rank {
            Some(rank) => {
                self.ranks.insert(value, rank);
                self.remembered.insert((rank, value));
            }
            None => {
                self.fresh.insert(value);
            }
        }
    }

    /// Gives `value` back, though somebody may still have it: the last to be given, until the wire
    /// is silent.
    pub fn free_doubted(&mut self, value: u128) {
        self.take(value);
        self.doubted.insert(value);
    }

    /// Whether nothing is free but what somebody may have.
    pub fn is_doubted(&self) -> bool {
        let doubted = self.doubted.len() + self.retried.len();
        doubted > 0 && self.available() == doubted as u128
    }

    /// What is free, and yet somebody may have.
    pub fn doubted(&self) -> impl Iterator<Item = u128> {
        self.doubted.iter().chain(&self.retried).copied()
    }

    /// Takes this very address; whether it was free.
    pub fn take(&mut self, value: u128) -> bool {
        let checked = self.uncheck(value);
        let remembered =
            self.ranks.remove(&value).is_some_and(|at| self.remembered.remove(&(at, value)));
        let doubted = self.doubted.remove(&value);
        self.fresh.remove(value) || remembered || checked || doubted
    }

    /// The next address for a new client, taken out, and whether it is proven.
    pub fn take_next(&mut self, now: Timestamp, fresh_for: Span) -> Option<(u128, bool)> {
        while let Some((value, at)) = self.queue.pop_front() {
            let current = self.checked.get(&value) == Some(&Check::Proven { at });
            if current && now < at + fresh_for {
                self.take(value);
                return Some((value, true));
            }
        }
        let checked = || self.checked.keys().find(|value| !self.retried.contains(value)).copied();
        let doubted = || self.doubted.first().or(self.retried.first()).copied();
        let next = self.next_unchecked().or_else(checked).or_else(doubted)?;
        self.take(next);
        Some((next, false))
    }

    /// The lowest free address of `first..=last` that nobody may still have, taken out, and whether
    /// it is proven.
    pub fn take_within(&mut self, first: u128, last: u128) -> Option<(u128, bool)> {
        let fresh = self.fresh.next_from(first);
        let ranked = self.ranks.range(first..).next().map(|(value, _)| *value);
        let mut checked = self.checked.range(first..).map(|(value, _)| *value);
        let checked = checked.find(|value| !self.retried.contains(value));
        let value = [fresh, ranked, checked].into_iter().flatten().min()?;
        let proven = matches!(self.checked.get(&value), Some(Check::Proven { .. }));
        (value <= last && self.take(value)).then_some((value, proven))
    }

    /// How many are proven, or about to be.
    pub fn checked(&self) -> usize {
        self.checked.len()
    }

    /// How many are proven.
    pub fn proven(&self) -> usize {
        self.proven
    }

    /// The next address to prove, in the order of allocation; from now on it is being proved.
    pub fn start_proof(&mut self, until: Timestamp) -> Option<u128> {
        let value = match self.next_unchecked() {
            Some(value) => value,
            None => {
                let value = self.doubted.pop_first()?;
                self.retried.insert(value);
                value
            }
        };
        // A remembered address stays remembered: its client may come back while it is proved.
        self.fresh.remove(value);
        if let Some(at) = self.ranks.get(&value) {
            self.remembered.remove(&(*at, value));
        }
        self.checked.insert(value, Check::Proving { until });
        Some(value)
    }

    /// The wire stayed silent: `value` is proven, unless it was taken meanwhile.
    pub fn prove(&mut self, value: u128, now: Timestamp) -> bool {
        match self.checked.get_mut(&value) {
            Some(check @ Check::Proving { .. }) => {
                *check = Check::Proven { at: now };
                self.queue.push_back((value, now));
                self.proven += 1;
                self.retried.remove(&value);
                true
            }
            _ => false,
        }
    }

    /// What the wire said cannot be known: `value` is free as before, if it was being proved.
    pub fn abandon_proof(&mut self, value: u128) {
        if matches!(self.checked.get(&value), Some(Check::Proving { .. })) {
            match self.retried.contains(&value) {
                true => self.free_doubted(value),
                false => self.free(value, self.ranks.get(&value).copied()),
            }
        }
    }

    /// Whether `value` is being proved or proven: an answer on the wire is news.
    pub fn is_checked(&self, value: u128) -> bool {
        self.checked.contains_key(&value)
    }

    /// Puts proofs as old as `fresh_for` back to be proved anew.
    pub fn age(&mut self, now: Timestamp, fresh_for: Span) {
        while let Some((value, at)) = self.queue.front().copied() {
            let current = self.checked.get(&value) == Some(&Check::Proven { at });
            if current && now < at + fresh_for {
                return;
            }
            self.queue.pop_front();
            if current {
                let rank = self.ranks.get(&value).copied();
                self.free(value, rank);
            }
        }
    }

    /// When the oldest proof gets stale.
    pub fn next_stale(&self, fresh_for: Span) -> Option<Timestamp> {
        self.queue.front().map(|(_, at)| *at + fresh_for)
    }

    /// How many are free.
    pub fn available(&self) -> u128 {
        let remembered = self.remembered.len() as u128;
        self.fresh
            .len()
            .saturating_add(remembered)
            .saturating_add(self.checked.len() as u128 + self.doubted.len() as u128)
    }

    fn next_unchecked(&self) -> Option<u128> {
        self.peek_from(self.cursor)
    }

    fn uncheck(&mut self, value: u128) -> bool {
        let check = self.checked.remove(&value);
        if matches!(check, Some(Check::Proven { .. })) {
            self.proven -= 1;
        }
        self.retried.remove(&value);
        check.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOR_EVER: Span = Span::FOREVER;

    fn drain(pool: &mut Pool) -> Vec<u128> {
        std::iter::from_fn(|| pool.take_next(Timestamp(0), FOR_EVER)).map(|(v, _)| v).collect()
    }

    #[test]
    fn fresh_comes_before_remembered_and_the_longest_away_before_the_last() {
        let mut pool = Pool::new(1, 5);
        for value in [3, 1] {
            assert!(pool.take(value));
        }
        pool.free(3, Some(Timestamp(20)));
        pool.free(1, Some(Timestamp(30)));
        assert_eq!(drain(&mut pool), [2, 4, 5, 3, 1]);
        assert_eq!(pool.take_next(Timestamp(0), FOR_EVER), None);
    }

    #[test]
    fn proven_comes_first_while_the_proof_is_fresh() {
        let mut pool = Pool::new(1, 3);
        assert_eq!(pool.start_proof(Timestamp(100)), Some(1));
        assert_eq!(pool.start_proof(Timestamp(100)), Some(2));
        assert!(pool.prove(2, Timestamp(100)));
        assert_eq!(pool.take_next(Timestamp(105), Span(10)), Some((2, true)));
        assert_eq!(pool.take_next(Timestamp(105), Span(10)), Some((3, false)));
        // What is being proved serves at last: an empty queue never stops an offer.
        assert_eq!(pool.take_next(Timestamp(105), Span(10)), Some((1, false)));
        assert!(!pool.prove(1, Timestamp(200)), "taken while it was being proved");
    }

    #[test]
    fn stale_proofs_are_proved_anew() {
        let mut pool = Pool::new(1, 1);
        pool.start_proof(Timestamp(0));
        pool.prove(1, Timestamp(1));
        assert_eq!(pool.next_stale(Span(10)), Some(Timestamp(11)));
        pool.age(Timestamp(10), Span(10));
        assert_eq!(pool.proven(), 1);
        // Who waits until it is stale finds it so, and does not wait again.
        pool.age(Timestamp(11), Span(10));
        assert_eq!((pool.proven(), pool.start_proof(Timestamp(20))), (0, Some(1)));
    }

    #[test]
    fn an_address_taken_by_name_leaves_the_queue() {
        let mut pool = Pool::new(1, 2);
        pool.start_proof(Timestamp(0));
        pool.prove(1, Timestamp(1));
        assert!(pool.take(1) && !pool.take(1));
        pool.free(1, Some(Timestamp(5)));
        assert_eq!(pool.take_next(Timestamp(2), FOR_EVER), Some((2, false)));
        assert_eq!(pool.take_next(Timestamp(2), FOR_EVER), Some((1, false)));
        assert_eq!(pool.available(), 0);
    }

    #[test]
    fn what_somebody_may_have_is_given_last_and_a_proof_clears_it() {
        let mut pool = Pool::new(1, 4);
        pool.take(1);
        pool.take(2);
        pool.free_doubted(1);
        pool.free(2, Some(Timestamp(7)));
        assert!(pool.is_free(1) && pool.available() == 4);
        // Being proved is no answer: it stays the last.
        let proving: Vec<_> = std::iter::from_fn(|| pool.start_proof(Timestamp(100))).collect();
        assert_eq!(proving, [3, 4, 2, 1]);
        assert_eq!(pool.available(), 4);
        assert_eq!(pool.take_next(Timestamp(50), FOR_EVER), Some((2, false)));
        pool.abandon_proof(1);
        assert_eq!(pool.doubted().collect::<Vec<_>>(), [1]);
        assert!(!pool.is_doubted());
        assert_eq!(drain(&mut pool), [3, 4, 1]);
        assert!(!pool.is_doubted(), "nothing is free at all");
        // Silent at last: as any other.
        pool.free_doubted(1);
        assert_eq!(pool.start_proof(Timestamp(200)), Some(1));
        assert!(pool.prove(1, Timestamp(200)));
        assert_eq!((pool.doubted().count(), pool.available()), (0, 1));
        pool.free(3, None);
        assert_eq!(pool.take_next(Timestamp(201), FOR_EVER), Some((1, true)));
        assert!(!pool.take(1));
    }

    #[test]
    fn being_proved_forgets_no_client() {
        let mut pool = Pool::new(1, 1);
        pool.take(1);
        pool.free(1, Some(Timestamp(7)));
        assert_eq!(pool.start_proof(Timestamp(10)), Some(1));
        assert_eq!(pool.available(), 1);
        pool.prove(1, Timestamp(10));
        pool.age(Timestamp(100), Span(10));
        assert_eq!(pool.take_next(Timestamp(100), Span(10)), Some((1, false)));
    }
}
