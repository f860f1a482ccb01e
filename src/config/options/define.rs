//! Which code and type a name means: the standard's, and the operator's own
//! (`[option-definitions.NAME]`).

use crate::config::fault::{Fault, FaultKind, Place, Sink};
use crate::config::node::{Node, Table, nearest};
use crate::config::schema;

use super::registry::{self, Row};
use super::registry6;
use super::types::{Type, Unit, WORDS};

/// Where a code counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Space {
    /// Options of DHCPv4.
    Dhcp4,
    /// Options of DHCPv6.
    Dhcp6,
    /// Sub-options of option 43.
    Vendor43,
    /// Sub-options of option 175.
    Ipxe,
    /// Sub-options of option 125 under this enterprise number (RFC 3925).
    Enterprise(u32),
    /// Sub-options of this option, which has no names for them.
    Nameless(u16),
    /// What this DHCPv6 option encapsulates; for option 17, under any enterprise number.
    Within6(u16),
}

/// What a key in a table of options means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) code: u16,
    /// `None` for a bare code that nothing defines.
    pub(super) ty: Option<Type>,
}

/// An option of the operator's own.
#[derive(Debug)]
struct Definition {
    space: Space,
    name: String,
    code: u16,
    ty: Type,
    place: Place,
}

/// All definitions of a file.
#[derive(Debug, Default)]
pub(in crate::config) struct Definitions {
    own: Vec<Definition>,
}

impl Space {
    /// The sub-options of option `code` of this space.
    pub(super) fn within(self, code: u16) -> Space {
        match (self, code) {
            (Space::Dhcp6, code) => Space::Within6(code),
            (_, 43) => Space::Vendor43,
            (_, 175) => Space::Ipxe,
            (_, code) => Space::Nameless(code),
        }
    }

    /// Whether options stand here that may have sub-options.
    pub(super) fn is_top(self) -> bool {
        matches!(self, Space::Dhcp4 | Space::Dhcp6)
    }

    /// Whether codes and lengths have two bytes (RFC 9915 s21.1).
    pub(super) fn is_wide(self) -> bool {
        matches!(self, Space::Dhcp6 | Space::Within6(_))
    }

    fn rows(self) -> &'static [Row] {
        match self {
            Space::Dhcp4 => registry::DHCP4,
            Space::Vendor43 => registry::PXE,
            Space::Ipxe => registry::IPXE,
            Space::Dhcp6 => registry6::DHCP6,
            Space::Enterprise(_) | Space::Nameless(_) | Space::Within6(_) => &[],
        }
    }

    /// Highest code: 255 ends the options of DHCPv4 everywhere but in enterprise spaces.
    fn code_max(self) -> u16 {
        match self {
            _ if self.is_wide() => u16::MAX,
            Space::Enterprise(_) => 255,
            _ => 254,
        }
    }
}

impl Definitions {
    /// Reads `[option-definitions]`.
    pub(in crate::config) fn read(root: &Table<'_>) -> Definitions {
        let mut defs = Definitions::default();
        let Some(node) = root.get("option-definitions") else { return defs };
        for (name, place, node) in node.entries("tables of definitions").unwrap_or_default() {
            if let Some(definition) = definition(name, place, &node) {
                defs.add(definition, node.sink());
            }
        }
        defs
    }

    fn add(&mut self, new: Definition, sink: &Sink) {
        let rows = new.space.rows();
        let fault = |message| Fault::new(FaultKind::Duplicate, &new.place, message);
        if let Some(row) = rows.iter().find(|r| r.name == new.name || r.code == new.code) {
            let message = format!("option {} is `{}` already", row.code, row.name);
            let such = if new.space.is_wide() { "" } else { ", such as 224 to 254" };
            sink.push(fault(message).expected(format!("take another name and a free code{such}")));
            return;
        }
        let mut own = self.own.iter().filter(|d| d.space == new.space);
        if let Some(first) = own.find(|d| d.code == new.code || d.name == new.name) {
            let message = format!("option code {} is defined twice", new.code);
            sink.push(fault(message).related(&first.place, "first here"));
            return;
        }
        self.own.push(new);
    }

    /// What `key` means in `space`: a name, or a code in decimal.
    pub(super) fn find(
        &self,
        space: Space,
        key: &str,
        place: &Place,
        sink: &Sink,
    ) -> Option<Known> {
        let own = self.own.iter().filter(|d| d.space == space);
        if !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit()) {
            let max = space.code_max();
            let Some(code) = key.parse().ok().filter(|c| (1..=max).contains(c)) else {
                let fault = Fault::new(FaultKind::BadValue, place, "no such option code");
                sink.push(fault.expected(format!("1 to {max}")));
                return None;
            };
            let standard = registry::by_code(space.rows(), code).map(|row| row.ty);
            let ty = own.clone().find(|d| d.code == code).map(|d| d.ty).or(standard);
            return Some(Known { code, ty });
        }
        if let Some(d) = own.clone().find(|d| d.name == key) {
            return Some(Known { code: d.code, ty: Some(d.ty) });
        }
        if let Some(row) = registry::by_name(space.rows(), key) {
            return Some(Known { code: row.code, ty: Some(row.ty) });
        }
        let names = own.map(|d| d.name.as_str()).chain(space.rows().iter().map(|row| row.name));
        let help = match nearest(key, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "a standard name, a code, or a name from [option-definitions]".to_owned(),
        };
        let fault = Fault::new(FaultKind::UnknownName, place, format!("unknown option `{key}`"));
        sink.push(fault.expected(help));
        None
    }
}

fn definition(name: &str, place: Place, node: &Node<'_>) -> Option<Definition> {
    let table = node.table(&schema::DEFINITION)?;
    let space = table.get("space").map_or(Some(Space::Dhcp4), |n| space(&n));
    let max = i64::from(space.map_or(u16::MAX, Space::code_max));
    let code = table.require("code").and_then(|n| n.integer(1, max));
    let unit = table.require("type").and_then(|n| n.word(&WORDS));
    let list = table.get("array").map_or(Some(false), |n| {
        let list = n.boolean()?;
        if list && matches!(unit, Some(Unit::Text | Unit::Hex)) {
            return n.bad("a list of values without a length of their own", "array = false");
        }
        Some(list)
    });
    if name.is_empty() || name.bytes().all(|b| b.is_ascii_digit()) {
        let fault = Fault::new(FaultKind::BadValue, &place, "a name that could be a code");
        node.push(fault.expected("a name with a letter in it"));
        return None;
    }
    let ty = Type { unit: unit?, list: list? };
    Some(Definition {
        space: space?,
        name: name.to_owned(),
        code: u16::try_from(code?).ok()?,
        ty,
        place,
    })
}

fn space(node: &Node<'_>) -> Option<Space> {
    if node.is_integer() {
        let number = node.integer(1, i64::from(u32::MAX))?;
        return u32::try_from(number).ok().map(Space::Enterprise);
    }
    node.word(&[
        ("dhcp4", Space::Dhcp4),
        ("dhcp6", Space::Dhcp6),
        ("vendor-43", Space::Vendor43),
        ("ipxe", Space::Ipxe),
    ])
}
