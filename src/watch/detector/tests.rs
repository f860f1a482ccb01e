//! Silences, late answers and other troubles of one VM, on a clock moved by hand.

use std::net::IpAddr;

use proptest::prelude::*;

use super::super::{Place, WatchId};
use super::*;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// A guest, its detector, and what was said of it.
struct World {
    detector: Detector,
    now: Moment,
    /// When a round was sent last.
    asked: Option<Moment>,
    rx: u64,
    said: Vec<Verdict>,
    /// Rounds that went out.
    rounds: u32,
    /// Looks at the counters.
    looks: u32,
}

fn watch(policy: ProbePolicy, addrs: usize) -> Watch {
    Watch {
        id: WatchId(0),
        addrs: (0..addrs as u8).map(|n| IpAddr::from([10, 0, 0, n])).collect(),
        mac: MAC,
        place: Place::Port("tap0".into()),
        process: None,
        policy,
    }
}

impl World {
    fn new(policy: ProbePolicy) -> World {
        let detector = Detector::new(&watch(policy, 1), Moment(0));
        let said = Vec::new();
        World { detector, now: Moment(0), asked: None, rx: 7, said, rounds: 0, looks: 0 }
    }

    /// Every 10 ms, three lost, and a second sign.
    fn fast() -> World {
        World::new(ProbePolicy::new(10, 3, true).unwrap())
    }

    /// One that has answered its first round.
    fn answering() -> World {
        let mut world = World::fast();
        world.until(Moment(0));
        world.sign(Sign::ProbeAnswered { by: MAC });
        assert_eq!(world.said, [Verdict::Answers { at: Moment(0) }]);
        world.said.clear();
        world
    }

    /// A sign now, and what it leads to: the counters are read whenever they are asked for.
    fn sign(&mut self, sign: Sign) {
        let mut out = Outcome::default();
        self.detector.handle(self.now, sign, &mut out);
        while !out.questions.is_empty() {
            for question in std::mem::take(&mut out.questions) {
                match question {
                    Question::Probe => {
                        self.asked = Some(self.now);
                        self.rounds += 1;
                    }
                    Question::Counters => {
                        self.looks += 1;
                        let sign = Sign::PortCounters { rx: self.rx, tx: 9 };
                        self.detector.handle(self.now, sign, &mut out);
                    }
                }
            }
        }
        self.said.append(&mut out.verdicts);
    }

    /// Lets time pass, in which the detector is woken when it wants to be.
    fn until(&mut self, end: Moment) {
        while let Some(due) = self.detector.next_wakeup().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.sign(Sign::Time);
        }
        self.now = end;
    }

    fn until_ms(&mut self, ms: u64) {
        self.until(Moment::from_ms(ms));
    }

    fn confirmed(&self) -> Option<(Why, Moment)> {
        self.said.iter().find_map(|verdict| match verdict {
            Verdict::Confirmed { why, at, .. } => Some((*why, *at)),
            _ => None,
        })
    }

    fn suspected(&self) -> Vec<Missing> {
        let missing = |verdict: &Verdict| match verdict {
            Verdict::Suspected { missing, .. } => Some(*missing),
            _ => None,
        };
        self.said.iter().filter_map(missing).collect()
    }
}

#[test]
fn an_end_and_a_lost_link_are_confirmed_at_once_and_once() {
    for (sign, why) in [
        (Sign::ProcessEnded, Why::ProcessEnded),
        (Sign::LinkDown, Why::LinkDown),
        (Sign::LinkGone, Why::LinkGone),
    ] {
        let mut world = World::answering();
        world.until_ms(3);
        world.sign(sign);
        assert_eq!(world.confirmed(), Some((why, Moment::from_ms(3))));
        world.sign(sign);
        world.until_ms(500);
        assert_eq!(world.said.len(), 1, "{why:?} is said once");
    }
}

#[test]
fn silence_and_a_still_port_are_a_failure() {
    let mut world = World::answering();
    world.until_ms(39);
    assert_eq!(world.said, []);
    world.until_ms(40);
    // Rounds at 10, 20 and 30 ms are lost when the next is due.
    assert_eq!(world.confirmed(), Some((Why::PortSilent, Moment::from_ms(40))));
    let Verdict::Confirmed { evidence, .. } = world.said[0] else { panic!() };
    assert_eq!((evidence.lost, evidence.still), (3, 2));
    assert_eq!(evidence.last_life, Some(Moment(0)));
    assert_eq!(evidence.silent_since, Some(Moment::from_ms(10)));
    assert_eq!(evidence.counters, Some((7, 9)));
    assert_eq!(world.looks, 3, "the counters are read only while probes are lost");
}

#[test]
fn two_lost_probes_are_nothing() {
    assert!(ProbePolicy::new(10, 2, true).is_err());
    assert!(ProbePolicy::new(10, 2, false).is_err());
    assert!(ProbePolicy::new(4, 3, true).is_err());
    assert!(ProbePolicy::default().with_heartbeats(0).is_err());
    let mut world = World::answering();
    for round in 0..20 {
        // Of each three, one is answered, long after the next went out.
        world.until_ms(38 + round * 30);
        world.sign(Sign::ProbeAnswered { by: MAC });
    }
    world.until_ms(639);
    assert_eq!(world.said, []);
}

#[test]
fn a_port_that_hands_in_packets_is_only_suspected() {
    let mut world = World::answering();
    for ms in (5..200).step_by(10) {
        world.until_ms(ms);
        world.rx += 1;
    }
    assert_eq!(world.suspected(), [Missing::SecondSign]);
    assert_eq!(world.confirmed(), None);
    // When it falls silent too, it has failed.
    world.until_ms(240);
    assert_eq!(world.confirmed().map(|(why, _)| why), Some(Why::PortSilent));
}

#[test]
fn counters_that_cannot_be_read_are_no_second_sign() {
    let mut detector = Detector::new(&watch(ProbePolicy::new(10, 3, true).unwrap(), 1), Moment(0));
    let mut out = Outcome::default();
    detector.handle(Moment(0), Sign::Time, &mut out);
    detector.handle(Moment(1), Sign::ProbeAnswered { by: MAC }, &mut out);
    for ms in (10..=200).step_by(10) {
        detector.handle(Moment::from_ms(ms), Sign::Time, &mut out);
        detector.handle(Moment::from_ms(ms), Sign::NoCounters, &mut out);
    }
    assert!(matches!(
        out.verdicts[1..],
        [Verdict::Suspected {
            missing: Missing::SecondSign,
            evidence: Evidence { lost: 3, .. },
            ..
        }]
    ));
}

#[test]
fn another_hardware_address_is_no_life() {
    let mut world = World::answering();
    for ms in 1..40 {
        world.until_ms(ms);
        world.sign(Sign::ProbeAnswered { by: OTHER });
    }
    world.until_ms(40);
    let Some(Verdict::Confirmed { evidence, .. }) = world.said.first() else { panic!() };
    assert_eq!(evidence.other_mac, Some(OTHER));
}

#[test]
fn who_never_answered_is_not_confirmed_by_silence() {
    let mut world = World::fast();
    world.until_ms(1000);
    assert_eq!(world.suspected(), [Missing::FirstAnswer]);
    assert_eq!(world.confirmed(), None);
    world.sign(Sign::ProbeAnswered { by: MAC });
    assert!(matches!(world.said.last(), Some(Verdict::Recovered { misfire: false, .. })));
    world.until_ms(1100);
    assert!(world.confirmed().is_some(), "from then on its silence counts");
}

#[test]
fn a_policy_can_do_without_a_second_sign() {
    let mut world = World::new(ProbePolicy::new(10, 3, false).unwrap());
    world.until(Moment(0));
    world.sign(Sign::ProbeAnswered { by: MAC });
    for ms in 1..=40 {
        world.until_ms(ms);
        world.rx += 1;
    }
    assert_eq!(world.confirmed(), Some((Why::ProbesLost, Moment::from_ms(40))));
}

#[test]
fn reports_are_second_signs_while_they_stand() {
    for by in [Reporter::Agent, Reporter::Guest] {
        let mut world = World::answering();
        world.sign(Sign::Report { by, health: Health::Failing });
        assert_eq!(world.suspected(), [Missing::LostProbes], "it answers yet");
        for ms in 1..=40 {
            world.until_ms(ms);
            world.rx += 1;
        }
        assert_eq!(world.confirmed(), Some((Why::Reported(by), Moment::from_ms(40))));
    }
    let mut world = World::answering();
    world.sign(Sign::Report { by: Reporter::Agent, health: Health::Failing });
    while world.now < Moment::from_ms(REPORT_STANDS_MS + 20) {
        world.until(world.now + 5 * MS);
        world.sign(Sign::ProbeAnswered { by: MAC });
    }
    assert!(matches!(world.said.last(), Some(Verdict::Recovered { .. })), "it stood long enough");
    let since = world.now;
    while world.now < since + 100 * MS {
        world.until(world.now + MS);
        world.rx += 1;
    }
    assert_eq!(world.confirmed(), None);
}

#[test]
fn a_guest_that_says_it_is_well_lives() {
    let mut world = World::answering();
    for ms in (15..400).step_by(30) {
        world.until_ms(ms);
        world.sign(Sign::Report { by: Reporter::Guest, health: Health::Healthy });
    }
    assert_eq!(world.said, []);
    // That its agent says so is none of its life.
    for ms in (390..430).step_by(5) {
        world.until_ms(ms);
        world.sign(Sign::Report { by: Reporter::Agent, health: Health::Healthy });
    }
    assert!(world.confirmed().is_some());
}

#[test]
fn a_silent_agent_is_a_second_sign_if_it_was_ever_heard() {
    for (heard, want) in [(true, Some(Why::AgentSilent)), (false, None)] {
        let policy = ProbePolicy::new(10, 3, true).unwrap().with_heartbeats(100).unwrap();
        let mut world = World::new(policy);
        world.until(Moment(0));
        world.sign(Sign::ProbeAnswered { by: MAC });
        if heard {
            world.sign(Sign::AgentHeartbeat);
        }
        for ms in 1..=200 {
            world.until_ms(ms);
            world.rx += 1;
            assert!(ms >= 100 || world.confirmed().is_none(), "its heartbeat is not due");
        }
        assert_eq!(world.confirmed().map(|(why, _)| why), want);
    }
}

#[test]
fn a_pause_hides_and_its_end_tells() {
    for (sign, why) in [(Sign::ProcessEnded, Why::ProcessEnded), (Sign::LinkDown, Why::LinkDown)] {
        let mut world = World::answering();
        world.detector.pause(world.now, Moment::from_ms(300));
        world.sign(sign);
        world.until_ms(299);
        assert_eq!((world.said.len(), world.rounds), (0, 1));
        world.until_ms(300);
        assert_eq!(world.confirmed(), Some((why, Moment::from_ms(300))));
    }
    // Nothing was lost in it, and a link that came back was not lost.
    let mut world = World::answering();
    world.until_ms(25);
    world.detector.pause(world.now, Moment::from_ms(300));
    world.sign(Sign::LinkDown);
    world.sign(Sign::LinkUp);
    world.until_ms(329);
    assert_eq!(world.said, []);
    world.until_ms(330);
    assert_eq!(world.confirmed(), Some((Why::PortSilent, Moment::from_ms(330))));
}

#[test]
fn a_pause_ends() {
    let mut world = World::answering();
    world.detector.pause(world.now, Moment(u64::MAX));
    assert_eq!(world.detector.next_wakeup(), Some(Moment::from_ms(PAUSE_MAX_MS)));
    world.sign(Sign::ProcessEnded);
    let mut out = Outcome::default();
    world.detector.resume(world.now, &mut out);
    assert!(matches!(out.verdicts[..], [Verdict::Confirmed { why: Why::ProcessEnded, .. }]));
    assert!(!world.detector.is_paused());
}

#[test]
fn who_answers_after_all_was_a_misfire() {
    let mut world = World::answering();
    world.until_ms(45);
    assert!(world.confirmed().is_some());
    world.sign(Sign::ProbeAnswered { by: OTHER });
    assert_eq!(world.said.len(), 1);
    world.sign(Sign::ProbeAnswered { by: MAC });
    let at = Moment::from_ms(45);
    assert_eq!(world.said[1], Verdict::Recovered { misfire: true, misfires: 1, at });
    assert_eq!(world.detector.misfires(), 1);
    // A lost link is none.
    world.sign(Sign::LinkDown);
    world.sign(Sign::ProbeAnswered { by: MAC });
    assert_eq!(world.said.len(), 3, "an answer that was on its way");
    world.sign(Sign::LinkUp);
    world.until_ms(52);
    world.sign(Sign::ProbeAnswered { by: MAC });
    assert!(matches!(world.said[3], Verdict::Recovered { misfire: false, misfires: 1, .. }));
}

#[test]
fn who_is_not_probed_is_watched_by_process_and_link() {
    let mut detector = Detector::new(&watch(ProbePolicy::default(), 0), Moment(0));
    let mut out = Outcome::default();
    assert_eq!(detector.next_wakeup(), None);
    detector.handle(Moment(1), Sign::LinkDown, &mut out);
    detector.handle(Moment(2), Sign::LinkUp, &mut out);
    assert!(out.questions.is_empty());
    assert!(matches!(
        out.verdicts[..],
        [Verdict::Confirmed { why: Why::LinkDown, .. }, Verdict::Recovered { misfire: false, .. }]
    ));
}

#[test]
fn rounds_that_we_are_late_for_do_not_count() {
    let mut world = World::answering();
    for late in [16, 32, 48] {
        world.now = Moment::from_ms(late);
        world.sign(Sign::Time);
    }
    assert_eq!((world.rounds, world.looks), (4, 0), "one was sent each time, none is lost");
    // But a host that is always late does not keep silence from being seen for ever.
    for late in [64, 80, 96, 112] {
        world.now = Moment::from_ms(late);
        world.sign(Sign::Time);
    }
    assert_eq!(world.confirmed().map(|(why, _)| why), Some(Why::PortSilent));
}

#[test]
fn rounds_that_did_not_go_out_are_not_lost() {
    let mut world = World::answering();
    for ms in (10..1000).step_by(10) {
        world.until_ms(ms);
        world.sign(Sign::NotAsked);
    }
    assert_eq!(world.said, []);
}

#[test]
fn many_are_asked_at_different_times() {
    let first = |id| {
        let watch = Watch { id: WatchId(id), ..watch(ProbePolicy::default(), 1) };
        Detector::new(&watch, Moment(0)).next_wakeup().unwrap().0 / (20 * MS)
    };
    let mut tenths = [0; 10];
    (0..1000).for_each(|id| tenths[first(id) as usize] += 1);
    assert!(tenths.iter().all(|count| (50..200).contains(count)), "{tenths:?}");
}

/// A trouble of the wire or the guest, and how long until the next.
#[derive(Clone, Debug)]
enum Step {
    Answer,
    Foreign,
    Traffic,
    Late(u64),
    AgentFails,
    NotSent,
    Nothing,
}

fn steps() -> impl Strategy<Value = Vec<(Step, u64)>> {
    let step = prop_oneof![
        3 => Just(Step::Answer),
        2 => Just(Step::Foreign),
        2 => Just(Step::Traffic),
        1 => (1..30 * MS).prop_map(Step::Late),
        1 => Just(Step::AgentFails),
        1 => Just(Step::NotSent),
        6 => Just(Step::Nothing),
    ];
    prop::collection::vec((step, 0..20 * MS), 0..120)
}

proptest! {
    /// Whatever happens: no failure by lost probes while there was a sign of life within the time
    /// of the rounds that must be lost, and one in time when there is none any more.
    #[test]
    fn life_is_never_a_failure_and_silence_always(
        steps in steps(),
        interval in 5u32..60,
        lost in LOST..9,
        second_sign: bool,
    ) {
        let mut world = World::new(ProbePolicy::new(interval, lost, second_sign).unwrap());
        world.until(Moment(0));
        world.sign(Sign::ProbeAnswered { by: MAC });
        let interval = u64::from(interval) * MS;
        let (mut life, mut traffic) = (Moment(0), Moment(0));
        for (step, pause) in steps {
            let before = world.said.len();
            match step {
                Step::Answer => {
                    life = world.now;
                    world.sign(Sign::ProbeAnswered { by: MAC });
                }
                Step::Foreign => world.sign(Sign::ProbeAnswered { by: OTHER }),
                Step::Traffic => {
                    traffic = world.now;
                    world.rx += 1;
                }
                Step::Late(by) => world.now = world.now + by,
                Step::AgentFails => {
                    world.sign(Sign::Report { by: Reporter::Agent, health: Health::Failing });
                }
                Step::NotSent => world.sign(Sign::NotAsked),
                Step::Nothing => {}
            }
            world.until(world.now + pause);
            for verdict in &world.said[before..] {
                let Verdict::Confirmed { why, at, evidence } = verdict else { continue };
                // Lost rounds take an interval each, half of one at least where we were late.
                let window = u64::from(lost) * interval / 2;
                prop_assert!(at.nanos_since(life) >= window, "life at {life:?}, {verdict:?}");
                prop_assert!(evidence.lost >= lost);
                if *why == Why::PortSilent {
                    prop_assert!(at.nanos_since(traffic) >= u64::from(lost - 1) * interval / 2);
                }
            }
        }
        // It is there once more, and then no longer.
        world.until(world.now + interval);
        world.sign(Sign::ProbeAnswered { by: MAC });
        let (silent, before) = (world.now, world.said.len());
        world.until(silent + u64::from(lost + 1) * interval);
        let confirmed = |v: &Verdict| matches!(v, Verdict::Confirmed { .. });
        prop_assert!(world.said[before..].iter().any(confirmed), "{:?}", world.said);
    }
}

const LOST: u32 = super::super::LOST_MIN;
