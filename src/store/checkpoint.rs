//! The indexed checkpoint behind the journal: sled, holding packed blocks (see [`block`]).
//!
//! What sled 0.34 is weak at, and what is done about it:
//!
//! * **`flush()` is not durable on Linux** (it calls `sync_file_range`, never `fsync`), and `conf`
//!   and directories are never synced. After each flush the data file is synced through a
//!   descriptor of our own; at creation `conf`, the directory and its parent are synced too.
//! * **A put costs 20 to 30 µs.** It is not on the commit path; what changed since the last
//!   checkpoint is merged block by block, neighbours together.
//! * **Large batches cost memory**: a batch has at most [`BATCH_MAX`] blocks.
//! * **It leaks when the data outgrow its cache**: the cache is kept above twice the data; when
//!   they grow past that, the checkpoint is rewritten with a larger one.
//! * **Its file grows** several-fold under rewriting: past [`BLOAT_MAX`] times the data it is
//!   rewritten, on the checkpoint's own thread.
//! * **Values above an eighth of a segment go to unsynced files of their own**: blocks are cut in
//!   parts that stay far below.
//! * **Damage is repaired by silently rolling back** to before it, or by a panic. Every batch also
//!   carries a [`Manifest`]: how many parts there are and the sum of their checksums. At start
//!   all parts are read and added up; what does not add up, and a panic, are
//!   [`StoreError::Damaged`]. The chain of the journals shows a rollback of all of it. Since sled
//!   writes to its files when it opens them, they are copied first and put back on damage.
//! * **A snapshot file cut short by a crash** makes it refuse to open: such leftovers are removed
//!   (they only make opening faster).
//! * **It cannot be opened without writing**: reading a stopped server's store opens a copy.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::StoreError;
use super::block::{self, Changes};
use super::disk::{Disk, Op, check_in_place, failed, list, size_of};
use super::record::{self, Reader};

/// Most blocks in one batch.
const BATCH_MAX: usize = 255;
/// The file may be this many times as large as the data.
const BLOAT_MAX: u64 = 6;
/// Files below this size are never rewritten for their size.
const BLOAT_FREE: u64 = 32 << 20;

/// sled's threads may hold its file a moment longer than its handle lives. Nobody else can: the
/// store's directory is locked.
const LETTING_GO: Duration = Duration::from_secs(5);

/// The key of the manifest; blocks have longer keys.
const MANIFEST: &[u8] = b"s";
const MANIFEST_VERSION: u8 = 1;

/// What the whole checkpoint must add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The last batch that is wholly in it.
    pub(super) seq: u64,
    /// How many parts of blocks there are.
    pub(super) parts: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// The sum of their checksums.
    pub(super) sum: u64,
}

impl Manifest {
    fn to_bytes(self) -> Vec<u8> {
        let mut out = vec![MANIFEST_VERSION];
        for number in [self.seq, self.parts, self.bytes, self.sum] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Manifest> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let mut r = Reader { rest: body };
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) || r.u8("").ok()? != MANIFEST_VERSION {
            return None;
        }
        let mut number = || r.u64("").ok();
        Some(Manifest { seq: number()?, parts: number()?, bytes: number()?, sum: number()? })
    }

    fn add(&mut self, part: &[u8]) {
        self.parts += 1;
        self.bytes += part.len() as u64;
        self.sum = self.sum.wrapping_add(u64::from(block::checksum(part)));
    }

    fn subtract(&mut self, part: &[u8]) {
        self.parts = self.parts.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub(part.len() as u64);
        self.sum = self.sum.wrapping_sub(u64::from(block::checksum(part)));
    }
}

/// An open checkpoint. One thread owns it.
pub(super) struct Checkpoint {
    dir: PathBuf,
    disk: Disk,
    /// `None` only while it is dropped.
    db: Option<sled::Db>,
    data: File,
    cache: u64,
    manifest: Manifest,
}

impl Checkpoint {
    /// A new one in `dir`, which is made, with nothing in it; durable but for the name of `dir`
    /// in its parent.
    pub(super) fn create(disk: &Disk, dir: &Path, cache: u64) -> Result<Checkpoint, StoreError> {
        disk.create_dir(dir)?;
        let db = open_sled(dir, cache)?;
        let path = dir.join("db");
        let data = File::open(&path).map_err(failed("open", &path))?;
        let manifest = Manifest::default();
        let checkpoint = Checkpoint {
            dir: dir.to_owned(),
            disk: disk.clone(),
            db: Some(db),
            data,
            cache,
            manifest,
        };
        let bytes = manifest.to_bytes();
        checkpoint.sled(|db| db.insert(MANIFEST, bytes).map(drop))?;
        checkpoint.sync()?;
        disk.sync_path(&dir.join("conf"))?;
        disk.sync_dir(&dir.join("blobs"))?;
        disk.sync_dir(dir)?;
        Ok(checkpoint)
    }

    /// Opens the one in `dir`. [`Checkpoint::read`] must follow before anything is trusted.
    pub(super) fn open(disk: &Disk, dir: &Path, cache: u64) -> Result<Checkpoint, StoreError> {
        let path = dir.join("db");
        // sled would make an empty database of what is missing.
        for part in [&path, &dir.join("conf")] {
            if size_of(part) == 0 {
                return Err(damaged(part, 0, "it is missing or empty", 0));
            }
        }
        for leftover in
            list(dir)?.iter().filter(|p| p.extension().is_some_and(|e| e == "generating"))
        {
            disk.remove(leftover)?;
        }
        // The data are smaller than the file, so that twice them fit and there is room to grow.
        let cache = cache.max(size_of(&path).saturating_mul(2));
        let db = open_sled(dir, cache)?;
        let data = File::open(&path).map_err(failed("open", &path))?;
        disk.sync_dir(dir)?;
        let mut checkpoint = Checkpoint {
            dir: dir.to_owned(),
            disk: disk.clone(),
            db: Some(db),
            data,
            cache,
            manifest: Manifest::default(),
        };
        let manifest = checkpoint.sled(|db| db.get(MANIFEST))?;
        let manifest = manifest.ok_or_else(|| damaged(&path, 0, "its manifest is missing", 0))?;
        checkpoint.manifest = Manifest::from_bytes(&manifest)
            .ok_or_else(|| damaged(&path, 0, "its manifest is damaged", 0))?;
        Ok(checkpoint)
    }

    /// The last batch that is wholly in it.
    pub(super) fn seq(&self) -> u64 {
        self.manifest.seq
    }

    /// Bytes on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        size_of(&self.dir)
    }

    /// Hands every fact to `each` by its slot and record, and checks that all parts are there.
    pub(super) fn read(
        &self,
        each: &mut impl FnMut(Box<[u8]>, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut found = Manifest { seq: self.manifest.seq, ..Manifest::default() };
        self.each_part(&mut |key, value| {
            found.add(value);
            let part = self.part(key, value)?;
            part.entries
                .iter()
                .try_for_each(|(index, record)| each(block::entry_slot(key, *index), record))
        })?;
        if found != self.manifest {
            let Manifest { parts, sum, .. } = self.manifest;
            let why = format!(
                "it holds {} blocks that add up to {:x}, its manifest says {parts} and {sum:x}",
                found.parts, found.sum
            );
            return Err(damaged(&self.data_path(), 0, &why, self.manifest.seq));
        }
        Ok(())
    }

    /// Takes `changes` in and makes them durable: afterwards all batches up to `seq` are here.
    pub(super) fn merge(&mut self, changes: &Changes, seq: u64) -> Result<(), StoreError> {
        let batch = self.stage(changes, seq)?;
        self.manifest.seq = seq;
        self.apply(batch)?;
        self.sync()
    }

    /// Takes in a part of what is to be here up to `seq`; only [`Checkpoint::merge`] says that it
    /// is. Whoever finds less was rolled back.
    pub(super) fn add(&mut self, changes: &Changes, seq: u64) -> Result<(), StoreError> {
        let batch = self.stage(changes, seq)?;
        self.apply(batch)?;
        self.sync()
    }

    /// Applies all of `changes` but a last batch.
    fn stage(&mut self, changes: &Changes, seq: u64) -> Result<sled::Batch, StoreError> {
        let mut batch = sled::Batch::default();
        let mut count = 0;
        let mut rest = changes.iter().peekable();
        while let Some((slot, _)) = rest.peek() {
            let block = block_of(slot).to_vec();
            let mut news = Vec::new();
            while let Some((slot, record)) = rest.next_if(|(slot, _)| block_of(slot) == block) {
                news.push((slot.last().copied().unwrap_or_default(), &**record));
            }
            count += self.merge_block(&block, &news, seq, &mut batch)?;
            if count >= BATCH_MAX / 2 {
                self.apply(std::mem::take(&mut batch))?;
                count = 0;
            }
        }
        Ok(batch)
    }

    /// Whether its file is out of proportion to its data, or its cache too small for them.
    pub(super) fn wants_rewrite(&self) -> bool {
        let size = size_of(&self.data_path());
        size > BLOAT_FREE.max(self.manifest.bytes.saturating_mul(BLOAT_MAX))
            || self.manifest.bytes.saturating_mul(2) > self.cache
    }

    /// A durable copy of all of it in the new directory `dir`, but for the name of `dir`.
    pub(super) fn copy_to(&self, dir: &Path, cache: u64) -> Result<Checkpoint, StoreError> {
        let cache = cache.max(self.manifest.bytes.saturating_mul(4));
        let mut copy = Checkpoint::create(&self.disk, dir, cache)?;
        let mut batch = sled::Batch::default();
        let mut count = 0;
        self.each_part(&mut |key, value| {
            self.part(key, value)?;
            copy.manifest.add(value);
            batch.insert(key, value);
            count += 1;
            if count == BATCH_MAX {
                copy.apply(std::mem::take(&mut batch))?;
                count = 0;
            }
            Ok(())
        })?;
        copy.manifest.seq = self.manifest.seq;
        copy.apply(batch)?;
        copy.sync()?;
        Ok(copy)
    }

    fn each_part(
        &self,
        each: &mut impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut parts = self.sled(|db| Ok(db.iter()))?;
        while let Some(next) = self.sled(|_| parts.next().transpose())? {
            let (key, value) = next;
            if key != MANIFEST {
                each(&key, &value)?;
            }
        }
        Ok(())
    }

    fn part<'a>(&self, key: &[u8], value: &'a [u8]) -> Result<block::Part<'a>, StoreError> {
        let why = match block::decode(value) {
            Ok(part) if part.key == key => return Ok(part),
            Ok(_) => "a block lies under the key of another".to_owned(),
            Err(e) => format!("a block cannot be read: {e}"),
        };
        Err(damaged(&self.data_path(), self.offset_of(value), &why, self.manifest.seq))
    }

    /// Where in the data file these bytes are, for the one who has to look; 0 if nowhere.
    fn offset_of(&self, value: &[u8]) -> u64 {
        let Ok(bytes) = std::fs::read(self.data_path()) else { return 0 };
        let at = bytes.windows(value.len().max(1)).position(|window| window == value);
        at.unwrap_or_default() as u64
    }

    /// Puts the merged parts of one block into `batch`; returns how many entries it added.
    fn merge_block(
        &mut self,
        block: &[u8],
        news: &[(u8, &[u8])],
        seq: u64,
        batch: &mut sled::Batch,
    ) -> Result<usize, StoreError> {
        let old = self.block(block)?;
        let mut records: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        for (key, value) in &old {
            let part = self.part(key, value)?;
            records.extend(part.entries.iter().map(|(index, record)| (*index, record.to_vec())));
        }
        for (index, record) in news {
            if record::is_removal(record) {
                records.remove(index);
            } else {
                records.insert(*index, record.to_vec());
            }
        }
        let new = block::encode(block, seq, &records);
        old.iter().for_each(|(_, value)| self.manifest.subtract(value));
        old.iter().skip(new.len()).for_each(|(key, _)| batch.remove(key.as_slice()));
        let touched = old.len().max(new.len());
        for (key, value) in new {
            self.manifest.add(&value);
            batch.insert(key, value);
        }
        Ok(touched)
    }

    /// All parts of a block as they are now.
    fn block(&self, block: &[u8]) -> Result<Vec<(Vec<u8>, sled::IVec)>, StoreError> {
        let mut parts = Vec::new();
        for number in 0..=u8::MAX {
            let key = block::part_key(block, number);
            let Some(value) = self.sled(|db| db.get(&key))? else { break };
            let more = self.part(&key, &value)?.more;
            parts.push((key, value));
            if !more {
                break;
            }
        }
        Ok(parts)
    }

    /// One atomic batch, with the manifest that describes what it leads to.
    fn apply(&self, mut batch: sled::Batch) -> Result<(), StoreError> {
        self.disk.check(Op::Checkpoint, &self.dir)?;
        batch.insert(MANIFEST, self.manifest.to_bytes());
        self.sled(|db| db.apply_batch(batch))
    }

    /// What sled calls a flush, and then what makes it durable.
    fn sync(&self) -> Result<(), StoreError> {
        self.sled(|db| db.flush().map(drop))?;
        self.disk.sync(&self.data, &self.data_path())?;
        check_in_place(&self.data, &self.data_path())
    }

    fn data_path(&self) -> PathBuf {
        self.dir.join("db")
    }

    /// Calls sled, which panics on some damage and on some errors of the disk.
    fn sled<T>(
        &self,
        call: impl FnOnce(&sled::Db) -> Result<T, sled::Error>,
    ) -> Result<T, StoreError> {
        let Some(db) = &self.db else {
            return Err(refused(&self.dir, "it is closed"));
        };
        guarded(&self.dir, self.manifest.seq, || call(db))
    }
}

/// sled syncs when it is dropped, and panics if that fails.
impl Drop for Checkpoint {
    fn drop(&mut self) {
        let db = self.db.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

fn open_sled(dir: &Path, cache: u64) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new().path(dir).cache_capacity(cache).flush_every_ms(None);
    let deadline = Instant::now() + LETTING_GO;
    let open = || match config.open() {
        // It says so, naming no place, of a `conf` that is not what it once wrote.
        Err(sled::Error::Unsupported(_) | sled::Error::Corruption { at: None, .. }) => Ok(None),
        other => other.map(Some),
    };
    loop {
        match guarded(dir, 0, open) {
            Err(StoreError::Io { source, .. }) if is_held(&source) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => {
                let lost =
                    || damaged(&dir.join("conf"), 0, "sled cannot read its settings there", 0);
                return other?.ok_or_else(lost);
            }
        }
    }
}

/// sled names its file's lock in the text of its error only.
fn is_held(error: &std::io::Error) -> bool {
    error.to_string().starts_with("could not acquire lock")
}

fn guarded<T>(
    dir: &Path,
    last_good: u64,
    call: impl FnOnce() -> Result<T, sled::Error>,
) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Corruption { at, .. })) => {
            let offset = at.map_or(0, |at| at.lid());
            Err(damaged(&dir.join("db"), offset, "sled finds it corrupt", last_good))
        }
        Ok(Err(sled::Error::Io(e))) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(damaged(&dir.join("db"), 0, "it ends too early", last_good))
        }
        Ok(Err(sled::Error::Io(source))) => {
            Err(StoreError::Io { what: "use the checkpoint in", path: dir.to_owned(), source })
        }
        Ok(Err(e)) => Err(refused(dir, &e.to_string())),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said =
                said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason");
            Err(damaged(&dir.join("db"), 0, &format!("sled panicked: {said}"), last_good))
        }
    }
}

fn refused(dir: &Path, why: &str) -> StoreError {
    StoreError::Checkpoint { path: dir.to_owned(), why: why.to_owned() }
}

pub(super) fn damaged(path: &Path, offset: u64, why: &str, last_good: u64) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), offset, why: why.to_owned(), last_good }
}

/// A slot without its index.
fn block_of(slot: &[u8]) -> &[u8] {
    slot.split_last().map_or(slot, |(_, block)| block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Change;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let name = format!("fs-checkpoint-{name}-{}", std::process::id());
            let dir = Dir(std::env::temp_dir().join(name));
            std::fs::create_dir(&dir.0).unwrap();
            dir
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn facts(names: &[&str], value: u8) -> Changes {
        let fact = |name: &&str| {
            let change = Change::Meta((*name).into(), [value].into());
            let mut bytes = Vec::new();
            record::encode(&change, &mut bytes).unwrap();
            (block::slot(&change).unwrap(), bytes.into())
        };
        names.iter().map(fact).collect()
    }

    fn read(checkpoint: &Checkpoint) -> Result<Changes, StoreError> {
        let mut found = Changes::new();
        checkpoint.read(&mut |slot, record| {
            found.insert(slot, record.into());
            Ok(())
        })?;
        Ok(found)
    }

    /// Merges, then does to the database what no checkpoint would do, and opens it again.
    fn tampered(
        name: &str,
        tamper: impl FnOnce(&sled::Db) -> Result<(), sled::Error>,
    ) -> Result<Changes, StoreError> {
        let dir = Dir::new(name);
        let (disk, path) = (Disk::default(), dir.0.join("c"));
        let mut checkpoint = Checkpoint::create(&disk, &path, 1 << 20)?;
        checkpoint.merge(&facts(&["a", "b", "c"], 1), 1)?;
        checkpoint.merge(&facts(&["a"], 2), 2)?;
        checkpoint.sled(tamper)?;
        checkpoint.sync()?;
        drop(checkpoint);
        let checkpoint = Checkpoint::open(&disk, &path, 1 << 20)?;
        assert_eq!(checkpoint.seq(), 2);
        read(&checkpoint)
    }

    #[test]
    fn what_was_merged_is_read() {
        let mut want = facts(&["a", "b", "c"], 1);
        want.extend(facts(&["a"], 2));
        assert_eq!(tampered("sound", |_| Ok(())).unwrap(), want);
    }

    #[test]
    fn a_missing_block_is_damage() {
        let lost = tampered("missing", |db| db.remove(b"mb\0").map(drop)).unwrap_err().to_string();
        assert!(lost.contains("2 blocks") && lost.contains("says 3"), "{lost}");
    }

    #[test]
    fn an_older_version_of_a_block_is_damage() {
        let older = block::encode(
            b"ma",
            1,
            &[(0, facts(&["a"], 1).values().next().unwrap().to_vec())].into(),
        );
        let (key, value) = older.into_iter().next().unwrap();
        let stale = tampered("older", |db| db.insert(key, value).map(drop));
        assert!(matches!(stale, Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn a_block_in_the_place_of_another_is_damage() {
        let moved = tampered("moved", |db| {
            let value = db.get(b"ma\0")?.unwrap_or_default();
            db.insert(b"mb\0", value).map(drop)
        });
        assert!(moved.unwrap_err().to_string().contains("key of another"));
    }

    #[test]
    fn a_cut_off_snapshot_is_no_damage() {
        let dir = Dir::new("snapshot");
        let (disk, path) = (Disk::default(), dir.0.join("c"));
        let mut checkpoint = Checkpoint::create(&disk, &path, 1 << 20).unwrap();
        checkpoint.merge(&facts(&["a"], 1), 1).unwrap();
        drop(checkpoint);
        std::fs::write(path.join("snap.0000000000FFFFFF.generating"), b"cut o").unwrap();
        let checkpoint = Checkpoint::open(&disk, &path, 1 << 20).unwrap();
        assert_eq!(read(&checkpoint).unwrap(), facts(&["a"], 1));
    }
}
