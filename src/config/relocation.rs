//! `[network.relocation]`: clients that are moved off addresses which a hot tier needs.

use std::sync::Arc;

use crate::base::Span;

use super::fault::FaultKind;
use super::keys::key;
use super::node::{Node, Table};
use super::read::{duration, number};
use super::schema::Section;
use super::window::Window;

/// The highest weight.
const WEIGHT_MAX: i64 = 1000;
/// Longest name of an account or application, in bytes.
const OWNER_MAX: usize = 128;
const DAY: Span = Span::from_secs(86_400);

pub(super) static RELOCATION: Section = Section {
    path: "network.relocation",
    header: "[network.relocation]",
    about: "Where a pool has too little left for its hot tier, or a client that would use it found nothing there, clients of the other tiers are moved to other pools of the network that they may use, the cheapest first. What a move costs is the mean of four shares by these weights, in percent. Whoever has a reservation, a standby, or an address that was registered for its instance, is never moved. `foreshadow relocation plan` shows what would be done.",
    settings: false,
    keys: &[
        key(
            "mode",
            "\"on\"",
            "\"off\"",
            "`off`; `plan`: says in the log what it would do; `on`: does it. An operator can move a client by hand in each of them.",
        ),
        key("rate", "10", "10", "At most this many leases begin to be moved a minute, 1 to 10000."),
        key("max_cost", "\"50%\"", "\"50%\"", "What costs more stays."),
        key(
            "disruption",
            "3",
            "3",
            "Weight of the traffic and open connections of the client, where telemetry tells them, 0 to 1000.",
        ),
        key(
            "distance",
            "1",
            "1",
            "Weight of the latency between the regions of its subnet and the other, 0 to 1000; 100 ms are the most.",
        ),
        key(
            "processing",
            "1",
            "1",
            "Weight of the work: least for a client that takes a new address beside the old one (DHCPv6), most for one that must ask anew, 0 to 1000.",
        ),
        key("priority", "2", "2", "Weight of the priority of its application, 0 to 1000."),
        key(
            "min_retention",
            "\"10m\"",
            "\"10m\"",
            "Who has had an address for less time keeps it, 0s to 365d.",
        ),
        key(
            "max_retention",
            "\"30d\"",
            "none",
            "Who has had an address for longer is moved whatever it costs, 1m to 3650d.",
        ),
        key(
            "frozen",
            "[\"mon-fri 08:00-18:00\"]",
            "[]",
            "Hours of the week, in UTC, in which no move begins. One that ends before it begins ends the next day.",
        ),
        key(
            "exempt",
            "[\"bank\", \"shop/web\"]",
            "[]",
            "Accounts, and applications of accounts, that are never moved.",
        ),
        key(
            "ask",
            "true",
            "true",
            "Ask clients that have shown that they can to renew at once (FORCERENEW of RFC 3203 with the nonce of RFC 6704, Reconfigure of RFC 9915); others are moved when they renew by themselves.",
        ),
        key(
            "distances",
            "[{ between = [\"eu-1\", \"us-1\"], latency = \"85ms\" }]",
            "[]",
            "How far regions are apart; those that are not named are as far apart as can be.",
        ),
    ],
};

pub(super) static DISTANCE: Section = Section {
    path: "network.relocation.distances",
    header: "[[network.relocation.distances]]",
    about: "How far two regions are apart.",
    settings: false,
    keys: &[
        key("between", "[\"eu-1\", \"us-1\"]", super::schema::REQUIRED, "The two regions."),
        key("latency", "\"85ms\"", super::schema::REQUIRED, "There and back, 0ms to 10s."),
    ],
};

/// `network.relocation.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelocationMode {
    /// Nobody is moved but by hand.
    #[default]
    Off,
    /// It says what it would do.
    Plan,
    /// It does it.
    On,
}

const MODES: [(&str, RelocationMode); 3] =
    [("off", RelocationMode::Off), ("plan", RelocationMode::Plan), ("on", RelocationMode::On)];

/// `[network.relocation]`.
#[derive(Clone, Debug)]
pub struct Relocation {
    /// Whether it does anything by itself.
    pub mode: RelocationMode,
    /// Most moves that begin in a minute.
    pub rate: u32,
    /// What costs more stays, in percent.
    pub max_cost: u8,
    /// What a move costs is weighted by these.
    pub weights: MoveWeights,
    /// Who has had an address for less time keeps it.
    pub min_retention: Span,
    /// Who has had it for longer is moved whatever it costs.
    pub max_retention: Option<Span>,
    /// No move begins in these.
    pub frozen: Vec<Window>,
    /// Accounts that are never moved, or one application of them.
    pub exempt: Vec<(Arc<str>, Option<Arc<str>>)>,
    /// Clients that can are asked to renew at once.
    pub ask: bool,
    /// Regions, and how long it takes there and back.
    pub distances: Vec<([Arc<str>; 2], Span)>,
}

/// The weights of what a move costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveWeights {
    /// Of traffic and open connections.
    pub disruption: u32,
    /// Of the latency between regions.
    pub distance: u32,
    /// Of the work.
    pub processing: u32,
    /// Of the application's priority.
    pub priority: u32,
}

impl Default for Relocation {
    fn default() -> Relocation {
        Relocation {
            mode: RelocationMode::Off,
            rate: 10,
            max_cost: 50,
            weights: MoveWeights { disruption: 3, distance: 1, processing: 1, priority: 2 },
            min_retention: Span::from_secs(600),
            max_retention: None,
            frozen: Vec::new(),
            exempt: Vec::new(),
            ask: true,
            distances: Vec::new(),
        }
    }
}

/// `relocation` of a network.
pub(super) fn relocation(node: Option<Node<'_>>) -> Relocation {
    let default = Relocation::default();
    let Some(table) = node.as_ref().and_then(|n| n.table(&RELOCATION)) else { return default };
    let get = |key: &str| table.get(key);
    let weights = weights(&table, default.weights);
    let read = Relocation {
        mode: get("mode").and_then(|n| n.word(&MODES)).unwrap_or_default(),
        rate: number(get("rate"), 1, 10_000, default.rate),
        max_cost: get("max_cost").and_then(|n| n.percent()).unwrap_or(default.max_cost),
        weights,
        min_retention: duration(
            get("min_retention"),
            Span::ZERO,
            Span(365 * DAY.0),
            default.min_retention,
        ),
        max_retention: get("max_retention")
            .and_then(|n| n.duration(Span::from_secs(60), Span(3650 * DAY.0))),
        frozen: each(get("frozen"), |n| n.window()),
        exempt: each(get("exempt"), owner),
        ask: get("ask").and_then(|n| n.boolean()).unwrap_or(default.ask),
        distances: get("distances")
            .map(|n| n.tables(&DISTANCE))
            .unwrap_or_default()
            .iter()
            .filter_map(distance)
            .collect(),
    };
    let sum = weights.disruption + weights.distance + weights.processing + weights.priority;
    if let Some(node) = node.as_ref().filter(|_| sum == 0) {
        node.bad::<()>("all weights are 0", "at least one that is more");
    }
    if let Some(node) = get("max_retention")
        && read.max_retention.is_some_and(|max| max < read.min_retention)
    {
        let message = "`max_retention` is less than `min_retention`";
        node.push(node.fault(FaultKind::Conflict, message).expected("at least as much"));
    }
    read
}

fn weights(table: &Table<'_>, default: MoveWeights) -> MoveWeights {
    let weight = |key: &str, default: u32| number(table.get(key), 0, WEIGHT_MAX, default);
    MoveWeights {
        disruption: weight("disruption", default.disruption),
        distance: weight("distance", default.distance),
        processing: weight("processing", default.processing),
        priority: weight("priority", default.priority),
    }
}

fn each<T>(node: Option<Node<'_>>, read: impl FnMut(&Node<'_>) -> Option<T>) -> Vec<T> {
    node.map(|n| n.each(read)).unwrap_or_default().into_iter().map(|at| at.value).collect()
}

/// `account`, or `account/application`.
fn owner(node: &Node<'_>) -> Option<(Arc<str>, Option<Arc<str>>)> {
    let text = node.text(2 * OWNER_MAX + 1)?;
    let (account, application) = match text.split_once('/') {
        Some((account, application)) => (account, Some(application)),
        None => (text, None),
    };
    if account.is_empty() || application.is_some_and(str::is_empty) {
        return node.bad(format!("`{text}` names nobody"), "an account, or account/application");
    }
    Some((account.into(), application.map(Into::into)))
}

fn distance(table: &Table<'_>) -> Option<([Arc<str>; 2], Span)> {
    let between = table.require("between")?;
    let latency = table.require("latency")?.duration(Span::ZERO, Span::from_secs(10))?;
    let names = each(table.get("between"), |n| n.name());
    let two: Result<[Arc<str>; 2], _> = names.try_into();
    let want = "two regions, as in [\"eu-1\", \"us-1\"]";
    let two = two.ok().or_else(|| between.bad("these are not two regions", want))?;
    Some((two, latency))
}

#[cfg(test)]
mod tests {
    use crate::config::check;

    const BASE: &str = "[[network]]\nname = \"a\"\ninterfaces = [\"br0\"]\n\
        [[network.subnet]]\nprefix = \"10.0.0.0/24\"\npools = [\"10.0.0.10\"]\n";

    fn faults(text: &str) -> usize {
        check(&format!("{BASE}{text}"), "test.toml").err().map_or(0, |faults| faults.list().len())
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        assert_eq!(faults("[network.relocation]\nmode = \"on\"\nexempt = [\"a/b\", \"c\"]"), 0);
        for bad in [
            "mode = \"perhaps\"",
            "frozen = [\"always\"]",
            "exempt = [\"/web\"]",
            "disruption = 0\ndistance = 0\nprocessing = 0\npriority = 0",
            "min_retention = \"1h\"\nmax_retention = \"10m\"",
            "distances = [{ between = [\"a\"], latency = \"1ms\" }]",
            "distances = [{ between = [\"a\", \"b\"] }]",
            "max_cost = \"101%\"",
            "rate = 0",
        ] {
            assert_eq!(faults(&format!("[network.relocation]\n{bad}")), 1, "{bad}");
        }
    }
}
