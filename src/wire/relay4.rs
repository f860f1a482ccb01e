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

    /// The first sub-option of that code; none at all if a length lies
    /// ([`RelayInfo::is_malformed`]).
    pub fn sub(&self, code: u8) -> Option<&[u8]> {
        if self.is_malformed() {
            return None;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn info(data: &[u8]) -> RelayInfo<'_> {
        RelayInfo::new(Cow::Borrowed(data))
    }

    #[test]
    fn sub_options_are_found_by_code() {
        let data =
            b"\x01\x03eth\x02\x02ab\x05\x04\x0a\x01\x02\x00\x0b\x04\x0a\x01\x02\x01\x06\x01s\x13\0";
        let info = info(data);
        assert_eq!(info.circuit_id(), Some(b"eth".as_slice()));
        assert_eq!(info.remote_id(), Some(b"ab".as_slice()));
        assert_eq!(info.link_selection(), Some(Ipv4Addr::new(10, 1, 2, 0)));
        assert_eq!(info.server_id_override(), Some(Ipv4Addr::new(10, 1, 2, 1)));
        assert_eq!(info.subscriber_id(), Some(b"s".as_slice()));
        assert!(info.source_port());
        assert!(!info.is_malformed());
        assert_eq!(info.raw(), data);
        assert_eq!(info.iter().count(), 6);
    }

    #[test]
    fn absent_or_of_the_wrong_length_is_none() {
        let info = info(b"\x05\x03\x0a\x01\x02\x0b\x00");
        assert_eq!(info.link_selection(), None);
        assert_eq!(info.server_id_override(), None);
        assert_eq!(info.circuit_id(), None);
        assert!(!info.source_port());
        assert!(!info.is_malformed());
    }

    #[test]
    fn the_first_of_two_counts() {
        assert_eq!(info(b"\x01\x01a\x01\x01b").circuit_id(), Some(b"a".as_slice()));
    }

    #[test]
    fn an_overrun_ends_the_iteration_and_is_told() {
        for data in [b"\x01\x01a\x02\x09b".as_slice(), b"\x01\x01a\x02", b"\x01\x01a\xff\xff"] {
            let info = info(data);
            assert!(info.is_malformed());
            assert_eq!(info.iter().count(), 1, "what stands before it is still shown");
            assert_eq!(info.raw(), data);
        }
        assert!(!info(b"").is_malformed());
    }
}
