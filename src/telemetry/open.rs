//! From what is on disk to what is in memory. Nothing that is found there keeps telemetry from
//! starting, but a disk that refuses: what is damaged is set aside.

use super::error::{FileError, failed};
use super::files::Files;
use super::journal::{self, End, Item};
use super::model::{DAY, HOUR, Resolution, floor};
use super::segment::Segment;
use super::shared::Shared;
use super::{snapshot, writer};

/// What is to go on with.
pub(super) struct Opened {
    /// The number of the next journal.
    pub(super) next_journal: u64,
}

/// Reads everything into the state of `shared`.
pub(super) fn open(shared: &Shared) -> Result<Opened, FileError> {
    let dir = &shared.dir;
    std::fs::create_dir_all(dir).map_err(failed("create", dir))?;
    remove_unfinished(shared)?;
    let (catalogue, events) = snapshot::read(dir).or_else(|error| match error {
        FileError::Damaged { ref path, .. } => {
            shared.set_file_aside(path, &error.to_string());
            Ok(Default::default())
        }
        other => Err(other),
    })?;
    let files = Files::list(dir)?;
    {
        let mut state = shared.state();
        state.latest = catalogue.latest();
        (state.catalogue, state.events) = (catalogue, events);
        state.closed_until = files.closed_until();
        state.files = files;
    }
    check_files(shared);
    remove_superseded(shared)?;
    let journals = journal::list(dir)?;
    for (_, path) in &journals {
        let bytes = std::fs::read(path).map_err(failed("read", path))?;
        let end = replay(shared, &bytes);
        match end {
            End::Clean => {}
            End::Torn(at) => {
                let path = path.display();
                tracing::warn!(%path, at, "telemetry: its last frame is incomplete; never acknowledged");
            }
            End::Damaged(at) => {
                let why =
                    format!("{} is damaged at byte {at}: what follows is lost", path.display());
                // It has been read as far as it can be; the next snapshot and segments have that.
                let kept = dir.join("damaged");
                let name = path.file_name().unwrap_or_default();
                let copied = std::fs::create_dir_all(&kept)
                    .and_then(|()| std::fs::copy(path, kept.join(name)).map(drop));
                let copied = copied.map_or_else(|e| format!("not kept: {e}"), |()| "kept".into());
                tracing::error!("telemetry: {why}; {copied} in {}", kept.display());
                shared.state().damaged.push(why);
            }
        }
        shared.state().journal_bytes += bytes.len() as u64;
    }
    Ok(Opened { next_journal: journals.last().map_or(1, |(number, _)| number + 1) })
}

fn replay(shared: &Shared, bytes: &[u8]) -> End {
    let now = (shared.now)();
    let mut state = shared.state();
    let closed_until = state.closed_until;
    journal::replay(bytes, &mut |item| match item {
        Item::Report(mut report) => {
            state.catalogue.note(&report);
            // It is in its segments already: the journal was not removed in time.
            if report.time < closed_until {
                report.values.clear();
            }
            writer::apply(&mut state, Item::Report(report), now);
        }
        item => writer::apply(&mut state, item, now),
    })
}

/// Files that were being written when the server was cut off.
fn remove_unfinished(shared: &Shared) -> Result<(), FileError> {
    let dir = &shared.dir;
    for entry in std::fs::read_dir(dir).map_err(failed("read", dir))? {
        let path = entry.map_err(failed("read", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            std::fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
    }
    Ok(())
}

/// Sets aside what is no segment.
fn check_files(shared: &Shared) {
    let files = shared.state().files.clone();
    for id in files.all() {
        match Segment::open(&files.path(id)) {
            Ok(_) => {}
            Err(error @ FileError::Damaged { .. }) => shared.set_aside(id, &error),
            // It is tried again by whoever reads it.
            Err(error) => tracing::warn!("telemetry: {error}"),
        }
    }
}

/// Downsampled hours whose day is there, and what was merged but not removed in time.
fn remove_superseded(shared: &Shared) -> Result<(), FileError> {
    let mut state = shared.state();
    let files = state.files.clone();
    for id in files.all().filter(|id| id.resolution != Resolution::Raw) {
        let newest = files.of(id.resolution, id.start, id.length).next_back();
        let has_day = id.length == HOUR
            && files.of(id.resolution, floor(id.start, DAY), DAY).next().is_some();
        if has_day || newest.is_some_and(|newest| newest != *id) {
            let path = files.path(id);
            std::fs::remove_file(&path).map_err(failed("remove", &path))?;
            state.files.forget(id);
        }
    }
    Ok(())
}
