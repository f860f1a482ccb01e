//! Several models of one step ahead made one: each weighs as much as made the past errors small.

use super::features::Frame;
use super::ridge::Step;

/// Parts into which the weight of one is cut.
const PARTS: usize = 4;

/// The blend of the models whose past forecasts, weighted, were nearest on the newest origins.
pub(super) fn blend(frame: &Frame<'_>, steps: &[Step], ahead: usize) -> Step {
    let rows = steps.iter().map(|step| step.past.len()).min().unwrap_or(0);
    let mut best = (f64::INFINITY, vec![0.0f32; steps.len()]);
    let mut tried = vec![0usize; steps.len()];
    try_all(&mut tried, 0, PARTS, &mut |parts| {
        let weights: Vec<f32> = parts.iter().map(|&part| part as f32 / PARTS as f32).collect();
        let error = error(frame, steps, ahead, &weights, rows);
        if error < best.0 {
            best = (error, weights);
        }
    });
    let weights = best.1;
    let mut past = vec![0.0f32; rows];
    let mut point = 0.0;
    for (step, &weight) in steps.iter().zip(&weights) {
        point += f64::from(weight) * step.point;
        past.iter_mut().zip(&step.past).for_each(|(sum, past)| *sum += weight * past);
    }
    Step { point, past }
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

fn error(frame: &Frame<'_>, steps: &[Step], ahead: usize, weights: &[f32], rows: usize) -> f64 {
    let begin = rows.saturating_sub(2_000);
    let stride = 1 + (rows - begin) / 500;
    let mut sum = 0.0;
    for row in (begin..rows).step_by(stride) {
        let said: f32 =
            steps.iter().zip(weights).map(|(step, weight)| weight * step.past[row]).sum();
        sum += (frame.z[frame.first + row + ahead] - f64::from(said)).abs();
    }
    sum
}
