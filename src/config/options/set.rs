//! A table of options: `options = { routers = ["10.0.0.1"], .. }`.

use crate::config::fault::{Fault, FaultKind, Place};
use crate::config::node::{Node, join, nearest};
use crate::config::policy::{OptionSet, OptionSet6, PolicyOption, PolicyOption6};

use super::define::{Definitions, Known, Space};
use super::types::{Type, Unit, WORDS};
use super::{value, vendor};

/// Longest value of one option, split or not: what a packet of 1,500 bytes has room for.
pub(super) const OPTION_BYTES_MAX: usize = 1024;

/// Keys of a table that wraps a value.
const WRAPPER_KEYS: [&str; 7] =
    ["value", "hex", "suboptions", "enterprises", "always", "type", "array"];

/// The value of an option, however it was written.
pub(super) struct Wrapped<'a> {
    node: Node<'a>,
    form: Form,
    always: bool,
    ty: Option<Type>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Hex,
    Suboptions,
    Enterprises,
}

/// One option as it was set.
struct Entry {
    code: u16,
    /// What its instances say: one of DHCPv4, one or more of DHCPv6.
    data: Vec<Vec<u8>>,
    always: bool,
    place: Place,
}

/// Reads a table of DHCPv4 options. Those that fail have reported themselves.
pub(in crate::config) fn read(node: &Node<'_>, defs: &Definitions) -> OptionSet {
    let option = |entry: Entry| {
        let data = entry.data.concat().into();
        Some(PolicyOption { code: u8::try_from(entry.code).ok()?, data, always: entry.always })
    };
    let entries = entries(node, Space::Dhcp4, defs).into_iter().filter_map(option).collect();
    let set = OptionSet::new(entries);
    warn_of_lost_router(node, &set);
    set
}

/// Reads a table of DHCPv6 options. Those that fail have reported themselves.
pub(in crate::config) fn read6(node: &Node<'_>, defs: &Definitions) -> OptionSet6 {
    let options = |Entry { code, data, always, .. }: Entry| {
        data.into_iter().map(move |data| PolicyOption6 { code, data: data.into(), always })
    };
    let entries = entries(node, Space::Dhcp6, defs).into_iter().flat_map(options).collect();
    OptionSet6 { entries }
}

/// The bytes of option 60 from the parameters of a boot file (RFC 5970 s3.2).
pub(in crate::config) fn boot_params(node: &Node<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    value::encode(node, Type { unit: Unit::LongText, list: true }, &mut out)?;
    if out.len() > OPTION_BYTES_MAX {
        return node.bad(format!("{} bytes in one option", out.len()), "at most 1024 bytes");
    }
    Some(out)
}

/// The options of a table, ascending by code.
fn entries(node: &Node<'_>, space: Space, defs: &Definitions) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (key, place, node) in node.entries("a table of options").unwrap_or_default() {
        let Some(known) = defs.find(space, key, &place, node.sink()) else { continue };
        let Some(wrapped) = unwrap(&node, true) else { continue };
        let data = match space {
            Space::Dhcp6 => instances(&wrapped, known, defs, &place),
            _ => encode(&wrapped, known, space, defs, &place).map(|data| vec![data]),
        };
        let Some(data) = data else { continue };
        let code = known.code;
        if let Some(first) = entries.iter().find(|entry| entry.code == code) {
            let message = format!("option {code} is set twice");
            let fault = Fault::new(FaultKind::Duplicate, &place, message);
            node.push(fault.related(&first.place, "first here"));
            continue;
        }
        entries.push(Entry { code, data, always: wrapped.always, place });
    }
    entries.sort_by_key(|entry| entry.code);
    entries
}

/// The bytes of each instance of a DHCPv6 option: one for each enterprise (RFC 9915 s21.16,
/// s21.17) and for each NTP server (RFC 5908 s4).
fn instances(
    wrapped: &Wrapped<'_>,
    known: Known,
    defs: &Definitions,
    place: &Place,
) -> Option<Vec<Vec<u8>>> {
    let node = &wrapped.node;
    match (wrapped.form, known.ty.map(|ty| ty.unit)) {
        (Form::Enterprises, Some(Unit::Enterprises { encapsulated })) => {
            vendor::enterprises6(node, encapsulated, defs)
        }
        (Form::Plain, Some(Unit::NtpServer)) if wrapped.ty.is_none() && node.is_list() => {
            let items = node.list();
            if items.is_empty() {
                return node.bad("an empty list", "at least one value");
            }
            let read = |item: &Node<'_>| {
                let mut out = Vec::new();
                value::encode(item, Type::one(Unit::NtpServer), &mut out).map(|()| out)
            };
            let data: Vec<Vec<u8>> = items.iter().filter_map(read).collect();
            (data.len() == items.len()).then_some(data)
        }
        _ => encode(wrapped, known, Space::Dhcp6, defs, place).map(|data| vec![data]),
    }
}

/// RFC 3442: a client that takes classless routes ignores routers, so the default route must be
/// among them.
fn warn_of_lost_router(node: &Node<'_>, set: &OptionSet) {
    let (Some(routes), Some(_)) = (set.get(121), set.get(3)) else { return };
    let mut rest = &*routes.data;
    while let Some((len, tail)) = rest.split_first() {
        if *len == 0 {
            return;
        }
        rest = tail.get(usize::from(len.div_ceil(8)) + 4..).unwrap_or_default();
    }
    let message = "clients that take classless-static-routes ignore routers";
    let expected = "add the default route to them: { to = \"0.0.0.0/0\", via = \"..\" }";
    node.push(node.fault(FaultKind::Suspicious, message).expected(expected).warning());
}

/// Takes the wrapping table off, if there is one.
pub(super) fn unwrap<'a>(node: &Node<'a>, always_allowed: bool) -> Option<Wrapped<'a>> {
    let plain = Wrapped { node: node.clone(), form: Form::Plain, always: false, ty: None };
    if !node.is_table() || !WRAPPER_KEYS.iter().any(|key| node.has_key(key)) {
        return Some(plain);
    }
    let (mut always, mut word, mut list) = (false, None, false);
    let mut values = Vec::new();
    let mut failed = false;
    for (key, place, entry) in node.entries("a table").unwrap_or_default() {
        match key {
            "value" => values.push((entry, Form::Plain)),
            "hex" => values.push((entry, Form::Hex)),
            "suboptions" => values.push((entry, Form::Suboptions)),
            "enterprises" => values.push((entry, Form::Enterprises)),
            "always" if always_allowed => match entry.boolean() {
                Some(flag) => always = flag,
                None => failed = true,
            },
            "always" => {
                let message = "`always` within an option";
                let fault = Fault::new(FaultKind::UnknownKey, &place, message);
                node.push(fault.expected("say it beside `suboptions`, for the whole option"));
                failed = true;
            }
            "type" => match entry.word(&WORDS) {
                Some(unit) => word = Some(unit),
                None => failed = true,
            },
            "array" => match entry.boolean() {
                Some(flag) => list = flag,
                None => failed = true,
            },
            other => {
                let message = format!("unknown key `{other}` of an option");
                let near = nearest(other, WRAPPER_KEYS)
                    .map_or(WRAPPER_KEYS.join(", "), |k| format!("did you mean `{k}`?"));
                node.push(Fault::new(FaultKind::UnknownKey, &place, message).expected(near));
                failed = true;
            }
        }
    }
    let ty = word.map(|unit| Type { unit, list });
    match (values.len(), values.pop()) {
        _ if failed => None,
        (1, Some((node, form))) => Some(Wrapped { node, form, always, ty }),
        _ => node.bad("not exactly one value", "one of value, hex, suboptions, enterprises"),
    }
}

/// The bytes of one option or sub-option.
pub(super) fn encode(
    wrapped: &Wrapped<'_>,
    known: Known,
    space: Space,
    defs: &Definitions,
    place: &Place,
) -> Option<Vec<u8>> {
    let node = &wrapped.node;
    if let Some(Type { unit: Unit::Refused(why), .. }) = known.ty {
        let message = format!("option {} is not for the configuration to set", known.code);
        node.push(Fault::new(FaultKind::Conflict, place, message).expected(why));
        return None;
    }
    let mut data = Vec::new();
    match wrapped.form {
        Form::Hex => data = node.hex_bytes()?,
        Form::Suboptions => {
            let unit = known.ty.map(|ty| ty.unit);
            if !space.is_top() || !matches!(unit, None | Some(Unit::Suboptions | Unit::Hex)) {
                return node.bad("this option has no sub-options", form_of(known));
            }
            data = vendor::suboptions(node, space.within(known.code), defs)?;
        }
        Form::Enterprises => {
            let Some(Type { unit: Unit::Enterprises { encapsulated }, .. }) = known.ty else {
                return node.bad("this option knows no enterprises", form_of(known));
            };
            data = vendor::enterprises(node, encapsulated, defs)?;
        }
        Form::Plain => {
            let ty = plain_type(wrapped, known, place)?;
            value::encode(node, ty, &mut data)?;
        }
    }
    if data.len() > OPTION_BYTES_MAX {
        return node.bad(format!("{} bytes in one option", data.len()), "at most 1024 bytes");
    }
    Some(data)
}

/// The type of a plain value: what the name means, or what stands beside the value.
fn plain_type(wrapped: &Wrapped<'_>, known: Known, place: &Place) -> Option<Type> {
    let node = &wrapped.node;
    match (known.ty, wrapped.ty) {
        (Some(ty), None) => Some(ty),
        (None, Some(ty)) => Some(ty),
        (Some(ty), Some(said)) if ty == said => Some(ty),
        (Some(ty), Some(_)) => node.bad(
            format!("option {} has a type of its own", known.code),
            format!("leave out `type`; the value is {}", ty.form()),
        ),
        (None, None) => {
            let key = place.key.rsplit('.').next().unwrap_or_default();
            node.bad(
                format!("option {} has no known type", known.code),
                format!(
                    "{}, {}, or a definition in [option-definitions]",
                    join("", key) + " = { hex = \"..\" }",
                    "{ value = .., type = \"text\" }"
                ),
            )
        }
    }
}

fn form_of(known: Known) -> String {
    known.ty.map_or_else(|| "a value or { hex = \"..\" }".to_owned(), Type::form)
}
