//! The control plane of a server that is not running: the same commands, answered from its store.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::base::{NetworkId, Prefix6, Resource, Sort, Timestamp};
use crate::config::Policy;
use crate::lease::directory::Directory;
use crate::lease::{Act, Cause, Change, Lease, QuarantineReason, Seq, State};
use crate::store::{Contents, Store, StoreError, StoreStats};

use super::command::{Command, Desk, Refusal, Reply};
use super::gauges::Figures;

use super::view::{NetworkView, PoolView, StatusView, StoreView};

/// What the store of a stopped server holds; with the store itself if it may be changed.
pub struct Stopped {
    policy: Arc<Policy>,
    now: Timestamp,
    slots: Vec<Option<Lease>>,
    by_resource: HashMap<(NetworkId, Resource), usize>,
    /// The prefixes among them, in order.
    prefixes: BTreeMap<(NetworkId, Ipv6Addr, u8), usize>,
    directory: Directory,
    store: Option<Box<dyn Store>>,
    seq: Seq,
    changes: Vec<Change>,
}

impl Stopped {
    /// A desk over `contents`. Without `store` they are a copy: it can be read, and every change
    /// is refused.
    pub fn new(
        policy: Arc<Policy>,
        now: Timestamp,
        contents: Contents,
        store: Option<Box<dyn Store>>,
    ) -> Stopped {
        let mut stopped = Stopped {
            policy,
            now,
            slots: Vec::new(),
            by_resource: HashMap::new(),
            prefixes: BTreeMap::new(),
            directory: Directory::default(),
            store,
            seq: contents.seq,
            changes: Vec::new(),
        };
        contents.leases.into_iter().for_each(|lease| stopped.set(lease));
        for (name, value) in &contents.meta {
            // What cannot be read is the server's to complain of; here it keeps nothing.
            let _ = stopped.directory.load(name, value);
        }
        stopped
    }

    /// Answers one command; what it changes is durable when this returns.
    pub fn ask<T>(&mut self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.run(command(reply));
        // A backup is answered by another thread.
        answer.blocking_recv().map_err(|_| Refusal::Unavailable("no answer".into()))
    }

    /// Answers one command through its own channel; see [`Stopped::ask`].
    pub fn run(&mut self, command: Command) {
        if let Some(pending) = command.run(self) {
            match self.commit() {
                Ok(()) => pending.durable(),
                Err(why) => pending.failed(why),
            }
        }
    }

    fn commit(&mut self) -> Result<(), String> {
        let changes = std::mem::take(&mut self.changes);
        if changes.is_empty() {
            return Ok(());
        }
        let store = self.store.as_mut().ok_or("this is a copy of the store: it cannot change")?;
        self.seq = self.seq.next();
        store.commit(self.seq, &changes).map_err(|error| error.to_string())
    }

    fn slot(&self, network: NetworkId, resource: Resource) -> Option<usize> {
        self.by_resource.get(&(network, resource)).copied()
    }

    fn set(&mut self, lease: Lease) {
        let key = (lease.network, lease.resource);
        let slot = *self.by_resource.entry(key).or_insert_with(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        if let Resource::Prefix6(addr, len) = lease.resource {
            self.prefixes.insert((lease.network, addr, len), slot);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(lease);
        }
    }

    /// Whether another prefix that is held has part of `resource`.
    fn is_overlapped(&self, network: NetworkId, resource: Resource) -> bool {
        let Resource::Prefix6(addr, len) = resource else { return false };
        let Some(prefix) = Prefix6::new(addr, len) else { return false };
        let around = (0..len).filter_map(|len| {
            let key = (network, Prefix6::new(addr, len)?.network(), len);
            self.prefixes.get(&key)
        });
        let from = (network, prefix.network(), len.saturating_add(1));
        let inside = self.prefixes.range(from..=(network, prefix.last(), u8::MAX));
        let inside = inside.filter(|((_, _, inner), _)| *inner > len).map(|(_, slot)| slot);
        let mut leases = around.chain(inside).filter_map(|slot| self.slots.get(*slot)?.as_ref());
        leases.any(|lease| lease.state.is_held() && lease.until > self.now)
    }

    fn put(&mut self, lease: Lease, cause: Cause) {
        self.changes.push(Change::Put(lease.clone(), cause));
        self.set(lease);
    }

    fn network_view(&self, id: NetworkId, name: &str) -> NetworkView {
        let mut view = NetworkView { name: name.into(), ..NetworkView::default() };
        let of = |lease: &&Lease| lease.network == id && lease.until > self.now;
        for lease in self.slots.iter().flatten().filter(of) {
            let sort = lease.resource.sort();
            let ipv6 = (sort != Sort::V4).then(|| view.ipv6.get_or_insert_default());
            match (lease.state, ipv6) {
                (State::Leased, None) => view.leased += 1,
                (State::Leased, Some(v6)) if sort == Sort::Prefix6 => v6.prefixes_leased += 1,
                (State::Leased, Some(v6)) => v6.leased += 1,
                (State::Quarantined(QuarantineReason::InUse(_)), None) => view.in_use += 1,
                (State::Quarantined(QuarantineReason::InUse(_)), Some(v6)) => v6.in_use += 1,
                (State::Quarantined(_), None) => view.quarantined += 1,
                (State::Quarantined(_), Some(v6)) => v6.quarantined += 1,
                _ => {}
            }
        }
        view
    }
}

impl Desk for Stopped {
    fn policy(&self) -> Arc<Policy> {
        self.policy.clone()
    }

    fn status(&self) -> StatusView {
        let networks = self.policy.networks.iter();
        StatusView {
            version: env!("CARGO_PKG_VERSION").into(),
            mode: "stopped".into(),
            bindings: self.slots.iter().flatten().count() as u64,
            networks: networks
                .map(|network| self.network_view(network.id, &network.name))
                .collect(),
            store: StoreView { writable: self.store.is_some(), ..StoreView::default() },
            ..StatusView::default()
        }
    }

    /// Where nothing runs there is nothing to measure: no networks.
    fn figures(&self, _from: usize) -> Figures {
        Figures {
            networks: Vec::new(),
            next: None,
            policy: self.policy.clone(),
            bindings: self.slots.iter().flatten().count() as u64,
            accounts: Vec::new(),
            other_accounts: 0,
            accounts_count: 0,
            shadows: Vec::new(),
            store: StoreStats::default(),
            store_writable: self.store.is_some(),
            store_lag: Duration::ZERO,
            store_slow: false,
            clock_trusted: true,
        }
    }

    fn lease(&self, network: NetworkId, resource: Resource) -> Option<&Lease> {
        self.slots.get(self.slot(network, resource)?)?.as_ref()
    }

    fn scan(&self, from: u64, most: usize, look: &mut dyn FnMut(&Lease)) -> Option<u64> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let rest = self.slots.get(from..).unwrap_or_default();
        rest.iter().take(most).flatten().for_each(look);
        (rest.len() > most).then(|| (from + most) as u64)
    }

    fn release(&mut self, network: NetworkId, resource: Resource) -> Option<Lease> {
        let slot = self.slot(network, resource)?;
        let lease = self.slots.get(slot)?.clone()?;
        match lease.state {
            State::Quarantined(_) => {
                self.changes.push(Change::Remove(network, resource, Some(self.now)));
                self.by_resource.remove(&(network, resource));
                *self.slots.get_mut(slot)? = None;
            }
            state if state.is_held() => {
                let (until, updated) = (self.now, self.now);
                let released = Lease { state: State::Released, until, updated, ..lease.clone() };
                self.put(released, Cause::Operator);
            }
            _ => {}
        }
        Some(lease)
    }

    fn import(&mut self, lease: Lease) -> bool {
        let held = |old: &Lease| {
            let held = old.state.is_held() && old.until > self.now;
            held && (old.client != lease.client || old.until >= lease.until)
        };
        if self.lease(lease.network, lease.resource).is_some_and(held) {
            return false;
        }
        if self.is_overlapped(lease.network, lease.resource) {
            return false;
        }
        let lease = self.directory.attributed(lease);
        self.put(lease, Cause::Imported(self.now));
        true
    }

    fn pools(&self, _: Option<NetworkId>) -> Vec<PoolView> {
        // Only an engine makes pools.
        Vec::new()
    }

    fn fact(&mut self, name: &str, value: Option<Box<[u8]>>) {
        self.changes.push(match value {
            Some(value) => Change::Meta(name.into(), value),
            None => Change::Forget(name.into()),
        });
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn audit(&mut self, act: Act) {
        self.changes.push(Change::Act(Box::new(act.bounded())));
    }

    fn set_policy(&mut self, policy: Arc<Policy>) {
        self.policy = policy;
    }

    fn backup(&mut self, to: PathBuf, reply: Reply<Result<(), Refusal>>) {
        let answer = move |done: Result<(), StoreError>| {
            drop(reply.send(done.map_err(|error| Refusal::Store(error.to_string()))));
        };
        match self.store.as_mut() {
            Some(store) => store.backup(&to, Box::new(answer)),
            None => answer(Err(StoreError::Broken)),
        }
    }
}
