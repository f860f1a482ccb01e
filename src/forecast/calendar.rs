//! The creates of one account by period, and what they say of the next period.

use crate::base::{Span, Timestamp};

use super::creates::PERIODS_MAX;

/// How many features a period has.
pub(super) const FEATURES: usize = 1 + 3 * PLAIN;
const PLAIN: usize = 16;

/// Larger counts count as such, beside their roots.
const COUNT_MAX: f32 = 50.0;
const DAY_S: i64 = 86_400;
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
}

impl Past {
    /// `None` if there is nothing to go by. Gaps, negative and absurd values count as no creates.
    pub(super) fn new(start: Timestamp, step: Span, history: &[f64]) -> Option<Past> {
        let step_s = i64::try_from(step.0 / 1_000).ok().filter(|&step_s| step_s > 0)?;
        let skipped = history.len().saturating_sub(PERIODS_MAX);
        let first = i64::try_from(start.secs()).ok()? / step_s + i64::try_from(skipped).ok()?;
        let mut past = Past { first, step_s, counts: Vec::new(), averages: Vec::new() };
        history[skipped..].iter().for_each(|&count| past.push(count));
        Some(past).filter(|past| !past.counts.is_empty())
    }

    /// Adds a period.
    pub(super) fn push(&mut self, count: f64) {
        let count = if count.is_finite() && count > 0.0 { count.min(1e9) as f32 } else { 0.0 };
        let last = self.averages.last().copied().unwrap_or([0.0; 3]);
        let mut next = last;
        for (average, hours) in next.iter_mut().zip([1.0, 6.0, 48.0]) {
            let half_life = (hours * 3_600.0 / self.step_s as f32).max(0.5);
            *average += (1.0 - 0.5f32.powf(1.0 / half_life)) * (count - *average);
        }
        self.counts.push(count);
        self.averages.push(next);
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
        self.counts.truncate(known);
        self.averages.truncate(known);
        newer.counts.iter().for_each(|&count| self.push(f64::from(count)));
        let excess = self.counts.len().saturating_sub(PERIODS_MAX);
        self.counts.drain(..excess);
        self.averages.drain(..excess);
        self.first += i64::try_from(excess).unwrap_or(0);
    }

    /// Number of the period after the last.
    pub(super) fn end(&self) -> i64 {
        self.first + i64::try_from(self.counts.len()).unwrap_or(0)
    }

    /// When period `t` begins, in seconds since the epoch.
    pub(super) fn begins(&self, t: usize) -> i64 {
        (self.first + i64::try_from(t).unwrap_or(0)) * self.step_s
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
        let day = self.day();
        if self.counts.len() > 7 * day + day * 2 { 7 * day } else { day.min(self.counts.len() / 2) }
    }

    /// What the periods before `t` say of it.
    pub(super) fn features(&self, t: usize) -> [f32; FEATURES] {
        let day = self.day();
        let count = |back: usize| {
            t.checked_sub(back).and_then(|at| self.counts.get(at)).copied().unwrap_or(0.0)
        };
        let near = |back: usize| {
            if back > 1 {
                (count(back - 1) + count(back) + count(back + 1)) / 3.0
            } else {
                count(back)
            }
        };
        let [hour, hours, days] =
            t.checked_sub(1).and_then(|at| self.averages.get(at)).copied().unwrap_or([0.0; 3]);
        let (mut exact, mut slot, mut like, mut most, mut sum, mut like_sum) =
            (0.0, 0.0, 0.0, 0.0f32, 0.0, 0.0);
        let kind = self.is_weekend(t);
        for (i, weight) in DAYS.into_iter().enumerate() {
            let back = (i + 1) * day;
            if back > t {
                break;
            }
            exact += weight * count(back);
            slot += weight * near(back);
            sum += weight;
            most = most.max(count(back));
            if self.is_weekend(t - back) == kind {
                like += weight * (count(back) + near(back)) / 2.0;
                like_sum += weight;
            }
        }
        let (sum, like) = (f32::max(sum, 1.0), like / f32::max(like_sum, 0.2));
        let plain: [f32; PLAIN] = [
            count(1),
            count(2),
            count(3),
            hour,
            hours,
            days,
            count(day),
            near(day),
            exact / sum,
            slot / sum,
            count(7 * day),
            near(7 * day),
            count(day).max(count(7 * day)),
            most,
            like,
            count(7 * day).min(count(day)),
        ];
        let mut features = [1.0; FEATURES];
        for (i, value) in plain.into_iter().enumerate() {
            features[1 + 3 * i] = value.min(1.0);
            features[2 + 3 * i] = value.sqrt();
            features[3 + 3 * i] = value.min(COUNT_MAX);
        }
        features
    }

    /// Whether a period begins on a Saturday or Sunday, in UTC.
    fn is_weekend(&self, t: usize) -> bool {
        // The epoch began on a Thursday.
        matches!((self.begins(t).div_euclid(DAY_S) + 4).rem_euclid(7), 0 | 6)
    }
}
