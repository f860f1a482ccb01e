//! A disk that fails, fills up, and loses power. The store's own code runs on real files in
//! memory; what was not synced is remembered, and a power cut keeps or undoes each part of it as
//! a disk could have: sectors in any order, entries of a directory up to some moment.
//!
//! sled's files are seen only when they are synced: a power cut mixes their blocks as last synced
//! with those as they are.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foreshadow::store::disk::{Disk, Fault, Hook, Op};

use super::random::Random;

/// What a disk writes whole.
const SECTOR: usize = 512;
/// What the page cache writes whole.
const PAGE: usize = 4096;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// How the disk misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The next operation of this sort is an IO error.
    Eio(Op),
    /// The next write stops half way.
    Torn,
    /// No write and no new file until it is over.
    Full,
    /// Nothing can be changed until it is over.
    ReadOnly,
    /// The power goes at this operation from now.
    PowerIn(u64),
}

/// Something not synced that a power cut may undo.
#[derive(Clone, Debug)]
enum Undo {
    /// What was in a file before, and whether a sync of it failed: then no later one counts.
    Bytes {
        name: PathBuf,
        offset: u64,
        old: Vec<u8>,
        length: u64,
        doomed: bool,
    },
    Created(PathBuf),
    Removed(PathBuf, PathBuf),
    /// Something took this name; what had it before.
    Renamed(PathBuf, Option<Vec<u8>>),
}

impl Undo {
    fn name(&self) -> String {
        match self {
            Undo::Bytes { name, offset, .. } => format!("{} at {offset}", name.display()),
            Undo::Created(name) => format!("{} made", name.display()),
            Undo::Removed(name, _) => format!("{} removed", name.display()),
            Undo::Renamed(name, _) => format!("{} replaced", name.display()),
        }
    }
}

#[derive(Debug)]
struct State {
    verbose: bool,
    random: Random,
    store: PathBuf,
    trouble: Vec<Trouble>,
    undo: Vec<Undo>,
    /// sled's files as last synced, by the name of their directory.
    synced: BTreeMap<PathBuf, Vec<u8>>,
    off: bool,
    stashed: u64,
    lives: u64,
    hits: Vec<&'static str>,
}

#[derive(Debug)]
struct Sim {
    verbose: bool,
    root: PathBuf,
    state: Mutex<State>,
}

/// The disk; it outlives the servers that use it.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk(Arc<Sim>);

static DISKS: AtomicU64 = AtomicU64::new(0);

impl SimDisk {
    pub(crate) fn new(seed: u64) -> SimDisk {
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let number = DISKS.fetch_add(1, Ordering::Relaxed);
        let root = base.join(format!("foreshadow-sim-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("stash")).expect("memory has room");
        let verbose = std::env::var("SIM_VERBOSE").is_ok();
        let state = State {
            verbose,
            random: Random::new(seed),
            store: root.join("life-0"),
            trouble: Vec::new(),
            undo: Vec::new(),
            synced: BTreeMap::new(),
            off: false,
            stashed: 0,
            lives: 0,
            hits: Vec::new(),
        };
        SimDisk(Arc::new(Sim { verbose, root, state: Mutex::new(state) }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the store is given, and where it is.
    pub(crate) fn mount(&self) -> (Disk, PathBuf) {
        (Disk::with_hook(Arc::clone(&self.0) as Arc<dyn Hook>), self.state().store.clone())
    }

    pub(crate) fn cause(&self, trouble: Trouble) {
        self.state().trouble.push(trouble);
    }

    /// Whatever was wrong for a while is right again.
    pub(crate) fn recover(&self) {
        self.state().trouble.clear();
    }

    pub(crate) fn is_off(&self) -> bool {
        self.state().off
    }

    /// Which troubles hit something since the last look.
    pub(crate) fn hits(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.state().hits)
    }

    /// The power goes, and comes back: the next mount finds what was left.
    pub(crate) fn cut_power(&self) {
        let mut state = self.state();
        state.lives += 1;
        let left = self.0.root.join(format!("life-{}", state.lives));
        state.leave(&left);
        let old = std::mem::replace(&mut state.store, left);
        (state.undo, state.synced, state.off) = (Vec::new(), BTreeMap::new(), false);
        state.trouble.clear();
        let _ = std::fs::remove_dir_all(self.0.root.join("stash"));
        let _ = std::fs::create_dir_all(self.0.root.join("stash"));
        let store = state.store.clone();
        drop(state);
        self.note_synced(&store);
        // Whoever still has files open in there writes to nowhere.
        let _ = std::fs::remove_dir_all(old);
    }

    /// What a power cut at this moment would leave, beside what is there.
    pub(crate) fn what_if(&self) -> PathBuf {
        let left = self.0.root.join("what-if");
        let _ = std::fs::remove_dir_all(&left);
        self.state().leave(&left);
        left
    }

    /// All that is on the disk after a cut is durable.
    fn note_synced(&self, store: &Path) {
        let mut state = self.state();
        for entry in std::fs::read_dir(store).into_iter().flatten().flatten() {
            if let Ok(bytes) = std::fs::read(entry.path().join("db")) {
                state.synced.insert(entry.file_name().into(), bytes);
            }
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

impl State {
    /// Writes to `left` what a power cut leaves.
    fn leave(&mut self, left: &Path) {
        copy(&self.store, left);
        let mode = self.random.below(4);
        let random = &mut self.random;
        let mut lost = |_: ()| match mode {
            0 => true,
            1 => false,
            _ => random.chance(500),
        };
        if self.verbose {
            println!("           power cut of sort {mode}, undoable: {:?}", self.undo.len());
            self.undo.iter().for_each(|undo| println!("           {}", undo.name()));
        }
        // Of the directory, everything up to some moment; of data, anything.
        let names = self.undo.iter().filter(|u| !matches!(u, Undo::Bytes { .. })).count();
        let undone = (0..names).filter(|_| lost(())).count();
        let (mut rest, mut settled) = (undone, HashSet::new());
        for undo in self.undo.iter().rev() {
            match undo {
                Undo::Bytes { name, offset, old, length, .. } => {
                    let path = left.join(name);
                    revert(&path, (*offset, old, *length), &mut settled, &mut || lost(()));
                }
                _ if rest == 0 => {}
                other => {
                    rest -= 1;
                    rename_back(left, other);
                }
            }
        }
        for (name, synced) in &self.synced {
            let path = left.join(name).join("db");
            if let Ok(now) = std::fs::read(&path) {
                let mixed = mix(&now, synced, &mut || lost(()));
                let _ = std::fs::write(&path, mixed);
            }
        }
    }

    fn name(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.store).ok().map(Path::to_owned)
    }

    /// What goes wrong with this operation.
    fn fault(&mut self, op: Op) -> Option<Fault> {
        if let Some(Trouble::PowerIn(n)) =
            self.trouble.iter_mut().find(|t| matches!(t, Trouble::PowerIn(_)))
        {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.off = true;
                self.hits.push("power cut in the middle of an operation of the store");
            }
        }
        if self.off {
            return Some(refuse(EIO));
        }
        let writes = matches!(op, Op::Write | Op::Create | Op::Resize | Op::Checkpoint);
        let at = self.trouble.iter().position(|trouble| match trouble {
            Trouble::Eio(which) => *which == op,
            Trouble::Torn => op == Op::Write,
            Trouble::Full => writes,
            Trouble::ReadOnly => op != Op::Sync,
            Trouble::PowerIn(_) => false,
        })?;
        match self.trouble[at] {
            Trouble::Eio(_) => {
                self.trouble.remove(at);
                self.hits.push(eio(op));
                Some(refuse(EIO))
            }
            Trouble::Torn => {
                self.trouble.remove(at);
                self.hits.push("write torn");
                Some(Fault::Tear(self.random.below(600) as usize))
            }
            Trouble::Full => {
                self.hits.push("disk full");
                Some(refuse(ENOSPC))
            }
            _ => {
                self.hits.push("disk read-only");
                Some(refuse(EROFS))
            }
        }
    }

    /// Remembers what a power cut may undo of this operation, which is about to be done.
    fn remember(&mut self, op: Op, path: &Path, stash: &Path) {
        let Some(name) = self.name(path).filter(|name| *name != Path::new("") || op == Op::SyncDir)
        else {
            return;
        };
        match op {
            Op::Create if !path.exists() => self.undo.push(Undo::Created(name)),
            Op::Rename if name == Path::new("CURRENT") => {
                let old = std::fs::read(path).ok();
                self.undo.push(Undo::Renamed(name, old));
            }
            Op::Remove if path.exists() => {
                self.stashed += 1;
                let kept = stash.join(self.stashed.to_string());
                if std::fs::rename(path, &kept).is_ok() {
                    self.undo.push(Undo::Removed(name, kept));
                }
            }
            Op::Sync if path.ends_with("db") => {
                if let (Ok(bytes), Some(dir)) = (std::fs::read(path), name.parent()) {
                    self.synced.insert(dir.to_owned(), bytes);
                }
            }
            Op::Sync => self.undo.retain(|undo| match undo {
                Undo::Bytes { name: other, doomed, .. } => *other != name || *doomed,
                _ => true,
            }),
            Op::SyncDir => self.undo.retain(|undo| match undo {
                Undo::Bytes { .. } => true,
                Undo::Created(other) | Undo::Removed(other, _) | Undo::Renamed(other, _) => {
                    other.parent() != Some(&name)
                }
            }),
            _ => {}
        }
    }

    fn doom(&mut self, path: &Path) {
        let name = self.name(path);
        for undo in &mut self.undo {
            if let Undo::Bytes { name: other, doomed, .. } = undo
                && Some(&*other) == name.as_ref()
            {
                *doomed = true;
            }
        }
    }
}

impl Hook for Sim {
    fn before(&self, op: Op, path: &Path) -> Option<Fault> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = state.fault(op);
        match (&fault, op) {
            (None, _) => state.remember(op, path, &self.root.join("stash")),
            // Linux marks the lost pages clean.
            (Some(_), Op::Sync) => state.doom(path),
            _ => {}
        }
        if self.verbose {
            println!("           {op:?} {} {fault:?}", path.display());
        }
        fault.or((matches!(op, Op::Sync | Op::SyncDir)).then_some(Fault::Skip))
    }

    fn writing(&self, path: &Path, length: usize, offset: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(name), Ok(file)) = (state.name(path), std::fs::File::open(path)) else { return };
        let before = file.metadata().map_or(0, |meta| meta.len());
        let mut old = vec![0; (before.saturating_sub(offset) as usize).min(length)];
        let _ = file.read_exact_at(&mut old, offset);
        old.resize(length, 0);
        state.undo.push(Undo::Bytes { name, offset, old, length: before, doomed: false });
    }

    fn is_single_threaded(&self) -> bool {
        true
    }
}

fn refuse(errno: i32) -> Fault {
    Fault::Refuse(io::Error::from_raw_os_error(errno))
}

fn eio(op: Op) -> &'static str {
    match op {
        Op::Create => "EIO in create",
        Op::Write => "EIO in write",
        Op::Sync => "EIO in sync",
        Op::SyncDir => "EIO in sync of a directory",
        Op::Resize => "EIO in resize",
        Op::Rename => "EIO in rename",
        Op::Remove => "EIO in remove",
        Op::Checkpoint => "EIO in the checkpoint",
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::create_dir_all(to);
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            let _ = std::fs::copy(&path, &target);
        }
    }
}

/// Takes sectors back that were `lost`, unless a later write to them stays.
fn revert(
    path: &Path,
    (offset, old, length): (u64, &[u8], u64),
    settled: &mut HashSet<(PathBuf, u64)>,
    lost: &mut dyn FnMut() -> bool,
) {
    let Ok(file) = std::fs::File::options().write(true).open(path) else { return };
    if length < offset + old.len() as u64 && lost() && lost() {
        let _ = file.set_len(length);
        return;
    }
    for (at, sector) in old.chunks(SECTOR).enumerate() {
        let at = offset + (at * SECTOR) as u64;
        if settled.contains(&(path.to_owned(), at)) {
            continue;
        }
        if lost() {
            let _ = file.write_all_at(sector, at);
        } else {
            settled.insert((path.to_owned(), at));
        }
    }
}

fn rename_back(left: &Path, undo: &Undo) {
    let _ = match undo {
        Undo::Created(name) if left.join(name).is_dir() => std::fs::remove_dir_all(left.join(name)),
        Undo::Created(name) => std::fs::remove_file(left.join(name)),
        Undo::Removed(name, kept) if kept.is_dir() => {
            copy(kept, &left.join(name));
            Ok(())
        }
        Undo::Removed(name, kept) => std::fs::copy(kept, left.join(name)).map(drop),
        Undo::Renamed(name, old) => {
            let _ = std::fs::copy(left.join(name), left.join("CURRENT.new"));
            match old {
                Some(bytes) => std::fs::write(left.join(name), bytes),
                None => std::fs::remove_file(left.join(name)),
            }
        }
        Undo::Bytes { .. } => Ok(()),
    };
}

/// Each page as it is now or as it was synced.
fn mix(now: &[u8], synced: &[u8], lost: &mut dyn FnMut() -> bool) -> Vec<u8> {
    let mut mixed = now.to_vec();
    for (at, page) in mixed.chunks_mut(PAGE).enumerate() {
        let from = at * PAGE;
        let old = synced.get(from..).unwrap_or_default();
        let old = &old[..old.len().min(page.len())];
        let differs = page[..old.len()] != *old || old.len() < page.len();
        if differs && lost() {
            page.fill(0);
            page[..old.len()].copy_from_slice(old);
        }
    }
    mixed
}
