//! Links, addresses and forwarding entries followed by netlink, each test in a network namespace
//! of its own.
#![allow(clippy::unwrap_used)] // A panic is how a test fails.

mod net_rig;

use foreshadow::base::{LinkId, Mac};
use foreshadow::net::{FrameSocket, LinkEvent, LinkMonitor, Mode, RecvBatch};
use net_rig::{Request, events_until, index, inject, ip, run, veth, wait_for};

isolated_tests! {
    fn links_appear_change_and_go() {
        let mut monitor = LinkMonitor::open().unwrap();
        let mut events = Vec::new();
        monitor.poll(&mut events).unwrap();
        let lo = monitor.links().find(|link| &*link.name == "lo").unwrap();
        assert!(events.contains(&LinkEvent::Appeared(lo.id)), "what was there is told first");
        assert!(!lo.is_ethernet);

        ip("link add va type veth peer name vb");
        let a = appeared(&mut monitor, "va");
        let link = monitor.link(a).unwrap();
        assert!(link.is_ethernet && !link.is_up && !link.is_bridge && link.addrs.is_empty());
        assert_ne!(link.mac, Mac::ZERO);

        ip("link set va up");
        events_until(&mut monitor, |m, e| changed(e, a) && m.link(a).is_some_and(|l| l.is_up));
        ip("link set va address 02:00:00:00:00:42");
        let mac = Mac([2, 0, 0, 0, 0, 0x42]);
        events_until(&mut monitor, |m, e| changed(e, a) && m.link(a).is_some_and(|l| l.mac == mac));

        // A rename is another interface to whoever goes by names.
        ip("link set va down");
        ip("link set va name z");
        let events = events_until(&mut monitor, |m, e| {
            *e == LinkEvent::Appeared(a) && m.link(a).is_some_and(|l| &*l.name == "z")
        });
        let gone = events.iter().position(|e| *e == LinkEvent::Gone(a));
        let back = events.iter().position(|e| *e == LinkEvent::Appeared(a));
        assert!(gone.is_some() && gone < back, "{events:?}");

        ip("link del z");
        events_until(&mut monitor, |_, e| *e == LinkEvent::Gone(a));
        assert!(monitor.link(a).is_none());
    }

    fn addresses_are_followed_primary_first() {
        veth("va", "vb");
        let a = index("va");
        let mut monitor = LinkMonitor::open().unwrap();
        monitor.poll(&mut Vec::new()).unwrap();
        ip("addr add 10.0.0.1/24 dev va");
        ip("addr add 10.0.0.2/24 dev va");
        ip("addr add 10.1.0.1/16 dev va");
        ip("addr add 10.2.0.1 peer 10.3.0.1/32 dev va");
        let addrs = |m: &LinkMonitor| -> Vec<String> {
            let link = m.link(a).unwrap();
            link.addrs.iter().map(|a| format!("{} {}", a.addr, a.prefix)).collect()
        };
        events_until(&mut monitor, |m, e| *e == LinkEvent::AddrsChanged(a) && addrs(m).len() == 4);
        let all = ["10.0.0.1 10.0.0.0/24", "10.1.0.1 10.1.0.0/16", "10.2.0.1 10.3.0.1/32",
            "10.0.0.2 10.0.0.0/24"];
        assert_eq!(addrs(&monitor), all);
        // A fresh listing finds the same.
        let mut other = LinkMonitor::open().unwrap();
        other.poll(&mut Vec::new()).unwrap();
        assert_eq!(addrs(&other), all);
        ip("addr del 10.1.0.1/16 dev va");
        events_until(&mut monitor, |m, e| *e == LinkEvent::AddrsChanged(a) && addrs(m).len() == 3);
        // Setting a link down keeps its addresses, as the kernel does.
        ip("link set va down");
        events_until(&mut monitor, |m, e| changed(e, a) && m.link(a).is_some_and(|l| !l.is_up));
        assert_eq!(addrs(&monitor).len(), 3);
    }

    fn a_mac_is_found_behind_its_port() {
        ip("link add br0 type bridge");
        ip("link set br0 up");
        for (port, guest) in [("p0", "g0"), ("p1", "g1")] {
            veth(port, guest);
            ip(&format!("link set {port} master br0"));
        }
        let (bridge, p0, p1) = (index("br0"), index("p0"), index("p1"));
        let socket = FrameSocket::dhcp(bridge, Mode::Serve).unwrap();
        let early = Mac([2, 0, 0, 0, 0, 1]);
        hear(&socket, "g0", early);
        let mut monitor = LinkMonitor::open().unwrap();
        monitor.poll(&mut Vec::new()).unwrap();
        assert_eq!(monitor.link(p0).unwrap().master, Some(bridge));
        assert!(monitor.link(bridge).unwrap().is_bridge);
        assert_eq!(monitor.port_of(bridge, early), None, "not asked to watch it yet");
        monitor.watch(bridge).unwrap();
        assert_eq!(monitor.port_of(bridge, early), Some(p0));

        // One look at netlink after a frame finds where it came from, however new its sender.
        for round in 0..50 {
            let (guest, port) = if round % 2 == 0 { ("g0", p0) } else { ("g1", p1) };
            let fresh = Mac([2, 0, 0, 0, 1, round]);
            hear(&socket, guest, fresh);
            monitor.poll(&mut Vec::new()).unwrap();
            assert_eq!(monitor.port_of(bridge, fresh), Some(port), "round {round}");
        }
        hear(&socket, "g1", early);
        monitor.poll(&mut Vec::new()).unwrap();
        assert_eq!(monitor.port_of(bridge, early), Some(p1), "it moved");

        run("bridge fdb flush dev br0 brport p1");
        wait_for("the entry to go", || {
            monitor.poll(&mut Vec::new()).unwrap();
            monitor.port_of(bridge, early).is_none().then_some(())
        });
        ip("link set p0 nomaster");
        events_until(&mut monitor, |m, e| changed(e, p0) && m.link(p0).unwrap().master.is_none());
        assert!(monitor.link(p0).is_some(), "leaving a bridge is not leaving the host");
        monitor.unwatch(bridge);
        assert_eq!(monitor.port_of(bridge, Mac([2, 0, 0, 0, 1, 0])), None);
    }

    fn a_lost_change_is_found_by_listing() {
        let mut monitor = LinkMonitor::open().unwrap();
        monitor.poll(&mut Vec::new()).unwrap();
        ip("link add br0 type bridge");
        ip("link set br0 up");
        veth("d0", "d1");
        // More changes than the socket holds, unread.
        let batch: String = (0..60_000)
            .map(|i| format!("addr {} 10.{}.{}.1/32 dev d0\n", ["add", "del"][i % 2], i / 500, i / 2 % 250))
            .collect();
        let file = std::env::temp_dir().join(format!("fs-net-batch-{}", std::process::id()));
        std::fs::write(&file, batch).unwrap();
        run(&format!("ip -batch {}", file.display()));
        ip("addr add 10.200.0.1/24 dev d0");
        ip("link del br0");
        std::fs::remove_file(&file).unwrap();
        let mut events = Vec::new();
        // What is left of the storm is not read at one go: packets have their turns between.
        wait_for("the end of the storm", || {
            monitor.poll(&mut events).unwrap();
            monitor.links().all(|link| &*link.name != "br0").then_some(())
        });
        assert!(monitor.resyncs() > 0, "the storm was read after all: make it longer");
        assert!(monitor.links().all(|link| &*link.name != "br0"), "{events:?}");
        let dummy = monitor.links().find(|link| &*link.name == "d0").unwrap();
        assert_eq!(dummy.addrs.len(), 1);
        assert_eq!(dummy.addrs[0].addr.to_string(), "10.200.0.1");
    }

    fn who_was_lost_in_a_storm_is_asked_for() {
        ip("link add br0 type bridge");
        ip("link set br0 up");
        for (port, guest) in [("p0", "g0"), ("p1", "g1")] {
            veth(port, guest);
            ip(&format!("link set {port} master br0"));
        }
        let (bridge, p1) = (index("br0"), index("p1"));
        let mut monitor = LinkMonitor::open().unwrap();
        monitor.poll(&mut Vec::new()).unwrap();
        monitor.watch(bridge).unwrap();
        let (lost, nobody) = (Mac([2, 0, 0, 0, 2, 1]), Mac([2, 0, 0, 0, 2, 2]));
        // More changes than the socket holds, unread; then somebody speaks.
        let batch: String = (0..20_000)
            .map(|i| format!("fdb add 02:01:00:00:{:02x}:{:02x} dev p0 master static\n", i >> 8, i & 255))
            .collect();
        let file = std::env::temp_dir().join(format!("fs-net-fdb-{}", std::process::id()));
        std::fs::write(&file, batch).unwrap();
        run(&format!("bridge -batch {}", file.display()));
        std::fs::remove_file(&file).unwrap();
        let socket = FrameSocket::dhcp(bridge, Mode::Serve).unwrap();
        hear(&socket, "g1", lost);
        assert_eq!(monitor.look_up(bridge, lost), None, "as far as is known, all is known");
        monitor.poll(&mut Vec::new()).unwrap();
        assert!(monitor.resyncs() > 0, "the storm was read after all: make it longer");
        assert_eq!(monitor.port_of(bridge, lost), None, "it was told after all");
        assert_eq!(monitor.look_up(bridge, lost), Some(p1));
        assert_eq!(monitor.port_of(bridge, lost), Some(p1), "it is known now");
        assert_eq!(monitor.look_up(bridge, nobody), None);
    }

    fn an_interface_that_comes_back_is_served_again() {
        let mut monitor = LinkMonitor::open().unwrap();
        veth("va", "vb");
        let first = appeared(&mut monitor, "va");
        let old = FrameSocket::dhcp(first, Mode::Serve).unwrap();
        ip("link del va");
        events_until(&mut monitor, |_, e| *e == LinkEvent::Gone(first));
        drop(old);
        veth("va", "vb");
        let second = appeared(&mut monitor, "va");
        assert_ne!(first, second);
        let socket = FrameSocket::dhcp(second, Mode::Serve).unwrap();
        hear(&socket, "vb", Mac([2, 0, 0, 0, 0, 7]));
    }
}

/// Waits until a link of this name is told.
fn appeared(monitor: &mut LinkMonitor, name: &str) -> LinkId {
    events_until(monitor, |m, e| matches!(e, LinkEvent::Appeared(_)) && find(m, name).is_some());
    find(monitor, name).unwrap()
}

fn find(monitor: &LinkMonitor, name: &str) -> Option<LinkId> {
    monitor.links().find(|link| *link.name == *name).map(|link| link.id)
}

fn changed(event: &LinkEvent, id: LinkId) -> bool {
    *event == LinkEvent::Changed(id)
}

/// Sends a request from `mac` on `from` until `socket` has it.
fn hear(socket: &FrameSocket, from: &str, src_mac: Mac) {
    let (frame, from) = (Request { src_mac, ..Request::default() }.frame(), index(from));
    let mut batch = RecvBatch::default();
    wait_for("the frame", || {
        // A bridge port that was just added drops frames until it forwards.
        inject(from, &frame);
        let count = socket.recv(&mut batch).unwrap();
        let is_it = |i| FrameSocket::frame(&batch, i).is_some_and(|f| f.bytes[6..12] == src_mac.0);
        (0..count).any(is_it).then_some(())
    });
}
