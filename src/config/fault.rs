//! What is wrong with a file: kind, place, what was found and what would be right; and how that
//! is drawn at its line.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// Faults kept of one file; the rest are only counted.
pub const FAULTS_MAX: usize = 500;

/// Two places of one fault that are further apart than this many lines are drawn apart.
const ONE_SNIPPET_LINES_MAX: usize = 40;

/// Characters of the file quoted as what was found.
const FOUND_CHARS_MAX: usize = 60;

macro_rules! fault_kinds {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// What sort of fault it is: stable words for programs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum FaultKind { $($(#[doc = $doc])* $name,)* }

        impl FaultKind {
            /// The kind as messages and JSON say it.
            pub fn as_str(self) -> &'static str {
                match self { $(FaultKind::$name => $text,)* }
            }
        }
    };
}

fault_kinds! {
    /// The file cannot be read.
    Unreadable = "unreadable",
    /// Not TOML.
    Syntax = "syntax",
    /// No such key here.
    UnknownKey = "unknown-key",
    /// A key that must be there is not.
    MissingKey = "missing-key",
    /// A value of the wrong TOML type.
    WrongType = "wrong-type",
    /// A value that cannot be understood or is out of its bounds.
    BadValue = "bad-value",
    /// The same thing said twice.
    Duplicate = "duplicate",
    /// Two ranges or prefixes that share addresses.
    Overlap = "overlap",
    /// An address or range that is not inside what holds it.
    Outside = "outside",
    /// A name that nothing defines.
    UnknownName = "unknown-name",
    /// Two settings that contradict each other.
    Conflict = "conflict",
    /// More of something than this server takes.
    Limit = "limit",
    /// Allowed, but hardly meant.
    Suspicious = "suspicious",
    /// An interface that is not there now.
    NoInterface = "no-interface",
}

/// Whether a fault stops the file from taking effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken; the operator is told.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// Error or warning.
    pub severity: Severity,
    /// What sort of fault.
    pub kind: FaultKind,
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1; 0 if the fault is about no line.
    pub line: usize,
    /// Column in characters, from 1; 0 if the fault is about no line.
    pub column: usize,
    /// Dotted path, as in `network[0].subnet[1].pool[0].range`; empty for the whole file.
    pub key: String,
    /// What is wrong, in one line.
    pub message: String,
    /// What the file says there, shortened.
    pub found: String,
    /// What would be right.
    pub expected: String,
    /// The other place, where two things collide.
    pub related: Option<Related>,
    #[serde(skip)]
    span: Option<Range<usize>>,
}

/// A second place that a fault is about.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Related {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Dotted path.
    pub key: String,
    /// What is there.
    pub message: String,
    #[serde(skip)]
    span: Range<usize>,
}

/// Where something stands in the text, and its dotted path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) span: Range<usize>,
    pub(super) key: String,
}

impl Fault {
    /// An error; positions are filled in by [`Source::locate`].
    pub(super) fn new(kind: FaultKind, place: &Place, message: impl Into<String>) -> Fault {
        Fault {
            severity: Severity::Error,
            kind,
            file: String::new(),
            line: 0,
            column: 0,
            key: place.key.clone(),
            message: message.into(),
            found: String::new(),
            expected: String::new(),
            related: None,
            span: Some(place.span.clone()),
        }
    }

    /// A fault about the file as a whole, or about a key whose place is not known.
    pub(super) fn unplaced(kind: FaultKind, key: &str, message: impl Into<String>) -> Fault {
        let place = Place { span: 0..0, key: key.to_owned() };
        Fault { span: None, ..Fault::new(kind, &place, message) }
    }

    pub(super) fn expected(mut self, expected: impl Into<String>) -> Fault {
        self.expected = expected.into();
        self
    }

    pub(super) fn related(mut self, place: &Place, message: impl Into<String>) -> Fault {
        self.related = Some(Related {
            line: 0,
            column: 0,
            key: place.key.clone(),
            message: message.into(),
            span: place.span.clone(),
        });
        self
    }

    pub(super) fn warning(mut self) -> Fault {
        self.severity = Severity::Warning;
        self
    }

    /// The line (from 0) that it is on.
    pub(super) fn line_in(&self, source: &Source) -> Option<usize> {
        self.span.as_ref().map(|span| source.line_of(span.start))
    }

    /// Whether it points at some text, and not only at a place between two characters.
    pub(super) fn has_text(&self) -> bool {
        self.span.as_ref().is_some_and(|span| !span.is_empty())
    }

    pub(super) fn at(mut self, place: &Place) -> Fault {
        self.span = Some(place.span.clone());
        self
    }
}

/// Gathers faults while a file is read. Interior mutability, because every node of the document
/// carries a reference to it.
#[derive(Default)]
pub(super) struct Sink {
    faults: RefCell<Vec<Fault>>,
}

impl Sink {
    pub(super) fn push(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    pub(super) fn len(&self) -> usize {
        self.faults.borrow().len()
    }

    pub(super) fn into_vec(self) -> Vec<Fault> {
        self.faults.into_inner()
    }
}

/// The text of a file, its name, and where its lines begin.
#[derive(Clone, Debug)]
pub(super) struct Source {
    file: Arc<str>,
    text: Arc<str>,
    line_starts: Arc<[usize]>,
}

impl Source {
    pub(super) fn new(file: &str, text: &str) -> Source {
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        let line_starts = std::iter::once(0).chain(breaks).collect();
        Source { file: file.into(), text: text.into(), line_starts }
    }

    /// The whole text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Index of the line that holds byte `at`, from 0.
    pub(super) fn line_of(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// Byte where line `line` (from 0) begins; the end of the text past the last line.
    fn line_start(&self, line: usize) -> usize {
        self.line_starts.get(line).copied().unwrap_or(self.text.len())
    }

    /// Line and column from 1.
    fn position(&self, at: usize) -> (usize, usize) {
        let line = self.line_of(at);
        let before = self.text.get(self.line_start(line)..at).unwrap_or_default();
        (line + 1, before.chars().count() + 1)
    }

    /// `span` moved to character borders inside the text.
    fn clamp(&self, span: &Range<usize>) -> Range<usize> {
        let floor = |mut at: usize| {
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(span.start.min(self.text.len()));
        start..floor(span.end.clamp(start, self.text.len()))
    }

    fn found(&self, span: &Range<usize>) -> String {
        let text = self.text.get(span.clone()).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let mut found: String = line.chars().take(FOUND_CHARS_MAX).collect();
        if found.len() < text.len() {
            found.push_str("...");
        }
        found
    }

    /// Fills in file, line, column and what was found.
    pub(super) fn locate(&self, fault: &mut Fault) {
        fault.file = self.file.to_string();
        if let Some(span) = &fault.span {
            let span = self.clamp(span);
            (fault.line, fault.column) = self.position(span.start);
            fault.found = self.found(&span);
            fault.span = Some(span);
        }
        if let Some(related) = &mut fault.related {
            related.span = self.clamp(&related.span);
            (related.line, related.column) = self.position(related.span.start);
        }
    }

    /// Draws `faults`, each at its line, with a blank line between them.
    pub(super) fn render(&self, faults: &[Fault], color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let drawn: Vec<String> =
            faults.iter().map(|fault| renderer.render(&[self.group(fault)])).collect();
        drawn.join("\n\n")
    }

    fn group<'a>(&'a self, fault: &'a Fault) -> Group<'a> {
        let level = match fault.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(fault.message.as_str()).id(fault.kind.as_str());
        let mut group = Group::with_title(title).elements(self.snippets(fault));
        if fault.span.is_none() {
            let at = if fault.key.is_empty() { fault.file.as_str() } else { fault.key.as_str() };
            group = group.element(Level::NOTE.with_name("at").message(at));
        }
        if !fault.expected.is_empty() {
            group = group.element(Level::HELP.message(fault.expected.as_str()));
        }
        group
    }

    /// One snippet that shows both places, or two if they are far apart.
    fn snippets<'a>(
        &'a self,
        fault: &'a Fault,
    ) -> Vec<Snippet<'a, annotate_snippets::Annotation<'a>>> {
        let Some(span) = &fault.span else { return Vec::new() };
        let mut marks = vec![(AnnotationKind::Primary, span, fault.key.as_str())];
        if let Some(related) = &fault.related {
            marks.push((AnnotationKind::Context, &related.span, related.message.as_str()));
        }
        let lines = |span: &Range<usize>| (self.line_of(span.start), self.line_of(span.end));
        let first = marks.iter().map(|(_, span, _)| lines(span).0).min().unwrap_or(0);
        let last = marks.iter().map(|(_, span, _)| lines(span).1).max().unwrap_or(0);
        if last - first <= ONE_SNIPPET_LINES_MAX {
            return vec![self.snippet(first, last, &marks)];
        }
        let apart = |mark: &(AnnotationKind, &'a Range<usize>, &'a str)| {
            let (first, last) = lines(mark.1);
            self.snippet(first, last, std::slice::from_ref(mark))
        };
        marks.iter().map(apart).collect()
    }

    fn snippet<'a>(
        &'a self,
        first: usize,
        last: usize,
        marks: &[(AnnotationKind, &'a Range<usize>, &'a str)],
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let window = self.line_start(first)..self.line_start(last + 1);
        let text = self.text.get(window.clone()).unwrap_or_default();
        let note = |(kind, span, label): &(AnnotationKind, &'a Range<usize>, &'a str)| {
            let within = span.start - window.start..span.end - window.start;
            kind.span(within).label((!label.is_empty()).then_some(*label))
        };
        Snippet::source(text)
            .line_start(first + 1)
            .path(&*self.file)
            .annotations(marks.iter().map(note))
    }
}

/// Everything that is wrong with one file.
#[derive(Clone, Debug)]
pub struct Faults {
    source: Source,
    list: Vec<Fault>,
    more: usize,
}

impl Faults {
    /// In the order of the file, errors and warnings; at most [`FAULTS_MAX`].
    pub(super) fn new(source: Source, mut list: Vec<Fault>) -> Faults {
        // What is about no line comes last. A contradiction that several levels inherit is met
        // at each of them, and told once.
        let place = |f: &Fault| f.span.as_ref().map_or((usize::MAX, 0), |s| (s.start, s.end));
        list.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.message.cmp(&b.message)));
        list.dedup_by(|a, b| a.span == b.span && a.key == b.key && a.message == b.message);
        let more = list.len().saturating_sub(FAULTS_MAX);
        list.truncate(FAULTS_MAX);
        list.iter_mut().for_each(|fault| source.locate(fault));
        Faults { source, list, more }
    }

    /// The faults, in the order of the file.
    pub fn list(&self) -> &[Fault] {
        &self.list
    }

    /// How many more there are than [`Faults::list`] holds.
    pub fn more(&self) -> usize {
        self.more
    }

    /// Every fault drawn at its line as rustc does it, and a last line that counts them.
    pub fn render(&self, color: bool) -> String {
        let mut out = self.source.render(&self.list, color);
        if !out.is_empty() {
            out.push_str("\n\n");
        }
        out.push_str(&self.summary());
        out
    }

    /// `lan.toml: 2 errors, 1 warning`.
    pub fn summary(&self) -> String {
        let warnings = self.list.iter().filter(|f| f.severity == Severity::Warning).count();
        let errors = self.list.len() - warnings;
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let mut out = format!("{}: {}", self.source.file, count(errors, "error"));
        if warnings > 0 {
            out.push_str(&format!(", {}", count(warnings, "warning")));
        }
        if self.more > 0 {
            out.push_str(&format!(", and {} more", self.more));
        }
        out
    }

    pub(super) fn into_warnings(self) -> (Source, Vec<Fault>) {
        (self.source, self.list)
    }

    pub(super) fn has_errors(&self) -> bool {
        self.list.iter().any(|f| f.severity == Severity::Error)
    }
}

/// One line per fault.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// `lan.toml:3:9: key: message, found "x"; expected`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if matches!(self.kind, FaultKind::BadValue | FaultKind::WrongType) {
            write!(f, ", found {}", self.found)?;
        }
        if let Some(related) = &self.related {
            write!(f, " ({} at line {})", related.message, related.line)?;
        }
        if !self.expected.is_empty() {
            write!(f, "; {}", self.expected)?;
        }
        Ok(())
    }
}
