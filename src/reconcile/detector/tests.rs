//! The detector on a segment of its own, with delays, losses and moves.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::base::Range4;
use crate::reconcile::case::ROUND_GAP;
use crate::reconcile::{Bound, Pair};

const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
const FOREVER: (u64, u64) = (0, u64::MAX);

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 1, last])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Who answers for what, and from when to when.
#[derive(Clone, Copy)]
struct Holds {
    mac: Mac,
    addr: IpAddr,
    from: u64,
    until: u64,
}

fn holds(last: u8, addr: &str, (from, until): (u64, u64)) -> Holds {
    Holds { mac: mac(last), addr: ip(addr), from, until }
}

struct Segment {
    detector: Detector,
    holds: Vec<Holds>,
    /// A MAC that answers for all addresses above this last byte.
    proxy: Option<(Mac, u8)>,
    /// What is under way: when it arrives, in order of sending.
    arrives: BTreeMap<(u64, u64), Heard>,
    sent: u64,
    random: u64,
    /// One frame of so many is lost.
    loss: u64,
    delay_max: u64,
    found: Vec<Finding>,
    cleared: Vec<Finding>,
    asked_at: Vec<u64>,
    known: Known,
}

const START: u64 = 1_000_000;

impl Segment {
    fn new(known: Known, holds: &[Holds]) -> Segment {
        let settings = Settings {
            interval: Span(1),
            seed: 7,
            low6: 40,
            probe_servers: false,
            ..Settings::default()
        };
        Segment {
            detector: Detector::new(settings, known.clone(), Timestamp(START)),
            holds: holds.to_vec(),
            proxy: None,
            arrives: BTreeMap::new(),
            sent: 0,
            random: 88_172_645_463_325_252,
            loss: 0,
            delay_max: 0,
            found: vec![],
            cleared: vec![],
            asked_at: vec![],
            known,
        }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn send(&mut self, ms: u64, heard: Heard) {
        let is_lost = self.loss > 0 && self.random().is_multiple_of(self.loss);
        let delay = self.random() % (self.delay_max + 1);
        self.sent += 1;
        if !is_lost {
            self.arrives.insert((ms + delay, self.sent), heard);
        }
    }

    fn claims(&mut self, ms: u64, of: Holds, by: By) {
        let seen = Sighting { addr: of.addr, mac: of.mac, eth_src: of.mac, port: None, by };
        self.send(ms, Heard::Claim(seen));
    }

    fn answer(&mut self, ms: u64, ask: Ask) {
        let Ask::Who { addr, to } = ask else { return };
        let is_lost = self.loss > 0 && self.random().is_multiple_of(self.loss);
        let is_asked = |of: Mac| !is_lost && to.is_none_or(|to| to == of);
        // The question takes its time as well.
        let at = ms + self.random() % (self.delay_max + 1);
        let by = if addr.is_ipv4() { By::ArpReply } else { By::NeighbourAdvert };
        let holds: Vec<Holds> = self.holds.clone();
        for of in holds.into_iter().filter(|of| of.addr == addr && is_asked(of.mac)) {
            if of.from <= at && at < of.until {
                self.claims(at, of, by);
            }
        }
        if let (Some((mac, above)), IpAddr::V4(v4)) = (self.proxy, addr)
            && is_asked(mac)
            && v4.octets()[3] > above
        {
            self.claims(at, Holds { mac, addr, from: 0, until: 0 }, by);
        }
    }

    /// Runs to `end`, in milliseconds from the start.
    fn run(&mut self, end: u64) {
        let mut now = START;
        while now <= START + end {
            let mut out = Outcome::default();
            // Whoever takes an address says so.
            let taken: Vec<Holds> =
                self.holds.iter().copied().filter(|of| START + of.from == now).collect();
            taken.into_iter().filter(|of| of.from > 0).for_each(|of| {
                self.claims(now - START, of, By::ArpAnnouncement);
            });
            while let Some(entry) = self.arrives.first_entry()
                && entry.key().0 + START <= now
            {
                let heard = entry.remove();
                self.detector.heard(heard, Timestamp(now), &mut out);
            }
            self.detector.poll(Timestamp(now), &mut out);
            if out.refresh || out.look {
                let known = Known { as_of: Timestamp(now), ..self.known.clone() };
                self.detector.learn(known, Timestamp(now), &mut out);
            }
            self.asked_at.extend(out.asks.iter().map(|_| now - START));
            out.asks.iter().for_each(|ask| self.answer(now - START, *ask));
            self.found.extend(out.found);
            self.cleared.extend(out.cleared);
            let arrives = self.arrives.keys().next().map_or(u64::MAX, |(at, _)| at + START);
            let takes = self.holds.iter().map(|of| START + of.from).filter(|at| *at > now);
            let takes = takes.min().unwrap_or(u64::MAX);
            let due = self.detector.next_wakeup().0.max(now + 1);
            now = due.min(arrives.max(now + 1)).min(takes);
        }
    }

    fn found(&self) -> BTreeSet<(Kind, String)> {
        self.found.iter().map(|finding| (finding.kind, finding.addr.to_string())).collect()
    }
}

fn known() -> Known {
    let leased = |last| Bound { mac: Some(mac(last)), leased: true };
    Known {
        as_of: Timestamp(START),
        subnets4: vec!["10.0.0.0/24".parse().unwrap()],
        subnets6: vec!["2001:db8::/64".parse().unwrap()],
        pools4: vec![Range4 { first: [10, 0, 0, 50].into(), last: [10, 0, 0, 99].into() }],
        bound: BTreeMap::from([
            (ip("10.0.0.50"), leased(50)),
            (ip("10.0.0.51"), leased(51)),
            (ip("10.0.0.52"), leased(52)),
            (ip("2001:db8::7:50"), leased(50)),
        ]),
        pairs: BTreeMap::from([
            (ip("10.0.0.30"), Pair { active: mac(31), standby: mac(32) }),
            (ip("10.0.0.33"), Pair { active: mac(31), standby: mac(33) }),
        ]),
        own: BTreeSet::from([ip("10.0.0.1")]),
        own_mac: OWN,
        ..Known::default()
    }
}

/// Everything that is to be found, and what is not.
fn planted() -> Vec<Holds> {
    vec![
        holds(10, "10.0.0.10", FOREVER),
        holds(21, "10.0.0.20", FOREVER),
        holds(22, "10.0.0.20", FOREVER),
        holds(21, "2001:db8::14", FOREVER),
        holds(22, "2001:db8::14", FOREVER),
        holds(31, "10.0.0.30", FOREVER),
        holds(31, "10.0.0.33", FOREVER),
        holds(33, "10.0.0.33", FOREVER),
        holds(41, "10.0.0.40", (0, 3_000)),
        holds(42, "10.0.0.40", (3_000, u64::MAX)),
        holds(50, "10.0.0.50", FOREVER),
        holds(50, "2001:db8::7:50", FOREVER),
        holds(99, "2001:db8::7:50", FOREVER),
        holds(98, "10.0.0.51", FOREVER),
        holds(60, "10.0.0.60", FOREVER),
        holds(61, "10.0.0.1", FOREVER),
        holds(70, "10.0.0.70", (5_000, u64::MAX)),
    ]
}

fn wanted() -> BTreeSet<(Kind, String)> {
    [
        (Kind::DuplicateV4, "10.0.0.20"),
        (Kind::DuplicateV6, "2001:db8::14"),
        (Kind::StandbySpeaks, "10.0.0.33"),
        (Kind::LeaseHijack, "10.0.0.51"),
        (Kind::LeasedSilent, "10.0.0.52"),
        (Kind::StaticInPool, "10.0.0.60"),
        (Kind::DuplicateV4, "10.0.0.1"),
        (Kind::StaticInPool, "10.0.0.70"),
        (Kind::DuplicateV6, "2001:db8::7:50"),
    ]
    .map(|(kind, addr)| (kind, addr.to_owned()))
    .into()
}

#[test]
fn all_is_found_and_nothing_else() {
    let mut segment = Segment::new(known(), &planted());
    segment.run(15_000);
    assert_eq!(segment.found(), wanted());
    assert_eq!(segment.cleared, vec![]);
    let hijack = segment.found.iter().find(|f| f.kind == Kind::LeaseHijack).unwrap();
    assert_eq!(hijack.macs, [mac(98)]);
    assert_eq!(hijack.evidence[0].mac, mac(98));
    assert!(hijack.evidence[0].times > 2);
}

#[test]
fn one_frame_of_ten_may_be_lost() {
    for seed in 1..20 {
        let mut segment = Segment::new(known(), &planted());
        (segment.loss, segment.delay_max, segment.random) = (10, 20, seed * 7_919);
        segment.run(20_000);
        assert_eq!(segment.found(), wanted(), "seed {seed}");
    }
}

#[test]
fn the_rate_is_kept_and_a_sweep_asks_all() {
    let mut segment = Segment::new(known(), &planted());
    segment.run(10_000);
    let asked = &segment.asked_at;
    for at in (0..9_000).step_by(50) {
        let within = asked.iter().filter(|ms| (at..at + 1_000).contains(*ms)).count();
        assert!(within <= 530, "{within} in the second from {at}");
    }
    assert!(segment.detector.counts().sweeps >= 4);
}

#[test]
fn a_large_subnet_is_swept_at_its_rate() {
    let known = Known {
        as_of: Timestamp::NEVER,
        subnets4: vec!["10.0.0.0/16".parse().unwrap()],
        own_mac: OWN,
        ..Known::default()
    };
    let settings = Settings { rate: 5_000, probe_servers: false, ..Settings::default() };
    let mut detector = Detector::new(settings, known, Timestamp(START));
    let (mut now, mut asked) = (Timestamp(START), BTreeSet::new());
    let ended = loop {
        let mut out = Outcome::default();
        detector.poll(now, &mut out);
        if detector.counts().sweeps > 0 {
            break now;
        }
        assert!(out.asks.len() <= 201, "{} at once", out.asks.len());
        asked.extend(out.asks.iter().map(|ask| match ask {
            Ask::Who { addr, .. } => *addr,
            other => panic!("{other:?}"),
        }));
        now = detector.next_wakeup().max(now + Span(1));
    };
    assert_eq!(asked.len(), 65_534);
    let took = ended.since(Timestamp(START)).0;
    assert!((13_100..14_500).contains(&took), "{took} ms for 65,534 questions at 5,000/s");
}

#[test]
fn what_ends_is_cleared() {
    let until = |end| (0, end);
    let all = [
        holds(21, "10.0.0.20", FOREVER),
        holds(22, "10.0.0.20", until(6_000)),
        holds(60, "10.0.0.60", until(6_000)),
        holds(52, "10.0.0.52", (12_000, u64::MAX)),
    ];
    let mut segment = Segment::new(known(), &all);
    segment.run(11_000);
    assert!(segment.found().contains(&(Kind::LeasedSilent, "10.0.0.52".into())));
    let mut segment = Segment::new(known(), &all);
    segment.run(20_000);
    let cleared: BTreeSet<_> = segment.cleared.iter().map(|f| (f.kind, f.addr)).collect();
    let want = [
        (Kind::DuplicateV4, ip("10.0.0.20")),
        (Kind::StaticInPool, ip("10.0.0.60")),
        (Kind::LeasedSilent, ip("10.0.0.52")),
    ];
    assert_eq!(cleared, want.into());
    // Those of .50 and .51 and the standbys stay silent; nothing else is said.
    assert!(segment.detector.findings().all(|f| f.kind == Kind::LeasedSilent));
}

#[test]
fn a_proxy_is_said_once_and_blamed_for_nothing() {
    for (loss, above) in [(0, 0), (0, 54), (10, 54), (0, 200)] {
        let hosts: Vec<Holds> = planted().into_iter().filter(|of| of.mac != mac(61)).collect();
        let mut segment = Segment::new(known(), &hosts);
        (segment.proxy, segment.loss, segment.delay_max) = (Some((mac(200), above)), loss, 5);
        segment.run(15_000);
        let of_it = |f: &&Finding| f.macs.contains(&mac(200));
        let said: Vec<_> = segment.found.iter().filter(of_it).map(|f| f.kind).collect();
        assert_eq!(said, [Kind::Proxy], "above {above}");
        let mut want = wanted();
        want.retain(|(_, addr)| addr != "10.0.0.1");
        let found = segment.found.iter().filter(|f| !of_it(f));
        let found: BTreeSet<_> = found.map(|f| (f.kind, f.addr.to_string())).collect();
        // It answers for the silent lease too, whatever that is worth.
        want.retain(|(kind, _)| above != 0 || *kind != Kind::LeasedSilent);
        assert_eq!(found, want, "above {above}");
    }
}

#[test]
fn a_router_that_is_known_may_be_a_proxy() {
    let mut known = known();
    known.routers.macs.insert(mac(200));
    let mut segment = Segment::new(known, &[]);
    segment.proxy = Some((mac(200), 40));
    segment.run(10_000);
    assert!(segment.found.iter().all(|f| f.kind == Kind::LeasedSilent), "{:?}", segment.found);
}

#[test]
fn a_host_may_have_a_few_addresses() {
    let hosts: Vec<Holds> =
        (0..3).map(|i| holds(10, &format!("10.0.0.{}", 10 + i), FOREVER)).collect();
    let mut segment = Segment::new(Known { bound: BTreeMap::new(), ..known() }, &hosts);
    segment.run(10_000);
    assert_eq!(segment.found, vec![]);
}

#[test]
fn a_lease_younger_than_what_is_known_is_no_squatter() {
    // It is bound at 3 s, and what was handed in at the start of the sweep does not say so.
    let mut segment = Segment::new(known(), &[holds(80, "10.0.0.80", (3_000, u64::MAX))]);
    segment.run(2_900);
    segment.known.bound.insert(ip("10.0.0.80"), Bound { mac: Some(mac(80)), leased: true });
    segment.run(9_000);
    let of_it = segment.found.iter().filter(|f| f.addr == ip("10.0.0.80"));
    assert_eq!(of_it.count(), 0);
}

#[test]
fn servers_are_found_once_and_cleared_when_they_stay_away() {
    let mut segment = Segment::new(known(), &[]);
    let (by, addr) = (By::Dhcp, ip("10.0.0.5"));
    let seen = Sighting { addr, mac: mac(5), eth_src: mac(5), port: Some(LinkId(3)), by };
    for at in [100, 1_500, 2_000] {
        segment.send(at, Heard::Server(Server::Dhcp4, seen));
    }
    segment.run(20_000);
    let of_it = |all: &[Finding]| all.iter().filter(|f| f.kind == Kind::RogueDhcp).count();
    assert_eq!((of_it(&segment.found), of_it(&segment.cleared)), (1, 1));
    let found = segment.found.iter().find(|f| f.kind == Kind::RogueDhcp).unwrap();
    assert_eq!((found.addr, &found.macs[..]), (addr, &[mac(5)][..]));
    assert_eq!(found.evidence[0].port, Some(LinkId(3)));
}

#[test]
fn a_flood_of_forged_answers_costs_no_more_than_its_share() {
    let mut known = known();
    known.subnets4.push("10.1.0.0/16".parse().unwrap());
    known.pools4.push(Range4 { first: [10, 1, 0, 1].into(), last: [10, 1, 255, 1].into() });
    let mut detector = Detector::new(Settings::default(), known, Timestamp(START));
    let (mut out, mut random) = (Outcome::default(), 1u64);
    for i in 0..400_000u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mac = Mac([2, 1, (random >> 33) as u8, (random >> 41) as u8, (random >> 49) as u8, 1]);
        let addr = match i % 2 {
            0 => IpAddr::from([10, 1, (random >> 13) as u8, (random >> 21) as u8]),
            _ => IpAddr::V6(((0x2001_0db8_u128 << 96) + u128::from(random)).into()),
        };
        let seen = Sighting { addr, mac, eth_src: mac, port: None, by: By::ArpReply };
        let now = Timestamp(START + i / 100);
        detector.heard(Heard::Claim(seen), now, &mut out);
        let server = Sighting { by: By::Dhcp, ..seen };
        detector.heard(Heard::Server(Server::Dhcp4, server), now, &mut out);
        detector.poll(now, &mut out);
    }
    let [addrs, macs, cases] = detector.sizes();
    assert!(addrs <= 2 * ADDRS_HALF && macs <= 2 * 8192 && cases <= 2 * CASES_MAX);
    assert!(detector.findings().count() <= FINDINGS_MAX + 2 * OTHERS_MAX);
    assert!(detector.counts().lost > 0, "what found no room is counted");
    // The sweep goes on: a third of the questions are its own.
    let of_all = |ask: &&Ask| matches!(ask, Ask::Who { to: None, .. });
    let of_sweep = out.asks.iter().filter(of_all).count();
    assert!(of_sweep * 3 >= out.asks.len(), "{of_sweep} of {}", out.asks.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// An address that moves, there and back again, is no finding at any moment of the sweep, with
    /// frames that are late or lost, and with a new holder that speaks before the old one is silent.
    #[test]
    fn an_address_that_moves_is_no_finding(
        moves in prop::collection::vec(0u64..12_000, 1..4),
        overlap in 0u64..ROUND_GAP.0 / 2,
        delay_max in 0u64..150,
        loss in prop::sample::select(vec![0u64, 20, 5]),
        random in 1u64..u64::MAX,
    ) {
        let mut moves = moves;
        moves.sort();
        // Faster than this it moves for good: there are two holders as far as anybody can tell.
        moves.dedup_by(|later, earlier| *later < *earlier + 4 * ROUND_GAP.0);
        let mut all = vec![];
        let mut from = 0;
        for (i, at) in moves.iter().chain([&u64::MAX]).enumerate() {
            let until = at.saturating_add(overlap);
            all.push(holds(41 + (i as u8 % 2), "10.0.0.40", (from, until)));
            from = *at;
        }
        let mut segment = Segment::new(Known { bound: BTreeMap::new(), ..known() }, &all);
        (segment.delay_max, segment.loss, segment.random) = (delay_max, loss, random);
        segment.run(16_000);
        prop_assert_eq!(&segment.found, &vec![]);
    }
}
