//! The long run: clients of both protocols come, renew and go, while memory, the store and
//! descriptors are watched. SOAK_MINUTES and SOAK_RATE say how long and how much.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::load::{Deed, Load, Pace, Turn};
use crate::meter;
use crate::peer::{Peer, Running};
use crate::speech::Way;
use crate::stage::Stage;

/// How many clients of each way are there at a time.
const PRESENT: usize = 5_000;
/// How often a client renews before it goes.
const RENEWALS: u8 = 3;
/// Clients that come back: after so many new ones the first is new again.
const CLIENTS: u32 = 20_000;
const WAYS: [Way; 3] = [Way::Direct, Way::Address6, Way::Prefix6];
/// Memory may grow by this in the second half, as a share of what it is, or by these bytes: what
/// one long stall of the disk has waiting in memory is used again, and not given back.
const GROWTH_MAX: f64 = 0.05;
const GROWTH_FREE: f64 = 8.0 * MIB;
/// The store may have so many times the size that it had when the first minute was over.
const STORE_MAX: f64 = 4.0;
/// Rewriting lets the store breathe between these.
const STORE_FREE: f64 = (256u64 << 20) as f64;

/// What was seen at the end of a minute.
struct Sample {
    minutes: f64,
    resident: f64,
    store: f64,
    descriptors: usize,
}

/// Plays it, tells of every minute, and ends with a panic if something is not as it should be.
pub(crate) fn soak() {
    let number = |name: &str, default: f64| {
        std::env::var(name).map_or(default, |text| text.parse().expect(name))
    };
    let (minutes, rate) = (number("SOAK_MINUTES", 60.0), number("SOAK_RATE", 2_000.0));
    let stage = Stage::new("soak", 16);
    let mut load = Load::on(&stage);
    let server = Running::start(&stage, &mut load, Peer::Foreshadow, Way::Direct);
    let mut churn = Churn::new();
    let (begun, mut samples) = (Instant::now(), Vec::new());
    let (mut done, mut lost, mut refused) = (0, 0, 0);
    while begun.elapsed().as_secs_f64() < minutes * 60.0 {
        let end = Instant::now() + Duration::from_secs(60);
        let mut turns = std::iter::from_fn(|| (Instant::now() < end).then(|| churn.next()));
        let outcome = load.run(&mut turns, Pace::Rate(rate));
        (done, lost) = (done + outcome.done, lost + outcome.lost);
        refused += outcome.refused;
        let sample = Sample {
            minutes: begun.elapsed().as_secs_f64() / 60.0,
            resident: meter::resident(server.pid()),
            store: meter::on_disk(&server.dir().join("state")),
            descriptors: meter::descriptors(server.pid()),
        };
        println!(
            "{:5.1} min: {:.0}/s, {} lost, {} refused; {:.1} MiB resident, store {:.1} MiB, \
             {} descriptors; ack p99 {:.0} us",
            sample.minutes,
            outcome.rate(),
            outcome.lost,
            outcome.refused,
            sample.resident / MIB,
            sample.store / MIB,
            sample.descriptors,
            outcome.ack.percentile(99.0)
        );
        samples.push(sample);
    }
    let log = server.log();
    server.remove();
    let mut faults = judge(&samples);
    if lost + refused > 0 {
        faults.push(format!("of {done} exchanges {lost} were lost and {refused} refused"));
    }
    faults.extend(log.lines().map(|line| format!("log: {line}")).take(20));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    println!("{done} exchanges; memory, store and descriptors as they should be");
}

const MIB: f64 = (1u64 << 20) as f64;

/// What is wrong with the course of it.
fn judge(samples: &[Sample]) -> Vec<String> {
    let mut faults = Vec::new();
    let late = &samples[samples.len() / 2..];
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return faults };
    let growth = slope(late) * late.first().map_or(0.0, |first| last.minutes - first.minutes);
    println!("memory in the second half: {:+.2} MiB, by the line that fits best", growth / MIB);
    if growth > (last.resident * GROWTH_MAX).max(GROWTH_FREE) {
        faults.push(format!("memory grew by {:.1} MiB in the second half", growth / MIB));
    }
    let largest = samples.iter().map(|sample| sample.store).fold(0.0, f64::max);
    let bound = (first.store * STORE_MAX).max(STORE_FREE);
    if largest > bound {
        faults.push(format!("the store grew to {:.0} MiB, over {:.0}", largest / MIB, bound / MIB));
    }
    if last.descriptors > first.descriptors + 8 {
        faults.push(format!("{} descriptors, {} before", last.descriptors, first.descriptors));
    }
    faults
}

/// Bytes a minute that memory grows by: the line that fits best.
fn slope(samples: &[Sample]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (time, memory) = (mean(|s| s.minutes), mean(|s| s.resident));
    let covariance: f64 = samples.iter().map(|s| (s.minutes - time) * (s.resident - memory)).sum();
    let variance: f64 = samples.iter().map(|s| (s.minutes - time).powi(2)).sum();
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

/// Who does what next: each client binds, renews a few times, gives its lease back, and comes again
/// when all others were there.
struct Churn {
    present: VecDeque<(Turn, u8)>,
    next: u32,
}

impl Churn {
    fn new() -> Churn {
        Churn { present: VecDeque::new(), next: 0 }
    }

    fn next(&mut self) -> Turn {
        if self.present.len() < PRESENT * WAYS.len() {
            return self.arrive();
        }
        let Some((mut turn, renewed)) = self.present.pop_front() else { return self.arrive() };
        if renewed == RENEWALS {
            turn.deed = Deed::Release;
        } else {
            turn.deed = Deed::Renew;
            self.present.push_back((turn, renewed + 1));
        }
        turn
    }

    fn arrive(&mut self) -> Turn {
        let client = self.next;
        self.next = (self.next + 1) % (CLIENTS * WAYS.len() as u32);
        let way = WAYS[client as usize % WAYS.len()];
        let turn = Turn { client, way, deed: Deed::Bind };
        self.present.push_back((turn, 0));
        turn
    }
}
