//! Free prefixes of one delegation pool, of any length between two bounds.

use std::net::Ipv6Addr;

use super::RangeSet;

/// The free part of a pool of prefixes. Memory grows with what was delegated, not with the pool.
#[derive(Debug)]
pub struct PrefixPool {
    base: u128,
    /// The longest prefix that is delegated: the unit of `free`.
    unit: u8,
    /// Free units, by index.
    free: RangeSet,
    last: u128,
    /// Where the next search begins: a prefix given back rests for one round of the pool.
    cursor: u128,
}

impl PrefixPool {
    /// All of `network`/`len`, in units of /`unit`; `unit` is not below `len`.
    pub fn new(network: Ipv6Addr, len: u8, unit: u8) -> PrefixPool {
        let last = (1u128 << (u32::from(unit.saturating_sub(len)).min(127))) - 1;
        let mut free = RangeSet::new();
        free.insert_range(0, last);
        PrefixPool { base: network.to_bits(), unit, free, last, cursor: 0 }
    }

    /// Whether the whole prefix lies in the pool and is free.
    pub fn is_free(&self, prefix: Ipv6Addr, len: u8) -> bool {
        self.units(prefix, len).is_some_and(|(first, last)| self.free.contains_range(first, last))
    }

    /// Takes this very prefix; whether it was free.
    pub fn take(&mut self, prefix: Ipv6Addr, len: u8) -> bool {
        let free = self.is_free(prefix, len);
        if let Some((first, last)) = self.units(prefix, len) {
            self.free.remove_range(first, last);
        }
        free
    }

    /// Takes the next free prefix of that length.
    pub fn take_next(&mut self, len: u8) -> Option<Ipv6Addr> {
        let count = 1u128.checked_shl(u32::from(self.unit.checked_sub(len)?))?;
        let first = self
            .free
            .next_aligned(self.cursor, count)
            .or_else(|| self.free.next_aligned(0, count))?;
        self.free.remove_range(first, first + (count - 1));
        self.cursor = if first + count > self.last { 0 } else { first + count };
        Some(self.address(first))
    }

    /// Takes out for good whatever of the pool overlaps this prefix.
    pub fn exclude(&mut self, prefix: Ipv6Addr, len: u8) {
        let shift = 128 - u32::from(self.unit);
        let size = u128::MAX.checked_shr(u32::from(len)).unwrap_or(0);
        let (first, last) = (prefix.to_bits(), prefix.to_bits() | size);
        let unit = |bits: u128| bits.saturating_sub(self.base).checked_shr(shift).unwrap_or(0);
        if last >= self.base {
            let range = (unit(first), unit(last));
            self.free.remove_range(range.0, range.1);
        }
    }

    /// Gives a prefix back, or takes it out where it is not part of the pool.
    pub fn free(&mut self, prefix: Ipv6Addr, len: u8) {
        if let Some((first, last)) = self.units(prefix, len) {
            self.free.insert_range(first, last);
        }
    }

    /// How many units are free.
    pub fn available(&self) -> u128 {
        self.free.len()
    }

    /// How many units a prefix of that length has; none fits if it is longer than one.
    pub fn units_of(&self, len: u8) -> u128 {
        let units = self.unit.checked_sub(len).and_then(|n| 1u128.checked_shl(u32::from(n)));
        units.unwrap_or(u128::MAX)
    }

    /// How many prefixes of that length could still be given.
    pub fn room_for(&self, len: u8) -> u128 {
        let units = self.unit.checked_sub(len).and_then(|n| 1u128.checked_shl(u32::from(n)));
        units.map_or(0, |units| self.free.count_aligned(units))
    }

    /// Whether the prefix lies in this pool.
    pub fn contains(&self, prefix: Ipv6Addr, len: u8) -> bool {
        self.units(prefix, len).is_some()
    }

    fn units(&self, prefix: Ipv6Addr, len: u8) -> Option<(u128, u128)> {
        let offset = prefix.to_bits().checked_sub(self.base)?;
        let shift = 128 - u32::from(self.unit);
        let first = offset.checked_shr(shift).unwrap_or(0);
        let count = 1u128.checked_shl(u32::from(self.unit.checked_sub(len)?))?;
        let last = first.checked_add(count - 1)?;
        let aligned = first % count == 0 && self.address(first) == prefix;
        (aligned && last <= self.last).then_some((first, last))
    }

    fn address(&self, unit: u128) -> Ipv6Addr {
        let shift = 128 - u32::from(self.unit);
        Ipv6Addr::from_bits(self.base | unit.checked_shl(shift).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_of_several_lengths_never_overlap() {
        let mut pool = PrefixPool::new(ip("2001:db8:aa00::"), 40, 64);
        assert_eq!(pool.take_next(56), Some(ip("2001:db8:aa00::")));
        assert_eq!(pool.take_next(64), Some(ip("2001:db8:aa00:100::")));
        assert_eq!(pool.take_next(56), Some(ip("2001:db8:aa00:200::")), "aligned");
        assert_eq!(pool.take_next(48), Some(ip("2001:db8:aa01::")));
        assert!(!pool.is_free(ip("2001:db8:aa00:100::"), 56));
        assert!(pool.take(ip("2001:db8:aa00:101::"), 64));
        assert_eq!(pool.take_next(65), None, "longer than the unit");
    }

    #[test]
    fn what_is_in_pieces_has_room_for_short_prefixes_only_where_they_are_whole() {
        let mut pool = PrefixPool::new(ip("2001:db8:aa00::"), 40, 64);
        assert_eq!((pool.room_for(56), pool.room_for(40)), (1 << 16, 1));
        assert!(pool.take(ip("2001:db8:aa00:1ff::"), 64));
        assert_eq!((pool.room_for(64), pool.room_for(56)), ((1 << 24) - 1, (1 << 16) - 1));
        assert_eq!((pool.room_for(40), pool.room_for(65)), (0, 0));
    }

    #[test]
    fn what_comes_back_rests_for_a_round() {
        let mut pool = PrefixPool::new(ip("2001:db8:aa00::"), 55, 56);
        let (a, b) = (pool.take_next(56).unwrap(), pool.take_next(56).unwrap());
        assert_eq!(pool.take_next(56), None);
        pool.free(b, 56);
        pool.free(a, 56);
        assert_eq!((pool.take_next(56), pool.take_next(56)), (Some(a), Some(b)));
    }

    #[test]
    fn foreign_prefixes_are_not_of_the_pool() {
        let mut pool = PrefixPool::new(ip("2001:db8:aa00::"), 40, 56);
        for (prefix, len) in [
            ("2001:db8:ab00::", 56),
            ("2001:db8:a900::", 56),
            ("2001:db8:aa00::", 39),
            ("2001:db8:aa00:1::", 56),
            ("2001:db8:aa00::", 57),
        ] {
            assert!(!pool.is_free(ip(prefix), len), "{prefix}/{len}");
            assert!(!pool.take(ip(prefix), len));
        }
        assert_eq!(pool.available(), 1 << 16);
    }
}
