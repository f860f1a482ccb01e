//! Accounts and applications: what is asked of the engine's thread about them, and how they are
//! shown. Those of the configuration file are there too, and stay as they are.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::Span;
use crate::config::Policy;
use crate::config::policy::{
    Account, Application, Hold, Level, Rate, ShadowTerms, Terms, Tier, TierOrder,
};
use crate::engine::Engine;
use crate::lease::directory::Standing;

use super::command::Refusal;
use super::leases::network_text;
use super::registry::{Deed, Told, Turn};

/// Service level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LevelView {
    /// Priority 2.
    Economy,
    /// Priority 5.
    Standard,
    /// Priority 8.
    Premium,
}

impl From<Level> for LevelView {
    fn from(level: Level) -> LevelView {
        match level {
            Level::Economy => LevelView::Economy,
            Level::Standard => LevelView::Standard,
            Level::Premium => LevelView::Premium,
        }
    }
}

impl From<LevelView> for Level {
    fn from(level: LevelView) -> Level {
        match level {
            LevelView::Economy => Level::Economy,
            LevelView::Standard => Level::Standard,
            LevelView::Premium => Level::Premium,
        }
    }
}

/// A share of each pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TierView {
    /// Kept for what is critical.
    Hot,
    /// For what is usual.
    Warm,
    /// For bursts and unknown clients.
    Cold,
}

impl From<Tier> for TierView {
    fn from(tier: Tier) -> TierView {
        match tier {
            Tier::Hot => TierView::Hot,
            Tier::Warm => TierView::Warm,
            Tier::Cold => TierView::Cold,
        }
    }
}

impl From<TierView> for Tier {
    fn from(tier: TierView) -> Tier {
        match tier {
            TierView::Hot => Tier::Hot,
            TierView::Warm => Tier::Warm,
            TierView::Cold => Tier::Cold,
        }
    }
}

/// What an account or an application may have. What is absent is not limited here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TermsView {
    /// Service level: priority 2, 5 or 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LevelView>,
    /// 0 to 9; by default that of its level.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 9)]
    pub priority: Option<u8>,
    /// Most addresses of both protocols together, bound or kept for its instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1099511627776i64)]
    pub max_addresses: Option<u64>,
    /// Most delegated prefixes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1099511627776i64)]
    pub max_prefixes: Option<u64>,
    /// Most standbys of its instances, on all networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1099511627776i64)]
    pub max_standbys: Option<u64>,
    /// Exchanges that its clients begin and instances that it creates, in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000000)]
    pub requests_per_s: Option<u32>,
    /// How many of them may come at once; twice `requests_per_s` if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000000)]
    pub requests_burst: Option<u32>,
    /// Seconds that addresses of destroyed instances are kept back at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 2592000)]
    pub hold_min_s: Option<u32>,
    /// Seconds that they are kept back at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 2592000)]
    pub hold_max_s: Option<u32>,
    /// Addresses of each protocol that are always held ready on each network that it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1000000)]
    pub shadow_ready: Option<u32>,
    /// Most addresses that are held ahead of need, of each protocol on each network.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1000000)]
    pub shadow_max: Option<u32>,
    /// Which quantile of a prediction is held ready, in percent; by default that of its level.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100)]
    pub shadow_quantile: Option<u8>,
    /// Whether addresses next to each other are held where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow_contiguous: Option<bool>,
    /// Whether addresses that its instances had before are held first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow_sticky: Option<bool>,
    /// Which tiers of a pool it uses, the first one that has room; by default those of its level.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 3)]
    pub tier: Option<Vec<TierView>>,
}

impl TermsView {
    fn of(terms: &Terms) -> TermsView {
        let seconds = |span: Span| u32::try_from(span.0 / 1000).unwrap_or(u32::MAX);
        TermsView {
            level: terms.level.map(Into::into),
            priority: terms.priority,
            max_addresses: terms.max_addresses,
            max_prefixes: terms.max_prefixes,
            max_standbys: terms.max_standbys,
            requests_per_s: terms.requests.map(|rate| rate.per_s),
            requests_burst: terms.requests.map(|rate| rate.burst),
            hold_min_s: terms.hold.min.map(seconds),
            hold_max_s: terms.hold.max.map(seconds),
            shadow_ready: Some(terms.shadow.ready).filter(|ready| *ready > 0),
            shadow_max: terms.shadow.max,
            shadow_quantile: terms.shadow.quantile,
            shadow_contiguous: terms.shadow.contiguous.then_some(true),
            shadow_sticky: terms.shadow.sticky.then_some(true),
            tier: terms.tier.map(|order| order.tiers().map(Into::into).collect()),
        }
    }

    /// What it says, if it says nothing that cannot be.
    pub fn terms(&self) -> Result<Terms, Refusal> {
        let fault = |field: &str, detail: &str| Err(Refusal::Field(field.into(), detail.into()));
        if self.requests_per_s.is_none() && self.requests_burst.is_some() {
            return fault(
                "terms.requests_burst",
                "a burst without a rate, want requests_per_s too",
            );
        }
        if self.hold_min_s.zip(self.hold_max_s).is_some_and(|(min, max)| min > max) {
            return fault("terms.hold_min_s", "longer than hold_max_s, want that or less");
        }
        if self.shadow_ready.zip(self.shadow_max).is_some_and(|(ready, max)| ready > max) {
            return fault("terms.shadow_ready", "more than shadow_max, want that or less");
        }
        if self.tier.as_ref().is_some_and(Vec::is_empty) {
            return fault("terms.tier", "no tier, want one of hot, warm and cold at least");
        }
        let order = |tiers: &Vec<TierView>| {
            let tiers: Vec<Tier> = tiers.iter().map(|tier| (*tier).into()).collect();
            TierOrder::of(&tiers)
        };
        let span = |seconds: u32| Span::from_secs(seconds.into());
        let burst = |per_s: u32| self.requests_burst.unwrap_or(per_s.saturating_mul(2));
        Ok(Terms {
            tier: self.tier.as_ref().map(order),
            level: self.level.map(Into::into),
            priority: self.priority,
            max_addresses: self.max_addresses,
            max_prefixes: self.max_prefixes,
            max_standbys: self.max_standbys,
            requests: self.requests_per_s.map(|per_s| Rate { per_s, burst: burst(per_s) }),
            hold: Hold { min: self.hold_min_s.map(span), max: self.hold_max_s.map(span) },
            shadow: ShadowTerms {
                ready: self.shadow_ready.unwrap_or_default(),
                max: self.shadow_max,
                quantile: self.shadow_quantile,
                contiguous: self.shadow_contiguous.unwrap_or_default(),
                sticky: self.shadow_sticky.unwrap_or_default(),
                ranges: Vec::new(),
            },
        })
    }
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountView {
    /// Its name.
    pub name: String,
    /// What all its applications together may have.
    pub terms: TermsView,
    /// The networks that it may use; all if there are none.
    pub networks: Vec<String>,
    /// Its addresses are of pools that lie in one of these; of any pool if there are none.
    pub pools: Vec<String>,
    /// How many applications it has.
    pub applications: u64,
    /// The configuration file says so, and it is changed there.
    pub configured: bool,
}

impl AccountView {
    fn of(standing: &Standing, policy: &Policy) -> AccountView {
        let account = &standing.account;
        AccountView {
            name: account.name.to_string(),
            terms: TermsView::of(&account.terms),
            networks: account.networks.iter().map(|id| network_text(*id, policy)).collect(),
            pools: account.pools.iter().map(ToString::to_string).collect(),
            applications: account.applications.len() as u64,
            configured: standing.is_declared,
        }
    }
}

/// An application of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplicationView {
    /// Whose it is.
    pub account: String,
    /// Its name.
    pub name: String,
    /// What it may have, within what its account may have.
    pub terms: TermsView,
    /// The configuration file says so, and it is changed there.
    pub configured: bool,
}

/// How much an account or an application has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageView {
    /// Addresses of both protocols, bound or kept for its instances.
    pub addresses: u64,
    /// Delegated prefixes.
    pub prefixes: u64,
    /// Instances, and reservations made at run time.
    pub entries: u64,
}

/// What to do with accounts.
#[derive(Debug)]
pub enum AccountDeed {
    /// Make one, or put another in its place.
    Put(Box<Account>),
    /// Remove one.
    Remove(Box<str>),
    /// Show one.
    Show(Box<str>),
    /// Those after this name, so many at most.
    List(Option<Box<str>>, usize),
}

impl Deed for AccountDeed {
    type View = AccountView;

    fn run(self, turn: &mut Turn<'_, '_>) -> Result<Told<AccountView>, Refusal> {
        match self {
            AccountDeed::Put(account) => put(turn, *account),
            AccountDeed::Remove(name) => remove(turn, &name),
            AccountDeed::Show(name) => Ok(Told::one(visible(turn, &name)?, false)),
            AccountDeed::List(after, most) => {
                let accounts = turn.engine().directory().accounts();
                let mut rest = accounts.after(after.as_deref());
                let page: Vec<&Standing> = rest.by_ref().take(most).collect();
                let more = rest.next().is_some();
                let next = page.last().filter(|_| more).map(|s| s.account.name.to_string());
                let own = page.into_iter().filter(|s| turn.scope.holds(Some(&s.account.name)));
                let entries = own.map(|s| AccountView::of(s, turn.policy)).collect();
                Ok(Told { entries, new: false, next })
            }
        }
    }
}

fn put(turn: &mut Turn<'_, '_>, account: Account) -> Result<Told<AccountView>, Refusal> {
    let name = Arc::clone(&account.name);
    let before = found(turn, &name);
    turn.conditions.allow_put(before.as_ref())?;
    let (engine, _, fx) = turn.parts();
    let new = engine.put_account(account, fx)?;
    let after = visible(turn, &name)?;
    if before.as_ref() != Some(&after) {
        let verb = if new { "create" } else { "change" };
        turn.audit(verb, &object(&name, None), Some(&name), before.as_ref(), Some(&after));
    }
    Ok(Told::one(after, new))
}

fn remove(turn: &mut Turn<'_, '_>, name: &str) -> Result<Told<AccountView>, Refusal> {
    let before = visible(turn, name)?;
    turn.conditions.allow_change(&before)?;
    let (engine, _, fx) = turn.parts();
    let account = engine.remove_account(name, fx)?;
    for application in &account.applications {
        let was = application_view(name, application, false);
        let object = object(name, Some(&application.name));
        turn.audit("delete", &object, Some(name), Some(&was), None);
    }
    turn.audit("delete", &object(name, None), Some(name), Some(&before), None);
    Ok(Told::one(before, false))
}

fn found(turn: &Turn<'_, '_>, name: &str) -> Option<AccountView> {
    let standing = turn.engine().directory().accounts().get(name);
    standing.map(|standing| AccountView::of(standing, turn.policy))
}

/// An account that the caller may see.
pub(super) fn visible(turn: &Turn<'_, '_>, name: &str) -> Result<AccountView, Refusal> {
    let own = turn.scope.holds(Some(name)).then(|| found(turn, name)).flatten();
    own.ok_or_else(|| Refusal::NotFound(format!("no account is called \"{name}\"")))
}

/// What the audit calls an account, or one of its applications.
fn object(account: &str, application: Option<&str>) -> String {
    match application {
        Some(application) => format!("accounts/{account}/applications/{application}"),
        None => format!("accounts/{account}"),
    }
}

/// What to do with applications, of the account of that name.
#[derive(Debug)]
pub enum ApplicationDeed {
    /// Make one, or put another in its place.
    Put(Box<str>, Box<Application>),
    /// Remove one.
    Remove(Box<str>, Box<str>),
    /// Show one.
    Show(Box<str>, Box<str>),
    /// Those after this name, so many at most.
    List(Box<str>, Option<Box<str>>, usize),
}

impl Deed for ApplicationDeed {
    type View = ApplicationView;

    fn run(self, turn: &mut Turn<'_, '_>) -> Result<Told<ApplicationView>, Refusal> {
        match self {
            ApplicationDeed::Put(account, application) => {
                put_application(turn, &account, *application)
            }
            ApplicationDeed::Remove(account, name) => {
                let before = visible_application(turn, &account, &name)?;
                turn.conditions.allow_change(&before)?;
                let (engine, _, fx) = turn.parts();
                engine.remove_application(&account, &name, fx)?;
                let object = object(&account, Some(&name));
                turn.audit("delete", &object, Some(&account), Some(&before), None);
                Ok(Told::one(before, false))
            }
            ApplicationDeed::Show(account, name) => {
                Ok(Told::one(visible_application(turn, &account, &name)?, false))
            }
            ApplicationDeed::List(account, after, most) => {
                list_applications(turn, &account, after.as_deref(), most)
            }
        }
    }
}

fn put_application(
    turn: &mut Turn<'_, '_>,
    account: &str,
    application: Application,
) -> Result<Told<ApplicationView>, Refusal> {
    let name = Arc::clone(&application.name);
    visible(turn, account)?;
    let before = found_application(turn.engine(), account, &name);
    turn.conditions.allow_put(before.as_ref())?;
    let (engine, _, fx) = turn.parts();
    let new = engine.put_application(account, application, fx)?;
    let after = visible_application(turn, account, &name)?;
    if before.as_ref() != Some(&after) {
        let verb = if new { "create" } else { "change" };
        let object = object(account, Some(&name));
        turn.audit(verb, &object, Some(account), before.as_ref(), Some(&after));
    }
    Ok(Told::one(after, new))
}

fn list_applications(
    turn: &Turn<'_, '_>,
    account: &str,
    after: Option<&str>,
    most: usize,
) -> Result<Told<ApplicationView>, Refusal> {
    visible(turn, account)?;
    let accounts = turn.engine().directory().accounts();
    let of = accounts.get(account).map(|standing| &standing.account.applications[..]);
    let all = of.unwrap_or_default();
    let from = all.partition_point(|a| after.is_some_and(|after| *a.name <= *after));
    let rest = all.get(from..).unwrap_or_default();
    let page = rest.get(..most).unwrap_or(rest);
    let next = page.last().filter(|_| rest.len() > most).map(|a| a.name.to_string());
    let view = |a: &Application| application_view(account, a, accounts.declares(account, &a.name));
    Ok(Told { entries: page.iter().map(view).collect(), new: false, next })
}

fn application_view(account: &str, of: &Application, configured: bool) -> ApplicationView {
    let terms = TermsView::of(&of.terms);
    ApplicationView { account: account.into(), name: of.name.to_string(), terms, configured }
}

fn found_application(engine: &Engine, account: &str, name: &str) -> Option<ApplicationView> {
    let accounts = engine.directory().accounts();
    let application = accounts.get(account)?.account.application(name)?;
    Some(application_view(account, application, accounts.declares(account, name)))
}

fn visible_application(
    turn: &Turn<'_, '_>,
    account: &str,
    name: &str,
) -> Result<ApplicationView, Refusal> {
    let own = turn.scope.holds(Some(account));
    let found = own.then(|| found_application(turn.engine(), account, name)).flatten();
    found.ok_or_else(|| Refusal::NotFound(format!("no application is called \"{account}/{name}\"")))
}

/// What to ask about how much somebody has.
#[derive(Debug)]
pub struct UsageDeed {
    /// Whose.
    pub account: Box<str>,
    /// Of which application alone.
    pub application: Option<Box<str>>,
}

impl Deed for UsageDeed {
    type View = UsageView;

    fn run(self, turn: &mut Turn<'_, '_>) -> Result<Told<UsageView>, Refusal> {
        let UsageDeed { account, application } = self;
        match &application {
            Some(name) => drop(visible_application(turn, &account, name)?),
            None => drop(visible(turn, &account)?),
        }
        let owner = (Arc::from(account), application.map(Arc::from));
        let engine = turn.engine();
        let (held, entries) = (engine.held_by(&owner), engine.directory().members(&owner));
        let view = UsageView { addresses: held.addresses, prefixes: held.prefixes, entries };
        Ok(Told::one(view, false))
    }
}
