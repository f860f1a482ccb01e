//! Which of many is to be woken next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Moment;

/// Wake-ups of numbered sleepers. What a sleeper no longer waits for is passed over when it comes
/// up, so that to set one costs no search.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Moment, usize)>>,
    /// When each sleeper is to be woken.
    due: Vec<Option<Moment>>,
}

impl Timers {
    /// Has `sleeper` woken at `at` and no other time; never, if that is `None`.
    pub fn set(&mut self, sleeper: usize, at: Option<Moment>) {
        if self.due.len() <= sleeper {
            self.due.resize(sleeper + 1, None);
        }
        let Some(due) = self.due.get_mut(sleeper) else { return };
        if *due == at {
            return;
        }
        *due = at;
        if let Some(at) = at {
            self.heap.push(Reverse((at, sleeper)));
        }
        // Sleepers that are set again and again before their time leave what nobody waits for.
        if self.heap.len() > 2 * self.due.len() + 64 {
            let due = &self.due;
            self.heap.retain(|Reverse((at, sleeper))| due.get(*sleeper) == Some(&Some(*at)));
        }
    }

    /// When the next one is to be woken.
    pub fn next_due(&mut self) -> Option<Moment> {
        while let Some(Reverse((at, sleeper))) = self.heap.peek().copied() {
            if self.due.get(sleeper) == Some(&Some(at)) {
                return Some(at);
            }
            self.heap.pop();
        }
        None
    }

    /// A sleeper whose time has come, which it no longer waits for.
    pub fn pop(&mut self, now: Moment) -> Option<usize> {
        self.next_due().filter(|at| *at <= now)?;
        let Reverse((_, sleeper)) = self.heap.pop()?;
        if let Some(due) = self.due.get_mut(sleeper) {
            *due = None;
        }
        Some(sleeper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_are_woken_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set(3, Some(Moment(30)));
        timers.set(1, Some(Moment(10)));
        timers.set(2, Some(Moment(20)));
        assert_eq!(timers.next_due(), Some(Moment(10)));
        assert_eq!(timers.pop(Moment(9)), None);
        assert_eq!(timers.pop(Moment(25)), Some(1));
        assert_eq!(timers.pop(Moment(25)), Some(2));
        assert_eq!(timers.pop(Moment(25)), None);
        assert_eq!(timers.next_due(), Some(Moment(30)));
    }

    #[test]
    fn only_the_last_time_set_counts() {
        let mut timers = Timers::default();
        timers.set(0, Some(Moment(10)));
        timers.set(0, Some(Moment(5)));
        timers.set(0, Some(Moment(40)));
        timers.set(1, Some(Moment(7)));
        timers.set(1, None);
        assert_eq!(timers.pop(Moment(39)), None);
        assert_eq!(timers.pop(Moment(40)), Some(0));
        assert_eq!(timers.next_due(), None);
        // Again at a time that was once left.
        timers.set(0, Some(Moment(5)));
        assert_eq!((timers.pop(Moment(50)), timers.pop(Moment(50))), (Some(0), None));
    }

    #[test]
    fn times_that_nobody_waits_for_are_forgotten() {
        let mut timers = Timers::default();
        (0..100_000).for_each(|at| timers.set(0, Some(Moment(at))));
        assert!(timers.heap.len() <= 66, "{} wait", timers.heap.len());
        assert_eq!(timers.pop(Moment(100_000)), Some(0));
        assert_eq!(timers.next_due(), None);
    }
}
