//! DECLINE and RELEASE: believed only from the one who has the address.

use hashbrown::HashMap;
use std::net::Ipv4Addr;

use crate::base::{ClientKey, Span, Timestamp};
use crate::lease::{Cause, Lease, QuarantineReason, State};

use super::Engine;
use super::context::Ctx;
use super::effects::{DropReason, Effects, EventKind};
use super::v4::is_of;

/// DECLINEs of late, by client. Bounded: it forgets who has been quiet for a quarantine time.
#[derive(Debug, Default)]
pub struct Declines {
    by_client: HashMap<ClientKey, (u32, Timestamp)>,
}

/// Most clients whose DECLINEs are counted at once.
const CLIENTS_MAX: usize = 4096;

impl Declines {
    /// Counts one more; `false` if that is more than `max` within `window`.
    pub fn count(&mut self, client: &ClientKey, now: Timestamp, window: Span, max: u32) -> bool {
        if self.by_client.len() >= CLIENTS_MAX && !self.by_client.contains_key(client) {
            self.by_client.retain(|_, (_, since)| now < *since + window);
            if self.by_client.len() >= CLIENTS_MAX {
                return false;
            }
        }
        let (count, since) = self.by_client.entry(client.clone()).or_insert((0, now));
        if now >= *since + window {
            (*count, *since) = (0, now);
        }
        *count = count.saturating_add(1);
        *count <= max
    }
}

impl Engine {
    /// RFC 2131 s4.3.3: the address is in use by somebody unknown; it rests for a while.
    pub(super) fn decline(
        &mut self,
        ctx: &Ctx<'_>,
        server: Option<Ipv4Addr>,
        addr: Ipv4Addr,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let lease = self.held_by_sender(ctx, server, addr)?;
        if !self.store_ok {
            return Err(DropReason::StoreFailed);
        }
        let (window, max) = (ctx.network.quarantine, ctx.network.declines_max);
        let net = self.nets.get_mut(ctx.net).ok_or(DropReason::NoSubnet)?;
        if !net.declines.count(&ctx.client, ctx.now, window, max) {
            return Err(DropReason::TooManyDeclines);
        }
        if self.active_declined(ctx.now, ctx.id(), addr.into(), fx) {
            return self.let_go(ctx, lease, fx);
        }
        let state = State::Quarantined(QuarantineReason::Declined);
        let until = ctx.now + window;
        let declined = Lease { state, until, updated: ctx.now, ..lease.clone() };
        self.put(declined, Cause::Declined, fx);
        self.say(ctx.now, Some(ctx.id()), EventKind::Declined(Box::new(lease)), fx);
        Ok(())
    }

    /// RFC 2131 s4.3.4: free again, and remembered for the client.
    pub(super) fn give_back(
        &mut self,
        ctx: &Ctx<'_>,
        server: Option<Ipv4Addr>,
        addr: Ipv4Addr,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let lease = self.held_by_sender(ctx, server, addr)?;
        if !self.store_ok {
            return Err(DropReason::StoreFailed);
        }
        self.let_go(ctx, lease, fx)
    }

    /// Free again, and remembered for the client; of a pair, the active's as long as it lasts.
    fn let_go(&mut self, ctx: &Ctx<'_>, lease: Lease, fx: &mut Effects) -> Result<(), DropReason> {
        let (state, until) = (State::Released, ctx.now);
        let released = Lease { state, until, updated: ctx.now, ..lease.clone() };
        self.put(released, Cause::Released, fx);
        self.say(ctx.now, Some(ctx.id()), EventKind::Released(Box::new(lease)), fx);
        Ok(())
    }

    /// The lease of `addr`, if the sender is its holder: by identity, by hardware, by address
    /// where the packet has one of its own, and by bridge port where both are known.
    fn held_by_sender(
        &self,
        ctx: &Ctx<'_>,
        server: Option<Ipv4Addr>,
        addr: Ipv4Addr,
    ) -> Result<Lease, DropReason> {
        if server.is_some_and(|id| !self.is_our_id(ctx.policy, ctx.server_id, id)) {
            return Err(DropReason::OtherServer);
        }
        let source = *ctx.arrival.src.ip();
        let from_it = source.is_unspecified() || source == addr || ctx.is_relayed();
        let other_port =
            |l: &Lease| matches!((l.port, ctx.arrival.port), (Some(was), Some(is)) if was != is);
        // Until it is known again where the holder is (a restart forgets), by its own frame only.
        let foreign = ctx.can_probe() && !ctx.is_own_frame();
        let own_port = |l: &Lease| l.port.is_some() && l.port == ctx.arrival.port;
        self.table
            .get(ctx.id(), addr.into())
            .filter(|l| l.state == State::Leased && is_of(l, ctx) && l.hw == ctx.hw)
            .filter(|l| from_it && !other_port(l) && (!foreign || own_port(l)))
            .cloned()
            .ok_or(DropReason::NotTheHolder)
    }
}
