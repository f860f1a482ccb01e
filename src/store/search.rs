//! What is in force when CURRENT does not say: the newest journals and checkpoint that fit.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::disk::Disk;
use super::journal::{self, Stamp};
use super::layout::{self, Current};
use super::recovery::{Files, Loaded};

/// The journals with one number.
struct Journals {
    number: u64,
    salt: u32,
    paths: [PathBuf; 2],
}

/// A directory whose CURRENT is lost.
pub(super) struct Search<'a> {
    pub(super) dir: &'a Path,
    pub(super) disk: &'a Disk,
    /// The newest format that is known.
    pub(super) format: u32,
    pub(super) cache: u64,
    /// Where copies of checkpoints are opened, because sled writes to what it opens.
    pub(super) scratch: &'a Path,
}

impl Search<'_> {
    /// Finds what CURRENT must have named; `None` if nothing is there.
    ///
    /// Journals with batches were in force, so those with lower numbers are leftovers. Higher ones
    /// without batches may have been in force or not; like the checkpoints, they are then judged
    /// by the last batch that they lead to. Among equals the lowest numbers are taken: a copy that
    /// was never put in force has higher ones than what it was made of.
    pub(super) fn run(&self) -> Result<Option<Current>, StoreError> {
        self.disk.remove(self.scratch)?;
        let mut journals = self.journals()?;
        let used = |j: &Journals| j.paths.iter().any(|path| journal::is_used(path));
        let newest = journals.iter().filter(|j| used(j)).map(|j| j.number).max().unwrap_or(0);
        journals.retain(|j| j.number >= newest);
        let checkpoints = layout::numbers(self.dir, "checkpoint")?;
        let mut best = None;
        for journals in &journals {
            for checkpoint in checkpoints.range(journals.number..).chain([&journals.number]) {
                let (sound, seq) = self.judge(journals, *checkpoint)?;
                let rank = (sound, seq, Reverse(journals.number), Reverse(*checkpoint));
                if best.as_ref().is_none_or(|(known, _)| rank > *known) {
                    let (format, journal, salt) = (self.format, journals.number, journals.salt);
                    let checkpoint = *checkpoint;
                    best = Some((rank, Current { format, journal, checkpoint, salt, batch: 0 }));
                }
            }
        }
        Ok(best.map(|(_, current)| current))
    }

    /// All journals; where there are none, the missing ones of each checkpoint.
    fn journals(&self) -> Result<Vec<Journals>, StoreError> {
        let mut numbers = layout::numbers(self.dir, "journal")?;
        if numbers.is_empty() {
            numbers = layout::numbers(self.dir, "checkpoint")?;
        }
        let mut all = Vec::new();
        for number in numbers {
            let paths = layout::journals(self.dir, number);
            let stamp = paths.iter().find_map(|path| Some((path, Stamp::of(path)?)));
            if let Some((path, stamp)) = stamp.filter(|(_, stamp)| stamp.format > self.format) {
                let (path, found, known) = (path.clone(), stamp.format, self.format);
                return Err(StoreError::Newer { path, found, known });
            }
            all.push(Journals { number, salt: stamp.map_or(0, |(_, stamp)| stamp.salt), paths });
        }
        Ok(all)
    }

    /// Whether journals and checkpoint fit together, and the last batch that they lead to.
    fn judge(&self, journals: &Journals, checkpoint: u64) -> Result<(bool, u64), StoreError> {
        let untouched = layout::checkpoint(self.dir, checkpoint);
        if untouched.exists() {
            self.disk.copy(&untouched, self.scratch)?;
        }
        let files = Files {
            checkpoint: self.scratch,
            untouched: &untouched,
            journals: &journals.paths,
            salt: journals.salt,
            batch: 0,
        };
        let judged = files.load(self.disk, self.cache, true);
        let judged = judged.map(|Loaded { contents, tail, checkpoint }| {
            drop(checkpoint);
            (tail.damage.is_empty(), contents.seq.0)
        });
        self.disk.remove(self.scratch)?;
        judged
    }
}
