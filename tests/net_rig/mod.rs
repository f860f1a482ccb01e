//! A network namespace for each test, and frames to send in it.
#![allow(dead_code)] // Each test file uses a part.
#![allow(clippy::expect_used)] // A panic is how a test fails.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use foreshadow::base::{LinkId, Mac};
use foreshadow::net::{Frame, FrameSocket, LinkEvent, LinkMonitor, Mode, Outbox, RecvBatch, Sent};

/// Set in the child process that runs a test's body.
const INSIDE: &str = "FORESHADOW_TEST_INSIDE";

/// Runs `body` in a new network namespace, which ends with it: the test binary runs itself again
/// under `unshare`. Needs root, as the sockets do.
pub(crate) fn isolated(test: &str, body: impl FnOnce()) {
    if std::env::var(INSIDE).as_deref() == Ok(test) {
        ip("link set lo up");
        return body();
    }
    let exe = std::env::current_exe().expect("path of the test binary");
    let status = Command::new("unshare")
        .args(["--net", "--kill-child", "--"])
        .arg(exe)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .status()
        .expect("unshare (Debian package util-linux)");
    assert!(status.success(), "{test} failed in its namespace: {status}");
}

/// Declares tests that run in a namespace of their own.
#[macro_export]
macro_rules! isolated_tests {
    ($($(#[$attr:meta])* fn $name:ident() $body:block)*) => {
        $($(#[$attr])* #[test] fn $name() {
            $crate::net_rig::isolated(stringify!($name), || $body);
        })*
    };
}

/// Runs `ip` with these arguments, parted by blanks.
pub(crate) fn ip(args: &str) {
    run(&format!("ip {args}"));
}

/// Runs a command to its end.
pub(crate) fn run(line: &str) {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    let output = Command::new(program).args(words).output().unwrap_or_else(|e| {
        panic!("{program}: {e} (ip, bridge: Debian package iproute2; dnsmasq: dnsmasq-base)")
    });
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A pair of linked interfaces, both up.
pub(crate) fn veth(a: &str, b: &str) {
    ip(&format!("link add {a} type veth peer name {b}"));
    ip(&format!("link set {a} up"));
    ip(&format!("link set {b} up"));
}

/// The index of an interface.
pub(crate) fn index(name: &str) -> LinkId {
    let path = format!("/sys/class/net/{name}/ifindex");
    // sysfs may show the namespace that it was mounted in: ask netlink.
    let mut monitor = LinkMonitor::open().expect("netlink");
    monitor.poll(&mut Vec::new()).expect("list of links");
    let found = monitor.links().find(|link| *link.name == *name).map(|link| link.id);
    found.unwrap_or_else(|| panic!("no interface {name} ({path})"))
}

/// Calls `probe` until it gives something; panics after ten seconds.
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited ten seconds for {what}");
        std::thread::yield_now();
    }
}

/// Sends one frame on an interface.
pub(crate) fn inject(link: LinkId, frame: &[u8]) -> Sent {
    let socket = FrameSocket::arp(link, Mode::Serve).expect("packet socket");
    let mut outbox = Outbox::default();
    outbox.push(|bytes| bytes.extend_from_slice(frame));
    socket.send(&mut outbox)
}

/// All frames up to the one whose transaction id is [`END`]; that one is left out.
pub(crate) fn frames_until_end<T>(socket: &FrameSocket, look: impl Fn(Frame<'_>) -> T) -> Vec<T> {
    let (mut batch, mut seen) = (RecvBatch::default(), Vec::new());
    wait_for("the last frame", || {
        let count = socket.recv(&mut batch).expect("receive");
        for i in 0..count {
            let frame = FrameSocket::frame(&batch, i).expect("a frame that was counted");
            if frame.bytes.windows(4).any(|window| window == END) {
                return Some(());
            }
            seen.push(look(frame));
        }
        None
    });
    seen
}

/// Marks the last frame of a test.
pub(crate) const END: [u8; 4] = *b"\xe0END";

/// A frame with a DHCP request, field by field.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) src_mac: Mac,
    pub(crate) dst_mac: Mac,
    pub(crate) vlan: Option<u16>,
    pub(crate) fragment: u16,
    pub(crate) src: Ipv4Addr,
    pub(crate) dst: Ipv4Addr,
    pub(crate) dst_port: u16,
    pub(crate) xid: [u8; 4],
    pub(crate) giaddr: Ipv4Addr,
}

impl Default for Request {
    fn default() -> Self {
        Request {
            src_mac: Mac([2, 0, 0, 0, 0, 1]),
            dst_mac: Mac::BROADCAST,
            vlan: None,
            fragment: 0,
            src: Ipv4Addr::UNSPECIFIED,
            dst: Ipv4Addr::BROADCAST,
            dst_port: 67,
            xid: [1, 2, 3, 4],
            giaddr: Ipv4Addr::UNSPECIFIED,
        }
    }
}

impl Request {
    pub(crate) fn end() -> Request {
        Request { xid: END, ..Request::default() }
    }

    /// From the IP header on; no UDP checksum.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let mut bootp = vec![1, 1, 6, 0];
        bootp.extend(self.xid);
        bootp.resize(24, 0);
        bootp.extend(self.giaddr.octets());
        bootp.extend(self.src_mac.0);
        bootp.resize(236, 0);
        bootp.extend([99, 130, 83, 99, 53, 1, 1, 255]);
        bootp.resize(300, 0);
        let mut packet = vec![0x45, 0];
        packet.extend((28 + bootp.len() as u16).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([64, 17, 0, 0]);
        packet.extend(self.src.octets());
        packet.extend(self.dst.octets());
        let sum = packet.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(c[1])).sum::<u32>();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(68u16.to_be_bytes());
        packet.extend(self.dst_port.to_be_bytes());
        packet.extend((8 + bootp.len() as u16).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(bootp);
        packet
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = self.dst_mac.0.to_vec();
        frame.extend(self.src_mac.0);
        if let Some(id) = self.vlan {
            frame.extend([0x81, 0]);
            frame.extend(id.to_be_bytes());
        }
        frame.extend([8, 0]);
        frame.extend(self.packet());
        frame
    }
}

/// Polls until an event satisfies `want`; all events up to then.
pub(crate) fn events_until(
    monitor: &mut LinkMonitor,
    want: impl Fn(&LinkMonitor, &LinkEvent) -> bool,
) -> Vec<LinkEvent> {
    let mut events = Vec::new();
    wait_for("a link event", || {
        monitor.poll(&mut events).expect("netlink");
        events.iter().any(|event| want(monitor, event)).then_some(())
    });
    events
}
