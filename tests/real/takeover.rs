//! Taking over from another server, and watching beside it.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::common::clients::{Client, Habits, Kind};
use crate::common::clients6::{Client6, Habits6, Kind6};
use crate::common::link::Sniffer;
use crate::common::process::Proc;
use crate::common::server::{LAN6, Server, Setup, calm_lan, dnsmasq};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, wait_until};
use crate::common::{dhcp, dhcp6, require};

const POOL: &str = "10.77.1.100,10.77.1.199";
/// [`POOL`] and that of [`LAN6`].
const POOLS: &str = "10.77.1.100,10.77.1.199 2001:db8:77:1::1000,2001:db8:77:1::1fff,64";

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

/// A client of a server that is gone, with the address and the prefix that it has.
struct Orphan {
    client: Client6,
    addr: Ipv6Addr,
    prefix: Option<String>,
}

impl Orphan {
    /// Binds a dhcpcd to the server `old`, and ends that.
    fn of(mut old: Proc, world: &World, server_host: &Host, prefix: bool) -> Orphan {
        let host = world.client("client", server_host, "br0");
        let habits = Habits6 { prefix, ..Habits6::default() };
        let client = Client6::start(world, &host, Kind6::Dhcpcd, "client", habits);
        let addr = client.wait_bound("2001:db8:77:1::1");
        let prefix = prefix.then(|| client.wait_prefix());
        // It writes its file after it has answered.
        wait_until("the lease in the old server's file", PATIENCE, || {
            let files = fs::read_dir(world.dir()).unwrap().map(|file| file.unwrap().path());
            let mut leases = files.filter(|path| path.extension().is_some_and(|e| e == "leases"));
            leases.any(|path| {
                fs::read_to_string(path).unwrap_or_default().contains(&addr.to_string())
            })
        });
        old.kill9();
        Orphan { client, addr, prefix }
    }

    /// Imports the file into a new server, which takes over the DUID that the import tells of; a
    /// RENEW to the old server is then answered with all that the client has.
    fn renews_after_import_from(self, world: &World, server_host: &Host, from: &str, file: &str) {
        let body = calm_lan() + LAN6;
        let mut server = Server::start(world, server_host, &body);
        server.stop();
        let leases = world.dir().join(file);
        let done = server.run(&["import", "--from", from, leases.to_str().unwrap()]);
        assert!(done.status.success(), "{done:?}");
        let said = String::from_utf8(done.stderr).unwrap();
        let key = said.split("other server's ").nth(1).and_then(|rest| rest.lines().next());
        let keys = key.unwrap_or_else(|| panic!("{said}"));
        let setup = Setup { keys, ..Setup::default() };
        let server = Server::start_with(world, server_host, &body, setup);
        let names = || [Some(self.addr.to_string()), self.prefix.clone()].into_iter().flatten();
        for name in names() {
            assert_eq!(server.state_of(&name), "leased", "{name} was imported");
        }

        let sniffer = Sniffer::on6(&self.client.host, "eth0");
        self.client.renew();
        let renewal = sniffer.wait_kind(0, dhcp6::RENEW);
        let held = sniffer.reply_to(&renewal).held();
        for name in names() {
            assert!(held.iter().any(|one| one.name() == name && one.valid == 3600), "{held:?}");
        }
        assert_eq!(held.len(), names().count(), "{held:?}");
        assert_eq!(self.client.wait_bound("2001:db8:77:1::1"), self.addr);
        assert_eq!(server.leases().len(), names().count());
        let mac = self.client.host.mac_of("eth0").map(|byte| format!("{byte:02x}")).join(":");
        let lease = server.lease_named(&self.addr.to_string()).unwrap();
        assert_eq!(lease["hardware"], mac, "it was heard");
    }
}

/// A world whose bridge is of both families.
fn world6(name: &str) -> (World, Host) {
    let (world, server_host) = World::with_bridge(name);
    server_host.ip("addr add 2001:db8:77:1::1/64 dev br0");
    (world, server_host)
}

/// A DHCPv6 client of dnsmasq renews with us as if nothing had happened.
#[test]
fn takeover_of_dhcpv6_from_dnsmasq() {
    let (world, server_host) = world6("import6");
    let old = dnsmasq(&world, &server_host, "dnsmasq", "br0", POOLS);
    let orphan = Orphan::of(old, &world, &server_host, false);
    orphan.renews_after_import_from(&world, &server_host, "dnsmasq", "dnsmasq.leases");
}

/// A client of ISC dhcpd keeps its prefix too.
#[test]
fn takeover_of_dhcpv6_from_isc() {
    require("dhcpd", "isc-dhcp-server");
    let (world, server_host) = world6("import6isc");
    let (conf, leases) = (world.dir().join("dhcpd6.conf"), world.dir().join("dhcpd6.leases"));
    let text = "default-lease-time 3600;
subnet6 2001:db8:77:1::/64 {
                range6 2001:db8:77:1::1000 2001:db8:77:1::1fff;
                prefix6 2001:db8:8000:: 2001:db8:8fff:ff00:: /56;
}
";
    fs::write(&conf, text).unwrap();
    fs::write(&leases, "").unwrap();
    let (conf, file) = (conf.to_str().unwrap(), leases.to_str().unwrap());
    let argv = ["dhcpd", "-6", "-f", "-d", "--no-pid", "-cf", conf, "-lf", file, "br0"];
    let mut old = world.spawn(&server_host, "dhcpd", &argv);
    old.wait_line("Server starting service");
    let orphan = Orphan::of(old, &world, &server_host, true);
    orphan.renews_after_import_from(&world, &server_host, "isc", "dhcpd6.leases");
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
