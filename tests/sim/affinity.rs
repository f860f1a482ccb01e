//! Who comes back is offered the address that it had, while that is free and allowed. Machines
//! that share their name are left out: which of them is which is not theirs to say.

use std::collections::BTreeMap;

use foreshadow::base::{Mac, Resource};
use foreshadow::lease::{Lease, State};
use foreshadow::wire::{Kind, Kind6, Message, Message6, MessageType, MessageType6};

use super::client6::named;
use super::relays::network_of;
use super::world::World;

/// By client, and by whether it is about DHCPv6.
type Of = (Mac, bool);

#[derive(Debug, Default)]
pub(crate) struct Affinity {
    /// What each was told last that it has.
    last: BTreeMap<Of, Resource>,
    /// What each was offered last.
    offered: BTreeMap<Of, Vec<Resource>>,
}

impl World {
    pub(crate) fn judge_affinity4(&mut self, mac: Mac, bytes: &[u8]) {
        let Ok(msg) = Message::parse(bytes) else { return };
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
        if msg.client_id().is_some_and(|id| id.starts_with(b"\0\x02image")) {
            return;
        }
        let mut addrs = named(&msg);
        addrs.retain(|(resource, valid)| matches!(resource, Resource::V6(_)) && *valid > 0);
        let addrs: Vec<Resource> = addrs.into_iter().map(|(resource, _)| resource).collect();
        match msg.kind() {
            Kind6::Known(MessageType6::Advertise) => self.judge((mac, true), addrs),
            _ => addrs.into_iter().for_each(|addr| self.has_now((mac, true), addr)),
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
        if before == Some(offered.clone()) || !self.is_free_for(client.0, had, &offered) {
            return;
        }
        panic!("{} had {had}, which is free, and is offered {offered:?}", client.0);
    }

    fn is_free_for(&self, mac: Mac, had: Resource, offered: &[Resource]) -> bool {
        let (network, engine) = (network_of(had), &self.server.engine);
        let is_its = |lease: &Lease| lease.hw.mac() == Some(mac);
        let lease = engine.leases().get(network, had);
        let others = lease.is_some_and(|l| !is_its(l) || matches!(l.state, State::Quarantined(_)))
            || self.witness.told.get(&had).is_some_and(|told| told.client != mac)
            || engine.offers().get(network, had).is_some_and(|o| o.hw.mac() != Some(mac))
            || engine.leases().is_pending(network, had);
        // It was granted another since, and has not heard of it yet.
        let newer = offered.iter().any(|r| {
            let its = engine.leases().get(network, *r).filter(|l| is_its(l));
            its.zip(lease).is_some_and(|(other, had)| other.updated >= had.updated)
        });
        !others && !newer && self.is_given(mac, had)
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
