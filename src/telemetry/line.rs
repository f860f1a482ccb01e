//! Lines of JSON, as they are pushed: one report of an instance, or one event, on each.
//!
//! ```text
//! {"instance":"vm-7","time":"2027-01-14T08:00:00Z","metrics":{"cpu":0.7,"memory":2.1e9}}
//! {"instance":"vm-7","account":"acme","application":"web","type":"m5.large","requires":{"cpu":2}}
//! {"event":{"kind":"campaign","account":"acme","start":1800000000,"end":1800007200,"size":40}}
//! ```
//!
//! Times are RFC 3339 or seconds since the epoch; what has none is of now. Any bytes lead to
//! entries, or to faults that name line and field; memory is bounded by [`LINE_MAX`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::base::{Span, Timestamp};

use super::event::EventKind;
use super::model::{
    InstanceRecord, METRIC_MAX, NAME_MAX, REQUIREMENTS_MAX, is_metric, is_name, is_value,
};

/// Longest line, in bytes.
pub const LINE_MAX: usize = 16 << 10;
/// Most values on one line.
pub const VALUES_MAX: usize = 256;
/// Longest note of an event, in bytes.
pub const NOTE_MAX: usize = 512;
/// How far ahead an event may begin, and how long it may last.
pub const EVENT_SPAN: Span = Span::from_secs(400 * 86_400);

/// What one line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// Of an instance.
    Report(Report),
    /// An event.
    Event(EventDraft),
}

/// What one line says of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Its id.
    pub instance: Arc<str>,
    /// Of when the values are.
    pub time: Timestamp,
    /// Values by the name of their metric.
    pub values: Vec<(Arc<str>, f64)>,
    /// What it is, as far as the line says.
    pub about: InstanceRecord,
}

/// An event as it is said, before it has a number.
#[derive(Clone, Debug, PartialEq)]
pub struct EventDraft {
    /// What it is.
    pub kind: EventKind,
    /// Whom it concerns.
    pub account: Option<Arc<str>>,
    /// Which application.
    pub application: Option<Arc<str>>,
    /// Which instance.
    pub instance: Option<Arc<str>>,
    /// When it begins.
    pub start: Timestamp,
    /// When it ends; never before `start`.
    pub end: Option<Timestamp>,
    /// How many instances it is expected to add.
    pub size: Option<f64>,
    /// In words.
    pub note: Option<Arc<str>>,
}

/// A line that was not taken, or a value on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFault {
    /// Which line, from 1.
    pub line: u64,
    /// Which field of it, as in `metrics.cpu`; empty where it is the line.
    pub field: String,
    /// What was found, and what would be right.
    pub why: String,
}

/// Which times are believed.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The present.
    pub now: Timestamp,
    /// How old a value may be.
    pub past: Span,
    /// How far ahead of us its clock may be.
    pub future: Span,
}

/// A fault of one field.
type Bad = (String, String);

/// Reads one line.
pub fn parse(line: u64, text: &[u8], window: Window) -> Result<Entry, LineFault> {
    let fault = |(field, why)| LineFault { line, field, why };
    if text.len() > LINE_MAX {
        return Err(fault((String::new(), too_long())));
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let raw: RawLine = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        // `?` is a place that is not in anything that could be named.
        let path = error.path().to_string();
        let path = shorten(path.trim_end_matches(['.', '?']), 2 * NAME_MAX);
        fault((path, shorten(&error.inner().to_string(), 512)))
    })?;
    reader.end().map_err(|error| fault((String::new(), error.to_string())))?;
    match &raw.event {
        None => raw.report(window).map(Entry::Report).map_err(fault),
        Some(event) if raw.is_event_alone() => {
            event.check("event.", window).map(Entry::Event).map_err(fault)
        }
        Some(_) => Err(fault(("event".into(), "beside other fields, want it alone".into()))),
    }
}

/// As people see it in a report: without control characters, and not long.
fn shorten(text: &str, max: usize) -> String {
    let clean = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut out = String::new();
    for c in clean {
        if out.len() + c.len_utf8() > max {
            out.push_str("..");
            break;
        }
        out.push(c);
    }
    out
}

fn too_long() -> String {
    format!("over {LINE_MAX} bytes, want shorter lines")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLine {
    event: Option<RawEvent>,
    instance: Option<String>,
    time: Option<Moment>,
    #[serde(default)]
    metrics: BTreeMap<String, f64>,
    account: Option<String>,
    application: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    requires: BTreeMap<String, f64>,
}

/// An event as it is written, here and as the body of a request of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawEvent {
    /// What it is.
    pub kind: EventKind,
    /// Whom it concerns.
    pub account: Option<String>,
    /// Which application.
    pub application: Option<String>,
    /// Which instance.
    pub instance: Option<String>,
    /// When it begins; now without.
    pub start: Option<Moment>,
    /// When it ends.
    pub end: Option<Moment>,
    /// How many instances it is expected to add.
    pub size: Option<f64>,
    /// In words.
    pub note: Option<String>,
}

impl RawLine {
    fn is_event_alone(&self) -> bool {
        let names = [&self.instance, &self.account, &self.application, &self.kind];
        names.iter().all(|name| name.is_none())
            && self.time.is_none()
            && self.metrics.is_empty()
            && self.requires.is_empty()
    }

    fn report(&self, window: Window) -> Result<Report, Bad> {
        let missing = || bad("instance", "missing, want the id of an instance");
        let instance = name("instance", self.instance.as_deref())?.ok_or_else(missing)?;
        let about = InstanceRecord {
            account: name("account", self.account.as_deref())?,
            application: name("application", self.application.as_deref())?,
            kind: name("type", self.kind.as_deref())?,
            requires: self.requirements()?,
        };
        if self.metrics.is_empty() && about.is_empty() {
            return Err(bad("metrics", "missing, want at least one value"));
        }
        if self.metrics.len() > VALUES_MAX {
            return Err(bad(
                "metrics",
                format!("{} values, at most {VALUES_MAX}", self.metrics.len()),
            ));
        }
        let time = self.time.map_or(window.now, |time| time.0);
        window.check("time", time)?;
        let values = self.metrics.iter().map(|(metric, value)| Ok((metric_name(metric)?, *value)));
        let values: Vec<_> = values.collect::<Result<_, Bad>>()?;
        match values.iter().find(|(_, value)| !is_value(*value)) {
            Some((metric, value)) => Err(unusable(&format!("metrics.{metric}"), *value)),
            None => Ok(Report { instance, time, values, about }),
        }
    }

    fn requirements(&self) -> Result<BTreeMap<Arc<str>, f64>, Bad> {
        let count = self.requires.len();
        if count > REQUIREMENTS_MAX {
            return Err(bad("requires", format!("{count} of them, at most {REQUIREMENTS_MAX}")));
        }
        let read = |(what, amount): (&String, &f64)| {
            if !is_metric(what) {
                return Err(bad_metric("requires", what));
            }
            match is_value(*amount) && *amount >= 0.0 {
                true => Ok((Arc::from(what.as_str()), *amount)),
                false => Err(unusable(&format!("requires.{what}"), *amount)),
            }
        };
        self.requires.iter().map(read).collect()
    }
}

impl RawEvent {
    /// As it can be kept; `under` is what the names of its fields begin with.
    pub fn check(&self, under: &str, window: Window) -> Result<EventDraft, (String, String)> {
        let field = |name: &str| format!("{under}{name}");
        let start = self.start.map_or(window.now, |time| time.0);
        let (earliest, latest) = (window.now - EVENT_SPAN, window.now + EVENT_SPAN);
        if !(earliest..=latest).contains(&start) {
            return Err(bad(&field("start"), format!("over {EVENT_SPAN} from now")));
        }
        let end = self.end.map(|time| time.0);
        if end.is_some_and(|end| end < start || end > start + EVENT_SPAN) {
            let why = format!("want a time from `start` on, at most {EVENT_SPAN} after it");
            return Err(bad(&field("end"), why));
        }
        if let Some(size) = self.size.filter(|size| !is_value(*size)) {
            return Err(unusable(&field("size"), size));
        }
        let note = self.note.as_deref();
        if note.is_some_and(|note| note.len() > NOTE_MAX || note.contains(|c: char| c.is_control()))
        {
            let why = format!("want up to {NOTE_MAX} bytes without control characters");
            return Err(bad(&field("note"), why));
        }
        Ok(EventDraft {
            kind: self.kind,
            account: name(&field("account"), self.account.as_deref())?,
            application: name(&field("application"), self.application.as_deref())?,
            instance: name(&field("instance"), self.instance.as_deref())?,
            start,
            end,
            size: self.size,
            note: note.map(Arc::from),
        })
    }
}

impl Window {
    /// Whether a value of `time` may be taken.
    pub fn check(&self, field: &str, time: Timestamp) -> Result<(), (String, String)> {
        let (past, ahead) = (self.now.since(time), time.since(self.now));
        if past > self.past {
            let why = format!("{past} ago, at most {} ([telemetry] past)", self.past);
            return Err(bad(field, why));
        }
        if ahead > self.future {
            let why = format!("{ahead} ahead of the server's clock, at most {}", self.future);
            return Err(bad(field, why));
        }
        Ok(())
    }
}

fn bad(field: &str, why: impl Into<String>) -> Bad {
    (field.to_owned(), why.into())
}

fn unusable(field: &str, value: f64) -> Bad {
    bad(field, format!("{value:e}, want a finite number below 1e18"))
}

fn bad_metric(field: &str, found: &str) -> Bad {
    let found = shorten(found, METRIC_MAX);
    let why = format!(
        "`{found}` is no name, want up to {METRIC_MAX} letters, digits and _ : . that begin \
         with a letter"
    );
    bad(field, why)
}

/// A name, if there is one.
fn name(field: &str, text: Option<&str>) -> Result<Option<Arc<str>>, Bad> {
    match text {
        None => Ok(None),
        Some(text) if is_name(text) => Ok(Some(text.into())),
        Some(_) => Err(bad(field, format!("want 1 to {NAME_MAX} bytes without spaces"))),
    }
}

fn metric_name(text: &str) -> Result<Arc<str>, Bad> {
    if is_metric(text) { Ok(text.into()) } else { Err(bad_metric("metrics", text)) }
}

/// A time as it is written: RFC 3339, or seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

impl Moment {
    /// From text: RFC 3339, or seconds.
    pub fn parse(text: &str) -> Option<Moment> {
        match text.parse::<f64>() {
            Ok(seconds) => Moment::of_seconds(seconds),
            Err(_) => {
                let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
                u64::try_from(nanos / 1_000_000).ok().map(|ms| Moment(Timestamp(ms)))
            }
        }
    }

    /// From seconds since the epoch, until the year 9999.
    fn of_seconds(seconds: f64) -> Option<Moment> {
        const LAST: f64 = 253_402_300_799.0;
        // The range is checked, so that the cast is exact but for the fraction.
        (0.0..=LAST)
            .contains(&seconds)
            .then(|| Moment(Timestamp((seconds * 1000.0).round() as u64)))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time as in \"2027-01-14T08:00:00Z\", or seconds since 1970")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Moment, E> {
                Moment::parse(text).ok_or_else(|| {
                    E::invalid_value(serde::de::Unexpected::Other("text that is none"), &self)
                })
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<Moment, E> {
                let found = serde::de::Unexpected::Float(seconds);
                Moment::of_seconds(seconds).ok_or_else(|| E::invalid_value(found, &self))
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Moment, E> {
                self.visit_f64(seconds as f64)
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Moment, E> {
                self.visit_f64(seconds as f64)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Lines out of pieces as they arrive, of at most [`LINE_MAX`] bytes each in memory.
#[derive(Debug, Default)]
pub struct Lines {
    /// The line that has begun, without what is over its limit.
    begun: Vec<u8>,
    /// How many lines have ended.
    ended: u64,
}

impl Lines {
    /// Hands every line that `piece` ends to `each`, with its number. Empty ones are left out.
    pub fn feed(&mut self, piece: &[u8], mut each: impl FnMut(u64, &[u8])) {
        let mut parts = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            // One byte over the limit shows that it is over.
            let room = (LINE_MAX + 1).saturating_sub(self.begun.len());
            self.begun.extend_from_slice(part.get(..room).unwrap_or(part));
            if parts.peek().is_some() {
                self.end_line(&mut each);
            }
        }
    }

    /// The last line, if nothing ended it.
    pub fn finish(mut self, mut each: impl FnMut(u64, &[u8])) {
        if !self.begun.is_empty() {
            self.end_line(&mut each);
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(u64, &[u8])) {
        self.ended += 1;
        let line = self.begun.trim_ascii();
        if !line.is_empty() {
            each(self.ended, line);
        }
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn window() -> Window {
        Window { now: Timestamp(NOW), past: Span::from_secs(3600), future: Span::from_secs(60) }
    }

    #[track_caller]
    fn refused(text: &str) -> (String, String) {
        let fault = parse(7, text.as_bytes(), window()).unwrap_err();
        assert_eq!(fault.line, 7);
        (fault.field, fault.why)
    }

    #[test]
    fn a_report_is_read() {
        let line = br#"{"instance":"vm-7","time":1800000000.5,"metrics":{"cpu":0.5,"q.len":3},
            "type":"m5","requires":{"cpu":2}}"#;
        let Ok(Entry::Report(report)) = parse(1, line, window()) else { panic!() };
        assert_eq!(report.time, Timestamp(NOW + 500));
        assert_eq!(report.values, [("cpu".into(), 0.5), ("q.len".into(), 3.0)]);
        assert_eq!(report.about.kind.as_deref(), Some("m5"));
        assert_eq!(report.about.requires.get("cpu"), Some(&2.0));
    }

    #[test]
    fn times_are_text_or_seconds() {
        for text in
            [r#""2027-01-15T08:00:00Z""#, r#""2027-01-15T09:00:00.000+01:00""#, "1800000000"]
        {
            let line = format!(r#"{{"instance":"a","time":{text},"metrics":{{"cpu":1}}}}"#);
            let Ok(Entry::Report(report)) = parse(1, line.as_bytes(), window()) else {
                panic!("{text}")
            };
            assert_eq!(report.time, Timestamp(NOW), "{text}");
        }
    }

    #[test]
    fn an_event_is_read() {
        let line = br#"{"event":{"kind":"campaign","account":"acme","start":1800000000,
            "end":1800007200,"size":40,"note":"winter sale"}}"#;
        let Ok(Entry::Event(event)) = parse(1, line, window()) else { panic!() };
        assert_eq!((event.kind, event.size), (EventKind::Campaign, Some(40.0)));
        assert_eq!(event.end, Some(Timestamp(NOW + 7_200_000)));
    }

    #[test]
    fn refusals_name_the_field_and_what_is_right() {
        let cases = [
            ("{", "", "EOF"),
            ("[]", "", "invalid"),
            (r#"{"metrics":{"cpu":1}}"#, "instance", "missing"),
            (r#"{"instance":"a"}"#, "metrics", "at least one"),
            (r#"{"instance":"a b","metrics":{"cpu":1}}"#, "instance", "without spaces"),
            (r#"{"instance":"a","metrics":{"cpu":"1"}}"#, "metrics.cpu", "expected f64"),
            (r#"{"instance":"a","metrics":{"cpu":NaN}}"#, "metrics.cpu", "expected"),
            (r#"{"instance":"a","metrics":{"cpu":1e999}}"#, "metrics.cpu", "out of range"),
            (r#"{"instance":"a","metrics":{"cpu":1e18}}"#, "metrics.cpu", "below 1e18"),
            (r#"{"instance":"a","metrics":{"-":1}}"#, "metrics", "is no name"),
            (r#"{"instance":"a","metric":{"cpu":1}}"#, "metric", "unknown field"),
            (r#"{"instance":"a","time":"noon","metrics":{"cpu":1}}"#, "time", "2027-01-14"),
            (
                r#"{"instance":"a","time":1700000000,"metrics":{"cpu":1}}"#,
                "time",
                "ago, at most 1h",
            ),
            (r#"{"instance":"a","time":1800000061,"metrics":{"cpu":1}}"#, "time", "ahead"),
            (r#"{"instance":"a","time":1800000000000,"metrics":{"cpu":1}}"#, "time", "seconds"),
            (r#"{"instance":"a","requires":{"cpu":-1}}"#, "requires.cpu", "-1"),
            (r#"{"event":{"kind":"party"}}"#, "event.kind", "unknown variant"),
            (r#"{"event":{"kind":"deploy","start":9,"end":3}}"#, "event.start", "from now"),
            (
                r#"{"event":{"kind":"deploy","start":1800000000,"end":1700000000}}"#,
                "event.end",
                "from `start` on",
            ),
            (r#"{"event":{"kind":"deploy","note":"a"}}"#, "event.note", "control"),
            (r#"{"event":{"kind":"deploy"},"instance":"a"}"#, "event", "alone"),
            (r#"{"instance":"a","metrics":{"cpu":1}} x"#, "", "trailing"),
        ];
        for (text, field, why) in cases {
            let (found, reason) = refused(text);
            assert_eq!(found, field, "{text}: {reason}");
            assert!(reason.contains(why), "{text}: {reason}");
        }
    }

    #[test]
    fn deep_and_long_lines_cost_nothing() {
        refused(&"[".repeat(10_000));
        refused(&format!(r#"{{"instance":{}"#, "[".repeat(10_000)));
        let (_, why) = refused(&format!(r#"{{"instance":"{}"}}"#, "a".repeat(20_000)));
        assert!(why.contains("over 16384 bytes"));
        let metrics: Vec<String> = (0..300).map(|i| format!(r#""m{i}":1"#)).collect();
        let line = format!(r#"{{"instance":"a","metrics":{{{}}}}}"#, metrics.join(","));
        assert!(refused(&line).1.contains("at most 256"));
    }

    #[test]
    fn lines_are_cut_from_any_pieces() {
        let text = b"one

  two 
"
        .iter()
        .chain(&[b'x'; 40_000])
        .chain(
            b"
last",
        );
        let text: Vec<u8> = text.copied().collect();
        for size in [1, 3, 1000, text.len()] {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            let mut note = |number, line: &[u8]| found.push((number, line.len(), line[0]));
            text.chunks(size).for_each(|piece| lines.feed(piece, &mut note));
            lines.finish(&mut note);
            let want = [(1, 3, b'o'), (3, 3, b't'), (4, LINE_MAX + 1, b'x'), (5, 4, b'l')];
            assert_eq!(found, want, "{size}");
        }
    }
}
