//! How predictions and shadows are asked for and shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::leases::{network_text, time_text};
use crate::base::{Sort, Timestamp};
use crate::config::Policy;
use crate::engine::Engine;
use crate::engine::shadows::Tally;
use crate::lease::directory::Foresight;
use crate::lease::{Foreseer, Lease, Line, Owner};

/// How many instances will start, as somebody says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PredictionRequest {
    /// On which network.
    #[schema(max_length = 64)]
    pub network: String,
    /// Whose.
    #[schema(max_length = 64)]
    pub account: String,
    /// Of which application; of any if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub application: Option<String>,
    /// How many will start within the horizon: 0 to 1,000,000.
    pub count: i64,
    /// Its length in seconds, 10 to 604,800; 900 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizon_s: Option<i64>,
    /// Quantiles between 0 and 1, and how many it will not be more than with that probability, as in
    /// `{"0.5": 4, "0.95": 9}`. The level of the account says which one is held.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quantiles: BTreeMap<String, i64>,
    /// Until when it is believed (RFC 3339); until the end of its horizon if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub valid_until: Option<String>,
    /// When it was made (RFC 3339), if not now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub made: Option<String>,
    /// What type of instance.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64)]
    pub instance_type: Option<String>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64)]
    pub region: Option<String>,
    /// What one of them needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<Requirements>,
}

/// What an instance needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Requirements {
    /// Thousandths of a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1000000000)]
    pub cpu_milli: Option<u32>,
    /// Memory in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1000000000)]
    pub memory_mib: Option<u32>,
    /// Traffic in Mbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1000000000)]
    pub network_mbit: Option<u32>,
}

/// What is foreseen for an owner on a network, and what is held for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PredictionView {
    /// Its id.
    pub id: String,
    /// On which network.
    pub network: String,
    /// Whose.
    pub account: String,
    /// Of which application; of any if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Who says so: `prediction` or `forecast`.
    pub by: String,
    /// How many were expected.
    pub count: u32,
    /// Quantiles in percent, and how many it will not be more than with that probability.
    pub quantiles: BTreeMap<String, u32>,
    /// What type of instance.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What one of them needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requirements: Option<Requirements>,
    /// When it was said.
    pub made: String,
    /// Until when it is believed.
    pub until: String,
    /// How many IPv4 addresses are to be held for it and for what the policy keeps ready.
    pub wanted: u32,
    /// The same of IPv6.
    pub wanted6: u32,
    /// It calls for more than is held for this owner at most (`shadow.max`), so that `wanted` is that.
    pub clamped: bool,
    /// How many IPv4 addresses are held and ready.
    pub ready: usize,
    /// The same of IPv6.
    pub ready6: usize,
}

/// What is foreseen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PredictionsView {
    /// For each owner and network.
    pub predictions: Vec<PredictionView>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A demand shadow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ShadowView {
    /// The address that is held.
    pub address: String,
    /// Its network.
    pub network: String,
    /// For whom.
    pub account: String,
    /// For which application; for any of the account's if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// `ready`, `unproven` (the wire has not been asked yet), or `promised` (offered to a client).
    pub state: String,
    /// On whose word: `policy`, `prediction`, `forecast` or `operator`.
    pub by: String,
    /// The prediction that it is held for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<String>,
    /// What type of instance is foreseen.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// Since when it is held.
    pub since: String,
    /// When it is free again if nobody claims it.
    pub until: String,
}

/// Shadows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShadowsView {
    /// In no order.
    pub shadows: Vec<ShadowView>,
    /// Where the next page begins; a page may be short, and yet not the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Addresses to be held by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShadowRequest {
    /// On which network.
    #[schema(max_length = 64)]
    pub network: String,
    /// For whom.
    #[schema(max_length = 64)]
    pub account: String,
    /// For which application; for any if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub application: Option<String>,
    /// How many.
    #[schema(minimum = 1, maximum = 1000)]
    pub count: u32,
    /// For so many seconds; `[shadow] max_age` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2592000)]
    pub seconds: Option<u32>,
    /// Of which family; IPv4 if not said.
    #[serde(default)]
    pub family: Family,
    /// What type of instance.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64)]
    pub instance_type: Option<String>,
}

/// How long a shadow is to be held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShadowChange {
    /// For so many seconds from now on.
    #[schema(minimum = 1, maximum = 2592000)]
    pub seconds: u32,
}

/// Of which family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Family {
    /// IPv4.
    #[default]
    #[serde(rename = "ipv4")]
    V4,
    /// IPv6.
    #[serde(rename = "ipv6")]
    V6,
}

/// What an instance would find.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct AvailableView {
    /// The address that is ready first; absent if there is none. To claim it, make an instance with
    /// it: who is late is told 409.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its network.
    pub network: String,
    /// How many are ready.
    pub available: usize,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it is free again if nobody claims it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// What came of the shadows of an owner since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TallyView {
    /// Whose.
    pub account: String,
    /// Of which application; of instances without one if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Instances that came.
    pub creates: u64,
    /// Of these, such that found an address that was held, proven and durable before.
    pub hits: u64,
    /// Such that found one that was not proven or not durable yet.
    pub unready: u64,
    /// Such that found none.
    pub misses: u64,
    /// Shadows that were made.
    pub held: u64,
    /// That nobody claimed in their time.
    pub aged: u64,
    /// That were given back.
    pub given_back: u64,
    /// That gave way to clients of others.
    pub yielded: u64,
    /// Whose address somebody answered for.
    pub conflicts: u64,
    /// How long shadows were held that nobody claimed, in seconds.
    pub unused_s: f64,
}

impl PredictionView {
    pub(super) fn of(
        engine: &Engine,
        now: Timestamp,
        of: &Foresight,
        policy: &Policy,
    ) -> PredictionView {
        let said = &of.current;
        let [four, six] = engine.wanted(now, of.network, &of.owner);
        let ready = |sort| {
            let line = Line { network: of.network, sort, owner: of.owner.clone() };
            engine.leases().shadows().stocked(&line).ready
        };
        let text = |text: &Option<Box<str>>| text.as_deref().map(Into::into);
        PredictionView {
            id: said.id.to_string(),
            network: network_text(of.network, policy),
            account: of.owner.0.to_string(),
            application: of.owner.1.as_deref().map(Into::into),
            by: said.by.as_str().into(),
            count: said.count,
            quantiles: said.quantiles.iter().map(|(q, n)| (format!("{q}%"), *n)).collect(),
            instance_type: text(&said.instance_type),
            region: text(&said.region),
            requirements: said.requirements.as_deref().and_then(|r| serde_json::from_str(r).ok()),
            made: time_text(said.made),
            until: time_text(said.until),
            wanted: four.all,
            wanted6: six.all,
            clamped: four.predicted.max(four.ready) > four.all && four.predicted > four.all,
            ready: ready(Sort::V4),
            ready6: ready(Sort::V6),
        }
    }
}

impl ShadowView {
    pub(super) fn of(engine: &Engine, lease: &Lease, policy: &Policy) -> ShadowView {
        let (shadows, resource) = (engine.leases().shadows(), lease.resource);
        let line = Line::of(lease);
        let is = |test: &dyn Fn(&Line) -> bool| line.as_ref().is_some_and(test);
        let state = if is(&|line| shadows.is_promised(line, resource)) {
            "promised"
        } else if is(&|line| shadows.proven(line, resource).is_some()) {
            "ready"
        } else {
            "unproven"
        };
        let foreseen = lease.details.foreseen.as_deref();
        let text = |text: Option<&str>| text.map(str::to_owned);
        ShadowView {
            address: resource.to_string(),
            network: network_text(lease.network, policy),
            account: text(lease.details.account.as_deref()).unwrap_or_default(),
            application: text(lease.details.application.as_deref()),
            state: state.into(),
            by: foreseen.map_or(Foreseer::Policy, |f| f.by).as_str().into(),
            prediction: text(foreseen.and_then(|f| f.prediction.as_deref())),
            instance_type: text(foreseen.and_then(|f| f.instance_type.as_deref())),
            since: time_text(lease.since),
            until: time_text(lease.until),
        }
    }
}

impl TallyView {
    pub(super) fn of(owner: &Owner, tally: &Tally) -> TallyView {
        TallyView {
            account: owner.0.to_string(),
            application: owner.1.as_deref().map(Into::into),
            creates: tally.creates,
            hits: tally.hits,
            unready: tally.unready,
            misses: tally.misses,
            held: tally.held,
            aged: tally.aged,
            given_back: tally.given_back,
            yielded: tally.yielded,
            conflicts: tally.conflicts,
            unused_s: tally.unused_ms as f64 / 1000.0,
        }
    }
}
