//! `foreshadow events`.

use std::io::Write;
use std::time::Duration;

use crate::api::audit::RecordView;
use crate::api::client::ClientError;

use super::args::Events;
use super::audit::{cells, newest};
use super::exit::{Exit, Failure};
use super::output::{Output, Safe};
use super::source;

/// How long one request waits for more; the next goes on where it ended.
const FOLLOW_S: u64 = 3600;
/// Pause before a server is asked again that did not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest record, in bytes.
const LINE_MAX: usize = 1 << 20;

/// Shows records as they come.
pub(super) fn events(args: &Events, out: &mut Output) -> Result<(), Failure> {
    let mut client = source::running(&args.target)?;
    let mut position = match args.position {
        Some(position) => position,
        None => {
            let end = newest(&mut client, "", 1)?.first().map_or(1, |newest| newest.number + 1);
            end.saturating_sub(args.last).max(1)
        }
    };
    let mut lines = Lines { rest: Vec::new(), json: args.json };
    let follow = if args.follow { FOLLOW_S } else { 0 };
    loop {
        let query = args.which.query();
        let path = format!("/v1/events?position={position}&follow={follow}{query}");
        let ended = client.stream(&path, |piece| lines.take(piece, &mut position, out));
        lines.rest.clear();
        match ended {
            Ok(()) if !args.follow => return Ok(()),
            Err(failure) if !args.follow || !is_gone(&failure) => return Err(failure),
            Ok(()) => {}
            Err(failure) => out.note(format!("{failure}; trying again")),
        }
        client = loop {
            match source::running(&args.target) {
                Ok(client) => break client,
                Err(failure) if !is_gone(&failure) => return Err(failure),
                Err(_) => std::thread::sleep(AGAIN),
            }
        };
    }
}

/// Whether the server is gone, and may come again.
fn is_gone(failure: &Failure) -> bool {
    let broken = |error: &ClientError| matches!(error, ClientError::Broken(_));
    failure.exit == Exit::Unreachable || failure.error.downcast_ref().is_some_and(broken)
}

/// Lines of JSON from pieces of any size.
struct Lines {
    rest: Vec<u8>,
    json: bool,
}

impl Lines {
    /// Shows what is whole; `position` becomes the record after it.
    fn take(&mut self, piece: &[u8], position: &mut u64, out: &mut Output) -> Result<(), Failure> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if self.rest.len() > LINE_MAX {
                return Err(Failure::says(Exit::Failed, format!("a line over {LINE_MAX} bytes")));
            }
            if self.rest.last() != Some(&b'\n') {
                continue;
            }
            let line = std::mem::take(&mut self.rest);
            // Empty lines say that the server is there.
            if line.trim_ascii().is_empty() {
                continue;
            }
            let record: RecordView = serde_json::from_slice(&line).map_err(anyhow::Error::from)?;
            if self.json {
                out.write_all(&line)?
            } else {
                show(&record, out)?
            }
            *position = record.number + 1;
        }
        // Who follows wants it now.
        Ok(out.flush()?)
    }
}

/// A record in one line: its number, and what of it is known.
fn show(record: &RecordView, out: &mut Output) -> Result<(), Failure> {
    write!(out, "{}", record.number)?;
    for cell in cells(record).iter().filter(|cell| *cell != "-") {
        write!(out, " {}", Safe(cell))?;
    }
    Ok(writeln!(out)?)
}
