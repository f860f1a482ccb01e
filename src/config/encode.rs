//! Bytes of option values that are more than integers and addresses. Plain ones are written where
//! they are read (`options::value`); splitting of long options (RFC 3396) is the sender's. dhcproto
//! knows half of the options and splits what it encodes, so it judges these bytes in tests instead.

use std::net::Ipv4Addr;

use crate::base::Prefix4;

/// Longest DNS name on the wire, with its lengths and root (RFC 1035 s2.3.4).
const DOMAIN_BYTES_MAX: usize = 255;

/// Highest offset that a compression pointer can name (RFC 1035 s4.1.4).
const POINTER_MAX: usize = 0x3fff;

/// The labels of a DNS name, or what is wrong with it. A final dot is allowed.
pub(super) fn labels(name: &str) -> Result<Vec<&[u8]>, &'static str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if !name.is_ascii() {
        return Err("a name beyond ASCII; write its xn-- form");
    }
    let labels: Vec<&[u8]> = name.split('.').map(str::as_bytes).collect();
    if labels.iter().any(|l| l.is_empty()) {
        return Err("an empty label");
    }
    if labels.iter().any(|l| l.len() > 63) {
        return Err("a label over 63 characters");
    }
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !labels.iter().all(|l| l.iter().all(allowed)) {
        return Err("a character that no domain name has");
    }
    if labels.iter().map(|l| l.len() + 1).sum::<usize>() + 1 > DOMAIN_BYTES_MAX {
        return Err("a name over 255 bytes");
    }
    Ok(labels)
}

/// One name, uncompressed (RFC 1035 s3.1).
pub(super) fn domain(out: &mut Vec<u8>, labels: &[&[u8]]) {
    for label in labels {
        out.push(label.len() as u8);
        out.extend_from_slice(label);
    }
    out.push(0);
}

/// Appends one name to a search list, compressed against the names before it (RFC 3397 s2).
/// `out` must hold nothing but the list, since pointers count from its start.
pub(super) fn compressed_domain(out: &mut Vec<u8>, labels: &[&[u8]]) {
    for (i, label) in labels.iter().enumerate() {
        if let Some(at) = find_suffix(out, labels.get(i..).unwrap_or_default()) {
            out.extend_from_slice(&(0xc000 | at as u16).to_be_bytes());
            return;
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label);
    }
    out.push(0);
}

/// Where in the list `list` the name `suffix` already stands.
fn find_suffix(list: &[u8], suffix: &[&[u8]]) -> Option<usize> {
    let mut at = 0;
    while let Some(len) = list.get(at).copied() {
        match len {
            0 => at += 1,
            0xc0.. => at += 2,
            _ => {
                if at <= POINTER_MAX && name_at(list, at).as_deref() == Some(suffix) {
                    return Some(at);
                }
                at += 1 + usize::from(len);
            }
        }
    }
    None
}

/// The name that begins at `at`, pointers followed; each points backwards, so this ends.
fn name_at(list: &[u8], mut at: usize) -> Option<Vec<&[u8]>> {
    let mut labels = Vec::new();
    loop {
        match *list.get(at)? {
            0 => return Some(labels),
            high @ 0xc0.. => at = usize::from(high & 0x3f) << 8 | usize::from(*list.get(at + 1)?),
            len => {
                labels.push(list.get(at + 1..at + 1 + usize::from(len))?);
                at += 1 + usize::from(len);
            }
        }
    }
}

/// Destination descriptor, then router (RFC 3442).
pub(super) fn route(out: &mut Vec<u8>, to: Prefix4, via: Ipv4Addr) {
    let significant = usize::from(to.len().div_ceil(8));
    out.push(to.len());
    out.extend(to.network().octets().iter().take(significant));
    out.extend_from_slice(&via.octets());
}

/// Code, length, value of an encapsulated option; `false` if the value is over 255 bytes.
pub(super) fn suboption(out: &mut Vec<u8>, code: u8, value: &[u8]) -> bool {
    let Ok(len) = u8::try_from(value.len()) else { return false };
    out.extend_from_slice(&[code, len]);
    out.extend_from_slice(value);
    true
}

/// Code, length, value of a DHCPv6 option or what it encapsulates (RFC 9915 s21.1); `false` if
/// the value is over 65,535 bytes.
pub(super) fn suboption6(out: &mut Vec<u8>, code: u16, value: &[u8]) -> bool {
    let Ok(len) = u16::try_from(value.len()) else { return false };
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(value);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search_list(names: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for name in names {
            compressed_domain(&mut out, &labels(name).unwrap());
        }
        out
    }

    #[test]
    fn search_lists_compress_as_in_rfc_3397() {
        // The example of RFC 3397 s2.
        let want = b"\x03eng\x05apple\x03com\0\x09marketing\xc0\x04";
        assert_eq!(search_list(&["eng.apple.com.", "marketing.apple.com."]), want);
    }

    #[test]
    fn a_name_that_was_said_is_one_pointer() {
        assert_eq!(search_list(&["a.b", "b", "a.b"]), b"\x01a\x01b\0\xc0\x02\xc0\0");
    }

    #[test]
    fn names_have_limits() {
        assert!(labels("example.net").is_ok());
        assert!(labels("").is_err());
        assert!(labels("a..b").is_err());
        assert!(labels(&"a".repeat(64)).is_err());
        assert!(labels(&vec!["a".repeat(63); 4].join(".")).is_err());
        assert!(labels("b\u{fc}cher.example").is_err());
        assert!(labels("a b").is_err());
    }

    #[test]
    fn routes_carry_their_significant_bytes() {
        let cases: [(&str, &[u8]); 3] = [
            ("0.0.0.0/0", &[0, 10, 0, 0, 1]),
            ("10.17.0.0/16", &[16, 10, 17, 10, 0, 0, 1]),
            ("10.27.129.128/25", &[25, 10, 27, 129, 128, 10, 0, 0, 1]),
        ];
        for (to, want) in cases {
            let mut out = Vec::new();
            route(&mut out, to.parse().unwrap(), Ipv4Addr::new(10, 0, 0, 1));
            assert_eq!(out, want, "{to}");
        }
    }
}
