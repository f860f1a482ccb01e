//! Agents that are asked on behalf of a user, by connections of their own: what takes long holds up
//! no switchover.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::check::State;
use crate::agent::client::{AgentError, Client};
use crate::agent::verb::{self, Why};
use crate::api::command::Refusal;
use crate::api::hosts::{ActiveWord, Hosts, PairCheckState, PairCheckView};
use crate::api::standbys::{PartyView, StandbyView};

use super::reach::Reach;

/// How long the active of an announced migration may be silent, unless its end is told: as long as
/// detection ever rests.
const MIGRATION_MS_MAX: u32 = crate::watch::PAUSE_MAX_MS as u32;

/// How long an answer may take: each guest is asked for its addresses.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// The agents that pairs are on.
pub(in crate::daemon) struct Agents(pub(in crate::daemon) Arc<Reach>);

impl Agents {
    fn connect(&self, of: &PartyView) -> Result<Client, String> {
        self.0.connect(of.host.as_deref(), ANSWERS_WITHIN).map_err(|error| error.to_string())
    }

    fn look(&self, pair: &StandbyView, of: &PartyView, found: &mut Vec<PairCheckView>) {
        let name = of.host.as_deref().unwrap_or("this host");
        let told = self.connect(of).map(|mut client| client.check(&pair.id));
        let (state, text) = match told {
            Ok(Ok(checks)) => return found.extend(checks.into_iter().map(view)),
            Ok(Err(AgentError::Refused { why: Why::Missing, .. })) => {
                (PairCheckState::Bad, format!("the agent of {name} does not hold the pair"))
            }
            Ok(Err(error)) => (PairCheckState::Bad, error.to_string()),
            Err(text) => (PairCheckState::Bad, text),
        };
        found.push(PairCheckView { what: "agent".into(), state, text });
    }
}

impl Hosts for Agents {
    fn checks(&self, pair: &StandbyView) -> Vec<PairCheckView> {
        let mut found = vec![readiness(pair)];
        self.look(pair, &pair.standby, &mut found);
        if pair.active.host != pair.standby.host {
            self.look(pair, &pair.active, &mut found);
        }
        found
    }

    fn active(&self, pair: &StandbyView, word: ActiveWord) -> Result<(), Refusal> {
        let word = match word {
            ActiveWord::Well => verb::ActiveWord::Well,
            ActiveWord::Failing => verb::ActiveWord::Failing,
            ActiveWord::Migrating => verb::ActiveWord::Migrating { for_ms: MIGRATION_MS_MAX },
            ActiveWord::Migrated => verb::ActiveWord::Migrating { for_ms: 0 },
        };
        let mut client = self.connect(&pair.active).map_err(Refusal::Unavailable)?;
        client.active(&pair.id, word).map_err(|error| match error {
            AgentError::Refused { text, .. } => Refusal::Conflict(text.into()),
            error => Refusal::Unavailable(error.to_string()),
        })
    }
}

/// What the record says.
fn readiness(pair: &StandbyView) -> PairCheckView {
    let what = "state".to_owned();
    let missing = pair.missing.join(", ");
    let (state, text) = match pair.state.as_str() {
        "ready" => (PairCheckState::Good, "ready".to_owned()),
        of if missing.is_empty() => {
            (PairCheckState::Bad, format!("{of}: its driver has not said that it is ready"))
        }
        of => (PairCheckState::Bad, format!("{of}: {missing}")),
    };
    PairCheckView { what, state, text }
}

fn view(of: crate::agent::check::Check) -> PairCheckView {
    let state = match of.state {
        State::Good => PairCheckState::Good,
        State::Doubtful => PairCheckState::Doubtful,
        State::Bad => PairCheckState::Bad,
    };
    PairCheckView { what: of.what.into(), state, text: of.text.into() }
}
