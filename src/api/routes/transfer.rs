//! All leases at once: export and import.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Json;
use axum::body::Body as HttpBody;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Caller;
use crate::api::command::{Command, LEASES_PER_LOOK};
use crate::api::extract::{Body, Query};
use crate::api::filter::Filter;
use crate::api::leases::ImportPlan;
use crate::api::problem::Problem;
use crate::api::transfer::{Format, Writer};
use crate::api::view::{ImportRequest, ImportView, LeaseView};

use super::leases::views;
use super::{Answer, Api};

/// Pieces of an export that wait for a slow reader.
pub(super) const EXPORT_QUEUE: usize = 4;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(export)).routes(routes!(import))
}

/// Takes leases over from elsewhere, as far as nobody holds their addresses.
#[utoipa::path(
    post,
    path = "/v1/leases/import",
    tag = "leases",
    security(("bearer" = ["operate"])),
    request_body = ImportRequest,
    responses((status = 200, description = "What was taken, and what was not.", body = ImportView)),
)]
async fn import(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(request): Body<ImportRequest>,
) -> Answer<ImportView> {
    // A lease may be of any account, or of none.
    caller.allow_everything()?;
    let policy = api.policy().await?;
    let now = (api.now)();
    let mut plan = ImportPlan::new(request.leases, &policy, now);
    if request.dry_run {
        return Ok(Json(plan.dry()));
    }
    let leases = plan.take_leases();
    let who = caller.name;
    let taken = api.ask(|reply| Command::Import { leases, who, reply }).await??;
    Ok(Json(plan.done(&taken)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// How it is written.
    #[param(inline, required = false)]
    format: Option<ExportFormat>,
}

#[derive(Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum ExportFormat {
    Csv,
    Json,
}

/// Every lease that the caller may see, as one file.
#[utoipa::path(
    get,
    path = "/v1/leases/export",
    tag = "leases",
    security(("bearer" = ["read"])),
    params(ExportQuery),
    responses((status = 200, description = "A file. It is cut off where the server stops.",
        content((Vec<LeaseView> = "application/json"), (String = "text/csv")))),
)]
async fn export(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let format = match query.format {
        Some(ExportFormat::Csv) => Format::Csv,
        Some(ExportFormat::Json) | None => Format::Json,
    };
    let (pieces, body) = mpsc::channel(EXPORT_QUEUE);
    let filter = Filter { scope: caller.scope, ..Filter::default() };
    tokio::spawn(write_pages(api, filter, format, pieces));
    let kind = match format {
        Format::Csv => "text/csv; charset=utf-8",
        Format::Json => "application/json",
    };
    Ok(([(header::CONTENT_TYPE, kind)], HttpBody::new(Pieces(body))).into_response())
}

/// Sends page after page; ends early, without the end of the file, when the reader goes away or
/// the server stops.
async fn write_pages(api: Arc<Api>, filter: Filter, format: Format, pieces: mpsc::Sender<Piece>) {
    let mut writer = Writer::new(format);
    let mut next = Some(0);
    while let Some(from) = next {
        let (filter, most) = (Box::new(filter.clone()), LEASES_PER_LOOK);
        let asked = api.ask(|reply| Command::Leases { filter, from, most, reply }).await;
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

pub(super) type Piece = Result<Bytes, Interrupted>;

/// The server stopped in the middle of an export; the connection is cut, so that nobody takes
/// half a file for a whole one.
#[derive(Debug, thiserror::Error)]
#[error("the export was interrupted")]
pub(super) struct Interrupted;

/// A body made of what comes through a channel.
pub(super) struct Pieces(pub(super) mpsc::Receiver<Piece>);

impl axum::body::HttpBody for Pieces {
    type Data = Bytes;
    type Error = Interrupted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
