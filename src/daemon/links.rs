//! Which interfaces are served, with which sockets, and where on them a packet came in.
//!
//! The policy names interfaces by pattern; [`LinkMonitor`] says which there are. [`Links`] keeps
//! the two in step: sockets open when an interface is there and up, and close when it goes or
//! the policy no longer names it. Those of an interface that stays are not touched, so a reload
//! loses no packet.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::base::{LinkId, Mac, NetworkId};
use crate::config::Policy;
use crate::config::policy::{Limits, Pattern};
use crate::engine::Input;
use crate::engine::effects::LinkUp;
use crate::net::{Link, LinkEvent, LinkMonitor, Mode, Poller};

use super::counters::Counters;
use super::forwarding;
use super::police::Party;
use super::served::{Kind, Role, Served, is_network, token};

/// Where behind an interface a frame came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortInfo {
    /// The bridge port; the interface itself where it is no bridge.
    pub port: Option<LinkId>,
    /// In `trusted_ports` of the network: relays there are believed.
    pub trusted: bool,
    /// In `trunk_ports` of the network.
    pub trunk: bool,
    /// Whose packets it is, where clients are not told apart: guests behind one access port.
    pub access: Option<Party>,
    /// Those of the network.
    pub limits: Limits,
}

/// All served interfaces.
#[derive(Debug)]
pub struct Links {
    monitor: LinkMonitor,
    policy: Arc<Policy>,
    mode: Mode,
    served: BTreeMap<LinkId, Served>,
    /// Told by netlink and not acted on yet.
    events: Vec<LinkEvent>,
    /// Whether a port is trusted and a trunk, once its name was matched.
    flags: HashMap<LinkId, (bool, bool)>,
    problems: BTreeMap<LinkId, String>,
    /// Where we say that we are a router; it was looked at whether the kernel is one.
    routers: BTreeSet<LinkId>,
    relay_limits: Limits,
    /// Those of the monitor that are counted.
    resyncs: u64,
}

impl Links {
    /// Follows the interfaces of `policy`. Nothing is open until [`Links::update`].
    pub fn open(policy: Arc<Policy>, mode: Mode, poller: &Poller) -> io::Result<Links> {
        let monitor = LinkMonitor::open()?;
        poller.add(&monitor, token(LinkId(0), Kind::Netlink))?;
        Ok(Links {
            monitor,
            relay_limits: relay_limits(&policy, mode),
            policy,
            mode,
            served: BTreeMap::new(),
            events: Vec::new(),
            flags: HashMap::new(),
            problems: BTreeMap::new(),
            routers: BTreeSet::new(),
            resyncs: 0,
        })
    }

    /// Reads netlink and acts on what changed; `tell` hears what the engine must know.
    pub fn update(
        &mut self,
        poller: &Poller,
        counters: &Counters,
        mut tell: impl FnMut(Input<'static>),
    ) {
        if let Err(e) = self.monitor.poll(&mut self.events) {
            tracing::warn!(error = %e, "cannot read the list of interfaces; trying again");
        }
        // Also those that `port_of` met.
        let resyncs = self.monitor.resyncs();
        counters.link_resyncs.add(resyncs - std::mem::replace(&mut self.resyncs, resyncs));
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            match event {
                LinkEvent::Gone(id) => {
                    // What appears under the same index is another interface.
                    self.flags.clear();
                    self.close(id, &mut tell);
                }
                LinkEvent::Appeared(id) | LinkEvent::Changed(id) => {
                    self.sync(id, poller, &mut tell);
                }
                // It is served while it is up, whoever is at its other end.
                LinkEvent::CarrierChanged(_) => {}
                LinkEvent::AddrsChanged(id) => {
                    if let (Some(served), Some(link)) =
                        (self.served.get_mut(&id), self.monitor.link(id))
                    {
                        served.link_local = link.link_local();
                        served.kernel_speaks_v6 = !link.addrs6.is_empty();
                    }
                    self.say_up(id, &mut tell);
                }
            }
        }
        self.events = events;
    }

    /// Whether netlink said something that was not acted on yet.
    pub fn is_behind(&self) -> bool {
        !self.events.is_empty()
    }

    /// Puts another policy in force: closes what it no longer names, opens what it newly names.
    pub fn set_policy(
        &mut self,
        policy: Arc<Policy>,
        poller: &Poller,
        mut tell: impl FnMut(Input<'static>),
    ) {
        self.relay_limits = relay_limits(&policy, self.mode);
        self.policy = policy;
        self.flags.clear();
        self.problems.clear();
        let all: Vec<LinkId> = self.monitor.links().map(|link| link.id).collect();
        for id in all {
            self.sync(id, poller, &mut tell);
        }
    }

    /// Tries again to open what could not be opened.
    pub fn retry(&mut self, poller: &Poller) {
        for (id, known) in std::mem::take(&mut self.problems) {
            self.open_sockets(id, poller, &known);
        }
    }

    /// Closes a socket that fails; [`Links::retry`] opens it again.
    pub fn broken(&mut self, id: LinkId, kind: Kind, error: &io::Error) {
        let Some(served) = self.served.get_mut(&id) else { return };
        match kind {
            Kind::Dhcp => served.dhcp = None,
            Kind::Udp => served.udp = None,
            Kind::Arp => served.arp = None,
            Kind::Udp6 => served.udp6 = None,
            Kind::Nd => served.nd = None,
            Kind::Netlink => return,
        }
        self.problems.insert(id, format!("{}: cannot receive: {error}", served.name));
    }

    /// The served interface with this index.
    pub fn get(&self, id: LinkId) -> Option<&Served> {
        self.served.get(&id)
    }

    /// The same, to collect what is to be sent on it.
    pub fn get_mut(&mut self, id: LinkId) -> Option<&mut Served> {
        self.served.get_mut(&id)
    }

    /// The address of ours from which `to` is answered by `link`.
    pub fn source6(&self, link: LinkId, to: Ipv6Addr) -> Option<Ipv6Addr> {
        self.monitor.link(link)?.source_for(to)
    }

    /// All served interfaces.
    pub fn served(&self) -> impl Iterator<Item = &Served> {
        self.served.values()
    }

    /// The same, to send what was collected.
    pub fn served_mut(&mut self) -> impl Iterator<Item = &mut Served> {
        self.served.values_mut()
    }

    /// What could not be opened, and why.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.values().map(String::as_str)
    }

    /// Where a frame from `mac` came in on `link`.
    ///
    /// The kernel tells of a new MAC before it hands up the frame. `fresh` says whether netlink
    /// was read since the frame was received; if it was not and the MAC is unknown, it is read
    /// now: once for a batch of frames at most. What was lost on the way is asked of the kernel.
    pub fn port_of(&mut self, link: LinkId, mac: Mac, fresh: &mut bool) -> PortInfo {
        let Some(served) = self.served.get(&link) else { return PortInfo::default() };
        let (role, is_bridge, limits) = (served.role, served.is_bridge, served.limits);
        let port = if is_bridge {
            let mut port = self.monitor.port_of(link, mac);
            if port.is_none() && !*fresh {
                *fresh = true;
                // An error shows again in `update`, which says so.
                let _ = self.monitor.poll(&mut self.events);
                port = self.monitor.port_of(link, mac);
            }
            port.or_else(|| self.monitor.look_up(link, mac))
        } else {
            Some(link)
        };
        let (trusted, trunk) = match (port, role) {
            (Some(port), Role::Network(id)) => self.flags_of(port, id),
            _ => (false, false),
        };
        let access = match port {
            _ if trunk || !is_bridge => None,
            Some(port) => Some(Party::Port(port)),
            None => Some(Party::Unknown(link)),
        };
        PortInfo { port, trusted, trunk, access, limits }
    }

    /// The limits of what is relayed: its network is not known before it is read, so the most
    /// generous of all networks.
    pub fn relay_limits(&self) -> Limits {
        self.relay_limits
    }

    /// Whether what comes in by `link` for `dst` is for this host: an address of any of its
    /// interfaces, or a broadcast.
    pub fn is_for_us(&self, link: LinkId, dst: Ipv4Addr) -> bool {
        let broadcast = |link: &Link| link.addrs.iter().any(|a| a.prefix.range().last == dst);
        dst.is_broadcast()
            || self.monitor.link(link).is_some_and(|link| link.has(dst) || broadcast(link))
            || self.monitor.links().any(|link| link.has(dst))
    }

    /// Whether some network believes a relay at this address.
    pub fn believes(&self, relay: IpAddr) -> bool {
        self.policy.networks.iter().any(|network| match relay {
            IpAddr::V4(relay) => network.believes(relay),
            IpAddr::V6(relay) => network.believes6(relay),
        })
    }

    /// The name of an interface or port.
    pub fn name(&self, id: LinkId) -> Option<&str> {
        self.monitor.link(id).map(|link| &*link.name)
    }

    /// The name of the port of a bridge behind which somebody was heard, where netlink said so.
    pub fn port_name(&self, bridge: LinkId, mac: Mac) -> Option<&str> {
        self.name(self.monitor.port_of(bridge, mac)?)
    }

    fn flags_of(&mut self, port: LinkId, network: NetworkId) -> (bool, bool) {
        if let Some(flags) = self.flags.get(&port) {
            return *flags;
        }
        let network = self.policy.networks.iter().find(|n| n.id == network);
        let flags = match (network, self.monitor.link(port)) {
            (Some(network), Some(link)) => (
                matches_any(&network.trusted_ports, &link.name),
                matches_any(&network.trunk_ports, &link.name),
            ),
            _ => (false, false),
        };
        self.flags.insert(port, flags);
        flags
    }

    /// Brings one interface in step with the policy.
    fn sync(&mut self, id: LinkId, poller: &Poller, tell: &mut impl FnMut(Input<'static>)) {
        let link = self.monitor.link(id).filter(|link| link.is_up);
        let role = link.and_then(|link| role_of(&self.policy, link));
        let was = self.served.get(&id).map(|served| served.role);
        if was.is_some() && role.map(is_network) != was.map(is_network) {
            self.close(id, tell);
        } else if was != role && was.is_some() {
            // The same sockets for another network.
            tell(Input::LinkDown(id));
        }
        let (Some(link), Some(role)) = (self.monitor.link(id), role) else {
            return self.explain(id);
        };
        let served = self.served.entry(id).or_insert_with(|| {
            tracing::info!(interface = %link.name, "serving");
            Served::new(link, role)
        });
        (served.name, served.mac, served.role) = (link.name.clone(), link.mac, role);
        served.is_bridge = link.is_bridge;
        served.has_v6 = has_v6(&self.policy, role);
        served.limits = limits_of(&self.policy, role, self.mode);
        if link.is_bridge
            && let Err(e) = self.monitor.watch(id)
        {
            tracing::warn!(error = %e, "cannot list the forwarding table; trying again");
        }
        self.open_sockets(id, poller, "");
        self.doubt_router(id);
        self.say_up(id, tell);
    }

    /// Warns once where hosts are told to send us what the kernel then drops.
    fn doubt_router(&mut self, id: LinkId) {
        let Some(served) = self.served.get(&id) else { return };
        if self.mode != Mode::Serve || !says_router(&self.policy, served.role) {
            self.routers.remove(&id);
        } else if self.routers.insert(id)
            && let Some(why) = forwarding::obstacle(&served.name)
        {
            tracing::warn!(
                interface = %served.name,
                why,
                "hosts are told that this is their router, and it forwards no IPv6 for them"
            );
        }
    }

    /// Says why an interface that the policy names is not served.
    fn explain(&self, id: LinkId) {
        let Some(link) = self.monitor.link(id) else { return };
        if self.policy.network_on(&link.name).is_some() {
            let why = if link.is_ethernet { "it is down" } else { "it is no Ethernet interface" };
            tracing::warn!(interface = %link.name, why, "not served");
        }
    }

    fn close(&mut self, id: LinkId, tell: &mut impl FnMut(Input<'static>)) {
        self.problems.remove(&id);
        self.routers.remove(&id);
        self.monitor.unwatch(id);
        if let Some(served) = self.served.remove(&id) {
            tracing::info!(interface = %served.name, "no longer serving");
            if is_network(served.role) {
                tell(Input::LinkDown(id));
            }
        }
    }

    /// `known` was said already.
    fn open_sockets(&mut self, id: LinkId, poller: &Poller, known: &str) {
        let Some(served) = self.served.get_mut(&id) else { return };
        if let Err(problem) = served.open(self.mode, poller) {
            if problem != known {
                tracing::warn!("{problem}; trying again every second");
            }
            self.problems.insert(id, problem);
        }
    }

    fn say_up(&self, id: LinkId, tell: &mut impl FnMut(Input<'static>)) {
        let (Some(served), Some(link)) = (self.served.get(&id), self.monitor.link(id)) else {
            return;
        };
        if let Role::Network(network) = served.role {
            tell(Input::LinkUp(LinkUp {
                link: id,
                name: link.name.clone(),
                network,
                mac: link.mac,
                addrs: link.addrs.iter().map(|a| (a.addr, a.prefix)).collect(),
                addrs6: link
                    .addrs6
                    .iter()
                    .map(|a| a.addr)
                    .filter(|a| !a.is_unicast_link_local())
                    .collect(),
            }));
        }
    }
}

/// Whether DHCPv6 or a router solicitation is to be heard on an interface of that role.
fn has_v6(policy: &Policy, role: Role) -> bool {
    policy.networks.iter().any(|n| match role {
        Role::Network(id) => n.id == id && (!n.subnets6.is_empty() || n.v6.ra.is_some()),
        Role::Relay => !n.v6.relays6.is_empty(),
    }) || policy.networks.iter().any(|n| !n.v6.relays6.is_empty())
}

/// Whether hosts on an interface of that role are told that this host is a router.
fn says_router(policy: &Policy, role: Role) -> bool {
    let Role::Network(id) = role else { return false };
    let ra = policy.networks.iter().find(|n| n.id == id).and_then(|n| n.v6.ra.as_ref());
    ra.is_some_and(|ra| ra.router)
}

/// The limits of an interface of that role. An observer drops nothing that it hears.
fn limits_of(policy: &Policy, role: Role, mode: Mode) -> Limits {
    let of = policy.networks.iter().find(|n| role == Role::Network(n.id)).map(|n| n.limits);
    of.filter(|_| mode == Mode::Serve).unwrap_or(Limits::OFF)
}

/// The most generous limits of all networks.
fn relay_limits(policy: &Policy, mode: Mode) -> Limits {
    let all = policy.networks.iter().map(|n| n.limits);
    all.reduce(Limits::max).filter(|_| mode == Mode::Serve).unwrap_or(Limits::OFF)
}

/// What the policy wants of an interface; a network wins over `relay_interfaces`.
fn role_of(policy: &Policy, link: &Link) -> Option<Role> {
    let network = policy.network_on(&link.name).filter(|_| link.is_ethernet);
    let relay = || matches_any(&policy.relay_interfaces, &link.name).then_some(Role::Relay);
    network.map(|n| Role::Network(n.id)).or_else(relay)
}

fn matches_any(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name.as_bytes()))
}
