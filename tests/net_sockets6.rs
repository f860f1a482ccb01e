//! Sockets, groups, addresses and routes of IPv6 on real interfaces, each test in a network
//! namespace of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

mod net_rig;

use std::net::{Ipv6Addr, SocketAddrV6};

use foreshadow::base::{LinkId, Mac};
use foreshadow::net::udp6::{GROUPS, overruns6_of_host};
use foreshadow::net::{
    AddrState, Frame, FrameSocket, Link, LinkEvent, LinkMonitor, Mode, Outbox, RecvBatch, Route6,
    RouteTable, Routed6Socket, Takes, Udp6Socket,
};
use foreshadow::wire::mld;
use foreshadow::wire::ndp::{self, NdpMessage};
use net_rig::v6::Packet6;
use net_rig::{END, events_until, frames_until_end, index, inject, ip, veth, wait_for};

const SOLICIT: &[u8] = &[1, 7, 7, 7];
const RELAYED: &[u8] = &[12, 0, 1, 2];

isolated_tests! {
    fn the_filter_passes_what_no_relay_forwarded() {
        veth("va", "vb");
        let socket = FrameSocket::dhcp(index("va"), Mode::Serve).unwrap();
        let b = index("vb");
        let solicit = Packet6::dhcp(SOLICIT);
        let reply = Packet6 { payload: client_port(&Packet6::dhcp(&[7, 1, 1, 1])), ..solicit.clone() };
        let extended = Packet6 { next_header: 0, ..solicit.clone() };
        for packet in [&solicit, &Packet6::dhcp(RELAYED), &extended, &reply, &Packet6::end()] {
            assert_eq!(inject(b, &packet.frame()).sent, 1);
        }
        let seen = frames_until_end(&socket, |frame| {
            assert!(frame.is_ipv6() && frame.vlan.is_none() && !frame.to_other_host);
            frame.bytes.to_vec()
        });
        assert_eq!(seen, [solicit.frame(), reply.frame()]);
    }

    fn both_families_come_by_one_socket_in_order() {
        veth("va", "vb");
        let socket = FrameSocket::dhcp(index("va"), Mode::Serve).unwrap();
        let b = index("vb");
        let v4 = net_rig::Request::default().frame();
        for frame in [&v4, &Packet6::dhcp(SOLICIT).frame(), &v4, &Packet6::end().frame()] {
            inject(b, frame);
        }
        assert_eq!(frames_until_end(&socket, |frame| frame.is_ipv6()), [false, true, false]);
    }

    fn neighbours_and_routers_are_heard_and_answer() {
        veth("va", "vb");
        let (a, b) = (index("va"), index("vb"));
        let socket = FrameSocket::neighbour_discovery(a, Mode::Serve).unwrap();
        let other = settled_link_local("vb");
        let own = settled(|m| m.link(a).unwrap().addrs6.len() == 1, a);
        // The kernel at the other end answers our frame: unicast to the address of our MAC.
        let target = other.octets();
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1,
            0xff00 | u16::from(target[13]), u16::from_be_bytes([target[14], target[15]]));
        let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
        solicitation.extend(target);
        solicitation.extend([1, 1]);
        solicitation.extend(own.mac.0);
        let ask = Packet6 {
            src: own.link_local(), src_mac: own.mac, ..Packet6::icmp(group, solicitation)
        };
        let mut outbox = Outbox::default();
        outbox.push(|bytes| bytes.extend(ask.frame()));
        assert_eq!(socket.send(&mut outbox).sent, 1);
        let answer = heard(&socket, |f| f.bytes[54] == 136 && f.bytes[62..78] == target);
        assert_eq!(answer[..6], own.mac.0);
        // Router solicitation, another router's advertisement, another's neighbour solicitation.
        for (kind, to) in [(133, "ff02::2"), (134, "ff02::1"), (135, "ff02::1:ff00:1")] {
            let mut payload = vec![kind, 0, 0, 0];
            payload.resize(24, 0);
            let packet = Packet6::icmp(to.parse().unwrap(), payload);
            inject(b, &Packet6 { hop_limit: 64, ..packet.clone() }.frame());
            inject(b, &packet.frame());
            let frame = heard(&socket, |f| f.bytes[54] == kind && f.bytes[6..12] == [2, 0, 0, 0, 0, 1]);
            assert_eq!(frame[21], 255, "a forwarded one is not heard");
        }
    }

    fn a_snooping_querier_withholds_nothing_that_was_joined() {
        let (bridge, guest) = snooping_bridge();
        let packets = FrameSocket::dhcp(bridge, Mode::Serve).unwrap();
        let routers = FrameSocket::neighbour_discovery(bridge, Mode::Serve).unwrap();
        let _groups = Udp6Socket::open(bridge, Takes::Relayed).unwrap();
        wait_for("the bridge to snoop", || {
            inject(guest, &query());
            heard_groups(&packets, guest, &["ff02::99"]).is_empty().then_some(())
        });
        let seen = heard_groups(&packets, guest, &["ff02::99", "ff02::1:2", "ff05::1:3"]);
        assert_eq!(seen, ["ff02::1:2", "ff05::1:3"]);
        let solicitation = Packet6::icmp("ff02::2".parse().unwrap(), vec![133, 0, 0, 0, 0, 0, 0, 0]);
        inject(guest, &solicitation.frame());
        heard(&routers, |f| f.bytes[54] == 133 && f.bytes[6..12] == [2, 0, 0, 0, 0, 1]);
    }

    fn where_ipv6_is_disabled_our_own_report_opens_the_groups() {
        let (bridge, guest) = snooping_bridge();
        sysctl("br0", "disable_ipv6", "1");
        let link = settled(|m| m.link(bridge).unwrap().addrs6.is_empty(), bridge);
        let packets = FrameSocket::dhcp(bridge, Mode::Serve).unwrap();
        let _groups = Udp6Socket::open(bridge, Takes::Relayed).unwrap();
        wait_for("the bridge to snoop", || {
            inject(guest, &query());
            heard_groups(&packets, guest, &["ff02::1:2"]).is_empty().then_some(())
        });
        let mut outbox = Outbox::default();
        outbox.push(|out| mld::write_report(out, link.mac, link.link_local(), &GROUPS));
        assert_eq!(packets.send(&mut outbox).sent, 1);
        let seen = heard_groups(&packets, guest, &["ff02::99", "ff02::1:2", "ff05::1:3"]);
        assert_eq!(seen, ["ff02::1:2", "ff05::1:3"]);
    }

    fn a_link_without_ipv6_is_heard_and_has_an_address() {
        veth("va", "vb");
        sysctl("va", "disable_ipv6", "1");
        let a = index("va");
        let link = settled(|m| m.link(a).unwrap().addrs6.is_empty(), a);
        let [m0, m1, m2, m3, m4, m5] = link.mac.0;
        let expected = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, m0 ^ 2, m1, m2, 0xff, 0xfe, m3, m4, m5];
        assert_eq!(link.link_local().octets(), expected);
        assert_eq!(link.source_for("2001:db8::1".parse().unwrap()), None);
        let socket = FrameSocket::dhcp(a, Mode::Serve).unwrap();
        socket.hear_groups(a, &[Mac([0x33, 0x33, 0, 1, 0, 2])]).unwrap();
        inject(index("vb"), &Packet6::dhcp(SOLICIT).frame());
        heard(&socket, |f| f.is_ipv6());
        assert!(run_output("ip maddress show dev va").contains("33:33:00:01:00:02"));
        // Port 547 opens, and its groups are there as soon as IPv6 is.
        let _groups = Udp6Socket::open(a, Takes::Relayed).unwrap();
        sysctl("va", "disable_ipv6", "0");
        assert!(run_output("ip maddress show dev va").contains("ff05::1:3"));
    }

    fn groups_outlast_a_link_that_goes_down() {
        veth("va", "vb");
        let a = index("va");
        let _groups = Udp6Socket::open(a, Takes::Relayed).unwrap();
        let is_joined = || {
            let groups = run_output("ip maddress show dev va");
            ["ff02::1:2", "ff05::1:3", "ff02::2", "33:33:00:01:00:02", "33:33:00:01:00:03"]
                .iter()
                .all(|group| groups.split_whitespace().any(|word| word == *group))
        };
        assert!(is_joined());
        ip("link set va down");
        ip("link set va up");
        // The kernel joins again once the link carries something.
        wait_for("the groups", || is_joined().then_some(()));
        // One socket for an interface and one for another: the port is shared.
        let _other = Udp6Socket::open(index("vb"), Takes::Everything).unwrap();
    }

    fn udp_takes_what_a_relay_forwarded_and_tells_where_it_went() {
        veth("va", "vb");
        ip("addr add 2001:db8::1/64 dev va nodad");
        let (a, b) = (index("va"), index("vb"));
        let own = settled(|m| !m.link(a).unwrap().addrs6.is_empty(), a);
        let socket = Udp6Socket::open(a, Takes::Relayed).unwrap();
        let relay: Ipv6Addr = "2001:db8::9".parse().unwrap();
        let relayed = Packet6 {
            dst_mac: Some(own.mac),
            src: relay,
            dst: "2001:db8::1".parse().unwrap(),
            hop_limit: 32,
            ..Packet6::dhcp(RELAYED)
        };
        inject(b, &Packet6 { payload: Packet6::dhcp(SOLICIT).payload, ..relayed.clone() }.frame());
        inject(b, &Packet6::dhcp(SOLICIT).frame());
        inject(b, &relayed.frame());
        let mut batch = RecvBatch::default();
        wait_for("a datagram", || (socket.recv(&mut batch).unwrap() > 0).then_some(()));
        assert_eq!(batch.len(), 1);
        let got = Udp6Socket::datagram(&batch, 0).unwrap();
        assert_eq!((got.src, got.dst), (SocketAddrV6::new(relay, 546, 0, 0), relayed.dst));
        assert_eq!((got.bytes, got.truncated), (RELAYED, false));
        // By multicast, from a relay on the link: its scope is the interface.
        for group in ["ff02::1:2", "ff05::1:3"] {
            let dst = group.parse().unwrap();
            inject(b, &Packet6 { dst, ..Packet6::dhcp(RELAYED) }.frame());
            wait_for("a datagram", || (socket.recv(&mut batch).unwrap() > 0).then_some(()));
            let got = Udp6Socket::datagram(&batch, 0).unwrap();
            assert_eq!((got.src.scope_id(), got.dst), (a.0, dst));
        }
        drop(socket);
        let open = Udp6Socket::open(a, Takes::Everything).unwrap();
        inject(b, &Packet6::dhcp(SOLICIT).frame());
        wait_for("a datagram", || (open.recv(&mut batch).unwrap() > 0).then_some(()));
        assert_eq!(Udp6Socket::datagram(&batch, 0).unwrap().bytes, SOLICIT);
        assert_eq!(overruns6_of_host().unwrap(), 0);
    }

    fn routed_packets_follow_the_kernels_routes() {
        veth("va", "vb");
        veth("vc", "vd");
        ip("addr add 2001:db8:a::1/64 dev va nodad");
        ip("addr add 2001:db8:c::1/64 dev vc nodad");
        ip("route add 2001:db8:99::/48 via 2001:db8:c::9");
        ip("neigh add 2001:db8:c::9 lladdr 02:00:00:00:00:09 dev vc");
        ip("neigh add fe80::77 lladdr 02:00:00:00:00:77 dev vc");
        ip("link set vd promisc on");
        let c = index("vc");
        let seen = FrameSocket::dhcp(index("vd"), Mode::Observe).unwrap();
        let mut routed = Routed6Socket::open().unwrap();
        let server: Ipv6Addr = "2001:db8:53::1".parse().unwrap();
        let to = |dst: &str, message: &[u8]| Packet6 {
            src: server, dst: dst.parse().unwrap(), hop_limit: 64, ..Packet6::dhcp(message)
        };
        for (packet, scope) in [
            (to("2001:db8:99::1", &[13, 1]), 0),
            (to("fe80::77", &[13, 2]), c.0),
            (to("2001:db8:bad::1", &[13, 3]), 0),
            (to("2001:db8:99::1", &[&[13], &END[..]].concat()), 0),
        ] {
            routed.push(SocketAddrV6::new(packet.dst, 547, 0, scope), |out| out.extend(packet.frame()));
        }
        let outcome = routed.send();
        assert!(routed.is_empty());
        // ENETUNREACH
        assert_eq!((outcome.sent, outcome.failed, outcome.last_error), (3, 1, Some(101)));
        let sent = frames_until_end(&seen, |f| {
            (Mac(f.bytes[..6].try_into().unwrap()), f.bytes[22..38].to_vec(), f.bytes[63])
        });
        let by = |mac: u8, message| (Mac([2, 0, 0, 0, 0, mac]), server.octets().to_vec(), message);
        assert_eq!(sent, [by(9, 1), by(0x77, 2)]);
    }

    fn addresses_are_followed_with_their_state() {
        veth("va", "vb");
        let (a, b) = (index("va"), index("vb"));
        settled_link_local("va");
        let mut monitor = LinkMonitor::open().unwrap();
        let state = |m: &LinkMonitor, addr: &str| {
            let addr: Ipv6Addr = addr.parse().unwrap();
            let known = m.link(a)?.addrs6.iter().find(|k| k.addr == addr)?;
            Some((known.prefix_len, known.state))
        };
        let until = |monitor: &mut LinkMonitor, addr: &str, want| {
            events_until(monitor, |m, e| *e == LinkEvent::AddrsChanged(a) && state(m, addr) == want);
        };
        monitor.poll(&mut Vec::new()).unwrap();
        ip("addr add 2001:db8::1/64 dev va");
        until(&mut monitor, "2001:db8::1", Some((64, AddrState::Tentative)));
        until(&mut monitor, "2001:db8::1", Some((64, AddrState::Preferred)));
        ip("addr change 2001:db8::1/64 dev va preferred_lft 0");
        until(&mut monitor, "2001:db8::1", Some((64, AddrState::Deprecated)));
        // An address that somebody at the other end defends.
        let defender = FrameSocket::neighbour_discovery(b, Mode::Serve).unwrap();
        ip("addr add 2001:db8:1::3/64 dev va");
        // Before the kernel asks, it takes no answer.
        let defended: Ipv6Addr = "2001:db8:1::3".parse().unwrap();
        let asks = |frame: Frame<'_>| {
            let read = ndp::read(frame.bytes, true).map(|nd| nd.message);
            matches!(read, Ok(NdpMessage::NeighbourSolicit { target, .. }) if target == defended)
        };
        let mut batch = RecvBatch::default();
        wait_for("a solicitation", || {
            let count = defender.recv(&mut batch).unwrap();
            (0..count).filter_map(|i| FrameSocket::frame(&batch, i)).any(asks).then_some(())
        });
        let mut advertisement = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
        advertisement.extend(defended.octets());
        advertisement.extend([2, 1, 2, 0, 0, 0, 0, 1]);
        let mut outbox = Outbox::default();
        let all = "ff02::1".parse().unwrap();
        outbox.push(|out| out.extend(Packet6::icmp(all, advertisement).frame()));
        defender.send(&mut outbox);
        until(&mut monitor, "2001:db8:1::3", Some((64, AddrState::Duplicate)));
        ip("addr add 2001:db8:2::1/64 dev va nodad");
        until(&mut monitor, "2001:db8:2::1", Some((64, AddrState::Preferred)));
        let link = monitor.link(a).unwrap();
        let source = |to: &str| link.source_for(to.parse().unwrap()).map(|s| s.to_string());
        assert_eq!(source("2001:db8::7").as_deref(), Some("2001:db8::1"), "of its prefix");
        assert_eq!(source("2001:db8:1::7").as_deref(), Some("2001:db8:2::1"), "not the duplicate");
        assert_eq!(source("fe80::7"), Some(link.link_local().to_string()));
        // A fresh listing finds the same.
        let mut other = LinkMonitor::open().unwrap();
        other.poll(&mut Vec::new()).unwrap();
        assert_eq!(other.link(a).unwrap().addrs6, link.addrs6);
        ip("addr del 2001:db8:2::1/64 dev va");
        until(&mut monitor, "2001:db8:2::1", None);
    }

    fn routes_come_and_go_and_are_told_from_others() {
        veth("va", "vb");
        let a = index("va");
        settled(|m| m.link(a).unwrap().addrs6.len() == 1, a);
        ip("route add 2001:db8:ff00::/56 via fe80::99 dev va");
        ip("route add 2001:db8:fe00::/56 via fe80::99 dev va");
        let route = |prefix: &str, via: &str| {
            Route6::new(prefix.parse().unwrap(), 56, via.parse().unwrap(), a)
        };
        let (first, second) = (route("2001:db8:1100::", "fe80::1"), route("2001:db8:ff00::", "fe80::2"));
        let table = RouteTable;
        table.add(&first).unwrap();
        table.add(&second).unwrap();
        assert_eq!(table.list().unwrap(), [first, second]);
        let shown = run_output("ip -6 route show proto 196");
        assert!(shown.contains("2001:db8:1100::/56 via fe80::1 dev va"), "{shown}");
        // The operator's route for the same prefix wins.
        assert!(run_output("ip -6 route get 2001:db8:ff00::1").contains("via fe80::99"));
        // The prefix moves to another router.
        let moved = route("2001:db8:1100::", "fe80::3");
        table.add(&moved).unwrap();
        assert_eq!(table.list().unwrap(), [moved, second]);
        for prefix in ["2001:db8:1100::", "2001:db8:ff00::", "2001:db8:fe00::"] {
            table.remove(prefix.parse().unwrap(), 56).unwrap();
        }
        assert_eq!(table.list().unwrap(), []);
        let rest = run_output("ip -6 route show via fe80::99");
        assert_eq!(rest.lines().count(), 2, "only our own are removed: {rest}");
        // Without an interface the kernel knows which link the router is on.
        ip("addr add 2001:db8:1::1/64 dev va nodad");
        let global: SocketAddrV6 = "[2001:db8:1::5]:0".parse().unwrap();
        table.add(&Route6 { via: global, ..first }).unwrap();
        assert_eq!(table.list().unwrap(), [route("2001:db8:1100::", "2001:db8:1::5")]);
        let nowhere = Route6 { via: SocketAddrV6::new(*first.via.ip(), 0, 0, 9999), ..first };
        let e = table.add(&nowhere).unwrap_err().to_string();
        assert!(e.starts_with("cannot install the route to 2001:db8:1100::/56: "), "{e}");
    }

    fn without_the_capability_a_route_says_which() {
        veth("va", "vb");
        let a = index("va");
        let forbidden = std::thread::spawn(move || {
            use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
            let none = CapabilitySet::empty();
            let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
            set_capabilities(None, sets).unwrap();
            let (prefix, via) = ("2001:db8::".parse().unwrap(), "fe80::1".parse().unwrap());
            let added = RouteTable.add(&Route6::new(prefix, 56, via, a)).unwrap_err();
            let removed = RouteTable.remove(prefix, 56).unwrap_err();
            assert_eq!(added.kind(), std::io::ErrorKind::PermissionDenied);
            [added.to_string(), removed.to_string()]
        });
        assert_eq!(forbidden.join().unwrap(), [
            "cannot install the route to 2001:db8::/56: it needs the capability CAP_NET_ADMIN",
            "cannot remove the route to 2001:db8::/56: it needs the capability CAP_NET_ADMIN",
        ]);
    }

    fn another_server_on_another_bridge_lives() {
        for (bridge, port, guest, net) in [("br0", "p0", "g0", 0), ("br1", "p1", "g1", 1)] {
            ip(&format!("link add {bridge} type bridge"));
            ip(&format!("link set {bridge} up"));
            ip(&format!("addr add 2001:db8:{net}::1/64 dev {bridge} nodad"));
            veth(port, guest);
            ip(&format!("link set {port} master {bridge}"));
        }
        let (br0, br1) = (index("br0"), index("br1"));
        let own = settled(|m| m.link(br0).unwrap().addrs6.iter().filter(|k| k.is_usable()).count() == 2, br0);
        settled(|m| m.link(br1).unwrap().addrs6.iter().filter(|k| k.is_usable()).count() == 2, br1);
        let mut dnsmasq = std::process::Command::new("dnsmasq")
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"])
            .args(["--interface=br1", "--bind-interfaces", "--leasefile-ro", "--pid-file="])
            .args(["--dhcp-range=2001:db8:1::10,2001:db8:1::20", "--dhcp-authoritative"])
            .spawn()
            .expect("dnsmasq (Debian package dnsmasq-base)");
        let raw = FrameSocket::dhcp(br0, Mode::Serve).unwrap();
        let udp = Udp6Socket::open(br0, Takes::Relayed).unwrap();
        let answers = FrameSocket::dhcp(index("g1"), Mode::Observe).unwrap();
        let mut batch = RecvBatch::default();
        let guest = settled_link_local("g1");
        let mut solicit = vec![1, 9, 9, 9, 0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
        solicit.extend([0, 8, 0, 2, 0, 0]);
        solicit.extend([0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let ask = Packet6 { src: guest, src_mac: link("g1").mac, ..Packet6::dhcp(&solicit) };
        wait_for("an advertisement of dnsmasq", || {
            inject(index("g1"), &ask.frame());
            let count = answers.recv(&mut batch).unwrap();
            let is_answer = |i| {
                let frame = FrameSocket::frame(&batch, i).unwrap();
                !frame.outgoing && frame.is_ipv6() && frame.bytes.get(56..58) == Some(&[2, 34])
            };
            (0..count).any(is_answer).then_some(())
        });
        assert_eq!(raw.recv(&mut batch).unwrap(), 0, "nothing of the other bridge");
        inject(index("g0"), &Packet6::dhcp(SOLICIT).frame());
        wait_for("our client", || (raw.recv(&mut batch).unwrap() == 1).then_some(()));
        let relayed = Packet6 {
            dst_mac: Some(own.mac),
            src: "2001:db8::9".parse().unwrap(),
            dst: "2001:db8::1".parse().unwrap(),
            ..Packet6::dhcp(RELAYED)
        };
        inject(index("g0"), &relayed.frame());
        wait_for("our relay", || (udp.recv(&mut batch).unwrap() == 1).then_some(()));
        dnsmasq.kill().unwrap();
        dnsmasq.wait().unwrap();
    }
}

/// A bridge that snoops on MLD, and the end of one of its ports: its queries wait a second for
/// reports.
fn snooping_bridge() -> (LinkId, LinkId) {
    ip("link add br0 type bridge mcast_snooping 1 mcast_query_response_interval 100");
    ip("link set br0 up");
    veth("p0", "g0");
    ip("link set p0 master br0");
    (index("br0"), index("g0"))
}

/// A general MLD query of a router at a port (RFC 3810 s5.1): the bridge withholds from then on
/// what nobody joined.
fn query() -> Vec<u8> {
    // The response delay is 1 ms: as long as it, a bridge still floods.
    let mut icmp = vec![130, 0, 0, 0, 0, 1, 0, 0];
    icmp.resize(24, 0);
    let packet = Packet6 { hop_limit: 1, ..Packet6::icmp("ff02::1".parse().unwrap(), icmp) };
    let mut frame = packet.frame();
    frame.splice(54..54, [58, 0, 5, 2, 0, 0, 1, 0]);
    (frame[19], frame[20]) = (frame[19] + 8, 0);
    frame
}

/// To which of these groups a SOLICIT from `guest` is heard; to all nodes it always is.
fn heard_groups(socket: &FrameSocket, guest: LinkId, groups: &[&str]) -> Vec<String> {
    let to =
        |group: &str, packet: Packet6| Packet6 { dst: group.parse().unwrap(), ..packet }.frame();
    for group in groups {
        inject(guest, &to(group, Packet6::dhcp(SOLICIT)));
    }
    inject(guest, &to("ff02::1", Packet6::end()));
    frames_until_end(socket, |frame| {
        let dst: [u8; 16] = frame.bytes[38..54].try_into().unwrap();
        Ipv6Addr::from(dst).to_string()
    })
}

/// The payload of a DHCPv6 packet, made to go to the client's port.
fn client_port(packet: &Packet6) -> Vec<u8> {
    let mut payload = packet.payload.clone();
    payload[2..4].copy_from_slice(&[2, 34]);
    payload
}

/// The next frame of a packet socket that is as wanted.
fn heard(socket: &FrameSocket, want: impl Fn(&Frame<'_>) -> bool) -> Vec<u8> {
    let mut batch = RecvBatch::default();
    wait_for("a frame", || {
        let count = socket.recv(&mut batch).unwrap();
        let frames = (0..count).filter_map(|i| FrameSocket::frame(&batch, i));
        frames.filter(|frame| want(frame)).map(|frame| frame.bytes.to_vec()).next()
    })
}

/// The link once netlink says what is wanted and none of its addresses is tentative.
fn settled(want: impl Fn(&LinkMonitor) -> bool, id: LinkId) -> Link {
    let mut monitor = LinkMonitor::open().unwrap();
    wait_for("addresses", || {
        monitor.poll(&mut Vec::new()).unwrap();
        let link = monitor.link(id).unwrap();
        let is_settled = link.addrs6.iter().all(|a| a.state != AddrState::Tentative);
        (is_settled && want(&monitor)).then(|| link.clone())
    })
}

/// The link-local address of an interface, once the kernel uses it.
fn settled_link_local(name: &str) -> Ipv6Addr {
    let id = index(name);
    settled(|m| !m.link(id).unwrap().addrs6.is_empty(), id).link_local()
}

fn link(name: &str) -> Link {
    let mut monitor = LinkMonitor::open().unwrap();
    monitor.poll(&mut Vec::new()).unwrap();
    monitor.link(index(name)).unwrap().clone()
}

fn sysctl(interface: &str, key: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/{key}"), value).unwrap();
}

/// What a command prints.
fn run_output(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let output = std::process::Command::new(words[0]).args(&words[1..]).output();
    let output = output.expect("ip (Debian package iproute2)");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
