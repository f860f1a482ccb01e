//! Requests to commands, answers to views.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::body::Frame;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::base::{NetworkId, Resource};
use crate::config::Policy;

use super::command::{Command, Filter, LEASES_PER_IMPORT, Page, Refusal, Reply};
use super::leases::{ImportPlan, check_state, parse_network};
use super::problem::Problem;
use super::server::{Caller, Hub};
use super::transfer::{Format, Writer};
use super::view::{
    BackupRequest, ImportRequest, ImportView, LeaseView, LeasesView, ReloadView, StatusView,
};

/// The largest request body, in bytes: an import of as many leases as one request may have.
const BODY_MAX: usize = 4 << 20;
/// How long the engine's thread may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long a backup may take.
const BACKUP_MAX: Duration = Duration::from_secs(600);
/// Pieces of an export that wait for a slow reader.
const EXPORT_QUEUE: usize = 4;

type Shared = State<Arc<Hub>>;
type Answer<T> = Result<Json<T>, Problem>;
type BodyBytes = Result<Bytes, BytesRejection>;
type Asked<T> = Result<Query<T>, QueryRejection>;
type Named = Result<Path<String>, PathRejection>;

/// The routes, with what they need.
pub(super) fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/leases", get(list))
        .route("/v1/leases/export", get(export))
        .route("/v1/leases/import", post(import))
        .route("/v1/leases/{resource}", get(show))
        .route("/v1/leases/{resource}/release", post(release))
        .route("/v1/reload", post(reload))
        .route("/v1/backup", post(backup))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "no such path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no such method on this path")
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(hub)
}

impl Hub {
    /// Asks the engine's thread and waits for its answer.
    async fn ask<T>(
        &self,
        patience: Duration,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Problem> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let busy = || Problem::from(Refusal::Unavailable("the server is busy or stopping".into()));
        self.post.post(command(reply)).map_err(|_| busy())?;
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(busy()),
            Err(_) => Err(Refusal::Unavailable(format!("no answer in {patience:?}")).into()),
        }
    }

    async fn policy(&self) -> Result<Arc<Policy>, Problem> {
        self.ask(ANSWER_MAX, Command::Policy).await
    }

    /// The network that a request names, if it names one.
    async fn network(&self, name: Option<&str>) -> Result<Option<NetworkId>, Problem> {
        let Some(name) = name else { return Ok(None) };
        match parse_network(name, &*self.policy().await?) {
            Some(id) => Ok(Some(id)),
            None => Err(Refusal::NotFound(format!("no network `{name}`")).into()),
        }
    }

    /// Lets those change something who may.
    pub(super) fn allow_change(&self, caller: Caller) -> Result<(), Problem> {
        if caller.0.is_some_and(|peer| peer.may_change(self.own)) {
            return Ok(());
        }
        let who = caller.0.map_or("the caller".into(), |peer| format!("user {}", peer.uid));
        let why = format!("{who} may read only: changes are for root and the server's group");
        Err(Refusal::Forbidden(why).into())
    }
}

/// The body as JSON. Its depth is bounded by serde_json's recursion limit of 128.
fn parse<T: DeserializeOwned>(body: BodyBytes) -> Result<T, Problem> {
    let body = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    serde_json::from_slice(&body)
        .map_err(|error| Refusal::Invalid(format!("request body: {error}")).into())
}

fn asked<T>(query: Asked<T>) -> Result<T, Problem> {
    query
        .map(|Query(query)| query)
        .map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))
}

fn parse_resource(named: Named) -> Result<Resource, Problem> {
    let Path(text) =
        named.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    text.parse().map_err(|()| {
        Refusal::Invalid(format!("resource is `{text}`, want an address or a prefix")).into()
    })
}

fn views(page: &Page) -> Vec<LeaseView> {
    page.leases.iter().map(|lease| LeaseView::of(lease, &page.policy)).collect()
}

async fn status(State(hub): Shared) -> Answer<StatusView> {
    Ok(Json(hub.ask(ANSWER_MAX, Command::Status).await?))
}

async fn metrics(State(hub): Shared, headers: HeaderMap) -> Response {
    hub.metrics.answer(&headers).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    network: Option<String>,
    state: Option<String>,
    account: Option<String>,
    #[serde(default)]
    from: u64,
}

async fn list(State(hub): Shared, query: Asked<ListQuery>) -> Answer<LeasesView> {
    let ListQuery { network, state, account, from } = asked(query)?;
    check_state(state.as_deref())?;
    let network = hub.network(network.as_deref()).await?;
    let filter = Filter { network, state, account };
    let page = hub.ask(ANSWER_MAX, |reply| Command::Leases { filter, from, reply }).await?;
    Ok(Json(LeasesView { leases: views(&page), next: page.next }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkQuery {
    network: Option<String>,
}

async fn show(
    State(hub): Shared,
    resource: Named,
    query: Asked<NetworkQuery>,
) -> Answer<LeasesView> {
    let resource = parse_resource(resource)?;
    let network = hub.network(asked(query)?.network.as_deref()).await?;
    let page = hub.ask(ANSWER_MAX, |reply| Command::Lease { network, resource, reply }).await?;
    if page.leases.is_empty() {
        return Err(Refusal::NotFound(format!("no binding of {resource}")).into());
    }
    Ok(Json(LeasesView { leases: views(&page), next: None }))
}

async fn release(
    State(hub): Shared,
    ConnectInfo(caller): ConnectInfo<Caller>,
    resource: Named,
    query: Asked<NetworkQuery>,
) -> Answer<LeaseView> {
    hub.allow_change(caller)?;
    let resource = parse_resource(resource)?;
    let network = hub.network(asked(query)?.network.as_deref()).await?;
    let (lease, policy) =
        hub.ask(ANSWER_MAX, |reply| Command::Release { network, resource, reply }).await??;
    Ok(Json(LeaseView::of(&lease, &policy)))
}

async fn import(
    State(hub): Shared,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: BodyBytes,
) -> Answer<ImportView> {
    hub.allow_change(caller)?;
    let request: ImportRequest = parse(body)?;
    if request.leases.len() > LEASES_PER_IMPORT {
        let given = request.leases.len();
        let why = format!("{given} leases in one request, at most {LEASES_PER_IMPORT}");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    let policy = hub.policy().await?;
    let now = (hub.now)();
    let mut plan = ImportPlan::new(request.leases, &policy, now);
    if request.dry_run {
        return Ok(Json(plan.dry()));
    }
    let leases = plan.take_leases();
    let taken = hub.ask(ANSWER_MAX, |reply| Command::Import { leases, reply }).await??;
    Ok(Json(plan.done(&taken)))
}

async fn reload(
    State(hub): Shared,
    ConnectInfo(caller): ConnectInfo<Caller>,
) -> Answer<ReloadView> {
    hub.allow_change(caller)?;
    let reload = hub.reload.clone();
    let lost = |_| Problem::from(Refusal::Unavailable("the reload did not end".into()));
    let view = tokio::task::spawn_blocking(move || reload.reload()).await.map_err(lost)??;
    Ok(Json(view))
}

async fn backup(
    State(hub): Shared,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: BodyBytes,
) -> Result<StatusCode, Problem> {
    hub.allow_change(caller)?;
    let to = PathBuf::from(parse::<BackupRequest>(body)?.directory);
    if !to.is_absolute() {
        let why = format!("directory is `{}`, want an absolute path", to.display());
        return Err(Refusal::Invalid(why).into());
    }
    hub.ask(BACKUP_MAX, |reply| Command::Backup(to, reply)).await??;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportQuery {
    format: Option<String>,
}

async fn export(State(hub): Shared, query: Asked<ExportQuery>) -> Result<Response, Problem> {
    let format = asked(query)?.format.map_or(Ok(Format::Json), |text| text.parse());
    let format: Format = format.map_err(Refusal::Invalid)?;
    let (pieces, body) = mpsc::channel(EXPORT_QUEUE);
    tokio::spawn(write_pages(hub, format, pieces));
    let kind = match format {
        Format::Csv => "text/csv; charset=utf-8",
        Format::Json => "application/json",
    };
    Ok(([(header::CONTENT_TYPE, kind)], Body::new(Pieces(body))).into_response())
}

/// Sends page after page; ends early, without the end of the file, when the reader goes away or
/// the server stops.
async fn write_pages(hub: Arc<Hub>, format: Format, pieces: mpsc::Sender<Piece>) {
    let mut writer = Writer::new(format);
    let mut next = Some(0);
    while let Some(from) = next {
        let filter = Filter::default();
        let asked = hub.ask(ANSWER_MAX, |reply| Command::Leases { filter, from, reply }).await;
        let Ok(page) = asked else {
            let _ = pieces.send(Err(Interrupted)).await;
            return;
        };
        let mut piece = Vec::new();
        let written = writer.leases(&views(&page), &mut piece);
        if written.is_err() || pieces.send(Ok(piece.into())).await.is_err() {
            return;
        }
        next = page.next;
    }
    let mut end = Vec::new();
    if writer.finish(&mut end).is_ok() {
        let _ = pieces.send(Ok(end.into())).await;
    }
}

type Piece = Result<Bytes, Interrupted>;

/// The server stopped in the middle of an export; the connection is cut, so that nobody takes
/// half a file for a whole one.
#[derive(Debug, thiserror::Error)]
#[error("the export was interrupted")]
struct Interrupted;

/// A body made of what comes through a channel.
struct Pieces(mpsc::Receiver<Piece>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Interrupted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
