//! The API about itself: the document, and the document to read.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;

/// The page loads nothing, and nobody frames it.
const CONTENT_RULES: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(openapi)).routes(routes!(docs))
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "description",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/json",
        body = serde_json::Value)),
)]
async fn openapi(State(api): State<Arc<Api>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], api.document.clone())
}

/// This document, to read.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "description",
    security(()),
    responses((status = 200, description = "A page.", content_type = "text/html", body = String)),
)]
async fn docs(State(api): State<Arc<Api>>) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 3] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_RULES),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, api.manual.clone())
}
