//! The routes, one module for each resource. Each gives an [`OpenApiRouter`]: what its handlers
//! say of themselves is the document at `/openapi.json`, and the document is what holds. It says
//! which role an operation needs (`security`), and what its parameters and its body may be;
//! requests that do not fit it never reach a handler.
//!
//! A handler takes what it needs by extractors: [`State<Arc<Api>>`](Api) for the way to the
//! engine, [`Caller`](super::caller::Caller) for whom it works, [`Body`](super::extract::Body),
//! [`Query`](super::extract::Query) and [`Named`](super::extract::Named) for what the request
//! holds, [`Conditions`](super::etag::Conditions) for versions, and
//! [`PageQuery`](super::page::PageQuery) for lists.

mod accounts;
mod applications;
mod audit;
mod backup;
mod configuration;
mod description;
mod events;
mod fields;
mod findings;
mod instances;
mod known_events;
mod leases;
mod metrics;
mod networks;
mod relocations;
mod reservations;
mod scores;
mod shadows;
mod standbys;
mod status;
mod telemetry;
mod tokens;
mod transfer;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, middleware};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;

use crate::base::NetworkId;
use crate::config::Policy;

use super::caller::Caller;
use super::command::{Command, Refusal, Reply};
use super::contract::Contract;
use super::document::document;
use super::etag::Conditions;
use super::guard;
use super::leases::parse_network;
use super::manual::manual;
use super::page::{LIMIT_DEFAULT, LIMIT_MAX};
use super::problem::Problem;
use super::record::Done;
use super::registry::{Ask, Deed, Told};
use super::replay::Replays;
use super::server::Hub;

/// How long the engine's thread may take to answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What a handler answers with, where that is plain JSON.
pub(super) type Answer<T> = Result<Json<T>, Problem>;

/// What handlers work with.
pub struct Api {
    hub: Hub,
    pub(super) contract: Contract,
    pub(super) replays: Arc<Replays>,
    /// `/openapi.json`.
    document: Bytes,
    /// `/docs`.
    manual: Bytes,
    /// Changes when the server stops.
    stopping: watch::Receiver<bool>,
}

impl Deref for Api {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}

/// The entry of an answer that has one.
fn one<V>(told: Told<V>) -> Result<V, Problem> {
    let nothing = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no answer");
    told.entries.into_iter().next().ok_or_else(nothing)
}

/// The answer to a `PUT`.
fn put<V: Serialize>(told: Told<V>, place: &str) -> Result<Response, Problem> {
    let new = told.new;
    let view = Json(one(told)?);
    Ok(match new {
        true => (StatusCode::CREATED, [(header::LOCATION, place)], view).into_response(),
        false => view.into_response(),
    })
}

/// `limit` and `cursor` of a list in the order of names.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct NamesQuery {
    /// Entries of this page at most.
    #[param(minimum = 1, maximum = 1000, required = false)]
    limit: Option<usize>,
    /// Where it begins: `next` of the page before it.
    #[param(max_length = 64, required = false)]
    cursor: Option<String>,
}

impl NamesQuery {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
    }

    fn cursor(&self) -> Option<Box<str>> {
        self.cursor.as_deref().map(Into::into)
    }
}

/// Every resource there is.
fn resources() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .merge(description::routes())
        .merge(status::routes())
        .merge(metrics::routes())
        .merge(networks::routes())
        .merge(leases::routes())
        .merge(instances::routes())
        .merge(reservations::routes())
        .merge(accounts::routes())
        .merge(applications::routes())
        .merge(shadows::routes())
        .merge(standbys::routes())
        .merge(relocations::routes())
        .merge(findings::routes())
        .merge(scores::routes())
        .merge(transfer::routes())
        .merge(configuration::routes())
        .merge(backup::routes())
        .merge(tokens::routes())
        .merge(telemetry::routes())
        .merge(known_events::routes())
        .merge(audit::routes())
        .merge(events::routes())
}

/// The document of all routes.
pub(super) fn described() -> serde_json::Value {
    document(resources().get_openapi())
}

/// The routes, with what they need.
pub(super) fn router(hub: Hub, stopping: watch::Receiver<bool>) -> Router {
    let (routes, _) = resources().split_for_parts();
    let document = described();
    let api = Arc::new(Api {
        hub,
        contract: Contract::of(&document),
        replays: Arc::default(),
        document: serde_json::to_vec(&document).unwrap_or_default().into(),
        manual: manual(&document).into_bytes().into(),
        stopping,
    });
    routes
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "no such path"))
        // Bodies are read, and bounded, by our own extractor.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(api.clone(), guard::guard))
        .with_state(api)
}

impl Api {
    /// Asks the engine's thread and waits for its answer.
    pub(super) async fn ask<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Problem> {
        self.ask_for(ANSWER_MAX, command).await
    }

    /// The same, for what may take longer.
    pub(super) async fn ask_for<T>(
        &self,
        patience: Duration,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Problem> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let busy = || Problem::from(Refusal::Unavailable("the server is busy or stopping".into()));
        self.post.post(command(reply)).map_err(|_| busy())?;
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(busy()),
            Err(_) => Err(Refusal::Unavailable(format!("no answer in {patience:?}")).into()),
        }
    }

    /// Asks about entries of the engine's directory.
    pub(super) async fn ask_about<D: Deed>(
        &self,
        caller: Caller,
        conditions: Conditions,
        what: D,
        command: impl FnOnce(Box<Ask<D>>) -> Command,
    ) -> Result<Told<D::View>, Problem> {
        let Caller { name: who, scope, .. } = caller;
        let ask = |reply| command(Box::new(Ask { what, who, scope, conditions, reply }));
        self.ask(ask).await?.map_err(|refusal| match refusal {
            Refusal::Configured(what) => {
                let file = self.reload.file();
                let why = format!("{what} stands in {}, and is changed there", file.display());
                Refusal::Conflict(why).into()
            }
            other => other.into(),
        })
    }

    /// Keeps the audit record of what was done elsewhere than in the store; durable when this
    /// returns.
    pub(super) async fn audit<V: Serialize>(
        &self,
        done: Done<'_>,
        before: Option<&V>,
        after: Option<&V>,
    ) -> Result<(), Problem> {
        let acts = done.acts((self.now)(), before, after);
        self.ask(|reply| Command::Audit(acts, reply)).await?.map_err(|refusal| {
            let (what, why) = (format!("{} {}", done.verb, done.object), refusal.to_string());
            Refusal::Store(format!("`{what}` was done, and is not in the audit: {why}")).into()
        })
    }

    /// The policy in force.
    pub(super) async fn policy(&self) -> Result<Arc<Policy>, Problem> {
        self.ask(Command::Policy).await
    }

    /// The networks of these names.
    pub(super) async fn networks(&self, names: &[String]) -> Result<Vec<NetworkId>, Problem> {
        let policy = self.policy().await?;
        let known = |(n, name): (usize, &String)| {
            let why = || Refusal::Field(format!("networks[{n}]"), format!("no network `{name}`"));
            parse_network(name, &policy).ok_or_else(|| why().into())
        };
        names.iter().enumerate().map(known).collect()
    }

    /// The network that a request names, if it names one.
    pub(super) async fn network(&self, name: Option<&str>) -> Result<Option<NetworkId>, Problem> {
        let Some(name) = name else { return Ok(None) };
        match parse_network(name, &*self.policy().await?) {
            Some(id) => Ok(Some(id)),
            None => Err(Refusal::NotFound(format!("no network `{name}`")).into()),
        }
    }
}
