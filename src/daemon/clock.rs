//! The only place that reads clocks.
//!
//! Time is the boot clock (which no one sets, and which counts through suspend) plus an offset
//! that is fixed at start. A step of the wall clock therefore moves nothing.
//!
//! - Restart in the same boot: the stored offset goes on, so elapsed time is exact.
//! - Restart in another boot: the wall clock says how long the machine was off. It may be wrong
//!   then (no battery, no time server yet), so it is never taken to be before the last time in
//!   the store, and it is not *trusted* until the kernel calls it synchronised or [`GRACE`] has
//!   passed. Until then nothing expires: an address goes to its last owner only.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::{Span, Timestamp};
use crate::net::sys;

/// The name of the stored fact.
pub const META: &str = "clock";
/// How long an unsynchronised clock is doubted after a boot.
pub const GRACE: Span = Span::from_secs(600);
/// How far our time may be ahead of a synchronised wall clock and still count as right.
const AHEAD_MAX: Span = Span::from_secs(60);

/// The wall clock, for commands that run without a server.
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The server's time.
#[derive(Debug)]
pub struct Clock {
    /// What the boot clock is behind the time, in milliseconds.
    offset: u64,
    boot_id: Box<str>,
    trusted: bool,
    /// Boot clock at start, in milliseconds.
    started: u64,
}

/// What the outside says about time, so that tests can say it.
#[derive(Clone, Debug)]
struct Reading {
    boot_ms: u64,
    wall_ms: u64,
    boot_id: Box<str>,
    synchronised: bool,
}

impl Clock {
    /// Starts the clock. `meta` is what the store held, `last` the latest time in its leases.
    pub fn start(meta: &BTreeMap<Box<str>, Box<[u8]>>, last: Timestamp) -> Clock {
        Clock::start_at(&read_outside(), meta.get(META).and_then(|bytes| Saved::read(bytes)), last)
    }

    fn start_at(outside: &Reading, saved: Option<Saved>, last: Timestamp) -> Clock {
        let (boot_id, started) = (outside.boot_id.clone(), outside.boot_ms);
        if let Some(saved) = saved.as_ref().filter(|s| s.boot_id == outside.boot_id) {
            let trusted = saved.trusted || outside.synchronised;
            return Clock { offset: saved.offset, boot_id, trusted, started };
        }
        let last = saved.map_or(last, |s| last.max(s.last)).0;
        let now = outside.wall_ms.max(last);
        // Without a past nothing can expire wrongly.
        let trusted = last == 0 || (outside.synchronised && outside.wall_ms >= last);
        Clock { offset: now.saturating_sub(outside.boot_ms), boot_id, trusted, started }
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        Timestamp(boot_ms().saturating_add(self.offset))
    }

    /// A mark from which to measure how long something takes.
    pub fn mark() -> Instant {
        Instant::now()
    }

    /// The same moments, for other threads.
    pub fn reader(&self) -> impl Fn() -> Timestamp + Send + Sync + use<> {
        let offset = self.offset;
        move || Timestamp(boot_ms().saturating_add(offset))
    }

    /// Whether time is known to be right. Asks the kernel until it is; then it stays.
    pub fn is_trusted(&mut self) -> bool {
        if !self.trusted {
            self.judge(&read_outside());
        }
        self.trusted
    }

    fn judge(&mut self, outside: &Reading) {
        let now = outside.boot_ms.saturating_add(self.offset);
        // Were we started by a wall clock far ahead, trust would end every lease at once.
        let not_ahead = now <= outside.wall_ms.saturating_add(AHEAD_MAX.0);
        let waited = outside.boot_ms.saturating_sub(self.started) >= GRACE.0;
        self.trusted = not_ahead && (outside.synchronised || waited);
    }

    /// What to store under [`META`], now and then and at the end.
    pub fn save(&self) -> Box<[u8]> {
        let (offset, last, trusted) = (self.offset, self.now().0, u8::from(self.trusted));
        format!("{} {offset} {last} {trusted}", self.boot_id).into_bytes().into()
    }
}

/// The stored fact, as text: boot id, offset, the time when it was saved, trusted.
struct Saved {
    boot_id: Box<str>,
    offset: u64,
    last: Timestamp,
    trusted: bool,
}

impl Saved {
    fn read(bytes: &[u8]) -> Option<Saved> {
        let mut words = std::str::from_utf8(bytes).ok()?.split(' ');
        Some(Saved {
            boot_id: words.next()?.into(),
            offset: words.next()?.parse().ok()?,
            last: Timestamp(words.next()?.parse().ok()?),
            trusted: words.next()? == "1",
        })
    }
}

fn read_outside() -> Reading {
    // Without a boot id every start is one in another boot, which is the careful answer.
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let (boot_ms, wall_ms) = (boot_ms(), wall().0);
    Reading {
        boot_ms,
        wall_ms,
        boot_id: match boot_id.trim() {
            "" => format!("unknown-{wall_ms}-{boot_ms}").into(),
            id => id.into(),
        },
        synchronised: sys::wall_clock_is_synchronised().unwrap_or(false),
    }
}

fn boot_ms() -> u64 {
    u64::try_from(sys::boot_time().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn outside(boot: &str, boot_ms: u64, wall_ms: u64, synchronised: bool) -> Reading {
        Reading { boot_ms, wall_ms, boot_id: boot.into(), synchronised }
    }

    fn saved(clock: &Clock, last: u64) -> Option<Saved> {
        let saved = Saved::read(&clock.save()).unwrap();
        Some(Saved { last: Timestamp(last), ..saved })
    }

    fn now(clock: &Clock, boot_ms: u64) -> u64 {
        clock.offset + boot_ms
    }

    #[test]
    fn a_restart_in_the_same_boot_is_exact_whatever_the_wall_clock_did() {
        let first = Clock::start_at(&outside("a", 1000, 50 * HOUR, true), None, Timestamp(0));
        assert_eq!(now(&first, 1000), 50 * HOUR);
        let stepped = outside("a", 61_000, 90 * HOUR, true);
        let again = Clock::start_at(&stepped, saved(&first, 50 * HOUR), Timestamp(0));
        assert_eq!(now(&again, 61_000), 50 * HOUR + 60_000);
        assert!(again.trusted);
    }

    #[test]
    fn another_boot_takes_the_wall_clock_but_never_goes_back() {
        let first = Clock::start_at(&outside("a", 1000, 50 * HOUR, true), None, Timestamp(0));
        let past = saved(&first, 51 * HOUR);
        let later = Clock::start_at(&outside("b", 5, 60 * HOUR, true), past, Timestamp(0));
        assert_eq!((now(&later, 5), later.trusted), (60 * HOUR, true));
        let past = saved(&first, 51 * HOUR);
        let reset = Clock::start_at(&outside("b", 5, 0, false), past, Timestamp(52 * HOUR));
        assert_eq!((now(&reset, 5), reset.trusted), (52 * HOUR, false), "leases know it better");
    }

    #[test]
    fn trust_comes_with_synchronisation_or_patience() {
        let start =
            |wall| Clock::start_at(&outside("b", 0, wall, false), None, Timestamp(10 * HOUR));
        let mut clock = start(11 * HOUR);
        clock.judge(&outside("b", 1000, 11 * HOUR, false));
        assert!(!clock.trusted);
        clock.judge(&outside("b", 1000, 11 * HOUR, true));
        assert!(clock.trusted);
        let mut patient = start(11 * HOUR);
        patient.judge(&outside("b", GRACE.0, 11 * HOUR + GRACE.0, false));
        assert!(patient.trusted);
        let mut ahead = start(99_999 * HOUR);
        ahead.judge(&outside("b", 1000, 11 * HOUR, true));
        assert!(!ahead.trusted, "started by a wall clock that was far ahead");
    }

    #[test]
    fn an_empty_store_needs_no_trust() {
        assert!(Clock::start_at(&outside("b", 0, 5, false), None, Timestamp(0)).trusted);
    }

    #[test]
    fn a_damaged_fact_is_no_fact() {
        for bytes in [&b""[..], b"a", b"a 1", b"a x 1 1", b"\xff 1 1 1"] {
            assert!(Saved::read(bytes).is_none());
        }
    }

    #[test]
    fn the_clock_moves_on() {
        let clock = Clock::start(&BTreeMap::new(), Timestamp(0));
        let (first, second) = (clock.now(), clock.now());
        assert!(first <= second && second.since(first) < Span::from_secs(60));
    }
}
