//! `foreshadow backtest`.

use std::fs::File;
use std::io::{BufReader, IsTerminal, Write};

use anyhow::Context;

use crate::backtest::log::{self, LogError};
use crate::backtest::picture;
use crate::backtest::report::{self, Fixed, Report};
use crate::backtest::world::Way;

use super::args::Backtest;
use super::exit::{Exit, Failure};
use super::output::Output;

/// Plays an event log, and says what shadows would have done.
pub(super) fn backtest(args: &Backtest, out: &mut Output) -> Result<(), Failure> {
    let path = args.events.display();
    let file = File::open(&args.events).with_context(|| format!("open {path}"))?;
    let says = |why: LogError| Failure::says(Exit::Failed, format!("{path}: {why}"));
    let events = log::read(BufReader::new(file)).map_err(says)?;
    let way = Way {
        ready: args.ready,
        plans: !args.no_plans,
        perfect_s: args.perfect.unwrap_or(0),
        topup_s: args.topup,
    };
    let all = events.len() as u64;
    let shown = std::io::stderr().is_terminal();
    let report = report::run(&events, way, |played| {
        if shown {
            // Whoever cannot be told how far it is hears of the end.
            let _ = write!(std::io::stderr(), "\r{:3} %", played * 100 / all.max(1));
        }
    });
    if shown {
        let _ = write!(std::io::stderr(), "\r     \r");
    }
    let report = report.map_err(|why| Failure::says(Exit::Failed, format!("{path}: {why}")))?;
    if let Some(to) = &args.svg {
        let written = std::fs::write(to, picture::svg(&report));
        written.with_context(|| format!("write {}", to.display()))?;
    }
    if args.json { out.json(&report) } else { tell(&report, out) }
}

fn tell(report: &Report, out: &mut Output) -> Result<(), Failure> {
    let percent = |rate: f64| rate * 100.0;
    writeln!(out, "{} events, {} creates", report.events, report.creates)?;
    writeln!(out, "hit rate       {:6.1} %", percent(report.hit_rate))?;
    writeln!(out, "idle addresses {:8.1}", report.idle)?;
    writeln!(out, "waste          {:6.1} % of {} shadows", percent(report.waste), report.held)?;
    writeln!(out, "refused        {:6}", report.refused)?;
    writeln!(out, "fragmentation  {:8.1} runs for 100 addresses", report.fragmentation)?;
    for (name, Fixed { size, hit_rate, idle }) in [
        ("with no more idle addresses", report.fixed_same_waste),
        ("with no lower a hit rate", report.fixed_same_hit_rate),
    ] {
        let rate = percent(hit_rate);
        writeln!(out, "fixed pools {name}: {size} each, hit rate {rate:.1} %, {idle:.1} idle")?;
    }
    Ok(())
}
