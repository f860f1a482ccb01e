//! What forecasts cost: one, and those of ten thousand accounts.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use foreshadow::forecast::{HISTORY_MAX, Request, forecast};

use crate::data::Series;
use crate::rolling::WANTED;

const ACCOUNTS: usize = 10_000;
const THREADS: usize = 2;
/// How often one forecast is timed.
const TURNS: usize = 5;

/// CPU that this thread has used so far: that others want the processor too does not count.
pub(crate) fn cpu() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    Duration::from_secs(part(used.tv_sec)) + Duration::from_nanos(part(used.tv_nsec))
}

/// The median cost of a fit of the newest 4,032 points and a forecast of six steps.
pub(crate) fn single(series: &[&Series]) -> Duration {
    let mut costs = Vec::new();
    for one in series.iter().filter(|one| one.values.len() >= HISTORY_MAX) {
        let history = &one.values[one.values.len() - HISTORY_MAX..];
        for _ in 0..TURNS {
            let began = cpu();
            std::hint::black_box(ask(history, &one.seasons));
            costs.push(cpu() - began);
        }
    }
    costs.sort();
    costs.get(costs.len() / 2).copied().unwrap_or_default()
}

fn ask(history: &[f64], seasons: &[usize]) -> foreshadow::forecast::Forecast {
    forecast(&Request { history, horizon: 6, quantiles: &WANTED, seasons })
}

/// How long two threads take for ten thousand accounts with 4,032 points each, all of which are in
/// memory, and the most memory that this process ever had, in MiB.
pub(crate) fn many(series: &[&Series]) -> (Duration, Option<u64>) {
    let long: Vec<&&Series> = series.iter().filter(|one| one.values.len() >= HISTORY_MAX).collect();
    if long.is_empty() {
        return (Duration::ZERO, None);
    }
    let histories: Vec<(Vec<f64>, &[usize])> = (0..ACCOUNTS)
        .map(|number| {
            let one = long[number % long.len()];
            let spare = one.values.len() - HISTORY_MAX;
            let from = if spare > 0 { number / long.len() * 7 % spare } else { 0 };
            (one.values[from..from + HISTORY_MAX].to_vec(), one.seasons.as_slice())
        })
        .collect();
    let next = AtomicUsize::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((history, seasons)) =
                    histories.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    std::hint::black_box(ask(history, seasons));
                }
            });
        }
    });
    (began.elapsed(), peak())
}

fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1_024)
}
