//! The tiers of one pool: how many addresses each has, and how many it may have.
//!
//! A tier is a number of addresses. Any free address can become part of any tier, and leaves it
//! when it is free again: so sizes move, and nobody is renumbered.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use crate::config::policy::{Tier, TierOrder};

/// How one tier stands in a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// At least so many are kept for it.
    pub min: u128,
    /// It never has more.
    pub max: u128,
    /// So many are kept for it now.
    pub size: u128,
    /// So many it has: bound, offered, or held.
    pub used: u128,
}

/// The tiers of a pool.
#[derive(Debug, Default)]
pub struct Shares {
    shares: [Share; 3],
    /// Which tier each address that is not free counts for, and what can be done about it.
    of: HashMap<u128, (Tier, Hold)>,
    /// What can be moved, tier by tier, of the lowest score first.
    movable: BTreeSet<(Tier, Score, u128)>,
    /// What is being moved.
    draining: BTreeSet<u128>,
}

type Score = u16;

/// Whether an address can be freed by moving its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// It cannot: an offer, or what is kept for somebody.
    #[default]
    Fixed,
    /// A lease with this lifecycle score.
    Movable(u16),
    /// A lease whose client is to move.
    Draining,
}

/// Above what is used, a share of it is kept for who comes next: one part in so many.
const HEADROOM: u128 = 8;
/// Of what is kept and not used, one part in so many is given up at a time.
const SHRINK: u128 = 16;

impl Shares {
    /// With these bounds, in the order of [`Tier::ALL`].
    pub fn new(bounds: [(u128, u128); 3]) -> Shares {
        let share = |(min, max)| Share { min, max, size: min, used: 0 };
        Shares { shares: bounds.map(share), ..Shares::default() }
    }

    /// How a tier stands.
    pub fn share(&self, tier: Tier) -> Share {
        self.shares[tier as usize]
    }

    /// Which tier an address counts for.
    pub fn tier(&self, value: u128) -> Option<Tier> {
        self.of.get(&value).map(|(tier, _)| *tier)
    }

    /// The first of these tiers that may have one of the `free` addresses, of which this one is; or
    /// that has this one already.
    pub fn choose(&self, order: &TierOrder, free: u128, value: u128) -> Option<Tier> {
        let now = self.tier(value);
        order.tiers().find(|tier| Some(*tier) == now || self.has_room(*tier, free, now))
    }

    /// Whether one of these tiers may have one of the `free` addresses.
    pub fn has_room_for(&self, order: &TierOrder, free: u128) -> bool {
        order.tiers().any(|tier| self.has_room(tier, free, None))
    }

    /// Counts an address for a tier, and no more for the one it was of.
    pub fn assign(&mut self, value: u128, tier: Tier) {
        let hold = self.release(value);
        self.of.insert(value, (tier, Hold::Fixed));
        self.shares[tier as usize].used += 1;
        self.note(value, hold);
    }

    /// Counts an address for none: it is free. What could be done about it before.
    pub fn release(&mut self, value: u128) -> Hold {
        let Some((tier, hold)) = self.of.remove(&value) else { return Hold::Fixed };
        self.shares[tier as usize].used -= 1;
        self.unlist(value, tier, hold);
        hold
    }

    /// Notes what can be done about an address that counts for a tier.
    pub fn note(&mut self, value: u128, hold: Hold) {
        let Some((tier, before)) = self.of.get_mut(&value) else { return };
        if *before == hold {
            return;
        }
        let (tier, before) = (*tier, std::mem::replace(before, hold));
        self.unlist(value, tier, before);
        match hold {
            Hold::Movable(score) => drop(self.movable.insert((tier, score, value))),
            Hold::Draining => drop(self.draining.insert(value)),
            Hold::Fixed => {}
        }
    }

    fn unlist(&mut self, value: u128, tier: Tier, hold: Hold) {
        match hold {
            Hold::Movable(score) => drop(self.movable.remove(&(tier, score, value))),
            Hold::Draining => drop(self.draining.remove(&value)),
            Hold::Fixed => {}
        }
    }

    /// What a tier and those above it lack of what is kept for them.
    pub fn lacks(&self, tier: Tier) -> u128 {
        let of = Tier::ALL.into_iter().filter(|other| *other <= tier).map(|tier| self.share(tier));
        of.map(|share| share.size.saturating_sub(share.used)).fold(0, u128::saturating_add)
    }

    /// What can be moved of a tier, of the lowest score first.
    pub fn movable(&self, tier: Tier) -> impl Iterator<Item = (u16, u128)> + '_ {
        let of = self.movable.range((tier, 0, 0)..=(tier, u16::MAX, u128::MAX));
        of.map(|(_, score, value)| (*score, *value))
    }

    /// What is being moved.
    pub fn draining(&self) -> impl ExactSizeIterator<Item = u128> + '_ {
        self.draining.iter().copied()
    }

    /// All that count for a tier.
    pub fn iter(&self) -> impl Iterator<Item = (u128, Tier)> + '_ {
        self.of.iter().map(|(value, (tier, _))| (*value, *tier))
    }

    /// What is kept for each tier follows what it has, in a pool of `all`: it grows at once, and
    /// where it `may_shrink`, does so slowly; but not while addresses are being freed for it.
    pub fn resize(&mut self, all: u128, may_shrink: bool) {
        let may_shrink = may_shrink && self.draining.is_empty();
        let mut left = all;
        for share in &mut self.shares {
            let wanted = share.used.saturating_add(share.used.div_ceil(HEADROOM));
            let given_up = share.size.saturating_sub(wanted).div_ceil(SHRINK);
            let rest = share.size - if may_shrink { given_up } else { 0 };
            share.size = wanted.max(rest).clamp(share.min, share.max).min(left);
            left -= share.size;
        }
    }

    /// Hot was asked for in vain, in a pool of `all`: one more is kept for it, at the cost of the
    /// others, unless it lacks its headroom already.
    pub fn want_hot(&mut self, all: u128) {
        let hot = &mut self.shares[Tier::Hot as usize];
        let headroom = hot.used.div_ceil(HEADROOM).max(1);
        if hot.size < hot.used.saturating_add(headroom) {
            hot.size = (hot.size + 1).min(hot.max);
        }
        let mut left = all;
        for share in &mut self.shares {
            share.size = share.size.min(left);
            left -= share.size;
        }
    }

    /// Whether a tier may have one of the `free`, or one of another tier (`from`).
    ///
    /// What a tier lacks of its least is kept from all that have theirs; what it lacks of its size,
    /// from those below it. So the first that is short always finds room, if anything is free.
    fn has_room(&self, tier: Tier, free: u128, from: Option<Tier>) -> bool {
        let own = self.share(tier);
        if own.used >= own.max {
            return false;
        }
        let kept = Tier::ALL.into_iter().filter(|other| *other != tier).map(|other| {
            let share = self.share(other);
            // What it gives up, it lacks.
            let used = share.used - u128::from(from == Some(other));
            let kept = match (other < tier, own.used < own.min) {
                (true, true) | (false, false) => share.min,
                (true, false) => share.size,
                (false, true) => 0,
            };
            kept.saturating_sub(used)
        });
        free > kept.fold(0, u128::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use Tier::{Cold, Hot, Warm};

    /// A pool of ten: two for hot at least, four for cold at most.
    fn shares() -> Shares {
        Shares::new([(2, 10), (0, 10), (0, 4)])
    }

    fn fill(shares: &mut Shares, order: &[Tier], free: &mut u128, values: std::ops::Range<u128>) {
        for value in values {
            let Some(tier) = shares.choose(&TierOrder::of(order), *free, value) else { continue };
            shares.assign(value, tier);
            shares.resize(10, false);
            *free -= 1;
        }
    }

    #[test]
    fn what_is_kept_for_one_is_not_given_to_another() {
        let (mut shares, mut free) = (shares(), 10);
        fill(&mut shares, &[Cold], &mut free, 0..10);
        assert_eq!(shares.share(Cold).used, 4);
        fill(&mut shares, &[Warm, Cold], &mut free, 10..20);
        assert_eq!((shares.share(Warm).used, free), (4, 2));
        fill(&mut shares, &[Hot, Warm], &mut free, 20..30);
        assert_eq!((shares.share(Hot).used, free), (2, 0));
        shares.release(0);
        assert_eq!(shares.choose(&TierOrder::of(&[Hot]), 1, 0), Some(Hot));
        assert_eq!(shares.choose(&TierOrder::of(&[Cold]), 1, 0), None, "hot would have one more");
    }

    #[test]
    fn whatever_happened_the_last_address_is_for_somebody() {
        for used in [[3, 3, 3], [0, 9, 0], [0, 0, 9], [9, 0, 0], [1, 4, 4], [5, 0, 4]] {
            let mut shares = Shares::new([(3, 10), (2, 10), (2, 10)]);
            let mut value = 0..;
            for (tier, count) in Tier::ALL.into_iter().zip(used) {
                value.by_ref().take(count).for_each(|value| shares.assign(value, tier));
            }
            shares.resize(10, true);
            assert!(shares.has_room_for(&TierOrder::of(&Tier::ALL), 1), "{used:?}");
        }
    }

    #[test]
    fn an_address_moves_to_a_better_tier_where_it_stands() {
        let (mut shares, mut free) = (Shares::new([(0, 1), (0, 10), (0, 10)]), 10);
        let order = TierOrder::of(&[Hot, Warm]);
        fill(&mut shares, &[Hot, Warm], &mut free, 0..2);
        assert_eq!((shares.tier(0), shares.tier(1)), (Some(Hot), Some(Warm)));
        assert_eq!(shares.choose(&order, free + 1, 1), Some(Warm), "hot is full");
        shares.release(0);
        assert_eq!(shares.choose(&order, free + 2, 1), Some(Hot));
        // What it had it leaves to warm, and hot lacks one.
        assert_eq!(shares.choose(&TierOrder::of(&[Cold]), 3, 1), None);
        assert_eq!(shares.choose(&TierOrder::of(&[Cold]), 4, 1), Some(Cold));
    }

    #[test]
    fn what_can_be_moved_is_known_by_tier_and_score() {
        let (mut shares, mut free) = (shares(), 10);
        fill(&mut shares, &[Cold], &mut free, 0..3);
        fill(&mut shares, &[Warm], &mut free, 3..5);
        shares.note(0, Hold::Movable(7));
        shares.note(1, Hold::Movable(3));
        shares.note(2, Hold::Draining);
        shares.note(3, Hold::Movable(1));
        shares.note(9, Hold::Movable(1));
        let cold = |shares: &Shares| shares.movable(Cold).collect::<Vec<_>>();
        assert_eq!(cold(&shares), [(3, 1), (7, 0)]);
        assert_eq!(shares.movable(Warm).collect::<Vec<_>>(), [(1, 3)]);
        assert_eq!(shares.draining().collect::<Vec<_>>(), [2]);
        // It stays what it is in another tier, and is forgotten when it is free.
        shares.assign(3, Cold);
        assert_eq!(cold(&shares), [(1, 3), (3, 1), (7, 0)]);
        assert_eq!((shares.release(1), shares.release(2)), (Hold::Movable(3), Hold::Draining));
        assert_eq!((cold(&shares), shares.draining().len()), (vec![(1, 3), (7, 0)], 0));
    }

    #[test]
    fn what_hot_asked_for_in_vain_is_kept_for_it_until_it_has_its_headroom() {
        let mut shares = Shares::new([(0, 10), (0, 10), (0, 10)]);
        (0..10).for_each(|value| shares.assign(value, Cold));
        shares.resize(10, false);
        (0..3).for_each(|_| shares.want_hot(10));
        assert_eq!([Hot, Warm, Cold].map(|tier| shares.share(tier).size), [1, 0, 9]);
        // While somebody moves for that, it stays so.
        shares.note(3, Hold::Draining);
        shares.resize(10, true);
        assert_eq!(shares.lacks(Hot), 1);
        shares.release(3);
        shares.resize(10, true);
        assert_eq!(shares.lacks(Hot), 0);
    }

    #[test]
    fn what_is_lacking_is_that_of_all_above_too() {
        let mut shares = Shares::new([(2, 10), (3, 10), (0, 10)]);
        shares.assign(0, Hot);
        assert_eq!([Hot, Warm, Cold].map(|tier| shares.lacks(tier)), [1, 4, 4]);
    }

    #[test]
    fn sizes_follow_demand_up_at_once_and_down_slowly() {
        let mut shares = Shares::new([(2, 50), (0, 100), (0, 100)]);
        (0..40).for_each(|value| shares.assign(value, Hot));
        shares.resize(100, false);
        assert_eq!(shares.share(Hot).size, 45);
        for value in 0..40 {
            shares.release(value);
        }
        shares.resize(100, false);
        assert_eq!(shares.share(Hot).size, 45);
        shares.resize(100, true);
        assert_eq!(shares.share(Hot).size, 42);
        (0..200).for_each(|_| shares.resize(100, true));
        assert_eq!(shares.share(Hot).size, 2);
        // All of it together is no more than there is.
        (0..60).for_each(|value| shares.assign(value, Warm));
        (60..100).for_each(|value| shares.assign(value, Cold));
        shares.resize(100, true);
        assert_eq!([Hot, Warm, Cold].map(|tier| shares.share(tier).size), [2, 68, 30]);
    }
}
