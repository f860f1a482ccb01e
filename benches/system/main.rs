//! Whole servers under load: `cargo bench --bench system` measures foreshadow against what else is
//! installed and writes docs/benchmarks.md; `-- soak` plays clients that come and go for an hour.
//! `make bench` and `make soak` run it. It needs root, and takes TMPDIR for its stores, which must
//! be on a disk.
// A measurement that cannot be made ends with a panic that says why.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stdout, missing_docs)]

#[path = "../../tests/common/mod.rs"]
#[allow(dead_code)]
mod common;

mod api_flood;
mod cases;
mod figures;
mod flood;
mod foresight;
mod load;
mod many;
mod meter;
mod peer;
mod replay;
mod report;
mod responder;
mod soak;
mod speech;
mod stage;

use std::path::Path;

use cases::{Bench, Sizes};
use figures::Figures;
use load::Load;
use peer::Peer;
use stage::Stage;

const FULL: Sizes =
    Sizes { quick: false, repetitions: 5, seconds: 4.0, exchanges: 40_000, leases: 1_000_000 };
const QUICK: Sizes =
    Sizes { quick: true, repetitions: 1, seconds: 2.0, exchanges: 20_000, leases: 100_000 };

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["respond", link] => {
            responder::respond(link.parse().expect("an interface's number")).expect("respond");
        }
        ["soak"] => soak::soak(),
        // These need neither root nor a disk.
        ["ahead", parts @ ..] => {
            let mut figures = Figures::default();
            look_ahead(&mut figures, FULL.repetitions, parts);
            println!("{}", report::foreseen(&figures));
        }
        ["quick", parts @ ..] => bench(QUICK, parts),
        parts => bench(FULL, parts),
    }
}

/// Measures, and writes the page; with the names of some parts, these alone and no page.
fn bench(sizes: Sizes, parts: &[&str]) {
    on_a_disk();
    let stage = Stage::new("bench", 16);
    let load = Load::on(&stage);
    let (peers, figures) = (Peer::installed(), Figures::default());
    let mut bench = Bench { stage, load, sizes, peers, figures };
    let wanted = |part| parts.is_empty() || parts.contains(&part);
    if wanted("exchanges") {
        bench.exchanges();
    }
    if wanted("highest") {
        bench.highest();
    }
    if wanted("storm") {
        bench.storm();
    }
    if wanted("half") {
        bench.half_load();
    }
    if wanted("many") {
        bench.many();
    }
    if wanted("flood") {
        flood::flood(&bench.sizes, &mut bench.figures);
    }
    if wanted("ahead") {
        look_ahead(&mut bench.figures, bench.sizes.repetitions, &[]);
    }
    if wanted("api") {
        api_flood::api_flood(&mut bench);
    }
    let page = report::page(&bench);
    println!("{page}");
    if parts.is_empty() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
        std::fs::write(path, page).expect("docs/benchmarks.md");
    }
}

/// What it costs to look ahead: shadows, and the replay of a month.
fn look_ahead(figures: &mut Figures, repetitions: usize, parts: &[&str]) {
    let wanted = |part| parts.is_empty() || parts.contains(&part);
    for _ in 0..repetitions {
        if wanted("shadows") {
            foresight::foresight(figures);
        }
        if wanted("backtest") {
            replay::replay(figures);
        }
    }
}

/// A store in memory would be no store.
fn on_a_disk() {
    let kind = meter::file_system(&std::env::temp_dir());
    assert!(!matches!(kind.as_str(), "tmpfs" | "ramfs"), "TMPDIR is on {kind}: name a disk");
}
