//! Whether the disk keeps up with the promises that wait for it.

use std::time::Duration;

use super::counters::Counters;

/// From here on a disk is slow: clients feel it, and soon ask again.
const SLOW: Duration = Duration::from_millis(250);

/// How far the disk is behind, and whether that was told.
#[derive(Debug, Default)]
pub struct Lag {
    is_slow: bool,
}

impl Lag {
    /// Tells that the disk became slow, or that it no longer is; `lag` is how long its last sync
    /// took, or how long a promise has been waiting for the one under way.
    pub fn look(&mut self, lag: Duration, counters: &Counters) {
        // Not slow again before it was clearly fast: a disk at the border is told of once.
        let is_slow = if self.is_slow { lag >= SLOW / 2 } else { lag >= SLOW };
        if is_slow == self.is_slow {
            return;
        }
        self.is_slow = is_slow;
        let took_ms = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
        if is_slow {
            counters.disk_slow.add(1);
            tracing::warn!(took_ms, "the disk is slow; leases wait for it");
        } else {
            tracing::info!(took_ms, "the disk is no longer slow");
        }
    }
}

/// What an operator is to know of such a lag.
pub fn alarm(lag: Duration) -> Option<String> {
    (lag >= SLOW).then(|| format!("the disk is slow: leases wait {} ms for it", lag.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_at_the_border_is_told_of_once() {
        let (mut lag, counters) = (Lag::default(), Counters::default());
        for ms in [1, 249, 250, 240, 260, 5000, 130] {
            lag.look(Duration::from_millis(ms), &counters);
        }
        assert_eq!(counters.disk_slow.get(), 1);
        for ms in [124, 249, 250] {
            lag.look(Duration::from_millis(ms), &counters);
        }
        assert_eq!(counters.disk_slow.get(), 2);
        assert!(alarm(SLOW).is_some() && alarm(SLOW - Duration::from_millis(1)).is_none());
    }
}
