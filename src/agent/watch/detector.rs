//! Whether a guest has failed, from what is seen of it. No IO, no clock.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Fewer unanswered questions in a row than this are no failure, whatever was asked for: one can be
/// lost by the wire, two by a guest that is busy for a moment.
pub const LOST_MIN: u32 = 3;
/// Questions are never closer than this.
pub const INTERVAL_MIN: Duration = Duration::from_millis(5);

/// How a guest is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Between two questions, in milliseconds.
    pub interval_ms: u32,
    /// So many unanswered ones in a row are a failure.
    pub lost: u32,
    /// Silence alone is enough; else nothing else may come from its port meanwhile.
    #[serde(default)]
    pub silence_is_enough: bool,
}

/// Why a guest is taken to have failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The process that had its port ended.
    Ended,
    /// Nobody is at the other end of its port any more, or the port is gone.
    Link,
    /// It answered no question.
    Silent,
}

/// What became of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It failed.
    Failed(Why),
    /// It answers no question, and yet something comes from its port.
    Suspected,
    /// It is there again, or was all the time.
    Recovered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Alive,
    Suspected,
    Failed,
}

/// Watches one guest.
#[derive(Debug)]
pub(super) struct Detector {
    policy: Policy,
    life: Life,
    next: Instant,
    /// A question was asked, and is not answered.
    asked: bool,
    /// Questions in a row that were not answered.
    lost: u32,
    /// Frames that had come from its port when the first of them was given up.
    frames: Option<u64>,
    /// It has answered once: who never did is not asked in vain.
    known: bool,
}

impl Detector {
    pub(super) fn new(policy: Policy, now: Instant) -> Detector {
        let lost = policy.lost.max(LOST_MIN);
        Detector {
            policy: Policy { lost, ..policy },
            life: Life::Alive,
            next: now,
            asked: false,
            lost: 0,
            frames: None,
            known: false,
        }
    }

    /// When it is to be asked next.
    pub(super) fn due(&self) -> Instant {
        self.next
    }

    /// It is asked now. What is to be thought of it, if the last question was not answered; `frames`
    /// says how many have come from its port so far.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        frames: impl FnOnce() -> Option<u64>,
    ) -> Option<Verdict> {
        let interval = Duration::from_millis(self.policy.interval_ms.into()).max(INTERVAL_MIN);
        // A moment that was missed is not made up for.
        self.next = (self.next + interval).max(now + interval / 2);
        let lost = std::mem::replace(&mut self.asked, true) && self.known;
        if !lost || self.life == Life::Failed {
            return None;
        }
        self.lost += 1;
        if self.lost == 1 {
            self.frames = frames();
            return None;
        }
        if self.lost < self.policy.lost {
            return None;
        }
        let frames = frames();
        let stands_still = frames.is_some() && frames == self.frames;
        if stands_still || self.policy.silence_is_enough {
            self.life = Life::Failed;
            return Some(Verdict::Failed(Why::Silent));
        }
        (self.lost, self.frames) = (1, frames);
        let is_new = std::mem::replace(&mut self.life, Life::Suspected) == Life::Alive;
        is_new.then_some(Verdict::Suspected)
    }

    /// It answered, late or not.
    pub(super) fn answered(&mut self) -> Option<Verdict> {
        (self.asked, self.lost, self.known) = (false, 0, true);
        let is_news = std::mem::replace(&mut self.life, Life::Alive) != Life::Alive;
        is_news.then_some(Verdict::Recovered)
    }

    /// It has failed, without any doubt.
    pub(super) fn failed(&mut self, why: Why) -> Option<Verdict> {
        let is_news = std::mem::replace(&mut self.life, Life::Failed) != Life::Failed;
        is_news.then_some(Verdict::Failed(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { interval_ms: 10, lost: 3, silence_is_enough: false };

    /// What is thought at each question, with the frames that had come, and whether it was answered.
    fn play(policy: Policy, rounds: &[(u64, bool)]) -> Vec<Option<Verdict>> {
        let mut now = Instant::now();
        let mut detector = Detector::new(policy, now);
        detector.answered();
        let mut thought = Vec::new();
        for (frames, answers) in rounds {
            thought.push(detector.ask(now, || Some(*frames)));
            if *answers {
                thought.extend(detector.answered().map(Some));
            }
            assert_eq!(detector.due(), now + Duration::from_millis(10));
            now = detector.due();
        }
        thought
    }

    #[test]
    fn three_lost_questions_and_a_silent_port_are_a_failure() {
        let failed = Some(Verdict::Failed(Why::Silent));
        let none = None;
        let silent = [(5, false); 5];
        assert_eq!(play(POLICY, &silent), [none, none, none, failed, none]);
        let two = Policy { lost: 1, ..POLICY };
        assert_eq!(play(two, &silent), [none, none, none, failed, none], "never fewer");
        let late = [(5, false), (5, false), (5, true), (5, false), (5, false), (5, true)];
        assert_eq!(play(POLICY, &late), [none; 6]);
        let back = [(5, false), (5, false), (5, false), (5, true)];
        let recovered = Some(Verdict::Recovered);
        assert_eq!(play(POLICY, &back), [none, none, none, failed, recovered]);
    }

    #[test]
    fn what_comes_from_its_port_is_life() {
        let busy: Vec<_> = (0..40).map(|n| (n, false)).collect();
        let thought = play(POLICY, &busy);
        assert_eq!(thought.iter().flatten().collect::<Vec<_>>(), [&Verdict::Suspected]);
        let enough = Policy { silence_is_enough: true, ..POLICY };
        assert_eq!(play(enough, &busy[..4])[3], Some(Verdict::Failed(Why::Silent)));
        // It stops in the end.
        let stops = [(1, false), (1, false), (2, false), (3, false), (3, false), (3, false)];
        let thought = play(POLICY, &stops);
        assert_eq!(thought.last(), Some(&Some(Verdict::Failed(Why::Silent))));
    }

    #[test]
    fn who_never_answered_is_not_given_up() {
        let now = Instant::now();
        let mut detector = Detector::new(POLICY, now);
        assert!((0..50).all(|n| {
            let now = now + Duration::from_millis(10 * n);
            detector.ask(now, || Some(1)).is_none()
        }));
        let ended = Some(Verdict::Failed(Why::Ended));
        assert_eq!((detector.failed(Why::Ended), detector.failed(Why::Link)), (ended, None));
    }
}
