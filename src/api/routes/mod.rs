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

mod backup;
mod configuration;
mod description;
mod instances;
mod known_events;
mod leases;
mod metrics;
mod networks;
mod status;
mod telemetry;
mod tokens;
mod transfer;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::{Json, Router, middleware};
use utoipa_axum::router::OpenApiRouter;

use crate::base::NetworkId;
use crate::config::Policy;

use super::command::{Command, Refusal, Reply};
use super::contract::Contract;
use super::document::document;
use super::guard;
use super::leases::parse_network;
use super::manual::manual;
use super::problem::Problem;
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
}

impl Deref for Api {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
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
        .merge(transfer::routes())
        .merge(configuration::routes())
        .merge(backup::routes())
        .merge(tokens::routes())
        .merge(telemetry::routes())
        .merge(known_events::routes())
}

/// The document of all routes.
pub(super) fn described() -> serde_json::Value {
    document(resources().get_openapi())
}

/// The routes, with what they need.
pub(super) fn router(hub: Hub) -> Router {
    let (routes, _) = resources().split_for_parts();
    let document = described();
    let api = Arc::new(Api {
        hub,
        contract: Contract::of(&document),
        replays: Arc::default(),
        document: serde_json::to_vec(&document).unwrap_or_default().into(),
        manual: manual(&document).into_bytes().into(),
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

    /// The policy in force.
    pub(super) async fn policy(&self) -> Result<Arc<Policy>, Problem> {
        self.ask(Command::Policy).await
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
