//! `[[network]]` and what is below it, from the parsed document to [`raw`](super::raw).

use crate::base::Span;

use super::fault::{Fault, FaultKind};
use super::node::{At, Node, Table};
use super::options::Definitions;
use super::policy::{Bootp, HostId, Identity, Verify};
use super::raw::{RawNetwork, RawPool, RawReservation, RawSettings, RawSubnet};
use super::read::{ClassNames, duration, number, settings};
use super::schema;

/// More networks than one process can have use of.
const NETWORKS_MAX: usize = 4096;

/// Reads every `[[network]]`.
pub(super) fn networks(
    root: &Table<'_>,
    defs: &Definitions,
    classes: &ClassNames,
) -> Vec<RawNetwork> {
    let Some(node) = root.get("network") else { return Vec::new() };
    let tables = node.tables(&schema::NETWORK);
    if tables.len() > NETWORKS_MAX {
        let message = format!("{} networks", tables.len());
        let fault = Fault::new(FaultKind::Limit, &node.place, message);
        node.push(fault.expected(format!("at most {NETWORKS_MAX}")));
    }
    tables.iter().take(NETWORKS_MAX).map(|table| network(table, defs, classes)).collect()
}

fn network(table: &Table<'_>, defs: &Definitions, classes: &ClassNames) -> RawNetwork {
    let get = |key: &str| table.get(key);
    let flag = |key: &str| get(key).and_then(|n| n.boolean()).unwrap_or(false);
    let interfaces = |key: &str| get(key).map_or_else(Vec::new, |n| n.each(Node::interface));
    let ports = |key: &str| interfaces(key).into_iter().map(|at| at.value).collect();
    let (second, day) = (Span::from_secs(1), Span::from_secs(86_400));
    RawNetwork {
        place: table.place.clone(),
        name: table.require("name").and_then(|n| Some(n.at(n.name()?))),
        interfaces: interfaces("interfaces"),
        reachable: ["interfaces", "relays"]
            .iter()
            .any(|key| get(key).is_some_and(|n| !n.list().is_empty())),
        relays: get("relays").map_or_else(Vec::new, |n| n.each(Node::prefix_or_ip)),
        trusted_ports: ports("trusted_ports"),
        trunk_ports: ports("trunk_ports"),
        authoritative: flag("authoritative"),
        identity: identity(table),
        server_id: get("server_id").and_then(|n| Some(n.at(n.unicast()?))),
        rapid_commit: flag("rapid_commit"),
        bootp: get("bootp").and_then(|n| n.word(&BOOTP_WORDS)).unwrap_or_default(),
        verify: verify(get("verify")),
        offer_hold: duration(get("offer_hold"), second, Span::from_secs(3600), Span::from_secs(30)),
        quarantine: duration(get("quarantine"), second, Span(30 * day.0), Span::from_secs(600)),
        declines_max: number(get("declines_max"), 0, 1_000_000, 4),
        offers_max: number(get("offers_max"), 1, 16_777_216, 65_536),
        settings: settings(table, defs),
        subnets: tables(get("subnet"), &schema::SUBNET, |t| subnet(t, defs, classes)),
        reservations: tables(get("reservation"), &schema::RESERVATION, |t| reservation(t, defs)),
    }
}

const BOOTP_WORDS: [(&str, Bootp); 3] =
    [("off", Bootp::Off), ("reserved", Bootp::Reserved), ("any", Bootp::Any)];

const IDENTITY_WORDS: [(&str, Identity); 4] = [
    ("clone-safe", Identity::CloneSafe),
    ("client-id", Identity::ClientId),
    ("mac", Identity::Mac),
    ("circuit-id", Identity::CircuitId),
];

fn identity(table: &Table<'_>) -> At<Identity> {
    match table.get("identity") {
        Some(node) => node.at(node.word(&IDENTITY_WORDS).unwrap_or_default()),
        None => At { value: Identity::default(), place: table.place.clone() },
    }
}

/// Each table of an array of tables, read by `read`.
fn tables<'a, T>(
    node: Option<Node<'a>>,
    section: &'static schema::Section,
    read: impl FnMut(&Table<'a>) -> T,
) -> Vec<T> {
    node.map_or_else(Vec::new, |n| n.tables(section)).iter().map(read).collect()
}

fn verify(node: Option<Node<'_>>) -> Verify {
    let Some(node) = node else { return Verify::DEFAULT };
    if let Some(enabled) = node.as_bool() {
        return Verify { enabled, ..Verify::DEFAULT };
    }
    if !node.is_table() {
        return node.wrong_type("true, false or a table").unwrap_or(Verify::DEFAULT);
    }
    let Some(table) = node.table(&schema::VERIFY) else { return Verify::DEFAULT };
    let get = |key: &str| table.get(key);
    let Verify { enabled, ready, probes_per_s, wait, fresh } = Verify::DEFAULT;
    Verify {
        enabled: get("enabled").and_then(|n| n.boolean()).unwrap_or(enabled),
        ready: number(get("ready"), 1, 65_536, ready),
        probes_per_s: number(get("probes_per_s"), 1, 100_000, probes_per_s),
        wait: duration(get("wait"), Span::from_ms(10), Span::from_secs(5), wait),
        fresh: duration(get("fresh"), Span::from_secs(1), Span::from_secs(86_400), fresh),
    }
}

fn subnet(table: &Table<'_>, defs: &Definitions, classes: &ClassNames) -> RawSubnet {
    let mut pools: Vec<RawPool> = Vec::new();
    if let Some(node) = table.get("pools") {
        pools.extend(node.list().iter().filter_map(short_pool));
    }
    pools.extend(
        tables(table.get("pool"), &schema::POOL, |t| pool(t, defs, classes)).into_iter().flatten(),
    );
    RawSubnet {
        prefix: table.require("prefix").and_then(|n| Some(n.at(n.prefix()?))),
        has_pools: ["pools", "pool"].iter().any(|key| table.get(key).is_some()),
        pools,
        reservations: tables(table.get("reservation"), &schema::RESERVATION, |t| {
            reservation(t, defs)
        }),
        settings: settings(table, defs),
    }
}

/// One entry of `pools`.
fn short_pool(node: &Node<'_>) -> Option<RawPool> {
    let (range, is_prefix) = node.range()?;
    Some(RawPool {
        range: node.at(range),
        is_prefix,
        exclude: Vec::new(),
        allow: Vec::new(),
        deny: Vec::new(),
        settings: RawSettings::default(),
    })
}

fn pool(table: &Table<'_>, defs: &Definitions, names: &ClassNames) -> Option<RawPool> {
    let classes = |key: &str| {
        let found = table.get(key).map_or_else(Vec::new, |n| n.each(|n| names.find(n)));
        found.into_iter().map(|at| at.value).collect()
    };
    // Everything is read before the range can end it, so that every fault is reported.
    let (allow, deny, settings) = (classes("allow"), classes("deny"), settings(table, defs));
    let exclude = table.get("exclude").map_or_else(Vec::new, |n| n.each(|n| Some(n.range()?.0)));
    let node = table.require("range")?;
    let (range, is_prefix) = node.range()?;
    Some(RawPool { range: node.at(range), is_prefix, exclude, allow, deny, settings })
}

fn reservation(table: &Table<'_>, defs: &Definitions) -> RawReservation {
    RawReservation {
        host: host(table),
        addr: table.require("address").and_then(|n| Some(n.at(n.unicast()?))),
        hostname: table.get("hostname").and_then(|n| n.hostname()),
        settings: settings(table, defs),
    }
}

/// The one key that says whose reservation it is.
fn host(table: &Table<'_>) -> Option<At<HostId>> {
    const KEYS: [&str; 4] = ["mac", "client_id", "circuit_id", "remote_id"];
    let given: Vec<(&str, Node<'_>)> =
        KEYS.iter().filter_map(|key| Some((*key, table.get(key)?))).collect();
    let hosts: Vec<Option<At<HostId>>> = given
        .iter()
        .map(|(key, node)| {
            let host = match *key {
                "mac" => HostId::Hardware(node.hardware()?),
                "client_id" => HostId::ClientId(node.identifier()?),
                "circuit_id" => HostId::CircuitId(node.identifier()?),
                _ => HostId::RemoteId(node.identifier()?),
            };
            Some(node.at(host))
        })
        .collect();
    match given.as_slice() {
        [_] => hosts.into_iter().next().flatten(),
        [] => {
            let message = "a reservation for nobody";
            let fault = Fault::new(FaultKind::MissingKey, &table.place, message);
            table.push(fault.expected(format!("add one of {}", KEYS.join(", "))));
            None
        }
        [(_, first), (key, second), ..] => {
            let message = format!("`{key}` beside another key that names the client");
            let fault = second.fault(FaultKind::Conflict, message);
            let expected = format!("exactly one of {}", KEYS.join(", "));
            table.push(fault.related(&first.place, "first here").expected(expected));
            None
        }
    }
}
