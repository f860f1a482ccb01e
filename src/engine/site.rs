//! Which addresses a machine gets before it boots: what it has or had, what is wished for, or the
//! next free ones of the pools that its account may use.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::base::{ClientKey, HwAddr, Range4, Resource, Sort, Timestamp};
use crate::config::policy::{ClassId, Generate, Network, Pool, Pool6, Subnet, Subnet6};
use crate::lease::directory::Identifier;
use crate::lease::{Lease, Owner, QuarantineReason, State};

use super::Engine;
use super::choose::OFFERS_LOOKED_AT;
use super::holder::Holder;
use super::instances::{Denied, Wish, may_return};
use super::network::{NetPool, address};
use super::v6::assign::stable_start;

/// A machine that is to have addresses.
pub(super) struct Site<'a> {
    pub now: Timestamp,
    pub at: usize,
    pub network: &'a Network,
    pub wish: &'a Wish,
    pub owner: Option<&'a Owner>,
    /// What its hardware has and had, the best first.
    pub own: &'a [Lease],
}

impl Site<'_> {
    fn not_its_pool(&self, field: &'static str, addr: Resource) -> Denied {
        let account = self.owner.map_or("", |(account, _)| account);
        Denied::Invalid(field, format!("{addr} is of no pool that account {account} may use"))
    }

    /// Whether a pool for members of these classes is one for its account.
    fn may_use(&self, engine: &Engine, allow: &[ClassId], deny: &[ClassId]) -> bool {
        let is_in = |class: &ClassId| self.is_in(engine, *class);
        (allow.is_empty() || allow.iter().any(is_in)) && !deny.iter().any(is_in)
    }

    /// Whether it is of a class before it has spoken: one of its account, or of its MAC.
    fn is_in(&self, engine: &Engine, class: ClassId) -> bool {
        let Some(class) = engine.policy().classes.get(usize::from(class.0)) else { return false };
        let account = class.settings.account.as_ref();
        let of_account = account.is_some() && account == self.owner.map(|(account, _)| account);
        let prefixes = &class.matcher.mac_prefix;
        let mac = self.wish.who.mac;
        let of_mac = mac.is_some_and(|mac| prefixes.iter().any(|p| mac.0.starts_with(p)));
        of_account || (of_mac && class.matcher.only_mac())
    }

    /// The classes that it is known to be of.
    pub(super) fn classes<'b>(&'b self, engine: &'b Engine) -> impl Iterator<Item = ClassId> + 'b {
        let all = (0..engine.policy().classes.len()).filter_map(|at| u16::try_from(at).ok());
        all.map(ClassId).filter(move |class| self.is_in(engine, *class))
    }

    /// The IPv4 subnets it may be in.
    pub(super) fn subnets(&self) -> Result<Vec<(usize, &Subnet)>, Denied> {
        let all = || self.network.subnets.iter().enumerate();
        if let Some(prefix) = self.wish.subnet {
            let found: Vec<_> = all().filter(|(_, s)| s.prefix == prefix).collect();
            let why = || Denied::Invalid("subnet", format!("{prefix} is no subnet of the network"));
            return if found.is_empty() { Err(why()) } else { Ok(found) };
        }
        if let Some(addr) = self.wish.v4 {
            return Ok(all().filter(|(_, s)| s.prefix.contains(addr)).collect());
        }
        let local: Vec<_> = all().filter(|(_, s)| self.network.is_local(s.prefix)).collect();
        match (local.is_empty(), self.network.subnets.len()) {
            (false, _) => Ok(local),
            (true, 1) => Ok(all().collect()),
            (true, _) => {
                let why = "the network has several subnets behind relays: name one";
                Err(Denied::Invalid("subnet", why.into()))
            }
        }
    }

    /// The IPv6 subnets it may be in.
    pub(super) fn subnets6(&self) -> Result<Vec<(usize, &Subnet6)>, Denied> {
        let all = || self.network.subnets6.iter().enumerate();
        if let Some(prefix) = self.wish.subnet6 {
            let found: Vec<_> = all().filter(|(_, s)| s.prefix == prefix).collect();
            let why =
                || Denied::Invalid("subnet6", format!("{prefix} is no subnet of the network"));
            return if found.is_empty() { Err(why()) } else { Ok(found) };
        }
        if let Some(addr) = self.wish.v6 {
            return Ok(all().filter(|(_, s)| s.prefix.contains(addr)).collect());
        }
        let local: Vec<_> = all().filter(|(_, s)| self.network.is_local6(s)).collect();
        match (local.is_empty(), self.network.subnets6.len()) {
            (false, _) => Ok(local),
            (true, 1) => Ok(all().collect()),
            (true, _) => {
                let why = "the network has several subnets behind relays: name one";
                Err(Denied::Invalid("subnet6", why.into()))
            }
        }
    }
}

impl Engine {
    /// Its IPv4 address, out of its pool; `None` if the network has no pools for it to be from.
    pub(super) fn site4(&mut self, site: &Site<'_>) -> Result<Option<Ipv4Addr>, Denied> {
        let subnets = site.subnets()?;
        if let Some(addr) = site.wish.v4 {
            let in_subnet = subnets.iter().any(|(_, s)| s.prefix.is_host(addr));
            let why = || format!("{addr} is no host address of a subnet of the network");
            in_subnet.then_some(()).ok_or_else(|| Denied::Invalid("address", why()))?;
            self.check_resource(site, addr.into())?;
            if !self.may_use4(site, addr) {
                return Err(site.not_its_pool("address", addr.into()));
            }
            self.check_tier(site, addr.into())?;
            self.take_from_pool(site.network.id, addr.into());
            return Ok(Some(addr));
        }
        for lease in site.own {
            let Resource::V4(addr) = lease.resource else { continue };
            let here = subnets.iter().any(|(_, s)| s.prefix.is_host(addr));
            if here && self.may_have_again(site, lease) {
                self.take_from_pool(site.network.id, addr.into());
                return Ok(Some(addr));
            }
        }
        if subnets.iter().all(|(_, s)| s.pools.is_empty()) {
            return Ok(None);
        }
        let here = |addr: Ipv4Addr| subnets.iter().any(|(_, s)| s.prefix.is_host(addr));
        let claimed = self.claim_for_site(site, Sort::V4, |resource| {
            let own = resource.v4().filter(|addr| here(*addr) && self.may_use4(site, *addr));
            own.is_some() && self.is_takeable(site, resource)
        });
        if let Some(Resource::V4(addr)) = claimed {
            return Ok(Some(addr));
        }
        let next = self.next4(site, &subnets);
        let next = next.or_else(|| self.displace4(site, &subnets));
        next.map(Some).ok_or_else(|| self.exhausted(site, "IPv4"))
    }

    /// The pools that an instance may have an address of, by index.
    pub(super) fn usable4(&self, site: &Site<'_>, subnets: &[(usize, &Subnet)]) -> Vec<usize> {
        let pools = self.nets.get(site.at).map(|net| &net.pools[..]).unwrap_or_default();
        let rank = self.rank_of_site(site);
        let id = site.network.id;
        let usable = |(at, pool): &(usize, &NetPool)| {
            pool.policy(site.network).is_some_and(|of| {
                site.may_use(self, &of.allow, &of.deny)
                    && self.may_use_range4(site.owner, id, &of.range)
                    && pool.has_room_for(site.network, rank, self.lent(id, Sort::V4, *at))
            })
        };
        let of = |(subnet, _): &(usize, &Subnet)| {
            let subnet = *subnet;
            let pools = pools.iter().enumerate().filter(move |(_, pool)| pool.subnet == subnet);
            pools.filter(usable).map(|(at, _)| at)
        };
        subnets.iter().flat_map(of).collect()
    }

    fn next4(&mut self, site: &Site<'_>, subnets: &[(usize, &Subnet)]) -> Option<Ipv4Addr> {
        let usable = self.usable4(site, subnets);
        let pools = &self.nets.get(site.at)?.pools;
        let is_doubted = |at: &usize| pools.get(*at).is_some_and(|pool| pool.free.is_doubted());
        let (doubted, sound): (Vec<_>, Vec<_>) = usable.iter().copied().partition(is_doubted);
        let free = |engine: &mut Engine, of: &[usize]| {
            let pools = engine.nets.get_mut(site.at).map(|net| &mut net.pools)?;
            of.iter().find_map(|at| {
                let next = pools.get_mut(*at)?.free.take_next(site.now, site.network.verify.fresh);
                next.map(|(value, _)| address(value))
            })
        };
        // A real instance comes before what is foreseen; what somebody may still have is the worst
        // that can be given.
        let yielded = |engine: &Engine| {
            let of = |at| usable.contains(&at);
            engine.yielding4(site.network.id, site.at, of).map(|(addr, _)| addr)
        };
        free(self, &sound).or_else(|| yielded(self)).or_else(|| free(self, &doubted))
    }

    /// The address of an unanswered offer of lower priority.
    fn displace4(&mut self, site: &Site<'_>, subnets: &[(usize, &Subnet)]) -> Option<Ipv4Addr> {
        let priority = self.priority(site.owner);
        let id = site.network.id;
        let usable = |addr: Ipv4Addr| {
            let mut pools = subnets.iter().flat_map(|(_, s)| &s.pools).filter(|p| p.gives(addr));
            pools.any(|p: &Pool| {
                site.may_use(self, &p.allow, &p.deny)
                    && self.may_use_range4(site.owner, id, &p.range)
            })
        };
        let lower = self.offers.below(id, priority).take(OFFERS_LOOKED_AT);
        let addr = lower.filter_map(|(_, r)| r.v4()).find(|addr| {
            let resource = (*addr).into();
            usable(*addr)
                && self.is_only_offered(id, resource)
                && self.check_tier(site, resource).is_ok()
        })?;
        self.offers.remove(id, addr.into());
        Some(addr)
    }

    /// Its IPv6 address, out of its pool; `None` if the network has no pools for it to be from.
    pub(super) fn site6(&mut self, site: &Site<'_>) -> Result<Option<Ipv6Addr>, Denied> {
        let subnets = site.subnets6()?;
        if let Some(addr) = site.wish.v6 {
            let in_subnet = subnets.iter().any(|(_, s)| s.prefix.contains(addr));
            let why = || format!("{addr} is no address of a subnet of the network");
            in_subnet.then_some(()).ok_or_else(|| Denied::Invalid("address6", why()))?;
            self.check_resource(site, addr.into())?;
            if !self.may_use6(site, addr) {
                return Err(site.not_its_pool("address6", addr.into()));
            }
            self.check_tier(site, addr.into())?;
            self.take_from_pool(site.network.id, addr.into());
            return Ok(Some(addr));
        }
        for lease in site.own {
            let Resource::V6(addr) = lease.resource else { continue };
            let here = subnets.iter().any(|(_, s)| s.prefix.contains(addr));
            if here && self.may_have_again(site, lease) {
                self.take_from_pool(site.network.id, addr.into());
                return Ok(Some(addr));
            }
        }
        if subnets.iter().all(|(_, s)| s.pools.is_empty()) {
            return Ok(None);
        }
        let claimed = self.claim_for_site(site, Sort::V6, |resource| match resource {
            Resource::V6(addr) => {
                let here = subnets.iter().any(|(_, s)| s.prefix.contains(addr));
                here && self.may_use6(site, addr) && self.is_takeable(site, resource)
            }
            _ => false,
        });
        if let Some(Resource::V6(addr)) = claimed {
            return Ok(Some(addr));
        }
        let next = self.next_site6(site, &subnets);
        let next = next.or_else(|| self.displace_site6(site, &subnets));
        next.map(Some).ok_or_else(|| self.exhausted(site, "IPv6"))
    }

    /// The same for IPv6, with the policy of each.
    pub(super) fn usable6<'a>(
        &self,
        site: &Site<'_>,
        subnets: &[(usize, &'a Subnet6)],
    ) -> Vec<(usize, &'a Pool6)> {
        let pools = self.nets.get(site.at).map(|net| &net.pools6[..]).unwrap_or_default();
        let rank = self.rank_of_site(site);
        let id = site.network.id;
        let usable = |at: usize, pool: &NetPool, of: &Pool6| {
            site.may_use(self, &of.allow, &of.deny)
                && self.may_use_range6(site.owner, id, of.first, of.last)
                && pool.has_room_for(site.network, rank, self.lent(id, Sort::V6, at))
        };
        let of = |(subnet, policy): &(usize, &'a Subnet6)| {
            let (subnet, policy) = (*subnet, *policy);
            let pools = pools.iter().enumerate().filter(move |(_, pool)| pool.subnet == subnet);
            pools.filter_map(move |(at, pool)| Some((at, pool, policy.pools.get(pool.index)?)))
        };
        let found = subnets.iter().flat_map(of).filter(|(at, pool, of)| usable(*at, pool, of));
        found.map(|(at, _, of)| (at, of)).collect()
    }

    fn next_site6(&mut self, site: &Site<'_>, subnets: &[(usize, &Subnet6)]) -> Option<Ipv6Addr> {
        let usable = self.usable6(site, subnets);
        let pools = &self.nets.get(site.at)?.pools6;
        let is_doubted =
            |(at, _): &(usize, _)| pools.get(*at).is_some_and(|pool| pool.free.is_doubted());
        let (doubted, sound): (Vec<_>, Vec<_>) = usable.iter().copied().partition(is_doubted);
        let yielded = |engine: &Engine| {
            let of = |at| usable.iter().any(|(usable, _)| *usable == at);
            engine.yielding6(site.network.id, site.at, of).map(|(addr, _)| addr)
        };
        let next = self.first_free6(site, &sound).or_else(|| yielded(self));
        next.or_else(|| self.first_free6(site, &doubted))
    }

    /// The next free address of the first of these pools that has one.
    fn first_free6(&mut self, site: &Site<'_>, of: &[(usize, &Pool6)]) -> Option<Ipv6Addr> {
        let fresh_for = site.network.verify.fresh;
        let key = ClientKey::hardware(&site.wish.who.hw().unwrap_or_default());
        for (at, of) in of {
            let from = match of.generate {
                Generate::Iterative => None,
                Generate::Stable if site.wish.who.mac.is_some() => {
                    Some(stable_start(&self.lots, of, &key))
                }
                _ => Some(self.lots.draw(of.first.to_bits(), of.last.to_bits())),
            };
            let pool = self.nets.get_mut(site.at)?.pools6.get_mut(*at)?;
            from.into_iter().for_each(|from| pool.free.look_from(from));
            if let Some((value, _)) = pool.free.take_next(site.now, fresh_for) {
                return Some(Ipv6Addr::from_bits(value));
            }
        }
        None
    }

    /// The IPv6 address of an unanswered offer of lower priority.
    fn displace_site6(
        &mut self,
        site: &Site<'_>,
        subnets: &[(usize, &Subnet6)],
    ) -> Option<Ipv6Addr> {
        let priority = self.priority(site.owner);
        let id = site.network.id;
        let usable = |addr: Ipv6Addr| {
            let mut pools = subnets.iter().flat_map(|(_, s)| &s.pools).filter(|p| p.gives(addr));
            pools.any(|p| {
                site.may_use(self, &p.allow, &p.deny)
                    && self.may_use_range6(site.owner, id, p.first, p.last)
            })
        };
        let lower = self.offers.below(id, priority).take(OFFERS_LOOKED_AT);
        let of6 = |(_, resource)| match resource {
            Resource::V6(addr) => Some(addr),
            _ => None,
        };
        let addr = lower
            .filter_map(of6)
            .find(|addr| usable(*addr) && self.is_only_offered(id, (*addr).into()))?;
        self.offers.remove(id, addr.into());
        Some(addr)
    }

    /// Whether its account lets it have an address that it names: of a pool that it may use, or of
    /// no pool, within what its pools lie in.
    fn may_use4(&self, site: &Site<'_>, addr: Ipv4Addr) -> bool {
        let pools = site.network.subnet_of(addr).map(|s| &s.pools[..]).unwrap_or_default();
        let of = pools.iter().find(|p| p.gives(addr)).map(|p| p.range);
        let range = of.unwrap_or(Range4 { first: addr, last: addr });
        self.may_use_range4(site.owner, site.network.id, &range)
    }

    /// The same for IPv6.
    fn may_use6(&self, site: &Site<'_>, addr: Ipv6Addr) -> bool {
        let mut pools = site.network.subnets6.iter().flat_map(|s| &s.pools);
        let of = pools.find(|p| p.gives(addr)).map(|p| (p.first, p.last));
        let (first, last) = of.unwrap_or((addr, addr));
        self.may_use_range6(site.owner, site.network.id, first, last)
    }

    /// Whether a machine may have again what it has or had.
    fn may_have_again(&self, site: &Site<'_>, lease: &Lease) -> bool {
        let (id, resource) = (site.network.id, lease.resource);
        let allowed = match resource {
            Resource::V4(addr) => {
                let pools = site.network.subnet_of(addr).map(|s| &s.pools[..]).unwrap_or_default();
                pools.iter().any(|p| p.gives(addr) && self.may_use_range4(site.owner, id, &p.range))
            }
            Resource::V6(addr) => {
                let mut pools = site.network.subnets6.iter().flat_map(|s| &s.pools);
                pools.any(|p| p.gives(addr) && self.may_use_range6(site.owner, id, p.first, p.last))
            }
            Resource::Prefix6(..) => false,
        };
        allowed
            && may_return(lease.state)
            && self.offers.get(id, resource).is_none_or(|offer| offer.hw == lease.hw)
            && !self.is_kept_for_other(id, resource, None)
            && !self.is_own(resource)
            && (lease.state == State::Leased || self.check_tier(site, resource).is_ok())
    }

    /// Whether a shadow of its owner stands in the way of nobody.
    fn is_takeable(&self, site: &Site<'_>, resource: Resource) -> bool {
        self.check_resource(site, resource).is_ok() && self.check_tier(site, resource).is_ok()
    }

    /// Whether nobody else has, is to have, or may still use an address.
    fn check_resource(&self, site: &Site<'_>, resource: Resource) -> Result<(), Denied> {
        let id = site.network.id;
        let taken = |holder: Holder| Err(Denied::Taken { what: resource.to_string(), holder });
        if self.is_own(resource) {
            return taken(Holder::Nobody("this server's own"));
        }
        if let Some(name) = self.reserved_resource(id, resource) {
            return taken(Holder::configured(&name));
        }
        if let Some(kept) = self.directory.keeper(id, resource) {
            return taken(Holder::of_kept(kept));
        }
        let own = |hw: &HwAddr| site.wish.who.hw().is_some_and(|own| own == *hw);
        if let Some(pair) = self.directory.pair_of(id, resource)
            && self.is_paired_for_other(id, resource, site.wish.who.hw().as_ref(), || false)
        {
            return taken(Holder::of_pair(pair));
        }
        match self.table.get(id, resource).filter(|l| l.state.is_held()) {
            Some(lease) if lease.state == State::Shadow => {
                let may = self.may_claim(lease, site.owner, None);
                if !may {
                    return taken(Holder::Nobody("held for who is foreseen"));
                }
            }
            Some(lease) if !own(&lease.hw) || !may_return(lease.state) => {
                return taken(match lease.state {
                    State::Leased => Holder::of_lease(lease),
                    State::Quarantined(QuarantineReason::Leaving) => {
                        Holder::Nobody("kept back: who had it may still speak")
                    }
                    _ => Holder::Nobody("out of use"),
                });
            }
            _ => {}
        }
        match self.offers.get(id, resource).filter(|offer| !own(&offer.hw)) {
            Some(offer) => {
                let who = format!("offered to {}", offer.hw);
                taken(Holder::Somebody { who, account: None })
            }
            None => Ok(()),
        }
    }

    /// For whom the configuration reserves an identifier.
    pub(super) fn reserved_for(
        &self,
        network: crate::base::NetworkId,
        identifier: Identifier<'_>,
    ) -> Option<String> {
        use crate::config::policy::{HostId, HostId6};
        let at = self.net_index(network)?;
        let (net, policy) = (self.nets.get(at)?, self.policy().networks.get(at)?);
        let (four, six) = match identifier {
            Identifier::Mac(mac) => {
                (Some(HostId::from(mac)), Some(HostId6::Hardware(HwAddr::ethernet(mac))))
            }
            Identifier::Duid(duid) => (None, Some(HostId6::Duid(duid.into()))),
            Identifier::ClientId(id) => (Some(HostId::ClientId(id.into())), None),
            Identifier::Port(id) => {
                (Some(HostId::CircuitId(id.into())), Some(HostId6::InterfaceId(id.into())))
            }
        };
        let four = four.and_then(|host| policy.reservations.get(*net.by_host.get(&host)?));
        let name4 = four.map(|r| r.addr.to_string());
        let six = six.and_then(|host| policy.reservations6.get(*net.by_host6.get(&host)?));
        let name6 =
            six.map(|r| r.addrs.iter().map(|a| a.to_string()).collect::<Vec<_>>().join(", "));
        name4.or(name6)
    }

    /// For whom the configuration reserves an address or prefix.
    pub(super) fn reserved_resource(
        &self,
        network: crate::base::NetworkId,
        resource: Resource,
    ) -> Option<String> {
        let at = self.net_index(network)?;
        let (net, policy) = (self.nets.get(at)?, self.policy().networks.get(at)?);
        match resource {
            Resource::V4(addr) => {
                let found = policy.reservations.get(*net.by_addr.get(&addr)?)?;
                Some(found.host.to_string())
            }
            _ => {
                let found = policy.reservations6.get(*net.by_resource6.get(&resource)?)?;
                Some(found.host.to_string())
            }
        }
    }
}
