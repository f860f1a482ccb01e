//! What an orchestrator says: instances, reservations, accounts.

use foreshadow::base::{NetworkId, Prefix6};
use foreshadow::config::policy::{Account, Terms};
use foreshadow::engine::Effects;
use foreshadow::engine::hosts::HostWish;
use foreshadow::engine::instances::{Denied, Rename, Wish};
use foreshadow::lease::directory::{Identifiers, Kept};

use super::words::{bytes, mac, resource};
use super::world::World;
use super::{shadows, standbys};

/// Whether a line begins with one of these.
pub(crate) fn is_verb(verb: &str) -> bool {
    [
        "create",
        "destroy",
        "rename",
        "reserve",
        "unreserve",
        "account",
        "has",
        "quarantine",
        "lift",
        "drain",
        "stay",
    ]
    .contains(&verb)
        || shadows::is_verb(verb)
        || standbys::is_verb(verb)
}

#[derive(Default)]
struct Words {
    who: Identifiers,
    v4: Option<std::net::Ipv4Addr>,
    v6: Option<std::net::Ipv6Addr>,
    prefixes: Vec<Prefix6>,
    host: Option<std::sync::Arc<str>>,
    account: Option<std::sync::Arc<str>>,
    application: Option<std::sync::Arc<str>>,
    network: Option<NetworkId>,
    cap: Option<u64>,
}

impl World {
    /// Does what the line says; `made ADDR...`, `same ADDR...`, `done`, or `denied KIND why`.
    pub(super) fn register(
        &mut self,
        verb: &str,
        id: &str,
        rest: &[&str],
        fx: &mut Effects,
    ) -> Result<String, String> {
        if shadows::is_verb(verb) {
            return self.foresee(verb, id, rest, fx);
        }
        if standbys::is_verb(verb) {
            let outcome = self.stand_by(verb, id, rest, fx)?;
            return Ok(
                outcome.unwrap_or_else(|denied| format!("denied {} {denied}", kind(&denied)))
            );
        }
        let words = self.words(rest)?;
        let outcome = match verb {
            "create" => self.create(id, words, fx),
            "destroy" => self.engine.end_instance(self.now, id, fx).map(|_| "done".into()),
            "rename" => {
                let change = Rename {
                    mac: words.who.mac,
                    duid: words.who.duid,
                    hostname: words.host.map(Some),
                    ..Rename::default()
                };
                self.engine
                    .change_instance(self.now, id, &change, fx)
                    .map(|i| shown("made", &i.kept))
            }
            "reserve" => self.reserve(id, words, fx),
            "unreserve" => self.engine.remove_host(id, fx).map(|_| "done".into()),
            "has" => self.has(id, rest),
            "quarantine" => {
                let (now, network) = (self.now, self.policy.networks[0].id);
                let done = self.engine.quarantine(now, network, resource(id)?, None, fx);
                done.map(|_| "done".into())
            }
            "lift" => {
                let network = self.policy.networks[0].id;
                let done = self.engine.lift(self.now, network, resource(id)?, fx);
                done.map(|was| format!("done {}", was.state))
            }
            "drain" => {
                let network = self.policy.networks[0].id;
                let done = self.engine.drain(self.now, network, resource(id)?, fx);
                done.map(|_| "done".into())
            }
            "stay" => {
                let network = self.policy.networks[0].id;
                let done = self.engine.let_stay(self.now, network, resource(id)?, fx);
                done.map(|_| "done".into())
            }
            _ => {
                let terms = Terms { max_addresses: words.cap, ..Terms::default() };
                let account = Account { name: id.into(), terms, ..Account::default() };
                self.engine.put_account(account, fx).map(|_| "done".into())
            }
        };
        Ok(outcome.unwrap_or_else(|denied| format!("denied {} {denied}", kind(&denied))))
    }

    fn create(&mut self, id: &str, words: Words, fx: &mut Effects) -> Result<String, Denied> {
        let wish = Wish {
            id: Some(id).filter(|id| *id != "-").map(Into::into),
            network: words.network,
            account: words.account,
            application: words.application,
            who: words.who,
            hostname: words.host,
            v4: words.v4,
            v6: words.v6,
            ..Wish::default()
        };
        let (instance, new) = self.engine.create_instance(self.now, &wish, fx)?;
        Ok(shown(if new { "made" } else { "same" }, &instance.kept))
    }

    fn reserve(&mut self, id: &str, words: Words, fx: &mut Effects) -> Result<String, Denied> {
        let wish = HostWish {
            id: Some(id.into()),
            network: words.network,
            who: words.who,
            v4: words.v4,
            v6: words.v6.into_iter().collect(),
            prefixes: words.prefixes,
            hostname: words.host,
            account: words.account,
            application: words.application,
        };
        let known = self.engine.directory().host(id).is_some();
        if known && wish.v4.is_some() {
            let host = self.engine.change_host(self.now, id, &wish, fx)?;
            return Ok(shown("made", &host.kept));
        }
        let (host, _) = self.engine.create_host(self.now, &wish, fx)?;
        Ok(shown("made", &host.kept))
    }

    /// How many addresses and prefixes an owner has.
    fn has(&self, owner: &str, _: &[&str]) -> Result<String, Denied> {
        let (account, application) = match owner.split_once('/') {
            Some((account, application)) => (account, Some(application)),
            None => (owner, None),
        };
        let held = self.engine.held_by(&(account.into(), application.map(Into::into)));
        Ok(format!("done {} {}", held.addresses, held.prefixes))
    }

    fn words(&self, rest: &[&str]) -> Result<Words, String> {
        let mut found = Words { network: Some(self.policy.networks[0].id), ..Words::default() };
        for word in rest {
            let (key, value) = word.split_once('=').ok_or(format!("what is {word}?"))?;
            match key {
                "mac" => found.who.mac = Some(mac(value)?),
                "duid" => found.who.duid = Some(bytes(value)?.into()),
                "id" => found.who.client_id = Some(bytes(value)?.into()),
                "port" => found.who.port = Some(bytes(value)?.into()),
                "want" => match resource(value)? {
                    foreshadow::base::Resource::V4(addr) => found.v4 = Some(addr),
                    foreshadow::base::Resource::V6(addr) => found.v6 = Some(addr),
                    foreshadow::base::Resource::Prefix6(addr, len) => {
                        found.prefixes.push(Prefix6::new(addr, len).ok_or("no prefix")?);
                    }
                },
                "host" => found.host = Some(value.into()),
                "account" => found.account = Some(value.into()),
                "app" => found.application = Some(value.into()),
                "on" => found.network = Some(NetworkId::of(value)),
                "cap" => found.cap = Some(value.parse().map_err(|_| "cap=N")?),
                _ => return Err(format!("what is {word}?")),
            }
        }
        Ok(found)
    }
}

fn shown(verb: &str, kept: &Kept) -> String {
    let resources = kept.resources().map(|r| r.to_string());
    [verb.to_owned()].into_iter().chain(resources).collect::<Vec<_>>().join(" ")
}

fn kind(denied: &Denied) -> &'static str {
    match denied {
        Denied::Unknown(_) => "unknown",
        Denied::Invalid(..) => "invalid",
        Denied::Taken { .. } => "taken",
        Denied::ReadOnly(_) => "read-only",
        Denied::InUse(_) => "in-use",
        Denied::Exhausted(..) => "exhausted",
        Denied::TierFull(..) => "tier-full",
        Denied::Limit(_) => "limit",
        Denied::Epoch(..) => "epoch",
        Denied::NoMac(_) => "no-mac",
        Denied::Full => "full",
        Denied::StoreFailed => "store-failed",
    }
}
