//! What the policy alone says of subnets.

use crate::config::policy::Network;

use super::view::SubnetView;

/// The subnets of a network, those of IPv4 first.
pub fn of(network: &Network) -> impl Iterator<Item = SubnetView> + '_ {
    let v4 = network.subnets.iter().map(|subnet| SubnetView {
        network: network.name.to_string(),
        prefix: subnet.prefix.to_string(),
        account: subnet.settings.account.as_deref().map(Into::into),
        pools: subnet.pools.len(),
        delegations: 0,
    });
    let v6 = network.subnets6.iter().map(|subnet| SubnetView {
        network: network.name.to_string(),
        prefix: subnet.prefix.to_string(),
        account: subnet.settings.account.as_deref().map(Into::into),
        pools: subnet.pools.len(),
        delegations: subnet.delegations.len(),
    });
    v4.chain(v6)
}
