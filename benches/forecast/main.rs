//! How well and at what cost `foreshadow::forecast` looks ahead: `make bench-forecast`.
//!
//! With `FORECAST_DATA=DIR`, of the series in `DIR/series` and the event logs in `DIR/fleet`; without,
//! of series and a fleet that are made here. Prints the table of `docs/forecasting.md`.

// This is where figures are said.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cost;
mod data;
mod generate;
mod nab;
mod reserve;
mod rolling;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use data::{Log, Series};
use reserve::Curves;

/// The seed of what is made here. No constant of the models was chosen by what it makes.
const SEED: u64 = 1;

/// What there is to judge.
struct Judged {
    series: Vec<Series>,
    suspects: Vec<Series>,
    fleets: Vec<(String, Log)>,
}

fn main() {
    let given = std::env::var_os("FORECAST_DATA").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    if let Err(why) = run(given.as_deref()) {
        eprintln!("error: {why:#}");
        std::process::exit(1);
    }
}

fn run(given: Option<&Path>) -> Result<()> {
    let judged = match given {
        Some(dir) => of(dir)?,
        None => Judged {
            series: generate::series(SEED),
            suspects: generate::suspects(SEED),
            fleets: vec![("made here".to_owned(), generate::fleet(SEED))],
        },
    };
    let from = given.map_or("series made here".to_owned(), |_| "the data given".to_owned());
    println!("| what ({from}) | target | measured |\n| --- | --- | --- |");
    accuracy(&judged.series);
    costs(&judged.series);
    for (name, log) in &judged.fleets {
        reservations(name, log);
    }
    let suspects: Vec<&Series> = if given.is_some() {
        judged.series.iter().filter(|one| one.windows.is_some()).collect()
    } else {
        judged.suspects.iter().collect()
    };
    let (score, threshold) = nab::standard(&suspects);
    let many = suspects.len();
    row(
        &format!("NAB standard profile, {many} series, one threshold ({threshold:.2})"),
        "65",
        &format!("{score:.1}"),
    );
    Ok(())
}

fn of(dir: &Path) -> Result<Judged> {
    let series = data::series(&dir.join("series"))?;
    let mut fleets = Vec::new();
    let logs = dir.join("fleet");
    let entries = std::fs::read_dir(&logs).with_context(|| format!("read {}", logs.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok()).map(|e| e.path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "csv")) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        fleets.push((name, data::log(path)?));
    }
    Ok(Judged { series, suspects: Vec::new(), fleets })
}

fn row(what: &str, target: &str, measured: &str) {
    println!("| {what} | {target} | {measured} |");
}

fn accuracy(series: &[Series]) {
    for (step_s, name, target) in [(300, "5 minutes", "0.300"), (3_600, "1 hour", "0.400")] {
        for core in [true, false] {
            let some: Vec<&Series> =
                series.iter().filter(|one| one.step_s == step_s && (one.core || !core)).collect();
            let found = rolling::errors(&some);
            if found.series == 0 || (!core && some.iter().all(|one| one.core)) {
                continue;
            }
            let (kind, target) = if core { ("", target) } else { (", all kinds", "-") };
            let many = found.series;
            let (msql, still) = (found.msql, found.still);
            row(
                &format!("mSQL, steps of {name}{kind} ({many} series; the last value: {still:.3})"),
                target,
                &format!("{msql:.3}"),
            );
            let inside = format!("{:.3} / {:.3}", found.inside80, found.inside95);
            row("inside the 80 % / 95 % band", "0.78 to 0.86 / 0.93 to 0.97", &inside);
            let cost = found.cost.as_secs_f64() * 1e3;
            row("CPU of a fit and forecast, these histories", "2 ms", &format!("{cost:.2} ms"));
        }
    }
}

fn costs(series: &[Series]) {
    let some: Vec<&Series> = series.iter().filter(|one| one.step_s == 300).collect();
    let single = cost::single(&some).as_secs_f64() * 1e3;
    row("CPU of a fit and forecast, 4,032 points, median", "2 ms", &format!("{single:.2} ms"));
    let (time, peak) = cost::many(&some);
    let peak = peak.map_or("?".to_owned(), |mib| mib.to_string());
    row(
        "10,000 accounts of 4,032 points fitted and forecast, on 2 threads",
        "20 s, 1 GiB",
        &format!("{:.1} s, {peak} MiB", time.as_secs_f64()),
    );
}

fn reservations(name: &str, log: &Log) {
    let text = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    for topped_up in [false, true] {
        let curves = reserve::play(log, topped_up);
        let accounts = curves.accounts;
        let how = if topped_up { "topped up" } else { "filled once" };
        let pool = |held: usize| fixed_at(&curves, held);
        let hit = |held| {
            pool(held)
                .and_then(|(idle, _)| reserve::at(&curves.forecast, idle, |p| (p.idle, p.hit)))
        };
        row(
            &format!(
                "{name}, {accounts} accounts, {how}: hits at the idle cost of a fixed pool of 1 / 4 \
                 (fixed {} / {})",
                text(pool(1).map(|p| p.1)),
                text(pool(4).map(|p| p.1))
            ),
            if topped_up { "-" } else { "0.60 / 0.92" },
            &format!("{} / {}", text(hit(1)), text(hit(4))),
        );
        let idle = |curve: &[reserve::Point]| reserve::at(curve, 0.9, |p| (p.hit, p.idle));
        row(
            &format!(
                "{name}, {how}: idle addresses for 90 % hits (fixed {})",
                text(idle(&curves.fixed))
            ),
            if topped_up { "2.0" } else { "-" },
            &text(idle(&curves.forecast)),
        );
        if topped_up {
            let cost = curves.cost.as_secs_f64() * 1e3;
            row("CPU of one forecast of creates", "-", &format!("{cost:.2} ms"));
            row("mean pinball loss, in creates", "-", &format!("{:.4}", curves.pinball));
        }
    }
}

/// The idle addresses and hits of a fixed pool.
fn fixed_at(curves: &Curves, held: usize) -> Option<(f64, f64)> {
    let at = reserve::FIXED.iter().position(|&fixed| fixed == held)?;
    curves.fixed.get(at).map(|point| (point.idle, point.hit))
}
