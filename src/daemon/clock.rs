//! The only place that reads clocks.
//!
//! Time is the boot clock (which no one sets, and which counts through suspend) plus an offset
//! that is fixed at start. A step of the wall clock therefore moves nothing.
//!
//! - Restart in the same boot: the stored offset goes on, so elapsed time is exact.
//! - Restart in another boot: the wall clock says how long the machine was off. It may be wrong
//!   then (no battery, no time server yet), so it is never taken to be before the last time in
//!   the store, and it is not *trusted* until it is called synchronised or [`GRACE`] has passed.
//!   Until then nothing expires: an address goes to its last owner only.
//! - Leases by a time that was in doubt, or that went on from the store and so was slow, may last
//!   longer than they say by a wall clock that is right. After another boot they are given all
//!   their length.
//! - A wall clock that was ahead when we started, and was set back since, has put our time ahead.
//!   Trusted now, it would end leases early. But who renews gets a lease by our time: once the
//!   longest lease of before has had its length, nobody is left whom the error could hurt.
//!
//! Synchronised is what the kernel calls so (chrony, ntpd, systemd-timesyncd), or what
//! systemd-timesyncd says in [`TIMESYNC`]: a hardened unit may not ask the kernel.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::{Span, Timestamp};
use crate::lease::{Lease, State};
use crate::net::sys;

/// The name of the stored fact.
pub const META: &str = "clock";
/// How long an unsynchronised clock is doubted after a boot.
pub const GRACE: Span = Span::from_secs(600);
/// Where systemd-timesyncd says that it has set the clock since boot.
pub const TIMESYNC: &str = "/run/systemd/timesync/synchronized";
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
    /// After how long every lease that was there at start is over, or renewed by our time.
    outlived: Span,
    /// The time is later than the last one in the store because the wall clock said so.
    by_wall: bool,
    /// Leases of before may last longer than they say.
    doubts_past: bool,
}

/// What the outside says about time, so that tests can say it.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The boot clock, in milliseconds.
    pub boot_ms: u64,
    /// The wall clock, in milliseconds since 1970.
    pub wall_ms: u64,
    /// Another one after each boot.
    pub boot_id: Box<str>,
    /// Whether somebody keeps the wall clock right.
    pub synchronised: bool,
}

impl Clock {
    /// Starts the clock. `meta` and `leases` are what the store held.
    pub fn start(meta: &BTreeMap<Box<str>, Box<[u8]>>, leases: &[Lease]) -> Clock {
        Clock::start_by(&read_outside(), meta, leases)
    }

    /// The same by another's word.
    pub fn start_by(
        outside: &Reading,
        meta: &BTreeMap<Box<str>, Box<[u8]>>,
        leases: &[Lease],
    ) -> Clock {
        let saved = meta.get(META).and_then(|bytes| Saved::read(bytes));
        Clock::start_at(outside, saved, Past::of(leases))
    }

    fn start_at(outside: &Reading, saved: Option<Saved>, past: Past) -> Clock {
        let (boot_id, started) = (outside.boot_id.clone(), outside.boot_ms);
        let outlived = past.longest.max(GRACE);
        if let Some(saved) = saved.as_ref().filter(|s| s.boot_id == outside.boot_id) {
            let Saved { offset, trusted, by_wall, doubts_past, .. } = *saved;
            return Clock { offset, boot_id, trusted, started, outlived, by_wall, doubts_past };
        }
        let before = saved.as_ref().map(|s| (s.trusted, s.by_wall));
        let last = saved.map_or(past.last, |s| past.last.max(s.last)).0;
        let now = outside.wall_ms.max(last);
        // Without a past nothing can expire wrongly.
        let by_wall = now > last;
        let doubts_past = before.is_some_and(|(trusted, wall)| !trusted || (by_wall && !wall));
        let right = outside.synchronised && outside.wall_ms >= last && !doubts_past;
        let trusted = last == 0 || right;
        let offset = now.saturating_sub(outside.boot_ms);
        Clock { offset, boot_id, trusted, started, outlived, by_wall, doubts_past }
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.at(boot_ms())
    }

    /// The moment when the boot clock says `boot_ms` milliseconds.
    pub fn at(&self, boot_ms: u64) -> Timestamp {
        Timestamp(boot_ms.saturating_add(self.offset))
    }

    /// A mark from which to measure how long something takes.
    pub fn mark() -> Instant {
        Instant::now()
    }

    /// The same moments, for other threads.
    pub fn reader(&self) -> impl Fn() -> Timestamp + Clone + Send + Sync + use<> {
        let offset = self.offset;
        move || Timestamp(boot_ms().saturating_add(offset))
    }

    /// Whether time is known to be right. Asks the kernel until it is; then it stays.
    pub fn is_trusted(&mut self) -> bool {
        self.trusted || self.judge(&read_outside())
    }

    /// Whether time is right by what the outside says. Only for a clock that is not trusted yet.
    pub fn judge(&mut self, outside: &Reading) -> bool {
        let now = outside.boot_ms.saturating_add(self.offset);
        let ahead = now > outside.wall_ms.saturating_add(AHEAD_MAX.0);
        let waited = Span::from_ms(outside.boot_ms.saturating_sub(self.started));
        self.trusted = match (ahead, self.by_wall) {
            _ if self.doubts_past => waited >= self.outlived,
            (false, _) => outside.synchronised || waited >= GRACE,
            // By the store: its leases are of the same time as ours, whatever the wall clock says.
            (true, false) => waited >= GRACE,
            (true, true) => waited >= self.outlived,
        };
        self.trusted
    }

    /// What to store under [`META`], now and then and at the end.
    pub fn save(&self) -> Box<[u8]> {
        self.save_at(boot_ms())
    }

    /// The same when the boot clock says `boot_ms` milliseconds.
    pub fn save_at(&self, boot_ms: u64) -> Box<[u8]> {
        let (offset, last) = (self.offset, self.at(boot_ms).0);
        let [trusted, by_wall, doubts] =
            [self.trusted, self.by_wall, self.doubts_past].map(u8::from);
        format!("{} {offset} {last} {trusted} {by_wall} {doubts}", self.boot_id).into_bytes().into()
    }
}

/// What the leases in the store say about time.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    /// The latest moment at which one of them was written.
    last: Timestamp,
    /// The length of the longest that ends at all.
    longest: Span,
}

impl Past {
    fn of(leases: &[Lease]) -> Past {
        let mut past = Past::default();
        for lease in leases {
            past.last = past.last.max(lease.updated);
            if lease.state == State::Leased && lease.until != Timestamp::NEVER {
                past.longest = past.longest.max(lease.until.since(lease.updated));
            }
        }
        past
    }
}

/// The stored fact, as text: boot id, offset, the time when it was saved, trusted, by the wall
/// clock, doubts the past.
struct Saved {
    boot_id: Box<str>,
    offset: u64,
    last: Timestamp,
    trusted: bool,
    by_wall: bool,
    doubts_past: bool,
}

impl Saved {
    fn read(bytes: &[u8]) -> Option<Saved> {
        let mut words = std::str::from_utf8(bytes).ok()?.split(' ');
        Some(Saved {
            boot_id: words.next()?.into(),
            offset: words.next()?.parse().ok()?,
            last: Timestamp(words.next()?.parse().ok()?),
            trusted: words.next()? == "1",
            by_wall: words.next()? == "1",
            doubts_past: words.next() == Some("1"),
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
        synchronised: sys::wall_clock_is_synchronised().unwrap_or(false)
            || Path::new(TIMESYNC).exists(),
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

    fn past(last: u64) -> Past {
        Past { last: Timestamp(last), longest: Span::from_ms(2 * HOUR) }
    }

    fn now(clock: &Clock, boot_ms: u64) -> u64 {
        clock.offset + boot_ms
    }

    #[test]
    fn a_restart_in_the_same_boot_is_exact_whatever_the_wall_clock_did() {
        let first = Clock::start_at(&outside("a", 1000, 50 * HOUR, true), None, past(0));
        assert_eq!(now(&first, 1000), 50 * HOUR);
        let stepped = outside("a", 61_000, 90 * HOUR, true);
        let again = Clock::start_at(&stepped, saved(&first, 50 * HOUR), past(0));
        assert_eq!(now(&again, 61_000), 50 * HOUR + 60_000);
        assert!(again.trusted);
    }

    #[test]
    fn another_boot_takes_the_wall_clock_but_never_goes_back() {
        let first = Clock::start_at(&outside("a", 1000, 50 * HOUR, true), None, past(0));
        let then = saved(&first, 51 * HOUR);
        let later = Clock::start_at(&outside("b", 5, 60 * HOUR, true), then, past(0));
        assert_eq!((now(&later, 5), later.trusted), (60 * HOUR, true));
        let then = saved(&first, 51 * HOUR);
        let reset = Clock::start_at(&outside("b", 5, 0, false), then, past(52 * HOUR));
        assert_eq!((now(&reset, 5), reset.trusted), (52 * HOUR, false), "leases know it better");
    }

    /// What `clock` thinks after `boot_ms` of its boot.
    fn trusts(clock: &mut Clock, boot_ms: u64, wall_ms: u64, synchronised: bool) -> bool {
        clock.judge(&outside("b", boot_ms, wall_ms, synchronised));
        clock.trusted
    }

    #[test]
    fn trust_comes_with_synchronisation_or_patience() {
        let start = |wall| Clock::start_at(&outside("b", 0, wall, false), None, past(10 * HOUR));
        let mut clock = start(11 * HOUR);
        assert!(!trusts(&mut clock, 1000, 11 * HOUR, false));
        assert!(trusts(&mut clock, 1000, 11 * HOUR, true));
        let mut patient = start(11 * HOUR);
        assert!(!trusts(&mut patient, GRACE.0 - 1, 11 * HOUR + GRACE.0, false));
        assert!(trusts(&mut patient, GRACE.0, 11 * HOUR + GRACE.0, false));
    }

    /// The wall clock was ahead at start, by minutes or by years, and was set right since.
    #[test]
    fn a_clock_that_was_ahead_waits_until_the_leases_of_before_are_over() {
        for ahead in [2 * 60_000, 99_999 * HOUR] {
            let wall = 11 * HOUR;
            let start = outside("b", 0, wall + ahead, false);
            let mut clock = Clock::start_at(&start, None, past(10 * HOUR));
            assert!(!trusts(&mut clock, GRACE.0, wall + GRACE.0, true));
            assert!(!trusts(&mut clock, 2 * HOUR - 1, wall + 2 * HOUR - 1, true));
            assert!(trusts(&mut clock, 2 * HOUR, wall + 2 * HOUR, true));
        }
    }

    /// The store knows a later time than a wall clock that is right, or was never set.
    #[test]
    fn a_store_that_is_ahead_of_the_wall_clock_is_believed_after_a_while() {
        for (wall, synchronised) in [(10 * HOUR - 5 * 60_000, true), (0, false)] {
            let start = outside("b", 0, wall, synchronised);
            let mut clock = Clock::start_at(&start, None, past(10 * HOUR));
            assert!(!clock.trusted);
            assert!(!trusts(&mut clock, 1000, wall + 1000, synchronised));
            let again = outside("b", 2000, wall + 2000, false);
            let mut clock = Clock::start_at(&again, saved(&clock, 10 * HOUR), past(10 * HOUR));
            let end = GRACE.0 + 2000;
            assert!(trusts(&mut clock, end, wall + end, synchronised));
        }
    }

    /// The wall clock was never set in one boot, and is right in the next.
    #[test]
    fn leases_by_a_slow_clock_have_all_their_length_by_a_right_one() {
        let slow = Clock::start_at(&outside("b", 0, 5, false), None, past(10 * HOUR));
        let mut then = saved(&slow, 11 * HOUR).unwrap();
        then.trusted = true;
        let right = outside("c", 0, 99 * HOUR, true);
        let mut clock = Clock::start_at(&right, Some(then), past(10 * HOUR));
        assert!(!clock.trusted);
        assert!(!trusts(&mut clock, 2 * HOUR - 1, 101 * HOUR - 1, true));
        // Another power cut before they are over: the doubt goes on.
        let right = outside("d", 0, 102 * HOUR, true);
        let mut again = Clock::start_at(&right, saved(&clock, 101 * HOUR), past(10 * HOUR));
        assert!(!trusts(&mut again, 2 * HOUR - 1, 104 * HOUR - 1, true));
        assert!(trusts(&mut again, 2 * HOUR, 104 * HOUR, true));
    }

    #[test]
    fn the_past_is_read_off_the_leases() {
        let hw = crate::base::HwAddr::default();
        let lease = |updated, until, state| Lease {
            network: crate::base::NetworkId::of("vms"),
            resource: std::net::Ipv4Addr::LOCALHOST.into(),
            client: crate::base::ClientKey::hardware(&hw),
            hw,
            state,
            since: Timestamp(1),
            updated: Timestamp(updated),
            until,
            port: None,
            uses: Default::default(),
            details: Default::default(),
        };
        let past = Past::of(&[
            lease(5, Timestamp(25), State::Leased),
            lease(7, Timestamp::NEVER, State::Leased),
            lease(9, Timestamp(999), State::Expired),
        ]);
        assert_eq!((past.last, past.longest), (Timestamp(9), Span::from_ms(20)));
    }

    #[test]
    fn an_empty_store_needs_no_trust() {
        assert!(Clock::start_at(&outside("b", 0, 5, false), None, past(0)).trusted);
    }

    #[test]
    fn a_damaged_fact_is_no_fact() {
        for bytes in [&b""[..], b"a", b"a 1", b"a 1 1 1", b"a x 1 1 1", b"\xff 1 1 1 1"] {
            assert!(Saved::read(bytes).is_none());
        }
    }

    #[test]
    fn the_clock_moves_on() {
        let clock = Clock::start(&BTreeMap::new(), &[]);
        let (first, second) = (clock.now(), clock.now());
        assert!(first <= second && second.since(first) < Span::from_secs(60));
    }
}
