//! The server's clock, and what the outside says about time: a wall clock that is wrong after a
//! power cut, and is set right later or never.

use std::collections::BTreeMap;

use foreshadow::daemon::clock::{Clock, META, Reading};
use foreshadow::engine::Input;
use foreshadow::store::Contents;

use super::world::{Event, World};

/// What a right wall clock said at the beginning.
const BEGINNING: u64 = 1_700_000_000_000;
/// How often the server looks whether its time is right, and notes it.
const LOOK: u64 = 30_000;

#[derive(Debug)]
pub(crate) struct Time {
    clock: Clock,
    boots: u64,
    /// When the machine booted, by everybody's time.
    booted: u64,
    /// Nothing has come of this boot yet.
    is_new: bool,
    /// By how much the wall clock is ahead, in milliseconds.
    error: i64,
    synchronised: bool,
    trusted: bool,
}

impl Time {
    pub(crate) fn new() -> Time {
        let reading =
            Reading { boot_ms: 0, wall_ms: BEGINNING, boot_id: "0".into(), synchronised: true };
        let clock = Clock::start_by(&reading, &BTreeMap::new(), &[]);
        Time {
            clock,
            boots: 0,
            booted: 0,
            error: 0,
            synchronised: true,
            trusted: true,
            is_new: false,
        }
    }

    /// How much the server's time is ahead of everybody's.
    pub(crate) fn ahead(&self) -> u64 {
        self.clock.at(0).0 - self.booted
    }

    /// Whether the server trusts it.
    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Whether the wall clock is behind.
    pub(crate) fn is_slow(&self) -> bool {
        self.error < 0
    }

    fn reading(&self, now: u64) -> Reading {
        Reading {
            boot_ms: now - self.booted,
            wall_ms: (BEGINNING + now).saturating_add_signed(self.error),
            boot_id: self.boots.to_string().into(),
            synchronised: self.synchronised,
        }
    }

    fn judge(&mut self, now: u64) {
        let reading = self.reading(now);
        self.trusted = self.trusted || self.clock.judge(&reading);
    }
}

impl World {
    /// The machine boots again, and its wall clock may say anything.
    pub(crate) fn boot_clock(&mut self, contents: &Contents) {
        let jump = self.random.within(70_000, 5_000_000) as i64;
        // After a slow one there comes a right one: only then does what was promised look past.
        let (error, fault) = match self.random.below(8) {
            _ if self.time.is_slow() => (0, None),
            0 => (jump, Some("clock jumps forward")),
            1 | 2 => (-jump, Some("clock jumps back")),
            _ => (0, None),
        };
        fault.into_iter().for_each(|fault| self.tally.fault(fault));
        let synchronised = error == 0 && self.random.chance(800);
        let (boots, booted) = (self.time.boots + 1, self.now);
        self.time = Time {
            boots,
            booted,
            error,
            synchronised,
            trusted: false,
            is_new: true,
            ..Time::new()
        };
        let reading = self.time.reading(self.now);
        self.time.clock = Clock::start_by(&reading, &contents.meta, &contents.leases);
        self.time.judge(self.now);
    }

    /// Somebody may set the wall clock right, and the server looks at it.
    pub(crate) fn look_at_clock(&mut self) {
        // What a clock that is believed too soon has ended is soon lost for good.
        if std::mem::take(&mut self.time.is_new) {
            self.what_if();
        }
        if self.random.chance(20) {
            (self.time.error, self.time.synchronised) = (0, true);
        }
        let before = self.time.trusted;
        self.time.judge(self.now);
        if self.time.trusted && !before {
            self.server.input(self.server_now(), Input::ClockTrusted(true));
        }
        self.note_clock();
        self.at(LOOK, Event::Clock);
    }

    /// The server writes down what it thinks of its time: before it serves anybody, and now and then.
    pub(crate) fn note_clock(&mut self) {
        let saved = self.time.clock.save_at(self.now - self.time.booted);
        self.server.note(self.server_now(), META, &saved);
    }
}
