//! Leases: who has which address.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Caller;
use crate::api::command::{Command, Filter, Page, Refusal, Within};
use crate::api::etag::Conditions;
use crate::api::extract::{Named, Query};
use crate::api::leases::{check_state, parse_hardware};
use crate::api::page::{PageQuery, cursor};
use crate::api::problem::Problem;
use crate::api::view::{LeaseView, LeasesView};
use crate::base::Resource;

use super::{Answer, Api};

/// How often the engine is asked for one page of leases that are hard to find: a page may be
/// short, and yet not the last.
const LOOKS_MAX: usize = 16;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(release))
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
    #[param(max_length = 16, required = false)]
    state: Option<String>,
    /// Of this account.
    #[param(max_length = 64, required = false)]
    account: Option<String>,
    /// With this host name.
    #[param(max_length = 253, required = false)]
    hostname: Option<String>,
    /// With this hardware address.
    #[param(max_length = 64, required = false)]
    mac: Option<String>,
    /// This address or prefix, or inside this prefix.
    #[param(max_length = 64, required = false)]
    resource: Option<String>,
}

impl ListQuery {
    async fn filter(self, api: &Api, caller: &Caller) -> Result<Filter, Problem> {
        check_state(self.state.as_deref())
            .map_err(|refusal| Problem::field("state", refusal.to_string()))?;
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
            state: self.state,
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
struct NetworkQuery {
    /// On this network; needed where several have such an address.
    #[param(max_length = 64, required = false)]
    network: Option<String>,
}

fn resource(Named(text): Named) -> Result<Resource, Problem> {
    text.parse().map_err(|()| {
        Problem::field("resource", format!("found {text:?}, want an address or a prefix"))
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
    let scope = caller.scope;
    let ask = |reply| Command::Release { network, resource, scope, conditions, reply };
    let (lease, policy) = api.ask(ask).await??;
    Ok(Json(LeaseView::of(&lease, &policy)))
}
