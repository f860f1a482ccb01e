//! The standbys of a directory, and how they are found.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::base::{Mac, NetworkId, Resource, Timestamp};

use super::standby::{Standby, standby_name};
use super::{Directory, Entry, Identifier, Owner};

/// By what they share, by who the standby is, and by when they are
/// dropped.
#[derive(Debug, Default)]
pub(super) struct Standbys {
    by_resource: HashMap<(NetworkId, Resource), Arc<Standby>>,
    by_standby: HashMap<Box<[u8]>, Arc<Standby>>,
    by_active: HashMap<(NetworkId, Mac), Vec<Arc<Standby>>>,
    of_network: HashMap<NetworkId, u32>,
    of_owner: HashMap<Owner, u32>,
    deadlines: BTreeSet<(Timestamp, Arc<str>)>,
}

impl Standbys {
    /// All that is shared.
    pub(super) fn resources(&self) -> impl Iterator<Item = (NetworkId, Resource)> + '_ {
        self.by_resource.keys().copied()
    }

    pub(super) fn link(&mut self, standby: &Arc<Standby>) {
        for resource in &standby.resources {
            self.by_resource.insert((standby.network, *resource), Arc::clone(standby));
        }
        for identifier in standby.standby.who.each() {
            let key = identifier.key(standby.network);
            self.by_standby.insert(key.as_slice().into(), Arc::clone(standby));
        }
        if let Some(mac) = standby.active.who.mac {
            self.by_active.entry((standby.network, mac)).or_default().push(Arc::clone(standby));
        }
        *self.of_network.entry(standby.network).or_default() += 1;
        for owner in owners(standby) {
            *self.of_owner.entry(owner).or_default() += 1;
        }
        if standby.due() != Timestamp::NEVER {
            self.deadlines.insert((standby.due(), Arc::clone(&standby.id)));
        }
    }

    pub(super) fn unlink(&mut self, standby: &Standby) {
        for resource in &standby.resources {
            self.by_resource.remove(&(standby.network, *resource));
        }
        for identifier in standby.standby.who.each() {
            self.by_standby.remove(&*identifier.key(standby.network));
        }
        if let Some(mac) = standby.active.who.mac
            && let Some(pairs) = self.by_active.get_mut(&(standby.network, mac))
        {
            pairs.retain(|pair| pair.id != standby.id);
            if pairs.is_empty() {
                self.by_active.remove(&(standby.network, mac));
            }
        }
        one_less(&mut self.of_network, &standby.network);
        for owner in owners(standby) {
            one_less(&mut self.of_owner, &owner);
        }
        self.deadlines.remove(&(standby.due(), Arc::clone(&standby.id)));
    }
}

/// Its account, and its application.
fn owners(standby: &Standby) -> impl Iterator<Item = Owner> + use<> {
    let owner = standby.owner();
    let of_application = owner.clone().filter(|owner| owner.1.is_some());
    owner.map(|(account, _)| (account, None)).into_iter().chain(of_application)
}

fn one_less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Standbys.
impl Directory {
    /// The standby of that id.
    pub fn standby(&self, id: &str) -> Option<&Arc<Standby>> {
        match self.entries.get(&*standby_name(id))? {
            Entry::Standby(standby) => Some(standby),
            _ => None,
        }
    }

    /// The pair that shares `resource`.
    pub fn pair_of(&self, network: NetworkId, resource: Resource) -> Option<&Arc<Standby>> {
        if self.standbys.by_resource.is_empty() {
            return None;
        }
        self.standbys.by_resource.get(&(network, resource))
    }

    /// The pair whose standby is known by `identifier`.
    pub fn pair_of_standby(
        &self,
        network: NetworkId,
        identifier: Identifier<'_>,
    ) -> Option<&Arc<Standby>> {
        if self.standbys.by_standby.is_empty() {
            return None;
        }
        self.standbys.by_standby.get(&*identifier.key(network))
    }

    /// The pairs whose active has that MAC.
    pub fn pairs_of_active(&self, network: NetworkId, mac: Mac) -> &[Arc<Standby>] {
        self.standbys.by_active.get(&(network, mac)).map(Vec::as_slice).unwrap_or_default()
    }

    /// All pairs, in no order.
    pub fn standbys(&self) -> impl Iterator<Item = &Arc<Standby>> {
        self.entries
            .range::<str, _>((Bound::Included("standby/"), Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with("standby/"))
            .filter_map(|(_, entry)| match entry {
                Entry::Standby(standby) => Some(standby),
                _ => None,
            })
    }

    /// How many pairs a network has.
    pub fn standbys_on(&self, network: NetworkId) -> u32 {
        self.standbys.of_network.get(&network).copied().unwrap_or(0)
    }

    /// How many an account or application has, on all networks.
    pub fn standbys_for(&self, owner: &Owner) -> u32 {
        self.standbys.of_owner.get(owner).copied().unwrap_or(0)
    }

    /// The one that is due first ([`Standby::due`]), and when.
    pub fn next_standby_due(&self) -> Option<(Timestamp, &Arc<str>)> {
        self.standbys.deadlines.first().map(|(until, id)| (*until, id))
    }
}
