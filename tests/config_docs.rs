//! The reference in docs/configuration.md is what the code knows. `BLESS=1 cargo test` rewrites it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use foreshadow::config::reference;

/// The text between the marker lines of `part`, and where it stands.
fn part(text: &str, part: &str) -> std::ops::Range<usize> {
    let begin = text.find(&format!("<!-- {part}: begin")).expect("a marker where it begins");
    let start = begin + text[begin..].find('\n').expect("a line after the marker") + 1;
    let end = text.find(&format!("<!-- {part}: end")).expect("a marker where it ends");
    start..end
}

#[test]
fn reference_is_what_the_code_knows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let mut text = std::fs::read_to_string(&path).unwrap();
    let parts = [("keys", reference::keys()), ("options", reference::options())];
    if std::env::var_os("BLESS").is_some() {
        for (name, want) in &parts {
            let range = part(&text, name);
            text.replace_range(range, &format!("\n{want}\n"));
        }
        std::fs::write(&path, &text).unwrap();
    }
    for (name, want) in &parts {
        let found = &text[part(&text, name)];
        assert_eq!(found.trim(), want.trim(), "docs/configuration.md, {name}: run with BLESS=1");
    }
}

/// Every example in the text is taken by the reader.
#[test]
fn examples_in_the_text_check_clean() {
    let text = include_str!("../docs/configuration.md");
    let blocks = indented_blocks(text);
    let toml = |b: &&String| b.contains(" = ") && !b.contains("error[");
    let examples: Vec<&String> = blocks.iter().filter(toml).collect();
    assert!(examples.len() >= 3, "{examples:?}");
    for example in examples {
        let whole = match example.trim_start().starts_with('[') {
            true => example.clone(),
            false => format!("[options]\n{example}"),
        };
        if let Err(faults) = foreshadow::config::check(&whole, "example") {
            panic!("{}", faults.render(false));
        }
    }
}

fn indented_blocks(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        match line.strip_prefix("    ") {
            Some(code) => *blocks.last_mut().unwrap() += &format!("{code}\n"),
            None if line.is_empty() && !blocks.last().unwrap().is_empty() => {
                *blocks.last_mut().unwrap() += "\n";
            }
            None => blocks.push(String::new()),
        }
    }
    blocks
}
