//! `[[network]]` and what is below it, from the parsed document to [`raw`](super::raw).

use std::net::Ipv4Addr;

use crate::base::{Prefix4, Prefix6, Span};

use super::accounts::hold;
use super::fault::{Fault, FaultKind};
use super::lifecycle::lifecycle;
use super::limits::limits;
use super::node::{At, Node, Table};
use super::options::Definitions;
use super::policy::{Bootp, HostId, Identity, Verify};
use super::raw::{RawNetwork, RawPool, RawReservation, RawSettings, RawSubnet};
use super::raw6::{RawNetwork6, RawReservation6, RawSubnet6};
use super::read::{ClassNames, class_list, duration, number, settings};
use super::read_network6;
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
    let (subnets, subnets6): Both<_, _> =
        tables(table.get("subnet"), &schema::SUBNET, |t| either_subnet(t, defs, classes))
            .into_iter()
            .unzip();
    let (reservations, reservations6): Both<_, _> =
        tables(table.get("reservation"), &schema::RESERVATION, |t| either_reservation(t, defs))
            .into_iter()
            .unzip();
    let (relays, relays6) = relays(table);
    let v6 = RawNetwork6 {
        preference: table.get("preference").and_then(|n| u8::try_from(n.integer(0, 255)?).ok()),
        relays: relays6,
        ra: read_network6::advertisements(table.get("router_advertisements")),
        subnets: subnets6.into_iter().flatten().collect(),
        reservations: reservations6.into_iter().flatten().collect(),
    };
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
        relays,
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
        hold: get("hold").map(|n| hold(&n)).unwrap_or_default(),
        lifecycle: lifecycle(get("lifecycle")),
        tiers: super::tiers::tiers(get("tiers")),
        reconcile: super::reconcile::reconcile(get("reconcile")),
        relocation: super::relocation::relocation(get("relocation")),
        standby: super::standby::standby(get("standby")),
        guard: super::guard::guard(get("guard")),
        short_percent: get("short").and_then(|n| n.percent()).unwrap_or(5),
        declines_max: number(get("declines_max"), 0, 1_000_000, 4),
        offers_max: number(get("offers_max"), 1, 16_777_216, 65_536),
        limits: limits(get("limits")),
        settings: settings(table, defs),
        subnets: subnets.into_iter().flatten().collect(),
        reservations: reservations.into_iter().flatten().collect(),
        v6,
    }
}

/// `relays`, of either protocol.
fn relays(table: &Table<'_>) -> (Vec<At<Prefix4>>, Vec<At<Prefix6>>) {
    let nodes = table.get("relays").map_or_else(Vec::new, |n| n.list());
    let (six, four): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|n| n.is_ip6());
    (
        four.iter().filter_map(|n| Some(n.at(n.prefix_or_ip()?))).collect(),
        six.iter().filter_map(|n| Some(n.at(n.prefix_or_ip6()?))).collect(),
    )
}

/// What a table of either protocol says: IPv4, IPv6, or both.
type Either<A, B> = (Option<A>, Option<B>);
type Both<A, B> = (Vec<Option<A>>, Vec<Option<B>>);

fn either_subnet(
    table: &Table<'_>,
    defs: &Definitions,
    classes: &ClassNames,
) -> Either<RawSubnet, RawSubnet6> {
    if table.get("prefix").is_some_and(|n| n.is_ip6()) {
        return (None, Some(read_network6::subnet(table, defs, classes)));
    }
    (Some(subnet(table, defs, classes)), None)
}

/// A reservation of the network, for either protocol or for both.
fn either_reservation(
    table: &Table<'_>,
    defs: &Definitions,
) -> Either<RawReservation, RawReservation6> {
    let six = read_network6::is_reservation(table);
    let four = table.get("address").is_some();
    if !four && !six {
        let fault = Fault::new(FaultKind::MissingKey, &table.place, "a reservation of nothing");
        let expected = "add address = \"10.0.0.10\", addresses = [\"2001:db8::10\"], or prefixes";
        table.push(fault.expected(expected));
    }
    check_host(table, four, six);
    (four.then(|| reservation(table, defs)), six.then(|| read_network6::reservation(table, defs)))
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
pub(super) fn tables<'a, T>(
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

/// An IPv4 subnet.
fn subnet(table: &Table<'_>, defs: &Definitions, classes: &ClassNames) -> RawSubnet {
    let mut pools: Vec<RawPool> = Vec::new();
    if let Some(node) = table.get("pools") {
        pools.extend(node.list().iter().filter_map(short_pool));
    }
    pools.extend(
        tables(table.get("pool"), &schema::POOL, |t| pool(t, defs, classes)).into_iter().flatten(),
    );
    other_family(table, &["delegations", "delegation", "interface_ids", "options6"]);
    RawSubnet {
        prefix: table.require("prefix").and_then(|n| Some(n.at(n.prefix()?))),
        region: table.get("region").and_then(|n| n.name()),
        has_pools: ["pools", "pool"].iter().any(|key| table.get(key).is_some()),
        pools,
        reservations: tables(table.get("reservation"), &schema::RESERVATION, |t| {
            check_host(t, true, false);
            other_family(t, &["addresses", "prefixes", "options6"]);
            t.require("address");
            reservation(t, defs)
        }),
        settings: settings(table, defs),
    }
}

/// Reports keys that say nothing where all is IPv4.
fn other_family(table: &Table<'_>, keys: &[&str]) {
    for node in keys.iter().filter_map(|key| table.get(key)) {
        let key = node.place.key.rsplit('.').next().unwrap_or_default();
        let message = format!("`{key}` is for IPv6, in an IPv4 subnet");
        node.push(node.fault(FaultKind::Conflict, message).expected(match key {
            "options6" => "options = { .. }",
            "addresses" | "prefixes" => {
                "address = \"10.0.0.10\"; or say it in [[network.reservation]]"
            }
            _ => "a [[network.subnet]] of its own with an IPv6 prefix",
        }));
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
    // Everything is read before the range can end it, so that every fault is reported.
    let (allow, deny) = (class_list(table, "allow", names), class_list(table, "deny", names));
    let settings = settings(table, defs);
    other_family(table, &["generate", "options6"]);
    let exclude = table.get("exclude").map_or_else(Vec::new, |n| n.each(|n| Some(n.range()?.0)));
    let node = table.require("range")?;
    let (range, is_prefix) = node.range()?;
    Some(RawPool { range: node.at(range), is_prefix, exclude, allow, deny, settings })
}

/// The IPv4 part of a reservation.
fn reservation(table: &Table<'_>, defs: &Definitions) -> RawReservation {
    RawReservation {
        host: host(table),
        addr: table.get("address").and_then(|n| address(&n)),
        hostname: table.get("hostname").and_then(|n| n.hostname()),
        settings: settings(table, defs),
    }
}

fn address(node: &Node<'_>) -> Option<At<Ipv4Addr>> {
    if node.is_ip6() {
        return node.bad("an IPv6 address in `address`", "addresses = [\"2001:db8::10\"]");
    }
    Some(node.at(node.unicast()?))
}

/// Whose reservation it is. That exactly one key says so is [`check_host`]'s to see.
fn host(table: &Table<'_>) -> Option<At<HostId>> {
    let get = |key| table.get(key);
    if let Some(node) = get("mac") {
        return Some(node.at(HostId::Hardware(node.hardware()?)));
    }
    if let Some(node) = get("client_id") {
        return Some(node.at(HostId::ClientId(node.identifier()?)));
    }
    if let Some(node) = get("circuit_id") {
        return Some(node.at(HostId::CircuitId(node.identifier()?)));
    }
    let node = get("remote_id")?;
    Some(node.at(HostId::RemoteId(node.identifier()?)))
}

/// Reports a reservation that does not name its client by exactly one key, or by one that the
/// protocol of its addresses does not know.
pub(super) fn check_host(table: &Table<'_>, four: bool, six: bool) {
    const ANY: &[&str] = &["mac"];
    const ONLY4: &[&str] = &["client_id", "circuit_id", "remote_id"];
    const ONLY6: &[&str] = &["duid", "interface_id"];
    let keys: Vec<&str> = match (four, six) {
        (true, true) => ANY.to_vec(),
        (_, true) => [ANY, ONLY6].concat(),
        (true, _) => [ANY, ONLY4].concat(),
        (false, false) => [ANY, ONLY4, ONLY6].concat(),
    };
    let given: Vec<(&str, Node<'_>)> = [ANY, ONLY4, ONLY6]
        .concat()
        .into_iter()
        .filter_map(|key| Some((key, table.get(key)?)))
        .collect();
    match given.as_slice() {
        [(key, _)] if keys.contains(key) => {}
        [(key, node)] => {
            let (own, other) = if ONLY4.contains(key) { (4, 6) } else { (6, 4) };
            let message =
                format!("`{key}` names a client of DHCPv{own}, beside addresses of DHCPv{other}");
            let fault = node.fault(FaultKind::Conflict, message);
            table.push(fault.expected(format!("one of {}", keys.join(", "))));
        }
        [] => {
            let message = "a reservation for nobody";
            let fault = Fault::new(FaultKind::MissingKey, &table.place, message);
            table.push(fault.expected(format!("add one of {}", keys.join(", "))));
        }
        [(_, first), (key, second), ..] => {
            let message = format!("`{key}` beside another key that names the client");
            let fault = second.fault(FaultKind::Conflict, message);
            let expected = format!("exactly one of {}", keys.join(", "));
            table.push(fault.related(&first.place, "first here").expected(expected));
        }
    }
}
