//! What a decision costs, without sockets and disk: batches of sixteen packets and their commit, in
//! small and large tables and subnets.

use std::cell::RefCell;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use foreshadow::base::{ClientKey, HwAddr, LinkId, Mac, NetworkId, Resource, Timestamp};
use foreshadow::config;
use foreshadow::engine::effects::{Arrival6, LinkUp};
use foreshadow::engine::{Arrival, Effects, Engine, Input};
use foreshadow::lease::{Details, Lease, Seq, State};
use foreshadow::wire::{Message, Message6};

use crate::messages::{self, DUID, mac};

/// Packets that are decided before their commit.
const BATCH: u32 = 16;
/// Clients whose number is below this hold leases from the start.
const FIRST_NEW: u32 = 0x4000_0000;
/// Clients that renew.
const RENEWING: u32 = 100 * BATCH;
const NOW: Timestamp = Timestamp(1_700_000_000_000);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// How many leases there are, in a subnet of what prefix length.
#[derive(Clone, Copy)]
struct Scale {
    leases: u32,
    prefix_len: u8,
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} leases on a /{}", self.leases, self.prefix_len)
    }
}

const SCALES: [Scale; 3] = [
    Scale { leases: 1_000, prefix_len: 16 },
    Scale { leases: 1_000, prefix_len: 8 },
    Scale { leases: 1_000_000, prefix_len: 8 },
];

struct World {
    engine: Engine,
    fx: Effects,
    now: Timestamp,
    next: u32,
}

/// A batch: each client's number and what it says.
type Said = Vec<(u32, Vec<u8>)>;

impl World {
    fn new(scale: Scale) -> RefCell<World> {
        let end = if scale.prefix_len == 8 { "10.255.255.200" } else { "10.0.255.200" };
        let policy = format!(
            "[[network]]\nname='bench'\ninterfaces=['br0']\nverify=false\nlease={{default='1d'}}\n\
             [[network.subnet]]\nprefix='10.0.0.0/{}'\npools=['10.0.1.0-{end}']\n\
             options={{routers=['10.0.0.1'],domain-name-servers=['10.0.0.1'],\
             domain-name='a.test'}}\n\
             [[network.subnet]]\nprefix='2001:db8:1::/64'\n\
             pools=['2001:db8:1::1:0-2001:db8:1::ffff:ffff']\n\
             options6={{dns-servers=['2001:db8:1::53'],domain-search=['a.test']}}\n",
            scale.prefix_len
        );
        let loaded = config::check(&policy, "bench").expect("a policy");
        let leases = (0..scale.leases).map(lease).collect();
        let mut engine = Engine::new(Arc::new(loaded.policy), leases, Seq(0));
        engine.set_identity(DUID, [7; 16]);
        let prefix = format!("10.0.0.0/{}", scale.prefix_len);
        let up = LinkUp {
            link: LinkId(1),
            name: "br0".into(),
            network: NetworkId::of("bench"),
            mac: Mac([2, 0, 0, 0, 0, 0xfe]),
            addrs: vec![(SERVER, prefix.parse().expect("a prefix"))],
            addrs6: vec![Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)],
        };
        let mut fx = Effects::default();
        engine.handle(NOW, Input::LinkUp(up), &mut fx);
        RefCell::new(World { engine, fx, now: NOW, next: FIRST_NEW })
    }

    /// The numbers of sixteen new clients.
    fn newcomers(&mut self) -> std::ops::Range<u32> {
        self.next += BATCH;
        self.next - BATCH..self.next
    }

    /// Decides one batch and commits it.
    fn decide(&mut self, said: &Said, v6: bool) {
        for (n, packet) in said {
            let input = match v6 {
                false => Input::Packet4(arrival(*n), packet),
                true => Input::Packet6(arrival6(*n), packet),
            };
            self.engine.handle(self.now, input, &mut self.fx);
        }
        if let Some(seq) = self.engine.end_batch() {
            self.engine.handle(self.now, Input::Committed(seq), &mut self.fx);
        }
        self.now = Timestamp(self.now.0 + 1);
    }

    /// The payload of each answer; forgets all effects.
    fn heard(&mut self) -> Vec<Vec<u8>> {
        let replies = self.fx.send_now.drain(..).chain(self.fx.send_after.drain(..));
        let bytes = &self.fx.bytes;
        let heard =
            replies.map(|reply| bytes.get(reply.payload).expect("an answer").to_vec()).collect();
        self.forget();
        heard
    }

    fn forget(&mut self) {
        self.fx.send_now.clear();
        self.fx.send_after.clear();
        self.fx.bytes.clear();
        self.fx.changes.clear();
        self.fx.events.clear();
        self.fx.outcomes.clear();
    }

    /// What `clients` say next to offers, or to advertisements.
    fn selections(&mut self, v6: bool) -> Said {
        let clients = self.newcomers();
        let seek = if v6 { messages::solicit } else { messages::discover };
        self.decide(&clients.clone().map(|n| (n, seek(n))).collect(), v6);
        let heard = self.heard();
        assert_eq!(heard.len(), BATCH as usize, "a client got no answer");
        clients.zip(heard).map(|(n, offer)| (n, select(n, &offer, v6))).collect()
    }

    /// Binds the clients that renew; what they say then.
    fn renewals(&mut self, v6: bool) -> Vec<Said> {
        (0..RENEWING / BATCH)
            .map(|_| {
                let said = self.selections(v6);
                self.decide(&said, v6);
                let heard = self.heard();
                said.iter().zip(heard).map(|((n, _), ack)| (*n, renew(*n, &ack, v6))).collect()
            })
            .collect()
    }
}

fn lease(n: u32) -> Lease {
    let hw = HwAddr::ethernet(mac(n));
    Lease {
        network: NetworkId::of("bench"),
        resource: Resource::V4(Ipv4Addr::from_bits(0x0a00_0100 + n)),
        client: ClientKey::hardware(&hw),
        hw,
        state: State::Leased,
        since: NOW,
        updated: NOW,
        until: Timestamp(NOW.0 + 86_400_000 + u64::from(n)),
        port: None,
        uses: Default::default(),
        details: Arc::new(Details::default()),
    }
}

fn arrival(n: u32) -> Arrival {
    Arrival {
        link: LinkId(1),
        port: None,
        trusted: false,
        trunk: true,
        src_mac: Some(mac(n)),
        src: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        dst: Ipv4Addr::BROADCAST,
        dst_port: 67,
    }
}

fn arrival6(n: u32) -> Arrival6 {
    Arrival6 {
        link: LinkId(1),
        port: None,
        trunk: true,
        src_mac: Some(mac(n)),
        src: SocketAddrV6::new(mac(n).link_local(), 546, 0, 0),
        dst: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2),
    }
}

fn address6(answer: &[u8]) -> Ipv6Addr {
    let msg = Message6::parse(answer).expect("an answer");
    let addr = msg.ias().next().and_then(|ia| ia.addrs().next()).expect("an address");
    addr.addr
}

fn select(n: u32, offer: &[u8], v6: bool) -> Vec<u8> {
    if v6 {
        return messages::request6(n, address6(offer));
    }
    messages::select(n, Message::parse(offer).expect("an offer").yiaddr(), SERVER)
}

fn renew(n: u32, ack: &[u8], v6: bool) -> Vec<u8> {
    if v6 {
        return messages::renew6(n, address6(ack));
    }
    messages::renew(n, Message::parse(ack).expect("an ack").yiaddr())
}

/// The first packet of new clients: DISCOVER or SOLICIT.
fn seek(bencher: Bencher<'_, '_>, scale: Scale, v6: bool) {
    let world = World::new(scale);
    let seek = if v6 { messages::solicit } else { messages::discover };
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| -> Said { world.borrow_mut().newcomers().map(|n| (n, seek(n))).collect() })
        .bench_local_refs(|said| {
            let mut world = world.borrow_mut();
            world.decide(said, v6);
            world.forget();
        });
}

/// The REQUEST that takes what was offered.
fn take(bencher: Bencher<'_, '_>, scale: Scale, v6: bool) {
    let world = World::new(scale);
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| world.borrow_mut().selections(v6))
        .bench_local_refs(|said| {
            let mut world = world.borrow_mut();
            world.decide(said, v6);
            world.forget();
        });
}

fn extend(bencher: Bencher<'_, '_>, scale: Scale, v6: bool) {
    let world = World::new(scale);
    let said = world.borrow_mut().renewals(v6);
    let mut turns = said.iter().cycle();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let mut world = world.borrow_mut();
        world.decide(turns.next().expect("a batch"), v6);
        world.forget();
    });
}

#[divan::bench(args = SCALES, sample_size = 1)]
fn v4_discover(bencher: Bencher<'_, '_>, scale: Scale) {
    seek(bencher, scale, false);
}

#[divan::bench(args = SCALES, sample_size = 1)]
fn v4_request(bencher: Bencher<'_, '_>, scale: Scale) {
    take(bencher, scale, false);
}

#[divan::bench(args = SCALES, sample_size = 1)]
fn v4_renewal(bencher: Bencher<'_, '_>, scale: Scale) {
    extend(bencher, scale, false);
}

#[divan::bench(args = SCALES, sample_size = 1)]
fn v6_solicit(bencher: Bencher<'_, '_>, scale: Scale) {
    seek(bencher, scale, true);
}

#[divan::bench(args = SCALES, sample_size = 1)]
fn v6_request(bencher: Bencher<'_, '_>, scale: Scale) {
    take(bencher, scale, true);
}

#[divan::bench(args = SCALES, sample_size = 1)]
fn v6_renewal(bencher: Bencher<'_, '_>, scale: Scale) {
    extend(bencher, scale, true);
}
