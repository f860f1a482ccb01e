//! Watching the actives of holds, by their names.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::net::watch::{Event, Handle, Watcher};
use crate::switchover::Stage;
use crate::watch::{ADDRS_MAX, Place, PolicyError, ProbePolicy, Process, Verdict, Watch, WatchId};

use super::hold::Hold;
use super::tap;

/// How an active is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Between two questions, in milliseconds: 5 to 60,000.
    pub interval_ms: u32,
    /// So many unanswered ones in a row are a failure: 3 to 1,000.
    pub lost: u32,
    /// Silence alone is enough; else nothing else may come from its port meanwhile.
    #[serde(default)]
    pub silence_is_enough: bool,
}

impl Policy {
    /// As the watcher wants it.
    pub fn probes(&self) -> Result<ProbePolicy, PolicyError> {
        ProbePolicy::new(self.interval_ms, self.lost, !self.silence_is_enough)
    }
}

/// What became of an active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fate {
    /// It failed, and why.
    Failed(Box<str>),
    /// It may have, and something speaks against it.
    Suspected,
    /// It is there again, or was all the time.
    Recovered,
}

/// Names of watches, both ways.
#[derive(Debug, Default)]
struct Names {
    last: u64,
    pairs: HashMap<WatchId, Box<str>>,
    /// Those that could not be watched.
    refused: Vec<WatchId>,
}

/// Watches the actives of holds.
#[derive(Debug)]
pub(super) struct Guard {
    handle: Handle,
    names: Arc<Mutex<Names>>,
    watched: BTreeMap<Box<str>, (WatchId, Watch)>,
}

impl Guard {
    /// Starts to watch; `sink` is told what becomes of the actives, on a thread of its own.
    pub(super) fn start(mut sink: impl FnMut(&str, Fate) + Send + 'static) -> io::Result<Guard> {
        let names = Arc::new(Mutex::new(Names::default()));
        let known = names.clone();
        let handle = Watcher::start(move |event| {
            if let Event::Refused { id, .. } = &event {
                known.lock().unwrap_or_else(PoisonError::into_inner).refused.push(*id);
            }
            let Some((id, fate)) = read(event) else { return };
            let pair = known.lock().unwrap_or_else(PoisonError::into_inner).pairs.get(&id).cloned();
            pair.into_iter().for_each(|pair| sink(&pair, fate.clone()));
        })?;
        Ok(Guard { handle, names, watched: BTreeMap::new() })
    }

    /// Watches just the actives of these that are to be watched. One that could not be watched
    /// before, as its port had no link, is tried again.
    pub(super) fn follow<'a>(&mut self, holds: impl Iterator<Item = &'a Hold>) {
        let mut before = std::mem::take(&mut self.watched);
        let refused = std::mem::take(&mut self.names().refused);
        for hold in holds {
            let Some(wanted) = wanted(hold) else { continue };
            let same = |(id, watch): &(WatchId, Watch)| {
                let watch = Watch { id: wanted.id, ..watch.clone() };
                watch == wanted && !refused.contains(id)
            };
            if let Some(kept) = before.get(&hold.pair).filter(|kept| same(kept)) {
                self.watched.insert(hold.pair.clone(), kept.clone());
                before.remove(&hold.pair);
                continue;
            }
            let id = self.names().add(&hold.pair);
            let process = tap::process_of(&hold.active.port).map(Process::Pid);
            self.handle.watch(Watch { id, process, ..wanted.clone() });
            self.watched.insert(hold.pair.clone(), (id, Watch { id, ..wanted }));
        }
        for (id, _) in before.into_values() {
            self.names().pairs.remove(&id);
            self.handle.unwatch(id);
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    fn add(&mut self, pair: &str) -> WatchId {
        self.last += 1;
        let id = WatchId(self.last);
        self.pairs.insert(id, pair.into());
        id
    }
}

/// How the active of a hold is to be watched, if it is; its name is to be given yet.
fn wanted(hold: &Hold) -> Option<Watch> {
    let policy = hold.watch.filter(|_| hold.stage == Stage::Standby && !hold.active.elsewhere)?;
    Some(Watch {
        id: WatchId(0),
        addrs: hold.addresses.iter().copied().take(ADDRS_MAX).collect(),
        mac: hold.active.mac,
        place: Place::Port(hold.active.port.as_ref().into()),
        process: None,
        policy: policy.probes().ok()?,
    })
}

fn read(event: Event) -> Option<(WatchId, Fate)> {
    match event {
        Event::Verdict { id, verdict, .. } => match verdict {
            Verdict::Confirmed { why, .. } => Some((id, Fate::Failed(why.to_string().into()))),
            Verdict::Suspected { .. } => Some((id, Fate::Suspected)),
            Verdict::Recovered { .. } => Some((id, Fate::Recovered)),
            Verdict::Answers { .. } => None,
        },
        Event::Refused { why, .. } => {
            tracing::debug!("an active cannot be watched: {why}");
            None
        }
        Event::Trouble(trouble) => {
            tracing::warn!("watching: {trouble}");
            None
        }
        Event::Watching(_) => None,
    }
}
