//! The control plane: what an operator or an orchestrator may ask of the server, as HTTP and JSON
//! over a Unix socket, and over TCP where configured.
//!
//! A request becomes one [`Command`] for the engine's thread, which answers through a channel;
//! nothing here takes a lock that the packet path could wait for. Reading order: [`command`] (the
//! closed set of commands, and the [`Desk`] that answers them), [`view`] (the only types that are
//! JSON), [`server`] (the sockets), `guard` (who may ask, and how much), [`routes`] and what their
//! handlers take ([`extract`], [`caller`], [`etag`], [`page`]), [`client`], and [`stopped`], which
//! answers the same commands from the store of a server that is not running.
//!
//! The routes describe themselves, and the description holds: `/openapi.json` says which role an
//! operation needs and what its parameters and its body may be, and a request that it does not
//! allow never reaches a handler (`contract`, `schema`).
//!
//! Errors are `application/problem+json` (RFC 9457). On the control socket root, the server's own
//! user and its group may do anything, and others who can connect may read (see [`peer`]); over
//! TCP a [`token`] or a certificate says who calls.

pub mod accounts;
pub mod audit;
pub mod caller;
pub mod client;
pub mod command;
pub mod drive;
pub mod etag;
pub mod exposition;
pub mod extract;
pub mod filter;
pub mod findings;
pub mod gauges;
pub mod hosts;
pub mod instances;
pub mod leases;
pub mod live;
pub mod metrics;
pub mod page;
pub mod peer;
pub mod problem;
pub mod quarantine;
pub mod record;
pub mod registry;
pub mod relocation;
pub mod reservations;
pub mod routes;
pub mod score;
pub mod scrape;
pub mod server;
pub mod shadows;
pub mod standbys;
pub mod stopped;
pub mod subnets;
pub mod telemetry;
pub mod token;
pub mod transfer;
pub mod view;

mod connection;
mod contract;
mod document;
mod gate;
mod guard;
mod listen;
mod manual;
mod replay;
mod schema;
mod tls;
mod unread;

pub use command::{Command, Desk, Post, Refusal, Reload};

#[cfg(test)]
pub(crate) mod tests;
