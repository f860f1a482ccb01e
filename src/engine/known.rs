//! Clients that are known by name: instances, and reservations made at run time.

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::{HwAddr, Mac, NetworkId, Resource, Timestamp};
use crate::lease::directory::{Entry, Identifier, Identifiers, Instance, Kept};
use crate::lease::{Held, Lease, Owner, State};
use crate::wire::{Hop, Message, RelayInfo};

use super::Engine;
use super::context::Ctx;
use super::effects::{DropReason, Effects};
use super::request::Request;
use super::settings::Chain;
use super::v6::context::Ctx6;

impl Engine {
    /// Who sends a DHCPv4 message, if it is known by name. The hardware address comes first: clones
    /// share their identifiers, and what stands behind a port may be more than one machine.
    pub(super) fn known4(
        &self,
        network: NetworkId,
        msg: &Message<'_>,
        hw: &HwAddr,
        relay: Option<&RelayInfo<'_>>,
    ) -> Option<Arc<Kept>> {
        if self.directory.is_empty() {
            return None;
        }
        let mac = hw.mac();
        let find = |id: Identifier<'_>| self.found(network, id, mac);
        let by_mac = mac.and_then(|mac| find(Identifier::Mac(mac)));
        let id = || msg.client_id().and_then(|id| find(Identifier::ClientId(&id)));
        let port = || relay?.circuit_id().and_then(|id| find(Identifier::Port(id)));
        by_mac.or_else(id).or_else(port)
    }

    /// The same of DHCPv6.
    pub(super) fn known6(
        &self,
        network: NetworkId,
        duid: &[u8],
        hw: Option<&HwAddr>,
        hops: &[Hop<'_>],
    ) -> Option<Arc<Kept>> {
        if self.directory.is_empty() {
            return None;
        }
        let mac = hw.and_then(HwAddr::mac);
        let find = |id: Identifier<'_>| self.found(network, id, mac);
        let by_mac = mac.and_then(|mac| find(Identifier::Mac(mac)));
        let by_duid = || find(Identifier::Duid(duid)).filter(|_| !duid.is_empty());
        let port = || hops.last()?.interface_id().and_then(|id| find(Identifier::Port(id)));
        by_mac.or_else(by_duid).or_else(port)
    }

    /// Who is known by one identifier, unless it is known to have other hardware.
    fn found(&self, network: NetworkId, id: Identifier<'_>, mac: Option<Mac>) -> Option<Arc<Kept>> {
        let kept = self.directory.find(network, id)?;
        let other = mac.is_some() && kept.who.mac.is_some() && kept.who.mac != mac;
        (!other).then(|| Arc::clone(kept))
    }

    /// Whether `resource` is kept for somebody else than `own`.
    pub(super) fn is_kept_for_other(
        &self,
        network: NetworkId,
        resource: Resource,
        own: Option<&Kept>,
    ) -> bool {
        let keeper = self.directory.keeper(network, resource);
        keeper.is_some_and(|keeper| !own.is_some_and(|own| std::ptr::eq(own, &**keeper)))
    }

    /// The DUID of a machine that was known by its MAC alone, as part of the open batch. One that
    /// another machine has is a clone's, and says nothing.
    pub(super) fn note_duid(&mut self, ctx: &Ctx6<'_>, fx: &mut Effects) {
        let Some(kept) = ctx.kept.filter(|kept| kept.who.duid.is_none()) else { return };
        let Some(id) = kept.instance.as_deref() else { return };
        let taken = self.directory.find(ctx.id(), Identifier::Duid(ctx.duid)).is_some();
        let Some(instance) = self.directory.instance(id).filter(|_| !taken) else { return };
        let mut parts = instance.kept.parts();
        parts.who.duid = Some(ctx.duid.into());
        let instance = Instance {
            kept: Arc::new(Kept::new(parts)),
            duid_seen: true,
            ..Instance::clone(instance)
        };
        self.enter(Entry::Instance(Arc::new(instance)), fx);
    }

    /// Live bindings of a MAC on a network; few.
    pub fn bindings_of_mac(&self, network: NetworkId, mac: Mac) -> Vec<Lease> {
        let who = Identifiers { mac: Some(mac), ..Identifiers::default() };
        let Some(hw) = who.hw() else { return Vec::new() };
        let live = |lease: &&Lease| lease.state == State::Leased;
        self.table.of_hw(network, &hw).filter(live).cloned().collect()
    }

    /// The machine that `identifier` is of by what a guest said alone: it gives way to whoever names
    /// it.
    pub(super) fn seen_only(
        &self,
        network: NetworkId,
        identifier: Identifier<'_>,
    ) -> Option<&Arc<Instance>> {
        let Identifier::Duid(_) = identifier else { return None };
        let kept = self.directory.find(network, identifier)?;
        self.directory.instance(kept.instance.as_deref()?).filter(|instance| instance.duid_seen)
    }

    /// Takes a DUID that was only seen off its machine, as part of the open batch: it is named for
    /// another.
    pub(super) fn free_seen(
        &mut self,
        network: NetworkId,
        who: &Identifiers,
        own: Option<&str>,
        fx: &mut Effects,
    ) {
        let Some(duid) = who.duid.as_deref() else { return };
        let seen = self.seen_only(network, Identifier::Duid(duid));
        let Some(instance) = seen.filter(|of| Some(&*of.id) != own).cloned() else { return };
        let mut parts = instance.kept.parts();
        parts.who.duid = None;
        let kept = Arc::new(Kept::new(parts));
        let instance = Instance { kept, duid_seen: false, ..Instance::clone(&instance) };
        self.enter(Entry::Instance(Arc::new(instance)), fx);
    }

    /// Counts the beginning of an exchange for its owner.
    pub(super) fn admit4(
        &mut self,
        ctx: &Ctx<'_>,
        request: Request,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let begins = matches!(
            request,
            Request::Discover { .. }
                | Request::Reboot { .. }
                | Request::Inform { .. }
                | Request::Bootp
        );
        // What has waited for the wire was counted before.
        let counts = begins && ctx.proofs.is_empty() && !self.directory.accounts().is_empty();
        let owner = counts.then(|| ctx.owner(None)).flatten();
        self.admit(ctx.now, ctx.id(), owner, fx)
    }

    /// The same of DHCPv6.
    pub(super) fn admit6(
        &mut self,
        ctx: &Ctx6<'_>,
        begins: bool,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let counts = begins && ctx.proofs.is_empty() && !self.directory.accounts().is_empty();
        let owner = counts.then(|| ctx.owner(None)).flatten();
        self.admit(ctx.now, ctx.id(), owner, fx)
    }

    fn admit(
        &mut self,
        now: Timestamp,
        network: NetworkId,
        owner: Option<Owner>,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let Some(met) = self.request_met(now, owner.as_ref()) else { return Ok(()) };
        self.say_met(now, network, met, fx);
        Err(DropReason::AccountRate)
    }

    /// Whether a client may have one binding more by the limits of its account. Who has one, or has
    /// one kept for it, does not need another.
    pub(super) fn account_has_room(&mut self, ctx: &Ctx<'_>, fx: &mut Effects) -> bool {
        if self.directory.accounts().is_empty() || ctx.reservation.is_some() {
            return true;
        }
        let owner = ctx.owner(None);
        let one = Held { addresses: 1, prefixes: 0 };
        let Some(met) = self.limit_met(owner.as_ref(), one) else { return true };
        if self.bindings_of(ctx).any(|l| l.state == crate::lease::State::Leased) {
            return true;
        }
        self.say_met(ctx.now, ctx.id(), met, fx);
        false
    }
}

impl Ctx<'_> {
    /// The account and application of the client, with that address.
    pub fn owner(&self, addr: Option<std::net::Ipv4Addr>) -> Option<Owner> {
        let chain = Chain::of(self, addr, None);
        chain.account().map(|account| (Arc::clone(account), chain.application().cloned()))
    }

    /// Whether the client is known by its hardware address, and by what its identifier says only
    /// after that.
    pub fn is_registered(&self) -> bool {
        self.kept.is_some_and(|kept| kept.who.mac.is_some() && kept.who.mac == self.hw.mac())
    }
}

impl Ctx6<'_> {
    /// The account and application of the client, with that address or prefix.
    pub fn owner(&self, about: Option<Resource>) -> Option<Owner> {
        let chain = self.chain(about);
        chain.account().map(|account| (Arc::clone(account), chain.application().cloned()))
    }

    /// Whether the client is known by its hardware address.
    pub fn is_registered(&self) -> bool {
        let own = self.hw.and_then(|hw| hw.mac());
        self.kept.is_some_and(|kept| kept.who.mac.is_some() && kept.who.mac == own)
    }
}

/// Addresses by which the wire can be asked whether somebody still has a resource.
pub(super) fn asked_for(resource: Resource, next_hop: Option<IpAddr>) -> Vec<IpAddr> {
    match resource {
        Resource::V4(addr) => vec![addr.into()],
        Resource::V6(addr) => vec![addr.into()],
        Resource::Prefix6(..) => next_hop.into_iter().collect(),
    }
}
