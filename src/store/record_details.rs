//! The details of a binding in a stored [`record`](super::record).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::base::Timestamp;
use crate::config::policy::Tier;
use crate::lease::{Details, Drain, Foreseen, Foreseer, Lease, Mover, NextHop, Uses};

use super::reader::Reader;
use super::record::{put_bytes, put_varint};
use super::record_error::RecordError;

const HOSTNAME: u8 = 0x01;
const ACCOUNT: u8 = 0x02;
const CIRCUIT: u8 = 0x04;
const REMOTE: u8 = 0x08;
const RELAY: u8 = 0x10;
const NEXT_HOP: u8 = 0x20;
const BOOT_STAGE: u8 = 0x40;

const APPLICATION: u8 = 0x01;
const INSTANCE: u8 = 0x02;
const FORESEEN: u8 = 0x04;
const USES: u8 = 0x08;
const TIER: u8 = 0x10;
const DRAINING: u8 = 0x20;
const WAKES: u8 = 0x40;

/// Which details of the first byte there are.
pub(super) fn flags(details: &Details) -> u8 {
    let flag = |there: bool, bit: u8| if there { bit } else { 0 };
    flag(details.hostname.is_some(), HOSTNAME)
        | flag(details.account.is_some(), ACCOUNT)
        | flag(details.circuit_id.is_some(), CIRCUIT)
        | flag(details.remote_id.is_some(), REMOTE)
        | flag(details.relay.is_some(), RELAY)
        | flag(details.next_hop.is_some(), NEXT_HOP)
        | flag(details.boot_stage, BOOT_STAGE)
}

/// Which of the second there are.
pub(super) fn more_flags(lease: &Lease) -> u8 {
    let flag = |there: bool, bit: u8| if there { bit } else { 0 };
    let details = &lease.details;
    flag(details.application.is_some(), APPLICATION)
        | flag(details.instance.is_some(), INSTANCE)
        | flag(details.foreseen.is_some(), FORESEEN)
        | flag(lease.uses != Uses::default(), USES)
        | flag(details.tier.is_some(), TIER)
        | flag(details.draining.is_some(), DRAINING)
        | flag(details.wakes, WAKES)
}

/// Those of the first byte.
pub(super) fn put_details(details: &Details, out: &mut Vec<u8>) {
    let Details { hostname, account, circuit_id, remote_id, relay, next_hop, .. } = details;
    if let Some(hostname) = hostname {
        put_bytes(hostname.as_bytes(), out);
    }
    if let Some(account) = account {
        put_bytes(account.as_bytes(), out);
    }
    if let Some(circuit) = circuit_id {
        put_bytes(circuit, out);
    }
    if let Some(remote) = remote_id {
        put_bytes(remote, out);
    }
    if let Some(relay) = relay {
        out.extend_from_slice(&relay.octets());
    }
    if let Some(NextHop { addr, link }) = next_hop {
        out.extend_from_slice(&addr.octets());
        put_bytes(link.as_deref().unwrap_or_default().as_bytes(), out);
    }
}

/// Those of the second byte, and the byte.
pub(super) fn put_more(flags: u8, lease: &Lease, out: &mut Vec<u8>) {
    let details = &lease.details;
    out.push(flags);
    let texts = [&details.application, &details.instance];
    texts.into_iter().flatten().for_each(|text| put_bytes(text.as_bytes(), out));
    if let Some(foreseen) = &details.foreseen {
        put_foreseen(foreseen, out);
    }
    if flags & USES != 0 {
        out.extend_from_slice(&lease.uses.binds.to_le_bytes());
        out.push(lease.uses.traffic);
    }
    out.extend(details.tier.map(|tier| tier as u8));
    if let Some(Drain { since, by }) = details.draining {
        out.push(by as u8);
        put_varint(since.0, out);
    }
}

fn put_foreseen(foreseen: &Foreseen, out: &mut Vec<u8>) {
    let by = Foreseer::ALL.iter().position(|by| *by == foreseen.by);
    out.push(by.and_then(|by| u8::try_from(by).ok()).unwrap_or_default());
    for text in [&foreseen.prediction, &foreseen.instance_type] {
        put_bytes(text.as_deref().unwrap_or_default().as_bytes(), out);
    }
}

/// Reads those of the first byte.
pub(super) fn details(flags: u8, r: &mut Reader<'_>) -> Result<Details, RecordError> {
    let has = |bit: u8| flags & bit != 0;
    let mut details = Details { boot_stage: has(BOOT_STAGE), ..Details::default() };
    if has(HOSTNAME) {
        details.hostname = Some(r.text("hostname")?.into());
    }
    if has(ACCOUNT) {
        details.account = Some(r.text("account")?.into());
    }
    if has(CIRCUIT) {
        details.circuit_id = Some(r.bytes("circuit id")?.into());
    }
    if has(REMOTE) {
        details.remote_id = Some(r.bytes("remote id")?.into());
    }
    if has(RELAY) {
        details.relay = Some(Ipv4Addr::from(r.array::<4>("relay")?));
    }
    if has(NEXT_HOP) {
        let addr = Ipv6Addr::from(r.array::<16>("next hop")?);
        let link = Some(r.text("interface")?).filter(|link| !link.is_empty()).map(Box::from);
        details.next_hop = Some(NextHop { addr, link });
    }
    Ok(details)
}

/// Reads those of the second.
pub(super) fn more_details(details: &mut Details, r: &mut Reader<'_>) -> Result<Uses, RecordError> {
    let flags = r.u8("more flags")?;
    if flags == 0
        || flags & !(APPLICATION | INSTANCE | FORESEEN | USES | TIER | DRAINING | WAKES) != 0
    {
        return Err(RecordError::Field("more flags"));
    }
    if flags & APPLICATION != 0 {
        details.application = Some(r.text("application")?.into());
    }
    if flags & INSTANCE != 0 {
        details.instance = Some(r.text("instance")?.into());
    }
    if flags & FORESEEN != 0 {
        details.foreseen = Some(Box::new(foreseen(r)?));
    }
    details.wakes = flags & WAKES != 0;
    let mut uses = Uses::default();
    if flags & USES != 0 {
        uses = Uses { binds: u16::from_le_bytes(r.array("binds")?), traffic: r.u8("traffic")? };
    }
    if flags & TIER != 0 {
        let tier = Tier::ALL.get(usize::from(r.u8("tier")?)).copied();
        details.tier = Some(tier.ok_or(RecordError::Field("tier"))?);
    }
    if flags & DRAINING != 0 {
        let by = match r.u8("mover")? {
            0 => Mover::Policy,
            1 => Mover::Operator,
            _ => return Err(RecordError::Field("mover")),
        };
        details.draining = Some(Drain { since: Timestamp(r.varint("draining")?), by });
    }
    Ok(uses)
}

fn foreseen(r: &mut Reader<'_>) -> Result<Foreseen, RecordError> {
    let by = Foreseer::ALL.get(usize::from(r.u8("foreseer")?)).copied();
    let by = by.ok_or(RecordError::Field("foreseer"))?;
    let word = |text: &str| Some(text).filter(|text| !text.is_empty()).map(Box::from);
    let prediction = word(r.text("prediction")?);
    Ok(Foreseen { by, prediction, instance_type: word(r.text("instance type")?) })
}
