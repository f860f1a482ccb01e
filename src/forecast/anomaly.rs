//! Scoring how unusual each value of a series is, when it comes: causal, in constant time.
//!
//! Three looks. A value beyond everything seen so far is new. A run of values that are not what
//! they were at this time on earlier days, and a run of large changes, are as unusual as the tail
//! of all such runs before says: above a high quantile of its own, each tail falls off as an
//! exponential (peaks over threshold). What scores silences what is no more unusual for a while,
//! so that one incident is one alarm.

use super::series::MAGNITUDE_MAX;

/// The most phases of a day that are kept apart; of finer series the season is not looked at.
const PHASES_MAX: usize = 17_280;
/// How many changes make a run.
const RUN: usize = 10;
/// Gain of the run of deviations from earlier days.
const RUN_GAIN: f64 = 0.14;
/// Gain of what is usual at a time of day, once it was seen some days.
const PHASE_GAIN: f64 = 0.3;
/// Phases before and after that may explain a value too.
const REACH: usize = 2;
/// Share of the seen range by which a value must leave it.
const RANGE_MARGIN: f64 = 0.05;
/// What a value beyond the range is worth, in powers of ten of rareness, and how that grows.
const NEW: f64 = 4.0;
const NEW_GROWTH: f64 = 5.0;
/// What rareness of a run of changes is worth beside that of deviations.
const CHANGES_WEIGHT: f64 = 0.7;
/// The powers of ten that score half.
const HALF: f64 = 4.0;
/// Below this nothing is told.
const TOLD_MIN: f64 = 0.3;
/// By how much a score must exceed the last one to be told at once.
const TOLD_MARGIN: f64 = 0.1;

/// The tail of a statistic: how rare a value as large as this is.
#[derive(Clone, Debug, Default)]
struct Tail {
    /// The high quantile above which the tail begins.
    threshold: f64,
    /// Mean excess of what was above.
    excess: f64,
    /// Share of what was above.
    rate: f64,
    /// Mean distance from the threshold: the unit of its steps.
    scale: f64,
    seen: f64,
}

impl Tail {
    /// The quantile at the threshold.
    const QUANTILE: f64 = 0.992;
    /// Values before the first that is judged.
    const WARM_UP: f64 = 60.0;

    /// The rareness of a value in powers of ten; learns it after that.
    fn rareness(&mut self, value: f64) -> f64 {
        if self.seen == 0.0 {
            self.threshold = value;
        }
        self.seen += 1.0;
        let distance = (value - self.threshold).abs();
        self.scale += (1.0 / self.seen).max(0.002) * (distance - self.scale);
        let above = value - self.threshold;
        let rareness = if above > 0.0 && self.excess > 0.0 && self.seen >= Tail::WARM_UP {
            (above / self.excess - self.rate.max(1e-4).ln()) / std::f64::consts::LN_10
        } else {
            0.0
        };
        self.learn(value);
        rareness
    }

    fn learn(&mut self, value: f64) {
        // One incident does not make the next one usual.
        let most = self.threshold + 20.0 * self.excess.max(self.scale * 0.1);
        let value = if self.seen > 100.0 { value.min(most) } else { value };
        // A running quantile: up seldom and far, down often and little.
        let step = self.scale * (20.0 / self.seen).max(0.01);
        let above = value > self.threshold;
        self.threshold += step * if above { Tail::QUANTILE } else { Tail::QUANTILE - 1.0 };
        let above = value > self.threshold;
        self.rate += (1.0 / self.seen).max(0.0005) * (f64::from(u8::from(above)) - self.rate);
        if above {
            let peaks = (self.seen * (1.0 - Tail::QUANTILE) + 3.0).min(150.0);
            self.excess += (value - self.threshold - self.excess) / peaks;
        }
    }
}

/// A detector of one series.
#[derive(Clone, Debug)]
pub struct Detector {
    probation: u64,
    seen: u64,
    /// Whether any value came.
    begun: bool,
    last: f64,
    range: (f64, f64),
    changes: [f64; RUN],
    changes_tail: Tail,
    /// What is usual at each phase of a day, and on how many days it was seen; empty if the series
    /// is too coarse or too fine for that.
    phases: Vec<(f64, u32)>,
    deviation: f64,
    deviation_tail: Tail,
    /// The last alarm: when, and how high.
    alarm: Option<(u64, f64)>,
}

impl Detector {
    /// A detector that learns from so many values before it says much of new ones, of a series
    /// with so many values a day (0: unknown).
    pub fn new(probation: usize, day: usize) -> Detector {
        let phases = if (2 * REACH + 2..=PHASES_MAX).contains(&day) { day } else { 0 };
        Detector {
            probation: probation as u64,
            seen: 0,
            begun: false,
            last: 0.0,
            range: (0.0, 0.0),
            changes: [0.0; RUN],
            changes_tail: Tail::default(),
            phases: vec![(0.0, 0); phases],
            deviation: 0.0,
            deviation_tail: Tail::default(),
            alarm: None,
        }
    }

    /// Takes the next value, and says how unusual it is: 0 not at all, 1 beyond everything. What
    /// is not finite is a gap, and scores 0; what is absurd, beyond 1e15, scores 1. Neither teaches
    /// anything.
    pub fn score(&mut self, value: f64) -> f64 {
        if value.is_nan() || value.abs() > MAGNITUDE_MAX {
            // The time of day goes on.
            self.seen += 1;
            return if value.is_finite() { self.told(1.0) } else { 0.0 };
        }
        if !self.begun {
            (self.begun, self.last, self.range) = (true, value, (value, value));
        }
        let rareness =
            self.beyond(value).max(CHANGES_WEIGHT * self.changed(value)).max(self.deviated(value));
        self.range = (self.range.0.min(value), self.range.1.max(value));
        self.last = value;
        self.seen += 1;
        // From 0 for what is usual to 1 for what never was.
        self.told(rareness / (rareness + HALF))
    }

    /// How new a value beyond everything seen so far is.
    fn beyond(&self, value: f64) -> f64 {
        let (low, high) = self.range;
        let width = (high - low).max(f64::MIN_POSITIVE);
        let beyond = (value - high).max(low - value);
        if beyond <= RANGE_MARGIN * width || self.seen < self.probation / 2 {
            return 0.0;
        }
        NEW + NEW_GROWTH * (beyond / width).min(1e9).ln_1p()
    }

    /// How rare a run of changes as large as the newest is.
    fn changed(&mut self, value: f64) -> f64 {
        self.changes[(self.seen % RUN as u64) as usize] = (value - self.last).abs();
        self.changes_tail.rareness(self.changes.iter().sum::<f64>() / RUN as f64)
    }

    /// How rare a run of deviations from earlier days as large as the newest is.
    fn deviated(&mut self, value: f64) -> f64 {
        let day = self.phases.len();
        if day == 0 {
            return 0.0;
        }
        let phase = (self.seen % day as u64) as usize;
        let mut rareness = 0.0;
        if self.phases[phase].1 > 0 {
            // What came a little earlier or later on other days is no deviation.
            let near = (0..=2 * REACH).map(|off| self.phases[(phase + day + off - REACH) % day]);
            let distances = near.filter(|usual| usual.1 > 0).map(|usual| (value - usual.0).abs());
            let distance = distances.fold(f64::INFINITY, f64::min);
            self.deviation += RUN_GAIN * (distance - self.deviation);
            if self.seen > 2 * day as u64 {
                let tail = &mut self.deviation_tail;
                // A tail of less than a few days is not known well.
                rareness = tail.rareness(self.deviation);
                rareness *= tail.seen / (tail.seen + day as f64);
            }
        }
        let usual = &mut self.phases[phase];
        usual.1 = usual.1.saturating_add(1);
        usual.0 += PHASE_GAIN.max(1.0 / f64::from(usual.1)) * (value - usual.0);
        rareness
    }

    /// Lets a score through if none as high was told a while ago.
    fn told(&mut self, score: f64) -> f64 {
        let hold = (self.probation / 9).max(30);
        let silenced = |(at, high)| self.seen - at <= hold && score <= high + TOLD_MARGIN;
        if score < TOLD_MIN || self.alarm.is_some_and(silenced) {
            return 0.0;
        }
        self.alarm = Some((self.seen, score));
        score
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: usize = 48;

    fn scores(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let mut detector = Detector::new(200, DAY);
        values.into_iter().map(|value| detector.score(value)).collect()
    }

    fn wave(t: usize) -> f64 {
        let noise = ((t * t * 7_919 + t * 31) % 101) as f64 / 101.0;
        50.0 + 20.0 * (t as f64 * std::f64::consts::TAU / DAY as f64).sin() + 4.0 * noise
    }

    fn highest(scores: &[f64]) -> f64 {
        scores.iter().copied().fold(0.0, f64::max)
    }

    #[test]
    fn a_spike_scores_when_it_comes_and_a_quiet_series_does_not() {
        let quiet = scores((0..1_200).map(wave));
        assert!(highest(&quiet[400..]) < 0.45, "{}", highest(&quiet[400..]));
        let spiked = scores((0..1_200).map(|t| if t == 900 { 140.0 } else { wave(t) }));
        assert!(spiked[900] > 0.55, "{}", spiked[900]);
        // The way back may be told too, as it doubles the change.
        let told = spiked[901..930].iter().filter(|&&score| score > 0.0).count();
        assert!(told <= 1, "one incident, one alarm: {told} more");
    }

    #[test]
    fn a_usual_value_at_an_unusual_time_scores() {
        // Half a day of what is usual at noon, but at night.
        let shifted = scores((0..1_200).map(|t| wave(if t >= 1_000 { t + DAY / 2 } else { t })));
        assert!(highest(&shifted[1_000..1_048]) > 0.45, "{}", highest(&shifted[1_000..1_048]));
    }

    #[test]
    fn no_score_depends_on_what_comes_later() {
        let (whole, part) = (scores((0..600).map(wave)), scores((0..300).map(wave)));
        assert_eq!(whole[..300], part[..]);
    }

    #[test]
    fn what_is_absurd_is_told_and_does_not_hide_what_follows() {
        let spoilt = scores((0..1_200).map(|t| match t {
            600 => 1e308,
            601 => -1e300,
            900 => 140.0,
            t => wave(t),
        }));
        assert_eq!(spoilt[600..602], [1.0, 0.0], "one incident, one alarm");
        assert!(spoilt[900] > 0.55, "{}", spoilt[900]);
    }

    #[test]
    fn anything_gets_a_score_from_0_to_1() {
        let odd = [f64::NAN, 0.0, -0.0, f64::INFINITY, 1e308, -1e308, f64::MIN_POSITIVE, 5.0];
        for day in [0, 1, 5, 6, 48, usize::MAX] {
            let mut detector = Detector::new(100, day);
            for t in 0..3_000 {
                let score = detector.score(odd[(t * t + t / 7) % odd.len()]);
                assert!((0.0..=1.0).contains(&score), "{score} at {t}");
            }
        }
        assert_eq!(highest(&scores(vec![3.0; 500])), 0.0, "a constant is quiet");
    }
}
