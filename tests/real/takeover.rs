//! Taking over from another server, and watching beside it.

use std::fs;
use std::net::Ipv4Addr;

use crate::common::clients::{Client, Habits, Kind};
use crate::common::dhcp;
use crate::common::link::Sniffer;
use crate::common::server::{Server, Setup, calm_lan, dnsmasq};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, wait_until};

const POOL: &str = "10.77.1.100,10.77.1.199";

/// Ten clients with leases of a dnsmasq that is gone the moment this returns.
fn orphans(world: &World, server_host: &Host) -> Vec<(Client, Ipv4Addr)> {
    let mut old = dnsmasq(world, server_host, "dnsmasq", "br0", POOL);
    let start = |n: usize| {
        let host = world.client(&format!("client{n}"), server_host, "br0");
        Client::start(world, &host, Kind::Udhcpc, &format!("client{n}"))
    };
    let clients: Vec<_> = (0..10).map(start).collect();
    let bound = clients.into_iter().map(|client| {
        let addr = client.wait_bound();
        (client, addr)
    });
    let bound = bound.collect();
    old.kill9();
    bound
}

/// Every client renews and keeps its address, and nothing is quarantined.
fn all_keep_their_addresses(server: &Server, clients: &[(Client, Ipv4Addr)]) {
    for (client, addr) in clients {
        let mark = client.mark();
        client.renew();
        client.wait_event(mark, &["event=renew", &format!("addr={addr}")]);
        assert_eq!(client.host.addresses("eth0"), [addr.to_string()]);
    }
    let leases = server.leases();
    for (_, addr) in clients {
        let text = addr.to_string();
        let lease = leases.iter().find(|lease| lease["address"] == text.as_str());
        assert_eq!(lease.map(|l| l["state"].clone()), Some("leased".into()), "{addr}");
    }
    let other: Vec<_> = leases.iter().filter(|lease| lease["state"] != "leased").collect();
    assert!(other.is_empty(), "{other:?}");
}

/// dnsmasq with ten leased clients is stopped at once and its lease file imported: every client
/// keeps its address and nobody is quarantined.
#[test]
fn takeover_by_import() {
    let (world, server_host) = World::with_bridge("import");
    let clients = orphans(&world, &server_host);
    let body = calm_lan().replace("verify = false", "verify = true");
    let mut server = Server::start(&world, &server_host, &body);
    server.stop();
    let leases = world.dir().join("dnsmasq.leases");
    server.ask(&["import", "--from", "dnsmasq", leases.to_str().unwrap()]);
    server.start_again();
    for (_, addr) in &clients {
        assert_eq!(server.lease_of(*addr).unwrap()["state"], "leased", "{addr} was imported");
    }
    all_keep_their_addresses(&server, &clients);
}

/// The same without an import: each renewal is adopted, because the client that asks answers for
/// the address.
#[test]
fn takeover_by_adoption() {
    let (world, server_host) = World::with_bridge("adopt");
    let clients = orphans(&world, &server_host);
    let body = calm_lan().replace("verify = false", "verify = true");
    let server = Server::start(&world, &server_host, &body);
    all_keep_their_addresses(&server, &clients);
}

/// Beside a dnsmasq that serves, `--observe` says nothing on the wire and logs what it would have
/// said.
#[test]
fn observe_only_watches() {
    let (world, server_host) = World::with_bridge("observe");
    let other = world.client("other", &server_host, "br0");
    other.ip("addr add 10.77.1.2/24 dev eth0");
    let _dnsmasq = dnsmasq(&world, &other, "dnsmasq", "eth0", POOL);
    let setup = Setup { flags: &["--observe"], ..Setup::default() };
    let mut server = Server::start_with(&world, &server_host, &calm_lan(), setup);
    let host = world.client("client", &server_host, "br0");
    let sniffer = Sniffer::on(&host, "eth0");
    let client = Client::start(&world, &host, Kind::Udhcpc, "client");
    client.wait_bound();
    server.proc.wait_line("would");
    server.proc.wait_line("10.77.1.2");
    client.renew();
    sniffer.wait("a renewal", |seen| seen.is_renewal());
    let replies = sniffer.all().into_iter().filter(|seen| seen.message.op == 2);
    let ours: Vec<_> =
        replies.filter(|s| s.message.server_id() != Some([10, 77, 1, 2].into())).collect();
    assert!(ours.is_empty(), "{ours:?}");
    assert_eq!(sniffer.count(dhcp::NAK), 0);
}

/// The hosts file names every client that has a lease and a name, and forgets it at its release.
#[test]
fn the_hosts_file_follows_the_leases() {
    let (world, server_host) = World::with_bridge("hosts");
    let hosts = world.dir().join("hosts");
    let keys = format!("hosts_file = \"{}\"", hosts.display());
    let setup = Setup { keys: &keys, ..Setup::default() };
    let _server = Server::start_with(&world, &server_host, &calm_lan(), setup);
    let host = world.client("client", &server_host, "br0");
    let habits = Habits { hostname: Some("vm-seven"), ..Habits::default() };
    let mut client = Client::start_with(&world, &host, Kind::Udhcpc, "client", habits);
    let addr = client.wait_bound().to_string();
    let named = || {
        let text = fs::read_to_string(&hosts).unwrap_or_default();
        text.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(&addr) && words.any(|word| word == "vm-seven")
        })
    };
    wait_until("the name in the hosts file", PATIENCE, named);
    client.release();
    wait_until("the name to go", PATIENCE, || !named());
}
