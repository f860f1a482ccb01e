//! Several sources of the same series as one.

use std::iter::Peekable;

use super::error::FileError;
use super::model::{Bucket, SeriesKey};
use super::segment::{Scan, Segment};

/// Points in order of time; of several at one time, the last one that was given counts.
pub(super) fn settle(mut points: Vec<Bucket>) -> Vec<Bucket> {
    if points.is_sorted_by(|a, b| a.start < b.start) {
        return points;
    }
    // Stable: what came later stays later.
    points.sort_by_key(|point| point.start);
    let mut out: Vec<Bucket> = Vec::with_capacity(points.len());
    for point in points {
        match out.last_mut() {
            Some(last) if last.start == point.start => *last = point,
            _ => out.push(point),
        }
    }
    out
}

/// The series of several segments in ascending order, with the buckets of all that have it, in
/// the order of the segments.
pub(super) struct Merge<'a> {
    scans: Vec<Peekable<Scan<'a>>>,
}

impl<'a> Merge<'a> {
    pub(super) fn of(segments: &'a [Segment]) -> Result<Merge<'a>, FileError> {
        let scans = segments.iter().map(|segment| Ok(segment.scan()?.peekable()));
        Ok(Merge { scans: scans.collect::<Result<_, FileError>>()? })
    }

    /// The next series.
    pub(super) fn next(&mut self) -> Result<Option<(SeriesKey, Vec<Bucket>)>, FileError> {
        let heads = self.scans.iter_mut().filter_map(|scan| match scan.peek() {
            Some(Ok((key, _))) => Some(key.clone()),
            _ => None,
        });
        let least = heads.min();
        let mut all = Vec::new();
        for scan in &mut self.scans {
            let is_next = |item: &Result<(SeriesKey, Vec<Bucket>), FileError>| match item {
                Ok((key, _)) => Some(key) == least.as_ref(),
                Err(_) => true,
            };
            if let Some(item) = scan.next_if(is_next) {
                all.extend(item?.1);
            }
        }
        Ok(least.map(|key| (key, all)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::telemetry::model::Point;

    #[test]
    fn the_last_of_one_time_counts() {
        let point = |(time, value)| Bucket::of(Point { time: Timestamp(time), value });
        let all = [(5, 1.0), (3, 2.0), (5, 3.0), (4, 4.0), (3, 5.0)].map(point);
        assert_eq!(settle(all.to_vec()), [(3, 5.0), (4, 4.0), (5, 3.0)].map(point));
    }
}
