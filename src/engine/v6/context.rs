//! One DHCPv6 message and everything that is known about it before the answer is decided.

use std::net::{IpAddr, Ipv6Addr};

use smallvec::SmallVec;

use crate::base::{HwAddr, LinkId, Mac, NetworkId, Prefix6, Resource, Timestamp};
use crate::config::Policy;
use crate::config::policy::{
    ClassId, DelegationPool, LeaseTimes, Network, PolicyOption6, Pool6, Reservation6, Settings,
    Subnet6,
};
use crate::engine::classes::Classes;
use crate::engine::context::Proof;
use crate::engine::effects::Arrival6;
use crate::engine::pace::Pace;
use crate::engine::settings::application;
use crate::engine::wake;
use crate::lease::Lease;
use crate::lease::directory::Kept;
use crate::wire::{Hop, Ia, IaKind, Message6};

/// What the handlers of `v6` work on.
#[derive(Debug)]
pub struct Ctx6<'a> {
    /// The batch's moment.
    pub now: Timestamp,
    /// Where it came in.
    pub arrival: Arrival6,
    /// The client's message, or the relay's with it inside, as it came.
    pub bytes: &'a [u8],
    /// The client's message as read.
    pub msg: &'a Message6<'a>,
    /// The relays it came through, outermost first; none if it came directly.
    pub hops: &'a [Hop<'a>],
    /// The policy in force.
    pub policy: &'a Policy,
    /// Which network, by index.
    pub net: usize,
    /// Its policy.
    pub network: &'a Network,
    /// The subnet to serve from first.
    pub first: usize,
    /// The client's hardware address, where it can be told.
    pub hw: Option<HwAddr>,
    /// The client's DUID; empty for an anonymous INFORMATION-REQUEST.
    pub duid: &'a [u8],
    /// The classes it belongs to.
    pub classes: Classes,
    /// Its reservation.
    pub reservation: Option<&'a Reservation6>,
    /// What is known of it by name.
    pub kept: Option<&'a Kept>,
    /// Its reservation is held by other hardware: whom to ask whether it lives, and by which
    /// addresses.
    pub rival: Option<(Mac, Vec<IpAddr>)>,
    /// What the wire had to say, if this message waited for it.
    pub proofs: &'a [Proof],
}

impl<'a> Ctx6<'a> {
    /// Whether the client can be asked to renew at once: it says so, and is on the link.
    pub fn takes_reconfigure(&self) -> bool {
        self.hops.is_empty() && wake::is_open(self.network) && self.msg.reconfigure_accept()
    }

    /// The network's identity.
    pub fn id(&self) -> NetworkId {
        self.network.id
    }

    /// Whether it came through a relay.
    pub fn is_relayed(&self) -> bool {
        !self.hops.is_empty()
    }

    /// Whether the wire can be asked about the client's addresses: not behind a relay.
    pub fn can_probe(&self) -> bool {
        !self.is_relayed()
    }

    /// What the wire said about `addr`, if it was asked.
    pub fn proof(&self, addr: Ipv6Addr) -> Option<Proof> {
        self.proofs.iter().find(|p| p.addr == addr).copied()
    }

    /// Whether the wire was asked about `addr` and nobody answered, or the client itself. Where
    /// it cannot be asked, or is not to be, it is taken for silent.
    pub fn is_silent(&self, addr: Ipv6Addr) -> bool {
        match self.proof(addr) {
            Some(proof) => proof.is_silence() || self.answers_for(addr),
            None => !self.network.verify.enabled || !self.can_probe(),
        }
    }

    /// Whether the client itself answered for `addr`, and nobody else did.
    pub fn answers_for(&self, addr: Ipv6Addr) -> bool {
        let own = self.hw.and_then(|hw| hw.mac());
        self.proof(addr).is_some_and(|proof| proof.answer.is_some() && proof.answer == own)
    }

    /// The subnets that may serve, in the order to try them: the selected one, then those that
    /// share its link.
    pub fn subnets(&self) -> impl Iterator<Item = (usize, &'a Subnet6)> + use<'a> {
        let (network, relayed, first) = (self.network, self.is_relayed(), self.first);
        let others = network.subnets6.iter().enumerate().filter(move |(i, subnet)| {
            let shares = match relayed {
                true => {
                    let own_link = network.v6.relays6.iter().any(|r| r.overlaps(&subnet.prefix));
                    network.interfaces.is_empty() && !own_link && subnet.interface_ids.is_empty()
                }
                false => network.is_local6(subnet),
            };
            *i != first && shares
        });
        network.subnets6.get(first).map(|subnet| (first, subnet)).into_iter().chain(others)
    }

    /// Whether `addr` belongs where the client is now.
    pub fn is_on_network(&self, addr: Ipv6Addr) -> bool {
        self.subnets().any(|(_, subnet)| subnet.prefix.contains(addr))
    }

    /// The pool in scope that gives out `addr`.
    pub fn pool_of(&self, addr: Ipv6Addr) -> Option<&'a Pool6> {
        self.subnets().flat_map(|(_, s)| &s.pools).find(|pool| pool.gives(addr))
    }

    /// The pool in scope that delegates `prefix`.
    pub fn delegation_of(&self, prefix: Prefix6) -> Option<&'a DelegationPool> {
        self.subnets().flat_map(|(_, s)| &s.delegations).find(|pool| pool.gives(prefix))
    }

    /// Whether this client may use a pool with these lists.
    pub fn may_use(&self, allow: &[ClassId], deny: &[ClassId]) -> bool {
        (allow.is_empty() || allow.iter().any(|c| self.classes.has(*c)))
            && !deny.iter().any(|c| self.classes.has(*c))
    }

    /// Whether the client may have `resource`: reserved for it, or of a pool it may use.
    pub fn may_have(&self, resource: Resource) -> bool {
        match resource {
            Resource::V4(_) => false,
            Resource::V6(addr) => {
                let reserved = self.reservation.is_some_and(|r| r.addrs.contains(&addr));
                (reserved && self.is_on_network(addr))
                    || self.pool_of(addr).is_some_and(|p| self.may_use(&p.allow, &p.deny))
            }
            Resource::Prefix6(addr, len) => Prefix6::new(addr, len).is_some_and(|prefix| {
                self.reservation.is_some_and(|r| r.prefixes.contains(&prefix))
                    || self.delegation_of(prefix).is_some_and(|p| self.may_use(&p.allow, &p.deny))
            }),
        }
    }

    /// The addresses or prefixes that an IA names.
    pub fn named(&self, ia: &Ia<'a>) -> impl Iterator<Item = Resource> + use<'a> {
        let addrs = ia.addrs().map(|a| Resource::V6(a.addr));
        let prefixes = ia.prefixes().filter_map(|p| p.as_prefix());
        let prefixes = prefixes.map(|p| Resource::Prefix6(p.network(), p.len()));
        addrs.chain(prefixes).filter(|r| match r {
            Resource::V6(addr) => !addr.is_unspecified(),
            _ => true,
        })
    }

    /// What an IA names that cannot be right on this link.
    pub fn wrong_here(&self, ia: &Ia<'a>) -> Vec<Resource> {
        let wrong = |resource: &Resource| match *resource {
            Resource::V6(addr) => !self.is_on_network(addr),
            Resource::Prefix6(addr, len) => {
                Prefix6::new(addr, len).is_none_or(|p| self.delegation_of(p).is_none())
            }
            Resource::V4(_) => true,
        };
        self.named(ia).filter(|r| wrong(r) && !self.may_have(*r)).collect()
    }

    /// Whether the frame came from the client's own hardware, as far as that can be told.
    pub fn is_own_frame(&self) -> bool {
        self.is_relayed() || self.arrival.src_mac.map(HwAddr::from) == self.hw
    }

    /// Whether the sender is the holder of a lease under its DUID, by hardware and by bridge port
    /// where both are known.
    pub fn is_holder_of(&self, lease: &Lease) -> bool {
        let known = |hw: &HwAddr| *hw != HwAddr::default();
        let other = matches!((lease.port, self.arrival.port), (Some(was), Some(is)) if was != is);
        self.hw.filter(known).is_none_or(|hw| !known(&lease.hw) || lease.hw == hw) && !other
    }

    /// The access port of a bridge that it came by: one guest is behind it.
    pub fn access_port(&self) -> Option<LinkId> {
        let (link, port) = (self.arrival.link, self.arrival.port);
        port.filter(|port| !self.is_relayed() && !self.arrival.trunk && *port != link)
    }

    /// Whose share of offers it counts against.
    pub fn share(&self) -> Option<LinkId> {
        let counted = !self.is_relayed() && !self.arrival.trunk;
        counted.then(|| self.arrival.port.unwrap_or(self.arrival.link))
    }

    /// The settings that concern this client and what it has, nearest first.
    pub fn chain(&self, about: Option<Resource>) -> Chain6<'a> {
        self.chain_in(about, None)
    }

    /// The same, with what the tier of an address says.
    pub fn chain_in(&self, about: Option<Resource>, tier: Option<&'a Settings>) -> Chain6<'a> {
        let mut levels = SmallVec::new();
        levels.extend(self.kept.map(|kept| &kept.settings));
        levels.extend(self.reservation.map(|r| &r.settings));
        let classes = self.classes.iter();
        levels.extend(classes.filter_map(|c| {
            self.policy.classes.get(usize::from(c.0)).map(|class| &class.settings)
        }));
        levels.extend(tier);
        let pool = match about {
            Some(Resource::V6(addr)) => self.pool_of(addr).map(|p| &p.settings),
            Some(Resource::Prefix6(addr, len)) => Prefix6::new(addr, len)
                .and_then(|prefix| self.delegation_of(prefix))
                .map(|p| &p.settings),
            _ => None,
        };
        levels.extend(pool);
        let on = |addr| self.subnets().map(|(_, s)| s).find(move |s| s.prefix.contains(addr));
        let subnet = match about {
            Some(Resource::V6(addr)) => on(addr),
            _ => None,
        };
        let subnet = subnet.or_else(|| self.network.subnets6.get(self.first));
        levels.extend(subnet.map(|s| &s.settings));
        levels.extend([&self.network.settings, &self.policy.settings]);
        Chain6(levels)
    }
}

/// The levels that concern one client, nearest first.
#[derive(Debug)]
pub struct Chain6<'a>(SmallVec<[&'a Settings; 8]>);

/// Lifetimes of an address or a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Preferred lifetime.
    pub preferred: crate::base::Span,
    /// Valid lifetime.
    pub valid: crate::base::Span,
    /// T1, if configured.
    pub t1: Option<crate::base::Span>,
    /// T2, if configured.
    pub t2: Option<crate::base::Span>,
    /// How much earlier they come where they are not, in percent.
    pub jitter: u8,
    /// The client's part of that.
    pub pace: Pace,
}

impl<'a> Chain6<'a> {
    /// The instances of the option of that code at the nearest level that has one.
    pub fn option(&self, code: u16) -> &'a [PolicyOption6] {
        let found = self.0.iter().map(|s| s.options6.get(code)).find(|o| !o.is_empty());
        found.unwrap_or_default()
    }

    /// All options that are sent unasked.
    pub fn always(&self) -> impl Iterator<Item = &'a PolicyOption6> + '_ {
        self.0.iter().enumerate().flat_map(|(level, s)| {
            let nearer = &self.0[..level];
            s.options6.entries.iter().filter(move |o| {
                o.always && nearer.iter().all(|n| n.options6.get(o.code).is_empty())
            })
        })
    }

    /// Whom the client belongs to.
    pub fn account(&self) -> Option<&'a std::sync::Arc<str>> {
        self.0.iter().find_map(|s| s.account.as_ref())
    }

    /// What runs in the client, of its account.
    pub fn application(&self) -> Option<&'a std::sync::Arc<str>> {
        application(&self.0)
    }

    /// Whether lifetimes depend on their client and its pool.
    pub fn is_adaptive(&self) -> bool {
        self.0.iter().find_map(|s| s.lease.adaptive).unwrap_or_default()
    }

    /// Lifetimes: the configured ones. A client's wishes are no more than hints (s21.6).
    pub fn lifetimes(&self, pace: Pace) -> Lifetimes {
        let of = |get: fn(&LeaseTimes) -> Option<crate::base::Span>| {
            self.0.iter().find_map(|s| get(&s.lease)).or_else(|| get(&LeaseTimes::DEFAULT))
        };
        let default = of(|t| t.default).unwrap_or_default();
        let min = of(|t| t.min).unwrap_or(default).min(default);
        let max = of(|t| t.max).unwrap_or(default).max(default);
        let valid = if self.is_adaptive() { pace.lease(min, default, max) } else { default };
        let jitter = self.0.iter().find_map(|s| s.lease.jitter).or(LeaseTimes::DEFAULT.jitter);
        let preferred = of(|t| t.preferred).unwrap_or(valid).min(valid);
        Lifetimes {
            preferred,
            valid,
            t1: of(|t| t.t1),
            t2: of(|t| t.t2),
            jitter: jitter.unwrap_or_default(),
            pace,
        }
    }
}

/// Whether a resource is of the kind that an IA is about.
pub fn is_about(kind: IaKind, resource: Resource) -> bool {
    match resource {
        Resource::V4(_) => false,
        Resource::V6(_) => kind == IaKind::Na,
        Resource::Prefix6(..) => kind == IaKind::Pd,
    }
}
