//! A network namespace for each test, and frames to send in it.
#![allow(dead_code)] // Each test file uses a part.
#![allow(clippy::expect_used)] // A panic is how a test fails.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use foreshadow::base::{LinkId, Mac};
use foreshadow::net::{Frame, FrameSocket, LinkEvent, LinkMonitor, Mode, Outbox, RecvBatch, Sent};

pub(crate) mod v6;

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
    /// DHCP options without the end.
    pub(crate) options: Vec<u8>,
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
            options: vec![53, 1, 1],
        }
    }
}

impl Request {
    /// DHCPREQUEST for an address that `server` offered.
    pub(crate) fn select(&self, addr: Ipv4Addr, server: Ipv4Addr) -> Request {
        let mut options = vec![53, 1, 3, 50, 4];
        options.extend(addr.octets());
        options.extend([54, 4]);
        options.extend(server.octets());
        Request { options, ..self.clone() }
    }

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
        bootp.extend([99, 130, 83, 99]);
        bootp.extend(&self.options);
        bootp.push(255);
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

/// A DHCP reply as it lies in a frame, or in what follows an IP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Option 53: 2 is OFFER, 5 is ACK, 6 is NAK.
    pub(crate) kind: u8,
    pub(crate) xid: [u8; 4],
    pub(crate) yiaddr: Ipv4Addr,
    /// IP source.
    pub(crate) from: Ipv4Addr,
    /// Whether it echoes relay agent information.
    pub(crate) relay_info: bool,
}

/// Reads a reply to port 68 (or to a relay's 67) from a frame.
pub(crate) fn answer(frame: &[u8]) -> Option<Answer> {
    let bootp = frame.get(42..)?;
    if bootp.first() != Some(&2) {
        return None;
    }
    let ip = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from);
    let option = |code: u8| {
        let mut rest = bootp.get(240..)?;
        while *rest.first()? != code {
            rest = rest.get(2 + usize::from(*rest.get(1)?)..)?;
        }
        rest.get(2).copied()
    };
    Some(Answer {
        kind: option(53)?,
        relay_info: option(82).is_some(),
        xid: bootp.get(4..8)?.try_into().ok()?,
        yiaddr: ip(bootp.get(16..20)?)?,
        from: ip(frame.get(26..30)?)?,
    })
}

/// Somebody on the link: sends requests and hears answers.
pub(crate) struct Station {
    /// Closing a packet socket takes milliseconds, so it has one for all it sends.
    sender: FrameSocket,
    socket: FrameSocket,
    batch: RecvBatch,
    heard: std::collections::VecDeque<Answer>,
}

impl Station {
    pub(crate) fn on(name: &str) -> Station {
        let link = index(name);
        let socket = FrameSocket::dhcp(link, Mode::Observe).expect("packet socket");
        let sender = FrameSocket::arp(link, Mode::Serve).expect("packet socket");
        Station { sender, socket, batch: RecvBatch::default(), heard: Default::default() }
    }

    pub(crate) fn send(&self, request: &Request) {
        let mut outbox = Outbox::default();
        outbox.push(|bytes| bytes.extend(request.frame()));
        assert_eq!(self.sender.send(&mut outbox).sent, 1);
    }

    /// The next answer, if there is one by now.
    pub(crate) fn poll(&mut self) -> Option<Answer> {
        let count = self.socket.recv(&mut self.batch).expect("receive");
        for i in 0..count {
            let frame = FrameSocket::frame(&self.batch, i).expect("a frame that was counted");
            self.heard.extend(answer(frame.bytes).filter(|_| !frame.outgoing));
        }
        self.heard.pop_front()
    }

    /// Waits for an answer with this transaction id; others are forgotten.
    pub(crate) fn answer_to(&mut self, request: &Request) -> Answer {
        let want = request.xid;
        wait_for("an answer", || self.poll().filter(|answer| answer.xid == want))
    }

    /// Sends a request until it is answered: a bridge port that is new drops frames at first.
    pub(crate) fn ask(&mut self, request: &Request) -> Answer {
        let mut next = Instant::now();
        wait_for("an answer", || {
            if next <= Instant::now() {
                self.send(request);
                next += Duration::from_millis(200);
            }
            self.poll().filter(|answer| answer.xid == request.xid)
        })
    }
}
