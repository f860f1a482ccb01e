#![allow(clippy::unwrap_used)] // A panic is how a test fails.

use super::keep::Unreadable;
use super::*;

const HOUR: Span = Span::from_secs(3600);
const PACE: Pace = Pace { period: HOUR, lead: Span::from_secs(60) };
/// A Monday.
const START: Timestamp = Timestamp(1_800_230_400_000);

fn key(account: &str) -> Key {
    (NetworkId(1), (account.into(), Some("web".into())))
}

fn on(_: &Key) -> Option<Terms> {
    Some(Terms { mode: Mode::On, percent: 80, priority: 50 })
}

/// Lets hours pass in which `came` many come to each account; what was said of each.
fn play(own: &mut Foresight, from: u64, hours: u64, came: impl Fn(u64) -> u64) -> Vec<Said> {
    let mut said = Vec::new();
    for hour in from..from + hours {
        let at = |minute: u64| START + Span(hour * HOUR.0 + minute * 60_000);
        own.observe(at(0), &[]);
        own.observe(at(30), &[(key("shop"), came(hour))]);
        own.observe(at(59), &[]);
        said.extend(own.turn(at(59), on, || false).said);
    }
    said
}

fn nightly(hour: u64) -> u64 {
    if hour % 24 == 3 { 20 } else { 0 }
}

#[test]
fn what_comes_each_night_is_foreseen_and_beats_every_fixed_pool() {
    let mut own = Foresight::new(PACE);
    let said = play(&mut own, 0, 24 * 21, nightly);
    // What is said in the hour before is of the next one.
    let last: Vec<u32> = said[said.len() - 48..].iter().map(|said| said.quantiles[3].1).collect();
    let nights = last.iter().filter(|held| **held >= 18).count();
    assert_eq!(nights, 2, "{last:?}");
    assert!(last.iter().filter(|held| **held > 0).count() <= 6, "{last:?}");
    let total = own.scores().total;
    let (size, fixed) = own.scores().fixed_same_idle();
    assert!(total.hit_rate() > 2.0 * fixed.hit_rate(), "{total:?} {size} {fixed:?}");
    assert!(total.calibration() > 0.8, "{total:?}");
}

#[test]
fn a_restart_changes_nothing_but_what_nobody_saw() {
    let (mut stays, mut goes) = (Foresight::new(PACE), Foresight::new(PACE));
    play(&mut stays, 0, 24 * 10, nightly);
    play(&mut goes, 0, 24 * 10, nightly);
    let kept = goes.to_bytes();
    let mut back = Foresight::from_bytes(PACE, &kept).unwrap();
    assert_eq!(back.to_bytes(), kept);
    assert_eq!((back.scores(), back.len()), (stays.scores(), 1));
    let next = |own: &mut Foresight| play(own, 24 * 10, 30, nightly);
    let said = next(&mut back);
    assert_eq!(said.len(), next(&mut stays).len());
    assert!(said[26].quantiles[3].1 >= 15, "{:?}", said[26]);
}

#[test]
fn what_was_kept_is_read_whole_or_not_at_all() {
    let mut own = Foresight::new(PACE);
    play(&mut own, 0, 30, nightly);
    let kept = own.to_bytes();
    for cut in 0..kept.len() {
        assert_eq!(Foresight::from_bytes(PACE, &kept[..cut]).err(), Some(Unreadable::Damaged));
    }
    for at in (0..kept.len()).step_by(7) {
        let mut other = kept.clone();
        other[at] ^= 0x10;
        assert!(Foresight::from_bytes(PACE, &other).is_err(), "byte {at}");
    }
    let other = Pace { period: Span::from_secs(900), ..PACE };
    let refused = Foresight::from_bytes(other, &kept).err();
    assert_eq!(refused, Some(Unreadable::Period(HOUR, Span::from_secs(900))));
}

#[test]
fn who_is_out_of_time_serves_the_most_important_first() {
    let mut own = Foresight::new(PACE);
    let names = ["a", "b", "c", "d"];
    own.observe(START, &[]);
    let came: Vec<(Key, u64)> = names.iter().map(|name| (key(name), 1)).collect();
    own.observe(START + Span(1), &came);
    let terms = |of: &Key| {
        let priority = if &*of.1.0 == "c" { 90 } else { 10 };
        let mode = if &*of.1.0 == "d" { Mode::Off } else { Mode::ForecastOnly };
        Some(Terms { mode, percent: 80, priority })
    };
    let mut left = 1;
    let turn = own.turn(START + Span(1), terms, || {
        left -= 1;
        left < 0
    });
    let said: Vec<&str> = turn.said.iter().map(|said| &*said.key.1.0).collect();
    assert_eq!((said, turn.late, own.len()), (vec!["c"], 2, 3));
    // The others are served when there is time again, and nobody twice.
    let turn = own.turn(START + Span(2), terms, || false);
    assert_eq!((turn.said.len(), turn.late, own.scores().late), (2, 0, 2));
}

#[test]
fn a_clock_that_jumps_leaves_a_gap_and_one_that_goes_back_a_day_begins_anew() {
    let mut own = Foresight::new(PACE);
    play(&mut own, 0, 24 * 8, nightly);
    let judged = own.scores().total.periods;
    let ahead = START + Span(HOUR.0 * 24 * 9);
    own.observe(ahead, &[(key("shop"), 1000)]);
    assert_eq!(own.scores().total.periods, judged, "what nobody watched is not judged");
    assert_eq!(own.turn(ahead, on, || false).said.len(), 1);
    // A little back stands still, and what comes counts.
    own.observe(ahead - HOUR, &[(key("shop"), 2)]);
    assert_eq!(own.lines[&key("shop")].history.newest(), 2);
    own.observe(START, &[]);
    assert!(own.is_empty());
    // The ends of time are times.
    own.observe(Timestamp(u64::MAX / 2), &[]);
    own.observe(Timestamp(u64::MAX / 2), &[(key("shop"), u64::MAX)]);
    own.turn(Timestamp(u64::MAX / 2), on, || false);
}

#[test]
fn whoever_counts_may_begin_anew() {
    let mut totals = Totals::default();
    let mut since = |total| totals.since(&key("shop"), total);
    assert_eq!([since(3), since(3), since(7), since(2)], [3, 0, 4, 2]);
}
