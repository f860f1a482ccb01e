//! The creates of one account by period, and what they say of the next period.

use crate::base::{Span, Timestamp};

use super::creates::PERIODS_MAX;

/// How many features a period has.
pub(super) const FEATURES: usize = 1 + 3 * PLAIN;
const PLAIN: usize = 19;

/// Larger counts count as such, beside their roots.
const COUNT_MAX: f32 = 50.0;
const DAY_S: i64 = 86_400;
/// Longer periods than a year, and times after the year 30,000, are none.
const STEP_MAX_S: i64 = 366 * DAY_S;
const START_MAX_S: i64 = 1_000_000_000_000;
/// An hour on both sides of a period is looked at, but no more periods than these.
const REACH_MAX: usize = 60;
/// Weights of the days before, the newest first.
const DAYS: [f32; 7] = [1.0, 0.8, 0.64, 0.5, 0.4, 0.32, 0.26];

/// Creates by period, without gaps.
#[derive(Clone, Debug)]
pub(super) struct Past {
    /// Number of the first period since the epoch.
    pub(super) first: i64,
    /// Seconds in a period; divides a day, or a day divides it.
    pub(super) step_s: i64,
    /// Creates in each period.
    pub(super) counts: Vec<f32>,
    /// Averages that forget by half in an hour, six hours and two days, after each period.
    averages: Vec<[f32; 3]>,
    /// The gains of those.
    gains: [f32; 3],
}

impl Past {
    /// `None` if there is nothing to go by. Gaps, negative and absurd values count as no creates.
    pub(super) fn new(start: Timestamp, step: Span, history: &[f64]) -> Option<Past> {
        let step_s = i64::try_from(step.0 / 1_000).ok()?;
        let start_s = i64::try_from(start.secs()).ok()?;
        if !(1..=STEP_MAX_S).contains(&step_s) || start_s > START_MAX_S {
            return None;
        }
        let skipped = history.len().saturating_sub(PERIODS_MAX);
        let first = start_s / step_s + i64::try_from(skipped).ok()?;
        let gains = [1.0f32, 6.0, 48.0].map(|hours| {
            let half_life = (hours * 3_600.0 / step_s as f32).max(0.5);
            1.0 - 0.5f32.powf(1.0 / half_life)
        });
        // Ten thousand pasts are much: no more is taken than is needed.
        let length = history.len() - skipped;
        let (counts, averages) = (Vec::with_capacity(length), Vec::with_capacity(length));
        let mut past = Past { first, step_s, counts, averages, gains };
        history[skipped..].iter().for_each(|&count| past.push(count));
        Some(past).filter(|past| !past.counts.is_empty())
    }

    /// Adds a period.
    pub(super) fn push(&mut self, count: f64) {
        let count = if count.is_finite() && count > 0.0 { count.min(1e9) as f32 } else { 0.0 };
        let last = self.averages.last().copied().unwrap_or([0.0; 3]);
        let mut next = last;
        for (average, gain) in next.iter_mut().zip(self.gains) {
            *average += gain * (count - *average);
        }
        self.counts.push(count);
        self.averages.push(next);
    }

    /// The same with other counts in some periods, which are in order.
    pub(super) fn with(&self, others: &[(usize, f32)]) -> Past {
        let Some(&(first, _)) = others.first() else { return self.clone() };
        let mut past = self.clone();
        past.cut(first);
        let mut others = others.iter().peekable();
        for (t, &count) in self.counts.iter().enumerate().skip(first) {
            let other = others.next_if(|other| other.0 == t);
            past.push(f64::from(other.map_or(count, |other| other.1)));
        }
        past
    }

    /// Forgets all but the first periods.
    fn cut(&mut self, periods: usize) {
        self.counts.truncate(periods);
        self.averages.truncate(periods);
    }

    /// Takes over newer periods, and keeps older ones that they do not have.
    pub(super) fn take(&mut self, newer: Past) {
        let known = newer.first - self.first;
        let joins = newer.step_s == self.step_s
            && usize::try_from(known).is_ok_and(|known| known <= self.counts.len());
        if !joins {
            *self = newer;
            return;
        }
        let known = usize::try_from(known).unwrap_or(0);
        self.cut(known);
        let excess = (known + newer.counts.len()).saturating_sub(PERIODS_MAX).min(known);
        self.counts.drain(..excess);
        self.averages.drain(..excess);
        self.first += i64::try_from(excess).unwrap_or(0);
        // Not twice as much, as vectors grow by themselves.
        self.counts.reserve_exact(newer.counts.len());
        self.averages.reserve_exact(newer.counts.len());
        newer.counts.iter().for_each(|&count| self.push(f64::from(count)));
    }

    /// When the last period ended, in seconds since the epoch.
    pub(super) fn end_s(&self) -> i64 {
        self.begins(self.counts.len())
    }

    /// When period `t` begins, in seconds since the epoch.
    pub(super) fn begins(&self, t: usize) -> i64 {
        (self.first + i64::try_from(t).unwrap_or(0)) * self.step_s
    }

    /// Creates by period over the last hours, after period `t`.
    pub(super) fn average(&self, t: usize) -> f32 {
        self.averages.get(t).map_or(0.0, |averages| averages[1])
    }

    /// Creates by period, on average.
    pub(super) fn mean(&self) -> f64 {
        let sum: f64 = self.counts.iter().map(|&count| f64::from(count)).sum();
        sum / self.counts.len().max(1) as f64
    }

    /// Periods in a day, at least one.
    fn day(&self) -> usize {
        usize::try_from(DAY_S / self.step_s).unwrap_or(1).max(1)
    }

    /// The first period that is worth learning from.
    pub(super) fn warm_up(&self) -> usize {
        self.day().min(self.counts.len() / 2)
    }

    /// What the periods before `t` say of it.
    pub(super) fn features(&self, t: usize) -> [f32; FEATURES] {
        let [hour, hours, days] =
            t.checked_sub(1).and_then(|at| self.averages.get(at)).copied().unwrap_or([0.0; 3]);
        let slots = self.slots(t);
        let (day, week) = (slots.day, slots.week);
        let plain: [f32; PLAIN] = [
            self.count(t, 1),
            self.count(t, 2),
            self.count(t, 3),
            hour,
            hours,
            days,
            day.exact,
            day.near,
            slots.mean.exact,
            slots.mean.near,
            week.exact,
            week.near,
            day.exact.max(week.exact),
            slots.most,
            slots.like,
            week.exact.min(day.exact),
            slots.mean.wide,
            slots.like_wide,
            week.wide,
        ];
        let mut features = [1.0; FEATURES];
        for (i, value) in plain.into_iter().enumerate() {
            features[1 + 3 * i] = value.min(1.0);
            features[2 + 3 * i] = value.sqrt();
            features[3 + 3 * i] = value.min(COUNT_MAX);
        }
        features
    }

    /// The creates of the period so far before `t`.
    fn count(&self, t: usize, back: usize) -> f32 {
        t.checked_sub(back).and_then(|at| self.counts.get(at)).copied().unwrap_or(0.0)
    }

    /// The same time, so far before `t`; of that only what was before `t`.
    fn slot(&self, t: usize, back: usize) -> Slot {
        let exact = self.count(t, back);
        let near = if back > 1 {
            (self.count(t, back - 1) + exact + self.count(t, back + 1)) / 3.0
        } else {
            exact
        };
        let reach = usize::try_from(3_600 / self.step_s).unwrap_or(0).clamp(1, REACH_MAX);
        let wide = t.checked_sub(back).map_or(0.0, |at| {
            let around = &self.counts[at.saturating_sub(reach)..(at + reach + 1).min(t)];
            around.iter().sum::<f32>() / around.len().max(1) as f32
        });
        Slot { exact, near, wide }
    }

    /// The same time on the days before `t`.
    fn slots(&self, t: usize) -> Slots {
        let (day, kind) = (self.day(), self.is_weekend(t));
        let mut slots = Slots { day: self.slot(t, day), ..Slots::default() };
        let (mut sum, mut like_sum) = (0.0, 0.0);
        let days = DAYS.into_iter().enumerate().map(|(i, weight)| ((i + 1) * day, weight));
        for (back, weight) in days.take_while(|&(back, _)| back <= t) {
            let slot = self.slot(t, back);
            slots.mean.exact += weight * slot.exact;
            slots.mean.near += weight * slot.near;
            slots.mean.wide += weight * slot.wide;
            sum += weight;
            slots.most = slots.most.max(slot.exact);
            if self.is_weekend(t - back) == kind {
                slots.like += weight * (slot.exact + slot.near) / 2.0;
                slots.like_wide += weight * slot.wide;
                like_sum += weight;
            }
        }
        let (sum, like_sum) = (f32::max(sum, 1.0), f32::max(like_sum, 0.2));
        slots.mean.exact /= sum;
        slots.mean.near /= sum;
        slots.mean.wide /= sum;
        slots.like /= like_sum;
        slots.like_wide /= like_sum;
        // Before a week is over, what the days had stands for it.
        slots.week = if t > 7 * day { self.slot(t, 7 * day) } else { slots.mean };
        slots
    }

    /// Whether a period begins on a Saturday or Sunday, in UTC.
    fn is_weekend(&self, t: usize) -> bool {
        // The epoch began on a Thursday.
        matches!((self.begins(t).div_euclid(DAY_S) + 4).rem_euclid(7), 0 | 6)
    }
}

/// Creates by period at a time of another day.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// In that period, over its neighbours too, and over an hour on both sides.
    exact: f32,
    near: f32,
    wide: f32,
}

/// The same time on earlier days.
#[derive(Clone, Copy, Debug, Default)]
struct Slots {
    /// A day and a week ago.
    day: Slot,
    week: Slot,
    /// Weighted means over the days of a week, and over those of the same kind.
    mean: Slot,
    like: f32,
    like_wide: f32,
    /// The most of any of them.
    most: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Span = Span::from_secs(900);

    fn past(first: u64, counts: &[f64]) -> Past {
        Past::new(Timestamp::from_secs(first * 900), STEP, counts).unwrap()
    }

    #[test]
    fn newer_periods_are_joined_to_older_ones() {
        let mut known = past(100, &[1.0, 2.0, 3.0]);
        known.take(past(102, &[4.0, 5.0]));
        assert_eq!((known.first, known.counts.as_slice()), (100, &[1.0, 2.0, 4.0, 5.0][..]));
        // What does not join takes its place.
        known.take(past(200, &[7.0]));
        assert_eq!((known.first, known.end_s()), (200, 201 * 900));
        known.take(past(50, &[8.0]));
        assert_eq!((known.first, known.counts.as_slice()), (50, &[8.0][..]));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = past(0, &vec![1.0; PERIODS_MAX]);
        known.take(past(PERIODS_MAX as u64, &[2.0; 10]));
        assert_eq!((known.counts.len(), known.first), (PERIODS_MAX, 10));
        assert!(known.counts.capacity() <= PERIODS_MAX && known.averages.len() == PERIODS_MAX);
        assert_eq!(past(0, &vec![1.0; PERIODS_MAX + 7]).first, 7);
    }

    #[test]
    fn features_look_back_only() {
        let counts: Vec<f64> = (0..1_500).map(|t| f64::from(t * 31 % 7)).collect();
        let mut later = counts.clone();
        later[1_000..].fill(9.0);
        for step in [60, 900, 3_600, 86_400].map(Span::from_secs) {
            let of =
                |counts: &[f64]| Past::new(Timestamp(0), step, counts).unwrap().features(1_000);
            assert_eq!(of(&counts), of(&later), "{step:?}");
        }
    }

    #[test]
    fn other_counts_change_what_follows_them() {
        let counts = past(0, &[1.0, 9.0, 1.0, 0.0]);
        let other = counts.with(&[(1, 1.0), (3, 2.0)]);
        assert_eq!(other.counts, [1.0, 1.0, 1.0, 2.0]);
        assert_eq!(other.averages, past(0, &[1.0, 1.0, 1.0, 2.0]).averages);
        assert_eq!(counts.with(&[]).counts, counts.counts);
    }

    #[test]
    fn weekends_are_known() {
        // 1970-01-01 was a Thursday.
        let epoch = past(0, &[0.0]);
        let weekends: Vec<bool> = (0..7).map(|day| epoch.is_weekend(day * 96)).collect();
        assert_eq!(weekends, [false, false, true, true, false, false, false]);
    }
}
