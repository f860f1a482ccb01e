//! Domain names: cleaning what a client calls itself, and names in their wire form (RFC 1035).

use std::fmt;

/// Longest label, in bytes (RFC 1035 s2.3.4).
pub const LABEL_MAX: usize = 63;
/// Longest name as text, without the trailing dot (255 bytes on the wire).
pub const NAME_MAX: usize = 253;
/// Longest name on the wire, with its length bytes and the root label (RFC 1035 s2.3.4).
pub const WIRE_MAX: usize = 255;
/// Most names that one search list may hold when read.
pub const SEARCH_LIST_MAX: usize = 128;

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// An empty label inside the name.
    EmptyLabel,
    /// A label of this many bytes; 63 at most.
    LabelTooLong(usize),
    /// Over 255 bytes on the wire.
    NameTooLong,
    /// The bytes end inside the name.
    Truncated,
    /// A compression pointer that does not go strictly backwards, so that it could be a cycle.
    ForwardPointer,
    /// A compression pointer where none is allowed.
    Pointer,
    /// A length byte of neither a label nor a pointer (RFC 1035 s4.1.4).
    BadLength(u8),
    /// A byte that text cannot show: not graphic ASCII, or a dot inside a label.
    BadByte(u8),
    /// More than [`SEARCH_LIST_MAX`] names.
    TooManyNames,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::EmptyLabel => f.write_str("empty label in the name"),
            NameError::LabelTooLong(len) => {
                write!(f, "label of {len} bytes, at most {LABEL_MAX} are allowed")
            }
            NameError::NameTooLong => {
                write!(f, "name over {NAME_MAX} bytes")
            }
            NameError::Truncated => f.write_str("name runs past the end of its bytes"),
            NameError::ForwardPointer => {
                f.write_str("compression pointer does not go strictly backwards")
            }
            NameError::Pointer => f.write_str("compression pointer where none is allowed"),
            NameError::BadLength(byte) => {
                write!(f, "label length byte {byte:#04x}, want up to 0x3f or a pointer from 0xc0")
            }
            NameError::BadByte(byte) => write!(f, "byte {byte:#04x} in a label"),
            NameError::TooManyNames => write!(f, "more than {SEARCH_LIST_MAX} names"),
        }
    }
}

impl std::error::Error for NameError {}

/// A valid lower-case host or domain name made of what a client sent, or `None` if nothing is
/// left of it.
///
/// Letters, digits and hyphens stay (RFC 1123 s2.1); control characters, NUL among them, vanish;
/// every other byte becomes a hyphen, unless one stands before it. No label starts or ends with
/// a hyphen, is empty, or is over 63 bytes (the rest is cut off); the labels from the one on that
/// would take the whole over 253 bytes are left out.
pub fn clean_hostname(raw: &[u8]) -> Option<Box<str>> {
    let mut name = String::with_capacity(raw.len().min(NAME_MAX));
    for label in raw.split(|byte| *byte == b'.') {
        let start = name.len();
        let dot = usize::from(start > 0);
        if dot == 1 {
            name.push('.');
        }
        clean_label(label, &mut name);
        if name.len() == start + dot {
            name.truncate(start);
        } else if name.len() > NAME_MAX {
            name.truncate(start);
            break;
        }
    }
    (!name.is_empty()).then(|| name.into_boxed_str())
}

fn clean_label(label: &[u8], out: &mut String) {
    let start = out.len();
    for byte in label.iter().filter(|byte| !byte.is_ascii_control()) {
        if out.len() == start + LABEL_MAX {
            break;
        }
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte.to_ascii_lowercase()));
        } else if out.len() > start && (*byte == b'-' || !out.ends_with('-')) {
            out.push('-');
        }
    }
    while out.len() > start && out.ends_with('-') {
        out.pop();
    }
}

/// Appends `name` in wire form, uncompressed and with the root label (RFC 1035 s3.1).
///
/// A trailing dot is allowed; an empty name or a lone dot is the root. On error `out` is as it
/// was before.
pub fn encode_name(name: &str, out: &mut Vec<u8>) -> Result<(), NameError> {
    let start = out.len();
    let done = check_name(name).map(|()| {
        for label in labels(name) {
            push_label(label, out);
        }
        out.push(0);
    });
    if done.is_err() {
        out.truncate(start);
    }
    done
}

/// Appends a domain search list (option 119): names one after the other, each ending in the root
/// label or in a pointer to an earlier suffix, as RFC 3397 s2 permits.
///
/// Pointers count from where `out` ended at the call: that must be the start of the option's
/// data. On error `out` is as it was before.
pub fn encode_search_list<'a>(
    names: impl IntoIterator<Item = &'a str>,
    out: &mut Vec<u8>,
) -> Result<(), NameError> {
    let start = out.len();
    let mut seen: Vec<(&'a str, usize)> = Vec::new();
    for name in names {
        if let Err(error) = check_name(name) {
            out.truncate(start);
            return Err(error);
        }
        encode_suffixes(name, start, &mut seen, out);
    }
    Ok(())
}

fn encode_suffixes<'a>(
    name: &'a str,
    start: usize,
    seen: &mut Vec<(&'a str, usize)>,
    out: &mut Vec<u8>,
) {
    let mut rest = name.strip_suffix('.').unwrap_or(name);
    while !rest.is_empty() {
        if let Some((_, at)) = seen.iter().find(|(suffix, _)| *suffix == rest) {
            out.extend_from_slice(&(0xc000 | *at as u16).to_be_bytes());
            return;
        }
        let at = out.len() - start;
        // A pointer has 14 bits for its offset (RFC 1035 s4.1.4).
        if at < 0x4000 {
            seen.push((rest, at));
        }
        let (label, tail) = rest.split_once('.').unwrap_or((rest, ""));
        push_label(label, out);
        rest = tail;
    }
    out.push(0);
}

fn labels(name: &str) -> impl Iterator<Item = &str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.split('.').filter(|label| !label.is_empty())
}

/// Whether `name` can be put on the wire as it is.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Ok(());
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if label.len() > LABEL_MAX {
            return Err(NameError::LabelTooLong(label.len()));
        }
        if let Some(byte) = label.bytes().find(|byte| !byte.is_ascii_graphic()) {
            return Err(NameError::BadByte(byte));
        }
    }
    if name.len() > NAME_MAX { Err(NameError::NameTooLong) } else { Ok(()) }
}

fn push_label(label: &str, out: &mut Vec<u8>) {
    out.push(label.len() as u8);
    out.extend_from_slice(label.as_bytes());
}

/// Reads the name that starts at `at`: its text without a trailing dot (the root is the empty
/// text), and where the bytes after it start.
///
/// Compression pointers count from the start of `data` and must go strictly backwards, each
/// further than the one before, so that reading always ends.
pub fn decode_name(data: &[u8], at: usize) -> Result<(String, usize), NameError> {
    let mut name = String::new();
    let mut next = None;
    let mut run = at;
    let mut cursor = at;
    loop {
        let len = *data.get(cursor).ok_or(NameError::Truncated)?;
        match len {
            0 => return Ok((name, next.unwrap_or(cursor + 1))),
            1..=0x3f => {
                let end = cursor + 1 + usize::from(len);
                let label = data.get(cursor + 1..end).ok_or(NameError::Truncated)?;
                append_label(label, &mut name)?;
                cursor = end;
            }
            0xc0.. => {
                let low = *data.get(cursor + 1).ok_or(NameError::Truncated)?;
                let target = usize::from(len & 0x3f) << 8 | usize::from(low);
                if target >= run {
                    return Err(NameError::ForwardPointer);
                }
                next.get_or_insert(cursor + 2);
                run = target;
                cursor = target;
            }
            _ => return Err(NameError::BadLength(len)),
        }
    }
}

/// Reads all of `data` as one name without compression; the root label may be missing, which
/// makes the name a relative one (RFC 4702 s2.3.1). Bytes after the root label are not looked at.
pub fn decode_uncompressed(data: &[u8]) -> Result<String, NameError> {
    let mut name = String::new();
    let mut rest = data;
    while let Some((len, tail)) = rest.split_first() {
        match len {
            0 => break,
            1..=0x3f => {
                let (label, tail) =
                    tail.split_at_checked(usize::from(*len)).ok_or(NameError::Truncated)?;
                append_label(label, &mut name)?;
                rest = tail;
            }
            0xc0.. => return Err(NameError::Pointer),
            _ => return Err(NameError::BadLength(*len)),
        }
    }
    Ok(name)
}

/// Reads a domain search list (option 119, RFC 3397 s2).
pub fn decode_search_list(data: &[u8]) -> Result<Vec<String>, NameError> {
    let mut names = Vec::new();
    let mut at = 0;
    while at < data.len() {
        if names.len() == SEARCH_LIST_MAX {
            return Err(NameError::TooManyNames);
        }
        let (name, next) = decode_name(data, at)?;
        names.push(name);
        at = next;
    }
    Ok(names)
}

fn append_label(label: &[u8], name: &mut String) -> Result<(), NameError> {
    if !name.is_empty() {
        name.push('.');
    }
    for byte in label {
        if !byte.is_ascii_graphic() || *byte == b'.' {
            return Err(NameError::BadByte(*byte));
        }
        name.push(char::from(*byte));
    }
    if name.len() > NAME_MAX { Err(NameError::NameTooLong) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames_are_cleaned() {
        let cases: &[(&[u8], Option<&str>)] = &[
            (b"web1", Some("web1")),
            (b"WEB1.Example.ORG", Some("web1.example.org")),
            (b"web1\0", Some("web1")),
            (b"web1\0\0\0", Some("web1")),
            (b"my laptop", Some("my-laptop")),
            (b"a__b", Some("a-b")),
            (b"a--b", Some("a--b")),
            (b"a-_-b", Some("a--b")),
            (b"-web-", Some("web")),
            (b"_web_", Some("web")),
            (b"a.-.b", Some("a.b")),
            (b"..a..b..", Some("a.b")),
            ("jörg".as_bytes(), Some("j-rg")),
            (b"evil\r\nname,with;stuff", Some("evilname-with-stuff")),
            (b"../../etc/passwd", Some("etc-passwd")),
            (b"", None),
            (b"\0", None),
            (b"---", None),
            (b"...", None),
            (b"_ _", None),
            (b"\xff\xfe", None),
        ];
        for (raw, want) in cases {
            assert_eq!(clean_hostname(raw).as_deref(), *want, "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn cleaned_labels_stop_at_63_bytes_and_names_at_253() {
        assert_eq!(clean_hostname(&[b'a'; 64]).unwrap().len(), 63);
        // The cut falls on a hyphen, which must not be the last byte.
        let cut = [[b'a'; 62].as_slice(), b"-b"].concat();
        assert_eq!(clean_hostname(&cut).unwrap().len(), 62);
        let long = [[b'a'; 63]; 5].join(&b'.');
        let name = clean_hostname(&long).unwrap();
        assert_eq!(name.len(), 63 * 3 + 2, "the fourth label would make 255");
        assert_eq!(clean_hostname(&[b'.'; 70_000]), None);
    }

    #[test]
    fn cleaning_twice_changes_nothing() {
        for raw in [b"A_b-.-c\0d".as_slice(), b"x-.y", &[b'-'; 80], &[0xc3; 300]] {
            let once = clean_hostname(raw);
            let twice = once.as_deref().and_then(|name| clean_hostname(name.as_bytes()));
            assert_eq!(once, twice);
        }
    }

    fn encoded(name: &str) -> Result<Vec<u8>, NameError> {
        let mut out = Vec::new();
        encode_name(name, &mut out).map(|()| out)
    }

    #[test]
    fn names_encode_with_their_root() {
        assert_eq!(encoded("a.bc").unwrap(), b"\x01a\x02bc\0");
        assert_eq!(encoded("a.bc.").unwrap(), b"\x01a\x02bc\0");
        assert_eq!(encoded("").unwrap(), b"\0");
        assert_eq!(encoded(".").unwrap(), b"\0");
        assert_eq!(encoded("a..b"), Err(NameError::EmptyLabel));
        assert_eq!(encoded("a b"), Err(NameError::BadByte(b' ')));
        assert_eq!(encoded(&"a".repeat(64)), Err(NameError::LabelTooLong(64)));
        let longest = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        assert_eq!(encoded(&longest).unwrap().len(), WIRE_MAX);
        assert_eq!(encoded(&format!("{longest}e")), Err(NameError::NameTooLong));
    }

    #[test]
    fn a_failed_encoding_leaves_no_bytes() {
        let mut out = b"before".to_vec();
        assert!(encode_name("good.b d", &mut out).is_err());
        assert!(encode_search_list(["good.example", "b d"], &mut out).is_err());
        assert_eq!(out, b"before");
    }

    #[test]
    fn search_lists_share_suffixes() {
        // The example of RFC 3397 s2, as one list.
        let mut out = b"before".to_vec();
        encode_search_list(["eng.apple.com", "marketing.apple.com"], &mut out).unwrap();
        assert_eq!(&out[6..], b"\x03eng\x05apple\x03com\0\x09marketing\xc0\x04");
        assert_eq!(
            decode_search_list(&out[6..]).unwrap(),
            ["eng.apple.com", "marketing.apple.com"]
        );
    }

    #[test]
    fn search_lists_longer_than_a_pointer_reaches_stay_right() {
        let label = |i: usize, c: &str| format!("{i:03}{}", c.repeat(60));
        let names: Vec<String> =
            (0..120).map(|i| [label(i, "a"), label(i, "b"), label(i, "c")].join(".")).collect();
        let all = names.iter().chain(names.iter().rev()).map(String::as_str);
        let twice = all.take(SEARCH_LIST_MAX);
        let mut out = vec![];
        encode_search_list(twice.clone(), &mut out).unwrap();
        assert!(out.len() > 0x4000, "{} bytes", out.len());
        assert_eq!(decode_search_list(&out).unwrap(), twice.collect::<Vec<_>>());
    }

    #[test]
    fn compression_pointers_go_strictly_backwards() {
        // Itself; forwards; a pair that would circle; into the run that holds the pointer.
        for (data, at) in [
            (b"\xc0\x00".as_slice(), 0),
            (b"\xc0\x02\x01a\x00", 0),
            (b"\xc0\x02\xc0\x00", 2),
            (b"\x01a\xc0\x00", 0),
            (b"\x01a\xc0\x02", 0),
        ] {
            assert_eq!(decode_name(data, at), Err(NameError::ForwardPointer), "{data:x?}");
        }
        assert_eq!(decode_name(b"\x01a\0\x01b\xc0\x00", 3), Ok(("b.a".into(), 7)));
    }

    #[test]
    fn pointer_chains_are_bounded_by_the_name_length() {
        // Each name is one label and a pointer to the one before it.
        let mut data = b"\x01a\0".to_vec();
        let mut last = 0u16;
        for _ in 0..200 {
            let at = data.len() as u16;
            data.extend_from_slice(b"\x01b");
            data.extend_from_slice(&(0xc000 | last).to_be_bytes());
            last = at;
        }
        assert_eq!(decode_name(&data, usize::from(last)), Err(NameError::NameTooLong));
    }

    #[test]
    fn damaged_names_are_errors() {
        assert_eq!(decode_name(b"", 0), Err(NameError::Truncated));
        assert_eq!(decode_name(b"\x03ab", 0), Err(NameError::Truncated));
        assert_eq!(decode_name(b"\x01a", 0), Err(NameError::Truncated));
        assert_eq!(decode_name(b"\xc0", 0), Err(NameError::Truncated));
        assert_eq!(decode_name(b"\x40a", 0), Err(NameError::BadLength(0x40)));
        assert_eq!(decode_name(b"\x01.\0", 0), Err(NameError::BadByte(b'.')));
        assert_eq!(decode_name(b"\0", usize::MAX), Err(NameError::Truncated));
        let long = [b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(5);
        assert_eq!(decode_name(&long, 0), Err(NameError::NameTooLong));
        assert_eq!(decode_search_list(&[0; 129]), Err(NameError::TooManyNames));
    }

    #[test]
    fn uncompressed_names_may_lack_their_root() {
        assert_eq!(decode_uncompressed(b"\x01a\x01b\0").unwrap(), "a.b");
        assert_eq!(decode_uncompressed(b"\x01a\x01b").unwrap(), "a.b");
        assert_eq!(decode_uncompressed(b"").unwrap(), "");
        assert_eq!(decode_uncompressed(b"\x01a\xc0\x00"), Err(NameError::Pointer));
        assert_eq!(decode_uncompressed(b"\x05a"), Err(NameError::Truncated));
    }
}
