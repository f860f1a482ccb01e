//! What is known of instances and events, as one file that is replaced whole.
//!
//! It is written before the journals that say the same are let go. Lines of JSON, the last one
//! with the number of lines and their checksum.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::catalogue::{Catalogue, Known};
use super::error::{FileError, failed, sync_dir};
use super::event::Event;
use super::events::Events;

const NAME: &str = "known";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// The first: the format, and the highest number of an event.
    Head { version: u32, last_event: u64 },
    /// An instance by name.
    Instance(Arc<str>, Known),
    /// An event.
    Event(Event),
    /// The last: how many lines before it, and their CRC-32C.
    End { lines: u64, crc: u32 },
}

/// All of it as it is now, to be written without holding anything up.
pub(super) fn encode(catalogue: &Catalogue, events: &Events) -> Vec<u8> {
    let mut out = Vec::new();
    let mut lines = 0;
    let mut put = |line: &Line| {
        // Names, numbers and finite values, which JSON always has a form for.
        let written = serde_json::to_writer(&mut out, line);
        debug_assert!(written.is_ok(), "{written:?}");
        out.push(b'\n');
        lines += 1;
    };
    put(&Line::Head { version: VERSION, last_event: events.last() });
    for (name, known) in catalogue.instances() {
        put(&Line::Instance(name.clone(), known.clone()));
    }
    events.all().for_each(|event| put(&Line::Event(event.clone())));
    let end = Line::End { lines, crc: crc32c::crc32c(&out) };
    let _ = serde_json::to_writer(&mut out, &end);
    out.push(b'\n');
    out
}

/// Puts `bytes` in place of the file in `dir`, durably.
pub(super) fn write(dir: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let (to, beside) = (dir.join(NAME), dir.join(NAME).with_extension("new"));
    let mut file = std::fs::File::create(&beside).map_err(failed("create", &beside))?;
    file.write_all(bytes).map_err(failed("write", &beside))?;
    file.sync_all().map_err(failed("sync", &beside))?;
    std::fs::rename(&beside, &to).map_err(failed("rename", &to))?;
    sync_dir(dir)
}

/// What the file in `dir` says; nothing if there is none.
pub(super) fn read(dir: &Path) -> Result<(Catalogue, Events), FileError> {
    let path = dir.join(NAME);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Default::default());
        }
        other => other.map_err(failed("read", &path))?,
    };
    decode(&bytes).map_err(|why| FileError::Damaged { path, why })
}

/// Back from [`encode`].
fn decode(bytes: &[u8]) -> Result<(Catalogue, Events), &'static str> {
    let body = bytes.strip_suffix(b"\n").ok_or("its end is missing")?;
    let at = body.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (body, end) = body.split_at_checked(at).ok_or("its end is missing")?;
    match serde_json::from_slice(end) {
        Ok(Line::End { crc, .. }) if crc == crc32c::crc32c(body) => {}
        _ => return Err("it does not fit its checksum"),
    }
    let (mut catalogue, mut events) = (Catalogue::default(), Events::default());
    for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line).map_err(|_| "a line of it cannot be read")? {
            Line::Head { version: VERSION, last_event } => events.restore_last(last_event),
            Line::Head { .. } => return Err("it is of a newer version"),
            Line::Instance(name, known) => catalogue.restore(name, known),
            Line::Event(event) => events.add(event),
            Line::End { .. } => return Err("it ends twice"),
        }
    }
    Ok((catalogue, events))
}
