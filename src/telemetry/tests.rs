//! All parts together, on one thread, beside a plain model.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::oneshot;

use crate::base::{Span, Timestamp};
use crate::config::policy::TelemetryPolicy;

use super::line::{Entry, Report};
use super::model::{HOUR, downsample};
use super::shared::tests::Dir;
use super::shared::{Job, Push, Shared, Taken};
use super::writer::Writer;
use super::{Bucket, Point, Resolution, SeriesKey, compact, open};

/// 2027-01-15 00:00 UTC.
const START: u64 = 1_799_971_200_000;

/// Telemetry without threads, and a clock that the test sets.
struct World {
    shared: Arc<Shared>,
    now: Arc<AtomicU64>,
}

impl World {
    fn open(dir: &Path, policy: TelemetryPolicy, now: u64) -> World {
        let clock = Arc::new(AtomicU64::new(now));
        let read = clock.clone();
        let now = Box::new(move || Timestamp(read.load(Ordering::Relaxed)));
        let shared = Arc::new(Shared::new(dir, Arc::new(policy), now));
        World { shared, now: clock }
    }

    fn writer(&self) -> Writer<'_> {
        let opened = open::open(&self.shared).unwrap();
        let mut writer = Writer::begin(&self.shared, opened.next_journal, channel().0);
        writer.pace = Duration::ZERO;
        writer
    }

    fn at(&self, now: u64) {
        self.now.store(now, Ordering::Relaxed);
    }

    /// All that is to be done now.
    fn settle(&self, writer: &mut Writer<'_>) {
        for _ in 0..1000 {
            writer.tend();
            let more = compact::step(&self.shared).unwrap();
            if !more && !self.shared.state().freeze {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    fn read(&self, key: &SeriesKey, resolution: Resolution) -> Vec<Bucket> {
        let (mut from, mut out) = (Timestamp(0), Vec::new());
        loop {
            let range = (from, Timestamp::NEVER);
            let history = self.shared.history(key, resolution, range, 700).unwrap();
            out.extend(history.buckets);
            match history.next {
                Some(next) => from = next,
                None => return out,
            }
        }
    }
}

fn report(instance: &str, time: u64, values: &[(&str, f64)]) -> Entry {
    let values = values.iter().map(|(metric, value)| ((*metric).into(), *value)).collect();
    let about = Default::default();
    Entry::Report(Report { instance: instance.into(), time: Timestamp(time), values, about })
}

fn push(writer: &mut Writer<'_>, entries: Vec<Entry>) -> Taken {
    let (reply, mut answer) = oneshot::channel();
    let entries = (1..).zip(entries).collect();
    let job = Job::Push(Push { entries, ..Push::default() }, reply);
    writer.commit(&mut std::iter::once(job));
    answer.try_recv().unwrap().unwrap()
}

/// What history should be: every point that was taken, the last one of each time.
#[derive(Default)]
struct Model(BTreeMap<SeriesKey, BTreeMap<u64, f64>>);

impl Model {
    fn read(&self, key: &SeriesKey, resolution: Resolution) -> Vec<Bucket> {
        let points = self.0.get(key).into_iter().flatten();
        let points =
            points.map(|(time, value)| Bucket::of(Point { time: Timestamp(*time), value: *value }));
        match resolution {
            Resolution::Raw => points.collect(),
            _ => downsample(points, resolution.width()),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Values of one instance, so many milliseconds ago.
    Report { instance: u8, ago: u64, value: i16 },
    /// Time passes.
    Wait(u64),
    /// Segments are written and merged.
    Settle,
    /// The server is killed and starts again.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..3, 0u64..3_600_000, any::<i16>())
            .prop_map(|(instance, ago, value)| Step::Report { instance, ago, value }),
        3 => (1u64..7_200_000).prop_map(Step::Wait),
        2 => Just(Step::Settle),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn history_is_what_was_taken(steps in prop::collection::vec(step(), 1..160)) {
        let dir = Dir::new("model");
        // Long enough that nothing ends.
        let policy = TelemetryPolicy { raw: Span(1 << 40), five_minutes: Span(1 << 40), ..Default::default() };
        let mut now = START;
        let world = World::open(dir.path(), policy, now);
        let mut writer = world.writer();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Report { instance, ago, value } => {
                    let (name, value) = (format!("vm-{instance}"), f64::from(value));
                    let time = now - ago;
                    let taken = push(&mut writer, vec![report(&name, time, &[("cpu", value)])]);
                    if taken.values == 1 {
                        let key = SeriesKey::new(&name, "cpu");
                        model.0.entry(key).or_default().insert(time, value);
                    } else {
                        prop_assert!(taken.refused[0].why.contains("closed"), "{:?}", taken);
                    }
                }
                Step::Wait(span) => {
                    now += span;
                    world.at(now);
                }
                Step::Settle => world.settle(&mut writer),
                Step::Crash => {
                    drop(writer);
                    *world.shared.state() = Shared::new(dir.path(), world.shared.policy(), Box::new(|| Timestamp(0))).into_state();
                    writer = world.writer();
                }
            }
        }
        for _ in 0..2 {
            for key in (0..3).map(|i| SeriesKey::new(&format!("vm-{i}"), "cpu")) {
                for (_, resolution) in Resolution::NAMED {
                    prop_assert_eq!(world.read(&key, resolution), model.read(&key, resolution));
                }
            }
            world.settle(&mut writer);
        }
    }
}

#[test]
fn a_range_is_a_part_of_all() {
    let dir = Dir::new("range");
    let world = World::open(dir.path(), TelemetryPolicy::default(), START);
    let mut writer = world.writer();
    for minute in 0..60 * 8 {
        let time = START + minute * 60_000;
        world.at(time);
        push(&mut writer, vec![report("a", time, &[("cpu", minute as f64)])]);
        if minute % 47 == 0 {
            world.settle(&mut writer);
        }
    }
    let key = SeriesKey::new("a", "cpu");
    for (_, resolution) in Resolution::NAMED {
        let all = world.read(&key, resolution);
        let (from, to) = (Timestamp(START + 5_000_000), Timestamp(START + 20_000_000));
        let part = world.shared.history(&key, resolution, (from, to), 10_000).unwrap().buckets;
        let first = super::model::floor(from, resolution.width());
        let want: Vec<Bucket> =
            all.into_iter().filter(|b| (first..to).contains(&b.start)).collect();
        assert_eq!(part, want, "{resolution:?}");
        assert!(part.len() > 3);
    }
}

#[test]
fn days_are_merged_and_what_is_old_goes() {
    let dir = Dir::new("retention");
    let policy =
        TelemetryPolicy { five_minutes: Span::from_secs(2 * 86_400), ..Default::default() };
    let world = World::open(dir.path(), policy, START);
    let mut writer = world.writer();
    for tick in 0..5 * 24 * 4 {
        let time = START + tick * 900_000;
        world.at(time);
        push(&mut writer, vec![report("a", time, &[("cpu", tick as f64)])]);
        world.settle(&mut writer);
    }
    let key = SeriesKey::new("a", "cpu");
    let now = world.now.load(Ordering::Relaxed);
    let oldest = |resolution| {
        let first = world.read(&key, resolution).first().unwrap().start;
        Span(now - first.0).0 / HOUR.0
    };
    // An hour or a day goes when all of it is too old.
    assert!((6..=7).contains(&oldest(Resolution::Raw)), "{}", oldest(Resolution::Raw));
    let fine = oldest(Resolution::FiveMinutes);
    assert!((48..=72).contains(&fine), "{fine}");
    assert_eq!(world.read(&key, Resolution::Hour).len(), 5 * 24);
    let files = world.shared.state().files.clone();
    let hours = files.all().filter(|id| id.length == HOUR).count();
    assert!(hours < 40, "{hours} segments of an hour");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), files.all().count() + 2);
}

#[test]
fn the_size_is_bounded() {
    let dir = Dir::new("size");
    let size_bytes = 3 << 20;
    let policy = TelemetryPolicy { size_bytes, ..Default::default() };
    let world = World::open(dir.path(), policy, START);
    let mut writer = world.writer();
    for tick in 0..24 * 12u64 {
        let time = START + tick * 300_000;
        world.at(time);
        let noise = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64 / 3.0;
        let names: Vec<String> = (0..200).map(|i| format!("vm-{i}")).collect();
        let of = |(i, name): (usize, &String)| {
            report(name, time, &[("cpu", noise(tick << 20 | i as u64))])
        };
        push(&mut writer, names.iter().enumerate().map(of).collect());
        world.settle(&mut writer);
        let state = world.shared.state();
        assert!(state.files.bytes() + state.journal_bytes <= size_bytes, "at {tick}");
    }
    let key = SeriesKey::new("vm-7", "cpu");
    assert!(!world.read(&key, Resolution::Raw).is_empty());
}

#[test]
fn damage_is_set_aside() {
    let dir = Dir::new("damage");
    let key = SeriesKey::new("a", "cpu");
    let points: Vec<Entry> =
        (0..100).map(|i| report("a", START - i * 1000, &[("cpu", i as f64)])).collect();
    {
        let world = World::open(dir.path(), TelemetryPolicy::default(), START);
        let mut writer = world.writer();
        push(&mut writer, points.clone());
        world.shared.state().freeze = true;
        world.settle(&mut writer);
        assert_eq!(world.read(&key, Resolution::Raw).len(), 100);
    }
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 0xff;
        // A journal without frames has nothing to be damaged.
        if !path.to_string_lossy().contains("journal") {
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let world = World::open(dir.path(), TelemetryPolicy::default(), START);
    let mut writer = world.writer();
    assert!(world.read(&key, Resolution::Raw).is_empty());
    assert_eq!(push(&mut writer, points).values, 100);
    assert_eq!(world.read(&key, Resolution::Raw).len(), 100);
    world.settle(&mut writer);
    let kept = std::fs::read_dir(dir.path().join("damaged")).unwrap().count();
    assert!(kept >= 2, "the snapshot and a segment: {kept}");
    assert_eq!(world.shared.state().damaged.len(), kept);
}
