//! UDP on port 67 for DHCPv4 ([`super::udp6`] is its twin): relayed and routed traffic, in by
//! interface, out by the kernel's routes.
//!
//! A socket per interface holds the port, so that the kernel sends no "port unreachable" and
//! another server on another bridge can live: `SO_REUSEADDR` lets one with a socket for all
//! interfaces stay, and a socket bound to an interface is preferred there. `SO_REUSEPORT` is not
//! set: two servers of one user would be dealt each other's packets.
//!
//! Replies leave by a raw IP socket instead, for the reasons given at [`RoutedSocket`].

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::base::LinkId;

use super::filter;
use super::outbox::{Outbox, Sent};
use super::raw::set_buffers;
use super::sys::{self, RecvBatch};

/// The port of DHCP servers and relays (RFC 2131 s4.1).
pub const SERVER_PORT: u16 = 67;
/// What an Ethernet header takes.
pub(super) const ETHERNET_LEN: usize = 14;
/// Receive buffer.
pub(super) const BUFFER_BYTES: usize = 8 << 20;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: it holds the port, and a packet socket on the same bridge takes all.
    Nothing,
    /// Relayed packets only: a packet socket on the same interface takes the rest.
    Relayed,
    /// Everything that reaches port 67.
    Everything,
}

/// Port 67 on one interface, for receiving.
#[derive(Debug)]
pub struct UdpSocket(Socket);

/// One received datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The payload.
    pub bytes: &'a [u8],
    /// Longer than the buffer: the end is missing.
    pub truncated: bool,
    /// Who sent it.
    pub src: SocketAddrV4,
    /// The destination in its IP header.
    pub dst: Ipv4Addr,
}

impl UdpSocket {
    /// Takes port 67 on `link`.
    pub fn open(link: LinkId, takes: Takes) -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        match takes {
            Takes::Nothing => socket.attach_filter(&filter::nothing().for_kernel())?,
            Takes::Relayed => socket.attach_filter(&filter::relayed().for_kernel())?,
            Takes::Everything => {}
        }
        set_buffers(&socket, BUFFER_BYTES)?;
        sys::set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        socket.bind_device_by_index_v4(NonZeroU32::new(link.0))?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT).into())?;
        Ok(UdpSocket(socket))
    }

    /// Fills `batch` without waiting; the number of datagrams. [`UdpSocket::datagram`] reads them.
    pub fn recv(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.recv(&self.0)
    }

    /// Datagram `i` of a batch that a UDP socket filled.
    pub fn datagram(batch: &RecvBatch, i: usize) -> Option<Datagram<'_>> {
        let received = batch.get(i)?;
        // sockaddr_in: family, port, address.
        let port = received.name.get(2..4).and_then(|b| b.try_into().ok());
        let port = port.map_or(0, u16::from_be_bytes);
        // struct in_pktinfo: interface, local address, destination address.
        let info = received.control(libc::IPPROTO_IP, libc::IP_PKTINFO);
        Some(Datagram {
            bytes: received.bytes,
            truncated: received.truncated,
            src: SocketAddrV4::new(address(received.name.get(4..8)), port),
            dst: address(info.and_then(|info| info.get(8..12))),
        })
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn address(bytes: Option<&[u8]>) -> Ipv4Addr {
    let octets: Option<[u8; 4]> = bytes.and_then(|b| b.try_into().ok());
    octets.map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from)
}

/// Sends IPv4 packets of our own making by the kernel's routes.
///
/// A UDP socket that is bound to an interface sends by that interface whatever the routes say,
/// and takes off-link hosts for neighbours; one that is not bound would draw the packets of other
/// servers on this host. A raw IP socket has neither fault, may use a server identifier that no
/// interface has, and serves all interfaces with one system call. The kernel fills in the IP
/// checksum, and the source where it is 0.0.0.0.
#[derive(Debug)]
pub struct RoutedSocket(Socket);

impl RoutedSocket {
    /// Opens it.
    pub fn open() -> io::Result<RoutedSocket> {
        // IPPROTO_RAW: we write the IP header, and nothing is received.
        let protocol = Protocol::from(libc::IPPROTO_RAW);
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol))?;
        socket.set_broadcast(true)?;
        set_buffers(&socket, 0)?;
        Ok(RoutedSocket(socket))
    }

    /// Sends the IPv4 packets in these frames, each to the destination in its header, and clears
    /// `frames`. Their Ethernet headers are left out: the kernel makes its own.
    pub fn send(&self, frames: &mut Outbox) -> Sent {
        let route = |_, ip: &[u8]| SocketAddrV4::new(address(ip.get(16..20)), 0).into();
        frames.send(&self.0, ETHERNET_LEN, Some(&route))
    }
}

/// Datagrams that found a full buffer of *any* UDP socket in this network namespace, since boot.
///
/// The drop count of a single socket would also hold what its filter turned away.
pub fn overruns_of_host() -> io::Result<u64> {
    let snmp = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut rows = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (rows.next().unwrap_or_default(), rows.next().unwrap_or_default());
    let mut columns = names.split(' ').zip(values.split(' '));
    let value = columns.find(|(name, _)| *name == "RcvbufErrors").map(|(_, value)| value);
    value.and_then(|value| value.parse().ok()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "/proc/net/snmp: no count RcvbufErrors of Udp")
    })
}
