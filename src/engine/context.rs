//! One packet and everything that is known about it before the answer is decided.

use std::net::{IpAddr, Ipv4Addr};

use crate::base::{ClientKey, HwAddr, LinkId, Mac, NetworkId, Timestamp};
use crate::config::Policy;
use crate::config::policy::{Network, Pool, Reservation, Subnet};
use crate::lease::directory::Kept;
use crate::lease::{Lease, State};
use crate::wire::{Message, RelayInfo};

use super::classes::Classes;
use super::effects::{Arrival, Source};
use super::wake;

/// What the handlers of `v4` work on.
#[derive(Debug)]
pub struct Ctx<'a> {
    /// The batch's moment.
    pub now: Timestamp,
    /// Where it came in.
    pub arrival: Arrival,
    /// The packet as it came, to be kept if its answer must wait.
    pub bytes: &'a [u8],
    /// The packet as read.
    pub msg: &'a Message<'a>,
    /// The policy in force.
    pub policy: &'a Policy,
    /// Which network, by index.
    pub net: usize,
    /// Its policy.
    pub network: &'a Network,
    /// Which of its subnets may serve.
    pub scope: Scope,
    /// How it came, and so how the answer goes back.
    pub path: Path,
    /// Relay agent information, if it is believed.
    pub relay: Option<RelayInfo<'a>>,
    /// The address we answer as.
    pub server_id: Ipv4Addr,
    /// The client's hardware address.
    pub hw: HwAddr,
    /// Who it is.
    pub client: ClientKey,
    /// The classes it belongs to.
    pub classes: Classes,
    /// Its reservation.
    pub reservation: Option<&'a Reservation>,
    /// What is known of it by name.
    pub kept: Option<&'a Kept>,
    /// It is firmware, iPXE or an installer: what boots next on this hardware is the same client.
    pub boot_stage: bool,
    /// What the wire had to say, if this packet waited for it.
    pub proofs: &'a [Proof],
    /// It is a standby: its gate may swallow what is sent to its address.
    pub gated: bool,
}

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// From a client on the link.
    Link,
    /// Through the relay at this giaddr.
    Relay(Ipv4Addr),
    /// From a client off the link by unicast, through routers.
    Routed,
}

/// Which subnets of a network may serve a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The first to try.
    pub first: usize,
    /// No other than the first (RFC 3527, RFC 3011).
    pub only: bool,
}

/// The outcome of asking the wire about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Whom we asked for.
    pub addr: IpAddr,
    /// Who answered, if anybody did in time.
    pub answer: Option<Mac>,
    /// From where.
    pub source: Source,
    /// Whether an answer would have been heard: else, that there is none means nothing.
    pub heard: bool,
}

impl Proof {
    /// Whether the address was asked about and nobody answered.
    pub fn is_silence(&self) -> bool {
        self.answer.is_none() && self.heard
    }
}

impl Scope {
    /// Indexes of the subnets in the order to try them.
    pub fn order(self, subnets: usize) -> impl Iterator<Item = usize> {
        let others = (0..subnets).filter(move |i| !self.only && *i != self.first);
        std::iter::once(self.first).filter(move |i| *i < subnets).chain(others)
    }
}

impl<'a> Ctx<'a> {
    /// Whether the client can be asked to renew at once: it says so, and is on the link.
    pub fn takes_forcerenew(&self) -> bool {
        self.path == Path::Link
            && wake::is_open(self.network)
            && self.msg.takes_forcerenew(wake::HMAC_MD5)
    }

    /// The network's identity.
    pub fn id(&self) -> NetworkId {
        self.network.id
    }

    /// The subnets that may serve, in the order to try them: the one that was selected, then
    /// those that share its link. A subnet in which believed relays live is the link of these.
    pub fn subnets(&self) -> impl Iterator<Item = (usize, &'a Subnet)> + use<'a> {
        let (network, relayed) = (self.network, self.path != Path::Link);
        let first = self.scope.first;
        let shares = move |subnet: &Subnet| match relayed {
            true => network.interfaces.is_empty() && !network.has_relays_in(subnet.prefix),
            false => network.is_local(subnet.prefix),
        };
        let order = self.scope.order(network.subnets.len());
        let all = order.filter_map(move |i| Some((i, network.subnets.get(i)?)));
        all.filter(move |(i, subnet)| *i == first || shares(subnet))
    }

    /// The subnet in scope that holds `addr` as a host address.
    pub fn subnet_of(&self, addr: Ipv4Addr) -> Option<&'a Subnet> {
        self.subnets().map(|(_, subnet)| subnet).find(|s| s.prefix.is_host(addr))
    }

    /// Whether `addr` belongs where the client is now.
    pub fn is_on_network(&self, addr: Ipv4Addr) -> bool {
        self.subnet_of(addr).is_some()
    }

    /// The pool in scope that gives out `addr`.
    pub fn pool_of(&self, addr: Ipv4Addr) -> Option<&'a Pool> {
        pool_in(self.subnet_of(addr)?, addr)
    }

    /// Whether this client may use `pool`.
    pub fn may_use(&self, pool: &Pool) -> bool {
        (pool.allow.is_empty() || pool.allow.iter().any(|c| self.classes.has(*c)))
            && !pool.deny.iter().any(|c| self.classes.has(*c))
    }

    /// Whether this client may have `addr`: its reservation, or an address of a pool it may use.
    pub fn may_have(&self, addr: Ipv4Addr) -> bool {
        self.reservation.is_some_and(|r| r.addr == addr && self.is_on_network(addr))
            || self.pool_of(addr).is_some_and(|pool| self.may_use(pool))
    }

    /// Whether `addr` is kept for this client by name.
    pub fn keeps(&self, addr: Ipv4Addr) -> bool {
        self.kept.is_some_and(|kept| kept.v4 == Some(addr))
    }

    /// What the wire said about `addr`, if it was asked.
    pub fn proof(&self, addr: Ipv4Addr) -> Option<Proof> {
        self.proofs.iter().find(|p| p.addr == addr).copied()
    }

    /// Whether the wire can be asked about the client's addresses: not behind a relay or router.
    pub fn can_probe(&self) -> bool {
        self.path == Path::Link
    }

    /// Whether the frame came from the client's own hardware, as far as that can be told.
    pub fn is_own_frame(&self) -> bool {
        self.arrival.src_mac.is_none_or(|src| self.hw.mac() == Some(src))
    }

    /// Whether somebody else's frame speaks for the holder of `lease`: it does not come from the
    /// client's hardware, and by another port than the holder's.
    pub fn is_impostor_of(&self, lease: &Lease) -> bool {
        let other_port =
            matches!((lease.port, self.arrival.port), (Some(was), Some(is)) if was != is);
        self.path == Path::Link
            && lease.state == State::Leased
            && !self.is_own_frame()
            && other_port
    }

    /// Whether it came through a relay.
    pub fn is_relayed(&self) -> bool {
        matches!(self.path, Path::Relay(_))
    }

    /// The address to answer from by UDP: the one the packet was sent to, if it was ours alone.
    pub fn local_source(&self) -> Ipv4Addr {
        let dst = self.arrival.dst;
        if dst.is_broadcast() || dst.is_multicast() { Ipv4Addr::UNSPECIFIED } else { dst }
    }

    /// The access port of a bridge that it came by: one guest is behind it.
    pub fn access_port(&self) -> Option<LinkId> {
        let (link, port) = (self.arrival.link, self.arrival.port);
        port.filter(|port| self.path == Path::Link && !self.arrival.trunk && *port != link)
    }

    /// Whose share of offers it counts against.
    pub fn share(&self) -> Option<LinkId> {
        let counted = self.path == Path::Link && !self.arrival.trunk;
        counted.then(|| self.arrival.port.unwrap_or(self.arrival.link))
    }
}

/// The pool of a subnet that gives out `addr`.
pub fn pool_in(subnet: &Subnet, addr: Ipv4Addr) -> Option<&Pool> {
    let after = subnet.pools.partition_point(|p| p.range.first <= addr);
    subnet.pools.get(after.checked_sub(1)?).filter(|p| p.gives(addr))
}
