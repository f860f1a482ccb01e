//! The configuration after every check: immutable, shared, and free of things that can be wrong.
//!
//! Everything the packet path needs is precomputed here: options are wire bytes, names are
//! numbers, ranges are ordered.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::base::addr::write_hex;
use crate::base::{HwAddr, Mac, NetworkId, Prefix4, Prefix6, Range4, Span};

pub use super::accounts::{
    ACCOUNT_BYTES_MAX, ACCOUNTS_MAX, APPLICATIONS_MAX, Account, Application, Block, HOLD_MAX, Hold,
    Level, PRIORITY_MAX, Terms,
};
pub use super::agents::{AgentHost, AgentsPolicy, AgentsTls};
pub use super::api::{ApiLimits, ApiPolicy, ClientPolicy, Role, TlsPolicy, TokenPolicy};
pub use super::audit::AuditPolicy;
pub use super::driver::{DRIVER_NAMES, DriverPolicy, DriverWay};
pub use super::forecast::{ForecastMode, ForecastPolicy};
pub use super::guard::GuardPolicy;
pub use super::hook::{HOOK_EVENTS, HookPolicy, HookWay};
pub use super::lifecycle::Lifecycle;
pub use super::limits::{Limits, Rate};
pub use super::metrics::MetricsPolicy;
pub use super::pattern::Pattern;
pub use super::policy_server::{LogPolicy, ServerPolicy, StorePolicy};
pub use super::policy6::*;
pub use super::reconcile::{Reconcile, ReconcileMode, Speaker};
pub use super::relocation::{MoveWeights, Relocation, RelocationMode};
pub use super::scrape::{Credentials, ScrapeMetric, ScrapePolicy, ScrapeUrl, Source};
pub use super::shadow::{SHADOWS_MAX, ShadowPolicy, ShadowTerms};
pub use super::standby::{Detect, OnFailure, StandbyPolicy};
pub use super::telemetry::{TelemetryLimits, TelemetryPolicy};
pub use super::tiers::{Tier, TierOrder, TierPolicy, Tiers};

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `[server]`: paths and the control socket.
    pub server: ServerPolicy,
    /// `[log]`.
    pub log: LogPolicy,
    /// `[store]`.
    pub store: StorePolicy,
    /// `[audit]`.
    pub audit: AuditPolicy,
    /// `[metrics]`.
    pub metrics: MetricsPolicy,
    /// `[api]`.
    pub api: ApiPolicy,
    /// `[telemetry]`.
    pub telemetry: Arc<TelemetryPolicy>,
    /// `[[scrape]]`.
    pub scrapes: Arc<[ScrapePolicy]>,
    /// `[[hook]]`.
    pub hooks: Arc<[HookPolicy]>,
    /// `[agents]`.
    pub agents: Arc<AgentsPolicy>,
    /// `[[driver]]`.
    pub drivers: Arc<[Arc<DriverPolicy>]>,
    /// `[shadow]`.
    pub shadow: ShadowPolicy,
    /// `[forecast]`.
    pub forecast: ForecastPolicy,
    /// Interfaces that carry relayed packets and no network of ours (`server.relay_interfaces`).
    pub relay_interfaces: Vec<Pattern>,
    /// `[[network]]`, in the order of the file.
    pub networks: Vec<Network>,
    /// `[[class]]`, in the order of the file; a [`ClassId`] indexes it.
    pub classes: Vec<Class>,
    /// `[[account]]`, in the order of the file.
    pub accounts: Vec<Arc<Account>>,
    /// `[options]` and boot fields at the top level.
    pub settings: Settings,
}

/// `[[network]]`: one layer-2 segment.
#[derive(Clone, Debug)]
pub struct Network {
    /// Identity in the store, from the name.
    pub id: NetworkId,
    /// Name in the file.
    pub name: Arc<str>,
    /// Interfaces it is served on; none for a network that only relays reach.
    pub interfaces: Vec<Pattern>,
    /// Bridge ports on which DHCPv4 relays are believed: of `relays`, and such that set no giaddr.
    pub trusted_ports: Vec<Pattern>,
    /// Bridge ports that lead to many clients (uplinks): no per-port share of offers, and the
    /// relays of `relays` are believed.
    pub trunk_ports: Vec<Pattern>,
    /// Which giaddrs are believed for this network; none by default. Of what comes by a port of
    /// a bridge, only by those above.
    pub relays: Vec<Prefix4>,
    /// Whether this server may say NAK for what it does not know (RFC 2131 s4.3.2).
    pub authoritative: bool,
    /// How clients are told apart.
    pub identity: Identity,
    /// Server identifier; by default the interface's address in the client's subnet.
    pub server_id: Option<Ipv4Addr>,
    /// Answer DISCOVER with rapid commit by an ACK (RFC 4039), and SOLICIT by a REPLY (RFC 9915
    /// s18.3.1).
    pub rapid_commit: bool,
    /// Who is served by BOOTP.
    pub bootp: Bootp,
    /// The background verifier.
    pub verify: Verify,
    /// How long an offer is held (default 30 s).
    pub offer_hold: Span,
    /// How long a declined or conflicting address rests (default 10 min).
    pub quarantine: Span,
    /// How long the address of a destroyed instance is kept back (`hold`).
    pub hold: Hold,
    /// A pool with no more than this share of it free is short (`short`, default 5), in percent.
    pub short_percent: u8,
    /// What makes an address worth keeping for those who had it.
    pub lifecycle: Lifecycle,
    /// Shares of each of its pools; `None` if there are none.
    pub tiers: Option<Tiers>,
    /// Who is moved where the hot one runs short.
    pub relocation: Relocation,
    /// Standbys of its clients.
    pub standby: StandbyPolicy,
    /// What the ports of its guests may say.
    pub guard: GuardPolicy,
    /// What answers on the wire, compared with what is bound.
    pub reconcile: Reconcile,
    /// At most this many DECLINEs of one client are believed per quarantine time (default 4).
    pub declines_max: u32,
    /// At most this many offers are held at once (default 65,536).
    pub offers_max: usize,
    /// How fast its guests may ask, and how much one of them may hold.
    pub limits: Limits,
    /// Options, boot fields, times and account at network level.
    pub settings: Settings,
    /// Its subnets, in the order of the file.
    pub subnets: Vec<Subnet>,
    /// Reservations, of all its subnets.
    pub reservations: Vec<Reservation>,
    /// What it says of IPv6 as a whole.
    pub v6: Network6,
    /// Its IPv6 subnets, in the order of the file.
    pub subnets6: Vec<Subnet6>,
    /// IPv6 reservations, of all its subnets.
    pub reservations6: Vec<Reservation6>,
}

/// `network.identity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Identity {
    /// Client identifier, but a second live machine with the same one is a client of its own.
    #[default]
    CloneSafe,
    /// Strictly RFC 2131: client identifier, else hardware address.
    ClientId,
    /// Hardware address only.
    Mac,
    /// The relay's circuit and remote id; clients without are known by hardware address.
    CircuitId,
}

impl Identity {
    /// Whether a second live machine with the same identifier is a client of its own.
    pub fn is_clone_safe(self) -> bool {
        self == Identity::CloneSafe
    }
}

/// `network.bootp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Bootp {
    /// Counted and dropped.
    #[default]
    Off,
    /// Only clients with a reservation.
    Reserved,
    /// Reservations, and pool addresses without end.
    Any,
}

/// `[network.verify]`: proving addresses free before they are offered.
#[derive(Clone, Copy, Debug)]
pub struct Verify {
    /// Off: addresses are offered unproven.
    pub enabled: bool,
    /// How many proven addresses each pool keeps ready (default 64).
    pub ready: usize,
    /// ARP probes per second on this network at most (default 200).
    pub probes_per_s: u32,
    /// How long to wait for an answer (default 100 ms).
    pub wait: Span,
    /// How long a proof holds (default 5 min).
    pub fresh: Span,
}

impl Verify {
    /// What holds where nothing is configured.
    pub const DEFAULT: Verify = Verify {
        enabled: true,
        ready: 64,
        probes_per_s: 200,
        wait: Span::from_ms(100),
        fresh: Span::from_secs(300),
    };
}

/// A subnet.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// Its prefix.
    pub prefix: Prefix4,
    /// Where it is, if it says so.
    pub region: Option<Arc<str>>,
    /// Options, boot fields, times and account at subnet level.
    pub settings: Settings,
    /// Disjoint and in ascending order.
    pub pools: Vec<Pool>,
}

/// A range of addresses that are given to whoever asks and may.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The addresses.
    pub range: Range4,
    /// Addresses of the range that are never given dynamically: `exclude` and the reserved ones;
    /// disjoint and in ascending order.
    pub excluded: Vec<Range4>,
    /// If not empty: only clients of one of these classes.
    pub allow: Vec<ClassId>,
    /// Never clients of one of these classes.
    pub deny: Vec<ClassId>,
    /// Options, boot fields and times at pool level.
    pub settings: Settings,
}

/// Index into [`Policy::classes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u16);

/// `[[class]]`: clients that have something in common.
#[derive(Clone, Debug)]
pub struct Class {
    /// Name in the file.
    pub name: Arc<str>,
    /// Who belongs to it.
    pub matcher: Matcher,
    /// Which tiers its members use, if it says so.
    pub tier: Option<TierOrder>,
    /// Options, boot fields, times and account of its members.
    pub settings: Settings,
}

/// All lists that are not empty must match; a list matches when one entry does. A list of the
/// other protocol's, not empty, is matched by nobody: see [`Matcher::only_v4`] and
/// [`Matcher::only_v6`].
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    /// Option 60: glob on the text. DHCPv6: any of the data of option 16.
    pub vendor_class: Vec<Pattern>,
    /// Option 77: glob on any of its instances, or on the whole (RFC 3004; iPXE sends bare text).
    /// DHCPv6: any of the data of option 15.
    pub user_class: Vec<Pattern>,
    /// Leading bytes of the hardware address; for DHCPv6 the one of [`HostId6::Hardware`].
    pub mac_prefix: Vec<Vec<u8>>,
    /// Option 12, or the name of option 81 (DHCPv6: 39), in lower case: glob.
    pub hostname: Vec<Pattern>,
    /// Option 93, any of its values (RFC 4578 s2.1). DHCPv6: option 61 (RFC 5970 s3.3).
    pub arch: Vec<u16>,
    /// Whole circuit id of the relay agent (RFC 3046).
    pub circuit_id: Vec<Bytes>,
    /// Whole remote id of the relay agent; for DHCPv6 without its enterprise number (RFC 4649).
    pub remote_id: Vec<Bytes>,
    /// The relay: a prefix that holds giaddr.
    pub giaddr: Vec<Prefix4>,
    /// Leading bytes of the DUID.
    pub duid_prefix: Vec<Vec<u8>>,
    /// Whole interface-id of the relay next to the client (RFC 9915 s21.18).
    pub interface_id: Vec<Bytes>,
    /// Whole subscriber-id of a DHCPv6 relay (RFC 4580).
    pub subscriber_id: Vec<Bytes>,
    /// The DHCPv6 relay next to the client: a prefix that holds its link-address.
    pub link_address: Vec<Prefix6>,
}

/// Opaque bytes of an identifier.
pub type Bytes = Box<[u8]>;

/// A fixed client-to-address entry.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// Who.
    pub host: HostId,
    /// Which address; within a subnet of its network.
    pub addr: Ipv4Addr,
    /// Host name told to the client (option 12) and written to the hosts file.
    pub hostname: Option<Arc<str>>,
    /// Options, boot fields, times and account of this host.
    pub settings: Settings,
}

/// How a reservation knows its client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostId {
    /// Hardware address.
    Hardware(HwAddr),
    /// Whole client identifier (option 61).
    ClientId(Bytes),
    /// Whole circuit id of the relay.
    CircuitId(Bytes),
    /// Whole remote id of the relay.
    RemoteId(Bytes),
}

/// As the configuration says it: the key, and its value.
impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, bytes) = match self {
            HostId::Hardware(hw) => return write!(f, "mac {hw}"),
            HostId::ClientId(id) => ("client_id", id),
            HostId::CircuitId(id) => ("circuit_id", id),
            HostId::RemoteId(id) => ("remote_id", id),
        };
        write!(f, "{key} ")?;
        write_hex(f, bytes, ":")
    }
}

impl From<Mac> for HostId {
    fn from(mac: Mac) -> HostId {
        HostId::Hardware(HwAddr::ethernet(mac))
    }
}

/// What can be said at every level; the nearest level that says something wins:
/// reservation, class (in the order of the file), pool, subnet, network, global.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// DHCPv4 options.
    pub options: OptionSet,
    /// DHCPv6 options.
    pub options6: OptionSet6,
    /// siaddr (`next_server`).
    pub next_server: Option<Ipv4Addr>,
    /// sname (`server_name`), up to 63 bytes.
    pub server_name: Option<Arc<str>>,
    /// file, or option 67 where it is too long for it (`boot_file`).
    pub boot_file: Option<Arc<str>>,
    /// Lease times.
    pub lease: LeaseTimes,
    /// Whom such clients belong to.
    pub account: Option<Arc<str>>,
    /// What runs in such clients, of the account of this level or of one nearer.
    pub application: Option<Arc<str>>,
}

/// Lease times at one level; what is `None` comes from the next level out, at last from
/// [`LeaseTimes::DEFAULT`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseTimes {
    /// Shortest that a client may ask for.
    pub min: Option<Span>,
    /// What a client gets that does not ask.
    pub default: Option<Span>,
    /// Longest; [`Span::FOREVER`] only where the file says `"infinite"`.
    pub max: Option<Span>,
    /// Renewal time T1, absolute; half of the lease by default. DHCPv6: half of the shortest
    /// preferred lifetime.
    pub t1: Option<Span>,
    /// Rebinding time T2, absolute; 7/8 of the lease by default. DHCPv6: 0.8 of the shortest
    /// preferred lifetime (RFC 9915 s21.4).
    pub t2: Option<Span>,
    /// DHCPv6: preferred lifetime where the valid one, which the three times above bound, is not
    /// shorter; by default the same as the valid one. See [`LeaseTimes::preferred_of`].
    pub preferred: Option<Span>,
    /// Whether what a client gets that does not ask depends on how steady it is and on how much of
    /// its pool is free, between `min` and `max`.
    pub adaptive: Option<bool>,
    /// T1 and T2, where they are not said, come earlier by up to so many percent, for each client by
    /// another share (RFC 2131 s4.4.5), so that clients do not renew together.
    pub jitter: Option<u8>,
}

impl LeaseTimes {
    /// Where nothing is configured: 2 min, 1 h, 24 h; not adaptive, with 10 % of jitter.
    pub const DEFAULT: LeaseTimes = LeaseTimes {
        min: Some(Span::from_secs(120)),
        default: Some(Span::from_secs(3600)),
        max: Some(Span::from_secs(86_400)),
        t1: None,
        t2: None,
        preferred: None,
        adaptive: Some(false),
        jitter: Some(10),
    };
}

/// Options of one level, encoded, ordered by code; one entry per code.
#[derive(Clone, Debug, Default)]
pub struct OptionSet {
    /// Ascending by code.
    entries: Vec<PolicyOption>,
    /// A bit for each code: most of what clients ask for most levels do not have.
    codes: [u64; 4],
}

/// One configured option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyOption {
    /// Option code, 1 to 254.
    pub code: u8,
    /// Its value on the wire, unsplit (may be over 255 bytes: RFC 3396).
    pub data: Bytes,
    /// Sent even if the client did not ask for it.
    pub always: bool,
}

impl OptionSet {
    /// A set of these; of several with one code, the first in order counts.
    pub fn new(mut entries: Vec<PolicyOption>) -> OptionSet {
        entries.sort_by_key(|option| option.code);
        entries.dedup_by_key(|option| option.code);
        let mut codes = [0; 4];
        for option in &entries {
            codes[usize::from(option.code >> 6)] |= 1 << (option.code & 63);
        }
        OptionSet { entries, codes }
    }

    /// All, ascending by code.
    pub fn entries(&self) -> &[PolicyOption] {
        &self.entries
    }

    /// The option of that code.
    pub fn get(&self, code: u8) -> Option<&PolicyOption> {
        if self.codes[usize::from(code >> 6)] & 1 << (code & 63) == 0 {
            return None;
        }
        let at = self.entries.binary_search_by_key(&code, |o| o.code).ok()?;
        self.entries.get(at)
    }
}

impl Pool {
    /// Whether `addr` is one that this pool gives out.
    pub fn gives(&self, addr: Ipv4Addr) -> bool {
        let after = self.excluded.partition_point(|gap| gap.first <= addr);
        let gap = after.checked_sub(1).and_then(|at| self.excluded.get(at));
        self.range.contains(addr) && !gap.is_some_and(|gap| gap.contains(addr))
    }
}

impl Policy {
    /// The network that is served on the interface called `name`: the one that names it in full,
    /// else the first in the file with a pattern for it.
    pub fn network_on(&self, name: &str) -> Option<&Network> {
        let find = |literal: bool| {
            let claims = |p: &Pattern| p.is_literal() == literal && p.matches(name.as_bytes());
            self.networks.iter().find(|n| n.interfaces.iter().any(claims))
        };
        find(true).or_else(|| find(false))
    }
}

impl Network {
    /// The subnet whose prefix holds `addr`.
    pub fn subnet_of(&self, addr: Ipv4Addr) -> Option<&Subnet> {
        self.subnets.iter().find(|s| s.prefix.contains(addr))
    }

    /// Whether a subnet is on the link itself, and not one that only relays reach.
    pub fn is_local(&self, prefix: Prefix4) -> bool {
        !self.has_relays_in(prefix) && !self.interfaces.is_empty()
    }

    /// Whether believed relays can live in a subnet: then it is a link of its own.
    pub fn has_relays_in(&self, prefix: Prefix4) -> bool {
        self.relays.iter().any(|r| r.range().overlaps(&prefix.range()))
    }

    /// Whether relays at `giaddr` are believed for this network.
    pub fn believes(&self, giaddr: Ipv4Addr) -> bool {
        self.relays.iter().any(|p| p.contains(giaddr))
    }
}
