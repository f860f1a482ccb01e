//! Every write, sync and rename of the store's own files, in one place.
//!
//! The narrow seam lets tests refuse or tear one call as a failing disk would ([`Fault`]); the
//! server runs without a hook. Errors name what was being done and the file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StoreError;

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A new file or directory.
    Create,
    /// Bytes into a file.
    Write,
    /// The data of a file to the disk.
    Sync,
    /// The entries of a directory to the disk.
    SyncDir,
    /// A change of a file's length.
    Resize,
    /// One name in place of another.
    Rename,
    /// A file or directory away.
    Remove,
    /// A batch into the checkpoint's database.
    Checkpoint,
}

/// How an operation goes wrong.
#[derive(Debug)]
pub enum Fault {
    /// It is refused, with nothing done.
    Refuse(io::Error),
    /// A write stops after this many bytes; anything else is refused.
    Tear(usize),
    /// A sync that is none: it is called done. Anything else happens.
    Skip,
}

/// Sees every operation before it happens, and may make it fail.
pub trait Hook: Send + Sync {
    /// `None` lets it happen.
    fn before(&self, op: Op, path: &Path) -> Option<Fault>;

    /// These bytes are about to go into a file, if [`Hook::before`] let them.
    fn writing(&self, _path: &Path, _length: usize, _offset: u64) {}

    /// Whether work beside the commits is done at once by whoever hands it over, in place of a
    /// thread: what happens is then the same each time.
    fn is_single_threaded(&self) -> bool {
        false
    }
}

/// The file system, as the store uses it.
#[derive(Clone, Default)]
pub struct Disk {
    hook: Option<Arc<dyn Hook>>,
}

impl Disk {
    /// One whose operations `hook` may refuse.
    pub fn with_hook(hook: Arc<dyn Hook>) -> Disk {
        Disk { hook: Some(hook) }
    }

    /// Whether a hook wants no threads.
    pub(super) fn is_single_threaded(&self) -> bool {
        self.hook.as_ref().is_some_and(|hook| hook.is_single_threaded())
    }

    /// Asks the hook only: for work that another library does.
    pub(super) fn check(&self, op: Op, path: &Path) -> Result<(), StoreError> {
        self.is_to_be_done(op, path).map(drop)
    }

    /// Asks the hook; `false` if the work is to be left out.
    fn is_to_be_done(&self, op: Op, path: &Path) -> Result<bool, StoreError> {
        match self.hook.as_ref().and_then(|hook| hook.before(op, path)) {
            None => Ok(true),
            Some(Fault::Skip) => Ok(false),
            Some(Fault::Refuse(source)) => Err(failed(verb(op), path)(source)),
            Some(Fault::Tear(_)) => Err(failed(verb(op), path)(torn())),
        }
    }

    /// A new empty file, open for reading and writing.
    pub(super) fn create(&self, path: &Path) -> Result<File, StoreError> {
        self.check(Op::Create, path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        options.open(path).map_err(failed("create", path))
    }

    /// A directory; it may be there already.
    pub(super) fn create_dir(&self, path: &Path) -> Result<(), StoreError> {
        self.check(Op::Create, path)?;
        match std::fs::create_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other.map_err(failed("create", path)),
        }
    }

    /// All of `bytes` at `offset`.
    pub(super) fn write_at(
        &self,
        file: &File,
        path: &Path,
        bytes: &[u8],
        offset: u64,
    ) -> Result<(), StoreError> {
        let fault = self.hook.as_ref().and_then(|hook| hook.before(Op::Write, path));
        if let (Some(hook), None | Some(Fault::Tear(_))) = (&self.hook, &fault) {
            hook.writing(path, bytes.len(), offset);
        }
        match fault {
            None | Some(Fault::Skip) => {
                file.write_all_at(bytes, offset).map_err(failed("write", path))
            }
            Some(Fault::Refuse(source)) => Err(failed("write", path)(source)),
            Some(Fault::Tear(length)) => {
                let part = bytes.get(..length).unwrap_or(bytes);
                file.write_all_at(part, offset).map_err(failed("write", path))?;
                Err(failed("write", path)(torn()))
            }
        }
    }

    /// `fdatasync`: the data, and the length that is needed to read it.
    pub(super) fn sync(&self, file: &File, path: &Path) -> Result<(), StoreError> {
        match self.is_to_be_done(Op::Sync, path)? {
            true => file.sync_data().map_err(failed("sync", path)),
            false => Ok(()),
        }
    }

    /// The same for a file that somebody else has open.
    pub(super) fn sync_path(&self, path: &Path) -> Result<(), StoreError> {
        let file = File::open(path).map_err(failed("open", path))?;
        self.sync(&file, path)
    }

    /// Makes creations, renames and removals in a directory durable.
    pub(super) fn sync_dir(&self, path: &Path) -> Result<(), StoreError> {
        if !self.is_to_be_done(Op::SyncDir, path)? {
            return Ok(());
        }
        let dir = File::open(path).map_err(failed("open", path))?;
        dir.sync_all().map_err(failed("sync", path))
    }

    /// Cuts or extends a file.
    pub(super) fn resize(&self, file: &File, path: &Path, length: u64) -> Result<(), StoreError> {
        self.check(Op::Resize, path)?;
        file.set_len(length).map_err(failed("resize", path))
    }

    /// `from` takes the name `to`.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.check(Op::Rename, to)?;
        std::fs::rename(from, to).map_err(failed("rename", from))
    }

    /// A file or a whole directory away; it may be gone already.
    pub(super) fn remove(&self, path: &Path) -> Result<(), StoreError> {
        self.check(Op::Remove, path)?;
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        match removed {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(failed("remove", path)),
        }
    }

    /// A copy of a file or directory, not synced.
    pub(super) fn copy(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        if !from.is_dir() {
            self.check(Op::Create, to)?;
            return std::fs::copy(from, to).map(drop).map_err(failed("copy", from));
        }
        self.create_dir(to)?;
        for entry in list(from)? {
            if let Some(name) = entry.file_name() {
                self.copy(&entry, &to.join(name))?;
            }
        }
        Ok(())
    }
}

/// The paths in a directory, in order of name.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = std::fs::read_dir(dir).map_err(failed("list", dir))?;
    let paths: io::Result<Vec<PathBuf>> = entries.map(|e| e.map(|e| e.path())).collect();
    let mut paths = paths.map_err(failed("list", dir))?;
    paths.sort();
    Ok(paths)
}

/// The length of a file, or of everything below a directory; zero where nothing is.
pub(super) fn size_of(path: &Path) -> u64 {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return meta.len();
    }
    list(path).unwrap_or_default().iter().map(|entry| size_of(entry)).sum()
}

/// An error if `file`, which is open, is not what `path` names now.
pub(super) fn check_in_place(file: &File, path: &Path) -> Result<(), StoreError> {
    let held = file.metadata().map_err(failed("look at", path))?;
    match std::fs::metadata(path) {
        Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => Ok(()),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("look at", path)(e)),
        _ => Err(failed("go on writing", path)(removed())),
    }
}

/// An error if a file has no name left: it takes in every write and ends with this process.
pub(super) fn check_linked(file: &File, path: &Path) -> Result<(), StoreError> {
    match file.metadata().map_err(failed("look at", path))?.nlink() {
        0 => Err(failed("go on writing", path)(removed())),
        _ => Ok(()),
    }
}

/// A file went away that nobody but this process may remove.
pub(super) fn removed() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "it was removed or replaced while in use")
}

/// Wraps what the system said: `.map_err(failed("sync", path))`.
pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { what, path, source }
}

fn torn() -> io::Error {
    io::Error::new(io::ErrorKind::WriteZero, "the write stopped part of the way")
}

fn verb(op: Op) -> &'static str {
    match op {
        Op::Create => "create",
        Op::Write => "write",
        Op::Sync | Op::SyncDir => "sync",
        Op::Resize => "resize",
        Op::Rename => "rename",
        Op::Remove => "remove",
        Op::Checkpoint => "checkpoint",
    }
}
