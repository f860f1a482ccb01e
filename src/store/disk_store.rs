//! The store on disk: journals that commit, and the checkpoint that lets them go.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::Span;
use crate::lease::{Change, Lease, Seq};

use super::block::{self, Changes};
use super::checkpoint::Checkpoint;
use super::disk::{Disk, failed};
use super::journal::{Buffer, Journal};
use super::layout::{self, Current, Layout};
use super::recovery::{Files, Loaded, Recovery};
use super::worker::Worker;
use super::{BackupDone, Contents, Store, StoreError, StoreStats, record};

/// Facts that a rebuild hands to the checkpoint at a time.
const REBUILD_CHUNK: usize = 16_384;

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
    current: Current,
    journals: [Journal; 2],
    /// Which journal is written.
    active: usize,
    generation: u64,
    /// The last batch committed.
    last: u64,
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
        DiskStore::open_format(disk, dir, options, recover, layout::FORMAT)
    }

    /// The same for a program whose newest format is `format`.
    fn open_format(
        disk: Disk,
        dir: &Path,
        options: &StoreOptions,
        recover: bool,
        format: u32,
    ) -> Result<(DiskStore, Contents, Recovery), StoreError> {
        let layout = Arc::new(Layout::lock(dir, disk, format)?);
        let Some(current) = layout.current()? else {
            layout.check_empty()?;
            let contents = Contents::default();
            let store = DiskStore::write_new(layout, *options, &contents)?;
            return Ok((store, contents, Recovery::default()));
        };
        let opening = Opening { layout: &layout, current, options };
        let (loaded, kept) = opening.load(recover)?;
        let Loaded { contents, checkpoint, mut tail } = loaded;
        let mut recovery = Recovery {
            seq: contents.seq,
            replayed: tail.replayed,
            torn: tail.torn.take(),
            lost: std::mem::take(&mut tail.damage),
            kept,
            upgraded_from: (current.format < format).then_some(current.format),
        };
        let checkpoint = match checkpoint {
            Some(sound) if recovery.lost.is_empty() && recovery.upgraded_from.is_none() => sound,
            other => {
                drop(other);
                let store = DiskStore::write_new(layout, *options, &contents)?;
                return Ok((store, contents, recovery));
            }
        };
        recovery.lost.clear();
        let changes = std::mem::take(&mut tail.changes);
        let store = opening.resume(checkpoint, &changes, contents.seq.0, tail.generation)?;
        Ok((store, contents, recovery))
    }

    /// Writes `contents` to new files, puts them in force and opens them.
    fn write_new(
        layout: Arc<Layout>,
        options: StoreOptions,
        contents: &Contents,
    ) -> Result<DiskStore, StoreError> {
        let generation = Generation::write(&layout, &options, contents)?;
        layout.activate()?;
        let _ = layout.remove_others(generation.current);
        DiskStore::start(layout, options, generation, contents.seq.0)
    }

    fn start(
        layout: Arc<Layout>,
        options: StoreOptions,
        generation: Generation,
        last: u64,
    ) -> Result<DiskStore, StoreError> {
        let Generation { current, journals, checkpoint, number } = generation;
        let checkpoint_bytes = checkpoint.disk_bytes();
        let worker = Worker::start(Arc::clone(&layout), current, checkpoint, options.cache_bytes)?;
        let mut store = DiskStore {
            layout,
            options,
            current,
            journals,
            active: 0,
            generation: number,
            last,
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
        Ok(store)
    }

    /// Hands what has changed to the checkpoint and goes on in the other journal.
    fn turn(&mut self) -> Result<(), StoreError> {
        self.turned = Instant::now();
        if self.changes.is_empty() {
            return Ok(());
        }
        let next = 1 - self.active;
        let Some(journal) = self.journals.get_mut(next) else { return Ok(()) };
        journal.start(&self.layout.disk, self.generation + 1, self.options.journal_bytes)?;
        self.generation += 1;
        self.active = next;
        self.worker.merge(std::mem::take(&mut self.changes), self.last);
        Ok(())
    }

    /// Takes note of a merge that came back, and begins what has become possible.
    fn advance(&mut self) {
        while let Some(merged) = self.worker.poll() {
            self.current = merged.current;
            self.checkpoint_bytes = merged.disk_bytes;
            match merged.result {
                Ok(()) => self.stats.checkpoints += 1,
                Err(e) => {
                    self.stalled = true;
                    self.trouble = Some(e);
                }
            }
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
        let mut fresh = Vec::with_capacity(changes.len());
        let mut scratch = Vec::with_capacity(256);
        for change in changes {
            scratch.clear();
            record::encode(change, &mut scratch).map_err(StoreError::Record)?;
            self.buffer.push(&scratch);
            fresh.push((block::slot(change), scratch.as_slice().into()));
        }
        let Some(journal) = self.journals.get_mut(self.active) else {
            return Err(StoreError::Broken);
        };
        let begun = Instant::now();
        if let Err(e) = journal.append(&self.layout.disk, self.last, seq.0, &mut self.buffer) {
            self.broken = true;
            self.fail_backups();
            return Err(e);
        }
        self.stats.last_sync_us = begun.elapsed().as_micros() as u64;
        self.stats.commits += 1;
        self.stats.changes += changes.len() as u64;
        self.last = seq.0;
        self.changes.extend(fresh);
        if journal.used() >= self.options.journal_bytes {
            self.advance();
        }
        Ok(())
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        self.advance();
        match self.trouble.take() {
            Some(e) => Err(e),
            None if self.broken || self.stalled => Err(StoreError::Broken),
            None => Ok(()),
        }
    }

    fn rebuild(&mut self, contents: &Contents) -> Result<(), StoreError> {
        // Only one of us may write CURRENT.
        while let Some(merged) = self.worker.wait() {
            self.current = merged.current;
        }
        let generation = Generation::write(&self.layout, &self.options, contents)?;
        if let Err(e) = self.layout.activate() {
            // Which generation a power cut leaves is unknown, so neither may go on.
            self.broken = true;
            return Err(e);
        }
        let current = generation.current;
        self.fail_backups();
        let layout = Arc::clone(&self.layout);
        let started = DiskStore::start(layout, self.options, generation, contents.seq.0);
        let stats = self.stats;
        *self = started.inspect_err(|_| self.broken = true)?;
        self.stats = stats;
        let _ = self.layout.remove_others(current);
        Ok(())
    }

    fn backup(&mut self, to: &Path, done: BackupDone) {
        if self.broken || self.stalled {
            return done(Err(StoreError::Broken));
        }
        self.backups.push((to.to_owned(), done));
        self.advance();
    }

    fn stats(&self) -> StoreStats {
        let journals: u64 = self.journals.iter().map(Journal::length).sum();
        StoreStats { disk_bytes: journals + self.checkpoint_bytes, ..self.stats }
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        self.fail_backups();
    }
}

/// Files of one generation, synced but not yet in force.
struct Generation {
    current: Current,
    journals: [Journal; 2],
    checkpoint: Checkpoint,
    /// The first turn of its journals.
    number: u64,
}

impl Generation {
    /// Writes everything anew, and CURRENT ready to be put in force. After an error nothing of
    /// it stays behind.
    fn write(
        layout: &Layout,
        options: &StoreOptions,
        contents: &Contents,
    ) -> Result<Generation, StoreError> {
        let number = layout.free_number()?;
        let salt = layout::new_salt();
        let current = Current { format: layout.format, journal: number, checkpoint: number, salt };
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
        let journals = layout.create_journals(current)?;
        let dir = layout.checkpoint(current.checkpoint);
        // 200 bytes a lease: what they take in sled's cache, twice over.
        let cache = options.cache_bytes.max(contents.leases.len() as u64 * 400);
        let mut checkpoint = Checkpoint::create(&layout.disk, &dir, cache, contents.seq.0)?;
        let mut order: Vec<&Lease> = contents.leases.iter().collect();
        order.sort_unstable_by_key(|lease| (lease.network, lease.resource));
        for chunk in order.chunks(REBUILD_CHUNK) {
            let mut changes = Changes::new();
            for lease in chunk {
                insert(&Change::Put((*lease).clone()), &mut changes)?;
            }
            checkpoint.merge(&changes, contents.seq.0)?;
        }
        let mut changes = Changes::new();
        for (name, value) in &contents.meta {
            insert(&Change::Meta(name.clone(), value.clone()), &mut changes)?;
        }
        checkpoint.merge(&changes, contents.seq.0)?;
        Ok(Generation { current, journals, checkpoint, number: 1 })
    }
}

fn insert(change: &Change, changes: &mut Changes) -> Result<(), StoreError> {
    let mut bytes = Vec::with_capacity(256);
    record::encode(change, &mut bytes).map_err(StoreError::Record)?;
    changes.insert(block::slot(change), bytes.into());
    Ok(())
}

/// A store that is there, being opened.
struct Opening<'a> {
    layout: &'a Arc<Layout>,
    current: Current,
    options: &'a StoreOptions,
}

impl Opening<'_> {
    /// Reads everything; with `recover`, also says where the damaged files are kept.
    ///
    /// sled writes to its files as soon as it opens them, and makes damage worse. So they are
    /// copied first, and put back if they turn out to be damaged.
    fn load(&self, recover: bool) -> Result<(Loaded, Option<PathBuf>), StoreError> {
        let Opening { layout, current, options } = self;
        let (disk, checkpoint) = (&layout.disk, layout.checkpoint(current.checkpoint));
        let journals = layout.journals(current.journal);
        let salt = current.salt;
        let mut files =
            Files { checkpoint: &checkpoint, untouched: &checkpoint, journals: &journals, salt };
        let as_found = layout.checkpoint(layout.free_number()?);
        // A disk too full for the copy is no reason not to start.
        let copied = disk.copy(&checkpoint, &as_found).is_ok();
        let e = match files.load(disk, options.cache_bytes, false) {
            Ok(loaded) => {
                disk.remove(&as_found)?;
                return Ok((loaded, None));
            }
            Err(e) => e,
        };
        if copied {
            let touched = layout.checkpoint(layout.free_number()?);
            disk.rename(&checkpoint, &touched)?;
            disk.rename(&as_found, &checkpoint)?;
            disk.remove(&touched)?;
        }
        if !recover || !matches!(e, StoreError::Damaged { .. } | StoreError::Checkpoint { .. }) {
            return Err(e);
        }
        let kept = self.keep(&files)?;
        let untouched = kept.join(checkpoint.file_name().unwrap_or_default());
        files.untouched = &untouched;
        let loaded = files.load(disk, options.cache_bytes, true)?;
        Ok((loaded, Some(kept)))
    }

    /// A copy of all files in force, for whoever wants to look at them later.
    fn keep(&self, files: &Files<'_>) -> Result<PathBuf, StoreError> {
        let Layout { dir, disk, .. } = &**self.layout;
        let kept = dir.join(format!("damaged-{}", self.layout.free_number()?));
        disk.create_dir(&kept)?;
        let [a, b] = files.journals;
        for path in [&dir.join("CURRENT"), a, b, files.checkpoint] {
            if let Some(name) = path.file_name().filter(|_| path.exists()) {
                disk.copy(path, &kept.join(name))?;
            }
        }
        Ok(kept)
    }

    /// Goes on with sound files: the journals' tail goes into the checkpoint, and the journals
    /// begin anew.
    fn resume(
        &self,
        mut checkpoint: Checkpoint,
        changes: &Changes,
        seq: u64,
        generation: u64,
    ) -> Result<DiskStore, StoreError> {
        let Opening { layout, current, options } = self;
        checkpoint.merge(changes, seq)?;
        let [a, b] = layout.journals(current.journal);
        let journals = [Journal::open(&a, current.salt)?, Journal::open(&b, current.salt)?];
        let _ = layout.remove_others(*current);
        let generation =
            Generation { current: *current, journals, checkpoint, number: generation + 1 };
        DiskStore::start(Arc::clone(layout), **options, generation, seq)
    }
}

/// Reads the store in `dir` without changing it, from a copy: for commands while its server does
/// not run. Refused while one does.
pub fn open_copy(dir: &Path, recover: bool) -> Result<(Contents, Recovery), StoreError> {
    let _lock = layout::lock(dir)?;
    let Some(current) = layout::read_current(dir, layout::FORMAT)? else {
        return Err(failed("open a store in", dir)(std::io::ErrorKind::NotFound.into()));
    };
    let copy = Scratch::new()?;
    let disk = Disk::default();
    let place = |path: &Path| copy.0.join(path.file_name().unwrap_or_default());
    let checkpoint = layout::checkpoint(dir, current.checkpoint);
    let journals = layout::journals(dir, current.journal);
    for path in journals.iter().chain([&checkpoint]) {
        if path.exists() {
            disk.copy(path, &place(path))?;
        }
    }
    let files = Files {
        checkpoint: &place(&checkpoint),
        untouched: &checkpoint,
        journals: &journals.each_ref().map(|path| place(path)),
        salt: current.salt,
    };
    let cache = StoreOptions::default().cache_bytes;
    let Loaded { contents, tail, checkpoint } = files.load(&disk, cache, recover)?;
    drop(checkpoint);
    let recovery = Recovery {
        seq: contents.seq,
        replayed: tail.replayed,
        torn: tail.torn,
        lost: tail.damage,
        ..Recovery::default()
    };
    Ok((contents, recovery))
}

/// A directory that nobody else can read, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch, StoreError> {
        use std::os::unix::fs::DirBuilderExt;
        let name = format!("foreshadow-{}-{:08x}", std::process::id(), layout::new_salt());
        let dir = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(failed("create", &dir))?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
