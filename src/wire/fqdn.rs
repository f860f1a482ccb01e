//! The client FQDN option (81, RFC 4702), as a client sent it.

use std::borrow::Cow;

use crate::base::name::{clean_hostname, decode_uncompressed};

/// A client's FQDN option: at least flags and the two result codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fqdn<'a>(Cow<'a, [u8]>);

impl<'a> Fqdn<'a> {
    /// The server updates (or should update) the address record.
    pub const S: u8 = 0x01;
    /// The server has overridden the client's wish about S.
    pub const O: u8 = 0x02;
    /// The name is in canonical wire form, not ASCII.
    pub const E: u8 = 0x04;
    /// The server does (or shall do) no update at all.
    pub const N: u8 = 0x08;

    /// `None` if flags and result codes are not there.
    pub fn new(data: Cow<'a, [u8]>) -> Option<Fqdn<'a>> {
        (data.len() >= 3).then_some(Fqdn(data))
    }

    fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    /// All flag bits, reserved ones as sent.
    pub fn flags(&self) -> u8 {
        self.byte(0)
    }

    /// The first result code; deprecated (RFC 4702 s2.2).
    pub fn rcode1(&self) -> u8 {
        self.byte(1)
    }

    /// The second result code; deprecated (RFC 4702 s2.2).
    pub fn rcode2(&self) -> u8 {
        self.byte(2)
    }

    /// The name's bytes as sent.
    pub fn raw_name(&self) -> &[u8] {
        self.0.get(3..).unwrap_or_default()
    }

    /// The name, read as the E flag says, cleaned as a host name is. `None` if it is empty, or
    /// malformed in its wire form: a label over 63 bytes, a name over 255, or compression, which
    /// s2.3.1 does not allow here.
    pub fn name(&self) -> Option<Box<str>> {
        if self.flags() & Fqdn::E == 0 {
            return clean_hostname(self.raw_name());
        }
        clean_hostname(decode_uncompressed(self.raw_name()).ok()?.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(data: &[u8]) -> Option<Box<str>> {
        Fqdn::new(Cow::Borrowed(data)).unwrap().name()
    }

    #[test]
    fn names_are_read_in_both_encodings() {
        assert_eq!(name(b"\x05\0\0\x04Web1\x07example\0").as_deref(), Some("web1.example"));
        assert_eq!(name(b"\x01\0\0Web1.example").as_deref(), Some("web1.example"));
        // A partial name has no root label (RFC 4702 s2.3.1).
        assert_eq!(name(b"\x05\0\0\x04web1").as_deref(), Some("web1"));
        // The same bytes in the other encoding are not a name in this one.
        assert_eq!(name(b"\x04\0\0web1.example"), None);
    }

    #[test]
    fn an_empty_name_asks_for_one() {
        assert_eq!(name(b"\x01\0\0"), None);
        assert_eq!(name(b"\x05\0\0\0"), None);
    }

    #[test]
    fn flags_and_result_codes_are_as_sent() {
        let fqdn = Fqdn::new(Cow::Borrowed(b"\xf5\x01\x02a")).unwrap();
        assert_eq!((fqdn.flags(), fqdn.rcode1(), fqdn.rcode2()), (0xf5, 1, 2));
        assert_eq!(fqdn.raw_name(), b"a");
        assert_eq!(Fqdn::new(Cow::Borrowed(b"\x01\0")), None);
    }
}
