//! Single values: durations, sizes, addresses, ranges, names, patterns.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::base::addr::parse_hex;
use crate::base::{HwAddr, Mac, Prefix4, Range4, Span};

use super::fault::FaultKind;
use super::node::{Node, nearest};
use super::policy::{Bytes, Pattern};

/// Longest name of a network or class, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest interface name (IFNAMSIZ without its NUL).
const INTERFACE_BYTES_MAX: usize = 15;
/// Longest identifier of a client or relay: what one option holds.
const IDENTIFIER_BYTES_MAX: usize = 255;

const NOT_IP4: &str = "IPv6 where IPv4 belongs";

impl<'a> Node<'a> {
    /// A duration within `min..=max`: whole seconds as an integer, or text such as `1h30m`.
    pub(super) fn duration(&self, min: Span, max: Span) -> Option<Span> {
        let expected = "write \"90s\", \"1h30m\", \"100ms\", \"2d\", or a number of seconds";
        let span = match (self.as_integer(), self.as_str()) {
            (Some(secs), _) => u64::try_from(secs).ok().map(Span::from_secs),
            (_, Some("infinite")) => return self.bad("an end is needed here", expected),
            (_, Some(text)) => parse_duration(text),
            _ => return self.wrong_type("a duration"),
        };
        let Some(span) = span else { return self.bad("not a duration", expected) };
        if (min..=max).contains(&span) {
            return Some(span);
        }
        self.bad("duration out of range", format!("from {min} to {max}"))
    }

    /// As [`Node::duration`], or `"infinite"`.
    pub(super) fn duration_or_infinite(&self, min: Span, max: Span) -> Option<Span> {
        if self.as_str() == Some("infinite") {
            Some(Span::FOREVER)
        } else {
            self.duration(min, max)
        }
    }

    /// A size in bytes within `min..=max`: an integer, or text such as `16MiB`.
    pub(super) fn size(&self, min: u64, max: u64) -> Option<u64> {
        let size = match (self.as_integer(), self.as_str()) {
            (Some(bytes), _) => u64::try_from(bytes).ok(),
            (_, Some(text)) => parse_size(text),
            _ => return self.wrong_type("a size"),
        };
        let Some(size) = size else {
            return self
                .bad("not a size", "write \"64KiB\", \"16MiB\", \"1GiB\", or a number of bytes");
        };
        if (min..=max).contains(&size) {
            return Some(size);
        }
        let mib = |n: u64| format!("{}MiB", n >> 20);
        self.bad("size out of range", format!("from {} to {}", mib(min), mib(max)))
    }

    /// One of `words`.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let quoted: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let all = format!("one of {}", quoted.join(", "));
        let Some(text) = self.as_str() else { return self.wrong_type(&all) };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        match nearest(text, words.iter().map(|(word, _)| *word)) {
            Some(near) => self.bad("no such word here", format!("did you mean \"{near}\"? {all}")),
            None => self.bad("no such word here", all),
        }
    }

    /// Any IPv4 address.
    pub(super) fn ip(&self) -> Option<Ipv4Addr> {
        let text = self.string("an IPv4 address in a string")?;
        match text.parse() {
            Ok(addr) => Some(addr),
            Err(_) if text.contains(':') => {
                self.bad("an IPv6 address where an IPv4 address belongs", "as in \"10.0.0.1\"")
            }
            Err(_) => self.bad("not an IPv4 address", "as in \"10.0.0.1\""),
        }
    }

    /// An address that one host can have: not zero, loopback, multicast or broadcast.
    pub(super) fn unicast(&self) -> Option<Ipv4Addr> {
        let addr = self.ip()?;
        if is_unicast(addr) {
            return Some(addr);
        }
        self.bad("not the address of one host", "a unicast address, as in \"10.0.0.1\"")
    }

    /// The prefix of a subnet.
    pub(super) fn prefix(&self) -> Option<Prefix4> {
        let text = self.string("a prefix in a string")?;
        if text.contains(':') {
            return self.bad(NOT_IP4, "an IPv4 prefix, as in \"10.0.0.0/24\"");
        }
        match text.parse() {
            Ok(prefix) => Some(prefix),
            Err(()) => match without_host_bits(text) {
                Some(right) => {
                    self.bad("bits beyond the prefix length are set", format!("write \"{right}\""))
                }
                None => self.bad("not a prefix", "as in \"10.0.0.0/24\""),
            },
        }
    }

    /// A prefix, or one address as a prefix of 32 bits.
    pub(super) fn prefix_or_ip(&self) -> Option<Prefix4> {
        match self.as_str().and_then(|text| text.parse().ok()) {
            Some(addr) => Prefix4::new(addr, 32),
            None => self.prefix(),
        }
    }

    /// A range `a-b`, a prefix or one address; and whether it was a prefix.
    pub(super) fn range(&self) -> Option<(Range4, bool)> {
        let text = self.string("a range of addresses in a string")?;
        if text.contains(':') {
            return self.bad(NOT_IP4, "IPv4 addresses, as in \"10.0.0.100-10.0.0.199\"");
        }
        if text.contains('/') {
            return Some((self.prefix()?.range(), true));
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (Ok(first), Ok(last)) = (first.trim().parse(), last.trim().parse()) else {
            let expected = "\"10.0.0.100-10.0.0.199\", \"10.0.0.0/24\" or \"10.0.0.7\"";
            return self.bad("not a range of addresses", expected);
        };
        if last < first {
            return self
                .bad("the range ends before it begins", format!("write \"{last}-{first}\""));
        }
        Some((Range4 { first, last }, false))
    }

    /// A share such as "5%".
    pub(super) fn percent(&self) -> Option<u8> {
        let want = "a share as in \"5%\", from \"0%\" to \"100%\"";
        let text = self.string(want)?;
        let number = text.strip_suffix('%').and_then(|n| n.trim().parse::<u8>().ok());
        number.filter(|n| *n <= 100).or_else(|| self.bad(format!("`{text}` is no share"), want))
    }

    /// Text without control characters, up to `max` bytes, not empty.
    pub(super) fn text(&self, max: usize) -> Option<&'a str> {
        let text = self.string("a string")?;
        if text.is_empty() {
            return self.bad("empty text", format!("1 to {max} bytes"));
        }
        if text.len() > max {
            return self
                .bad(format!("{} bytes of text", text.len()), format!("at most {max} bytes"));
        }
        if text.chars().any(char::is_control) {
            return self.bad("a control character in the text", "printable characters");
        }
        Some(text)
    }

    /// The name of a network or class.
    pub(super) fn name(&self) -> Option<Arc<str>> {
        let text = self.text(NAME_BYTES_MAX)?;
        if text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | ':')) {
            return Some(text.into());
        }
        self.bad("not a name", "letters, digits and . _ - @ :")
    }

    /// An absolute path, up to `max` bytes.
    pub(super) fn path(&self, max: usize) -> Option<std::path::PathBuf> {
        let text = self.text(max)?;
        if text.starts_with('/') {
            return Some(text.into());
        }
        self.bad("a relative path", "an absolute path, as in \"/var/lib/foreshadow\"")
    }

    /// An interface by name or glob.
    pub(super) fn interface(&self) -> Option<Pattern> {
        let text = self.text(64)?;
        let pattern = Pattern(text.to_owned());
        if text.contains(['/', ' ']) || text == "." || text == ".." {
            return self.bad("not an interface name", "as in \"virbr0\" or \"br-*\"");
        }
        if pattern.is_literal() && text.len() > INTERFACE_BYTES_MAX {
            return self.bad(
                format!("an interface name of {} bytes", text.len()),
                format!("Linux allows {INTERFACE_BYTES_MAX}"),
            );
        }
        Some(pattern)
    }

    /// A glob for text that clients send.
    pub(super) fn glob(&self) -> Option<Pattern> {
        self.text(IDENTIFIER_BYTES_MAX).map(|text| Pattern(text.to_owned()))
    }

    /// A hardware address: six bytes of Ethernet, or `type/bytes`.
    pub(super) fn hardware(&self) -> Option<HwAddr> {
        let expected = "as in \"52:54:00:12:34:56\"";
        let text = self.string("a hardware address in a string")?;
        if let Some((htype, bytes)) = text.split_once('/') {
            let bytes = parse_hex(bytes).filter(|b| !b.is_empty());
            let hw = htype.parse().ok().zip(bytes);
            let hw = hw.and_then(|(htype, bytes)| HwAddr::new(htype, &bytes));
            return hw.or_else(|| self.bad("not a hardware address", expected));
        }
        let digits = |b: u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'-');
        let mac = text.parse::<Mac>().ok().filter(|_| text.bytes().all(digits));
        let Some(mac) = mac else {
            return self.bad("not a hardware address", expected);
        };
        if mac.is_group() {
            return self.bad("a multicast hardware address, which no host has", expected);
        }
        Some(mac.into())
    }

    /// Opaque bytes of an identifier: text, `0x` and hexadecimal, or `{ hex = ".." }`.
    pub(super) fn identifier(&self) -> Option<Bytes> {
        let bytes = match self.as_str() {
            Some(text) if text.starts_with("0x") => self.hex_bytes()?,
            Some(text) => {
                if looks_like_hex(text) {
                    let hex = text.replace([':', '-'], "");
                    let fault = self
                        .fault(FaultKind::Suspicious, "hexadecimal that is taken as text")
                        .expected(format!("write \"0x{hex}\" if bytes are meant"));
                    self.push(fault.warning());
                }
                text.as_bytes().to_vec()
            }
            None => self.hex_table()?,
        };
        if (1..=IDENTIFIER_BYTES_MAX).contains(&bytes.len()) {
            return Some(bytes.into());
        }
        self.bad(format!("an identifier of {} bytes", bytes.len()), "1 to 255 bytes")
    }

    /// `{ hex = "01 52" }`.
    fn hex_table(&self) -> Option<Vec<u8>> {
        let want = "text, \"0x..\" or { hex = \"..\" }";
        let entries = self.entries(want)?;
        match entries.as_slice() {
            [("hex", _, node)] => node.hex_bytes(),
            _ => self.bad("a table with other keys than `hex`", want),
        }
    }

    /// Bytes in hexadecimal, possibly with separators.
    pub(super) fn hex_bytes(&self) -> Option<Vec<u8>> {
        let text = self.string("hexadecimal digits in a string")?;
        match parse_hex(text) {
            Some(bytes) => Some(bytes),
            None => self.bad("not pairs of hexadecimal digits", "as in \"de ad be ef\""),
        }
    }

    /// A host name in lower case: labels of letters, digits and hyphens (RFC 1123 s2.1).
    pub(super) fn hostname(&self) -> Option<Arc<str>> {
        let text = self.text(253)?.to_ascii_lowercase();
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        if text.split('.').all(label) {
            return Some(text.into());
        }
        self.bad(
            "not a host name",
            "labels of letters, digits and inner hyphens, up to 63 characters each",
        )
    }
}

/// Whether one host can have `addr`.
pub(super) fn is_unicast(addr: Ipv4Addr) -> bool {
    !(addr.octets()[0] == 0 || addr.is_loopback() || addr.octets()[0] >= 224)
}

/// `1h30m`, `90s`, `100ms`, `2d`: numbers with units, the largest unit first.
fn parse_duration(text: &str) -> Option<Span> {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let (mut rest, mut total, mut units) = (text, 0u64, &UNITS[..]);
    if text.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let at = units.iter().position(|(name, _)| *name == unit)?;
        let (_, ms) = units.get(at)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*ms)?)?;
        units = units.get(at + 1..)?;
        rest = tail;
    }
    Some(Span::from_ms(total))
}

/// `16MiB`, `64KiB`, `1GiB`, `4096B`, `4096`.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// What was meant by a prefix with host bits.
fn without_host_bits(text: &str) -> Option<Prefix4> {
    let (addr, len) = text.split_once('/')?;
    Prefix4::new(addr.parse().ok()?, len.parse().ok()?)
}

/// Pairs of hexadecimal digits between colons or hyphens, at least three of them.
fn looks_like_hex(text: &str) -> bool {
    let pair = |p: &str| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit());
    [':', '-'].iter().any(|sep| text.split(*sep).count() >= 3 && text.split(*sep).all(pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_name_their_units() {
        let cases = [
            ("1h30m", Some(5_400_000)),
            ("90s", Some(90_000)),
            ("100ms", Some(100)),
            ("1m5ms", Some(60_005)),
            ("2d", Some(172_800_000)),
            ("", None),
            ("5", None),
            ("s", None),
            ("1s1s", None),
            ("1s1h", None),
            ("1.5h", None),
            ("-1s", None),
            ("1 h", None),
            ("99999999999999999999d", None),
            ("999999999999999999d", None),
        ];
        for (text, ms) in cases {
            assert_eq!(parse_duration(text), ms.map(Span::from_ms), "{text}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(parse_size("16MiB"), Some(16 << 20));
        assert_eq!(parse_size("64 KiB"), Some(64 << 10));
        assert_eq!(parse_size("4096"), Some(4096));
        for bad in ["", "MiB", "16MB", "1.5GiB", "99999999999GiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn hexadecimal_is_recognised_where_text_is_meant() {
        assert!(looks_like_hex("01:52:54:00"));
        assert!(looks_like_hex("aa-bb-cc"));
        assert!(!looks_like_hex("port-12"));
        assert!(!looks_like_hex("aa"));
    }
}
