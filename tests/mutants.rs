//! Breaks the server in each way of `sim/mutations.txt`, and expects the simulation to notice.
//!
//! All of them are built at once, in a copy of the source in which each stands beside what it takes
//! the place of: `if mutant::is(3) { broken } else { as it was }`. Which is in force is chosen when
//! the simulation runs. The copy has the dependencies of this build, and no binary.
//!
//! `MUTANTS=word` makes only those whose name has the word.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.
#![allow(clippy::print_stdout)] // What was found, and how to see it.

#[path = "mutants/plant.rs"]
mod plant;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use plant::{Mutation, mutations, plant};

/// How far the simulation goes for each: seeds, and steps of each of them.
const SEEDS: u64 = 6;
const STEPS: u64 = 60_000;
/// What chooses; none is in force without it.
const CHOICE: &str = "SIM_MUTANT";

#[test]
fn the_simulation_finds_every_mutation() {
    let list = fs::read_to_string(root().join("tests/sim/mutations.txt")).unwrap();
    let mutations = mutations(&list);
    let copy = copy(&mutations);
    let simulation = build(&copy);
    let (sound, said) = simulate(&simulation, None);
    assert!(sound, "nothing is broken, and the simulation fails:\n{said}");
    let wanted = std::env::var("MUTANTS").unwrap_or_default();
    let mut missed = Vec::new();
    for (number, mutation) in mutations.iter().enumerate() {
        if !mutation.name.contains(&wanted) {
            continue;
        }
        let (sound, said) = simulate(&simulation, Some(number));
        let replay = said.lines().find(|line| line.starts_with("seed ") && line.contains("step"));
        let replay = replay.and_then(|line| line.split(": ").next()).unwrap_or("by its end");
        let (outcome, replay) = if sound { ("MISSED", "") } else { ("found", replay) };
        println!("{outcome:<7} {}: {} ({replay})", mutation.invariant, mutation.name);
        missed.extend(sound.then_some(&mutation.name));
    }
    assert!(missed.is_empty(), "the simulation does not notice: {missed:#?}");
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The copy of the source, with all mutations in it. What is as it was before is not written again,
/// so that it need not be built again.
fn copy(mutations: &[Mutation]) -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("mutants");
    let mut texts = BTreeMap::new();
    for dir in ["src", "config", "benches", "tests/sim"] {
        gather(Path::new(dir), &mut texts);
    }
    for name in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
        texts.insert(PathBuf::from(name), fs::read_to_string(root().join(name)).unwrap());
    }
    let mut by_file: BTreeMap<&str, Vec<(usize, &Mutation)>> = BTreeMap::new();
    for (number, mutation) in mutations.iter().enumerate() {
        by_file.entry(&mutation.file).or_default().push((number, mutation));
    }
    for (file, planted) in by_file {
        let text = texts.get_mut(Path::new(file)).unwrap_or_else(|| panic!("{file} is not there"));
        *text = plant(file, text, &planted);
    }
    // A package of the same name would take the place of the true one in the same target directory.
    texts.remove(Path::new("src/main.rs"));
    for name in ["Cargo.toml", "Cargo.lock"] {
        let text = texts.get_mut(Path::new(name)).unwrap();
        *text = text.replacen("name = \"foreshadow\"", "name = \"foreshadow-mutants\"", 1);
    }
    let manifest = texts.get_mut(Path::new("Cargo.toml")).unwrap();
    let binary = "[[bin]]\nname = \"foreshadow\"\npath = \"src/main.rs\"\nbench = false\n";
    assert!(manifest.contains(binary), "where is the binary?");
    *manifest = manifest
        .replace("default-run = \"foreshadow\"\n", "autobins = false\n")
        .replace(binary, "");
    texts.get_mut(Path::new("src/lib.rs")).unwrap().push_str(&format!("{SWITCH}\n"));
    for (name, text) in texts {
        let path = copy.join(name);
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        }
    }
    copy
}

/// What the copy asks whether it is to be broken.
const SWITCH: &str = "
#[allow(missing_docs)]
pub mod mutant {
    static CHOSEN: std::sync::OnceLock<Option<usize>> = std::sync::OnceLock::new();
    pub fn is(number: usize) -> bool {
        let read = || std::env::var(\"SIM_MUTANT\").ok()?.parse().ok();
        *CHOSEN.get_or_init(read) == Some(number)
    }
}";

fn gather(dir: &Path, texts: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(root().join(dir)).unwrap() {
        let path = dir.join(entry.unwrap().file_name());
        match root().join(&path).is_dir() {
            true => gather(&path, texts),
            false => {
                drop(texts.insert(path.clone(), fs::read_to_string(root().join(path)).unwrap()))
            }
        }
    }
}

/// Builds the simulation of the copy, and says where it is.
fn build(copy: &Path) -> PathBuf {
    let cargo = PathBuf::from(std::env::var_os("CARGO").expect("run by cargo"));
    let mut command = Command::new(&cargo);
    command.args(["test", "--frozen", "--test", "sim", "--no-run", "--message-format=json"]);
    command.current_dir(copy).env("CARGO_TARGET_DIR", copy.parent().unwrap());
    // Under sudo, what is built belongs to the one who builds, and the path is another's.
    let id = |name: &str| std::env::var(name).ok().and_then(|id| id.parse().ok());
    if let (Some(uid), Some(gid)) = (id("SUDO_UID"), id("SUDO_GID")) {
        chown(copy, uid, gid);
        command.uid(uid).gid(gid).env("RUSTC", cargo.with_file_name("rustc"));
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = said.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let rendered = |m: &serde_json::Value| Some(m["message"]["rendered"].as_str()?.to_owned());
    let faults: String = messages
        .clone()
        .filter(|m| m["message"]["level"] == "error")
        .filter_map(|m| rendered(&m))
        .collect();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the mutations do not compile:\n{faults}\n{stderr}");
    let mut built = messages.filter(|m| m["target"]["name"] == "sim");
    let path = built.find_map(|m| Some(PathBuf::from(m["executable"].as_str()?)));
    path.expect("cargo names the test that it built")
}

fn chown(path: &Path, uid: u32, gid: u32) {
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
    for entry in path.is_dir().then(|| fs::read_dir(path).unwrap()).into_iter().flatten() {
        chown(&entry.unwrap().path(), uid, gid);
    }
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
