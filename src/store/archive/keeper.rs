//! The thread that moves audit records from the journals to the archive.
//!
//! A commit only notes how far the journal goes now. The thread gathers for a moment, reads what
//! is new from the journal, and keeps the audit records. It syncs about twice a second, or when
//! the journals wait for it to change places. While it fails it tries again, with growing pauses,
//! and the journals grow.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::base::Timestamp;
use crate::lease::{Act, Change};
use crate::store::disk::Disk;
use crate::store::journal::{self, Found, Source, TURN_BEGINS};
use crate::store::{StoreError, record};

use super::feed::{Feed, Turn};
use super::writer::{Place, Writer, drop_oldest};
use super::{ArchiveOptions, read};

/// How long batches are gathered.
const GATHER: Duration = Duration::from_millis(50);
/// How long what was written waits for its sync.
const SYNC_EVERY: Duration = Duration::from_millis(500);
/// Pause after a first failure; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A way to the archive of a store, for any number of threads.
#[derive(Clone)]
pub struct Archive {
    shared: Arc<Shared>,
}

/// How the archive does.
#[derive(Clone, Debug, Default)]
pub struct ArchiveStatus {
    /// Why it cannot be written, if so. Nothing is lost: the journals grow.
    pub trouble: Option<String>,
    /// Bytes of the journals that it has not read yet.
    pub behind: u64,
    /// The number of the next record.
    pub next: u64,
}

struct Shared {
    options: ArchiveOptions,
    feed: Mutex<Feed>,
    /// There is something to do.
    filled: Condvar,
    /// Something was done.
    done: Condvar,
    /// The number of the next record: those before it can be read.
    next: watch::Sender<u64>,
}

impl Archive {
    /// Where its segments are.
    pub fn dir(&self) -> &Path {
        &self.shared.options.dir
    }

    /// Says how it does.
    pub fn status(&self) -> ArchiveStatus {
        let feed = self.shared.lock();
        let behind = feed.turns.iter().map(Turn::unread).sum();
        ArchiveStatus { trouble: feed.trouble.clone(), behind, next: *self.shared.next.borrow() }
    }

    /// Follows the number of the next record.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.next.subscribe()
    }

    /// Drops segments whose records are all too old at `now`; soon, and not here.
    pub fn prune(&self, now: Timestamp) {
        self.shared.lock().prune = Some(now);
        self.shared.filled.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Feed> {
        // No code panics while it holds the lock.
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to read, in order, and the last batch of all.
    fn unread(&self) -> (Vec<Turn>, u64) {
        let feed = self.lock();
        let unread = feed.turns.iter().filter(|turn| turn.unread() > 0).cloned().collect();
        (unread, feed.turns.iter().map(|turn| turn.last).max().unwrap_or(0))
    }
}

/// The store's handle on its archive.
pub(in crate::store) struct Keeper {
    shared: Arc<Shared>,
    disk: Disk,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Does the work where no thread does.
    hand: Mutex<Option<Hand>>,
}

impl Keeper {
    /// One that has yet to look at its files.
    pub(in crate::store) fn new(disk: &Disk, options: ArchiveOptions) -> Keeper {
        let shared = Arc::new(Shared {
            options,
            feed: Mutex::default(),
            filled: Condvar::new(),
            done: Condvar::new(),
            next: watch::Sender::new(1),
        });
        let hand = Hand {
            shared: Arc::clone(&shared),
            disk: disk.clone(),
            writer: None,
            written: None,
            failed: false,
        };
        let (disk, thread, hand) = (disk.clone(), Mutex::new(None), Mutex::new(Some(hand)));
        Keeper { shared, disk, thread, hand }
    }

    /// A way to it for others.
    pub(in crate::store) fn archive(&self) -> Archive {
        Archive { shared: Arc::clone(&self.shared) }
    }

    /// Takes note of what the journals of an earlier run have, in order. `is_backlog` says that
    /// they are kept for the archive alone.
    pub(in crate::store) fn bring_in(&self, batches: &[(Source, Found)], is_backlog: bool) {
        let mut feed = self.shared.lock();
        for (source, found) in batches {
            if let Some(turn) = feed.turns.back_mut().filter(|t| t.goes_on_with(source, found)) {
                (turn.end, turn.last) = (found.end(), found.seq);
                continue;
            }
            let turn = feed.add(source.clone(), (found.offset, found.end()), found.seq);
            (turn.is_over, turn.is_backlog) = (true, is_backlog);
        }
    }

    /// Does at once all that there is to do; whether that went well. The store's last batch is
    /// `seq`: an archive that goes further is of a store that was set back since, and notes that.
    pub(in crate::store) fn catch_up(&self, seq: u64) -> bool {
        let mut hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(hand) = hand.as_mut() else { return true };
        if !hand.try_work(true) {
            return false;
        }
        let ahead = hand.writer.as_mut().filter(|writer| writer.mark().last.seq > seq);
        let noted = ahead.is_none_or(|writer| writer.note_set_back(seq).is_ok());
        let has_all = noted && hand.try_work(true);
        if has_all {
            self.shared.lock().synced(seq);
        }
        has_all
    }

    /// Starts the thread, unless the disk wants none.
    pub(in crate::store) fn start(&self) -> std::io::Result<()> {
        if self.disk.is_single_threaded() {
            return Ok(());
        }
        let hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut hand) = hand {
            let thread = std::thread::Builder::new().name("archive".into());
            let thread = thread.spawn(move || hand.run())?;
            *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        }
        Ok(())
    }

    /// A turn begins in this journal, after batch `last`.
    pub(in crate::store) fn begin(&self, source: Source, last: u64) {
        let mut feed = self.shared.lock();
        feed.turns.iter_mut().for_each(|turn| turn.is_over = true);
        // What was durable before its turn was over is done with now.
        let to = feed.synced_to;
        feed.synced(to);
        feed.add(source, (TURN_BEGINS, TURN_BEGINS), last);
    }

    /// The journal of this turn goes up to `end` now, with batch `seq`. `is_news` says that
    /// somebody may want to hear of it.
    pub(in crate::store) fn committed(&self, end: u64, seq: u64, is_news: bool) {
        let mut feed = self.shared.lock();
        if let Some(turn) = feed.turns.back_mut() {
            (turn.end, turn.last) = (end, seq);
        }
        feed.has_news |= is_news;
        let wake = is_news && feed.is_waiting;
        feed.is_waiting &= !wake;
        drop(feed);
        if wake {
            self.shared.filled.notify_all();
        }
    }

    /// Whether batches up to `seq` are in the archive, durably. If not, it hurries.
    pub(in crate::store) fn has_up_to(&self, seq: u64) -> bool {
        if self.shared.lock().synced_to >= seq {
            return true;
        }
        self.hurry();
        self.shared.lock().synced_to >= seq
    }

    fn hurry(&self) {
        if let Some(hand) = &mut *self.hand.lock().unwrap_or_else(PoisonError::into_inner) {
            hand.try_work(true);
            return;
        }
        let mut feed = self.shared.lock();
        if !std::mem::replace(&mut feed.hurry, true) {
            drop(feed);
            self.shared.filled.notify_all();
        }
    }

    /// Waits until batches up to `seq` are in it, for a while at most; whether they are.
    pub(in crate::store) fn wait_for(&self, seq: u64, at_most: Duration) -> bool {
        self.hurry();
        let waits = |feed: &mut Feed| feed.synced_to < seq && feed.trouble.is_none();
        let waited = self.shared.done.wait_timeout_while(self.shared.lock(), at_most, waits);
        let (feed, _) = waited.unwrap_or_else(PoisonError::into_inner);
        feed.synced_to >= seq
    }

    /// The journals so far are out of force: their files are kept for the archive alone.
    pub(in crate::store) fn set_aside(&self) {
        let mut feed = self.shared.lock();
        feed.turns.iter_mut().for_each(|turn| (turn.is_over, turn.is_backlog) = (true, true));
        let to = feed.synced_to;
        feed.synced(to);
    }

    /// Whether it still needs files that are kept for it alone.
    pub(in crate::store) fn has_backlog(&self) -> bool {
        self.shared.lock().turns.iter().any(|turn| turn.is_backlog)
    }

    /// Gives up its oldest records for room on a full disk.
    pub(in crate::store) fn make_room(&self) {
        drop_oldest(&self.disk, &self.shared.options);
    }

    /// A copy of what it has durably, in `to`.
    pub(in crate::store) fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        let from: PathBuf = self.shared.options.dir.clone();
        read::copy(&self.disk, &from, to)
    }
}

/// Ends the thread when it has done what it can.
impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.filled.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        match thread {
            Some(thread) => drop(thread.join()),
            None => self.hurry(),
        }
    }
}

/// What does the work.
struct Hand {
    shared: Arc<Shared>,
    disk: Disk,
    /// `None` until its files could be opened.
    writer: Option<Writer>,
    /// When the first of what is not synced was written.
    written: Option<Instant>,
    /// The last attempt failed: what was not synced is to be read again.
    failed: bool,
}

impl Hand {
    fn run(&mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let (hurry, stop) = self.wait();
            let due = self.written.is_some_and(|since| since.elapsed() >= SYNC_EVERY);
            match self.try_work(hurry || stop || due) {
                true => pause = PAUSE_MIN,
                false if stop => return,
                false => {
                    self.rest(pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            if stop {
                return;
            }
        }
    }

    /// Waits for something to do, then a moment for more. Whether somebody waits for it, and
    /// whether it is the end.
    fn wait(&self) -> (bool, bool) {
        let mut feed = self.shared.lock();
        let busy = Feed::is_busy;
        if !self.failed && !busy(&feed) {
            feed.is_waiting = true;
            let rest = self.written.map(|since| SYNC_EVERY.saturating_sub(since.elapsed()));
            let idle = |feed: &mut Feed| feed.is_waiting && !busy(feed);
            let rest = rest.unwrap_or(Duration::from_secs(3600));
            let waited = self.shared.filled.wait_timeout_while(feed, rest, idle);
            feed = waited.unwrap_or_else(PoisonError::into_inner).0;
            feed.is_waiting = false;
        }
        let calm = |feed: &mut Feed| !feed.stop && !feed.hurry;
        let gathered = self.shared.filled.wait_timeout_while(feed, GATHER, calm);
        feed = gathered.unwrap_or_else(PoisonError::into_inner).0;
        feed.has_news = false;
        (std::mem::take(&mut feed.hurry), feed.stop)
    }

    fn rest(&self, pause: Duration) {
        let goes_on = |feed: &mut Feed| !feed.stop;
        drop(self.shared.filled.wait_timeout_while(self.shared.lock(), pause, goes_on));
    }

    /// Works, and tells what came of it.
    fn try_work(&mut self, sync: bool) -> bool {
        let mut worked = self.work(sync);
        if let Err(StoreError::Io { source, .. }) = &worked
            && source.kind() == ErrorKind::StorageFull
            && drop_oldest(&self.disk, &self.shared.options)
        {
            worked = self.work(sync);
        }
        let mut feed = self.shared.lock();
        feed.trouble = worked.as_ref().err().map(ToString::to_string);
        drop(feed);
        self.shared.done.notify_all();
        worked.is_ok()
    }

    /// Reads what is new in the journals, writes it, and syncs if asked.
    fn work(&mut self, sync: bool) -> Result<(), StoreError> {
        let worked = self.read_and_write(sync);
        self.failed = worked.is_err();
        worked
    }

    fn read_and_write(&mut self, sync: bool) -> Result<(), StoreError> {
        self.prepare()?;
        let Hand { shared, writer, written, .. } = self;
        let Some(writer) = writer else { return Err(StoreError::Broken) };
        // All as they are at one moment: what is appended to one now comes before what a later
        // one will have.
        let (turns, read_to) = shared.unread();
        for turn in turns {
            turn.source.batches(turn.read, turn.end, &mut |seq, batch| take(writer, seq, batch))?;
            shared.lock().note_read(&turn);
        }
        writer.write()?;
        if let Some(now) = shared.lock().prune.take() {
            writer.prune(now)?;
        }
        shared.next.send_replace(writer.mark().next);
        if sync {
            writer.sync()?;
        }
        let is_synced = writer.mark() == writer.synced();
        *written = if is_synced { None } else { Some(written.unwrap_or_else(Instant::now)) };
        if is_synced {
            shared.lock().synced(read_to);
        }
        Ok(())
    }

    /// Opens the files, or after an error goes back to what was synced.
    fn prepare(&mut self) -> Result<(), StoreError> {
        match &mut self.writer {
            None => {
                let options = self.shared.options.clone();
                self.writer = Some(Writer::open(self.disk.clone(), options)?);
            }
            Some(writer) if self.failed => {
                self.shared.lock().go_back();
                writer.go_back()?;
            }
            Some(_) => {}
        }
        Ok(())
    }
}

/// Keeps the audit records of a batch.
fn take(writer: &mut Writer, seq: u64, batch: &[u8]) -> Result<(), StoreError> {
    let records = journal::records(batch).unwrap_or_default();
    let kept = records.into_iter().filter(|record| record::is_kept(record));
    for (index, record) in kept.enumerate() {
        writer.append(Place { seq, index: index as u32 }, record)?;
    }
    Ok(())
}

impl Writer {
    /// Notes that the store was set back to batch `seq`.
    fn note_set_back(&mut self, seq: u64) -> Result<(), StoreError> {
        let act = Act {
            at: self.latest(),
            who: "foreshadow".into(),
            verb: "restore".into(),
            object: "store".into(),
            account: None,
            before: Some(format!("{{\"batch\":{}}}", self.mark().last.seq).into()),
            after: Some(format!("{{\"batch\":{seq}}}").into()),
        };
        let mut bytes = Vec::new();
        let encoded = record::encode(&Change::Act(Box::new(act)), &mut bytes);
        encoded.map_err(StoreError::Record)?;
        self.force(Place { seq, index: u32::MAX }, &bytes)
    }
}
