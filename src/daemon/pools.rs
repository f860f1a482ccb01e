//! Figures of pools, as the engine has them.

use crate::api::view::PoolView;
use crate::config::policy::Network;
use crate::engine::network::{Net, NetPool};

/// The pools of a network: of IPv4, of IPv6, of prefixes.
pub(super) fn of<'a>(net: &'a Net, network: &'a Network) -> impl Iterator<Item = PoolView> + 'a {
    let v4 = net.pools.iter().filter_map(|pool| {
        let subnet = network.subnets.get(pool.subnet)?;
        let policy = subnet.pools.get(pool.index)?;
        let size = |range: &crate::base::Range4| u128::from(range.size());
        let excluded = policy.excluded.iter().map(size).fold(0, u128::saturating_add);
        let addresses = size(&policy.range).saturating_sub(excluded);
        let view = view(network, subnet.prefix.to_string(), policy.range.to_string());
        Some(counted(view, addresses, pool))
    });
    let v6 = net.pools6.iter().filter_map(|pool| {
        let subnet = network.subnets6.get(pool.subnet)?;
        let policy = subnet.pools.get(pool.index)?;
        let size = |first: u128, last: u128| last.saturating_sub(first).saturating_add(1);
        let sizes = policy.excluded.iter().map(|(a, b)| size(a.to_bits(), b.to_bits()));
        let excluded = sizes.fold(0, u128::saturating_add);
        let all = size(policy.first.to_bits(), policy.last.to_bits());
        let range = format!("{}-{}", policy.first, policy.last);
        let view = view(network, subnet.prefix.to_string(), range);
        Some(counted(view, all.saturating_sub(excluded), pool))
    });
    let prefixes = net.delegations.iter().filter_map(|pool| {
        let subnet = network.subnets6.get(pool.subnet)?;
        let policy = subnet.delegations.get(pool.index)?;
        let view = view(network, subnet.prefix.to_string(), policy.prefix.to_string());
        let free = pool.free.room_for(policy.length).to_string();
        Some(PoolView { delegation: true, free, ..view })
    });
    v4.chain(v6).chain(prefixes)
}

fn view(network: &Network, subnet: String, range: String) -> PoolView {
    PoolView { network: network.name.to_string(), subnet, range, ..PoolView::default() }
}

fn counted(view: PoolView, addresses: u128, pool: &NetPool) -> PoolView {
    PoolView {
        addresses: Some(addresses.to_string()),
        free: pool.free.available().to_string(),
        proven: Some(pool.free.proven() as u64),
        ..view
    }
}
