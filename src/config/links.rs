//! Interfaces of the policy that are not there now: allowed, since they may come; worth a word.

use super::fault::{Fault, FaultKind};
use super::policy::{Pattern, Policy};

/// Warns of every interface in `policy` that is none of `existing`.
pub fn check_links(policy: &Policy, existing: &[String]) -> Vec<Fault> {
    let networks = policy.networks.iter().enumerate().flat_map(|(i, network)| {
        let key = move |j| format!("network[{i}].interfaces[{j}]");
        network.interfaces.iter().enumerate().map(move |(j, pattern)| (key(j), pattern))
    });
    let relays = policy.relay_interfaces.iter().enumerate();
    let relays = relays.map(|(i, pattern)| (format!("server.relay_interfaces[{i}]"), pattern));
    let absent = |pattern: &Pattern| !existing.iter().any(|name| pattern.matches(name.as_bytes()));
    networks
        .chain(relays)
        .filter(|(_, pattern)| absent(pattern))
        .map(|(key, pattern)| {
            let message = if pattern.is_literal() {
                format!("no interface \"{}\" here now", pattern.0)
            } else {
                format!("no interface matches \"{}\" now", pattern.0)
            };
            Fault::unplaced(FaultKind::NoInterface, &key, message)
                .warning()
                .expected("it is served from the moment it appears")
        })
        .collect()
}
