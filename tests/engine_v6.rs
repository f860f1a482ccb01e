//! The answers to DHCPv6 requests, from the engine's effects (RFC 9915 s18.3).

#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

use foreshadow::base::{ClientKey, HwAddr, LinkId, Mac, NetworkId, Resource, Timestamp};
use foreshadow::config;
use foreshadow::engine::effects::{Arrival6, EventKind, LinkUp, Said};
use foreshadow::engine::{Destination, Effects, Engine, Input};
use foreshadow::lease::{Details, Lease, Seq, State};
use foreshadow::wire::options6::StatusCode;
use foreshadow::wire::v6_build::{
    RequestV6, ia_addr, ia_prefix, relay_forward, unwrap_relay_reply,
};
use foreshadow::wire::{IaKind, Kind6, Message6, MessageType6};

const POLICY: &str = "[[network]]\nname='lab'\ninterfaces=['br0']\nverify=false\n\
    lease={min='10s',default='1h',preferred='30m',jitter='0%'}\n\
    [[network.subnet]]\nprefix='2001:db8:1::/64'\npools=['2001:db8:1::10-2001:db8:1::13']\n\
    delegations=[{prefix='2001:db8:aa00::/55',length=56}]\n\
    options6={dns-servers=['2001:db8:1::53']}\n\
    [[network.reservation]]\nduid='0x000300010200000000ff'\naddresses=['2001:db8:1::99']\n\
    [[network.reservation]]\nduid='0x000300010200000000fe'\naddresses=['2001:db8:1::13']\n\
    [[network]]\nname='far'\nrelays=['2001:db8:2::/64']\n\
    [[network.subnet]]\nprefix='2001:db8:2::/64'\npools=['2001:db8:2::10-2001:db8:2::12']\n\
    delegations=[{prefix='2001:db8:bb00::/48',length=56}]\n";

struct World {
    engine: Engine,
    now: Timestamp,
    /// Where the next message comes from.
    from: Ipv6Addr,
}

type Sent = (Destination, Vec<u8>);

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
            addrs: Vec::new(),
            addrs6: vec![ip("2001:db8:1::1")],
        };
        let now = Timestamp(1_700_000_000_000);
        engine.handle(now, Input::LinkUp(up), &mut Effects::default());
        World { engine, now, from: ip("fe80::1") }
    }

    fn send(&mut self, client: u8, dst: &str, bytes: &[u8]) -> Vec<Sent> {
        let arrival = Arrival6 {
            link: LinkId(1),
            port: None,
            trunk: false,
            src_mac: (client != 0).then_some(Mac([2, 0, 0, 0, 0, client])),
            src: SocketAddrV6::new(self.from, 546, 0, 0),
            dst: ip(dst),
        };
        let mut fx = Effects::default();
        self.engine.handle(self.now, Input::Packet6(arrival, bytes), &mut fx);
        let promised = fx.send_after.len();
        let seq = self.engine.end_batch();
        assert!(seq.is_some() || fx.changes.is_empty());
        assert!(seq.is_none() || promised > 0, "a change that nobody hears of");
        if let Some(seq) = seq {
            self.engine.handle(self.now, Input::Committed(seq), &mut Effects::default());
        }
        let all = fx.send_now.iter().chain(&fx.send_after);
        all.map(|r| (r.to, fx.bytes[r.payload.clone()].to_vec())).collect()
    }

    fn ask(&mut self, client: u8, request: RequestV6) -> Vec<u8> {
        let mut sent = self.send(client, "ff02::1:2", &request.build());
        assert_eq!(sent.len(), 1, "one answer");
        sent.remove(0).1
    }
}

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn duid(client: u8) -> Vec<u8> {
    vec![0, 3, 0, 1, 2, 0, 0, 0, 0, client]
}

fn request(kind: MessageType6, client: u8) -> RequestV6 {
    RequestV6::new(kind, 0x00ab_cdef).client_id(&duid(client)).oro(&[23])
}

fn to_us(kind: MessageType6, client: u8) -> RequestV6 {
    request(kind, client).server_id(b"\0\x04our-own-duid-1234")
}

fn first(reply: &[u8]) -> (MessageType6, Option<Ipv6Addr>, Option<StatusCode>) {
    let msg = Message6::parse(reply).unwrap();
    let Kind6::Known(kind) = msg.kind() else { panic!("{:?}", msg.kind()) };
    let ia = msg.ias().next();
    let status = ia.as_ref().and_then(|ia| ia.status()).or(msg.status());
    let status = status.and_then(|s| StatusCode::from_number(s.code));
    (kind, ia.and_then(|ia| ia.addrs().next()).filter(|a| a.valid > 0).map(|a| a.addr), status)
}

#[test]
fn an_address_is_advertised_granted_renewed_confirmed_and_released() {
    use MessageType6::*;
    let mut world = World::new();
    let reply = world.ask(1, request(Solicit, 1).ia(IaKind::Na, 7, &[]));
    let (kind, addr, _) = first(&reply);
    assert_eq!((kind, addr), (Advertise, Some(ip("2001:db8:1::10"))));
    let msg = Message6::parse(&reply).unwrap();
    assert_eq!(msg.option(23), Some(&ip("2001:db8:1::53").octets()[..]));
    let ia = msg.ias().next().unwrap();
    let term = ia.addrs().next().unwrap();
    assert_eq!((term.preferred, term.valid, ia.t1, ia.t2), (1800, 3600, 900, 1440));
    let held = ia_addr(ip("2001:db8:1::10"), 0, 0, &[]);
    for kind in [Request, Renew] {
        let reply = world.ask(1, to_us(kind, 1).ia(IaKind::Na, 7, std::slice::from_ref(&held)));
        assert_eq!(first(&reply), (Reply, Some(ip("2001:db8:1::10")), None), "{kind:?}");
    }
    let reply = world.ask(1, request(Rebind, 1).ia(IaKind::Na, 7, std::slice::from_ref(&held)));
    assert_eq!(first(&reply).1, Some(ip("2001:db8:1::10")));
    let confirm = |addr| request(Confirm, 1).ia(IaKind::Na, 7, &[ia_addr(ip(addr), 0, 0, &[])]);
    assert_eq!(first(&world.ask(1, confirm("2001:db8:1::10"))).2, Some(StatusCode::Success));
    assert_eq!(first(&world.ask(1, confirm("2001:db8:9::10"))).2, Some(StatusCode::NotOnLink));
    let release = || to_us(Release, 1).ia(IaKind::Na, 7, std::slice::from_ref(&held));
    assert_eq!(first(&world.ask(1, release())).2, Some(StatusCode::Success));
    let again = Message6::parse(&world.ask(1, release())).unwrap().ias().next().map(drop);
    assert!(again.is_some(), "NoBinding stands in the IA");
}

#[test]
fn prefixes_are_delegated_until_none_is_left() {
    use MessageType6::*;
    let mut world = World::new();
    let prefix_of = |reply: &[u8]| {
        let msg = Message6::parse(reply).unwrap();
        let ia = msg.ias().next().unwrap();
        ia.prefixes().next().map(|p| (p.prefix, p.len))
    };
    for (client, want) in [(1, "2001:db8:aa00::"), (2, "2001:db8:aa00:100::")] {
        let hint = [ia_prefix(ip("::"), 56, 0, 0, &[])];
        let reply = world.ask(client, to_us(Request, client).ia(IaKind::Pd, 1, &hint));
        assert_eq!(prefix_of(&reply), Some((ip(want), 56)));
    }
    let reply = world.ask(3, request(Solicit, 3).ia(IaKind::Pd, 1, &[]));
    assert_eq!(first(&reply).2, Some(StatusCode::NoPrefixAvail));
}

/// A prefix is reached by its client on the link, or by the relay that is next to us; an address
/// needs no route.
#[test]
fn a_delegated_prefix_remembers_its_next_hop() {
    use MessageType6::*;
    let mut world = World::new();
    let both = |client| to_us(Request, client).ia(IaKind::Pd, 1, &[]).ia(IaKind::Na, 1, &[]);
    world.ask(1, both(1));
    let forward = relay_forward(0, ip("2001:db8:2::1"), ip("fe80::9"), &[], &both(2).build());
    world.from = ip("2001:db8:9::5");
    assert_eq!(world.send(0, "2001:db8:1::1", &forward).len(), 1);
    let mut hops: Vec<_> = world
        .engine
        .leases()
        .iter()
        .map(|l| (l.resource, l.details.next_hop.as_ref().map(|hop| hop.to_string())))
        .collect();
    hops.sort();
    let prefix = |text| Resource::Prefix6(ip(text), 56);
    assert_eq!(
        hops,
        [
            (Resource::V6(ip("2001:db8:1::10")), None),
            (Resource::V6(ip("2001:db8:2::10")), None),
            (prefix("2001:db8:aa00::"), Some("fe80::1%br0".into())),
            (prefix("2001:db8:bb00::"), Some("2001:db8:9::5".into())),
        ]
    );
}

/// A delegated prefix as an import brings it.
fn imported(prefix: &str, len: u8, client: u8, hw: HwAddr) -> Lease {
    Lease {
        network: NetworkId::of("lab"),
        resource: Resource::Prefix6(ip(prefix), len),
        client: ClientKey::ia_pd(&duid(client), 1),
        hw,
        state: State::Leased,
        since: Timestamp(1_700_000_000_000),
        updated: Timestamp(1_700_000_000_000),
        until: Timestamp(1_700_000_600_000),
        port: None,
        uses: Default::default(),
        details: Arc::new(Details::default()),
    }
}

/// A router whose DUID is of another interface than it asks from keeps its prefix: nothing is said
/// of its hardware until it is heard.
#[test]
fn a_client_that_was_imported_without_hardware_keeps_its_prefix() {
    let mut world = World::new();
    let lease = imported("2001:db8:aa00:100::", 56, 9, HwAddr::default());
    assert!(world.engine.import(world.now, lease.clone(), &mut Effects::default()));
    let held = [ia_prefix(ip("2001:db8:aa00:100::"), 56, 0, 0, &[])];
    let renew = to_us(MessageType6::Renew, 9).ia(IaKind::Pd, 1, &held);
    let reply = world.ask(1, renew);
    let msg = Message6::parse(&reply).unwrap();
    let term = msg.ias().next().unwrap().prefixes().next().unwrap();
    assert_eq!((term.prefix, term.len, term.valid), (ip("2001:db8:aa00:100::"), 56, 3600));
    let now = world.engine.leases().get(lease.network, lease.resource).unwrap();
    assert_eq!((now.client.clone(), now.hw.mac()), (lease.client, Some(Mac([2, 0, 0, 0, 0, 1]))));
}

/// A prefix that another client holds in part is not imported.
#[test]
fn an_imported_prefix_overlaps_no_other() {
    let mut world = World::new();
    let mut import = |prefix: &str, len: u8, client: u8| {
        let lease = imported(prefix, len, client, HwAddr::default());
        world.engine.import(world.now, lease, &mut Effects::default())
    };
    assert!(import("2001:db8:aa00::", 56, 1));
    assert!(!import("2001:db8:aa00::", 55, 2), "it holds what another has");
    assert!(!import("2001:db8:aa00::", 56, 2));
    assert!(import("2001:db8:aa00:100::", 56, 2));
    world.engine.end_batch();
    let reply = world.ask(3, request(MessageType6::Solicit, 3).ia(IaKind::Pd, 1, &[]));
    assert_eq!(first(&reply).2, Some(StatusCode::NoPrefixAvail), "both are out of the pool");
}

#[test]
fn every_reservation_and_every_ia_gets_its_own() {
    use MessageType6::*;
    let mut world = World::new();
    let reply = world.ask(0xff, to_us(Request, 0xff).ia(IaKind::Na, 1, &[]));
    assert_eq!(first(&reply).1, Some(ip("2001:db8:1::99")));
    let two = request(Solicit, 2).ia(IaKind::Na, 1, &[]).ia(IaKind::Na, 2, &[]);
    let reply = world.ask(2, two);
    let msg = Message6::parse(&reply).unwrap();
    let addrs: Vec<_> = msg.ias().flat_map(|ia| ia.addrs().map(|a| a.addr)).collect();
    assert_eq!(addrs, [ip("2001:db8:1::10"), ip("2001:db8:1::11")]);
    for reserved in ["2001:db8:1::99", "2001:db8:1::13"] {
        let hint = [ia_addr(ip(reserved), 0, 0, &[])];
        let reply = world.ask(3, request(Solicit, 3).ia(IaKind::Na, 1, &hint));
        assert_eq!(first(&reply).1, Some(ip("2001:db8:1::12")), "{reserved} is another's");
    }
    let reply = world.ask(4, request(Solicit, 4).ia(IaKind::Na, 1, &[]));
    assert_eq!(first(&reply).2, Some(StatusCode::NoAddrsAvail));
}

#[test]
fn a_relayed_client_is_served_from_its_link_and_answered_through_its_relay() {
    use MessageType6::*;
    let mut world = World::new();
    let inner = request(Solicit, 1).ia(IaKind::Na, 1, &[]).build();
    let forward = |link: &str| relay_forward(0, ip(link), ip("fe80::9"), &[], &inner);
    assert!(world.send(0, "2001:db8:1::1", &forward("2001:db8:2::1")).is_empty(), "a guest");
    world.from = ip("2001:db8:2::1");
    let sent = world.send(0, "2001:db8:1::1", &forward("2001:db8:2::1"));
    assert!(matches!(sent[0].0, Destination::Udp6 { to: (_, 547), .. }), "{:?}", sent[0].0);
    let reply = unwrap_relay_reply(&sent[0].1).unwrap();
    assert_eq!(first(reply).1, Some(ip("2001:db8:2::10")));
    assert!(world.send(0, "2001:db8:1::1", &forward("2001:db8:7::1")).is_empty(), "not believed");
}

#[test]
fn what_section_16_forbids_is_silence() {
    use MessageType6::*;
    let mut world = World::new();
    let ia = |r: RequestV6| r.ia(IaKind::Na, 1, &[]);
    let silent = [
        ia(RequestV6::new(Solicit, 1)),
        ia(to_us(Solicit, 1)),
        ia(request(Request, 1)),
        ia(request(Renew, 1).server_id(b"\0\x03another")),
        ia(to_us(Rebind, 1)),
        ia(request(InformationRequest, 1)),
        request(Confirm, 1),
        request(Advertise, 1),
        RequestV6::with_type(200, 1),
    ];
    for (i, request) in silent.into_iter().enumerate() {
        assert!(world.send(1, "ff02::1:2", &request.build()).is_empty(), "message {i}");
    }
    let solicit = ia(request(Solicit, 1)).build();
    assert!(world.send(1, "2001:db8:1::1", &solicit).is_empty(), "SOLICIT by unicast");
    assert!(world.send(1, "ff02::1:2", &[]).is_empty());
}

/// Another server's answers are told of, and the server itself once in a while.
#[test]
fn another_server_is_noticed() {
    let mut world = World::new();
    let has = [ia_addr(ip("2001:db8:1::66"), 60, 90, &[])];
    let answer = |kind| to_us(kind, 5).ia(IaKind::Na, 1, &has);
    let mut heard = |kind| {
        let arrival = Arrival6 {
            link: LinkId(1),
            port: None,
            trunk: false,
            src_mac: Some(Mac([2, 9, 9, 9, 9, 9])),
            src: SocketAddrV6::new(ip("fe80::66"), 547, 0, 0),
            dst: ip("fe80::5"),
        };
        let mut fx = Effects::default();
        let bytes = answer(kind).build();
        world.engine.handle(world.now, Input::Overheard6(arrival, &bytes), &mut fx);
        assert!(fx.send_now.is_empty() && fx.send_after.is_empty() && fx.changes.is_empty());
        fx.events.into_iter().map(|event| event.kind).collect::<Vec<_>>()
    };
    let first = heard(MessageType6::Advertise);
    let [EventKind::Overheard(said), EventKind::ForeignServer(server, Some(_))] = &first[..] else {
        panic!("{first:?}")
    };
    assert_eq!((said.said, said.resource), (Said::Offered, Some(ip("2001:db8:1::66").into())));
    assert_eq!(*server, ip("fe80::66"));
    let again = heard(MessageType6::Reply);
    assert!(matches!(&again[..], [EventKind::Overheard(o)] if o.said == Said::Leased), "{again:?}");
    assert!(heard(MessageType6::Solicit).is_empty(), "no server says that");
}
