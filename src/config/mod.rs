//! One TOML file: read as written ([`read`], [`raw`]), checked whole ([`check`](mod@check)),
//! frozen as a [`policy`].
//!
//! The way of a file: [`load`] reads it, [`check()`] parses it with the position of every value;
//! [`node`] walks the tables against the list of known keys in [`schema`], [`keys`] and
//! [`keys_network`]; [`scalar`] and
//! [`options`] understand single values; [`check`](mod@check) compares them with each other. Every
//! fault goes to one sink and none ends the run, so that one run shows all of them.
//!
//! Options are encoded to wire bytes here, once (`options::value`, `encode`); the packet path
//! copies them. Checking opens no file, interface or clock.

mod accounts;
mod agents;
mod api;
mod audit;
mod check;
mod driver;
mod encode;
mod fault;
mod forecast;
mod guard;
mod hook;
mod keys;
mod keys_accounts;
mod keys_api;
mod keys_network;
mod keys_telemetry;
mod lifecycle;
mod limits;
mod links;
mod metrics;
mod node;
mod options;
mod pattern;
pub mod policy;
mod policy6;
mod policy_server;
mod private;
mod raw;
mod raw6;
mod read;
mod read_network;
mod read_network6;
mod reconcile;
pub mod reference;
mod relocation;
mod scalar;
mod scalar6;
mod schema;
mod scrape;
mod secrets;
mod shadow;
mod standby;
mod syntax;
mod telemetry;
mod tiers;
mod window;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use fault::{Place, Sink, Source};
use node::Table;

pub use fault::{FAULTS_MAX, Fault, FaultKind, Faults, Related, Severity};
pub use links::check_links;
pub use policy::Policy;
pub use private::check_private;

/// Largest configuration file, in bytes: some 400,000 reservations.
pub const FILE_BYTES_MAX: usize = 64 << 20;

/// A file that passed every check.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub policy: Policy,
    /// What is allowed but hardly meant.
    pub warnings: Vec<Fault>,
    source: Source,
    /// Where each interface is named, by key.
    interfaces: BTreeMap<String, Place>,
}

impl Loaded {
    /// As the function [`check_links`], with the line of each interface.
    pub fn check_links(&self, existing: &[String]) -> Vec<Fault> {
        let placed = |fault: Fault| {
            let place = self.interfaces.get(&fault.key);
            let mut fault = place.map_or(fault.clone(), |place| fault.at(place));
            self.source.locate(&mut fault);
            fault
        };
        check_links(&self.policy, existing).into_iter().map(placed).collect()
    }

    /// The text of the file, with `"(secret)"` where a secret stood.
    pub fn without_secrets(&self) -> String {
        secrets::hide(self.source.text())
    }

    /// Draws faults of this file, each at its line.
    pub fn render(&self, faults: &[Fault], color: bool) -> String {
        self.source.render(faults, color)
    }
}

/// Reads the file at `path` and checks it.
pub fn load(path: &Path) -> Result<Loaded, Faults> {
    let file = path.display().to_string();
    let unreadable = |message: String| {
        let fault = Fault::unplaced(FaultKind::Unreadable, "", message);
        Faults::new(Source::new(&file, ""), vec![fault])
    };
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    let read = std::fs::File::open(path).and_then(|f| f.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| unreadable(format!("cannot read the file: {error}")))?;
    match String::from_utf8(bytes) {
        Ok(text) => check(&text, &file),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let bytes = error.as_bytes();
            let line = 1 + bytes.iter().take(at).filter(|b| **b == b'\n').count();
            Err(unreadable(format!("not UTF-8 at line {line}, byte {at} of the file")))
        }
    }
}

/// Checks the text of a file; `file` is its name in messages. Never panics, and touches nothing.
pub fn check(text: &str, file: &str) -> Result<Loaded, Faults> {
    let source = Source::new(file, text);
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file is over {FILE_BYTES_MAX} bytes");
        let fault = Fault::unplaced(FaultKind::Limit, "", message);
        return Err(Faults::new(source, vec![fault]));
    }
    let (document, broken) = syntax::parse(text, &source);
    let sink = Sink::default();
    let raw = read::file(&Table::root(document.get_ref(), &sink));
    if !broken.is_empty() {
        let found = syntax::with_values(broken, sink.into_vec(), &source);
        return Err(Faults::new(source, found));
    }
    let interfaces = interface_places(&raw);
    let policy = check::policy(raw, &sink);
    let faults = Faults::new(source, sink.into_vec());
    if faults.has_errors() {
        return Err(faults);
    }
    let (source, warnings) = faults.into_warnings();
    Ok(Loaded { policy, warnings, source, interfaces })
}

fn interface_places(raw: &raw::File) -> BTreeMap<String, Place> {
    let networks = raw.networks.iter().enumerate().flat_map(|(i, network)| {
        let key = move |j| format!("network[{i}].interfaces[{j}]");
        network.interfaces.iter().enumerate().map(move |(j, at)| (key(j), at.place.clone()))
    });
    let relays = raw.relay_interfaces.iter().enumerate();
    networks
        .chain(relays.map(|(i, at)| (format!("server.relay_interfaces[{i}]"), at.place.clone())))
        .collect()
}
