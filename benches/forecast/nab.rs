//! Anomaly scores judged as the Numenta Anomaly Benchmark does it (Lavin and Ahmad, 2015): a window's
//! earliest detection counts, the earlier the more; what is found outside costs, the more the
//! farther behind a window it is; one threshold for all series.

use std::collections::HashMap;

use foreshadow::forecast::anomaly::Detector;

use crate::data::Series;

/// Weight of a false detection in the standard profile; those of a found and of a missed window are
/// one.
const FALSE_WEIGHT: f64 = 0.11;

/// The score of the standard profile, 0 for what says nothing and 100 for what is perfect, and the
/// threshold that it is reached at.
pub(crate) fn standard(series: &[&Series]) -> (f64, f64) {
    let mut rows: Vec<(f64, usize, Option<usize>, f64)> = Vec::new();
    let mut windows = 0.0;
    for (file, one) in series.iter().enumerate() {
        let marked = one.windows.as_deref().unwrap_or_default();
        windows += marked.len() as f64;
        let probation = (one.values.len() * 15 / 100).min(750);
        let day = 86_400usize.checked_div(one.step_s).unwrap_or(0);
        let mut detector = Detector::new(probation, day);
        for (row, &value) in one.values.iter().enumerate() {
            let score = detector.score(value);
            if row >= probation {
                let (window, worth) = worth(row, marked);
                rows.push((score, file, window, worth));
            }
        }
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let highest = sigmoid(-1.0);
    let (mut now, mut best) = (-windows, (-windows, 1.1));
    let mut found: HashMap<(usize, usize), f64> = HashMap::new();
    for (at, &(score, file, window, worth)) in rows.iter().enumerate() {
        match window {
            None => now += FALSE_WEIGHT * worth,
            Some(window) => {
                let (gain, known) = (worth / highest, found.get(&(file, window)).copied());
                now += known.map_or(1.0 + gain, |known| (gain - known).max(0.0));
                found.insert((file, window), known.map_or(gain, |known| known.max(gain)));
            }
        }
        let ends = rows.get(at + 1).is_none_or(|next| next.0 != score);
        if ends && now > best.0 {
            best = (now, score);
        }
    }
    (100.0 * (best.0 + windows) / (2.0 * f64::max(windows, 1.0)), best.1)
}

/// In which window a row is, and what a detection there is worth.
fn worth(row: usize, windows: &[(usize, usize)]) -> (Option<usize>, f64) {
    let inside = windows.iter().rposition(|&(first, last)| (first..=last).contains(&row));
    if let Some(window) = inside {
        let (first, last) = windows[window];
        return (inside, sigmoid(-((last - row + 1) as f64) / (last - first + 1) as f64));
    }
    let before = windows.iter().rfind(|&&(_, last)| last < row);
    let worth = before.map_or(-1.0, |&(first, last)| {
        if last > first { sigmoid((row - last) as f64 / (last - first) as f64) } else { -1.0 }
    });
    (None, worth)
}

fn sigmoid(x: f64) -> f64 {
    if x > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * x).exp()) - 1.0 }
}
