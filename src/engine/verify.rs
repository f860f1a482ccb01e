//! The background verifier: each pool keeps a queue of addresses that a probe found silent a
//! short while ago, so that an offer takes one and waits for nothing (RFC 5227, RFC 2131 s3.1,
//! RFC 4862 s5.4).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

use crate::base::{ClientKey, HwAddr, LinkId, Mac, NetworkId, Resource, Span, Timestamp};
use crate::config::policy::{Generate, Network, Verify};
use crate::lease::{Cause, Lease, Pool, QuarantineReason, State, Uses};

use super::Engine;
use super::effects::{Effects, EventKind, LinkUp, Probe, Source};
use super::network::{Net, address};

/// A source that answers for more unbound addresses than this is a proxy, or an attack.
const ANSWERS_MAX: usize = 3;
/// Most sources whose answers are remembered, per network.
const SOURCES_MAX: usize = 1024;
/// How long a proxy is not believed.
const PROXY_TIME: Span = Span::from_secs(600);
/// How often a pool that is short of proven addresses is looked at.
const STEP: Span = Span::from_ms(50);

/// The verifier's state on one network.
#[derive(Debug, Default)]
pub struct Verifier {
    probes_per_s: u32,
    /// Probes under way: when silence counts as free, pool, address.
    probing: VecDeque<(Timestamp, PoolAt, u128)>,
    /// Thousandths of probes that may be sent now.
    credit: u64,
    credited: Timestamp,
    short: bool,
    answers: BTreeMap<Source, BTreeSet<Resource>>,
    proxies: BTreeMap<Source, Timestamp>,
    /// Taken out of their pools while the store could not note why.
    set_aside: BTreeSet<Resource>,
    tally: VerifierTally,
}

/// What the verifier of one network did since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifierTally {
    /// Addresses that it asked for.
    pub probed: u64,
    /// Those that nobody answered for.
    pub proven: u64,
    /// Answers for addresses thought free, asked for or not.
    pub answered: u64,
}

/// A pool of one family, by its index in the network.
#[derive(Clone, Copy, Debug)]
enum PoolAt {
    V4(usize),
    V6(usize),
}

impl Verifier {
    /// A verifier that has proved nothing yet.
    pub fn new(policy: &Verify) -> Verifier {
        Verifier { probes_per_s: policy.probes_per_s, short: policy.enabled, ..Verifier::default() }
    }

    /// Keeps what was learned about machines across a reload.
    pub fn inherit(&mut self, before: Verifier) {
        (self.answers, self.proxies) = (before.answers, before.proxies);
        self.tally = before.tally;
    }

    /// What it did since the start.
    pub fn tally(&self) -> VerifierTally {
        self.tally
    }

    /// Whether this source answered for everything of late.
    pub fn is_proxy(&self, source: Source, now: Timestamp) -> bool {
        self.proxies.get(&source).is_some_and(|until| now < *until)
    }

    /// The quarantine of an address that somebody answered for is over.
    pub fn forget_answer(&mut self, resource: Resource) {
        self.answers.retain(|_, set| {
            set.remove(&resource);
            !set.is_empty()
        });
    }

    /// Notes that `source` answered for `resource`; whether that makes it a proxy, and then all
    /// it answered for.
    fn answered(
        &mut self,
        source: Source,
        resource: Resource,
        now: Timestamp,
    ) -> Option<BTreeSet<Resource>> {
        if self.answers.len() >= SOURCES_MAX && !self.answers.contains_key(&source) {
            self.answers.pop_first();
        }
        let set = self.answers.entry(source).or_default();
        set.insert(resource);
        if set.len() <= ANSWERS_MAX {
            return None;
        }
        if self.proxies.len() >= SOURCES_MAX {
            self.proxies.pop_first();
        }
        self.proxies.insert(source, now + PROXY_TIME);
        self.answers.remove(&source)
    }

    /// Takes what one question costs, if there is as much.
    pub(super) fn may_ask(&mut self) -> bool {
        let may = self.credit >= 1000;
        if may {
            self.credit -= 1000;
            self.tally.probed += 1;
        }
        may
    }

    /// When there may be enough for a question.
    pub(super) fn next_credit(&self) -> Timestamp {
        if self.credit >= 1000 { Timestamp(0) } else { self.credited + STEP }
    }

    fn refill(&mut self, now: Timestamp) {
        let rate = u64::from(self.probes_per_s);
        let earned = now.since(self.credited).0.saturating_mul(rate);
        // At most a tenth of a second's worth at once: no burst of broadcasts.
        self.credit = self.credit.saturating_add(earned).min((rate * 100).max(1000));
        self.credited = now;
    }
}

impl Net {
    /// Begins all proofs under way anew.
    pub(super) fn abandon_proofs(&mut self) {
        for (_, pool, value) in std::mem::take(&mut self.verifier.probing) {
            let pool = match pool {
                PoolAt::V4(index) => self.pools.get_mut(index),
                PoolAt::V6(index) => self.pools6.get_mut(index),
            };
            if let Some(pool) = pool {
                pool.free.abandon_proof(value);
                self.verifier.short = true;
            }
        }
    }
}

/// One turn of the verifier on one network.
struct Turn<'a> {
    now: Timestamp,
    policy: Verify,
    links: Vec<LinkId>,
    verifier: &'a mut Verifier,
    fx: &'a mut Effects,
}

impl Turn<'_> {
    /// Begins proofs until enough of a pool is proven or being proved, as far as the rate allows.
    /// `aim` chooses where in the pool to look.
    fn fill(&mut self, pool: &mut Pool, at: PoolAt, mut aim: impl FnMut(&mut Pool)) {
        let until = self.now + self.policy.wait;
        pool.age(self.now, self.policy.fresh);
        while pool.checked() < self.policy.ready {
            if self.verifier.credit < 1000 {
                self.verifier.short = true;
                return;
            }
            aim(pool);
            let Some(value) = pool.start_proof(until) else { return };
            self.verifier.credit -= 1000;
            self.verifier.tally.probed += 1;
            self.verifier.probing.push_back((until, at, value));
            let target: IpAddr = match at {
                PoolAt::V4(_) => address(value).into(),
                PoolAt::V6(_) => Ipv6Addr::from_bits(value).into(),
            };
            let asked = self.links.iter().map(|link| Probe { link: *link, to: None, target });
            self.fx.probes.extend(asked);
        }
    }
}

impl Engine {
    /// Counts silent probes as proofs and sends new ones, within the rate.
    pub(super) fn run_verifier(&mut self, now: Timestamp, fx: &mut Effects) {
        let policy = self.policy.clone();
        for (net, network) in policy.networks.iter().enumerate() {
            if network.verify.enabled {
                self.finish_proofs(now, net);
                self.start_proofs(now, net, network, fx);
            }
        }
    }

    /// When the verifier has something to do.
    pub(super) fn next_proof(&self) -> Option<Timestamp> {
        let policy = &self.policy.networks;
        let of = |(net, network): (&super::network::Net, &Network)| {
            let verify = network.verify;
            let live = verify.enabled && self.links.values().any(|up| up.network == network.id);
            let v = &net.verifier;
            let pools = net.pools.iter().chain(&net.pools6);
            let stale = pools.filter_map(|p| p.free.next_stale(verify.fresh));
            stale
                .chain(v.probing.front().map(|(at, ..)| *at))
                .chain(v.short.then(|| v.credited + STEP))
                .min()
                .filter(|_| live)
        };
        self.nets.iter().zip(policy).filter_map(of).min()
    }

    fn finish_proofs(&mut self, now: Timestamp, net: usize) {
        let net = &mut self.nets[net];
        while let Some((at, pool, value)) = net.verifier.probing.front().copied() {
            if at > now {
                return;
            }
            net.verifier.probing.pop_front();
            let pool = match pool {
                PoolAt::V4(index) => net.pools.get_mut(index),
                PoolAt::V6(index) => net.pools6.get_mut(index),
            };
            let proven = pool.is_some_and(|pool| pool.free.prove(value, now));
            net.verifier.tally.proven += u64::from(proven);
        }
    }

    fn start_proofs(&mut self, now: Timestamp, at: usize, network: &Network, fx: &mut Effects) {
        let served = || self.links.values().filter(|up| up.network == network.id);
        let links: Vec<LinkId> = served().map(|up| up.link).collect();
        let Net { pools, pools6, verifier, .. } = &mut self.nets[at];
        verifier.refill(now);
        verifier.short = false;
        if links.is_empty() {
            return;
        }
        let mut turn = Turn { now, policy: network.verify, links, verifier, fx };
        for (index, pool) in pools.iter_mut().enumerate() {
            let Some(subnet) = network.subnets.get(pool.subnet) else { continue };
            let own = |up: &LinkUp| up.addrs.iter().any(|(addr, _)| subnet.prefix.contains(*addr));
            if network.is_local(subnet.prefix) || served().any(own) {
                turn.fill(&mut pool.free, PoolAt::V4(index), |_| {});
            }
        }
        for (index, pool) in pools6.iter_mut().enumerate() {
            let Some(subnet) = network.subnets6.get(pool.subnet) else { continue };
            let Some(of) = subnet.pools.get(pool.index) else { continue };
            let own = |up: &LinkUp| up.addrs6.iter().any(|addr| subnet.prefix.contains(*addr));
            // Which address of a stable pool is next depends on the client.
            let in_order = of.generate != Generate::Stable;
            if !in_order || !(network.is_local6(subnet) || served().any(own)) {
                continue;
            }
            turn.fill(&mut pool.free, PoolAt::V6(index), |free| {
                if of.generate == Generate::Random {
                    free.look_from(self.lots.draw(of.first.to_bits(), of.last.to_bits()));
                }
            });
        }
    }

    /// A pool changed, so its queue may be short again.
    pub(super) fn wake_verifier(&mut self, network: NetworkId) {
        if let Some(net) = self.net_index(network) {
            self.nets[net].verifier.short = true;
        }
    }

    /// Somebody was heard using `addr`; news if we think it free.
    pub(super) fn verifier_heard(
        &mut self,
        now: Timestamp,
        net: usize,
        addr: IpAddr,
        mac: Mac,
        source: Source,
        fx: &mut Effects,
    ) {
        let Some(network) = self.policy.networks.get(net) else { return };
        let is_shadow = self.is_unpromised_shadow(network.id, addr.into());
        if network.verify.enabled && (is_shadow || self.nets[net].is_checked(network, addr)) {
            self.nets[net].verifier.tally.answered += 1;
            self.in_use(now, net, addr, mac, source, fx);
        }
    }

    /// `addr` is free by our books, and `mac` has it: out of use for a while. A machine that
    /// answers for everything is told about once and believed no more.
    pub(super) fn in_use(
        &mut self,
        now: Timestamp,
        net: usize,
        addr: impl Into<IpAddr>,
        mac: Mac,
        source: Source,
        fx: &mut Effects,
    ) {
        let resource = Resource::from(addr.into());
        let Some(network) = self.policy.networks.get(net) else { return };
        let (id, quarantine) = (network.id, network.quarantine);
        if self.answered_for_pair(now, id, resource, mac, fx) {
            return;
        }
        if let Some(answered) = self.nets[net].verifier.answered(source, resource, now) {
            self.unmask(now, net, mac, answered, fx);
            return;
        }
        self.take_from_pool(id, resource);
        self.wake_verifier(id);
        self.shadow_taken(now, id, resource);
        if !self.store_ok {
            self.nets[net].verifier.set_aside.insert(resource);
            return;
        }
        let hw = HwAddr::ethernet(mac);
        let before = self.table.get(id, resource).cloned();
        self.put(
            Lease {
                network: id,
                resource,
                client: before.as_ref().map_or(ClientKey::hardware(&hw), |l| l.client.clone()),
                hw: before.as_ref().map_or(hw, |l| l.hw),
                state: State::Quarantined(QuarantineReason::InUse(mac)),
                since: now,
                updated: now,
                until: now + quarantine,
                port: None,
                uses: before.as_ref().map_or(Uses::NONE, |l| l.uses),
                details: before.map(|l| l.details).unwrap_or_default(),
            },
            Cause::InUse,
            fx,
        );
        self.say(now, Some(id), EventKind::InUse(resource, mac), fx);
    }

    /// What a proxy answered for is free after all.
    fn unmask(
        &mut self,
        now: Timestamp,
        net: usize,
        mac: Mac,
        answered: BTreeSet<Resource>,
        fx: &mut Effects,
    ) {
        let id = self.nets[net].id;
        self.say(now, Some(id), EventKind::Proxy(mac), fx);
        for resource in answered {
            let in_use = self
                .table
                .get(id, resource)
                .is_some_and(|l| matches!(l.state, State::Quarantined(QuarantineReason::InUse(_))));
            if self.store_ok && in_use {
                self.forget(id, resource, Some(now), fx);
            }
        }
    }

    /// The store writes again: what could not be noted goes back to be proved anew.
    pub(super) fn restore_set_aside(&mut self) {
        for net in 0..self.nets.len() {
            let id = self.nets[net].id;
            for resource in std::mem::take(&mut self.nets[net].verifier.set_aside) {
                self.settle(id, resource);
            }
        }
    }
}
