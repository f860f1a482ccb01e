//! DUIDs (RFC 9915 s11, RFC 6355), and hardware addresses inside DUIDs and link-local addresses.

use std::net::Ipv6Addr;

use crate::base::{HwAddr, Mac};

/// DUID by link-layer address and time (RFC 9915 s11.2).
pub const LLT: u16 = 1;
/// DUID by enterprise number (RFC 9915 s11.3).
pub const EN: u16 = 2;
/// DUID by link-layer address (RFC 9915 s11.4).
pub const LL: u16 = 3;
/// DUID by UUID (RFC 6355 s4).
pub const UUID: u16 = 4;

/// The type of a DUID; `None` where it is shorter than that.
pub fn kind(duid: &[u8]) -> Option<u16> {
    duid.first_chunk().map(|kind| u16::from_be_bytes(*kind))
}

/// The hardware address that a DUID was made of, of the types [`LLT`] and [`LL`]. It need not be
/// the address of the interface that the client speaks by (RFC 9915 s11).
pub fn hw(duid: &[u8]) -> Option<HwAddr> {
    let (kind, rest) = duid.split_first_chunk()?;
    let (htype, rest) = rest.split_first_chunk()?;
    let addr = match u16::from_be_bytes(*kind) {
        LLT => rest.get(4..)?,
        LL => rest,
        _ => return None,
    };
    HwAddr::new(u8::try_from(u16::from_be_bytes(*htype)).ok()?, addr)
}

/// A DUID by link-layer address and time: `since_2000` is in seconds since 2000-01-01 UTC, and
/// wraps (RFC 9915 s11.2).
pub fn llt(hw: &HwAddr, since_2000: u32) -> Vec<u8> {
    let head = [0, 1, 0, hw.htype()];
    [head.as_slice(), &since_2000.to_be_bytes(), hw.bytes()].concat()
}

/// A DUID by link-layer address (RFC 9915 s11.4).
pub fn ll(hw: &HwAddr) -> Vec<u8> {
    [[0, 3, 0, hw.htype()].as_slice(), hw.bytes()].concat()
}

/// A DUID by UUID (RFC 6355 s4).
pub fn uuid(uuid: [u8; 16]) -> Vec<u8> {
    [[0, 4].as_slice(), &uuid].concat()
}

/// The Ethernet address that a link-local address was made of by modified EUI-64 (RFC 4291
/// s2.5.1), if it was.
pub fn mac_of_link_local(addr: Ipv6Addr) -> Option<Mac> {
    match addr.octets() {
        [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, 0xff, 0xfe, d, e, f] => {
            Some(Mac([a ^ 2, b, c, d, e, f])).filter(|mac| !mac.is_group())
        }
        _ => None,
    }
}

/// The link-local address of an Ethernet address by modified EUI-64 (RFC 4291 s2.5.1).
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

    #[test]
    fn hardware_addresses_are_found_in_duids() {
        let eth = HwAddr::ethernet(MAC);
        assert_eq!(llt(&eth, 0x0102_0304)[..8], [0, 1, 0, 1, 1, 2, 3, 4]);
        assert_eq!(hw(&llt(&eth, 7)), Some(eth));
        assert_eq!(hw(&ll(&eth)), Some(eth));
        assert_eq!(kind(&uuid([9; 16])), Some(UUID));
        let long = [[0, 3, 0, 1].as_slice(), &[7; 17]].concat();
        for none in [&uuid([9; 16])[..], &[0, 2, 0, 0, 0, 9, 1], &[0, 1, 0, 1, 1], &[0], &long] {
            assert_eq!(hw(none), None, "{none:x?}");
        }
        // A hardware type that one byte cannot hold.
        assert_eq!(hw(&[0, 3, 1, 0, 1, 2]), None);
    }

    #[test]
    fn link_local_addresses_show_their_ethernet_address() {
        assert_eq!(link_local(MAC).to_string(), "fe80::5054:ff:fe12:3456");
        assert_eq!(mac_of_link_local(link_local(MAC)), Some(MAC));
        for none in ["fe80::1", "2001:db8::5054:ff:fe12:3456", "fe80:0:0:1:5054:ff:fe12:3456"] {
            assert_eq!(mac_of_link_local(none.parse().unwrap()), None, "{none}");
        }
    }
}
