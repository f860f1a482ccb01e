//! TOML to a tree with positions, and what can be said of text that is not TOML.

use toml::Spanned;
use toml::de::DeTable;

use super::fault::{Fault, FaultKind, Place, Source};

const UNCLOSED: &str = "a list that is not closed";

/// The one word that is a setting and the name of tables.
const BOTH_ACCOUNTS: &str = "`account = \"..\"` in each [[network]] that it is for: at the top it cannot stand beside [[account]]";

/// Parses as far as it goes; the faults are empty if the tree is whole.
pub(super) fn parse<'a>(text: &'a str, source: &Source) -> (Spanned<DeTable<'a>>, Vec<Fault>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut found: Vec<(usize, Fault)> = errors
        .iter()
        .map(|error| {
            let span = error.span().unwrap_or(0..0);
            let place = Place { span: span.clone(), key: String::new() };
            let mut fault = Fault::new(FaultKind::Syntax, &place, error.message());
            if text.get(..span.end).is_some_and(|before| before.ends_with("[[account")) {
                fault.expected = BOTH_ACCOUNTS.to_owned();
            }
            (span.start, fault)
        })
        .collect();
    found.sort_by_key(|(at, _)| *at);
    // What follows an array that is not closed is taken for its elements, up to the end: only
    // where that begins is worth a word.
    if found.iter().any(|(_, fault)| fault.message.starts_with("unclosed array,")) {
        let begins = |fault: &Fault| {
            fault.message.contains("array elements") || fault.message.starts_with("unclosed array,")
        };
        if let Some(at) = found.iter().position(|(_, fault)| begins(fault)) {
            found.truncate(at + 1);
            if let Some((_, fault)) = found.last_mut() {
                fault.message = UNCLOSED.to_owned();
                fault.expected = "`]` after its last element".to_owned();
            }
        }
    }
    // A second fault on a line is nearly always an echo of the first.
    found.dedup_by_key(|(at, _)| source.line_of(*at));
    (document, found.into_iter().map(|(_, fault)| fault).collect())
}

/// Syntax faults, and beside them faults of single values on other lines: what is missing or
/// collides cannot be judged in a tree that is not whole.
pub(super) fn with_values(
    mut broken: Vec<Fault>,
    found: Vec<Fault>,
    source: &Source,
) -> Vec<Fault> {
    let lines: Vec<usize> = broken.iter().filter_map(|f| f.line_in(source)).collect();
    let single = |fault: &Fault| matches!(fault.kind, FaultKind::BadValue | FaultKind::WrongType);
    let unclosed = broken.iter().any(|f| f.message == UNCLOSED);
    if !unclosed {
        let apart = |f: &Fault| f.line_in(source).is_some_and(|line| !lines.contains(&line));
        // The parser stands in a value of no text for one that it could not read.
        broken.extend(found.into_iter().filter(|f| f.has_text() && single(f) && apart(f)));
    }
    broken
}
