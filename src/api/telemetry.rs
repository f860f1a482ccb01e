//! Telemetry as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::telemetry::scrape::ScrapeStatus;
use crate::telemetry::{Bucket, Event, Known, Resolution, Status, Taken};

use super::leases::time_text;

/// Refusals that are told one by one.
pub const REFUSED_TOLD: usize = 100;

/// What came of a push.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TakenView {
    /// Lines of which everything is durable.
    pub lines: u64,
    /// Values of metrics that are durable.
    pub values: u64,
    /// Events that are durable.
    pub events: u64,
    /// Lines that were not taken.
    pub refused: u64,
    /// Of these the first 100, each with its reason.
    pub faults: Vec<LineFaultView>,
}

/// A line that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineFaultView {
    /// Which line, from 1.
    pub line: u64,
    /// Which field of it; empty where it is the whole line.
    pub field: String,
    /// What was found, and what is expected.
    pub detail: String,
}

impl TakenView {
    /// Adds what came of a part of it.
    pub fn add(&mut self, taken: &Taken) {
        self.lines += taken.lines;
        self.values += taken.values;
        self.events += taken.events.len() as u64;
        taken.refused.iter().for_each(|fault| self.refuse(fault));
    }

    /// Adds a refusal.
    pub fn refuse(&mut self, fault: &crate::telemetry::line::LineFault) {
        self.refused += 1;
        if self.faults.len() < REFUSED_TOLD {
            let (line, field, detail) = (fault.line, fault.field.clone(), fault.why.clone());
            self.faults.push(LineFaultView { line, field, detail });
        }
    }
}

/// How telemetry is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TelemetryView {
    /// `opening`, `open`, `full`, or why it is off.
    pub state: String,
    /// Series that had a point in the last day.
    pub series: u64,
    /// Instances of these.
    pub instances: u64,
    /// Events that are kept.
    pub events: u64,
    /// Values taken since the start.
    pub values: u64,
    /// Lines refused since the start.
    pub refused: u64,
    /// Syncs of its journal since the start.
    pub syncs: u64,
    /// Points that are in the journal alone.
    pub pending: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// The first moment of each resolution that is in files.
    pub since: BTreeMap<String, String>,
    /// Files that were damaged and set aside since the start.
    pub damaged: Vec<String>,
}

impl TelemetryView {
    /// As it goes out.
    pub fn of(status: Status) -> TelemetryView {
        let since =
            |(resolution, at): &(Resolution, _)| (resolution.name().to_owned(), time_text(*at));
        TelemetryView {
            state: status.phase,
            series: status.series as u64,
            instances: status.instances as u64,
            events: status.events as u64,
            values: status.values,
            refused: status.refused,
            syncs: status.syncs,
            pending: status.pending as u64,
            disk_bytes: status.disk_bytes,
            since: status.since.iter().map(since).collect(),
            damaged: status.damaged,
        }
    }
}

/// A page of instances that report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportersView {
    /// By name.
    pub instances: Vec<ReporterView>,
    /// `after` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// What an instance reports of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReporterView {
    /// Its id.
    pub instance: String,
    /// Whose it is.
    pub account: Option<String>,
    /// What runs in it.
    pub application: Option<String>,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What it needs, by name.
    pub requires: BTreeMap<String, f64>,
    /// When it was last heard of.
    pub seen: String,
    /// The latest value of each of its metrics.
    pub metrics: BTreeMap<String, PointView>,
}

/// A value at a moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PointView {
    /// When.
    pub time: String,
    /// How much.
    pub value: f64,
}

impl ReporterView {
    /// As it goes out.
    pub fn of(instance: &str, known: &Known) -> ReporterView {
        let text = |name: &Option<std::sync::Arc<str>>| name.as_deref().map(str::to_owned);
        let point = |point: &crate::telemetry::Point| PointView {
            time: time_text(point.time),
            value: point.value,
        };
        let record = &known.record;
        ReporterView {
            instance: instance.to_owned(),
            account: text(&record.account),
            application: text(&record.application),
            kind: text(&record.kind),
            requires: record.requires.iter().map(|(k, v)| (k.to_string(), *v)).collect(),
            seen: time_text(known.seen),
            metrics: known.series.iter().map(|(k, p)| (k.to_string(), point(p))).collect(),
        }
    }
}

/// History of one metric of one instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryView {
    /// Ascending in time.
    pub buckets: Vec<BucketView>,
    /// `from` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// A stretch of time, and what its values come to. A raw value is one alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BucketView {
    /// Its first moment.
    pub start: String,
    /// How many values.
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

impl BucketView {
    /// As it goes out.
    pub fn of(bucket: &Bucket) -> BucketView {
        let Bucket { start, count, sum, min, max, last } = *bucket;
        BucketView { start: time_text(start), count, sum, min, max, last }
    }
}

/// Targets that are scraped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScrapesView {
    /// By name.
    pub scrapes: Vec<ScrapeView>,
}

/// A target that is scraped, and how it did last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScrapeView {
    /// Its name in the configuration.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// When it was last asked.
    pub last: Option<String>,
    /// How long that took, in milliseconds.
    pub took_ms: u64,
    /// Its samples then.
    pub samples: u64,
    /// Lines then that are no samples.
    pub faults: u64,
    /// Values that were taken then.
    pub values: u64,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// Scrapes since the start.
    pub scrapes: u64,
    /// Of these, those that failed.
    pub failures: u64,
    /// When it is asked next.
    pub next: Option<String>,
}

impl ScrapeView {
    /// As it goes out.
    pub fn of(name: &str, status: &ScrapeStatus) -> ScrapeView {
        ScrapeView {
            name: name.to_owned(),
            url: status.url.clone(),
            last: status.last.map(time_text),
            took_ms: status.took.0,
            samples: status.samples as u64,
            faults: status.faults as u64,
            values: status.values,
            error: status.error.clone(),
            scrapes: status.scrapes,
            failures: status.failures,
            next: status.next.map(time_text),
        }
    }
}

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KnownEventKind {
    /// An instance was started again.
    Restart,
    /// An application was scaled.
    Scaling,
    /// A new version of an application goes out.
    Deploy,
    /// Demand of its own for a time, such as a sale.
    Campaign,
    /// Work that is done at set times.
    BatchWindow,
    /// An instance reports an error.
    Error,
    /// Work on hosts or networks.
    Maintenance,
}

/// Body of `POST /v1/known-events`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KnownEventRequest {
    /// What it is.
    #[schema(inline)]
    pub kind: KnownEventKind,
    /// Whom it concerns; everybody without.
    #[serde(default)]
    #[schema(max_length = 128, required = false)]
    pub account: Option<String>,
    /// Which application.
    #[serde(default)]
    #[schema(max_length = 128, required = false)]
    pub application: Option<String>,
    /// Which instance.
    #[serde(default)]
    #[schema(max_length = 128, required = false)]
    pub instance: Option<String>,
    /// When it begins (RFC 3339); now without.
    #[serde(default)]
    #[schema(max_length = 64, required = false)]
    pub start: Option<String>,
    /// When it ends (RFC 3339); without, it is a moment.
    #[serde(default)]
    #[schema(max_length = 64, required = false)]
    pub end: Option<String>,
    /// How many instances it is expected to add; negative: to take away.
    #[serde(default)]
    #[schema(minimum = -1e9, maximum = 1e9, required = false)]
    pub size: Option<f64>,
    /// In words, for people.
    #[serde(default)]
    #[schema(max_length = 512, required = false)]
    pub note: Option<String>,
}

/// A page of events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KnownEventsView {
    /// In the order in which they were said.
    pub events: Vec<KnownEventView>,
    /// `cursor` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KnownEventView {
    /// Its number.
    pub id: u64,
    /// What it is.
    pub kind: String,
    /// Whom it concerns; everybody without.
    pub account: Option<String>,
    /// Which application.
    pub application: Option<String>,
    /// Which instance.
    pub instance: Option<String>,
    /// When it begins.
    pub start: String,
    /// When it ends.
    pub end: Option<String>,
    /// How many instances it is expected to add.
    pub size: Option<f64>,
    /// In words.
    pub note: Option<String>,
    /// Who said it.
    pub said_by: String,
    /// When.
    pub said_at: String,
}

impl KnownEventView {
    /// As it goes out.
    pub fn of(event: &Event) -> KnownEventView {
        let text = |name: &Option<std::sync::Arc<str>>| name.as_deref().map(str::to_owned);
        KnownEventView {
            id: event.id.0,
            kind: event.kind.name().to_owned(),
            account: text(&event.account),
            application: text(&event.application),
            instance: text(&event.instance),
            start: time_text(event.start),
            end: event.end.map(time_text),
            size: event.size,
            note: text(&event.note),
            said_by: event.said_by.to_string(),
            said_at: time_text(event.said_at),
        }
    }
}
