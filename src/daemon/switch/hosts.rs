//! The agents of the hosts, as pairs need them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use crate::agent::client::{AgentError, Client};
use crate::agent::verb::{Done, Why};
use crate::agent::{Hold, Holder};
use crate::lease::directory::{Party, Standby, Step};
use crate::switchover::{At, Known, Stage};

use super::Word;
use super::reach::{HostName, Reach};
use super::records::Ends;

/// How long the agent of another host may take to answer: a dead host holds up the others no longer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// How long a connection to another host is waited for where there is no reason to doubt it.
const CONNECTS_WITHIN: Duration = Duration::from_millis(500);
/// How soon another host is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Connections to agents, and what was told them of pairs.
pub(super) struct Hosts {
    reach: Arc<Reach>,
    words: SyncSender<Word>,
    agents: BTreeMap<HostName, Agent>,
}

/// The agent of a host.
struct Agent {
    line: Line,
    /// Whether it was reached when it was tried last: so much is said once.
    reached: bool,
    again_at: Option<Instant>,
    /// What it holds, by pair.
    held: BTreeMap<Box<str>, Hold>,
}

enum Line {
    Closed,
    /// A thread connects.
    Opening(Receiver<Result<Client, AgentError>>),
    Open(Client),
}

impl Hosts {
    pub(super) fn new(reach: Arc<Reach>, words: SyncSender<Word>) -> Hosts {
        Hosts { reach, words, agents: BTreeMap::new() }
    }

    /// Whether anything is held that may have to be let go.
    pub(super) fn holds_any(&self) -> bool {
        self.agents.values().any(|agent| !agent.held.is_empty())
    }

    /// What a host holds of a pair.
    pub(super) fn ask(&mut self, pair: &Standby, at: At) -> Known {
        let host = &party(pair, at).host;
        let status = match self.client(host) {
            Ok(client) => client.status(),
            Err(error) => return self.lost(host, &error, Known::Unreachable),
        };
        match status {
            Ok((holds, _)) => {
                let agent = self.agent(host);
                agent.held = holds.into_iter().map(|hold| (hold.pair.clone(), hold)).collect();
                let hold = agent.held.get(&*pair.id);
                // One of an older epoch is told the present one when it matters.
                let stage = hold.filter(|h| h.epoch == pair.epoch || !h.stage.is_open());
                Known::Holds(stage.map(|hold| hold.stage))
            }
            Err(error) => self.lost(host, &error, Known::Nothing),
        }
    }

    /// Tells a host what to hold of a pair.
    pub(super) fn hold(&mut self, pair: &Standby, ends: &Ends, at: At, stage: Stage) -> Known {
        let host = &party(pair, at).host;
        let seen_from = |of: &Party, holder: &Holder| match of.host == *host {
            true => Holder { elsewhere: false, ..holder.clone() },
            // Which port leads there is known to that host.
            false => Holder { elsewhere: true, port: "".into(), mac: holder.mac },
        };
        let hold = Hold {
            pair: pair.id.as_ref().into(),
            epoch: pair.epoch,
            bridge: if host.is_none() { ends.bridge.clone() } else { "".into() },
            addresses: ends.addresses.clone(),
            active: seen_from(&pair.active, &ends.active),
            standby: seen_from(&pair.standby, &ends.standby),
            stage,
            watch: ends.watch,
        };
        let before = self.agent(host).held.get(&*pair.id).map(|hold| hold.stage);
        let told = match self.client(host) {
            Ok(client) => client.hold(&hold),
            Err(error) => return self.lost(host, &error, Known::Unreachable),
        };
        let at = host.as_deref().unwrap_or("this host");
        match told {
            Ok(Done { gated_us, announced_us, told }) => {
                let pair = &pair.id;
                tracing::info!(standby = %pair, at, ?stage, gated_us, announced_us, told, "held");
                self.agent(host).held.insert(hold.pair.clone(), hold);
                Known::Holds(Some(stage))
            }
            Err(AgentError::Refused { why, text }) => {
                tracing::warn!(standby = %pair.id, at, ?stage, ?why, "refused: {text}");
                Known::Refused(before)
            }
            Err(error) => self.lost(host, &error, Known::Nothing),
        }
    }

    /// Tells a host to forget a pair.
    pub(super) fn let_go(&mut self, pair: &Standby, at: At) -> Known {
        let host = &party(pair, at).host;
        let told = match self.client(host) {
            Ok(client) => client.let_go(&pair.id, pair.epoch, may_have_it(pair)),
            Err(error) => return self.lost(host, &error, Known::Unreachable),
        };
        match told {
            Ok(_) | Err(AgentError::Refused { why: Why::Missing, .. }) => {
                self.agent(host).held.remove(&*pair.id);
                Known::Holds(None)
            }
            Err(AgentError::Refused { text, .. }) => {
                tracing::warn!(standby = %pair.id, "not let go: {text}");
                Known::Refused(None)
            }
            Err(error) => self.lost(host, &error, Known::Nothing),
        }
    }

    /// A pair is no more.
    pub(super) fn forget(&mut self, pair: &Standby) {
        self.let_go(pair, At::Standby);
        if pair.active.host != pair.standby.host {
            self.let_go(pair, At::Active);
        }
    }

    /// Lets go of what no record says.
    pub(super) fn let_go_of_strangers(&mut self, is_known: impl Fn(&str) -> bool) {
        for agent in self.agents.values_mut() {
            let strangers = agent.held.values().filter(|hold| !is_known(&hold.pair));
            let strangers: Vec<(Box<str>, u64)> =
                strangers.map(|hold| (hold.pair.clone(), hold.epoch)).collect();
            let Line::Open(client) = &mut agent.line else { continue };
            for (pair, epoch) in strangers {
                match client.let_go(&pair, epoch, true) {
                    Ok(_) => drop(agent.held.remove(&pair)),
                    Err(error) => tracing::warn!(%pair, %error, "not let go"),
                }
            }
        }
    }

    fn agent(&mut self, host: &HostName) -> &mut Agent {
        self.agents.entry(host.clone()).or_insert_with(|| Agent {
            line: Line::Closed,
            reached: true,
            again_at: None,
            held: BTreeMap::new(),
        })
    }

    fn client(&mut self, host: &HostName) -> Result<&mut Client, AgentError> {
        let (reach, words) = (self.reach.clone(), self.words.clone());
        let agent = self.agent(host);
        let client = match std::mem::replace(&mut agent.line, Line::Closed) {
            Line::Open(client) => client,
            Line::Closed if host.is_none() => reach.connect(None, ANSWERS_WITHIN)?,
            Line::Closed => {
                if agent.again_at.is_some_and(|at| Instant::now() < at) {
                    return Err(io::Error::from(io::ErrorKind::NotConnected).into());
                }
                let opening = open(reach, host.clone(), words)?;
                // One that is known to be away holds up nobody.
                let wait = if agent.reached { CONNECTS_WITHIN } else { Duration::ZERO };
                match opening.recv_timeout(wait) {
                    Ok(connected) => connected?,
                    Err(_) => {
                        agent.line = Line::Opening(opening);
                        return Err(io::Error::from(io::ErrorKind::WouldBlock).into());
                    }
                }
            }
            Line::Opening(opening) => match opening.try_recv() {
                Ok(connected) => connected?,
                Err(TryRecvError::Disconnected) => {
                    return Err(io::Error::from(io::ErrorKind::NotConnected).into());
                }
                Err(TryRecvError::Empty) => {
                    agent.line = Line::Opening(opening);
                    return Err(io::Error::from(io::ErrorKind::WouldBlock).into());
                }
            },
        };
        if !std::mem::replace(&mut agent.reached, true) {
            tracing::info!(host = host.as_deref().unwrap_or("this host"), "agent reached");
        }
        agent.line = Line::Open(client);
        match &mut agent.line {
            Line::Open(client) => Ok(client),
            _ => Err(io::Error::from(io::ErrorKind::NotConnected).into()),
        }
    }

    fn lost(&mut self, host: &HostName, error: &AgentError, known: Known) -> Known {
        let agent = self.agent(host);
        if !matches!(agent.line, Line::Opening(_)) {
            agent.line = Line::Closed;
            agent.again_at = Some(Instant::now() + AGAIN);
        }
        if std::mem::replace(&mut agent.reached, false) {
            let host = host.as_deref().unwrap_or("this host");
            tracing::error!(host, %error, "agent not reached");
        }
        known
    }
}

/// Connects in a thread, which says when it is done.
fn open(
    reach: Arc<Reach>,
    host: HostName,
    words: SyncSender<Word>,
) -> io::Result<Receiver<Result<Client, AgentError>>> {
    let (done, opening) = sync_channel(1);
    let connect = move || {
        let _ = done.send(reach.connect(host.as_deref(), ANSWERS_WITHIN));
        // One that waits already is enough.
        let _ = words.try_send(Word::Changed);
    };
    std::thread::Builder::new().name("switch-connect".into()).spawn(connect)?;
    Ok(opening)
}

fn party(pair: &Standby, at: At) -> &Party {
    match at {
        At::Active => &pair.active,
        At::Standby => &pair.standby,
    }
}

/// Whether the one who is silent may have the addresses when the pair is forgotten: a standby that
/// was told them, or whose addresses are configured in it; a former active that nobody ended.
fn may_have_it(pair: &Standby) -> bool {
    pair.state.switchover().is_none_or(|switchover| switchover.step < Step::Terminated)
}
