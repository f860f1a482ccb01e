//! Small dense linear algebra: dot products of columns, Gram matrices, and ridge solutions.
//!
//! The columns are `f32`, which holds differences of standardised values well enough and halves
//! the work; what is summed over them is `f64`.

/// How many products are summed in `f32` before they are added up in `f64`.
const CHUNK: usize = 256;
/// How many sums run side by side: enough that none waits for its last addition.
const LANES: usize = 16;

/// The scalar product of two columns of the same length; what one is longer is not looked at.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sum = 0.0;
    for (a, b) in a.chunks(CHUNK).zip(b.chunks(CHUNK)) {
        // Sums side by side: the processor adds them at once, in the same order always.
        let mut lanes = [0.0f32; LANES];
        let (mut left, mut right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
        for (x, y) in left.by_ref().zip(right.by_ref()) {
            for i in 0..LANES {
                lanes[i] += x[i] * y[i];
            }
        }
        let rest = left.remainder().iter().zip(right.remainder());
        sum += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
        sum += rest.map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
    }
    sum
}

/// A symmetric matrix, of which both halves are kept.
#[derive(Clone, Debug)]
pub(super) struct Square {
    /// Rows, one after the other.
    pub(super) cells: Vec<f64>,
    /// How many rows.
    pub(super) size: usize,
}

impl Square {
    pub(super) fn zero(size: usize) -> Square {
        Square { cells: vec![0.0; size * size], size }
    }

    pub(super) fn at(&self, row: usize, column: usize) -> f64 {
        self.cells[row * self.size + column]
    }

    pub(super) fn set(&mut self, row: usize, column: usize, value: f64) {
        self.cells[row * self.size + column] = value;
        self.cells[column * self.size + row] = value;
    }

    pub(super) fn add(&mut self, other: &Square, factor: f64) {
        for (cell, more) in self.cells.iter_mut().zip(&other.cells) {
            *cell += factor * more;
        }
    }

    /// `x' A x`.
    pub(super) fn form(&self, x: &[f64]) -> f64 {
        let rows = self.cells.chunks_exact(self.size);
        rows.zip(x).map(|(row, x_row)| x_row * inner(row, x)).sum()
    }
}

/// The scalar product of two short vectors.
pub(super) fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Solves `(A + diag(penalty)) x = b` by Cholesky; `None` where that matrix is not positive
/// definite, as with infinite or missing cells.
pub(super) fn ridge(a: &Square, penalty: &[f64], b: &[f64]) -> Option<Vec<f64>> {
    let n = a.size;
    let mut lower = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let done = inner(&lower[i * n..i * n + j], &lower[j * n..j * n + j]);
            let rest = a.at(i, j) - done;
            if i == j {
                let rest = rest + penalty[i];
                // Not `<=`: what is no number fails too.
                if !(rest > 0.0 && rest.is_finite()) {
                    return None;
                }
                lower[i * n + i] = rest.sqrt();
            } else {
                lower[i * n + j] = rest / lower[j * n + j];
            }
        }
    }
    let mut x = b.to_vec();
    for i in 0..n {
        let done = inner(&lower[i * n..i * n + i], &x[..i]);
        x[i] = (x[i] - done) / lower[i * n + i];
    }
    for i in (0..n).rev() {
        let done: f64 = (i + 1..n).map(|j| lower[j * n + i] * x[j]).sum();
        x[i] = (x[i] - done) / lower[i * n + i];
    }
    x.iter().all(|x| x.is_finite()).then_some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_columns_are_summed_whole() {
        let a: Vec<f32> = (0..1003).map(|i| (i % 7) as f32).collect();
        let b: Vec<f32> = (0..1003).map(|i| (i % 5) as f32).collect();
        let plain: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a * b)).sum();
        assert!((dot(&a, &b) - plain).abs() < 1e-6);
    }

    #[test]
    fn a_ridge_solution_solves_its_equations() {
        let mut a = Square::zero(3);
        for (i, j, v) in [(0, 0, 4.0), (1, 1, 5.0), (2, 2, 6.0), (0, 1, 1.0), (1, 2, -2.0)] {
            a.set(i, j, v);
        }
        let (penalty, b) = ([0.5, 0.0, 1.0], [1.0, 2.0, 3.0]);
        let x = ridge(&a, &penalty, &b).unwrap();
        for i in 0..3 {
            let row = inner(&a.cells[i * 3..i * 3 + 3], &x) + penalty[i] * x[i];
            assert!((row - b[i]).abs() < 1e-12, "row {i}");
        }
    }

    #[test]
    fn what_cannot_be_solved_is_told() {
        assert!(ridge(&Square::zero(2), &[0.0, 0.0], &[1.0, 1.0]).is_none());
        let mut broken = Square::zero(1);
        broken.set(0, 0, f64::NAN);
        assert!(ridge(&broken, &[1.0], &[1.0]).is_none());
    }
}
