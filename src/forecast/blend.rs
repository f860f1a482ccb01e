//! Several models of one step ahead made one: each weighs as much as made past errors small.
//!
//! Squared errors choose, since quantiles suffer from large ones; those beyond a bound count as if
//! at it, so that one incident does not choose for long.

use super::features::Frame;
use super::ridge::Step;
use super::solve::{Square, dot};

/// Parts into which the weight of one is cut.
const PARTS: usize = 8;
/// The newest origins that choose.
const ROWS: usize = 2_000;
/// Errors beyond so many times the mean error of the best model count as so large.
const ERROR_MAX: f64 = 30.0;

/// The blend of the models whose past forecasts, weighted, were nearest on the newest origins.
pub(super) fn blend(frame: &Frame<'_>, steps: &[Step], ahead: usize) -> Step {
    let rows = steps.iter().map(|step| step.past.len()).min().unwrap_or(0);
    let products = products(frame, steps, ahead, rows);
    let mut best = (f64::INFINITY, vec![0.0; steps.len()]);
    let mut tried = vec![0usize; steps.len()];
    try_all(&mut tried, 0, PARTS, &mut |parts| {
        let weights: Vec<f64> = parts.iter().map(|&part| part as f64 / PARTS as f64).collect();
        let error = products.form(&weights);
        if error < best.0 {
            best = (error, weights);
        }
    });
    let weights = best.1;
    let mut past = vec![0.0f32; rows];
    let mut point = 0.0;
    for (step, &weight) in steps.iter().zip(&weights).filter(|(_, weight)| **weight > 0.0) {
        point += weight * step.point;
        let weight = weight as f32;
        past.iter_mut().zip(&step.past).for_each(|(sum, past)| *sum += weight * past);
    }
    Step { point, past }
}

/// Products of the models' errors.
fn products(frame: &Frame<'_>, steps: &[Step], ahead: usize, rows: usize) -> Square {
    let begin = rows.saturating_sub(ROWS);
    let came = &frame.z[frame.first + begin + ahead..];
    let errors: Vec<Vec<f32>> = steps
        .iter()
        .map(|step| {
            came.iter().zip(&step.past[begin..rows]).map(|(z, past)| *z as f32 - past).collect()
        })
        .collect();
    let mean = |errors: &Vec<f32>| {
        errors.iter().map(|error| f64::from(error.abs())).sum::<f64>() / errors.len().max(1) as f64
    };
    let bound = errors.iter().map(mean).fold(f64::INFINITY, f64::min) * ERROR_MAX;
    let bound = if bound > 0.0 { bound as f32 } else { f32::MAX };
    let errors: Vec<Vec<f32>> = errors
        .into_iter()
        .map(|errors| errors.into_iter().map(|error| error.clamp(-bound, bound)).collect())
        .collect();
    let mut products = Square::zero(steps.len());
    for i in 0..steps.len() {
        for j in 0..=i {
            products.set(i, j, dot(&errors[i], &errors[j]));
        }
    }
    products
}

/// Every way of giving `left` parts to the models from `at` on.
fn try_all(parts: &mut Vec<usize>, at: usize, left: usize, look: &mut dyn FnMut(&[usize])) {
    if at + 1 == parts.len() {
        parts[at] = left;
        return look(parts);
    }
    for part in 0..=left {
        parts[at] = part;
        try_all(parts, at + 1, left - part, look);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_model_weighs_more_and_opposite_errors_cancel() {
        let z: Vec<f64> = (0..200).map(|t| f64::from(t % 7)).collect();
        let frame = Frame::new(&z, &[]);
        let off = |by: f64| {
            let past = z[frame.first + 1..].iter().map(|z| (z + by) as f32).collect();
            Step { point: by, past }
        };
        assert!(blend(&frame, &[off(9.0), off(0.0), off(5.0)], 1).point.abs() < 1e-9);
        let cancelled = blend(&frame, &[off(2.0), off(-2.0)], 1);
        assert!(cancelled.point.abs() < 1e-9, "{}", cancelled.point);
        assert!((f64::from(cancelled.past[3]) - z[frame.first + 4]).abs() < 1e-6);
    }
}
