//! Planned switchovers begin in the windows of their network, and others do not wait for them.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

use std::sync::Arc;

use foreshadow::base::{Span, Timestamp};
use foreshadow::config;
use foreshadow::engine::effects::EventKind;
use foreshadow::engine::instances::Denied;
use foreshadow::engine::standbys::Report;
use foreshadow::engine::standbys::name::StandbyWish;
use foreshadow::engine::standbys::news::StandbyNews;
use foreshadow::engine::{Effects, Engine, Input};
use foreshadow::lease::Seq;
use foreshadow::lease::directory::{Identifiers, Kind, Party, Readiness, Standby};

const LAN: &str = "[[network]]\nname = \"lab\"\ninterfaces = [\"br0\"]\n\
    standby = { windows = [\"sat 02:00-05:00\", \"22:00-23:00\"] }\n\
    [[network.subnet]]\nprefix = \"10.0.0.0/24\"\npools = [\"10.0.0.10-10.0.0.13\"]\n";
/// Noon of Monday, 2026-11-23.
const NOON: Timestamp = Timestamp((1_795_392_000 + 12 * 3600) * 1000);
const HOUR: Span = Span(3_600_000);

fn party(last: u8) -> Party {
    let who = Identifiers {
        mac: Some(foreshadow::base::Mac([2, 0, 0, 0, 0, last])),
        ..Identifiers::default()
    };
    Party { who, ..Party::default() }
}

/// A pair on a network with windows.
struct World {
    engine: Engine,
    fx: Effects,
}

impl World {
    fn new(ready: bool) -> World {
        let policy = Arc::new(config::check(LAN, "test").unwrap().policy);
        let network = Some(policy.networks[0].id);
        let engine = Engine::new(policy, Vec::new(), Seq(0));
        let mut world = World { engine, fx: Effects::default() };
        let wish = StandbyWish {
            id: Some("db".into()),
            network,
            resources: vec!["10.0.0.77".parse().unwrap()],
            active: party(1),
            standby: party(2),
            ..StandbyWish::default()
        };
        world.engine.create_standby(NOON, &wish, &mut world.fx).unwrap();
        world.engine.gated(NOON, "db", true, &mut world.fx).unwrap();
        if ready {
            let report = Report { progress: None, state: Some(Readiness::Ready) };
            world.engine.report(NOON, "db", report, &mut world.fx).unwrap();
        }
        world
    }

    fn begin(&mut self, at: Timestamp, kind: Kind, forced: bool) -> Result<Arc<Standby>, Denied> {
        self.engine.begin_switchover(at, "db", (kind, forced, "ops"), &mut self.fx)
    }

    fn plan(&mut self, at: Timestamp) -> Arc<Standby> {
        self.engine.plan_switchover(at, "db", "ops", &mut self.fx).unwrap()
    }

    /// Time goes on; what became of standbys.
    fn tick(&mut self, at: Timestamp) -> Vec<StandbyNews> {
        let mut fx = Effects::default();
        self.engine.handle(at, Input::Tick, &mut fx);
        let news = fx.events.iter().filter_map(|event| match &event.kind {
            EventKind::Standby(news, _) => Some(*news),
            _ => None,
        });
        news.collect()
    }

    fn pair(&self) -> Arc<Standby> {
        self.engine.directory().standby("db").unwrap().clone()
    }
}

#[test]
fn outside_of_a_window_only_a_failure_or_force_begins_one() {
    let denied = World::new(true).begin(NOON, Kind::Planned, false);
    let Err(Denied::InUse(why)) = denied else { panic!("{denied:?}") };
    assert!(why.contains("opens in 10h"), "{why}");
    assert!(World::new(true).begin(NOON, Kind::Planned, true).is_ok());
    assert!(World::new(true).begin(NOON, Kind::Failure, false).is_ok());
    assert!(World::new(true).begin(NOON + Span(10 * HOUR.0), Kind::Planned, false).is_ok());
}

#[test]
fn one_that_waits_begins_when_the_window_opens() {
    let mut world = World::new(true);
    let opens = NOON + Span(10 * HOUR.0);
    assert_eq!(world.plan(NOON).planned.as_ref().map(|planned| planned.at), Some(opens));
    assert!(world.engine.next_wakeup().is_some_and(|at| at <= opens));
    assert!(world.tick(Timestamp(opens.0 - 1)).is_empty());
    assert_eq!(world.tick(opens), [StandbyNews::Begun]);
    let pair = world.pair();
    assert_eq!((pair.state.as_str(), &pair.planned), ("switching", &None));
    assert_eq!(&*pair.state.switchover().unwrap().by, "ops");
    // In a window there is nothing to wait for.
    assert_eq!(World::new(true).plan(opens).state.as_str(), "switching");
}

#[test]
fn who_is_not_ready_when_it_opens_is_said_and_stays_as_it_is() {
    let mut world = World::new(true);
    world.plan(NOON);
    world.engine.gated(NOON, "db", false, &mut world.fx).unwrap();
    // It would be dropped for not being ready long before.
    let opens = NOON + Span(10 * HOUR.0);
    let report = Report { progress: None, state: None };
    world.engine.report(NOON, "db", report, &mut world.fx).unwrap();
    assert_eq!(world.tick(NOON + Span(2 * HOUR.0)), [StandbyNews::TimedOut]);
    let mut late = World::new(true);
    late.plan(NOON);
    // The server was away until the window was over.
    assert_eq!(late.tick(opens + Span(2 * HOUR.0)), [StandbyNews::NotBegun]);
    let pair = late.pair();
    assert_eq!((pair.state.as_str(), &pair.planned), ("ready", &None));
    assert!(late.tick(opens + Span(48 * HOUR.0)).is_empty());
}
