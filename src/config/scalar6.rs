//! Single IPv6 values: addresses, prefixes, ranges, DUIDs.

use std::net::Ipv6Addr;

use crate::base::addr::parse_hex;
use crate::base::{Prefix6, Range6};

use super::node::Node;
use super::policy::Bytes;

/// A DUID: its type of two bytes, then 1 to 128 bytes (RFC 9915 s11.1).
const DUID_BYTES: std::ops::RangeInclusive<usize> = 3..=130;

impl Node<'_> {
    /// Whether it is text of an IPv6 address, prefix or range, rather than of an IPv4 one.
    pub(super) fn is_ip6(&self) -> bool {
        self.as_str().is_some_and(|text| text.contains(':'))
    }

    /// Any IPv6 address.
    pub(super) fn ip6(&self) -> Option<Ipv6Addr> {
        let text = self.string("an IPv6 address in a string")?;
        match text.parse() {
            Ok(addr) => Some(addr),
            Err(_) if !text.contains(':') && text.contains('.') => {
                self.bad("an IPv4 address where an IPv6 address belongs", "as in \"2001:db8::1\"")
            }
            Err(_) => self.bad("not an IPv6 address", "as in \"2001:db8::1\""),
        }
    }

    /// An address that one host can have beyond its link.
    pub(super) fn unicast6(&self) -> Option<Ipv6Addr> {
        let addr = self.ip6()?;
        if is_unicast6(addr) {
            return Some(addr);
        }
        self.bad("not the address of one host", "a unicast address, as in \"2001:db8::1\"")
    }

    /// Any IPv6 prefix.
    pub(super) fn prefix6(&self) -> Option<Prefix6> {
        let text = self.string("an IPv6 prefix in a string")?;
        match text.parse() {
            Ok(prefix) => Some(prefix),
            Err(()) => match without_host_bits(text) {
                Some(right) => {
                    self.bad("bits beyond the prefix length are set", format!("write \"{right}\""))
                }
                None => self.bad("not an IPv6 prefix", "as in \"2001:db8::/64\""),
            },
        }
    }

    /// The prefix of a subnet, or of what is delegated.
    pub(super) fn unicast_prefix6(&self) -> Option<Prefix6> {
        let prefix = self.prefix6()?;
        if is_unicast6(prefix.last()) && !prefix.is_empty() {
            return Some(prefix);
        }
        let message = "not a prefix of addresses that hosts can have beyond their link";
        self.bad(message, "a global or unique local prefix, as in \"2001:db8::/64\"")
    }

    /// A prefix, or one address as a prefix of 128 bits.
    pub(super) fn prefix_or_ip6(&self) -> Option<Prefix6> {
        match self.as_str().and_then(|text| text.parse().ok()) {
            Some(addr) => Prefix6::new(addr, 128),
            None => self.prefix6(),
        }
    }

    /// A range `a-b`, a prefix or one address; and whether it was a prefix.
    pub(super) fn range6(&self) -> Option<(Range6, bool)> {
        let text = self.string("a range of IPv6 addresses in a string")?;
        if text.contains('/') {
            return Some((self.prefix6()?.range(), true));
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (Ok(first), Ok(last)) = (first.trim().parse(), last.trim().parse()) else {
            let expected =
                "\"2001:db8::1000-2001:db8::1fff\", \"2001:db8::/64\" or \"2001:db8::7\"";
            return self.bad("not a range of IPv6 addresses", expected);
        };
        if last < first {
            return self
                .bad("the range ends before it begins", format!("write \"{last}-{first}\""));
        }
        Some((Range6 { first, last }, false))
    }

    /// A whole DUID in hexadecimal.
    pub(super) fn duid(&self) -> Option<Bytes> {
        let expected = "hexadecimal, as in \"00:03:00:01:52:54:00:12:34:56\"";
        let text = self.string("a DUID in a string")?;
        match parse_hex(text) {
            Some(bytes) if DUID_BYTES.contains(&bytes.len()) => Some(bytes.into()),
            Some(bytes) => {
                let message = format!("a DUID of {} bytes", bytes.len());
                self.bad(message, "3 to 130 bytes, of which two are its type")
            }
            None => self.bad("not a DUID", expected),
        }
    }

    /// The leading bytes of a DUID in hexadecimal.
    pub(super) fn duid_prefix(&self) -> Option<Vec<u8>> {
        let text = self.string("leading bytes of a DUID in a string")?;
        match parse_hex(text) {
            Some(bytes) if (1..=*DUID_BYTES.end()).contains(&bytes.len()) => Some(bytes),
            _ => self.bad("not the beginning of a DUID", "as in \"00:03:00:01:52:54:00\""),
        }
    }

    /// A URL, up to `max` bytes.
    pub(super) fn url(&self, max: usize) -> Option<&str> {
        let text = self.text(max)?;
        if is_url(text) {
            return Some(text);
        }
        self.bad("not a URL", "as in \"http://[2001:db8::2]/boot.efi\"")
    }
}

/// Whether `text` begins as a URL does (RFC 3986 s3.1) and has something behind the scheme.
pub(super) fn is_url(text: &str) -> bool {
    let scheme = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    };
    text.split_once("://").is_some_and(|(head, tail)| scheme(head) && !tail.is_empty())
}

/// Whether one host can have `addr` beyond its link.
fn is_unicast6(addr: Ipv6Addr) -> bool {
    let never = addr.is_unspecified() || addr.is_loopback() || addr.is_multicast();
    !(never || addr.is_unicast_link_local() || addr.to_ipv4_mapped().is_some())
}

/// What was meant by a prefix with host bits.
fn without_host_bits(text: &str) -> Option<Prefix6> {
    let (addr, len) = text.split_once('/')?;
    Prefix6::new(addr.parse().ok()?, len.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_unicast_addresses() {
        for (text, want) in [
            ("2001:db8::1", true),
            ("fd00::1", true),
            ("::", false),
            ("::1", false),
            ("fe80::1", false),
            ("febf::1", false),
            ("ff02::1", false),
            ("::ffff:10.0.0.1", false),
        ] {
            assert_eq!(is_unicast6(text.parse().unwrap()), want, "{text}");
        }
    }

    #[test]
    fn urls_have_a_scheme() {
        for good in ["http://a/b", "tftp://[2001:db8::2]/x", "nfs+tcp://h"] {
            assert!(is_url(good), "{good}");
        }
        for bad in ["", "undionly.kpxe", "://a", "http://", "1a://b", "/a://b"] {
            assert!(!is_url(bad), "{bad}");
        }
    }
}
