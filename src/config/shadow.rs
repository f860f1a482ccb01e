//! `[shadow]` and `[account.shadow]`: addresses that are held ahead of need.

use crate::base::Span;

use super::accounts::{Block, Level, block};
use super::keys::key;
use super::node::{Node, Table};
use super::read::{duration, number};
use super::schema::Section;

/// Most shadows there may be at once.
pub const SHADOWS_MAX: u32 = 1_000_000;
/// Most entries of `ranges`.
const RANGES_MAX: usize = 16;
const DAY: Span = Span::from_secs(86_400);

pub(super) static SHADOW: Section = Section {
    path: "shadow",
    header: "[shadow]",
    about: "Demand shadows: addresses that are held ready for accounts before their instances exist. There are none unless an account says `shadow`, a prediction comes by the API, or somebody reserves them. Under exhaustion they give way to real clients.",
    settings: false,
    keys: &[
        key(
            "max",
            "100000",
            "100000",
            "Most shadows at once, 0 to 1,000,000; 0 switches them off.",
        ),
        key(
            "max_per_owner",
            "1000",
            "1000",
            "Most shadows of each protocol of one account or application on one network, unless it says `max` itself.",
        ),
        key(
            "max_age",
            "\"1h\"",
            "\"1h\"",
            "After this time a shadow that nobody claimed is free again, 1m to 30d.",
        ),
        key(
            "topup",
            "\"30s\"",
            "\"30s\"",
            "A shadow that was claimed is replaced no sooner, up to 1h: `ready` counts it until then.",
        ),
        key(
            "keep_free",
            "\"10%\"",
            "\"10%\"",
            "This share of each pool is never held by shadows, so that others find an address without a shadow giving way.",
        ),
        key(
            "verify_every",
            "\"5m\"",
            "\"5m\"",
            "How often the wire is asked whether the address of a shadow is still free, 10s to 1d.",
        ),
        key(
            "shrink",
            "\"10%\"",
            "\"10%\"",
            "Of the shadows that are more than needed, this share is given back each minute, and at least one.",
        ),
        key(
            "economy",
            "\"50%\"",
            "\"50%\"",
            "Which quantile of a prediction is held for accounts of this level.",
        ),
        key("standard", "\"80%\"", "\"80%\"", "The same for this level."),
        key("premium", "\"95%\"", "\"95%\"", "The same for this level."),
    ],
};

pub(super) static OWNER: Section = Section {
    path: "account.shadow",
    header: "shadow",
    about: "Demand shadows of an account or application. What an application does not say is not inherited: its account's shadows are another stock, which all its applications may claim from.",
    settings: false,
    keys: &[
        key(
            "ready",
            "4",
            "0",
            "So many addresses of each protocol are always held ready on each network that it may use, whatever is predicted.",
        ),
        key("max", "100", "that of `[shadow]`", "Most shadows of each protocol on each network."),
        key(
            "quantile",
            "\"90%\"",
            "that of its level",
            "Which quantile of a prediction is held ready.",
        ),
        key(
            "contiguous",
            "true",
            "false",
            "Addresses next to each other are held where there are some, even if they are not proven free yet.",
        ),
        key(
            "ranges",
            "[\"10.0.0.64/26\"]",
            "all",
            "Prefixes or ranges of either protocol, at most 16: its shadows are taken from them alone.",
        ),
        key(
            "sticky",
            "true",
            "false",
            "Addresses that its instances had before are held first, the latest first, so that they stay with it.",
        ),
    ],
};

/// `[shadow]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowPolicy {
    /// Most at once.
    pub max: u32,
    /// Most of one owner, of a protocol on a network.
    pub max_per_owner: u32,
    /// How long one lives that nobody claims.
    pub max_age: Span,
    /// How long a claimed one is not replaced.
    pub topup: Span,
    /// Share of each pool that is never held, in percent.
    pub keep_free_percent: u8,
    /// How often each is proven free.
    pub verify_every: Span,
    /// Share of what is too much that is given back in a minute, in percent.
    pub shrink_percent: u8,
    /// Quantiles by level, in percent.
    pub economy: u8,
    /// The same.
    pub standard: u8,
    /// The same.
    pub premium: u8,
}

impl Default for ShadowPolicy {
    fn default() -> ShadowPolicy {
        ShadowPolicy {
            max: 100_000,
            max_per_owner: 1000,
            max_age: Span::from_secs(3600),
            topup: Span::from_secs(30),
            keep_free_percent: 10,
            verify_every: Span::from_secs(300),
            shrink_percent: 10,
            economy: 50,
            standard: 80,
            premium: 95,
        }
    }
}

impl ShadowPolicy {
    /// The quantile that is held for a level, in percent.
    pub fn quantile(&self, level: Level) -> u8 {
        match level {
            Level::Economy => self.economy,
            Level::Standard => self.standard,
            Level::Premium => self.premium,
        }
    }
}

/// `[account.shadow]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShadowTerms {
    /// How many are always ready.
    pub ready: u32,
    /// Most at once, of a protocol on a network.
    pub max: Option<u32>,
    /// Quantile of predictions that is held ready, in percent.
    pub quantile: Option<u8>,
    /// Addresses in a row rather than proven ones.
    pub contiguous: bool,
    /// Addresses that its instances had before come first.
    pub sticky: bool,
    /// Where they are taken from; anywhere if empty.
    pub ranges: Vec<Block>,
}

/// `[shadow]` of the document.
pub(super) fn shadow(root: &Table<'_>) -> ShadowPolicy {
    let default = ShadowPolicy::default();
    let Some(table) = root.get("shadow").and_then(|n| n.table(&SHADOW)) else { return default };
    let get = |key: &str| table.get(key);
    let percent = |key: &str, default| get(key).and_then(|n| n.percent()).unwrap_or(default);
    let span = Span::from_secs;
    ShadowPolicy {
        max: number(get("max"), 0, SHADOWS_MAX.into(), default.max),
        max_per_owner: number(get("max_per_owner"), 0, SHADOWS_MAX.into(), default.max_per_owner),
        max_age: duration(get("max_age"), span(60), Span(30 * DAY.0), default.max_age),
        topup: duration(get("topup"), Span::ZERO, span(3600), default.topup),
        keep_free_percent: percent("keep_free", default.keep_free_percent),
        verify_every: duration(get("verify_every"), span(10), DAY, default.verify_every),
        shrink_percent: percent("shrink", default.shrink_percent),
        economy: percent("economy", default.economy),
        standard: percent("standard", default.standard),
        premium: percent("premium", default.premium),
    }
}

/// `shadow = { .. }` of an account or application.
pub(super) fn terms(node: &Node<'_>) -> ShadowTerms {
    let Some(table) = node.table(&OWNER) else { return ShadowTerms::default() };
    let get = |key: &str| table.get(key);
    let count =
        |key: &str| get(key).and_then(|n| u32::try_from(n.integer(0, SHADOWS_MAX.into())?).ok());
    let ranges = get("ranges").map(|n| n.each(block)).unwrap_or_default();
    if ranges.len() > RANGES_MAX
        && let Some(node) = get("ranges")
    {
        node.bad::<()>(format!("{} ranges", ranges.len()), &format!("at most {RANGES_MAX}"));
    }
    let terms = ShadowTerms {
        ready: count("ready").unwrap_or_default(),
        max: count("max"),
        quantile: get("quantile").and_then(|n| n.percent()),
        contiguous: get("contiguous").and_then(|n| n.boolean()).unwrap_or_default(),
        sticky: get("sticky").and_then(|n| n.boolean()).unwrap_or_default(),
        ranges: ranges.into_iter().map(|at| at.value).collect(),
    };
    if terms.max.is_some_and(|max| max < terms.ready) {
        node.bad::<()>("`ready` is more than `max`", "`ready` up to `max`");
    }
    terms
}
