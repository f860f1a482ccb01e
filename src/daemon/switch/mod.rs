//! Standbys and their switchovers: what comes next of each pair is done here, by the agents of its
//! hosts and by the engine.
//!
//! A thread of its own, beside the packets. What it does for a pair follows from the pair's record
//! and from what the hosts say ([`crate::switchover`]); it remembers nothing that a restart may not
//! lose.

mod asked;
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
use crate::api::drive;
use crate::base::Timestamp;
use crate::config::policy::{DriverPolicy, OnFailure};
use crate::engine::Engine;
use crate::engine::effects::{Event, EventKind};
use crate::lease::directory::{Kind, Standby, Step};
use crate::switchover::{Act, At, Driven, Known, Reason, Seen, Stage, next};

use super::work::Jobs;
pub(super) use asked::Agents;
use driver::Deed;
use eyes::Eyes;
use hosts::Hosts;
use reach::HostName;
pub(super) use reach::Reach;
use records::{Pairs, Records, Written};

/// How often hosts are asked what they hold, and records read, though nothing is known to have
/// changed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How soon something that failed is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// Words that may wait: more of them are one.
const WORDS_MAX: usize = 16;
/// Acts for a pair in a row: more means that something does not take.
const ACTS_MAX: usize = 64;

/// What the thread is told.
#[derive(Debug)]
enum Word {
    /// The records may have changed.
    Changed,
    /// A driver did what it was asked for a pair, in that epoch, or failed.
    Drove(Arc<str>, u64, Deed, bool),
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

/// What is known of a pair, and when to look again.
struct Case {
    pair: Arc<Standby>,
    seen: Seen,
    blocked: Option<Reason>,
    retry_at: Option<Instant>,
    /// Since when a failed active is silent, where that was seen.
    silent_since: Option<Instant>,
    /// What sees to its guests.
    driver: Option<Arc<DriverPolicy>>,
    /// What that is doing.
    doing: Option<Deed>,
}

/// The thread.
struct Switcher {
    words: SyncSender<Word>,
    reach: Arc<Reach>,
    eyes: Eyes,
    records: Records,
    hosts: Hosts,
    cases: BTreeMap<Arc<str>, Case>,
    looked: Instant,
}

/// Starts the thread; it ends with the process.
pub(super) fn start(
    jobs: Jobs<Engine>,
    post: Arc<dyn Post>,
    reach: &Arc<Reach>,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
) -> std::io::Result<Nudge> {
    let (words, heard) = sync_channel(WORDS_MAX);
    let switcher = Switcher {
        words: words.clone(),
        reach: reach.clone(),
        eyes: Eyes::new(reach.clone(), words.clone()),
        records: Records::new(jobs, post, now),
        hosts: Hosts::new(reach.clone(), words.clone()),
        cases: BTreeMap::new(),
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
                Ok(Word::Drove(id, epoch, deed, well)) => {
                    let case = self.cases.get_mut(&id);
                    case.into_iter().for_each(|case| case.driven(epoch, deed, well));
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
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
        for (pair, driver) in pairs {
            let id = pair.id.clone();
            let case = match before.remove(&id) {
                Some(case) => case.renewed(pair, driver),
                None => Case::new(pair, driver),
            };
            self.cases.insert(id, case);
        }
        for case in before.into_values() {
            self.hosts.forget(&case.pair);
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
                    case.silent_since = Instant::now().checked_sub(micros(*silent_us));
                    case.active_failed(why, &self.records);
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
                *known_mut(&mut case.seen, &case.pair, at) = known;
            }
            case.retry_at = None;
            case.dare_again();
        }
        self.hosts.let_go_of_strangers(|id| self.cases.contains_key(id));
    }

    fn work(&mut self) {
        let now = Instant::now();
        let due = |case: &&mut Case| case.retry_at.is_none_or(|at| at <= now);
        let Switcher { cases, records, hosts, words, .. } = self;
        for case in cases.values_mut().filter(due) {
            case.retry_at = None;
            (0..ACTS_MAX).find(|_| !case.act(records, hosts, words));
        }
    }
}

impl Case {
    /// The active has failed: its standby takes over, where the policy says so and it can.
    fn active_failed(&mut self, why: &str, records: &Records) {
        let id = &self.pair.id;
        if self.pair.on_failure == OnFailure::Alert {
            return tracing::error!(standby = %id, why, "the active has failed");
        }
        match records.tell(&self.pair, drive::Driven::Begin(Kind::Failure, false)) {
            Ok(pair) => {
                tracing::error!(standby = %id, why, "the active has failed: its standby takes over");
                self.pair = pair;
            }
            Err(error) => {
                tracing::error!(standby = %id, why, %error, "the active has failed, and its standby cannot take over");
            }
        }
    }

    /// The standby was heard for the first time, so long after its gate was opened.
    fn answers(&mut self, after: Duration, records: &Records) {
        let failed = self.pair.state.switchover().is_some_and(|of| of.kind == Kind::Failure);
        let silent = self.silent_since.take().filter(|_| failed).map(|since| since.elapsed());
        let outage_us = silent.unwrap_or(after).as_micros().try_into().unwrap_or(u32::MAX);
        match records.tell(&self.pair, drive::Driven::Measured(self.pair.epoch, outage_us)) {
            Ok(pair) => self.pair = pair,
            Err(error) => tracing::debug!(standby = %self.pair.id, %error, "outage not written"),
        }
    }

    fn new(pair: Arc<Standby>, driver: Option<Arc<DriverPolicy>>) -> Case {
        let seen = due(driver.as_deref());
        let (blocked, retry_at, silent_since, doing) = (None, None, None, None);
        Case { pair, seen, blocked, retry_at, silent_since, driver, doing }
    }

    /// With what the record is now. A gate that was found to leak is looked at again. Of another
    /// switchover a driver has done nothing yet.
    fn renewed(self, pair: Arc<Standby>, driver: Option<Arc<DriverPolicy>>) -> Case {
        let mut seen = self.seen;
        if self.pair.gated && !pair.gated {
            seen.standby = Known::Nothing;
        }
        if self.pair.epoch != pair.epoch || self.driver != driver {
            seen = Seen { active: seen.active, standby: seen.standby, ..due(driver.as_deref()) };
        }
        Case { pair, seen, driver, retry_at: None, ..self }
    }

    /// A driver has it do something; what it says comes later.
    fn drive(&mut self, deed: Deed, records: &Records, words: &SyncSender<Word>) -> bool {
        let Some(driver) = &self.driver else { return false };
        let (id, epoch, words) = (self.pair.id.clone(), self.pair.epoch, words.clone());
        let done = move |result: Result<(), String>| {
            let _ = words.send(Word::Drove(id, epoch, deed, result.is_ok()));
        };
        match driver::start(driver, &self.pair, (deed, records.now()), done) {
            Ok(()) => self.doing = Some(deed),
            Err(error) => {
                tracing::error!(standby = %self.pair.id, %error, "no thread for a driver");
                self.retry_at = Some(Instant::now() + RETRY);
            }
        }
        false
    }

    /// A driver did it, or failed. What it did for another switchover counts for nothing.
    fn driven(&mut self, epoch: u64, deed: Deed, well: bool) {
        self.doing = None;
        if epoch == self.pair.epoch {
            let result = if well { Driven::Done } else { Driven::Failed };
            match deed {
                Deed::FinalPass => self.seen.final_pass = result,
                Deed::Wake => self.seen.woken = result,
                Deed::End => self.seen.ended = result,
            }
        }
    }

    /// What failed to end a former active is tried again from time to time.
    fn dare_again(&mut self) {
        if self.seen.ended == Driven::Failed {
            self.seen.ended = Driven::Due;
        }
    }

    /// Does what comes next; whether to go on.
    fn act(&mut self, records: &Records, hosts: &mut Hosts, words: &SyncSender<Word>) -> bool {
        if self.doing.is_some() {
            return false;
        }
        let act = next(&self.pair, &self.seen);
        if !matches!(act, Act::Blocked(_)) {
            self.blocked = None;
        }
        let epoch = self.pair.epoch;
        let written = match act {
            Act::Rest => return false,
            Act::Blocked(reason) => return self.wait(reason),
            Act::Ask(at) => return self.know(at, hosts.ask(&self.pair, at)),
            Act::Hold(at, stage) => return self.hold(at, stage, records, hosts),
            Act::LetGo(at) => return self.know(at, hosts.let_go(&self.pair, at)),
            Act::FinalPass => return self.drive(Deed::FinalPass, records, words),
            Act::Wake => return self.drive(Deed::Wake, records, words),
            Act::End => return self.drive(Deed::End, records, words),
            Act::Gated => records.tell(&self.pair, drive::Driven::Gate(true)),
            Act::Record(step) => self.record(step, records),
            Act::Promote => records.tell(&self.pair, drive::Driven::Promote(epoch)),
            Act::Abort(reason) => {
                tracing::warn!(standby = %self.pair.id, reason = reason.text(), "taken back");
                records.tell(&self.pair, drive::Driven::Abort(epoch))
            }
            Act::Finish => records.tell(&self.pair, drive::Driven::Finish(epoch)),
        };
        match written {
            Ok(pair) => {
                self.pair = pair;
                true
            }
            Err(error) => {
                tracing::warn!(standby = %self.pair.id, %error, "not written");
                self.retry_at = Some(Instant::now() + RETRY);
                false
            }
        }
    }

    /// On one host the order that opens the standby has silenced the active too.
    fn record(&self, step: Step, records: &Records) -> Written {
        let is_failure = self.pair.state.switchover().is_some_and(|s| s.kind == Kind::Failure);
        let is_one_host = self.pair.active.host == self.pair.standby.host;
        let epoch = self.pair.epoch;
        if is_failure && is_one_host && step > Step::Fenced {
            records.tell(&self.pair, drive::Driven::Step(epoch, Step::Fenced))?;
        }
        records.tell(&self.pair, drive::Driven::Step(epoch, step))
    }

    fn hold(&mut self, at: At, stage: Stage, records: &Records, hosts: &mut Hosts) -> bool {
        let known = match records.ends(&self.pair) {
            Ok(ends) => hosts.hold(&self.pair, &ends, at, stage),
            Err(error) => {
                if self.blocked != Some(Reason::Refused(at)) {
                    tracing::warn!(standby = %self.pair.id, %error, "cannot be gated");
                }
                Known::Refused(None)
            }
        };
        self.know(at, known)
    }

    /// Something is known of a host now; whether to go on with it.
    fn know(&mut self, at: At, known: Known) -> bool {
        *known_mut(&mut self.seen, &self.pair, at) = known;
        if known == Known::Nothing {
            self.retry_at = Some(Instant::now() + RETRY);
        }
        known != Known::Nothing
    }

    fn wait(&mut self, reason: Reason) -> bool {
        if self.blocked != Some(reason) {
            let reason = reason.text();
            tracing::warn!(standby = %self.pair.id, reason, "does not go on; tried again");
        }
        self.blocked = Some(reason);
        self.retry_at = Some(Instant::now() + RETRY);
        // What was not to be had may be by then.
        for known in [&mut self.seen.active, &mut self.seen.standby] {
            if matches!(known, Known::Unreachable | Known::Refused(_)) {
                *known = Known::Nothing;
            }
        }
        false
    }
}

/// Where what is known of a host is kept: both guests can be on one.
fn known_mut<'a>(seen: &'a mut Seen, pair: &Standby, at: At) -> &'a mut Known {
    match at {
        At::Active if pair.active.host != pair.standby.host => &mut seen.active,
        _ => &mut seen.standby,
    }
}

fn micros(count: u32) -> Duration {
    Duration::from_micros(count.into())
}

/// Nothing is known, and what a driver can do is to be done when its turn comes.
fn due(driver: Option<&DriverPolicy>) -> Seen {
    let of = |deed: Deed| match driver.and_then(|driver| deed.way(driver)) {
        Some(_) => Driven::Due,
        None => Driven::Absent,
    };
    let (final_pass, woken, ended) = (of(Deed::FinalPass), of(Deed::Wake), of(Deed::End));
    Seen { final_pass, woken, ended, ..Seen::default() }
}
