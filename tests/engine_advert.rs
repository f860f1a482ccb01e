//! Router advertisements, from the engine's effects on a virtual clock (RFC 4861 s6.2).

#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

use std::net::Ipv6Addr;
use std::sync::Arc;

use foreshadow::base::{LinkId, Mac, NetworkId, Span, Timestamp};
use foreshadow::config::{self, Policy};
use foreshadow::engine::effects::LinkUp;
use foreshadow::engine::{Destination, Effects, Engine, Input};
use foreshadow::lease::Seq;
use foreshadow::wire::frame6::Ends;
use foreshadow::wire::ra::{self, SeenAdvert};
use foreshadow::wire::{ndp, ra::Pref64};

const SAID: &str = "[network.router_advertisements]\nrouter=true\nmtu=1400\ngoodbye=true\n\
    max_interval='600s'\nmin_interval='200s'\npref64='64:ff9b::/96'\n";
const START: Timestamp = Timestamp(1_700_000_000_000);
const OWN: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);

fn policy(said: &str) -> Arc<Policy> {
    let text = format!(
        "[[network]]\nname='lab'\ninterfaces=['br0']\nverify=false\n{said}\
         [[network.subnet]]\nprefix='2001:db8:1::/64'\npools=['2001:db8:1::10-2001:db8:1::13']\n\
         options6={{dns-servers=['2001:db8:1::53'],domain-search=['lab.example']}}\n"
    );
    Arc::new(config::check(&text, "test").unwrap().policy)
}

/// When, to whom, and the whole frame.
type Sent = (Timestamp, Option<(Mac, Ipv6Addr)>, Vec<u8>);

struct World {
    engine: Engine,
    now: Timestamp,
}

impl World {
    fn new(said: &str) -> World {
        let mut engine = Engine::new(policy(said), Vec::new(), Seq(0));
        engine.set_identity(b"\0\x04our-own-duid-1234", [7; 16]);
        let mut world = World { engine, now: START };
        assert!(world.input(Input::LinkUp(link())).is_empty());
        world
    }

    fn input(&mut self, input: Input<'_>) -> Vec<Sent> {
        let mut fx = Effects::default();
        self.engine.handle(self.now, input, &mut fx);
        let one = |reply: &foreshadow::engine::Reply| {
            let Destination::Advert { link: LinkId(1), to } = reply.to else {
                panic!("{:?}", reply.to)
            };
            let src = "fe80::fe".parse().unwrap();
            let ends = to.map_or_else(
                || Ends::to_group(OWN, src, ndp::ALL_NODES),
                |(dst_mac, dst)| Ends { src_mac: OWN, dst_mac, src, dst },
            );
            let mut frame = Vec::new();
            ndp::write_icmp6(&mut frame, &ends, &fx.bytes[reply.payload.clone()]);
            (self.now, to, frame)
        };
        fx.send_now.iter().map(one).collect()
    }

    fn solicit(&mut self, host: u8, src: &str) {
        let mac = Mac([2, 0, 0, 0, 0, host]);
        let input = Input::RouterSolicit(LinkId(1), mac, src.parse().unwrap());
        assert!(self.input(input).is_empty(), "s6.2.6: an answer is put off");
    }

    /// Everything that is sent within `span`.
    fn pass(&mut self, span: Span) -> Vec<Sent> {
        let (end, mut sent) = (self.now + span, Vec::new());
        while let Some(at) = self.engine.next_wakeup().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            sent.extend(self.input(Input::Tick));
        }
        self.now = end;
        sent
    }
}

fn link() -> LinkUp {
    LinkUp {
        link: LinkId(1),
        name: "br0".into(),
        network: NetworkId::of("lab"),
        mac: OWN,
        addrs: Vec::new(),
        addrs6: Vec::new(),
    }
}

fn read(sent: &Sent) -> SeenAdvert<'_> {
    ra::read(&sent.2, true).unwrap()
}

#[test]
fn an_advertisement_says_what_the_policy_says() {
    let mut world = World::new(SAID);
    let sent = world.pass(Span(0));
    assert_eq!(sent.len(), 1);
    let seen = read(&sent[0]);
    assert_eq!((seen.managed, seen.other, seen.lifetime_s), (true, true, 1800));
    assert_eq!((seen.source(), seen.mtu(), seen.hop_limit), (Some(OWN), Some(1400), 64));
    let prefixes: Vec<_> = seen.prefixes().map(|p| (p.prefix, p.on_link, p.autonomous)).collect();
    assert_eq!(prefixes, [("2001:db8:1::/64".parse().unwrap(), true, false)]);
    let servers: Vec<_> = seen.dns_servers().collect();
    assert_eq!(servers, [(1800, "2001:db8:1::53".parse().unwrap())]);
    assert_eq!(seen.search_domains(), [(1800, "lab.example".to_string())]);
    let pref64 = Pref64 { prefix: "64:ff9b::/96".parse().unwrap(), lifetime_s: 1800 };
    assert_eq!(seen.pref64(), Some(pref64));
}

#[test]
fn a_host_that_is_no_router_says_lifetime_zero() {
    let mut world = World::new("router_advertisements=true\n");
    let sent = world.pass(Span(0));
    assert_eq!(read(&sent[0]).lifetime_s, 0);
    assert_eq!(read(&sent[0]).hop_limit, 0);
}

#[test]
fn nothing_is_said_where_nothing_is_configured() {
    let mut world = World::new("");
    world.solicit(1, "fe80::1");
    assert!(world.pass(Span::from_secs(3600)).is_empty());
}

/// s6.2.4: three within sixteen seconds of each other, then at random within the interval.
#[test]
fn unsolicited_ones_keep_their_intervals() {
    let mut world = World::new(SAID);
    let sent = world.pass(Span::from_secs(86_400));
    let gaps: Vec<u64> = sent.windows(2).map(|w| w[1].0.since(w[0].0).0).collect();
    assert_eq!(gaps[..2], [16_000, 16_000]);
    assert!(gaps[2..].iter().all(|gap| (200_000..=600_000).contains(gap)), "{gaps:?}");
    assert!(gaps[2..].iter().any(|gap| *gap != gaps[2]), "random");
}

/// s6.2.6: within half a second, to the one who asked.
#[test]
fn who_asks_is_answered_soon_and_alone() {
    let mut world = World::new(SAID);
    world.pass(Span::from_secs(100));
    world.solicit(5, "fe80::5");
    world.solicit(5, "fe80::5");
    let sent = world.pass(Span::from_ms(500));
    let to: Vec<_> = sent.iter().map(|s| s.1).collect();
    assert_eq!(to, [Some((Mac([2, 0, 0, 0, 0, 5]), "fe80::5".parse().unwrap()))]);
}

/// s6.2.6: who has no address yet is answered to all, no more often than every three seconds.
#[test]
fn answers_to_all_are_three_seconds_apart() {
    let mut world = World::new(SAID);
    world.pass(Span::from_secs(100));
    let mut sent = Vec::new();
    for host in 0..100 {
        world.solicit(host, "::");
        sent.extend(world.pass(Span::from_ms(100)));
    }
    assert!(sent.iter().all(|s| s.1.is_none()));
    assert!((3..=4).contains(&sent.len()), "{}", sent.len());
    assert!(sent.windows(2).all(|w| w[1].0.since(w[0].0) >= Span::from_secs(3)));
}

#[test]
fn a_flood_of_forged_solicitations_is_bounded() {
    let mut world = World::new(SAID);
    world.pass(Span::from_secs(100));
    for host in 0..10_000u32 {
        let [a, b, c, d] = host.to_be_bytes();
        let src = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, (host >> 16) as u16, host as u16 | 1);
        world.input(Input::RouterSolicit(LinkId(1), Mac([2, 9, a, b, c, d]), src));
    }
    assert!(world.pass(Span::from_secs(3)).len() <= 66);
}

#[test]
fn a_change_is_told_and_an_end_too() {
    let mut world = World::new(SAID);
    world.pass(Span::from_secs(100));
    world.engine.set_policy(policy(&SAID.replace("1400", "1300")));
    let sent = world.pass(Span::from_secs(3));
    assert_eq!(sent.iter().map(|s| read(s).mtu()).collect::<Vec<_>>(), [Some(1300)]);
    world.engine.set_policy(policy(""));
    let sent = world.pass(Span::from_secs(3600));
    assert_eq!(sent.iter().map(|s| read(s).lifetime_s).collect::<Vec<_>>(), [0]);
    // The same again is news.
    world.engine.set_policy(policy(SAID));
    assert_eq!(read(&world.pass(Span(0))[0]).lifetime_s, 1800);
    // What did not change is not.
    world.engine.set_policy(policy(SAID));
    assert!(world.pass(Span::from_secs(10)).is_empty());
}

/// Prefix, valid and preferred lifetime, of all that one advertisement carries.
fn prefixes(sent: &Sent) -> Vec<(String, u32, u32)> {
    read(sent).prefixes().map(|p| (p.prefix.to_string(), p.valid_s, p.preferred_s)).collect()
}

/// RFC 4862 s5.5.3, RFC 6204 L-13: hosts would keep it for thirty days.
#[test]
fn a_prefix_that_is_dropped_is_deprecated_three_times() {
    let prefix = |n: usize, more: &str| {
        let table = "[[network.router_advertisements.prefix]]\n";
        format!("{table}prefix='2001:db8:{n:x}::/64'\n{more}")
    };
    let (kept, short) = (prefix(1, ""), prefix(3, "valid='1h'\npreferred='30m'\n"));
    let mut world = World::new(&[SAID, &kept, &prefix(2, ""), &short].concat());
    world.pass(Span::from_secs(100));
    world.engine.set_policy(policy(&[SAID, &kept].concat()));
    let mut sent = world.pass(Span::from_secs(5));
    world.solicit(5, "fe80::5");
    sent.extend(world.pass(Span::from_secs(3600)));
    let one = |n: usize, valid, preferred| (format!("2001:db8:{n:x}::/64"), valid, preferred);
    let stays = || one(1, 30 * 86_400, 7 * 86_400);
    let all: Vec<_> = sent.iter().filter(|s| s.1.is_none()).map(prefixes).collect();
    assert!(all.len() > 4, "{all:?}");
    for said in &all[..3] {
        assert_eq!(*said, [stays(), one(2, 7200, 0), one(3, 3600, 0)]);
    }
    assert!(all[3..].iter().all(|said| *said == [stays()]), "{all:?}");
    let alone: Vec<_> = sent.iter().filter(|s| s.1.is_some()).map(prefixes).collect();
    assert_eq!(alone, [[stays()]], "who asks now has nothing to forget");

    // One that comes back before the hosts have forgotten it is as any other.
    world.engine.set_policy(policy(&[SAID, &prefix(2, "")].concat()));
    world.engine.set_policy(policy(&[SAID, &kept, &prefix(2, "")].concat()));
    assert_eq!(prefixes(&world.pass(Span::from_secs(3))[0]).len(), 2);
    // As many as fit are told of.
    let many: String = (1..=32).map(|n| prefix(n, "")).collect();
    world.engine.set_policy(policy(&[SAID, &many].concat()));
    world.pass(Span::from_secs(100));
    let others: String = (101..=132).map(|n| prefix(n, "")).collect();
    world.engine.set_policy(policy(&[SAID, &others].concat()));
    let said = prefixes(&world.pass(Span(0))[0]);
    assert!(said.len() > 32 && said.len() < 64, "{}", said.len());
    assert!(said[32..].iter().all(|(_, valid, preferred)| (*valid, *preferred) == (7200, 0)));
}

#[test]
fn the_last_words_say_lifetime_zero_where_the_policy_wants_them() {
    for (said, want) in [(SAID, vec![0]), ("router_advertisements=true\n", vec![])] {
        let mut world = World::new(said);
        world.pass(Span::from_secs(1));
        let sent = world.input(Input::Stopping);
        assert_eq!(sent.iter().map(|s| read(s).lifetime_s).collect::<Vec<_>>(), want);
    }
}

#[test]
fn a_link_that_went_is_not_advertised_on() {
    let mut world = World::new(SAID);
    world.pass(Span::from_secs(1));
    world.input(Input::LinkDown(LinkId(1)));
    assert!(world.pass(Span::from_secs(3600)).is_empty());
    world.input(Input::LinkUp(link()));
    assert_eq!(world.pass(Span(0)).len(), 1);
}
