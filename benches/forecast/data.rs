//! Series and event logs from files.
//!
//! A directory of series has `manifest.json` (`{"series": [{"id", "file", "kind", "core",
//! "frequency_seconds", "season_lengths", "anomaly_windows"}]}`) and CSV files of `timestamp,value`;
//! a log is CSV of `time,event,account,application,instance,network`, as `foreshadow backtest` reads
//! it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use foreshadow::base::{Span, Timestamp};
use foreshadow::forecast::plan::Plan;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A series to forecast or to look for anomalies in.
pub(crate) struct Series {
    /// Whether it is among those that the targets are about.
    pub(crate) core: bool,
    pub(crate) step_s: usize,
    /// Seasons it may have, in points.
    pub(crate) seasons: Vec<usize>,
    /// Missing ones are not finite.
    pub(crate) values: Vec<f64>,
    /// First and last points of what is known to be an anomaly; `None` if nobody looked.
    pub(crate) windows: Option<Vec<(usize, usize)>>,
}

/// What the accounts of a fleet did.
#[derive(Default)]
pub(crate) struct Log {
    /// Seconds since the epoch of the first and last event.
    pub(crate) span: (f64, f64),
    pub(crate) accounts: BTreeMap<String, Account>,
}

#[derive(Default)]
pub(crate) struct Account {
    /// When it created instances, in seconds since the epoch, in order.
    pub(crate) creates: Vec<f64>,
    pub(crate) plans: Vec<Plan>,
}

/// All series of a directory.
pub(crate) fn series(dir: &Path) -> Result<Vec<Series>> {
    let path = dir.join("manifest.json");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let manifest: Value = serde_json::from_str(&text)?;
    let entries = manifest["series"].as_array().context("the manifest has no series")?;
    entries.iter().map(|entry| read(dir, entry)).collect()
}

fn read(dir: &Path, entry: &Value) -> Result<Series> {
    let path = dir.join(entry["file"].as_str().context("a series has no file")?);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let (mut times, mut values) = (Vec::new(), Vec::new());
    for line in text.lines().skip(1) {
        let (time, value) = line.split_once(',').context("want timestamp,value")?;
        times.push(second(time));
        values.push(value.parse().unwrap_or(f64::NAN));
    }
    let window = |window: &Value| -> Option<(usize, usize)> {
        let (from, to) = (second(window[0].as_str()?), second(window[1].as_str()?));
        let first = times.partition_point(|time| *time < from);
        let last = times.partition_point(|time| *time <= to).checked_sub(1)?;
        Some((first, last))
    };
    let seasons = entry["season_lengths"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Series {
        core: entry["core"].as_bool().unwrap_or(false),
        step_s: entry["frequency_seconds"].as_f64().unwrap_or(0.0) as usize,
        seasons: seasons.iter().filter_map(|s| s.as_u64()).map(|s| s as usize).collect(),
        windows: entry["anomaly_windows"].as_array().map(|w| w.iter().filter_map(window).collect()),
        values,
    })
}

/// A time to the second, so that those of the same form compare.
fn second(text: &str) -> String {
    text.chars().take(19).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

/// An event log.
pub(crate) fn log(path: &Path) -> Result<Log> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let mut log = Log { span: (f64::INFINITY, 0.0), ..Log::default() };
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [time, event, account, _, instance, ..] = fields[..] else { continue };
        let at = seconds(time)?;
        log.span = (log.span.0.min(at), log.span.1.max(at));
        match event {
            "create" => log.account(account).creates.push(at),
            "scheduled" => {
                let plan = plan(at, instance).context("want at=;count=;duration_s=")?;
                log.account(account).plans.push(plan);
            }
            _ => {}
        }
    }
    log.accounts.values_mut().for_each(|account| account.creates.sort_by(f64::total_cmp));
    Ok(log)
}

impl Log {
    fn account(&mut self, name: &str) -> &mut Account {
        self.accounts.entry(name.to_owned()).or_default()
    }
}

fn seconds(time: &str) -> Result<f64> {
    Ok(OffsetDateTime::parse(time, &Rfc3339)?.unix_timestamp() as f64)
}

fn plan(announced: f64, text: &str) -> Option<Plan> {
    let fields: BTreeMap<&str, &str> = text.split(';').filter_map(|f| f.split_once('=')).collect();
    Some(Plan {
        announced: Timestamp::from_secs(announced as u64),
        at: Timestamp::from_secs(seconds(fields.get("at")?).ok()? as u64),
        count: fields.get("count")?.parse().ok()?,
        duration: Span::from_secs(fields.get("duration_s")?.parse().ok()?),
    })
}
