//! Accounts: those of the configuration file, and those made at run time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::accounts::{AccountDeed, AccountView, TermsView, UsageDeed, UsageView};
use crate::api::caller::Caller;
use crate::api::client::escape;
use crate::api::command::Command;
use crate::api::etag::Conditions;
use crate::api::extract::{Body, Named, Query};
use crate::api::problem::Problem;
use crate::api::registry::Told;
use crate::config::policy::Account;

use super::fields::all_parsed;
use super::{Answer, Api, NamesQuery, one, put};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, set, remove))
        .routes(routes!(usage))
}

/// Body of `PUT /v1/accounts/{name}`: all that is said of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct AccountRequest {
    /// What all its applications together may have.
    terms: TermsView,
    /// The networks that it may use; all if there are none.
    #[schema(max_items = 32)]
    networks: Vec<String>,
    /// Prefixes or ranges of either protocol: its addresses are of pools that lie in one of them;
    /// of any pool if there are none.
    #[schema(max_items = 32)]
    pools: Vec<String>,
}

/// A page of accounts.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
struct AccountsView {
    /// In the order of their names.
    accounts: Vec<AccountView>,
    /// `cursor` of the next page; absent on the last. A page may be short, and yet not the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    next: Option<String>,
}

async fn ask(
    api: &Api,
    caller: Caller,
    conditions: Conditions,
    what: AccountDeed,
) -> Result<Told<AccountView>, Problem> {
    api.ask_about(caller, conditions, what, Command::Accounts).await
}

/// Accounts, in the order of their names.
#[utoipa::path(
    get,
    path = "/v1/accounts",
    tag = "accounts",
    security(("bearer" = ["read"])),
    params(NamesQuery),
    responses((status = 200, description = "A page of accounts.", body = AccountsView)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Query(query): Query<NamesQuery>,
) -> Answer<AccountsView> {
    let what = AccountDeed::List(query.cursor(), query.limit());
    let Told { entries: accounts, next, .. } = ask(&api, caller, conditions, what).await?;
    Ok(Json(AccountsView { accounts, next }))
}

/// One account.
#[utoipa::path(
    get,
    path = "/v1/accounts/{name}",
    tag = "accounts",
    security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "Its name.", max_length = 64)),
    responses(
        (status = 200, description = "What it may have.", body = AccountView, headers(("ETag"))),
        (status = 304, description = "It is what `If-None-Match` says."),
    ),
)]
async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(name): Named,
) -> Result<Response, Problem> {
    let told = ask(&api, caller, conditions.clone(), AccountDeed::Show(name.into())).await?;
    conditions.answer(&one(told)?)
}

/// How much an account has now.
#[utoipa::path(
    get,
    path = "/v1/accounts/{name}/usage",
    tag = "accounts",
    security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "Its name.", max_length = 64)),
    responses((status = 200, description = "What counts for its limits.", body = UsageView)),
)]
async fn usage(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(name): Named,
) -> Answer<UsageView> {
    let what = UsageDeed { account: name.into(), application: None };
    Ok(Json(one(api.ask_about(caller, conditions, what, Command::Usage).await?)?))
}

/// Makes an account, or puts what is said now in the place of all that was said of it; its
/// applications stay. With `If-None-Match: *` it is only made.
#[utoipa::path(
    put,
    path = "/v1/accounts/{name}",
    tag = "accounts",
    security(("bearer" = ["operate"])),
    params(("name" = String, Path, description = "Its name.",
        pattern = "^[A-Za-z0-9_@:-][A-Za-z0-9._@:-]{0,63}$", max_length = 64)),
    request_body = AccountRequest,
    responses(
        (status = 201, description = "It was made.", body = AccountView,
            headers(("Location", description = "Where it can be read."))),
        (status = 200, description = "As it is now.", body = AccountView),
    ),
)]
async fn set(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(name): Named,
    Body(request): Body<AccountRequest>,
) -> Result<Response, Problem> {
    caller.allow_everything()?;
    let account = Account {
        name: name.as_str().into(),
        terms: request.terms.terms()?,
        networks: api.networks(&request.networks).await?,
        pools: all_parsed("pools", &request.pools, "10.0.0.0/25 or 10.0.0.10-10.0.0.99")?,
        applications: Vec::new(),
    };
    let told = ask(&api, caller, conditions, AccountDeed::Put(Box::new(account))).await?;
    put(told, &format!("/v1/accounts/{}", escape(&name)))
}

/// Removes an account and its applications, if it has nothing any more.
#[utoipa::path(
    delete,
    path = "/v1/accounts/{name}",
    tag = "accounts",
    security(("bearer" = ["operate"])),
    params(("name" = String, Path, description = "Its name.", max_length = 64)),
    responses((status = 200, description = "As it was.", body = AccountView)),
)]
async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(name): Named,
) -> Answer<AccountView> {
    caller.allow_everything()?;
    Ok(Json(one(ask(&api, caller, conditions, AccountDeed::Remove(name.into())).await?)?))
}
