//! ARP over Ethernet for IPv4 (RFC 826, 5227), by pnet's packet type.

use std::net::Ipv4Addr;

use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket};

use super::frame::{ETHERNET_LEN, mac, pnet_mac};
use crate::base::Mac;

/// An ARP packet, in bytes.
pub const ARP_LEN: usize = 28;

/// An ARP request or reply in its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpFrame {
    /// Ethernet source; differs from `sender` in forged and in proxied answers.
    pub eth_src: Mac,
    /// Sender hardware address.
    pub sender: Mac,
    /// Sender protocol address; 0.0.0.0 in a probe (RFC 5227 s2.1.1).
    pub sender_ip: Ipv4Addr,
    /// Target hardware address.
    pub target: Mac,
    /// Target protocol address.
    pub target_ip: Ipv4Addr,
    /// A reply, not a request.
    pub is_reply: bool,
}

/// Reads an ARP request or reply for IPv4 over Ethernet; `None` for everything else.
pub fn read(frame: &[u8]) -> Option<ArpFrame> {
    let eth = EthernetPacket::new(frame)?;
    let arp = ArpPacket::new(frame.get(ETHERNET_LEN..)?)?;
    let is_ours = eth.get_ethertype() == EtherTypes::Arp
        && arp.get_hardware_type() == ArpHardwareTypes::Ethernet
        && arp.get_protocol_type() == EtherTypes::Ipv4
        && arp.get_hw_addr_len() == 6
        && arp.get_proto_addr_len() == 4;
    let is_reply = match arp.get_operation() {
        ArpOperations::Request => false,
        ArpOperations::Reply => true,
        _ => return None,
    };
    is_ours.then(|| ArpFrame {
        eth_src: mac(eth.get_source()),
        sender: mac(arp.get_sender_hw_addr()),
        sender_ip: arp.get_sender_proto_addr(),
        target: mac(arp.get_target_hw_addr()),
        target_ip: arp.get_target_proto_addr(),
        is_reply,
    })
}

/// Appends a frame that asks who has `target_ip`. A probe has `sender_ip` 0.0.0.0, so that it
/// changes nobody's cache (RFC 5227 s2.1.1).
pub fn write_request(
    out: &mut Vec<u8>,
    eth_src: Mac,
    eth_dst: Mac,
    sender: Mac,
    sender_ip: Ipv4Addr,
    target_ip: Ipv4Addr,
) {
    let target = Mac::ZERO;
    let frame = ArpFrame { eth_src, sender, sender_ip, target, target_ip, is_reply: false };
    write(out, eth_dst, &frame);
}

/// Appends a request or reply.
pub fn write(out: &mut Vec<u8>, eth_dst: Mac, frame: &ArpFrame) {
    let start = out.len();
    out.resize(start + ETHERNET_LEN + ARP_LEN, 0);
    if let Some(mut eth) = out.get_mut(start..).and_then(MutableEthernetPacket::new) {
        eth.set_source(pnet_mac(frame.eth_src));
        eth.set_destination(pnet_mac(eth_dst));
        eth.set_ethertype(EtherTypes::Arp);
    }
    if let Some(mut arp) = out.get_mut(start + ETHERNET_LEN..).and_then(MutableArpPacket::new) {
        arp.set_hardware_type(ArpHardwareTypes::Ethernet);
        arp.set_protocol_type(EtherTypes::Ipv4);
        arp.set_hw_addr_len(6);
        arp.set_proto_addr_len(4);
        arp.set_operation(match frame.is_reply {
            false => ArpOperations::Request,
            true => ArpOperations::Reply,
        });
        arp.set_sender_hw_addr(pnet_mac(frame.sender));
        arp.set_sender_proto_addr(frame.sender_ip);
        arp.set_target_hw_addr(pnet_mac(frame.target));
        arp.set_target_proto_addr(frame.target_ip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([0x52, 0x54, 0, 0, 0, 0xa]);
    const B: Mac = Mac([0x52, 0x54, 0, 0, 0, 0xb]);
    const TARGET: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

    fn probe() -> Vec<u8> {
        let mut out = Vec::new();
        write_request(&mut out, A, Mac::BROADCAST, B, Ipv4Addr::UNSPECIFIED, TARGET);
        out
    }

    #[test]
    fn a_probe_is_written_as_rfc_5227_wants() {
        let want = crate::base::addr::parse_hex(
            "ffffffffffff 52540000000a 0806 0001 0800 06 04 0001 \
             52540000000b 00000000 000000000000 0a000005",
        );
        assert_eq!(Some(probe()), want);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let want = ArpFrame {
            eth_src: A,
            sender: B,
            sender_ip: Ipv4Addr::UNSPECIFIED,
            target: Mac::ZERO,
            target_ip: TARGET,
            is_reply: false,
        };
        assert_eq!(read(&probe()), Some(want));
        let mut reply = probe();
        reply[21] = 2;
        assert_eq!(read(&reply), Some(ArpFrame { is_reply: true, ..want }));
        // Ethernet pads to 60 bytes.
        reply.resize(60, 0);
        assert!(read(&reply).is_some());
    }

    #[test]
    fn everything_else_is_none() {
        for len in 0..probe().len() {
            assert_eq!(read(&probe()[..len]), None, "cut to {len} bytes");
        }
        // Ethertype, hardware type, protocol type, both lengths, operation.
        for at in [13, 15, 17, 18, 19, 21] {
            let mut other = probe();
            other[at] = 0x77;
            assert_eq!(read(&other), None, "byte {at}");
        }
    }
}
