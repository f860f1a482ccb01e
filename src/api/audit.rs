//! Audit records, and who had an address, as JSON and CSV.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::base::{NetworkId, Resource, Timestamp, Within};
use crate::config::Policy;
use crate::lease::{Act, Cause, Change, Lease};
use crate::store::StoreError;
use crate::store::archive::holder::{Holding, who};
use crate::store::archive::{Entry, Filter};

use super::caller::Scope;
use super::leases::{has_place, network_text, parse_hardware, parse_time, time_text};
use super::view::LeaseView;

/// Records that one request looks at, at most.
pub const LOOKS_MAX: usize = 50_000;

/// An audit record: a change of who has an address, or what somebody did by the API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordView {
    /// Its number: 1 for the first of all, without gaps.
    pub number: u64,
    /// When it happened.
    pub time: String,
    /// `granted`, `released`, `expired` and so on; `lifted` for the end of a quarantine or a shadow, `act` for
    /// what somebody did by the API.
    pub kind: String,
    /// The account that it concerns.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account: Option<String>,
    /// The network.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub network: Option<String>,
    /// The address or prefix.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// The binding as it was from then on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub binding: Option<LeaseView>,
    /// What somebody did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub act: Option<ActView>,
}

/// What somebody did by the API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActView {
    /// Who: a user of this host, a token, a certificate.
    pub who: String,
    /// What: `create`, `change`, `delete`, `release` ...
    pub verb: String,
    /// To what, as a path of the API: `instances/i-7`.
    pub object: String,
    /// The object before; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// The object afterwards; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
}

/// A page of audit records.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RecordsView {
    /// The newest first.
    pub records: Vec<RecordView>,
    /// `cursor` of the next page; absent on the last. A page may be empty and yet not the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// Who had an address at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WhoView {
    /// The address or prefix.
    pub address: String,
    /// The time.
    pub at: String,
    /// On each network that has such an address, as far as the caller may know.
    pub networks: Vec<HolderView>,
}

/// Who had an address on one network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HolderView {
    /// The network.
    pub network: String,
    /// Whether somebody had it.
    pub held: bool,
    /// The binding then. Where nobody had the address: the last one, if any is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub binding: Option<LeaseView>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
    /// Until when, or when it will end unless it is renewed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<String>,
    /// Why it became so: the kind of the audit record.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
    /// The number of the audit record that says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub record: Option<u64>,
}

impl RecordView {
    /// A record as the control plane shows it.
    pub fn of(entry: &Entry, policy: &Policy) -> RecordView {
        let place = entry.place();
        let (mut binding, mut act) = (None, None);
        match &entry.change {
            Change::Put(lease, _) => binding = Some(LeaseView::of(lease, policy)),
            Change::Act(done) => act = Some(ActView::of(done)),
            _ => {}
        }
        RecordView {
            number: entry.number,
            time: time_text(entry.at()),
            kind: entry.kind().into(),
            account: entry.account().map(Into::into),
            network: place.map(|(network, _)| network_text(network, policy)),
            address: place.map(|(_, resource)| resource.to_string()),
            binding,
            act,
        }
    }
}

impl ActView {
    fn of(act: &Act) -> ActView {
        let json = |text: &Option<Box<str>>| {
            let text = text.as_deref()?;
            let read = serde_json::from_str(text).ok().filter(Value::is_object);
            Some(read.unwrap_or_else(|| serde_json::json!({ "text": text })))
        };
        ActView {
            who: act.who.to_string(),
            verb: act.verb.to_string(),
            object: act.object.to_string(),
            before: json(&act.before),
            after: json(&act.after),
        }
    }
}

/// Which records somebody wants, as they said it.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// From this time on.
    pub from: Option<String>,
    /// Up to this time.
    pub to: Option<String>,
    /// About this address or prefix, or inside it.
    pub address: Option<String>,
    /// Of this account.
    pub account: Option<String>,
    /// Of this hardware address or client key.
    pub client: Option<String>,
    /// Of these kinds.
    pub kind: Option<String>,
}

impl Wanted {
    /// What the archive is to look for on `network`, for somebody who may see `scope`.
    /// On error: the field, what was found, and what is expected.
    pub fn filter(
        self,
        network: Option<NetworkId>,
        scope: &Scope,
    ) -> Result<Filter, (&'static str, String)> {
        let time = |field, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => parse_time(text).map(Some).ok_or_else(|| {
                (field, format!("found {text:?}, want a time as in 2026-11-17T14:03:00Z"))
            }),
        };
        let (from, to) = (time("from", &self.from)?, time("to", &self.to)?);
        let within = self.address.map(|text| {
            let fault = |()| ("address", format!("found {text:?}, want an address or a prefix"));
            text.parse::<Within>().map_err(fault)
        });
        let (mut hw, mut client) = (None, None);
        if let Some(text) = &self.client {
            hw = parse_hardware(text);
            client = text.parse().ok().filter(|_| hw.is_none());
            if hw.is_none() && client.is_none() {
                let want = "want 52:54:00:12:34:56, or a client key as in id:01:52:54";
                return Err(("client", format!("found {text:?}, {want}")));
            }
        }
        let kinds = self.kind.iter().flat_map(|text| text.split(',')).map(Box::from);
        Ok(Filter {
            from,
            to,
            network,
            within: within.transpose()?,
            accounts: accounts(self.account.as_deref(), scope),
            hw,
            client,
            kinds: kinds.collect(),
        })
    }
}

/// The accounts whose records are wanted and may be seen; `None` for all there are.
fn accounts(wanted: Option<&str>, scope: &Scope) -> Option<Vec<Box<str>>> {
    match (wanted, scope.accounts()) {
        (None, None) => None,
        (None, Some(allowed)) => Some(allowed.iter().map(|one| Box::from(&**one)).collect()),
        (Some(one), _) => Some(
            Some(one).filter(|one| scope.holds(Some(one))).map(Box::from).into_iter().collect(),
        ),
    }
}

/// Who had `resource` at `at`, on `network` or wherever there is such an address, as far as
/// `scope` may know. `present` are its bindings now.
pub fn ask_who(
    dir: &Path,
    policy: &Policy,
    (resource, network): (Resource, Option<NetworkId>),
    at: Timestamp,
    present: &[Lease],
    scope: &Scope,
) -> Result<WhoView, StoreError> {
    let networks: Vec<NetworkId> = match network {
        Some(network) => vec![network],
        None => policy.networks.iter().map(|network| network.id).collect(),
    };
    let has_place = |id: NetworkId| {
        policy.networks.iter().any(|network| network.id == id && has_place(network, resource))
    };
    let mut found = who(dir, resource, &networks, at, present)?;
    found.retain(|holding| match &holding.lease {
        Some(lease) => scope.holds(lease.details.account.as_deref()),
        None => network.is_some() || holding.record.is_some() || has_place(holding.network),
    });
    let networks = found.iter().map(|holding| HolderView::of(holding, at, policy)).collect();
    Ok(WhoView { address: resource.to_string(), at: time_text(at), networks })
}

impl HolderView {
    fn of(holding: &Holding, at: Timestamp, policy: &Policy) -> HolderView {
        let lease = holding.lease.as_ref();
        HolderView {
            network: network_text(holding.network, policy),
            held: holding.is_held_at(at),
            binding: lease.map(|lease| LeaseView::of(lease, policy)),
            from: lease.map(|lease| time_text(lease.since)),
            until: holding.until.map(time_text),
            cause: holding.cause.map(Cause::as_str).map(Into::into),
            record: holding.record,
        }
    }
}

/// One row of CSV.
#[derive(Serialize)]
struct Row<'a> {
    number: u64,
    time: &'a str,
    kind: &'a str,
    account: Option<&'a str>,
    network: Option<&'a str>,
    address: Option<&'a str>,
    state: Option<&'a str>,
    client: Option<&'a str>,
    hardware: Option<&'a str>,
    hostname: Option<&'a str>,
    application: Option<&'a str>,
    instance: Option<&'a str>,
    since: Option<&'a str>,
    until: Option<&'a str>,
    who: Option<&'a str>,
    verb: Option<&'a str>,
    object: Option<&'a str>,
    before: Option<String>,
    after: Option<String>,
}

impl Row<'_> {
    fn of(record: &RecordView) -> Row<'_> {
        let (binding, act) = (record.binding.as_ref(), record.act.as_ref());
        let json = |value: Option<&Value>| value.map(Value::to_string);
        Row {
            number: record.number,
            time: &record.time,
            kind: &record.kind,
            account: record.account.as_deref(),
            network: record.network.as_deref(),
            address: record.address.as_deref(),
            state: binding.map(|it| it.state.as_str()),
            client: binding.and_then(|it| it.client.as_deref()),
            hardware: binding.and_then(|it| it.hardware.as_deref()),
            hostname: binding.and_then(|it| it.hostname.as_deref()),
            application: binding.and_then(|it| it.application.as_deref()),
            instance: binding.and_then(|it| it.instance.as_deref()),
            since: binding.and_then(|it| it.since.as_deref()),
            until: binding.and_then(|it| it.until.as_deref()),
            who: act.map(|it| it.who.as_str()),
            verb: act.map(|it| it.verb.as_str()),
            object: act.map(|it| it.object.as_str()),
            before: json(act.and_then(|it| it.before.as_ref())),
            after: json(act.and_then(|it| it.after.as_ref())),
        }
    }
}

/// Writes rows of CSV, below a header if `is_first`.
pub fn write_csv(
    records: &[RecordView],
    is_first: bool,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let mut rows = csv::WriterBuilder::new().has_headers(false).from_writer(out);
    if is_first {
        rows.write_record(COLUMNS)?;
    }
    for record in records {
        rows.serialize(Row::of(record))?;
    }
    rows.flush()
}

/// The fields of a row, in its order.
const COLUMNS: [&str; 19] = [
    "number",
    "time",
    "kind",
    "account",
    "network",
    "address",
    "state",
    "client",
    "hardware",
    "hostname",
    "application",
    "instance",
    "since",
    "until",
    "who",
    "verb",
    "object",
    "before",
    "after",
];

/// Writes records as JSON, one a line.
pub fn write_lines(records: &[RecordView], out: &mut impl Write) -> std::io::Result<()> {
    for record in records {
        serde_json::to_writer(&mut *out, record)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}
