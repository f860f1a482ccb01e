//! The reference of keys and options as Markdown tables, from the lists that the reader itself
//! goes by. `docs/configuration.md` holds them; a test compares.

use std::fmt::Write;

use super::options::registry::{self, Row};
use super::options::registry6;
use super::options::types::Unit;
use super::schema::{SECTIONS, Section};

/// Every key of the file: a heading and a table for each kind of TOML table.
pub fn keys() -> String {
    SECTIONS.iter().map(|section| section_table(section)).collect::<Vec<_>>().join("\n")
}

fn section_table(section: &Section) -> String {
    let mut out = match section.header {
        header if header.starts_with('[') || section.path == "lease" => {
            format!("### `{header}`\n\n")
        }
        header => format!("### {}\n\n", capitalised(header)),
    };
    // Writing to a string does not fail.
    let _ = write!(out, "{}", section.about);
    if section.settings && !section.path.is_empty() {
        out.push_str(" The keys of \"Settings\" may stand here too.");
    }
    out.push_str("\n\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
    for key in section.keys {
        let cell = |text: &str| text.replace('|', "\\|");
        let code = |text: &str| match text {
            _ if text.starts_with(['"', '[', '{']) || text.parse::<u64>().is_ok() => {
                format!("`{text}`")
            }
            "true" | "false" => format!("`{text}`"),
            _ => text.to_owned(),
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            key.name,
            words(key.form),
            code(key.default),
            cell(key.meaning)
        );
    }
    out
}

/// Every word or value of a form in code quotes: `"a", "b" or "c"`.
fn words(form: &str) -> String {
    let plain = ["or", "and", "an", "a", "tables", "table", "enterprise", "number"];
    if form.starts_with(['{', '[']) && !form.contains(" or ") {
        return format!("`{form}`");
    }
    let word = |word: &str| {
        let (bare, comma) = match word.strip_suffix(',') {
            Some(bare) => (bare, ","),
            None => (word, ""),
        };
        if plain.contains(&bare) { word.to_owned() } else { format!("`{bare}`{comma}") }
    };
    form.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// Every standard option by code, name and value, then the sub-options that have names, then the
/// options that the file may not set.
pub fn options() -> String {
    let mut out = String::from("### DHCPv4 options by name\n\n");
    let settable = |row: &&Row| !matches!(row.ty.unit, Unit::Refused(_));
    table(&mut out, registry::DHCP4.iter().filter(settable));
    out.push_str("\n### Sub-options of option 43 (PXE)\n\n");
    table(&mut out, registry::PXE.iter());
    out.push_str("\n### Sub-options of option 175 (iPXE)\n\n");
    table(&mut out, registry::IPXE.iter());
    out.push_str("\n### DHCPv6 options by name\n\n");
    table(&mut out, registry6::DHCP6.iter().filter(settable));
    for (family, rows) in [("v4", registry::DHCP4), ("v6", registry6::DHCP6)] {
        let _ = writeln!(out, "\n### DHCP{family} options that are not set here\n");
        out.push_str("| code | name | instead |\n| --- | --- | --- |\n");
        for row in rows {
            if let Unit::Refused(why) = row.ty.unit {
                let _ = writeln!(out, "| {} | `{}` | {why} |", row.code, row.name);
            }
        }
    }
    out
}

fn table<'a>(out: &mut String, rows: impl Iterator<Item = &'a Row>) {
    out.push_str("| code | name | value |\n| --- | --- | --- |\n");
    for row in rows {
        let form = row.ty.form();
        let form = match form.split_once(" or ") {
            Some((first, rest)) if first.starts_with('"') => format!("`{first}` or {rest}"),
            _ if form.starts_with(['"', '{', '[']) => format!("`{form}`"),
            _ => form,
        };
        let _ = writeln!(out, "| {} | `{}` | {form} |", row.code, row.name);
    }
}
