//! Registered machines: their addresses are chosen before they boot, and end with them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::base::{HwAddr, Mac, NetworkId, Prefix4, Prefix6, Resource, Timestamp};
use crate::lease::directory::{Entry, Identifier, Identifiers, Instance, Kept, KeptParts};
use crate::lease::{Cause, Details, Held, Lease, Owner, QuarantineReason, State};

use super::Engine;
use super::drawn::DRAWS;
use super::effects::{Effects, EventKind};
use super::holder::Holder;

use super::quota::Met;

/// Most entries of the directory: each costs about a kilobyte.
pub const ENTRIES_MAX: usize = 2_000_000;

/// A machine to be registered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// What to call it; drawn if not said.
    pub id: Option<Arc<str>>,
    /// The segment.
    pub network: Option<NetworkId>,
    /// Whom it belongs to.
    pub account: Option<Arc<str>>,
    /// What runs in it.
    pub application: Option<Arc<str>>,
    /// How it is known. Without anything a MAC is made for it.
    pub who: Identifiers,
    /// The name it is told.
    pub hostname: Option<Arc<str>>,
    /// Where it runs.
    pub region: Option<Box<str>>,
    /// Whatever its maker wants to find it by.
    pub tags: BTreeMap<Box<str>, Box<str>>,
    /// Which of the network's IPv4 subnets, where that does not follow.
    pub subnet: Option<Prefix4>,
    /// The same for IPv6.
    pub subnet6: Option<Prefix6>,
    /// The IPv4 address that it would like.
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 address that it would like.
    pub v6: Option<Ipv6Addr>,
}

/// Other words for a registered machine; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rename {
    /// Its MAC: where it had none, or one that was made here.
    pub mac: Option<Mac>,
    /// Its DUID.
    pub duid: Option<Box<[u8]>>,
    /// The name it is told; `Some(None)` takes it away.
    pub hostname: Option<Option<Arc<str>>>,
    /// Where it runs.
    pub region: Option<Option<Box<str>>>,
    /// All its tags.
    pub tags: Option<BTreeMap<Box<str>, Box<str>>>,
}

/// Why something cannot be registered or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no such network, account, instance or reservation.
    #[error("{0}")]
    Unknown(String),
    /// A field says what cannot be: which, and why.
    #[error("{1}")]
    Invalid(&'static str, String),
    /// Somebody has it: what, and who.
    #[error("{what} is {holder}")]
    Taken {
        /// An identifier or an address.
        what: String,
        /// Who has it.
        holder: Holder,
    },
    /// It is declared by the configuration file, and changed there.
    #[error("{0} stands in the configuration file, and is changed there")]
    ReadOnly(String),
    /// Something still depends on it.
    #[error("{0}")]
    InUse(String),
    /// No address is free: of which family, on which network, and how many there are out of use.
    #[error("no {0} address is free for it on network {1}, where {2} are kept back or in conflict")]
    Exhausted(&'static str, String, u64),
    /// None of the tiers that it may use has room: of which family, on which network, which tiers.
    #[error("no {0} address of the tiers that it may use ({2}) is free on network {1}")]
    TierFull(&'static str, String, String),
    /// A limit of the account.
    #[error("{0}")]
    Limit(Met),
    /// An older fencing token than the one in force: what it was, and what it is.
    #[error("epoch {0} is over: it is {1} now")]
    Epoch(u64, u64),
    /// There are as many as can be kept.
    #[error("there are {ENTRIES_MAX} entries, and no more are kept")]
    Full,
    /// Every MAC that was drawn is somebody's.
    #[error("{DRAWS} MACs were drawn and all are known on network {0}: name one, or ask again")]
    NoMac(String),
    /// The store cannot write.
    #[error("the store cannot write")]
    StoreFailed,
}

impl Engine {
    /// Registers a machine, as part of the open batch: its addresses are kept for it from now on.
    /// The same wish again finds the same machine; whether it was made now.
    pub fn create_instance(
        &mut self,
        now: Timestamp,
        wish: &Wish,
        fx: &mut Effects,
    ) -> Result<(Arc<Instance>, bool), Denied> {
        if let Some(found) = self.same_instance(wish)? {
            return Ok((found, false));
        }
        let network = wish.network.ok_or(Denied::Invalid("network", "no network".into()))?;
        let at =
            self.net_index(network).ok_or_else(|| Denied::Unknown("no such network".into()))?;
        self.check_may_write()?;
        let owner = wish.account.clone().map(|account| (account, wish.application.clone()));
        self.check_owner(network, wish.account.as_deref(), wish.application.as_deref())?;
        if let Some(met) = self.request_met(now, owner.as_ref()) {
            return Err(Denied::Limit(met));
        }
        self.check_free(network, &wish.who, None)?;
        let id = match &wish.id {
            Some(id) => Arc::clone(id),
            None => self.draw_id(),
        };
        let mac_made = wish.who.is_empty();
        let mut who = wish.who.clone();
        if mac_made {
            who.mac = Some(self.draw_mac(network)?);
        }
        let chosen = self.choose_for(now, at, wish, &who, owner.as_ref())?;
        let instance = Arc::new(Instance {
            kept: Arc::new(Kept::new(KeptParts {
                network,
                who,
                v4: chosen.v4,
                v6: chosen.v6.into_iter().collect(),
                prefixes: Vec::new(),
                hostname: wish.hostname.clone(),
                account: wish.account.clone(),
                application: wish.application.clone(),
                instance: Some(Arc::clone(&id)),
            })),
            id,
            mac_made,
            duid_seen: false,
            wished: wished(wish),
            region: wish.region.clone(),
            tags: wish.tags.clone(),
            created: now,
            changed: now,
        });
        self.free_seen(network, &instance.kept.who, None, fx);
        let bound = self.bound_to(&instance.kept);
        let claimed = self.take_shadows(now, &instance.kept, fx);
        // Who runs already has been counted.
        if let Some(owner) = owner.as_ref().filter(|_| bound.is_empty()) {
            self.count_create(now, network, owner, claimed);
        }
        self.enter(Entry::Instance(Arc::clone(&instance)), fx);
        self.take_kept(now, &instance.kept, fx);
        self.say(now, Some(network), EventKind::Registered(Arc::clone(&instance)), fx);
        Ok((instance, true))
    }

    /// Ends a machine: what it has ends at once, as part of the open batch, and is kept back until
    /// the wire is silent.
    pub fn end_instance(
        &mut self,
        now: Timestamp,
        id: &str,
        fx: &mut Effects,
    ) -> Result<Arc<Instance>, Denied> {
        let unknown = || Denied::Unknown(format!("no instance is called \"{id}\""));
        let instance = Arc::clone(self.directory.instance(id).ok_or_else(unknown)?);
        self.check_store()?;
        let bound = self.bound_to(&instance.kept);
        self.leave(Entry::Instance(Arc::clone(&instance)), fx);
        let settings = &instance.kept.settings;
        let owner = settings.account.clone().map(|a| (a, settings.application.clone()));
        for lease in &bound {
            self.send_off(now, lease, owner.as_ref(), fx);
        }
        for resource in instance.kept.resources() {
            self.offers.remove(instance.kept.network, resource);
            self.settle(instance.kept.network, resource);
        }
        let network = Some(instance.kept.network);
        self.say(now, network, EventKind::Ended(Arc::clone(&instance)), fx);
        Ok(instance)
    }

    /// Changes what is said of a machine, as part of the open batch; its addresses stay.
    pub fn change_instance(
        &mut self,
        now: Timestamp,
        id: &str,
        change: &Rename,
        fx: &mut Effects,
    ) -> Result<Arc<Instance>, Denied> {
        let unknown = || Denied::Unknown(format!("no instance is called \"{id}\""));
        let old = Arc::clone(self.directory.instance(id).ok_or_else(unknown)?);
        self.check_store()?;
        let mut parts = old.kept.parts();
        let other = Identifiers {
            mac: change.mac.filter(|mac| parts.who.mac != Some(*mac)),
            duid: change.duid.clone().filter(|duid| parts.who.duid.as_ref() != Some(duid)),
            ..Identifiers::default()
        };
        self.check_free(parts.network, &other, Some(id))?;
        parts.who.mac = change.mac.or(parts.who.mac);
        parts.who.duid = change.duid.clone().or(parts.who.duid);
        if let Some(hostname) = &change.hostname {
            parts.hostname = hostname.clone();
        }
        let instance = Arc::new(Instance {
            kept: Arc::new(Kept::new(parts)),
            mac_made: old.mac_made && other.mac.is_none(),
            duid_seen: old.duid_seen && other.duid.is_none(),
            region: change.region.clone().unwrap_or_else(|| old.region.clone()),
            tags: change.tags.clone().unwrap_or_else(|| old.tags.clone()),
            changed: now,
            ..Instance::clone(&old)
        });
        if instance.kept == old.kept && instance.region == old.region && instance.tags == old.tags {
            return Ok(old);
        }
        self.free_seen(instance.kept.network, &other, Some(id), fx);
        self.enter(Entry::Instance(Arc::clone(&instance)), fx);
        self.take_kept(now, &instance.kept, fx);
        Ok(instance)
    }

    /// The machine of that id, if it was wished for with the same words.
    fn same_instance(&self, wish: &Wish) -> Result<Option<Arc<Instance>>, Denied> {
        let Some(id) = wish.id.as_deref() else { return Ok(None) };
        let Some(found) = self.directory.instance(id) else { return Ok(None) };
        let (kept, settings) = (&found.kept, &found.kept.settings);
        let mut who = kept.who.clone();
        who.mac = who.mac.filter(|_| !found.mac_made);
        who.duid = who.duid.filter(|_| !found.duid_seen);
        let same = wish.network == Some(kept.network)
            && (&wish.account, &wish.application) == (&settings.account, &settings.application)
            && wish.who == who
            && wish.hostname == kept.hostname
            && (&wish.region, &wish.tags) == (&found.region, &found.tags)
            && wished(wish) == found.wished;
        let what = || format!("instance \"{id}\"");
        match same {
            true => Ok(Some(Arc::clone(found))),
            false => Err(Denied::Taken {
                what: what(),
                holder: Holder::Nobody("there with other content"),
            }),
        }
    }

    /// Whether something may be removed now.
    pub(super) fn check_store(&self) -> Result<(), Denied> {
        if self.store_ok { Ok(()) } else { Err(Denied::StoreFailed) }
    }

    /// Whether something may be added now.
    pub(super) fn check_may_write(&self) -> Result<(), Denied> {
        self.check_store()?;
        if self.directory.len() >= ENTRIES_MAX { Err(Denied::Full) } else { Ok(()) }
    }

    pub(super) fn check_owner(
        &self,
        network: NetworkId,
        account: Option<&str>,
        application: Option<&str>,
    ) -> Result<(), Denied> {
        let Some(account) = account else {
            let why = || Denied::Invalid("application", "an application without an account".into());
            return application.map_or(Ok(()), |_| Err(why()));
        };
        let accounts = self.directory.accounts();
        let unknown = || Denied::Invalid("account", format!("no account is called \"{account}\""));
        let standing = accounts.get(account).ok_or_else(unknown)?;
        if let Some(name) = application.filter(|name| standing.account.application(name).is_none())
        {
            let why = format!("account {account} has no application \"{name}\"");
            return Err(Denied::Invalid("application", why));
        }
        match standing.account.may_use(network) {
            true => Ok(()),
            false => Err(Denied::Invalid("network", format!("account {account} may not use it"))),
        }
    }

    /// Whether nobody else is known by these: of the configuration, or by name.
    pub(super) fn check_free(
        &self,
        network: NetworkId,
        who: &Identifiers,
        own: Option<&str>,
    ) -> Result<(), Denied> {
        if let Some(mac) = who.mac.filter(|mac| mac.is_group() || *mac == Mac::ZERO) {
            return Err(Denied::Invalid(
                "mac",
                format!("{mac} is no machine's own, want a unicast MAC as in 52:54:00:12:34:56"),
            ));
        }
        for identifier in who.each() {
            let taken = |holder: Holder| Denied::Taken { what: shown(identifier), holder };
            if let Some(kept) = self.directory.find(network, identifier)
                && kept.instance.as_deref().is_none_or(|id| Some(id) != own)
                && self.seen_only(network, identifier).is_none()
            {
                return Err(taken(Holder::of_kept(kept)));
            }
            if let Some(pair) = self.directory.pair_of_standby(network, identifier) {
                return Err(taken(Holder::of_pair(pair)));
            }
            if let Some(name) = self.reserved_for(network, identifier) {
                return Err(taken(Holder::configured(&name)));
            }
        }
        Ok(())
    }

    /// Everything live that a machine has: what is kept for it, and what else its hardware and its
    /// DUID are bound to on its network.
    fn bound_to(&self, kept: &Kept) -> Vec<Lease> {
        let live = |l: &&Lease| l.state == State::Leased;
        let of_kept = kept.resources().filter_map(|r| self.table.get(kept.network, r));
        let mut bound: Vec<Lease> = of_kept.filter(live).cloned().collect();
        let mut hws: Vec<HwAddr> = bound.iter().map(|l| l.hw).collect();
        hws.extend(kept.who.hw());
        hws.sort_unstable();
        hws.dedup();
        for hw in hws.iter().filter(|hw| **hw != HwAddr::default()) {
            bound.extend(self.table.of_hw(kept.network, hw).filter(live).cloned());
        }
        bound.sort_by_key(|l| l.resource);
        bound.dedup_by_key(|l| l.resource);
        bound
    }

    /// Takes what is kept out of the pools, and says of a binding that is there already whose it is.
    pub(super) fn take_kept(&mut self, now: Timestamp, kept: &Kept, fx: &mut Effects) {
        for resource in kept.resources() {
            self.take_from_pool(kept.network, resource);
            self.wake_verifier(kept.network);
            self.give_back_shadow(now, kept.network, resource, fx);
            let Some(lease) = self.table.get(kept.network, resource) else { continue };
            let own = Some(lease.hw) == kept.who.hw();
            if lease.state != State::Leased || !own || kept.instance.is_none() {
                continue;
            }
            let details = Details {
                account: kept.settings.account.clone(),
                application: kept.settings.application.clone(),
                instance: kept.instance.clone(),
                tier: self.tier_of(kept.network, resource),
                ..Details::clone(&lease.details)
            };
            if details != *lease.details {
                let lease = Lease { updated: now, ..lease.clone() };
                let details = self.table.share(details);
                self.put(Lease { details, ..lease }, Cause::Registered, fx);
            }
        }
    }

    /// Writes an entry as part of the open batch.
    pub(super) fn enter(&mut self, entry: Entry, fx: &mut Effects) {
        self.dirty = true;
        self.directory.put(self.seq, entry, &mut fx.changes);
    }

    /// Removes an entry as part of the open batch.
    pub(super) fn leave(&mut self, entry: Entry, fx: &mut Effects) {
        self.dirty = true;
        self.directory.remove(self.seq, &entry.name(), &mut fx.changes);
    }
}

/// What was chosen for a machine.
struct Chosen {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl Engine {
    /// Chooses its addresses; nothing is taken from the pools if one of them cannot be had.
    fn choose_for(
        &mut self,
        now: Timestamp,
        at: usize,
        wish: &Wish,
        who: &Identifiers,
        owner: Option<&Owner>,
    ) -> Result<Chosen, Denied> {
        let policy = Arc::clone(&self.policy);
        let network =
            policy.networks.get(at).ok_or_else(|| Denied::Unknown("no such network".into()))?;
        let (four, six) = (!network.subnets.is_empty(), !network.subnets6.is_empty());
        let more = Held { addresses: u64::from(four) + u64::from(six), prefixes: 0 };
        let own: Vec<Lease> = self.former(network.id, who);
        // What it has already counts for its account as long as it is not kept for it.
        let bound =
            own.iter().filter(|l| l.state == State::Leased && is_of(l, owner)).count() as u64;
        let more = Held { addresses: more.addresses.saturating_sub(bound), ..more };
        if let Some(met) = self.limit_met(owner, more) {
            return Err(Denied::Limit(met));
        }
        let site = super::site::Site { now, at, network, wish, owner, own: &own };
        let v4 = match four {
            true => self.site4(&site)?,
            false => None,
        };
        v4.into_iter().for_each(|v4| self.count_tier_of_site(&site, v4.into()));
        let v6 = match six {
            true => match self.site6(&site) {
                Ok(v6) => v6,
                Err(denied) => {
                    v4.into_iter().for_each(|v4| self.settle(network.id, v4.into()));
                    return Err(denied);
                }
            },
            false => None,
        };
        v6.into_iter().for_each(|v6| self.count_tier_of_site(&site, v6.into()));
        match (v4, v6) {
            (None, None) => Err(self.exhausted(&site, "IPv4 or IPv6")),
            _ => Ok(Chosen { v4, v6 }),
        }
    }

    /// What a machine has or had on a network, the newest first.
    fn former(&self, network: NetworkId, who: &Identifiers) -> Vec<Lease> {
        let Some(hw) = who.hw() else { return Vec::new() };
        let mut former: Vec<Lease> = self.table.of_hw(network, &hw).cloned().collect();
        former
            .sort_by_key(|l| (l.state != State::Leased, std::cmp::Reverse(l.updated), l.resource));
        former
    }
}

fn is_of(lease: &Lease, owner: Option<&Owner>) -> bool {
    let account = lease.details.account.as_ref();
    account.is_some() && account == owner.map(|(account, _)| account)
}

fn wished(wish: &Wish) -> Vec<Resource> {
    let v6 = wish.v6.map(Resource::V6);
    wish.v4.map(Resource::V4).into_iter().chain(v6).collect()
}

fn shown(identifier: Identifier<'_>) -> String {
    let hex = |bytes: &[u8]| {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = crate::base::addr::write_hex(&mut text, bytes, ":");
        text
    };
    match identifier {
        Identifier::Mac(mac) => format!("MAC {mac}"),
        Identifier::Duid(duid) => format!("DUID {}", hex(duid)),
        Identifier::ClientId(id) => format!("client id {}", hex(id)),
        Identifier::Port(id) => format!("port id {}", hex(id)),
    }
}

/// Whether the state of a binding lets its former client have the address again.
pub(super) fn may_return(state: State) -> bool {
    state != State::Quarantined(QuarantineReason::Declined)
        && state != State::Quarantined(QuarantineReason::Operator)
        && !matches!(state, State::Quarantined(QuarantineReason::InUse(_)))
}
