//! The fuzz targets. Each takes any bytes, and panics where what must hold does not.
//!
//! They are built twice: by cargo-fuzz, and by `cargo test --test fuzz_replay`, which plays the
//! committed inputs and a fixed number of mutations of them in every run of the tests.
#![allow(unreachable_pub, reason = "a crate of its own for cargo-fuzz, a module for the tests")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is what a target reports")]

pub mod api;
pub mod config;
pub mod engine_ops;
pub mod engine_ops_v6;
pub mod engine_v4;
pub mod engine_v6;
pub mod forecast;
pub mod frame;
pub mod frame6;
pub mod import;
pub mod journal;
pub mod record;
pub mod relay_v6;
pub mod store;
pub mod wire_v4;
pub mod wire_v6;

#[path = "damage.rs"]
mod damage;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/model/mod.rs"]
mod model;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/model6/mod.rs"]
mod model6;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/wire_support/v6.rs"]
mod v6_support;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/wire_support/mod.rs"]
mod wire_support;

/// One target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: of the module, the binary, and the directories of its inputs.
    pub name: &'static str,
    /// Plays one input.
    pub run: fn(&[u8]),
    /// The longest input worth playing, in bytes.
    pub len_max: usize,
    /// Mutations that every run of the tests plays.
    pub runs: usize,
    /// What mutation alone hardly ever hits on.
    pub words: &'static [&'static [u8]],
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target("api", api::run, 2048, 1500, api::WORDS),
    target("config", config::run, 4096, 1500, config::WORDS),
    target("engine_ops", engine_ops::run, 600, 400, &[]),
    target("engine_ops_v6", engine_ops_v6::run, 600, 200, &[]),
    target("engine_v4", engine_v4::run, 1500, 1500, wire_v4::WORDS),
    target("engine_v6", engine_v6::run, 1500, 1500, wire_v6::WORDS),
    target("forecast", forecast::run, 4096, 300, forecast::WORDS),
    target("frame", frame::run, 1600, 5000, &[]),
    target("frame6", frame6::run, 1600, 5000, &[]),
    target("import", import::run, 4096, 1500, import::WORDS),
    target("journal", journal::run, 4096, 500, &[]),
    target("record", record::run, 2048, 5000, &[]),
    target("relay_v6", relay_v6::run, 1500, 2000, wire_v6::WORDS),
    target("store", store::run, 256, 60, &[]),
    target("wire_v4", wire_v4::run, 2000, 3000, wire_v4::WORDS),
    target("wire_v6", wire_v6::run, 4096, 3000, wire_v6::WORDS),
];

const fn target(
    name: &'static str,
    run: fn(&[u8]),
    len_max: usize,
    runs: usize,
    words: &'static [&'static [u8]],
) -> Target {
    Target { name, run, len_max, runs, words }
}
