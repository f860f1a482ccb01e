//! What a standby is answered by DHCPv4: the address of its active, once its gate is in place.
//!
//! Its gate swallows what it says by unicast, and may swallow what is said to its address: it renews
//! by broadcast, and is answered by frames to its hardware address and all IP addresses.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::base::{ClientKey, Span};
use crate::config::policy::Identity;
use crate::engine::Engine;
use crate::engine::context::{Ctx, Path};
use crate::engine::effects::{DropReason, Effects, EventKind, NakReason};
use crate::engine::reply::Answer;
use crate::engine::request::Request;
use crate::engine::settings::Times;
use crate::lease::State;
use crate::lease::directory::{Standby, Told};

/// How long before T2 a standby renews.
pub(super) const BEFORE_T2: Span = Span::from_secs(1);

impl Engine {
    /// Answers a standby that is not promoted.
    pub(in crate::engine) fn standby4(
        &mut self,
        ctx: &Ctx<'_>,
        pair: &Arc<Standby>,
        request: Request,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let addr = pair.resources.iter().find_map(|resource| resource.v4());
        let addr = addr.filter(|_| ctx.path == Path::Link).ok_or(DropReason::StandbyElsewhere)?;
        if let Request::Decline { server, addr: named } | Request::Release { server, addr: named } =
            request
        {
            self.check_own_word(ctx, pair, server, (named, addr))?;
            return self.end_standby4(ctx, pair, request, fx);
        }
        if !pair.may_answer() {
            return Err(DropReason::StandbyUngated);
        }
        match request {
            Request::Discover { .. } if ctx.network.rapid_commit && ctx.msg.rapid_commit() => {
                self.acknowledge_standby(ctx, pair, addr, true, fx)
            }
            Request::Discover { .. } => {
                let chain = self.chain4(ctx, addr);
                let times = late(self.times4(ctx, &chain, addr));
                self.reply_now_by(ctx, &chain, Answer::offer(addr, times), fx)
            }
            Request::Select { server, .. }
                if !self.is_our_id(ctx.policy, ctx.server_id, server) =>
            {
                Err(DropReason::OtherServer)
            }
            Request::Select { addr: named, .. }
            | Request::Reboot { addr: named }
            | Request::Extend { addr: named } => match named == addr {
                true => self.acknowledge_standby(ctx, pair, addr, false, fx),
                // What it had before it stood by, or was named by mistake.
                false => {
                    let nak = EventKind::Nak(ctx.hw, named, NakReason::WrongAddress);
                    self.say(ctx.now, Some(ctx.id()), nak, fx);
                    self.reply_now(ctx, Answer::nak(), fx)
                }
            },
            Request::Inform { addr: named } => {
                let informed = EventKind::Informed(ctx.hw, named.into());
                self.say(ctx.now, Some(ctx.id()), informed, fx);
                self.reply_now(ctx, Answer::parameters(named), fx)
            }
            Request::Bootp => Err(DropReason::Bootp),
            Request::Decline { .. } | Request::Release { .. } => Err(DropReason::NotTheHolder),
        }
    }

    /// A standby ends what it has by its own frame alone: whoever writes its hardware address into a
    /// message is believed nothing.
    fn check_own_word(
        &self,
        ctx: &Ctx<'_>,
        pair: &Standby,
        server: Option<Ipv4Addr>,
        (named, addr): (Ipv4Addr, Ipv4Addr),
    ) -> Result<(), DropReason> {
        if server.is_some_and(|id| !self.is_our_id(ctx.policy, ctx.server_id, id)) {
            return Err(DropReason::OtherServer);
        }
        let has = named == addr && pair.told(addr.into()).is_some();
        match has && ctx.is_own_frame() {
            false => Err(DropReason::NotTheHolder),
            true if !self.store_ok => Err(DropReason::StoreFailed),
            true => Ok(()),
        }
    }

    fn end_standby4(
        &mut self,
        ctx: &Ctx<'_>,
        pair: &Arc<Standby>,
        request: Request,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        if let Request::Release { .. } = request {
            let dropped = self.standby_released(ctx.now, pair, fx);
            return dropped.then_some(()).ok_or(DropReason::NotTheHolder);
        }
        let (window, max) = (ctx.network.quarantine, ctx.network.declines_max);
        let net = self.nets.get_mut(ctx.net).ok_or(DropReason::NoSubnet)?;
        if !net.declines.count(&ctx.client, ctx.now, window, max) {
            return Err(DropReason::TooManyDeclines);
        }
        self.standby_declined(ctx.now, pair, fx);
        Ok(())
    }

    fn acknowledge_standby(
        &mut self,
        ctx: &Ctx<'_>,
        pair: &Arc<Standby>,
        addr: Ipv4Addr,
        rapid: bool,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        if !self.store_ok {
            return Err(DropReason::StoreFailed);
        }
        let chain = self.chain4(ctx, addr);
        let times = late(self.times4(ctx, &chain, addr));
        let answer = match rapid {
            true => Answer::ack(ctx, addr, times).with_rapid_commit(),
            false => Answer::ack(ctx, addr, times),
        };
        self.reply_after(ctx, &chain, answer, fx)?;
        let told = Told {
            resource: addr.into(),
            client: ctx.client.clone(),
            until: ctx.now + times.lease,
            next_hop: None,
        };
        self.note_told(ctx.now, pair, vec![told], fx);
        Ok(())
    }

    /// The key by which a standby's client is found once the lease is its own. A clone of its active
    /// has the same identifier: it is told apart from the first message on.
    pub(in crate::engine) fn standby_key4(&self, ctx: &Ctx<'_>) -> ClientKey {
        let by_hw = ClientKey::hardware(&ctx.hw);
        let id = ctx.msg.client_id().filter(|id| !id.is_empty() && !ctx.hw.is_spelt_by(id));
        match (ctx.network.identity, id) {
            (Identity::CloneSafe | Identity::ClientId, Some(id)) => {
                let key = ClientKey::client_id(&id);
                match self.is_others_key(ctx, &key) {
                    true => ClientKey::clone_of(&id, &ctx.hw),
                    false => key,
                }
            }
            _ => by_hw,
        }
    }

    fn is_others_key(&self, ctx: &Ctx<'_>, key: &ClientKey) -> bool {
        let other = |hw| hw != ctx.hw;
        let mut bound = self.table.of_client(ctx.id(), key);
        bound.any(|lease| lease.state == State::Leased && other(lease.hw))
            || self.offers.of_client(ctx.id(), key).is_some_and(|offer| other(offer.hw))
    }
}

/// The same with a T1 just below T2: until then it would ask by unicast.
fn late(times: Times) -> Times {
    if times.lease.is_forever() {
        return times;
    }
    Times { t1: Span(times.t2.0.saturating_sub(BEFORE_T2.0)).max(times.t1), ..times }
}
