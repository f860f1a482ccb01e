//! Standbys: what is asked of the engine's thread about them, and how they are shown. What drives
//! their gates has [`drive`](super::drive) beside it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::Timestamp;
use crate::config::Policy;
use crate::config::policy::OnFailure;
use crate::engine::Engine;
use crate::engine::standbys::Report;
use crate::engine::standbys::name::StandbyWish;
use crate::lease::directory::{Entry, Kind, Party, Readiness, Standby, Step};

use super::command::Refusal;
use super::instances::hex;
use super::leases::{network_text, time_text};
use super::registry::{Deed, Told, Turn};

/// A pair: an active, its standby, and what they share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StandbyView {
    /// What it is called; unique on this server.
    pub id: String,
    /// Its network.
    pub network: String,
    /// The addresses and delegated prefixes that both hold.
    pub addresses: Vec<String>,
    /// Who speaks for them until the promotion.
    pub active: PartyView,
    /// Who will.
    pub standby: PartyView,
    /// The name that the standby is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Whom they belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// What runs in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// The registered instance that the addresses are kept for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// `preparing`, `synced`, `ready`, `switching` or `promoted`.
    pub state: String,
    /// How much of the state of the active is there, in percent.
    pub progress: u8,
    /// The agent has confirmed the gate of the standby.
    pub gated: bool,
    /// Which of the addresses the standby was acknowledged.
    pub held: Vec<String>,
    /// What keeps it from being ready; nothing if it can be.
    pub missing: Vec<String>,
    /// Rises with each switchover that is begun.
    pub epoch: u64,
    /// When a planned switchover is to begin, as a window opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned: Option<String>,
    /// The switchover under way or done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switchover: Option<SwitchoverView>,
    /// What is done when the active has failed.
    pub on_failure: OnFailureView,
    /// Whether the standby may take over after a failure though no fence is confirmed.
    pub unfenced: bool,
    /// When it was named.
    pub created: String,
    /// When it was last changed.
    pub changed: String,
    /// When it is dropped unless it is ready by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// One of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PartyView {
    /// Its hardware address. That of the active follows from what is leased to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 17)]
    pub mac: Option<String>,
    /// Its DUID, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 400)]
    pub duid: Option<String>,
    /// The interface of its port on the bridge of its host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[^\\x00-\\x20/:]{1,15}$", max_length = 15)]
    pub port: Option<String>,
    /// The agent that has the port; that of this host if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", max_length = 64)]
    pub host: Option<String>,
}

/// A switchover under way or done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SwitchoverView {
    /// `planned`, or `failure`.
    pub kind: String,
    /// What has been done of it: `intended`, `fenced`, `opened`, `announced`, `promoted`,
    /// `terminated`, in this order.
    pub step: String,
    /// Somebody insisted, though the standby was not ready.
    pub forced: bool,
    /// Who began it.
    pub by: String,
    /// When it was begun.
    pub started: String,
    /// When each step was noted, in order.
    pub steps: Vec<StepView>,
    /// For how long nobody answered for the addresses, in milliseconds: from when the active was
    /// silent to the first answer of the standby, as its agent saw it. None: not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outage_ms: Option<f64>,
}

/// A step of a switchover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// Which.
    pub step: String,
    /// When.
    pub at: String,
}

/// What is done when an active has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailureView {
    /// It is said.
    #[default]
    Alert,
    /// Its standby takes over.
    Switch,
}

/// How far a standby is, as its driver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReadinessView {
    /// Its state is on its way.
    Preparing,
    /// All of it is there.
    Synced,
    /// It can take over.
    Ready,
}

impl From<OnFailure> for OnFailureView {
    fn from(of: OnFailure) -> OnFailureView {
        match of {
            OnFailure::Alert => OnFailureView::Alert,
            OnFailure::Switch => OnFailureView::Switch,
        }
    }
}

impl From<OnFailureView> for OnFailure {
    fn from(of: OnFailureView) -> OnFailure {
        match of {
            OnFailureView::Alert => OnFailure::Alert,
            OnFailureView::Switch => OnFailure::Switch,
        }
    }
}

impl From<ReadinessView> for Readiness {
    fn from(of: ReadinessView) -> Readiness {
        match of {
            ReadinessView::Preparing => Readiness::Preparing,
            ReadinessView::Synced => Readiness::Synced,
            ReadinessView::Ready => Readiness::Ready,
        }
    }
}

impl PartyView {
    fn of(party: &Party) -> PartyView {
        PartyView {
            mac: party.who.mac.map(|mac| mac.to_string()),
            duid: party.who.duid.as_deref().map(hex),
            port: party.port.as_deref().map(Into::into),
            host: party.host.as_deref().map(Into::into),
        }
    }
}

fn step_view((step, at): &(Step, Timestamp)) -> StepView {
    StepView { step: step.as_str().into(), at: time_text(*at) }
}

impl StandbyView {
    /// A standby as the control plane shows it.
    pub fn of(standby: &Standby, engine: &Engine, policy: &Policy) -> StandbyView {
        let text = |text: Option<&str>| text.map(String::from);
        let switchover = standby.state.switchover().map(|of| SwitchoverView {
            kind: of.kind.as_str().into(),
            step: of.step.as_str().into(),
            forced: of.forced,
            by: of.by.to_string(),
            started: time_text(of.started),
            steps: of.noted.iter().map(step_view).collect(),
            outage_ms: of.outage_us.map(|us| f64::from(us) / 1_000.0),
        });
        let over = standby.is_promoted();
        StandbyView {
            id: standby.id.to_string(),
            network: network_text(standby.network, policy),
            addresses: standby.resources.iter().map(ToString::to_string).collect(),
            active: PartyView::of(&standby.active),
            standby: PartyView::of(&standby.standby),
            hostname: text(standby.hostname.as_deref()),
            account: text(standby.account.as_deref()),
            application: text(standby.application.as_deref()),
            instance: text(standby.instance.as_deref()),
            state: standby.state.as_str().into(),
            progress: standby.progress,
            gated: standby.gated,
            held: standby.told.iter().map(|told| told.resource.to_string()).collect(),
            missing: if over { Vec::new() } else { engine.missing(standby) },
            epoch: standby.epoch,
            planned: standby.planned.as_ref().map(|planned| time_text(planned.at)),
            switchover,
            on_failure: standby.on_failure.into(),
            unfenced: standby.unfenced,
            created: time_text(standby.created),
            changed: time_text(standby.changed),
            until: Some(standby.until).filter(|until| *until != Timestamp::NEVER).map(time_text),
        }
    }
}

/// What to do with standbys.
#[derive(Debug)]
pub enum StandbyDeed {
    /// Name one.
    Create(Box<StandbyWish>),
    /// Note how far one is.
    Report(Box<str>, Report),
    /// Begin a switchover to one, though it is not ready if so it is said.
    Switch(Box<str>, Kind, bool),
    /// Begin a planned one when a window opens.
    Plan(Box<str>),
    /// Drop one.
    Drop(Box<str>),
    /// Show one.
    Show(Box<str>),
    /// Those whose ids come after this one, so many at most.
    List(Option<Box<str>>, usize),
}

impl Deed for StandbyDeed {
    type View = StandbyView;

    fn run(self, turn: &mut Turn<'_, '_>) -> Result<Told<StandbyView>, Refusal> {
        match self {
            StandbyDeed::Create(wish) => {
                let (engine, now, fx) = turn.parts();
                let (standby, new) = engine.create_standby(now, &wish, fx)?;
                let view = shown(turn, &standby);
                if new {
                    audit(turn, "create", &standby, None, Some(&view));
                }
                Ok(Told::one(view, new))
            }
            StandbyDeed::Report(id, report) => {
                let before = changeable(turn, &id)?;
                let (engine, now, fx) = turn.parts();
                let standby = engine.report(now, &id, report, fx)?;
                let after = shown(turn, &standby);
                // Progress alone is news many times over, and nobody's deed.
                if after.state != before.state || report.state.is_some() {
                    audit(turn, "report", &standby, Some(&before), Some(&after));
                }
                Ok(Told::one(after, false))
            }
            StandbyDeed::Switch(id, kind, forced) => {
                let before = changeable(turn, &id)?;
                let who = turn.who().to_owned();
                let (engine, now, fx) = turn.parts();
                let standby = engine.begin_switchover(now, &id, (kind, forced, &who), fx)?;
                let after = shown(turn, &standby);
                audit(turn, "switchover", &standby, Some(&before), Some(&after));
                Ok(Told::one(after, false))
            }
            StandbyDeed::Plan(id) => {
                let before = changeable(turn, &id)?;
                let who = turn.who().to_owned();
                let (engine, now, fx) = turn.parts();
                let standby = engine.plan_switchover(now, &id, &who, fx)?;
                let after = shown(turn, &standby);
                audit(turn, "switchover", &standby, Some(&before), Some(&after));
                Ok(Told::one(after, false))
            }
            StandbyDeed::Drop(id) => {
                let before = changeable(turn, &id)?;
                let (engine, now, fx) = turn.parts();
                let standby = engine.drop_standby(now, &id, fx)?;
                audit(turn, "delete", &standby, Some(&before), None);
                Ok(Told::one(before, false))
            }
            StandbyDeed::Show(id) => Ok(Told::one(visible(turn, &id)?, false)),
            StandbyDeed::List(cursor, most) => Ok(list(turn, cursor.as_deref(), most)),
        }
    }
}

fn shown(turn: &Turn<'_, '_>, standby: &Standby) -> StandbyView {
    StandbyView::of(standby, turn.engine(), turn.policy)
}

fn audit(
    turn: &mut Turn<'_, '_>,
    verb: &str,
    of: &Standby,
    before: Option<&StandbyView>,
    after: Option<&StandbyView>,
) {
    turn.audit(verb, &format!("standbys/{}", of.id), of.account.as_deref(), before, after);
}

/// One that is what the caller thinks.
fn changeable(turn: &Turn<'_, '_>, id: &str) -> Result<StandbyView, Refusal> {
    let view = visible(turn, id)?;
    turn.conditions.allow_change(&view)?;
    Ok(view)
}

fn visible(turn: &Turn<'_, '_>, id: &str) -> Result<StandbyView, Refusal> {
    let found = turn.engine().directory().standby(id);
    let own = found.filter(|standby| turn.scope.holds(standby.account.as_deref()));
    let unknown = || Refusal::NotFound(format!("no standby is called \"{id}\""));
    own.map(|standby| shown(turn, standby)).ok_or_else(unknown)
}

fn list(turn: &Turn<'_, '_>, cursor: Option<&str>, most: usize) -> Told<StandbyView> {
    let after = cursor.map(|id| format!("standby/{id}"));
    let found = turn.engine().directory().list("standby/", after.as_deref());
    let found = found.filter_map(|entry| match entry {
        Entry::Standby(standby) => Some(standby),
        _ => None,
    });
    let page: Vec<&Arc<Standby>> = found.take(most).collect();
    let next = page.last().filter(|_| page.len() == most).map(|standby| standby.id.to_string());
    let own = page.into_iter().filter(|standby| turn.scope.holds(standby.account.as_deref()));
    Told { entries: own.map(|standby| shown(turn, standby)).collect(), new: false, next }
}
