//! Which addresses are asked, in which order, and how fast.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::{Span, Timestamp};

/// Addresses to ask of all, as ranges and as a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// First address and how many.
    pub ranges4: Vec<(Ipv4Addr, u32)>,
    /// First address and how many.
    pub ranges6: Vec<(Ipv6Addr, u32)>,
    /// Single ones.
    pub list: Vec<IpAddr>,
}

impl Targets {
    /// How many there are.
    pub fn len(&self) -> u64 {
        let ranges = self.ranges4.iter().map(|(_, count)| *count);
        let ranges6 = self.ranges6.iter().map(|(_, count)| *count);
        ranges.chain(ranges6).map(u64::from).sum::<u64>() + self.list.len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn get(&self, mut at: u64) -> Option<IpAddr> {
        for (first, count) in &self.ranges4 {
            match at.checked_sub(u64::from(*count)) {
                None => return Some(Ipv4Addr::from_bits(first.to_bits() + at as u32).into()),
                Some(rest) => at = rest,
            }
        }
        for (first, count) in &self.ranges6 {
            match at.checked_sub(u64::from(*count)) {
                None => return Some(Ipv6Addr::from_bits(first.to_bits() + u128::from(at)).into()),
                Some(rest) => at = rest,
            }
        }
        self.list.get(usize::try_from(at).ok()?).copied()
    }
}

/// One walk over all targets, each once, in an order that is spread over them: neighbours are not
/// asked one after the other, and no switch of a rack meets all of its questions at once.
#[derive(Clone, Debug)]
pub struct Walk {
    targets: Targets,
    len: u64,
    step: u64,
    at: u64,
    left: u64,
}

impl Walk {
    /// A walk that starts somewhere by `seed`.
    pub fn new(targets: Targets, seed: u64) -> Walk {
        let len = targets.len();
        // Near the golden section of the whole, where steps spread best, and prime to it.
        let mut step = (len.saturating_mul(618) / 1000).max(1);
        while gcd(step, len.max(1)) != 1 {
            step += 1;
        }
        Walk { at: if len == 0 { 0 } else { seed % len }, targets, len, step, left: len }
    }

    /// How many are left.
    pub fn left(&self) -> u64 {
        self.left
    }
}

impl Iterator for Walk {
    type Item = IpAddr;

    fn next(&mut self) -> Option<IpAddr> {
        self.left = self.left.checked_sub(1)?;
        let addr = self.targets.get(self.at);
        self.at = (self.at + self.step) % self.len;
        addr
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// How many questions may be asked now.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    rate: u32,
    /// Thousandths of a question.
    left: u64,
    filled: Timestamp,
}

/// A batch: what may be asked at once after a pause, in milliseconds of the rate.
const BATCH_MS: u64 = 40;

impl Budget {
    /// At most `rate` questions a second, of which there must be one.
    pub fn new(rate: u32, now: Timestamp) -> Budget {
        Budget { rate: rate.max(1), left: 1000, filled: now }
    }

    /// Takes one, if there is one left.
    pub fn take(&mut self, now: Timestamp) -> bool {
        let has = self.has(now);
        if has {
            self.left -= 1000;
        }
        has
    }

    /// Whether there is one left.
    pub fn has(&mut self, now: Timestamp) -> bool {
        let rate = u64::from(self.rate);
        let most = (BATCH_MS * rate).max(1000);
        let gained = now.since(self.filled).0.saturating_mul(rate);
        self.left = self.left.saturating_add(gained).min(most);
        self.filled = now;
        self.left >= 1000
    }

    /// Gives one back that was not used.
    pub fn give_back(&mut self) {
        self.left += 1000;
    }

    /// When there will be one again.
    pub fn next(&self) -> Timestamp {
        let lacking = 1000u64.saturating_sub(self.left);
        // Half a batch at a time, so that a fast sweep wakes its thread fifty times a second.
        let pause = lacking.div_ceil(u64::from(self.rate)).max(BATCH_MS / 2);
        self.filled + Span(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn targets(count: u32) -> Targets {
        Targets {
            ranges4: vec![([10, 0, 0, 0].into(), count)],
            ranges6: vec![("2001:db8::1".parse().unwrap(), 3)],
            list: vec!["fe80::7".parse().unwrap()],
        }
    }

    #[test]
    fn a_walk_asks_each_once_and_no_neighbours_in_turn() {
        for count in [0, 1, 2, 3, 250, 254, 1000, 65_534] {
            let order: Vec<IpAddr> = Walk::new(targets(count), 12_345).collect();
            assert_eq!(order.len() as u64, targets(count).len());
            assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), order.len());
            let number = |addr: &IpAddr| match addr {
                IpAddr::V4(addr) => i64::from(addr.to_bits()),
                IpAddr::V6(_) => i64::MAX / 2,
            };
            let near = order.windows(2).filter(|w| (number(&w[0]) - number(&w[1])).abs() < 10);
            assert!(count < 250 || near.count() < 10, "{count}");
        }
        assert_eq!(Walk::new(Targets::default(), 7).next(), None);
    }

    #[test]
    fn the_rate_is_kept_over_any_second() {
        for rate in [1, 7, 500, 100_000] {
            let mut budget = Budget::new(rate, Timestamp(1_000));
            let mut asked = 0u64;
            for ms in 0..5_000 {
                while budget.take(Timestamp(1_000 + ms)) {
                    asked += 1;
                }
            }
            let want = u64::from(rate) * 5;
            let batch = u64::from(rate) * BATCH_MS / 1000 + 1;
            assert!(
                (want.saturating_sub(batch)..=want + batch).contains(&asked),
                "{rate}: {asked}"
            );
            // After a long pause too, no more than a batch at once.
            let burst = (0..200_000).take_while(|_| budget.take(Timestamp(900_000))).count();
            assert!(burst as u64 <= batch, "{rate}: {burst}");
        }
    }
}
