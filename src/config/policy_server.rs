//! What the configuration says of the process itself: paths, log, store.

use std::path::PathBuf;

use crate::base::Span;

use super::policy::Bytes;

/// `[server]`.
#[derive(Clone, Debug)]
pub struct ServerPolicy {
    /// Where the store lives (default `/var/lib/foreshadow`).
    pub state_dir: PathBuf,
    /// Unix socket of the control API (default `/run/foreshadow/control.sock`).
    pub control_socket: PathBuf,
    /// Unix socket of this host's agent (default `/run/foreshadow-agent/agent.sock`).
    pub agent_socket: PathBuf,
    /// Where to write a hosts file of current leases, for a DNS server to read; none by default.
    pub hosts_file: Option<PathBuf>,
    /// DUID of this server (RFC 9915 s11), 3 to 130 bytes; without it, one is made and kept.
    pub server_duid: Option<Bytes>,
}

/// `[log]`.
#[derive(Clone, Debug)]
pub struct LogPolicy {
    /// JSON lines instead of text.
    pub json: bool,
    /// A `tracing` filter such as `info` or `foreshadow=debug`.
    pub filter: String,
    /// At most this many log lines a second about bad packets (default 5).
    pub bad_packets_per_s: u32,
    /// At most this many log lines a second about leases (default 1000): beyond that, to write
    /// them costs more than to serve them.
    pub leases_per_s: u32,
}

/// `[store]`.
#[derive(Clone, Debug)]
pub struct StorePolicy {
    /// Size of each of the two journals, in bytes (default 16 MiB); they grow when they must.
    pub journal_bytes: u64,
    /// How often the checkpoint runs when there is something to write (default 1 s).
    pub checkpoint_every: Span,
    /// sled's page cache, in bytes (default 64 MiB).
    pub cache_bytes: u64,
}
