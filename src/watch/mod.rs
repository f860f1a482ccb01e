//! Whether a VM failed: signs of life in, verdicts out. Nothing here does IO or reads a clock.
//!
//! - [`Watch`]: what is watched of one VM, and by which [`ProbePolicy`].
//! - [`Detector`]: takes each [`Sign`], asks for what it wants to know ([`Question`]) and gives
//!   [`Verdict`]s.
//! - [`Timers`]: which of thousands of detectors is to be woken next.
//!
//! # Rules
//!
//! 1. The end of the VM's process and the loss of its port's link are confirmed failures each.
//! 2. A round of probes asks for every address of the VM. It is lost if nothing of the VM was
//!    heard until the next is due; whatever is heard, an answer to an earlier round too, ends a row
//!    of lost ones. What another hardware address says is evidence, and no life.
//! 3. So many lost rounds in a row as the policy says, [`LOST_MIN`] or more, confirm a failure with
//!    a second sign only, unless the policy does without: the port hands in no more packets, the
//!    agent or the guest says that the guest fails, or the agent's own heartbeats are gone.
//! 4. A VM that never answered is not said to have failed because it does not answer.
//! 5. A round that the watcher itself was late for says more of this host than of the guest, and
//!    does not count, as often in a row as the policy's number of lost ones.
//! 6. While an announced migration pauses the VM nothing is said; what then still holds is, at the
//!    end.

mod detector;
mod timers;

use std::fmt;
use std::net::IpAddr;
use std::ops::Add;
use std::sync::Arc;

use crate::base::Mac;

pub use detector::{Detector, Outcome};
pub use timers::Timers;

/// Fewest lost rounds that confirm anything: two in a row happen to healthy guests.
pub const LOST_MIN: u32 = 3;
/// Most lost rounds that a policy may wait for.
pub const LOST_MAX: u32 = 1000;
/// Shortest interval of rounds, in milliseconds.
pub const INTERVAL_MIN_MS: u32 = 5;
/// Longest interval of rounds, in milliseconds.
pub const INTERVAL_MAX_MS: u32 = 60_000;
/// Most addresses of one VM that are probed.
pub const ADDRS_MAX: usize = 8;
/// Longest pause, in milliseconds: an announced migration that takes longer is watched again.
pub const PAUSE_MAX_MS: u64 = 3_600_000;
/// How long a report stands when no other comes, in milliseconds.
pub const REPORT_STANDS_MS: u64 = 10_000;

/// A moment: nanoseconds of a clock that never steps, from an origin of the caller's choice.
/// Probes 10 ms apart need finer than [`crate::base::Timestamp`], and none of it is ever stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// So many milliseconds after the origin.
    pub const fn from_ms(ms: u64) -> Moment {
        Moment(ms.saturating_mul(1_000_000))
    }

    /// Nanoseconds from `earlier` to this; none if it is not earlier.
    pub fn nanos_since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Plus nanoseconds; saturates.
impl Add<u64> for Moment {
    type Output = Moment;
    fn add(self, nanos: u64) -> Moment {
        Moment(self.0.saturating_add(nanos))
    }
}

/// Names a watch; chosen by whoever asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub u64);

/// What is watched of one VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Its name; a second watch of that name replaces the first.
    pub id: WatchId,
    /// The addresses that it answers for, [`ADDRS_MAX`] at most. None: it is not probed.
    pub addrs: Vec<IpAddr>,
    /// Its hardware address: what another one says is no sign of its life.
    pub mac: Mac,
    /// Where it is.
    pub place: Place,
    /// The process that it is.
    pub process: Option<Process>,
    /// How it is probed.
    pub policy: ProbePolicy,
}

/// Where a VM is, by the name of an interface of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Right behind this interface, a port of a bridge mostly: its link is the VM's.
    Port(Arc<str>),
    /// On another host that this interface leads to: its link and its counters say nothing of the
    /// VM.
    Beyond(Arc<str>),
}

impl Place {
    /// The interface.
    pub fn link(&self) -> &Arc<str> {
        match self {
            Place::Port(name) | Place::Beyond(name) => name,
        }
    }
}

/// How a VM's process is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process {
    /// By its id in this host's namespace.
    Pid(u32),
    /// By a file with the id in it: QEMU's `-pidfile`, libvirt's `/run/libvirt/qemu/NAME.pid`.
    PidFile(std::path::PathBuf),
}

/// How a VM is probed, and what of it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbePolicy {
    interval_ms: u32,
    lost: u32,
    second_sign: bool,
    heartbeat_ms: Option<u32>,
}

/// The usual: every 200 ms, five lost, and a second sign.
impl Default for ProbePolicy {
    fn default() -> Self {
        ProbePolicy { interval_ms: 200, lost: 5, second_sign: true, heartbeat_ms: None }
    }
}

/// A policy that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Probes too close together, or too far apart.
    #[error("interval of probes: want {INTERVAL_MIN_MS} to {INTERVAL_MAX_MS} ms, got {0}")]
    Interval(u32),
    /// Too few or too many lost ones.
    #[error("lost probes: want {LOST_MIN} to {LOST_MAX} in a row (two misfire), got {0}")]
    Lost(u32),
    /// Heartbeats that are gone before they are due.
    #[error("silence of heartbeats: want {INTERVAL_MIN_MS} ms or more, got {0}")]
    Heartbeat(u32),
}

impl ProbePolicy {
    /// A round of probes every `interval_ms` milliseconds, of which `lost` in a row, and a second
    /// sign if it says so, are a failure.
    pub fn new(interval_ms: u32, lost: u32, second_sign: bool) -> Result<ProbePolicy, PolicyError> {
        if !(INTERVAL_MIN_MS..=INTERVAL_MAX_MS).contains(&interval_ms) {
            return Err(PolicyError::Interval(interval_ms));
        }
        if !(LOST_MIN..=LOST_MAX).contains(&lost) {
            return Err(PolicyError::Lost(lost));
        }
        Ok(ProbePolicy { interval_ms, lost, second_sign, heartbeat_ms: None })
    }

    /// A round each millisecond until it answers: of who is to be heard for the first time. Its
    /// silence is no failure before that, and nobody asks longer than it takes.
    pub const FIRST_ANSWER: ProbePolicy =
        ProbePolicy { interval_ms: 1, lost: LOST_MAX, second_sign: true, heartbeat_ms: None };

    /// The same, and an agent that sent heartbeats and has been silent for so many milliseconds is
    /// a second sign: its host is gone too, or out of reach.
    pub fn with_heartbeats(self, silence_ms: u32) -> Result<ProbePolicy, PolicyError> {
        match silence_ms >= INTERVAL_MIN_MS {
            true => Ok(ProbePolicy { heartbeat_ms: Some(silence_ms), ..self }),
            false => Err(PolicyError::Heartbeat(silence_ms)),
        }
    }

    /// Milliseconds from one round of probes to the next.
    pub fn interval_ms(&self) -> u32 {
        self.interval_ms
    }

    /// Lost rounds in a row that are a failure.
    pub fn lost(&self) -> u32 {
        self.lost
    }

    /// Whether they need a second sign.
    pub fn second_sign(&self) -> bool {
        self.second_sign
    }

    fn interval_ns(&self) -> u64 {
        u64::from(self.interval_ms) * 1_000_000
    }
}

/// What was seen of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Nothing: it is time that passed.
    Time,
    /// Its process ended.
    ProcessEnded,
    /// Its port has a link.
    LinkUp,
    /// Its port has none, or was set down.
    LinkDown,
    /// Its port is gone.
    LinkGone,
    /// Somebody spoke for one of its addresses: an answer to a probe, or anything else that says
    /// where it is.
    ProbeAnswered {
        /// The hardware address that it is at.
        by: Mac,
    },
    /// How many packets its port has carried ever, as the host sees it: `rx` came from the VM.
    PortCounters {
        /// Taken from the VM.
        rx: u64,
        /// Given to the VM.
        tx: u64,
    },
    /// The counters that were asked for cannot be read, or are not those of the VM alone.
    NoCounters,
    /// The round of probes that was asked for did not go out.
    NotAsked,
    /// The agent of its host lives.
    AgentHeartbeat,
    /// Somebody says how it is. That a guest says it is well is a sign of its life; that an agent
    /// says so is none.
    Report {
        /// Who.
        by: Reporter,
        /// How it is.
        health: Health,
    },
}

/// Who reports on a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// The agent of its host.
    Agent,
    /// Something within the guest.
    Guest,
}

/// How a VM is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Well.
    Healthy,
    /// Not.
    Failing,
}

/// What a detector wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Ask for all addresses of the VM, at its hardware address.
    Probe,
    /// Read the counters of its port ([`Sign::PortCounters`]), and whether that has a link.
    Counters,
}

/// What is to be said of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered a probe for the first time: from now on its silence counts.
    Answers {
        /// When it was heard.
        at: Moment,
    },
    /// It failed.
    Confirmed {
        /// By which sign, or which two.
        why: Why,
        /// All that is known.
        evidence: Evidence,
        /// When it was decided.
        at: Moment,
    },
    /// It may have: a sign is missing. Said once until it recovers.
    Suspected {
        /// What would confirm it.
        missing: Missing,
        /// All that is known.
        evidence: Evidence,
        /// When it was decided.
        at: Moment,
    },
    /// It lives after all.
    Recovered {
        /// A failure was confirmed by lost probes: two signs that were wrong.
        misfire: bool,
        /// How many such there were of this watch.
        misfires: u64,
        /// When it was seen.
        at: Moment,
    },
}

/// Why a failure is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its process ended.
    ProcessEnded,
    /// The link of its port is lost.
    LinkDown,
    /// Its port is gone.
    LinkGone,
    /// Probes are lost, and the policy wants no second sign.
    ProbesLost,
    /// Probes are lost, and its port hands in nothing.
    PortSilent,
    /// Probes are lost, and this one says that it fails.
    Reported(Reporter),
    /// Probes are lost, and so are the heartbeats of its agent.
    AgentSilent,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::ProcessEnded => "its process ended",
            Why::LinkDown => "its port has no link",
            Why::LinkGone => "its port is gone",
            Why::ProbesLost => "it answers no probes",
            Why::PortSilent => "it answers no probes and its port hands in no packets",
            Why::Reported(Reporter::Agent) => {
                "it answers no probes and its host's agent says it fails"
            }
            Why::Reported(Reporter::Guest) => "it answers no probes and says itself that it fails",
            Why::AgentSilent => "it answers no probes and its host's agent is silent",
        })
    }
}

/// What a suspicion lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It answers no probes, and nothing else speaks for a failure.
    SecondSign,
    /// It answers no probes, and never did.
    FirstAnswer,
    /// It is said to fail, and answers probes (or is not probed).
    LostProbes,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Missing::SecondSign => "it answers no probes; nothing else says that it failed",
            Missing::FirstAnswer => "it has not answered a probe yet",
            Missing::LostProbes => "it is said to fail; its probes are not lost",
        })
    }
}

/// What a verdict rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Rounds of probes lost in a row.
    pub lost: u32,
    /// When it was last heard.
    pub last_life: Option<Moment>,
    /// When the first lost round was sent.
    pub silent_since: Option<Moment>,
    /// For how many rounds its port has handed in nothing.
    pub still: u32,
    /// Packets from it, and to it, that its port counted last.
    pub counters: Option<(u64, u64)>,
    /// Who else spoke for its addresses since it was last heard.
    pub other_mac: Option<Mac>,
    /// What was last said of it that still stands, by its agent and by itself.
    pub reports: [Option<Health>; 2],
}
