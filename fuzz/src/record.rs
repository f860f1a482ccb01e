//! Any bytes as a stored record, as a block of records, and as a record whose checksum fits; what
//! was read is written and read again.

use foreshadow::store::record::{RECORD_MAX, decode, encode};
use foreshadow::store::recovery::salvage_facts;

/// Plays one input.
pub fn run(data: &[u8]) {
    read(data);
    read(&sealed(data));
    blocks(data);
}

fn read(bytes: &[u8]) {
    let Ok(change) = decode(bytes) else { return };
    assert!(bytes.len() <= RECORD_MAX);
    let mut out = b"before".to_vec();
    encode(&change, &mut out).expect("what was read can be written");
    assert_eq!(&out[..6], b"before");
    assert_eq!(decode(&out[6..]), Ok(change));
}

fn sealed(body: &[u8]) -> Vec<u8> {
    [body, &crc32c::crc32c(body).to_le_bytes()].concat()
}

/// As the raw bytes of a damaged checkpoint, in which blocks may lie anywhere.
fn blocks(data: &[u8]) {
    for bytes in [data.to_vec(), mended(data)] {
        for change in salvage_facts(&bytes) {
            let mut out = Vec::new();
            encode(&change, &mut out).expect("what was read can be written");
        }
    }
}

/// The bytes as the parts of blocks, wherever one seems to begin: with the size and the checksum
/// that the part would have if it went on to the next.
fn mended(data: &[u8]) -> Vec<u8> {
    const MAGIC: &[u8] = b"fsB\xb1";
    let starts: Vec<usize> = (0..data.len()).filter(|at| data[*at..].starts_with(MAGIC)).collect();
    let mut out = data[..starts.first().copied().unwrap_or(data.len())].to_vec();
    for (i, start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(data.len());
        let mut part = data[*start..end].to_vec();
        if part.len() >= 8 {
            let size = part.len() as u32 + 4;
            part[4..8].copy_from_slice(&size.to_le_bytes());
        }
        out.extend(sealed(&part));
    }
    out
}
