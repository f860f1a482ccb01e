//! From sockets to the engine: one batch at a time, each packet with the place where it came in.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::base::{LinkId, Mac, Timestamp};
use crate::engine::effects::{Arrival6, DropReason, Effects, Event, EventKind, Neighbour, Source};
use crate::engine::{Arrival, Input};
use crate::net::raw::Checksum;
use crate::net::sys::BATCH;
use crate::net::udp::SERVER_PORT;
use crate::net::udp6::{Datagram6, SERVER_PORT6, Udp6Socket};
use crate::net::{Frame, FrameSocket, Mode, UdpSocket};
use crate::wire::arp;
use crate::wire::frame::{FrameError, UdpFrame, read_udp4};
use crate::wire::frame6::{UdpFrame6, read_udp6};
use crate::wire::ndp::{self, NdpFrame, NdpMessage};

use super::clock::Clock;
use super::driver::Driver;
use super::links::{Links, PortInfo};
use super::log::PACKET;
use super::machine::Machine;
use super::police::{self, Offence, Party, Police};
use super::served::{self, Kind};

/// How long one turn waits for a disk that is too far behind.
const WAIT_FOR_DISK: Duration = Duration::from_millis(100);

/// Batches that are read in one turn while most of each is dropped: some thousand frames, within
/// a millisecond.
const FLOODED_BATCHES: usize = 16;
/// RFC 9915 s7.3.
const RELAY_FORW: u8 = 12;

impl<M: Machine> Driver<M> {
    /// Reads one batch from each socket that has packets, and decides on it.
    pub(super) fn read_packets(&mut self) {
        self.behind.clear();
        if self.committer.as_ref().is_some_and(|committer| !committer.has_room()) {
            self.counters.disk_waits.add(1);
            self.committer.iter().for_each(|committer| committer.wait_for_room(WAIT_FOR_DISK));
            self.behind.extend(self.ready.iter().map(|token| served::of_token(*token).0));
            return;
        }
        let mut ready = std::mem::take(&mut self.ready);
        // What neighbours have said by now counts for the requests that came with it.
        ready.sort_by_key(|token| !matches!(served::of_token(*token).1, Kind::Arp | Kind::Nd));
        for token in &ready {
            let (link, kind) = served::of_token(*token);
            let outcome = match kind {
                Kind::Netlink => Ok(()),
                Kind::Dhcp => self.read_dhcp(link),
                Kind::Udp => self.read_udp(link),
                Kind::Arp => self.read_arp(link),
                Kind::Nd => self.read_nd(link),
                Kind::Udp6 => self.read_udp6(link),
            };
            match outcome {
                // Netlink says the same, and what to do.
                Err(e) if e.kind() == io::ErrorKind::NetworkDown => {}
                Err(e) => self.links.broken(link, kind, &e),
                Ok(()) => self.flush(None),
            }
        }
        self.ready = ready;
    }

    /// Reads frames. Batches of which most is dropped by a limit cost no turn each: what others
    /// sent waits behind them in the same buffer.
    fn read_dhcp(&mut self, link: LinkId) -> io::Result<()> {
        for _ in 0..FLOODED_BATCHES {
            if !self.read_frames(link)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads one batch of frames; whether it was full and most of it is dropped by a limit.
    fn read_frames(&mut self, link: LinkId) -> io::Result<bool> {
        let Some(socket) = self.links.get(link).and_then(|s| s.dhcp.as_ref()) else {
            return Ok(false);
        };
        let count = socket.recv(&mut self.batch)?;
        self.began = Clock::mark();
        self.counters.frames.add(count as u64);
        let now = self.clock.now();
        let mut fresh = false;
        let mut refused = 0;
        for i in 0..count {
            let Some(frame) = FrameSocket::frame(&self.batch, i) else { continue };
            if frame.to_other_host && frame.vlan.is_none() && self.mode == Mode::Serve {
                self.counters.overheard.add(1);
                continue;
            }
            let Some(src) = frame.source() else { continue };
            let place = self.links.port_of(link, src, &mut fresh);
            // Behind a trusted port there may be a relay with many clients.
            let access = place.access.filter(|_| !place.trusted || !is_relayed(frame));
            if let Some(party) = access
                && let Err(reason) = self.police.admit(now, party, &[], place.limits.port)
            {
                self.counters.dropped.of(reason).add(1);
                refused += 1;
                continue;
            }
            let read = match frame.is_ipv6() {
                true => self.frame6(link, i, now, place),
                false => self.frame4(link, i, now, place),
            };
            match read {
                Ok(admitted) => refused += usize::from(!admitted),
                Err(reason) => drop_packet(now, reason, &mut self.fx),
            }
        }
        Ok(count == BATCH && refused > BATCH / 2)
    }

    /// A frame of the batch with IPv4 in it; whether no limit was against it.
    fn frame4(
        &mut self,
        link: LinkId,
        i: usize,
        now: Timestamp,
        place: PortInfo,
    ) -> Result<bool, DropReason> {
        let Some(frame) = FrameSocket::frame(&self.batch, i) else { return Ok(true) };
        let udp = read_frame(frame)?;
        if udp.dst.port() == SERVER_PORT {
            let relayed = giaddr(udp.payload).is_some();
            // What this host routes to another server passes by here, too.
            if relayed && self.mode == Mode::Serve && !self.links.is_for_us(link, *udp.dst.ip()) {
                self.counters.overheard.add(1);
                return Ok(true);
            }
            let client = [police::client4(udp.payload)];
            let admitted = match relayed && (place.trusted || place.access.is_none()) {
                true => admit4(&mut self.police, &self.links, now, link, udp.payload),
                false => admit(&mut self.police, now, link, place, &client),
            };
            if let Err(reason) = admitted {
                self.counters.dropped.of(reason).add(1);
                return Ok(false);
            }
        }
        let arrival = Arrival {
            link,
            port: place.port,
            trusted: place.trusted,
            trunk: place.trunk,
            src_mac: Some(udp.eth_src),
            src: udp.src,
            dst: *udp.dst.ip(),
            dst_port: udp.dst.port(),
        };
        self.machine.handle(now, Input::Packet4(arrival, udp.payload), &mut self.fx);
        Ok(true)
    }

    /// The same with IPv6 in it.
    fn frame6(
        &mut self,
        link: LinkId,
        i: usize,
        now: Timestamp,
        place: PortInfo,
    ) -> Result<bool, DropReason> {
        let Some(frame) = FrameSocket::frame(&self.batch, i) else { return Ok(true) };
        let udp = read_frame6(frame)?;
        let [duid, _] = police::client6(udp.payload);
        // Clones have one DUID: their frames tell them apart.
        let client = [duid, &udp.eth_src.0];
        if udp.dst.port() == SERVER_PORT6
            && let Err(reason) = admit(&mut self.police, now, link, place, &client)
        {
            self.counters.dropped.of(reason).add(1);
            return Ok(false);
        }
        let arrival = Arrival6 {
            link,
            port: place.port,
            trunk: place.trunk,
            src_mac: Some(udp.eth_src),
            src: udp.src,
            dst: *udp.dst.ip(),
        };
        let input = match udp.dst.port() {
            SERVER_PORT6 => Input::Packet6(arrival, udp.payload),
            _ => Input::Overheard6(arrival, udp.payload),
        };
        self.machine.handle(now, input, &mut self.fx);
        Ok(true)
    }

    pub(super) fn read_udp6(&mut self, link: LinkId) -> io::Result<()> {
        let Some(socket) = self.links.get(link).and_then(|s| s.udp6.as_ref()) else {
            return Ok(());
        };
        let count = socket.recv(&mut self.batch)?;
        self.began = Clock::mark();
        self.counters.datagrams.add(count as u64);
        let now = self.clock.now();
        for i in 0..count {
            let Some(datagram) = Udp6Socket::datagram(&self.batch, i) else { continue };
            if datagram.truncated {
                drop_packet(now, DropReason::Malformed, &mut self.fx);
                continue;
            }
            if let Err(reason) = admit6(&mut self.police, &self.links, now, link, &datagram) {
                self.counters.dropped.of(reason).add(1);
                continue;
            }
            let arrival = Arrival6 {
                link,
                port: None,
                trunk: false,
                src_mac: None,
                src: datagram.src,
                dst: datagram.dst,
            };
            self.machine.handle(now, Input::Packet6(arrival, datagram.bytes), &mut self.fx);
        }
        Ok(())
    }

    fn read_udp(&mut self, link: LinkId) -> io::Result<()> {
        let Some(socket) = self.links.get(link).and_then(|s| s.udp.as_ref()) else {
            return Ok(());
        };
        let count = socket.recv(&mut self.batch)?;
        self.began = Clock::mark();
        self.counters.datagrams.add(count as u64);
        let now = self.clock.now();
        for i in 0..count {
            let Some(datagram) = UdpSocket::datagram(&self.batch, i) else { continue };
            if datagram.truncated {
                drop_packet(now, DropReason::Malformed, &mut self.fx);
                continue;
            }
            if let Err(reason) = admit4(&mut self.police, &self.links, now, link, datagram.bytes) {
                self.counters.dropped.of(reason).add(1);
                continue;
            }
            let arrival = Arrival {
                link,
                port: None,
                trusted: false,
                trunk: false,
                src_mac: None,
                src: datagram.src,
                dst: datagram.dst,
                dst_port: SERVER_PORT,
            };
            let input = Input::Packet4(arrival, datagram.bytes);
            self.machine.handle(now, input, &mut self.fx);
        }
        Ok(())
    }

    /// Tells of ports, clients and relays with more packets than their limit.
    pub(super) fn report_offences(&mut self, now: Timestamp) {
        let links = &self.links;
        self.police.tell(now, |Offence { party, dropped }| {
            let name = |id: LinkId| links.name(id).unwrap_or("gone");
            match party {
                Some(Party::Port(port)) => {
                    tracing::warn!(target: PACKET, port = name(port), dropped,
                    "a port sends more DHCP packets than port_rate; if it leads to many clients, \
                     name it in trunk_ports")
                }
                Some(Party::Unknown(link)) => tracing::warn!(target: PACKET,
                    interface = name(link), dropped,
                    "more DHCP packets than port_rate from addresses that no port is known for"),
                Some(Party::Stray(link)) => tracing::warn!(target: PACKET, interface = name(link),
                    dropped, "more DHCP packets of relays that are not in `relays` than port_rate"),
                Some(Party::Client(link)) => tracing::warn!(target: PACKET, interface = name(link),
                    dropped, "clients send more DHCP packets than client_rate"),
                Some(Party::Relay(relay)) => tracing::warn!(target: PACKET, %relay, dropped,
                    "a relay sends more DHCP packets than relay_rate"),
                None => tracing::warn!(target: PACKET, dropped,
                    "many others send more DHCP packets than their limits"),
            }
        });
    }

    fn read_arp(&mut self, link: LinkId) -> io::Result<()> {
        let Some(socket) = self.links.get(link).and_then(|s| s.arp.as_ref()) else {
            return Ok(());
        };
        let count = socket.recv(&mut self.batch)?;
        self.behind.extend((count == BATCH).then_some(link));
        self.began = Clock::mark();
        self.counters.arps.add(count as u64);
        let now = self.clock.now();
        let mut fresh = false;
        for i in 0..count {
            let frame = FrameSocket::frame(&self.batch, i)
                .filter(|frame| !frame.to_other_host && frame.vlan.is_none());
            let Some(arp) = frame.and_then(|frame| arp::read(frame.bytes)) else { continue };
            let place = self.links.port_of(link, arp.eth_src, &mut fresh);
            let seen = Neighbour {
                addr: arp.sender_ip.into(),
                mac: arp.sender,
                frame_source: arp.eth_src,
                source: source(place, arp.eth_src),
            };
            self.machine.handle(now, Input::Neighbour(link, seen), &mut self.fx);
        }
        Ok(())
    }

    fn read_nd(&mut self, link: LinkId) -> io::Result<()> {
        let Some(socket) = self.links.get(link).and_then(|s| s.nd.as_ref()) else {
            return Ok(());
        };
        let count = socket.recv(&mut self.batch)?;
        self.behind.extend((count == BATCH).then_some(link));
        self.began = Clock::mark();
        self.counters.ndp.add(count as u64);
        let now = self.clock.now();
        let mut fresh = false;
        for i in 0..count {
            let frame = FrameSocket::frame(&self.batch, i).filter(|frame| !frame.to_other_host);
            let Some(seen) = frame.and_then(read_ndp) else { continue };
            let place = self.links.port_of(link, seen.eth_src, &mut fresh);
            let input = ndp_input(link, &seen, source(place, seen.eth_src));
            self.machine.handle(now, input, &mut self.fx);
        }
        Ok(())
    }
}

/// Takes a token for the packet of a client that is not alone behind its port.
fn admit(
    police: &mut Police,
    now: Timestamp,
    link: LinkId,
    place: PortInfo,
    client: &[&[u8]],
) -> Result<(), DropReason> {
    match place.access {
        Some(_) => Ok(()),
        None => police.admit(now, Party::Client(link), client, place.limits.client),
    }
}

/// The same for what came by UDP to port 67, and for what a relay of the link forwarded.
fn admit4(
    police: &mut Police,
    links: &Links,
    now: Timestamp,
    link: LinkId,
    payload: &[u8],
) -> Result<(), DropReason> {
    let limits = links.relay_limits();
    let giaddr = giaddr(payload);
    let relay = giaddr.map(IpAddr::V4);
    if relay.is_some_and(|relay| !links.believes(relay)) {
        return police.admit(now, Party::Stray(link), &[], limits.port);
    }
    let client = [police::client4(payload), &giaddr.map_or([0; 4], |addr| addr.octets())];
    police.admit(now, Party::Client(link), &client, limits.client)?;
    relay.map_or(Ok(()), |relay| police.admit(now, Party::Relay(relay), &[], limits.relay))
}

/// The relay that a DHCPv4 payload names (RFC 2131 s2).
fn giaddr(payload: &[u8]) -> Option<Ipv4Addr> {
    let bytes = <[u8; 4]>::try_from(payload.get(24..28)?).ok()?;
    Some(Ipv4Addr::from(bytes)).filter(|addr| !addr.is_unspecified())
}

/// Whether a frame has a DHCPv4 message in it that names a relay, at a first look.
fn is_relayed(frame: Frame<'_>) -> bool {
    const ETHERNET: usize = 14;
    const UDP: usize = 8;
    let ip = frame.bytes.get(ETHERNET).filter(|_| !frame.is_ipv6());
    let payload = ip.map(|first| ETHERNET + 4 * usize::from(first & 15) + UDP);
    payload.and_then(|at| giaddr(frame.bytes.get(at..)?)).is_some()
}

/// The same for what came by port 547. A relay is believed by its source or its link address.
fn admit6(
    police: &mut Police,
    links: &Links,
    now: Timestamp,
    link: LinkId,
    datagram: &Datagram6<'_>,
) -> Result<(), DropReason> {
    let (limits, relay) = (links.relay_limits(), IpAddr::V6(*datagram.src.ip()));
    let hop = datagram.bytes.get(2..18).and_then(|b| <[u8; 16]>::try_from(b).ok());
    let is_relayed = datagram.bytes.first() == Some(&RELAY_FORW);
    let by_hop = || hop.is_some_and(|addr| links.believes(Ipv6Addr::from(addr).into()));
    if is_relayed && !links.believes(relay) && !by_hop() {
        return police.admit(now, Party::Stray(link), &[], limits.port);
    }
    let client = police::client6(datagram.bytes);
    police.admit(now, Party::Client(link), &client, limits.client)?;
    match is_relayed {
        true => police.admit(now, Party::Relay(relay), &[], limits.relay),
        false => Ok(()),
    }
}

/// Whom an answer from there is counted against.
fn source(place: PortInfo, mac: Mac) -> Source {
    match place.port {
        _ if place.trunk => Source::Behind(mac),
        Some(port) => Source::Port(port),
        None => Source::Unknown,
    }
}

/// A message of neighbour discovery of this segment.
fn read_ndp(frame: Frame<'_>) -> Option<NdpFrame> {
    let whole = frame.vlan.is_none() && !frame.truncated;
    let read = whole.then(|| ndp::read(frame.bytes, frame.checksum == Checksum::Unknown));
    read.and_then(Result::ok)
}

/// What it means to the engine: somebody speaks of an address of its own, or asks for routers.
fn ndp_input(link: LinkId, seen: &NdpFrame, source: Source) -> Input<'static> {
    let frame_source = seen.eth_src;
    let (addr, told) = match seen.message {
        NdpMessage::NeighbourAdvert { target, link_layer, .. } => (target, link_layer),
        NdpMessage::NeighbourSolicit { source: told, .. } => (seen.src, told),
        NdpMessage::RouterSolicit { .. } => {
            return Input::RouterSolicit(link, frame_source, seen.src);
        }
    };
    // RFC 4861 s7.2.4: who answers to one host may leave out its link-layer address.
    let mac = told.unwrap_or(frame_source);
    Input::Neighbour(link, Neighbour { addr: addr.into(), mac, frame_source, source })
}

/// What a frame carries, or why it is not for us.
fn read_frame(frame: Frame<'_>) -> Result<UdpFrame<'_>, DropReason> {
    if frame.vlan.is_some() {
        return Err(DropReason::VlanTagged);
    }
    if frame.truncated {
        return Err(DropReason::Malformed);
    }
    // What the kernel verified is not verified again.
    let verify = frame.checksum == Checksum::Unknown;
    read_udp4(frame.bytes, verify).map_err(reason)
}

/// The same for IPv6.
fn read_frame6(frame: Frame<'_>) -> Result<UdpFrame6<'_>, DropReason> {
    if frame.vlan.is_some() {
        return Err(DropReason::VlanTagged);
    }
    if frame.truncated {
        return Err(DropReason::Malformed);
    }
    read_udp6(frame.bytes, frame.checksum == Checksum::Unknown).map_err(reason)
}

fn reason(error: FrameError) -> DropReason {
    match error {
        FrameError::Fragment => DropReason::Fragment,
        FrameError::VlanTagged => DropReason::VlanTagged,
        _ => DropReason::BadFrame,
    }
}

fn drop_packet(at: Timestamp, reason: DropReason, fx: &mut Effects) {
    fx.events.push(Event { at, network: None, kind: EventKind::Dropped(reason, None) });
}
