//! What a request holds, once the document has nothing against it.

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::contract::{Contract, Operation, Place};
use super::live::Live;
use super::problem::{FIELDS_MAX, Problem};
use super::routes::Api;
use super::schema::quoted;
use super::view::FieldView;

/// Memory for a body before its first byte has come.
const FIRST_BYTES_MAX: usize = 64 << 10;
/// How many times the largest body is read, and thrown away, to be able to say that it is too large.
const DRAIN: usize = 4;
/// Parameters that are looked at.
const PARAMETERS_MAX: usize = 64;

/// A JSON body: of bounded size and depth, as its schema says, without unknown fields.
#[derive(Clone, Copy, Debug)]
pub struct Body<T>(pub T);

/// Parameters of the query. Several may be taken, each for the parameters that it knows.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

/// The only parameter of the path.
#[derive(Clone, Debug)]
pub struct Named(pub String);

/// The two parameters of the path.
#[derive(Clone, Debug)]
pub struct NamedTwo(pub String, pub String);

/// `If-Match` and `If-None-Match`.
pub use super::etag::Conditions;

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Body<T>, Problem> {
        let (parts, body) = request.into_parts();
        let operation = operation(&parts, &api.contract)?;
        let Some((rule, required)) = &operation.body else {
            return Err(undocumented());
        };
        let bytes = read(&parts.headers, body, &api.live).await?;
        if bytes.is_empty() && !required {
            return from_value(Value::Object(Map::new())).map(Body);
        }
        if !is_json(&parts.headers) {
            let found = parts
                .headers
                .get(header::CONTENT_TYPE)
                .map(|kind| quoted(&String::from_utf8_lossy(kind.as_bytes())));
            let found = found.unwrap_or_else(|| "nothing".into());
            let why = format!("content-type: found {found}, want application/json");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        let unreadable =
            |error: serde_json::Error| Problem::field("", format!("request body: {error}"));
        let faults = api.contract.rules.check_body(rule, &bytes).map_err(unreadable)?;
        if !faults.is_empty() {
            return Err(Problem::fields(faults));
        }
        let json = &mut serde_json::Deserializer::from_slice(&bytes);
        serde_path_to_error::deserialize(json).map(Body).or_else(|error| {
            // What the schema allows and the reader does not take as it is written.
            let value = serde_json::from_slice(&bytes).map_err(unreadable)?;
            let read = T::deserialize(api.contract.rules.plain(rule, value)).map(Body);
            let (path, why) = (error.path().to_string(), error.inner().to_string());
            read.map_err(|_| Problem::field(&path, why))
        })
    }
}

impl<T: DeserializeOwned> FromRequestParts<Arc<Api>> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Query<T>, Problem> {
        let operation = operation(parts, &api.contract)?;
        let text = parts.uri.query().unwrap_or_default();
        from_value(Value::Object(query(text, operation, &api.contract)?)).map(Query)
    }
}

impl FromRequestParts<Arc<Api>> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Named, Problem> {
        let [name] = places(parts, api).await?;
        Ok(Named(name))
    }
}

impl FromRequestParts<Arc<Api>> for NamedTwo {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<NamedTwo, Problem> {
        let [first, second] = places(parts, api).await?;
        Ok(NamedTwo(first, second))
    }
}

/// What stands in the places of the path, as the document wants it.
async fn places<const N: usize>(parts: &mut Parts, api: &Arc<Api>) -> Result<[String; N], Problem> {
    let found = RawPathParams::from_request_parts(parts, api).await;
    let found =
        found.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let operation = operation(parts, &api.contract)?;
    let mut names = Vec::with_capacity(N);
    for (name, text) in &found {
        let known = |p: &&super::contract::Parameter| p.place == Place::Path && *p.name == *name;
        if let Some(parameter) = operation.parameters.iter().find(known) {
            let checked = api.contract.rules.parameter(&parameter.rule, text);
            checked.map_err(|detail| Problem::field(name, detail))?;
        }
        names.push(text.to_owned());
    }
    names.try_into().map_err(|_| undocumented())
}

/// The operation that the document has for a request.
fn operation<'c>(parts: &Parts, contract: &'c Contract) -> Result<&'c Operation, Problem> {
    let path = parts.extensions.get::<MatchedPath>();
    path.and_then(|path| contract.operation(&parts.method, path.as_str())).ok_or_else(undocumented)
}

/// Cannot be: requests that the document does not know were refused before.
fn undocumented() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the document does not know this request")
}

/// A body, as large and as long on its way as `live` allows.
pub(super) async fn read(
    headers: &HeaderMap,
    body: HttpBody,
    live: &Live,
) -> Result<Bytes, Problem> {
    let (most, within) = (live.body_max(), live.timeout());
    let late = |_| {
        let why = format!("no whole body in {within:?} (api.timeout)");
        Problem::new(StatusCode::REQUEST_TIMEOUT, why)
    };
    timeout(within, gather(headers, body, most)).await.map_err(late)?
}

async fn gather(headers: &HeaderMap, mut body: HttpBody, most: usize) -> Result<Bytes, Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|text| text.to_str().ok());
    let length = length.and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    let too_large = || {
        let why = format!("the body is larger than {most} bytes (api.body)");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, why)
    };
    // Who asks before sending is told before sending (RFC 9110 s10.1.1).
    if length > most && headers.contains_key(header::EXPECT) {
        return Err(too_large());
    }
    let mut gathered = Vec::with_capacity(length.min(FIRST_BYTES_MAX));
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let unreadable = |error| Problem::field("", format!("request body: {error}"));
        let Ok(data) = frame.map_err(unreadable)?.into_data() else { continue };
        read += data.len();
        // Who is refused hears of it only if what they sent is taken; up to a point.
        if read > most.saturating_mul(DRAIN) {
            break;
        }
        if read <= most && length <= most {
            gathered.extend_from_slice(&data);
        }
    }
    if read > most || length > most {
        return Err(too_large());
    }
    Ok(gathered.into())
}

/// `application/json`, or a kind of it, whatever its parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| {
        let essence = kind.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    })
}

/// The parameters of a query by name, as the values that they stand for.
fn query(
    text: &str,
    operation: &Operation,
    contract: &Contract,
) -> Result<Map<String, Value>, Problem> {
    let (mut values, mut faults, mut seen) = (Map::new(), Vec::new(), HashSet::new());
    let mut fault = |field: &str, detail: String| {
        if faults.len() < FIELDS_MAX {
            faults.push(FieldView { field: field.chars().take(64).collect(), detail });
        }
    };
    let in_query = operation.parameters.iter().filter(|p| p.place == Place::Query);
    for (index, (name, text)) in form_urlencoded::parse(text.as_bytes()).enumerate() {
        if index == PARAMETERS_MAX {
            fault("", format!("over {PARAMETERS_MAX} parameters"));
            break;
        }
        let Some(parameter) = in_query.clone().find(|p| *p.name == *name) else {
            let known: Vec<&str> = in_query.clone().map(|p| &*p.name).collect();
            let want = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            fault(&name, format!("no such parameter; want {want}"));
            continue;
        };
        if !seen.insert(name.to_string()) {
            fault(&name, "is there twice".into());
            continue;
        }
        match contract.rules.parameter(&parameter.rule, &text) {
            Ok(value) => drop(values.insert(name.into_owned(), value)),
            Err(detail) => fault(&name, detail),
        }
    }
    for parameter in in_query.filter(|p| p.required && !seen.contains(&*p.name)) {
        fault(&parameter.name, "is missing".into());
    }
    if faults.is_empty() { Ok(values) } else { Err(Problem::fields(faults)) }
}

fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| Problem::field(&error.path().to_string(), error.inner().to_string()))
}

/// Whether a method changes something (RFC 9110 s9.2.1).
pub(super) fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}
