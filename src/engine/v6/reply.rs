//! What a DHCPv6 reply says and where it goes (RFC 9915 s18.3.9, s18.3.10, s19.3).

use crate::base::{ClientKey, Prefix6, Resource, Span};
use crate::engine::Engine;
use crate::engine::effects::{Destination, DropReason, Effects, Reply};
use crate::engine::tally::Answered;
use crate::engine::wake::AUTH_LEN;
use crate::wire::options6::{self as opt, StatusCode};
use crate::wire::{Ia, IaKind, Kind6, MessageType6, Writer6, wrap_relay};

use super::context::{Chain6, Ctx6, Lifetimes};

/// Largest payload: what fits a frame of 1500 bytes.
const PAYLOAD_MAX: usize = 1500 - 48;

/// The part of a reply that depends on the decision.
#[derive(Clone, Copy, Debug)]
pub struct Answer6 {
    kind: MessageType6,
    status: Option<StatusCode>,
    rapid_commit: bool,
    /// What the client is told, so that it can be asked to renew.
    nonce: Option<[u8; AUTH_LEN]>,
}

/// One resource and its lifetimes.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// An address or a prefix.
    pub resource: Resource,
    /// How long it may be used.
    pub lifetimes: Lifetimes,
    /// The part of a prefix that its holder must not use (RFC 6603).
    pub exclude: Option<Prefix6>,
}

/// What one identity association is told.
#[derive(Debug)]
pub struct IaAnswer {
    kind: IaKind,
    iaid: u32,
    /// What it has.
    pub terms: Vec<Term>,
    /// What it must stop using.
    zero: Vec<Resource>,
    status: Option<StatusCode>,
}

impl Answer6 {
    /// ADVERTISE.
    pub fn advertise() -> Answer6 {
        Answer6 { kind: MessageType6::Advertise, ..Answer6::reply() }
    }

    /// REPLY with leases.
    pub fn reply() -> Answer6 {
        Answer6 { kind: MessageType6::Reply, status: None, rapid_commit: false, nonce: None }
    }

    /// The same as the answer to a rapid commit.
    pub fn rapid(self) -> Answer6 {
        Answer6 { rapid_commit: true, ..self }
    }

    /// REPLY with a status for the whole message.
    pub fn status(status: StatusCode) -> Answer6 {
        Answer6 { status: Some(status), ..Answer6::reply() }
    }

    /// REPLY to an INFORMATION-REQUEST.
    pub fn information() -> Answer6 {
        Answer6::reply()
    }
}

impl IaAnswer {
    /// It has these.
    pub fn granted(ia: &Ia<'_>, terms: Vec<Term>) -> IaAnswer {
        IaAnswer { kind: ia.kind, iaid: ia.iaid, terms, zero: Vec::new(), status: None }
    }

    /// Whether nothing was free for it.
    pub fn is_exhausted(&self) -> bool {
        matches!(self.status, Some(StatusCode::NoAddrsAvail | StatusCode::NoPrefixAvail))
    }

    /// It has nothing, for this reason.
    pub fn refused(ia: &Ia<'_>, status: StatusCode) -> IaAnswer {
        IaAnswer { status: Some(status), ..IaAnswer::granted(ia, Vec::new()) }
    }

    /// Whether it says nothing.
    pub fn is_about_nothing(&self) -> bool {
        self.terms.is_empty() && self.zero.is_empty() && self.status.is_none()
    }

    /// It must stop using these too.
    pub fn add_zero(&mut self, resources: impl Iterator<Item = Resource>) {
        for resource in resources {
            if !self.zero.contains(&resource) {
                self.zero.push(resource);
            }
        }
    }

    /// T1 and T2: as configured, else 0.5 and 0.8 of the shortest preferred lifetime (s21.4);
    /// none where there is nothing to renew.
    pub fn renewal(&self) -> Option<(Span, Span)> {
        let first = self.terms.first()?;
        let shortest = self.terms.iter().map(|t| t.lifetimes.preferred).min();
        let shortest = shortest.unwrap_or(Span::ZERO);
        if shortest.is_forever() {
            return Some((shortest, shortest));
        }
        let t2 = first.lifetimes.t2.filter(|t2| *t2 <= shortest);
        let early = |time| first.lifetimes.pace.earlier(time, first.lifetimes.jitter);
        let t2 = t2.unwrap_or_else(|| early(Span(shortest.0 / 5 * 4)));
        let t1 = first.lifetimes.t1.filter(|t1| *t1 <= t2);
        let t1 = t1.unwrap_or_else(|| early(Span(shortest.0 / 2)));
        Some((t1.min(t2), t2))
    }

    /// How many bytes it takes at most, without what must no longer be used.
    fn len(&self) -> usize {
        let status = self.status.map_or(0, |status| 6 + text(status).len());
        IA_LEN + self.terms.len() * resource_len(self.kind) + status
    }

    fn write(&self, (t1, t2): (Span, Span), zeros: usize, out: &mut Writer6<'_>) {
        let (t1, t2) = if self.terms.is_empty() { (Span::ZERO, Span::ZERO) } else { (t1, t2) };
        out.ia(self.kind, self.iaid, t1.wire_secs(), t2.wire_secs(), |ia| {
            for Term { resource, lifetimes, exclude } in &self.terms {
                let (preferred, valid) =
                    (lifetimes.preferred.wire_secs(), lifetimes.valid.wire_secs());
                write_resource(ia, *resource, preferred, valid, *exclude);
            }
            self.zero
                .iter()
                .take(zeros)
                .for_each(|resource| write_resource(ia, *resource, 0, 0, None));
            if let Some(status) = self.status {
                ia.status(status, text(status));
            }
        });
    }
}

/// The answers to the IAs of one message, as far as there is room for them. What is not told is
/// not to be bound: ask for room first.
#[derive(Debug)]
pub struct Answers6 {
    list: Vec<IaAnswer>,
    room: usize,
}

impl Answers6 {
    /// None yet, in a message with these identifiers.
    pub fn new(client: &[u8], server: &[u8]) -> Answers6 {
        let room = PAYLOAD_MAX.saturating_sub(BESIDE_IAS + client.len() + server.len());
        Answers6 { list: Vec::new(), room }
    }

    /// How many addresses or prefixes one IA more may have; if none, it has no answer at all.
    pub fn room_for(&self, kind: IaKind) -> usize {
        self.room.saturating_sub(IA_LEN) / resource_len(kind)
    }

    /// Adds an answer. What its IA must stop using is told as far as all have left room.
    pub fn push(&mut self, answer: IaAnswer) {
        self.room = self.room.saturating_sub(answer.len());
        self.list.push(answer);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether nothing was free for one of them.
    pub fn is_exhausted(&self) -> bool {
        self.list.iter().any(IaAnswer::is_exhausted)
    }

    /// Whether any IA has something.
    pub fn grant_something(&self) -> bool {
        self.list.iter().any(|answer| !answer.terms.is_empty())
    }

    /// One T1 and one T2 for all: a client renews all its IAs in one message, at the earliest of
    /// their times (s18.2.4).
    fn renewal(&self) -> (Span, Span) {
        let times: Vec<(Span, Span)> = self.list.iter().filter_map(IaAnswer::renewal).collect();
        let t1 = times.iter().map(|(t1, _)| *t1).min();
        let t2 = times.iter().map(|(_, t2)| *t2).min();
        (t1.unwrap_or(Span::ZERO), t2.unwrap_or(Span::ZERO))
    }
}

/// An IA without what is in it: option header, IAID, T1 and T2.
const IA_LEN: usize = 4 + 12;

/// Header, preference, rapid commit, status, the headers of the identifiers, and what is told of how
/// the client can be asked.
const BESIDE_IAS: usize = 64 + 4 + 4 + AUTH_LEN;

/// An address, or a prefix with what is excluded of it, as options.
fn resource_len(kind: IaKind) -> usize {
    match kind {
        IaKind::Pd => 4 + 25 + 4 + 17,
        IaKind::Na | IaKind::Ta => 4 + 24,
    }
}

fn write_resource(
    ia: &mut Writer6<'_>,
    resource: Resource,
    preferred: u32,
    valid: u32,
    exclude: Option<Prefix6>,
) {
    match resource {
        Resource::V6(addr) => ia.ia_addr(addr, preferred, valid, |_| {}),
        Resource::Prefix6(addr, len) => {
            let Some(prefix) = Prefix6::new(addr, len) else { return };
            ia.ia_prefix(prefix, preferred, valid, |inside| {
                if let Some(excluded) = exclude {
                    inside.pd_exclude(prefix, excluded);
                }
            });
        }
        Resource::V4(_) => {}
    }
}

fn text(status: StatusCode) -> &'static str {
    match status {
        StatusCode::Success => "done",
        StatusCode::NoAddrsAvail => "no address is free",
        StatusCode::NoBinding => "not bound here",
        StatusCode::NotOnLink => "not of this link",
        StatusCode::NoPrefixAvail => "no prefix is free",
        _ => "",
    }
}

impl Engine {
    /// What an IA is told of what it gets, each by its tier.
    pub(in crate::engine) fn answer6(
        &self,
        ctx: &Ctx6<'_>,
        ia: &Ia<'_>,
        key: &ClientKey,
        resources: &[Resource],
    ) -> IaAnswer {
        let terms = resources.iter().map(|resource| {
            let tier = self.tier_settings(ctx.network, *resource);
            let chain = ctx.chain_in(Some(*resource), tier);
            let of = (ctx.id(), *resource);
            let pace = self.pace(ctx.now, of, (key, ctx.duid), chain.is_adaptive());
            let lifetimes = chain.lifetimes(pace);
            let exclude = match *resource {
                Resource::Prefix6(addr, len) => Prefix6::new(addr, len)
                    .and_then(|p| Some((p, ctx.delegation_of(p)?.exclude?)))
                    .and_then(|(p, exclude)| exclude.of(p)),
                _ => None,
            };
            Term { resource: *resource, lifetimes, exclude }
        });
        IaAnswer::granted(ia, terms.collect())
    }

    /// Sends an answer that promises nothing new.
    pub(in crate::engine) fn reply6_now(
        &mut self,
        ctx: &Ctx6<'_>,
        answer: Answer6,
        ias: &Answers6,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let reply = build(ctx, answer, ias, &self.duid, fx)?;
        fx.send_now.push(reply);
        Ok(())
    }

    /// Sends an answer once the open batch is durable.
    pub(in crate::engine) fn reply6_after(
        &mut self,
        ctx: &Ctx6<'_>,
        answer: Answer6,
        ias: &Answers6,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        // RFC 9915 s20.4.2: with the reply that gives it its first lease.
        let begins =
            matches!(ctx.msg.kind(), Kind6::Known(MessageType6::Solicit | MessageType6::Request));
        let told = begins && ctx.takes_reconfigure() && ias.grant_something();
        let nonce = told.then(|| self.nonce(ctx.now, ctx.id(), ctx.duid));
        let reply = build(ctx, Answer6 { nonce, ..answer }, ias, &self.duid, fx)?;
        fx.send_after.push(reply);
        Ok(())
    }
}

fn build(
    ctx: &Ctx6<'_>,
    answer: Answer6,
    ias: &Answers6,
    duid: &[u8],
    fx: &mut Effects,
) -> Result<Reply, DropReason> {
    let start = fx.bytes.len();
    if ctx.hops.is_empty() {
        write(ctx, answer, ias, duid, &mut fx.bytes)?;
    } else {
        let mut inner = Vec::with_capacity(512);
        write(ctx, answer, ias, duid, &mut inner)?;
        wrap_relay(ctx.hops, &inner, &mut fx.bytes).map_err(|_| DropReason::Unsendable)?;
    }
    let kind = match answer.kind {
        MessageType6::Advertise => Answered::Advertise,
        _ => Answered::Reply,
    };
    Ok(Reply { to: destination(ctx), kind, payload: start..fx.bytes.len() })
}

fn write(
    ctx: &Ctx6<'_>,
    answer: Answer6,
    ias: &Answers6,
    duid: &[u8],
    bytes: &mut Vec<u8>,
) -> Result<(), DropReason> {
    let about = ias.list.iter().find_map(|ia| ia.terms.first()).map(|term| term.resource);
    let chain = ctx.chain(about);
    let mut out = Writer6::begin(bytes, answer.kind, ctx.msg.xid(), PAYLOAD_MAX);
    if !ctx.duid.is_empty() {
        out.option(opt::CLIENT_ID, ctx.duid);
    }
    out.option(opt::SERVER_ID, duid);
    if answer.kind == MessageType6::Advertise
        && let Some(preference) = ctx.network.v6.preference
    {
        out.u8(opt::PREFERENCE, preference);
    }
    if answer.rapid_commit {
        out.option(opt::RAPID_COMMIT, &[]);
    }
    if answer.kind == MessageType6::Advertise && ctx.takes_reconfigure() || answer.nonce.is_some() {
        out.option(opt::RECONF_ACCEPT, &[]);
    }
    if let Some(nonce) = &answer.nonce {
        out.option(opt::AUTH, nonce);
    }
    if let Some(status) = answer.status {
        out.status(status, text(status));
    }
    let (times, mut room) = (ias.renewal(), ias.room);
    for ia in &ias.list {
        let zeros = ia.zero.len().min(room / resource_len(ia.kind));
        room -= zeros * resource_len(ia.kind);
        ia.write(times, zeros, &mut out);
    }
    options(ctx, &chain, &mut out);
    out.finish().map(drop).map_err(|_| DropReason::Unsendable)
}

/// What the client asks for (s21.7), then what policy always sends, as far as there is room.
fn options(ctx: &Ctx6<'_>, chain: &Chain6<'_>, out: &mut Writer6<'_>) {
    let mut sent: Vec<u16> = Vec::new();
    for code in ctx.msg.oro() {
        if !sent.contains(&code) && !is_ours(code) {
            sent.push(code);
            chain.option(code).iter().for_each(|o| {
                out.try_option(code, &o.data);
            });
        }
    }
    for option in chain.always().filter(|o| !sent.contains(&o.code)) {
        out.try_option(option.code, &option.data);
    }
    if let Some(fqdn) = fqdn(ctx) {
        out.try_option(opt::CLIENT_FQDN, &fqdn);
    }
    http_boot(ctx, chain, out);
}

/// UEFI 2.10 s24.7.3.3: an HTTP boot client knows its server by the vendor class.
fn http_boot(ctx: &Ctx6<'_>, chain: &Chain6<'_>, out: &mut Writer6<'_>) {
    const HTTP: &[u8] = b"HTTPClient";
    let Some(class) = ctx.msg.vendor_class() else { return };
    if chain.option(opt::BOOT_FILE_URL).is_empty()
        || !class.items().any(|item| item.starts_with(HTTP))
    {
        return;
    }
    let length = (HTTP.len() as u16).to_be_bytes();
    let data = [&class.enterprise.to_be_bytes(), &length[..], HTTP].concat();
    out.try_option(opt::VENDOR_CLASS, &data);
}

/// RFC 4704 s6: answered only when sent; we keep no DNS records, and say so.
fn fqdn(ctx: &Ctx6<'_>) -> Option<Vec<u8>> {
    let client = ctx.msg.fqdn()?;
    let name = match ctx.reservation.and_then(|r| r.hostname.as_deref()) {
        Some(reserved) => reserved.to_owned(),
        None => client.name()?.to_string(),
    };
    let mut out = Vec::new();
    opt::fqdn_reply(&client, false, &name, &mut out).ok()?;
    Some(out)
}

/// Codes that the server decides about, whoever asks.
fn is_ours(code: u16) -> bool {
    matches!(code, 1..=11 | 13..=16 | 18..=20 | 25 | 26 | 39)
}

/// s7.2, s19.3: to the client's port on its link, or back to the relay.
fn destination(ctx: &Ctx6<'_>) -> Destination {
    let link = ctx.arrival.link;
    let ip = *ctx.arrival.src.ip();
    match (ctx.hops.is_empty(), ctx.arrival.src_mac) {
        (true, Some(mac)) => Destination::Frame6 { link, mac, ip },
        (relayed, _) => {
            // RFC 8357 s5.2: to the port the relay sent from, if it says so.
            let by_port = ctx.hops.first().and_then(|h| h.relay_port()).is_some();
            let port = match (relayed, by_port) {
                (true, _) => 546,
                (false, true) => ctx.arrival.src.port(),
                (false, false) => 547,
            };
            Destination::Udp6 { link, from: ctx.arrival.dst, to: (ip, port) }
        }
    }
}
