//! How much is remembered of clients that are gone, and how much one machine may hold: without a
//! bound, whoever makes up identifiers would fill memory and disk.

use crate::base::{HwAddr, LinkId, NetworkId, Sort, Timestamp};
use crate::config::policy::Network;
use crate::lease::{Lease, State};

use super::Engine;
use super::effects::Effects;

/// Ended bindings that are remembered on a network beside one for each of its IPv4 addresses.
const REMEMBERED_MAX: u64 = 1 << 16;
/// Bindings of one hardware address on a network, ended ones included.
const OF_HW_MAX: usize = 64;
/// How many bindings one tick forgets at most; the next tick is due at once.
const FORGOTTEN_PER_TICK: usize = 1024;

impl Engine {
    /// When there is something to forget.
    pub(super) fn next_forgetting(&self) -> Option<Timestamp> {
        let over = self.nets.iter().any(|net| self.remembers_too_much(net.id, net.size));
        (self.store_ok && over).then_some(Timestamp(0))
    }

    /// Forgets the clients that have been away longest, where there are too many of them.
    pub(super) fn forget_oldest(&mut self, fx: &mut Effects) {
        let sizes: Vec<(NetworkId, u64)> = self.nets.iter().map(|net| (net.id, net.size)).collect();
        for (network, size) in sizes {
            for _ in 0..FORGOTTEN_PER_TICK {
                if !self.store_ok || !self.remembers_too_much(network, size) {
                    break;
                }
                let Some(oldest) = self.table.oldest_remembered(network).cloned() else { break };
                self.forget_client(&oldest, fx);
            }
        }
    }

    fn remembers_too_much(&self, network: NetworkId, size: u64) -> bool {
        let remembered = |sort| self.table.counts(network, sort).remembered;
        let all = [Sort::V4, Sort::V6, Sort::Prefix6].into_iter().map(remembered).sum::<u64>();
        all > REMEMBERED_MAX.saturating_add(size)
    }

    /// Whether a machine may have one binding more. A machine has one MAC; a made-up one is no
    /// better, for its port limits what it holds.
    pub(super) fn has_room_for(&self, network: NetworkId, hw: &HwAddr) -> bool {
        let known = *hw != HwAddr::default();
        let held = |l: &&Lease| l.state.is_held();
        !known || self.table.of_hw(network, hw).filter(held).count() < OF_HW_MAX
    }

    /// How many live bindings more the guest behind an access port of a bridge may have; `None`
    /// where nothing is counted: on trunks, through relays, on an interface that is no bridge.
    pub(super) fn room_on_port(&self, network: &Network, at: Option<LinkId>) -> Option<u32> {
        let max = network.limits.leases_per_port;
        let port = at.filter(|_| max > 0)?;
        Some(max.saturating_sub(self.table.on_port(network.id, port)))
    }

    /// Makes room for one more binding of a machine by forgetting what it had before; whether
    /// there is room now.
    pub(super) fn make_room_for(
        &mut self,
        network: NetworkId,
        hw: &HwAddr,
        fx: &mut Effects,
    ) -> bool {
        if *hw == HwAddr::default() {
            return true;
        }
        let of_hw = || self.table.of_hw(network, hw);
        if of_hw().count() < OF_HW_MAX {
            return true;
        }
        let ended = of_hw().filter(|l| l.state.is_remembered());
        let Some(oldest) = ended.min_by_key(|l| l.until).cloned() else { return false };
        self.forget_client(&oldest, fx);
        true
    }

    /// Its address is as good as any from now on.
    fn forget_client(&mut self, ended: &Lease, fx: &mut Effects) {
        debug_assert!(matches!(ended.state, State::Expired | State::Released));
        self.take_from_pool(ended.network, ended.resource);
        self.forget(ended.network, ended.resource, None, fx);
    }
}
