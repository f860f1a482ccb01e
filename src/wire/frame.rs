//! Ethernet, IPv4 and UDP around a message, by pnet's packet types.

use std::net::{Ipv4Addr, SocketAddrV4};

use pnet::packet::Packet;
use pnet::packet::ethernet::{EtherType, EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{self, Ipv4Packet, MutableIpv4Packet};
use pnet::packet::udp::{self, MutableUdpPacket, UdpPacket};
use pnet::util::MacAddr;
use thiserror::Error;

use crate::base::Mac;

/// Ethernet header, in bytes.
pub const ETHERNET_LEN: usize = 14;
/// IPv4 header without options, in bytes.
pub const IPV4_LEN: usize = 20;
/// UDP header, in bytes.
pub const UDP_LEN: usize = 8;

/// Bit of "more fragments" in the three flags of IPv4 (RFC 791 s3.1).
const MORE_FRAGMENTS: u8 = 0b001;
/// 802.1ad, the outer tag of stacked VLANs; the inner one is `EtherTypes::Vlan`.
const SERVICE_VLAN: EtherType = EtherType(0x88a8);

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
    /// IP version other than 4.
    #[error("ip version {0}, want 4")]
    BadVersion(u8),
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
    /// Wrong UDP checksum.
    #[error("wrong udp checksum")]
    BadUdpChecksum,
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
    if ipv4::checksum(&ip) != ip.get_checksum() {
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
    if checksum_ready && udp.get_checksum() != 0 {
        let whole = UdpPacket::new(datagram).ok_or(bad_length(len))?;
        if udp_checksum(&whole, src, dst) != udp.get_checksum() {
            return Err(FrameError::BadUdpChecksum);
        }
    }
    Ok(datagram)
}

/// RFC 768: a checksum of zero is sent as all ones.
fn udp_checksum(packet: &UdpPacket<'_>, src: Ipv4Addr, dst: Ipv4Addr) -> u16 {
    match udp::ipv4_checksum(packet, &src, &dst) {
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
        let sum = ipv4::checksum(&ip.to_immutable());
        ip.set_checksum(sum);
    }
    if let Some(mut udp) = out.get_mut(udp_at..).and_then(MutableUdpPacket::new) {
        udp.set_source(src.port());
        udp.set_destination(dst.port());
        udp.set_length(total - IPV4_LEN as u16);
        let sum = udp_checksum(&udp.to_immutable(), *src.ip(), *dst.ip());
        udp.set_checksum(sum);
    }
}

pub(super) fn mac(addr: MacAddr) -> Mac {
    Mac(addr.octets())
}

pub(super) fn pnet_mac(mac: Mac) -> MacAddr {
    MacAddr::from(mac.0)
}
