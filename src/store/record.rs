//! The byte format of one durable fact.
//!
//! A record is what journals and checkpoint blocks are made of. It stands for itself: it says its
//! version and kind, and ends in its own checksum, so that one damaged record spoils no other.
//!
//! ```text
//! record  := version:u8 (= 1)  kind:u8  body  crc32c:u32      (checksum of all before it)
//! kind    := 1 put  2 remove  3 meta;  since format 2:  4 put, why  5 remove, when  6 forget  7 act
//! put     := network:u32 resource client:bytes flags:u8 hw state since updated until details
//! put, why:= cause:u8 (1 imported: at:varint ms) put                      (`Cause::code`)
//! remove  := network:u32 resource
//! remove, when := at:varint ms, remove
//! meta    := name:text value:bytes
//! forget  := name:text
//! act     := at:varint ms  flags:u8 who:text verb:text object:text
//!            per flag: 1 account:text  2 before:text  4 after:text
//! resource:= 4 addr[4]  |  6 addr[16]  |  7 addr[16] length:u8
//! hw      := nothing (flag 0x80: the client key is this hardware address)  |  htype:u8 bytes
//! state   := 1 leased  2 expired  3 released  4 declined  5 in use, mac[6]  6 quarantined
//!            7 leaving  8 demand shadow;  with 0x80: more details follow (since format 2)
//! since   := varint ms;  updated := varint (updated - since);  until := varint (until - updated)
//! details := per flag, in this order: 0x01 hostname:text  0x02 account:text  0x04 circuit:bytes
//!            0x08 remote:bytes  0x10 relay[4]  0x20 hop[16] link:text (empty: none);
//!            0x40 is the boot stage;  then, if more follow: flags:u8
//!            per flag, in this order: 0x01 application:text  0x02 instance:text
//!            0x04 foreseen: by:u8 (0 policy 1 prediction 2 forecast 3 operator)
//!            prediction:text type:text (empty: none)
//!            0x08 uses: binds:u16 traffic:u8 (else: bound once)
//!            0x10 tier:u8 (0 hot 1 warm 2 cold)
//!            0x20 draining: by:u8 (0 policy 1 operator) since:varint
//!            0x40 wakes
//! bytes   := length:varint, so many bytes;  text := bytes in UTF-8, any character allowed
//! ```
//!
//! Integers of fixed size are little endian; a varint has seven bits a byte, lowest first, at
//! most ten bytes. Differences wrap, so every pair of times survives. Unknown versions, kinds,
//! tags and flags are errors, never guesses; nothing may follow the body. A binding that is merely
//! renewed is kind 1, which says no reason; what the archive keeps has a kind of its own.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, LazyLock};

pub(super) use super::reader::Reader;
use super::record_details::{details, flags, more_details, more_flags, put_details, put_more};
pub use super::record_error::RecordError;
use crate::base::{ClientKey, HwAddr, Mac, NetworkId, Resource, Timestamp};
use crate::lease::{Act, Cause, Change, Details, Lease, QuarantineReason, State, Uses};

/// The longest record, in bytes: the largest lease fits four times over.
pub const RECORD_MAX: usize = 6000;

/// The version that is written.
pub(super) const VERSION: u8 = 1;

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const META: u8 = 3;
const PUT_WHY: u8 = 4;
const REMOVE_WHEN: u8 = 5;
const FORGET: u8 = 6;
pub(super) const ACT: u8 = 7;

const ACT_ACCOUNT: u8 = 1;
const ACT_BEFORE: u8 = 2;
const ACT_AFTER: u8 = 4;

const HW_IS_CLIENT: u8 = 0x80;

/// In the byte of the state.
const MORE: u8 = 0x80;

/// Shared by all bindings that have none: a million small pieces of memory that are given back one
/// by one leave a million holes.
static NO_DETAILS: LazyLock<Arc<Details>> = LazyLock::new(Arc::default);

/// Appends the record of `change` to `out`; on an error `out` is as it was.
pub fn encode(change: &Change, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let start = out.len();
    let done = encode_body(change, out).and_then(|()| {
        let length = out.len() - start + 4;
        if length > RECORD_MAX { Err(RecordError::TooLong(length)) } else { Ok(()) }
    });
    match done {
        Ok(()) => {
            let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
            out.extend_from_slice(&crc.to_le_bytes());
        }
        Err(_) => out.truncate(start),
    }
    done
}

/// Reads one whole record; whatever the bytes are, it ends in a fact or an error.
pub fn decode(bytes: &[u8]) -> Result<Change, RecordError> {
    if bytes.len() > RECORD_MAX {
        return Err(RecordError::TooLong(bytes.len()));
    }
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or(RecordError::Short("checksum"))?;
    let (found, want) = (u32::from_le_bytes(*crc), crc32c::crc32c(body));
    if found != want {
        return Err(RecordError::Checksum { found, want });
    }
    let mut r = Reader { rest: body };
    match r.u8("version")? {
        VERSION => {}
        other => return Err(RecordError::Version(other)),
    }
    let change = match r.u8("kind")? {
        PUT => Change::Put(lease(&mut r)?, Cause::Renewed),
        PUT_WHY => {
            let cause = cause(&mut r)?;
            Change::Put(lease(&mut r)?, cause)
        }
        REMOVE => remove(None, &mut r)?,
        REMOVE_WHEN => {
            let at = Timestamp(r.varint("time")?);
            remove(Some(at), &mut r)?
        }
        FORGET => Change::Forget(r.text("name")?.into()),
        ACT => Change::Act(Box::new(act(&mut r)?)),
        META => Change::Meta(r.text("name")?.into(), r.bytes("value")?.into()),
        other => return Err(RecordError::Kind(other)),
    };
    if r.rest.is_empty() { Ok(change) } else { Err(RecordError::Trailing(r.rest.len())) }
}

/// Whether an encoded record takes a fact away instead of stating one.
pub(super) fn is_removal(record: &[u8]) -> bool {
    matches!(record.get(1), Some(&(REMOVE | REMOVE_WHEN | FORGET)))
}

/// Whether the archive keeps an encoded record: it changes who holds an address, or says what
/// somebody did.
pub(super) fn is_kept(record: &[u8]) -> bool {
    matches!(record.get(1), Some(&(PUT_WHY | REMOVE_WHEN | ACT)))
}

fn encode_body(change: &Change, out: &mut Vec<u8>) -> Result<(), RecordError> {
    out.push(VERSION);
    match change {
        Change::Put(lease, cause) => {
            put_cause(*cause, out);
            put_lease(lease, out)?;
        }
        Change::Remove(network, resource, lifted) => {
            out.push(if lifted.is_some() { REMOVE_WHEN } else { REMOVE });
            if let Some(at) = lifted {
                put_varint(at.0, out);
            }
            out.extend_from_slice(&network.0.to_le_bytes());
            put_resource(*resource, out);
        }
        Change::Meta(name, value) => {
            out.push(META);
            put_bytes(name.as_bytes(), out);
            put_bytes(value, out);
        }
        Change::Forget(name) => {
            out.push(FORGET);
            put_bytes(name.as_bytes(), out);
        }
        Change::Act(act) => {
            out.push(ACT);
            put_act(act, out);
        }
    }
    Ok(())
}

/// The kind of a binding's record, and its cause where it is kept.
fn put_cause(cause: Cause, out: &mut Vec<u8>) {
    if !cause.is_kept() {
        return out.push(PUT);
    }
    out.extend_from_slice(&[PUT_WHY, cause.code()]);
    if let Cause::Imported(at) = cause {
        put_varint(at.0, out);
    }
}

fn put_act(act: &Act, out: &mut Vec<u8>) {
    let Act { at, who, verb, object, account, before, after } = act;
    let optional = [(ACT_ACCOUNT, account), (ACT_BEFORE, before), (ACT_AFTER, after)];
    let flags = optional.iter().filter(|(_, text)| text.is_some()).map(|(flag, _)| flag);
    put_varint(at.0, out);
    out.push(flags.fold(0, |all, flag| all | flag));
    for text in
        [who, verb, object].into_iter().chain(optional.iter().filter_map(|(_, t)| t.as_ref()))
    {
        put_bytes(text.as_bytes(), out);
    }
}

fn put_lease(lease: &Lease, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let hw_is_client = lease.client == ClientKey::hardware(&lease.hw);
    out.extend_from_slice(&lease.network.0.to_le_bytes());
    put_resource(lease.resource, out);
    put_bytes(lease.client.as_bytes(), out);
    out.push(flags(&lease.details) | if hw_is_client { HW_IS_CLIENT } else { 0 });
    if !hw_is_client {
        out.push(lease.hw.htype());
        put_bytes(lease.hw.bytes(), out);
    }
    let more = more_flags(lease);
    put_state(lease.state, if more == 0 { 0 } else { MORE }, out)?;
    put_varint(lease.since.0, out);
    put_varint(lease.updated.0.wrapping_sub(lease.since.0), out);
    put_varint(lease.until.0.wrapping_sub(lease.updated.0), out);
    put_details(&lease.details, out);
    if more != 0 {
        put_more(more, lease, out);
    }
    Ok(())
}

fn put_state(state: State, more: u8, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let tag = match state {
        State::Leased => 1,
        State::Expired => 2,
        State::Released => 3,
        State::Quarantined(QuarantineReason::Declined) => 4,
        State::Quarantined(QuarantineReason::InUse(_)) => 5,
        State::Quarantined(QuarantineReason::Operator) => 6,
        State::Quarantined(QuarantineReason::Leaving) => 7,
        State::Shadow => 8,
    };
    out.push(tag | more);
    if let State::Quarantined(QuarantineReason::InUse(mac)) = state {
        out.extend_from_slice(&mac.0);
    }
    Ok(())
}

fn put_resource(resource: Resource, out: &mut Vec<u8>) {
    match resource {
        Resource::V4(addr) => {
            out.push(4);
            out.extend_from_slice(&addr.octets());
        }
        Resource::V6(addr) => {
            out.push(6);
            out.extend_from_slice(&addr.octets());
        }
        Resource::Prefix6(addr, length) => {
            out.push(7);
            out.extend_from_slice(&addr.octets());
            out.push(length);
        }
    }
}

pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Seven bits a byte, lowest first; the top bit says that more follow.
pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn cause(r: &mut Reader<'_>) -> Result<Cause, RecordError> {
    let code = r.u8("cause")?;
    if code == Cause::Imported(Timestamp(0)).code() {
        return Ok(Cause::Imported(Timestamp(r.varint("time")?)));
    }
    let mut kept = Cause::TIMELESS.iter().filter(|cause| cause.is_kept());
    kept.find(|cause| cause.code() == code).copied().ok_or(RecordError::Field("cause"))
}

fn remove(lifted: Option<Timestamp>, r: &mut Reader<'_>) -> Result<Change, RecordError> {
    Ok(Change::Remove(NetworkId(r.u32("network")?), resource(r)?, lifted))
}

fn act(r: &mut Reader<'_>) -> Result<Act, RecordError> {
    let at = Timestamp(r.varint("time")?);
    let flags = r.u8("flags")?;
    if flags & !(ACT_ACCOUNT | ACT_BEFORE | ACT_AFTER) != 0 {
        return Err(RecordError::Field("flags"));
    }
    let [who, verb, object] = [r.text("who")?, r.text("verb")?, r.text("object")?].map(Box::from);
    let mut optional = |flag: u8, what| -> Result<Option<Box<str>>, RecordError> {
        if flags & flag == 0 { Ok(None) } else { r.text(what).map(|text| Some(text.into())) }
    };
    let account = optional(ACT_ACCOUNT, "account")?;
    let before = optional(ACT_BEFORE, "state before")?;
    let after = optional(ACT_AFTER, "state after")?;
    Ok(Act { at, who, verb, object, account, before, after })
}

fn lease(r: &mut Reader<'_>) -> Result<Lease, RecordError> {
    let network = NetworkId(r.u32("network")?);
    let resource = resource(r)?;
    let client =
        ClientKey::from_bytes(r.bytes("client")?).ok_or(RecordError::Field("client key"))?;
    let flags = r.u8("flags")?;
    let hw = if flags & HW_IS_CLIENT != 0 { client_hw(&client) } else { hw(r)? };
    let hw = hw.ok_or(RecordError::Field("hardware address"))?;
    let (state, has_more) = state(r)?;
    let since = Timestamp(r.varint("since")?);
    let updated = Timestamp(since.0.wrapping_add(r.varint("updated")?));
    let until = Timestamp(updated.0.wrapping_add(r.varint("until")?));
    let mut uses = Uses::default();
    let details = match flags & !HW_IS_CLIENT {
        0 if !has_more => Arc::clone(&NO_DETAILS),
        flags => {
            let mut details = details(flags, r)?;
            if has_more {
                uses = more_details(&mut details, r)?;
            }
            if details == **NO_DETAILS { Arc::clone(&NO_DETAILS) } else { Arc::new(details) }
        }
    };
    let port = None;
    Ok(Lease { network, resource, client, hw, state, since, updated, until, port, uses, details })
}

/// The hardware address inside a client key: kind, type, address.
fn client_hw(client: &ClientKey) -> Option<HwAddr> {
    let (htype, addr) = client.as_bytes().get(1..)?.split_first()?;
    HwAddr::new(*htype, addr).filter(|hw| ClientKey::hardware(hw) == *client)
}

fn hw(r: &mut Reader<'_>) -> Result<Option<HwAddr>, RecordError> {
    let htype = r.u8("hardware type")?;
    Ok(HwAddr::new(htype, r.bytes("hardware address")?))
}

/// The state, and whether more details follow.
fn state(r: &mut Reader<'_>) -> Result<(State, bool), RecordError> {
    let tag = r.u8("state")?;
    let state = match tag & !MORE {
        1 => State::Leased,
        2 => State::Expired,
        3 => State::Released,
        4 => State::Quarantined(QuarantineReason::Declined),
        5 => State::Quarantined(QuarantineReason::InUse(Mac(r.array("state")?))),
        6 => State::Quarantined(QuarantineReason::Operator),
        7 => State::Quarantined(QuarantineReason::Leaving),
        8 => State::Shadow,
        _ => return Err(RecordError::Field("state")),
    };
    Ok((state, tag & MORE != 0))
}

fn resource(r: &mut Reader<'_>) -> Result<Resource, RecordError> {
    Ok(match r.u8("resource")? {
        4 => Resource::V4(Ipv4Addr::from(r.array::<4>("address")?)),
        6 => Resource::V6(Ipv6Addr::from(r.array::<16>("address")?)),
        7 => {
            let addr = Ipv6Addr::from(r.array::<16>("prefix")?);
            let length = r.u8("prefix length")?;
            if length > 128 {
                return Err(RecordError::Field("prefix length"));
            }
            Resource::Prefix6(addr, length)
        }
        _ => return Err(RecordError::Field("resource tag")),
    })
}
