//! What clients and relays send.

use std::net::{Ipv4Addr, Ipv6Addr};

use foreshadow::base::Mac;
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::v6_build::{RequestV6, ia_addr, relay_forward};
use foreshadow::wire::{IaKind, MessageType, MessageType6, options};

/// The DUID of the server.
pub(crate) const DUID: &[u8] = b"\0\x04the-server-s-own";

/// The hardware address of client `n`.
pub(crate) fn mac(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([0x52, 0x54, a, b, c, d])
}

fn asking(kind: MessageType, n: u32) -> RequestV4 {
    let list = [1, 28, 2, 3, 15, 6, 119, 12, 26, 121, 42];
    RequestV4::new(kind, mac(n))
        .xid(n)
        .option(options::CLIENT_ID, &[&[1][..], &mac(n).0].concat())
        .option(options::PARAMETER_LIST, &list)
        .option(options::HOST_NAME, format!("vm-{n}").as_bytes())
}

pub(crate) fn discover(n: u32) -> Vec<u8> {
    asking(MessageType::Discover, n).build()
}

pub(crate) fn select(n: u32, addr: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
    let request = asking(MessageType::Request, n);
    request.addr(options::REQUESTED_IP, addr).addr(options::SERVER_ID, server).build()
}

pub(crate) fn renew(n: u32, addr: Ipv4Addr) -> Vec<u8> {
    asking(MessageType::Request, n).ciaddr(addr).build()
}

/// As a top-of-rack switch relays it.
pub(crate) fn relayed(n: u32, relay: Ipv4Addr) -> Vec<u8> {
    let info = b"\x01\x0bEthernet1/1\x02\x06\x52\x54\x00\x00\x00\x01";
    asking(MessageType::Discover, n).giaddr(relay).hops(1).relay_info(info).build()
}

fn asking6(kind: MessageType6, n: u32, inside: &[Vec<u8>]) -> RequestV6 {
    let duid = [&[0, 3, 0, 1][..], &mac(n).0].concat();
    let request = RequestV6::new(kind, n & 0xff_ffff).client_id(&duid).elapsed(0).oro(&[23, 24]);
    request.ia(IaKind::Na, 1, inside)
}

pub(crate) fn solicit(n: u32) -> Vec<u8> {
    asking6(MessageType6::Solicit, n, &[]).build()
}

pub(crate) fn request6(n: u32, addr: Ipv6Addr) -> Vec<u8> {
    asking6(MessageType6::Request, n, &[ia_addr(addr, 0, 0, &[])]).server_id(DUID).build()
}

pub(crate) fn renew6(n: u32, addr: Ipv6Addr) -> Vec<u8> {
    asking6(MessageType6::Renew, n, &[ia_addr(addr, 0, 0, &[])]).server_id(DUID).build()
}

/// Through one relay, with an interface-id.
pub(crate) fn relayed6(n: u32, link: Ipv6Addr) -> Vec<u8> {
    let port: (u16, &[u8]) = (18, b"Ethernet1/1");
    relay_forward(0, link, mac(n).link_local(), &[port], &solicit(n))
}
