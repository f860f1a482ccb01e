//! `[network.lifecycle]`: what makes an address worth keeping for those who had it.

use crate::base::Span;

use super::keys::key;
use super::node::Node;
use super::read::{duration, number};
use super::schema::Section;

/// The highest weight.
const WEIGHT_MAX: u32 = 1000;

pub(super) static LIFECYCLE: Section = Section {
    path: "network.lifecycle",
    header: "[network.lifecycle]",
    about: "The lifecycle score of an address: the mean of three shares from 0 to 1 by these weights. New clients are given the free address of the lowest score. `foreshadow score` explains it.",
    settings: false,
    keys: &[
        key("frequency", "1", "1", "Weight of how often the address was bound, 0 to 1000."),
        key(
            "traffic",
            "1",
            "1",
            "Weight of the traffic of its holder, where telemetry tells it, 0 to 1000.",
        ),
        key(
            "criticality",
            "1",
            "1",
            "Weight of the priority of its holder's application, 0 to 1000.",
        ),
        key(
            "half_life",
            "\"7d\"",
            "\"7d\"",
            "In this time the score of a free address halves, 1m to 1000d.",
        ),
    ],
};

/// `[network.lifecycle]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// Weight of how often an address was bound.
    pub frequency: u32,
    /// Weight of its holder's traffic.
    pub traffic: u32,
    /// Weight of its holder's priority.
    pub criticality: u32,
    /// In which time the score of a free address halves.
    pub half_life: Span,
}

impl Lifecycle {
    /// What holds where nothing is configured.
    pub const DEFAULT: Lifecycle = Lifecycle {
        frequency: 1,
        traffic: 1,
        criticality: 1,
        half_life: Span::from_secs(7 * 86_400),
    };
}

/// `lifecycle` of a network.
pub(super) fn lifecycle(node: Option<Node<'_>>) -> Lifecycle {
    let default = Lifecycle::DEFAULT;
    let Some(table) = node.as_ref().and_then(|n| n.table(&LIFECYCLE)) else { return default };
    let weight = |key, default| number(table.get(key), 0, WEIGHT_MAX.into(), default);
    let (shortest, longest) = (Span::from_secs(60), Span::from_secs(1000 * 86_400));
    let read = Lifecycle {
        frequency: weight("frequency", default.frequency),
        traffic: weight("traffic", default.traffic),
        criticality: weight("criticality", default.criticality),
        half_life: duration(table.get("half_life"), shortest, longest, default.half_life),
    };
    if let Some(node) = node.filter(|_| read.frequency + read.traffic + read.criticality == 0) {
        node.bad::<()>("all weights are 0", "at least one that is more");
    }
    read
}
