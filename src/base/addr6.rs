//! IPv6 ranges and prefixes.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// An inclusive range of IPv6 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range6 {
    /// Lowest address.
    pub first: Ipv6Addr,
    /// Highest address; not below `first`.
    pub last: Ipv6Addr,
}

impl Range6 {
    /// Whether `addr` lies inside.
    pub fn contains(&self, addr: Ipv6Addr) -> bool {
        self.first <= addr && addr <= self.last
    }

    /// How many addresses there are; `u128::MAX` also for the one range that holds one more.
    pub fn size(&self) -> u128 {
        (self.last.to_bits() - self.first.to_bits()).saturating_add(1)
    }

    /// Whether any address is in both.
    pub fn overlaps(&self, other: &Range6) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Range6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// An IPv6 prefix; host bits are always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix6 {
    addr: Ipv6Addr,
    len: u8,
}

impl Prefix6 {
    /// The prefix of `len` bits that holds `addr`; `None` if `len` is over 128.
    pub fn new(addr: Ipv6Addr, len: u8) -> Option<Prefix6> {
        let addr = Ipv6Addr::from_bits(addr.to_bits() & mask6(len));
        (len <= 128).then_some(Prefix6 { addr, len })
    }

    /// Its first address: all host bits zero, the Subnet-Router anycast address of a link
    /// (RFC 4291 s2.6.1).
    pub fn network(&self) -> Ipv6Addr {
        self.addr
    }

    /// Prefix length, 0 to 128.
    pub fn len(&self) -> u8 {
        self.len
    }

    /// Whether this is the prefix of every address, ::/0.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its last address: all host bits one.
    pub fn last(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.addr.to_bits() | !mask6(self.len))
    }

    /// Whether `addr` lies inside.
    pub fn contains(&self, addr: Ipv6Addr) -> bool {
        addr.to_bits() & mask6(self.len) == self.addr.to_bits()
    }

    /// Whether all of `other` lies inside.
    pub fn holds(&self, other: &Prefix6) -> bool {
        self.len <= other.len && self.contains(other.addr)
    }

    /// Whether any address is in both: prefixes are nested or apart.
    pub fn overlaps(&self, other: &Prefix6) -> bool {
        self.holds(other) || other.holds(self)
    }

    /// Whether `addr` can be a host's: not the Subnet-Router anycast address (RFC 4291 s2.6.1),
    /// which /127 and /128 do not have (RFC 6164).
    pub fn is_host(&self, addr: Ipv6Addr) -> bool {
        self.contains(addr) && (self.len >= 127 || addr != self.addr)
    }

    /// All its addresses.
    pub fn range(&self) -> Range6 {
        Range6 { first: self.addr, last: self.last() }
    }
}

fn mask6(len: u8) -> u128 {
    u128::MAX.checked_shl(128u32.saturating_sub(u32::from(len))).unwrap_or(0)
}

impl fmt::Display for Prefix6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

/// `2001:db8::/32`, with no host bits set.
impl FromStr for Prefix6 {
    type Err = ();
    fn from_str(s: &str) -> Result<Prefix6, ()> {
        let (addr, len) = s.split_once('/').ok_or(())?;
        let addr: Ipv6Addr = addr.parse().map_err(|_| ())?;
        let prefix = Prefix6::new(addr, len.parse().map_err(|_| ())?).ok_or(())?;
        (prefix.addr == addr).then_some(prefix).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix6 {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_have_edges() {
        let all = prefix("::/0");
        assert!(all.is_empty() && all.contains(Ipv6Addr::LOCALHOST));
        assert_eq!(all.last(), Ipv6Addr::from_bits(u128::MAX));
        assert_eq!(all.range().size(), u128::MAX);
        let one = prefix("2001:db8::7/128");
        assert_eq!((one.network(), one.range().size()), (one.last(), 1));
        assert!(one.is_host(one.network()) && all.is_host(Ipv6Addr::LOCALHOST));
        assert!(!all.is_host(all.network()) && !one.is_host(Ipv6Addr::LOCALHOST));
        assert_eq!(Prefix6::new(Ipv6Addr::LOCALHOST, 129), None);
        for bad in ["2001:db8::1/64", "2001:db8::/129", "2001:db8::", "10.0.0.0/8", "/64", "::/-1"]
        {
            assert_eq!(bad.parse::<Prefix6>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn prefixes_are_nested_or_apart() {
        let (wide, narrow, other) =
            (prefix("2001:db8::/40"), prefix("2001:db8:1::/56"), prefix("2001:db8:100::/40"));
        assert!(wide.holds(&narrow) && !narrow.holds(&wide));
        assert!(wide.overlaps(&narrow) && narrow.overlaps(&wide));
        assert!(!wide.overlaps(&other));
        assert!(wide.range().overlaps(&narrow.range()) && !wide.range().overlaps(&other.range()));
        assert_eq!(narrow.range().size(), 1 << 72);
    }
}
