//! Who is known by name: instances, reservations made at run time, accounts and applications; and
//! who stands by for whom.
//!
//! Each entry is a durable fact of the store under its [name](Entry::name). Every write is pending
//! until its batch is durable, and is taken back exactly if that fails, as those of the
//! [`LeaseTable`](super::LeaseTable) are. What is kept for a client is found by network and MAC,
//! DUID, client identifier or port, and by address.

mod accounts;
mod entry;
mod fact;
mod prediction;
mod standby;
mod standby_fact;
mod standbys;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::base::{Mac, NetworkId, Resource, Sort};
use crate::config::policy::Account;

use super::{Change, Details, Lease, Seq};

pub use accounts::{Accounts, Standing};
pub use entry::{
    Entry, Host, Identifiers, Instance, Kept, KeptParts, account_name, application_name,
    foresight_name, host_name, instance_name,
};
pub use fact::FactError;
pub use prediction::{Foresight, Prediction};
pub use standby::{
    Kind, Party, Planned, Readiness, Standby, StandbyState, Step, Switchover, Told, standby_name,
};

/// The one directory. One thread owns it.
#[derive(Debug, Default)]
pub struct Directory {
    entries: BTreeMap<Box<str>, Entry>,
    /// By kind, network and identifier.
    by_identifier: HashMap<Box<[u8]>, Arc<Kept>>,
    by_resource: HashMap<(NetworkId, Resource), Arc<Kept>>,
    /// How many are told each name.
    names: HashMap<Box<str>, u32>,
    /// What is kept for instances, by account and application.
    kept: HashMap<Owner, Held>,
    /// How many entries belong to each account and application.
    members: HashMap<Owner, u64>,
    accounts: Accounts,
    foresights: HashMap<(NetworkId, Owner), Arc<Foresight>>,
    standbys: standbys::Standbys,
    undo: VecDeque<Undo>,
    pending: HashMap<(NetworkId, Resource), u32>,
}

/// An account, or one of its applications.
pub type Owner = (Arc<str>, Option<Arc<str>>);

/// How much somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Addresses of both protocols.
    pub addresses: u64,
    /// Delegated prefixes.
    pub prefixes: u64,
}

impl Held {
    /// Of one resource.
    pub fn of(resource: Resource) -> Held {
        match resource.sort() {
            Sort::Prefix6 => Held { addresses: 0, prefixes: 1 },
            _ => Held { addresses: 1, prefixes: 0 },
        }
    }

    /// Both together.
    pub fn plus(self, other: Held) -> Held {
        Held {
            addresses: self.addresses + other.addresses,
            prefixes: self.prefixes + other.prefixes,
        }
    }

    /// Without `other`.
    pub fn minus(self, other: Held) -> Held {
        Held {
            addresses: self.addresses.saturating_sub(other.addresses),
            prefixes: self.prefixes.saturating_sub(other.prefixes),
        }
    }
}

#[derive(Debug)]
struct Undo {
    seq: Seq,
    name: Box<str>,
    before: Option<Entry>,
}

/// What identifies a client, to be looked up.
#[derive(Clone, Copy, Debug)]
pub enum Identifier<'a> {
    /// Hardware address.
    Mac(Mac),
    /// DHCPv6 DUID.
    Duid(&'a [u8]),
    /// DHCPv4 client identifier.
    ClientId(&'a [u8]),
    /// Circuit id or interface-id.
    Port(&'a [u8]),
}

type Key = SmallVec<[u8; 40]>;

impl Identifier<'_> {
    fn key(&self, network: NetworkId) -> Key {
        let (kind, bytes): (u8, &[u8]) = match self {
            Identifier::Mac(mac) => (1, &mac.0),
            Identifier::Duid(duid) => (2, duid),
            Identifier::ClientId(id) => (3, id),
            Identifier::Port(id) => (4, id),
        };
        let mut key = Key::new();
        key.push(kind);
        key.extend_from_slice(&network.0.to_be_bytes());
        key.extend_from_slice(bytes);
        key
    }
}

impl Identifiers {
    /// Each that is there.
    pub fn each(&self) -> impl Iterator<Item = Identifier<'_>> {
        let mac = self.mac.map(Identifier::Mac);
        let duid = self.duid.as_deref().map(Identifier::Duid);
        let id = self.client_id.as_deref().map(Identifier::ClientId);
        let port = self.port.as_deref().map(Identifier::Port);
        mac.into_iter().chain(duid).chain(id).chain(port)
    }
}

impl Directory {
    /// Puts a stored fact in place at start; whether it is one of these.
    pub fn load(&mut self, name: &str, bytes: &[u8]) -> Result<bool, FactError> {
        let Some(entry) = fact::decode(name, bytes).transpose()? else { return Ok(false) };
        self.replace(name, Some(entry));
        Ok(true)
    }

    /// The accounts of the configuration; of two with one name they count.
    pub fn declare(&mut self, accounts: &[Arc<Account>]) {
        self.accounts.declare(accounts);
    }

    /// All entries as facts, to write the store anew.
    pub fn facts(&self) -> impl Iterator<Item = (Box<str>, Box<[u8]>)> + '_ {
        self.entries.iter().map(|(name, entry)| (name.clone(), fact::encode(entry)))
    }

    /// Writes an entry as part of batch `seq`.
    pub fn put(&mut self, seq: Seq, entry: Entry, changes: &mut Vec<Change>) {
        let name = entry.name();
        changes.push(Change::Meta(name.clone(), fact::encode(&entry)));
        self.write(seq, name, Some(entry));
    }

    /// Removes an entry as part of batch `seq`; what it was.
    pub fn remove(&mut self, seq: Seq, name: &str, changes: &mut Vec<Change>) -> Option<Entry> {
        let entry = self.entries.get(name)?.clone();
        changes.push(Change::Forget(name.into()));
        self.write(seq, name.into(), None);
        Some(entry)
    }

    /// The entry of that name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The instance of that id.
    pub fn instance(&self, id: &str) -> Option<&Arc<Instance>> {
        match self.entries.get(&*instance_name(id))? {
            Entry::Instance(instance) => Some(instance),
            _ => None,
        }
    }

    /// The reservation of that id.
    pub fn host(&self, id: &str) -> Option<&Arc<Host>> {
        match self.entries.get(&*host_name(id))? {
            Entry::Host(host) => Some(host),
            _ => None,
        }
    }

    /// What is foreseen for an owner on a network.
    pub fn foresight(&self, network: NetworkId, owner: &Owner) -> Option<&Arc<Foresight>> {
        self.foresights.get(&(network, owner.clone()))
    }

    /// All that is foreseen, in no order.
    pub fn foresights(&self) -> impl Iterator<Item = &Arc<Foresight>> {
        self.foresights.values()
    }

    /// Entries whose name begins with `prefix`, after the name `after`, in the order of names.
    pub fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Entry> + 'a {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let entries = self.entries.range::<str, _>((from, Bound::Unbounded));
        entries.take_while(move |(name, _)| name.starts_with(prefix)).map(|(_, entry)| entry)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The client that is known by `identifier`.
    pub fn find(&self, network: NetworkId, identifier: Identifier<'_>) -> Option<&Arc<Kept>> {
        if self.by_identifier.is_empty() {
            return None;
        }
        self.by_identifier.get(&*identifier.key(network))
    }

    /// The client that `resource` is kept for.
    pub fn keeper(&self, network: NetworkId, resource: Resource) -> Option<&Arc<Kept>> {
        self.by_resource.get(&(network, resource))
    }

    /// Whether `resource` is kept for a client by name, or two share it: it is of no pool.
    pub fn is_kept(&self, network: NetworkId, resource: Resource) -> bool {
        self.keeper(network, resource).is_some() || self.pair_of(network, resource).is_some()
    }

    /// A lease from elsewhere, of the instance that it is kept for here; a prefix of the one that it
    /// names, if that is on its network.
    pub fn attributed(&self, lease: Lease) -> Lease {
        let keeper = self.keeper(lease.network, lease.resource);
        let known = |id: &&Arc<str>| {
            let instance = self.instance(id);
            matches!(lease.resource, Resource::Prefix6(..))
                && instance.is_some_and(|instance| instance.kept.network == lease.network)
        };
        let instance = match keeper {
            Some(kept) => kept.instance.clone(),
            None => lease.details.instance.as_ref().filter(known).cloned(),
        };
        if instance == lease.details.instance {
            return lease;
        }
        let details = Arc::new(Details { instance, ..Details::clone(&lease.details) });
        Lease { details, ..lease }
    }

    /// All that is kept, and all that was until what is not durable yet, in no order.
    pub fn held(&self) -> impl Iterator<Item = (NetworkId, Resource)> + '_ {
        let shared = self.standbys.resources();
        self.by_resource.keys().chain(self.pending.keys()).copied().chain(shared)
    }

    /// Whether a host name is somebody's.
    pub fn is_name(&self, label: &str) -> bool {
        self.names.contains_key(label)
    }

    /// How much is kept for the instances of an owner, bound or not.
    pub fn kept_for(&self, owner: &Owner) -> Held {
        self.kept.get(owner).copied().unwrap_or_default()
    }

    /// How many instances and reservations belong to an account or application.
    pub fn members(&self, owner: &Owner) -> u64 {
        self.members.get(owner).copied().unwrap_or_default()
    }

    /// The accounts, declared and made.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Whether a change of what keeps `resource` is not durable yet.
    pub fn is_pending(&self, network: NetworkId, resource: Resource) -> bool {
        self.pending.contains_key(&(network, resource))
    }

    /// Batches up to `seq` are durable; what has nothing pending any more.
    pub fn committed(&mut self, seq: Seq) -> Vec<(NetworkId, Resource)> {
        let mut settled = Vec::new();
        while self.undo.front().is_some_and(|u| u.seq <= seq) {
            let Some(undo) = self.undo.pop_front() else { break };
            settled.extend(undo.before.iter().flat_map(resources_of));
            self.settle(undo.before.as_ref());
        }
        settled
    }

    /// Batch `seq` and all after it are lost: takes their writes back, newest first; all that
    /// they were about.
    pub fn take_back(&mut self, seq: Seq) -> Vec<(NetworkId, Resource)> {
        let mut touched = Vec::new();
        while self.undo.back().is_some_and(|u| u.seq >= seq) {
            let Some(undo) = self.undo.pop_back() else { break };
            self.settle(undo.before.as_ref());
            touched.extend(undo.before.iter().flat_map(resources_of));
            let lost = self.replace(&undo.name, undo.before);
            touched.extend(lost.iter().flat_map(resources_of));
        }
        touched
    }

    fn settle(&mut self, before: Option<&Entry>) {
        for key in before.into_iter().flat_map(resources_of) {
            match self.pending.get_mut(&key) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.pending.remove(&key)),
            }
        }
    }

    /// What an entry kept before is nobody else's until its end is durable.
    fn write(&mut self, seq: Seq, name: Box<str>, new: Option<Entry>) {
        let before = self.replace(&name, new);
        for key in before.iter().flat_map(resources_of) {
            *self.pending.entry(key).or_default() += 1;
        }
        self.undo.push_back(Undo { seq, name, before });
    }

    /// Swaps the entry of that name for `new` in every index.
    fn replace(&mut self, name: &str, new: Option<Entry>) -> Option<Entry> {
        let old = self.entries.remove(name);
        if let Some(entry) = &old {
            self.unlink(entry);
        }
        if let Some(entry) = new {
            self.link(&entry);
            self.entries.insert(name.into(), entry);
        }
        old
    }

    fn link(&mut self, entry: &Entry) {
        self.accounts.link(entry);
        if let Entry::Foresight(foresight) = entry {
            let key = (foresight.network, foresight.owner.clone());
            self.foresights.insert(key, Arc::clone(foresight));
        }
        if let Entry::Standby(standby) = entry {
            self.standbys.link(standby);
        }
        let Some(kept) = entry.kept() else { return };
        for identifier in kept.who.each() {
            let key = identifier.key(kept.network);
            self.by_identifier.insert(key.as_slice().into(), Arc::clone(kept));
        }
        for resource in kept.resources() {
            self.by_resource.insert((kept.network, resource), Arc::clone(kept));
        }
        if let Some(label) = label(kept) {
            *self.names.entry(label.into()).or_default() += 1;
        }
        for owner in owners(kept) {
            *self.members.entry(owner.clone()).or_default() += 1;
            if kept.instance.is_some() {
                let held = self.kept.entry(owner).or_default();
                *held = kept.resources().fold(*held, |sum, r| sum.plus(Held::of(r)));
            }
        }
    }

    fn unlink(&mut self, entry: &Entry) {
        self.accounts.unlink(entry);
        if let Entry::Foresight(foresight) = entry {
            self.foresights.remove(&(foresight.network, foresight.owner.clone()));
        }
        if let Entry::Standby(standby) = entry {
            self.standbys.unlink(standby);
        }
        let Some(kept) = entry.kept() else { return };
        for identifier in kept.who.each() {
            self.by_identifier.remove(&*identifier.key(kept.network));
        }
        for resource in kept.resources() {
            self.by_resource.remove(&(kept.network, resource));
        }
        if let Some(label) = label(kept)
            && let Some(count) = self.names.get_mut(label)
        {
            *count -= 1;
            if *count == 0 {
                self.names.remove(label);
            }
        }
        for owner in owners(kept) {
            if let Some(count) = self.members.get_mut(&owner) {
                *count -= 1;
                if *count == 0 {
                    self.members.remove(&owner);
                }
            }
            let counted = kept.instance.is_some();
            if let Some(held) = self.kept.get_mut(&owner).filter(|_| counted) {
                *held = kept.resources().fold(*held, |sum, r| sum.minus(Held::of(r)));
                if *held == Held::default() {
                    self.kept.remove(&owner);
                }
            }
        }
    }
}

/// The first label of the name that a client is told.
fn label(kept: &Kept) -> Option<&str> {
    kept.hostname.as_deref()?.split('.').next()
}

/// Whom an entry belongs to: an account, and its application.
fn owners(kept: &Kept) -> impl Iterator<Item = Owner> + use<> {
    let account = kept.settings.account.clone();
    let application = kept.settings.application.clone();
    let of_application = account.clone().zip(application).map(|(a, b)| (a, Some(b)));
    account.map(|account| (account, None)).into_iter().chain(of_application)
}

fn resources_of(entry: &Entry) -> Vec<(NetworkId, Resource)> {
    if let Entry::Standby(standby) = entry {
        return standby.resources.iter().map(|resource| (standby.network, *resource)).collect();
    }
    let kept = entry.kept();
    kept.map(|kept| kept.resources().map(|r| (kept.network, r)).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
