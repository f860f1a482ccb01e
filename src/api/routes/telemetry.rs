//! What instances report: pushed here, and read again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::{Caller, Scope};
use crate::api::command::{Command, NAMES_AT_ONCE, Refusal};
use crate::api::extract::Query;
use crate::api::leases::time_text;
use crate::api::problem::{FIELDS_MAX, Problem};
use crate::api::telemetry::{
    BucketView, HistoryView, ReporterView, ReportersView, ScrapeView, ScrapesView, TakenView,
    TelemetryView,
};
use crate::api::view::FieldView;
use crate::base::Timestamp;
use crate::telemetry::line::{self, Entry, LineFault, Lines, Moment, Window};
use crate::telemetry::{self, Busy, Push, Resolution, SeriesKey, Telemetry};

use super::{Answer, Api};

/// Values that are handed over at once: what one push has in memory.
const VALUES_AT_ONCE: usize = 10_000;
/// How long a body may stand still.
const STILL_MAX: Duration = Duration::from_secs(30);
/// How long it may take in all.
const BODY_TIME_MAX: Duration = Duration::from_secs(600);
/// Longest page of instances.
const INSTANCES_MAX: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(status, push))
        .routes(routes!(instances))
        .routes(routes!(history))
        .routes(routes!(scrapes))
}

impl Api {
    /// Telemetry, where there is any.
    pub(super) fn reports(&self) -> Result<&Telemetry, Problem> {
        let none = || Refusal::Unavailable("an observer keeps no telemetry".into());
        self.telemetry.as_ref().ok_or_else(|| none().into())
    }

    /// Those of `names` that are registered for others than the accounts of `scope`.
    pub(super) async fn of_others(
        &self,
        scope: &Scope,
        names: HashSet<Arc<str>>,
    ) -> Result<HashSet<Arc<str>>, Problem> {
        let mut others = HashSet::new();
        if *scope == Scope::All {
            return Ok(others);
        }
        let mut names = names.into_iter().peekable();
        while names.peek().is_some() {
            let instances = names.by_ref().take(NAMES_AT_ONCE).collect();
            let ask = |reply| Command::OfOthers { instances, scope: scope.clone(), reply };
            others.extend(self.ask(ask).await?);
        }
        Ok(others)
    }
}

/// Whose instances a caller may speak of.
pub(super) fn scope_of(caller: &Caller) -> telemetry::Scope {
    of_scope(&caller.scope)
}

fn of_scope(scope: &Scope) -> telemetry::Scope {
    match scope {
        Scope::All => telemetry::Scope::All,
        Scope::Accounts(accounts) => telemetry::Scope::Accounts(accounts.clone()),
    }
}

impl From<Busy> for Problem {
    fn from(busy: Busy) -> Problem {
        match busy {
            Busy::Later(why) => Problem::too_many(why, 1),
            Busy::Store(why) => Refusal::Store(why).into(),
        }
    }
}

/// How telemetry is doing.
#[utoipa::path(
    get,
    path = "/v1/telemetry",
    tag = "telemetry",
    security(("bearer" = ["read"])),
    responses((status = 200, description = "Its figures.", body = TelemetryView)),
)]
async fn status(State(api): State<Arc<Api>>) -> Answer<TelemetryView> {
    Ok(Json(TelemetryView::of(api.reports()?.status())))
}

/// Takes what instances report: one JSON object a line, a report of an instance or an event. What
/// the answer counts is durable.
#[utoipa::path(
    post,
    path = "/v1/telemetry",
    tag = "telemetry",
    security(("bearer" = ["operate"])),
    request_body(
        content = String,
        content_type = "application/x-ndjson",
        description = "Lines such as {\"instance\":\"vm-7\",\"time\":\"2027-01-14T08:00:00Z\",\
                       \"metrics\":{\"cpu\":0.7}}, with `account`, `application`, `type` and \
                       `requires` where they are known, or {\"event\":{\"kind\":\"deploy\"}}.",
    ),
    responses((status = 200, description = "What was taken, and what was not.", body = TakenView)),
)]
async fn push(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    body: HttpBody,
) -> Answer<TakenView> {
    let telemetry = api.reports()?;
    check_kind(&headers)?;
    let mut pushing = Pushing {
        api: &api,
        telemetry,
        window: telemetry.window(),
        scope: caller.scope,
        who: caller.name,
        entries: Vec::new(),
        values: 0,
        taken: TakenView::default(),
    };
    let all = pushing.take(body, telemetry.policy().body_bytes);
    let late = |_| {
        let why = format!("no whole body in {} s", BODY_TIME_MAX.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, why)
    };
    let ended = tokio::time::timeout(BODY_TIME_MAX, all).await.map_err(late).and_then(|done| done);
    if let Err(mut problem) = ended {
        let lines = pushing.taken.lines;
        problem.detail += &format!("; {lines} lines before that were taken");
        return Err(problem);
    }
    pushing.answer()
}

fn check_kind(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let known = ["application/x-ndjson", "application/jsonl", "application/x-jsonlines"];
    match known.iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        true => Ok(()),
        false => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "want content-type: application/x-ndjson, or application/jsonl",
        )),
    }
}

/// One push while it arrives.
struct Pushing<'a> {
    api: &'a Api,
    telemetry: &'a Telemetry,
    window: Window,
    scope: Scope,
    who: Arc<str>,
    /// Lines that wait to be handed over.
    entries: Vec<(u64, Entry)>,
    /// Their values.
    values: usize,
    taken: TakenView,
}

impl Pushing<'_> {
    /// Takes a body of at most `most` bytes, as it comes.
    async fn take(&mut self, mut body: HttpBody, most: u64) -> Result<(), Problem> {
        let (mut lines, mut read) = (Lines::default(), 0u64);
        loop {
            let still = |_| {
                let why = format!("nothing came for {} s", STILL_MAX.as_secs());
                Problem::new(StatusCode::REQUEST_TIMEOUT, why)
            };
            let frame = tokio::time::timeout(STILL_MAX, body.frame()).await.map_err(still)?;
            let Some(frame) = frame else { break };
            let frame =
                frame.map_err(|error| Problem::field("", format!("request body: {error}")))?;
            let Some(piece) = frame.data_ref() else { continue };
            read += piece.len() as u64;
            if read > most {
                let why = format!("the body is larger than {most} bytes ([telemetry] body)");
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, why));
            }
            // However large a piece is: what waits is handed over in between.
            for piece in piece.chunks(64 << 10) {
                lines.feed(piece, |number, line| self.line(number, line));
                if self.values >= VALUES_AT_ONCE {
                    self.hand_over().await?;
                }
                tokio::task::yield_now().await;
            }
        }
        lines.finish(|number, line| self.line(number, line));
        self.hand_over().await
    }

    fn line(&mut self, number: u64, line: &[u8]) {
        match line::parse(number, line, self.window) {
            Ok(entry) => {
                self.values += match &entry {
                    Entry::Report(report) => report.values.len().max(1),
                    Entry::Event(_) => 1,
                };
                self.entries.push((number, entry));
            }
            Err(fault) => self.taken.refuse(&fault),
        }
    }

    async fn hand_over(&mut self) -> Result<(), Problem> {
        if self.entries.is_empty() {
            return Ok(());
        }
        self.values = 0;
        self.refuse_of_others().await?;
        let entries = std::mem::take(&mut self.entries);
        let push = Push { entries, scope: of_scope(&self.scope), who: self.who.clone() };
        let answer = self.telemetry.push(push)?;
        let stopping = |_| Busy::Later("telemetry is stopping".into());
        let taken = answer.await.map_err(stopping)??;
        self.taken.add(&taken);
        Ok(())
    }

    /// Who is bound to accounts speaks of no machine that is registered for others, even if that
    /// never reported.
    async fn refuse_of_others(&mut self) -> Result<(), Problem> {
        let names = self.entries.iter().filter_map(|(_, entry)| about(entry)).collect();
        let others = self.api.of_others(&self.scope, names).await?;
        let taken = &mut self.taken;
        self.entries.retain(|(line, entry)| {
            let own = about(entry).is_none_or(|name| !others.contains(&name));
            if !own {
                let why = "it belongs to an account that is not yours".into();
                taken.refuse(&LineFault { line: *line, field: "instance".into(), why });
            }
            own
        });
        Ok(())
    }

    fn answer(self) -> Answer<TakenView> {
        let TakenView { lines, refused, .. } = self.taken;
        match (lines, refused) {
            (0, 0) => Err(Problem::field("", "an empty body, want a line of JSON for each report")),
            (0, _) => {
                let told = self.taken.faults.into_iter().take(FIELDS_MAX);
                let field = |line: u64, field: &str| match field {
                    "" => format!("line {line}"),
                    field => format!("line {line}: {field}"),
                };
                let fault = |f: crate::api::telemetry::LineFaultView| FieldView {
                    field: field(f.line, &f.field),
                    detail: f.detail,
                };
                Err(Problem::fields(told.map(fault).collect()))
            }
            _ => Ok(Json(self.taken)),
        }
    }
}

/// The machine that a line is about.
fn about(entry: &Entry) -> Option<Arc<str>> {
    match entry {
        Entry::Report(report) => Some(report.instance.clone()),
        Entry::Event(event) => event.instance.clone(),
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct InstancesQuery {
    /// Of this account.
    #[param(max_length = 128, required = false)]
    account: Option<String>,
    /// That report this metric.
    #[param(max_length = 64, required = false)]
    metric: Option<String>,
    /// Where it begins: `next` of the page before it.
    #[param(max_length = 128, required = false)]
    cursor: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, required = false)]
    limit: Option<u32>,
}

/// Instances that reported in the last day, by name, with the latest value of each metric.
#[utoipa::path(
    get,
    path = "/v1/telemetry/instances",
    tag = "telemetry",
    security(("bearer" = ["read"])),
    params(InstancesQuery),
    responses((status = 200, description = "A page of instances.", body = ReportersView)),
)]
async fn instances(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<InstancesQuery>,
) -> Answer<ReportersView> {
    let scope = scope_of(&caller);
    let limit = query.limit.map_or(100, |limit| limit as usize).clamp(1, INSTANCES_MAX);
    let wanted = |_: &str, known: &telemetry::Known| {
        let account = known.record.account.as_deref();
        scope.has(account)
            && query.account.as_deref().is_none_or(|wanted| account == Some(wanted))
            && query.metric.as_deref().is_none_or(|metric| known.series.contains_key(metric))
    };
    let (page, more) = api.reports()?.instances(query.cursor.as_deref(), limit, wanted);
    let next = page.last().filter(|_| more).map(|(name, _)| name.to_string());
    let instances = page.iter().map(|(name, known)| ReporterView::of(name, known)).collect();
    Ok(Json(ReportersView { instances, next }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// The instance.
    #[param(max_length = 128)]
    instance: String,
    /// The metric.
    #[param(max_length = 64)]
    metric: String,
    /// How finely; every value by default.
    #[param(inline, required = false)]
    resolution: Option<ResolutionQuery>,
    /// From this moment on (RFC 3339, or seconds since 1970); an hour ago by default.
    #[param(max_length = 64, required = false)]
    from: Option<String>,
    /// Before this moment; until now by default.
    #[param(max_length = 64, required = false)]
    to: Option<String>,
    /// How many buckets at most.
    #[param(minimum = 1, maximum = 10000, required = false)]
    limit: Option<u32>,
}

#[derive(Clone, Copy, Deserialize, utoipa::ToSchema)]
enum ResolutionQuery {
    #[serde(rename = "raw")]
    Raw,
    #[serde(rename = "5m")]
    FiveMinutes,
    #[serde(rename = "1h")]
    Hour,
}

/// What one metric of one instance was.
#[utoipa::path(
    get,
    path = "/v1/telemetry/history",
    tag = "telemetry",
    security(("bearer" = ["read"])),
    params(HistoryQuery),
    responses((status = 200, description = "A page of its history.", body = HistoryView)),
)]
async fn history(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<HistoryQuery>,
) -> Answer<HistoryView> {
    let telemetry = api.reports()?.clone();
    allow_instance(&telemetry, &caller, &query.instance)?;
    let resolution = match query.resolution {
        None | Some(ResolutionQuery::Raw) => Resolution::Raw,
        Some(ResolutionQuery::FiveMinutes) => Resolution::FiveMinutes,
        Some(ResolutionQuery::Hour) => Resolution::Hour,
    };
    let now = telemetry.window().now;
    let hour_ago = now - crate::base::Span::from_secs(3600);
    let from = query.from.as_deref().map_or(Ok(hour_ago), |text| moment("from", text))?;
    let to = query.to.as_deref().map_or(Ok(Timestamp::NEVER), |text| moment("to", text))?;
    let limit = query.limit.map_or(1000, |limit| limit as usize);
    let key = SeriesKey::new(&query.instance, &query.metric);
    let read = move || telemetry.history(&key, resolution, (from, to), limit);
    let failed = |why: String| Problem::from(Refusal::Unavailable(why));
    let read = tokio::task::spawn_blocking(read).await.map_err(|e| failed(e.to_string()))?;
    let found = read.map_err(|error| failed(error.to_string()))?;
    let buckets = found.buckets.iter().map(BucketView::of).collect();
    Ok(Json(HistoryView { buckets, next: found.next.map(time_text) }))
}

/// A time in a query.
pub(super) fn moment(field: &str, text: &str) -> Result<Timestamp, Problem> {
    let want =
        || Problem::unfit(field, format!("found {text:?}, want a time as in 2027-01-31T12:00:00Z"));
    Moment::parse(text).map(|moment| moment.0).ok_or_else(want)
}

/// Who is bound to accounts reads of their live instances only: of others nobody knows whose they
/// were.
fn allow_instance(telemetry: &Telemetry, caller: &Caller, instance: &str) -> Result<(), Problem> {
    let scope = scope_of(caller);
    let known = telemetry.instance(instance);
    let account = known.as_ref().and_then(|known| known.record.account.as_deref());
    match scope.has(account) {
        true => Ok(()),
        false => Err(Refusal::NotFound(format!("no instance `{instance}` of yours")).into()),
    }
}

/// Prometheus targets, and how each did when it was last asked.
#[utoipa::path(
    get,
    path = "/v1/telemetry/scrapes",
    tag = "telemetry",
    security(("bearer" = ["read"])),
    responses((status = 200, description = "All targets.", body = ScrapesView)),
)]
async fn scrapes(State(api): State<Arc<Api>>, caller: Caller) -> Answer<ScrapesView> {
    caller.allow_everything()?;
    let all = (api.scrapes)();
    let scrapes = all.iter().map(|(name, status)| ScrapeView::of(name, status)).collect();
    Ok(Json(ScrapesView { scrapes }))
}
