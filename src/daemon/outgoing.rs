//! Replies and questions to frames, and frames to the kernel.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, SocketAddrV6};
use std::num::NonZeroU16;

use crate::base::{LinkId, Mac, Span, Timestamp};
use crate::engine::effects::Probe;
use crate::engine::{Destination, Reply};
use crate::net::udp6::{GROUPS, Routed6Socket, SERVER_PORT6};
use crate::net::{Mode, Outbox, RoutedSocket, Sent};
use crate::wire::frame::{self, ETHERNET_LEN, IPV4_LEN};
use crate::wire::frame6::Ends;
use crate::wire::{arp, frame6, mld, ndp};

use super::counters::Counters;
use super::links::Links;

/// Server and client port (RFC 2131 s4.1).
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// DHCPv6 client port (RFC 9915 s7.2).
const CLIENT_PORT6: u16 = 546;
/// How often groups are reported: half the interval of a querier (RFC 3810 s9.2), so that one lost
/// report is not missed within the 260 s that a snooping switch remembers.
const REPORT_EVERY: Span = Span::from_secs(60);
/// Where the identification lies in a frame of ours.
const IDENT: usize = ETHERNET_LEN + 4;
/// Where the UDP checksum lies in a frame of ours.
const UDP_CHECKSUM: usize = ETHERNET_LEN + IPV4_LEN + 6;

/// Collects what one turn of the driver sends, and sends it with few system calls.
#[derive(Debug)]
pub struct Outgoing {
    /// `None` for an observer.
    socket: Option<RoutedSocket>,
    routed: Outbox,
    /// Identification of the next routed packet.
    ident: NonZeroU16,
    /// The same for IPv6; `None` where the host has none.
    routed6: Option<Routed6Socket>,
    /// Interfaces whose outboxes are not empty.
    waiting: Vec<LinkId>,
}

impl Outgoing {
    /// Opens the socket for routed replies; an observer has none and sends nothing.
    pub fn open(mode: Mode) -> std::io::Result<Outgoing> {
        let socket = match mode {
            Mode::Serve => Some(RoutedSocket::open()?),
            Mode::Observe => None,
        };
        // A host whose kernel has no IPv6 serves IPv4 all the same.
        let routed6 = Some(mode).filter(|m| *m == Mode::Serve);
        let routed6 = routed6.and_then(|_| Routed6Socket::open().ok());
        let (routed, ident) = (Outbox::default(), NonZeroU16::MIN);
        Ok(Outgoing { socket, routed, ident, routed6, waiting: Vec::new() })
    }

    /// Makes the frame of a reply; `bytes` holds its payload.
    pub fn reply(&mut self, reply: &Reply, bytes: &[u8], links: &mut Links, counters: &Counters) {
        let payload = bytes.get(reply.payload.clone());
        let (Some(payload), true) = (payload, self.socket.is_some()) else { return };
        match reply.to {
            Destination::Frame { link, mac, from, ip } => {
                let Some(served) = links.get_mut(link) else {
                    return counters.replies_failed.add(1);
                };
                if served.is_idle() {
                    self.waiting.push(link);
                }
                let src = SocketAddrV4::new(from, SERVER_PORT);
                let dst = SocketAddrV4::new(ip, CLIENT_PORT);
                let own = served.mac;
                served.out.push(|out| frame::write_udp4(out, own, mac, src, dst, payload));
            }
            Destination::Frame6 { link, mac, ip } => {
                let Some(served) = links.get_mut(link) else {
                    return counters.replies_failed.add(1);
                };
                if served.is_idle() {
                    self.waiting.push(link);
                }
                let src = SocketAddrV6::new(served.link_local, SERVER_PORT6, 0, 0);
                let dst = SocketAddrV6::new(ip, CLIENT_PORT6, 0, 0);
                let own = served.mac;
                served.out.push(|out| frame6::write_udp6(out, own, mac, src, dst, payload));
            }
            Destination::Advert { link, to } => {
                let Some(served) = links.get_mut(link) else {
                    return counters.replies_failed.add(1);
                };
                if served.is_idle() {
                    self.waiting.push(link);
                }
                let (own, link_local) = (served.mac, served.link_local);
                let ends = match to {
                    None => Ends::to_group(own, link_local, ndp::ALL_NODES),
                    Some((mac, ip)) => {
                        Ends { src_mac: own, dst_mac: mac, src: link_local, dst: ip }
                    }
                };
                counters.adverts.add(1);
                served.out.push(|out| ndp::write_icmp6(out, &ends, payload));
            }
            Destination::Udp6 { link, from, to: (ip, port) } => {
                let from = match from.is_multicast() {
                    true => links.source6(link, ip),
                    false => Some(from),
                };
                let Some(from) = from else { return counters.replies_failed.add(1) };
                let scope = if ip.is_unicast_link_local() { link.0 } else { 0 };
                let to = SocketAddrV6::new(ip, port, 0, scope);
                let src = SocketAddrV6::new(from, SERVER_PORT6, 0, 0);
                if let Some(routed) = &mut self.routed6 {
                    routed.push(to, |out| {
                        frame6::write_udp6(out, Mac::ZERO, Mac::ZERO, src, to, payload);
                    });
                }
            }
            Destination::Udp { from, to, .. } => {
                let ident = self.ident;
                self.ident = ident.checked_add(1).unwrap_or(NonZeroU16::MIN);
                self.routed.push(|out| routed(out, ident, from, to, payload));
            }
        }
    }

    /// Makes the frame of a question to the wire.
    pub fn probe(&mut self, probe: &Probe, links: &mut Links, counters: &Counters) {
        if self.socket.is_none() {
            return;
        }
        let Some(served) = links.get_mut(probe.link) else {
            return counters.probes_failed.add(1);
        };
        if served.is_idle() {
            self.waiting.push(probe.link);
        }
        let (own, link_local) = (served.mac, served.link_local);
        match probe.target {
            IpAddr::V4(target) => {
                let to = probe.to.unwrap_or(Mac::BROADCAST);
                let nobody = Ipv4Addr::UNSPECIFIED;
                served.out_arp.push(|out| arp::write_request(out, own, to, own, nobody, target));
            }
            IpAddr::V6(target) => {
                served
                    .out_nd
                    .push(|out| ndp::write_request(out, own, probe.to, link_local, target));
            }
        }
    }

    /// Reports the groups that we listen to, where the kernel does not because IPv6 is disabled:
    /// a bridge or switch that snoops on MLD would withhold what clients send to them.
    pub fn report_groups(&mut self, now: Timestamp, links: &mut Links) {
        if self.socket.is_none() {
            return;
        }
        for served in links.served_mut().filter(|s| s.nd.is_some() && !s.kernel_speaks_v6) {
            if served.reported.is_some_and(|at| now < at + REPORT_EVERY) {
                continue;
            }
            served.reported = Some(now);
            if served.is_idle() {
                self.waiting.push(served.link);
            }
            let (own, link_local) = (served.mac, served.link_local);
            served.out_nd.push(|out| mld::write_report(out, own, link_local, &GROUPS));
        }
    }

    /// Sends everything that was collected.
    pub fn send(&mut self, links: &mut Links, counters: &Counters) {
        for link in self.waiting.drain(..) {
            let Some(served) = links.get_mut(link) else { continue };
            let name = &served.name;
            if !served.out.is_empty() {
                let sent = match &served.dhcp {
                    Some(socket) => socket.send(&mut served.out),
                    None => discard(&mut served.out),
                };
                count_replies(sent, name, counters);
            }
            for (socket, out) in
                [(&served.arp, &mut served.out_arp), (&served.nd, &mut served.out_nd)]
            {
                if out.is_empty() {
                    continue;
                }
                let sent = match socket {
                    Some(socket) => socket.send(out),
                    None => discard(out),
                };
                counters.probes_sent.add(sent.sent);
                counters.probes_failed.add(sent.failed);
            }
        }
        if let Some(routed) = self.routed6.as_mut().filter(|r| !r.is_empty()) {
            count_replies(routed.send(), "routed6", counters);
        }
        if let Some(socket) = self.socket.as_ref().filter(|_| !self.routed.is_empty()) {
            count_replies(socket.send(&mut self.routed), "routed", counters);
        }
    }
}

/// For [`RoutedSocket`], which leaves the Ethernet header out.
fn routed(out: &mut Vec<u8>, ident: NonZeroU16, from: Ipv4Addr, to: SocketAddrV4, payload: &[u8]) {
    let start = out.len();
    let src = SocketAddrV4::new(from, SERVER_PORT);
    frame::write_udp4(out, Mac::ZERO, Mac::ZERO, src, to, payload);
    // Where it is 0 the kernel draws one by a keyed hash. It makes the header's checksum itself.
    if let Some(place) = out.get_mut(start + IDENT..start + IDENT + 2) {
        place.copy_from_slice(&ident.get().to_be_bytes());
    }
    if from.is_unspecified() {
        // The kernel will choose the source, which the checksum covers. RFC 768: zero means none.
        let checksum = out.get_mut(start + UDP_CHECKSUM..start + UDP_CHECKSUM + 2);
        checksum.into_iter().for_each(|bytes| bytes.fill(0));
    }
}

/// The socket could not be opened.
fn discard(outbox: &mut Outbox) -> Sent {
    let failed = outbox.len() as u64;
    outbox.clear();
    Sent { failed, ..Sent::default() }
}

fn count_replies(sent: Sent, name: &str, counters: &Counters) {
    counters.replies_sent.add(sent.sent);
    counters.replies_failed.add(sent.failed);
    if let Some(errno) = sent.last_error {
        let error = std::io::Error::from_raw_os_error(errno);
        tracing::debug!(interface = name, count = sent.failed, %error, "replies not sent");
    }
}
