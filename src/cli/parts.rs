//! Where the command line meets the parts that do the work.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::base::Timestamp;
use crate::config::Policy;
use crate::store::{Contents, Store};

use super::args;
use super::exit::{Exit, Failure};

/// A configuration that passed every check, and what is odd about it.
pub(super) struct Loaded {
    pub(super) policy: Arc<Policy>,
    pub(super) warnings: Vec<String>,
}

/// Reads and checks a configuration file.
pub(super) fn load(path: &Path, _colour: bool) -> Result<Loaded, Failure> {
    Err(missing(format!("configuration reader (for {})", path.display())))
}

/// What the store of a stopped server holds, from a copy.
pub(super) fn open_copy(_policy: &Policy) -> Result<Contents, Failure> {
    Err(missing("store"))
}

/// The store of a stopped server, locked against its start.
pub(super) fn open_store(_policy: &Policy) -> Result<(Box<dyn Store>, Contents), Failure> {
    Err(missing("store"))
}

/// The wall clock.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Runs the server until it is told to stop.
pub(super) fn serve(_args: &args::Serve) -> Result<(), Failure> {
    Err(missing("server"))
}

/// Runs the lab.
pub(super) fn lab(args: &crate::lab::Args) -> Result<(), Failure> {
    Ok(crate::lab::run(args)?)
}

fn missing(what: impl std::fmt::Display) -> Failure {
    Failure::says(Exit::Failed, format!("this build has no {what}"))
}
