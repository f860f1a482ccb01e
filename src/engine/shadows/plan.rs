//! How many shadows each owner is to have: what its policy keeps ready and what is predicted, no
//! more than its cap, nor than the pools can spare.
//!
//! A plan is looked at when something about it changed, or when it said to look again; premium
//! owners first. What is too much is given back slowly, and a prediction of less is believed when
//! it is said twice or when the one before it has run out.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::base::{NetworkId, Sort, Span, Timestamp};
use crate::engine::Engine;
use crate::engine::effects::Effects;
use crate::engine::instances::Denied;
use crate::lease::directory::{Entry, Foresight, Prediction as Said};
use crate::lease::{Foreseen, Foreseer, Line, Owner, Stocked};

use super::hold::Reserve;
use super::{SORTS, lines};

pub use crate::lease::directory::Prediction;

/// How many shadows are made or given back in one turn.
const PER_TURN: u32 = 256;
/// When a plan is looked at again that its pools could not fill.
const AGAIN: Span = Span::from_secs(10);
/// How often some of what is too much is given back.
const SHRINK: Span = Span::from_secs(60);
/// Most claims that are remembered for the time of the top-up.
const CLAIMS_MAX: usize = 4096;

/// Account and application on a network.
pub type PlanKey = (NetworkId, Owner);

/// The plans of all owners.
#[derive(Debug, Default)]
pub struct Plans {
    of: HashMap<PlanKey, Plan>,
    due: BTreeSet<Due>,
}

type Due = (Timestamp, Reverse<u8>, PlanKey);

#[derive(Debug, Default)]
struct Plan {
    /// Instances that came, ever; and when the current and the previous prediction did.
    creates: u64,
    at_current: u64,
    at_previous: u64,
    /// When the last shadows were claimed, of each family.
    claims: [VecDeque<Timestamp>; 2],
    /// When some were given back last, or there were first too many.
    shrunk: Option<Timestamp>,
    due: Option<(Timestamp, Reverse<u8>)>,
}

/// What is wanted for an owner, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// By its policy.
    pub ready: u32,
    /// By predictions.
    pub predicted: u32,
    /// All in all, within its cap.
    pub all: u32,
}

impl Plans {
    fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// Whether a plan is looked at by then anyhow.
    fn is_due(&self, key: &PlanKey, at: Timestamp) -> bool {
        self.of.get(key).is_some_and(|plan| plan.due.is_some_and(|(due, _)| due <= at))
    }

    /// Looks at a plan at a time, which is before it would be looked at.
    fn wake(&mut self, key: &PlanKey, at: Timestamp, priority: u8) {
        let plan = self.of.entry(key.clone()).or_default();
        if let Some((due, priority)) = plan.due {
            self.due.remove(&(due, priority, key.clone()));
        }
        plan.due = Some((at, Reverse(priority)));
        self.due.insert((at, Reverse(priority), key.clone()));
    }

    fn pop(&mut self, now: Timestamp) -> Option<PlanKey> {
        let (at, ..) = self.due.first()?;
        if *at > now {
            return None;
        }
        let (_, _, key) = self.due.pop_first()?;
        if let Some(plan) = self.of.get_mut(&key) {
            plan.due = None;
        }
        Some(key)
    }
}

impl Engine {
    /// When a plan is to be looked at.
    pub(in crate::engine) fn next_plan(&self) -> Option<Timestamp> {
        self.plans.next().filter(|_| self.store_ok)
    }

    /// Looks at an owner's plan soon.
    pub(super) fn wake_plan(&mut self, now: Timestamp, network: NetworkId, owner: &Owner) {
        let key = (network, owner.clone());
        if !self.plans.is_due(&key, now) {
            let priority = self.priority(Some(owner));
            self.plans.wake(&key, now, priority);
        }
    }

    /// Looks at all plans anew: accounts, pools or the policy changed, or writes were lost.
    pub(in crate::engine) fn wake_plans(&mut self, now: Timestamp) {
        let policy = Arc::clone(&self.policy);
        let mut keys: Vec<PlanKey> = self.plans.of.keys().cloned().collect();
        keys.extend(self.directory.foresights().map(|f| (f.network, f.owner.clone())));
        keys.extend(self.table.shadows().lines().map(|(l, _)| (l.network, l.owner.clone())));
        for standing in self.directory.accounts().iter() {
            let account = &standing.account;
            let own = (account.terms.shadow.ready > 0).then(|| (Arc::clone(&account.name), None));
            let of = account.applications.iter().filter(|a| a.terms.shadow.ready > 0);
            let of = of.map(|a| (Arc::clone(&account.name), Some(Arc::clone(&a.name))));
            for owner in own.into_iter().chain(of) {
                let networks = policy.networks.iter().filter(|n| account.may_use(n.id));
                keys.extend(networks.map(|n| (n.id, owner.clone())));
            }
        }
        for (network, owner) in keys {
            self.wake_plan(now, network, &owner);
        }
    }

    /// What is wanted for an owner on a network, of each family.
    pub fn wanted(&self, now: Timestamp, network: NetworkId, owner: &Owner) -> [Wanted; 2] {
        let terms = self.shadow_terms(owner);
        let plan = self.plans.of.get(&(network, owner.clone()));
        let percent = terms.and_then(|t| t.quantile).unwrap_or_else(|| self.quantile(owner));
        let foresight = self.directory.foresight(network, owner);
        let rest = |said: Option<&Said>, at: fn(&Plan) -> u64| {
            let started = plan.map_or(0, |plan| plan.creates.saturating_sub(at(plan)));
            said.map_or(0, |said| said.rest(percent, started, now))
        };
        let current = rest(foresight.map(|f| &f.current), |plan| plan.at_current);
        let previous = rest(foresight.and_then(|f| f.previous.as_ref()), |plan| plan.at_previous);
        let predicted = current.max(previous);
        let most = self.most(owner);
        let topup = self.policy.shadow.topup;
        [0, 1].map(|family| {
            let claims = plan.map(|plan| &plan.claims[family]).into_iter().flatten();
            let recent = claims.rev().take_while(|at| now.since(**at) < topup).count();
            let ready = terms.map_or(0, |terms| terms.ready);
            let topped = ready.saturating_sub(u32::try_from(recent).unwrap_or(u32::MAX));
            Wanted { ready, predicted, all: topped.max(predicted).min(most) }
        })
    }

    /// How many shadows of each family an owner may have on a network.
    fn most(&self, owner: &Owner) -> u32 {
        let max = self.shadow_terms(owner).and_then(|terms| terms.max);
        max.unwrap_or(self.policy.shadow.max_per_owner)
    }

    /// How many more than it has, those that were reserved by hand included.
    pub(super) fn room(&self, owner: &Owner, stocked: Stocked) -> u32 {
        let has = u32::try_from(stocked.all()).unwrap_or(u32::MAX);
        self.most(owner).saturating_sub(has)
    }

    /// Which quantile of a prediction is held for an owner that does not say.
    fn quantile(&self, owner: &Owner) -> u8 {
        let accounts = self.directory.accounts();
        let (account, application) = accounts.terms(&owner.0, owner.1.as_deref());
        let level = application.and_then(|t| t.level).or(account.and_then(|t| t.level));
        self.policy.shadow.quantile(level.unwrap_or_default())
    }

    /// Which quantile is held ready for an owner, in percent, and its priority; `None` if its account
    /// is gone.
    pub fn service(&self, owner: &Owner) -> Option<(u8, u8)> {
        self.directory.accounts().get(&owner.0)?;
        let terms = self.shadow_terms(owner);
        let percent = terms.and_then(|t| t.quantile).unwrap_or_else(|| self.quantile(owner));
        Some((percent, self.priority(Some(owner))))
    }

    /// Somebody says how many instances will start, as part of the open batch.
    pub fn predict(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        owner: &Owner,
        said: Prediction,
        fx: &mut Effects,
    ) -> Result<Arc<Foresight>, Denied> {
        self.net_index(network).ok_or_else(|| Denied::Unknown("no such network".into()))?;
        self.check_may_write()?;
        self.check_owner(network, Some(&owner.0), owner.1.as_deref())?;
        let foresight = match self.directory.foresight(network, owner) {
            Some(known) => known.then(said),
            None => Foresight { network, owner: owner.clone(), current: said, previous: None },
        };
        let foresight = Arc::new(foresight);
        self.enter(Entry::Foresight(Arc::clone(&foresight)), fx);
        let plan = self.plans.of.entry((network, owner.clone())).or_default();
        (plan.at_previous, plan.at_current) = (plan.at_current, plan.creates);
        self.wake_plan(now, network, owner);
        Ok(foresight)
    }

    /// An instance of `owner` came on `network`: of what is predicted, so much less is to come.
    pub(super) fn count_for_plans(&mut self, now: Timestamp, network: NetworkId, owner: &Owner) {
        for line in lines(network, Sort::V4, owner) {
            let key = (network, line.owner);
            if let Some(plan) = self.plans.of.get_mut(&key) {
                plan.creates += 1;
                if self.directory.foresight(key.0, &key.1).is_some() {
                    self.wake_plan(now, key.0, &key.1);
                }
            }
        }
    }

    /// A shadow of a line was claimed, or went in another way.
    pub(in crate::engine) fn shadow_went(&mut self, now: Timestamp, line: &Line, claimed: bool) {
        let key = (line.network, line.owner.clone());
        let plan = self.plans.of.entry(key).or_default();
        let family = usize::from(line.sort != Sort::V4);
        let claims = &mut plan.claims[family];
        if claimed {
            claims.push_back(now);
            if claims.len() > CLAIMS_MAX {
                claims.pop_front();
            }
        }
        // What is always ready is made again after its time, and as much is wanted less until then.
        let foreseen = self.directory.foresight(line.network, &line.owner).is_some();
        let soon = !claimed || foreseen;
        let at = if soon { now } else { now + self.policy.shadow.topup };
        self.wake_plan(at, line.network, &line.owner);
    }

    /// Makes and gives back what is due, as part of the open batch.
    pub(in crate::engine) fn run_plans(&mut self, now: Timestamp, fx: &mut Effects) {
        if !self.store_ok {
            return;
        }
        let mut budget = PER_TURN;
        while budget > 0 {
            let Some(key) = self.plans.pop(now) else { return };
            self.run_plan(now, &key, &mut budget, fx);
        }
    }

    fn run_plan(&mut self, now: Timestamp, key: &PlanKey, budget: &mut u32, fx: &mut Effects) {
        let (network, owner) = key;
        let wanted = self.wanted(now, *network, owner);
        let (mut short, mut over) = (false, false);
        for (sort, wanted) in SORTS.into_iter().zip(wanted) {
            if !self.has_pools(*network, sort) {
                continue;
            }
            let line = Line { network: *network, sort, owner: owner.clone() };
            let stocked = self.table.shadows().stocked(&line);
            let missing = missing(wanted.all, stocked).min(self.room(owner, stocked));
            if missing > 0 {
                let count = missing.min(*budget);
                let held = self.hold(now, &self.foreseen(now, &line, count, wanted), fx);
                let held = u32::try_from(held.len()).unwrap_or(u32::MAX);
                self.tallies.count(owner, |tally| tally.held += u64::from(held));
                *budget -= held.min(*budget);
                short |= held < missing;
                // What the budget left is due at once.
                if held == count && held < missing {
                    self.wake_plan(now, *network, owner);
                }
            }
            over |= self.shrink(now, &line, wanted.all, stocked, fx);
        }
        self.plan_again(now, key, short, over);
    }

    /// Gives some of what is too much back, once in a while; whether there is too much.
    fn shrink(
        &mut self,
        now: Timestamp,
        line: &Line,
        wanted: u32,
        stocked: Stocked,
        fx: &mut Effects,
    ) -> bool {
        let over = stocked.all().saturating_sub(stocked.kept).saturating_sub(wanted as usize);
        let key = (line.network, line.owner.clone());
        let percent = usize::from(self.policy.shadow.shrink_percent);
        let Some(plan) = self.plans.of.get_mut(&key) else { return false };
        if over == 0 {
            plan.shrunk = None;
            return false;
        }
        match plan.shrunk {
            Some(last) if now.since(last) >= SHRINK => plan.shrunk = Some(now),
            Some(_) => return true,
            None => {
                plan.shrunk = Some(now);
                return true;
            }
        }
        let share = (over * percent).div_ceil(100).clamp(1, PER_TURN as usize);
        for _ in 0..share.min(over) {
            let Some(resource) = self.table.shadows().least(line) else { break };
            if let Some(lease) = self.table.get(line.network, resource) {
                let since = lease.since;
                self.tallies.count(&line.owner, |tally| {
                    tally.given_back += 1;
                    tally.unused(since, now);
                });
            }
            self.give_back_shadow(now, line.network, resource, fx);
        }
        true
    }

    fn plan_again(&mut self, now: Timestamp, key: &PlanKey, short: bool, over: bool) {
        let topup = self.policy.shadow.topup;
        let ends = self.directory.foresight(key.0, &key.1).into_iter().flat_map(|foresight| {
            let previous = foresight.previous.as_ref().map(|said| said.until);
            [Some(foresight.current.until), previous]
        });
        let ends: Vec<Timestamp> = ends.flatten().filter(|at| *at > now).collect();
        let Some(plan) = self.plans.of.get_mut(key) else { return };
        for claims in &mut plan.claims {
            while claims.front().is_some_and(|at| now.since(*at) >= topup) {
                claims.pop_front();
            }
        }
        let topped = plan.claims.iter().filter_map(|claims| claims.front()).map(|at| *at + topup);
        let again = short.then(|| now + AGAIN).into_iter().chain(over.then(|| now + SHRINK));
        let next = ends.into_iter().chain(topped).chain(again).min();
        if let Some(at) = next {
            self.wake_plan(at, key.0, &key.1);
        }
    }

    fn foreseen(&self, now: Timestamp, line: &Line, count: u32, wanted: Wanted) -> Reserve {
        let foresight = self.directory.foresight(line.network, &line.owner);
        let said = foresight.map(|f| &f.current).filter(|_| wanted.predicted > wanted.ready);
        let foreseen = match said {
            Some(said) => Foreseen {
                by: said.by,
                prediction: Some((*said.id).into()),
                instance_type: said.instance_type.clone(),
            },
            None => Foreseen::by(Foreseer::Policy),
        };
        let until = now + self.policy.shadow.max_age;
        Reserve { line: line.clone(), count, until, foreseen }
    }

    /// Whether a network has addresses of a family that could be held.
    fn has_pools(&self, network: NetworkId, sort: Sort) -> bool {
        let net = self.net_index(network).and_then(|at| self.nets.get(at));
        net.is_some_and(|net| match sort {
            Sort::V4 => !net.pools.is_empty(),
            _ => !net.pools6.is_empty(),
        })
    }
}

/// How many are to be made.
fn missing(wanted: u32, stocked: Stocked) -> u32 {
    let has = stocked.all().saturating_sub(stocked.kept);
    wanted.saturating_sub(u32::try_from(has).unwrap_or(u32::MAX))
}
