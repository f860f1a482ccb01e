//! Building requests, for tests, fuzzing and tools: what a client or a relay sends. It checks
//! nothing, so that it can also say what no client should.

use std::net::Ipv4Addr;

use super::options as opt;
use super::v4::{BOOTREQUEST, COOKIE, FILE, HEADER_LEN, MessageType, SNAME};
use super::v4_write::PAYLOAD_MIN;
use crate::base::Mac;

/// A request under construction. Options are written in the order in which they are added.
#[derive(Clone, Debug)]
pub struct RequestV4 {
    header: [u8; HEADER_LEN],
    options: Vec<u8>,
    relay_info: Option<Vec<u8>>,
}

impl RequestV4 {
    /// A DHCP message of an Ethernet client.
    pub fn new(kind: MessageType, mac: Mac) -> RequestV4 {
        RequestV4::bootp(mac).option(opt::MESSAGE_TYPE, &[kind as u8])
    }

    /// A BOOTP request of an Ethernet client: no option 53.
    pub fn bootp(mac: Mac) -> RequestV4 {
        let request = RequestV4 { header: [0; HEADER_LEN], options: Vec::new(), relay_info: None };
        request.put(0, &[BOOTREQUEST]).chaddr(1, 6, &mac.0)
    }

    fn put(mut self, at: usize, bytes: &[u8]) -> RequestV4 {
        if let Some(part) = self.header.get_mut(at..at + bytes.len()) {
            part.copy_from_slice(bytes);
        }
        self
    }

    /// Sets op.
    pub fn op(self, op: u8) -> RequestV4 {
        self.put(0, &[op])
    }

    /// Sets hardware type, hlen and the first bytes of chaddr, at most 16.
    pub fn chaddr(self, htype: u8, hlen: u8, bytes: &[u8]) -> RequestV4 {
        let bytes = bytes.get(..16).unwrap_or(bytes);
        self.put(1, &[htype, hlen]).put(28, &[0; 16]).put(28, bytes)
    }

    /// Sets hops.
    pub fn hops(self, hops: u8) -> RequestV4 {
        self.put(3, &[hops])
    }

    /// Sets the transaction id.
    pub fn xid(self, xid: u32) -> RequestV4 {
        self.put(4, &xid.to_be_bytes())
    }

    /// Sets the seconds since the client began.
    pub fn secs(self, secs: u16) -> RequestV4 {
        self.put(8, &secs.to_be_bytes())
    }

    /// Sets all flags; 0x8000 is broadcast.
    pub fn flags(self, flags: u16) -> RequestV4 {
        self.put(10, &flags.to_be_bytes())
    }

    /// Sets ciaddr.
    pub fn ciaddr(self, addr: Ipv4Addr) -> RequestV4 {
        self.put(12, &addr.octets())
    }

    /// Sets giaddr.
    pub fn giaddr(self, addr: Ipv4Addr) -> RequestV4 {
        self.put(24, &addr.octets())
    }

    /// Sets the start of sname, at most 64 bytes.
    pub fn sname(self, bytes: &[u8]) -> RequestV4 {
        self.put(SNAME.start, bytes.get(..SNAME.len()).unwrap_or(bytes))
    }

    /// Sets the start of file, at most 128 bytes.
    pub fn file(self, bytes: &[u8]) -> RequestV4 {
        self.put(FILE.start, bytes.get(..FILE.len()).unwrap_or(bytes))
    }

    /// Adds an option, in pieces where it is over 255 bytes.
    pub fn option(mut self, code: u8, data: &[u8]) -> RequestV4 {
        push_option(code, data, &mut self.options);
        self
    }

    /// Adds an address option.
    pub fn addr(self, code: u8, addr: Ipv4Addr) -> RequestV4 {
        self.option(code, &addr.octets())
    }

    /// Adds bytes to the options field as they are.
    pub fn raw(mut self, bytes: &[u8]) -> RequestV4 {
        self.options.extend_from_slice(bytes);
        self
    }

    /// Sets the relay agent information, which goes last.
    pub fn relay_info(mut self, data: &[u8]) -> RequestV4 {
        self.relay_info = Some(data.to_vec());
        self
    }

    /// The UDP payload, ended by END and padded to 300 bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut out = self.build_unpadded();
        out.resize(out.len().max(PAYLOAD_MIN), opt::PAD);
        out
    }

    /// The UDP payload up to END.
    pub fn build_unpadded(&self) -> Vec<u8> {
        let mut out = [self.header.as_slice(), &COOKIE, &self.options].concat();
        if let Some(info) = &self.relay_info {
            push_option(opt::RELAY_AGENT_INFO, info, &mut out);
        }
        out.push(opt::END);
        out
    }
}

/// Appends an option, in pieces where it is over 255 bytes (RFC 3396 s5).
fn push_option(code: u8, data: &[u8], out: &mut Vec<u8>) {
    if data.is_empty() {
        out.extend_from_slice(&[code, 0]);
    }
    for piece in data.chunks(255) {
        out.extend_from_slice(&[code, piece.len() as u8]);
        out.extend_from_slice(piece);
    }
}
