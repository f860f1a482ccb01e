//! Reading: one series, a stretch of time, a resolution. What is not downsampled yet is
//! downsampled on the way, so that a resolution always reaches up to the present.

use crate::base::{Span, Timestamp};

use super::error::FileError;
use super::files::{FileId, Files};
use super::merge::settle;
use super::model::{Bucket, DAY, HOUR, Resolution, SeriesKey, downsample, floor};
use super::segment::Segment;
use super::shared::{Shared, Telemetry};

/// Most buckets of one answer.
pub const BUCKETS_MAX: usize = 10_000;
/// A segment may be replaced while it is looked for; so often in a row it is not.
const TRIES: usize = 5;

/// Buckets of one series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Ascending in time.
    pub buckets: Vec<Bucket>,
    /// Where to go on, if there is more.
    pub next: Option<Timestamp>,
}

impl Telemetry {
    /// Up to `limit` buckets of `key` from `from` and before `to`. Reads files, and so takes its
    /// time; not for threads that others wait for.
    pub fn history(
        &self,
        key: &SeriesKey,
        resolution: Resolution,
        (from, to): (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<History, FileError> {
        self.shared().history(key, resolution, (from, to), limit)
    }
}

impl Shared {
    pub(super) fn history(
        &self,
        key: &SeriesKey,
        resolution: Resolution,
        (from, to): (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<History, FileError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let query = Query::of(self, key, from, to);
            match query.read(resolution, limit.clamp(1, BUCKETS_MAX)) {
                Err((Some(id), error @ FileError::Damaged { .. })) if tries < TRIES => {
                    self.set_aside(&id, &error);
                }
                Err((_, error)) if error.is_gone() && tries < TRIES => {}
                other => return other.map_err(|(_, error)| error),
            }
        }
    }
}

/// One question, and what is to be known to answer it.
struct Query<'a> {
    key: &'a SeriesKey,
    from: Timestamp,
    to: Timestamp,
    files: Files,
    /// Points that are in no segment yet, as they came.
    pending: Vec<Bucket>,
}

/// Which segment it was about, and what.
type Failure = (Option<FileId>, FileError);

impl Query<'_> {
    fn of<'a>(shared: &Shared, key: &'a SeriesKey, from: Timestamp, to: Timestamp) -> Query<'a> {
        let state = shared.state();
        // Whole hours, so that their buckets are whole.
        let (first, last) = (floor(from, HOUR), floor(to, HOUR) + HOUR);
        let frozen = state.frozen.as_ref();
        let mut pending = frozen.map_or_else(Vec::new, |head| head.read(key, first, last));
        pending.extend(state.head.read(key, first, last));
        Query { key, from, to, files: state.files.clone(), pending }
    }

    fn read(&self, resolution: Resolution, limit: usize) -> Result<History, Failure> {
        let pending = self.pending.iter().map(|point| floor(point.start, HOUR)).min();
        let Some(first) = self.files.earliest().into_iter().chain(pending).min() else {
            return Ok(History::default());
        };
        let last = self.files.all().map(FileId::end).chain(self.pending.iter().map(|p| p.start));
        let last = last.max().unwrap_or_default();
        let mut at = floor(self.from.max(first), HOUR);
        let mut buckets = Vec::new();
        while at < self.to && at <= last && buckets.len() <= limit {
            let (stretch, length) = match resolution {
                Resolution::Raw => (self.points(at)?, HOUR),
                Resolution::FiveMinutes => self.fine(at)?,
                Resolution::Hour => self.coarse(at)?,
            };
            // A bucket that began before `from` reaches into it.
            let from = floor(self.from, resolution.width());
            let wanted = stretch.into_iter().filter(|b| (from..self.to).contains(&b.start));
            // A day's segment may have been entered in its middle.
            buckets.extend(wanted.filter(|bucket| bucket.start >= at));
            at = floor(at, length) + length;
        }
        let next = buckets.get(limit).map(|bucket| bucket.start);
        buckets.truncate(limit);
        Ok(History { buckets, next })
    }

    /// The points of an hour.
    fn points(&self, hour: Timestamp) -> Result<Vec<Bucket>, Failure> {
        let mut points = Vec::new();
        for id in self.files.of(Resolution::Raw, hour, HOUR) {
            points.extend(self.segment(id)?);
        }
        let inside = |point: &&Bucket| floor(point.start, HOUR) == hour;
        points.extend(self.pending.iter().filter(inside).copied());
        Ok(settle(points))
    }

    /// Buckets of five minutes of the hour or day that `time` is in, and how long that is.
    fn fine(&self, time: Timestamp) -> Result<(Vec<Bucket>, Span), Failure> {
        match self.files.covering(Resolution::FiveMinutes, time) {
            Some(id) => Ok((self.segment(id)?, id.length)),
            None => {
                let width = Resolution::FiveMinutes.width();
                Ok((downsample(self.points(floor(time, HOUR))?, width), HOUR))
            }
        }
    }

    /// Buckets of an hour likewise.
    fn coarse(&self, time: Timestamp) -> Result<(Vec<Bucket>, Span), Failure> {
        match self.files.of(Resolution::Hour, floor(time, DAY), DAY).next_back() {
            Some(id) => Ok((self.segment(id)?, DAY)),
            None => {
                let (fine, length) = self.fine(time)?;
                Ok((downsample(fine, HOUR), length))
            }
        }
    }

    fn segment(&self, id: FileId) -> Result<Vec<Bucket>, Failure> {
        let of = |error| (Some(id), error);
        Segment::open(&self.files.path(&id)).and_then(|s| s.read(self.key)).map_err(of)
    }
}
