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
/// each run of other bytes becomes one hyphen. No label starts or ends with a hyphen, is empty,
/// or is over 63 bytes (the rest is cut off); labels that would take the whole over 253 bytes
/// are left out.
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
    let mut gap = false;
    for byte in label {
        if byte.is_ascii_control() {
            continue;
        }
        if *byte == b'-' && !gap && out.len() > start && out.len() < start + LABEL_MAX {
            out.push('-');
        } else if byte.is_ascii_alphanumeric() {
            let want = 1 + usize::from(gap && out.len() > start);
            if out.len() + want > start + LABEL_MAX {
                break;
            }
            if want == 2 {
                out.push('-');
            }
            gap = false;
            out.push(char::from(byte.to_ascii_lowercase()));
        } else if *byte != b'-' {
            gap = !out.ends_with('-');
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
