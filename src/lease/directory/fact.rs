//! Entries as facts of the store: JSON with the number of its form.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::addr::{parse_hex, write_hex};
use crate::base::{NetworkId, Prefix6, Resource, Span, Timestamp};
use crate::config::policy::{
    Account, Application, Block, Hold, Level, Rate, ShadowTerms, Terms, TierOrder,
};

use super::entry::{Entry, Host, Identifiers, Instance, Kept, KeptParts};
use super::prediction::{Foresight, Prediction};
use super::standby_fact;
use crate::lease::Foreseer;

/// The form that this version writes; it reads no newer one.
const FORM: u32 = 1;

/// Why a fact cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactError {
    /// Written by a newer version.
    #[error("{name}: form {found} is newer than this version's {FORM}; downgrades are refused")]
    Newer {
        /// The fact.
        name: Box<str>,
        /// Its form.
        found: u32,
    },
    /// It is not what was written.
    #[error("{name}: {why}")]
    Damaged {
        /// The fact.
        name: Box<str>,
        /// What is wrong.
        why: Box<str>,
    },
}

#[derive(Serialize, Deserialize)]
struct Form {
    form: u32,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct KeptFact {
    form: u32,
    network: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    v4: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    v6: Vec<Ipv6Addr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prefixes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<Box<str>>,
    created: u64,
    changed: u64,
    #[serde(skip_serializing_if = "is_false")]
    mac_made: bool,
    #[serde(skip_serializing_if = "is_false")]
    duid_seen: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    wished: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Box<str>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<Box<str>, Box<str>>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TermsFact {
    form: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_addresses: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_prefixes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_standbys: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<(u32, u32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_min_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_max_ms: Option<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    shadow_ready: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow_max: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow_quantile: Option<u8>,
    #[serde(skip_serializing_if = "is_false")]
    shadow_contiguous: bool,
    #[serde(skip_serializing_if = "is_false")]
    shadow_sticky: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    networks: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pools: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ForesightFact {
    form: u32,
    current: Option<SaidFact>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<SaidFact>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SaidFact {
    id: Box<str>,
    by: Box<str>,
    made: u64,
    until: u64,
    count: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quantiles: Vec<(u8, u32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_type: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requirements: Option<Box<str>>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// The bytes of an entry.
pub(super) fn encode(entry: &Entry) -> Box<[u8]> {
    let json = match entry {
        Entry::Instance(instance) => serde_json::to_vec(&KeptFact {
            created: instance.created.0,
            changed: instance.changed.0,
            mac_made: instance.mac_made,
            duid_seen: instance.duid_seen,
            wished: instance.wished.iter().map(Resource::to_string).collect(),
            region: instance.region.clone(),
            tags: instance.tags.clone(),
            ..kept_fact(&instance.kept)
        }),
        Entry::Host(host) => serde_json::to_vec(&KeptFact {
            created: host.created.0,
            changed: host.changed.0,
            ..kept_fact(&host.kept)
        }),
        Entry::Account(account) => serde_json::to_vec(&TermsFact {
            networks: account.networks.iter().map(|id| id.0).collect(),
            pools: account.pools.iter().map(Block::to_string).collect(),
            ..terms_fact(&account.terms)
        }),
        Entry::Application(_, application) => serde_json::to_vec(&terms_fact(&application.terms)),
        Entry::Foresight(foresight) => serde_json::to_vec(&ForesightFact {
            form: FORM,
            current: Some(said_fact(&foresight.current)),
            previous: foresight.previous.as_ref().map(said_fact),
        }),
        Entry::Standby(standby) => standby_fact::encode(standby, FORM),
    };
    // Text, numbers and maps with text for keys: there is nothing that JSON cannot say.
    json.unwrap_or_default().into()
}

fn kept_fact(kept: &Kept) -> KeptFact {
    let hex = |bytes: &[u8]| {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write_hex(&mut text, bytes, "");
        text
    };
    KeptFact {
        form: FORM,
        network: kept.network.0,
        mac: kept.who.mac.map(|mac| mac.to_string()),
        duid: kept.who.duid.as_deref().map(hex),
        client_id: kept.who.client_id.as_deref().map(hex),
        port: kept.who.port.as_deref().map(hex),
        v4: kept.v4,
        v6: kept.v6.clone(),
        prefixes: kept.prefixes.iter().map(Prefix6::to_string).collect(),
        hostname: kept.hostname.as_deref().map(Box::from),
        account: kept.settings.account.as_deref().map(Box::from),
        application: kept.settings.application.as_deref().map(Box::from),
        ..KeptFact::default()
    }
}

fn terms_fact(terms: &Terms) -> TermsFact {
    TermsFact {
        form: FORM,
        level: terms.level.map(|level| level.as_str().into()),
        priority: terms.priority,
        max_addresses: terms.max_addresses,
        max_prefixes: terms.max_prefixes,
        max_standbys: terms.max_standbys,
        requests: terms.requests.map(|rate| (rate.per_s, rate.burst)),
        hold_min_ms: terms.hold.min.map(|span| span.0),
        hold_max_ms: terms.hold.max.map(|span| span.0),
        shadow_ready: terms.shadow.ready,
        shadow_max: terms.shadow.max,
        shadow_quantile: terms.shadow.quantile,
        shadow_contiguous: terms.shadow.contiguous,
        shadow_sticky: terms.shadow.sticky,
        tier: terms.tier.map(|order| order.text()),
        ..TermsFact::default()
    }
}

/// Reads the entry of that name; `None` if facts of such a name are somebody else's.
pub(super) fn decode(name: &str, bytes: &[u8]) -> Option<Result<Entry, FactError>> {
    let (kind, id) = name.split_once('/')?;
    let read: fn(&str, &[u8]) -> Result<Entry, String> = match kind {
        "instance" => instance,
        "host" => host,
        "account" => account,
        "application" => application,
        "foresight" => foresight,
        "standby" => |id, bytes| Ok(Entry::Standby(Arc::new(standby_fact::decode(id, bytes)?))),
        _ => return None,
    };
    let damaged = |why: String| FactError::Damaged { name: name.into(), why: why.into() };
    Some(match serde_json::from_slice::<Form>(bytes) {
        Ok(Form { form }) if form > FORM => {
            Err(FactError::Newer { name: name.into(), found: form })
        }
        Ok(_) => read(id, bytes).map_err(damaged),
        Err(error) => Err(damaged(error.to_string())),
    })
}

fn parse<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn instance(id: &str, bytes: &[u8]) -> Result<Entry, String> {
    let mut fact: KeptFact = parse(bytes)?;
    let id: Arc<str> = id.into();
    let wished: Result<_, _> = fact.wished.iter().map(|text| text.parse()).collect();
    let (region, tags) = (fact.region.take(), std::mem::take(&mut fact.tags));
    let (created, changed) = (Timestamp(fact.created), Timestamp(fact.changed));
    let (mac_made, duid_seen) = (fact.mac_made, fact.duid_seen);
    Ok(Entry::Instance(Arc::new(Instance {
        kept: kept(fact, Some(id.clone()))?,
        id,
        mac_made,
        duid_seen,
        wished: wished.map_err(|_| "a wished address is none")?,
        region,
        tags,
        created,
        changed,
    })))
}

fn host(id: &str, bytes: &[u8]) -> Result<Entry, String> {
    let fact: KeptFact = parse(bytes)?;
    let (created, changed) = (Timestamp(fact.created), Timestamp(fact.changed));
    let kept = kept(fact, None)?;
    Ok(Entry::Host(Arc::new(Host { id: id.into(), kept, created, changed })))
}

fn kept(fact: KeptFact, instance: Option<Arc<str>>) -> Result<Arc<Kept>, String> {
    let hex = |text: Option<String>| {
        let bytes = text.as_deref().map(|text| parse_hex(text).ok_or("an identifier is no hex"));
        bytes.transpose().map(|bytes| bytes.map(Box::from))
    };
    let mac = fact.mac.map(|text| text.parse().map_err(|()| "a MAC is none")).transpose()?;
    let prefixes: Result<_, _> = fact.prefixes.iter().map(|text| text.parse()).collect();
    Ok(Arc::new(Kept::new(KeptParts {
        network: NetworkId(fact.network),
        who: Identifiers {
            mac,
            duid: hex(fact.duid)?,
            client_id: hex(fact.client_id)?,
            port: hex(fact.port)?,
        },
        v4: fact.v4,
        v6: fact.v6,
        prefixes: prefixes.map_err(|_| "a prefix is none")?,
        hostname: fact.hostname.map(Arc::from),
        account: fact.account.map(Arc::from),
        application: fact.application.map(Arc::from),
        instance,
    })))
}

fn account(name: &str, bytes: &[u8]) -> Result<Entry, String> {
    let fact: TermsFact = parse(bytes)?;
    let pools: Result<_, _> = fact.pools.iter().map(|text| text.parse()).collect();
    Ok(Entry::Account(Arc::new(Account {
        name: name.into(),
        networks: fact.networks.iter().map(|id| NetworkId(*id)).collect(),
        pools: pools.map_err(|_| "a pool is no range")?,
        terms: terms(fact)?,
        applications: Vec::new(),
    })))
}

fn application(name: &str, bytes: &[u8]) -> Result<Entry, String> {
    let (account, name) = name.split_once('/').ok_or("an application without an account")?;
    let terms = terms(parse(bytes)?)?;
    Ok(Entry::Application(account.into(), Arc::new(Application { name: name.into(), terms })))
}

fn foresight(name: &str, bytes: &[u8]) -> Result<Entry, String> {
    let fact: ForesightFact = parse(bytes)?;
    let mut parts = name.splitn(3, '/');
    let mut part = || parts.next().ok_or("a name that is short of parts");
    let (network, account, application) = (part()?, part()?, part()?);
    let network = u32::from_str_radix(network, 16).map_err(|_| "a network that is none")?;
    let application = Some(application).filter(|name| !name.is_empty()).map(Arc::from);
    Ok(Entry::Foresight(Arc::new(Foresight {
        network: NetworkId(network),
        owner: (account.into(), application),
        current: said(fact.current.ok_or("nothing is foreseen")?)?,
        previous: fact.previous.map(said).transpose()?,
    })))
}

fn said_fact(said: &Prediction) -> SaidFact {
    SaidFact {
        id: (*said.id).into(),
        by: said.by.as_str().into(),
        made: said.made.0,
        until: said.until.0,
        count: said.count,
        quantiles: said.quantiles.clone(),
        instance_type: said.instance_type.clone(),
        region: said.region.clone(),
        requirements: said.requirements.clone(),
    }
}

fn said(fact: SaidFact) -> Result<Prediction, String> {
    let by = Foreseer::ALL.into_iter().find(|by| by.as_str() == &*fact.by);
    Ok(Prediction {
        id: fact.id.into(),
        by: by.ok_or_else(|| format!("nobody is called `{}`", fact.by))?,
        made: Timestamp(fact.made),
        until: Timestamp(fact.until),
        count: fact.count,
        quantiles: fact.quantiles,
        instance_type: fact.instance_type,
        region: fact.region,
        requirements: fact.requirements,
    })
}

fn terms(fact: TermsFact) -> Result<Terms, String> {
    let word = |text: String| {
        let found = Level::WORDS.iter().find(|(word, _)| *word == text);
        found.map(|(_, level)| *level).ok_or(format!("no level `{text}`"))
    };
    let order = |text: String| {
        TierOrder::parse(&text).ok_or_else(|| format!("no tiers are called `{text}`"))
    };
    Ok(Terms {
        tier: fact.tier.map(order).transpose()?,
        level: fact.level.map(word).transpose()?,
        priority: fact.priority,
        max_addresses: fact.max_addresses,
        max_prefixes: fact.max_prefixes,
        max_standbys: fact.max_standbys,
        requests: fact.requests.map(|(per_s, burst)| Rate { per_s, burst }),
        hold: Hold { min: fact.hold_min_ms.map(Span), max: fact.hold_max_ms.map(Span) },
        shadow: ShadowTerms {
            ready: fact.shadow_ready,
            max: fact.shadow_max,
            quantile: fact.shadow_quantile,
            contiguous: fact.shadow_contiguous,
            sticky: fact.shadow_sticky,
            ranges: Vec::new(),
        },
    })
}
