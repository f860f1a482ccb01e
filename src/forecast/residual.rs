//! From a point forecast to quantiles: the errors that the model made where it had not looked,
//! scaled by how large errors are expected to be just now (conformal prediction with locally
//! scaled errors).

use super::features::{Frame, around, sums};
use super::ridge::Step;
use super::solve::{Square, dot, inner, ridge};

/// Errors are not expected smaller than this share of the mean error.
const SCALE_MIN: f64 = 0.2;
/// Share of the origins whose forecast was nearest to this one, whose errors count.
const NEAR_SHARE: f64 = 0.4;
/// How many errors count at least, if there are so many.
const NEAR_MIN: usize = 120;

/// How restless a history was at each of its points: what the size of errors is expected from.
pub(super) struct Restless {
    columns: Vec<Vec<f32>>,
    /// The absolute change at each phase of the season: a weighted mean over earlier seasons and
    /// over the neighbours.
    by_phase: Vec<f32>,
    /// Running sums of that without the neighbours.
    by_phase_sums: Vec<f64>,
    /// How many neighbours on each side.
    reach: usize,
}

impl Restless {
    pub(super) fn new(frame: &Frame<'_>) -> Restless {
        let z = frame.z;
        let change = |t: usize| if t == 0 { 0.0 } else { (z[t] - z[t - 1]).abs() };
        let averaged = |gain: f64| {
            let mut mean = 0.0;
            let mut means = Vec::with_capacity(z.len());
            for t in 0..z.len() {
                mean += gain.max(1.0 / (t + 1) as f64) * (change(t) - mean);
                means.push(mean);
            }
            means[frame.first..].iter().map(|&mean| mean as f32).collect::<Vec<f32>>()
        };
        let columns = vec![vec![1.0; z.len() - frame.first], averaged(0.25), averaged(0.01)];
        let mut by_phase = Vec::new();
        if frame.season > 0 {
            by_phase = (0..z.len()).map(change).collect();
            for t in frame.season..z.len() {
                let gain = 0.3f64.max(1.0 / ((t / frame.season) as f64 + 1.0));
                let before = by_phase[t - frame.season];
                by_phase[t] = before + gain * (by_phase[t] - before);
            }
        }
        let by_phase_sums = sums(&by_phase);
        let reach = if frame.season >= 96 { 3 } else { 1 };
        let around = |at| around(&by_phase_sums, at, reach, z.len() - 1) as f32;
        let by_phase = (0..by_phase.len()).map(around).collect();
        Restless { columns, by_phase, by_phase_sums, reach }
    }

    /// The change that is usual on the way to so far ahead, for each origin from the frame's first
    /// on, the end included.
    fn on_the_way(&self, frame: &Frame<'_>, ahead: usize) -> Vec<f32> {
        let (back, n) = (Frame::back(ahead, frame.season), frame.z.len());
        if back >= self.reach {
            return self.by_phase[frame.first - back..n - back].to_vec();
        }
        let usual = |t: usize| around(&self.by_phase_sums, t - back, self.reach, t) as f32;
        (frame.first..n).map(usual).collect()
    }
}

/// The quantiles, standardised, of one step ahead.
pub(super) fn quantiles(
    frame: &Frame<'_>,
    restless: &Restless,
    step: &Step,
    ahead: usize,
    wanted: &[f64],
) -> Vec<f64> {
    let (z, from, rows) = (frame.z, frame.first, step.past.len());
    let errors: Vec<f64> =
        (0..rows).map(|row| z[from + row + ahead] - f64::from(step.past[row])).collect();
    let (scales, scale_now) = scales(frame, restless, step, ahead, &errors);
    let mut order: Vec<(f64, f64)> =
        (0..rows).map(|row| (f64::from(step.past[row]), errors[row] / scales[row])).collect();
    let count = ((rows as f64 * NEAR_SHARE) as usize).max(NEAR_MIN).min(rows);
    if count < rows {
        let below = order.iter().filter(|(past, _)| *past < step.point).count();
        let begin = below.saturating_sub(count / 2).min(rows - count);
        let by_past = |a: &(f64, f64), b: &(f64, f64)| a.0.total_cmp(&b.0);
        // Not sorted, but parted: what is below, what is near, what is above.
        if begin > 0 {
            order.select_nth_unstable_by(begin, by_past);
        }
        order.drain(..begin);
        if count < order.len() {
            order.select_nth_unstable_by(count, by_past);
        }
        order.truncate(count);
    }
    let mut ratios: Vec<f64> = order.into_iter().map(|(_, ratio)| ratio).collect();
    order_at(&mut ratios, wanted);
    let last = ratios.len().saturating_sub(1);
    let at = |&q: &f64| step.point + scale_now * quantile(&ratios, outwards(q, last));
    wanted.iter().map(at).collect()
}

/// The expected size of the error at each origin, and at the end.
fn scales(
    frame: &Frame<'_>,
    restless: &Restless,
    step: &Step,
    ahead: usize,
    errors: &[f64],
) -> (Vec<f64>, f64) {
    let rows = errors.len();
    let size: Vec<f32> = errors.iter().map(|error| error.abs() as f32).collect();
    let mean = size.iter().map(|&size| f64::from(size)).sum::<f64>() / rows.max(1) as f64;
    if mean <= 0.0 {
        return (vec![1.0; rows], 0.0);
    }
    let way = if frame.season > 0 { restless.on_the_way(frame, ahead) } else { Vec::new() };
    let known = restless.columns.iter().chain((frame.season > 0).then_some(&way));
    let mut columns: Vec<&[f32]> = known.clone().map(|column| &column[..rows]).collect();
    columns.push(&step.past);
    let mut gram = Square::zero(columns.len());
    for i in 0..columns.len() {
        for j in 0..=i {
            gram.set(i, j, dot(columns[i], columns[j]));
        }
    }
    let moment: Vec<f64> = columns.iter().map(|column| dot(column, &size)).collect();
    let penalties: Vec<f64> = (0..columns.len())
        .map(|i| if i == 0 { 1e-6 } else { 0.02 * gram.at(i, i) + 1e-9 * rows as f64 })
        .collect();
    let Some(factors) = ridge(&gram, &penalties, &moment) else {
        return (vec![1.0; rows], 1.0);
    };
    let bounded = |scale: f64| scale.max(SCALE_MIN * mean);
    let mut scales = vec![0.0; rows];
    for (column, factor) in columns.iter().zip(&factors) {
        let pairs = scales.iter_mut().zip(*column);
        pairs.for_each(|(scale, value)| *scale += factor * f64::from(*value));
    }
    scales.iter_mut().for_each(|scale| *scale = bounded(*scale));
    let mut now: Vec<f64> = known.map(|column| f64::from(column[column.len() - 1])).collect();
    now.push(step.point);
    (scales, bounded(inner(&now, &factors)))
}

/// Puts those values into their places that the wanted quantiles are read from: as if all were
/// sorted, for less.
fn order_at(values: &mut [f64], wanted: &[f64]) {
    let Some(last) = values.len().checked_sub(1) else { return };
    let below = |&wanted: &f64| (outwards(wanted, last) * last as f64) as usize;
    let mut places: Vec<usize> =
        wanted.iter().map(below).flat_map(|below| [below, (below + 1).min(last)]).collect();
    places.sort_unstable();
    places.dedup();
    let mut done = 0;
    for place in places {
        // What is before `done` is in its place or below all that follows.
        values[done..].select_nth_unstable_by(place - done, f64::total_cmp);
        done = place + 1;
    }
}

/// The quantile of so many known errors, less one, below which the next error is with a chance: it is
/// as likely to fall between any two of them as beyond either end (split conformal prediction).
fn outwards(chance: f64, last: usize) -> f64 {
    if last == 0 {
        return 0.5;
    }
    ((chance * (last as f64 + 2.0) - 1.0) / last as f64).clamp(0.0, 1.0)
}

/// A quantile of sorted values, between neighbours; zero of none.
pub(super) fn quantile(sorted: &[f64], wanted: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = wanted.clamp(0.0, 1.0) * last as f64;
    let below = place as usize;
    let above = (below + 1).min(last);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_errors_make_wider_bands() {
        for last in [1, 5, 100] {
            assert!((outwards(0.5, last) - 0.5).abs() < 1e-12);
            assert!((outwards(0.1, last) + outwards(0.9, last) - 1.0).abs() < 1e-12);
        }
        // Of nine errors the ninth is what the next is below nine times in ten.
        assert_eq!((outwards(0.9, 8), outwards(0.1, 8)), (1.0, 0.0));
        assert!(outwards(0.9, 1_000) - 0.9 < 0.001);
    }

    #[test]
    fn quantiles_need_not_all_be_sorted() {
        let values: Vec<f64> = (0..997).map(|i| f64::from(i * 7_919 % 997)).collect();
        let wanted = [0.9, 0.025, 0.5, 1.0, 0.0];
        let (mut some, mut all) = (values.clone(), values);
        order_at(&mut some, &wanted);
        all.sort_unstable_by(f64::total_cmp);
        let last = all.len() - 1;
        for wanted in wanted.map(|chance| outwards(chance, last)) {
            assert_eq!(quantile(&some, wanted), quantile(&all, wanted));
        }
    }
}
