//! What addresses are worth.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Caller;
use crate::api::command::Command;
use crate::api::etag::Conditions;
use crate::api::extract::{Named, Query};
use crate::api::score::{ScoreDeed, ScoreView};

use super::leases::{NetworkQuery, resource};
use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(score))
}

/// The lifecycle score of an address, and what it is made of: one for each network that has it in a
/// pool. New clients are given the free address of the lowest score.
#[utoipa::path(
    get,
    path = "/v1/scores/{address}",
    tag = "leases",
    security(("bearer" = ["read"])),
    params(("address" = String, Path, description = "An address.", max_length = 64), NetworkQuery),
    responses((status = 200, description = "Its score on each network.", body = [ScoreView])),
)]
async fn score(
    State(api): State<Arc<Api>>,
    caller: Caller,
    named: Named,
    Query(query): Query<NetworkQuery>,
) -> Answer<Vec<ScoreView>> {
    let resource = resource(named)?;
    let network = api.network(query.network.as_deref()).await?;
    let what = ScoreDeed { network, resource };
    let told = api.ask_about(caller, Conditions::default(), what, Command::Scores).await?;
    Ok(Json(told.entries))
}
