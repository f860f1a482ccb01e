//! How many instances came, by period: bounded, with gaps.

use std::collections::VecDeque;

use crate::forecast::creates::PERIODS_MAX;

/// A period of which nobody knows.
const UNKNOWN: u16 = u16::MAX;
/// Periods that say what is recent.
const RECENT: usize = 96;

/// One history; its last period is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    first: u64,
    counts: VecDeque<u16>,
}

impl History {
    /// One that begins now, in period `running` since the epoch.
    pub fn new(running: u64) -> History {
        History { first: running, counts: VecDeque::from([0]) }
    }

    /// One of these counts; `None` for periods of which nobody knows. Of too many the newest stay.
    /// Without any it is that of [`History::new`].
    pub fn from_counts(first: u64, counts: impl Iterator<Item = Option<u16>>) -> History {
        let mut history = History { first, counts: counts.map(|c| c.unwrap_or(UNKNOWN)).collect() };
        history.bound();
        if history.counts.is_empty() {
            history.counts.push_back(0);
        }
        history
    }

    /// The number of its first period since the epoch.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// That of the running one.
    pub fn running(&self) -> u64 {
        self.first + (self.counts.len() as u64).saturating_sub(1)
    }

    /// All counts, the oldest first.
    pub fn counts(&self) -> impl Iterator<Item = Option<u16>> {
        self.counts.iter().map(|count| Some(*count).filter(|count| *count != UNKNOWN))
    }

    /// The counts from a period on; not a number where nobody knows.
    pub fn since(&self, from: u64) -> impl Iterator<Item = f64> {
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.counts().skip(skip).map(|count| count.map_or(f64::NAN, f64::from))
    }

    /// That of the running period.
    pub fn newest(&self) -> u32 {
        self.counts.back().filter(|count| **count != UNKNOWN).map_or(0, |count| u32::from(*count))
    }

    /// How many came in the last 96 periods.
    pub fn recent(&self) -> u64 {
        let known = self.counts.iter().rev().take(RECENT).filter(|count| **count != UNKNOWN);
        known.map(|count| u64::from(*count)).sum()
    }

    /// Counts instances in the running period; more than 65,534 are as many.
    pub fn add(&mut self, count: u64) {
        if let Some(newest) = self.counts.back_mut() {
            let known = if *newest == UNKNOWN { 0 } else { u64::from(*newest) };
            let sum = known.saturating_add(count).min(u64::from(UNKNOWN - 1));
            *newest = u16::try_from(sum).unwrap_or(UNKNOWN - 1);
        }
    }

    /// Another period runs. Those between had no instances, or nobody knows how many if it was
    /// `silent`: then the one that ran is not known either.
    pub fn advance(&mut self, running: u64, silent: bool) {
        let steps = running.saturating_sub(self.running());
        if steps > PERIODS_MAX as u64 {
            *self = History::new(running);
            return;
        }
        if silent && let Some(newest) = self.counts.back_mut() {
            *newest = UNKNOWN;
        }
        for step in 1..=steps {
            self.counts.push_back(if silent && step < steps { UNKNOWN } else { 0 });
        }
        self.bound();
    }

    fn bound(&mut self) {
        let over = self.counts.len().saturating_sub(PERIODS_MAX);
        self.counts.drain(..over);
        self.first += over as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_watched_is_not_a_zero() {
        let mut history = History::new(10);
        history.add(3);
        history.advance(12, false);
        history.add(5);
        history.advance(15, true);
        let counts: Vec<_> = history.counts().collect();
        assert_eq!(counts, [Some(3), Some(0), None, None, None, Some(0)]);
        assert_eq!((history.running(), history.newest(), history.recent()), (15, 0, 3));
    }

    #[test]
    fn it_is_bounded_however_long_or_far_it_goes() {
        let mut history = History::new(0);
        for period in 1..PERIODS_MAX as u64 + 50 {
            history.advance(period, false);
        }
        assert_eq!((history.counts().count(), history.first()), (PERIODS_MAX, 50));
        history.advance(u64::MAX / 2, true);
        assert_eq!(history, History::new(u64::MAX / 2));
        history.add(u64::MAX);
        history.add(u64::MAX);
        assert_eq!(history.newest(), 65_534);
    }
}
