//! What whoever drives gates and guests says of standbys: that a gate is in place, and each step of a
//! switchover. Nothing of it is asked for over HTTP; each is one batch, and one audit record.

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::effects::Effects;
use crate::engine::instances::Denied;
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
    /// A switchover begins: why, and whether though it is not ready. Its epoch is in the answer.
    Begin(Kind, bool),
    /// A step was done, of the switchover with this epoch.
    Step(u64, Step),
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
            Driven::Begin(..) => "switchover",
            Driven::Step(..) => "step",
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
            Driven::Begin(kind, forced) => {
                engine.begin_switchover(now, id, (kind, forced, who), fx)
            }
            Driven::Step(epoch, step) => engine.step_switchover(now, id, epoch, step, fx),
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
        let Some(Registry { engine, now, fx }) = desk.registry() else {
            let why = "a server that is not running has no standbys";
            drop(reply.send(Err(Refusal::Unavailable(why.into()))));
            return None;
        };
        let old = engine.directory().standby(&id).cloned();
        let before = old.as_ref().map(|old| StandbyView::of(old, engine, &policy));
        let new = match what.run(engine, now, (&id, &who), fx) {
            Ok(new) => new,
            Err(denied) => {
                drop(reply.send(Err(denied.into())));
                return None;
            }
        };
        let is = engine.directory().standby(&id);
        let after = is.map(|new| StandbyView::of(new, engine, &policy));
        if before != after {
            let object = format!("standbys/{id}");
            let account = new.account.as_deref();
            let done = Done { who: &who, verb: what.verb(), object: &object, account };
            let acts = done.acts(now, before.as_ref(), after.as_ref());
            acts.into_iter().for_each(|act| engine.audit(act, fx));
        }
        Pending::of(move |done| drop(reply.send(done.map(|()| new))))
    }
}
