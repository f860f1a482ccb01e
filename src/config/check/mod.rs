//! From what was read to the [`Policy`]: everything that takes two values to be wrong.

mod lease;
mod network;
mod pool;
mod reach;
mod reservation;

use crate::base::Range4;

use super::fault::{Fault, FaultKind, Place, Sink};
use super::node::At;
use super::policy::{Class, Policy};
use super::raw::{File, RawClass};
use lease::Times;

/// Compares everything with everything; the policy is good only if no error was reported.
pub(super) fn policy(file: File, sink: &Sink) -> Policy {
    reach::check(&file, sink);
    let mut settings = file.settings.settings;
    let times = Times::BUILT_IN.inner(&file.settings.lease, &mut settings.lease, sink);
    let networks = file.networks.into_iter();
    Policy {
        server: file.server,
        log: file.log,
        store: file.store,
        relay_interfaces: file.relay_interfaces.into_iter().map(|at| at.value).collect(),
        networks: networks.filter_map(|raw| network::build(raw, &settings, &times, sink)).collect(),
        classes: classes(file.classes, &times, sink),
        settings,
    }
}

fn classes(raw: Vec<RawClass>, times: &Times, sink: &Sink) -> Vec<Class> {
    let names: Vec<_> = raw.iter().filter_map(|class| class.name.as_ref()).collect();
    duplicates(&names, |name| format!("two classes are called \"{name}\""), sink);
    let build = |class: RawClass| {
        let mut settings = class.settings.settings;
        times.inner(&class.settings.lease, &mut settings.lease, sink);
        let name = class.name.map_or_else(|| "".into(), |name| name.value);
        Class { name, matcher: class.matcher, settings }
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

/// Reports each range that shares addresses with one before it, in ascending order.
fn overlaps(
    ranges: &mut [(Range4, &Place)],
    message: impl Fn(&Range4, &Range4) -> String,
    sink: &Sink,
) {
    // By address, and where they begin together by place in the file, so that the later one is
    // at fault.
    ranges.sort_by_key(|(range, place)| (range.first, place.span.start));
    let mut highest: Option<(Range4, &Place)> = None;
    for (range, place) in ranges.iter() {
        if let Some((before, first)) = highest.filter(|(before, _)| before.overlaps(range)) {
            let (at, other) =
                if first.span.start < place.span.start { (*place, first) } else { (first, *place) };
            let fault = Fault::new(FaultKind::Overlap, at, message(range, &before));
            sink.push(fault.related(other, "the other is here"));
        }
        if highest.is_none_or(|(before, _)| before.last < range.last) {
            highest = Some((*range, place));
        }
    }
}
