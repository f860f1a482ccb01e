//! A month with the forecaster beside the engine, on a virtual clock: forecasts alone, forecasts that
//! hold shadows, and a forecaster that is killed on the way.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

use std::collections::BTreeMap;

use foreshadow::backtest::log::{Event, What};
use foreshadow::backtest::world::{Way, World};
use foreshadow::base::{Span, Timestamp};
use foreshadow::engine::shadows::{Prediction, Tally};
use foreshadow::foresight::{Foresight, Mode, Pace, Said, Terms, Totals};
use foreshadow::lease::Foreseer;

/// A Monday.
const START: Timestamp = Timestamp(1_800_230_400_000);
const HOUR: u64 = 3_600_000;
const MONTH_DAYS: u64 = 30;
const PACE: Pace = Pace { period: Span(HOUR), lead: Span::from_secs(60) };
/// What is always ready, whatever is foreseen.
const READY: u32 = 1;

/// A shop that opens on weekdays, a batch each night, and a bank whose instances come by chance, each
/// time all within 40 seconds:
/// sooner than a pool is filled again. Each instance lives for half an hour.
fn month(seed: u64) -> Vec<Event> {
    let mut state = seed;
    let mut draw = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut events = Vec::new();
    for hour in 0..MONTH_DAYS * 24 {
        let (day, of_day) = (hour / 24, hour % 24);
        let opens = day % 7 < 5 && (9..17).contains(&of_day);
        let counts = [
            ("shop", if opens { 4 + draw(3) } else { 0 }),
            ("batch", if of_day == 3 { 20 } else { 0 }),
            ("bank", u64::from(draw(12) == 0)),
        ];
        for (account, count) in counts {
            for number in 0..count {
                let at = Timestamp(START.0 + hour * HOUR + 60_000 + draw(40_000));
                let id: Box<str> = format!("{account}-{hour}-{number}").into();
                let event = |at, what| Event {
                    at,
                    what,
                    account: account.into(),
                    application: "web".into(),
                    network: "lan".into(),
                };
                events.push(event(at, What::Create(id.clone())));
                events.push(event(at + Span(HOUR / 2), What::Delete(id)));
            }
        }
    }
    events.sort_by_key(|event| event.at);
    events
}

/// The world and its forecaster, if it lives.
struct Play {
    world: World,
    own: Option<Foresight>,
    totals: Totals,
    mode: Mode,
    said: u64,
}

impl Play {
    fn new(events: &[Event], mode: Mode) -> Play {
        let way = Way { ready: READY, topup_s: 30, ..Way::default() };
        let world = World::new(events, way).unwrap();
        let own = Some(Foresight::new(PACE));
        Play { world, own, totals: Totals::default(), mode, said: 0 }
    }

    /// What the thread of a server does each time.
    fn look(&mut self) {
        let Some(own) = &mut self.own else { return };
        let totals = &mut self.totals;
        let all = self.world.engine().tallies().creates(None, usize::MAX);
        let came: Vec<_> = all.map(|(key, n)| (key.clone(), totals.since(key, n))).collect();
        let came: Vec<_> = came.into_iter().filter(|(_, count)| *count > 0).collect();
        let now = self.world.now();
        own.observe(now, &came);
        let mode = self.mode;
        let terms = |_: &_| Some(Terms { mode, percent: 80, priority: 50 });
        for said in own.turn(now, terms, || false).said {
            if said.mode == Mode::On {
                self.said += 1;
                let (network, owner) = said.key.clone();
                self.world.say(network, &owner, prediction(&said, now, self.said));
            }
        }
    }

    /// Plays events until `end`, with a look each five minutes.
    fn until(&mut self, events: &mut impl Iterator<Item = Event>, end: Timestamp) {
        let mut events = events.by_ref().peekable();
        let mut next = self.world.now();
        while next < end {
            next = next + Span::from_secs(60 - next.secs() % 60);
            while let Some(event) = events.next_if(|event| event.at <= next) {
                self.world.play(&event);
            }
            // Before each hour begins, and in its middle.
            if matches!(next.secs() % 3600 / 60, 0 | 30 | 59) {
                self.world.go_to(next);
                self.look();
            }
        }
        assert!(events.peek().is_none(), "the rest is lost");
    }

    fn tally(&self) -> Tally {
        self.world.engine().tallies().total()
    }
}

fn prediction(said: &Said, now: Timestamp, number: u64) -> Prediction {
    Prediction {
        id: format!("f-{number}").into(),
        by: Foreseer::Prediction,
        made: now,
        until: said.until,
        count: said.count,
        quantiles: said.quantiles.clone(),
        instance_type: None,
        region: None,
        requirements: None,
    }
}

/// Plays a month; the forecaster is killed on this day.
fn played(events: &[Event], mode: Mode, killed: Option<u64>) -> (Play, BTreeMap<u64, Tally>) {
    let mut play = Play::new(events, mode);
    let mut by_day = BTreeMap::new();
    let mut from = 0;
    for day in 0..MONTH_DAYS {
        if killed == Some(day) {
            play.own = None;
        }
        let end = Timestamp(START.0 + (day + 1) * 24 * HOUR);
        let to = events.partition_point(|event| event.at <= end);
        play.until(&mut events[from..to].iter().cloned(), end);
        from = to;
        by_day.insert(day, play.tally());
    }
    (play, by_day)
}

#[test]
fn a_month_of_forecasts_that_hold_shadows_and_of_such_that_only_keep_score() {
    let events = month(7);
    let (off, _) = played(&events, Mode::Off, None);
    let (only, _) = played(&events, Mode::ForecastOnly, None);
    let (on, _) = played(&events, Mode::On, None);
    let all = events.iter().filter(|event| matches!(event.what, What::Create(_))).count() as u64;
    for play in [&off, &only, &on] {
        assert_eq!((play.tally().creates, play.world.refused), (all, 0));
    }
    // To say what would be done does nothing.
    assert_eq!((only.tally(), only.world.idle_ms), (off.tally(), off.world.idle_ms));
    assert!(off.own.as_ref().unwrap().is_empty());
    let own = on.own.as_ref().unwrap();
    let would = only.own.as_ref().unwrap().scores();
    assert_eq!(own.scores(), would, "the same is said whether it is done or not");
    // What is done is about what was said to be done: the fixed floor only adds to it.
    let share = |tally: Tally| tally.hits as f64 / tally.creates as f64;
    let total = would.total;
    let fixed = would.fixed_same_idle();
    let told = format!("off {:?}, on {:?}, said {total:?}, {fixed:?}", off.tally(), on.tally());
    let fixed = fixed.1.hit_rate();
    assert!(share(on.tally()) > share(off.tally()) + 0.3, "{told}");
    assert!(share(on.tally()) >= total.hit_rate() - 0.02, "{told}");
    assert!(total.hit_rate() > fixed + 0.2, "{told}");
    assert!((0.75..=1.0).contains(&total.calibration()), "{told}");
}

#[test]
fn who_kills_the_forecaster_loses_what_it_foresaw_and_nothing_else() {
    let events = month(11);
    let (off, plain) = played(&events, Mode::Off, None);
    let (killed, with) = played(&events, Mode::On, Some(20));
    let all = off.tally().creates;
    assert_eq!((killed.tally().creates, killed.world.refused), (all, 0));
    // From a day after its death on there is what the policy keeps ready, as if there had never
    // been a forecaster.
    let rest = |days: &BTreeMap<u64, Tally>| days[&(MONTH_DAYS - 1)].minus(&days[&21]);
    let (rest_with, rest_plain) = (rest(&with), rest(&plain));
    assert_eq!(rest_with.creates, rest_plain.creates);
    assert_eq!(rest_with.hits, rest_plain.hits);
    assert!(with[&19].hits > plain[&19].hits, "before it was of use");
}

#[test]
fn what_was_foreseen_by_one_who_is_dead_is_not_held_for_good() {
    // The batch of the night of his death does not come, nor any after it.
    let night = 20 * 24 * HOUR;
    let mut events = month(13);
    events.retain(|event| &*event.account != "batch" || event.at.0 < START.0 + night);
    let mut play = Play::new(&events, Mode::On);
    let death = Timestamp(START.0 + night + 2 * HOUR + 59 * 60_000);
    let end = Timestamp(START.0 + night + 24 * HOUR);
    let dies = events.partition_point(|event| event.at <= death);
    let ends = events.partition_point(|event| event.at <= end);
    play.until(&mut events[..dies].iter().cloned(), death);
    play.world.go_to(death + Span::from_secs(5));
    let held = |play: &Play| play.world.engine().leases().shadows().len();
    assert!(held(&play) >= 15, "{} for the batch", held(&play));
    play.own = None;
    play.until(&mut events[dies..ends].iter().cloned(), end);
    assert_eq!(held(&play), 3 * READY as usize, "what is always ready for each of three");
}
