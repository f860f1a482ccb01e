//! What a question about addresses may name.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::{Prefix4, Prefix6, Resource};

/// One address or prefix, or all inside a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// Just this one.
    One(Resource),
    /// The addresses of a prefix.
    Prefix4(Prefix4),
    /// The addresses and prefixes of a prefix, itself among them.
    Prefix6(Prefix6),
}

impl FromStr for Within {
    type Err = ();

    fn from_str(text: &str) -> Result<Within, ()> {
        let Some((addr, len)) = text.split_once('/') else {
            return text.parse().map(Within::One);
        };
        let len = len.parse().map_err(|_| ())?;
        // Bits beyond the prefix say nothing here.
        if let Ok(addr) = addr.parse::<Ipv4Addr>() {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(u32::from(len))).unwrap_or(0);
            let prefix = Prefix4::new(Ipv4Addr::from_bits(addr.to_bits() & mask), len);
            return prefix.map(Within::Prefix4).ok_or(());
        }
        let addr: Ipv6Addr = addr.parse().map_err(|_| ())?;
        let mask = u128::MAX.checked_shl(128u32.saturating_sub(u32::from(len))).unwrap_or(0);
        let prefix = Prefix6::new(Ipv6Addr::from_bits(addr.to_bits() & mask), len);
        prefix.map(Within::Prefix6).ok_or(())
    }
}

impl Within {
    /// Whether it is, or holds, `resource`.
    pub fn holds(&self, resource: Resource) -> bool {
        match (self, resource) {
            (Within::One(one), _) => *one == resource,
            (Within::Prefix4(prefix), Resource::V4(addr)) => prefix.contains(addr),
            (Within::Prefix6(prefix), Resource::V6(addr)) => prefix.contains(addr),
            (Within::Prefix6(prefix), Resource::Prefix6(addr, len)) => {
                Prefix6::new(addr, len).is_some_and(|inner| prefix.holds(&inner))
            }
            _ => false,
        }
    }
}
