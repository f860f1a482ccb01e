//! Addresses that were offered and not yet asked for. In memory only, bounded, and fair to ports.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::base::{ClientKey, HwAddr, LinkId, NetworkId, Resource, Timestamp};

/// A promise to one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The segment.
    pub network: NetworkId,
    /// What was offered.
    pub resource: Resource,
    /// To whom.
    pub client: ClientKey,
    /// Its hardware address: a clone's differs.
    pub hw: HwAddr,
    /// When it lapses.
    pub until: Timestamp,
    /// Whose share it counts against: an access port, or `None` on trunks and through relays.
    pub port: Option<LinkId>,
}

/// All offers, found by resource, by client and by deadline. Each stands once; the indexes have its
/// number.
#[derive(Debug, Default)]
pub struct OfferTable {
    slots: Vec<Option<Offer>>,
    vacant: Vec<u32>,
    hasher: DefaultHashBuilder,
    by_resource: HashTable<u32>,
    by_client: HashTable<u32>,
    deadlines: BTreeSet<(Timestamp, u32)>,
    by_port: HashMap<PortKey, BTreeSet<(Timestamp, u32)>>,
    ports_by_load: BTreeSet<(NetworkId, usize, Option<LinkId>)>,
    in_network: HashMap<NetworkId, usize>,
    clones: usize,
}

type PortKey = (NetworkId, Option<LinkId>);

impl OfferTable {
    /// Remembers an offer, in place of the client's earlier one and of any on that resource.
    /// Returns the resource that the client had been offered before, if it is another.
    pub fn insert(&mut self, offer: Offer) -> Option<Resource> {
        let (network, resource) = (offer.network, offer.resource);
        let before = self.remove_client(network, &offer.client).map(|old| old.resource);
        self.remove(network, resource);
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.deadlines.insert((offer.until, slot));
        self.reload(network, offer.port, |queue| queue.insert((offer.until, slot)));
        *self.in_network.entry(network).or_default() += 1;
        self.clones += usize::from(offer.client.is_clone());
        let hashes = [self.hash((network, resource)), self.hash((network, &offer.client))];
        self.slots[slot as usize] = Some(offer);
        let (slots, hasher) = (&self.slots, &self.hasher);
        let of = |slot: &u32| slots.get(*slot as usize).and_then(Option::as_ref);
        self.by_resource.insert_unique(hashes[0], slot, |s| {
            of(s).map_or(0, |o| hasher.hash_one((o.network, o.resource)))
        });
        self.by_client.insert_unique(hashes[1], slot, |s| {
            of(s).map_or(0, |o| hasher.hash_one((o.network, &o.client)))
        });
        before.filter(|old| *old != resource)
    }

    /// The offer of `resource`.
    pub fn get(&self, network: NetworkId, resource: Resource) -> Option<&Offer> {
        self.at(self.slot_of(network, resource)?)
    }

    /// The offer to `client`.
    pub fn of_client(&self, network: NetworkId, client: &ClientKey) -> Option<&Offer> {
        self.at(self.slot_of_client(network, client)?)
    }

    /// Forgets the offer of `resource`.
    pub fn remove(&mut self, network: NetworkId, resource: Resource) -> Option<Offer> {
        self.vacate(self.slot_of(network, resource)?)
    }

    /// Forgets the offer to `client`.
    pub fn remove_client(&mut self, network: NetworkId, client: &ClientKey) -> Option<Offer> {
        self.vacate(self.slot_of_client(network, client)?)
    }

    /// Takes out one offer that has lapsed by `now`.
    pub fn pop_lapsed(&mut self, now: Timestamp) -> Option<Offer> {
        let (until, slot) = *self.deadlines.first()?;
        (until <= now).then(|| self.vacate(slot)).flatten()
    }

    /// Makes room for an offer to a client on `port`: takes out the oldest offer of the port that
    /// holds most, if that is at least two more than `port` has (so nobody is evicted for a
    /// neighbour with the same share).
    pub fn evict_for(&mut self, network: NetworkId, port: Option<LinkId>) -> Option<Offer> {
        let own = self.by_port.get(&(network, port)).map_or(0, BTreeSet::len);
        let busiest = (network, usize::MAX, Some(LinkId(u32::MAX)));
        let (of, most, victim) = *self.ports_by_load.range(..=busiest).next_back()?;
        if of != network || most < own + 2 {
            return None;
        }
        let (_, slot) = *self.by_port.get(&(network, victim))?.first()?;
        self.vacate(slot)
    }

    /// When the next offer lapses.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// How many offers a network has out.
    pub fn count(&self, network: NetworkId) -> usize {
        self.in_network.get(&network).copied().unwrap_or(0)
    }

    /// Whether any offer is to a clone.
    pub fn has_clones(&self) -> bool {
        self.clones > 0
    }

    /// All offers, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Offer> {
        self.slots.iter().flatten()
    }

    fn at(&self, slot: u32) -> Option<&Offer> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn slot_of(&self, network: NetworkId, resource: Resource) -> Option<u32> {
        let is_it = |slot: &u32| {
            self.at(*slot).is_some_and(|o| (o.network, o.resource) == (network, resource))
        };
        self.by_resource.find(self.hash((network, resource)), is_it).copied()
    }

    fn slot_of_client(&self, network: NetworkId, client: &ClientKey) -> Option<u32> {
        let is_it = |slot: &u32| {
            self.at(*slot).is_some_and(|o| o.network == network && o.client == *client)
        };
        self.by_client.find(self.hash((network, client)), is_it).copied()
    }

    fn vacate(&mut self, slot: u32) -> Option<Offer> {
        let offer = self.slots.get_mut(slot as usize)?.take()?;
        self.vacant.push(slot);
        let by_resource = self.hash((offer.network, offer.resource));
        if let Ok(entry) = self.by_resource.find_entry(by_resource, |s| *s == slot) {
            entry.remove();
        }
        let by_client = self.hash((offer.network, &offer.client));
        if let Ok(entry) = self.by_client.find_entry(by_client, |s| *s == slot) {
            entry.remove();
        }
        self.deadlines.remove(&(offer.until, slot));
        self.reload(offer.network, offer.port, |queue| queue.remove(&(offer.until, slot)));
        if let Some(count) = self.in_network.get_mut(&offer.network) {
            *count -= 1;
        }
        self.clones -= usize::from(offer.client.is_clone());
        Some(offer)
    }

    fn reload(
        &mut self,
        network: NetworkId,
        port: Option<LinkId>,
        change: impl FnOnce(&mut BTreeSet<(Timestamp, u32)>) -> bool,
    ) {
        let queue = self.by_port.entry((network, port)).or_default();
        self.ports_by_load.remove(&(network, queue.len(), port));
        change(queue);
        let len = queue.len();
        if len == 0 {
            self.by_port.remove(&(network, port));
        } else {
            self.ports_by_load.insert((network, len, port));
        }
    }

    fn hash(&self, key: impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const NET: NetworkId = NetworkId(7);

    fn offer(last: u8, client: u8, port: u32, until: u64) -> Offer {
        let hw = HwAddr::new(1, &[client; 6]).unwrap();
        Offer {
            network: NET,
            resource: Ipv4Addr::new(10, 0, 0, last).into(),
            client: ClientKey::hardware(&hw),
            hw,
            until: Timestamp(until),
            port: Some(LinkId(port)),
        }
    }

    #[test]
    fn a_client_has_one_offer() {
        let mut table = OfferTable::default();
        assert_eq!(table.insert(offer(1, 1, 1, 10)), None);
        assert_eq!(table.insert(offer(2, 1, 1, 20)), Some(Ipv4Addr::new(10, 0, 0, 1).into()));
        assert_eq!(table.count(NET), 1);
        assert!(table.get(NET, Ipv4Addr::new(10, 0, 0, 1).into()).is_none());
    }

    #[test]
    fn offers_lapse_in_order() {
        let mut table = OfferTable::default();
        table.insert(offer(1, 1, 1, 30));
        table.insert(offer(2, 2, 1, 10));
        assert_eq!(table.next_deadline(), Some(Timestamp(10)));
        assert_eq!(table.pop_lapsed(Timestamp(30)).unwrap().until, Timestamp(10));
        assert_eq!(table.pop_lapsed(Timestamp(29)), None);
    }

    #[test]
    fn the_port_over_its_share_pays_and_pays_its_oldest() {
        let mut table = OfferTable::default();
        for i in 1..=5 {
            table.insert(offer(i, i, 1, 100 + u64::from(i)));
        }
        table.insert(offer(6, 6, 2, 50));
        let gone = table.evict_for(NET, Some(LinkId(3))).unwrap();
        assert_eq!(gone.resource, Ipv4Addr::new(10, 0, 0, 1).into());
        assert_eq!(table.evict_for(NET, Some(LinkId(1))), None, "never for its own port");
    }

    #[test]
    fn equals_do_not_evict_each_other() {
        let mut table = OfferTable::default();
        table.insert(offer(1, 1, 1, 10));
        assert_eq!(table.evict_for(NET, Some(LinkId(2))), None);
    }
}
