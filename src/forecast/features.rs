//! What a forecast is computed from: for each origin in a history, what was known there.
//!
//! Every feature is a difference (now and a while ago, now and a mean, a season ago and just after
//! that), so that a coefficient of zero means "as it is now", and shrinking leads to persistence.
//! Row `t` of a column uses values up to `t` only.

/// Weight of the newest day in the profile of a season.
const PROFILE_GAIN: f64 = 0.25;

/// Share of the seen range by which a forecast may leave it.
const RANGE_MARGIN: f64 = 0.05;

/// A history and what is derived from it once for all horizons.
pub(super) struct Frame<'z> {
    /// The standardised history.
    pub(super) z: &'z [f64],
    /// The shorter season in points, zero if there is none.
    pub(super) season: usize,
    /// The longer season in points, zero if there is none.
    pub(super) long: usize,
    /// The first origin at which every feature of the shorter season is known.
    pub(super) first: usize,
    /// Running sums of `z`, one longer than it.
    sums: Vec<f64>,
    /// Deviation from the mean of the season that ends there.
    deviation: Vec<f64>,
    /// What that deviation usually is: weighted mean over earlier seasons, the newest included.
    profile: Vec<f64>,
    /// Running sums of `profile`.
    profile_sums: Vec<f64>,
    /// The profile and the history over their neighbours on both sides.
    smooth_profile: Vec<f64>,
    smooth: Vec<f64>,
}

/// The running sums of some values: one more than there are values.
pub(super) fn sums(values: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let mut sums = Vec::with_capacity(values.len() + 1);
    sums.push(0.0);
    sums.extend(values.iter().map(|value| {
        sum += value;
        sum
    }));
    sums
}

/// Which of the seasons a history of `n` points supports: a shorter one, and a longer one.
pub(super) fn seasons(candidates: &[usize], n: usize) -> (usize, usize) {
    let mut fitting = candidates.iter().copied().filter(|season| (2..=n).contains(season));
    let season = fitting.by_ref().find(|&season| 2 * season + 12 <= n).unwrap_or(0);
    let is_long = |&long: &usize| long > season && season > 0 && long + 2 * season <= n;
    (season, fitting.find(is_long).unwrap_or(0))
}

impl<'z> Frame<'z> {
    pub(super) fn new(z: &'z [f64], candidates: &[usize]) -> Frame<'z> {
        let n = z.len();
        let (season, long) = seasons(candidates, n);
        let sums = sums(z);
        let mut frame = Frame {
            z,
            season,
            long,
            first: if long > 0 && n >= 3 * long {
                long
            } else if season > 0 {
                season
            } else {
                (n / 8).min(36)
            },
            sums,
            deviation: Vec::new(),
            profile: Vec::new(),
            profile_sums: Vec::new(),
            smooth_profile: Vec::new(),
            smooth: Vec::new(),
        };
        if season > 0 {
            frame.deviation = (0..n).map(|t| z[t] - frame.mean(t, season)).collect();
            frame.profile = profile(&frame.deviation, season);
        }
        frame.profile_sums = self::sums(&frame.profile);
        let reach = frame.reach();
        frame.smooth_profile = (0..frame.profile.len())
            .map(|at| around(&frame.profile_sums, at, reach, n - 1))
            .collect();
        frame.smooth = (0..n).map(|at| around(&frame.sums, at, 1, n - 1)).collect();
        frame
    }

    /// What a forecast may be: as low and as high as anything seen, and a little more.
    pub(super) fn range(&self) -> (f64, f64) {
        let low = self.z.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let margin = RANGE_MARGIN * (high - low);
        (low - margin, high + margin)
    }

    /// The mean of the newest `width` values at `t`, of fewer near the beginning.
    pub(super) fn mean(&self, t: usize, width: usize) -> f64 {
        mean(&self.sums, (t + 1).saturating_sub(width), t + 1)
    }

    /// How many neighbours on each side the profile is smoothed over.
    fn reach(&self) -> usize {
        if self.season >= 96 { 2 } else { 0 }
    }

    /// The profile near slot `at`, as known at `t`.
    pub(super) fn usual(&self, at: usize, t: usize) -> f64 {
        let reach = self.reach();
        if at + reach <= t {
            return self.smooth_profile[at];
        }
        around(&self.profile_sums, at, reach, t)
    }

    /// How far back from an origin the newest point of the phase lies that is so far ahead of it:
    /// less than a season.
    pub(super) fn back(ahead: usize, season: usize) -> usize {
        season * ahead.div_ceil(season).max(1) - ahead
    }

    /// What is usual at the phase so far ahead, as known at each origin from the frame's first on,
    /// the end included. Only with a season.
    pub(super) fn usual_ahead(&self, ahead: usize) -> Vec<f64> {
        let (back, n) = (Frame::back(ahead, self.season), self.z.len());
        if back >= self.reach() {
            return self.smooth_profile[self.first - back..n - back].to_vec();
        }
        (self.first..n).map(|t| self.usual(t - back, t)).collect()
    }

    /// The columns that are the same for all horizons, each from `first` to the end.
    pub(super) fn common(&self) -> Vec<Vec<f32>> {
        let z = self.z;
        let lag = |t: usize, k: usize| z[t.saturating_sub(k)];
        let mut columns: Vec<Vec<f32>> = Vec::new();
        let mut add = |f: &dyn Fn(usize) -> f64| {
            columns.push((self.first..z.len()).map(|t| f(t) as f32).collect());
        };
        add(&|_| 1.0);
        for (from, to) in [(0, 1), (1, 2), (2, 3), (3, 5), (5, 11)] {
            add(&|t| lag(t, from) - lag(t, to));
        }
        add(&|t| z[t]);
        for width in [3, 6, 12, 36] {
            add(&|t| z[t] - self.mean(t, width));
        }
        if self.season > 0 {
            let season = self.season;
            let width = 12.min(season / 4).max(1);
            add(&|t| z[t] - self.mean(t, season));
            // How far today is from yesterday, and from the usual.
            add(&|t| {
                self.mean(t, width)
                    - t.checked_sub(season).map_or(0.0, |then| self.mean(then, width))
            });
            add(&|t| self.deviation[t] - self.usual(t - season, t));
            add(&|t| z[t] - lag(t, season));
            if self.long > 0 {
                add(&|t| {
                    if t >= self.long { z[t] - z[t - self.long] } else { z[t] - z[t - season] }
                });
            }
        }
        columns
    }

    /// The columns of one horizon: what happened next, a season ago. `usual` is
    /// [`Frame::usual_ahead`], if there is a season.
    pub(super) fn ahead(&self, ahead: usize, usual: &[f64]) -> Vec<Vec<f32>> {
        let (season, first, n) = (self.season, self.first, self.z.len());
        if season == 0 {
            return Vec::new();
        }
        let back = Frame::back(ahead, season);
        let at = &self.z[first - back..n - back];
        let mut columns = vec![differences(at, &self.z[first - season..n - season])];
        columns.push(self.next(ahead, season, first));
        let usual_then = &self.smooth_profile[first - season..n - season];
        columns.push(differences(usual, usual_then));
        if self.reach() > 0 {
            // What is smoothed has no edges, and days may have.
            let exact = &self.profile[first - back..n - back];
            columns.push(differences(exact, &self.profile[first - season..n - season]));
        }
        if self.long > 0 {
            let known = self.long.max(first).min(n);
            let mut column = columns[1][..known - first].to_vec();
            column.extend(self.next(ahead, self.long, known));
            let mut exact = columns[0][..known - first].to_vec();
            columns.push(column);
            let back = Frame::back(ahead, self.long);
            let then = &self.z[known - self.long..n - self.long];
            exact.extend(differences(&self.z[known - back..n - back], then));
            columns.push(exact);
        }
        columns
    }

    /// What came next a season ago, smoothed, for the origins from `from` on.
    fn next(&self, ahead: usize, season: usize, from: usize) -> Vec<f32> {
        let (back, n) = (Frame::back(ahead, season), self.z.len());
        let then = &self.smooth[from - season..n - season];
        if back > 0 {
            return differences(&self.smooth[from - back..n - back], then);
        }
        let at: Vec<f64> = (from..n).map(|t| around(&self.sums, t, 1, t)).collect();
        differences(&at, then)
    }
}

fn differences(values: &[f64], others: &[f64]) -> Vec<f32> {
    values.iter().zip(others).map(|(value, other)| (value - other) as f32).collect()
}

/// The mean of the values from `from` to before `to`, by their running sums; zero of none.
fn mean(sums: &[f64], from: usize, to: usize) -> f64 {
    if to <= from { 0.0 } else { (sums[to] - sums[from]) / (to - from) as f64 }
}

/// The mean of the values around `at`, up to `last`.
pub(super) fn around(sums: &[f64], at: usize, reach: usize, last: usize) -> f64 {
    mean(sums, at.saturating_sub(reach), (at + reach).min(last) + 1)
}

/// For each point the weighted mean of the values at its phase up to it; the first seasons weigh
/// as much as they must for the mean to be one.
fn profile(values: &[f64], season: usize) -> Vec<f64> {
    let mut profile = values.to_vec();
    for t in season..values.len() {
        let gain = PROFILE_GAIN.max(1.0 / ((t / season) as f64 + 1.0));
        profile[t] = profile[t - season] + gain * (values[t] - profile[t - season]);
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_feature_knows_what_comes_later() {
        const SEEN: usize = 1_200;
        let whole: Vec<f64> = (0..1_600).map(|t| f64::from(t * t % 97) / 97.0).collect();
        let mut other = whole.clone();
        other[SEEN + 1..].iter_mut().for_each(|value| *value = 5.0 - *value);
        for seasons in [&[][..], &[24, 168], &[96, 672], &[2]] {
            let (frame, changed) = (Frame::new(&whole, seasons), Frame::new(&other, seasons));
            let rows = SEEN + 1 - frame.first;
            let same = |a: &[Vec<f32>], b: &[Vec<f32>], what: &str| {
                assert!(a[1] != b[1], "{what}s say nothing");
                for (number, (a, b)) in a.iter().zip(b).enumerate() {
                    assert_eq!(a.len(), whole.len() - frame.first);
                    assert!(a[..rows] == b[..rows], "{what} {number} of {seasons:?}");
                }
            };
            same(&frame.common()[1..], &changed.common()[1..], "column");
            for ahead in [1, 2, 23, 24, 25, 94, 96, 168, 671, 672] {
                if frame.season == 0 {
                    assert!(frame.ahead(ahead, &[]).is_empty());
                    continue;
                }
                let columns = |frame: &Frame<'_>| frame.ahead(ahead, &frame.usual_ahead(ahead));
                let (found, others) = (columns(&frame), columns(&changed));
                let more = 2 * usize::from(frame.long > 0) + usize::from(frame.season >= 96);
                assert_eq!(found.len(), 3 + more);
                same(&found, &others, &format!("{ahead} ahead, column"));
            }
        }
    }

    #[test]
    fn seasons_fit_into_the_history() {
        assert_eq!(seasons(&[288, 2_016], 4_032), (288, 2_016));
        assert_eq!(seasons(&[288, 2_016], 2_000), (288, 0));
        assert_eq!(seasons(&[288, 2_016], 500), (0, 0));
        assert_eq!(seasons(&[0, 1, usize::MAX], 500), (0, 0));
    }
}
