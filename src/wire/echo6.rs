//! ICMPv6 echo (RFC 4443 s4.1, s4.2): to find who is on a link that has too many addresses to ask
//! each.

use std::net::Ipv6Addr;

use pnet::packet::ip::IpNextHeaderProtocols;

use super::frame6::{Ends, read_ipv6};
use super::ndp::{icmp6_checksum, write_icmp6};
use crate::base::Mac;

const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;

/// Appends the frame of an echo request without data.
pub fn write_request(out: &mut Vec<u8>, ends: &Ends, id: u16) {
    let [a, b] = id.to_be_bytes();
    write_icmp6(out, ends, &[ECHO_REQUEST, 0, 0, 0, a, b, 0, 0]);
}

/// Who answered an echo request: Ethernet and IP source of an echo reply with that `id`; `None` for
/// everything else.
///
/// `checksum_ready` is as for [`read_udp4`](super::frame::read_udp4).
pub fn read_reply(frame: &[u8], checksum_ready: bool, id: u16) -> Option<(Mac, Ipv6Addr)> {
    let packet = read_ipv6(frame).ok()?;
    if packet.protocol != IpNextHeaderProtocols::Icmpv6 {
        return None;
    }
    let [ECHO_REPLY, 0, high, low, a, b, ..] = packet.payload else { return None };
    let sum = || icmp6_checksum(packet.payload, packet.src, packet.dst);
    if checksum_ready && sum() != u16::from_be_bytes([*high, *low]) {
        return None;
    }
    (u16::from_be_bytes([*a, *b]) == id).then_some((packet.eth_src, packet.src))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([0x52, 0x54, 0, 0, 0, 0xa]);

    #[test]
    fn a_reply_is_believed_if_all_of_it_is_right() {
        let (us, them) = (Mac([2; 6]).link_local(), A.link_local());
        let ends = Ends { src_mac: A, dst_mac: Mac([2; 6]), src: them, dst: us };
        let mut reply = Vec::new();
        write_icmp6(&mut reply, &ends, &[ECHO_REPLY, 0, 0, 0, 7, 9, 0, 1]);
        assert_eq!(read_reply(&reply, true, 0x0709), Some((A, them)));
        assert_eq!(read_reply(&reply, true, 0x0708), None, "another asker's");
        for len in 0..reply.len() {
            assert_eq!(read_reply(&reply[..len], true, 0x0709), None, "cut to {len} bytes");
        }
        reply[60] ^= 1;
        assert_eq!(read_reply(&reply, true, 0x0709), None, "wrong checksum");
        let mut request = Vec::new();
        write_request(&mut request, &ends, 0x0709);
        assert_eq!(read_reply(&request, true, 0x0709), None, "a question is no answer");
    }
}
