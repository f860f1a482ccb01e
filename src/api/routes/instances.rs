//! Instances: machines that are registered before they boot.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Caller;
use crate::api::client::escape;
use crate::api::command::Command;
use crate::api::etag::Conditions;
use crate::api::extract::{Body, Named, Query};
use crate::api::instances::{InstanceDeed, InstanceView, Listing};
use crate::api::problem::Problem;
use crate::api::registry::Told;
use crate::engine::instances::{Rename, Wish};
use crate::lease::directory::Identifiers;

use super::fields::{hex, hostname, parsed};
use super::{Answer, Api, NamesQuery, one};

/// All tags of an instance, as JSON: with the rest of it they are one record of the store.
const TAGS_BYTES_MAX: usize = 2000;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, change, end))
}

/// Body of `POST /v1/instances`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct InstanceRequest {
    /// What to call it; made if not said. The same request again finds the same instance.
    #[schema(pattern = "^[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,63}$", max_length = 64)]
    id: Option<String>,
    /// The network that it will be on.
    #[schema(required, max_length = 64)]
    network: String,
    /// Whom it belongs to: an account that is declared or was made.
    #[schema(max_length = 64)]
    account: Option<String>,
    /// What runs in it: an application of the account.
    #[schema(max_length = 64)]
    application: Option<String>,
    /// Its MAC. Without it, a DUID and a port, one is made for it to boot with.
    #[schema(max_length = 17)]
    mac: Option<String>,
    /// Its DUID, in hexadecimal.
    #[schema(max_length = 400)]
    duid: Option<String>,
    /// Circuit id (DHCPv4) or interface-id (DHCPv6) of its port, in hexadecimal.
    #[schema(max_length = 770)]
    port_id: Option<String>,
    /// The name it is told: labels of letters, digits and inner hyphens.
    #[schema(max_length = 253)]
    hostname: Option<String>,
    /// Where it runs.
    #[schema(max_length = 64)]
    region: Option<String>,
    /// Whatever its maker wants to find it by; 32 at most, each of up to 64 and 256 bytes.
    tags: BTreeMap<String, String>,
    /// Which of the network's IPv4 subnets, where it has several behind relays.
    #[schema(max_length = 18)]
    subnet: Option<String>,
    /// The same for IPv6.
    #[schema(max_length = 43)]
    subnet6: Option<String>,
    /// The IPv4 address that it would like.
    #[schema(max_length = 15)]
    address: Option<String>,
    /// The IPv6 address that it would like.
    #[schema(max_length = 39)]
    address6: Option<String>,
}

/// Body of `PATCH /v1/instances/{id}`: what is not there stays as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct InstanceChange {
    /// Its MAC from now on.
    #[schema(max_length = 17)]
    mac: Option<String>,
    /// Its DUID, in hexadecimal.
    #[schema(max_length = 400)]
    duid: Option<String>,
    /// The name it is told; none if empty.
    #[schema(max_length = 253)]
    hostname: Option<String>,
    /// Where it runs; nowhere if empty.
    #[schema(max_length = 64)]
    region: Option<String>,
    /// All its tags.
    tags: Option<BTreeMap<String, String>>,
}

/// A page of instances.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
struct InstancesView {
    /// In the order of their ids.
    instances: Vec<InstanceView>,
    /// `cursor` of the next page; absent on the last. A page may be short, and yet not the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    next: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Of this account.
    #[param(max_length = 64, required = false)]
    account: Option<String>,
    /// Of this application.
    #[param(max_length = 64, required = false)]
    application: Option<String>,
    /// On this network.
    #[param(max_length = 64, required = false)]
    network: Option<String>,
}

async fn ask(
    api: &Api,
    caller: Caller,
    conditions: Conditions,
    what: InstanceDeed,
) -> Result<Told<InstanceView>, Problem> {
    api.ask_about(caller, conditions, what, Command::Instances).await
}

/// Instances, in the order of their ids.
#[utoipa::path(
    get,
    path = "/v1/instances",
    tag = "instances",
    security(("bearer" = ["read"])),
    params(ListQuery, NamesQuery),
    responses((status = 200, description = "A page of instances.", body = InstancesView)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Query(query): Query<ListQuery>,
    Query(page): Query<NamesQuery>,
) -> Answer<InstancesView> {
    let what = InstanceDeed::List(Listing {
        account: query.account.map(Into::into),
        application: query.application.map(Into::into),
        network: query.network.map(Into::into),
        after: page.cursor(),
        limit: page.limit(),
    });
    let Told { entries: instances, next, .. } = ask(&api, caller, conditions, what).await?;
    Ok(Json(InstancesView { instances, next }))
}

/// Registers an instance before it boots: the answer has its addresses, durable.
#[utoipa::path(
    post,
    path = "/v1/instances",
    tag = "instances",
    security(("bearer" = ["operate"])),
    request_body = InstanceRequest,
    responses(
        (status = 201, description = "The instance, with its addresses.", body = InstanceView,
            headers(("Location", description = "Where it can be read."))),
        (status = 200, description = "It was there already, with the same content.",
            body = InstanceView),
    ),
)]
async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Body(request): Body<InstanceRequest>,
) -> Result<Response, Problem> {
    caller.allow_account(request.account.as_deref())?;
    let network = api.network(Some(&request.network)).await?;
    let wish = Wish { network, ..wish(request)? };
    let told = ask(&api, caller, conditions, InstanceDeed::Create(Box::new(wish))).await?;
    let status = if told.new { StatusCode::CREATED } else { StatusCode::OK };
    let view = one(told)?;
    let place = format!("/v1/instances/{}", escape(&view.id));
    Ok((status, [(header::LOCATION, place)], Json(view)).into_response())
}

/// One instance.
#[utoipa::path(
    get,
    path = "/v1/instances/{id}",
    tag = "instances",
    security(("bearer" = ["read"])),
    params(("id" = String, Path, description = "Its id.", max_length = 64)),
    responses(
        (status = 200, description = "All that is known.", body = InstanceView, headers(("ETag"))),
        (status = 304, description = "It is what `If-None-Match` says."),
    ),
)]
async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(id): Named,
) -> Result<Response, Problem> {
    let told = ask(&api, caller, conditions.clone(), InstanceDeed::Show(id.into())).await?;
    conditions.answer(&one(told)?)
}

/// Changes what is said of an instance; its addresses stay.
#[utoipa::path(
    patch,
    path = "/v1/instances/{id}",
    tag = "instances",
    security(("bearer" = ["operate"])),
    params(("id" = String, Path, description = "Its id.", max_length = 64)),
    request_body = InstanceChange,
    responses((status = 200, description = "As it is now.", body = InstanceView)),
)]
async fn change(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(id): Named,
    Body(request): Body<InstanceChange>,
) -> Answer<InstanceView> {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let hostname = request.hostname.map(|name| hostname(some(name))).transpose()?;
    let change = Rename {
        mac: parsed("mac", request.mac, "52:54:00:12:34:56")?,
        duid: hex("duid", request.duid)?,
        hostname,
        region: request.region.map(|region| some(region).map(Into::into)),
        tags: request.tags.map(tags).transpose()?,
    };
    let what = InstanceDeed::Change(id.into(), Box::new(change));
    Ok(Json(one(ask(&api, caller, conditions, what).await?)?))
}

/// Ends an instance: what it has ends at once, and is free once the wire is silent or its time over.
#[utoipa::path(
    delete,
    path = "/v1/instances/{id}",
    tag = "instances",
    security(("bearer" = ["operate"])),
    params(("id" = String, Path, description = "Its id.", max_length = 64)),
    responses((status = 200, description = "As it was.", body = InstanceView)),
)]
async fn end(
    State(api): State<Arc<Api>>,
    caller: Caller,
    conditions: Conditions,
    Named(id): Named,
) -> Answer<InstanceView> {
    Ok(Json(one(ask(&api, caller, conditions, InstanceDeed::End(id.into())).await?)?))
}

fn wish(request: InstanceRequest) -> Result<Wish, Problem> {
    Ok(Wish {
        id: request.id.map(Into::into),
        network: None,
        account: request.account.map(Into::into),
        application: request.application.map(Into::into),
        who: Identifiers {
            mac: parsed("mac", request.mac, "52:54:00:12:34:56")?,
            duid: hex("duid", request.duid)?,
            client_id: None,
            port: hex("port_id", request.port_id)?,
        },
        hostname: hostname(request.hostname)?,
        region: request.region.map(Into::into),
        tags: tags(request.tags)?,
        subnet: parsed("subnet", request.subnet, "10.0.0.0/24")?,
        subnet6: parsed("subnet6", request.subnet6, "2001:db8::/64")?,
        v4: parsed("address", request.address, "10.0.0.7")?,
        v6: parsed("address6", request.address6, "2001:db8::7")?,
    })
}

fn tags(tags: BTreeMap<String, String>) -> Result<BTreeMap<Box<str>, Box<str>>, Problem> {
    let long = |(key, value): &(&String, &String)| key.len() > 64 || value.len() > 256;
    // As they are kept: what must be escaped counts for more.
    let bytes = serde_json::to_vec(&tags).map_or(usize::MAX, |json| json.len());
    if tags.len() > 32 || tags.iter().any(|tag| long(&tag)) || bytes > TAGS_BYTES_MAX {
        let want = format!(
            "found {bytes} bytes as JSON, want {TAGS_BYTES_MAX} at most, and 32 tags at most, each \
             of up to 64 and 256 bytes"
        );
        return Err(Problem::unfit("tags", want));
    }
    Ok(tags.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
}
