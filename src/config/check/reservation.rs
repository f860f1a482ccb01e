//! Reservations of one network: one per client and per address, inside its subnets.

use std::net::Ipv4Addr;

use crate::base::Prefix4;
use crate::config::fault::{Fault, FaultKind, Sink};
use crate::config::node::At;
use crate::config::policy::HostId;
use crate::config::raw::{RawNetwork, RawReservation};

/// Subnets that a message names before it stops.
const PREFIXES_NAMED_MAX: usize = 4;

/// All reservations of a network with the index of the subnet they stand below, if any.
pub(super) fn all(raw: &RawNetwork) -> impl Iterator<Item = (Option<usize>, &RawReservation)> {
    let nested = raw.subnets.iter().enumerate();
    let nested = nested.flat_map(|(i, s)| s.reservations.iter().map(move |r| (Some(i), r)));
    raw.reservations.iter().map(|r| (None, r)).chain(nested)
}

/// Reports what is wrong with the reservations of a network.
pub(super) fn check(raw: &RawNetwork, sink: &Sink) {
    let hosts: Vec<&At<HostId>> = all(raw).filter_map(|(_, r)| r.host.as_ref()).collect();
    super::duplicates(&hosts, |_| "this client has a reservation already".to_owned(), sink);
    let addrs: Vec<&At<Ipv4Addr>> = all(raw).filter_map(|(_, r)| r.addr.as_ref()).collect();
    super::duplicates(&addrs, |addr| format!("{addr} is reserved already"), sink);
    let subnets = raw.subnets.iter().enumerate();
    let mut prefixes: Vec<(Prefix4, (usize, &At<Prefix4>))> = subnets
        .filter_map(|(i, subnet)| subnet.prefix.as_ref().map(|at| (at.value, (i, at))))
        .collect();
    prefixes.sort_by_key(|(prefix, _)| *prefix);
    // A prefix that could not be read may have been the right one.
    let all_known = prefixes.len() == raw.subnets.len();
    for (nest, reservation) in all(raw) {
        let Some(addr) = &reservation.addr else { continue };
        check_server(raw, addr, sink);
        match home(&prefixes, addr.value) {
            Some((_, (i, subnet))) if nest.is_none_or(|nest| nest == *i) => {
                check_host(subnet, addr, sink);
            }
            _ if all_known => outside(raw, nest, addr, sink),
            _ => {}
        }
    }
}

/// The prefix that holds `addr`, of prefixes in ascending order.
pub(super) fn home<T>(prefixes: &[(Prefix4, T)], addr: Ipv4Addr) -> Option<&(Prefix4, T)> {
    let after = prefixes.partition_point(|(prefix, _)| prefix.network() <= addr);
    let below = prefixes.get(..after).unwrap_or_default();
    let near = below.last().filter(|(prefix, _)| prefix.contains(addr));
    // Only prefixes that overlap, which is a fault of its own, need the longer search.
    near.or_else(|| below.iter().rev().find(|(prefix, _)| prefix.contains(addr)))
}

fn outside(raw: &RawNetwork, nest: Option<usize>, addr: &At<Ipv4Addr>, sink: &Sink) {
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
    let fault = fault(format!("{} is outside every subnet of its network", addr.value));
    sink.push(fault.expected(if all.is_empty() {
        "a [[network.subnet]] that holds it".to_owned()
    } else {
        format!("an address in {}", all.join(" or "))
    }));
}

fn check_host(subnet: &At<Prefix4>, addr: &At<Ipv4Addr>, sink: &Sink) {
    if !subnet.value.is_host(addr.value) {
        let network = addr.value == subnet.value.network();
        let what = if network { "network" } else { "broadcast" };
        let message = format!("{} is the {what} address of {}", addr.value, subnet.value);
        let fault = Fault::new(FaultKind::Outside, &addr.place, message);
        sink.push(fault.related(&subnet.place, "the subnet"));
    }
}

fn check_server(raw: &RawNetwork, addr: &At<Ipv4Addr>, sink: &Sink) {
    if let Some(server) = raw.server_id.as_ref().filter(|id| id.value == addr.value) {
        let message = format!("{} is this server's own address", addr.value);
        let fault = Fault::new(FaultKind::Conflict, &addr.place, message);
        sink.push(fault.related(&server.place, "said here"));
    }
}
