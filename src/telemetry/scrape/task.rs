//! When which target is asked, and what came of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle as Task;

use crate::base::{Span, Timestamp};
use crate::config::policy::ScrapePolicy;

use super::super::catalogue::Scope;
use super::super::line::Lines;
use super::super::shared::{Push, Telemetry, lock};
use super::super::writer::lower_priority;
use super::collect::{Collector, Counters, Excess};
use super::fetch::fetch;

/// Reports that are handed over at once.
const ENTRIES_MAX: usize = 2000;
/// The longest pause after failures in a row, unless the interval is longer.
const PAUSE_MAX: Span = Span::from_secs(600);

/// How a target is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScrapeStatus {
    /// Where it is.
    pub url: String,
    /// When it was last asked.
    pub last: Option<Timestamp>,
    /// How long that took.
    pub took: Span,
    /// Its samples then.
    pub samples: usize,
    /// Lines then that are no samples.
    pub faults: usize,
    /// Values that were taken then.
    pub values: u64,
    /// Why the last one failed.
    pub error: Option<String>,
    /// Scrapes since the start.
    pub scrapes: u64,
    /// Of these, those that failed.
    pub failures: u64,
    /// Failures in a row.
    pub failing: u32,
    /// When it is asked next.
    pub next: Option<Timestamp>,
}

type Statuses = Arc<Mutex<BTreeMap<Arc<str>, ScrapeStatus>>>;

/// Asks targets, on a thread of its own, until dropped.
#[derive(Debug)]
pub struct Scraper {
    policy: Option<watch::Sender<Arc<[ScrapePolicy]>>>,
    statuses: Statuses,
    thread: Option<JoinHandle<()>>,
}

impl Scraper {
    /// Starts it; what it finds goes to `telemetry`.
    pub fn start(telemetry: Telemetry, policy: Arc<[ScrapePolicy]>) -> std::io::Result<Scraper> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, mut policies) = watch::channel(policy);
        let statuses = Statuses::default();
        let told = statuses.clone();
        let run = move || {
            lower_priority();
            runtime.block_on(supervise(&telemetry, &told, &mut policies));
            // A name that is still looked up is not waited for.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("scrape".into()).spawn(run)?;
        Ok(Scraper { policy: Some(sender), statuses, thread: Some(thread) })
    }

    /// Other targets from now on. Those that stay as they are go on.
    pub fn set_policy(&self, policy: Arc<[ScrapePolicy]>) {
        self.policy.iter().for_each(|sender| drop(sender.send_replace(policy.clone())));
    }

    /// What reads the status, from any thread.
    pub fn statuses(&self) -> impl Fn() -> BTreeMap<Arc<str>, ScrapeStatus> + Send + Sync + use<> {
        let statuses = self.statuses.clone();
        move || lock(&statuses).clone()
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.policy = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Keeps a task for each target, until the policy's sender is gone.
async fn supervise(
    telemetry: &Telemetry,
    statuses: &Statuses,
    policies: &mut watch::Receiver<Arc<[ScrapePolicy]>>,
) {
    let mut tasks: BTreeMap<Arc<str>, (ScrapePolicy, Task<()>)> = BTreeMap::new();
    loop {
        let wanted = policies.borrow_and_update().clone();
        tasks.retain(|name, (policy, task)| {
            let stays = wanted.iter().any(|wanted| wanted == policy);
            if !stays {
                task.abort();
                lock(statuses).remove(name);
            }
            stays
        });
        for policy in wanted.iter() {
            if !tasks.contains_key(&policy.name) {
                let task =
                    tokio::spawn(follow(telemetry.clone(), statuses.clone(), policy.clone()));
                tasks.insert(policy.name.clone(), (policy.clone(), task));
            }
        }
        if policies.changed().await.is_err() {
            return;
        }
    }
}

/// Asks one target, again and again.
async fn follow(telemetry: Telemetry, statuses: Statuses, policy: ScrapePolicy) {
    let url = policy.url.to_string();
    let mut status = ScrapeStatus { url, ..ScrapeStatus::default() };
    let mut counters = Counters::default();
    loop {
        let begun = Instant::now();
        let outcome = scrape(&telemetry, &policy, &mut counters, &mut status).await;
        let took = begun.elapsed();
        let now = telemetry.window().now;
        status.last = Some(now);
        status.took = Span::from_ms(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        status.scrapes += 1;
        note(&policy, &mut status, outcome.err());
        let wait = Span(pause(&policy, status.failing).0.saturating_sub(status.took.0));
        status.next = Some(now + wait);
        lock(&statuses).insert(policy.name.clone(), status.clone());
        tokio::time::sleep(Duration::from_millis(wait.0)).await;
    }
}

/// Counts a scrape, and says when it begins to fail, and when that is over.
fn note(policy: &ScrapePolicy, status: &mut ScrapeStatus, error: Option<String>) {
    let name = &policy.name;
    match &error {
        Some(error) => {
            if status.failing == 0 {
                tracing::warn!("scrape {name}: {error}");
            }
            status.failures += 1;
            status.failing = status.failing.saturating_add(1);
        }
        None => {
            if status.failing > 0 {
                tracing::info!(failures = status.failing, "scrape {name}: it answers again");
            }
            status.failing = 0;
        }
    }
    status.error = error;
}

/// From one scrape to the next: the interval, doubled with each failure after the first.
fn pause(policy: &ScrapePolicy, failing: u32) -> Span {
    let doubled = policy.interval.0.saturating_mul(1 << failing.saturating_sub(1).min(20));
    Span(doubled.min(PAUSE_MAX.0.max(policy.interval.0)))
}

async fn scrape(
    telemetry: &Telemetry,
    policy: &ScrapePolicy,
    counters: &mut Counters,
    status: &mut ScrapeStatus,
) -> Result<(), String> {
    (status.samples, status.faults, status.values) = (0, 0, 0);
    let window = telemetry.window();
    let mut collector = Collector::new(policy, counters, window.now);
    let mut lines = Lines::default();
    let excess = |Excess| format!("over {} samples (samples_max)", policy.samples_max);
    let mut feed = |piece: &[u8]| {
        let mut taken = Ok(());
        lines.feed(piece, |_, line| taken = taken.and_then(|()| collector.line(line)));
        taken.map_err(excess)
    };
    let fetched = fetch(policy, &mut feed).await;
    let mut taken = Ok(());
    lines.finish(|_, line| taken = collector.line(line));
    (status.samples, status.faults) = collector.counts();
    fetched?;
    taken.map_err(excess)?;
    if status.samples == 0 && status.faults > 0 {
        return Err("no line of it is a sample".into());
    }
    let mut entries = collector.finish();
    let who: Arc<str> = format!("scrape {}", policy.name).into();
    while !entries.is_empty() {
        let rest = entries.split_off(entries.len().min(ENTRIES_MAX));
        let push = Push {
            entries: (1..).zip(std::mem::replace(&mut entries, rest)).collect(),
            scope: Scope::All,
            who: who.clone(),
        };
        let answer = telemetry.push(push).map_err(|busy| busy.to_string())?;
        let taken = answer.await.map_err(|_| "telemetry has stopped".to_owned())?;
        let taken = taken.map_err(|busy| busy.to_string())?;
        status.values += taken.values;
        if let Some(fault) = taken.refused.first().filter(|_| taken.values == 0) {
            return Err(format!("nothing was taken: {}: {}", fault.field, fault.why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::collect::tests::scrape;
    use super::*;

    #[test]
    fn failures_slow_a_scrape_down() {
        let policy = scrape("url = \"http://a\"\ninterval = \"30s\"");
        let pauses = [0, 1, 2, 3, 6, 99].map(|failing| pause(&policy, failing).0 / 1000);
        assert_eq!(pauses, [30, 30, 60, 120, 600, 600]);
        let slow = scrape("url = \"http://a\"\ninterval = \"1h\"");
        assert_eq!(pause(&slow, 9), Span::from_secs(3600));
    }
}
