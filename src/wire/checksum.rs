//! The Internet checksum (RFC 1071), of headers and of messages with their pseudo-header.
//!
//! Our own beside pnet's, which adds two bytes at a time: every reply passes through here whole.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The checksum of an IPv4 header (RFC 791 s3.1); what its checksum field holds does not count.
pub fn of_header(header: &[u8]) -> u16 {
    finish(without_field(header, 10))
}

/// The checksum of a message in IPv4 with its pseudo-header (RFC 768); what it holds at `field`,
/// the even offset of its checksum field, does not count.
pub fn over_ipv4(message: &[u8], field: usize, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8) -> u16 {
    let ends = sum(&src.octets()) + sum(&dst.octets());
    finish(ends + length_and_protocol(message, protocol) + without_field(message, field))
}

/// The same in IPv6 (RFC 8200 s8.1).
pub fn over_ipv6(message: &[u8], field: usize, src: Ipv6Addr, dst: Ipv6Addr, protocol: u8) -> u16 {
    let ends = sum(&src.octets()) + sum(&dst.octets());
    finish(ends + length_and_protocol(message, protocol) + without_field(message, field))
}

/// Both pseudo-headers end with these, in fields whose width does not matter to the sum.
fn length_and_protocol(message: &[u8], protocol: u8) -> u64 {
    sum(&(message.len() as u32).to_be_bytes()) + sum(&[0, protocol])
}

fn without_field(bytes: &[u8], field: usize) -> u64 {
    let before = bytes.get(..field).unwrap_or(bytes);
    sum(before) + sum(bytes.get(field + 2..).unwrap_or_default())
}

/// The sum of all 16-bit words in the byte order of this machine: RFC 1071 s2 (B), the order does
/// not matter until the end. Carries gather in the upper bits (s2 (C), deferred carries).
fn sum(bytes: &[u8]) -> u64 {
    let halves = |word: [u8; 8]| {
        let word = u64::from_ne_bytes(word);
        (word & 0xffff_ffff) + (word >> 32)
    };
    let (words, rest) = bytes.as_chunks();
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    words.iter().map(|word| halves(*word)).sum::<u64>() + halves(last)
}

fn finish(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::from_be(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pnet::packet::ip::IpNextHeaderProtocols;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_checksum_that_pnet_computes(
            message in prop::collection::vec(any::<u8>(), 8..600),
            (a, b, c, d) in any::<(u32, u32, u128, u128)>(),
        ) {
            let (src, dst) = (Ipv4Addr::from(a), Ipv4Addr::from(b));
            let udp = IpNextHeaderProtocols::Udp;
            let theirs = pnet::util::ipv4_checksum(&message, 3, &[], &src, &dst, udp);
            prop_assert_eq!(over_ipv4(&message, 6, src, dst, 17), theirs);
            let (src, dst) = (Ipv6Addr::from(c), Ipv6Addr::from(d));
            let icmp = IpNextHeaderProtocols::Icmpv6;
            let theirs = pnet::util::ipv6_checksum(&message, 1, &[], &src, &dst, icmp);
            prop_assert_eq!(over_ipv6(&message, 2, src, dst, 58), theirs);
            prop_assert_eq!(of_header(&message), pnet::util::checksum(&message, 5));
        }
    }

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 1071 s3: the words 0001 f203 f4f5 f6f7 sum to ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(finish(sum(&bytes)), !0xddf2);
    }
}
