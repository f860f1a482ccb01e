//! What happens, as it happens: audit records from a number on, and those that are still to come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::audit::RecordView;
use crate::api::caller::Caller;
use crate::api::extract::Query;
use crate::api::problem::Problem;
use crate::config::Policy;

use super::Api;
use super::audit::{Pages, RecordQuery, archive};
use super::transfer::{Interrupted, Piece, Pieces};

/// Readers at once.
const READERS_MAX: usize = 64;
/// Records that are read at once.
const PAGE: usize = 200;
/// Pieces that wait for a slow reader.
const QUEUE: usize = 4;
/// How long a reader may let them wait before it is cut off. It can go on where it was.
const SLOW_MAX: Duration = Duration::from_secs(30);
/// How often those who wait are told that they are not forgotten.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

static READERS: AtomicUsize = AtomicUsize::new(0);

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(events))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// The number of the first record; without it, what comes from now on.
    #[param(minimum = 1, required = false)]
    position: Option<u64>,
    /// For how many seconds to wait for more at the end: then ask again, with the next position.
    #[param(minimum = 0, maximum = 86400, required = false)]
    follow: Option<u64>,
}

/// Audit records, oldest first, one a line; as server-sent events for those who accept
/// `text/event-stream`. Who is cut off goes on with the number after the last one that it has.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "audit",
    security(("bearer" = ["read"])),
    params(EventsQuery, RecordQuery),
    responses((status = 200, description = "Records as JSON, one a line; empty lines are to be passed over.",
        content((String = "application/x-ndjson"), (String = "text/event-stream")))),
)]
async fn events(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<EventsQuery>,
    Query(filter): Query<RecordQuery>,
) -> Result<Response, Problem> {
    let filter = filter.filter(&api, &caller.scope).await?;
    let (archive, policy) = (archive(&api)?, api.policy().await?);
    let Some(seat) = Seat::take() else {
        return Err(Problem::too_many(format!("{READERS_MAX} readers follow already"), 10));
    };
    let accepts = |kind: &str| {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        accept.is_some_and(|accept| accept.contains(kind))
    };
    let is_sse = accepts("text/event-stream");
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    let from = match resumed.map(|last| last.saturating_add(1)).or(query.position) {
        Some(from) => from,
        None => archive.status().next,
    };
    let (news, pages) = (archive.watch(), Pages::new(&archive, filter, from, PAGE));
    let (pieces, body) = mpsc::channel(QUEUE);
    let until = Instant::now() + Duration::from_secs(query.follow.unwrap_or(0));
    let reader =
        Reader { policy, is_sse, until, stopping: api.stopping.clone(), pieces, _seat: seat };
    tokio::spawn(reader.run(pages, news));
    let kind = if is_sse { "text/event-stream" } else { "application/x-ndjson" };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, HttpBody::new(Pieces(body))).into_response())
}

/// One of few places.
struct Seat;

impl Seat {
    fn take() -> Option<Seat> {
        let free = |taken| (taken < READERS_MAX).then_some(taken + 1);
        READERS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).is_ok().then_some(Seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        READERS.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Reader {
    policy: Arc<Policy>,
    is_sse: bool,
    /// When it no longer waits for more.
    until: Instant,
    /// Changes when the server stops.
    stopping: watch::Receiver<bool>,
    pieces: mpsc::Sender<Piece>,
    _seat: Seat,
}

impl Reader {
    async fn run(mut self, mut pages: Pages, mut news: watch::Receiver<u64>) {
        loop {
            news.borrow_and_update();
            let Ok(found) = pages.next().await else {
                let _ = self.pieces.send(Err(Interrupted)).await;
                return;
            };
            let mut piece = Vec::new();
            for entry in &found.entries {
                self.write(&RecordView::of(entry, &self.policy), &mut piece);
            }
            if !piece.is_empty() && !self.send(piece).await {
                return;
            }
            if !found.more && !self.wait(&mut news).await {
                return;
            }
        }
    }

    fn write(&self, record: &RecordView, out: &mut Vec<u8>) {
        let json = serde_json::to_string(record).unwrap_or_default();
        let text = match self.is_sse {
            true => format!("id: {}\nevent: {}\ndata: {json}\n\n", record.number, record.kind),
            false => format!("{json}\n"),
        };
        out.extend_from_slice(text.as_bytes());
    }

    async fn send(&self, piece: Vec<u8>) -> bool {
        matches!(timeout(SLOW_MAX, self.pieces.send(Ok(Bytes::from(piece)))).await, Ok(Ok(())))
    }

    /// Waits until there is more; whether there may be.
    async fn wait(&mut self, news: &mut watch::Receiver<u64>) -> bool {
        loop {
            let alive_at = self.until.min(Instant::now() + ALIVE_EVERY);
            tokio::select! {
                () = self.pieces.closed() => return false,
                _ = self.stopping.changed() => return false,
                changed = news.changed() => return changed.is_ok(),
                () = sleep_until(alive_at) => {
                    let alive = if self.is_sse { ":\n\n" } else { "\n" };
                    if Instant::now() >= self.until || !self.send(alive.into()).await {
                        return false;
                    }
                }
            }
        }
    }
}
