//! A set of integers kept as disjoint ranges: free addresses of a /8 or a /64 cost one entry.

use std::collections::BTreeMap;

/// Inclusive, disjoint, never adjacent ranges. Every operation is O(log n) in their number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    by_first: BTreeMap<u128, u128>,
    /// How many values; saturates, and then stays there.
    count: u128,
}

impl RangeSet {
    /// Nothing.
    pub fn new() -> RangeSet {
        RangeSet::default()
    }

    /// Adds `first..=last`; what is there already stays.
    pub fn insert_range(&mut self, first: u128, last: u128) {
        let (mut first, mut last) = (first, last);
        while let Some((f, l)) = self.touching(first, last) {
            self.take(f, l);
            first = first.min(f);
            last = last.max(l);
        }
        self.put(first, last);
    }

    /// Takes `first..=last` out, as far as it is there.
    pub fn remove_range(&mut self, first: u128, last: u128) {
        while let Some((f, l)) = self.overlapping(first, last) {
            self.take(f, l);
            if f < first {
                self.put(f, first - 1);
            }
            if l > last {
                self.put(last + 1, l);
            }
        }
    }

    /// Adds one; whether it was new.
    pub fn insert(&mut self, value: u128) -> bool {
        let new = !self.contains(value);
        if new {
            self.insert_range(value, value);
        }
        new
    }

    /// Takes one out; whether it was there.
    pub fn remove(&mut self, value: u128) -> bool {
        let Some((first, last)) = self.overlapping(value, value) else { return false };
        self.take(first, last);
        if first < value {
            self.put(first, value - 1);
        }
        if value < last {
            self.put(value + 1, last);
        }
        true
    }

    /// Whether `value` is in the set.
    pub fn contains(&self, value: u128) -> bool {
        self.overlapping(value, value).is_some()
    }

    /// Whether all of `first..=last` is in the set.
    pub fn contains_range(&self, first: u128, last: u128) -> bool {
        self.overlapping(first, first).is_some_and(|(_, l)| l >= last)
    }

    /// The lowest multiple of `count` not below `from` at which `count` values are in the set.
    pub fn next_aligned(&self, from: u128, count: u128) -> Option<u128> {
        let around = self.overlapping(from, from).map(|(_, last)| (from, last));
        let after = self.by_first.range(from..).map(|(f, l)| (*f, *l));
        around.into_iter().chain(after).find_map(|(first, last)| {
            let start = first.checked_next_multiple_of(count)?;
            (start.checked_add(count - 1)? <= last).then_some(start)
        })
    }

    /// How many runs of `count` values, each from a multiple of `count` on, are in the set. Unlike
    /// the rest this looks at every range.
    pub fn count_aligned(&self, count: u128) -> u128 {
        let runs = self.by_first.iter().filter_map(|(first, last)| {
            let start = first.checked_next_multiple_of(count)?;
            (last.checked_sub(start)?).saturating_add(1).checked_div(count)
        });
        runs.fold(0, u128::saturating_add)
    }

    /// The lowest value.
    pub fn first(&self) -> Option<u128> {
        self.by_first.keys().next().copied()
    }

    /// The lowest value that is not below `from`.
    pub fn next_from(&self, from: u128) -> Option<u128> {
        if self.contains(from) {
            return Some(from);
        }
        self.by_first.range(from..).next().map(|(first, _)| *first)
    }

    /// How many values; saturates.
    pub fn len(&self) -> u128 {
        self.count
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.by_first.is_empty()
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = (u128, u128)> + '_ {
        self.by_first.iter().map(|(f, l)| (*f, *l))
    }

    fn put(&mut self, first: u128, last: u128) {
        self.by_first.insert(first, last);
        self.count = self.count.saturating_add(last - first).saturating_add(1);
    }

    fn take(&mut self, first: u128, last: u128) {
        self.by_first.remove(&first);
        if self.count != u128::MAX {
            self.count -= last - first + 1;
        }
    }

    fn overlapping(&self, first: u128, last: u128) -> Option<(u128, u128)> {
        let (f, l) = self.by_first.range(..=last).next_back()?;
        (*l >= first).then_some((*f, *l))
    }

    fn touching(&self, first: u128, last: u128) -> Option<(u128, u128)> {
        self.overlapping(first.saturating_sub(1), last.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Against a plain set, under any sequence of operations on a small universe.
        #[test]
        fn behaves_like_a_set(ops in prop::collection::vec((any::<bool>(), 0u128..40, 0u128..8), 0..60)) {
            let (mut set, mut model) = (RangeSet::new(), BTreeSet::new());
            for (add, first, len) in ops {
                let last = first + len;
                if add {
                    set.insert_range(first, last);
                    model.extend(first..=last);
                } else {
                    set.remove_range(first, last);
                    model.retain(|v| !(first..=last).contains(v));
                }
                prop_assert_eq!(set.len(), model.len() as u128);
                for v in 0..50 {
                    prop_assert_eq!(set.contains(v), model.contains(&v));
                    prop_assert_eq!(set.next_from(v), model.range(v..).next().copied());
                }
                let ranges: Vec<_> = set.ranges().collect();
                prop_assert!(ranges.windows(2).all(|w| w[0].1 + 1 < w[1].0), "adjacent ranges are merged");
            }
        }
    }

    #[test]
    fn the_ends_of_the_universe_are_values_like_any_other() {
        let mut set = RangeSet::new();
        set.insert_range(0, u128::MAX);
        assert!(set.remove(u128::MAX) && set.remove(0));
        assert!(!set.contains(0) && set.contains(1) && !set.contains(u128::MAX));
        assert!(set.insert(u128::MAX) && set.contains(u128::MAX));
    }
}
