//! What is heard of instances, and what others are told: telemetry with its scrapes, and hooks.
//! Nothing of it keeps the server from starting.

use std::sync::{Arc, Mutex, PoisonError};

use crate::api::server::Scrapes;
use crate::base::Timestamp;
use crate::config::Policy;
use crate::store::archive::Archive;
use crate::telemetry::Telemetry;
use crate::telemetry::scrape::Scraper;

use super::hooks::{Hooks, Outbox, Statuses};

/// All of them; an observer has none.
pub(super) struct Reports {
    telemetry: Option<Telemetry>,
    scraper: Mutex<Option<Scraper>>,
    hooks: Mutex<Option<Hooks>>,
    told: Statuses,
}

impl Reports {
    /// Starts all, without waiting for what is on disk; for an observer, which has no archive, none.
    pub(super) fn start(
        archive: Option<Archive>,
        policy: &Arc<Policy>,
        now: impl Fn() -> Timestamp + Clone + Send + Sync + 'static,
    ) -> Arc<Reports> {
        let (told, scraper, hooks) = (Statuses::default(), Mutex::default(), Mutex::default());
        let Some(archive) = archive else {
            return Arc::new(Reports { telemetry: None, scraper, hooks, told });
        };
        let statuses = told.clone();
        let outbox = Outbox {
            archive,
            dir: policy.server.state_dir.join("hooks"),
            now: Box::new(now.clone()),
            statuses,
        };
        let hooks = Hooks::start(outbox, policy.clone());
        let hooks = hooks.inspect_err(|error| tracing::error!("hooks are off: {error}")).ok();
        let dir = policy.server.state_dir.join("telemetry");
        let started = Telemetry::start(&dir, policy.telemetry.clone(), Box::new(now));
        let telemetry =
            started.inspect_err(|error| tracing::error!("telemetry is off: {error}")).ok();
        let scraper = telemetry.clone().and_then(|telemetry| {
            let started = Scraper::start(telemetry, policy.scrapes.clone());
            started.inspect_err(|error| tracing::error!("scrapes are off: {error}")).ok()
        });
        Arc::new(Reports {
            telemetry,
            scraper: Mutex::new(scraper),
            hooks: Mutex::new(hooks),
            told,
        })
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

    /// How the hooks are doing.
    pub(super) fn told(&self) -> Statuses {
        self.told.clone()
    }

    /// What holds from now on.
    pub(super) fn set_policy(&self, policy: &Arc<Policy>) {
        self.telemetry.iter().for_each(|t| t.set_policy(policy.telemetry.clone()));
        let scraper = self.scraper.lock().unwrap_or_else(PoisonError::into_inner);
        scraper.iter().for_each(|scraper| scraper.set_policy(policy.scrapes.clone()));
        let hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        hooks.iter().for_each(|hooks| hooks.set_policy(policy));
    }

    /// Ends all; what was acknowledged is on disk.
    pub(super) fn stop(&self) {
        drop(self.hooks.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.scraper.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.telemetry.iter().for_each(Telemetry::stop);
    }
}
