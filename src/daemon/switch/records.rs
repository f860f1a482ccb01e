//! The engine's records of pairs, as their switchovers need them.

use std::net::IpAddr;
use std::sync::Arc;

use crate::agent::{Holder, guard};
use crate::base::{Mac, Resource, Timestamp};
use crate::config::policy::Detect;
use crate::engine::Engine;
use crate::engine::effects::Effects;
use crate::engine::instances::Denied;
use crate::lease::directory::{Entry, Kind, Party, Standby, Step};

use super::super::work::{Bench, JobError, Jobs};

/// The engine, from this thread.
pub(super) struct Records {
    jobs: Jobs<Engine>,
}

/// Where the guests of a pair are on this host.
pub(super) struct Ends {
    pub(super) bridge: Box<str>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) active: Holder,
    pub(super) standby: Holder,
    pub(super) watch: Option<guard::Policy>,
}

/// Why something was not written, or is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error(transparent)]
    Job(#[from] JobError),
    #[error("{0}")]
    Denied(String),
    #[error("no interface of this host serves its network")]
    NoBridge,
    #[error("the port of {0} is not known: name it, or let it speak first")]
    NoPort(Mac),
    #[error("the hardware address of the active is not known: name it")]
    NoMac,
}

type Written = Result<Arc<Standby>, RecordError>;

impl Records {
    pub(super) fn new(jobs: Jobs<Engine>) -> Records {
        Records { jobs }
    }

    pub(super) fn pairs(&self) -> Result<Vec<Arc<Standby>>, JobError> {
        self.jobs.call(|bench| {
            let all = bench.machine.directory().list("standby/", None);
            let pairs = all.filter_map(|entry| match entry {
                Entry::Standby(pair) => Some(pair.clone()),
                _ => None,
            });
            pairs.collect()
        })
    }

    pub(super) fn gated(&self, pair: &Standby) -> Written {
        let id = pair.id.clone();
        self.write(move |engine, now, fx| engine.gated(now, &id, true, fx))
    }

    /// Begins a switchover because the active has failed.
    pub(super) fn begin_after_failure(&self, pair: &Standby) -> Written {
        let id = pair.id.clone();
        self.write(move |engine, now, fx| {
            engine.begin_switchover(now, &id, (Kind::Failure, false, "foreshadow"), fx)
        })
    }

    pub(super) fn record(&self, pair: &Standby, steps: Vec<Step>) -> Written {
        let (id, epoch) = (pair.id.clone(), pair.epoch);
        let mut pair = Err(Denied::Unknown("no step".into()));
        self.write(move |engine, now, fx| {
            for step in steps {
                pair = Ok(engine.step_switchover(now, &id, epoch, step, fx)?);
            }
            pair
        })
    }

    pub(super) fn promote(&self, pair: &Standby) -> Written {
        let (id, epoch) = (pair.id.clone(), pair.epoch);
        self.write(move |engine, now, fx| engine.promote(now, &id, epoch, fx))
    }

    pub(super) fn abort(&self, pair: &Standby) -> Written {
        let (id, epoch) = (pair.id.clone(), pair.epoch);
        self.write(move |engine, now, fx| engine.abort_switchover(now, &id, epoch, fx))
    }

    pub(super) fn finish(&self, pair: &Standby) -> Written {
        let (id, epoch) = (pair.id.clone(), pair.epoch);
        self.write(move |engine, now, fx| engine.finish_switchover(now, &id, epoch, fx))
    }

    fn write(
        &self,
        change: impl FnOnce(&mut Engine, Timestamp, &mut Effects) -> Result<Arc<Standby>, Denied>
        + Send
        + 'static,
    ) -> Written {
        let done = self.jobs.call(move |bench| {
            let Bench { machine, now, fx, .. } = bench;
            change(machine, *now, fx)
        })?;
        done.map_err(|denied| RecordError::Denied(denied.to_string()))
    }

    /// Where the guests are: their ports as named, or as the bridge has heard them.
    pub(super) fn ends(&self, pair: &Standby) -> Result<Ends, RecordError> {
        let pair = pair.clone();
        self.jobs.call(move |bench| ends(bench, &pair))?
    }
}

fn ends(bench: &Bench<'_, Engine>, pair: &Standby) -> Result<Ends, RecordError> {
    let up = bench.machine.links().find(|up| up.network == pair.network);
    let up = up.ok_or(RecordError::NoBridge)?;
    let holder = |party: &Party, mac: Option<Mac>| {
        let mac = mac.ok_or(RecordError::NoMac)?;
        let port = match (&party.port, &party.host) {
            (Some(port), _) => port.clone(),
            (None, Some(_)) => up.name.as_ref().into(),
            (None, None) => {
                let heard = bench.links.port_name(up.link, mac).map(Box::from);
                heard.ok_or(RecordError::NoPort(mac))?
            }
        };
        Ok::<_, RecordError>(Holder { mac, port, elsewhere: party.host.is_some() })
    };
    let leased = || {
        let mut leases = pair.resources.iter();
        leases.find_map(|r| bench.machine.leases().get(pair.network, *r)?.hw.mac())
    };
    let policy = bench.machine.policy();
    let network = policy.networks.iter().find(|network| network.id == pair.network);
    Ok(Ends {
        watch: network.map(|network| watch_policy(network.standby.detect)),
        bridge: up.name.as_ref().into(),
        addresses: pair.resources.iter().filter_map(address).collect(),
        active: holder(&pair.active, pair.active.who.mac.or_else(leased))?,
        standby: holder(&pair.standby, pair.standby.who.mac)?,
    })
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
