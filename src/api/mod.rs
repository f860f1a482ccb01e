//! The control plane: what an operator or an orchestrator may ask of the server, as HTTP and JSON
//! over a Unix socket.
//!
//! A request becomes one [`Command`] for the engine's thread, which answers through a channel;
//! nothing here takes a lock that the packet path could wait for. Reading order: [`command`] (the
//! closed set of commands, and the [`Desk`] that answers them), [`view`] (the only types that are
//! JSON), [`server`] and its routes, [`client`], and [`stopped`], which answers the same commands
//! from the store of a server that is not running.
//!
//! | request | what it does |
//! | --- | --- |
//! | `GET /v1/status` | [`view::StatusView`] |
//! | `GET /metrics` | all figures, as OpenMetrics or text; see [`metrics`] |
//! | `GET /v1/leases?network=&state=&account=&from=` | a page of leases, [`view::LeasesView`] |
//! | `GET /v1/leases/{resource}?network=` | the bindings of one address or prefix |
//! | `POST /v1/leases/{resource}/release?network=` | ends a binding or a quarantine |
//! | `GET /v1/leases/export?format=json\|csv` | every binding |
//! | `POST /v1/leases/import` | takes bindings over, [`view::ImportRequest`] |
//! | `POST /v1/reload` | reads the configuration again |
//! | `POST /v1/backup` | copies the store, [`view::BackupRequest`] |
//!
//! Errors are `application/problem+json` (RFC 9457). Reading needs access to the socket; changing
//! needs root, the server's own user, or its group (see [`peer`]).

pub mod client;
pub mod command;
pub mod exposition;
pub mod gauges;
pub mod leases;
pub mod metrics;
pub mod peer;
pub mod problem;
pub mod scrape;
pub mod server;
pub mod stopped;
pub mod transfer;
pub mod view;

mod routes;

pub use command::{Command, Desk, Post, Refusal, Reload};

#[cfg(test)]
pub(crate) mod tests;
