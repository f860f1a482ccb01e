//! The store with a look over its shoulder: what it called durable is known, and a power cut will
//! show whether it lied.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use foreshadow::base::{NetworkId, Resource};
use foreshadow::lease::{Change, Lease, Seq};
use foreshadow::store::{BackupDone, Contents, DiskStore, Store, StoreError, StoreStats};

pub(crate) type Facts = BTreeMap<(NetworkId, Resource), Lease>;

/// What the store has called durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durable(Arc<Mutex<Facts>>, Arc<Mutex<Notes>>);

/// Facts by name.
pub(crate) type Notes = BTreeMap<Box<str>, Box<[u8]>>;

impl Durable {
    pub(crate) fn of(contents: &Contents) -> Durable {
        let durable = Durable::default();
        durable.with(|facts| fill(facts, &contents.leases));
        durable.notes(|notes| notes.clone_from(&contents.meta));
        durable
    }

    fn notes<T>(&self, look: impl FnOnce(&mut Notes) -> T) -> T {
        look(&mut self.1.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All facts by name.
    pub(crate) fn facts(&self) -> Notes {
        self.notes(|notes| notes.clone())
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Facts) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn fill(facts: &mut Facts, leases: &[Lease]) {
    facts.clear();
    facts.extend(leases.iter().map(|lease| ((lease.network, lease.resource), lease.clone())));
}

pub(crate) struct Watched {
    pub(crate) store: DiskStore,
    pub(crate) durable: Durable,
}

impl Store for Watched {
    fn commit(&mut self, seq: Seq, changes: &[Change]) -> Result<(), StoreError> {
        self.store.commit(seq, changes)?;
        self.durable.with(|facts| {
            for change in changes {
                match change {
                    Change::Put(l, _) => drop(facts.insert((l.network, l.resource), l.clone())),
                    Change::Remove(net, resource, _) => drop(facts.remove(&(*net, *resource))),
                    Change::Meta(name, value) => {
                        self.durable.notes(|notes| notes.insert(name.clone(), value.clone()));
                    }
                    Change::Forget(name) => drop(self.durable.notes(|notes| notes.remove(name))),
                    Change::Act(_) => {}
                }
            }
        });
        Ok(())
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        self.store.maintain()
    }

    fn rebuild(&mut self, contents: &Contents) -> Result<(), StoreError> {
        self.store.rebuild(contents)?;
        self.durable.with(|facts| fill(facts, &contents.leases));
        self.durable.notes(|notes| notes.clone_from(&contents.meta));
        Ok(())
    }

    fn backup(&mut self, to: &Path, done: BackupDone) {
        self.store.backup(to, done);
    }

    fn stats(&self) -> StoreStats {
        self.store.stats()
    }
}
