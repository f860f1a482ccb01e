//! Random operations on the engine against a plain model.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

mod model;

use model::Op;
use proptest::prelude::*;

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => any::<(u8, u8, u8, u8)>()
            .prop_map(|(client, kind, addr, odd)| Op::Send { client, kind, addr, odd }),
        2 => any::<(u8, u8)>().prop_map(|(client, addr)| Op::Arp { client, addr }),
        3 => (0u16..300).prop_map(Op::Advance),
        1 => Just(Op::Hold),
        1 => Just(Op::Commit),
        1 => Just(Op::Lose),
        1 => Just(Op::Repair),
        1 => Just(Op::Crash),
        1 => Just(Op::Reload),
        1 => any::<u16>().prop_map(Op::Noise),
    ]
}

/// The seeds of the fuzzer are played in every run of the tests.
#[test]
fn the_seeds_of_the_fuzzer_hold() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/engine_ops");
    let files: Vec<_> = std::fs::read_dir(seeds).unwrap().map(|f| f.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        let bytes = std::fs::read(file).unwrap();
        let ops: Vec<Op> = bytes.chunks(5).map(Op::of_bytes).collect();
        model::play(&ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn no_address_has_two_holders_and_no_lease_is_lost(ops in prop::collection::vec(op(), 0..150)) {
        model::play(&ops);
    }
}
