//! Networks, their subnets and their pools.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::command::{Command, Refusal};
use crate::api::etag::Conditions;
use crate::api::extract::{Named, Query};
use crate::api::page::PageQuery;
use crate::api::problem::Problem;
use crate::api::view::{NetworkView, NetworksView, PoolsView, SubnetsView};

use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(networks))
        .routes(routes!(network))
        .routes(routes!(subnets))
        .routes(routes!(pools))
}

/// Networks, in the order of the configuration.
#[utoipa::path(
    get,
    path = "/v1/networks",
    tag = "networks",
    security(("bearer" = ["read"])),
    params(PageQuery),
    responses((status = 200, description = "A page of networks.", body = NetworksView)),
)]
async fn networks(
    State(api): State<Arc<Api>>,
    Query(page): Query<PageQuery>,
) -> Answer<NetworksView> {
    let (networks, next) = page.cut(api.ask(Command::Status).await?.networks);
    Ok(Json(NetworksView { networks, next }))
}

/// One network.
#[utoipa::path(
    get,
    path = "/v1/networks/{name}",
    tag = "networks",
    security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "Its name.", max_length = 64)),
    responses(
        (status = 200, description = "Its figures.", body = NetworkView, headers(("ETag"))),
        (status = 304, description = "It is what `If-None-Match` says."),
    ),
)]
async fn network(
    State(api): State<Arc<Api>>,
    conditions: Conditions,
    Named(name): Named,
) -> Result<Response, Problem> {
    let networks = api.ask(Command::Status).await?.networks;
    match networks.iter().find(|network| network.name == name) {
        Some(network) => conditions.answer(network),
        None => Err(Refusal::NotFound(format!("no network `{name}`")).into()),
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OfNetwork {
    /// Of this network.
    #[param(max_length = 64, required = false)]
    network: Option<String>,
}

/// Subnets, in the order of the configuration.
#[utoipa::path(
    get,
    path = "/v1/subnets",
    tag = "networks",
    security(("bearer" = ["read"])),
    params(OfNetwork, PageQuery),
    responses((status = 200, description = "A page of subnets.", body = SubnetsView)),
)]
async fn subnets(
    State(api): State<Arc<Api>>,
    Query(of): Query<OfNetwork>,
    Query(page): Query<PageQuery>,
) -> Answer<SubnetsView> {
    let network = api.network(of.network.as_deref()).await?;
    let policy = api.policy().await?;
    let of = policy.networks.iter().filter(|one| network.is_none_or(|id| id == one.id));
    let (subnets, next) = page.cut(of.flat_map(crate::api::subnets::of));
    Ok(Json(SubnetsView { subnets, next }))
}

/// Pools with their figures, in the order of the configuration.
#[utoipa::path(
    get,
    path = "/v1/pools",
    tag = "networks",
    security(("bearer" = ["read"])),
    params(OfNetwork, PageQuery),
    responses((status = 200, description = "A page of pools.", body = PoolsView)),
)]
async fn pools(
    State(api): State<Arc<Api>>,
    Query(of): Query<OfNetwork>,
    Query(page): Query<PageQuery>,
) -> Answer<PoolsView> {
    let network = api.network(of.network.as_deref()).await?;
    let (pools, next) = page.cut(api.ask(|reply| Command::Pools { network, reply }).await?);
    Ok(Json(PoolsView { pools, next }))
}
