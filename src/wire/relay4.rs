//! Relay agent information (option 82, RFC 3046), kept byte for byte.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use super::options::relay;

/// The relay agent information of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayInfo<'a>(Cow<'a, [u8]>);

impl<'a> RelayInfo<'a> {
    /// From the option's data.
    pub fn new(data: Cow<'a, [u8]>) -> RelayInfo<'a> {
        RelayInfo(data)
    }

    /// Exactly what was received; what a reply must echo (RFC 3046 s2.2).
    pub fn raw(&self) -> &[u8] {
        &self.0
    }

    /// Its sub-options in order. A sub-option that runs past the end ends the iteration.
    pub fn iter(&self) -> SubOptions<'_> {
        SubOptions { rest: &self.0 }
    }

    /// Whether a sub-option runs past the option's end: then none of them should be believed.
    pub fn is_malformed(&self) -> bool {
        let mut subs = self.iter();
        subs.by_ref().for_each(drop);
        !subs.rest.is_empty()
    }

    /// The first sub-option of that code.
    pub fn sub(&self, code: u8) -> Option<&[u8]> {
        self.iter().find(|(found, _)| *found == code).map(|(_, data)| data)
    }

    /// Agent circuit id (RFC 3046 s3.1).
    pub fn circuit_id(&self) -> Option<&[u8]> {
        self.sub(relay::CIRCUIT_ID)
    }

    /// Agent remote id (RFC 3046 s3.2).
    pub fn remote_id(&self) -> Option<&[u8]> {
        self.sub(relay::REMOTE_ID)
    }

    /// Subscriber id (RFC 3993).
    pub fn subscriber_id(&self) -> Option<&[u8]> {
        self.sub(relay::SUBSCRIBER_ID)
    }

    /// An address in the client's subnet, where giaddr is not (RFC 3527).
    pub fn link_selection(&self) -> Option<Ipv4Addr> {
        self.addr(relay::LINK_SELECTION)
    }

    /// What the server is to put into its server identifier (RFC 5107).
    pub fn server_id_override(&self) -> Option<Ipv4Addr> {
        self.addr(relay::SERVER_ID_OVERRIDE)
    }

    /// Whether the reply must go to the UDP port that the relay sent from (RFC 8357 s5.2).
    pub fn source_port(&self) -> bool {
        self.sub(relay::SOURCE_PORT).is_some()
    }

    fn addr(&self, code: u8) -> Option<Ipv4Addr> {
        <[u8; 4]>::try_from(self.sub(code)?).ok().map(Ipv4Addr::from)
    }
}

/// Iterator over sub-options: code and data.
#[derive(Clone, Debug)]
pub struct SubOptions<'b> {
    rest: &'b [u8],
}

impl<'b> Iterator for SubOptions<'b> {
    type Item = (u8, &'b [u8]);

    fn next(&mut self) -> Option<(u8, &'b [u8])> {
        let (code, rest) = self.rest.split_first()?;
        let (len, rest) = rest.split_first()?;
        let (data, rest) = rest.split_at_checked(usize::from(*len))?;
        self.rest = rest;
        Some((*code, data))
    }
}
