//! Who is told the truth in time finds every instance an address ready, and holds each no longer than
//! from the word to the instance.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use foreshadow::base::{LinkId, Mac, NetworkId, Span, Timestamp};
use foreshadow::config;
use foreshadow::engine::effects::LinkUp;
use foreshadow::engine::instances::Wish;
use foreshadow::engine::shadows::{Prediction, Tally};
use foreshadow::engine::{Arrival, Effects, Engine, Input};
use foreshadow::lease::{Foreseer, Owner, Seq};
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::{Message, MessageType, options as opt};

const START: Timestamp = Timestamp(1_700_000_000_000);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Windows of one test: of each the truth is told.
const WINDOWS: u64 = 40;

/// Who foresees, and how.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// How long a window is: the horizon.
    horizon: Span,
    /// How long before it begins the word is given.
    lead: Span,
    /// Whether the wire is asked who has an address before it counts as ready.
    verify: bool,
}

/// An instance of an owner that comes.
#[derive(Clone, Copy, Debug)]
struct Comes {
    at: Timestamp,
    owner: usize,
    /// By its DISCOVER, or by the API before it boots.
    by_dhcp: bool,
}

fn owners() -> [Owner; 3] {
    // What is said of an account is said of all its applications together.
    [("shop".into(), Some("db".into())), ("shop".into(), Some("web".into())), ("bank".into(), None)]
}

/// What comes, in order of time: the same for the same seed.
fn schedule(seed: u64, way: Way) -> Vec<Comes> {
    let mut state = seed;
    let mut next = move |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut all = Vec::new();
    for window in 0..WINDOWS {
        for owner in 0..owners().len() {
            for _ in 0..next(6) {
                let at = START + Span(window * way.horizon.0 + next(way.horizon.0));
                all.push(Comes { at, owner, by_dhcp: next(2) == 0 });
            }
        }
    }
    all.sort_by_key(|comes| comes.at);
    all
}

struct World {
    engine: Engine,
    now: Timestamp,
    came: u16,
    /// Addresses held, by time: looked at whenever something happens.
    idle_ms: u64,
}

impl World {
    fn new(way: Way) -> World {
        let verify = if way.verify { "{ready=8,probes_per_s=100}" } else { "false" };
        let policy = format!(
            "[[network]]\nname='lab'\ninterfaces=['br0']\nverify={verify}\n\
             [[network.subnet]]\nprefix='10.0.0.0/16'\npools=['10.0.1.0-10.0.9.255']\n\
             [shadow]\nkeep_free='0%'\nmax_age='1d'\ntopup='30s'\n\
             [[account]]\nname='shop'\n[[account.application]]\nname='web'\n\
             [[account.application]]\nname='db'\n\
             [[account]]\nname='bank'\n\
             [[class]]\nname='c0'\nmatch={{mac=['02:00:00:00']}}\naccount='shop'\napplication='db'\n\
             [[class]]\nname='c1'\nmatch={{mac=['02:00:00:01']}}\naccount='shop'\napplication='web'\n\
             [[class]]\nname='c2'\nmatch={{mac=['02:00:00:02']}}\naccount='bank'\n"
        );
        let policy = Arc::new(config::check(&policy, "test").unwrap().policy);
        let mut engine = Engine::new(policy, Vec::new(), Seq(0));
        engine.set_identity(b"perfect", [7; 16]);
        let up = LinkUp {
            link: LinkId(1),
            name: "br0".into(),
            network: NetworkId::of("lab"),
            mac: Mac([2, 0xff, 0, 0, 0, 1]),
            addrs: vec![(OWN, "10.0.0.0/16".parse().unwrap())],
            addrs6: Vec::new(),
        };
        let now = Timestamp(START.0 - 3_600_000);
        engine.handle(now, Input::LinkUp(up), &mut Effects::default());
        World { engine, now, came: 0, idle_ms: 0 }
    }

    fn passes(&mut self, to: Timestamp) {
        loop {
            let due = self.engine.next_wakeup().filter(|due| *due <= to);
            let at = due.unwrap_or(to).max(self.now);
            self.idle_ms += self.engine.leases().shadows().len() as u64 * at.since(self.now).0;
            self.now = at;
            if due.is_none() {
                return;
            }
            self.input(Input::Tick);
        }
    }

    fn input(&mut self, input: Input<'_>) -> Option<Vec<u8>> {
        let mut fx = Effects::default();
        self.engine.handle(self.now, input, &mut fx);
        self.commit();
        let reply = fx.send_now.first().or(fx.send_after.first())?;
        Some(fx.bytes[reply.payload.clone()].to_vec())
    }

    fn commit(&mut self) {
        while let Some(seq) = self.engine.end_batch() {
            self.engine.handle(self.now, Input::Committed(seq), &mut Effects::default());
        }
    }

    fn predicts(&mut self, owner: &Owner, count: u32, until: Timestamp) {
        let (network, made) = (NetworkId::of("lab"), self.now);
        let said = Prediction {
            id: "truth".into(),
            by: Foreseer::Prediction,
            made,
            until,
            count,
            quantiles: Vec::new(),
            instance_type: None,
            region: None,
            requirements: None,
        };
        self.engine.predict(made, network, owner, said, &mut Effects::default()).unwrap();
        self.commit();
    }

    fn comes(&mut self, comes: Comes) {
        self.came += 1;
        let [high, low] = self.came.to_be_bytes();
        let (account, application) = owners()[comes.owner].clone();
        if comes.by_dhcp {
            return self.boots(Mac([2, 0, 0, comes.owner as u8, high, low]));
        }
        let network = Some(NetworkId::of("lab"));
        let wish = Wish { network, account: Some(account), application, ..Wish::default() };
        self.engine.create_instance(self.now, &wish, &mut Effects::default()).unwrap();
        self.commit();
    }

    fn boots(&mut self, mac: Mac) {
        let arrival = Arrival {
            link: LinkId(1),
            port: None,
            trusted: false,
            trunk: true,
            src_mac: Some(mac),
            src: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            dst: Ipv4Addr::BROADCAST,
            dst_port: 67,
        };
        let discover = RequestV4::new(MessageType::Discover, mac).build();
        let offer = self.input(Input::Packet4(arrival, &discover)).expect("an offer");
        let offered = Message::parse(&offer).unwrap().yiaddr();
        let request = RequestV4::new(MessageType::Request, mac).addr(opt::REQUESTED_IP, offered);
        let request = request.addr(opt::SERVER_ID, OWN).build();
        let ack = self.input(Input::Packet4(arrival, &request)).expect("an ACK");
        assert_eq!(Message::parse(&ack).unwrap().yiaddr(), offered);
    }
}

/// Plays a schedule of which the truth is told.
fn play(seed: u64, way: Way) -> (World, Vec<Comes>) {
    let schedule = schedule(seed, way);
    let mut world = World::new(way);
    let mut said: Vec<(Timestamp, usize, u32, Timestamp)> = Vec::new();
    for window in 0..WINDOWS {
        let from = START + Span(window * way.horizon.0);
        let until = from + way.horizon;
        for owner in 0..owners().len() {
            // What is said counts from when it is said.
            let at = Timestamp(from.0 - way.lead.0);
            let own = schedule.iter().filter(|c| c.owner == owner && c.at >= at && c.at < until);
            said.push((at, owner, own.count() as u32, until));
        }
    }
    let (mut said, mut coming) = (said.into_iter().peekable(), schedule.iter().peekable());
    loop {
        let word = said.peek().map_or(Timestamp::NEVER, |(at, ..)| *at);
        let machine = coming.peek().map_or(Timestamp::NEVER, |comes| comes.at);
        if word <= machine {
            let Some((at, owner, count, until)) = said.next() else { break };
            world.passes(at);
            world.predicts(&owners()[owner], count, until);
        } else if let Some(comes) = coming.next() {
            world.passes(comes.at);
            world.comes(*comes);
        }
        // What is due at once is done at once, as the driver does it.
        world.passes(world.now);
    }
    let end = world.now + Span(way.horizon.0 + 3_600_000);
    world.passes(end);
    (world, schedule)
}

/// What waits by the schedule alone: each address from the word of the window on in which its instance
/// comes, which is the first that counts it, to the instance.
fn implied(schedule: &[Comes], way: Way) -> u64 {
    let waits = |comes: &Comes| comes.at.since(START).0 % way.horizon.0 + way.lead.0;
    schedule.iter().map(waits).sum()
}

#[test]
fn the_truth_in_time_hits_always_and_wastes_what_its_horizon_implies() {
    let ways = [
        Way { horizon: Span::from_secs(300), lead: Span(0), verify: false },
        Way { horizon: Span::from_secs(900), lead: Span(0), verify: false },
        Way { horizon: Span::from_secs(30), lead: Span(0), verify: false },
        // While the wire is asked, nothing is ready.
        Way { horizon: Span::from_secs(300), lead: Span::from_secs(5), verify: true },
        Way { horizon: Span::from_secs(60), lead: Span::from_secs(20), verify: true },
    ];
    for (seed, way) in (1..).zip(ways) {
        let (world, schedule) = play(seed, way);
        let (total, count) = (world.engine.tallies().total(), schedule.len() as u64);
        let implied = implied(&schedule, way);
        assert!(count > 200, "{count} are few");
        let perfect = Tally {
            creates: count,
            hits: count,
            held: count,
            waited_ms: implied,
            ..Tally::default()
        };
        assert_eq!(total, perfect, "{way:?}");
        assert_eq!(world.idle_ms, implied, "{way:?}: by what was seen to be held");
        assert!(world.engine.leases().shadows().is_empty(), "{way:?}: something is left");
    }
}
