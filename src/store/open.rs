//! Opening the files of a store that is there: as its server, or as a reader of a copy.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::backlog::{self, Kept};
use super::archive::keeper::Keeper;
use super::block::Changes;
use super::checkpoint::Checkpoint;
use super::disk::{Disk, failed};
use super::disk_store::{DiskStore, StoreOptions};
use super::generation::Generation;
use super::journal::{Found, Journal, Scan, Source, Stamp};
use super::layout::{self, Current, Layout};
use super::recovery::{Files, Loaded, Recovery};
use super::search::Search;
use super::{Contents, StoreError};

/// A store that is there, being opened.
pub(super) struct Opening<'a> {
    pub(super) layout: &'a Arc<Layout>,
    pub(super) current: Current,
    pub(super) options: &'a StoreOptions,
    /// What became of CURRENT, if `current` had to be found without it.
    pub(super) lost: Option<StoreError>,
}

impl<'a> Opening<'a> {
    /// Finds what is in force: what CURRENT says, or with `recover` what it must have said.
    /// `None` in a directory without a store.
    pub(super) fn of(
        layout: &'a Arc<Layout>,
        options: &'a StoreOptions,
        recover: bool,
    ) -> Result<Option<Opening<'a>>, StoreError> {
        let Layout { dir, disk, format, .. } = &**layout;
        // Numbers begin at 1, so it is a leftover wherever it is found.
        let scratch = layout.checkpoint(0);
        let (format, cache, scratch) = (*format, options.cache_bytes, &scratch);
        let search = recover.then_some(Search { dir, disk, format, cache, scratch });
        let found = in_force(dir, format, search)?;
        Ok(found.map(|(current, lost)| Opening { layout, current, options, lost }))
    }

    /// Reads everything; with `recover`, also says where the damaged files are kept.
    ///
    /// sled writes to its files as soon as it opens them, and makes damage worse. So they are
    /// copied first, and put back if they turn out to be damaged.
    pub(super) fn load(&mut self, recover: bool) -> Result<(Loaded, Option<PathBuf>), StoreError> {
        let lost = self.lost.take();
        let Opening { layout, current, options, .. } = self;
        let (disk, checkpoint) = (&layout.disk, layout.checkpoint(current.checkpoint));
        let journals = layout.journals(current.journal);
        let (salt, batch) = (current.salt, current.batch);
        let (journals, untouched) = (&journals, &*checkpoint);
        let files = Files { checkpoint: &checkpoint, untouched, journals, salt, batch };
        if let Some(lost) = lost {
            let (mut loaded, kept) = self.salvage(&files)?;
            loaded.tail.damage.insert(0, lost);
            return Ok((loaded, kept));
        }
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
        self.salvage(&files)
    }

    /// Keeps the files as they are, then reads what can be read.
    fn salvage(&self, files: &Files<'_>) -> Result<(Loaded, Option<PathBuf>), StoreError> {
        let kept = self.keep(files)?;
        let untouched = kept.join(files.checkpoint.file_name().unwrap_or_default());
        let files = Files { untouched: &untouched, ..*files };
        let loaded = files.load(&self.layout.disk, self.options.cache_bytes, true)?;
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
    pub(super) fn resume(
        &self,
        mut checkpoint: Checkpoint,
        changes: &Changes,
        seq: u64,
        generation: u64,
        archive: Option<Arc<Keeper>>,
    ) -> Result<DiskStore, StoreError> {
        let Opening { layout, current, options, .. } = self;
        checkpoint.merge(changes, seq)?;
        let [a, b] = layout.journals(current.journal);
        let open = |path: &Path| Journal::open(&layout.disk, path, current.salt);
        let journals = [open(&a)?, open(&b)?];
        let _ = layout.remove_others(*current);
        let generation =
            Generation { current: *current, journals, checkpoint, number: generation + 1 };
        DiskStore::start(Arc::clone(layout), **options, generation, seq, archive)
    }

    /// Brings into the archive what the journals have of it, up to batch `seq`, and whether it has
    /// all of it now. If not, the journals must stay as they are.
    pub(super) fn bring_in(&self, archive: &Keeper, seq: u64) -> bool {
        let Layout { dir, disk, .. } = &**self.layout;
        for kept in backlog::read(dir) {
            // Whoever was to say where their checksums start from is gone: they say it themselves.
            archive.bring_in(&batches(&self.layout.journals(kept.journal), None, kept.to), true);
        }
        let current = self.layout.journals(self.current.journal);
        archive.bring_in(&batches(&current, Some(self.current.salt), seq), false);
        let has_all = archive.catch_up(seq);
        if !has_all {
            let _ = backlog::add(disk, dir, Kept { journal: self.current.journal, to: seq });
        }
        has_all
    }
}

/// All batches in two journals up to batch `to`, in their order, as far as they can be read.
fn batches(journals: &[PathBuf; 2], salt: Option<u32>, to: u64) -> Vec<(Source, Found)> {
    let mut all = Vec::new();
    for path in journals {
        let salt = salt.or_else(|| Stamp::of(path).map(|stamp| stamp.salt));
        let Some(scan) = salt.and_then(|salt| Scan::of(path, salt).ok()) else { continue };
        let source = scan.source();
        all.extend(scan.batches.iter().map(|found| (source.clone(), *found)));
    }
    all.retain(|(_, found)| found.seq <= to);
    all.sort_by_key(|(_, found)| (found.generation, found.seq));
    all
}

/// What CURRENT says. Where it is damaged or lost, what `search` finds, and why it was needed.
fn in_force(
    dir: &Path,
    known: u32,
    search: Option<Search<'_>>,
) -> Result<Option<(Current, Option<StoreError>)>, StoreError> {
    let lost = match layout::read_current(dir, known) {
        Ok(Some(current)) => return Ok(Some((current, None))),
        Ok(None) => match layout::check_empty(dir) {
            Ok(()) => return Ok(None),
            Err(e) => e,
        },
        Err(e) => e,
    };
    match search.filter(|_| matches!(lost, StoreError::Damaged { .. })) {
        None => Err(lost),
        Some(search) => match search.run()? {
            None => Err(lost),
            Some(found) => Ok(Some((found, Some(lost)))),
        },
    }
}

/// Reads the store in `dir` without changing it, from a copy: for commands while its server does
/// not run. Refused while one does.
pub fn open_copy(dir: &Path, recover: bool) -> Result<(Contents, Recovery), StoreError> {
    let _lock = layout::lock(dir)?;
    let (copy, disk, format) = (Scratch::new()?, Disk::default(), layout::FORMAT);
    let cache = StoreOptions::default().cache_bytes;
    let scratch = &copy.0.join("search");
    let search = recover.then_some(Search { dir, disk: &disk, format, cache, scratch });
    let Some((current, lost)) = in_force(dir, format, search)? else {
        return Err(failed("open a store in", dir)(std::io::ErrorKind::NotFound.into()));
    };
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
        batch: current.batch,
    };
    let loaded = files.load(&disk, cache, recover).map_err(|e| e.moved(&copy.0, dir))?;
    let Loaded { contents, tail, checkpoint } = loaded;
    drop(checkpoint);
    let recovery = Recovery {
        seq: contents.seq,
        replayed: tail.replayed,
        torn: tail.torn,
        lost: lost.into_iter().chain(tail.damage).collect(),
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
