//! Ethernet and IPv6 around UDP and ICMPv6, by pnet's packet types.

use std::net::{Ipv6Addr, SocketAddrV6};

use pnet::packet::ethernet::{EtherType, EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet::packet::udp::{MutableUdpPacket, UdpPacket};

use super::checksum;
use super::frame::{ETHERNET_LEN, FrameError, SERVICE_VLAN, UDP_CHECKSUM, UDP_LEN, mac, pnet_mac};
use crate::base::Mac;

/// IPv6 header without extension headers, in bytes.
pub const IPV6_LEN: usize = 40;
/// Most extension headers before what a packet carries.
pub const EXTENSIONS_MAX: usize = 8;

/// A UDP datagram over IPv6 in its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpFrame6<'a> {
    /// Ethernet source.
    pub eth_src: Mac,
    /// Ethernet destination.
    pub eth_dst: Mac,
    /// IP source and UDP source port; flow label and scope are 0.
    pub src: SocketAddrV6,
    /// IP destination and UDP destination port; flow label and scope are 0.
    pub dst: SocketAddrV6,
    /// What UDP carries.
    pub payload: &'a [u8],
}

/// An IPv6 packet in its frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet6<'a> {
    pub(super) eth_src: Mac,
    pub(super) eth_dst: Mac,
    pub(super) src: Ipv6Addr,
    pub(super) dst: Ipv6Addr,
    pub(super) hop_limit: u8,
    /// What `payload` is, behind all extension headers.
    pub(super) protocol: IpNextHeaderProtocol,
    pub(super) payload: &'a [u8],
}

/// Reads a UDP datagram over IPv6 from an Ethernet frame, which may be padded at its end.
///
/// `checksum_ready` is as for [`read_udp4`](super::frame::read_udp4). Hop-by-hop and destination
/// options are skipped unread; a fragment is an error, and so is a datagram without a checksum,
/// which IPv6 does not allow (RFC 8200 s8.1).
pub fn read_udp6(frame: &[u8], checksum_ready: bool) -> Result<UdpFrame6<'_>, FrameError> {
    let packet = read_ipv6(frame)?;
    if packet.protocol != IpNextHeaderProtocols::Udp {
        return Err(FrameError::NotUdp(packet.protocol.0));
    }
    let held = packet.payload.len();
    let bad_length = |udp| FrameError::BadUdpLength { udp, held };
    let udp = UdpPacket::new(packet.payload).ok_or(bad_length(0))?;
    let len = usize::from(udp.get_length());
    let datagram =
        packet.payload.get(..len).filter(|d| d.len() >= UDP_LEN).ok_or(bad_length(len))?;
    let sum = || udp_checksum(datagram, packet.src, packet.dst);
    // A checksum of 0, which means none, is never right.
    if checksum_ready && sum() != udp.get_checksum() {
        return Err(FrameError::BadUdpChecksum);
    }
    Ok(UdpFrame6 {
        eth_src: packet.eth_src,
        eth_dst: packet.eth_dst,
        src: SocketAddrV6::new(packet.src, udp.get_source(), 0, 0),
        dst: SocketAddrV6::new(packet.dst, udp.get_destination(), 0, 0),
        payload: datagram.get(UDP_LEN..).unwrap_or_default(),
    })
}

/// Checks Ethernet and IPv6 headers and skips extension headers.
pub(super) fn read_ipv6(frame: &[u8]) -> Result<Packet6<'_>, FrameError> {
    let short = FrameError::TooShort(frame.len());
    let eth = EthernetPacket::new(frame).ok_or(short)?;
    match eth.get_ethertype() {
        EtherTypes::Ipv6 => {}
        EtherTypes::Vlan | EtherTypes::QinQ | SERVICE_VLAN => return Err(FrameError::VlanTagged),
        EtherType(other) => return Err(FrameError::NotIpv6(other)),
    }
    let packet = frame.get(ETHERNET_LEN..).ok_or(short)?;
    let ip = Ipv6Packet::new(packet).ok_or(short)?;
    if ip.get_version() != 6 {
        return Err(FrameError::BadVersion6(ip.get_version()));
    }
    let total = IPV6_LEN + usize::from(ip.get_payload_length());
    let held = packet.len();
    let rest = packet.get(IPV6_LEN..total).ok_or(FrameError::BadTotalLength { total, held })?;
    let (protocol, payload) = skip_extensions(ip.get_next_header(), rest)?;
    Ok(Packet6 {
        eth_src: mac(eth.get_source()),
        eth_dst: mac(eth.get_destination()),
        src: ip.get_source(),
        dst: ip.get_destination(),
        hop_limit: ip.get_hop_limit(),
        protocol,
        payload,
    })
}

/// Skips hop-by-hop and destination options (RFC 8200 s4.3, s4.6), of which no sender on the
/// link needs many.
fn skip_extensions(
    first: IpNextHeaderProtocol,
    packet: &[u8],
) -> Result<(IpNextHeaderProtocol, &[u8]), FrameError> {
    let (mut protocol, mut rest) = (first, packet);
    for skipped in 0.. {
        match protocol {
            IpNextHeaderProtocols::Hopopt | IpNextHeaderProtocols::Ipv6Opts => {}
            IpNextHeaderProtocols::Ipv6Frag => return Err(FrameError::Fragment),
            _ => break,
        }
        let bad = FrameError::BadExtension(protocol.0);
        let [next, units, ..] = rest else { return Err(bad) };
        let behind = rest.get(8 * (usize::from(*units) + 1)..);
        let fits = behind.filter(|_| skipped < EXTENSIONS_MAX);
        (protocol, rest) = (IpNextHeaderProtocol(*next), fits.ok_or(bad)?);
    }
    Ok((protocol, rest))
}

/// The checksum over a UDP datagram and its pseudo-header; zero is sent as all ones (RFC 8200
/// s8.1).
fn udp_checksum(datagram: &[u8], src: Ipv6Addr, dst: Ipv6Addr) -> u16 {
    match checksum::over_ipv6(datagram, UDP_CHECKSUM, src, dst, IpNextHeaderProtocols::Udp.0) {
        0 => u16::MAX,
        sum => sum,
    }
}

/// Appends an Ethernet frame with `payload` in a UDP datagram over IPv6: checksum filled in, hop
/// limit 64, no extension headers.
///
/// `payload` is at most 65,527 bytes; nothing is appended if it is longer.
pub fn write_udp6(
    out: &mut Vec<u8>,
    src_mac: Mac,
    dst_mac: Mac,
    src: SocketAddrV6,
    dst: SocketAddrV6,
    payload: &[u8],
) {
    let Ok(len) = u16::try_from(UDP_LEN + payload.len()) else {
        debug_assert!(false, "payload of {} bytes", payload.len());
        return;
    };
    let protocol = IpNextHeaderProtocols::Udp;
    let ends = Ends { src_mac, dst_mac, src: *src.ip(), dst: *dst.ip() };
    write_ipv6(out, &ends, 64, protocol, len);
    let at = out.len();
    out.resize(at + UDP_LEN, 0);
    out.extend_from_slice(payload);
    let Some(datagram) = out.get_mut(at..) else { return };
    let Some(mut udp) = MutableUdpPacket::new(datagram) else { return };
    udp.set_source(src.port());
    udp.set_destination(dst.port());
    udp.set_length(len);
    let sum = udp_checksum(pnet::packet::Packet::packet(&udp), *src.ip(), *dst.ip());
    udp.set_checksum(sum);
}

/// Between whom a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Ethernet source.
    pub src_mac: Mac,
    /// Ethernet destination; of a multicast, [`multicast_mac`].
    pub dst_mac: Mac,
    /// IP source.
    pub src: Ipv6Addr,
    /// IP destination.
    pub dst: Ipv6Addr,
}

impl Ends {
    /// From `src` to a multicast group.
    pub fn to_group(src_mac: Mac, src: Ipv6Addr, group: Ipv6Addr) -> Ends {
        Ends { src_mac, dst_mac: multicast_mac(group), src, dst: group }
    }
}

/// Appends Ethernet and IPv6 headers for `len` bytes that the caller appends next.
pub(super) fn write_ipv6(
    out: &mut Vec<u8>,
    ends: &Ends,
    hop_limit: u8,
    protocol: IpNextHeaderProtocol,
    len: u16,
) {
    let eth_at = out.len();
    let ip_at = eth_at + ETHERNET_LEN;
    out.resize(ip_at + IPV6_LEN, 0);
    if let Some(mut eth) = out.get_mut(eth_at..).and_then(MutableEthernetPacket::new) {
        eth.set_source(pnet_mac(ends.src_mac));
        eth.set_destination(pnet_mac(ends.dst_mac));
        eth.set_ethertype(EtherTypes::Ipv6);
    }
    if let Some(mut ip) = out.get_mut(ip_at..).and_then(MutableIpv6Packet::new) {
        ip.set_version(6);
        ip.set_payload_length(len);
        ip.set_next_header(protocol);
        ip.set_hop_limit(hop_limit);
        ip.set_source(ends.src);
        ip.set_destination(ends.dst);
    }
}

/// The Ethernet address of an IPv6 multicast group (RFC 2464 s7).
pub fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::addr::parse_hex;

    const A: Mac = Mac([0x52, 0x54, 0, 0, 0, 0xa]);
    const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

    fn frame(payload: &[u8]) -> Vec<u8> {
        let src = SocketAddrV6::new("fe80::a".parse().unwrap(), 546, 0, 0);
        let dst = SocketAddrV6::new(SERVERS, 547, 0, 0);
        let mut out = Vec::new();
        write_udp6(&mut out, A, multicast_mac(SERVERS), src, dst, payload);
        out
    }

    /// A frame with extension headers before UDP, the first of type `first`.
    fn extended(first: u8, headers: &[u8]) -> Vec<u8> {
        let mut out = frame(b"hello");
        out[20] = first;
        out.splice(54..54, headers.iter().copied());
        let len = (out.len() - 54) as u16;
        out[18..20].copy_from_slice(&len.to_be_bytes());
        out
    }

    #[test]
    fn a_frame_is_written_to_the_byte() {
        // The checksum worked out apart from this code, by RFC 8200 s8.1.
        let want = parse_hex(
            "333300010002 52540000000a 86dd 60000000 000a 11 40 \
             fe80000000000000000000000000000a ff020000000000000000000000010002 \
             0222 0223 000a 959b 6869",
        );
        assert_eq!(Some(frame(b"hi")), want);
    }

    #[test]
    fn what_is_written_can_be_read() {
        for len in [0, 1, 2, 300, 301, 1452] {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let frame = [b"before".to_vec(), frame(&payload)].concat();
            let read = read_udp6(&frame[6..], true).unwrap();
            assert_eq!(read.payload, payload);
            assert_eq!((read.eth_src, read.eth_dst), (A, Mac([0x33, 0x33, 0, 1, 0, 2])));
            assert_eq!(read.src.to_string(), "[fe80::a]:546");
            assert_eq!(read.dst.to_string(), "[ff02::1:2]:547");
        }
    }

    #[test]
    fn every_cut_is_an_error_and_padding_is_left_out() {
        let mut frame = frame(b"hello");
        for len in 0..frame.len() {
            assert!(read_udp6(&frame[..len], true).is_err(), "cut to {len} bytes");
        }
        frame.resize(100, 0xee);
        assert_eq!(read_udp6(&frame, true).unwrap().payload, b"hello");
    }

    #[test]
    fn other_protocols_are_named() {
        let changed = |at: usize, byte: u8| {
            let mut frame = frame(b"hello");
            frame[at] = byte;
            read_udp6(&frame, true).unwrap_err()
        };
        assert_eq!(changed(12, 8), FrameError::NotIpv6(0x08dd));
        assert_eq!(changed(14, 0x40), FrameError::BadVersion6(4));
        assert_eq!(changed(20, 6), FrameError::NotUdp(6));
        assert_eq!(changed(20, 59), FrameError::NotUdp(59), "no next header");
        assert_eq!(changed(20, 43), FrameError::NotUdp(43), "routing headers are not followed");
        for tag in [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]] {
            let mut tagged = frame(b"hello");
            tagged.splice(12..12, [tag[0], tag[1], 0, 7]);
            assert_eq!(read_udp6(&tagged, true), Err(FrameError::VlanTagged));
        }
    }

    #[test]
    fn lengths_that_disagree_are_errors() {
        let with_length = |at: usize, len: u16| {
            let mut frame = frame(b"hello");
            frame[at..at + 2].copy_from_slice(&len.to_be_bytes());
            read_udp6(&frame, true).unwrap_err()
        };
        for len in [14, 1000, 65535] {
            let want = FrameError::BadTotalLength { total: 40 + usize::from(len), held: 53 };
            assert_eq!(with_length(18, len), want);
        }
        for len in [0, 7] {
            // No room for a UDP header, be it that a jumbogram is claimed.
            assert!(matches!(with_length(18, len), FrameError::BadUdpLength { udp: 0, .. }));
        }
        for len in [0, 7, 14, 65535] {
            let want = FrameError::BadUdpLength { udp: len.into(), held: 13 };
            assert_eq!(with_length(58, len), want);
        }
    }

    #[test]
    fn options_of_ip_are_skipped() {
        let one = [17, 0, 1, 4, 0, 0, 0, 0];
        assert_eq!(read_udp6(&extended(0, &one), true).unwrap().payload, b"hello");
        let long = [&[17, 1, 1, 12][..], &[0; 12]].concat();
        assert_eq!(read_udp6(&extended(60, &long), true).unwrap().payload, b"hello");
        let both = [&[60, 0, 1, 4, 0, 0, 0, 0][..], &one].concat();
        assert_eq!(read_udp6(&extended(0, &both), true).unwrap().payload, b"hello");
        let chain = |count: usize| {
            let mut headers = [60, 0, 1, 4, 0, 0, 0, 0].repeat(count);
            headers[8 * count - 8] = 17;
            read_udp6(&extended(60, &headers), true).map(|udp| udp.payload.len())
        };
        assert_eq!(chain(EXTENSIONS_MAX), Ok(5));
        assert_eq!(chain(EXTENSIONS_MAX + 1), Err(FrameError::BadExtension(60)));
        // One that is longer than the packet.
        let lies = [17, 9, 1, 4, 0, 0, 0, 0];
        assert_eq!(read_udp6(&extended(0, &lies), true), Err(FrameError::BadExtension(0)));
    }

    #[test]
    fn fragments_are_not_read() {
        let fragment = [17, 0, 0, 1, 0, 0, 0, 7];
        assert_eq!(read_udp6(&extended(44, &fragment), true), Err(FrameError::Fragment));
        let behind = [&[44, 0, 1, 4, 0, 0, 0, 0][..], &fragment].concat();
        assert_eq!(read_udp6(&extended(0, &behind), true), Err(FrameError::Fragment));
    }

    #[test]
    fn the_checksum_is_mandatory_unless_it_is_not_ready() {
        let at = ETHERNET_LEN + IPV6_LEN + 6;
        for spoilt in [[0, 0], [0x12, 0x34]] {
            let mut frame = frame(b"hello");
            frame[at..at + 2].copy_from_slice(&spoilt);
            assert_eq!(read_udp6(&frame, true), Err(FrameError::BadUdpChecksum));
            assert_eq!(read_udp6(&frame, false).unwrap().payload, b"hello");
        }
        let mut other = frame(b"hello");
        other[30] ^= 1;
        assert_eq!(read_udp6(&other, true), Err(FrameError::BadUdpChecksum), "wrong source");
    }

    #[test]
    fn a_checksum_of_zero_is_sent_as_all_ones() {
        let plain = frame(&[0, 0]);
        let at = ETHERNET_LEN + IPV6_LEN + 6;
        let frame = frame(&plain[at..at + 2]);
        assert_eq!(frame[at..at + 2], [0xff, 0xff]);
        assert!(read_udp6(&frame, true).is_ok());
    }
}
