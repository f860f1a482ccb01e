//! Who this server is to DHCPv6 clients, and the secret of its store. Made once, and kept.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use anyhow::Context;

use crate::base::addr::{parse_hex, write_hex};
use crate::config::Policy;
use crate::engine::Engine;
use crate::net::Mode;
use crate::store::Contents;

/// Names of the stored facts.
pub const META_DUID: &str = "duid";
/// Seeds addresses that nobody outside can foretell.
pub const META_SECRET: &str = "secret";

type Meta = BTreeMap<Box<str>, Box<[u8]>>;

/// The DUID and the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// RFC 9915 s11: configured, stored, or a new DUID-UUID (s11.5).
    pub duid: Box<[u8]>,
    /// Sixteen random bytes.
    pub secret: [u8; 16],
}

impl Identity {
    /// What is configured, else what is stored, else something new. What was configured once is
    /// stored, and stays when the key goes: clients know the server by it.
    pub fn of(meta: &Meta, policy: &Policy) -> std::io::Result<Identity> {
        let stored = |name: &str| {
            let text = std::str::from_utf8(meta.get(name)?).ok()?;
            parse_hex(text)
        };
        let secret = match stored(META_SECRET).and_then(|s| <[u8; 16]>::try_from(s).ok()) {
            Some(secret) => secret,
            None => random()?,
        };
        let duid = match policy.server.server_duid.clone().or_else(|| {
            stored(META_DUID).filter(|d| (3..=130).contains(&d.len())).map(Vec::into_boxed_slice)
        }) {
            Some(duid) => duid,
            // DUID-UUID (type 4): needs no interface that could be exchanged.
            None => [&[0, 4][..], &random()?].concat().into(),
        };
        Ok(Identity { duid, secret })
    }

    /// The server's own facts, with these among them.
    pub fn noted(&self, mut meta: Meta) -> Meta {
        for (name, bytes) in [(META_DUID, &self.duid[..]), (META_SECRET, &self.secret[..])] {
            meta.insert(name.into(), hex(bytes).into_bytes().into());
        }
        meta
    }

    /// The engine that answers as this server with what is stored, or only watches; and the facts
    /// that are not the engine's.
    pub fn engine(
        &self,
        policy: &Arc<Policy>,
        mode: Mode,
        stored: Contents,
    ) -> anyhow::Result<(Engine, Meta)> {
        let mut engine = Engine::new(policy.clone(), stored.leases, stored.seq);
        match mode {
            Mode::Observe => engine.observe(),
            Mode::Serve => {
                tracing::info!(duid = %duid_text(&self.duid), "known to DHCPv6 clients as");
            }
        }
        engine.set_identity(&self.duid, self.secret);
        let facts = engine.load_facts(stored.meta).context("the store")?;
        Ok((engine, facts))
    }

    /// The facts as they are stored, by name.
    pub fn facts(&self) -> [(&'static str, Vec<u8>); 2] {
        [(META_DUID, hex(&self.duid).into_bytes()), (META_SECRET, hex(&self.secret).into_bytes())]
    }
}

/// A DUID as `server.duid` is written, so that it can be put there.
pub fn duid_text(duid: &[u8]) -> String {
    hex_by(duid, ":")
}

fn hex(bytes: &[u8]) -> String {
    hex_by(bytes, "")
}

fn hex_by(bytes: &[u8], separator: &str) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_hex(&mut text, bytes, separator);
    text
}

fn random() -> std::io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_kept() {
        let policy = crate::config::check("", "x").unwrap().policy;
        let first = Identity::of(&Meta::new(), &policy).unwrap();
        let meta = first.noted(Meta::new());
        assert_eq!(Identity::of(&meta, &policy).unwrap(), first);
        assert_ne!(Identity::of(&Meta::new(), &policy).unwrap().secret, first.secret);
        assert_eq!((first.duid.len(), &first.duid[..2]), (18, &[0, 4][..]));
    }

    /// Clients renew with the DUID that they know: taking the key out changes nothing.
    #[test]
    fn a_configured_duid_is_kept_as_the_servers_own() {
        let policy = |text| crate::config::check(text, "x").unwrap().policy;
        let (none, set) = (policy(""), policy("[server]\nduid = \"00:01:02:03\"\n"));
        let meta = Identity::of(&Meta::new(), &none).unwrap().noted(Meta::new());
        let configured = Identity::of(&meta, &set).unwrap();
        assert_eq!(*configured.duid, [0, 1, 2, 3]);
        let meta = configured.noted(meta);
        assert_eq!(Identity::of(&meta, &none).unwrap(), configured);
    }
}
