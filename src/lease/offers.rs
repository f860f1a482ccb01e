//! Addresses that were offered and not yet asked for. In memory only, bounded, and fair to ports.

use std::collections::BTreeSet;

use hashbrown::{Equivalent, HashMap};

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

/// All offers, found by resource, by client and by deadline.
#[derive(Debug, Default)]
pub struct OfferTable {
    by_resource: HashMap<(NetworkId, Resource), Offer>,
    by_client: HashMap<(NetworkId, ClientKey), Resource>,
    deadlines: BTreeSet<(Timestamp, NetworkId, Resource)>,
    by_port: HashMap<PortKey, BTreeSet<(Timestamp, Resource)>>,
    ports_by_load: BTreeSet<(NetworkId, usize, Option<LinkId>)>,
    in_network: HashMap<NetworkId, usize>,
}

/// A client of a network, to look up without a copy of its key.
#[derive(Hash)]
struct OfClient<'a>(NetworkId, &'a ClientKey);

impl Equivalent<(NetworkId, ClientKey)> for OfClient<'_> {
    fn equivalent(&self, (network, client): &(NetworkId, ClientKey)) -> bool {
        (self.0, self.1) == (*network, client)
    }
}

type PortKey = (NetworkId, Option<LinkId>);

impl OfferTable {
    /// Remembers an offer, in place of the client's earlier one and of any on that resource.
    /// Returns the resource that the client had been offered before, if it is another.
    pub fn insert(&mut self, offer: Offer) -> Option<Resource> {
        let (network, resource) = (offer.network, offer.resource);
        let before = self.remove_client(network, &offer.client).map(|old| old.resource);
        self.remove(network, resource);
        self.deadlines.insert((offer.until, network, resource));
        self.by_client.insert((network, offer.client.clone()), resource);
        self.reload(network, offer.port, |queue| queue.insert((offer.until, resource)));
        *self.in_network.entry(network).or_default() += 1;
        self.by_resource.insert((network, resource), offer);
        before.filter(|old| *old != resource)
    }

    /// The offer of `resource`.
    pub fn get(&self, network: NetworkId, resource: Resource) -> Option<&Offer> {
        self.by_resource.get(&(network, resource))
    }

    /// The offer to `client`.
    pub fn of_client(&self, network: NetworkId, client: &ClientKey) -> Option<&Offer> {
        let resource = self.by_client.get(&OfClient(network, client))?;
        self.get(network, *resource)
    }

    /// Forgets the offer of `resource`.
    pub fn remove(&mut self, network: NetworkId, resource: Resource) -> Option<Offer> {
        let offer = self.by_resource.remove(&(network, resource))?;
        self.by_client.remove(&OfClient(network, &offer.client));
        self.deadlines.remove(&(offer.until, network, resource));
        self.reload(network, offer.port, |queue| queue.remove(&(offer.until, resource)));
        if let Some(count) = self.in_network.get_mut(&network) {
            *count -= 1;
        }
        Some(offer)
    }

    /// Forgets the offer to `client`.
    pub fn remove_client(&mut self, network: NetworkId, client: &ClientKey) -> Option<Offer> {
        let resource = *self.by_client.get(&OfClient(network, client))?;
        self.remove(network, resource)
    }

    /// Takes out one offer that has lapsed by `now`.
    pub fn pop_lapsed(&mut self, now: Timestamp) -> Option<Offer> {
        let (until, network, resource) = *self.deadlines.first()?;
        (until <= now).then(|| self.remove(network, resource)).flatten()
    }

    /// Makes room for an offer to a client on `port`: takes out the oldest offer of the port that
    /// holds most, if that is at least two more than `port` has (so nobody is evicted for a
    /// neighbour with the same share).
    pub fn evict_for(&mut self, network: NetworkId, port: Option<LinkId>) -> Option<Offer> {
        let own = self.by_port.get(&(network, port)).map_or(0, BTreeSet::len);
        let busiest = (network, usize::MAX, Some(LinkId(u32::MAX)));
        let (_, most, victim) = *self.ports_by_load.range(..=busiest).next_back()?;
        if self.ports_by_load.range(..=busiest).next_back()?.0 != network || most < own + 2 {
            return None;
        }
        let (_, resource) = *self.by_port.get(&(network, victim))?.first()?;
        self.remove(network, resource)
    }

    /// When the next offer lapses.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(until, ..)| *until)
    }

    /// How many offers a network has out.
    pub fn count(&self, network: NetworkId) -> usize {
        self.in_network.get(&network).copied().unwrap_or(0)
    }

    /// All offers, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Offer> {
        self.by_resource.values()
    }

    fn reload(
        &mut self,
        network: NetworkId,
        port: Option<LinkId>,
        change: impl FnOnce(&mut BTreeSet<(Timestamp, Resource)>) -> bool,
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
