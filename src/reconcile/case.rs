//! Asking again before anything is said: who still holds an address, one after the other.

use smallvec::SmallVec;

use crate::base::{Mac, Span, Timestamp};

/// How long a host has to answer a question of its own.
pub const ANSWER_WAIT: Span = Span(300);
/// How often it is asked in a round before it counts as silent: frames get lost.
const TRIES: u8 = 4;
/// How long after one round the next begins. An address that moves, also one that is announced by
/// its new holder before the old one is silent, has one holder by then.
pub const ROUND_GAP: Span = Span(1000);
/// Rounds in which a host must answer.
const ROUNDS: u8 = 2;
/// Rounds at most, for hosts that answered in one and not in another.
const ROUNDS_MAX: u8 = 4;
/// Hosts that are asked about one address.
pub const MEMBERS_MAX: usize = 6;

/// One host that spoke for the address, or should.
#[derive(Clone, Copy, Debug)]
struct Member {
    mac: Mac,
    /// Rounds in a row that it answered in, the last one included.
    answered: u8,
    /// Questions in this round.
    tries: u8,
    /// Done with in this round.
    done: bool,
}

/// An address under suspicion.
///
/// In a round each member is asked by unicast, the next one only when the one before has answered
/// or was silent four times: what two hosts answer to questions that followed each other cannot
/// both be from before a move. One round is followed by another, and only who answered in the last
/// two holds the address.
#[derive(Clone, Debug)]
pub struct Case {
    members: SmallVec<[Member; 4]>,
    round: u8,
    /// Who was asked, and when it counts as silent.
    waiting: Option<(usize, Timestamp)>,
    /// When there is something to do.
    pub due: Timestamp,
    /// When it was opened: what is known must be from after that.
    pub since: Timestamp,
}

/// What a case wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask this host.
    Ask(Mac),
    /// Nothing until it is due.
    Wait,
    /// A round is over, another will begin.
    RoundOver,
    /// These hold the address.
    Over(Vec<Mac>),
}

impl Case {
    /// About these hosts, of which it takes the first few.
    pub fn new(macs: impl IntoIterator<Item = Mac>, now: Timestamp) -> Case {
        let mut case =
            Case { members: SmallVec::new(), round: 0, waiting: None, due: now, since: now };
        macs.into_iter().for_each(|mac| case.add(mac));
        case
    }

    /// About one host more; it has to answer in two rounds from now on.
    pub fn add(&mut self, mac: Mac) {
        let is_new = !self.members.iter().any(|member| member.mac == mac);
        if is_new && self.members.len() < MEMBERS_MAX {
            self.members.push(Member { mac, answered: 0, tries: 0, done: false });
        }
    }

    /// Whom it asks.
    pub fn macs(&self) -> impl Iterator<Item = Mac> {
        self.members.iter().map(|member| member.mac)
    }

    /// `mac` answered. Counts if it is the one that was asked.
    pub fn answered(&mut self, mac: Mac, now: Timestamp) {
        let Some((at, _)) = self.waiting else { return };
        let Some(member) = self.members.get_mut(at).filter(|member| member.mac == mac) else {
            return;
        };
        (member.done, member.answered) = (true, member.answered + 1);
        (self.waiting, self.due) = (None, now);
    }

    /// What to do now.
    pub fn step(&mut self, now: Timestamp) -> Step {
        if now < self.due {
            return Step::Wait;
        }
        // Who was asked did not answer: again, or not at all in this round.
        if let Some((at, _)) = self.waiting.take_if(|(_, until)| *until <= now)
            && let Some(member) = self.members.get_mut(at)
            && member.tries >= TRIES
        {
            (member.done, member.answered) = (true, 0);
        }
        match self.members.iter().position(|member| !member.done) {
            Some(at) => {
                let until = now + ANSWER_WAIT;
                (self.waiting, self.due) = (Some((at, until)), until);
                let member = &mut self.members[at];
                member.tries += 1;
                Step::Ask(member.mac)
            }
            None => self.end_round(now),
        }
    }

    fn end_round(&mut self, now: Timestamp) -> Step {
        self.round += 1;
        let is_clear = self.members.iter().all(|m| m.answered == 0 || m.answered >= ROUNDS);
        if self.round >= ROUNDS_MAX || (self.round >= ROUNDS && is_clear) {
            let holds = self.members.iter().filter(|member| member.answered >= ROUNDS);
            return Step::Over(holds.map(|member| member.mac).collect());
        }
        for member in &mut self.members {
            (member.tries, member.done) = (0, false);
        }
        self.due = now + ROUND_GAP;
        Step::RoundOver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

    /// Plays a case against `holds(mac, ms, nth question)`; who held the address, and when that was
    /// clear.
    fn play(holds: impl Fn(Mac, u64, u32) -> bool) -> (Vec<Mac>, u64) {
        let (mut case, mut asked) = (Case::new([A, B], Timestamp(0)), 0);
        for ms in 0..60_000 {
            loop {
                match case.step(Timestamp(ms)) {
                    Step::Ask(mac) => {
                        asked += 1;
                        if holds(mac, ms, asked) {
                            case.answered(mac, Timestamp(ms));
                        }
                    }
                    Step::Wait | Step::RoundOver => break,
                    Step::Over(held) => return (held, ms),
                }
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn both_that_stay_hold_it_and_one_that_goes_does_not() {
        assert_eq!(play(|_, _, _| true), (vec![A, B], ROUND_GAP.0));
        assert_eq!(play(|mac, _, _| mac == A).0, vec![A]);
        assert_eq!(play(|_, _, _| false).0, vec![]);
        // Announced by the new one a while before the old one is silent.
        assert_eq!(play(|mac, ms, _| mac == B || ms < 900).0, vec![B]);
        // The other way round, at any moment.
        for at in (0..5_000).step_by(7) {
            let (held, _) = play(|mac, ms, _| (mac == A) == (ms < at));
            assert!(held.len() <= 1, "moved at {at}: {held:?}");
        }
    }

    #[test]
    fn a_lost_frame_is_no_silence() {
        for lost in 1..5 {
            assert_eq!(play(|_, _, nth| nth != lost).0, vec![A, B], "frame {lost}");
        }
        assert_eq!(play(|_, _, nth| nth % 2 == 0).0, vec![A, B], "every other frame");
    }

    #[test]
    fn an_answer_counts_from_the_one_who_was_asked() {
        let mut case = Case::new([A, B], Timestamp(0));
        assert_eq!(case.step(Timestamp(0)), Step::Ask(A));
        case.answered(B, Timestamp(1));
        assert_eq!(case.step(Timestamp(1)), Step::Wait);
        case.answered(A, Timestamp(2));
        case.answered(A, Timestamp(2));
        assert_eq!(case.step(Timestamp(2)), Step::Ask(B));
    }

    #[test]
    fn it_asks_few() {
        let case = Case::new((0..100).map(|i| Mac([2, 0, 0, 0, 0, i])), Timestamp(0));
        assert_eq!(case.macs().count(), MEMBERS_MAX);
    }
}
