//! A store in memory whose failures are chosen by a test, and the same for the same seed.
//!
//! It keeps the promises of [`Store`] and breaks them on demand: a commit is refused or fails in
//! its sync, a crash loses what was not acknowledged, or keeps it. A [`MemDisk`] outlives the
//! stores that are opened on it, as a disk outlives a server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::{NetworkId, Resource};
use crate::lease::{Change, Lease, Seq};

use super::{BackupDone, Contents, Store, StoreError, StoreStats};

/// How a commit goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing of it reaches the disk.
    Refused,
    /// Its sync fails: after a crash the whole batch may be there, or nothing of it.
    Unsynced,
}

/// What survives a crash.
#[derive(Clone, Default)]
pub struct MemDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Survives a crash.
    durable: Facts,
    /// Written, but its sync failed.
    unsynced: Option<(Seq, Vec<Change>)>,
    broken: bool,
    /// Commits, and rebuilds, so far.
    commits: u64,
    rebuilds: u64,
    failing_commits: BTreeMap<u64, Failure>,
    failing_rebuilds: BTreeSet<u64>,
    backups: Vec<Contents>,
    stats: StoreStats,
    random: u64,
}

#[derive(Clone, Default)]
struct Facts {
    leases: BTreeMap<(NetworkId, Resource), Lease>,
    meta: BTreeMap<Box<str>, Box<[u8]>>,
    seq: Seq,
}

impl MemDisk {
    /// An empty disk; `seed` decides what a crash keeps of what was never acknowledged.
    pub fn new(seed: u64) -> MemDisk {
        let disk = MemDisk::default();
        disk.state().random = seed | 1;
        disk
    }

    /// Opens what is on it.
    pub fn open(&self) -> (MemStore, Contents) {
        let contents = self.state().durable.contents();
        (MemStore { disk: self.clone() }, contents)
    }

    /// The `n`th commit from now on fails, 1 being the next.
    pub fn fail_commit(&self, n: u64, how: Failure) {
        let mut state = self.state();
        let at = state.commits + n;
        state.failing_commits.insert(at, how);
    }

    /// The `n`th rebuild from now on fails, 1 being the next.
    pub fn fail_rebuild(&self, n: u64) {
        let mut state = self.state();
        let at = state.rebuilds + n;
        state.failing_rebuilds.insert(at);
    }

    /// The power goes: what was acknowledged stays, a batch whose sync failed may. Stores that
    /// are open on it must be dropped; open it again to see what is left.
    pub fn crash(&self) {
        let mut state = self.state();
        if let Some((seq, changes)) = state.unsynced.take()
            && state.toss()
        {
            state.durable.apply(seq, &changes);
        }
        state.broken = false;
    }

    /// The backups made so far.
    pub fn backups(&self) -> usize {
        self.state().backups.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn toss(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random & (1 << 20) != 0
    }
}

impl Facts {
    fn apply(&mut self, seq: Seq, changes: &[Change]) {
        self.seq = seq;
        for change in changes {
            match change {
                Change::Put(lease, _) => {
                    self.leases.insert((lease.network, lease.resource), lease.clone());
                }
                Change::Remove(network, resource, _) => {
                    self.leases.remove(&(*network, *resource));
                }
                Change::Meta(name, value) => {
                    self.meta.insert(name.clone(), value.clone());
                }
                Change::Forget(name) => drop(self.meta.remove(name)),
                Change::Act(_) => {}
            }
        }
    }

    fn contents(&self) -> Contents {
        let leases = self.leases.values().cloned().collect();
        Contents { leases, meta: self.meta.clone(), seq: self.seq }
    }
}

/// A store on a [`MemDisk`].
pub struct MemStore {
    disk: MemDisk,
}

impl Store for MemStore {
    fn commit(&mut self, seq: Seq, changes: &[Change]) -> Result<(), StoreError> {
        let mut state = self.disk.state();
        if state.broken {
            return Err(StoreError::Broken);
        }
        if changes.is_empty() {
            return Ok(());
        }
        if seq <= state.durable.seq {
            return Err(StoreError::OutOfOrder { seq: seq.0, last: state.durable.seq.0 });
        }
        state.commits += 1;
        let commit = state.commits;
        if let Some(how) = state.failing_commits.remove(&commit) {
            state.broken = true;
            if how == Failure::Unsynced {
                state.unsynced = Some((seq, changes.to_vec()));
            }
            return Err(injected(if how == Failure::Unsynced { "sync" } else { "write" }));
        }
        state.durable.apply(seq, changes);
        state.stats.commits += 1;
        state.stats.changes += changes.len() as u64;
        Ok(())
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        if self.disk.state().broken { Err(StoreError::Broken) } else { Ok(()) }
    }

    fn rebuild(&mut self, contents: &Contents) -> Result<(), StoreError> {
        let mut state = self.disk.state();
        state.rebuilds += 1;
        let rebuild = state.rebuilds;
        if state.failing_rebuilds.remove(&rebuild) {
            return Err(injected("write"));
        }
        let leases = contents.leases.iter().cloned();
        state.durable = Facts {
            leases: leases.map(|lease| ((lease.network, lease.resource), lease)).collect(),
            meta: contents.meta.clone(),
            seq: contents.seq,
        };
        state.unsynced = None;
        state.broken = false;
        Ok(())
    }

    fn backup(&mut self, _to: &Path, done: BackupDone) {
        let mut state = self.disk.state();
        let broken = state.broken;
        if !broken {
            let copy = state.durable.contents();
            state.backups.push(copy);
        }
        drop(state);
        done(if broken { Err(StoreError::Broken) } else { Ok(()) });
    }

    fn stats(&self) -> StoreStats {
        self.disk.state().stats
    }
}

fn injected(what: &'static str) -> StoreError {
    let source = std::io::Error::other("injected failure");
    StoreError::Io { what, path: "memory".into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(n: u64) -> Vec<Change> {
        vec![Change::Meta("n".into(), n.to_le_bytes().as_slice().into())]
    }

    #[test]
    fn a_failed_commit_stops_the_store_until_a_rebuild() {
        let disk = MemDisk::new(1);
        let (mut store, mut contents) = disk.open();
        disk.fail_commit(2, Failure::Refused);
        disk.fail_rebuild(1);
        store.commit(Seq(1), &meta(1)).unwrap();
        assert!(store.commit(Seq(2), &meta(2)).is_err());
        assert!(matches!(store.commit(Seq(3), &meta(3)), Err(StoreError::Broken)));
        contents.seq = Seq(1);
        contents.meta.insert("n".into(), 1u64.to_le_bytes().as_slice().into());
        assert!(store.rebuild(&contents).is_err());
        store.rebuild(&contents).unwrap();
        store.commit(Seq(2), &meta(2)).unwrap();
        assert_eq!(disk.open().1.seq, Seq(2));
    }

    #[test]
    fn a_crash_keeps_all_or_nothing_of_what_was_not_acknowledged() {
        let mut seen = BTreeSet::new();
        for seed in 0..64 {
            let disk = MemDisk::new(seed);
            let (mut store, _) = disk.open();
            store.commit(Seq(1), &meta(1)).unwrap();
            disk.fail_commit(1, Failure::Unsynced);
            assert!(store.commit(Seq(2), &meta(2)).is_err());
            disk.crash();
            let contents = disk.open().1;
            assert_eq!(contents.meta["n"][..], contents.seq.0.to_le_bytes());
            seen.insert(contents.seq);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [Seq(1), Seq(2)]);
    }
}
