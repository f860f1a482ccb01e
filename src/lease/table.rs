//! All bindings, found by resource, by client, by hardware address and by deadline.
//!
//! Every write is pending until its batch is durable. The table keeps what was there before, so
//! that a failed commit can be taken back exactly, newest first.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::base::{ClientKey, HwAddr, LinkId, NetworkId, Resource, Sort, Span, Timestamp};

use super::{
    Cause, Census, Change, Details, Held, Lease, Owner, QuarantineReason, Seq, Shadows, State, Uses,
};

/// The one table of bindings. One thread owns it.
#[derive(Debug, Default)]
pub struct LeaseTable {
    slots: Vec<Option<Lease>>,
    vacant: Vec<u32>,
    hasher: DefaultHashBuilder,
    by_resource: HashTable<u32>,
    by_client: HashTable<u32>,
    by_hw: HashTable<u32>,
    deadlines: BTreeSet<(Timestamp, u32)>,
    /// Ended bindings, by when they ended.
    remembered: BTreeSet<(NetworkId, Timestamp, u32)>,
    /// Leases whose clients are to move.
    draining: BTreeSet<Settled>,
    counts: HashMap<(NetworkId, Sort), Counts>,
    census: Census,
    shadows: Shadows,
    /// Live bindings by the port of their client.
    of_port: HashMap<(NetworkId, LinkId), u32>,
    /// Live bindings by account and application, but those that are kept for an instance anyhow.
    of_owner: HashMap<Owner, Held>,
    undo: VecDeque<Undo>,
    pending: HashMap<(NetworkId, Resource), u32>,
    /// Of the last binding: the next one's are often the same, or none at all.
    details: Arc<Details>,
}

/// How many bindings of one sort a network has in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acknowledged and not over.
    pub leased: u64,
    /// Free and remembered: expired or released.
    pub remembered: u64,
    /// Held ahead of need.
    pub shadows: u64,
    /// Out of use, for whatever reason.
    pub quarantined: u64,
    /// Of these, found in use by a machine without a binding.
    pub in_use: u64,
}

#[derive(Debug)]
struct Undo {
    seq: Seq,
    network: NetworkId,
    resource: Resource,
    before: Option<Lease>,
}

/// A resource whose pending change was settled, one way or the other.
pub type Settled = (NetworkId, Resource);

/// What a lost batch leaves behind.
#[derive(Debug, Default)]
pub struct TakenBack {
    /// Resources without a pending write now.
    pub settled: Vec<Settled>,
    /// Bindings that were granted and are not.
    pub lost: Vec<Lease>,
}

impl LeaseTable {
    /// Puts a stored binding in place at start; nothing is pending.
    pub fn load(&mut self, mut lease: Lease) {
        lease.details = match Arc::try_unwrap(lease.details) {
            Ok(details) => self.share(details),
            Err(shared) => shared,
        };
        self.replace(lease.network, lease.resource, Some(lease));
    }

    /// Details for a binding, shared with the last one that asked if they are the same.
    pub fn share(&mut self, details: Details) -> Arc<Details> {
        if *self.details != details {
            self.details = Arc::new(details);
        }
        Arc::clone(&self.details)
    }

    /// Writes a binding as part of batch `seq`, and why. Its uses follow from what was there before,
    /// which fades by `half_life` while nobody has it.
    pub fn put(
        &mut self,
        seq: Seq,
        mut lease: Lease,
        cause: Cause,
        half_life: Span,
        changes: &mut Vec<Change>,
    ) {
        let (network, resource) = (lease.network, lease.resource);
        let before = self.unlink(network, resource);
        lease.uses = Uses::next(before.as_ref(), &lease, half_life);
        changes.push(Change::Put(lease.clone(), cause));
        self.recount_all(before.as_ref(), Some(&lease), (network, resource));
        self.link(lease);
        self.may_take_back(Undo { seq, network, resource, before });
    }

    /// Forgets a binding as part of batch `seq`; `lifted` says when, if a quarantine ends with it.
    pub fn remove(
        &mut self,
        seq: Seq,
        network: NetworkId,
        resource: Resource,
        lifted: Option<Timestamp>,
        changes: &mut Vec<Change>,
    ) {
        changes.push(Change::Remove(network, resource, lifted));
        let before = self.replace(network, resource, None);
        self.may_take_back(Undo { seq, network, resource, before });
    }

    /// Notes how much traffic the holder of a lease has now. Durable with the lease's next write: it
    /// is not worth one of its own.
    pub fn note_traffic(&mut self, network: NetworkId, resource: Resource, level: u8) {
        let hash = self.hash((network, resource));
        let slots = &mut self.slots;
        let slot = self.by_resource.find(hash, |slot| {
            let lease = slots.get(*slot as usize).and_then(Option::as_ref);
            lease.is_some_and(|l| (l.network, l.resource) == (network, resource))
        });
        let lease = slot.and_then(|slot| slots.get_mut(*slot as usize)).and_then(Option::as_mut);
        if let Some(lease) = lease.filter(|lease| lease.state == State::Leased) {
            lease.uses = lease.uses.with_traffic(level);
        }
    }

    /// The binding of `resource`.
    pub fn get(&self, network: NetworkId, resource: Resource) -> Option<&Lease> {
        let slot = self.by_resource.find(self.hash((network, resource)), |slot| {
            self.at(*slot).is_some_and(|l| (l.network, l.resource) == (network, resource))
        })?;
        self.at(*slot)
    }

    /// All bindings of a client on a network, in no order; few.
    pub fn of_client<'a>(
        &'a self,
        network: NetworkId,
        client: &'a ClientKey,
    ) -> impl Iterator<Item = &'a Lease> + 'a {
        self.by_client
            .iter_hash(self.hash((network, client)))
            .filter_map(|slot| self.at(*slot))
            .filter(move |l| l.network == network && l.client == *client)
    }

    /// All bindings with this hardware address on a network, in no order; none for an unknown one.
    pub fn of_hw<'a>(
        &'a self,
        network: NetworkId,
        hw: &'a HwAddr,
    ) -> impl Iterator<Item = &'a Lease> + 'a {
        self.by_hw
            .iter_hash(self.hash((network, hw)))
            .filter_map(|slot| self.at(*slot))
            .filter(move |l| l.network == network && l.hw == *hw)
    }

    /// One held binding whose time is over by `now`. Ask again after writing its new state.
    pub fn first_due(&self, now: Timestamp) -> Option<&Lease> {
        let (until, slot) = self.deadlines.first()?;
        (*until <= now).then(|| self.at(*slot)).flatten()
    }

    /// When the next held binding ends.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(until, _)| *until).filter(|t| *t != Timestamp::NEVER)
    }

    /// The remembered binding of a network that ended first.
    pub fn oldest_remembered(&self, network: NetworkId) -> Option<&Lease> {
        let (of, _, slot) = self.remembered.range((network, Timestamp(0), 0)..).next()?;
        (*of == network).then(|| self.at(*slot)).flatten()
    }

    /// All leases whose clients are to move, by network and address.
    pub fn draining(&self) -> impl Iterator<Item = &Lease> {
        self.draining.iter().filter_map(|(network, resource)| self.get(*network, *resource))
    }

    /// How many bindings of a sort a network has in each state.
    pub fn counts(&self, network: NetworkId, sort: Sort) -> Counts {
        self.counts.get(&(network, sort)).copied().unwrap_or_default()
    }

    /// How many bindings each pool has in each state.
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// Counts by other pools from now on.
    pub fn set_census(&mut self, mut census: Census) {
        for lease in self.iter() {
            census.change(None, Some(lease));
        }
        self.shadows.move_to_pools(|network, resource| census.pool_of(network, resource));
        self.census = census;
    }

    /// What is held ahead of need.
    pub fn shadows(&self) -> &Shadows {
        &self.shadows
    }

    /// The same, to say which of it is promised or proven.
    pub fn shadows_mut(&mut self) -> &mut Shadows {
        &mut self.shadows
    }

    /// How many live bindings the clients behind a port have, of every sort.
    pub fn on_port(&self, network: NetworkId, port: LinkId) -> u32 {
        self.of_port.get(&(network, port)).copied().unwrap_or(0)
    }

    /// How many live bindings an account or application has, of every network. An address that is
    /// kept for an instance counts where it is kept.
    pub fn held_by(&self, owner: &Owner) -> Held {
        self.of_owner.get(owner).copied().unwrap_or_default()
    }

    /// How many bindings there are, remembered ones included.
    pub fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bindings as they stand, pending writes included, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.slots.iter().flatten()
    }

    /// Shows up to `most` bindings from position `from` on to `look`, and says where to go on. A
    /// binding keeps its position while it is there.
    pub fn scan(&self, from: u64, most: usize, mut look: impl FnMut(&Lease)) -> Option<u64> {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.slots.len());
        let to = from.saturating_add(most).min(self.slots.len());
        self.slots[from..to].iter().flatten().for_each(&mut look);
        (to < self.slots.len()).then_some(to as u64)
    }

    /// Whether a write of this resource is not durable yet.
    pub fn is_pending(&self, network: NetworkId, resource: Resource) -> bool {
        self.pending.contains_key(&(network, resource))
    }

    /// Batches up to `seq` are durable. Calls `settled` for each resource that has no write
    /// pending any more.
    pub fn committed(&mut self, seq: Seq, mut settled: impl FnMut(&mut Self, Settled)) {
        while self.undo.front().is_some_and(|u| u.seq <= seq) {
            let Some(undo) = self.undo.pop_front() else { return };
            let key = (undo.network, undo.resource);
            if self.settle(key) {
                settled(self, key);
            }
        }
    }

    /// Batch `seq` and all after it are lost: takes their writes back, newest first.
    pub fn take_back(&mut self, seq: Seq) -> TakenBack {
        let mut taken = TakenBack::default();
        while self.undo.back().is_some_and(|u| u.seq >= seq) {
            let Some(undo) = self.undo.pop_back() else { break };
            let key = (undo.network, undo.resource);
            let lost = self.replace(undo.network, undo.resource, undo.before);
            taken.lost.extend(lost.filter(|l| l.state == State::Leased));
            if self.settle(key) {
                taken.settled.push(key);
            }
        }
        taken
    }

    fn settle(&mut self, key: Settled) -> bool {
        match self.pending.get_mut(&key) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            _ => {
                self.pending.remove(&key);
                true
            }
        }
    }

    fn may_take_back(&mut self, undo: Undo) {
        *self.pending.entry((undo.network, undo.resource)).or_default() += 1;
        self.undo.push_back(undo);
    }

    /// Swaps the binding of `resource` for `new` in every index.
    fn replace(
        &mut self,
        network: NetworkId,
        resource: Resource,
        new: Option<Lease>,
    ) -> Option<Lease> {
        let old = self.unlink(network, resource);
        self.recount_all(old.as_ref(), new.as_ref(), (network, resource));
        if let Some(lease) = new {
            debug_assert!((lease.network, lease.resource) == (network, resource));
            self.link(lease);
        }
        old
    }

    /// Counts one binding in place of another.
    fn recount_all(&mut self, old: Option<&Lease>, new: Option<&Lease>, of: Settled) {
        let (network, resource) = of;
        self.census.change(old, new);
        let is_shadow = new.is_some_and(|lease| lease.state == State::Shadow);
        let pool = is_shadow.then(|| self.census.pool_of(network, resource)).flatten();
        self.shadows.change(old, new, pool);
        self.recount(old.and_then(counted), new.and_then(counted), resource);
    }

    /// Counts a binding for the owners it has now, and no more for those it had.
    fn recount(&mut self, old: Option<&Details>, new: Option<&Details>, resource: Resource) {
        let same =
            |a: &Details, b: &Details| (&a.account, &a.application) == (&b.account, &b.application);
        if old.zip(new).map_or(old.is_none() && new.is_none(), |(old, new)| same(old, new)) {
            return;
        }
        for owner in old.into_iter().flat_map(owners) {
            if let Some(held) = self.of_owner.get_mut(&owner) {
                *held = held.minus(Held::of(resource));
                if *held == Held::default() {
                    self.of_owner.remove(&owner);
                }
            }
        }
        for owner in new.into_iter().flat_map(owners) {
            let held = self.of_owner.entry(owner).or_default();
            *held = held.plus(Held::of(resource));
        }
    }

    fn unlink(&mut self, network: NetworkId, resource: Resource) -> Option<Lease> {
        let hash = self.hash((network, resource));
        let slots = &self.slots;
        let is_it = |slot: &u32| {
            slots
                .get(*slot as usize)
                .and_then(Option::as_ref)
                .is_some_and(|l| (l.network, l.resource) == (network, resource))
        };
        let (slot, _) = self.by_resource.find_entry(hash, is_it).ok()?.remove();
        let lease = self.slots.get_mut(slot as usize)?.take()?;
        let (by_client, by_hw) =
            (self.hash((network, &lease.client)), self.hash((network, &lease.hw)));
        if has_client(&lease)
            && let Ok(entry) = self.by_client.find_entry(by_client, |s| *s == slot)
        {
            entry.remove();
        }
        if lease.hw != HwAddr::default()
            && let Ok(entry) = self.by_hw.find_entry(by_hw, |s| *s == slot)
        {
            entry.remove();
        }
        self.deadlines.remove(&(lease.until, slot));
        if lease.state.is_remembered() {
            self.remembered.remove(&(network, lease.until, slot));
        }
        if lease.details.draining.is_some() {
            self.draining.remove(&(network, resource));
        }
        self.counts.entry((network, resource.sort())).or_default().add(lease.state, u64::MAX);
        if let Some(key) = port_key(&lease)
            && let Some(count) = self.of_port.get_mut(&key)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_port.remove(&key);
            }
        }
        self.vacant.push(slot);
        Some(lease)
    }

    fn link(&mut self, lease: Lease) {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        if lease.state.is_held() {
            self.deadlines.insert((lease.until, slot));
        }
        if lease.state.is_remembered() {
            self.remembered.insert((lease.network, lease.until, slot));
        }
        if lease.details.draining.is_some() && lease.state == State::Leased {
            self.draining.insert((lease.network, lease.resource));
        }
        let sort = lease.resource.sort();
        self.counts.entry((lease.network, sort)).or_default().add(lease.state, 1);
        if let Some(key) = port_key(&lease) {
            *self.of_port.entry(key).or_default() += 1;
        }
        let hashes = [
            self.hash((lease.network, lease.resource)),
            self.hash((lease.network, &lease.client)),
            self.hash((lease.network, &lease.hw)),
        ];
        let (has_hw, has_client) = (lease.hw != HwAddr::default(), has_client(&lease));
        self.slots[slot as usize] = Some(lease);
        let (slots, hasher) = (&self.slots, &self.hasher);
        let of = |slot: &u32| slots.get(*slot as usize).and_then(Option::as_ref);
        self.by_resource.insert_unique(hashes[0], slot, |s| {
            of(s).map_or(0, |l| hasher.hash_one((l.network, l.resource)))
        });
        if has_client {
            self.by_client.insert_unique(hashes[1], slot, |s| {
                of(s).map_or(0, |l| hasher.hash_one((l.network, &l.client)))
            });
        }
        // All that have none would be found by one and the same hash.
        if has_hw {
            self.by_hw.insert_unique(hashes[2], slot, |s| {
                of(s).map_or(0, |l| hasher.hash_one((l.network, &l.hw)))
            });
        }
    }

    fn at(&self, slot: u32) -> Option<&Lease> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn hash(&self, key: impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }
}

/// Whether a client asks for it: nobody asks for what is held for who is to come.
fn has_client(lease: &Lease) -> bool {
    lease.state != State::Shadow
}

/// What says for whom a binding counts, if it does.
fn counted(lease: &Lease) -> Option<&Details> {
    let kept = lease.details.instance.is_some() && lease.resource.sort() != Sort::Prefix6;
    let counts = lease.state == State::Leased && !kept && lease.details.account.is_some();
    counts.then_some(&*lease.details)
}

/// The account, and its application.
fn owners(details: &Details) -> impl Iterator<Item = Owner> + use<> {
    let account = details.account.clone();
    let of = account.clone().zip(details.application.clone()).map(|(a, b)| (a, Some(b)));
    account.map(|account| (account, None)).into_iter().chain(of)
}

/// Which port a live binding counts for.
fn port_key(lease: &Lease) -> Option<(NetworkId, LinkId)> {
    let live = lease.state == State::Leased;
    lease.port.filter(|_| live).map(|port| (lease.network, port))
}

impl Counts {
    /// Adds `n` to the figures of `state`; [`u64::MAX`] takes one away.
    pub(super) fn add(&mut self, state: State, n: u64) {
        let figure = match state {
            State::Leased => &mut self.leased,
            State::Expired | State::Released => &mut self.remembered,
            State::Shadow => &mut self.shadows,
            State::Quarantined(_) => &mut self.quarantined,
        };
        *figure = figure.wrapping_add(n);
        if let State::Quarantined(QuarantineReason::InUse(_)) = state {
            self.in_use = self.in_use.wrapping_add(n);
        }
    }
}

#[cfg(test)]
mod tests;
