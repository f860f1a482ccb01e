//! The list of hostile input (`list.txt`) names a test and a guard for each entry: here they are
//! seen to exist. `make guards` removes each guard and sees its tests fail.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

#[path = "../mutants/plant.rs"]
mod plant;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use plant::{Mutation, mutations, plant};

fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo").into()
}

fn list() -> Vec<Mutation> {
    mutations(include_str!("list.txt"))
}

/// All on one line, however it is broken into lines.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn count(text: &str, wanted: &str) -> usize {
    words(text).matches(&words(wanted)).count()
}

#[test]
fn every_guard_stands_where_the_list_says() {
    let list = list();
    let files: BTreeSet<&str> = list.iter().map(|guard| &*guard.file).collect();
    for file in files {
        let text = fs::read_to_string(root().join(file)).expect(file);
        let of_it = list.iter().enumerate().filter(|(_, guard)| guard.file == file);
        // It panics where one stands not once, or two overlap.
        plant(file, &text, &of_it.collect::<Vec<_>>());
    }
}

/// The source files of a test binary, of a module of it, or of the module of a unit test.
fn sources(binary: &str, name: &str) -> Vec<PathBuf> {
    if binary == "lib" {
        let module = name.rsplit_once("::tests::").expect("a module").0.replace("::", "/");
        let files = [".rs", "/mod.rs", "/tests.rs"].map(|end| format!("src/{module}{end}"));
        return files.map(|file| root().join(file)).into();
    }
    if let Some((module, _)) = name.rsplit_once("::") {
        return vec![root().join(format!("tests/{binary}/{}.rs", module.replace("::", "/")))];
    }
    [".rs", "/main.rs"].map(|end| root().join(format!("tests/{binary}{end}"))).into()
}

#[test]
fn every_test_of_the_list_is_there() {
    for Mutation { name: what, tests, .. } in list() {
        assert!(!tests.is_empty(), "{what}: a test");
        for (binary, name) in &tests {
            let function = name.rsplit("::").next().unwrap();
            let texts =
                sources(binary, name).into_iter().filter_map(|f| fs::read_to_string(f).ok());
            let text: String = texts.collect();
            let stands = match &**binary {
                "net_driver" => count(&text, &format!("fn {function}() {{")) == 1,
                "scenario" | "fuzz_replay" => text.split_whitespace().any(|word| word == function),
                _ => count(&text, &format!("#[test] fn {function}()")) == 1,
            };
            assert!(stands, "{what}: no test {name} in {binary}");
        }
    }
}

/// A dialogue or a packet that is named hostile, and no guard that it proves, says nothing.
#[test]
fn every_hostile_test_is_on_the_list() {
    let list = list();
    let tests = list.iter().flat_map(|guard| &guard.tests);
    let listed: BTreeSet<(&str, &str)> = tests.map(|(binary, name)| (&**binary, &**name)).collect();
    let scenarios = fs::read_dir(root().join("tests/scenario")).unwrap();
    for path in scenarios.map(|file| file.unwrap().path()) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_listed = !name.starts_with("hostile_") || listed.contains(&("scenario", name));
        assert!(is_listed, "{} proves no guard", path.display());
    }
    for binary in ["wire_hostile", "wire6_hostile"] {
        let text =
            fs::read_to_string(Path::new(&root()).join(format!("tests/{binary}.rs"))).unwrap();
        let tests = text.split("#[test]\nfn ").skip(1).map(|rest| rest.split('(').next().unwrap());
        for name in tests {
            assert!(listed.contains(&(binary, name)), "{binary} {name} proves no guard");
        }
    }
}
