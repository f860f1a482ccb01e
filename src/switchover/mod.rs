//! What comes next of a pair: from what is durable of it and what its hosts say, one act at a time.
//!
//! There is no state beside the record and the hosts': whoever died in the middle begins again with
//! [`Seen::default`], asks the hosts, and goes on from where it was. Each act may be done twice.
//!
//! **Invariants**: never do both guests speak for an address, the standby never before it was
//! opened by an order of a durable epoch, and after a failure never before the active is known to be
//! silent, unless the policy says so. The point of no return is the order to open: from then on
//! whether it was carried out is asked, and never assumed.

mod next;
#[cfg(test)]
mod simulation;

use serde::{Deserialize, Serialize};

use crate::lease::directory::{Readiness, Step};

pub use next::next;

/// Whose the addresses of a pair are, on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Stage {
    /// The active's; the standby is silent.
    Standby,
    /// Nobody's: the active failed, or is taken to have failed.
    Fenced,
    /// The standby's, for neighbours that ask. What is sent to the active by those who have yet to
    /// hear of it is still answered; for a second at most.
    Leaving,
    /// The standby's; the active is silent.
    Promoted,
}

impl Stage {
    /// Whether the standby speaks.
    pub fn is_open(self) -> bool {
        matches!(self, Stage::Leaving | Stage::Promoted)
    }
}

/// Which of the hosts of a pair. Where both guests are on one host, it is either of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The active's.
    Active,
    /// The standby's.
    Standby,
}

/// What is known of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// Nothing: it was not asked, or an order to it was lost on its way or on its way back.
    #[default]
    Nothing,
    /// It cannot be reached, and what it was told before is not known.
    Unreachable,
    /// It holds this of the pair, in the present epoch; nothing if `None`.
    Holds(Option<Stage>),
    /// It holds this, and refused the last order: nothing of that was done.
    Refused(Option<Stage>),
}

impl Known {
    fn stage(self) -> Option<Stage> {
        match self {
            Known::Holds(stage) | Known::Refused(stage) => stage,
            Known::Nothing | Known::Unreachable => None,
        }
    }

    fn is_open(self) -> bool {
        self.stage().is_some_and(Stage::is_open)
    }
}

/// What a driver did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driven {
    /// There is none.
    #[default]
    Absent,
    /// It was not asked yet.
    Due,
    /// It did it.
    Done,
    /// It failed.
    Failed,
}

/// What is known of a pair beside its record. Nothing of it outlives the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The active's host.
    pub active: Known,
    /// The standby's host; the same as the active's where both are on one.
    pub standby: Known,
    /// The standby is made, and boots.
    pub created: Driven,
    /// A pass of the state, while the active runs.
    pub synced: Driven,
    /// The standby is found to be well.
    pub checked: Driven,
    /// The last pass of the state.
    pub final_pass: Driven,
    /// The standby is awake.
    pub woken: Driven,
    /// The former active is ended, for good.
    pub ended: Driven,
    /// All that the pair shares was leased, and nothing of it is configured in a guest: a standby
    /// that boots before its gate is there has no address to speak for.
    pub is_leased: bool,
    /// Nothing but its driver keeps the standby from being ready.
    pub is_complete: bool,
}

impl Seen {
    /// Whether a driver says how far the standby is; where none does, others do.
    fn is_prepared(&self) -> bool {
        [self.created, self.synced, self.checked].iter().any(|of| *of != Driven::Absent)
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing, until something changes.
    Rest,
    /// Ask what a host holds of the pair.
    Ask(At),
    /// Tell a host what to hold.
    Hold(At, Stage),
    /// Tell a host to forget the pair.
    LetGo(At),
    /// The gate of the standby is in place: it may be answered.
    Gated,
    /// Make the standby, and have it boot.
    Create,
    /// Bring the state over, while the active goes on changing it.
    Sync,
    /// Find out whether the standby is well.
    Check,
    /// Say how far the standby is.
    Report(Readiness),
    /// Bring over what is left of the state.
    FinalPass,
    /// Wake the standby.
    Wake,
    /// End the active, and be sure of it.
    End,
    /// Make durable that a step was done.
    Record(Step),
    /// Give the leases to the standby.
    Promote,
    /// Take the switchover back: nothing of it has happened.
    Abort(Reason),
    /// Forget the pair: it is over.
    Finish,
    /// Somebody has to see to it.
    Blocked(Reason),
}

/// Why it does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The last pass of the state failed.
    FinalPass,
    /// The standby does not wake.
    Wake,
    /// The host refuses to open the gate.
    Refused(At),
    /// The host cannot be reached, and nothing is known of what it did.
    Unreachable(At),
    /// Nobody confirms that the active is silent.
    NotFenced,
    /// The former active is not ended.
    NotEnded,
}

impl Reason {
    /// The reason in words.
    pub fn text(self) -> &'static str {
        match self {
            Reason::FinalPass => "the last pass of its state failed",
            Reason::Wake => "the standby does not wake",
            Reason::Refused(At::Active) => "the host of the active refuses",
            Reason::Refused(At::Standby) => "the host of the standby refuses",
            Reason::Unreachable(At::Active) => "the agent of the active's host cannot be reached",
            Reason::Unreachable(At::Standby) => "the agent of the standby's host cannot be reached",
            Reason::NotFenced => "nobody confirms that the active is silent",
            Reason::NotEnded => "the former active cannot be ended",
        }
    }
}
