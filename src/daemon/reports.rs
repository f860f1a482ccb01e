//! Telemetry as a part of the server: its store, and its scrapes. Nothing of it keeps the server
//! from starting.

use std::sync::{Arc, Mutex, PoisonError};

use crate::api::server::Scrapes;
use crate::base::Timestamp;
use crate::config::Policy;
use crate::telemetry::Telemetry;
use crate::telemetry::scrape::Scraper;

/// Both of them; an observer has neither.
pub(super) struct Reports {
    telemetry: Option<Telemetry>,
    scraper: Mutex<Option<Scraper>>,
}

impl Reports {
    /// Starts both, without waiting for what is on disk; for an observer neither.
    pub(super) fn start(
        observe: bool,
        policy: &Policy,
        now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Arc<Reports> {
        if observe {
            return Arc::new(Reports { telemetry: None, scraper: Mutex::new(None) });
        }
        let dir = policy.server.state_dir.join("telemetry");
        let started = Telemetry::start(&dir, policy.telemetry.clone(), now);
        let telemetry =
            started.inspect_err(|error| tracing::error!("telemetry is off: {error}")).ok();
        let scraper = telemetry.clone().and_then(|telemetry| {
            let started = Scraper::start(telemetry, policy.scrapes.clone());
            started.inspect_err(|error| tracing::error!("scrapes are off: {error}")).ok()
        });
        Arc::new(Reports { telemetry, scraper: Mutex::new(scraper) })
    }

    /// The store, for the API.
    pub(super) fn telemetry(&self) -> Option<Telemetry> {
        self.telemetry.clone()
    }

    /// What tells how scrapes are doing.
    pub(super) fn scrapes(&self) -> Box<Scrapes> {
        match &*self.scraper.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(scraper) => Box::new(scraper.statuses()),
            None => Box::new(Default::default),
        }
    }

    /// What holds from now on.
    pub(super) fn set_policy(&self, policy: &Arc<Policy>) {
        self.telemetry.iter().for_each(|t| t.set_policy(policy.telemetry.clone()));
        let scraper = self.scraper.lock().unwrap_or_else(PoisonError::into_inner);
        scraper.iter().for_each(|scraper| scraper.set_policy(policy.scrapes.clone()));
    }

    /// Ends both; what was acknowledged is on disk.
    pub(super) fn stop(&self) {
        drop(self.scraper.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.telemetry.iter().for_each(Telemetry::stop);
    }
}
