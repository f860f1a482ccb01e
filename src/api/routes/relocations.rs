//! Who would be moved, and why.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Caller;
use crate::api::command::Command;
use crate::api::etag::Conditions;
use crate::api::extract::Named;
use crate::api::relocation::{RelocationDeed, RelocationView};

use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(plan))
}

/// The pools of a network that are too short for their hot tier, and which clients would be
/// moved for that. Nothing is changed: a dry run.
#[utoipa::path(
    get,
    path = "/v1/networks/{name}/relocations",
    tag = "networks",
    security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "The network.", max_length = 64)),
    responses((status = 200, description = "None if no pool is short.", body = [RelocationView])),
)]
async fn plan(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named,
) -> Answer<Vec<RelocationView>> {
    let Some(network) = api.network(Some(&name)).await? else {
        return Err(crate::api::command::Refusal::NotFound(format!("no network {name}")).into());
    };
    let what = RelocationDeed { network };
    let told = api.ask_about(caller, Conditions::default(), what, Command::Relocations).await?;
    Ok(Json(told.entries))
}
