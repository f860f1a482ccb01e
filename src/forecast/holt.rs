//! Damped exponential smoothing of what a daily profile leaves over.
//!
//! Several gains run side by side; the one whose forecasts were nearest is taken.

use super::features::Frame;
use super::ridge::Step;

/// Gains of level and slope that are tried.
const GAINS: [(f64, f64); 12] = [
    (0.05, 0.0),
    (0.15, 0.0),
    (0.3, 0.0),
    (0.5, 0.0),
    (0.7, 0.0),
    (0.9, 0.0),
    (0.15, 0.02),
    (0.3, 0.02),
    (0.5, 0.05),
    (0.9, 0.05),
    (0.5, 0.15),
    (0.9, 0.15),
];
/// How much of a slope is left a step later.
const DAMPING: [f64; 2] = [0.8, 0.97];

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
        let mut best: Option<(f64, Holt)> = None;
        for seasonal in [false, true] {
            if seasonal && frame.season == 0 {
                continue;
            }
            let rest = rest(frame, seasonal);
            for damping in DAMPING {
                for gains in GAINS {
                    if gains.1 == 0.0 && damping != DAMPING[0] {
                        continue;
                    }
                    let holt = smooth(&rest, gains, damping, seasonal);
                    let score = holt.score(frame, horizons);
                    if best.as_ref().is_none_or(|best| score < best.0) {
                        best = Some((score, holt));
                    }
                }
            }
        }
        let none = Holt {
            level: frame.z.to_vec(),
            slope: vec![0.0; frame.z.len()],
            damping: 0.0,
            seasonal: false,
        };
        best.map_or(none, |best| best.1)
    }

    /// What would have been forecast at origin `t`.
    fn at(&self, frame: &Frame<'_>, t: usize, ahead: usize, grown: f64) -> f64 {
        let season = if self.seasonal {
            frame.same_phase(t, ahead, frame.season).map_or(0.0, |at| frame.usual(at, t))
        } else {
            0.0
        };
        self.level[t] + grown * self.slope[t] + season
    }

    /// How many times the slope of now a damped slope adds up to.
    fn grown(&self, ahead: usize) -> f64 {
        let left = self.damping.powi(i32::try_from(ahead).unwrap_or(i32::MAX));
        self.damping * (1.0 - left) / (1.0 - self.damping)
    }

    /// The mean absolute error at some horizons, on every third origin of the newest part.
    fn score(&self, frame: &Frame<'_>, horizons: &[usize]) -> f64 {
        let (n, mut sum, mut count) = (frame.z.len(), 0.0, 0usize);
        let begin = frame.first.max(n.saturating_sub(1_200));
        for &ahead in horizons {
            let grown = self.grown(ahead);
            for t in (begin..n.saturating_sub(ahead)).step_by(3) {
                sum += (frame.z[t + ahead] - self.at(frame, t, ahead, grown)).abs();
                count += 1;
            }
        }
        if count == 0 { 0.0 } else { sum / count as f64 }
    }

    /// What is forecast from the end of the history.
    pub(super) fn ahead(&self, frame: &Frame<'_>, ahead: usize) -> f64 {
        self.at(frame, frame.z.len() - 1, ahead, self.grown(ahead))
    }

    /// The forecast of one step ahead, and what it would have been at each origin.
    pub(super) fn step(&self, frame: &Frame<'_>, ahead: usize) -> Step {
        let (n, grown) = (frame.z.len(), self.grown(ahead));
        let origins = frame.first..n.saturating_sub(ahead);
        let past = origins.map(|t| self.at(frame, t, ahead, grown) as f32).collect();
        Step { point: self.at(frame, n - 1, ahead, grown), past }
    }
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

fn smooth(rest: &[f64], (gain, slope_gain): (f64, f64), damping: f64, seasonal: bool) -> Holt {
    let (mut level, mut slope) = (rest.first().copied().unwrap_or(0.0), 0.0);
    let (mut levels, mut slopes) = (Vec::with_capacity(rest.len()), Vec::with_capacity(rest.len()));
    for value in rest {
        let expected = level + damping * slope;
        let error = value - expected;
        level = expected + gain * error;
        slope = damping * slope + gain * slope_gain * error;
        levels.push(level);
        slopes.push(slope);
    }
    Holt { level: levels, slope: slopes, damping, seasonal }
}
