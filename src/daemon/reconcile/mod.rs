//! Watches the networks whose `[network.reconcile]` says so: one thread for each of their
//! interfaces, with sockets of its own ([`watch`]).
//!
//! What such a thread needs to know of the engine it asks by jobs, a page at a time ([`ledger`]);
//! no packet waits for it, and it holds no lock that one could wait for.

mod ledger;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::api::findings::Findings;
use crate::base::Timestamp;
use crate::config::policy::{Network, Reconcile, ReconcileMode};
use crate::engine::Engine;

use super::work::Jobs;
use watch::{Place, Watch};

/// How long after an interface could not be asked it is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Reads the time.
pub(super) type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// All watches.
pub(super) struct Reconciler {
    jobs: Jobs<Engine>,
    now: Now,
    findings: Arc<Findings>,
    running: BTreeMap<Place, Running>,
    failed: BTreeMap<Place, Instant>,
}

struct Running {
    policy: Reconcile,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Reconciler {
    pub(super) fn new(jobs: Jobs<Engine>, now: Now, findings: Arc<Findings>) -> Reconciler {
        Reconciler { jobs, now, findings, running: BTreeMap::new(), failed: BTreeMap::new() }
    }

    /// Starts and ends watches as the policy in force, and the interfaces that are there, want it.
    pub(super) fn tend(&mut self) {
        let Ok(policy) = self.jobs.call(|bench| bench.machine.policy().clone()) else { return };
        let wanted: BTreeMap<Place, Reconcile> = policy.networks.iter().flat_map(places).collect();
        let is_over = |place: &Place, of: &Running| {
            of.thread.is_finished() || wanted.get(place) != Some(&of.policy)
        };
        let over: Vec<(Place, Running)> =
            self.running.extract_if(.., |place, of| is_over(place, of)).collect();
        for (place, running) in over {
            if running.thread.is_finished() {
                self.failed.insert(place.clone(), Instant::now());
            }
            running.end();
        }
        self.failed.retain(|_, at| at.elapsed() < RETRY);
        for (place, policy) in wanted {
            if !self.running.contains_key(&place) && !self.failed.contains_key(&place) {
                self.start(place, policy);
            }
        }
    }

    fn start(&mut self, place: Place, policy: Reconcile) {
        let stop = Arc::new(AtomicBool::new(false));
        let watch = Watch {
            place: place.clone(),
            policy: policy.clone(),
            jobs: self.jobs.clone(),
            now: self.now.clone(),
            findings: self.findings.clone(),
            stop: stop.clone(),
        };
        let builder = std::thread::Builder::new().name("reconcile".into());
        match builder.spawn(move || watch.run()) {
            Ok(thread) => drop(self.running.insert(place, Running { policy, stop, thread })),
            Err(error) => {
                tracing::warn!(network = %place.network, "cannot be watched: {error}");
                self.failed.insert(place, Instant::now());
            }
        }
    }

    /// Ends all.
    pub(super) fn stop(&mut self) {
        let running = std::mem::take(&mut self.running);
        running.values().for_each(|of| of.stop.store(true, Ordering::Relaxed));
        running.into_values().for_each(Running::end);
    }
}

impl Running {
    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        // It looks several times a second. A panic in it was told already.
        let _ = self.thread.join();
    }
}

/// Where a network is to be watched: on those of its interfaces that are there.
fn places(network: &Network) -> Vec<(Place, Reconcile)> {
    if network.reconcile.mode == ReconcileMode::Off {
        return vec![];
    }
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_of = |name: &String| network.interfaces.iter().any(|of| of.matches(name.as_bytes()));
    let place = |name: String| Place {
        id: network.id,
        network: network.name.clone(),
        interface: name.into(),
    };
    names.filter(is_of).map(|name| (place(name), network.reconcile.clone())).collect()
}
