//! Many scripted DHCPv6 clients at once on one link, each wanting an address and a prefix.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::dhcp6::{self, Held, Message6};
use super::link::mac;
use super::link6::{Raw6, duid};
use super::world::Host;

/// After how long a client that hears nothing sends again.
const RESEND: Duration = Duration::from_secs(2);
/// How many clients wait for an answer at once.
const WINDOW: usize = 32;
/// Of each client's IA_NA and IA_PD.
const IAID: u32 = 7;

/// Clients that all want an address and a prefix now, a bounded number of them at a time.
pub(crate) struct Crowd6 {
    raw: Raw6,
    next: u32,
    waiting: HashMap<u32, Waiting>,
    /// Every acknowledged address and prefix as `leases` writes it, and whose it is.
    pub(crate) acked: BTreeMap<String, [u8; 6]>,
    /// What each client was told to send with, and holds.
    clients: BTreeMap<[u8; 6], (Vec<u8>, Vec<Held>)>,
}

struct Waiting {
    mac: [u8; 6],
    message: Message6,
    since: Instant,
}

impl Crowd6 {
    /// Clients on `eth0` of `host`; their hardware addresses are numbered from `first`.
    pub(crate) fn on(host: &Host, first: u32) -> Crowd6 {
        let (waiting, acked, clients) = (HashMap::new(), BTreeMap::new(), BTreeMap::new());
        Crowd6 { raw: Raw6::on(host), next: first, waiting, acked, clients }
    }

    /// How many clients had their REPLY.
    pub(crate) fn served(&self) -> usize {
        self.clients.len()
    }

    /// New clients come until `count` more are served; `each` is called after every REPLY with
    /// the number so far, and ends the run early by returning false.
    #[track_caller]
    pub(crate) fn lease(&mut self, count: usize, mut each: impl FnMut(usize) -> bool) {
        let goal = self.served() + count;
        let deadline = Instant::now() + PATIENCE * 2;
        while self.served() < goal {
            assert!(Instant::now() < deadline, "{} of {goal} clients", self.served());
            self.arrive(goal);
            if self.step() && !each(self.served()) {
                return;
            }
        }
    }

    /// Reads what is still on its way until nothing comes any more, and forgets who waits.
    pub(crate) fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 10 {
            match self.raw.next_answer() {
                Some(seen) => {
                    self.note(&seen.message);
                }
                None => quiet += 1,
            }
        }
        self.waiting.clear();
    }

    /// Every client that was served renews; returns what was not renewed.
    pub(crate) fn renew_all(&mut self) -> Vec<String> {
        let clients = self.clients.clone();
        let renewed: Vec<_> = clients
            .iter()
            .map(|(mac, (server, held))| {
                let renew = self.message(dhcp6::RENEW, *mac).with(dhcp6::SERVER_ID, server);
                let reply = self.ask_alone(*mac, renew.with_ias(IAID, held));
                (held, reply.map(|reply| reply.held()).unwrap_or_default())
            })
            .collect();
        let lost = |(held, got): &(&Vec<Held>, Vec<Held>)| {
            let alive = |one: &&Held| {
                got.iter().any(|g| g.valid > 0 && (g.addr, g.len) == (one.addr, one.len))
            };
            held.iter().filter(|one| !alive(one)).map(Held::name).collect::<Vec<_>>()
        };
        renewed.iter().flat_map(lost).collect()
    }

    fn message(&mut self, kind: u8, mac: [u8; 6]) -> Message6 {
        self.next += 1;
        // Hardware addresses and transactions are numbered alike: neither comes twice.
        let xid = self.next & 0xff_ffff;
        Message6::new(kind, xid).with(dhcp6::CLIENT_ID, &duid(mac))
    }

    /// Sends until a REPLY comes, as clients do; `None` after five times.
    fn ask_alone(&mut self, mac: [u8; 6], message: Message6) -> Option<Message6> {
        for _ in 0..5 {
            self.raw.multicast(mac, &message);
            let deadline = Instant::now() + RESEND;
            while Instant::now() < deadline {
                let answer = self.raw.next_answer().map(|seen| seen.message);
                if let Some(reply) = answer.filter(|reply| reply.xid == message.xid) {
                    return Some(reply);
                }
            }
        }
        None
    }

    /// Lets new clients in while there is room.
    fn arrive(&mut self, goal: usize) {
        let room = WINDOW.min(goal - self.served());
        while self.waiting.len() < room {
            let mac = mac(self.next);
            let solicit = self.message(dhcp6::SOLICIT, mac).with_ias(IAID, &[]);
            self.ask(mac, solicit);
        }
    }

    fn ask(&mut self, mac: [u8; 6], message: Message6) {
        self.raw.multicast(mac, &message);
        self.waiting.insert(message.xid, Waiting { mac, message, since: Instant::now() });
    }

    /// Handles one answer, or sends again where none came; whether it was a REPLY.
    fn step(&mut self) -> bool {
        let Some(seen) = self.raw.next_answer() else {
            self.resend();
            return false;
        };
        let answer = seen.message;
        if self.note(&answer) {
            return true;
        }
        let asked = self.waiting.get(&answer.xid);
        let solicited = asked.filter(|w| w.message.kind == dhcp6::SOLICIT).map(|w| w.mac);
        if let (Some(mac), dhcp6::ADVERTISE) = (solicited, answer.kind) {
            self.waiting.remove(&answer.xid);
            let server = answer.option(dhcp6::SERVER_ID).unwrap_or_default();
            let request = self.message(dhcp6::REQUEST, mac).with(dhcp6::SERVER_ID, server);
            self.ask(mac, request.with_ias(IAID, &answer.held()));
        }
        false
    }

    /// Writes down what a REPLY promises; whether it was one to somebody who waits.
    fn note(&mut self, answer: &Message6) -> bool {
        if answer.kind != dhcp6::REPLY {
            return false;
        }
        let Some(Waiting { mac, .. }) = self.waiting.remove(&answer.xid) else { return false };
        let held = answer.held();
        assert_eq!(held.len(), 2, "one address and one prefix in {answer:?}");
        for one in &held {
            assert!(one.valid > 0, "{answer:?}");
            let before = self.acked.insert(one.name(), mac);
            assert!(before.is_none_or(|b| b == mac), "{} was given to two clients", one.name());
        }
        let server = answer.option(dhcp6::SERVER_ID).unwrap_or_default().to_vec();
        self.clients.insert(mac, (server, held));
        true
    }

    fn resend(&mut self) {
        let late = |w: &&mut Waiting| w.since.elapsed() > RESEND;
        for waiting in self.waiting.values_mut().filter(late) {
            waiting.since = Instant::now();
            self.raw.multicast(waiting.mac, &waiting.message);
        }
    }
}
