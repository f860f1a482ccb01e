//! Who would be moved, and why: the dry run of relocation.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::NetworkId;
use crate::config::Policy;
use crate::config::policy::{MoveWeights, RelocationMode};
use crate::engine::relocate::plan::{Candidate, PoolPlan};
use crate::lease::score::Share;

use super::command::Refusal;
use super::leases::network_text;
use super::registry::{Deed, Told, Turn};

/// What would be done about pools that are short.
#[derive(Debug)]
pub struct RelocationDeed {
    /// Of this network.
    pub network: NetworkId,
}

/// A pool that is too short for its hot tier, and whom to move for that.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RelocationView {
    /// The network.
    pub network: String,
    /// The pool: its first and its last address.
    pub pool: String,
    /// What the policy says: `off`, `plan` or `on`.
    pub mode: String,
    /// How many addresses its hot tier lacks, those that are being moved already not counted.
    pub lacking: u64,
    /// How many clients are being moved.
    pub draining: u64,
    /// No move may begin at this hour.
    pub frozen: bool,
    /// Who was looked at: those that would be moved first, the cheapest of them first.
    pub candidates: Vec<CandidateView>,
}

/// A client that could be moved.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CandidateView {
    /// Its address.
    pub address: String,
    /// Its account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// What runs there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Which tier it counts for.
    pub tier: String,
    /// The lifecycle score of the address.
    #[schema(minimum = 0, maximum = 1)]
    pub score: f64,
    /// What it costs to move it, in percent: the mean of the parts by their weights.
    #[schema(minimum = 0, maximum = 100)]
    pub cost: u8,
    /// What that is made of.
    pub parts: Vec<CostPartView>,
    /// The first address of the pool that has room for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why it stays: `enough` (others are cheaper), `exempt`, `recent`, `endless` (its lease never
    /// ends), `no-place` or `dear`. Not there if it is moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stays: Option<String>,
}

/// A part of a cost.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CostPartView {
    /// `disruption`, `distance`, `processing` or `priority`.
    pub part: String,
    /// In percent.
    #[schema(minimum = 0, maximum = 100)]
    pub percent: u8,
    /// Its weight.
    pub weight: u32,
}

impl Deed for RelocationDeed {
    type View = RelocationView;

    fn run(self, turn: &mut Turn<'_, '_>) -> Result<Told<RelocationView>, Refusal> {
        let (policy, scope) = (turn.policy, turn.scope);
        let at = policy.networks.iter().position(|network| network.id == self.network);
        let at = at.ok_or_else(|| Refusal::NotFound("no such network".into()))?;
        let (engine, now, _) = turn.parts();
        let most = policy.networks.get(at).map_or(0, |network| network.relocation.rate as usize);
        let plans = engine.plans_of(now, at, most);
        let entries = plans.iter().map(|plan| {
            let owner = |candidate: &Candidate| {
                let lease = engine.leases().get(self.network, candidate.resource);
                lease
                    .map(|lease| (lease.details.account.clone(), lease.details.application.clone()))
            };
            let own = plan.candidates.iter().filter_map(|candidate| {
                let (account, application) = owner(candidate)?;
                let text = |name: Option<std::sync::Arc<str>>| name.map(|name| name.to_string());
                scope.holds(account.as_deref()).then(|| CandidateView {
                    account: text(account),
                    application: text(application),
                    ..candidate_view(candidate, &policy.networks[at].relocation.weights)
                })
            });
            RelocationView { candidates: own.collect(), ..view(self.network, plan, policy) }
        });
        Ok(Told { entries: entries.collect(), new: false, next: None })
    }
}

fn view(network: NetworkId, plan: &PoolPlan, policy: &Policy) -> RelocationView {
    let of = policy.networks.iter().find(|of| of.id == network);
    let mode = match of.map(|of| of.relocation.mode).unwrap_or_default() {
        RelocationMode::Off => "off",
        RelocationMode::Plan => "plan",
        RelocationMode::On => "on",
    };
    RelocationView {
        network: network_text(network, policy),
        pool: format!("{}-{}", plan.first, plan.last),
        mode: mode.into(),
        lacking: u64::try_from(plan.lacking).unwrap_or(u64::MAX),
        draining: plan.draining as u64,
        frozen: plan.frozen,
        candidates: Vec::new(),
    }
}

fn candidate_view(candidate: &Candidate, weights: &MoveWeights) -> CandidateView {
    let Candidate { resource, tier, score, cost, whole, to, stays } = candidate;
    let part = |part: &str, percent, weight| CostPartView { part: part.into(), percent, weight };
    let share = f64::from(*score) / f64::from(Share::MAX);
    CandidateView {
        address: resource.to_string(),
        account: None,
        application: None,
        tier: tier.as_str().into(),
        score: (share * 1e4).round() / 1e4,
        cost: *whole,
        parts: vec![
            part("disruption", cost.disruption, weights.disruption),
            part("distance", cost.distance, weights.distance),
            part("processing", cost.processing, weights.processing),
            part("priority", cost.priority, weights.priority),
        ],
        to: to.map(|to| to.to_string()),
        stays: stays.map(|stays| stays.as_str().into()),
    }
}
