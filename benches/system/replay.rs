//! How long `foreshadow backtest` takes for a month of a million events: reading them and playing them
//! through the engine, in one thread.

use std::fmt::Write;
use std::time::Instant;

use foreshadow::backtest::log;
use foreshadow::backtest::report;
use foreshadow::backtest::world::Way;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::figures::{Figures, What};
use crate::peer::Peer;

pub(crate) const REPLAYED: [&str; 2] = ["backtest, ready = 2", "backtest, told the truth"];

const EVENTS: usize = 1_000_000;
const DAYS: u64 = 30;
/// When the month begins: 1 March 2026.
const BEGINNING: i64 = 1_772_323_200;
const ACCOUNTS: u64 = 50;
const NETWORKS: u64 = 8;

/// Adds one repetition.
pub(crate) fn replay(figures: &mut Figures) {
    let text = month();
    let ready = Way { ready: 2, plans: true, topup_s: 30, ..Way::default() };
    let truth = Way { perfect_s: 900, topup_s: 30, ..Way::default() };
    for (case, way) in REPLAYED.into_iter().zip([ready, truth]) {
        let began = Instant::now();
        let events = log::read(text.as_bytes()).expect("a log");
        let report = report::run(&events, way, |_| {}).expect("a report");
        figures.add(case, Peer::Foreshadow, What::Seconds, began.elapsed().as_secs_f64());
        assert_eq!((report.events, report.refused), (EVENTS as u64, 0), "{report:?}");
    }
}

/// The same month each time: instances of accounts that are busier by day, in waves, and live for
/// minutes to half a day.
pub(crate) fn month() -> String {
    let mut state = 1_u64;
    let mut below = move |n: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut events: Vec<(u64, bool, u64)> = Vec::with_capacity(EVENTS);
    for number in 0..EVENTS as u64 / 2 {
        // Two draws of the hour: the middle of the day is busiest. A wave takes a minute or two.
        let hour = (below(24) + below(24)) / 2;
        let wave = below(60) / 5 * 300;
        let at = below(DAYS - 1) * 86_400 + hour * 3600 + wave + below(90);
        let lives = 300 + below(600) * below(72);
        events.push((at, true, number));
        events.push((at + lives, false, number));
    }
    events.sort_unstable();
    let mut text = "time,event,account,application,instance,network\n".to_owned();
    let beginning = OffsetDateTime::from_unix_timestamp(BEGINNING).expect("a time");
    for (at, is_create, number) in events {
        let time = (beginning + Duration::seconds(at as i64)).format(&Rfc3339).expect("a text");
        let what = if is_create { "create" } else { "delete" };
        let account = number * number % ACCOUNTS;
        let (application, network) = (number % 3, account % NETWORKS);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{time},{what},acct-{account},acct-{account}-app-{application},i-{number},net-{network}"
        );
    }
    text
}
