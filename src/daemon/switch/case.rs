//! One pair: what is known of it, and what is done for it.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::api::drive;
use crate::config::policy::{DriverPolicy, OnFailure};
use crate::engine::standbys::Report;
use crate::lease::directory::{Kind, Standby, StandbyState, Step};
use crate::switchover::{Act, At, Driven, Known, Reason, Seen, Stage, next};

use super::Word;
use super::driver::{self, Deed, Errand, Told};
use super::hosts::Hosts;
use super::records::{Noted, Records, Written};

/// How soon something that failed is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// By how many percent a pass goes on before that is written down.
const PROGRESS_STEP: u8 = 5;
/// Acts for a pair in a row: more means that something does not take.
const ACTS_MAX: usize = 64;

/// What is known of a pair, and when to look again.
pub(super) struct Case {
    pub(super) pair: Arc<Standby>,
    seen: Seen,
    blocked: Option<Reason>,
    pub(super) retry_at: Option<Instant>,
    /// Since when a failed active is silent, where that was seen.
    silent_since: Option<Instant>,
    /// What sees to its guests.
    driver: Option<Arc<DriverPolicy>>,
    /// What that is doing.
    doing: Option<Doing>,
    /// When the last pass of the state was over.
    synced_at: Option<Instant>,
    /// It was asked to end a standby that nobody needs.
    discarded: bool,
}

/// What a driver is doing.
struct Doing {
    deed: Deed,
    /// Breaks it off, where it may be, and once.
    stop: Option<oneshot::Sender<()>>,
    /// How far it was said to be last, in percent.
    progress: u8,
}

impl Case {
    /// The active has failed: its standby takes over, where the policy says so and it can.
    pub(super) fn active_failed(&mut self, why: &str, silent: Duration, records: &Records) {
        self.silent_since = Instant::now().checked_sub(silent);
        let id = &self.pair.id;
        if self.pair.on_failure == OnFailure::Alert {
            return tracing::error!(standby = %id, why, "the active has failed");
        }
        match records.tell(&self.pair, drive::Driven::Begin(Kind::Failure, false)) {
            Ok(pair) => {
                tracing::error!(standby = %id, why, "the active has failed: its standby takes over");
                self.pair = pair;
            }
            Err(error) => {
                tracing::error!(standby = %id, why, %error, "the active has failed, and its standby cannot take over");
            }
        }
    }

    /// The standby was heard for the first time, so long after its gate was opened.
    pub(super) fn answers(&mut self, after: Duration, records: &Records) {
        let failed = self.pair.state.switchover().is_some_and(|of| of.kind == Kind::Failure);
        let silent = self.silent_since.take().filter(|_| failed).map(|since| since.elapsed());
        let outage_us = silent.unwrap_or(after).as_micros().try_into().unwrap_or(u32::MAX);
        match records.tell(&self.pair, drive::Driven::Measured(self.pair.epoch, outage_us)) {
            Ok(pair) => self.pair = pair,
            Err(error) => tracing::debug!(standby = %self.pair.id, %error, "outage not written"),
        }
    }

    pub(super) fn new(noted: Noted) -> Case {
        let Noted { pair, driver, is_leased, is_complete } = noted;
        let seen = Seen { is_leased, is_complete, ..due(driver.as_deref()) };
        let (blocked, retry_at, silent_since) = (None, None, None);
        let (doing, synced_at, discarded) = (None, None, false);
        Case { pair, seen, blocked, retry_at, silent_since, driver, doing, synced_at, discarded }
    }

    /// With what the record is now. A gate that was found to leak is looked at again. Of another
    /// switchover a driver has done nothing yet, and one has no time for what prepares it.
    pub(super) fn renewed(self, noted: Noted) -> Case {
        let Noted { pair, driver, is_leased, is_complete } = noted;
        let mut seen = Seen { is_leased, is_complete, ..self.seen };
        if self.pair.gated && !pair.gated {
            seen.standby = Known::Nothing;
        }
        if self.pair.epoch != pair.epoch || self.driver != driver {
            let (active, standby) = (seen.active, seen.standby);
            let due = due(driver.as_deref());
            let created = if seen.created == Driven::Done { Driven::Done } else { due.created };
            seen = Seen { active, standby, created, is_leased, is_complete, ..due };
        }
        let mut case = Case { pair, seen, driver, retry_at: None, ..self };
        if case.pair.state.readiness().is_none() {
            case.break_off();
        }
        case
    }

    /// The record is gone: what prepares the standby ends, and then the standby, which nobody needs;
    /// whether all of that is over.
    pub(super) fn leave(&mut self, records: &Records, words: &SyncSender<Word>) -> bool {
        self.break_off();
        if self.doing.is_some() {
            return false;
        }
        let discards = self.driver.as_ref().is_some_and(|of| Deed::Discard.way(of).is_some());
        if self.discarded || !discards || self.pair.is_promoted() {
            return true;
        }
        self.discarded = true;
        self.drive(Deed::Discard, records, words);
        self.doing.is_none()
    }

    fn break_off(&mut self) {
        if let Some(doing) = self.doing.as_mut().filter(|doing| doing.deed.is_preparation()) {
            doing.stop = None;
        }
    }

    /// A driver has it do something; what it says comes later.
    fn drive(&mut self, deed: Deed, records: &Records, words: &SyncSender<Word>) -> bool {
        let Some(driver) = &self.driver else { return false };
        let (words, errand) = (words.clone(), self.errand(deed));
        let tell = move |told| {
            let _ = words.send(Word::Drove(errand.clone(), told));
        };
        let (stop, stopped) = match deed.is_preparation() {
            true => Some(oneshot::channel()).unzip(),
            false => (None, None),
        };
        match driver::start(driver, &self.pair, (deed, records.now()), stopped, tell) {
            Ok(()) => self.doing = Some(Doing { deed, stop, progress: 0 }),
            Err(error) => {
                tracing::error!(standby = %self.pair.id, %error, "no thread for a driver");
                self.retry_at = Some(Instant::now() + RETRY);
            }
        }
        false
    }

    fn errand(&self, deed: Deed) -> Errand {
        let Standby { id, created, epoch, .. } = &*self.pair;
        Errand { id: id.clone(), created: *created, epoch: *epoch, deed }
    }

    /// What a driver says. What it did for another switchover, or another pair of that name, counts
    /// for nothing.
    pub(super) fn driven(&mut self, errand: &Errand, told: &Told, records: &Records) {
        if errand.created != self.pair.created {
            return;
        }
        let is_of_now = *errand == self.errand(errand.deed);
        let result = match told {
            Told::Progress(percent) if is_of_now => return self.progressed(*percent, records),
            Told::Progress(_) => return,
            Told::Done(Ok(())) => Driven::Done,
            Told::Done(Err(_)) => Driven::Failed,
        };
        self.doing = None;
        if !is_of_now {
            return;
        }
        match errand.deed {
            Deed::Create => self.seen.created = result,
            Deed::Sync => {
                self.seen.synced = result;
                self.synced_at = Some(Instant::now());
            }
            Deed::Check => self.seen.checked = result,
            Deed::FinalPass => self.seen.final_pass = result,
            Deed::Wake => self.seen.woken = result,
            Deed::End => self.seen.ended = result,
            Deed::Discard => {}
        }
    }

    /// So much of the first pass is done: written down from time to time.
    fn progressed(&mut self, percent: u8, records: &Records) {
        let Some(doing) = &mut self.doing else { return };
        let is_first = self.pair.state == StandbyState::Preparing && doing.deed == Deed::Sync;
        if !is_first || percent < doing.progress.saturating_add(PROGRESS_STEP) {
            return;
        }
        doing.progress = percent;
        let report = Report { progress: Some(percent), state: None };
        match records.tell(&self.pair, drive::Driven::Report(report)) {
            Ok(pair) => self.pair = pair,
            Err(error) => tracing::debug!(standby = %self.pair.id, %error, "progress not written"),
        }
    }

    /// What failed is due again from time to time, and so is the next pass of the state.
    pub(super) fn dare_again(&mut self) {
        let Seen { created, synced, checked, ended, .. } = &mut self.seen;
        for driven in [created, &mut *synced, &mut *checked, ended] {
            if *driven == Driven::Failed {
                *driven = Driven::Due;
            }
        }
        let every = self.driver.as_ref().map(|driver| Duration::from_millis(driver.sync_every.0));
        let over = |at: Instant| every.is_some_and(|every| at.elapsed() >= every);
        if *synced == Driven::Done && self.synced_at.is_some_and(over) {
            (*synced, self.synced_at) = (Driven::Due, None);
            if *checked == Driven::Done {
                *checked = Driven::Due;
            }
        }
    }

    /// Whether something is to be done by now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
    }

    /// What a host says that it holds.
    pub(super) fn heard(&mut self, at: At, known: Known) {
        *known_mut(&mut self.seen, &self.pair, at) = known;
        self.retry_at = None;
    }

    /// Does all that can be done now.
    pub(super) fn work(&mut self, records: &Records, hosts: &mut Hosts, words: &SyncSender<Word>) {
        self.retry_at = None;
        (0..ACTS_MAX).find(|_| !self.act(records, hosts, words));
    }

    /// Does what comes next; whether to go on.
    fn act(&mut self, records: &Records, hosts: &mut Hosts, words: &SyncSender<Word>) -> bool {
        if self.doing.is_some() {
            return false;
        }
        let act = next(&self.pair, &self.seen);
        if !matches!(act, Act::Blocked(_)) {
            self.blocked = None;
        }
        let epoch = self.pair.epoch;
        let written = match act {
            Act::Rest => return false,
            Act::Blocked(reason) => return self.wait(reason),
            Act::Ask(at) => return self.know(at, hosts.ask(&self.pair, at)),
            Act::Hold(at, stage) => return self.hold(at, stage, records, hosts),
            Act::LetGo(at) => return self.know(at, hosts.let_go(&self.pair, at)),
            Act::Create => return self.drive(Deed::Create, records, words),
            Act::Sync => return self.drive(Deed::Sync, records, words),
            Act::Check => return self.drive(Deed::Check, records, words),
            Act::FinalPass => return self.drive(Deed::FinalPass, records, words),
            Act::Wake => return self.drive(Deed::Wake, records, words),
            Act::End => return self.drive(Deed::End, records, words),
            Act::Gated => records.tell(&self.pair, drive::Driven::Gate(true)),
            Act::Report(state) => {
                let report = Report { progress: None, state: Some(state) };
                records.tell(&self.pair, drive::Driven::Report(report))
            }
            Act::Record(step) => self.record(step, records),
            Act::Promote => records.tell(&self.pair, drive::Driven::Promote(epoch)),
            Act::Abort(reason) => {
                tracing::warn!(standby = %self.pair.id, reason = reason.text(), "taken back");
                records.tell(&self.pair, drive::Driven::Abort(epoch))
            }
            Act::Finish => records.tell(&self.pair, drive::Driven::Finish(epoch)),
        };
        match written {
            Ok(pair) => {
                self.pair = pair;
                true
            }
            Err(error) => {
                tracing::warn!(standby = %self.pair.id, %error, "not written");
                self.retry_at = Some(Instant::now() + RETRY);
                false
            }
        }
    }

    /// On one host the order that opens the standby has silenced the active too.
    fn record(&self, step: Step, records: &Records) -> Written {
        let is_failure = self.pair.state.switchover().is_some_and(|s| s.kind == Kind::Failure);
        let is_one_host = self.pair.active.host == self.pair.standby.host;
        let epoch = self.pair.epoch;
        if is_failure && is_one_host && step > Step::Fenced {
            records.tell(&self.pair, drive::Driven::Step(epoch, Step::Fenced))?;
        }
        records.tell(&self.pair, drive::Driven::Step(epoch, step))
    }

    fn hold(&mut self, at: At, stage: Stage, records: &Records, hosts: &mut Hosts) -> bool {
        let known = match records.ends(&self.pair) {
            Ok(ends) => hosts.hold(&self.pair, &ends, at, stage),
            Err(error) => {
                if self.blocked != Some(Reason::Refused(at)) {
                    tracing::warn!(standby = %self.pair.id, %error, "cannot be gated");
                }
                Known::Refused(None)
            }
        };
        self.know(at, known)
    }

    /// Something is known of a host now; whether to go on with it.
    fn know(&mut self, at: At, known: Known) -> bool {
        *known_mut(&mut self.seen, &self.pair, at) = known;
        if known == Known::Nothing {
            self.retry_at = Some(Instant::now() + RETRY);
        }
        known != Known::Nothing
    }

    fn wait(&mut self, reason: Reason) -> bool {
        if self.blocked != Some(reason) {
            let reason = reason.text();
            tracing::warn!(standby = %self.pair.id, reason, "does not go on; tried again");
        }
        self.blocked = Some(reason);
        self.retry_at = Some(Instant::now() + RETRY);
        // What was not to be had may be by then.
        for known in [&mut self.seen.active, &mut self.seen.standby] {
            if matches!(known, Known::Unreachable | Known::Refused(_)) {
                *known = Known::Nothing;
            }
        }
        false
    }
}

/// Where what is known of a host is kept: both guests can be on one.
fn known_mut<'a>(seen: &'a mut Seen, pair: &Standby, at: At) -> &'a mut Known {
    match at {
        At::Active if pair.active.host != pair.standby.host => &mut seen.active,
        _ => &mut seen.standby,
    }
}

/// Nothing is known, and what a driver can do is to be done when its turn comes.
fn due(driver: Option<&DriverPolicy>) -> Seen {
    let of = |deed: Deed| match driver.and_then(|driver| deed.way(driver)) {
        Some(_) => Driven::Due,
        None => Driven::Absent,
    };
    Seen {
        created: of(Deed::Create),
        synced: of(Deed::Sync),
        checked: of(Deed::Check),
        final_pass: of(Deed::FinalPass),
        woken: of(Deed::Wake),
        ended: of(Deed::End),
        ..Seen::default()
    }
}
