//! The store on disk: journals that commit, and the checkpoint that lets them go.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::Span;
use crate::lease::{Change, Seq};

use super::archive::backlog::{self, Kept};
use super::archive::keeper::Keeper;
use super::archive::{Archive, ArchiveOptions};
use super::block::{self, Changes};
use super::disk::Disk;
use super::generation::Generation;
use super::journal::{Buffer, Journal};
use super::layout::{self, Layout};
use super::open::Opening;
use super::recovery::{Loaded, Recovery};
use super::worker::{Merged, Worker};
use super::{BackupDone, Contents, Store, StoreError, StoreStats, record};

/// How long a rebuild waits for the archive to have what the journals hold.
const ARCHIVE_PATIENCE: Duration = Duration::from_secs(2);

/// How a store on disk behaves: `[store]` of the policy.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Size of each of the two journals; they grow while a checkpoint is late.
    pub journal_bytes: u64,
    /// How often the checkpoint runs when there is something to write.
    pub checkpoint_every: Span,
    /// sled's page cache; it is made larger when the data need it.
    pub cache_bytes: u64,
}

/// 16 MiB, 1 s, 64 MiB.
impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            journal_bytes: 16 << 20,
            checkpoint_every: Span::from_secs(1),
            cache_bytes: 64 << 20,
        }
    }
}

/// The store on disk.
pub struct DiskStore {
    layout: Arc<Layout>,
    options: StoreOptions,
    journals: [Journal; 2],
    /// Which journal is written.
    active: usize,
    /// The last batch in each of them.
    ends: [u64; 2],
    /// The number in the names of the journals.
    number: u64,
    archive: Option<Arc<Keeper>>,
    generation: u64,
    /// The last batch committed.
    last: u64,
    /// The last batch that was handed to the checkpoint.
    merged: u64,
    /// What the checkpoint does not have yet and no merge under way has.
    changes: Changes,
    buffer: Buffer,
    worker: Worker,
    /// When the last checkpoint was begun.
    turned: Instant,
    /// A commit failed: nothing more is committed.
    broken: bool,
    /// The checkpoint failed: the journals grow until a rebuild.
    stalled: bool,
    /// What [`Store::maintain`] has yet to report.
    trouble: Option<StoreError>,
    /// Backups that wait for the merge under way.
    backups: Vec<(PathBuf, BackupDone)>,
    stats: StoreStats,
    checkpoint_bytes: u64,
}

impl DiskStore {
    /// Opens the store in `dir`, which is made where it is missing.
    ///
    /// A batch that was cut short at the end of a journal was never acknowledged and is dropped.
    /// Anything else that cannot be read is [`StoreError::Damaged`], and all files stay as they
    /// are; with `recover` the store goes on without it, says so in [`Recovery::lost`], and keeps
    /// a copy of all files as they were.
    pub fn open(
        dir: &Path,
        options: &StoreOptions,
        recover: bool,
    ) -> Result<(DiskStore, Contents, Recovery), StoreError> {
        DiskStore::open_on(Disk::default(), dir, options, recover)
    }

    /// The same on a disk whose operations may be made to fail.
    pub fn open_on(
        disk: Disk,
        dir: &Path,
        options: &StoreOptions,
        recover: bool,
    ) -> Result<(DiskStore, Contents, Recovery), StoreError> {
        DiskStore::open_format(disk, dir, options, None, recover, layout::FORMAT)
    }

    /// The same with an archive that keeps the audit records. An archive that cannot be written
    /// is no error: the journals keep what it lacks, and [`DiskStore::archive`] says so.
    pub fn open_archived(
        disk: Disk,
        dir: &Path,
        options: &StoreOptions,
        archive: ArchiveOptions,
        recover: bool,
    ) -> Result<(DiskStore, Contents, Recovery), StoreError> {
        DiskStore::open_format(disk, dir, options, Some(archive), recover, layout::FORMAT)
    }

    /// The same for a program whose newest format is `format`.
    fn open_format(
        disk: Disk,
        dir: &Path,
        options: &StoreOptions,
        archive: Option<ArchiveOptions>,
        recover: bool,
        format: u32,
    ) -> Result<(DiskStore, Contents, Recovery), StoreError> {
        let layout = Arc::new(Layout::lock(dir, disk, format)?);
        let archive = archive.map(|options| Arc::new(Keeper::new(&layout.disk, options)));
        let Some(mut opening) = Opening::of(&layout, options, recover)? else {
            let contents = Contents::default();
            if let Some(archive) = &archive {
                archive.catch_up(0);
            }
            let store = DiskStore::write_new(layout, *options, &contents, archive)?;
            return Ok((store, contents, Recovery::default()));
        };
        let current = opening.current;
        let (loaded, kept) = opening.load(recover)?;
        let Loaded { contents, checkpoint, mut tail } = loaded;
        let recovery = Recovery {
            seq: contents.seq,
            replayed: tail.replayed,
            torn: tail.torn.take(),
            lost: std::mem::take(&mut tail.damage),
            kept,
            upgraded_from: (current.format < format).then_some(current.format),
        };
        let archived = archive.as_ref().is_none_or(|it| opening.bring_in(it, contents.seq.0));
        let checkpoint = match checkpoint {
            Some(sound)
                if archived
                    && recovery.lost.is_empty()
                    && recovery.upgraded_from.is_none()
                    && !layout.is_distrusted() =>
            {
                sound
            }
            other => {
                drop(other);
                let store = DiskStore::write_new(layout, *options, &contents, archive)?;
                return Ok((store, contents, recovery));
            }
        };
        let changes = std::mem::take(&mut tail.changes);
        let resumed =
            opening.resume(checkpoint, &changes, contents.seq.0, tail.generation, archive);
        let store = resumed.inspect_err(|_| layout.distrust())?;
        Ok((store, contents, recovery))
    }

    /// Writes `contents` to new files, puts them in force and opens them.
    fn write_new(
        layout: Arc<Layout>,
        options: StoreOptions,
        contents: &Contents,
        archive: Option<Arc<Keeper>>,
    ) -> Result<DiskStore, StoreError> {
        let generation = Generation::write(&layout, &options, contents)?;
        layout.activate()?;
        layout.trust();
        let _ = layout.remove_others(generation.current);
        DiskStore::start(layout, options, generation, contents.seq.0, archive)
    }

    /// Begins to write to files that are in force.
    pub(super) fn start(
        layout: Arc<Layout>,
        options: StoreOptions,
        generation: Generation,
        last: u64,
        archive: Option<Arc<Keeper>>,
    ) -> Result<DiskStore, StoreError> {
        let Generation { current, journals, checkpoint, number } = generation;
        let checkpoint_bytes = checkpoint.disk_bytes();
        let worker = Worker::start(Arc::clone(&layout), current, checkpoint, options.cache_bytes)?;
        let mut store = DiskStore {
            layout,
            options,
            journals,
            active: 0,
            ends: [0; 2],
            number: current.journal,
            archive,
            generation: number,
            last,
            merged: last,
            changes: Changes::new(),
            buffer: Buffer::default(),
            worker,
            turned: Instant::now(),
            broken: false,
            stalled: false,
            trouble: None,
            backups: Vec::new(),
            stats: StoreStats::default(),
            checkpoint_bytes,
        };
        let [first, _] = &mut store.journals;
        first.start(&store.layout.disk, number, options.journal_bytes)?;
        if let Some(archive) = &store.archive {
            archive.set_aside();
            archive.begin(first.source(), last);
            let path = archive.archive().dir().to_owned();
            let what = "start a thread for";
            archive.start().map_err(|source| StoreError::Io { what, path, source })?;
        }
        Ok(store)
    }

    /// The archive of its audit records, if it has one.
    pub fn archive(&self) -> Option<Archive> {
        self.archive.as_ref().map(|archive| archive.archive())
    }

    /// Hands what has changed to the checkpoint and goes on in the other journal.
    fn turn(&mut self) -> Result<(), StoreError> {
        let next = 1 - self.active;
        let (Some(journal), Some(end)) = (self.journals.get_mut(next), self.ends.get(next)) else {
            return Ok(());
        };
        if self.archive.as_ref().is_some_and(|archive| !archive.has_up_to(*end)) {
            return Ok(());
        }
        self.turned = Instant::now();
        if self.last == self.merged {
            return Ok(());
        }
        journal.start(&self.layout.disk, self.generation + 1, self.options.journal_bytes)?;
        if let Some(archive) = &self.archive {
            archive.begin(journal.source(), self.last);
        }
        self.generation += 1;
        self.active = next;
        self.merged = self.last;
        self.worker.merge(std::mem::take(&mut self.changes), self.last);
        Ok(())
    }

    /// Takes note of a merge that came back, and begins what has become possible.
    fn advance(&mut self) {
        while let Some(merged) = self.worker.poll() {
            self.note(merged);
        }
        if self.broken || self.stalled || self.worker.is_busy() {
            return;
        }
        let every = Duration::from_millis(self.options.checkpoint_every.0);
        let full = self.journals.get(self.active).map_or(0, Journal::used);
        let due = self.turned.elapsed() >= every || full >= self.options.journal_bytes;
        if due || !self.backups.is_empty() {
            if let Err(e) = self.turn() {
                self.trouble = Some(e);
            }
            for (to, done) in self.backups.drain(..) {
                self.worker.backup(to, done);
            }
        }
    }

    /// Files that somebody removed or replaced take in every write, and are gone at the next
    /// start: nothing more is committed. A checkpoint that is gone holds up nobody, as one that
    /// failed.
    fn check_in_place(&mut self) {
        let mut checked = self.layout.check_in_place();
        for journal in &self.journals {
            checked = checked.and_then(|()| journal.check_in_place());
        }
        // What is committed from now on would be gone with them.
        self.broken |= checked.is_err();
        // The worker may be putting another checkpoint in force, and looks after its own.
        if !self.worker.is_busy() {
            checked = checked.and_then(|()| self.layout.check_current());
        }
        if let Err(e) = checked {
            self.stalled = true;
            self.trouble = Some(e);
        }
    }

    /// Only after a merge that succeeded may the journal behind it be written over.
    fn note(&mut self, merged: Merged) {
        self.checkpoint_bytes = merged.disk_bytes;
        match merged.result {
            Ok(()) => self.stats.checkpoints += 1,
            Err(e) => {
                self.stalled = true;
                self.layout.distrust();
                self.trouble = Some(e);
            }
        }
    }

    /// Lets journals go that were kept for the archive alone, once it has them.
    fn clear_backlog(&self) {
        let disk = &self.layout.disk;
        if self.archive.as_ref().is_none_or(|archive| archive.has_backlog()) {
            return;
        }
        for kept in backlog::read(&self.layout.dir) {
            for path in self.layout.journals(kept.journal) {
                let _ = disk.remove(&path);
            }
        }
        let _ = backlog::clear(disk, &self.layout.dir);
    }

    /// Sees to it that nothing of the journals is lost to the archive when they go: if it is late,
    /// their files stay.
    fn secure_archive(&self) {
        let Some(archive) = &self.archive else { return };
        if !archive.wait_for(self.last, ARCHIVE_PATIENCE) {
            let kept = Kept { journal: self.number, to: self.last };
            // On a disk that does not even take this, the open files are what is left.
            let _ = backlog::add(&self.layout.disk, &self.layout.dir, kept);
        }
    }

    /// On a full disk, audit records give way, oldest first.
    fn make_room(&self, why: &StoreError) {
        let StoreError::Io { source, .. } = why else { return };
        if let (std::io::ErrorKind::StorageFull, Some(archive)) = (source.kind(), &self.archive) {
            archive.make_room();
        }
    }

    fn fail_backups(&mut self) {
        for (_, done) in self.backups.drain(..) {
            done(Err(StoreError::Broken));
        }
    }
}

impl Store for DiskStore {
    fn commit(&mut self, seq: Seq, changes: &[Change]) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::Broken);
        }
        if changes.is_empty() {
            return Ok(());
        }
        if seq.0 <= self.last {
            return Err(StoreError::OutOfOrder { seq: seq.0, last: self.last });
        }
        self.buffer.clear();
        let mut is_news = false;
        let mut fresh = Vec::with_capacity(changes.len());
        let mut scratch = Vec::with_capacity(256);
        for change in changes {
            scratch.clear();
            record::encode(change, &mut scratch).map_err(StoreError::Record)?;
            self.buffer.push(&scratch);
            is_news |= record::is_kept(&scratch);
            fresh.extend(block::slot(change).map(|slot| (slot, scratch.as_slice().into())));
        }
        let Some(journal) = self.journals.get_mut(self.active) else {
            return Err(StoreError::Broken);
        };
        let begun = Instant::now();
        if let Err(e) = journal.append(&self.layout.disk, self.last, seq.0, &mut self.buffer) {
            self.broken = true;
            self.layout.distrust();
            self.make_room(&e);
            self.fail_backups();
            return Err(e);
        }
        self.stats.last_sync_us = begun.elapsed().as_micros() as u64;
        self.stats.commits += 1;
        self.stats.changes += changes.len() as u64;
        self.last = seq.0;
        if let Some(end) = self.ends.get_mut(self.active) {
            *end = seq.0;
        }
        let used = journal.used();
        if let Some(archive) = &self.archive {
            archive.committed(used, seq.0, is_news);
        }
        self.changes.extend(fresh);
        if used >= self.options.journal_bytes {
            self.advance();
        }
        Ok(())
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        if !self.broken && !self.stalled {
            self.check_in_place();
        }
        self.advance();
        self.clear_backlog();
        match self.trouble.take() {
            Some(e) => Err(e),
            None if self.broken || self.stalled => Err(StoreError::Broken),
            None => Ok(()),
        }
    }

    fn rebuild(&mut self, contents: &Contents) -> Result<(), StoreError> {
        // Only one of us may write CURRENT.
        if let Some(merged) = self.worker.wait() {
            self.note(merged);
        }
        if self.layout.check_in_place().is_err() {
            self.layout = Arc::new(self.layout.renew()?);
        } else {
            self.secure_archive();
        }
        let written = Generation::write(&self.layout, &self.options, contents);
        let generation = written.inspect_err(|e| self.make_room(e))?;
        if let Err(e) = self.layout.activate() {
            // Which generation a power cut leaves is unknown, so neither may go on.
            self.broken = true;
            self.layout.distrust();
            return Err(e);
        }
        let current = generation.current;
        self.fail_backups();
        let layout = Arc::clone(&self.layout);
        let archive = self.archive.clone();
        let started = DiskStore::start(layout, self.options, generation, contents.seq.0, archive);
        let stats = self.stats;
        *self = started.inspect_err(|_| self.broken = true)?;
        self.stats = stats;
        self.layout.trust();
        let _ = self.layout.remove_others(current);
        Ok(())
    }

    fn backup(&mut self, to: &Path, done: BackupDone) {
        if self.broken || self.stalled {
            return done(Err(StoreError::Broken));
        }
        let done = match &self.archive {
            None => done,
            Some(archive) => with_archive(archive, self.last, to, done),
        };
        self.backups.push((to.to_owned(), done));
        self.advance();
    }

    fn stats(&self) -> StoreStats {
        let journals: u64 = self.journals.iter().map(Journal::length).sum();
        StoreStats {
            disk_bytes: journals + self.checkpoint_bytes,
            journal_bytes: journals,
            journal_used_bytes: self.journals.get(self.active).map_or(0, Journal::used),
            ..self.stats
        }
    }
}

/// Copies the archive after the store, into a directory of the copy.
fn with_archive(archive: &Arc<Keeper>, last: u64, to: &Path, done: BackupDone) -> BackupDone {
    let (archive, to) = (Arc::clone(archive), to.join("audit"));
    Box::new(move |copied| {
        done(copied.and_then(|()| {
            archive.wait_for(last, ARCHIVE_PATIENCE);
            archive.copy_to(&to)
        }));
    })
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        self.fail_backups();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_format_is_rewritten_and_a_newer_one_refused() {
        let name = format!("fs-upgrade-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let options = StoreOptions::default();
        let open =
            |format| DiskStore::open_format(Disk::default(), &dir, &options, None, false, format);
        let (mut store, ..) = open(1).unwrap();
        let facts = [Change::Meta("a".into(), [7].into())];
        store.commit(Seq(1), &facts).unwrap();
        drop(store);

        let (mut store, contents, recovery) = open(2).unwrap();
        assert_eq!((recovery.upgraded_from, contents.seq), (Some(1), Seq(1)));
        assert_eq!(contents.meta["a"][..], [7]);
        store.commit(Seq(2), &facts).unwrap();
        drop(store);
        let text = std::fs::read_to_string(dir.join("CURRENT")).unwrap();
        assert!(text.contains("format 2\n"), "{text}");

        let (store, contents, recovery) = open(2).unwrap();
        assert_eq!((recovery.upgraded_from, contents.seq), (None, Seq(2)));
        drop(store);
        let refused = open(1).map(drop);
        assert!(matches!(refused, Err(StoreError::Newer { found: 2, known: 1, .. })));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
