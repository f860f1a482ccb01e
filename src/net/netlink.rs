//! Route netlink as [`super::link`] and [`super::route`] need it: subscribe, dump, change, and read
//! messages into facts.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use socket2::SockRef;

use crate::base::{LinkId, Mac, Prefix4};

use super::filter::{Assembler, Program, To};
use super::link::{AddrState, Link, LinkAddr, LinkAddr6};

/// Longest datagram of the kernel: it builds dumps in 32 KiB at most.
pub(super) const DATAGRAM_BYTES: usize = 64 << 10;
/// Receive buffer: a storm of forwarding entries.
const BUFFER_BYTES: usize = 4 << 20;
/// A dump that takes longer is tried again later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const DUMP_ATTEMPTS: usize = 4;

/// One thing that netlink said. Facts of a dump say what is there.
#[derive(Debug)]
pub(super) enum Fact {
    /// The link is there; its addresses are told separately.
    Link(Link),
    NoLink(LinkId),
    Addr(LinkId, LinkAddr),
    NoAddr(LinkId, LinkAddr),
    Addr6(LinkId, LinkAddr6),
    NoAddr6(LinkId, LinkAddr6),
    /// A forwarding entry of a bridge.
    Fdb(FdbEntry),
    NoFdb(FdbEntry),
}

#[derive(Debug)]
pub(super) struct FdbEntry {
    pub(super) bridge: LinkId,
    pub(super) mac: Mac,
    pub(super) port: LinkId,
}

/// What a dump lists.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Links,
    /// Of both families.
    Addrs,
    Fdb,
    Routes6,
}

/// A socket that hears of every change of links, addresses and forwarding entries.
pub(super) fn subscribe() -> io::Result<Socket> {
    let socket = subscribe_without_fdb()?;
    SockRef::from(&socket).attach_filter(&without_neighbours().for_kernel())?;
    socket.add_membership(libc::RTNLGRP_NEIGH)?;
    Ok(socket)
}

/// A socket that hears of every change of links and addresses.
pub(super) fn subscribe_without_fdb() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    super::raw::set_buffers(&SockRef::from(&socket), BUFFER_BYTES)?;
    socket.set_non_blocking(true)?;
    socket.bind_auto()?;
    for group in [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR] {
        socket.add_membership(group)?;
    }
    Ok(socket)
}

/// The neighbour group also carries every change of every ARP and ND entry of the host: these
/// would wake us for nothing.
fn without_neighbours() -> Program {
    // nlmsghdr: length (4), type (2) in host order; after its 16 bytes ndmsg begins with a family.
    let kind = |kind: u16| u32::from(kind.to_be());
    Assembler::default()
        .load_half(4)
        .if_equal(kind(libc::RTM_NEWNEIGH), To::Skip(1), To::Next)
        .if_equal(kind(libc::RTM_DELNEIGH), To::Next, To::Keep)
        .load_byte(16)
        .if_equal(libc::AF_BRIDGE as u32, To::Keep, To::Drop)
        .finish()
}

/// Lists a whole table, by a socket of its own so that it does not mix with what changes.
pub(super) fn dump(table: Table, mut fact: impl FnMut(Fact)) -> io::Result<()> {
    dump_messages(table, |message| to_fact(message).into_iter().for_each(&mut fact))
}

/// Lists the forwarding tables as they come, for so long at most; whether that was all. A table
/// that somebody forges addresses for is neither still nor small, and the kernel looks through all
/// of it for each part that it lists.
pub(super) fn dump_fdb(most: Duration, mut fact: impl FnMut(Fact)) -> io::Result<bool> {
    let each = |message| to_fact(message).into_iter().for_each(&mut fact);
    talk_until(Some(Instant::now() + most), &request(Table::Fdb), each)
}

/// The entry of one address in the forwarding table of a bridge, in no VLAN; that there is none is
/// an error (`ENOENT`).
pub(super) fn fdb_entry_of(bridge: LinkId, mac: Mac) -> io::Result<Option<FdbEntry>> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.attributes = vec![
        NeighbourAttribute::Controller(bridge.0),
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
    ];
    let request = RouteNetlinkMessage::GetNeighbour(message);
    let mut found = None;
    talk(&serialise(request, NLM_F_REQUEST | NLM_F_ACK), |message| {
        if let Some(Fact::Fdb(entry)) = to_fact(message) {
            found = Some(entry);
        }
    })?;
    Ok(found)
}

/// The same as the kernel says it.
pub(super) fn dump_messages(table: Table, each: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
    // The kernel marks a listing that changed underway as torn.
    for _ in 0..DUMP_ATTEMPTS {
        let mut messages = Vec::new();
        if talk(&request(table), |message| messages.push(message))? {
            messages.into_iter().for_each(each);
            return Ok(());
        }
    }
    Err(io::Error::new(io::ErrorKind::Interrupted, "netlink: the tables change too fast to list"))
}

/// Asks for a change and waits until the kernel made it or refused.
pub(super) fn change(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    talk(&serialise(message, NLM_F_REQUEST | NLM_F_ACK | flags), |_| {}).map(drop)
}

/// Sends a request and hears all of the answer; whether that was whole.
fn talk(request: &[u8], each: impl FnMut(RouteNetlinkMessage)) -> io::Result<bool> {
    talk_until(None, request, each)
}

/// The same, and leaves when it is late.
fn talk_until(
    late: Option<Instant>,
    request: &[u8],
    mut each: impl FnMut(RouteNetlinkMessage),
) -> io::Result<bool> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    SockRef::from(&socket).set_read_timeout(Some(ANSWER_TIMEOUT))?;
    super::raw::set_buffers(&SockRef::from(&socket), BUFFER_BYTES)?;
    socket.bind_auto()?;
    socket.send_to(request, &SocketAddr::new(0, 0), 0)?;
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let mut answer = Answer::default();
    while !answer.is_done {
        if late.is_some_and(|late| late <= Instant::now()) {
            return Ok(false);
        }
        let len = socket.recv(&mut &mut buffer[..], 0)?;
        answer.take(buffer.get(..len).unwrap_or_default(), &mut each)?;
    }
    Ok(!answer.is_torn)
}

/// What was heard of an answer.
#[derive(Default)]
struct Answer {
    is_done: bool,
    /// What is listed changed underway (`NLM_F_DUMP_INTR`).
    is_torn: bool,
}

impl Answer {
    /// Takes in a datagram of it; fails if the kernel refuses.
    fn take(
        &mut self,
        datagram: &[u8],
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        let mut refused = Ok(());
        read(datagram, |message| {
            self.is_torn |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::Done(_) => self.is_done = true,
                // Without a code it acknowledges.
                NetlinkPayload::Error(e) if e.code.is_none() => self.is_done = true,
                NetlinkPayload::Error(e) => refused = Err(e.to_io()),
                NetlinkPayload::InnerMessage(inner) => each(inner),
                _ => {}
            }
        });
        refused
    }
}

fn request(table: Table) -> Vec<u8> {
    let inner = match table {
        Table::Links => {
            let mut message = LinkMessage::default();
            message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
            RouteNetlinkMessage::GetLink(message)
        }
        Table::Addrs => {
            let mut message = AddressMessage::default();
            message.header.family = AddressFamily::Unspec;
            RouteNetlinkMessage::GetAddress(message)
        }
        Table::Fdb => {
            let mut message = NeighbourMessage::default();
            message.header.family = AddressFamily::Bridge;
            RouteNetlinkMessage::GetNeighbour(message)
        }
        Table::Routes6 => {
            let mut message = RouteMessage::default();
            message.header.address_family = AddressFamily::Inet6;
            RouteNetlinkMessage::GetRoute(message)
        }
    };
    serialise(inner, NLM_F_REQUEST | NLM_F_DUMP)
}

fn serialise(inner: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(inner));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// The facts in one datagram of the subscription.
pub(super) fn read_facts(datagram: &[u8], mut fact: impl FnMut(Fact)) {
    read(datagram, |message| {
        if let NetlinkPayload::InnerMessage(inner) = message.payload {
            to_fact(inner).into_iter().for_each(&mut fact);
        }
    });
}

/// The messages of a datagram; one that cannot be read is passed over.
fn read(datagram: &[u8], mut each: impl FnMut(NetlinkMessage<RouteNetlinkMessage>)) {
    const HEADER: usize = 16;
    let mut rest = datagram;
    while let Some(len) = rest.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes) {
        let len = len as usize;
        let Some(bytes) = rest.get(..len).filter(|_| len >= HEADER) else { return };
        if let Ok(message) = NetlinkMessage::deserialize(bytes) {
            each(message);
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
}

fn to_fact(message: RouteNetlinkMessage) -> Option<Fact> {
    match message {
        // A bridge speaks of its ports in messages of its own family; that a port left a bridge
        // looks like the end of the link there.
        RouteNetlinkMessage::NewLink(m) if is_of_link(&m) => link(&m).map(Fact::Link),
        RouteNetlinkMessage::DelLink(m) if is_of_link(&m) => {
            Some(Fact::NoLink(LinkId(m.header.index)))
        }
        RouteNetlinkMessage::NewAddress(m) => {
            let link = LinkId(m.header.index);
            let v4 = address(&m).map(|addr| Fact::Addr(link, addr));
            v4.or_else(|| address6(&m).map(|addr| Fact::Addr6(link, addr)))
        }
        RouteNetlinkMessage::DelAddress(m) => {
            let link = LinkId(m.header.index);
            let v4 = address(&m).map(|addr| Fact::NoAddr(link, addr));
            v4.or_else(|| address6(&m).map(|addr| Fact::NoAddr6(link, addr)))
        }
        RouteNetlinkMessage::NewNeighbour(m) => fdb_entry(&m).map(Fact::Fdb),
        RouteNetlinkMessage::DelNeighbour(m) => fdb_entry(&m).map(Fact::NoFdb),
        _ => None,
    }
}

fn is_of_link(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

fn link(message: &LinkMessage) -> Option<Link> {
    let mut link = Link {
        id: LinkId(message.header.index),
        name: Arc::from(""),
        mac: Mac::ZERO,
        is_up: message.header.flags.contains(LinkFlags::Up),
        has_carrier: message.header.flags.contains(LinkFlags::LowerUp),
        is_ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        is_bridge: false,
        master: None,
        addrs: Vec::new(),
        addrs6: Vec::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = Arc::from(name.as_str()),
            LinkAttribute::Address(bytes) => {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).map_or(Mac::ZERO, Mac);
            }
            LinkAttribute::Controller(index) => link.master = Some(LinkId(*index)),
            LinkAttribute::LinkInfo(infos) => {
                link.is_bridge = infos.contains(&LinkInfo::Kind(InfoKind::Bridge));
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

fn address(message: &AddressMessage) -> Option<LinkAddr> {
    let Addr { local, peer, flags } = read_address(message);
    let v4 = |ip: Option<IpAddr>| match ip {
        Some(IpAddr::V4(v4)) => Some(v4),
        _ => None,
    };
    let addr = v4(local).or(v4(peer))?;
    let prefix = Prefix4::new(v4(peer).unwrap_or(addr), message.header.prefix_len)?;
    Some(LinkAddr { addr, prefix, secondary: flags.contains(AddressFlags::Secondary) })
}

fn address6(message: &AddressMessage) -> Option<LinkAddr6> {
    let Addr { local, peer, flags } = read_address(message);
    let Some(IpAddr::V6(addr)) = local.or(peer) else { return None };
    let state = if flags.contains(AddressFlags::Dadfailed) {
        AddrState::Duplicate
    } else if flags.contains(AddressFlags::Tentative) {
        AddrState::Tentative
    } else if flags.contains(AddressFlags::Deprecated) {
        AddrState::Deprecated
    } else {
        AddrState::Preferred
    };
    Some(LinkAddr6 { addr, prefix_len: message.header.prefix_len, state })
}

/// What both families say of an address.
struct Addr {
    local: Option<IpAddr>,
    /// On a point-to-point link the other end, else the same as the local address.
    peer: Option<IpAddr>,
    flags: AddressFlags,
}

fn read_address(message: &AddressMessage) -> Addr {
    let short = u32::from(message.header.flags.bits());
    let mut addr = Addr { local: None, peer: None, flags: AddressFlags::from_bits_retain(short) };
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => addr.local = Some(*ip),
            AddressAttribute::Address(ip) => addr.peer = Some(*ip),
            AddressAttribute::Flags(flags) => addr.flags = *flags,
            _ => {}
        }
    }
    addr
}

fn fdb_entry(message: &NeighbourMessage) -> Option<FdbEntry> {
    if message.header.family != AddressFamily::Bridge {
        return None;
    }
    let (mut bridge, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Controller(index) => bridge = Some(LinkId(*index)),
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            _ => {}
        }
    }
    let port = LinkId(message.header.ifindex);
    // Without a bridge: an entry of a device itself, such as a VXLAN's. With the bridge as its
    // own port: the bridge's own address.
    bridge.filter(|bridge| *bridge != port).zip(mac).map(|(bridge, mac)| FdbEntry {
        bridge,
        mac,
        port,
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DoneMessage, NLM_F_MULTIPART};

    use super::*;

    /// A datagram with an entry, and if it is `last` the end of the listing.
    fn part(flags: u16, last: bool) -> Vec<u8> {
        let entry = RouteNetlinkMessage::NewNeighbour(NeighbourMessage::default());
        let mut datagram = serialise(entry, NLM_F_MULTIPART | flags);
        if last {
            let mut header = NetlinkHeader::default();
            header.flags = NLM_F_MULTIPART | flags;
            let end = NetlinkPayload::Done(DoneMessage::default());
            let mut message = NetlinkMessage::<RouteNetlinkMessage>::new(header, end);
            message.finalize();
            let mut bytes = vec![0; message.buffer_len()];
            message.serialize(&mut bytes);
            datagram.extend(bytes);
        }
        datagram
    }

    #[test]
    fn a_listing_is_whole_if_nothing_changed_underway() {
        for (first, second, torn) in
            [(0, 0, false), (NLM_F_DUMP_INTR, 0, true), (0, NLM_F_DUMP_INTR, true)]
        {
            let (mut answer, mut entries) = (Answer::default(), 0);
            answer.take(&part(first, false), |_| entries += 1).unwrap();
            assert!(!answer.is_done, "there is more");
            answer.take(&part(second, true), |_| entries += 1).unwrap();
            assert_eq!((answer.is_done, answer.is_torn, entries), (true, torn, 2));
        }
    }

    #[test]
    fn a_late_listing_is_not_whole() {
        assert!(!dump_fdb(Duration::ZERO, |_| {}).unwrap());
    }
}
