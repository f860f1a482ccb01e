//! What must hold after every line of a scenario, whatever the line expects.

use std::collections::BTreeMap;

use foreshadow::base::{NetworkId, Prefix6, Resource};
use foreshadow::engine::{Destination, Effects, Engine, Input};
use foreshadow::lease::{Directory, Lease, State};
use foreshadow::wire::{Ia, IaKind, Kind6, Message6, MessageType6};

use super::check::is_v6;
use super::check6::unwrapped;
use super::tiers;
use super::world::{DUID, World};

impl World {
    pub(super) fn check_invariants(&mut self) -> Result<(), String> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        self.check_disk()?;
        self.check_facts()?;
        self.check_held()?;
        tiers::check(&self.engine)?;
        self.check_pools()
    }

    /// What is durable is what the engine believes, but for what it is still writing.
    fn check_disk(&self) -> Result<(), String> {
        for lease in self.engine.leases().iter() {
            let key = (lease.network, lease.resource);
            let pending = self.engine.leases().is_pending(key.0, key.1);
            if !pending && self.disk.get(&key).is_none_or(|stored| !same(stored, lease)) {
                return Err(format!("{} is not on disk as it is in memory", lease.resource));
            }
        }
        let known = |key: &(NetworkId, Resource)| {
            self.engine.leases().get(key.0, key.1).is_some()
                || self.engine.leases().is_pending(key.0, key.1)
        };
        match self.disk.keys().find(|key| !known(key)) {
            Some((_, resource)) => Err(format!("{resource} is on disk and not in memory")),
            None => Ok(()),
        }
    }

    /// What is durable of the directory is what the engine believes, but for what is on its way.
    fn check_facts(&self) -> Result<(), String> {
        if self.is_writing() {
            return Ok(());
        }
        let facts: BTreeMap<_, _> = self.engine.facts().collect();
        (facts == self.facts).then_some(()).ok_or("the directory is not on disk as it is".into())
    }

    /// What is bound or offered is free in no pool, and no prefix overlaps another.
    fn check_held(&self) -> Result<(), String> {
        let leases = self.engine.leases().iter().filter(|l| l.state.is_held());
        let leases = leases.map(|l| (l.network, l.resource, &l.client));
        let offers = self.engine.offers().iter().map(|o| (o.network, o.resource, &o.client));
        let held: Vec<_> = leases.chain(offers).collect();
        let all = held.iter().map(|(network, resource, _)| (*network, *resource));
        for (network, resource) in all.chain(self.engine.directory().held()) {
            let Some(net) = self.engine.networks().iter().find(|n| n.id == network) else {
                continue;
            };
            let free = match resource {
                Resource::V4(addr) => {
                    net.pools.iter().any(|p| p.free.is_free(u128::from(addr.to_bits())))
                }
                Resource::V6(addr) => net.pools6.iter().any(|p| p.free.is_free(addr.to_bits())),
                Resource::Prefix6(addr, len) => {
                    net.delegations.iter().any(|p| p.free.is_free(addr, len))
                }
            };
            if free {
                return Err(format!("{resource} is held, and free in its pool"));
            }
        }
        let prefixes: Vec<_> = held.iter().filter_map(|h| Some((h, prefix(h.1)?))).collect();
        for (i, (one, prefix)) in prefixes.iter().enumerate() {
            let other = prefixes[..i].iter().find(|(other, inside)| {
                one.0 == other.0 && (one.1, one.2) != (other.1, other.2) && prefix.overlaps(inside)
            });
            if let Some((other, _)) = other {
                return Err(format!("{} and {} overlap", one.1, other.1));
            }
        }
        Ok(())
    }

    /// Nothing is lost from the pools: what is free is what a restart would find free.
    fn check_pools(&self) -> Result<(), String> {
        let pending = |l: &Lease| self.engine.leases().is_pending(l.network, l.resource);
        let busy = self.engine.offers().iter().next().is_some()
            || self.engine.leases().iter().any(pending)
            || self.disk.len() != self.engine.leases().len()
            || self.is_writing();
        if busy || self.reloaded {
            return Ok(());
        }
        let leases = self.disk.values().cloned().collect();
        let mut fresh = Engine::new(self.policy.clone(), leases, self.last);
        fresh.load_facts(self.facts.clone()).map_err(|error| error.to_string())?;
        for up in self.links.clone() {
            fresh.handle(self.now, Input::LinkUp(up), &mut Effects::default());
        }
        let free = |engine: &Engine| -> Vec<u128> {
            let pools = engine.networks().iter().flat_map(|net| {
                let addrs = net.pools.iter().chain(&net.pools6).map(|p| p.free.available());
                addrs.chain(net.delegations.iter().map(|p| p.free.available()))
            });
            pools.collect()
        };
        let (is, ought) = (free(&self.engine), free(&fresh));
        (is == ought).then_some(()).ok_or(format!("{is:?} are free in the pools, not {ought:?}"))
    }

    /// Every DHCPv6 answer names both sides, and every REPLY tells of what is durable.
    pub(super) fn check_answers(&mut self, replies: &[(Destination, Vec<u8>)]) {
        let wrong = replies
            .iter()
            .filter(|(to, _)| is_v6(*to))
            .find_map(|(_, payload)| self.check_answer(payload).err());
        self.fault = self.fault.take().or(wrong);
    }

    fn check_answer(&self, payload: &[u8]) -> Result<(), String> {
        let (_, inner) = unwrapped(payload);
        let msg = Message6::parse(inner).map_err(|e| format!("malformed reply: {e}"))?;
        if msg.server_id() != Some(DUID) {
            return Err("an answer without our DUID".into());
        }
        let mut seen = Vec::new();
        for ia in msg.ias() {
            if seen.contains(&(ia.kind, ia.iaid)) {
                return Err(format!("two answers for IA {}", ia.iaid));
            }
            seen.push((ia.kind, ia.iaid));
            if msg.kind() == Kind6::Known(MessageType6::Reply) {
                self.check_promise(msg.client_id().unwrap_or_default(), &ia)?;
            }
        }
        Ok(())
    }

    /// Whether the record of a standby on disk says that it has this.
    fn is_told_standby(&self, resource: Resource, id: &[u8]) -> bool {
        let mut stored = Directory::default();
        let of = self.facts.iter().filter(|(name, _)| name.starts_with("standby/"));
        of.for_each(|(name, value)| drop(stored.load(name, value)));
        let mut told = stored.standbys().flat_map(|of| of.told.clone());
        told.any(|told| told.resource == resource && told.client.as_bytes().ends_with(id))
    }

    fn check_promise(&self, duid: &[u8], ia: &Ia<'_>) -> Result<(), String> {
        let addrs = ia.addrs().map(|a| (Resource::V6(a.addr), a.valid));
        let prefixes = ia.prefixes().map(|p| (Resource::Prefix6(p.prefix, p.len), p.valid));
        for (resource, valid) in addrs.chain(prefixes).filter(|(_, valid)| *valid > 0) {
            let id = [&ia.iaid.to_be_bytes(), duid].concat();
            let kept = |l: &&Lease| {
                l.resource == resource
                    && l.state == State::Leased
                    && l.client.as_bytes().ends_with(&id)
            };
            if self.is_told_standby(resource, &id) {
                continue;
            }
            let Some(lease) = self.disk.values().find(kept) else {
                return Err(format!("{resource} was promised, and is not on disk"));
            };
            // What a holding store kept back was decided a while ago.
            let least = lease.updated.0 + u64::from(valid) * 1000;
            if lease.until.0 < least && valid != u32::MAX {
                return Err(format!("{resource} ends before the client's time is over"));
            }
            if ia.kind == IaKind::Ta {
                return Err("an answer to an IA_TA".into());
            }
        }
        Ok(())
    }
}

fn prefix(resource: Resource) -> Option<Prefix6> {
    let Resource::Prefix6(addr, len) = resource else { return None };
    Prefix6::new(addr, len)
}

fn same(stored: &Lease, held: &Lease) -> bool {
    *stored == Lease { port: stored.port, ..held.clone() }
}
