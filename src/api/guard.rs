//! Before a route sees a request: who calls, whether they may, how much they ask, and whether the
//! answer was given before.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::caller::{Caller, Role};
use super::command::Refusal;
use super::extract::{is_write, read};
use super::live::Remote;
use super::problem::Problem;
use super::replay::{self, Answer, Found, Print};
use super::routes::Api;
use super::unread::Unread;

/// Where a browser says that a request comes from (Fetch Metadata).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Stands before every route.
pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let (request, unread) = Unread::of(request);
    let response = match admit(&api, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    if let Some(unread) = unread {
        unread.take(&api.live).await;
    }
    response
}

async fn admit(api: &Arc<Api>, mut request: Request, next: Next) -> Result<Response, Problem> {
    let remote = request.extensions().get::<Remote>().cloned().unwrap_or(Remote::Local(None));
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let operation = path.as_ref().map(|path| api.contract.operation(request.method(), path));
    let role = match operation {
        Some(Some(operation)) => operation.role,
        Some(None) | None => Some(Role::Read),
    };
    let gate = &api.live.gate;
    if role.is_none() {
        let _pass = gate.enter(&remote.name(), Instant::now())?;
        return Ok(next.run(request).await);
    }
    let caller = api.live.caller(&remote, request.headers(), (api.now)());
    // Those that nobody knows are counted by where they are.
    let name = caller.as_ref().map_or_else(|_| remote.name(), |caller| caller.name.clone());
    let _pass = gate.enter(&name, Instant::now())?;
    let caller = caller?;
    if let (Some(None), Some(path)) = (&operation, &path) {
        return Ok(no_method(&api.contract.methods(path)));
    }
    if is_write(request.method()) {
        refuse_browsers(&request)?;
    }
    caller.allow(role.unwrap_or(Role::Admin))?;
    request.extensions_mut().insert(caller.clone());
    if !is_write(request.method()) {
        return Ok(next.run(request).await);
    }
    match replay::key(request.headers())? {
        Some(key) => once(api, &caller, key, request, next).await,
        None => Ok(next.run(request).await),
    }
}

fn no_method(methods: &str) -> Response {
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("want {methods}"));
    let mut response = problem.into_response();
    if let Ok(methods) = HeaderValue::from_str(methods) {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    response
}

/// No page of ours writes: a browser that does was sent by somebody else's.
fn refuse_browsers(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) || headers.contains_key(FETCH_SITE) {
        return Err(Refusal::Forbidden("pages in browsers may not change anything".into()).into());
    }
    Ok(())
}

/// Answers a request that has a key, or repeats its answer. It is carried out whether or not
/// whoever sent it stays to hear of it.
async fn once(
    api: &Arc<Api>,
    caller: &Caller,
    key: Box<str>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = read(&parts.headers, body, &api.live).await?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let print = Print::of(parts.method.as_str(), target, &body);
    let claim = match api.replays.find(caller, key, print, Instant::now())? {
        Found::Again(answer) => return Ok(answer.again()),
        Found::New(claim) => claim,
    };
    let request = Request::from_parts(parts, body.into());
    let most = api.live.body_max();
    let answered = tokio::spawn(async move {
        let (parts, body) = next.run(request).await.into_parts();
        let body = axum::body::to_bytes(body, most).await.unwrap_or_default();
        let answer = Answer { status: parts.status, headers: parts.headers, body };
        claim.keep(&answer, Instant::now());
        answer
    });
    let lost = |_| Problem::from(Refusal::Unavailable("the request was not answered".into()));
    Ok(answered.await.map_err(lost)?.into_response())
}
