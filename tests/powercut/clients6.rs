//! Many DHCPv6 clients, each with an address and a prefix, that come, renew, forget, release and
//! decline, for as long as the ledger is open.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::common::dhcp6::{self, Held, Message6};
use crate::common::link::mac;
use crate::common::link6::{Raw6, duid};
use crate::common::world::Host;
use crate::ledger::{Family, Ledger};
use crate::replay::Random;

/// Of each client's IA_NA and IA_PD.
pub(crate) const IAID: u32 = 7;
/// Not more than there are addresses: a client that gets half of what it wants is no subject here.
const CLIENTS: u32 = 150;
/// Hardware addresses begin here: other machines than those of IPv4.
const FIRST: u32 = 0x0600_0000;
const WINDOW: usize = 16;
const PATIENCE: Duration = Duration::from_millis(700);

struct Client {
    mac: [u8; 6],
    held: Vec<Held>,
    server: Vec<u8>,
    busy: bool,
}

struct Waiting {
    client: usize,
    kind: u8,
    since: Instant,
}

pub(crate) struct Clients6<'a> {
    ledger: &'a Ledger,
    raw: Raw6,
    clients: Vec<Client>,
    waiting: HashMap<u32, Waiting>,
    xid: u32,
    random: Random,
}

impl<'a> Clients6<'a> {
    /// On `eth0` of `host`.
    pub(crate) fn on(host: &Host, ledger: &'a Ledger, seed: u64) -> Clients6<'a> {
        let client = |n| {
            let (held, server) = (Vec::new(), Vec::new());
            Client { mac: mac(FIRST + n), held, server, busy: false }
        };
        let clients = (0..CLIENTS).map(client).collect();
        let (raw, random) = (Raw6::on(host), Random::new(seed));
        Clients6 { ledger, raw, clients, waiting: HashMap::new(), xid: 0, random }
    }

    pub(crate) fn run(mut self) {
        while !self.ledger.is_over() {
            while self.waiting.len() < WINDOW {
                let client = self.random.below(self.clients.len());
                if !self.clients[client].busy {
                    self.act(client);
                }
            }
            if let Some(seen) = self.raw.next_answer() {
                self.hear(&seen.message);
            }
            let clients = &mut self.clients;
            self.waiting.retain(|_, waiting| {
                let stays = waiting.since.elapsed() < PATIENCE;
                clients[waiting.client].busy &= stays;
                stays
            });
        }
    }

    fn act(&mut self, client: usize) {
        if self.clients[client].held.is_empty() {
            return self.ask(client, dhcp6::SOLICIT, &[]);
        }
        let held = self.clients[client].held.clone();
        match self.random.below(100) {
            0..50 => self.ask(client, dhcp6::RENEW, &held),
            50..60 => self.ask(client, dhcp6::REBIND, &held),
            60..62 => {
                let address: Vec<Held> = held.into_iter().filter(|one| one.len == 128).collect();
                self.give_up(client, dhcp6::DECLINE, &address);
            }
            62..85 => self.give_up(client, dhcp6::RELEASE, &held),
            _ => self.clients[client].held.clear(),
        }
    }

    fn give_up(&mut self, client: usize, kind: u8, held: &[Held]) {
        let mac = self.clients[client].mac;
        for one in held {
            self.ledger.gives_up(one.name(), mac);
        }
        self.clients[client].held.clear();
        self.ask(client, kind, held);
    }

    fn ask(&mut self, client: usize, kind: u8, held: &[Held]) {
        self.xid += 1;
        let Client { mac, server, busy, .. } = &mut self.clients[client];
        let mut message = Message6::new(kind, self.xid).with(dhcp6::CLIENT_ID, &duid(*mac));
        if !matches!(kind, dhcp6::SOLICIT | dhcp6::REBIND) {
            message = message.with(dhcp6::SERVER_ID, server);
        }
        message = message.with_ias(IAID, held);
        if kind == dhcp6::DECLINE {
            // Prefixes are never declined (RFC 9915 s18.2.8).
            message.options.retain(|(code, _)| *code != dhcp6::IA_PD);
        }
        self.ledger.asks(Family::V6, self.xid);
        self.raw.multicast(*mac, &message);
        *busy = true;
        self.waiting.insert(self.xid, Waiting { client, kind, since: Instant::now() });
    }

    fn hear(&mut self, answer: &Message6) {
        let Some(Waiting { client, kind, .. }) = self.waiting.remove(&answer.xid) else { return };
        let Client { held, server, busy, .. } = &mut self.clients[client];
        *busy = false;
        let got = answer.held();
        match (kind, answer.kind) {
            (dhcp6::SOLICIT, dhcp6::ADVERTISE) if !got.is_empty() => {
                *server = answer.option(dhcp6::SERVER_ID).unwrap_or_default().to_vec();
                self.ask(client, dhcp6::REQUEST, &got);
            }
            (dhcp6::REQUEST | dhcp6::RENEW | dhcp6::REBIND, dhcp6::REPLY) => {
                self.ledger.acked();
                let alive = |one: &&Held| {
                    let same = |g: &Held| (g.addr, g.len) == (one.addr, one.len) && g.valid > 0;
                    got.iter().any(same)
                };
                for lost in held.iter().filter(|one| !alive(one)) {
                    self.ledger.is_refused(format!("{} to its client", lost.name()));
                }
                *held = got.into_iter().filter(|one| one.valid > 0).collect();
            }
            _ => {}
        }
    }
}
