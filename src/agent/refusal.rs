//! Why an agent does not do what it is asked, or cannot do its work.

use std::io;
use std::net::IpAddr;

use crate::net::gate::GateError;

use super::hold::Faulty;
use super::keep::{HOLDS_MAX, KeepError};
use super::ports::BadOrder;
use super::verb::Why;

/// Why an agent cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The gate.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The file of what is held.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// A socket.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Why a hold is not brought about.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("pair {pair}: epoch {epoch} was overtaken by {by}")]
    Epoch { pair: Box<str>, epoch: u64, by: u64 },
    #[error("network {network}: generation {generation} was overtaken by {by}")]
    Generation { network: Box<str>, generation: u64, by: u64 },
    #[error(transparent)]
    Order(#[from] BadOrder),
    #[error("pair {pair}: {fault}")]
    Faulty { pair: Box<str>, fault: Faulty },
    #[error("pair {pair}: {addr} is held by pair {other} on {bridge} already")]
    Taken { pair: Box<str>, other: Box<str>, addr: IpAddr, bridge: Box<str> },
    #[error("{HOLDS_MAX} pairs are held, and no more are")]
    TooMany,
    #[error("no pair {0} is held")]
    NotHeld(Box<str>),
    #[error("the active of pair {0} is not watched here")]
    NotWatched(Box<str>),
    #[error("no interface {0} is here")]
    NoLink(Box<str>),
    #[error("{port} is no port of {bridge}")]
    NoPort { port: Box<str>, bridge: Box<str> },
    #[error(transparent)]
    Host(#[from] HostError),
}

impl Refusal {
    /// What kind of reason.
    pub(super) fn why(&self) -> Why {
        match self {
            Refusal::Epoch { .. } | Refusal::Generation { .. } => Why::Epoch,
            Refusal::Order(_)
            | Refusal::Faulty { .. }
            | Refusal::Taken { .. }
            | Refusal::TooMany => Why::Faulty,
            Refusal::NotHeld(_)
            | Refusal::NotWatched(_)
            | Refusal::NoLink(_)
            | Refusal::NoPort { .. } => Why::Missing,
            Refusal::Host(_) => Why::Kernel,
        }
    }
}
