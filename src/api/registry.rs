//! What the engine's directory holds: instances, reservations, accounts and applications. How the
//! control plane asks for it, changes it, and keeps an audit of that.

use std::fmt::Debug;
use std::sync::Arc;

use serde::Serialize;

use crate::base::Timestamp;
use crate::config::Policy;
use crate::engine::Engine;
use crate::engine::effects::Effects;
use crate::engine::instances::Denied;
use crate::engine::quota::Limit;

use super::caller::Scope;
use super::command::{Desk, Pending, Refusal, Reply};
use super::etag::Conditions;
use super::record::Done;

/// The engine, with what a change of its directory needs.
pub struct Registry<'a> {
    /// The engine.
    pub engine: &'a mut Engine,
    /// The present moment.
    pub now: Timestamp,
    /// Where its effects go.
    pub fx: &'a mut Effects,
}

/// One thing that is asked about entries of a kind, and its answer.
pub trait Deed: Debug + Send + 'static {
    /// How such an entry is shown.
    type View: Debug + Serialize + Send + 'static;

    /// Does it, as part of the open batch.
    fn run(self, turn: &mut Turn<'_, '_>) -> Result<Told<Self::View>, Refusal>;
}

/// A deed, and for whom.
#[derive(Debug)]
pub struct Ask<D: Deed> {
    /// What to do.
    pub what: D,
    /// Who asks, for the audit.
    pub who: Arc<str>,
    /// Whose entries they may see and change.
    pub scope: Scope,
    /// What the entry must still be.
    pub conditions: Conditions,
    /// Once it is durable.
    pub reply: Reply<Result<Told<D::View>, Refusal>>,
}

/// The answer.
#[derive(Debug)]
pub struct Told<V> {
    /// The entries.
    pub entries: Vec<V>,
    /// It was made now.
    pub new: bool,
    /// Where the next page begins.
    pub next: Option<String>,
}

impl<V> Told<V> {
    /// One entry, and whether it was made now.
    pub fn one(entry: V, new: bool) -> Told<V> {
        Told { entries: vec![entry], new, next: None }
    }
}

/// The engine in the hands of one caller.
pub struct Turn<'a, 'b> {
    registry: &'a mut Registry<'b>,
    who: &'a str,
    /// The policy in force.
    pub policy: &'a Policy,
    /// Whose entries the caller may see and change.
    pub scope: &'a Scope,
    /// What the entry must still be.
    pub conditions: &'a Conditions,
}

impl Turn<'_, '_> {
    /// The engine, to be looked at.
    pub fn engine(&self) -> &Engine {
        self.registry.engine
    }

    /// Who asks.
    pub(super) fn who(&self) -> &str {
        self.who
    }

    /// What a change needs: the engine, the present moment, and where effects go.
    pub fn parts(&mut self) -> (&mut Engine, Timestamp, &mut Effects) {
        let Registry { engine, now, fx } = &mut *self.registry;
        (engine, *now, fx)
    }

    /// Writes the audit record of a change: of what, whose it is, what it was and what it is. Two
    /// where one would be too long.
    pub fn audit<V: Serialize>(
        &mut self,
        verb: &str,
        object: &str,
        account: Option<&str>,
        before: Option<&V>,
        after: Option<&V>,
    ) {
        let done = Done { who: self.who, verb, object, account };
        let acts = done.acts(self.registry.now, before, after);
        let (engine, _, fx) = self.parts();
        acts.into_iter().for_each(|act| engine.audit(act, fx));
    }
}

impl<D: Deed> Ask<D> {
    /// Does what is asked; an answer that promises a change waits until that is durable.
    pub(super) fn run(self, desk: &mut dyn Desk) -> Option<Pending> {
        let policy = desk.policy();
        let Ask { what, who, scope, conditions, reply } = self;
        let Some(mut registry) = desk.registry() else {
            let why = "a server that is not running knows nothing of these";
            drop(reply.send(Err(Refusal::Unavailable(why.into()))));
            return None;
        };
        let mut turn = Turn {
            registry: &mut registry,
            who: &who,
            policy: &policy,
            scope: &scope,
            conditions: &conditions,
        };
        match what.run(&mut turn) {
            Ok(told) => Pending::of(move |done| drop(reply.send(done.map(|()| told)))),
            Err(refusal) => {
                drop(reply.send(Err(refusal.told_to(&scope))));
                None
            }
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        let text = denied.to_string();
        match denied {
            Denied::Unknown(_) => Refusal::NotFound(text),
            Denied::Invalid(field, detail) => Refusal::Field(field.into(), detail),
            Denied::Limit(met) if met.limit == Limit::Requests => Refusal::TooMany(text),
            Denied::ReadOnly(what) => Refusal::Configured(what),
            Denied::Taken { what, holder } => Refusal::Taken(what, holder),
            Denied::InUse(_)
            | Denied::Exhausted(..)
            | Denied::TierFull(..)
            | Denied::Limit(_)
            | Denied::Epoch(..)
            | Denied::NoMac(_)
            | Denied::Full => Refusal::Conflict(text),
            Denied::StoreFailed => Refusal::Store(text),
        }
    }
}
