//! A running driver with the real engine, and a store that waits for its test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use foreshadow::base::{LinkId, Timestamp};
use foreshadow::config::Policy;
use foreshadow::daemon::clock::Clock;
use foreshadow::daemon::driver::{Driver, DriverHandle, Setup};
use foreshadow::daemon::machine::Machine;
use foreshadow::daemon::telling::Told;
use foreshadow::daemon::work::Job;
use foreshadow::engine::effects::{Effects, EventKind};
use foreshadow::engine::{Engine, Input};
use foreshadow::lease::{Change, Lease, Seq};
use foreshadow::net::Mode;
use foreshadow::store::{BackupDone, Contents, Store, StoreError, StoreStats};

use crate::net_rig::wait_for;

/// A driver with its engine.
pub(crate) struct Server<M = Engine> {
    pub(crate) handle: DriverHandle<M>,
    pub(crate) events: Receiver<Told>,
    pub(crate) policy: Arc<Policy>,
}

impl Server {
    pub(crate) fn start(policy: &Arc<Policy>, store: Option<Box<dyn Store>>) -> Server {
        Server::start_as(policy, Mode::Serve, store)
    }

    pub(crate) fn start_as(
        policy: &Arc<Policy>,
        mode: Mode,
        store: Option<Box<dyn Store>>,
    ) -> Server {
        Server::start_with(Engine::new(Arc::clone(policy), Vec::new(), Seq(0)), policy, mode, store)
    }
}

impl Server<Listener> {
    /// One that has no store, and tells of which links it was said that they were not heard.
    pub(crate) fn listening(policy: &Arc<Policy>) -> (Server<Listener>, Receiver<LinkId>) {
        let (deaf, told) = mpsc::channel();
        let engine = Engine::new(Arc::clone(policy), Vec::new(), Seq(0));
        (Server::start_with(Listener { engine, deaf }, policy, Mode::Serve, None), told)
    }
}

impl<M: Machine> Server<M> {
    fn start_with(
        machine: M,
        policy: &Arc<Policy>,
        mode: Mode,
        store: Option<Box<dyn Store>>,
    ) -> Server<M> {
        let (sender, events) = mpsc::sync_channel(100_000);
        let handle = Driver::start(Setup {
            machine,
            policy: Arc::clone(policy),
            mode,
            store,
            meta: BTreeMap::new(),
            last: Seq(0),
            clock: Clock::start(&BTreeMap::new(), &[]),
            events: sender,
        });
        Server { handle: handle.expect("driver"), events, policy: Arc::clone(policy) }
    }

    /// Stops the driver where it is, until what is returned is dropped.
    pub(crate) fn stall(&self) -> Sender<()> {
        let (go, wait) = mpsc::channel::<()>();
        let (entered, is_entered) = mpsc::channel();
        let job: Job<M> = Box::new(move |_| {
            entered.send(()).expect("the test waits");
            let _ = wait.recv();
            None
        });
        self.handle.jobs().post(job).expect("room for a job");
        is_entered.recv().expect("the driver runs");
        go
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        let counters = self.handle.counters();
        let found = counters.list().find(|(known, _)| *known == name).map(|(_, n)| n);
        found.unwrap_or_else(|| panic!("no counter {name}"))
    }

    pub(crate) fn wait_for_event<T>(&self, want: impl Fn(&EventKind) -> Option<T>) -> T {
        wait_for("an event", || {
            let told = self.events.try_recv().ok()?;
            told.events.iter().find_map(|(event, _)| want(&event.kind))
        })
    }

    pub(crate) fn stop(self) {
        assert!(self.handle.is_running(), "the driver ended by itself");
        self.handle.stop().unwrap();
    }
}

/// The engine, always with something due, that tells what it is told of deafness.
pub(crate) struct Listener {
    engine: Engine,
    deaf: Sender<LinkId>,
}

impl Machine for Listener {
    fn handle(&mut self, now: Timestamp, input: Input<'_>, fx: &mut Effects) {
        if let Input::Deaf(link) = input {
            let _ = self.deaf.send(link);
        }
        self.engine.handle(now, input, fx);
    }

    fn end_batch(&mut self) -> Option<Seq> {
        self.engine.end_batch()
    }

    fn next_wakeup(&self) -> Option<Timestamp> {
        Some(Timestamp(0))
    }

    fn set_policy(&mut self, policy: Arc<Policy>) {
        self.engine.set_policy(policy);
    }

    fn leases(&self) -> Vec<Lease> {
        Machine::leases(&self.engine)
    }

    fn note(&mut self, name: &str, value: &[u8], fx: &mut Effects) {
        self.engine.note(name, value, fx);
    }
}

/// A store whose commits wait until they are let through.
pub(crate) struct GatedStore {
    begun: Sender<usize>,
    open: Receiver<()>,
}

/// The test's end of it.
pub(crate) struct Gate {
    /// How many bindings each commit has that begins.
    pub(crate) begun: Receiver<usize>,
    /// Lets one commit with bindings through; dropped: all.
    pub(crate) open: Sender<()>,
}

impl GatedStore {
    pub(crate) fn new() -> (GatedStore, Gate) {
        let ((begun, begun_out), (open_in, open)) = (mpsc::channel(), mpsc::channel());
        (GatedStore { begun, open }, Gate { begun: begun_out, open: open_in })
    }
}

impl Store for GatedStore {
    fn commit(&mut self, _: Seq, changes: &[Change]) -> Result<(), StoreError> {
        let bindings = changes.iter().filter(|c| matches!(c, Change::Put(..))).count();
        let _ = self.begun.send(bindings);
        if bindings > 0 {
            let _ = self.open.recv();
        }
        Ok(())
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn rebuild(&mut self, _: &Contents) -> Result<(), StoreError> {
        Ok(())
    }

    fn backup(&mut self, _: &std::path::Path, done: BackupDone) {
        done(Ok(()));
    }

    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
}
