//! What came of what was said, beside pools of a fixed size in hindsight.
//!
//! Both are judged alike, by period: what is held is there when the period begins and is not
//! refilled in it; what is claimed was idle for half of it, the rest for all of it.

/// The largest fixed pool that is compared.
pub const FIXED_MAX: usize = 64;

/// What so many addresses at the beginning of each period did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Did {
    /// Instances that found one.
    pub hits: u64,
    /// Twice the periods for which addresses were idle.
    pub idle_halves: u64,
    /// Addresses that were held and not claimed.
    pub wasted: u64,
}

impl Did {
    fn judge(&mut self, count: u32, held: u32) {
        let hits = u64::from(count.min(held));
        self.hits += hits;
        self.idle_halves += 2 * u64::from(held) - hits;
        self.wasted += u64::from(held) - hits;
    }
}

/// What came of forecasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Periods that were judged.
    pub periods: u64,
    /// Instances that came in them.
    pub creates: u64,
    /// Periods whose instances were between the 10 % and the 90 % quantile.
    pub inside: u64,
    /// What the forecasts did.
    pub did: Did,
}

impl Score {
    pub(super) fn judge(&mut self, count: u32, held: u32, inside: bool) {
        self.periods += 1;
        self.creates += u64::from(count);
        self.inside += u64::from(inside);
        self.did.judge(count, held);
    }

    /// Share of instances that found an address; 1 if none came.
    pub fn hit_rate(&self) -> f64 {
        share(self.did.hits, self.creates)
    }

    /// Idle addresses, on average over the periods that were judged.
    pub fn idle(&self) -> f64 {
        self.did.idle_halves as f64 / 2.0 / self.periods.max(1) as f64
    }

    /// Share of what was held that nobody claimed.
    pub fn waste(&self) -> f64 {
        match self.did.wasted + self.did.hits {
            0 => 0.0,
            held => self.did.wasted as f64 / held as f64,
        }
    }

    /// Share of periods inside the 80 % band; 1 if none was judged.
    pub fn calibration(&self) -> f64 {
        share(self.inside, self.periods)
    }
}

/// What came of all forecasts, and what fixed pools would have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scores {
    /// Of all together.
    pub total: Score,
    /// What a pool of so many addresses for each account and application would have done.
    pub fixed: Vec<Did>,
    /// Forecasts for which there was no time.
    pub late: u64,
}

impl Default for Scores {
    fn default() -> Scores {
        Scores { total: Score::default(), fixed: vec![Did::default(); FIXED_MAX + 1], late: 0 }
    }
}

impl Scores {
    pub(super) fn judge(&mut self, count: u32, held: u32, inside: bool) {
        self.total.judge(count, held, inside);
        for (size, did) in (0u32..).zip(&mut self.fixed) {
            did.judge(count, size);
        }
    }

    /// The size of the best fixed pool in hindsight that has no more idle addresses, and what it
    /// did.
    pub fn fixed_same_idle(&self) -> (usize, Score) {
        let idle = self.total.did.idle_halves;
        let size = self.fixed.iter().rposition(|did| did.idle_halves <= idle).unwrap_or(0);
        self.fixed(size)
    }

    /// The smallest fixed pool in hindsight that has as many hits, and what it did; the largest that
    /// is compared if none has.
    pub fn fixed_same_hits(&self) -> (usize, Score) {
        let hits = self.total.did.hits;
        let size = self.fixed.iter().position(|did| did.hits >= hits).unwrap_or(FIXED_MAX);
        self.fixed(size)
    }

    fn fixed(&self, size: usize) -> (usize, Score) {
        let did = self.fixed.get(size).copied().unwrap_or_default();
        (size, Score { did, inside: 0, ..self.total })
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_knows_beats_every_fixed_pool_and_who_guesses_the_same_is_one() {
        let (mut knows, mut same) = (Scores::default(), Scores::default());
        for count in [0, 0, 4, 0, 8, 0] {
            knows.judge(count, count, true);
            same.judge(count, 2, true);
        }
        assert_eq!((knows.total.hit_rate(), knows.total.waste()), (1.0, 0.0));
        assert_eq!(knows.total.idle(), 1.0);
        let (size, fixed) = knows.fixed_same_idle();
        assert_eq!((size, fixed.did.hits), (1, 2));
        assert_eq!(knows.fixed_same_hits().0, 8);
        assert_eq!((same.fixed_same_idle().0, same.fixed_same_hits().0), (2, 2));
        assert_eq!(same.fixed_same_idle().1.did, same.total.did);
    }

    #[test]
    fn nothing_is_judged_before_something_came() {
        let score = Score::default();
        assert_eq!((score.hit_rate(), score.idle(), score.waste()), (1.0, 0.0, 0.0));
        assert_eq!(score.calibration(), 1.0);
    }
}
