//! The text of `/metrics`, read as strictly as its formats are written.

use std::collections::{BTreeMap, BTreeSet};

/// A family as it was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    /// The names of labels, in the order of their first figure.
    pub(crate) labels: Vec<String>,
}

/// One figure: name, labels, value.
pub(crate) type Figure = (String, BTreeMap<String, String>, f64);

/// All families by the name that queries use (of histograms, without what each line adds), and all
/// figures.
#[track_caller]
pub(crate) fn parse(text: &str) -> (BTreeMap<String, Family>, Vec<Figure>) {
    let is_open = text.ends_with("# EOF\n");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut figures: Vec<Figure> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            current = match (is_open, kind) {
                (true, "counter") => format!("{name}_total"),
                (true, "info") => format!("{name}_info"),
                _ => name.to_owned(),
            };
            let kind = if kind == "info" { "gauge" } else { kind };
            let family = Family { kind: kind.into(), ..Family::default() };
            assert!(families.insert(current.clone(), family).is_none(), "twice: {line}");
            continue;
        }
        let family = families.get_mut(&current).expect("a type first");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family.help = rest.split_once(' ').unwrap().1.to_owned();
        } else if !line.starts_with("# UNIT ") {
            let (name, labels, value) = figure(line);
            let base = match family.kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| name.strip_suffix(suffix))
                    .expect("a line of a histogram"),
                _ => &name,
            };
            assert_eq!(base, current, "{line}");
            if family.labels.is_empty() {
                family.labels =
                    labels.iter().map(|(l, _)| l.clone()).filter(|l| l != "le").collect();
            }
            let labels: BTreeMap<_, _> = labels.into_iter().collect();
            assert!(seen.insert((name.clone(), labels.clone())), "twice: {line}");
            figures.push((name, labels, value));
        }
    }
    (families, figures)
}

/// A line: name, labels in their order, value.
fn figure(line: &str) -> (String, Vec<(String, String)>, f64) {
    let end = line.find(['{', ' ']).expect("a value");
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().expect("a closing quote") {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().expect("what is escaped").1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("\\{c} in {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            labels.push((label.to_owned(), value));
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("a closing brace");
    }
    let value = rest.strip_prefix(' ').expect("a space").parse().expect("a number");
    (name.to_owned(), labels, value)
}
