//! `[telemetry]` and `[[scrape]]`.

use crate::base::Span;

use super::fault::FaultKind;
use super::node::Table;
use super::read::{duration, number};
use super::schema;

const HOUR: Span = Span::from_secs(3600);
const DAY: Span = Span::from_secs(86_400);
const MIB: u64 = 1 << 20;

/// `[telemetry]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryPolicy {
    /// How long every point is kept.
    pub raw: Span,
    /// How long buckets of five minutes are kept.
    pub five_minutes: Span,
    /// How long buckets of an hour are kept.
    pub hourly: Span,
    /// Most bytes on disk.
    pub size_bytes: u64,
    /// How old a point may be when it comes.
    pub past: Span,
    /// How far ahead of the server's clock it may be.
    pub future: Span,
    /// How many series there may be.
    pub limits: TelemetryLimits,
    /// Largest body of `POST /v1/telemetry`, in bytes.
    pub body_bytes: u64,
}

/// How many series there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelemetryLimits {
    /// In all.
    pub series: usize,
    /// Of one instance.
    pub series_per_instance: usize,
    /// Of one account.
    pub series_per_account: usize,
}

impl Default for TelemetryPolicy {
    fn default() -> TelemetryPolicy {
        TelemetryPolicy {
            raw: Span(6 * HOUR.0),
            five_minutes: Span(14 * DAY.0),
            hourly: Span(400 * DAY.0),
            size_bytes: 4096 * MIB,
            past: HOUR,
            future: Span::from_secs(300),
            limits: TelemetryLimits {
                series: 100_000,
                series_per_instance: 64,
                series_per_account: 50_000,
            },
            body_bytes: 64 * MIB,
        }
    }
}

/// `[telemetry]` of the document.
pub(super) fn telemetry(root: &Table<'_>) -> TelemetryPolicy {
    let default = TelemetryPolicy::default();
    let Some(table) = root.get("telemetry").and_then(|n| n.table(&schema::TELEMETRY)) else {
        return default;
    };
    let get = |key: &str| table.get(key);
    let years = Span(10 * 366 * DAY.0);
    let policy = TelemetryPolicy {
        raw: duration(get("raw"), Span(2 * HOUR.0), Span(31 * DAY.0), default.raw),
        five_minutes: duration(get("five_minutes"), Span(2 * DAY.0), years, default.five_minutes),
        hourly: duration(get("hourly"), Span(2 * DAY.0), years, default.hourly),
        size_bytes: get("max_size")
            .and_then(|n| n.size(128 * MIB, MIB << 20))
            .unwrap_or(default.size_bytes),
        past: duration(get("past"), Span::from_secs(60), Span(30 * DAY.0), default.past),
        future: duration(get("future"), Span::from_secs(1), HOUR, default.future),
        limits: TelemetryLimits {
            series: number(get("series"), 1, 2_000_000, default.limits.series),
            series_per_instance: number(
                get("series_per_instance"),
                1,
                1000,
                default.limits.series_per_instance,
            ),
            series_per_account: number(
                get("series_per_account"),
                1,
                2_000_000,
                default.limits.series_per_account,
            ),
        },
        body_bytes: get("body").and_then(|n| n.size(MIB, 4096 * MIB)).unwrap_or(default.body_bytes),
    };
    // An hour is downsampled from its points once nothing can be added to it.
    if let Some(node) = get("past").or_else(|| get("raw"))
        && policy.past.0 + HOUR.0 > policy.raw.0
    {
        let message = format!("points may be {} old and are kept for {}", policy.past, policy.raw);
        let fault = node.fault(FaultKind::Conflict, message);
        node.push(fault.expected("`raw` at least an hour more than `past`"));
    }
    policy
}
