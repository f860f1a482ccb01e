//! The handle on telemetry, and what its threads and its readers share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::base::Timestamp;
use crate::config::policy::TelemetryPolicy;

use super::catalogue::{Catalogue, Known, Scope};
use super::error::FileError;
use super::event::{Event, EventId};
use super::events::{EventFilter, Events};
use super::files::{FileId, Files};
use super::head::Head;
use super::line::{Entry, LineFault, Window};
use super::model::Resolution;
use super::writer;

/// Pushes that may wait for the writer; who comes then is told to come again.
const QUEUE_MAX: usize = 64;
/// Where damaged files are put.
const DAMAGED: &str = "damaged";

/// Telemetry: takes what instances report, and reads it again. Clones are one and the same.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    queue: Mutex<Option<SyncSender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// It cannot be done now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// Too much waits already, or it is not open yet.
    #[error("{0}")]
    Later(String),
    /// What was sent could not be made durable.
    #[error("{0}")]
    Store(String),
}

/// What came of a push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Values that are durable now.
    pub values: u64,
    /// Lines of which everything is.
    pub lines: u64,
    /// The numbers of events.
    pub events: Vec<EventId>,
    /// What was not taken.
    pub refused: Vec<LineFault>,
}

/// Lines with their numbers, and whose they are.
#[derive(Clone, Debug, Default)]
pub struct Push {
    /// By number.
    pub entries: Vec<(u64, Entry)>,
    /// Whose instances the sender may speak of.
    pub scope: Scope,
    /// Who sends it.
    pub who: Arc<str>,
}

/// What the writer is asked.
pub(super) enum Job {
    Push(Push, oneshot::Sender<Result<Taken, Busy>>),
    Forget(EventId, oneshot::Sender<Result<Option<Event>, Busy>>),
}

/// What all threads share. No lock is held over a call to the disk.
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    policy: Mutex<Arc<TelemetryPolicy>>,
    state: Mutex<State>,
    pub(super) stop: AtomicBool,
    pub(super) counts: Counts,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) values: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) syncs: AtomicU64,
}

/// Whether it can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// What is on disk is being read.
    Opening,
    Open,
    /// It cannot be.
    Failed(String),
}

/// What is in memory.
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) head: Head,
    /// A former head on its way into segments.
    pub(super) frozen: Option<Arc<Head>>,
    /// The journals up to this one say nothing that the frozen head and a snapshot do not.
    pub(super) frozen_journal: u64,
    /// The head is wanted in segments, so that an hour can be closed.
    pub(super) freeze: bool,
    pub(super) files: Files,
    pub(super) journal_bytes: u64,
    pub(super) catalogue: Catalogue,
    pub(super) events: Events,
    /// Nothing before this is taken.
    pub(super) closed_until: Timestamp,
    /// The earliest time of what is admitted and not yet in the head.
    pub(super) in_flight: Timestamp,
    /// The latest time of any point.
    pub(super) latest: Timestamp,
    /// There is no room on disk, and nothing that could be removed.
    pub(super) full: bool,
    /// What was set aside since the start.
    pub(super) damaged: Vec<String>,
}

/// How telemetry is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// `opening`, `open`, or why it is neither.
    pub phase: String,
    /// Live series.
    pub series: usize,
    /// Instances that were heard of.
    pub instances: usize,
    /// Events that are kept.
    pub events: usize,
    /// Values taken since the start.
    pub values: u64,
    /// Lines refused since the start.
    pub refused: u64,
    /// Syncs of the journal since the start.
    pub syncs: u64,
    /// Points that are in no segment yet.
    pub pending: usize,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// The first moment of each resolution that is kept.
    pub since: Vec<(Resolution, Timestamp)>,
    /// Files that were damaged and set aside.
    pub damaged: Vec<String>,
}

impl Telemetry {
    /// Opens what is in `dir`, which is made, on a thread of its own: nobody waits for it.
    pub fn start(
        dir: &Path,
        policy: Arc<TelemetryPolicy>,
        now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> std::io::Result<Telemetry> {
        let shared = Arc::new(Shared::new(dir, policy, now));
        let (queue, jobs): (SyncSender<Job>, Receiver<Job>) = sync_channel(QUEUE_MAX);
        let own = shared.clone();
        let thread = std::thread::Builder::new().name("telemetry".into());
        let thread = thread.spawn(move || writer::run(&own, &jobs))?;
        let (queue, thread) = (Mutex::new(Some(queue)), Mutex::new(Some(thread)));
        Ok(Telemetry(Arc::new(Inner { shared, queue, thread })))
    }

    /// Ends its threads. What was acknowledged is on disk; later calls are refused.
    pub fn stop(&self) {
        self.shared().stop.store(true, Ordering::Relaxed);
        drop(lock(&self.0.queue).take());
        if let Some(thread) = lock(&self.0.thread).take() {
            let _ = thread.join();
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// What holds from now on.
    pub fn set_policy(&self, policy: Arc<TelemetryPolicy>) {
        *lock(&self.shared().policy) = policy;
    }

    /// What holds now.
    pub fn policy(&self) -> Arc<TelemetryPolicy> {
        self.shared().policy()
    }

    /// Which times are believed now.
    pub fn window(&self) -> Window {
        let TelemetryPolicy { past, future, .. } = *self.policy();
        Window { now: (self.shared().now)(), past, future }
    }

    /// Hands lines to the writer. What the answer counts is durable when it comes.
    pub fn push(&self, push: Push) -> Result<oneshot::Receiver<Result<Taken, Busy>>, Busy> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Push(push, reply))?;
        Ok(answer)
    }

    /// Lets an event go, durably.
    pub fn forget_event(
        &self,
        id: EventId,
    ) -> Result<oneshot::Receiver<Result<Option<Event>, Busy>>, Busy> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Forget(id, reply))?;
        Ok(answer)
    }

    fn send(&self, job: Job) -> Result<(), Busy> {
        let stopping = || Busy::Later("telemetry is stopping".into());
        let queue = lock(&self.0.queue).clone().ok_or_else(stopping)?;
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Busy::Later("too much telemetry waits to be written".into()),
            TrySendError::Disconnected(_) => stopping(),
        })
    }

    /// The event of this number.
    pub fn event(&self, id: EventId) -> Option<Event> {
        self.shared().state().events.get(id).cloned()
    }

    /// Up to `limit` events after `after`, and whether there are more.
    pub fn events(&self, filter: &EventFilter, after: EventId, limit: usize) -> (Vec<Event>, bool) {
        self.shared().state().events.page(filter, after, limit)
    }

    /// What is known of one instance.
    pub fn instance(&self, name: &str) -> Option<Known> {
        self.shared().state().catalogue.instances().get(name).cloned()
    }

    /// Up to `limit` instances after `after` that `wanted` wants, and whether there are more.
    pub fn instances(
        &self,
        after: Option<&str>,
        limit: usize,
        wanted: impl Fn(&str, &Known) -> bool,
    ) -> (Vec<(Arc<str>, Known)>, bool) {
        let state = self.shared().state();
        let all = state.catalogue.after(after);
        let mut found = all.filter(|(name, known)| wanted(name, known));
        let page = found.by_ref().take(limit);
        let page = page.map(|(name, known)| (name.clone(), known.clone())).collect();
        (page, found.next().is_some())
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        let counts = &self.shared().counts;
        let state = self.shared().state();
        let since = |resolution| {
            let first = state.files.all().find(|id| id.resolution == resolution);
            first.map(|id| (resolution, id.start))
        };
        Status {
            phase: match &state.phase {
                Phase::Opening => "opening".into(),
                Phase::Open if state.full => "full".into(),
                Phase::Open => "open".into(),
                Phase::Failed(why) => why.clone(),
            },
            series: state.catalogue.series(),
            instances: state.catalogue.instances().len(),
            events: state.events.len(),
            values: counts.values.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
            syncs: counts.syncs.load(Ordering::Relaxed),
            pending: state.head.points() + state.frozen.as_ref().map_or(0, |f| f.points()),
            disk_bytes: state.files.bytes() + state.journal_bytes,
            since: Resolution::NAMED.iter().filter_map(|(_, r)| since(*r)).collect(),
            damaged: state.damaged.clone(),
        }
    }
}

impl Shared {
    /// Nothing yet of what is in `dir`.
    pub(super) fn new(
        dir: &Path,
        policy: Arc<TelemetryPolicy>,
        now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Shared {
        Shared {
            dir: dir.to_owned(),
            now,
            policy: Mutex::new(policy),
            state: Mutex::new(State::new()),
            stop: AtomicBool::new(false),
            counts: Counts::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn policy(&self) -> Arc<TelemetryPolicy> {
        lock(&self.policy).clone()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn into_state(self) -> State {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a damaged segment where nobody reads it any more, and says so.
    pub(super) fn set_aside(&self, id: &FileId, error: &FileError) {
        let path = {
            let mut state = self.state();
            state.files.forget(id);
            state.files.path(id)
        };
        self.set_file_aside(&path, &error.to_string());
    }

    /// The same of any file.
    pub(super) fn set_file_aside(&self, path: &Path, why: &str) {
        let aside = self.dir.join(DAMAGED);
        let moved = std::fs::create_dir_all(&aside)
            .and_then(|()| std::fs::rename(path, aside.join(path.file_name().unwrap_or_default())));
        match moved {
            Ok(()) => tracing::error!(aside = %aside.display(), "telemetry: {why}; set aside"),
            Err(error) => tracing::error!("telemetry: {why}; cannot be set aside: {error}"),
        }
        let mut state = self.state();
        // What is told is bounded; the directory has all of it.
        if state.damaged.len() < 20 {
            state.damaged.push(why.to_owned());
        }
    }
}

impl State {
    fn new() -> State {
        State {
            phase: Phase::Opening,
            head: Head::default(),
            frozen: None,
            frozen_journal: 0,
            freeze: false,
            files: Files::default(),
            journal_bytes: 0,
            catalogue: Catalogue::default(),
            events: Events::default(),
            closed_until: Timestamp::default(),
            in_flight: Timestamp::NEVER,
            latest: Timestamp::default(),
            full: false,
            damaged: Vec::new(),
        }
    }

    /// The time of the data: retention and downsampling go by it, so that a clock that is wrong
    /// removes nothing.
    pub(super) fn data_time(&self, now: Timestamp) -> Timestamp {
        self.latest.min(now)
    }
}

/// Nothing that holds these locks leaves anything half-done when it panics.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::{Path, PathBuf};

    /// A directory of one test, gone with it.
    pub(in crate::telemetry) struct Dir(PathBuf);

    impl Dir {
        pub(in crate::telemetry) fn new(name: &str) -> Dir {
            let name = format!("foreshadow-telemetry-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Dir(path)
        }

        pub(in crate::telemetry) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
