//! Which segments there are. A name says what is in it: resolution, start, length, number.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::{Span, Timestamp};

use super::error::{FileError, failed};
use super::model::{DAY, HOUR, Resolution, floor};

/// What a segment's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId {
    pub(super) resolution: Resolution,
    pub(super) start: Timestamp,
    /// An hour or a day.
    pub(super) length: Span,
    /// Of several of the same stretch, what is in a higher one came later.
    pub(super) number: u64,
}

impl FileId {
    /// The first moment after it.
    pub(super) fn end(&self) -> Timestamp {
        self.start + self.length
    }

    fn name(&self) -> String {
        let (start, length) = (self.start.secs(), self.length.0 / 1000);
        format!("{}-{start}-{length}-{}.seg", self.resolution.name(), self.number)
    }

    fn parse(name: &str) -> Option<FileId> {
        let mut parts = name.strip_suffix(".seg")?.split('-');
        let resolution = Resolution::named(parts.next()?)?;
        let start = Timestamp::from_secs(parts.next()?.parse().ok()?);
        let length = Span::from_secs(parts.next()?.parse().ok()?);
        let number = parts.next()?.parse().ok()?;
        let fits = matches!(length, HOUR | DAY) && floor(start, length) == start;
        (fits && parts.next().is_none()).then_some(FileId { resolution, start, length, number })
    }
}

/// The segments in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    dir: PathBuf,
    /// With their size in bytes.
    list: BTreeMap<FileId, u64>,
    bytes: u64,
}

impl Files {
    /// Those in `dir`.
    pub(super) fn list(dir: &Path) -> Result<Files, FileError> {
        let mut files = Files { dir: dir.to_owned(), ..Files::default() };
        for entry in std::fs::read_dir(dir).map_err(failed("read", dir))? {
            let entry = entry.map_err(failed("read", dir))?;
            let Some(id) = entry.file_name().to_str().and_then(FileId::parse) else { continue };
            let bytes =
                entry.metadata().map_err(failed("read the length of", &entry.path()))?.len();
            files.add(id, bytes);
        }
        Ok(files)
    }

    /// Takes note of one.
    pub(super) fn add(&mut self, id: FileId, bytes: u64) {
        self.bytes += bytes;
        self.bytes -= self.list.insert(id, bytes).unwrap_or_default();
    }

    /// Forgets one.
    pub(super) fn forget(&mut self, id: &FileId) {
        self.bytes -= self.list.remove(id).unwrap_or_default();
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All, by resolution and time.
    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = &FileId> {
        self.list.keys()
    }

    /// Where one is.
    pub(super) fn path(&self, id: &FileId) -> PathBuf {
        self.dir.join(id.name())
    }

    /// A number that none has.
    pub(super) fn next_number(&self) -> u64 {
        self.list.keys().map(|id| id.number).max().unwrap_or_default() + 1
    }

    /// Those of one resolution and length that begin at `start`, oldest first.
    pub(super) fn of(
        &self,
        resolution: Resolution,
        start: Timestamp,
        length: Span,
    ) -> impl DoubleEndedIterator<Item = FileId> + '_ {
        let id = |number| FileId { resolution, start, length, number };
        self.list.range(id(0)..=id(u64::MAX)).map(|(id, _)| *id)
    }

    /// The segment that has all of `resolution` at `time`; the one of the day, if there is one.
    pub(super) fn covering(&self, resolution: Resolution, time: Timestamp) -> Option<FileId> {
        let newest = |length| self.of(resolution, floor(time, length), length).next_back();
        newest(DAY).or_else(|| newest(HOUR))
    }

    /// The first moment of which anything is left in `resolution` or finer.
    pub(super) fn earliest(&self) -> Option<Timestamp> {
        self.list.keys().map(|id| id.start).min()
    }

    /// Up to when hours are over and downsampled: nothing before it is taken any more.
    pub(super) fn closed_until(&self) -> Timestamp {
        let coarse = self.list.keys().filter(|id| id.resolution != Resolution::Raw);
        coarse.map(FileId::end).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_inside() {
        let start = Timestamp::from_secs(1_800_000_000);
        let id = FileId { resolution: Resolution::Raw, start, length: HOUR, number: 7 };
        assert_eq!(id.name(), "raw-1800000000-3600-7.seg");
        assert_eq!(FileId::parse(&id.name()), Some(id));
        for foreign in ["raw-1-3600-7.seg", "x.seg", "raw-0-3600-7-1.seg", "raw-0-60-7.seg", "a"] {
            assert_eq!(FileId::parse(foreign), None, "{foreign}");
        }
    }
}
