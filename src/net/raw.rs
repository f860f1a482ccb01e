//! Packet sockets: the frames of one link, read behind a kernel filter, and frames of our own.
//!
//! Each served link has one for DHCP of both families, one for ARP and one for neighbour
//! discovery: a storm of ARP cannot push a DISCOVER out of the buffer.
//!
//! The one for DHCP is bound to every EtherType and leaves the choice to its filter: one look at
//! a frame's EtherType serves both families, and a socket for each would run a filter for each.
//! A socket that is bound to IPv4 or IPv6 alone is shown VLAN-tagged frames with the tag taken
//! away, as frames for another host (`__netif_receive_skb_core`). For ARP and neighbour discovery
//! that is enough: [`Frame::to_other_host`] tells what to pass over.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Socket, Type};

use crate::base::{LinkId, Mac};

use super::filter::{self, Program};
use super::outbox::{Outbox, Sent};
use super::sys::{self, RecvBatch};

/// Receive buffer for DHCP: a storm of some ten thousand small packets.
const DHCP_BUFFER_BYTES: usize = 8 << 20;
/// Receive buffer for ARP, and for neighbour discovery.
const NEIGHBOUR_BUFFER_BYTES: usize = 1 << 20;
/// Send buffer: replies to a whole storm.
const SEND_BUFFER_BYTES: usize = 4 << 20;

/// Whether we answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Hear what is for a server, and answer.
    Serve,
    /// Hear all DHCP of the link, also what others send and what this host sends; never answer.
    Observe,
}

/// A packet socket on one interface.
#[derive(Debug)]
pub struct FrameSocket {
    socket: Socket,
    mode: Mode,
}

/// Whether the UDP checksum of a received frame is worth a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Nobody looked: verify it.
    Unknown,
    /// The sender left it to hardware that was never passed (veth, virtio): it is not filled in.
    NotReady,
    /// The kernel or the interface verified it.
    Valid,
}

/// One received frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// From the Ethernet header on, without VLAN tag and frame check sequence.
    pub bytes: &'a [u8],
    /// Longer than the buffer: the end is missing.
    pub truncated: bool,
    /// VLAN id, if it carried a tag with one; such a frame is not of this segment (DHCP only:
    /// tagged ARP and neighbour discovery are marked as for another host).
    pub vlan: Option<u16>,
    /// What is known of its UDP checksum.
    pub checksum: Checksum,
    /// This host sent it (observed only).
    pub outgoing: bool,
    /// It is for the MAC of another host.
    pub to_other_host: bool,
}

impl Frame<'_> {
    /// Its Ethernet source.
    pub fn source(&self) -> Option<Mac> {
        self.bytes.get(6..12)?.try_into().ok().map(Mac)
    }

    /// Whether its EtherType is that of IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.bytes.get(12..14) == Some(&[0x86, 0xdd])
    }
}

impl FrameSocket {
    /// Opens the socket for DHCP of both families on `link`: [`Frame::is_ipv6`] tells them apart.
    /// What relays forward is left to UDP.
    pub fn dhcp(link: LinkId, mode: Mode) -> io::Result<FrameSocket> {
        FrameSocket::open_dhcp(link, mode, &filter::dhcp_on_link())
    }

    /// The same on a bridge, with what DHCPv4 relays forward: whether one is believed depends on
    /// its port, which only its frame tells.
    pub fn dhcp_on_bridge(link: LinkId, mode: Mode) -> io::Result<FrameSocket> {
        FrameSocket::open_dhcp(link, mode, &filter::dhcp_on_bridge())
    }

    /// Opens the socket for ARP on `link`.
    pub fn arp(link: LinkId, mode: Mode) -> io::Result<FrameSocket> {
        FrameSocket::open(
            link,
            mode,
            &filter::arp(),
            libc::ETH_P_ARP as u16,
            NEIGHBOUR_BUFFER_BYTES,
        )
    }

    /// Opens the socket for neighbour discovery on `link`: solicitations and advertisements of
    /// neighbours and routers (RFC 4861).
    pub fn neighbour_discovery(link: LinkId, mode: Mode) -> io::Result<FrameSocket> {
        let program = filter::neighbour_discovery();
        FrameSocket::open(link, mode, &program, libc::ETH_P_IPV6 as u16, NEIGHBOUR_BUFFER_BYTES)
    }

    /// The same with answers to echo requests.
    pub fn neighbours_and_echoes(link: LinkId, mode: Mode) -> io::Result<FrameSocket> {
        let program = filter::neighbours_and_echoes();
        FrameSocket::open(link, mode, &program, libc::ETH_P_IPV6 as u16, NEIGHBOUR_BUFFER_BYTES)
    }

    fn open_dhcp(link: LinkId, mode: Mode, served: &Program) -> io::Result<FrameSocket> {
        let observed = filter::dhcp_observed();
        let program = if mode == Mode::Serve { served } else { &observed };
        FrameSocket::open(link, mode, program, libc::ETH_P_ALL as u16, DHCP_BUFFER_BYTES)
    }

    fn open(
        link: LinkId,
        mode: Mode,
        program: &Program,
        ethertype: u16,
        buffer_bytes: usize,
    ) -> io::Result<FrameSocket> {
        // Protocol 0 receives nothing until the filter is in place and the socket is bound.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.attach_filter(&program.for_kernel())?;
        set_buffers(&socket, buffer_bytes)?;
        sys::set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        match mode {
            Mode::Serve => {
                sys::set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
            }
            Mode::Observe => sys::set_promiscuous(&socket, link.0)?,
        }
        socket.bind(&sys::link_address(link.0, ethertype))?;
        Ok(FrameSocket { socket, mode })
    }

    /// Has the interface pass up frames to these groups, where its hardware would not. A bridge
    /// that snoops on MLD heeds `Udp6Socket` alone.
    pub fn hear_groups(&self, link: LinkId, groups: &[Mac]) -> io::Result<()> {
        groups.iter().try_for_each(|group| sys::add_packet_group(&self.socket, link.0, group.0))
    }

    /// Fills `batch` without waiting; the number of frames. [`FrameSocket::frame`] reads them.
    pub fn recv(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.recv(&self.socket)
    }

    /// Frame `i` of a batch that a packet socket filled.
    pub fn frame(batch: &RecvBatch, i: usize) -> Option<Frame<'_>> {
        let received = batch.get(i)?;
        // sockaddr_ll: family, protocol, index (4), hardware type, packet type.
        let packet_type = received.name.get(10).copied().unwrap_or_default();
        let aux = received.control(libc::SOL_PACKET, libc::PACKET_AUXDATA);
        let (vlan, checksum) = aux.map_or((None, Checksum::Unknown), read_auxdata);
        Some(Frame {
            bytes: received.bytes,
            truncated: received.truncated,
            vlan,
            checksum,
            outgoing: packet_type == libc::PACKET_OUTGOING,
            to_other_host: packet_type == libc::PACKET_OTHERHOST,
        })
    }

    /// Sends complete frames on this socket's interface and clears `frames`.
    ///
    /// An observer sends nothing: its frames are dropped and count as failed.
    pub fn send(&self, frames: &mut Outbox) -> Sent {
        if self.mode == Mode::Observe {
            let failed = frames.len() as u64;
            frames.clear();
            return Sent { failed, ..Sent::default() };
        }
        frames.send(&self.socket, 0, None)
    }

    /// Frames that found the buffer full since the last call.
    pub fn take_overruns(&self) -> io::Result<u64> {
        sys::packet_drops(&self.socket).map(u64::from)
    }
}

impl AsFd for FrameSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Beyond the system's limit where we may (`CAP_NET_ADMIN`), else up to it.
pub(super) fn set_buffers(socket: &Socket, recv_bytes: usize) -> io::Result<()> {
    let force = |option, bytes: usize| {
        sys::set_option(socket, libc::SOL_SOCKET, option, bytes.try_into().unwrap_or(i32::MAX))
    };
    force(libc::SO_RCVBUFFORCE, recv_bytes).or_else(|_| socket.set_recv_buffer_size(recv_bytes))?;
    force(libc::SO_SNDBUFFORCE, SEND_BUFFER_BYTES)
        .or_else(|_| socket.set_send_buffer_size(SEND_BUFFER_BYTES))
}

/// The fields of `struct tpacket_auxdata`: status at 0, tag at 16.
fn read_auxdata(aux: &[u8]) -> (Option<u16>, Checksum) {
    let status = aux.get(..4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
    let tci = aux.get(16..18).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes);
    // A tag with id 0 only carries a priority: the frame is of the segment (IEEE 802.1Q s6.9).
    let tagged = status & libc::TP_STATUS_VLAN_VALID != 0;
    let vlan = Some(tci & 0xfff).filter(|id| tagged && *id != 0);
    let checksum = if status & libc::TP_STATUS_CSUMNOTREADY != 0 {
        Checksum::NotReady
    } else if status & libc::TP_STATUS_CSUM_VALID != 0 {
        Checksum::Valid
    } else {
        Checksum::Unknown
    };
    (vlan, checksum)
}
