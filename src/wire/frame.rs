//! Ethernet, IPv4 and UDP around a message, by pnet's packet types.

use std::net::{Ipv4Addr, SocketAddrV4};

use pnet::packet::Packet;
use pnet::packet::ethernet::{EtherType, EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{Ipv4Packet, MutableIpv4Packet};
use pnet::packet::udp::{MutableUdpPacket, UdpPacket};
use pnet::util::MacAddr;
use thiserror::Error;

use crate::base::Mac;

use super::checksum;

/// Ethernet header, in bytes.
pub const ETHERNET_LEN: usize = 14;
/// IPv4 header without options, in bytes.
pub const IPV4_LEN: usize = 20;
/// UDP header, in bytes.
pub const UDP_LEN: usize = 8;
/// Where the checksum lies in a UDP header.
pub(super) const UDP_CHECKSUM: usize = 6;

/// Bit of "more fragments" in the three flags of IPv4 (RFC 791 s3.1).
const MORE_FRAGMENTS: u8 = 0b001;
/// 802.1ad, the outer tag of stacked VLANs; the inner one is `EtherTypes::Vlan`.
pub(super) const SERVICE_VLAN: EtherType = EtherType(0x88a8);

/// A UDP datagram in its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpFrame<'a> {
    /// Ethernet source.
    pub eth_src: Mac,
    /// Ethernet destination.
    pub eth_dst: Mac,
    /// IP source and UDP source port.
    pub src: SocketAddrV4,
    /// IP destination and UDP destination port.
    pub dst: SocketAddrV4,
    /// What UDP carries.
    pub payload: &'a [u8],
}

/// Why a frame holds no datagram for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// It ends inside a header.
    #[error("frame of {0} bytes ends inside a header")]
    TooShort(usize),
    /// A tag in the frame: it belongs to a VLAN, not to this segment.
    #[error("frame is VLAN-tagged")]
    VlanTagged,
    /// Not IPv4.
    #[error("ethertype {0:#06x}, want 0x0800 (ipv4)")]
    NotIpv4(u16),
    /// Not IPv6.
    #[error("ethertype {0:#06x}, want 0x86dd (ipv6)")]
    NotIpv6(u16),
    /// IP version other than 4.
    #[error("ip version {0}, want 4")]
    BadVersion(u8),
    /// IP version other than 6.
    #[error("ip version {0}, want 6")]
    BadVersion6(u8),
    /// An extension header that is not whole, or one too many.
    #[error("ipv6 extension header {0} runs past the packet, or is one of too many")]
    BadExtension(u8),
    /// The IP header's length is below 20 bytes or over the packet's.
    #[error("ip header of {0} bytes, want 20 up to the packet's length")]
    BadHeaderLength(usize),
    /// The IP total length is over what the frame holds or below its header.
    #[error("ip total length {total} in a frame that holds {held} bytes of it")]
    BadTotalLength {
        /// What the IP header says.
        total: usize,
        /// What follows the Ethernet header.
        held: usize,
    },
    /// Wrong IP header checksum.
    #[error("wrong ip header checksum")]
    BadIpChecksum,
    /// Part of a fragmented datagram.
    #[error("fragment of a datagram")]
    Fragment,
    /// Not UDP.
    #[error("ip protocol {0}, want 17 (udp)")]
    NotUdp(u8),
    /// The UDP length is below its header or over the IP payload.
    #[error("udp length {udp} in an ip payload of {held} bytes")]
    BadUdpLength {
        /// What the UDP header says.
        udp: usize,
        /// What IP carries.
        held: usize,
    },
    /// Wrong UDP checksum; over IPv6, also none.
    #[error("wrong udp checksum")]
    BadUdpChecksum,
    /// Not ICMPv6.
    #[error("ip protocol {0}, want 58 (icmpv6)")]
    NotIcmp6(u8),
    /// Wrong ICMPv6 checksum.
    #[error("wrong icmpv6 checksum")]
    BadIcmp6Checksum,
    /// An ICMPv6 message of another type than those that are read.
    #[error("icmpv6 type {0} is not of neighbour discovery, or not read here")]
    OtherIcmp6(u8),
    /// A message of neighbour discovery that fails the checks of RFC 4861.
    #[error("neighbour discovery: {0}")]
    BadNdp(&'static str),
}

/// Reads a UDP datagram over IPv4 from an Ethernet frame, which may be padded at its end.
///
/// `checksum_ready` is false where the kernel says that the sender's network card was to fill the
/// checksum in (`TP_STATUS_CSUMNOTREADY` in `PACKET_AUXDATA`): frames of local virtual machines
/// come so, and their UDP checksum says nothing. Bytes after the UDP length are left out, as the
/// kernel does for sockets.
pub fn read_udp4(frame: &[u8], checksum_ready: bool) -> Result<UdpFrame<'_>, FrameError> {
    let short = FrameError::TooShort(frame.len());
    let eth = EthernetPacket::new(frame).ok_or(short)?;
    match eth.get_ethertype() {
        EtherTypes::Ipv4 => {}
        EtherTypes::Vlan | EtherTypes::QinQ | SERVICE_VLAN => return Err(FrameError::VlanTagged),
        EtherType(other) => return Err(FrameError::NotIpv4(other)),
    }
    let packet = frame.get(ETHERNET_LEN..).ok_or(short)?;
    let (ip, segment) = read_ipv4(packet, short)?;
    let (src, dst) = (ip.get_source(), ip.get_destination());
    let datagram = read_udp(segment, checksum_ready, src, dst)?;
    let udp = UdpPacket::new(datagram).ok_or(short)?;
    Ok(UdpFrame {
        eth_src: mac(eth.get_source()),
        eth_dst: mac(eth.get_destination()),
        src: SocketAddrV4::new(src, udp.get_source()),
        dst: SocketAddrV4::new(dst, udp.get_destination()),
        payload: datagram.get(UDP_LEN..).unwrap_or_default(),
    })
}

/// Checks the IP header; returns it and what it carries.
fn read_ipv4(packet: &[u8], short: FrameError) -> Result<(Ipv4Packet<'_>, &[u8]), FrameError> {
    let ip = Ipv4Packet::new(packet).ok_or(short)?;
    if ip.get_version() != 4 {
        return Err(FrameError::BadVersion(ip.get_version()));
    }
    let header = usize::from(ip.get_header_length()) * 4;
    if header < IPV4_LEN || header > packet.len() {
        return Err(FrameError::BadHeaderLength(header));
    }
    let total = usize::from(ip.get_total_length());
    let segment = packet
        .get(header..total)
        .ok_or(FrameError::BadTotalLength { total, held: packet.len() })?;
    if packet.get(..header).is_some_and(|h| checksum::of_header(h) != ip.get_checksum()) {
        return Err(FrameError::BadIpChecksum);
    }
    if ip.get_flags() & MORE_FRAGMENTS != 0 || ip.get_fragment_offset() != 0 {
        return Err(FrameError::Fragment);
    }
    if ip.get_next_level_protocol() != IpNextHeaderProtocols::Udp {
        return Err(FrameError::NotUdp(ip.get_next_level_protocol().0));
    }
    Ok((ip, segment))
}

/// Checks the UDP header; returns the datagram, header included, without what follows it.
fn read_udp(
    segment: &[u8],
    checksum_ready: bool,
    src: Ipv4Addr,
    dst: Ipv4Addr,
) -> Result<&[u8], FrameError> {
    let held = segment.len();
    let bad_length = |udp| FrameError::BadUdpLength { udp, held };
    let udp = UdpPacket::new(segment).ok_or(bad_length(0))?;
    let len = usize::from(udp.get_length());
    let datagram = segment.get(..len).filter(|d| d.len() >= UDP_LEN).ok_or(bad_length(len))?;
    // RFC 768: zero means that the sender made no checksum.
    let sum = udp.get_checksum();
    if checksum_ready && sum != 0 && udp_checksum(datagram, src, dst) != sum {
        return Err(FrameError::BadUdpChecksum);
    }
    Ok(datagram)
}

/// RFC 768: a checksum of zero is sent as all ones.
fn udp_checksum(datagram: &[u8], src: Ipv4Addr, dst: Ipv4Addr) -> u16 {
    match checksum::over_ipv4(datagram, UDP_CHECKSUM, src, dst, IpNextHeaderProtocols::Udp.0) {
        0 => u16::MAX,
        sum => sum,
    }
}

/// Appends an Ethernet frame with `payload` in a UDP datagram over IPv4: checksums filled in,
/// TTL 64, fragments allowed, type of service 0x10 (low delay, as DHCP servers send).
///
/// `payload` is at most 65,507 bytes; nothing is appended if it is longer.
pub fn write_udp4(
    out: &mut Vec<u8>,
    src_mac: Mac,
    dst_mac: Mac,
    src: SocketAddrV4,
    dst: SocketAddrV4,
    payload: &[u8],
) {
    let Ok(total) = u16::try_from(IPV4_LEN + UDP_LEN + payload.len()) else {
        debug_assert!(false, "payload of {} bytes", payload.len());
        return;
    };
    let at = |offset: usize| out.len() + offset;
    let (eth_at, ip_at, udp_at) = (at(0), at(ETHERNET_LEN), at(ETHERNET_LEN + IPV4_LEN));
    out.resize(udp_at + UDP_LEN, 0);
    out.extend_from_slice(payload);
    if let Some(mut eth) = out.get_mut(eth_at..).and_then(MutableEthernetPacket::new) {
        eth.set_source(pnet_mac(src_mac));
        eth.set_destination(pnet_mac(dst_mac));
        eth.set_ethertype(EtherTypes::Ipv4);
    }
    if let Some(mut ip) = out.get_mut(ip_at..).and_then(MutableIpv4Packet::new) {
        ip.set_version(4);
        ip.set_header_length((IPV4_LEN / 4) as u8);
        ip.set_dscp(0x10 >> 2);
        ip.set_total_length(total);
        ip.set_ttl(64);
        ip.set_next_level_protocol(IpNextHeaderProtocols::Udp);
        ip.set_source(*src.ip());
        ip.set_destination(*dst.ip());
        let sum = checksum::of_header(ip.packet().get(..IPV4_LEN).unwrap_or_default());
        ip.set_checksum(sum);
    }
    if let Some(mut udp) = out.get_mut(udp_at..).and_then(MutableUdpPacket::new) {
        udp.set_source(src.port());
        udp.set_destination(dst.port());
        udp.set_length(total - IPV4_LEN as u16);
        let sum = udp_checksum(udp.packet(), *src.ip(), *dst.ip());
        udp.set_checksum(sum);
    }
}

pub(super) fn mac(addr: MacAddr) -> Mac {
    Mac(addr.octets())
}

pub(super) fn pnet_mac(mac: Mac) -> MacAddr {
    MacAddr::from(mac.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pnet::packet::ipv4;

    const A: Mac = Mac([0x52, 0x54, 0, 0, 0, 0xa]);

    fn frame(payload: &[u8]) -> Vec<u8> {
        let src = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 67);
        let dst = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
        let mut out = Vec::new();
        write_udp4(&mut out, A, Mac::BROADCAST, src, dst, payload);
        out
    }

    /// A frame with one change in its IP header, its checksum made right again.
    fn with_ip(change: impl Fn(&mut MutableIpv4Packet<'_>)) -> Vec<u8> {
        let mut frame = frame(b"hello");
        let mut ip = MutableIpv4Packet::new(&mut frame[ETHERNET_LEN..]).unwrap();
        change(&mut ip);
        let sum = ipv4::checksum(&ip.to_immutable());
        ip.set_checksum(sum);
        frame
    }

    fn with_udp_length(len: u16) -> Vec<u8> {
        let mut frame = frame(b"hello");
        let mut udp = MutableUdpPacket::new(&mut frame[ETHERNET_LEN + IPV4_LEN..]).unwrap();
        udp.set_length(len);
        udp.set_checksum(0);
        frame
    }

    #[test]
    fn a_frame_is_written_to_the_byte() {
        // Checksums worked out by hand from RFC 791 and RFC 768.
        let want = crate::base::addr::parse_hex(
            "ffffffffffff 52540000000a 0800 \
             45 10 001e 0000 0000 40 11 70bf 0a000001 ffffffff \
             0043 0044 000a 8ce9 6869",
        );
        assert_eq!(Some(frame(b"hi")), want);
    }

    #[test]
    fn what_is_written_can_be_read() {
        for len in [0, 1, 2, 300, 301, 1472] {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let frame = frame(&payload);
            let read = read_udp4(&frame, true).unwrap();
            assert_eq!(read.payload, payload);
            assert_eq!((read.eth_src, read.eth_dst), (A, Mac::BROADCAST));
            assert_eq!(read.src.to_string(), "10.0.0.1:67");
            assert_eq!(read.dst.to_string(), "255.255.255.255:68");
        }
    }

    #[test]
    fn a_frame_is_appended_to_what_is_there() {
        let mut out = b"before".to_vec();
        let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        write_udp4(&mut out, A, A, to, to, b"x");
        assert_eq!(&out[..6], b"before");
        assert_eq!(read_udp4(&out[6..], true).unwrap().payload, b"x");
    }

    #[test]
    fn padding_after_the_ip_packet_is_left_out() {
        let mut padded = frame(b"hello");
        padded.resize(60, 0xee);
        assert_eq!(read_udp4(&padded, true).unwrap().payload, b"hello");
    }

    #[test]
    fn every_cut_is_an_error() {
        let whole = frame(b"hello");
        for len in 0..whole.len() {
            assert!(read_udp4(&whole[..len], true).is_err(), "cut to {len} bytes");
        }
    }

    #[test]
    fn vlan_tags_are_told_apart() {
        for tag in [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]] {
            let mut tagged = frame(b"hello");
            tagged.splice(12..12, [tag[0], tag[1], 0, 7]);
            assert_eq!(read_udp4(&tagged, true), Err(FrameError::VlanTagged));
        }
    }

    #[test]
    fn other_protocols_are_named() {
        let mut arp = frame(b"hello");
        arp[13] = 6;
        assert_eq!(read_udp4(&arp, true), Err(FrameError::NotIpv4(0x0806)));
        assert_eq!(
            read_udp4(&with_ip(|ip| ip.set_version(6)), true),
            Err(FrameError::BadVersion(6))
        );
        let tcp = with_ip(|ip| ip.set_next_level_protocol(IpNextHeaderProtocols::Tcp));
        assert_eq!(read_udp4(&tcp, true), Err(FrameError::NotUdp(6)));
    }

    #[test]
    fn an_ip_length_that_disagrees_with_the_frame_is_an_error() {
        for (words, bytes) in [(0, 0), (4, 16), (15, 60)] {
            let bad = with_ip(|ip| ip.set_header_length(words));
            assert_eq!(read_udp4(&bad, true), Err(FrameError::BadHeaderLength(bytes)));
        }
        for total in [0, 19, 34, 65535] {
            let bad = with_ip(|ip| ip.set_total_length(total));
            let want = FrameError::BadTotalLength { total: total.into(), held: 33 };
            assert_eq!(read_udp4(&bad, true), Err(want));
        }
    }

    #[test]
    fn a_udp_length_that_disagrees_with_ip_is_an_error() {
        for len in [0, 7, 14, 65535] {
            let want = FrameError::BadUdpLength { udp: len.into(), held: 13 };
            assert_eq!(read_udp4(&with_udp_length(len), true), Err(want));
        }
        // No room for a UDP header at all.
        for total in [20, 27] {
            let bad = with_ip(|ip| ip.set_total_length(total));
            assert!(matches!(read_udp4(&bad, true), Err(FrameError::BadUdpLength { .. })));
        }
    }

    #[test]
    fn bytes_after_the_udp_length_are_left_out() {
        assert_eq!(read_udp4(&with_udp_length(10), true).unwrap().payload, b"he");
    }

    #[test]
    fn ip_options_are_skipped() {
        let mut frame = frame(b"hello");
        frame.splice(34..34, [1, 1, 1, 0]);
        let mut ip = MutableIpv4Packet::new(&mut frame[ETHERNET_LEN..]).unwrap();
        ip.set_header_length(6);
        ip.set_total_length(37);
        let sum = ipv4::checksum(&ip.to_immutable());
        ip.set_checksum(sum);
        assert_eq!(read_udp4(&frame, true).unwrap().payload, b"hello");
    }

    #[test]
    fn fragments_are_not_read() {
        for change in [
            |ip: &mut MutableIpv4Packet<'_>| ip.set_flags(MORE_FRAGMENTS),
            |ip: &mut MutableIpv4Packet<'_>| ip.set_fragment_offset(1),
        ] {
            assert_eq!(read_udp4(&with_ip(change), true), Err(FrameError::Fragment));
        }
        // "Don't fragment" is not a fragment.
        assert!(read_udp4(&with_ip(|ip| ip.set_flags(0b010)), true).is_ok());
    }

    #[test]
    fn checksums_are_checked() {
        let mut bad = frame(b"hello");
        bad[ETHERNET_LEN + 10] ^= 1;
        assert_eq!(read_udp4(&bad, true), Err(FrameError::BadIpChecksum));
        assert_eq!(read_udp4(&bad, false), Err(FrameError::BadIpChecksum));
        let mut bad = frame(b"hello");
        bad[ETHERNET_LEN + IPV4_LEN + UDP_LEN] ^= 1;
        assert_eq!(read_udp4(&bad, true), Err(FrameError::BadUdpChecksum));
    }

    #[test]
    fn a_udp_checksum_that_is_absent_or_not_ready_is_not_checked() {
        let at = ETHERNET_LEN + IPV4_LEN + 6;
        let mut none = frame(b"hello");
        none[at..at + 2].fill(0);
        assert_eq!(read_udp4(&none, true).unwrap().payload, b"hello");
        // What the kernel leaves there for the network card to finish: the pseudo-header's sum.
        let mut partial = frame(b"hello");
        partial[at] ^= 0x55;
        assert_eq!(read_udp4(&partial, true), Err(FrameError::BadUdpChecksum));
        assert_eq!(read_udp4(&partial, false).unwrap().payload, b"hello");
    }

    #[test]
    fn a_udp_checksum_of_zero_is_sent_as_all_ones() {
        // Choose the payload so that the sum comes out as zero.
        let at = ETHERNET_LEN + IPV4_LEN + 6;
        let plain = frame(&[0, 0]);
        let sum = [plain[at], plain[at + 1]];
        let frame = frame(&sum);
        assert_eq!(frame[at..at + 2], [0xff, 0xff]);
        assert!(read_udp4(&frame, true).is_ok());
    }
}
