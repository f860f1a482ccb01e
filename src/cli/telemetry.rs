//! `foreshadow telemetry`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use anyhow::Context;

use crate::api::client::{Client, escape};
use crate::api::telemetry::{
    HistoryView, KnownEventView, KnownEventsView, REFUSED_TOLD, ReporterView, ReportersView,
    ScrapesView, TakenView, TelemetryView,
};

use super::args::Telemetry;
use super::exit::{Exit, Failure};
use super::output::{Output, Safe};
use super::source;
use super::table::{Table, Tone};

/// Sent in one request, in bytes; whole lines.
const PART_BYTES: usize = 4 << 20;
/// Longest line that is sent at all; the server says what is wrong with it.
const LINE_BYTES: u64 = 1 << 20;

/// Does what was asked.
pub(super) fn telemetry(command: Telemetry, out: &mut Output) -> Result<(), Failure> {
    match command {
        Telemetry::Status { json, target } => {
            let view: TelemetryView = source::running(&target)?.get("/v1/telemetry")?;
            if json { out.json(&view) } else { status(&view, out) }
        }
        Telemetry::Instances { account, json, target } => {
            let found = instances(&mut source::running(&target)?, account.as_deref())?;
            if json { out.json(&found) } else { list(&found, out) }
        }
        Telemetry::History { instance, metric, resolution, from, to, json, target } => {
            let mut path = format!(
                "/v1/telemetry/history?limit=10000&instance={}&metric={}&resolution={resolution}",
                escape(&instance),
                escape(&metric)
            );
            for (name, value) in [("from", from), ("to", to)] {
                path += &value.map_or(String::new(), |v| format!("&{name}={}", escape(&v)));
            }
            let found: HistoryView = source::running(&target)?.get(&path)?;
            if json { out.json(&found) } else { history(&found, out) }
        }
        Telemetry::Push { file, target } => push(&mut source::running(&target)?, &file, out),
        Telemetry::Scrapes { json, target } => {
            let view: ScrapesView = source::running(&target)?.get("/v1/telemetry/scrapes")?;
            if json { out.json(&view) } else { scrapes(&view, out) }
        }
        Telemetry::Events { account, json, target } => {
            let found = events(&mut source::running(&target)?, account.as_deref())?;
            if json { out.json(&found) } else { list_events(&found, out) }
        }
    }
}

fn status(view: &TelemetryView, out: &mut Output) -> Result<(), Failure> {
    writeln!(out, "telemetry: {}, {} bytes", Safe(&view.state), view.disk_bytes)?;
    let TelemetryView { series, instances, events, values, refused, .. } = view;
    writeln!(out, "{series} series of {instances} instances, {events} events")?;
    writeln!(out, "{values} values taken and {refused} lines refused since the start")?;
    for (resolution, since) in &view.since {
        writeln!(out, "{}: since {}", Safe(resolution), Safe(since))?;
    }
    for damaged in &view.damaged {
        writeln!(out, "SET ASIDE: {}", Safe(damaged))?;
    }
    Ok(())
}

/// Every page of instances.
fn instances(client: &mut Client, account: Option<&str>) -> Result<Vec<ReporterView>, Failure> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let mut path = "/v1/telemetry/instances?limit=1000".to_owned();
        for (name, value) in [("account", account), ("cursor", after.as_deref())] {
            path += &value.map_or(String::new(), |v| format!("&{name}={}", escape(v)));
        }
        let page: ReportersView = client.get(&path)?;
        found.extend(page.instances);
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

fn list(instances: &[ReporterView], out: &mut Output) -> Result<(), Failure> {
    let mut table =
        Table::new(&["INSTANCE", "ACCOUNT", "APPLICATION", "TYPE", "METRIC", "VALUE", "TIME"]);
    let plain = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    for of in instances {
        let (account, application, kind) =
            (plain(&of.account), plain(&of.application), plain(&of.kind));
        let mut row = |metric: &str, value: &str, time: &str| {
            let cells = [&of.instance, &account, &application, &kind, metric, value, time];
            table.row(&cells.map(|cell| (cell, Tone::Plain)));
        };
        for (metric, point) in &of.metrics {
            row(metric, &number(point.value), &point.time);
        }
        if of.metrics.is_empty() {
            row("-", "-", &of.seen);
        }
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}

/// Short, and exact enough for people.
fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size == 0.0 || (0.001..1e9).contains(&size) => {
            let text = format!("{value:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => format!("{value:.3e}"),
    }
}

fn history(found: &HistoryView, out: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new(&["START", "COUNT", "MEAN", "MIN", "MAX", "LAST"]);
    for bucket in &found.buckets {
        let mean = bucket.sum / bucket.count.max(1) as f64;
        let numbers = [mean, bucket.min, bucket.max, bucket.last].map(number);
        let count = bucket.count.to_string();
        let [mean, min, max, last] = &numbers;
        let cells = [&bucket.start, &count, mean, min, max, last];
        table.row(&cells.map(|cell| (cell.as_str(), Tone::Plain)));
    }
    let colour = out.colour();
    table.write(out, colour)?;
    match &found.next {
        Some(next) => Ok(writeln!(out, "there is more: --from {}", Safe(next))?),
        None => Ok(()),
    }
}

/// Sends a file in parts of whole lines.
fn push(client: &mut Client, file: &Path, out: &mut Output) -> Result<(), Failure> {
    let mut reader: Box<dyn BufRead> = match file.to_str() {
        Some("-") => Box::new(BufReader::new(std::io::stdin())),
        _ => {
            let opened = File::open(file).with_context(|| file.display().to_string())?;
            Box::new(BufReader::new(opened))
        }
    };
    let (mut all, mut part, mut before, mut lines) = (TakenView::default(), Vec::new(), 0, 0);
    loop {
        let length = reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut part)?;
        lines += 1;
        if part.len() >= PART_BYTES || (length == 0 && !part.is_empty()) {
            let sent = std::mem::take(&mut part);
            let taken: TakenView = client.post_lines("/v1/telemetry", sent)?;
            tell(&taken, before, all.refused, out)?;
            all.lines += taken.lines;
            all.values += taken.values;
            all.events += taken.events;
            all.refused += taken.refused;
            before = lines;
        }
        if length == 0 {
            break;
        }
    }
    let TakenView { lines, values, events, refused, .. } = all;
    writeln!(
        out,
        "{lines} lines taken: {values} values, {events} events; {refused} lines refused"
    )?;
    match refused {
        0 => Ok(()),
        _ => Err(Failure::says(Exit::Failed, format!("{refused} lines were refused"))),
    }
}

/// The refusals of one part, whose first line is the one after `before`.
fn tell(taken: &TakenView, before: u64, told: u64, out: &mut Output) -> Result<(), Failure> {
    let most = (REFUSED_TOLD as u64).saturating_sub(told);
    for fault in taken.faults.iter().take(usize::try_from(most).unwrap_or(usize::MAX)) {
        let line = before + fault.line;
        writeln!(out, "line {line}: {}: {}", Safe(&fault.field), Safe(&fault.detail))?;
    }
    Ok(())
}

fn scrapes(view: &ScrapesView, out: &mut Output) -> Result<(), Failure> {
    let mut table =
        Table::new(&["NAME", "URL", "LAST", "TOOK", "SAMPLES", "VALUES", "FAILED", "ERROR"]);
    for scrape in &view.scrapes {
        let failed = format!("{} of {}", scrape.failures, scrape.scrapes);
        let error = scrape.error.clone().unwrap_or_else(|| "-".into());
        let tone = if scrape.error.is_some() { Tone::Bad } else { Tone::Good };
        table.row(&[
            (&scrape.name, tone),
            (&scrape.url, Tone::Plain),
            (scrape.last.as_deref().unwrap_or("-"), Tone::Plain),
            (&format!("{} ms", scrape.took_ms), Tone::Plain),
            (&scrape.samples.to_string(), Tone::Plain),
            (&scrape.values.to_string(), Tone::Plain),
            (&failed, Tone::Plain),
            (&error, tone),
        ]);
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}

/// Every page of events.
fn events(client: &mut Client, account: Option<&str>) -> Result<Vec<KnownEventView>, Failure> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let mut path = "/v1/known-events?limit=1000".to_owned();
        for (name, value) in [("account", account), ("cursor", cursor.as_deref())] {
            path += &value.map_or(String::new(), |v| format!("&{name}={}", escape(v)));
        }
        let page: KnownEventsView = client.get(&path)?;
        found.extend(page.events);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

fn list_events(events: &[KnownEventView], out: &mut Output) -> Result<(), Failure> {
    let mut table =
        Table::new(&["ID", "KIND", "ACCOUNT", "START", "END", "SIZE", "SAID BY", "NOTE"]);
    let plain = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    for event in events {
        let size = event.size.map_or("-".into(), number);
        table.row(&[
            (&event.id.to_string(), Tone::Plain),
            (&event.kind, Tone::Plain),
            (&plain(&event.account), Tone::Plain),
            (&event.start, Tone::Plain),
            (&plain(&event.end), Tone::Plain),
            (&size, Tone::Plain),
            (&event.said_by, Tone::Plain),
            (&plain(&event.note), Tone::Plain),
        ]);
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_short() {
        let cases = [(0.0, "0"), (0.5, "0.5"), (12.34567, "12.346"), (2e9, "2.000e9"), (3.0, "3")];
        for (value, want) in cases {
            assert_eq!(number(value), want);
        }
    }
}
