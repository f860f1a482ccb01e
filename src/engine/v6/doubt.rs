//! What the wire is asked before a message is answered: whether an address that the client names
//! is free, whether the holder of its identity lives, and who has an address that we never leased.

use std::net::Ipv6Addr;

use crate::base::{ClientKey, Resource};
use crate::config::policy::Generate;
use crate::engine::Engine;
use crate::engine::context::Proof;
use crate::engine::effects::{DropReason, Effects, EventKind};
use crate::engine::identity::{Identified, Suspect};
use crate::engine::wait::{Came, Packet, Question};
use crate::wire::{Ia, IaKind};

use super::assign::stable_start;
use super::context::Ctx6;
use super::ias;
use super::request::Request6;

/// Most addresses that one message has us ask about; with more, the rest is not given by name.
pub(super) const QUESTIONS_MAX: usize = 8;

impl Engine {
    /// Asks the wire what must be known before the answer; `false` if the message now waits.
    pub(super) fn settle_doubts(
        &mut self,
        ctx: &Ctx6<'_>,
        request: Request6,
        fx: &mut Effects,
    ) -> Result<bool, DropReason> {
        if !request.wants_resources() {
            return Ok(true);
        }
        let (mut questions, mut clones) = (Vec::new(), Vec::new());
        if let Some((holder, addrs)) = &ctx.rival {
            questions.extend(addrs.iter().map(|addr| Question::new(*addr, Some(*holder))));
        }
        for ia in ias(ctx) {
            let key = match self.identify6(ctx, &ia) {
                Identified::Ask { addrs, holder, .. } => {
                    let asked = addrs.into_iter().map(|addr| Question::new(addr, Some(holder)));
                    questions.extend(asked);
                    continue;
                }
                Identified::CloneOf(key, holder) => {
                    clones.push(holder);
                    key
                }
                Identified::Known(key) => key,
            };
            let doubtful = self.doubtful(ctx, request, &ia, &key);
            questions.extend(doubtful.into_iter().map(|addr| Question::new(addr, None)));
        }
        questions.truncate(QUESTIONS_MAX.saturating_sub(ctx.proofs.len()));
        let must = questions.iter().any(Question::is_of_holder);
        if self.waiting.is_full(ctx.share()) && !must {
            questions.clear();
        }
        if !questions.is_empty() {
            self.ask6(ctx, questions, fx)?;
            return Ok(false);
        }
        if let (Some(hw), Some(holder)) = (ctx.hw, clones.pop()) {
            self.say(ctx.now, Some(ctx.id()), EventKind::Clone(holder, hw), fx);
        }
        Ok(true)
    }

    fn ask6(
        &mut self,
        ctx: &Ctx6<'_>,
        questions: Vec<Question>,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let packet = Packet {
            came: Came::V6(ctx.arrival),
            bytes: ctx.bytes.into(),
            proofs: ctx.proofs.to_vec(),
            share: ctx.share(),
            mac: ctx.hw.and_then(|hw| hw.mac()),
        };
        self.wait(ctx.now, ctx.id(), packet, questions, fx)
    }

    /// The key of an identity association. The same DUID from other hardware is a changed NIC if
    /// the old hardware is silent, and a clone if it lives.
    pub(super) fn identify6(&self, ctx: &Ctx6<'_>, ia: &Ia<'_>) -> Identified {
        let key = match ia.kind {
            IaKind::Pd => ClientKey::ia_pd(ctx.duid, ia.iaid),
            _ => ClientKey::ia(ctx.duid, ia.iaid),
        };
        let Some(hw) = ctx.hw.filter(|_| ctx.network.identity.is_clone_safe()) else {
            return Identified::Known(key);
        };
        self.clone_or_changed(Suspect {
            now: ctx.now,
            network: ctx.id(),
            key,
            own: match ia.kind {
                IaKind::Pd => ClientKey::ia_pd_clone(ctx.duid, ia.iaid, &hw),
                _ => ClientKey::ia_clone(ctx.duid, ia.iaid, &hw),
            },
            hw: &hw,
            account: &|| ctx.chain(None).account(),
            proofs: ctx.proofs,
            can_probe: ctx.can_probe(),
        })
    }

    /// Addresses that an identity association may get if nobody else answers for them.
    fn doubtful(
        &self,
        ctx: &Ctx6<'_>,
        request: Request6,
        ia: &Ia<'_>,
        key: &ClientKey,
    ) -> Vec<Ipv6Addr> {
        if ia.kind != IaKind::Na || !ctx.can_probe() {
            return Vec::new();
        }
        let named = ctx.named(ia).filter(|r| self.entitled6(ctx, key, *r)).filter_map(v6);
        let unasked = |addr: &Ipv6Addr| ctx.proof(*addr).is_none();
        if request == Request6::Rebind {
            let unknown = self.held(ctx, key, ia.kind).is_empty();
            let strange = |addr: &Ipv6Addr| !self.was_its_own(ctx, key, (*addr).into());
            return named.filter(|_| unknown).filter(strange).filter(unasked).collect();
        }
        let fresh = matches!(request, Request6::Solicit | Request6::Request);
        if !fresh || !ctx.network.verify.enabled || !self.claimed(ctx, ia, key, &[]).is_empty() {
            return Vec::new();
        }
        let mut named = named.filter(|addr| ctx.is_silent(*addr) || unasked(addr));
        let candidate = named.next().or_else(|| self.stable_candidate(ctx, key));
        candidate.filter(unasked).into_iter().collect()
    }

    /// The address that a stable pool has for this client, if such a pool comes first.
    fn stable_candidate(&self, ctx: &Ctx6<'_>, key: &ClientKey) -> Option<Ipv6Addr> {
        let net = self.nets.get(ctx.net)?;
        for (subnet, policy) in ctx.subnets() {
            for pool in net.pools6.iter().filter(|p| p.subnet == subnet) {
                let Some(of) = policy.pools.get(pool.index) else { continue };
                if !ctx.may_use(&of.allow, &of.deny) || pool.free.available() == 0 {
                    continue;
                }
                if of.generate != Generate::Stable {
                    return None;
                }
                let from = stable_start(&self.lots, of, key);
                return pool.free.peek_from(from).map(Ipv6Addr::from_bits);
            }
        }
        None
    }

    /// Heeds what others answered for addresses that are free by our books.
    pub(super) fn heed_proofs(&mut self, ctx: &Ctx6<'_>, fx: &mut Effects) {
        let own = ctx.hw.and_then(|hw| hw.mac());
        for Proof { addr, answer, source, .. } in ctx.proofs {
            let Some(mac) = answer.filter(|mac| Some(*mac) != own) else { continue };
            let held = self.table.get(ctx.id(), (*addr).into()).is_some_and(|l| l.state.is_held());
            if !held {
                self.in_use(ctx.now, ctx.net, *addr, mac, *source, fx);
            }
        }
    }

    /// What a client that rebinds may keep though it is not bound: its own until of late; or we
    /// replaced another server, and it is the one who answers for it on the wire. A prefix answers nothing; it goes with
    /// the addresses of the same client.
    pub(super) fn adoptable(
        &self,
        ctx: &Ctx6<'_>,
        ia: &Ia<'_>,
        key: &ClientKey,
        is_proven: bool,
    ) -> Vec<Resource> {
        let entitled = ctx.named(ia).filter(|r| self.entitled6(ctx, key, *r));
        entitled
            .filter(|resource| match resource {
                _ if self.was_its_own(ctx, key, *resource) => true,
                Resource::V6(addr) => ctx.answers_for(*addr),
                _ => is_proven,
            })
            .take(
                self.room_on_port(ctx.network, ctx.access_port())
                    .map_or(usize::MAX, |n| n as usize),
            )
            .collect()
    }

    /// Whether the last binding of `resource` was this client's.
    fn was_its_own(&self, ctx: &Ctx6<'_>, key: &ClientKey, resource: Resource) -> bool {
        let lease = self.table.get(ctx.id(), resource);
        lease.is_some_and(|l| l.client == *key && l.state.is_remembered())
    }

    /// Whether the client was heard to have an address that this message names.
    pub(super) fn is_proven(&self, ctx: &Ctx6<'_>) -> bool {
        let mut named = ias(ctx).flat_map(|ia| ctx.named(&ia).collect::<Vec<_>>()).filter_map(v6);
        named.any(|addr| ctx.answers_for(addr))
    }
}

fn v6(resource: Resource) -> Option<Ipv6Addr> {
    match resource {
        Resource::V6(addr) => Some(addr),
        _ => None,
    }
}
