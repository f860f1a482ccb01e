//! Random operations on the engine against a plain model.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

mod model;
mod model6;

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

fn op6() -> impl Strategy<Value = model6::Op> {
    use model6::Op;
    prop_oneof![
        14 => any::<(u8, u8, u8, u8, u8)>().prop_map(|(client, kind, ias, name, odd)| {
            Op::Send { client, kind, ias, name, odd }
        }),
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
    for bytes in seeds("engine_ops") {
        let ops: Vec<Op> = bytes.chunks(5).map(Op::of_bytes).collect();
        model::play(&ops);
    }
    for bytes in seeds("engine_ops_v6") {
        let ops: Vec<_> = bytes.chunks(6).map(model6::Op::of_bytes).collect();
        model6::play(&ops);
    }
}

/// A reload that tells clients apart otherwise: an offer by the old rule is no word for a clone.
#[test]
fn an_offer_by_another_rule_proves_nothing() {
    use model6::Op;
    let send = |client, kind, ias, odd| Op::Send { client, kind, ias, name: 0, odd };
    let ops =
        [send(0, 25, 4, 82), Op::Reload, send(179, 8, 4, 2), Op::Reload, send(59, 3, 18, 106)];
    model6::play(&ops);
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).unwrap();
    let seeds: Vec<_> = files.map(|f| std::fs::read(f.unwrap().path()).unwrap()).collect();
    assert!(!seeds.is_empty());
    seeds
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn no_address_has_two_holders_and_no_lease_is_lost(ops in prop::collection::vec(op(), 0..150)) {
        model::play(&ops);
    }
    #[test]
    fn no_address_and_no_prefix_has_two_holders(ops in prop::collection::vec(op6(), 0..150)) {
        model6::play(&ops);
    }
}
