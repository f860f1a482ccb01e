//! `foreshadow forecast` and `anomaly`: the forecaster by itself, for scripts and for judging it.

use std::io::{self, BufRead, Read, Write};

use anyhow::Context;

use crate::forecast::line::{self, Forecaster};

use super::args::{Anomaly, Forecast};
use super::exit::{Exit, Failure};
use super::output::Output;

/// The longest request, in bytes: a million values and more.
const REQUEST_MAX: u64 = 64 << 20;

/// Answers requests for forecasts.
pub(super) fn forecast(said: &Forecast, out: &mut Output) -> Result<(), Failure> {
    let mut forecaster = Forecaster::new();
    answer(said.jsonl, &mut io::stdin().lock(), out, |request| forecaster.answer(request))
}

/// Answers requests to score series.
pub(super) fn anomaly(said: &Anomaly, out: &mut Output) -> Result<(), Failure> {
    answer(said.jsonl, &mut io::stdin().lock(), out, line::anomalies)
}

/// One request, or one on each line; of those, one that is no good is answered with its fault.
fn answer(
    lines: bool,
    input: &mut impl BufRead,
    out: &mut impl Write,
    mut respond: impl FnMut(&str) -> Result<String, String>,
) -> Result<(), Failure> {
    if !lines {
        let request = take(|taken| input.take(REQUEST_MAX + 1).read_to_string(taken))?;
        let response = respond(&request).map_err(|why| Failure::says(Exit::Failed, why))?;
        return Ok(writeln!(out, "{response}")?);
    }
    loop {
        let request = take(|taken| input.by_ref().take(REQUEST_MAX + 1).read_line(taken))?;
        if request.is_empty() {
            return Ok(());
        }
        if request.trim().is_empty() {
            continue;
        }
        let response =
            respond(&request).unwrap_or_else(|why| serde_json::json!({ "error": why }).to_string());
        // Whoever asks waits for this before asking again.
        writeln!(out, "{response}")?;
        out.flush()?;
    }
}

fn take(read: impl FnOnce(&mut String) -> io::Result<usize>) -> Result<String, Failure> {
    let mut taken = String::new();
    let length = read(&mut taken).context("read standard input")?;
    if length as u64 > REQUEST_MAX {
        let most = REQUEST_MAX >> 20;
        return Err(Failure::says(Exit::Failed, format!("a request is longer than {most} MiB")));
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(lines: bool, input: &str) -> Result<String, Failure> {
        let mut out = Vec::new();
        let respond = |request: &str| match request.trim() {
            "bad" => Err("no \"good\"".to_owned()),
            request => Ok(request.to_uppercase()),
        };
        answer(lines, &mut input.as_bytes(), &mut out, respond)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_line_is_answered_and_a_bad_one_ends_nothing() {
        let said = answered(true, "a\nbad\n\nb").unwrap();
        assert_eq!(said, "A\n{\"error\":\"no \\\"good\\\"\"}\nB\n");
        assert_eq!(answered(true, "").unwrap(), "");
    }

    #[test]
    fn one_request_may_have_lines_and_fails_if_it_is_bad() {
        assert_eq!(answered(false, "a\nb\n").unwrap(), "A\nB\n");
        let failure = answered(false, "bad").unwrap_err();
        assert_eq!((failure.exit, failure.to_string().as_str()), (Exit::Failed, "no \"good\""));
    }
}
