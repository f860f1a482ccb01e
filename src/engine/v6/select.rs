//! Which network and subnet a DHCPv6 message belongs to (RFC 9915 s13.1), and who sent it.

use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::base::{HwAddr, Mac, Resource, Timestamp};
use crate::config::Policy;
use crate::config::policy::Network;
use crate::engine::Engine;
use crate::engine::classes::Classes;
use crate::engine::effects::{Arrival6, DropReason};
use crate::lease::NextHop;
use crate::lease::directory::{Kept, Standby};
use crate::wire::{Hop, Message6};

use super::Received;
use super::context::Ctx6;
use super::reserve::{Asker, reservations};

/// Where a message belongs, and who sent it, before it is looked at more closely.
#[derive(Debug)]
pub(super) struct Found6 {
    net: usize,
    first: usize,
    hw: Option<HwAddr>,
    /// What is known of the sender by name.
    kept: Option<Arc<Kept>>,
    /// The pair whose standby it is, and what that is to have.
    pair: Option<(Arc<Standby>, Kept)>,
}

impl Found6 {
    /// The pair whose standby sent it, if the leases are not its own yet.
    pub(super) fn standby(&self) -> Option<&Arc<Standby>> {
        self.pair.as_ref().map(|(pair, _)| pair).filter(|pair| !pair.is_promoted())
    }
}

impl Engine {
    /// Finds the network and subnet of a message, and whether its sender is known by name.
    pub(super) fn find6(
        &self,
        from: &Received<'_>,
        msg: &Message6<'_>,
        hops: &[Hop<'_>],
        policy: &Policy,
    ) -> Result<Found6, DropReason> {
        let (net, first) = match hops.is_empty() {
            true => self.place_on_link(policy, &from.arrival)?,
            false => self.place_relayed(policy, &from.arrival, hops)?,
        };
        let network = policy.networks.get(net).ok_or(DropReason::NoSubnet)?;
        let duid = msg.client_id().unwrap_or_default();
        let hw = hardware(&from.arrival, hops, duid);
        let kept = self.known6(network.id, duid, hw.as_ref(), hops);
        let pair = self.pair_asking(network.id, hw.as_ref()).filter(|pair| pair.is_of_v6());
        let pair = pair.map(|pair| (Arc::clone(&pair), pair.kept()));
        Ok(Found6 { net, first, hw, kept, pair })
    }

    /// Gathers what is known about a message.
    pub(super) fn context6<'a>(
        &self,
        now: Timestamp,
        from: Received<'a>,
        msg: &'a Message6<'a>,
        hops: &'a [Hop<'a>],
        policy: &'a Policy,
        found: &'a Found6,
    ) -> Result<Ctx6<'a>, DropReason> {
        let Received { arrival, bytes, proofs } = from;
        let Found6 { net, first, hw, ref kept, ref pair } = *found;
        let network = policy.networks.get(net).ok_or(DropReason::NoSubnet)?;
        let duid = msg.client_id().unwrap_or_default();
        let classes = Classes::of6(&policy.classes, msg, hw.as_ref(), hops);
        let net_state = self.nets.get(net).ok_or(DropReason::NoSubnet)?;
        let asker = Asker { hw, proofs, can_probe: hops.is_empty() };
        let mut found = reservations(net_state, network, duid, hw.as_ref(), hops);
        // What the configuration reserves for somebody is of nobody else.
        let fixed =
            |kept: &&Kept| kept.resources().any(|r| net_state.by_resource6.contains_key(&r));
        let own = pair.as_ref().map(|(_, own)| own);
        let kept = kept.as_deref().or(own);
        found.extend(kept.filter(|kept| !fixed(kept)).and_then(Kept::rule6));
        let (reservation, rival) = match own.and_then(Kept::rule6) {
            // Its clones are no rivals: it is known by its hardware.
            Some(rule) => (Some(rule), None),
            None => self.uncontested(network.id, found, &asker),
        };
        Ok(Ctx6 {
            now,
            arrival,
            bytes,
            msg,
            hops,
            policy,
            net,
            network,
            first,
            hw,
            duid,
            classes,
            reservation,
            kept,
            rival,
            proofs,
        })
    }

    /// How this host reaches the router that asks for a prefix: the client itself, or the relay
    /// that is next to us.
    pub(in crate::engine) fn next_hop(
        &self,
        ctx: &Ctx6<'_>,
        resource: Resource,
    ) -> Option<NextHop> {
        let addr = *ctx.arrival.src.ip();
        let routes = !(addr.is_unspecified() || addr.is_loopback() || addr.is_multicast());
        if !routes || !matches!(resource, Resource::Prefix6(..)) {
            return None;
        }
        // An address of wider scope says by itself which link it is on.
        let up = self.links.get(&ctx.arrival.link).filter(|_| is_link_local(addr));
        Some(NextHop { addr, link: up.map(|up| Box::from(&*up.name)) })
    }

    fn place_on_link(
        &self,
        policy: &Policy,
        arrival: &Arrival6,
    ) -> Result<(usize, usize), DropReason> {
        let up = self.links.get(&arrival.link).ok_or(DropReason::NoSubnet)?;
        let net = self.net_index(up.network).ok_or(DropReason::NoSubnet)?;
        let network = policy.networks.get(net).ok_or(DropReason::NoSubnet)?;
        let local = |i: &usize| network.subnets6.get(*i).is_some_and(|s| network.is_local6(s));
        let of_link = up
            .addrs6
            .iter()
            .find_map(|addr| network.subnets6.iter().position(|s| s.prefix.contains(*addr)));
        let first = of_link.or_else(|| (0..network.subnets6.len()).find(local));
        Ok((net, first.ok_or(DropReason::NoSubnet)?))
    }

    /// Whether a relay's message comes from where the clients of a network are: there anybody can
    /// write a known link address, and gets the answer.
    fn is_from_clients(&self, policy: &Policy, arrival: &Arrival6) -> bool {
        let Some(up) = self.links.get(&arrival.link) else { return false };
        let src = *arrival.src.ip();
        let mut networks = policy.networks.iter().filter(|network| network.id == up.network);
        let local = |network: &Network| {
            network.subnets6.iter().any(|s| network.is_local6(s) && s.prefix.contains(src))
        };
        is_link_local(src) || networks.any(local)
    }

    /// s13.1: the relay nearest to the client that names its link decides, unless a subnet lists
    /// its interface-id, as it must where none names a link (RFC 6221 LDRAs).
    fn place_relayed(
        &self,
        policy: &Policy,
        arrival: &Arrival6,
        hops: &[Hop<'_>],
    ) -> Result<(usize, usize), DropReason> {
        let mut named = hops.iter().rev().map(|h| h.link_addr);
        let link = named.find(|a| !a.is_unspecified() && !is_link_local(*a));
        let interface = hops.last().and_then(|h| h.interface_id());
        let from_clients = self.is_from_clients(policy, arrival);
        let mut believed = false;
        for (net, network) in policy.networks.iter().enumerate() {
            let source = network.believes6(*arrival.src.ip());
            let names_link = || !from_clients && link.is_some_and(|l| network.believes6(l));
            if !source && !names_link() {
                continue;
            }
            believed = true;
            let subnets = || network.subnets6.iter();
            let by_interface = interface
                .and_then(|id| subnets().position(|s| s.interface_ids.iter().any(|i| **i == *id)));
            let by_link = || link.and_then(|link| subnets().position(|s| s.prefix.contains(link)));
            if let Some(first) = by_interface.or_else(by_link) {
                return Ok((net, first));
            }
        }
        Err(if believed { DropReason::NoSubnet } else { DropReason::UntrustedRelay })
    }
}

fn is_link_local(addr: Ipv6Addr) -> bool {
    addr.segments()[0] & 0xffc0 == 0xfe80
}

/// The client's hardware address: of its frame, from the relay (RFC 6939), in its link-local
/// address, or in its DUID.
fn hardware(arrival: &Arrival6, hops: &[Hop<'_>], duid: &[u8]) -> Option<HwAddr> {
    let Some(relay) = hops.last() else { return arrival.src_mac.map(HwAddr::from) };
    relay.client_hw().or_else(|| eui64(relay.peer_addr)).or_else(|| HwAddr::of_duid(duid))
}

/// The MAC in a link-local address of RFC 4291 appendix A.
fn eui64(addr: Ipv6Addr) -> Option<HwAddr> {
    let [.., a, b, c, 0xff, 0xfe, d, e, f] = addr.octets() else { return None };
    is_link_local(addr).then(|| HwAddr::ethernet(Mac([a ^ 2, b, c, d, e, f])))
}
