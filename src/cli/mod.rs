//! The command line: what each subcommand does for the person or the program that runs it.
//!
//! `args` says what may be typed, the other modules do it, one subcommand or family each. What a
//! command prints goes to standard output, what went wrong to standard error, and how it ended is
//! the exit code ([`exit::Exit`]).

pub mod args;
pub mod args_agent;
pub mod args_audit;
pub mod args_directory;
pub mod args_forecast;
pub mod args_scan;
pub mod args_shadows;
pub mod args_standby;
pub mod exit;

mod accounts;
mod agent;
mod audit;
mod backtest;
mod check;
mod control;
mod entries;
mod events;
mod forecast;
mod import;
mod instances;
mod leases;
mod manual;
mod output;
mod parts;
mod relocation;
mod reservations;
mod scan;
mod score;
mod shadows;
mod source;
mod standbys;
mod switchover;
mod table;
mod telemetry;
mod token;
mod when;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use exit::Failure;
use output::Output;

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        // Help and version come by this way too: clap knows which stream and code they want.
        Err(refusal) => {
            let _ = refusal.print();
            return ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(2));
        }
    };
    let mut out = Output::new();
    match run(args, &mut out).and_then(|()| out.flush().map_err(Failure::from)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has read enough: `foreshadow leases list | head`.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            out.complain(&failure);
            failure.exit.into()
        }
    }
}

fn run(args: Args, out: &mut Output) -> Result<(), Failure> {
    match args.command {
        Command::Serve(args) => parts::serve(&args, out.colour_err()),
        Command::Check(args) => check::check(&args, out),
        Command::Leases(args) => leases::leases(args, out),
        Command::Instances(args) => instances::instances(args, out),
        Command::Accounts(args) => accounts::accounts(args, out),
        Command::Applications(args) => accounts::applications(args, out),
        Command::Reservations(args) => reservations::reservations(args, out),
        Command::Backtest(args) => backtest::backtest(&args, out),
        Command::Forecast(args) => forecast::forecast(&args, out),
        Command::Anomaly(args) => forecast::anomaly(&args, out),
        Command::Predict(args) => shadows::predict(args, out),
        Command::Scan(args) => scan::scan(&args, out),
        Command::Score(args) => score::score(&args, out),
        Command::Relocation(args) => relocation::relocation(&args, out),
        Command::Standby(args) => standbys::standbys(args.what, out),
        Command::Shadows(args) => shadows::shadows(args, out),
        Command::Import(args) => import::import(&args, out),
        Command::Status(args) => control::status(&args, out),
        Command::Reload(args) => control::reload(&args, out),
        Command::Backup(args) => control::backup(&args, out),
        Command::Audit(args) => audit::audit(&args, out),
        Command::Who(args) => audit::who(&args, out),
        Command::Events(args) => events::events(&args, out),
        Command::Telemetry(args) => telemetry::telemetry(args, out),
        Command::Token(args) => token::token(&args, out),
        Command::Agent(args) => agent::agent(args, out),
        Command::Switchover(args) => switchover::switchover(args, out),
        Command::Lab(args) => parts::lab(&args),
        Command::Completions { shell } => manual::completions(shell, out),
        Command::Man { dir } => manual::pages(&dir, out),
    }
}
