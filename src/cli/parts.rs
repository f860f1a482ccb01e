//! Where the command line meets the parts that do the work.

use std::path::Path;

use crate::config::Policy;

use super::args;
use super::exit::{Exit, Failure};

/// A configuration that passed every check, and what is odd about it.
pub(super) struct Loaded {
    pub(super) policy: Policy,
    pub(super) warnings: Vec<String>,
}

pub(super) fn load(path: &Path, _colour: bool) -> Result<Loaded, Failure> {
    Err(missing(format!("configuration reader (for {})", path.display())))
}

pub(super) fn serve(_args: &args::Serve) -> Result<(), Failure> {
    Err(missing("server"))
}

pub(super) fn lab(args: &crate::lab::Args) -> Result<(), Failure> {
    Ok(crate::lab::run(args)?)
}

fn missing(what: impl std::fmt::Display) -> Failure {
    Failure::says(Exit::Failed, format!("this build has no {what}"))
}
