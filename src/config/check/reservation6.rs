//! IPv6 reservations of one network: one per client, address and prefix; addresses inside its
//! subnets, prefixes outside.

use std::net::Ipv6Addr;

use crate::base::Prefix6;
use crate::config::fault::{Fault, FaultKind, Place, Sink};
use crate::config::node::At;
use crate::config::policy::HostId6;
use crate::config::raw6::{RawNetwork6, RawReservation6};

use super::pool6::is_router_anycast;

/// Subnets that a message names before it stops.
const PREFIXES_NAMED_MAX: usize = 4;

/// All reservations of a network with the index of the subnet they stand below, if any.
pub(super) fn all(raw: &RawNetwork6) -> impl Iterator<Item = (Option<usize>, &RawReservation6)> {
    let nested = raw.subnets.iter().enumerate();
    let nested = nested.flat_map(|(i, s)| s.reservations.iter().map(move |r| (Some(i), r)));
    raw.reservations.iter().map(|r| (None, r)).chain(nested)
}

/// Reports what is wrong with the reservations of a network.
pub(super) fn check(raw: &RawNetwork6, sink: &Sink) {
    let hosts: Vec<&At<HostId6>> = all(raw).filter_map(|(_, r)| r.host.as_ref()).collect();
    super::duplicates(&hosts, |_| "this client has a reservation already".to_owned(), sink);
    let addrs: Vec<&At<Ipv6Addr>> = all(raw).flat_map(|(_, r)| &r.addrs).collect();
    super::duplicates(&addrs, |addr| format!("{addr} is reserved already"), sink);
    let reserved: Vec<&At<Prefix6>> = all(raw).flat_map(|(_, r)| &r.prefixes).collect();
    let mut prefixes: Vec<(Prefix6, &Place)> =
        reserved.iter().map(|at| (at.value, &at.place)).collect();
    let message = |prefix: &Prefix6, other: &Prefix6| {
        format!("reserved prefixes overlap: {prefix} and {other} share addresses")
    };
    super::overlaps(&mut prefixes, message, sink);
    let links = Subnets::of(raw);
    for at in reserved {
        check_prefix(&links, at, sink);
    }
    for (nest, reservation) in all(raw) {
        for addr in &reservation.addrs {
            check_addr(raw, &links, nest, addr, sink);
        }
    }
}

/// The prefixes of a network's subnets.
struct Subnets<'a> {
    /// Ascending, each with the index of its subnet.
    sorted: Vec<(&'a At<Prefix6>, usize)>,
    /// Every prefix could be read.
    complete: bool,
}

impl<'a> Subnets<'a> {
    fn of(raw: &'a RawNetwork6) -> Subnets<'a> {
        let subnets = raw.subnets.iter().enumerate();
        let mut sorted: Vec<(&At<Prefix6>, usize)> =
            subnets.filter_map(|(i, subnet)| Some((subnet.prefix.as_ref()?, i))).collect();
        sorted.sort_by_key(|(at, _)| at.value);
        let complete = sorted.len() == raw.subnets.len();
        Subnets { sorted, complete }
    }

    /// The subnet that shares addresses with `prefix`.
    fn meeting(&self, prefix: Prefix6) -> Option<(&'a At<Prefix6>, usize)> {
        let after = self.sorted.partition_point(|(at, _)| at.value.network() <= prefix.last());
        let below = self.sorted.get(..after).unwrap_or_default();
        let near = below.last().filter(|(at, _)| at.value.overlaps(&prefix));
        // Only subnets that overlap, which is a fault of its own, need the longer search.
        near.or_else(|| below.iter().rev().find(|(at, _)| at.value.overlaps(&prefix))).copied()
    }
}

/// A delegated prefix lies behind its client, and not on the link.
fn check_prefix(links: &Subnets<'_>, at: &At<Prefix6>, sink: &Sink) {
    if let Some((subnet, _)) = links.meeting(at.value) {
        let message = format!("{} shares addresses with the subnet {}", at.value, subnet.value);
        let fault = Fault::new(FaultKind::Overlap, &at.place, message);
        let fault = fault.related(&subnet.place, "the subnet");
        sink.push(fault.expected("a prefix that is on no link of this network"));
    }
}

fn check_addr(
    raw: &RawNetwork6,
    links: &Subnets<'_>,
    nest: Option<usize>,
    addr: &At<Ipv6Addr>,
    sink: &Sink,
) {
    let home = Prefix6::new(addr.value, 128).and_then(|one| links.meeting(one));
    let Some((subnet, _)) = home.filter(|(_, i)| nest.is_none_or(|nest| nest == *i)) else {
        if links.complete {
            outside(raw, nest, addr, sink);
        }
        return;
    };
    if is_router_anycast(subnet.value, addr.value) {
        let message =
            format!("{} is the anycast address of routers in {}", addr.value, subnet.value);
        let fault = Fault::new(FaultKind::Outside, &addr.place, message);
        sink.push(fault.related(&subnet.place, "the subnet"));
    }
}

fn outside(raw: &RawNetwork6, nest: Option<usize>, addr: &At<Ipv6Addr>, sink: &Sink) {
    let fault = |message: String| Fault::new(FaultKind::Outside, &addr.place, message);
    let nest = nest.and_then(|i| raw.subnets.get(i)?.prefix.as_ref());
    if let Some(subnet) = nest {
        let fault = fault(format!("{} is outside its subnet {}", addr.value, subnet.value));
        let expected = format!("an address within {}", subnet.value.range());
        sink.push(fault.related(&subnet.place, "the subnet").expected(expected));
        return;
    }
    let mut all: Vec<String> =
        raw.subnets.iter().filter_map(|s| Some(s.prefix.as_ref()?.value.to_string())).collect();
    if all.len() > PREFIXES_NAMED_MAX {
        all.truncate(PREFIXES_NAMED_MAX);
        all.push("another of its subnets".to_owned());
    }
    let fault = fault(format!("{} is outside every IPv6 subnet of its network", addr.value));
    sink.push(fault.expected(if all.is_empty() {
        "a [[network.subnet]] that holds it".to_owned()
    } else {
        format!("an address in {}", all.join(" or "))
    }));
}
