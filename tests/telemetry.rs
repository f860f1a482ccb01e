//! Telemetry in a running server: what it acknowledges is there after kill -9, hostile bodies cost
//! it nothing, and Prometheus targets of all kinds are scraped.
#![allow(clippy::unwrap_used, clippy::expect_used)]

// Shared with tests that use more of it.
#[allow(dead_code)]
mod common;

mod telemetry {
    mod durable;
    mod http;
    mod push;
    mod scrape;
}
