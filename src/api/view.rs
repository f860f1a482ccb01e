//! What goes over the control socket, and nothing else: the only types that are JSON.
//!
//! Times are RFC 3339 in UTC, `never` for what has no end; bytes are hexadecimal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A binding. On the way out all that is known is set; an import needs only `address`, `until`
/// and one of `client` and `hardware`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseView {
    /// The network's name; `#` and eight hexadecimal digits where the policy has none for it.
    /// An import without one goes by subnet.
    pub network: Option<String>,
    /// The address or prefix.
    pub address: String,
    /// `leased` (also what an empty text means), `expired`, `released`, `declined`, `in-use` or
    /// `quarantined`.
    pub state: String,
    /// The client's key: its kind (`hw`, `id`, `circuit`, `clone`, `ia`, `ia-pd`, `ia-clone`) and hexadecimal.
    pub client: Option<String>,
    /// Hardware address.
    pub hardware: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Whom the client belongs to.
    pub account: Option<String>,
    /// When this client first got this resource.
    pub since: Option<String>,
    /// When it was last acknowledged or changed.
    pub updated: Option<String>,
    /// When the state ends, or ended.
    pub until: Option<String>,
    /// Relay agent circuit id.
    pub circuit_id: Option<String>,
    /// Relay agent remote id.
    pub remote_id: Option<String>,
    /// The relay's address.
    pub relay: Option<String>,
    /// Of a delegated prefix: the router that has it, as the server's host reaches it.
    pub next_hop: Option<String>,
    /// The holder is a stage of a network boot.
    pub boot_stage: bool,
    /// Which machine answered for an address that is `in-use`.
    pub answered: Option<String>,
}

/// A page of bindings.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LeasesView {
    /// In no promised order.
    pub leases: Vec<LeaseView>,
    /// `from` of the next page; absent on the last. A page may be empty and yet not the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<u64>,
}

/// Body of `POST /v1/leases/import`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// At most [`super::command::LEASES_PER_IMPORT`].
    pub leases: Vec<LeaseView>,
    /// Say what would be done, and do nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What became of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportView {
    /// How many were taken over; in a dry run, how many could be.
    pub imported: u64,
    /// Those that were not, with the reason.
    pub refused: Vec<RefusedView>,
}

/// A binding that was not imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedView {
    /// The address or prefix, as it was given.
    pub address: String,
    /// Why.
    pub reason: String,
}

/// What a reload did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReloadView {
    /// Networks in the policy that is in force now.
    pub networks: usize,
    /// What is odd, and yet no fault.
    pub warnings: Vec<String>,
}

/// Body of `POST /v1/backup`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// A directory that does not exist yet; an absolute path that the server may write.
    pub directory: String,
}

/// What is known about the running server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
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
}
