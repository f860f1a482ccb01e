//! Everything that is counted, for scrapers: what the threads count themselves ([`traffic`]), what
//! the engine's thread says of its pools ([`pools`]), and the process ([`process`]).
//!
//! `docs/metrics.md` lists every name; a test compares it with what is written here.

mod findings;
mod forecasts;
mod hooks;
mod pools;
mod process;
mod shadows;
mod traffic;

use std::sync::Arc;

use crate::api::exposition::{Exposition, Family, Kind};
use crate::api::findings::Findings;
use crate::api::gauges::Figures;
use crate::api::metrics::Measure;
use crate::base::Timestamp;
use crate::store::archive::Archive;

use super::counters::{Counters, Histogram};
use super::forecaster::Board;
use super::hooks::Statuses;

/// Where all figures come from.
pub struct Meter {
    counters: Arc<Counters>,
    told: (Statuses, Option<Archive>),
    findings: Arc<Findings>,
    forecasts: Arc<Board>,
    started: Timestamp,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Meter {
    /// Of a server that started at `started`, by the clock `now`.
    pub(super) fn new(
        counters: Arc<Counters>,
        told: (Statuses, Option<Archive>),
        (findings, forecasts): (Arc<Findings>, Arc<Board>),
        started: Timestamp,
        now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Meter {
        Meter { counters, told, findings, forecasts, started, now }
    }
}

impl Measure for Meter {
    fn write(&self, pages: &[Figures], out: &mut Exposition) {
        self.server(pages, out);
        traffic::write(&self.counters, out);
        pools::write(pages, out);
        hooks::write(&self.told, out);
        findings::write(&self.findings, out);
        forecasts::write(&self.forecasts.standing(), (self.now)(), out);
        process::write(self.started, out);
    }
}

impl Meter {
    fn server(&self, pages: &[Figures], out: &mut Exposition) {
        let help = "The running program: always 1.";
        out.family(Family { name: "foreshadow_build", kind: Kind::Info, help });
        out.count(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        let help = "Time since the server started.";
        out.family(Family::gauge("foreshadow_uptime_seconds", help));
        out.value(&[], (self.now)().since(self.started).0 as f64 / 1000.0);
        let help = "Whether the thread that answers packets gave its figures: 0 or 1. Without them \
                    networks, pools, accounts, the store and alarms have none.";
        out.family(Family::gauge("foreshadow_engine_up", help));
        out.count(&[], u64::from(!pages.is_empty()));
    }
}

/// Writes a histogram whose values are `unit` each: the first bound is that of 2^`from` values.
fn histogram(
    out: &mut Exposition,
    labels: &[(&'static str, &str)],
    histogram: &Histogram,
    bound: impl Fn(u32) -> f64,
    unit: f64,
) {
    let counts = histogram.buckets.iter().map(super::counters::Count::get);
    let mut sum = 0;
    let grown: Vec<u64> = counts
        .map(|n| {
            sum += n;
            sum
        })
        .collect();
    let (count, below) = (sum, grown.len().saturating_sub(1));
    let bounds = (0u32..).zip(grown.iter().take(below));
    let below: Vec<(f64, u64)> = bounds.map(|(i, n)| (bound(i), *n)).collect();
    out.histogram(labels, &below, count, histogram.sum.get() as f64 * unit);
}

/// Writes a distribution of times that were counted in microseconds.
fn seconds(out: &mut Exposition, labels: &[(&'static str, &str)], of: &Histogram) {
    // What is counted below 2^(i+1) whole microseconds took less than that.
    histogram(out, labels, of, |i| 2f64.powi(i as i32 + 1) / 1e6, 1e-6);
}

/// Writes a distribution of numbers.
fn numbers(out: &mut Exposition, labels: &[(&'static str, &str)], of: &Histogram) {
    histogram(out, labels, of, |i| 2f64.powi(i as i32 + 1) - 1.0, 1.0);
}
