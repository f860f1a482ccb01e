//! One binding of a resource to a client.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use crate::base::{ClientKey, HwAddr, LinkId, Mac, NetworkId, Resource, Timestamp};

use crate::config::policy::Tier;

use super::Uses;

/// A resource of a network, the client that it is bound to, and the state of that bond.
///
/// Free is absence, or [`State::Expired`] and [`State::Released`], which remember their client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The segment.
    pub network: NetworkId,
    /// The address or prefix.
    pub resource: Resource,
    /// Who has it; for a quarantined address the one who had it last.
    pub client: ClientKey,
    /// The client's hardware address, zero-length if unknown.
    pub hw: HwAddr,
    /// What the bond is now.
    pub state: State,
    /// When this client first got this resource.
    pub since: Timestamp,
    /// When it was last acknowledged or changed (RFC 4388: the client's last transaction time).
    pub updated: Timestamp,
    /// When the state ends by itself: lease expiry, end of quarantine; for a remembered
    /// binding, when it ended.
    pub until: Timestamp,
    /// The bridge port it was last heard on, where known. Not stored: a restart forgets it.
    pub port: Option<LinkId>,
    /// How much the resource is used.
    pub uses: Uses,
    /// What most packets do not need.
    pub details: Arc<Details>,
}

impl Lease {
    /// Whether somebody has it, or nobody may: a shadow would give way.
    pub fn is_bound(&self) -> bool {
        self.state.is_held() && self.state != State::Shadow
    }
}

/// The rarely needed part of a binding, shared between its versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Host name, cleaned: a valid DNS label or name in lower case.
    pub hostname: Option<Box<str>>,
    /// Whom the client belongs to.
    pub account: Option<Arc<str>>,
    /// What runs in it, of that account.
    pub application: Option<Arc<str>>,
    /// The instance that it is kept for; of a delegated prefix, the one that asked for it.
    pub instance: Option<Arc<str>>,
    /// Relay agent circuit id, as received.
    pub circuit_id: Option<Box<[u8]>>,
    /// Relay agent remote id, as received.
    pub remote_id: Option<Box<[u8]>>,
    /// The relay (giaddr) that it was last heard through.
    pub relay: Option<Ipv4Addr>,
    /// The holder is a boot stage (PXE, HTTP boot or iPXE): what boots next keeps its address.
    pub boot_stage: bool,
    /// Of a delegated prefix: how this host reaches the router that has it.
    pub next_hop: Option<NextHop>,
    /// Of a demand shadow: what is foreseen to claim it.
    pub foreseen: Option<Box<Foreseen>>,
    /// Which share of its pool it counts for, where the network has tiers.
    pub tier: Option<Tier>,
    /// Since when its client is to move to another address; `None` where it may stay.
    pub draining: Option<Drain>,
    /// Its client takes a message that asks it to renew at once.
    pub wakes: bool,
}

/// That a client is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Since when.
    pub since: Timestamp,
    /// On whose word.
    pub by: Mover,
}

/// Who has a client moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mover {
    /// The policy, for as long as the pool is short.
    Policy,
    /// Somebody, by the API.
    Operator,
}

impl Mover {
    /// The word that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Mover::Policy => "policy",
            Mover::Operator => "operator",
        }
    }
}

/// Who foresees an instance, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// On whose word its address is held.
    pub by: Foreseer,
    /// The prediction, by its id.
    pub prediction: Option<Box<str>>,
    /// What type of instance it will be.
    pub instance_type: Option<Box<str>>,
}

/// On whose word an address is held ahead of need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Foreseer {
    /// The policy: so many are always ready.
    Policy,
    /// A prediction that came by the API.
    Prediction,
    /// This server's own forecast.
    Forecast,
    /// Somebody who reserved this one by the API.
    Operator,
}

impl Foreseer {
    /// All of them, in the order of their numbers in stored records.
    pub const ALL: [Foreseer; 4] =
        [Foreseer::Policy, Foreseer::Prediction, Foreseer::Forecast, Foreseer::Operator];

    /// The word that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Foreseer::Policy => "policy",
            Foreseer::Prediction => "prediction",
            Foreseer::Forecast => "forecast",
            Foreseer::Operator => "operator",
        }
    }
}

/// A router, as this host reaches it. Displays as `fe80::1%br0`, or without an interface as
/// `2001:db8::1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Its address.
    pub addr: Ipv6Addr,
    /// The interface that it is on; `None` where the kernel's routes say so. By name: the number
    /// is another one after a reboot.
    pub link: Option<Box<str>>,
}

/// Longest name of an interface, in bytes (`IFNAMSIZ`, less its end).
const LINK_NAME_MAX: usize = 15;

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.link {
            Some(link) => write!(f, "{}%{link}", self.addr),
            None => write!(f, "{}", self.addr),
        }
    }
}

impl FromStr for NextHop {
    type Err = ();
    fn from_str(text: &str) -> Result<NextHop, ()> {
        let (addr, link) = text.split_once('%').map_or((text, None), |(a, l)| (a, Some(l)));
        if link.is_some_and(|link| link.is_empty() || link.len() > LINK_NAME_MAX) {
            return Err(());
        }
        Ok(NextHop { addr: addr.parse().map_err(|_| ())?, link: link.map(Box::from) })
    }
}

/// The state of a binding. Offers are no bindings yet: see [`super::Offer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Acknowledged until `until`.
    Leased,
    /// Ran out at `until`; free, and remembered for its client.
    Expired,
    /// Given back at `until`; free, and remembered for its client.
    Released,
    /// Held ahead of need for an account and application until `until`: a demand shadow.
    Shadow,
    /// Out of use until `until`.
    Quarantined(QuarantineReason),
}

/// Why an address is out of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuarantineReason {
    /// Its holder said DECLINE.
    Declined,
    /// A probe before its use was answered by this machine, which has no binding for it.
    InUse(Mac),
    /// An operator put it there.
    Operator,
    /// Its instance was destroyed, and the guest may still speak.
    Leaving,
}

impl State {
    /// Whether the resource is held: nobody else may have it.
    pub fn is_held(self) -> bool {
        matches!(self, State::Leased | State::Shadow | State::Quarantined(_))
    }

    /// Whether the resource is free and only remembered for its last client.
    pub fn is_remembered(self) -> bool {
        matches!(self, State::Expired | State::Released)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Leased => "leased",
            State::Expired => "expired",
            State::Released => "released",
            State::Shadow => "shadow",
            State::Quarantined(QuarantineReason::Declined) => "declined",
            State::Quarantined(QuarantineReason::InUse(_)) => "in-use",
            State::Quarantined(QuarantineReason::Operator) => "quarantined",
            State::Quarantined(QuarantineReason::Leaving) => "leaving",
        })
    }
}
