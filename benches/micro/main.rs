//! What each part of a packet's way costs by itself: `cargo bench --bench micro`, or with a word
//! such as `decode` after it only what has that in its name. BENCH_DIR is where the store is tried.
// A measurement that cannot be made ends with a panic that says why.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

mod decode;
mod encode;
mod engine;
mod messages;
mod shadows;
mod store;

fn main() {
    divan::main();
}
