//! Frames to what was heard, and questions to frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use crate::base::addr6::Prefix6;
use crate::base::{Mac, Prefix4};
use crate::wire::frame6::Ends;
use crate::wire::ndp::{self, NdpMessage};
use crate::wire::v4::{BOOTREPLY, Message, MessageType};
use crate::wire::v4_build::RequestV4;
use crate::wire::v6::{Kind6, Message6, MessageType6};
use crate::wire::v6_build::RequestV6;
use crate::wire::v6_ia::IaKind;
use crate::wire::{arp, echo6, multicast_mac, options, options6, ra};
use crate::wire::{read_udp4, read_udp6, write_udp4, write_udp6};

use super::seen::{Ask, By, Heard, NO_ADDR, Server, Sighting};

/// All DHCP relay agents and servers (RFC 9915 s7.1).
const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// The vendor class of our DISCOVER, so that who meets it in a log knows what it is.
const VENDOR_CLASS: &[u8] = b"foreshadow-scan";
/// Broadcast flag (RFC 2131 s2): nobody has the address of the client that the answer is for.
const BROADCAST_FLAG: u16 = 0x8000;

/// As whom we ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// Hardware address of the link.
    pub mac: Mac,
    /// Its IPv4 addresses, each with its subnet.
    pub addrs4: Vec<(Ipv4Addr, Prefix4)>,
    /// Its IPv6 addresses, each with its prefix, the link-local one included.
    pub addrs6: Vec<(Ipv6Addr, Prefix6)>,
    /// What our echo requests are told by.
    pub echo_id: u16,
}

impl Asker {
    /// The address that a question for `target` is asked from. None of the subnet: 0.0.0.0, a
    /// probe (RFC 5227 s2.1.1), which changes nobody's cache but is not answered by all.
    fn source4(&self, target: Ipv4Addr) -> Ipv4Addr {
        let of_subnet = self.addrs4.iter().find(|(_, subnet)| subnet.contains(target));
        // Asked from the address itself, it would be an announcement.
        of_subnet
            .map(|(addr, _)| *addr)
            .filter(|addr| *addr != target)
            .unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    fn link_local(&self) -> Ipv6Addr {
        let mut own = self.addrs6.iter().map(|(addr, _)| *addr);
        own.find(Ipv6Addr::is_unicast_link_local).unwrap_or_else(|| self.mac.link_local())
    }

    /// Appends the frames of a question, each by one call of `push`.
    pub fn write(&self, ask: Ask, mut push: impl FnMut(&dyn Fn(&mut Vec<u8>))) {
        match ask {
            Ask::Who { addr: IpAddr::V4(addr), to } => push(&|out| {
                let (to, from) = (to.unwrap_or(Mac::BROADCAST), self.source4(addr));
                arp::write_request(out, self.mac, to, self.mac, from, addr);
            }),
            Ask::Who { addr: IpAddr::V6(addr), to } => push(&|out| match to {
                None if self.link_local() == addr => ndp::write_probe(out, self.mac, addr),
                _ => ndp::write_request(out, self.mac, to, self.link_local(), addr),
            }),
            Ask::Dhcp4 { xid, client } => push(&|out| self.discover(out, xid, client)),
            Ask::Dhcp6 { xid, client } => push(&|out| self.solicit(out, xid, client)),
            Ask::Routers => push(&|out| {
                let ends = Ends::to_group(self.mac, self.link_local(), ndp::ALL_ROUTERS);
                let mut message = [133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0];
                message[10..].copy_from_slice(&self.mac.0);
                ndp::write_icmp6(out, &ends, &message);
            }),
            // Nodes answer from an address like the one that asks.
            Ask::Nodes => {
                let global = self.addrs6.iter().map(|(addr, _)| *addr);
                let global = global.filter(|addr| !addr.is_unicast_link_local());
                for from in global.chain([self.link_local()]) {
                    let ends = Ends::to_group(self.mac, from, ndp::ALL_NODES);
                    push(&|out| echo6::write_request(out, &ends, self.echo_id));
                }
            }
        }
    }

    fn discover(&self, out: &mut Vec<u8>, xid: u32, client: Mac) {
        let discover = RequestV4::new(MessageType::Discover, client)
            .xid(xid)
            .flags(BROADCAST_FLAG)
            .option(options::VENDOR_CLASS, VENDOR_CLASS)
            .option(options::PARAMETER_LIST, &[options::SUBNET_MASK, options::ROUTERS])
            .build();
        let (from, to) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        let (from, to) = (SocketAddrV4::new(from, 68), SocketAddrV4::new(to, 67));
        write_udp4(out, self.mac, Mac::BROADCAST, from, to, &discover);
    }

    fn solicit(&self, out: &mut Vec<u8>, xid: u32, client: Mac) {
        let mut duid = [0, 3, 0, 1, 0, 0, 0, 0, 0, 0];
        duid[4..].copy_from_slice(&client.0);
        let solicit = RequestV6::new(MessageType6::Solicit, xid)
            .client_id(&duid)
            .elapsed(0)
            .oro(&[options6::DNS_SERVERS])
            .ia(IaKind::Na, 1, &[])
            .build();
        let from = SocketAddrV6::new(self.link_local(), 546, 0, 0);
        let to = SocketAddrV6::new(ALL_SERVERS, 547, 0, 0);
        write_udp6(out, self.mac, multicast_mac(ALL_SERVERS), from, to, &solicit);
    }
}

/// Who an ARP frame says is where. Nobody, in a probe: it comes from 0.0.0.0.
pub fn read_arp(frame: &[u8]) -> Option<Heard> {
    let arp = arp::read(frame)?;
    if arp.sender_ip.is_unspecified() {
        return None;
    }
    let by = match (arp.sender_ip == arp.target_ip, arp.is_reply) {
        (true, _) => By::ArpAnnouncement,
        (false, true) => By::ArpReply,
        (false, false) => By::ArpRequest,
    };
    let (addr, mac) = (arp.sender_ip.into(), arp.sender);
    Some(Heard::Claim(Sighting { addr, mac, eth_src: arp.eth_src, port: None, by }))
}

/// Who a frame of neighbour discovery, or the answer to our echo request, says is where.
pub fn read_icmp6(frame: &[u8], checksum_ready: bool, echo_id: u16) -> Option<Heard> {
    if let Some((eth_src, addr)) = echo6::read_reply(frame, checksum_ready, echo_id) {
        let (addr, by) = (addr.into(), By::EchoReply);
        return Some(Heard::Claim(Sighting { addr, mac: eth_src, eth_src, port: None, by }));
    }
    if let Ok(advert) = ra::read(frame, checksum_ready) {
        let (addr, eth_src, by) = (advert.src.into(), advert.eth_src, By::RouterAdvert);
        let seen = Sighting { addr, mac: eth_src, eth_src, port: None, by };
        return Some(Heard::Server(Server::Router, seen));
    }
    let read = ndp::read(frame, checksum_ready).ok()?;
    let eth_src = read.eth_src;
    let (addr, mac, by) = match read.message {
        // Who does not override, and says where it is, is one of several: anycast, or a proxy
        // (RFC 4861 s7.2.7, s7.2.8). Answers to one need not say where they come from.
        NdpMessage::NeighbourAdvert { link_layer: Some(_), overrides: false, .. } => return None,
        NdpMessage::NeighbourAdvert { target, link_layer, solicited, .. } => {
            let by = if solicited { By::NeighbourAdvert } else { By::UnsolicitedAdvert };
            (target, link_layer.unwrap_or(eth_src), by)
        }
        NdpMessage::NeighbourSolicit { source, .. } if !read.src.is_unspecified() => {
            (read.src, source.unwrap_or(eth_src), By::NeighbourSolicit)
        }
        _ => return None,
    };
    Some(Heard::Claim(Sighting { addr: addr.into(), mac, eth_src, port: None, by }))
}

/// Which server a frame of DHCP, of either family, is from.
pub fn read_dhcp(frame: &[u8], checksum_ready: bool) -> Option<Heard> {
    let by = By::Dhcp;
    if let Ok(udp) = read_udp4(frame, checksum_ready) {
        if udp.dst.port() != 68 {
            return None;
        }
        let message = Message::parse(udp.payload).ok().filter(|m| m.op() == BOOTREPLY)?;
        let said = message.server_id().or(Some(*udp.src.ip())).filter(|a| !a.is_unspecified());
        let addr = said.map_or(NO_ADDR, IpAddr::V4);
        let seen = Sighting { addr, mac: udp.eth_src, eth_src: udp.eth_src, port: None, by };
        return Some(Heard::Server(Server::Dhcp4, seen));
    }
    let udp = read_udp6(frame, checksum_ready).ok().filter(|udp| udp.dst.port() == 546)?;
    let kind = Message6::parse(udp.payload).ok()?.kind();
    let says = |kind| {
        matches!(kind, MessageType6::Advertise | MessageType6::Reply | MessageType6::Reconfigure)
    };
    let Kind6::Known(kind) = kind else { return None };
    let addr = IpAddr::V6(*udp.src.ip());
    let seen = Sighting { addr, mac: udp.eth_src, eth_src: udp.eth_src, port: None, by };
    says(kind).then_some(Heard::Server(Server::Dhcp6, seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::arp::ArpFrame;

    const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

    fn asker() -> Asker {
        Asker {
            mac: A,
            addrs4: vec![([10, 0, 0, 1].into(), "10.0.0.0/24".parse().unwrap())],
            addrs6: vec![("2001:db8::1".parse().unwrap(), "2001:db8::/64".parse().unwrap())],
            echo_id: 7,
        }
    }

    fn frames(ask: Ask) -> Vec<Vec<u8>> {
        let mut frames = vec![];
        asker().write(ask, |write| {
            let mut frame = vec![];
            write(&mut frame);
            frames.push(frame);
        });
        frames
    }

    fn who(addr: &str, to: Option<Mac>) -> Vec<u8> {
        frames(Ask::Who { addr: addr.parse().unwrap(), to }).remove(0)
    }

    fn claim(heard: Option<Heard>) -> Option<(String, Mac, By)> {
        match heard? {
            Heard::Claim(seen) => Some((seen.addr.to_string(), seen.mac, seen.by)),
            Heard::Server(..) => None,
        }
    }

    #[test]
    fn questions_come_from_an_address_of_the_subnet() {
        let from = |addr: &str| claim(read_arp(&who(addr, None))).map(|(addr, ..)| addr);
        assert_eq!(from("10.0.0.9"), Some("10.0.0.1".into()));
        assert_eq!(from("10.0.1.9"), None, "a probe");
        assert_eq!(from("10.0.0.1"), None, "our own: no announcement");
        assert_eq!(who("10.0.0.9", None)[..6], [0xff; 6]);
        assert_eq!(who("10.0.0.9", Some(B))[..6], B.0);
        assert_eq!(who("2001:db8::9", Some(B))[..6], B.0);
    }

    #[test]
    fn arp_says_who_is_where() {
        let frame = |is_reply, sender_ip: [u8; 4], target_ip: [u8; 4]| {
            let (sender_ip, target_ip) = (sender_ip.into(), target_ip.into());
            let arp = ArpFrame { eth_src: A, sender: B, sender_ip, target: A, target_ip, is_reply };
            let mut out = vec![];
            arp::write(&mut out, A, &arp);
            claim(read_arp(&out)).map(|(_, mac, by)| (mac, by))
        };
        assert_eq!(frame(true, [10, 0, 0, 9], [10, 0, 0, 1]), Some((B, By::ArpReply)));
        assert_eq!(frame(false, [10, 0, 0, 9], [10, 0, 0, 1]), Some((B, By::ArpRequest)));
        assert_eq!(frame(false, [10, 0, 0, 9], [10, 0, 0, 9]), Some((B, By::ArpAnnouncement)));
        assert_eq!(frame(false, [0; 4], [10, 0, 0, 9]), None, "a probe is no claim");
    }

    /// An advertisement for 2001:db8::9 from B.
    fn advert(flags: u8, option: bool) -> Option<(Mac, By)> {
        let target: Ipv6Addr = "2001:db8::9".parse().unwrap();
        let mut message = vec![136, 0, 0, 0, flags, 0, 0, 0];
        message.extend(target.octets());
        if option {
            message.extend([2, 1]);
            message.extend(B.0);
        }
        let ends = Ends { src_mac: B, dst_mac: A, src: target, dst: asker().link_local() };
        let mut out = vec![];
        ndp::write_icmp6(&mut out, &ends, &message);
        claim(read_icmp6(&out, true, 7)).map(|(_, mac, by)| (mac, by))
    }

    #[test]
    fn one_of_several_is_no_holder() {
        let (solicited, overrides) = (0x40, 0x20);
        assert_eq!(advert(solicited | overrides, true), Some((B, By::NeighbourAdvert)));
        assert_eq!(advert(overrides, true), Some((B, By::UnsolicitedAdvert)));
        assert_eq!(advert(solicited, true), None, "anycast, or a proxy");
        assert_eq!(advert(solicited, false), Some((B, By::NeighbourAdvert)), "asked by unicast");
        let solicit = who("2001:db8::7", None);
        let of_asker = asker().link_local().to_string();
        assert_eq!(claim(read_icmp6(&solicit, true, 7)), Some((of_asker, A, By::NeighbourSolicit)));
    }

    #[test]
    fn servers_are_told_by_what_only_they_send() {
        for ask in [
            Ask::Dhcp4 { xid: 9, client: B },
            Ask::Dhcp6 { xid: 9, client: B },
            Ask::Routers,
            Ask::Nodes,
        ] {
            for frame in frames(ask) {
                assert_eq!(read_dhcp(&frame, true), None, "{ask:?}");
                let heard = read_icmp6(&frame, true, 7);
                assert!(!matches!(heard, Some(Heard::Server(..))), "{ask:?}");
            }
        }
        assert_eq!(frames(Ask::Nodes).len(), 2, "from the global and the link-local address");
        let mut reply = RequestV4::new(MessageType::Offer, B)
            .op(BOOTREPLY)
            .addr(options::SERVER_ID, [10, 0, 0, 5].into());
        let mut frame = vec![];
        let (from, to) = (SocketAddrV4::new([10, 0, 0, 6].into(), 67), "255.255.255.255:68");
        reply = reply.xid(3);
        let to = to.parse().unwrap();
        write_udp4(&mut frame, B, Mac::BROADCAST, from, to, &reply.build());
        let Some(Heard::Server(Server::Dhcp4, seen)) = read_dhcp(&frame, true) else { panic!() };
        assert_eq!((seen.addr, seen.mac), ("10.0.0.5".parse().unwrap(), B));
        let advertise = RequestV6::new(MessageType6::Advertise, 1).build();
        let (from, to) = ("[fe80::5]:547".parse().unwrap(), "[fe80::1]:546".parse().unwrap());
        frame.clear();
        write_udp6(&mut frame, B, A, from, to, &advertise);
        let Some(Heard::Server(Server::Dhcp6, seen)) = read_dhcp(&frame, true) else { panic!() };
        assert_eq!((seen.addr, seen.mac), ("fe80::5".parse().unwrap(), B));
    }
}
