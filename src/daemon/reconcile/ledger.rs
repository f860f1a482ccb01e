//! What the engine knows of a network, as the detector wants it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::api::command::LEASES_PER_LOOK;
use crate::base::{HwAddr, Mac, NetworkId, Range6, Resource, Timestamp};
use crate::config::policy::{HostId, HostId6, Network, Reconcile, Speaker};
use crate::engine::Engine;
use crate::lease::directory::{Standby, Step};
use crate::lease::{Lease, QuarantineReason, State};
use crate::reconcile::{Allowed, Bound, Known, Pair};
use crate::scan::Wire;

use super::super::work::{JobError, Jobs};

/// All that is known now, and which addresses are out of use.
pub(super) fn all(
    jobs: &Jobs<Engine>,
    id: NetworkId,
    reconcile: &Reconcile,
    wire: &Wire,
) -> Result<(Known, BTreeSet<IpAddr>), JobError> {
    // What is bound after this moment is not in it.
    let (as_of, policy) = jobs.call(|bench| (bench.now, bench.machine.policy().clone()))?;
    let mut known = of_policy(policy.networks.iter().find(|n| n.id == id), reconcile, wire);
    known.as_of = as_of;
    known.pairs = jobs.call(move |bench| {
        let pairs = bench.machine.directory().standbys().filter(|pair| pair.network == id);
        let each = pairs.flat_map(|of| of.resources.iter().map(move |r| (of, *r)));
        each.filter_map(|(of, r)| Some((addr(r)?, pair(bench.machine, of)?))).collect()
    })?;
    let mut out_of_use = BTreeSet::new();
    let mut from = 0;
    loop {
        let (page, next) = jobs.call(move |bench| {
            let mut page = Vec::new();
            let next = bench.machine.leases().scan(from, LEASES_PER_LOOK, |lease| {
                if lease.network == id {
                    page.extend(addr(lease.resource).map(|addr| (addr, lease.clone())));
                }
            });
            (page, next)
        })?;
        for (addr, lease) in page {
            if matches!(lease.state, State::Quarantined(_)) {
                out_of_use.insert(addr);
            }
            known.bound.extend(bound(&lease).map(|bound| (addr, bound)));
        }
        match next {
            Some(next) => from = next,
            None => return Ok((known, out_of_use)),
        }
    }
}

/// To whom an address belongs: its holder, or the two who share it.
pub(super) type Belongs = (IpAddr, Option<Bound>, Option<Pair>);

/// To whom these addresses belong now.
pub(super) fn of(
    jobs: &Jobs<Engine>,
    id: NetworkId,
    addrs: Vec<IpAddr>,
) -> Result<Vec<Belongs>, JobError> {
    jobs.call(move |bench| {
        let engine = &*bench.machine;
        let network = engine.policy().networks.iter().find(|network| network.id == id);
        let reserved = network.map(reserved).unwrap_or_default();
        let found = addrs.into_iter().map(|addr| {
            let leased = engine.leases().get(id, addr.into()).and_then(bound);
            let kept = || {
                let keeper = engine.directory().keeper(id, addr.into())?;
                Some(Bound { mac: keeper.who.mac, leased: false })
            };
            let listed = || {
                let of = reserved.iter().find(|(reserved, _)| *reserved == addr)?;
                Some(Bound { mac: of.1, leased: false })
            };
            let shared = engine.directory().pair_of(id, addr.into());
            let shared = shared.and_then(|of| pair(engine, of));
            (addr, leased.or_else(kept).or_else(listed), shared)
        });
        found.collect()
    })
}

/// Who of the two speaks, and who is not to; the other way round from the switchover on.
fn pair(engine: &Engine, of: &Standby) -> Option<Pair> {
    let leased = || {
        let mut leases = of.resources.iter();
        leases.find_map(|r| engine.leases().get(of.network, *r)?.hw.mac())
    };
    let (active, standby) = (of.active.who.mac.or_else(leased)?, of.standby.who.mac?);
    let is_open = of.state.switchover().is_some_and(|s| s.step >= Step::Opened);
    Some(match is_open {
        true => Pair { active: standby, standby: active },
        false => Pair { active, standby },
    })
}

fn addr(resource: Resource) -> Option<IpAddr> {
    match resource {
        Resource::V4(addr) => Some(addr.into()),
        Resource::V6(addr) => Some(addr.into()),
        Resource::Prefix6(..) => None,
    }
}

/// Whose it is. What ran out or was given back is nobody's; a shadow is nobody's yet. The guest of
/// an instance that was destroyed may still speak for a while.
fn bound(lease: &Lease) -> Option<Bound> {
    let leased = match lease.state {
        State::Leased => true,
        State::Quarantined(QuarantineReason::Leaving) => false,
        _ => return None,
    };
    // What a client of DHCPv6 says of its hardware may be of another of its interfaces.
    let of4 = matches!(lease.resource, Resource::V4(_));
    let mac = lease.hw.mac().filter(|mac| of4 && *mac != Mac::ZERO);
    Some(Bound { mac, leased })
}

fn of_policy(network: Option<&Network>, reconcile: &Reconcile, wire: &Wire) -> Known {
    let (own, own_macs) = wire.own();
    let hosts = reconcile.hosts.iter().map(|macs| macs.iter().copied().collect()).collect();
    let mut known = Known {
        own,
        own_macs,
        own_mac: wire.asker().mac,
        hosts,
        servers: allowed(&reconcile.servers),
        ..Known::default()
    };
    let Some(network) = network else { return known };
    known.routers = match &reconcile.routers {
        Some(routers) => allowed(routers),
        None => Allowed { all: network.v6.ra.is_none(), ..Allowed::default() },
    };
    for subnet in &network.subnets {
        known.subnets4.push(subnet.prefix);
        known.pools4.extend(subnet.pools.iter().map(|pool| pool.range));
    }
    for subnet in &network.subnets6 {
        known.subnets6.push(subnet.prefix);
        let pools = subnet.pools.iter();
        known.pools6.extend(pools.map(|pool| Range6 { first: pool.first, last: pool.last }));
    }
    let reserved = reserved(network).into_iter();
    known.bound.extend(reserved.map(|(addr, mac)| (addr, Bound { mac, leased: false })));
    known
}

/// Reserved addresses of the file, and for which MAC, if it says so.
fn reserved(network: &Network) -> Vec<(IpAddr, Option<Mac>)> {
    let mac = |hw: &HwAddr| hw.mac();
    let of4 = network.reservations.iter().map(|of| {
        let mac = match &of.host {
            HostId::Hardware(hw) => mac(hw),
            _ => None,
        };
        (of.addr.into(), mac)
    });
    let of6 = network.reservations6.iter().flat_map(|of| {
        let mac = match &of.host {
            HostId6::Hardware(hw) => mac(hw),
            _ => None,
        };
        of.addrs.iter().map(move |addr| ((*addr).into(), mac))
    });
    of4.chain(of6).collect()
}

fn allowed(said: &[Speaker]) -> Allowed {
    let mut allowed = Allowed::default();
    for speaker in said {
        match speaker {
            Speaker::Addr(addr) => drop(allowed.addrs.insert(*addr)),
            Speaker::Mac(mac) => drop(allowed.macs.insert(*mac)),
        }
    }
    allowed
}

/// When nothing is known: before the first answer of the engine.
pub(super) fn nothing(wire: &Wire) -> Known {
    Known { own_mac: wire.asker().mac, as_of: Timestamp(0), ..Known::default() }
}
