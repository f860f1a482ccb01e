//! Telemetry from Prometheus: exporters, and the federation endpoint of a Prometheus, asked in
//! turn. [`fetch`] gets the body, [`text`] reads it line by line, [`collect`] makes reports of it,
//! and [`task`] does that each interval, on a thread of its own.
//!
//! A target may answer anything, at any speed, or not at all: one scrape takes at most its
//! timeout, its body limit and its sample limit, and whatever comes of it is counted.

mod collect;
mod fetch;
mod task;
pub mod text;

pub use collect::{Collector, Counters, Excess};
pub use fetch::trust;
pub use task::{ScrapeStatus, Scraper};
