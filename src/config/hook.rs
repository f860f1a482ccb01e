//! `[[hook]]`: who is told of what happens to leases.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::Span;

use super::fault::FaultKind;
use super::keys::key;
use super::node::{Node, Table};
use super::read::duration;
use super::schema::{REQUIRED, Section};
use super::scrape::{ScrapeUrl, url};

const HOOKS_MAX: usize = 16;
const ARGUMENTS_MAX: usize = 64;
const TEXT_MAX: usize = 4095;

/// What a hook may be told of, and the kinds of audit records that are such events.
pub const HOOK_EVENTS: &[(&str, &[&str])] = &[
    ("granted", &["granted", "adopted", "moved", "registered", "imported", "promoted"]),
    ("released", &["released", "abandoned", "operator", "instance-ended"]),
    ("expired", &["expired"]),
    ("declined", &["declined"]),
    ("conflict", &["in-use"]),
    ("shadow", &["foreseen"]),
    ("moving", &["draining", "spared"]),
];

pub(super) static HOOK: Section = Section {
    path: "hook",
    header: "[[hook]]",
    about: "Somebody who is told of what happens to leases, at least once and in order: a URL, or a command.",
    settings: false,
    keys: &[
        key(
            "name",
            "\"cmdb\"",
            REQUIRED,
            "What log and metrics call it: letters, digits, `-`, `_`; its place among the audit records goes by this name.",
        ),
        key(
            "events",
            "[\"granted\", \"released\"]",
            REQUIRED,
            "Which events: `granted`, `released`, `expired`, `declined`, `conflict`, `shadow` for an address that is held ahead of need, and `moving` for a client that is to leave its address, or may stay.",
        ),
        key(
            "url",
            "\"https://cmdb.example/dhcp\"",
            "none",
            "Where each event is posted as JSON; `http` to a loopback address alone. This or `command`.",
        ),
        key(
            "secret_file",
            "\"/path\"",
            "none",
            "A file whose first line, of 16 bytes and more, signs what is posted; needed beside `url`, and read each time.",
        ),
        key("ca_file", "\"/path\"", "the system's", "Certificates in PEM that sign that of `url`."),
        key(
            "command",
            "[\"/usr/local/bin/tell\", \"--dhcp\"]",
            "none",
            "A program by its path, and its arguments, which is run with each event as JSON on its standard input. No shell.",
        ),
        key("timeout", "\"10s\"", "\"10s\"", "How long one delivery may take, 100 ms to 5 min."),
    ],
};

/// `[[hook]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookPolicy {
    /// What log and metrics call it: fit for the name of a file.
    pub name: Arc<str>,
    /// Of [`HOOK_EVENTS`], in their order.
    pub events: Vec<&'static str>,
    /// How it is told.
    pub way: HookWay,
    /// How long that may take.
    pub timeout: Span,
}

/// How a hook is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookWay {
    /// By POST.
    Url {
        /// Where to.
        url: ScrapeUrl,
        /// What signs it.
        secret_file: PathBuf,
        /// Who is believed to be there; whom the system believes, where it is `None`.
        ca_file: Option<PathBuf>,
    },
    /// By a program and its arguments.
    Command(Vec<Arc<str>>),
}

/// `[[hook]]` of the document.
pub(super) fn hooks(root: &Table<'_>) -> Vec<HookPolicy> {
    let Some(node) = root.get("hook") else { return Vec::new() };
    let tables = node.tables(&HOOK);
    if tables.len() > HOOKS_MAX {
        let fault = node.fault(FaultKind::Limit, format!("{} of them", tables.len()));
        node.push(fault.expected(format!("at most {HOOKS_MAX}")));
    }
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    for table in tables.iter().take(HOOKS_MAX) {
        let Some(hook) = hook(table) else { continue };
        if !names.insert(hook.name.clone()) {
            if let Some(node) = table.get("name") {
                node.push(
                    node.fault(FaultKind::Duplicate, format!("two are called \"{}\"", hook.name)),
                );
            }
            continue;
        }
        found.push(hook);
    }
    found
}

fn hook(table: &Table<'_>) -> Option<HookPolicy> {
    let name = table.require("name").and_then(|n| name(&n));
    let events = table.require("events").and_then(|n| events(&n));
    let (short, long) = (Span::from_ms(100), Span::from_secs(300));
    let timeout = duration(table.get("timeout"), short, long, Span::from_secs(10));
    let way = way(table);
    Some(HookPolicy { name: name?, events: events?, way: way?, timeout })
}

fn name(node: &Node<'_>) -> Option<Arc<str>> {
    let name = node.name()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if name.len() <= 64 && name.bytes().all(plain) {
        return Some(name);
    }
    node.bad("not a name for a hook", "up to 64 letters, digits, - and _")
}

fn events(node: &Node<'_>) -> Option<Vec<&'static str>> {
    let known = || HOOK_EVENTS.iter().map(|(event, _)| *event);
    let read = |node: &Node<'_>| {
        let text = node.string("an event")?;
        match known().find(|event| *event == text) {
            Some(event) => Some(event),
            None => {
                let want = known().collect::<Vec<_>>().join(", ");
                node.bad("no event that there is", format!("one of {want}"))
            }
        }
    };
    let wanted: BTreeSet<&str> = node.each(read).into_iter().map(|at| at.value).collect();
    if wanted.is_empty() {
        return node.bad("no events", "at least one");
    }
    Some(known().filter(|event| wanted.contains(event)).collect())
}

fn way(table: &Table<'_>) -> Option<HookWay> {
    let path = |key: &str| table.get(key).and_then(|n| n.path(TEXT_MAX));
    match (table.get("url"), table.get("command")) {
        (Some(node), None) => {
            let url = url(&node, "/")?;
            if !url.tls && !is_loopback(&url.host) {
                return node.bad("plain HTTP to another host", "https");
            }
            table.require("secret_file")?;
            let (secret_file, ca_file) = (path("secret_file")?, path("ca_file"));
            Some(HookWay::Url { url, secret_file, ca_file })
        }
        (None, Some(node)) => {
            if let Some(beside) = table.get("secret_file").or_else(|| table.get("ca_file")) {
                return beside.bad("a key of `url` beside `command`", "none");
            }
            let text = |n: &Node<'_>| n.text(TEXT_MAX).map(Arc::<str>::from);
            let argv: Vec<_> = node.each(text).into_iter().map(|at| at.value).collect();
            let is_path = argv.first().is_some_and(|program| program.starts_with('/'));
            if !is_path || argv.len() > ARGUMENTS_MAX {
                return node.bad("not a program", "its path from / on, and up to 63 arguments");
            }
            Some(HookWay::Command(argv))
        }
        (Some(node), Some(_)) => node.bad("`url` beside `command`", "one of the two"),
        (None, None) => {
            let node = table.get("name")?;
            node.bad("a hook that tells nobody", "`url` or `command` beside the name")
        }
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|addr| addr.is_loopback())
}
