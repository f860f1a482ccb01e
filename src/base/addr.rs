//! Link-layer and network addresses, ranges, and what a binding can be about.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::addr6::Prefix6;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    /// 00:00:00:00:00:00.
    pub const ZERO: Mac = Mac([0; 6]);

    /// Whether the group bit is set: broadcast or multicast, never a single host.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The link-local address with its interface identifier (RFC 4291 appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0, ":")
    }
}

/// Six bytes in hexadecimal, parted by `:` or `-`.
impl FromStr for Mac {
    type Err = ();
    fn from_str(s: &str) -> Result<Mac, ()> {
        let mut out = [0; 6];
        let mut parts = s.split([':', '-']);
        for byte in &mut out {
            let digits = |p: &&str| p.bytes().all(|b| b.is_ascii_hexdigit());
            let part = parts.next().filter(|p| (1..=2).contains(&p.len())).filter(digits);
            let part = part.ok_or(())?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        parts.next().is_none().then_some(Mac(out)).ok_or(())
    }
}

/// A hardware address as DHCPv4 carries it: type and up to 16 bytes (RFC 2131 s2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HwAddr {
    htype: u8,
    len: u8,
    bytes: [u8; 16],
}

/// In few words: every packet looks up several.
impl Hash for HwAddr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.bytes));
        state.write_u16(u16::from_ne_bytes([self.htype, self.len]));
    }
}

impl HwAddr {
    /// `None` if `bytes` is longer than 16.
    pub fn new(htype: u8, bytes: &[u8]) -> Option<HwAddr> {
        let mut own = [0; 16];
        own.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(HwAddr { htype, len: bytes.len() as u8, bytes: own })
    }

    /// An Ethernet address (hardware type 1).
    pub fn ethernet(mac: Mac) -> HwAddr {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&mac.0);
        HwAddr { htype: 1, len: 6, bytes }
    }

    /// The link-layer address that a DUID-LLT or DUID-LL holds (RFC 9915 s11.2, s11.4). It may be
    /// of another interface of its machine, or of none any more.
    pub fn of_duid(duid: &[u8]) -> Option<HwAddr> {
        let (htype, bytes) = match duid {
            [0, 1, h @ .., _, _] if duid.len() > 8 => (h.get(..2)?, duid.get(8..)?),
            [0, 3, h @ ..] => (h.get(..2)?, duid.get(4..)?),
            _ => return None,
        };
        let htype = u16::from_be_bytes(htype.try_into().ok()?);
        HwAddr::new(u8::try_from(htype).ok()?, bytes).filter(|hw| !hw.bytes().is_empty())
    }

    /// The hardware type (1 is Ethernet).
    pub fn htype(&self) -> u8 {
        self.htype
    }

    /// The address itself, 0 to 16 bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether a client identifier says just this, type and address (RFC 2132 s9.14).
    pub fn is_spelt_by(&self, client_id: &[u8]) -> bool {
        client_id
            .split_first()
            .is_some_and(|(htype, rest)| *htype == self.htype && rest == self.bytes())
    }

    /// The Ethernet address, if it is six bytes long.
    pub fn mac(&self) -> Option<Mac> {
        self.bytes().try_into().ok().map(Mac)
    }
}

impl From<Mac> for HwAddr {
    fn from(mac: Mac) -> HwAddr {
        HwAddr::ethernet(mac)
    }
}

/// `52:54:00:12:34:56`, with the type in front where it is not Ethernet: `32/0a:0b`.
impl fmt::Display for HwAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.htype != 1 {
            write!(f, "{}/", self.htype)?;
        }
        write_hex(f, self.bytes(), ":")
    }
}

/// A network interface by its kernel index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// A network's name in the store: a stable hash, so that renumbering the TOML moves no binding.
///
/// Two names that collide are refused when the configuration is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub u32);

impl NetworkId {
    /// The identity of the network called `name` (FNV-1a).
    pub fn of(name: &str) -> NetworkId {
        let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        NetworkId(name.bytes().fold(0x811c_9dc5, step))
    }
}

/// An inclusive range of IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range4 {
    /// Lowest address.
    pub first: Ipv4Addr,
    /// Highest address; not below `first`.
    pub last: Ipv4Addr,
}

impl Range4 {
    /// Whether `addr` lies inside.
    pub fn contains(&self, addr: Ipv4Addr) -> bool {
        self.first <= addr && addr <= self.last
    }

    /// How many addresses there are.
    pub fn size(&self) -> u64 {
        u64::from(self.last.to_bits()) - u64::from(self.first.to_bits()) + 1
    }

    /// Whether any address is in both.
    pub fn overlaps(&self, other: &Range4) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Range4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// An IPv4 prefix; host bits are always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix4 {
    addr: Ipv4Addr,
    len: u8,
}

impl Prefix4 {
    /// The prefix of `len` bits that holds `addr`; `None` if `len` is over 32.
    pub fn new(addr: Ipv4Addr, len: u8) -> Option<Prefix4> {
        (len <= 32).then(|| Prefix4 { addr: Ipv4Addr::from_bits(addr.to_bits() & mask4(len)), len })
    }

    /// The network address.
    pub fn network(&self) -> Ipv4Addr {
        self.addr
    }

    /// Prefix length, 0 to 32.
    pub fn len(&self) -> u8 {
        self.len
    }

    /// Whether this is the prefix of every address, 0.0.0.0/0.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The subnet mask.
    pub fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask4(self.len))
    }

    /// The highest address: the directed broadcast of subnets up to /30.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.addr.to_bits() | !mask4(self.len))
    }

    /// Whether `addr` lies inside.
    pub fn contains(&self, addr: Ipv4Addr) -> bool {
        addr.to_bits() & mask4(self.len) == self.addr.to_bits()
    }

    /// All its addresses.
    pub fn range(&self) -> Range4 {
        Range4 { first: self.addr, last: self.broadcast() }
    }

    /// Whether `addr` can be a host's: not the network or broadcast address (RFC 1122 s3.2.1.3),
    /// which /31 and /32 do not have (RFC 3021).
    pub fn is_host(&self, addr: Ipv4Addr) -> bool {
        self.contains(addr)
            && (self.len >= 31 || (addr != self.network() && addr != self.broadcast()))
    }
}

fn mask4(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

impl fmt::Display for Prefix4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

/// `a.b.c.d/len`, with no host bits set.
impl FromStr for Prefix4 {
    type Err = ();
    fn from_str(s: &str) -> Result<Prefix4, ()> {
        let (addr, len) = s.split_once('/').ok_or(())?;
        let addr: Ipv4Addr = addr.parse().map_err(|_| ())?;
        let prefix = Prefix4::new(addr, len.parse().map_err(|_| ())?).ok_or(())?;
        (prefix.addr == addr).then_some(prefix).ok_or(())
    }
}

/// What a binding is about: an address of either family, or a delegated prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
    /// A delegated IPv6 prefix and its length.
    Prefix6(Ipv6Addr, u8),
}

/// In few words: every packet looks up several.
impl Hash for Resource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Resource::V4(addr) => state.write_u32(addr.to_bits()),
            Resource::V6(addr) => state.write_u128(addr.to_bits()),
            Resource::Prefix6(addr, len) => {
                state.write_u128(addr.to_bits());
                state.write_u8(*len);
            }
        }
    }
}

impl Resource {
    /// The IPv4 address, if it is one.
    pub fn v4(self) -> Option<Ipv4Addr> {
        match self {
            Resource::V4(addr) => Some(addr),
            _ => None,
        }
    }

    /// What sort of resource it is.
    pub fn sort(self) -> Sort {
        match self {
            Resource::V4(_) => Sort::V4,
            Resource::V6(_) => Sort::V6,
            Resource::Prefix6(..) => Sort::Prefix6,
        }
    }
}

/// What sort of [`Resource`] one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sort {
    /// An IPv4 address.
    V4,
    /// An IPv6 address.
    V6,
    /// A delegated prefix.
    Prefix6,
}

impl From<Ipv4Addr> for Resource {
    fn from(addr: Ipv4Addr) -> Resource {
        Resource::V4(addr)
    }
}

impl From<IpAddr> for Resource {
    fn from(addr: IpAddr) -> Resource {
        match addr {
            IpAddr::V4(addr) => Resource::V4(addr),
            IpAddr::V6(addr) => Resource::V6(addr),
        }
    }
}

impl From<Ipv6Addr> for Resource {
    fn from(addr: Ipv6Addr) -> Resource {
        Resource::V6(addr)
    }
}

impl From<Prefix6> for Resource {
    fn from(prefix: Prefix6) -> Resource {
        Resource::Prefix6(prefix.network(), prefix.len())
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::V4(addr) => addr.fmt(f),
            Resource::V6(addr) => addr.fmt(f),
            Resource::Prefix6(addr, len) => write!(f, "{addr}/{len}"),
        }
    }
}

/// An address or a prefix, as [`Resource`] displays it.
impl FromStr for Resource {
    type Err = ();
    fn from_str(s: &str) -> Result<Resource, ()> {
        if let Some((addr, len)) = s.split_once('/') {
            let len = len.parse().ok().filter(|len| *len <= 128).ok_or(())?;
            return Ok(Resource::Prefix6(addr.parse().map_err(|_| ())?, len));
        }
        s.parse().map(Resource::V4).or_else(|_| s.parse().map(Resource::V6)).map_err(|_| ())
    }
}

/// Bytes as lower-case hexadecimal with `separator` between them.
pub fn write_hex(f: &mut impl fmt::Write, bytes: &[u8], separator: &str) -> fmt::Result {
    for (i, byte) in bytes.iter().enumerate() {
        if i > 0 {
            f.write_str(separator)?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

/// Hexadecimal digits to bytes; `:`, `-` and blanks between bytes, and a leading `0x`, are allowed.
pub fn parse_hex(s: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = s
        .strip_prefix("0x")
        .unwrap_or(s)
        .bytes()
        .filter(|b| !matches!(b, b':' | b'-' | b' '))
        .collect();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    digits.chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_exactly_six_bytes() {
        assert_eq!("52:54:00:12:34:56".parse(), Ok(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56])));
        for bad in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "52:54:00:12:34:567",
            "g2:54:00:12:34:56",
            "+2:54:00:12:34:56",
        ] {
            assert_eq!(bad.parse::<Mac>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn hardware_addresses_stop_at_sixteen_bytes() {
        assert!(HwAddr::new(1, &[0; 16]).is_some());
        assert!(HwAddr::new(1, &[0; 17]).is_none());
    }

    #[test]
    fn prefixes_know_their_hosts() {
        let p: Prefix4 = "10.0.0.0/30".parse().unwrap();
        assert!(p.is_host(Ipv4Addr::new(10, 0, 0, 1)));
        assert!(!p.is_host(Ipv4Addr::new(10, 0, 0, 0)));
        assert!(!p.is_host(Ipv4Addr::new(10, 0, 0, 3)));
        assert!(
            Prefix4::new(Ipv4Addr::new(10, 0, 0, 0), 31)
                .unwrap()
                .is_host(Ipv4Addr::new(10, 0, 0, 0))
        );
        assert_eq!("10.0.0.1/30".parse::<Prefix4>(), Err(()));
        assert_eq!(Prefix4::new(Ipv4Addr::UNSPECIFIED, 0).unwrap().mask(), Ipv4Addr::UNSPECIFIED);
    }

    #[test]
    fn resources_display_as_they_parse() {
        for text in ["10.0.0.1", "2001:db8::1", "2001:db8:aa00::/56"] {
            assert_eq!(text.parse::<Resource>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn hex_allows_separators_and_nothing_else() {
        assert_eq!(parse_hex("0xde:ad be-ef"), Some(vec![0xde, 0xad, 0xbe, 0xef]));
        assert_eq!(parse_hex("abc"), None);
        assert_eq!(parse_hex("zz"), None);
    }
}
