//! Damped exponential smoothing of what a daily profile leaves over.
//!
//! All gains run side by side over the newest part of the history; the one whose forecasts were
//! nearest then runs over all of it.

use super::features::Frame;
use super::ridge::Step;

/// How many pairs of gains are tried.
const TRIED: usize = 12;
/// Gains of the level that are tried.
const LEVEL_GAINS: [f64; TRIED] = [0.05, 0.15, 0.3, 0.5, 0.7, 0.9, 0.15, 0.3, 0.5, 0.9, 0.5, 0.9];
/// Gains of the slope, in units of the level's.
const SLOPE_GAINS: [f64; TRIED] =
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.02, 0.02, 0.05, 0.05, 0.15, 0.15];
/// How much of a slope is left a step later.
const DAMPINGS: [f64; 2] = [0.8, 0.97];
/// The newest origins that choose, and how many before them only warm up.
const CHOOSING: usize = 1_200;
const WARM_UP: usize = 200;
/// Of the origins that choose, each so-many-th does.
const STRIDE: usize = 3;

/// A chosen smoother, with its state at each origin.
pub(super) struct Holt {
    level: Vec<f64>,
    slope: Vec<f64>,
    damping: f64,
    seasonal: bool,
}

impl Holt {
    /// Chooses on errors at the horizons named, in steps ahead. Without a season, or where the
    /// profile does not help, plain.
    pub(super) fn new(frame: &Frame<'_>, horizons: &[usize]) -> Holt {
        let mut best = (f64::INFINITY, 0, DAMPINGS[0], false);
        for seasonal in [false, true] {
            if seasonal && frame.season == 0 {
                continue;
            }
            let rest = rest(frame, seasonal);
            for damping in DAMPINGS {
                let scores = scores(frame, &rest, horizons, damping, seasonal);
                for (gains, score) in scores.into_iter().enumerate() {
                    if score < best.0 {
                        best = (score, gains, damping, seasonal);
                    }
                }
            }
        }
        let (_, gains, damping, seasonal) = best;
        smooth(&rest(frame, seasonal), gains, damping, seasonal)
    }

    /// What is forecast from the end of the history.
    pub(super) fn ahead(&self, frame: &Frame<'_>, ahead: usize) -> f64 {
        let (last, grown) = (frame.z.len() - 1, grown(self.damping, ahead));
        self.level[last] + grown * self.slope[last] + season(frame, last, ahead, self.seasonal)
    }

    /// The forecast of one step ahead, and what it would have been at each origin. `usual` is
    /// [`Frame::usual_ahead`], if there is a season.
    pub(super) fn step(&self, frame: &Frame<'_>, ahead: usize, usual: &[f64]) -> Step {
        let (n, grown) = (frame.z.len(), grown(self.damping, ahead));
        let origins = frame.first..n.saturating_sub(ahead);
        let states = self.level[origins.clone()].iter().zip(&self.slope[origins]);
        let rest = states.map(|(level, slope)| level + grown * slope);
        let past = if self.seasonal {
            rest.zip(usual).map(|(rest, usual)| (rest + usual) as f32).collect()
        } else {
            rest.map(|rest| rest as f32).collect()
        };
        Step { point: self.ahead(frame, ahead), past }
    }
}

/// How many times the slope of now a damped slope adds up to.
fn grown(damping: f64, ahead: usize) -> f64 {
    let left = damping.powi(i32::try_from(ahead).unwrap_or(i32::MAX));
    damping * (1.0 - left) / (1.0 - damping)
}

/// The profile at `t + ahead`, as known at `t`.
fn season(frame: &Frame<'_>, t: usize, ahead: usize, seasonal: bool) -> f64 {
    if !seasonal {
        return 0.0;
    }
    t.checked_sub(Frame::back(ahead, frame.season)).map_or(0.0, |at| frame.usual(at, t))
}

/// What the profile leaves over, or everything. Each point is compared with the profile of the
/// season before it.
fn rest(frame: &Frame<'_>, seasonal: bool) -> Vec<f64> {
    if !seasonal {
        return frame.z.to_vec();
    }
    let usual = |t: usize| t.checked_sub(frame.season).map_or(0.0, |then| frame.usual(then, t));
    frame.z.iter().enumerate().map(|(t, z)| z - usual(t)).collect()
}

/// The sums of absolute errors of all gains at some horizons, over the newest origins.
fn scores(
    frame: &Frame<'_>,
    rest: &[f64],
    horizons: &[usize],
    damping: f64,
    seasonal: bool,
) -> [f64; TRIED] {
    let n = rest.len();
    let begin = frame.first.max(n.saturating_sub(CHOOSING));
    let from = begin.saturating_sub(WARM_UP);
    let mut scores = [0.0; TRIED];
    let (mut levels, mut slopes) = ([rest.get(from).copied().unwrap_or(0.0); TRIED], [0.0; TRIED]);
    let grown: Vec<f64> = horizons.iter().map(|&ahead| grown(damping, ahead)).collect();
    for (t, value) in rest.iter().enumerate().skip(from) {
        for i in 0..TRIED {
            let expected = levels[i] + damping * slopes[i];
            let error = value - expected;
            levels[i] = expected + LEVEL_GAINS[i] * error;
            slopes[i] = damping * slopes[i] + LEVEL_GAINS[i] * SLOPE_GAINS[i] * error;
        }
        if t < begin || !(t - begin).is_multiple_of(STRIDE) {
            continue;
        }
        for (&ahead, grown) in horizons.iter().zip(&grown) {
            let Some(came) = frame.z.get(t + ahead) else { continue };
            let came = came - season(frame, t, ahead, seasonal);
            for i in 0..TRIED {
                scores[i] += (came - levels[i] - grown * slopes[i]).abs();
            }
        }
    }
    scores
}

fn smooth(rest: &[f64], gains: usize, damping: f64, seasonal: bool) -> Holt {
    let (gain, slope_gain) = (LEVEL_GAINS[gains], LEVEL_GAINS[gains] * SLOPE_GAINS[gains]);
    let (mut level, mut slope) = (rest.first().copied().unwrap_or(0.0), 0.0);
    let (mut levels, mut slopes) = (Vec::with_capacity(rest.len()), Vec::with_capacity(rest.len()));
    for value in rest {
        let expected = level + damping * slope;
        let error = value - expected;
        level = expected + gain * error;
        slope = damping * slope + slope_gain * error;
        levels.push(level);
        slopes.push(slope);
    }
    Holt { level: levels, slope: slopes, damping, seasonal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damped_slope_adds_up() {
        let sum: f64 = (1..=7).map(|step| 0.8f64.powi(step)).sum();
        assert!((grown(0.8, 7) - sum).abs() < 1e-12);
    }

    #[test]
    fn a_trend_is_followed_and_noise_is_not() {
        let trend: Vec<f64> = (0..300).map(|t| f64::from(t) * 0.01).collect();
        let frame = Frame::new(&trend, &[]);
        let ahead = Holt::new(&frame, &[1, 2]).ahead(&frame, 1);
        assert!((ahead - 3.0).abs() < 0.005, "{ahead}");
        let noise: Vec<f64> = (0..300).map(|t| f64::from(t * 7_919 % 101) / 101.0 - 0.5).collect();
        let frame = Frame::new(&noise, &[]);
        let ahead = Holt::new(&frame, &[1]).ahead(&frame, 1);
        assert!(ahead.abs() < 0.15, "{ahead}");
    }
}
