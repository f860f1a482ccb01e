//! Any bytes as a sequence of things that happen to the engine by DHCPv6, against the plain model
//! of the tests: no address or prefix has two holders, no acknowledged lease is lost.

use super::model6::{self, Op};

/// Plays one input.
pub fn run(data: &[u8]) {
    let ops: Vec<Op> = data.chunks(6).take(400).map(Op::of_bytes).collect();
    model6::play(&ops);
}
