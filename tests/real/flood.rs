//! Floods: what one guest sends must not cost the others their answers.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::dhcp::{self, Message};
use crate::common::link::{EVERYONE, Raw, mac, udp_frame};
use crate::common::server::{Server, calm_lan};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, wait_until};

/// Exchanges of the guest that behaves, before the flood and in it.
const EXCHANGES: u32 = 200;

/// So many exchanges, one after another and each of a new client.
fn behave(host: &Host, first: u32) {
    let mut raw = Raw::on(host);
    for n in first..first + EXCHANGES {
        raw.lease(mac(n));
    }
}

/// Sends DISCOVERs of ever new clients from `host` as fast as it can until `stop`; how many.
fn flood(host: &Host, stop: &AtomicBool) -> u64 {
    let mut raw = Raw::on(host);
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let from = mac(0x4000_0000 | sent as u32);
        let bytes = Message::request(dhcp::DISCOVER, sent as u32, from).to_bytes();
        raw.send(&udp_frame(from, EVERYONE, (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST), &bytes));
        sent += 1;
    }
    sent
}

/// The resident memory of a process, in KiB.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One guest floods from ever new hardware addresses: another is served throughout, memory stays,
/// and the log names the port.
#[test]
fn a_flood_through_one_port_leaves_the_others_served() {
    let (world, server_host) = World::with_bridge("flood");
    let guest = world.client("guest", &server_host, "br0");
    let hostile = world.client("hostile", &server_host, "br0");
    // As hypervisors have it, and so that what is measured is the server: no guest reads the flood.
    for port in ["port0", "port1"] {
        server_host.ip(&format!("link set {port} type bridge_slave isolated on"));
    }
    let body = calm_lan()
        .replace("limits = false", "limits = { port_rate = 20, port_burst = 2000 }")
        .replace("10.77.1.0/24", "10.77.0.0/16")
        .replace("10.77.1.100-10.77.1.199", "10.77.4.0-10.77.19.255");
    let mut server = Server::start(&world, &server_host, &body);
    behave(&guest, 1);
    let before = memory(server.proc.pid());
    let stop = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&hostile, &stop));
        wait_until("packets over the limit", PATIENCE, || {
            server.ask(&["status"]).contains("port-rate")
        });
        behave(&guest, 10_001);
        stop.store(true, Ordering::Relaxed);
        flooding.join().unwrap()
    });
    let grown = memory(server.proc.pid()).saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB for {sent} packets");
    server.proc.wait_line("a port sends more DHCP packets than port_rate");
    let offers = server.ask(&["status"]);
    assert!(offers.contains("port-rate"), "{offers}");
}
