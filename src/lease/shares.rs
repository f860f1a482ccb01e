//! The tiers of one pool: how many addresses each has, and how many it may have.
//!
//! A tier is a number of addresses. Any free address can become part of any tier, and leaves it
//! when it is free again: so sizes move, and nobody is renumbered.

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
    /// Which tier each address that is not free counts for.
    of: HashMap<u128, Tier>,
}

/// Above what is used, a share of it is kept for who comes next: one part in so many.
const HEADROOM: u128 = 8;
/// Of what is kept and not used, one part in so many is given up at a time.
const SHRINK: u128 = 16;

impl Shares {
    /// With these bounds, in the order of [`Tier::ALL`].
    pub fn new(bounds: [(u128, u128); 3]) -> Shares {
        let share = |(min, max)| Share { min, max, size: min, used: 0 };
        Shares { shares: bounds.map(share), of: HashMap::new() }
    }

    /// How a tier stands.
    pub fn share(&self, tier: Tier) -> Share {
        self.shares[tier as usize]
    }

    /// Which tier an address counts for.
    pub fn tier(&self, value: u128) -> Option<Tier> {
        self.of.get(&value).copied()
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
        self.release(value);
        self.of.insert(value, tier);
        self.shares[tier as usize].used += 1;
    }

    /// Counts an address for none: it is free.
    pub fn release(&mut self, value: u128) {
        if let Some(tier) = self.of.remove(&value) {
            self.shares[tier as usize].used -= 1;
        }
    }

    /// All that count for a tier.
    pub fn iter(&self) -> impl Iterator<Item = (u128, Tier)> + '_ {
        self.of.iter().map(|(value, tier)| (*value, *tier))
    }

    /// What is kept for each tier follows what it has, in a pool of `all`: it grows at once, and
    /// where it `may_shrink`, does so slowly.
    pub fn resize(&mut self, all: u128, may_shrink: bool) {
        let mut left = all;
        for share in &mut self.shares {
            let wanted = share.used.saturating_add(share.used.div_ceil(HEADROOM));
            let given_up = share.size.saturating_sub(wanted).div_ceil(SHRINK);
            let rest = share.size - if may_shrink { given_up } else { 0 };
            share.size = wanted.max(rest).clamp(share.min, share.max).min(left);
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
    fn sizes_follow_demand_up_at_once_and_down_slowly() {
        let mut shares = Shares::new([(2, 50), (0, 100), (0, 100)]);
        (0..40).for_each(|value| shares.assign(value, Hot));
        shares.resize(100, false);
        assert_eq!(shares.share(Hot).size, 45);
        (0..40).for_each(|value| shares.release(value));
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
