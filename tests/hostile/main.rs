//! The list of hostile input (`list.txt`) names a test and a guard for each entry: here they are
//! seen to exist. `make guards` removes each guard and sees its tests fail.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One entry of the list.
struct Entry {
    what: &'static str,
    /// Test binary (or `lib`), and the test's name in it.
    tests: Vec<(&'static str, &'static str)>,
    /// The file of the guard, and what it is.
    file: &'static str,
    guard: &'static str,
}

fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo").into()
}

fn list() -> Vec<Entry> {
    include_str!("list.txt").split("\n== ").skip(1).map(entry).collect()
}

fn entry(block: &'static str) -> Entry {
    let mut lines = block.trim_end().lines();
    let what = lines.next().expect("what is tried");
    let (removed, mut kept): (Vec<&str>, Vec<&str>) = lines.partition(|l| l.starts_with("++ "));
    assert_eq!(removed.len(), 1, "{what}: what takes the guard's place");
    kept.iter_mut().for_each(|line| *line = line.strip_prefix("-- ").expect(what));
    let at = kept.iter().position(|line| line.starts_with("src/")).expect(what);
    assert!(at > 0 && at + 2 == kept.len(), "{what}: tests, the file, the guard");
    let tests = kept[..at].iter().map(|line| line.split_once(' ').expect(what)).collect();
    Entry { what, tests, file: kept[at], guard: kept[at + 1] }
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
    for Entry { what, file, guard, .. } in list() {
        let text = fs::read_to_string(root().join(file)).expect(file);
        // What is broken into lines elsewhere has other blanks: all of them are left out.
        let dense = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(dense(&text).matches(&dense(guard)).count(), 1, "{what}: `{guard}` in {file}");
    }
}

/// The source files of a test binary, or of the module of a unit test.
fn sources(binary: &str, name: &str) -> Vec<PathBuf> {
    if binary == "lib" {
        let module = name.rsplit_once("::tests::").expect("a module").0.replace("::", "/");
        let files = [".rs", "/mod.rs", "/tests.rs"].map(|end| format!("src/{module}{end}"));
        return files.map(|file| root().join(file)).into();
    }
    [".rs", "/main.rs"].map(|end| root().join(format!("tests/{binary}{end}"))).into()
}

#[test]
fn every_test_of_the_list_is_there() {
    for Entry { what, tests, .. } in list() {
        for (binary, name) in tests {
            let function = name.rsplit("::").next().unwrap();
            let texts =
                sources(binary, name).into_iter().filter_map(|f| fs::read_to_string(f).ok());
            let text: String = texts.collect();
            let stands = match binary {
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
    let listed: BTreeSet<(&str, &str)> =
        list.iter().flat_map(|entry| entry.tests.clone()).collect();
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
