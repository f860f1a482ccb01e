//! Breaks the server in each way of `sim/mutations.txt`, and expects the simulation to notice.
//! All of them are built at once: `mutants/copy.rs`.
//!
//! `MUTANTS=word` makes only those whose name has the word.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.
#![allow(clippy::print_stdout)] // What was found, and how to see it.

#[allow(dead_code)] // The guards use the rest.
#[path = "mutants/copy.rs"]
mod copy;
#[path = "mutants/plant.rs"]
mod plant;

use std::fs;
use std::path::Path;
use std::process::Command;

use copy::{CHOICE, Copy, root};
use plant::mutations;

/// How far the simulation goes for each: seeds, and steps of each of them.
const SEEDS: u64 = 6;
const STEPS: u64 = 60_000;

/// A line that a mutation breaks may move or change: said in a second, not after a build.
#[test]
fn every_mutation_stands_where_it_says() {
    for list in ["tests/sim/mutations.txt", "tests/hostile/list.txt"] {
        for mutation in mutations(&fs::read_to_string(root().join(list)).unwrap()) {
            let text = fs::read_to_string(root().join(&mutation.file)).unwrap();
            plant::place(&mutation.file, &text, &mutation);
        }
    }
}

#[test]
fn the_simulation_finds_every_mutation() {
    let mutations = mutations(&fs::read_to_string(root().join("tests/sim/mutations.txt")).unwrap());
    let mut copy = Copy::new("mutants", &["tests/sim"]);
    copy.plant(&mutations);
    let simulation = &copy.build(&["sim"])["sim"];
    let (sound, said) = simulate(simulation, None);
    assert!(sound, "nothing is broken, and the simulation fails:\n{said}");
    let wanted = std::env::var("MUTANTS").unwrap_or_default();
    let mut missed = Vec::new();
    for (number, mutation) in mutations.iter().enumerate() {
        if !mutation.name.contains(&wanted) {
            continue;
        }
        let (sound, said) = simulate(simulation, Some(number));
        let replay = said.lines().find(|line| line.starts_with("seed ") && line.contains("step"));
        let replay = replay.and_then(|line| line.split(": ").next()).unwrap_or("by its end");
        let (outcome, replay) = if sound { ("MISSED", "") } else { ("found", replay) };
        println!("{outcome:<7} {}: {} ({replay})", mutation.group, mutation.name);
        missed.extend(sound.then_some(&mutation.name));
    }
    assert!(missed.is_empty(), "the simulation does not notice: {missed:#?}");
}

/// Whether the simulation finds nothing wrong, and what it says.
fn simulate(simulation: &Path, mutation: Option<usize>) -> (bool, String) {
    let mut said = String::new();
    let sound = ["the_invariants", "the_same_seed"].iter().all(|test| {
        let mut command = Command::new(simulation);
        command.arg(test).env("SIM_SEED", "1").env("SIM_SEEDS", SEEDS.to_string());
        command.env("SIM_STEPS", STEPS.to_string()).env("RUST_BACKTRACE", "0").env_remove(CHOICE);
        command.envs(mutation.map(|number| (CHOICE, number.to_string())));
        let output = command.output().unwrap();
        said += &String::from_utf8_lossy(&[output.stdout, output.stderr].concat());
        output.status.success()
    });
    (sound, said)
}
