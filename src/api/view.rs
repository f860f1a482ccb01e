//! What goes over the control socket, and nothing else: the only types that are JSON.
//!
//! Times are RFC 3339 in UTC, `never` for what has no end; bytes are hexadecimal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A binding. On the way out all that is known is set; an import needs only `address`, `until`
/// and one of `client` and `hardware`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseView {
    /// The network's name; `#` and eight hexadecimal digits where the policy has none for it.
    /// An import without one goes by subnet.
    #[schema(max_length = 64)]
    pub network: Option<String>,
    /// The address or prefix.
    #[schema(max_length = 64)]
    pub address: String,
    /// `leased` (also what an empty text means), `expired`, `released`, `declined`, `in-use`,
    /// `quarantined` or `leaving`.
    #[schema(max_length = 16)]
    pub state: String,
    /// The client's key: its kind (`hw`, `id`, `circuit`, `clone`, `ia`, `ia-pd`, `ia-clone`) and
    /// hexadecimal.
    #[schema(max_length = 2048)]
    pub client: Option<String>,
    /// Hardware address.
    #[schema(max_length = 64)]
    pub hardware: Option<String>,
    /// Host name.
    #[schema(max_length = 255)]
    pub hostname: Option<String>,
    /// Whom the client belongs to.
    #[schema(max_length = 255)]
    pub account: Option<String>,
    /// What runs in the client, of its account.
    #[schema(max_length = 255)]
    pub application: Option<String>,
    /// The registered instance that it is kept for; of a delegated prefix, the one that has it.
    #[schema(max_length = 255)]
    pub instance: Option<String>,
    /// When this client first got this resource.
    #[schema(max_length = 64)]
    pub since: Option<String>,
    /// When it was last acknowledged or changed.
    #[schema(max_length = 64)]
    pub updated: Option<String>,
    /// When the state ends, or ended.
    #[schema(max_length = 64)]
    pub until: Option<String>,
    /// Relay agent circuit id.
    #[schema(max_length = 4600)]
    pub circuit_id: Option<String>,
    /// Relay agent remote id.
    #[schema(max_length = 4600)]
    pub remote_id: Option<String>,
    /// The relay's address.
    #[schema(max_length = 64)]
    pub relay: Option<String>,
    /// Of a delegated prefix: the router that has it, as the server's host reaches it.
    #[schema(max_length = 64)]
    pub next_hop: Option<String>,
    /// The holder is a stage of a network boot.
    pub boot_stage: bool,
    /// Which share of its pool it counts for: `hot`, `warm` or `cold`. An import finds its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub tier: Option<String>,
    /// Since when its client is to move to another address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub draining: Option<String>,
    /// Which machine answered for an address that is `in-use`.
    #[schema(max_length = 64)]
    pub answered: Option<String>,
}

/// A page of bindings.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct LeasesView {
    /// In no promised order.
    pub leases: Vec<LeaseView>,
    /// `cursor` of the next page; absent on the last. A page may be empty and yet not the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// Body of `POST /v1/leases/import`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// At most 1,000 at once.
    #[schema(max_items = 1000)]
    pub leases: Vec<LeaseView>,
    /// Say what would be done, and do nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What became of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportView {
    /// How many were taken over; in a dry run, how many could be.
    pub imported: u64,
    /// Those that were not, with the reason.
    pub refused: Vec<RefusedView>,
}

/// A binding that was not imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedView {
    /// The address or prefix, as it was given.
    pub address: String,
    /// Why.
    pub reason: String,
}

/// What a reload did.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ReloadView {
    /// Networks in the policy that is in force now.
    pub networks: usize,
    /// What is odd, and yet no fault.
    pub warnings: Vec<String>,
}

/// Body of `POST /v1/backup`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// A directory that does not exist yet; an absolute path that the server may write.
    #[schema(max_length = 4095, pattern = "^/[^\\x00]+$")]
    pub directory: String,
}

/// The configuration in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigurationView {
    /// The file that it was read from.
    pub file: String,
    /// What was read, with `(secret)` where a secret stood.
    pub text: String,
}

/// Body of `POST /v1/configuration/check`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// A configuration, in TOML.
    #[schema(max_length = 4194304)]
    pub text: String,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckView {
    /// Whether it could be in force.
    pub valid: bool,
    /// Its faults and warnings, in the order of the file.
    pub faults: Vec<FaultView>,
    /// How many more there are.
    pub more: usize,
}

/// One fault of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FaultView {
    /// `error` or `warning`.
    pub severity: String,
    /// What sort of fault: a stable word.
    pub kind: String,
    /// Line, from 1; 0 if it is about no line.
    pub line: usize,
    /// Column in characters, from 1; 0 if it is about no line.
    pub column: usize,
    /// The key, as in `network[0].subnet[1].prefix`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What the text says there, shortened.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

/// What a caller may do; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoleView {
    /// Look.
    Read,
    /// Change leases, instances and the like.
    Operate,
    /// Everything: configuration, backups, tokens.
    Admin,
}

/// A bearer token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// What logs and the audit call its bearer.
    pub name: String,
    /// What its bearer may do.
    pub role: RoleView,
    /// The accounts that it is bound to; none for all.
    pub accounts: Vec<String>,
    /// When it was made; absent for one of the configuration.
    pub created: Option<String>,
    /// When it ends.
    pub expires: Option<String>,
    /// It is in the configuration, and is changed there.
    pub configured: bool,
}

/// A token, and its secret for the only time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewTokenView {
    /// What goes behind `Authorization: Bearer`.
    pub secret: String,
    /// The rest of it.
    pub token: TokenView,
}

/// A page of tokens.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct TokensView {
    /// By name, those made at run time first.
    pub tokens: Vec<TokenView>,
    /// `cursor` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// Body of `POST /v1/tokens`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What logs and the audit are to call its bearer.
    #[schema(pattern = "^[A-Za-z0-9._@:-]{1,64}$", max_length = 64)]
    pub name: String,
    /// What its bearer may do.
    pub role: RoleView,
    /// The accounts that it is bound to; without it, all.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub accounts: Vec<String>,
    /// How long it is believed, in seconds; for ever, without it.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 3153600000i64)]
    pub lifetime_s: Option<u32>,
}

/// Body of `POST /v1/tokens/{name}/rotate`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// For how many seconds the old secret is still believed.
    #[serde(default)]
    #[schema(maximum = 604800)]
    pub overlap_s: u32,
}

/// A page of networks.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct NetworksView {
    /// In the order of the configuration.
    pub networks: Vec<NetworkView>,
    /// `cursor` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubnetView {
    /// Its network.
    pub network: String,
    /// Its prefix.
    pub prefix: String,
    /// Whom its clients belong to, where nothing nearer says so.
    pub account: Option<String>,
    /// How many pools of addresses it has.
    pub pools: usize,
    /// How many pools of prefixes it has.
    pub delegations: usize,
}

/// A page of subnets.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct SubnetsView {
    /// In the order of the configuration, by network those of IPv4 first.
    pub subnets: Vec<SubnetView>,
    /// `cursor` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// A pool of addresses or of prefixes. Counts are decimal digits in a text, as those of IPv6 may
/// exceed what readers of JSON take for a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolView {
    /// Its network.
    pub network: String,
    /// The prefix of its subnet.
    pub subnet: String,
    /// The first and the last address, or the prefix that prefixes are cut from.
    pub range: String,
    /// Prefixes are delegated from it.
    pub delegation: bool,
    /// Addresses without those excluded; absent for prefixes.
    pub addresses: Option<String>,
    /// Addresses that are free; prefixes that could still be delegated, of the pool's length.
    pub free: String,
    /// Addresses that are free and proven so of late; absent for prefixes.
    pub proven: Option<u64>,
}

/// A page of pools.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct PoolsView {
    /// In the order of the configuration, by network those of IPv4 first, and prefixes last.
    pub pools: Vec<PoolView>,
    /// `cursor` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// What is known about the running server.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    /// Of the program.
    pub version: String,
    /// `serving`, `observing` or `stopped`.
    pub mode: String,
    /// When it started.
    pub started: Option<String>,
    /// Who it is to DHCPv6 clients, in hexadecimal; absent where it answers none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duid: Option<String>,
    /// Bindings in every state.
    pub bindings: u64,
    /// Offers that nobody asked for yet.
    pub offers: u64,
    /// By network, in the order of the file.
    pub networks: Vec<NetworkView>,
    /// The store.
    pub store: StoreView,
    /// Packets by what became of them: `discover`, `ack`, ...
    pub packets: BTreeMap<String, u64>,
    /// Dropped packets by reason.
    pub dropped: BTreeMap<String, u64>,
    /// What needs an operator's attention.
    pub alarms: Vec<String>,
}

/// A network at work: the figures are of IPv4, except where they say otherwise.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct NetworkView {
    /// Its name.
    pub name: String,
    /// The interfaces that serve it now.
    pub interfaces: Vec<String>,
    /// Addresses in its pools, without those excluded.
    pub addresses: u64,
    /// Leased.
    pub leased: u64,
    /// Out of use: declined, or put there by an operator.
    pub quarantined: u64,
    /// Answered for by a machine without a binding.
    pub in_use: u64,
    /// Free.
    pub free: u64,
    /// Free and proven so of late.
    pub proven: u64,
    /// IPv6; absent where the network has nothing of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ipv6: Option<Ipv6View>,
}

/// The IPv6 of a network. Figures that may exceed what readers of JSON take for a number are
/// decimal digits in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ipv6View {
    /// Addresses in its pools, without those excluded.
    pub addresses: String,
    /// Addresses leased.
    pub leased: u64,
    /// Addresses out of use: declined, or put there by an operator.
    pub quarantined: u64,
    /// Addresses answered for by a machine without a binding.
    pub in_use: u64,
    /// Addresses free.
    pub free: String,
    /// Addresses free and proven so of late.
    pub proven: u64,
    /// Delegated prefixes.
    pub prefixes_leased: u64,
    /// Prefixes that could still be delegated, each of the `length` of its pool.
    pub prefixes_free: String,
}

/// The store at work.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct StoreView {
    /// Whether it can write.
    pub writable: bool,
    /// Commits since start.
    pub commits: u64,
    /// Changes in them.
    pub changes: u64,
    /// Checkpoints since start.
    pub checkpoints: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Length of the last data sync in microseconds.
    pub last_sync_us: u64,
}

/// An error (RFC 9457).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProblemView {
    /// Always `about:blank`: the status says what kind it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong with this request.
    pub detail: String,
    /// What was wrong with which field, where it was about fields.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub errors: Vec<FieldView>,
}

/// A field that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldView {
    /// The path of the field in the body, as in `leases[3].until`; or the name of a parameter.
    pub field: String,
    /// What was found, and what is expected.
    pub detail: String,
}
