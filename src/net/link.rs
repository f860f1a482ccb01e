//! Which interfaces there are, which addresses they have, and behind which bridge port a MAC is.
//!
//! [`LinkMonitor`] subscribes to the kernel's changes, lists everything once, and again whenever
//! changes came faster than they were read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlink_sys::Socket;

use crate::base::{LinkId, Mac, Prefix4};

use super::fdb::Fdb;
use super::netlink::{self, Fact, FdbEntry, Table};
use super::pace::{Listing, Questions};

/// Changes that are read before packets have their turn again: whoever forges addresses makes more
/// of them than can ever be read.
const DATAGRAMS_PER_POLL: usize = 1024;
/// How long a listing of the forwarding tables may take: some 100,000 entries.
const FDB_LISTING: Duration = Duration::from_millis(100);

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub id: LinkId,
    /// Its name.
    pub name: Arc<str>,
    /// Its MAC; zero where it has none.
    pub mac: Mac,
    /// Set up by the administrator (`IFF_UP`).
    pub is_up: bool,
    /// It is up and there is somebody at its other end (`IFF_LOWER_UP`).
    pub has_carrier: bool,
    /// Carries Ethernet frames.
    pub is_ethernet: bool,
    /// It is a bridge.
    pub is_bridge: bool,
    /// The bridge (or bond) that it is a port of.
    pub master: Option<LinkId>,
    /// Its IPv4 addresses, primary ones first.
    pub addrs: Vec<LinkAddr>,
    /// Its IPv6 addresses, in order.
    pub addrs6: Vec<LinkAddr6>,
}

/// An IPv4 address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkAddr {
    /// The address.
    pub addr: Ipv4Addr,
    /// What is on the link with it.
    pub prefix: Prefix4,
    /// Another address of the same prefix came first.
    pub secondary: bool,
}

/// An IPv6 address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkAddr6 {
    /// The address.
    pub addr: Ipv6Addr,
    /// How many bits of it are on the link, 0 to 128.
    pub prefix_len: u8,
    /// Whether it can be used.
    pub state: AddrState,
}

/// What may be done with an IPv6 address (RFC 4862 s2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddrState {
    /// Anything.
    Preferred,
    /// It is valid, and not for anything new.
    Deprecated,
    /// Nothing yet: the kernel is still asking whether somebody has it.
    Tentative,
    /// Nothing: somebody else has it.
    Duplicate,
}

impl LinkAddr6 {
    /// Whether packets may be sent from it.
    pub fn is_usable(&self) -> bool {
        matches!(self.state, AddrState::Preferred | AddrState::Deprecated)
    }

    /// Whether `other` has the same prefix.
    pub fn is_on_link(&self, other: Ipv6Addr) -> bool {
        let common = (self.addr.to_bits() ^ other.to_bits()).leading_zeros();
        common >= u32::from(self.prefix_len)
    }
}

/// A change of the table. What it is now is asked of [`LinkMonitor::link`], which may know more:
/// a link that appeared can be gone again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// A link is there under a name; a renamed link is gone and appears.
    Appeared(LinkId),
    /// Its MAC, bridge or state changed, and maybe its carrier.
    Changed(LinkId),
    /// Only its carrier came or went.
    CarrierChanged(LinkId),
    /// Its addresses changed, of either family.
    AddrsChanged(LinkId),
    /// It is no longer there.
    Gone(LinkId),
}

/// The table of links, kept current by netlink.
#[derive(Debug)]
pub struct LinkMonitor {
    socket: Socket,
    buffer: Vec<u8>,
    links: BTreeMap<LinkId, Link>,
    watched: BTreeSet<LinkId>,
    /// Changes wait to be read.
    is_behind: bool,
    fdb: Fdb,
    /// Of links and addresses.
    listing: Listing,
    /// Of the forwarding tables.
    fdb_listing: Listing,
    /// How long that may take.
    fdb_most: Duration,
    /// For single entries of these.
    questions: Questions,
    resyncs: u64,
}

impl LinkMonitor {
    /// Subscribes. The first [`LinkMonitor::poll`] lists what is there.
    pub fn open() -> io::Result<LinkMonitor> {
        LinkMonitor::on(netlink::subscribe()?)
    }

    /// The same, and hears nothing of forwarding entries, which may change a thousand times as
    /// often: there is nothing to [`LinkMonitor::watch`].
    pub fn open_without_fdb() -> io::Result<LinkMonitor> {
        LinkMonitor::on(netlink::subscribe_without_fdb()?)
    }

    fn on(socket: Socket) -> io::Result<LinkMonitor> {
        let mut listing = Listing::default();
        listing.spoil();
        Ok(LinkMonitor {
            socket,
            buffer: vec![0; netlink::DATAGRAM_BYTES],
            links: BTreeMap::new(),
            watched: BTreeSet::new(),
            is_behind: false,
            fdb: Fdb::default(),
            listing,
            fdb_listing: Listing::default(),
            fdb_most: FDB_LISTING,
            questions: Questions::default(),
            resyncs: 0,
        })
    }

    /// Takes in what the kernel has said, without waiting, and appends what changed: all of it but
    /// in a flood of changes, of which the rest waits. After an error the table is listed anew by
    /// the next call.
    pub fn poll(&mut self, events: &mut Vec<LinkEvent>) -> io::Result<()> {
        self.is_behind = true;
        for _ in 0..DATAGRAMS_PER_POLL {
            match self.socket.recv(&mut &mut self.buffer[..], libc::MSG_DONTWAIT) {
                Ok(len) => self.take(len, events),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.is_behind = false;
                    break;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.resyncs += 1;
                    self.listing.spoil();
                    self.fdb_listing.spoil();
                }
                Err(e) => {
                    self.listing.spoil();
                    return Err(e);
                }
            }
        }
        // Only now that nothing older is waiting: a change whose undoing was lost would come back.
        if self.is_behind {
            return Ok(());
        }
        if self.listing.is_due(Instant::now()) {
            self.list(events)?;
        }
        match self.fdb_listing.is_due(Instant::now()) {
            true => self.list_fdb(),
            false => Ok(()),
        }
    }

    /// All links, by index.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The link with this index.
    pub fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }

    /// Keeps the forwarding table of `bridge` from now on.
    pub fn watch(&mut self, bridge: LinkId) -> io::Result<()> {
        if self.watched.insert(bridge) {
            return self.list_fdb();
        }
        Ok(())
    }

    /// Forgets the forwarding table of `bridge`.
    pub fn unwatch(&mut self, bridge: LinkId) {
        if self.watched.remove(&bridge) {
            self.fdb.forget(bridge);
        }
    }

    /// The port of a watched bridge behind which `mac` was heard last.
    ///
    /// The kernel says so before it hands up the frame that it learned from: after a frame was
    /// received, [`LinkMonitor::poll`] brings in its port.
    pub fn port_of(&self, bridge: LinkId, mac: Mac) -> Option<LinkId> {
        self.fdb.get(bridge, mac)
    }

    /// As [`LinkMonitor::port_of`], for a MAC that is not known while changes were lost or are not
    /// read: asks the kernel for its entry, some dozen times in a second at most.
    pub fn look_up(&mut self, bridge: LinkId, mac: Mac) -> Option<LinkId> {
        let may_be_there = self.is_behind || self.fdb_listing.is_stale();
        if !may_be_there || !self.questions.take(Instant::now()) {
            return None;
        }
        // Without an entry the kernel says so by an error.
        let entry = netlink::fdb_entry_of(bridge, mac).ok().flatten()?;
        if self.watched.contains(&bridge) {
            self.fdb.insert(bridge, mac, entry.port);
        }
        Some(entry.port)
    }

    /// How often changes came faster than they were read.
    pub fn resyncs(&self) -> u64 {
        self.resyncs
    }

    fn take(&mut self, len: usize, events: &mut Vec<LinkEvent>) {
        let buffer = std::mem::take(&mut self.buffer);
        netlink::read_facts(&buffer[..len.min(buffer.len())], |fact| self.apply(fact, events));
        self.buffer = buffer;
    }

    fn list(&mut self, events: &mut Vec<LinkEvent>) -> io::Result<()> {
        let begun = Instant::now();
        let outcome = self.list_links(events);
        self.listing.listed(begun, Instant::now(), outcome.is_ok());
        outcome
    }

    fn list_links(&mut self, events: &mut Vec<LinkEvent>) -> io::Result<()> {
        let mut found: BTreeMap<LinkId, Link> = BTreeMap::new();
        let mut add = |fact| match fact {
            Fact::Link(link) => drop(found.insert(link.id, link)),
            Fact::Addr(id, addr) => {
                found.get_mut(&id).map(|link| link.add(addr));
            }
            Fact::Addr6(id, addr) => {
                found.get_mut(&id).map(|link| link.add6(addr));
            }
            _ => {}
        };
        netlink::dump(Table::Links, &mut add)?;
        netlink::dump(Table::Addrs, &mut add)?;
        let gone: Vec<LinkId> =
            self.links.keys().filter(|id| !found.contains_key(id)).copied().collect();
        for id in gone {
            self.apply(Fact::NoLink(id), events);
        }
        for link in found.into_values() {
            let (id, addrs, addrs6) = (link.id, link.addrs.clone(), link.addrs6.clone());
            self.apply(Fact::Link(link), events);
            let Some(known) = self.links.get_mut(&id) else { continue };
            if known.addrs != addrs || known.addrs6 != addrs6 {
                (known.addrs, known.addrs6) = (addrs, addrs6);
                events.push(LinkEvent::AddrsChanged(id));
            }
        }
        Ok(())
    }

    fn list_fdb(&mut self) -> io::Result<()> {
        let (begun, before) = (Instant::now(), std::mem::take(&mut self.fdb));
        let listed = match self.watched.is_empty() {
            true => Ok(true),
            false => netlink::dump_fdb(self.fdb_most, |fact| self.apply(fact, &mut Vec::new())),
        };
        self.fdb_listing.listed(begun, Instant::now(), matches!(listed, Ok(true)));
        if self.fdb_listing.is_stale() {
            // The kernel does not tell again of whom it knows: what was known beats nothing.
            let listed = std::mem::replace(&mut self.fdb, before);
            self.fdb.update(&listed);
        }
        listed.map(drop)
    }

    fn apply(&mut self, fact: Fact, events: &mut Vec<LinkEvent>) {
        match fact {
            Fact::Link(link) => self.apply_link(link, events),
            Fact::NoLink(id) => {
                if self.links.remove(&id).is_some() {
                    self.unwatch(id);
                    events.push(LinkEvent::Gone(id));
                }
            }
            Fact::Addr(id, addr) => {
                if self.links.get_mut(&id).is_some_and(|link| link.add(addr)) {
                    events.push(LinkEvent::AddrsChanged(id));
                }
            }
            Fact::NoAddr(id, addr) => {
                if self.links.get_mut(&id).is_some_and(|link| link.remove(addr)) {
                    events.push(LinkEvent::AddrsChanged(id));
                }
            }
            Fact::Addr6(id, addr) => {
                if self.links.get_mut(&id).is_some_and(|link| link.add6(addr)) {
                    events.push(LinkEvent::AddrsChanged(id));
                }
            }
            Fact::NoAddr6(id, addr) => {
                if self.links.get_mut(&id).is_some_and(|link| link.remove6(addr)) {
                    events.push(LinkEvent::AddrsChanged(id));
                }
            }
            Fact::Fdb(FdbEntry { bridge, mac, port }) => {
                if self.watched.contains(&bridge) {
                    self.fdb.insert(bridge, mac, port);
                }
            }
            Fact::NoFdb(FdbEntry { bridge, mac, port }) => {
                // A bridge with VLANs has an entry for each: only the last one told counts.
                self.fdb.remove(bridge, mac, port);
            }
        }
    }

    fn apply_link(&mut self, mut link: Link, events: &mut Vec<LinkEvent>) {
        let id = link.id;
        let event = match self.links.get_mut(&id) {
            None => LinkEvent::Appeared(id),
            Some(known) => {
                link.addrs = std::mem::take(&mut known.addrs);
                link.addrs6 = std::mem::take(&mut known.addrs6);
                if known.name != link.name {
                    events.push(LinkEvent::Gone(id));
                    LinkEvent::Appeared(id)
                } else {
                    let bare = Link { addrs: Vec::new(), addrs6: Vec::new(), ..link.clone() };
                    if *known == bare {
                        (known.addrs, known.addrs6) = (link.addrs, link.addrs6);
                        return;
                    }
                    let carried = Link { has_carrier: known.has_carrier, ..bare };
                    match *known == carried {
                        true => LinkEvent::CarrierChanged(id),
                        false => LinkEvent::Changed(id),
                    }
                }
            }
        };
        self.links.insert(id, link);
        events.push(event);
    }
}

impl AsFd for LinkMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Link {
    /// The link-local address that its own frames come from: one of the interface, else the one
    /// that its MAC makes (RFC 4291 appendix A), so that IPv6 may be disabled on it.
    pub fn link_local(&self) -> Ipv6Addr {
        let own = |a: &&LinkAddr6| a.is_usable() && a.addr.is_unicast_link_local();
        self.addrs6.iter().find(own).map_or_else(|| self.mac.link_local(), |a| a.addr)
    }

    /// The address that answers to `to` come from: link-local for link-local, else one of the
    /// same prefix, else any that may be used, preferred ones first.
    pub fn source_for(&self, to: Ipv6Addr) -> Option<Ipv6Addr> {
        if to.is_unicast_link_local() {
            return Some(self.link_local());
        }
        let global = |a: &&LinkAddr6| a.is_usable() && !a.addr.is_unicast_link_local();
        let distance = |a: &&LinkAddr6| (!a.is_on_link(to), a.state);
        self.addrs6.iter().filter(global).min_by_key(distance).map(|a| a.addr)
    }

    /// Whether an IPv4 address is one of its own.
    pub fn has(&self, addr: Ipv4Addr) -> bool {
        self.addrs.iter().any(|a| a.addr == addr)
    }

    /// Whether that changed anything.
    fn add(&mut self, addr: LinkAddr) -> bool {
        if self.addrs.contains(&addr) {
            return false;
        }
        self.remove(addr);
        self.addrs.push(addr);
        self.addrs.sort_by_key(|a| a.secondary);
        true
    }

    fn remove(&mut self, addr: LinkAddr) -> bool {
        let before = self.addrs.len();
        self.addrs.retain(|a| (a.addr, a.prefix) != (addr.addr, addr.prefix));
        self.addrs.len() != before
    }

    /// Whether that changed anything.
    fn add6(&mut self, addr: LinkAddr6) -> bool {
        if self.addrs6.contains(&addr) {
            return false;
        }
        self.remove6(addr);
        self.addrs6.push(addr);
        self.addrs6.sort_unstable();
        true
    }

    fn remove6(&mut self, addr: LinkAddr6) -> bool {
        let before = self.addrs6.len();
        self.addrs6.retain(|a| a.addr != addr.addr);
        self.addrs6.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_listing_is_not_taken_for_the_whole() {
        let mut monitor = LinkMonitor::open().unwrap();
        // No bridge has this index: what is known of it is gone from a whole listing.
        let (bridge, mac, port) = (LinkId(u32::MAX >> 1), Mac([2, 0, 0, 0, 0, 1]), LinkId(7));
        monitor.watched.insert(bridge);
        monitor.fdb.insert(bridge, mac, port);
        monitor.fdb_most = Duration::ZERO;
        monitor.list_fdb().unwrap();
        assert_eq!(monitor.port_of(bridge, mac), Some(port), "it was not come to");
        assert!(monitor.fdb_listing.is_stale(), "the rest is to be listed");
        monitor.fdb_most = Duration::from_secs(60);
        wait_until_whole(&mut monitor);
        assert_eq!(monitor.port_of(bridge, mac), None);
    }

    /// Bridges of this host may change meanwhile.
    fn wait_until_whole(monitor: &mut LinkMonitor) {
        for _ in 0..1000 {
            monitor.list_fdb().unwrap();
            if !monitor.fdb_listing.is_stale() {
                return;
            }
        }
        panic!("the tables of this host change too fast to list");
    }
}
