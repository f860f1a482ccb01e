//! The files of the archive.
//!
//! ```text
//! segment-N   N is the number of its first record, in twenty digits
//! file   := stamp frame*
//! stamp  := magic:u32 format:u32 first:u64 seq:u64 low:u64 high:u64 crc:u32
//! frame  := length:u32 body crc:u32 length:u32
//! body   := seq:u64 index:u32 ordinal:u32 record             (record as in `record`)
//! ```
//!
//! `first` is the number of the first record, `seq` its batch; `low` and `high` are the earliest
//! and the latest time in the segment before, so that who looks for a time need not read it. A
//! frame's lengths are those of its body; the second one is for those who read backwards. `index`
//! counts a batch's audit records, `ordinal` the segment's. Records are only ever appended, and
//! whole segments dropped.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::base::Timestamp;
use crate::store::StoreError;
use crate::store::disk::failed;
use crate::store::record::{RECORD_MAX, Reader};

/// The format that is written.
pub(super) const FORMAT: u32 = 1;
const MAGIC: [u8; 4] = *b"fsA\xa1";
/// Bytes of a stamp: where the first frame begins.
pub(super) const STAMP: u64 = 44;
/// Bytes of a frame beside its record.
const AROUND: usize = 4 + BODY_HEAD + 4 + 4;
const BODY_HEAD: usize = 16;
/// The longest frame, in bytes.
pub(super) const FRAME_MAX: usize = RECORD_MAX + AROUND;

/// What a segment says of itself and of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The number of its first record.
    pub(super) first: u64,
    /// The batch of its first record.
    pub(super) seq: u64,
    /// Earliest and latest time in the segment before.
    pub(super) before: (Timestamp, Timestamp),
}

impl Stamp {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let Stamp { first, seq, before: (low, high) } = self;
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT.to_le_bytes());
        for number in [first, seq, low.0, high.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The stamp at the start of `file`; `None` if there is no whole one. A newer format is an
    /// error.
    pub(super) fn of(file: &File, path: &Path) -> Result<Option<Stamp>, StoreError> {
        let mut bytes = [0; STAMP as usize];
        match file.read_exact_at(&mut bytes, 0) {
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other.map_err(failed("read", path))?,
        }
        Stamp::from_bytes(&bytes, path)
    }

    fn from_bytes(bytes: &[u8], path: &Path) -> Result<Option<Stamp>, StoreError> {
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return Ok(None) };
        let mut r = Reader { rest: body };
        let whole = crc32c::crc32c(body) == u32::from_le_bytes(*crc);
        if !whole || r.array::<4>("stamp").ok() != Some(MAGIC) {
            return Ok(None);
        }
        let found = r.u32("stamp").unwrap_or_default();
        if found > FORMAT {
            let path = path.to_owned();
            return Err(StoreError::Newer { path, found, known: FORMAT });
        }
        let mut number = || r.u64("stamp").unwrap_or_default();
        let (first, seq) = (number(), number());
        Ok(Some(Stamp { first, seq, before: (Timestamp(number()), Timestamp(number())) }))
    }
}

/// One framed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// Its batch.
    pub(super) seq: u64,
    /// Its place among the batch's audit records.
    pub(super) index: u32,
    /// Its place in the segment.
    pub(super) ordinal: u32,
    /// The record.
    pub(super) record: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Appends the frame to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let length = ((BODY_HEAD + self.record.len()) as u32).to_le_bytes();
        out.extend_from_slice(&length);
        let body = out.len();
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&self.ordinal.to_le_bytes());
        out.extend_from_slice(self.record);
        let crc = crc32c::crc32c(out.get(body..).unwrap_or_default());
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&length);
    }

    /// The frame at the start of `bytes` and its length; `None` if there is no whole one.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<(Frame<'a>, usize)> {
        let length = stated(bytes)?;
        let frame = bytes.get(..length)?;
        let (body, tail) = frame.get(4..)?.split_at_checked(length - 12)?;
        let (crc, again) = tail.split_at_checked(4)?;
        let whole = crc32c::crc32c(body).to_le_bytes() == *crc && frame.get(..4) == Some(again);
        let mut r = Reader { rest: body };
        let mut head = || Some((r.u64("").ok()?, r.u32("").ok()?, r.u32("").ok()?));
        let (seq, index, ordinal) = head()?;
        whole.then_some((Frame { seq, index, ordinal, record: r.rest }, length))
    }

    /// The frame at the end of `bytes` and its length; `None` if there is no whole one.
    pub(super) fn decode_last(bytes: &'a [u8]) -> Option<(Frame<'a>, usize)> {
        let length = length_of_last(bytes)?;
        let at = bytes.len().checked_sub(length)?;
        Frame::decode(bytes.get(at..)?)
    }
}

/// The length of the frame that begins here, if it states a possible one.
pub(super) fn stated(bytes: &[u8]) -> Option<usize> {
    frame_length(bytes.first_chunk::<4>()?)
}

/// The same for the frame that ends here.
pub(super) fn length_of_last(bytes: &[u8]) -> Option<usize> {
    frame_length(bytes.last_chunk::<4>()?)
}

fn frame_length(body: &[u8; 4]) -> Option<usize> {
    let length = (u32::from_le_bytes(*body) as usize).checked_add(12)?;
    (AROUND..=FRAME_MAX).contains(&length).then_some(length)
}

/// A segment's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The number of its first record.
    pub first: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// The segments in `dir`, oldest first; none if it is not there.
pub fn list(dir: &Path) -> Result<Vec<Named>, StoreError> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed("list", dir))?,
    };
    let mut segments = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed("list", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(first) = name.strip_prefix("segment-").and_then(|digits| digits.parse().ok()) {
            segments.push(Named { first, path });
        }
    }
    segments.sort_unstable_by_key(|segment| segment.first);
    Ok(segments)
}

/// The path of the segment that begins with record `first`.
pub(super) fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("segment-{first:020}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Vec<u8> {
        let mut bytes = Vec::new();
        Frame { seq: 7, index: 1, ordinal: 3, record: b"a record" }.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_frame_reads_from_both_ends() {
        let bytes = frame();
        let whole = Frame { seq: 7, index: 1, ordinal: 3, record: b"a record" };
        assert_eq!(Frame::decode(&[&bytes[..], b"more"].concat()), Some((whole, bytes.len())));
        assert_eq!(Frame::decode_last(&[b"more", &bytes[..]].concat()), Some((whole, bytes.len())));
    }

    #[test]
    fn a_changed_or_missing_byte_is_noticed() {
        let bytes = frame();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 4;
            assert_eq!(Frame::decode(&other), None, "byte {at}");
            assert_eq!(Frame::decode(&bytes[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn a_stamp_reads_as_it_was_written_or_not_at_all() {
        let before = (Timestamp(5), Timestamp(6));
        let stamp = Stamp { first: 9, seq: 4, before };
        let bytes = stamp.to_bytes();
        assert_eq!(bytes.len() as u64, STAMP);
        let read = |bytes: &[u8]| Stamp::from_bytes(bytes, Path::new("x"));
        assert_eq!(read(&bytes).unwrap(), Some(stamp));
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(read(&other).unwrap(), None, "byte {at}");
        }
    }
}
