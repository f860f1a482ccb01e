//! A switchover's announcements, believed by the kernels of neighbours whose entries are fresh.
// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

// The tests of real components use the rest of it.
#[allow(dead_code)]
mod common;

use std::net::IpAddr;

use common::link::open;
use common::world::{Host, World};
use common::{PATIENCE, wait_for};
use foreshadow::base::{LinkId, Mac};
use foreshadow::net::neighbour;
use foreshadow::wire::Announcement;

const ADDRESSES: [&str; 2] = ["10.77.1.50", "fd77::50"];
const OLD: Mac = Mac([2, 0, 0, 0, 0, 1]);
const NEW: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// Where a host believes an address to be.
fn entry(host: &Host, addr: &str) -> String {
    host.ip(&format!("neigh show {addr}"))
}

#[test]
fn neighbours_believe_what_is_announced() {
    let (world, server) = World::with_bridge("announce");
    let client = world.client("client", &server, "br0");
    client.ip("addr add 10.77.1.9/24 dev eth0");
    client.ip("addr add fd77::9/64 dev eth0 nodad");
    let port = Mac(server.mac_of("br0"));
    let client_mac = Mac(client.mac_of("eth0"));
    let (mut sender, _receiver) = open(&server, "br0");
    for (addr, own) in ADDRESSES.into_iter().zip(["10.77.1.9", "fd77::9"]) {
        let (addr, own): (IpAddr, IpAddr) = (addr.parse().unwrap(), own.parse().unwrap());
        let announced = |holder| Announcement { addr, holder, port };
        let to_one = |holder| vec![announced(holder).to_one(own, client_mac).unwrap()];
        let rounds = [
            (NEW, announced(NEW).to_all()),
            (OLD, to_one(OLD)),
            // Each alone is believed, a moment after another change.
            (NEW, announced(NEW).to_all()[..1].to_vec()),
            (OLD, announced(OLD).to_all()),
            (NEW, to_one(NEW)),
        ];
        client.ip(&format!("neigh replace {addr} lladdr {OLD} nud reachable dev eth0"));
        for (holder, frames) in rounds {
            for frame in frames {
                sender.send_to(&frame, None).unwrap().unwrap();
            }
            wait_for("the client to believe it", PATIENCE, || {
                entry(&client, &addr.to_string()).contains(&holder.to_string()).then_some(())
            });
        }
    }
}

#[test]
fn the_kernel_looks_where_it_is_told() {
    let (world, server) = World::with_bridge("neighbour");
    for name in ["a", "b"] {
        world.client(name, &server, "br0");
    }
    let bridge = LinkId(server.index_of("br0"));
    for name in ["port0", "port1"] {
        let port = LinkId(server.index_of(name));
        server.enter(|| neighbour::place(port, NEW)).unwrap();
        let found = server.sh(&format!("bridge fdb show br br0 | grep {NEW}"));
        assert!(found.contains(&format!("dev {name} ")) && found.lines().count() == 1, "{found}");
    }
    server.ip("addr add fd77::1/64 dev br0 nodad");
    for (addr, mac) in ADDRESSES.into_iter().flat_map(|addr| [(addr, OLD), (addr, NEW)]) {
        server.enter(|| neighbour::replace(bridge, addr.parse().unwrap(), mac)).unwrap();
        let found = entry(&server, addr);
        assert!(found.contains(&mac.to_string()) && found.lines().count() == 1, "{found}");
    }
    let nowhere = server.enter(|| neighbour::place(LinkId(9999), NEW));
    assert_eq!(nowhere.unwrap_err().raw_os_error(), Some(libc::ENODEV));
}
