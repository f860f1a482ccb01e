//! Metrics as scrapers meet them: a real server under real traffic, its text in both formats, and
//! Debian's prometheus, which scrapes it and runs every query that `config/` gives to operators.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

// Shared with tests that use more of it.
#[allow(dead_code)]
#[path = "../common/mod.rs"]
mod common;
mod http;
mod names;
mod prometheus;
mod text;
mod traffic;
