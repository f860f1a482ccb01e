//! The program from outside, where no server and no configuration is needed.

// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_foreshadow");

fn run(words: &[&str]) -> Output {
    Command::new(PROGRAM).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a command that must end with `code`; what it said to standard error.
#[track_caller]
fn fails(words: &[&str], code: i32) -> String {
    let done = run(words);
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(code), "{words:?}: {said}");
    assert_eq!(text(&done.stdout), "", "{words:?}");
    said
}

fn directory(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("foreshadow-cli-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn what_makes_no_sense_is_exit_code_2() {
    fails(&["leases", "lsit"], 2);
    fails(&["leases", "list", "--state", "lesaed"], 2);
    fails(&["leases", "show", "10.0.0.300"], 2);
    fails(&["import", "--from", "dnsmask", "x"], 2);
    fails(&["serve", "a.toml", "--config", "b.toml"], 2);
    let said = fails(&["reload", "a.toml"], 2);
    assert!(said.contains("name the server by its configuration with --config FILE"), "{said}");
    let said = fails(&["stats"], 2);
    assert!(said.contains("similar subcommand exists: 'status'"), "{said}");
}

#[test]
fn a_server_that_is_not_there_is_exit_code_4() {
    for words in [&["status"][..], &["reload"], &["leases", "list"], &["leases", "export"]] {
        let words = [words, &["--socket", "/nonexistent/control.sock"]].concat();
        let said = fails(&words, 4);
        assert!(said.starts_with("error: no server at /nonexistent/control.sock: "), "{said}");
        assert!(!said.contains("default"), "{said}");
    }
    // Of a file that does not help, what is asked is a guess; and the guess says so.
    for (file, why) in
        [("/nonexistent/foreshadow.toml", "No such file"), ("/proc/version", "not TOML")]
    {
        let said = fails(&["status", "-c", file], 4);
        let default = format!(
            "foreshadow/control.sock: No such file or directory (os error 2) \
            (the default socket, as {file}: {why}"
        );
        assert!(said.contains(&default), "{said}");
    }
}

#[test]
fn files_that_are_not_there_are_named() {
    // An endless device is no lease file.
    let said = fails(&["import", "--from", "dnsmasq", "/dev/urandom"], 1);
    assert!(said.contains("/dev/urandom: not a regular file"), "{said}");
    let said = fails(&["import", "--from", "kea", "/nonexistent/leases.csv"], 1);
    assert!(said.starts_with("error: read /nonexistent/leases.csv: "), "{said}");
    let said = fails(&["leases", "import", "/nonexistent/leases.csv"], 1);
    assert!(said.starts_with("error: read /nonexistent/leases.csv: "), "{said}");
}

#[test]
fn errors_have_no_colour_in_a_file() {
    assert!(!fails(&["status", "--socket", "/nonexistent/x"], 4).contains('\u{1b}'));
}

#[test]
fn every_command_has_a_page_in_the_manual() {
    let dir = directory("man");
    let done = run(&["man", dir.to_str().unwrap()]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    for page in ["foreshadow", "foreshadow-serve", "foreshadow-leases-list", "foreshadow-import"] {
        let page = std::fs::read_to_string(dir.join(format!("{page}.8"))).unwrap();
        assert!(page.contains(".SH NAME"), "{page}");
    }
    let root = std::fs::read_to_string(dir.join("foreshadow.8")).unwrap();
    assert!(root.contains("store damaged"), "the exit codes are in the manual");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn completions_are_what_the_shell_reads() {
    let done = run(&["completions", "bash"]);
    let file = directory("completions").join("foreshadow");
    std::fs::write(&file, &done.stdout).unwrap();
    let shell = format!("source {} && complete -p foreshadow", file.display());
    let checked = Command::new("bash").args(["-c", &shell]).output().unwrap();
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

#[test]
fn a_reader_that_has_read_enough_is_no_failure() {
    let mut child = Command::new(PROGRAM)
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "#compdef foreshadow\n");
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success());
    assert_eq!(text(&done.stderr), "");
}

#[test]
fn a_good_configuration_is_told_from_a_bad_one() {
    let dir = directory("check");
    let (good, bad) = (dir.join("good.toml"), dir.join("bad.toml"));
    let minimal = concat!(env!("CARGO_MANIFEST_DIR"), "/config/minimal.toml");
    let config = std::fs::read_to_string(minimal).unwrap();
    let config = config.replace("interfaces = \"br0\"", "interfaces = \"no-such-link\"");
    std::fs::write(&good, &config).unwrap();
    std::fs::write(&bad, config.replace("pools", "pols").replace("name =", "nam =")).unwrap();
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());

    let done = run(&["check", good]);
    assert_eq!(done.status.code(), Some(0));
    assert_eq!(text(&done.stdout), format!("{good}: 1 network, no faults\n"));
    let warning = text(&done.stderr);
    assert!(warning.starts_with("warning[") && warning.contains("no-such-link"), "{warning}");
    let said = fails(&["check", bad], 3);
    let faults = |text: &str| text.matches("error[").count();
    assert!(said.contains("pols") && said.contains("nam") && faults(&said) >= 2, "{said}");
    for words in [&["serve", "--config", bad][..], &["serve", bad]] {
        assert_eq!(faults(&fails(words, 3)), faults(&said));
    }

    let as_json = |words: &[&str], code| {
        let done = run(words);
        assert_eq!(done.status.code(), Some(code));
        serde_json::from_slice::<Vec<serde_json::Value>>(&done.stdout).unwrap()
    };
    let warnings = as_json(&["check", "--json", good], 0);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0]["severity"], "warning");
    let found = as_json(&["check", "--json", bad], 3);
    assert_eq!(found.iter().filter(|f| f["severity"] == "error").count(), faults(&said));
    assert!(found.iter().all(|fault| fault["line"].is_u64() && fault["message"].is_string()));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn an_event_log_is_played_and_a_bad_one_is_told_with_its_line() {
    let dir = directory("backtest");
    let (events, picture) = (dir.join("events.csv"), dir.join("day.svg"));
    let mut text_of = String::from("time,event,account,application,instance,network\n");
    text_of.push_str("2026-03-02T00:00:00Z,scheduled,shop,web,");
    text_of.push_str("at=2026-03-02T02:00:00Z;count=20;duration_s=600,lan\n");
    for minute in 0..20 {
        let (hour, of) = (2, minute / 2);
        text_of.push_str(&format!(
            "2026-03-02T{hour:02}:{of:02}:{:02}Z,create,shop,web,i-{minute},lan\n",
            minute % 2 * 30
        ));
    }
    text_of.push_str("2026-03-02T09:00:00Z,delete,shop,web,i-7,lan\n");
    std::fs::write(&events, &text_of).unwrap();
    let (file, svg) = (events.to_str().unwrap(), picture.to_str().unwrap());
    let done = run(&["backtest", "--events", file, "--json", "--svg", svg]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&report["creates"], &report["hit_rate"]), (&20.into(), &1.0.into()), "{report}");
    let drawn = std::fs::read_to_string(&picture).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"), "{drawn}");
    let without = run(&["backtest", "--events", file, "--no-plans", "--ready", "0"]);
    assert!(text(&without.stdout).contains("hit rate          0.0 %"), "{}", text(&without.stdout));
    std::fs::write(&events, text_of.replace("delete", "died")).unwrap();
    let said = fails(&["backtest", "--events", file], 1);
    assert!(said.contains("line 23: event is `died`, want create, delete or scheduled"), "{said}");
    std::fs::remove_dir_all(dir).unwrap();
}
