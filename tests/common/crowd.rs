//! Many scripted clients at once on one link.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::dhcp::{self, Message};
use super::link::{Raw, mac};
use super::world::Host;

/// After how long a client that hears nothing sends again.
const RESEND: Duration = Duration::from_secs(2);

/// Clients that all want an address now, a bounded number of them at a time.
pub(crate) struct Crowd {
    raw: Raw,
    /// How many clients wait for an answer at once.
    window: usize,
    next: u32,
    waiting: HashMap<u32, Waiting>,
    /// Every acknowledged address, and whose it is.
    pub(crate) acked: BTreeMap<Ipv4Addr, [u8; 6]>,
    /// How often a client had to send again.
    pub(crate) resent: usize,
    /// How often the server said NAK.
    pub(crate) naks: usize,
}

struct Waiting {
    message: Message,
    since: Instant,
}

impl Crowd {
    /// Clients on `eth0` of `host`; their hardware addresses are numbered from `first`.
    pub(crate) fn on(host: &Host, first: u32) -> Crowd {
        Crowd {
            raw: Raw::on(host),
            window: 32,
            next: first,
            waiting: HashMap::new(),
            acked: BTreeMap::new(),
            resent: 0,
            naks: 0,
        }
    }

    /// New clients come until `count` more addresses are acknowledged; `each` is called after
    /// every ACK with the number so far, and ends the run early by returning false.
    #[track_caller]
    pub(crate) fn lease(&mut self, count: usize, mut each: impl FnMut(usize) -> bool) {
        let goal = self.acked.len() + count;
        let deadline = Instant::now() + PATIENCE * 2;
        while self.acked.len() < goal {
            assert!(Instant::now() < deadline, "{} of {goal} addresses", self.acked.len());
            self.arrive(goal);
            if self.step() && !each(self.acked.len()) {
                return;
            }
        }
    }

    /// New clients come and ask for `length`, whether or not anyone answers.
    pub(crate) fn insist(&mut self, length: Duration) {
        let deadline = Instant::now() + length;
        while Instant::now() < deadline {
            self.arrive(usize::MAX);
            self.step();
        }
    }

    /// Reads what is still on its way until nothing comes any more, and forgets who waits.
    pub(crate) fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 10 {
            match self.raw.next_reply() {
                Some(seen) => self.note(&seen.message),
                None => quiet += 1,
            }
        }
        self.waiting.clear();
    }

    /// Every client that was acknowledged comes back by INIT-REBOOT; returns the addresses that
    /// were not acknowledged again.
    pub(crate) fn come_back(&mut self) -> Vec<Ipv4Addr> {
        let mut lost = Vec::new();
        for (addr, mac) in self.acked.clone() {
            let answer = self.raw.init_reboot(mac, addr);
            if !answer.is_some_and(|m| m.kind() == dhcp::ACK && m.yiaddr == addr) {
                lost.push(addr);
            }
        }
        lost
    }

    /// Lets new clients in while there is room.
    fn arrive(&mut self, goal: usize) {
        let room = self.window.min(goal - self.acked.len());
        while self.waiting.len() < room {
            let mut message = Message::request(dhcp::DISCOVER, self.raw.xid(), mac(self.next));
            message.flags = 0;
            self.next += 1;
            self.ask(message);
        }
    }

    fn ask(&mut self, message: Message) {
        self.raw.broadcast(&message);
        self.waiting.insert(message.xid, Waiting { message, since: Instant::now() });
    }

    /// Handles one reply, or sends again where none came; whether it was an ACK.
    fn step(&mut self) -> bool {
        let Some(seen) = self.raw.next_reply() else {
            self.resend();
            return false;
        };
        let reply = seen.message;
        self.note(&reply);
        let Some(asked) = self.waiting.get(&reply.xid).map(|w| w.message.kind()) else {
            return false;
        };
        match (asked, reply.kind()) {
            (dhcp::DISCOVER, dhcp::OFFER) => {
                let server = reply.server_id().unwrap_or(Ipv4Addr::UNSPECIFIED);
                let mut request = Message::request(dhcp::REQUEST, reply.xid, reply.chaddr)
                    .with(50, &reply.yiaddr.octets())
                    .with(54, &server.octets());
                request.flags = 0;
                self.ask(request);
                false
            }
            (dhcp::REQUEST, dhcp::ACK | dhcp::NAK) => {
                self.waiting.remove(&reply.xid);
                reply.kind() == dhcp::ACK
            }
            _ => false,
        }
    }

    /// Writes down what a reply promises.
    fn note(&mut self, reply: &Message) {
        match reply.kind() {
            dhcp::ACK => {
                let before = self.acked.insert(reply.yiaddr, reply.chaddr);
                let addr = reply.yiaddr;
                assert!(before.is_none_or(|mac| mac == reply.chaddr), "{addr} acknowledged twice");
            }
            dhcp::NAK => self.naks += 1,
            _ => {}
        }
    }

    fn resend(&mut self) {
        let late = |w: &&mut Waiting| w.since.elapsed() > RESEND;
        for waiting in self.waiting.values_mut().filter(late) {
            waiting.since = Instant::now();
            self.resent += 1;
            self.raw.broadcast(&waiting.message);
        }
    }
}
