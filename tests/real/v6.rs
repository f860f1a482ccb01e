//! DHCPv6 with real clients: the life of a lease, prefixes in use, relays, both families at once.
//!
//! Clients are told to ask at once, but where router advertisements are what is tried.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::time::Duration;

use crate::common::clients6::{Client6, Habits6, Kind6};
use crate::common::dhcp6;
use crate::common::link::Sniffer;
use crate::common::server::{LAN, LAN6, Server, calm_lan};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, look_for, require, wait_for, wait_until};

/// How the addresses of [`LAN6`] begin.
const HERE: &str = "2001:db8:77:1::";
/// How long silence must last to be believed.
const SILENCE: Duration = Duration::from_secs(2);
/// How its delegated prefixes begin.
const DELEGATED: &str = "2001:db8:8";
const PREFIX: Habits6<'static> =
    Habits6 { prefix: true, rapid: false, heeds_router: false, both: false, inside: None };

/// A world whose bridge is of both families.
fn world(name: &str) -> (World, Host) {
    let (world, server_host) = World::with_bridge(name);
    server_host.ip("addr add 2001:db8:77:1::1/64 dev br0");
    (world, server_host)
}

/// Leases that are renewed after three seconds and rebound after six.
fn brisk() -> String {
    LAN.to_owned() + LAN6
}

/// Leases that last longer than any test.
fn calm() -> String {
    calm_lan() + LAN6
}

/// The client gets an address and a prefix by SOLICIT, ADVERTISE, REQUEST, REPLY, all in one
/// exchange; the options that it asks for reach its hook; it renews; its release frees both.
fn lives(kind: Kind6) {
    let (world, server_host) = world("life6");
    let server = Server::start(&world, &server_host, &brisk());
    let host = world.client("client", &server_host, "br0");
    let sniffer = Sniffer::on6(&host, "eth0");
    let mut client = Client6::start(&world, &host, kind, "client", PREFIX);

    let addr = client.wait_bound(HERE);
    client.wait_event(&[&format!("addr={addr}"), "dns='2001:db8:77:1::53'", "a.example"]);
    let prefix = client.wait_prefix();
    assert!(prefix.starts_with(DELEGATED), "{prefix}");
    for kind in [dhcp6::SOLICIT, dhcp6::ADVERTISE, dhcp6::REQUEST] {
        assert_eq!(sniffer.count6(kind), 1, "messages of type {kind}");
    }
    for name in [&addr.to_string(), &prefix] {
        assert_eq!(server.state_of(name), "leased", "{name}");
    }

    client.renew();
    let renewal = sniffer.wait_kind(0, dhcp6::RENEW);
    assert!(renewal.message.addrs().contains(&addr), "{renewal:?}");
    let held = sniffer.reply_to(&renewal).held();
    for name in [&addr.to_string(), &prefix] {
        assert!(held.iter().any(|one| one.name() == *name && one.valid == 120), "{held:?}");
    }

    client.release();
    let release = sniffer.wait_kind(0, dhcp6::RELEASE);
    assert_eq!(sniffer.reply_to(&release).status(), 0);
    client.wait_unbound();
    wait_until("both are free", PATIENCE, || {
        [&addr.to_string(), &prefix].iter().all(|name| server.state_of(name) == "released")
    });
}

/// See [`lives`].
#[test]
fn dhclient6_lives_with_us() {
    lives(Kind6::Dhclient);
}

/// See [`lives`].
#[test]
fn dhcpcd6_lives_with_us() {
    lives(Kind6::Dhcpcd);
}

/// systemd-networkd gets an address, renews it, and has the same one when it is started again.
#[test]
fn networkd_lives_with_us() {
    let (world, server_host) = world("networkd");
    // It sends its first RENEW up to ten seconds after T1, and none once T2 is over.
    let server = Server::start(&world, &server_host, &brisk().replace("\"6s\"", "\"90s\""));
    let host = world.client("client", &server_host, "br0");
    let sniffer = Sniffer::on6(&host, "eth0");
    let start = || Client6::start(&world, &host, Kind6::Networkd, "client", Habits6::default());
    let mut client = start();
    let addr = client.wait_bound(HERE);
    assert_eq!(server.state_of(&addr.to_string()), "leased");
    let renewal = sniffer.wait_kind(0, dhcp6::RENEW);
    assert_eq!(sniffer.reply_to(&renewal).addrs(), [addr]);
    client.kill9();
    host.ip("-6 addr flush dev eth0 scope global");
    assert_eq!(start().wait_bound(HERE), addr);
}

/// Left to itself, a client asks for an address because our advertisement says that there is one.
fn heeds_our_advertisement(kind: Kind6) {
    let (world, server_host) = world("heeds");
    let host = world.client("client", &server_host, "br0");
    let habits = Habits6 { heeds_router: true, ..Habits6::default() };
    let with = |said: &str| {
        let key = format!("authoritative = true\nrouter_advertisements = {said}");
        calm().replace("authoritative = true", &key)
    };
    let server = Server::start(&world, &server_host, &with("false"));
    let sniffer = Sniffer::on6(&host, "eth0");
    let client = Client6::start(&world, &host, kind, "client", habits);
    let quiet = look_for(SILENCE, || (sniffer.count6(dhcp6::SOLICIT) > 0).then_some(()));
    assert!(quiet.is_none(), "it asks though nobody said that it may");
    server.write_config(&with("true"));
    server.hang_up();
    client.wait_bound(HERE);
}

/// See [`heeds_our_advertisement`].
#[test]
fn dhcpcd_heeds_our_advertisement() {
    heeds_our_advertisement(Kind6::Dhcpcd);
}

/// See [`heeds_our_advertisement`].
#[test]
fn networkd_heeds_our_advertisement() {
    heeds_our_advertisement(Kind6::Networkd);
}

/// While the server is down the client renews in vain and rebinds after T2; the server that comes
/// back answers it, and it keeps its address.
fn rebinds(kind: Kind6) {
    let (world, server_host) = world("rebind6");
    let mut server = Server::start(&world, &server_host, &brisk());
    let host = world.client("client", &server_host, "br0");
    let sniffer = Sniffer::on6(&host, "eth0");
    let client = Client6::start(&world, &host, kind, "client", PREFIX);
    let addr = client.wait_bound(HERE);
    server.kill9();
    let mark = sniffer.mark();
    client.renew();
    sniffer.wait_kind(mark, dhcp6::REBIND);
    server.start_again();
    let mark = sniffer.mark();
    let rebinding = sniffer.wait_kind(mark, dhcp6::REBIND);
    assert!(rebinding.message.option(dhcp6::SERVER_ID).is_none());
    let held = sniffer.reply_to(&rebinding).held();
    assert!(held.iter().all(|one| one.valid == 120), "{held:?}");
    assert_eq!(held.len(), 2, "address and prefix in {held:?}");
    assert_eq!(client.wait_bound(HERE), addr);
}

/// See [`rebinds`].
#[test]
fn dhclient6_rebinds() {
    rebinds(Kind6::Dhclient);
}

/// See [`rebinds`].
#[test]
fn dhcpcd6_rebinds() {
    rebinds(Kind6::Dhcpcd);
}

/// The link goes and comes back: dhcpcd asks whether its address is still right (CONFIRM), is
/// told that it is, and keeps it. On another link it is told that it is not, and gets another.
#[test]
fn dhcpcd6_confirms_after_a_link_flap() {
    let (world, server_host) = world("flap");
    server_host.bridge("br1", None);
    let other = calm()
        .replace("\"lan\"", "\"other\"")
        .replace("br0", "br1")
        .replace("10.77.1.", "10.77.2.")
        .replace("77:1::", "77:2::")
        .replace(":8000::", ":9000::");
    let _server = Server::start(&world, &server_host, &(calm() + &other));
    let host = world.host("client");
    let port = world.plug(&host, "eth0", &server_host, "br0");
    let sniffer = Sniffer::on6(&host, "eth0");
    let habits = Habits6::default();
    let client = Client6::start(&world, &host, Kind6::Dhcpcd, "client", habits);
    let addr = client.wait_bound(HERE);

    for (bridge, status) in [("br0", 0), ("br1", NOT_ON_LINK)] {
        let mark = sniffer.mark();
        server_host.ip(&format!("link set {port} down"));
        wait_until("the client to notice", PATIENCE, || host.addresses6("eth0").is_empty());
        server_host.ip(&format!("link set {port} master {bridge} up"));
        let confirm = sniffer.wait_kind(mark, dhcp6::CONFIRM);
        assert_eq!(confirm.message.addrs(), [addr]);
        assert_eq!(sniffer.reply_to(&confirm).status(), status, "on {bridge}");
        let here = if status == 0 { HERE } else { "2001:db8:77:2::" };
        let now = client.wait_bound(here);
        assert_eq!(now == addr, status == 0, "{now} on {bridge}, {addr} before");
    }
}

/// Status NotOnLink (RFC 9915 s21.13).
const NOT_ON_LINK: u16 = 4;

/// dhclient is killed, the server is killed and started again, and dhclient comes back with its
/// lease file: its CONFIRM is answered, and it has the address it had.
#[test]
fn dhclient6_confirms_after_a_restart() {
    let (world, server_host) = world("restart6");
    let mut server = Server::start(&world, &server_host, &calm());
    let host = world.client("client", &server_host, "br0");
    let sniffer = Sniffer::on6(&host, "eth0");
    let start = || Client6::start(&world, &host, Kind6::Dhclient, "client", Habits6::default());
    let mut client = start();
    let addr = client.wait_bound(HERE);
    client.kill9();
    host.ip("-6 addr flush dev eth0 scope global");
    server.kill9();
    server.start_again();
    let mark = sniffer.mark();
    let client = start();
    let confirm = sniffer.wait_kind(mark, dhcp6::CONFIRM);
    assert_eq!(confirm.message.addrs(), [addr]);
    assert_eq!(sniffer.reply_to(&confirm).status(), 0);
    assert_eq!(client.wait_bound(HERE), addr);
}

/// Where the network allows it, a client that asks for it has its lease after two messages.
fn commits_at_once(kind: Kind6) {
    let (world, server_host) = world("rapid6");
    let body = calm().replace("verify = false", "verify = false\nrapid_commit = true");
    let server = Server::start(&world, &server_host, &body);
    let host = world.client("client", &server_host, "br0");
    let sniffer = Sniffer::on6(&host, "eth0");
    let habits = Habits6 { rapid: true, ..Habits6::default() };
    let client = Client6::start(&world, &host, kind, "client", habits);
    let addr = client.wait_bound(HERE);
    let solicit = sniffer.wait_kind(0, dhcp6::SOLICIT);
    let reply = sniffer.reply_to(&solicit);
    assert_eq!(reply.addrs(), [addr]);
    assert!(reply.option(dhcp6::RAPID_COMMIT).is_some(), "{reply:?}");
    for kind in [dhcp6::ADVERTISE, dhcp6::REQUEST] {
        assert_eq!(sniffer.count6(kind), 0, "messages of type {kind}");
    }
    assert_eq!(server.state_of(&addr.to_string()), "leased");
}

/// See [`commits_at_once`].
#[test]
fn dhclient6_commits_at_once() {
    commits_at_once(Kind6::Dhclient);
}

/// See [`commits_at_once`].
#[test]
fn dhcpcd6_commits_at_once() {
    commits_at_once(Kind6::Dhcpcd);
}

/// The address is squatted by another machine: duplicate address detection finds it, the client
/// declines and gets another one, and the declined address is quarantined. (The kernel deletes an
/// address with a lifetime that is not unique without a word: dhcpcd 9 never finds out.)
#[test]
fn dhclient6_declines() {
    let (world, server_host) = world("decline6");
    let body = calm().replace("::1fff\"", "::1003\"");
    let server = Server::start(&world, &server_host, &body);
    let squatter = world.client("squatter", &server_host, "br0");
    let host = world.client("client", &server_host, "br0");
    host.sh("echo 1 > /proc/sys/net/ipv6/conf/eth0/accept_dad");
    // Which address comes first is the server's choice: all are squatted until it has chosen.
    for last in 0x1000..=0x1003 {
        squatter.ip(&format!("addr add {HERE}{last:x}/64 dev eth0"));
    }
    let sniffer = Sniffer::on6(&host, "eth0");
    let client = Client6::start(&world, &host, Kind6::Dhclient, "client", Habits6::default());
    let decline = sniffer.wait_kind(0, dhcp6::DECLINE);
    let declined = decline.message.addrs()[0];
    assert_eq!(sniffer.reply_to(&decline).status(), 0);
    squatter.ip("-6 addr flush dev eth0 scope global");
    squatter.ip(&format!("addr add {declined}/64 dev eth0"));
    let addr = client.wait_bound(HERE);
    assert_ne!(addr, declined);
    assert_eq!(server.state_of(&declined.to_string()), "declined");
}

/// A router takes an address and a prefix, and numbers the segment behind it with the prefix: a
/// host there is reached from the server's side by the address that it has of it.
#[test]
fn a_router_numbers_its_segment() {
    let (world, server_host) = world("router");
    let _server = Server::start(&world, &server_host, &calm());
    let router = world.client("router", &server_host, "br0");
    router.bridge("inside0", None);
    router.sh("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    let habits = Habits6 { inside: Some("inside0"), ..Habits6::default() };
    let client = Client6::start(&world, &router, Kind6::Dhcpcd, "router", habits);
    let uplink = client.wait_bound(HERE);
    let gateway: Ipv6Addr = wait_for("a prefix inside", PATIENCE, || {
        router.addresses6("inside0").first()?.parse().ok()
    });
    let prefix = gateway.octets();
    assert!(gateway.to_string().starts_with(DELEGATED), "{gateway}");

    let behind = world.client("behind", &router, "inside0");
    let mut own = prefix;
    own[15] = 0x42;
    let own = Ipv6Addr::from(own);
    behind.ip(&format!("addr add {own}/64 dev eth0"));
    behind.ip(&format!("-6 route add default via {gateway}"));
    server_host.ip(&format!("-6 route add 2001:db8:8000::/36 via {uplink}"));
    // As a router's advertisement would tell it.
    router.ip(&format!("-6 route add default via {HERE}1 dev eth0 onlink"));
    assert_eq!(echo(&server_host, &behind, own), "hello");
}

/// What comes back of a word that `from` sends to a listener of `to`, through all routers between.
fn echo(from: &Host, to: &Host, addr: Ipv6Addr) -> String {
    let listener = to.enter(|| TcpListener::bind((addr, 7))).unwrap();
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut word = [0; 5];
        stream.read_exact(&mut word).unwrap();
        stream.write_all(&word).unwrap();
    });
    let mut word = String::new();
    from.enter(|| {
        let mut stream = TcpStream::connect_timeout(&(addr, 7).into(), PATIENCE).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.read_to_string(&mut word).unwrap();
    });
    answer.join().unwrap();
    word
}

/// A host of both families has an address of each from one server, and `leases` shows both, by
/// hardware address, as a table and as JSON.
#[test]
fn one_host_has_both_families() {
    let (world, server_host) = world("dual");
    let server = Server::start(&world, &server_host, &calm());
    let host = world.client("client", &server_host, "br0");
    let habits = Habits6 { both: true, prefix: true, ..Habits6::default() };
    let client = Client6::start(&world, &host, Kind6::Dhcpcd, "client", habits);
    let six = client.wait_bound(HERE).to_string();
    let four = wait_for("an IPv4 address", PATIENCE, || {
        host.addresses("eth0").into_iter().find(|a| a.starts_with("10.77.1."))
    });
    let prefix = client.wait_prefix();
    let mac = host.mac_of("eth0").map(|byte| format!("{byte:02x}")).join(":");
    let table = server.ask(&["leases", "list"]);
    for name in [&four, &six, &prefix] {
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not in\n{table}"));
        assert!(line.contains("leased") && line.contains(&mac), "{line}");
        let lease = server.lease_named(name).unwrap();
        assert_eq!((&lease["state"], &lease["hardware"]), (&"leased".into(), &mac.clone().into()));
        assert_eq!(lease["network"], "lan");
    }
    assert_eq!(table.lines().count(), 4, "{table}");
    let shown = server.ask(&["leases", "show", &six]);
    assert!(shown.contains(&mac), "{shown}");
}

/// A client behind ISC's relay gets an address of the relayed subnet and renews through the relay.
#[test]
fn a_real_v6_relay_is_served() {
    require("dhcrelay", "isc-dhcp-relay");
    let (world, server_host) = world("relay6");
    let relay = world.client("relay", &server_host, "br0");
    relay.ip("addr add 2001:db8:77:1::2/64 dev eth0");
    relay.bridge("far0", Some("2001:db8:77:9::1/64"));
    let far = r#"
[[network]]
name = "far"
relays = ["2001:db8:77:9::/64", "2001:db8:77:1::2"]
lease = { min = "10s", default = "2m", t1 = "3s", t2 = "90s" }
[[network.subnet]]
prefix = "2001:db8:77:9::/64"
pools = ["2001:db8:77:9::1000-2001:db8:77:9::1fff"]
"#;
    let server = Server::start(&world, &server_host, &(calm() + far));
    let up = "2001:db8:77:1::1%eth0";
    let argv = ["dhcrelay", "-6", "-d", "-l", "far0", "-u", up];
    let mut agent = world.spawn(&relay, "dhcrelay", &argv);
    agent.wait_line("Sending on");

    let host = world.client("client", &relay, "far0");
    let sniffer = Sniffer::on6(&host, "eth0");
    let client = Client6::start(&world, &host, Kind6::Dhclient, "client", Habits6::default());
    let addr = client.wait_bound("2001:db8:77:9::");
    let renewal = sniffer.wait_kind(0, dhcp6::RENEW);
    assert_eq!(sniffer.reply_to(&renewal).addrs(), [addr]);
    let lease = server.lease_named(&addr.to_string()).unwrap();
    assert_eq!(lease["network"], "far");
}
