//! Reservations of one network: one per client and per address, inside its subnets.

use std::net::Ipv4Addr;

use crate::base::Prefix4;
use crate::config::fault::{Fault, FaultKind, Sink};
use crate::config::node::At;
use crate::config::policy::HostId;
use crate::config::raw::{RawNetwork, RawReservation};

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
    for (nest, reservation) in all(raw) {
        if let Some(addr) = &reservation.addr {
            check_address(raw, nest, addr, sink);
        }
    }
}

fn check_address(raw: &RawNetwork, nest: Option<usize>, addr: &At<Ipv4Addr>, sink: &Sink) {
    let subnets = raw.subnets.iter().enumerate();
    let candidates: Vec<Option<&At<Prefix4>>> = subnets
        .filter(|(i, _)| nest.is_none_or(|nest| nest == *i))
        .map(|(_, subnet)| subnet.prefix.as_ref())
        .collect();
    // A prefix that could not be read may have been the one.
    let Some(prefixes) = candidates.into_iter().collect::<Option<Vec<_>>>() else { return };
    let fault = |message: String| Fault::new(FaultKind::Outside, &addr.place, message);
    let Some(home) = prefixes.iter().find(|p| p.value.contains(addr.value)) else {
        let all: Vec<String> = prefixes.iter().map(|p| p.value.to_string()).collect();
        let fault = match (nest, prefixes.first()) {
            (Some(_), Some(subnet)) => fault(format!("{} is outside its subnet", addr.value))
                .related(&subnet.place, "the subnet"),
            _ => fault(format!("{} is outside every subnet of its network", addr.value)),
        };
        sink.push(fault.expected(format!("an address in {}", all.join(" or "))));
        return;
    };
    if !home.value.is_host(addr.value) {
        let network = addr.value == home.value.network();
        let what = if network { "network" } else { "broadcast" };
        let message = format!("{} is the {what} address of {}", addr.value, home.value);
        sink.push(fault(message).related(&home.place, "the subnet"));
    }
    if let Some(server) = raw.server_id.as_ref().filter(|id| id.value == addr.value) {
        let message = format!("{} is this server's own address", addr.value);
        let fault = Fault::new(FaultKind::Conflict, &addr.place, message);
        sink.push(fault.related(&server.place, "said here"));
    }
}
