//! `[network.tiers]`: hot, warm and cold shares of each pool of a network.

use super::fault::{Fault, FaultKind};
use super::keys::key;
use super::node::Node;
use super::policy::Settings;
use super::raw::RawLease;
use super::read::lease;
use super::schema::Section;

pub(super) static TIERS: Section = Section {
    path: "network.tiers",
    header: "[network.tiers]",
    about: "Shares of each pool of the network: `hot` is kept for what is critical, `cold` serves whoever else comes. A tier is a number of addresses, not a range: its size moves between its bounds as demand does, and nobody is renumbered for that. Classes, accounts and applications say with `tier` which ones they use.",
    settings: false,
    keys: &[
        key("hot", "{ min = \"10%\" }", "no bounds", "For critical applications."),
        key("warm", "{ max = \"60%\" }", "no bounds", "For what is usual."),
        key(
            "cold",
            "{ max = \"30%\", lease = { default = \"10m\" } }",
            "no bounds",
            "For bursts and clients that nobody knows.",
        ),
    ],
};

pub(super) static TIER: Section = Section {
    path: "network.tiers.hot",
    header: "[network.tiers.hot]",
    about: "One tier, `hot`, `warm` or `cold` alike.",
    settings: false,
    keys: &[
        key("min", "\"10%\"", "\"0%\"", "So much of each pool is never given to other tiers."),
        key("max", "\"40%\"", "\"100%\"", "It never has more than so much of a pool."),
        key("lease", "a table", "those of the network", "Lease times of this tier; see `[lease]`."),
    ],
};

/// A share of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Kept for what is critical.
    Hot,
    /// For what is usual.
    Warm,
    /// For bursts and unknown clients.
    Cold,
}

impl Tier {
    /// All of them, who comes first when they do not fit beside each other.
    pub const ALL: [Tier; 3] = [Tier::Hot, Tier::Warm, Tier::Cold];
    /// All of them by name.
    pub const WORDS: [(&'static str, Tier); 3] =
        [("hot", Tier::Hot), ("warm", Tier::Warm), ("cold", Tier::Cold)];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Hot => "hot",
            Tier::Warm => "warm",
            Tier::Cold => "cold",
        }
    }
}

/// Which tiers a client uses, the first one that has room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierOrder([Option<Tier>; 3]);

impl TierOrder {
    /// In this order, without those that come again.
    pub fn of(tiers: &[Tier]) -> TierOrder {
        let mut order = TierOrder::default();
        for tier in tiers.iter().copied() {
            if order.0.contains(&Some(tier)) {
                continue;
            }
            if let Some(place) = order.0.iter_mut().find(|place| place.is_none()) {
                *place = Some(tier);
            }
        }
        order
    }

    /// By their names, with commas between them.
    pub fn text(&self) -> String {
        let names: Vec<&str> = self.tiers().map(Tier::as_str).collect();
        names.join(",")
    }

    /// The order that `text` names; `None` if it is none.
    pub fn parse(text: &str) -> Option<TierOrder> {
        let tier = |word: &str| Tier::WORDS.iter().find(|(name, _)| *name == word).map(|(_, t)| *t);
        let tiers: Option<Vec<Tier>> = text.split(',').map(tier).collect();
        tiers.map(|tiers| TierOrder::of(&tiers))
    }

    /// The tiers, the first one first.
    pub fn tiers(&self) -> impl Iterator<Item = Tier> + use<> {
        self.0.into_iter().flatten()
    }
}

/// `[network.tiers]`, in the order of [`Tier::ALL`].
pub type Tiers = [TierPolicy; 3];

/// The bounds of one tier.
#[derive(Clone, Debug, Default)]
pub struct TierPolicy {
    /// So much of each pool is never given to other tiers, in percent.
    pub min_percent: u8,
    /// It never has more than so much of a pool, in percent.
    pub max_percent: u8,
    /// Its lease times, and nothing else: nearer than the pool's.
    pub settings: Settings,
}

/// One tier as written.
#[derive(Clone, Default)]
pub(super) struct RawTier {
    pub(super) min_percent: u8,
    pub(super) max_percent: u8,
    pub(super) lease: RawLease,
}

/// `tiers` of a network; `None` where there are none.
pub(super) fn tiers(node: Option<Node<'_>>) -> Option<[RawTier; 3]> {
    let node = node?;
    let table = node.table(&TIERS)?;
    let read = Tier::ALL.map(|one| table.get(one.as_str()).map(|n| tier(&n)).unwrap_or(NO_BOUNDS));
    let min: u32 = read.iter().map(|tier| u32::from(tier.min_percent)).sum();
    if min > 100 {
        let message = format!("the tiers keep {min} % of a pool together");
        let fault = Fault::new(FaultKind::Outside, &node.place, message);
        node.push(fault.expected("`min` of all of them up to 100 %"));
    }
    Some(read)
}

const NO_BOUNDS: RawTier = RawTier { min_percent: 0, max_percent: 100, lease: RawLease::NONE };

fn tier(node: &Node<'_>) -> RawTier {
    let Some(table) = node.table(&TIER) else { return NO_BOUNDS };
    let percent = |key: &str| table.get(key).and_then(|n| n.percent());
    let read = RawTier {
        min_percent: percent("min").unwrap_or(0),
        max_percent: percent("max").unwrap_or(100),
        lease: table.get("lease").and_then(|n| lease(&n)).unwrap_or_default(),
    };
    if read.min_percent > read.max_percent {
        node.bad::<()>("`min` is more than `max`", "`min` up to `max`");
    }
    read
}

/// `tier` of a class, account or application: one, or a list.
pub(super) fn order(node: Option<Node<'_>>) -> Option<TierOrder> {
    let node = node?;
    let tiers: Vec<Tier> =
        node.each(|n| n.word(&Tier::WORDS)).into_iter().map(|at| at.value).collect();
    if tiers.is_empty() {
        return node.bad("no tier", "one of hot, warm and cold, or a list of them");
    }
    Some(TierOrder::of(&tiers))
}
