//! `[network.guard]`: what the ports of guests may say.

use std::net::IpAddr;

use super::keys::key;
use super::node::Node;
use super::pattern::Pattern;
use super::read::number;
use super::schema::Section;

/// Most further servers and routers of a network.
const SERVERS_MAX: usize = 32;

pub(super) static GUARD: Section = Section {
    path: "network.guard",
    header: "[network.guard]",
    about: "Anti-spoofing at the ports of the bridges that the network is served on, by this host's `foreshadow agent`. A guarded port is no DHCP server and no router; once its guest has a lease it sends from its own hardware address and its leased addresses alone.",
    settings: false,
    keys: &[
        key(
            "mode",
            "\"enforce\"",
            "\"off\"",
            "`off`; `enforce`: frames that break the rules are dropped.",
        ),
        key(
            "ports",
            "[\"tap*\"]",
            "[\"tap*\", \"vnet*\"]",
            "Patterns of ports that lead to one guest each. Those that `trusted_ports` or `trunk_ports` name are never guarded: put guests there that route or serve DHCP.",
        ),
        key(
            "dhcp_per_second",
            "20",
            "20",
            "Messages to DHCP servers that one guarded port may send in a second, 1 to 100000. The lowest of all networks with guarded ports counts.",
        ),
        key(
            "ipv6",
            "\"leased\"",
            "\"any\"",
            "Global IPv6 addresses that a guest may send from: `any`, since it may have made them itself (SLAAC, privacy extensions), or those that are `leased`. Link-local ones are not asked for.",
        ),
        key(
            "servers",
            "[\"10.0.0.2\"]",
            "[]",
            "Further DHCP servers and routers, of which no guest may take the address. Those of this server's own interface are always so.",
        ),
    ],
};

/// `[network.guard]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardPolicy {
    /// Whether anything is dropped.
    pub enforce: bool,
    /// Ports that lead to one guest each (default `tap*` and `vnet*`).
    pub ports: Vec<Pattern>,
    /// Messages to DHCP servers that a port may send in a second (default 20).
    pub dhcp_per_s: u32,
    /// IPv6 sources are not asked for (default), or are the leased ones.
    pub any6: bool,
    /// Further DHCP servers and routers.
    pub servers: Vec<IpAddr>,
}

impl Default for GuardPolicy {
    fn default() -> GuardPolicy {
        GuardPolicy {
            enforce: false,
            ports: ["tap*", "vnet*"].map(|name| Pattern(name.into())).into(),
            dhcp_per_s: 20,
            any6: true,
            servers: vec![],
        }
    }
}

const MODES: [(&str, bool); 2] = [("off", false), ("enforce", true)];
const IPV6: [(&str, bool); 2] = [("any", true), ("leased", false)];

/// `guard` of a network.
pub(super) fn guard(node: Option<Node<'_>>) -> GuardPolicy {
    let default = GuardPolicy::default();
    let Some(table) = node.and_then(|n| n.table(&GUARD)) else { return default };
    let get = |key: &str| table.get(key);
    GuardPolicy {
        enforce: get("mode").and_then(|n| n.word(&MODES)).unwrap_or(default.enforce),
        ports: get("ports").map_or(default.ports, |n| values(&n, port)),
        dhcp_per_s: number(get("dhcp_per_second"), 1, 100_000, default.dhcp_per_s),
        any6: get("ipv6").and_then(|n| n.word(&IPV6)).unwrap_or(default.any6),
        servers: get("servers").map_or(default.servers, |n| servers(&n)),
    }
}

fn values<T>(node: &Node<'_>, read: impl FnMut(&Node<'_>) -> Option<T>) -> Vec<T> {
    node.each(read).into_iter().map(|at| at.value).collect()
}

/// A pattern that would take uplinks for guests cuts a whole network off.
fn port(node: &Node<'_>) -> Option<Pattern> {
    let pattern = node.interface()?;
    if pattern.0.bytes().all(|b| matches!(b, b'*' | b'?')) {
        return node.bad("every port, uplinks too", "the names of guests' ports, as in \"tap*\"");
    }
    Some(pattern)
}

fn servers(node: &Node<'_>) -> Vec<IpAddr> {
    let found = values(node, |n| {
        if n.is_ip6() { n.unicast6().map(IpAddr::from) } else { n.unicast().map(IpAddr::from) }
    });
    if found.len() > SERVERS_MAX {
        let got = format!("{} addresses", found.len());
        let _: Option<()> = node.bad(got, format!("at most {SERVERS_MAX}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check;

    const BASE: &str = "[[network]]\nname = \"a\"\ninterfaces = [\"br0\"]\n\
        [[network.subnet]]\nprefix = \"10.0.0.0/24\"\npools = [\"10.0.0.10\"]\n[network.guard]\n";

    #[test]
    fn what_is_said_counts_and_the_rest_is_as_usual() {
        let text = "mode = \"enforce\"\nports = [\"vm-*\"]\nservers = [\"10.0.0.2\", \"fd00::2\"]";
        let policy = check(&format!("{BASE}{text}"), "test.toml").unwrap().policy;
        let servers = vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let ports = vec![Pattern("vm-*".into())];
        let want = GuardPolicy { enforce: true, ports, servers, ..GuardPolicy::default() };
        assert_eq!(policy.networks[0].guard, want);
        let policy = check(BASE, "test.toml").unwrap().policy;
        assert_eq!(policy.networks[0].guard, GuardPolicy::default());
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for bad in [
            "mode = \"report\"",
            "ports = [\"*\"]",
            "ports = [\"?*\"]",
            "dhcp_per_second = 0",
            "ipv6 = \"slaac\"",
            "servers = [\"0.0.0.0\"]",
            "routers = []",
        ] {
            let faults = check(&format!("{BASE}{bad}"), "test.toml").unwrap_err();
            assert_eq!(faults.list().len(), 1, "{bad}");
        }
    }
}
