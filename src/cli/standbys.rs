//! `foreshadow standby`.

use std::io::Write;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::client::{Client, ClientError, escape};
use crate::api::command::Refusal;
use crate::api::hosts::{PairCheckState, PairCheckView};
use crate::api::leases::parse_time;
use crate::api::standbys::StandbyView;

use super::args_directory::Asked;
use super::args_standby::{NewStandbyWords, Standbys};
use super::entries::{all, body, client, row, show};
use super::exit::{Exit, Failure};
use super::output::{Output, Safe};
use super::table::Table;

/// How long a switchover is waited for; it goes on all the same.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How long its first answer is waited for; most come within milliseconds.
const ANSWER_WAIT_MAX: Duration = Duration::from_millis(500);

/// Does what was asked of the standbys.
pub(super) fn standbys(command: Standbys, out: &mut Output) -> Result<(), Failure> {
    match command {
        Standbys::List { network, asked } => {
            let mut found: Vec<StandbyView> =
                all(&mut client(&asked)?, "/v1/standbys", "standbys", &[])?;
            found.retain(|of| network.as_ref().is_none_or(|name| of.network == *name));
            list(&found, &asked, out)
        }
        Standbys::Show { id, asked } => {
            let found: StandbyView = client(&asked)?.get(&path(&id))?;
            show_one(&found, &asked, out)
        }
        Standbys::Add(words) => {
            let made: StandbyView = client(&words.asked)?.post("/v1/standbys", &request(&words))?;
            show_one(&made, &words.asked, out)
        }
        Standbys::Report { id, state, progress, asked } => {
            let mut said = body(&[("state", &state)]);
            said.extend(progress.map(|percent| ("progress".to_owned(), percent.into())));
            let path = format!("{}/report", path(&id));
            let now: StandbyView = client(&asked)?.post(&path, &said)?;
            show_one(&now, &asked, out)
        }
        Standbys::Switch { id, dry_run: true, asked, .. } => dry_run(&id, &asked, out),
        Standbys::Active { id, state, asked } => {
            let said = body(&[("state", &Some(state))]);
            let of: StandbyView = client(&asked)?.post(&format!("{}/active", path(&id)), &said)?;
            show_one(&of, &asked, out)
        }
        Standbys::Switch { id, failed, force, in_window, asked, .. } => {
            let said: Map<String, Value> =
                [("failed", failed), ("force", force), ("wait", in_window)]
                    .map(|(key, value)| (key.to_owned(), value.into()))
                    .into_iter()
                    .collect();
            let mut client = client(&asked)?;
            let mut now: StandbyView = client.post(&format!("{}/switchover", path(&id)), &said)?;
            if let Some(at) = now.planned.as_ref().filter(|_| !asked.json) {
                return Ok(writeln!(out, "{} is switched to at {at}", Safe(&now.id))?);
            }
            if now.planned.is_none() {
                wait(&mut client, &mut now)?;
            }
            match asked.json {
                true => out.json(&now),
                false => report(&now, out),
            }
        }
        Standbys::Drop { id, asked } => {
            let was: StandbyView = client(&asked)?.delete_shown(&path(&id))?;
            match asked.json {
                true => out.json(&was),
                false => Ok(writeln!(out, "standby {} is dropped", Safe(&was.id))?),
            }
        }
    }
}

/// What was looked at.
#[derive(Debug, Serialize, Deserialize)]
struct Checks {
    checks: Vec<PairCheckView>,
}

/// Everything that a switchover would stumble over, and nothing done.
fn dry_run(id: &str, asked: &Asked, out: &mut Output) -> Result<(), Failure> {
    let found: Checks = client(asked)?.get(&format!("{}/checks", path(id)))?;
    if asked.json {
        out.json(&found)?;
    } else {
        let mut table = Table::new(&["WHAT", "STATE", "FOUND"]);
        for of in &found.checks {
            let state = match of.state {
                PairCheckState::Good => "good",
                PairCheckState::Doubtful => "doubtful",
                PairCheckState::Bad => "bad",
            };
            row(&mut table, &[Some(of.what.as_str()), Some(state), Some(&of.text)]);
        }
        let colour = out.colour();
        table.write(out, colour)?;
    }
    match found.checks.iter().filter(|of| of.state == PairCheckState::Bad).count() {
        0 => Ok(()),
        bad => {
            let text = format!("{id} cannot be switched to: {}", super::parts::count(bad, "fault"));
            Err(Failure::says(Exit::Failed, text))
        }
    }
}

/// Waits until the standby is promoted, or the switchover is taken back.
fn wait(client: &mut Client, now: &mut StandbyView) -> Result<(), Failure> {
    let (since, epoch) = (Instant::now(), now.epoch);
    while now.state == "switching" && now.epoch == epoch {
        if since.elapsed() > WAIT_MAX {
            let step = now.switchover.as_ref().map_or("", |switchover| &switchover.step);
            let text = format!("standby {} is not promoted yet: {step}; it goes on", now.id);
            return Err(Failure::says(Exit::Failed, text));
        }
        std::thread::sleep(Duration::from_millis(20));
        look(client, now)?;
    }
    if now.state != "promoted" {
        let text = format!("the switchover to {} was taken back: it is {}", now.id, now.state);
        return Err(Failure::says(Exit::Failed, text));
    }
    // Its first answer may be under way.
    let promoted = Instant::now();
    let is_measured =
        |of: &StandbyView| of.switchover.as_ref().is_some_and(|s| s.outage_ms.is_some());
    while now.state == "promoted" && !is_measured(now) && promoted.elapsed() < ANSWER_WAIT_MAX {
        std::thread::sleep(Duration::from_millis(20));
        if look(client, now)? {
            break;
        }
    }
    Ok(())
}

/// As it is now; whether it is over and forgotten, as it is once the former active is ended.
fn look(client: &mut Client, now: &mut StandbyView) -> Result<bool, Failure> {
    match client.get(&path(&now.id)) {
        Ok(found) => *now = found,
        Err(ClientError::Refused(Refusal::NotFound(_))) => {
            now.state = "promoted".into();
            return Ok(true);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(false)
}

/// What was done when, and for how long nobody answered.
fn report(of: &StandbyView, out: &mut Output) -> Result<(), Failure> {
    let Some(switchover) = &of.switchover else { return Ok(()) };
    writeln!(out, "{} is promoted: {}", Safe(&of.id), Safe(&of.addresses.join(", ")))?;
    let since = parse_time(&switchover.started);
    for step in &switchover.steps {
        let after = since.zip(parse_time(&step.at)).map(|(since, at)| at.since(since).0);
        writeln!(out, "{:>8} ms  {}", after.unwrap_or_default(), step.step)?;
    }
    match switchover.outage_ms {
        Some(ms) => writeln!(out, "nobody answered for {ms:.1} ms")?,
        None => writeln!(out, "the standby has not answered its agent yet")?,
    }
    Ok(())
}

fn path(id: &str) -> String {
    format!("/v1/standbys/{}", escape(id))
}

fn request(words: &NewStandbyWords) -> Map<String, Value> {
    let (network, mac) = (Some(words.network.clone()), Some(words.standby_mac.clone()));
    let mut request = body(&[
        ("id", &words.id),
        ("network", &network),
        ("hostname", &words.hostname),
        ("on_failure", &words.on_failure),
    ]);
    let active =
        [("mac", &words.active_mac), ("port", &words.active_port), ("host", &words.active_host)];
    let standby = [("mac", &mac), ("port", &words.standby_port), ("host", &words.standby_host)];
    request.insert("active".into(), body(&active).into());
    request.insert("standby".into(), body(&standby).into());
    request.insert("addresses".into(), words.addresses.clone().into());
    let unfenced =
        words.unfenced.as_ref().map(|word| ("unfenced".to_owned(), (word == "allow").into()));
    request.extend(unfenced);
    request.extend(words.timeout.map(|seconds| ("timeout_s".to_owned(), seconds.into())));
    request
}

/// One below the other, the two with who they are in front.
fn show_one(of: &StandbyView, asked: &Asked, out: &mut Output) -> Result<(), Failure> {
    if asked.json {
        return out.json(of);
    }
    let mut value = serde_json::to_value(of).unwrap_or_default();
    let Some(fields) = value.as_object_mut() else { return Ok(()) };
    for name in ["active", "standby", "switchover"] {
        let Some(Value::Object(inside)) = fields.remove(name) else { continue };
        fields.extend(inside.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
    }
    show(&value, asked, out)
}

fn list(found: &[StandbyView], asked: &Asked, out: &mut Output) -> Result<(), Failure> {
    if asked.json {
        return out.json(&found);
    }
    let header = [
        "ID",
        "NETWORK",
        "ADDRESSES",
        "ACTIVE",
        "STANDBY",
        "STATE",
        "PROGRESS",
        "GATED",
        "ACCOUNT",
    ];
    let mut table = Table::new(&header);
    for of in found {
        let state = match &of.switchover {
            Some(switchover) => format!("{} ({})", of.state, switchover.step),
            None => of.state.clone(),
        };
        let progress = format!("{} %", of.progress);
        let cells = [
            Some(of.id.as_str()),
            Some(&of.network),
            Some(&of.addresses.join(",")),
            of.active.mac.as_deref(),
            of.standby.mac.as_deref(),
            Some(&state),
            Some(&progress),
            Some(if of.gated { "yes" } else { "no" }),
            of.account.as_deref(),
        ];
        row(&mut table, &cells);
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}
