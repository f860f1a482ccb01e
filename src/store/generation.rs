//! All files of a store, written anew.

use crate::lease::{Cause, Change, Lease};

use super::block::{self, Changes};
use super::checkpoint::Checkpoint;
use super::disk_store::StoreOptions;
use super::journal::Journal;
use super::layout::{self, Current, Layout};
use super::{Contents, StoreError, record};

/// Facts that a rebuild hands to the checkpoint at a time.
const REBUILD_CHUNK: usize = 16_384;

/// Files of one generation, to be written to.
pub(super) struct Generation {
    pub(super) current: Current,
    pub(super) journals: [Journal; 2],
    pub(super) checkpoint: Checkpoint,
    /// The first turn of its journals.
    pub(super) number: u64,
}

impl Generation {
    /// Writes everything anew, and CURRENT ready to be put in force. After an error nothing of
    /// it stays behind.
    pub(super) fn write(
        layout: &Layout,
        options: &StoreOptions,
        contents: &Contents,
    ) -> Result<Generation, StoreError> {
        let number = layout.free_number()?;
        let salt = layout::new_salt();
        let (format, batch) = (layout.format, contents.seq.0);
        let current = Current { format, journal: number, checkpoint: number, batch, salt };
        let written = Generation::fill(layout, options, contents, current)
            .and_then(|generation| layout.prepare(current).map(|()| generation));
        if written.is_err() {
            for path in layout.journals(number).iter().chain([&layout.checkpoint(number)]) {
                let _ = layout.disk.remove(path);
            }
        }
        written
    }

    fn fill(
        layout: &Layout,
        options: &StoreOptions,
        contents: &Contents,
        current: Current,
    ) -> Result<Generation, StoreError> {
        let dir = layout.checkpoint(current.checkpoint);
        // Twice what the leases take, which is less than 200 bytes each.
        let cache = options.cache_bytes.max(contents.leases.len() as u64 * 400);
        let mut checkpoint = Checkpoint::create(&layout.disk, &dir, cache)?;
        let mut order: Vec<&Lease> = contents.leases.iter().collect();
        order.sort_unstable_by_key(|lease| (lease.network, lease.resource));
        for chunk in order.chunks(REBUILD_CHUNK) {
            let mut changes = Changes::new();
            for lease in chunk {
                insert(&Change::Put((*lease).clone(), Cause::Renewed), &mut changes)?;
            }
            checkpoint.add(&changes, contents.seq.0)?;
        }
        let mut changes = Changes::new();
        for (name, value) in &contents.meta {
            insert(&Change::Meta(name.clone(), value.clone()), &mut changes)?;
        }
        checkpoint.merge(&changes, contents.seq.0)?;
        // Only now: journals say that the checkpoint with their number is whole.
        let journals = layout.create_journals(current)?;
        Ok(Generation { current, journals, checkpoint, number: 1 })
    }
}

fn insert(change: &Change, changes: &mut Changes) -> Result<(), StoreError> {
    let mut bytes = Vec::with_capacity(256);
    record::encode(change, &mut bytes).map_err(StoreError::Record)?;
    changes.extend(block::slot(change).map(|slot| (slot, bytes.into())));
    Ok(())
}
