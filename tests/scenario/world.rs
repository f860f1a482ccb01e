//! The engine in a world of text: clients, links, a store and a clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use foreshadow::base::{LinkId, Mac, NetworkId, Prefix4, Resource, Timestamp};
use foreshadow::config::{self, Policy};
use foreshadow::engine::effects::{Event, LinkUp, Probe};
use foreshadow::engine::{Destination, Effects, Engine, Input};
use foreshadow::lease::{Change, Lease, Seq};

use super::words::{addr, addr6, resource, span};
use super::{check, directory, world6};

/// What one step brought about.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) replies: Vec<(Destination, Vec<u8>)>,
    pub(crate) probes: Vec<Probe>,
    pub(crate) events: Vec<Event>,
    /// What an orchestrator was told.
    pub(crate) told: Option<String>,
}

#[derive(PartialEq)]
enum StoreMode {
    Works,
    Fails,
    Holds,
}

pub(crate) struct World {
    pub(super) engine: Engine,
    policies: Vec<Arc<Policy>>,
    pub(super) policy: Arc<Policy>,
    start: Timestamp,
    pub(super) now: Timestamp,
    store: StoreMode,
    pub(super) disk: BTreeMap<(NetworkId, Resource), Lease>,
    pub(super) facts: BTreeMap<Box<str>, Box<[u8]>>,
    held: Vec<(Seq, Vec<Change>, Outcome)>,
    pub(super) links: Vec<LinkUp>,
    pub(super) last: Seq,
    /// The policy has changed since the pools were made.
    pub(super) reloaded: bool,
    /// The first answer that was wrong whatever the line expects.
    pub(super) fault: Option<String>,
}

/// Who this server is to DHCPv6 clients.
pub(crate) const DUID: &[u8] = b"\0\x04our-own-duid-1234";

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
            facts: BTreeMap::new(),
            held: Vec::new(),
            links: Vec::new(),
            last: Seq(0),
            reloaded: false,
            fault: None,
            policy,
            policies,
        };
        let given: Vec<&str> = steps.lines().filter_map(|l| l.strip_prefix("link ")).collect();
        let first = world.policy.networks.first().map(|n| n.name.to_string()).unwrap_or_default();
        let lines = match given.is_empty() {
            true => vec![format!("1 {first} 10.0.0.1/24 2001:db8:1::1/64")],
            false => given.into_iter().map(String::from).collect(),
        };
        for line in lines {
            world.links.push(link(&line)?);
        }
        world.links_up();
        Ok(world)
    }

    fn links_up(&mut self) {
        self.engine.set_identity(DUID, [7; 16]);
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
            client => match words.first().is_some_and(|verb| world6::is_verb(verb)) {
                true => self.ask6(client, &words, &mut outcome)?,
                false => self.ask4(client, &words, &mut outcome)?,
            },
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

    /// Whether something is on its way to the disk.
    pub(super) fn is_writing(&self) -> bool {
        !self.held.is_empty() || self.store != StoreMode::Works
    }

    pub(super) fn input(&mut self, input: Input<'_>, outcome: &mut Outcome) {
        let mut fx = Effects::default();
        self.engine.handle(self.now, input, &mut fx);
        self.finish(fx, outcome);
    }

    /// What the driver does with the effects of a batch.
    pub(super) fn finish(&mut self, fx: Effects, outcome: &mut Outcome) {
        let frames = |replies: &[foreshadow::engine::Reply]| {
            replies.iter().map(|r| (r.to, fx.bytes[r.payload.clone()].to_vec())).collect::<Vec<_>>()
        };
        outcome.replies.extend(frames(&fx.send_now));
        self.check_answers(&outcome.replies);
        outcome.probes.extend(&fx.probes);
        outcome.events.extend(fx.events.iter().cloned());
        let after = frames(&fx.send_after);
        let Some(seq) = self.engine.end_batch() else {
            assert!(fx.changes.is_empty(), "changes without a batch");
            // What promises nothing new waits for what was decided before it, and no longer.
            match self.held.last_mut() {
                Some((_, _, later)) => later.replies.extend(after),
                None => outcome.replies.extend(after),
            }
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
                Change::Put(lease, _) => {
                    self.disk.insert((lease.network, lease.resource), lease);
                }
                Change::Remove(network, resource, _) => {
                    self.disk.remove(&(network, resource));
                }
                Change::Meta(name, value) => drop(self.facts.insert(name, value)),
                Change::Forget(name) => drop(self.facts.remove(&name)),
                Change::Act(_) => {}
            }
        }
        self.check_answers(&replies);
        outcome.replies.extend(replies);
        self.input(Input::Committed(seq), outcome);
    }

    fn happen(&mut self, words: &[&str], outcome: &mut Outcome) -> Result<(), String> {
        match words {
            ["wait"] => {}
            ["arp", who, ip, rest @ ..] => self.neighbour(who, addr(ip)?.into(), rest, outcome)?,
            ["na", who, ip, rest @ ..] => self.neighbour(who, addr6(ip)?.into(), rest, outcome)?,
            ["deaf"] => self.input(Input::Deaf(LinkId(1)), outcome),
            ["policy", number] => {
                let at = number.parse::<usize>().map_err(|_| "policy N")?;
                self.policy = self.policies.get(at - 1).ok_or("no such policy")?.clone();
                self.engine.set_policy(self.policy.clone());
                self.reloaded = true;
            }
            ["relayed", length] => self.relayed(length, outcome)?,
            ["name", ip, wanted] => {
                let key = (self.policy.networks[0].id, resource(ip)?);
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
                // The port is not stored.
                let leases =
                    self.disk.values().map(|l| Lease { port: None, ..l.clone() }).collect();
                self.engine = Engine::new(self.policy.clone(), leases, self.last);
                let refused = self.engine.load_facts(self.facts.clone());
                refused.map_err(|error| error.to_string())?;
                self.held.clear();
                self.reloaded = false;
                self.links_up();
            }
            ["forget", ip] => {
                let mut fx = Effects::default();
                let network = self.policy.networks[0].id;
                self.engine.release(self.now, network, resource(ip)?, &mut fx);
                self.finish(fx, outcome);
            }
            ["heard", server, ip] => self.heard(server, ip, outcome)?,
            [verb, id, rest @ ..] if directory::is_verb(verb) => {
                let mut fx = Effects::default();
                outcome.told = Some(self.register(verb, id, rest, &mut fx)?);
                self.finish(fx, outcome);
            }
            _ => return Err(format!("what is {words:?}?")),
        }
        Ok(())
    }
}

fn link(line: &str) -> Result<LinkUp, String> {
    let mut words = line.split_whitespace();
    let index: u32 = words.next().and_then(|w| w.parse().ok()).ok_or("link: no index")?;
    let network = NetworkId::of(words.next().ok_or("link: no network")?);
    let (mut addrs, mut addrs6) = (Vec::new(), Vec::new());
    for word in words {
        let (ip, len) = word.split_once('/').ok_or("link: ADDR/LEN")?;
        if ip.contains(':') {
            addrs6.push(addr6(ip)?);
            continue;
        }
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
        addrs6,
    })
}
