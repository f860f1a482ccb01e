//! What fixed warm pools would have done: for each application on each network so many addresses are
//! ready, and each that is used is replaced after a while.

use std::collections::{BTreeMap, VecDeque};

use crate::base::{Span, Timestamp};

/// What a pool did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Share of creates that found a ready address; 1 if there were none.
    pub hit_rate: f64,
    /// Addresses that were idle, on average over time, of all pools together.
    pub idle: f64,
}

/// Account, application and network.
pub type Key = [Box<str>; 3];
/// The creates of each, ascending.
pub type Creates = BTreeMap<Key, Vec<Timestamp>>;

/// So many ready addresses in each pool, for so long.
pub fn play(creates: &Creates, size: usize, topup: Span, span: Span) -> Outcome {
    let (mut all, mut hits, mut used_ms) = (0_u64, 0_u64, 0_u64);
    for times in creates.values() {
        let mut refilling: VecDeque<Timestamp> = VecDeque::new();
        for at in times {
            while refilling.front().is_some_and(|ready| ready <= at) {
                refilling.pop_front();
            }
            all += 1;
            if refilling.len() < size {
                hits += 1;
                refilling.push_back(*at + topup);
                used_ms = used_ms.saturating_add(topup.0);
            }
        }
    }
    let whole = (size as f64) * (creates.len() as f64);
    let refilling = used_ms as f64 / (span.0.max(1) as f64);
    Outcome {
        hit_rate: if all == 0 { 1.0 } else { hits as f64 / all as f64 },
        idle: (whole - refilling).max(0.0),
    }
}

/// The best pools there are: of no more idle addresses than `idle`, and of no lower a hit rate than
/// `hit_rate`; each with its size.
pub fn best(
    creates: &Creates,
    (idle, hit_rate): (f64, f64),
    topup: Span,
    span: Span,
) -> [(usize, Outcome); 2] {
    let most = creates.values().map(Vec::len).max().unwrap_or(0);
    let of = |size: usize| play(creates, size, topup, span);
    // Both grow with the size.
    let by_idle = last_of(most, |size| of(size).idle <= idle);
    let by_rate = last_of(most, |size| of(size).hit_rate < hit_rate);
    let by_rate = if of(0).hit_rate >= hit_rate { 0 } else { (by_rate + 1).min(most) };
    [by_idle, by_rate].map(|size| (size, of(size)))
}

/// The greatest of `0..=most` for which it holds, where it holds up to some size; 0 if for none.
fn last_of(most: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match holds(middle) {
            true => low = middle,
            false => high = middle - 1,
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creates(times: &[u64]) -> Creates {
        let times = times.iter().map(|s| Timestamp(s * 1000)).collect();
        [(["a", "", "n"].map(Box::from), times)].into()
    }

    #[test]
    fn what_is_used_is_ready_again_after_the_topup() {
        let of = |size| play(&creates(&[0, 1, 40, 41, 42]), size, Span(30_000), Span(100_000));
        assert_eq!(of(1), Outcome { hit_rate: 0.4, idle: 0.4 });
        assert_eq!(of(2).hit_rate, 0.8);
        assert_eq!(of(3).hit_rate, 1.0);
        assert_eq!(of(0), Outcome { hit_rate: 0.0, idle: 0.0 });
    }

    #[test]
    fn the_best_of_the_same_waste_and_of_the_same_hit_rate() {
        let all = creates(&[0, 1, 40, 41, 42]);
        let of = |idle, rate| best(&all, (idle, rate), Span(30_000), Span(100_000));
        assert_eq!(of(0.5, 0.7).map(|(size, _)| size), [1, 2]);
        assert_eq!(of(0.0, 0.0).map(|(size, _)| size), [0, 0]);
        assert_eq!(of(99.0, 1.0).map(|(size, _)| size), [5, 3]);
    }
}
