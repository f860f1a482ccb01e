//! The background verifier: each pool keeps a queue of addresses that an ARP probe found silent
//! a short while ago, so that an OFFER takes one and waits for nothing (RFC 5227, RFC 2131 s3.1).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use crate::base::{ClientKey, HwAddr, LinkId, Mac, NetworkId, Resource, Span, Timestamp};
use crate::config::policy::{Network, Verify};
use crate::lease::{Lease, QuarantineReason, State};

use super::Engine;
use super::effects::{ArpOut, Effects, EventKind};
use super::network::{address, ordinal};

/// A source that answers for more unbound addresses than this is a proxy, or an attack.
const ANSWERS_MAX: usize = 3;
/// Most sources whose answers are remembered, per network.
const SOURCES_MAX: usize = 1024;
/// How long a proxy is not believed.
const PROXY_TIME: Span = Span::from_secs(600);
/// How often a pool that is short of proven addresses is looked at.
const STEP: Span = Span::from_ms(50);

/// Where answers come from: an access port, which cannot be forged, else a hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A port of the bridge.
    Port(LinkId),
    /// A machine behind we know not which port.
    Mac(Mac),
}

impl Source {
    /// The port, where it is known.
    pub fn of(port: Option<LinkId>, mac: Mac) -> Source {
        port.map_or(Source::Mac(mac), Source::Port)
    }
}

/// The verifier's state on one network.
#[derive(Debug, Default)]
pub struct Verifier {
    probes_per_s: u32,
    /// Probes under way: when silence counts as free, pool, address.
    probing: VecDeque<(Timestamp, usize, u128)>,
    /// Thousandths of probes that may be sent now.
    credit: u64,
    credited: Timestamp,
    short: bool,
    answers: BTreeMap<Source, BTreeSet<Resource>>,
    proxies: BTreeMap<Source, Timestamp>,
    /// Taken out of their pools while the store could not note why.
    set_aside: Vec<Ipv4Addr>,
}

impl Verifier {
    /// A verifier that has proved nothing yet.
    pub fn new(policy: &Verify) -> Verifier {
        Verifier { probes_per_s: policy.probes_per_s, short: policy.enabled, ..Verifier::default() }
    }

    /// Keeps what was learned about machines across a reload.
    pub fn inherit(&mut self, before: Verifier) {
        (self.answers, self.proxies) = (before.answers, before.proxies);
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

    fn refill(&mut self, now: Timestamp) {
        let rate = u64::from(self.probes_per_s);
        let earned = now.since(self.credited).0.saturating_mul(rate);
        // At most a tenth of a second's worth at once: no burst of broadcasts.
        self.credit = self.credit.saturating_add(earned).min((rate * 100).max(1000));
        self.credited = now;
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
            let stale = net.pools.iter().filter_map(|p| p.free.next_stale(verify.fresh));
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
            if let Some(pool) = net.pools.get_mut(pool) {
                pool.free.prove(value, now);
            }
        }
    }

    fn start_proofs(&mut self, now: Timestamp, at: usize, network: &Network, fx: &mut Effects) {
        let links: Vec<_> =
            self.links.values().filter(|up| up.network == network.id).map(|up| up.link).collect();
        let net = &mut self.nets[at];
        net.verifier.refill(now);
        net.verifier.short = false;
        if links.is_empty() {
            return;
        }
        let until = now + network.verify.wait;
        for (index, pool) in net.pools.iter_mut().enumerate() {
            pool.free.age(now, network.verify.fresh);
            if !network.subnets.get(pool.subnet).is_some_and(|s| network.is_local(s.prefix)) {
                continue;
            }
            while pool.free.checked() < network.verify.ready {
                if net.verifier.credit < 1000 {
                    net.verifier.short = true;
                    return;
                }
                let Some(value) = pool.free.start_proof(until) else { break };
                net.verifier.credit -= 1000;
                net.verifier.probing.push_back((until, index, value));
                fx.arps.extend(links.iter().map(|link| ArpOut {
                    link: *link,
                    to: Mac::BROADCAST,
                    sender_ip: Ipv4Addr::UNSPECIFIED,
                    target_ip: address(value),
                }));
            }
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
        addr: Ipv4Addr,
        mac: Mac,
        source: Source,
        fx: &mut Effects,
    ) {
        let Some(network) = self.policy.networks.get(net) else { return };
        let state = &self.nets[net];
        let checked = state
            .pool_of(network, addr)
            .and_then(|at| state.pools.get(at))
            .is_some_and(|pool| pool.free.is_checked(ordinal(addr)));
        if network.verify.enabled && checked {
            self.in_use(now, net, addr, mac, source, fx);
        }
    }

    /// `addr` is free by our books, and `mac` has it: out of use for a while. A machine that
    /// answers for everything is told about once and believed no more.
    pub(super) fn in_use(
        &mut self,
        now: Timestamp,
        net: usize,
        addr: Ipv4Addr,
        mac: Mac,
        source: Source,
        fx: &mut Effects,
    ) {
        let Some(network) = self.policy.networks.get(net) else { return };
        let (id, quarantine) = (network.id, network.quarantine);
        if let Some(answered) = self.nets[net].verifier.answered(source, addr.into(), now) {
            self.unmask(now, net, mac, answered, fx);
            return;
        }
        self.take_from_pool(id, addr.into());
        self.wake_verifier(id);
        if !self.store_ok {
            self.nets[net].verifier.set_aside.push(addr);
            return;
        }
        let hw = HwAddr::ethernet(mac);
        let before = self.table.get(id, addr.into()).cloned();
        self.put(
            Lease {
                network: id,
                resource: addr.into(),
                client: before.as_ref().map_or(ClientKey::hardware(&hw), |l| l.client.clone()),
                hw: before.as_ref().map_or(hw, |l| l.hw),
                state: State::Quarantined(QuarantineReason::InUse(mac)),
                since: now,
                updated: now,
                until: now + quarantine,
                port: None,
                details: before.map(|l| l.details).unwrap_or_default(),
            },
            fx,
        );
        self.say(now, Some(id), EventKind::InUse(addr.into(), mac), fx);
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
        self.say(now, Some(id), EventKind::ArpProxy(mac), fx);
        for resource in answered {
            let in_use = self
                .table
                .get(id, resource)
                .is_some_and(|l| matches!(l.state, State::Quarantined(QuarantineReason::InUse(_))));
            if self.store_ok && in_use {
                self.forget(id, resource, fx);
            }
        }
    }

    /// The store writes again: what could not be noted goes back to be proved anew.
    pub(super) fn restore_set_aside(&mut self) {
        for net in 0..self.nets.len() {
            let id = self.nets[net].id;
            for addr in std::mem::take(&mut self.nets[net].verifier.set_aside) {
                self.settle(id, addr.into());
            }
        }
    }
}
