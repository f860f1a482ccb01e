//! What a store's files say: the checkpoint, and the journals' tail on top of it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::lease::{Change, Seq};

use super::block::{self, Changes};
use super::checkpoint::{Checkpoint, damaged};
use super::disk::{Disk, failed};
use super::journal::{self, Found, Scan};
use super::{Contents, StoreError, record};

/// What was found when a store was opened, beside its contents.
#[derive(Debug, Default)]
pub struct Recovery {
    /// The last batch found.
    pub seq: Seq,
    /// Batches taken from the journals, after the checkpoint.
    pub replayed: u64,
    /// The file and offset of a last batch that is incomplete or damaged, and was dropped.
    pub torn: Option<(PathBuf, u64)>,
    /// What could not be read; empty unless the store was damaged and opened all the same.
    pub lost: Vec<StoreError>,
    /// Where the damaged files are kept.
    pub kept: Option<PathBuf>,
    /// The older format that the store was in.
    pub upgraded_from: Option<u32>,
}

/// The journals' part of a recovery.
#[derive(Default)]
pub(super) struct Tail {
    /// The latest record of each fact that is newer than the checkpoint.
    pub(super) changes: Changes,
    /// The last batch, in the journals or in the checkpoint.
    pub(super) seq: u64,
    /// Batches in `changes`.
    pub(super) replayed: u64,
    /// The highest generation of any batch; 0 if there is none.
    pub(super) generation: u64,
    /// What ends the tail, if it is not plain emptiness.
    pub(super) torn: Option<(PathBuf, u64)>,
    /// Where batches are missing or cannot be read.
    pub(super) damage: Vec<StoreError>,
}

/// A whole store, read.
pub(super) struct Loaded {
    pub(super) contents: Contents,
    /// The checkpoint, if it is sound.
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) tail: Tail,
}

/// Where the files are.
pub(super) struct Files<'a> {
    pub(super) checkpoint: &'a Path,
    /// The same, as it was before it was ever opened: sled makes damage worse.
    pub(super) untouched: &'a Path,
    pub(super) journals: &'a [PathBuf; 2],
    pub(super) salt: u32,
    /// The last batch that the checkpoint must have.
    pub(super) batch: u64,
}

impl Files<'_> {
    /// Reads everything. Damage is an error, unless `recover` asks to go on with what is left.
    pub(super) fn load(
        &self,
        disk: &Disk,
        cache: u64,
        recover: bool,
    ) -> Result<Loaded, StoreError> {
        match self.load_sound(disk, cache) {
            Ok(mut loaded) if !recover && !loaded.tail.damage.is_empty() => {
                Err(loaded.tail.damage.swap_remove(0))
            }
            Err(e) if recover => self.load_salvaged(e),
            other => other,
        }
    }

    /// The way of every normal start.
    fn load_sound(&self, disk: &Disk, cache: u64) -> Result<Loaded, StoreError> {
        let checkpoint = Checkpoint::open(disk, self.checkpoint, cache)?;
        let from = checkpoint.seq();
        if from < self.batch {
            let why = format!("it ends with batch {from}, and had batch {} once", self.batch);
            return Err(damaged(&self.checkpoint.join("db"), 0, &why, from));
        }
        let tail = self.tail(from, &|_| from)?;
        let mut contents = Contents { seq: Seq(tail.seq), ..Contents::default() };
        checkpoint.read(&mut |slot, record| {
            if tail.changes.contains_key(&slot) {
                return Ok(());
            }
            let fact = record::decode(record);
            add(&mut contents, fact.map_err(|e| unreadable(self.checkpoint, 0, &e, from))?);
            Ok(())
        })?;
        tail.add_to(&mut contents);
        Ok(Loaded { contents, checkpoint: Some(checkpoint), tail })
    }

    /// All that can still be read of a damaged checkpoint: each block that is whole, in its
    /// newest version, wherever it lies in the file. A fact that was removed may come back.
    fn load_salvaged(&self, why: StoreError) -> Result<Loaded, StoreError> {
        let mut lost = vec![why];
        let path = self.untouched.join("db");
        let bytes = match std::fs::read(&path).map_err(failed("read", &path)) {
            Ok(bytes) => bytes,
            Err(e) => {
                lost.push(e);
                Vec::new()
            }
        };
        let blocks = salvage(&bytes);
        // A block holds all changes up to the checkpoint that wrote it, and older ones that the
        // journals still have must not overwrite it.
        let since = |slot: &[u8]| blocks.get(block_of(slot)).map_or(0, |(seq, _)| *seq);
        let from = blocks.values().map(|(seq, _)| *seq).max().unwrap_or(0);
        let mut tail = self.tail(0, &since)?;
        tail.seq = tail.seq.max(from);
        let mut contents = Contents { seq: Seq(tail.seq), ..Contents::default() };
        for (block, (_, records)) in &blocks {
            for (index, record) in records {
                if tail.changes.contains_key(&block::entry_slot(&block::part_key(block, 0), *index))
                {
                    continue;
                }
                match record::decode(record) {
                    Ok(fact) => add(&mut contents, fact),
                    Err(e) => lost.push(unreadable(&path, 0, &e, from)),
                }
            }
        }
        tail.add_to(&mut contents);
        lost.append(&mut tail.damage);
        tail.damage = lost;
        Ok(Loaded { contents, checkpoint: None, tail })
    }

    /// Follows the chain of batches after `from` through both journals. `since` says from which
    /// batch on a slot may be overwritten.
    fn tail(&self, from: u64, since: &dyn Fn(&[u8]) -> u64) -> Result<Tail, StoreError> {
        let mut tail = Tail { seq: from, ..Tail::default() };
        let mut scans = Vec::with_capacity(2);
        for path in self.journals {
            if path.exists() {
                scans.push(Scan::of(path, self.salt)?);
            }
            let fault = match scans.iter().find(|scan| scan.path == *path) {
                Some(scan) => scan.fault.clone(),
                None => Some((0, "it is missing".to_owned())),
            };
            if let Some((offset, why)) = fault {
                let path = path.clone();
                tail.damage.push(StoreError::Damaged { path, offset, why, last_good: from });
            }
        }
        let mut batches: Vec<(&Scan, Found)> =
            scans.iter().flat_map(|scan| scan.batches.iter().map(move |b| (scan, *b))).collect();
        tail.generation = batches.iter().map(|(_, b)| b.generation).max().unwrap_or(0);
        batches.retain(|(_, batch)| batch.seq > from);
        batches.sort_by_key(|(_, batch)| (batch.generation, batch.seq));
        let mut last: Option<(&Scan, Found)> = None;
        for (scan, batch) in batches {
            if batch.previous != tail.seq {
                tail.damage.push(gap(last, (scan, batch), tail.seq));
            }
            tail.take(scan, &batch, since)?;
            last = Some((scan, batch));
        }
        tail.torn = last.and_then(|(scan, batch)| {
            let end = batch.end();
            scan.bad.iter().find(|(at, _)| *at == end).map(|(at, _)| (scan.path.clone(), *at))
        });
        Ok(tail)
    }
}

impl Tail {
    fn take(
        &mut self,
        scan: &Scan,
        batch: &Found,
        since: &dyn Fn(&[u8]) -> u64,
    ) -> Result<(), StoreError> {
        let payload = scan.payload(batch)?;
        let records = journal::records(&payload).unwrap_or_else(|e| {
            self.damage.push(unreadable(&scan.path, batch.offset, &e, self.seq));
            Vec::new()
        });
        for bytes in records {
            match record::decode(bytes) {
                Ok(fact) => {
                    let slot = block::slot(&fact).filter(|slot| batch.seq > since(slot));
                    self.changes.extend(slot.map(|slot| (slot, bytes.into())));
                }
                Err(e) => self.damage.push(unreadable(&scan.path, batch.offset, &e, self.seq)),
            }
        }
        self.seq = batch.seq;
        self.replayed += 1;
        Ok(())
    }

    fn add_to(&self, contents: &mut Contents) {
        for record in self.changes.values() {
            if let Ok(fact) = record::decode(record) {
                add(contents, fact);
            }
        }
    }
}

fn add(contents: &mut Contents, fact: Change) {
    match fact {
        Change::Put(lease, _) => contents.leases.push(lease),
        Change::Meta(name, value) => {
            contents.meta.insert(name, value);
        }
        Change::Remove(..) | Change::Forget(_) | Change::Act(_) => {}
    }
}

/// Says where batches are missing before `next`.
fn gap(last: Option<(&Scan, Found)>, next: (&Scan, Found), last_good: u64) -> StoreError {
    let (scan, offset) = match last {
        Some((scan, batch)) if batch.generation == next.1.generation => (scan, batch.end()),
        Some((scan, batch)) if scan.bad.iter().any(|(at, _)| *at == batch.end()) => {
            (scan, batch.end())
        }
        _ => (next.0, next.0.bad.first().map_or(0, |(at, _)| (*at).min(next.1.offset))),
    };
    let seen = scan.bad.iter().find(|(at, _)| *at == offset).map(|(_, why)| *why);
    let why = format!(
        "{}, and batch {} follows, which was written after batch {}",
        seen.unwrap_or("no batch begins there"),
        next.1.seq,
        next.1.previous,
    );
    StoreError::Damaged { path: scan.path.clone(), offset, why, last_good }
}

fn unreadable(path: &Path, offset: u64, why: &record::RecordError, last_good: u64) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), offset, why: why.to_string(), last_good }
}

/// Reads two journals alone, as a start does whose checkpoint ends with batch `from`. `salt` is
/// where their checksums start from. What is damaged is in [`Recovery::lost`].
pub fn read_journals(
    journals: &[PathBuf; 2],
    salt: u32,
    from: Seq,
) -> Result<(Contents, Recovery), StoreError> {
    let nowhere = Path::new("");
    let files = Files { checkpoint: nowhere, untouched: nowhere, journals, salt, batch: from.0 };
    let tail = files.tail(from.0, &|_| from.0)?;
    let mut contents = Contents { seq: Seq(tail.seq), ..Contents::default() };
    tail.add_to(&mut contents);
    let Tail { replayed, torn, damage: lost, .. } = tail;
    Ok((contents, Recovery { seq: Seq(tail.seq), replayed, torn, lost, ..Recovery::default() }))
}

/// The facts in every whole block that lies in the raw bytes of a checkpoint, as a start with
/// `--recover` finds them.
pub fn salvage_facts(bytes: &[u8]) -> Vec<Change> {
    let blocks = salvage(bytes).into_values();
    let records = blocks.flat_map(|(_, records)| records);
    records.filter_map(|(_, record)| record::decode(&record).ok()).collect()
}

/// Whether the checkpoint in `dir` holds any fact, as far as its raw bytes say.
pub(super) fn holds_facts(dir: &Path) -> bool {
    std::fs::read(dir.join("db")).is_ok_and(|bytes| !salvage(&bytes).is_empty())
}

/// Blocks by key: the checkpoint that wrote them, and their records.
type Blocks = BTreeMap<Vec<u8>, (u64, Vec<(u8, Vec<u8>)>)>;

/// Every whole block in the raw bytes of a data file, the newest of each.
fn salvage(bytes: &[u8]) -> Blocks {
    let mut newest: HashMap<&[u8], (u64, &[u8])> = HashMap::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() > 8) {
        let whole = block::stated_size(rest).and_then(|size| rest.get(..size));
        let Some((value, part)) = whole.and_then(|v| Some((v, block::decode(v).ok()?))) else {
            at += 1;
            continue;
        };
        let known = newest.get(part.key).map_or(0, |(seq, _)| *seq);
        if part.seq >= known {
            newest.insert(part.key, (part.seq, value));
        }
        at += value.len();
    }
    let mut blocks = Blocks::new();
    for key in newest.keys().filter(|key| key.last() == Some(&0)) {
        let block = block_of(key).to_vec();
        let mut records = Vec::new();
        let mut written = 0;
        for number in 0..=u8::MAX {
            let stored = newest.get(block::part_key(&block, number).as_slice());
            let Some(part) = stored.and_then(|(_, value)| block::decode(value).ok()) else { break };
            written = written.max(part.seq);
            records.extend(part.entries.iter().map(|(index, record)| (*index, record.to_vec())));
            if !part.more {
                break;
            }
        }
        blocks.insert(block, (written, records));
    }
    blocks
}

fn block_of(slot: &[u8]) -> &[u8] {
    slot.split_last().map_or(slot, |(_, block)| block)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::store::journal::{Buffer, Journal, Stamp};

    const SALT: u32 = 0x1234_5678;
    const BATCHES: u64 = 5;

    /// Two journals in a directory of their own.
    struct Pair([PathBuf; 2]);

    impl Pair {
        fn new(name: &str) -> Pair {
            let dir = std::env::temp_dir().join(format!("fs-tail-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            let pair = Pair(["a", "b"].map(|side| dir.join(side)));
            let stamp = Stamp { format: 1, number: 1, salt: SALT };
            for path in &pair.0 {
                Journal::create(&Disk::default(), path, stamp).unwrap();
            }
            pair
        }

        fn tail(&self, from: u64) -> Tail {
            let nowhere = Path::new("/nonexistent");
            let (journals, salt) = (&self.0, SALT);
            let files = Files { checkpoint: nowhere, untouched: nowhere, journals, salt, batch: 0 };
            files.tail(from, &|_| from).unwrap()
        }

        /// Writes batches `seqs` from the start of journal `side`.
        fn write(&self, side: usize, generation: u64, seqs: impl Iterator<Item = u64>) {
            let disk = Disk::default();
            let mut journal = Journal::open(&disk, &self.0[side], SALT).unwrap();
            journal.start(&disk, generation, 4096).unwrap();
            for seq in seqs {
                let mut buffer = Buffer::default();
                buffer.clear();
                facts(seq).iter().for_each(|(_, record)| buffer.push(record));
                journal.append(&disk, seq - 1, seq, &mut buffer).unwrap();
            }
        }
    }

    impl Drop for Pair {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(self.0[0].parent().unwrap());
        }
    }

    /// A batch: one fact that each batch overwrites, and some of its own. Batch 3 is long.
    fn facts(seq: u64) -> Changes {
        let own = if seq == 3 { 40 } else { 2 };
        let names = (0..own).map(|i| format!("{seq}-{i}")).chain(["last".to_owned()]);
        let fact = |name: String| {
            let change = Change::Meta(name.into(), seq.to_le_bytes().as_slice().into());
            let mut record = Vec::new();
            record::encode(&change, &mut record).unwrap();
            (block::slot(&change).unwrap(), record.into())
        };
        names.map(fact).collect()
    }

    fn all_facts(seqs: impl Iterator<Item = u64>) -> Changes {
        seqs.flat_map(facts).collect()
    }

    /// Whole batches from the first on, or damage that is told.
    fn assert_honest(tail: &Tail, case: &str) {
        if tail.damage.is_empty() {
            assert!(tail.changes == all_facts(1..=tail.seq), "{case}: not a prefix");
        }
        let known = all_facts(1..=BATCHES);
        let invented = tail.changes.iter().find(|(slot, record)| {
            known.get(*slot).is_none_or(|k| k != *record && slot[..] != *b"mlast\0")
        });
        assert!(invented.is_none(), "{case}: invented {invented:?}");
    }

    fn used_bytes(path: &Path) -> usize {
        let bytes = std::fs::read(path).unwrap();
        bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
    }

    #[test]
    fn every_unwritten_end_leaves_a_prefix_and_every_truncation_is_damage() {
        let pair = Pair::new("cut");
        pair.write(0, 1, 1..=BATCHES);
        let bytes = std::fs::read(&pair.0[0]).unwrap();
        let mut ends = vec![0];
        let file = File::options().write(true).open(&pair.0[0]).unwrap();
        for length in 512..=used_bytes(&pair.0[0]) {
            file.set_len(length as u64).unwrap();
            assert_eq!(pair.tail(0).damage.len(), 1, "cut at {length}");
            file.set_len(bytes.len() as u64).unwrap();
            let tail = pair.tail(0);
            assert!(tail.damage.is_empty(), "{length}: {:?}", tail.damage);
            assert_honest(&tail, &format!("cut at {length}"));
            ends.push(tail.seq);
            file.write_all_at(&bytes[..(length + 1).min(bytes.len())], 0).unwrap();
        }
        ends.dedup();
        assert_eq!(ends, (0..=BATCHES).collect::<Vec<_>>());
    }

    #[test]
    fn every_flipped_byte_is_a_prefix_or_damage() {
        let pair = Pair::new("flip");
        pair.write(0, 1, 1..=BATCHES);
        let file = File::options().read(true).write(true).open(&pair.0[0]).unwrap();
        let (mut torn, mut damaged) = (0, 0);
        for at in 0..used_bytes(&pair.0[0]) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at as u64).unwrap();
            file.write_all_at(&[byte[0] ^ 0x40], at as u64).unwrap();
            let tail = pair.tail(0);
            file.write_all_at(&byte, at as u64).unwrap();
            assert_honest(&tail, &format!("flip at {at}"));
            torn += u32::from(tail.damage.is_empty() && tail.seq < BATCHES);
            damaged += u32::from(!tail.damage.is_empty());
            if let Some(StoreError::Damaged { offset, last_good, path, .. }) = tail.damage.first() {
                assert!(*offset <= at as u64 && *path == pair.0[0] && *last_good < BATCHES);
            }
        }
        assert!(torn > 100 && damaged > 500, "torn {torn}, damaged {damaged}");
    }

    #[test]
    fn the_chain_goes_on_in_the_other_journal() {
        let pair = Pair::new("chain");
        pair.write(0, 1, 1..=2);
        pair.write(1, 2, 3..=BATCHES);
        let tail = pair.tail(0);
        assert_eq!((tail.seq, tail.generation, tail.replayed), (BATCHES, 2, BATCHES));
        assert!(tail.damage.is_empty() && tail.changes == all_facts(1..=BATCHES));
        assert_eq!(pair.tail(3).changes, all_facts(4..=BATCHES));
    }

    #[test]
    fn what_an_earlier_turn_left_is_ignored() {
        let pair = Pair::new("stale");
        pair.write(0, 1, 1..=3);
        pair.write(1, 2, 4..=4);
        pair.write(0, 3, 5..=5);
        let tail = pair.tail(4);
        assert_eq!((tail.seq, tail.replayed, tail.generation), (5, 1, 3));
        assert!(tail.damage.is_empty() && tail.changes == all_facts(5..=5));
        // The checkpoint lost what it had, and the first batch is gone: that is no normal tail.
        assert!(!pair.tail(0).damage.is_empty());
    }

    #[test]
    fn a_hole_of_zeros_is_no_batch() {
        let pair = Pair::new("hole");
        pair.write(0, 1, 1..=BATCHES);
        let mut bytes = std::fs::read(&pair.0[0]).unwrap();
        bytes[1024..1536].fill(0);
        std::fs::write(&pair.0[0], &bytes).unwrap();
        let tail = pair.tail(0);
        assert_eq!(tail.damage.len(), 1);
        let message = tail.damage[0].to_string();
        assert!(
            message.contains("byte 1024") && message.contains("last good batch is 1"),
            "{message}"
        );
    }

    #[test]
    fn a_batch_inside_another_one_is_text() {
        let outer = Pair::new("outer");
        let inner = Pair::new("inner");
        inner.write(0, 9, 2..=2);
        let forged = std::fs::read(&inner.0[0]).unwrap()[512..1024].to_vec();
        let disk = Disk::default();
        let mut journal = Journal::open(&disk, &outer.0[0], SALT ^ 1).unwrap();
        journal.start(&disk, 1, 4096).unwrap();
        let mut buffer = Buffer::default();
        buffer.clear();
        let value = [&vec![0; 512 - 48][..], &forged].concat();
        let mut record = Vec::new();
        record::encode(&Change::Meta("a".into(), value.into()), &mut record).unwrap();
        buffer.push(&record);
        journal.append(&disk, 0, 1, &mut buffer).unwrap();
        let mut bytes = std::fs::read(&outer.0[0]).unwrap();
        bytes[515] ^= 1;
        std::fs::write(&outer.0[0], &bytes).unwrap();
        let scan = Scan::of(&outer.0[0], SALT ^ 1).unwrap();
        assert!(scan.batches.is_empty());
        // With the same salt it would have been read: what guards is that nobody knows the salt.
        let known = Scan::of(&outer.0[0], SALT).unwrap();
        assert_eq!(known.batches.iter().map(|b| b.seq).collect::<Vec<_>>(), [2]);
    }
}
