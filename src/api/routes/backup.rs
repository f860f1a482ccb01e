//! Copies of the store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Caller;
use crate::api::command::{Command, Refusal};
use crate::api::extract::Body;
use crate::api::problem::Problem;
use crate::api::record::Done;
use crate::api::view::BackupRequest;

use super::Api;

/// How long a backup may take.
const BACKUP_MAX: Duration = Duration::from_secs(600);

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(backup))
}

/// Copies the store into a new directory.
#[utoipa::path(
    post,
    path = "/v1/backup",
    tag = "server",
    security(("bearer" = ["admin"])),
    request_body = BackupRequest,
    responses((status = 204, description = "The copy is whole and durable.")),
)]
async fn backup(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(request): Body<BackupRequest>,
) -> Result<StatusCode, Problem> {
    caller.allow_everything()?;
    let to = PathBuf::from(&request.directory);
    let done = api.ask_for(BACKUP_MAX, |reply| Command::Backup(to, reply)).await?;
    // The directory is what the caller chose: a disk that cannot take it is no fault of the store.
    done.map_err(|refusal| Refusal::Conflict(refusal.to_string()))?;
    let done = Done { who: &caller.name, verb: "create", object: "backup", account: None };
    api.audit(done, None, Some(&request)).await?;
    Ok(StatusCode::NO_CONTENT)
}
