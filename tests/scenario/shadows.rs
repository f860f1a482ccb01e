//! What is foreseen: predictions, and the shadows that are held for them.

use foreshadow::base::{Sort, Span};
use foreshadow::engine::Effects;
use foreshadow::engine::shadows::{Prediction, Reserve};
use foreshadow::lease::{Foreseen, Foreseer, Line, Owner};

use super::words::resource;
use super::world::World;

const VERBS: [&str; 9] =
    ["predict", "hold", "drop", "keep", "shadows", "shadows6", "tally", "tier", "moves"];

pub(super) fn is_verb(verb: &str) -> bool {
    VERBS.contains(&verb)
}

#[derive(Default)]
struct Words {
    count: u32,
    span: Span,
    quantiles: Vec<(u8, u32)>,
}

impl World {
    /// Does what the line says; `done ...`, or `denied why`.
    pub(super) fn foresee(
        &mut self,
        verb: &str,
        about: &str,
        rest: &[&str],
        fx: &mut Effects,
    ) -> Result<String, String> {
        let words = words(rest)?;
        let network = self.policy.networks[0].id;
        let until = self.now + words.span;
        let line = |sort| Line { network, sort, owner: owner(about) };
        Ok(match verb {
            "predict" => {
                let said = Prediction {
                    id: "p".into(),
                    by: Foreseer::Prediction,
                    made: self.now,
                    until,
                    count: words.count,
                    quantiles: words.quantiles,
                    instance_type: None,
                    region: None,
                    requirements: None,
                };
                let predicted = self.engine.predict(self.now, network, &owner(about), said, fx);
                told(predicted.map(|_| String::new()))
            }
            "hold" => {
                let (line, foreseen) = (line(Sort::V4), Foreseen::by(Foreseer::Operator));
                let reserve = Reserve { line, count: words.count, until, foreseen };
                let held = self.engine.reserve_shadows(self.now, &reserve, fx);
                told(held.map(|held| {
                    let held: Vec<_> = held.iter().map(|l| l.resource.to_string()).collect();
                    held.join(" ")
                }))
            }
            "drop" => {
                let resource = resource(about)?;
                told(self.engine.release_shadow(self.now, network, resource, fx).map(|_| ""))
            }
            "keep" => {
                let resource = resource(about)?;
                told(self.engine.extend_shadow(self.now, network, resource, until, fx).map(|_| ""))
            }
            "tier" => {
                let tier = self.engine.tier_of(network, resource(about)?);
                format!("done {}", tier.map_or("none", |tier| tier.as_str()))
            }
            "moves" => {
                let plans = self.engine.plans_of(self.now, 0, 100);
                let told = plans.iter().map(|plan| {
                    let of = plan.candidates.iter().map(|c| {
                        let stays = c.stays.map_or(String::new(), |s| format!("={}", s.as_str()));
                        format!(" {}@{}{stays}", c.resource, c.whole)
                    });
                    let lacking = plan.lacking;
                    let frozen = if plan.frozen { " frozen" } else { "" };
                    format!("{lacking}{frozen}{}", of.collect::<String>())
                });
                format!("done {}", told.collect::<Vec<_>>().join("; ")).trim_end().into()
            }
            "tally" => {
                let t = self.engine.tallies().get(&owner(about));
                format!("done {} {} {} {} {}", t.creates, t.hits, t.misses, t.yielded, t.aged)
            }
            _ => {
                let sort = if verb == "shadows" { Sort::V4 } else { Sort::V6 };
                let stocked = self.engine.leases().shadows().stocked(&line(sort));
                format!("done {} {} {}", stocked.ready, stocked.unproven, stocked.promised)
            }
        })
    }
}

fn told<T: std::fmt::Display>(done: Result<T, impl std::fmt::Display>) -> String {
    match done {
        Ok(what) => format!("done {what}").trim_end().into(),
        Err(why) => format!("denied {why}"),
    }
}

fn owner(text: &str) -> Owner {
    match text.split_once('/') {
        Some((account, application)) => (account.into(), Some(application.into())),
        None => (text.into(), None),
    }
}

fn words(rest: &[&str]) -> Result<Words, String> {
    let mut found = Words { span: Span::from_secs(3600), ..Words::default() };
    let number = |text: &str| text.parse().map_err(|_| format!("{text} is no number"));
    for word in rest {
        match word.split_once('=').ok_or(format!("what is {word}?"))? {
            ("count", n) => found.count = number(n)?,
            ("for", n) => found.span = Span::from_secs(number(n)?.into()),
            ("q", list) => {
                for pair in list.split(',') {
                    let (percent, n) = pair.split_once(':').ok_or("q=PERCENT:N")?;
                    let percent = percent.parse().map_err(|_| "q=PERCENT:N")?;
                    found.quantiles.push((percent, number(n)?));
                }
            }
            _ => return Err(format!("what is {word}?")),
        }
    }
    Ok(found)
}
