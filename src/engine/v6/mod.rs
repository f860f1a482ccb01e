//! The answer to each DHCPv6 request (RFC 9915 s18.3).
//!
//! Reading order as for v4: [`select`] (which network and subnet, and who asks), [`request`]
//! (validation, s16), then the answers here, [`assign`] (which addresses and prefixes), and
//! [`reply`] (options and destination).

pub mod assign;
mod bind;
pub mod context;
pub mod doubt;
pub mod reply;
pub mod request;
pub mod reserve;
pub mod room;
pub mod select;

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
use super::relocate::is_draining;
use super::tally::{Asked, Before};
use assign::Assigned;
use context::Ctx6;
use reply::{Answer6, Answers6, IaAnswer};
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
        let found = self.find6(&from, msg, hops, policy)?;
        let ctx = self.context6(now, from, msg, hops, policy, &found)?;
        let begins =
            matches!(request, Request6::Solicit | Request6::Confirm | Request6::Information);
        self.admit6(&ctx, begins, fx)?;
        if let Some(pair) = found.standby() {
            return self.standby6(&ctx, pair, request, fx);
        }
        if !self.settle_doubts(&ctx, request, fx)? {
            return Ok(());
        }
        let none = Answers6::new(ctx.duid, &self.duid);
        match request {
            Request6::Solicit => self.solicit(&ctx, fx),
            Request6::Request => self.request_ias(&ctx, fx),
            Request6::Renew => self.extend6(&ctx, true, fx),
            Request6::Rebind => self.extend6(&ctx, false, fx),
            Request6::Confirm => self.confirm(&ctx, fx),
            Request6::Release => self.end_ias(&ctx, State::Released, fx),
            Request6::Decline => {
                self.end_ias(&ctx, State::Quarantined(QuarantineReason::Declined), fx)
            }
            Request6::Information => {
                let hw = ctx.hw.unwrap_or_default();
                let informed = EventKind::Informed(hw, (*ctx.arrival.src.ip()).into());
                self.say(now, Some(ctx.id()), informed, fx);
                self.reply6_now(&ctx, Answer6::information(), &none, fx)
            }
        }
    }

    /// s18.3.1: ADVERTISE, or with rapid commit the REPLY at once, if there is anything to commit.
    fn solicit(&mut self, ctx: &Ctx6<'_>, fx: &mut Effects) -> Result<(), DropReason> {
        self.heed_proofs(ctx, fx);
        let rapid = ctx.network.rapid_commit && ctx.msg.rapid_commit() && self.store_ok;
        let mut taken = Vec::new();
        let mut answers = Answers6::new(ctx.duid, &self.duid);
        for ia in ias(ctx) {
            let Some(assigned) = self.assign_within(ctx, &ia, &taken, &answers, fx) else {
                continue;
            };
            taken.extend(assigned.resources.iter().copied());
            answers.push(match (rapid, assigned.resources.is_empty()) {
                (_, true) => IaAnswer::refused(&ia, none_left(ia.kind)),
                (true, _) => self.grant6(ctx, &ia, assigned, Grant::New, fx)?,
                (false, _) => self.offer6(ctx, &ia, assigned, fx),
            });
        }
        self.say_if_exhausted(ctx, &answers, fx);
        match rapid && answers.grant_something() {
            true => self.reply6_after(ctx, Answer6::reply().rapid(), &answers, fx),
            false => self.reply6_now(ctx, Answer6::advertise(), &answers, fx),
        }
    }

    /// s18.3.2.
    fn request_ias(&mut self, ctx: &Ctx6<'_>, fx: &mut Effects) -> Result<(), DropReason> {
        if !self.store_ok {
            return Err(DropReason::StoreFailed);
        }
        self.heed_proofs(ctx, fx);
        let mut taken = Vec::new();
        let mut answers = Answers6::new(ctx.duid, &self.duid);
        for ia in ias(ctx) {
            // Addresses of another link: the client is to start over (s18.3.2).
            let elsewhere = |r: Resource| matches!(r, Resource::V6(a) if !ctx.is_on_network(a));
            if answers.room_for(ia.kind) > 0 && ctx.named(&ia).any(elsewhere) {
                answers.push(IaAnswer::refused(&ia, StatusCode::NotOnLink));
                continue;
            }
            let Some(assigned) = self.assign_within(ctx, &ia, &taken, &answers, fx) else {
                continue;
            };
            taken.extend(assigned.resources.iter().copied());
            answers.push(match assigned.resources.is_empty() {
                true => IaAnswer::refused(&ia, none_left(ia.kind)),
                false => self.grant6(ctx, &ia, assigned, Grant::New, fx)?,
            });
        }
        self.say_if_exhausted(ctx, &answers, fx);
        self.reply6_after(ctx, Answer6::reply(), &answers, fx)
    }

    fn say_if_exhausted(&mut self, ctx: &Ctx6<'_>, answers: &Answers6, fx: &mut Effects) {
        if answers.is_exhausted() {
            self.note_refusal6(ctx);
            let kind = match self.is_tier_full6(ctx, ctx.owner(None).as_ref()) {
                true => EventKind::Dropped(DropReason::TierFull, ctx.hw),
                false => EventKind::Exhausted(ctx.hw.unwrap_or_default()),
            };
            self.say(ctx.now, Some(ctx.id()), kind, fx);
        }
    }

    /// What an IA gets of which there is room to tell; `None` if there is no room for the IA.
    fn assign_within(
        &mut self,
        ctx: &Ctx6<'_>,
        ia: &Ia<'_>,
        taken: &[Resource],
        answers: &Answers6,
        fx: &mut Effects,
    ) -> Option<Assigned> {
        let room = Some(answers.room_for(ia.kind)).filter(|room| *room > 0)?;
        let mut assigned = self.assign(ctx, ia, taken, fx);
        assigned.resources.truncate(room);
        Some(assigned)
    }

    /// s18.3.4 and s18.3.5: longer, please. What is not the client's (any more) gets lifetime
    /// zero; a RENEW of nothing gets NoBinding, a REBIND of nothing silence unless it is wrong
    /// here.
    fn extend6(&mut self, ctx: &Ctx6<'_>, renew: bool, fx: &mut Effects) -> Result<(), DropReason> {
        let proven = self.is_proven(ctx);
        let mut answers = Answers6::new(ctx.duid, &self.duid);
        for ia in ias(ctx) {
            let room = answers.room_for(ia.kind);
            if room == 0 {
                continue;
            }
            let key = self.key6(ctx, &ia);
            let held = self.held(ctx, &key, ia.kind);
            let (mut resources, gone): (Vec<_>, Vec<_>) = match held.is_empty() && !renew {
                true => (self.adoptable(ctx, &ia, &key, proven), Vec::new()),
                false => {
                    held.iter().map(|l| l.resource).partition(|r| self.entitled6(ctx, &key, *r))
                }
            };
            if held.is_empty() && resources.is_empty() {
                let mut zero = IaAnswer::granted(&ia, Vec::new());
                zero.add_zero(ctx.wrong_here(&ia).into_iter());
                zero.add_zero(self.ended(ctx, &ia, &key).into_iter());
                match renew {
                    true => answers.push(IaAnswer::refused(&ia, StatusCode::NoBinding)),
                    false if zero.is_about_nothing() => {}
                    false => answers.push(zero),
                }
                continue;
            }
            let mut how = if held.is_empty() { Grant::Adopt } else { Grant::Extend };
            if resources.is_empty() && held.iter().any(is_draining) {
                resources.extend(self.next_place(ctx, &ia, &key));
                how = Grant::New;
            }
            resources.truncate(room);
            let known = resources.clone();
            let assigned = Assigned { key, resources, proven: true };
            let mut answer = self.grant6(ctx, &ia, assigned, how, fx)?;
            // Who stays away from what is no longer given may still hold it: it runs out by itself.
            let held = |r: &Resource| self.table.get(ctx.id(), *r).is_some_and(|l| l.is_bound());
            answer.add_zero(gone.into_iter().filter(held));
            answer.add_zero(ctx.named(&ia).filter(|r| !known.contains(r)));
            answers.push(answer);
        }
        if answers.is_empty() {
            return Err(DropReason::UnknownClient);
        }
        self.reply6_after(ctx, Answer6::reply(), &answers, fx)
    }

    /// s18.3.4: what an IA gets beside an address that it is to leave.
    fn next_place(&mut self, ctx: &Ctx6<'_>, ia: &Ia<'_>, key: &ClientKey) -> Option<Resource> {
        let owner = ctx.owner(None);
        self.next6(ctx, ia, key, owner.as_ref()).map(|(resource, _)| resource)
    }

    /// s18.3.3: are these addresses right for this link?
    fn confirm(&mut self, ctx: &Ctx6<'_>, fx: &mut Effects) -> Result<(), DropReason> {
        let mut addrs = ias(ctx).flat_map(|ia| ia.addrs().collect::<Vec<_>>()).peekable();
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
        state: State,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        if !self.store_ok {
            return Err(DropReason::StoreFailed);
        }
        let mut answers = Answers6::new(ctx.duid, &self.duid);
        let mut ended = Vec::new();
        for ia in ias(ctx) {
            let key = self.key6(ctx, &ia);
            let held = self.held(ctx, &key, ia.kind);
            if held.is_empty() && answers.room_for(ia.kind) > 0 {
                answers.push(IaAnswer::refused(&ia, StatusCode::NoBinding));
            }
            // What it names beside is not its own, and is passed over.
            let named: Vec<_> = ctx.named(&ia).collect();
            ended.extend(held.into_iter().filter(|l| named.contains(&l.resource)));
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
            let state = match state {
                State::Quarantined(_)
                    if self.active_declined(ctx.now, ctx.id(), lease.resource, fx) =>
                {
                    State::Released
                }
                state => state,
            };
            let until = if state == State::Released { ctx.now } else { until };
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

    /// What an IA names that was its own until its instance was destroyed.
    fn ended(&self, ctx: &Ctx6<'_>, ia: &Ia<'_>, key: &ClientKey) -> Vec<Resource> {
        let leaving = State::Quarantined(QuarantineReason::Leaving);
        let ended = |r: &Resource| {
            self.table.get(ctx.id(), *r).is_some_and(|l| l.state == leaving && l.client == *key)
        };
        ctx.named(ia).filter(ended).collect()
    }

    /// Counts that many DECLINEs, whatever IAs they are about.
    pub(super) fn believes_declines(&mut self, ctx: &Ctx6<'_>, declined: usize) -> bool {
        let client = ClientKey::ia_clone(ctx.duid, 0, &ctx.hw.unwrap_or_default());
        let (window, max) = (ctx.network.quarantine, ctx.network.declines_max);
        let Some(net) = self.nets.get_mut(ctx.net) else { return false };
        (0..declined).all(|_| net.declines.count(&client, ctx.now, window, max))
    }
}

/// The identity associations of a message that we serve, in its order.
pub(super) fn ias<'a>(ctx: &Ctx6<'a>) -> impl Iterator<Item = Ia<'a>> + use<'a> {
    // An IAID that stands twice is one IA (s12.1).
    let mut seen = Vec::new();
    let first = move |ia: &Ia<'_>| {
        let fresh = !seen.contains(&(ia.kind, ia.iaid)) && seen.len() < IAS_MAX;
        fresh.then(|| seen.push((ia.kind, ia.iaid))).is_some()
    };
    ctx.msg.ias().filter(|ia| ia.kind != IaKind::Ta).filter(first)
}

pub(super) fn none_left(kind: IaKind) -> StatusCode {
    match kind {
        IaKind::Pd => StatusCode::NoPrefixAvail,
        _ => StatusCode::NoAddrsAvail,
    }
}
