//! Standbys and their switchovers: what comes next of each pair is done here, by the agents of its
//! hosts and by the engine.
//!
//! A thread of its own, beside the packets. What it does for a pair follows from the pair's record
//! and from what the hosts say ([`crate::switchover`]); it remembers nothing that a restart may not
//! lose.

mod asked;
mod case;
mod driver;
mod eyes;
mod hosts;
mod reach;
mod records;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::agent;
use crate::agent::guard::Fate;
use crate::api::command::Post;
use crate::base::Timestamp;
use crate::engine::Engine;
use crate::engine::effects::{Event, EventKind};
use crate::switchover::At;

use super::counters::Counters;
use super::work::Jobs;
pub(super) use asked::Agents;
use case::Case;
use driver::{Errand, Told};
use eyes::Eyes;
use hosts::Hosts;
use reach::HostName;
pub(super) use reach::Reach;
use records::{Pairs, Records};

/// How often hosts are asked what they hold, and records read, though nothing is known to have
/// changed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Words that may wait: more of them are one.
const WORDS_MAX: usize = 16;

/// What the thread is told.
#[derive(Debug)]
enum Word {
    /// The records may have changed.
    Changed,
    /// What is heard of a driver that was asked to do something.
    Drove(Errand, Told),
    /// What the agent of a host has seen of its guests, in order.
    Seen(HostName, Vec<agent::verb::Event>),
}

/// Has the thread look at the records.
#[derive(Clone, Debug)]
pub(super) struct Nudge(SyncSender<Word>);

impl Nudge {
    /// Something happened.
    pub(super) fn event(&self, event: &Event) {
        if matches!(event.kind, EventKind::Standby(..)) {
            self.nudge();
        }
    }

    /// Something may have changed.
    pub(super) fn nudge(&self) {
        // One that waits already is enough.
        let _ = self.0.try_send(Word::Changed);
    }
}

/// The thread.
struct Switcher {
    counters: Arc<Counters>,
    words: SyncSender<Word>,
    reach: Arc<Reach>,
    eyes: Eyes,
    records: Records,
    hosts: Hosts,
    cases: BTreeMap<Arc<str>, Case>,
    /// Those whose records are gone, while their drivers do something yet.
    leaving: Vec<Case>,
    looked: Instant,
}

/// Starts the thread; it ends with the process.
pub(super) fn start(
    jobs: Jobs<Engine>,
    post: Arc<dyn Post>,
    reach: &Arc<Reach>,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    counters: Arc<Counters>,
) -> std::io::Result<Nudge> {
    let (words, heard) = sync_channel(WORDS_MAX);
    let switcher = Switcher {
        counters,
        words: words.clone(),
        reach: reach.clone(),
        eyes: Eyes::new(reach.clone(), words.clone()),
        records: Records::new(jobs, post, now),
        hosts: Hosts::new(reach.clone(), words.clone()),
        cases: BTreeMap::new(),
        leaving: Vec::new(),
        looked: Instant::now(),
    };
    std::thread::Builder::new().name("switch".into()).spawn(move || switcher.run(&heard))?;
    Ok(Nudge(words))
}

impl Switcher {
    fn run(mut self, heard: &Receiver<Word>) {
        let mut changed = true;
        loop {
            let now = Instant::now();
            let looks = now.duration_since(self.looked) >= LOOK_EVERY;
            if changed || looks {
                self.read();
            }
            if looks {
                self.looked = now;
                self.look();
            }
            self.work();
            let retry = self.cases.values().filter_map(|case| case.retry_at).min();
            // Without pairs there is nothing to look at.
            let idle = self.cases.is_empty() && !self.hosts.holds_any();
            let due = retry.unwrap_or(self.looked + LOOK_EVERY);
            let wait = if idle { Duration::MAX } else { due.saturating_duration_since(now) };
            changed = match heard.recv_timeout(wait.min(Duration::from_hours(1))) {
                Ok(Word::Changed) => true,
                Ok(Word::Seen(host, events)) => {
                    self.judge(&host, &events);
                    false
                }
                Ok(Word::Drove(errand, told)) => {
                    self.count(&told);
                    let all = self.cases.get_mut(&errand.id).into_iter().chain(&mut self.leaving);
                    all.for_each(|case| case.driven(&errand, &told, &self.records));
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
        }
    }

    fn count(&self, told: &Told) {
        match told {
            Told::Progress(_) => {}
            Told::Done(Ok(())) => self.counters.driver_acts_done.add(1),
            Told::Done(Err(_)) => self.counters.driver_acts_failed.add(1),
        }
    }

    /// The records as they are now. Of a pair that is no more, its hosts are told.
    fn read(&mut self) {
        let pairs = match self.records.pairs() {
            Ok(Pairs { pairs, agents }) => {
                self.reach.set(agents);
                pairs
            }
            Err(error) => return tracing::debug!(%error, "standbys"),
        };
        let mut before = std::mem::take(&mut self.cases);
        for noted in pairs {
            let id = noted.pair.id.clone();
            let renewed = match before.remove(&id) {
                Some(case) if case.pair.created == noted.pair.created => case.renewed(noted),
                other => {
                    self.leaving.extend(other);
                    Case::new(noted)
                }
            };
            self.cases.insert(id, renewed);
        }
        for case in before.into_values() {
            self.hosts.forget(&case.pair);
            self.leaving.push(case);
        }
        let both = |case: &Case| [case.pair.active.host.clone(), case.pair.standby.host.clone()];
        self.eyes.follow(&self.cases.values().flat_map(both).collect());
    }

    /// Of each pair what was seen last counts. What is of another epoch is of who is no longer
    /// active; and a host is believed about its own guests alone.
    fn judge(&mut self, host: &HostName, events: &[agent::verb::Event]) {
        let last: BTreeMap<&str, _> = events.iter().map(|event| (&*event.pair, event)).collect();
        for event in last.into_values() {
            let Some(case) = self.cases.get_mut(&*event.pair) else { continue };
            if case.pair.epoch != event.epoch {
                continue;
            }
            let (active, standby) = (&case.pair.active.host, &case.pair.standby.host);
            match &event.fate {
                Fate::Failed { why, silent_us }
                    if active == host && case.pair.state.switchover().is_none() =>
                {
                    case.active_failed(why, micros(*silent_us), &self.records);
                }
                Fate::Answered { after_us } if standby == host => {
                    case.answers(micros(*after_us), &self.records)
                }
                _ => {}
            }
        }
    }

    /// What the hosts hold, as they say it: somebody may have changed it.
    fn look(&mut self) {
        for case in self.cases.values_mut() {
            for at in [At::Active, At::Standby] {
                let known = self.hosts.ask(&case.pair, at);
                case.heard(at, known);
            }
            case.dare_again();
        }
        self.hosts.let_go_of_strangers(|id| self.cases.contains_key(id));
    }

    fn work(&mut self) {
        let now = Instant::now();
        let Switcher { cases, leaving, records, hosts, words, .. } = self;
        leaving.retain_mut(|case| !case.leave(records, words));
        // One that has the name of another waits until that is gone.
        let is_free = |case: &Case| leaving.iter().all(|other| other.pair.id != case.pair.id);
        for case in cases.values_mut().filter(|case| case.is_due(now) && is_free(case)) {
            case.work(records, hosts, words);
        }
    }
}

fn micros(count: u32) -> Duration {
    Duration::from_micros(count.into())
}
