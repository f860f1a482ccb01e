//! What comes in from a link, and what is to be asked of it.

use std::net::{IpAddr, Ipv4Addr};

use crate::base::{LinkId, Mac};

/// By what a host was heard to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// An ARP reply to a question.
    ArpReply,
    /// An ARP request for another address.
    ArpRequest,
    /// A gratuitous ARP request or reply (RFC 5227 s3).
    ArpAnnouncement,
    /// A solicited neighbour advertisement.
    NeighbourAdvert,
    /// An unsolicited neighbour advertisement.
    UnsolicitedAdvert,
    /// A neighbour solicitation for another address.
    NeighbourSolicit,
    /// An answer to an echo request.
    EchoReply,
    /// A message of a DHCP server.
    Dhcp,
    /// A router advertisement.
    RouterAdvert,
}

impl By {
    /// Its name, as in the API.
    pub fn name(self) -> &'static str {
        match self {
            By::ArpReply => "arp-reply",
            By::ArpRequest => "arp-request",
            By::ArpAnnouncement => "arp-announcement",
            By::NeighbourAdvert => "neighbour-advertisement",
            By::UnsolicitedAdvert => "unsolicited-advertisement",
            By::NeighbourSolicit => "neighbour-solicitation",
            By::EchoReply => "echo-reply",
            By::Dhcp => "dhcp",
            By::RouterAdvert => "router-advertisement",
        }
    }

    /// Whether it may answer a question of ours.
    pub fn is_answer(self) -> bool {
        matches!(self, By::ArpReply | By::NeighbourAdvert)
    }

    /// Whether it says where the address is: an echo may have passed a router.
    pub fn is_claim(self) -> bool {
        !matches!(self, By::EchoReply | By::Dhcp | By::RouterAdvert)
    }
}

/// Somebody spoke for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The address.
    pub addr: IpAddr,
    /// Where it is said to be.
    pub mac: Mac,
    /// Ethernet source of the frame.
    pub eth_src: Mac,
    /// The port of the bridge that it came by, if known.
    pub port: Option<LinkId>,
    /// By what.
    pub by: By,
}

/// Which server was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// Of DHCPv4.
    Dhcp4,
    /// Of DHCPv6.
    Dhcp6,
    /// A router that advertises itself.
    Router,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Somebody spoke for an address.
    Claim(Sighting),
    /// A server spoke; `addr` is its own.
    Server(Server, Sighting),
}

/// What is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Who has `addr`? Of all, or of one.
    Who {
        /// The address.
        addr: IpAddr,
        /// Of whom; of all if `None`.
        to: Option<Mac>,
    },
    /// Which DHCPv4 servers are there? A DISCOVER in the name of a client that there is none of.
    Dhcp4 {
        /// Transaction id.
        xid: u32,
        /// The hardware address of that client.
        client: Mac,
    },
    /// Which DHCPv6 servers are there? A SOLICIT likewise.
    Dhcp6 {
        /// Transaction id, 24 bits.
        xid: u32,
        /// What its DUID is made of.
        client: Mac,
    },
    /// Which routers are there?
    Routers,
    /// Which nodes are there? An echo request to all.
    Nodes,
}

/// The address that a server gives as its own, as long as it does.
pub(super) const NO_ADDR: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
