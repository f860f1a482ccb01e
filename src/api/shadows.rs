//! What is foreseen and what is held for it: predictions and demand shadows, as they are asked for
//! and shown.

mod views;

use std::sync::Arc;

use crate::base::{NetworkId, Resource, Sort, Span, Timestamp};
use crate::engine::shadows::{Prediction, Reserve, ShadowDenied};
use crate::lease::directory::Entry;
use crate::lease::{Foreseen, Foreseer, Line, Owner, State};

use super::command::Refusal;
use super::leases::{network_text, time_text};
use super::registry::{Deed, Told, Turn};

pub use views::{
    AvailableView, Family, PredictionRequest, PredictionView, PredictionsView, Requirements,
    ShadowChange, ShadowRequest, ShadowView, ShadowsView, TallyView,
};

/// How many bindings are looked at for one page of shadows.
const LOOKS_MAX: usize = 4096;

/// Of whom, and where.
#[derive(Clone, Debug)]
pub struct Of {
    /// The network.
    pub network: NetworkId,
    /// Account and application.
    pub owner: Owner,
}

/// What is asked about predictions.
#[derive(Debug)]
pub enum PredictionDeed {
    /// Somebody makes one.
    Say(Of, Box<Prediction>),
    /// A page of them, in the order of networks and owners.
    List {
        /// Of this account.
        account: Option<Box<str>>,
        /// Whose names come after this one.
        after: Option<Box<str>>,
        /// So many are looked at.
        limit: usize,
    },
}

/// What is asked about shadows.
#[derive(Debug)]
pub enum ShadowDeed {
    /// Hold some by hand: of a family, so many, until then; what type of instance.
    Reserve(Of, Sort, u32, Option<Timestamp>, Option<Box<str>>),
    /// Give one back.
    Release(Option<NetworkId>, Resource),
    /// Hold one for so long from now on.
    Extend(Option<NetworkId>, Resource, Span),
    /// A page of them.
    List(Wanted),
}

/// Which shadows, and where a page of them begins.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// On this network.
    pub network: Option<NetworkId>,
    /// For this account.
    pub account: Option<Box<str>>,
    /// For this application.
    pub application: Option<Box<str>>,
    /// From this position on.
    pub from: u64,
    /// So many at most.
    pub limit: usize,
}

/// What an instance would find.
#[derive(Debug)]
pub struct AvailableDeed(pub Of, pub Sort);

/// What came of shadows.
#[derive(Debug)]
pub struct TallyDeed(pub Box<str>);

impl Deed for PredictionDeed {
    type View = PredictionView;

    fn run(self, turn: &mut Turn<'_, '_>) -> Result<Told<PredictionView>, Refusal> {
        let policy = turn.policy;
        match self {
            PredictionDeed::Say(of, said) => {
                let known = turn.engine().directory().foresight(of.network, &of.owner);
                if let Some(known) = known.filter(|known| said.made < known.current.made) {
                    let text = time_text(known.current.made);
                    let why = format!("older than what was said at {text}, want a newer one");
                    return Err(Refusal::Field("made".into(), why));
                }
                let (engine, now, fx) = turn.parts();
                let foresight = engine.predict(now, of.network, &of.owner, *said, fx)?;
                let view = PredictionView::of(engine, now, &foresight, policy);
                let object = format!("predictions/{}", view.id);
                turn.audit("create", &object, Some(&of.owner.0), None, Some(&view));
                Ok(Told::one(view, true))
            }
            PredictionDeed::List { account, after, limit } => {
                let after = after.map(|after| format!("foresight/{after}"));
                let (engine, now, _) = turn.parts();
                let all = engine.directory().list("foresight/", after.as_deref());
                let (mut entries, mut last, mut seen) = (Vec::new(), None, 0);
                let mut found = Vec::new();
                for entry in all.take(limit) {
                    let Entry::Foresight(foresight) = entry else { continue };
                    (last, seen) = (Some(entry.name()), seen + 1);
                    found.push(Arc::clone(foresight));
                }
                entries.extend(found.iter().map(|f| PredictionView::of(engine, now, f, policy)));
                let own = |view: &PredictionView| {
                    turn.scope.holds(Some(&view.account))
                        && account.as_deref().is_none_or(|name| *name == *view.account)
                };
                entries.retain(own);
                let next = last.filter(|_| seen == limit);
                let next = next.as_deref().and_then(|name| name.strip_prefix("foresight/"));
                Ok(Told { entries, new: false, next: next.map(Into::into) })
            }
        }
    }
}

impl Deed for ShadowDeed {
    type View = ShadowView;

    fn run(self, turn: &mut Turn<'_, '_>) -> Result<Told<ShadowView>, Refusal> {
        match self {
            ShadowDeed::Reserve(of, sort, count, until, instance_type) => {
                reserve(turn, of, sort, count, until, instance_type)
            }
            ShadowDeed::Release(network, resource) => {
                let (network, before) = visible(turn, network, resource)?;
                let (engine, now, fx) = turn.parts();
                engine.release_shadow(now, network, resource, fx)?;
                audit(turn, "release", resource, Some(&before), None);
                Ok(Told::one(before, false))
            }
            ShadowDeed::Extend(network, resource, span) => {
                let (network, before) = visible(turn, network, resource)?;
                let policy = turn.policy;
                let (engine, now, fx) = turn.parts();
                let until = now + span;
                let lease = engine.extend_shadow(now, network, resource, until, fx)?;
                let after = ShadowView::of(engine, &lease, policy);
                audit(turn, "extend", resource, Some(&before), Some(&after));
                Ok(Told::one(after, false))
            }
            ShadowDeed::List(wanted) => Ok(list(turn, &wanted)),
        }
    }
}

fn reserve(
    turn: &mut Turn<'_, '_>,
    of: Of,
    sort: Sort,
    count: u32,
    until: Option<Timestamp>,
    instance_type: Option<Box<str>>,
) -> Result<Told<ShadowView>, Refusal> {
    let policy = turn.policy;
    let account = Arc::clone(&of.owner.0);
    let line = Line { network: of.network, sort, owner: of.owner };
    let (engine, now, fx) = turn.parts();
    let until = until.unwrap_or(now + policy.shadow.max_age);
    let foreseen = Foreseen { instance_type, ..Foreseen::by(Foreseer::Operator) };
    let held = engine.reserve_shadows(now, &Reserve { line, count, until, foreseen }, fx)?;
    if held.is_empty() {
        let why = "no address can be held: the pools can spare none, or `max` is reached";
        return Err(Refusal::Conflict(why.into()));
    }
    let entries: Vec<_> = held.iter().map(|l| ShadowView::of(engine, l, policy)).collect();
    let addresses: Vec<&str> = entries.iter().map(|view| &*view.address).collect();
    let told = serde_json::json!({ "account": &*account, "held": addresses.len(),
        "first": addresses.first(), "until": time_text(until) });
    turn.audit("reserve", "shadows", Some(&account), None, Some(&told));
    Ok(Told { entries, new: true, next: None })
}

/// Looks at so many bindings at most; the page may be short, and yet not the last.
fn list(turn: &Turn<'_, '_>, wanted: &Wanted) -> Told<ShadowView> {
    let (engine, policy) = (turn.engine(), turn.policy);
    let mut entries = Vec::new();
    let mut from = Some(wanted.from);
    let mut looks = 0;
    while let Some(at) = from.filter(|_| entries.len() < wanted.limit && looks < LOOKS_MAX) {
        let most = (wanted.limit - entries.len()).min(LOOKS_MAX);
        looks += most;
        from = engine.leases().scan(at, most, |lease| {
            let details = &lease.details;
            let is = |wanted: &Option<Box<str>>, found: Option<&str>| {
                wanted.is_none() || wanted.as_deref() == found
            };
            let taken = lease.state == State::Shadow
                && wanted.network.is_none_or(|id| id == lease.network)
                && is(&wanted.account, details.account.as_deref())
                && is(&wanted.application, details.application.as_deref())
                && turn.scope.holds(details.account.as_deref());
            if taken {
                entries.push(ShadowView::of(engine, lease, policy));
            }
        });
    }
    Told { entries, new: false, next: from.map(|from| from.to_string()) }
}

/// The shadow of an address, if the caller may see it.
fn visible(
    turn: &Turn<'_, '_>,
    network: Option<NetworkId>,
    resource: Resource,
) -> Result<(NetworkId, ShadowView), Refusal> {
    let (engine, policy) = (turn.engine(), turn.policy);
    let networks = policy.networks.iter().map(|n| n.id);
    let of = |id: NetworkId| engine.leases().get(id, resource);
    let found = networks.filter(|id| network.is_none_or(|named| named == *id)).filter_map(of);
    let mut found = found.filter(|lease| {
        lease.state == State::Shadow && turn.scope.holds(lease.details.account.as_deref())
    });
    match (found.next(), found.next()) {
        (Some(lease), None) => Ok((lease.network, ShadowView::of(engine, lease, policy))),
        (None, _) => Err(Refusal::NotFound(format!("{resource} is no shadow"))),
        (Some(_), Some(_)) => {
            Err(Refusal::Conflict(format!("{resource} is held on several networks: name one")))
        }
    }
}

fn audit(
    turn: &mut Turn<'_, '_>,
    verb: &str,
    resource: Resource,
    before: Option<&ShadowView>,
    after: Option<&ShadowView>,
) {
    let account = before.or(after).map(|view| view.account.clone());
    turn.audit(verb, &format!("shadows/{resource}"), account.as_deref(), before, after);
}

impl Deed for AvailableDeed {
    type View = AvailableView;

    fn run(self, turn: &mut Turn<'_, '_>) -> Result<Told<AvailableView>, Refusal> {
        let AvailableDeed(Of { network, owner }, sort) = self;
        let name = network_text(network, turn.policy);
        let engine = turn.engine();
        let lines = crate::engine::shadows::lines(network, sort, &owner);
        let (mut available, mut first) = (0, None);
        for line in lines {
            available += engine.leases().shadows().stocked(&line).ready;
            let next = engine.leases().shadows().next(&line).filter(|(_, proven)| *proven);
            first = first.or(next.map(|(resource, _)| resource));
        }
        let until = first.and_then(|resource| engine.leases().get(network, resource));
        let none = || "no address is held ready for this owner".to_owned();
        let view = AvailableView {
            address: first.map(|resource| resource.to_string()),
            network: name,
            available,
            reason: first.is_none().then(none),
            until: until.map(|lease| time_text(lease.until)),
        };
        Ok(Told::one(view, false))
    }
}

impl Deed for TallyDeed {
    type View = TallyView;

    fn run(self, turn: &mut Turn<'_, '_>) -> Result<Told<TallyView>, Refusal> {
        super::accounts::visible(turn, &self.0)?;
        let own = |owner: &Owner| *self.0 == *owner.0 && turn.scope.holds(Some(&owner.0));
        let tallies = turn.engine().tallies().iter().filter(|(owner, _)| own(owner));
        let mut entries: Vec<_> =
            tallies.map(|(owner, tally)| TallyView::of(owner, tally)).collect();
        entries.sort_by(|a, b| (&a.account, &a.application).cmp(&(&b.account, &b.application)));
        Ok(Told { entries, new: false, next: None })
    }
}

impl From<ShadowDenied> for Refusal {
    fn from(denied: ShadowDenied) -> Refusal {
        match denied {
            ShadowDenied::None(_) => Refusal::NotFound(denied.to_string()),
            ShadowDenied::Promised(_) => Refusal::Conflict(denied.to_string()),
            ShadowDenied::Denied(denied) => denied.into(),
        }
    }
}
