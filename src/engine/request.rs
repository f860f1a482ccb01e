//! What a client means: one variant per message and client state of RFC 2131, with only its
//! fields.

use std::net::Ipv4Addr;

use crate::wire::{Kind, Message, MessageType};

use super::effects::DropReason;

/// A request of a DHCPv4 client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// BOOTP: no message type at all (RFC 951).
    Bootp,
    /// DHCPDISCOVER: any address, or the one wanted.
    Discover {
        /// Option 50.
        wanted: Option<Ipv4Addr>,
    },
    /// DHCPREQUEST in SELECTING: this address of this server's offer.
    Select {
        /// Option 54.
        server: Ipv4Addr,
        /// Option 50.
        addr: Ipv4Addr,
    },
    /// DHCPREQUEST in INIT-REBOOT: is this address still mine?
    Reboot {
        /// Option 50.
        addr: Ipv4Addr,
    },
    /// DHCPREQUEST in RENEWING or REBINDING: longer, please.
    Extend {
        /// ciaddr.
        addr: Ipv4Addr,
    },
    /// DHCPDECLINE: somebody else uses this address.
    Decline {
        /// Option 54.
        server: Option<Ipv4Addr>,
        /// Option 50.
        addr: Ipv4Addr,
    },
    /// DHCPRELEASE: I give it back.
    Release {
        /// Option 54.
        server: Option<Ipv4Addr>,
        /// ciaddr.
        addr: Ipv4Addr,
    },
    /// DHCPINFORM: only parameters.
    Inform {
        /// ciaddr.
        addr: Ipv4Addr,
    },
}

impl Request {
    /// Whether an address may be promised in answer.
    pub fn wants_address(self) -> bool {
        !matches!(self, Request::Decline { .. } | Request::Release { .. } | Request::Inform { .. })
    }

    /// Reads a client's message by RFC 2131 s4.3.2 and table 4.
    pub fn of(msg: &Message<'_>, kind: Kind) -> Result<Request, DropReason> {
        let ciaddr = Some(msg.ciaddr()).filter(|addr| !addr.is_unspecified());
        let wanted = msg.requested_ip().filter(|addr| !addr.is_unspecified());
        let server = msg.server_id();
        Ok(match kind {
            Kind::Bootp => Request::Bootp,
            Kind::Unknown(_) => return Err(DropReason::UnknownType),
            Kind::Dhcp(MessageType::Discover) => Request::Discover { wanted },
            Kind::Dhcp(MessageType::Request) => match (server, wanted, ciaddr) {
                // Some clients name the server and put the address in ciaddr alone.
                (Some(server), wanted, ciaddr) => {
                    let addr = wanted.or(ciaddr).ok_or(DropReason::NoAddress)?;
                    Request::Select { server, addr }
                }
                (None, _, Some(addr)) => Request::Extend { addr },
                (None, Some(addr), None) => Request::Reboot { addr },
                (None, None, None) => return Err(DropReason::NoAddress),
            },
            Kind::Dhcp(MessageType::Decline) => {
                Request::Decline { server, addr: wanted.ok_or(DropReason::NoAddress)? }
            }
            Kind::Dhcp(MessageType::Release) => {
                Request::Release { server, addr: ciaddr.ok_or(DropReason::NoAddress)? }
            }
            Kind::Dhcp(MessageType::Inform) => {
                Request::Inform { addr: ciaddr.ok_or(DropReason::NoAddress)? }
            }
            Kind::Dhcp(_) => return Err(DropReason::NotARequest),
        })
    }
}
