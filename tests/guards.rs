//! Takes away each guard of `hostile/list.txt`, and sees each of its tests fail. All are built at
//! once: `mutants/copy.rs`. No part of `cargo test`; `make guards` runs it.
//!
//! `GUARDS=word` takes only those whose entry has the word.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.
#![allow(clippy::print_stdout)] // What was proven.

#[path = "mutants/copy.rs"]
mod copy;
#[path = "mutants/plant.rs"]
mod plant;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use copy::{CHOICE, Copy, root};
use plant::{Mutation, mutations};

/// Seconds. A test that loops for ever without its guard has found it gone.
const PATIENCE: &str = "20";
/// What eats memory without its guard ends with it.
const LIMITED: &str = "ulimit -v 8000000; exec \"$@\"";

#[test]
fn every_guard_is_needed() {
    let list = fs::read_to_string(root().join("tests/hostile/list.txt")).unwrap();
    let guards = mutations(&list);
    let mut copy = Copy::new("guards", &["tests", "fuzz"]);
    copy.plant(&guards);
    // What serde_json bounds by itself can only be taken away with this.
    let (bounded, open) =
        ("[\"float_roundtrip\"] }\n", "[\"float_roundtrip\", \"unbounded_depth\"] }\n");
    copy.edit("Cargo.toml", |text| {
        assert!(text.contains(bounded), "where is serde_json?");
        text.replacen(bounded, open, 1)
    });
    let word = std::env::var("GUARDS").unwrap_or_default();
    let is_wanted = |guard: &Mutation| guard.name.contains(&word) || guard.file.contains(&word);
    let wanted = || guards.iter().enumerate().filter(|(_, guard)| is_wanted(guard));
    let binaries: BTreeSet<&str> =
        wanted().flat_map(|(_, guard)| guard.tests.iter().map(|(binary, _)| &**binary)).collect();
    assert!(!binaries.is_empty(), "no guard has `{word}`");
    let built = copy.build(&binaries.into_iter().collect::<Vec<_>>());
    let (mut whole, mut faults) = (BTreeMap::new(), 0);
    for (number, guard) in wanted() {
        for (binary, test) in &guard.tests {
            let run = |removed| passes(copy.dir(), &built[binary], test, removed);
            let sound = *whole.entry((binary, test)).or_insert_with(|| run(None));
            let said = match (sound, sound && run(Some(number))) {
                (true, false) => "proven",
                (true, true) => "NOT PROVEN",
                (false, _) => "FAILS WITH ITS GUARD",
            };
            faults += usize::from(said != "proven");
            println!("{said:<11} {}: {binary} {test}", guard.name);
        }
    }
    assert_eq!(faults, 0, "not proven");
}

fn passes(dir: &Path, binary: &Path, test: &str, removed: Option<usize>) -> bool {
    let mut command = Command::new("timeout");
    command.args([PATIENCE, "sh", "-c", LIMITED, "-"]).arg(binary).args(["--exact", test]);
    command.current_dir(dir).env("RUST_BACKTRACE", "0").env("FUZZ_RUNS", "0").env_remove(CHOICE);
    command.envs(removed.map(|number| (CHOICE, number.to_string())));
    let output = command.output().expect("timeout (Debian package coreutils)");
    let said = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("running 1 test"), "no test {test}:\n{said}{stderr}");
    output.status.success()
}
