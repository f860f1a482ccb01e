//! Telemetry in a running server: what it acknowledges is there after kill -9, hostile bodies cost
//! it nothing, and Prometheus targets of all kinds are scraped.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

mod telemetry {
    mod durable;
    mod http;
    mod push;
    mod scrape;
}
