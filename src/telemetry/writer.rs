//! The writer's thread: checks what was pushed, makes it durable, and only then says so.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::base::{Span, Timestamp};
use crate::config::policy::TelemetryPolicy;

use super::catalogue::Scope;
use super::compact;
use super::error::FileError;
use super::event::{Event, EventId};
use super::journal::{self, Item, Journal};
use super::line::{Entry, LineFault};
use super::model::Point;
use super::open::{self, Opened};
use super::shared::{Busy, Job, Phase, Push, Shared, State, Taken};

/// Points in memory before they go into segments.
const HEAD_POINTS: usize = 1 << 20;
/// How long they wait at most.
const HEAD_AGE: Span = Span::from_secs(1800);
/// A journal that large is let go even if it holds few points.
const JOURNAL_BYTES: u64 = 64 << 20;
/// One frame gathers no more than this.
const FRAME_BYTES: usize = 4 << 20;
/// At least so long from one sync to the next, so that a flood costs the disk no more.
const PACE: Duration = Duration::from_millis(20);
/// How often to look whether the head is old.
const TICK: Duration = Duration::from_millis(500);
/// Lower than all else in the server.
const NICE: i32 = 10;

/// Runs until the queue ends.
pub(super) fn run(shared: &Arc<Shared>, jobs: &Receiver<Job>) {
    lower_priority();
    let opened = open::open(shared);
    let number = match opened {
        Ok(Opened { next_journal }) => next_journal,
        Err(error) => {
            tracing::error!("telemetry is off: {error}");
            shared.state().phase = Phase::Failed(error.to_string());
            return jobs.iter().for_each(|job| refuse(job, &Busy::Store(error.to_string())));
        }
    };
    let (wake, woken) = channel();
    let own = shared.clone();
    let thread = std::thread::Builder::new().name("telemetry-files".into());
    let compactor = thread.spawn(move || compact::run(&own, &woken));
    let mut writer = Writer::begin(shared, number, wake);
    shared.state().phase = Phase::Open;
    writer.run(jobs);
    drop(writer);
    if let Ok(thread) = compactor {
        let _ = thread.join();
    }
}

/// The calling thread, and those that it starts from now on, give way to those that answer packets.
/// Linux has a priority per thread (setpriority(2)).
pub fn lower_priority() {
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), NICE) {
        tracing::debug!("priority of a thread: {error}");
    }
}

/// Owns the journal.
pub(super) struct Writer<'a> {
    shared: &'a Arc<Shared>,
    /// `None` after one failed, until there is another.
    journal: Option<Journal>,
    /// The number of the next one.
    number: u64,
    synced: Instant,
    /// At least so long from one sync to the next.
    pub(super) pace: Duration,
    wake: Sender<()>,
}

/// One push on its way, or one event that goes.
enum Waiting {
    Push(Taken, oneshot::Sender<Result<Taken, Busy>>),
    Forget(Option<Event>, oneshot::Sender<Result<Option<Event>, Busy>>),
}

impl<'a> Writer<'a> {
    /// Begins journal `number`; what older ones say goes into segments.
    pub(super) fn begin(shared: &'a Arc<Shared>, number: u64, wake: Sender<()>) -> Writer<'a> {
        let (journal, synced, pace) = (None, Instant::now(), PACE);
        let mut writer = Writer { shared, journal, number, synced, pace, wake };
        writer.rotate();
        writer
    }

    fn run(&mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(TICK) {
                Ok(first) => self.commit(&mut std::iter::once(first).chain(jobs.try_iter())),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.tend();
        }
    }

    /// Begins another journal when it is time.
    pub(super) fn tend(&mut self) {
        if self.is_rotation_due() {
            self.rotate();
        }
    }

    /// Takes all that waits as one frame.
    pub(super) fn commit(&mut self, jobs: &mut dyn Iterator<Item = Job>) {
        std::thread::sleep(self.pace.saturating_sub(self.synced.elapsed()));
        if self.journal.is_none() {
            self.rotate();
        }
        let (mut items, mut frame, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            if let Some(busy) = self.why_not_now(&job) {
                refuse(job, &busy);
                continue;
            }
            let from = items.len();
            waiting.push(self.admit(job, &mut items));
            let new = items.get(from..).unwrap_or_default();
            new.iter().for_each(|item| journal::put_item(item, &mut frame));
            if frame.len() >= FRAME_BYTES {
                break;
            }
        }
        let written = self.write(&frame);
        let mut state = self.shared.state();
        state.in_flight = Timestamp::NEVER;
        if written.is_ok() {
            let now = (self.shared.now)();
            items.into_iter().for_each(|item| apply(&mut state, item, now));
        }
        drop(state);
        let failed = written.err().map(|error| Busy::Store(error.to_string()));
        waiting.into_iter().for_each(|waiting| self.answer(waiting, failed.as_ref()));
    }

    fn write(&mut self, frame: &[u8]) -> Result<(), FileError> {
        if frame.is_empty() {
            return Ok(());
        }
        let Some(journal) = &mut self.journal else {
            let path = journal::path(&self.shared.dir, self.number);
            let source = std::io::ErrorKind::NotFound.into();
            return Err(FileError::Io { what: "write", path, source });
        };
        let written = journal.append(frame);
        self.synced = Instant::now();
        self.shared.counts.syncs.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = &written {
            tracing::error!("telemetry: {error}");
            // After a failed sync nobody knows what of it is on disk: another one takes its place.
            self.journal = None;
        }
        written
    }

    fn answer(&self, waiting: Waiting, failed: Option<&Busy>) {
        match (waiting, failed) {
            (Waiting::Push(_, reply), Some(busy)) => drop(reply.send(Err(busy.clone()))),
            (Waiting::Forget(_, reply), Some(busy)) => drop(reply.send(Err(busy.clone()))),
            (Waiting::Push(taken, reply), None) => {
                let counts = &self.shared.counts;
                counts.values.fetch_add(taken.values, Ordering::Relaxed);
                counts.refused.fetch_add(taken.refused.len() as u64, Ordering::Relaxed);
                let _ = reply.send(Ok(taken));
            }
            (Waiting::Forget(event, reply), None) => drop(reply.send(Ok(event))),
        }
    }

    /// Why a job has to come again later.
    fn why_not_now(&self, job: &Job) -> Option<Busy> {
        let state = self.shared.state();
        match job {
            Job::Forget(..) => None,
            Job::Push(..) if state.full => {
                Some(Busy::Store("telemetry is full ([telemetry] max_size)".into()))
            }
            Job::Push(..) if state.frozen.is_some() && state.head.points() >= HEAD_POINTS => {
                Some(Busy::Later("telemetry comes faster than it can be written".into()))
            }
            Job::Push(..) => None,
        }
    }

    /// Checks what a job says; what may be taken goes to `items`.
    fn admit(&self, job: Job, items: &mut Vec<Item>) -> Waiting {
        let policy = self.shared.policy();
        let mut state = self.shared.state();
        match job {
            Job::Forget(id, reply) => {
                let event = state.events.get(id).cloned();
                items.extend(event.is_some().then_some(Item::Forget(id)));
                Waiting::Forget(event, reply)
            }
            Job::Push(Push { entries, scope, who }, reply) => {
                let mut taken = Taken::default();
                let now = (self.shared.now)();
                for (line, entry) in entries {
                    let admitted = match entry {
                        Entry::Report(report) => {
                            let values = report.values.len() as u64;
                            let item = state.admit_report(line, report, &scope, &policy);
                            item.inspect(|_| taken.values += values)
                        }
                        Entry::Event(draft) if !scope.has(draft.account.as_deref()) => {
                            Err(fault(line, "event.account", "want one of yours"))
                        }
                        Entry::Event(draft) => {
                            let event = state.events.number(draft, who.clone(), now);
                            let event = event.ok_or_else(|| {
                                fault(line, "event", "there are too many that are not over")
                            });
                            event.inspect(|e| taken.events.push(e.id)).map(Item::Event)
                        }
                    };
                    match admitted {
                        Ok(item) => {
                            taken.lines += 1;
                            items.push(item);
                        }
                        Err(fault) => taken.refused.push(fault),
                    }
                }
                Waiting::Push(taken, reply)
            }
        }
    }

    fn is_rotation_due(&self) -> bool {
        let state = self.shared.state();
        let now = (self.shared.now)();
        let large = state.head.points() >= HEAD_POINTS || state.journal_bytes >= JOURNAL_BYTES;
        let old = now.since(state.head.since()) >= HEAD_AGE;
        state.frozen.is_none() && (large || old || state.freeze)
    }

    /// Begins another journal. What the others say is on its way into segments, but for what is
    /// still under way from before.
    fn rotate(&mut self) {
        let number = self.number;
        let created = Journal::create(&self.shared.dir, number);
        self.number += 1;
        let journal = match created {
            Ok(journal) => journal,
            Err(error) => return tracing::error!("telemetry: {error}"),
        };
        let mut state = self.shared.state();
        state.journal_bytes += journal.bytes();
        self.journal = Some(journal);
        if state.frozen.is_none() {
            state.frozen = Some(Arc::new(std::mem::take(&mut state.head)));
            state.frozen_journal = number.saturating_sub(1);
            state.freeze = false;
            drop(state);
            let _ = self.wake.send(());
        }
    }
}

fn fault(line: u64, field: &str, why: &str) -> LineFault {
    LineFault { line, field: field.into(), why: why.into() }
}

fn refuse(job: Job, busy: &Busy) {
    match job {
        Job::Push(_, reply) => drop(reply.send(Err(busy.clone()))),
        Job::Forget(_, reply) => drop(reply.send(Err(busy.clone()))),
    }
}

impl State {
    fn admit_report(
        &mut self,
        line: u64,
        mut report: super::line::Report,
        scope: &Scope,
        policy: &TelemetryPolicy,
    ) -> Result<Item, LineFault> {
        if report.time < self.closed_until && !report.values.is_empty() {
            let ago = self.latest.since(report.time);
            let why = format!("its hour is closed: {ago} before the latest that was taken");
            return Err(fault(line, "time", &why));
        }
        self.catalogue.admit(line, &mut report, scope, &policy.limits)?;
        self.in_flight = self.in_flight.min(report.time);
        Ok(Item::Report(report))
    }
}

/// Takes in what is durable.
pub(super) fn apply(state: &mut State, item: Item, now: Timestamp) {
    match item {
        Item::Report(report) => {
            for (metric, value) in report.values {
                let key = super::model::SeriesKey { instance: report.instance.clone(), metric };
                state.head.add(&key, Point { time: report.time, value }, now);
            }
            state.latest = state.latest.max(report.time);
        }
        Item::Event(event) => state.events.add(event),
        Item::Forget(EventId(id)) => drop(state.events.forget(EventId(id))),
    }
}
