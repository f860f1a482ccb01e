//! The compactor's thread: from the head to segments, from points to buckets, and what is too old
//! or too much away. One step at a time, each bounded by what one hour or day holds; it rests for
//! as long as each mebibyte took to write.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::base::{Span, Timestamp};
use crate::config::policy::TelemetryPolicy;

use super::catalogue::SERIES_AGE;
use super::error::{FileError, failed, sync_dir};
use super::files::FileId;
use super::head::Head;
use super::journal;
use super::merge::{Merge, settle};
use super::model::{Bucket, DAY, HOUR, Resolution, downsample, floor};
use super::segment::{Segment, Writer};
use super::shared::Shared;
use super::snapshot;
use super::writer::lower_priority;

/// How often to look whether an hour or a day is over.
const TICK: Duration = Duration::from_secs(5);
/// How long to wait after the disk refused.
const AFTER_ERROR: Duration = Duration::from_secs(10);

/// Runs until the other end of `woken` is gone.
pub(super) fn run(shared: &Shared, woken: &Receiver<()>) {
    lower_priority();
    let mut wait = Duration::ZERO;
    loop {
        match woken.recv_timeout(wait) {
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
        }
        wait = match step(shared) {
            Ok(true) => Duration::ZERO,
            Ok(false) => TICK,
            Err(error) => {
                tracing::warn!("telemetry: {error}");
                AFTER_ERROR
            }
        };
        if shared.is_stopping() {
            return;
        }
    }
}

/// Does the most urgent thing; whether there may be more.
pub(super) fn step(shared: &Shared) -> Result<bool, FileError> {
    Ok(flush(shared)? || trim(shared)? || close_hour(shared)? || close_day(shared)?)
}

/// A pause after each step that reached the disk, as long as the step: half of the disk's time is
/// left to others. `false` when the server stops.
fn pause(shared: &Shared) -> impl FnMut() -> bool + '_ {
    let mut since = Instant::now();
    move || {
        std::thread::sleep(since.elapsed().min(Duration::from_secs(1)));
        since = Instant::now();
        !shared.is_stopping()
    }
}

/// Segments that were written, to be taken note of together.
struct Written<'a> {
    shared: &'a Shared,
    ids: Vec<(FileId, u64)>,
}

impl<'a> Written<'a> {
    fn none(shared: &'a Shared) -> Written<'a> {
        Written { shared, ids: Vec::new() }
    }

    /// A name for a segment that comes after all others.
    fn name(&self, resolution: Resolution, start: Timestamp, length: Span) -> (FileId, PathBuf) {
        let state = self.shared.state();
        let id = FileId { resolution, start, length, number: state.files.next_number() };
        (id, state.files.path(&id))
    }

    fn add(&mut self, id: FileId, path: &Path) -> Result<(), FileError> {
        let bytes = std::fs::metadata(path).map_err(failed("read the length of", path))?.len();
        self.ids.push((id, bytes));
        Ok(())
    }

    /// From now on these are read, and not those of `old`, which are removed.
    fn replace(self, old: &[FileId]) -> Result<(), FileError> {
        let paths: Vec<PathBuf> = {
            let mut state = self.shared.state();
            self.ids.iter().for_each(|(id, bytes)| state.files.add(*id, *bytes));
            old.iter().for_each(|id| state.files.forget(id));
            old.iter().map(|id| state.files.path(id)).collect()
        };
        for path in &paths {
            std::fs::remove_file(path).map_err(failed("remove", path))?;
        }
        if paths.is_empty() { Ok(()) } else { sync_dir(&self.shared.dir) }
    }
}

/// Writes the frozen head to segments, and lets its journals go.
fn flush(shared: &Shared) -> Result<bool, FileError> {
    let Some(frozen) = shared.state().frozen.clone() else { return Ok(false) };
    let mut written = Written::none(shared);
    for hour in frozen.hours() {
        let (id, path) = written.name(Resolution::Raw, hour, HOUR);
        if !write_hour(shared, &frozen, id, &path)? {
            return Ok(false);
        }
        written.add(id, &path)?;
    }
    let known = {
        let mut state = shared.state();
        let now = state.data_time((shared.now)());
        state.catalogue.forget_before(now - SERIES_AGE);
        state.events.forget_before(now - shared.policy().hourly);
        snapshot::encode(&state.catalogue, &state.events)
    };
    snapshot::write(&shared.dir, &known)?;
    let last = {
        let mut state = shared.state();
        written.ids.drain(..).for_each(|(id, bytes)| state.files.add(id, bytes));
        state.frozen = None;
        state.frozen_journal
    };
    for (number, path) in journal::list(&shared.dir)? {
        if number <= last {
            let bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
            std::fs::remove_file(&path).map_err(failed("remove", &path))?;
            let mut state = shared.state();
            state.journal_bytes = state.journal_bytes.saturating_sub(bytes);
        }
    }
    Ok(true)
}

/// One hour of the head; `false` if the server stops meanwhile.
fn write_hour(shared: &Shared, head: &Head, id: FileId, path: &Path) -> Result<bool, FileError> {
    let mut pause = pause(shared);
    let mut writer = Writer::create(path, Resolution::Raw, &mut pause)?;
    for key in head.series() {
        let points = settle(head.read(key, id.start, id.end()));
        if !points.is_empty() && !writer.push(key, &points)? {
            return Ok(false);
        }
    }
    writer.finish().map(|()| true)
}

/// Hours with points that are not downsampled yet and to which nothing can be added any more.
fn close_hour(shared: &Shared) -> Result<bool, FileError> {
    let (hour, sources) = {
        let mut state = shared.state();
        let policy = shared.policy();
        let over = state.data_time((shared.now)()) - Span(policy.past.0 + policy.future.0);
        let open = state.files.all().filter(|id| id.resolution == Resolution::Raw);
        let open =
            open.filter(|id| state.files.covering(Resolution::FiveMinutes, id.start).is_none());
        let Some(hour) = open.map(|id| id.start).next().filter(|hour| *hour + HOUR <= over) else {
            return Ok(false);
        };
        let end = hour + HOUR;
        let frozen = state.frozen.as_ref().map_or(Timestamp::NEVER, |frozen| frozen.earliest());
        if frozen.min(state.in_flight) < end {
            return Ok(false);
        }
        if state.head.earliest() < end {
            state.freeze = true;
            return Ok(false);
        }
        state.closed_until = state.closed_until.max(end);
        (hour, state.files.of(Resolution::Raw, hour, HOUR).collect::<Vec<FileId>>())
    };
    let Some(segments) = open_all(shared, &sources)? else { return Ok(true) };
    let mut written = Written::none(shared);
    let merged = merge_hour(shared, &segments, sources.len() > 1, hour, &mut written);
    match merged {
        Ok(true) if sources.len() > 1 => written.replace(&sources).map(|()| true),
        Ok(true) => written.replace(&[]).map(|()| true),
        Ok(false) => Ok(false),
        Err(error) => set_aside(shared, &sources, error),
    }
}

/// Several segments of one hour as one, if `raw`, and its buckets of five minutes.
fn merge_hour(
    shared: &Shared,
    segments: &[Segment],
    raw: bool,
    hour: Timestamp,
    written: &mut Written<'_>,
) -> Result<bool, FileError> {
    let width = Resolution::FiveMinutes.width();
    let stretch = (hour, HOUR);
    let merged = match raw {
        true => rewrite(shared, segments, Resolution::Raw, stretch, written, settle)?,
        false => true,
    };
    let coarse = |points: Vec<Bucket>| downsample(settle(points), width);
    Ok(merged && rewrite(shared, segments, Resolution::FiveMinutes, stretch, written, coarse)?)
}

/// The downsampled hours of a day that is over as one segment, and its hours.
fn close_day(shared: &Shared) -> Result<bool, FileError> {
    let (day, sources) = {
        let state = shared.state();
        let policy = shared.policy();
        let over = state.data_time((shared.now)()) - Span(policy.past.0 + policy.future.0);
        let is_hour = |id: &&FileId| id.resolution == Resolution::FiveMinutes && id.length == HOUR;
        let first = state.files.all().find(is_hour).map(|id| floor(id.start, DAY));
        let Some(day) = first.filter(|day| *day + DAY <= over) else { return Ok(false) };
        let hours = (0..24).map(|hour| Timestamp(day.0 + hour * HOUR.0));
        let newest = |hour| state.files.of(Resolution::FiveMinutes, hour, HOUR).next_back();
        (day, hours.filter_map(newest).collect::<Vec<FileId>>())
    };
    let Some(segments) = open_all(shared, &sources)? else { return Ok(true) };
    let mut written = Written::none(shared);
    let (stretch, hourly) = ((day, DAY), |fine: Vec<Bucket>| downsample(fine, HOUR));
    // The coarser one first: once the finer one is there, its hours are gone.
    let done = rewrite(shared, &segments, Resolution::Hour, stretch, &mut written, hourly);
    let done = match done {
        Ok(true) => {
            let same = |fine| fine;
            rewrite(shared, &segments, Resolution::FiveMinutes, stretch, &mut written, same)
        }
        other => other,
    };
    match done {
        Ok(true) => written.replace(&sources).map(|()| true),
        Ok(false) => Ok(false),
        Err(error) => set_aside(shared, &sources, error),
    }
}

/// One segment of all that `segments` have, each series as `change` makes it; `false` if the
/// server stops meanwhile.
fn rewrite(
    shared: &Shared,
    segments: &[Segment],
    resolution: Resolution,
    (start, length): (Timestamp, Span),
    written: &mut Written<'_>,
    change: impl Fn(Vec<Bucket>) -> Vec<Bucket>,
) -> Result<bool, FileError> {
    let (id, path) = written.name(resolution, start, length);
    let mut merge = Merge::of(segments)?;
    let mut pause = pause(shared);
    let mut writer = Writer::create(&path, resolution, &mut pause)?;
    while let Some((key, buckets)) = merge.next()? {
        if !writer.push(&key, &change(buckets))? {
            return Ok(false);
        }
    }
    writer.finish()?;
    written.add(id, &path)?;
    Ok(true)
}

/// All of them, or none if one was damaged and is set aside now.
fn open_all(shared: &Shared, ids: &[FileId]) -> Result<Option<Vec<Segment>>, FileError> {
    let mut segments = Vec::new();
    for id in ids {
        let path = shared.state().files.path(id);
        match Segment::open(&path) {
            Ok(segment) => segments.push(segment),
            Err(error @ FileError::Damaged { .. }) => {
                shared.set_aside(id, &error);
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(segments))
}

/// Sets aside the one of `sources` that `error` is about.
fn set_aside(shared: &Shared, sources: &[FileId], error: FileError) -> Result<bool, FileError> {
    let FileError::Damaged { path, .. } = &error else { return Err(error) };
    let of = |id: &&FileId| shared.state().files.path(id) == *path;
    match sources.iter().find(of) {
        Some(id) => {
            shared.set_aside(id, &error);
            Ok(true)
        }
        None => Err(error),
    }
}

/// How long a resolution is kept.
fn retention(policy: &TelemetryPolicy, resolution: Resolution) -> Span {
    match resolution {
        Resolution::Raw => policy.raw,
        Resolution::FiveMinutes => policy.five_minutes,
        Resolution::Hour => policy.hourly,
    }
}

/// Removes one segment that is too old; or, while all together are too large, the one that is
/// nearest to its end.
fn trim(shared: &Shared) -> Result<bool, FileError> {
    let policy = shared.policy();
    let mut state = shared.state();
    let now = state.data_time((shared.now)());
    let large = state.files.bytes() + state.journal_bytes > policy.size_bytes;
    // What is still to be downsampled stays for as long as anything else can go.
    let days: BTreeSet<Timestamp> =
        state.files.all().filter(|id| id.length == DAY).map(|id| id.start).collect();
    let is_done = |id: &&FileId| match id.resolution {
        Resolution::Raw => state.files.covering(Resolution::FiveMinutes, id.start).is_some(),
        _ => id.length == DAY || days.contains(&floor(id.start, DAY)),
    };
    // In thousandths of what it may reach.
    let age = |id: &FileId| {
        now.since(id.end()).0.saturating_mul(1000) / retention(&policy, id.resolution).0.max(1)
    };
    let oldest = state.files.all().filter(is_done).max_by_key(|id| (age(id), id.resolution));
    let unmerged = || state.files.all().find(|id| large && id.resolution != Resolution::Raw);
    let oldest = oldest.or_else(unmerged).copied();
    let Some(id) = oldest.filter(|id| large || age(id) >= 1000) else {
        state.full = large;
        return Ok(false);
    };
    state.full = false;
    let path = state.files.path(&id);
    state.files.forget(&id);
    drop(state);
    std::fs::remove_file(&path).map_err(failed("remove", &path))?;
    tracing::debug!(path = %path.display(), large, "telemetry: removed");
    Ok(true)
}
