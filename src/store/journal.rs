//! The commit path: one file, batches appended, one data sync for each.
//!
//! ```text
//! file   := stamp batch*                    (the stamp has the first 512 bytes to itself)
//! stamp  := magic:u32 format:u32 number:u64 salt:u32 crc:u32
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
//!   file's length and a small store stays small. The stamp and the first mebibyte are synced
//!   before CURRENT names the file, and every further one before a batch goes into it: a file
//!   that is shorter, or that ends with data inside a mebibyte, was cut short by no power cut.
//! * Checksums start from a random salt of the store: clients choose text that ends up in
//!   payloads, and none of it can be made to read as a batch.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StoreError;
use super::disk::{Disk, check_in_place, check_linked, failed};
use super::record::{Reader, RecordError, put_varint};

/// Batches begin at multiples of this: the unit that a disk writes whole.
const ALIGN: u64 = 512;
/// How much is prepared at a time.
const STEP: u64 = 1 << 20;
const HEADER: usize = 40;
const MAGIC: [u8; 4] = *b"fsJ\xa1";
/// Where the first batch begins.
const FIRST: u64 = ALIGN;
const STAMP: usize = 24;
const STAMP_MAGIC: [u8; 4] = *b"fsJ\xa0";

/// What a journal says of itself; never written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The store's format.
    pub(super) format: u32,
    /// The number in its name.
    pub(super) number: u64,
    /// Where its checksums start from.
    pub(super) salt: u32,
}

impl Stamp {
    fn to_bytes(self) -> Vec<u8> {
        let mut out = STAMP_MAGIC.to_vec();
        out.extend_from_slice(&self.format.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The stamp of the file at `path`; `None` if there is no whole one.
    pub(super) fn of(path: &Path) -> Option<Stamp> {
        let mut bytes = [0; STAMP];
        File::open(path).ok()?.read_exact_at(&mut bytes, 0).ok()?;
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let mut r = Reader { rest: body };
        let whole = r.array::<4>("stamp").ok()? == STAMP_MAGIC
            && crc32c::crc32c(body) == u32::from_le_bytes(*crc);
        let fields = || {
            let (format, number) = (r.u32("stamp").ok()?, r.u64("stamp").ok()?);
            Some(Stamp { format, number, salt: r.u32("stamp").ok()? })
        };
        whole.then(fields)?
    }
}

/// A journal that is being written.
pub(super) struct Journal {
    path: PathBuf,
    file: Arc<File>,
    salt: u32,
    generation: u64,
    /// Where the next batch begins.
    end: u64,
    /// The length of the file; all of it was written once.
    length: u64,
}

impl Journal {
    /// A new file with nothing but its stamp.
    pub(super) fn create(disk: &Disk, path: &Path, stamp: Stamp) -> Result<Journal, StoreError> {
        let file = disk.create(path)?;
        let mut bytes = stamp.to_bytes();
        bytes.resize(STEP as usize, 0);
        disk.write_at(&file, path, &bytes, 0)?;
        disk.sync(&file, path)?;
        let (path, salt, file) = (path.to_owned(), stamp.salt, Arc::new(file));
        Ok(Journal { path, file, salt, generation: 0, end: FIRST, length: STEP })
    }

    /// One that is there, to be written from its start: [`Journal::start`] comes next.
    pub(super) fn open(disk: &Disk, path: &Path, salt: u32) -> Result<Journal, StoreError> {
        let mut options = File::options();
        let file = options.read(true).write(true).open(path).map_err(failed("open", path))?;
        let length = file.metadata().map_err(failed("read the length of", path))?.len();
        // A killed process may have left a length that is not durable yet.
        disk.sync(&file, path)?;
        let length = length - length % STEP;
        let (path, file) = (path.to_owned(), Arc::new(file));
        Ok(Journal { path, file, salt, generation: 0, end: FIRST, length })
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
        let limit = limit.max(STEP).next_multiple_of(STEP);
        if self.length > limit.saturating_mul(2) {
            disk.resize(&self.file, &self.path, limit)?;
            self.length = limit;
        }
        self.generation = generation;
        self.end = FIRST;
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
        if self.length < end {
            self.grow(disk, end)?;
        }
        disk.write_at(&self.file, &self.path, &buffer.bytes, self.end)?;
        disk.sync(&self.file, &self.path)?;
        check_linked(&self.file, &self.path)?;
        self.end = end;
        Ok(())
    }

    /// Makes the file reach `end`, durably before any batch does.
    fn grow(&mut self, disk: &Disk, end: u64) -> Result<(), StoreError> {
        let zeros = vec![0; STEP as usize];
        while self.length < end {
            disk.write_at(&self.file, &self.path, &zeros, self.length)?;
            self.length += STEP;
        }
        disk.sync(&self.file, &self.path)
    }

    /// An error if the file is no longer what its path names: somebody removed or replaced it,
    /// and what is written here is lost when the process ends.
    pub(super) fn check_in_place(&self) -> Result<(), StoreError> {
        check_in_place(&self.file, &self.path)
    }

    /// The file, for one who follows what is appended.
    pub(super) fn source(&self) -> Source {
        Source { path: self.path.clone(), file: Arc::clone(&self.file), salt: self.salt }
    }

    /// Bytes used in this turn, and by the stamp.
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
    file: Arc<File>,
    salt: u32,
    pub(super) batches: Vec<Found>,
    /// Offset, and what is wrong there.
    pub(super) bad: Vec<(u64, &'static str)>,
    /// The same for the file as a whole, which no power cut explains.
    pub(super) fault: Option<(u64, String)>,
}

impl Scan {
    /// Reads the file at `path`; a missing one is an error.
    pub(super) fn of(path: &Path, salt: u32) -> Result<Scan, StoreError> {
        let file = File::open(path).map_err(failed("open", path))?;
        let length = file.metadata().map_err(failed("read the length of", path))?.len();
        let fault = fault(&file, path, salt, length)?;
        let (batches, bad, file) = (Vec::new(), Vec::new(), Arc::new(file));
        let mut scan = Scan { path: path.to_owned(), file, salt, batches, bad, fault };
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

    /// The file, for one who reads it later.
    pub(super) fn source(&self) -> Source {
        Source { path: self.path.clone(), file: Arc::clone(&self.file), salt: self.salt }
    }

    /// The payload of a batch.
    pub(super) fn payload(&self, found: &Found) -> Result<Vec<u8>, StoreError> {
        let mut payload = vec![0; found.length as usize];
        let offset = found.offset + HEADER as u64;
        self.file.read_exact_at(&mut payload, offset).map_err(failed("read", &self.path))?;
        Ok(payload)
    }
}

/// A journal as one reads it who follows what is appended; it may have lost its name meanwhile.
#[derive(Clone)]
pub(super) struct Source {
    path: PathBuf,
    file: Arc<File>,
    salt: u32,
}

/// What is done with a batch: its number and payload.
pub(super) type Take<'a> = dyn FnMut(u64, &[u8]) -> Result<(), StoreError> + 'a;

/// Bytes that a [`Source`] reads at once.
const WINDOW: usize = 256 << 10;

impl Source {
    /// Hands the whole batches between two offsets to `each`, by number and payload.
    pub(super) fn batches(
        &self,
        mut from: u64,
        end: u64,
        each: &mut Take<'_>,
    ) -> Result<(), StoreError> {
        let mut window = Vec::new();
        let mut want = WINDOW;
        while from < end {
            window.resize(want.min((end - from) as usize), 0);
            self.file.read_exact_at(&mut window, from).map_err(failed("read", &self.path))?;
            let (mut rest, begun) = (&*window, from);
            want = WINDOW;
            while let Some(header) = rest.first_chunk::<HEADER>() {
                let Some((found, crc)) = read_header(header, from, self.salt) else {
                    return Err(self.damaged(from));
                };
                let length = (found.end() - from) as usize;
                let Some((batch, next)) = rest.split_at_checked(length) else {
                    want = want.max(length);
                    break;
                };
                let payload = batch.get(HEADER..HEADER + found.length as usize);
                let payload = payload.unwrap_or_default();
                if crc32c::crc32c_append(self.salt, payload) != crc {
                    return Err(self.damaged(from));
                }
                each(found.seq, payload)?;
                (rest, from) = (next, found.end());
            }
            if from == begun && (want <= window.len() || window.len() as u64 == end - from) {
                return Err(self.damaged(from));
            }
        }
        Ok(())
    }

    /// Whether they are the same open file.
    pub(super) fn is(&self, other: &Source) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }

    fn damaged(&self, offset: u64) -> StoreError {
        let why = "a batch that was committed cannot be read".to_owned();
        StoreError::Damaged { path: self.path.clone(), offset, why, last_good: 0 }
    }
}

/// Where the first batch of a turn is.
pub(super) const TURN_BEGINS: u64 = FIRST;

/// Whether a file holds any batch at all, of whatever store.
pub(super) fn is_used(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut magic, FIRST));
    read.is_ok() && magic == MAGIC
}

/// What is wrong with a file of this length as a whole, and where.
fn fault(
    file: &File,
    path: &Path,
    salt: u32,
    length: u64,
) -> Result<Option<(u64, String)>, StoreError> {
    if length < STEP {
        let why = format!("it is {length} bytes long, and was at least {STEP}");
        return Ok(Some((length, why)));
    }
    match Stamp::of(path) {
        None => return Ok(Some((0, "the stamp at its start is lost".to_owned()))),
        Some(stamp) if stamp.salt != salt => {
            return Ok(Some((0, "it belongs to another store".to_owned())));
        }
        Some(_) => {}
    }
    let mut rest = vec![0; (length % STEP) as usize];
    let start = length - length % STEP;
    file.read_exact_at(&mut rest, start).map_err(failed("read", path))?;
    let cut = rest.iter().any(|byte| *byte != 0);
    Ok(cut.then(|| (length, "it was longer, its end is lost".to_owned())))
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
