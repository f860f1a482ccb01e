//! The audit archive: every change of who holds an address, and every act, for as long as it is
//! to be kept.
//!
//! Audit records are committed with the changes that they tell of, in the journal. A thread takes
//! them from there ([`keeper`]), so that a commit does nothing for the archive and no memory grows
//! while it is late: a journal is written over only when the archive has all of it, synced, and
//! until then it grows. What a crash cut off the archive's end is still in the journals, and is
//! brought in again at the next start under the same numbers.
//!
//! * [`segment`]: the files and their bytes.
//! * `writer`: appending, and dropping what is too old.
//! * [`keeper`]: the thread, and what it reads.
//! * [`read`]: forward and backward, from any record.
//! * [`filter`], [`holder`]: questions.

use std::path::{Path, PathBuf};

use crate::base::{Span, Timestamp};
use crate::lease::Change;

pub(super) mod backlog;
mod feed;
pub mod filter;
pub mod holder;
pub(super) mod keeper;
pub mod read;
pub mod segment;
mod writer;

pub use filter::Filter;
pub use keeper::{Archive, ArchiveStatus};
pub use read::{Backward, Forward};

/// How the archive behaves: `[audit]` of the policy.
#[derive(Clone, Debug)]
pub struct ArchiveOptions {
    /// Where its segments are.
    pub dir: PathBuf,
    /// How long records are kept.
    pub keep: Span,
    /// How many bytes of them are kept.
    pub max_bytes: u64,
    /// How large a segment becomes.
    pub segment_bytes: u64,
}

impl ArchiveOptions {
    /// 90 days and 1 GiB at most, in segments of 16 MiB.
    pub fn at(dir: &Path) -> ArchiveOptions {
        ArchiveOptions {
            dir: dir.to_owned(),
            keep: Span::from_secs(90 * 86_400),
            max_bytes: 1 << 30,
            segment_bytes: 16 << 20,
        }
    }
}

/// One audit record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number: 1 for the first of all, without gaps.
    pub number: u64,
    /// The batch that made it durable.
    pub seq: u64,
    /// What happened.
    pub change: Change,
}

impl Entry {
    /// When it happened.
    pub fn at(&self) -> Timestamp {
        time_of(&self.change)
    }
}

/// When what an audit record tells of happened.
fn time_of(change: &Change) -> Timestamp {
    match change {
        Change::Put(lease, cause) => cause.at(lease),
        Change::Remove(_, _, Some(at)) => *at,
        Change::Act(act) => act.at,
        Change::Remove(_, _, None) | Change::Meta(..) | Change::Forget(_) => Timestamp(0),
    }
}
