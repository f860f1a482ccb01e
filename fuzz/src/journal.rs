//! Journals: any bytes behind a stamp, and journals as the documented format has them with damage
//! done. Recovery returns a prefix of what was written or says what is lost, and never a fact that
//! nobody wrote.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::LazyLock;

use foreshadow::lease::{Change, Seq};
use foreshadow::store::record::{decode, encode};
use foreshadow::store::recovery::read_journals;
use foreshadow::store::{Contents, Recovery};

use super::damage;

const SALT: u32 = 0x5eed_5a17;
const SECTOR: usize = 512;
const HEADER: usize = 40;
/// The least length of a journal; a shorter one was cut.
const LENGTH: usize = 1 << 20;

/// The facts by name: the value is the number of the batch that wrote it.
type Facts = BTreeMap<Box<str>, u64>;

/// Plays one input.
pub fn run(data: &[u8]) {
    match data.split_first() {
        Some((kind, rest)) if kind % 2 == 0 => any_bytes(*kind, rest),
        Some((kind, rest)) => damaged(usize::from(kind / 2), rest),
        None => any_bytes(0, data),
    }
}

/// The bytes as they are, or with checksums that fit, in the place of batches.
fn any_bytes(kind: u8, data: &[u8]) {
    let (a, b) = data.split_at(if kind & 2 == 0 { data.len() } else { data.len() / 2 });
    let files = [a, b].map(|bytes| {
        let mut bytes = bytes.to_vec();
        if kind & 4 == 0 {
            seal_batches(&mut bytes);
        }
        if kind & 8 == 0 { [stamp(), bytes].concat() } else { bytes }
    });
    let mut known = Vec::new();
    for file in &files {
        let at = (0..file.len()).step_by(SECTOR).filter_map(|at| batch_at(file, at));
        known.extend(at.flat_map(|(_, payload)| records(payload)));
    }
    let (contents, _) = recovered(&files, LENGTH);
    for (name, value) in &contents.meta {
        let fact = Change::Meta(name.clone(), value.clone());
        assert!(known.contains(&fact), "{name:?} was never written");
    }
    for lease in &contents.leases {
        let is_it = |fact: &Change| matches!(fact, Change::Put(known, _) if known == lease);
        assert!(known.iter().any(is_it), "{lease:?} was never written");
    }
}

/// `turns` turns of the two journals, then damage.
fn damaged(turns: usize, data: &[u8]) {
    let (plan, damage) = data.split_at(data.len().min(turns % 8 + 1));
    let mut files = [stamp(), stamp()];
    let (mut seq, mut from, mut turn_ends) = (0, 0, [0, 0]);
    let mut written: Vec<(u64, Facts)> = Vec::new();
    for (turn, byte) in plan.iter().enumerate() {
        let side = turn % 2;
        // All that is written over is in the checkpoint.
        from = from.max(turn_ends[side]);
        let mut end = SECTOR;
        for _ in 0..=byte % 4 {
            seq += 1;
            let facts = facts(seq, byte / 4);
            let batch = batch(turn as u64 + 1, seq - 1, seq, &payload(&facts));
            files[side].resize(files[side].len().max(end + batch.len()), 0);
            files[side][end..end + batch.len()].copy_from_slice(&batch);
            end += batch.len();
            written.push((seq, facts));
        }
        turn_ends[side] = seq;
    }
    let damage = damage::read(damage);
    let mut length = LENGTH;
    for (i, one) in damage.iter().enumerate() {
        one.apply(&mut files[usize::from(one.file) % 2]);
        // A file that was cut is short: what follows is not made of zeros then.
        length = if i % 5 == 4 { 0 } else { length };
    }
    let (contents, told) = recovered_from(&files, length, from);
    let until = |last: u64| -> Facts {
        let read = written.iter().filter(|(seq, _)| (from + 1..=last).contains(seq));
        read.flat_map(|(_, facts)| facts.clone()).collect()
    };
    let found: Facts =
        contents.meta.iter().map(|(name, value)| (name.clone(), number(value))).collect();
    if told.lost.is_empty() {
        assert_eq!(found, until(contents.seq.0), "no prefix, and nothing is said to be lost");
    }
    if damage.is_empty() {
        assert!(told.lost.is_empty() && contents.seq == Seq(seq), "{told:?}");
    }
    for fact in &found {
        let was_written = |(_, facts): &(u64, Facts)| facts.get(fact.0) == Some(fact.1);
        assert!(written.iter().any(was_written), "{fact:?} was never written");
    }
}

fn number(value: &[u8]) -> u64 {
    value.try_into().map_or(u64::MAX, u64::from_le_bytes)
}

/// A few facts, some of which every batch overwrites.
fn facts(seq: u64, size: u8) -> Facts {
    let own = (0..u64::from(size)).map(|i| format!("{seq}-{i}"));
    let shared = (0..seq % 4).map(|i| format!("shared-{i}"));
    own.chain(shared).map(|name| (name.into(), seq)).collect()
}

fn payload(facts: &Facts) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in facts {
        let mut record = Vec::new();
        let fact = Change::Meta(name.clone(), value.to_le_bytes().as_slice().into());
        encode(&fact, &mut record).expect("a short fact");
        out.push(u8::try_from(record.len()).expect("one byte of length"));
        assert!(record.len() < 128);
        out.extend(record);
    }
    out
}

/// The stamp, which has the first sector to itself.
fn stamp() -> Vec<u8> {
    let mut out = b"fsJ\xa0".to_vec();
    out.extend(1u32.to_le_bytes());
    out.extend(1u64.to_le_bytes());
    out.extend(SALT.to_le_bytes());
    out.extend(crc32c::crc32c(&out).to_le_bytes());
    out.resize(SECTOR, 0);
    out
}

fn batch(generation: u64, previous: u64, seq: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = b"fsJ\xa1".to_vec();
    [generation, previous, seq].iter().for_each(|number| out.extend(number.to_le_bytes()));
    out.extend((payload.len() as u32).to_le_bytes());
    out.extend([0; 8]);
    out.extend(payload);
    out.resize(out.len().next_multiple_of(SECTOR), 0);
    seal_batches(&mut out);
    out
}

/// Makes the checksums fit of all that begins like a batch and ends within the bytes.
fn seal_batches(bytes: &mut [u8]) {
    let mut at = 0;
    while at + HEADER <= bytes.len() {
        let length = u32_at(bytes, at + 28) as usize;
        let mut next = at + SECTOR;
        if bytes[at..].starts_with(b"fsJ\xa1") && length <= bytes.len() - at - HEADER {
            let payload = &bytes[at + HEADER..at + HEADER + length];
            let crc = crc32c::crc32c_append(SALT, payload);
            bytes[at + 32..at + 36].copy_from_slice(&crc.to_le_bytes());
            let crc = crc32c::crc32c_append(SALT, &bytes[at..at + 36]);
            bytes[at + 36..at + 40].copy_from_slice(&crc.to_le_bytes());
            next = (at + HEADER + length).next_multiple_of(SECTOR);
        }
        at = next;
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The number and payload of the batch that begins at `at`, if it is whole.
fn batch_at(file: &[u8], at: usize) -> Option<(u64, &[u8])> {
    let header = file.get(at..at + HEADER).filter(|header| header.starts_with(b"fsJ\xa1"))?;
    let length = u32_at(header, 28) as usize;
    let payload = file.get(at + HEADER..)?.get(..length)?;
    let whole = crc32c::crc32c_append(SALT, &header[..36]) == u32_at(header, 36)
        && crc32c::crc32c_append(SALT, payload) == u32_at(header, 32);
    whole.then(|| (u64::from_le_bytes(header[20..28].try_into().expect("8")), payload))
}

/// The records of a payload, as far as they read.
fn records(mut payload: &[u8]) -> Vec<Change> {
    let mut facts = Vec::new();
    loop {
        let (mut length, mut shift) = (0u64, 0);
        loop {
            let Some((byte, rest)) = payload.split_first() else { return facts };
            payload = rest;
            length |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let Some(record) = payload.get(..length as usize) else { return facts };
        facts.extend(decode(record));
        payload = &payload[record.len()..];
    }
}

fn recovered(files: &[Vec<u8>; 2], length: usize) -> (Contents, Recovery) {
    recovered_from(files, length, 0)
}

/// What a start reads from journals with these bytes, zeros up to `length` behind them.
fn recovered_from(files: &[Vec<u8>; 2], length: usize, from: u64) -> (Contents, Recovery) {
    static PATHS: LazyLock<[PathBuf; 2]> = LazyLock::new(|| {
        let dir = super::store::scratch("journal");
        ["a", "b"].map(|side| dir.join(side))
    });
    for (path, bytes) in PATHS.iter().zip(files) {
        let file = File::create(path).expect("a temporary file");
        file.write_all_at(bytes, 0).expect("written");
        file.set_len(bytes.len().max(length) as u64).expect("of any length");
    }
    read_journals(&PATHS, SALT, Seq(from)).expect("files that are there can be read")
}
