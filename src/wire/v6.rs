//! The DHCPv6 message between client and server as it arrives (RFC 9915 s8): a bounded reader
//! that copies nothing.
//!
//! [`Message6::parse`] walks the options once, those inside identity associations too, and checks
//! every length that tells where something ends. What is read after that cannot fail half-way:
//! options lie at most three deep (IA, address or prefix, status), and each depth is read by code
//! of its own, so that no nesting of a sender's makes the reader nest.

use thiserror::Error;

use super::fqdn6::Fqdn6;
use super::options6 as opt;
use super::v6_class::{UserClasses6, VendorClass6};
use super::v6_ia::{self, Ia, IaKind};
pub use super::v6_kind::{Kind6, MessageType6};
pub use super::v6_relay::{Hop, Relayed6};

/// The header of a message between client and server, in bytes (RFC 9915 s8).
pub const HEADER6_LEN: usize = 4;
/// Largest message that is read: what fits a UDP datagram.
pub const MESSAGE6_MAX: usize = 65_535;
/// Most options of one datagram, those inside others and those of relays counted. A datagram of
/// 1,500 bytes that is not made of empty options holds fewer.
pub const OPTIONS6_MAX: usize = 1024;
/// Shortest DUID: its type and one byte (RFC 9915 s11.1).
pub const DUID_MIN: usize = 3;
/// Longest DUID: its type and 128 bytes (RFC 9915 s11.1).
pub const DUID_MAX: usize = 130;

/// Codes below this are found without a search. All that are read here are.
const INDEXED: usize = 160;

/// Why bytes are not a DHCPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError6 {
    /// Not even a header.
    #[error("message of {0} bytes, want at least {HEADER6_LEN}")]
    TooShort(usize),
    /// More than a datagram can carry.
    #[error("message of {0} bytes, want at most {MESSAGE6_MAX}")]
    TooLong(usize),
    /// A relay's message where a client's or server's is wanted.
    #[error("message type {0} is a relay's, want a client's or a server's")]
    RelayMessage(u8),
    /// An option runs past the end of what it is in.
    #[error("option {code} runs past the end of what it is in")]
    Truncated {
        /// Its code.
        code: u16,
    },
    /// Behind the last option there are a few bytes more.
    #[error("{0} bytes behind the last option, want none or a whole option")]
    Tail(usize),
    /// An option is too short or too long for what it must hold.
    #[error("option {code} of {len} bytes, want {want}")]
    BadLength {
        /// Its code.
        code: u16,
        /// Its length.
        len: usize,
        /// What lengths are right.
        want: &'static str,
    },
    /// A DUID is not 3 to 130 bytes long, its type included.
    #[error("duid of {len} bytes in option {code}, want {DUID_MIN} to {DUID_MAX}")]
    BadDuid {
        /// The option that holds it.
        code: u16,
        /// Its length.
        len: usize,
    },
    /// A prefix is longer than an address.
    #[error("prefix length {len} in option {code}, want at most 128")]
    BadPrefixLength {
        /// The option that holds it.
        code: u16,
        /// What it says.
        len: u8,
    },
    /// More than [`OPTIONS6_MAX`] options.
    #[error("more than {OPTIONS6_MAX} options")]
    TooManyOptions,
    /// The header of a relay's message is not whole.
    #[error("relay message of {0} bytes, want at least 34")]
    TruncatedRelay(usize),
    /// A relay's message without one that it carries.
    #[error("relay message {0} from the outside carries no message")]
    NothingRelayed(usize),
    /// More relays, one within the other, than there may be.
    #[error("more than {} relay messages, one within the other", super::v6_relay::HOPS_MAX)]
    TooManyHops,
}

/// One message between client and server, as a view of the bytes it came in.
#[derive(Clone, Debug)]
pub struct Message6<'a> {
    bytes: &'a [u8],
    header: [u8; HEADER6_LEN],
    /// Where the first option of each code starts in the message; 0 where there is none.
    first: [u16; INDEXED],
}

impl<'a> Message6<'a> {
    /// Reads a UDP payload that no relay has wrapped; see [`Relayed6::parse`] for both.
    ///
    /// Lengths that must be right for anything else to be found make the whole message an error:
    /// of options, identity associations, addresses, prefixes, status codes and DUIDs. An option
    /// that is merely of no use (an odd list of codes, say) reads as absent.
    pub fn parse(bytes: &'a [u8]) -> Result<Message6<'a>, WireError6> {
        Message6::parse_within(bytes, &mut Budget::default())
    }

    pub(super) fn parse_within(
        bytes: &'a [u8],
        budget: &mut Budget,
    ) -> Result<Message6<'a>, WireError6> {
        let header = *bytes.first_chunk().ok_or(WireError6::TooShort(bytes.len()))?;
        if bytes.len() > MESSAGE6_MAX {
            return Err(WireError6::TooLong(bytes.len()));
        }
        if let relay @ (12 | 13) = header[0] {
            return Err(WireError6::RelayMessage(relay));
        }
        let mut first = [0; INDEXED];
        let mut at = HEADER6_LEN;
        budget.each(bytes.get(HEADER6_LEN..).unwrap_or_default(), |code, data, budget| {
            if let Some(first @ 0) = first.get_mut(usize::from(code)) {
                *first = at as u16;
            }
            at += OPTION_HEADER + data.len();
            check_option(code, data, budget)
        })?;
        Ok(Message6 { bytes, header, first })
    }

    /// What kind of message this is.
    pub fn kind(&self) -> Kind6 {
        Kind6::from_byte(self.header[0])
    }

    /// Transaction id, 24 bits.
    pub fn xid(&self) -> u32 {
        u32::from_be_bytes([0, self.header[1], self.header[2], self.header[3]])
    }

    /// The whole message.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// All options of the message itself, in order: code and data.
    pub fn options(&self) -> Options6<'a> {
        Options6::new(self.bytes.get(HEADER6_LEN..).unwrap_or_default())
    }

    /// The first option of that code. Empty data is `Some` too.
    pub fn option(&self, code: u16) -> Option<&'a [u8]> {
        match self.first.get(usize::from(code)) {
            Some(0) => None,
            Some(at) => {
                let (found, data) = Options6::new(self.bytes.get(usize::from(*at)..)?).next()?;
                debug_assert_eq!(found, code);
                Some(data)
            }
            None => self.options().find(|(found, _)| *found == code).map(|(_, data)| data),
        }
    }

    /// Whether the option is there, of whatever length.
    pub fn has(&self, code: u16) -> bool {
        self.option(code).is_some()
    }

    /// How many options of that code there are.
    pub fn count(&self, code: u16) -> usize {
        self.options().filter(|(found, _)| *found == code).count()
    }

    fn fixed<const N: usize>(&self, code: u16) -> Option<[u8; N]> {
        self.option(code)?.try_into().ok()
    }

    /// Option 1, the client's DUID, 3 to 130 bytes.
    pub fn client_id(&self) -> Option<&'a [u8]> {
        self.option(opt::CLIENT_ID)
    }

    /// Option 2, the DUID of the server meant, 3 to 130 bytes.
    pub fn server_id(&self) -> Option<&'a [u8]> {
        self.option(opt::SERVER_ID)
    }

    /// Option 8: hundredths of a second since the client began; `None` also where it is not 2
    /// bytes long.
    pub fn elapsed(&self) -> Option<u16> {
        self.fixed(opt::ELAPSED_TIME).map(u16::from_be_bytes)
    }

    /// Option 6: the codes that the client asks for, in its order. None where its length is odd.
    pub fn oro(&self) -> Numbers<'a> {
        Numbers::new(self.option(opt::ORO))
    }

    /// Whether the client asks for this option.
    pub fn wants(&self, code: u16) -> bool {
        self.oro().any(|wanted| wanted == code)
    }

    /// Option 14, which has no data (RFC 9915 s21.14).
    pub fn rapid_commit(&self) -> bool {
        self.fixed::<0>(opt::RAPID_COMMIT).is_some()
    }

    /// Option 20, which has no data: the client takes Reconfigure messages.
    pub fn reconfigure_accept(&self) -> bool {
        self.fixed::<0>(opt::RECONF_ACCEPT).is_some()
    }

    /// Option 7; 0 is what an absent one means. `None` also where it is not one byte long.
    pub fn preference(&self) -> Option<u8> {
        self.fixed::<1>(opt::PREFERENCE).map(|[value]| value)
    }

    /// Option 13 of the message itself.
    pub fn status(&self) -> Option<Status<'a>> {
        Status::new(self.option(opt::STATUS_CODE)?)
    }

    /// Option 15: the user classes, or the whole value as one class where it does not divide
    /// into such.
    pub fn user_classes(&self) -> UserClasses6<'a> {
        UserClasses6::new(self.option(opt::USER_CLASS).unwrap_or_default())
    }

    /// The first of the vendor class options; `None` also where it is shorter than an
    /// enterprise number.
    pub fn vendor_class(&self) -> Option<VendorClass6<'a>> {
        VendorClass6::new(self.option(opt::VENDOR_CLASS)?)
    }

    /// Option 16, which may come once for each enterprise (RFC 9915 s21.16).
    pub fn vendor_classes(&self) -> impl Iterator<Item = VendorClass6<'a>> + use<'a> {
        let classes = self.options().filter(|(code, _)| *code == opt::VENDOR_CLASS);
        classes.filter_map(|(_, data)| VendorClass6::new(data))
    }

    /// Option 61: architectures (RFC 5970 s3.3). None where its length is odd.
    pub fn archs(&self) -> Numbers<'a> {
        Numbers::new(self.option(opt::CLIENT_ARCH))
    }

    /// Option 62: type, major and minor revision of the client's network interface (RFC 5970
    /// s3.4); `None` also where it is not 3 bytes long.
    pub fn network_interface(&self) -> Option<[u8; 3]> {
        self.fixed(opt::CLIENT_NII)
    }

    /// Option 39 (RFC 4704); `None` also where it is empty.
    pub fn fqdn(&self) -> Option<Fqdn6<'a>> {
        Fqdn6::new(self.option(opt::CLIENT_FQDN)?)
    }

    /// Whether this is iPXE, by its user class.
    pub fn is_ipxe(&self) -> bool {
        self.user_classes().any(|class| class == b"iPXE")
    }

    /// The identity associations of all kinds, in order.
    pub fn ias(&self) -> impl Iterator<Item = Ia<'a>> + use<'a> {
        self.options().filter_map(|(code, data)| Ia::new(IaKind::from_code(code)?, data))
    }
}

/// Checks the length of a message's option, where something hangs on it.
fn check_option(code: u16, data: &[u8], budget: &mut Budget) -> Result<(), WireError6> {
    match code {
        opt::CLIENT_ID | opt::SERVER_ID if !(DUID_MIN..=DUID_MAX).contains(&data.len()) => {
            Err(WireError6::BadDuid { code, len: data.len() })
        }
        opt::STATUS_CODE => check_status(data),
        _ => match IaKind::from_code(code) {
            Some(kind) => v6_ia::check(kind, data, budget),
            None => Ok(()),
        },
    }
}

pub(super) fn check_status(data: &[u8]) -> Result<(), WireError6> {
    match data.len() {
        2.. => Ok(()),
        len => Err(WireError6::BadLength { code: opt::STATUS_CODE, len, want: "at least 2" }),
    }
}

/// Code and length before an option's data, in bytes (RFC 9915 s21.1).
pub(super) const OPTION_HEADER: usize = 4;

/// How many options a datagram may still have.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Budget {
        Budget(OPTIONS6_MAX)
    }
}

impl Budget {
    /// Shows each option to `check`, and tells whether they end where `bytes` end.
    pub(super) fn each<'a>(
        &mut self,
        bytes: &'a [u8],
        mut check: impl FnMut(u16, &'a [u8], &mut Budget) -> Result<(), WireError6>,
    ) -> Result<(), WireError6> {
        let mut options = Options6::new(bytes);
        for (code, data) in options.by_ref() {
            self.0 = self.0.checked_sub(1).ok_or(WireError6::TooManyOptions)?;
            check(code, data, self)?;
        }
        match options.rest {
            [] => Ok(()),
            [high, low, _, _, ..] => {
                Err(WireError6::Truncated { code: u16::from_be_bytes([*high, *low]) })
            }
            tail => Err(WireError6::Tail(tail.len())),
        }
    }
}

/// Iterator over options: code and data. It ends before an option that runs past the end.
#[derive(Clone, Debug)]
pub struct Options6<'a> {
    rest: &'a [u8],
}

impl<'a> Options6<'a> {
    /// The options of a message or an option that was not read yet.
    pub fn new(bytes: &'a [u8]) -> Options6<'a> {
        Options6 { rest: bytes }
    }

    pub(super) fn find_code(mut self, code: u16) -> Option<&'a [u8]> {
        self.find(|(found, _)| *found == code).map(|(_, data)| data)
    }
}

impl<'a> Iterator for Options6<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let (header, rest) = self.rest.split_first_chunk::<OPTION_HEADER>()?;
        let [code, len] = [[header[0], header[1]], [header[2], header[3]]].map(u16::from_be_bytes);
        let (data, rest) = rest.split_at_checked(usize::from(len))?;
        self.rest = rest;
        Some((code, data))
    }
}

/// Iterator over 16-bit numbers.
#[derive(Clone, Debug)]
pub struct Numbers<'a>(std::slice::ChunksExact<'a, u8>);

impl<'a> Numbers<'a> {
    /// None at all where the length is odd.
    fn new(data: Option<&'a [u8]>) -> Numbers<'a> {
        let whole = data.filter(|data| data.len().is_multiple_of(2));
        Numbers(whole.unwrap_or_default().chunks_exact(2))
    }
}

impl Iterator for Numbers<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let pair = self.0.next()?;
        Some(u16::from_be_bytes(pair.try_into().ok()?))
    }
}

/// A status code option (RFC 9915 s21.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// The number as sent; see [`opt::StatusCode`].
    pub code: u16,
    /// Text for people, as sent.
    pub text: &'a [u8],
}

impl<'a> Status<'a> {
    pub(super) fn new(data: &'a [u8]) -> Option<Status<'a>> {
        let (code, text) = data.split_first_chunk()?;
        Some(Status { code: u16::from_be_bytes(*code), text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v6_build::{RequestV6, ia_addr, option};

    const DUID: [u8; 10] = [0, 3, 0, 1, 0x52, 0x54, 0, 1, 2, 3];

    fn solicit() -> RequestV6 {
        RequestV6::new(MessageType6::Solicit, 0xff12_3456)
    }

    fn with<T>(request: RequestV6, read: impl Fn(&Message6<'_>) -> T) -> T {
        let bytes = request.build();
        read(&Message6::parse(&bytes).unwrap())
    }

    fn error(request: RequestV6) -> WireError6 {
        Message6::parse(&request.build()).unwrap_err()
    }

    #[test]
    fn the_header_is_a_type_and_24_bits() {
        let read = with(solicit(), |m| (m.kind(), m.xid(), m.options().count()));
        assert_eq!(read, (Kind6::Known(MessageType6::Solicit), 0x12_3456, 0));
        let kind = with(RequestV6::with_type(99, 0), |m| m.kind());
        assert_eq!(kind, Kind6::Unknown(99));
        for len in 0..4 {
            assert_eq!(Message6::parse(&[1; 4][..len]).unwrap_err(), WireError6::TooShort(len));
        }
        let long = vec![0; MESSAGE6_MAX + 1];
        assert_eq!(Message6::parse(&long).unwrap_err(), WireError6::TooLong(MESSAGE6_MAX + 1));
    }

    #[test]
    fn relay_messages_are_not_read_as_messages_of_clients() {
        for kind in [12, 13] {
            let bytes = RequestV6::with_type(kind, 0).raw(&[0; 40]).build();
            assert_eq!(Message6::parse(&bytes).unwrap_err(), WireError6::RelayMessage(kind));
        }
    }

    #[test]
    fn options_are_found_in_order_and_the_first_counts() {
        let request = solicit().option(6, &[0, 23]).option(1000, b"x").option(6, &[0, 24]);
        with(request.option(INDEXED as u16, b"edge"), |m| {
            assert_eq!(m.option(6), Some([0, 23].as_slice()));
            assert_eq!((m.count(6), m.count(1000), m.count(7)), (2, 1, 0));
            assert_eq!(m.option(1000), Some(b"x".as_slice()), "beyond the index");
            assert_eq!(m.option(INDEXED as u16), Some(b"edge".as_slice()));
            assert!(m.has(6) && !m.has(7) && !m.has(1001) && !m.has(0));
            let codes: Vec<u16> = m.options().map(|(code, _)| code).collect();
            assert_eq!(codes, [6, 1000, 6, INDEXED as u16]);
        });
        assert!(with(solicit().option(0, b"zero"), |m| m.has(0)));
    }

    #[test]
    fn typed_options_are_read() {
        let request = solicit()
            .client_id(&DUID)
            .server_id(&[0, 2, 9])
            .elapsed(300)
            .oro(&[23, 24, 59])
            .rapid_commit()
            .option(7, &[255])
            .option(13, b"\0\x02none left")
            .option(15, b"\0\x04iPXE")
            .option(16, b"\0\0\x01\x57\0\x09PXEClient")
            .option(16, b"\0\0\x01\x37\0\x04MSFT")
            .option(20, b"")
            .option(39, b"\x01\x03web\0")
            .option(61, &[0, 7, 0, 16])
            .option(62, &[1, 3, 16]);
        with(request, |m| {
            assert_eq!((m.client_id(), m.server_id()), (Some(&DUID[..]), Some(&[0, 2, 9][..])));
            assert_eq!((m.elapsed(), m.preference()), (Some(300), Some(255)));
            assert_eq!(m.oro().collect::<Vec<_>>(), [23, 24, 59]);
            assert!(m.wants(59) && !m.wants(60) && m.rapid_commit() && m.reconfigure_accept());
            assert_eq!(m.status(), Some(Status { code: 2, text: b"none left" }));
            assert!(m.is_ipxe());
            let vendors: Vec<u32> = m.vendor_classes().map(|class| class.enterprise).collect();
            assert_eq!(vendors, [343, 311]);
            assert_eq!(m.vendor_class().unwrap().items().next(), Some(b"PXEClient".as_slice()));
            assert_eq!(m.fqdn().unwrap().name().as_deref(), Some("web"));
            assert_eq!(m.archs().collect::<Vec<_>>(), [7, 16]);
            assert_eq!(m.network_interface(), Some([1, 3, 16]));
        });
    }

    #[test]
    fn typed_options_are_none_when_absent_or_of_the_wrong_length() {
        let none = |m: &Message6<'_>| {
            m.elapsed().is_none()
                && m.preference().is_none()
                && m.network_interface().is_none()
                && m.vendor_class().is_none()
                && (m.oro().next(), m.archs().next()) == (None, None)
                && !m.rapid_commit()
                && !m.reconfigure_accept()
        };
        assert!(with(solicit(), none));
        assert!(with(solicit(), |m| m.client_id().is_none() && m.fqdn().is_none()));
        for (code, bad) in
            [(8, 1), (8, 3), (7, 0), (7, 2), (62, 2), (16, 3), (6, 3), (61, 1), (14, 1), (20, 1)]
        {
            assert!(with(solicit().option(code, &[0, 0, 0][..bad]), none), "{code}: {bad} bytes");
        }
    }

    #[test]
    fn lengths_that_lie_are_errors() {
        for tail in [&b"\0\x01\0\x03ab"[..], b"\0\x01\xff\xff", b"\0\x01\0\x01"] {
            assert_eq!(error(solicit().raw(tail)), WireError6::Truncated { code: 1 });
        }
        for tail in [&b"\0"[..], b"\0\x01", b"\0\x01\0"] {
            assert_eq!(error(solicit().raw(tail)), WireError6::Tail(tail.len()));
        }
        let status = WireError6::BadLength { code: 13, len: 1, want: "at least 2" };
        assert_eq!(error(solicit().option(13, b"x")), status);
    }

    #[test]
    fn duids_have_a_type_and_1_to_128_bytes() {
        for len in [3, 10, 130] {
            assert!(with(solicit().client_id(&vec![1; len]), |m| m.client_id().is_some()));
        }
        for len in [0, 1, 2, 131, 1000] {
            let duid = vec![1; len];
            assert_eq!(error(solicit().client_id(&duid)), WireError6::BadDuid { code: 1, len });
            assert_eq!(error(solicit().server_id(&duid)), WireError6::BadDuid { code: 2, len });
        }
    }

    #[test]
    fn options_are_bounded_wherever_they_are() {
        let many = |count: usize| option(99, b"").repeat(count);
        assert!(Message6::parse(&solicit().raw(&many(OPTIONS6_MAX)).build()).is_ok());
        assert_eq!(error(solicit().raw(&many(OPTIONS6_MAX + 1))), WireError6::TooManyOptions);
        // An association, its address, and what is in it: all of them count.
        let addr = ia_addr(std::net::Ipv6Addr::LOCALHOST, 1, 1, &many(OPTIONS6_MAX - 2));
        let fits = solicit().ia(IaKind::Na, 1, std::slice::from_ref(&addr));
        assert!(Message6::parse(&fits.build()).is_ok());
        let over = solicit().ia(IaKind::Na, 1, &[addr, option(99, b"")]);
        assert_eq!(error(over), WireError6::TooManyOptions);
    }

    #[test]
    fn errors_say_what_was_found_and_what_would_be_right() {
        let text = error(solicit().client_id(&[0])).to_string();
        assert_eq!(text, "duid of 1 bytes in option 1, want 3 to 130");
        let text = error(solicit().option(3, b"x")).to_string();
        assert_eq!(text, "option 3 of 1 bytes, want at least 12");
        let text = WireError6::TooManyHops.to_string();
        assert_eq!(text, "more than 9 relay messages, one within the other");
    }
}
