//! Who hears what: names, interfaces and relays of all networks side by side.

use std::collections::BTreeMap;

use crate::base::{NetworkId, Prefix4, Prefix6};
use crate::config::fault::{Fault, FaultKind, Place, Sink};
use crate::config::node::At;
use crate::config::policy::Pattern;
use crate::config::raw::{File, RawNetwork};

use super::Block;

/// Reports networks that cannot be told apart or that nothing reaches.
pub(super) fn check(file: &File, sink: &Sink) {
    if !file.has_networks {
        let fault = Fault::unplaced(FaultKind::Suspicious, "", "no network is served");
        sink.push(fault.warning().expected("add a [[network]]"));
    }
    check_names(&file.networks, sink);
    check_interfaces(file, sink);
    check_reach(file, sink);
    check_relays(&file.networks.iter().map(Relayed::v4).collect::<Vec<_>>(), sink);
    check_relays(&file.networks.iter().map(Relayed::v6).collect::<Vec<_>>(), sink);
}

fn check_names(networks: &[RawNetwork], sink: &Sink) {
    let names: Vec<_> = networks.iter().filter_map(|network| network.name.as_ref()).collect();
    super::duplicates(&names, |name| format!("two networks are called \"{name}\""), sink);
    let mut ids: BTreeMap<NetworkId, &At<_>> = BTreeMap::new();
    for name in names {
        let other = ids.entry(NetworkId::of(&name.value)).or_insert(name);
        if other.value != name.value {
            let message = "two network names that the store cannot tell apart";
            let fault = Fault::new(FaultKind::Conflict, &name.place, message);
            sink.push(fault.related(&other.place, "the other").expected("another name"));
        }
    }
}

/// Reports interfaces that two networks claim.
fn check_interfaces(file: &File, sink: &Sink) {
    let claims: Vec<(usize, &At<Pattern>)> = file
        .networks
        .iter()
        .enumerate()
        .flat_map(|(i, network)| network.interfaces.iter().map(move |at| (i, at)))
        .collect();
    let mut first: BTreeMap<&str, (usize, &Place)> = BTreeMap::new();
    for (network, at) in &claims {
        let (owner, place) = *first.entry(&at.value.0).or_insert((*network, &at.place));
        if owner != *network {
            let message = format!("two networks claim the interface \"{}\"", at.value.0);
            let fault = Fault::new(FaultKind::Conflict, &at.place, message);
            sink.push(fault.related(place, "first here").expected("one network per interface"));
        }
    }
    // Names in full meet only if they are equal, which was seen above.
    let globs = claims.iter().filter(|(_, at)| !at.value.is_literal());
    for (network, glob) in globs {
        for (other_network, other) in &claims {
            let (first, second) = in_order(glob, other);
            let once = other.value.is_literal() || std::ptr::eq(first, *glob);
            if once && network != other_network && collide(&glob.value, &other.value) {
                report_collision(first, second, sink);
            }
        }
    }
    for at in &file.relay_interfaces {
        if let Some((_, other)) = claims.iter().find(|(_, other)| at.value == other.value) {
            let message = format!("\"{}\" serves a network already", at.value.0);
            let fault = Fault::new(FaultKind::Suspicious, &at.place, message);
            let expected = "leave it out: a network's interfaces hear relays too";
            sink.push(fault.warning().related(&other.place, "here").expected(expected));
        }
    }
}

/// The two as the file has them.
fn in_order<'a>(a: &'a At<Pattern>, b: &'a At<Pattern>) -> (&'a At<Pattern>, &'a At<Pattern>) {
    if a.place.span.start <= b.place.span.start { (a, b) } else { (b, a) }
}

/// Whether some interface could belong to both, though they are not written the same.
fn collide(a: &Pattern, b: &Pattern) -> bool {
    a != b && a.meets(b)
}

fn report_collision(first: &At<Pattern>, second: &At<Pattern>, sink: &Sink) {
    let (a, b) = (&first.value, &second.value);
    let message = format!("\"{}\" and \"{}\" of two networks match the same names", a.0, b.0);
    let expected = if a.is_literal() || b.is_literal() {
        "the network that names an interface in full has it"
    } else {
        "the first network in the file has such an interface"
    };
    let fault = Fault::new(FaultKind::Suspicious, &second.place, message).expected(expected);
    sink.push(fault.warning().related(&first.place, "the other is here"));
}

/// Reports networks from which no packet ever comes.
fn check_reach(file: &File, sink: &Sink) {
    let listens = !file.relay_interfaces.is_empty()
        || file.networks.iter().any(|network| !network.interfaces.is_empty());
    for network in &file.networks {
        if !network.reachable {
            let message = "a network with neither interfaces nor relays";
            let fault = Fault::new(FaultKind::MissingKey, &network.place, message);
            sink.push(fault.expected("add interfaces = [\"br0\"] or relays = [\"10.1.0.0/16\"]"));
        }
        let relays = network.relays.iter().map(|at| &at.place);
        let mut relays = relays.chain(network.v6.relays.iter().map(|at| &at.place));
        if let Some(place) = relays.next().filter(|_| !listens) {
            let message = "no interface hears these relays";
            let fault = Fault::new(FaultKind::MissingKey, place, message);
            sink.push(fault.expected("add relay_interfaces = [\"eth0\"] to [server]"));
        }
    }
}

/// Reports networks between which a relayed packet could not choose: the same relays believed,
/// and overlapping subnets.
fn check_relays<B: Block>(relayed: &[Relayed<'_, B>], sink: &Sink) {
    let with = relayed.iter().enumerate().filter(|(_, network)| !network.relays.is_empty());
    let mut subnets: Vec<(B, usize, &Place)> =
        with.flat_map(|(i, n)| n.subnets.iter().map(move |at| (at.value, i, &at.place))).collect();
    // Wider before narrower: prefixes are nested or apart, so a stack holds all that contain one.
    subnets.sort_by_key(|(prefix, i, _)| (*prefix, *i));
    let mut around: Vec<(B, usize, &Place)> = Vec::new();
    for (prefix, i, place) in subnets {
        around.retain(|(outer, _, _)| outer.holds(&prefix));
        for (_, j, other) in &around {
            let (Some(one), Some(two)) = (relayed.get(i), relayed.get(*j)) else { continue };
            if i != *j && one.shares_relays(two) {
                let (at, first) = if place.span.start < other.span.start {
                    (*other, place)
                } else {
                    (place, *other)
                };
                let message = "two networks believe the same relays and serve the same addresses";
                let fault = Fault::new(FaultKind::Conflict, at, message);
                let expected = "tell their `relays` apart";
                sink.push(fault.related(first, "the other is here").expected(expected));
            }
        }
        around.push((prefix, i, place));
    }
}

/// What one protocol of a network tells of relays.
struct Relayed<'a, B> {
    relays: &'a [At<B>],
    subnets: Vec<&'a At<B>>,
}

impl<'a> Relayed<'a, Prefix4> {
    fn v4(network: &'a RawNetwork) -> Relayed<'a, Prefix4> {
        let subnets = network.subnets.iter().filter_map(|subnet| subnet.prefix.as_ref());
        Relayed { relays: &network.relays, subnets: subnets.collect() }
    }
}

impl<'a> Relayed<'a, Prefix6> {
    fn v6(network: &'a RawNetwork) -> Relayed<'a, Prefix6> {
        let subnets = network.v6.subnets.iter().filter_map(|subnet| subnet.prefix.as_ref());
        Relayed { relays: &network.v6.relays, subnets: subnets.collect() }
    }
}

impl<B: Block> Relayed<'_, B> {
    fn shares_relays(&self, other: &Self) -> bool {
        let shared = |x: &B| other.relays.iter().any(|y| x.meets(&y.value));
        self.relays.iter().any(|x| shared(&x.value))
    }
}
