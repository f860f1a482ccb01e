//! Addresses of destroyed instances. The guest may still speak: so each is kept back until the wire
//! is silent, asked a few times at once and then ever more seldom; where nobody can be asked, until
//! its lease would have run out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::{NetworkId, Resource, Span, Timestamp};
use crate::config::policy::{Hold, Network};
use crate::lease::{Cause, Lease, Owner, QuarantineReason, State};

use super::Engine;
use super::effects::{Effects, EventKind, LinkUp, Probe};
use super::known::asked_for;
use super::network::Net;

/// How often the wire must be silent, one time after the other.
const SILENCES: u8 = 3;
/// How long after an answer it is asked again, at first and at most.
const AGAIN_FIRST: Span = Span::from_secs(5);
const AGAIN_MAX: Span = Span::from_secs(300);
/// How long an address without an end of its own is kept back.
const FOREVER_HOLD: Span = Span::from_secs(86_400);
/// Questions of one turn on one network; the rest follow 50 ms later.
const PER_TURN: usize = 64;
const STEP: Span = Span::from_ms(50);

/// The addresses of one network that are kept back.
#[derive(Debug, Default)]
pub struct Farewells {
    of: BTreeMap<Resource, Farewell>,
    due: BTreeSet<(Timestamp, Resource)>,
    /// Whom is asked, about what.
    asked: BTreeSet<(IpAddr, Resource)>,
    /// Kept back no longer, and never found silent; until the end of their time is durable.
    doubted: BTreeSet<Resource>,
}

#[derive(Clone, Debug)]
struct Farewell {
    due: Timestamp,
    /// Not before then, silent or not.
    not_before: Timestamp,
    whom: Vec<IpAddr>,
    /// Questions that nobody answered, one after the other.
    silent: u8,
    /// One was sent, and its answer may still come.
    pending: bool,
    again: Span,
}

impl Farewells {
    /// When something is to be done.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    fn insert(&mut self, resource: Resource, farewell: Farewell) {
        self.remove(resource);
        self.due.insert((farewell.due, resource));
        self.asked.extend(farewell.whom.iter().map(|addr| (*addr, resource)));
        self.of.insert(resource, farewell);
    }

    fn remove(&mut self, resource: Resource) -> Option<Farewell> {
        let farewell = self.of.remove(&resource)?;
        self.due.remove(&(farewell.due, resource));
        for addr in &farewell.whom {
            self.asked.remove(&(*addr, resource));
        }
        Some(farewell)
    }

    fn about(&self, addr: IpAddr) -> Vec<Resource> {
        let lowest = Resource::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let of = self.asked.range((addr, lowest)..).take_while(|(asked, _)| *asked == addr);
        of.map(|(_, resource)| *resource).collect()
    }

    /// Somebody answered for `addr`.
    pub fn heard(&mut self, now: Timestamp, addr: IpAddr) {
        for resource in self.about(addr) {
            let Some(mut farewell) = self.remove(resource) else { continue };
            (farewell.silent, farewell.pending) = (0, false);
            farewell.due = now + farewell.again;
            farewell.again = Span(farewell.again.0 * 2).min(AGAIN_MAX);
            self.insert(resource, farewell);
        }
    }

    /// The time of `resource` is over. Whoever had it may have it still, if it was found in use, or
    /// was asked for and never found silent since the last answer.
    pub fn lapsed(&mut self, resource: Resource, reason: QuarantineReason) {
        let spoke = self.of.get(&resource).is_some_and(|farewell| farewell.silent == 0);
        if spoke || matches!(reason, QuarantineReason::InUse(_)) {
            self.doubted.insert(resource);
        }
    }

    /// Whether somebody may still have what comes free now. Says so once.
    pub fn take_doubt(&mut self, resource: Resource) -> bool {
        self.doubted.remove(&resource)
    }

    /// Answers may have been missed: what was asked says nothing.
    pub fn deaf(&mut self) {
        for farewell in self.of.values_mut() {
            farewell.pending = false;
        }
    }
}

impl Net {
    /// What was out of use is so no longer.
    pub(super) fn time_is_over(&mut self, resource: Resource, reason: QuarantineReason) {
        self.farewells.lapsed(resource, reason);
        if let QuarantineReason::InUse(_) = reason {
            self.verifier.forget_answer(resource);
        }
    }
}

impl Engine {
    /// Keeps what an instance had back until it is gone from the wire, as part of the open batch.
    pub(super) fn send_off(
        &mut self,
        now: Timestamp,
        lease: &Lease,
        owner: Option<&Owner>,
        fx: &mut Effects,
    ) {
        let Some(at) = self.net_index(lease.network) else { return };
        let hold = self.hold_of(at, owner);
        let rest = match lease.until {
            Timestamp::NEVER => now + FOREVER_HOLD,
            until => until,
        };
        let until = hold.max.map_or(rest, |max| rest.min(now + max));
        let not_before = hold.min.map_or(now, |min| now + min);
        let until = until.max(not_before).max(now);
        let state = State::Quarantined(QuarantineReason::Leaving);
        let left = Lease { state, until, updated: now, ..lease.clone() };
        self.put(left.clone(), Cause::InstanceEnded, fx);
        self.say(now, Some(lease.network), EventKind::Released(Box::new(lease.clone())), fx);
        self.watch(&left, not_before);
    }

    /// Asks after an address that is kept back, if that can be done.
    pub(super) fn watch(&mut self, lease: &Lease, not_before: Timestamp) {
        let policy = Arc::clone(&self.policy);
        let Some(at) = self.net_index(lease.network) else { return };
        let Some(network) = policy.networks.get(at) else { return };
        let hop = lease.details.next_hop.as_ref().filter(|hop| hop.link.is_some());
        let whom = asked_for(lease.resource, hop.map(|hop| hop.addr.into()));
        let can_ask = network.verify.enabled
            && lease.details.relay.is_none()
            && !whom.is_empty()
            && self.is_on_link(network, lease.resource);
        let due = not_before.max(lease.updated);
        let farewell =
            Farewell { due, not_before, whom, silent: 0, pending: false, again: AGAIN_FIRST };
        if let Some(net) = self.nets.get_mut(at).filter(|_| can_ask) {
            net.farewells.insert(lease.resource, farewell);
        }
    }

    /// Begins anew to ask after all that is kept back.
    pub(super) fn watch_all(&mut self) {
        let leaving = |l: &&Lease| l.state == State::Quarantined(QuarantineReason::Leaving);
        let all: Vec<Lease> = self.table.iter().filter(leaving).cloned().collect();
        for lease in all {
            let owner = lease.details.account.clone();
            let owner = owner.map(|account| (account, lease.details.application.clone()));
            let Some(at) = self.net_index(lease.network) else { continue };
            let hold = self.hold_of(at, owner.as_ref());
            let not_before = hold.min.map_or(lease.updated, |min| lease.updated + min);
            self.watch(&lease, not_before);
        }
    }

    /// What could not be freed on disk is asked after anew.
    pub(super) fn watch_again(&mut self, network: NetworkId, resource: Resource) {
        let leaving = State::Quarantined(QuarantineReason::Leaving);
        let lease = self.table.get(network, resource).filter(|lease| lease.state == leaving);
        if let Some(lease) = lease.cloned() {
            self.watch(&lease, lease.updated);
        }
    }

    /// When the next question is due.
    pub(super) fn next_farewell(&self) -> Option<Timestamp> {
        let live = |id: NetworkId| self.links.values().any(|up| up.network == id);
        let nets = self.nets.iter().filter(|net| live(net.id));
        nets.filter_map(|net| net.farewells.next_due()).min().filter(|_| self.store_ok)
    }

    /// Asks, and frees what has been silent often enough.
    pub(super) fn run_farewells(&mut self, now: Timestamp, fx: &mut Effects) {
        if !self.store_ok {
            return;
        }
        let policy = Arc::clone(&self.policy);
        for (at, network) in policy.networks.iter().enumerate() {
            let served = self.links.values().filter(|up| up.network == network.id);
            let links: Vec<_> = served.map(|up| up.link).collect();
            if links.is_empty() {
                continue;
            }
            for asked in 0.. {
                let Some(net) = self.nets.get_mut(at) else { break };
                let Some((_, resource)) = net.farewells.due.first().copied() else { break };
                if net.farewells.next_due().is_none_or(|due| due > now) {
                    break;
                }
                let Some(mut farewell) = net.farewells.remove(resource) else { break };
                if asked >= PER_TURN {
                    farewell.due = now + STEP;
                    net.farewells.insert(resource, farewell);
                    continue;
                }
                self.bid_farewell(now, network, resource, farewell, &links, fx);
            }
        }
    }

    fn bid_farewell(
        &mut self,
        now: Timestamp,
        network: &Network,
        resource: Resource,
        mut farewell: Farewell,
        links: &[crate::base::LinkId],
        fx: &mut Effects,
    ) {
        let leaving = State::Quarantined(QuarantineReason::Leaving);
        let lease = self.table.get(network.id, resource);
        if lease.is_none_or(|lease| lease.state != leaving) {
            return;
        }
        farewell.silent += u8::from(std::mem::take(&mut farewell.pending));
        if farewell.silent >= SILENCES && now >= farewell.not_before {
            self.forget(network.id, resource, Some(now), fx);
            return;
        }
        for target in &farewell.whom {
            let probe =
                |link: &crate::base::LinkId| Probe { link: *link, to: None, target: *target };
            fx.probes.extend(links.iter().map(probe));
        }
        farewell.pending = true;
        farewell.due = now + network.verify.wait;
        if let Some(net) = self.net_index(network.id).and_then(|at| self.nets.get_mut(at)) {
            net.farewells.insert(resource, farewell);
        }
    }

    /// What holds for an owner's addresses on a network.
    fn hold_of(&self, at: usize, owner: Option<&Owner>) -> Hold {
        let outer = self.policy.networks.get(at).map(|n| n.hold).unwrap_or_default();
        let Some((account, application)) = owner else { return outer };
        let (account, application) =
            self.directory.accounts().terms(account, application.as_deref());
        let hold = |terms: Option<&crate::config::policy::Terms>| {
            terms.map(|terms| terms.hold).unwrap_or_default()
        };
        hold(application).or(hold(account)).or(outer)
    }

    /// Whether the holder of `resource` is on a link of ours, and not behind a relay.
    pub(super) fn is_on_link(&self, network: &Network, resource: Resource) -> bool {
        let served = || self.links.values().filter(|up| up.network == network.id);
        match resource {
            Resource::V4(addr) => network.subnet_of(addr).is_some_and(|subnet| {
                let own = |up: &LinkUp| up.addrs.iter().any(|(a, _)| subnet.prefix.contains(*a));
                network.is_local(subnet.prefix) || served().any(own)
            }),
            Resource::V6(addr) => {
                let subnet = network.subnets6.iter().find(|s| s.prefix.contains(addr));
                subnet.is_some_and(|subnet| {
                    let own = |up: &LinkUp| up.addrs6.iter().any(|a| subnet.prefix.contains(*a));
                    network.is_local6(subnet) || served().any(own)
                })
            }
            Resource::Prefix6(..) => !network.interfaces.is_empty(),
        }
    }
}
