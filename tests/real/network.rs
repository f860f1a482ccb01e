//! Links: relays, several bridges, interfaces that come and go, neighbours, tags.

use std::time::Duration;

use crate::common::clients::{Client, Kind};
use crate::common::dhcp::{self, Message};
use crate::common::link::{EVERYONE, Raw, Sniffer, mac, udp_frame};
use crate::common::server::{LAN, Server, calm_lan, dnsmasq};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, require, wait_until};

/// How long silence must last to be believed: three times what an answer takes on a loaded machine.
const SILENCE: Duration = Duration::from_secs(1);

/// A network beside the one of [`LAN`].
fn second_network(interface: &str) -> String {
    calm_lan()
        .replace("\"lan\"", "\"two\"")
        .replace("br0", interface)
        .replace("10.77.1.", "10.77.2.")
}

/// Whether a scripted client on `host` gets an offer.
fn is_served(host: &Host) -> bool {
    let mut raw = Raw::on(host);
    let xid = raw.xid();
    raw.broadcast(&Message::request(dhcp::DISCOVER, xid, mac(xid)));
    raw.reply(xid, SILENCE).is_some_and(|seen| seen.message.kind() == dhcp::OFFER)
}

/// Waits until clients on `host` are served.
fn wait_served(host: &Host) {
    wait_until("an OFFER", PATIENCE, || is_served(host));
}

/// A client behind ISC's relay, which is on a trusted port, gets an address of the relayed subnet,
/// with that subnet's router, and renews by unicast through the router.
#[test]
fn a_real_relay_is_served() {
    require("dhcrelay", "isc-dhcp-relay");
    let (world, server_host) = World::with_bridge("relay");
    let relay = world.host("relay");
    let port = world.plug(&relay, "eth0", &server_host, "br0");
    relay.ip("addr add 10.77.1.2/24 dev eth0");
    relay.bridge("far0", Some("10.77.9.1/24"));
    relay.sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
    server_host.ip("route add 10.77.9.0/24 via 10.77.1.2");
    let far = r#"
[[network]]
name = "far"
relays = ["10.77.9.0/24"]
lease = { min = "10s", default = "2m", t1 = "3s", t2 = "90s" }
[[network.subnet]]
prefix = "10.77.9.0/24"
pools = ["10.77.9.100-10.77.9.199"]
options = { routers = ["10.77.9.1"] }
"#;
    let trusted = format!("interfaces = [\"br0\"]\ntrusted_ports = [\"{port}\"]");
    let lan = calm_lan().replace("interfaces = [\"br0\"]", &trusted);
    let _server = Server::start(&world, &server_host, &(lan + far));
    let argv = ["dhcrelay", "-4", "-d", "-a", "-id", "far0", "-iu", "eth0", "10.77.1.1"];
    let mut agent = world.spawn(&relay, "dhcrelay", &argv);
    agent.wait_line("Sending on   LPF/far0");

    let host = world.client("client", &relay, "far0");
    let sniffer = Sniffer::on(&host, "eth0");
    let client = Client::start(&world, &host, Kind::Dhclient, "client");
    let addr = client.wait_bound();
    assert!(addr.to_string().starts_with("10.77.9."), "{addr}");
    client.wait_event(0, &["router='10.77.9.1'"]);
    host.ip("route add default via 10.77.9.1");
    let renewal = sniffer.wait("a renewal by unicast", |seen| {
        seen.is_renewal() && seen.dst.to_string() == "10.77.1.1"
    });
    assert_eq!(sniffer.answer_to(&renewal).message.yiaddr, addr);
}

/// One process serves two bridges, each from its own subnet.
#[test]
fn two_bridges_are_served_by_one_process() {
    let (world, server_host) = World::with_bridge("two");
    server_host.bridge("br1", Some("10.77.2.1/24"));
    let _server = Server::start(&world, &server_host, &(calm_lan() + &second_network("br1")));
    for (bridge, prefix) in [("br0", "10.77.1."), ("br1", "10.77.2.")] {
        let host = world.client(bridge, &server_host, bridge);
        let got = Raw::on(&host).lease(mac(1));
        assert!(got.addr.to_string().starts_with(prefix), "{} on {bridge}", got.addr);
        assert_eq!(got.server.to_string(), format!("{prefix}1"));
    }
}

/// A bridge that is not there at start is served once it appears, not while it is gone, again
/// when it is back; and when its address changes the server identifier follows.
#[test]
fn bridges_come_and_go() {
    let (world, server_host) = World::with_bridge("come");
    let _server = Server::start(&world, &server_host, &(calm_lan() + &second_network("br1")));
    server_host.bridge("br1", Some("10.77.2.1/24"));
    let host = world.client("client", &server_host, "br1");
    wait_served(&host);

    server_host.ip("link del br1");
    let steady = world.client("steady", &server_host, "br0");
    wait_served(&steady);

    server_host.bridge("br1", Some("10.77.2.1/24"));
    server_host.ip("link set port0 master br1");
    wait_served(&host);

    server_host.ip("addr del 10.77.2.1/24 dev br1");
    server_host.ip("addr add 10.77.2.9/24 dev br1");
    let mut raw = Raw::on(&host);
    wait_until("the new server identifier", PATIENCE, || {
        let xid = raw.xid();
        let offer = raw.ask(&Message::request(dhcp::DISCOVER, xid, mac(7)));
        offer.is_some_and(|seen| seen.message.server_id() == Some([10, 77, 2, 9].into()))
    });
}

/// A bridge without an address serves with the configured server identifier.
#[test]
fn a_bridge_without_an_address_serves() {
    let world = World::new("bare");
    let server_host = world.host("server");
    server_host.bridge("br0", None);
    let body = LAN.replace("verify = false", "verify = false\nserver_id = \"10.77.1.254\"");
    let _server = Server::start(&world, &server_host, &body);
    let host = world.client("client", &server_host, "br0");
    let got = Raw::on(&host).lease(mac(1));
    assert_eq!(got.server.to_string(), "10.77.1.254");
}

/// dnsmasq serves one bridge of the host and we another, at the same time.
#[test]
fn another_server_lives_on_another_bridge() {
    let (world, server_host) = World::with_bridge("neighbour");
    server_host.bridge("br1", Some("10.77.2.1/24"));
    let _other = dnsmasq(&world, &server_host, "dnsmasq", "br1", "10.77.2.100,10.77.2.199");
    let _server = Server::start(&world, &server_host, &calm_lan());
    for (bridge, prefix) in [("br0", "10.77.1."), ("br1", "10.77.2.")] {
        let host = world.client(bridge, &server_host, bridge);
        let got = Raw::on(&host).lease(mac(1));
        assert!(got.addr.to_string().starts_with(prefix), "{} on {bridge}", got.addr);
    }
}

/// Where replies go (RFC 2131 s4.1): to everyone where the client asks for that; else by a frame
/// to its hardware address and the address it is offered, though it answers no ARP for it; a
/// renewal is answered at the address it came from.
#[test]
fn replies_go_where_the_client_hears_them() {
    let (world, server_host) = World::with_bridge("where");
    let _server = Server::start(&world, &server_host, &calm_lan());
    let host = world.client("client", &server_host, "br0");
    let server_mac = server_host.mac_of("br0");
    let server = [10, 77, 1, 1].into();
    let mut raw = Raw::on(&host);

    let discover = Message::request(dhcp::DISCOVER, raw.xid(), mac(1));
    let loud = raw.ask(&discover).unwrap();
    assert_eq!((loud.eth_dst, loud.dst), (EVERYONE, [255; 4].into()));
    assert_eq!((loud.eth_src, loud.src, loud.dst_port), (server_mac, server, 68));

    let quiet = Message { flags: 0, xid: raw.xid(), ..discover };
    let offer = raw.ask(&quiet).unwrap();
    assert_eq!((offer.eth_dst, offer.dst), (mac(1), offer.message.yiaddr));

    let got = raw.lease(mac(1));
    let renewal = Message::request(dhcp::REQUEST, raw.xid(), mac(1)).held_by(got.addr);
    raw.unicast(&renewal, server_mac, server);
    let ack = raw.reply(renewal.xid, PATIENCE).expect("an ACK of the renewal");
    assert_eq!((ack.message.kind(), ack.message.yiaddr), (dhcp::ACK, got.addr));
    assert_eq!((ack.eth_dst, ack.dst), (mac(1), got.addr));
    assert_eq!(ack.message.u32_option(51), Some(3600));
}

/// A DISCOVER with a VLAN tag belongs to another segment: it is not answered, while the same one
/// without a tag is.
#[test]
fn tagged_frames_are_not_answered() {
    let (world, server_host) = World::with_bridge("vlan");
    let _server = Server::start(&world, &server_host, &calm_lan());
    let host = world.client("client", &server_host, "br0");
    let mut raw = Raw::on(&host);
    let xid = raw.xid();
    let discover = Message::request(dhcp::DISCOVER, xid, mac(1));
    let bytes = discover.to_bytes();
    let plain = udp_frame(mac(1), EVERYONE, ([0; 4].into(), [255; 4].into()), &bytes);
    let mut tagged = plain[..12].to_vec();
    tagged.extend([0x81, 0, 0, 42]);
    tagged.extend(&plain[12..]);
    raw.send(&tagged);
    assert!(raw.reply(xid, SILENCE).is_none(), "an answer to VLAN 42");
    raw.send(&plain);
    assert!(raw.reply(xid, PATIENCE).is_some());
}

/// An address that answers ARP is found by the verifier and never offered: every other address of
/// a pool of four is.
#[test]
fn the_verifier_finds_squatters() {
    let (world, server_host) = World::with_bridge("squat");
    let squatter = world.client("squatter", &server_host, "br0");
    squatter.ip("addr add 10.77.1.101/24 dev eth0");
    let body = calm_lan()
        .replace("verify = false", "verify = true")
        .replace("10.77.1.100-10.77.1.199", "10.77.1.100-10.77.1.103");
    let server = Server::start(&world, &server_host, &body);
    let squatted = [10, 77, 1, 101].into();
    wait_until("the squatter is found", PATIENCE, || {
        server.lease_of(squatted).is_some_and(|lease| lease["state"] == "in-use")
    });
    let host = world.client("client", &server_host, "br0");
    let mut raw = Raw::on(&host);
    let mut given: Vec<_> = (1..=3).map(|n| raw.lease(mac(n)).addr.octets()[3]).collect();
    given.sort_unstable();
    assert_eq!(given, [100, 102, 103]);
    let xid = raw.xid();
    raw.broadcast(&Message::request(dhcp::DISCOVER, xid, mac(4)));
    assert!(raw.reply(xid, SILENCE).is_none(), "an offer though nothing is free");
}
