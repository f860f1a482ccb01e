//! The API as callers meet it: a real server with TLS, tokens and certificates, asked by curl, and
//! by schemathesis for whatever its document allows and forbids.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

#[path = "../common/certificates.rs"]
mod certificates;
// Shared with tests that use more of it.
mod audited;
mod commands;
#[allow(dead_code)]
#[path = "../common/mod.rs"]
mod common;
mod contract;
mod directory;
mod hostile;
mod limits;
mod quarantine;
mod roles;
mod scope;
mod served;
mod shadows;
mod standbys;
mod tls;
mod transports;
mod walk;
