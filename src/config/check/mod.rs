//! From what was read to the [`Policy`]: everything that takes two values to be wrong.

mod account;
mod advertisement;
mod delegation;
mod lease;
mod network;
mod network6;
mod pool;
mod pool6;
mod reach;
mod reservation;
mod reservation6;

use std::fmt::Display;

use crate::base::{Prefix4, Prefix6, Range4, Range6};

use super::fault::{Fault, FaultKind, Place, Sink};
use super::node::At;
use super::policy::{Class, ClassId, Policy};
use super::raw::{File, RawClass};
use lease::Times;

/// Compares everything with everything; the policy is good only if no error was reported.
pub(super) fn policy(file: File, sink: &Sink) -> Policy {
    reach::check(&file, sink);
    check_drivers(&file, sink);
    let mut settings = file.settings.settings;
    let times = Times::BUILT_IN.inner(&file.settings.lease, &mut settings.lease, sink);
    let accounts = account::build(file.accounts, &file.networks, sink);
    let networks = file.networks.into_iter();
    Policy {
        server: file.server,
        log: file.log,
        store: file.store,
        audit: file.audit,
        metrics: file.metrics,
        api: file.api,
        telemetry: std::sync::Arc::new(file.telemetry),
        scrapes: file.scrapes.into(),
        hooks: file.hooks.into(),
        agents: std::sync::Arc::new(file.agents),
        drivers: file.drivers.into_iter().map(std::sync::Arc::new).collect(),
        shadow: file.shadow,
        forecast: file.forecast,
        relay_interfaces: file.relay_interfaces.into_iter().map(|at| at.value).collect(),
        networks: networks.filter_map(|raw| network::build(raw, &settings, &times, sink)).collect(),
        classes: classes(file.classes, &times, sink),
        accounts,
        settings,
    }
}

/// Reports networks whose driver there is none of that name.
fn check_drivers(file: &File, sink: &Sink) {
    for network in &file.networks {
        let Some(name) = &network.standby.driver else { continue };
        if !file.drivers.iter().any(|driver| driver.name == *name) {
            let message = format!("`standby.driver`: no [[driver]] is called \"{name}\"");
            let known: Vec<&str> = file.drivers.iter().map(|driver| &*driver.name).collect();
            let want = match known.is_empty() {
                true => format!("a [[driver]] with name = \"{name}\""),
                false => format!("one of {}", known.join(", ")),
            };
            sink.push(Fault::new(FaultKind::UnknownName, &network.place, message).expected(want));
        }
    }
}

fn classes(raw: Vec<RawClass>, times: &Times, sink: &Sink) -> Vec<Class> {
    let names: Vec<_> = raw.iter().filter_map(|class| class.name.as_ref()).collect();
    duplicates(&names, |name| format!("two classes are called \"{name}\""), sink);
    let build = |class: RawClass| {
        let mut settings = class.settings.settings;
        times.inner(&class.settings.lease, &mut settings.lease, sink);
        let name = class.name.map_or_else(|| "".into(), |name| name.value);
        Class { name, matcher: class.matcher, tier: class.tier, settings }
    };
    raw.into_iter().map(build).collect()
}

/// Reports every value that stands a second time, and points at the first.
fn duplicates<T: Ord>(values: &[&At<T>], message: impl Fn(&T) -> String, sink: &Sink) {
    let mut first: std::collections::BTreeMap<&T, &Place> = std::collections::BTreeMap::new();
    for at in values {
        match first.entry(&at.value) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(&at.place);
            }
            std::collections::btree_map::Entry::Occupied(entry) => {
                let fault = Fault::new(FaultKind::Duplicate, &at.place, message(&at.value));
                sink.push(fault.related(entry.get(), "first here"));
            }
        }
    }
}

/// Reports a pool that both allows and denies a class.
fn check_classes(allow: &[ClassId], deny: &[ClassId], pool: &Place, sink: &Sink) {
    if allow.iter().any(|class| deny.contains(class)) {
        let message = "a class is both allowed and denied";
        sink.push(Fault::new(FaultKind::Conflict, pool, message));
    }
}

/// An inclusive range of addresses of either family, as they are told apart.
trait Interval: Copy + Display {
    type Addr: Ord + Copy;
    fn first(&self) -> Self::Addr;
    fn last(&self) -> Self::Addr;
}

impl Interval for Range4 {
    type Addr = std::net::Ipv4Addr;
    fn first(&self) -> Self::Addr {
        self.first
    }
    fn last(&self) -> Self::Addr {
        self.last
    }
}

impl Interval for Range6 {
    type Addr = std::net::Ipv6Addr;
    fn first(&self) -> Self::Addr {
        self.first
    }
    fn last(&self) -> Self::Addr {
        self.last
    }
}

impl Interval for Prefix6 {
    type Addr = std::net::Ipv6Addr;
    fn first(&self) -> Self::Addr {
        self.network()
    }
    fn last(&self) -> Self::Addr {
        Prefix6::last(self)
    }
}

/// A prefix of either family. Its order puts wider ones before the narrower ones inside.
trait Block: Copy + Ord {
    /// Whether all of `other` lies inside.
    fn holds(&self, other: &Self) -> bool;

    /// Whether any address is in both: prefixes are nested or apart.
    fn meets(&self, other: &Self) -> bool {
        self.holds(other) || other.holds(self)
    }
}

impl Block for Prefix4 {
    fn holds(&self, other: &Prefix4) -> bool {
        self.len() <= other.len() && self.contains(other.network())
    }
}

impl Block for Prefix6 {
    fn holds(&self, other: &Prefix6) -> bool {
        Prefix6::holds(self, other)
    }
}

/// Reports each range that shares addresses with one before it, in ascending order.
fn overlaps<R: Interval>(
    ranges: &mut [(R, &Place)],
    message: impl Fn(&R, &R) -> String,
    sink: &Sink,
) {
    // By address, and where they begin together by place in the file, so that the later one is
    // at fault.
    ranges.sort_by_key(|(range, place)| (range.first(), place.span.start));
    let mut highest: Option<(R, &Place)> = None;
    for (range, place) in ranges.iter() {
        if let Some((before, first)) = highest.filter(|(before, _)| range.first() <= before.last())
        {
            let (at, other) =
                if first.span.start < place.span.start { (*place, first) } else { (first, *place) };
            let fault = Fault::new(FaultKind::Overlap, at, message(range, &before));
            sink.push(fault.related(other, "the other is here"));
        }
        if highest.is_none_or(|(before, _)| before.last() < range.last()) {
            highest = Some((*range, place));
        }
    }
}
