//! What whoever drives gates and guests says of standbys: that a gate is in place, and each step of a
//! switchover. Nothing of it is asked for over HTTP; each is one batch, and one audit record.

use std::sync::Arc;

use crate::config::Policy;
use crate::engine::Engine;
use crate::engine::effects::Effects;
use crate::engine::instances::Denied;
use crate::engine::standbys::Report;
use crate::lease::directory::{Kind, Standby, Step};

use super::command::{Desk, Pending, Refusal, Reply};
use super::record::Done;
use super::registry::Registry;
use super::standbys::StandbyView;

/// One of these, about a standby.
#[derive(Debug)]
pub struct Drive {
    /// The standby.
    pub id: Box<str>,
    /// What became of it.
    pub what: Driven,
    /// On whose behalf, for the audit: a user, a token, or the server itself.
    pub who: Arc<str>,
    /// As it is then, once that is durable.
    pub reply: Reply<Result<Arc<Standby>, Refusal>>,
}

/// What became of a standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driven {
    /// Its agent says whether its gate is in place.
    Gate(bool),
    /// Its driver says how far it is.
    Report(Report),
    /// A switchover begins: why, and whether though it is not ready. Its epoch is in the answer.
    Begin(Kind, bool),
    /// A step was done, of the switchover with this epoch.
    Step(u64, Step),
    /// It was seen to answer, in the switchover with this epoch, after nobody did for so many
    /// microseconds.
    Measured(u64, u32),
    /// Its gate is open, and the segment knows: the leases are to be its own.
    Promote(u64),
    /// The switchover is called off, before the gate was opened.
    Abort(u64),
    /// The switchover is over: the record is to be forgotten.
    Finish(u64),
}

impl Driven {
    /// The verb of its audit record.
    fn verb(self) -> &'static str {
        match self {
            Driven::Gate(true) => "gate",
            Driven::Gate(false) => "ungate",
            Driven::Report(_) => "report",
            Driven::Begin(..) => "switchover",
            Driven::Step(..) => "step",
            Driven::Measured(..) => "measure",
            Driven::Promote(_) => "promote",
            Driven::Abort(_) => "abort",
            Driven::Finish(_) => "finish",
        }
    }

    fn run(
        self,
        engine: &mut Engine,
        now: crate::base::Timestamp,
        (id, who): (&str, &str),
        fx: &mut Effects,
    ) -> Result<Arc<Standby>, Denied> {
        match self {
            Driven::Gate(gated) => engine.gated(now, id, gated, fx),
            Driven::Report(report) => engine.report(now, id, report, fx),
            Driven::Begin(kind, forced) => {
                engine.begin_switchover(now, id, (kind, forced, who), fx)
            }
            Driven::Step(epoch, step) => engine.step_switchover(now, id, epoch, step, fx),
            Driven::Measured(epoch, us) => engine.note_outage(now, id, (epoch, us), fx),
            Driven::Promote(epoch) => engine.promote(now, id, epoch, fx),
            Driven::Abort(epoch) => engine.abort_switchover(now, id, epoch, fx),
            Driven::Finish(epoch) => engine.finish_switchover(now, id, epoch, fx),
        }
    }
}

impl Drive {
    /// Does what is asked; the answer waits until that is durable.
    pub(super) fn run(self, desk: &mut dyn Desk) -> Option<Pending> {
        let policy = desk.policy();
        let Drive { id, what, who, reply } = self;
        let Some(registry) = desk.registry() else {
            let why = "a server that is not running has no standbys";
            drop(reply.send(Err(Refusal::Unavailable(why.into()))));
            return None;
        };
        match apply(registry, &policy, (&id, &who), what) {
            Ok(new) => Pending::of(move |done| drop(reply.send(done.map(|()| new)))),
            Err(denied) => {
                drop(reply.send(Err(denied.into())));
                None
            }
        }
    }
}

/// Does it as part of the open batch, with its audit record if that changes anything.
fn apply(
    registry: Registry<'_>,
    policy: &Policy,
    (id, who): (&str, &str),
    what: Driven,
) -> Result<Arc<Standby>, Denied> {
    let Registry { engine, now, fx } = registry;
    let shown = |engine: &Engine| {
        let found = engine.directory().standby(id);
        found.map(|standby| StandbyView::of(standby, engine, policy))
    };
    let before = shown(engine);
    let new = what.run(engine, now, (id, who), fx)?;
    let after = shown(engine);
    if before != after {
        let object = format!("standbys/{id}");
        let done =
            Done { who, verb: what.verb(), object: &object, account: new.account.as_deref() };
        let acts = done.acts(now, before.as_ref(), after.as_ref());
        acts.into_iter().for_each(|act| engine.audit(act, fx));
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::engine::standbys::name::StandbyWish;
    use crate::lease::directory::{Identifiers, Party};
    use crate::lease::{Change, Seq};

    const LAN: &str = "[[network]]\nname = \"lan\"\ninterfaces = \"br0\"\n\
        [[network.subnet]]\nprefix = \"10.0.0.0/24\"\npools = [\"10.0.0.10\"]\n";

    #[test]
    fn each_step_has_one_audit_record_and_what_changes_nothing_has_none() {
        let policy = Arc::new(crate::config::check(LAN, "test.toml").unwrap().policy);
        let mut engine = Engine::new(Arc::clone(&policy), Vec::new(), Seq(0));
        let party = |text: &str| Party {
            who: Identifiers { mac: text.parse().ok(), ..Identifiers::default() },
            ..Party::default()
        };
        let wish = StandbyWish {
            id: Some("db".into()),
            network: Some(policy.networks[0].id),
            resources: vec!["10.0.0.77".parse().unwrap()],
            active: party("02:00:00:00:00:01"),
            standby: party("02:00:00:00:00:02"),
            ..StandbyWish::default()
        };
        let (now, mut fx) = (Timestamp(1), Effects::default());
        engine.create_standby(now, &wish, &mut fx).unwrap();
        let mut told = Vec::new();
        for what in [
            Driven::Gate(true),
            Driven::Gate(true),
            Driven::Begin(Kind::Failure, true),
            Driven::Begin(Kind::Planned, true),
            Driven::Step(1, Step::Fenced),
            Driven::Step(1, Step::Fenced),
            Driven::Abort(1),
            Driven::Begin(Kind::Planned, true),
            Driven::Step(1, Step::Opened),
            Driven::Step(2, Step::Opened),
            Driven::Promote(2),
            Driven::Measured(2, 700),
            Driven::Measured(2, 900),
            Driven::Step(2, Step::Terminated),
            Driven::Finish(2),
            Driven::Gate(false),
        ] {
            let mut fx = Effects::default();
            let registry = Registry { engine: &mut engine, now, fx: &mut fx };
            let done = apply(registry, &policy, ("db", "token ops"), what);
            let acts = fx.changes.iter().filter_map(|change| match change {
                Change::Act(act) => Some(act),
                _ => None,
            });
            let acts: Vec<_> = acts.collect();
            acts.iter().for_each(|act| {
                assert_eq!((&*act.who, &*act.object), ("token ops", "standbys/db"));
                assert_eq!(act.after.is_none(), what == Driven::Finish(2));
            });
            let verbs = acts.iter().map(|act| act.verb.to_string()).collect::<Vec<_>>();
            told.push(match done {
                Ok(_) => verbs.join(" "),
                Err(denied) => {
                    format!("{} {denied:?}", verbs.join(" ")).split('(').next().unwrap().into()
                }
            });
        }
        assert_eq!(
            told,
            [
                "gate",
                "",
                "switchover",
                " InUse",
                "step",
                "",
                "abort",
                "switchover",
                " Epoch",
                "step",
                "promote",
                "measure",
                "",
                "step",
                "finish",
                " Unknown"
            ]
        );
    }
}
