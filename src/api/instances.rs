//! Instances: what is asked of the engine's thread about them, and how they are shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::Timestamp;
use crate::base::addr::write_hex;
use crate::config::Policy;
use crate::engine::Engine;
use crate::engine::effects::Effects;
use crate::engine::instances::{Denied, Rename, Wish};
use crate::engine::quota::Limit;
use crate::lease::Act;
use crate::lease::directory::{Entry, Instance};

use super::caller::Scope;
use super::command::{Desk, Pending, Refusal, Reply};
use super::etag::Conditions;
use super::leases::{network_text, time_text};

/// The engine, with what a change of its directory needs.
pub struct Registry<'a> {
    /// The engine.
    pub engine: &'a mut Engine,
    /// The present moment.
    pub now: Timestamp,
    /// Where its effects go.
    pub fx: &'a mut Effects,
}

/// What is asked about instances.
#[derive(Debug)]
pub struct InstanceAsk {
    /// What to do.
    pub what: What,
    /// Who asks, for the audit.
    pub who: Arc<str>,
    /// Whose instances they may see and change.
    pub scope: Scope,
    /// What it must still be.
    pub conditions: Conditions,
    /// Once it is durable.
    pub reply: Reply<Result<Told, Refusal>>,
}

/// What to do with instances.
#[derive(Debug)]
pub enum What {
    /// Register one.
    Create(Box<Wish>),
    /// Change what is said of one.
    Change(Box<str>, Box<Rename>),
    /// End one.
    End(Box<str>),
    /// Show one.
    Show(Box<str>),
    /// Those after this id, so many at most.
    List(Option<Box<str>>, usize),
}

/// The answer.
#[derive(Debug)]
pub struct Told {
    /// The instances.
    pub instances: Vec<InstanceView>,
    /// It was made now.
    pub new: bool,
    /// The id after which the next page begins.
    pub next: Option<String>,
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
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_hex(&mut text, bytes, ":");
    text
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        let text = denied.to_string();
        match denied {
            Denied::Unknown(_) => Refusal::NotFound(text),
            Denied::Invalid(field, _) => Refusal::Faults(format!("{field}: {text}")),
            Denied::Limit(met) if met.limit == Limit::Requests => Refusal::TooMany(text),
            Denied::Taken { .. }
            | Denied::ReadOnly(_)
            | Denied::InUse(_)
            | Denied::Exhausted(..)
            | Denied::Limit(_)
            | Denied::Full => Refusal::Conflict(text),
            Denied::StoreFailed => Refusal::Store(text),
        }
    }
}

impl InstanceAsk {
    /// Does what is asked; an answer that promises a change waits until that is durable.
    pub(super) fn run(self, desk: &mut dyn Desk) -> Option<Pending> {
        let policy = desk.policy();
        let InstanceAsk { what, who, scope, conditions, reply } = self;
        let Some(mut registry) = desk.registry() else {
            let why = "instances are kept by a running server";
            drop(reply.send(Err(Refusal::Unavailable(why.into()))));
            return None;
        };
        let mut turn = Turn { registry: &mut registry, policy: &policy, who: &who, scope: &scope };
        match turn.take(what, &conditions) {
            Ok(told) => Pending::of(move |done| drop(reply.send(done.map(|()| told)))),
            Err(refusal) => {
                drop(reply.send(Err(refusal)));
                None
            }
        }
    }
}

struct Turn<'a, 'b> {
    registry: &'a mut Registry<'b>,
    policy: &'a Policy,
    who: &'a str,
    scope: &'a Scope,
}

impl Turn<'_, '_> {
    fn take(&mut self, what: What, conditions: &Conditions) -> Result<Told, Refusal> {
        let Registry { now, .. } = *self.registry;
        match what {
            What::Create(wish) => {
                let Registry { engine, fx, .. } = self.registry;
                let (instance, new) = engine.create_instance(now, &wish, fx)?;
                let view = InstanceView::of(&instance, self.policy);
                if new {
                    self.audit("create", &instance, None, Some(&view));
                }
                Ok(Told { instances: vec![view], new, next: None })
            }
            What::Change(id, change) => {
                let before = self.visible(&id)?;
                let view = InstanceView::of(&before, self.policy);
                conditions.allow_change(&view)?;
                let Registry { engine, fx, .. } = self.registry;
                let instance = engine.change_instance(now, &id, &change, fx)?;
                let after = InstanceView::of(&instance, self.policy);
                self.audit("change", &instance, Some(&view), Some(&after));
                Ok(Told { instances: vec![after], new: false, next: None })
            }
            What::End(id) => {
                let before = self.visible(&id)?;
                let view = InstanceView::of(&before, self.policy);
                conditions.allow_change(&view)?;
                let Registry { engine, fx, .. } = self.registry;
                let instance = engine.end_instance(now, &id, fx)?;
                self.audit("delete", &instance, Some(&view), None);
                Ok(Told { instances: vec![view], new: false, next: None })
            }
            What::Show(id) => {
                let instance = self.visible(&id)?;
                let view = InstanceView::of(&instance, self.policy);
                Ok(Told { instances: vec![view], new: false, next: None })
            }
            What::List(after, most) => Ok(self.list(after.as_deref(), most)),
        }
    }

    /// Looks at so many instances at most; the page may be short, and yet not the last.
    fn list(&self, after: Option<&str>, most: usize) -> Told {
        let after = after.map(|id| format!("instance/{id}"));
        let all = self.registry.engine.directory().list("instance/", after.as_deref());
        let (mut instances, mut last, mut seen) = (Vec::new(), None, 0);
        for entry in all.take(most) {
            let Entry::Instance(instance) = entry else { continue };
            (last, seen) = (Some(instance.id.to_string()), seen + 1);
            if self.scope.holds(instance.kept.settings.account.as_deref()) {
                instances.push(InstanceView::of(instance, self.policy));
            }
        }
        Told { instances, new: false, next: last.filter(|_| seen == most) }
    }

    fn visible(&self, id: &str) -> Result<Arc<Instance>, Refusal> {
        let found = self.registry.engine.directory().instance(id);
        let own = |i: &&Arc<Instance>| self.scope.holds(i.kept.settings.account.as_deref());
        let none = || Refusal::NotFound(format!("no instance is called \"{id}\""));
        found.filter(own).cloned().ok_or_else(none)
    }

    fn audit(
        &mut self,
        verb: &str,
        of: &Instance,
        before: Option<&InstanceView>,
        after: Option<&InstanceView>,
    ) {
        let json = |view: Option<&InstanceView>| {
            view.and_then(|view| serde_json::to_string(view).ok()).map(Box::from)
        };
        let act = Act {
            at: self.registry.now,
            who: self.who.into(),
            verb: verb.into(),
            object: format!("instances/{}", of.id).into(),
            account: of.kept.settings.account.as_deref().map(Box::from),
            before: json(before),
            after: json(after),
        };
        let Registry { engine, fx, .. } = self.registry;
        engine.audit(act, fx);
    }
}
