//! The audit of a running server: who had an address, what happened, and who is told of it.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

#[path = "common/certificates.rs"]
mod certificates;
// Shared with tests that use more of it.
#[allow(dead_code)]
mod common;

mod audit {
    mod hooks;
    mod hooks_hostile;
    mod injection;
    mod queries;
}
