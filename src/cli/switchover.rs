//! `foreshadow switchover`: an address goes from one guest to the other.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::agent::client::{AgentError, Client};
use crate::agent::verb::{Answer, Done, Verb};
use crate::agent::{Hold, Host, Stage};

use super::args_agent::Switchover;
use super::exit::{Exit, Failure};
use super::output::Output;

/// How long IP still passes to the former holder: what was sent to it when neighbours had yet to
/// hear of the other is on its way.
const PASSES_YET: Duration = Duration::from_millis(4);

/// The agent that runs, or what it would do.
enum Hand {
    Agent(Client),
    Own(Box<Host>),
}

/// What was done, and when, since the command began.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// The standby was silent, and woken if it was to be.
    prepared_ms: f64,
    /// Its gate was open, and the active's neighbours were told no more of it.
    opened_ms: f64,
    /// The segment was told.
    announced_ms: f64,
    /// The active was silent.
    silenced_ms: f64,
    /// Neighbours that were told one by one.
    told: u32,
}

impl Hand {
    fn find(said: &Switchover) -> Result<Hand, Failure> {
        match Client::connect(&said.socket) {
            Ok(client) => Ok(Hand::Agent(client)),
            Err(AgentError::Lost(_)) => {
                let host = Host::start(None).map_err(|e| Failure::new(Exit::Failed, e))?;
                Ok(Hand::Own(Box::new(host)))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn hold(&mut self, hold: &Hold) -> Result<Done, Failure> {
        match self {
            Hand::Agent(client) => Ok(client.hold(hold)?),
            Hand::Own(host) => match host.answer(Instant::now(), Verb::Hold(hold.clone())) {
                Answer::Done(done) => Ok(done),
                Answer::Refused { text, .. } => Err(Failure::says(Exit::Failed, text)),
                answer => Err(Failure::says(Exit::Failed, format!("{answer:?}"))),
            },
        }
    }

    /// Says again what is to be said again; an agent does so by itself.
    fn linger(&mut self, until: Option<Instant>) -> Result<(), Failure> {
        loop {
            let now = Instant::now();
            let is_busy = match self {
                Hand::Agent(_) => false,
                Hand::Own(host) => {
                    host.tend(now).map_err(|e| Failure::new(Exit::Failed, e))?;
                    host.is_busy()
                }
            };
            if !is_busy && until.is_none_or(|until| until <= now) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(self, hold: &Hold) -> Result<(), Failure> {
        match self {
            Hand::Agent(mut client) => client.let_go(&hold.pair, hold.epoch, false).map(drop)?,
            Hand::Own(host) => host.clear().map_err(|e| Failure::new(Exit::Failed, e))?,
        }
        Ok(())
    }
}

/// Silences the standby, wakes it, gives it the addresses, and silences the active.
pub(super) fn switchover(said: Switchover, out: &mut Output) -> Result<(), Failure> {
    let silence = said.silence.map(Duration::try_from_secs_f64).transpose();
    let silence = silence.map_err(|e| Failure::says(Exit::Usage, format!("--silence: {e}")))?;
    let start = Instant::now();
    let at = || start.elapsed().as_secs_f64() * 1e3;
    let mut hand = Hand::find(&said)?;
    let mut hold = hold(&said);
    let mut report = Report::default();
    hold.stage = if said.failed { Stage::Fenced } else { Stage::Standby };
    hand.hold(&hold)?;
    if let Some(command) = &said.wake {
        wake(command)?;
    }
    report.prepared_ms = at();
    hold.stage = if said.failed { Stage::Promoted } else { Stage::Leaving };
    let begun = at();
    let done = hand.hold(&hold)?;
    report.opened_ms = begun + done.gated_us as f64 / 1e3;
    report.announced_ms = begun + done.announced_us as f64 / 1e3;
    report.told = done.told;
    if !said.failed {
        std::thread::sleep(PASSES_YET);
        hold.stage = Stage::Promoted;
        hand.hold(&hold)?;
    }
    report.silenced_ms = if said.failed { 0.0 } else { at() };
    say(&report, &said, out)?;
    out.flush()?;
    hand.linger(silence.map(|silence| Instant::now() + silence))?;
    silence.map_or(Ok(()), |_| hand.end(&hold))
}

fn hold(said: &Switchover) -> Hold {
    let pair = said.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    Hold {
        pair: format!("{}:{pair}", said.bridge).into(),
        epoch: said.epoch,
        bridge: said.bridge.as_str().into(),
        addresses: said.addresses.clone(),
        active: said.active.clone(),
        standby: said.standby.clone(),
        stage: Stage::Standby,
        watch: None,
    }
}

fn wake(command: &str) -> Result<(), Failure> {
    let refused = |text: String| Failure::says(Exit::Failed, format!("--wake: {command}: {text}"));
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| refused("want a program".into()))?;
    let status = Command::new(program).args(words).status().map_err(|e| refused(e.to_string()))?;
    if status.success() { Ok(()) } else { Err(refused(status.to_string())) }
}

fn say(report: &Report, said: &Switchover, out: &mut Output) -> Result<(), Failure> {
    if said.json {
        return out.json(report);
    }
    let Report { prepared_ms, opened_ms, announced_ms, silenced_ms, told } = report;
    writeln!(out, "{} has the address", said.standby.mac)?;
    writeln!(
        out,
        "ms: prepared {prepared_ms:.1}, opened {opened_ms:.1}, announced {announced_ms:.1} \
         ({told} neighbours told one by one), active silent {silenced_ms:.1}"
    )?;
    Ok(())
}
