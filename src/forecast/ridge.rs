//! Direct ridge regression on differences: one set of coefficients for each step ahead.
//!
//! The Gram matrix is summed in blocks of time. What one block adds is taken out again to fit
//! without it, so that every point of the history is predicted by coefficients that have not seen
//! its block: those errors choose the penalty and later become the quantiles.

use super::features::Frame;
use super::solve::{Square, dot, inner, ridge};

/// Blocks of time that are predicted by the others.
const BLOCKS: usize = 4;

/// Penalties that are tried, in units of the number of rows.
const PENALTIES: [f64; 4] = [0.0001, 0.001, 0.01, 0.06];

/// Each so-many-th step ahead chooses a penalty.
const CHOOSING: usize = 4;

/// The fewest rows for each column.
const ROWS_PER_COLUMN: usize = 3;

/// What a model says of one step ahead.
pub(super) struct Step {
    /// The standardised forecast.
    pub(super) point: f64,
    /// For each origin from the frame's first on, while its outcome is known: what would have been
    /// forecast there.
    pub(super) past: Vec<f32>,
}

/// What is shared between the steps ahead.
pub(super) struct Shared {
    columns: Vec<Vec<f32>>,
    /// Bounds of the blocks, in rows from the frame's first.
    bounds: [usize; BLOCKS + 1],
    /// Products of the common columns, by block; the last one up to the end.
    products: Vec<Square>,
    /// The penalty that was chosen last.
    penalty: Option<f64>,
}

impl Shared {
    /// `None` if the history is too short.
    pub(super) fn new(frame: &Frame<'_>) -> Option<Shared> {
        let columns = frame.common();
        let rows = columns[0].len();
        if rows < ROWS_PER_COLUMN * (columns.len() + 5) + BLOCKS {
            return None;
        }
        let bounds = std::array::from_fn(|block| block * rows / BLOCKS);
        let products = (0..BLOCKS).map(|block| {
            let mut product = Square::zero(columns.len());
            let rows = bounds[block]..bounds[block + 1];
            for i in 0..columns.len() {
                for j in 0..=i {
                    product.set(i, j, dot(&columns[i][rows.clone()], &columns[j][rows.clone()]));
                }
            }
            product
        });
        let products = products.collect();
        Some(Shared { columns, bounds, products, penalty: None })
    }
}

/// The sums of one block, or of several.
#[derive(Clone)]
struct Sums {
    gram: Square,
    moment: Vec<f64>,
    squares: f64,
    rows: f64,
}

impl Sums {
    fn add(&mut self, other: &Sums, factor: f64) {
        self.gram.add(&other.gram, factor);
        for (cell, more) in self.moment.iter_mut().zip(&other.moment) {
            *cell += factor * more;
        }
        self.squares += factor * other.squares;
        self.rows += factor * other.rows;
    }

    fn fit(&self, penalty: f64) -> Option<Vec<f64>> {
        // In units of each column's own spread; the constant goes free but for rounding.
        let penalties: Vec<f64> = (0..self.gram.size)
            .map(|i| if i == 0 { 1e-6 } else { penalty * self.gram.at(i, i).max(1e-9 * self.rows) })
            .collect();
        ridge(&self.gram, &penalties, &self.moment)
    }

    /// The sum of squared errors of some coefficients.
    fn error(&self, coefficients: &[f64]) -> f64 {
        self.squares - 2.0 * inner(coefficients, &self.moment) + self.gram.form(coefficients)
    }
}

/// Fits and applies the model of one step ahead. `usual` is [`Frame::usual_ahead`], if there is a
/// season.
pub(super) fn step(
    frame: &Frame<'_>,
    shared: &mut Shared,
    ahead: usize,
    usual: &[f64],
) -> Option<Step> {
    let own = frame.ahead(ahead, usual);
    let columns: Vec<&[f32]> = shared.columns.iter().chain(&own).map(Vec::as_slice).collect();
    let (rows, z) = (columns[0].len().checked_sub(ahead)?, frame.z);
    if rows < ROWS_PER_COLUMN * columns.len() + BLOCKS {
        return None;
    }
    let from = frame.first;
    let target: Vec<f32> = (from..from + rows).map(|t| (z[t + ahead] - z[t]) as f32).collect();
    let blocks: Vec<Sums> =
        (0..BLOCKS).map(|block| block_sums(shared, &columns, &target, block)).collect();
    let mut whole = blocks[0].clone();
    blocks[1..].iter().for_each(|block| whole.add(block, 1.0));
    // What is best for one step ahead is good for the next ones.
    let last = shared.penalty.filter(|_| !ahead.is_multiple_of(CHOOSING) && ahead != 1);
    let (penalty, without) = match last {
        Some(penalty) => choose(&whole, &blocks, &[penalty])?,
        None => choose(&whole, &blocks, &PENALTIES)?,
    };
    shared.penalty = Some(penalty);
    let coefficients = whole.fit(penalty)?;
    let mut past: Vec<f32> = z[from..from + rows].iter().map(|&z| z as f32).collect();
    for (block, coefficients) in without.iter().enumerate() {
        let (begin, end) = (shared.bounds[block].min(rows), shared.bounds[block + 1].min(rows));
        for (column, &factor) in columns.iter().zip(coefficients) {
            let factor = factor as f32;
            let pairs = past[begin..end].iter_mut().zip(&column[begin..end]);
            pairs.for_each(|(past, value)| *past += factor * value);
        }
    }
    let last = columns[0].len() - 1;
    let now: Vec<f64> = columns.iter().map(|column| f64::from(column[last])).collect();
    let mut point = z[z.len() - 1] + inner(&coefficients, &now);
    // Beyond what was ever seen, a line is no model.
    let (low, high) = frame.range();
    point = point.clamp(low, high);
    past.iter_mut().for_each(|past| *past = past.clamp(low as f32, high as f32));
    Some(Step { point, past })
}

/// The penalty whose coefficients predict the blocks best that they have not seen, and those
/// coefficients, by block.
fn choose(whole: &Sums, blocks: &[Sums], penalties: &[f64]) -> Option<(f64, Vec<Vec<f64>>)> {
    let mut best: Option<(f64, f64, Vec<Vec<f64>>)> = None;
    let rest: Vec<Sums> = blocks
        .iter()
        .map(|block| {
            let mut rest = whole.clone();
            rest.add(block, -1.0);
            rest
        })
        .collect();
    for &penalty in penalties {
        let fits: Option<Vec<Vec<f64>>> = rest.iter().map(|rest| rest.fit(penalty)).collect();
        let Some(fits) = fits else { continue };
        let error: f64 = blocks.iter().zip(&fits).map(|(block, fit)| block.error(fit)).sum();
        if best.as_ref().is_none_or(|best| error < best.0) {
            best = Some((error, penalty, fits));
        }
    }
    best.map(|(_, penalty, fits)| (penalty, fits))
}

fn block_sums(shared: &Shared, columns: &[&[f32]], target: &[f32], block: usize) -> Sums {
    let (common, all, rows) = (shared.columns.len(), columns.len(), target.len());
    let (begin, end) = (shared.bounds[block].min(rows), shared.bounds[block + 1].min(rows));
    let mut gram = Square::zero(all);
    for i in 0..common {
        for j in 0..=i {
            // What the common products have of rows whose outcome is not known yet.
            let beyond: f64 = (end..shared.bounds[block + 1])
                .map(|row| f64::from(columns[i][row]) * f64::from(columns[j][row]))
                .sum();
            gram.set(i, j, shared.products[block].at(i, j) - beyond);
        }
    }
    for i in common..all {
        for j in 0..=i {
            gram.set(i, j, dot(&columns[i][begin..end], &columns[j][begin..end]));
        }
    }
    let target = &target[begin..end];
    let moment = columns.iter().map(|column| dot(&column[begin..end], target)).collect();
    Sums { gram, moment, squares: dot(target, target), rows: (end - begin) as f64 }
}
