//! How likely and how valuable the future use of an address is: its lifecycle score.
//!
//! Nothing is ever recomputed because time has passed. While an address is in use its score stands;
//! once it is free its score halves every half-life, as that of all others does. So the order of
//! free addresses does not change, and is found once, when the use ends: [`Score::rank`].

use crate::base::{Span, Timestamp};
use crate::config::policy::Lifecycle;

use super::{Lease, State};

/// A share of one, in 1/65535.
pub type Share = u16;

const ONE: u32 = 1 << 8;
/// As often as this bound within a half-life, an address is half as often used as can be.
const OFTEN: u32 = 4 * ONE;
/// So often one is halved until nothing is left of it.
const FAINTEST: u64 = 17;

/// What is remembered of the use of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uses {
    /// How often it was bound, in 1/256; it halves every half-life that the address is free.
    pub binds: u16,
    /// The traffic of its holder, as far as that is known: 0 for none, 255 for all there can be.
    pub traffic: u8,
}

/// Bound once, by somebody of whom nothing is known.
impl Default for Uses {
    fn default() -> Uses {
        Uses { binds: ONE as u16, traffic: 0 }
    }
}

impl Uses {
    /// Never bound.
    pub const NONE: Uses = Uses { binds: 0, traffic: 0 };

    /// How much traffic somebody has: seven steps for each doubling, so that 255 is more than any
    /// machine has. Of bytes a second, or of a thousand a second for each open connection.
    pub fn traffic_of(bytes_per_s: f64, connections: f64) -> u8 {
        let most = bytes_per_s.max(connections * 1000.0);
        // What is no number is nothing; as a whole number it ends at 255.
        ((1.0 + most.max(0.0)).log2() * 7.0) as u8
    }

    /// With what its holder's traffic is by now: it follows new figures by a quarter each time, so
    /// that one quiet moment forgets nothing.
    pub fn with_traffic(self, now: u8) -> Uses {
        let (old, new) = (i16::from(self.traffic), i16::from(now));
        let step = match (new - old) / 4 {
            0 => (new - old).signum(),
            step => step,
        };
        Uses { traffic: u8::try_from(old + step).unwrap_or(self.traffic), ..self }
    }

    /// Of an address with this binding, by `now`.
    pub fn left(before: Option<&Lease>, now: Timestamp, half_life: Span) -> Uses {
        let Some(before) = before else { return Uses::NONE };
        let age = match before.state {
            State::Expired | State::Released => now.since(before.until),
            State::Leased | State::Shadow | State::Quarantined(_) => Span::ZERO,
        };
        Uses { binds: decay(before.uses.binds, age, half_life), ..before.uses }
    }

    /// Of an address whose binding becomes `new`: a lease that was none is one bind more.
    pub fn next(before: Option<&Lease>, new: &Lease, half_life: Span) -> Uses {
        match (before, new.state) {
            (Some(before), State::Expired | State::Released | State::Quarantined(_)) => before.uses,
            (Some(before), state) if before.state == state => before.uses,
            (_, State::Leased) => {
                let left = Uses::left(before, new.updated, half_life);
                let binds = u32::from(left.binds) + ONE;
                Uses { binds: u16::try_from(binds).unwrap_or(u16::MAX), traffic: 0 }
            }
            (_, State::Shadow) => Uses::left(before, new.updated, half_life),
            (None, _) => new.uses,
        }
    }
}

/// The parts of a lifecycle score when the use of an address ended, or now while it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    /// How often it is bound.
    pub frequency: Share,
    /// The traffic that its holder is expected to have.
    pub traffic: Share,
    /// How critical what runs there is.
    pub criticality: Share,
    /// Since when it fades; `None` while it is in use.
    pub ended: Option<Timestamp>,
}

impl Score {
    /// Of an address of which nothing is remembered.
    pub const NONE: Score = Score { frequency: 0, traffic: 0, criticality: 0, ended: None };

    /// Of a binding whose holder is of this priority, 0 to `most`; `None` for one without owner.
    pub fn of(lease: &Lease, priority: Option<u8>, most: u8) -> Score {
        let binds = u32::from(lease.uses.binds);
        let whole = u32::from(Share::MAX);
        let share = |part: u32, of: u32| (part.saturating_mul(whole) / of.max(1)).min(whole);
        Score {
            frequency: share(binds, binds + OFTEN) as Share,
            traffic: share(lease.uses.traffic.into(), u8::MAX.into()) as Share,
            criticality: share(priority.unwrap_or(0).into(), most.into()) as Share,
            ended: lease.state.is_remembered().then_some(lease.until),
        }
    }

    /// The weighted mean of its parts, before anything faded.
    pub fn whole(&self, policy: &Lifecycle) -> Share {
        let parts = [
            (self.frequency, policy.frequency),
            (self.traffic, policy.traffic),
            (self.criticality, policy.criticality),
        ];
        let weighted =
            |sum: u64, (part, weight): (Share, u32)| sum + u64::from(part) * u64::from(weight);
        let weights: u64 = parts.iter().map(|(_, weight)| u64::from(*weight)).sum();
        (parts.into_iter().fold(0, weighted) / weights.max(1)) as Share
    }

    /// What is left of it at `now`.
    pub fn at(&self, policy: &Lifecycle, now: Timestamp) -> Share {
        let age = self.ended.map_or(Span::ZERO, |ended| now.since(ended));
        decay(self.whole(policy), age, policy.half_life)
    }

    /// Where it stands among those that are free, the lowest first: the moment at which a score of
    /// one would have had to end to be as low at any later time. Of equal scores, who ended first.
    pub fn rank(&self, policy: &Lifecycle) -> Timestamp {
        let ended = self.ended.unwrap_or_default();
        let (steps, rest) = halvings(self.whole(policy));
        let half = policy.half_life.0;
        let part = u128::from(half) * u128::from(rest) / u128::from(Share::MAX);
        let part = u64::try_from(part).unwrap_or(u64::MAX);
        ended - Span(half.saturating_mul(steps).saturating_add(part))
    }
}

/// What is left of `value` after `age`: halved each half-life, and straight in between.
fn decay(value: u16, age: Span, half_life: Span) -> u16 {
    let half = half_life.0.max(1);
    let steps = u32::try_from(age.0 / half).unwrap_or(u32::MAX);
    let Some(left) = u32::from(value).checked_shr(steps) else { return 0 };
    let rest = u128::from(age.0 % half) * u128::from(left) / (2 * u128::from(half));
    (left - rest as u32) as u16
}

/// How often one must be halved to be `share`, whole times and a share of one more time: the way
/// back of [`decay`].
fn halvings(share: Share) -> (u64, Share) {
    if share == 0 {
        return (FAINTEST, 0);
    }
    // The next power of two above, as a share: 1, 1/2, 1/4 ...
    let steps = u64::from(share.leading_zeros());
    let above = 1u64 << (16 - steps);
    let below = above - u64::from(share);
    (steps, (below * 2 * u64::from(Share::MAX) / above) as Share)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Span = Span::from_secs(86_400);

    fn policy() -> Lifecycle {
        Lifecycle { half_life: DAY, ..Lifecycle::DEFAULT }
    }

    fn score(frequency: Share, criticality: Share, ended: Timestamp) -> Score {
        Score { frequency, traffic: 0, criticality, ended: Some(ended) }
    }

    #[test]
    fn a_score_halves_with_its_half_life() {
        assert_eq!(decay(1000, Span::ZERO, DAY), 1000);
        assert_eq!(decay(1000, DAY, DAY), 500);
        assert_eq!(decay(1000, Span(DAY.0 / 2), DAY), 750);
        assert_eq!(decay(1000, Span(DAY.0 * 3), DAY), 125);
        assert_eq!(decay(u16::MAX, Span::FOREVER, Span(1)), 0);
    }

    #[test]
    fn traffic_is_told_in_steps_and_followed_slowly() {
        assert_eq!(Uses::traffic_of(0.0, 0.0), 0);
        assert_eq!(Uses::traffic_of(1023.0, 0.0), 70);
        assert_eq!(Uses::traffic_of(0.0, 1.023), 70);
        assert_eq!(Uses::traffic_of(1e18, 0.0), 255);
        assert_eq!(Uses::traffic_of(f64::NAN, -5.0), 0);
        let mut uses = Uses::default();
        uses = uses.with_traffic(100);
        assert_eq!(uses.traffic, 25);
        for _ in 0..100 {
            uses = uses.with_traffic(100);
        }
        assert_eq!(uses.traffic, 100);
        assert_eq!(uses.with_traffic(98).traffic, 99);
    }

    #[test]
    fn what_ended_first_is_the_first_of_equals_and_what_is_worth_more_comes_later() {
        let ranked = |frequency, criticality, ended| {
            score(frequency, criticality, Timestamp::from_secs(ended)).rank(&policy())
        };
        assert!(ranked(100, 0, 10_000_000) < ranked(100, 0, 10_000_001));
        assert!(ranked(100, 0, 10_000_001) < ranked(200, 0, 10_000_000));
        assert!(ranked(100, 0, 10_000_001) < ranked(100, 5000, 10_000_000));
        assert!(ranked(0, 0, 10_000_001) < ranked(3, 0, 10_000_000));
    }

    proptest! {
        /// Who is lower in rank is lower by its score, at any time after both ended.
        #[test]
        fn the_order_holds_at_all_times(
            one in (0..=Share::MAX, 0..100_000u64),
            other in (0..=Share::MAX, 0..100_000u64),
            later in 0..1_000_000u64,
        ) {
            let start = 100_000_000;
            let of = |(value, at): (Share, u64)| {
                score(value, value, Timestamp::from_secs(start + at))
            };
            let (one, other) = (of(one), of(other));
            let now = Timestamp::from_secs(start + 100_000 + later);
            if one.rank(&policy()) < other.rank(&policy()) {
                let (low, high) = (one.at(&policy(), now), other.at(&policy(), now));
                // Rounding, and straight lines for curves: within 7 %, and one unit of the least.
                prop_assert!(f64::from(low) <= f64::from(high) * 1.07 + 2.0, "{low} {high}");
            }
        }
    }
}
