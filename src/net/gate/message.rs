//! Messages of nf_tables over netlink, as far as the gate needs them.
//!
//! A transaction is a run of messages between a begin and an end: the kernel makes all of it or
//! nothing. Names and numbers are those of `linux/netfilter/nf_tables.h`; the integers of nf_tables
//! are in network order, those of netlink itself in the host's.

/// Message types of nf_tables, below their subsystem.
pub(super) mod kind {
    pub(crate) const NEW_TABLE: u16 = 0;
    pub(crate) const DEL_TABLE: u16 = 2;
    pub(crate) const NEW_CHAIN: u16 = 3;
    pub(crate) const NEW_RULE: u16 = 6;
    pub(crate) const NEW_SET: u16 = 9;
    pub(crate) const NEW_ELEMENT: u16 = 12;
    pub(crate) const GET_ELEMENT: u16 = 13;
    pub(crate) const DEL_ELEMENT: u16 = 14;
}

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const FAMILY_UNSPEC: u8 = 0;
const FAMILY_BRIDGE: u8 = 7;

/// Flags of netlink requests.
pub(super) mod flag {
    pub(crate) const REQUEST: u16 = 1;
    pub(crate) const ACK: u16 = 4;
    pub(crate) const DUMP: u16 = 0x300;
    pub(crate) const CREATE: u16 = 0x400;
    pub(crate) const APPEND: u16 = 0x800;
}

/// Length of a netlink header.
pub(super) const HEADER: usize = 16;
/// Netlink header and the header of netfilter behind it.
pub(super) const HEADERS: usize = HEADER + 4;
const NESTED: u16 = 0x8000;

/// Writes messages one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// Where the last message begins.
    last: usize,
    /// Messages so far: each has its number.
    count: u32,
}

impl Writer {
    /// Begins a transaction.
    pub(super) fn transaction() -> Writer {
        let mut writer = Writer::default();
        writer.begin(BATCH_BEGIN, flag::REQUEST, FAMILY_UNSPEC, SUBSYSTEM);
        writer.end();
        writer
    }

    /// One message of nf_tables, whose attributes `write` adds.
    pub(super) fn message(&mut self, kind: u16, flags: u16, write: impl FnOnce(&mut Writer)) {
        let kind = SUBSYSTEM << 8 | kind;
        self.begin(kind, flags | flag::REQUEST, FAMILY_BRIDGE, 0);
        write(self);
        self.end();
    }

    /// Ends a transaction, and asks for word of its last message: what fails before it is told
    /// anyhow. Its bytes, and the number of the message whose acknowledgement is the last answer.
    pub(super) fn commit(mut self) -> (Vec<u8>, u32) {
        let at = self.last + 6;
        if let Some([low, high]) = self.bytes.get_mut(at..at + 2) {
            let flags = u16::from_ne_bytes([*low, *high]) | flag::ACK;
            [*low, *high] = flags.to_ne_bytes();
        }
        let acknowledged = self.count;
        self.begin(BATCH_END, flag::REQUEST, FAMILY_UNSPEC, SUBSYSTEM);
        self.end();
        (self.bytes, acknowledged)
    }

    /// The bytes so far.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn begin(&mut self, kind: u16, flags: u16, family: u8, resource: u16) {
        self.count += 1;
        self.last = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.count.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
    }

    fn end(&mut self) {
        let len = (self.bytes.len() - self.last) as u32;
        if let Some(field) = self.bytes.get_mut(self.last..self.last + 4) {
            field.copy_from_slice(&len.to_ne_bytes());
        }
    }

    /// An attribute: at most 64 KiB of it are said here, see [`super::rules`].
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.nested_as(kind, |w| w.bytes.extend(value))
    }

    /// An attribute that is a number.
    pub(super) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// An attribute that is a long number.
    pub(super) fn long(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// An attribute that is a name.
    pub(super) fn name(&mut self, kind: u16, value: &str) -> &mut Self {
        self.nested_as(kind, |w| {
            w.bytes.extend(value.as_bytes());
            w.bytes.push(0);
        })
    }

    /// Attributes that were written before.
    pub(super) fn raw(&mut self, attributes: &[u8]) {
        self.bytes.extend(attributes);
    }

    /// An attribute that has attributes.
    pub(super) fn nested(&mut self, kind: u16, write: impl FnOnce(&mut Writer)) -> &mut Self {
        self.nested_as(kind | NESTED, write)
    }

    fn nested_as(&mut self, kind: u16, write: impl FnOnce(&mut Writer)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        write(self);
        let len = (self.bytes.len() - start) as u16;
        if let Some(field) = self.bytes.get_mut(start..start + 2) {
            field.copy_from_slice(&len.to_ne_bytes());
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }
}

/// The attributes of a run of bytes: what each is, without the mark of nesting, and its value.
pub(super) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d] = *rest.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & !NESTED & 0x3fff, value))
    })
}

/// A message of the kernel.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    /// What it is: an acknowledgement, the end of a listing, or of nf_tables.
    pub(super) kind: u16,
    /// Which message it answers.
    pub(super) number: u32,
    /// Behind the netlink header.
    pub(super) body: &'a [u8],
}

/// The messages of a datagram; it ends where one cannot be read.
pub(super) fn answers(mut rest: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<HEADER>()?;
        let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let len = u32::from_ne_bytes(word(0)) as usize;
        let body = rest.get(HEADER..len)?;
        let answer = Answer {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            number: u32::from_ne_bytes(word(8)),
            body,
        };
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(answer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::transaction();
        writer.message(kind::NEW_SET, flag::CREATE, |w| {
            w.name(1, "abc").nested(2, |w| {
                w.number(3, 7).long(4, 9);
            });
        });
        let (bytes, acknowledged) = writer.commit();
        let messages: Vec<_> = answers(&bytes).collect();
        let kinds: Vec<_> = messages.iter().map(|m| (m.kind, m.number)).collect();
        assert_eq!(kinds, [(BATCH_BEGIN, 1), (SUBSYSTEM << 8 | kind::NEW_SET, 2), (BATCH_END, 3)]);
        assert_eq!(acknowledged, 2);
        let of_set: Vec<_> = attributes(&messages[1].body[4..]).collect();
        assert_eq!(of_set[0], (1, b"abc\0".as_slice()));
        let inner: Vec<_> = attributes(of_set[1].1).collect();
        assert_eq!(inner, [(3, [0, 0, 0, 7].as_slice()), (4, [0, 0, 0, 0, 0, 0, 0, 9].as_slice())]);
    }

    #[test]
    fn torn_messages_end_the_reading() {
        let (bytes, _) = Writer::transaction().commit();
        for len in 0..bytes.len() {
            assert!(answers(&bytes[..len]).count() < 2, "{len} bytes");
            let _ = attributes(&bytes[..len]).count();
        }
    }
}
