//! Who foresees: predictions that are right, wrong or meant badly (always for an account that does not
//! come, in floods, of any size), addresses held, extended and given back by hand, and others put out
//! of use; and machines that come without a word.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use foreshadow::base::{Mac, NetworkId, Resource, Sort, Span, Timestamp};
use foreshadow::engine::shadows::{Prediction, Reserve, Tally as Counted};
use foreshadow::lease::{Foreseen, Foreseer, Lease, Line, Owner, QuarantineReason, State};

use super::cloud::{Happens, Stage};
use super::random::Random;
use super::world::{Event, World};

/// Machines that nobody registered.
const WALK_INS: usize = 6;
/// Who is foreseen all the time and never comes.
pub(crate) const NOBODY: &str = "nobody";

/// A shadow, as it was seen last.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) owner: Owner,
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
    /// To whom it is offered, and until when.
    pub(crate) promised: Option<(Mac, Timestamp)>,
}

/// What was foreseen, and what was seen of it.
#[derive(Debug)]
pub(crate) struct Foresight {
    pub(crate) random: Random,
    pub(crate) made: u64,
    /// Until when somebody said that a shadow may live, by its address and since when it is one.
    pub(crate) said: BTreeMap<(Resource, Timestamp), Timestamp>,
    pub(crate) held: BTreeMap<Resource, Held>,
    pub(crate) counts: BTreeMap<(Owner, Sort), usize>,
    /// What is sure to be free of each family.
    pub(crate) free: [u128; 2],
    /// Since when what is over stands.
    pub(crate) overdue: BTreeMap<Resource, u64>,
    /// Failed commits, restarts and reloads so far: what was seen before them proves nothing.
    pub(crate) age: (u64, u64, usize),
    pub(crate) starts: u64,
    pub(crate) counted: Counted,
}

impl Foresight {
    pub(crate) fn new(seed: u64) -> Foresight {
        Foresight {
            random: Random::new(seed ^ 0xf0e5),
            made: 0,
            said: BTreeMap::new(),
            held: BTreeMap::new(),
            counts: BTreeMap::new(),
            free: [0; 2],
            overdue: BTreeMap::new(),
            age: (0, 0, 0),
            starts: 0,
            counted: Counted::default(),
        }
    }
}

pub(crate) fn cloud() -> NetworkId {
    NetworkId::of("cloud")
}

/// All addresses of its pools.
pub(crate) fn addresses() -> impl Iterator<Item = Resource> {
    let v4 = (10..=21).map(|low| Resource::V4(Ipv4Addr::new(10, 1, 0, low)));
    v4.chain((0x10..=0x1f).map(|low| Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, low).into()))
}

impl World {
    /// Something is foreseen, or done about what is held.
    pub(crate) fn foresees(&mut self) {
        match self.foresight.random.below(24) {
            0..4 => self.predicts_rightly(),
            4..10 => self.predicts_wrongly(),
            10 => (0..50).for_each(|_| self.predicts_wrongly()),
            11..13 => self.holds(),
            13 => self.gives_back(),
            14..16 => self.extends(),
            16 => self.puts_out(),
            17 => self.lifts(),
            18..22 => self.walks_in(),
            _ => self.walks_out(),
        }
        let next = self.foresight.random.within(200, 6000);
        self.at(next, Event::Cloud(0, Happens::Foresees));
    }

    fn some_owner(&mut self) -> Owner {
        let random = &mut self.foresight.random;
        let owners = [("acme", None), ("acme", Some("web")), ("made", None), (NOBODY, None)];
        let (account, application) = random.pick(&owners);
        (account.into(), application.map(Arc::from))
    }

    fn predicts(&mut self, owner: &Owner, count: u32, horizon: Span, quantiles: &[(u8, u32)]) {
        self.foresight.made += 1;
        let now = self.server_now();
        let said = Prediction {
            id: format!("p{}", self.foresight.made).into(),
            by: Foreseer::Prediction,
            made: now,
            until: now + horizon,
            count,
            quantiles: quantiles.to_vec(),
            instance_type: None,
            region: None,
            requirements: None,
        };
        let (made, _) = self.server.act(now, |e, fx| e.predict(now, cloud(), owner, said, fx));
        if made.is_ok() {
            self.tally.seen("predictions");
        }
    }

    /// So many come soon, and it is known.
    fn predicts_rightly(&mut self) {
        let count = self.foresight.random.within(1, 4);
        let is_web = self.foresight.random.chance(500);
        let owner: Owner = ("acme".into(), is_web.then(|| "web".into()));
        self.predicts(&owner, count as u32, Span::from_secs(60), &[]);
        for _ in 0..count {
            let delay = self.foresight.random.within(3_000, 40_000);
            self.at(delay, Event::Cloud(0, Happens::Comes(owner.clone())));
        }
    }

    /// Anything, for anybody.
    fn predicts_wrongly(&mut self) {
        let owner = match self.foresight.random.chance(500) {
            true => (NOBODY.into(), None),
            false => self.some_owner(),
        };
        let random = &mut self.foresight.random;
        let count = random.pick(&[0, 1, 3, 9, 1_000, 1_000_000, u32::MAX]);
        let horizon = random.pick(&[0, 1_000, 30_000, 300_000, 604_800_000]);
        let quantiles: &[(u8, u32)] = match random.below(3) {
            0 => &[(50, 1), (90, 5), (99, u32::MAX)],
            _ => &[],
        };
        self.predicts(&owner, count, Span(horizon), quantiles);
    }

    /// Somebody holds some by hand.
    fn holds(&mut self) {
        let (owner, now) = (self.some_owner(), self.server_now());
        let random = &mut self.foresight.random;
        let sort = random.pick(&[Sort::V4, Sort::V4, Sort::V6]);
        let count = random.pick(&[1, 2, 4, 1000]);
        let until = now + Span(random.within(1_000, 90_000));
        let line = Line { network: cloud(), sort, owner };
        let reserve = Reserve { line, count, until, foreseen: Foreseen::by(Foreseer::Operator) };
        let (held, _) = self.server.act(now, |e, fx| e.reserve_shadows(now, &reserve, fx));
        for lease in held.iter().flatten() {
            self.foresight.said.insert((lease.resource, lease.since), until);
            self.tally.seen("shadows made by hand");
        }
    }

    /// One of the shadows, which may be promised to somebody.
    fn some_shadow(&mut self) -> Option<Resource> {
        let all: Vec<Resource> = self.shadows().into_keys().collect();
        (!all.is_empty()).then(|| self.foresight.random.pick(&all))
    }

    fn gives_back(&mut self) {
        let (Some(shadow), now) = (self.some_shadow(), self.server_now()) else { return };
        let (gone, _) = self.server.act(now, |e, fx| e.release_shadow(now, cloud(), shadow, fx));
        if gone.is_ok() {
            self.tally.seen("shadows given back by hand");
        }
    }

    fn extends(&mut self) {
        let (Some(shadow), now) = (self.some_shadow(), self.server_now()) else { return };
        let until = now + Span(self.foresight.random.within(1_000, 90_000));
        let done = |e: &mut _, fx: &mut _| extend(e, now, shadow, until, fx);
        if let (Some(lease), _) = self.server.act(now, done) {
            // Less may not reach the disk: then what was said before it holds.
            let said = self.foresight.said.entry((shadow, lease.since)).or_default();
            *said = until.max(*said);
            self.tally.seen("shadows extended by hand");
        }
    }

    /// An address that nobody has is out of use from now on, be it held for somebody or not.
    fn puts_out(&mut self) {
        let all: Vec<Resource> = addresses().collect();
        let (picked, now) = (self.foresight.random.pick(&all), self.server_now());
        let engine = &self.server.engine;
        let known = engine.leases().get(cloud(), picked).map(|lease| lease.state);
        let is_out = known.is_some_and(|state| state.is_held() && state != State::Shadow);
        let is_told = self.witness.told.contains_key(&picked);
        if is_out || is_told || engine.offers().get(cloud(), picked).is_some() {
            return;
        }
        let span = Some(Span(self.foresight.random.within(5_000, 40_000)));
        let put = |e: &mut _, fx: &mut _| quarantine(e, now, picked, span, fx);
        if let (Some(lease), _) = self.server.act(now, put) {
            self.witness.puts_out(self.moment(), picked, lease.until);
            self.tally.seen("addresses put out of use by hand");
            if known == Some(State::Shadow) {
                self.tally.seen("shadows put out of use by hand");
            }
        }
    }

    fn lifts(&mut self) {
        let now = self.server_now();
        let leases = self.server.engine.leases();
        let by_hand = State::Quarantined(QuarantineReason::Operator);
        let is_out = |r: &Resource| leases.get(cloud(), *r).is_some_and(|l| l.state == by_hand);
        if let Some(picked) = addresses().find(is_out) {
            let (lifted, _) = self.server.act(now, |e, fx| e.lift(now, cloud(), picked, fx));
            if lifted.is_ok() {
                self.witness.lifts(picked);
                self.tally.seen("addresses lifted by hand");
            }
        }
    }

    /// A machine that nobody registered: of an account by its MAC, or of none. Some ask for an address
    /// that they have no right to.
    fn walks_in(&mut self) {
        let walk_ins = self.cloud.machines.values().filter(|m| m.stage == Stage::WalkIn);
        if walk_ins.count() >= WALK_INS {
            return;
        }
        let id = format!("w{}", self.cloud.made);
        let mut machine = self.new_machine(&id, foreshadow::lease::Seq(0));
        let random = &mut self.foresight.random;
        let (mark, account, application) = random.pick(&[
            (0x71, Some("acme"), None),
            (0x72, Some("acme"), Some("web")),
            (0x73, None, None),
        ]);
        let [.., high, low] = machine.client.mac.0;
        let wanted =
            random.chance(400).then(|| Ipv4Addr::new(10, 1, 0, 10 + random.below(12) as u8));
        machine.is_called(Mac([2, 0, 0, mark, high, low]));
        machine.client.addr = wanted;
        machine.stage = Stage::WalkIn;
        (machine.account, machine.application) =
            (account.map(Arc::from), application.map(Arc::from));
        let n = self.cloud.made;
        self.cloud.machines.insert(n, machine);
        self.turns_on(n);
        self.tally.seen("machines that nobody registered");
    }

    fn walks_out(&mut self) {
        if let Some(n) = self.cloud.one(|m| m.stage == Stage::WalkIn) {
            self.cloud.machines.remove(&n);
        }
    }
}

fn extend(
    engine: &mut foreshadow::engine::Engine,
    now: Timestamp,
    shadow: Resource,
    until: Timestamp,
    fx: &mut foreshadow::engine::Effects,
) -> Option<Lease> {
    engine.extend_shadow(now, cloud(), shadow, until, fx).ok()
}

fn quarantine(
    engine: &mut foreshadow::engine::Engine,
    now: Timestamp,
    resource: Resource,
    span: Option<Span>,
    fx: &mut foreshadow::engine::Effects,
) -> Option<Lease> {
    engine.quarantine(now, cloud(), resource, span, fx).ok()
}
