//! The DHCPv4 message as it arrives (RFC 2131 s2): a bounded reader that copies nothing.
//!
//! [`Message::parse`] walks the options once, over all fields that carry some, and notes where
//! the first piece of each code lies. After that, a getter finds its option without a search and
//! without an allocation; only an option that came in several pieces (RFC 3396) is put together
//! in memory of its own.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use thiserror::Error;

use super::fqdn::Fqdn;
use super::options as opt;
use super::relay4::RelayInfo;
use super::user_class::UserClasses;
pub use super::v4_kind::{Kind, MessageType};
use crate::base::HwAddr;

/// The fixed header without the magic cookie, in bytes (RFC 2131 s2).
pub const HEADER_LEN: usize = 236;
/// The four bytes before the options (RFC 2131 s3).
pub const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Largest message that is read: what fits a UDP datagram.
pub const MESSAGE_MAX: usize = 65_535;
/// Most pieces of options in one message. A message of 1,500 bytes that is not made of empty
/// options holds fewer.
pub const PIECES_MAX: usize = 1024;
/// The op of requests (RFC 2131 s2).
pub const BOOTREQUEST: u8 = 1;
/// The op of replies (RFC 2131 s2).
pub const BOOTREPLY: u8 = 2;

pub(super) const SNAME: std::ops::Range<usize> = 44..108;
pub(super) const FILE: std::ops::Range<usize> = 108..236;
const OPTIONS: usize = HEADER_LEN + COOKIE.len();

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// Not even a header.
    #[error("message of {0} bytes, want at least {HEADER_LEN}")]
    TooShort(usize),
    /// More than a datagram can carry.
    #[error("message of {0} bytes, want at most {MESSAGE_MAX}")]
    TooLong(usize),
    /// hlen is over the 16 bytes of chaddr.
    #[error("hardware address length {0}, want at most 16")]
    BadHardwareLength(u8),
    /// The options do not start as DHCP's do.
    #[error("magic cookie {0:02x?}, want [63, 82, 53, 63]")]
    BadCookie([u8; 4]),
    /// An option runs past the end of the field that it is in.
    #[error("option {code} runs past the end of its field")]
    Truncated {
        /// Its code.
        code: u8,
    },
    /// More than [`PIECES_MAX`] options.
    #[error("more than {PIECES_MAX} options")]
    TooManyOptions,
}

/// One message, as a view of the bytes it came in.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    header: &'a [u8; HEADER_LEN],
    overload: u8,
    index: Index,
}

/// Where the first piece of each option starts in the message (the code's position, never 0), and
/// which options have further pieces.
#[derive(Clone, Debug)]
struct Index {
    first: [u16; 256],
    split: [u64; 4],
    pieces: usize,
}

impl Index {
    fn note(&mut self, code: u8, at: usize) {
        let first = &mut self.first[usize::from(code)];
        if *first == 0 {
            *first = at as u16;
        } else {
            self.split[usize::from(code >> 6)] |= 1 << (code & 63);
        }
    }

    fn is_split(&self, code: u8) -> bool {
        self.split[usize::from(code >> 6)] & 1 << (code & 63) != 0
    }
}

impl<'a> Message<'a> {
    /// Reads a UDP payload.
    ///
    /// Options are read from the options field, then, where option 52 says so, from file and
    /// sname (RFC 2132 s9.3, RFC 3396 s5). A value of option 52 other than 1, 2 or 3 counts as
    /// absent. A missing END is tolerated; an option that runs past its field makes the whole
    /// message an error, since nothing tells where its sender went wrong. A message that ends
    /// before the cookie, or has zeros in its place, is BOOTP without vendor information.
    pub fn parse(bytes: &'a [u8]) -> Result<Message<'a>, WireError> {
        let header = bytes.first_chunk().ok_or(WireError::TooShort(bytes.len()))?;
        if bytes.len() > MESSAGE_MAX {
            return Err(WireError::TooLong(bytes.len()));
        }
        let index = Index { first: [0; 256], split: [0; 4], pieces: 0 };
        let mut message = Message { bytes, header, overload: 0, index };
        if message.hlen() > 16 {
            return Err(WireError::BadHardwareLength(message.hlen()));
        }
        match bytes.get(HEADER_LEN..).and_then(|rest| rest.first_chunk()) {
            None | Some([0, 0, 0, 0]) => return Ok(message),
            Some(&COOKIE) => {}
            Some(other) => return Err(WireError::BadCookie(*other)),
        }
        message.index_field(OPTIONS, bytes.len())?;
        message.overload = match message.option(opt::OVERLOAD).as_deref() {
            Some([value @ 1..=3]) => *value,
            _ => 0,
        };
        if message.overload & 1 != 0 {
            message.index_field(FILE.start, FILE.end)?;
        }
        if message.overload & 2 != 0 {
            message.index_field(SNAME.start, SNAME.end)?;
        }
        Ok(message)
    }

    fn index_field(&mut self, start: usize, end: usize) -> Result<(), WireError> {
        let mut pieces = Pieces { bytes: self.bytes.get(..end).unwrap_or_default(), at: start };
        while let Some((at, code, _)) = pieces.step() {
            self.index.pieces += 1;
            if self.index.pieces > PIECES_MAX {
                return Err(WireError::TooManyOptions);
            }
            self.index.note(code, at);
        }
        match pieces.fault() {
            Some(code) => Err(WireError::Truncated { code }),
            None => Ok(()),
        }
    }

    fn be32(&self, at: usize) -> u32 {
        let h = self.header;
        u32::from_be_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]])
    }

    /// 1 is a request, 2 a reply; other values are not refused here.
    pub fn op(&self) -> u8 {
        self.header[0]
    }

    /// Hardware type.
    pub fn htype(&self) -> u8 {
        self.header[1]
    }

    /// Hardware address length, 0 to 16.
    pub fn hlen(&self) -> u8 {
        self.header[2]
    }

    /// Relays that it passed.
    pub fn hops(&self) -> u8 {
        self.header[3]
    }

    /// Transaction id.
    pub fn xid(&self) -> u32 {
        self.be32(4)
    }

    /// Seconds since the client began.
    pub fn secs(&self) -> u16 {
        u16::from_be_bytes([self.header[8], self.header[9]])
    }

    /// All flags; the highest bit is broadcast.
    pub fn flags(&self) -> u16 {
        u16::from_be_bytes([self.header[10], self.header[11]])
    }

    /// Whether the client wants its answer broadcast (RFC 2131 s4.1).
    pub fn is_broadcast(&self) -> bool {
        self.header[10] & 0x80 != 0
    }

    /// The client's address, if it has one that it answers for.
    pub fn ciaddr(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.be32(12))
    }

    /// "Your" address.
    pub fn yiaddr(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.be32(16))
    }

    /// The next server of the boot.
    pub fn siaddr(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.be32(20))
    }

    /// The relay's address.
    pub fn giaddr(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.be32(24))
    }

    /// All 16 bytes of chaddr, whatever hlen says.
    pub fn chaddr(&self) -> [u8; 16] {
        let mut chaddr = [0; 16];
        chaddr.copy_from_slice(&self.header[28..44]);
        chaddr
    }

    /// The hardware address: htype and the first hlen bytes of chaddr.
    pub fn hw(&self) -> HwAddr {
        let len = usize::from(self.hlen()).min(16);
        HwAddr::new(self.htype(), &self.header[28..28 + len]).unwrap_or_default()
    }

    /// The whole sname field, even where options are in it.
    pub fn sname(&self) -> &'a [u8] {
        &self.header[SNAME]
    }

    /// The whole file field, even where options are in it.
    pub fn file(&self) -> &'a [u8] {
        &self.header[FILE]
    }

    /// What kind of message this is.
    pub fn kind(&self) -> Kind {
        match self.option(opt::MESSAGE_TYPE).as_deref() {
            None => Kind::Bootp,
            Some([byte]) => MessageType::from_byte(*byte).map_or(Kind::Unknown(*byte), Kind::Dhcp),
            Some(_) => Kind::Unknown(0),
        }
    }

    /// Whether the option is there, of whatever length.
    pub fn has(&self, code: u8) -> bool {
        self.index.first[usize::from(code)] != 0
    }

    /// The option's data: borrowed where it came in one piece, else its pieces joined in the
    /// order options, file, sname (RFC 3396 s5). Empty data is `Some` too.
    pub fn option(&self, code: u8) -> Option<Cow<'a, [u8]>> {
        let at = usize::from(self.index.first[usize::from(code)]);
        if at == 0 {
            return None;
        }
        if self.index.is_split(code) {
            let pieces = self.options().filter(|(found, _)| *found == code);
            return Some(Cow::Owned(pieces.flat_map(|(_, data)| data).copied().collect()));
        }
        let len = usize::from(*self.bytes.get(at + 1)?);
        self.bytes.get(at + 2..at + 2 + len).map(Cow::Borrowed)
    }

    /// Every piece of every option in wire order: options, then file, then sname where they are
    /// overloaded. PAD and END are not shown.
    pub fn options(&self) -> Options<'a> {
        let field = |range: std::ops::Range<usize>, used: bool| Pieces {
            bytes: if used { self.bytes.get(..range.end).unwrap_or_default() } else { &[] },
            at: range.start,
        };
        Options {
            fields: [
                field(OPTIONS..self.bytes.len(), self.index.pieces > 0),
                field(FILE, self.overload & 1 != 0),
                field(SNAME, self.overload & 2 != 0),
            ],
            current: 0,
        }
    }

    fn fixed<const N: usize>(&self, code: u8) -> Option<[u8; N]> {
        self.option(code)?.as_ref().try_into().ok()
    }

    fn addr(&self, code: u8) -> Option<Ipv4Addr> {
        self.fixed::<4>(code).map(Ipv4Addr::from)
    }

    /// Option 50, the address asked for; `None` also where it is not 4 bytes long.
    pub fn requested_ip(&self) -> Option<Ipv4Addr> {
        self.addr(opt::REQUESTED_IP)
    }

    /// Option 54, the server meant; `None` also where it is not 4 bytes long.
    pub fn server_id(&self) -> Option<Ipv4Addr> {
        self.addr(opt::SERVER_ID)
    }

    /// Option 51, in seconds; 0xffffffff is for ever. `None` also where it is not 4 bytes long.
    pub fn lease_time(&self) -> Option<u32> {
        self.fixed(opt::LEASE_TIME).map(u32::from_be_bytes)
    }

    /// Option 61 as sent, even if it is shorter than the two bytes that RFC 2132 s9.14 wants, or
    /// empty: whether such an identifier is believed is not decided here.
    pub fn client_id(&self) -> Option<Cow<'a, [u8]>> {
        self.option(opt::CLIENT_ID)
    }

    /// Option 55: the codes that the client asks for, in its order of preference.
    pub fn parameter_list(&self) -> Option<Cow<'a, [u8]>> {
        self.option(opt::PARAMETER_LIST)
    }

    /// Whether the client asks for this option in its parameter request list.
    pub fn wants(&self, code: u8) -> bool {
        self.parameter_list().is_some_and(|list| list.contains(&code))
    }

    /// Option 57: the largest IP datagram that the client takes, headers included (RFC 2132
    /// s9.10); `None` also where it is not 2 bytes long.
    pub fn max_message_size(&self) -> Option<u16> {
        self.fixed(opt::MAX_MESSAGE_SIZE).map(u16::from_be_bytes)
    }

    /// Option 60 as sent.
    pub fn vendor_class(&self) -> Option<Cow<'a, [u8]>> {
        self.option(opt::VENDOR_CLASS)
    }

    /// Option 77 as sent.
    pub fn user_class(&self) -> Option<Cow<'a, [u8]>> {
        self.option(opt::USER_CLASS)
    }

    /// The user classes: the instances of RFC 3004 s4, or the whole value as one class where it
    /// does not divide into such instances (iPXE sends bare text).
    pub fn user_classes(&self) -> UserClasses<'a> {
        UserClasses::new(self.user_class().unwrap_or_default())
    }

    /// Option 93: architectures (RFC 4578 s2.1). None where its length is odd.
    pub fn archs(&self) -> impl Iterator<Item = u16> + use<'a> {
        let data = self.option(opt::CLIENT_ARCH).filter(|data| data.len().is_multiple_of(2));
        let data = data.unwrap_or_default();
        (0..data.len() / 2).filter_map(move |i| {
            let pair = data.get(2 * i..2 * i + 2)?;
            Some(u16::from_be_bytes(pair.try_into().ok()?))
        })
    }

    /// Option 97: the machine's UUID as its 16 bytes on the wire (RFC 4578 s2.3); `None` also
    /// where it is of another type or length.
    pub fn machine_uuid(&self) -> Option<[u8; 16]> {
        match self.option(opt::CLIENT_UUID)?.split_first()? {
            (0, uuid) => uuid.try_into().ok(),
            _ => None,
        }
    }

    /// Option 12 as sent; see `base::name::clean_hostname`.
    pub fn hostname(&self) -> Option<Cow<'a, [u8]>> {
        self.option(opt::HOST_NAME)
    }

    /// Option 81 (RFC 4702); `None` also where it is shorter than its flags and result codes.
    pub fn fqdn(&self) -> Option<Fqdn<'a>> {
        Fqdn::new(self.option(opt::CLIENT_FQDN)?)
    }

    /// Option 118, the subnet wanted (RFC 3011); `None` also where it is not 4 bytes long.
    pub fn subnet_selection(&self) -> Option<Ipv4Addr> {
        self.addr(opt::SUBNET_SELECTION)
    }

    /// Option 80, which has no data (RFC 4039 s4).
    pub fn rapid_commit(&self) -> bool {
        self.fixed::<0>(opt::RAPID_COMMIT).is_some()
    }

    /// Option 116 (RFC 2563): 0 do not, 1 do; `None` also where it is not one byte long.
    pub fn auto_configure(&self) -> Option<u8> {
        self.fixed::<1>(opt::AUTO_CONFIGURE).map(|[value]| value)
    }

    /// Whether option 145 names this algorithm (RFC 6704 s3.1.1).
    pub fn takes_forcerenew(&self, algorithm: u8) -> bool {
        self.option(opt::FORCERENEW_NONCE_CAPABLE).is_some_and(|of| of.contains(&algorithm))
    }

    /// Whether this is iPXE: by its user class, or by option 175, which it always sends.
    pub fn is_ipxe(&self) -> bool {
        self.has(opt::ETHERBOOT) || self.user_classes().any(|class| class.as_ref() == b"iPXE")
    }

    /// Option 82 (RFC 3046).
    pub fn relay_info(&self) -> Option<RelayInfo<'a>> {
        self.option(opt::RELAY_AGENT_INFO).map(RelayInfo::new)
    }
}

/// Options of one field, from `at` to the end of `bytes`.
#[derive(Clone, Debug)]
struct Pieces<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Pieces<'a> {
    /// The next option: position of its code, code, data. `None` at END, at the end of the bytes,
    /// and before an option that runs past it: [`Pieces::fault`] tells the last apart.
    fn step(&mut self) -> Option<(usize, u8, &'a [u8])> {
        while *self.bytes.get(self.at)? == opt::PAD {
            self.at += 1;
        }
        let code = *self.bytes.get(self.at)?;
        if code == opt::END {
            return None;
        }
        let start = self.at + 2;
        let end = start + usize::from(*self.bytes.get(self.at + 1)?);
        let data = self.bytes.get(start..end)?;
        let at = std::mem::replace(&mut self.at, end);
        Some((at, code, data))
    }

    /// After the last step: the code of the option that runs past the end, if that is why.
    fn fault(&self) -> Option<u8> {
        self.bytes.get(self.at).copied().filter(|code| *code != opt::END)
    }
}

/// Iterator over the pieces of all options, see [`Message::options`].
#[derive(Clone, Debug)]
pub struct Options<'a> {
    fields: [Pieces<'a>; 3],
    current: usize,
}

impl<'a> Iterator for Options<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        loop {
            if let Some((_, code, data)) = self.fields.get_mut(self.current)?.step() {
                return Some((code, data));
            }
            self.current += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Mac;
    use crate::wire::v4_build::RequestV4;

    const MAC: Mac = Mac([0x52, 0x54, 0, 1, 2, 3]);

    fn discover() -> RequestV4 {
        RequestV4::new(MessageType::Discover, MAC)
    }

    fn with<T>(request: RequestV4, read: impl Fn(&Message<'_>) -> T) -> T {
        let bytes = request.build();
        read(&Message::parse(&bytes).unwrap())
    }

    #[test]
    fn header_fields_are_where_rfc_2131_puts_them() {
        let mut bytes: Vec<u8> = (0..=235).collect();
        bytes[2] = 6;
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.op(), message.htype(), message.hlen(), message.hops()), (0, 1, 6, 3));
        assert_eq!(message.xid(), 0x0405_0607);
        assert_eq!((message.secs(), message.flags()), (0x0809, 0x0a0b));
        assert!(!message.is_broadcast());
        assert_eq!(message.ciaddr(), Ipv4Addr::new(12, 13, 14, 15));
        assert_eq!(message.yiaddr(), Ipv4Addr::new(16, 17, 18, 19));
        assert_eq!(message.siaddr(), Ipv4Addr::new(20, 21, 22, 23));
        assert_eq!(message.giaddr(), Ipv4Addr::new(24, 25, 26, 27));
        assert_eq!(message.chaddr().as_slice(), &bytes[28..44]);
        assert_eq!(message.hw(), HwAddr::new(1, &[28, 29, 30, 31, 32, 33]).unwrap());
        assert_eq!(message.sname(), &bytes[44..108]);
        assert_eq!(message.file(), &bytes[108..236]);
        assert!(with(discover().flags(0x8000), |m| m.is_broadcast()));
    }

    #[test]
    fn what_is_shorter_than_a_header_is_an_error() {
        for len in [0, 1, 235] {
            assert_eq!(Message::parse(&vec![1; len]).unwrap_err(), WireError::TooShort(len));
        }
        assert_eq!(Message::parse(&[0; 65_536]).unwrap_err(), WireError::TooLong(65_536));
    }

    #[test]
    fn hardware_addresses_end_at_hlen() {
        assert_eq!(with(discover(), |m| m.hw()), HwAddr::ethernet(MAC));
        assert_eq!(with(discover().chaddr(32, 0, &[]), |m| m.hw()).bytes(), b"");
        assert_eq!(with(discover().chaddr(1, 16, &[7; 16]), |m| m.hw()).bytes(), [7; 16]);
        let bytes = discover().chaddr(1, 17, &[7; 16]).build();
        assert_eq!(Message::parse(&bytes).unwrap_err(), WireError::BadHardwareLength(17));
    }

    #[test]
    fn bootp_has_no_options() {
        let mut bytes = RequestV4::bootp(MAC).build();
        for len in [236, 239, 240, 300] {
            let message = Message::parse(&bytes[..len]).unwrap();
            assert_eq!(message.kind(), Kind::Bootp, "{len} bytes");
            assert_eq!(message.options().count(), 0);
        }
        bytes[236..240].fill(0);
        // Without the cookie, these are not options.
        bytes[240..243].copy_from_slice(&[53, 1, 1]);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.kind(), message.options().count()), (Kind::Bootp, 0));
        bytes[236..240].copy_from_slice(b"CMU\0");
        let want = WireError::BadCookie(*b"CMU\0");
        assert_eq!(Message::parse(&bytes).unwrap_err(), want);
    }

    #[test]
    fn kinds_are_told_apart() {
        assert_eq!(with(discover(), |m| m.kind()), Kind::Dhcp(MessageType::Discover));
        let kind = |data: &[u8]| with(RequestV4::bootp(MAC).option(53, data), |m| m.kind());
        assert_eq!(kind(&[18]), Kind::Dhcp(MessageType::Tls));
        assert_eq!(kind(&[19]), Kind::Unknown(19));
        assert_eq!(kind(&[0]), Kind::Unknown(0));
        assert_eq!(kind(&[]), Kind::Unknown(0));
        assert_eq!(kind(&[1, 1]), Kind::Unknown(0));
    }

    #[test]
    fn one_piece_is_borrowed_and_several_are_joined() {
        let bytes = discover().option(12, b"web").option(55, &[1, 3]).option(55, &[6]).build();
        let message = Message::parse(&bytes).unwrap();
        assert!(matches!(message.option(12), Some(Cow::Borrowed(b"web"))));
        assert_eq!(message.parameter_list().as_deref(), Some([1, 3, 6].as_slice()));
        assert_eq!(message.option(61), None);
        assert!(message.has(12) && !message.has(61));
        assert!(message.wants(6) && !message.wants(15));
        let pieces: Vec<_> = message.options().collect();
        let want: [(u8, &[u8]); 4] = [(53, &[1]), (12, b"web"), (55, &[1, 3]), (55, &[6])];
        assert_eq!(pieces, want, "in wire order, unjoined");
    }

    #[test]
    fn long_options_join_to_what_was_split() {
        let long: Vec<u8> = (0..700).map(|i| i as u8).collect();
        let bytes = discover().option(43, &long).option(12, b"x").option(43, b"more").build();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.option(43).unwrap()[..700], long);
        assert_eq!(message.option(43).unwrap()[700..], *b"more");
    }

    #[test]
    fn overloaded_fields_are_read_as_option_52_says() {
        let request = |overload: u8| {
            discover()
                .option(55, &[1])
                .option(52, &[overload])
                .file(&[55, 1, 2, 12, 1, b'f', 255])
                .sname(&[0, 55, 1, 3, 255, 12, 1, b's'])
        };
        let read = |overload| {
            with(request(overload), |message| {
                (message.parameter_list().unwrap().into_owned(), message.has(12))
            })
        };
        assert_eq!(read(1), (vec![1, 2], true));
        // What stands behind END is not read.
        assert_eq!(read(2), (vec![1, 3], false));
        // RFC 3396 s5: options, then file, then sname.
        assert_eq!(read(3), (vec![1, 2, 3], true));
        for absent in [0, 4, 255] {
            assert_eq!(read(absent), (vec![1], false), "overload {absent}");
        }
    }

    #[test]
    fn an_overload_option_inside_an_overloaded_field_is_no_overload() {
        let request = discover().option(52, &[1]).file(&[52, 1, 3, 255]).sname(&[12, 1, b's', 255]);
        assert!(!with(request, |message| message.has(12)));
        // Nor is one of the wrong length.
        let request = discover().option(52, &[1, 1]).file(&[12, 1, b'f', 255]);
        assert!(!with(request, |message| message.has(12)));
    }

    #[test]
    fn pads_are_skipped_and_a_missing_end_is_tolerated() {
        let mut bytes = discover().raw(&[0, 0]).option(12, b"web").raw(&[0]).build_unpadded();
        assert_eq!(bytes.pop(), Some(255));
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.hostname().as_deref(), Some(b"web".as_slice()));
        let request =
            discover().option(52, &[1]).file(&[[12, 126].as_slice(), &[b'f'; 126]].concat());
        assert_eq!(with(request, |message| message.hostname().unwrap().len()), 126);
    }

    #[test]
    fn pieces_are_bounded() {
        let mut request = discover();
        for _ in 1..PIECES_MAX {
            request = request.option(12, b"");
        }
        assert!(Message::parse(&request.build()).is_ok());
        let bytes = request.option(12, b"").build();
        assert_eq!(Message::parse(&bytes).unwrap_err(), WireError::TooManyOptions);
    }

    #[test]
    fn options_at_the_far_end_of_the_largest_message_are_found() {
        let pads = vec![0; MESSAGE_MAX - 240 - 3 - 3 - 1];
        let bytes = discover().raw(&pads).option(12, b"z").build();
        assert_eq!(bytes.len(), MESSAGE_MAX);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.hostname().as_deref(), Some(b"z".as_slice()));
    }

    #[test]
    fn typed_options_are_none_when_absent_or_of_the_wrong_length() {
        fn all_none(message: &Message<'_>) -> bool {
            message.requested_ip().is_none()
                && message.server_id().is_none()
                && message.lease_time().is_none()
                && message.max_message_size().is_none()
                && message.subnet_selection().is_none()
                && message.auto_configure().is_none()
                && message.machine_uuid().is_none()
                && message.fqdn().is_none()
                && message.archs().next().is_none()
                && !message.rapid_commit()
        }
        assert!(with(discover(), all_none));
        let codes = [50, 54, 51, 57, 118, 116, 97, 81, 93];
        for bad in [&[][..], &[0; 3], &[0; 5]] {
            let request = codes.iter().fold(discover(), |request, code| match (code, bad.len()) {
                // Flags and result codes are all that option 81 must have.
                (81, 3..) => request,
                _ => request.option(*code, bad),
            });
            assert!(with(request.option(80, b"x"), all_none), "{} bytes", bad.len());
        }
    }

    #[test]
    fn typed_options_are_read() {
        let request = discover()
            .addr(50, Ipv4Addr::new(10, 0, 0, 5))
            .addr(54, Ipv4Addr::new(10, 0, 0, 1))
            .addr(118, Ipv4Addr::new(10, 9, 0, 0))
            .option(51, &[0xff; 4])
            .option(57, &[5, 0xdc])
            .option(80, &[])
            .option(93, &[0, 7, 0, 16])
            .option(97, &[[0].as_slice(), &[9; 16]].concat())
            .option(116, &[1])
            .option(61, &[1])
            .option(81, b"\x01\0\0A.b")
            .relay_info(b"\x01\x02ab");
        let bytes = request.build();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.requested_ip(), Some(Ipv4Addr::new(10, 0, 0, 5)));
        assert_eq!(message.server_id(), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(message.subnet_selection(), Some(Ipv4Addr::new(10, 9, 0, 0)));
        assert_eq!(message.lease_time(), Some(u32::MAX));
        assert_eq!(message.max_message_size(), Some(1500));
        assert!(message.rapid_commit());
        assert_eq!(message.archs().collect::<Vec<_>>(), [7, 16]);
        assert_eq!(message.machine_uuid(), Some([9; 16]));
        assert_eq!(message.auto_configure(), Some(1));
        assert_eq!(message.client_id().as_deref(), Some([1].as_slice()));
        assert_eq!(message.fqdn().unwrap().name().as_deref(), Some("a.b"));
        assert_eq!(message.relay_info().unwrap().circuit_id(), Some(b"ab".as_slice()));
        // A UUID of another type than 0 is none that is defined.
        let other = discover().option(97, &[9; 17]);
        assert_eq!(with(other, |m| m.machine_uuid()), None);
    }

    #[test]
    fn ipxe_is_known_by_its_user_class_or_its_option() {
        assert!(with(discover().option(77, b"iPXE"), |m| m.is_ipxe()));
        assert!(with(discover().option(77, b"\x04iPXE"), |m| m.is_ipxe()));
        assert!(with(discover().option(175, &[]), |m| m.is_ipxe()));
        assert!(!with(discover().option(60, b"iPXE"), |m| m.is_ipxe()));
    }

    #[test]
    fn errors_say_what_was_found_and_what_would_be_right() {
        let bytes = discover().raw(&[12, 200, b'x']).build_unpadded();
        let error = Message::parse(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "option 12 runs past the end of its field");
        let text = WireError::BadCookie([1, 2, 3, 4]).to_string();
        assert_eq!(text, "magic cookie [01, 02, 03, 04], want [63, 82, 53, 63]");
    }
}
