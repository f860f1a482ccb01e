//! The server at work.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::command::Command;
use crate::api::view::StatusView;

use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(status))
}

/// What the server is doing.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "status",
    security(("bearer" = ["read"])),
    responses((status = 200, description = "Figures about everything.", body = StatusView)),
)]
async fn status(State(api): State<Arc<Api>>) -> Answer<StatusView> {
    Ok(Json(api.ask(Command::Status).await?))
}
