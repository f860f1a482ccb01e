//! Whether the addresses of shadows are still free is asked of the wire from time to time, with what
//! the verifier may send beside its own questions.

use std::collections::VecDeque;
use std::net::IpAddr;

use hashbrown::HashSet;

use crate::base::{LinkId, NetworkId, Resource, Timestamp};
use crate::config::policy::Network;
use crate::engine::Engine;
use crate::engine::effects::{Effects, Probe};
use crate::lease::{Line, State};

/// The shadows of one network by when their addresses are asked about next.
#[derive(Debug, Default)]
pub struct Reproofs {
    /// Ascending, but for what is due at once.
    due: VecDeque<(Timestamp, Resource)>,
    /// Asked about; when silence counts.
    asked: VecDeque<(Timestamp, Resource)>,
    /// All that is in one of them.
    watched: HashSet<Resource>,
}

impl Reproofs {
    /// When something is to be done.
    pub fn next(&self) -> Option<Timestamp> {
        let first = |queue: &VecDeque<(Timestamp, Resource)>| queue.front().map(|(at, _)| *at);
        [first(&self.due), first(&self.asked)].into_iter().flatten().min()
    }

    /// Answers may have been missed: what was asked is asked again.
    pub fn deaf(&mut self) {
        for (at, resource) in std::mem::take(&mut self.asked) {
            self.due.push_front((at, resource));
        }
    }
}

impl Engine {
    /// Begins to ask after the address of a shadow.
    pub(super) fn watch_shadow(
        &mut self,
        now: Timestamp,
        net: usize,
        resource: Resource,
        proven: bool,
    ) {
        let again = now + self.policy.shadow.verify_every;
        let Some(net) = self.nets.get_mut(net) else { return };
        if !net.reproofs.watched.insert(resource) {
            return;
        }
        match proven {
            true => net.reproofs.due.push_back((again, resource)),
            false => net.reproofs.due.push_front((now, resource)),
        }
    }

    /// Begins anew to ask after all shadows of all networks.
    pub(in crate::engine) fn watch_all_shadows(&mut self) {
        self.nets.iter_mut().for_each(|net| net.reproofs = Reproofs::default());
        let shadows = self.table.iter().filter(|lease| lease.state == State::Shadow);
        let all: Vec<(NetworkId, Resource)> = shadows.map(|l| (l.network, l.resource)).collect();
        for (network, resource) in all {
            self.watch_anew(network, resource);
        }
    }

    /// Asks after the address of a shadow that is not known to be free; where nobody can be asked,
    /// it is as good as proven. Nothing happens to what is no shadow.
    pub(in crate::engine) fn watch_anew(&mut self, network: NetworkId, resource: Resource) {
        let Some(lease) = self.table.get(network, resource) else { return };
        let (Some(line), since) = (Line::of(lease), lease.since) else { return };
        let policy = std::sync::Arc::clone(&self.policy);
        let Some(at) = self.net_index(network) else { return };
        let Some(of) = policy.networks.get(at) else { return };
        let proven = self.table.shadows().proven(&line, resource).is_some();
        match self.can_ask_about(of, resource) {
            true => self.watch_shadow(Timestamp(0), at, resource, false),
            false if !proven => {
                self.table.shadows_mut().set_proven(&line, resource, Some(since));
            }
            false => {}
        }
    }

    /// Whether the wire can say who has an address.
    pub(super) fn can_ask_about(&self, network: &Network, resource: Resource) -> bool {
        network.verify.enabled && self.is_on_link(network, resource)
    }

    /// Asks what is due, within the rate of the verifier, and counts silence as proof.
    pub(in crate::engine) fn run_reproofs(&mut self, now: Timestamp, fx: &mut Effects) {
        let policy = std::sync::Arc::clone(&self.policy);
        let again = now + policy.shadow.verify_every;
        for (at, network) in policy.networks.iter().enumerate() {
            self.finish_reproofs(now, at, again);
            let served = self.links.values().filter(|up| up.network == network.id);
            let links: Vec<LinkId> = served.map(|up| up.link).collect();
            let Some(net) = self.nets.get_mut(at).filter(|_| !links.is_empty()) else { continue };
            while let Some((due, resource)) = net.reproofs.due.front().copied() {
                if due > now {
                    break;
                }
                let lease = self.table.get(network.id, resource);
                if lease.is_none_or(|lease| lease.state != State::Shadow) {
                    net.reproofs.due.pop_front();
                    net.reproofs.watched.remove(&resource);
                    continue;
                }
                if !net.verifier.may_ask() {
                    break;
                }
                net.reproofs.due.pop_front();
                net.reproofs.asked.push_back((now + network.verify.wait, resource));
                let target: IpAddr = match resource {
                    Resource::V4(addr) => addr.into(),
                    Resource::V6(addr) | Resource::Prefix6(addr, _) => addr.into(),
                };
                let probe = |link: &LinkId| Probe { link: *link, to: None, target };
                fx.probes.extend(links.iter().map(probe));
            }
        }
    }

    fn finish_reproofs(&mut self, now: Timestamp, at: usize, again: Timestamp) {
        let Some(net) = self.nets.get_mut(at) else { return };
        while let Some((until, resource)) = net.reproofs.asked.front().copied() {
            if until > now {
                return;
            }
            net.reproofs.asked.pop_front();
            let line = self.table.get(net.id, resource).and_then(Line::of);
            if let Some(line) = line {
                self.table.shadows_mut().set_proven(&line, resource, Some(now));
                net.reproofs.due.push_back((again, resource));
            } else {
                net.reproofs.watched.remove(&resource);
            }
        }
    }

    /// When something is to be asked or silence counts.
    pub(in crate::engine) fn next_reproof(&self) -> Option<Timestamp> {
        let live = |id: NetworkId| self.links.values().any(|up| up.network == id);
        let due = |net: &crate::engine::network::Net| {
            let asked = net.reproofs.next()?;
            // Until the rate allows it, there is nothing to do.
            Some(asked.max(net.verifier.next_credit()))
        };
        self.nets.iter().filter(|net| live(net.id)).filter_map(due).min()
    }
}
