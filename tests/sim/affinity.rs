//! Who comes back is offered the address that it had, while that is free and allowed. Machines
//! that share their name are left out: which of them is which is not theirs to say.

use std::collections::BTreeMap;

use foreshadow::base::{Mac, Resource};
use foreshadow::lease::{Lease, State};
use foreshadow::wire::{Kind, Kind6, Message, Message6, MessageType, MessageType6};

use super::client6::named;
use super::relays::network_of;
use super::world::{Event, World};

/// By client, and by whether it is about DHCPv6.
type Of = (Mac, bool);

#[derive(Debug, Default)]
pub(crate) struct Affinity {
    /// What each was told last that it has.
    last: BTreeMap<Of, Resource>,
    /// What each was offered last.
    offered: BTreeMap<Of, Vec<Resource>>,
    /// To whom each was offered last, and when.
    offered_to: BTreeMap<Resource, (Mac, u64)>,
}

impl World {
    pub(crate) fn judge_affinity4(&mut self, mac: Mac, bytes: &[u8]) {
        let Ok(msg) = Message::parse(bytes) else { return };
        self.is_overheard(msg.yiaddr().into());
        self.judge_v4(mac, &msg);
        self.affinity.offered_to.insert(msg.yiaddr().into(), (mac, self.now));
    }

    fn judge_v4(&mut self, mac: Mac, msg: &Message<'_>) {
        if msg.client_id().is_some_and(|id| id.first() == Some(&0)) || msg.yiaddr().is_unspecified()
        {
            return;
        }
        match msg.kind() {
            Kind::Dhcp(MessageType::Offer) => self.judge((mac, false), vec![msg.yiaddr().into()]),
            _ => self.has_now((mac, false), msg.yiaddr().into()),
        }
    }

    pub(crate) fn judge_affinity6(&mut self, mac: Mac, bytes: &[u8]) {
        let Ok(msg) = Message6::parse(bytes) else { return };
        let mut addrs = named(&msg);
        addrs.retain(|(resource, valid)| matches!(resource, Resource::V6(_)) && *valid > 0);
        let addrs: Vec<Resource> = addrs.into_iter().map(|(resource, _)| resource).collect();
        addrs.first().into_iter().for_each(|addr| self.is_overheard(*addr));
        let is_clone = msg.client_id().is_some_and(|id| id.starts_with(b"\0\x02image"));
        match msg.kind() {
            _ if is_clone => {}
            Kind6::Known(MessageType6::Advertise) => self.judge((mac, true), addrs.clone()),
            _ => addrs.iter().for_each(|addr| self.has_now((mac, true), *addr)),
        }
        self.affinity.offered_to.extend(addrs.iter().map(|addr| (*addr, (mac, self.now))));
    }

    /// Whoever listens may act on it at once.
    fn is_overheard(&mut self, offered: Resource) {
        if self.random.chance(120) {
            let delay = self.random.below(2);
            self.at(delay, Event::Hostile(Some(offered)));
        }
    }

    /// It was told so, and nobody else had it last.
    fn has_now(&mut self, client: Of, resource: Resource) {
        self.affinity.last.retain(|other, had| other == &client || *had != resource);
        // It may have dropped it while that was on its way.
        match self.witness.told.get(&resource).is_some_and(|told| told.client == client.0) {
            true => drop(self.affinity.last.insert(client, resource)),
            false => drop(self.affinity.last.remove(&client)),
        }
    }

    fn judge(&mut self, client: Of, offered: Vec<Resource>) {
        let before = self.affinity.offered.insert(client, offered.clone());
        let is_client = self.clients.iter().any(|c| c.mac == client.0)
            || self.clients6.iter().any(|c| c.mac == client.0);
        let Some(had) = self.affinity.last.get(&client).copied().filter(|_| is_client) else {
            return;
        };
        self.tally.seen("offers to who had an address before");
        if offered.contains(&had) {
            return self.tally.seen("offers of the address that it had");
        }
        // What was offered stays offered; what it had may have come free meanwhile.
        // A guest that speaks under its name shares its offer, as a changed card does.
        let shared = offered.iter().any(|addr| self.is_offered_to_other(client.0, *addr));
        if shared || before == Some(offered.clone()) || !self.is_free_for(client.0, had, &offered) {
            return;
        }
        let known = self.server.engine.leases().get(network_of(had), had);
        panic!("{} had {had}, and is offered {offered:?}; known is {known:?}", client.0);
    }

    fn is_free_for(&self, mac: Mac, had: Resource, offered: &[Resource]) -> bool {
        let (network, engine) = (network_of(had), &self.server.engine);
        let is_its = |lease: &Lease| lease.hw.mac() == Some(mac);
        let lease = engine.leases().get(network, had);
        let others = lease.is_some_and(|l| !is_its(l) || matches!(l.state, State::Quarantined(_)))
            || self.witness.told.get(&had).is_some_and(|told| told.client != mac)
            || self.is_offered_to_other(mac, had)
            || engine.leases().is_pending(network, had);
        // It has another still, or was granted one since, or who spoke under its name was.
        let newer = offered.iter().any(|r| {
            let other = engine.leases().get(network, *r).zip(lease);
            other.is_some_and(|(l, had)| {
                let is_its = l.client == had.client;
                is_its && (l.state == State::Leased || l.updated >= had.updated)
            })
        });
        !others && !newer && self.is_given(mac, had)
    }

    /// Whether somebody else was offered it of late. (Room for this offer may have been made at the
    /// cost of that one.)
    fn is_offered_to_other(&self, mac: Mac, had: Resource) -> bool {
        let hold = self.policies[self.current].networks[0].offer_hold.0;
        let of_late = |(to, at): &(Mac, u64)| *to != mac && self.now <= at + hold;
        let offer = self.server.engine.offers().get(network_of(had), had);
        offer.is_some_and(|offer| offer.hw.mac() != Some(mac))
            || self.affinity.offered_to.get(&had).is_some_and(of_late)
    }

    /// Whether the policy in force gives it out, to this client as to any.
    fn is_given(&self, mac: Mac, had: Resource) -> bool {
        let networks = &self.policies[self.current].networks;
        let Some(network) = networks.iter().find(|n| n.id == network_of(had)) else { return false };
        let reserved = network.reservations.iter().any(|r| {
            Resource::from(r.addr) == had
                || r.host == foreshadow::config::policy::HostId::Hardware(mac.into())
        });
        let given = match had {
            Resource::V4(addr) => {
                network.subnets.iter().flat_map(|s| &s.pools).any(|pool| pool.gives(addr))
            }
            Resource::V6(addr) => {
                network.subnets6.iter().flat_map(|s| &s.pools).any(|pool| pool.gives(addr))
            }
            Resource::Prefix6(..) => false,
        };
        given && !reserved
    }

    /// An address that is out of use is nobody's afterwards.
    pub(crate) fn forget_quarantined(&mut self, resource: Resource) {
        let lease = self.server.engine.leases().get(network_of(resource), resource);
        if lease.is_some_and(|l| matches!(l.state, State::Quarantined(_))) {
            self.affinity.last.retain(|_, had| *had != resource);
        }
    }

    pub(crate) fn forget_declined(&mut self, bytes: &[u8]) {
        let addr = Message::parse(bytes).ok().and_then(|msg| msg.requested_ip());
        addr.into_iter().for_each(|addr| self.forget_quarantined(addr.into()));
    }

    pub(crate) fn forget_declined6(&mut self, bytes: &[u8]) {
        let Ok(msg) = Message6::parse(bytes) else { return };
        named(&msg).into_iter().for_each(|(resource, _)| self.forget_quarantined(resource));
    }
}
