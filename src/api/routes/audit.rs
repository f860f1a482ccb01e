//! Audit records: who had which address, and who did what.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::audit::{
    LOOKS_MAX, RecordView, RecordsView, Wanted, WhoView, ask_who, write_csv, write_lines,
};
use crate::api::caller::{Caller, Scope};
use crate::api::command::{Command, Refusal};
use crate::api::extract::Query;
use crate::api::leases::parse_time;
use crate::api::page::{PageQuery, cursor};
use crate::api::problem::Problem;
use crate::base::{Resource, Timestamp};
use crate::config::Policy;
use crate::store::StoreError;
use crate::store::archive::filter::{Bounds, Filter, Found, kinds};
use crate::store::archive::{Archive, Forward};

use super::leases::block_schema;
use super::transfer::{EXPORT_QUEUE, Interrupted, Piece, Pieces};
use super::{Answer, Api};

/// Records of an export that are read at once.
const EXPORT_PAGE: usize = 500;
/// Who reads the archive at once: the others wait, and the packets' threads keep their cores.
static READS: Semaphore = Semaphore::const_new(2);

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(export)).routes(routes!(who))
}

/// Which records.
#[derive(Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RecordQuery {
    /// From this time on, in RFC 3339.
    #[param(schema_with = time_schema, required = false)]
    from: Option<String>,
    /// Up to this time, in RFC 3339.
    #[param(schema_with = time_schema, required = false)]
    to: Option<String>,
    /// On this network.
    #[param(max_length = 64, required = false)]
    network: Option<String>,
    /// About this address or prefix, or one inside it.
    #[param(schema_with = block_schema, required = false)]
    address: Option<String>,
    /// Of this account.
    #[param(max_length = 255, required = false)]
    account: Option<String>,
    /// Of this hardware address or client key.
    #[param(schema_with = client_schema, required = false)]
    client: Option<String>,
    /// Of these kinds, with commas between them: `granted`, `released`, `act` ...
    #[param(schema_with = kinds_schema, required = false)]
    kind: Option<String>,
}

fn text_schema(pattern: String, most: usize) -> Schema {
    let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(most));
    text.pattern(Some(pattern)).into()
}

/// A time in RFC 3339.
fn time_schema() -> Schema {
    let date = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])";
    let clock = "([01][0-9]|2[0-3]):[0-5][0-9]";
    let pattern = format!("^{date}T{clock}:[0-5][0-9](\\.[0-9]{{1,9}})?(Z|[+-]{clock})$");
    text_schema(pattern, 40)
}

/// A hardware address or a client key.
fn client_schema() -> Schema {
    let key =
        "(hw|id|circuit|clone|ia|ia-pd|ia-clone|ia-pd-clone):[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})*";
    text_schema(format!("^(([0-9A-Fa-f]{{2}}:){{5}}[0-9A-Fa-f]{{2}}|{key})$"), 2048)
}

/// Kinds of records, with commas between them.
fn kinds_schema() -> Schema {
    let one = kinds().collect::<Vec<_>>().join("|");
    text_schema(format!("^({one})(,({one}))*$"), 255)
}

impl RecordQuery {
    pub(super) async fn filter(self, api: &Api, scope: &Scope) -> Result<Filter, Problem> {
        let network = api.network(self.network.as_deref()).await?;
        let RecordQuery { from, to, address, account, client, kind, .. } = self;
        let wanted = Wanted { from, to, address, account, client, kind };
        wanted.filter(network, scope).map_err(|(field, why)| Problem::unfit(field, why))
    }
}

/// The archive, where there is one.
pub(super) fn archive(api: &Api) -> Result<Archive, Problem> {
    let none = || Refusal::NotFound("this server keeps no audit records: it observes".into());
    api.archive.clone().ok_or_else(|| none().into())
}

/// Reads files on a thread that may wait for the disk.
pub(super) async fn read<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    let refused = |why: String| Problem::from(Refusal::Unavailable(why));
    let _turn = READS.acquire().await.map_err(|error| refused(error.to_string()))?;
    match tokio::task::spawn_blocking(work).await {
        Ok(read) => read.map_err(|error| refused(error.to_string())),
        Err(_) => Err(refused("reading the audit records did not end".into())),
    }
}

fn views(found: &Found, policy: &Policy) -> Vec<RecordView> {
    found.entries.iter().map(|entry| RecordView::of(entry, policy)).collect()
}

/// Audit records, newest first.
#[utoipa::path(
    get,
    path = "/v1/audit",
    tag = "audit",
    security(("bearer" = ["read"])),
    params(RecordQuery, PageQuery),
    responses((status = 200, description = "A page of records; it may be short, and yet not the last.",
        body = RecordsView)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<RecordQuery>,
    Query(page): Query<PageQuery>,
) -> Answer<RecordsView> {
    let filter = query.filter(&api, &caller.scope).await?;
    let (archive, policy) = (archive(&api)?, api.policy().await?);
    let before = Some(page.position()).filter(|at| *at > 0);
    let bounds = Bounds { entries: page.limit(), looks: LOOKS_MAX };
    let found = read(move || filter.backward(archive.dir(), before, bounds)).await?;
    let next = (found.more && found.next > 1).then(|| cursor(found.next));
    Ok(Json(RecordsView { records: views(&found, &policy), next }))
}

#[derive(Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum ExportFormat {
    Csv,
    Jsonl,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// How it is written: JSON lines if not given.
    #[param(inline, required = false)]
    format: Option<ExportFormat>,
}

/// Every audit record that passes, oldest first, as one file.
#[utoipa::path(
    get,
    path = "/v1/audit/export",
    tag = "audit",
    security(("bearer" = ["read"])),
    params(RecordQuery, ExportQuery),
    responses((status = 200, description = "A file. It is cut off where the server stops.",
        content((String = "application/x-ndjson"), (String = "text/csv")))),
)]
async fn export(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<RecordQuery>,
    Query(how): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let filter = query.filter(&api, &caller.scope).await?;
    let (archive, policy) = (archive(&api)?, api.policy().await?);
    let format = how.format.unwrap_or(ExportFormat::Jsonl);
    let (pieces, body) = mpsc::channel(EXPORT_QUEUE);
    let pages = Pages::new(&archive, filter, 1, EXPORT_PAGE);
    tokio::spawn(write_pages(pages, policy, format, pieces));
    let kind = match format {
        ExportFormat::Csv => "text/csv; charset=utf-8",
        ExportFormat::Jsonl => "application/x-ndjson",
    };
    Ok(([(header::CONTENT_TYPE, kind)], HttpBody::new(Pieces(body))).into_response())
}

/// A reader of the archive, on its way from page to page.
pub(super) struct Pages {
    filter: Filter,
    reader: Option<Forward>,
    bounds: Bounds,
}

impl Pages {
    /// Reads from record `next` on, up to `entries` at once.
    pub(super) fn new(archive: &Archive, filter: Filter, next: u64, entries: usize) -> Pages {
        let reader = Some(filter.reader(archive.dir(), next));
        Pages { filter, reader, bounds: Bounds { entries, looks: LOOKS_MAX } }
    }

    /// The next page; an error if the archive cannot be read.
    pub(super) async fn next(&mut self) -> Result<Found, Problem> {
        let lost = || Problem::from(Refusal::Unavailable("the archive's reader is gone".into()));
        let mut reader = self.reader.take().ok_or_else(lost)?;
        let (filter, bounds) = (self.filter.clone(), self.bounds);
        let (found, reader) = read(move || Ok((filter.read(&mut reader, bounds)?, reader))).await?;
        self.reader = Some(reader);
        Ok(found)
    }
}

/// Sends page after page; ends early, and cuts the connection, when the archive cannot be read.
async fn write_pages(
    mut pages: Pages,
    policy: Arc<Policy>,
    format: ExportFormat,
    pieces: mpsc::Sender<Piece>,
) {
    let mut is_first = true;
    loop {
        let Ok(found) = pages.next().await else {
            let _ = pieces.send(Err(Interrupted)).await;
            return;
        };
        let (records, mut piece) = (views(&found, &policy), Vec::new());
        let written = match format {
            ExportFormat::Csv => write_csv(&records, is_first, &mut piece),
            ExportFormat::Jsonl => write_lines(&records, &mut piece),
        };
        if written.is_err() || pieces.send(Ok(piece.into())).await.is_err() || !found.more {
            return;
        }
        is_first = false;
    }
}

/// An address or a prefix, where one is required.
struct Block;

impl PartialSchema for Block {
    fn schema() -> RefOr<Schema> {
        block_schema().into()
    }
}

impl ToSchema for Block {}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WhoQuery {
    /// The address or prefix.
    #[param(value_type = Block, inline)]
    address: String,
    /// At this time, in RFC 3339; now if not given.
    #[param(schema_with = time_schema, required = false)]
    at: Option<String>,
    /// On this network; on each that has such an address if not given.
    #[param(max_length = 64, required = false)]
    network: Option<String>,
}

/// Who had an address at some time.
#[utoipa::path(
    get,
    path = "/v1/who",
    tag = "audit",
    security(("bearer" = ["read"])),
    params(WhoQuery),
    responses((status = 200, description = "Whoever had it, as far as that is known.", body = WhoView)),
)]
async fn who(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<WhoQuery>,
) -> Answer<WhoView> {
    let WhoQuery { address, at, network } = query;
    let fault =
        |()| Problem::unfit("address", format!("found {address:?}, want an address or a prefix"));
    let resource: Resource = address.parse().map_err(fault)?;
    let at: Timestamp = match at {
        None => (api.now)(),
        Some(text) => parse_time(&text).ok_or_else(|| {
            Problem::unfit("at", format!("found {text:?}, want a time as in 2026-11-17T14:03:00Z"))
        })?,
    };
    let network = api.network(network.as_deref()).await?;
    let archive = archive(&api)?;
    let scope = caller.scope;
    let ask = |reply| Command::Lease { network, resource, scope: Scope::All, reply };
    let present = api.ask(ask).await?;
    let work = move || {
        let (dir, policy, leases) = (archive.dir(), &present.policy, &present.leases);
        ask_who(dir, policy, (resource, network), at, leases, &scope)
    };
    Ok(Json(read(work).await?))
}
