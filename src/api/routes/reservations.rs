//! Reservations: those of the configuration file, and those made at run time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Caller;
use crate::api::client::escape;
use crate::api::command::Command;
use crate::api::etag::Conditions;
use crate::api::extract::{Body, Named, Query};
use crate::api::problem::Problem;
use crate::api::registry::Told;
use crate::api::reservations::{ReservationDeed, ReservationView};
use crate::engine::hosts::HostWish;
use crate::lease::directory::Identifiers;

use super::fields::{all_parsed, hex, hostname, parsed};
use super::{Answer, Api, NamesQuery, one};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, change, remove))
}

/// Body of `POST /v1/reservations`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct NewReservation {
    /// What to call it; made if not said. The same request again finds the same reservation.
    #[schema(pattern = "^[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,63}$", max_length = 64)]
    id: Option<String>,
    /// The network of its client.
    #[schema(required, max_length = 64)]
    network: String,
    /// The hardware address of its client.
    #[schema(max_length = 17)]
    mac: Option<String>,
    /// The DUID of its client, in hexadecimal.
    #[schema(max_length = 400)]
    duid: Option<String>,
    /// The client identifier of its client (DHCPv4), in hexadecimal.
    #[schema(max_length = 770)]
    client_id: Option<String>,
    /// The circuit id or interface-id of its client's port, in hexadecimal.
    #[schema(max_length = 770)]
    port_id: Option<String>,
    /// The name that its client is told: labels of letters, digits and inner hyphens.
    #[schema(max_length = 253)]
    hostname: Option<String>,
    /// Its IPv4 address.
    #[schema(max_length = 15)]
    address: Option<String>,
    /// Its IPv6 addresses.
    #[schema(max_items = 32)]
    addresses6: Vec<String>,
    /// Its delegated prefixes.
    #[schema(max_items = 32)]
    prefixes: Vec<String>,
    /// Whom its client belongs to: an account that is declared or was made.
    #[schema(max_length = 64)]
    account: Option<String>,
    /// What runs in its client: an application of the account.
    #[schema(max_length = 64)]
    application: Option<String>,
}

/// Body of `PUT /v1/reservations/{id}`: all that is said of it. It stays on its network.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct ReservationRequest {
    /// The hardware address of its client.
    #[schema(max_length = 17)]
    mac: Option<String>,
    /// The DUID of its client, in hexadecimal.
    #[schema(max_length = 400)]
    duid: Option<String>,
    /// The client identifier of its client (DHCPv4), in hexadecimal.
    #[schema(max_length = 770)]
    client_id: Option<String>,
    /// The circuit id or interface-id of its client's port, in hexadecimal.
    #[schema(max_length = 770)]
    port_id: Option<String>,
    /// The name that its client is told: labels of letters, digits and inner hyphens.
    #[schema(max_length = 253)]
    hostname: Option<String>,
    /// Its IPv4 address.
    #[schema(max_length = 15)]
    address: Option<String>,
    /// Its IPv6 addresses.
    #[schema(max_items = 32)]
    addresses6: Vec<String>,
    /// Its delegated prefixes.
    #[schema(max_items = 32)]
    prefixes: Vec<String>,
    /// Whom its client belongs to: an account that is declared or was made.
    #[schema(max_length = 64)]
    account: Option<String>,
    /// What runs in its client: an application of the account.
    #[schema(max_length = 64)]
    application: Option<String>,
}

impl ReservationRequest {
    fn wish(self) -> Result<HostWish, Problem> {
        Ok(HostWish {
            id: None,
            network: None,
            who: Identifiers {
                mac: parsed("mac", self.mac, "52:54:00:12:34:56")?,
                duid: hex("duid", self.duid)?,
                client_id: hex("client_id", self.client_id)?,
                port: hex("port_id", self.port_id)?,
            },
            v4: parsed("address", self.address, "10.0.0.7")?,
            v6: all_parsed("addresses6", &self.addresses6, "2001:db8::7")?,
            prefixes: all_parsed("prefixes", &self.prefixes, "2001:db8:100::/56")?,
            hostname: hostname(self.hostname)?,
            account: self.account.map(Into::into),
            application: self.application.map(Into::into),
        })
    }
}

impl NewReservation {
    fn split(self) -> (Option<String>, String, ReservationRequest) {
        let NewReservation { id, network, mac, duid, client_id, port_id, hostname, .. } = self;
        let NewReservation { address, addresses6, prefixes, account, application, .. } = self;
        let request = ReservationRequest {
            mac,
            duid,
            client_id,
            port_id,
            hostname,
            address,
            addresses6,
            prefixes,
            account,
            application,
        };
        (id, network, request)
    }
}

/// A page of reservations.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
struct ReservationsView {
    /// Those made at run time in the order of their ids, then those of the configuration file.
    reservations: Vec<ReservationView>,
    /// `cursor` of the next page; absent on the last. A page may be short, and yet not the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    next: Option<String>,
}

async fn ask(
    api: &Api,
    caller: Caller,
    conditions: Conditions,
    what: ReservationDeed,
) -> Result<Told<ReservationView>, Problem> {
    api.ask_about(caller, conditions, what, Command::Reservations).await
}

/// Reservations: those made at run time, and then those of the configuration file.
#[utoipa::path(
    get,
    path = "/v1/reservations",
    tag = "reservations",
    security(("bearer" = ["read"])),
    params(NamesQuery),
    responses((status = 200, description = "A page of reservations.", body = ReservationsView)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Query(query): Query<NamesQuery>,
) -> Answer<ReservationsView> {
    let what = ReservationDeed::List(query.cursor(), query.limit());
    let Told { entries: reservations, next, .. } = ask(&api, caller, conditions, what).await?;
    Ok(Json(ReservationsView { reservations, next }))
}

/// Reserves addresses for a client. Who has one of them now keeps it to its end, and no longer.
#[utoipa::path(
    post,
    path = "/v1/reservations",
    tag = "reservations",
    security(("bearer" = ["operate"])),
    request_body = NewReservation,
    responses(
        (status = 201, description = "The reservation.", body = ReservationView,
            headers(("Location", description = "Where it can be read."))),
        (status = 200, description = "It was there already, with the same content.",
            body = ReservationView),
    ),
)]
async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Body(request): Body<NewReservation>,
) -> Result<Response, Problem> {
    caller.allow_everything()?;
    let (id, network, request) = request.split();
    let network = api.network(Some(&network)).await?;
    let wish = HostWish { id: id.map(Into::into), network, ..request.wish()? };
    let told = ask(&api, caller, conditions, ReservationDeed::Create(Box::new(wish))).await?;
    let status = if told.new { StatusCode::CREATED } else { StatusCode::OK };
    let view = one(told)?;
    let place = format!("/v1/reservations/{}", escape(&view.id));
    Ok((status, [(header::LOCATION, place)], Json(view)).into_response())
}

/// One reservation; that of the configuration file has the id `NETWORK@ADDRESS`.
#[utoipa::path(
    get,
    path = "/v1/reservations/{id}",
    tag = "reservations",
    security(("bearer" = ["read"])),
    params(("id" = String, Path, description = "Its id.", max_length = 512)),
    responses(
        (status = 200, description = "What is reserved, and for whom.", body = ReservationView,
            headers(("ETag"))),
        (status = 304, description = "It is what `If-None-Match` says."),
    ),
)]
async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(id): Named,
) -> Result<Response, Problem> {
    let told = ask(&api, caller, conditions.clone(), ReservationDeed::Show(id.into())).await?;
    conditions.answer(&one(told)?)
}

/// Puts what is said now in the place of all that was said of a reservation.
#[utoipa::path(
    put,
    path = "/v1/reservations/{id}",
    tag = "reservations",
    security(("bearer" = ["operate"])),
    params(("id" = String, Path, description = "Its id.", max_length = 512)),
    request_body = ReservationRequest,
    responses((status = 200, description = "As it is now.", body = ReservationView)),
)]
async fn change(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(id): Named,
    Body(request): Body<ReservationRequest>,
) -> Answer<ReservationView> {
    caller.allow_everything()?;
    let what = ReservationDeed::Change(id.into(), Box::new(request.wish()?));
    Ok(Json(one(ask(&api, caller, conditions, what).await?)?))
}

/// Removes a reservation. What its client has is an ordinary lease from then on.
#[utoipa::path(
    delete,
    path = "/v1/reservations/{id}",
    tag = "reservations",
    security(("bearer" = ["operate"])),
    params(("id" = String, Path, description = "Its id.", max_length = 512)),
    responses((status = 200, description = "As it was.", body = ReservationView)),
)]
async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(id): Named,
) -> Answer<ReservationView> {
    caller.allow_everything()?;
    Ok(Json(one(ask(&api, caller, conditions, ReservationDeed::Remove(id.into())).await?)?))
}
