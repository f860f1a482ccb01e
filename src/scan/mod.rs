//! Asks a link and listens: the sockets around [`crate::reconcile`].
//!
//! These are packet sockets of its own, beside those that serve DHCP: nothing that is asked or
//! answered here waits in a queue of theirs. Whoever runs it has a thread for it.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;

use crate::base::{LinkId, Mac, Prefix6, Span};
use crate::net::raw::{Checksum, Frame};
use crate::net::{FrameSocket, Link, LinkMonitor, Mode, Outbox, Poller, RecvBatch, Token, Waker};
use crate::reconcile::frames::{self, Asker};
use crate::reconcile::{Ask, Heard};
use crate::wire::multicast_mac;
use crate::wire::ndp::ALL_NODES;

/// Why a link cannot be asked.
#[derive(Debug, Error)]
pub enum ScanError {
    /// It is not there.
    #[error("there is no interface {0}")]
    NoLink(String),
    /// It is there, but carries no Ethernet frames, or is down.
    #[error("interface {0} is down, or is no Ethernet")]
    NotUsable(String),
    /// The system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

const LINKS: Token = Token(0);
const ARP: Token = Token(1);
const ICMP6: Token = Token(2);
const DHCP: Token = Token(3);

/// One link that is asked.
pub struct Wire {
    link: LinkId,
    name: Arc<str>,
    bridge: bool,
    asker: Asker,
    monitor: LinkMonitor,
    poller: Poller,
    arp: FrameSocket,
    icmp6: FrameSocket,
    dhcp: FrameSocket,
    batch: RecvBatch,
    frames: Outbox,
    failed: u64,
}

impl Wire {
    /// Opens the sockets on the interface with that name. Needs CAP_NET_RAW.
    pub fn open(name: &str, echo_id: u16) -> Result<Wire, ScanError> {
        let failed = |what| move |source| ScanError::System { what, source };
        let mut monitor = LinkMonitor::open().map_err(failed("ask for interfaces"))?;
        monitor.poll(&mut vec![]).map_err(failed("list interfaces"))?;
        let found = monitor.links().find(|link| &*link.name == name);
        let link = found.ok_or_else(|| ScanError::NoLink(name.into()))?.clone();
        if !link.is_up || !link.is_ethernet {
            return Err(ScanError::NotUsable(name.into()));
        }
        if link.is_bridge {
            monitor.watch(link.id).map_err(failed("list the forwarding table"))?;
        }
        let open = failed("open a packet socket");
        let arp = FrameSocket::arp(link.id, Mode::Serve).map_err(&open)?;
        let icmp6 = FrameSocket::neighbours_and_echoes(link.id, Mode::Serve).map_err(&open)?;
        // The kernel listens there only where it speaks IPv6.
        icmp6.hear_groups(link.id, &[multicast_mac(ALL_NODES)]).map_err(&open)?;
        let dhcp = FrameSocket::dhcp(link.id, Mode::Serve).map_err(&open)?;
        let poller = Poller::new().map_err(failed("epoll"))?;
        let wait = failed("epoll");
        poller.add(&monitor, LINKS).map_err(&wait)?;
        poller.add(&arp, ARP).map_err(&wait)?;
        poller.add(&icmp6, ICMP6).map_err(&wait)?;
        poller.add(&dhcp, DHCP).map_err(&wait)?;
        let asker = asker_of(&link, echo_id);
        Ok(Wire {
            link: link.id,
            name: link.name,
            bridge: link.is_bridge,
            asker,
            monitor,
            poller,
            arp,
            icmp6,
            dhcp,
            batch: RecvBatch::default(),
            frames: Outbox::default(),
            failed: 0,
        })
    }

    /// Ends a wait, from another thread.
    pub fn waker(&self) -> Waker {
        self.poller.waker()
    }

    /// As whom it asks.
    pub fn asker(&self) -> &Asker {
        &self.asker
    }

    /// The addresses of the link, and the hardware addresses of all links of this host: it may
    /// answer itself by another of them.
    pub fn own(&self) -> (BTreeSet<IpAddr>, BTreeSet<Mac>) {
        let of4 = self.asker.addrs4.iter().map(|(addr, _)| IpAddr::V4(*addr));
        let of6 = self.asker.addrs6.iter().map(|(addr, _)| IpAddr::V6(*addr));
        let macs = self.monitor.links().map(|link| link.mac).filter(|mac| *mac != Mac::ZERO);
        (of4.chain(of6).collect(), macs.collect())
    }

    /// The name of an interface; that of the link where it is not known.
    pub fn name_of(&self, port: Option<LinkId>) -> Arc<str> {
        let link = port.and_then(|port| self.monitor.link(port));
        link.map_or(&self.name, |link| &link.name).clone()
    }

    /// Frames that could not be sent, from the start.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Hands all that was heard meanwhile to `heard`, each with the port that it came by. An error
    /// is the link's: it is gone, or was down for a moment.
    pub fn receive(&mut self, mut heard: impl FnMut(Heard)) -> io::Result<()> {
        self.follow_links()?;
        for socket in [ARP, ICMP6, DHCP] {
            // One batch of each at a time; what is left is reported again.
            let opened = match socket {
                ARP => &self.arp,
                ICMP6 => &self.icmp6,
                _ => &self.dhcp,
            };
            for i in 0..opened.recv(&mut self.batch)? {
                let Some(frame) = FrameSocket::frame(&self.batch, i) else { continue };
                let is_ours = frame.vlan.is_none() && !frame.truncated && !frame.to_other_host;
                if let Some(seen) = is_ours.then(|| self.read(socket, &frame)).flatten() {
                    heard(self.at_port(seen));
                }
            }
        }
        Ok(())
    }

    /// Sends the frames of these questions.
    pub fn send(&mut self, asks: &[Ask]) {
        for ask in asks {
            self.asker.write(*ask, |write| self.frames.push(|out| write(out)));
        }
        if !self.frames.is_empty() {
            // Any of the sockets sends any frame: they are bound to the same link.
            self.failed += self.arp.send(&mut self.frames).failed;
        }
    }

    /// Waits until something is there, the waker is used, or `timeout` is over.
    pub fn wait(&mut self, timeout: Option<Span>) -> io::Result<()> {
        self.poller.wait(timeout)?.for_each(drop);
        Ok(())
    }

    fn read(&self, socket: Token, frame: &Frame<'_>) -> Option<Heard> {
        let ready = frame.checksum == Checksum::Unknown;
        match socket {
            ARP => frames::read_arp(frame.bytes),
            ICMP6 => frames::read_icmp6(frame.bytes, ready, self.asker.echo_id),
            _ => frames::read_dhcp(frame.bytes, ready),
        }
    }

    /// With the port behind which the sender of the frame is.
    fn at_port(&self, mut heard: Heard) -> Heard {
        let (Heard::Claim(seen) | Heard::Server(_, seen)) = &mut heard;
        seen.port = match self.bridge {
            true => self.monitor.port_of(self.link, seen.eth_src),
            false => Some(self.link),
        };
        heard
    }

    fn follow_links(&mut self) -> io::Result<()> {
        let mut events = vec![];
        self.monitor.poll(&mut events)?;
        if !events.is_empty()
            && let Some(link) = self.monitor.link(self.link)
        {
            self.asker = asker_of(link, self.asker.echo_id);
        }
        Ok(())
    }
}

fn asker_of(link: &Link, echo_id: u16) -> Asker {
    let usable = link.addrs6.iter().filter(|of| of.is_usable());
    let addrs6 = usable.filter_map(|of| Some((of.addr, Prefix6::new(of.addr, of.prefix_len)?)));
    Asker {
        mac: link.mac,
        addrs4: link.addrs.iter().map(|of| (of.addr, of.prefix)).collect(),
        addrs6: addrs6.collect(),
        echo_id,
    }
}
