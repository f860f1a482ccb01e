//! Bindings from elsewhere.

use crate::base::{Resource, Timestamp};
use crate::lease::{Cause, Lease, State};

use super::Engine;
use super::effects::Effects;

impl Engine {
    /// Takes over a binding from elsewhere (an import), unless the resource is held by another
    /// client or this client holds it longer, or a prefix that overlaps it. Whether it was taken.
    pub fn import(&mut self, now: Timestamp, lease: Lease, fx: &mut Effects) -> bool {
        let kept = self.directory.keeper(lease.network, lease.resource);
        let for_other = kept.is_some_and(|kept| kept.who.hw() != Some(lease.hw))
            || self.is_paired_for_other(lease.network, lease.resource, Some(&lease.hw), || false);
        let stays = self.table.get(lease.network, lease.resource).is_some_and(|old| {
            old.state.is_held()
                && old.state != State::Shadow
                && (old.client != lease.client || old.until >= lease.until)
        });
        if stays || for_other || !self.has_room(&lease) {
            return false;
        }
        let lease = self.directory.attributed(lease);
        self.offers.remove(lease.network, lease.resource);
        self.take_from_pool(lease.network, lease.resource);
        let lease = self.in_its_tier(lease);
        self.put(lease, Cause::Imported(now), fx);
        true
    }

    /// Whether nothing of a prefix is in another that is held; addresses do not overlap.
    fn has_room(&self, lease: &Lease) -> bool {
        let (network, resource) = (lease.network, lease.resource);
        let Resource::Prefix6(addr, len) = resource else { return true };
        let mut of = self.policy.networks.iter().filter(|n| n.id == network);
        let is_reserved = of.any(|n| {
            let mut reserved = n.reservations6.iter().flat_map(|r| &r.prefixes);
            reserved.any(|prefix| (prefix.network(), prefix.len()) == (addr, len))
        });
        // What stands for this very prefix has taken it out of its pool.
        let stands = self.table.get(network, resource).is_some_and(|old| old.state.is_held())
            || self.offers.get(network, resource).is_some()
            || self.table.is_pending(network, resource);
        is_reserved || stands || self.prefix_is_free(network, resource)
    }
}
