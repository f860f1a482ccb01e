//! Errors as HTTP has them (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::command::Refusal;
use super::view::{FieldView, ProblemView};

/// Faults of one request that are told one by one.
pub(super) const FIELDS_MAX: usize = 20;

/// An error on its way out.
#[derive(Clone, Debug)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// What was wrong.
    pub detail: String,
    /// What was wrong with which field.
    pub errors: Vec<FieldView>,
    /// When it is worth trying again, in seconds.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem in words.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    /// Fields that are not what they should be.
    pub fn fields(errors: Vec<FieldView>) -> Problem {
        let detail = match errors.as_slice() {
            [one] if one.field.is_empty() => one.detail.clone(),
            [one] => format!("{}: {}", one.field, one.detail),
            some => format!("{} faults, see `errors`", some.len()),
        };
        Problem { errors, ..Problem::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// One field that is not what it should be: what was found, and what is expected.
    pub fn field(field: &str, detail: impl Into<String>) -> Problem {
        Problem::fields(vec![FieldView { field: field.into(), detail: detail.into() }])
    }

    /// A field that is right by the schema, and yet not what it should be.
    pub fn unfit(field: &str, detail: impl Into<String>) -> Problem {
        Problem { status: StatusCode::UNPROCESSABLE_ENTITY, ..Problem::field(field, detail) }
    }

    /// Too much at once; `retry_after` in seconds.
    pub fn too_many(detail: impl Into<String>, retry_after: u64) -> Problem {
        Problem {
            retry_after: Some(retry_after.max(1)),
            ..Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let status = match &refusal {
            Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
            Refusal::NotFound(_) => StatusCode::NOT_FOUND,
            Refusal::Unknown(_) => StatusCode::UNAUTHORIZED,
            Refusal::Forbidden(_) => StatusCode::FORBIDDEN,
            Refusal::Conflict(_) | Refusal::Taken(..) | Refusal::Configured(_) => {
                StatusCode::CONFLICT
            }
            Refusal::Changed(_) => StatusCode::PRECONDITION_FAILED,
            Refusal::Faults(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::Field(field, detail) => return Problem::unfit(field, detail.as_str()),
            Refusal::TooMany(_) => return Problem::too_many(refusal.to_string(), 1),
            Refusal::Store(_) => StatusCode::INSUFFICIENT_STORAGE,
            Refusal::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Problem::new(status, refusal.to_string())
    }
}

impl From<&ProblemView> for Refusal {
    fn from(view: &ProblemView) -> Refusal {
        let mut detail = view.detail.clone();
        if view.errors.len() > 1 {
            let fields = view.errors.iter().map(|e| format!("{}: {}", e.field, e.detail));
            detail = fields.collect::<Vec<_>>().join("; ");
        }
        match view.status {
            401 => Refusal::Unknown(detail),
            403 => Refusal::Forbidden(detail),
            404 => Refusal::NotFound(detail),
            409 => Refusal::Conflict(detail),
            412 => Refusal::Changed(detail),
            422 if !view.errors.is_empty() => Refusal::Invalid(detail),
            422 => Refusal::Faults(detail),
            429 => Refusal::TooMany(detail),
            507 => Refusal::Store(detail),
            500.. => Refusal::Unavailable(detail),
            _ => Refusal::Invalid(detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let view = ProblemView {
            kind: "about:blank".into(),
            title: self.status.canonical_reason().unwrap_or("error").into(),
            status: self.status.as_u16(),
            detail: self.detail,
            errors: self.errors,
        };
        let mut response = (self.status, axum::Json(view)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let retry =
            self.retry_after.or((self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(1));
        if let Some(seconds) = retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
