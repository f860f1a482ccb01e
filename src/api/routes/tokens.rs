//! Bearer tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::{Caller, Role, Scope};
use crate::api::client::escape;
use crate::api::command::{Command, Refusal};
use crate::api::etag::Conditions;
use crate::api::extract::{Body, Named, Query};
use crate::api::leases::time_text;
use crate::api::page::PageQuery;
use crate::api::problem::Problem;
use crate::api::record::Done;
use crate::api::token::{self, TOKENS_MAX, Token};
use crate::api::view::{
    NewTokenView, RoleView, RotateRequest, TokenRequest, TokenView, TokensView,
};
use crate::base::Span;
use crate::lease::Act;

use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(show, revoke))
        .routes(routes!(rotate))
}

impl TokenView {
    fn of(token: &Token) -> TokenView {
        let accounts = token.scope.accounts().unwrap_or_default();
        TokenView {
            name: token.name.to_string(),
            role: RoleView::of(token.role),
            accounts: accounts.iter().map(|one| one.to_string()).collect(),
            created: token.created.map(time_text),
            expires: token.expires.map(time_text),
            configured: token.created.is_none(),
        }
    }
}

impl RoleView {
    fn of(role: Role) -> RoleView {
        match role {
            Role::Read => RoleView::Read,
            Role::Operate => RoleView::Operate,
            Role::Admin => RoleView::Admin,
        }
    }

    fn role(self) -> Role {
        match self {
            RoleView::Read => Role::Read,
            RoleView::Operate => Role::Operate,
            RoleView::Admin => Role::Admin,
        }
    }
}

/// Tokens, those made at run time first; never the secrets.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    tag = "tokens",
    security(("bearer" = ["admin"])),
    params(PageQuery),
    responses((status = 200, description = "A page of tokens.", body = TokensView)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(page): Query<PageQuery>,
) -> Answer<TokensView> {
    caller.allow_everything()?;
    let (tokens, next) = page.cut(api.live.tokens());
    Ok(Json(TokensView { tokens: tokens.iter().map(TokenView::of).collect(), next }))
}

/// Makes a token. Its secret is in the answer, and nowhere after that.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    tag = "tokens",
    security(("bearer" = ["admin"])),
    request_body = TokenRequest,
    responses((status = 201, description = "The token, durable.", body = NewTokenView,
        headers(("Location", description = "Where it can be read.")))),
)]
async fn add(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(request): Body<TokenRequest>,
) -> Result<Response, Problem> {
    caller.allow_everything()?;
    let now = (api.now)();
    let expires = request.lifetime_s.map(|lifetime| now + Span::from_secs(lifetime.into()));
    let accounts: Vec<Arc<str>> = request.accounts.iter().map(|one| (**one).into()).collect();
    let tokens = api.live.tokens();
    if tokens.iter().any(|token| *token.name == *request.name) {
        let why = format!("there is a token `{}`: rotate it, or revoke it first", request.name);
        return Err(Refusal::Conflict(why).into());
    }
    if tokens.len() >= TOKENS_MAX {
        return Err(Refusal::Conflict(format!("there are {TOKENS_MAX} tokens already")).into());
    }
    let (secret, hash) = secret()?;
    let token = Token {
        name: request.name.into(),
        hash,
        before: None,
        role: request.role.role(),
        scope: Scope::of(&accounts),
        created: Some(now),
        expires,
    };
    keep(&api, &caller, "create", None, &token).await?;
    let place = format!("/v1/tokens/{}", escape(&token.name));
    let view = NewTokenView { secret, token: TokenView::of(&token) };
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(view)).into_response())
}

/// One token; never its secret.
#[utoipa::path(
    get,
    path = "/v1/tokens/{name}",
    tag = "tokens",
    security(("bearer" = ["admin"])),
    params(("name" = String, Path, description = "Its name.", max_length = 64)),
    responses(
        (status = 200, description = "What is known of it.", body = TokenView, headers(("ETag"))),
        (status = 304, description = "It is what `If-None-Match` says."),
    ),
)]
async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(name): Named,
) -> Result<Response, Problem> {
    caller.allow_everything()?;
    let tokens = api.live.tokens();
    let token = tokens.iter().find(|token| *token.name == *name);
    conditions.answer(&TokenView::of(token.ok_or_else(|| none(&name))?))
}

/// Ends a token at once.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{name}",
    tag = "tokens",
    security(("bearer" = ["admin"])),
    params(("name" = String, Path, description = "Its name.", max_length = 64)),
    responses((status = 204, description = "It is not believed any more.")),
)]
async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(name): Named,
) -> Result<StatusCode, Problem> {
    let token = own(&api, &caller, &name, &conditions)?;
    let acts = acts(&api, &caller, "delete", Some(&token), None);
    let (name, value) = (token.fact(), None);
    api.ask(|reply| Command::Fact { name, value, acts, reply }).await??;
    api.live.drop_token(&token.name);
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a token another secret; the one before it may hold for a while.
#[utoipa::path(
    post,
    path = "/v1/tokens/{name}/rotate",
    tag = "tokens",
    security(("bearer" = ["admin"])),
    params(("name" = String, Path, description = "Its name.", max_length = 64)),
    request_body = RotateRequest,
    responses((status = 200, description = "The new secret, durable.", body = NewTokenView)),
)]
async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(name): Named,
    Body(request): Body<RotateRequest>,
) -> Answer<NewTokenView> {
    let was = own(&api, &caller, &name, &conditions)?;
    let until = (api.now)() + Span::from_secs(request.overlap_s.into());
    let before = (request.overlap_s > 0).then_some((was.hash, until));
    let (secret, hash) = secret()?;
    let token = Token { hash, before, ..was.clone() };
    keep(&api, &caller, "rotate", Some(&was), &token).await?;
    Ok(Json(NewTokenView { secret, token: TokenView::of(&token) }))
}

/// A token that may be changed here.
fn own(api: &Api, caller: &Caller, name: &str, conditions: &Conditions) -> Result<Token, Problem> {
    caller.allow_everything()?;
    match api.live.token(name) {
        Some(token) => {
            conditions.allow_change(&TokenView::of(&token))?;
            Ok(token)
        }
        None if api.live.tokens().iter().any(|token| *token.name == *name) => {
            let why = format!("the token `{name}` is in the configuration: change it there");
            Err(Refusal::Conflict(why).into())
        }
        None => Err(none(name)),
    }
}

fn none(name: &str) -> Problem {
    Refusal::NotFound(format!("no token `{name}`")).into()
}

fn secret() -> Result<(String, [u8; 32]), Problem> {
    token::secret().map_err(|why| Refusal::Unavailable(why).into())
}

/// Makes a token durable, and believes it from then on.
async fn keep(
    api: &Api,
    caller: &Caller,
    verb: &str,
    was: Option<&Token>,
    token: &Token,
) -> Result<(), Problem> {
    let acts = acts(api, caller, verb, was, Some(token));
    let (name, value) = (token.fact(), Some(token.bytes()));
    api.ask(|reply| Command::Fact { name, value, acts, reply }).await??;
    api.live.keep_token(token.clone());
    Ok(())
}

/// The audit records of a change of a token: never of its secret.
fn acts(
    api: &Api,
    caller: &Caller,
    verb: &str,
    before: Option<&Token>,
    after: Option<&Token>,
) -> Vec<Act> {
    let name = before.or(after).map_or("", |token| &*token.name);
    let object = format!("tokens/{name}");
    let done = Done { who: &caller.name, verb, object: &object, account: None };
    let (before, after) = (before.map(TokenView::of), after.map(TokenView::of));
    done.acts((api.now)(), before.as_ref(), after.as_ref())
}
