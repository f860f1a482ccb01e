//! `foreshadow check`: the whole file, every fault, before anything takes effect.

use std::io::Write;

use super::args::Check;
use super::exit::Failure;
use super::output::Output;
use super::parts;

/// Checks a file and says what is in it, or what is wrong with it.
pub(super) fn check(args: &Check, out: &mut Output) -> Result<(), Failure> {
    let loaded = parts::load(&args.file, out.colour_err())?;
    if args.json {
        return out.json(&loaded.warnings);
    }
    if !loaded.drawn.is_empty() {
        out.drawn(&loaded.drawn);
    }
    let networks = loaded.policy.networks.len();
    Ok(writeln!(out, "{}: {networks} networks, no faults", args.file.display())?)
}
