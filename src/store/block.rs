//! Packed blocks: what the checkpoint keeps under one key.
//!
//! 64 neighbouring addresses share a block, because neighbours are leased and renewed together and
//! one write then serves many. A block is written in parts of at most [`PART_BYTES`], so that no
//! leaf of the database grows beyond what it keeps in its log.
//!
//! ```text
//! key   := 'l' network:u32be 4 addr[4] part:u8            the lowest six bits of addr are zero
//!        | 'l' network:u32be 6 addr[16] part:u8
//!        | 'l' network:u32be 7 length:u8 addr[16] part:u8 64 neighbouring prefixes of one length
//!        | 'l' network:u32be 8 length:u8 addr[16] part:u8 a prefix with bits beyond its length
//!        | 'm' name part:u8
//! part  := magic:u32 size:u32 version:u8 (= 1) more:u8 seq:u64 key:bytes entry* crc32c:u32
//! entry := index:u8 record:bytes                          (record as in `record`)
//! ```
//!
//! `size` counts the whole part; `more` is 1 if another part follows; `seq` is the checkpoint that
//! wrote it; the key inside ties a value to its place. The checksum covers all before it.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use crate::base::{NetworkId, Resource};
use crate::lease::Change;

use super::record::{Reader, RecordError, put_varint};

/// What changed since the last checkpoint: the latest record of each fact by [`slot`].
pub(super) type Changes = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// Part size above which a block goes on in another part.
const PART_BYTES: usize = 6 * 1024;

/// What each part begins with.
pub(super) const MAGIC: [u8; 4] = *b"fsB\xb1";
const VERSION: u8 = 1;

/// The place of a fact: the key of its block, then its index in the block. `None` for what is in
/// no checkpoint.
pub(super) fn slot(change: &Change) -> Option<Box<[u8]>> {
    match change {
        Change::Put(lease, _) => Some(resource_slot(lease.network, lease.resource)),
        Change::Remove(network, resource, _) => Some(resource_slot(*network, *resource)),
        Change::Meta(name, _) | Change::Forget(name) => Some(name_slot(name)),
        Change::Act(_) => None,
    }
}

fn name_slot(name: &str) -> Box<[u8]> {
    let mut key = Vec::with_capacity(name.len() + 2);
    key.push(b'm');
    key.extend_from_slice(name.as_bytes());
    key.push(0);
    key.into()
}

fn resource_slot(network: NetworkId, resource: Resource) -> Box<[u8]> {
    let mut key = Vec::with_capacity(24);
    key.push(b'l');
    key.extend_from_slice(&network.0.to_be_bytes());
    let index = match resource {
        Resource::V4(addr) => {
            let bits = addr.to_bits();
            key.push(4);
            key.extend_from_slice(&(bits & !63).to_be_bytes());
            bits as u8 & 63
        }
        Resource::V6(addr) => {
            let bits = addr.to_bits();
            key.push(6);
            key.extend_from_slice(&(bits & !63).to_be_bytes());
            bits as u8 & 63
        }
        Resource::Prefix6(addr, length) => prefix_slot(addr, length, &mut key),
    };
    key.push(index);
    key.into()
}

fn prefix_slot(addr: Ipv6Addr, length: u8, key: &mut Vec<u8>) -> u8 {
    let (bits, host) = (addr.to_bits(), 128 - u32::from(length.min(128)));
    let number = bits.checked_shr(host).unwrap_or(0);
    if number.checked_shl(host).unwrap_or(0) != bits {
        key.extend_from_slice(&[8, length]);
        key.extend_from_slice(&bits.to_be_bytes());
        return 0;
    }
    key.extend_from_slice(&[7, length]);
    key.extend_from_slice(&(number & !63).checked_shl(host).unwrap_or(0).to_be_bytes());
    number as u8 & 63
}

/// One part of a block, as stored.
pub(super) struct Part<'a> {
    /// Whether another part follows.
    pub(super) more: bool,
    /// The checkpoint that wrote it.
    pub(super) seq: u64,
    /// Its key in the database.
    pub(super) key: &'a [u8],
    /// Index and record of each fact.
    pub(super) entries: Vec<(u8, &'a [u8])>,
}

/// Reads a part, whatever the bytes are.
pub(super) fn decode(bytes: &[u8]) -> Result<Part<'_>, RecordError> {
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or(RecordError::Short("block"))?;
    let (found, want) = (u32::from_le_bytes(*crc), crc32c::crc32c(body));
    if found != want {
        return Err(RecordError::Checksum { found, want });
    }
    let mut r = Reader { rest: body };
    if r.array::<4>("block")? != MAGIC || r.u32("block")? as usize != bytes.len() {
        return Err(RecordError::Field("block header"));
    }
    match r.u8("block")? {
        VERSION => {}
        other => return Err(RecordError::Version(other)),
    }
    let more = r.u8("block")? != 0;
    let seq = r.u64("block")?;
    let key = r.bytes("block key")?;
    let mut entries = Vec::new();
    while !r.rest.is_empty() {
        entries.push((r.u8("block index")?, r.bytes("block record")?));
    }
    Ok(Part { more, seq, key, entries })
}

/// The size that a part states, if these bytes begin one.
pub(super) fn stated_size(bytes: &[u8]) -> Option<usize> {
    let mut r = Reader { rest: bytes };
    if r.array::<4>("block").ok()? != MAGIC {
        return None;
    }
    r.u32("block").ok().map(|size| size as usize)
}

/// The checksum that ends a part: what the checkpoint adds up to know that none is missing.
pub(super) fn checksum(part: &[u8]) -> u32 {
    part.last_chunk::<4>().map_or(0, |crc| u32::from_le_bytes(*crc))
}

/// Packs a block: key and value of each part.
pub(super) fn encode(
    block: &[u8],
    seq: u64,
    records: &BTreeMap<u8, Vec<u8>>,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut parts: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (index, record) in records {
        let full = parts.last().is_none_or(|(_, part)| part.len() + record.len() > PART_BYTES);
        if full {
            let number = parts.len() as u8;
            parts.push(begin(block, number, seq));
        }
        if let Some((_, part)) = parts.last_mut() {
            part.push(*index);
            put_varint(record.len() as u64, part);
            part.extend_from_slice(record);
        }
    }
    let last = parts.len().saturating_sub(1);
    for (number, (_, part)) in parts.iter_mut().enumerate() {
        finish(part, number < last);
    }
    parts
}

fn begin(block: &[u8], number: u8, seq: u64) -> (Vec<u8>, Vec<u8>) {
    let key = part_key(block, number);
    let mut part = Vec::with_capacity(1024);
    part.extend_from_slice(&MAGIC);
    part.extend_from_slice(&[0; 4]);
    part.extend_from_slice(&[VERSION, 0]);
    part.extend_from_slice(&seq.to_le_bytes());
    put_varint(key.len() as u64, &mut part);
    part.extend_from_slice(&key);
    (key, part)
}

/// Fills in what is known only at the end: size, whether more follows, checksum.
fn finish(part: &mut Vec<u8>, more: bool) {
    let size = (part.len() + 4) as u32;
    if let Some(field) = part.get_mut(4..8) {
        field.copy_from_slice(&size.to_le_bytes());
    }
    if let Some(field) = part.get_mut(9) {
        *field = u8::from(more);
    }
    let crc = crc32c::crc32c(part);
    part.extend_from_slice(&crc.to_le_bytes());
}

/// The key of one part of a block.
pub(super) fn part_key(block: &[u8], number: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(block.len() + 1);
    key.extend_from_slice(block);
    key.push(number);
    key
}

/// The slot of an entry in the part stored under `key`.
pub(super) fn entry_slot(key: &[u8], index: u8) -> Box<[u8]> {
    let mut slot = key.to_vec();
    if let Some(last) = slot.last_mut() {
        *last = index;
    }
    slot.into()
}
