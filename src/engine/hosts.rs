//! Reservations made at run time. They are as those of the configuration file, which come first;
//! who has what is reserved now keeps it to its end, and no longer.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::base::{NetworkId, Prefix6, Resource, Timestamp};
use crate::config::policy::Network;
use crate::lease::State;
use crate::lease::directory::{Entry, Host, Identifiers, Kept, KeptParts};

use super::Engine;
use super::effects::Effects;
use super::holder::Holder;
use super::instances::Denied;

/// A reservation to be made, or what it is to be from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostWish {
    /// What to call it; drawn if not said.
    pub id: Option<Arc<str>>,
    /// The segment; of a change the one that it is on, if not said.
    pub network: Option<NetworkId>,
    /// Who it is for.
    pub who: Identifiers,
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 addresses.
    pub v6: Vec<Ipv6Addr>,
    /// Its delegated prefixes.
    pub prefixes: Vec<Prefix6>,
    /// The name it is told.
    pub hostname: Option<Arc<str>>,
    /// Whom it belongs to.
    pub account: Option<Arc<str>>,
    /// What runs in it.
    pub application: Option<Arc<str>>,
}

impl Engine {
    /// Makes a reservation as part of the open batch; whether it was made now. The same again finds
    /// what is there.
    pub fn create_host(
        &mut self,
        now: Timestamp,
        wish: &HostWish,
        fx: &mut Effects,
    ) -> Result<(Arc<Host>, bool), Denied> {
        if let Some(id) = wish.id.as_deref()
            && let Some(found) = self.directory.host(id)
        {
            let what = format!("reservation \"{id}\"");
            let other =
                || Denied::Taken { what, holder: Holder::Nobody("there with other content") };
            let same = self.host_parts(wish)? == found.kept.parts();
            return if same { Ok((Arc::clone(found), false)) } else { Err(other()) };
        }
        let kept = self.check_host(wish, None)?;
        let id = match &wish.id {
            Some(id) => Arc::clone(id),
            None => self.draw_host_id(),
        };
        let host = Arc::new(Host { id, kept: Arc::new(kept), created: now, changed: now });
        self.free_seen(host.kept.network, &host.kept.who, None, fx);
        self.enter(Entry::Host(Arc::clone(&host)), fx);
        self.take_kept(now, &host.kept, fx);
        Ok((host, true))
    }

    /// Puts another in the place of a reservation, as part of the open batch; it stays on its
    /// network.
    pub fn change_host(
        &mut self,
        now: Timestamp,
        id: &str,
        wish: &HostWish,
        fx: &mut Effects,
    ) -> Result<Arc<Host>, Denied> {
        let old = Arc::clone(self.directory.host(id).ok_or_else(|| unknown(id))?);
        let network = Some(old.kept.network);
        if wish.network.is_some() && wish.network != network {
            return Err(Denied::Invalid("network", "another than it was made for".into()));
        }
        let kept = self.check_host(&HostWish { network, ..wish.clone() }, Some(&old))?;
        if kept == *old.kept {
            return Ok(old);
        }
        let host = Arc::new(Host { kept: Arc::new(kept), changed: now, ..Host::clone(&old) });
        self.free_seen(host.kept.network, &host.kept.who, None, fx);
        self.enter(Entry::Host(Arc::clone(&host)), fx);
        self.take_kept(now, &host.kept, fx);
        for resource in old.kept.resources() {
            self.settle(old.kept.network, resource);
        }
        Ok(host)
    }

    /// Removes a reservation as part of the open batch. What its client has is an ordinary lease
    /// from then on.
    pub fn remove_host(&mut self, id: &str, fx: &mut Effects) -> Result<Arc<Host>, Denied> {
        let host = Arc::clone(self.directory.host(id).ok_or_else(|| unknown(id))?);
        self.check_store()?;
        self.leave(Entry::Host(Arc::clone(&host)), fx);
        for resource in host.kept.resources() {
            self.settle(host.kept.network, resource);
        }
        Ok(host)
    }

    fn host_parts(&self, wish: &HostWish) -> Result<KeptParts, Denied> {
        let network = wish.network.ok_or(Denied::Invalid("network", "no network".into()))?;
        Ok(KeptParts {
            network,
            who: wish.who.clone(),
            v4: wish.v4,
            v6: wish.v6.clone(),
            prefixes: wish.prefixes.clone(),
            hostname: wish.hostname.clone(),
            account: wish.account.clone(),
            application: wish.application.clone(),
            instance: None,
        })
    }

    fn check_host(&self, wish: &HostWish, old: Option<&Host>) -> Result<Kept, Denied> {
        let parts = self.host_parts(wish)?;
        let at = self.net_index(parts.network);
        let unknown = || Denied::Unknown("no such network".into());
        let network = at.and_then(|at| self.policy.networks.get(at)).ok_or_else(unknown)?;
        self.check_may_write()?;
        if parts.who.is_empty() {
            let why = "mac, duid, client_id or port_id is needed";
            return Err(Denied::Invalid("mac", why.into()));
        }
        self.check_owner(network.id, parts.account.as_deref(), parts.application.as_deref())?;
        let was = old.map(|old| &old.kept.who);
        let new = |own: bool| !own;
        let who = Identifiers {
            mac: parts.who.mac.filter(|mac| new(was.is_some_and(|w| w.mac == Some(*mac)))),
            duid: parts
                .who
                .duid
                .clone()
                .filter(|id| new(was.is_some_and(|w| w.duid.as_ref() == Some(id)))),
            client_id: parts
                .who
                .client_id
                .clone()
                .filter(|id| new(was.is_some_and(|w| w.client_id.as_ref() == Some(id)))),
            port: parts
                .who
                .port
                .clone()
                .filter(|id| new(was.is_some_and(|w| w.port.as_ref() == Some(id)))),
        };
        self.check_free(network.id, &who, None)?;
        let kept = Kept::new(parts);
        let hw = kept.who.hw();
        for resource in kept.resources() {
            if let Some(pair) = self.directory.pair_of(network.id, resource)
                && self.is_paired_for_other(network.id, resource, hw.as_ref(), || false)
            {
                let holder = Holder::of_pair(pair);
                return Err(Denied::Taken { what: resource.to_string(), holder });
            }
        }
        if kept.resources().next().is_none() {
            return Err(Denied::Invalid("address", "nothing is reserved".into()));
        }
        for resource in kept.resources() {
            let own = old.is_some_and(|old| old.kept.keeps(resource));
            self.check_reservable(network, resource, own)?;
        }
        Ok(kept)
    }

    /// Whether something can be reserved. A lease of somebody else runs out; what overlaps it, or is
    /// the server's own, cannot be.
    fn check_reservable(
        &self,
        network: &Network,
        resource: Resource,
        own: bool,
    ) -> Result<(), Denied> {
        let (field, fits) = match resource {
            Resource::V4(addr) => {
                ("address", network.subnet_of(addr).is_some_and(|s| s.prefix.is_host(addr)))
            }
            Resource::V6(addr) => {
                ("addresses6", network.subnets6.iter().any(|s| s.prefix.is_host(addr)))
            }
            Resource::Prefix6(..) => ("prefixes", !network.subnets6.is_empty()),
        };
        if !fits {
            let why = format!("{resource} is of no subnet of network {}", network.name);
            return Err(Denied::Invalid(field, why));
        }
        let taken = |holder: Holder| Err(Denied::Taken { what: resource.to_string(), holder });
        if self.is_own(resource) {
            return taken(Holder::Nobody("this server's own"));
        }
        if let Some(host) = self.reserved_resource(network.id, resource) {
            return taken(Holder::configured(&host));
        }
        if let Some(kept) = self.directory.keeper(network.id, resource).filter(|_| !own) {
            return taken(Holder::of_kept(kept));
        }
        let Resource::Prefix6(addr, len) = resource else { return Ok(()) };
        let held = self.table.get(network.id, resource).is_some_and(|l| l.state == State::Leased);
        let whole = Prefix6::new(addr, len);
        let pooled = network.subnets6.iter().flat_map(|s| &s.delegations);
        let mut pooled = pooled.filter(|d| whole.is_some_and(|whole| d.prefix.overlaps(&whole)));
        let gives = pooled.next().is_none_or(|d| whole.is_some_and(|whole| d.gives(whole)));
        match own || held || (gives && self.is_free_prefix(network, resource)) {
            true => Ok(()),
            false => taken(Holder::Nobody(
                "delegated in part, or of a length that its pool does not delegate",
            )),
        }
    }

    fn is_free_prefix(&self, network: &Network, resource: Resource) -> bool {
        let Resource::Prefix6(addr, len) = resource else { return true };
        let Some(whole) = Prefix6::new(addr, len) else { return false };
        let pooled = network.subnets6.iter().flat_map(|s| &s.delegations);
        let in_pool = pooled.into_iter().any(|d| d.prefix.overlaps(&whole));
        let overlaps = |other: Resource| match other {
            Resource::Prefix6(addr, len) => {
                Prefix6::new(addr, len).is_some_and(|other| other.overlaps(&whole))
            }
            _ => false,
        };
        match in_pool {
            true => self.prefix_is_free(network.id, resource),
            // Outside the pools only what else is reserved can overlap it.
            false => {
                let mut fixed = network.reservations6.iter().flat_map(|r| &r.prefixes);
                let mut kept = self.directory.held().filter(|(id, _)| *id == network.id);
                !fixed.any(|p| p.overlaps(&whole)) && !kept.any(|(_, r)| overlaps(r))
            }
        }
    }
}

fn unknown(id: &str) -> Denied {
    Denied::Unknown(format!("no reservation is called \"{id}\""))
}
