//! What is wrong on the networks, and to look again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Caller;
use crate::api::command::Refusal;
use crate::api::extract::{Body, Query};
use crate::api::findings::{FindingsView, ScanRequest, ScanView};
use crate::api::problem::Problem;
use crate::api::record::Done;

use super::leases::NetworkQuery;
use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(scan))
}

/// What answers on the networks and should not, or should and does not. Networks whose `reconcile`
/// is off are not watched.
#[utoipa::path(
    get,
    path = "/v1/findings",
    tag = "networks",
    security(("bearer" = ["read"])),
    params(NetworkQuery),
    responses((status = 200, description = "What is wrong now.", body = FindingsView)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<NetworkQuery>,
) -> Answer<FindingsView> {
    caller.allow_everything()?;
    api.network(query.network.as_deref()).await?;
    Ok(Json(api.findings.view(query.network.as_deref())))
}

/// Has networks swept now, not when their interval is over. It is done when `settled` of
/// `/v1/findings` is more than `sweeps` is here; if `sweeping` is true here, more by two.
#[utoipa::path(
    post,
    path = "/v1/scans",
    tag = "networks",
    security(("bearer" = ["operate"])),
    request_body = ScanRequest,
    responses((status = 202, description = "What is swept, as it was before.", body = [ScanView])),
)]
async fn scan(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(request): Body<ScanRequest>,
) -> Result<(StatusCode, Json<Vec<ScanView>>), Problem> {
    caller.allow_everything()?;
    api.network(request.network.as_deref()).await?;
    let scans = api.findings.sweep(request.network.as_deref());
    if let Some(network) = request.network.as_ref().filter(|_| scans.is_empty()) {
        let why = format!(
            "network `{network}` is not watched: its `reconcile.mode` is off, or none of its interfaces is there"
        );
        return Err(Refusal::Conflict(why).into());
    }
    let done = Done { who: &caller.name, verb: "create", object: "scans", account: None };
    api.audit(done, None, Some(&request)).await?;
    Ok((StatusCode::ACCEPTED, Json(scans)))
}
