//! One interface that is served: its sockets, and what waits to be sent on it.

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::base::{LinkId, Mac, NetworkId, Timestamp};
use crate::config::policy::Limits;
use crate::net::udp6::Udp6Socket;
use crate::net::{FrameSocket, Link, Mode, Outbox, Poller, Takes, Token, UdpSocket};
use crate::wire::frame6::multicast_mac;
use crate::wire::ndp::{ALL_NODES, ALL_ROUTERS};

/// What an interface is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The clients of a network are on it.
    Network(NetworkId),
    /// Relayed packets come in by it (`server.relay_interfaces`).
    Relay,
}

/// Which of an interface's sockets; with the interface, the token of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Netlink (of no interface).
    Netlink,
    /// DHCP by packet socket.
    Dhcp,
    /// Port 67.
    Udp,
    /// ARP by packet socket.
    Arp,
    /// Port 547.
    Udp6,
    /// Neighbour discovery by packet socket.
    Nd,
}

/// An interface that is served.
#[derive(Debug)]
pub struct Served {
    /// Its index.
    pub link: LinkId,
    /// Its name.
    pub name: Arc<str>,
    /// Its MAC: the source of our frames.
    pub mac: Mac,
    /// What it is for.
    pub role: Role,
    /// Whether ports are behind it.
    pub is_bridge: bool,
    /// Those of its network.
    pub limits: Limits,
    /// Open where the role asks for them; `None` also where opening failed, see
    /// [`Links::problems`].
    pub dhcp: Option<FrameSocket>,
    /// For ARP.
    pub arp: Option<FrameSocket>,
    /// For neighbour discovery, where the network has IPv6.
    pub nd: Option<FrameSocket>,
    /// For port 67.
    pub udp: Option<UdpSocket>,
    /// Its network, or one behind a relay, has IPv6.
    pub has_v6: bool,
    /// For port 547, where the network has IPv6.
    pub udp6: Option<Udp6Socket>,
    /// The kernel speaks IPv6 on it, and so reports the groups that are joined.
    pub kernel_speaks_v6: bool,
    /// When the groups were reported in its place.
    pub reported: Option<Timestamp>,
    /// Where its DHCPv6 answers come from.
    pub link_local: Ipv6Addr,
    /// Frames that wait to be sent on it.
    pub out: Outbox,
    /// ARP requests that wait to be sent on it.
    pub out_arp: Outbox,
    /// Neighbour solicitations that wait to be sent on it.
    pub out_nd: Outbox,
}

impl Served {
    /// Nothing is open yet.
    pub fn new(link: &Link, role: Role) -> Served {
        Served {
            link: link.id,
            name: link.name.clone(),
            mac: link.mac,
            role,
            is_bridge: link.is_bridge,
            limits: Limits::OFF,
            dhcp: None,
            arp: None,
            nd: None,
            udp: None,
            udp6: None,
            has_v6: false,
            kernel_speaks_v6: !link.addrs6.is_empty(),
            reported: None,
            link_local: link.link_local(),
            out: Outbox::default(),
            out_arp: Outbox::default(),
            out_nd: Outbox::default(),
        }
    }

    /// Whether nothing waits to be sent on it.
    pub fn is_idle(&self) -> bool {
        self.out.is_empty() && self.out_arp.is_empty() && self.out_nd.is_empty()
    }

    /// Opens the sockets that are missing. The ones that can be opened are, whatever the others.
    pub fn open(&mut self, mode: Mode, poller: &Poller) -> Result<(), String> {
        let link = self.link;
        let on_link = is_network(self.role) || mode == Mode::Observe;
        let takes6 = if is_network(self.role) { Takes::Relayed } else { Takes::Everything };
        let by_port = is_network(self.role) && self.is_bridge;
        let takes4 = if by_port { Takes::Nothing } else { takes6 };
        let outcomes = [
            fill(&mut self.dhcp, on_link, poller, token(link, Kind::Dhcp), || match by_port {
                true => FrameSocket::dhcp_on_bridge(link, mode),
                false => FrameSocket::dhcp(link, mode),
            }),
            fill(&mut self.arp, is_network(self.role), poller, token(link, Kind::Arp), || {
                FrameSocket::arp(link, mode)
            }),
            // The server that is observed has the port.
            fill(&mut self.udp, mode == Mode::Serve, poller, token(link, Kind::Udp), || {
                UdpSocket::open(link, takes4)
            }),
            fill(
                &mut self.udp6,
                self.has_v6 && mode == Mode::Serve,
                poller,
                token(link, Kind::Udp6),
                || Udp6Socket::open(link, takes6),
            ),
            fill(
                &mut self.nd,
                self.has_v6 && is_network(self.role),
                poller,
                token(link, Kind::Nd),
                || open_nd(link, mode),
            ),
        ];
        let what = [
            "packet socket for dhcp",
            "packet socket for arp",
            "udp port 67",
            "udp port 547",
            "packet socket for neighbour discovery",
        ];
        let failed = what.iter().zip(outcomes).find_map(|(what, outcome)| {
            outcome.err().map(|e| format!("{}: cannot open {what}: {e}", self.name))
        });
        failed.map_or(Ok(()), Err)
    }
}

/// Router solicitations go to a group that the hardware may not pass up.
fn open_nd(link: LinkId, mode: Mode) -> io::Result<FrameSocket> {
    let socket = FrameSocket::neighbour_discovery(link, mode)?;
    socket.hear_groups(link, &[ALL_NODES, ALL_ROUTERS].map(multicast_mac))?;
    Ok(socket)
}

fn fill<S: AsFd>(
    slot: &mut Option<S>,
    wanted: bool,
    poller: &Poller,
    token: Token,
    open: impl FnOnce() -> io::Result<S>,
) -> io::Result<()> {
    if wanted && slot.is_none() {
        let socket = open()?;
        poller.add(&socket, token)?;
        *slot = Some(socket);
    }
    Ok(())
}

/// Whether clients are on an interface of that role.
pub fn is_network(role: Role) -> bool {
    matches!(role, Role::Network(_))
}

/// The token of a socket.
pub fn token(link: LinkId, kind: Kind) -> Token {
    Token(u64::from(link.0) << 3 | kind as u64)
}

/// What a token stands for.
pub fn of_token(token: Token) -> (LinkId, Kind) {
    const KINDS: [Kind; 6] =
        [Kind::Netlink, Kind::Dhcp, Kind::Udp, Kind::Arp, Kind::Udp6, Kind::Nd];
    let kind = KINDS.get((token.0 & 7) as usize).copied().unwrap_or(Kind::Netlink);
    (LinkId((token.0 >> 3) as u32), kind)
}
