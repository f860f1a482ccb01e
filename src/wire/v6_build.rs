//! Building DHCPv6 requests, for tests, fuzzing and tools: what a client or a relay sends. It
//! checks nothing, so that it can also say what no client should.

use std::net::Ipv6Addr;

use super::options6 as opt;
use super::v6::MessageType6;
use super::v6_ia::IaKind;
use super::v6_write::push_option;

/// A request under construction. Options are written in the order in which they are added; what
/// is over 65,535 bytes loses its end.
#[derive(Clone, Debug)]
pub struct RequestV6 {
    bytes: Vec<u8>,
}

impl RequestV6 {
    /// A message of that type without options.
    pub fn new(kind: MessageType6, xid: u32) -> RequestV6 {
        RequestV6::with_type(kind as u8, xid)
    }

    /// A message of any type, known or not.
    pub fn with_type(kind: u8, xid: u32) -> RequestV6 {
        let [_, a, b, c] = xid.to_be_bytes();
        RequestV6 { bytes: vec![kind, a, b, c] }
    }

    /// Adds an option.
    pub fn option(mut self, code: u16, data: &[u8]) -> RequestV6 {
        put(code, data, &mut self.bytes);
        self
    }

    /// Adds bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> RequestV6 {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Adds the client's DUID.
    pub fn client_id(self, duid: &[u8]) -> RequestV6 {
        self.option(opt::CLIENT_ID, duid)
    }

    /// Adds the DUID of the server meant.
    pub fn server_id(self, duid: &[u8]) -> RequestV6 {
        self.option(opt::SERVER_ID, duid)
    }

    /// Adds the time since the client began, in hundredths of a second.
    pub fn elapsed(self, hundredths: u16) -> RequestV6 {
        self.option(opt::ELAPSED_TIME, &hundredths.to_be_bytes())
    }

    /// Adds the list of the options asked for.
    pub fn oro(self, codes: &[u16]) -> RequestV6 {
        let data: Vec<u8> = codes.iter().flat_map(|code| code.to_be_bytes()).collect();
        self.option(opt::ORO, &data)
    }

    /// Adds the wish for two messages instead of four.
    pub fn rapid_commit(self) -> RequestV6 {
        self.option(opt::RAPID_COMMIT, &[])
    }

    /// Adds an identity association; its options come from `inside` and are written as they are
    /// returned, see [`ia_addr`] and [`ia_prefix`].
    pub fn ia(self, kind: IaKind, iaid: u32, inside: &[Vec<u8>]) -> RequestV6 {
        let times: &[u8] = if kind == IaKind::Ta { &[] } else { &[0; 8] };
        let data = [iaid.to_be_bytes().as_slice(), times, &inside.concat()].concat();
        self.option(kind.code(), &data)
    }

    /// The message itself.
    pub fn build(self) -> Vec<u8> {
        self.bytes
    }
}

/// An address for [`RequestV6::ia`], with its lifetimes in seconds and what stands inside it.
pub fn ia_addr(addr: Ipv6Addr, preferred: u32, valid: u32, inside: &[u8]) -> Vec<u8> {
    let times = [preferred.to_be_bytes(), valid.to_be_bytes()].concat();
    option(opt::IA_ADDR, &[&addr.octets()[..], &times, inside].concat())
}

/// A prefix for [`RequestV6::ia`], with its lifetimes in seconds and what stands inside it.
pub fn ia_prefix(prefix: Ipv6Addr, len: u8, preferred: u32, valid: u32, inside: &[u8]) -> Vec<u8> {
    let times = [preferred.to_be_bytes(), valid.to_be_bytes()].concat();
    option(opt::IA_PREFIX, &[&times[..], &[len], &prefix.octets(), inside].concat())
}

/// Any option for [`RequestV6::ia`], or for the inside of an address or prefix.
pub fn option(code: u16, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(code, data, &mut out);
    out
}

/// What a relay makes of `message`: its options, then the message.
pub fn relay_forward(
    hop_count: u8,
    link_addr: Ipv6Addr,
    peer_addr: Ipv6Addr,
    options: &[(u16, &[u8])],
    message: &[u8],
) -> Vec<u8> {
    let mut out = vec![MessageType6::RelayForw as u8, hop_count];
    out.extend_from_slice(&link_addr.octets());
    out.extend_from_slice(&peer_addr.octets());
    options.iter().for_each(|(code, data)| put(*code, data, &mut out));
    put(opt::RELAY_MSG, message, &mut out);
    out
}

/// What a relay takes out of a Relay-reply; `None` if it is none, or carries no message.
pub fn unwrap_relay_reply(bytes: &[u8]) -> Option<&[u8]> {
    let (header, options) = bytes.split_first_chunk::<34>()?;
    let is_reply = header[0] == MessageType6::RelayRepl as u8;
    is_reply.then(|| super::v6::Options6::new(options).find_code(opt::RELAY_MSG))?
}

fn put(code: u16, data: &[u8], out: &mut Vec<u8>) {
    push_option(code, data.get(..usize::from(u16::MAX)).unwrap_or(data), out);
}
