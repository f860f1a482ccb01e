//! What a `[[network]]` says of IPv6, from the parsed document to [`raw6`](super::raw6).

use std::sync::Arc;

use crate::base::Span;

use super::encode;
use super::fault::{Fault, FaultKind};
use super::node::{At, Node, Table};
use super::options::Definitions;
use super::policy::{Generate, HostId6, PrefixExclude};
use super::raw::RawSettings;
use super::raw6::{RawDelegation, RawPool6, RawRa, RawRaPrefix, RawReservation6, RawSubnet6};
use super::read::{ClassNames, class_list, settings};
use super::read_network::{check_host, tables};
use super::schema;

/// Longest finite lifetime of 32 bits; the next is infinity (RFC 4861 s4.6.2).
const LIFETIME_MAX: Span = Span::from_secs(u32::MAX as u64 - 1);

const GENERATE_WORDS: [(&str, Generate); 3] = [
    ("iterative", Generate::Iterative),
    ("random", Generate::Random),
    ("stable", Generate::Stable),
];

/// A subnet whose prefix is an IPv6 one.
pub(super) fn subnet(table: &Table<'_>, defs: &Definitions, classes: &ClassNames) -> RawSubnet6 {
    let mut pools: Vec<RawPool6> = Vec::new();
    if let Some(node) = table.get("pools") {
        pools.extend(node.list().iter().filter_map(short_pool));
    }
    let full = tables(table.get("pool"), &schema::POOL, |t| pool(t, defs, classes));
    pools.extend(full.into_iter().flatten());
    let mut delegations = Vec::new();
    for key in ["delegations", "delegation"] {
        let read = |t: &Table<'_>| delegation(t, defs, classes);
        delegations.extend(tables(table.get(key), &schema::DELEGATION, read));
    }
    other_family(table, &["options"]);
    const POOLS: [&str; 4] = ["pools", "pool", "delegations", "delegation"];
    RawSubnet6 {
        prefix: table.get("prefix").and_then(|n| Some(n.at(n.unicast_prefix6()?))),
        region: table.get("region").and_then(|n| n.name()),
        has_pools: POOLS.iter().any(|key| table.get(key).is_some()),
        pools,
        delegations: delegations.into_iter().flatten().collect(),
        interface_ids: table
            .get("interface_ids")
            .map_or_else(Vec::new, |n| n.each(Node::identifier)),
        reservations: tables(table.get("reservation"), &schema::RESERVATION, |t| {
            check_host(t, false, true);
            other_family(t, &["address", "options"]);
            if !is_reservation(t) {
                let fault = Fault::new(FaultKind::MissingKey, &t.place, "a reservation of nothing");
                t.push(fault.expected("add addresses = [\"2001:db8::1\"], prefixes, or both"));
            }
            reservation(t, defs)
        }),
        settings: settings(table, defs),
    }
}

/// Reports keys that say nothing where all is IPv6.
fn other_family(table: &Table<'_>, keys: &[&str]) {
    for node in keys.iter().filter_map(|key| table.get(key)) {
        let key = node.place.key.rsplit('.').next().unwrap_or_default();
        let message = format!("`{key}` is for IPv4, in an IPv6 subnet");
        node.push(node.fault(FaultKind::Conflict, message).expected(match key {
            "options" => "options6 = { .. }",
            _ => "addresses = [\"2001:db8::1\"]; or say it in [[network.reservation]]",
        }));
    }
}

/// One entry of `pools`.
fn short_pool(node: &Node<'_>) -> Option<RawPool6> {
    let (range, is_prefix) = node.range6()?;
    Some(RawPool6 {
        range: node.at(range),
        is_prefix,
        exclude: Vec::new(),
        generate: None,
        allow: Vec::new(),
        deny: Vec::new(),
        settings: RawSettings::default(),
    })
}

fn pool(table: &Table<'_>, defs: &Definitions, names: &ClassNames) -> Option<RawPool6> {
    // Everything is read before the range can end it, so that every fault is reported.
    let (allow, deny) = (class_list(table, "allow", names), class_list(table, "deny", names));
    let settings = settings(table, defs);
    let exclude = table.get("exclude").map_or_else(Vec::new, |n| n.each(|n| Some(n.range6()?.0)));
    let generate = table.get("generate").and_then(|n| n.word(&GENERATE_WORDS));
    other_family(table, &["options"]);
    let node = table.require("range")?;
    let (range, is_prefix) = node.range6()?;
    Some(RawPool6 { range: node.at(range), is_prefix, exclude, generate, allow, deny, settings })
}

fn delegation(table: &Table<'_>, defs: &Definitions, names: &ClassNames) -> Option<RawDelegation> {
    let bits = |node: Node<'_>| Some(node.at(u8::try_from(node.integer(1, 128)?).ok()?));
    let (length, min_length, max_length) = (
        table.require("length").and_then(bits),
        table.get("min_length").and_then(bits),
        table.get("max_length").and_then(bits),
    );
    let (allow, deny) = (class_list(table, "allow", names), class_list(table, "deny", names));
    let exclude = table.get("exclude").and_then(|n| Some(n.at(prefix_exclude(&n)?)));
    let install_route = table.get("install_route").and_then(|n| n.boolean()).unwrap_or(false);
    let settings = settings(table, defs);
    other_family(table, &["options"]);
    let node = table.require("prefix")?;
    Some(RawDelegation {
        prefix: node.at(node.unicast_prefix6()?),
        length,
        min_length,
        max_length,
        exclude,
        allow,
        deny,
        install_route,
        settings,
    })
}

fn prefix_exclude(node: &Node<'_>) -> Option<PrefixExclude> {
    let table = node.table(&schema::EXCLUDE)?;
    let length = table.require("length").and_then(|n| n.integer(1, 128));
    let id = table.get("id").map_or(Some(0), |n| n.integer(0, i64::MAX));
    Some(PrefixExclude { length: u8::try_from(length?).ok()?, id: u128::try_from(id?).ok()? })
}

/// Whether a reservation says something of IPv6.
pub(super) fn is_reservation(table: &Table<'_>) -> bool {
    ["addresses", "prefixes"].iter().any(|key| table.get(key).is_some())
}

/// The IPv6 part of a reservation.
pub(super) fn reservation(table: &Table<'_>, defs: &Definitions) -> RawReservation6 {
    let list = |key| table.get(key).inspect(not_empty);
    RawReservation6 {
        host: host(table),
        addrs: list("addresses").map_or_else(Vec::new, |n| n.each(Node::unicast6)),
        prefixes: list("prefixes").map_or_else(Vec::new, |n| n.each(Node::unicast_prefix6)),
        hostname: table.get("hostname").and_then(|n| n.hostname()),
        settings: settings(table, defs),
    }
}

fn not_empty(node: &Node<'_>) {
    if node.list().is_empty() {
        node.bad::<()>("an empty list", "at least one value");
    }
}

/// Whose reservation it is. That exactly one key says so is
/// [`check_host`](super::read_network::check_host)'s to see.
fn host(table: &Table<'_>) -> Option<At<HostId6>> {
    let get = |key| table.get(key);
    if let Some(node) = get("mac") {
        return Some(node.at(HostId6::Hardware(node.hardware()?)));
    }
    if let Some(node) = get("duid") {
        return Some(node.at(HostId6::Duid(node.duid()?)));
    }
    let node = get("interface_id")?;
    Some(node.at(HostId6::InterfaceId(node.identifier()?)))
}

/// `router_advertisements`: true, false or a table.
pub(super) fn advertisements(node: Option<Node<'_>>) -> Option<RawRa> {
    let node = node?;
    if node.as_bool() == Some(false) {
        return None;
    }
    let mut ra = RawRa {
        place: node.place.clone(),
        managed: None,
        other: None,
        router: false,
        router_lifetime: None,
        min_interval: None,
        max_interval: None,
        mtu: None,
        prefixes: None,
        rdnss: None,
        dnssl: None,
        dns_lifetime: None,
        pref64: None,
        pref64_lifetime: None,
        goodbye: false,
    };
    if node.as_bool() == Some(true) {
        return Some(ra);
    }
    if !node.is_table() {
        return node.wrong_type("true, false or a table");
    }
    let table = node.table(&schema::ADVERTISEMENTS)?;
    fill_advertisements(&mut ra, &table);
    Some(ra)
}

fn fill_advertisements(ra: &mut RawRa, table: &Table<'_>) {
    let get = |key: &str| table.get(key);
    let flag = |key: &str| get(key).and_then(|n| n.boolean());
    let span = |key: &str, min: u64, max: u64| {
        let node = get(key)?;
        Some(node.at(node.duration(Span::from_secs(min), Span::from_secs(max))?))
    };
    let u32_max = u64::from(u32::MAX);
    ra.managed = flag("managed");
    ra.other = flag("other");
    ra.router = flag("router").unwrap_or(false);
    ra.goodbye = flag("goodbye").unwrap_or(false);
    // RFC 4861 s6.2.1.
    ra.router_lifetime = span("router_lifetime", 1, 9000);
    ra.max_interval = span("max_interval", 4, 1800);
    ra.min_interval = span("min_interval", 3, 1350);
    ra.dns_lifetime = span("dns_lifetime", 1, u32_max);
    // RFC 8781 s4: 13 bits of eight seconds.
    ra.pref64_lifetime = span("pref64_lifetime", 8, 65_528);
    ra.pref64 = get("pref64").and_then(|n| pref64(&n));
    // RFC 8200 s5: no link has less than 1,280 bytes.
    ra.mtu = get("mtu").and_then(|n| u32::try_from(n.integer(1280, 65_535)?).ok());
    let values = |list: Vec<At<_>>| list.into_iter().map(|at| at.value).collect();
    ra.rdnss = get("rdnss").map(|n| values(n.each(Node::ip6)));
    ra.dnssl = get("dnssl").map(|n| n.each(domain).into_iter().map(|at| at.value).collect());
    ra.prefixes = get("prefix").map(|n| {
        tables(Some(n), &schema::ADVERTISED_PREFIX, ra_prefix).into_iter().flatten().collect()
    });
}

fn domain(node: &Node<'_>) -> Option<Arc<str>> {
    let text = node.string("a domain name in a string")?;
    match encode::labels(text) {
        Ok(_) => Some(text.strip_suffix('.').unwrap_or(text).into()),
        Err(why) => node.bad(format!("not a domain name: {why}"), "as in \"example.net\""),
    }
}

fn pref64(node: &Node<'_>) -> Option<crate::base::Prefix6> {
    let prefix = node.prefix6()?;
    if matches!(prefix.len(), 32 | 40 | 48 | 56 | 64 | 96) {
        return Some(prefix);
    }
    let message = format!("a NAT64 prefix of {} bits", prefix.len());
    node.bad(message, "32, 40, 48, 56, 64 or 96 bits (RFC 6052)")
}

fn ra_prefix(table: &Table<'_>) -> Option<RawRaPrefix> {
    let flag = |key: &str, default| table.get(key).and_then(|n| n.boolean()).unwrap_or(default);
    let span = |key: &str| {
        let node = table.get(key)?;
        Some(node.at(node.duration_or_infinite(Span::ZERO, LIFETIME_MAX)?))
    };
    let (on_link, autonomous) = (flag("on_link", true), flag("autonomous", false));
    let (valid, preferred) = (span("valid"), span("preferred"));
    let node = table.require("prefix")?;
    let prefix = node.at(node.unicast_prefix6()?);
    Some(RawRaPrefix { prefix, on_link, autonomous, valid, preferred })
}
