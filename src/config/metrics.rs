//! `[metrics]`: where scrapers find what the server counts, and how many series it may become.

use std::net::SocketAddr;

use super::keys::key;
use super::node::{Node, Table};
use super::read::number;
use super::schema::Section;

pub(super) static METRICS: Section = Section {
    path: "metrics",
    header: "[metrics]",
    about: "Metrics for Prometheus and others that read OpenMetrics. They are always at `/metrics` of the control socket and of `[api]`; see [metrics](metrics.md).",
    settings: false,
    keys: &[
        key(
            "listen",
            "\"127.0.0.1:9567\"",
            "none",
            "A listener for scrapers: plain HTTP, `/metrics` and nothing else, without authentication. Takes effect at the next start.",
        ),
        key(
            "unprotected_beyond_loopback",
            "true or false",
            "false",
            "`listen` may be an address that others reach: whoever does may read all metrics.",
        ),
        key(
            "pools",
            "1000",
            "1000",
            "How many pools have series of their own, 0 to 100000, in the order of the file; the rest are counted together, as network and pool `(other)`.",
        ),
        key(
            "accounts",
            "100",
            "100",
            "How many accounts have series of their own, 0 to 10000: those with most leases; the rest are counted together, as `(other)`.",
        ),
    ],
};

/// `[metrics]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsPolicy {
    /// Where scrapers are answered beside the API; nowhere by default.
    pub listen: Option<SocketAddr>,
    /// Pools with series of their own (default 1000).
    pub pools: usize,
    /// Accounts with series of their own (default 100).
    pub accounts: usize,
}

impl Default for MetricsPolicy {
    fn default() -> MetricsPolicy {
        MetricsPolicy { listen: None, pools: 1000, accounts: 100 }
    }
}

/// `[metrics]` of the document.
pub(super) fn metrics(root: &Table<'_>) -> MetricsPolicy {
    let table = root.get("metrics").and_then(|n| n.table(&METRICS));
    let get = |key: &str| table.as_ref().and_then(|t| t.get(key));
    let unprotected = get("unprotected_beyond_loopback").and_then(|n| n.boolean());
    let default = MetricsPolicy::default();
    MetricsPolicy {
        listen: get("listen").and_then(|n| listener(&n, unprotected == Some(true))),
        pools: number(get("pools"), 0, 100_000, default.pools),
        accounts: number(get("accounts"), 0, 10_000, default.accounts),
    }
}

fn listener(node: &Node<'_>, unprotected: bool) -> Option<SocketAddr> {
    let text = node.string("an address and a port in a string")?;
    let Some(addr) = text.parse::<SocketAddr>().ok().filter(|addr| addr.port() != 0) else {
        return node.bad("not an address and a port", "as in \"127.0.0.1:9567\" or \"[::1]:9567\"");
    };
    if !addr.ip().is_loopback() && !unprotected {
        return node.bad(
            format!("others reach {}, and whoever asks is answered", addr.ip()),
            "a loopback address; or add `unprotected_beyond_loopback = true`",
        );
    }
    Some(addr)
}
