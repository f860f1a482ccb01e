//! A history made fit for arithmetic: gaps bridged, absurd values taken for gaps, standardised.

/// The most points of a history that a forecast looks at: the newest.
pub const HISTORY_MAX: usize = 4_032;

/// Values beyond this are no counts and no loads of anything: they are taken for missing.
pub(super) const MAGNITUDE_MAX: f64 = 1e15;

/// A history without gaps.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// The values, or their square roots if none is negative, standardised, the oldest first. Counts
    /// and loads vary more where they are larger; their roots do so less.
    pub(super) z: Vec<f64>,
    /// What stands for zero among `z`, before that.
    mean: f64,
    /// What stands for one among `z`; never zero.
    scale: f64,
    /// Smallest and largest value that was seen, in the unit of the history.
    pub(super) range: (f64, f64),
    /// The newest value that was there, in the unit of the history.
    pub(super) last: f64,
    /// Share of the values that were there.
    pub(super) known: f64,
    /// Whether every value was a whole number.
    pub(super) whole: bool,
    /// How many of the newest points were missing.
    pub(super) stale: usize,
    /// Whether roots were taken.
    rooted: bool,
}

impl Series {
    /// The newest [`HISTORY_MAX`] points, or `None` if no value is there. A gap is bridged by a
    /// straight line; before the first value and after the last, that value is repeated.
    pub(super) fn new(history: &[f64]) -> Option<Series> {
        let history = &history[history.len().saturating_sub(HISTORY_MAX)..];
        let is_there = |value: f64| value.is_finite() && value.abs() <= MAGNITUDE_MAX;
        let first = history.iter().position(|&value| is_there(value))?;
        let mut filled = vec![history[first]; history.len()];
        let (mut last, mut count, mut whole) = (first, 0usize, true);
        let mut range = (f64::INFINITY, f64::NEG_INFINITY);
        for (at, &value) in history.iter().enumerate().skip(first) {
            if !is_there(value) {
                continue;
            }
            (count, whole) = (count + 1, whole && value.fract() == 0.0);
            range = (range.0.min(value), range.1.max(value));
            let (from, gap) = (history[last], (at - last).max(1) as f64);
            for (steps, between) in filled[last + 1..=at].iter_mut().enumerate() {
                *between = from + (value - from) * (steps + 1) as f64 / gap;
            }
            last = at;
        }
        filled[last..].fill(history[last]);
        let rooted = range.0 >= 0.0;
        if rooted {
            filled.iter_mut().for_each(|value| *value = value.sqrt());
        }
        let mean = filled.iter().sum::<f64>() / filled.len() as f64;
        let spread = filled.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let spread = (spread / filled.len() as f64).sqrt();
        // A constant, up to rounding.
        let scale = if spread > 1e-12 * mean.abs() { spread } else { 1.0 };
        let z = filled.iter().map(|value| (value - mean) / scale).collect();
        let known = count as f64 / history.len() as f64;
        let stale = history.len() - 1 - last;
        Some(Series { z, mean, scale, range, last: history[last], known, whole, stale, rooted })
    }

    /// Whether every value that was there is the same.
    pub(super) fn is_constant(&self) -> bool {
        self.range.0 == self.range.1
    }

    /// A standardised value in the unit of the history.
    pub(super) fn back(&self, z: f64) -> f64 {
        let value = self.mean + self.scale * z;
        if self.rooted { value.max(0.0).powi(2) } else { value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: f64 = f64::NAN;

    #[test]
    fn gaps_are_bridged() {
        let series = Series::new(&[GAP, 1.0, GAP, GAP, 4.0, GAP]).unwrap();
        let back: Vec<f64> =
            series.z.iter().map(|&z| (series.back(z) * 1e9).round() / 1e9).collect();
        assert_eq!(back, [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]);
        assert_eq!((series.range, series.stale, series.whole), ((1.0, 4.0), 1, true));
        assert!((series.known - 2.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_value_is_a_gap() {
        assert!(Series::new(&[]).is_none());
        assert!(Series::new(&[GAP, f64::INFINITY, 1e300]).is_none());
        let series = Series::new(&[1.0, 1e300, 2.5, f64::NEG_INFINITY]).unwrap();
        assert_eq!((series.range, series.whole), ((1.0, 2.5), false));
    }

    #[test]
    fn a_constant_has_a_scale() {
        let series = Series::new(&[0.1; 50]).unwrap();
        assert!(series.is_constant() && series.scale == 1.0);
        assert!((series.back(series.z[3]) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn only_the_newest_points_count() {
        let mut history = vec![7.0; HISTORY_MAX + 5];
        history[3] = 1e6;
        assert_eq!(Series::new(&history).unwrap().range, (7.0, 7.0));
    }
}
