//! Packet and UDP sockets on real interfaces, each test in a network namespace of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic is how a test fails.

mod net_rig;

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket as StdUdpSocket};

use foreshadow::base::{Mac, Span};
use foreshadow::net::raw::Checksum;
use foreshadow::net::udp::overruns_of_host;
use foreshadow::net::{
    FrameSocket, Mode, Outbox, Poller, RecvBatch, RoutedSocket, Takes, Token, UdpSocket,
};
use net_rig::{END, Request, frames_until_end, index, inject, ip, veth, wait_for};

const RELAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

isolated_tests! {
    fn the_filter_passes_what_is_for_a_server_on_the_link() {
        veth("va", "vb");
        let socket = FrameSocket::dhcp(index("va"), Mode::Serve).unwrap();
        let b = index("vb");
        let plain = Request::default();
        let foreign = Request { dst_port: 68, giaddr: RELAY, xid: [5; 4], ..plain.clone() };
        let first = Request { fragment: 0x2000, xid: [6; 4], ..plain.clone() };
        for frame in [
            &plain,
            &Request { giaddr: RELAY, ..plain.clone() },
            &Request { dst_port: 69, ..plain.clone() },
            &Request { fragment: 0x0002, ..plain.clone() },
            &foreign,
            &first,
            &Request::end(),
        ] {
            assert_eq!(inject(b, &frame.frame()).sent, 1);
        }
        inject(b, &[0xff; 60]);
        let seen = frames_until_end(&socket, |frame| frame.bytes.to_vec());
        assert_eq!(seen, [plain.frame(), foreign.frame(), first.frame()]);
    }

    fn a_tagged_frame_is_told_apart() {
        veth("va", "vb");
        let socket = FrameSocket::dhcp(index("va"), Mode::Serve).unwrap();
        let b = index("vb");
        for vlan in [Some(7), None, Some(0)] {
            inject(b, &Request { vlan, ..Request::default() }.frame());
        }
        inject(b, &Request::end().frame());
        let seen = frames_until_end(&socket, |frame| (frame.vlan, frame.bytes.len()));
        let untagged = Request::default().frame().len();
        let want = [(Some(7), untagged), (None, untagged), (None, untagged)];
        assert_eq!(seen, want, "the tag is told beside the frame, priority alone is no tag");
    }

    fn a_checksum_left_to_hardware_is_told() {
        veth("va", "vb");
        ip("addr add 10.0.0.2/24 dev vb");
        let socket = FrameSocket::dhcp(index("va"), Mode::Serve).unwrap();
        // The kernel leaves the checksum of what it sends to the interface; our own frames are
        // whole.
        let sender = StdUdpSocket::bind("10.0.0.2:0").unwrap();
        sender.set_broadcast(true).unwrap();
        sender.send_to(&Request::default().packet()[28..], "10.0.0.255:67").unwrap();
        inject(index("vb"), &Request::default().frame());
        inject(index("vb"), &Request::end().frame());
        let seen = frames_until_end(&socket, |frame| frame.checksum);
        assert_eq!(seen, [Checksum::NotReady, Checksum::Unknown]);
    }

    fn a_frame_for_another_host_is_told() {
        veth("va", "vb");
        ip("link set va promisc on");
        let socket = FrameSocket::dhcp(index("va"), Mode::Serve).unwrap();
        let stranger = Request { dst_mac: Mac([2, 9, 9, 9, 9, 9]), ..Request::default() };
        inject(index("vb"), &stranger.frame());
        inject(index("vb"), &Request::default().frame());
        inject(index("vb"), &Request::end().frame());
        let seen = frames_until_end(&socket, |frame| (frame.to_other_host, frame.outgoing));
        assert_eq!(seen, [(true, false), (false, false)]);
    }

    fn an_observer_hears_everything_and_says_nothing() {
        veth("va", "vb");
        let (a, b) = (index("va"), index("vb"));
        let observer = FrameSocket::dhcp(a, Mode::Observe).unwrap();
        let server = FrameSocket::dhcp(a, Mode::Serve).unwrap();
        let stranger = Mac([2, 9, 9, 9, 9, 9]);
        inject(b, &Request { giaddr: RELAY, dst_mac: stranger, ..Request::default() }.frame());
        // The server on this host answers.
        inject(a, &Request { dst_port: 68, ..Request::default() }.frame());
        inject(b, &Request::end().frame());
        let look = |frame: foreshadow::net::Frame<'_>| (frame.outgoing, frame.to_other_host);
        assert_eq!(frames_until_end(&observer, look), [(false, true), (true, false)]);
        assert_eq!(frames_until_end(&server, look), [], "a server does not hear its own host");
        let mut outbox = Outbox::default();
        outbox.push(|bytes| bytes.extend(Request::default().frame()));
        let outcome = observer.send(&mut outbox);
        assert_eq!((outcome.sent, outcome.failed, outbox.is_empty()), (0, 1, true));
    }

    fn arp_has_a_socket_of_its_own() {
        veth("va", "vb");
        ip("addr add 10.0.0.1/24 dev va");
        let (a, b) = (index("va"), index("vb"));
        let socket = FrameSocket::arp(b, Mode::Serve).unwrap();
        let me = mac_of("vb").0;
        let mut probe = vec![0xff; 6];
        probe.extend(me);
        probe.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        probe.extend(me);
        probe.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
        let tagged = [&probe[..12], &[0x81, 0, 0, 7], &probe[12..]].concat();
        inject(b, &probe);
        inject(a, &tagged);
        inject(a, &Request::default().frame());
        let mut batch = RecvBatch::default();
        // The kernel answers for the address of the other end.
        let mut seen = Vec::new();
        wait_for("an ARP reply and a tagged probe", || {
            for i in 0..socket.recv(&mut batch).unwrap() {
                let frame = FrameSocket::frame(&batch, i).unwrap();
                seen.push((frame.bytes[21], frame.to_other_host));
            }
            (seen.len() >= 2).then_some(())
        });
        assert_eq!(seen, [(2, false), (1, true)]);
    }

    fn what_overruns_the_buffer_is_counted() {
        veth("va", "vb");
        let socket = FrameSocket::dhcp(index("va"), Mode::Serve).unwrap();
        let sender = FrameSocket::dhcp(index("vb"), Mode::Serve).unwrap();
        assert_eq!(socket.take_overruns().unwrap(), 0);
        let (frame, mut outbox, mut sent) = (Request::default().frame(), Outbox::default(), 0);
        let lost = wait_for("an overrun", || {
            for _ in 0..1000 {
                outbox.push(|bytes| bytes.extend_from_slice(&frame));
            }
            sent += sender.send(&mut outbox).sent;
            Some(socket.take_overruns().unwrap()).filter(|lost| *lost > 0)
        });
        let (mut batch, mut received) = (RecvBatch::default(), 0);
        while socket.recv(&mut batch).unwrap() > 0 {
            received += batch.len() as u64;
        }
        assert!(received >= 10_000, "the buffer holds a storm, not just {received}");
        assert!(lost + received <= sent);
        assert_eq!(socket.take_overruns().unwrap(), 0);
    }

    fn long_packets_are_marked_truncated() {
        veth("va", "vb");
        ip("link set va mtu 9000");
        ip("link set vb mtu 9000");
        let socket = FrameSocket::dhcp(index("va"), Mode::Serve).unwrap();
        let mut long = Request::default().frame();
        long.resize(8000, 0);
        inject(index("vb"), &long);
        inject(index("vb"), &Request::end().frame());
        let seen = frames_until_end(&socket, |frame| (frame.truncated, frame.bytes.len()));
        assert_eq!(seen, [(true, 4096)]);
    }

    fn udp_takes_what_a_relay_forwarded_and_tells_where_it_went() {
        veth("va", "vb");
        ip("addr add 10.0.0.1/24 dev va");
        let (a, b) = (index("va"), index("vb"));
        let a_mac = mac_of("va");
        let served = UdpSocket::open(a, Takes::Relayed).unwrap();
        let relayed = Request {
            dst_mac: a_mac,
            src: Ipv4Addr::new(10, 0, 0, 9),
            dst: Ipv4Addr::new(10, 0, 0, 1),
            giaddr: RELAY,
            ..Request::default()
        };
        inject(b, &Request { giaddr: Ipv4Addr::UNSPECIFIED, ..relayed.clone() }.frame());
        inject(b, &Request::default().frame());
        inject(b, &relayed.frame());
        let mut batch = RecvBatch::default();
        wait_for("a datagram", || (served.recv(&mut batch).unwrap() > 0).then_some(()));
        assert_eq!(batch.len(), 1);
        let got = UdpSocket::datagram(&batch, 0).unwrap();
        assert_eq!(got.src, SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 68));
        assert_eq!(got.dst, Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(got.bytes, &relayed.packet()[28..]);
        drop(served);
        let open = UdpSocket::open(a, Takes::Everything).unwrap();
        inject(b, &Request::default().frame());
        wait_for("a datagram", || (open.recv(&mut batch).unwrap() > 0).then_some(()));
        assert_eq!(UdpSocket::datagram(&batch, 0).unwrap().dst, Ipv4Addr::BROADCAST);
    }

    fn a_full_udp_buffer_is_counted_for_the_host() {
        veth("va", "vb");
        let before = overruns_of_host().unwrap();
        let _unread = UdpSocket::open(index("va"), Takes::Everything).unwrap();
        let sender = FrameSocket::dhcp(index("vb"), Mode::Serve).unwrap();
        let (frame, mut outbox) = (Request::default().frame(), Outbox::default());
        wait_for("an overrun", || {
            for _ in 0..1000 {
                outbox.push(|bytes| bytes.extend_from_slice(&frame));
            }
            sender.send(&mut outbox);
            (overruns_of_host().unwrap() > before).then_some(())
        });
    }

    fn routed_packets_follow_the_kernels_routes() {
        // Two links; the reply goes to a host behind a router on the second.
        veth("va", "vb");
        veth("vc", "vd");
        ip("addr add 10.0.0.1/24 dev va");
        ip("addr add 10.1.0.1/24 dev vc");
        ip("route add 10.9.0.0/16 via 10.1.0.9");
        ip("neigh add 10.1.0.9 lladdr 02:00:00:00:00:09 dev vc");
        ip("link set vd promisc on");
        let seen = FrameSocket::dhcp(index("vd"), Mode::Observe).unwrap();
        let routed = RoutedSocket::open().unwrap();
        let server = Ipv4Addr::new(192, 0, 2, 1);
        let to_relay = Request { dst: RELAY, giaddr: RELAY, ..Request::default() };
        let mut outbox = Outbox::default();
        for src in [Ipv4Addr::UNSPECIFIED, server] {
            // The Ethernet header is the kernel's to make.
            outbox.push(|bytes| bytes.extend(Request { src, ..to_relay.clone() }.frame()));
        }
        outbox.push(|bytes| bytes.extend(Request { xid: END, ..to_relay.clone() }.frame()));
        let unreachable = Request { dst: Ipv4Addr::new(203, 0, 113, 1), ..to_relay };
        outbox.push(|bytes| bytes.extend(unreachable.frame()));
        let outcome = routed.send(&mut outbox);
        assert_eq!((outcome.sent, outcome.failed), (3, 1));
        assert_eq!(outcome.last_error, Some(libc_enetunreach()));
        let sources = frames_until_end(&seen, |frame| {
            let ip = &frame.bytes[26..30];
            (Mac(frame.bytes[..6].try_into().unwrap()), [ip[0], ip[1], ip[2], ip[3]].into())
        });
        let router = Mac([2, 0, 0, 0, 0, 9]);
        assert_eq!(sources, [(router, Ipv4Addr::new(10, 1, 0, 1)), (router, server)]);
    }

    fn a_poller_reports_sockets_and_forgets_closed_ones() {
        veth("va", "vb");
        let socket = FrameSocket::dhcp(index("va"), Mode::Serve).unwrap();
        let mut poller = Poller::new().unwrap();
        poller.add(&socket, Token(3)).unwrap();
        inject(index("vb"), &Request::default().frame());
        let wait = Some(Span::from_secs(10));
        assert_eq!(poller.wait(wait).unwrap().next(), Some(Token(3)));
        drop(socket);
        assert_eq!(poller.wait(Some(Span::ZERO)).unwrap().next(), None);
    }

    fn another_server_on_another_bridge_lives() {
        for (bridge, port, guest, net) in [("br0", "p0", "g0", 0), ("br1", "p1", "g1", 1)] {
            ip(&format!("link add {bridge} type bridge"));
            ip(&format!("link set {bridge} up"));
            ip(&format!("addr add 10.0.{net}.1/24 dev {bridge}"));
            veth(port, guest);
            ip(&format!("link set {port} master {bridge}"));
        }
        let mut dnsmasq = std::process::Command::new("dnsmasq")
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"])
            .args(["--interface=br1", "--bind-interfaces", "--leasefile-ro", "--no-ping"])
            .args(["--pid-file=", "--dhcp-range=10.0.1.10,10.0.1.20", "--dhcp-authoritative"])
            .spawn()
            .expect("dnsmasq (Debian package dnsmasq-base)");
        let raw = FrameSocket::dhcp(index("br0"), Mode::Serve).unwrap();
        let udp = UdpSocket::open(index("br0"), Takes::Relayed).unwrap();
        // Each hears its own clients: dnsmasq offers on its bridge, we hear ours.
        let answers = FrameSocket::dhcp(index("g1"), Mode::Observe).unwrap();
        let mut batch = RecvBatch::default();
        let ask = Request { src_mac: mac_of("g1"), ..Request::default() };
        wait_for("an offer of dnsmasq", || {
            inject(index("g1"), &ask.frame());
            let count = answers.recv(&mut batch).unwrap();
            let is_offer = |i| {
                let frame = FrameSocket::frame(&batch, i).unwrap();
                !frame.outgoing && frame.bytes.get(36..38) == Some(&[0, 68])
            };
            (0..count).any(is_offer).then_some(())
        });
        assert_eq!(raw.recv(&mut batch).unwrap(), 0, "nothing of the other bridge");
        inject(index("g0"), &Request::default().frame());
        wait_for("our client", || (raw.recv(&mut batch).unwrap() == 1).then_some(()));
        let relayed = Request {
            dst_mac: mac_of("br0"),
            src: Ipv4Addr::new(10, 0, 0, 9),
            dst: Ipv4Addr::new(10, 0, 0, 1),
            giaddr: RELAY,
            ..Request::default()
        };
        inject(index("g0"), &relayed.frame());
        wait_for("our relay", || (udp.recv(&mut batch).unwrap() == 1).then_some(()));
        dnsmasq.kill().unwrap();
        dnsmasq.wait().unwrap();
    }
}

fn mac_of(name: &str) -> Mac {
    let mut monitor = foreshadow::net::LinkMonitor::open().unwrap();
    monitor.poll(&mut Vec::new()).unwrap();
    let found = monitor.links().find(|link| *link.name == *name).map(|link| link.mac);
    found.expect("an interface of this name")
}

/// `ENETUNREACH` on Linux.
fn libc_enetunreach() -> i32 {
    101
}
