//! The driver with the real engine on real interfaces, each test in a network namespace of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

mod net_rig;
#[path = "net_driver/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use foreshadow::base::Mac;
use foreshadow::config::{self, Policy};
use foreshadow::daemon::counters::Counters;
use foreshadow::daemon::links::{Links, PortInfo};
use foreshadow::daemon::police::Party;
use foreshadow::engine::effects::{DropReason, EventKind};
use foreshadow::net::{FrameSocket, Mode, Outbox, Poller, RecvBatch};
use foreshadow::store::mem::{Failure, MemDisk};
use net_rig::{Request, Station, ip, veth, wait_for};
use server::{GatedStore, Server};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

isolated_tests! {
    fn a_client_gets_a_lease_and_it_is_in_the_store() {
        bridge("br0", "10.0.0.1/24", &[("p0", "g0")]);
        let disk = MemDisk::new(1);
        let server = Server::start(&policy(&["br0"]), Some(Box::new(disk.open().0)));
        let mut guest = Station::on("g0");
        let discover = client(1);
        let offer = guest.ask(&discover);
        assert_eq!((offer.kind, offer.from), (2, SERVER));
        let ack = guest.ask(&discover.select(offer.yiaddr, SERVER));
        assert_eq!((ack.kind, ack.yiaddr), (5, offer.yiaddr));
        let granted = server.wait_for_event(|kind| match kind {
            EventKind::Granted(lease) => Some(lease.clone()),
            _ => None,
        });
        assert_eq!(granted.resource.v4(), Some(ack.yiaddr));
        server.stop();
        let held = disk.open().1;
        assert!(held.leases.iter().any(|lease| lease.resource.v4() == Some(ack.yiaddr)));
        assert!(held.meta.contains_key("clock"));
    }

    fn an_ack_waits_for_its_commit_and_an_offer_does_not() {
        bridge("br0", "10.0.0.1/24", &[("p0", "g0")]);
        let (store, gate) = GatedStore::new();
        let server = Server::start(&policy(&["br0"]), Some(Box::new(store)));
        let mut guest = Station::on("g0");
        let offer = guest.ask(&client(1));
        let select = client(1).select(offer.yiaddr, SERVER);
        guest.send(&Request { xid: *b"wait", ..select });
        // The lease is on its way to the disk.
        wait_for("the commit", || gate.begun.try_recv().ok().filter(|n| *n > 0));
        // Others are served meanwhile; were the ACK out already, it would come first.
        let other = guest.ask(&client(2));
        assert_eq!((other.kind, other.xid), (2, client(2).xid), "nothing came before it");
        assert_eq!(guest.poll(), None);
        gate.open.send(()).unwrap();
        let ack = guest.answer_to(&Request { xid: *b"wait", ..Request::default() });
        assert_eq!((ack.kind, ack.yiaddr), (5, offer.yiaddr));
        drop(gate);
        server.stop();
    }

    fn a_failed_commit_sends_no_ack_and_the_server_goes_on() {
        bridge("br0", "10.0.0.1/24", &[("p0", "g0")]);
        let disk = MemDisk::new(1);
        let server = Server::start(&policy(&["br0"]), Some(Box::new(disk.open().0)));
        let mut guest = Station::on("g0");
        // What is written when a server starts is durable once a lease is.
        let first = guest.ask(&client(2));
        guest.ask(&client(2).select(first.yiaddr, SERVER));
        let offer = guest.ask(&client(1));
        disk.fail_commit(1, Failure::Refused);
        disk.fail_rebuild(1);
        let select = client(1).select(offer.yiaddr, SERVER);
        guest.send(&Request { xid: *b"lost", ..select.clone() });
        wait_for("the failure", || (server.count("commits_failed") == 1).then_some(()));
        let other = guest.ask(&client(3));
        assert_eq!((other.kind, other.xid), (2, client(3).xid), "no ack came before this offer");
        let lost = server.count("replies_lost");
        assert!(lost >= 1, "{lost}");
        // The store is written anew, at the second try, and the client asks again.
        wait_for("the store", || {
            let trouble = server.handle.jobs().call(|bench| bench.store_trouble.is_some());
            (trouble == Ok(false)).then_some(())
        });
        let ack = guest.ask(&select);
        assert_eq!((ack.kind, ack.yiaddr), (5, offer.yiaddr));
        server.stop();
        let held = disk.open().1;
        assert_eq!(held.leases.iter().filter(|l| l.resource.v4() == Some(ack.yiaddr)).count(), 1);
    }

    fn a_relay_is_answered_from_the_address_it_asked() {
        veth("v0", "v1");
        ip("addr add 10.0.0.1/24 dev v0");
        ip("addr add 192.0.2.1/24 dev v0");
        let relay = Ipv4Addr::new(192, 0, 2, 9);
        ip("neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev v0");
        ip("link set v1 promisc on");
        let text = policy_text(&["v0"], "relays = [\"192.0.2.0/24\"]", "192.0.2.0/24", "192.0.2.100-192.0.2.110");
        let server = Server::start(&check(&text), Some(Box::new(MemDisk::new(1).open().0)));
        let mut far = Station::on("v1");
        let request = Request {
            dst_mac: mac_of("v0"),
            src: relay,
            dst: Ipv4Addr::new(192, 0, 2, 1),
            giaddr: relay,
            ..client(1)
        };
        let offer = far.ask(&request);
        assert_eq!((offer.kind, offer.from), (2, Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(server.count("frames"), 0, "the packet socket left it to udp");
        server.stop();
    }

    fn a_guest_is_no_relay() {
        bridge("br0", "10.0.0.1/24", &[("p0", "g0"), ("p1", "g1"), ("p2", "g2")]);
        ip("addr add 192.0.2.1/24 dev br0");
        ip("neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev br0");
        let text = policy_text(&["br0"], "trusted_ports = [\"p1\"]\ntrunk_ports = [\"p2\"]\n\
            relays = [\"192.0.2.9\"]\nlimits = { port_burst = 4 }", "192.0.2.0/24", "192.0.2.100-192.0.2.199");
        let server = Server::start(&check(&text), Some(Box::new(MemDisk::new(1).open().0)));
        let (guest, mut trusted, mut trunk) = (Station::on("g0"), Station::on("g1"), Station::on("g2"));
        ["g1", "g2"].iter().for_each(|name| ip(&format!("link set {name} promisc on")));
        let by_relay = |n: u8, dst: Ipv4Addr| Request {
            dst_mac: if dst.is_broadcast() { Mac::BROADCAST } else { mac_of("br0") },
            src: Ipv4Addr::new(192, 0, 2, 9),
            dst,
            giaddr: Ipv4Addr::new(192, 0, 2, 9),
            ..client(n)
        };
        wait_for("the guest's packet", || {
            guest.send(&by_relay(1, SERVER));
            server.events.try_iter().flat_map(|told| told.events).find_map(|(event, _)| {
                assert_eq!(server.count("offered"), 0, "it is taken for a relay");
                matches!(event.kind, EventKind::Dropped(DropReason::GuestRelay, _)).then_some(())
            })
        });
        // Relays have many clients: what limits a guest does not limit them.
        for (relay, clients, to) in
            [(&mut trusted, 10..40, SERVER), (&mut trunk, 40..70, Ipv4Addr::BROADCAST)]
        {
            relay.ask(&by_relay(8, to));
            clients.clone().for_each(|n| relay.send(&by_relay(n, to)));
            clients.for_each(|n| assert_eq!(relay.answer_to(&client(n)).kind, 2));
        }
        trunk.send(&by_relay(99, Ipv4Addr::new(192, 0, 2, 255)));
        trunk.answer_to(&client(99));
        // Who routes through this host to another server is not served here.
        let overheard = server.count("overheard");
        wait_for("the packet for another server", || {
            trunk.send(&by_relay(100, Ipv4Addr::new(198, 51, 100, 1)));
            (server.count("overheard") > overheard).then_some(())
        });
        while let Some(answer) = trunk.poll() {
            assert_ne!(answer.xid, client(100).xid);
        }
        assert_eq!(server.count("datagrams"), 0, "udp left it to the packet socket");
        server.stop();
    }

    fn a_tagged_request_is_counted_and_not_answered() {
        bridge("br0", "10.0.0.1/24", &[("p0", "g0")]);
        let server = Server::start(&policy(&["br0"]), Some(Box::new(MemDisk::new(1).open().0)));
        let mut guest = Station::on("g0");
        guest.ask(&client(1));
        guest.send(&Request { vlan: Some(7), ..client(2) });
        server.wait_for_event(|kind| {
            matches!(kind, EventKind::Dropped(DropReason::VlanTagged, _)).then_some(())
        });
        let next = guest.ask(&client(3));
        assert_eq!(next.xid, client(3).xid, "the tagged one was not answered before");
        server.stop();
    }

    fn a_router_that_does_not_forward_is_doubted_once() {
        let conf = |key: &str, value: &str| {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{key}"), value).unwrap();
        };
        conf("all/forwarding", "0");
        bridge("br0", "10.0.0.1/24", &[("p0", "g0")]);
        let subnet = "[[network.subnet]]\nprefix = \"2001:db8:1::/64\"";
        let said = |ra: &str| {
            let network = format!("router_advertisements = {ra}\n{subnet}");
            check(&policy_text(&["br0"], &network, "10.0.0.0/24", "10.0.0.100-10.0.0.199"))
        };
        let (host, router) = (said("true"), said("{ router = true }"));
        let (poller, counters, log) = (Poller::new().unwrap(), Counters::default(), Log::default());
        let lines = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || lines.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut links = Links::open(router.clone(), Mode::Serve, &poller).unwrap();
            links.update(&poller, &counters, |_| {});
            let why = "forwards no IPv6 for them interface=br0 \
                       why=\"net.ipv6.conf.br0.forwarding is 0, want net.ipv6.conf.all.forwarding = 1\"";
            assert!(log.take().contains(why));
            let mut reload = |policy: &Arc<Policy>| {
                links.set_policy(policy.clone(), &poller, |_| {});
                log.take().matches("forwards no IPv6").count()
            };
            assert_eq!([reload(&router), reload(&host), reload(&router)], [0, 0, 1]);
            conf("all/forwarding", "1");
            assert_eq!([reload(&host), reload(&router)], [0, 0]);
            conf("br0/disable_ipv6", "1");
            assert_eq!([reload(&host), reload(&router)], [0, 1]);
        });
    }

    fn overruns_of_udp_are_counted_for_ipv6_too() {
        bridge("br0", "10.0.0.1/24", &[("p0", "g0")]);
        let server = Server::start(&policy(&["br0"]), Some(Box::new(MemDisk::new(1).open().0)));
        let deaf = std::net::UdpSocket::bind("[::1]:0").unwrap();
        let to = deaf.local_addr().unwrap();
        // Again and again: the first look at the kernel's figure counts nothing.
        wait_for("an overrun", || {
            for _ in 0..64 {
                deaf.send_to(&[0; 16_000], to).unwrap();
            }
            (server.count("overruns_udp") > 0).then_some(())
        });
        server.stop();
    }

    fn interfaces_come_and_go_under_a_running_server() {
        let disk = MemDisk::new(1);
        let server = Server::start(&policy(&["br*"]), Some(Box::new(disk.open().0)));
        bridge("br0", "10.0.0.1/24", &[("p0", "g0")]);
        assert_eq!(Station::on("g0").ask(&client(1)).from, SERVER);
        ip("link del br0");
        ip("link del p0");
        bridge("br0", "10.0.0.2/24", &[("p0", "g0")]);
        let mut guest = Station::on("g0");
        let moved = Ipv4Addr::new(10, 0, 0, 2);
        wait_for("the new address", || (guest.ask(&client(1)).from == moved).then_some(()));
        server.stop();
    }

    fn a_reload_changes_what_is_named_and_loses_nothing_elsewhere() {
        bridge("br0", "10.0.0.1/24", &[("p0", "g0")]);
        bridge("br1", "10.0.1.1/24", &[("p1", "g1")]);
        let disk = MemDisk::new(1);
        let server = Server::start(&policy(&["br0"]), Some(Box::new(disk.open().0)));
        let (mut g0, mut g1) = (Station::on("g0"), Station::on("g1"));
        g0.ask(&client(1));
        let both = check(&(policy_text(&["br0"], "", "10.0.0.0/24", "10.0.0.100-10.0.0.199")
            + &policy_text(&["br1"], "", "10.0.1.0/24", "10.0.1.100-10.0.1.199")
                .replace("\"net\"", "\"other\"")));
        // Requests keep coming while the policy is put in force again and again.
        let mut asked = Vec::new();
        for round in 0..100u8 {
            let request = Request { xid: [1, 1, 1, round], ..client(1) };
            g0.send(&request);
            asked.push(request.xid);
            let next = if round % 2 == 0 { &both } else { &server.policy };
            server.handle.jobs().set_policy(Arc::clone(next)).unwrap();
        }
        for xid in asked {
            g0.answer_to(&Request { xid, ..Request::default() });
        }
        server.handle.jobs().set_policy(both).unwrap();
        assert_eq!(g1.ask(&client(2)).from, Ipv4Addr::new(10, 0, 1, 1));
        server.stop();
    }

    fn the_port_of_a_frame_decides_what_is_believed() {
        bridge("br0", "10.0.0.1/24", &[("p0", "g0"), ("p1", "g1")]);
        let text = policy_text(&["br0"], "trusted_ports = [\"p1\"]", "10.0.0.0/24", "10.0.0.100-10.0.0.199");
        let server = Server::start(&check(&text), Some(Box::new(MemDisk::new(1).open().0)));
        let (mut g0, mut g1) = (Station::on("g0"), Station::on("g1"));
        g0.ask(&client(1));
        // Relay information with giaddr 0 is believed, and so echoed, from p1 only, however new
        // the sender is.
        let with_relay_info = |n: u8| {
            Request { options: vec![53, 1, 1, 82, 4, 1, 2, b'x', b'y'], ..client(n) }
        };
        for n in 10..30 {
            assert!(!g0.ask(&with_relay_info(n)).relay_info, "believed from an access port");
            assert!(g1.ask(&with_relay_info(n + 20)).relay_info, "not believed from {n}");
        }
        server.stop();
    }

    fn a_new_sender_is_found_behind_its_port_by_one_look() {
        bridge("br0", "10.0.0.1/24", &[("p0", "g0"), ("p1", "g1")]);
        let text = policy_text(&["br0"], "trusted_ports = [\"p1\"]\ntrunk_ports = [\"p*\"]",
            "10.0.0.0/24", "10.0.0.100-10.0.0.199");
        let (poller, counters) = (Poller::new().unwrap(), Counters::default());
        let mut links = Links::open(check(&text), Mode::Serve, &poller).unwrap();
        let mut told = Vec::new();
        links.update(&poller, &counters, |input| told.push(format!("{input:?}")));
        assert!(matches!(told.as_slice(), [up] if up.contains("LinkUp") && up.contains("10.0.0.1")));
        let (br0, mut batch) = (net_rig::index("br0"), RecvBatch::default());
        for (guest, port, trusted, n) in [("g0", "p0", false, 1), ("g1", "p1", true, 2)] {
            let (station, port) = (Station::on(guest), net_rig::index(port));
            let mut hear = |request: &Request| wait_for("the frame", || {
                station.send(request);
                let socket = links.get(br0).unwrap().dhcp.as_ref().unwrap();
                (socket.recv(&mut batch).unwrap() > 0).then_some(())
            });
            hear(&client(n));
            hear(&client(n + 10));
            let mut fresh = false;
            let place = links.port_of(br0, client(n + 10).src_mac, &mut fresh);
            let at = PortInfo { port: Some(port), trusted, trunk: true, ..PortInfo::default() };
            assert_eq!(place, at);
            assert!(fresh, "it was not known before");
            // Once a batch is enough.
            let nowhere =
                PortInfo { access: Some(Party::Unknown(br0)), ..PortInfo::default() };
            assert_eq!(links.port_of(br0, client(99).src_mac, &mut fresh), nowhere);
        }
        ip("link set p1 down");
        ip("link set p1 name q1");
        ip("link set q1 up");
        links.update(&poller, &counters, |_| {});
        let place = links.port_of(net_rig::index("q1"), client(1).src_mac, &mut false);
        assert_eq!(place, PortInfo::default(), "a port is not served itself");
    }

    fn what_netlink_lost_is_counted_whoever_met_it() {
        bridge("br0", "10.0.0.1/24", &[("p0", "g0")]);
        let (poller, counters) = (Poller::new().unwrap(), Counters::default());
        let mut links = Links::open(policy(&["br0"]), Mode::Serve, &poller).unwrap();
        links.update(&poller, &counters, |_| {});
        // More changes than the socket holds.
        let batch: String = (0..20_000)
            .map(|i| format!("fdb add 02:01:00:00:{:02x}:{:02x} dev p0 master static\n", i >> 8, i & 255))
            .collect();
        let file = std::env::temp_dir().join(format!("fs-net-driver-{}", std::process::id()));
        std::fs::write(&file, batch).unwrap();
        net_rig::run(&format!("bridge -batch {}", file.display()));
        std::fs::remove_file(&file).unwrap();
        links.port_of(net_rig::index("br0"), client(1).src_mac, &mut false);
        links.update(&poller, &counters, |_| {});
        assert_ne!(counters.link_resyncs.get(), 0);
    }

    fn the_engine_hears_of_what_was_not_heard() {
        bridge("br0", "10.0.0.1/24", &[("p0", "g0")]);
        // Frames so long that few fill the socket.
        ["br0", "p0", "g0"].iter().for_each(|name| ip(&format!("link set {name} mtu 65535")));
        let (server, deaf) = Server::listening(&policy(&["br0"]));
        Station::on("g0").ask(&client(1));
        let br0 = net_rig::index("br0");
        // More than one batch, of which none is lost; and less than one, of which some are.
        for (frames, bytes, lost) in [(net_batch() + 9, 42, false), (net_batch() - 9, 60_000, true)] {
            let stalled = server.stall();
            while deaf.try_recv().is_ok() {}
            send_arps("g0", frames, bytes);
            drop(stalled);
            let link = wait_for("what is said of deafness", || deaf.try_recv().ok());
            assert_eq!((link, server.count("overruns_arp") > 0), (br0, lost));
        }
        server.stop();
    }

    fn an_observer_answers_nothing_and_knows_what_it_would_say() {
        bridge("br0", "10.0.0.1/24", &[("p0", "g0")]);
        let server = Server::start_as(&policy(&["br0"]), Mode::Observe, None);
        let mut guest = Station::on("g0");
        wait_for("the offer that is not sent", || {
            guest.send(&client(1));
            server.events.try_iter().flat_map(|told| told.events).find_map(|(event, _)| {
                matches!(event.kind, EventKind::Offered(_)).then_some(())
            })
        });
        let select = client(1).select(Ipv4Addr::new(10, 0, 0, 100), SERVER);
        guest.send(&select);
        server.wait_for_event(|kind| {
            matches!(kind, EventKind::Granted(_) | EventKind::Nak(..)).then_some(())
        });
        assert_eq!(guest.poll(), None);
        assert_eq!(server.count("replies_sent"), 0);
        // Port 67 is free for the server that is observed.
        std::net::UdpSocket::bind("0.0.0.0:67").unwrap();
        server.stop();
    }

    fn a_storm_is_served_in_batches() {
        bridge("br0", "10.0.0.1/16", &[("p0", "g0")]);
        let text = policy_text(&["br0"], "trunk_ports = \"p0\"", "10.0.0.0/16", "10.0.4.0-10.0.99.255");
        let server = Server::start(&check(&text), Some(Box::new(MemDisk::new(1).open().0)));
        let mut guest = Station::on("g0");
        guest.ask(&client(1));
        const CLIENTS: u16 = 2000;
        let who = |n: u16| {
            let [a, b] = n.to_be_bytes();
            Request { src_mac: Mac([2, 0, 0, 9, a, b]), xid: [7, 7, a, b], ..Request::default() }
        };
        for n in 0..CLIENTS {
            guest.send(&who(n));
        }
        let mut acked = 0;
        let mut offers = BTreeMap::new();
        wait_for("every ack", || {
            let answer = guest.poll()?;
            let n = u16::from_be_bytes([answer.xid[2], answer.xid[3]]);
            match answer.kind {
                2 if answer.xid[0] == 7 && offers.insert(n, answer.yiaddr).is_none() => {
                    guest.send(&who(n).select(answer.yiaddr, SERVER));
                }
                5 => acked += 1,
                _ => {}
            }
            (acked == CLIENTS).then_some(())
        });
        let addresses: std::collections::BTreeSet<_> = offers.values().collect();
        assert_eq!(addresses.len(), usize::from(CLIENTS), "everyone has an address alone");
        assert_eq!(server.count("overruns_dhcp"), 0);
        server.stop();
    }
}

/// As many frames as are read at once.
fn net_batch() -> usize {
    foreshadow::net::sys::BATCH
}

/// ARP requests, each of so many bytes, all at once.
fn send_arps(from: &str, frames: usize, bytes: usize) {
    let socket = FrameSocket::arp(net_rig::index(from), Mode::Serve).unwrap();
    let mut outbox = Outbox::default();
    for _ in 0..frames {
        outbox.push(|frame| {
            let at = frame.len();
            frame.extend([255; 6]);
            frame.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1]);
            frame.resize(at + bytes, 0);
        });
    }
    assert_eq!(socket.send(&mut outbox).sent, frames as u64);
}

/// A bridge with an address, and guests behind ports.
fn bridge(name: &str, addr: &str, ports: &[(&str, &str)]) {
    ip(&format!("link add {name} type bridge"));
    ip(&format!("link set {name} up"));
    ip(&format!("addr add {addr} dev {name}"));
    for (port, guest) in ports {
        veth(port, guest);
        ip(&format!("link set {port} master {name}"));
    }
}

fn client(n: u8) -> Request {
    Request { src_mac: Mac([2, 0, 0, 0, 0, n]), xid: [n, n, n, n], ..Request::default() }
}

fn mac_of(name: &str) -> Mac {
    let mut monitor = foreshadow::net::LinkMonitor::open().unwrap();
    monitor.poll(&mut Vec::new()).unwrap();
    let found = monitor.links().find(|link| *link.name == *name).map(|link| link.mac);
    found.expect("an interface of this name")
}

fn policy(interfaces: &[&str]) -> Arc<Policy> {
    check(&policy_text(interfaces, "", "10.0.0.0/24", "10.0.0.100-10.0.0.199"))
}

fn policy_text(interfaces: &[&str], network: &str, prefix: &str, pool: &str) -> String {
    format!(
        "[[network]]\nname = \"net\"\ninterfaces = {interfaces:?}\nauthoritative = true\n{network}\n\
         [[network.subnet]]\nprefix = \"{prefix}\"\npools = [\"{pool}\"]\n"
    )
}

fn check(text: &str) -> Arc<Policy> {
    match config::check(text, "test.toml") {
        Ok(loaded) => Arc::new(loaded.policy),
        Err(faults) => panic!("{}", faults.render(false)),
    }
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl Log {
    /// What was logged since the last call.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
