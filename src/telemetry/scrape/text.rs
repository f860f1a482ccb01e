//! The text format of Prometheus, version 0.0.4, one line at a time.
//!
//! ```text
//! http_requests_total{method="post",code="200"} 1027 1395066363000
//! ```

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::base::Timestamp;

/// Most labels of one sample.
pub const LABELS_MAX: usize = 64;

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The metric's name.
    pub name: &'a str,
    /// As they are written between the braces: what tells samples of one name apart.
    pub raw_labels: &'a str,
    /// Labels and their values.
    pub labels: Labels<'a>,
    /// The value; may be NaN or infinite.
    pub value: f64,
    /// When it was, if it says so.
    pub time: Option<Timestamp>,
}

/// Labels in the order in which they are written.
pub type Labels<'a> = SmallVec<[(&'a str, Cow<'a, str>); 8]>;

impl Sample<'_> {
    /// The value of a label; of one that is missing, nothing.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| &**value)
    }
}

/// Reads one line: a sample; nothing, if it is empty or a comment; or what is wrong with it.
pub fn parse(line: &[u8]) -> Result<Option<Sample<'_>>, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8")?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let end = line.find(|c: char| !is_name(c)).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("no name");
    }
    let rest = rest.trim_start();
    let (labels, raw_labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Labels::new(), "", rest),
    };
    // OpenMetrics writes an exemplar behind such a mark.
    let mut words = rest.split_ascii_whitespace().take_while(|word| *word != "#");
    let value = number(words.next().ok_or("no value")?)?;
    let time = words.next().map(|word| word.parse::<i64>().map_err(|_| "a time that is no number"));
    let time = time.transpose()?.map(|ms| Timestamp(u64::try_from(ms).unwrap_or_default()));
    match words.next() {
        None => Ok(Some(Sample { name, raw_labels, labels, value, time })),
        Some(_) => Err("more than name, value and time"),
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// As Go reads floats, for what exporters write.
fn number(word: &str) -> Result<f64, &'static str> {
    word.parse::<f64>().map_err(|_| "a value that is no number")
}

/// What is between the braces, and what follows them.
#[allow(clippy::type_complexity, reason = "three parts of one line")]
fn labels(inside: &str) -> Result<(Labels<'_>, &str, &str), &'static str> {
    let (mut found, mut rest) = (Labels::new(), inside.trim_start());
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            let length = inside.len() - rest.len();
            return Ok((found, inside.get(..length).unwrap_or_default(), after));
        }
        if found.len() == LABELS_MAX {
            return Err("too many labels");
        }
        let (name, after) = rest.split_once('=').ok_or("a label without value")?;
        let name = name.trim();
        if name.is_empty() || !name.chars().all(is_name) {
            return Err("a label without name");
        }
        let quoted = after.trim_start().strip_prefix('"').ok_or("a label without quotes")?;
        let (value, after) = unquote(quoted)?;
        found.push((name, value));
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None if rest.starts_with('}') => {}
            None => return Err("labels without comma"),
        }
    }
}

/// A value up to its quote, and what follows that.
fn unquote(text: &str) -> Result<(Cow<'_, str>, &str), &'static str> {
    let mut out: Option<String> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let before = text.get(..at).unwrap_or_default();
                let value = out.map_or(Cow::Borrowed(before), Cow::Owned);
                return Ok((value, text.get(at + 1..).unwrap_or_default()));
            }
            '\\' => {
                let out = out.get_or_insert_with(|| text.get(..at).unwrap_or_default().to_owned());
                match chars.next().map(|(_, c)| c) {
                    Some('n') => out.push('\n'),
                    Some(c @ ('\\' | '"')) => out.push(c),
                    Some(c) => out.extend(['\\', c]),
                    None => return Err("a value without end"),
                }
            }
            c => out.iter_mut().for_each(|out| out.push(c)),
        }
    }
    Err("a value without end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read() {
        let sample = |line: &'static str| parse(line.as_bytes()).unwrap().unwrap();
        let plain = sample("node_load1 0.52");
        assert_eq!((plain.name, plain.value, plain.time), ("node_load1", 0.52, None));
        let line = r#"a:b_total{x="1",path="C:\\D\"IR",msg="a\nb", } +Inf 1395066363000 "#;
        let full = sample(line);
        assert_eq!(full.label("path"), Some("C:\\D\"IR"));
        assert_eq!(full.label("msg"), Some("a\nb"));
        assert_eq!(full.label("y"), None);
        assert_eq!((full.value, full.time), (f64::INFINITY, Some(Timestamp(1_395_066_363_000))));
        assert_eq!(full.raw_labels, r#"x="1",path="C:\\D\"IR",msg="a\nb", "#);
        assert!(sample("x{} NaN").value.is_nan());
        assert_eq!(sample("x 1e-3 -3").time, Some(Timestamp(0)));
        assert_eq!(sample("x 1 # {trace=\"a\"} 1").value, 1.0);
        for none in ["", "  ", "# HELP x y", "#", "# EOF"] {
            assert_eq!(parse(none.as_bytes()), Ok(None), "{none}");
        }
    }

    #[test]
    fn what_is_no_sample_is_told() {
        let bad: [&[u8]; 14] = [
            b"x",
            b"1x 1",
            b"{} 1",
            b"x{ 1",
            b"x{a} 1",
            b"x{a=b} 1",
            b"x{a=\"b} 1",
            b"x{a=\"b\\",
            b"x{a=\"b\"c=\"d\"} 1",
            b"x{=\"b\"} 1",
            b"x y",
            b"x 1 y",
            b"x 1 2 3",
            b"\xff 1",
        ];
        for line in bad {
            assert!(parse(line).is_err(), "{}", String::from_utf8_lossy(line));
        }
        let many = format!("x{{{}}} 1", "a=\"b\",".repeat(65));
        assert_eq!(parse(many.as_bytes()), Err("too many labels"));
    }
}
