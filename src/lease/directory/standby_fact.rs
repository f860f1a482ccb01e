//! Standbys as facts of the store.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::addr::{parse_hex, write_hex};
use crate::base::{ClientKey, NetworkId, Resource, Timestamp};
use crate::config::policy::OnFailure;
use crate::lease::NextHop;

use super::Identifiers;
use super::standby::{
    Kind, Party, Planned, Readiness, Standby, StandbyState, Step, Switchover, Told,
};

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StandbyFact {
    form: u32,
    network: u32,
    resources: Vec<String>,
    active: PartyFact,
    standby: PartyFact,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<Box<str>>,
    state: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    switchover: Option<SwitchoverFact>,
    #[serde(skip_serializing_if = "Option::is_none")]
    planned: Option<(u64, Box<str>)>,
    progress: u8,
    gated: bool,
    epoch: u64,
    on_failure: Box<str>,
    unfenced: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    told: Vec<ToldFact>,
    created: u64,
    changed: u64,
    until: u64,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PartyFact {
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    circuit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Box<str>>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ToldFact {
    resource: String,
    client: String,
    until: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_hop: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SwitchoverFact {
    kind: Box<str>,
    step: Box<str>,
    forced: bool,
    by: Box<str>,
    started: u64,
    before: Box<str>,
    noted: Vec<(Box<str>, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outage_us: Option<u32>,
}

/// The JSON of a standby, with the number of its form.
pub(super) fn encode(standby: &Standby, form: u32) -> Result<Vec<u8>, serde_json::Error> {
    let switchover = standby.state.switchover().map(|of| SwitchoverFact {
        kind: of.kind.as_str().into(),
        step: of.step.as_str().into(),
        forced: of.forced,
        by: of.by.clone(),
        started: of.started.0,
        before: of.before.as_str().into(),
        noted: of.noted.iter().map(|(step, at)| (step.as_str().into(), at.0)).collect(),
        outage_us: of.outage_us,
    });
    let told = |told: &Told| ToldFact {
        resource: told.resource.to_string(),
        client: hex(told.client.as_bytes()),
        until: told.until.0,
        next_hop: told.next_hop.as_ref().map(NextHop::to_string),
    };
    serde_json::to_vec(&StandbyFact {
        form,
        network: standby.network.0,
        resources: standby.resources.iter().map(Resource::to_string).collect(),
        active: party_fact(&standby.active),
        standby: party_fact(&standby.standby),
        hostname: standby.hostname.as_deref().map(Box::from),
        account: standby.account.as_deref().map(Box::from),
        application: standby.application.as_deref().map(Box::from),
        instance: standby.instance.as_deref().map(Box::from),
        state: standby.state.as_str().into(),
        switchover,
        planned: standby.planned.as_ref().map(|planned| (planned.at.0, planned.by.clone())),
        progress: standby.progress,
        gated: standby.gated,
        epoch: standby.epoch,
        on_failure: standby.on_failure.as_str().into(),
        unfenced: standby.unfenced,
        told: standby.told.iter().map(told).collect(),
        created: standby.created.0,
        changed: standby.changed.0,
        until: standby.until.0,
    })
}

/// Back from [`encode`].
pub(super) fn decode(id: &str, bytes: &[u8]) -> Result<Standby, String> {
    let fact: StandbyFact = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let resources: Result<Vec<Resource>, ()> =
        fact.resources.iter().map(|text| text.parse()).collect();
    let resources = resources.map_err(|()| "a resource is none")?;
    let standby = party(fact.standby)?;
    if resources.is_empty() || standby.who.mac.is_none() || fact.progress > 100 {
        return Err("a pair without addresses or a standby, or with more than all".into());
    }
    let told: Result<Vec<Told>, String> = fact.told.into_iter().map(told).collect();
    Ok(Standby {
        id: id.into(),
        network: NetworkId(fact.network),
        resources,
        active: party(fact.active)?,
        standby,
        hostname: fact.hostname.map(Arc::from),
        account: fact.account.map(Arc::from),
        application: fact.application.map(Arc::from),
        instance: fact.instance.map(Arc::from),
        state: state(&fact.state, fact.switchover)?,
        planned: fact.planned.map(|(at, by)| Planned { at: Timestamp(at), by }),
        progress: fact.progress,
        gated: fact.gated,
        epoch: fact.epoch,
        on_failure: OnFailure::parse(&fact.on_failure)
            .ok_or_else(|| format!("on failure nothing is called `{}`", fact.on_failure))?,
        unfenced: fact.unfenced,
        told: told?,
        created: Timestamp(fact.created),
        changed: Timestamp(fact.changed),
        until: Timestamp(fact.until),
    })
}

fn told(fact: ToldFact) -> Result<Told, String> {
    let client = parse_hex(&fact.client).and_then(|bytes| ClientKey::from_bytes(&bytes));
    let next_hop = fact.next_hop.map(|text| text.parse().map_err(|()| "a next hop is none"));
    Ok(Told {
        resource: fact.resource.parse().map_err(|()| "a resource is none")?,
        client: client.ok_or("a client key is none")?,
        until: Timestamp(fact.until),
        next_hop: next_hop.transpose()?,
    })
}

fn state(word: &str, switchover: Option<SwitchoverFact>) -> Result<StandbyState, String> {
    if let Some(readiness) = Readiness::parse(word).filter(|_| switchover.is_none()) {
        return Ok(readiness.into());
    }
    let of = switchover.ok_or("a switchover of which nothing is said")?;
    let unknown = |what: &str, word: &str| format!("no {what} is called `{word}`");
    let step = |word: &str| Step::parse(word).ok_or_else(|| unknown("step", word));
    let noted = of.noted.iter().map(|(word, at)| Ok((step(word)?, Timestamp(*at))));
    let switchover = Switchover {
        kind: Kind::parse(&of.kind).ok_or_else(|| unknown("kind", &of.kind))?,
        step: step(&of.step)?,
        forced: of.forced,
        by: of.by,
        started: Timestamp(of.started),
        before: Readiness::parse(&of.before).ok_or_else(|| unknown("state", &of.before))?,
        noted: noted.collect::<Result<_, String>>()?,
        outage_us: of.outage_us,
    };
    match word {
        "switching" => Ok(StandbyState::Switching(switchover)),
        "promoted" => Ok(StandbyState::Promoted(switchover)),
        _ => Err(unknown("state", word)),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_hex(&mut text, bytes, "");
    text
}

fn party_fact(party: &Party) -> PartyFact {
    PartyFact {
        mac: party.who.mac.map(|mac| mac.to_string()),
        duid: party.who.duid.as_deref().map(hex),
        client_id: party.who.client_id.as_deref().map(hex),
        circuit: party.who.port.as_deref().map(hex),
        port: party.port.clone(),
        host: party.host.clone(),
    }
}

fn party(fact: PartyFact) -> Result<Party, String> {
    let hex = |text: Option<String>| {
        let bytes = text.as_deref().map(|text| parse_hex(text).ok_or("an identifier is no hex"));
        bytes.transpose().map(|bytes| bytes.map(Box::from))
    };
    let mac = fact.mac.map(|text| text.parse().map_err(|()| "a MAC is none")).transpose()?;
    let who = Identifiers {
        mac,
        duid: hex(fact.duid)?,
        client_id: hex(fact.client_id)?,
        port: hex(fact.circuit)?,
    };
    Ok(Party { who, port: fact.port, host: fact.host })
}
