//! `foreshadow check`: the whole file, every fault, before anything takes effect.

use std::io::Write;

use crate::config::{self, Fault, Severity};

use super::args::Check;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::parts;

/// Checks a file and says what is in it, or what is wrong with it.
pub(super) fn check(args: &Check, out: &mut Output) -> Result<(), Failure> {
    if args.json {
        return check_json(args, out);
    }
    let loaded = parts::load(&args.file, out.colour_err())?;
    if !loaded.drawn.is_empty() {
        out.drawn(&loaded.drawn);
    }
    let networks = parts::count(loaded.policy.networks.len(), "network");
    Ok(writeln!(out, "{}: {networks}, no faults", args.file.display())?)
}

/// The faults and warnings as one JSON list, in the order of the file.
fn check_json(args: &Check, out: &mut Output) -> Result<(), Failure> {
    let list: Vec<Fault> = match config::load(&args.file) {
        Ok(loaded) => parts::all_warnings(&loaded),
        Err(faults) => faults.list().to_vec(),
    };
    out.json(&list)?;
    match list.iter().filter(|fault| fault.severity == Severity::Error).count() {
        0 => Ok(()),
        errors => {
            let (path, errors) = (args.file.display(), parts::count(errors, "error"));
            Err(Failure::says(Exit::Config, format!("{path}: {errors}")))
        }
    }
}
