//! Lists of ways to break the server, and how they get into its source.
//!
//! A list is blocks of lines: `== ` and a name; `-- ` and a test that finds it (a binary or `lib`,
//! and the test's name in it), for each such test; `-- ` and the file; `-- ` and what stands there
//! once, of which what is between `«` and `»`, if they are there, is replaced; `++ ` and what takes
//! its place: an expression, or statements that end in `;` or `}`. Where neither will do, `REMOVED`
//! in it is true when this one is in force, and it stands there always. `## ` begins a group, which
//! must have a block. `#` is a comment.
#![allow(dead_code)] // Each test uses a part.

/// One way to break the server.
#[derive(Debug, Default)]
pub(crate) struct Mutation {
    /// Its group: what it breaks.
    pub(crate) group: String,
    pub(crate) name: String,
    /// Test binary (or `lib`), and the test's name in it.
    pub(crate) tests: Vec<(String, String)>,
    pub(crate) file: String,
    /// What stands there.
    pub(crate) old: String,
    pub(crate) new: String,
}

/// Reads a list.
pub(crate) fn mutations(list: &str) -> Vec<Mutation> {
    let mut found: Vec<Mutation> = Vec::new();
    let (mut group, mut count) = (String::new(), 1);
    for line in list.lines() {
        let (mark, rest) = line.split_at_checked(3).unwrap_or((line, ""));
        match (mark, found.last_mut()) {
            ("## ", _) => {
                assert!(count > 0, "no mutation breaks: {group}");
                (group, count) = (rest.to_owned(), 0);
            }
            ("== ", _) => {
                count += 1;
                let (group, name) = (group.clone(), rest.to_owned());
                found.push(Mutation { group, name, ..Mutation::default() });
            }
            ("-- ", Some(last)) => last.add(rest),
            ("++ ", Some(last)) => {
                assert!(last.new.is_empty(), "{}: one line is enough", last.name);
                last.new = rest.to_owned();
            }
            ("", _) => {}
            _ => assert!(line.starts_with('#'), "what is `{line}`?"),
        }
    }
    assert!(count > 0, "no mutation breaks: {group}");
    let whole = |m: &Mutation| !m.old.is_empty() && !m.new.is_empty();
    found.iter().for_each(|m| assert!(whole(m), "{}: file, what is there, what is not", m.name));
    found
}

impl Mutation {
    fn add(&mut self, line: &str) {
        if line.starts_with("src/") && self.file.is_empty() {
            self.file = line.to_owned();
        } else if self.file.is_empty() {
            let (binary, test) = line.split_once(' ').expect("a test binary and a test of it");
            self.tests.push((binary.to_owned(), test.to_owned()));
        } else {
            assert!(self.old.is_empty(), "{}: one line is enough", self.name);
            self.old = line.to_owned();
        }
    }
}

/// The text of a file with all its mutations in it, each beside what it takes the place of.
pub(crate) fn plant(file: &str, text: &str, mutations: &[(usize, &Mutation)]) -> String {
    let mut places: Vec<(usize, usize, String)> = mutations
        .iter()
        .map(|(number, mutation)| {
            let (from, to) = place(file, text, mutation);
            (from, to, choice(*number, &text[from..to], &mutation.new))
        })
        .collect();
    places.sort();
    let (mut out, mut at) = (String::new(), 0);
    for (from, to, choice) in places {
        assert!(at <= from, "{file}: two mutations at `{}`", &text[from..to]);
        out += &text[at..from];
        out += &choice;
        at = to;
    }
    out + &text[at..]
}

/// What stands in the copy: either of two.
fn choice(number: usize, old: &str, new: &str) -> String {
    let is_in_force = format!("crate::mutant::is({number})");
    if new.contains("REMOVED") {
        return new.replace("REMOVED", &is_in_force);
    }
    let choice = format!("if {is_in_force} {{ {new} }} else {{ {old} }}");
    // Statements stay statements; an expression may have a neighbour.
    let is_statement = old.ends_with([';', '}']);
    if is_statement { choice } else { format!("({choice})") }
}

/// Where a mutation goes, however what stands there is broken into lines.
pub(crate) fn place(file: &str, text: &str, mutation: &Mutation) -> (usize, usize) {
    let dense = |text: &str| -> Vec<(usize, char)> {
        text.char_indices().filter(|(_, c)| !c.is_whitespace()).collect()
    };
    let (hay, mut needle) = (dense(text), dense(&mutation.old));
    let mark = |mark: char| needle.iter().position(|(_, c)| *c == mark);
    let (begin, end) = match (mark('«'), mark('»')) {
        (Some(begin), Some(end)) => (begin, end - 1),
        _ => (0, needle.len()),
    };
    needle.retain(|(_, c)| !matches!(c, '«' | '»'));
    let same = |at: &usize| hay[*at..].iter().zip(&needle).all(|(a, b)| a.1 == b.1);
    let last = hay.len().saturating_sub(needle.len());
    let found: Vec<usize> = (0..=last).filter(same).collect();
    let [at] = found[..] else {
        let (name, old) = (&mutation.name, &mutation.old);
        panic!("{name}: `{old}` stands {} times in {file}, not once", found.len());
    };
    let (last, c) = hay[at + end - 1];
    (hay[at + begin].0, last + c.len_utf8())
}
