//! Answers the control plane's commands on the engine's thread.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::command::{Command, Desk, Post, Refusal, Reply};
use crate::api::gauges::{Figures, NetworkFigures, POOLS_PER_PAGE, ShadowFigures};
use crate::api::leases::time_text;
use crate::api::registry::Registry;
use crate::api::view::{Ipv6View, NetworkView, PoolView, StatusView, StoreView};
use crate::base::{NetworkId, Resource, Sort, Timestamp};
use crate::config::Policy;
use crate::config::policy::Network;
use crate::engine::Engine;
use crate::engine::effects::{Event, EventKind};
use crate::engine::network::{Net, NetPool};
use crate::lease::{Act, Lease, Pool};
use crate::net::Mode;
use crate::store::StoreError;
use crate::store::archive::Archive;

use super::identity::duid_text;
use super::lag;
use super::parked::Confirm;
use super::pools;
use super::work::{Bench, Jobs};

/// Sends commands to the driver as jobs.
pub struct Counter {
    jobs: Jobs<Engine>,
    started: Timestamp,
    archive: Option<Archive>,
}

impl Counter {
    /// A way to the driver; `started` is when the server did.
    pub fn new(jobs: Jobs<Engine>, started: Timestamp, archive: Option<Archive>) -> Counter {
        Counter { jobs, started, archive }
    }
}

impl Post for Counter {
    fn post(&self, command: Command) -> Result<(), Command> {
        let (started, archive) = (self.started, self.archive.clone());
        // The command is needed back if the driver does not take the job.
        let slot = Arc::new(Mutex::new(Some(command)));
        let inside = Arc::clone(&slot);
        let take = |slot: &Mutex<Option<Command>>| {
            slot.lock().unwrap_or_else(PoisonError::into_inner).take()
        };
        let posted = self.jobs.post(Box::new(move |bench| {
            let pending = take(&inside)?.run(&mut AtBench { bench, started, archive })?;
            Some(Box::new(move |outcome: Result<(), &str>| match outcome {
                Ok(()) => pending.durable(),
                Err(why) => pending.failed(why),
            }) as Confirm)
        }));
        posted.or_else(|_| take(&slot).map_or(Ok(()), Err))
    }
}

/// The desk, for as long as one job runs.
struct AtBench<'a, 'b> {
    bench: &'a mut Bench<'b, Engine>,
    started: Timestamp,
    archive: Option<Archive>,
}

impl Desk for AtBench<'_, '_> {
    fn policy(&self) -> Arc<Policy> {
        self.bench.policy.clone().unwrap_or_else(|| self.bench.machine.policy().clone())
    }

    fn status(&self) -> StatusView {
        let (engine, counters) = (&*self.bench.machine, self.bench.counters);
        let store = self.bench.store;
        let nets = engine.networks().iter().zip(&engine.policy().networks);
        StatusView {
            version: env!("CARGO_PKG_VERSION").into(),
            mode: match self.bench.mode {
                Mode::Serve => "serving".into(),
                Mode::Observe => "observing".into(),
            },
            started: Some(time_text(self.started)),
            // An observer makes one for each run, and tells nobody.
            duid: (self.bench.mode == Mode::Serve).then(|| duid_text(engine.duid())),
            bindings: engine.leases().len() as u64,
            offers: engine.offers().iter().count() as u64,
            networks: nets.map(|(net, network)| self.network(net, network)).collect(),
            store: StoreView {
                writable: self.bench.store_trouble.is_none(),
                commits: store.commits,
                changes: store.changes,
                checkpoints: store.checkpoints,
                disk_bytes: store.disk_bytes,
                last_sync_us: store.last_sync_us,
            },
            packets: counters.list().map(|(name, n)| (name.into(), n)).collect(),
            dropped: counters.drops().map(|(reason, n)| (reason.into(), n)).collect(),
            alarms: self.alarms(),
        }
    }

    fn figures(&self, from: usize) -> Figures {
        let engine = &*self.bench.machine;
        let mut interfaces: HashMap<NetworkId, u64> = HashMap::new();
        engine.links().for_each(|up| *interfaces.entry(up.network).or_default() += 1);
        let (mut networks, mut looked) = (Vec::new(), 0);
        for net in engine.networks().iter().skip(from) {
            if looked >= POOLS_PER_PAGE {
                break;
            }
            let up = interfaces.get(&net.id).copied().unwrap_or(0);
            networks.push(NetworkFigures::of(net, up, engine.leases(), engine.offers()));
            looked += 1 + networks.last().map_or(0, |figures| figures.pools.len());
        }
        let next = from.saturating_add(networks.len());
        let accounts = engine.leases().census().accounts();
        let most = engine.policy().metrics.accounts;
        let (largest, other) = accounts.largest(most);
        Figures {
            next: (next < engine.networks().len()).then_some(next),
            networks,
            policy: engine.policy().clone(),
            bindings: engine.leases().len() as u64,
            accounts: largest,
            other_accounts: other,
            accounts_count: accounts.len() as u64,
            shadows: ShadowFigures::of(engine, most),
            store: self.bench.store,
            store_writable: self.bench.store_trouble.is_none(),
            store_lag: self.bench.store_lag,
            store_slow: lag::alarm(self.bench.store_lag).is_some(),
            clock_trusted: self.bench.clock_trusted,
        }
    }

    fn lease(&self, network: NetworkId, resource: Resource) -> Option<&Lease> {
        self.bench.machine.leases().get(network, resource)
    }

    fn scan(&self, from: u64, most: usize, look: &mut dyn FnMut(&Lease)) -> Option<u64> {
        self.bench.machine.leases().scan(from, most, look)
    }

    fn release(&mut self, network: NetworkId, resource: Resource) -> Option<Lease> {
        let Bench { machine, now, fx, .. } = self.bench;
        machine.release(*now, network, resource, fx)
    }

    fn import(&mut self, lease: Lease) -> bool {
        let Bench { machine, now, fx, .. } = self.bench;
        let taken = machine.import(*now, lease.clone(), fx);
        if taken {
            let (at, network) = (*now, Some(lease.network));
            fx.events.push(Event { at, network, kind: EventKind::Imported(Box::new(lease)) });
        }
        taken
    }

    fn pools(&self, network: Option<NetworkId>) -> Vec<PoolView> {
        let engine = &*self.bench.machine;
        let nets = engine.networks().iter().zip(&engine.policy().networks);
        let nets = nets.filter(|(net, _)| network.is_none_or(|id| id == net.id));
        nets.flat_map(|(net, network)| pools::of(net, network)).collect()
    }

    fn fact(&mut self, name: &str, value: Option<Box<[u8]>>) {
        let Bench { machine, fx, .. } = self.bench;
        match &value {
            Some(value) => machine.note(name, value, fx),
            None => machine.forget_note(name, fx),
        }
        self.bench.facts.push((name.into(), value));
    }

    fn now(&self) -> Timestamp {
        self.bench.now
    }

    fn audit(&mut self, act: Act) {
        let Bench { machine, fx, .. } = self.bench;
        machine.audit(act, fx);
    }

    fn registry(&mut self) -> Option<Registry<'_>> {
        let Bench { machine, now, fx, .. } = self.bench;
        Some(Registry { engine: machine, now: *now, fx })
    }

    fn set_policy(&mut self, policy: Arc<Policy>) {
        self.bench.policy = Some(policy);
    }

    fn backup(&mut self, to: PathBuf, reply: Reply<Result<(), Refusal>>) {
        let done = move |outcome: Result<(), StoreError>| {
            // Whoever asked may have gone.
            let _ = reply.send(outcome.map_err(|error| Refusal::Store(error.to_string())));
        };
        self.bench.backups.push((to, Box::new(done)));
    }
}

impl AtBench<'_, '_> {
    fn network(&self, net: &Net, network: &Network) -> NetworkView {
        let counts = self.bench.machine.leases().counts(net.id, Sort::V4);
        let sum = |figure: &dyn Fn(&Pool) -> u128| {
            u64::try_from(sum(&net.pools, figure)).unwrap_or(u64::MAX)
        };
        NetworkView {
            name: network.name.to_string(),
            interfaces: self.bench.machine.interfaces(net.id).map(String::from).collect(),
            addresses: net.size,
            leased: counts.leased,
            quarantined: counts.quarantined - counts.in_use,
            in_use: counts.in_use,
            free: sum(&|pool| pool.available()),
            proven: sum(&|pool| pool.proven() as u128),
            ipv6: self.ipv6(net, network),
        }
    }

    fn ipv6(&self, net: &Net, network: &Network) -> Option<Ipv6View> {
        let leases = self.bench.machine.leases();
        let (counts, prefixes) =
            (leases.counts(net.id, Sort::V6), leases.counts(net.id, Sort::Prefix6));
        if network.subnets6.is_empty() && counts.leased + prefixes.leased == 0 {
            return None;
        }
        let room = net.delegations.iter().filter_map(|pool| {
            let policy = network.subnets6.get(pool.subnet)?.delegations.get(pool.index)?;
            Some(pool.free.room_for(policy.length))
        });
        Some(Ipv6View {
            addresses: net.size6.to_string(),
            leased: counts.leased,
            quarantined: counts.quarantined - counts.in_use,
            in_use: counts.in_use,
            free: sum(&net.pools6, &|pool| pool.available()).to_string(),
            proven: u64::try_from(sum(&net.pools6, &|pool| pool.proven() as u128))
                .unwrap_or(u64::MAX),
            prefixes_leased: prefixes.leased,
            prefixes_free: room.fold(0, u128::saturating_add).to_string(),
        })
    }

    fn alarms(&self) -> Vec<String> {
        let engine = &*self.bench.machine;
        let store = self.bench.store_trouble.map(|why| format!("the store cannot write: {why}"));
        let slow = lag::alarm(self.bench.store_lag);
        let archive = self.archive.as_ref().and_then(|archive| archive.status().trouble);
        let archive = archive
            .map(|why| format!("the audit archive cannot be written, its journals grow: {why}"));
        let clock = (!self.bench.clock_trusted)
            .then(|| "time is not known to be right: nothing expires yet".to_owned());
        let waiting = engine.policy().networks.iter().filter(|network| {
            !network.interfaces.is_empty() && engine.interfaces(network.id).next().is_none()
        });
        let waiting = waiting.map(|n| format!("network {}: no interface of it is there", n.name));
        let foreign = engine.networks().iter().zip(&engine.policy().networks);
        let foreign = foreign.flat_map(|(net, network)| {
            net.foreign.keys().map(|addr| format!("network {}: DHCP server {addr}", network.name))
        });
        store
            .into_iter()
            .chain(slow)
            .chain(archive)
            .chain(clock)
            .chain(waiting)
            .chain(foreign)
            .collect()
    }
}

fn sum(pools: &[NetPool], figure: &dyn Fn(&Pool) -> u128) -> u128 {
    pools.iter().fold(0u128, |n, pool| n.saturating_add(figure(&pool.free)))
}
