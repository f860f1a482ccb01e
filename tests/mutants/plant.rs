//! What `mutations.txt` says, and how it gets into the source.

/// One way to break the server.
#[derive(Debug)]
pub(crate) struct Mutation {
    /// What it breaks.
    pub(crate) invariant: String,
    pub(crate) name: String,
    pub(crate) file: String,
    /// What stands there; what is between `«` and `»`, if they are there, is replaced.
    old: String,
    new: String,
}

/// Reads the list; every invariant must have one.
pub(crate) fn mutations(list: &str) -> Vec<Mutation> {
    let mut found: Vec<Mutation> = Vec::new();
    let (mut invariant, mut count) = (String::new(), 1);
    for line in list.lines() {
        let (mark, rest) = line.split_at_checked(3).unwrap_or((line, ""));
        let last = found.last_mut();
        match mark {
            "## " => {
                assert!(count > 0, "no mutation breaks: {invariant}");
                (invariant, count) = (rest.to_owned(), 0);
            }
            "== " => {
                count += 1;
                found.push(Mutation {
                    invariant: invariant.clone(),
                    name: rest.to_owned(),
                    file: String::new(),
                    old: String::new(),
                    new: String::new(),
                });
            }
            "-- " => {
                let mutation = last.expect("a name first");
                let part =
                    if mutation.file.is_empty() { &mut mutation.file } else { &mut mutation.old };
                assert!(part.is_empty(), "{}: one line is enough", mutation.name);
                *part = rest.to_owned();
            }
            "++ " => last.expect("a name first").new = rest.to_owned(),
            "" => {}
            _ => assert!(line.starts_with('#'), "what is `{line}`?"),
        }
    }
    assert!(count > 0, "no mutation breaks: {invariant}");
    found
}

/// The text of a file with all its mutations in it, each beside what it takes the place of.
pub(crate) fn plant(file: &str, text: &str, mutations: &[(usize, &Mutation)]) -> String {
    let mut places: Vec<(usize, usize, String)> = mutations
        .iter()
        .map(|(number, mutation)| {
            let (from, to) = place(file, text, mutation);
            let (old, new) = (&text[from..to], &mutation.new);
            let choice = format!("if crate::mutant::is({number}) {{ {new} }} else {{ {old} }}");
            // Statements stay statements; an expression may have a neighbour.
            let is_statement = old.ends_with([';', '}']);
            (from, to, if is_statement { choice } else { format!("({choice})") })
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

/// Where a mutation goes, however what stands there is broken into lines.
fn place(file: &str, text: &str, mutation: &Mutation) -> (usize, usize) {
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
