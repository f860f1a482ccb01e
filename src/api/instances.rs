//! Instances: what is asked of the engine's thread about them, and how they are shown.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::addr::write_hex;
use crate::base::{Mac, NetworkId};
use crate::config::Policy;
use crate::engine::Engine;
use crate::engine::instances::{Rename, Wish};
use crate::engine::shadows::Tally;
use crate::lease::directory::{Entry, Instance};

use super::caller::Scope;
use super::command::{Desk, Refusal};
use super::leases::{network_text, time_text};
use super::registry::{Deed, Told, Turn};

/// What to do with instances.
#[derive(Debug)]
pub enum InstanceDeed {
    /// Register one.
    Create(Box<Wish>),
    /// Change what is said of one.
    Change(Box<str>, Box<Rename>),
    /// End one.
    End(Box<str>),
    /// Show one.
    Show(Box<str>),
    /// A page of them.
    List(Listing),
}

/// Which instances, and where a page of them begins.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Of this account.
    pub account: Option<Box<str>>,
    /// Of this application.
    pub application: Option<Box<str>>,
    /// On this network.
    pub network: Option<Box<str>>,
    /// Whose ids come after this one.
    pub after: Option<Box<str>>,
    /// So many are looked at.
    pub limit: usize,
}

impl Listing {
    fn takes(&self, instance: &Instance, policy: &Policy) -> bool {
        let settings = &instance.kept.settings;
        let is = |wanted: &Option<Box<str>>, found: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == found
        };
        is(&self.account, settings.account.as_deref())
            && is(&self.application, settings.application.as_deref())
            && self
                .network
                .as_deref()
                .is_none_or(|name| name == network_text(instance.kept.network, policy))
    }
}

/// A registered instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InstanceView {
    /// What it is called; unique on this server.
    pub id: String,
    /// Its network.
    pub network: String,
    /// Whom it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// What runs in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// The MAC that it is known by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The MAC was made here: its guest is to boot with it.
    pub mac_made: bool,
    /// The DUID that it is known by, named or seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duid: Option<String>,
    /// The circuit id or interface-id of its port, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_id: Option<String>,
    /// The name it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Its IPv4 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its IPv6 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address6: Option<String>,
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whatever its maker wants to find it by.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created: String,
    /// When it was last changed.
    pub changed: String,
    /// In the answer to its making: whether its address was held ready (`hit`), held and not proven
    /// or not durable yet (`unready`), or not held (`miss`). Absent where it ran already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
}

impl InstanceView {
    /// An instance as the control plane shows it.
    pub fn of(instance: &Instance, policy: &Policy) -> InstanceView {
        let (kept, settings) = (&instance.kept, &instance.kept.settings);
        InstanceView {
            id: instance.id.to_string(),
            network: network_text(kept.network, policy),
            account: settings.account.as_deref().map(Into::into),
            application: settings.application.as_deref().map(Into::into),
            mac: kept.who.mac.map(|mac| mac.to_string()),
            mac_made: instance.mac_made,
            duid: kept.who.duid.as_deref().map(hex),
            port_id: kept.who.port.as_deref().map(hex),
            hostname: kept.hostname.as_deref().map(Into::into),
            address: kept.v4.map(|addr| addr.to_string()),
            address6: kept.v6.first().map(|addr| addr.to_string()),
            region: instance.region.as_deref().map(Into::into),
            tags: instance.tags.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            created: time_text(instance.created),
            changed: time_text(instance.changed),
            shadow: None,
        }
    }
}

/// Bytes as they are shown.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_hex(&mut text, bytes, ":");
    text
}

impl Deed for InstanceDeed {
    type View = InstanceView;

    fn run(self, turn: &mut Turn<'_, '_>) -> Result<Told<InstanceView>, Refusal> {
        let policy = turn.policy;
        match self {
            InstanceDeed::Create(wish) => {
                check_hardware(turn, wish.network, wish.who.mac)?;
                let (engine, now, fx) = turn.parts();
                let owner = wish.account.clone().map(|a| (a, wish.application.clone()));
                let tally = |engine: &Engine| owner.as_ref().map(|o| engine.tallies().get(o));
                let before = tally(engine).unwrap_or_default();
                let (instance, new) = engine.create_instance(now, &wish, fx)?;
                let shadow = tally(engine).and_then(|after| found(&before, &after));
                let view = InstanceView { shadow, ..InstanceView::of(&instance, policy) };
                if new {
                    audit(turn, "create", &instance, None, Some(&view));
                }
                Ok(Told::one(view, new))
            }
            InstanceDeed::Change(id, change) => {
                let before = visible(turn, &id)?;
                turn.conditions.allow_change(&before)?;
                let network = turn.engine().directory().instance(&id).map(|of| of.kept.network);
                check_hardware(turn, network, change.mac)?;
                let (engine, now, fx) = turn.parts();
                let instance = engine.change_instance(now, &id, &change, fx)?;
                let after = InstanceView::of(&instance, policy);
                if after != before {
                    audit(turn, "change", &instance, Some(&before), Some(&after));
                }
                Ok(Told::one(after, false))
            }
            InstanceDeed::End(id) => {
                let before = visible(turn, &id)?;
                turn.conditions.allow_change(&before)?;
                let (engine, now, fx) = turn.parts();
                let instance = engine.end_instance(now, &id, fx)?;
                audit(turn, "delete", &instance, Some(&before), None);
                Ok(Told::one(before, false))
            }
            InstanceDeed::Show(id) => Ok(Told::one(visible(turn, &id)?, false)),
            InstanceDeed::List(listing) => Ok(list(turn, &listing)),
        }
    }
}

/// What the instance found that was counted between the two.
fn found(before: &Tally, after: &Tally) -> Option<String> {
    let words = [
        ("hit", before.hits, after.hits),
        ("unready", before.unready, after.unready),
        ("miss", before.misses, after.misses),
    ];
    words.into_iter().find(|(_, before, after)| after > before).map(|(word, ..)| word.into())
}

/// Who names a MAC has what it is bound to: a caller of some accounts may name none that has a
/// lease of others, or of nobody.
fn check_hardware(
    turn: &Turn<'_, '_>,
    network: Option<NetworkId>,
    mac: Option<Mac>,
) -> Result<(), Refusal> {
    let Some((network, mac)) = network.zip(mac) else { return Ok(()) };
    let live = turn.engine().bindings_of_mac(network, mac);
    match live.iter().all(|lease| turn.scope.holds(lease.details.account.as_deref())) {
        true => Ok(()),
        false => Err(Refusal::Conflict(format!("MAC {mac} is of a machine of others"))),
    }
}

/// Those of `instances` that are registered, and not for the accounts of `scope`.
pub(super) fn of_others(
    desk: &mut dyn Desk,
    mut instances: HashSet<Arc<str>>,
    scope: &Scope,
) -> HashSet<Arc<str>> {
    let Some(registry) = desk.registry() else { return HashSet::new() };
    let directory = registry.engine.directory();
    instances.retain(|id| {
        let found = directory.instance(id);
        found.is_some_and(|found| !scope.holds(found.kept.settings.account.as_deref()))
    });
    instances
}

/// Looks at so many instances at most; the page may be short, and yet not the last.
fn list(turn: &Turn<'_, '_>, listing: &Listing) -> Told<InstanceView> {
    let after = listing.after.as_ref().map(|id| format!("instance/{id}"));
    let all = turn.engine().directory().list("instance/", after.as_deref());
    let (mut entries, mut last, mut seen) = (Vec::new(), None, 0);
    for entry in all.take(listing.limit) {
        let Entry::Instance(instance) = entry else { continue };
        (last, seen) = (Some(instance.id.to_string()), seen + 1);
        let is_seen = turn.scope.holds(instance.kept.settings.account.as_deref());
        if is_seen && listing.takes(instance, turn.policy) {
            entries.push(InstanceView::of(instance, turn.policy));
        }
    }
    Told { entries, new: false, next: last.filter(|_| seen == listing.limit) }
}

fn visible(turn: &Turn<'_, '_>, id: &str) -> Result<InstanceView, Refusal> {
    let found = turn.engine().directory().instance(id);
    let own = |i: &&Arc<Instance>| turn.scope.holds(i.kept.settings.account.as_deref());
    let none = || Refusal::NotFound(format!("no instance is called \"{id}\""));
    let found = found.filter(own).ok_or_else(none)?;
    Ok(InstanceView::of(found, turn.policy))
}

fn audit(
    turn: &mut Turn<'_, '_>,
    verb: &str,
    of: &Instance,
    before: Option<&InstanceView>,
    after: Option<&InstanceView>,
) {
    let object = format!("instances/{}", of.id);
    turn.audit(verb, &object, of.kept.settings.account.as_deref(), before, after);
}
