//! What an agent can be asked, and what it answers: one JSON object a line, an answer for each.

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::guard::Fate;
use super::hold::Hold;
use super::ports::{Guarded, Order};

/// Longest line, in bytes: a hold of 64 addresses has some 4,000.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Longest wait for an event, in milliseconds.
pub const WAIT_MS_MAX: u32 = 3_000;
/// Most guarded ports in one answer.
pub const GUARDED_AT_ONCE: usize = 256;
/// The version of the protocol. An agent answers [`Verb::Hello`] of any; what it cannot read is
/// refused.
pub const VERSION: u32 = 1;

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Verb {
    /// Who is there?
    Hello,
    /// Bring a pair to this stage.
    Hold(Hold),
    /// Forget a pair: its guests are as any others.
    LetGo {
        /// The pair.
        pair: Box<str>,
        /// Its epoch.
        epoch: u64,
        /// Who is silent may have the addresses yet, and stays silent until its port is gone.
        silent: bool,
    },
    /// Guard ports of a network as it says, or no more.
    Guard(Order),
    /// The guarded ports behind this one, by name.
    Guarded {
        /// None yet if `None`.
        after: Option<Box<str>>,
    },
    /// What is held, and whether the kernel has it.
    Status,
    /// Would a switchover of this pair go well?
    Check {
        /// The pair.
        pair: Box<str>,
    },
    /// What is known of the active of a pair, by somebody else than the agent.
    Active {
        /// The pair.
        pair: Box<str>,
        /// What.
        word: ActiveWord,
    },
    /// What became of the actives that are watched.
    Events {
        /// The number of the last one that is known; 0 for all that are remembered.
        after: u64,
        /// How long to wait for one, in milliseconds, at most [`WAIT_MS_MAX`].
        wait_ms: u32,
    },
}

/// What can be said of an active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ActiveWord {
    /// Something within it says that it is well.
    Well,
    /// Something within it says that it fails: a second sign for ten seconds.
    Failing,
    /// It is being migrated, and may be silent for a while: no failure is seen for so many
    /// milliseconds.
    Migrating {
        /// At most; none: it is over.
        for_ms: u32,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// It is an agent of this version of the protocol.
    Hello {
        /// The protocol's.
        version: u32,
        /// The program's.
        release: Box<str>,
    },
    /// It is done.
    Done(Done),
    /// What is held.
    Status {
        /// Each pair.
        holds: Vec<Hold>,
        /// The kernel has the rules of them all; they are made again if it has not.
        in_force: bool,
    },
    /// What was looked at.
    Checks(Vec<Check>),
    /// Guarded ports, by name, each with its network: [`GUARDED_AT_ONCE`] at most.
    Guarded(Vec<(Box<str>, Guarded)>),
    /// What became of actives, in order.
    Events(Vec<Event>),
    /// It is not done, and nothing of it is.
    Refused {
        /// What kind of reason.
        why: Why,
        /// The reason in words.
        text: Box<str>,
    },
}

/// Something became of the active of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Numbers rise, from 1 when the agent starts.
    pub number: u64,
    /// The pair.
    pub pair: Box<str>,
    /// Its epoch then.
    pub epoch: u64,
    /// What.
    pub fate: Fate,
}

/// What was done for a hold, and when: in microseconds since the request was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// The gate was as it is to be.
    pub gated_us: u64,
    /// The last frame of the announcement was sent; 0 if nothing was to announce.
    pub announced_us: u64,
    /// Neighbours that were told one by one.
    pub told: u32,
}

/// Why something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It was overtaken by a newer epoch.
    Epoch,
    /// It makes no sense.
    Faulty,
    /// The pair, the bridge or a port is not here.
    Missing,
    /// The kernel refused.
    Kernel,
}
