//! One file of history: the series of one stretch of time in one resolution, written once.
//!
//! ```text
//! file   := magic:8 chunk* page* footer
//! chunk  := length:u32 crc:u32 instance:text metric:text columns   (ascending by series)
//! page   := (hash:u64 offset:u64 length:u32)* crc:u32              (up to 64, ascending by hash)
//! footer := resolution:u8 pages_at:u64 series:u32 crc:u32 magic:8
//! ```
//!
//! It is written beside its name, synced, and renamed: under its name it is whole. Checksums are
//! CRC-32C; a chunk repeats the name of its series, so that an index that lies is found out.

use std::fs::File;
use std::hash::Hasher;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use siphasher::sip::SipHasher13;

use super::chunk;
use super::codec::{Reader, Unreadable, put_text};
use super::error::{FileError, failed, sync_dir};
use super::model::{Bucket, Resolution, SeriesKey};

const MAGIC: [u8; 8] = *b"fsTelm\x01\n";
const ENTRY: usize = 20;
const ENTRIES_PER_PAGE: usize = 64;
const PAGE: usize = ENTRY * ENTRIES_PER_PAGE + 4;
const FOOTER: usize = 1 + 8 + 4 + 4 + 8;
/// Largest chunk: more than a chunk of the most rows takes.
const CHUNK_MAX: usize = 256 << 20;
/// Written at once before the disk is given a pause.
const STEP: usize = 1 << 20;

/// Where the chunk of a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    hash: u64,
    offset: u64,
    length: u32,
}

/// Fixed keys: the hash is part of the format.
fn hash_of(key: &SeriesKey) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(key.instance.as_bytes());
    hasher.write_u8(0xff);
    hasher.write(key.metric.as_bytes());
    hasher.finish()
}

/// A segment on its way to the disk.
pub(super) struct Writer<'a> {
    to: PathBuf,
    file: File,
    resolution: Resolution,
    waiting: Vec<u8>,
    written: u64,
    entries: Vec<Entry>,
    /// Called after each step that reached the disk; `false` gives it up.
    pause: &'a mut dyn FnMut() -> bool,
}

impl<'a> Writer<'a> {
    /// Begins a segment that will be at `to`.
    pub(super) fn create(
        to: &Path,
        resolution: Resolution,
        pause: &'a mut dyn FnMut() -> bool,
    ) -> Result<Writer<'a>, FileError> {
        let beside = beside(to);
        let file = File::create(&beside).map_err(failed("create", &beside))?;
        Ok(Writer {
            to: to.to_owned(),
            file,
            resolution,
            waiting: MAGIC.to_vec(),
            written: 0,
            entries: Vec::new(),
            pause,
        })
    }

    /// Adds a series; they come in ascending order, each once. `false`: it was given up.
    pub(super) fn push(&mut self, key: &SeriesKey, buckets: &[Bucket]) -> Result<bool, FileError> {
        let mut body = Vec::new();
        put_text(&key.instance, &mut body);
        put_text(&key.metric, &mut body);
        body.extend_from_slice(&chunk::encode(buckets, self.resolution));
        let offset = self.written + self.waiting.len() as u64;
        let too_large = || failed("write", &self.to)(std::io::ErrorKind::FileTooLarge.into());
        let length = u32::try_from(body.len()).map_err(|_| too_large())?;
        self.entries.push(Entry { hash: hash_of(key), offset, length });
        self.waiting.extend_from_slice(&length.to_le_bytes());
        self.waiting.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        self.waiting.extend_from_slice(&body);
        if self.waiting.len() < STEP {
            return Ok(true);
        }
        self.write_out()?;
        self.file.sync_data().map_err(failed("sync", &self.to))?;
        Ok((self.pause)())
    }

    fn write_out(&mut self) -> Result<(), FileError> {
        self.file.write_all(&self.waiting).map_err(failed("write", &self.to))?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    /// Writes the rest, and makes it durable under its name.
    pub(super) fn finish(mut self) -> Result<(), FileError> {
        let pages_at = self.written + self.waiting.len() as u64;
        self.entries.sort_unstable();
        for page in self.entries.chunks(ENTRIES_PER_PAGE) {
            let from = self.waiting.len();
            for Entry { hash, offset, length } in page {
                self.waiting.extend_from_slice(&hash.to_le_bytes());
                self.waiting.extend_from_slice(&offset.to_le_bytes());
                self.waiting.extend_from_slice(&length.to_le_bytes());
            }
            seal(&mut self.waiting, from);
        }
        let from = self.waiting.len();
        self.waiting.push(self.resolution as u8);
        self.waiting.extend_from_slice(&pages_at.to_le_bytes());
        self.waiting.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        seal(&mut self.waiting, from);
        self.waiting.extend_from_slice(&MAGIC);
        self.write_out()?;
        self.file.sync_all().map_err(failed("sync", &self.to))?;
        std::fs::rename(beside(&self.to), &self.to).map_err(failed("rename", &self.to))?;
        sync_dir(self.to.parent().unwrap_or(Path::new("/")))
    }
}

/// Adds the checksum of what `out` has from `from` on.
fn seal(out: &mut Vec<u8>, from: usize) {
    let crc = crc32c::crc32c(out.get(from..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
}

fn beside(to: &Path) -> PathBuf {
    to.with_extension("new")
}

/// A segment that is there.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    resolution: Resolution,
    pages_at: u64,
    series: usize,
}

impl Segment {
    /// Opens the file at `path` and reads its footer.
    pub(super) fn open(path: &Path) -> Result<Segment, FileError> {
        let file = File::open(path).map_err(failed("open", path))?;
        let length = file.metadata().map_err(failed("read the length of", path))?.len();
        let damaged = |why| FileError::Damaged { path: path.to_owned(), why };
        let Some(at) = length.checked_sub(FOOTER as u64) else {
            return Err(damaged("it is too short"));
        };
        let mut bytes = [0; FOOTER];
        file.read_exact_at(&mut bytes, at).map_err(failed("read", path))?;
        let (body, rest) = bytes.split_at(FOOTER - 12);
        let crc = crc32c::crc32c(body).to_le_bytes();
        if rest.get(4..) != Some(&MAGIC) || rest.get(..4) != Some(&crc) {
            return Err(damaged("its end does not fit its checksum"));
        }
        let mut reader = Reader { rest: body };
        let mut fields = || -> Result<_, Unreadable> {
            let resolution = match reader.u8()? {
                0 => Resolution::Raw,
                1 => Resolution::FiveMinutes,
                2 => Resolution::Hour,
                _ => return Err(Unreadable),
            };
            Ok((resolution, reader.u64()?, reader.u32()? as usize))
        };
        let (resolution, pages_at, series) = fields().map_err(|_| damaged("its end"))?;
        let index = (series * ENTRY + series.div_ceil(ENTRIES_PER_PAGE) * 4) as u64;
        if pages_at.checked_add(index) != Some(at) || pages_at < MAGIC.len() as u64 {
            return Err(damaged("its length does not fit its index"));
        }
        Ok(Segment { path: path.to_owned(), file, resolution, pages_at, series })
    }

    fn damaged(&self, why: &'static str) -> FileError {
        FileError::Damaged { path: self.path.clone(), why }
    }

    /// The entries of page `number`.
    fn page(&self, number: usize) -> Result<Vec<Entry>, FileError> {
        let first = number * ENTRIES_PER_PAGE;
        let count = self.series.saturating_sub(first).min(ENTRIES_PER_PAGE);
        let mut bytes = vec![0; count * ENTRY + 4];
        let at = self.pages_at + (number * PAGE) as u64;
        self.file.read_exact_at(&mut bytes, at).map_err(failed("read", &self.path))?;
        let (body, crc) = bytes.split_at(count * ENTRY);
        if crc32c::crc32c(body).to_le_bytes() != crc {
            return Err(self.damaged("its index does not fit its checksum"));
        }
        let mut reader = Reader { rest: body };
        let mut entry = || -> Result<Entry, Unreadable> {
            Ok(Entry { hash: reader.u64()?, offset: reader.u64()?, length: reader.u32()? })
        };
        (0..count).map(|_| entry().map_err(|_| self.damaged("its index"))).collect()
    }

    /// The buckets of one series; none if it is not here.
    pub(super) fn read(&self, key: &SeriesKey) -> Result<Vec<Bucket>, FileError> {
        let wanted = hash_of(key);
        let pages = self.series.div_ceil(ENTRIES_PER_PAGE);
        // The first page whose last entry is not below what is wanted.
        let (mut low, mut high) = (0, pages);
        while low < high {
            let middle = (low + high) / 2;
            match self.page(middle)?.last() {
                Some(last) if last.hash < wanted => low = middle + 1,
                _ => high = middle,
            }
        }
        // Two names may have one hash, and lie on two pages.
        for number in low..pages {
            for entry in self.page(number)? {
                if entry.hash > wanted {
                    return Ok(Vec::new());
                }
                if entry.hash == wanted
                    && let Some(found) = self.chunk(entry, key)?
                {
                    return Ok(found);
                }
            }
        }
        Ok(Vec::new())
    }

    /// The chunk at `entry`, if it is that of `key`.
    fn chunk(&self, entry: Entry, key: &SeriesKey) -> Result<Option<Vec<Bucket>>, FileError> {
        let length = entry.length as usize;
        if entry.offset.saturating_add(length as u64 + 8) > self.pages_at || length > CHUNK_MAX {
            return Err(self.damaged("its index points outside"));
        }
        let mut bytes = vec![0; length + 8];
        self.file.read_exact_at(&mut bytes, entry.offset).map_err(failed("read", &self.path))?;
        let (head, body) = bytes.split_at(8);
        if head.get(..4) != Some(&entry.length.to_le_bytes()) {
            return Err(self.damaged("its index does not fit a chunk"));
        }
        let (found, buckets) = self.parse(head.get(4..).unwrap_or_default(), body)?;
        Ok((found == *key).then_some(buckets))
    }

    fn parse(&self, crc: &[u8], body: &[u8]) -> Result<(SeriesKey, Vec<Bucket>), FileError> {
        if crc32c::crc32c(body).to_le_bytes() != crc {
            return Err(self.damaged("a chunk does not fit its checksum"));
        }
        let mut reader = Reader { rest: body };
        let mut read = || -> Result<_, Unreadable> {
            let key = SeriesKey { instance: reader.text()?, metric: reader.text()? };
            Ok((key, chunk::decode(reader.rest, self.resolution)?))
        };
        read().map_err(|_| self.damaged("a chunk cannot be read"))
    }

    /// All series in ascending order.
    pub(super) fn scan(&self) -> Result<Scan<'_>, FileError> {
        let mut file = File::open(&self.path).map_err(failed("open", &self.path))?;
        let start = MAGIC.len() as u64;
        file.seek(SeekFrom::Start(start)).map_err(failed("read", &self.path))?;
        let left = self.pages_at - start;
        Ok(Scan {
            segment: self,
            file: BufReader::with_capacity(64 << 10, file),
            left,
            before: None,
        })
    }
}

/// Reads a segment from its beginning.
pub(super) struct Scan<'a> {
    segment: &'a Segment,
    file: BufReader<File>,
    left: u64,
    before: Option<SeriesKey>,
}

impl Iterator for Scan<'_> {
    type Item = Result<(SeriesKey, Vec<Bucket>), FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.left > 0).then(|| self.read_next())
    }
}

impl Scan<'_> {
    fn read_next(&mut self) -> Result<(SeriesKey, Vec<Bucket>), FileError> {
        let path = &self.segment.path;
        let mut head = [0; 8];
        self.file.read_exact(&mut head).map_err(failed("read", path))?;
        let [a, b, c, d, crc @ ..] = head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let whole = length as u64 + 8;
        if length > CHUNK_MAX || whole > self.left {
            self.left = 0;
            return Err(self.segment.damaged("a chunk runs into the index"));
        }
        let mut body = vec![0; length];
        self.file.read_exact(&mut body).map_err(failed("read", path))?;
        self.left -= whole;
        let (key, buckets) = self.segment.parse(&crc, &body)?;
        if self.before.as_ref().is_some_and(|before| *before >= key) {
            return Err(self.segment.damaged("its series are out of order"));
        }
        self.before = Some(key.clone());
        Ok((key, buckets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::telemetry::model::Point;
    use crate::telemetry::shared::tests::Dir;

    fn series(count: usize) -> Vec<(SeriesKey, Vec<Bucket>)> {
        let key = |i| SeriesKey::new(&format!("vm-{i:05}"), "cpu");
        let points = |i: usize| {
            let point = |n| Point { time: Timestamp(1000 * n), value: (n * i as u64) as f64 };
            (0..10).map(|n| Bucket::of(point(n))).collect::<Vec<_>>()
        };
        (0..count).map(|i| (key(i), points(i))).collect()
    }

    fn write(path: &Path, all: &[(SeriesKey, Vec<Bucket>)]) {
        let mut go_on = || true;
        let mut writer = Writer::create(path, Resolution::Raw, &mut go_on).unwrap();
        all.iter().for_each(|(key, buckets)| assert!(writer.push(key, buckets).unwrap()));
        writer.finish().unwrap();
    }

    #[test]
    fn every_series_is_found() {
        let dir = Dir::new("segment");
        let path = dir.path().join("a.seg");
        for count in [0, 1, 64, 65, 1000] {
            let all = series(count);
            write(&path, &all);
            let segment = Segment::open(&path).unwrap();
            for (key, buckets) in &all {
                assert_eq!(segment.read(key).unwrap(), *buckets);
            }
            assert!(segment.read(&SeriesKey::new("vm-00000", "load")).unwrap().is_empty());
            let scanned: Result<Vec<_>, _> = segment.scan().unwrap().collect();
            assert_eq!(scanned.unwrap(), all);
        }
    }

    #[test]
    fn damage_is_told_and_never_read_as_data() {
        let dir = Dir::new("segment-damage");
        let path = dir.path().join("a.seg");
        let all = series(3);
        write(&path, &all);
        let sound = std::fs::read(&path).unwrap();
        for at in 8..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, bytes).unwrap();
            let Ok(segment) = Segment::open(&path) else { continue };
            let mut told = false;
            for (key, buckets) in &all {
                match segment.read(key) {
                    Ok(read) => assert!(read == *buckets || read.is_empty(), "byte {at}"),
                    Err(_) => told = true,
                }
            }
            told |= segment.scan().unwrap().any(|chunk| chunk.is_err());
            assert!(told, "byte {at} of {} is changed, and nothing says so", sound.len());
        }
        for length in 0..sound.len() {
            std::fs::write(&path, &sound[..length]).unwrap();
            assert!(Segment::open(&path).is_err(), "cut at {length}");
        }
    }
}
