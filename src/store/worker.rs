//! The checkpoint's own thread, so that merging, syncing and rewriting never hold up a commit.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use super::block::Changes;
use super::checkpoint::Checkpoint;
use super::layout::{Current, Layout};
use super::{BackupDone, StoreError, layout};

/// What the thread is asked to do, in order.
enum Job {
    /// Take in all changes up to this batch.
    Merge(Changes, u64),
    /// Copy everything to a new directory.
    Backup(PathBuf, BackupDone),
}

/// What came of a merge.
pub(super) struct Merged {
    /// The journal that held these changes may be written over, unless this is an error.
    pub(super) result: Result<(), StoreError>,
    /// Size of the checkpoint.
    pub(super) disk_bytes: u64,
}

/// The handle on the thread.
pub(super) struct Worker {
    layout: Arc<Layout>,
    jobs: Option<Sender<Job>>,
    merged: Receiver<Merged>,
    /// A merge has not come back.
    busy: bool,
    thread: Option<JoinHandle<()>>,
    /// In place of the thread, and where it would report.
    inline: Option<(State, Sender<Merged>)>,
}

impl Worker {
    /// Starts the thread; `checkpoint` is the one that `current` names.
    pub(super) fn start(
        layout: Arc<Layout>,
        current: Current,
        checkpoint: Checkpoint,
        cache: u64,
    ) -> Result<Worker, StoreError> {
        let (jobs, todo) = channel();
        let (report, merged) = channel();
        let path = layout.dir.clone();
        let mut state = State {
            layout: Arc::clone(&layout),
            current,
            checkpoint,
            cache,
            rewrite_above: 0,
            failed: false,
        };
        if layout.disk.is_single_threaded() {
            let inline = Some((state, report));
            return Ok(Worker { layout, jobs: None, merged, busy: false, thread: None, inline });
        }
        let thread = std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || state.run(&todo, &report))
            .map_err(|source| StoreError::Io { what: "start a thread for", path, source })?;
        let (jobs, thread) = (Some(jobs), Some(thread));
        Ok(Worker { layout, jobs, merged, busy: false, thread, inline: None })
    }

    /// Whether a merge is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Hands over a merge.
    pub(super) fn merge(&mut self, changes: Changes, seq: u64) {
        self.busy = true;
        self.send(Job::Merge(changes, seq));
    }

    /// Hands over a backup of all that was merged before.
    pub(super) fn backup(&mut self, to: PathBuf, done: BackupDone) {
        self.send(Job::Backup(to, done));
    }

    /// What came of the merge under way, if it came back.
    pub(super) fn poll(&mut self) -> Option<Merged> {
        match self.merged.try_recv() {
            Ok(merged) => Some(self.back(Some(merged))),
            Err(TryRecvError::Disconnected) if self.busy => Some(self.back(None)),
            Err(_) => None,
        }
    }

    /// Waits for the merge under way, if there is one.
    pub(super) fn wait(&mut self) -> Option<Merged> {
        if !self.busy {
            return None;
        }
        let merged = self.merged.recv().ok();
        Some(self.back(merged))
    }

    /// A merge whose thread ended has failed.
    fn back(&mut self, merged: Option<Merged>) -> Merged {
        self.busy = false;
        merged.unwrap_or_else(|| {
            let (path, why) = (self.layout.dir.clone(), "its thread has ended".to_owned());
            Merged { result: Err(StoreError::Checkpoint { path, why }), disk_bytes: 0 }
        })
    }

    fn send(&mut self, job: Job) {
        if let Some((state, report)) = &mut self.inline {
            state.take(job, report);
        } else if let Some(jobs) = &self.jobs {
            // The thread ends only when this sender does.
            let _ = jobs.send(job);
        }
    }
}

/// Ends the thread after what it has been given.
impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct State {
    layout: Arc<Layout>,
    current: Current,
    checkpoint: Checkpoint,
    cache: u64,
    /// After a rewrite failed: the size at which to try again.
    rewrite_above: u64,
    /// A merge failed.
    failed: bool,
}

impl State {
    fn run(&mut self, todo: &Receiver<Job>, report: &Sender<Merged>) {
        for job in todo {
            self.take(job, report);
        }
    }

    fn take(&mut self, job: Job, report: &Sender<Merged>) {
        match job {
            Job::Merge(..) | Job::Backup(..) if self.failed => refuse(job, self, report),
            Job::Merge(changes, seq) => {
                let merged = self.checkpoint.merge(&changes, seq);
                let result = merged.and_then(|()| self.rewrite_if_needed());
                self.failed = result.is_err();
                self.report(result, report);
            }
            Job::Backup(to, done) => done(self.backup(to)),
        }
    }

    fn report(&self, result: Result<(), StoreError>, report: &Sender<Merged>) {
        let disk_bytes = self.checkpoint.disk_bytes();
        let _ = report.send(Merged { result, disk_bytes });
    }

    /// Copies the checkpoint to fresh files when sled's have grown out of proportion. A disk that
    /// is too full for that is no failure; it is tried again when they have grown by half.
    fn rewrite_if_needed(&mut self) -> Result<(), StoreError> {
        let size = self.checkpoint.disk_bytes();
        if !self.checkpoint.wants_rewrite() || size < self.rewrite_above {
            return Ok(());
        }
        let number = self.layout.free_number()?;
        let dir = self.layout.checkpoint(number);
        let batch = self.checkpoint.seq();
        let next = Current { checkpoint: number, batch, ..self.current };
        let copied = self.checkpoint.copy_to(&dir, self.cache);
        let ready = copied.and_then(|copy| self.layout.prepare(next).map(|()| copy));
        let Ok(copy) = ready else {
            let _ = self.layout.disk.remove(&dir);
            self.rewrite_above = size + size / 2;
            return Ok(());
        };
        self.layout.activate()?;
        self.current = next;
        self.checkpoint = copy;
        self.rewrite_above = 0;
        let _ = self.layout.remove_others(self.current);
        Ok(())
    }

    fn backup(&self, to: PathBuf) -> Result<(), StoreError> {
        let target = Layout::lock(&to, self.layout.disk.clone(), self.layout.format)?;
        target.check_vacant()?;
        let copy = self.checkpoint.copy_to(&target.checkpoint(1), 0)?;
        let (format, batch, salt) = (target.format, copy.seq(), layout::new_salt());
        drop(copy);
        let current = Current { format, journal: 1, checkpoint: 1, batch, salt };
        target.create_journals(current)?;
        target.prepare(current)?;
        target.activate()
    }
}

/// After a failed merge nothing more goes into these files, and nothing is copied from them.
fn refuse(job: Job, state: &State, report: &Sender<Merged>) {
    match job {
        Job::Merge(..) => state.report(Err(StoreError::Broken), report),
        Job::Backup(_, done) => done(Err(StoreError::Broken)),
    }
}
