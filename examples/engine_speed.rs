//! How fast the engine decides, without sockets or disk: `engine_speed LEASES` fills a /8 and a
//! /64 with so many leases each by whole exchanges, sixteen clients a batch, renews them, and says
//! what an exchange costs at the beginning and at the end.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;
use std::time::Instant;

use foreshadow::base::{LinkId, Mac, NetworkId, Timestamp};
use foreshadow::config;
use foreshadow::engine::effects::{Arrival6, LinkUp};
use foreshadow::engine::{Arrival, Effects, Engine, Input};
use foreshadow::lease::Seq;
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::v6_build::{RequestV6, ia_addr};
use foreshadow::wire::{IaKind, Message, Message6, MessageType, MessageType6};

const POLICY: &str = "[[network]]\nname='speed'\ninterfaces=['br0']\nverify=false\n\
    lease={default='1d'}\n\
    [[network.subnet]]\nprefix='10.0.0.0/8'\npools=['10.0.1.0-10.255.255.200']\n\
    options={routers=['10.0.0.1'],domain-name-servers=['10.0.0.1'],domain-name='a.test'}\n\
    [[network.subnet]]\nprefix='2001:db8:1::/64'\npools=['2001:db8:1::1:0-2001:db8:1::ffff:ffff']\n\
    options6={dns-servers=['2001:db8:1::53'],domain-search=['a.test']}\n";
const DUID: &[u8] = b"\0\x04the-server-s-own";
const BATCH: u32 = 16;

type Failure = Box<dyn std::error::Error>;

struct World {
    engine: Engine,
    fx: Effects,
    now: Timestamp,
}

/// One message of client `n`, given the last answer to it.
type Say = fn(u32, &[u8]) -> Result<Vec<u8>, Failure>;

fn main() -> Result<(), Failure> {
    let leases: u32 = std::env::args().nth(1).ok_or("usage: engine_speed LEASES")?.parse()?;
    let mut world = World::new()?;
    let mut out = std::io::stdout();
    let empty = resident_kb();
    let exchanges: [(&str, bool, &[Say]); 4] = [
        ("v4 DORA", false, &[discover, select]),
        ("v4 renewal", false, &[renew]),
        ("v6 SARR", true, &[solicit, request6]),
        ("v6 renewal", true, &[renew6]),
    ];
    let part = (leases / 10).clamp(1, 100_000);
    for (name, v6, says) in exchanges {
        let (mut first, mut last) = (0.0, 0.0);
        for start in (0..leases).step_by(part as usize) {
            let end = leases.min(start + part);
            last = world.play(start..end, v6, says)? / f64::from(end - start);
            first = if start == 0 { last } else { first };
        }
        let held = world.engine.leases().len();
        let each = (resident_kb() - empty) as f64 * 1024.0 / held as f64;
        writeln!(
            out,
            "{name}: {first:.2} us at the beginning, {last:.2} us at the end, ratio {:.2}; \
             {held} leases, {each:.0} bytes resident each",
            last / first
        )?;
    }
    Ok(())
}

impl World {
    fn new() -> Result<World, Failure> {
        let loaded = config::check(POLICY, "speed").map_err(|f| f.render(false))?;
        let mut engine = Engine::new(Arc::new(loaded.policy), Vec::new(), Seq(0));
        engine.set_identity(DUID, [7; 16]);
        let up = LinkUp {
            link: LinkId(1),
            name: "br0".into(),
            network: NetworkId::of("speed"),
            mac: Mac([2, 0, 0, 0, 0, 0xfe]),
            addrs: vec![(Ipv4Addr::new(10, 0, 0, 1), "10.0.0.0/8".parse().map_err(|()| "prefix")?)],
            addrs6: vec!["2001:db8:1::1".parse()?],
        };
        let (mut fx, now) = (Effects::default(), Timestamp(1_700_000_000_000));
        engine.handle(now, Input::LinkUp(up), &mut fx);
        Ok(World { engine, fx, now })
    }

    /// The exchanges of these clients; microseconds in the engine.
    fn play(&mut self, all: std::ops::Range<u32>, v6: bool, says: &[Say]) -> Result<f64, Failure> {
        let mut spent = 0.0;
        for start in all.clone().step_by(BATCH as usize) {
            let batch = start..all.end.min(start + BATCH);
            let mut heard: Vec<Vec<u8>> = vec![Vec::new(); batch.len()];
            for say in says {
                let said: Vec<Vec<u8>> = batch
                    .clone()
                    .zip(&heard)
                    .map(|(n, heard)| say(n, heard))
                    .collect::<Result<_, _>>()?;
                let began = Instant::now();
                for (n, packet) in batch.clone().zip(&said) {
                    let input = match v6 {
                        false => Input::Packet4(arrival(n), packet),
                        true => Input::Packet6(arrival6(n), packet),
                    };
                    self.engine.handle(self.now, input, &mut self.fx);
                }
                let seq = self.engine.end_batch();
                if let Some(seq) = seq {
                    self.engine.handle(self.now, Input::Committed(seq), &mut self.fx);
                }
                spent += began.elapsed().as_secs_f64() * 1e6;
                self.hear(&mut heard)?;
                self.now = Timestamp(self.now.0 + 1);
            }
        }
        Ok(spent)
    }

    fn hear(&mut self, heard: &mut [Vec<u8>]) -> Result<(), Failure> {
        let replies = self.fx.send_now.drain(..).chain(self.fx.send_after.drain(..));
        let mut count = 0;
        for (reply, heard) in replies.zip(heard.iter_mut()) {
            *heard = self.fx.bytes.get(reply.payload).unwrap_or_default().to_vec();
            count += 1;
        }
        self.fx.bytes.clear();
        self.fx.changes.clear();
        self.fx.events.clear();
        if count == heard.len() { Ok(()) } else { Err("a client got no answer".into()) }
    }
}

fn mac(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([0x52, 0x54, a, b, c, d])
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

fn asking(kind: MessageType, n: u32) -> RequestV4 {
    RequestV4::new(kind, mac(n)).xid(n).option(55, &[1, 3, 6, 15, 51, 58, 59])
}

fn discover(n: u32, _: &[u8]) -> Result<Vec<u8>, Failure> {
    Ok(asking(MessageType::Discover, n).build())
}

fn select(n: u32, offer: &[u8]) -> Result<Vec<u8>, Failure> {
    let offer = Message::parse(offer)?;
    let server = offer.server_id().ok_or("an offer of nobody")?;
    Ok(asking(MessageType::Request, n).addr(50, offer.yiaddr()).addr(54, server).build())
}

/// Addresses were given in order.
fn renew(n: u32, _: &[u8]) -> Result<Vec<u8>, Failure> {
    let addr = Ipv4Addr::from_bits(0x0a00_0100 + n);
    Ok(asking(MessageType::Request, n).ciaddr(addr).build())
}

fn asking6(kind: MessageType6, n: u32, inside: &[Vec<u8>]) -> RequestV6 {
    let duid = [&[0, 3, 0, 1][..], &mac(n).0].concat();
    RequestV6::new(kind, n & 0xff_ffff).client_id(&duid).oro(&[23, 24]).ia(IaKind::Na, 1, inside)
}

fn solicit(n: u32, _: &[u8]) -> Result<Vec<u8>, Failure> {
    Ok(asking6(MessageType6::Solicit, n, &[]).build())
}

fn request6(n: u32, advertised: &[u8]) -> Result<Vec<u8>, Failure> {
    let msg = Message6::parse(advertised)?;
    let ia = msg.ias().next().ok_or("no IA")?;
    let addr = ia.addrs().next().ok_or("no address")?.addr;
    let inside = [ia_addr(addr, 0, 0, &[])];
    Ok(asking6(MessageType6::Request, n, &inside).server_id(DUID).build())
}

fn renew6(n: u32, _: &[u8]) -> Result<Vec<u8>, Failure> {
    let addr = Ipv6Addr::from_bits((0x2001_0db8_0001u128 << 80) + 0x1_0000 + u128::from(n));
    let inside = [ia_addr(addr, 0, 0, &[])];
    Ok(asking6(MessageType6::Renew, n, &inside).server_id(DUID).build())
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
