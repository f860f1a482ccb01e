//! `[[account]]`: who owns machines, how many addresses that may cost, and who comes first when
//! they run short. What is said here is the form of an account made at run time, too.

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::{NetworkId, Prefix4, Prefix6, Range4, Range6, Sort, Span};

use super::fault::{Fault, FaultKind};
use super::limits::Rate;
use super::node::{At, Node, Table};
use super::read::number;
use super::schema;
use super::shadow::ShadowTerms;
use super::tiers::TierOrder;

/// Most accounts.
pub const ACCOUNTS_MAX: usize = 100_000;
/// Most applications of an account.
pub const APPLICATIONS_MAX: usize = 1000;
/// Longest name of an account or application, in bytes.
pub const ACCOUNT_BYTES_MAX: usize = 64;
/// The highest priority there is; the lowest is 0.
pub const PRIORITY_MAX: u8 = 9;
/// Most entries of `networks` or `pools`.
const LIST_MAX: usize = 1000;
const RATE_MAX: i64 = 1_000_000;
const COUNT_MAX: i64 = 1 << 40;
/// Longest time that an address is kept back.
pub const HOLD_MAX: Span = Span::from_secs(30 * 86_400);

/// `[[account]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: Arc<str>,
    /// What holds for all its applications together.
    pub terms: Terms,
    /// The networks it may use; all if empty.
    pub networks: Vec<NetworkId>,
    /// Its addresses lie in pools within one of these; in any pool if empty.
    pub pools: Vec<Block>,
    /// Its applications, in the order of their names.
    pub applications: Vec<Application>,
}

/// `[[account.application]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Application {
    /// Its name, within its account.
    pub name: Arc<str>,
    /// What holds for it, within what its account may have.
    pub terms: Terms,
}

/// What an account or an application may have. What is `None` is not limited here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Service level.
    pub level: Option<Level>,
    /// 0 to [`PRIORITY_MAX`]; by default that of its level.
    pub priority: Option<u8>,
    /// Addresses of both protocols together that are bound or kept for its instances.
    pub max_addresses: Option<u64>,
    /// Delegated prefixes.
    pub max_prefixes: Option<u64>,
    /// Standbys of its instances.
    pub max_standbys: Option<u64>,
    /// Exchanges that its clients and its orchestrator begin.
    pub requests: Option<Rate>,
    /// How long the address of a destroyed instance is kept back.
    pub hold: Hold,
    /// Addresses that are held ahead of need.
    pub shadow: ShadowTerms,
    /// Which tiers of a pool it uses.
    pub tier: Option<TierOrder>,
}

/// How long the address of a destroyed instance is kept back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// At least so long, silent or not.
    pub min: Option<Span>,
    /// At most so long, even if somebody still answers for it; the guest's lease is no longer.
    pub max: Option<Span>,
}

impl Hold {
    /// This, or where it says nothing what is said further out.
    pub fn or(self, outer: Hold) -> Hold {
        Hold { min: self.min.or(outer.min), max: self.max.or(outer.max) }
    }
}

/// Service level of an account or application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Served last: priority 2.
    Economy,
    /// What everybody has who says nothing: priority 5.
    #[default]
    Standard,
    /// Served first: priority 8.
    Premium,
}

impl Level {
    /// All of them by name.
    pub const WORDS: [(&'static str, Level); 3] =
        [("economy", Level::Economy), ("standard", Level::Standard), ("premium", Level::Premium)];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Economy => "economy",
            Level::Standard => "standard",
            Level::Premium => "premium",
        }
    }

    /// The priority of those who name none.
    pub fn priority(self) -> u8 {
        match self {
            Level::Economy => 2,
            Level::Standard => 5,
            Level::Premium => 8,
        }
    }
}

/// Addresses in a row, of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// IPv4.
    V4(Range4),
    /// IPv6.
    V6(Range6),
}

impl Block {
    /// The addresses of a family in it, first and last, as numbers.
    pub fn values(&self, sort: Sort) -> Option<(u128, u128)> {
        match (self, sort) {
            (Block::V4(range), Sort::V4) => {
                Some((range.first.to_bits().into(), range.last.to_bits().into()))
            }
            (Block::V6(range), Sort::V6) => Some((range.first.to_bits(), range.last.to_bits())),
            _ => None,
        }
    }

    /// Whether all of `range` lies inside.
    pub fn holds4(&self, range: &Range4) -> bool {
        matches!(self, Block::V4(own) if own.first <= range.first && range.last <= own.last)
    }

    /// Whether all of `first..=last` lies inside.
    pub fn holds6(&self, first: std::net::Ipv6Addr, last: std::net::Ipv6Addr) -> bool {
        matches!(self, Block::V6(own) if own.first <= first && last <= own.last)
    }
}

impl std::fmt::Display for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Block::V4(range) => range.fmt(f),
            Block::V6(range) => range.fmt(f),
        }
    }
}

/// A prefix, a range or an address of either family.
impl std::str::FromStr for Block {
    type Err = ();
    fn from_str(text: &str) -> Result<Block, ()> {
        if text.contains('/') {
            let four = text.parse().map(|p: Prefix4| Block::V4(p.range()));
            return four.or_else(|()| text.parse().map(|p: Prefix6| Block::V6(p.range())));
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse().map_err(|_| ())?, last.trim().parse().map_err(|_| ())?) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                Ok(Block::V4(Range4 { first, last }))
            }
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                Ok(Block::V6(Range6 { first, last }))
            }
            _ => Err(()),
        }
    }
}

impl Terms {
    /// 0 to [`PRIORITY_MAX`], if it says something about it.
    pub fn own_priority(&self) -> Option<u8> {
        self.priority.or(self.level.map(Level::priority))
    }
}

impl Account {
    /// The application of that name.
    pub fn application(&self, name: &str) -> Option<&Application> {
        let at = self.applications.binary_search_by(|application| (*application.name).cmp(name));
        at.ok().and_then(|at| self.applications.get(at))
    }

    /// The priority of an application, or of the account itself.
    pub fn priority(&self, application: Option<&str>) -> u8 {
        let own = application.and_then(|name| self.application(name)?.terms.own_priority());
        own.or(self.terms.own_priority()).unwrap_or(Level::default().priority())
    }

    /// Whether it may use a network.
    pub fn may_use(&self, network: NetworkId) -> bool {
        self.networks.is_empty() || self.networks.contains(&network)
    }
}

/// `[[account]]` as written.
pub(super) struct RawAccount {
    pub(super) name: Option<At<Arc<str>>>,
    pub(super) terms: Terms,
    pub(super) networks: Vec<At<Arc<str>>>,
    pub(super) pools: Vec<At<Block>>,
    pub(super) applications: Vec<RawApplication>,
}

/// `[[account.application]]` as written.
pub(super) struct RawApplication {
    pub(super) name: Option<At<Arc<str>>>,
    pub(super) terms: Terms,
}

/// Reads every `[[account]]`.
pub(super) fn accounts(root: &Table<'_>) -> Vec<RawAccount> {
    few(
        root.get("account").filter(|n| n.as_str().is_none()),
        &schema::ACCOUNT,
        ACCOUNTS_MAX,
        "accounts",
    )
    .iter()
    .map(account)
    .collect()
}

fn few<'a>(
    node: Option<Node<'a>>,
    section: &'static schema::Section,
    most: usize,
    what: &str,
) -> Vec<Table<'a>> {
    let Some(node) = node else { return Vec::new() };
    let mut tables = node.tables(section);
    if tables.len() > most {
        let fault = Fault::new(FaultKind::Limit, &node.place, format!("{} {what}", tables.len()));
        node.push(fault.expected(format!("at most {most}")));
        tables.truncate(most);
    }
    tables
}

fn account(table: &Table<'_>) -> RawAccount {
    let list = |key: &str| {
        let node = table.get(key)?;
        let found = node.list();
        if found.len() > LIST_MAX {
            let message = format!("{} entries", found.len());
            let fault = Fault::new(FaultKind::Limit, &node.place, message);
            node.push(fault.expected(format!("at most {LIST_MAX}")));
            return None;
        }
        Some(node)
    };
    RawAccount {
        name: name(table),
        terms: terms(table),
        networks: list("networks").map_or_else(Vec::new, |n| n.each(Node::name)),
        pools: list("pools").map_or_else(Vec::new, |n| n.each(block)),
        applications: few(
            table.get("application"),
            &schema::APPLICATION,
            APPLICATIONS_MAX,
            "applications",
        )
        .iter()
        .map(|table| RawApplication { name: name(table), terms: terms(table) })
        .collect(),
    }
}

fn name(table: &Table<'_>) -> Option<At<Arc<str>>> {
    table.require("name").and_then(|n| Some(n.at(n.name()?)))
}

fn terms(table: &Table<'_>) -> Terms {
    let get = |key: &str| table.get(key);
    let count = |key: &str| get(key).and_then(|n| u64::try_from(n.integer(0, COUNT_MAX)?).ok());
    let per_s = get("requests_per_s").and_then(|n| u32::try_from(n.integer(1, RATE_MAX)?).ok());
    if let (None, Some(burst)) = (get("requests_per_s"), get("requests_burst")) {
        burst.bad::<()>("a burst without a rate", "`requests_per_s` beside it");
    }
    let burst = |per_s: u32| number(get("requests_burst"), 1, RATE_MAX, per_s.saturating_mul(2));
    Terms {
        level: get("level").and_then(|n| n.word(&Level::WORDS)),
        priority: get("priority")
            .and_then(|n| u8::try_from(n.integer(0, PRIORITY_MAX.into())?).ok()),
        max_addresses: count("max_addresses"),
        max_prefixes: count("max_prefixes"),
        max_standbys: count("max_standbys"),
        requests: per_s.map(|per_s| Rate { per_s, burst: burst(per_s) }),
        hold: get("hold").map(|n| hold(&n)).unwrap_or_default(),
        tier: super::tiers::order(get("tier")),
        shadow: get("shadow").map(|n| super::shadow::terms(&n)).unwrap_or_default(),
    }
}

/// `{ min = "..", max = ".." }`.
pub(super) fn hold(node: &Node<'_>) -> Hold {
    let Some(table) = node.table(&schema::HOLD) else { return Hold::default() };
    let get = |key: &str| table.get(key).and_then(|n| n.duration(Span::ZERO, HOLD_MAX));
    let hold = Hold { min: get("min"), max: get("max") };
    if let (Some(min), Some(max)) = (hold.min, hold.max)
        && min > max
    {
        node.bad::<()>("`min` is longer than `max`", "`min` up to `max`");
    }
    hold
}

pub(super) fn block(node: &Node<'_>) -> Option<Block> {
    let text = node.string("a prefix or range of addresses")?;
    let want = "a prefix such as \"10.0.0.0/24\", or a range such as \"10.0.0.10-10.0.0.99\"";
    text.parse().ok().or_else(|| node.bad(format!("`{text}` is no range of addresses"), want))
}
