//! Versions of what can be read (RFC 9110 s8.8.3), and changes that name the version they mean.

use std::fmt::Write;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::digest;
use serde::Serialize;

use super::command::Refusal;
use super::problem::Problem;

/// Bytes of a hash that make a tag.
const TAG_BYTES: usize = 16;
/// Longest list of tags that is looked at.
const LIST_MAX: usize = 4096;

/// `If-Match` and `If-None-Match` of a request. An extractor.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    is: Option<String>,
    is_not: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Conditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Conditions, Problem> {
        let list = |name: HeaderName| match parts.headers.get(&name) {
            Some(text) => match text.to_str() {
                Ok(text) if text.len() <= LIST_MAX => Ok(Some(text.to_owned())),
                _ => Err(Problem::field(name.as_str(), "want one or more tags in quotes, or *")),
            },
            None => Ok(None),
        };
        Ok(Conditions { is: list(header::IF_MATCH)?, is_not: list(header::IF_NONE_MATCH)? })
    }
}

impl Conditions {
    /// The answer that shows `view`: nothing, if the caller has that version.
    pub fn answer(&self, view: &impl Serialize) -> Result<Response, Problem> {
        let body = serde_json::to_vec(view)
            .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        let tag = tag_of(&body);
        let known = self.is_not.as_deref().is_some_and(|list| names(list, &tag, true));
        let status = if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        let body = if known { Body::empty() } else { Body::from(body) };
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        if !known {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (header::ETAG, tag)));
        Ok(response)
    }

    /// Whether what is about to be changed must still be some version.
    pub fn is_conditional(&self) -> bool {
        self.is.is_some()
    }

    /// Lets an entry be put in the place of `now`: `If-Match` wants that version there, and
    /// `If-None-Match: *` nothing.
    pub fn allow_put(&self, now: Option<&impl Serialize>) -> Result<(), Refusal> {
        match now {
            Some(_) if self.is_not.as_deref().is_some_and(|list| list.trim() == "*") => {
                Err(Refusal::Changed("if-none-match: found *, but it is there".into()))
            }
            Some(now) => self.allow_change(now),
            None if self.is.is_some() => Err(Refusal::Changed("if-match: it is not there".into())),
            None => Ok(()),
        }
    }

    /// Lets a change go on whose `If-Match` is what there is now, or which has none.
    pub fn allow_change(&self, now: &impl Serialize) -> Result<(), Refusal> {
        let Some(list) = &self.is else { return Ok(()) };
        let tag = tag(now);
        match names(list, &tag, false) {
            true => Ok(()),
            false => Err(Refusal::Changed(format!("if-match: found {list}, but it is {tag} now"))),
        }
    }
}

/// The tag of a view.
pub fn tag(view: &impl Serialize) -> String {
    tag_of(&serde_json::to_vec(view).unwrap_or_default())
}

fn tag_of(body: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, body);
    let mut tag = String::from("\"");
    for byte in hash.as_ref().iter().take(TAG_BYTES) {
        // Writing to a string cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag + "\""
}

/// Whether a list of tags names this one (RFC 9110 s13.1.1, s13.1.2).
fn names(list: &str, tag: &str, weak: bool) -> bool {
    list.split(',').map(str::trim).any(|one| {
        one == "*" || one == tag || (weak && one.strip_prefix("W/").is_some_and(|one| one == tag))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_known_is_not_sent_again() {
        let tag = tag(&[1, 2]);
        let asked = |list: &str| {
            let conditions = Conditions { is_not: Some(list.into()), is: None };
            conditions.answer(&[1, 2]).unwrap().status().as_u16()
        };
        assert_eq!(asked(&tag), 304);
        assert_eq!(asked(&format!("\"x\", W/{tag}")), 304);
        assert_eq!(asked("*"), 304);
        assert_eq!(asked("\"x\""), 200);
        assert_eq!(asked("\""), 200);
    }

    #[test]
    fn a_change_of_another_version_is_refused() {
        let change = |is: Option<String>| Conditions { is, is_not: None }.allow_change(&"now");
        assert_eq!(change(None), Ok(()));
        assert_eq!(change(Some("*".into())), Ok(()));
        assert_eq!(change(Some(tag(&"now"))), Ok(()));
        assert!(matches!(change(Some(tag(&"then"))), Err(Refusal::Changed(_))));
        assert!(change(Some(format!("W/{}", tag(&"now")))).is_err(), "weak tags never match");
    }
}
