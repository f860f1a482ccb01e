//! Any bytes as a sequence of things that happen to the engine, against the plain model of the
//! tests: no address has two holders, no acknowledged lease is lost.
#![no_main]

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/model/mod.rs"]
mod model;

use libfuzzer_sys::fuzz_target;
use model::Op;

fuzz_target!(|data: &[u8]| {
    let ops: Vec<Op> = data.chunks(5).take(400).map(Op::of_bytes).collect();
    model::play(&ops);
});
