//! Standbys: who is named, how far each is, and how one is dropped.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Caller;
use crate::api::client::escape;
use crate::api::command::{Command, Refusal};
use crate::api::etag::Conditions;
use crate::api::extract::{Body, Named, Query};
use crate::api::hosts::{ActiveWord, PairCheckView};
use crate::api::problem::Problem;
use crate::api::record::Done;
use crate::api::registry::Told;
use crate::api::standbys::{OnFailureView, PartyView, ReadinessView, StandbyDeed, StandbyView};
use crate::base::Span;
use crate::engine::standbys::Report;
use crate::engine::standbys::name::StandbyWish;
use crate::lease::directory::{Identifiers, Kind, Party};

use super::fields::{all_parsed, hex, hostname, parsed};
use super::{Answer, Api, NamesQuery, one};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, remove))
        .routes(routes!(report))
        .routes(routes!(switch))
        .routes(routes!(checks))
        .routes(routes!(active))
}

/// Body of `POST /v1/standbys`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct NewStandby {
    /// What to call it; made if not said. The same request again finds the same standby.
    #[schema(pattern = "^[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,63}$", max_length = 64)]
    id: Option<String>,
    /// The network of both.
    #[schema(required, max_length = 64)]
    network: String,
    /// What they are to share, addresses and delegated prefixes; all that the active has if nothing
    /// is said. One that is leased to nobody may be named if it is configured in the active.
    #[schema(max_items = 6)]
    addresses: Vec<String>,
    /// Who has them: its MAC, unless that follows from what is leased.
    active: PartyView,
    /// Who is to stand by; with its MAC.
    #[schema(required)]
    standby: PartyView,
    /// The name that the standby is told: labels of letters, digits and inner hyphens.
    #[schema(max_length = 253)]
    hostname: Option<String>,
    /// What is done when the active has failed; by default what the network says.
    on_failure: Option<OnFailureView>,
    /// Whether it may take over after a failure though no fence is confirmed; by default what the
    /// network says.
    unfenced: Option<bool>,
    /// Seconds that it may take to become ready; by default what the network says.
    #[schema(minimum = 60, maximum = 2592000)]
    timeout_s: Option<u32>,
}

/// Body of `POST /v1/standbys/{id}/report`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct StandbyReport {
    /// How much of the state of the active is there, in percent.
    #[schema(minimum = 0, maximum = 100)]
    progress: Option<u8>,
    /// How far it is. It is ready only behind its gate, and with the addresses.
    state: Option<ReadinessView>,
}

/// Body of `POST /v1/standbys/{id}/switchover`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct NewSwitchover {
    /// The active has failed: it is silenced first, and nothing is taken back.
    failed: bool,
    /// Though the standby is not ready, or outside of the windows of its network.
    force: bool,
    /// A planned one: when the next window of its network opens, or now if one is open.
    wait: bool,
}

/// What was looked at for a switchover.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
struct PairChecksView {
    /// Each thing. A switchover goes well if none is bad.
    checks: Vec<PairCheckView>,
}

/// Body of `POST /v1/standbys/{id}/active`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ActiveReport {
    /// How it is.
    state: ActiveWord,
}

/// A page of standbys.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
struct StandbysView {
    /// In the order of their ids.
    standbys: Vec<StandbyView>,
    /// `cursor` of the next page; absent on the last. A page may be short, and yet not the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    next: Option<String>,
}

impl NewStandby {
    fn wish(self) -> Result<StandbyWish, Problem> {
        let like = "10.0.0.7, 2001:db8::7 or 2001:db8:100::/56";
        Ok(StandbyWish {
            id: self.id.map(Into::into),
            network: None,
            resources: all_parsed("addresses", &self.addresses, like)?,
            active: party("active", self.active)?,
            standby: party("standby", self.standby)?,
            hostname: hostname(self.hostname)?,
            on_failure: self.on_failure.map(Into::into),
            unfenced: self.unfenced,
            timeout: self.timeout_s.map(|seconds| Span::from_secs(seconds.into())),
        })
    }
}

fn party(of: &str, view: PartyView) -> Result<Party, Problem> {
    let PartyView { mac, duid, port, host } = view;
    let who = Identifiers {
        mac: parsed(format_args!("{of}.mac"), mac, "52:54:00:12:34:56")?,
        duid: hex(&format!("{of}.duid"), duid)?,
        ..Identifiers::default()
    };
    Ok(Party { who, port: port.map(Into::into), host: host.map(Into::into) })
}

async fn ask(
    api: &Api,
    caller: Caller,
    conditions: Conditions,
    what: StandbyDeed,
) -> Result<Told<StandbyView>, Problem> {
    api.ask_about(caller, conditions, what, Command::Standbys).await
}

/// Standbys, in the order of their ids.
#[utoipa::path(
    get,
    path = "/v1/standbys",
    tag = "standbys",
    security(("bearer" = ["read"])),
    params(NamesQuery),
    responses((status = 200, description = "A page of standbys.", body = StandbysView)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Query(query): Query<NamesQuery>,
) -> Answer<StandbysView> {
    let what = StandbyDeed::List(query.cursor(), query.limit());
    let Told { entries: standbys, next, .. } = ask(&api, caller, conditions, what).await?;
    Ok(Json(StandbysView { standbys, next }))
}

/// Names a standby: it gets the addresses of its active by DHCP once its gate is in place.
#[utoipa::path(
    post,
    path = "/v1/standbys",
    tag = "standbys",
    security(("bearer" = ["operate"])),
    request_body = NewStandby,
    responses(
        (status = 201, description = "The standby.", body = StandbyView,
            headers(("Location", description = "Where it can be read."))),
        (status = 200, description = "It was there already, with the same content.",
            body = StandbyView),
    ),
)]
async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Body(request): Body<NewStandby>,
) -> Result<Response, Problem> {
    caller.allow_everything()?;
    let network = api.network(Some(&request.network)).await?;
    let wish = StandbyWish { network, ..request.wish()? };
    let told = ask(&api, caller, conditions, StandbyDeed::Create(Box::new(wish))).await?;
    let status = if told.new { StatusCode::CREATED } else { StatusCode::OK };
    let view = one(told)?;
    let place = format!("/v1/standbys/{}", escape(&view.id));
    Ok((status, [(header::LOCATION, place)], Json(view)).into_response())
}

/// One standby.
#[utoipa::path(
    get,
    path = "/v1/standbys/{id}",
    tag = "standbys",
    security(("bearer" = ["read"])),
    params(("id" = String, Path, description = "Its id.", max_length = 64)),
    responses(
        (status = 200, description = "Who stands by for whom, and how far it is.",
            body = StandbyView, headers(("ETag"))),
        (status = 304, description = "It is what `If-None-Match` says."),
    ),
)]
async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(id): Named,
) -> Result<Response, Problem> {
    let told = ask(&api, caller, conditions.clone(), StandbyDeed::Show(id.into())).await?;
    conditions.answer(&one(told)?)
}

/// Says how far a standby is; what is not said stays.
#[utoipa::path(
    post,
    path = "/v1/standbys/{id}/report",
    tag = "standbys",
    security(("bearer" = ["operate"])),
    params(("id" = String, Path, description = "Its id.", max_length = 64)),
    request_body = StandbyReport,
    responses((status = 200, description = "As it is now.", body = StandbyView)),
)]
async fn report(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(id): Named,
    Body(request): Body<StandbyReport>,
) -> Answer<StandbyView> {
    caller.allow_everything()?;
    let report = Report { progress: request.progress, state: request.state.map(Into::into) };
    let what = StandbyDeed::Report(id.into(), report);
    Ok(Json(one(ask(&api, caller, conditions, what).await?)?))
}

/// Begins a switchover: the addresses go from the active to its standby. Its steps are told by the
/// standby itself; it is over for clients when that is promoted.
#[utoipa::path(
    post,
    path = "/v1/standbys/{id}/switchover",
    tag = "standbys",
    security(("bearer" = ["operate"])),
    params(("id" = String, Path, description = "Its id.", max_length = 64)),
    request_body = NewSwitchover,
    responses((status = 200, description = "It has begun.", body = StandbyView)),
)]
async fn switch(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(id): Named,
    Body(request): Body<NewSwitchover>,
) -> Answer<StandbyView> {
    caller.allow_everything()?;
    let kind = if request.failed { Kind::Failure } else { Kind::Planned };
    let what = match request.wait {
        true if request.failed || request.force => {
            let why = "a switchover that waits is planned, and not forced";
            return Err(Problem::unfit("wait", why));
        }
        true => StandbyDeed::Plan(id.into()),
        false => StandbyDeed::Switch(id.into(), kind, request.force),
    };
    Ok(Json(one(ask(&api, caller, conditions, what).await?)?))
}

/// Whether a switchover would go well: what its record says, and what the agents of its hosts find
/// of ports, gate, neighbours, and of who answers. Nothing is changed.
#[utoipa::path(
    get,
    path = "/v1/standbys/{id}/checks",
    tag = "standbys",
    security(("bearer" = ["operate"])),
    params(("id" = String, Path, description = "Its id.", max_length = 64)),
    responses((status = 200, description = "What was looked at.", body = PairChecksView)),
)]
async fn checks(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(id): Named,
) -> Answer<PairChecksView> {
    caller.allow_everything()?;
    let pair = one(ask(&api, caller, conditions, StandbyDeed::Show(id.into())).await?)?;
    let hosts = api.hosts.clone();
    let look = tokio::task::spawn_blocking(move || hosts.checks(&pair));
    let checks = look.await.map_err(|error| Refusal::Unavailable(error.to_string()))?;
    Ok(Json(PairChecksView { checks }))
}

/// Says how the active of a pair is: what something within it reports, or that it is migrated.
#[utoipa::path(
    post,
    path = "/v1/standbys/{id}/active",
    tag = "standbys",
    security(("bearer" = ["operate"])),
    params(("id" = String, Path, description = "Its id.", max_length = 64)),
    request_body = ActiveReport,
    responses((status = 200, description = "Its agent was told.", body = StandbyView)),
)]
async fn active(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(id): Named,
    Body(report): Body<ActiveReport>,
) -> Answer<StandbyView> {
    caller.allow_everything()?;
    let (object, who) = (format!("standbys/{id}"), caller.name.clone());
    let pair = one(ask(&api, caller, conditions, StandbyDeed::Show(id.into())).await?)?;
    let (hosts, of) = (api.hosts.clone(), pair.clone());
    let tell = tokio::task::spawn_blocking(move || hosts.active(&of, report.state));
    tell.await.map_err(|error| Refusal::Unavailable(error.to_string()))??;
    let done = Done { who: &who, verb: "report", object: &object, account: None };
    api.audit(done, None, Some(&report)).await?;
    Ok(Json(pair))
}

/// Drops a standby: the addresses are its active's alone again. Not while it is being switched to.
#[utoipa::path(
    delete,
    path = "/v1/standbys/{id}",
    tag = "standbys",
    security(("bearer" = ["operate"])),
    params(("id" = String, Path, description = "Its id.", max_length = 64)),
    responses((status = 200, description = "As it was.", body = StandbyView)),
)]
async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(id): Named,
) -> Answer<StandbyView> {
    caller.allow_everything()?;
    Ok(Json(one(ask(&api, caller, conditions, StandbyDeed::Drop(id.into())).await?)?))
}
