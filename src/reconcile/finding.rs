//! What is wrong, how bad that is, and who showed it.

use std::net::IpAddr;

use crate::base::{LinkId, Mac, Timestamp};

use super::seen::By;

/// What sort of finding one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Two hosts answer for one IPv4 address.
    DuplicateV4,
    /// Two hosts answer for one IPv6 address.
    DuplicateV6,
    /// A host answers for an address of a pool that nobody has leased to it.
    StaticInPool,
    /// A leased address is held by another host than its client, which is silent.
    LeaseHijack,
    /// Nobody answers for a leased address.
    LeasedSilent,
    /// The standby of a pair answers before it was promoted.
    StandbySpeaks,
    /// A DHCPv4 server that is not allowed.
    RogueDhcp,
    /// A DHCPv6 server that is not allowed.
    RogueDhcpV6,
    /// A router that advertises and is not allowed to.
    RogueRa,
    /// A MAC that answers for more than three addresses that are not bound to it.
    Proxy,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Will hurt somebody some day.
    Warning,
    /// Somebody's traffic goes to the wrong host, or may.
    Critical,
}

impl Severity {
    /// Its name, as in the API.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

impl Kind {
    /// All of them, in the order of the documentation.
    pub const ALL: [Kind; 10] = [
        Kind::DuplicateV4,
        Kind::DuplicateV6,
        Kind::StaticInPool,
        Kind::LeaseHijack,
        Kind::LeasedSilent,
        Kind::StandbySpeaks,
        Kind::RogueDhcp,
        Kind::RogueDhcpV6,
        Kind::RogueRa,
        Kind::Proxy,
    ];

    /// Its name, as in the API.
    pub fn name(self) -> &'static str {
        match self {
            Kind::DuplicateV4 => "duplicate-ipv4",
            Kind::DuplicateV6 => "duplicate-ipv6",
            Kind::StaticInPool => "static-in-pool",
            Kind::LeaseHijack => "lease-hijack",
            Kind::LeasedSilent => "leased-silent",
            Kind::StandbySpeaks => "standby-speaks",
            Kind::RogueDhcp => "rogue-dhcp",
            Kind::RogueDhcpV6 => "rogue-dhcpv6",
            Kind::RogueRa => "rogue-ra",
            Kind::Proxy => "proxy",
        }
    }

    /// The kind with that name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Kind::LeasedSilent => Severity::Info,
            Kind::StaticInPool | Kind::Proxy => Severity::Warning,
            _ => Severity::Critical,
        }
    }

    /// Whether it is about who holds one address.
    pub fn is_of_address(self) -> bool {
        !matches!(self, Kind::RogueDhcp | Kind::RogueDhcpV6 | Kind::RogueRa | Kind::Proxy)
    }

    /// The duplicate of that family.
    pub fn duplicate(addr: IpAddr) -> Kind {
        match addr {
            IpAddr::V4(_) => Kind::DuplicateV4,
            IpAddr::V6(_) => Kind::DuplicateV6,
        }
    }
}

/// What one host was seen to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The hardware address that it speaks for the address with.
    pub mac: Mac,
    /// The Ethernet source of its frames, where that is another one: a proxy, a virtual router, or
    /// a forger.
    pub eth_src: Option<Mac>,
    /// The port of the bridge that it was heard on last.
    pub port: Option<LinkId>,
    /// By what it was heard last.
    pub by: By,
    /// How often it was heard.
    pub times: u32,
    /// When first.
    pub first: Timestamp,
    /// When last.
    pub last: Timestamp,
}

/// Something that is wrong on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// The address that it is about; of a server, its own; of a proxy, the lowest that it was seen
    /// to answer for.
    pub addr: IpAddr,
    /// The hosts that are to blame, or at odds, in order; of a silent lease, its client.
    pub macs: Vec<Mac>,
    /// What each of those that were heard did.
    pub evidence: Vec<Evidence>,
    /// When it was found.
    pub first_seen: Timestamp,
    /// When it was last seen to be so.
    pub last_seen: Timestamp,
}

impl Finding {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_of_their_own() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
    }
}
