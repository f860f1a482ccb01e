//! Planted conflicts are found, and what only looks like one is not.

use std::collections::BTreeSet;
use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::common::link::{Raw, mac};
use crate::common::server::{BINARY, Server, calm_lan};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, wait_until};

/// A machine with these addresses on `eth0`, of either family, behind the bridge.
fn machine(world: &World, bridge: &Host, name: &str, addrs: &[&str]) -> (Host, String) {
    let host = world.client(name, bridge, "br0");
    add(&host, "eth0", addrs);
    let mac = text(host.mac_of("eth0"));
    (host, mac)
}

fn add(host: &Host, link: &str, addrs: &[&str]) {
    for addr in addrs {
        let (prefix, nodad) = if addr.contains(':') { (64, " nodad") } else { (24, "") };
        host.ip(&format!("addr add {addr}/{prefix} dev {link}{nodad}"));
    }
}

fn text(mac: [u8; 6]) -> String {
    foreshadow::base::Mac(mac).to_string()
}

fn scan(world: &World, bridge: &Host, more: &[&str]) -> Output {
    let (leases, pairs) = (world.dir().join("leases"), world.dir().join("pairs"));
    let base = [
        "scan",
        "--interface",
        "br0",
        "--subnet",
        "10.77.1.0/24",
        "--subnet",
        "2001:db8:77:1::/64",
        "--pool",
        "10.77.1.50-10.77.1.99",
        "--leases",
        leases.to_str().unwrap(),
        "--pairs",
        pairs.to_str().unwrap(),
    ];
    let argv: Vec<&str> = [BINARY].iter().chain(&base).chain(more).copied().collect();
    bridge.command(&argv).output().unwrap()
}

/// Each finding as its kind and address, those that were taken back left out.
fn findings(output: &Output) -> BTreeSet<(String, String)> {
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told = |line: Value| {
        let of = |key: &str| line[key].as_str().unwrap().to_owned();
        (of("type"), of("ip"))
    };
    lines.map(told).collect()
}

fn wanted(all: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    all.iter().map(|(kind, addr)| ((*kind).into(), (*addr).into())).collect()
}

fn write_known(world: &World, leases: &[(&str, &str)], pairs: &[(&str, &str, &str)]) {
    let leases: Vec<Value> =
        leases.iter().map(|(ip, mac)| serde_json::json!({ "ip": ip, "mac": mac })).collect();
    let pair = |(ip, active, standby): &(&str, &str, &str)| serde_json::json!({ "ip": ip, "active": active, "standby": standby });
    let pairs: Vec<Value> = pairs.iter().map(pair).collect();
    fs::write(world.dir().join("leases"), serde_json::to_vec(&leases).unwrap()).unwrap();
    fs::write(world.dir().join("pairs"), serde_json::to_vec(&pairs).unwrap()).unwrap();
}

#[test]
fn planted_conflicts_are_found_and_controls_are_not() {
    let (world, bridge) = World::with_bridge("scan");
    bridge.ip("addr add 2001:db8:77:1::1/64 dev br0 nodad");
    let plant = |name: &str, addrs: &[&str]| machine(&world, &bridge, name, addrs);
    let _duplicates = [
        plant("dup-a", &["10.77.1.20", "2001:db8:77:1::20"]),
        plant("dup-b", &["10.77.1.20", "2001:db8:77:1::20"]),
    ];
    let _squatter = plant("squatter", &["10.77.1.60"]);
    let (_, thief) = plant("thief", &["10.77.1.51"]);
    let (_, client) = plant("client", &["10.77.1.50"]);
    let (_, active) = plant("active", &["10.77.1.30", "10.77.1.31"]);
    let (dormant, dormant_mac) = plant("dormant", &["10.77.1.30"]);
    dormant.sh("echo 8 > /proc/sys/net/ipv4/conf/eth0/arp_ignore");
    let (_, speaking) = plant("speaking", &["10.77.1.31"]);
    // A host with two addresses, and one that says its own is at a virtual router's MAC.
    let _several = plant("several", &["10.77.1.10", "10.77.1.11", "2001:db8:77:1::10"]);
    let virtual_router = world.client("vrrp", &bridge, "br0");
    virtual_router.ip("link set eth0 down");
    virtual_router.ip("link set eth0 address 00:00:5e:00:01:07 up");
    add(&virtual_router, "eth0", &["10.77.1.12"]);
    // A host whose two cards answer for both of its addresses.
    let (flux, flux_a) = plant("flux", &["10.77.1.13"]);
    world.plug(&flux, "eth1", &bridge, "br0");
    add(&flux, "eth1", &["10.77.1.14"]);
    let flux = format!("{flux_a},{}", text(flux.mac_of("eth1")));
    // A router that answers for half of the subnet.
    let (proxy, proxy_mac) = plant("proxy", &["10.77.1.9"]);
    proxy.ip("link add inner type bridge");
    proxy.ip("link set inner up");
    proxy.ip("route add 10.77.1.64/26 dev inner");
    proxy.sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
    proxy.sh("echo 1 > /proc/sys/net/ipv4/conf/eth0/proxy_arp");
    let (rogue, _) = plant("rogue", &["10.77.1.5"]);
    crate::common::require("dnsmasq", "dnsmasq-base");
    let range = "--dhcp-range=10.77.1.200,10.77.1.210,1h";
    let argv = [
        "dnsmasq",
        "-k",
        "-C",
        "/dev/null",
        "-p",
        "0",
        "-i",
        "eth0",
        "-u",
        "root",
        range,
        "--dhcp-authoritative",
        "--dhcp-leasefile=rogue.leases",
        "--pid-file=",
    ];
    let _dnsmasq = world.spawn(&rogue, "rogue", &argv);
    wait_until("a rogue server", PATIENCE, || rogue.sh("cat /proc/net/udp").contains(":0043 "));
    write_known(
        &world,
        &[("10.77.1.50", &client), ("10.77.1.51", "02:00:00:00:00:51")],
        &[("10.77.1.30", &active, &dormant_mac), ("10.77.1.31", &active, &speaking)],
    );
    let want = wanted(&[
        ("duplicate-ipv4", "10.77.1.20"),
        ("duplicate-ipv6", "2001:db8:77:1::20"),
        ("static-in-pool", "10.77.1.60"),
        ("lease-hijack", "10.77.1.51"),
        ("standby-speaks", "10.77.1.31"),
        ("rogue-dhcp", "10.77.1.5"),
    ]);
    let output = scan(&world, &bridge, &["--json", "--host", &flux]);
    let mut found = findings(&output);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let proxies: Vec<_> = found.iter().filter(|(kind, _)| kind == "proxy").cloned().collect();
    assert_eq!(proxies.len(), 1, "{found:?}");
    found.retain(|(kind, _)| kind != "proxy");
    assert_eq!(found, want);
    let lines = String::from_utf8(output.stdout).unwrap();
    let hijack = lines.lines().find(|line| line.contains("lease-hijack")).unwrap();
    let hijack: Value = serde_json::from_str(hijack).unwrap();
    assert_eq!(hijack["macs"], serde_json::json!([thief]));
    assert!(hijack["evidence"][0]["port"].as_str().unwrap().starts_with("port"), "{hijack}");
    // What is allowed is no finding, and a host with two cards is one if nobody says that it is.
    let output =
        scan(&world, &bridge, &["--json", "--server", "10.77.1.5", "--router", &proxy_mac]);
    let found = findings(&output);
    assert!(!found.iter().any(|(kind, _)| kind == "rogue-dhcp" || kind == "proxy"), "{found:?}");
    assert!(found.contains(&("duplicate-ipv4".into(), "10.77.1.13".into())), "{found:?}");
}

#[test]
fn a_clean_network_has_no_findings_while_an_address_moves() {
    let (world, bridge) = World::with_bridge("clean");
    let (one, _) = machine(&world, &bridge, "one", &["10.77.1.40"]);
    let (two, two_mac) = machine(&world, &bridge, "two", &[]);
    let (_, client) = machine(&world, &bridge, "client", &["10.77.1.50"]);
    write_known(&world, &[("10.77.1.50", &client)], &[("10.77.1.41", &two_mac, &client)]);
    // It moves there and back for as long as the scan lasts, a little overlap included.
    let script = "while ip -n ONE link show eth0 > /dev/null 2>&1; do \
        ip -n TWO addr add 10.77.1.40/24 dev eth0; ip -n ONE addr del 10.77.1.40/24 dev eth0; \
        ip netns exec TWO busybox arping -q -c 1 -A -I eth0 10.77.1.40; sleep 4; \
        ip -n ONE addr add 10.77.1.40/24 dev eth0; ip -n TWO addr del 10.77.1.40/24 dev eth0; \
        ip netns exec ONE busybox arping -q -c 1 -A -I eth0 10.77.1.40; sleep 4; done";
    let script = script.replace("ONE", &one.ns).replace("TWO", &two.ns);
    let _moving = world.spawn(&bridge, "moving", &["sh", "-c", &script]);
    let output = scan(&world, &bridge, &["--json", "--seconds", "12"]);
    assert_eq!(findings(&output), BTreeSet::new(), "{output:?}");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn the_server_finds_squatters_and_puts_their_addresses_out_of_use() {
    let (world, bridge) = World::with_bridge("watched");
    let reconcile = "[network.reconcile]\nmode = \"act\"\ninterval = \"1s\"\n";
    let body = calm_lan().replace("[[network.subnet]]", &format!("{reconcile}[[network.subnet]]"));
    let server = Server::start(&world, &bridge, &body);
    let guest = world.client("guest", &bridge, "br0");
    let lease = Raw::on(&guest).lease_with(guest.mac_of("eth0"), &[]);
    guest.ip(&format!("addr add {}/24 dev eth0", lease.addr));
    let nobody = Raw::on(&guest).lease(mac(9)).addr.to_string();
    let ask = |argv: &[&str]| {
        let config = server.config();
        let base = [BINARY, "--config", config.to_str().unwrap()];
        let argv = [&[base[0]], argv, &base[1..]].concat();
        bridge.command(&argv).output().unwrap()
    };
    let squatter = world.client("squatter", &bridge, "br0");
    squatter.ip("addr add 10.77.1.150/24 dev eth0");
    let mut found = Value::Null;
    wait_until("a squatter", PATIENCE, || {
        let output = ask(&["scan", "--network", "lan", "--once", "--json"]);
        found = serde_json::from_slice(&output.stdout).unwrap_or_default();
        output.status.code() == Some(7)
    });
    let all = found["findings"].as_array().unwrap();
    let conflicts: Vec<&Value> = all.iter().filter(|of| of["severity"] != "info").collect();
    assert_eq!(conflicts.len(), 1, "{found}");
    assert_eq!(conflicts[0]["type"], "static-in-pool");
    assert_eq!(conflicts[0]["ip"], "10.77.1.150");
    assert_eq!(conflicts[0]["macs"][0], text(squatter.mac_of("eth0")));
    wait_until("a quarantine", PATIENCE, || {
        let shown = ask(&["leases", "list", "--state", "quarantined"]);
        String::from_utf8_lossy(&shown.stdout).contains("10.77.1.150")
    });
    let audit = ask(&["audit", "--json"]);
    let audit = String::from_utf8_lossy(&audit.stdout);
    for words in ["findings/10.77.1.150", "leases/10.77.1.150", "reconcile"] {
        assert!(audit.contains(words), "{words}: {audit}");
    }
    // Nobody answers for an address that is leased to a client that is not there.
    wait_until("a silent lease", PATIENCE, || {
        let output = ask(&["scan", "--once"]);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        shown.lines().any(|line| line.contains("leased-silent") && line.contains(&nobody))
    });
    squatter.ip("addr del 10.77.1.150/24 dev eth0");
    wait_until("a clean network", PATIENCE, || ask(&["scan", "--once"]).status.code() == Some(0));
}
