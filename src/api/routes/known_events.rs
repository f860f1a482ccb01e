//! Events: what happened, and what is known ahead.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Caller;
use crate::api::command::Refusal;
use crate::api::extract::{Body, Named, Query};
use crate::api::page::{PageQuery, cursor};
use crate::api::problem::Problem;
use crate::api::record::Done;
use crate::api::telemetry::{KnownEventKind, KnownEventRequest, KnownEventView, KnownEventsView};
use crate::telemetry::line::{Entry, Moment, RawEvent};
use crate::telemetry::{Busy, Event, EventFilter, EventId, EventKind, Push};

use super::telemetry::{moment, scope_of};
use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(show, remove))
}

impl KnownEventKind {
    fn kind(self) -> EventKind {
        match self {
            KnownEventKind::Restart => EventKind::Restart,
            KnownEventKind::Scaling => EventKind::Scaling,
            KnownEventKind::Deploy => EventKind::Deploy,
            KnownEventKind::Campaign => EventKind::Campaign,
            KnownEventKind::BatchWindow => EventKind::BatchWindow,
            KnownEventKind::Error => EventKind::Error,
            KnownEventKind::Maintenance => EventKind::Maintenance,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// Of this kind.
    #[param(inline, required = false)]
    kind: Option<KnownEventKind>,
    /// Of this account, and those that concern everybody.
    #[param(max_length = 128, required = false)]
    account: Option<String>,
    /// Not over before this moment (RFC 3339, or seconds since 1970).
    #[param(max_length = 64, required = false)]
    from: Option<String>,
    /// Begun before this moment.
    #[param(max_length = 64, required = false)]
    to: Option<String>,
}

/// Events, in the order in which they were said.
#[utoipa::path(
    get,
    path = "/v1/known-events",
    tag = "telemetry",
    security(("bearer" = ["read"])),
    params(EventsQuery, PageQuery),
    responses((status = 200, description = "A page of events.", body = KnownEventsView)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<EventsQuery>,
    Query(page): Query<PageQuery>,
) -> Answer<KnownEventsView> {
    let time = |field: &str, text: Option<&str>| text.map(|text| moment(field, text)).transpose();
    let filter = EventFilter {
        kind: query.kind.map(KnownEventKind::kind),
        account: query.account.map(Arc::from),
        from: time("from", query.from.as_deref())?,
        to: time("to", query.to.as_deref())?,
        scope: scope_of(&caller),
    };
    let (events, more) = api.reports()?.events(&filter, EventId(page.position()), page.limit());
    let next = events.last().filter(|_| more).map(|event| cursor(event.id.0));
    Ok(Json(KnownEventsView { events: events.iter().map(KnownEventView::of).collect(), next }))
}

/// Says that something happens, or happened.
#[utoipa::path(
    post,
    path = "/v1/known-events",
    tag = "telemetry",
    security(("bearer" = ["operate"])),
    request_body = KnownEventRequest,
    responses((status = 201, description = "The event, durable.", body = KnownEventView,
        headers(("Location", description = "Where it can be read.")))),
)]
async fn add(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(request): Body<KnownEventRequest>,
) -> Result<Response, Problem> {
    let telemetry = api.reports()?;
    let time = |field: &str, text: Option<&str>| {
        text.map(|text| moment(field, text).map(Moment)).transpose()
    };
    caller.allow_account_of_event(request.account.as_deref())?;
    let event = RawEvent {
        kind: request.kind.kind(),
        start: time("start", request.start.as_deref())?,
        end: time("end", request.end.as_deref())?,
        account: request.account,
        application: request.application,
        instance: request.instance,
        size: request.size,
        note: request.note,
    };
    let checked = event.check("", telemetry.window());
    let draft = checked.map_err(|(field, why)| Problem::unfit(&field, why))?;
    let named = draft.instance.iter().cloned().collect();
    if let Some(other) = api.of_others(&caller.scope, named).await?.into_iter().next() {
        let why = format!("{} has no right to instance `{other}`", caller.name);
        return Err(Refusal::Forbidden(why).into());
    }
    let entries = vec![(1, Entry::Event(draft))];
    let push = Push { entries, scope: scope_of(&caller), who: caller.name.clone() };
    let answer = telemetry.push(push)?;
    let taken = answer.await.map_err(|_| stopping())??;
    if let Some(fault) = taken.refused.first() {
        return Err(Refusal::Conflict(fault.why.clone()).into());
    }
    let event = taken.events.first().and_then(|id| telemetry.event(*id));
    let event = event.ok_or_else(|| Refusal::Conflict("it is gone already".into()))?;
    let place = format!("/v1/known-events/{}", event.id.0);
    let view = KnownEventView::of(&event);
    audit(&api, &caller, "create", None, Some(&view)).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(view)).into_response())
}

async fn audit(
    api: &Api,
    caller: &Caller,
    verb: &str,
    before: Option<&KnownEventView>,
    after: Option<&KnownEventView>,
) -> Result<(), Problem> {
    let view = before.or(after);
    let object = format!("known-events/{}", view.map_or(0, |view| view.id));
    let account = view.and_then(|view| view.account.as_deref());
    api.audit(Done { who: &caller.name, verb, object: &object, account }, before, after).await
}

fn stopping() -> Busy {
    Busy::Later("telemetry is stopping".into())
}

impl Caller {
    /// Who is bound to accounts speaks for these, and not for everybody.
    fn allow_account_of_event(&self, account: Option<&str>) -> Result<(), Problem> {
        match account {
            Some(_) => self.allow_account(account),
            None => self.allow_everything(),
        }
    }
}

/// The event of that number, if the caller may see it.
fn find(api: &Api, caller: &Caller, id: &str) -> Result<Event, Problem> {
    let found = id.parse().ok().map(EventId);
    let found = found.map(|id| Ok::<_, Problem>(api.reports()?.event(id))).transpose()?.flatten();
    let scope = scope_of(caller);
    found
        .filter(|event| event.account.is_none() || scope.has(event.account.as_deref()))
        .ok_or_else(|| Refusal::NotFound(format!("no event {id}")).into())
}

/// One event.
#[utoipa::path(
    get,
    path = "/v1/known-events/{id}",
    tag = "telemetry",
    security(("bearer" = ["read"])),
    params(("id" = String, Path, description = "Its number.", max_length = 20,
        pattern = "^[0-9]{1,20}$")),
    responses((status = 200, description = "The event.", body = KnownEventView)),
)]
async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named,
) -> Answer<KnownEventView> {
    Ok(Json(KnownEventView::of(&find(&api, &caller, &id)?)))
}

/// Takes an event back.
#[utoipa::path(
    delete,
    path = "/v1/known-events/{id}",
    tag = "telemetry",
    security(("bearer" = ["operate"])),
    params(("id" = String, Path, description = "Its number.", max_length = 20,
        pattern = "^[0-9]{1,20}$")),
    responses((status = 204, description = "It is gone, durably.")),
)]
async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(id): Named,
) -> Result<StatusCode, Problem> {
    let event = find(&api, &caller, &id)?;
    caller.allow_account_of_event(event.account.as_deref())?;
    let answer = api.reports()?.forget_event(event.id)?;
    match answer.await.map_err(|_| stopping())?? {
        Some(_) => {
            let view = KnownEventView::of(&event);
            audit(&api, &caller, "delete", Some(&view), None).await?;
            Ok(StatusCode::NO_CONTENT)
        }
        None => Err(Refusal::NotFound(format!("no event {id}")).into()),
    }
}
