//! Standby shadows: a second, dormant holder of addresses that are somebody's (see
//! `docs/operations.md`, "Standbys").
//!
//! The record is the binding of the standby: there is no second one in the
//! [`LeaseTable`](crate::lease::LeaseTable). Until the promotion the address is the active's, and
//! nobody but the two may have it.

use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::base::{ClientKey, NetworkId, Prefix6, Resource, Sort, Timestamp};
use crate::config::policy::OnFailure;

use super::{Identifiers, Kept, KeptParts, Owner};
use crate::lease::NextHop;

/// A pair: an active, its standby, and what they share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// What it is called; unique on this server.
    pub id: Arc<str>,
    /// The segment.
    pub network: NetworkId,
    /// The addresses and delegated prefixes that both hold; at least one, none twice.
    pub resources: Vec<Resource>,
    /// Who speaks for them until the promotion.
    pub active: Party,
    /// Who will.
    pub standby: Party,
    /// The name that the standby is told (option 12); none: what is said of everybody.
    pub hostname: Option<Arc<str>>,
    /// Whom the active belongs to, and so the pair.
    pub account: Option<Arc<str>>,
    /// What runs in it.
    pub application: Option<Arc<str>>,
    /// The registered instance that the addresses are kept for, if they are.
    pub instance: Option<Arc<str>>,
    /// How far it is.
    pub state: StandbyState,
    /// How much of the state of the active the standby has, in percent, 0 to 100.
    pub progress: u8,
    /// The agent has confirmed the gate of the standby. It gets no address before.
    pub gated: bool,
    /// The fencing token: rises with each switchover that is begun. 0: none ever was.
    pub epoch: u64,
    /// A switchover that is to begin when a window opens.
    pub planned: Option<Planned>,
    /// What happens when the active is found to have failed.
    pub on_failure: OnFailure,
    /// Whether the standby may be promoted after a failure though nobody confirms that the active
    /// is fenced.
    pub unfenced: bool,
    /// What the standby was acknowledged, each resource at most once.
    pub told: Vec<Told>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub changed: Timestamp,
    /// When it is dropped unless it is ready by then; [`Timestamp::NEVER`] once it is.
    pub until: Timestamp,
}

/// One of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// How it is known. The MAC of a standby is always there; that of an active where it has any.
    pub who: Identifiers,
    /// The interface of its port on the bridge of its host.
    pub port: Option<Box<str>>,
    /// The agent that has the port; none: that of this host.
    pub host: Option<Box<str>>,
}

/// An acknowledgement to the standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What it has.
    pub resource: Resource,
    /// The key by which its client is found once the lease is its own.
    pub client: ClientKey,
    /// Until when it was told that it has it.
    pub until: Timestamp,
    /// Of a delegated prefix: how this host reaches the standby.
    pub next_hop: Option<NextHop>,
}

/// How far a standby is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StandbyState {
    /// It is being made, or was found to have what it should not.
    Preparing,
    /// It has the state of the active, as far as its driver says.
    Synced,
    /// It has the address too, behind its gate: a switchover may begin.
    Ready,
    /// A switchover has begun.
    Switching(Switchover),
    /// The leases are the standby's; the former active is to be ended yet, or is.
    Promoted(Switchover),
}

/// How far a standby is that is not being switched to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// [`StandbyState::Preparing`].
    Preparing,
    /// [`StandbyState::Synced`].
    Synced,
    /// [`StandbyState::Ready`].
    Ready,
}

/// A switchover that is to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When.
    pub at: Timestamp,
    /// Who wants it.
    pub by: Box<str>,
}

/// A switchover under way or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switchover {
    /// Why.
    pub kind: Kind,
    /// What has been done of it.
    pub step: Step,
    /// Somebody insisted, though the standby was not ready.
    pub forced: bool,
    /// Who began it: a user, a token, or the policy.
    pub by: Box<str>,
    /// When it was begun.
    pub started: Timestamp,
    /// What the standby was before: where an abort leads back to.
    pub before: Readiness,
    /// Each step that was noted, and when; in order.
    pub noted: Vec<(Step, Timestamp)>,
    /// For how long nobody answered for the addresses, in microseconds, as the agent saw it: from
    /// when the active was silent to the first answer of the standby. None: not seen.
    pub outage_us: Option<u32>,
}

impl Switchover {
    /// The same, with another step noted.
    pub fn stepped(mut self, step: Step, now: Timestamp) -> Switchover {
        self.step = step;
        self.noted.push((step, now));
        self
    }
}

/// Why there is a switchover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Somebody wants it: the active lives.
    Planned,
    /// The active has failed: it is fenced first.
    Failure,
}

/// What of a switchover has been done, in this order. Each is written when it is done, so that what
/// follows is what may have been begun; `Intended` is written before the first gate changes.
///
/// When it is planned, one gate transaction opens the standby and mutes what the active says of its
/// neighbours: `Fenced` and `Opened` may be written at once then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// It was decided; nothing has changed.
    Intended,
    /// The active cannot speak for the addresses any more; or the policy does not insist.
    Fenced,
    /// The gate of the standby is open: the point of no return.
    Opened,
    /// The segment was told.
    Announced,
    /// The leases are the standby's, durably. Written by the promotion itself.
    Promoted,
    /// The former active was ended by its driver, or needs no ending.
    Terminated,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Step; 6] = [
        Step::Intended,
        Step::Fenced,
        Step::Opened,
        Step::Announced,
        Step::Promoted,
        Step::Terminated,
    ];

    /// The word that is stored and that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Intended => "intended",
            Step::Fenced => "fenced",
            Step::Opened => "opened",
            Step::Announced => "announced",
            Step::Promoted => "promoted",
            Step::Terminated => "terminated",
        }
    }

    /// The one that follows; none after the last.
    pub fn next(self) -> Option<Step> {
        Step::ALL.into_iter().find(|step| *step > self)
    }

    /// From [`Step::as_str`].
    pub fn parse(word: &str) -> Option<Step> {
        Step::ALL.into_iter().find(|step| step.as_str() == word)
    }
}

impl Kind {
    /// The word that is stored and that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Planned => "planned",
            Kind::Failure => "failure",
        }
    }

    /// From [`Kind::as_str`].
    pub fn parse(word: &str) -> Option<Kind> {
        [Kind::Planned, Kind::Failure].into_iter().find(|kind| kind.as_str() == word)
    }
}

impl Readiness {
    /// The word that is stored and that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Readiness::Preparing => "preparing",
            Readiness::Synced => "synced",
            Readiness::Ready => "ready",
        }
    }

    /// From [`Readiness::as_str`].
    pub fn parse(word: &str) -> Option<Readiness> {
        let all = [Readiness::Preparing, Readiness::Synced, Readiness::Ready];
        all.into_iter().find(|state| state.as_str() == word)
    }
}

impl From<Readiness> for StandbyState {
    fn from(readiness: Readiness) -> StandbyState {
        match readiness {
            Readiness::Preparing => StandbyState::Preparing,
            Readiness::Synced => StandbyState::Synced,
            Readiness::Ready => StandbyState::Ready,
        }
    }
}

impl StandbyState {
    /// The word that is stored and that people read.
    pub fn as_str(&self) -> &'static str {
        match self {
            StandbyState::Preparing => "preparing",
            StandbyState::Synced => "synced",
            StandbyState::Ready => "ready",
            StandbyState::Switching(_) => "switching",
            StandbyState::Promoted(_) => "promoted",
        }
    }

    /// The switchover, once one has begun.
    pub fn switchover(&self) -> Option<&Switchover> {
        match self {
            StandbyState::Switching(switchover) | StandbyState::Promoted(switchover) => {
                Some(switchover)
            }
            _ => None,
        }
    }

    /// How far it is, where no switchover has begun.
    pub fn readiness(&self) -> Option<Readiness> {
        match self {
            StandbyState::Preparing => Some(Readiness::Preparing),
            StandbyState::Synced => Some(Readiness::Synced),
            StandbyState::Ready => Some(Readiness::Ready),
            StandbyState::Switching(_) | StandbyState::Promoted(_) => None,
        }
    }
}

impl Standby {
    /// When something is to be done about it: it is dropped, or switched to.
    pub fn due(&self) -> Timestamp {
        self.planned.as_ref().map_or(self.until, |planned| planned.at.min(self.until))
    }

    /// Whether the leases are the standby's already.
    pub fn is_promoted(&self) -> bool {
        matches!(self.state, StandbyState::Promoted(_))
    }

    /// Whether the standby may be answered: its gate is in place, or was opened for good.
    pub fn may_answer(&self) -> bool {
        let opened = self.state.switchover().is_some_and(|s| s.step >= Step::Opened);
        self.gated || opened
    }

    /// What they share of one sort.
    pub fn of_sort(&self, sort: Sort) -> impl Iterator<Item = Resource> + '_ {
        self.resources.iter().copied().filter(move |resource| resource.sort() == sort)
    }

    /// Whether they share anything of a protocol.
    pub fn is_of_v4(&self) -> bool {
        self.of_sort(Sort::V4).next().is_some()
    }

    /// The same for IPv6, addresses or prefixes.
    pub fn is_of_v6(&self) -> bool {
        self.resources.iter().any(|resource| resource.sort() != Sort::V4)
    }

    /// What the standby was acknowledged of `resource`.
    pub fn told(&self, resource: Resource) -> Option<&Told> {
        self.told.iter().find(|told| told.resource == resource)
    }

    /// Whether the standby was acknowledged everything that they share.
    pub fn has_all(&self) -> bool {
        self.resources.iter().all(|resource| self.told(*resource).is_some())
    }

    /// Whom it belongs to.
    pub fn owner(&self) -> Option<Owner> {
        self.account.clone().map(|account| (account, self.application.clone()))
    }

    /// What is kept for the standby, as packets are answered by it.
    pub fn kept(&self) -> Kept {
        Kept::new(KeptParts {
            network: self.network,
            who: self.standby.who.clone(),
            v4: self.resources.iter().find_map(|resource| resource.v4()),
            v6: self.resources.iter().filter_map(v6).collect(),
            prefixes: self.resources.iter().filter_map(prefix).collect(),
            hostname: self.hostname.clone(),
            account: self.account.clone(),
            application: self.application.clone(),
            instance: self.instance.clone(),
        })
    }
}

fn v6(resource: &Resource) -> Option<Ipv6Addr> {
    match resource {
        Resource::V6(addr) => Some(*addr),
        _ => None,
    }
}

fn prefix(resource: &Resource) -> Option<Prefix6> {
    match resource {
        Resource::Prefix6(addr, len) => Prefix6::new(*addr, *len),
        _ => None,
    }
}

/// The name of a standby's fact.
pub fn standby_name(id: &str) -> Box<str> {
    format!("standby/{id}").into()
}
