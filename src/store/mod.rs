//! Where bindings become durable: a journal that commits, and sled behind it as the checkpoint.
//!
//! In reading order:
//!
//! * [`record`]: the bytes of one fact.
//! * `journal`: the commit path; a batch of records, appended and synced.
//! * `block`, `checkpoint`: sled behind the journal, and what sled is weak at.
//! * `worker`: the thread that moves facts from journal to checkpoint.
//! * [`archive`]: audit records, moved there from the journals by another thread.
//! * `layout`: the files, and how one generation of them takes over from another.
//! * [`recovery`], `open`, `search`: what the files say at start, and how damage is treated.
//! * [`disk_store`]: all of it together.
//! * [`mem`]: a store in memory with injected failures, for tests of those above.
//! * [`disk`]: every operation on files, where tests make a disk fail.
//!
//! A batch is acknowledged when its journal is synced. About once a second the journals change
//! places: what the full one holds is merged into the checkpoint by the worker, while commits go
//! on in the other. Only when the checkpoint is synced, and the archive, is the full one written
//! again. If one of them is late, the journal grows; a commit never waits for it.

use std::collections::BTreeMap;

use crate::lease::{Change, Lease, Seq};

pub mod archive;
mod block;
mod checkpoint;
pub mod disk;
pub mod disk_store;
mod generation;
mod journal;
mod layout;
pub mod mem;
mod open;
mod reader;
pub mod record;
mod record_details;
mod record_error;
pub mod recovery;
mod search;
mod worker;

pub use disk_store::{DiskStore, StoreOptions};
pub use open::open_copy;
pub use recovery::Recovery;

/// Called once with what came of a backup, from another thread.
pub type BackupDone = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What every store does. One thread owns it; calls block.
pub trait Store: Send {
    /// Makes `changes` durable as one atomic batch; on `Ok` they survive a power cut.
    ///
    /// Numbers rise; a number that failed may come again after a rebuild. No changes: no write.
    ///
    /// After an error of the disk nothing of this batch may be assumed, no further commit
    /// succeeds, and [`Store::rebuild`] is the way out. [`StoreError::Record`] and
    /// [`StoreError::OutOfOrder`] refuse this batch alone.
    fn commit(&mut self, seq: Seq, changes: &[Change]) -> Result<(), StoreError>;

    /// Background work (checkpoints, retiring journals), called between commits when idle and at
    /// least once a second. Does not block commits for long.
    ///
    /// An error says that the checkpoint failed, or that files in use were removed. Commits go
    /// on, in journals that grow; [`Store::rebuild`] is due. Until then each call is an error.
    fn maintain(&mut self) -> Result<(), StoreError>;

    /// After a failed commit: write everything anew from memory into new files, so that nothing
    /// of the old ones is trusted (after a failed sync Linux marks the lost pages clean).
    ///
    /// `contents` must hold all that was committed, and its `seq` the last batch. After an error
    /// the store is as it was, or fails every commit; it can be called again.
    fn rebuild(&mut self, contents: &Contents) -> Result<(), StoreError>;

    /// Writes a copy of everything committed so far, perhaps more, to the new or empty directory
    /// `to`; it can be opened as a store. Commits go on meanwhile.
    fn backup(&mut self, to: &std::path::Path, done: BackupDone);

    /// Sizes and counts for status and metrics.
    fn stats(&self) -> StoreStats;
}

/// Everything that a store holds, as found at start or written at a rebuild.
#[derive(Debug, Default)]
pub struct Contents {
    /// All bindings.
    pub leases: Vec<Lease>,
    /// The server's own facts by name.
    pub meta: BTreeMap<Box<str>, Box<[u8]>>,
    /// The last batch in it.
    pub seq: Seq,
}

/// Figures about a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreStats {
    /// Commits since start.
    pub commits: u64,
    /// Changes in those commits.
    pub changes: u64,
    /// Checkpoints since start.
    pub checkpoints: u64,
    /// Bytes on disk: journals and checkpoint.
    pub disk_bytes: u64,
    /// Bytes of the journals.
    pub journal_bytes: u64,
    /// Bytes that are filled of the journal that is written.
    pub journal_used_bytes: u64,
    /// Length of the last data sync, in microseconds.
    pub last_sync_us: u64,
}

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was being done, as a verb: "write", "sync", "open".
        what: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A record is damaged and newer ones follow it, so it is no torn tail.
    #[error(
        "{path}: record at byte {offset} is damaged ({why}); the last good batch is {last_good}"
    )]
    Damaged {
        /// The file.
        path: std::path::PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        why: String,
        /// The last batch before it that is whole.
        last_good: u64,
    },
    /// Written by a newer version.
    #[error("{path}: format {found} is newer than this version's {known}; downgrades are refused")]
    Newer {
        /// The file.
        path: std::path::PathBuf,
        /// Its format number.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// sled said no.
    #[error("checkpoint {path}: {why}")]
    Checkpoint {
        /// The directory.
        path: std::path::PathBuf,
        /// What sled said.
        why: String,
    },
    /// An earlier failure stands; see [`Store::rebuild`].
    #[error("the store failed earlier and was not rebuilt yet")]
    Broken,
    /// A fact that has no record; nothing was written.
    #[error("{0}")]
    Record(#[source] record::RecordError),
    /// Batches must be committed in order; nothing was written.
    #[error("batch {seq} after batch {last}, numbers must rise")]
    OutOfOrder {
        /// The batch.
        seq: u64,
        /// The last one committed.
        last: u64,
    },
    /// Another process has it open.
    #[error("{path}: in use by another process")]
    Locked {
        /// The directory.
        path: std::path::PathBuf,
    },
}

impl StoreError {
    /// The same, with its path moved from below `from` to below `to`: who reads a copy wants to
    /// hear of the files that were copied.
    pub(crate) fn moved(mut self, from: &std::path::Path, to: &std::path::Path) -> StoreError {
        if let StoreError::Io { path, .. }
        | StoreError::Damaged { path, .. }
        | StoreError::Newer { path, .. }
        | StoreError::Checkpoint { path, .. } = &mut self
            && let Ok(inside) = path.strip_prefix(from)
        {
            *path = to.join(inside);
        }
        self
    }
}
