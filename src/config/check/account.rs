//! Accounts: their names, and the networks and pools that they name.

use std::sync::Arc;

use crate::base::NetworkId;
use crate::config::accounts::{Account, Application, Block, RawAccount, RawApplication};
use crate::config::fault::{Fault, FaultKind, Sink};
use crate::config::node::{At, nearest};
use crate::config::raw::RawNetwork;

/// Checks all accounts and builds them.
pub(super) fn build(
    raw: Vec<RawAccount>,
    networks: &[RawNetwork],
    sink: &Sink,
) -> Vec<Arc<Account>> {
    let names: Vec<_> = raw.iter().filter_map(|account| account.name.as_ref()).collect();
    super::duplicates(&names, |name| format!("two accounts are called \"{name}\""), sink);
    raw.into_iter().map(|account| Arc::new(one(account, networks, sink))).collect()
}

fn one(raw: RawAccount, networks: &[RawNetwork], sink: &Sink) -> Account {
    let names: Vec<_> = raw.applications.iter().filter_map(|a| a.name.as_ref()).collect();
    super::duplicates(&names, |name| format!("two applications are called \"{name}\""), sink);
    check_networks(&raw.networks, networks, sink);
    for pool in raw.pools.iter().filter(|pool| !is_used(&pool.value, networks)) {
        let message = format!("no pool lies in {}", pool.value);
        let fault = Fault::new(FaultKind::Suspicious, &pool.place, message).warning();
        sink.push(fault.expected("a prefix or range that holds a whole pool"));
    }
    let application = |raw: RawApplication| Application { name: name(raw.name), terms: raw.terms };
    let mut applications: Vec<Application> =
        raw.applications.into_iter().map(application).collect();
    applications.sort_by(|a, b| a.name.cmp(&b.name));
    Account {
        name: name(raw.name),
        terms: raw.terms,
        networks: raw.networks.iter().map(|at| NetworkId::of(&at.value)).collect(),
        pools: raw.pools.into_iter().map(|at| at.value).collect(),
        applications,
    }
}

fn name(raw: Option<At<Arc<str>>>) -> Arc<str> {
    raw.map_or_else(|| "".into(), |at| at.value)
}

fn check_networks(named: &[At<Arc<str>>], networks: &[RawNetwork], sink: &Sink) {
    let known = || networks.iter().filter_map(|n| n.name.as_ref()).map(|at| &*at.value);
    for at in named.iter().filter(|at| !known().any(|name| *name == *at.value)) {
        let message = format!("no network is called \"{}\"", at.value);
        let near = nearest(&at.value, known());
        let help =
            near.map_or("the name of a [[network]]".into(), |n| format!("did you mean \"{n}\"?"));
        sink.push(Fault::new(FaultKind::UnknownName, &at.place, message).expected(help));
    }
}

/// Whether some pool or delegation lies in the block.
fn is_used(block: &Block, networks: &[RawNetwork]) -> bool {
    let of4 = |n: &RawNetwork| {
        n.subnets.iter().flat_map(|s| &s.pools).any(|pool| block.holds4(&pool.range.value))
    };
    let of6 = |n: &RawNetwork| {
        let (mut pools, mut delegations) = (
            n.v6.subnets.iter().flat_map(|s| &s.pools),
            n.v6.subnets.iter().flat_map(|s| &s.delegations),
        );
        pools.any(|pool| block.holds6(pool.range.value.first, pool.range.value.last))
            || delegations.any(|of| block.holds6(of.prefix.value.network(), of.prefix.value.last()))
    };
    networks.iter().any(|network| of4(network) || of6(network))
}
