//! Where the kernel looks for a hardware address, and for the holder of an address.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::base::{LinkId, Mac};

use super::netlink;

/// Has a bridge look for `mac` behind this port of it, whatever it learnt before. What it learns
/// later counts again. Needs `CAP_NET_ADMIN`.
pub fn place(port: LinkId, mac: Mac) -> io::Result<()> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = port.0;
    message.header.state = NeighbourState::Reachable;
    message.header.flags = NeighbourFlags::Controller;
    message.attributes = vec![NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())];
    change(message)
}

/// Has this host look for an address at `mac` on a link. Needs `CAP_NET_ADMIN`.
pub fn replace(link: LinkId, addr: IpAddr, mac: Mac) -> io::Result<()> {
    let mut message = NeighbourMessage::default();
    let (family, addr) = match addr {
        IpAddr::V4(addr) => (AddressFamily::Inet, NeighbourAddress::Inet(addr)),
        IpAddr::V6(addr) => (AddressFamily::Inet6, NeighbourAddress::Inet6(addr)),
    };
    message.header.family = family;
    message.header.ifindex = link.0;
    message.header.state = NeighbourState::Reachable;
    message.attributes = vec![
        NeighbourAttribute::Destination(addr),
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
    ];
    change(message)
}

fn change(message: NeighbourMessage) -> io::Result<()> {
    netlink::change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
}
