//! `[[scrape]]`: Prometheus targets, and what of them is taken.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::Span;

use super::fault::{Fault, FaultKind, Place};
use super::node::{Node, Table};
use super::read::{duration, number};
use super::schema;

const SCRAPES_MAX: usize = 100;
const METRICS_MAX: usize = 100;
const MATCHES_MAX: usize = 50;
const LABELS_MAX: usize = 20;
const TEXT_MAX: usize = 1024;
const PATH_MAX: usize = 4095;
const MIB: u64 = 1 << 20;

/// `[[scrape]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapePolicy {
    /// What status and log call it.
    pub name: Arc<str>,
    /// Where it is.
    pub url: ScrapeUrl,
    /// `match[]`, for a federation endpoint.
    pub matches: Vec<Arc<str>>,
    /// From one scrape to the next.
    pub interval: Span,
    /// How long one may take.
    pub timeout: Span,
    /// How it says who it is.
    pub credentials: Credentials,
    /// Certificates to believe beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Where instance, account and application come from.
    pub instance: Source,
    /// Likewise.
    pub account: Source,
    /// Likewise.
    pub application: Source,
    /// Most samples of one scrape.
    pub samples_max: usize,
    /// Largest body, in bytes.
    pub body_max: u64,
    /// What is taken.
    pub metrics: Vec<ScrapeMetric>,
}

/// An http or https URL without what a scrape has no use for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapeUrl {
    /// https.
    pub tls: bool,
    /// Name or address; of IPv6 without brackets.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// Path and query, beginning with a slash.
    pub target: Arc<str>,
}

/// As it is written, without what could be secret in its query.
impl std::fmt::Display for ScrapeUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let path = self.target.split('?').next().unwrap_or_default();
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}{path}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}{path}", self.host, self.port),
        }
    }
}

/// How a scrape says who it is. Files are read at each scrape, so that they can be replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// It does not.
    #[default]
    None,
    /// A bearer token in a file.
    Bearer(PathBuf),
    /// `user:password` in a file.
    Basic(PathBuf),
}

/// Where a name comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The label that has it.
    pub label: Option<Arc<str>>,
    /// What it is where the label is missing.
    pub fixed: Option<Arc<str>>,
}

/// One metric that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapeMetric {
    /// Its name at the target.
    pub from: Arc<str>,
    /// Its name here.
    pub to: Arc<str>,
    /// It is a counter: its rate a second is taken.
    pub rate: bool,
    /// Only samples whose labels have these values; `true` for those that do not.
    pub only: BTreeMap<Arc<str>, (bool, Arc<str>)>,
    /// Taken off, by its name at the target.
    pub minus: Option<Arc<str>>,
}

/// What is taken of prometheus-node-exporter where nothing is said.
fn node_exporter() -> Vec<ScrapeMetric> {
    let metric = |from: &str, to: &str, rate| ScrapeMetric {
        from: from.into(),
        to: to.into(),
        rate,
        only: BTreeMap::new(),
        minus: None,
    };
    let not = |label: &str, value: &str| [(label.into(), (true, value.into()))].into();
    vec![
        ScrapeMetric { only: not("mode", "idle"), ..metric("node_cpu_seconds_total", "cpu", true) },
        ScrapeMetric {
            minus: Some("node_memory_MemAvailable_bytes".into()),
            ..metric("node_memory_MemTotal_bytes", "memory", false)
        },
        ScrapeMetric {
            only: not("device", "lo"),
            ..metric("node_network_receive_bytes_total", "network_rx", true)
        },
        ScrapeMetric {
            only: not("device", "lo"),
            ..metric("node_network_transmit_bytes_total", "network_tx", true)
        },
        metric("node_load1", "load", false),
    ]
}

/// `[[scrape]]` of the document.
pub(super) fn scrapes(root: &Table<'_>) -> Vec<ScrapePolicy> {
    let Some(node) = root.get("scrape") else { return Vec::new() };
    let tables = node.tables(&schema::SCRAPE);
    bounded(&node, tables.len(), SCRAPES_MAX);
    let mut first: BTreeMap<Arc<str>, Place> = BTreeMap::new();
    let mut found = Vec::new();
    for table in tables.iter().take(SCRAPES_MAX) {
        let Some((place, scrape)) = scrape(table) else { continue };
        if let Some(before) = first.get(&scrape.name) {
            let message = format!("two are called \"{}\"", scrape.name);
            let fault = Fault::new(FaultKind::Duplicate, &place, message);
            node.push(fault.related(before, "first here"));
            continue;
        }
        first.insert(scrape.name.clone(), place);
        found.push(scrape);
    }
    found
}

fn bounded(node: &Node<'_>, count: usize, most: usize) {
    if count > most {
        let fault = node.fault(FaultKind::Limit, format!("{count} of them"));
        node.push(fault.expected(format!("at most {most}")));
    }
}

fn scrape(table: &Table<'_>) -> Option<(Place, ScrapePolicy)> {
    let get = |key: &str| table.get(key);
    let name = table.require("name").and_then(|n| Some(n.at(n.name()?)));
    let url = table.require("url").and_then(|n| url(&n, "/metrics"));
    let (short, long) = (Span::from_secs(1), Span::from_secs(3600));
    let interval = duration(get("interval"), short, long, Span::from_secs(30));
    let timeout = duration(get("timeout"), Span::from_ms(100), long, Span::from_secs(10));
    if let Some(node) = get("timeout").or_else(|| get("interval"))
        && timeout > interval
    {
        let message = format!("a timeout of {timeout} and a scrape each {interval}");
        node.push(node.fault(FaultKind::Conflict, message).expected("a shorter timeout"));
    }
    let text = |node: Node<'_>| node.text(TEXT_MAX).map(Arc::<str>::from);
    let matches = get("match").map_or_else(Vec::new, |n| {
        bounded(&n, n.list().len(), MATCHES_MAX);
        n.each(|n| text(n.clone())).into_iter().map(|at| at.value).collect()
    });
    let source = |label: &str, fixed: &str, default: Option<&str>| Source {
        label: get(label).and_then(|n| label_name(&n)).or_else(|| default.map(Arc::from)),
        fixed: get(fixed).and_then(|n| n.name()),
    };
    let metrics = get("metric").map(|n| metrics(&n)).unwrap_or_else(node_exporter);
    let (name, url) = (name?, url?);
    let scrape = ScrapePolicy {
        url,
        matches,
        interval,
        timeout,
        credentials: credentials(table),
        ca_file: get("ca_file").and_then(|n| n.path(PATH_MAX)),
        instance: source("instance_label", "instance", Some("instance")),
        account: source("account_label", "account", None),
        application: source("application_label", "application", None),
        samples_max: number(get("samples_max"), 1, 1_000_000, 50_000),
        body_max: get("body_max").and_then(|n| n.size(MIB / 16, 1024 * MIB)).unwrap_or(16 * MIB),
        metrics,
        name: name.value,
    };
    Some((name.place, scrape))
}

fn credentials(table: &Table<'_>) -> Credentials {
    let path = |key: &str| table.get(key).and_then(|n| n.path(PATH_MAX));
    match (path("bearer_token_file"), path("basic_auth_file")) {
        (None, None) => Credentials::None,
        (Some(path), None) => Credentials::Bearer(path),
        (None, Some(path)) => Credentials::Basic(path),
        (Some(path), Some(_)) => {
            let message = "`basic_auth_file` beside `bearer_token_file`";
            if let Some(node) = table.get("basic_auth_file") {
                node.push(node.fault(FaultKind::Conflict, message).expected("one of the two"));
            }
            Credentials::Bearer(path)
        }
    }
}

/// Reads a URL; `path` is the one of those that name none.
pub(super) fn url(node: &Node<'_>, path: &str) -> Option<ScrapeUrl> {
    let expected = "as in \"http://10.0.0.7:9100/metrics\"";
    let text = node.text(TEXT_MAX)?;
    let (tls, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return node.bad("not an http or https URL", expected),
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if authority.contains('@') {
        return node.bad("a password in a URL", "`basic_auth_file` or `bearer_token_file`");
    }
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '#' | '"' | '<' | '>' | '\\');
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse::<u16>().ok().filter(|port| *port != 0),
        None => port.is_empty().then_some(if tls { 443 } else { 80 }),
    };
    let host = Some(host).filter(|host| !host.is_empty() && host.chars().all(plain));
    match (host, port) {
        (Some(host), Some(port)) if target.chars().all(plain) => {
            let target = match target {
                "" => path.into(),
                _ if target.starts_with('/') => target.into(),
                _ => format!("/{target}").into(),
            };
            Some(ScrapeUrl { tls, host: host.into(), port, target })
        }
        _ => node.bad("not a URL", expected),
    }
}

fn label_name(node: &Node<'_>) -> Option<Arc<str>> {
    let text = node.text(128)?;
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
    if first && rest {
        return Some(text.into());
    }
    node.bad("not a name of Prometheus", "letters, digits and _")
}

fn metrics(node: &Node<'_>) -> Vec<ScrapeMetric> {
    let tables = node.tables(&schema::SCRAPE_METRIC);
    bounded(node, tables.len(), METRICS_MAX);
    tables.iter().take(METRICS_MAX).filter_map(metric).collect()
}

fn metric(table: &Table<'_>) -> Option<ScrapeMetric> {
    let from = table.require("from").and_then(|n| label_name(&n));
    let to = table.get("as").map_or_else(|| from.clone(), |n| label_name(&n));
    let to = match (to, table.get("as").or_else(|| table.get("from"))) {
        (Some(to), Some(node)) if to.len() > 64 => {
            node.bad::<()>(format!("a name of {} bytes", to.len()), "`as` of at most 64 bytes");
            None
        }
        (to, _) => to,
    };
    Some(ScrapeMetric {
        rate: table.get("rate").and_then(|n| n.boolean()).unwrap_or(false),
        only: table.get("only").map(|n| only(&n)).unwrap_or_default(),
        minus: table.get("minus").and_then(|n| label_name(&n)),
        from: from?,
        to: to?,
    })
}

/// Labels and their values; `!` before a value stands for all others.
fn only(node: &Node<'_>) -> BTreeMap<Arc<str>, (bool, Arc<str>)> {
    let entries = node.entries("a table of labels, as in { mode = \"!idle\" }").unwrap_or_default();
    bounded(node, entries.len(), LABELS_MAX);
    let read = |(label, _, value): &(&str, Place, Node<'_>)| {
        let text = value.string("the value of a label")?;
        let not = text.strip_prefix('!');
        Some((Arc::from(*label), (not.is_some(), not.unwrap_or(text).into())))
    };
    entries.iter().take(LABELS_MAX).filter_map(read).collect()
}
