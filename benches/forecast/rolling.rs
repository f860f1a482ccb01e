//! Forecasts from many origins of each series, and how far they were off.

use std::time::Duration;

use foreshadow::forecast::{Request, forecast};

use crate::cost::cpu;
use crate::data::Series;

/// What is asked for: the 95 % band, the 80 % band, and the middle.
pub(crate) const WANTED: [f64; 5] = [0.025, 0.1, 0.5, 0.9, 0.975];
/// From how many origins each series is forecast.
const ORIGINS: usize = 10;

/// Means over some series.
#[derive(Clone, Copy, Default)]
pub(crate) struct Errors {
    pub(crate) series: usize,
    /// Mean scaled quantile loss of the 10, 50 and 90 % quantiles: the pinball loss, in units of
    /// the mean absolute change from one day to the next.
    pub(crate) msql: f64,
    /// The same of the last value, as it was, for all quantiles.
    pub(crate) still: f64,
    /// Shares of what came inside the bands.
    pub(crate) inside80: f64,
    pub(crate) inside95: f64,
    /// CPU of one fit and forecast.
    pub(crate) cost: Duration,
}

/// The error of the series of one step size: of all its steps ahead alike.
pub(crate) fn errors(series: &[&Series]) -> Errors {
    let mut sum = Errors::default();
    for one in series {
        let Some(found) = of_one(one) else { continue };
        sum.series += 1;
        sum.msql += found.msql;
        sum.still += found.still;
        sum.inside80 += found.inside80;
        sum.inside95 += found.inside95;
        sum.cost += found.cost;
    }
    let count = sum.series.max(1);
    for mean in [&mut sum.msql, &mut sum.still, &mut sum.inside80, &mut sum.inside95] {
        *mean /= count as f64;
    }
    sum.cost /= u32::try_from(count).unwrap_or(u32::MAX);
    sum
}

/// How far ahead, and from how long a history, at a step of so many seconds.
fn reach(step_s: usize) -> (usize, usize) {
    if step_s <= 900 { (6, 4_032) } else { (24, 1_344) }
}

fn of_one(series: &Series) -> Option<Errors> {
    let (values, day) = (&series.values, 86_400 / series.step_s.max(1));
    let (horizon, longest) = reach(series.step_s);
    let changes = values.windows(day + 1).map(|w| (w[day] - w[0]).abs()).filter(|c| c.is_finite());
    let (count, sum) = changes.fold((0usize, 0.0), |(count, sum), c| (count + 1, sum + c));
    let scale = sum / count as f64;
    let last = values.len().checked_sub(horizon)?;
    let first = (values.len() * 6 / 10).max(last.saturating_sub(ORIGINS).min(2 * day));
    let (mut mean, mut origins) = (Errors::default(), 0u32);
    let mut before = None;
    for i in 0..ORIGINS {
        let origin = first + (last.saturating_sub(first)) * i / (ORIGINS - 1);
        if before.replace(origin) == Some(origin) || scale.is_nan() || scale <= 0.0 {
            continue;
        }
        let history = &values[origin.saturating_sub(longest)..origin];
        let began = cpu();
        let request = Request { history, horizon, quantiles: &WANTED, seasons: &series.seasons };
        let found = forecast(&request);
        let cost = cpu() - began;
        let here = score(&found.values, history, &values[origin..origin + horizon], scale)?;
        origins += 1;
        mean.msql += here.msql;
        mean.still += here.still;
        mean.inside80 += here.inside80;
        mean.inside95 += here.inside95;
        mean.cost += cost;
    }
    let count = f64::from(origins.max(1));
    mean.cost /= origins.max(1);
    for value in [&mut mean.msql, &mut mean.still, &mut mean.inside80, &mut mean.inside95] {
        *value /= count;
    }
    (origins > 0).then_some(mean)
}

fn score(rows: &[Vec<f64>], history: &[f64], came: &[f64], scale: f64) -> Option<Errors> {
    let mut errors = Errors::default();
    let now = history.iter().rev().find(|value| value.is_finite())?;
    let known: Vec<usize> = (0..came.len()).filter(|&step| came[step].is_finite()).collect();
    let count = known.len().max(1) as f64;
    for step in known {
        let came = came[step];
        for (row, wanted) in rows.iter().zip(WANTED).take(4).skip(1) {
            errors.msql += 2.0 / 3.0 * loss(came, row[step], wanted) / scale / count;
            errors.still += 2.0 / 3.0 * loss(came, *now, wanted) / scale / count;
        }
        let inside = |low: usize, high: usize| {
            f64::from(u8::from(rows[low][step] - 1e-9 <= came && came <= rows[high][step] + 1e-9))
        };
        errors.inside80 += inside(1, 3) / count;
        errors.inside95 += inside(0, 4) / count;
    }
    Some(errors)
}

/// The pinball loss.
pub(crate) fn loss(came: f64, said: f64, wanted: f64) -> f64 {
    (wanted * (came - said)).max((wanted - 1.0) * (came - said))
}
