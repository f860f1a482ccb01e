//! Watching the actives of holds, by their names; and standbys, until they are heard for the first
//! time after their gates were opened.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::net::watch::{Event, Handle, RefusedWatch, Watcher};
use crate::switchover::Stage;
use crate::watch::{
    ADDRS_MAX, Evidence, Health, Moment, Place, PolicyError, ProbePolicy, Process, Reporter,
    Verdict, Watch, WatchId, Why,
};

use super::hold::Hold;
use super::keep::Kept;
use super::tap;
use super::verb::ActiveWord;

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
    /// It failed.
    Failed {
        /// Why.
        why: Box<str>,
        /// For how long it had been silent, in microseconds.
        silent_us: u32,
    },
    /// No longer the active, the standby was heard for the first time since its gate was opened.
    Answered {
        /// For how long the gate was open, in microseconds.
        after_us: u32,
    },
    /// It may have, and something speaks against it.
    Suspected,
    /// It is there again, or was all the time.
    Recovered,
}

/// What is seen of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Its active is there, and watched from now on.
    Lives,
    /// What became of one of the two.
    Became(Fate),
}

/// Names of watches, both ways.
#[derive(Debug, Default)]
struct Names {
    last: u64,
    pairs: HashMap<WatchId, Watched>,
    /// Those that could not be watched.
    refused: Vec<WatchId>,
    /// Pairs of which it was told that they failed before they could be watched.
    told: BTreeSet<Box<str>>,
}

/// Who has that name.
#[derive(Clone, Debug)]
struct Watched {
    pair: Box<str>,
    /// Of a standby: when its gate was opened.
    opened: Option<Instant>,
    /// Of an active: that it was there before this process was.
    lived: bool,
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
    pub(super) fn start(mut sink: impl FnMut(&str, Sign) + Send + 'static) -> io::Result<Guard> {
        let names = Arc::new(Mutex::new(Names::default()));
        let known = names.clone();
        let handle = Watcher::start(move |event| {
            let Some(id) = id_of(&event) else { return note(event) };
            let found = known.lock().unwrap_or_else(PoisonError::into_inner).found(id, &event);
            let Some(watched) = found else { return };
            read(event, &watched).into_iter().for_each(|sign| sink(&watched.pair, sign));
        })?;
        Ok(Guard { handle, names, watched: BTreeMap::new() })
    }

    /// Watches just the actives of these that are to be watched, and the standbys whose gates were
    /// opened then. One that could not be watched before, as its port had no link, is tried again.
    /// Where one lived before this process did, that is its failure.
    pub(super) fn follow(&mut self, kept: &Kept, opened: &BTreeMap<Box<str>, Instant>) {
        let mut before = std::mem::take(&mut self.watched);
        let refused = std::mem::take(&mut self.names().refused);
        for hold in kept.holds.values() {
            let opened = opened.get(&hold.pair).copied();
            let Some(wanted) = wanted(hold, opened.is_some()) else { continue };
            let same = |(id, watch): &(WatchId, Watch)| {
                let watch = Watch { id: wanted.id, ..watch.clone() };
                watch == wanted && !refused.contains(id)
            };
            if let Some(kept) = before.get(&hold.pair).filter(|kept| same(kept)) {
                self.watched.insert(hold.pair.clone(), kept.clone());
                before.remove(&hold.pair);
                continue;
            }
            let opened = opened.filter(|_| hold.stage.is_open());
            let lived = opened.is_none() && kept.lived.contains(&hold.pair);
            let id = self.names().add(Watched { pair: hold.pair.clone(), opened, lived });
            let process = match opened {
                None => tap::process_of(&hold.active.port).map(Process::Pid),
                Some(_) => None,
            };
            self.handle.watch(Watch { id, process, ..wanted.clone() });
            self.watched.insert(hold.pair.clone(), (id, Watch { id, ..wanted }));
        }
        for (id, _) in before.into_values() {
            self.names().pairs.remove(&id);
            self.handle.unwatch(id);
        }
    }

    /// Whether the active of a pair is watched.
    pub(super) fn is_watched(&self, pair: &str) -> bool {
        let refused = |id: &WatchId| self.names().refused.contains(id);
        self.watched.get(pair).is_some_and(|(id, _)| !refused(id))
    }

    /// Takes in what is said of the active of a pair; whether it is watched.
    pub(super) fn tell(&self, pair: &str, word: ActiveWord) -> bool {
        let Some((id, _)) = self.watched.get(pair) else { return false };
        match word {
            ActiveWord::Well => self.handle.report(*id, Reporter::Guest, Health::Healthy),
            ActiveWord::Failing => self.handle.report(*id, Reporter::Guest, Health::Failing),
            ActiveWord::Migrating { for_ms: 0 } => self.handle.resume(*id),
            ActiveWord::Migrating { for_ms } => {
                self.handle.pause(*id, Duration::from_millis(for_ms.into()));
            }
        }
        true
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    /// Whom something is said of, unless it was said before.
    fn found(&mut self, id: WatchId, event: &Event) -> Option<Watched> {
        if let Event::Refused { .. } = event {
            self.refused.push(id);
        }
        let mut watched = self.pairs.get(&id)?.clone();
        match event {
            Event::Watching(_) => drop(self.told.remove(&watched.pair)),
            Event::Refused { .. } if watched.lived => {
                watched.lived = self.told.insert(watched.pair.clone());
            }
            _ => {}
        }
        Some(watched)
    }

    fn add(&mut self, watched: Watched) -> WatchId {
        self.last += 1;
        let id = WatchId(self.last);
        self.pairs.insert(id, watched);
        id
    }
}

/// Who of a hold is to be watched and how, if anybody is; its name is to be given yet.
fn wanted(hold: &Hold, just_opened: bool) -> Option<Watch> {
    let (of, policy) = match hold.stage {
        Stage::Standby => (&hold.active, hold.watch?.probes().ok()?),
        Stage::Leaving | Stage::Promoted if just_opened => {
            (&hold.standby, ProbePolicy::FIRST_ANSWER)
        }
        _ => return None,
    };
    Some(Watch {
        id: WatchId(0),
        addrs: hold.addresses.iter().copied().take(ADDRS_MAX).collect(),
        mac: of.mac,
        place: Place::Port(of.port.as_ref().into()),
        process: None,
        policy,
    })
    .filter(|_| !of.elsewhere)
}

fn id_of(event: &Event) -> Option<WatchId> {
    match event {
        Event::Watching(id) | Event::Refused { id, .. } | Event::Verdict { id, .. } => Some(*id),
        Event::Trouble(_) => None,
    }
}

fn note(event: Event) {
    if let Event::Trouble(trouble) = event {
        tracing::warn!("watching: {trouble}");
    }
}

fn read(event: Event, watched: &Watched) -> Option<Sign> {
    match (event, watched.opened) {
        (Event::Verdict { verdict, .. }, None) => fate_of_active(verdict).map(Sign::Became),
        (Event::Verdict { verdict, at, .. }, Some(opened)) => {
            answered(verdict, at, opened).map(Sign::Became)
        }
        (Event::Watching(_), None) => Some(Sign::Lives),
        (Event::Refused { why, .. }, _) => {
            tracing::debug!(pair = %watched.pair, "a guest cannot be watched: {why}");
            let is_gone = matches!(why, RefusedWatch::NoPort(_) | RefusedWatch::NoLink(_));
            (watched.lived && is_gone)
                .then(|| Sign::Became(Fate::Failed { why: why.to_string().into(), silent_us: 0 }))
        }
        (Event::Watching(_) | Event::Trouble(_), _) => None,
    }
}

fn fate_of_active(verdict: Verdict) -> Option<Fate> {
    match verdict {
        Verdict::Confirmed { why, evidence, at } => Some(Fate::Failed {
            why: why.to_string().into(),
            silent_us: silent_us(why, &evidence, at),
        }),
        Verdict::Suspected { .. } => Some(Fate::Suspected),
        Verdict::Recovered { .. } => Some(Fate::Recovered),
        Verdict::Answers { .. } => None,
    }
}

/// For how long it was silent when its failure was confirmed. An end or a lost link is seen at once.
fn silent_us(why: Why, evidence: &Evidence, at: Moment) -> u32 {
    let since = match why {
        Why::ProcessEnded | Why::LinkDown | Why::LinkGone => at,
        _ => evidence.last_life.or(evidence.silent_since).unwrap_or(at),
    };
    u32::try_from(at.nanos_since(since) / 1_000).unwrap_or(u32::MAX)
}

fn answered(verdict: Verdict, at: Instant, opened: Instant) -> Option<Fate> {
    let Verdict::Answers { .. } = verdict else { return None };
    let after = at.saturating_duration_since(opened).as_micros();
    Some(Fate::Answered { after_us: u32::try_from(after).unwrap_or(u32::MAX) })
}
