//! The parsed document as the checks walk it: every value with its place, every table with the
//! list of keys that it may have.

use toml::de::{DeTable, DeValue};

use super::fault::{Fault, FaultKind, Place, Sink};
use super::schema::{self, Section};

/// A value and where it stands.
#[derive(Clone)]
pub(super) struct Node<'a> {
    pub(super) place: Place,
    value: &'a DeValue<'a>,
    sink: &'a Sink,
}

/// A value of ours and where it was said.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A table whose keys have been looked over.
#[derive(Clone)]
pub(super) struct Table<'a> {
    pub(super) place: Place,
    entries: &'a DeTable<'a>,
    section: &'static Section,
    sink: &'a Sink,
}

impl<'a> Node<'a> {
    pub(super) fn fault(&self, kind: FaultKind, message: impl Into<String>) -> Fault {
        Fault::new(kind, &self.place, message)
    }

    pub(super) fn push(&self, fault: Fault) {
        self.sink.push(fault);
    }

    pub(super) fn sink(&self) -> &'a Sink {
        self.sink
    }

    /// Reports a value that cannot be understood; always `None`, to end a reader with.
    pub(super) fn bad<T>(
        &self,
        message: impl Into<String>,
        expected: impl Into<String>,
    ) -> Option<T> {
        self.push(self.fault(FaultKind::BadValue, message).expected(expected));
        None
    }

    /// Reports a value of the wrong type; always `None`.
    pub(super) fn wrong_type<T>(&self, want: &str) -> Option<T> {
        let message = format!("expected {want}, found {}", self.type_name());
        self.push(self.fault(FaultKind::WrongType, message));
        None
    }

    fn type_name(&self) -> &'static str {
        match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a decimal number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }

    pub(super) fn at<T>(&self, value: T) -> At<T> {
        At { value, place: self.place.clone() }
    }

    pub(super) fn as_str(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        self.value.as_bool()
    }

    pub(super) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    pub(super) fn is_integer(&self) -> bool {
        self.value.is_integer()
    }

    /// The integer; values beyond `i64` become its limits, which no key accepts.
    pub(super) fn as_integer(&self) -> Option<i64> {
        let integer = self.value.as_integer()?;
        let parsed = i64::from_str_radix(integer.as_str(), integer.radix());
        let beyond = if integer.as_str().starts_with('-') { i64::MIN } else { i64::MAX };
        Some(parsed.unwrap_or(beyond))
    }

    /// A date and time as text, whether it is written as one or in a string.
    pub(super) fn moment_text(&self) -> Option<String> {
        match self.value {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Datetime(at) => Some(at.to_string()),
            _ => None,
        }
    }

    pub(super) fn string(&self, want: &str) -> Option<&'a str> {
        self.as_str().or_else(|| self.wrong_type(want))
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        self.as_bool().or_else(|| self.wrong_type("true or false"))
    }

    /// An integer within `min..=max`.
    pub(super) fn integer(&self, min: i64, max: i64) -> Option<i64> {
        let Some(n) = self.as_integer() else {
            return self.wrong_type(&format!("an integer from {min} to {max}"));
        };
        if (min..=max).contains(&n) {
            return Some(n);
        }
        self.bad("number out of range", format!("from {min} to {max}"))
    }

    fn child(&self, index: usize, value: &'a toml::Spanned<DeValue<'a>>) -> Node<'a> {
        let place = Place { span: value.span(), key: format!("{}[{index}]", self.place.key) };
        Node { place, value: value.get_ref(), sink: self.sink }
    }

    /// The elements of a list.
    pub(super) fn items(&self, want: &str) -> Option<Vec<Node<'a>>> {
        let Some(array) = self.value.as_array() else { return self.wrong_type(want) };
        Some(array.iter().enumerate().map(|(i, value)| self.child(i, value)).collect())
    }

    /// The elements of a list; anything else is a list of itself.
    pub(super) fn list(&self) -> Vec<Node<'a>> {
        match self.value.as_array() {
            Some(array) => array.iter().enumerate().map(|(i, v)| self.child(i, v)).collect(),
            None => vec![self.clone()],
        }
    }

    /// Each element read by `read`; those that fail have reported themselves.
    pub(super) fn each<T>(&self, mut read: impl FnMut(&Node<'a>) -> Option<T>) -> Vec<At<T>> {
        self.list().iter().filter_map(|n| Some(n.at(read(n)?))).collect()
    }

    /// The tables of an array of tables (`[[name]]`).
    pub(super) fn tables(&self, section: &'static Section) -> Vec<Table<'a>> {
        if self.value.is_table() {
            let message = format!("expected a list of tables, written [[{}]]", section.path);
            self.push(self.fault(FaultKind::WrongType, message));
            return Vec::new();
        }
        let nodes = self.items(&format!("a list of tables, written [[{}]]", section.path));
        nodes.unwrap_or_default().iter().filter_map(|node| node.table(section)).collect()
    }

    /// A table of `section`; keys that it does not know are reported.
    pub(super) fn table(&self, section: &'static Section) -> Option<Table<'a>> {
        let Some(entries) = self.value.as_table() else { return self.wrong_type("a table") };
        let place = self.place.clone();
        let table = Table { place, entries, section, sink: self.sink };
        table.report_unknown_keys();
        Some(table)
    }

    /// Name, place of the name, and value of each entry of a table whose keys are free, in the
    /// order of the file.
    pub(super) fn entries(&self, want: &str) -> Option<Vec<(&'a str, Place, Node<'a>)>> {
        let Some(entries) = self.value.as_table() else { return self.wrong_type(want) };
        let entry = |(key, value): (&'a toml::Spanned<toml::de::DeString<'a>>, _)| {
            let value: &'a toml::Spanned<DeValue<'a>> = value;
            let path = join(&self.place.key, key.get_ref());
            let node = Node {
                place: Place { span: value.span(), key: path.clone() },
                value: value.get_ref(),
                sink: self.sink,
            };
            (&**key.get_ref(), Place { span: key.span(), key: path }, node)
        };
        let mut found: Vec<_> = entries.iter().map(entry).collect();
        // The parser's tables are in the order of their keys; faults speak of first and second.
        found.sort_by_key(|(_, place, _)| place.span.start);
        Some(found)
    }

    /// Whether it is a table with this key.
    pub(super) fn has_key(&self, key: &str) -> bool {
        self.value.as_table().is_some_and(|t| t.contains_key(key))
    }
}

impl<'a> Table<'a> {
    /// The whole document.
    pub(super) fn root(entries: &'a DeTable<'a>, sink: &'a Sink) -> Table<'a> {
        let table = Table { place: Place::default(), entries, section: &schema::ROOT, sink };
        table.report_unknown_keys();
        table
    }

    pub(super) fn push(&self, fault: Fault) {
        self.sink.push(fault);
    }

    /// The value of `key`, which must be one of the section's.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        debug_assert!(
            self.section.knows(key),
            "{key} is not in the schema of {}",
            self.section.path
        );
        let value = self.entries.get(key)?;
        let place = Place { span: value.span(), key: join(&self.place.key, key) };
        Some(Node { place, value: value.get_ref(), sink: self.sink })
    }

    /// As [`Table::get`], and reports its absence.
    pub(super) fn require(&self, key: &str) -> Option<Node<'a>> {
        let found = self.get(key);
        if found.is_none() {
            let message = format!("`{key}` is missing");
            let form = self.section.key(key).map_or("...", |k| k.form);
            self.push(
                Fault::new(FaultKind::MissingKey, &self.place, message)
                    .expected(format!("add it, as in {key} = {form}")),
            );
        }
        found
    }

    fn report_unknown_keys(&self) {
        for (key, _) in self.entries {
            let name = key.get_ref();
            if self.section.knows(name) {
                continue;
            }
            let place = Place { span: key.span(), key: join(&self.place.key, name) };
            let message = format!("unknown key `{name}` in {}", self.section.title());
            self.push(
                Fault::new(FaultKind::UnknownKey, &place, message)
                    .expected(schema::hint(self.section, name)),
            );
        }
    }
}

/// `parent.key`, with quotes where TOML needs them.
pub(super) fn join(parent: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let dot = if parent.is_empty() { "" } else { "." };
    if !key.is_empty() && key.chars().all(bare) {
        format!("{parent}{dot}{key}")
    } else {
        format!("{parent}{dot}{key:?}")
    }
}

/// The name in `known` that is nearest to `name`, if any is near enough to be meant.
pub(super) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let folded = name.to_lowercase().replace('_', "-");
    // A name that is far longer than any of ours is not worth a quadratic comparison.
    if folded.len() > 64 {
        return None;
    }
    let scored = known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&folded, &k.to_lowercase().replace('_', "-")), k));
    let (distance, best) = scored.min_by_key(|(distance, _)| *distance)?;
    let near = distance <= 1 + best.len().min(folded.len()) / 4;
    near.then_some(best)
}
