//! Random operations on the engine against a plain model.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

#[allow(dead_code, reason = "the fuzz targets use all of it")]
mod model;
#[allow(dead_code, reason = "the fuzz targets use all of it")]
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
