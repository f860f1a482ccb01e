//! Identity associations (RFC 9915 s21.4, s21.21): what is inside options 3, 4 and 25.

use std::net::Ipv6Addr;

use super::options6 as opt;
use super::v6::{Budget, Options6, Status, WireError6, check_status};
use crate::base::Prefix6;

/// What an identity association is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IaKind {
    /// Addresses (IA_NA).
    Na,
    /// Delegated prefixes (IA_PD).
    Pd,
    /// Temporary addresses (IA_TA), which RFC 9915 has done away with.
    Ta,
}

impl IaKind {
    /// The kind whose option has this code.
    pub fn from_code(code: u16) -> Option<IaKind> {
        match code {
            opt::IA_NA => Some(IaKind::Na),
            opt::IA_PD => Some(IaKind::Pd),
            opt::IA_TA => Some(IaKind::Ta),
            _ => None,
        }
    }

    /// The code of its option.
    pub fn code(self) -> u16 {
        match self {
            IaKind::Na => opt::IA_NA,
            IaKind::Pd => opt::IA_PD,
            IaKind::Ta => opt::IA_TA,
        }
    }
}

const ADDR_LEN: usize = 24;
const PREFIX_LEN: usize = 25;

/// Checks all lengths inside an identity association.
pub(super) fn check(kind: IaKind, data: &[u8], budget: &mut Budget) -> Result<(), WireError6> {
    let (code, len) = (kind.code(), data.len());
    let (header, want) = match kind {
        IaKind::Na | IaKind::Pd => (12, "at least 12"),
        IaKind::Ta => (4, "at least 4"),
    };
    let options = data.get(header..).ok_or(WireError6::BadLength { code, len, want })?;
    budget.each(options, |code, data, budget| match code {
        opt::IA_ADDR => check_addr(data, budget),
        opt::IA_PREFIX => check_prefix(data, budget),
        opt::STATUS_CODE => check_status(data),
        _ => Ok(()),
    })
}

fn check_addr(data: &[u8], budget: &mut Budget) -> Result<(), WireError6> {
    let want = "at least 24";
    let bad = WireError6::BadLength { code: opt::IA_ADDR, len: data.len(), want };
    check_innermost(data.get(ADDR_LEN..).ok_or(bad)?, budget)
}

fn check_prefix(data: &[u8], budget: &mut Budget) -> Result<(), WireError6> {
    let want = "at least 25";
    let bad = WireError6::BadLength { code: opt::IA_PREFIX, len: data.len(), want };
    let options = data.get(PREFIX_LEN..).ok_or(bad)?;
    check_prefix_length(opt::IA_PREFIX, data.get(8))?;
    check_innermost(options, budget)
}

/// Options of an address or a prefix. Nothing inside them is looked into.
fn check_innermost(options: &[u8], budget: &mut Budget) -> Result<(), WireError6> {
    budget.each(options, |code, data, _| match code {
        opt::STATUS_CODE => check_status(data),
        // RFC 6603 s4.2: the length of the prefix, and 1 to 16 bytes of it.
        opt::PD_EXCLUDE => match data.len() {
            2..=17 => check_prefix_length(code, data.first()),
            len => Err(WireError6::BadLength { code, len, want: "2 to 17" }),
        },
        _ => Ok(()),
    })
}

fn check_prefix_length(code: u16, len: Option<&u8>) -> Result<(), WireError6> {
    match len {
        Some(len @ 129..) => Err(WireError6::BadPrefixLength { code, len: *len }),
        _ => Ok(()),
    }
}

/// One identity association, as a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ia<'a> {
    /// What it is for.
    pub kind: IaKind,
    /// What the client calls it, unique among its own of that kind.
    pub iaid: u32,
    /// T1 in seconds; 0 leaves it to the other side. Always 0 of an IA_TA.
    pub t1: u32,
    /// T2 in seconds; 0 leaves it to the other side. Always 0 of an IA_TA.
    pub t2: u32,
    options: &'a [u8],
}

impl<'a> Ia<'a> {
    pub(super) fn new(kind: IaKind, data: &'a [u8]) -> Option<Ia<'a>> {
        let (iaid, rest) = take_u32(data)?;
        if kind == IaKind::Ta {
            return Some(Ia { kind, iaid, t1: 0, t2: 0, options: rest });
        }
        let (t1, rest) = take_u32(rest)?;
        let (t2, options) = take_u32(rest)?;
        Some(Ia { kind, iaid, t1, t2, options })
    }

    /// Its options in order: code and data.
    pub fn options(&self) -> Options6<'a> {
        Options6::new(self.options)
    }

    /// Its status; what has none is a success.
    pub fn status(&self) -> Option<Status<'a>> {
        Status::new(self.options().find_code(opt::STATUS_CODE)?)
    }

    /// Its addresses in order; none where it is for prefixes.
    pub fn addrs(&self) -> impl Iterator<Item = IaAddr<'a>> + use<'a> {
        self.inside(opt::IA_ADDR, self.kind != IaKind::Pd).filter_map(IaAddr::new)
    }

    /// Its prefixes in order; none where it is for addresses.
    pub fn prefixes(&self) -> impl Iterator<Item = IaPrefix<'a>> + use<'a> {
        self.inside(opt::IA_PREFIX, self.kind == IaKind::Pd).filter_map(IaPrefix::new)
    }

    fn inside(&self, code: u16, fits: bool) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let options = self.options().filter(move |(found, _)| fits && *found == code);
        options.map(|(_, data)| data)
    }
}

/// An address of an identity association (RFC 9915 s21.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IaAddr<'a> {
    /// The address.
    pub addr: Ipv6Addr,
    /// Preferred lifetime in seconds.
    pub preferred: u32,
    /// Valid lifetime in seconds.
    pub valid: u32,
    options: &'a [u8],
}

impl<'a> IaAddr<'a> {
    fn new(data: &'a [u8]) -> Option<IaAddr<'a>> {
        let (addr, rest) = take_addr(data)?;
        let (preferred, rest) = take_u32(rest)?;
        let (valid, options) = take_u32(rest)?;
        Some(IaAddr { addr, preferred, valid, options })
    }

    /// Its options in order: code and data.
    pub fn options(&self) -> Options6<'a> {
        Options6::new(self.options)
    }

    /// Its status; what has none is a success.
    pub fn status(&self) -> Option<Status<'a>> {
        Status::new(self.options().find_code(opt::STATUS_CODE)?)
    }
}

/// A prefix of an identity association (RFC 9915 s21.22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IaPrefix<'a> {
    /// The prefix as sent: a client that asks for a length only says `::`.
    pub prefix: Ipv6Addr,
    /// Its length, 0 to 128.
    pub len: u8,
    /// Preferred lifetime in seconds.
    pub preferred: u32,
    /// Valid lifetime in seconds.
    pub valid: u32,
    options: &'a [u8],
}

impl<'a> IaPrefix<'a> {
    fn new(data: &'a [u8]) -> Option<IaPrefix<'a>> {
        let (preferred, rest) = take_u32(data)?;
        let (valid, rest) = take_u32(rest)?;
        let (len, rest) = rest.split_first()?;
        let (prefix, options) = take_addr(rest)?;
        Some(IaPrefix { prefix, len: *len, preferred, valid, options })
    }

    /// The prefix without host bits.
    pub fn as_prefix(&self) -> Option<Prefix6> {
        Prefix6::new(self.prefix, self.len)
    }

    /// Its options in order: code and data.
    pub fn options(&self) -> Options6<'a> {
        Options6::new(self.options)
    }

    /// Its status; what has none is a success.
    pub fn status(&self) -> Option<Status<'a>> {
        Status::new(self.options().find_code(opt::STATUS_CODE)?)
    }

    /// The prefix inside this one that its holder does not use (option 67, RFC 6603 s4.2);
    /// `None` also where it is not longer than this one, or its bytes are too few or too many.
    pub fn exclude(&self) -> Option<Prefix6> {
        let delegated = self.as_prefix()?;
        let (len, id) = self.options().find_code(opt::PD_EXCLUDE)?.split_first()?;
        let bits = len.checked_sub(delegated.len()).filter(|bits| *bits > 0)?;
        if id.len() != usize::from(bits).div_ceil(8) {
            return None;
        }
        let mut bytes = [0; 16];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        let inside = u128::from_be_bytes(bytes) >> delegated.len();
        Prefix6::new(Ipv6Addr::from_bits(delegated.network().to_bits() | inside), *len)
    }
}

fn take_u32(data: &[u8]) -> Option<(u32, &[u8])> {
    let (bytes, rest) = data.split_first_chunk()?;
    Some((u32::from_be_bytes(*bytes), rest))
}

fn take_addr(data: &[u8]) -> Option<(Ipv6Addr, &[u8])> {
    let (bytes, rest) = data.split_first_chunk::<16>()?;
    Some((Ipv6Addr::from(*bytes), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v6::{Message6, MessageType6};
    use crate::wire::v6_build::{RequestV6, ia_addr, ia_prefix, option};

    fn addr(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn renew() -> RequestV6 {
        RequestV6::new(MessageType6::Renew, 1)
    }

    fn error(kind: IaKind, inside: &[Vec<u8>]) -> WireError6 {
        Message6::parse(&renew().ia(kind, 1, inside).build()).unwrap_err()
    }

    #[test]
    fn several_associations_of_every_kind_are_read() {
        let status = option(13, b"\0\x03no binding");
        let bytes = renew()
            .ia(
                IaKind::Na,
                7,
                &[
                    ia_addr(addr("2001:db8::1"), 10, 20, &[]),
                    ia_addr(addr("2001:db8::2"), 30, 40, &status),
                    status.clone(),
                ],
            )
            .ia(IaKind::Pd, 8, &[ia_prefix(addr("2001:db8:8::"), 56, 50, 60, &[])])
            .option(8, &[0, 0])
            .ia(IaKind::Ta, 9, &[ia_addr(addr("2001:db8::9"), 1, 2, &[])])
            .option(3, &[0, 0, 0, 10, 0, 0, 0, 11, 0, 0, 0, 12])
            .build();
        let message = Message6::parse(&bytes).unwrap();
        let ias: Vec<Ia<'_>> = message.ias().collect();
        let heads: Vec<_> = ias.iter().map(|ia| (ia.kind, ia.iaid, ia.t1, ia.t2)).collect();
        use IaKind::*;
        assert_eq!(heads, [(Na, 7, 0, 0), (Pd, 8, 0, 0), (Ta, 9, 0, 0), (Na, 10, 11, 12)]);
        let addrs: Vec<_> = ias[0].addrs().map(|a| (a.addr, a.preferred, a.valid)).collect();
        assert_eq!(addrs, [(addr("2001:db8::1"), 10, 20), (addr("2001:db8::2"), 30, 40)]);
        let statuses: Vec<_> = ias[0].addrs().map(|a| a.status().map(|s| s.code)).collect();
        assert_eq!(statuses, [None, Some(3)]);
        assert_eq!(ias[0].status(), Some(Status { code: 3, text: b"no binding" }));
        let prefix = ias[1].prefixes().next().unwrap();
        assert_eq!((prefix.prefix, prefix.len), (addr("2001:db8:8::"), 56));
        assert_eq!((prefix.preferred, prefix.valid), (50, 60));
        assert_eq!(ias[2].addrs().count(), 1);
        assert_eq!((ias[3].addrs().count(), ias[3].status()), (0, None));
    }

    #[test]
    fn what_does_not_belong_in_an_association_is_not_shown() {
        let inside =
            [ia_addr(addr("2001:db8::1"), 1, 2, &[]), ia_prefix(addr("2001:db8::"), 56, 1, 2, &[])];
        let bytes = renew().ia(IaKind::Na, 1, &inside).ia(IaKind::Pd, 1, &inside).build();
        let message = Message6::parse(&bytes).unwrap();
        let counts = message.ias().map(|ia| (ia.addrs().count(), ia.prefixes().count()));
        assert_eq!(counts.collect::<Vec<_>>(), [(1, 0), (0, 1)]);
    }

    #[test]
    fn lengths_are_checked_at_every_depth() {
        let short = |code, len, want| WireError6::BadLength { code, len, want };
        for (code, len, want) in
            [(3, 11, "at least 12"), (25, 0, "at least 12"), (4, 3, "at least 4")]
        {
            let bytes = renew().option(code, &vec![0; len]).build();
            assert_eq!(Message6::parse(&bytes).unwrap_err(), short(code, len, want));
        }
        let inside = |inside: Vec<u8>| error(IaKind::Na, &[inside]);
        assert_eq!(inside(option(5, &[0; 23])), short(5, 23, "at least 24"));
        assert_eq!(inside(option(26, &[0; 24])), short(26, 24, "at least 25"));
        assert_eq!(inside(option(13, &[0])), short(13, 1, "at least 2"));
        assert_eq!(inside(vec![0, 5, 0, 99]), WireError6::Truncated { code: 5 });
        assert_eq!(inside(vec![0, 5]), WireError6::Tail(2));
        let innermost = |tail: &[u8]| inside(ia_addr(addr("::1"), 1, 1, tail));
        assert_eq!(innermost(&[0, 13, 0, 9, 0]), WireError6::Truncated { code: 13 });
        assert_eq!(innermost(&option(13, &[0])), short(13, 1, "at least 2"));
        let prefix = |tail: &[u8]| error(IaKind::Pd, &[ia_prefix(addr("::"), 56, 1, 1, tail)]);
        assert_eq!(prefix(&[0]), WireError6::Tail(1));
        assert_eq!(prefix(&option(67, &[60])), short(67, 1, "2 to 17"));
    }

    #[test]
    fn excluded_prefixes_are_read_as_rfc_6603_wants() {
        let exclude = |prefix: &str, len, data: &[u8]| {
            let prefix = ia_prefix(addr(prefix), len, 1, 2, &option(67, data));
            let bytes = renew().ia(IaKind::Pd, 1, &[prefix]).build();
            let message = Message6::parse(&bytes).unwrap();
            let ia = message.ias().next().unwrap();
            ia.prefixes().next().unwrap().exclude().map(|prefix| prefix.to_string())
        };
        // The example of RFC 6603 s4.2.
        let of_rfc = exclude("2001:db8:dead:bee0::", 59, &[64, 0x78]);
        assert_eq!(of_rfc.as_deref(), Some("2001:db8:dead:beef::/64"));
        assert_eq!(exclude("2001:db8::", 56, &[64, 5]).as_deref(), Some("2001:db8:0:5::/64"));
        assert_eq!(exclude("2001:db8::", 48, &[64, 0, 9]).as_deref(), Some("2001:db8:0:9::/64"));
        // Host bits behind the excluded prefix are dropped.
        assert_eq!(exclude("2001:db8::", 56, &[60, 0xff]).as_deref(), Some("2001:db8:0:f0::/60"));
        let whole = [&[128][..], &[0xff; 16]].concat();
        assert_eq!(
            exclude("::", 0, &whole).as_deref(),
            Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128")
        );
        // Not longer than the delegated one, or with too few or too many bytes.
        for none in [&[56, 0][..], &[48, 0], &[64, 0, 0], &[72, 0]] {
            assert_eq!(exclude("2001:db8::", 56, none), None, "{none:?}");
        }
    }
}
