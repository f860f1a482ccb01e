//! `network.limits`: how fast guests may ask, and how much one of them may hold.

use super::fault::FaultKind;
use super::node::Node;
use super::read::number;
use super::schema;

/// `[network.limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Packets of one access port of a bridge, of both protocols together.
    pub port: Rate,
    /// Packets of one client of a trunk, of a relay, or of an interface that is no bridge.
    pub client: Rate,
    /// Packets of one relay, of all its clients together.
    pub relay: Rate,
    /// At most this many live bindings of one access port, of both protocols together; 0 for any
    /// number.
    pub leases_per_port: u32,
}

/// A bucket of tokens: each packet takes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back in a second; 0 for no limit.
    pub per_s: u32,
    /// Tokens in a full bucket, at least 1.
    pub burst: u32,
}

impl Rate {
    /// No limit.
    pub const OFF: Rate = Rate { per_s: 0, burst: 1 };

    /// The more generous of two.
    pub fn max(self, other: Rate) -> Rate {
        match self.per_s == 0 || other.per_s == 0 {
            true => Rate::OFF,
            false => {
                Rate { per_s: self.per_s.max(other.per_s), burst: self.burst.max(other.burst) }
            }
        }
    }
}

impl Limits {
    /// What holds where nothing is configured.
    pub const DEFAULT: Limits = Limits {
        port: Rate { per_s: 20, burst: 100 },
        client: Rate { per_s: 10, burst: 40 },
        relay: Rate { per_s: 0, burst: 10_000 },
        leases_per_port: 1024,
    };

    /// The more generous of two, one by one.
    pub fn max(self, other: Limits) -> Limits {
        let leases = [self.leases_per_port, other.leases_per_port];
        Limits {
            port: self.port.max(other.port),
            client: self.client.max(other.client),
            relay: self.relay.max(other.relay),
            leases_per_port: if leases.contains(&0) { 0 } else { leases[0].max(leases[1]) },
        }
    }

    /// No limits.
    pub const OFF: Limits =
        Limits { port: Rate::OFF, client: Rate::OFF, relay: Rate::OFF, leases_per_port: 0 };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}

/// Most packets per second, and tokens in a bucket, that can be configured.
const RATE_MAX: i64 = 1_000_000;
/// What a client sends within milliseconds to be bound: DISCOVER and REQUEST, SOLICIT and REQUEST.
const EXCHANGE_PACKETS: u32 = 2;

/// `true`, `false` or a table.
pub(super) fn limits(node: Option<Node<'_>>) -> Limits {
    let Some(node) = node else { return Limits::DEFAULT };
    if let Some(enabled) = node.as_bool() {
        return if enabled { Limits::DEFAULT } else { Limits::OFF };
    }
    if !node.is_table() {
        return node.wrong_type("true, false or a table").unwrap_or(Limits::DEFAULT);
    }
    let Some(table) = node.table(&schema::LIMITS) else { return Limits::DEFAULT };
    let get = |key: &str| table.get(key);
    let rate = |per_s: &str, burst: &str, default: Rate| {
        let rate = Rate {
            per_s: number(get(per_s), 0, RATE_MAX, default.per_s),
            burst: number(get(burst), 1, RATE_MAX, default.burst),
        };
        get(burst).iter().for_each(|node| check_burst(node, rate, default));
        rate
    };
    let Limits { port, client, relay, leases_per_port } = Limits::DEFAULT;
    Limits {
        port: rate("port_rate", "port_burst", port),
        client: rate("client_rate", "client_burst", client),
        relay: rate("relay_rate", "relay_burst", relay),
        leases_per_port: number(get("leases_per_port"), 0, RATE_MAX, leases_per_port),
    }
}

/// Warns of a bucket in which no exchange has room.
fn check_burst(node: &Node<'_>, rate: Rate, default: Rate) {
    if rate.per_s != 0 && rate.burst < EXCHANGE_PACKETS {
        let message = "a client sends two packets of an exchange at once, and one would be dropped";
        let expected = format!("{EXCHANGE_PACKETS} at least; {} by default", default.burst);
        node.push(node.fault(FaultKind::Suspicious, message).expected(expected).warning());
    }
}
