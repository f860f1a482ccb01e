//! Appending to the archive, and dropping what is too old or too much.
//!
//! What is not synced yet is in the journals too. After an error the archive goes back to what
//! was synced, and the keeper reads the rest again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::base::{Span, Timestamp};
use crate::store::disk::{Disk, check_linked, failed};
use crate::store::{StoreError, record};

use super::segment::{self, Frame, Named, STAMP, Stamp};
use super::{ArchiveOptions, time_of};

/// Bytes that are written at once.
const WRITE: usize = 256 << 10;
/// A segment spans at most this part of the time for which records are kept.
const AGE_PARTS: u64 = 16;

/// A record's place in the journals: its batch, and its place among the batch's audit records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) seq: u64,
    pub(super) index: u32,
}

/// How far the archive goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The number of the next record.
    pub(super) next: u64,
    /// The last record; none if its batch is 0.
    pub(super) last: Place,
    /// The segment's first record and its end in bytes; 0 where none is open.
    segment: (u64, u64),
}

/// The segment that grows.
struct Open {
    path: PathBuf,
    file: File,
    first: u64,
    /// Where the next frame goes.
    end: u64,
    /// Of its first record.
    begun: Option<Timestamp>,
    /// Earliest and latest.
    times: (Timestamp, Timestamp),
}

/// The archive, open for appending.
pub(super) struct Writer {
    disk: Disk,
    options: ArchiveOptions,
    open: Option<Open>,
    mark: Mark,
    synced: Mark,
    /// Frames that were not written yet.
    buffer: Vec<u8>,
    /// Names in the directory are not durable yet.
    named: bool,
}

impl Writer {
    /// Opens what is there, without what a crash cut off at its end.
    pub(super) fn open(disk: Disk, options: ArchiveOptions) -> Result<Writer, StoreError> {
        let dir = &options.dir;
        if !dir.is_dir() {
            disk.create_dir(dir)?;
            if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
                disk.sync_dir(parent)?;
            }
        }
        let mark = Mark { next: 1, ..Mark::default() };
        let (buffer, open) = (Vec::new(), None);
        let mut writer = Writer { disk, options, open, mark, synced: mark, buffer, named: true };
        writer.resume()?;
        Ok(writer)
    }

    /// Takes up the newest segment that has a stamp.
    fn resume(&mut self) -> Result<(), StoreError> {
        let mut segments = segment::list(&self.options.dir)?;
        while let Some(Named { first, path }) = segments.pop() {
            let file = File::options().read(true).write(true).open(&path);
            let file = file.map_err(failed("open", &path))?;
            let Some(stamp) = Stamp::of(&file, &path)? else {
                // The crash came before its first record.
                self.disk.remove(&path)?;
                continue;
            };
            let times = (Timestamp::NEVER, Timestamp(0));
            let mut open = Open { path, file, first, end: STAMP, begun: None, times };
            let (count, last) = open.scan()?;
            open.cut(&self.disk)?;
            // A killed process may have left what is not durable yet.
            self.disk.sync(&open.file, &open.path)?;
            let last = match last {
                Some(last) => last,
                // What is gone by its age was of batches before.
                None => last_of(segments.last())?
                    .unwrap_or(Place { seq: stamp.seq.saturating_sub(1), index: u32::MAX }),
            };
            self.mark = Mark { next: first + count, last, segment: (first, open.end) };
            self.open = Some(open);
            break;
        }
        self.disk.sync_dir(&self.options.dir)?;
        (self.synced, self.named) = (self.mark, false);
        Ok(())
    }

    /// How far it goes, written or not.
    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    /// The latest time in the newest segment.
    pub(super) fn latest(&self) -> Timestamp {
        self.open.as_ref().map_or(Timestamp(0), |open| open.times.1)
    }

    /// How far it is durable.
    pub(super) fn synced(&self) -> Mark {
        self.synced
    }

    /// Appends a record of batch `place.seq`, unless it is there already.
    pub(super) fn append(&mut self, place: Place, bytes: &[u8]) -> Result<(), StoreError> {
        if place <= self.mark.last && self.mark.last.seq != 0 {
            return Ok(());
        }
        self.force(place, bytes)
    }

    /// The same, wherever its batch stands.
    pub(super) fn force(&mut self, place: Place, bytes: &[u8]) -> Result<(), StoreError> {
        let at = record::decode(bytes).map_or(Timestamp(0), |change| time_of(&change));
        self.rotate_if_due(at, place.seq)?;
        let Some(open) = &mut self.open else { return Err(StoreError::Broken) };
        let ordinal = (self.mark.next - open.first) as u32;
        let frame = Frame { seq: place.seq, index: place.index, ordinal, record: bytes };
        let before = self.buffer.len();
        frame.encode(&mut self.buffer);
        self.mark.segment.1 += (self.buffer.len() - before) as u64;
        (self.mark.next, self.mark.last) = (self.mark.next + 1, place);
        open.note(at);
        if self.buffer.len() >= WRITE { self.write() } else { Ok(()) }
    }

    /// Hands all frames to the kernel: readers see them.
    pub(super) fn write(&mut self) -> Result<(), StoreError> {
        let Some(open) = self.open.as_mut().filter(|_| !self.buffer.is_empty()) else {
            return Ok(());
        };
        self.disk.write_at(&open.file, &open.path, &self.buffer, open.end)?;
        open.end += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes everything durable.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.write()?;
        if self.synced == self.mark {
            return Ok(());
        }
        if let Some(open) = &self.open {
            self.disk.sync(&open.file, &open.path)?;
            check_linked(&open.file, &open.path)?;
        }
        if std::mem::take(&mut self.named) {
            self.disk.sync_dir(&self.options.dir).inspect_err(|_| self.named = true)?;
        }
        self.synced = self.mark;
        Ok(())
    }

    /// After an error: goes back to what was synced. The pages of a failed sync are not trusted.
    pub(super) fn go_back(&mut self) -> Result<(), StoreError> {
        self.buffer.clear();
        let (first, end) = self.synced.segment;
        if let Some(open) = self.open.take()
            && open.first != first
        {
            self.disk.remove(&open.path)?;
        }
        self.mark = self.synced;
        if first == 0 {
            return Ok(());
        }
        let path = segment::path_of(&self.options.dir, first);
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(failed("open", &path))?;
        self.disk.resize(&file, &path, end)?;
        let times = (Timestamp::NEVER, Timestamp(0));
        let mut open = Open { path, file, first, end: STAMP, begun: None, times };
        open.scan()?;
        self.open = Some(open);
        Ok(())
    }

    /// Begins another segment when there is none, or this one is large or old enough.
    fn rotate_if_due(&mut self, at: Timestamp, seq: u64) -> Result<(), StoreError> {
        let age = Span(self.options.keep.0 / AGE_PARTS);
        let is_full = self.mark.segment.1 >= self.options.segment_bytes.max(STAMP + 1);
        let is_old = |open: &Open| open.begun.is_some_and(|begun| at > begun + age);
        let is_due = self.open.as_ref().is_none_or(|open| is_full || is_old(open));
        if is_due { self.rotate(seq) } else { Ok(()) }
    }

    /// Ends the segment, durably, and begins another.
    fn rotate(&mut self, seq: u64) -> Result<(), StoreError> {
        self.sync()?;
        let before = self.open.as_ref().map_or((Timestamp(0), Timestamp(0)), |open| open.times);
        let first = self.mark.next;
        let path = segment::path_of(&self.options.dir, first);
        let file = self.disk.create(&path)?;
        let stamp = Stamp { first, seq, before };
        self.named = true;
        let written = self.disk.write_at(&file, &path, &stamp.to_bytes(), 0);
        let times = (Timestamp::NEVER, Timestamp(0));
        self.open = Some(Open { path, file, first, end: STAMP, begun: None, times });
        self.mark.segment = (first, STAMP);
        written?;
        self.keep_to_size()
    }

    /// Drops whole segments, oldest first, while there are too many bytes.
    fn keep_to_size(&self) -> Result<(), StoreError> {
        let segments = segment::list(&self.options.dir)?;
        let size = |named: &Named| std::fs::metadata(&named.path).map_or(0, |meta| meta.len());
        let mut total: u64 = segments.iter().map(size).sum();
        for old in segments.split_last().map_or(&[][..], |(_, old)| old) {
            if total <= self.options.max_bytes {
                break;
            }
            total -= size(old);
            self.disk.remove(&old.path)?;
        }
        Ok(())
    }

    /// Drops segments whose last record is too old at `now`.
    pub(super) fn prune(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let keep = self.options.keep;
        let is_over = |latest: Timestamp| latest.0 != 0 && latest + keep < now;
        if self.open.as_ref().is_some_and(|open| open.begun.is_some() && is_over(open.times.1)) {
            self.rotate(self.mark.last.seq + 1)?;
            self.sync()?;
        }
        let segments = segment::list(&self.options.dir)?;
        for pair in segments.windows(2) {
            let [old, next] = pair else { break };
            let file = File::open(&next.path).map_err(failed("open", &next.path))?;
            match Stamp::of(&file, &next.path)? {
                Some(stamp) if is_over(stamp.before.1) => self.disk.remove(&old.path)?,
                _ => break,
            }
        }
        Ok(())
    }
}

/// Drops the oldest segment but never the newest; whether there was one.
pub(super) fn drop_oldest(disk: &Disk, options: &ArchiveOptions) -> bool {
    let segments = segment::list(&options.dir).unwrap_or_default();
    let oldest = segments.first().filter(|_| segments.len() > 1);
    oldest.is_some_and(|oldest| disk.remove(&oldest.path).is_ok())
}

impl Open {
    fn note(&mut self, at: Timestamp) {
        self.begun.get_or_insert(at);
        self.times = (self.times.0.min(at), self.times.1.max(at));
    }

    /// Reads all whole frames from its start: how many, and the last one's place.
    fn scan(&mut self) -> Result<(u64, Option<Place>), StoreError> {
        let (mut count, mut last) = (0, None);
        let mut window = vec![0; WRITE];
        loop {
            let got =
                read_some(&self.file, &mut window, self.end).map_err(failed("read", &self.path))?;
            let mut rest = window.get(..got).unwrap_or_default();
            let before = self.end;
            while let Some((frame, length)) = Frame::decode(rest) {
                if u64::from(frame.ordinal) != count {
                    return Ok((count, last));
                }
                let at = record::decode(frame.record).map_or(Timestamp(0), |c| time_of(&c));
                last = Some(Place { seq: frame.seq, index: frame.index });
                self.note(at);
                count += 1;
                self.end += length as u64;
                rest = rest.get(length..).unwrap_or_default();
            }
            if self.end == before {
                return Ok((count, last));
            }
        }
    }

    /// Cuts off what follows the last whole frame.
    fn cut(&self, disk: &Disk) -> Result<(), StoreError> {
        let length = self.file.metadata().map_err(failed("read the length of", &self.path))?.len();
        if length > self.end { disk.resize(&self.file, &self.path, self.end) } else { Ok(()) }
    }
}

/// The place of the last record of a segment.
fn last_of(named: Option<&Named>) -> Result<Option<Place>, StoreError> {
    let Some(Named { first, path }) = named else { return Ok(None) };
    let file = File::open(path).map_err(failed("open", path))?;
    let times = (Timestamp::NEVER, Timestamp(0));
    let (path, first) = (path.clone(), *first);
    let mut open = Open { path, file, first, end: STAMP, begun: None, times };
    Ok(open.scan()?.1)
}

/// Reads until the buffer or the file ends.
pub(super) fn read_some(file: &File, into: &mut [u8], at: u64) -> std::io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = into.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}
