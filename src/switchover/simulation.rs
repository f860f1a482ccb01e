//! Switchovers by the thousand, where everything that can die does: the server between any two
//! acts, an order or its answer on its way, agents, drivers.

use std::sync::Arc;

use crate::base::{Mac, NetworkId, Resource, Timestamp};
use crate::config::policy::OnFailure;
use crate::lease::directory::{Identifiers, Kind, Party, Standby, StandbyState, Step, Switchover};

use super::{Act, At, Driven, Known, Reason, Seen, Stage, next};

/// SplitMix64: the same seed, the same run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

/// A host: its agent's file and the kernel's rules are one.
#[derive(Clone, Copy, Debug, Default)]
struct Machine {
    holds: Option<Stage>,
    epoch: u64,
    is_down: bool,
}

struct World {
    dice: Dice,
    pair: Standby,
    hosts: [Machine; 2],
    is_one_host: bool,
    seen: Seen,
    drivers: bool,
    is_leased: bool,
    is_made: bool,
    active_ended: bool,
    standby_awake: bool,
    passed_after_open: bool,
    trace: Vec<String>,
}

fn party(n: u8, host: Option<&str>) -> Party {
    let who = Identifiers { mac: Some(Mac([2, 0, 0, 0, 0, n])), ..Identifiers::default() };
    Party { who, port: Some(format!("tap{n}").into()), host: host.map(Into::into) }
}

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Dice(seed);
        let is_one_host = dice.one_in(2);
        let pair = Standby {
            id: Arc::from("pair"),
            network: NetworkId(1),
            resources: vec![Resource::V4([10, 0, 0, 7].into())],
            active: party(1, None),
            standby: party(2, (!is_one_host).then_some("other")),
            hostname: None,
            account: None,
            application: None,
            instance: None,
            state: StandbyState::Preparing,
            progress: 0,
            gated: false,
            epoch: 0,
            planned: None,
            on_failure: OnFailure::Switch,
            unfenced: false,
            told: Vec::new(),
            created: Timestamp(0),
            changed: Timestamp(0),
            until: Timestamp::NEVER,
        };
        let drivers = dice.one_in(2);
        let hosts = [Machine::default(); 2];
        let mut world = World {
            dice,
            pair,
            hosts,
            is_one_host,
            seen: Seen::default(),
            drivers,
            is_leased: seed.is_multiple_of(3),
            is_made: !drivers,
            active_ended: false,
            standby_awake: !drivers,
            passed_after_open: false,
            trace: Vec::new(),
        };
        world.restart();
        world
    }

    /// The server begins anew: it knows what is durable, and nothing else.
    fn restart(&mut self) {
        let due = if self.drivers { Driven::Due } else { Driven::Absent };
        let is_complete = self.pair.gated;
        self.seen = Seen {
            created: due,
            synced: due,
            checked: due,
            final_pass: due,
            woken: due,
            ended: due,
            is_leased: self.is_leased,
            is_complete,
            ..Seen::default()
        };
    }

    fn begin(&mut self, kind: Kind) {
        self.pair.epoch += 1;
        let before = self.pair.state.readiness().expect("no switchover yet");
        self.pair.state = StandbyState::Switching(Switchover {
            kind,
            step: Step::Intended,
            forced: false,
            by: "test".into(),
            started: Timestamp(0),
            before,
            noted: vec![(Step::Intended, Timestamp(9))],
            outage_us: Some(1_500),
        });
        // What hosts hold is of an older epoch now.
        (self.seen.active, self.seen.standby) = (Known::Nothing, Known::Nothing);
    }

    fn host(&mut self, at: At) -> &mut Machine {
        let index = usize::from(at == At::Standby && !self.is_one_host);
        &mut self.hosts[index]
    }

    fn set_known(&mut self, at: At, known: Known) {
        if self.is_one_host || at == At::Standby {
            self.seen.standby = known;
        }
        if self.is_one_host || at == At::Active {
            self.seen.active = known;
        }
    }

    fn is_failure(&self) -> bool {
        self.pair.state.switchover().is_some_and(|s| s.kind == Kind::Failure)
    }

    /// Whether the guests are heard of by their neighbours.
    fn speak(&mut self) -> (bool, bool) {
        let ended = self.active_ended;
        let active = match self.host(At::Active).holds {
            None | Some(Stage::Standby) => !ended,
            Some(Stage::Fenced | Stage::Leaving | Stage::Promoted) => false,
        };
        let standby = self.host(At::Standby).holds.is_some_and(Stage::is_open);
        (active, standby)
    }

    fn order(&mut self, at: At, stage: Option<Stage>) {
        let (lost, unheard, refused) =
            (self.dice.one_in(12), self.dice.one_in(12), self.dice.one_in(25));
        let epoch = self.pair.epoch;
        let host = self.host(at);
        if host.is_down || lost {
            return self.set_known(at, if lost { Known::Nothing } else { Known::Unreachable });
        }
        assert!(host.epoch <= epoch, "an older epoch");
        if refused && stage.is_some() {
            let holds = host.holds;
            return self.set_known(at, Known::Refused(holds));
        }
        (host.holds, host.epoch) = (stage, epoch);
        self.set_known(at, if unheard { Known::Nothing } else { Known::Holds(stage) });
    }

    fn ask(&mut self, at: At) {
        let epoch = self.pair.epoch;
        let host = *self.host(at);
        let known = match host {
            Machine { is_down: true, .. } => Known::Unreachable,
            // An older epoch's open stage is how a standby stays silent: there is none.
            Machine { holds, epoch: of, .. } if of == epoch => Known::Holds(holds),
            Machine { holds, .. } => Known::Holds(holds.filter(|stage| !stage.is_open())),
        };
        self.set_known(at, known);
    }

    fn drive(&mut self) -> Driven {
        if self.dice.one_in(6) { Driven::Failed } else { Driven::Done }
    }

    /// One act; whether there was anything to do.
    fn step(&mut self) -> bool {
        let act = next(&self.pair, &self.seen);
        self.trace.push(format!("{act:?}"));
        if self.dice.one_in(8) {
            self.restart();
        }
        match act {
            Act::Rest => {
                self.restart();
                return false;
            }
            Act::Blocked(reason) => {
                self.relent(reason);
                return false;
            }
            Act::Ask(at) => self.ask(at),
            Act::Hold(at, stage) => self.order(at, Some(stage)),
            Act::LetGo(at) => self.order(at, None),
            Act::Gated => (self.pair.gated, self.seen.is_complete) = (true, true),
            Act::Create => {
                let gated = self.host(At::Standby).holds.is_some();
                assert!(gated || self.is_leased, "a guest with an address boots without a gate");
                self.seen.created = self.drive();
                self.is_made |= self.seen.created == Driven::Done;
            }
            Act::Sync => {
                assert!(self.is_made, "state of a standby that is not there");
                self.seen.synced = self.drive();
            }
            Act::Check => self.seen.checked = self.drive(),
            Act::Report(state) => {
                assert!(self.is_made && self.pair.gated, "{state:?} too soon");
                self.pair.state = state.into();
            }
            Act::FinalPass => {
                self.passed_after_open |= self.speak().1;
                self.seen.final_pass = self.drive();
            }
            Act::Wake => {
                self.seen.woken = self.drive();
                self.standby_awake |= self.seen.woken == Driven::Done;
            }
            Act::End => {
                self.seen.ended = self.drive();
                self.active_ended |= self.seen.ended == Driven::Done;
            }
            Act::Record(step) => self.record(step),
            Act::Promote => {
                assert!(self.speak().1, "promoted and silent");
                let StandbyState::Switching(switchover) = self.pair.state.clone() else {
                    panic!("promoted without a switchover")
                };
                let switchover = Switchover { step: Step::Promoted, ..switchover };
                self.pair.state = StandbyState::Promoted(switchover);
            }
            Act::Abort(_) => {
                assert_eq!(self.speak(), (!self.active_ended, false), "taken back");
                let before = self.pair.state.switchover().map(|of| of.before);
                self.pair.state = before.expect("a switchover").into();
                self.pair.gated = true;
            }
            Act::Finish => return false,
        }
        self.check();
        // The server dies when it did something, before it remembers.
        if self.dice.one_in(8) {
            self.restart();
        }
        true
    }

    /// What an operator would do: hosts come back, drivers are mended, knowledge is asked anew.
    fn relent(&mut self, _: Reason) {
        for host in &mut self.hosts {
            host.is_down = false;
        }
        self.restart();
    }

    fn record(&mut self, step: Step) {
        let (StandbyState::Switching(switchover) | StandbyState::Promoted(switchover)) =
            &mut self.pair.state
        else {
            panic!("a step of nothing")
        };
        assert!(step >= switchover.step, "a step back");
        switchover.step = step;
    }

    fn check(&mut self) {
        let (active, standby) = self.speak();
        let trace = || self.trace.join(" ");
        assert!(!(active && standby), "both speak: {}", trace());
        assert!(!self.passed_after_open, "state was overwritten: {}", trace());
        if self.pair.state.switchover().is_none() {
            assert!(!standby, "the standby speaks: {}", trace());
        }
        if self.pair.is_promoted() {
            assert!(!active, "the former active speaks: {}", trace());
        }
    }

    fn run(&mut self) {
        for _ in 0..500 {
            if self.dice.one_in(60) {
                let host = usize::from(self.dice.one_in(2));
                self.hosts[host].is_down ^= true;
            }
            if !self.step() && self.dice.one_in(4) {
                break;
            }
        }
    }
}

#[test]
fn at_no_moment_do_two_speak() {
    let (mut promoted, mut taken_back, mut failures, mut ready) = (0, 0, 0, 0);
    for seed in 0..4_000 {
        let mut world = World::new(seed);
        world.run();
        ready += u32::from(world.drivers && world.pair.state == StandbyState::Ready);
        let kind = if world.dice.one_in(2) { Kind::Planned } else { Kind::Failure };
        world.begin(kind);
        failures += u32::from(world.is_failure());
        world.run();
        promoted += u32::from(world.pair.is_promoted());
        taken_back += u32::from(world.pair.state.readiness().is_some());
    }
    assert!(promoted > 2_000 && taken_back > 200 && failures > 1_500 && ready > 1_000);
}

#[test]
fn without_faults_it_is_short() {
    let of = |kind: Kind, hosts: bool| {
        let mut world = World::new(1);
        world.dice = Dice(u64::MAX);
        (world.is_one_host, world.drivers) = (!hosts, false);
        world.pair.standby.host = hosts.then(|| "other".into());
        world.restart();
        world.pair.gated = true;
        world.begin(kind);
        let (mut acts, holds) = (Vec::new(), Known::Holds(Some(Stage::Standby)));
        (world.seen.active, world.seen.standby) = (holds, holds);
        while !world.pair.is_promoted() {
            let act = next(&world.pair, &world.seen);
            acts.push(act);
            match act {
                Act::Hold(at, stage) => world.set_known(at, Known::Holds(Some(stage))),
                Act::Record(step) => world.record(step),
                Act::Promote => break,
                other => panic!("{other:?}"),
            }
        }
        acts
    };
    let (active, standby) = (At::Active, At::Standby);
    let end = [Act::Record(Step::Announced), Act::Promote];
    let (leaving, promoted) = (Stage::Leaving, Stage::Promoted);
    let planned = [Act::Hold(active, leaving), Act::Hold(standby, promoted)];
    assert_eq!(of(Kind::Planned, false), [&planned[..], &end].concat());
    assert_eq!(of(Kind::Failure, false), [&[Act::Hold(standby, promoted)][..], &end].concat());
    let apart = [planned[0], planned[1], Act::Hold(active, promoted)];
    assert_eq!(of(Kind::Planned, true), [&apart[..], &end].concat());
    let fence = [Act::Hold(active, Stage::Fenced), Act::Record(Step::Fenced), planned[1]];
    // The active's host learns where the standby is once it is open.
    let last = [end[0], Act::Hold(active, promoted), end[1]];
    assert_eq!(of(Kind::Failure, true), [&fence[..], &last].concat());
}
