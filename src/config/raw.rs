//! The file as it was read: every value understood by itself and with its place, nothing yet
//! compared with anything else. `None` stands where a fault was reported already.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::base::{Prefix4, Range4, Span};

use super::accounts::{Hold, RawAccount};
use super::agents::AgentsPolicy;
use super::driver::DriverPolicy;
use super::fault::Place;
use super::guard::GuardPolicy;
use super::node::At;
use super::policy::{
    ApiPolicy, AuditPolicy, Bootp, ClassId, HookPolicy, HostId, Identity, Lifecycle, Limits,
    LogPolicy, Matcher, MetricsPolicy, Pattern, ScrapePolicy, ServerPolicy, Settings, ShadowPolicy,
    StorePolicy, TelemetryPolicy, TierOrder, Verify,
};
use super::raw6::RawNetwork6;
use super::reconcile::Reconcile;
use super::relocation::Relocation;
use super::standby::StandbyPolicy;
use super::tiers::RawTier;

/// The whole file.
pub(super) struct File {
    pub(super) server: ServerPolicy,
    pub(super) relay_interfaces: Vec<At<Pattern>>,
    pub(super) log: LogPolicy,
    pub(super) store: StorePolicy,
    pub(super) audit: AuditPolicy,
    pub(super) metrics: MetricsPolicy,
    pub(super) api: ApiPolicy,
    pub(super) telemetry: TelemetryPolicy,
    pub(super) scrapes: Vec<ScrapePolicy>,
    pub(super) hooks: Vec<HookPolicy>,
    pub(super) agents: AgentsPolicy,
    pub(super) drivers: Vec<DriverPolicy>,
    pub(super) shadow: ShadowPolicy,
    pub(super) forecast: super::forecast::ForecastPolicy,
    pub(super) settings: RawSettings,
    pub(super) classes: Vec<RawClass>,
    pub(super) accounts: Vec<RawAccount>,
    pub(super) networks: Vec<RawNetwork>,
    /// Networks are written, even if what they say is wrong.
    pub(super) has_networks: bool,
}

/// Settings of one level; `settings.lease` is filled in by the check of lease times.
#[derive(Clone, Default)]
pub(super) struct RawSettings {
    pub(super) settings: Settings,
    pub(super) lease: RawLease,
}

/// Lease times as written at one level.
#[derive(Clone, Default)]
pub(super) struct RawLease {
    pub(super) min: Option<At<Span>>,
    pub(super) default: Option<At<Span>>,
    pub(super) max: Option<At<Span>>,
    pub(super) t1: Option<At<Span>>,
    pub(super) t2: Option<At<Span>>,
    pub(super) preferred: Option<At<Span>>,
    pub(super) adaptive: Option<bool>,
    pub(super) jitter: Option<u8>,
}

impl RawLease {
    /// Nothing is said.
    pub(super) const NONE: RawLease = RawLease {
        min: None,
        default: None,
        max: None,
        t1: None,
        t2: None,
        preferred: None,
        adaptive: None,
        jitter: None,
    };
}

/// `[[class]]`.
pub(super) struct RawClass {
    pub(super) name: Option<At<Arc<str>>>,
    pub(super) matcher: Matcher,
    pub(super) tier: Option<TierOrder>,
    pub(super) settings: RawSettings,
}

/// `[[network]]`.
pub(super) struct RawNetwork {
    pub(super) place: Place,
    pub(super) name: Option<At<Arc<str>>>,
    pub(super) interfaces: Vec<At<Pattern>>,
    /// `interfaces` or `relays` is there, even if what it says is wrong.
    pub(super) reachable: bool,
    pub(super) relays: Vec<At<Prefix4>>,
    pub(super) trusted_ports: Vec<Pattern>,
    pub(super) trunk_ports: Vec<Pattern>,
    pub(super) authoritative: bool,
    pub(super) identity: At<Identity>,
    pub(super) server_id: Option<At<Ipv4Addr>>,
    pub(super) rapid_commit: bool,
    pub(super) bootp: Bootp,
    pub(super) verify: Verify,
    pub(super) offer_hold: Span,
    pub(super) quarantine: Span,
    pub(super) hold: Hold,
    pub(super) short_percent: u8,
    pub(super) lifecycle: Lifecycle,
    pub(super) tiers: Option<[RawTier; 3]>,
    pub(super) relocation: Relocation,
    pub(super) standby: StandbyPolicy,
    pub(super) guard: GuardPolicy,
    pub(super) reconcile: Reconcile,
    pub(super) declines_max: u32,
    pub(super) offers_max: usize,
    pub(super) limits: Limits,
    pub(super) settings: RawSettings,
    pub(super) subnets: Vec<RawSubnet>,
    /// Those below the network; those below a subnet are there.
    pub(super) reservations: Vec<RawReservation>,
    pub(super) v6: RawNetwork6,
}

/// `[[network.subnet]]`.
pub(super) struct RawSubnet {
    pub(super) prefix: Option<At<Prefix4>>,
    pub(super) region: Option<Arc<str>>,
    /// Pools are written, even if what they say is wrong.
    pub(super) has_pools: bool,
    pub(super) pools: Vec<RawPool>,
    pub(super) reservations: Vec<RawReservation>,
    pub(super) settings: RawSettings,
}

/// `[[network.subnet.pool]]`, or one entry of `pools`.
pub(super) struct RawPool {
    pub(super) range: At<Range4>,
    /// Written as a prefix, which leaves out the subnet's first and last address by itself.
    pub(super) is_prefix: bool,
    pub(super) exclude: Vec<At<Range4>>,
    pub(super) allow: Vec<ClassId>,
    pub(super) deny: Vec<ClassId>,
    pub(super) settings: RawSettings,
}

/// `[[network.reservation]]`.
pub(super) struct RawReservation {
    pub(super) host: Option<At<HostId>>,
    pub(super) addr: Option<At<Ipv4Addr>>,
    pub(super) hostname: Option<Arc<str>>,
    pub(super) settings: RawSettings,
}
