//! The answer to each DHCPv6 request (RFC 9915 s18.3).
//!
//! Reading order as for v4: [`select`] (which network and subnet, and who asks), [`request`]
//! (validation, s16), then the answers here, [`assign`] (which addresses and prefixes), and
//! [`reply`] (options and destination).

pub mod assign;
pub mod context;
pub mod doubt;
pub mod reply;
pub mod request;
pub mod reserve;
pub mod select;

use smallvec::SmallVec;

use crate::base::{ClientKey, Resource, Timestamp};
use crate::config::Policy;
use crate::lease::{Cause, Lease, QuarantineReason, State};
use crate::wire::options6::StatusCode;
use crate::wire::v6_relay::Relayed6;
use crate::wire::{Ia, IaKind, Message6};

use super::Engine;
use super::context::Proof;
use super::effects::{Arrival6, DropReason, Effects, EventKind};
use super::grant::Grant;
use super::tally::{Asked, Before};
use assign::{Assigned, Resources};
use context::Ctx6;
use reply::{Answer6, Answers6, IaAnswer, Terms};
use request::Request6;

/// Most identity associations of one message that are looked at (RFC 9915 knows no limit; the
/// answer must fit one datagram).
const IAS_MAX: usize = 16;

/// A datagram as it was received.
#[derive(Clone, Copy, Debug)]
struct Received<'a> {
    arrival: Arrival6,
    bytes: &'a [u8],
    /// What the wire said, if it waited.
    proofs: &'a [Proof],
}

/// An identity association of a message, and its key.
#[derive(Debug)]
struct KeyedIa<'a> {
    ia: Ia<'a>,
    key: ClientKey,
}

/// All that we serve of one message; mostly one.
type KeyedIas<'a> = SmallVec<[KeyedIa<'a>; 2]>;

impl Engine {
    /// Handles the payload of one datagram. `proofs` is what the wire said, if it waited.
    pub(super) fn packet6(
        &mut self,
        now: Timestamp,
        arrival: Arrival6,
        bytes: &[u8],
        proofs: &[Proof],
        fx: &mut Effects,
    ) {
        let network = self.links.get(&arrival.link).map(|up| up.network);
        let from = Received { arrival, bytes, proofs };
        let before = Before::of(fx, self.waiting.entered());
        let (asked, result) = self.request6(now, from, fx);
        fx.outcomes.push((asked, before.outcome(result, fx, self.waiting.entered())));
        if let Err(reason) = result {
            self.say(now, network, EventKind::Dropped(reason, None), fx);
        }
    }

    fn request6(
        &mut self,
        now: Timestamp,
        from: Received<'_>,
        fx: &mut Effects,
    ) -> (Asked, Result<(), DropReason>) {
        let bytes = from.bytes;
        let policy = self.policy.clone();
        let unread = (Asked::Other6, Err(DropReason::Malformed));
        // RFC 9915 s8: the first byte tells a relay's message (12) from a client's.
        if bytes.first() == Some(&12) {
            let Ok(relayed) = Relayed6::parse(bytes) else { return unread };
            let msg = relayed.inner();
            let asked = Asked::of6(msg.kind());
            (asked, self.client6(now, from, msg, relayed.hops(), &policy, fx))
        } else {
            let Ok(msg) = Message6::parse(bytes) else { return unread };
            (Asked::of6(msg.kind()), self.client6(now, from, &msg, &[], &policy, fx))
        }
    }

    fn client6<'a>(
        &mut self,
        now: Timestamp,
        from: Received<'a>,
        msg: &'a Message6<'a>,
        hops: &'a [crate::wire::v6_relay::Hop<'a>],
        policy: &'a Policy,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let request = Request6::of(msg, &self.duid)?;
        // RFC 9915 s16: what must be multicast and is not came from somewhere else.
        if hops.is_empty() && request.is_multicast_only() && !from.arrival.dst.is_multicast() {
            return Err(DropReason::NotARequest);
        }
        // What cannot be answered to was sent by nobody (RFC 4291 s2.5.2, s2.7).
        let src = from.arrival.src.ip();
        if src.is_unspecified() || src.is_multicast() || src.is_loopback() {
            return Err(DropReason::BadFrame);
        }
        let ctx = self.context6(now, from, msg, hops, policy)?;
        let Some(asked) = self.settle_doubts(&ctx, request, fx)? else { return Ok(()) };
        match request {
            Request6::Solicit => self.solicit(&ctx, &asked, fx),
            Request6::Request => self.request_ias(&ctx, &asked, fx),
            Request6::Renew => self.extend6(&ctx, &asked, true, fx),
            Request6::Rebind => self.extend6(&ctx, &asked, false, fx),
            Request6::Confirm => self.confirm(&ctx, &asked, fx),
            Request6::Release => self.end_ias(&ctx, asked, State::Released, fx),
            Request6::Decline => {
                self.end_ias(&ctx, asked, State::Quarantined(QuarantineReason::Declined), fx)
            }
            Request6::Information => {
                let hw = ctx.hw.unwrap_or_default();
                let informed = EventKind::Informed(hw, (*ctx.arrival.src.ip()).into());
                self.say(now, Some(ctx.id()), informed, fx);
                let none = Answers6::new(ctx.duid, &self.duid);
                self.reply6_now(&ctx, Answer6::information(), &none, fx)
            }
        }
    }

    /// s18.3.1: ADVERTISE, or with rapid commit the REPLY at once, if there is anything to commit.
    fn solicit(
        &mut self,
        ctx: &Ctx6<'_>,
        asked: &[KeyedIa<'_>],
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        self.heed_proofs(ctx, fx);
        let rapid = ctx.network.rapid_commit && ctx.msg.rapid_commit() && self.store_ok;
        let mut taken = Resources::new();
        let mut answers = Answers6::new(ctx.duid, &self.duid);
        for asked in asked {
            let Some(assigned) = self.assign_within(ctx, asked, &taken, &answers, fx) else {
                continue;
            };
            let Assigned { resources, proven } = assigned;
            taken.extend_from_slice(&resources);
            answers.push(match (rapid, resources.is_empty()) {
                (_, true) => IaAnswer::refused(&asked.ia, none_left(asked.ia.kind)),
                (true, _) => self.grant6(ctx, asked, &resources, Grant::New, fx)?,
                (false, _) => self.offer6(ctx, asked, &resources, proven, fx),
            });
        }
        self.say_if_exhausted(ctx, &answers, fx);
        match rapid && answers.grant_something() {
            true => self.reply6_after(ctx, Answer6::reply().rapid(), &answers, fx),
            false => self.reply6_now(ctx, Answer6::advertise(), &answers, fx),
        }
    }

    /// s18.3.2.
    fn request_ias(
        &mut self,
        ctx: &Ctx6<'_>,
        asked: &[KeyedIa<'_>],
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        if !self.store_ok {
            return Err(DropReason::StoreFailed);
        }
        self.heed_proofs(ctx, fx);
        let mut taken = Resources::new();
        let mut answers = Answers6::new(ctx.duid, &self.duid);
        for asked in asked {
            let ia = &asked.ia;
            // Addresses of another link: the client is to start over (s18.3.2).
            let elsewhere = |r: Resource| matches!(r, Resource::V6(a) if !ctx.is_on_network(a));
            if answers.room_for(ia.kind) > 0 && ctx.named(ia).any(elsewhere) {
                answers.push(IaAnswer::refused(ia, StatusCode::NotOnLink));
                continue;
            }
            let Some(assigned) = self.assign_within(ctx, asked, &taken, &answers, fx) else {
                continue;
            };
            let resources = assigned.resources;
            taken.extend_from_slice(&resources);
            answers.push(match resources.is_empty() {
                true => IaAnswer::refused(ia, none_left(ia.kind)),
                false => self.grant6(ctx, asked, &resources, Grant::New, fx)?,
            });
        }
        self.say_if_exhausted(ctx, &answers, fx);
        self.reply6_after(ctx, Answer6::reply(), &answers, fx)
    }

    fn say_if_exhausted(&self, ctx: &Ctx6<'_>, answers: &Answers6, fx: &mut Effects) {
        if answers.is_exhausted() {
            let kind = EventKind::Exhausted(ctx.hw.unwrap_or_default());
            self.say(ctx.now, Some(ctx.id()), kind, fx);
        }
    }

    /// What an IA gets of which there is room to tell; `None` if there is no room for the IA.
    fn assign_within(
        &mut self,
        ctx: &Ctx6<'_>,
        asked: &KeyedIa<'_>,
        taken: &[Resource],
        answers: &Answers6,
        fx: &mut Effects,
    ) -> Option<Assigned> {
        let room = Some(answers.room_for(asked.ia.kind)).filter(|room| *room > 0)?;
        let mut assigned = self.assign(ctx, asked, taken, fx);
        assigned.resources.truncate(room);
        Some(assigned)
    }

    /// s18.3.4 and s18.3.5: longer, please. What is not the client's (any more) gets lifetime
    /// zero; a RENEW of nothing gets NoBinding, a REBIND of nothing silence unless it is wrong here.
    fn extend6(
        &mut self,
        ctx: &Ctx6<'_>,
        asked: &[KeyedIa<'_>],
        renew: bool,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let proven = ctx.is_proven(asked);
        let mut answers = Answers6::new(ctx.duid, &self.duid);
        for asked in asked {
            let KeyedIa { ia, key } = asked;
            let room = answers.room_for(ia.kind);
            if room == 0 {
                continue;
            }
            let held = self.held(ctx, key, ia.kind);
            let (mut resources, gone): (Resources, Resources) = match held.is_empty() && !renew {
                true => (self.adoptable(ctx, asked, proven), Resources::new()),
                false => held.iter().copied().partition(|r| self.entitled6(ctx, key, *r)),
            };
            if held.is_empty() && resources.is_empty() {
                let mut zero = IaAnswer::granted(ia, Terms::new());
                zero.add_zero(ctx.wrong_here(ia));
                match renew {
                    true => answers.push(IaAnswer::refused(ia, StatusCode::NoBinding)),
                    false if zero.is_about_nothing() => {}
                    false => answers.push(zero),
                }
                continue;
            }
            let how = if held.is_empty() { Grant::Adopt } else { Grant::Extend };
            resources.truncate(room);
            let mut answer = self.grant6(ctx, asked, &resources, how, fx)?;
            // Who stays away from what is no longer given may still hold it: it runs out by itself.
            answer.add_zero(gone.into_iter());
            answer.add_zero(ctx.named(ia).filter(|r| !resources.contains(r)));
            answers.push(answer);
        }
        if answers.is_empty() {
            return Err(DropReason::UnknownClient);
        }
        self.reply6_after(ctx, Answer6::reply(), &answers, fx)
    }

    /// s18.3.3: are these addresses right for this link?
    fn confirm(
        &mut self,
        ctx: &Ctx6<'_>,
        asked: &[KeyedIa<'_>],
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let mut addrs = asked.iter().flat_map(|asked| asked.ia.addrs()).peekable();
        if addrs.peek().is_none() {
            return Err(DropReason::NoAddress);
        }
        let status = match addrs.all(|a| ctx.is_on_network(a.addr)) {
            true => StatusCode::Success,
            false => StatusCode::NotOnLink,
        };
        self.reply6_now(ctx, Answer6::status(status), &Answers6::new(ctx.duid, &self.duid), fx)
    }

    /// s18.3.6 RELEASE and s18.3.7 DECLINE: each IA of which nothing is held gets NoBinding.
    fn end_ias(
        &mut self,
        ctx: &Ctx6<'_>,
        asked: KeyedIas<'_>,
        state: State,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        if !self.store_ok {
            return Err(DropReason::StoreFailed);
        }
        let mut answers = Answers6::new(ctx.duid, &self.duid);
        let mut ended = Vec::new();
        for KeyedIa { ia, key } in asked {
            let held = self.held(ctx, &key, ia.kind);
            if held.is_empty() && answers.room_for(ia.kind) > 0 {
                answers.push(IaAnswer::refused(&ia, StatusCode::NoBinding));
            }
            // What it names beside is not its own, and is passed over.
            let given = held.into_iter().filter(|r| ctx.named(&ia).any(|named| named == *r));
            ended.extend(given.filter_map(|r| self.table.get(ctx.id(), r).cloned()));
        }
        if !ended.iter().all(|lease| ctx.is_holder_of(lease)) {
            return Err(DropReason::NotTheHolder);
        }
        let until = match state {
            State::Quarantined(_) => ctx.now + ctx.network.quarantine,
            _ => ctx.now,
        };
        if let State::Quarantined(_) = state
            && !self.believes_declines(ctx, ended.len())
        {
            return Err(DropReason::TooManyDeclines);
        }
        for lease in ended {
            let cause = match state {
                State::Quarantined(_) => Cause::Declined,
                _ => Cause::Released,
            };
            self.put(Lease { state, until, updated: ctx.now, ..lease.clone() }, cause, fx);
            let told = Box::new(lease);
            let kind = match state {
                State::Quarantined(_) => EventKind::Declined(told),
                _ => EventKind::Released(told),
            };
            self.say(ctx.now, Some(ctx.id()), kind, fx);
        }
        self.reply6_after(ctx, Answer6::status(StatusCode::Success), &answers, fx)
    }

    /// Counts that many DECLINEs, whatever IAs they are about.
    fn believes_declines(&mut self, ctx: &Ctx6<'_>, declined: usize) -> bool {
        let client = ClientKey::ia_clone(ctx.duid, 0, &ctx.hw.unwrap_or_default());
        let (window, max) = (ctx.network.quarantine, ctx.network.declines_max);
        let Some(net) = self.nets.get_mut(ctx.net) else { return false };
        (0..declined).all(|_| net.declines.count(&client, ctx.now, window, max))
    }
}

/// The identity associations of a message that we serve, in its order.
fn ias<'a>(ctx: &Ctx6<'a>) -> impl Iterator<Item = Ia<'a>> + use<'a> {
    // An IAID that stands twice is one IA (s12.1).
    let mut seen = SmallVec::<[(IaKind, u32); IAS_MAX]>::new();
    let first = move |ia: &Ia<'_>| {
        let fresh = !seen.contains(&(ia.kind, ia.iaid)) && seen.len() < IAS_MAX;
        fresh.then(|| seen.push((ia.kind, ia.iaid))).is_some()
    };
    ctx.msg.ias().filter(|ia| ia.kind != IaKind::Ta).filter(first)
}

fn none_left(kind: IaKind) -> StatusCode {
    match kind {
        IaKind::Pd => StatusCode::NoPrefixAvail,
        _ => StatusCode::NoAddrsAvail,
    }
}
