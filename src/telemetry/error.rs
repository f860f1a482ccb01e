//! What can go wrong with the files.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        why: &'static str,
    },
}

impl FileError {
    /// Whether the file is gone: a newer one took its place.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, FileError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// For `map_err`.
pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io { what, path, source }
}

/// The names in a directory are durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), FileError> {
    let opened = std::fs::File::open(dir).and_then(|dir| dir.sync_all());
    opened.map_err(failed("sync", dir))
}
