//! The lifecycle score of an address, explained.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::{NetworkId, Resource, Sort};
use crate::config::Policy;
use crate::config::policy::{Network, PRIORITY_MAX};
use crate::engine::lifecycle::Valued;
use crate::lease::score::Share;

use super::command::Refusal;
use super::leases::{network_text, time_text};
use super::registry::{Deed, Told, Turn};

/// What an address is worth.
#[derive(Debug)]
pub struct ScoreDeed {
    /// On this network; on each that has such an address if not given.
    pub network: Option<NetworkId>,
    /// The address.
    pub resource: Resource,
}

/// What the score of an address is made of.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ScoreView {
    /// The address.
    pub address: String,
    /// The network.
    pub network: String,
    /// What the address is now: `free`, or the state of its binding.
    pub state: String,
    /// Which share of its pool it counts for: `hot`, `warm` or `cold`; none while it is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Its score now, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub score: f64,
    /// The score that its parts make.
    #[schema(minimum = 0, maximum = 1)]
    pub whole: f64,
    /// Since when it halves every half-life: when the address became free. Not there while it is
    /// held, or was never bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// In how many seconds it halves.
    pub half_life_s: u64,
    /// What it is the weighted mean of.
    pub parts: Vec<PartView>,
}

/// A part of a score.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PartView {
    /// `frequency`, `traffic` or `criticality`.
    pub part: String,
    /// 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub value: f64,
    /// Its weight.
    pub weight: u32,
    /// What it comes from.
    pub from: String,
}

impl Deed for ScoreDeed {
    type View = ScoreView;

    fn run(self, turn: &mut Turn<'_, '_>) -> Result<Told<ScoreView>, Refusal> {
        let ScoreDeed { network, resource } = self;
        if resource.sort() == Sort::Prefix6 {
            return Err(Refusal::NotFound("a prefix has no score, an address has one".into()));
        }
        let policy = turn.policy;
        let here = policy.networks.iter().filter(|n| network.is_none_or(|id| id == n.id));
        let here: Vec<_> = here.filter(|n| has(n, resource)).map(|n| n.id).collect();
        let scope = turn.scope;
        let (engine, now, _) = turn.parts();
        let views = here.into_iter().filter_map(|id| {
            let valued = engine.valued(now, id, resource);
            let owner = valued.owner.as_ref().map(|((account, _), _)| &**account);
            let lease = engine.leases().get(id, resource);
            let state = lease.map_or("free".into(), |lease| lease.state.to_string());
            scope.holds(owner).then(|| view((id, resource), state, &valued, policy))
        });
        let entries: Vec<_> = views.collect();
        if entries.is_empty() {
            return Err(Refusal::NotFound(format!("{resource} is in no subnet")));
        }
        Ok(Told { entries, new: false, next: None })
    }
}

/// Whether an address is in a subnet of a network.
fn has(network: &Network, resource: Resource) -> bool {
    match resource {
        Resource::V4(addr) => network.subnets.iter().any(|s| s.prefix.contains(addr)),
        Resource::V6(addr) => network.subnets6.iter().any(|s| s.prefix.contains(addr)),
        Resource::Prefix6(..) => false,
    }
}

fn view(of: (NetworkId, Resource), state: String, valued: &Valued, policy: &Policy) -> ScoreView {
    let Valued { uses, score, whole, now, owner, tier, policy: weights } = valued;
    let part = |part: &str, value, weight, from| PartView {
        part: part.into(),
        value: fraction(value),
        weight,
        from,
    };
    let binds = f64::from(uses.binds) / 256.0;
    let often = match uses.binds {
        0 => "nothing is remembered of it".to_owned(),
        _ => format!("bound {binds:.1} times, fading while it is free"),
    };
    let traffic = match uses.traffic {
        0 => "no traffic is known of its holder".to_owned(),
        level => format!("traffic {level} of 255 of its holder"),
    };
    let critical = match owner {
        None => "its holder has no account".to_owned(),
        Some(((account, application), priority)) => {
            let of = application.as_ref().map_or(account.to_string(), |a| format!("{account}/{a}"));
            format!("priority {priority} of {PRIORITY_MAX}, of {of}")
        }
    };
    ScoreView {
        address: of.1.to_string(),
        network: network_text(of.0, policy),
        state,
        tier: tier.map(|tier| tier.as_str().into()),
        score: fraction(*now),
        whole: fraction(*whole),
        since: score.ended.map(time_text),
        half_life_s: weights.half_life.0 / 1000,
        parts: vec![
            part("frequency", score.frequency, weights.frequency, often),
            part("traffic", score.traffic, weights.traffic, traffic),
            part("criticality", score.criticality, weights.criticality, critical),
        ],
    }
}

/// To four digits: more would be no truer.
fn fraction(share: Share) -> f64 {
    (f64::from(share) / f64::from(Share::MAX) * 1e4).round() / 1e4
}
