//! The thread that makes changes durable, beside the one that answers packets.
//!
//! The driver appends each batch to a queue; the thread takes everything that is waiting and
//! commits it as one group, with one sync. What it did comes back as a [`Report`].
//!
//! Memory is bounded by [`CHANGES_MAX`] changes in the queue: a disk that hangs for longer than
//! that takes makes the driver leave packets in the kernel's buffers (see [`Committer::has_room`]).
//!
//! What it does with a group, and after a failure, is the [`Writer`]'s.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::lease::{Change, Seq};
use crate::net::Waker;
use crate::store::{BackupDone, Contents, Store, StoreStats};

use super::counters::Counters;
use super::writer::Writer;
pub use super::writer::{Need, Report};

/// Changes in the queue, beyond those being committed, before the driver stops taking packets.
pub const CHANGES_MAX: usize = 1 << 16;
/// Buffers kept for the next batches.
const SPARE_MAX: usize = 4;

/// The driver's side.
#[derive(Debug)]
pub struct Committer {
    shared: Arc<Shared>,
    reports: Receiver<Report>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something was queued.
    filled: Condvar,
    /// Something was taken.
    taken: Condvar,
    stats: Mutex<StoreStats>,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    /// Changes in `items`.
    changes: usize,
    spare: Vec<Vec<Change>>,
    stop: bool,
    /// The thread waits for something: to wake it when it does not is a system call for nothing.
    is_idle: bool,
}

enum Item {
    /// Batches from `first` to `last`.
    Group {
        first: Seq,
        last: Seq,
        changes: Vec<Change>,
    },
    Restart(Need, Box<Contents>),
    Backup(PathBuf, BackupDone),
}

impl Committer {
    /// Starts the thread. `waker` ends the driver's wait when there is a report.
    pub fn start(
        store: Box<dyn Store>,
        waker: Waker,
        counters: Arc<Counters>,
    ) -> std::io::Result<Committer> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            taken: Condvar::new(),
            stats: Mutex::new(store.stats()),
        });
        let (sender, reports) = mpsc::channel();
        let worker = Worker {
            writer: Writer::new(store, Box::new(Instant::now)),
            shared: Arc::clone(&shared),
            reports: sender,
            waker,
            counters,
        };
        let thread =
            std::thread::Builder::new().name("committer".into()).spawn(move || worker.run())?;
        Ok(Committer { shared, reports, thread: Some(thread) })
    }

    /// Queues a batch; `changes` is emptied and keeps its memory or gets other.
    pub fn commit(&self, seq: Seq, changes: &mut Vec<Change>) {
        let mut queue = self.shared.lock();
        queue.changes += changes.len();
        if let Some(Item::Group { last, changes: group, .. }) = queue.items.back_mut() {
            *last = seq;
            group.append(changes);
        } else {
            let empty = queue.spare.pop().unwrap_or_default();
            let changes = std::mem::replace(changes, empty);
            queue.items.push_back(Item::Group { first: seq, last: seq, changes });
        }
        let is_idle = queue.is_idle;
        drop(queue);
        if is_idle {
            self.shared.filled.notify_one();
        }
    }

    /// Answers a [`Need`]: everything that is to be in the store, the batches queued so far
    /// included.
    pub fn restart(&self, need: Need, contents: Contents) {
        self.push(Item::Restart(need, Box::new(contents)));
    }

    /// Copies the store to `to`, after the batches queued so far.
    pub fn backup(&self, to: PathBuf, done: BackupDone) {
        self.push(Item::Backup(to, done));
    }

    fn push(&self, item: Item) {
        self.shared.lock().items.push_back(item);
        self.shared.filled.notify_one();
    }

    /// What happened since the last call.
    pub fn reports(&self) -> impl Iterator<Item = Report> + '_ {
        self.reports.try_iter()
    }

    /// Whether the driver may go on taking packets.
    pub fn has_room(&self) -> bool {
        self.shared.lock().changes < CHANGES_MAX
    }

    /// Waits until there is room, for a while at most.
    pub fn wait_for_room(&self, at_most: Duration) {
        let queue = self.shared.lock();
        let full = |queue: &mut Queue| queue.changes >= CHANGES_MAX;
        drop(self.shared.taken.wait_timeout_while(queue, at_most, full));
    }

    /// The store's figures after its last commit or background work.
    pub fn stats(&self) -> StoreStats {
        *self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the thread has ended, which it does by itself only by a fault of ours.
    pub fn is_dead(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Commits what is queued, closes the store and returns the last reports.
    pub fn stop(mut self) -> Vec<Report> {
        self.end();
        self.reports.try_iter().collect()
    }

    fn end(&mut self) {
        self.shared.lock().stop = true;
        self.shared.filled.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic in the store was reported when it happened; here nothing can be saved.
            let _ = thread.join();
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code panics while it holds the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

/// The thread's side.
struct Worker {
    writer: Writer,
    shared: Arc<Shared>,
    reports: Sender<Report>,
    waker: Waker,
    counters: Arc<Counters>,
}

impl Worker {
    fn run(mut self) {
        loop {
            let (item, stop) = self.next();
            match item {
                Some(Item::Group { first, last, changes }) => self.group(first, last, changes),
                Some(Item::Restart(need, contents)) => self.writer.restart(need, contents),
                Some(Item::Backup(to, done)) => self.writer.backup(&to, done),
                None if stop => return,
                None => {}
            }
            self.tell();
            self.writer.work(self.shared.lock().items.is_empty());
            self.tell();
            *self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner) = self.writer.stats();
        }
    }

    fn group(&mut self, first: Seq, last: Seq, mut changes: Vec<Change>) {
        let began = Instant::now();
        if self.writer.group(first, last, &changes) {
            self.counters.committed(changes.len(), began.elapsed());
        }
        changes.clear();
        let mut queue = self.shared.lock();
        if queue.spare.len() < SPARE_MAX {
            queue.spare.push(changes);
        }
    }

    fn tell(&mut self) {
        for report in self.writer.reports() {
            // A driver that is gone waits for nothing.
            let _ = self.reports.send(report);
            self.waker.wake();
        }
    }

    /// Waits for the next item, or until there is something else to do.
    fn next(&self) -> (Option<Item>, bool) {
        let wait = self.writer.patience();
        let mut queue = self.shared.lock();
        queue.is_idle = true;
        let idle = |queue: &mut Queue| queue.items.is_empty() && !queue.stop;
        let waited = self.shared.filled.wait_timeout_while(queue, wait, idle);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.is_idle = false;
        let item = queue.items.pop_front();
        if let Some(Item::Group { changes, .. }) = &item {
            let was_full = queue.changes >= CHANGES_MAX;
            queue.changes -= changes.len();
            if was_full {
                self.shared.taken.notify_one();
            }
        }
        (item, queue.stop)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use crate::base::NetworkId;
    use crate::net::Poller;
    use crate::store::StoreError;
    use crate::store::mem::{Failure, MemDisk, MemStore};

    use super::*;

    fn change(n: u8) -> Vec<Change> {
        vec![Change::Remove(NetworkId(1), std::net::Ipv4Addr::new(10, 0, 0, n).into(), None)]
    }

    fn meta(name: &str) -> Vec<Change> {
        vec![Change::Meta(name.into(), Box::from(*b"value"))]
    }

    fn start(store: impl Store + 'static) -> (Committer, Poller, Arc<Counters>) {
        let (poller, counters) = (Poller::new().unwrap(), Arc::new(Counters::default()));
        let committer = Committer::start(Box::new(store), poller.waker(), Arc::clone(&counters));
        (committer.unwrap(), poller, counters)
    }

    /// Waits for the next report.
    fn next(committer: &Committer) -> Report {
        committer.reports.recv_timeout(Duration::from_secs(10)).expect("a report")
    }

    fn contents(seq: u64, names: &[&str]) -> Contents {
        let meta = names.iter().map(|name| ((*name).into(), Box::from(*b"value"))).collect();
        Contents { meta, seq: Seq(seq), ..Contents::default() }
    }

    /// Holds each commit until it is let through, so that others queue up behind it.
    struct Gated(MemStore, mpsc::SyncSender<()>, Receiver<()>);

    impl Store for Gated {
        fn commit(&mut self, seq: Seq, changes: &[Change]) -> Result<(), StoreError> {
            let _ = (self.1.send(()), self.2.recv());
            self.0.commit(seq, changes)
        }
        fn maintain(&mut self) -> Result<(), StoreError> {
            self.0.maintain()
        }
        fn rebuild(&mut self, contents: &Contents) -> Result<(), StoreError> {
            self.0.rebuild(contents)
        }
        fn backup(&mut self, to: &std::path::Path, done: BackupDone) {
            self.0.backup(to, done);
        }
        fn stats(&self) -> StoreStats {
            self.0.stats()
        }
    }

    #[test]
    fn what_queues_up_is_committed_as_one() {
        let disk = MemDisk::new(1);
        let ((begun_in, begun), (open, open_out)) = (sync_channel(9), sync_channel(9));
        let (committer, _poller, counters) = start(Gated(disk.open().0, begun_in, open_out));
        committer.commit(Seq(1), &mut change(1));
        begun.recv().unwrap();
        for n in 2..=50 {
            committer.commit(Seq(n), &mut change(n as u8));
        }
        open.send(()).unwrap();
        open.send(()).unwrap();
        assert!(matches!(next(&committer), Report::Committed(Seq(1))));
        assert!(matches!(next(&committer), Report::Committed(Seq(50))));
        assert_eq!((counters.commit_us.count(), counters.commit_changes.sum.get()), (2, 50));
        assert!(committer.stop().is_empty());
    }

    #[test]
    fn a_full_queue_says_so_until_it_is_taken() {
        let disk = MemDisk::new(1);
        let ((begun_in, begun), (open, open_out)) = (sync_channel(9), sync_channel(9));
        let (committer, _poller, _) = start(Gated(disk.open().0, begun_in, open_out));
        committer.commit(Seq(1), &mut change(1));
        begun.recv().unwrap();
        assert!(committer.has_room());
        let [change] = &change(2)[..] else { unreachable!() };
        committer.commit(Seq(2), &mut vec![change.clone(); CHANGES_MAX]);
        assert!(!committer.has_room());
        committer.wait_for_room(Duration::ZERO);
        open.send(()).unwrap();
        begun.recv().unwrap();
        committer.wait_for_room(Duration::from_secs(10));
        assert!(committer.has_room());
        drop(open);
        assert_eq!(committer.stop().len(), 2);
    }

    #[test]
    fn after_a_failure_nothing_is_committed_until_the_contents_come() {
        let disk = MemDisk::new(1);
        disk.fail_commit(2, Failure::Unsynced);
        disk.fail_rebuild(1);
        let (committer, _poller, _) = start(disk.open().0);
        committer.commit(Seq(1), &mut meta("one"));
        assert!(matches!(next(&committer), Report::Committed(Seq(1))));
        committer.commit(Seq(2), &mut meta("two"));
        let Report::Failed(Seq(2), need, _) = next(&committer) else { panic!("no failure") };
        assert!(need.contents);
        // Built on what is lost, and sent before the driver heard of it.
        committer.commit(Seq(3), &mut meta("three"));
        let old = Need { epoch: need.epoch - 1, ..need };
        committer.restart(old, contents(3, &["an answer to an older wish"]));
        committer.restart(need, contents(3, &["one"]));
        assert!(matches!(next(&committer), Report::StillBroken(_)));
        assert!(matches!(next(&committer), Report::Committed(Seq(3))));
        assert!(matches!(next(&committer), Report::Ready));
        committer.commit(Seq(4), &mut meta("four"));
        assert!(matches!(next(&committer), Report::Committed(Seq(4))));
        assert!(committer.stop().is_empty());
        let held = disk.open().1;
        assert_eq!(held.meta.keys().map(|k| &**k).collect::<Vec<_>>(), ["four", "one"]);
        assert_eq!(held.seq, Seq(4));
    }

    /// A store whose checkpoint fails until it is rebuilt.
    struct Stalling(MemStore, bool);

    impl Store for Stalling {
        fn commit(&mut self, seq: Seq, changes: &[Change]) -> Result<(), StoreError> {
            self.0.commit(seq, changes)
        }
        fn maintain(&mut self) -> Result<(), StoreError> {
            if self.1 { Err(StoreError::Broken) } else { Ok(()) }
        }
        fn rebuild(&mut self, contents: &Contents) -> Result<(), StoreError> {
            self.1 = false;
            self.0.rebuild(contents)
        }
        fn backup(&mut self, to: &std::path::Path, done: BackupDone) {
            self.0.backup(to, done);
        }
        fn stats(&self) -> StoreStats {
            self.0.stats()
        }
    }

    #[test]
    fn commits_go_on_while_the_checkpoint_fails() {
        let disk = MemDisk::new(1);
        let (committer, _poller, _) = start(Stalling(disk.open().0, true));
        let Report::Stalled(need, _) = next(&committer) else { panic!("not stalled") };
        committer.commit(Seq(1), &mut meta("one"));
        assert!(matches!(next(&committer), Report::Committed(Seq(1))));
        committer.restart(need, contents(1, &["one"]));
        committer.commit(Seq(2), &mut meta("two"));
        assert!(matches!(next(&committer), Report::Committed(Seq(1))));
        assert!(matches!(next(&committer), Report::Ready));
        assert!(matches!(next(&committer), Report::Committed(Seq(2))));
        assert!(committer.stop().is_empty());
        assert_eq!(disk.open().1.meta.len(), 2);
    }

    #[test]
    fn a_stop_commits_what_is_queued_and_a_backup_follows_the_batches_before_it() {
        let disk = MemDisk::new(1);
        let (committer, _poller, _) = start(disk.open().0);
        committer.commit(Seq(1), &mut meta("one"));
        let (sender, done) = mpsc::channel();
        let tell: BackupDone = Box::new(move |outcome| sender.send(outcome.is_ok()).unwrap());
        committer.backup(PathBuf::from("/nowhere"), tell);
        committer.commit(Seq(2), &mut meta("two"));
        let last = committer.stop();
        assert!(matches!(last.last(), Some(Report::Committed(Seq(2)))), "{last:?}");
        assert_eq!((done.recv(), disk.backups()), (Ok(true), 1));
        assert_eq!(disk.open().1.meta.len(), 2);
    }
}
