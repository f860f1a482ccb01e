//! Options within options: sub-options (43, 175 and their kind) and enterprises (124, 125).

use crate::config::encode;
use crate::config::fault::{Fault, FaultKind, Place};
use crate::config::node::Node;

use super::define::{Definitions, Space};
use super::set;

/// Sub-options one after another, as code, length and value (RFC 2132 s8.4), by ascending code.
pub(super) fn suboptions(node: &Node<'_>, space: Space, defs: &Definitions) -> Option<Vec<u8>> {
    let entries = node.entries("a table of sub-options")?;
    let mut subs: Vec<(u16, Vec<u8>, Place)> = Vec::new();
    let mut failed = entries.is_empty();
    if failed {
        node.bad::<()>("no sub-options", "at least one");
    }
    for (key, place, node) in entries {
        match suboption(key, &place, &node, space, defs) {
            Some((code, _)) if subs.iter().any(|(c, _, _)| *c == code) => {
                let fault = Fault::new(
                    FaultKind::Duplicate,
                    &place,
                    format!("sub-option {code} is set twice"),
                );
                let first = subs.iter().find(|(c, _, _)| *c == code).map(|(_, _, p)| p);
                node.push(first.map_or(fault.clone(), |p| fault.related(p, "first here")));
                failed = true;
            }
            Some((code, value)) => subs.push((code, value, place)),
            None => failed = true,
        }
    }
    subs.sort_by_key(|(code, _, _)| *code);
    let mut out = Vec::new();
    for (code, value, _) in &subs {
        match u8::try_from(*code) {
            Ok(code) if !space.is_wide() => encode::suboption(&mut out, code, value),
            _ => encode::suboption6(&mut out, *code, value),
        };
    }
    (!failed).then_some(out)
}

fn suboption(
    key: &str,
    place: &Place,
    node: &Node<'_>,
    space: Space,
    defs: &Definitions,
) -> Option<(u16, Vec<u8>)> {
    let known = defs.find(space, key, place, node.sink())?;
    let wrapped = set::unwrap(node, false)?;
    let value = set::encode(&wrapped, known, space, defs, place)?;
    if value.len() > 255 && !space.is_wide() {
        return node.bad(format!("{} bytes in a sub-option", value.len()), "at most 255 bytes");
    }
    Some((known.code, value))
}

/// Data by enterprise number (RFC 3925 s3, s4).
pub(super) fn enterprises(
    node: &Node<'_>,
    encapsulated: bool,
    defs: &Definitions,
) -> Option<Vec<u8>> {
    let each = each_enterprise(node, |number, node| {
        let data = if encapsulated {
            suboptions(node, Space::Enterprise(number), defs)?
        } else {
            classes(node, false)?
        };
        let Ok(len) = u8::try_from(data.len()) else {
            let message = format!("{} bytes for one enterprise", data.len());
            return node.bad(message, "at most 255 bytes");
        };
        Some([&number.to_be_bytes()[..], &[len], &data].concat())
    });
    each.map(|each| each.concat())
}

/// An instance of the option for each enterprise (RFC 9915 s21.16, s21.17).
pub(super) fn enterprises6(
    node: &Node<'_>,
    encapsulated: bool,
    defs: &Definitions,
) -> Option<Vec<Vec<u8>>> {
    each_enterprise(node, |number, node| {
        let data = if encapsulated {
            suboptions(node, Space::Within6(17), defs)?
        } else {
            classes(node, true)?
        };
        if data.len() > set::OPTION_BYTES_MAX {
            return node.bad(format!("{} bytes for one enterprise", data.len()), "at most 1024");
        }
        Some([&number.to_be_bytes()[..], &data].concat())
    })
}

/// What `read` makes of the value of each enterprise.
fn each_enterprise<'a>(
    node: &Node<'a>,
    mut read: impl FnMut(u32, &Node<'a>) -> Option<Vec<u8>>,
) -> Option<Vec<Vec<u8>>> {
    let entries = node.entries("a table of enterprise numbers")?;
    if entries.is_empty() {
        return node.bad("no enterprises", "at least one");
    }
    let all = entries.len();
    let mut out = Vec::new();
    for (key, place, node) in entries {
        let number = enterprise_number(key, &place, &node);
        out.extend(number.and_then(|number| read(number, &node)));
    }
    (out.len() == all).then_some(out)
}

fn enterprise_number(key: &str, place: &Place, node: &Node<'_>) -> Option<u32> {
    let Ok(number) = key.parse::<u32>() else {
        let fault = Fault::new(FaultKind::BadValue, place, "not an enterprise number");
        node.push(fault.expected("a number that IANA assigned, as in 4491"));
        return None;
    };
    Some(number)
}

/// Vendor class data: each with its length in front, of two bytes if `wide`.
fn classes(node: &Node<'_>, wide: bool) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut failed = false;
    for item in node.list() {
        match item.identifier() {
            // An identifier is at most 255 bytes long.
            Some(bytes) => {
                if wide {
                    out.push(0);
                }
                out.push(bytes.len() as u8);
                out.extend_from_slice(&bytes);
            }
            None => failed = true,
        }
    }
    (!failed).then_some(out)
}
