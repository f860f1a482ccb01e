//! Damage to a file, read from bytes: what disks, crashes and people do to one.

/// One thing that happens to a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Damage {
    kind: u8,
    /// Which file, modulo how many there are.
    pub(crate) file: u8,
    at: u16,
    value: u8,
}

/// How many bytes one damage is read from.
const BYTES: usize = 5;
const SECTOR: usize = 512;

/// At most sixteen of them.
pub(crate) fn read(bytes: &[u8]) -> Vec<Damage> {
    let one = |b: &[u8]| {
        let at = u16::from_be_bytes([b[2], b[3]]);
        Damage { kind: b[0], file: b[1], at, value: b[4] }
    };
    bytes.chunks_exact(BYTES).take(16).map(one).collect()
}

impl Damage {
    /// Does it to these bytes.
    pub(crate) fn apply(self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let at = usize::from(self.at) % bytes.len();
        let sector = at - at % SECTOR;
        let end = (sector + SECTOR).min(bytes.len());
        match self.kind % 8 {
            0..=2 => bytes[at] ^= self.value.max(1),
            3 => bytes[sector..end].fill(self.value),
            // A write that was lost, and all after it.
            4 => bytes[sector..].fill(0),
            5 => bytes.truncate(at),
            // A sector that landed elsewhere.
            6 => {
                let to = usize::from(self.value) * SECTOR % bytes.len();
                let length = (end - sector).min(bytes.len() - to);
                bytes.copy_within(sector..sector + length, to);
            }
            _ => bytes.extend(std::iter::repeat_n(self.value, at % (2 * SECTOR))),
        }
    }
}
