//! What the agents of hosts are asked on behalf of somebody who asks about a pair.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::command::Refusal;
use super::standbys::StandbyView;

/// The way to the agents. Its answers may take seconds: it is called where that holds up nobody.
pub trait Hosts: Send + Sync {
    /// Whether a switchover of this pair would go well.
    fn checks(&self, pair: &StandbyView) -> Vec<PairCheckView>;

    /// Says how the active of this pair is.
    fn active(&self, pair: &StandbyView, word: ActiveWord) -> Result<(), Refusal>;
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PairCheckView {
    /// What.
    pub what: String,
    /// How it is.
    pub state: PairCheckState,
    /// What was found, in words.
    pub text: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PairCheckState {
    /// As it is to be.
    Good,
    /// A switchover goes on, and may lose more than it has to.
    Doubtful,
    /// A switchover would be refused or fail.
    Bad,
}

/// What can be said of an active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActiveWord {
    /// Something within it says that it is well.
    Well,
    /// Something within it says that it fails: a second sign, where it answers no probes, for ten
    /// seconds.
    Failing,
    /// It is being migrated, and may be silent for a while: no failure is seen meanwhile.
    Migrating,
    /// Its migration is over.
    Migrated,
}

/// A server that has no agents.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Hosts for Nobody {
    fn checks(&self, _: &StandbyView) -> Vec<PairCheckView> {
        Vec::new()
    }

    fn active(&self, _: &StandbyView, _: ActiveWord) -> Result<(), Refusal> {
        Err(Refusal::Unavailable("this server has no agents".into()))
    }
}
