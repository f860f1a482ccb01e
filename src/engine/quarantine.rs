//! An operator puts an address out of use, and back.

use std::sync::Arc;

use crate::base::{ClientKey, HwAddr, NetworkId, Prefix6, Resource, Span, Timestamp};
use crate::config::policy::Network;
use crate::lease::{Cause, Lease, QuarantineReason, State, Uses};

use super::Engine;
use super::effects::{Effects, EventKind};
use super::holder::Holder;
use super::instances::Denied;

impl Engine {
    /// The networks that have an address or prefix: in a subnet or a delegation, or bound.
    pub fn networks_of(&self, resource: Resource) -> impl Iterator<Item = &Network> {
        let bound = move |n: &&Network| self.table.get(n.id, resource).is_some();
        self.policy.networks.iter().filter(move |n| is_of(n, resource) || bound(n))
    }

    /// Puts an address or prefix out of use, as part of the open batch: for so long, or for the
    /// `quarantine` of its network. Who has it is not told, and renews it in vain. As it is now.
    pub fn quarantine(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        resource: Resource,
        span: Option<Span>,
        fx: &mut Effects,
    ) -> Result<Lease, Denied> {
        self.check_store()?;
        let policy = Arc::clone(&self.policy);
        let of = policy.networks.iter().find(|n| n.id == network);
        let of = of.ok_or_else(|| Denied::Unknown("no such network".into()))?;
        self.check_quarantine(network, resource)?;
        let before = self.table.get(network, resource).cloned();
        self.shadow_taken(now, network, resource);
        self.offers.remove(network, resource);
        self.take_from_pool(network, resource);
        let until = now + span.unwrap_or(of.quarantine);
        let state = State::Quarantined(QuarantineReason::Operator);
        let unknown = HwAddr::default();
        let put = Lease {
            network,
            resource,
            client: before.as_ref().map_or(ClientKey::hardware(&unknown), |l| l.client.clone()),
            hw: before.as_ref().map_or(unknown, |l| l.hw),
            state,
            since: now,
            updated: now,
            until,
            port: None,
            uses: before.as_ref().map_or(Uses::NONE, |l| l.uses),
            details: before.as_ref().map(|l| Arc::clone(&l.details)).unwrap_or_default(),
        };
        self.put(put.clone(), Cause::Operator, fx);
        self.wake_verifier(network);
        if let Some(lease) = before.filter(|l| l.state == State::Leased) {
            self.say(now, Some(network), EventKind::Released(Box::new(lease)), fx);
        }
        Ok(put)
    }

    fn check_quarantine(&self, network: NetworkId, resource: Resource) -> Result<(), Denied> {
        let taken = |holder: Holder| Err(Denied::Taken { what: resource.to_string(), holder });
        if self.is_own(resource) {
            return taken(Holder::Nobody("this server's own"));
        }
        if let Some(name) = self.reserved_resource(network, resource) {
            return taken(Holder::configured(&name));
        }
        if let Some(kept) = self.directory.keeper(network, resource) {
            return taken(Holder::of_kept(kept));
        }
        if let Some(pair) = self.directory.pair_of(network, resource) {
            return taken(Holder::of_pair(pair));
        }
        let stands = self.table.get(network, resource).is_some_and(|l| l.state.is_held());
        let overlaps = matches!(resource, Resource::Prefix6(..))
            && !stands
            && !self.prefix_is_free(network, resource);
        if overlaps {
            return taken(Holder::Nobody("no free prefix of a delegation, or in part somebody's"));
        }
        Ok(())
    }

    /// Ends the quarantine of an address or prefix, whatever the reason, as part of the open batch;
    /// as it was.
    pub fn lift(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        resource: Resource,
        fx: &mut Effects,
    ) -> Result<Lease, Denied> {
        let lease = self.table.get(network, resource);
        let out_of_use = |l: &&Lease| matches!(l.state, State::Quarantined(_));
        let unknown = || Denied::InUse(format!("{resource} is not in quarantine"));
        let lease = lease.filter(out_of_use).ok_or_else(unknown)?.clone();
        self.check_store()?;
        self.forget(network, resource, Some(now), fx);
        Ok(lease)
    }
}

fn is_of(network: &Network, resource: Resource) -> bool {
    match resource {
        Resource::V4(addr) => network.subnet_of(addr).is_some_and(|s| s.prefix.is_host(addr)),
        Resource::V6(addr) => network.subnets6.iter().any(|s| s.prefix.contains(addr)),
        Resource::Prefix6(addr, len) => Prefix6::new(addr, len).is_some_and(|prefix| {
            network.subnets6.iter().flat_map(|s| &s.delegations).any(|d| d.gives(prefix))
        }),
    }
}
