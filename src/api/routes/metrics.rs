//! Figures for scrapers.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Caller;
use crate::api::problem::Problem;

use super::Api;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// All figures, in the format that the scraper likes better.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "status",
    security(("bearer" = ["read"])),
    responses((status = 200, description = "OpenMetrics 1.0, or the older text format.",
        content((String = "application/openmetrics-text"), (String = "text/plain")))),
)]
async fn metrics(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // The leases of every account are among them.
    caller.allow_everything()?;
    Ok(api.metrics.answer(&headers).await)
}
