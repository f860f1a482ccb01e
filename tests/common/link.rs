//! Frames on a link: what is seen there, and a scripted client that speaks raw frames.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pnet::datalink::{self, Channel, DataLinkReceiver, DataLinkSender, NetworkInterface};
use pnet::util::checksum;

use super::dhcp::{self, Message};
use super::world::Host;
use super::{PATIENCE, wait_for};

/// The broadcast hardware address.
pub(crate) const EVERYONE: [u8; 6] = [255; 6];

/// A DHCP message as it was seen on a link.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When it was read.
    pub(crate) at: Instant,
    pub(crate) eth_src: [u8; 6],
    pub(crate) eth_dst: [u8; 6],
    pub(crate) src: Ipv4Addr,
    pub(crate) dst: Ipv4Addr,
    pub(crate) dst_port: u16,
    pub(crate) message: Message,
}

impl Seen {
    /// A REQUEST of a client that renews: unicast, with its address (RFC 2131 s4.3.2).
    pub(crate) fn is_renewal(&self) -> bool {
        self.is_extension() && self.dst != Ipv4Addr::BROADCAST
    }

    /// A REQUEST of a client that rebinds: the same by broadcast.
    pub(crate) fn is_rebinding(&self) -> bool {
        self.is_extension() && self.dst == Ipv4Addr::BROADCAST
    }

    /// A REQUEST of a client that knows its address from before.
    pub(crate) fn is_init_reboot(&self) -> bool {
        let m = &self.message;
        m.kind() == dhcp::REQUEST
            && m.ciaddr.is_unspecified()
            && m.option(54).is_none()
            && m.option(50).is_some()
    }

    fn is_extension(&self) -> bool {
        let m = &self.message;
        m.kind() == dhcp::REQUEST && !m.ciaddr.is_unspecified() && m.option(54).is_none()
    }
}

/// Records every DHCP message on a link, in both directions, until dropped.
pub(crate) struct Sniffer<S = Seen> {
    seen: Arc<Mutex<Vec<S>>>,
    stop: Arc<AtomicBool>,
}

impl<S: Clone + Send + 'static> Sniffer<S> {
    /// Listens on `link` of `host` from now on, for what `dissect` knows.
    pub(crate) fn of(host: &Host, link: &str, dissect: fn(&[u8]) -> Option<S>) -> Sniffer<S> {
        let (_, mut receiver) = open(host, link);
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (record, ended) = (Arc::clone(&seen), Arc::clone(&stop));
        thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                if let Ok(frame) = receiver.next() {
                    record.lock().unwrap().extend(dissect(frame));
                }
            }
        });
        Sniffer { seen, stop }
    }

    /// Everything so far.
    pub(crate) fn all(&self) -> Vec<S> {
        self.seen.lock().unwrap().clone()
    }

    /// How many so far: a mark for [`Sniffer::wait_after`].
    pub(crate) fn mark(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Waits for a message like this, among all that were seen.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, like: impl Fn(&S) -> bool) -> S {
        self.wait_after(0, what, like)
    }

    /// Waits for a message like this among those after `mark`.
    #[track_caller]
    pub(crate) fn wait_after(&self, mark: usize, what: &str, like: impl Fn(&S) -> bool) -> S {
        wait_for(what, PATIENCE * 2, || {
            self.seen.lock().unwrap().iter().skip(mark).find(|seen| like(seen)).cloned()
        })
    }
}

impl Sniffer {
    /// Listens for DHCPv4 on `link` of `host` from now on.
    pub(crate) fn on(host: &Host, link: &str) -> Sniffer {
        Sniffer::of(host, link, dissect)
    }

    /// How many messages of this type were seen.
    pub(crate) fn count(&self, kind: u8) -> usize {
        self.all().iter().filter(|s| s.message.kind() == kind).count()
    }

    /// Waits for the answer (ACK or NAK) that follows `request`.
    #[track_caller]
    pub(crate) fn answer_to(&self, request: &Seen) -> Seen {
        self.wait("an answer", |seen| {
            seen.at >= request.at
                && seen.message.xid == request.message.xid
                && matches!(seen.message.kind(), dhcp::ACK | dhcp::NAK)
        })
    }
}

impl<S> Drop for Sniffer<S> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A scripted client on a link: it sends frames from any hardware address and reads all answers.
pub(crate) struct Raw {
    sender: Box<dyn DataLinkSender>,
    receiver: Box<dyn DataLinkReceiver>,
    next_xid: u32,
}

/// What a scripted client got.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) mac: [u8; 6],
    pub(crate) addr: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
}

static XID: AtomicU32 = AtomicU32::new(0x5eed_0000);

impl Raw {
    /// On `eth0` of `host`, which should have no address of its own.
    pub(crate) fn on(host: &Host) -> Raw {
        let (sender, receiver) = open(host, "eth0");
        // Transaction ids are unique over all scripted clients of the process.
        Raw { sender, receiver, next_xid: XID.fetch_add(0x1_0000, Ordering::Relaxed) }
    }

    /// A transaction id that nobody else uses.
    pub(crate) fn xid(&mut self) -> u32 {
        self.next_xid += 1;
        self.next_xid
    }

    /// Broadcasts a message from its own chaddr, as a client without an address does.
    pub(crate) fn broadcast(&mut self, message: &Message) {
        let frame = udp_frame(
            message.chaddr,
            EVERYONE,
            (message.ciaddr, Ipv4Addr::BROADCAST),
            &message.to_bytes(),
        );
        self.send(&frame);
    }

    /// Sends a message by unicast from its ciaddr to a server.
    pub(crate) fn unicast(&mut self, message: &Message, to_mac: [u8; 6], to: Ipv4Addr) {
        let bytes = message.to_bytes();
        self.send(&udp_frame(message.chaddr, to_mac, (message.ciaddr, to), &bytes));
    }

    /// Sends a frame as it is.
    pub(crate) fn send(&mut self, frame: &[u8]) {
        // A full transmit queue is no fault of the test: it drains within microseconds.
        wait_for("room to send", PATIENCE, || {
            matches!(self.sender.send_to(frame, None), Some(Ok(()))).then_some(())
        });
    }

    /// The next reply of a server to this transaction, if one comes within `patience`.
    pub(crate) fn reply(&mut self, xid: u32, patience: Duration) -> Option<Seen> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            let found = self.next_reply();
            if found.as_ref().is_some_and(|seen| seen.message.xid == xid) {
                return found;
            }
        }
        None
    }

    /// The next reply of a server to anybody; `None` after a few milliseconds without.
    pub(crate) fn next_reply(&mut self) -> Option<Seen> {
        let frame = self.receiver.next().ok()?;
        dissect(frame).filter(|seen| seen.message.op == 2)
    }

    /// Sends by broadcast until a reply comes, as clients do; `None` after five times.
    pub(crate) fn ask(&mut self, message: &Message) -> Option<Seen> {
        for _ in 0..5 {
            self.broadcast(message);
            let reply = self.reply(message.xid, Duration::from_secs(2));
            if reply.is_some() {
                return reply;
            }
        }
        None
    }

    /// DISCOVER to ACK, with these options in both messages.
    #[track_caller]
    pub(crate) fn lease_with(&mut self, mac: [u8; 6], options: &[(u8, Vec<u8>)]) -> Got {
        let xid = self.xid();
        let message = |kind| {
            let mut message = Message::request(kind, xid, mac);
            message.options.extend(options.iter().cloned());
            message
        };
        let offer = self.ask(&message(dhcp::DISCOVER)).expect("an OFFER").message;
        assert_eq!(offer.kind(), dhcp::OFFER);
        let server = offer.server_id().expect("an OFFER with a server identifier");
        let request =
            message(dhcp::REQUEST).with(50, &offer.yiaddr.octets()).with(54, &server.octets());
        let ack = self.ask(&request).expect("an ACK").message;
        assert_eq!(ack.kind(), dhcp::ACK, "of {}", offer.yiaddr);
        assert_eq!(ack.yiaddr, offer.yiaddr);
        Got { mac, addr: ack.yiaddr, server }
    }

    /// DISCOVER to ACK.
    #[track_caller]
    pub(crate) fn lease(&mut self, mac: [u8; 6]) -> Got {
        self.lease_with(mac, &[])
    }

    /// INIT-REBOOT: asks whether the address is still its own.
    pub(crate) fn init_reboot(&mut self, mac: [u8; 6], addr: Ipv4Addr) -> Option<Message> {
        let request = Message::request(dhcp::REQUEST, self.xid(), mac).with(50, &addr.octets());
        self.ask(&request).map(|seen| seen.message)
    }
}

/// A hardware address made of a number.
pub(crate) fn mac(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [0x02, 0xaa, a, b, c, d]
}

/// A frame with a UDP datagram from port 68 to port 67.
pub(crate) fn udp_frame(
    eth_src: [u8; 6],
    eth_dst: [u8; 6],
    (src, dst): (Ipv4Addr, Ipv4Addr),
    payload: &[u8],
) -> Vec<u8> {
    let udp_len = (payload.len() + 8) as u16;
    let mut ip = vec![0x45, 0];
    ip.extend((udp_len + 20).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    ip.extend(src.octets());
    ip.extend(dst.octets());
    let sum = checksum(&ip, 5);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut udp = Vec::with_capacity(usize::from(udp_len));
    for half in [68, 67, udp_len, 0] {
        udp.extend(half.to_be_bytes());
    }
    udp.extend(payload);
    let sum = pnet::util::ipv4_checksum(&udp, 3, &[], &src, &dst, pnet_udp());
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let mut frame = [eth_dst, eth_src].concat();
    frame.extend([8, 0]);
    frame.extend(ip);
    frame.extend(udp);
    frame
}

fn pnet_udp() -> pnet::packet::ip::IpNextHeaderProtocol {
    pnet::packet::ip::IpNextHeaderProtocols::Udp
}

/// A packet socket on `link` of `host`: both halves of it.
pub(crate) fn open(
    host: &Host,
    link: &str,
) -> (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>) {
    let interface = NetworkInterface {
        name: link.to_owned(),
        description: String::new(),
        index: host.index_of(link),
        mac: None,
        ips: Vec::new(),
        flags: 0,
    };
    let config = datalink::Config {
        read_timeout: Some(Duration::from_millis(20)),
        ..datalink::Config::default()
    };
    match host.enter(|| datalink::channel(&interface, config)) {
        Ok(Channel::Ethernet(sender, receiver)) => (sender, receiver),
        Ok(_) => panic!("no Ethernet channel on {link}"),
        Err(e) => panic!("packet socket on {link} of {}: {e}", host.name),
    }
}

/// The DHCP message in a frame, if it is one.
fn dissect(frame: &[u8]) -> Option<Seen> {
    let ip = frame.get(14..)?;
    if frame.get(12..14)? != [8, 0] || *ip.get(9)? != 17 {
        return None;
    }
    let word = |at: usize| Some(<[u8; 4]>::try_from(ip.get(at..at + 4)?).unwrap());
    let udp = ip.get(usize::from(ip[0] & 15) * 4..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    let dst_port = port(2)?;
    if !matches!(dst_port, 67 | 68) {
        return None;
    }
    Some(Seen {
        at: Instant::now(),
        eth_src: frame.get(6..12)?.try_into().ok()?,
        eth_dst: frame.get(..6)?.try_into().ok()?,
        src: Ipv4Addr::from(word(12)?),
        dst: Ipv4Addr::from(word(16)?),
        dst_port,
        message: Message::parse(udp.get(8..)?)?,
    })
}
