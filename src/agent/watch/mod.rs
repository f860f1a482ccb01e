//! Watching actives: has one failed, a server is to know at once.
//!
//! A thread of its own. The end of the process that has the guest's tap (pidfd) and the loss of its
//! link (netlink) are noticed by themselves; a guest that hangs is found by questions, ARP or
//! neighbour solicitations sent to it alone, that it does not answer.

mod detector;
mod process;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use crate::base::{LinkId, Mac, Span};
use crate::net::link::frames_received;
use crate::net::{FrameSocket, Link, LinkMonitor, Mode, Outbox, Poller, RecvBatch, Token, Waker};
use crate::wire::arp;
use crate::wire::ndp::{self, NdpMessage};

use detector::Detector;
pub use detector::{Policy, Verdict, Why};

/// A guest to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// The bridge that it is asked from.
    pub bridge: Box<str>,
    /// Its port.
    pub port: Box<str>,
    /// Its hardware address.
    pub mac: Mac,
    /// Its addresses: the first of each family is asked for.
    pub addresses: Vec<IpAddr>,
    /// How.
    pub policy: Policy,
}

enum Order {
    Watch(Box<str>, Guest),
    Unwatch(Box<str>),
}

/// The thread's other end.
#[derive(Debug)]
pub struct Watcher {
    orders: Sender<Order>,
    waker: Waker,
}

impl Watcher {
    /// Starts the thread, which tells `sink` of each verdict. It ends when this is dropped.
    pub fn start(sink: impl FnMut(&str, Verdict) + Send + 'static) -> io::Result<Watcher> {
        let (orders, ordered) = channel();
        let poller = Poller::new()?;
        let waker = poller.waker();
        let mut links = LinkMonitor::open()?;
        poller.add(&links, LINKS)?;
        links.poll(&mut Vec::new())?;
        let watch = Watch {
            poller,
            links,
            ordered,
            sink: Box::new(sink),
            guests: BTreeMap::new(),
            ears: HashMap::new(),
            processes: HashMap::new(),
            tokens: LINKS.0,
            outbox: Outbox::default(),
            batch: RecvBatch::default(),
        };
        std::thread::Builder::new().name("agent-watch".into()).spawn(move || watch.run())?;
        Ok(Watcher { orders, waker })
    }

    /// Watches a guest under this name from now on, in the place of who had it.
    pub fn watch(&self, name: &str, guest: Guest) {
        let _ = self.orders.send(Order::Watch(name.into(), guest));
        self.waker.wake();
    }

    /// Watches it no more.
    pub fn unwatch(&self, name: &str) {
        let _ = self.orders.send(Order::Unwatch(name.into()));
        self.waker.wake();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.orders = channel().0;
        self.waker.wake();
    }
}

const LINKS: Token = Token(0);

struct Watched {
    guest: Guest,
    detector: Detector,
    /// Its port, while it has somebody at its other end.
    port: Option<LinkId>,
}

struct Watch {
    poller: Poller,
    links: LinkMonitor,
    ordered: Receiver<Order>,
    sink: Box<dyn FnMut(&str, Verdict) + Send>,
    guests: BTreeMap<Box<str>, Watched>,
    /// By bridge: ARP and neighbour discovery.
    ears: HashMap<LinkId, [FrameSocket; 2]>,
    /// Whose processes are waited for.
    processes: HashMap<Token, (Box<str>, OwnedFd)>,
    tokens: u64,
    outbox: Outbox,
    batch: RecvBatch,
}

impl Watch {
    fn run(mut self) {
        loop {
            loop {
                match self.ordered.try_recv() {
                    Ok(Order::Watch(name, guest)) => self.watch(name, guest),
                    Ok(Order::Unwatch(name)) => self.unwatch(&name),
                    Err(std::sync::mpsc::TryRecvError::Empty) => break,
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                }
            }
            let now = Instant::now();
            let due = self.guests.values().map(|watched| watched.detector.due()).min();
            // A millisecond is never cut: a wait that ends early is made again.
            let wait =
                due.map(|due| due.saturating_duration_since(now).as_micros().div_ceil(1_000));
            let wait = wait.map(|ms| Span::from_ms(u64::try_from(ms).unwrap_or(u64::MAX)));
            let ready: Vec<Token> = match self.poller.wait(wait) {
                Ok(ready) => ready.collect(),
                Err(error) => return tracing::error!(%error, "guests are no longer watched"),
            };
            self.hear(&ready);
            self.ask(Instant::now());
        }
    }

    fn watch(&mut self, name: Box<str>, guest: Guest) {
        if self.guests.get(&name).is_some_and(|watched| watched.guest == guest) {
            return;
        }
        self.unwatch(&name);
        let _ = self.links.poll(&mut Vec::new());
        let port = self.link(&guest.port).filter(|link| link.has_carrier).map(|link| link.id);
        if let Some(process) = process::of_tap(&guest.port) {
            self.tokens += 1;
            let token = Token(self.tokens);
            if self.poller.add(&process, token).is_ok() {
                self.processes.insert(token, (name.clone(), process));
            }
        }
        let detector = Detector::new(guest.policy, Instant::now());
        self.guests.insert(name, Watched { guest, detector, port });
    }

    fn unwatch(&mut self, name: &str) {
        self.guests.remove(name);
        self.processes.retain(|_, (of, _)| **of != *name);
        let bridges: Vec<LinkId> =
            self.guests.values().filter_map(|w| self.link(&w.guest.bridge)).map(|l| l.id).collect();
        self.ears.retain(|bridge, _| bridges.contains(bridge));
    }

    fn link(&self, name: &str) -> Option<&Link> {
        self.links.links().find(|link| *link.name == *name)
    }

    fn hear(&mut self, ready: &[Token]) {
        for token in ready {
            if let Some((name, _)) = self.processes.remove(token) {
                self.fail(&name, Why::Ended);
            }
        }
        if ready.contains(&LINKS) {
            self.look_at_links();
        }
        if ready.iter().any(|token| *token != LINKS) {
            self.listen();
        }
    }

    /// A port that is gone, or has nobody at its other end any more, is the end of its guest.
    fn look_at_links(&mut self) {
        if let Err(error) = self.links.poll(&mut Vec::new()) {
            tracing::warn!(%error, "links");
        }
        let mut failed = Vec::new();
        for (name, watched) in &mut self.guests {
            let now = self.links.links().find(|link| *link.name == *watched.guest.port);
            let now = now.filter(|link| link.has_carrier).map(|link| link.id);
            let before = std::mem::replace(&mut watched.port, now);
            if before.is_some() && before != now {
                failed.push(name.clone());
            }
        }
        failed.iter().for_each(|name| self.fail(name, Why::Link));
    }

    fn fail(&mut self, name: &str, why: Why) {
        let Some(watched) = self.guests.get_mut(name) else { return };
        if let Some(verdict) = watched.detector.failed(why) {
            (self.sink)(name, verdict);
        }
    }

    fn listen(&mut self) {
        let Watch { ears, batch, guests, sink, .. } = self;
        for socket in ears.values().flatten() {
            let count = socket.recv(batch).unwrap_or(0);
            let frames = (0..count).filter_map(|i| FrameSocket::frame(batch, i));
            for (mac, addr) in frames.filter_map(|frame| says_it_has(frame.bytes)) {
                let of = |w: &Watched| w.guest.mac == mac && w.guest.addresses.contains(&addr);
                for (name, watched) in guests.iter_mut().filter(|(_, watched)| of(watched)) {
                    if let Some(verdict) = watched.detector.answered() {
                        sink(name, verdict);
                    }
                }
            }
        }
    }

    fn ask(&mut self, now: Instant) {
        let is_due = |watched: &Watched| watched.detector.due() <= now;
        let due: Vec<Box<str>> =
            self.guests.iter().filter(|(_, w)| is_due(w)).map(|(name, _)| name.clone()).collect();
        if due.is_empty() {
            return;
        }
        // What has come meanwhile is no loss.
        self.listen();
        for name in due {
            let Some(watched) = self.guests.get_mut(&name) else { continue };
            let port = watched.port;
            let frames = || frames_received(port?).ok().flatten();
            if let Some(verdict) = watched.detector.ask(now, frames) {
                (self.sink)(&name, verdict);
            }
            let guest = watched.guest.clone();
            self.send(&guest);
        }
    }

    fn send(&mut self, guest: &Guest) {
        let Some(bridge) = self.link(&guest.bridge).cloned() else { return };
        self.outbox.clear();
        for addr in first_of_each(&guest.addresses) {
            self.outbox.push(|out| question(out, &bridge, guest.mac, addr));
        }
        if let Err(error) = self.open_ears(bridge.id) {
            return tracing::debug!(%error, "cannot be asked");
        }
        if let Some([socket, _]) = self.ears.get(&bridge.id) {
            socket.send(&mut self.outbox);
        }
    }

    fn open_ears(&mut self, bridge: LinkId) -> io::Result<()> {
        if self.ears.contains_key(&bridge) {
            return Ok(());
        }
        let sockets = [
            FrameSocket::arp(bridge, Mode::Serve)?,
            FrameSocket::neighbour_discovery(bridge, Mode::Serve)?,
        ];
        for socket in &sockets {
            self.tokens += 1;
            self.poller.add(socket, Token(self.tokens))?;
        }
        self.ears.insert(bridge, sockets);
        Ok(())
    }
}

fn first_of_each(addresses: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let first = |is: fn(&&IpAddr) -> bool| addresses.iter().find(is).copied();
    [first(|addr| addr.is_ipv4()), first(|addr| addr.is_ipv6())].into_iter().flatten()
}

/// Asks the guest alone. From no IPv4 address where the bridge has none on its link: a probe, which
/// is answered too (RFC 5227 s2.1.1).
fn question(out: &mut Vec<u8>, bridge: &Link, mac: Mac, addr: IpAddr) {
    match addr {
        IpAddr::V4(addr) => {
            let own = bridge.addrs.iter().find(|own| own.prefix.contains(addr));
            let from = own.map_or(Ipv4Addr::UNSPECIFIED, |own| own.addr);
            arp::write_request(out, bridge.mac, mac, bridge.mac, from, addr);
        }
        IpAddr::V6(addr) => {
            ndp::write_request(out, bridge.mac, Some(mac), bridge.link_local(), addr);
        }
    }
}

/// Who says that it has which address.
fn says_it_has(frame: &[u8]) -> Option<(Mac, IpAddr)> {
    if let Some(arp) = arp::read(frame) {
        return (!arp.sender_ip.is_unspecified()).then(|| (arp.sender, arp.sender_ip.into()));
    }
    let nd = ndp::read(frame, false).ok()?;
    match nd.message {
        NdpMessage::NeighbourAdvert { target, link_layer, .. } => {
            Some((link_layer.unwrap_or(nd.eth_src), target.into()))
        }
        _ => None,
    }
}
