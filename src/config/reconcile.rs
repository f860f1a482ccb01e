//! `[network.reconcile]`: what answers on the wire, compared with what is bound.

use std::net::IpAddr;

use crate::base::{Mac, Span};

use super::keys::key;
use super::node::{Node, Table};
use super::read::{duration, number};
use super::schema::Section;

pub(super) static RECONCILE: Section = Section {
    path: "network.reconcile",
    header: "[network.reconcile]",
    about: "Asks who has the addresses of the network (ARP, neighbour discovery), listens meanwhile, and compares what answers with what is bound: duplicates, squatters in pools, leased addresses held by others or by nobody, standbys that speak, DHCP servers and routers that nobody knows. What moves from one host to another is no finding, nor is a standby that is silent. `foreshadow scan` shows what was found. Networks without an interface are not asked.",
    settings: false,
    keys: &[
        key(
            "mode",
            "\"report\"",
            "\"off\"",
            "`off`; `report`: findings are logged, audited and shown; `act`: what `quarantine` and `fence` name is done as well.",
        ),
        key("rate", "500", "500", "Questions a second at most, of each interface, 1 to 100000."),
        key(
            "interval",
            "\"60s\"",
            "\"60s\"",
            "From the beginning of one sweep to that of the next, 1s to 7d. One that takes longer is followed by the next at once.",
        ),
        key(
            "whole",
            "true",
            "true",
            "Ask all addresses of each IPv4 subnet up to a /12; else those of its pools, and what is bound. Of IPv6 the lowest 255 addresses of a subnet are asked, pools of up to 4096, what is bound, and what was heard.",
        ),
        key(
            "probe",
            "true",
            "true",
            "Ask for servers with a DISCOVER and a SOLICIT in the name of a client that there is none of, and for routers; else they are noticed when they speak.",
        ),
        key(
            "silent",
            "3",
            "3",
            "A leased address is silent when nobody spoke for it in so many sweeps, 0 to 1000; 0: never.",
        ),
        key(
            "servers",
            "[\"10.0.0.2\"]",
            "[]",
            "Other DHCP servers that may be there, by their address or MAC.",
        ),
        key(
            "routers",
            "[\"02:00:00:00:00:fe\"]",
            "none",
            "Routers that may advertise themselves, by their address or MAC. One that is named by its MAC may answer for others too (proxy ARP). Without the key no router is a finding, unless this server advertises on the network itself.",
        ),
        key(
            "hosts",
            "[[\"02:00:00:00:00:0a\", \"02:00:00:00:00:0b\"]]",
            "[]",
            "MACs of one host, which may answer with any of them for any of its addresses.",
        ),
        key(
            "quarantine",
            "[\"static-in-pool\"]",
            "[\"static-in-pool\"]",
            "Where `mode` is `act`: kinds of findings whose address is put out of use, for the `quarantine` of the network: `static-in-pool`, `duplicate-ipv4`, `duplicate-ipv6`, `lease-hijack`. A shadow or an offer of it gives way; a reserved address is left alone. Whose lease it is loses it.",
        ),
        key(
            "fence",
            "[\"rogue-dhcp\"]",
            "[]",
            "Where `mode` is `act`: kinds of findings whose hosts are to be cut off at their ports, by whoever holds the gate of the bridge.",
        ),
    ],
};

/// `network.reconcile.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReconcileMode {
    /// Nothing is asked.
    #[default]
    Off,
    /// Findings are told.
    Report,
    /// And acted on.
    Act,
}

const MODES: [(&str, ReconcileMode); 3] =
    [("off", ReconcileMode::Off), ("report", ReconcileMode::Report), ("act", ReconcileMode::Act)];

/// Kinds of findings that may lead to a quarantine.
const QUARANTINED: [(&str, &str); 4] = [
    ("static-in-pool", "static-in-pool"),
    ("duplicate-ipv4", "duplicate-ipv4"),
    ("duplicate-ipv6", "duplicate-ipv6"),
    ("lease-hijack", "lease-hijack"),
];

/// Kinds of findings that are about a host at a port.
const FENCED: [(&str, &str); 8] = [
    ("static-in-pool", "static-in-pool"),
    ("duplicate-ipv4", "duplicate-ipv4"),
    ("duplicate-ipv6", "duplicate-ipv6"),
    ("lease-hijack", "lease-hijack"),
    ("standby-speaks", "standby-speaks"),
    ("rogue-dhcp", "rogue-dhcp"),
    ("rogue-dhcpv6", "rogue-dhcpv6"),
    ("rogue-ra", "rogue-ra"),
];

/// A server or router, as the file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// By its address.
    Addr(IpAddr),
    /// By its hardware address.
    Mac(Mac),
}

/// `[network.reconcile]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconcile {
    /// What is done.
    pub mode: ReconcileMode,
    /// Questions a second at most.
    pub rate: u32,
    /// From one sweep to the next.
    pub interval: Span,
    /// Whole IPv4 subnets, not their pools alone.
    pub whole: bool,
    /// Servers are asked for.
    pub probe: bool,
    /// Sweeps until a leased address is silent; 0: never.
    pub silent: u32,
    /// DHCP servers that may be there.
    pub servers: Vec<Speaker>,
    /// Routers that may be there; `None`: any.
    pub routers: Option<Vec<Speaker>>,
    /// MACs of one host each.
    pub hosts: Vec<Vec<Mac>>,
    /// Kinds of findings whose address is put out of use.
    pub quarantine: Vec<&'static str>,
    /// Kinds of findings whose hosts are to be cut off.
    pub fence: Vec<&'static str>,
}

impl Default for Reconcile {
    fn default() -> Reconcile {
        Reconcile {
            mode: ReconcileMode::Off,
            rate: 500,
            interval: Span::from_secs(60),
            whole: true,
            probe: true,
            silent: 3,
            servers: Vec::new(),
            routers: None,
            hosts: Vec::new(),
            quarantine: vec!["static-in-pool"],
            fence: Vec::new(),
        }
    }
}

/// `reconcile` of a network.
pub(super) fn reconcile(node: Option<Node<'_>>) -> Reconcile {
    let default = Reconcile::default();
    let Some(table) = node.as_ref().and_then(|n| n.table(&RECONCILE)) else { return default };
    let get = |key: &str| table.get(key);
    let flag = |key: &str, default| get(key).and_then(|n| n.boolean()).unwrap_or(default);
    let day = Span::from_secs(86_400);
    let kinds = |key: &str, words: &[(&str, &'static str)], default: Vec<&'static str>| {
        get(key).map_or(default, |n| each(&n, |n| n.word(words)))
    };
    Reconcile {
        mode: get("mode").and_then(|n| n.word(&MODES)).unwrap_or_default(),
        rate: number(get("rate"), 1, 100_000, default.rate),
        interval: duration(get("interval"), Span::from_secs(1), Span(7 * day.0), default.interval),
        whole: flag("whole", default.whole),
        probe: flag("probe", default.probe),
        silent: number(get("silent"), 0, 1000, default.silent),
        servers: speakers(&table, "servers").unwrap_or_default(),
        routers: speakers(&table, "routers"),
        hosts: get("hosts").map(|n| each(&n, host)).unwrap_or_default(),
        quarantine: kinds("quarantine", &QUARANTINED, default.quarantine),
        fence: kinds("fence", &FENCED, default.fence),
    }
}

fn each<T>(node: &Node<'_>, read: impl FnMut(&Node<'_>) -> Option<T>) -> Vec<T> {
    node.each(read).into_iter().map(|at| at.value).collect()
}

fn speakers(table: &Table<'_>, key: &str) -> Option<Vec<Speaker>> {
    let read = |node: &Node<'_>| {
        let text = node.text(64)?;
        let addr = text.parse().map(Speaker::Addr).ok();
        let speaker = addr.or_else(|| text.parse().map(Speaker::Mac).ok());
        let bad = || node.bad(format!("`{text}` is neither"), "an address or a MAC");
        speaker.or_else(bad)
    };
    table.get(key).map(|node| each(&node, read))
}

fn host(node: &Node<'_>) -> Option<Vec<Mac>> {
    let mac = |node: &Node<'_>| {
        let text = node.text(32)?;
        let bad = || node.bad(format!("`{text}` is no MAC"), "a MAC, as in 02:00:00:00:00:0a");
        text.parse().ok().or_else(bad)
    };
    let macs = each(node, mac);
    match macs.len() {
        0 | 1 => node.bad("this is not a host with several MACs", "two MACs or more"),
        _ => Some(macs),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::check;

    const BASE: &str = "[[network]]\nname = \"a\"\ninterfaces = [\"br0\"]\n\
        [[network.subnet]]\nprefix = \"10.0.0.0/24\"\npools = [\"10.0.0.10\"]\n";

    fn faults(text: &str) -> usize {
        check(&format!("{BASE}{text}"), "test.toml").err().map_or(0, |faults| faults.list().len())
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let good = "mode = \"act\"\nservers = [\"10.0.0.2\", \"fe80::1\", \"02:00:00:00:00:01\"]\n\
            hosts = [[\"02:00:00:00:00:0a\", \"02:00:00:00:00:0b\"]]\nfence = [\"rogue-ra\"]";
        assert_eq!(faults(&format!("[network.reconcile]\n{good}")), 0);
        for bad in [
            "mode = \"perhaps\"",
            "rate = 0",
            "interval = \"0s\"",
            "servers = [\"somebody\"]",
            "hosts = [[\"02:00:00:00:00:0a\"]]",
            "hosts = [[\"02:00:00:00:00:0a\", \"x\"]]",
            "quarantine = [\"rogue-dhcp\"]",
            "fence = [\"proxy\"]",
        ] {
            assert!(faults(&format!("[network.reconcile]\n{bad}")) > 0, "{bad}");
        }
    }
}
