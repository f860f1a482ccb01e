//! What a reply says and where it goes (RFC 2131 s4.1, s4.3.1, table 3).

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddrV4};

use smallvec::SmallVec;

use crate::base::Mac;
use crate::wire::options as opt;
use crate::wire::{MessageType, OutOption, ReplyV4, write_reply};

use super::Engine;
use super::context::{Ctx, Path};
use super::effects::{Destination, DropReason, Effects, Reply};
use super::settings::{Chain, Times};
use super::tally::Answered;
use super::wake::{AUTH_LEN, HMAC_MD5};

/// The part of a reply that depends on the decision; the rest follows from request and policy.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    kind: Option<MessageType>,
    yiaddr: Ipv4Addr,
    ciaddr: Ipv4Addr,
    /// Whose subnet, pool and options count.
    about: Option<Ipv4Addr>,
    times: Option<Times>,
    rapid_commit: bool,
    auto_configure: bool,
}

impl Answer {
    const EMPTY: Answer = Answer {
        kind: None,
        yiaddr: Ipv4Addr::UNSPECIFIED,
        ciaddr: Ipv4Addr::UNSPECIFIED,
        about: None,
        times: None,
        rapid_commit: false,
        auto_configure: false,
    };

    /// DHCPOFFER.
    pub fn offer(addr: Ipv4Addr, times: Times) -> Answer {
        let kind = Some(MessageType::Offer);
        Answer { kind, yiaddr: addr, about: Some(addr), times: Some(times), ..Answer::EMPTY }
    }

    /// DHCPACK of a lease.
    pub fn ack(ctx: &Ctx<'_>, addr: Ipv4Addr, times: Times) -> Answer {
        let kind = Some(MessageType::Ack);
        Answer { kind, ciaddr: ctx.msg.ciaddr(), ..Answer::offer(addr, times) }
    }

    /// DHCPACK to an INFORM: parameters only.
    pub fn parameters(addr: Ipv4Addr) -> Answer {
        Answer { kind: Some(MessageType::Ack), ciaddr: addr, about: Some(addr), ..Answer::EMPTY }
    }

    /// DHCPNAK.
    pub fn nak() -> Answer {
        Answer { kind: Some(MessageType::Nak), ..Answer::EMPTY }
    }

    /// An offer of nothing that says whether the client may make up an address (RFC 2563).
    pub fn no_address() -> Answer {
        Answer { kind: Some(MessageType::Offer), auto_configure: true, ..Answer::EMPTY }
    }

    /// A BOOTP reply: a binding without end, and no message type.
    pub fn bootp(addr: Ipv4Addr) -> Answer {
        Answer { yiaddr: addr, about: Some(addr), ..Answer::EMPTY }
    }

    /// The same as the answer to a rapid commit (RFC 4039).
    pub fn with_rapid_commit(self) -> Answer {
        Answer { rapid_commit: true, ..self }
    }

    fn is_nak(&self) -> bool {
        self.kind == Some(MessageType::Nak)
    }
}

impl Engine {
    /// Sends an answer that promises nothing new.
    pub(super) fn reply_now(
        &mut self,
        ctx: &Ctx<'_>,
        answer: Answer,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        self.reply_now_by(ctx, &Chain::of(ctx, answer.about, None), answer, fx)
    }

    /// The same where the settings for its address are known.
    pub(super) fn reply_now_by<'a>(
        &mut self,
        ctx: &Ctx<'a>,
        chain: &Chain<'a>,
        answer: Answer,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let reply = build(ctx, &answer, chain, None, fx)?;
        fx.send_now.push(reply);
        Ok(())
    }

    /// Sends an answer once the open batch is durable.
    pub(super) fn reply_after<'a>(
        &mut self,
        ctx: &Ctx<'a>,
        chain: &Chain<'a>,
        answer: Answer,
        fx: &mut Effects,
    ) -> Result<(), DropReason> {
        let told = answer.times.is_some() && ctx.takes_forcerenew();
        let nonce = told.then(|| self.nonce(ctx.now, ctx.id(), ctx.client.as_bytes()));
        let reply = build(ctx, &answer, chain, nonce.as_ref(), fx)?;
        fx.send_after.push(reply);
        Ok(())
    }
}

fn build<'a>(
    ctx: &Ctx<'a>,
    answer: &Answer,
    chain: &Chain<'a>,
    nonce: Option<&[u8; AUTH_LEN]>,
    fx: &mut Effects,
) -> Result<Reply, DropReason> {
    let boot_file = if answer.is_nak() { None } else { chain.boot_file() };
    let encoded = Encoded::of(ctx, answer, chain);
    let mut list = OptionList::default();
    match answer.is_nak() {
        true => nak_options(ctx, &encoded, &mut list),
        false => all_options(ctx, answer, chain, &encoded, boot_file, &mut list),
    }
    if let Some(nonce) = nonce {
        // RFC 6704 s3.1.2.
        list.push(opt::FORCERENEW_NONCE_CAPABLE, &[HMAC_MD5], false);
        list.push(opt::AUTHENTICATION, nonce, false);
    }
    let msg = ctx.msg;
    let relayed = ctx.is_relayed();
    // RFC 2131 s4.3.2: a NAK must reach a client whose address is wrong, so by broadcast.
    let flags = if answer.is_nak() && relayed { msg.flags() | 0x8000 } else { msg.flags() };
    let reply = ReplyV4 {
        htype: msg.htype(),
        hlen: msg.hlen(),
        hops: 0,
        xid: msg.xid(),
        secs: 0,
        flags,
        ciaddr: answer.ciaddr,
        yiaddr: answer.yiaddr,
        siaddr: chain.next_server().filter(|_| !answer.is_nak()).unwrap_or(Ipv4Addr::UNSPECIFIED),
        giaddr: msg.giaddr(),
        chaddr: msg.chaddr(),
        sname: chain.server_name().filter(|_| !answer.is_nak()).unwrap_or_default().as_bytes(),
        file: boot_file.filter(|f| f.len() <= FILE_MAX).unwrap_or_default().as_bytes(),
        options: &list.options,
        relay_info: ctx.relay.as_ref().map(|r| r.raw()),
    };
    let start = fx.bytes.len();
    if write_reply(&reply, limit(ctx), &mut fx.bytes).is_unsendable() {
        return Err(DropReason::Unsendable);
    }
    let kind = match answer.kind {
        Some(MessageType::Offer) => Answered::Offer,
        Some(MessageType::Nak) => Answered::Nak,
        _ => Answered::Ack,
    };
    Ok(Reply { to: destination(ctx, answer), kind, payload: start..fx.bytes.len() })
}

/// Longest boot file that the header field holds with its terminating zero.
const FILE_MAX: usize = 127;

/// How long the UDP payload may be: option 57 counts the IP and UDP headers (RFC 2132 s9.10),
/// every client takes 576 bytes (RFC 2131 s2), and no frame is longer than Ethernet's 1500.
fn limit(ctx: &Ctx<'_>) -> usize {
    const HEADERS: u16 = 28;
    usize::from(ctx.msg.max_message_size().unwrap_or(576).clamp(576, 1500) - HEADERS)
}

/// Values that are encoded for one reply; they outlive the option list.
struct Encoded<'a> {
    kind: [u8; 1],
    server: [u8; 4],
    times: Option<[[u8; 4]; 3]>,
    mask: Option<[u8; 4]>,
    broadcast: Option<[u8; 4]>,
    client_id: Option<Cow<'a, [u8]>>,
    fqdn: Vec<u8>,
    next_server: Option<String>,
}

impl<'a> Encoded<'a> {
    fn of(ctx: &Ctx<'a>, answer: &Answer, chain: &Chain<'a>) -> Encoded<'a> {
        let prefix = answer.about.and_then(|addr| ctx.subnet_of(addr)).map(|s| s.prefix);
        let secs = |span: crate::base::Span| opt::u32(span.wire_secs());
        Encoded {
            kind: [answer.kind.map_or(0, |k| k as u8)],
            server: opt::addr(ctx.server_id),
            times: answer.times.map(|t| [secs(t.lease), secs(t.t1), secs(t.t2)]),
            mask: prefix.map(|p| opt::addr(p.mask())),
            broadcast: prefix.map(|p| opt::addr(p.broadcast())),
            client_id: ctx.msg.client_id(),
            fqdn: fqdn(ctx, chain),
            next_server: chain.next_server().map(|a| a.to_string()),
        }
    }
}

/// The answer to option 81: we keep no DNS records, and say so (RFC 4702 s4).
fn fqdn(ctx: &Ctx<'_>, chain: &Chain<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(client) = ctx.msg.fqdn() else { return out };
    let reserved = ctx.reservation.and_then(|r| r.hostname.as_deref()).map(Box::from);
    let Some(mut name) = reserved.or_else(|| super::classes::hostname(ctx.msg)) else { return out };
    if let Some(domain) = chain.option(opt::DOMAIN_NAME).filter(|_| !name.contains('.')) {
        name = format!("{name}.{}", String::from_utf8_lossy(&domain.data)).into();
    }
    if opt::fqdn_reply(&client, false, &name, &mut out).is_err() {
        out.clear();
    }
    out
}

/// Options in the order to send them, each code once.
#[derive(Default)]
struct OptionList<'a> {
    options: SmallVec<[OutOption<'a>; 24]>,
    /// A bit for each code that is in it.
    codes: [u64; 4],
}

impl<'a> OptionList<'a> {
    fn push(&mut self, code: u8, data: &'a [u8], required: bool) {
        let codes = &mut self.codes[usize::from(code >> 6)];
        let bit = 1 << (code & 63);
        if *codes & bit == 0 {
            *codes |= bit;
            self.options.push(OutOption { code, data, required });
        }
    }
}

fn nak_options<'a>(ctx: &Ctx<'_>, encoded: &'a Encoded<'_>, list: &mut OptionList<'a>) {
    list.push(opt::MESSAGE_TYPE, &encoded.kind, true);
    list.push(opt::SERVER_ID, &encoded.server, true);
    if let Some(id) = encoded.client_id.as_deref().filter(|_| ctx.msg.has(opt::CLIENT_ID)) {
        list.push(opt::CLIENT_ID, id, false);
    }
}

fn all_options<'a: 'l, 'l>(
    ctx: &Ctx<'a>,
    answer: &Answer,
    chain: &Chain<'a>,
    encoded: &'l Encoded<'a>,
    boot_file: Option<&'a str>,
    list: &mut OptionList<'l>,
) {
    if answer.kind.is_some() {
        list.push(opt::MESSAGE_TYPE, &encoded.kind, true);
        list.push(opt::SERVER_ID, &encoded.server, true);
    }
    if let Some([lease, t1, t2]) = &encoded.times {
        list.push(opt::LEASE_TIME, lease, true);
        list.push(opt::RENEWAL_TIME, t1, true);
        list.push(opt::REBINDING_TIME, t2, true);
    }
    // RFC 6842 s3: what the client sent comes back.
    if let Some(id) = encoded.client_id.as_deref() {
        list.push(opt::CLIENT_ID, id, true);
    }
    if answer.rapid_commit {
        list.push(opt::RAPID_COMMIT, &[], true);
    }
    if answer.auto_configure
        && let Some(told) = chain.option(opt::AUTO_CONFIGURE)
    {
        list.push(opt::AUTO_CONFIGURE, &told.data, true);
        return;
    }
    asked_options(ctx, chain, encoded, boot_file, list);
    for option in chain.unasked_options() {
        list.push(option.code, &option.data, false);
    }
    if !encoded.fqdn.is_empty() {
        list.push(opt::CLIENT_FQDN, &encoded.fqdn, false);
    }
    if let Some(file) = boot_file {
        // UEFI 2.10 s24.7.2.1: an HTTP boot client knows its server by this.
        if ctx.msg.vendor_class().is_some_and(|v| v.starts_with(b"HTTPClient")) {
            list.push(opt::VENDOR_CLASS, b"HTTPClient", true);
        }
        if file.len() > FILE_MAX {
            list.push(opt::BOOT_FILE_NAME, file.as_bytes(), true);
        }
    }
}

/// What the client asks for, in its order (RFC 2132 s9.8); without a list all there is.
fn asked_options<'a: 'l, 'l>(
    ctx: &Ctx<'a>,
    chain: &Chain<'a>,
    encoded: &'l Encoded<'a>,
    boot_file: Option<&'a str>,
    list: &mut OptionList<'l>,
) {
    let asked = ctx.msg.parameter_list();
    // RFC 2132 s3.3: the mask comes before the routers.
    if asked.as_ref().is_none_or(|codes| codes.contains(&opt::SUBNET_MASK))
        && let Some(mask) = value(ctx, chain, encoded, boot_file, opt::SUBNET_MASK)
    {
        list.push(opt::SUBNET_MASK, mask, true);
    }
    match asked {
        Some(codes) => {
            for code in codes.iter().copied().filter(|c| !is_ours(*c)) {
                if let Some(data) = value(ctx, chain, encoded, boot_file, code) {
                    list.push(code, data, false);
                }
            }
        }
        None => {
            // RFC 8925 s3.3: only to who asks for it.
            let unasked = |code: u8| code != opt::IPV6_ONLY_PREFERRED && !is_ours(code);
            for option in chain.options().filter(|o| unasked(o.code)) {
                list.push(option.code, &option.data, false);
            }
        }
    }
}

/// Codes that the server decides about, whoever asks.
fn is_ours(code: u8) -> bool {
    matches!(
        code,
        opt::PAD
            | opt::REQUESTED_IP..=opt::CLIENT_ID
            | opt::RAPID_COMMIT..=opt::RELAY_AGENT_INFO
            | opt::AUTHENTICATION
            | opt::AUTO_CONFIGURE
            | opt::SUBNET_SELECTION
            | opt::FORCERENEW_NONCE_CAPABLE
            | opt::END
    ) && code != opt::VENDOR_CLASS
}

fn value<'a: 'l, 'l>(
    ctx: &Ctx<'a>,
    chain: &Chain<'a>,
    encoded: &'l Encoded<'a>,
    boot_file: Option<&'a str>,
    code: u8,
) -> Option<&'l [u8]> {
    if code == opt::HOST_NAME
        && let Some(name) = ctx.reservation.and_then(|r| r.hostname.as_deref())
    {
        return Some(name.as_bytes());
    }
    if let Some(option) = chain.option(code) {
        return Some(&option.data);
    }
    match code {
        opt::SUBNET_MASK => encoded.mask.as_ref().map(|m| &m[..]),
        opt::BROADCAST_ADDRESS => encoded.broadcast.as_ref().map(|b| &b[..]),
        opt::BOOT_FILE_NAME => boot_file.map(str::as_bytes),
        opt::TFTP_SERVER_NAME => {
            chain.server_name().or(encoded.next_server.as_deref()).map(str::as_bytes)
        }
        _ => None,
    }
}

/// Where a reply goes (RFC 2131 s4.1).
fn destination(ctx: &Ctx<'_>, answer: &Answer) -> Destination {
    let link = ctx.arrival.link;
    if let Path::Relay(giaddr) = ctx.path {
        // RFC 8357 s5: to the port the relay sent from, if it says so.
        let by_port = ctx.relay.as_ref().is_some_and(|r| r.source_port());
        let port = if by_port { ctx.arrival.src.port() } else { 67 };
        return Destination::Udp {
            link,
            from: ctx.local_source(),
            to: SocketAddrV4::new(giaddr, port),
        };
    }
    if let Some(mac) = ctx.hw.mac().filter(|_| ctx.gated && ctx.path == Path::Link) {
        return Destination::Frame { link, mac, from: ctx.server_id, ip: Ipv4Addr::BROADCAST };
    }
    let ciaddr = ctx.msg.ciaddr();
    let to_ciaddr = !answer.is_nak() && !ciaddr.is_unspecified();
    if ctx.path == Path::Routed {
        return Destination::Udp {
            link,
            from: ctx.local_source(),
            to: SocketAddrV4::new(ciaddr, 68),
        };
    }
    let frame = |mac, ip| Destination::Frame { link, mac, from: ctx.server_id, ip };
    let mac = ctx.hw.mac();
    match mac {
        Some(mac) if to_ciaddr => frame(mac, ciaddr),
        // An INFORM or renewal without a usable hardware address: back to where it came from.
        None if to_ciaddr => frame(ctx.arrival.src_mac.unwrap_or(Mac::BROADCAST), ciaddr),
        Some(mac)
            if !answer.is_nak() && !ctx.msg.is_broadcast() && !answer.yiaddr.is_unspecified() =>
        {
            frame(mac, answer.yiaddr)
        }
        _ => frame(Mac::BROADCAST, Ipv4Addr::BROADCAST),
    }
}
