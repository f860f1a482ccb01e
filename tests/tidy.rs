//! The house rules that a machine can check. CONTRIBUTING.md says them in words.
//!
//! Each checker takes text and is tried on small texts here, so that it is known to be able to
//! fail; then it runs over the tree.

// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "tidy/source.rs"]
mod source;

#[path = "tidy/rules.rs"]
mod rules;

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use rules::*;

fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo").into()
}

/// Files below `dir` with one of the extensions, by path from the root, in order.
fn files(dir: &str, extensions: &[&str]) -> Vec<(String, String)> {
    let (root, mut found, mut pending) = (root(), Vec::new(), vec![root().join(dir)]);
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !name.starts_with('.') && !matches!(name, "target" | "corpus") {
                pending.push(path);
            } else if path.is_file() && name != ".git" && has_extension(&path, extensions) {
                let from_root = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                // Bytes that are no text concern no rule.
                found.extend(fs::read_to_string(&path).ok().map(|text| (from_root, text)));
            }
        }
    }
    found.sort();
    found
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    extensions.is_empty()
        || path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted))
}

/// Runs a checker over all sources.
#[track_caller]
fn hold(check: impl Fn(&str, &str) -> Vec<String>) {
    let sources = files("src", &["rs"]);
    assert!(sources.len() > 20, "where are the sources?");
    report(sources.iter().flat_map(|(path, text)| check(path, text)).collect());
}

#[track_caller]
fn report(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn imports_go_down() {
    hold(imports);
}

#[test]
fn imports_going_up_or_sideways_are_found() {
    let one = |path: &str, text: &str| imports(path, text).len();
    assert_eq!(one("src/lease/table.rs", "use crate::base::Mac;"), 0);
    assert_eq!(one("src/lease/table.rs", "use crate::lease::Lease;"), 0);
    assert_eq!(one("src/lease/table.rs", "use crate::engine::Engine;"), 1);
    assert_eq!(one("src/wire/v4.rs", "use crate::config::Policy;"), 1, "sideways");
    assert_eq!(one("src/store/mem.rs", "use crate::net::raw;"), 1, "sideways");
    assert_eq!(one("src/wire/v4.rs", "use crate::{base::Mac, api::{view, leases}};"), 1);
    assert_eq!(one("src/base/addr.rs", "fn f() { crate::wire::v4::parse() }"), 1);
    assert_eq!(one("src/base/addr.rs", "/// See [`crate::wire`].\n// crate::wire"), 0);
    assert_eq!(one("src/base/addr.rs", "const A: &str = \"crate::wire\";"), 0);
    assert_eq!(one("src/api/view.rs", "use super::super::daemon::log;"), 1, "by the back door");
    assert_eq!(one("src/import/mod.rs", "use super::api::view;"), 1, "by the back door");
    assert_eq!(one("src/cli/mod.rs", "use super::args::Args;"), 0, "within cli");
    assert_eq!(one("src/brand_new/mod.rs", "fn f() {}"), 1, "every module has a layer");
}

#[test]
fn functions_and_files_are_short() {
    hold(lengths);
}

#[test]
fn long_functions_and_files_are_found() {
    let function = |lines: usize| format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
    assert_eq!(lengths("src/a.rs", &function(70)).len(), 0);
    assert_eq!(lengths("src/a.rs", &function(71)).len(), 1);
    let method = format!(
        "impl A {{\n{}\n}}",
        function(71)
            .replace("fn f()", "fn f<const N: usize>(x: [u8; 3]) -> B<'a>\nwhere\n    A: B")
    );
    assert_eq!(lengths("src/a.rs", &method).len(), 1);
    let braces = format!(
        "fn f() {{\n    let a = \"{{\"; let b = '{{'; /* {{ */ // {{\n}}\n{}",
        "//\n".repeat(100)
    );
    assert_eq!(lengths("src/a.rs", &braces).len(), 0, "braces in text are no braces");
    let in_tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(71));
    assert_eq!(lengths("src/a.rs", &in_tests).len(), 0, "tests may be long tables");
    assert_eq!(lengths("src/a.rs", &"\n".repeat(500)).len(), 0);
    assert_eq!(lengths("src/a.rs", &"\n".repeat(501)).len(), 1);
    assert_eq!(
        lengths("src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(900))).len(),
        0
    );
    assert_eq!(lengths("src/a/tests.rs", &"\n".repeat(900)).len(), 0);
}

#[test]
fn clocks_are_read_in_their_place() {
    hold(clocks);
}

#[test]
fn clocks_read_elsewhere_are_found() {
    let wall = "fn f() { SystemTime::now() }";
    assert_eq!(clocks("src/daemon/clock.rs", wall).len(), 0);
    assert_eq!(clocks("src/daemon/driver.rs", wall).len(), 1);
    assert_eq!(clocks("src/cli/mod.rs", "fn f() { OffsetDateTime::now_utc() }").len(), 1);
    assert_eq!(clocks("src/engine/mod.rs", "fn f() { Instant::now() }").len(), 1);
    assert_eq!(clocks("src/store/mod.rs", "fn f() { Instant::now() }").len(), 0);
    assert_eq!(
        clocks(
            "src/engine/mod.rs",
            "// SystemTime::now\n#[cfg(test)]\nmod tests { Instant::now() }"
        )
        .len(),
        0
    );
}

#[test]
fn unsafe_stays_in_one_file() {
    hold(unsafe_code);
}

#[test]
fn unsafe_elsewhere_or_without_a_note_is_found() {
    let noted = "fn f() {\n    // SAFETY: valid.\n    unsafe { g() }\n}";
    let bare = "fn f() {\n    unsafe { g() }\n}";
    assert_eq!(unsafe_code("src/net/sys.rs", noted).len(), 0);
    assert_eq!(unsafe_code("src/net/sys.rs", bare).len(), 1);
    assert_eq!(unsafe_code("src/net/raw.rs", noted).len(), 1);
    assert_eq!(unsafe_code("src/net/raw.rs", "// no unsafe here\n#![deny(unsafe_code)]").len(), 0);
}

#[test]
fn every_dependency_has_its_reason() {
    report(dependencies(&fs::read_to_string(root().join("Cargo.toml")).unwrap()));
}

#[test]
fn dependencies_without_a_reason_are_found() {
    assert_eq!(dependencies("[dependencies]\n# Why.\na = \"1\"\nb = \"1\"\n").len(), 0, "a group");
    assert_eq!(dependencies("[dependencies]\n# Why.\na = \"1\"\n\nb = \"1\"\n").len(), 1);
    assert_eq!(dependencies("[dev-dependencies]\na = \"1\"\n").len(), 1);
    assert_eq!(dependencies("[package]\nname = \"a\"\n").len(), 0);
}

#[test]
fn the_tree_speaks_of_the_project_alone() {
    let all = files("", &[]).into_iter().chain(files(".ci", &[]));
    report(all.flat_map(|(path, text)| foreign_words(&path, &text)).collect());
}

#[test]
fn foreign_words_are_found() {
    let path = ["", "work", "shared"].join("/");
    assert_eq!(foreign_words("a.md", &format!("see {path}/design.md")).len(), 1);
    assert_eq!(foreign_words("a.md", "a network that works").len(), 0);
    assert_eq!(
        foreign_words("Cargo.lock", "registry+https://github.com/rust-lang/crates.io-index").len(),
        0
    );
}

/// The keys of the configuration have such a test of their own, beside their list.
#[test]
fn every_command_and_flag_is_in_the_manual() {
    let manual = fs::read_to_string(root().join("docs/operations.md")).unwrap_or_default();
    report(undocumented(&foreshadow::cli::args::Args::command(), &manual));
}

#[test]
fn undocumented_commands_and_flags_are_found() {
    let leases = || clap::Command::new("leases").arg(clap::Arg::new("json").long("json"));
    let program = clap::Command::new("foreshadow").subcommand(leases());
    assert_eq!(undocumented(&program, "`foreshadow leases --json`").len(), 0);
    assert_eq!(undocumented(&program, "`foreshadow leases`").len(), 1);
    assert_eq!(undocumented(&program, "").len(), 2);
}
