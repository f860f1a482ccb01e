//! A table of options: `options = { routers = ["10.0.0.1"], .. }`.

use crate::config::fault::{Fault, FaultKind, Place};
use crate::config::node::{Node, join, nearest};
use crate::config::policy::{OptionSet, PolicyOption};

use super::define::{Definitions, Known, Space};
use super::types::{Type, Unit, WORDS};
use super::{value, vendor};

/// Longest value of one option, split or not: what a packet of 1,500 bytes has room for.
const OPTION_BYTES_MAX: usize = 1024;

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

/// Reads a table of DHCPv4 options. Those that fail have reported themselves.
pub(in crate::config) fn read(node: &Node<'_>, defs: &Definitions) -> OptionSet {
    let mut entries: Vec<(PolicyOption, Place)> = Vec::new();
    for (key, place, node) in node.entries("a table of options").unwrap_or_default() {
        let Some(known) = defs.find(Space::Dhcp4, key, &place, node.sink()) else { continue };
        let Some(wrapped) = unwrap(&node, true) else { continue };
        let Some(data) = encode(&wrapped, known, Space::Dhcp4, defs, &place) else { continue };
        if let Some((_, first)) = entries.iter().find(|(o, _)| o.code == known.code) {
            let message = format!("option {} is set twice", known.code);
            let fault = Fault::new(FaultKind::Duplicate, &place, message);
            node.push(fault.related(first, "first here"));
            continue;
        }
        let option = PolicyOption { code: known.code, data: data.into(), always: wrapped.always };
        entries.push((option, place));
    }
    let mut entries: Vec<PolicyOption> = entries.into_iter().map(|(option, _)| option).collect();
    entries.sort_by_key(|option| option.code);
    let set = OptionSet { entries };
    warn_of_lost_router(node, &set);
    set
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
            if space != Space::Dhcp4 || !matches!(unit, None | Some(Unit::Suboptions | Unit::Hex)) {
                return node.bad("this option has no sub-options", form_of(known));
            }
            data = vendor::suboptions(node, Space::within(known.code), defs)?;
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
