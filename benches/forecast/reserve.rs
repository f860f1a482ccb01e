//! Addresses held ready by forecast, beside fixed pools: hits and idle addresses.
//!
//! Time is cut into periods of a quarter of an hour. At the beginning of each, a policy says how many
//! addresses an account has ready. Filled once: each create takes one until they are used up. Topped
//! up: each that was taken is back after 30 s. The last 30 % of a log are judged.

use std::time::Duration;

use foreshadow::base::{Span, Timestamp};
use foreshadow::forecast::creates::{Asked, Fleet};

use crate::cost::cpu;
use crate::data::Log;
use crate::rolling::loss;

const PERIOD: f64 = 900.0;
const TOP_UP_S: f64 = 30.0;
/// Periods of history that are asked with: two weeks.
const HISTORY: usize = 1_344;
/// Accounts that created fewer before are not judged.
const CREATES_MIN: usize = 20;
/// Quantiles that may be held ready.
const LEVELS: [f64; 13] =
    [0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995];
pub(crate) const FIXED: [usize; 17] = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 30, 40, 60, 80, 120];

/// What a policy costs, and what it brings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Point {
    /// Share of creates that found an address ready.
    pub(crate) hit: f64,
    /// Addresses idle, by account, over time.
    pub(crate) idle: f64,
}

/// The forecasts' policies and the fixed pools, each by how much they hold.
pub(crate) struct Curves {
    pub(crate) accounts: usize,
    pub(crate) forecast: Vec<Point>,
    pub(crate) fixed: Vec<Point>,
    /// Mean pinball loss of the levels, in creates.
    pub(crate) pinball: f64,
    /// CPU of one question, what is fitted once a day included.
    pub(crate) cost: Duration,
}

/// A period of an account that is judged.
struct Case {
    /// When its creates came.
    times: Vec<f64>,
    /// What each level holds ready.
    ready: Vec<usize>,
    /// Pinball loss, summed over the levels.
    loss: f64,
}

/// Plays the end of a log.
pub(crate) fn play(log: &Log, topped_up: bool) -> Curves {
    let (cases, accounts, cost) = cases(log);
    let forecast = (0..LEVELS.len()).map(|i| judge(&cases, |case| case.ready[i], topped_up));
    let fixed = FIXED.iter().map(|&held| judge(&cases, |_| held, topped_up));
    let count = (cases.len() * LEVELS.len()).max(1) as f64;
    let pinball = cases.iter().map(|case| case.loss).sum::<f64>() / count;
    Curves { accounts, forecast: forecast.collect(), fixed: fixed.collect(), pinball, cost }
}

/// What one coordinate of a curve is where the other is `x`; `None` beyond its ends.
pub(crate) fn at(curve: &[Point], x: f64, of: fn(&Point) -> (f64, f64)) -> Option<f64> {
    let mut points: Vec<(f64, f64)> = curve.iter().map(of).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let above = points.iter().position(|point| point.0 >= x)?;
    let (to, from) = (points[above], points[above.saturating_sub(1)]);
    if above == 0 {
        return (to.0 == x).then_some(to.1);
    }
    let share = if to.0 > from.0 { (x - from.0) / (to.0 - from.0) } else { 1.0 };
    Some(from.1 + share * (to.1 - from.1))
}

fn cases(log: &Log) -> (Vec<Case>, usize, Duration) {
    let begin = (log.span.0 / PERIOD).floor() * PERIOD + PERIOD;
    let periods = ((log.span.1 - begin) / PERIOD) as usize;
    let first = periods * 7 / 10;
    let mut histories: Vec<(&String, Vec<f64>)> = Vec::new();
    for (name, account) in &log.accounts {
        let mut counts = vec![0.0; periods];
        for create in account.creates.iter().filter(|&&at| at >= begin) {
            if let Some(count) = counts.get_mut(((create - begin) / PERIOD) as usize) {
                *count += 1.0;
            }
        }
        if counts[..first].iter().sum::<f64>() >= CREATES_MIN as f64 {
            histories.push((name, counts));
        }
    }
    let (mut fleet, mut cases) = (Fleet::new(), Vec::new());
    let began = cpu();
    for period in first..periods {
        for (name, counts) in &histories {
            let account = &log.accounts[*name];
            let from = period.saturating_sub(HISTORY);
            let start = begin + from as f64 * PERIOD;
            let now = begin + period as f64 * PERIOD;
            let plans: Vec<_> = account
                .plans
                .iter()
                .filter(|plan| {
                    let ends = plan.at.secs() as f64 + plan.duration.0 as f64 / 1e3;
                    plan.announced.secs() as f64 <= now && ends > now - 14.0 * 86_400.0
                })
                .copied()
                .collect();
            let rows = fleet.forecast(&Asked {
                account: name,
                start: Timestamp::from_secs(start as u64),
                step: Span::from_secs(PERIOD as u64),
                history: &counts[from..period],
                horizon: 1,
                quantiles: &LEVELS,
                plans: &plans,
            });
            let ready = rows.iter().map(|row| (row[0] + 0.5).max(0.0) as usize).collect();
            let within = |at: &&f64| (now..now + PERIOD).contains(*at);
            let times: Vec<f64> = account.creates.iter().filter(within).copied().collect();
            let said = rows.iter().map(|row| row[0]);
            let loss = said.zip(LEVELS).map(|(said, q)| loss(times.len() as f64, said, q)).sum();
            cases.push(Case { times, ready, loss });
        }
    }
    let cost = (cpu() - began) / u32::try_from(cases.len().max(1)).unwrap_or(u32::MAX);
    (cases, histories.len(), cost)
}

fn judge(cases: &[Case], held: impl Fn(&Case) -> usize, topped_up: bool) -> Point {
    let (mut hits, mut creates, mut idle) = (0.0, 0.0, 0.0);
    for case in cases {
        let (held, came) = (held(case), case.times.len());
        let hit = if topped_up { topped_up_hits(&case.times, held) } else { held.min(came) };
        hits += hit as f64;
        creates += came as f64;
        idle += held as f64 - if topped_up { 0.0 } else { hit as f64 / 2.0 };
    }
    Point { hit: hits / f64::max(creates, 1.0), idle: idle / cases.len().max(1) as f64 }
}

fn topped_up_hits(times: &[f64], held: usize) -> usize {
    let (mut used, mut hits) = (Vec::new(), 0);
    for &now in times {
        used.retain(|&at| now - at < TOP_UP_S);
        if used.len() < held {
            used.push(now);
            hits += 1;
        }
    }
    hits
}
