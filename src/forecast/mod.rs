//! Looking ahead: histories in, quantiles of what comes out. Pure: no clock, no IO, no randomness,
//! and the same answer to the same question.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`line`] | requests and responses as JSON |
//! | [`creates`] | how many instances accounts start: one model for all |
//! | [`plan`] | what is announced, and how that turns out |
//! | [`anomaly`] | how unusual a value is, when it comes |
//! | `series` | a history without gaps |
//! | `features` | what a forecast is computed from |
//! | `ridge`, `holt` | models of a single series |
//! | `blend` | one forecast from several |
//! | `residual` | quantiles, from errors out of sample |
//! | `calendar` | the creates of one account by period |
//! | `solve` | linear algebra |
//!
//! `docs/forecasting.md` has the method, the figures and what did not help.

pub mod anomaly;
mod blend;
mod calendar;
pub mod creates;
mod features;
mod holt;
pub mod line;
pub mod plan;
mod residual;
mod ridge;
mod series;
mod solve;

pub use series::HISTORY_MAX;

use features::Frame;
use holt::Holt;
use residual::Restless;
use ridge::{Shared, Step};
use series::Series;

/// Steps ahead that are all computed; further ahead, some are, and what is between lies between.
const NEAR_STEPS: usize = 24;
/// The fewest past forecasts whose outcome is known that make quantiles of errors.
const OUTCOMES_MIN: usize = 24;
/// Fewer values than this and there is no choosing of models.
const VALUES_MIN: usize = 40;

/// What is asked of one series.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Equidistant values, the oldest first; what is not finite is missing. The newest
    /// [`HISTORY_MAX`] count.
    pub history: &'a [f64],
    /// How many steps after the last value.
    pub horizon: usize,
    /// Which quantiles, each from 0 to 1.
    pub quantiles: &'a [f64],
    /// Seasons that the series may have, in points, the shortest first; those that its history is
    /// too short for are not used.
    pub seasons: &'a [usize],
}

/// What a forecast rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The models, weighted by their errors out of sample.
    Models,
    /// Too few values for models: the last one, and how much such values have changed.
    Short,
    /// All values were the same: that one, with bands that are wide where it was seen seldom.
    Constant,
    /// No value was there: zero, give or take one.
    Nothing,
}

/// What is expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// For each quantile, in the order asked, its value at each step. All are finite; none is
    /// negative if no value was.
    pub values: Vec<Vec<f64>>,
    /// What this rests on.
    pub basis: Basis,
}

/// Forecasts one series by itself.
pub fn forecast(request: &Request<'_>) -> Forecast {
    let Some(series) = Series::new(request.history) else {
        let spread = |_| 1.0;
        return widening(request, 0.0, spread, Basis::Nothing).bounded(0.0);
    };
    let last = series.last;
    let known = (series.known * series.z.len() as f64).max(1.0);
    let forecast = if series.is_constant() {
        // A change was never seen in so many values: it is as rare as one in one more.
        let unit = last.abs().max(1.0) * 2.0 / known;
        let spread = |ahead: usize| if known > 100.0 { 0.0 } else { unit * (ahead as f64).sqrt() };
        widening(request, last, spread, Basis::Constant)
    } else if series.z.len() < VALUES_MIN {
        let value = |z: f64| series.back(z);
        let changes = series.z.windows(2).map(|pair| (value(pair[1]) - value(pair[0])).powi(2));
        let least = 0.1 * (series.range.1 - series.range.0);
        let change = (changes.sum::<f64>() / known).sqrt().max(least);
        // As Student's distribution is wider than Gauss's.
        let unsure = 1.0 + 3.0 / known;
        let spread = |ahead: usize| change * unsure * (ahead as f64).sqrt();
        widening(request, last, spread, Basis::Short)
    } else {
        modelled(request, &series)
    };
    forecast.bounded(if series.range.0 >= 0.0 { 0.0 } else { f64::NEG_INFINITY })
}

impl Forecast {
    fn bounded(mut self, least: f64) -> Forecast {
        for value in self.values.iter_mut().flatten() {
            *value = if value.is_finite() { value.max(least) } else { least.max(0.0) };
        }
        self
    }
}

/// The same value at each step, and a normal distribution around it.
fn widening(
    request: &Request<'_>,
    middle: f64,
    spread: impl Fn(usize) -> f64,
    basis: Basis,
) -> Forecast {
    let row = |&wanted: &f64| {
        let off = normal(wanted);
        (1..=request.horizon).map(|ahead| middle + off * spread(ahead)).collect()
    };
    Forecast { values: request.quantiles.iter().map(row).collect(), basis }
}

/// A quantile of the standard normal distribution, within 0.005 of it: the logistic one, stretched.
fn normal(wanted: f64) -> f64 {
    let wanted = wanted.clamp(1e-4, 1.0 - 1e-4);
    // Tukey's lambda distribution with lambda 0.1349 has nearly normal quantiles.
    const LAMBDA: f64 = 0.1349;
    (wanted.powf(LAMBDA) - (1.0 - wanted).powf(LAMBDA)) / 0.1975
}

fn modelled(request: &Request<'_>, series: &Series) -> Forecast {
    let frame = Frame::new(&series.z, request.seasons);
    let n = series.z.len();
    // So far that errors overlap no more than two thirds, what was seen says something.
    let origins = n - frame.first;
    let furthest = (origins / 3).min(origins.saturating_sub(OUTCOMES_MIN)).max(1);
    let furthest = furthest.min(request.horizon).max(1);
    let horizons = [1, furthest.div_ceil(2), furthest];
    let holt = Holt::new(&frame, &horizons);
    let mut shared = Shared::new(&frame);
    let restless = Restless::new(&frame);
    let mut values = vec![Vec::with_capacity(request.horizon); request.quantiles.len()];
    // The last step that was computed, and by how much its quantiles were off the plain forecast.
    let mut before: (usize, Vec<f64>) = (0, vec![0.0; request.quantiles.len()]);
    let plain = |ahead: usize| holt.ahead(&frame, ahead);
    for ahead in knots(request.horizon) {
        let computed = ahead.min(furthest);
        let usual = if frame.season > 0 { frame.usual_ahead(computed) } else { Vec::new() };
        let smoothed = holt.step(&frame, computed, &usual);
        let mut steps: Vec<Step> = vec![persist(&frame, computed), smoothed];
        let fitted =
            shared.as_mut().and_then(|shared| ridge::step(&frame, shared, computed, &usual));
        steps.extend(fitted);
        let step = blend::blend(&frame, &steps, computed);
        let found = residual::quantiles(&frame, &restless, &step, computed, request.quantiles);
        // Beyond what the history can tell, as wide as a random walk becomes.
        let wider = (ahead as f64 / computed as f64).sqrt() * stale(series, ahead);
        let off: Vec<f64> = found
            .iter()
            .map(|value| step.point - plain(computed) + wider * (value - step.point))
            .collect();
        for between in before.0 + 1..=ahead {
            let share = (between - before.0) as f64 / (ahead - before.0) as f64;
            for (row, (from, to)) in values.iter_mut().zip(before.1.iter().zip(&off)) {
                row.push(series.back(plain(between) + from + share * (to - from)));
            }
        }
        before = (ahead, off);
    }
    if series.whole {
        // Counts have whole quantiles.
        values.iter_mut().flatten().for_each(|value| *value = value.round());
    }
    Forecast { values, basis: Basis::Models }
}

/// How much wider a forecast is whose newest values are missing.
fn stale(series: &Series, ahead: usize) -> f64 {
    (1.0 + series.stale as f64 / ahead as f64).sqrt().min(10.0)
}

/// The steps ahead that are computed: all near ones, then each an eighth further, and the last.
fn knots(horizon: usize) -> Vec<usize> {
    let mut knots: Vec<usize> = (1..=horizon.min(NEAR_STEPS)).collect();
    let mut next = NEAR_STEPS;
    while next < horizon {
        next = (next + next / 8).min(horizon);
        knots.push(next);
    }
    knots
}

/// As it is now.
fn persist(frame: &Frame<'_>, ahead: usize) -> Step {
    let n = frame.z.len();
    let past = frame.z[frame.first..n - ahead].iter().map(|&z| z as f32).collect();
    Step { point: frame.z[n - 1], past }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: [f64; 5] = [0.025, 0.1, 0.5, 0.9, 0.975];

    fn ask(history: &[f64], horizon: usize, seasons: &[usize]) -> Forecast {
        forecast(&Request { history, horizon, quantiles: &WANTED, seasons })
    }

    /// A generator of numbers from 0 to 1, the same each time.
    fn noise(seed: &mut u64) -> f64 {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) as f64 / f64::from(1u32 << 31)
    }

    #[track_caller]
    fn is_sound(forecast: &Forecast, horizon: usize) {
        assert_eq!(forecast.values.len(), WANTED.len());
        assert!(forecast.values.iter().all(|row| row.len() == horizon));
        assert!(forecast.values.iter().flatten().all(|value| value.is_finite()), "{forecast:?}");
        for step in 0..horizon {
            let sorted =
                forecast.values.windows(2).all(|pair| pair[0][step] <= pair[1][step] + 1e-9);
            assert!(sorted, "step {step}: {forecast:?}");
        }
    }

    #[test]
    fn a_daily_wave_is_foreseen_better_than_by_standing_still() {
        let mut seed = 1;
        let wave = |t: usize| 50.0 + 20.0 * (t as f64 * std::f64::consts::TAU / 48.0).sin();
        let all: Vec<f64> = (0..1_000).map(|t| wave(t) + 2.0 * noise(&mut seed)).collect();
        let (mut error, mut still, mut inside, mut steps) = (0.0, 0.0, 0, 0);
        for origin in (600..970).step_by(37) {
            let found = ask(&all[..origin], 12, &[48]);
            is_sound(&found, 12);
            for step in 0..12 {
                let came = all[origin + step];
                error += (came - found.values[2][step]).abs();
                still += (came - all[origin - 1]).abs();
                inside +=
                    usize::from((found.values[1][step]..=found.values[3][step]).contains(&came));
                steps += 1;
            }
        }
        assert!(error * 8.0 < still, "{error} against {still}");
        let share = inside as f64 / steps as f64;
        assert!((0.65..=0.95).contains(&share), "80 % band holds {share}");
    }

    #[test]
    fn nothing_known_is_said() {
        for history in [&[][..], &[f64::NAN; 50], &[f64::INFINITY, 1e308]] {
            let found = ask(history, 3, &[2]);
            is_sound(&found, 3);
            assert_eq!((found.basis, found.values[2][0]), (Basis::Nothing, 0.0));
            assert!(found.values[4][0] > 1.0);
        }
    }

    #[test]
    fn a_constant_stays_and_is_doubted_when_it_was_seen_seldom() {
        let (few, many) = (ask(&[5.0; 6], 4, &[]), ask(&[5.0; 600], 4, &[]));
        assert_eq!((few.basis, many.basis), (Basis::Constant, Basis::Constant));
        assert_eq!(many.values[0], many.values[4]);
        assert!(few.values[0][0] < 4.0 && few.values[4][0] > 6.0, "{few:?}");
        is_sound(&few, 4);
    }

    #[test]
    fn little_history_gives_wide_bands() {
        let found = ask(&[3.0, 4.0, 3.0, 6.0, 5.0], 6, &[288]);
        assert_eq!(found.basis, Basis::Short);
        is_sound(&found, 6);
        assert!(found.values[3][5] - found.values[1][5] > 4.0, "{found:?}");
    }

    #[test]
    fn whatever_comes_in_a_sound_forecast_comes_out() {
        let mut seed = 7;
        let odd = [f64::NAN, f64::NEG_INFINITY, 1e14, -1e14, 0.0, -0.0, 1e-300, 1e308, -7.0, 3.0];
        for length in [1, 2, 3, 39, 40, 41, 60, 100, 300, 700, 5_000] {
            for kind in 0..4 {
                let history: Vec<f64> = (0..length)
                    .map(|t| match kind {
                        0 => odd[(noise(&mut seed) * 10.0) as usize],
                        1 if t % 50 != 7 => f64::NAN,
                        2 => f64::from(u8::from(t == length - 1)),
                        _ => (noise(&mut seed) * 4.0).floor(),
                    })
                    .collect();
                for seasons in [&[][..], &[24, 168], &[2, 3], &[0, 1, usize::MAX]] {
                    is_sound(&ask(&history, 7, seasons), 7);
                }
            }
        }
    }

    #[test]
    fn counts_are_never_negative_and_no_change_is_exactly_none() {
        let mut history = vec![3.0; 400];
        history[100..140].fill(0.0);
        let found = ask(&history, 6, &[48]);
        assert!(found.values.iter().flatten().all(|&value| value >= 0.0));
        assert_eq!(found.values[2], [3.0; 6]);
    }

    #[test]
    fn far_ahead_is_bounded_work_and_wider() {
        let mut seed = 3;
        let mut level = 0.0;
        let history: Vec<f64> = (0..500)
            .map(|_| {
                level += noise(&mut seed) - 0.5;
                level
            })
            .collect();
        assert!(knots(4_032).len() < 80);
        let found = ask(&history, 2_000, &[24]);
        is_sound(&found, 2_000);
        let width = |step: usize| found.values[3][step] - found.values[1][step];
        assert!(width(1_999) > 3.0 * width(0), "{} {}", width(0), width(1_999));
        // Past a third of the history as well.
        assert!(width(1_999) > 2.5 * width(160), "{} {}", width(160), width(1_999));
    }

    #[test]
    fn missing_news_widen() {
        let mut seed = 5;
        let mut history: Vec<f64> = (0..500).map(|_| noise(&mut seed)).collect();
        let width = |found: Forecast| found.values[3][0] - found.values[1][0];
        let fresh = width(ask(&history, 1, &[]));
        history[480..].fill(f64::NAN);
        assert!(width(ask(&history, 1, &[])) > 1.5 * fresh);
    }

    #[test]
    fn normal_quantiles_are_near() {
        for (wanted, value) in [(0.5, 0.0), (0.9, 1.2816), (0.975, 1.96), (0.025, -1.96)] {
            assert!((normal(wanted) - value).abs() < 0.01, "{wanted}");
        }
    }
}
