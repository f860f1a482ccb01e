//! The answer to each DHCPv4 request (RFC 2131 s4.3).

use std::net::{IpAddr, Ipv4Addr};

use crate::base::ident::KeyKind;
use crate::base::{ClientKey, HwAddr, Mac, Timestamp};
use crate::config::policy::{Bootp, HostId, Identity};
use crate::lease::directory::{Kept, Standby};
use crate::lease::{Lease, QuarantineReason, State};
use crate::wire::{Kind, Message};

use super::Engine;
use super::choose::Choice;
use super::classes::Classes;
use super::context::{Ctx, Path, Proof};
use super::effects::{Arrival, Destination, DropReason, Effects, EventKind, NakReason, Reply};
use super::grant::Grant;
use super::identity::{self, Identified};
use super::reply::Answer;
use super::request::Request;
use super::settings::{self, Chain};
use super::tally::{Asked, Before};
use super::wait::{Came, Packet, Question};

impl Engine {
    /// Handles the payload of one datagram. `proofs` is what ARP said, if the packet waited.
    pub(super) fn packet4(
        &mut self,
        now: Timestamp,
        arrival: Arrival,
        bytes: &[u8],
        proofs: &[Proof],
        fx: &mut Effects,
    ) {
        let network = self.links.get(&arrival.link).map(|up| up.network);
        let before = Before::of(fx, self.waiting.entered());
        let (hw, asked, result) = match Message::parse(bytes) {
            Err(_) => (None, Asked::Other, Err(DropReason::Malformed)),
            Ok(msg) if msg.op() == 2 => {
                self.overhear(now, &arrival, &msg, fx);
                return;
            }
            Ok(msg) => {
                let kind = msg.kind();
                let result = self.request4(now, arrival, bytes, (&msg, kind), proofs, fx);
                (Some(msg.hw()), Asked::of(kind), result)
            }
        };
        fx.outcomes.push((asked, before.outcome(result, fx, self.waiting.entered())));
        if let Err(reason) = result {
            self.say(now, network, EventKind::Dropped(reason, hw), fx);
        }
    }

    fn request4(
        &mut self,
        now: Timestamp,
        arrival: Arrival,
        bytes: &[u8],
        (msg, kind): (&Message<'_>, Kind),
        proofs: &[Proof],
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        if msg.op() != 1 || arrival.dst_port != 67 {
            return Err(DropReason::NotARequest);
        }
        let request = Request::of(msg, kind)?;
        let hw = msg.hw();
        check_hardware(msg, &hw)?;
        let policy = self.policy.clone();
        let at = self.select(&policy, &arrival, msg)?;
        let network = policy.networks.get(at.net).ok_or(DropReason::NoSubnet)?;
        if network.identity == Identity::Mac && hw.bytes().is_empty() {
            return Err(DropReason::BadHardwareAddress);
        }
        let classes = Classes::of(&policy.classes, msg, &hw, at.relay.as_ref());
        let net = self.nets.get(at.net).ok_or(DropReason::NoSubnet)?;
        let pair = self.pair_asking(network.id, Some(&hw)).filter(|pair| pair.is_of_v4());
        let own = pair.as_deref().map(Standby::kept);
        let kept = self.known4(network.id, msg, &hw, at.relay.as_ref());
        let kept = kept.as_deref().or(own.as_ref());
        let reservation = identity::reservation(net, network, msg, &hw, at.relay.as_ref());
        let rule = kept.and_then(Kept::rule4);
        // What the configuration reserves for somebody is of nobody else.
        let reservation = reservation.or(rule.filter(|r| !net.by_addr.contains_key(&r.addr)));
        let reservation = own.as_ref().and_then(Kept::rule4).or(reservation);
        let mut ctx = Ctx {
            now,
            arrival,
            bytes,
            msg,
            policy: &policy,
            net: at.net,
            network,
            scope: at.scope,
            path: at.path,
            relay: at.relay,
            server_id: at.server_id,
            hw,
            client: ClientKey::hardware(&hw),
            classes,
            reservation,
            kept,
            boot_stage: identity::is_boot_stage(msg),
            proofs,
            gated: pair.as_ref().is_some_and(|pair| !pair.is_promoted()),
        };
        if self.table.of_hw(ctx.id(), &ctx.hw).any(|lease| ctx.is_impostor_of(lease)) {
            return Err(DropReason::NotTheHolder);
        }
        self.admit4(&ctx, request, fx)?;
        if let Some(pair) = pair.filter(|pair| !pair.is_promoted()) {
            ctx.client = self.standby_key4(&ctx);
            return self.standby4(&ctx, &pair, request, fx);
        }
        if !self.name_client(&mut ctx, request, fx)? {
            return Ok(());
        }
        // What is reserved for an identifier or a cable is for one machine: never for its clone.
        let is_clone = ctx.client.kind() == KeyKind::Clone;
        ctx.reservation =
            ctx.reservation.filter(|r| !is_clone || matches!(r.host, HostId::Hardware(_)));
        self.answer4(&ctx, request, fx)
    }

    /// Finds out who the client is; `false` if the packet now waits for ARP to tell.
    fn name_client(
        &mut self,
        ctx: &mut Ctx<'_>,
        request: Request,
        fx: &mut Effects,
    ) -> Result<bool, DropReason> {
        match self.identify(ctx) {
            Identified::Known(key) => ctx.client = key,
            Identified::CloneOf(key, holder) => {
                ctx.client = key;
                self.say(ctx.now, Some(ctx.id()), EventKind::Clone(holder, ctx.hw), fx);
            }
            // What ends a binding or promises nothing is not worth a question.
            Identified::Ask { key, .. } if !request.wants_address() => ctx.client = key,
            Identified::Ask { addrs, holder, .. } => {
                self.ask(ctx, &addrs, Some(holder), fx)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Keeps the packet until the wire has said who has these addresses; `holder` is asked, or
    /// everybody.
    fn ask(
        &mut self,
        ctx: &Ctx<'_>,
        addrs: &[IpAddr],
        holder: Option<Mac>,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let packet = Packet {
            came: Came::V4(ctx.arrival),
            bytes: ctx.bytes.into(),
            proofs: ctx.proofs.to_vec(),
            share: ctx.share(),
            mac: ctx.hw.mac(),
        };
        let questions = addrs.iter().map(|addr| Question::new(*addr, holder)).collect();
        self.wait(ctx.now, ctx.id(), packet, questions, fx)
    }

    fn answer4(
        &mut self,
        ctx: &Ctx<'_>,
        request: Request,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        match request {
            Request::Bootp => self.bootp(ctx, fx),
            Request::Discover { wanted } => self.discover(ctx, wanted, fx),
            Request::Select { server, addr } => self.select_offer(ctx, server, addr, fx),
            Request::Reboot { addr } => self.reboot(ctx, addr, fx),
            Request::Extend { addr } => self.extend(ctx, addr, fx),
            Request::Decline { server, addr } => self.decline(ctx, server, addr, fx),
            Request::Release { server, addr } => self.give_back(ctx, server, addr, fx),
            Request::Inform { addr } => self.inform(ctx, addr, fx),
        }
    }

    fn discover(
        &mut self,
        ctx: &Ctx<'_>,
        wanted: Option<Ipv4Addr>,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let chosen = match self.choose(ctx, wanted, fx) {
            Ok(Choice::Take(chosen)) => chosen,
            Ok(Choice::Ask(addr)) => {
                return self.ask(ctx, &[addr.into()], None, fx);
            }
            Err(reason) => {
                self.note_refusal(ctx, reason);
                if reason == DropReason::Exhausted {
                    self.say(ctx.now, Some(ctx.id()), EventKind::Exhausted(ctx.hw), fx);
                }
                return self.decline_to_configure(ctx, reason, fx);
            }
        };
        // RFC 4039 s4.2: commit at once where client and policy want it.
        if ctx.network.rapid_commit && ctx.msg.rapid_commit() && self.store_ok {
            let grant = self.grant(ctx, chosen.addr, Grant::New, fx)?;
            let answer = Answer::ack(ctx, chosen.addr, grant.times).with_rapid_commit();
            return self.reply_after(ctx, &grant.chain, answer, fx);
        }
        self.offer(ctx, &chosen, fx);
        let chain = self.chain4(ctx, chosen.addr);
        let times = self.times4(ctx, &chain, chosen.addr);
        self.reply_now_by(ctx, &chain, Answer::offer(chosen.addr, times), fx)
    }

    /// RFC 2563 s2.3: a client that could make up an address is told whether it may.
    fn decline_to_configure(
        &mut self,
        ctx: &Ctx<'_>,
        reason: DropReason,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let told =
            Chain::of(ctx, None, None).option(crate::wire::options::AUTO_CONFIGURE).is_some();
        if !told || ctx.msg.auto_configure().is_none() {
            return Err(reason);
        }
        self.reply_now(ctx, Answer::no_address(), fx)
    }

    fn select_offer(
        &mut self,
        ctx: &Ctx<'_>,
        server: Ipv4Addr,
        addr: Ipv4Addr,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        if !self.is_our_id(ctx.policy, ctx.server_id, server) {
            // RFC 2131 s4.3.2: it chose another server; ours is free again. Never a lease.
            if let Some(offer) = self.offers.remove_client(ctx.id(), &ctx.client) {
                self.settle(offer.network, offer.resource);
            }
            return Err(DropReason::OtherServer);
        }
        if let Err(why) = self.entitled(ctx, addr) {
            return self.nak(ctx, addr, why, fx);
        }
        if self.has_claim(ctx, addr) {
            return self.acknowledge(ctx, addr, Grant::New, fx);
        }
        // Never offered, or the offer is gone: its like is offered only when proven free.
        match self.consider(ctx, addr, fx) {
            Some(Choice::Take(chosen)) => self.acknowledge(ctx, chosen.addr, Grant::New, fx),
            Some(Choice::Ask(addr)) => self.ask(ctx, &[addr.into()], None, fx),
            None => self.nak(ctx, addr, NakReason::Taken, fx),
        }
    }

    /// RFC 2131 s4.3.2, INIT-REBOOT: silence for strangers, NAK for a wrong address.
    fn reboot(
        &mut self,
        ctx: &Ctx<'_>,
        addr: Ipv4Addr,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        if !ctx.is_on_network(addr) {
            return self.nak_if_authoritative(ctx, addr, NakReason::WrongNetwork, fx);
        }
        let mut known = ctx.reservation.is_some();
        // It was told that it has this, and is to hear that it has not.
        known |= self.is_former_active(ctx.id(), &ctx.hw, addr.into());
        let mut its_own = ctx.reservation.is_some_and(|r| r.addr == addr);
        for lease in self.bindings_of(ctx) {
            known = true;
            its_own |= lease.resource == addr.into();
        }
        if !known {
            return Err(DropReason::UnknownClient);
        }
        match self.entitled(ctx, addr) {
            Ok(()) if its_own => self.acknowledge(ctx, addr, Grant::New, fx),
            Ok(()) => self.nak(ctx, addr, NakReason::WrongAddress, fx),
            Err(why) => self.nak(ctx, addr, why, fx),
        }
    }

    /// RENEWING and REBINDING.
    fn extend(
        &mut self,
        ctx: &Ctx<'_>,
        addr: Ipv4Addr,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        if !ctx.is_on_network(addr) {
            return self.nak_if_authoritative(ctx, addr, NakReason::WrongNetwork, fx);
        }
        let own = self.table.get(ctx.id(), addr.into()).filter(|l| is_of(l, ctx)).cloned();
        let reserved = ctx.reservation.is_some_and(|r| r.addr == addr);
        let Some(lease) = own.filter(|l| !matches!(l.state, State::Quarantined(_))) else {
            return match reserved {
                true => self.acknowledge_if_entitled(ctx, addr, Grant::New, fx),
                false => self.adopt(ctx, addr, fx),
            };
        };
        if !reserved && self.has_better(ctx, addr) {
            // A reservation came meanwhile: NAK brings the client to its own address.
            return self.nak(ctx, addr, NakReason::WrongAddress, fx);
        }
        match self.entitled(ctx, addr) {
            Ok(()) => self.acknowledge(ctx, addr, Grant::Extend, fx),
            // Its pool is gone or closed to it: the lease runs out, no sooner and no later.
            Err(NakReason::NotAllowed)
                if lease.state == State::Leased
                    // Less than a second cannot be said, and is no lease.
                    && lease.until.since(ctx.now).0 >= 1000
                    && !self.is_reserved_for_other(ctx, addr)
                    && !self.is_own(addr.into()) =>
            {
                let times = settings::Times::until(lease.until.since(ctx.now));
                self.reply_now(ctx, Answer::ack(ctx, addr, times), fx)
            }
            Err(why) => self.nak(ctx, addr, why, fx),
        }
    }

    /// A client renews what we never leased: we replaced another server. It keeps its address
    /// if that is ours to give and free, and if it is the one who answers for it on the wire.
    fn adopt(&mut self, ctx: &Ctx<'_>, addr: Ipv4Addr, fx: &mut Effects) -> Result<(), DropReason> {
        let held_by_other = self.table.get(ctx.id(), addr.into()).is_some_and(|l| {
            l.state == State::Leased
                || l.state == State::Quarantined(QuarantineReason::Declined)
                || l.state == State::Quarantined(QuarantineReason::Operator)
                || l.state == State::Quarantined(QuarantineReason::Leaving)
        });
        if held_by_other {
            return self.nak(ctx, addr, NakReason::Taken, fx);
        }
        if self.entitled(ctx, addr).is_err() || !ctx.can_probe() {
            return self.nak_if_authoritative(ctx, addr, NakReason::Unknown, fx);
        }
        match ctx.proof(addr) {
            None => self.ask(ctx, &[addr.into()], None, fx),
            Some(Proof { answer, .. }) if answer.is_some() && answer == ctx.hw.mac() => {
                self.acknowledge(ctx, addr, Grant::Adopt, fx)
            }
            // Somebody else answers for it, truly or not: no reason to take it from anybody.
            Some(Proof { answer: Some(_), .. }) => Err(DropReason::NotTheHolder),
            // Its own answer may be among those that were missed: it will ask again.
            Some(Proof { heard: false, .. }) => Err(DropReason::Overload),
            Some(_) => self.nak_if_authoritative(ctx, addr, NakReason::Unknown, fx),
        }
    }

    fn inform(
        &mut self,
        ctx: &Ctx<'_>,
        addr: Ipv4Addr,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        if !ctx.is_on_network(addr) {
            return Err(DropReason::NoSubnet);
        }
        self.say(ctx.now, Some(ctx.id()), EventKind::Informed(ctx.hw, addr.into()), fx);
        self.reply_now(ctx, Answer::parameters(addr), fx)
    }

    fn bootp(&mut self, ctx: &Ctx<'_>, fx: &mut Effects) -> Result<(), DropReason> {
        let served = match ctx.network.bootp {
            Bootp::Off => false,
            Bootp::Reserved => ctx.reservation.is_some(),
            Bootp::Any => true,
        };
        if !served {
            return Err(DropReason::Bootp);
        }
        match self.choose(ctx, None, fx)? {
            Choice::Ask(addr) => self.ask(ctx, &[addr.into()], None, fx),
            Choice::Take(chosen) => {
                let grant = self.grant(ctx, chosen.addr, Grant::Bootp, fx)?;
                self.reply_after(ctx, &grant.chain, Answer::bootp(chosen.addr), fx)
            }
        }
    }

    fn acknowledge_if_entitled(
        &mut self,
        ctx: &Ctx<'_>,
        addr: Ipv4Addr,
        how: Grant,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        match self.entitled(ctx, addr) {
            Ok(()) => self.acknowledge(ctx, addr, how, fx),
            Err(why) => self.nak(ctx, addr, why, fx),
        }
    }

    fn acknowledge(
        &mut self,
        ctx: &Ctx<'_>,
        addr: Ipv4Addr,
        how: Grant,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let grant = self.grant(ctx, addr, how, fx)?;
        self.reply_after(ctx, &grant.chain, Answer::ack(ctx, addr, grant.times), fx)
    }

    fn nak_if_authoritative(
        &mut self,
        ctx: &Ctx<'_>,
        addr: Ipv4Addr,
        why: NakReason,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        if !ctx.network.authoritative {
            return Err(DropReason::UnknownClient);
        }
        self.nak(ctx, addr, why, fx)
    }

    fn nak(
        &mut self,
        ctx: &Ctx<'_>,
        addr: Ipv4Addr,
        why: NakReason,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        if let Some(offer) = self.offers.remove_client(ctx.id(), &ctx.client) {
            self.settle(offer.network, offer.resource);
        }
        self.say(ctx.now, Some(ctx.id()), EventKind::Nak(ctx.hw, addr, why), fx);
        self.reply_now(ctx, Answer::nak(), fx)?;
        if why == NakReason::Moved {
            nak_to_holder(ctx, fx);
        }
        Ok(())
    }
}

/// Sends the NAK that was just made to the client's own address too: who renews by unicast may hear
/// nothing else (dhcpcd does not), and the address is its own until it has another.
fn nak_to_holder(ctx: &Ctx<'_>, fx: &mut Effects) {
    let ip = ctx.msg.ciaddr();
    let mac = ctx.hw.mac().filter(|_| ctx.path == Path::Link && !ip.is_unspecified());
    if let (Some(mac), Some(nak)) = (mac, fx.send_now.last()) {
        let to = Destination::Frame { link: ctx.arrival.link, mac, from: ctx.server_id, ip };
        fx.send_now.push(Reply { to, ..nak.clone() });
    }
}

/// Whether a binding is this client's: by its key, or as another stage of the same boot.
pub(super) fn is_of(lease: &Lease, ctx: &Ctx<'_>) -> bool {
    lease.client == ctx.client || is_sibling(lease, ctx)
}

/// Firmware, iPXE, installer and system of one machine are one instance.
pub(super) fn is_sibling(lease: &Lease, ctx: &Ctx<'_>) -> bool {
    (ctx.boot_stage || lease.details.boot_stage) && !ctx.hw.bytes().is_empty() && lease.hw == ctx.hw
}

/// RFC 2131 s2, RFC 4390 s2.1: a hardware address may be absent only where an identifier is
/// there; and it is never a group's.
fn check_hardware(msg: &Message<'_>, hw: &HwAddr) -> Result<(), DropReason> {
    let id = msg.client_id();
    if id.as_ref().is_some_and(|id| id.is_empty()) {
        return Err(DropReason::EmptyClientId);
    }
    let group = hw.htype() == 1 && hw.mac().is_some_and(|m| m.is_group() || m.0 == [0; 6]);
    if group || (hw.bytes().is_empty() && id.is_none()) {
        return Err(DropReason::BadHardwareAddress);
    }
    Ok(())
}
