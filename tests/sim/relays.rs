//! A network behind relays of both protocols: what a relay makes of a packet on its way.

use std::net::{Ipv4Addr, Ipv6Addr};

use foreshadow::base::{LinkId, Mac, NetworkId, Resource};
use foreshadow::wire::v6_build::{relay_forward, unwrap_relay_reply};

/// So many clients of each protocol are behind a relay: the last ones.
pub(crate) const RELAYED: usize = 6;
/// The interface that leads to the relays, and the server's address there.
pub(crate) const UPLINK: LinkId = LinkId(1);
pub(crate) const UPLINK_ADDR: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
pub(crate) const UPLINK_ADDR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 8, 0, 0, 0, 0, 1);
pub(crate) const RELAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const RELAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1);

/// Options begin here; before them is the header with its cookie.
const OPTIONS: usize = 240;

/// Which network gives out an address or prefix.
pub(crate) fn network_of(resource: Resource) -> NetworkId {
    let is_cloud = match resource {
        Resource::V4(addr) => addr.octets()[1] == 1,
        Resource::V6(addr) => addr.segments()[2] == 0xc,
        Resource::Prefix6(..) => false,
    };
    let far = match resource {
        Resource::V4(addr) => addr.octets()[1] == 9,
        Resource::V6(addr) => addr.segments()[2] == 9,
        Resource::Prefix6(addr, _) => addr.segments()[2] >> 8 == 0xbb,
    };
    NetworkId::of(if is_cloud {
        "cloud"
    } else if far {
        "far"
    } else {
        "lab"
    })
}

/// What a relay makes of a client's broadcast (RFC 1542 s4.1.1, RFC 3046 s2.1).
pub(crate) fn relay4(bytes: &[u8], circuit: u8) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out[3] += 1;
    out[24..28].copy_from_slice(&RELAY.octets());
    let mut end = OPTIONS;
    while out.get(end).is_some_and(|code| *code != 255) {
        end += if out[end] == 0 { 1 } else { 2 + usize::from(out[end + 1]) };
    }
    out.truncate(end);
    out.extend([82, 3, 1, 1, circuit, 255]);
    out
}

/// What a relay makes of a client's DHCPv6 message (RFC 9915 s19.1.1).
pub(crate) fn relay6(bytes: &[u8], mac: Mac, circuit: u8) -> Vec<u8> {
    relay_forward(0, RELAY6, mac.link_local(), &[(18, &[circuit])], bytes)
}

/// To whom a relay hands what the server sent to it, and what.
pub(crate) fn unwrap6(bytes: &[u8]) -> Option<(Ipv6Addr, &[u8])> {
    let peer: [u8; 16] = bytes.get(18..34)?.try_into().ok()?;
    Some((peer.into(), unwrap_relay_reply(bytes)?))
}
