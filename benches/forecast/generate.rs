//! Series and a fleet that are made here, from a seed: what can be judged without any data.

use foreshadow::base::{Span, Timestamp};
use foreshadow::forecast::plan::Plan;

use crate::data::{Log, Series};

const DAY_S: usize = 86_400;
/// Monday, 2026-01-05.
const BEGIN_S: u64 = 1_767_571_200;
const FLEET: usize = 28;
const FLEET_DAYS: usize = 28;

/// Numbers that look random, the same for the same seed (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From 0 to 1, evenly.
    fn even(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.even()
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.even() * bound as f64) as usize
    }

    fn is(&mut self, chance: f64) -> bool {
        self.even() < chance
    }

    /// Of mean 0 and deviation 1: a sum of twelve is normal enough.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.even()).sum::<f64>() - 6.0
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.even()).ln()
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (mut count, mut left) = (0.0, mean);
        loop {
            left -= self.exponential(1.0);
            if left < 0.0 {
                return count;
            }
            count += 1.0;
        }
    }
}

/// What a kind of series is like at one of its points.
type Kind = fn(&mut State, &mut Dice, f64, f64) -> f64;

/// What a series carries from point to point, and its own character.
struct State {
    level: f64,
    drift: f64,
    height: f64,
    phase: f64,
    noise: f64,
}

/// Series of five minutes and of an hour, each kind with several seeds.
pub(crate) fn series(seed: u64) -> Vec<Series> {
    let kinds: [Kind; 5] = [load, live, arrivals, walk, weekly];
    let mut all = Vec::new();
    for (number, kind) in kinds.into_iter().enumerate() {
        for turn in 0..6 {
            let step_s = if turn < 4 { 300 } else { 3_600 };
            let mut dice = Dice::new(seed * 1_000 + (number * 10 + turn) as u64);
            all.push(one(kind, step_s, &mut dice));
        }
    }
    all
}

fn one(kind: Kind, step_s: usize, dice: &mut Dice) -> Series {
    let day = DAY_S / step_s;
    let points = if step_s < 3_600 { 20 * day } else { 50 * day };
    let mut state = State {
        level: 0.0,
        drift: 0.0,
        height: dice.between(5.0, 60.0),
        phase: dice.even(),
        noise: dice.between(0.03, 0.2),
    };
    let values = (0..points).map(|t| {
        let at = t as f64 / day as f64;
        if dice.is(0.002) { f64::NAN } else { kind(&mut state, dice, at, 1.0 / day as f64) }
    });
    let values = values.collect();
    Series { core: true, step_s, seasons: vec![day, 7 * day], values, windows: None }
}

/// A day's wave: 0 at night, 1 in its middle.
fn wave(at: f64, phase: f64) -> f64 {
    (0.5 + 0.5 * ((at + phase) * std::f64::consts::TAU).sin()).powf(1.5)
}

/// A load in percent, restless by day, with peaks.
fn load(state: &mut State, dice: &mut Dice, at: f64, _: f64) -> f64 {
    let usual = wave(at, state.phase);
    state.drift = 0.9 * state.drift + state.noise * (0.3 + usual) * dice.normal();
    let peak = if dice.is(0.01) { dice.exponential(0.5) } else { 0.0 };
    (5.0 + state.height * (usual + 0.5 * state.drift + peak)).clamp(0.0, 100.0)
}

/// How many instances live: they come in a day's rhythm and stay some hours.
fn live(state: &mut State, dice: &mut Dice, at: f64, step: f64) -> f64 {
    let born = dice.poisson(state.height * 8.0 * step * (0.2 + wave(at, state.phase)));
    let died = dice.poisson(state.level * 8.0 * step).min(state.level);
    let deployed = if dice.is(0.3 * step) { (state.height * dice.even()).round() } else { 0.0 };
    state.level += born - died + deployed;
    state.level
}

/// How many instances are started, with batches.
fn arrivals(state: &mut State, dice: &mut Dice, at: f64, step: f64) -> f64 {
    let is_weekend = at as usize % 7 >= 5;
    let rate = state.height * 30.0 * step * (0.1 + wave(at, state.phase));
    let batch = if dice.is(2.0 * step) { dice.poisson(state.height) } else { 0.0 };
    dice.poisson(rate * if is_weekend { 0.4 } else { 1.0 }) + batch
}

/// A level that steps, and otherwise wanders.
fn walk(state: &mut State, dice: &mut Dice, _: f64, step: f64) -> f64 {
    if dice.is(0.5 * step) {
        state.level += 0.4 * dice.normal();
    }
    state.level += 0.02 * state.noise * dice.normal();
    state.height * (2.0 + state.level + state.noise * 0.3 * dice.normal())
}

/// Demand of a week's rhythm that grows.
fn weekly(state: &mut State, dice: &mut Dice, at: f64, _: f64) -> f64 {
    let week = [1.0, 1.05, 1.1, 1.05, 1.0, 0.6, 0.5][at as usize % 7];
    state.drift = 0.97 * state.drift + 0.2 * state.noise * dice.normal();
    let usual = week * (0.3 + wave(at, state.phase)) * (1.0 + at / 100.0);
    state.height * 10.0 * (usual * (1.0 + state.drift) + 0.1 * state.noise * dice.normal()).max(0.0)
}

/// Series with anomalies that are known: spikes, steps, waves that stop, unrest.
pub(crate) fn suspects(seed: u64) -> Vec<Series> {
    let kinds: [Kind; 5] = [load, live, arrivals, walk, weekly];
    let mut all = Vec::new();
    for number in 0..30 {
        let mut dice = Dice::new(seed * 7_000 + number as u64);
        let mut one = one(kinds[number % kinds.len()], 300, &mut dice);
        one.values.truncate(4_032);
        let mut windows = Vec::new();
        for part in 1 + dice.below(2)..3 {
            let at = 1_000 + part * 900 + dice.below(400);
            disturb(&mut one.values, at, dice.below(4), &mut dice);
            windows.push((at - 60, at + 140));
        }
        one.windows = Some(windows);
        all.push(one);
    }
    all
}

fn disturb(values: &mut [f64], at: usize, how: usize, dice: &mut Dice) {
    let known = values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = known.fold((f64::INFINITY, 0.0f64), |r, v| (r.0.min(v), r.1.max(v)));
    let (width, before) = (high - low, values[at - 1]);
    for (steps, value) in values[at..].iter_mut().enumerate() {
        match how {
            0 if steps < 3 => *value += 1.2 * width,
            1 if steps < 300 => *value += 0.8 * width,
            2 if steps < 200 && before.is_finite() => *value = before,
            3 if steps < 100 => *value += 0.5 * width * dice.normal(),
            _ => {}
        }
    }
}

/// What the accounts of a fleet do in four weeks.
pub(crate) fn fleet(seed: u64) -> Log {
    let mut log = Log { span: (BEGIN_S as f64, BEGIN_S as f64), ..Log::default() };
    log.span.1 += (FLEET_DAYS * DAY_S) as f64;
    for number in 0..FLEET {
        let mut dice = Dice::new(seed * 50_000 + number as u64);
        let account = log.accounts.entry(format!("account-{number:02}")).or_default();
        let size = dice.between(2.0, 12.0);
        let hour = dice.below(24);
        for day in 0..FLEET_DAYS {
            let begin = BEGIN_S as f64 + (day * DAY_S) as f64;
            let creates = &mut account.creates;
            match number % 4 {
                0 => office(creates, &mut dice, begin, day % 7 >= 5, size),
                1 => batch(creates, &mut dice, begin + hour as f64 * 3_600.0, size),
                2 => bursts(creates, &mut dice, begin, size),
                _ => {
                    office(creates, &mut dice, begin, day % 7 >= 5, size / 4.0);
                    if dice.is(0.3) {
                        let at = begin + dice.between(8.0, 18.0) * 3_600.0;
                        let plan = campaign(creates, &mut dice, at.round(), 3.0 * size);
                        account.plans.push(plan);
                    }
                }
            }
        }
        account.creates.sort_by(f64::total_cmp);
    }
    log
}

/// People who start instances while they work.
fn office(creates: &mut Vec<f64>, dice: &mut Dice, begin: f64, is_weekend: bool, size: f64) {
    let many = dice.poisson(size * if is_weekend { 0.4 } else { 2.0 });
    for _ in 0..many as usize {
        creates.push(begin + (13.0 + 2.5 * dice.normal()).clamp(0.0, 23.9) * 3_600.0);
    }
}

/// A job that starts at about the same time.
fn batch(creates: &mut Vec<f64>, dice: &mut Dice, at: f64, size: f64) {
    let at = at + 120.0 * dice.normal().abs();
    let mut now = at;
    for _ in 0..(size * dice.between(0.8, 1.2)).round() as usize {
        now += dice.exponential(15.0);
        creates.push(now);
    }
}

/// Scaling out, at any time, a few at once.
fn bursts(creates: &mut Vec<f64>, dice: &mut Dice, begin: f64, size: f64) {
    for _ in 0..dice.poisson(1.5) as usize {
        let mut now = begin + dice.even() * DAY_S as f64;
        for _ in 0..dice.poisson(size) as usize {
            now += dice.exponential(60.0);
            creates.push(now);
        }
    }
}

/// What was announced a day before, and mostly comes.
fn campaign(creates: &mut Vec<f64>, dice: &mut Dice, at: f64, size: f64) -> Plan {
    let count = size.round().max(1.0);
    let turnout = if dice.is(0.1) { 0.0 } else { dice.between(0.8, 1.15) };
    let mut now = at + 60.0 * dice.normal();
    for _ in 0..(count * turnout).round() as usize {
        now += dice.exponential(5.0);
        creates.push(now);
    }
    Plan {
        announced: Timestamp::from_secs(at as u64 - DAY_S as u64),
        at: Timestamp::from_secs(at as u64),
        count: count as u64,
        duration: Span::from_secs(3_600),
    }
}
