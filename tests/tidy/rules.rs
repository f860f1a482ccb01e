//! The rules. Each takes a path and a text, and returns a line for each fault.

use crate::source::{code, functions, tests_start, words};

/// Longest function, in lines.
const FUNCTION_MAX: usize = 70;
/// Longest file, in lines, before its tests.
const FILE_MAX: usize = 500;

/// The layers, lowest first. What stands on one line never imports its neighbours.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["wire", "config", "import"],
    &["lease", "forecast", "watch", "reconcile"],
    &["engine", "foresight", "switchover"],
    &["store", "net", "telemetry"],
    &["agent", "api", "backtest", "scan"],
    &["daemon", "lab"],
    &["cli"],
];
/// The lowest layer that may measure how long something takes.
const TIMING: &str = "store";

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The module path of a file: `src/api/view.rs` is `["api", "view"]`.
fn module_path(path: &str) -> Vec<&str> {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<&str> = inside.split('/').collect();
    if matches!(parts.last(), Some(&"mod" | &"lib" | &"main")) {
        parts.pop();
    }
    parts
}

/// Imports go down the layers, never up and never sideways.
pub(crate) fn imports(path: &str, text: &str) -> Vec<String> {
    let own_path = module_path(path);
    let Some(own) = own_path.first() else { return vec![] };
    let Some(own_layer) = layer(own) else {
        return vec![format!("{path}: module `{own}` has no layer: name it in tests/tidy")];
    };
    let code = code(text);
    let mut used = Vec::new();
    for (at, word) in words(&code) {
        let rest = &code[at + word.len()..];
        match word {
            "crate" if !code[..at].ends_with("::") => used.extend(first_parts(rest)),
            "super" if !code[..at].ends_with("::") => {
                // Inline test modules are one deeper than their file.
                let depth = own_path.len() + usize::from(at >= tests_start(&code));
                let (climbed, rest) = climb(rest);
                if climbed >= depth {
                    used.extend(first_parts(rest));
                }
            }
            _ => {}
        }
    }
    used.sort();
    used.dedup();
    used.into_iter()
        .filter(|used| used != own)
        .filter(|used| layer(used).is_some_and(|used| used >= own_layer))
        .map(|used| format!("{path}: `{own}` imports `{used}`, which is not below it"))
        .collect()
}

/// How many `super` there are in a row, the one before `rest` included, and what follows them.
fn climb(mut rest: &str) -> (usize, &str) {
    let mut climbed = 1;
    while let Some(more) = rest.strip_prefix("::super") {
        (climbed, rest) = (climbed + 1, more);
    }
    (climbed, rest)
}

/// The modules named after a path's root: one, or those of a `{group}`.
fn first_parts(rest: &str) -> Vec<String> {
    let Some(rest) = rest.strip_prefix("::") else { return vec![] };
    let Some(group) = rest.strip_prefix('{') else {
        return words(rest).next().map(|(_, word)| word.to_owned()).into_iter().collect();
    };
    let (mut parts, mut depth, mut part) = (Vec::new(), 0, String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            _ if depth == 0 => part.push(c),
            _ => {}
        }
    }
    parts.push(part);
    parts.iter().filter_map(|part| words(part).next().map(|(_, word)| word.to_owned())).collect()
}

/// Functions of at most 70 lines, files of at most 500 before their tests.
pub(crate) fn lengths(path: &str, text: &str) -> Vec<String> {
    if path.ends_with("tests.rs") || path.contains("/tests/") {
        return vec![];
    }
    let code = code(text);
    let tested = &code[..tests_start(&code)];
    let mut faults: Vec<String> = functions(tested)
        .into_iter()
        .filter(|function| function.lines > FUNCTION_MAX)
        .map(|f| {
            format!("{path}:{}: `{}` has {} lines, at most {FUNCTION_MAX}", f.line, f.name, f.lines)
        })
        .collect();
    let lines = tested.lines().count();
    if lines > FILE_MAX {
        faults.push(format!("{path}: {lines} lines before its tests, at most {FILE_MAX}"));
    }
    faults
}

/// The wall clock is read in one file, and the stopwatch only where there is IO.
pub(crate) fn clocks(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let code = &code[..tests_start(&code)];
    let mut faults = Vec::new();
    for wall in ["SystemTime::now", "OffsetDateTime::now", "clock_gettime"] {
        // The system calls behind the clock are in the module of system calls.
        if code.contains(wall) && !matches!(path, "src/daemon/clock.rs" | "src/net/sys.rs") {
            faults.push(format!("{path}: `{wall}` outside daemon/clock.rs"));
        }
    }
    let low = module_path(path).first().and_then(|own| layer(own)) < layer(TIMING);
    if code.contains("Instant::now") && low {
        faults.push(format!("{path}: `Instant::now` below the layers that do IO"));
    }
    faults
}

/// `unsafe` in one file, each with a note that says why it is sound.
pub(crate) fn unsafe_code(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut faults = Vec::new();
    for (at, _) in words(&code).filter(|(_, word)| *word == "unsafe") {
        let line = code[..at].matches('\n').count();
        let above: Vec<&str> = text.lines().take(line + 1).collect();
        // A call says why it is sound; an unsafe function says what its callers owe.
        let note = |line: &&str| line.contains("SAFETY:") || line.contains("/// # Safety");
        let noted = above.iter().rev().take(5).any(note);
        if path != "src/net/sys.rs" {
            faults.push(format!("{path}:{}: `unsafe` outside net/sys.rs", line + 1));
        } else if !noted {
            faults.push(format!("{path}:{}: `unsafe` without a SAFETY note", line + 1));
        }
    }
    faults
}

/// Each dependency, or group of them, stands below a comment that says what it is for.
pub(crate) fn dependencies(manifest: &str) -> Vec<String> {
    let (mut faults, mut inside, mut explained) = (Vec::new(), false, false);
    for line in manifest.lines() {
        if line.starts_with('[') {
            (inside, explained) = (line.contains("dependencies]"), false);
        } else if line.starts_with('#') {
            explained = true;
        } else if line.trim().is_empty() {
            explained = false;
        } else if inside && !explained && line.contains('=') && !line.starts_with([' ', ']', '}']) {
            faults.push(format!("Cargo.toml: no reason given for `{line}`"));
        }
    }
    faults
}

/// Words that belong to the place where this was written, not to the project.
pub(crate) fn foreign_words(path: &str, text: &str) -> Vec<String> {
    // Put together here, so that this file does not hold them.
    let foreign = [["/wo", "rk/"], ["/tm", "p/wt"], ["/root/.car", "go"], ["work", "tree"]];
    let mut faults = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        for word in foreign.map(|parts| parts.concat()) {
            if line.contains(&word) {
                faults.push(format!("{path}:{number}: `{word}`"));
            }
        }
    }
    faults
}

/// Subcommands and flags that `manual` does not name.
pub(crate) fn undocumented(command: &clap::Command, manual: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let flag = argument.get_long().map(|long| format!("--{long}"));
        if let Some(flag) = flag.filter(|flag| !manual.contains(flag)) {
            faults.push(format!("docs: `{}` has `{flag}`", command.get_name()));
        }
    }
    for sub in command.get_subcommands() {
        if !words(manual).any(|(_, word)| word == sub.get_name()) {
            faults.push(format!("docs: no word on `{}`", sub.get_name()));
        }
        faults.extend(undocumented(sub, manual));
    }
    faults
}
