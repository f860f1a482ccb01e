//! Leases: who has which address.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Caller;
use crate::api::command::{Command, Page, Refusal};
use crate::api::etag::Conditions;
use crate::api::extract::{Body, Named, Query};
use crate::api::filter::Filter;
use crate::api::leases::parse_hardware;
use crate::api::page::{PageQuery, cursor};
use crate::api::problem::Problem;
use crate::api::quarantine::{QuarantineDeed, QuarantineRequest, Verb};
use crate::api::view::{LeaseView, LeasesView};
use crate::base::{Resource, Span, Within};

use super::{Answer, Api, one};

/// How often the engine is asked for one page of leases that are hard to find: a page may be
/// short, and yet not the last.
const LOOKS_MAX: usize = 160;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    let router = OpenApiRouter::new().routes(routes!(list)).routes(routes!(show));
    let router = router.routes(routes!(release)).routes(routes!(quarantine)).routes(routes!(lift));
    router.routes(routes!(drain)).routes(routes!(stay))
}

pub(super) fn views(page: &Page) -> Vec<LeaseView> {
    page.leases.iter().map(|lease| LeaseView::of(lease, &page.policy)).collect()
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Of this network.
    #[param(max_length = 64, required = false)]
    network: Option<String>,
    /// In this state.
    #[param(inline, required = false)]
    state: Option<StateName>,
    /// Of this account.
    #[param(max_length = 64, required = false)]
    account: Option<String>,
    /// With this host name.
    #[param(max_length = 253, required = false)]
    hostname: Option<String>,
    /// With this hardware address.
    #[param(pattern = "^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$", required = false)]
    mac: Option<String>,
    /// This address or prefix, or inside this prefix.
    #[param(schema_with = block_schema, required = false)]
    resource: Option<String>,
}

/// An address of either family, or a prefix.
pub(super) fn block_schema() -> Schema {
    let h = "[0-9A-Fa-f]{1,4}";
    let byte = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    let v4 = format!("({byte}\\.){{3}}{byte}(/(3[0-2]|[12]?[0-9]))?");
    // By how many groups stand before the `::`.
    let before = (1..=6).map(|n| format!("({h}:){{1,{n}}}(:{h}){{1,{}}}", 7 - n));
    let shortened = before.collect::<Vec<_>>().join("|");
    let v6 = format!("(({h}:){{7}}{h}|({h}:){{1,7}}:|{shortened}|:((:{h}){{1,7}}|:))");
    let len = "(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?";
    let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(64));
    text.pattern(Some(format!("^({v4}|{v6}{len})$"))).into()
}

/// A state of a binding.
#[derive(Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
enum StateName {
    Leased,
    Expired,
    Released,
    Declined,
    InUse,
    Quarantined,
    Leaving,
    Shadow,
}

impl StateName {
    /// As [`crate::lease::State`] displays it.
    fn name(self) -> &'static str {
        match self {
            StateName::Leased => "leased",
            StateName::Expired => "expired",
            StateName::Released => "released",
            StateName::Declined => "declined",
            StateName::InUse => "in-use",
            StateName::Quarantined => "quarantined",
            StateName::Leaving => "leaving",
            StateName::Shadow => "shadow",
        }
    }
}

impl ListQuery {
    async fn filter(self, api: &Api, caller: &Caller) -> Result<Filter, Problem> {
        let hardware = self.mac.map(|text| {
            let want = || Problem::field("mac", format!("found {text:?}, want 52:54:00:12:34:56"));
            parse_hardware(&text).ok_or_else(want)
        });
        let within = self.resource.map(|text| {
            let fault = |()| {
                Problem::field("resource", format!("found {text:?}, want an address or a prefix"))
            };
            text.parse::<Within>().map_err(fault)
        });
        Ok(Filter {
            network: api.network(self.network.as_deref()).await?,
            state: self.state.map(|state| state.name().into()),
            account: self.account,
            hostname: self.hostname.map(|name| name.to_ascii_lowercase()),
            hardware: hardware.transpose()?,
            within: within.transpose()?,
            scope: caller.scope.clone(),
        })
    }
}

/// Leases, in no promised order.
#[utoipa::path(
    get,
    path = "/v1/leases",
    tag = "leases",
    security(("bearer" = ["read"])),
    params(ListQuery, PageQuery),
    responses((status = 200, description = "A page of leases; it may be short, and yet not the last.",
        body = LeasesView)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ListQuery>,
    Query(page): Query<PageQuery>,
) -> Answer<LeasesView> {
    let filter = query.filter(&api, &caller).await?;
    let (mut leases, mut next) = (Vec::new(), Some(page.position()));
    for _ in 0..LOOKS_MAX {
        let (Some(from), most) = (next, page.limit() - leases.len()) else { break };
        if most == 0 {
            break;
        }
        let filter = Box::new(filter.clone());
        let found = api.ask(|reply| Command::Leases { filter, from, most, reply }).await?;
        leases.extend(views(&found));
        next = found.next;
    }
    Ok(Json(LeasesView { leases, next: next.map(cursor) }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct NetworkQuery {
    /// On this network; needed where several have such an address.
    #[param(max_length = 64, required = false)]
    pub(super) network: Option<String>,
}

/// What is no address has no binding either.
pub(super) fn resource(Named(text): Named) -> Result<Resource, Problem> {
    text.parse().map_err(|()| {
        let why = format!("resource is {text:?}, want an address or a prefix");
        Refusal::NotFound(why).into()
    })
}

/// The bindings of one address or prefix: one for each network that has such.
#[utoipa::path(
    get,
    path = "/v1/leases/{resource}",
    tag = "leases",
    security(("bearer" = ["read"])),
    params(("resource" = String, Path, description = "An address, or a prefix with its `/` escaped.",
        max_length = 64), NetworkQuery),
    responses(
        (status = 200, description = "All that is known.", body = LeasesView, headers(("ETag"))),
        (status = 304, description = "It is what `If-None-Match` says."),
    ),
)]
async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    named: Named,
    Query(query): Query<NetworkQuery>,
) -> Result<Response, Problem> {
    let resource = resource(named)?;
    let network = api.network(query.network.as_deref()).await?;
    let scope = caller.scope;
    let page = api.ask(|reply| Command::Lease { network, resource, scope, reply }).await?;
    if page.leases.is_empty() {
        return Err(Refusal::NotFound(format!("no binding of {resource}")).into());
    }
    conditions.answer(&LeasesView { leases: views(&page), next: None })
}

/// Ends a lease or a quarantine, so that the address is free.
#[utoipa::path(
    post,
    path = "/v1/leases/{resource}/release",
    tag = "leases",
    security(("bearer" = ["operate"])),
    params(("resource" = String, Path, description = "An address, or a prefix with its `/` escaped.",
        max_length = 64), NetworkQuery),
    responses((status = 200, description = "The binding as it was.", body = LeaseView)),
)]
async fn release(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    named: Named,
    Query(query): Query<NetworkQuery>,
) -> Answer<LeaseView> {
    let resource = resource(named)?;
    let network = api.network(query.network.as_deref()).await?;
    let Caller { name: who, scope, .. } = caller;
    let ask = |reply| Command::Release { network, resource, scope, conditions, who, reply };
    let (lease, policy) = api.ask(ask).await??;
    Ok(Json(LeaseView::of(&lease, &policy)))
}

/// Puts an address out of use: it is nobody's until that is lifted or over. A lease of it ends; its
/// client is not told, and renews it in vain.
#[utoipa::path(
    post,
    path = "/v1/leases/{resource}/quarantine",
    tag = "leases",
    security(("bearer" = ["operate"])),
    params(("resource" = String, Path, description = "An address, or a prefix with its `/` escaped.",
        max_length = 64), NetworkQuery),
    request_body = QuarantineRequest,
    responses((status = 200, description = "As it is now.", body = LeaseView)),
)]
async fn quarantine(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    named: Named,
    Query(query): Query<NetworkQuery>,
    Body(request): Body<QuarantineRequest>,
) -> Answer<LeaseView> {
    let span = request.seconds.map(|seconds| Span::from_secs(seconds.into()));
    put(&api, caller, conditions, named, query, Verb::Quarantine(span)).await
}

/// Ends a quarantine, so that the address is free.
#[utoipa::path(
    post,
    path = "/v1/leases/{resource}/lift",
    tag = "leases",
    security(("bearer" = ["operate"])),
    params(("resource" = String, Path, description = "An address, or a prefix with its `/` escaped.",
        max_length = 64), NetworkQuery),
    responses((status = 200, description = "As it was.", body = LeaseView)),
)]
async fn lift(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    named: Named,
    Query(query): Query<NetworkQuery>,
) -> Answer<LeaseView> {
    put(&api, caller, conditions, named, query, Verb::Lift).await
}

/// Has the client of an address moved to another pool of the network: when it renews or boots, if
/// there is room for it then. What is reserved, or registered for an instance, stays where it is.
#[utoipa::path(
    post,
    path = "/v1/leases/{resource}/drain",
    tag = "leases",
    security(("bearer" = ["operate"])),
    params(("resource" = String, Path, description = "An address.", max_length = 64), NetworkQuery),
    responses((status = 200, description = "As it is now.", body = LeaseView)),
)]
async fn drain(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    named: Named,
    Query(query): Query<NetworkQuery>,
) -> Answer<LeaseView> {
    put(&api, caller, conditions, named, query, Verb::Drain).await
}

/// Lets the client of an address stay that was to move.
#[utoipa::path(
    post,
    path = "/v1/leases/{resource}/stay",
    tag = "leases",
    security(("bearer" = ["operate"])),
    params(("resource" = String, Path, description = "An address.", max_length = 64), NetworkQuery),
    responses((status = 200, description = "As it is now.", body = LeaseView)),
)]
async fn stay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    named: Named,
    Query(query): Query<NetworkQuery>,
) -> Answer<LeaseView> {
    put(&api, caller, conditions, named, query, Verb::Stay).await
}

async fn put(
    api: &Api,
    caller: Caller,
    conditions: Conditions,
    named: Named,
    query: NetworkQuery,
    verb: Verb,
) -> Answer<LeaseView> {
    let resource = resource(named)?;
    let network = api.network(query.network.as_deref()).await?;
    let what = QuarantineDeed { network, resource, verb };
    let told = api.ask_about(caller, conditions, what, Command::Quarantine).await?;
    Ok(Json(one(told)?))
}
