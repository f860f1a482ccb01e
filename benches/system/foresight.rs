//! What it costs to look ahead: 100,000 demand shadows of 1,000 accounts, and what an instance costs
//! that finds one beside one that does not, in one engine and in turns. Without sockets and disk: what
//! those cost is the same for both.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use foreshadow::base::{LinkId, Mac, NetworkId, Timestamp};
use foreshadow::config;
use foreshadow::config::policy::{Account, ShadowTerms, Terms};
use foreshadow::engine::effects::LinkUp;
use foreshadow::engine::instances::Wish;
use foreshadow::engine::{Arrival, Effects, Engine, Input};
use foreshadow::lease::Seq;
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::{Message, MessageType, options as opt};
use rustix::time::{ClockId, clock_gettime};

use crate::figures::{Figures, What};
use crate::meter;
use crate::peer::Peer;

pub(crate) const MADE: &str = "demand shadows";
pub(crate) const API: [&str; 2] = ["instance, plain", "instance, shadow"];
pub(crate) const DHCP: [&str; 2] = ["exchange, plain", "exchange, shadow"];

pub(crate) const ACCOUNTS: u32 = 1000;
/// Shadows of each account.
pub(crate) const READY: u32 = 100;
/// Instances of each kind that are measured.
const INSTANCES: u16 = 20_000;
/// Instances of a kind before it is the other's turn, all in one commit.
const BATCH: u16 = 16;
const NOW: Timestamp = Timestamp(1_700_000_000_000);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

struct World {
    engine: Engine,
    fx: Effects,
}

/// Adds one repetition of everything.
pub(crate) fn foresight(figures: &mut Figures) {
    let mut world = World::new();
    let (memory, began) = (meter::resident(std::process::id()), cpu_ns());
    let count = world.hold();
    let (cpu, bytes) = (cpu_ns() - began, meter::resident(std::process::id()) - memory);
    let ours = Peer::Foreshadow;
    figures.add(MADE, ours, What::Cpu, cpu / 1e3 / count as f64);
    // Later ones have what the first one gave back.
    if figures.median(MADE, ours, What::Each).is_none() {
        figures.add(MADE, ours, What::Each, bytes / count as f64);
    }
    let (mut api, mut dhcp) = ([0.0; 2], [0.0; 2]);
    for turn in 0..INSTANCES / BATCH {
        // Whoever comes second finds what the first one left in the caches.
        for kind in if turn % 2 == 0 { [0, 1] } else { [1, 0] } {
            let wishes = wishes(turn, kind);
            api[kind] += timed(|| world.register(&wishes));
            let macs = (0..BATCH).map(|n| mac(kind, turn * BATCH + n)).collect::<Vec<_>>();
            dhcp[kind] += timed(|| world.boot(&macs));
        }
    }
    let total = world.engine.tallies().total();
    let all = u64::from(INSTANCES / BATCH * BATCH);
    assert_eq!((total.creates, total.hits), (4 * all, 2 * all), "half of them find one");
    for (cases, spent) in [(API, api), (DHCP, dhcp)] {
        for (case, ns) in cases.into_iter().zip(spent) {
            figures.add(case, ours, What::Cpu, ns / 1e3 / all as f64);
        }
    }
}

/// What this thread has used so far, in nanoseconds.
fn cpu_ns() -> f64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    spent.tv_sec as f64 * 1e9 + spent.tv_nsec as f64
}

fn timed(what: impl FnOnce()) -> f64 {
    let began = cpu_ns();
    what();
    cpu_ns() - began
}

fn wishes(turn: u16, kind: usize) -> Vec<Wish> {
    let account = |n: u16| format!("{}-{}", ["plain", "ready"][kind], u32::from(n) % ACCOUNTS);
    let wish = |n: u16| Wish {
        network: Some(NetworkId::of("bench")),
        account: Some(account(turn * BATCH + n).into()),
        ..Wish::default()
    };
    (0..BATCH).map(wish).collect()
}

/// Which account a machine is of shows in its MAC.
fn mac(kind: usize, n: u16) -> Mac {
    let [high, low] = n.to_be_bytes();
    Mac([2, 0, 0, kind as u8, high, low])
}

impl World {
    /// As many accounts that will have shadows as such that will not; two of them are known by MAC.
    fn new() -> World {
        let policy = "[shadow]\nmax=200000\nmax_per_owner=100000\nkeep_free='0%'\n\
             [[network]]\nname='bench'\ninterfaces=['br0']\nverify=false\n\
             [[network.subnet]]\nprefix='10.0.0.0/8'\npools=['10.0.1.0-10.255.255.200']\n\
             [[account]]\nname='booting-plain'\n[[account]]\nname='booting-ready'\n\
             [[class]]\nname='plain'\nmatch={mac='02:00:00:00'}\naccount='booting-plain'\n\
             [[class]]\nname='ready'\nmatch={mac='02:00:00:01'}\naccount='booting-ready'\n";
        let loaded = config::check(policy, "bench").expect("a policy");
        let mut engine = Engine::new(Arc::new(loaded.policy), Vec::new(), Seq(0));
        engine.set_identity(b"bench", [7; 16]);
        let mut world = World { engine, fx: Effects::default() };
        let up = LinkUp {
            link: LinkId(1),
            name: "br0".into(),
            network: NetworkId::of("bench"),
            mac: Mac([2, 0xff, 0, 0, 0, 1]),
            addrs: vec![(OWN, "10.0.0.0/8".parse().expect("a prefix"))],
            addrs6: Vec::new(),
        };
        world.engine.handle(NOW, Input::LinkUp(up), &mut world.fx);
        for number in 0..ACCOUNTS {
            world.account(&format!("ready-{number}"), 0);
            world.account(&format!("plain-{number}"), 0);
        }
        world.commit();
        world
    }

    fn account(&mut self, name: &str, ready: u32) {
        let shadow = ShadowTerms { ready, ..ShadowTerms::default() };
        let terms = Terms { shadow, ..Terms::default() };
        let account = Account { name: name.into(), terms, ..Account::default() };
        self.engine.put_account(account, &mut self.fx).expect("an account");
        self.commit();
    }

    /// Makes all shadows; how many.
    fn hold(&mut self) -> usize {
        let booting = u32::from(INSTANCES);
        (0..ACCOUNTS).for_each(|number| self.account(&format!("ready-{number}"), READY));
        self.predict("booting-ready", booting);
        let want = (ACCOUNTS * READY + booting) as usize;
        while self.engine.leases().shadows().len() < want {
            self.tick();
        }
        want
    }

    fn predict(&mut self, account: &str, count: u32) {
        let said = foreshadow::engine::shadows::Prediction {
            id: "bench".into(),
            by: foreshadow::lease::Foreseer::Prediction,
            made: NOW,
            until: Timestamp(NOW.0 + 3_600_000),
            count,
            quantiles: Vec::new(),
            instance_type: None,
            region: None,
            requirements: None,
        };
        let (network, owner) = (NetworkId::of("bench"), (account.into(), None));
        self.engine.predict(NOW, network, &owner, said, &mut self.fx).expect("a prediction");
        self.commit();
    }

    fn register(&mut self, wishes: &[Wish]) {
        for wish in wishes {
            self.engine.create_instance(NOW, wish, &mut self.fx).expect("an instance");
        }
        self.tick();
    }

    fn boot(&mut self, macs: &[Mac]) {
        let mut offers = Vec::with_capacity(macs.len());
        for mac in macs {
            let discover = RequestV4::new(MessageType::Discover, *mac).build();
            offers.push(self.ask(*mac, &discover));
        }
        for (mac, offered) in macs.iter().zip(offers) {
            let request = RequestV4::new(MessageType::Request, *mac);
            let request = request.addr(opt::REQUESTED_IP, offered).addr(opt::SERVER_ID, OWN);
            self.ask(*mac, &request.build());
        }
        self.tick();
    }

    fn ask(&mut self, mac: Mac, bytes: &[u8]) -> Ipv4Addr {
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
        self.engine.handle(NOW, Input::Packet4(arrival, bytes), &mut self.fx);
        let reply = self.fx.send_now.last().or(self.fx.send_after.last()).expect("an answer");
        let given = Message::parse(&self.fx.bytes[reply.payload.clone()]).expect("ours").yiaddr();
        self.fx.send_now.clear();
        given
    }

    /// The batch is durable, and what follows from it is done.
    fn tick(&mut self) {
        self.commit();
        while self.engine.next_wakeup().is_some_and(|at| at <= NOW) {
            self.engine.handle(NOW, Input::Tick, &mut self.fx);
            self.commit();
        }
    }

    fn commit(&mut self) {
        let fx = &mut self.fx;
        fx.changes.clear();
        fx.events.clear();
        fx.outcomes.clear();
        fx.probes.clear();
        fx.send_after.clear();
        fx.bytes.clear();
        if let Some(seq) = self.engine.end_batch() {
            self.engine.handle(NOW, Input::Committed(seq), &mut self.fx);
        }
    }
}
