//! The fuzz targets without the fuzzer: every committed input, every input that once found a
//! fault, and a fixed number of mutations of them, the same in each run.
//!
//! `FUZZ_RUNS` plays so many mutations of each instead, `FUZZ_SEED` others. An input that finds a
//! fault is kept in `fuzz/artifacts`, and so is the `last` one that was played, for what never
//! ends: mend the fault, and move the input to `fuzz/crashes`.
// A panic is how a test fails, and what was found is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod mutate;
#[allow(dead_code, reason = "the simulation uses all of it")]
#[path = "../sim/random.rs"]
mod random;
mod seeds;
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mutate::Mutator;
use targets::{TARGETS, Target};

/// The largest committed input, in bytes, and the most of one target.
const INPUT_MAX: usize = 4096;
const INPUTS_MAX: usize = 128;

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The inputs of one kind, "corpus" or "crashes", by name.
fn inputs(kind: &str, target: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(fuzz_dir().join(kind).join(target)).into_iter().flatten();
    let named = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| (named(&path), fs::read(path).unwrap())).collect()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Plays one input; if it finds a fault or never ends, it is kept.
fn play(target: &Target, what: &str, input: &[u8]) {
    let kept = fuzz_dir().join("artifacts").join(target.name).join("last");
    fs::write(&kept, input).unwrap();
    if let Err(fault) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let named = kept.with_file_name(what.replace([' ', '/'], "-"));
        fs::rename(&kept, &named).unwrap();
        eprintln!("{}: {what} finds a fault; it is kept as {}", target.name, named.display());
        std::panic::resume_unwind(fault);
    }
}

fn fuzz(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    fs::create_dir_all(fuzz_dir().join("artifacts").join(name)).unwrap();
    let (corpus, crashes) = (inputs("corpus", name), inputs("crashes", name));
    assert!(!corpus.is_empty(), "{name}: no corpus");
    for (kind, inputs) in [("corpus", &corpus), ("crashes", &crashes)] {
        inputs.iter().for_each(|(file, input)| play(target, &format!("{kind} {file}"), input));
    }
    play(target, "nothing", &[]);
    let inputs = corpus.into_values().chain(crashes.into_values()).collect();
    let seed = number("FUZZ_SEED").unwrap_or(1);
    let mut mutator = Mutator::new(seed, inputs, target.words, target.len_max);
    for run in 0..number("FUZZ_RUNS").unwrap_or(target.runs as u64) {
        play(target, &format!("seed {seed} run {run}"), &mutator.next());
    }
    fs::remove_file(fuzz_dir().join("artifacts").join(name).join("last")).unwrap();
}

macro_rules! fuzz_tests {
    ($($name:ident)*) => {
        $(#[test] fn $name() { fuzz(stringify!($name)); })*
        const TESTED: &[&str] = &[$(stringify!($name)),*];
    };
}

fuzz_tests! {
    api config engine_ops engine_ops_v6 engine_v4 engine_v6 forecast frame frame6 import journal
    record relay_v6 store wire_v4 wire_v6
}

#[test]
fn every_target_is_played_here_and_by_the_fuzzer() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, TESTED);
    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
    let binaries = manifest.lines().filter_map(|line| line.strip_prefix("name = \""));
    let binaries: Vec<&str> = binaries.filter_map(|rest| rest.strip_suffix('"')).skip(1).collect();
    assert_eq!(names, binaries);
    let main = |name: &&str| {
        let path = fuzz_dir().join(format!("fuzz_targets/{name}.rs"));
        fs::read_to_string(path).unwrap().contains(&format!("foreshadow_fuzz::{name}::run(data)"))
    };
    assert!(names.iter().all(main));
}

/// Each input was made by [`seeds`], or found by the fuzzer. `FUZZ_WRITE=1` writes what is missing.
#[test]
fn the_corpora_are_small_and_our_own() {
    let made = seeds::all();
    for target in TARGETS {
        let dir = fuzz_dir().join("corpus").join(target.name);
        let made: BTreeMap<String, Vec<u8>> = made
            .iter()
            .filter(|seed| seed.0 == target.name)
            .map(|s| (s.1.clone(), s.2.clone()))
            .collect();
        if std::env::var_os("FUZZ_WRITE").is_some() {
            fs::create_dir_all(&dir).unwrap();
            made.iter().for_each(|(name, bytes)| fs::write(dir.join(name), bytes).unwrap());
        }
        let found = inputs("corpus", target.name);
        assert!(found.len() <= INPUTS_MAX, "{}: {} inputs", target.name, found.len());
        for (name, bytes) in &found {
            assert!(bytes.len() <= INPUT_MAX, "{}/{name}: {} bytes", target.name, bytes.len());
            assert!(
                made.contains_key(name) || name.starts_with("found-"),
                "{}/{name}: neither made by tests/fuzz_replay/seeds.rs nor found",
                target.name
            );
        }
        for (name, bytes) in &made {
            assert!(found.get(name) == Some(bytes), "{}/{name} is not what was made", target.name);
        }
    }
}

/// Each input that found a fault says what it was.
#[test]
fn every_crash_is_told() {
    let told = fs::read_to_string(fuzz_dir().join("crashes/README.md")).unwrap();
    for target in TARGETS {
        for name in inputs("crashes", target.name).keys() {
            let line = format!("`{}/{name}`", target.name);
            assert!(told.contains(&line), "fuzz/crashes/README.md says nothing of {line}");
        }
    }
}
