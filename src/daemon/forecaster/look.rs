//! One look: who came, what is foreseen, and who is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::{Span, Timestamp};
use crate::config::Policy;
use crate::config::policy::ForecastMode;
use crate::engine::Engine;
use crate::engine::shadows::Prediction;
use crate::foresight::{Foresight, Key, Mode, Said, Terms, Totals};
use crate::lease::Foreseer;

use super::super::work::{Bench, JobError, Jobs};
use super::board::Board;

/// How many accounts and applications the engine is asked about at once.
const PAGE: usize = 512;
/// How many forecasts it is told at once.
const TOLD: usize = 64;

/// What is known, and whom to ask.
pub(super) struct Look {
    own: Foresight,
    jobs: Jobs<Engine>,
    now: Box<dyn Fn() -> Timestamp + Send>,
    totals: Totals,
    /// Quantile and priority of each; `None` where the account is gone. Asked once a period.
    served: BTreeMap<Key, Option<(u8, u8)>>,
    /// The period for which that was asked, and the time spent on forecasts since it began.
    period: u64,
    spent: Duration,
    numbered: u64,
}

impl Look {
    pub(super) fn new(
        own: Foresight,
        jobs: Jobs<Engine>,
        now: Box<dyn Fn() -> Timestamp + Send>,
    ) -> Look {
        let (totals, served) = (Totals::default(), BTreeMap::new());
        Look { own, jobs, now, totals, served, period: 0, spent: Duration::ZERO, numbered: 0 }
    }

    /// Another takes the place of what is known.
    pub(super) fn replace(&mut self, own: Foresight) {
        self.own = own;
    }

    /// Whether there is nothing to be kept.
    pub(super) fn is_idle(&self) -> bool {
        self.own.is_empty()
    }

    /// What is to be kept.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.own.to_bytes()
    }

    /// Looks once.
    pub(super) fn look(&mut self, board: &Board) -> Result<(), JobError> {
        let policy = self.jobs.call(|bench| bench.machine.policy().clone())?;
        if policy.forecast.is_off() {
            board.lock().looked = None;
            return Ok(());
        }
        let came = self.came(&policy)?;
        let now = (self.now)();
        self.own.observe(now, &came);
        self.begin_period(now)?;
        let begun = Instant::now();
        let budget = budget(self.own.pace().period, policy.forecast.cpu_percent);
        let budget = budget.saturating_sub(self.spent);
        let served = &self.served;
        let terms = |key: &Key| terms(key, served, &policy);
        let turn = self.own.turn(now, terms, || begun.elapsed() >= budget);
        let took = begun.elapsed();
        self.spent += took;
        let wanted: Vec<Said> = turn.said.into_iter().filter(|s| s.mode == Mode::On).collect();
        let (told, untold) = self.tell(wanted)?;
        let mut standing = board.lock();
        standing.looked = Some(now);
        standing.histories = self.own.len();
        standing.score = self.own.scores().total;
        standing.fixed = self.own.scores().fixed_same_idle();
        standing.late = self.own.scores().late;
        standing.spent += took;
        standing.told += told;
        standing.untold += untold;
        Ok(())
    }

    /// Who came since the last look, of those whose instances are forecast.
    fn came(&mut self, policy: &Policy) -> Result<Vec<(Key, u64)>, JobError> {
        let (mut came, mut after) = (Vec::new(), None::<Key>);
        loop {
            let from = after.take();
            let page: Vec<(Key, u64)> = self.jobs.call(move |bench| {
                let all = bench.machine.tallies().creates(from.as_ref(), PAGE);
                all.map(|(key, count)| (key.clone(), count)).collect()
            })?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|(key, _)| key.clone());
            for (key, total) in page {
                let count = self.totals.since(&key, total);
                if count > 0 && policy.forecast.mode(&key.1.0) != ForecastMode::Off {
                    came.push((key, count));
                }
            }
            if is_last {
                return Ok(came);
            }
        }
    }

    /// Once in a period: the budget is whole again, and the engine is asked how each is served.
    fn begin_period(&mut self, now: Timestamp) -> Result<(), JobError> {
        let period = now.0 / self.own.pace().period.0.max(1);
        if period == self.period {
            return Ok(());
        }
        let keys: Vec<Key> = self.own.each().map(|(key, _)| key.clone()).collect();
        let mut served = BTreeMap::new();
        for page in keys.chunks(PAGE) {
            let page = page.to_vec();
            served.extend(self.jobs.call(move |bench| {
                let of = |key: Key| {
                    let service = bench.machine.service(&key.1);
                    (key, service)
                };
                page.into_iter().map(of).collect::<Vec<_>>()
            })?);
        }
        self.totals.keep_only(|key| served.get(key).is_none_or(Option::is_some));
        (self.served, self.period, self.spent) = (served, period, Duration::ZERO);
        Ok(())
    }

    /// Tells the engine; of how many, and how many it would not have.
    fn tell(&mut self, said: Vec<Said>) -> Result<(u64, u64), JobError> {
        let (mut told, mut all) = (0, 0);
        for some in said.chunks(TOLD) {
            let first = self.numbered;
            self.numbered += some.len() as u64;
            all += some.len() as u64;
            let some = some.to_vec();
            told += self.jobs.call(move |bench| {
                let numbered = (first..).zip(some);
                numbered.filter(|(number, said)| predict(bench, *number, said)).count() as u64
            })?;
        }
        Ok((told, all - told))
    }
}

/// Tells the engine of one forecast; not where somebody from outside said what is still believed.
fn predict(bench: &mut Bench<'_, Engine>, number: u64, said: &Said) -> bool {
    let (network, owner) = &said.key;
    let now = bench.now;
    let known = bench.machine.directory().foresight(*network, owner);
    let stands = |said: &Prediction| said.by != Foreseer::Forecast && now < said.until;
    if known.is_some_and(|known| stands(&known.current)) {
        return false;
    }
    let prediction = Prediction {
        id: Arc::from(format!("forecast-{}-{number}", now.0)),
        by: Foreseer::Forecast,
        made: now,
        until: said.until,
        count: said.count,
        quantiles: said.quantiles.clone(),
        instance_type: None,
        region: None,
        requirements: None,
    };
    bench.machine.predict(now, *network, owner, prediction, bench.fx).is_ok()
}

fn terms(key: &Key, served: &BTreeMap<Key, Option<(u8, u8)>>, policy: &Policy) -> Option<Terms> {
    let mode = match policy.forecast.mode(&key.1.0) {
        ForecastMode::Off => Mode::Off,
        ForecastMode::ForecastOnly => Mode::ForecastOnly,
        ForecastMode::On => Mode::On,
    };
    // Who is new is asked about in the next period; until then the usual holds.
    let usual = (policy.shadow.standard, 0);
    let (percent, priority) = served.get(key).copied().unwrap_or(Some(usual))?;
    Some(Terms { mode, percent, priority })
}

/// How long may be computed in a period.
fn budget(period: Span, percent: u8) -> Duration {
    Duration::from_millis(period.0 * u64::from(percent) / 100)
}
