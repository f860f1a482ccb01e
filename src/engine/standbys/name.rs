//! Who may be somebody's standby.

use std::sync::Arc;

use crate::base::{HwAddr, NetworkId, Prefix6, Resource, Span, Timestamp};
use crate::config::policy::{Network, OnFailure};
use crate::engine::Engine;
use crate::engine::effects::Effects;
use crate::engine::holder::Holder;
use crate::engine::instances::Denied;
use crate::engine::relocate::is_draining;
use crate::engine::standbys::news::StandbyNews;
use crate::lease::directory::{Identifiers, Party, Standby, StandbyState};
use crate::lease::{Lease, Owner, State};

/// Most addresses and prefixes that two share: what a record of the store has room for, whatever
/// identifiers their clients send.
pub const SHARED_MAX: usize = 6;

/// A standby to be named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandbyWish {
    /// What to call it; drawn if not said.
    pub id: Option<Arc<str>>,
    /// The segment.
    pub network: Option<NetworkId>,
    /// What the two are to share; all that the active has if nothing is said.
    pub resources: Vec<Resource>,
    /// Who has it; its MAC follows from what is leased, if it is not said.
    pub active: Party,
    /// Who is to stand by; with its MAC.
    pub standby: Party,
    /// The name that the standby is told.
    pub hostname: Option<Arc<str>>,
    /// What happens when the active has failed, if not what the network says.
    pub on_failure: Option<OnFailure>,
    /// Whether it may take over without a confirmed fence, if not what the network says.
    pub unfenced: Option<bool>,
    /// How long it may take to become ready, if not as long as the network says.
    pub timeout: Option<Span>,
}

/// What was found out about a wish.
struct Found {
    resources: Vec<Resource>,
    active: Party,
    owner: Option<Owner>,
    instance: Option<Arc<str>>,
}

impl Engine {
    /// Names a standby as part of the open batch; whether it was named now. The same again finds
    /// what is there.
    pub fn create_standby(
        &mut self,
        now: Timestamp,
        wish: &StandbyWish,
        fx: &mut Effects,
    ) -> Result<(Arc<Standby>, bool), Denied> {
        if let Some(found) = self.same_standby(wish)? {
            return Ok((found, false));
        }
        let id = wish.network.ok_or(Denied::Invalid("network", "no network".into()))?;
        let policy = Arc::clone(&self.policy);
        let network = policy.networks.iter().find(|network| network.id == id);
        let network = network.ok_or_else(|| Denied::Unknown("no such network".into()))?;
        self.check_may_write()?;
        self.check_room_for_standby(network)?;
        let found = self.find_shared(network, wish)?;
        self.check_standby(network, &wish.standby, &found)?;
        self.check_place("active", &wish.active)?;
        self.check_place("standby", &wish.standby)?;
        if let Some(met) = self.standbys_met(found.owner.as_ref()) {
            return Err(Denied::Limit(met));
        }
        let id = match &wish.id {
            Some(id) => Arc::clone(id),
            None => self.draw_standby_id(),
        };
        let (account, application) = match found.owner {
            Some((account, application)) => (Some(account), application),
            None => (None, None),
        };
        let standby = Standby {
            id,
            network: network.id,
            resources: found.resources,
            active: found.active,
            standby: wish.standby.clone(),
            hostname: wish.hostname.clone(),
            account,
            application,
            instance: found.instance,
            state: StandbyState::Preparing,
            progress: 0,
            gated: false,
            epoch: 0,
            planned: None,
            on_failure: wish.on_failure.unwrap_or(network.standby.on_failure),
            unfenced: wish.unfenced.unwrap_or(network.standby.unfenced),
            told: Vec::new(),
            created: now,
            changed: now,
            until: now + wish.timeout.unwrap_or(network.standby.timeout),
        };
        let standby = self.rewrite(now, standby, StandbyNews::Named, fx);
        for resource in &standby.resources {
            let lease = self.table.get(standby.network, *resource);
            // Two are to have this one: its client is not to leave it.
            if let Some(lease) = lease.filter(|lease| is_draining(lease)).cloned() {
                self.end(now, &lease, fx);
            }
            self.settle(standby.network, *resource);
        }
        self.wake_verifier(standby.network);
        Ok((standby, true))
    }

    /// The standby of that id, if it was named with the same words.
    fn same_standby(&self, wish: &StandbyWish) -> Result<Option<Arc<Standby>>, Denied> {
        let Some(id) = wish.id.as_deref() else { return Ok(None) };
        let Some(found) = self.directory.standby(id) else { return Ok(None) };
        let named = |party: &Party, found: &Party| {
            (&party.port, &party.host) == (&found.port, &found.host)
                && (party.who.is_empty() || party.who == found.who)
        };
        let mut resources = wish.resources.clone();
        resources.sort_unstable();
        let same = wish.network == Some(found.network)
            && (resources.is_empty() || resources == found.resources)
            && named(&wish.active, &found.active)
            && wish.standby == found.standby
            && wish.hostname == found.hostname
            && wish.on_failure.is_none_or(|of| of == found.on_failure)
            && wish.unfenced.is_none_or(|of| of == found.unfenced);
        match same {
            true => Ok(Some(Arc::clone(found))),
            false => Err(Denied::Taken {
                what: format!("standby \"{id}\""),
                holder: Holder::Nobody("there with other content"),
            }),
        }
    }

    fn check_room_for_standby(&self, network: &Network) -> Result<(), Denied> {
        if network.interfaces.is_empty() {
            let why = "its clients are reached through relays, where no gate can be, want a \
                       network with interfaces";
            return Err(Denied::Invalid("network", format!("{}: {why}", network.name)));
        }
        let max = network.standby.max;
        if self.directory.standbys_on(network.id) >= max {
            let why = format!("network {} has its standby.max = {max}", network.name);
            return Err(Denied::InUse(why));
        }
        Ok(())
    }

    /// What two are to share, and who has it.
    fn find_shared(&self, network: &Network, wish: &StandbyWish) -> Result<Found, Denied> {
        let live = |lease: &&Lease| lease.state == State::Leased;
        let mut active = wish.active.clone();
        if active.who.mac.is_none() {
            let named = wish.resources.iter().filter_map(|r| self.table.get(network.id, *r));
            active.who.mac = named.filter(live).find_map(|lease| lease.hw.mac());
        }
        let Some(mac) = active.who.mac else {
            let why = "who has it is not known: want the MAC of the active, or an address that is \
                       leased to it";
            return Err(Denied::Invalid("active.mac", why.into()));
        };
        check_unicast("active.mac", &active.who)?;
        let hw = HwAddr::ethernet(mac);
        let mut resources = wish.resources.clone();
        if resources.is_empty() {
            resources.extend(self.table.of_hw(network.id, &hw).filter(live).map(|l| l.resource));
        }
        resources.sort_unstable();
        if resources.is_empty() {
            let why = format!("{mac} has no lease on network {}, want its addresses", network.name);
            return Err(Denied::Invalid("addresses", why));
        }
        if resources.len() > SHARED_MAX {
            let why = format!("{} of them, want at most {SHARED_MAX}", resources.len());
            return Err(Denied::Invalid("addresses", why));
        }
        if let Some(twice) = resources.windows(2).find(|two| two[0] == two[1]) {
            return Err(Denied::Invalid("addresses", format!("{} is named twice", twice[0])));
        }
        let v4 = resources.iter().filter(|resource| resource.v4().is_some()).count();
        if v4 > 1 {
            let why = format!("{v4} IPv4 addresses, want one: DHCP gives a machine no more");
            return Err(Denied::Invalid("addresses", why));
        }
        for resource in &resources {
            self.check_shared(network, *resource, &hw)?;
        }
        let (owner, instance) = self.owner_of_shared(network.id, &resources);
        Ok(Found { resources, active, owner, instance })
    }

    /// Whose the addresses are: by what is kept for them, else by their leases.
    fn owner_of_shared(
        &self,
        network: NetworkId,
        resources: &[Resource],
    ) -> (Option<Owner>, Option<Arc<str>>) {
        let kept = resources.iter().find_map(|r| self.directory.keeper(network, *r));
        if let Some(kept) = kept {
            let settings = &kept.settings;
            let owner = settings.account.clone().map(|a| (a, settings.application.clone()));
            return (owner, kept.instance.clone());
        }
        let leases = || resources.iter().filter_map(|r| self.table.get(network, *r));
        let owned = leases().find(|lease| lease.details.account.is_some());
        let owner = owned.and_then(|lease| {
            let details = &lease.details;
            details.account.clone().map(|account| (account, details.application.clone()))
        });
        (owner, leases().find_map(|lease| lease.details.instance.clone()))
    }

    /// Whether an address is the active's: leased to it, or configured in it and nobody else's.
    fn check_shared(
        &self,
        network: &Network,
        resource: Resource,
        active: &HwAddr,
    ) -> Result<(), Denied> {
        let taken = |holder: Holder| Err(Denied::Taken { what: resource.to_string(), holder });
        if let Some(pair) = self.directory.pair_of(network.id, resource) {
            return taken(Holder::of_pair(pair));
        }
        if self.is_own(resource) {
            return taken(Holder::Nobody("this server's own"));
        }
        let lease = self.table.get(network.id, resource);
        if let Some(lease) = lease.filter(|lease| lease.state == State::Leased) {
            return if lease.hw == *active { Ok(()) } else { taken(Holder::of_lease(lease)) };
        }
        if lease.is_some_and(|lease| lease.state.is_held()) {
            return taken(Holder::Nobody("out of use, or held ahead of need"));
        }
        let kept = self.directory.keeper(network.id, resource);
        if let Some(kept) = kept.filter(|kept| kept.who.hw() != Some(*active)) {
            return taken(Holder::of_kept(kept));
        }
        if let Some(offer) = self.offers.get(network.id, resource).filter(|o| o.hw != *active) {
            let who = format!("offered to {}", offer.hw);
            return taken(Holder::Somebody { who, account: None });
        }
        let reserved = self.reserved_resource(network.id, resource);
        if let Some(host) = reserved.filter(|host| *host != format!("mac {active}")) {
            return taken(Holder::configured(&host));
        }
        match is_hosts(network, resource) {
            true => Ok(()),
            false => {
                let why = format!(
                    "{resource} is leased to nobody, and no host address of a subnet of network {}",
                    network.name
                );
                Err(Denied::Invalid("addresses", why))
            }
        }
    }

    /// Whether a machine may stand by for an active.
    fn check_standby(
        &self,
        network: &Network,
        standby: &Party,
        found: &Found,
    ) -> Result<(), Denied> {
        let Some(mac) = standby.who.mac else {
            let why = "no MAC, want that of the standby: it is known by it alone";
            return Err(Denied::Invalid("standby.mac", why.into()));
        };
        check_unicast("standby.mac", &standby.who)?;
        if Some(mac) == found.active.who.mac {
            let why = format!("{mac} is the active's, want another: bridges would confuse them");
            return Err(Denied::Invalid("standby.mac", why));
        }
        if standby.who.duid.is_some() && standby.who.duid == found.active.who.duid {
            let why = "that of the active too: it says nothing of the standby, leave it out";
            return Err(Denied::Invalid("standby.duid", why.into()));
        }
        for identifier in standby.who.each() {
            let taken = |pair| {
                Err(Denied::Taken { what: format!("MAC {mac}"), holder: Holder::of_pair(pair) })
            };
            if let Some(pair) = self.directory.pair_of_standby(network.id, identifier) {
                return taken(pair);
            }
            if let [pair, ..] = self.directory.pairs_of_active(network.id, mac) {
                return taken(pair);
            }
        }
        self.check_free(network.id, &standby.who, None)
    }
}

impl Engine {
    /// Of another host its agent is to be known, and the port there.
    fn check_place(&self, of: &'static str, party: &Party) -> Result<(), Denied> {
        let Some(host) = &party.host else { return Ok(()) };
        let hosts = &self.policy.agents.hosts;
        if !hosts.iter().any(|known| *known.name == **host) {
            let known: Vec<&str> = hosts.iter().map(|known| &*known.name).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            let why =
                format!("{of}: no agent of host \"{host}\" is configured, want one of: {known}");
            return Err(Denied::Invalid("host", why));
        }
        match party.port {
            Some(_) => Ok(()),
            None => Err(Denied::Invalid("port", format!("{of}: which port of {host} is not said"))),
        }
    }
}

/// Whether it can be a host's of a subnet; a prefix is nobody's before it is delegated.
fn is_hosts(network: &Network, resource: Resource) -> bool {
    match resource {
        Resource::V4(addr) => network.subnet_of(addr).is_some_and(|s| s.prefix.is_host(addr)),
        Resource::V6(addr) => network.subnets6.iter().any(|s| s.prefix.is_host(addr)),
        Resource::Prefix6(addr, len) => {
            // One that is reserved and not asked for yet.
            let whole = Prefix6::new(addr, len);
            let mut reserved = network.reservations6.iter().flat_map(|r| &r.prefixes);
            whole.is_some_and(|whole| reserved.any(|prefix| *prefix == whole))
        }
    }
}

fn check_unicast(field: &'static str, who: &Identifiers) -> Result<(), Denied> {
    match who.mac.filter(|mac| mac.is_group() || *mac == crate::base::Mac::ZERO) {
        Some(mac) => Err(Denied::Invalid(
            field,
            format!("{mac} is no machine's own, want a unicast MAC as in 52:54:00:12:34:56"),
        )),
        None => Ok(()),
    }
}
