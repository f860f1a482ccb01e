//! The commit path: one file, batches appended, one data sync for each.
//!
//! ```text
//! batch  := header payload padding          (begins at a multiple of 512 bytes)
//! header := magic:u32 generation:u64 previous:u64 seq:u64 length:u32 payload_crc:u32 header_crc:u32
//! payload:= (record:bytes)*                 (record as in `record`; all of them or none)
//! ```
//!
//! * A batch is one write and one `fdatasync`. It is there whole or not at all: both checksums
//!   (CRC-32C) must fit. A hole of zeros has no magic and never reads as a batch.
//! * Files are used in turn and never emptied. Each turn has a higher generation; what an earlier
//!   turn left behind carries a lower one, and numbers that the checkpoint already covers.
//! * `previous` is the number of the batch before. Recovery follows this chain from the checkpoint
//!   on, through both files: where it ends, the rest is a torn tail; where it goes on after a gap,
//!   something inside is damaged.
//! * Batches begin at sector boundaries, so that writing one never touches a sector of another.
//! * The file grows by a mebibyte of zeros at a time, so that most syncs need not write the
//!   file's length and a small store stays small.
//! * Checksums start from a random salt of the store: clients choose text that ends up in
//!   payloads, and none of it can be made to read as a batch.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::disk::{Disk, failed};
use super::record::{Reader, RecordError, put_varint};

/// Batches begin at multiples of this: the unit that a disk writes whole.
const ALIGN: u64 = 512;
/// How much is prepared at a time.
const STEP: u64 = 1 << 20;
const HEADER: usize = 40;
const MAGIC: [u8; 4] = *b"fsJ\xa1";

/// A journal that is being written.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    salt: u32,
    generation: u64,
    /// Where the next batch begins.
    end: u64,
    /// The length of the file; all of it was written once.
    length: u64,
}

impl Journal {
    /// A new empty file.
    pub(super) fn create(disk: &Disk, path: &Path, salt: u32) -> Result<Journal, StoreError> {
        let file = disk.create(path)?;
        disk.sync(&file, path)?;
        Ok(Journal { path: path.to_owned(), file, salt, generation: 0, end: 0, length: 0 })
    }

    /// One that is there, to be written from its start: [`Journal::start`] comes next.
    pub(super) fn open(path: &Path, salt: u32) -> Result<Journal, StoreError> {
        let mut options = File::options();
        let file = options.read(true).write(true).open(path).map_err(failed("open", path))?;
        let length = file.metadata().map_err(failed("read the length of", path))?.len();
        Ok(Journal { path: path.to_owned(), file, salt, generation: 0, end: 0, length })
    }

    /// Begins a turn. All that is in the file must be in a durable checkpoint.
    ///
    /// A file that had to outgrow `limit` bytes by far is cut back.
    pub(super) fn start(
        &mut self,
        disk: &Disk,
        generation: u64,
        limit: u64,
    ) -> Result<(), StoreError> {
        if self.length > limit.max(STEP).saturating_mul(2) {
            disk.resize(&self.file, &self.path, limit)?;
            self.length = limit;
        }
        self.generation = generation;
        self.end = 0;
        Ok(())
    }

    /// Appends the batch in `buffer` and syncs. On an error the file is not to be written again.
    pub(super) fn append(
        &mut self,
        disk: &Disk,
        previous: u64,
        seq: u64,
        buffer: &mut Buffer,
    ) -> Result<(), StoreError> {
        buffer.seal(self.salt, self.generation, previous, seq);
        let end = self.end + buffer.bytes.len() as u64;
        while self.length < end {
            let zeros = vec![0; STEP as usize];
            disk.write_at(&self.file, &self.path, &zeros, self.length)?;
            self.length += STEP;
        }
        disk.write_at(&self.file, &self.path, &buffer.bytes, self.end)?;
        disk.sync(&self.file, &self.path)?;
        self.end = end;
        Ok(())
    }

    /// Bytes used in this turn.
    pub(super) fn used(&self) -> u64 {
        self.end
    }

    /// Bytes on disk.
    pub(super) fn length(&self) -> u64 {
        self.length
    }
}

/// The bytes of one batch, reused from commit to commit.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
}

impl Buffer {
    /// Forgets what was in it.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(HEADER, 0);
    }

    /// Adds one encoded record.
    pub(super) fn push(&mut self, record: &[u8]) {
        put_varint(record.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(record);
    }

    fn seal(&mut self, salt: u32, generation: u64, previous: u64, seq: u64) {
        let payload = self.bytes.get(HEADER..).unwrap_or_default();
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&generation.to_le_bytes());
        header.extend_from_slice(&previous.to_le_bytes());
        header.extend_from_slice(&seq.to_le_bytes());
        header.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        header.extend_from_slice(&crc32c::crc32c_append(salt, payload).to_le_bytes());
        header.extend_from_slice(&crc32c::crc32c_append(salt, &header).to_le_bytes());
        if let Some(place) = self.bytes.get_mut(..HEADER) {
            place.copy_from_slice(&header);
        }
        let padded = self.bytes.len().next_multiple_of(ALIGN as usize);
        self.bytes.resize(padded, 0);
    }
}

/// A whole batch found in a journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) generation: u64,
    pub(super) previous: u64,
    pub(super) seq: u64,
    /// Where it begins.
    pub(super) offset: u64,
    length: u32,
}

impl Found {
    /// Where the next batch would begin.
    pub(super) fn end(&self) -> u64 {
        (self.offset + HEADER as u64 + u64::from(self.length)).next_multiple_of(ALIGN)
    }
}

/// All that reads as a batch in one file, of whatever generation, and what looks like a batch
/// that is not whole.
pub(super) struct Scan {
    pub(super) path: PathBuf,
    file: File,
    salt: u32,
    pub(super) batches: Vec<Found>,
    /// Offset, and what is wrong there.
    pub(super) bad: Vec<(u64, &'static str)>,
}

impl Scan {
    /// Reads the file at `path`; a missing one is an error.
    pub(super) fn of(path: &Path, salt: u32) -> Result<Scan, StoreError> {
        let file = File::open(path).map_err(failed("open", path))?;
        let length = file.metadata().map_err(failed("read the length of", path))?.len();
        let (batches, bad) = (Vec::new(), Vec::new());
        let mut scan = Scan { path: path.to_owned(), file, salt, batches, bad };
        let mut at = 0;
        while at < length {
            let window = (length - at).min(STEP) as usize;
            let mut bytes = vec![0; window];
            scan.file.read_exact_at(&mut bytes, at).map_err(failed("read", path))?;
            at = scan.window(&bytes, at, length)?;
        }
        Ok(scan)
    }

    /// Looks through the bytes at `start` and returns where to go on.
    fn window(&mut self, bytes: &[u8], start: u64, length: u64) -> Result<u64, StoreError> {
        let end = start + bytes.len() as u64;
        let mut at = start;
        while at < end {
            let header = bytes.get((at - start) as usize..).unwrap_or_default();
            at = match header.first_chunk::<HEADER>() {
                Some(header) if header.starts_with(&MAGIC) => self.batch(header, at, length)?,
                _ => at + ALIGN,
            };
        }
        Ok(at)
    }

    /// Judges what begins like a batch and returns where to look next.
    fn batch(&mut self, header: &[u8; HEADER], at: u64, length: u64) -> Result<u64, StoreError> {
        let Some((found, crc)) = read_header(header, at, self.salt) else {
            self.bad.push((at, "the header's checksum does not fit"));
            return Ok(at + ALIGN);
        };
        if at + HEADER as u64 + u64::from(found.length) > length {
            self.bad.push((at, "the file ends within it"));
            return Ok(at + ALIGN);
        }
        if crc32c::crc32c_append(self.salt, &self.payload(&found)?) != crc {
            self.bad.push((at, "the payload's checksum does not fit"));
            return Ok(at + ALIGN);
        }
        self.batches.push(found);
        Ok(found.end())
    }

    /// The payload of a batch.
    pub(super) fn payload(&self, found: &Found) -> Result<Vec<u8>, StoreError> {
        let mut payload = vec![0; found.length as usize];
        let offset = found.offset + HEADER as u64;
        self.file.read_exact_at(&mut payload, offset).map_err(failed("read", &self.path))?;
        Ok(payload)
    }
}

/// Whether a file holds any batch at all, of whatever store.
pub(super) fn is_used(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut magic, 0));
    read.is_ok() && magic == MAGIC
}

/// The records of a payload.
pub(super) fn records(payload: &[u8]) -> Result<Vec<&[u8]>, RecordError> {
    let mut r = Reader { rest: payload };
    let mut records = Vec::new();
    while !r.rest.is_empty() {
        records.push(r.bytes("batch")?);
    }
    Ok(records)
}

/// What a header says, and the checksum of its payload; `None` if it is not whole.
fn read_header(header: &[u8; HEADER], offset: u64, salt: u32) -> Option<(Found, u32)> {
    let (body, crc) = header.split_last_chunk::<4>()?;
    if crc32c::crc32c_append(salt, body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut r = Reader { rest: body.get(MAGIC.len()..)? };
    let generation = r.u64("header").ok()?;
    let previous = r.u64("header").ok()?;
    let seq = r.u64("header").ok()?;
    let length = r.u32("header").ok()?;
    let crc = r.u32("header").ok()?;
    Some((Found { generation, previous, seq, offset, length }, crc))
}
