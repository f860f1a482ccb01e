//! One packet and everything that is known about it before the answer is decided.

use std::net::Ipv4Addr;

use crate::base::{ClientKey, HwAddr, LinkId, Mac, NetworkId, Timestamp};
use crate::config::Policy;
use crate::config::policy::{Network, Pool, Reservation, Subnet};
use crate::wire::{Message, RelayInfo};

use super::classes::Classes;
use super::effects::Arrival;

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
    /// It is firmware, iPXE or an installer: what boots next on this hardware is the same client.
    pub boot_stage: bool,
    /// What ARP had to say, if this packet waited for it.
    pub proofs: &'a [Proof],
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
    pub addr: Ipv4Addr,
    /// Who answered, if anybody did in time.
    pub answer: Option<Mac>,
}

impl Scope {
    /// Indexes of the subnets in the order to try them.
    pub fn order(self, subnets: usize) -> impl Iterator<Item = usize> {
        let others = (0..subnets).filter(move |i| !self.only && *i != self.first);
        std::iter::once(self.first).filter(move |i| *i < subnets).chain(others)
    }
}

impl<'a> Ctx<'a> {
    /// The network's identity.
    pub fn id(&self) -> NetworkId {
        self.network.id
    }

    /// The subnet in scope that holds `addr` as a host address.
    pub fn subnet_of(&self, addr: Ipv4Addr) -> Option<&'a Subnet> {
        let subnets = &self.network.subnets;
        self.scope
            .order(subnets.len())
            .filter_map(|i| subnets.get(i))
            .find(|s| s.prefix.is_host(addr))
    }

    /// Whether `addr` belongs where the client is now.
    pub fn is_on_network(&self, addr: Ipv4Addr) -> bool {
        self.subnet_of(addr).is_some()
    }

    /// The pool in scope that gives out `addr`.
    pub fn pool_of(&self, addr: Ipv4Addr) -> Option<&'a Pool> {
        let pools = &self.subnet_of(addr)?.pools;
        let after = pools.partition_point(|p| p.range.first <= addr);
        pools.get(after.checked_sub(1)?).filter(|p| p.gives(addr))
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

    /// What the wire said about `addr`, if it was asked.
    pub fn proof(&self, addr: Ipv4Addr) -> Option<Proof> {
        self.proofs.iter().find(|p| p.addr == addr).copied()
    }

    /// Whether the wire can be asked about the client's addresses: not behind a relay or router.
    pub fn can_probe(&self) -> bool {
        self.path == Path::Link
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

    /// Whose share of offers it counts against.
    pub fn share(&self) -> Option<LinkId> {
        let counted = self.path == Path::Link && !self.arrival.trunk;
        counted.then(|| self.arrival.port.unwrap_or(self.arrival.link))
    }
}
