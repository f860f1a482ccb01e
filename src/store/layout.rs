//! The store's directory: which files are in force, and how others take their place.
//!
//! ```text
//! CURRENT              what is in force: format, numbers of journals and checkpoint, batch, salt
//! journal-N.a, .b      the two journals, used in turn
//! checkpoint-M/        sled's files
//! UNARCHIVED           former journals that are kept for the archive (see `archive::backlog`)
//! DISTRUST             empty; the files are to be written anew at the next start (see `distrust`)
//! damaged-K/           files as they were found before a start with --recover
//! ```
//!
//! CURRENT is text of six lines and a checksum. Another generation takes over in one step: its
//! files are written and synced under new numbers, then CURRENT is replaced by rename and the
//! directory synced; only then are the old files removed. Files with other numbers than CURRENT
//! names are leftovers of a step that a crash cut short; they are removed at the next start.
//!
//! Each journal repeats its salt and its number, so that a start with `--recover` finds its way
//! where CURRENT is lost (see `search`). That rests on an order: the journals of a generation are
//! made only when its checkpoint is whole.
//!
//! The directory itself is locked (`flock`), so that one process at a time has the store open.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::archive::backlog;
use super::disk::{Disk, check_in_place, failed, list, removed};
use super::journal::{self, Journal, Stamp};
use super::{StoreError, recovery};

/// The format that is written. Formats up to it are read, and rewritten at start; newer ones are
/// refused.
pub(super) const FORMAT: u32 = 2;

const TITLE: &str = "foreshadow store";
const BAD_SUM: &str = "its checksum does not fit";

/// What CURRENT says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Current {
    /// The format of everything else.
    pub(super) format: u32,
    /// Number of the journals.
    pub(super) journal: u64,
    /// Number of the checkpoint.
    pub(super) checkpoint: u64,
    /// The last batch in the checkpoint when it was put in force: sled repairs damage by rolling
    /// back, and further back than this is damage.
    pub(super) batch: u64,
    /// Where the checksums of the journals start from.
    pub(super) salt: u32,
}

impl Current {
    /// The text of the file.
    fn to_text(self) -> String {
        let Current { format, journal, checkpoint, batch, salt } = self;
        let body = format!(
            "{TITLE}\nformat {format}\njournal {journal}\ncheckpoint {checkpoint}\nbatch {batch}\nsalt {salt:08x}\n"
        );
        let crc = crc32c::crc32c(body.as_bytes());
        format!("{body}crc {crc:08x}\n")
    }

    /// Reads the text; an error says what is wrong. The format is found even where the rest is
    /// of a newer version.
    fn from_text(text: &str, known: u32) -> Result<Current, &'static str> {
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return Err("it does not begin with \"foreshadow store\"");
        }
        let mut field = |name: &str, radix| {
            let value = lines.next()?.strip_prefix(name)?.strip_prefix(' ')?;
            u64::from_str_radix(value, radix).ok()
        };
        let format = field("format", 10).and_then(|n| u32::try_from(n).ok());
        let format = format.ok_or("it states no format")?;
        let mut current = Current { format, journal: 0, checkpoint: 0, batch: 0, salt: 0 };
        if format > known {
            // Whatever a newer version writes, it ends like this if it has a checksum at all.
            let sum =
                text.rsplit_once("crc ").map(|(body, sum)| (crc32c::crc32c(body.as_bytes()), sum));
            return match sum {
                Some((want, found)) if format!("{want:08x}\n") != found => Err(BAD_SUM),
                _ => Ok(current),
            };
        }
        current.journal = field("journal", 10).ok_or("it states no journal")?;
        current.checkpoint = field("checkpoint", 10).ok_or("it states no checkpoint")?;
        current.batch = field("batch", 10).ok_or("it states no batch")?;
        current.salt = field("salt", 16).ok_or("it states no salt")? as u32;
        if current.to_text() != text {
            return Err(BAD_SUM);
        }
        Ok(current)
    }
}

/// The name of [`Layout::distrust`]'s word.
const DISTRUST: &str = "DISTRUST";

/// A store's directory, locked as long as this lives.
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) disk: Disk,
    /// The format that is written.
    pub(super) format: u32,
    /// The highest number given out: none comes twice, not even when files were removed.
    highest: AtomicU64,
    lock: File,
}

impl Layout {
    /// Creates the directory where it is missing, and locks it.
    pub(super) fn lock(dir: &Path, disk: Disk, format: u32) -> Result<Layout, StoreError> {
        if !dir.is_dir() {
            disk.create_dir(dir)?;
            if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
                disk.sync_dir(parent)?;
            }
        }
        let (dir, lock, highest) = (dir.to_owned(), lock(dir)?, AtomicU64::new(0));
        Ok(Layout { dir, disk, format, highest, lock })
    }

    /// An error if the directory is no longer what its path names.
    pub(super) fn check_in_place(&self) -> Result<(), StoreError> {
        check_in_place(&self.lock, &self.dir)
    }

    /// The same directory made and locked anew, for when it was removed.
    pub(super) fn renew(&self) -> Result<Layout, StoreError> {
        let renewed = Layout::lock(&self.dir, self.disk.clone(), self.format)?;
        renewed.highest.store(self.highest.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(renewed)
    }

    /// An error if CURRENT or the checkpoint that it names is gone. Only while nobody is about to
    /// put others in force.
    pub(super) fn check_current(&self) -> Result<(), StoreError> {
        let path = match read_current(&self.dir, self.format)? {
            None => self.dir.join("CURRENT"),
            Some(current) => self.checkpoint(current.checkpoint).join("db"),
        };
        if path.exists() { Ok(()) } else { Err(failed("go on with", &path)(removed())) }
    }

    /// The paths of the two journals.
    pub(super) fn journals(&self, number: u64) -> [PathBuf; 2] {
        journals(&self.dir, number)
    }

    /// Makes the two journals that `current` names.
    pub(super) fn create_journals(&self, current: Current) -> Result<[Journal; 2], StoreError> {
        let [a, b] = self.journals(current.journal);
        let Current { format, journal: number, salt, .. } = current;
        let create =
            |path: &Path| Journal::create(&self.disk, path, Stamp { format, number, salt });
        Ok([create(&a)?, create(&b)?])
    }

    /// The path of a checkpoint.
    pub(super) fn checkpoint(&self, number: u64) -> PathBuf {
        checkpoint(&self.dir, number)
    }

    /// A number that no file has yet.
    pub(super) fn free_number(&self) -> Result<u64, StoreError> {
        let used = list(&self.dir)?.iter().filter_map(|path| number_of(path)).max();
        let used = used.unwrap_or(0).max(self.highest.load(Ordering::Relaxed));
        self.highest.store(used + 1, Ordering::Relaxed);
        Ok(used + 1)
    }

    /// Writes what [`Layout::activate`] puts in force. All that `next` names must be synced; its
    /// names in this directory become durable here.
    pub(super) fn prepare(&self, next: Current) -> Result<(), StoreError> {
        self.disk.sync_dir(&self.dir)?;
        let path = self.dir.join("CURRENT.new");
        let file = self.disk.create(&path)?;
        self.disk.write_at(&file, &path, next.to_text().as_bytes(), 0)?;
        self.disk.sync(&file, &path)
    }

    /// Puts in force what was prepared.
    ///
    /// After an error both generations must be kept: which one a power cut leaves is unknown.
    pub(super) fn activate(&self) -> Result<(), StoreError> {
        self.disk.rename(&self.dir.join("CURRENT.new"), &self.dir.join("CURRENT"))?;
        self.disk.sync_dir(&self.dir)
    }

    /// Removes numbered files that `current` does not name.
    pub(super) fn remove_others(&self, current: Current) -> Result<(), StoreError> {
        let mut keep = vec![self.checkpoint(current.checkpoint)];
        keep.extend(self.journals(current.journal));
        // What the archive has yet to read.
        keep.extend(backlog::read(&self.dir).iter().flat_map(|kept| self.journals(kept.journal)));
        for path in list(&self.dir)? {
            if number_of(&path).is_some() && !is_aside(&path) && !keep.contains(&path) {
                self.disk.remove(&path)?;
            }
        }
        Ok(())
    }

    /// Leaves word that a sync failed or may have: the next start, too, writes everything anew.
    ///
    /// Linux marks the pages clean that it could not write. As long as it keeps them, a new process
    /// reads what the disk does not have, and no sync of its own would write it. The word need not
    /// be durable, and where it cannot be left there is nothing else to do: when the pages go, the
    /// disk is read as it is.
    pub(super) fn distrust(&self) {
        let _ = self.disk.create(&self.dir.join(DISTRUST));
    }

    /// Whether such word was left.
    pub(super) fn is_distrusted(&self) -> bool {
        self.dir.join(DISTRUST).exists()
    }

    /// Everything was written anew.
    pub(super) fn trust(&self) {
        if self.is_distrusted() {
            let _ = self.disk.remove(&self.dir.join(DISTRUST));
        }
    }

    /// Refuses a directory that anything is in.
    pub(super) fn check_vacant(&self) -> Result<(), StoreError> {
        if list(&self.dir)?.is_empty() {
            return Ok(());
        }
        let source = std::io::Error::from(std::io::ErrorKind::DirectoryNotEmpty);
        Err(failed("copy to", &self.dir)(source))
    }
}

/// A directory without CURRENT holds no store, unless a journal or a checkpoint in it has been
/// written to: then CURRENT was lost.
pub(super) fn check_empty(dir: &Path) -> Result<(), StoreError> {
    let ours = |path: &PathBuf| number_of(path).is_some() && !is_aside(path);
    let used = |path: &PathBuf| journal::is_used(path) || recovery::holds_facts(path);
    match list(dir)?.into_iter().filter(ours).find(used) {
        None => Ok(()),
        Some(path) => Err(StoreError::Damaged {
            path: dir.join("CURRENT"),
            offset: 0,
            why: format!("it is missing, but {} holds leases", path.display()),
            last_good: 0,
        }),
    }
}

/// The numbers of the files of one kind: "journal" or "checkpoint".
pub(super) fn numbers(dir: &Path, kind: &str) -> Result<BTreeSet<u64>, StoreError> {
    let of_kind = |path: &&PathBuf| {
        let name = path.file_name().map(|name| name.as_encoded_bytes());
        name.is_some_and(|name| name.starts_with(kind.as_bytes()))
    };
    Ok(list(dir)?.iter().filter(of_kind).filter_map(|path| number_of(path)).collect())
}

/// The journals with this number in `dir`.
pub(super) fn journals(dir: &Path, number: u64) -> [PathBuf; 2] {
    ["a", "b"].map(|side| dir.join(format!("journal-{number}.{side}")))
}

/// The checkpoint with this number in `dir`.
pub(super) fn checkpoint(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("checkpoint-{number}"))
}

/// A random start for the checksums of journals, from the keys that the standard library draws
/// for its hash tables.
pub(super) fn new_salt() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}

/// Locks a directory against other processes.
pub(super) fn lock(dir: &Path) -> Result<File, StoreError> {
    let handle = File::open(dir).map_err(failed("open", dir))?;
    match handle.try_lock() {
        Ok(()) => Ok(handle),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed("lock", dir)(source)),
    }
}

/// What CURRENT says in `dir`; `None` if there is none.
pub(super) fn read_current(dir: &Path, known: u32) -> Result<Option<Current>, StoreError> {
    let path = dir.join("CURRENT");
    let text = match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed("read", &path))?,
    };
    let found = std::str::from_utf8(&text)
        .map_err(|_| "it is not text")
        .and_then(|text| Current::from_text(text, known))
        .map_err(|why| StoreError::Damaged {
            path: path.clone(),
            offset: 0,
            why: why.to_owned(),
            last_good: 0,
        })?;
    if found.format > known {
        return Err(StoreError::Newer { path, found: found.format, known });
    }
    Ok(Some(found))
}

/// The number in `journal-7.a`, `checkpoint-7` or `damaged-7`.
fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let (kind, rest) = name.split_once('-')?;
    let digits = rest.split('.').next()?;
    matches!(kind, "journal" | "checkpoint" | "damaged").then(|| digits.parse().ok())?
}

fn is_aside(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"damaged-"))
}
