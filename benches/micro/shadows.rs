//! What an instance costs that finds an address held for it, beside one that does not: 100,000 shadows
//! of 1,000 accounts stand by in either case.

use std::cell::RefCell;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use foreshadow::base::{NetworkId, Timestamp};
use foreshadow::config;
use foreshadow::config::policy::{Account, ShadowTerms, Terms};
use foreshadow::engine::instances::Wish;
use foreshadow::engine::{Effects, Engine, Input};
use foreshadow::lease::Seq;

/// Instances that are made before their commit.
const BATCH: u32 = 16;
const ACCOUNTS: u32 = 1000;
const READY: u32 = 100;
const NOW: Timestamp = Timestamp(1_700_000_000_000);

struct World {
    engine: Engine,
    fx: Effects,
    next: u32,
}

impl World {
    fn new() -> RefCell<World> {
        let policy = "[shadow]\nmax=200000\nkeep_free='0%'\n\
             [[network]]\nname='bench'\ninterfaces=['br0']\nverify=false\n\
             [[network.subnet]]\nprefix='10.0.0.0/8'\npools=['10.0.1.0-10.255.255.200']\n";
        let loaded = config::check(policy, "bench").expect("a policy");
        let mut engine = Engine::new(Arc::new(loaded.policy), Vec::new(), Seq(0));
        engine.set_identity(b"bench", [7; 16]);
        let mut world = World { engine, fx: Effects::default(), next: 0 };
        for number in 0..ACCOUNTS {
            world.account(&format!("ready-{number}"), READY);
            world.account(&format!("plain-{number}"), 0);
        }
        while world.engine.leases().shadows().len() < (ACCOUNTS * READY) as usize {
            world.engine.handle(NOW, Input::Tick, &mut world.fx);
            world.commit();
        }
        RefCell::new(world)
    }

    fn account(&mut self, name: &str, ready: u32) {
        let shadow = ShadowTerms { ready, ..ShadowTerms::default() };
        let terms = Terms { shadow, ..Terms::default() };
        let account = Account { name: name.into(), terms, ..Account::default() };
        self.engine.put_account(account, &mut self.fx).expect("an account");
        self.commit();
    }

    fn wishes(&mut self, kind: &str) -> Vec<Wish> {
        let wish = |number: u32| Wish {
            network: Some(NetworkId::of("bench")),
            account: Some(format!("{kind}-{}", number % ACCOUNTS).into()),
            ..Wish::default()
        };
        self.next += BATCH;
        (self.next - BATCH..self.next).map(wish).collect()
    }

    fn make(&mut self, wishes: &[Wish]) {
        for wish in wishes {
            self.engine.create_instance(NOW, wish, &mut self.fx).expect("an instance");
        }
        self.commit();
    }

    fn commit(&mut self) {
        self.fx.changes.clear();
        self.fx.events.clear();
        if let Some(seq) = self.engine.end_batch() {
            self.engine.handle(NOW, Input::Committed(seq), &mut self.fx);
        }
    }
}

fn make(bencher: Bencher<'_, '_>, kind: &str) {
    let world = World::new();
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| world.borrow_mut().wishes(kind))
        .bench_local_refs(|wishes| world.borrow_mut().make(wishes));
    let total = world.borrow().engine.tallies().total();
    let hits = if kind == "ready" { total.creates } else { 0 };
    assert_eq!(total.hits, hits, "what was measured is not what it is called");
}

#[divan::bench(sample_size = 1)]
fn instance_with_shadow(bencher: Bencher<'_, '_>) {
    make(bencher, "ready");
}

#[divan::bench(sample_size = 1)]
fn instance_without_shadow(bencher: Bencher<'_, '_>) {
    make(bencher, "plain");
}
