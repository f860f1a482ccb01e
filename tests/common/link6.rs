//! DHCPv6 on a link: what is seen there, and scripted clients that speak raw frames.

use std::net::Ipv6Addr;
use std::time::Instant;

use pnet::datalink::{DataLinkReceiver, DataLinkSender};
use pnet::packet::ip::IpNextHeaderProtocols;

use super::dhcp6::{self, Message6};
use super::link::{Sniffer, open};
use super::world::Host;
use super::{PATIENCE, wait_for};

/// All_DHCP_Relay_Agents_and_Servers (RFC 9915 s7.1), and its hardware address.
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
const SERVERS_MAC: [u8; 6] = [0x33, 0x33, 0, 1, 0, 2];
/// Ports of clients and servers (RFC 9915 s7.2).
const CLIENT_PORT: u16 = 546;
const SERVER_PORT: u16 = 547;

/// A DHCPv6 message of a client, or to one, as it was seen on a link.
#[derive(Clone, Debug)]
pub(crate) struct Seen6 {
    /// When it was read.
    pub(crate) at: Instant,
    pub(crate) eth_dst: [u8; 6],
    pub(crate) message: Message6,
}

impl Sniffer<Seen6> {
    /// Listens for DHCPv6 on `link` of `host` from now on.
    pub(crate) fn on6(host: &Host, link: &str) -> Sniffer<Seen6> {
        Sniffer::of(host, link, dissect)
    }

    /// How many messages of this type were seen.
    pub(crate) fn count6(&self, kind: u8) -> usize {
        self.all().iter().filter(|s| s.message.kind == kind).count()
    }

    /// Waits for a message of this type among those after `mark`.
    #[track_caller]
    pub(crate) fn wait_kind(&self, mark: usize, kind: u8) -> Seen6 {
        let what = format!("a DHCPv6 message of type {kind}");
        self.wait_after(mark, &what, |seen| seen.message.kind == kind)
    }

    /// Waits for the REPLY to `request`.
    #[track_caller]
    pub(crate) fn reply_to(&self, request: &Seen6) -> Message6 {
        let seen = self.wait("a REPLY", |seen| {
            seen.at >= request.at
                && seen.message.xid == request.message.xid
                && seen.message.kind == dhcp6::REPLY
        });
        seen.message
    }
}

/// Scripted clients on a link, each with a hardware address of its own.
pub(crate) struct Raw6 {
    sender: Box<dyn DataLinkSender>,
    receiver: Box<dyn DataLinkReceiver>,
}

impl Raw6 {
    /// On `eth0` of `host`.
    pub(crate) fn on(host: &Host) -> Raw6 {
        let (sender, receiver) = open(host, "eth0");
        Raw6 { sender, receiver }
    }

    /// Sends a message to all servers, from the link-local address of `mac`.
    pub(crate) fn multicast(&mut self, mac: [u8; 6], message: &Message6) {
        let frame = frame(mac, &message.to_bytes());
        // A full transmit queue is no fault of the test: it drains within microseconds.
        wait_for("room to send", PATIENCE, || {
            matches!(self.sender.send_to(&frame, None), Some(Ok(()))).then_some(())
        });
    }

    /// The next answer of a server to anybody; `None` after a few milliseconds without.
    pub(crate) fn next_answer(&mut self) -> Option<Seen6> {
        let seen = dissect(self.receiver.next().ok()?)?;
        matches!(seen.message.kind, dhcp6::ADVERTISE | dhcp6::REPLY).then_some(seen)
    }
}

/// The link-local address that belongs to a hardware address (RFC 4291, appendix A).
pub(crate) fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// A DUID made of a hardware address (DUID-LL, RFC 9915 s11.4).
pub(crate) fn duid(mac: [u8; 6]) -> Vec<u8> {
    [&[0, 3, 0, 1], &mac[..]].concat()
}

/// A client's message to all servers, in a frame.
fn frame(mac: [u8; 6], payload: &[u8]) -> Vec<u8> {
    let src = link_local(mac);
    let len = (payload.len() + 8) as u16;
    let mut udp: Vec<u8> =
        [CLIENT_PORT, SERVER_PORT, len, 0].iter().flat_map(|half| half.to_be_bytes()).collect();
    udp.extend(payload);
    let protocol = IpNextHeaderProtocols::Udp;
    // A sum of zero is sent as all ones: zero would say that there is none (RFC 8200 s8.1).
    let sum = match pnet::util::ipv6_checksum(&udp, 3, &[], &src, &SERVERS, protocol) {
        0 => u16::MAX,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let mut frame = [SERVERS_MAC, mac].concat();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(len.to_be_bytes());
    frame.extend([17, 1]);
    frame.extend(src.octets());
    frame.extend(SERVERS.octets());
    frame.extend(udp);
    frame
}

/// The client's message in a frame, if there is one; what relays and servers say is none.
fn dissect(frame: &[u8]) -> Option<Seen6> {
    let ip = frame.get(14..)?;
    if frame.get(12..14)? != [0x86, 0xdd] || *ip.get(6)? != 17 {
        return None;
    }
    let udp = ip.get(40..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    if !matches!(port(2)?, CLIENT_PORT | SERVER_PORT) {
        return None;
    }
    Some(Seen6 {
        at: Instant::now(),
        eth_dst: frame.get(..6)?.try_into().ok()?,
        message: Message6::parse(udp.get(8..)?)?,
    })
}
