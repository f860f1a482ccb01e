//! UDP on port 547 for DHCPv6: relayed traffic, in by interface, out by the kernel's routes.
//!
//! The sockets share their port with other servers as those of [`super::udp`] do. They also hold
//! the multicast memberships of their interface: the kernel then answers MLD queries, so that a
//! bridge or switch that snoops on MLD withholds nothing, from the packet sockets either.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::base::LinkId;

use super::filter;
use super::outbox::{Outbox, Sent};
use super::raw::set_buffers;
use super::sys::{self, RecvBatch};
use super::udp::{BUFFER_BYTES, ETHERNET_LEN, Takes};

/// The port of DHCPv6 servers and relays (RFC 9915 s7.2).
pub const SERVER_PORT6: u16 = 547;
/// All_DHCP_Relay_Agents_and_Servers (RFC 9915 s7.1).
pub const ALL_RELAYS_AND_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// All_DHCP_Servers (RFC 9915 s7.1): what a relay may send to.
pub const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3);
/// All routers of a link (RFC 4291 s2.7.1): router solicitations go there.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// What a [`Udp6Socket`] joins. Where the kernel reports no memberships, because IPv6 is disabled
/// on the interface, frames of our own can (`wire::mld`).
pub const GROUPS: [Ipv6Addr; 3] = [ALL_RELAYS_AND_SERVERS, ALL_SERVERS, ALL_ROUTERS];

/// Port 547 on one interface and its multicast groups, for receiving.
#[derive(Debug)]
pub struct Udp6Socket(Socket);

/// One received datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram6<'a> {
    /// The payload.
    pub bytes: &'a [u8],
    /// Longer than the buffer: the end is missing.
    pub truncated: bool,
    /// Who sent it; the scope of a link-local address is the interface.
    pub src: SocketAddrV6,
    /// The destination in its IP header.
    pub dst: Ipv6Addr,
}

impl Udp6Socket {
    /// Takes port 547 on `link`, and joins the groups of DHCPv6 and of routers there. Fails where
    /// the interface has no IPv6 at all; one where it is disabled joins, and the kernel reports
    /// the memberships once it is enabled.
    pub fn open(link: LinkId, takes: Takes) -> io::Result<Udp6Socket> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        match takes {
            Takes::Nothing => socket.attach_filter(&filter::nothing().for_kernel())?,
            Takes::Relayed => socket.attach_filter(&filter::relayed6().for_kernel())?,
            Takes::Everything => {}
        }
        set_buffers(&socket, BUFFER_BYTES)?;
        socket.set_only_v6(true)?;
        sys::set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        socket.set_reuse_address(true)?;
        socket.bind_device_by_index_v6(NonZeroU32::new(link.0))?;
        socket.bind(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, SERVER_PORT6, 0, 0).into())?;
        for group in GROUPS {
            socket
                .join_multicast_v6(&group, link.0)
                .map_err(|e| io::Error::new(e.kind(), format!("cannot join {group}: {e}")))?;
        }
        Ok(Udp6Socket(socket))
    }

    /// Fills `batch` without waiting; the number of datagrams. [`Udp6Socket::datagram`] reads them.
    pub fn recv(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.recv(&self.0)
    }

    /// Datagram `i` of a batch that such a socket filled.
    pub fn datagram(batch: &RecvBatch, i: usize) -> Option<Datagram6<'_>> {
        let received = batch.get(i)?;
        // sockaddr_in6: family, port, flow (4), address, scope in host order.
        let name = received.name;
        let port = name.get(2..4).and_then(|b| b.try_into().ok()).map_or(0, u16::from_be_bytes);
        let scope = name.get(24..28).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
        // struct in6_pktinfo: destination address, interface.
        let info = received.control(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
        Some(Datagram6 {
            bytes: received.bytes,
            truncated: received.truncated,
            src: SocketAddrV6::new(address(name.get(8..24)), port, 0, scope),
            dst: address(info.and_then(|info| info.get(..16))),
        })
    }
}

impl AsFd for Udp6Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn address(bytes: Option<&[u8]>) -> Ipv6Addr {
    let octets: Option<[u8; 16]> = bytes.and_then(|b| b.try_into().ok());
    octets.map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from)
}

/// Collects IPv6 packets of our own making and sends them by the kernel's routes, for the reasons
/// that [`super::RoutedSocket`] gives. Unlike there, the kernel leaves the source as it is written.
#[derive(Debug)]
pub struct Routed6Socket {
    socket: Socket,
    frames: Outbox,
    to: Vec<SocketAddrV6>,
}

impl Routed6Socket {
    /// Opens it.
    pub fn open() -> io::Result<Routed6Socket> {
        // IPPROTO_RAW: we write the IP header, and nothing is received.
        let protocol = Protocol::from(libc::IPPROTO_RAW);
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(protocol))?;
        set_buffers(&socket, 0)?;
        Ok(Routed6Socket { socket, frames: Outbox::default(), to: Vec::new() })
    }

    /// Appends the frame that `write` appends, to be sent to `to`: the destination in its IP
    /// header, with the interface as scope if that is link-local. The Ethernet header is left
    /// out: the kernel makes its own.
    pub fn push(&mut self, to: SocketAddrV6, write: impl FnOnce(&mut Vec<u8>)) {
        // A raw socket takes the port for a protocol number.
        self.to.push(SocketAddrV6::new(*to.ip(), 0, 0, to.scope_id()));
        self.frames.push(write);
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Sends what was collected and forgets it.
    pub fn send(&mut self) -> Sent {
        let Routed6Socket { socket, frames, to } = self;
        let nowhere = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0);
        let route = |i, _: &[u8]| to.get(i).copied().unwrap_or(nowhere).into();
        let sent = frames.send(socket, ETHERNET_LEN, Some(&route));
        to.clear();
        sent
    }
}

/// Datagrams that found a full buffer of any UDP socket for IPv6 in this network namespace, since
/// boot. Zero where the kernel has no IPv6.
pub fn overruns6_of_host() -> io::Result<u64> {
    let snmp = match std::fs::read_to_string("/proc/thread-self/net/snmp6") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let line = snmp.lines().find_map(|line| line.strip_prefix("Udp6RcvbufErrors"));
    line.and_then(|value| value.trim().parse().ok()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "/proc/net/snmp6: no count Udp6RcvbufErrors")
    })
}
