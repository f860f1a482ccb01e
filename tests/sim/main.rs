//! Deterministic simulation of the whole server: see `README.md` beside this file.
//!
//! `SIM_SEED` plays one seed, `SIM_STEPS` says how many steps; see `make sim`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.
#![allow(clippy::print_stdout, clippy::print_stderr)] // What was met, and how to replay it.

mod affinity;
mod client4;
mod client6;
mod cloud;
mod disk;
mod foreseen;
mod foresight;
mod guests;
mod orchestrator;
mod policies;
mod random;
mod relays;
mod server;
mod tally;
mod tiers;
mod time;
mod troubles;
mod watched;
mod wires;
mod witness;
mod witness6;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use tally::Tally;
use world::World;

/// Steps in a normal run of the tests, over all seeds.
const STEPS: u64 = 1_000_000;
/// Seeds in a normal run.
const SEEDS: u64 = 8;

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

/// A fault was found: the other worlds need not go on.
static FOUND: AtomicBool = AtomicBool::new(false);

/// Plays one world; whoever reads of a fault in it learns how to see it again.
fn play(seed: u64, steps: u64) -> (Tally, u64) {
    let policies = policies::policies(seed);
    let mut world = World::new(seed, &policies);
    for step in 0..steps {
        if FOUND.load(Ordering::Relaxed) {
            break;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| world.step()));
        if let Err(fault) = outcome {
            FOUND.store(true, Ordering::Relaxed);
            eprintln!(
                "seed {seed}, step {step}: replay with: make sim SEED={seed} STEPS={}",
                step + 1
            );
            resume_unwind(fault);
        }
    }
    (world.tally, world.digest)
}

#[test]
fn the_invariants_hold_at_every_step() {
    let first = number("SIM_SEED", 1);
    let seeds = number("SIM_SEEDS", if std::env::var("SIM_SEED").is_ok() { 1 } else { SEEDS });
    let steps = number("SIM_STEPS", STEPS / SEEDS);
    let began = std::time::Instant::now();
    let mut all = Tally::default();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64).min(seeds);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|at| {
                let own = (first..first + seeds).skip(at as usize).step_by(threads as usize);
                scope.spawn(move || own.map(|seed| play(seed, steps).0).collect::<Vec<_>>())
            })
            .collect();
        workers.into_iter().flat_map(|w| w.join().unwrap_or_else(|e| resume_unwind(e))).collect()
    });
    tallies.iter().for_each(|tally| all.add(tally));
    let rate = (seeds * steps) as f64 / began.elapsed().as_secs_f64();
    println!(
        "seeds {first} to {}, {steps} steps each, {rate:.0} steps/s\n{all}",
        first + seeds - 1
    );
    if seeds * steps >= STEPS {
        let missing = all.missing(FAULTS, pairs());
        assert!(missing.is_empty(), "never happened: {missing:?}");
    }
}

/// What must have happened in a normal run: faults, and what was judged.
const FAULTS: &[&str] = &[
    "MACs named later",
    "accounts made at run time",
    "addresses lifted by hand",
    "addresses put out of use by hand",
    "clients refused by a cap",
    "clients refused for want of an address",
    "ghosts that answer for what they had",
    "instances that found nothing held",
    "instances that found what was held for them",
    "machines that nobody registered",
    "power cuts while something was held",
    "predictions",
    "promises of what was held",
    "shadows extended by hand",
    "shadows given back by hand",
    "shadows made by hand",
    "shadows made by plans",
    "shadows put out of use by hand",
    "shadows that gave way",
    "shadows that nobody claimed in their time",
    "instances refused by a cap",
    "instances refused by their tiers",
    "instances refused for want of an address",
    "instances that were ended",
    "promised addresses that were given at boot",
    "reservations at run time",
    "writes of the orchestrator that were taken back",
    "DHCPv4 packets routed around a relay",
    "DHCPv4 packets through a relay",
    "DHCPv6 messages through a relay",
    "batches committed as a group",
    "calms, in which all that is free was found free",
    "commits failed",
    "offers of the address that it had",
    "power cuts tried beside the run",
    "DHCPv6 packet hostile",
    "EIO in create",
    "EIO in remove",
    "EIO in rename",
    "EIO in sync",
    "EIO in sync of a directory",
    "EIO in the checkpoint",
    "EIO in write",
    "clock jumps back",
    "clock jumps forward",
    "disk full",
    "disk read-only",
    "flood",
    "packet duplicated",
    "packet forged",
    "packet hostile",
    "packet late, others overtake it",
    "packet lost",
    "packet while the bridge is away",
    "power cut",
    "power cut in the middle of an operation of the store",
    "reload",
    "sync slow",
    "the bridge goes away",
    "write torn",
];

/// Messages that name an address, and the states in which the server must have met each.
const MESSAGES: &[&str] = &[
    "DISCOVER",
    "SELECT",
    "REBOOT",
    "RENEW4",
    "DECLINE4",
    "RELEASE4",
    "INFORM",
    "SOLICIT",
    "REQUEST",
    "CONFIRM",
    "RENEW",
    "REBIND",
    "RELEASE",
    "DECLINE",
    "INFORMATION",
];
const STATES: &[&str] =
    &["free", "offered", "leased", "another's", "expired", "released", "quarantined"];

/// Pairs that must have been met, those included that only who repeats itself brings about.
fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = STATES.iter().flat_map(|state| MESSAGES.iter().map(move |m| (*state, *m)));
    // Who asks for parameters only has no offer, and names nothing of its own by DHCPv6.
    let waits = ["DISCOVER", "SELECT", "RENEW4", "SOLICIT", "REQUEST", "RENEW"];
    all.filter(|pair| ![("leased", "INFORMATION"), ("offered", "INFORM")].contains(pair))
        .chain(waits.map(|message| ("pending", message)))
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let (one, two) = (play(77, 20_000), play(77, 20_000));
    assert_eq!(one.1, two.1);
    assert_eq!(one.0.to_string(), two.0.to_string());
}
