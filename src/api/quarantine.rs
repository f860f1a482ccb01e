//! Addresses that an operator puts out of use and back, and clients that are moved off theirs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::{NetworkId, Resource, Span};
use crate::lease::Lease;

use super::command::Refusal;
use super::registry::{Deed, Told, Turn};
use super::view::LeaseView;

/// How long an address is out of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QuarantineRequest {
    /// So many seconds; by default as `quarantine` of the network says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 31536000)]
    pub seconds: Option<u32>,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub enum Verb {
    /// Out of use, for so long.
    Quarantine(Option<Span>),
    /// Back.
    Lift,
    /// Its client is to move to another.
    Drain,
    /// Its client may stay.
    Stay,
}

/// An address is put out of use, or back; or its client moves, or stays.
#[derive(Clone, Copy, Debug)]
pub struct QuarantineDeed {
    /// Where; needed where several networks have it.
    pub network: Option<NetworkId>,
    /// What.
    pub resource: Resource,
    /// Which of them.
    pub verb: Verb,
}

impl Deed for QuarantineDeed {
    type View = LeaseView;

    fn run(self, turn: &mut Turn<'_, '_>) -> Result<Told<LeaseView>, Refusal> {
        let QuarantineDeed { network, resource, verb } = self;
        let network = self.network(turn, network)?;
        let policy = turn.policy;
        let before = turn.engine().leases().get(network, resource).cloned();
        let own = |lease: Option<&Lease>| {
            turn.scope.holds(lease.and_then(|l| l.details.account.as_deref()))
        };
        if !own(before.as_ref()) {
            return Err(none(resource));
        }
        let view = before.as_ref().map(|lease| LeaseView::of(lease, policy));
        if let Some(view) = &view {
            turn.conditions.allow_change(view)?;
        }
        let account = before.and_then(|lease| lease.details.account.clone());
        let (engine, now, fx) = turn.parts();
        let (word, told, after) = match verb {
            Verb::Quarantine(span) => {
                let lease = engine.quarantine(now, network, resource, span, fx)?;
                let view = LeaseView::of(&lease, policy);
                ("quarantine", view.clone(), Some(view))
            }
            Verb::Lift => {
                ("lift", LeaseView::of(&engine.lift(now, network, resource, fx)?, policy), None)
            }
            Verb::Drain => {
                let view = LeaseView::of(&engine.drain(now, network, resource, fx)?, policy);
                ("drain", view.clone(), Some(view))
            }
            Verb::Stay => {
                let view = LeaseView::of(&engine.let_stay(now, network, resource, fx)?, policy);
                ("stay", view.clone(), Some(view))
            }
        };
        let object = format!("leases/{resource}");
        turn.audit(word, &object, account.as_deref(), view.as_ref(), after.as_ref());
        Ok(Told::one(told, false))
    }
}

impl QuarantineDeed {
    fn network(&self, turn: &Turn<'_, '_>, named: Option<NetworkId>) -> Result<NetworkId, Refusal> {
        let mut found = turn.engine().networks_of(self.resource);
        if let Some(named) = named {
            return found.find(|n| n.id == named).map(|n| n.id).ok_or(none(self.resource));
        }
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.id),
            (Some(one), Some(other)) => Err(Refusal::Conflict(format!(
                "{} is of networks {} and {}, perhaps of more: name one",
                self.resource, one.name, other.name
            ))),
            (None, _) => Err(none(self.resource)),
        }
    }
}

fn none(resource: Resource) -> Refusal {
    Refusal::NotFound(format!("{resource} is of no network"))
}
