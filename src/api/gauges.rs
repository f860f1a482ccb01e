//! What only the engine's thread knows, for metrics: numbers alone, so that to gather them costs it
//! little. What they are called is in the policy that comes with them.

use std::sync::Arc;
use std::time::Duration;

use crate::base::Sort;
use crate::config::Policy;
use crate::config::policy::Tier;
use crate::engine::Engine;
use crate::engine::network::{Net, NetPool};
use crate::engine::shadows::Tally;
use crate::engine::verify::VerifierTally;
use crate::lease::{Counts, LeaseTable, OfferTable, Owner, Share};
use crate::store::StoreStats;

/// How many networks and pools one command looks at: a bound on how long it keeps the packets
/// waiting. What is left of the last network is looked at too.
pub const POOLS_PER_PAGE: usize = 1000;

/// A page of figures.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Networks in the order of the policy, from the asked one on.
    pub networks: Vec<NetworkFigures>,
    /// Where the next page starts; `None` after the last.
    pub next: Option<usize>,
    /// The policy in force, which knows the names.
    pub policy: Arc<Policy>,
    /// Bindings in every state.
    pub bindings: u64,
    /// The accounts with most leases, as many as the policy wants to know of.
    pub accounts: Vec<(Arc<str>, u64)>,
    /// Leases of all other accounts.
    pub other_accounts: u64,
    /// How many accounts have leases.
    pub accounts_count: u64,
    /// What came of shadows: of so many owners as accounts are wanted, then of all others.
    pub shadows: Vec<ShadowFigures>,
    /// The store.
    pub store: StoreStats,
    /// Whether it can write.
    pub store_writable: bool,
    /// How far the disk is behind.
    pub store_lag: Duration,
    /// Whether that is an alarm.
    pub store_slow: bool,
    /// Whether time is known to be right.
    pub clock_trusted: bool,
}

/// The shadows of one owner.
#[derive(Clone, Debug)]
pub struct ShadowFigures {
    /// Account and application; `None` for all others.
    pub owner: Option<Owner>,
    /// How many there are.
    pub held: u64,
    /// What came of them since the start.
    pub tally: Tally,
}

impl ShadowFigures {
    /// Of at most so many owners, and of all others.
    pub fn of(engine: &Engine, most: usize) -> Vec<ShadowFigures> {
        let (tallies, shadows) = (engine.tallies(), engine.leases().shadows());
        let (mut rest, mut held) = (tallies.total(), shadows.len() as u64);
        let first = tallies.first().iter().take(most);
        let mut found: Vec<ShadowFigures> = first
            .map(|owner| ShadowFigures {
                owner: Some(owner.clone()),
                held: shadows.of_owner(owner),
                tally: tallies.get(owner),
            })
            .collect();
        for of in &found {
            rest = rest.minus(&of.tally);
            held = held.saturating_sub(of.held);
        }
        found.push(ShadowFigures { owner: None, held, tally: rest });
        found
    }
}

/// One network.
#[derive(Clone, Debug)]
pub struct NetworkFigures {
    /// Bindings of each sort: addresses of IPv4 and IPv6, and prefixes.
    pub bindings: [(Sort, Counts); 3],
    /// Offers that nobody asked for yet.
    pub offers: u64,
    /// Its pools.
    pub pools: Vec<PoolFigures>,
    /// The verifier.
    pub verifier: VerifierTally,
    /// Interfaces that serve it now.
    pub interfaces: u64,
    /// Other servers that were heard.
    pub foreign_servers: u64,
}

/// One pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolFigures {
    /// What it gives.
    pub sort: Sort,
    /// Index of its subnet among those of its family.
    pub subnet: usize,
    /// Index within the subnet.
    pub index: usize,
    /// Addresses in it; for prefixes, those of its longest length.
    pub size: u128,
    /// Of these, free.
    pub free: u128,
    /// Of these, proven to be free.
    pub proven: u64,
    /// Bindings.
    pub bindings: Counts,
    /// What each tier has and is kept, in the order of [`Tier::ALL`]; `None` if there are none.
    pub tiers: Option<[Share; 3]>,
}

impl NetworkFigures {
    /// The figures of `net`, which so many interfaces serve.
    pub fn of(
        net: &Net,
        interfaces: u64,
        leases: &LeaseTable,
        offers: &OfferTable,
    ) -> NetworkFigures {
        let sorts = [Sort::V4, Sort::V6, Sort::Prefix6];
        let census = leases.census();
        let of = |sort: Sort, pools: &[NetPool]| {
            let figures = pools.iter().enumerate().map(move |(at, pool)| PoolFigures {
                sort,
                subnet: pool.subnet,
                index: pool.index,
                size: pool.size,
                free: pool.free.available(),
                proven: pool.free.proven() as u64,
                bindings: census.counts(net.id, sort, at),
                tiers: pool.tiers.as_ref().map(|tiers| Tier::ALL.map(|tier| tiers.share(tier))),
            });
            figures.collect::<Vec<_>>()
        };
        let mut pools = of(Sort::V4, &net.pools);
        pools.extend(of(Sort::V6, &net.pools6));
        pools.extend(net.delegations.iter().enumerate().map(|(at, pool)| PoolFigures {
            sort: Sort::Prefix6,
            subnet: pool.subnet,
            index: pool.index,
            size: pool.size,
            free: pool.free.available(),
            proven: 0,
            bindings: census.counts(net.id, Sort::Prefix6, at),
            tiers: None,
        }));
        NetworkFigures {
            bindings: sorts.map(|sort| (sort, leases.counts(net.id, sort))),
            offers: offers.count(net.id) as u64,
            pools,
            verifier: net.verifier.tally(),
            interfaces,
            foreign_servers: net.foreign.len() as u64,
        }
    }
}
