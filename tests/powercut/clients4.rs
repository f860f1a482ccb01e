//! Many DHCPv4 clients that come, renew, come back, forget, release and decline, for as long as the
//! ledger is open.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::common::dhcp::{self, Message};
use crate::common::link::{Raw, mac};
use crate::common::world::Host;
use crate::ledger::{Family, Ledger};
use crate::replay::Random;

/// More than there are addresses.
const CLIENTS: u32 = 260;
/// How many wait for an answer at once.
const WINDOW: usize = 24;
/// After how long a client that hears nothing begins anew.
const PATIENCE: Duration = Duration::from_millis(700);
/// Every so many clients ask for a lease of [`SHORT_S`] seconds, and forget it at once.
const SHORT_EVERY: u32 = 8;
const SHORT_S: u32 = 2;

struct Client {
    mac: [u8; 6],
    held: Option<Ipv4Addr>,
}

/// A client that waits for an answer.
struct Waiting {
    client: usize,
    /// What it asks for that it has already.
    has: Option<Ipv4Addr>,
    kind: u8,
    since: Instant,
}

pub(crate) struct Clients4<'a> {
    ledger: &'a Ledger,
    raw: Raw,
    /// Hardware and IP address of the server.
    server: ([u8; 6], Ipv4Addr),
    clients: Vec<Client>,
    waiting: HashMap<u32, Waiting>,
    busy: Vec<bool>,
    random: Random,
}

impl<'a> Clients4<'a> {
    /// On `eth0` of `host`.
    pub(crate) fn on(
        host: &Host,
        server: ([u8; 6], Ipv4Addr),
        ledger: &'a Ledger,
        seed: u64,
    ) -> Clients4<'a> {
        let clients: Vec<Client> =
            (0..CLIENTS).map(|n| Client { mac: mac(n), held: None }).collect();
        let busy = vec![false; clients.len()];
        let (raw, random) = (Raw::on(host), Random::new(seed));
        Clients4 { ledger, raw, server, clients, waiting: HashMap::new(), busy, random }
    }

    pub(crate) fn run(mut self) {
        while !self.ledger.is_over() {
            while self.waiting.len() < WINDOW {
                let client = self.random.below(self.clients.len());
                if !self.busy[client] {
                    self.act(client);
                }
            }
            if let Some(seen) = self.raw.next_reply() {
                self.hear(&seen.message);
            }
            let busy = &mut self.busy;
            self.waiting.retain(|_, waiting| {
                let stays = waiting.since.elapsed() < PATIENCE;
                busy[waiting.client] &= stays;
                stays
            });
        }
    }

    /// Does what comes to a client's mind.
    fn act(&mut self, client: usize) {
        let Client { mac, held } = self.clients[client];
        let Some(addr) = held else {
            let discover = self.message(dhcp::DISCOVER, mac);
            return self.ask(client, None, discover, false);
        };
        match self.random.below(100) {
            0..45 => {
                let renew = self.message(dhcp::REQUEST, mac).held_by(addr);
                let by_unicast = self.random.below(2) == 0;
                self.ask(client, held, renew, by_unicast);
            }
            45..60 => {
                let reboot = self.message(dhcp::REQUEST, mac).with(50, &addr.octets());
                self.ask(client, held, reboot, false);
            }
            60..62 => self.give_up(client, dhcp::DECLINE, addr),
            62..85 => self.give_up(client, dhcp::RELEASE, addr),
            // It forgets what it has, and begins anew.
            _ => self.clients[client].held = None,
        }
    }

    fn give_up(&mut self, client: usize, kind: u8, addr: Ipv4Addr) {
        let Client { mac, held } = &mut self.clients[client];
        let (mac, server) = (*mac, self.server);
        *held = None;
        self.ledger.gives_up(addr.to_string(), mac);
        let message = self.message(kind, mac).with(54, &server.1.octets());
        match kind {
            dhcp::RELEASE => self.raw.unicast(&message.held_by(addr), server.0, server.1),
            _ => self.raw.broadcast(&message.with(50, &addr.octets())),
        }
    }

    fn message(&mut self, kind: u8, mac: [u8; 6]) -> Message {
        let message = Message::request(kind, self.raw.xid(), mac);
        let number = u32::from_be_bytes([mac[2], mac[3], mac[4], mac[5]]);
        match kind {
            dhcp::DISCOVER | dhcp::REQUEST if number.is_multiple_of(SHORT_EVERY) => {
                message.with(51, &SHORT_S.to_be_bytes())
            }
            _ => message,
        }
    }

    fn ask(&mut self, client: usize, has: Option<Ipv4Addr>, message: Message, by_unicast: bool) {
        self.ledger.asks(Family::V4, message.xid);
        match by_unicast {
            true => self.raw.unicast(&message, self.server.0, self.server.1),
            false => self.raw.broadcast(&message),
        }
        self.busy[client] = true;
        let waiting = Waiting { client, has, kind: message.kind(), since: Instant::now() };
        self.waiting.insert(message.xid, waiting);
    }

    fn hear(&mut self, reply: &Message) {
        let Some(Waiting { client, has, kind, .. }) = self.waiting.remove(&reply.xid) else {
            return;
        };
        self.busy[client] = false;
        let mac = self.clients[client].mac;
        match (kind, reply.kind()) {
            (dhcp::DISCOVER, dhcp::OFFER) => {
                let mut request = self.message(dhcp::REQUEST, mac);
                request = request.with(50, &reply.yiaddr.octets());
                let server = self.server.1;
                self.ask(client, None, request.with(54, &server.octets()), false);
            }
            (dhcp::REQUEST, dhcp::ACK) => {
                self.ledger.acked();
                let is_short = reply.u32_option(51).is_some_and(|secs| secs <= SHORT_S);
                self.clients[client].held = (!is_short).then_some(reply.yiaddr);
            }
            (dhcp::REQUEST, dhcp::NAK) => {
                self.clients[client].held = None;
                if let Some(addr) = has {
                    self.ledger.is_refused(format!("{addr} to its client"));
                }
            }
            _ => {}
        }
    }
}
