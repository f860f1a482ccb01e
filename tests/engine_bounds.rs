//! What one machine may hold, and what is remembered of many that are gone.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

use std::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use foreshadow::base::{LinkId, Mac, NetworkId, Span, Timestamp};
use foreshadow::config;
use foreshadow::engine::effects::{Arrival6, LinkUp};
use foreshadow::engine::{Arrival, Effects, Engine, Input};
use foreshadow::lease::{Seq, State};
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::v6_build::RequestV6;
use foreshadow::wire::{IaKind, MessageType, MessageType6};

const POLICY: &str = "[[network]]\nname='lab'\ninterfaces=['br0']\nverify=false\n\
    rapid_commit=true\nlease={min='10s',default='60s'}\n\
    [[network.subnet]]\nprefix='10.0.0.0/16'\npools=['10.0.1.0-10.0.9.255']\n\
    [[network.subnet]]\nprefix='2001:db8:1::/64'\npools=['2001:db8:1::/64']\n";

struct World {
    engine: Engine,
    now: Timestamp,
}

impl World {
    fn new() -> World {
        let policy = Arc::new(config::check(POLICY, "test").unwrap().policy);
        let mut engine = Engine::new(policy, Vec::new(), Seq(0));
        engine.set_identity(b"\0\x04our-own-duid-1234", [7; 16]);
        let up = LinkUp {
            link: LinkId(1),
            name: "br0".into(),
            network: NetworkId::of("lab"),
            mac: Mac([2, 0, 0, 0, 0, 0xfe]),
            addrs: vec![("10.0.0.1".parse().unwrap(), "10.0.0.0/16".parse().unwrap())],
            addrs6: vec!["2001:db8:1::1".parse().unwrap()],
        };
        let now = Timestamp(1_700_000_000_000);
        engine.handle(now, Input::LinkUp(up), &mut Effects::default());
        World { engine, now }
    }

    fn input(&mut self, input: Input<'_>) {
        self.engine.handle(self.now, input, &mut Effects::default());
        while let Some(seq) = self.engine.end_batch() {
            self.engine.handle(self.now, Input::Committed(seq), &mut Effects::default());
        }
    }

    /// A rapid commit of IPv6.
    fn solicit(&mut self, mac: Mac, duid: u32) {
        let duid = [&[0, 2][..], &duid.to_be_bytes()].concat();
        let request = RequestV6::new(MessageType6::Solicit, 1).client_id(&duid).option(14, &[]).ia(
            IaKind::Na,
            1,
            &[],
        );
        let arrival = Arrival6 {
            link: LinkId(1),
            port: None,
            trunk: false,
            src_mac: Some(mac),
            src: SocketAddrV6::new(mac.link_local(), 546, 0, 0),
            dst: "ff02::1:2".parse().unwrap(),
        };
        self.input(Input::Packet6(arrival, &request.build()));
    }

    /// The same of IPv4.
    fn discover(&mut self, mac: Mac, id: u32) {
        let packet = RequestV4::new(MessageType::Discover, mac)
            .option(61, &id.to_be_bytes())
            .option(80, &[])
            .build();
        let arrival = Arrival {
            link: LinkId(1),
            port: None,
            trusted: false,
            trunk: false,
            src_mac: Some(mac),
            src: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            dst: Ipv4Addr::BROADCAST,
            dst_port: 67,
        };
        self.input(Input::Packet4(arrival, &packet));
    }

    fn pass(&mut self, span: Span) {
        let end = self.now + span;
        while let Some(at) = self.engine.next_wakeup().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.input(Input::Tick);
        }
        self.now = end;
    }

    fn leased(&self) -> usize {
        self.engine.leases().iter().filter(|l| l.state == State::Leased).count()
    }

    fn free(&self) -> Vec<u128> {
        let net = &self.engine.networks()[0];
        net.pools.iter().chain(&net.pools6).map(|pool| pool.free.available()).collect()
    }
}

fn mac(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([2, 0, a, b, c, d])
}

/// Whoever makes up identifiers for one hardware address gets so many bindings and no more, live
/// or ended: what looks for them all stays short.
#[test]
fn one_machine_holds_so_much_and_no_more() {
    for family in [World::solicit, World::discover] {
        let mut world = World::new();
        let before = world.free();
        (0..200).for_each(|n| family(&mut world, mac(1), n));
        assert_eq!(world.leased(), 64);
        family(&mut world, mac(2), 9_999);
        assert_eq!(world.leased(), 65, "another machine is served");
        world.pass(Span::from_secs(61));
        assert_eq!((world.leased(), world.engine.leases().len()), (0, 65));
        (200..400).for_each(|n| family(&mut world, mac(1), n));
        assert_eq!((world.leased(), world.engine.leases().len()), (64, 65));
        world.pass(Span::from_secs(61));
        assert_eq!(world.free(), before, "lost from a pool");
    }
}

/// Machines that come once and never again do not fill memory and disk.
#[test]
fn the_longest_gone_are_forgotten() {
    let mut world = World::new();
    let before = world.free();
    let most = 65_536 + 9 * 256;
    for round in 0..3 {
        (0..40_000).for_each(|n| world.solicit(mac(round << 20 | n), round << 20 | n));
        world.pass(Span::from_secs(61));
        assert_eq!(world.leased(), 0);
        assert!(world.engine.leases().len() <= most, "{}", world.engine.leases().len());
    }
    assert_eq!(world.engine.leases().len(), most);
    assert_eq!(world.free(), before, "lost from a pool");
}
