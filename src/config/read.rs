//! From the parsed document to [`raw`](super::raw): each value understood, each fault of a single
//! value reported.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::Span;
use crate::base::addr::parse_hex;

use super::accounts::{ACCOUNT_BYTES_MAX, accounts};
use super::fault::{Fault, FaultKind, Place};
use super::node::{At, Node, Table, nearest};
use super::options::{self, Definitions};
use super::policy::{
    ClassId, LeaseTimes, LogPolicy, Matcher, OptionSet6, Pattern, PolicyOption6, ServerPolicy,
    Settings, StorePolicy,
};
use super::raw::{File, RawClass, RawLease, RawSettings};
use super::scalar6::is_url;
use super::schema;

/// Longest path of a Unix socket (`sun_path` without its NUL).
const SOCKET_PATH_BYTES_MAX: usize = 107;
const PATH_BYTES_MAX: usize = 4095;
/// sname without its NUL (RFC 2131 s2).
const SERVER_NAME_BYTES_MAX: usize = 63;
const BOOT_FILE_BYTES_MAX: usize = 1024;
const BOOTFILE_URL: u16 = 59;
const BOOTFILE_PARAM: u16 = 60;
const CLASSES_MAX: usize = 1000;
const MIB: u64 = 1 << 20;

/// The longest finite time that fits the wire: one second below infinity (RFC 2131 s3.3).
const LEASE_MAX: Span = Span::from_secs(u32::MAX as u64 - 1);
const LEASE_MIN: Span = Span::from_secs(1);

/// Reads the whole document.
pub(super) fn file(root: &Table<'_>) -> File {
    let defs = Definitions::read(root);
    let (server, relay_interfaces) = server(root);
    let classes = classes(root, &defs);
    let names = ClassNames::of(&classes);
    File {
        server,
        relay_interfaces,
        log: log(root),
        store: store(root),
        audit: super::audit::audit(root),
        metrics: super::metrics::metrics(root),
        api: super::api::api(root),
        telemetry: super::telemetry::telemetry(root),
        scrapes: super::scrape::scrapes(root),
        hooks: super::hook::hooks(root),
        agents: super::agents::agents(root),
        drivers: super::driver::drivers(root),
        shadow: super::shadow::shadow(root),
        forecast: super::forecast::forecast(root),
        settings: settings(root, &defs),
        networks: super::read_network::networks(root, &defs, &names),
        classes,
        accounts: accounts(root),
        has_networks: root.get("network").is_some(),
    }
}

fn server(root: &Table<'_>) -> (ServerPolicy, Vec<At<Pattern>>) {
    let table = root.get("server").and_then(|n| n.table(&schema::SERVER));
    let path = |key: &str, max: usize| -> Option<PathBuf> {
        table.as_ref().and_then(|t| t.get(key)).and_then(|n| n.path(max))
    };
    let policy = ServerPolicy {
        state_dir: path("state_dir", PATH_BYTES_MAX)
            .unwrap_or_else(|| "/var/lib/foreshadow".into()),
        control_socket: path("control_socket", SOCKET_PATH_BYTES_MAX)
            .unwrap_or_else(|| "/run/foreshadow/control.sock".into()),
        agent_socket: path("agent_socket", SOCKET_PATH_BYTES_MAX)
            .unwrap_or_else(|| "/run/foreshadow-agent/agent.sock".into()),
        hosts_file: path("hosts_file", PATH_BYTES_MAX),
        server_duid: table.as_ref().and_then(|t| t.get("duid")).and_then(|n| n.duid()),
    };
    let interfaces = table.as_ref().and_then(|t| t.get("relay_interfaces"));
    (policy, interfaces.map_or_else(Vec::new, |n| n.each(Node::interface)))
}

fn log(root: &Table<'_>) -> LogPolicy {
    let table = root.get("log").and_then(|n| n.table(&schema::LOG));
    let get = |key: &str| table.as_ref().and_then(|t| t.get(key));
    LogPolicy {
        json: get("format").and_then(|n| n.word(&[("text", false), ("json", true)])) == Some(true),
        filter: get("level").and_then(|n| log_filter(&n)).unwrap_or("info").to_owned(),
        bad_packets_per_s: number(get("bad_packets_per_s"), 0, 1_000_000, 5),
        leases_per_s: number(get("leases_per_s"), 0, 1_000_000, 1000),
    }
}

/// Levels, bare or by module: `info,foreshadow::offer=debug`.
fn log_filter<'a>(node: &Node<'a>) -> Option<&'a str> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let text = node.text(255)?;
    for part in text.split(',') {
        let level = part.rsplit('=').next().unwrap_or_default().trim();
        if !LEVELS.contains(&level) {
            let near = nearest(level, LEVELS).map(|l| format!("did you mean \"{l}\"? "));
            let help = near.unwrap_or_default() + "one of error, warn, info, debug, trace, off";
            return node.bad(format!("no log level `{level}`"), help);
        }
    }
    Some(text)
}

fn store(root: &Table<'_>) -> StorePolicy {
    let table = root.get("store").and_then(|n| n.table(&schema::STORE));
    let get = |key: &str| table.as_ref().and_then(|t| t.get(key));
    let (often, seldom) = (Span::from_ms(100), Span::from_secs(3600));
    StorePolicy {
        journal_bytes: get("journal").and_then(|n| n.size(MIB, 4096 * MIB)).unwrap_or(16 * MIB),
        checkpoint_every: duration(get("checkpoint"), often, seldom, Span::from_secs(1)),
        cache_bytes: get("cache").and_then(|n| n.size(MIB, 65_536 * MIB)).unwrap_or(64 * MIB),
    }
}

/// The number at `node`, or `default` without one.
pub(super) fn number<T: TryFrom<i64>>(node: Option<Node<'_>>, min: i64, max: i64, default: T) -> T {
    let read = node.and_then(|n| n.integer(min, max));
    read.and_then(|n| T::try_from(n).ok()).unwrap_or(default)
}

/// The duration at `node`, or `default` without one.
pub(super) fn duration(node: Option<Node<'_>>, min: Span, max: Span, default: Span) -> Span {
    node.and_then(|n| n.duration(min, max)).unwrap_or(default)
}

/// The settings of one level.
pub(super) fn settings(table: &Table<'_>, defs: &Definitions) -> RawSettings {
    let get = |key: &str| table.get(key);
    // There the same word begins the tables of accounts.
    let is_top = table.place.key.is_empty();
    let boot_file =
        get("boot_file").and_then(|n| n.text(BOOT_FILE_BYTES_MAX)).map(Arc::<str>::from);
    let settings = Settings {
        options: get("options").map(|n| options::read(&n, defs)).unwrap_or_default(),
        options6: options6(table, defs, boot_file.as_deref()),
        next_server: get("next_server").and_then(|n| n.unicast()),
        server_name: get("server_name").and_then(|n| n.text(SERVER_NAME_BYTES_MAX)).map(Arc::from),
        boot_file,
        lease: LeaseTimes::default(),
        account: get("account")
            .filter(|n| !(is_top && (n.is_list() || n.is_table())))
            .and_then(|n| n.text(ACCOUNT_BYTES_MAX))
            .map(Arc::from),
        application: get("application").and_then(|n| n.text(ACCOUNT_BYTES_MAX)).map(Arc::from),
    };
    RawSettings { settings, lease: get("lease").and_then(|n| lease(&n)).unwrap_or_default() }
}

/// The DHCPv6 options of a level, with what its boot fields say of them (RFC 5970).
fn options6(table: &Table<'_>, defs: &Definitions, boot_file: Option<&str>) -> OptionSet6 {
    let mut set = table.get("options6").map(|n| options::read6(&n, defs)).unwrap_or_default();
    let url = table.get("boot_file_url");
    let params = table.get("boot_params");
    for (code, node) in [(BOOTFILE_URL, &url), (BOOTFILE_PARAM, &params)] {
        let Some(node) = node.as_ref().filter(|_| !set.get(code).is_empty()) else { continue };
        let message = format!("`options6` sets option {code}, which this key stands for");
        node.push(node.fault(FaultKind::Conflict, message).expected("one of the two"));
    }
    let said = url.as_ref().map(|n| n.url(BOOT_FILE_BYTES_MAX).map(str::to_owned));
    let url = said.unwrap_or_else(|| boot_file.filter(|text| is_url(text)).map(str::to_owned));
    let url = url.map(String::into_bytes);
    let params = params.and_then(|n| options::boot_params(&n));
    for (code, data) in [(BOOTFILE_URL, url), (BOOTFILE_PARAM, params)] {
        if let Some(data) = data.filter(|_| set.get(code).is_empty()) {
            let at = set.entries.partition_point(|option| option.code < code);
            set.entries.insert(at, PolicyOption6 { code, data: data.into(), always: false });
        }
    }
    set
}

/// Most jitter of renewals, in percent.
const JITTER_MAX: u8 = 50;

pub(super) fn lease(node: &Node<'_>) -> Option<RawLease> {
    let table = node.table(&schema::LEASE)?;
    let finite = |key: &str| {
        let node = table.get(key)?;
        Some(node.at(node.duration(LEASE_MIN, LEASE_MAX)?))
    };
    let maybe_infinite = |key: &str| {
        let node = table.get(key)?;
        Some(node.at(node.duration_or_infinite(LEASE_MIN, LEASE_MAX)?))
    };
    Some(RawLease {
        min: finite("min"),
        default: maybe_infinite("default"),
        max: maybe_infinite("max"),
        t1: finite("t1"),
        t2: finite("t2"),
        preferred: maybe_infinite("preferred"),
        adaptive: table.get("adaptive").and_then(|n| n.boolean()),
        jitter: table.get("jitter").and_then(|n| jitter(&n)),
    })
}

/// How much earlier renewals may begin: half of the time is left for them.
fn jitter(node: &Node<'_>) -> Option<u8> {
    let percent = node.percent()?;
    if percent > JITTER_MAX {
        return node.bad("more than 50 %", "a share of T1 and T2 from 0 % to 50 %");
    }
    Some(percent)
}

fn classes(root: &Table<'_>, defs: &Definitions) -> Vec<RawClass> {
    let Some(node) = root.get("class") else { return Vec::new() };
    let tables = node.tables(&schema::CLASS);
    if tables.len() > CLASSES_MAX {
        let message = format!("{} classes", tables.len());
        let fault = Fault::new(FaultKind::Limit, &node.place, message);
        node.push(fault.expected(format!("at most {CLASSES_MAX}")));
    }
    tables.iter().take(CLASSES_MAX).map(|table| class(table, defs)).collect()
}

fn class(table: &Table<'_>, defs: &Definitions) -> RawClass {
    RawClass {
        name: table.require("name").and_then(|n| Some(n.at(n.name()?))),
        matcher: table.require("match").and_then(|n| matcher(&n)).unwrap_or_default(),
        tier: super::tiers::order(table.get("tier")),
        settings: settings(table, defs),
    }
}

fn matcher(node: &Node<'_>) -> Option<Matcher> {
    let before = node.sink().len();
    let table = node.table(&schema::MATCH)?;
    let list = |key: &str| table.get(key);
    fn read<'a, T>(node: Option<Node<'a>>, one: impl FnMut(&Node<'a>) -> Option<T>) -> Vec<T> {
        let Some(node) = node else { return Vec::new() };
        if node.list().is_empty() {
            node.bad::<()>("an empty list, which nothing matches", "at least one entry");
        }
        node.each(one).into_iter().map(|at| at.value).collect()
    }
    let lower = |n: &Node<'_>| n.glob().map(|p| Pattern(p.0.to_lowercase()));
    let matcher = Matcher {
        vendor_class: read(list("vendor_class"), Node::glob),
        user_class: read(list("user_class"), Node::glob),
        mac_prefix: read(list("mac"), mac_prefix),
        hostname: read(list("hostname"), lower),
        arch: read(list("arch"), |n| u16::try_from(n.integer(0, 65_535)?).ok()),
        circuit_id: read(list("circuit_id"), Node::identifier),
        remote_id: read(list("remote_id"), Node::identifier),
        giaddr: read(list("giaddr"), Node::prefix_or_ip),
        duid_prefix: read(list("duid"), Node::duid_prefix),
        interface_id: read(list("interface_id"), Node::identifier),
        subscriber_id: read(list("subscriber_id"), Node::identifier),
        link_address: read(list("link_address"), Node::prefix_or_ip6),
    };
    let empty = schema::MATCH.keys.iter().all(|key| table.get(key.name).is_none());
    if empty && node.sink().len() == before {
        node.bad::<()>("a match that says nothing", "at least one of its keys");
    }
    if matcher.only_v4() && matcher.only_v6() {
        let message = "keys of DHCPv4 beside keys of DHCPv6, which no client matches";
        let fault = node.fault(FaultKind::Conflict, message);
        node.push(fault.expected("two classes, or only keys of one protocol"));
    }
    Some(matcher)
}

/// The leading bytes of a hardware address.
fn mac_prefix(node: &Node<'_>) -> Option<Vec<u8>> {
    let text = node.string("leading bytes of a hardware address in a string")?;
    match parse_hex(text) {
        Some(bytes) if (1..=16).contains(&bytes.len()) => Some(bytes),
        _ => node.bad("not the beginning of a hardware address", "as in \"52:54:00\""),
    }
}

/// The classes that `key` of a pool names.
pub(super) fn class_list(table: &Table<'_>, key: &str, names: &ClassNames) -> Vec<ClassId> {
    let found = table.get(key).map_or_else(Vec::new, |n| n.each(|n| names.find(n)));
    found.into_iter().map(|at| at.value).collect()
}

/// Which classes there are, for `allow` and `deny`.
pub(super) struct ClassNames {
    names: Vec<Option<Arc<str>>>,
}

impl ClassNames {
    fn of(classes: &[RawClass]) -> ClassNames {
        ClassNames {
            names: classes.iter().map(|c| c.name.as_ref().map(|n| n.value.clone())).collect(),
        }
    }

    /// The class that `node` names.
    pub(super) fn find(&self, node: &Node<'_>) -> Option<ClassId> {
        let text = node.string("the name of a class")?;
        let at = self.names.iter().position(|name| name.as_deref() == Some(text));
        if let Some(at) = at {
            return u16::try_from(at).ok().map(ClassId);
        }
        let known = || self.names.iter().flatten().map(|name| &**name);
        let help = match nearest(text, known()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "the name of a [[class]] in this file".to_owned(),
        };
        let place: &Place = &node.place;
        let fault = Fault::new(FaultKind::UnknownName, place, format!("no class \"{text}\""));
        node.push(fault.expected(help));
        None
    }
}
