//! One guest floods: what the others notice of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use foreshadow::base::{LinkId, Mac};
use foreshadow::net::{FrameSocket, Mode, Outbox};

use crate::cases::{Bench, Sizes};
use crate::common::world::{Host, World};
use crate::figures::Figures;
use crate::load::{Load, Pace};
use crate::peer::{Family, LAN, Peer, Running, fresh_dir};
use crate::speech::{Held, Speaker, Way, Word};
use crate::stage::{RELAY, SERVER_LINK, Stage};

pub(crate) const CALM: &str = "no flood";
pub(crate) const FLOODED: &str = "flood";

/// DISCOVERs a second of the guest that floods.
pub(crate) const FLOOD: u64 = 20_000;
/// Exchanges a second of the others, who are behind one trunk.
pub(crate) const OTHERS: f64 = 500.0;
/// The first client that the flood invents.
const INVENTED: u32 = 0x8000_0000;
const LINK: &str = "c0";

/// The others' answers without a flood and with one.
pub(crate) fn flood(sizes: &Sizes, figures: &mut Figures) {
    let (stage, hostile) = bridged();
    let load = Load::on(&stage);
    let taken = std::mem::take(figures);
    let mut bench = Bench { stage, load, sizes: *sizes, peers: vec![], figures: taken };
    let body = LAN.replace("verify = false", "verify = false\ntrunk_ports = [\"port0\"]");
    for _ in 0..sizes.repetitions {
        for case in [CALM, FLOODED] {
            let dir = fresh_dir(&bench.stage);
            let mut server = Running::launch_foreshadow(&bench.stage, &dir, &body);
            server.wait_first(&mut bench.load, Family::V4);
            bench.load.forget();
            let (stop, count) = (AtomicBool::new(case == CALM), (OTHERS * sizes.seconds) as u32);
            let server_mac = bench.stage.server_mac;
            thread::scope(|scope| {
                scope.spawn(|| pour(&hostile, server_mac, &stop));
                bench.measure(case, Peer::Foreshadow, server.pid(), |load| {
                    load.bind(Way::Direct, 0..count, Pace::Rate(OTHERS), Duration::from_secs(60))
                });
                stop.store(true, Ordering::Relaxed);
            });
            server.remove();
        }
    }
    *figures = bench.figures;
}

/// A server on a bridge, a trunk with clients, and an access port.
fn bridged() -> (Stage, Host) {
    let world = World::new("flood");
    let server = world.host("s");
    server.bridge(SERVER_LINK, Some("10.77.0.1/16"));
    let (client, hostile) = (world.host("c"), world.host("h"));
    for host in [&client, &hostile] {
        let port = world.plug(host, LINK, &server, SERVER_LINK);
        // As hypervisors have it: guests do not hear each other.
        server.ip(&format!("link set {port} type bridge_slave isolated on"));
    }
    let server_mac = Mac(server.mac_of(SERVER_LINK));
    (Stage { world, server, client, client_link: LINK, server_mac }, hostile)
}

/// Sends DISCOVERs of ever new clients until `stop`.
fn pour(host: &Host, server_mac: Mac, stop: &AtomicBool) {
    let link = LinkId(host.index_of(LINK));
    let speaker = Speaker::new(Mac(host.mac_of(LINK)), server_mac, RELAY);
    let socket = host.enter(|| FrameSocket::arp(link, Mode::Serve)).expect("packet socket");
    let (mut out, begun, mut sent) = (Outbox::default(), Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        let due = (begun.elapsed().as_secs_f64() * FLOOD as f64) as u64;
        while sent < due {
            let client = INVENTED | sent as u32;
            speaker.say(Word::Seek, Way::Direct, client, &Held::NOTHING, &mut out);
            sent += 1;
        }
        socket.send(&mut out);
        thread::sleep(Duration::from_millis(1));
    }
}
