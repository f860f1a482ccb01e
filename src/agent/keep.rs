//! What an agent holds, in a file: its restart changes nothing on the wire, and a server that was
//! overtaken is known afterwards too.
//!
//! The file is for one boot of the host: nothing of the network outlives that either. It is
//! replaced whole, by a new one under its name.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hold::Hold;

/// Most pairs that are held at once.
pub const HOLDS_MAX: usize = 4_096;
/// Most epochs that are remembered of pairs that were let go; then the lowest are forgotten.
const EPOCHS_MAX: usize = 8_192;

/// What is held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// By pair.
    pub holds: BTreeMap<Box<str>, Hold>,
    /// Newest epoch of each pair, let go or not.
    pub epochs: BTreeMap<Box<str>, u64>,
    /// Ports that are silent yet of pairs that were let go.
    #[serde(default)]
    pub leftovers: Vec<Leftover>,
    /// Pairs whose actives were seen to live. One of them that is gone when an agent begins failed
    /// while there was none.
    #[serde(default)]
    pub lived: BTreeSet<Box<str>>,
}

/// A port whose guest may have addresses that are another's, though no pair says so any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leftover {
    /// The port's name.
    pub port: Box<str>,
    /// Its index: one that is made anew has another guest, or one that begins anew.
    pub index: u32,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
}

impl Kept {
    /// Whether an epoch of a pair was overtaken: by which.
    pub fn overtaken(&self, pair: &str, epoch: u64) -> Option<u64> {
        self.epochs.get(pair).copied().filter(|known| *known > epoch)
    }

    /// Notes an epoch.
    pub fn note(&mut self, pair: &str, epoch: u64) {
        self.epochs.insert(pair.into(), epoch);
        while self.epochs.len() > EPOCHS_MAX {
            let lowest = self.epochs.iter().filter(|(pair, _)| !self.holds.contains_key(*pair));
            let Some(lowest) = lowest.min_by_key(|(_, epoch)| **epoch) else { return };
            let lowest = lowest.0.clone();
            self.epochs.remove(&lowest);
        }
    }
}

/// Where it is kept.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
}

/// Why it is not to be had.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct KeepError {
    path: PathBuf,
    source: io::Error,
}

impl File {
    /// In this directory, which is made if it is not there: for its owner alone.
    pub fn within(dir: &Path) -> Result<File, KeepError> {
        let file = File { path: dir.join("holds.json") };
        match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir) {
            Ok(()) => Ok(file),
            Err(source) => Err(KeepError { path: dir.into(), source }),
        }
    }

    /// Reads it; nothing if it was never written.
    pub fn read(&self) -> Result<Kept, KeepError> {
        let read = match std::fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::default()),
            Err(error) => Err(error),
        };
        read.map_err(|source| self.fault(source))
    }

    /// Writes it.
    pub fn write(&self, kept: &Kept) -> Result<(), KeepError> {
        self.replace(kept).map_err(|source| self.fault(source))
    }

    fn replace(&self, kept: &Kept) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&new)?.write_all(&serde_json::to_vec(kept)?)?;
        std::fs::rename(&new, &self.path)
    }

    fn fault(&self, source: io::Error) -> KeepError {
        KeepError { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let dir = std::env::temp_dir().join(format!("foreshadow-keep-{}", std::process::id()));
        let file = File::within(&dir.join("a/b")).unwrap();
        assert_eq!(file.read().unwrap(), Kept::default());
        let mut kept = Kept::default();
        kept.note("web", 7);
        file.write(&kept).unwrap();
        assert_eq!(file.read().unwrap(), kept);
        std::fs::write(&file.path, b"{").unwrap();
        let fault = file.read().unwrap_err().to_string();
        assert!(fault.contains("holds.json: "), "{fault}");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn older_epochs_are_known_and_few() {
        let mut kept = Kept::default();
        for n in 0..10_000u64 {
            kept.note(&format!("pair-{n}"), n);
        }
        assert_eq!(kept.epochs.len(), EPOCHS_MAX);
        assert_eq!(kept.overtaken("pair-9999", 9_998), Some(9_999));
        assert_eq!(kept.overtaken("pair-9999", 9_999), None);
        assert_eq!(kept.overtaken("pair-0", 0), None);
    }
}
