//! What was acknowledged and is in no segment yet: one file, frames appended, one sync for each.
//!
//! ```text
//! file  := magic:8 padding frame*                      (the magic has the first 512 bytes)
//! frame := length:u32 crc:u32 item* padding            (begins at a multiple of 512 bytes)
//! item  := 1 instance:text time:u64 count:u32 (metric:text value:f64)* about:bytes
//!        | 2 event:bytes | 3 id:u64
//! ```
//!
//! A frame is there whole or not at all. The file grows by zeros, a mebibyte at a time, so that a
//! sync has nothing but data to write, and does not wait for what others do to the file system.
//! Frames begin at sectors, so that writing one never touches another.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::codec::{Reader, Unreadable, put_bytes, put_count, put_text};
use super::error::{FileError, failed, sync_dir};
use super::event::{Event, EventId};
use super::line::Report;
use super::model::InstanceRecord;
use crate::base::Timestamp;

const MAGIC: [u8; 8] = *b"fsTelJ\x01\n";
const ALIGN: usize = 512;
const STEP: u64 = 1 << 20;
const HEAD: usize = 8;

/// One thing that was said.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// Of an instance.
    Report(Report),
    /// An event.
    Event(Event),
    /// An event was taken back.
    Forget(EventId),
}

/// A journal that is being written.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    end: u64,
    length: u64,
}

/// The path of journal `number`.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("journal-{number}"))
}

/// The journals in `dir`, oldest first.
pub(super) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, FileError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed("read", dir))? {
        let entry = entry.map_err(failed("read", dir))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("journal-")?.parse().ok());
        found.extend(number.map(|number| (number, entry.path())));
    }
    found.sort();
    Ok(found)
}

impl Journal {
    /// A new one, durable with its name.
    pub(super) fn create(dir: &Path, number: u64) -> Result<Journal, FileError> {
        let path = path(dir, number);
        let file = File::create_new(&path).map_err(failed("create", &path))?;
        let mut journal = Journal { path, file, end: 0, length: 0 };
        journal.grow(STEP)?;
        journal.write(&MAGIC)?;
        journal.end = ALIGN as u64;
        sync_dir(dir)?;
        Ok(journal)
    }

    /// Appends `items` as one frame and syncs. After an error the file is not to be written again.
    pub(super) fn append(&mut self, items: &[u8]) -> Result<(), FileError> {
        let too_large = |_| failed("write", &self.path)(std::io::ErrorKind::FileTooLarge.into());
        let length = u32::try_from(items.len()).map_err(too_large)?;
        let mut frame = length.to_le_bytes().to_vec();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&frame), items);
        frame.extend_from_slice(&crc.to_le_bytes());
        frame.extend_from_slice(items);
        frame.resize(frame.len().next_multiple_of(ALIGN), 0);
        self.grow(self.end + frame.len() as u64)?;
        self.write(&frame)?;
        self.end += frame.len() as u64;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all_at(bytes, self.end).map_err(failed("write", &self.path))?;
        self.file.sync_data().map_err(failed("sync", &self.path))
    }

    /// Makes the file reach `end`, durably before any frame does.
    fn grow(&mut self, end: u64) -> Result<(), FileError> {
        if self.length >= end {
            return Ok(());
        }
        let zeros = vec![0; STEP as usize];
        while self.length < end {
            self.file.write_all_at(&zeros, self.length).map_err(failed("write", &self.path))?;
            self.length += STEP;
        }
        self.file.sync_all().map_err(failed("sync", &self.path))
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.length
    }
}

/// How reading a journal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// After its last frame.
    Clean,
    /// Before a frame that is not whole, as a power cut leaves it: at this byte.
    Torn(u64),
    /// Before bytes that no power cut explains, since whole frames follow: at this byte.
    Damaged(u64),
}

/// Hands every item of a journal to `each`, up to where it can be read.
pub(super) fn replay(bytes: &[u8], each: &mut dyn FnMut(Item)) -> End {
    if bytes.get(..MAGIC.len()) != Some(&MAGIC) {
        // Cut off while it was made: nothing was acknowledged from it.
        return if bytes.iter().all(|byte| *byte == 0) { End::Clean } else { End::Damaged(0) };
    }
    let mut at = ALIGN;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(items) = frame(rest).filter(|items| is_readable(items)) else {
            let whole = |from: usize| bytes.get(from..).is_some_and(|b| frame(b).is_some());
            return match rest {
                _ if (at..bytes.len()).step_by(ALIGN).skip(1).any(whole) => End::Damaged(at as u64),
                _ if rest.iter().all(|byte| *byte == 0) => End::Clean,
                _ => End::Torn(at as u64),
            };
        };
        let mut reader = Reader { rest: items };
        while let Ok(Some(item)) = read_item(&mut reader) {
            each(item);
        }
        at += (HEAD + items.len()).next_multiple_of(ALIGN);
    }
    End::Clean
}

/// The items of the frame at the beginning of `bytes`, if it is whole.
fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader { rest: bytes };
    let (length, crc) = (reader.u32().ok()?, reader.u32().ok()?);
    let items = reader.take(length as usize).ok()?;
    let sum = crc32c::crc32c_append(crc32c::crc32c(&length.to_le_bytes()), items);
    (length > 0 && sum == crc).then_some(items)
}

fn is_readable(items: &[u8]) -> bool {
    let mut reader = Reader { rest: items };
    loop {
        match read_item(&mut reader) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(Unreadable) => return false,
        }
    }
}

const REPORT: u8 = 1;
const EVENT: u8 = 2;
const FORGET: u8 = 3;

/// Adds an item to a frame.
pub(super) fn put_item(item: &Item, out: &mut Vec<u8>) {
    match item {
        Item::Report(report) => {
            out.push(REPORT);
            put_text(&report.instance, out);
            out.extend_from_slice(&report.time.0.to_le_bytes());
            put_count(report.values.len(), out);
            for (metric, value) in &report.values {
                put_text(metric, out);
                out.extend_from_slice(&value.to_bits().to_le_bytes());
            }
            let about = match report.about.is_empty() {
                true => Vec::new(),
                false => json(&report.about),
            };
            put_bytes(&about, out);
        }
        Item::Event(event) => {
            out.push(EVENT);
            put_bytes(&json(event), out);
        }
        Item::Forget(id) => {
            out.push(FORGET);
            out.extend_from_slice(&id.0.to_le_bytes());
        }
    }
}

/// Records of ours are texts and finite numbers, which JSON always has a form for.
fn json(record: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(record).unwrap_or_default()
}

fn read_item(reader: &mut Reader<'_>) -> Result<Option<Item>, Unreadable> {
    if reader.rest.is_empty() {
        return Ok(None);
    }
    Ok(Some(match reader.u8()? {
        REPORT => {
            let (instance, time) = (reader.text()?, Timestamp(reader.u64()?));
            let count = reader.count(9)?;
            let value = |_| Ok((reader.text()?, reader.f64()?));
            let values = (0..count).map(value).collect::<Result<_, Unreadable>>()?;
            let about = match reader.bytes()? {
                [] => InstanceRecord::default(),
                json => serde_json::from_slice(json).map_err(|_| Unreadable)?,
            };
            Item::Report(Report { instance, time, values, about })
        }
        EVENT => Item::Event(serde_json::from_slice(reader.bytes()?).map_err(|_| Unreadable)?),
        FORGET => Item::Forget(EventId(reader.u64()?)),
        _ => return Err(Unreadable),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::shared::tests::Dir;

    fn report(n: u64) -> Item {
        let about = InstanceRecord { kind: Some("m5".into()), ..Default::default() };
        Item::Report(Report {
            instance: format!("vm-{n}").into(),
            time: Timestamp(n),
            values: vec![("cpu".into(), n as f64 / 3.0), ("load".into(), -1.0)],
            about: if n.is_multiple_of(2) { about } else { InstanceRecord::default() },
        })
    }

    fn written(dir: &Dir, frames: u64) -> Vec<u8> {
        let mut journal = Journal::create(dir.path(), 1).unwrap();
        for n in 0..frames {
            let mut items = Vec::new();
            put_item(&report(n), &mut items);
            put_item(&Item::Forget(EventId(n)), &mut items);
            journal.append(&items).unwrap();
        }
        std::fs::read(path(dir.path(), 1)).unwrap()
    }

    fn read(bytes: &[u8]) -> (Vec<Item>, End) {
        let mut items = Vec::new();
        let end = replay(bytes, &mut |item| items.push(item));
        (items, end)
    }

    #[test]
    fn what_was_appended_is_read_again() {
        let dir = Dir::new("journal");
        let bytes = written(&dir, 3);
        let want: Vec<Item> = (0..3).flat_map(|n| [report(n), Item::Forget(EventId(n))]).collect();
        assert_eq!(read(&bytes), (want, End::Clean));
        assert_eq!(list(dir.path()).unwrap(), [(1, path(dir.path(), 1))]);
    }

    #[test]
    fn a_torn_end_is_told_from_damage() {
        let dir = Dir::new("journal-torn");
        let bytes = written(&dir, 3);
        let mut torn = bytes.clone();
        torn[512 * 3 + 20] ^= 1;
        let (items, end) = read(&torn);
        assert_eq!((items.len(), end), (4, End::Torn(512 * 3)));
        let mut damaged = bytes.clone();
        damaged[512 * 2 + 20] ^= 1;
        let (items, end) = read(&damaged);
        assert_eq!((items.len(), end), (2, End::Damaged(512 * 2)));
        for cut in 0..2048 {
            let (items, _) = read(&bytes[..cut]);
            assert!(items.len() <= 6);
        }
        assert_eq!(read(&[]).1, End::Clean);
        assert_eq!(read(b"something else").1, End::Damaged(0));
    }
}
