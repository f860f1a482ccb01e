//! DHCPv4 messages as plain bytes, written and read without the code under test.

use std::net::Ipv4Addr;

/// Message types (RFC 2132 s9.6).
pub(crate) const DISCOVER: u8 = 1;
pub(crate) const OFFER: u8 = 2;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const DECLINE: u8 = 4;
pub(crate) const ACK: u8 = 5;
pub(crate) const NAK: u8 = 6;
pub(crate) const RELEASE: u8 = 7;

const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) op: u8,
    pub(crate) xid: u32,
    pub(crate) flags: u16,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) yiaddr: Ipv4Addr,
    pub(crate) siaddr: Ipv4Addr,
    pub(crate) giaddr: Ipv4Addr,
    pub(crate) chaddr: [u8; 6],
    /// In the order of the packet; split options are separate entries.
    pub(crate) options: Vec<(u8, Vec<u8>)>,
}

impl Message {
    /// A client's message of this type, to be answered by broadcast.
    pub(crate) fn request(kind: u8, xid: u32, mac: [u8; 6]) -> Message {
        Message {
            op: 1,
            xid,
            flags: 0x8000,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr: mac,
            options: vec![(53, vec![kind])],
        }
    }

    /// With one more option.
    pub(crate) fn with(mut self, code: u8, value: &[u8]) -> Message {
        self.options.push((code, value.to_vec()));
        self
    }

    /// With ciaddr, and no broadcast flag: from a client that uses its address.
    pub(crate) fn held_by(mut self, addr: Ipv4Addr) -> Message {
        self.ciaddr = addr;
        self.flags = 0;
        self
    }

    /// The message type, 0 where there is none.
    pub(crate) fn kind(&self) -> u8 {
        self.option(53).and_then(|v| v.first().copied()).unwrap_or(0)
    }

    /// The value of an option, its parts joined (RFC 3396).
    pub(crate) fn option(&self, code: u8) -> Option<Vec<u8>> {
        let parts: Vec<_> = self.options.iter().filter(|(c, _)| *c == code).collect();
        let joined = || parts.iter().flat_map(|(_, v)| v.iter().copied()).collect();
        (!parts.is_empty()).then(joined)
    }

    /// An option that holds an address.
    pub(crate) fn addr_option(&self, code: u8) -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = self.option(code)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes))
    }

    /// An option that holds a number of four bytes.
    pub(crate) fn u32_option(&self, code: u8) -> Option<u32> {
        let bytes: [u8; 4] = self.option(code)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    /// The server identifier.
    pub(crate) fn server_id(&self) -> Option<Ipv4Addr> {
        self.addr_option(54)
    }

    /// As it stands in a UDP payload.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.op, 1, 6, 0];
        out.extend(self.xid.to_be_bytes());
        out.extend([0, 0]);
        out.extend(self.flags.to_be_bytes());
        for addr in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            out.extend(addr.octets());
        }
        out.extend(self.chaddr);
        out.resize(236, 0);
        out.extend(COOKIE);
        for (code, value) in &self.options {
            out.extend([*code, value.len() as u8]);
            out.extend(value);
        }
        out.push(255);
        out.resize(out.len().max(300), 0);
        out
    }

    /// What a UDP payload says; `None` if it is no DHCP message.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Message> {
        let word = |at: usize| Some(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).unwrap());
        let addr = |at: usize| Some(Ipv4Addr::from(word(at)?));
        if word(236)? != COOKIE {
            return None;
        }
        Some(Message {
            op: bytes[0],
            xid: u32::from_be_bytes(word(4)?),
            flags: u16::from_be_bytes([bytes[10], bytes[11]]),
            ciaddr: addr(12)?,
            yiaddr: addr(16)?,
            siaddr: addr(20)?,
            giaddr: addr(24)?,
            chaddr: bytes.get(28..34)?.try_into().ok()?,
            options: options(bytes.get(240..)?),
        })
    }
}

fn options(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    loop {
        match bytes {
            [0, rest @ ..] => bytes = rest,
            [255, ..] | [] | [_] => return found,
            [code, len, rest @ ..] => {
                let Some((value, after)) = rest.split_at_checked(usize::from(*len)) else {
                    return found;
                };
                found.push((*code, value.to_vec()));
                bytes = after;
            }
        }
    }
}
