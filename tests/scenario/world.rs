//! The engine in a world of text: clients, links, a store and a clock.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use foreshadow::base::{LinkId, Mac, NetworkId, Prefix4, Resource, Span, Timestamp};
use foreshadow::config::{self, Policy};
use foreshadow::engine::effects::{Event, LinkUp, Neighbour, Probe};
use foreshadow::engine::{Arrival, Destination, Effects, Engine, Input};
use foreshadow::lease::{Change, Lease, Seq};
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::{MessageType, options as opt};

use super::check;

/// What one step brought about.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) replies: Vec<(Destination, Vec<u8>)>,
    pub(crate) probes: Vec<Probe>,
    pub(crate) events: Vec<Event>,
}

#[derive(PartialEq)]
enum StoreMode {
    Works,
    Fails,
    Holds,
}

pub(crate) struct World {
    engine: Engine,
    policies: Vec<Arc<Policy>>,
    policy: Arc<Policy>,
    start: Timestamp,
    now: Timestamp,
    store: StoreMode,
    disk: BTreeMap<(NetworkId, Resource), Lease>,
    held: Vec<(Seq, Vec<Change>, Outcome)>,
    links: Vec<LinkUp>,
    last: Seq,
}

pub(crate) fn play(text: &str) -> Result<(), String> {
    let (toml, steps) = text.split_once("\n---\n").ok_or("no line `---`")?;
    let mut policies = Vec::new();
    for toml in toml.split("\n===\n") {
        let loaded = config::check(toml, "scenario").map_err(|f| f.render(false))?;
        policies.push(Arc::new(loaded.policy));
    }
    let mut world = World::new(policies, steps)?;
    for line in steps.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with("link ") {
            continue;
        }
        world.step(line).map_err(|e| format!("`{line}`: {e}"))?;
        world.check_invariants().map_err(|e| format!("after `{line}`: {e}"))?;
    }
    Ok(())
}

pub(crate) fn addr(text: &str) -> Result<Ipv4Addr, String> {
    let full = text.strip_prefix('.').map(|last| format!("10.0.0.{last}"));
    full.as_deref().unwrap_or(text).parse().map_err(|_| format!("no address: {text}"))
}

pub(crate) fn span(text: &str) -> Result<Span, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or(format!("no unit: {text}"))?;
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().map_err(|_| format!("no time: {text}"))?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("no time: {text}")),
    };
    Ok(Span(number * ms))
}

pub(crate) fn bytes(text: &str) -> Result<Vec<u8>, String> {
    match text.strip_prefix("0x") {
        Some(hex) => foreshadow::base::addr::parse_hex(hex).ok_or(format!("no hex: {text}")),
        None => Ok(text.as_bytes().to_vec()),
    }
}

fn mac(text: &str) -> Result<Mac, String> {
    let n: u8 =
        text.strip_prefix('c').and_then(|n| n.parse().ok()).ok_or(format!("who? {text}"))?;
    Ok(Mac([2, 0, 0, 0, 0, n]))
}

impl World {
    fn new(policies: Vec<Arc<Policy>>, steps: &str) -> Result<World, String> {
        let policy = policies[0].clone();
        let start = Timestamp(1_700_000_000_000);
        let mut world = World {
            engine: Engine::new(policy.clone(), Vec::new(), Seq(0)),
            start,
            now: start,
            store: StoreMode::Works,
            disk: BTreeMap::new(),
            held: Vec::new(),
            links: Vec::new(),
            last: Seq(0),
            policy,
            policies,
        };
        let given: Vec<&str> = steps.lines().filter_map(|l| l.strip_prefix("link ")).collect();
        let first = world.policy.networks.first().map(|n| n.name.to_string()).unwrap_or_default();
        let lines = match given.is_empty() {
            true => vec![format!("1 {first} 10.0.0.1/24")],
            false => given.into_iter().map(String::from).collect(),
        };
        for line in lines {
            world.links.push(link(&line)?);
        }
        world.links_up();
        Ok(world)
    }

    fn links_up(&mut self) {
        for up in self.links.clone() {
            self.engine.handle(self.now, Input::LinkUp(up), &mut Effects::default());
        }
    }

    fn step(&mut self, line: &str) -> Result<(), String> {
        let (what, expected) = line.split_once("->").unwrap_or((line, ""));
        let mut words = what.split_whitespace();
        let (time, who) = (words.next().ok_or("no time")?, words.next().ok_or("nobody")?);
        let mut outcome = Outcome::default();
        self.advance(self.start + span(time)?, &mut outcome);
        let words: Vec<&str> = words.collect();
        match who {
            "-" => self.happen(&words, &mut outcome)?,
            client => self.ask(client, &words, &mut outcome)?,
        }
        check::outcome(&outcome, expected.trim(), &self.engine)
    }

    /// Runs the timers that are due before `until`.
    fn advance(&mut self, until: Timestamp, outcome: &mut Outcome) {
        while let Some(due) = self.engine.next_wakeup().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.input(Input::Tick, outcome);
        }
        self.now = self.now.max(until);
    }

    fn input(&mut self, input: Input<'_>, outcome: &mut Outcome) {
        let mut fx = Effects::default();
        self.engine.handle(self.now, input, &mut fx);
        self.finish(fx, outcome);
    }

    /// What the driver does with the effects of a batch.
    fn finish(&mut self, fx: Effects, outcome: &mut Outcome) {
        let frames = |replies: &[foreshadow::engine::Reply]| {
            replies.iter().map(|r| (r.to, fx.bytes[r.payload.clone()].to_vec())).collect::<Vec<_>>()
        };
        outcome.replies.extend(frames(&fx.send_now));
        outcome.probes.extend(&fx.probes);
        outcome.events.extend(fx.events.iter().cloned());
        let after = frames(&fx.send_after);
        let Some(seq) = self.engine.end_batch() else {
            assert!(fx.changes.is_empty() && after.is_empty(), "changes without a batch");
            return;
        };
        self.last = seq;
        match self.store {
            StoreMode::Works => self.commit(seq, fx.changes, after, outcome),
            StoreMode::Fails => self.input(Input::CommitFailed(seq), outcome),
            StoreMode::Holds => {
                let later = Outcome { replies: after, ..Outcome::default() };
                self.held.push((seq, fx.changes, later));
            }
        }
    }

    fn commit(
        &mut self,
        seq: Seq,
        changes: Vec<Change>,
        replies: Vec<(Destination, Vec<u8>)>,
        outcome: &mut Outcome,
    ) {
        for change in changes {
            match change {
                Change::Put(lease) => {
                    self.disk.insert((lease.network, lease.resource), lease);
                }
                Change::Remove(network, resource) => {
                    self.disk.remove(&(network, resource));
                }
                Change::Meta(..) => {}
            }
        }
        outcome.replies.extend(replies);
        self.input(Input::Committed(seq), outcome);
    }

    fn happen(&mut self, words: &[&str], outcome: &mut Outcome) -> Result<(), String> {
        match words {
            ["wait"] => {}
            ["arp", who, ip, rest @ ..] => {
                let (sender, ip) = (mac(who)?, addr(ip)?);
                let given = |key: &str| rest.iter().find_map(|w| w.strip_prefix(key));
                let frame_source = given("from=").map_or(Ok(sender), mac)?;
                let port = given("port=").and_then(|p| p.parse().ok()).map(LinkId);
                let seen = Neighbour { addr: ip.into(), mac: sender, frame_source, port };
                self.input(Input::Neighbour(LinkId(1), seen), outcome);
            }
            ["policy", number] => {
                let at = number.parse::<usize>().map_err(|_| "policy N")?;
                self.policy = self.policies.get(at - 1).ok_or("no such policy")?.clone();
                self.engine.set_policy(self.policy.clone());
            }
            ["relayed", length] => {
                let length = length.parse::<usize>().map_err(|_| "relayed BYTES")?;
                let mut packet = RequestV4::bootp(mac("c1")?).giaddr(addr(".1")?).build();
                packet.truncate(length);
                let arrival = self.arrival(mac("c1")?, addr(".1")?);
                self.input(Input::Packet4(arrival, &packet), outcome);
            }
            ["name", ip, wanted] => {
                let key = (self.policy.networks[0].id, addr(ip)?.into());
                let lease = self.engine.leases().get(key.0, key.1).ok_or("no binding")?;
                let name = lease.details.hostname.as_deref().unwrap_or("none");
                if name != *wanted {
                    return Err(format!("it is called {name}"));
                }
            }
            ["store", "fails"] => self.store = StoreMode::Fails,
            ["store", "holds"] => self.store = StoreMode::Holds,
            ["store", "works"] => {
                self.store = StoreMode::Works;
                self.input(Input::StoreReady, outcome);
            }
            ["commit"] => {
                for (seq, changes, later) in std::mem::take(&mut self.held) {
                    self.commit(seq, changes, later.replies, outcome);
                }
            }
            ["lose"] => {
                if let Some((seq, ..)) = self.held.first() {
                    let seq = *seq;
                    self.held.clear();
                    self.input(Input::CommitFailed(seq), outcome);
                }
            }
            ["restart"] => {
                let leases = self.disk.values().cloned().collect();
                self.engine = Engine::new(self.policy.clone(), leases, self.last);
                self.held.clear();
                self.links_up();
            }
            ["forget", ip] => {
                let mut fx = Effects::default();
                let network = self.policy.networks[0].id;
                self.engine.release(self.now, network, addr(ip)?.into(), &mut fx);
                self.finish(fx, outcome);
            }
            ["heard", server, ip] => {
                let payload = RequestV4::new(MessageType::Offer, mac("c1")?)
                    .op(2)
                    .addr(opt::SERVER_ID, addr(server)?)
                    .addr(opt::REQUESTED_IP, addr(ip)?)
                    .build();
                let arrival = Arrival { dst_port: 68, ..self.arrival(mac("c99")?, addr(server)?) };
                self.input(Input::Packet4(arrival, &payload), outcome);
            }
            _ => return Err(format!("what is {words:?}?")),
        }
        Ok(())
    }

    fn arrival(&self, src_mac: Mac, src: Ipv4Addr) -> Arrival {
        Arrival {
            link: LinkId(1),
            port: None,
            trusted: false,
            trunk: false,
            src_mac: Some(src_mac),
            src: SocketAddrV4::new(src, 68),
            dst: Ipv4Addr::BROADCAST,
            dst_port: 67,
        }
    }

    fn ask(&mut self, who: &str, words: &[&str], outcome: &mut Outcome) -> Result<(), String> {
        let (verb, mut rest) = words.split_first().ok_or("no verb")?;
        let mut target = None;
        if let Some((first, others)) = rest.split_first()
            && !first.contains('=')
            && (first.contains('.') || *verb == "force")
        {
            target = Some(*first);
            rest = others;
        }
        let source = rest.iter().find_map(|w| w.strip_prefix("mac=")).unwrap_or(who);
        let mac = mac(source)?;
        let mut arrival = self.arrival(mac, Ipv4Addr::UNSPECIFIED);
        let mut packet = request(verb, target, mac, rest, &mut arrival)?.xid(self.now.0 as u32);
        for word in rest {
            packet = argument(packet, word, &mut arrival)?;
        }
        self.input(Input::Packet4(arrival, &packet.build()), outcome);
        Ok(())
    }

    /// What is durable is what the engine believes, but for what it is still writing.
    fn check_invariants(&self) -> Result<(), String> {
        for lease in self.engine.leases().iter() {
            let key = (lease.network, lease.resource);
            let pending = self.engine.leases().is_pending(key.0, key.1);
            if !pending && self.disk.get(&key).is_none_or(|stored| !same(stored, lease)) {
                return Err(format!("{} is not on disk as it is in memory", lease.resource));
            }
        }
        let known = |key: &(NetworkId, Resource)| {
            self.engine.leases().get(key.0, key.1).is_some()
                || self.engine.leases().is_pending(key.0, key.1)
        };
        match self.disk.keys().find(|key| !known(key)) {
            Some((_, resource)) => Err(format!("{resource} is on disk and not in memory")),
            None => Ok(()),
        }
    }
}

fn same(stored: &Lease, held: &Lease) -> bool {
    *stored == Lease { port: stored.port, ..held.clone() }
}

fn link(line: &str) -> Result<LinkUp, String> {
    let mut words = line.split_whitespace();
    let index: u32 = words.next().and_then(|w| w.parse().ok()).ok_or("link: no index")?;
    let network = NetworkId::of(words.next().ok_or("link: no network")?);
    let mut addrs = Vec::new();
    for word in words {
        let (ip, len) = word.split_once('/').ok_or("link: ADDR/LEN")?;
        let ip = addr(ip)?;
        let len = len.parse().map_err(|_| "link: ADDR/LEN")?;
        addrs.push((ip, Prefix4::new(ip, len).ok_or("link: ADDR/LEN")?));
    }
    let mac = Mac([2, 0xff, 0, 0, 0, index as u8]);
    Ok(LinkUp {
        link: LinkId(index),
        name: format!("br{index}").into(),
        network,
        mac,
        addrs,
        addrs6: Vec::new(),
    })
}

fn request(
    verb: &str,
    target: Option<&str>,
    mac: Mac,
    rest: &[&str],
    arrival: &mut Arrival,
) -> Result<RequestV4, String> {
    let ip = || addr(target.ok_or("no address")?);
    let server = match rest.iter().find_map(|w| w.strip_prefix("server=")) {
        Some("none") => None,
        Some(text) => Some(addr(text)?),
        None => Some(Ipv4Addr::new(10, 0, 0, 1)),
    };
    let named = |r: RequestV4| match server {
        Some(id) => r.addr(opt::SERVER_ID, id),
        None => r,
    };
    use MessageType::*;
    Ok(match verb {
        "discover" => RequestV4::new(Discover, mac),
        "bootp" => RequestV4::bootp(mac),
        "select" => named(RequestV4::new(Request, mac)).addr(opt::REQUESTED_IP, ip()?),
        "reboot" => RequestV4::new(Request, mac).addr(opt::REQUESTED_IP, ip()?),
        "decline" => named(RequestV4::new(Decline, mac)).addr(opt::REQUESTED_IP, ip()?),
        "renew" | "rebind" | "release" | "inform" => {
            arrival.src = SocketAddrV4::new(ip()?, 68);
            if matches!(verb, "renew" | "release") {
                arrival.dst = server.unwrap_or(Ipv4Addr::new(10, 0, 0, 1));
            }
            let kind = match verb {
                "release" => Release,
                "inform" => Inform,
                _ => Request,
            };
            let message = RequestV4::new(kind, mac).ciaddr(ip()?);
            if verb == "release" { named(message) } else { message }
        }
        "force" => {
            let kind: u8 = target.and_then(|t| t.parse().ok()).ok_or("no type")?;
            RequestV4::bootp(mac).option(opt::MESSAGE_TYPE, &[kind])
        }
        _ => return Err(format!("what is {verb}?")),
    })
}

fn argument(packet: RequestV4, word: &str, arrival: &mut Arrival) -> Result<RequestV4, String> {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    let number = || value.parse::<u32>().map_err(|_| format!("no number: {word}"));
    Ok(match key {
        "mac" | "server" => packet,
        "eth" => {
            arrival.src_mac = Some(mac(value)?);
            packet
        }
        "want" => packet.addr(opt::REQUESTED_IP, addr(value)?),
        "id" => packet.option(opt::CLIENT_ID, &bytes(value)?),
        "relay" => {
            let giaddr = addr(value)?;
            arrival.src = SocketAddrV4::new(giaddr, 67);
            arrival.dst = Ipv4Addr::new(10, 0, 0, 1);
            arrival.src_mac = None;
            packet.giaddr(giaddr).hops(1)
        }
        "from" => {
            arrival.src.set_port(number()? as u16);
            packet
        }
        "src" => {
            arrival.src.set_ip(addr(value)?);
            packet
        }
        "info" => packet.relay_info(&bytes(value)?),
        "on" => {
            arrival.link = LinkId(number()?);
            packet
        }
        "port" => {
            arrival.port = Some(LinkId(number()?));
            packet
        }
        "trusted" => {
            arrival.trusted = true;
            packet
        }
        "trunk" => {
            arrival.trunk = true;
            packet
        }
        "vendor" => packet.option(opt::VENDOR_CLASS, value.as_bytes()),
        "user" => packet.option(opt::USER_CLASS, value.as_bytes()),
        "arch" => packet.option(opt::CLIENT_ARCH, &opt::u16(number()? as u16)),
        "host" => packet.option(opt::HOST_NAME, &bytes(value)?),
        "fqdn" => packet.option(opt::CLIENT_FQDN, &[&[0, 0, 0], value.as_bytes()].concat()),
        "asks" => packet.option(opt::LEASE_TIME, &opt::u32(number()?)),
        "prl" => {
            let codes: Result<Vec<u8>, _> = value.split(',').map(str::parse).collect();
            packet.option(opt::PARAMETER_LIST, &codes.map_err(|_| "prl=1,3,6")?)
        }
        "max" => packet.option(opt::MAX_MESSAGE_SIZE, &opt::u16(number()? as u16)),
        "bcast" => packet.flags(0x8000),
        "rapid" => packet.option(opt::RAPID_COMMIT, &[]),
        "autoconf" => packet.option(opt::AUTO_CONFIGURE, &[1]),
        "link" => packet.addr(opt::SUBNET_SELECTION, addr(value)?),
        "opt" => {
            let (code, data) = value.split_once(':').ok_or("opt=CODE:0xHEX")?;
            packet.option(code.parse().map_err(|_| "opt=CODE:0xHEX")?, &bytes(data)?)
        }
        "hlen" => packet.chaddr(1, number()? as u8, &[9; 16]),
        "htype" => packet.chaddr(number()? as u8, 6, &[2, 0, 0, 0, 0, 1]),
        _ => return Err(format!("what is {word}?")),
    })
}
