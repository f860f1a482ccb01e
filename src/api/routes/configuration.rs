//! The configuration: shown, checked, read again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Caller;
use crate::api::command::{Refusal, Reload};
use crate::api::etag::{self, Conditions};
use crate::api::extract::Body;
use crate::api::problem::Problem;
use crate::api::record::Done;
use crate::api::view::{CheckRequest, CheckView, ConfigurationView, ReloadView};

use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(check)).routes(routes!(reload))
}

/// The configuration in force, without its secrets.
#[utoipa::path(
    get,
    path = "/v1/configuration",
    tag = "configuration",
    security(("bearer" = ["operate"])),
    responses(
        (status = 200, description = "The file as it was read.", body = ConfigurationView,
            headers(("ETag"))),
        (status = 304, description = "It is what `If-None-Match` says."),
    ),
)]
async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
) -> Result<Response, Problem> {
    caller.allow_everything()?;
    conditions.answer(&api.reload.shown())
}

/// What is wrong with a configuration that is not in force.
#[utoipa::path(
    post,
    path = "/v1/configuration/check",
    tag = "configuration",
    security(("bearer" = ["operate"])),
    request_body = CheckRequest,
    responses((status = 200, description = "Its faults and warnings.", body = CheckView)),
)]
async fn check(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(request): Body<CheckRequest>,
) -> Answer<CheckView> {
    caller.allow_everything()?;
    Ok(Json(beside(&api, move |reload| Ok(reload.check(&request.text))).await?))
}

/// Reads the configuration again. With a fault in it the one in force stays.
#[utoipa::path(
    post,
    path = "/v1/configuration/reload",
    tag = "configuration",
    security(("bearer" = ["admin"])),
    responses((status = 200, description = "It is in force.", body = ReloadView)),
)]
async fn reload(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
) -> Answer<ReloadView> {
    caller.allow_everything()?;
    let before = version(&api);
    conditions.allow_change(&api.reload.shown())?;
    let told = beside(&api, |reload| reload.reload()).await?;
    let done = Done { who: &caller.name, verb: "reload", object: "configuration", account: None };
    api.audit(done, Some(&before), Some(&version(&api))).await?;
    Ok(Json(told))
}

/// What the audit says of a configuration: its file, and its `ETag`. It is too long itself.
fn version(api: &Api) -> Value {
    let shown = api.reload.shown();
    json!({ "file": shown.file, "etag": etag::tag(&shown) })
}

/// On another thread: files are read, and large texts are checked.
async fn beside<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce(&dyn Reload) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Problem> {
    let reload = api.reload.clone();
    let lost = |_| Problem::from(Refusal::Unavailable("it did not end".into()));
    Ok(tokio::task::spawn_blocking(move || work(&*reload)).await.map_err(lost)??)
}
