//! What is done once in a while, beside the packets.

use std::time::{Duration, Instant};

use crate::base::Timestamp;
use crate::store::archive::Archive;

use super::forecaster::Forecaster;
use super::reconcile::Reconciler;
use super::weigh::Weigher;

/// How often audit records that are too old are dropped.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// How often telemetry is asked how much traffic there is.
const WEIGH_EVERY: Duration = Duration::from_secs(10);

/// All of it.
pub(super) struct Upkeep {
    archive: Option<Archive>,
    now: Box<dyn Fn() -> Timestamp + Send>,
    weigher: Weigher,
    reconciler: Reconciler,
    forecaster: Option<Forecaster>,
    /// When each was done last.
    pruned: Option<Instant>,
    weighed: Option<Instant>,
}

impl Upkeep {
    pub(super) fn new(
        archive: Option<Archive>,
        now: impl Fn() -> Timestamp + Send + 'static,
        weigher: Weigher,
        (reconciler, forecaster): (Reconciler, Forecaster),
    ) -> Upkeep {
        let now = Box::new(now);
        let forecaster = Some(forecaster);
        Upkeep { archive, now, weigher, reconciler, forecaster, pruned: None, weighed: None }
    }

    /// Does what is due.
    pub(super) fn tend(&mut self) {
        if is_due(&mut self.pruned, PRUNE_EVERY) {
            self.archive.iter().for_each(|archive| archive.prune((self.now)()));
        }
        if is_due(&mut self.weighed, WEIGH_EVERY) {
            self.weigher.weigh();
        }
        self.reconciler.tend();
    }

    /// Ends what has threads of its own.
    pub(super) fn stop(&mut self) {
        self.reconciler.stop();
        drop(self.forecaster.take());
    }
}

/// Whether it is time; if so, it is done now.
fn is_due(done: &mut Option<Instant>, every: Duration) -> bool {
    let due = done.is_none_or(|at| at.elapsed() >= every);
    if due {
        *done = Some(Instant::now());
    }
    due
}
