//! The agents of the hosts, as pairs need them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::agent::client::{AgentError, Client};
use crate::agent::verb::{Done, Why};
use crate::agent::{Hold, Holder};
use crate::lease::directory::{Standby, Step};
use crate::switchover::{At, Known, Stage};

use super::records::Ends;

/// Connections to agents, and what was told them of pairs.
pub(super) struct Hosts {
    socket: PathBuf,
    client: Option<Client>,
    /// Whether the agent was reached when it was tried last: so much is said once.
    reached: bool,
    /// What the agent of this host holds, by pair.
    held: BTreeMap<Box<str>, Hold>,
}

impl Hosts {
    pub(super) fn new(socket: &Path) -> Hosts {
        let socket = socket.into();
        Hosts { socket, client: None, reached: true, held: BTreeMap::new() }
    }

    /// Whether anything is held that may have to be let go.
    pub(super) fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// What a host holds of a pair.
    pub(super) fn ask(&mut self, pair: &Standby, at: At) -> Known {
        if let Some(known) = self.is_elsewhere(pair, at) {
            return known;
        }
        let status = match self.client() {
            Ok(client) => client.status(),
            Err(error) => return self.lost(&error, Known::Unreachable),
        };
        match status {
            Ok((holds, _)) => {
                self.held = holds.into_iter().map(|hold| (hold.pair.clone(), hold)).collect();
                let hold = self.held.get(&*pair.id);
                // One of an older epoch is told the present one when it matters.
                let stage = hold.filter(|h| h.epoch == pair.epoch || !h.stage.is_open());
                Known::Holds(stage.map(|hold| hold.stage))
            }
            Err(error) => self.lost(&error, Known::Nothing),
        }
    }

    /// Tells a host what to hold of a pair.
    pub(super) fn hold(&mut self, pair: &Standby, ends: &Ends, at: At, stage: Stage) -> Known {
        if let Some(known) = self.is_elsewhere(pair, at) {
            return known;
        }
        let hold = Hold {
            pair: pair.id.as_ref().into(),
            epoch: pair.epoch,
            bridge: ends.bridge.clone(),
            addresses: ends.addresses.clone(),
            active: Holder { elsewhere: pair.active.host.is_some(), ..ends.active.clone() },
            standby: Holder { elsewhere: pair.standby.host.is_some(), ..ends.standby.clone() },
            stage,
            watch: ends.watch,
        };
        let before = self.held.get(&*pair.id).map(|hold| hold.stage);
        let told = match self.client() {
            Ok(client) => client.hold(&hold),
            Err(error) => return self.lost(&error, Known::Unreachable),
        };
        match told {
            Ok(Done { gated_us, announced_us, told }) => {
                let pair = &pair.id;
                tracing::info!(standby = %pair, ?stage, gated_us, announced_us, told, "held");
                self.held.insert(hold.pair.clone(), hold);
                Known::Holds(Some(stage))
            }
            Err(AgentError::Refused { why, text }) => {
                tracing::warn!(standby = %pair.id, ?stage, ?why, "refused: {text}");
                Known::Refused(before)
            }
            Err(error) => self.lost(&error, Known::Nothing),
        }
    }

    /// Tells a host to forget a pair.
    pub(super) fn let_go(&mut self, pair: &Standby, at: At) -> Known {
        if let Some(known) = self.is_elsewhere(pair, at) {
            return known;
        }
        let told = match self.client() {
            Ok(client) => client.let_go(&pair.id, pair.epoch, may_have_it(pair)),
            Err(error) => return self.lost(&error, Known::Unreachable),
        };
        match told {
            Ok(_) | Err(AgentError::Refused { why: Why::Missing, .. }) => {
                self.held.remove(&*pair.id);
                Known::Holds(None)
            }
            Err(AgentError::Refused { text, .. }) => {
                tracing::warn!(standby = %pair.id, "not let go: {text}");
                Known::Refused(None)
            }
            Err(error) => self.lost(&error, Known::Nothing),
        }
    }

    /// A pair is no more.
    pub(super) fn forget(&mut self, pair: &Standby) {
        self.let_go(pair, At::Standby);
    }

    /// Lets go of what no record says.
    pub(super) fn let_go_of_strangers(&mut self, is_known: impl Fn(&str) -> bool) {
        let strangers: Vec<(Box<str>, u64)> = self
            .held
            .values()
            .filter(|hold| !is_known(&hold.pair))
            .map(|hold| (hold.pair.clone(), hold.epoch))
            .collect();
        for (pair, epoch) in strangers {
            let told = self.client().and_then(|client| client.let_go(&pair, epoch, true));
            match told {
                Ok(_) => drop(self.held.remove(&pair)),
                Err(error) => tracing::warn!(%pair, %error, "not let go"),
            }
        }
    }

    /// Agents of other hosts are not spoken with.
    fn is_elsewhere(&self, pair: &Standby, at: At) -> Option<Known> {
        let party = match at {
            At::Active => &pair.active,
            At::Standby => &pair.standby,
        };
        party.host.as_ref().map(|_| Known::Unreachable)
    }

    fn client(&mut self) -> Result<&mut Client, AgentError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.socket)?,
        };
        if !std::mem::replace(&mut self.reached, true) {
            tracing::info!("agent reached");
        }
        Ok(self.client.insert(client))
    }

    fn lost(&mut self, error: &AgentError, known: Known) -> Known {
        self.client = None;
        if std::mem::replace(&mut self.reached, false) {
            tracing::error!(socket = %self.socket.display(), %error, "agent not reached");
        }
        known
    }
}

/// Whether the one who is silent may have the addresses when the pair is forgotten: a standby that
/// was told them, or whose addresses are configured in it; a former active that nobody ended.
fn may_have_it(pair: &Standby) -> bool {
    pair.state.switchover().is_none_or(|switchover| switchover.step < Step::Terminated)
}
