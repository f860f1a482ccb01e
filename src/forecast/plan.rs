//! What was announced, and how it turned out.

use std::ops::Range;

use crate::base::{Span, Timestamp};

use super::calendar::Past;
use super::residual::quantile;

/// The most plans of an account that are remembered: the newest.
const PLANS_MAX: usize = 512;
/// How much earlier than announced creates begin, and how much later they end, in seconds.
const EARLY_S: i64 = 300;
const LATE_S: i64 = 900;
/// Turnouts that were seen before any was: some plans are cancelled, most come about as large as
/// they were said to be.
const BEFOREHAND: [f64; 8] = [0.0, 0.7, 0.85, 0.95, 1.0, 1.05, 1.15, 1.3];

/// Creates that are known ahead: a campaign, a batch, a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When it became known.
    pub announced: Timestamp,
    /// When it begins.
    pub at: Timestamp,
    /// How many creates it says.
    pub count: u64,
    /// How long it lasts.
    pub duration: Span,
}

impl Plan {
    /// Adds plans that are not known yet; of too many the newest stay.
    pub(super) fn merge(plans: &mut Vec<Plan>, more: &[Plan]) {
        for plan in more {
            if !plans.contains(plan) {
                plans.push(*plan);
            }
        }
        plans.sort_by_key(|plan| plan.at);
        plans.drain(..plans.len().saturating_sub(PLANS_MAX));
    }

    fn at_s(&self) -> i64 {
        i64::try_from(self.at.secs()).unwrap_or(i64::MAX / 4)
    }

    /// Whether period `t` can have creates of this plan, and it was known when that began.
    fn is_due(&self, past: &Past, t: usize) -> bool {
        let (begin, at) = (past.begins(t), self.at_s());
        let announced = i64::try_from(self.announced.secs()).unwrap_or(i64::MAX);
        announced <= begin && at - EARLY_S < begin + past.step_s && begin < at + LATE_S
    }

    /// Whether any plan touches period `t`.
    pub(super) fn touches(plans: &[Plan], past: &Past, t: usize) -> bool {
        plans.iter().any(|plan| plan.is_due(past, t))
    }

    /// What usually happens: a past without what was announced; `None` if nothing was.
    pub(super) fn without(plans: &[Plan], past: &Past) -> Option<Past> {
        let mut usual: Vec<(usize, f32)> = Vec::new();
        for t in plans.iter().flat_map(|plan| plan.periods(past)) {
            if Plan::touches(plans, past, t) {
                // As much as before the plan, at most.
                let before = past.average(t.saturating_sub(2));
                usual.push((t, past.counts[t].min(before)));
            }
        }
        usual.sort_unstable_by_key(|usual| usual.0);
        usual.dedup_by_key(|usual| usual.0);
        (!usual.is_empty()).then(|| past.with(&usual))
    }

    /// The periods of a past that can have creates of this plan.
    fn periods(&self, past: &Past) -> Range<usize> {
        let number =
            |at: i64| usize::try_from(at.div_euclid(past.step_s) - past.first).unwrap_or(0);
        let end = past.counts.len();
        number(self.at_s() - EARLY_S).min(end)..(number(self.at_s() + LATE_S) + 1).min(end)
    }

    /// How many of its creates are still to come at the beginning of period `t`.
    fn left(&self, past: &Past, t: usize) -> f64 {
        let since = (self.at_s() - EARLY_S).div_euclid(past.step_s) - past.first;
        let since = usize::try_from(since).unwrap_or(0).min(t);
        let seen: f64 =
            past.counts.get(since..t).unwrap_or(&[]).iter().map(|&count| f64::from(count)).sum();
        (self.count as f64 - seen).max(0.0)
    }
}

/// What share of a plan's creates came, by how long before or after its time the period began.
#[derive(Clone, Debug, Default)]
pub(super) struct Turnout {
    /// Seconds from the period's beginning to the plan's time, and the share of what was left.
    seen: Vec<(i64, f64)>,
}

impl Turnout {
    /// Learns from plans whose time has come.
    pub(super) fn learn(&mut self, plans: &[Plan], past: &Past) {
        for plan in plans {
            for t in plan.periods(past) {
                let (count, left) = (past.counts[t], plan.left(past, t));
                if plan.is_due(past, t) && left >= 1.0 {
                    self.seen.push((plan.at_s() - past.begins(t), f64::from(count) / left));
                }
            }
        }
    }

    /// Sorted values with what is announced for period `t` added.
    pub(super) fn add(&self, values: &[f64], plans: &[Plan], past: &Past, t: usize) -> Vec<f64> {
        let mut values = values.to_vec();
        for plan in plans.iter().filter(|plan| plan.is_due(past, t)) {
            let left = plan.left(past, t);
            if left < 1.0 {
                continue;
            }
            let shares = self.shares(plan.at_s() - past.begins(t), past.step_s);
            let parts: Vec<f64> =
                (0..40).map(|i| quantile(&values, (f64::from(i) + 0.5) / 40.0)).collect();
            values = shares
                .iter()
                .flat_map(|share| parts.iter().map(move |part| part + share * left))
                .collect();
            values.sort_unstable_by(f64::total_cmp);
        }
        values
    }

    /// The shares that came of plans with about that distance, and what is thought beforehand.
    fn shares(&self, offset: i64, step_s: i64) -> Vec<f64> {
        let near = |(seen, _): &&(i64, f64)| (seen - offset).abs() <= step_s / 3;
        let mut shares: Vec<f64> =
            self.seen.iter().filter(near).map(|&(_, share)| share.min(3.0)).collect();
        shares.sort_unstable_by(f64::total_cmp);
        if shares.len() > 50 {
            shares = (0..50).map(|i| quantile(&shares, (f64::from(i) + 0.5) / 50.0)).collect();
        }
        if shares.len() < BEFOREHAND.len() {
            let inside = offset >= 0 && offset < step_s;
            shares.extend(BEFOREHAND.iter().map(|&share| if inside { share } else { share * 0.3 }));
        }
        shares
    }
}
