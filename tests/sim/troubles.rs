//! What goes wrong on the server's side, and what must be right again afterwards.

use std::sync::Arc;

use foreshadow::base::{Sort, Span, Timestamp};
use foreshadow::engine::network::Net;
use foreshadow::engine::{Effects, Engine, Input};
use foreshadow::lease::{Lease, Seq};
use foreshadow::store::disk::Op;
use foreshadow::store::{Contents, DiskStore, StoreError, StoreOptions};

use super::cloud;
use super::disk::{SimDisk, Trouble};
use super::server::Server;
use super::watched::{Durable, Watched};
use super::wires::bridge;
use super::world::{CALM, DUID, Event, World};

/// How much later than a calm what was decided in it is durable.
const LATE: u64 = 30_000;
/// Small journals, so that they take turns often; time does not make them.
const OPTIONS: StoreOptions = StoreOptions {
    journal_bytes: 48 << 10,
    checkpoint_every: Span::from_secs(1_000_000),
    cache_bytes: 1 << 20,
};

pub(crate) fn open(disk: &SimDisk) -> Result<(Watched, Contents), StoreError> {
    let (hooked, dir) = disk.mount();
    let (store, contents, _) = DiskStore::open_on(hooked, &dir, &OPTIONS, false)?;
    let durable = Durable::of(&contents);
    Ok((Watched { store, durable }, contents))
}

/// What is free in each pool, or would give way.
fn free(engine: &Engine) -> Vec<u128> {
    let shadows = engine.leases().shadows();
    let lent = |net: &Net, sort: Sort, pool: usize| u128::from(shadows.in_pool(net.id, sort, pool));
    let of = |net: &Net| -> Vec<u128> {
        let v4 = net.pools.iter().enumerate().map(|(at, pool)| (Sort::V4, at, pool));
        let v6 = net.pools6.iter().enumerate().map(|(at, pool)| (Sort::V6, at, pool));
        let all = v4.chain(v6);
        let addrs = all.map(|(sort, at, pool)| pool.free.available() + lent(net, sort, at));
        addrs.chain(net.delegations.iter().map(|pool| pool.free.available())).collect()
    };
    engine.networks().iter().flat_map(of).collect()
}

impl World {
    pub(crate) fn trouble(&mut self) {
        match self.random.below(20) {
            0..6 => {
                use Op::{Checkpoint, Create, Remove, Rename, Sync, SyncDir, Write};
                let ops = [Write, Write, Sync, Sync, Create, SyncDir, Rename, Remove, Checkpoint];
                self.disk.cause(Trouble::Eio(self.random.pick(&ops)));
            }
            // What was promised by a slow clock is to meet the next.
            6..11 if self.time.is_slow() => {
                self.tally.fault("power cut");
                self.crash();
            }
            6 => self.disk.cause(Trouble::Torn),
            7 => self.disk.cause(Trouble::Full),
            8 => self.disk.cause(Trouble::ReadOnly),
            // Not too often: the clock is doubted for a while after some.
            9..12 if self.random.chance(600) => {}
            9 | 10 => {
                let n = self.random.within(1, 60);
                self.disk.cause(Trouble::PowerIn(n));
            }
            11 => {
                self.tally.fault("power cut");
                self.crash();
            }
            12 | 13 => {
                self.tally.fault("reload");
                self.current = (self.current + 1) % self.policies.len();
                let policy = self.policies[self.current].clone();
                self.server.set_policy(self.server_now(), policy);
            }
            14 => self.what_if(),
            15 if self.time.is_trusted() && self.bridge.is_some() => self.calm(),
            16 => self.link_away(),
            17 => self.flood(),
            _ => self.disk.recover(),
        }
        let next = self.random.within(100, 30_000);
        self.at(next, Event::Trouble);
    }

    /// Everybody is quiet and the disk is sound until all offers have lapsed: what nobody holds
    /// must be free again, in the pools as on the disk.
    pub(crate) fn calm(&mut self) {
        self.tally.seen("calms, in which all that is free was found free");
        self.disk.recover();
        self.no_ghosts();
        let until = self.now + CALM;
        // What is foreseen changes in a calm too, and that is on its way to the disk.
        while self.now < until || (self.server.waiting() > 0 && self.now < until + LATE) {
            let quiet = |event: &Event| matches!(event, Event::Disk | Event::Neighbour(_));
            let next = self.events.iter().find(|(_, event)| quiet(event)).map(|(key, _)| *key);
            let wake = self.server.engine.next_wakeup().unwrap_or(Timestamp::NEVER);
            let wake = wake.0.saturating_sub(self.time.ahead()).max(self.now);
            let tend = self.now + self.server.patience().max(1);
            let at = next.map_or(u64::MAX, |key| key.0).max(self.now);
            let end = if self.now < until { until } else { until + LATE };
            self.pass_to(at.min(wake).min(tend).min(end));
            match next.filter(|_| at <= wake && at <= tend) {
                Some(key) => match self.events.remove(&key) {
                    Some(Event::Neighbour(seen)) => self.heard(seen),
                    _ => self.disk_works(),
                },
                None if wake <= tend => self.server.input(self.server_now(), Input::Tick),
                None => self.disk_works(),
            }
            self.look();
        }
        self.check_nothing_leaked();
    }

    pub(crate) fn check_nothing_leaked(&self) {
        assert!(self.server.store_ok(), "the disk is sound and the store is not");
        assert_eq!(self.server.engine.offers().iter().count(), 0, "offers that do not lapse");
        let leases: Vec<Lease> = self.durable.with(|facts| facts.values().cloned().collect());
        let now = self.server_now();
        let over = leases.iter().find(|l| l.state.is_held() && l.until.0 + 10_000 < now.0);
        assert!(over.is_none(), "it is over and does not come back: {over:?}");
        assert_eq!(self.server.waiting(), 0, "promises that nobody keeps");
        let link = self.bridge.expect("it is there when all is calm");
        let mut fresh = Engine::new(self.policies[self.current].clone(), leases, Seq(1));
        fresh.set_identity(DUID, [7; 16]);
        fresh.load_facts(self.durable.facts()).expect("we read what we wrote");
        for up in [bridge(link), cloud::link()] {
            fresh.handle(now, Input::LinkUp(up), &mut Effects::default());
        }
        self.check_facts();
        assert_eq!(free(&self.server.engine), free(&fresh), "lost from a pool");
    }

    /// What would be left if the power went now?
    pub(crate) fn what_if(&mut self) {
        self.tally.seen("power cuts tried beside the run");
        let left = self.disk.what_if();
        let opened = DiskStore::open(&left, &OPTIONS, false);
        let (_, contents, _) = opened.unwrap_or_else(|e| panic!("after a power cut: {e}"));
        self.witness.survives(self.moment(), &contents);
    }

    pub(crate) fn crash(&mut self) {
        self.events.retain(|_, event| !matches!(event, Event::Disk));
        self.disk.cut_power();
        let (store, contents) =
            open(&self.disk).unwrap_or_else(|e| panic!("after a power cut: {e}"));
        self.witness.survives(self.moment(), &contents);
        self.witness.forget_over(self.moment());
        self.durable = store.durable.clone();
        let policy = self.policies[self.current].clone();
        let ticks = Arc::clone(&self.ticks);
        self.forget_over_in_cloud();
        self.boot_clock(&contents);
        self.server = Server::start(policy, Box::new(store), contents, ticks);
        self.note_clock();
        self.identify();
        self.cloud_reboots();
        self.foresight_reboots();
        self.declines_lost();
    }
}
