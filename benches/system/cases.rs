//! What is measured. Repetitions are interleaved over the servers, each with an empty store: a slow
//! spell of the machine hits them all.

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::figures::{Figures, What};
use crate::load::{Load, Outcome, Pace};
use crate::meter;
use crate::peer::{Family, Peer, Running};
use crate::speech::Way;
use crate::stage::Stage;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) quick: bool,
    /// Repetitions of each measurement.
    pub(crate) repetitions: usize,
    /// Seconds of a run at 500 exchanges a second.
    pub(crate) seconds: f64,
    /// Exchanges of a closed loop.
    pub(crate) exchanges: u32,
    /// Leases held where it is about many.
    pub(crate) leases: u32,
}

/// Exchanges under way in a closed loop.
pub(crate) const WINDOW: usize = 64;
/// Longest run of a closed loop; slow servers get less done in it.
const LONGEST: Duration = Duration::from_secs(5);
/// The rate at which servers idle.
const LOW: f64 = 500.0;
/// Clients of a storm, and when the first of them ask again (RFC 2131 s4.1: four seconds, one more
/// or less).
const STORM: u32 = 10_000;
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// Clients that renew, again and again.
const RENEWING: u32 = 4_000;

/// One way of asking, for runs at a low rate and in a closed loop.
pub(crate) struct Scenario {
    /// What it is called, at the low rate and in the closed loop.
    pub(crate) low: &'static str,
    pub(crate) closed: &'static str,
    way: Way,
    renews: bool,
    /// Whether the servers that only know DHCPv4 are measured, too.
    everybody: bool,
}

const fn scenario(
    low: &'static str,
    closed: &'static str,
    way: Way,
    renews: bool,
    everybody: bool,
) -> Scenario {
    Scenario { low, closed, way, renews, everybody }
}

pub(crate) const DORA: Scenario =
    scenario("v4 exchange, 500/s", "v4 exchange", Way::Direct, false, true);

/// All of them, in the order of the tables.
pub(crate) const SCENARIOS: [Scenario; 6] = [
    DORA,
    scenario("v4 renewal, 500/s", "v4 renewal", Way::Direct, true, false),
    scenario("v4 relayed, 500/s", "v4 relayed", Way::Relayed, false, false),
    scenario("v6 address, 500/s", "v6 address", Way::Address6, false, false),
    scenario("v6 prefix, 500/s", "v6 prefix", Way::Prefix6, false, false),
    scenario("v6 renewal, 500/s", "v6 renewal", Way::Address6, true, false),
];

pub(crate) const HIGHEST: &str = "highest rate";
pub(crate) const STORM_CASE: &str = "storm";
pub(crate) const HALF: &str = "half load";
pub(crate) const DISK: &str = "disk sync";

/// A stage, the load on it, and what was measured there.
pub(crate) struct Bench {
    pub(crate) stage: Stage,
    pub(crate) load: Load,
    pub(crate) sizes: Sizes,
    pub(crate) peers: Vec<Peer>,
    pub(crate) figures: Figures,
}

impl Bench {
    /// Every scenario at the low rate and in a closed loop.
    pub(crate) fn exchanges(&mut self) {
        for scenario in &SCENARIOS {
            for _ in 0..self.sizes.repetitions {
                for peer in self.peers_of(scenario) {
                    self.low(scenario, peer);
                    self.closed(scenario, peer);
                }
            }
        }
    }

    fn peers_of(&self, scenario: &Scenario) -> Vec<Peer> {
        let both = |peer: &Peer| matches!(peer, Peer::Foreshadow | Peer::Kea);
        let family = Family::of(scenario.way);
        let wanted = |peer: &Peer| peer.speaks(family) && (scenario.everybody || both(peer));
        self.peers.iter().copied().filter(wanted).collect()
    }

    fn low(&mut self, scenario: &Scenario, peer: Peer) {
        let count = (LOW * self.sizes.seconds) as u32;
        self.play(scenario.low, scenario, peer, count, Pace::Rate(LOW), LONGEST * 4);
    }

    fn closed(&mut self, scenario: &Scenario, peer: Peer) {
        let count = self.sizes.exchanges;
        self.play(scenario.closed, scenario, peer, count, Pace::Window(WINDOW), LONGEST);
    }

    fn play(
        &mut self,
        case: &'static str,
        scenario: &Scenario,
        peer: Peer,
        count: u32,
        pace: Pace,
        longest: Duration,
    ) {
        let way = scenario.way;
        let server = Running::start(&self.stage, &mut self.load, peer, way);
        if scenario.renews {
            self.load.bind(way, 0..RENEWING, Pace::Window(WINDOW / 2), LONGEST);
            self.measure(case, peer, server.pid(), |load| {
                load.renew(way, 0..RENEWING, count as usize, pace, longest)
            });
        } else {
            self.measure(case, peer, server.pid(), |load| {
                load.bind(way, 0..count.min(peer.clients()), pace, longest)
            });
        }
        server.remove();
    }

    /// Plays `work` and notes what it cost the process `pid`.
    pub(crate) fn measure(
        &mut self,
        case: &'static str,
        peer: Peer,
        pid: u32,
        work: impl FnOnce(&mut Load) -> Outcome,
    ) -> Outcome {
        let (cpu, busy, begun) = (meter::cpu(pid), meter::busy(), Instant::now());
        let outcome = work(&mut self.load);
        let wall = begun.elapsed().as_secs_f64();
        let (cpu, busy) = (meter::cpu(pid) - cpu, meter::busy() - busy);
        let cores = available_parallelism().map_or(1, usize::from) as f64;
        let others = (busy - cpu - outcome.own_cpu).max(0.0) / (wall * cores);
        let figures = &mut self.figures;
        let mut add = |what, value| figures.add(case, peer, what, value);
        add(What::Cpu, cpu * 1e6 / outcome.done.max(1) as f64);
        add(What::Rate, outcome.rate());
        add(What::Lost, outcome.lost_share() * 100.0);
        add(What::OfferP50, outcome.offer.percentile(50.0));
        add(What::OfferP99, outcome.offer.percentile(99.0));
        add(What::AckP50, outcome.ack.percentile(50.0));
        add(What::AckP99, outcome.ack.percentile(99.0));
        add(What::Others, others * 100.0);
        println!(
            "{case:22} {:18} {:8.1} us {:8.0}/s {:6.2} % lost; ack p50 {:.0} us, p99 {:.0} us; \
             generator {:.1} us; others {:.0} %",
            peer.name(),
            cpu * 1e6 / outcome.done.max(1) as f64,
            outcome.rate(),
            outcome.lost_share() * 100.0,
            outcome.ack.percentile(50.0),
            outcome.ack.percentile(99.0),
            outcome.own_cpu * 1e6 / outcome.done.max(1) as f64,
            others * 100.0,
        );
        outcome
    }

    /// The highest rate at which less than one in a hundred exchanges is lost: upwards or
    /// downwards in steps from what the closed loop reached.
    pub(crate) fn highest(&mut self) {
        const STEP: f64 = 1.15;
        for round in 0..self.sizes.repetitions.min(3) {
            for peer in self.peers.clone() {
                // Slow servers take long to find the limit of, and no target is against them.
                let slow = matches!(peer, Peer::Dnsmasq | Peer::Dhcpd);
                if slow && (round > 0 || self.sizes.quick) {
                    continue;
                }
                if self.figures.median(DORA.closed, peer, What::Rate).is_none() {
                    self.closed(&DORA, peer);
                }
                let mut rate = self.figures.median(DORA.closed, peer, What::Rate).unwrap_or(LOW);
                if self.keeps_up(peer, rate) {
                    while self.keeps_up(peer, rate * STEP) {
                        rate *= STEP;
                    }
                } else {
                    rate /= STEP;
                    while rate > 20.0 && !self.keeps_up(peer, rate) {
                        rate /= STEP;
                    }
                }
                let between = rate * STEP.sqrt();
                let rate = if self.keeps_up(peer, between) { between } else { rate };
                self.figures.add(HIGHEST, peer, What::Rate, rate);
                println!("{HIGHEST:22} {:18} {rate:.0}/s", peer.name());
            }
        }
    }

    fn keeps_up(&mut self, peer: Peer, rate: f64) -> bool {
        let count = ((rate * 1.5) as u32).min(peer.clients());
        // A second chance: the machine may have been elsewhere.
        (0..2).any(|_| {
            let server = Running::start(&self.stage, &mut self.load, peer, Way::Direct);
            let outcome = self.load.bind(Way::Direct, 0..count, Pace::Rate(rate), LONGEST * 4);
            server.remove();
            outcome.lost_share() < 0.01 && outcome.rate() > 0.93 * rate
        })
    }

    /// Many clients at the same moment.
    pub(crate) fn storm(&mut self) {
        for _ in 0..self.sizes.repetitions {
            for peer in [Peer::Foreshadow, Peer::Kea, Peer::Trivial] {
                if !self.peers.contains(&peer) {
                    continue;
                }
                let server = Running::start(&self.stage, &mut self.load, peer, Way::Direct);
                let pace = Pace::AtOnce(ASK_AGAIN);
                let outcome = self.measure(STORM_CASE, peer, server.pid(), |load| {
                    load.bind(Way::Direct, 0..STORM, pace, LONGEST)
                });
                server.remove();
                self.figures.add(STORM_CASE, peer, What::Seconds, outcome.elapsed);
                self.figures.add(STORM_CASE, peer, What::Resent, outcome.resent as f64);
                self.figures.add(STORM_CASE, peer, What::Bound, outcome.done as f64);
            }
        }
    }

    /// How long answers take at half of the highest rate, next to what the disk takes for a sync.
    pub(crate) fn half_load(&mut self) {
        for _ in 0..self.sizes.repetitions {
            for peer in [Peer::Foreshadow, Peer::Kea] {
                let highest = self.figures.median(HIGHEST, peer, What::Rate);
                let Some(rate) = highest.map(|rate| rate / 2.0) else { continue };
                let syncs = meter::syncs(self.stage.world.dir(), 500);
                self.figures.add(DISK, Peer::Foreshadow, What::AckP50, syncs.percentile(50.0));
                self.figures.add(DISK, Peer::Foreshadow, What::AckP99, syncs.percentile(99.0));
                let server = Running::start(&self.stage, &mut self.load, peer, Way::Direct);
                let count = ((rate * 3.0) as u32).min(peer.clients());
                self.measure(HALF, peer, server.pid(), |load| {
                    load.bind(Way::Direct, 0..count, Pace::Rate(rate), LONGEST * 4)
                });
                server.remove();
            }
        }
    }
}
