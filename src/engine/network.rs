//! The running state of one network: its pools, and the indexes of its policy.

use hashbrown::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::{NetworkId, Prefix6, Range4, Resource, Sort, Timestamp};
use crate::config::policy::{self, HostId, HostId6, Network};
use crate::lease::{Census, Lease, Pool, PrefixPool, RangeSet, Shares, State};

use super::Engine;
use super::effects::LinkUp;
use super::leaving::Farewells;
use super::shadows::Reproofs;
use super::verify::Verifier;

/// A network as the engine runs it.
#[derive(Debug)]
pub struct Net {
    /// Its identity.
    pub id: NetworkId,
    /// One pool for each of the policy's, in the order of subnets and pools.
    pub pools: Vec<NetPool>,
    /// The same for IPv6.
    pub pools6: Vec<NetPool>,
    /// The pools of prefixes.
    pub delegations: Vec<NetDelegation>,
    /// Prefixes that were held when the pools were made, and are of none.
    pub strays: Vec<Prefix6>,
    /// One of these is held no more: the pools of prefixes are to be made anew.
    pub recut: bool,
    /// First address and index of each pool, ascending by address.
    by_first: Vec<(Ipv4Addr, usize)>,
    /// Reservations by client: index into the policy's list.
    pub by_host: HashMap<HostId, usize>,
    /// The same for IPv6.
    pub by_host6: HashMap<HostId6, usize>,
    /// Reservations by address.
    pub by_addr: HashMap<Ipv4Addr, usize>,
    /// The same for IPv6, prefixes included.
    pub by_resource6: HashMap<Resource, usize>,
    /// First labels of the names that are reserved.
    pub names: HashSet<Box<str>>,
    /// Addresses in its pools, without those excluded.
    pub size: u64,
    /// The same for IPv6.
    pub size6: u128,
    /// The background verifier's state.
    pub verifier: Verifier,
    /// Addresses of destroyed instances.
    pub farewells: Farewells,
    /// When the addresses of its shadows are asked about.
    pub reproofs: Reproofs,
    /// DECLINEs of late, by client.
    pub declines: super::giveback::Declines,
    /// Other servers heard, and when that was last told.
    pub foreign: HashMap<IpAddr, Timestamp>,
}

/// A pool of prefixes and where it stands in the policy.
#[derive(Debug)]
pub struct NetDelegation {
    /// Index of its subnet.
    pub subnet: usize,
    /// Index within the subnet.
    pub index: usize,
    /// Prefixes of its longest length in it, without those excluded.
    pub size: u128,
    /// Its free prefixes.
    pub free: PrefixPool,
    /// A bit for each priority of the accounts that may use it, and of clients without one.
    pub priorities: u16,
}

/// A pool and where it stands in the policy.
#[derive(Debug)]
pub struct NetPool {
    /// Index of its subnet.
    pub subnet: usize,
    /// Index within the subnet.
    pub index: usize,
    /// Addresses in it, without those excluded.
    pub size: u128,
    /// Its free addresses.
    pub free: Pool,
    /// A bit for each priority of the accounts that may use it, and of clients without one.
    pub priorities: u16,
    /// Its tiers, where the network has some.
    pub tiers: Option<Shares>,
}

impl NetPool {
    /// Its policy.
    pub fn policy<'a>(&self, network: &'a Network) -> Option<&'a policy::Pool> {
        network.subnets.get(self.subnet)?.pools.get(self.index)
    }
}

impl Net {
    fn new(network: &Network, verifier: Verifier) -> Net {
        let (mut pools, mut by_first, mut size) = (Vec::new(), Vec::new(), 0);
        for (subnet, s) in network.subnets.iter().enumerate() {
            for (index, p) in s.pools.iter().enumerate() {
                let mut free = Pool::new(ordinal(p.range.first), ordinal(p.range.last));
                for gap in &p.excluded {
                    free.exclude(ordinal(gap.first), ordinal(gap.last));
                }
                let own = free.available();
                size += u64::try_from(own).unwrap_or(u64::MAX);
                by_first.push((p.range.first, pools.len()));
                let tiers = NetPool::tiers(network, own);
                pools.push(NetPool { subnet, index, free, size: own, priorities: 0, tiers });
            }
        }
        let pools6 = pools6(network);
        let sizes6 = pools6.iter().map(|pool| pool.free.available());
        let size6 = sizes6.fold(0, u128::saturating_add);
        by_first.sort_unstable();
        let reservations = network.reservations.iter().enumerate();
        let reservations6 = network.reservations6.iter().enumerate();
        Net {
            id: network.id,
            pools,
            pools6,
            delegations: delegations(network),
            strays: Vec::new(),
            recut: false,
            by_first,
            by_host: reservations.clone().map(|(i, r)| (r.host.clone(), i)).collect(),
            by_host6: reservations6.map(|(i, r)| (r.host.clone(), i)).collect(),
            names: reservations
                .clone()
                .map(|(_, r)| &r.hostname)
                .chain(network.reservations6.iter().map(|r| &r.hostname))
                .filter_map(|name| name.as_deref()?.split('.').next().map(Box::from))
                .collect(),
            by_addr: reservations.map(|(i, r)| (r.addr, i)).collect(),
            by_resource6: reserved6(network),
            size,
            size6,
            verifier,
            farewells: Farewells::default(),
            reproofs: Reproofs::default(),
            declines: Default::default(),
            foreign: HashMap::new(),
        }
    }

    /// Whether `addr` is free in a pool, and proven or being proved.
    pub fn is_checked(&self, network: &Network, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => {
                let pool = self.pool_of(network, addr).and_then(|at| self.pools.get(at));
                pool.is_some_and(|pool| pool.free.is_checked(ordinal(addr)))
            }
            IpAddr::V6(addr) => self.pools6.iter().any(|p| p.free.is_checked(addr.to_bits())),
        }
    }

    /// What is free, and yet somebody may have.
    fn doubted(&self) -> impl Iterator<Item = Resource> {
        let v4 = self.pools.iter().flat_map(|p| p.free.doubted());
        let v6 = self.pools6.iter().flat_map(|p| p.free.doubted());
        let v6 = v6.map(|value| Resource::V6(Ipv6Addr::from_bits(value)));
        v4.map(|value| Resource::V4(address(value))).chain(v6)
    }

    /// The pool whose range holds `addr`, whether it is free there or not.
    pub fn pool_of(&self, network: &Network, addr: Ipv4Addr) -> Option<usize> {
        let after = self.by_first.partition_point(|(first, _)| *first <= addr);
        let (_, at) = *self.by_first.get(after.checked_sub(1)?)?;
        let pool = self.pools.get(at)?.policy(network)?;
        pool.gives(addr).then_some(at)
    }
}

/// An address as pools count.
pub fn ordinal(addr: Ipv4Addr) -> u128 {
    u128::from(addr.to_bits())
}

/// Back from [`ordinal`].
pub fn address(ordinal: u128) -> Ipv4Addr {
    Ipv4Addr::from_bits(ordinal as u32)
}

impl Engine {
    /// Makes the running state of every network anew from policy and bindings.
    pub(super) fn build_networks(&mut self) {
        let policy = self.policy.clone();
        let counted = self.counted();
        let mut old = std::mem::take(&mut self.nets);
        let doubted: Vec<_> =
            old.iter().flat_map(|net| net.doubted().map(|r| (net.id, r))).collect();
        for network in &policy.networks {
            let at = old.iter().position(|net| net.id == network.id);
            let before = at.map(|at| old.swap_remove(at));
            let mut net = Net::new(network, Verifier::new(&network.verify));
            if let Some(before) = before {
                net.declines = before.declines;
                net.foreign = before.foreign;
                net.verifier.inherit(before.verifier);
            }
            self.nets.push(net);
        }
        let held: Vec<_> = self
            .table
            .iter()
            .map(|l| (l.network, l.resource, l.state, self.rank_of(l)))
            .chain(self.offers.iter().map(|o| (o.network, o.resource, State::Leased, o.until)))
            .collect();
        for (network, resource, state, rank) in held {
            let pending = self.table.is_pending(network, resource);
            let offered = self.offers.get(network, resource).is_some();
            let remembered = state.is_remembered() && !pending && !offered;
            if let Resource::Prefix6(prefix, len) = resource {
                // What is only remembered may have been given on in parts.
                if !remembered {
                    self.hold_prefix(network, prefix, len);
                }
                continue;
            }
            if let Some(mut place) = self.place_mut(network, resource) {
                place.take();
                if remembered {
                    place.free(Some(rank));
                }
            }
        }
        let kept: Vec<_> = self.directory.held().collect();
        for (network, resource) in kept {
            match resource {
                Resource::Prefix6(addr, len) => self.hold_prefix(network, addr, len),
                _ => drop(self.take_from_pool(network, resource)),
            }
        }
        for (network, resource) in doubted {
            if let Some(Place::Value(pool, value)) = self.place_mut(network, resource)
                && pool.free.is_free(value)
            {
                pool.free.free_doubted(value);
            }
        }
        self.count_tiers(&counted);
        self.own_addresses_changed(None);
        self.table.set_census(census(&policy));
        self.rank_pools();
        self.watch_all();
        self.watch_all_shadows();
        self.find_former();
    }

    /// Takes a held prefix out of the new pools. They may be cut otherwise by now, so that a part
    /// of one is held, or all of several.
    fn hold_prefix(&mut self, network: NetworkId, addr: Ipv6Addr, len: u8) {
        let Some(at) = self.net_index(network) else { return };
        let (Some(policy), Some(net)) = (self.policy.networks.get(at), self.nets.get_mut(at))
        else {
            return;
        };
        net.delegations.iter_mut().for_each(|d| d.free.exclude(addr, len));
        let mut pools = policy.subnets6.iter().flat_map(|s| &s.delegations);
        let stray = Prefix6::new(addr, len).filter(|prefix| !pools.any(|p| p.gives(*prefix)));
        net.strays.extend(stray);
    }

    /// Makes the pools of prefixes anew where a stray left room in them.
    pub(super) fn recut_delegations(&mut self) {
        let policy = self.policy.clone();
        let mut recut = Vec::new();
        for (net, network) in self.nets.iter_mut().zip(&policy.networks).filter(|(n, _)| n.recut) {
            let ranked = net.delegations.iter().map(|pool| pool.priorities);
            let cut = delegations(network).into_iter().zip(ranked);
            let cut = cut.map(|(pool, priorities)| NetDelegation { priorities, ..pool });
            (net.delegations, net.recut) = (cut.collect(), false);
            net.strays.clear();
            recut.push(net.id);
        }
        if recut.is_empty() {
            return;
        }
        let busy = |l: &&Lease| l.state.is_held() || self.table.is_pending(l.network, l.resource);
        let leased = self.table.iter().filter(busy).map(|l| (l.network, l.resource));
        let offered = self.offers.iter().map(|o| (o.network, o.resource));
        let kept = self.directory.held();
        let held: Vec<_> =
            leased.chain(offered).chain(kept).filter(|(n, _)| recut.contains(n)).collect();
        for (network, resource) in held {
            if let Resource::Prefix6(addr, len) = resource {
                self.hold_prefix(network, addr, len);
            }
        }
    }

    /// When that is to be done.
    pub(super) fn next_recut(&self) -> Option<Timestamp> {
        self.nets.iter().any(|net| net.recut).then_some(Timestamp(0))
    }

    /// Takes `resource` out of its pool, if it is free in one.
    pub(super) fn take_from_pool(&mut self, network: NetworkId, resource: Resource) -> bool {
        self.place_mut(network, resource).is_some_and(|mut place| place.take())
    }

    /// Puts `resource` where it belongs now: into its pool, if nothing holds it, neither in
    /// memory nor, for all we know, on disk.
    pub(super) fn settle(&mut self, network: NetworkId, resource: Resource) {
        let rank = match self.table.get(network, resource) {
            Some(lease) if lease.state.is_held() => {
                self.take_from_pool(network, resource);
                let promised = self.offers.get(network, resource).is_some();
                self.promise(network, resource, promised);
                self.follow_tier(network, resource);
                self.take_doubt(network, resource);
                return;
            }
            Some(lease) => Some(self.rank_of(lease)),
            None => None,
        };
        self.note_hold(network, resource);
        if self.directory.is_kept(network, resource) {
            self.take_from_pool(network, resource);
            return;
        }
        let busy = self.table.is_pending(network, resource)
            || self.directory.is_pending(network, resource)
            || self.offers.get(network, resource).is_some()
            || self.is_own(resource);
        if let (Resource::Prefix6(addr, len), false) = (resource, busy)
            && let Some(at) = self.net_index(network)
        {
            let stray = |stray: &Prefix6| (stray.network(), stray.len()) == (addr, len);
            self.nets[at].recut |= self.nets[at].strays.iter().any(stray);
        }
        if let Some(mut place) = self.place_mut(network, resource)
            && !busy
            && !place.is_free()
        {
            place.free(rank);
            if self.take_doubt(network, resource)
                && let Some(Place::Value(pool, value)) = self.place_mut(network, resource)
            {
                pool.free.free_doubted(value);
            }
            self.wake_verifier(network);
        }
    }

    fn take_doubt(&mut self, network: NetworkId, resource: Resource) -> bool {
        let net = self.net_index(network).and_then(|at| self.nets.get_mut(at));
        net.is_some_and(|net| net.farewells.take_doubt(resource))
    }

    /// Keeps the addresses of our own interfaces out of every pool, and gives back those that
    /// were ours `before`.
    pub(super) fn own_addresses_changed(&mut self, before: Option<LinkUp>) {
        if let Some(up) = before {
            up.resources().for_each(|own| self.settle(up.network, own));
        }
        let of = |up: &LinkUp| up.resources().map(|own| (up.network, own)).collect::<Vec<_>>();
        let now: Vec<_> = self.links.values().flat_map(of).collect();
        for (network, own) in now {
            self.take_from_pool(network, own);
        }
    }

    /// Whether `resource` is an address of one of our own interfaces.
    pub(super) fn is_own(&self, resource: Resource) -> bool {
        self.links.values().any(|up| match resource {
            Resource::V4(own) => up.addrs.iter().any(|(addr, _)| *addr == own),
            Resource::V6(own) => up.addrs6.contains(&own),
            Resource::Prefix6(..) => false,
        })
    }

    /// Whether a prefix is free in its pool.
    pub(super) fn prefix_is_free(&self, network: NetworkId, resource: Resource) -> bool {
        let Resource::Prefix6(prefix, len) = resource else { return false };
        let net = self.net_index(network).and_then(|at| self.nets.get(at));
        net.is_some_and(|net| net.delegations.iter().any(|d| d.free.is_free(prefix, len)))
    }

    fn place_mut(&mut self, network: NetworkId, resource: Resource) -> Option<Place<'_>> {
        let Resource::Prefix6(prefix, len) = resource else {
            let spot = self.spot(network, resource)?;
            return self.pool_mut(spot).map(|pool| Place::Value(pool, spot.value));
        };
        let at = self.net_index(network)?;
        let policy = self.policy.networks.get(at)?;
        // One that no pool delegates (any more) may share its place with what is reserved.
        let whole = Prefix6::new(prefix, len)?;
        let pool = self.nets.get_mut(at)?.delegations.iter_mut().find(|d| {
            let subnet = policy.subnets6.get(d.subnet);
            subnet.and_then(|s| s.delegations.get(d.index)).is_some_and(|p| p.gives(whole))
        })?;
        Some(Place::Prefix(&mut pool.free, prefix, len))
    }
}

/// Where a resource is when it is free.
enum Place<'a> {
    Value(&'a mut NetPool, u128),
    Prefix(&'a mut PrefixPool, Ipv6Addr, u8),
}

impl Place<'_> {
    fn take(&mut self) -> bool {
        match self {
            Place::Value(pool, value) => pool.free.take(*value),
            Place::Prefix(pool, prefix, len) => pool.take(*prefix, *len),
        }
    }

    fn is_free(&self) -> bool {
        match self {
            Place::Value(pool, value) => pool.free.is_free(*value),
            Place::Prefix(pool, prefix, len) => pool.is_free(*prefix, *len),
        }
    }

    fn free(&mut self, rank: Option<Timestamp>) {
        match self {
            Place::Value(pool, value) => {
                pool.tiers.iter_mut().for_each(|tiers| {
                    tiers.release(*value);
                });
                pool.free.free(*value, rank);
            }
            Place::Prefix(pool, prefix, len) => pool.free(*prefix, *len),
        }
    }
}

/// The pools by which bindings are counted, in the order of [`Net::pools`] and its neighbours.
fn census(policy: &policy::Policy) -> Census {
    let mut census = Census::default();
    for network in &policy.networks {
        let mut add = |sort, first, last, gaps: &mut dyn Iterator<Item = (u128, u128)>| {
            let mut given = RangeSet::new();
            given.insert_range(first, last);
            gaps.for_each(|(first, last)| given.remove_range(first, last));
            census.add_pool(network.id, sort, &given);
        };
        for p in network.subnets.iter().flat_map(|s| &s.pools) {
            let gap = |gap: &Range4| (ordinal(gap.first), ordinal(gap.last));
            let (first, last) = gap(&p.range);
            add(Sort::V4, first, last, &mut p.excluded.iter().map(gap));
        }
        for p in network.subnets6.iter().flat_map(|s| &s.pools) {
            let mut gaps = p.excluded.iter().map(|(f, l)| (f.to_bits(), l.to_bits()));
            add(Sort::V6, p.first.to_bits(), p.last.to_bits(), &mut gaps);
        }
        for d in network.subnets6.iter().flat_map(|s| &s.delegations) {
            let range = |p: &Prefix6| (p.network().to_bits(), p.last().to_bits());
            let (first, last) = range(&d.prefix);
            add(Sort::Prefix6, first, last, &mut d.excluded.iter().map(range));
        }
    }
    census
}

/// Which of the IPv6 reservations each address and prefix is of.
fn reserved6(network: &Network) -> HashMap<Resource, usize> {
    let all = network.reservations6.iter().enumerate().flat_map(|(i, r)| {
        let addrs = r.addrs.iter().map(|addr| Resource::V6(*addr));
        addrs.chain(r.prefixes.iter().map(|p| Resource::from(*p))).map(move |r| (r, i))
    });
    all.collect()
}

fn pools6(network: &Network) -> Vec<NetPool> {
    let mut pools = Vec::new();
    for (subnet, s) in network.subnets6.iter().enumerate() {
        for (index, p) in s.pools.iter().enumerate() {
            let mut free = Pool::new(p.first.to_bits(), p.last.to_bits());
            for (first, last) in &p.excluded {
                free.exclude(first.to_bits(), last.to_bits());
            }
            let size = free.available();
            let tiers = NetPool::tiers(network, size);
            pools.push(NetPool { subnet, index, free, size, priorities: 0, tiers });
        }
    }
    pools
}

fn delegations(network: &Network) -> Vec<NetDelegation> {
    let mut delegations = Vec::new();
    for (subnet, s) in network.subnets6.iter().enumerate() {
        for (index, d) in s.delegations.iter().enumerate() {
            let mut free = PrefixPool::new(d.prefix.network(), d.prefix.len(), d.max_length);
            for taken in &d.excluded {
                free.exclude(taken.network(), taken.len());
            }
            let size = free.available();
            delegations.push(NetDelegation { subnet, index, size, free, priorities: 0 });
        }
    }
    delegations
}
