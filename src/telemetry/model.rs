//! The words of telemetry: points, buckets of points, series, and what an instance is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::{Span, Timestamp};

/// Longest name of an instance, account, application or type, in bytes.
pub const NAME_MAX: usize = 128;
/// Longest name of a metric, in bytes.
pub const METRIC_MAX: usize = 64;
/// Values are below this in size, so that no sum of them overflows.
pub const VALUE_MAX: f64 = 1e18;
/// Most resource requirements of one instance.
pub const REQUIREMENTS_MAX: usize = 16;

/// The metrics whose meaning and unit are fixed. Any other is the operator's own.
pub const METRICS: [(&str, &str); 8] = [
    ("cpu", "cores in use"),
    ("memory", "bytes in use"),
    ("network_rx", "bytes received a second"),
    ("network_tx", "bytes sent a second"),
    ("connections", "open connections and flows"),
    ("load", "runnable tasks, averaged over a minute"),
    ("requests", "requests a second"),
    ("queue", "requests or jobs that wait"),
];

/// One metric of one instance. Ordered by instance, then metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// The instance's id.
    pub instance: Arc<str>,
    /// The metric's name.
    pub metric: Arc<str>,
}

impl SeriesKey {
    /// A key of these names.
    pub fn new(instance: &str, metric: &str) -> SeriesKey {
        SeriesKey { instance: instance.into(), metric: metric.into() }
    }
}

/// A value at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When.
    pub time: Timestamp,
    /// How much.
    pub value: f64,
}

/// What the points of one stretch of time come to. A point alone is a bucket too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The first moment of the stretch; of a point, its time.
    pub start: Timestamp,
    /// How many points.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least of them.
    pub min: f64,
    /// The greatest of them.
    pub max: f64,
    /// The latest of them.
    pub last: f64,
}

impl Bucket {
    /// A point as a bucket.
    pub fn of(point: Point) -> Bucket {
        let value = point.value;
        Bucket { start: point.time, count: 1, sum: value, min: value, max: value, last: value }
    }

    /// Takes in a bucket that is not before this one.
    pub fn add(&mut self, later: &Bucket) {
        self.count += later.count;
        self.sum += later.sum;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.last = later.last;
    }
}

/// How finely history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Resolution {
    /// Every point.
    #[serde(rename = "raw")]
    Raw,
    /// Buckets of five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// Buckets of an hour.
    #[serde(rename = "1h")]
    Hour,
}

/// An hour: what is merged and downsampled at once.
pub const HOUR: Span = Span::from_secs(3600);
/// A day: what one segment of downsampled history covers at last.
pub const DAY: Span = Span::from_secs(86_400);

impl Resolution {
    /// All by name.
    pub const NAMED: [(&str, Resolution); 3] =
        [("raw", Resolution::Raw), ("5m", Resolution::FiveMinutes), ("1h", Resolution::Hour)];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Resolution::Raw => "raw",
            Resolution::FiveMinutes => "5m",
            Resolution::Hour => "1h",
        }
    }

    /// Back from [`Resolution::name`].
    pub fn named(name: &str) -> Option<Resolution> {
        Resolution::NAMED.iter().find(|(known, _)| *known == name).map(|(_, found)| *found)
    }

    /// How long a bucket is; 1 ms for points.
    pub fn width(self) -> Span {
        match self {
            Resolution::Raw => Span::from_ms(1),
            Resolution::FiveMinutes => Span::from_secs(300),
            Resolution::Hour => HOUR,
        }
    }
}

/// The last moment not after `time` that is a multiple of `width`.
pub fn floor(time: Timestamp, width: Span) -> Timestamp {
    Timestamp(time.0 - time.0 % width.0.max(1))
}

/// Adds buckets, ascending in time, up to buckets of `width`.
pub fn downsample(fine: impl IntoIterator<Item = Bucket>, width: Span) -> Vec<Bucket> {
    let mut out: Vec<Bucket> = Vec::new();
    for bucket in fine {
        let start = floor(bucket.start, width);
        match out.last_mut() {
            Some(last) if last.start == start => last.add(&bucket),
            _ => out.push(Bucket { start, ..bucket }),
        }
    }
    out
}

/// What an instance is; what is said last counts, field by field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceRecord {
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Arc<str>>,
    /// What runs in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<Arc<str>>,
    /// Its type, as the orchestrator calls it.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Arc<str>>,
    /// What it needs, by name, as in `cpu` (cores) and `memory` (bytes).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requires: BTreeMap<Arc<str>, f64>,
}

impl InstanceRecord {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == InstanceRecord::default()
    }

    /// Takes in what `news` says; whether that changed anything.
    pub fn update(&mut self, news: &InstanceRecord) -> bool {
        let before = self.clone();
        let newer = |old: &mut Option<Arc<str>>, new: &Option<Arc<str>>| {
            if new.is_some() {
                old.clone_from(new);
            }
        };
        newer(&mut self.account, &news.account);
        newer(&mut self.application, &news.application);
        newer(&mut self.kind, &news.kind);
        if !news.requires.is_empty() {
            self.requires.clone_from(&news.requires);
        }
        *self != before
    }
}

/// Whether `name` may be that of an instance, account, application or type: printable, without
/// spaces, and not too long.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && !name.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// Whether `name` may be that of a metric: as Prometheus has them.
pub fn is_metric(name: &str) -> bool {
    let first = name.bytes().next();
    (1..=METRIC_MAX).contains(&name.len())
        && first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'.'))
}

/// Whether `value` can be kept.
pub fn is_value(value: f64) -> bool {
    value.is_finite() && value.abs() < VALUE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(start: u64, count: u64, values: [f64; 4]) -> Bucket {
        let [sum, min, max, last] = values;
        Bucket { start: Timestamp(start), count, sum, min, max, last }
    }

    #[test]
    fn buckets_add_up() {
        let points = [(0, 1.0), (299_999, 5.0), (300_000, -2.0), (3_599_999, 7.0)];
        let points = points.map(|(time, value)| Bucket::of(Point { time: Timestamp(time), value }));
        let fine = downsample(points, Resolution::FiveMinutes.width());
        assert_eq!(
            fine,
            [
                bucket(0, 2, [6.0, 1.0, 5.0, 5.0]),
                bucket(300_000, 1, [-2.0; 4]),
                bucket(3_300_000, 1, [7.0; 4])
            ]
        );
        assert_eq!(downsample(fine, HOUR), [bucket(0, 4, [11.0, -2.0, 7.0, 7.0])]);
    }

    #[test]
    fn names_are_bounded() {
        assert!(is_name("vm-1") && is_name("é/7"));
        assert!(!is_name("") && !is_name("a b") && !is_name("a\n") && !is_name(&"a".repeat(129)));
        assert!(is_metric("cpu") && is_metric("job:queue_length") && is_metric("_x.p99"));
        assert!(!is_metric("") && !is_metric("9a") && !is_metric("a-b") && !is_metric("é"));
        assert!(!is_value(f64::NAN) && !is_value(f64::INFINITY) && !is_value(-1e18));
        assert!(is_value(-0.0) && is_value(9.9e17));
    }

    #[test]
    fn what_is_said_last_counts() {
        let mut record = InstanceRecord { kind: Some("m5".into()), ..Default::default() };
        let news = InstanceRecord { account: Some("acme".into()), ..Default::default() };
        assert!(record.update(&news));
        assert!(!record.update(&news));
        assert_eq!(record.kind.as_deref(), Some("m5"));
    }
}
