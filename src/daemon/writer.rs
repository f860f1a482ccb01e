//! What the committer does with its store, apart from the thread that it does it in.
//!
//! After a failed commit it drops every batch until it is given all contents, because these
//! batches build on one that is lost. It writes the contents into new files, again and again
//! with growing pauses, until that succeeds. Time comes from whoever made it, so that it can be
//! played as fast as a simulation likes.

use std::time::{Duration, Instant};

use crate::lease::{Change, Seq};
use crate::store::{BackupDone, Contents, Store, StoreError, StoreStats};

/// The store's background work comes at least this often.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// Between commits it comes no more often than this.
const MAINTAIN_IDLE: Duration = Duration::from_millis(100);
/// Pause after the first failed rebuild; doubled up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What the committer tells the driver.
#[derive(Debug)]
pub enum Report {
    /// All batches up to this one are durable.
    Committed(Seq),
    /// This batch and every later one are lost. Call [`Committer::restart`] with what to write.
    Failed(Seq, Need, StoreError),
    /// Commits go on, but the checkpoint does not: all contents are wanted.
    Stalled(Need, StoreError),
    /// The store is whole again.
    Ready,
    /// It could not be rebuilt yet.
    StillBroken(StoreError),
}

/// Names one wish for contents, so that an answer to an older one is known as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub(super) epoch: u64,
    /// The store has to be written anew; else it only has to go on.
    pub contents: bool,
}

/// Tells the time.
pub type Stopwatch = Box<dyn Fn() -> Instant + Send>;

/// Commits, and heals the store when it fails.
pub struct Writer {
    store: Box<dyn Store>,
    stopwatch: Stopwatch,
    epoch: u64,
    state: State,
    maintained: Instant,
    reports: Vec<Report>,
}

enum State {
    Sound,
    /// Commits work, the checkpoint does not; contents were asked for.
    Stalled,
    /// Batches are dropped until contents come.
    Failed,
    /// Contents came and could not be written yet.
    Rebuilding {
        contents: Box<Contents>,
        retry: Instant,
        pause: Duration,
    },
}

impl Writer {
    /// One that writes to `store`.
    pub fn new(store: Box<dyn Store>, stopwatch: Stopwatch) -> Writer {
        let maintained = stopwatch();
        let (state, reports) = (State::Sound, Vec::new());
        Writer { store, stopwatch, epoch: 0, state, maintained, reports }
    }

    /// How long it may be left alone when nothing comes.
    pub fn patience(&self) -> Duration {
        let now = (self.stopwatch)();
        match &self.state {
            State::Rebuilding { retry, .. } => retry.saturating_duration_since(now),
            State::Sound => {
                MAINTAIN_EVERY.saturating_sub(now.saturating_duration_since(self.maintained))
            }
            State::Stalled | State::Failed => MAINTAIN_EVERY,
        }
    }

    /// What happened since the last call.
    pub fn reports(&mut self) -> std::vec::Drain<'_, Report> {
        self.reports.drain(..)
    }

    /// The store's figures.
    pub fn stats(&self) -> StoreStats {
        self.store.stats()
    }

    /// Copies the store.
    pub fn backup(&mut self, to: &std::path::Path, done: BackupDone) {
        self.store.backup(to, done);
    }

    /// Commits the batches from `first` to `last`; whether they are durable.
    pub fn group(&mut self, first: Seq, last: Seq, changes: &[Change]) -> bool {
        if !matches!(self.state, State::Sound | State::Stalled) {
            return false;
        }
        match self.store.commit(last, changes) {
            Ok(()) => {
                self.reports.push(Report::Committed(last));
                true
            }
            Err(e) => {
                // Two errors refuse this batch and leave the store as it was.
                let refused = matches!(e, StoreError::Record(_) | StoreError::OutOfOrder { .. });
                let need = self.need(!refused);
                self.state = State::Failed;
                self.reports.push(Report::Failed(first, need, e));
                false
            }
        }
    }

    /// Takes the answer to a [`Need`].
    pub fn restart(&mut self, need: Need, contents: Box<Contents>) {
        if need.epoch != self.epoch {
            return;
        }
        match (&self.state, need.contents) {
            (State::Stalled, _) => self.rebuild_stalled(&contents),
            (_, true) => {
                let (retry, pause) = ((self.stopwatch)(), BACKOFF_MIN);
                self.state = State::Rebuilding { contents, retry, pause };
            }
            (_, false) => {
                self.state = State::Sound;
                self.reports.push(Report::Ready);
            }
        }
    }

    /// Batches go on while the checkpoint does not, so contents are soon old: these are tried
    /// once, and others are asked for when the background work fails again.
    fn rebuild_stalled(&mut self, contents: &Contents) {
        self.state = State::Sound;
        match self.store.rebuild(contents) {
            Ok(()) => {
                self.reports.push(Report::Committed(contents.seq));
                self.reports.push(Report::Ready);
            }
            Err(e) => {
                self.maintained = (self.stopwatch)() + BACKOFF_MAX;
                self.reports.push(Report::StillBroken(e));
            }
        }
    }

    /// Background work: what failed is tried again, and the store looks after itself, more often
    /// when it `is_idle`.
    pub fn work(&mut self, is_idle: bool) {
        self.retry_rebuild();
        self.maintain(is_idle);
    }

    fn retry_rebuild(&mut self) {
        let State::Rebuilding { contents, retry, pause } = &mut self.state else { return };
        if *retry > (self.stopwatch)() {
            return;
        }
        match self.store.rebuild(contents) {
            Ok(()) => {
                let seq = contents.seq;
                self.state = State::Sound;
                self.reports.push(Report::Committed(seq));
                self.reports.push(Report::Ready);
            }
            Err(e) => {
                *retry = (self.stopwatch)() + *pause;
                *pause = (*pause * 2).min(BACKOFF_MAX);
                self.reports.push(Report::StillBroken(e));
            }
        }
    }

    fn maintain(&mut self, is_idle: bool) {
        let due = if is_idle { MAINTAIN_IDLE } else { MAINTAIN_EVERY };
        let since = (self.stopwatch)().saturating_duration_since(self.maintained);
        if !matches!(self.state, State::Sound) || since < due {
            return;
        }
        let outcome = self.store.maintain();
        self.maintained = (self.stopwatch)();
        if let Err(e) = outcome {
            let need = self.need(true);
            self.state = State::Stalled;
            self.reports.push(Report::Stalled(need, e));
        }
    }

    fn need(&mut self, contents: bool) -> Need {
        self.epoch += 1;
        Need { epoch: self.epoch, contents }
    }
}
