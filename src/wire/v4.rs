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

/// DHCP message types (option 53; RFC 2132 s9.6, 3203, 4388, 6926, 7724).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MessageType {
    /// DHCPDISCOVER.
    Discover = 1,
    /// DHCPOFFER.
    Offer = 2,
    /// DHCPREQUEST.
    Request = 3,
    /// DHCPDECLINE.
    Decline = 4,
    /// DHCPACK.
    Ack = 5,
    /// DHCPNAK.
    Nak = 6,
    /// DHCPRELEASE.
    Release = 7,
    /// DHCPINFORM.
    Inform = 8,
    /// DHCPFORCERENEW (RFC 3203).
    ForceRenew = 9,
    /// DHCPLEASEQUERY (RFC 4388).
    LeaseQuery = 10,
    /// DHCPLEASEUNASSIGNED (RFC 4388).
    LeaseUnassigned = 11,
    /// DHCPLEASEUNKNOWN (RFC 4388).
    LeaseUnknown = 12,
    /// DHCPLEASEACTIVE (RFC 4388).
    LeaseActive = 13,
    /// DHCPBULKLEASEQUERY (RFC 6926).
    BulkLeaseQuery = 14,
    /// DHCPLEASEQUERYDONE (RFC 6926).
    LeaseQueryDone = 15,
    /// DHCPACTIVELEASEQUERY (RFC 7724).
    ActiveLeaseQuery = 16,
    /// DHCPLEASEQUERYSTATUS (RFC 7724).
    LeaseQueryStatus = 17,
    /// DHCPTLS (RFC 7724).
    Tls = 18,
}

impl MessageType {
    /// All of them, in the order of their numbers, which start at 1.
    pub const ALL: [MessageType; 18] = {
        use MessageType::*;
        [
            Discover,
            Offer,
            Request,
            Decline,
            Ack,
            Nak,
            Release,
            Inform,
            ForceRenew,
            LeaseQuery,
            LeaseUnassigned,
            LeaseUnknown,
            LeaseActive,
            BulkLeaseQuery,
            LeaseQueryDone,
            ActiveLeaseQuery,
            LeaseQueryStatus,
            Tls,
        ]
    };

    /// The type of that number.
    pub fn from_byte(byte: u8) -> Option<MessageType> {
        MessageType::ALL.get(usize::from(byte).checked_sub(1)?).copied()
    }
}

/// What a message is, by option 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No option 53: BOOTP (RFC 951, 1542).
    Bootp,
    /// A known DHCP message type.
    Dhcp(MessageType),
    /// A number that no RFC gives; 0 also where option 53 is not one byte long.
    Unknown(u8),
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
        let data = self.option(opt::CLIENT_ARCH).filter(|data| data.len() % 2 == 0);
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

/// Iterator over user classes, see [`Message::user_classes`].
#[derive(Clone, Debug)]
pub struct UserClasses<'a> {
    data: Cow<'a, [u8]>,
    at: usize,
    framed: bool,
}

impl<'a> UserClasses<'a> {
    fn new(data: Cow<'a, [u8]>) -> UserClasses<'a> {
        let mut classes = UserClasses { data, at: 0, framed: true };
        classes.by_ref().for_each(drop);
        let framed = classes.at == classes.data.len();
        UserClasses { at: 0, framed, ..classes }
    }

    fn slice(&self, start: usize, end: usize) -> Option<Cow<'a, [u8]>> {
        match &self.data {
            Cow::Borrowed(data) => data.get(start..end).map(Cow::Borrowed),
            Cow::Owned(data) => data.get(start..end).map(|part| Cow::Owned(part.to_vec())),
        }
    }
}

impl<'a> Iterator for UserClasses<'a> {
    type Item = Cow<'a, [u8]>;

    fn next(&mut self) -> Option<Cow<'a, [u8]>> {
        let start = self.at;
        let first = usize::from(*self.data.get(start)?);
        if !self.framed {
            self.at = self.data.len();
            return self.slice(start, self.at);
        }
        // RFC 3004 s4: an instance has at least one byte.
        let class = self.slice(start + 1, start + 1 + first).filter(|class| !class.is_empty())?;
        self.at = start + 1 + first;
        Some(class)
    }
}
