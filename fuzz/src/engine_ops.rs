//! Any bytes as a sequence of things that happen to the engine, against the plain model of the
//! tests: no address has two holders, no acknowledged lease is lost.

use super::model::{self, Op};

/// Plays one input.
pub fn run(data: &[u8]) {
    let ops: Vec<Op> = data.chunks(5).take(400).map(Op::of_bytes).collect();
    model::play(&ops);
}
