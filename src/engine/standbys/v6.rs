//! The same of DHCPv6: what the pair shares, and nothing else, once the gate is in place.

use std::sync::Arc;

use crate::base::{ClientKey, Resource, Span};
use crate::engine::Engine;
use crate::engine::effects::{DropReason, Effects, EventKind};
use crate::engine::v6::context::{Ctx6, is_about};
use crate::engine::v6::reply::{Answer6, Answers6, IaAnswer};
use crate::engine::v6::request::Request6;
use crate::engine::v6::{ias, none_left};
use crate::lease::directory::{Standby, Told};
use crate::lease::{Lease, State};
use crate::wire::options6::StatusCode;
use crate::wire::{Ia, IaKind};

use super::v4::BEFORE_T2;

impl Engine {
    /// Answers a standby that is not promoted.
    pub(in crate::engine) fn standby6(
        &mut self,
        ctx: &Ctx6<'_>,
        pair: &Arc<Standby>,
        request: Request6,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        if ctx.is_relayed() {
            return Err(DropReason::StandbyElsewhere);
        }
        if matches!(request, Request6::Release | Request6::Decline) {
            return self.end_standby6(ctx, pair, request, fx);
        }
        if !pair.may_answer() {
            return Err(DropReason::StandbyUngated);
        }
        let none = Answers6::new(ctx.duid, &self.duid);
        match request {
            Request6::Information => {
                let hw = ctx.hw.unwrap_or_default();
                let informed = EventKind::Informed(hw, (*ctx.arrival.src.ip()).into());
                self.say(ctx.now, Some(ctx.id()), informed, fx);
                self.reply6_now(ctx, Answer6::information(), &none, fx)
            }
            Request6::Confirm => {
                let named: Vec<_> = ias(ctx).flat_map(|ia| named(ctx, &ia)).collect();
                if named.is_empty() {
                    return Err(DropReason::NoAddress);
                }
                let all = named.iter().all(|resource| pair.resources.contains(resource));
                let status = if all { StatusCode::Success } else { StatusCode::NotOnLink };
                self.reply6_now(ctx, Answer6::status(status), &none, fx)
            }
            Request6::Solicit => {
                let rapid = ctx.network.rapid_commit && ctx.msg.rapid_commit() && self.store_ok;
                let (answers, told) = self.shared6(ctx, pair);
                match rapid && answers.grant_something() {
                    true => {
                        self.reply6_after(ctx, Answer6::reply().rapid(), &answers, fx)?;
                        self.note_told(ctx.now, pair, told, fx);
                        Ok(())
                    }
                    false => self.reply6_now(ctx, Answer6::advertise(), &answers, fx),
                }
            }
            _ => {
                if !self.store_ok {
                    return Err(DropReason::StoreFailed);
                }
                let (answers, told) = self.shared6(ctx, pair);
                self.reply6_after(ctx, Answer6::reply(), &answers, fx)?;
                if !told.is_empty() {
                    self.note_told(ctx.now, pair, told, fx);
                }
                Ok(())
            }
        }
    }

    /// What each IA is told: one of them all the addresses, one all the prefixes, the others
    /// nothing; and what is to be noted of it.
    fn shared6(&self, ctx: &Ctx6<'_>, pair: &Standby) -> (Answers6, Vec<Told>) {
        let mut answers = Answers6::new(ctx.duid, &self.duid);
        let mut told = Vec::new();
        let ias: Vec<Ia<'_>> = ias(ctx).collect();
        for ia in &ias {
            let room = answers.room_for(ia.kind);
            if room == 0 {
                continue;
            }
            let key = self.standby_key6(ctx, ia);
            if !self.is_first(ctx, pair, &ias, ia) {
                answers.push(IaAnswer::refused(ia, none_left(ia.kind)));
                continue;
            }
            let about = |resource: &Resource| is_about(ia.kind, *resource);
            let mut resources: Vec<_> = pair.resources.iter().copied().filter(about).collect();
            resources.truncate(room);
            if resources.is_empty() {
                answers.push(IaAnswer::refused(ia, none_left(ia.kind)));
                continue;
            }
            let mut answer = self.answer6(ctx, ia, &key, &resources);
            renew_late(&mut answer);
            told.extend(answer.terms.iter().map(|term| Told {
                resource: term.resource,
                client: key.clone(),
                until: ctx.now + term.lifetimes.valid,
                next_hop: self.next_hop(ctx, term.resource),
            }));
            answer.add_zero(named(ctx, ia).into_iter().filter(|r| !resources.contains(r)));
            answers.push(answer);
        }
        (answers, told)
    }

    /// Whether this IA is the one of its kind that gets what is shared: the one that has it, or else
    /// the first.
    fn is_first(&self, ctx: &Ctx6<'_>, pair: &Standby, all: &[Ia<'_>], ia: &Ia<'_>) -> bool {
        let has = |ia: &&Ia<'_>| {
            let key = self.standby_key6(ctx, ia);
            pair.told.iter().any(|told| told.client == key)
        };
        let alike = || all.iter().filter(|other| other.kind == ia.kind);
        let first = alike().find(has).or_else(|| alike().next());
        first.is_some_and(|first| first.iaid == ia.iaid)
    }

    /// The key of an IA of a standby; a clone of its active has the same DUID and IAID.
    fn standby_key6(&self, ctx: &Ctx6<'_>, ia: &Ia<'_>) -> ClientKey {
        let hw = ctx.hw.unwrap_or_default();
        let (key, own) = match ia.kind {
            IaKind::Pd => (
                ClientKey::ia_pd(ctx.duid, ia.iaid),
                ClientKey::ia_pd_clone(ctx.duid, ia.iaid, &hw),
            ),
            _ => (ClientKey::ia(ctx.duid, ia.iaid), ClientKey::ia_clone(ctx.duid, ia.iaid, &hw)),
        };
        let other = |lease: &Lease| lease.state == State::Leased && lease.hw != hw;
        let is_others = self.table.of_client(ctx.id(), &key).any(other);
        if is_others { own } else { key }
    }

    /// RELEASE and DECLINE, of what it has.
    fn end_standby6(
        &mut self,
        ctx: &Ctx6<'_>,
        pair: &Arc<Standby>,
        request: Request6,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        if !self.store_ok {
            return Err(DropReason::StoreFailed);
        }
        let mut answers = Answers6::new(ctx.duid, &self.duid);
        let mut ended = false;
        for ia in ias(ctx) {
            let has = |resource: &Resource| {
                pair.resources.contains(resource) && pair.told(*resource).is_some()
            };
            if named(ctx, &ia).iter().any(has) {
                ended = true;
            } else if answers.room_for(ia.kind) > 0 {
                answers.push(IaAnswer::refused(&ia, StatusCode::NoBinding));
            }
        }
        if ended && request == Request6::Release && !self.standby_released(ctx.now, pair, fx) {
            return Err(DropReason::NotTheHolder);
        }
        if ended && request == Request6::Decline {
            if !self.believes_declines(ctx, 1) {
                return Err(DropReason::TooManyDeclines);
            }
            self.standby_declined(ctx.now, pair, fx);
        }
        self.reply6_after(ctx, Answer6::status(StatusCode::Success), &answers, fx)
    }
}

fn named(ctx: &Ctx6<'_>, ia: &Ia<'_>) -> Vec<Resource> {
    let all = ias(ctx).find(|own| (own.kind, own.iaid) == (ia.kind, ia.iaid));
    all.map(|own| ctx.named(&own).collect()).unwrap_or_default()
}

/// T1 just below T2, as for DHCPv4: both protocols of a machine renew alike.
fn renew_late(answer: &mut IaAnswer) {
    let Some((t1, t2)) = answer.renewal() else { return };
    if t2.is_forever() {
        return;
    }
    let t1 = Span(t2.0.saturating_sub(BEFORE_T2.0)).max(t1);
    for term in &mut answer.terms {
        (term.lifetimes.t1, term.lifetimes.t2) = (Some(t1), Some(t2));
    }
}
