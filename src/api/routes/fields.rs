//! Fields of bodies, as they are read.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use crate::api::problem::Problem;
use crate::base::addr::parse_hex;

/// A text that stands for something; what is wrong with it says what it is to look like.
pub(super) fn parsed<T: FromStr>(
    field: impl Display,
    text: Option<String>,
    like: &str,
) -> Result<Option<T>, Problem> {
    text.map(|text| one_parsed(field, &text, like)).transpose()
}

/// Several of them.
pub(super) fn all_parsed<T: FromStr>(
    field: &str,
    texts: &[String],
    like: &str,
) -> Result<Vec<T>, Problem> {
    let each = texts.iter().enumerate();
    each.map(|(n, text)| one_parsed(format_args!("{field}[{n}]"), text, like)).collect()
}

fn one_parsed<T: FromStr>(field: impl Display, text: &str, like: &str) -> Result<T, Problem> {
    let want = || format!("found {text:?}, want one as {like}");
    text.parse().map_err(|_| Problem::unfit(&field.to_string(), want()))
}

/// Bytes in hexadecimal.
pub(super) fn hex(field: &str, text: Option<String>) -> Result<Option<Box<[u8]>>, Problem> {
    let fault = |text: &str| Problem::unfit(field, format!("found {text:?}, want hexadecimal"));
    let read = |text: String| {
        let bytes = parse_hex(&text).filter(|bytes| !bytes.is_empty());
        bytes.map(Box::from).ok_or_else(|| fault(&text))
    };
    text.map(read).transpose()
}

/// A host name, in lower case.
pub(super) fn hostname(text: Option<String>) -> Result<Option<Arc<str>>, Problem> {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let Some(text) = text.map(|text| text.to_ascii_lowercase()) else { return Ok(None) };
    match text.len() <= 253 && text.split('.').all(label) {
        true => Ok(Some(text.into())),
        false => Err(Problem::unfit(
            "hostname",
            format!("found {text:?}, want labels of letters, digits and inner hyphens"),
        )),
    }
}
