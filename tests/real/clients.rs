//! dhclient, udhcpc and dhcpcd through the life of a lease.

use crate::common::clients::{Client, Habits, Kind};
use crate::common::dhcp;
use crate::common::link::Sniffer;
use crate::common::server::{LAN, Server, calm_lan};
use crate::common::world::World;

const OPTIONS: &str = r#"
[network.subnet.options]
routers = ["10.77.1.1"]
domain-name-servers = ["10.77.1.53", "10.77.1.54"]
domain-name = "lan.example"
domain-search = ["a.example", "b.example"]
interface-mtu = 1400
ntp-servers = ["10.77.1.60"]
224 = { hex = "deadbeef" }
"#;

/// The client gets an address by DISCOVER, OFFER, REQUEST, ACK; every option that it asks for
/// reaches its hook; it renews at T1 by unicast and is ACKed; its release frees the address.
fn lives(kind: Kind) {
    let (world, server_host) = World::with_bridge("life");
    let body = LAN.lines().filter(|line| !line.starts_with("options")).collect::<Vec<_>>();
    let server = Server::start(&world, &server_host, &(body.join("\n") + OPTIONS));
    let host = world.client("client", &server_host, "br0");
    let sniffer = Sniffer::on(&host, "eth0");
    let mut client = Client::start(&world, &host, kind, "client");

    let addr = client.wait_bound();
    let event = client.wait_event(0, &[&format!("addr={addr}"), "lease=120"]);
    for word in ["dns='10.77.1.53 10.77.1.54'", "router='10.77.1.1'", "domain='lan.example'"] {
        assert!(event.contains(word), "{word} in {event}");
    }
    for word in ["a.example", "b.example", "mtu='1400'", "ntp='10.77.1.60'"] {
        assert!(event.contains(word), "{word} in {event}");
    }
    for kind in [dhcp::DISCOVER, dhcp::OFFER, dhcp::REQUEST, dhcp::ACK] {
        assert_eq!(sniffer.count(kind), 1, "messages of type {kind}");
    }

    let mark = client.mark();
    client.renew();
    let renewal = sniffer.wait("a renewal by unicast", |seen| seen.is_renewal());
    assert_eq!(renewal.message.ciaddr, addr);
    let answer = sniffer.answer_to(&renewal);
    assert_eq!((answer.message.kind(), answer.message.yiaddr), (dhcp::ACK, addr));
    if kind != Kind::Dhcpcd {
        client.wait_event(mark, &[&format!("addr={addr}")]);
    }

    client.release();
    sniffer.wait("a RELEASE", |seen| seen.message.kind() == dhcp::RELEASE);
    client.wait_unbound();
    crate::common::wait_until("the address is free", crate::common::PATIENCE, || {
        server.lease_of(addr).is_none_or(|lease| lease["state"] == "released")
    });
}

/// See [`lives`].
#[test]
fn dhclient_lives_with_us() {
    lives(Kind::Dhclient);
}

/// See [`lives`].
#[test]
fn udhcpc_lives_with_us() {
    lives(Kind::Udhcpc);
}

/// See [`lives`].
#[test]
fn dhcpcd_lives_with_us() {
    lives(Kind::Dhcpcd);
}

/// While unicast to the server is lost, the client renews in vain, rebinds by broadcast after T2,
/// and keeps its address.
fn rebinds(kind: Kind) {
    let (world, server_host) = World::with_bridge("rebind");
    let _server = Server::start(&world, &server_host, LAN);
    let host = world.client("client", &server_host, "br0");
    let sniffer = Sniffer::on(&host, "eth0");
    let client = Client::start(&world, &host, kind, "client");
    let addr = client.wait_bound();
    // Unicast goes to a hardware address that nobody has; broadcast arrives. (A blackhole route
    // would not do: a socket that is bound to its device passes it by.)
    host.ip("neigh replace 10.77.1.1 lladdr 02:de:ad:00:00:01 dev eth0 nud permanent");
    client.renew();
    let rebinding = sniffer.wait("a REQUEST by broadcast", |seen| seen.is_rebinding());
    assert_eq!(rebinding.message.ciaddr, addr);
    let answer = sniffer.answer_to(&rebinding);
    assert_eq!((answer.message.kind(), answer.message.yiaddr), (dhcp::ACK, addr));
    assert_eq!(client.wait_bound(), addr);
}

/// See [`rebinds`].
#[test]
fn dhclient_rebinds() {
    rebinds(Kind::Dhclient);
}

/// See [`rebinds`].
#[test]
fn udhcpc_rebinds() {
    rebinds(Kind::Udhcpc);
}

/// See [`rebinds`].
#[test]
fn dhcpcd_rebinds() {
    rebinds(Kind::Dhcpcd);
}

/// The address that a client has is squatted while it is away: its own probe finds it, the client
/// declines, gets another one, and the declined address is quarantined.
fn declines(kind: Kind) {
    let (world, server_host) = World::with_bridge("decline");
    let server = Server::start(&world, &server_host, &calm_lan());
    let squatter = world.client("squatter", &server_host, "br0");
    let host = world.client("client", &server_host, "br0");
    let sniffer = Sniffer::on(&host, "eth0");
    let mut first = Client::start(&world, &host, kind, "client");
    let taken = first.wait_bound();
    first.kill9();
    host.ip("addr flush dev eth0");
    squatter.ip(&format!("addr add {taken}/24 dev eth0"));
    let habits = Habits { probes: true, ..Habits::default() };
    let client = Client::start_with(&world, &host, kind, "client", habits);
    let decline = sniffer.wait("a DECLINE", |seen| seen.message.kind() == dhcp::DECLINE);
    let declined = decline.message.addr_option(50).unwrap();
    assert_eq!(declined, taken);
    let addr = client.wait_bound();
    assert_ne!(addr, declined);
    let state = server.lease_of(declined).unwrap()["state"].to_string();
    assert!(state.contains("declined"), "{declined} is {state}");
}

/// See [`declines`].
#[test]
fn dhclient_declines() {
    declines(Kind::Dhclient);
}

/// See [`declines`].
#[test]
fn udhcpc_declines() {
    declines(Kind::Udhcpc);
}

/// See [`declines`].
#[test]
fn dhcpcd_declines() {
    declines(Kind::Dhcpcd);
}

/// The client is killed, the server is killed and started again, and the client comes back with
/// its lease file: its INIT-REBOOT is ACKed with the address it had.
fn reboots(kind: Kind) {
    let (world, server_host) = World::with_bridge("reboot");
    let mut server = Server::start(&world, &server_host, &calm_lan());
    let host = world.client("client", &server_host, "br0");
    let sniffer = Sniffer::on(&host, "eth0");
    let mut client = Client::start(&world, &host, kind, "client");
    let addr = client.wait_bound();
    client.kill9();
    host.ip("addr flush dev eth0");
    server.kill9();
    server.start_again();
    let mark = sniffer.mark();
    let client = Client::start(&world, &host, kind, "client");
    let request = sniffer.wait_after(mark, "INIT-REBOOT", |seen| seen.is_init_reboot());
    assert_eq!(request.message.addr_option(50), Some(addr));
    let answer = sniffer.answer_to(&request);
    assert_eq!((answer.message.kind(), answer.message.yiaddr), (dhcp::ACK, addr));
    assert_eq!(client.wait_bound(), addr);
}

/// See [`reboots`].
#[test]
fn dhclient_reboots() {
    reboots(Kind::Dhclient);
}

/// See [`reboots`].
#[test]
fn dhcpcd_reboots() {
    reboots(Kind::Dhcpcd);
}

/// udhcpc has no INIT-REBOOT: it comes back by DISCOVER after the server was killed, and is
/// offered the address it had.
#[test]
fn udhcpc_comes_back() {
    let (world, server_host) = World::with_bridge("back");
    let mut server = Server::start(&world, &server_host, &calm_lan());
    let host = world.client("client", &server_host, "br0");
    let mut client = Client::start(&world, &host, Kind::Udhcpc, "client");
    let addr = client.wait_bound();
    client.kill9();
    host.ip("addr flush dev eth0");
    server.kill9();
    server.start_again();
    // Another client comes first, so that the address is not simply the next one.
    let other = world.client("other", &server_host, "br0");
    assert_ne!(Client::start(&world, &other, Kind::Udhcpc, "other").wait_bound(), addr);
    assert_eq!(Client::start(&world, &host, Kind::Udhcpc, "client").wait_bound(), addr);
}
