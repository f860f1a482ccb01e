//! The same requests to two engines, one of which is told by an adversary what will come: whoever gets
//! an address where nothing is foreseen gets one where everything is.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use foreshadow::base::{LinkId, Mac, NetworkId, Sort, Span, Timestamp};
use foreshadow::config;
use foreshadow::engine::effects::{Arrival6, LinkUp};
use foreshadow::engine::instances::Wish;
use foreshadow::engine::shadows::{Prediction, Reserve};
use foreshadow::engine::{Arrival, Effects, Engine, Input};
use foreshadow::lease::directory::Identifiers;
use foreshadow::lease::{Foreseen, Foreseer, Line, Owner, Seq, State};
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::v6_build::{RequestV6, ia_addr};
use foreshadow::wire::{IaKind, Message, Message6, MessageType, MessageType6, options as opt};
use proptest::prelude::*;

/// Machines, a quarter of them without an account.
const MACHINES: u8 = 16;
const LEASE: Span = Span::from_secs(100);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const DUID: &[u8] = b"\0\x04our-own-duid-1234";

/// What machines do; each is one of so many, and both engines hear of it.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// It has nothing, and wants an IPv4 address: perhaps one of its choice.
    Boots(u8, Option<u8>),
    /// The same for IPv6.
    Boots6(u8),
    /// It extends what it has.
    Renews(u8),
    /// It gives back what it has.
    Releases(u8),
    /// It is registered before it boots.
    Registered(u8),
    /// Its registration ends.
    Ends(u8),
    /// Seconds pass.
    Passes(u16),
    /// The adversary speaks to one of the engines.
    Foresees(Word),
}

/// What somebody says who means no good, or knows no better.
#[derive(Clone, Copy, Debug)]
enum Word {
    /// So many come, of some owner, within so many seconds.
    Predicts(u8, u32, u32),
    /// So many are held for some owner, for so many seconds.
    Holds(u8, bool, u32, u16),
    /// One of the shadows is given back.
    Drops(u8),
    /// One of them is held for longer.
    Keeps(u8, u16),
}

/// What an operator may have set.
#[derive(Clone, Copy, Debug)]
struct Terms {
    tiers: bool,
    short: u8,
    keep_free: u8,
    priorities: [u8; 2],
    cap: u8,
    topup: u8,
    random6: bool,
}

impl Terms {
    /// Whether everybody may have every address. Where ranks and tiers say who may, whoever comes back to what it
    /// had is let in where others are not: that it may be held for somebody by then is no refusal.
    fn is_flat(&self) -> bool {
        !self.tiers && (self.short == 0 || self.priorities == [5, 5])
    }

    fn policy(&self) -> String {
        let Terms { short, keep_free, priorities: [shop, bank], cap, topup, .. } = *self;
        let tiers = match self.tiers {
            true => "tiers={hot={min='25%'},warm={max='60%'},cold={max='70%'}}\n",
            false => "",
        };
        // Which of several pools somebody is in says what is left of the tiers and for the ranks of each;
        // of one, how many there are says all.
        let pools = match !self.is_flat() {
            true => "'10.0.0.8-10.0.0.20'",
            false => "'10.0.0.8-10.0.0.12','10.0.0.16/29'",
        };
        let generate = if self.random6 { "random" } else { "iterative" };
        format!(
            "[[network]]\nname='lab'\ninterfaces=['br0']\nverify=false\nshort='{short}%'\n{tiers}\
             lease={{min='10s',default='100s'}}\n\
             [[network.subnet]]\nprefix='10.0.0.0/24'\npools=[{pools}]\n\
             [[network.subnet]]\nprefix='2001:db8:1::/64'\n\
             [[network.subnet.pool]]\nrange='2001:db8:1::10-2001:db8:1::17'\ngenerate='{generate}'\n\
             [shadow]\nmax=1000\nmax_per_owner=1000\nkeep_free='{keep_free}%'\ntopup='{topup}s'\n\
             max_age='2m'\n\
             [[account]]\nname='shop'\npriority={shop}\nmax_addresses={cap}\n\
             [[account.application]]\nname='web'\n\
             [[account]]\nname='bank'\npriority={bank}\n\
             [[account]]\nname='nobody'\npriority={bank}\n\
             [[class]]\nname='shop'\nmatch={{mac=['02:00:00:00:01']}}\naccount='shop'\n\
             [[class]]\nname='web'\nmatch={{mac=['02:00:00:00:02']}}\naccount='shop'\napplication='web'\n\
             [[class]]\nname='bank'\nmatch={{mac=['02:00:00:00:03']}}\naccount='bank'\n"
        )
    }
}

fn owner(n: u8) -> Owner {
    let owners = [("shop", None), ("shop", Some("web")), ("bank", None), ("nobody", None)];
    let (account, application) = owners[usize::from(n) % owners.len()];
    (account.into(), application.map(Arc::from))
}

/// Which account a machine is of shows in its MAC.
fn mac(n: u16) -> Mac {
    let [high, low] = (n / 4).to_be_bytes();
    assert_eq!(high, 0, "so many machines are not known");
    Mac([2, 0, 0, 0, (n % 4) as u8, low])
}

fn lab() -> NetworkId {
    NetworkId::of("lab")
}

/// One of the engines, with a store that is never late, and what its machines have.
struct Side {
    engine: Engine,
    now: Timestamp,
    /// Until when, by their clocks.
    addrs: BTreeMap<u16, (Ipv4Addr, Timestamp)>,
    addrs6: BTreeMap<u16, Ipv6Addr>,
    instances: BTreeMap<u16, Arc<str>>,
    /// Whether machines come back, and how many came.
    returns: bool,
    came: u16,
}

impl Side {
    fn new(terms: &Terms) -> Side {
        let policy = Arc::new(config::check(&terms.policy(), "test").unwrap().policy);
        let mut engine = Engine::new(policy, Vec::new(), Seq(0));
        engine.set_identity(DUID, [7; 16]);
        let up = LinkUp {
            link: LinkId(1),
            name: "br0".into(),
            network: lab(),
            mac: Mac([2, 0xff, 0, 0, 0, 1]),
            addrs: vec![(OWN, "10.0.0.0/24".parse().unwrap())],
            addrs6: vec!["2001:db8:1::1".parse().unwrap()],
        };
        let now = Timestamp(1_700_000_000_000);
        engine.handle(now, Input::LinkUp(up), &mut Effects::default());
        let (addrs, addrs6) = (BTreeMap::new(), BTreeMap::new());
        let returns = terms.is_flat();
        Side { engine, now, addrs, addrs6, instances: BTreeMap::new(), returns, came: 0 }
    }

    /// What is answered, once it is durable.
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

    fn ask4(&mut self, n: u16, packet: RequestV4) -> Option<(bool, Ipv4Addr)> {
        let arrival = Arrival {
            link: LinkId(1),
            port: None,
            trusted: false,
            trunk: true,
            src_mac: Some(mac(n)),
            src: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            dst: Ipv4Addr::BROADCAST,
            dst_port: 67,
        };
        let reply = self.input(Input::Packet4(arrival, &packet.build()))?;
        let msg = Message::parse(&reply).unwrap();
        Some((msg.lease_time().is_some(), msg.yiaddr()))
    }

    fn boots(&mut self, n: u16, wanted: Option<u8>) -> bool {
        let mut discover = RequestV4::new(MessageType::Discover, mac(n));
        if let Some(low) = wanted {
            discover = discover.addr(opt::REQUESTED_IP, Ipv4Addr::new(10, 0, 0, low));
        }
        self.addrs.remove(&n);
        let Some((true, offered)) = self.ask4(n, discover) else { return false };
        let request = RequestV4::new(MessageType::Request, mac(n));
        let request = request.addr(opt::REQUESTED_IP, offered).addr(opt::SERVER_ID, OWN);
        let acknowledged = self.ask4(n, request).is_some_and(|(given, _)| given);
        if acknowledged {
            self.addrs.insert(n, (offered, self.now + LEASE));
        }
        acknowledged
    }

    fn renews(&mut self, n: u16) -> bool {
        let Some((addr, until)) = self.addrs.get(&n).copied() else { return false };
        if self.now >= until && !self.returns {
            self.addrs.remove(&n);
            return false;
        }
        let renew = RequestV4::new(MessageType::Request, mac(n)).ciaddr(addr);
        let given = self.ask4(n, renew).is_some_and(|(given, _)| given);
        if given {
            self.addrs.insert(n, (addr, self.now + LEASE));
        }
        // What it had was over: its address may be held for another by now, and it begins anew.
        given || self.boots(n, None)
    }

    fn ask6(&mut self, n: u16, request: RequestV6) -> Option<Ipv6Addr> {
        let arrival = Arrival6 {
            link: LinkId(1),
            port: None,
            trunk: true,
            src_mac: Some(mac(n)),
            src: SocketAddrV6::new(mac(n).link_local(), 546, 0, 0),
            dst: "ff02::1:2".parse().unwrap(),
        };
        let duid = [&[0, 3, 0, 1][..], &mac(n).0].concat();
        let reply = self.input(Input::Packet6(arrival, &request.client_id(&duid).build()))?;
        let msg = Message6::parse(&reply).unwrap();
        let addr = msg.ias().next()?.addrs().next().filter(|addr| addr.valid > 0);
        addr.map(|addr| addr.addr)
    }

    fn boots6(&mut self, n: u16) -> bool {
        self.addrs6.remove(&n);
        let solicit = RequestV6::new(MessageType6::Solicit, 1).ia(IaKind::Na, 1, &[]);
        let Some(offered) = self.ask6(n, solicit) else { return false };
        let request = RequestV6::new(MessageType6::Request, 2).server_id(DUID);
        let request = request.ia(IaKind::Na, 1, &[ia_addr(offered, 0, 0, &[])]);
        let given = self.ask6(n, request);
        self.addrs6.extend(given.map(|addr| (n, addr)));
        given.is_some()
    }

    fn releases(&mut self, n: u16) {
        if let Some((addr, _)) = self.addrs.remove(&n) {
            let release = RequestV4::new(MessageType::Release, mac(n)).ciaddr(addr);
            self.ask4(n, release.addr(opt::SERVER_ID, OWN));
        }
        if let Some(addr) = self.addrs6.remove(&n) {
            let release = RequestV6::new(MessageType6::Release, 3).server_id(DUID);
            self.ask6(n, release.ia(IaKind::Na, 1, &[ia_addr(addr, 0, 0, &[])]));
        }
    }

    /// Whether it was; with the reason if not, without the words that name others.
    fn registered(&mut self, n: u16) -> Result<(), String> {
        let kind = mac(n).0[4];
        let owner = (kind > 0).then(|| owner(kind - 1));
        let wish = Wish {
            id: Some(format!("i{n}").into()),
            network: Some(lab()),
            who: Identifiers { mac: Some(mac(n)), ..Identifiers::default() },
            account: owner.as_ref().map(|(account, _)| Arc::clone(account)),
            application: owner.and_then(|(_, application)| application),
            ..Wish::default()
        };
        let made = self.engine.create_instance(self.now, &wish, &mut Effects::default());
        self.commit();
        let (instance, _) = made.map_err(|why| why.to_string())?;
        self.instances.insert(n, Arc::clone(&instance.id));
        Ok(())
    }

    fn ends(&mut self, n: u16) {
        if let Some(id) = self.instances.remove(&n) {
            let _ = self.engine.end_instance(self.now, &id, &mut Effects::default());
            self.commit();
        }
    }

    fn passes(&mut self, span: Span) {
        let end = self.now + span;
        while let Some(due) = self.engine.next_wakeup().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.input(Input::Tick);
        }
        self.now = end;
    }

    /// Which machine comes: one of those that come again and again, or one that nobody knows, of the
    /// same account.
    fn comes(&mut self, n: u8) -> u16 {
        if self.returns {
            return u16::from(n % MACHINES);
        }
        self.came += 1;
        self.came * 4 + u16::from(n % 4)
    }

    /// What both do alike: whether it succeeds.
    fn does(&mut self, op: Op) -> Result<(), String> {
        let said = |is_there: bool| if is_there { Ok(()) } else { Err("no address".to_owned()) };
        match op {
            Op::Boots(n, wanted) => {
                let n = self.comes(n);
                said(self.boots(n, wanted))
            }
            Op::Boots6(n) => {
                let n = self.comes(n);
                said(self.boots6(n))
            }
            Op::Registered(n) => {
                let n = self.comes(n);
                self.registered(n)
            }
            Op::Renews(n) => match pick(&self.addrs, n) {
                Some(n) => said(self.renews(n)),
                None => Ok(()),
            },
            Op::Releases(n) => {
                let (four, six) = (pick(&self.addrs, n), pick(&self.addrs6, n));
                four.or(six).into_iter().for_each(|n| self.releases(n));
                Ok(())
            }
            Op::Ends(n) => {
                pick(&self.instances, n).into_iter().for_each(|n| self.ends(n));
                Ok(())
            }
            Op::Passes(secs) => {
                self.passes(Span::from_secs(secs.into()));
                Ok(())
            }
            Op::Foresees(_) => Ok(()),
        }
    }

    fn foresees(&mut self, word: Word) {
        let (now, mut fx) = (self.now, Effects::default());
        let fx = &mut fx;
        let secs = |secs: u32| now + Span::from_secs(secs.into());
        let shadow = |engine: &Engine, at: u8| {
            let held = engine.leases().iter().filter(|l| l.state == State::Shadow);
            let mut all: Vec<_> = held.map(|l| l.resource).collect();
            all.sort_unstable();
            (!all.is_empty()).then(|| all[usize::from(at) % all.len()])
        };
        match word {
            Word::Predicts(of, count, horizon) => {
                let said = Prediction {
                    id: "p".into(),
                    by: Foreseer::Prediction,
                    made: now,
                    until: secs(horizon),
                    count,
                    quantiles: Vec::new(),
                    instance_type: None,
                    region: None,
                    requirements: None,
                };
                self.engine.predict(now, lab(), &owner(of), said, fx).unwrap();
            }
            Word::Holds(of, is_v6, count, for_s) => {
                let sort = if is_v6 { Sort::V6 } else { Sort::V4 };
                let line = Line { network: lab(), sort, owner: owner(of) };
                let foreseen = Foreseen::by(Foreseer::Operator);
                let reserve = Reserve { line, count, until: secs(for_s.into()), foreseen };
                self.engine.reserve_shadows(now, &reserve, fx).unwrap();
            }
            Word::Drops(at) => {
                let shadow = shadow(&self.engine, at);
                shadow.map(|shadow| self.engine.release_shadow(now, lab(), shadow, fx));
            }
            Word::Keeps(at, for_s) => {
                let (shadow, until) = (shadow(&self.engine, at), secs(for_s.into()));
                shadow.map(|shadow| self.engine.extend_shadow(now, lab(), shadow, until, fx));
            }
        }
        self.commit();
    }
}

fn pick<T>(of: &BTreeMap<u16, T>, n: u8) -> Option<u16> {
    of.keys().nth(usize::from(n) % of.len().max(1)).copied()
}

fn play(terms: &Terms, ops: &[Op]) {
    let (mut bare, mut told) = (Side::new(terms), Side::new(terms));
    for (at, op) in ops.iter().enumerate() {
        let sides = [&mut bare, &mut told];
        let done = sides.map(|side| side.does(*op));
        let [without, with] = done.each_ref().map(|done| done.is_ok());
        assert_eq!(without, with, "step {at}: {op:?}: without and with foresight: {done:?}");
        if let Op::Foresees(word) = *op {
            told.foresees(word);
        }
        // What is due at once is done at once, as the driver does it.
        [&mut bare, &mut told].into_iter().for_each(|side| side.passes(Span(0)));
    }
}

fn terms() -> impl Strategy<Value = Terms> {
    let percents = prop_oneof![Just(0_u8), Just(5), Just(30)];
    let keep_free = prop_oneof![3 => Just(0_u8), 1 => Just(10), 1 => Just(50)];
    let priorities = prop_oneof![Just((5_u8, 5_u8)), (3_u8..9, 3_u8..9)];
    let some = (any::<bool>(), percents, keep_free, priorities);
    let more = (1_u8..20, prop_oneof![Just(0_u8), Just(30)], any::<bool>());
    (some, more).prop_map(|((tiers, short, keep_free, (shop, bank)), (cap, topup, random6))| {
        Terms { tiers, short, keep_free, priorities: [shop, bank], cap, topup, random6 }
    })
}

fn word() -> impl Strategy<Value = Word> {
    let counts = prop_oneof![0..3_u32, Just(8), Just(1_000_000), Just(u32::MAX)];
    let horizons = prop_oneof![0..100_u32, Just(604_800)];
    prop_oneof![
        4 => (any::<u8>(), counts.clone(), horizons).prop_map(|(o, n, s)| Word::Predicts(o, n, s)),
        3 => (any::<u8>(), any::<bool>(), counts, 1..300_u16)
            .prop_map(|(o, six, n, s)| Word::Holds(o, six, n, s)),
        1 => any::<u8>().prop_map(Word::Drops),
        1 => (any::<u8>(), 1..300_u16).prop_map(|(n, s)| Word::Keeps(n, s)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<u8>(), prop::option::of(8..24_u8)).prop_map(|(n, w)| Op::Boots(n, w)),
        5 => any::<u8>().prop_map(Op::Boots6),
        2 => any::<u8>().prop_map(Op::Renews),
        2 => any::<u8>().prop_map(Op::Releases),
        5 => any::<u8>().prop_map(Op::Registered),
        3 => any::<u8>().prop_map(Op::Ends),
        2 => prop_oneof![0..40_u16, Just(130), Just(400)].prop_map(Op::Passes),
        5 => word().prop_map(Op::Foresees),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn nobody_is_refused_for_what_is_foreseen(
        terms in terms(),
        ops in prop::collection::vec(op(), 0..120),
    ) {
        play(&terms, &ops);
    }
}
