//! The engine with a virtual clock and a store that is never late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::{NetworkId, Span, Timestamp};
use crate::config;
use crate::config::policy::{Account, Application, ShadowTerms, Terms};
use crate::engine::instances::{Denied, Wish};
use crate::engine::shadows::Prediction;
use crate::engine::{Effects, Engine, Input};
use crate::lease::{Foreseer, Owner, Seq};

use super::log::{Event, What};

/// How long before its start a plan is acted on.
const AHEAD: Span = Span::from_secs(120);

/// How shadows are to be held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// So many are always ready, of each application on each network that it has used.
    pub ready: u32,
    /// Plans of the log are predictions.
    pub plans: bool,
    /// Predictions that are always right, for so many seconds ahead; none if 0.
    pub perfect_s: u32,
    /// How long a claimed shadow is not replaced, in seconds.
    pub topup_s: u32,
}

/// The engine, and what it was told.
pub struct World {
    engine: Engine,
    fx: Effects,
    now: Timestamp,
    way: Way,
    networks: BTreeMap<Box<str>, NetworkId>,
    /// Refused creates.
    pub refused: u64,
    /// Idle addresses by time: the sum of what was held, in address milliseconds.
    pub idle_ms: u128,
    looked: Timestamp,
    /// Predictions to be made, by when.
    due: BTreeMap<(Timestamp, u64), Foreseen>,
    numbered: u64,
}

struct Foreseen {
    network: NetworkId,
    owner: Owner,
    count: u32,
    until: Timestamp,
}

impl World {
    /// A world for these events: a network of 65,534 addresses for each that they name.
    pub fn new(events: &[Event], way: Way) -> Result<World, String> {
        let names: BTreeSet<&str> = events.iter().map(|event| &*event.network).collect();
        let mut text = format!(
            "server.relay_interfaces = [\"bt0\"]\n[shadow]\nkeep_free = \"0%\"\nmax = 1000000\n\
             max_per_owner = 1000000\ntopup = {}\n",
            way.topup_s
        );
        for (number, name) in names.iter().enumerate() {
            if number >= 254 * 256 {
                return Err(format!("{} networks, and at most 65,024 can be played", names.len()));
            }
            text.push_str(&network(number, name, names.len())?);
        }
        let checked = config::check(&text, "backtest").map_err(|faults| faults.to_string())?;
        let policy = Arc::new(checked.policy);
        let networks = policy.networks.iter().map(|n| (Box::from(&*n.name), n.id)).collect();
        let start = events.first().map_or(Timestamp(0), |event| event.at);
        let mut world = World {
            engine: Engine::new(policy, Vec::new(), Seq(0)),
            fx: Effects::default(),
            now: start,
            way,
            networks,
            refused: 0,
            idle_ms: 0,
            looked: start,
            due: BTreeMap::new(),
            numbered: 0,
        };
        world.engine.set_identity(b"backtest", [7; 16]);
        world.add_accounts(events)?;
        world.foresee(events);
        Ok(world)
    }

    fn add_accounts(&mut self, events: &[Event]) -> Result<(), String> {
        let mut of: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<NetworkId>)> = BTreeMap::new();
        for event in events {
            let (applications, networks) = of.entry(&event.account).or_default();
            networks.extend(self.networks.get(&event.network));
            if !event.application.is_empty() {
                applications.insert(&event.application);
            }
        }
        let ready = |ready| ShadowTerms { ready, ..ShadowTerms::default() };
        for (name, (applications, networks)) in of {
            let own = if applications.is_empty() { self.way.ready } else { 0 };
            let account = Account {
                name: name.into(),
                terms: Terms { shadow: ready(own), ..Terms::default() },
                networks: networks.into_iter().collect(),
                ..Account::default()
            };
            let denied = |why: Denied| format!("account {name}: {why}");
            self.engine.put_account(account, &mut self.fx).map_err(denied)?;
            for application in applications {
                let terms = Terms { shadow: ready(self.way.ready), ..Terms::default() };
                let application = Application { name: application.into(), terms };
                let made = self.engine.put_application(name, application, &mut self.fx);
                made.map_err(|why| format!("account {name}: {why}"))?;
            }
        }
        self.commit();
        Ok(())
    }

    /// Notes what will be predicted, and when.
    fn foresee(&mut self, events: &[Event]) {
        let mut counts: BTreeMap<(Timestamp, NetworkId, Owner), u32> = BTreeMap::new();
        let period = u64::from(self.way.perfect_s) * 1000;
        for event in events {
            let Some(network) = self.networks.get(&event.network).copied() else { continue };
            let owner = owner(event);
            match event.what {
                What::Create(_) if period > 0 => {
                    let from = Timestamp(event.at.0 - event.at.0 % period);
                    *counts.entry((from, network, owner)).or_default() += 1;
                }
                What::Scheduled { from, count, duration_s } if self.way.plans => {
                    let until = from + Span::from_secs(duration_s.into());
                    let at = Timestamp(from.0.saturating_sub(AHEAD.0)).max(event.at);
                    self.later(at, Foreseen { network, owner, count, until });
                }
                _ => {}
            }
        }
        for ((from, network, owner), count) in counts {
            let until = from + Span(period);
            // Whoever comes at the very beginning is to find it ready.
            let at = Timestamp(from.0.saturating_sub(1000));
            self.later(at, Foreseen { network, owner, count, until });
        }
    }

    fn later(&mut self, at: Timestamp, foreseen: Foreseen) {
        self.numbered += 1;
        self.due.insert((at, self.numbered), foreseen);
    }

    /// Plays one event.
    pub fn play(&mut self, event: &Event) {
        self.go_to(event.at);
        let Some(network) = self.networks.get(&event.network).copied() else { return };
        match &event.what {
            What::Create(id) => {
                let application =
                    Some(&*event.application).filter(|name| !name.is_empty()).map(Into::into);
                let wish = Wish {
                    id: Some((**id).into()),
                    network: Some(network),
                    account: Some((*event.account).into()),
                    application,
                    ..Wish::default()
                };
                let made = self.engine.create_instance(self.now, &wish, &mut self.fx);
                self.refused += u64::from(made.is_err());
            }
            // One that was never made, or went before.
            What::Delete(id) => {
                let _ = self.engine.end_instance(self.now, id, &mut self.fx);
            }
            What::Scheduled { .. } => {}
        }
        self.commit();
    }

    /// Lets time pass.
    pub fn go_to(&mut self, to: Timestamp) {
        loop {
            let tick = self.engine.next_wakeup().filter(|at| *at <= to);
            let said = self.due.keys().next().map(|(at, _)| *at).filter(|at| *at <= to);
            let Some(at) = tick.into_iter().chain(said).min() else { break };
            self.at(at.max(self.now));
            if said.is_some_and(|said| said <= self.now) {
                self.predict();
            } else {
                self.engine.handle(self.now, Input::Tick, &mut self.fx);
            }
            self.commit();
        }
        self.at(to.max(self.now));
    }

    fn at(&mut self, now: Timestamp) {
        let held = self.engine.leases().shadows().len() as u128;
        self.idle_ms += held * u128::from(now.since(self.looked).0);
        (self.now, self.looked) = (now, now);
    }

    fn predict(&mut self) {
        let Some(((_, number), foreseen)) = self.due.pop_first() else { return };
        let Foreseen { network, owner, count, until } = foreseen;
        let said = Prediction {
            id: format!("p-{number}").into(),
            by: Foreseer::Prediction,
            made: self.now,
            until,
            count,
            quantiles: Vec::new(),
            instance_type: None,
            region: None,
            requirements: None,
        };
        // An account that went is predicted nothing.
        let _ = self.engine.predict(self.now, network, &owner, said, &mut self.fx);
    }

    /// Somebody predicts something now.
    pub fn say(&mut self, network: NetworkId, owner: &Owner, said: Prediction) {
        // An account that went is predicted nothing.
        let _ = self.engine.predict(self.now, network, owner, said, &mut self.fx);
        self.commit();
    }

    /// What was decided is durable at once.
    fn commit(&mut self) {
        self.fx.changes.clear();
        self.fx.events.clear();
        self.fx.probes.clear();
        if let Some(seq) = self.engine.end_batch() {
            self.engine.handle(self.now, Input::Committed(seq), &mut self.fx);
        }
    }

    /// The engine, to be looked at.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.now
    }
}

/// Whose instance it is.
pub fn owner(event: &Event) -> Owner {
    let application = Some(&*event.application).filter(|name| !name.is_empty());
    ((*event.account).into(), application.map(Into::into))
}

/// The part of a configuration that serves a network.
fn network(number: usize, name: &str, all: usize) -> Result<String, String> {
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return Err(format!("network `{name}`: want letters, digits, `.`, `_` and `-`"));
    }
    // A /16 for each where there are few, else a /24.
    let prefix = match all <= 254 {
        true => format!("10.{}.0.0/16", number + 1),
        false => format!("{}.{}.{}.0/24", 11 + number / 65_536, number / 256 % 256, number % 256),
    };
    Ok(format!(
        "[[network]]\nname = \"{name}\"\nrelays = [\"192.0.2.0/24\"]\nverify = false\n\
         [[network.subnet]]\nprefix = \"{prefix}\"\npools = [\"{prefix}\"]\n"
    ))
}
