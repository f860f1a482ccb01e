//! Which leases somebody asks for.

use crate::base::{HwAddr, NetworkId, Within};
use crate::lease::Lease;

use super::caller::Scope;

/// Which bindings; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// On this network.
    pub network: Option<NetworkId>,
    /// In this state, as [`crate::lease::State`] displays it.
    pub state: Option<String>,
    /// Of this account.
    pub account: Option<String>,
    /// With this host name, in lower case.
    pub hostname: Option<String>,
    /// With this hardware address.
    pub hardware: Option<HwAddr>,
    /// Of these addresses or prefixes.
    pub within: Option<Within>,
    /// That the caller may see.
    pub scope: Scope,
}

impl Filter {
    /// Whether `lease` passes.
    pub fn passes(&self, lease: &Lease) -> bool {
        self.network.is_none_or(|network| network == lease.network)
            && self.state.as_ref().is_none_or(|state| lease.state.to_string() == *state)
            && self.account.as_deref().is_none_or(|it| lease.details.account.as_deref() == Some(it))
            && self
                .hostname
                .as_deref()
                .is_none_or(|it| lease.details.hostname.as_deref() == Some(it))
            && self.hardware.is_none_or(|it| lease.hw == it)
            && self.within.is_none_or(|within| within.holds(lease.resource))
            && self.scope.holds(lease.details.account.as_deref())
    }
}
