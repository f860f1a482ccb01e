//! Where bindings become durable: a journal that commits, and sled behind it as the checkpoint.

use std::collections::BTreeMap;

use crate::lease::{Change, Lease, Seq};

/// What every store does. One thread owns it; calls block.
pub trait Store: Send {
    /// Makes `changes` durable as one atomic batch; on `Ok` they survive a power cut.
    ///
    /// After an error nothing of this batch may be assumed, no further commit succeeds, and
    /// [`Store::rebuild`] is the way out.
    fn commit(&mut self, seq: Seq, changes: &[Change]) -> Result<(), StoreError>;

    /// Background work (checkpoints, retiring journals), called between commits when idle and at
    /// least once a second. Must not block commits for long.
    fn maintain(&mut self) -> Result<(), StoreError>;

    /// After a failed commit: write everything anew from memory into new files, so that nothing
    /// of the old ones is trusted (after a failed sync Linux marks the lost pages clean).
    fn rebuild(&mut self, contents: &Contents) -> Result<(), StoreError>;

    /// Writes a consistent copy of everything committed to a new directory `to`.
    fn backup(&mut self, to: &std::path::Path) -> Result<(), StoreError>;

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
        "{path}: record at byte {offset} is damaged ({why}); the last good batch is {last_good}; start with --recover to go on without what cannot be read"
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
    /// Another process has it open.
    #[error("{path}: in use by another process")]
    Locked {
        /// The directory.
        path: std::path::PathBuf,
    },
}
