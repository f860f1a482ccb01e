//! Every key that the file may have: its form, default and meaning. The reader knows no other
//! keys, and the reference in `docs/configuration.md` is this list. The keys themselves are in
//! [`keys`](super::keys) and the modules beside it.

use super::node::nearest;

pub(super) use super::keys::*;
pub(super) use super::keys_accounts::*;
pub(super) use super::keys_api::*;
pub(super) use super::keys_network::*;
pub(super) use super::keys_telemetry::*;

/// The keys of one table.
#[derive(Debug)]
pub(super) struct Section {
    /// Dotted path without indexes: `network.subnet`.
    pub(super) path: &'static str,
    /// As it is written in a file: `[[network.subnet]]`.
    pub(super) header: &'static str,
    /// What the table is.
    pub(super) about: &'static str,
    /// Whether the keys of [`SETTINGS`] may stand here too.
    pub(super) settings: bool,
    pub(super) keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// The value as it is written; an example for keys that must be there.
    pub(super) form: &'static str,
    /// The default as it would be written, or a word on what happens without.
    pub(super) default: &'static str,
    pub(super) meaning: &'static str,
}

/// What [`Key::default`] says of keys that must be there.
pub(super) const REQUIRED: &str = "required";

impl Section {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        let settings = if self.settings { SETTINGS.keys } else { &[] };
        self.keys.iter().chain(settings).find(|k| k.name == name)
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.key(name).is_some()
    }

    /// How messages name the table.
    pub(super) fn title(&self) -> &'static str {
        self.header
    }
}

/// What to write instead of the unknown key `name` in `section`.
pub(super) fn hint(section: &Section, name: &str) -> String {
    let settings = if section.settings { SETTINGS.keys } else { &[] };
    let names = section.keys.iter().chain(settings).map(|k| k.name);
    if let Some(near) = nearest(name, names.clone()) {
        return format!("did you mean `{near}`?");
    }
    if let Some(home) = SECTIONS.iter().find(|s| s.keys.iter().any(|k| k.name == name)) {
        return format!("`{name}` belongs in {}", home.header);
    }
    let names: Vec<&str> = names.collect();
    format!("known keys: {}", names.join(", "))
}
