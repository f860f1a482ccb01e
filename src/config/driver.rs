//! `[[driver]]`: what makes a standby, brings the state of its active over, wakes it, and ends the
//! active.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::Span;

use super::fault::FaultKind;
use super::hook::is_loopback;
use super::keys::key;
use super::node::{Node, Table};
use super::read::duration;
use super::schema::{REQUIRED, Section};
use super::scrape::{ScrapeUrl, url};

const DRIVERS_MAX: usize = 64;
const ARGUMENTS_MAX: usize = 64;
const TEXT_MAX: usize = 4095;

/// What arguments and domains may name of a pair, in braces.
pub const DRIVER_NAMES: &[&str] = &[
    "id",
    "epoch",
    "addresses",
    "active.mac",
    "active.port",
    "active.host",
    "standby.mac",
    "standby.port",
    "standby.host",
];

pub(super) static DRIVER: Section = Section {
    path: "driver",
    header: "[[driver]]",
    about: "What sees to the guests of pairs, for `driver` of `[network.standby]`. Each act may be done twice, and is to succeed if it is done already. It runs as the server's user, without a shell; `{id}`, `{epoch}`, `{addresses}` and `{active.mac}`, `{active.port}`, `{active.host}` and the same of `standby` stand for what they name.",
    settings: false,
    keys: &[
        key(
            "name",
            "\"kvm\"",
            REQUIRED,
            "What `[network.standby]` and the log call it: letters, digits, `-`, `_`.",
        ),
        key(
            "create",
            "{ virsh = \"{id}-b\" }",
            "none",
            "What makes the standby and boots it, once the pair is named and its gate is there; before that where its port comes with it.",
        ),
        key(
            "sync",
            "{ rsync = [\"/srv/{id}/\", \"hv2:/srv/{id}/\"] }",
            "none",
            "What brings the state of the active over while that runs; the standby is `synced` once it did. A program says how far it is by percentages on its standard output (`37%`).",
        ),
        key(
            "check",
            "{ command = [\"/usr/local/bin/answers\", \"{id}\"] }",
            "none",
            "What finds out whether the standby is well; a standby is `ready` only then. Asked again after each pass of `sync`.",
        ),
        key(
            "final_pass",
            "{ command = [\"/usr/bin/rsync\", \"-a\", \"/srv/{id}/\", \"hv2:/srv/{id}/\"] }",
            "none",
            "What brings over the last of the state before a planned switchover opens the standby; it is taken back if this fails.",
        ),
        key(
            "wake",
            "{ qmp = \"/run/vm/{id}-b.qmp\" }",
            "none",
            "What has a standby that sleeps go on; a planned switchover is taken back if this fails.",
        ),
        key(
            "end",
            "{ virsh = \"{id}-a\" }",
            "none",
            "What ends the former active and is sure of it. After a failure it is a fence, too, where the agent of its host cannot be asked.",
        ),
        key(
            "discard",
            "{ virsh = \"{id}-b\" }",
            "none",
            "What ends a standby that is dropped before it was promoted, or was not ready in time.",
        ),
        key(
            "sync_every",
            "\"1m\"",
            "\"5m\"",
            "How long after a pass of `sync` the next one begins, 10 s to 1 d.",
        ),
        key("sync_timeout", "\"2h\"", "\"1h\"", "How long a pass of `sync` may take, 1 s to 7 d."),
        key(
            "timeout",
            "\"30s\"",
            "\"30s\"",
            "How long another act may take, 1 s to 1 h; then it is killed, and has failed.",
        ),
    ],
};

pub(super) static ACT: Section = Section {
    path: "driver.ACT",
    header: "Act",
    about: "How an act of a driver is done: one of these.",
    settings: false,
    keys: &[
        key(
            "command",
            "[\"/usr/local/bin/wake\", \"{id}\"]",
            "none",
            "A program by its path, and its arguments; status 0 is success.",
        ),
        key(
            "virsh",
            "\"{id}-a\"",
            "none",
            "A domain of libvirt: `create` starts it, `check` has it running, `wake` resumes it, `end` and `discard` destroy it.",
        ),
        key(
            "qmp",
            "\"/run/vm/{id}.qmp\"",
            "none",
            "The monitor socket of a QEMU: `create` and `wake` have it continue, `check` has it running, `end` and `discard` have it quit and wait until it did.",
        ),
        key(
            "rsync",
            "[\"/srv/{id}/\", \"hv2:/srv/{id}/\"]",
            "none",
            "From where to where `rsync` copies, for `sync` and `final_pass`; what is not at the first is deleted at the second. Only what changed is sent.",
        ),
        key(
            "url",
            "\"https://vms.example/acts\"",
            "none",
            "Where the act is posted as JSON, as to a hook; `http` to a loopback address alone. An answer of success is one.",
        ),
        key(
            "secret_file",
            "\"/path\"",
            "none",
            "A file whose first line, of 16 bytes and more, signs what is posted; needed beside `url`.",
        ),
        key("ca_file", "\"/path\"", "the system's", "Certificates in PEM that sign that of `url`."),
    ],
};

/// `[[driver]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverPolicy {
    /// What networks and the log call it.
    pub name: Arc<str>,
    /// Makes the standby.
    pub create: Option<DriverWay>,
    /// Brings the state over while the active runs.
    pub sync: Option<DriverWay>,
    /// Finds out whether the standby is well.
    pub check: Option<DriverWay>,
    /// Brings over the last of the state.
    pub final_pass: Option<DriverWay>,
    /// Has the standby go on.
    pub wake: Option<DriverWay>,
    /// Ends the former active.
    pub end: Option<DriverWay>,
    /// Ends a standby that is not needed.
    pub discard: Option<DriverWay>,
    /// How long after a pass of the state the next one begins.
    pub sync_every: Span,
    /// How long such a pass may take.
    pub sync_timeout: Span,
    /// How long another act may take.
    pub timeout: Span,
}

/// How an act is done. Texts have names in braces ([`DRIVER_NAMES`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverWay {
    /// By a program and its arguments.
    Command(Vec<Arc<str>>),
    /// To a domain of libvirt.
    Virsh(Arc<str>),
    /// By the monitor of a QEMU.
    Qmp(Arc<str>),
    /// By `rsync`, from the one place to the other.
    Rsync([Arc<str>; 2]),
    /// By POST.
    Url {
        /// Where to.
        url: ScrapeUrl,
        /// What signs it.
        secret_file: PathBuf,
        /// Who is believed to be there; whom the system believes, where it is `None`.
        ca_file: Option<PathBuf>,
    },
}

/// `[[driver]]` of the document.
pub(super) fn drivers(root: &Table<'_>) -> Vec<DriverPolicy> {
    let Some(node) = root.get("driver") else { return Vec::new() };
    let tables = node.tables(&DRIVER);
    if tables.len() > DRIVERS_MAX {
        let fault = node.fault(FaultKind::Limit, format!("{} of them", tables.len()));
        node.push(fault.expected(format!("at most {DRIVERS_MAX}")));
    }
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    for table in tables.iter().take(DRIVERS_MAX) {
        let name = table.require("name").and_then(|n| name(&n));
        let span = |key, least, most, usual| {
            let of = Span::from_secs;
            duration(table.get(key), of(least), of(most), of(usual))
        };
        let act = |key, of| table.get(key).and_then(|n| way(&n, of));
        let (create, check) = (act("create", Of::Machine), act("check", Of::Machine));
        let (sync, final_pass) = (act("sync", Of::State), act("final_pass", Of::State));
        let (wake, end) = (act("wake", Of::Machine), act("end", Of::Machine));
        let discard = act("discard", Of::Machine);
        let sync_every = span("sync_every", 10, 86_400, 300);
        let sync_timeout = span("sync_timeout", 1, 7 * 86_400, 3600);
        let timeout = span("timeout", 1, 3600, 30);
        let Some(name) = name else { continue };
        if !names.insert(name.clone()) {
            let message = format!("two are called \"{name}\"");
            table.get("name").iter().for_each(|n| n.push(n.fault(FaultKind::Duplicate, &*message)));
            continue;
        }
        found.push(DriverPolicy {
            name,
            create,
            sync,
            check,
            final_pass,
            wake,
            end,
            discard,
            sync_every,
            sync_timeout,
            timeout,
        });
    }
    found
}

pub(super) fn name(node: &Node<'_>) -> Option<Arc<str>> {
    let name = node.name()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if name.len() <= 64 && name.bytes().all(plain) {
        return Some(name);
    }
    node.bad("not a name for a driver", "up to 64 letters, digits, - and _")
}

/// What an act is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Machine,
    State,
}

/// How an act is done.
fn way(node: &Node<'_>, of: Of) -> Option<DriverWay> {
    let table = node.table(&ACT)?;
    let ways = ["command", "virsh", "qmp", "rsync", "url"];
    let said: Vec<&str> = ways.into_iter().filter(|way| table.get(way).is_some()).collect();
    let [way] = said.as_slice() else {
        return node.bad("not one way to do it", "one of command, virsh, qmp, rsync, url");
    };
    let inner = table.get(way)?;
    if *way != "url"
        && let Some(beside) = table.get("secret_file").or_else(|| table.get("ca_file"))
    {
        return beside.bad(format!("a key of `url` beside `{way}`"), "none");
    }
    match *way {
        "command" => {
            let argv: Vec<_> = inner.each(text).into_iter().map(|at| at.value).collect();
            let is_path = argv.first().is_some_and(|p| p.starts_with('/') && !p.contains('{'));
            if !is_path || argv.len() > ARGUMENTS_MAX {
                return inner.bad("not a program", "its path from / on, and up to 63 arguments");
            }
            Some(DriverWay::Command(argv))
        }
        "url" => {
            let url = url(&inner, "/")?;
            if !url.tls && !is_loopback(&url.host) {
                return inner.bad("plain HTTP to another host", "https");
            }
            let path = |key: &str| table.get(key).and_then(|n| n.path(TEXT_MAX));
            table.require("secret_file")?;
            Some(DriverWay::Url {
                url,
                secret_file: path("secret_file")?,
                ca_file: path("ca_file"),
            })
        }
        "rsync" if of == Of::State => {
            let places: Vec<_> = inner.each(text).into_iter().map(|at| at.value).collect();
            match places.try_into() {
                Ok(places) => Some(DriverWay::Rsync(places)),
                Err(_) => inner.bad("not two places", "[\"/srv/{id}/\", \"hv2:/srv/{id}/\"]"),
            }
        }
        "rsync" => inner.bad("does nothing to a machine", "command, virsh, qmp or url"),
        _ if of == Of::State => inner.bad("brings over no state", "command, rsync or url"),
        "virsh" => text(&inner).map(DriverWay::Virsh),
        _ => {
            let path = text(&inner)?;
            if !path.starts_with('/') {
                return inner.bad("not a path from / on", "\"/run/vm/{id}.qmp\"");
            }
            Some(DriverWay::Qmp(path))
        }
    }
}

/// A text whose names in braces are known.
fn text(node: &Node<'_>) -> Option<Arc<str>> {
    let text = node.text(TEXT_MAX)?;
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        if !DRIVER_NAMES.contains(&name) {
            let known = DRIVER_NAMES.join(", ");
            return node.bad(format!("nothing is called {{{name}}}"), format!("one of {known}"));
        }
        rest = after;
    }
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check;

    const BASE: &str = "[[network]]\nname = \"a\"\ninterfaces = [\"br0\"]\n\
        standby = { driver = \"kvm\" }\n\
        [[network.subnet]]\nprefix = \"10.0.0.0/24\"\npools = [\"10.0.0.10\"]\n";

    fn faults(text: &str) -> Vec<String> {
        let checked = check(&format!("{BASE}[[driver]]\nname = \"kvm\"\n{text}"), "test.toml");
        let told = |faults: crate::config::Faults| {
            faults.list().iter().map(|f| format!("{f:?}")).collect()
        };
        checked.err().map_or_else(Vec::new, told)
    }

    #[test]
    fn what_sees_to_guests_is_read() {
        let text = "wake = { qmp = \"/run/{id}.qmp\" }\nend = { virsh = \"{id}-a\" }\n\
            final_pass = { command = [\"/bin/true\", \"{standby.mac}\"] }\ntimeout = \"5s\"\n";
        let loaded =
            check(&format!("{BASE}[[driver]]\nname = \"kvm\"\n{text}"), "test.toml").unwrap();
        let driver = &loaded.policy.drivers[0];
        assert_eq!(driver.wake, Some(DriverWay::Qmp("/run/{id}.qmp".into())));
        assert_eq!(driver.end, Some(DriverWay::Virsh("{id}-a".into())));
        let argv = vec!["/bin/true".into(), "{standby.mac}".into()];
        assert_eq!(driver.final_pass, Some(DriverWay::Command(argv)));
        assert_eq!(loaded.policy.networks[0].standby.driver.as_deref(), Some("kvm"));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for bad in [
            "wake = { qmp = \"run.qmp\" }",
            "wake = { qmp = \"/a\", virsh = \"b\" }",
            "wake = {}",
            "wake = { command = [\"wake\"] }",
            "wake = { command = [\"/bin/{id}\"] }",
            "wake = { command = [\"/bin/wake\", \"{nobody}\"] }",
            "final_pass = { virsh = \"a\" }",
            "create = { rsync = [\"/a\", \"/b\"] }",
            "sync = { rsync = [\"/a\"] }",
            "sync_every = \"1s\"",
            "end = { url = \"http://192.0.2.1/\", secret_file = \"/s\" }",
            "end = { virsh = \"a\", secret_file = \"/s\" }",
            "[[driver]]\nname = \"kvm\"",
        ] {
            assert_eq!(faults(bad).len(), 1, "{bad}: {:?}", faults(bad));
        }
        let text = BASE.replace("kvm", "xen") + "[[driver]]\nname = \"kvm\"\n";
        assert!(check(&text, "test.toml").is_err(), "nobody is called xen");
    }
}
