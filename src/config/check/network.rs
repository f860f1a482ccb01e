//! One network: its subnets, pools and reservations together.

use std::net::Ipv4Addr;

use crate::base::{NetworkId, Prefix4, Range4};
use crate::config::fault::{Fault, FaultKind, Place, Sink};
use crate::config::node::At;
use crate::config::policy::{Identity, Network, Pool, Reservation, Settings, Subnet, TierPolicy};
use crate::config::raw::{RawNetwork, RawPool, RawReservation, RawSubnet};
use crate::config::tiers::RawTier;

use super::lease::Times;
use super::{network6, pool, reservation};

/// What pools and reservations inherit.
struct Outer<'a> {
    top: &'a Settings,
    network: Settings,
    times: Times,
    /// Reserved addresses and the server's own, ascending.
    taken: Vec<Ipv4Addr>,
}

/// Checks a network and builds it; `None` if a part without which there is none failed.
pub(super) fn build(
    raw: RawNetwork,
    top: &Settings,
    times: &Times,
    sink: &Sink,
) -> Option<Network> {
    check(&raw, sink);
    let taken = taken(&raw);
    let mut network = raw.settings.settings;
    let times = times.inner(&raw.settings.lease, &mut network.lease, sink);
    let tiers = raw.tiers.map(|raw| raw.map(|raw| tier(&raw, &times, sink)));
    let outer = Outer { top, network, times, taken };
    let (mut prefixes, mut subnets, mut nested) = (Vec::new(), Vec::new(), Vec::new());
    for subnet in raw.subnets {
        let (built, times, below) = build_subnet(subnet, &outer, sink);
        nested.extend(below.into_iter().filter_map(|r| build_reservation(r, &times, sink)));
        if let Some(subnet) = built {
            prefixes.push((subnet.prefix, times));
            subnets.push(subnet);
        }
    }
    prefixes.sort_by_key(|(prefix, _)| *prefix);
    let direct = raw.reservations.into_iter().filter_map(|r| {
        let home = r.addr.as_ref().and_then(|a| reservation::home(&prefixes, a.value));
        build_reservation(r, home.map_or(&outer.times, |(_, times)| times), sink)
    });
    let reservations = direct.chain(nested).collect();
    let interfaces: Vec<_> = raw.interfaces.into_iter().map(|at| at.value).collect();
    let outer6 = network6::Outer {
        top,
        network: &outer.network,
        times: &outer.times,
        interfaces: !interfaces.is_empty(),
    };
    let (v6, subnets6, reservations6) = network6::build(raw.v6, &outer6, sink);
    let name = raw.name?.value;
    Some(Network {
        id: NetworkId::of(&name),
        name,
        interfaces,
        trusted_ports: raw.trusted_ports,
        trunk_ports: raw.trunk_ports,
        relays: raw.relays.into_iter().map(|at| at.value).collect(),
        authoritative: raw.authoritative,
        identity: raw.identity.value,
        server_id: raw.server_id.map(|at| at.value),
        rapid_commit: raw.rapid_commit,
        bootp: raw.bootp,
        verify: raw.verify,
        offer_hold: raw.offer_hold,
        quarantine: raw.quarantine,
        hold: raw.hold,
        short_percent: raw.short_percent,
        lifecycle: raw.lifecycle,
        tiers,
        relocation: raw.relocation,
        standby: raw.standby,
        guard: raw.guard,
        reconcile: raw.reconcile,
        declines_max: raw.declines_max,
        offers_max: raw.offers_max,
        limits: raw.limits,
        settings: outer.network,
        subnets,
        reservations,
        v6,
        subnets6,
        reservations6,
    })
}

fn tier(raw: &RawTier, times: &Times, sink: &Sink) -> TierPolicy {
    let mut settings = Settings::default();
    times.inner(&raw.lease, &mut settings.lease, sink);
    TierPolicy { min_percent: raw.min_percent, max_percent: raw.max_percent, settings }
}

fn check(raw: &RawNetwork, sink: &Sink) {
    check_subnets(&raw.subnets, sink);
    pool::check_overlaps(&raw.subnets, sink);
    reservation::check(raw, sink);
    network6::check(raw, sink);
    check_use(raw, sink);
}

/// Reserved addresses and the server's own, ascending.
fn taken(raw: &RawNetwork) -> Vec<Ipv4Addr> {
    let reserved = reservation::all(raw).filter_map(|(_, r)| r.addr.as_ref());
    let mut taken: Vec<Ipv4Addr> = reserved.chain(&raw.server_id).map(|at| at.value).collect();
    taken.sort_unstable();
    taken
}

/// Reports subnets of one network that share addresses.
fn check_subnets(subnets: &[RawSubnet], sink: &Sink) {
    let prefixes = subnets.iter().filter_map(|subnet| subnet.prefix.as_ref());
    let mut ranges: Vec<(Range4, &Place)> =
        prefixes.map(|at| (at.value.range(), &at.place)).collect();
    let message = |range: &Range4, other: &Range4| {
        format!("subnets of one network overlap: {range} and {other} share addresses")
    };
    super::overlaps(&mut ranges, message, sink);
}

/// Warns of a network that can do nothing, or not what it says.
fn check_use(raw: &RawNetwork, sink: &Sink) {
    let warn = |place: &Place, message: &str, expected: &str| {
        let fault = Fault::new(FaultKind::Suspicious, place, message);
        sink.push(fault.warning().expected(expected));
    };
    let gives = raw.subnets.iter().any(|subnet| subnet.has_pools) || raw.v6.ra.is_some();
    if !gives && reservation::all(raw).next().is_none() && !network6::gives(&raw.v6) {
        warn(&raw.place, "this network has no address to give", "add pools or reservations");
    }
    let relayed = !raw.relays.is_empty() || !raw.trusted_ports.is_empty();
    if raw.identity.value == Identity::CircuitId && !relayed {
        let message = "clients are told apart by relay information, but none is believed here";
        warn(&raw.identity.place, message, "add `relays` or `trusted_ports`");
    }
    if let Some(relay) = relay_of_the_link(raw) {
        let message = "every subnet here is behind relays, and none is on the interfaces";
        let expected = "relays whose clients are elsewhere, as in relays = [\"10.1.0.1\"]; or no \
                        interfaces here, and `relay_interfaces` in [server]";
        warn(relay, message, expected);
    }
}

/// Of a network with interfaces and no subnet for them, since relays are in each, one that is in
/// its first: clients of the interfaces would be served as if they were behind it.
fn relay_of_the_link(raw: &RawNetwork) -> Option<&Place> {
    let relay_in = |subnet: &RawSubnet| {
        let range = subnet.prefix.as_ref()?.value.range();
        let inside = |relay: &&At<Prefix4>| relay.value.range().overlaps(&range);
        raw.relays.iter().find(inside).map(|at| &at.place)
    };
    let relays: Option<Vec<&Place>> = raw.subnets.iter().map(relay_in).collect();
    relays?.first().copied().filter(|_| !raw.interfaces.is_empty())
}

fn build_subnet(
    raw: RawSubnet,
    outer: &Outer<'_>,
    sink: &Sink,
) -> (Option<Subnet>, Times, Vec<RawReservation>) {
    let mut settings = raw.settings.settings;
    let times = outer.times.inner(&raw.settings.lease, &mut settings.lease, sink);
    let mut pools: Vec<Pool> = Vec::new();
    if let Some(prefix) = &raw.prefix {
        let build = |p| build_pool(p, prefix, &settings, &times, outer, sink);
        pools = raw.pools.into_iter().filter_map(build).collect();
        pools.sort_by_key(|pool| pool.range.first);
    }
    let region = raw.region;
    let subnet = raw.prefix.map(|prefix| Subnet { prefix: prefix.value, region, settings, pools });
    (subnet, times, raw.reservations)
}

fn build_pool(
    mut raw: RawPool,
    prefix: &At<Prefix4>,
    subnet: &Settings,
    times: &Times,
    outer: &Outer<'_>,
    sink: &Sink,
) -> Option<Pool> {
    times.inner(&raw.settings.lease, &mut raw.settings.settings.lease, sink);
    let range = pool::range(&raw, prefix, sink)?;
    let own = &raw.settings.settings.options;
    let routers = pool::routers([own, &subnet.options, &outer.network.options, &outer.top.options]);
    if routers.is_empty() {
        return Some(pool::build(raw, range, &outer.taken, sink));
    }
    let mut taken = outer.taken.clone();
    taken.extend(routers);
    taken.sort_unstable();
    Some(pool::build(raw, range, &taken, sink))
}

fn build_reservation(raw: RawReservation, times: &Times, sink: &Sink) -> Option<Reservation> {
    let mut settings = raw.settings.settings;
    times.inner(&raw.settings.lease, &mut settings.lease, sink);
    Some(Reservation {
        host: raw.host?.value,
        addr: raw.addr?.value,
        hostname: raw.hostname,
        settings,
    })
}
