//! Anti-spoofing: what guests may say at their ports, told to the agent of this host.
//!
//! A thread of its own, beside the packets. At the start it reads all leases; then it follows what
//! becomes of them, and looks once a second which ports there are. The agent is told differences;
//! all of it under a new generation where something was lost, or the agent was.

mod model;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::agent::client::{AgentError, Client};
use crate::agent::ports::{Guarded, Order};
use crate::base::Timestamp;
use crate::config::Policy;
use crate::config::policy::Pattern;
use crate::engine::Engine;
use crate::engine::effects::{Event, EventKind};
use crate::net::LinkMonitor;

use super::work::{JobError, Jobs};
use model::Guests;
use read::{Held, Segment};

/// How often ports are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the bridges are: one may come late, or be made anew.
const BRIDGES_EVERY: Duration = Duration::from_secs(5);
/// Words that may wait; when there are more, all is read again.
const WORDS_MAX: usize = 8_192;
/// Words that are taken at once.
const BATCH_MAX: usize = 1_024;
/// About how many bytes of ports one order has.
const ORDER_BYTES: usize = 32 << 10;

/// The clock, as the daemon reads it: generations rise with it.
type Now = Box<dyn Fn() -> Timestamp + Send>;

/// Tells the thread what became of leases.
#[derive(Clone, Debug)]
pub(super) struct Ear {
    words: SyncSender<Held>,
    lost: Arc<AtomicBool>,
}

impl Ear {
    /// Something happened. Never waits.
    pub(super) fn event(&self, event: &Event) {
        let held = match &event.kind {
            EventKind::Granted(lease)
            | EventKind::Renewed(lease)
            | EventKind::Adopted(lease)
            | EventKind::Imported(lease) => Held::by(lease),
            EventKind::Released(lease) | EventKind::Expired(lease) | EventKind::Declined(lease) => {
                Held::ended(lease)
            }
            EventKind::Standby(..) => return self.lost(),
            _ => None,
        };
        if held.is_some_and(|held| self.words.try_send(held).is_err()) {
            self.lost();
        }
    }

    /// Something was lost, or the policy is another: all is read again.
    pub(super) fn lost(&self) {
        self.lost.store(true, Ordering::Release);
    }
}

/// A bridge that is guarded.
struct Bridge {
    segment: Segment,
    guests: Guests,
    /// As it was told last.
    servers: Vec<IpAddr>,
    /// It was told wholly since.
    complete: bool,
}

struct Guard {
    jobs: Jobs<Engine>,
    socket: PathBuf,
    now: Now,
    monitor: LinkMonitor,
    client: Option<Client>,
    generation: u64,
    /// By what the agent calls the network.
    bridges: BTreeMap<Box<str>, Bridge>,
    /// What the agent may guard yet though it is not to.
    strangers: BTreeSet<Box<str>>,
    /// Whether an agent was looked for.
    asked: bool,
    /// So much is said once.
    troubled: bool,
}

/// Starts the thread, unless nothing is served; it ends when its ears are gone.
pub(super) fn start(
    serves: bool,
    jobs: Jobs<Engine>,
    policy: &Policy,
    now: impl Fn() -> Timestamp + Send + 'static,
) -> std::io::Result<Option<Ear>> {
    if !serves {
        return Ok(None);
    }
    let (words, heard) = sync_channel(WORDS_MAX);
    let lost = Arc::new(AtomicBool::new(true));
    let guard = Guard {
        jobs,
        socket: policy.server.agent_socket.clone(),
        now: Box::new(now),
        monitor: LinkMonitor::open()?,
        client: None,
        generation: 0,
        bridges: BTreeMap::new(),
        strangers: BTreeSet::new(),
        asked: false,
        troubled: false,
    };
    let asked = lost.clone();
    let run = move || guard.run(&heard, &asked);
    std::thread::Builder::new().name("guard".into()).spawn(run)?;
    Ok(Some(Ear { words, lost }))
}

impl Guard {
    fn run(mut self, heard: &Receiver<Held>, lost: &AtomicBool) {
        let (mut looked, mut compared): (Option<Instant>, _) = (None, Instant::now());
        loop {
            if compared.elapsed() >= BRIDGES_EVERY {
                compared = Instant::now();
                if self.is_outdated() {
                    lost.store(true, Ordering::Release);
                }
            }
            if lost.swap(false, Ordering::AcqRel)
                && let Err(error) = self.read()
            {
                if error == JobError::Stopped {
                    return;
                }
                lost.store(true, Ordering::Release);
            }
            if looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
                looked = Some(Instant::now());
                self.look();
            }
            self.tell();
            let mut told = heard.recv_timeout(LOOK_EVERY);
            for _ in 0..BATCH_MAX {
                match told {
                    Ok(held) => self.take(held),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                told = heard.recv_timeout(Duration::ZERO);
            }
        }
    }

    /// Whether other bridges are to be guarded, or otherwise.
    fn is_outdated(&self) -> bool {
        let Ok(segments) = read::segments(&self.jobs) else { return false };
        let known = |segment: &Segment| self.bridges.values().any(|of| of.segment == *segment);
        segments.len() != self.bridges.len() || !segments.iter().all(known)
    }

    /// Reads what there is, and begins a new generation.
    fn read(&mut self) -> Result<(), JobError> {
        let segments = read::segments(&self.jobs)?;
        self.strangers.extend(std::mem::take(&mut self.bridges).into_keys());
        // The agent is asked again where guests were.
        self.client = None;
        if segments.is_empty() {
            self.begin();
            return Ok(());
        }
        let (held, mut shared) = (read::held(&self.jobs)?, read::shared(&self.jobs)?);
        for segment in segments {
            let mut guests = Guests::new(segment.policy.any6);
            if let Err(error) = self.monitor.watch(segment.link) {
                tracing::warn!(bridge = %segment.bridge, %error, "its ports are not known");
            }
            for of in held.iter().filter(|of| of.network == segment.id) {
                guests.set_holder(of.addr, of.mac);
            }
            guests.set_shared(shared.remove(&segment.id).unwrap_or_default());
            let name: Box<str> = format!("{}/{}", segment.network, segment.bridge).into();
            self.strangers.remove(&name);
            self.bridges.insert(name, Bridge { segment, guests, servers: vec![], complete: false });
        }
        self.begin();
        Ok(())
    }

    /// Begins a generation: all is told again.
    fn begin(&mut self) {
        self.generation = (self.now)().0.max(self.generation + 1);
        for bridge in self.bridges.values_mut() {
            bridge.complete = false;
            bridge.guests.tell_all();
        }
    }

    fn take(&mut self, held: Held) {
        for bridge in self.bridges.values_mut().filter(|of| of.segment.id == held.network) {
            bridge.guests.set_holder(held.addr, held.mac);
            let port = held.port.and_then(|port| self.monitor.link(port));
            if let (Some(mac), Some(port)) = (held.mac, port) {
                bridge.guests.place(mac, &port.name);
            }
        }
    }

    /// Which ports there are, and who is behind them.
    fn look(&mut self) {
        if self.bridges.is_empty() {
            return;
        }
        if let Err(error) = self.monitor.poll(&mut Vec::new()) {
            return tracing::debug!(%error, "links");
        }
        for bridge in self.bridges.values_mut() {
            let Segment { link, policy, never, .. } = &bridge.segment;
            let is_guests = |name: &str| any(&policy.ports, name) && !any(never, name);
            let ports = self.monitor.links().filter(|of| of.master == Some(*link));
            let names = ports.filter(|of| is_guests(&of.name)).map(|of| of.name.as_ref().into());
            bridge.guests.set_ports(names.collect());
            let unplaced: Vec<_> = bridge.guests.unplaced().collect();
            for mac in unplaced {
                let port = self.monitor.port_of(*link, mac);
                if let Some(port) = port.and_then(|port| self.monitor.link(port)) {
                    bridge.guests.place(mac, &port.name);
                }
            }
            let servers = servers(&self.monitor, &bridge.segment);
            if servers != bridge.servers {
                bridge.servers = servers;
                bridge.complete = false;
            }
        }
    }

    fn tell(&mut self) {
        let is_idle = self.bridges.is_empty() && self.strangers.is_empty();
        // An earlier run may have had ports guarded that are not to be: an agent that is there is
        // asked once.
        let was_asked = std::mem::replace(&mut self.asked, true);
        if is_idle && (was_asked || !self.socket.exists()) {
            return;
        }
        match self.try_tell() {
            Ok(()) => self.troubled = false,
            Err(error) => {
                if !std::mem::replace(&mut self.troubled, true) {
                    tracing::error!(%error, "guests are not guarded as they should be; tried again");
                }
                self.client = None;
                self.begin();
            }
        }
    }

    fn try_tell(&mut self) -> Result<(), AgentError> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => {
                let mut client = Client::connect(&self.socket)?;
                for (network, of) in client.guarded()? {
                    match self.bridges.get_mut(&network) {
                        // Who was not heard for long is where it was before.
                        Some(known) => {
                            of.macs.iter().for_each(|m| known.guests.place(*m, &of.port))
                        }
                        None => {
                            self.strangers.insert(network);
                        }
                    }
                }
                client
            }
        };
        while let Some(network) = self.strangers.first().cloned() {
            let generation = self.generation.max(1);
            client.guard(&Order { complete: true, ..order(network.clone(), generation) })?;
            self.strangers.remove(&network);
        }
        for (name, bridge) in &mut self.bridges {
            bridge.tell(name, self.generation, &mut client)?;
        }
        self.client = Some(client);
        Ok(())
    }
}

impl Bridge {
    fn tell(&mut self, name: &str, generation: u64, client: &mut Client) -> Result<(), AgentError> {
        let (ports, freed) = self.guests.take_changes();
        if ports.is_empty() && freed.is_empty() && self.complete {
            return Ok(());
        }
        let plain = Order {
            servers: self.servers.clone(),
            dhcp_per_s: Some(self.segment.policy.dhcp_per_s),
            ..order(name.into(), generation)
        };
        for ports in parts(ports) {
            client.guard(&Order { ports, ..plain.clone() })?;
        }
        if !freed.is_empty() || !self.complete {
            client.guard(&Order { freed, complete: !self.complete, ..plain })?;
        }
        self.complete = true;
        Ok(())
    }
}

fn order(network: Box<str>, generation: u64) -> Order {
    Order {
        network,
        generation,
        servers: vec![],
        dhcp_per_s: None,
        ports: vec![],
        freed: vec![],
        complete: false,
    }
}

/// Ports in orders of some length each: a line of the agent's has a bound.
fn parts(ports: Vec<Guarded>) -> Vec<Vec<Guarded>> {
    let (mut parts, mut bytes) = (vec![], ORDER_BYTES);
    for port in ports {
        let more = 128 + 20 * port.macs.len() + 42 * port.addresses.len();
        if bytes + more > ORDER_BYTES {
            parts.push(vec![]);
            bytes = 0;
        }
        bytes += more;
        parts.last_mut().into_iter().for_each(|part: &mut Vec<Guarded>| part.push(port.clone()));
    }
    parts
}

fn any(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name.as_bytes()))
}

/// The addresses of this server on the bridge, and those of the policy.
fn servers(monitor: &LinkMonitor, segment: &Segment) -> Vec<IpAddr> {
    let link = monitor.link(segment.link);
    let v4 = link.into_iter().flat_map(|link| &link.addrs).map(|own| IpAddr::from(own.addr));
    let v6 = link.into_iter().flat_map(|link| &link.addrs6).map(|own| IpAddr::from(own.addr));
    let all: BTreeSet<IpAddr> =
        v4.chain(v6).chain(segment.policy.servers.iter().copied()).collect();
    all.into_iter().take(crate::agent::ports::SERVERS_MAX).collect()
}
