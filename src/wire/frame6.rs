//! Ethernet and IPv6 around UDP and ICMPv6, by pnet's packet types.

use std::net::{Ipv6Addr, SocketAddrV6};

use pnet::packet::ethernet::{EtherType, EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet::packet::udp::{MutableUdpPacket, UdpPacket};
use pnet::util::ipv6_checksum;

use super::frame::{ETHERNET_LEN, FrameError, SERVICE_VLAN, UDP_LEN, mac, pnet_mac};
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
    if checksum_ready && (udp.get_checksum() == 0 || sum() != udp.get_checksum()) {
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
    for _ in 0..=EXTENSIONS_MAX {
        match protocol {
            IpNextHeaderProtocols::Hopopt | IpNextHeaderProtocols::Ipv6Opts => {}
            IpNextHeaderProtocols::Ipv6Frag => return Err(FrameError::Fragment),
            other => return Ok((other, rest)),
        }
        let [next, units, ..] = rest else { return Err(FrameError::BadExtension(protocol.0)) };
        let len = 8 * (usize::from(*units) + 1);
        let behind = rest.get(len..).ok_or(FrameError::BadExtension(protocol.0))?;
        (protocol, rest) = (IpNextHeaderProtocol(*next), behind);
    }
    Err(FrameError::BadExtension(protocol.0))
}

/// The checksum over a UDP datagram and its pseudo-header; zero is sent as all ones (RFC 8200
/// s8.1).
fn udp_checksum(datagram: &[u8], src: Ipv6Addr, dst: Ipv6Addr) -> u16 {
    match ipv6_checksum(datagram, 3, &[], &src, &dst, IpNextHeaderProtocols::Udp) {
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
