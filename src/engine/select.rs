//! Which network and subnet a packet belongs to, how it came, and which address we answer as.

use std::net::Ipv4Addr;

use crate::base::LinkId;
use crate::config::Policy;
use crate::config::policy::Network;
use crate::wire::{Message, RelayInfo};

use super::Engine;
use super::context::{Path, Scope};
use super::effects::{Arrival, DropReason};

/// Where a packet belongs.
#[derive(Debug)]
pub struct Selected<'a> {
    /// Index of the network.
    pub net: usize,
    /// Which of its subnets may serve.
    pub scope: Scope,
    /// How it came.
    pub path: Path,
    /// Relay agent information, if believed.
    pub relay: Option<RelayInfo<'a>>,
    /// The address we answer as.
    pub server_id: Ipv4Addr,
}

impl Engine {
    /// Finds the network of a packet.
    pub(super) fn select<'a>(
        &self,
        policy: &Policy,
        arrival: &Arrival,
        msg: &Message<'a>,
    ) -> Result<Selected<'a>, DropReason> {
        let giaddr = msg.giaddr();
        if giaddr != Ipv4Addr::UNSPECIFIED {
            return self.select_relayed(policy, arrival, msg, giaddr);
        }
        // RFC 3046 s2.1: without giaddr, option 82 is only as good as the port it came by.
        let relay = msg.relay_info().filter(|_| arrival.trusted);
        let (net, path) = self.net_of_link(policy, arrival, msg)?;
        let network = policy.networks.get(net).ok_or(DropReason::NoSubnet)?;
        let scope = self.scope_on_link(network, arrival, msg, path, relay.as_ref())?;
        let server_id = self.server_id(network, arrival, scope, relay.as_ref())?;
        Ok(Selected { net, scope, path, relay, server_id })
    }

    fn select_relayed<'a>(
        &self,
        policy: &Policy,
        arrival: &Arrival,
        msg: &Message<'a>,
        giaddr: Ipv4Addr,
    ) -> Result<Selected<'a>, DropReason> {
        // A guest can write any giaddr; the port that it is behind is not for it to choose.
        if arrival.is_from_guest() {
            return Err(DropReason::GuestRelay);
        }
        let relay = msg.relay_info();
        let selection = relay.as_ref().and_then(|r| r.link_selection());
        let selection = selection.or_else(|| msg.subnet_selection());
        let wanted = selection.unwrap_or(giaddr);
        let mut believed = false;
        for (net, network) in policy.networks.iter().enumerate() {
            if !network.believes(giaddr) {
                continue;
            }
            believed = true;
            let Some(first) = subnet_index(network, wanted) else { continue };
            // RFC 3527 s3: with link selection, from that subnet or not at all.
            let scope = Scope { first, only: selection.is_some() };
            let server_id = self.server_id(network, arrival, scope, relay.as_ref())?;
            return Ok(Selected { net, scope, path: Path::Relay(giaddr), relay, server_id });
        }
        Err(if believed { DropReason::NoSubnet } else { DropReason::UntrustedRelay })
    }

    /// The network of the link; or the relayed one of a client off the link that talks to us
    /// directly, as it does to renew (RFC 2131 s4.3.2).
    fn net_of_link(
        &self,
        policy: &Policy,
        arrival: &Arrival,
        msg: &Message<'_>,
    ) -> Result<(usize, Path), DropReason> {
        let on_link = self.links.get(&arrival.link).and_then(|up| self.net_index(up.network));
        let ciaddr = msg.ciaddr();
        let serves = |net: usize, local: bool| {
            let subnet = |n: &Network| n.subnet_of(ciaddr).map(|s| n.is_local(s.prefix));
            policy.networks.get(net).and_then(subnet) == Some(local)
        };
        if !ciaddr.is_unspecified()
            && *arrival.src.ip() == ciaddr
            && !arrival.dst.is_broadcast()
            && !on_link.is_some_and(|net| serves(net, true))
            && let Some(net) = (0..policy.networks.len()).find(|net| serves(*net, false))
        {
            return Ok((net, Path::Routed));
        }
        on_link.map(|net| (net, Path::Link)).ok_or(DropReason::NoSubnet)
    }

    fn scope_on_link(
        &self,
        network: &Network,
        arrival: &Arrival,
        msg: &Message<'_>,
        path: Path,
        relay: Option<&RelayInfo<'_>>,
    ) -> Result<Scope, DropReason> {
        let selection = relay.and_then(|r| r.link_selection()).or_else(|| msg.subnet_selection());
        if let Some(wanted) = selection {
            // RFC 3011 s2: from the subnet asked for or not at all.
            let first = subnet_index(network, wanted).ok_or(DropReason::NoSubnet)?;
            let here = network.subnets.get(first).is_some_and(|s| {
                network.is_local(s.prefix)
                    || self.link_addrs(arrival.link).any(|a| s.prefix.contains(a))
            });
            return match here || relay.is_some() {
                true => Ok(Scope { first, only: true }),
                // A guest does not choose the link that it is on.
                false => Err(DropReason::NoSubnet),
            };
        }
        let first = match path {
            Path::Routed => subnet_index(network, msg.ciaddr()),
            _ => self.link_addrs(arrival.link).find_map(|addr| subnet_index(network, addr)),
        };
        let local = || network.subnets.iter().position(|s| network.is_local(s.prefix));
        Ok(Scope { first: first.or_else(local).unwrap_or(0), only: false })
    }

    /// The server identifier: the relay's override, the configured one, the address that the
    /// packet was sent to, or the interface's address nearest to the client.
    fn server_id(
        &self,
        network: &Network,
        arrival: &Arrival,
        scope: Scope,
        relay: Option<&RelayInfo<'_>>,
    ) -> Result<Ipv4Addr, DropReason> {
        // RFC 5107 s4: the client must send its unicasts through the relay.
        if let Some(id) = relay.and_then(|r| r.server_id_override()) {
            return Ok(id);
        }
        let prefix = network.subnets.get(scope.first).map(|s| s.prefix);
        let in_subnet =
            self.link_addrs(arrival.link).find(|a| prefix.is_some_and(|p| p.contains(*a)));
        network
            .server_id
            .or_else(|| Some(arrival.dst).filter(|dst| self.is_own((*dst).into())))
            .or(in_subnet)
            .or_else(|| self.link_addrs(arrival.link).next())
            .ok_or(DropReason::NoServerId)
    }

    /// Whether a server identifier in a request means us.
    pub(super) fn is_our_id(&self, policy: &Policy, chosen: Ipv4Addr, id: Ipv4Addr) -> bool {
        id == chosen
            || self.is_own(id.into())
            || policy.networks.iter().any(|n| n.server_id == Some(id))
    }

    fn link_addrs(&self, link: LinkId) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.links.get(&link).into_iter().flat_map(|up| up.addrs.iter().map(|(addr, _)| *addr))
    }
}

fn subnet_index(network: &Network, addr: Ipv4Addr) -> Option<usize> {
    network.subnets.iter().position(|s| s.prefix.contains(addr))
}
