//! Writing a DHCPv6 reply: options within options, the limit on its size, and its way back
//! through the relays. What the options say is the engine's business.

use std::net::Ipv6Addr;

use thiserror::Error;

use super::options6 as opt;
use super::options6::StatusCode;
use super::v6::{HEADER6_LEN, MessageType6, OPTION_HEADER};
use super::v6_ia::IaKind;
use super::v6_relay::{Hop, RELAY_HEADER};
use crate::base::Prefix6;

/// Largest payload that is written: what fits an IPv6 datagram without extension headers.
pub const PAYLOAD6_MAX: usize = 65_535 - 8;
/// Most codes of a relay's echo request (RFC 4994) that are heeded.
const ECHO_MAX: usize = 32;

/// Why nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WriteError6 {
    /// The message would be over its limit.
    #[error("message of {len} bytes or more, at most {limit} are allowed")]
    TooLong {
        /// How long it would have been when this was seen.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// One option's data is over what its length can say.
    #[error("option {code} of {len} bytes, at most 65535 are possible")]
    OptionTooLong {
        /// Its code.
        code: u16,
        /// Its length.
        len: usize,
    },
}

/// Appends one message to a buffer.
///
/// What does not fit is remembered, and [`Writer6::finish`] then takes the whole message back;
/// options that may be missing go by [`Writer6::try_option`].
#[derive(Debug)]
pub struct Writer6<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    limit: usize,
    fault: Option<WriteError6>,
}

impl<'o> Writer6<'o> {
    /// Begins a message at the end of `out`. It will be at most `limit` bytes long; a limit over
    /// [`PAYLOAD6_MAX`] counts as that. Of `xid` 24 bits are used.
    pub fn begin(out: &'o mut Vec<u8>, kind: MessageType6, xid: u32, limit: usize) -> Writer6<'o> {
        let start = out.len();
        let mut writer = Writer6 { out, start, limit: limit.min(PAYLOAD6_MAX), fault: None };
        let [_, xid @ ..] = xid.to_be_bytes();
        if writer.claim(HEADER6_LEN) {
            writer.out.push(kind as u8);
            writer.out.extend_from_slice(&xid);
        }
        writer
    }

    /// Ends the message: its length, or why there is none. In that case `out` is as it was.
    pub fn finish(self) -> Result<usize, WriteError6> {
        match self.fault {
            None => Ok(self.out.len() - self.start),
            Some(fault) => {
                self.out.truncate(self.start);
                Err(fault)
            }
        }
    }

    /// How many bytes fit yet, headers of options included.
    pub fn room(&self) -> usize {
        (self.start + self.limit).saturating_sub(self.out.len())
    }

    /// Whether `len` bytes more are allowed; if not, the message is done for.
    fn claim(&mut self, len: usize) -> bool {
        if len > self.room() {
            let len = self.out.len() - self.start + len;
            self.fault.get_or_insert(WriteError6::TooLong { len, limit: self.limit });
        }
        self.fault.is_none()
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.claim(bytes.len()) {
            self.out.extend_from_slice(bytes);
        }
    }

    /// An option that must be there.
    pub fn option(&mut self, code: u16, data: &[u8]) {
        let Ok(len) = u16::try_from(data.len()) else {
            self.fault.get_or_insert(WriteError6::OptionTooLong { code, len: data.len() });
            return;
        };
        if self.claim(OPTION_HEADER + data.len()) {
            self.out.extend_from_slice(&code.to_be_bytes());
            self.out.extend_from_slice(&len.to_be_bytes());
            self.out.extend_from_slice(data);
        }
    }

    /// An option that may be left out: written if it fits. Tells whether it was.
    pub fn try_option(&mut self, code: u16, data: &[u8]) -> bool {
        let fits = self.fault.is_none()
            && data.len() <= usize::from(u16::MAX)
            && OPTION_HEADER + data.len() <= self.room();
        if fits {
            self.option(code, data);
        }
        fits
    }

    /// An option of one byte.
    pub fn u8(&mut self, code: u16, value: u8) {
        self.option(code, &[value]);
    }

    /// An option of two bytes.
    pub fn u16(&mut self, code: u16, value: u16) {
        self.option(code, &value.to_be_bytes());
    }

    /// An option of four bytes, such as a time in seconds.
    pub fn u32(&mut self, code: u16, value: u32) {
        self.option(code, &value.to_be_bytes());
    }

    /// An option of addresses.
    pub fn addrs(&mut self, code: u16, addrs: &[Ipv6Addr]) {
        self.nested(code, |writer| addrs.iter().for_each(|addr| writer.put(&addr.octets())));
    }

    /// An option whose data `inside` writes; its length is put in afterwards.
    fn nested(&mut self, code: u16, inside: impl FnOnce(&mut Self)) {
        let at = self.out.len();
        self.option(code, &[]);
        inside(self);
        if self.fault.is_some() {
            return;
        }
        // The limit on the message is below what a length can say.
        let len = (self.out.len() - at - OPTION_HEADER) as u16;
        if let Some(field) = self.out.get_mut(at + 2..at + OPTION_HEADER) {
            field.copy_from_slice(&len.to_be_bytes());
        }
    }

    /// A status code with a text for people (RFC 9915 s21.13), on the level where it is called.
    pub fn status(&mut self, code: StatusCode, text: &str) {
        self.nested(opt::STATUS_CODE, |writer| {
            writer.put(&(code as u16).to_be_bytes());
            writer.put(text.as_bytes());
        });
    }

    /// An identity association; `inside` writes its addresses or prefixes and its status. T1 and
    /// T2 (seconds) are left out of an IA_TA, which has none.
    pub fn ia(
        &mut self,
        kind: IaKind,
        iaid: u32,
        t1: u32,
        t2: u32,
        inside: impl FnOnce(&mut Self),
    ) {
        self.nested(kind.code(), |writer| {
            writer.put(&iaid.to_be_bytes());
            if kind != IaKind::Ta {
                writer.put(&t1.to_be_bytes());
                writer.put(&t2.to_be_bytes());
            }
            inside(writer);
        });
    }

    /// An address inside an identity association, with its lifetimes in seconds; `inside` writes
    /// its options.
    pub fn ia_addr(
        &mut self,
        addr: Ipv6Addr,
        preferred: u32,
        valid: u32,
        inside: impl FnOnce(&mut Self),
    ) {
        self.nested(opt::IA_ADDR, |writer| {
            writer.put(&addr.octets());
            writer.put(&preferred.to_be_bytes());
            writer.put(&valid.to_be_bytes());
            inside(writer);
        });
    }

    /// A prefix inside an identity association, with its lifetimes in seconds; `inside` writes
    /// its options.
    pub fn ia_prefix(
        &mut self,
        prefix: Prefix6,
        preferred: u32,
        valid: u32,
        inside: impl FnOnce(&mut Self),
    ) {
        self.nested(opt::IA_PREFIX, |writer| {
            writer.put(&preferred.to_be_bytes());
            writer.put(&valid.to_be_bytes());
            writer.put(&[prefix.len()]);
            writer.put(&prefix.network().octets());
            inside(writer);
        });
    }

    /// Inside a prefix: what of `delegated` its holder must not use (RFC 6603 s4.2). Nothing is
    /// written unless `excluded` is a smaller prefix inside `delegated`.
    pub fn pd_exclude(&mut self, delegated: Prefix6, excluded: Prefix6) {
        debug_assert!(delegated.holds(&excluded) && delegated != excluded, "{excluded}");
        let Some(bits @ 1..) = excluded.len().checked_sub(delegated.len()) else { return };
        // Only /128 could be shifted too far, and nothing is smaller than that.
        let id = excluded.network().to_bits() << delegated.len();
        let id = id.to_be_bytes();
        self.nested(opt::PD_EXCLUDE, |writer| {
            writer.put(&[excluded.len()]);
            writer.put(id.get(..usize::from(bits).div_ceil(8)).unwrap_or_default());
        });
    }
}

/// Appends `reply` wrapped for its way back through `hops`, outermost first as
/// [`Relayed6::hops`](super::v6_relay::Relayed6::hops) has them (RFC 9915 s19.3).
///
/// Each relay gets back its hop count and addresses, its interface id, its port (RFC 8357 s5.2),
/// and what it asked to have echoed (RFC 4994). Without hops, `reply` is appended as it is. On
/// error `out` is as it was.
pub fn wrap_relay(hops: &[Hop<'_>], reply: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError6> {
    let option = |(_, data): (u16, &[u8])| OPTION_HEADER + data.len();
    let overhead =
        |hop: &Hop<'_>| RELAY_HEADER + echoed(hop).map(option).sum::<usize>() + OPTION_HEADER;
    let mut len = reply.len() + hops.iter().map(overhead).sum::<usize>();
    if len > PAYLOAD6_MAX {
        return Err(WriteError6::TooLong { len, limit: PAYLOAD6_MAX });
    }
    out.reserve(len);
    for hop in hops {
        out.extend_from_slice(&[MessageType6::RelayRepl as u8, hop.hop_count]);
        out.extend_from_slice(&hop.link_addr.octets());
        out.extend_from_slice(&hop.peer_addr.octets());
        for (code, data) in echoed(hop) {
            push_option(code, data, out);
        }
        // What follows is the data of the option that is opened here.
        len -= overhead(hop);
        out.extend_from_slice(&opt::RELAY_MSG.to_be_bytes());
        out.extend_from_slice(&(len as u16).to_be_bytes());
    }
    out.extend_from_slice(reply);
    Ok(())
}

/// The options of a relay's message that go back to it.
fn echoed<'a>(hop: &Hop<'a>) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
    let asked = hop.option(opt::ECHO_REQUEST).unwrap_or_default();
    let asked = asked.get(..asked.len().min(2 * ECHO_MAX)).unwrap_or_default();
    let wanted = move |code: u16| {
        let is_asked = || asked.chunks_exact(2).any(|pair| pair == code.to_be_bytes());
        match code {
            opt::INTERFACE_ID | opt::RELAY_PORT => true,
            opt::RELAY_MSG | opt::ECHO_REQUEST => false,
            _ => is_asked(),
        }
    };
    hop.options().filter(move |(code, _)| wanted(*code))
}

/// Appends an option whose data is at most 65,535 bytes long.
pub(super) fn push_option(code: u16, data: &[u8], out: &mut Vec<u8>) {
    debug_assert!(data.len() <= usize::from(u16::MAX));
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v6::{Message6, Relayed6};
    use crate::wire::v6_build::{RequestV6, relay_forward, unwrap_relay_reply};

    fn addr(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn prefix(text: &str) -> Prefix6 {
        text.parse().unwrap()
    }

    fn begin(out: &mut Vec<u8>, limit: usize) -> Writer6<'_> {
        Writer6::begin(out, MessageType6::Reply, 0xff01_0203, limit)
    }

    #[test]
    fn a_reply_is_written_to_the_byte() {
        let mut out = b"before".to_vec();
        let mut reply = begin(&mut out, 1232);
        reply.option(1, b"\0\x03x");
        reply.ia(IaKind::Na, 7, 50, 80, |ia| {
            ia.ia_addr(addr("2001:db8::1"), 100, 200, |_| {});
            ia.status(StatusCode::Success, "ok");
        });
        reply.ia(IaKind::Pd, 8, 1, 2, |ia| {
            ia.ia_prefix(prefix("2001:db8:8::/56"), 3, 4, |inside| {
                inside.pd_exclude(prefix("2001:db8:8::/56"), prefix("2001:db8:8:5::/64"));
            });
        });
        reply.ia(IaKind::Ta, 9, 1, 2, |_| {});
        reply.u8(7, 255);
        reply.u16(200, 0x0102);
        reply.u32(32, 3600);
        reply.addrs(23, &[addr("2001:db8::53"), addr("2001:db8::54")]);
        assert_eq!(reply.finish(), Ok(out.len() - 6));
        let want = crate::base::addr::parse_hex(
            "07 010203 0001 0003 000378 \
             0003 0030 00000007 00000032 00000050 \
             0005 0018 20010db8000000000000000000000001 00000064 000000c8 \
             000d 0004 0000 6f6b \
             0019 002f 00000008 00000001 00000002 \
             001a 001f 00000003 00000004 38 20010db8000800000000000000000000 0043 0002 40 05 \
             0004 0004 00000009 0007 0001 ff 00c8 0002 0102 0020 0004 00000e10 \
             0017 0020 20010db8000000000000000000000053 20010db8000000000000000000000054",
        );
        assert_eq!((&out[..6], Some(&out[6..])), (b"before".as_slice(), want.as_deref()));
    }

    #[test]
    fn what_is_excluded_reads_as_it_was_written() {
        for (delegated, excluded) in [
            ("2001:db8:dead:bee0::/59", "2001:db8:dead:beef::/64"),
            ("2001:db8::/32", "2001:db8:ffff::/48"),
            ("2001:db8::/63", "2001:db8:0:1::/64"),
            ("2001:db8::/64", "2001:db8::8000:0:0:1/128"),
            ("::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"),
            ("2001:db8::/127", "2001:db8::1/128"),
        ] {
            let mut out = Vec::new();
            let mut reply = begin(&mut out, 1232);
            reply.ia(IaKind::Pd, 8, 1, 2, |ia| {
                ia.ia_prefix(prefix(delegated), 3, 4, |inside| {
                    inside.pd_exclude(prefix(delegated), prefix(excluded));
                });
            });
            reply.finish().unwrap();
            let message = Message6::parse(&out).unwrap();
            let read = message.ias().next().unwrap().prefixes().next().unwrap();
            assert_eq!(read.as_prefix(), Some(prefix(delegated)));
            assert_eq!(read.exclude(), Some(prefix(excluded)));
        }
    }

    #[test]
    fn a_message_over_its_limit_leaves_no_bytes() {
        let write = |limit| {
            let mut out = b"before".to_vec();
            let mut reply = begin(&mut out, limit);
            reply.ia(IaKind::Na, 7, 0, 0, |ia| ia.ia_addr(addr("::1"), 1, 1, |_| {}));
            reply.option(23, &[0; 16]);
            let done = reply.finish();
            assert_eq!(done.is_ok(), out.len() > 6);
            done
        };
        assert_eq!(write(68), Err(WriteError6::TooLong { len: 68, limit: 60 }).or(Ok(68)));
        for limit in 0..68 {
            assert!(
                matches!(write(limit), Err(WriteError6::TooLong { limit: at, .. }) if at == limit)
            );
        }
        let text = write(60).unwrap_err().to_string();
        assert_eq!(text, "message of 68 bytes or more, at most 60 are allowed");
    }

    #[test]
    fn optional_options_are_left_out_where_they_do_not_fit() {
        let mut out = Vec::new();
        let mut reply = begin(&mut out, 20);
        assert_eq!(reply.room(), 16);
        assert!(reply.try_option(1, &[0; 8]));
        assert!(!reply.try_option(2, &[0; 1]));
        assert!(reply.try_option(3, &[]));
        assert!(!reply.try_option(4, &[]));
        assert_eq!(reply.finish(), Ok(20));
        let message = [&[7, 1, 2, 3, 0, 1, 0, 8][..], &[0; 8], &[0, 3, 0, 0]].concat();
        assert_eq!(out, message);
    }

    #[test]
    fn an_option_longer_than_its_length_can_say_is_an_error() {
        let long = vec![0; 65_536];
        let mut out = Vec::new();
        let mut reply = begin(&mut out, usize::MAX);
        assert!(!reply.try_option(9, &long));
        reply.option(9, &long);
        reply.option(1, b"not written either");
        assert_eq!(reply.finish(), Err(WriteError6::OptionTooLong { code: 9, len: 65_536 }));
        assert!(out.is_empty());
        let mut reply = begin(&mut out, usize::MAX);
        let addrs = vec![addr("::1"); 5000];
        reply.ia(IaKind::Na, 1, 0, 0, |ia| ia.addrs(23, &addrs));
        let error = reply.finish().unwrap_err();
        assert!(matches!(error, WriteError6::TooLong { limit: PAYLOAD6_MAX, .. }), "{error}");
    }

    #[test]
    fn a_reply_goes_back_through_every_relay() {
        let solicit = RequestV6::new(MessageType6::Solicit, 7).build();
        // Asked to be echoed: 37, and two that never are.
        let echo: &[u8] = &[0, 37, 0, 9, 0, 43];
        let inner: [(u16, &[u8]); 4] =
            [(18, b"eth0"), (37, b"\0\0\0\x09x"), (38, b"not asked for"), (43, echo)];
        let first = relay_forward(0, addr("::"), addr("fe80::1"), &inner, &solicit);
        let outer: [(u16, &[u8]); 2] = [(135, &[0x9c, 0x40]), (79, b"\0\x01abcdef")];
        let bytes = relay_forward(1, addr("2001:db8::1"), addr("fe80::2"), &outer, &first);
        let relayed = Relayed6::parse(&bytes).unwrap();
        let mut out = b"before".to_vec();
        wrap_relay(relayed.hops(), b"answer", &mut out).unwrap();
        let want = crate::base::addr::parse_hex(
            "0d01 20010db8000000000000000000000001 fe800000000000000000000000000002 \
             0087 0002 9c40 0009 003d \
             0d00 00000000000000000000000000000000 fe800000000000000000000000000001 \
             0012 0004 65746830 0025 0005 0000000978 0009 0006 616e73776572",
        );
        assert_eq!((&out[..6], Some(&out[6..])), (b"before".as_slice(), want.as_deref()));
        let back = unwrap_relay_reply(&out[6..]).and_then(unwrap_relay_reply);
        assert_eq!(back, Some(b"answer".as_slice()));
        assert_eq!(back.and_then(unwrap_relay_reply), None);
    }

    #[test]
    fn a_reply_that_cannot_be_wrapped_leaves_no_bytes() {
        let big = vec![0; 65_000];
        let bytes = relay_forward(0, addr("::"), addr("::"), &[(18, &big)], &[1, 0, 0, 0]);
        let relayed = Relayed6::parse(&bytes).unwrap();
        let mut out = Vec::new();
        let fits = PAYLOAD6_MAX - (34 + 4 + 65_000 + 4);
        let error = wrap_relay(relayed.hops(), &big[..fits + 1], &mut out).unwrap_err();
        assert_eq!(error, WriteError6::TooLong { len: 65_528, limit: 65_527 });
        assert!(out.is_empty());
        assert_eq!(wrap_relay(relayed.hops(), &big[..fits], &mut out), Ok(()));
        assert_eq!(out.len(), PAYLOAD6_MAX);
        // Nobody in between: as it is.
        out.clear();
        assert_eq!(wrap_relay(&[], b"plain", &mut out), Ok(()));
        assert_eq!(out, b"plain");
    }
}
