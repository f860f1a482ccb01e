//! The client FQDN option of DHCPv6 (39, RFC 4704), as a client sent it.

use crate::base::name::{clean_hostname, decode_uncompressed};

/// A client's FQDN option: flags, and a name in wire form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fqdn6<'a> {
    flags: u8,
    name: &'a [u8],
}

impl<'a> Fqdn6<'a> {
    /// The server updates (or should update) the AAAA record.
    pub const S: u8 = 0x01;
    /// The server has overridden the client's wish about S.
    pub const O: u8 = 0x02;
    /// The server does (or shall do) no update at all.
    pub const N: u8 = 0x04;

    /// `None` if the flags are not there.
    pub fn new(data: &'a [u8]) -> Option<Fqdn6<'a>> {
        let (flags, name) = data.split_first()?;
        Some(Fqdn6 { flags: *flags, name })
    }

    /// All flag bits, reserved ones as sent.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// The name's bytes as sent.
    pub fn raw_name(&self) -> &'a [u8] {
        self.name
    }

    /// The name, cleaned as a host name is. `None` if it is empty or malformed: a label over 63
    /// bytes, a name over 255, or compression, which RFC 9915 s10 does not allow.
    pub fn name(&self) -> Option<Box<str>> {
        clean_hostname(decode_uncompressed(self.name).ok()?.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(data: &[u8]) -> Option<Box<str>> {
        Fqdn6::new(data).unwrap().name()
    }

    #[test]
    fn names_are_read_whole_or_partial() {
        assert_eq!(name(b"\x01\x04Web1\x07example\0").as_deref(), Some("web1.example"));
        // A partial name has no root label (RFC 4704 s4.2).
        assert_eq!(name(b"\x00\x04web1").as_deref(), Some("web1"));
        assert_eq!(name(b"\x00"), None);
        assert_eq!(name(b"\x00\0"), None);
        assert_eq!(name(b"\x00web1"), None, "text is no wire form");
    }

    #[test]
    fn flags_are_as_sent() {
        let fqdn = Fqdn6::new(b"\xfda").unwrap();
        assert_eq!((fqdn.flags(), fqdn.raw_name()), (0xfd, b"a".as_slice()));
        assert_eq!(Fqdn6::new(b""), None);
    }
}
