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
