//! The decision itself.

use crate::lease::directory::{Kind, Readiness, Standby, StandbyState, Step, Switchover};

use super::{Act, At, Driven, Known, Reason, Seen, Stage};

/// What comes next of a pair.
pub fn next(pair: &Standby, seen: &Seen) -> Act {
    let case = Case { pair, seen, is_one_host: pair.active.host == pair.standby.host };
    match &pair.state {
        StandbyState::Preparing | StandbyState::Synced | StandbyState::Ready => case.keep_silent(),
        StandbyState::Switching(switchover) if switchover.step >= Step::Opened => case.complete(),
        StandbyState::Switching(switchover) => match switchover.kind {
            Kind::Planned => case.planned(),
            Kind::Failure => case.after_failure(switchover),
        },
        StandbyState::Promoted(switchover) => case.clean_up(switchover),
    }
}

struct Case<'a> {
    pair: &'a Standby,
    seen: &'a Seen,
    is_one_host: bool,
}

impl Case<'_> {
    fn known(&self, at: At) -> Known {
        match at {
            At::Active if !self.is_one_host => self.seen.active,
            _ => self.seen.standby,
        }
    }

    /// The act that brings a host to a stage; none if it is there.
    fn hold(&self, at: At, stage: Stage) -> Option<Act> {
        (self.known(at).stage() != Some(stage)).then_some(Act::Hold(at, stage))
    }

    /// The act by which more is known of a host, if nothing is.
    fn ask(&self, at: At) -> Option<Act> {
        (self.known(at) == Known::Nothing).then_some(Act::Ask(at))
    }

    /// No switchover: the standby's gate is closed, the active's host knows of the pair, and the
    /// standby is brought to where it can be switched to.
    fn keep_silent(&self) -> Act {
        if let Some(act) = self.hold(At::Standby, Stage::Standby) {
            let may_create = self.seen.is_leased && self.is_to_be_made();
            return match self.known(At::Standby) {
                // Its port may be there once it is.
                Known::Refused(_) if may_create => Act::Create,
                Known::Refused(_) => Act::Blocked(Reason::Refused(At::Standby)),
                Known::Unreachable => Act::Blocked(Reason::Unreachable(At::Standby)),
                _ => act,
            };
        }
        if !self.pair.gated {
            return Act::Gated;
        }
        // It learns who speaks with the active; that is worth no alarm.
        let learns = match self.known(At::Active) {
            Known::Refused(_) | Known::Unreachable => None,
            _ => self.hold(At::Active, Stage::Standby),
        };
        learns.or_else(|| self.prepare()).unwrap_or(Act::Rest)
    }

    fn is_to_be_made(&self) -> bool {
        self.pair.state == StandbyState::Preparing && self.seen.created == Driven::Due
    }

    /// What a driver does before there is a switchover, and says of it. What failed is done again
    /// once it is due again.
    fn prepare(&self) -> Option<Act> {
        let Seen { synced, checked, is_complete, .. } = *self.seen;
        if !self.seen.is_prepared() {
            return None;
        }
        let passes = || (synced == Driven::Due).then_some(Act::Sync);
        let report = |state| Some(Act::Report(state));
        match (&self.pair.state, checked) {
            (StandbyState::Preparing, _) if self.is_to_be_made() => Some(Act::Create),
            (StandbyState::Preparing, _) => match (self.seen.created, synced) {
                (Driven::Failed, _) | (_, Driven::Failed) => None,
                _ => passes().or_else(|| report(Readiness::Synced)),
            },
            (_, Driven::Due) => Some(Act::Check),
            (StandbyState::Ready, Driven::Failed) => report(Readiness::Synced),
            (StandbyState::Synced, Driven::Done | Driven::Absent) if is_complete => {
                report(Readiness::Ready)
            }
            _ => passes(),
        }
    }

    fn planned(&self) -> Act {
        let ask = self.ask(At::Standby).or_else(|| self.ask(At::Active));
        if let Some(act) = ask {
            return act;
        }
        if self.known(At::Standby).is_open() {
            return self.open_in_order();
        }
        for at in [At::Standby, At::Active] {
            match self.known(at) {
                Known::Unreachable => return Act::Blocked(Reason::Unreachable(at)),
                Known::Refused(_) => return self.take_back(Reason::Refused(at)),
                Known::Nothing | Known::Holds(_) => {}
            }
        }
        match (self.seen.final_pass, self.seen.woken) {
            (Driven::Failed, _) => self.take_back(Reason::FinalPass),
            (_, Driven::Failed) => self.take_back(Reason::Wake),
            (Driven::Due, _) => Act::FinalPass,
            (_, Driven::Due) => Act::Wake,
            _ => self.open_in_order(),
        }
    }

    /// First the active's neighbours hear no more of it, then they hear of the standby, then what
    /// they still send to the active is dropped.
    fn open_in_order(&self) -> Act {
        let leaves = match self.known(At::Active).stage() {
            Some(Stage::Leaving | Stage::Promoted) => None,
            _ => Some(Act::Hold(At::Active, Stage::Leaving)),
        };
        leaves
            .or_else(|| self.hold(At::Standby, Stage::Promoted))
            .or_else(|| self.hold(At::Active, Stage::Promoted))
            .unwrap_or(Act::Record(Step::Announced))
    }

    /// Nothing was opened: the active speaks again where it was to leave, then it is as before.
    fn take_back(&self, reason: Reason) -> Act {
        match self.known(At::Active).stage() {
            None | Some(Stage::Standby) => Act::Abort(reason),
            Some(_) => Act::Hold(At::Active, Stage::Standby),
        }
    }

    fn after_failure(&self, switchover: &Switchover) -> Act {
        match self.known(At::Standby) {
            Known::Unreachable => return Act::Blocked(Reason::Unreachable(At::Standby)),
            Known::Refused(_) => return Act::Blocked(Reason::Refused(At::Standby)),
            _ => {}
        }
        let is_open = self.known(At::Standby).is_open();
        let wakes = self.seen.woken == Driven::Due && !is_open;
        // On one host one order silences the active and opens the standby.
        let at_once = self.is_one_host && !wakes;
        if switchover.step < Step::Fenced && !at_once {
            return self.fence();
        }
        match self.seen.woken {
            Driven::Due if !is_open => Act::Wake,
            // It may run all the same, and nobody else has the address.
            _ => self.hold(At::Standby, Stage::Promoted).unwrap_or(Act::Record(Step::Announced)),
        }
    }

    fn fence(&self) -> Act {
        if let Some(act) = self.ask(At::Active) {
            return act;
        }
        match self.known(At::Active) {
            Known::Holds(Some(Stage::Fenced | Stage::Promoted)) => Act::Record(Step::Fenced),
            Known::Holds(_) | Known::Nothing => Act::Hold(At::Active, Stage::Fenced),
            Known::Refused(_) | Known::Unreachable => match self.seen.ended {
                Driven::Done => Act::Record(Step::Fenced),
                Driven::Due => Act::End,
                Driven::Absent | Driven::Failed if self.pair.unfenced => Act::Record(Step::Fenced),
                Driven::Absent | Driven::Failed => Act::Blocked(Reason::NotFenced),
            },
        }
    }

    /// It was opened: what is left of it is done however often it takes.
    fn complete(&self) -> Act {
        self.stay_open().unwrap_or(Act::Promote)
    }

    /// What brings the hosts to what was recorded; one that cannot be reached can wait.
    fn stay_open(&self) -> Option<Act> {
        let can_wait = |at| matches!(self.known(at), Known::Unreachable | Known::Refused(_));
        let at = |at| self.hold(at, Stage::Promoted).filter(|_| !can_wait(at));
        at(At::Standby).or_else(|| at(At::Active))
    }

    fn clean_up(&self, switchover: &Switchover) -> Act {
        if switchover.step >= Step::Terminated {
            let holds = |at| self.known(at).stage().is_some();
            let unknown = |at| self.ask(at);
            return unknown(At::Active)
                .or_else(|| unknown(At::Standby))
                .or_else(|| holds(At::Standby).then_some(Act::LetGo(At::Standby)))
                .or_else(|| holds(At::Active).then_some(Act::LetGo(At::Active)))
                .unwrap_or(Act::Finish);
        }
        if let Some(act) = self.stay_open() {
            return act;
        }
        match self.seen.ended {
            Driven::Due => Act::End,
            Driven::Done => Act::Record(Step::Terminated),
            Driven::Failed => Act::Blocked(Reason::NotEnded),
            // Nobody ends it: it is kept silent until somebody says that it is over.
            Driven::Absent => Act::Rest,
        }
    }
}
