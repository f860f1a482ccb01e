//! The points that are in no segment yet: durable in the journal, and read from here.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::Timestamp;

use super::model::{Bucket, HOUR, Point, SeriesKey, floor};

/// Points in the order in which they came.
#[derive(Debug)]
pub(super) struct Head {
    series: BTreeMap<SeriesKey, Vec<Point>>,
    points: usize,
    earliest: Timestamp,
    /// When the first of them came.
    since: Timestamp,
}

impl Default for Head {
    fn default() -> Head {
        let (earliest, since) = (Timestamp::NEVER, Timestamp::NEVER);
        Head { series: BTreeMap::new(), points: 0, earliest, since }
    }
}

impl Head {
    /// Adds a point that came at `now`.
    pub(super) fn add(&mut self, key: &SeriesKey, point: Point, now: Timestamp) {
        match self.series.get_mut(key) {
            Some(points) => points.push(point),
            None => drop(self.series.insert(key.clone(), vec![point])),
        }
        self.points += 1;
        self.earliest = self.earliest.min(point.time);
        self.since = self.since.min(now);
    }

    /// How many points.
    pub(super) fn points(&self) -> usize {
        self.points
    }

    /// The earliest of them; the end of time if there are none.
    pub(super) fn earliest(&self) -> Timestamp {
        self.earliest
    }

    /// When the first of them came; the end of time if there are none.
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    /// The hours that have points.
    pub(super) fn hours(&self) -> BTreeSet<Timestamp> {
        self.series.values().flatten().map(|point| floor(point.time, HOUR)).collect()
    }

    /// All series in ascending order.
    pub(super) fn series(&self) -> impl Iterator<Item = &SeriesKey> {
        self.series.keys()
    }

    /// The points of one series from `from` and before `to`, as they came.
    pub(super) fn read(&self, key: &SeriesKey, from: Timestamp, to: Timestamp) -> Vec<Bucket> {
        let points = self.series.get(key).map(Vec::as_slice).unwrap_or_default();
        let inside = points.iter().filter(|point| (from..to).contains(&point.time));
        inside.map(|point| Bucket::of(*point)).collect()
    }
}
