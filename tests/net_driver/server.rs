//! A running driver with the real engine, and a store that waits for its test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use foreshadow::config::Policy;
use foreshadow::daemon::clock::Clock;
use foreshadow::daemon::driver::{Driver, DriverHandle, Setup};
use foreshadow::daemon::telling::Told;
use foreshadow::engine::Engine;
use foreshadow::engine::effects::EventKind;
use foreshadow::lease::{Change, Seq};
use foreshadow::net::Mode;
use foreshadow::store::{BackupDone, Contents, Store, StoreError, StoreStats};

use crate::net_rig::wait_for;

/// A driver with its engine.
pub(crate) struct Server {
    pub(crate) handle: DriverHandle<Engine>,
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
        let (sender, events) = mpsc::sync_channel(100_000);
        let handle = Driver::start(Setup {
            machine: Engine::new(Arc::clone(policy), Vec::new(), Seq(0)),
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
