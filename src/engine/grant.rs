//! How an address becomes an offer, and an offer a binding.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::base::{Span, Timestamp};
use crate::config::policy::Tier;
use crate::lease::{Cause, Details, Lease, Offer, State, Uses};

use super::Engine;
use super::choose::Chosen;
use super::classes::hostname;
use super::context::{Ctx, Path};
use super::effects::{DropReason, Effects, EventKind, Offered};
use super::relocate::is_draining;
use super::settings::{Chain, Times};
use super::v4::is_of;
use super::wake;

/// Names that resolvers and browsers trust without asking whose they are.
const SPECIAL_NAMES: [&str; 4] = ["localhost", "wpad", "isatap", "broadcasthost"];

/// What kind of grant it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// SELECTING, INIT-REBOOT or rapid commit.
    New,
    /// RENEWING or REBINDING.
    Extend,
    /// A live client of another server before us.
    Adopt,
    /// BOOTP: without end.
    Bootp,
}

/// What its client is told of a binding just written, which is durable once its batch is.
#[derive(Debug)]
pub struct Granted<'a> {
    /// How long it lasts.
    pub times: Times,
    /// The settings for its address.
    pub chain: Chain<'a>,
}

impl Engine {
    /// Holds an address for a client until it asks for it. Memory only.
    pub(super) fn offer(&mut self, ctx: &Ctx<'_>, chosen: &Chosen, fx: &mut Effects) {
        let offer = Offer {
            network: ctx.id(),
            resource: chosen.addr.into(),
            client: ctx.client.clone(),
            hw: ctx.hw,
            until: ctx.now + ctx.network.offer_hold,
            port: ctx.share(),
            priority: self.priority(ctx.owner(Some(chosen.addr)).as_ref()),
        };
        if !chosen.taken {
            self.take_from_pool(ctx.id(), offer.resource);
        }
        self.count_tier4(ctx, chosen.addr);
        self.wake_verifier(ctx.id());
        self.promise(ctx.id(), offer.resource, true);
        if let Some(before) = self.offers.insert(offer.clone()) {
            self.settle(ctx.id(), before);
        }
        let offered = Offered { offer, proven: chosen.proven };
        self.say(ctx.now, Some(ctx.id()), EventKind::Offered(Box::new(offered)), fx);
    }

    /// Binds `addr` to the client, as part of the open batch.
    pub(super) fn grant<'a>(
        &mut self,
        ctx: &Ctx<'a>,
        addr: Ipv4Addr,
        how: Grant,
        fx: &mut Effects,
    ) -> Result<Granted<'a>, DropReason> {
        if !self.store_ok {
            return Err(DropReason::StoreFailed);
        }
        if !self.port_has_room(ctx) {
            return Err(DropReason::PortFull);
        }
        let before = self.table.get(ctx.id(), addr.into()).filter(|l| is_of(l, ctx)).cloned();
        let reserved = ctx.reservation.is_some_and(|r| r.addr == addr);
        let extends = before.as_ref().is_some_and(|l| l.state == State::Leased);
        if !extends && !self.account_has_room(ctx, fx) {
            return Err(DropReason::AccountFull);
        }
        if before.is_none() && !self.make_room_for(ctx.id(), &ctx.hw, fx) && !reserved {
            return Err(DropReason::TooManyLeases);
        }
        let tier = self.count_tier4(ctx, addr);
        let chain = self.chain4(ctx, addr);
        let times = match how {
            Grant::Bootp => Times::until(Span::FOREVER),
            _ => self.times4(ctx, &chain, addr),
        };
        self.offers.remove(ctx.id(), addr.into());
        if let Some(other) = self.offers.remove_client(ctx.id(), &ctx.client) {
            self.settle(other.network, other.resource);
        }
        self.take_from_pool(ctx.id(), addr.into());
        let wakes = wake::wakes(ctx.takes_forcerenew(), &ctx.client, before.as_ref());
        if wakes {
            self.note_xid(ctx.id(), addr.into(), ctx.msg.xid());
        }
        let details = details(ctx, &chain, addr, self.client_name(ctx));
        let details = Details { tier, wakes, ..details };
        let details = match before.as_ref().filter(|l| *l.details == details) {
            Some(lease) => Arc::clone(&lease.details),
            None => self.table.share(details),
        };
        let lease = binding(ctx, details, addr, times.lease, before.as_ref());
        let is_new = how != Grant::Extend && how != Grant::Adopt && before.is_none();
        let is_create = is_new && ctx.kept.is_none() && self.bindings_of(ctx).next().is_none();
        self.count_grant(ctx.now, &lease, is_create);
        let known = before.filter(|l| l.state == State::Leased && l.client == ctx.client);
        self.put(lease.clone(), cause(known.as_ref(), &lease, how), fx);
        self.abandon_others(ctx, &lease, fx);
        let told = Box::new(lease);
        let kind = match (how, known.is_some()) {
            (Grant::Adopt, _) => EventKind::Adopted(told),
            (_, true) => EventKind::Renewed(told),
            (_, false) => EventKind::Granted(told),
        };
        self.say(ctx.now, Some(ctx.id()), kind, fx);
        Ok(Granted { times, chain })
    }

    /// Counts an address for the client's tier.
    fn count_tier4(&mut self, ctx: &Ctx<'_>, addr: Ipv4Addr) -> Option<Tier> {
        ctx.network.tiers.as_ref()?;
        let order = self.tier_order(ctx.owner(Some(addr)).as_ref(), ctx.classes.iter());
        self.count_tier(ctx.id(), addr.into(), &order)
    }

    /// The times of a client's lease of an address.
    pub(super) fn times4(&self, ctx: &Ctx<'_>, chain: &Chain<'_>, addr: Ipv4Addr) -> Times {
        let who = (&ctx.client, ctx.client.as_bytes());
        let pace = self.pace(ctx.now, (ctx.id(), addr.into()), who, chain.is_adaptive());
        chain.times(ctx.msg.lease_time(), &pace)
    }

    /// The settings for a client and the address that it has, which counts for its tier.
    pub(super) fn chain4<'a>(&self, ctx: &Ctx<'a>, addr: Ipv4Addr) -> Chain<'a> {
        Chain::of(ctx, Some(addr), self.tier_settings(ctx.network, addr.into()))
    }

    /// The name that is kept for a client, and told to a DNS server: its reservation's, or the
    /// first label of its own, so that a guest names itself and nothing else.
    fn client_name(&self, ctx: &Ctx<'_>) -> Option<Box<str>> {
        if let Some(reserved) = ctx.reservation.and_then(|r| r.hostname.as_deref()) {
            return Some(reserved.into());
        }
        let name = hostname(ctx.msg)?;
        let label = own_label(&name)?;
        (!self.is_reserved_name(label)).then(|| label.into())
    }

    /// Whether a name is somebody's by reservation, on whatever network: a DNS server knows but one
    /// of that name.
    pub(super) fn is_reserved_name(&self, label: &str) -> bool {
        self.directory.is_name(label) || self.nets.iter().any(|net| net.names.contains(label))
    }

    /// A client that takes another address of the network has given up its former one.
    fn abandon_others(&mut self, ctx: &Ctx<'_>, kept: &Lease, fx: &mut Effects) {
        let others: Vec<Lease> = self
            .bindings_of(ctx)
            .filter(|l| l.state == State::Leased && l.resource != kept.resource)
            .cloned()
            .collect();
        for lease in others {
            self.abandon(ctx.now, lease, fx);
        }
    }

    /// Ends a lease whose client has taken another in its place.
    pub(super) fn abandon(&mut self, now: Timestamp, lease: Lease, fx: &mut Effects) {
        let (state, until) = (State::Released, now);
        let abandoned = Lease { state, until, updated: now, ..lease.clone() };
        self.put(abandoned, Cause::Abandoned, fx);
        self.say(now, Some(lease.network), EventKind::Released(Box::new(lease)), fx);
    }
}

/// Why a binding is written that its client had as `known`, or did not have.
pub(super) fn cause(known: Option<&Lease>, new: &Lease, how: Grant) -> Cause {
    match known {
        Some(known) if is_draining(known) && !is_draining(new) => Cause::Spared,
        Some(known) if known.hw == new.hw => Cause::Renewed,
        Some(_) => Cause::Moved,
        None if how == Grant::Adopt => Cause::Adopted,
        None => Cause::Granted,
    }
}

/// The first label of a name, if it can be a guest's own.
pub(super) fn own_label(name: &str) -> Option<&str> {
    let label = name.split('.').next()?;
    let number = label.bytes().all(|b| b.is_ascii_digit());
    (!number && !SPECIAL_NAMES.contains(&label)).then_some(label)
}

fn binding(
    ctx: &Ctx<'_>,
    details: Arc<Details>,
    addr: Ipv4Addr,
    span: Span,
    before: Option<&Lease>,
) -> Lease {
    Lease {
        network: ctx.id(),
        resource: addr.into(),
        client: ctx.client.clone(),
        hw: ctx.hw,
        state: State::Leased,
        since: before.filter(|l| l.state == State::Leased).map_or(ctx.now, |l| l.since),
        updated: ctx.now,
        until: later_end(before, expiry(ctx.now, span)),
        // Only the client's own frame says behind which port it is.
        port: match before {
            Some(before) if !ctx.is_own_frame() => before.port,
            _ => ctx.arrival.port,
        },
        uses: Uses::default(),
        details,
    }
}

/// When a binding is over for everybody else. A client that is told of a shorter lease may not hear
/// of it, and keeps the address for as long as it was told before. (A lease without end is never
/// renewed: who asks again has heard of an end, or has let go.)
pub(super) fn later_end(before: Option<&Lease>, until: Timestamp) -> Timestamp {
    let finite = |l: &&Lease| l.state == State::Leased && l.until != Timestamp::NEVER;
    before.filter(finite).map_or(until, |l| l.until.max(until))
}

fn expiry(now: Timestamp, span: Span) -> Timestamp {
    if span.is_forever() { Timestamp::NEVER } else { now + span }
}

fn details(
    ctx: &Ctx<'_>,
    chain: &Chain<'_>,
    addr: Ipv4Addr,
    hostname: Option<Box<str>>,
) -> Details {
    let relay = ctx.relay.as_ref();
    Details {
        hostname,
        account: chain.account().cloned(),
        application: chain.application().cloned(),
        instance: ctx.kept.filter(|_| ctx.keeps(addr)).and_then(|kept| kept.instance.clone()),
        circuit_id: relay.and_then(|r| r.circuit_id()).map(Box::from),
        remote_id: relay.and_then(|r| r.remote_id()).map(Box::from),
        relay: match ctx.path {
            Path::Relay(giaddr) => Some(giaddr),
            _ => None,
        },
        boot_stage: ctx.boot_stage,
        next_hop: None,
        foreseen: None,
        tier: None,
        draining: None,
        wakes: false,
    }
}
