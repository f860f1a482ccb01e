//! How the forecaster is doing, for whoever asks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::Timestamp;
use crate::foresight::score::Score;

/// All of it.
#[derive(Clone, Debug, Default)]
pub(in crate::daemon) struct Standing {
    /// When it looked last without a fault; `None` before, and while nothing is forecast.
    pub(in crate::daemon) looked: Option<Timestamp>,
    /// Looks that failed since the start.
    pub(in crate::daemon) failed: u64,
    /// Accounts and applications on networks with a history.
    pub(in crate::daemon) histories: usize,
    /// What came of forecasts, ever.
    pub(in crate::daemon) score: Score,
    /// The size of the best fixed pool in hindsight with no more idle addresses, and what it did.
    pub(in crate::daemon) fixed: (usize, Score),
    /// Forecasts for which there was no time, ever.
    pub(in crate::daemon) late: u64,
    /// Forecasts that the engine was told since the start.
    pub(in crate::daemon) told: u64,
    /// Such that it would not have, or for which somebody else's word stood.
    pub(in crate::daemon) untold: u64,
    /// Time that was spent on forecasts since the start.
    pub(in crate::daemon) spent: Duration,
}

/// Where it stands.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Board(Mutex<Standing>);

impl Board {
    /// As it is now.
    pub(in crate::daemon) fn standing(&self) -> Standing {
        self.lock().clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failed(&self) {
        self.lock().failed += 1;
    }
}
