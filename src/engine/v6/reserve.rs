//! What is reserved for a DHCPv6 client, and whether another machine has it.

use std::net::IpAddr;

use crate::base::{HwAddr, Mac, NetworkId, Resource};
use crate::config::policy::{HostId6, Network, Reservation6};
use crate::engine::Engine;
use crate::engine::context::Proof;
use crate::engine::identity::addresses_of;
use crate::engine::network::Net;
use crate::lease::{Lease, State};
use crate::wire::Hop;

/// The reservations that a client may mean: by DUID, hardware, interface-id.
pub(super) fn reservations<'a>(
    net: &Net,
    network: &'a Network,
    duid: &[u8],
    hw: Option<&HwAddr>,
    hops: &[Hop<'_>],
) -> Vec<&'a Reservation6> {
    if net.by_host6.is_empty() {
        return Vec::new();
    }
    let find = |host: HostId6| net.by_host6.get(&host).and_then(|i| network.reservations6.get(*i));
    let interface = hops.last().and_then(|h| h.interface_id());
    let by_duid = find(HostId6::Duid(duid.into()));
    let by_hw = hw.and_then(|hw| find(HostId6::Hardware(*hw)));
    let by_interface = interface.and_then(|id| find(HostId6::InterfaceId(id.into())));
    [by_duid, by_hw, by_interface].into_iter().flatten().collect()
}

/// Who asks for what is reserved.
#[derive(Debug)]
pub(super) struct Asker<'a> {
    /// Its hardware address.
    pub hw: Option<HwAddr>,
    /// What the wire had to say.
    pub proofs: &'a [Proof],
    /// Whether the wire can be asked.
    pub can_probe: bool,
}

impl Engine {
    /// The first reservation that no other live hardware holds. All guests of a link hear a DUID,
    /// and what is reserved for it is for one machine: its hardware is asked before another is
    /// taken for it.
    pub(super) fn uncontested<'a>(
        &self,
        network: NetworkId,
        found: Vec<&'a Reservation6>,
        asker: &Asker<'_>,
    ) -> (Option<&'a Reservation6>, Option<(Mac, Vec<IpAddr>)>) {
        for reservation in found {
            let Some(rival) = self.rival(network, reservation, asker.hw) else {
                return (Some(reservation), None);
            };
            let (addrs, proofs) = (addresses_of(rival), asker.proofs);
            let proof = |addr: &IpAddr| proofs.iter().find(|p| p.addr == *addr);
            let lives = |addr: &IpAddr| {
                proof(addr).is_some_and(|proof| match proof.answer.map(HwAddr::from) {
                    Some(who) => Some(who) != asker.hw,
                    None => !proof.heard,
                })
            };
            if !asker.can_probe || addrs.iter().any(lives) {
                continue;
            }
            let unasked: Vec<IpAddr> = addrs.into_iter().filter(|a| proof(a).is_none()).collect();
            match rival.hw.mac() {
                Some(_) if unasked.is_empty() => return (Some(reservation), None),
                Some(mac) => return (None, Some((mac, unasked))),
                None => {}
            }
        }
        (None, None)
    }

    /// Who holds what is reserved for an identifier, with other hardware than the one who asks.
    fn rival(
        &self,
        network: NetworkId,
        reservation: &Reservation6,
        hw: Option<HwAddr>,
    ) -> Option<&Lease> {
        if let HostId6::Hardware(_) = reservation.host {
            return None;
        }
        let addrs = reservation.addrs.iter().map(|addr| Resource::V6(*addr));
        let prefixes = reservation.prefixes.iter().map(|prefix| Resource::from(*prefix));
        let held = addrs.chain(prefixes).filter_map(|resource| self.table.get(network, resource));
        let unknown = HwAddr::default();
        let mut others = held.filter(|l| {
            l.state == State::Leased && l.hw != unknown && hw.is_some_and(|hw| hw != l.hw)
        });
        others.next()
    }
}
