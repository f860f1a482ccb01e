//! How often the kernel is asked for its tables: whoever forges addresses makes them long, and
//! overruns us with what changes, so that to ask again and again would leave time for nothing else.

use std::time::{Duration, Instant};

/// How much longer than a listing took the table is not listed again.
const REST: u32 = 20;
/// Single questions that are asked in [`WINDOW`].
const QUESTIONS_MAX: u32 = 64;
const WINDOW: Duration = Duration::from_secs(1);

/// A table that may not be what the kernel has, and when it may be listed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    is_stale: bool,
    rests_until: Option<Instant>,
}

impl Listing {
    /// What is known is not all: it is to be listed.
    pub(super) fn spoil(&mut self) {
        self.is_stale = true;
    }

    /// Whether what is known may not be all.
    pub(super) fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Whether it is to be listed now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.is_stale && self.rests_until.is_none_or(|until| until <= now)
    }

    /// It was listed, as a whole or not.
    pub(super) fn listed(&mut self, begun: Instant, now: Instant, whole: bool) {
        self.is_stale = !whole;
        self.rests_until = Some(now + now.saturating_duration_since(begun) * REST);
    }
}

/// Questions that may still be asked.
#[derive(Debug, Default)]
pub(super) struct Questions {
    window: Option<Instant>,
    asked: u32,
}

impl Questions {
    /// Whether one more may be asked; then it counts.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.window.is_none_or(|begun| now.saturating_duration_since(begun) >= WINDOW) {
            (self.window, self.asked) = (Some(now), 0);
        }
        let has = self.asked < QUESTIONS_MAX;
        self.asked += u32::from(has);
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_rests_as_long_as_it_was_work() {
        let (mut table, start) = (Listing::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!table.is_due(at(0)));
        table.spoil();
        assert!(table.is_due(at(0)));
        table.listed(at(0), at(10), true);
        assert!(!table.is_stale());
        table.spoil();
        assert!(!table.is_due(at(209)) && table.is_due(at(210)));
        table.listed(at(210), at(220), false);
        assert!(table.is_stale(), "a part of it is not all");
        assert!(!table.is_due(at(419)) && table.is_due(at(420)));
    }

    #[test]
    fn questions_are_few() {
        let (mut questions, start) = (Questions::default(), Instant::now());
        let asked = |q: &mut Questions, now| (0..1000).filter(|_| q.take(now)).count();
        assert_eq!(asked(&mut questions, start), 64);
        assert_eq!(asked(&mut questions, start + WINDOW / 2), 0);
        assert_eq!(asked(&mut questions, start + WINDOW), 64);
    }
}
