//! The engine's records of pairs, as their switchovers need them.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::agent::{Holder, guard};
use crate::api::command::{Command, Post};
use crate::api::drive::{Drive, Driven};
use crate::base::{Mac, Resource, Timestamp};
use crate::config::policy::{AgentsPolicy, Detect, DriverPolicy};
use crate::engine::Engine;
use crate::lease::directory::{Entry, Party, Standby};

use super::super::work::{Bench, JobError, Jobs};

/// The engine, from this thread.
pub(super) struct Records {
    jobs: Jobs<Engine>,
    post: Arc<dyn Post>,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Who does it, for the audit.
    who: Arc<str>,
}

/// Where the guests of a pair are, each on its own host; the bridge is this host's.
pub(super) struct Ends {
    pub(super) bridge: Box<str>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) active: Holder,
    pub(super) standby: Holder,
    pub(super) watch: Option<guard::Policy>,
}

/// A pair as the engine has it.
pub(super) struct Noted {
    pub(super) pair: Arc<Standby>,
    /// What sees to its guests.
    pub(super) driver: Option<Arc<DriverPolicy>>,
    /// All that it shares was leased.
    pub(super) is_leased: bool,
    /// Nothing but its driver keeps the standby from being ready.
    pub(super) is_complete: bool,
}

/// All pairs, and what the policy says of them.
pub(super) struct Pairs {
    pub(super) pairs: Vec<Noted>,
    pub(super) agents: Arc<AgentsPolicy>,
}

/// Why something was not written, or is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error(transparent)]
    Job(#[from] JobError),
    #[error("{0}")]
    Refused(String),
    #[error("the server is busy, or stopping")]
    Busy,
    #[error("no interface of this host serves its network")]
    NoBridge,
    #[error("the port of {0} is not known: name it, or let it speak first")]
    NoPort(Mac),
    #[error("the hardware address of the active is not known: name it")]
    NoMac,
}

/// The record as it is then.
pub(super) type Written = Result<Arc<Standby>, RecordError>;

impl Records {
    pub(super) fn new(
        jobs: Jobs<Engine>,
        post: Arc<dyn Post>,
        now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Records {
        Records { jobs, post, now, who: "foreshadow".into() }
    }

    /// The time, as records have it.
    pub(super) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// The pairs there are, with what sees to their guests; and where agents are.
    pub(super) fn pairs(&self) -> Result<Pairs, JobError> {
        self.jobs.call(|bench| {
            let policy = bench.machine.policy();
            let driver_of = |pair: &Standby| {
                let network = policy.networks.iter().find(|network| network.id == pair.network);
                let name = network?.standby.driver.as_ref()?;
                policy.drivers.iter().find(|driver| driver.name == *name).cloned()
            };
            let all = bench.machine.directory().list("standby/", None);
            let pairs = all.filter_map(|entry| match entry {
                Entry::Standby(pair) => Some(Noted {
                    pair: pair.clone(),
                    driver: driver_of(pair),
                    is_leased: is_leased(bench.machine, pair),
                    is_complete: bench.machine.missing(pair).is_empty(),
                }),
                _ => None,
            });
            Pairs { pairs: pairs.collect(), agents: policy.agents.clone() }
        })
    }

    /// Tells the record of a pair what became of it.
    pub(super) fn tell(&self, pair: &Standby, what: Driven) -> Written {
        let (reply, answer) = oneshot::channel();
        let (id, who) = (pair.id.as_ref().into(), self.who.clone());
        let drive = Drive { id, what, who, reply };
        self.post.post(Command::Drive(Box::new(drive))).map_err(|_| RecordError::Busy)?;
        let done = answer.blocking_recv().map_err(|_| RecordError::Busy)?;
        done.map_err(|refusal| RecordError::Refused(format!("{refusal:?}")))
    }

    /// Where the guests are: their ports as named, or as the bridge has heard them.
    pub(super) fn ends(&self, pair: &Standby) -> Result<Ends, RecordError> {
        let pair = pair.clone();
        self.jobs.call(move |bench| ends(bench, &pair))?
    }
}

fn ends(bench: &Bench<'_, Engine>, pair: &Standby) -> Result<Ends, RecordError> {
    let up = bench.machine.links().find(|up| up.network == pair.network);
    let is_here = |party: &Party| party.host.is_none();
    if up.is_none() && (is_here(&pair.active) || is_here(&pair.standby)) {
        return Err(RecordError::NoBridge);
    }
    let holder = |party: &Party, mac: Option<Mac>| {
        let mac = mac.ok_or(RecordError::NoMac)?;
        let heard = || bench.links.port_name(up?.link, mac).map(Box::from);
        let port = match &party.port {
            Some(port) => Some(port.clone()),
            None => Some(()).filter(|()| is_here(party)).and_then(|()| heard()),
        };
        let port = port.ok_or(RecordError::NoPort(mac))?;
        Ok::<_, RecordError>(Holder { mac, port, elsewhere: false })
    };
    let leased = || {
        let mut leases = pair.resources.iter();
        leases.find_map(|r| bench.machine.leases().get(pair.network, *r)?.hw.mac())
    };
    let policy = bench.machine.policy();
    let network = policy.networks.iter().find(|network| network.id == pair.network);
    Ok(Ends {
        watch: network.map(|network| watch_policy(network.standby.detect)),
        bridge: up.map(|up| up.name.as_ref().into()).unwrap_or_default(),
        addresses: pair.resources.iter().filter_map(address).collect(),
        active: holder(&pair.active, pair.active.who.mac.or_else(leased))?,
        standby: holder(&pair.standby, pair.standby.who.mac)?,
    })
}

fn is_leased(engine: &Engine, pair: &Standby) -> bool {
    let mut resources = pair.resources.iter();
    resources.all(|resource| engine.leases().get(pair.network, *resource).is_some())
}

fn watch_policy(detect: Detect) -> guard::Policy {
    let interval_ms = u32::try_from(detect.interval.0).unwrap_or(u32::MAX);
    guard::Policy { interval_ms, lost: detect.lost, silence_is_enough: false }
}

/// Delegated prefixes are routed to their holder, and not spoken for.
fn address(resource: &Resource) -> Option<IpAddr> {
    match resource {
        Resource::V4(addr) => Some((*addr).into()),
        Resource::V6(addr) => Some((*addr).into()),
        Resource::Prefix6(..) => None,
    }
}
