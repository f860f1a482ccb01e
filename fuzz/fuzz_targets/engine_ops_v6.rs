//! Any bytes as a sequence of things that happen to the engine by DHCPv6, against the plain model
//! of the tests: no address or prefix has two holders, no acknowledged lease is lost.
#![no_main]

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/model6/mod.rs"]
mod model6;

use libfuzzer_sys::fuzz_target;
use model6::Op;

fuzz_target!(|data: &[u8]| {
    let ops: Vec<Op> = data.chunks(6).take(400).map(Op::of_bytes).collect();
    model6::play(&ops);
});
