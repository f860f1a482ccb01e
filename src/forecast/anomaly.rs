//! Scoring how unusual each value of a series is, when it comes: causal, in constant time.
//!
//! Two looks: values beyond everything seen so far, and a run of one-step errors that is long or
//! large beside the history of such runs. A value that scores silences lesser ones for a while, so
//! that one incident is one alarm.

/// How many one-step errors make a run.
const RUN: usize = 10;
/// Gain of the level that the next value is expected at.
const LEVEL_GAIN: f64 = 0.25;
/// Errors beyond so many usual ones are no more unusual.
const ERROR_MAX: f64 = 100.0;
/// Values before the first that can score.
const WARM_UP: u64 = 20;
/// How many runs the memory of runs reaches back.
const MEMORY: f64 = 4_000.0;
/// Share of the seen range by which a value must leave it.
const RANGE_MARGIN: f64 = 0.05;
/// Below this nothing is an alarm.
const ALARM: f64 = 0.5;

/// A detector of one series.
#[derive(Clone, Debug)]
pub struct Detector {
    probation: u64,
    seen: u64,
    level: f64,
    last: f64,
    range: (f64, f64),
    /// The usual absolute change from value to value: a running median.
    usual: f64,
    run: [f64; RUN],
    run_mean: f64,
    run_spread: f64,
    runs: f64,
    /// The last alarm: when, and how high.
    alarm: Option<(u64, f64)>,
}

impl Detector {
    /// A detector that learns from so many values before it says much.
    pub fn new(probation: usize) -> Detector {
        Detector {
            probation: probation as u64,
            seen: 0,
            level: 0.0,
            last: 0.0,
            range: (0.0, 0.0),
            usual: 0.0,
            run: [0.0; RUN],
            run_mean: 0.0,
            run_spread: 0.0,
            runs: 0.0,
            alarm: None,
        }
    }

    /// Takes the next value, and says how unusual it is: 0 not at all, 1 beyond everything. What
    /// is not finite is a gap: it scores 0 and teaches nothing.
    pub fn score(&mut self, value: f64) -> f64 {
        if !value.is_finite() {
            return 0.0;
        }
        // Squares and differences of such values still are numbers.
        let value = value.clamp(-1e100, 1e100);
        if self.seen == 0 {
            (self.level, self.last, self.range) = (value, value, (value, value));
        }
        let unusual = self.run_score(value).max(self.range_score(value));
        self.range = (self.range.0.min(value), self.range.1.max(value));
        self.seen += 1;
        self.told(unusual)
    }

    /// How unusual the newest run of errors is.
    fn run_score(&mut self, value: f64) -> f64 {
        let change = (value - self.last).abs();
        self.last = value;
        if change > 0.0 {
            // A running median: a step up or down, a share of itself.
            let step = 0.02f64.max(1.0 / (self.seen + 1) as f64);
            self.usual = if self.usual == 0.0 {
                change
            } else if change > self.usual {
                self.usual * (1.0 + step)
            } else {
                self.usual * (1.0 - step)
            };
        }
        let error = if self.usual > 0.0 { (value - self.level).abs() / self.usual } else { 0.0 };
        self.level += LEVEL_GAIN * (value - self.level);
        self.run[(self.seen % RUN as u64) as usize] = error.min(ERROR_MAX);
        if self.seen < WARM_UP {
            return 0.0;
        }
        let mean = self.run.iter().sum::<f64>() / RUN as f64;
        let off = mean - self.run_mean;
        let deviation = off / (self.run_spread + 0.05).sqrt();
        let gain = 1.0 / (self.runs.min(MEMORY) + 1.0);
        self.run_mean += gain * off;
        self.run_spread += gain * (off * (mean - self.run_mean) - self.run_spread);
        self.runs += 1.0;
        if deviation > 2.0 { 0.5 + 0.45 * saturate((deviation - 2.0) / 3.0) } else { 0.0 }
    }

    /// How far beyond everything seen so far.
    fn range_score(&self, value: f64) -> f64 {
        let (low, high) = self.range;
        let width = high - low;
        let beyond = (value - high).max(low - value);
        if beyond <= RANGE_MARGIN * width || self.seen < self.probation / 2 {
            return 0.0;
        }
        0.9 + 0.1 * saturate(beyond / (width + f64::MIN_POSITIVE))
    }

    /// Lets an alarm through if none as high was told a while ago.
    fn told(&mut self, score: f64) -> f64 {
        let hold = (self.probation / 9).max(30);
        let silenced = self.alarm.is_some_and(|(at, high)| self.seen - at <= hold && score <= high);
        if score <= ALARM || silenced {
            return 0.0;
        }
        self.alarm = Some((self.seen, score));
        score
    }
}

/// From 0 at zero to 1 at infinity.
fn saturate(x: f64) -> f64 {
    if x.is_finite() { 1.0 - 1.0 / (1.0 + x.max(0.0)) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let mut detector = Detector::new(100);
        values.into_iter().map(|value| detector.score(value)).collect()
    }

    fn wave(t: usize) -> f64 {
        10.0 + (t as f64 / 10.0).sin() + ((t * 7_919) % 13) as f64 / 20.0
    }

    #[test]
    fn a_spike_scores_when_it_comes_and_a_quiet_series_does_not() {
        let quiet = scores((0..600).map(wave));
        assert!(quiet[200..].iter().all(|&score| score < 0.6), "{quiet:?}");
        let spiked = scores((0..600).map(|t| if t == 400 { 40.0 } else { wave(t) }));
        assert!(spiked[400] > 0.9, "{}", spiked[400]);
    }

    #[test]
    fn no_score_depends_on_what_comes_later() {
        let (whole, part) = (scores((0..600).map(wave)), scores((0..300).map(wave)));
        assert_eq!(whole[..300], part[..]);
    }

    #[test]
    fn anything_gets_a_score_from_0_to_1() {
        let odd = [f64::NAN, 0.0, -0.0, f64::INFINITY, 1e308, -1e308, f64::MIN_POSITIVE, 5.0];
        let all = scores((0..2_000).map(|t| odd[(t * t + t / 7) % odd.len()]));
        assert!(all.iter().all(|score| (0.0..=1.0).contains(score)));
        assert!(scores(vec![3.0; 500]).iter().all(|&score| score == 0.0), "a constant is quiet");
    }
}
