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
pub mod select;

use crate::base::Timestamp;
use crate::config::Policy;
use crate::lease::{Lease, QuarantineReason, State};
use crate::wire::options6::StatusCode;
use crate::wire::v6_relay::Relayed6;
use crate::wire::{Ia, IaKind, Message6};

use super::Engine;
use super::context::Proof;
use super::effects::{Arrival6, DropReason, Effects, EventKind};
use super::grant::Grant;
use assign::Assigned;
use context::Ctx6;
use reply::{Answer6, IaAnswer};
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
        if let Err(reason) = self.request6(now, from, fx) {
            self.say(now, network, EventKind::Dropped(reason, None), fx);
        }
    }

    fn request6(
        &mut self,
        now: Timestamp,
        from: Received<'_>,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let bytes = from.bytes;
        let policy = self.policy.clone();
        // RFC 9915 s8: the first byte tells a relay's message (12) from a client's.
        if bytes.first() == Some(&12) {
            let relayed = Relayed6::parse(bytes).map_err(|_| DropReason::Malformed)?;
            let msg = relayed.inner();
            self.client6(now, from, msg, relayed.hops(), &policy, fx)
        } else {
            let msg = Message6::parse(bytes).map_err(|_| DropReason::Malformed)?;
            self.client6(now, from, &msg, &[], &policy, fx)
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
        let ctx = self.context6(now, from, msg, hops, policy)?;
        let impostor = |lease: &Lease| ctx.is_impostor_of(lease);
        if ctx.hw.is_some_and(|hw| self.table.of_hw(ctx.id(), &hw).any(impostor)) {
            return Err(DropReason::NotTheHolder);
        }
        if !self.settle_doubts(&ctx, request, fx)? {
            return Ok(());
        }
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
                self.reply6_now(&ctx, Answer6::information(), &[], fx)
            }
        }
    }

    /// s18.3.1: ADVERTISE, or with rapid commit the REPLY at once.
    fn solicit(&mut self, ctx: &Ctx6<'_>, fx: &mut Effects) -> Result<(), DropReason> {
        self.heed_proofs(ctx, fx);
        let rapid = ctx.network.rapid_commit && ctx.msg.rapid_commit() && self.store_ok;
        let mut taken = Vec::new();
        let mut answers = Vec::new();
        for ia in ias(ctx) {
            let assigned = self.assign(ctx, &ia, &taken);
            taken.extend(assigned.resources.iter().copied());
            answers.push(match (rapid, assigned.resources.is_empty()) {
                (_, true) => IaAnswer::refused(&ia, none_left(ia.kind)),
                (true, _) => self.grant6(ctx, &ia, assigned, Grant::New, fx)?,
                (false, _) => self.offer6(ctx, &ia, assigned, fx),
            });
        }
        self.say_if_exhausted(ctx, &answers, fx);
        match rapid {
            true => self.reply6_after(ctx, Answer6::reply().rapid(), &answers, fx),
            false => self.reply6_now(ctx, Answer6::advertise(), &answers, fx),
        }
    }

    /// s18.3.2.
    fn request_ias(&mut self, ctx: &Ctx6<'_>, fx: &mut Effects) -> Result<(), DropReason> {
        self.heed_proofs(ctx, fx);
        let mut taken = Vec::new();
        let mut answers = Vec::new();
        for ia in ias(ctx) {
            // Addresses of another link: the client is to start over (s18.3.2).
            if ia.kind == IaKind::Na && ia.addrs().any(|a| !ctx.is_on_network(a.addr)) {
                answers.push(IaAnswer::refused(&ia, StatusCode::NotOnLink));
                continue;
            }
            let assigned = self.assign(ctx, &ia, &taken);
            taken.extend(assigned.resources.iter().copied());
            answers.push(match assigned.resources.is_empty() {
                true => IaAnswer::refused(&ia, none_left(ia.kind)),
                false => self.grant6(ctx, &ia, assigned, Grant::New, fx)?,
            });
        }
        self.say_if_exhausted(ctx, &answers, fx);
        self.reply6_after(ctx, Answer6::reply(), &answers, fx)
    }

    fn say_if_exhausted(&self, ctx: &Ctx6<'_>, answers: &[IaAnswer], fx: &mut Effects) {
        if answers.iter().any(IaAnswer::is_exhausted) {
            let kind = EventKind::Exhausted(ctx.hw.unwrap_or_default());
            self.say(ctx.now, Some(ctx.id()), kind, fx);
        }
    }

    /// s18.3.4 and s18.3.5: longer, please. What is not the client's gets lifetime zero if it is
    /// wrong here; a RENEW of nothing gets NoBinding, a REBIND of nothing silence.
    fn extend6(&mut self, ctx: &Ctx6<'_>, renew: bool, fx: &mut Effects) -> Result<(), DropReason> {
        let proven = self.is_proven(ctx);
        let mut answers = Vec::new();
        for ia in ias(ctx) {
            let key = self.key6(ctx, &ia);
            let held = self.held(ctx, &key, ia.kind);
            let foreign = ctx.wrong_here(&ia);
            let known: Vec<_> = held.iter().map(|l| l.resource).collect();
            let adopted = match known.is_empty() && !renew {
                true => self.adoptable(ctx, &ia, &key, proven),
                false => Vec::new(),
            };
            let how = if adopted.is_empty() { Grant::Extend } else { Grant::Adopt };
            let known = if adopted.is_empty() { known } else { adopted };
            if known.is_empty() {
                match (renew, foreign.is_empty()) {
                    (true, _) => answers.push(IaAnswer::refused(&ia, StatusCode::NoBinding)),
                    (false, false) => answers.push(IaAnswer::zero(&ia, foreign)),
                    (false, true) => {}
                }
                continue;
            }
            let assigned = Assigned { key, resources: known.clone(), proven: true };
            let mut answer = self.grant6(ctx, &ia, assigned, how, fx)?;
            answer.add_zero(ctx.named(&ia).filter(|r| !known.contains(r)));
            answers.push(answer);
        }
        if answers.is_empty() {
            return Err(DropReason::UnknownClient);
        }
        self.reply6_after(ctx, Answer6::reply(), &answers, fx)
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
        self.reply6_now(ctx, Answer6::status(status), &[], fx)
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
        let until = match state {
            State::Quarantined(_) => ctx.now + ctx.network.quarantine,
            _ => ctx.now,
        };
        let mut answers = Vec::new();
        for ia in ias(ctx) {
            let key = self.key6(ctx, &ia);
            let held = self.held(ctx, &key, ia.kind);
            let named: Vec<_> = ctx.named(&ia).collect();
            let ended: Vec<Lease> =
                held.into_iter().filter(|l| named.contains(&l.resource)).collect();
            if ended.is_empty() {
                answers.push(IaAnswer::refused(&ia, StatusCode::NoBinding));
            }
            for lease in ended {
                self.put(Lease { state, until, updated: ctx.now, ..lease.clone() }, fx);
                let told = Box::new(lease);
                let kind = match state {
                    State::Quarantined(_) => EventKind::Declined(told),
                    _ => EventKind::Released(told),
                };
                self.say(ctx.now, Some(ctx.id()), kind, fx);
            }
        }
        self.reply6_after(ctx, Answer6::status(StatusCode::Success), &answers, fx)
    }
}

/// The identity associations of a message that we serve, in its order.
fn ias<'a>(ctx: &Ctx6<'a>) -> impl Iterator<Item = Ia<'a>> + use<'a> {
    ctx.msg.ias().filter(|ia| ia.kind != IaKind::Ta).take(IAS_MAX)
}

fn none_left(kind: IaKind) -> StatusCode {
    match kind {
        IaKind::Pd => StatusCode::NoPrefixAvail,
        _ => StatusCode::NoAddrsAvail,
    }
}
