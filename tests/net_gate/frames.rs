//! Frames of every kind that a gate decides on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foreshadow::base::Mac;

pub(crate) const VIP4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
pub(crate) const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7);
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// A server of both protocols.
pub(crate) const SERVER: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 0, 0, 1), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
const OTHER4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);
const OTHER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 99);
/// What the guarded guest has.
const OWN4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 21);
const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 21);
pub(crate) const OWN: [IpAddr; 2] = [IpAddr::V4(OWN4), IpAddr::V6(OWN6)];

/// Whom a frame of the owner, or one for it, may reach.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    All,
    /// Nobody who is silent: it is for the address that two have.
    Owner,
}

pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) reach: Reach,
    /// The frame as this station sends it.
    pub(crate) frame: fn(usize) -> Vec<u8>,
}

const fn all(name: &'static str, frame: fn(usize) -> Vec<u8>) -> Kind {
    Kind { name, reach: Reach::All, frame }
}

const fn owner(name: &'static str, frame: fn(usize) -> Vec<u8>) -> Kind {
    Kind { name, reach: Reach::Owner, frame }
}

/// The hardware address of a station.
pub(crate) fn mac(station: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, station as u8])
}

/// What whoever is silent of an address may not say.
pub(crate) const SPEAKS: &[Kind] = &[
    all("ARP request", |n| arp(mac(n), 1, VIP4, OTHER4)),
    all("ARP request in a VLAN", |n| tagged(&[0x8100], arp(mac(n), 1, VIP4, OTHER4))),
    all("ARP reply", |n| arp(mac(n), 2, VIP4, OTHER4)),
    owner("gratuitous ARP request", |n| arp(mac(n), 1, VIP4, VIP4)),
    owner("gratuitous ARP reply", |n| arp(mac(n), 2, VIP4, VIP4)),
    owner("ARP probe", |n| arp(mac(n), 1, NOBODY, VIP4)),
    all("UDP", |n| udp4(mac(n), (VIP4, 40_000), (OTHER4, 53))),
    all("a later fragment", |n| {
        let mut frame = udp4(mac(n), (VIP4, 40_000), (OTHER4, 53));
        frame[14 + 7] = 40;
        seal(frame)
    }),
    all("ICMP", |n| ip4(mac(n), VIP4, OTHER4, 1, &[8, 0, 0, 0, 0, 0, 0, 0])),
    all("UDP over IPv6", |n| udp6(mac(n), (VIP6, 40_000), (OTHER6, 53))),
    all("ICMPv6", |n| icmp6(mac(n), VIP6, OTHER6, &[128, 0, 0, 0, 0, 0, 0, 0])),
    all("advertisement", |n| icmp6(mac(n), LINK_LOCAL, ALL_NODES, &nd(136, VIP6))),
    all("its own advertisement", |n| icmp6(mac(n), VIP6, ALL_NODES, &nd(136, VIP6))),
    all("solicitation for another", |n| icmp6(mac(n), VIP6, ALL_NODES, &nd(135, OTHER6))),
    owner("duplicate detection", |n| {
        icmp6(mac(n), Ipv6Addr::UNSPECIFIED, ALL_NODES, &nd(135, VIP6))
    }),
    // DHCP lets nothing else through.
    all("UDP to a server's port", |n| udp4(mac(n), (VIP4, 68), (OTHER4, 67))),
    all("UDP to a server", |n| udp4(mac(n), (VIP4, 68), (SERVER.0, 53))),
];

/// What everybody may say, and all hear.
pub(crate) const FREE: &[Kind] = &[
    all("DHCP", |n| udp4(mac(n), (NOBODY, 68), (Ipv4Addr::BROADCAST, 67))),
    all("DHCPv6", |n| udp6(mac(n), (LINK_LOCAL, 546), (ALL_SERVERS, 547))),
    all("renewal by unicast", |n| udp4(mac(n), (VIP4, 68), (SERVER.0, 67))),
    all("rebinding", |n| udp4(mac(n), (VIP4, 68), (Ipv4Addr::BROADCAST, 67))),
    all("DHCPv6 by unicast", |n| udp6(mac(n), (VIP6, 546), (SERVER.1, 547))),
    all("ARP of another address", |n| arp(mac(n), 1, OTHER4, OWN4)),
    all("UDP of another address", |n| udp4(mac(n), (OTHER4, 9), (OWN4, 9))),
    all("solicitation", |n| icmp6(mac(n), LINK_LOCAL, ALL_NODES, &nd(135, OTHER6))),
    all("router solicitation", |n| {
        icmp6(mac(n), LINK_LOCAL, ALL_NODES, &[133, 0, 0, 0, 0, 0, 0, 0])
    }),
];

/// What others say to whoever has the shared address, and servers to their clients.
pub(crate) const TOWARDS: &[Kind] = &[
    owner("ARP request for it", |n| arp(mac(n), 1, OTHER4, VIP4)),
    owner("UDP to it", |n| udp4(mac(n), (OTHER4, 9), (VIP4, 9))),
    owner("ICMPv6 to it", |n| icmp6(mac(n), OTHER6, VIP6, &[128, 0, 0, 0, 0, 0, 0, 0])),
    owner("solicitation for it", |n| icmp6(mac(n), LINK_LOCAL, ALL_NODES, &nd(135, VIP6))),
    all("DHCP answer", |n| udp4(mac(n), (SERVER.0, 67), (Ipv4Addr::BROADCAST, 68))),
    all("DHCP answer by unicast", |n| udp4(mac(n), (SERVER.0, 67), (VIP4, 68))),
    all("DHCPv6 answer by unicast", |n| udp6(mac(n), (SERVER.1, 547), (VIP6, 546))),
    owner("another's DHCP answer", |n| udp4(mac(n), (OTHER4, 67), (VIP4, 68))),
];

/// What a guest behind a port may not say at all.
pub(crate) const TAGGED: &[Kind] = &[
    all("in two VLANs", |n| tagged(&[0x88a8, 0x8100], arp(mac(n), 1, VIP4, OTHER4))),
    all("in two of a provider", |n| tagged(&[0x8100, 0x88a8], arp(mac(n), 1, VIP4, OTHER4))),
];

/// Whether a guarded port gets them through. The guarded guest is the second one.
pub(crate) const GUARDED: &[(Kind, bool)] = &[
    (all("its ARP", |_| arp(mac(1), 1, OWN4, OTHER4)), true),
    (all("its probe", |_| arp(mac(1), 1, NOBODY, VIP4)), true),
    (all("another's ARP", |_| arp(mac(1), 1, VIP4, OTHER4)), false),
    (all("ARP of another's hardware", |_| from(mac(1), arp(mac(9), 2, OWN4, OTHER4))), false),
    (all("another's hardware", |_| from(mac(9), udp4(mac(1), (OWN4, 9), (OTHER4, 9)))), false),
    (all("its UDP", |_| udp4(mac(1), (OWN4, 9), (OTHER4, 9))), true),
    (all("another's UDP", |_| udp4(mac(1), (OTHER4, 9), (VIP4, 9))), false),
    (all("DHCP", |_| udp4(mac(1), (NOBODY, 68), (Ipv4Addr::BROADCAST, 67))), true),
    (all("nobody's UDP", |_| udp4(mac(1), (NOBODY, 68), (OTHER4, 53))), false),
    (all("nobody's ICMP", |_| ip4(mac(1), NOBODY, OTHER4, 1, &[8, 0, 0, 0, 0, 0, 0, 0])), false),
    (all("a DHCP server", |_| udp4(mac(1), (OWN4, 67), (Ipv4Addr::BROADCAST, 68))), false),
    (all("a DHCPv6 server", |_| udp6(mac(1), (LINK_LOCAL, 547), (ALL_NODES, 546))), false),
    (all("its UDP over IPv6", |_| udp6(mac(1), (OWN6, 9), (OTHER6, 9))), true),
    (all("link-local UDP", |_| udp6(mac(1), (LINK_LOCAL, 9), (OTHER6, 9))), true),
    (all("another's UDP over IPv6", |_| udp6(mac(1), (OTHER6, 9), (OWN6, 9))), false),
    (all("the router's UDP", |_| udp6(mac(1), (SERVER.1, 9), (OWN6, 9))), false),
    (
        all("nobody's UDP over IPv6", |_| udp6(mac(1), (Ipv6Addr::UNSPECIFIED, 9), (OTHER6, 9))),
        false,
    ),
    (all("a router", |_| icmp6(mac(1), LINK_LOCAL, ALL_NODES, &[134; 16])), false),
    (all("a redirect", |_| icmp6(mac(1), LINK_LOCAL, ALL_NODES, &nd(137, OTHER6))), false),
    (all("its advertisement", |_| icmp6(mac(1), OWN6, ALL_NODES, &nd(136, OWN6))), true),
    (all("a link-local one", |_| icmp6(mac(1), OWN6, ALL_NODES, &nd(136, LINK_LOCAL))), true),
    (all("another's", |_| icmp6(mac(1), OWN6, ALL_NODES, &nd(136, OTHER6))), false),
    (all("the router's", |_| icmp6(mac(1), LINK_LOCAL, ALL_NODES, &nd(136, SERVER.1))), false),
    (
        all("duplicate detection", |_| {
            icmp6(mac(1), Ipv6Addr::UNSPECIFIED, ALL_NODES, &nd(135, OTHER6))
        }),
        true,
    ),
    (all("another protocol", |_| ethernet(mac(1), 0x88cc, &[0; 46])), false),
];

/// What is nobody's business: it ends a round.
pub(crate) fn mark(station: usize) -> Vec<u8> {
    arp(mac(station), 1, Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2))
}

fn ethernet(src: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[0xff; 6], &src.0[..], &kind.to_be_bytes(), payload].concat()
}

fn from(src: Mac, mut frame: Vec<u8>) -> Vec<u8> {
    frame[6..12].copy_from_slice(&src.0);
    frame
}

fn tagged(kinds: &[u16], frame: Vec<u8>) -> Vec<u8> {
    let tags: Vec<u8> = kinds.iter().flat_map(|k| [k.to_be_bytes(), [0, 5]].concat()).collect();
    [&frame[..12], &tags, &frame[12..]].concat()
}

fn arp(src: Mac, op: u8, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, op];
    let body = [&head, &src.0[..], &sender.octets(), &[0; 6], &target.octets()].concat();
    ethernet(src, 0x0806, &body)
}

fn ip4(src: Mac, from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut head = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
    head.extend([from.octets(), to.octets()].concat());
    // Behind it is the number of the frame.
    let len = ((head.len() + payload.len()).max(46) + 4) as u16;
    head[2..4].copy_from_slice(&len.to_be_bytes());
    seal(ethernet(src, 0x0800, &[&head, payload].concat()))
}

/// Puts the checksum into an IPv4 header: bridges may check it.
fn seal(mut frame: Vec<u8>) -> Vec<u8> {
    let head = &mut frame[14..34];
    head[10..12].fill(0);
    let sum: u32 = head.chunks(2).map(|b| u32::from(u16::from_be_bytes([b[0], b[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn udp(from: u16, to: u16, len: u16) -> Vec<u8> {
    [from.to_be_bytes(), to.to_be_bytes(), len.to_be_bytes(), [0; 2]].concat()
}

fn udp4(src: Mac, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Vec<u8> {
    ip4(src, from.0, to.0, 17, &udp(from.1, to.1, 30))
}

fn ip6(src: Mac, from: Ipv6Addr, to: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len().max(6) + 4) as u16;
    let mut head = vec![0x60, 0, 0, 0];
    head.extend(len.to_be_bytes());
    head.extend([protocol, 255]);
    head.extend([from.octets(), to.octets()].concat());
    ethernet(src, 0x86dd, &[&head, payload].concat())
}

fn udp6(src: Mac, from: (Ipv6Addr, u16), to: (Ipv6Addr, u16)) -> Vec<u8> {
    ip6(src, from.0, to.0, 17, &udp(from.1, to.1, 12))
}

fn icmp6(src: Mac, from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    ip6(src, from, to, 58, message)
}

/// A message of neighbour discovery about a target.
fn nd(kind: u8, target: Ipv6Addr) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 0, 0], &target.octets()[..]].concat()
}
