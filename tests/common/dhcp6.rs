//! DHCPv6 messages as plain bytes, written and read without the code under test.

use std::net::Ipv6Addr;

/// Message types (RFC 9915 s7.3).
pub(crate) const SOLICIT: u8 = 1;
pub(crate) const ADVERTISE: u8 = 2;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const CONFIRM: u8 = 4;
pub(crate) const RENEW: u8 = 5;
pub(crate) const REBIND: u8 = 6;
pub(crate) const REPLY: u8 = 7;
pub(crate) const RELEASE: u8 = 8;
pub(crate) const DECLINE: u8 = 9;

/// Options that the tests look at (RFC 9915 s21).
pub(crate) const CLIENT_ID: u16 = 1;
pub(crate) const SERVER_ID: u16 = 2;
pub(crate) const IA_NA: u16 = 3;
pub(crate) const IA_ADDR: u16 = 5;
pub(crate) const STATUS: u16 = 13;
pub(crate) const RAPID_COMMIT: u16 = 14;
pub(crate) const IA_PD: u16 = 25;
pub(crate) const IA_PREFIX: u16 = 26;
pub(crate) const BOOT_FILE_URL: u16 = 59;

/// One message between a client and the server or relay next to it.
#[derive(Clone, Debug)]
pub(crate) struct Message6 {
    pub(crate) kind: u8,
    /// Transaction id, of three bytes.
    pub(crate) xid: u32,
    /// In the order of the packet.
    pub(crate) options: Vec<(u16, Vec<u8>)>,
}

/// An address or prefix in an identity association.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Held {
    pub(crate) addr: Ipv6Addr,
    /// 128 for an address.
    pub(crate) len: u8,
    /// Valid lifetime in seconds.
    pub(crate) valid: u32,
}

impl Held {
    /// As `foreshadow leases` writes it.
    pub(crate) fn name(&self) -> String {
        match self.len {
            128 => self.addr.to_string(),
            len => format!("{}/{len}", self.addr),
        }
    }
}

impl Message6 {
    /// A client's message of this type.
    pub(crate) fn new(kind: u8, xid: u32) -> Message6 {
        Message6 { kind, xid, options: Vec::new() }
    }

    /// With one more option.
    pub(crate) fn with(mut self, code: u16, value: &[u8]) -> Message6 {
        self.options.push((code, value.to_vec()));
        self
    }

    /// With an IA_NA and an IA_PD that name what is held; without anything they ask for it.
    pub(crate) fn with_ias(self, iaid: u32, held: &[Held]) -> Message6 {
        let (mut na, mut pd) = (ia(iaid), ia(iaid));
        for one in held {
            let lifetimes = [one.valid.to_be_bytes(), one.valid.to_be_bytes()].concat();
            let (ia, code, value) = match one.len {
                128 => (&mut na, IA_ADDR, [&one.addr.octets()[..], &lifetimes].concat()),
                len => (&mut pd, IA_PREFIX, [&lifetimes, &[len][..], &one.addr.octets()].concat()),
            };
            put(ia, code, &value);
        }
        self.with(IA_NA, &na).with(IA_PD, &pd)
    }

    /// The value of the first option with this code.
    pub(crate) fn option(&self, code: u16) -> Option<&[u8]> {
        self.options.iter().find(|(c, _)| *c == code).map(|(_, value)| &value[..])
    }

    /// What the message's identity associations hold, also with a lifetime of zero.
    pub(crate) fn held(&self) -> Vec<Held> {
        let ias = self.options.iter().filter(|(code, _)| matches!(*code, IA_NA | IA_PD));
        let inside = ias.flat_map(|(_, value)| options(value.get(12..).unwrap_or_default()));
        inside.filter_map(|(code, value)| held(code, &value)).collect()
    }

    /// The addresses that the message holds.
    pub(crate) fn addrs(&self) -> Vec<Ipv6Addr> {
        self.held().iter().filter(|held| held.len == 128).map(|held| held.addr).collect()
    }

    /// The status (RFC 9915 s21.13) of the message as a whole; none means success.
    pub(crate) fn status(&self) -> u16 {
        let value = self.option(STATUS).unwrap_or(&[0, 0]);
        u16::from_be_bytes([value[0], value[1]])
    }

    /// As it stands in a UDP payload.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let [_, a, b, c] = self.xid.to_be_bytes();
        let mut out = vec![self.kind, a, b, c];
        for (code, value) in &self.options {
            put(&mut out, *code, value);
        }
        out
    }

    /// What a UDP payload says; `None` if it is a relay's or no message.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Message6> {
        let [kind @ 1..=11, a, b, c, rest @ ..] = bytes else { return None };
        let xid = u32::from_be_bytes([0, *a, *b, *c]);
        Some(Message6 { kind: *kind, xid, options: options(rest) })
    }
}

/// The fixed part of an identity association; its times are the server's to say.
fn ia(iaid: u32) -> Vec<u8> {
    let mut ia = iaid.to_be_bytes().to_vec();
    ia.extend([0; 8]);
    ia
}

fn put(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_be_bytes());
    out.extend((value.len() as u16).to_be_bytes());
    out.extend(value);
}

fn held(code: u16, value: &[u8]) -> Option<Held> {
    let addr =
        |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(value.get(at..at + 16)?).ok()?));
    let valid = |at: usize| Some(u32::from_be_bytes(value.get(at..at + 4)?.try_into().ok()?));
    match code {
        IA_ADDR => Some(Held { addr: addr(0)?, len: 128, valid: valid(20)? }),
        IA_PREFIX => Some(Held { addr: addr(9)?, len: *value.get(8)?, valid: valid(4)? }),
        _ => None,
    }
}

fn options(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    while let [a, b, c, d, rest @ ..] = bytes {
        let len = usize::from(u16::from_be_bytes([*c, *d]));
        let Some((value, after)) = rest.split_at_checked(len) else { break };
        found.push((u16::from_be_bytes([*a, *b]), value.to_vec()));
        bytes = after;
    }
    found
}
