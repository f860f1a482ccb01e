//! What is foreseen, and the addresses that are held for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Caller;
use crate::api::command::{Command, Refusal};
use crate::api::etag::Conditions;
use crate::api::extract::{Body, Named, Query};
use crate::api::page::{LIMIT_DEFAULT, LIMIT_MAX, PageQuery, cursor};
use crate::api::problem::Problem;
use crate::api::registry::Told;
use crate::api::shadows::{
    AvailableDeed, AvailableView, Family, Of, PredictionDeed, PredictionRequest, PredictionView,
    PredictionsView, ShadowChange, ShadowDeed, ShadowRequest, ShadowView, ShadowsView, TallyDeed,
    TallyView, Wanted,
};
use crate::base::{Resource, Sort, Span, Timestamp};
use crate::engine::shadows::Prediction;
use crate::lease::Foreseer;

use super::telemetry::moment;
use super::{Answer, Api, one};

/// The most that a prediction may say.
const COUNT_MAX: i64 = 1_000_000;
/// The shortest and the longest horizon, in seconds, and the one of who says none.
const HORIZON: std::ops::RangeInclusive<i64> = 10..=604_800;
const HORIZON_DEFAULT: i64 = 900;
/// Most quantiles.
const QUANTILES_MAX: usize = 32;
/// How far from now a prediction may have been made, and how long it may be believed.
const PAST_MAX: Span = Span::from_secs(86_400);
const BELIEVED_MAX: Span = Span::from_secs(30 * 86_400);

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(predict))
        .routes(routes!(predict_instances))
        .routes(routes!(predictions))
        .routes(routes!(available))
        .routes(routes!(available_shadow_address))
        .routes(routes!(list, reserve))
        .routes(routes!(release, extend))
        .routes(routes!(tally))
}

/// Says how many instances will start, so that addresses are held ready for them. Another word about
/// the same account, application and network takes the place of this one; one of less is believed
/// when it is said twice.
#[utoipa::path(
    post,
    path = "/v1/predict_instances",
    tag = "shadows",
    security(("bearer" = ["operate"])),
    request_body = PredictionRequest,
    responses((status = 201, description = "What is held from now on.", body = PredictionView)),
)]
async fn predict(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Body(request): Body<PredictionRequest>,
) -> Result<Response, Problem> {
    caller.allow_account(Some(&request.account))?;
    let of = of(&api, &request.network, &request.account, request.application.as_deref()).await?;
    let said = prediction(&request, (api.now)())?;
    let what = PredictionDeed::Say(of, Box::new(said));
    let told = api.ask_about(caller, conditions, what, Command::Predictions).await?;
    Ok((StatusCode::CREATED, Json(one(told)?)).into_response())
}

/// The same as `/v1/predict_instances`.
#[utoipa::path(
    post,
    path = "/predict_instances",
    tag = "shadows",
    security(("bearer" = ["operate"])),
    request_body = PredictionRequest,
    responses((status = 201, description = "What is held from now on.", body = PredictionView)),
)]
async fn predict_instances(
    state: State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    request: Body<PredictionRequest>,
) -> Result<Response, Problem> {
    predict(state, caller, conditions, request).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PredictionsQuery {
    /// Of this account.
    #[param(max_length = 64, required = false)]
    account: Option<String>,
    /// Entries that are looked at for this page at most.
    #[param(minimum = 1, maximum = 1000, required = false)]
    limit: Option<usize>,
    /// Where it begins: `next` of the page before it.
    #[param(max_length = 200, required = false)]
    cursor: Option<String>,
}

/// What is foreseen now, and what is held for it.
#[utoipa::path(
    get,
    path = "/v1/predictions",
    tag = "shadows",
    security(("bearer" = ["read"])),
    params(PredictionsQuery),
    responses((status = 200, description = "A page of predictions.", body = PredictionsView)),
)]
async fn predictions(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Query(query): Query<PredictionsQuery>,
) -> Answer<PredictionsView> {
    let what = PredictionDeed::List {
        account: query.account.map(Into::into),
        after: query.cursor.map(Into::into),
        limit: query.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX),
    };
    let told = api.ask_about(caller, conditions, what, Command::Predictions).await?;
    let Told { entries: predictions, next, .. } = told;
    Ok(Json(PredictionsView { predictions, next }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AvailableQuery {
    /// On which network.
    #[param(max_length = 64)]
    network: String,
    /// For whom.
    #[param(max_length = 64)]
    account: String,
    /// For which application.
    #[param(max_length = 64, required = false)]
    application: Option<String>,
    /// Of which family; IPv4 if not said.
    #[param(inline, required = false)]
    family: Option<Family>,
}

/// The address that an instance would find ready, or that there is none. It only looks: to claim it,
/// make an instance with it; who is late is told 409.
#[utoipa::path(
    get,
    path = "/v1/available_shadow_address",
    tag = "shadows",
    security(("bearer" = ["read"])),
    params(AvailableQuery),
    responses((status = 200, description = "The one that is ready first.", body = AvailableView)),
)]
async fn available(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Query(query): Query<AvailableQuery>,
) -> Answer<AvailableView> {
    caller.allow_account(Some(&query.account))?;
    let of = of(&api, &query.network, &query.account, query.application.as_deref()).await?;
    let what = AvailableDeed(of, query.family.unwrap_or_default().sort());
    Ok(Json(one(api.ask_about(caller, conditions, what, Command::Available).await?)?))
}

/// The same as `/v1/available_shadow_address`.
#[utoipa::path(
    get,
    path = "/available_shadow_address",
    tag = "shadows",
    security(("bearer" = ["read"])),
    params(AvailableQuery),
    responses((status = 200, description = "The one that is ready first.", body = AvailableView)),
)]
async fn available_shadow_address(
    state: State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    query: Query<AvailableQuery>,
) -> Answer<AvailableView> {
    available(state, caller, conditions, query).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// On this network.
    #[param(max_length = 64, required = false)]
    network: Option<String>,
    /// For this account.
    #[param(max_length = 64, required = false)]
    account: Option<String>,
    /// For this application.
    #[param(max_length = 64, required = false)]
    application: Option<String>,
}

/// Addresses that are held ahead of need.
#[utoipa::path(
    get,
    path = "/v1/shadows",
    tag = "shadows",
    security(("bearer" = ["read"])),
    params(ListQuery, PageQuery),
    responses((status = 200, description = "A page of shadows.", body = ShadowsView)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Query(query): Query<ListQuery>,
    Query(page): Query<PageQuery>,
) -> Answer<ShadowsView> {
    let what = ShadowDeed::List(Wanted {
        network: api.network(query.network.as_deref()).await?,
        account: query.account.map(Into::into),
        application: query.application.map(Into::into),
        from: page.position(),
        limit: page.limit(),
    });
    let told = api.ask_about(caller, conditions, what, Command::Shadows).await?;
    let next = told.next.and_then(|next| next.parse().ok()).map(cursor);
    Ok(Json(ShadowsView { shadows: told.entries, next }))
}

/// Holds addresses by hand, beside what is predicted; fewer than that where the pools cannot spare
/// them.
#[utoipa::path(
    post,
    path = "/v1/shadows",
    tag = "shadows",
    security(("bearer" = ["operate"])),
    request_body = ShadowRequest,
    responses((status = 201, description = "What is held.", body = ShadowsView)),
)]
async fn reserve(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Body(request): Body<ShadowRequest>,
) -> Result<Response, Problem> {
    caller.allow_account(Some(&request.account))?;
    let of = of(&api, &request.network, &request.account, request.application.as_deref()).await?;
    let until = request.seconds.map(|seconds| (api.now)() + Span::from_secs(seconds.into()));
    let instance_type = request.instance_type.map(Into::into);
    let what = ShadowDeed::Reserve(of, request.family.sort(), request.count, until, instance_type);
    let told = api.ask_about(caller, conditions, what, Command::Shadows).await?;
    let view = ShadowsView { shadows: told.entries, next: None };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct NetworkQuery {
    /// On this network; needed where several hold such an address.
    #[param(max_length = 64, required = false)]
    network: Option<String>,
}

/// Gives a shadow back: its address is free.
#[utoipa::path(
    delete,
    path = "/v1/shadows/{address}",
    tag = "shadows",
    security(("bearer" = ["operate"])),
    params(("address" = String, Path, description = "The address.", max_length = 64), NetworkQuery),
    responses((status = 200, description = "As it was.", body = ShadowView)),
)]
async fn release(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(address): Named,
    Query(query): Query<NetworkQuery>,
) -> Answer<ShadowView> {
    let network = api.network(query.network.as_deref()).await?;
    let what = ShadowDeed::Release(network, resource(&address)?);
    Ok(Json(one(api.ask_about(caller, conditions, what, Command::Shadows).await?)?))
}

/// Holds a shadow until another time.
#[utoipa::path(
    patch,
    path = "/v1/shadows/{address}",
    tag = "shadows",
    security(("bearer" = ["operate"])),
    params(("address" = String, Path, description = "The address.", max_length = 64), NetworkQuery),
    request_body = ShadowChange,
    responses((status = 200, description = "As it is now.", body = ShadowView)),
)]
async fn extend(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(address): Named,
    Query(query): Query<NetworkQuery>,
    Body(request): Body<ShadowChange>,
) -> Answer<ShadowView> {
    let network = api.network(query.network.as_deref()).await?;
    let span = Span::from_secs(request.seconds.into());
    let what = ShadowDeed::Extend(network, resource(&address)?, span);
    Ok(Json(one(api.ask_about(caller, conditions, what, Command::Shadows).await?)?))
}

/// What came of an account's shadows since the server started, by application.
#[utoipa::path(
    get,
    path = "/v1/accounts/{name}/shadows",
    tag = "shadows",
    security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "Its name.", max_length = 64)),
    responses((status = 200, description = "For each application.", body = [TallyView])),
)]
async fn tally(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(name): Named,
) -> Answer<Vec<TallyView>> {
    let what = TallyDeed(name.into());
    Ok(Json(api.ask_about(caller, conditions, what, Command::Tallies).await?.entries))
}

impl Family {
    fn sort(self) -> Sort {
        match self {
            Family::V4 => Sort::V4,
            Family::V6 => Sort::V6,
        }
    }
}

async fn of(
    api: &Api,
    network: &str,
    account: &str,
    application: Option<&str>,
) -> Result<Of, Problem> {
    let none = || Refusal::NotFound(format!("no network `{network}`"));
    let id = api.network(Some(network)).await?.ok_or_else(none)?;
    Ok(Of { network: id, owner: (account.into(), application.map(Into::into)) })
}

/// What is no address is no shadow either.
fn resource(text: &str) -> Result<Resource, Problem> {
    let none = || Refusal::NotFound(format!("address is {text:?}, want an address"));
    Ok(text.parse().map_err(|()| none())?)
}

/// A prediction as it is kept, if it says nothing that cannot be.
fn prediction(request: &PredictionRequest, now: Timestamp) -> Result<Prediction, Problem> {
    let count = bounded("count", request.count, 0..=COUNT_MAX)?;
    let horizon = bounded("horizon_s", request.horizon_s.unwrap_or(HORIZON_DEFAULT), HORIZON)?;
    let made = match request.made.as_deref() {
        Some(text) => moment("made", text)?,
        None => now,
    };
    if made > now + Span::from_secs(60) || now.since(made) > PAST_MAX {
        let want = "want a time of the past day";
        return Err(Problem::unfit("made", format!("found {:?}, {want}", request.made)));
    }
    let until = match request.valid_until.as_deref() {
        Some(text) => moment("valid_until", text)?,
        None => made + Span::from_secs(u64::from(horizon)),
    };
    if until <= now || until.since(now) > BELIEVED_MAX {
        let field = if request.valid_until.is_some() { "valid_until" } else { "horizon_s" };
        let why = "it would be over already, or believed for more than 30 days";
        return Err(Problem::unfit(field, why));
    }
    let quantiles = quantiles(&request.quantiles)?;
    let (least, most) = (quantiles.first(), quantiles.last());
    if let (Some((_, least)), Some((_, most))) = (least, most)
        && !(*least..=*most).contains(&count)
    {
        let why = format!("found {count}, but the quantiles say {least} to {most}");
        return Err(Problem::unfit("count", why));
    }
    let requirements = request.requirements.as_ref().map(serde_json::to_string).transpose();
    Ok(Prediction {
        id: format!("p-{:x}-{:x}", made.0, now.0 & 0xffff_ffff).into(),
        by: Foreseer::Prediction,
        made,
        until,
        count,
        quantiles,
        instance_type: request.instance_type.as_deref().map(Into::into),
        region: request.region.as_deref().map(Into::into),
        requirements: requirements.unwrap_or_default().map(Into::into),
    })
}

fn bounded(field: &str, found: i64, range: std::ops::RangeInclusive<i64>) -> Result<u32, Problem> {
    let (first, last) = (*range.start(), *range.end());
    let within = Some(found).filter(|n| range.contains(n)).and_then(|n| u32::try_from(n).ok());
    within.ok_or_else(|| Problem::unfit(field, format!("found {found}, want {first} to {last}")))
}

/// Percent and count of each, ascending.
fn quantiles(said: &BTreeMap<String, i64>) -> Result<Vec<(u8, u32)>, Problem> {
    let unfit = |why: String| Problem::unfit("quantiles", why);
    if said.len() > QUANTILES_MAX {
        return Err(unfit(format!("found {}, want {QUANTILES_MAX} at most", said.len())));
    }
    let mut found = Vec::with_capacity(said.len());
    for (text, count) in said {
        let quantile = text.parse::<f64>().ok().filter(|q| *q > 0.0 && *q < 1.0);
        let want = || unfit(format!("found {text:?}, want a number between 0 and 1"));
        let percent = (quantile.ok_or_else(want)? * 100.0).round().clamp(0.0, 100.0) as u8;
        found.push((percent, bounded("quantiles", *count, 0..=COUNT_MAX)?));
    }
    found.sort_unstable_by_key(|(percent, _)| *percent);
    let falls = found.windows(2).any(|pair| matches!(pair, [(_, a), (_, b)] if a > b));
    let same = found.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
    match (falls, same) {
        (true, _) => {
            Err(unfit("a higher quantile has a lower count, want ascending counts".into()))
        }
        (_, true) => Err(unfit("two are the same to a percent, want one of each".into())),
        _ => Ok(found),
    }
}
