//! What the engine knows that guarding asks for, read in parts: packets do not wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::api::command::LEASES_PER_LOOK;
use crate::base::{LinkId, Mac, NetworkId, Resource};
use crate::config::policy::{GuardPolicy, Pattern};
use crate::engine::Engine;
use crate::lease::Lease;
use crate::lease::directory::Entry;

use super::super::work::{JobError, Jobs};

/// A bridge whose ports are to be guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) id: NetworkId,
    pub(super) network: Arc<str>,
    pub(super) link: LinkId,
    pub(super) bridge: Arc<str>,
    pub(super) policy: GuardPolicy,
    /// Ports that are never guarded.
    pub(super) never: Vec<Pattern>,
}

/// What a lease says of who may send what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) network: NetworkId,
    pub(super) addr: IpAddr,
    /// Nobody if `None`.
    pub(super) mac: Option<Mac>,
    /// Where it was heard.
    pub(super) port: Option<LinkId>,
}

impl Held {
    /// What a lease says, while it is held; `None` for what is no address.
    pub(super) fn by(lease: &Lease) -> Option<Held> {
        let mac = lease.hw.mac()?;
        let addr = address(&lease.resource)?;
        Some(Held { network: lease.network, addr, mac: Some(mac), port: lease.port })
    }

    /// The same address, held by nobody.
    pub(super) fn ended(lease: &Lease) -> Option<Held> {
        let addr = address(&lease.resource)?;
        Some(Held { network: lease.network, addr, mac: None, port: None })
    }
}

/// Addresses that guests of pairs have beside their leases.
pub(super) type Shared = BTreeMap<NetworkId, BTreeMap<Mac, BTreeSet<IpAddr>>>;

/// The bridges that are to be guarded now.
pub(super) fn segments(jobs: &Jobs<Engine>) -> Result<Vec<Segment>, JobError> {
    jobs.call(|bench| {
        let policy = bench.machine.policy();
        let found = bench.machine.links().filter_map(|up| {
            let network = policy.networks.iter().find(|network| network.id == up.network)?;
            network.guard.enforce.then(|| Segment {
                id: network.id,
                network: network.name.clone(),
                link: up.link,
                bridge: up.name.clone(),
                policy: network.guard.clone(),
                never: [&network.trusted_ports[..], &network.trunk_ports].concat(),
            })
        });
        found.collect()
    })
}

/// All that is leased.
pub(super) fn held(jobs: &Jobs<Engine>) -> Result<Vec<Held>, JobError> {
    let (mut all, mut from) = (Vec::new(), Some(0));
    while let Some(at) = from {
        let (some, next) = jobs.call(move |bench| {
            let mut some = Vec::new();
            let next = bench.machine.leases().scan(at, LEASES_PER_LOOK, |lease| {
                let is_held = lease.state == crate::lease::State::Leased;
                some.extend(Held::by(lease).filter(|_| is_held));
            });
            (some, next)
        })?;
        all.extend(some);
        from = next;
    }
    Ok(all)
}

/// What the guests of pairs share: either may speak by turns, and the gate says which does.
pub(super) fn shared(jobs: &Jobs<Engine>) -> Result<Shared, JobError> {
    jobs.call(|bench| {
        let mut shared = Shared::new();
        for entry in bench.machine.directory().list("standby/", None) {
            let Entry::Standby(pair) = entry else { continue };
            for mac in [pair.active.who.mac, pair.standby.who.mac].into_iter().flatten() {
                let of = shared.entry(pair.network).or_default().entry(mac).or_default();
                of.extend(pair.resources.iter().filter_map(address));
            }
        }
        shared
    })
}

fn address(resource: &Resource) -> Option<IpAddr> {
    match resource {
        Resource::V4(addr) => Some((*addr).into()),
        Resource::V6(addr) => Some((*addr).into()),
        Resource::Prefix6(..) => None,
    }
}
