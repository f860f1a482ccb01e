//! Applications of accounts: those of the configuration file, and those made at run time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::accounts::{ApplicationDeed, ApplicationView, TermsView, UsageDeed, UsageView};
use crate::api::caller::Caller;
use crate::api::client::escape;
use crate::api::command::Command;
use crate::api::etag::Conditions;
use crate::api::extract::{Body, Named, NamedTwo, Query};
use crate::api::problem::Problem;
use crate::api::registry::Told;
use crate::config::policy::Application;

use super::{Answer, Api, NamesQuery, one, put};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, set, remove))
        .routes(routes!(usage))
}

/// Body of `PUT /v1/accounts/{name}/applications/{application}`: all that is said of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct ApplicationRequest {
    /// What it may have, within what its account may have.
    terms: TermsView,
}

/// A page of applications.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
struct ApplicationsView {
    /// In the order of their names.
    applications: Vec<ApplicationView>,
    /// `cursor` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    next: Option<String>,
}

async fn ask(
    api: &Api,
    caller: Caller,
    conditions: Conditions,
    what: ApplicationDeed,
) -> Result<Told<ApplicationView>, Problem> {
    api.ask_about(caller, conditions, what, Command::Applications).await
}

/// Applications of an account, in the order of their names.
#[utoipa::path(
    get,
    path = "/v1/accounts/{name}/applications",
    tag = "accounts",
    security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "The account.", max_length = 64), NamesQuery),
    responses((status = 200, description = "A page of applications.", body = ApplicationsView)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(account): Named,
    Query(query): Query<NamesQuery>,
) -> Answer<ApplicationsView> {
    let what = ApplicationDeed::List(account.into(), query.cursor(), query.limit());
    let Told { entries: applications, next, .. } = ask(&api, caller, conditions, what).await?;
    Ok(Json(ApplicationsView { applications, next }))
}

/// One application.
#[utoipa::path(
    get,
    path = "/v1/accounts/{name}/applications/{application}",
    tag = "accounts",
    security(("bearer" = ["read"])),
    params(
        ("name" = String, Path, description = "Its account.", max_length = 64),
        ("application" = String, Path, description = "Its name.", max_length = 64),
    ),
    responses(
        (status = 200, description = "What it may have.", body = ApplicationView,
            headers(("ETag"))),
        (status = 304, description = "It is what `If-None-Match` says."),
    ),
)]
async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    NamedTwo(account, name): NamedTwo,
) -> Result<Response, Problem> {
    let what = ApplicationDeed::Show(account.into(), name.into());
    conditions.answer(&one(ask(&api, caller, conditions.clone(), what).await?)?)
}

/// How much an application has now.
#[utoipa::path(
    get,
    path = "/v1/accounts/{name}/applications/{application}/usage",
    tag = "accounts",
    security(("bearer" = ["read"])),
    params(
        ("name" = String, Path, description = "Its account.", max_length = 64),
        ("application" = String, Path, description = "Its name.", max_length = 64),
    ),
    responses((status = 200, description = "What counts for its limits.", body = UsageView)),
)]
async fn usage(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    NamedTwo(account, name): NamedTwo,
) -> Answer<UsageView> {
    let what = UsageDeed { account: account.into(), application: Some(name.into()) };
    Ok(Json(one(api.ask_about(caller, conditions, what, Command::Usage).await?)?))
}

/// Makes an application, or puts what is said now in the place of all that was said of it. With
/// `If-None-Match: *` it is only made.
#[utoipa::path(
    put,
    path = "/v1/accounts/{name}/applications/{application}",
    tag = "accounts",
    security(("bearer" = ["operate"])),
    params(
        ("name" = String, Path, description = "Its account.", max_length = 64),
        ("application" = String, Path, description = "Its name.",
            pattern = "^[A-Za-z0-9_@:-][A-Za-z0-9._@:-]{0,63}$", max_length = 64),
    ),
    request_body = ApplicationRequest,
    responses(
        (status = 201, description = "It was made.", body = ApplicationView,
            headers(("Location", description = "Where it can be read."))),
        (status = 200, description = "As it is now.", body = ApplicationView),
    ),
)]
async fn set(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    NamedTwo(account, name): NamedTwo,
    Body(request): Body<ApplicationRequest>,
) -> Result<Response, Problem> {
    caller.allow_everything()?;
    let terms = request.terms.terms()?;
    let place = format!("/v1/accounts/{}/applications/{}", escape(&account), escape(&name));
    let application = Box::new(Application { name: name.into(), terms });
    let what = ApplicationDeed::Put(account.into(), application);
    put(ask(&api, caller, conditions, what).await?, &place)
}

/// Removes an application, if it has nothing any more.
#[utoipa::path(
    delete,
    path = "/v1/accounts/{name}/applications/{application}",
    tag = "accounts",
    security(("bearer" = ["operate"])),
    params(
        ("name" = String, Path, description = "Its account.", max_length = 64),
        ("application" = String, Path, description = "Its name.", max_length = 64),
    ),
    responses((status = 200, description = "As it was.", body = ApplicationView)),
)]
async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    NamedTwo(account, name): NamedTwo,
) -> Answer<ApplicationView> {
    caller.allow_everything()?;
    let what = ApplicationDeed::Remove(account.into(), name.into());
    Ok(Json(one(ask(&api, caller, conditions, what).await?)?))
}
