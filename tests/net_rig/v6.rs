//! IPv6 frames to send, byte by byte.

use std::net::Ipv6Addr;

use foreshadow::base::Mac;

/// An IPv6 packet in a frame, field by field.
#[derive(Clone)]
pub(crate) struct Packet6 {
    pub(crate) src_mac: Mac,
    /// That of the group, where not given.
    pub(crate) dst_mac: Option<Mac>,
    pub(crate) src: Ipv6Addr,
    pub(crate) dst: Ipv6Addr,
    pub(crate) next_header: u8,
    pub(crate) hop_limit: u8,
    /// What follows the IPv6 header; its checksum is filled in by [`Packet6::frame`].
    pub(crate) payload: Vec<u8>,
}

impl Packet6 {
    /// A DHCPv6 message from a client to ff02::1:2.
    pub(crate) fn dhcp(message: &[u8]) -> Packet6 {
        let len = (8 + message.len() as u16).to_be_bytes();
        let mut payload = vec![2, 34, 2, 35, len[0], len[1], 0, 0];
        payload.extend(message);
        Packet6 {
            src_mac: Mac([2, 0, 0, 0, 0, 1]),
            dst_mac: None,
            src: "fe80::1".parse().expect("an address"),
            dst: "ff02::1:2".parse().expect("an address"),
            next_header: 17,
            hop_limit: 1,
            payload,
        }
    }

    /// The last DHCPv6 message of a test: see [`super::frames_until_end`].
    pub(crate) fn end() -> Packet6 {
        Packet6::dhcp(&[&[1], &super::END[..]].concat())
    }

    /// An ICMPv6 message of neighbour discovery; `payload` begins with its type.
    pub(crate) fn icmp(dst: Ipv6Addr, payload: Vec<u8>) -> Packet6 {
        Packet6 { dst, next_header: 58, hop_limit: 255, payload, ..Packet6::dhcp(&[]) }
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let d = self.dst.octets();
        let group = Mac([0x33, 0x33, d[12], d[13], d[14], d[15]]);
        let mut payload = self.payload.clone();
        let at = if self.next_header == 17 { 6 } else { 2 };
        let sum = self.checksum(&payload).to_be_bytes();
        payload[at..at + 2].copy_from_slice(&sum);
        let mut frame = self.dst_mac.unwrap_or(group).0.to_vec();
        frame.extend(self.src_mac.0);
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((payload.len() as u16).to_be_bytes());
        frame.extend([self.next_header, self.hop_limit]);
        frame.extend(self.src.octets());
        frame.extend(d);
        frame.extend(payload);
        frame
    }

    /// Over the pseudo header and a payload whose checksum is zero (RFC 8200 s8.1).
    fn checksum(&self, payload: &[u8]) -> u16 {
        let mut bytes = [self.src.octets(), self.dst.octets()].concat();
        bytes.extend((payload.len() as u32).to_be_bytes());
        bytes.extend([0, 0, 0, self.next_header]);
        bytes.extend(payload);
        bytes.push(0);
        let mut sum: u32 =
            bytes.chunks_exact(2).map(|c| u32::from(c[0]) << 8 | u32::from(c[1])).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}
