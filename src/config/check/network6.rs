//! What one network says of IPv6: its subnets, pools, delegations and reservations together.

use std::net::Ipv6Addr;

use crate::base::Prefix6;
use crate::config::fault::{Fault, FaultKind, Place, Sink};
use crate::config::node::At;
use crate::config::policy::{
    Bytes, DelegationPool, Network6, Pool6, Reservation6, Settings, Subnet6,
};
use crate::config::raw::RawNetwork;
use crate::config::raw6::{RawNetwork6, RawReservation6, RawSubnet6};

use super::lease::Times;
use super::{advertisement, delegation, pool6, reservation6};

/// What subnets and reservations inherit.
pub(super) struct Outer<'a> {
    pub(super) top: &'a Settings,
    pub(super) network: &'a Settings,
    pub(super) times: &'a Times,
    /// Whether the network is served on a link.
    pub(super) interfaces: bool,
}

/// What is spoken for, ascending.
struct Taken {
    addrs: Vec<Ipv6Addr>,
    prefixes: Vec<Prefix6>,
}

/// Reports what takes two values of a network to be wrong.
pub(super) fn check(raw: &RawNetwork, sink: &Sink) {
    let v6 = &raw.v6;
    check_prefixes(v6, sink);
    pool6::check_overlaps(&v6.subnets, sink);
    reservation6::check(v6, sink);
    let ids: Vec<&At<Bytes>> = v6.subnets.iter().flat_map(|s| &s.interface_ids).collect();
    super::duplicates(&ids, |_| "this interface-id has a subnet already".to_owned(), sink);
    if let Some(ra) = v6.ra.as_ref().filter(|_| raw.interfaces.is_empty()) {
        let message = "a network without interfaces, which no advertisement reaches";
        let fault = Fault::new(FaultKind::Conflict, &ra.place, message);
        sink.push(fault.expected("add interfaces = [\"br0\"], or leave this out"));
    }
}

/// Whether there is an address or a prefix to give.
pub(super) fn gives(raw: &RawNetwork6) -> bool {
    raw.subnets.iter().any(|subnet| subnet.has_pools) || reservation6::all(raw).next().is_some()
}

/// Reports subnets and delegations of one network that share addresses: a delegated prefix lies
/// behind its client, so it is on no link of ours.
fn check_prefixes(raw: &RawNetwork6, sink: &Sink) {
    let subnets = raw.subnets.iter().filter_map(|subnet| subnet.prefix.as_ref());
    let delegations = raw.subnets.iter().flat_map(|s| &s.delegations).map(|d| &d.prefix);
    let mut prefixes: Vec<(Prefix6, &Place)> =
        subnets.chain(delegations).map(|at| (at.value, &at.place)).collect();
    let message = |prefix: &Prefix6, other: &Prefix6| {
        format!("subnets or delegations overlap: {prefix} and {other} share addresses")
    };
    super::overlaps(&mut prefixes, message, sink);
}

/// Builds the IPv6 part of a network.
pub(super) fn build(
    raw: RawNetwork6,
    outer: &Outer<'_>,
    sink: &Sink,
) -> (Network6, Vec<Subnet6>, Vec<Reservation6>) {
    let mut taken = Taken {
        addrs: reservation6::all(&raw).flat_map(|(_, r)| &r.addrs).map(|at| at.value).collect(),
        prefixes: reservation6::all(&raw)
            .flat_map(|(_, r)| &r.prefixes)
            .map(|at| at.value)
            .collect(),
    };
    taken.addrs.sort_unstable();
    taken.prefixes.sort_unstable();
    let relays6: Vec<Prefix6> = raw.relays.into_iter().map(|at| at.value).collect();
    let mut homes: Vec<(Prefix6, Times)> = Vec::new();
    let (mut subnets, mut nested) = (Vec::new(), Vec::new());
    for subnet in raw.subnets {
        let (built, times, below) = build_subnet(subnet, outer, &taken, sink);
        nested.extend(below.into_iter().filter_map(|r| build_reservation(r, &times, sink)));
        if let Some(subnet) = built {
            homes.push((subnet.prefix, times));
            subnets.push(subnet);
        }
    }
    let direct = raw.reservations.into_iter().filter_map(|r| {
        let first = r.addrs.first().map(|at| at.value);
        let home = homes.iter().find(|(prefix, _)| first.is_some_and(|a| prefix.contains(a)));
        let times = home.map_or(outer.times, |(_, times)| times);
        build_reservation(r, times, sink)
    });
    let reservations: Vec<Reservation6> = direct.chain(nested).collect();
    let preference = raw.preference;
    let mut v6 = Network6 { preference, relays6, ra: None };
    let links = advertisement::Links {
        outer,
        relays: &v6.relays6,
        subnets: &subnets,
        reserved: reservations.iter().any(|r| !r.addrs.is_empty()),
    };
    v6.ra = raw.ra.map(|ra| advertisement::build(ra, &links, sink));
    (v6, subnets, reservations)
}

fn build_subnet(
    raw: RawSubnet6,
    outer: &Outer<'_>,
    taken: &Taken,
    sink: &Sink,
) -> (Option<Subnet6>, Times, Vec<RawReservation6>) {
    let mut settings = raw.settings.settings;
    let times = outer.times.inner(&raw.settings.lease, &mut settings.lease, sink);
    let mut pools: Vec<Pool6> = Vec::new();
    if let Some(prefix) = &raw.prefix {
        let build = |p| pool6::build(p, prefix, &times, &taken.addrs, sink);
        pools = raw.pools.into_iter().filter_map(build).collect();
        pools.sort_by_key(|pool| pool.first);
    }
    let build = |d| delegation::build(d, &times, &taken.prefixes, sink);
    let mut delegations: Vec<DelegationPool> =
        raw.delegations.into_iter().filter_map(build).collect();
    delegations.sort_by_key(|pool| pool.prefix);
    let interface_ids = raw.interface_ids.into_iter().map(|at| at.value).collect();
    let subnet = raw.prefix.map(|prefix| Subnet6 {
        prefix: prefix.value,
        region: raw.region,
        settings,
        pools,
        delegations,
        interface_ids,
    });
    (subnet, times, raw.reservations)
}

fn build_reservation(raw: RawReservation6, times: &Times, sink: &Sink) -> Option<Reservation6> {
    let mut settings = raw.settings.settings;
    times.inner(&raw.settings.lease, &mut settings.lease, sink);
    Some(Reservation6 {
        host: raw.host?.value,
        addrs: raw.addrs.into_iter().map(|at| at.value).collect(),
        prefixes: raw.prefixes.into_iter().map(|at| at.value).collect(),
        hostname: raw.hostname,
        settings,
    })
}
