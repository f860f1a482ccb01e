//! Neighbour and router solicitations and neighbour advertisements (RFC 4861), in whole frames:
//! what tells whether an address is in use, and who asks for a router advertisement.

use std::net::Ipv6Addr;

use pnet::packet::ip::IpNextHeaderProtocols;

use super::checksum;
use super::frame::FrameError;
use super::frame6::{Ends, Packet6, multicast_mac, read_ipv6, write_ipv6};
use crate::base::Mac;

/// All nodes on the link (RFC 4291 s2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers on the link (RFC 4291 s2.7.1).
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Hop limit of every message: none has passed a router (RFC 4861 s6.1, s7.1).
const HOP_LIMIT: u8 = 255;
/// Header, reserved bytes and target of a solicitation or advertisement, in bytes.
const NEIGHBOUR_LEN: usize = 24;
/// A link-layer address option of Ethernet, in bytes.
const LINK_LAYER_LEN: usize = 8;

pub(super) mod icmp {
    //! Types of ICMPv6 (RFC 4861 s4).
    pub(in super::super) const ROUTER_SOLICIT: u8 = 133;
    pub(in super::super) const ROUTER_ADVERT: u8 = 134;
    pub(in super::super) const NEIGHBOUR_SOLICIT: u8 = 135;
    pub(in super::super) const NEIGHBOUR_ADVERT: u8 = 136;
}

pub(super) mod option {
    //! Options of neighbour discovery (RFC 4861 s4.6, 8106, 8781).
    pub(in super::super) const SOURCE_LINK_LAYER: u8 = 1;
    pub(in super::super) const TARGET_LINK_LAYER: u8 = 2;
    pub(in super::super) const PREFIX_INFORMATION: u8 = 3;
    pub(in super::super) const MTU: u8 = 5;
    pub(in super::super) const RDNSS: u8 = 25;
    pub(in super::super) const DNSSL: u8 = 31;
    pub(in super::super) const PREF64: u8 = 38;
}

/// A message of neighbour discovery in its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NdpFrame {
    /// Ethernet source; differs from the link-layer address in forged and in proxied messages.
    pub eth_src: Mac,
    /// Ethernet destination.
    pub eth_dst: Mac,
    /// IP source; unspecified in a probe for duplicates (RFC 4862 s5.4.2).
    pub src: Ipv6Addr,
    /// IP destination.
    pub dst: Ipv6Addr,
    /// What it says.
    pub message: NdpMessage,
}

/// What a message of neighbour discovery says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NdpMessage {
    /// Who has `target`?
    NeighbourSolicit {
        /// The address asked for.
        target: Ipv6Addr,
        /// The asker's link-layer address, if told.
        source: Option<Mac>,
    },
    /// `target` is here.
    NeighbourAdvert {
        /// The address spoken for.
        target: Ipv6Addr,
        /// Its link-layer address, if told.
        link_layer: Option<Mac>,
        /// Flag R: it is a router.
        router: bool,
        /// Flag S: it answers a solicitation.
        solicited: bool,
        /// Flag O: what neighbours remember is to be replaced.
        overrides: bool,
    },
    /// Which routers are there?
    RouterSolicit {
        /// The asker's link-layer address, if told.
        source: Option<Mac>,
    },
}

/// Reads a neighbour solicitation, neighbour advertisement or router solicitation with the
/// checks of RFC 4861 s6.1.1, s7.1.1 and s7.1.2. Options that are not known are skipped.
///
/// `checksum_ready` is as for [`read_udp4`](super::frame::read_udp4).
pub fn read(frame: &[u8], checksum_ready: bool) -> Result<NdpFrame, FrameError> {
    let packet = read_icmp6(frame, checksum_ready)?;
    let message = match packet.payload.first() {
        Some(&icmp::ROUTER_SOLICIT) => read_router_solicit(&packet)?,
        Some(&icmp::NEIGHBOUR_SOLICIT) => read_neighbour_solicit(&packet)?,
        Some(&icmp::NEIGHBOUR_ADVERT) => read_neighbour_advert(&packet)?,
        other => return Err(FrameError::OtherIcmp6(other.copied().unwrap_or(0))),
    };
    let Packet6 { eth_src, eth_dst, src, dst, .. } = packet;
    Ok(NdpFrame { eth_src, eth_dst, src, dst, message })
}

/// An ICMPv6 message with a right checksum. Hop limit and code are checked where it is a message
/// of neighbour discovery.
pub(super) fn read_icmp6(frame: &[u8], checksum_ready: bool) -> Result<Packet6<'_>, FrameError> {
    let packet = read_ipv6(frame)?;
    if packet.protocol != IpNextHeaderProtocols::Icmpv6 {
        return Err(FrameError::NotIcmp6(packet.protocol.0));
    }
    let [kind, code, high, low, ..] = packet.payload else {
        return Err(FrameError::BadNdp("shorter than an icmpv6 header"));
    };
    let sum = || icmp6_checksum(packet.payload, packet.src, packet.dst);
    if checksum_ready && sum() != u16::from_be_bytes([*high, *low]) {
        return Err(FrameError::BadIcmp6Checksum);
    }
    if !(icmp::ROUTER_SOLICIT..=icmp::NEIGHBOUR_ADVERT).contains(kind) {
        return Err(FrameError::OtherIcmp6(*kind));
    }
    if packet.hop_limit != HOP_LIMIT {
        return Err(FrameError::BadNdp("hop limit is not 255"));
    }
    if *code != 0 {
        return Err(FrameError::BadNdp("icmpv6 code is not 0"));
    }
    Ok(packet)
}

fn read_router_solicit(packet: &Packet6<'_>) -> Result<NdpMessage, FrameError> {
    let source = link_layer(options(packet, 8)?, option::SOURCE_LINK_LAYER);
    if packet.src.is_unspecified() && source.is_some() {
        return Err(FrameError::BadNdp("link-layer address of an unspecified source"));
    }
    Ok(NdpMessage::RouterSolicit { source })
}

fn read_neighbour_solicit(packet: &Packet6<'_>) -> Result<NdpMessage, FrameError> {
    let options = options(packet, NEIGHBOUR_LEN)?;
    let target = target(packet)?;
    let source = link_layer(options, option::SOURCE_LINK_LAYER);
    if packet.src.is_unspecified() {
        if packet.dst != solicited_node(target) {
            return Err(FrameError::BadNdp("probe not sent to the solicited-node group"));
        }
        if source.is_some() {
            return Err(FrameError::BadNdp("link-layer address of an unspecified source"));
        }
    }
    Ok(NdpMessage::NeighbourSolicit { target, source })
}

fn read_neighbour_advert(packet: &Packet6<'_>) -> Result<NdpMessage, FrameError> {
    let options = options(packet, NEIGHBOUR_LEN)?;
    let flags = packet.payload.get(4).copied().unwrap_or(0);
    let solicited = flags & 0x40 != 0;
    if solicited && packet.dst.is_multicast() {
        return Err(FrameError::BadNdp("solicited advertisement to a group"));
    }
    Ok(NdpMessage::NeighbourAdvert {
        target: target(packet)?,
        link_layer: link_layer(options, option::TARGET_LINK_LAYER),
        router: flags & 0x80 != 0,
        solicited,
        overrides: flags & 0x20 != 0,
    })
}

fn target(packet: &Packet6<'_>) -> Result<Ipv6Addr, FrameError> {
    let octets = packet.payload.get(8..).and_then(|rest| rest.first_chunk::<16>());
    let target = octets.map(|octets| Ipv6Addr::from(*octets));
    let target = target.ok_or(FrameError::BadNdp("ends inside its target"))?;
    if target.is_multicast() {
        return Err(FrameError::BadNdp("target is a group"));
    }
    Ok(target)
}

/// The options behind a message's first `len` bytes, once it is clear that they end where the
/// message ends and that none has length 0 (RFC 4861 s4.6).
pub(super) fn options<'a>(packet: &Packet6<'a>, len: usize) -> Result<NdpOptions<'a>, FrameError> {
    let rest = packet.payload.get(len..).ok_or(FrameError::BadNdp("message is too short"))?;
    let options = NdpOptions { rest };
    let mut all = options.clone();
    all.by_ref().for_each(drop);
    match all.rest {
        [] => Ok(options),
        [_, 0, ..] => Err(FrameError::BadNdp("option of length 0")),
        _ => Err(FrameError::BadNdp("option runs past the end")),
    }
}

/// The first Ethernet address among the options of that type.
pub(super) fn link_layer(mut options: NdpOptions<'_>, kind: u8) -> Option<Mac> {
    let (_, data) = options.find(|(found, data)| *found == kind && data.len() == 6)?;
    data.try_into().ok().map(Mac)
}

/// Iterator over options: type and what follows the length.
#[derive(Clone, Debug)]
pub(super) struct NdpOptions<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for NdpOptions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let [kind, units @ (1..), ..] = self.rest else { return None };
        let (option, rest) = self.rest.split_at_checked(8 * usize::from(*units))?;
        self.rest = rest;
        Some((*kind, option.get(2..)?))
    }
}

pub(super) fn icmp6_checksum(message: &[u8], src: Ipv6Addr, dst: Ipv6Addr) -> u16 {
    checksum::over_ipv6(message, 2, src, dst, IpNextHeaderProtocols::Icmpv6.0)
}

/// The group in which every holder of `addr` listens (RFC 4291 s2.7.1).
pub fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = addr.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// Appends a frame that asks whether anyone has `target`, from no address, so that it changes
/// nobody's cache (RFC 4862 s5.4.2). The holder answers to all nodes.
pub fn write_probe(out: &mut Vec<u8>, eth_src: Mac, target: Ipv6Addr) {
    let ends = Ends::to_group(eth_src, Ipv6Addr::UNSPECIFIED, solicited_node(target));
    write_solicit(out, &ends, target, None);
}

/// Appends a frame that asks for `target` from an address of ours, to which the holder answers.
///
/// Sent to the group where `eth_dst` is `None`, else to the target itself at that link-layer
/// address, to see whether it is still there (RFC 4861 s7.3.3).
pub fn write_request(
    out: &mut Vec<u8>,
    eth_src: Mac,
    eth_dst: Option<Mac>,
    src: Ipv6Addr,
    target: Ipv6Addr,
) {
    let group = solicited_node(target);
    let ends = match eth_dst {
        None => Ends { src_mac: eth_src, dst_mac: multicast_mac(group), src, dst: group },
        Some(dst_mac) => Ends { src_mac: eth_src, dst_mac, src, dst: target },
    };
    write_solicit(out, &ends, target, Some(eth_src));
}

/// Appends a frame that asks for `target`, and says where its sender is.
pub(super) fn write_solicit(out: &mut Vec<u8>, ends: &Ends, target: Ipv6Addr, source: Option<Mac>) {
    let mut message = [0; NEIGHBOUR_LEN + LINK_LAYER_LEN];
    message[0] = icmp::NEIGHBOUR_SOLICIT;
    message[8..24].copy_from_slice(&target.octets());
    let mut len = NEIGHBOUR_LEN;
    if let Some(Mac(mac)) = source {
        message[24..26].copy_from_slice(&[option::SOURCE_LINK_LAYER, 1]);
        message[26..].copy_from_slice(&mac);
        len += LINK_LAYER_LEN;
    }
    write_icmp6(out, ends, &message[..len]);
}

/// Appends an advertisement that nobody asked for: `target` is at `holder` now, whatever neighbours
/// knew of it (RFC 4861 s7.2.6).
pub(super) fn write_override(out: &mut Vec<u8>, ends: &Ends, target: Ipv6Addr, holder: Mac) {
    const OVERRIDE: u8 = 0x20;
    let mut message = [0; NEIGHBOUR_LEN + LINK_LAYER_LEN];
    message[0] = icmp::NEIGHBOUR_ADVERT;
    message[4] = OVERRIDE;
    message[8..24].copy_from_slice(&target.octets());
    message[24..26].copy_from_slice(&[option::TARGET_LINK_LAYER, 1]);
    message[26..].copy_from_slice(&holder.0);
    write_icmp6(out, ends, &message);
}

/// Appends a frame with an ICMPv6 message of neighbour discovery, at most 65,535 bytes long,
/// whose checksum is filled in.
pub fn write_icmp6(out: &mut Vec<u8>, ends: &Ends, message: &[u8]) {
    let Ok(len) = u16::try_from(message.len()) else { return };
    write_ipv6(out, ends, HOP_LIMIT, IpNextHeaderProtocols::Icmpv6, len);
    let start = out.len();
    out.extend_from_slice(message);
    let sum = icmp6_checksum(message, ends.src, ends.dst);
    if let Some(field) = out.get_mut(start + 2..start + 4) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::addr::parse_hex;

    const A: Mac = Mac([0x52, 0x54, 0, 0, 0, 0xa]);
    const B: Mac = Mac([0x52, 0x54, 0, 0, 0, 0xb]);

    fn addr(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn target() -> Ipv6Addr {
        addr("2001:db8::12:3456")
    }

    /// A frame with this message, its checksum filled in.
    fn framed(src: &str, dst: &str, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let ends = Ends { src_mac: A, dst_mac: B, src: addr(src), dst: addr(dst) };
        write_icmp6(&mut out, &ends, message);
        out
    }

    fn advert(dst: &str, flags: u8, options: &[u8]) -> Vec<u8> {
        let message = [&[136, 0, 0, 0, flags, 0, 0, 0], &target().octets()[..], options].concat();
        framed("fe80::b", dst, &message)
    }

    fn bad(frame: &[u8]) -> &'static str {
        match read(frame, true) {
            Err(FrameError::BadNdp(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_probe_is_written_as_rfc_4862_wants() {
        let mut out = Vec::new();
        write_probe(&mut out, A, target());
        // The checksum worked out apart from this code, by RFC 4443 s2.3.
        let want = parse_hex(
            "3333ff123456 52540000000a 86dd 60000000 0018 3a ff \
             00000000000000000000000000000000 ff0200000000000000000001ff123456 \
             87 00 e41e 00000000 20010db8000000000000000000123456",
        );
        assert_eq!(Some(&out), want.as_ref());
        let seen = read(&out, true).unwrap();
        assert_eq!((seen.eth_src, seen.src), (A, Ipv6Addr::UNSPECIFIED));
        assert_eq!(seen.message, NdpMessage::NeighbourSolicit { target: target(), source: None });
    }

    #[test]
    fn a_request_says_who_asks() {
        for (eth_dst, dst) in [(None, solicited_node(target())), (Some(B), target())] {
            let mut out = b"before".to_vec();
            write_request(&mut out, A, eth_dst, addr("fe80::a"), target());
            assert_eq!(&out[..6], b"before");
            let seen = read(&out[6..], true).unwrap();
            assert_eq!((seen.src, seen.dst), (addr("fe80::a"), dst));
            assert_eq!(seen.eth_dst, eth_dst.unwrap_or(Mac([0x33, 0x33, 0xff, 0x12, 0x34, 0x56])));
            let want = NdpMessage::NeighbourSolicit { target: target(), source: Some(A) };
            assert_eq!(seen.message, want);
        }
    }

    #[test]
    fn advertisements_are_read() {
        let link = [&[2, 1][..], &B.0].concat();
        let read = |flags, dst, options: &[u8]| read(&advert(dst, flags, options), true);
        let NdpMessage::NeighbourAdvert { target: t, link_layer, router, solicited, overrides } =
            read(0xe0, "fe80::a", &link).unwrap().message
        else {
            panic!()
        };
        assert_eq!((t, link_layer), (target(), Some(B)));
        assert_eq!((router, solicited, overrides), (true, true, true));
        let plain = read(0, "ff02::1", &[]).unwrap().message;
        assert!(matches!(
            plain,
            NdpMessage::NeighbourAdvert {
                link_layer: None,
                router: false,
                solicited: false,
                overrides: false,
                ..
            }
        ));
        // An option that is not known is skipped; one of another link layer is not believed.
        let odd = [&[99, 1][..], &[0; 6], &[2, 2], &[7; 14]].concat();
        assert!(read(0, "ff02::1", &odd).is_ok());
        assert_eq!(bad(&advert("ff02::1", 0x40, &[])), "solicited advertisement to a group");
    }

    #[test]
    fn router_solicitations_are_read() {
        let plain = framed("::", "ff02::2", &[133, 0, 0, 0, 0, 0, 0, 0]);
        let seen = read(&plain, true).unwrap();
        assert_eq!(seen.message, NdpMessage::RouterSolicit { source: None });
        let with = [&[133, 0, 0, 0, 0, 0, 0, 0, 1, 1][..], &B.0].concat();
        let seen = read(&framed("fe80::b", "ff02::2", &with), true).unwrap();
        assert_eq!(seen.message, NdpMessage::RouterSolicit { source: Some(B) });
        assert_eq!(
            bad(&framed("::", "ff02::2", &with)),
            "link-layer address of an unspecified source"
        );
        assert_eq!(bad(&framed("::", "ff02::2", &[133, 0, 0, 0, 0, 0, 0])), "message is too short");
    }

    #[test]
    fn what_came_through_a_router_is_refused() {
        let mut out = Vec::new();
        write_probe(&mut out, A, target());
        out[21] = 254;
        assert_eq!(bad(&out), "hop limit is not 255");
    }

    #[test]
    fn the_checks_of_rfc_4861_are_made() {
        let solicit = |code: u8, target: Ipv6Addr, options: &[u8]| {
            [&[135, code, 0, 0, 0, 0, 0, 0], &target.octets()[..], options].concat()
        };
        let group = solicited_node(target()).to_string();
        let send = |src: &str, dst: &str, message: &[u8]| framed(src, dst, message);
        let with = |options: &[u8]| send("fe80::a", &group, &solicit(0, target(), options));
        assert!(read(&with(&[]), true).is_ok());
        assert_eq!(
            bad(&send("fe80::a", &group, &solicit(1, target(), &[]))),
            "icmpv6 code is not 0"
        );
        let to_group = send("fe80::a", &group, &solicit(0, addr("ff02::9"), &[]));
        assert_eq!(bad(&to_group), "target is a group");
        assert_eq!(bad(&with(&[1, 0, 0, 0, 0, 0, 0, 0])), "option of length 0");
        assert_eq!(bad(&with(&[1, 2, 0, 0, 0, 0, 0, 0])), "option runs past the end");
        assert_eq!(bad(&with(&[1])), "option runs past the end");
        let astray = send("::", "ff02::1", &solicit(0, target(), &[]));
        assert_eq!(bad(&astray), "probe not sent to the solicited-node group");
        let told = send("::", &group, &solicit(0, target(), &[1, 1, 0, 0, 0, 0, 0, 1]));
        assert_eq!(bad(&told), "link-layer address of an unspecified source");
    }

    #[test]
    fn damage_and_other_messages_are_errors() {
        let whole = advert("ff02::1", 0x20, &[2, 1, 0, 0, 0, 0, 0, 1]);
        for len in 0..whole.len() {
            assert!(read(&whole[..len], true).is_err(), "cut to {len} bytes");
        }
        let mut wrong = whole.clone();
        wrong[60] ^= 1;
        assert_eq!(read(&wrong, true), Err(FrameError::BadIcmp6Checksum));
        assert!(read(&wrong, false).is_ok());
        let echo = framed("fe80::a", "fe80::b", &[128, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(read(&echo, true), Err(FrameError::OtherIcmp6(128)));
        assert_eq!(bad(&framed("::", "ff02::2", &[133])), "shorter than an icmpv6 header");
    }
}
