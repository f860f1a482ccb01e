//! Writing a DHCPv4 reply: order, splitting (RFC 3396), overload (RFC 2132 s9.3) and the limit
//! on its size. What the options say is the engine's business; nothing is added here but
//! option 52, option 82 as the relay sent it, and END.

use std::net::Ipv4Addr;

use super::options as opt;
use super::v4::{BOOTREPLY, COOKIE, HEADER_LEN};

/// Smallest payload that is written, and the smallest limit: what a BOOTP client may count on
/// (RFC 1542 s2.1).
pub const PAYLOAD_MIN: usize = 300;
/// Largest payload that is written: what fits an IPv4 datagram.
pub const PAYLOAD_MAX: usize = 65_535 - 28;
/// Most options of one reply. There are 254 codes.
pub const OPTIONS_MAX: usize = 256;

const OVERLOAD_LEN: usize = 3;
const SNAME_LEN: usize = 64;
const FILE_LEN: usize = 128;

/// A reply, ready to be written.
#[derive(Clone, Copy, Debug)]
pub struct ReplyV4<'a> {
    /// Hardware type.
    pub htype: u8,
    /// Hardware address length; echoed as it came.
    pub hlen: u8,
    /// Zero in a reply (RFC 2131 s4.3.1).
    pub hops: u8,
    /// Transaction id of the request.
    pub xid: u32,
    /// Zero in a reply (RFC 2131 s4.3.1).
    pub secs: u16,
    /// Flags of the request.
    pub flags: u16,
    /// The client's address.
    pub ciaddr: Ipv4Addr,
    /// The address given.
    pub yiaddr: Ipv4Addr,
    /// The next server of the boot.
    pub siaddr: Ipv4Addr,
    /// The relay's address.
    pub giaddr: Ipv4Addr,
    /// chaddr of the request, all 16 bytes.
    pub chaddr: [u8; 16],
    /// Server name, at most 64 bytes. Empty: the field is free for options.
    pub sname: &'a [u8],
    /// Boot file, at most 128 bytes. Empty: the field is free for options.
    pub file: &'a [u8],
    /// The options in the order to send them, at most [`OPTIONS_MAX`], each code once. Without
    /// 52, 82 and 255, which are added here.
    pub options: &'a [OutOption<'a>],
    /// Relay agent information to echo (RFC 3046 s2.2).
    pub relay_info: Option<&'a [u8]>,
}

/// One option of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOption<'a> {
    /// Code, 1 to 254.
    pub code: u8,
    /// Its whole data; over 255 bytes it is split when written.
    pub data: &'a [u8],
    /// The reply is worthless without it.
    pub required: bool,
}

/// What a reply could not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    codes: [u64; 4],
    unsendable: bool,
}

impl Dropped {
    /// Whether everything was written.
    pub fn is_empty(&self) -> bool {
        self.codes == [0; 4] && !self.unsendable
    }

    /// Whether nothing was written at all, because the required options or the relay agent
    /// information do not fit the limit even with file and sname: there is no honest reply.
    pub fn is_unsendable(&self) -> bool {
        self.unsendable
    }

    /// Whether this option was left out.
    pub fn contains(&self, code: u8) -> bool {
        self.codes[usize::from(code >> 6)] & 1 << (code & 63) != 0
    }

    /// The codes left out, ascending.
    pub fn codes(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=255).filter(|code| self.contains(*code))
    }

    fn add(&mut self, code: u8) {
        self.codes[usize::from(code >> 6)] |= 1 << (code & 63);
    }
}

/// Appends the UDP payload of `reply` to `out`.
///
/// It is between 300 bytes and `limit` long; a limit below 300 counts as 300. Callers derive it
/// from option 57 less 28 bytes of headers. Options that are not required and do not fit are left
/// out and named in the result. Where even the required ones do not fit, nothing is appended:
/// see [`Dropped::is_unsendable`].
pub fn write_reply(reply: &ReplyV4<'_>, limit: usize, out: &mut Vec<u8>) -> Dropped {
    let unsendable = Dropped { unsendable: true, ..Dropped::default() };
    let relay_info = reply.relay_info.map_or(0, |info| encoded_len(info.len()));
    let fixed = HEADER_LEN + COOKIE.len() + relay_info + 1;
    let Some(room) = limit.clamp(PAYLOAD_MIN, PAYLOAD_MAX).checked_sub(fixed) else {
        return unsendable;
    };
    let wanted: usize = reply.options.iter().map(|option| encoded_len(option.data.len())).sum();
    if wanted <= room {
        write_message(reply, None, fixed + wanted, out);
        return Dropped::default();
    }
    match Spread::plan(reply, room) {
        Some(spread) => {
            write_message(reply, Some(&spread), fixed + room, out);
            spread.dropped
        }
        None => unsendable,
    }
}

/// Bytes that `len` bytes of data take, with code and length of each piece.
fn encoded_len(len: usize) -> usize {
    match len {
        0..=255 => len + 2,
        _ => len + 2 * len.div_ceil(255),
    }
}

/// The most data whose encoding fits in `room` bytes.
fn data_that_fits(room: usize) -> usize {
    room / 257 * 255 + (room % 257).saturating_sub(2)
}

/// Where options can be, in the order in which a client joins their pieces (RFC 3396 s5).
#[derive(Clone, Copy, Debug)]
enum Field {
    Options = 0,
    File = 1,
    Sname = 2,
}

/// How many bytes of an option's data each field takes; `None` where no piece of it goes.
type Shares = [Option<u16>; 3];

/// Which option goes where, for a reply that does not fit its options field.
struct Spread {
    shares: [Shares; OPTIONS_MAX],
    dropped: Dropped,
    /// Value of option 52; 0 where neither file nor sname was needed.
    overload: u8,
}

impl Spread {
    /// `None` if required options do not fit. `room` is what the options field holds beside the
    /// relay agent information and END.
    fn plan(reply: &ReplyV4<'_>, room: usize) -> Option<Spread> {
        let mut rooms = rooms(reply, room);
        let mut spread =
            Spread { shares: [[None; 3]; OPTIONS_MAX], dropped: Dropped::default(), overload: 0 };
        // The required ones first, so that none of them loses its room to one that is not.
        for required in [true, false] {
            let options = reply.options.iter().enumerate();
            for (i, option) in options.filter(|(_, option)| option.required == required) {
                let slot = spread.shares.get_mut(i);
                match slot.and_then(|slot| Some((slot, place(option, &mut rooms)?))) {
                    Some((slot, shares)) => {
                        *slot = shares;
                        spread.overload |= u8::from(shares[Field::File as usize].is_some());
                        spread.overload |= u8::from(shares[Field::Sname as usize].is_some()) << 1;
                    }
                    None if required => return None,
                    None => spread.dropped.add(option.code),
                }
            }
        }
        Some(spread)
    }

    /// The part of option `i`'s data that goes into `field`.
    fn part<'a>(&self, i: usize, data: &'a [u8], field: Field) -> Option<&'a [u8]> {
        let shares = self.shares.get(i)?;
        let len = usize::from(shares[field as usize]?);
        let before = shares[..field as usize].iter().flatten().map(|len| usize::from(*len)).sum();
        data.get(before..before + len)
    }
}

/// What each field can hold. File and sname count where they are free and option 52 fits.
fn rooms(reply: &ReplyV4<'_>, room: usize) -> [usize; 3] {
    let free = |field: &[u8], len: usize| if field.is_empty() { len - 1 } else { 0 };
    let (file, sname) = (free(reply.file, FILE_LEN), free(reply.sname, SNAME_LEN));
    match room.checked_sub(OVERLOAD_LEN) {
        Some(less) if file + sname > 0 => [less, file, sname],
        _ => [room, 0, 0],
    }
}

/// Finds room for an option and takes it: whole in the first field that can hold it. Only what is
/// required, or too long for one piece anyway, is spread over several fields: clients that do
/// not join pieces would misread it.
fn place(option: &OutOption<'_>, rooms: &mut [usize; 3]) -> Option<Shares> {
    let len = option.data.len();
    let mut shares = [None; 3];
    if let Some(i) = rooms.iter().position(|room| encoded_len(len) <= *room) {
        rooms[i] -= encoded_len(len);
        shares[i] = Some(len as u16);
        return Some(shares);
    }
    if len == 0 || (!option.required && len <= 255) {
        return None;
    }
    let mut left = *rooms;
    let mut rest = len;
    for (share, room) in shares.iter_mut().zip(&mut left) {
        let part = data_that_fits(*room).min(rest);
        if part > 0 {
            *share = Some(part as u16);
            *room -= encoded_len(part);
            rest -= part;
        }
    }
    if rest > 0 {
        return None;
    }
    *rooms = left;
    Some(shares)
}

/// Appends the message, which takes at most `most` bytes, padding aside.
fn write_message(reply: &ReplyV4<'_>, spread: Option<&Spread>, most: usize, out: &mut Vec<u8>) {
    let start = out.len();
    // All of it padding at first: what is not padding is put in its place.
    out.resize(start + most.max(PAYLOAD_MIN), opt::PAD);
    let mut page = Page { bytes: out.get_mut(start..).unwrap_or_default(), at: 0 };
    write_header(reply, &mut page);
    write_fixed_field(reply, spread, Field::Sname, &mut page);
    write_fixed_field(reply, spread, Field::File, &mut page);
    page.write(&COOKIE);
    write_options(reply, spread, Field::Options, &mut page);
    if let Some(Spread { overload: overload @ 1.., .. }) = spread {
        page.option(opt::OVERLOAD, &[*overload]);
    }
    // RFC 3046 s2.2: echoed unchanged, and last before END.
    if let Some(info) = reply.relay_info {
        page.option(opt::RELAY_AGENT_INFO, info);
    }
    page.write(&[opt::END]);
    let len = page.at.max(PAYLOAD_MIN);
    out.truncate(start + len);
}

/// What is being written to: as long as was planned, and never written beyond.
struct Page<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Page<'_> {
    fn write(&mut self, bytes: &[u8]) {
        let place = self.bytes.get_mut(self.at..self.at + bytes.len());
        debug_assert!(place.is_some(), "{} bytes at {} are too many", bytes.len(), self.at);
        if let Some(place) = place {
            place.copy_from_slice(bytes);
            self.at += bytes.len();
        }
    }

    /// An option, in pieces where it is over 255 bytes (RFC 3396 s5).
    fn option(&mut self, code: u8, data: &[u8]) {
        if let Ok(len) = u8::try_from(data.len()) {
            self.write(&[code, len]);
            return self.write(data);
        }
        for piece in data.chunks(255) {
            self.write(&[code, piece.len() as u8]);
            self.write(piece);
        }
    }
}

fn write_header(reply: &ReplyV4<'_>, page: &mut Page<'_>) {
    page.write(&[BOOTREPLY, reply.htype, reply.hlen, reply.hops]);
    page.write(&reply.xid.to_be_bytes());
    page.write(&reply.secs.to_be_bytes());
    page.write(&reply.flags.to_be_bytes());
    for addr in [reply.ciaddr, reply.yiaddr, reply.siaddr, reply.giaddr] {
        page.write(&addr.octets());
    }
    page.write(&reply.chaddr);
}

/// Writes sname or file: options where they are overloaded, else their own text.
fn write_fixed_field(
    reply: &ReplyV4<'_>,
    spread: Option<&Spread>,
    field: Field,
    page: &mut Page<'_>,
) {
    let (text, len, bit) = match field {
        Field::Sname => (reply.sname, SNAME_LEN, 2),
        _ => (reply.file, FILE_LEN, 1),
    };
    let end = page.at + len;
    if spread.is_some_and(|spread| spread.overload & bit != 0) {
        write_options(reply, spread, field, page);
        page.write(&[opt::END]);
    } else {
        debug_assert!(text.len() <= len, "policy keeps {text:?} within {len} bytes");
        page.write(text.get(..len).unwrap_or(text));
    }
    page.at = end;
}

fn write_options(reply: &ReplyV4<'_>, spread: Option<&Spread>, field: Field, page: &mut Page<'_>) {
    for (i, option) in reply.options.iter().enumerate() {
        let part = match spread {
            Some(spread) => spread.part(i, option.data, field),
            None => Some(option.data),
        };
        if let Some(part) = part {
            page.option(option.code, part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v4::{Kind, Message, MessageType};

    const ACK: OutOption<'_> = OutOption { code: 53, data: &[5], required: true };

    fn reply<'a>(options: &'a [OutOption<'a>]) -> ReplyV4<'a> {
        ReplyV4 {
            htype: 1,
            hlen: 6,
            hops: 0,
            xid: 0x0102_0304,
            secs: 0,
            flags: 0x8000,
            ciaddr: Ipv4Addr::new(10, 0, 0, 1),
            yiaddr: Ipv4Addr::new(10, 0, 0, 2),
            siaddr: Ipv4Addr::new(10, 0, 0, 3),
            giaddr: Ipv4Addr::new(10, 0, 0, 4),
            chaddr: [7; 16],
            sname: b"",
            file: b"",
            options,
            relay_info: None,
        }
    }

    fn option(code: u8, data: &[u8]) -> OutOption<'_> {
        OutOption { code, data, required: false }
    }

    fn required(code: u8, data: &[u8]) -> OutOption<'_> {
        OutOption { code, data, required: true }
    }

    fn written(reply: &ReplyV4<'_>, limit: usize) -> (Vec<u8>, Dropped) {
        let mut out = Vec::new();
        let dropped = write_reply(reply, limit, &mut out);
        assert!(out.len() <= limit.max(PAYLOAD_MIN), "{} of {limit} bytes", out.len());
        (out, dropped)
    }

    #[test]
    fn a_small_reply_is_written_to_the_byte() {
        let options = [ACK, option(12, b"web")];
        let (out, dropped) = written(
            &ReplyV4 {
                sname: b"boot",
                file: b"a.efi",
                relay_info: Some(b"\x01\x01x"),
                ..reply(&options)
            },
            548,
        );
        assert!(dropped.is_empty());
        let mut want = vec![2, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0x80, 0];
        want.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2, 10, 0, 0, 3, 10, 0, 0, 4]);
        want.extend_from_slice(&[7; 16]);
        want.extend_from_slice(b"boot");
        want.resize(108, 0);
        want.extend_from_slice(b"a.efi");
        want.resize(236, 0);
        want.extend_from_slice(b"\x63\x82\x53\x63\x35\x01\x05\x0c\x03web\x52\x03\x01\x01x\xff");
        want.resize(300, 0);
        assert_eq!(out, want);
    }

    #[test]
    fn replies_are_appended() {
        let mut out = b"before".to_vec();
        write_reply(&reply(&[ACK]), 548, &mut out);
        assert_eq!((&out[..6], out.len()), (b"before".as_slice(), 306));
        assert!(Message::parse(&out[6..]).is_ok());
    }

    #[test]
    fn long_options_are_split_and_the_relay_information_too() {
        let long: Vec<u8> = (0..600).map(|i| i as u8).collect();
        let options = [ACK, option(121, &long), option(12, b"")];
        let (out, dropped) =
            written(&ReplyV4 { relay_info: Some(&long[..300]), ..reply(&options) }, 1472);
        assert!(dropped.is_empty());
        let message = Message::parse(&out).unwrap();
        let pieces: Vec<_> = message.options().map(|(code, data)| (code, data.len())).collect();
        let want = [(53, 1), (121, 255), (121, 255), (121, 90), (12, 0), (82, 255), (82, 45)];
        assert_eq!(pieces, want);
        assert_eq!(message.option(121).unwrap(), long);
        assert_eq!(message.relay_info().unwrap().raw(), &long[..300]);
    }

    #[test]
    fn an_empty_relay_information_is_echoed() {
        let (out, _) = written(&ReplyV4 { relay_info: Some(b""), ..reply(&[ACK]) }, 548);
        assert_eq!(out[240..246], [53, 1, 5, 82, 0, 255]);
    }

    #[test]
    fn what_just_fits_is_not_overloaded() {
        let data = [1; 200];
        // Room for options in 548 bytes: 548 - 240 - END = 307 = 3 + 202 + 102.
        for (last, overloaded) in [(100, false), (101, true)] {
            let options = [ACK, option(43, &data), option(12, &data[..last])];
            let (out, dropped) = written(&reply(&options), 548);
            let message = Message::parse(&out).unwrap();
            assert!(dropped.is_empty());
            assert_eq!(message.has(52), overloaded);
            assert_eq!(message.option(12).unwrap().len(), last);
        }
    }

    #[test]
    fn file_is_overloaded_before_sname() {
        let data = [1; 120];
        let options = [ACK, option(43, &data), option(12, &data), option(15, &data)];
        let (out, dropped) = written(&reply(&options), 548);
        assert!(dropped.is_empty());
        assert_eq!(Message::parse(&out).unwrap().option(52).as_deref(), Some([1].as_slice()));
        // sname takes what file cannot.
        let options = [&options[..], &[option(66, &data[..60])]].concat();
        let (out, dropped) = written(&reply(&options), 548);
        assert!(dropped.is_empty());
        let message = Message::parse(&out).unwrap();
        assert_eq!(message.option(52).as_deref(), Some([3].as_slice()));
        for option in &options {
            assert_eq!(message.option(option.code).as_deref(), Some(option.data));
        }
    }

    #[test]
    fn fields_in_use_are_not_overloaded() {
        let data = [1; 120];
        let options = [
            ACK,
            option(43, &data),
            option(12, &data),
            option(66, &data[..50]),
            option(15, &data[..60]),
        ];
        let (out, dropped) = written(&ReplyV4 { file: b"a.efi", ..reply(&options) }, 548);
        let message = Message::parse(&out).unwrap();
        assert_eq!(message.option(52).as_deref(), Some([2].as_slice()));
        assert_eq!(&message.file()[..6], b"a.efi\0");
        assert!(dropped.is_empty());
        let (out, dropped) =
            written(&ReplyV4 { file: b"a.efi", sname: b"boot", ..reply(&options) }, 548);
        let message = Message::parse(&out).unwrap();
        assert!(!message.has(52));
        assert_eq!(dropped.codes().collect::<Vec<_>>(), [15]);
        assert!(dropped.contains(15) && !dropped.contains(66) && !dropped.is_unsendable());
    }

    #[test]
    fn required_options_are_kept_whatever_their_place() {
        let data = [1; 250];
        let options = [option(43, &data), option(60, &data), required(51, &[9; 4]), ACK];
        let (out, dropped) = written(&reply(&options), 300);
        let message = Message::parse(&out).unwrap();
        assert_eq!(message.kind(), Kind::Dhcp(MessageType::Ack));
        assert_eq!(message.lease_time(), Some(0x0909_0909));
        assert_eq!(dropped.codes().collect::<Vec<_>>(), [43, 60]);
    }

    #[test]
    fn what_is_not_required_takes_no_room_from_what_is() {
        let data = [1; 50];
        let options = [option(43, &data), required(12, &data[..40]), ACK];
        let (out, dropped) = written(&ReplyV4 { file: b"f", sname: b"s", ..reply(&options) }, 300);
        assert_eq!(dropped.codes().collect::<Vec<_>>(), [43]);
        assert!(!dropped.is_unsendable());
        assert_eq!(Message::parse(&out).unwrap().hostname().unwrap().len(), 40);
    }

    #[test]
    fn long_required_options_spread_over_all_fields_in_joining_order() {
        let long: Vec<u8> = (0..230).map(|i| i as u8).collect();
        let (out, dropped) = written(&reply(&[ACK, required(121, &long)]), 300);
        assert!(dropped.is_empty());
        let message = Message::parse(&out).unwrap();
        assert_eq!(message.option(52).as_deref(), Some([3].as_slice()));
        assert_eq!(message.option(121).unwrap(), long);
        assert!(message.options().filter(|(code, _)| *code == 121).count() == 3);
    }

    #[test]
    fn short_options_are_dropped_rather_than_spread() {
        let data = [1; 200];
        let (out, dropped) = written(&reply(&[ACK, option(121, &data)]), 300);
        assert_eq!(dropped.codes().collect::<Vec<_>>(), [121]);
        assert!(!Message::parse(&out).unwrap().has(121));
    }

    #[test]
    fn without_room_for_what_is_required_nothing_is_written() {
        let data = [1; 255];
        for (options, relay_info) in [
            (vec![ACK, required(121, &data)], None),
            (vec![ACK], Some(data.as_slice())),
            (vec![ACK, required(12, &data[..200])], Some(&data[..40])),
        ] {
            let mut out = b"before".to_vec();
            let reply = ReplyV4 { relay_info, ..reply(&options) };
            let dropped = write_reply(&reply, 300, &mut out);
            assert!(dropped.is_unsendable() && !dropped.is_empty());
            assert_eq!(out, b"before");
        }
    }

    #[test]
    fn the_relay_information_is_last_before_end() {
        let data = [1; 250];
        let options = [ACK, option(43, &data), option(60, &data[..100])];
        let (out, _) = written(&ReplyV4 { relay_info: Some(b"\x01\x01x"), ..reply(&options) }, 548);
        let end = out.iter().rposition(|byte| *byte == 255).unwrap();
        assert_eq!(out[end - 5..=end], *b"\x52\x03\x01\x01x\xff");
    }

    #[test]
    fn an_empty_required_option_is_never_lost() {
        // 59 bytes of room in 300; sname and file are taken.
        for (len, fits) in [(52, true), (53, false)] {
            let data = vec![1; len];
            let options = [ACK, required(12, &data), required(80, b"")];
            let (out, dropped) =
                written(&ReplyV4 { file: b"f", sname: b"s", ..reply(&options) }, 300);
            assert_eq!(dropped.is_unsendable(), !fits);
            assert_eq!(!out.is_empty(), fits);
        }
    }

    #[test]
    fn a_limit_below_300_counts_as_300() {
        for limit in [0, 299, 300] {
            assert_eq!(written(&reply(&[ACK]), limit).0.len(), 300);
        }
        let data = [1; 70_000];
        let (out, dropped) = written(&reply(&[ACK, option(43, &data[..60_000])]), usize::MAX);
        assert!(dropped.is_empty());
        assert_eq!(Message::parse(&out).unwrap().option(43).unwrap().len(), 60_000);
        let (_, dropped) = written(&reply(&[ACK, option(43, &data)]), usize::MAX);
        assert!(dropped.contains(43));
    }

    #[test]
    fn data_that_fits_is_the_inverse_of_encoded_len() {
        for room in 2..2000 {
            let data = data_that_fits(room);
            assert!(encoded_len(data) <= room, "{data} in {room}");
            assert!(encoded_len(data + 1) > room, "{data} in {room}");
        }
        assert_eq!((data_that_fits(0), data_that_fits(1)), (0, 0));
    }
}
