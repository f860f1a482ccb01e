//! Reading the archive, forward and backward, from any record: of a server that runs, too.
//!
//! A reader holds one file and at most [`WINDOW`] bytes of it. It never waits: where the archive
//! ends for now, it says so and can be asked again.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::base::Timestamp;
use crate::store::StoreError;
use crate::store::disk::{Disk, failed, list};
use crate::store::record;

use super::Entry;
use super::segment::{self, FRAME_MAX, Frame, Named, STAMP, Stamp};
use super::writer::read_some;

/// Bytes that a reader holds.
const WINDOW: usize = 64 << 10;

/// Times that a reader is asked for: from the first to the second, both included.
pub(super) type Times = (Timestamp, Timestamp);

/// An open segment and a piece of it.
struct Piece {
    file: File,
    path: PathBuf,
    first: u64,
    /// Where the piece begins in the file.
    start: u64,
    bytes: Vec<u8>,
}

impl Piece {
    fn open(named: &Named) -> Result<Option<Piece>, StoreError> {
        let Named { first, path } = named;
        let file = match File::open(path) {
            // Dropped by its age meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed("open", path))?,
        };
        if Stamp::of(&file, path)?.is_none() {
            return Ok(None);
        }
        let (path, first) = (path.clone(), *first);
        Ok(Some(Piece { file, path, first, start: STAMP, bytes: Vec::new() }))
    }

    fn length(&self) -> Result<u64, StoreError> {
        Ok(self.file.metadata().map_err(failed("read the length of", &self.path))?.len())
    }

    /// Reads the bytes between two places; fewer if the file ends.
    fn fill(&mut self, start: u64, end: u64) -> Result<(), StoreError> {
        self.start = start;
        self.bytes.resize(end.saturating_sub(start).min(WINDOW as u64) as usize, 0);
        let got = read_some(&self.file, &mut self.bytes, start);
        self.bytes.truncate(got.map_err(failed("read", &self.path))?);
        Ok(())
    }

    /// The bytes from `at` on, at least a whole frame of them if the file has one.
    fn from(&mut self, at: u64) -> Result<&[u8], StoreError> {
        let offset = at.checked_sub(self.start).map_or(usize::MAX, |offset| offset as usize);
        let left = self.bytes.len().saturating_sub(offset);
        let is_whole = left > 0
            && self.bytes.get(offset..).and_then(segment::stated).is_some_and(|n| n <= left);
        if !is_whole {
            self.fill(at, u64::MAX)?;
        }
        let offset = (at - self.start) as usize;
        Ok(self.bytes.get(offset..).unwrap_or_default())
    }

    /// The bytes before `at`, at least a whole frame of them if the file has one.
    fn up_to(&mut self, at: u64) -> Result<&[u8], StoreError> {
        let held =
            at.checked_sub(self.start).map(|n| n as usize).filter(|n| *n <= self.bytes.len());
        let is_whole = held.is_some_and(|held| {
            let bytes = self.bytes.get(..held).unwrap_or_default();
            segment::length_of_last(bytes).is_some_and(|n| n <= held)
        });
        if !is_whole {
            let start = at.saturating_sub(WINDOW as u64).max(STAMP);
            self.fill(start, at)?;
        }
        let held = (at - self.start) as usize;
        Ok(self.bytes.get(..held).unwrap_or(&self.bytes))
    }
}

/// Reads from a record on.
pub struct Forward {
    dir: PathBuf,
    times: Times,
    piece: Option<Piece>,
    at: u64,
    /// The number of the next record.
    next: u64,
    /// Records that could not be read, or are gone.
    missed: u64,
}

impl Forward {
    /// Reads record `next` and all after it.
    pub fn from(dir: &Path, next: u64) -> Forward {
        Forward::within(dir, next, (Timestamp(0), Timestamp::NEVER))
    }

    /// The same, passing over segments that have nothing of a time.
    pub(super) fn within(dir: &Path, next: u64, times: Times) -> Forward {
        let next = next.max(1);
        Forward { dir: dir.to_owned(), times, piece: None, at: STAMP, next, missed: 0 }
    }

    /// The number of the record that comes next: a place to go on from later.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// How many records were passed over since this was last asked, because they are too old to
    /// be kept or cannot be read.
    pub fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    /// The next record; `None` where the archive ends for now.
    pub fn read(&mut self) -> Result<Option<Entry>, StoreError> {
        loop {
            if self.piece.is_none() && !self.open()? {
                return Ok(None);
            }
            let (at, wanted) = (self.at, self.next);
            let Some(piece) = &mut self.piece else { return Ok(None) };
            let first = piece.first;
            let Some((frame, length)) = Frame::decode(piece.from(at)?) else {
                if !self.go_over()? {
                    return Ok(None);
                }
                continue;
            };
            let number = first + u64::from(frame.ordinal);
            self.at += length as u64;
            if number < wanted {
                continue;
            }
            let (seq, change) = (frame.seq, record::decode(frame.record));
            self.missed += number - wanted;
            self.next = number + 1;
            match change {
                Ok(change) => return Ok(Some(Entry { number, seq, change })),
                // Of a newer version; its frame is whole.
                Err(_) => self.missed += 1,
            }
        }
    }

    /// Opens the segment with the next record, or the oldest after it that may be wanted.
    fn open(&mut self) -> Result<bool, StoreError> {
        let segments = segment::list(&self.dir)?;
        let holds = segments.iter().rposition(|s| s.first <= self.next).unwrap_or(0);
        for (at, named) in segments.iter().enumerate().skip(holds) {
            if !may_hold(&segments, at, self.times)? {
                continue;
            }
            if let Some(piece) = Piece::open(named)? {
                if self.times == (Timestamp(0), Timestamp::NEVER) {
                    self.missed += named.first.saturating_sub(self.next);
                }
                self.next = self.next.max(named.first);
                (self.piece, self.at) = (Some(piece), STAMP);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// No whole record is here: goes on with the next segment, if there is one.
    fn go_over(&mut self) -> Result<bool, StoreError> {
        let Some(piece) = &mut self.piece else { return Ok(false) };
        let first = piece.first;
        let later = segment::list(&self.dir)?.into_iter().find(|named| named.first > first);
        let Some(later) = later else { return Ok(false) };
        // The segment was ended meanwhile; what it got since the last look comes first.
        let at = self.at;
        piece.fill(at, u64::MAX)?;
        if Frame::decode(piece.from(at)?).is_some() {
            return Ok(true);
        }
        if self.times == (Timestamp(0), Timestamp::NEVER) {
            self.missed += later.first.saturating_sub(self.next);
        }
        self.next = self.next.max(later.first);
        self.piece = None;
        Ok(true)
    }
}

/// Reads from a record back.
pub struct Backward {
    dir: PathBuf,
    times: Times,
    piece: Option<Piece>,
    at: u64,
    /// The record after the next one.
    before: u64,
}

impl Backward {
    /// Reads the record before `before` and all before it; the newest first if that is `None`.
    pub fn before(dir: &Path, before: Option<u64>) -> Backward {
        Backward::within(dir, before, (Timestamp(0), Timestamp::NEVER))
    }

    /// The same, passing over segments that have nothing of a time.
    pub(super) fn within(dir: &Path, before: Option<u64>, times: Times) -> Backward {
        let before = before.unwrap_or(u64::MAX);
        Backward { dir: dir.to_owned(), times, piece: None, at: 0, before }
    }

    /// The number of the record that was returned last: a place to go on from later.
    pub fn position(&self) -> u64 {
        self.before
    }

    /// The next older record; `None` after the oldest.
    pub fn read(&mut self) -> Result<Option<Entry>, StoreError> {
        loop {
            if self.piece.is_none() && !self.open()? {
                return Ok(None);
            }
            let Some(piece) = &mut self.piece else { return Ok(None) };
            let (at, first) = (self.at, piece.first);
            let decoded = if at > STAMP { Frame::decode_last(piece.up_to(at)?) } else { None };
            let Some((frame, length)) = decoded else {
                // The start of the segment, or damage: nothing before it can be told apart.
                (self.before, self.piece) = (first.min(self.before), None);
                continue;
            };
            let number = first + u64::from(frame.ordinal);
            let (seq, change) = (frame.seq, record::decode(frame.record));
            self.at -= length as u64;
            if number >= self.before {
                continue;
            }
            self.before = number;
            if let Ok(change) = change {
                return Ok(Some(Entry { number, seq, change }));
            }
        }
    }

    /// Opens the newest segment with older records that may be wanted.
    fn open(&mut self) -> Result<bool, StoreError> {
        let segments = segment::list(&self.dir)?;
        let older = segments.iter().filter(|named| named.first < self.before).count();
        for at in (0..older).rev() {
            if !may_hold(&segments, at, self.times)? {
                continue;
            }
            let Some(mut piece) = segments.get(at).map(Piece::open).transpose()?.flatten() else {
                continue;
            };
            let length = piece.length()?;
            let is_whole = length > STAMP && Frame::decode_last(piece.up_to(length)?).is_some();
            self.at = if is_whole { length } else { end_of(&mut piece)? };
            self.piece = Some(piece);
            return Ok(true);
        }
        Ok(false)
    }
}

/// Where the last whole frame ends, of a segment that is being written.
fn end_of(piece: &mut Piece) -> Result<u64, StoreError> {
    let mut at = STAMP;
    while let Some((_, length)) = Frame::decode(piece.from(at)?) {
        at += length as u64;
    }
    Ok(at)
}

/// Whether a segment may have records of a time; the newest always may.
fn may_hold(segments: &[Named], at: usize, (from, to): Times) -> Result<bool, StoreError> {
    let Some(next) = segments.get(at + 1).filter(|_| from.0 > 0 || to != Timestamp::NEVER) else {
        return Ok(true);
    };
    let Ok(file) = File::open(&next.path) else { return Ok(true) };
    let stamp = Stamp::of(&file, &next.path)?;
    Ok(stamp.is_none_or(|Stamp { before: (low, high), .. }| low <= to && high >= from))
}

/// A durable copy of the segments in `from`, in the new directory `to`. The newest may end within
/// a record, which whoever opens it cuts off.
pub(super) fn copy(disk: &Disk, from: &Path, to: &Path) -> Result<(), StoreError> {
    disk.create_dir(to)?;
    for Named { path, .. } in segment::list(from)? {
        let target = to.join(path.file_name().unwrap_or_default());
        match disk.copy(&path, &target) {
            Err(StoreError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound && !path.exists() => {}
            other => {
                other?;
                disk.sync_path(&target)?;
            }
        }
    }
    debug_assert!(list(to).is_ok());
    disk.sync_dir(to)
}

const _: () = assert!(WINDOW > 2 * FRAME_MAX);
