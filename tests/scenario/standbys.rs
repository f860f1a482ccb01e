//! Standbys, and the switchovers of whoever drives their gates.

use std::sync::Arc;

use foreshadow::base::NetworkId;
use foreshadow::engine::Effects;
use foreshadow::engine::instances::Denied;
use foreshadow::engine::standbys::Report;
use foreshadow::engine::standbys::name::StandbyWish;
use foreshadow::lease::directory::{
    Identifiers, Kind, Party, Readiness, Standby, StandbyState, Step,
};

use super::words::{mac, resource, span};
use super::world::World;

const VERBS: [&str; 9] =
    ["standby", "leave", "gate", "report", "switch", "step", "promote", "abort", "finish"];

pub(super) fn is_verb(verb: &str) -> bool {
    VERBS.contains(&verb)
}

impl World {
    /// Does what the line says: `done STATE`, with the epoch and the step of a switchover.
    pub(super) fn stand_by(
        &mut self,
        verb: &str,
        id: &str,
        rest: &[&str],
        fx: &mut Effects,
    ) -> Result<Result<String, Denied>, String> {
        let now = self.now;
        let number = |at: usize| {
            let word = rest.get(at).ok_or("no epoch")?;
            word.parse::<u64>().map_err(|_| format!("no epoch: {word}"))
        };
        let done = match verb {
            "standby" => {
                let wish = self.standby_wish(id, rest)?;
                let made = self.engine.create_standby(now, &wish, fx);
                return Ok(made.map(|(of, new)| {
                    let all: Vec<_> = of.resources.iter().map(ToString::to_string).collect();
                    format!("{} {}", if new { "made" } else { "same" }, all.join(" "))
                }));
            }
            "leave" => self.engine.drop_standby(now, id, fx),
            "gate" => self.engine.gated(now, id, rest == ["on"], fx),
            "report" => self.engine.report(now, id, report(rest)?, fx),
            "switch" => {
                let failure = rest.contains(&"failure");
                let kind = if failure { Kind::Failure } else { Kind::Planned };
                let how = (kind, rest.contains(&"force"), "user root");
                self.engine.begin_switchover(now, id, how, fx)
            }
            "step" => {
                let word = rest.get(1).ok_or("step ID EPOCH STEP")?;
                let step = Step::parse(word).ok_or(format!("no step: {word}"))?;
                self.engine.step_switchover(now, id, number(0)?, step, fx)
            }
            "promote" => self.engine.promote(now, id, number(0)?, fx),
            "abort" => self.engine.abort_switchover(now, id, number(0)?, fx),
            _ => self.engine.finish_switchover(now, id, number(0)?, fx),
        };
        Ok(done.map(|of| shown(&of)))
    }

    fn standby_wish(&self, id: &str, rest: &[&str]) -> Result<StandbyWish, String> {
        let party = |text: &str| {
            let who = Identifiers { mac: Some(mac(text)?), ..Identifiers::default() };
            Ok::<_, String>(Party { who, ..Party::default() })
        };
        let mut wish = StandbyWish {
            id: Some(id.into()),
            network: Some(self.policy.networks[0].id),
            ..StandbyWish::default()
        };
        for word in rest {
            let (key, value) = word.split_once('=').ok_or(format!("what is {word}?"))?;
            match key {
                "active" => wish.active = party(value)?,
                "by" => wish.standby = party(value)?,
                "shares" => wish.resources.push(resource(value)?),
                "host" => wish.hostname = Some(value.into()),
                "on" => wish.network = Some(NetworkId::of(value)),
                "within" => wish.timeout = Some(span(value)?),
                "unfenced" => wish.unfenced = Some(value == "allow"),
                _ => return Err(format!("what is {word}?")),
            }
        }
        Ok(wish)
    }
}

fn report(rest: &[&str]) -> Result<Report, String> {
    let mut report = Report::default();
    for word in rest {
        match word.parse() {
            Ok(percent) => report.progress = Some(percent),
            Err(_) => {
                report.state = Some(Readiness::parse(word).ok_or(format!("no state: {word}"))?);
            }
        }
    }
    Ok(report)
}

fn shown(of: &Arc<Standby>) -> String {
    let state = of.state.as_str();
    match &of.state {
        StandbyState::Switching(switchover) | StandbyState::Promoted(switchover) => {
            format!("done {state} {} {}", of.epoch, switchover.step.as_str())
        }
        _ => format!("done {state} {}", of.progress),
    }
}
