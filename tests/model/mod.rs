//! Operations on the engine against a plain model: who was told that they have which address.
//!
//! The model knows nothing of tables and pools. It reads what leaves: an ACK makes a holder, time,
//! RELEASE and DECLINE end it. Two holders of one address, a lost lease after a restart, or an
//! ACK that was never durable are faults.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use foreshadow::base::{LinkId, Mac, NetworkId, Prefix4, Resource, Timestamp};
use foreshadow::config::{self, Policy};
use foreshadow::engine::effects::{LinkUp, Neighbour, Source};
use foreshadow::engine::{Arrival, Effects, Engine, Input};
use foreshadow::lease::{Change, Lease, Seq, State};
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::{Kind, Message, MessageType, options as opt};

/// One step. Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// A client's message: who, message type, address, and a bit set of oddities.
    Send { client: u8, kind: u8, addr: u8, odd: u8 },
    /// Somebody says by ARP that it has an address.
    Arp { client: u8, addr: u8 },
    /// Time passes, in units of 100 ms.
    Advance(u16),
    /// The store begins to hold commits back.
    Hold,
    /// What was held back is durable.
    Commit,
    /// What was held back is lost.
    Lose,
    /// The store works again after a loss.
    Repair,
    /// The server is killed and starts anew from what is durable.
    Crash,
    /// The other policy: another pool, another lease time.
    Reload,
    /// Raw bytes as a payload: a seed for them.
    Noise(u16),
}

impl Op {
    /// Reads one step from up to five bytes; every sequence of bytes is one.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Op {
        let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
        let wide = u16::from_be_bytes([at(1), at(2)]);
        match at(0) % 24 {
            0..=12 => Op::Send { client: at(1), kind: at(2), addr: at(3), odd: at(4) },
            13 | 14 => Op::Arp { client: at(1), addr: at(2) },
            15..=17 => Op::Advance(wide % 600),
            18 => Op::Hold,
            19 => Op::Commit,
            20 => Op::Lose,
            21 => Op::Repair,
            22 => Op::Crash,
            _ if at(1) % 2 == 0 => Op::Reload,
            _ => Op::Noise(wide),
        }
    }
}

const POLICIES: [&str; 2] = [
    "[[network]]\nname='lab'\ninterfaces=['br0']\nauthoritative=true\nquarantine='30s'\n\
     verify={ready=2,probes_per_s=50}\nlease={min='5s',default='60s'}\n\
     [[network.subnet]]\nprefix='10.0.0.0/24'\npools=['10.0.0.2-10.0.0.9']\n\
     [[network.reservation]]\nmac='02:00:00:00:00:01'\naddress='10.0.0.5'\n",
    "[[network]]\nname='lab'\ninterfaces=['br0']\nidentity='client-id'\nrapid_commit=true\n\
     quarantine='30s'\nverify=false\nlease={min='5s',default='20s'}\n\
     [[network.subnet]]\nprefix='10.0.0.0/24'\npools=['10.0.0.4-10.0.0.12']\n\
     [[network.reservation]]\nmac='02:00:00:00:00:02'\naddress='10.0.0.6'\n",
];

struct Told {
    client: Mac,
    id: Option<Vec<u8>>,
    until: Timestamp,
}

/// A batch that is not durable yet: its number, changes, replies, and when it was decided.
type Batch = (Seq, Vec<Change>, Vec<Vec<u8>>, Moment);

/// When something happened: by the clock, and in which step.
type Moment = (Timestamp, usize);
type Disk = BTreeMap<(NetworkId, Resource), Lease>;

/// The engine, its disk, and what clients were told.
pub(crate) struct Model {
    engine: Engine,
    policies: Vec<Arc<Policy>>,
    current: usize,
    now: Timestamp,
    disk: Disk,
    told: BTreeMap<Ipv4Addr, Told>,
    /// In which step a client last gave up whatever it had, or was about to be told.
    gave_up: BTreeMap<Mac, usize>,
    steps: usize,
    holding: bool,
    lost: bool,
    held: Vec<Batch>,
    last: Seq,
}

/// Plays all operations; panics with the first fault.
pub(crate) fn play(ops: &[Op]) {
    let mut model = Model::new();
    for (i, op) in ops.iter().enumerate() {
        model.step(*op);
        model.check(i, *op);
    }
}

impl Model {
    fn new() -> Model {
        let parse = |text: &&str| Arc::new(config::check(text, "model").expect("sound").policy);
        let policies: Vec<_> = POLICIES.iter().map(parse).collect();
        let now = Timestamp(1_700_000_000_000);
        let mut model = Model {
            engine: Engine::new(policies[0].clone(), Vec::new(), Seq(0)),
            policies,
            current: 0,
            now,
            disk: Disk::new(),
            told: BTreeMap::new(),
            gave_up: BTreeMap::new(),
            steps: 0,
            holding: false,
            lost: false,
            held: Vec::new(),
            last: Seq(0),
        };
        model.link_up();
        model
    }

    fn link_up(&mut self) {
        let up = LinkUp {
            link: LinkId(1),
            name: "br0".into(),
            network: NetworkId::of("lab"),
            mac: Mac([2, 0xff, 0, 0, 0, 1]),
            addrs: vec![(addr(1), Prefix4::new(addr(0), 24).expect("a prefix"))],
            addrs6: Vec::new(),
        };
        self.input(Input::LinkUp(up));
    }

    fn step(&mut self, op: Op) {
        self.steps += 1;
        match op {
            Op::Send { client, kind, addr, odd } => self.send(client, kind, addr, odd),
            Op::Arp { client, addr: last } => {
                let ip = addr(last % 16);
                let seen = Neighbour {
                    addr: ip.into(),
                    mac: mac(client),
                    frame_source: mac(client),
                    source: Source::Behind(mac(client)),
                };
                self.input(Input::Neighbour(LinkId(1), seen));
            }
            Op::Advance(units) => self.advance(u64::from(units) * 100),
            Op::Hold => self.holding = !self.lost,
            Op::Commit => self.commit_held(),
            Op::Lose => self.lose_held(),
            Op::Repair if self.lost => {
                self.lost = false;
                self.input(Input::StoreReady);
            }
            Op::Repair => {}
            Op::Crash => self.crash(),
            Op::Reload => {
                self.current = 1 - self.current;
                self.engine.set_policy(self.policies[self.current].clone());
            }
            Op::Noise(seed) => self.noise(seed),
        }
    }

    fn advance(&mut self, ms: u64) {
        let until = Timestamp(self.now.0 + ms);
        let mut in_vain = 0;
        while let Some(due) = self.engine.next_wakeup().filter(|due| *due <= until) {
            in_vain = if due > self.now { 0 } else { in_vain + 1 };
            assert!(in_vain < 100, "wakes up at {} again and again: {:?}", self.now.0, self.engine);
            self.now = self.now.max(due);
            self.input(Input::Tick);
        }
        self.now = until;
    }

    fn commit_held(&mut self) {
        for (seq, changes, replies, decided) in std::mem::take(&mut self.held) {
            self.durable(seq, changes, replies, decided);
        }
        self.holding = false;
    }

    fn lose_held(&mut self) {
        if let Some((first, ..)) = self.held.first() {
            let first = *first;
            self.held.clear();
            self.lost = true;
            self.holding = false;
            self.input(Input::CommitFailed(first));
        }
    }

    fn crash(&mut self) {
        self.held.clear();
        (self.holding, self.lost) = (false, false);
        let leases = self.disk.values().cloned().collect();
        self.engine = Engine::new(self.policies[self.current].clone(), leases, self.last);
        self.link_up();
    }

    fn send(&mut self, client: u8, kind: u8, last: u8, odd: u8) {
        let (mac, ip) = (mac(client), addr(last % 16));
        let kind = MessageType::from_byte(kind % 9).unwrap_or(MessageType::Discover);
        let mut packet = RequestV4::new(kind, mac).xid(self.now.0 as u32);
        let mut src = Ipv4Addr::UNSPECIFIED;
        if odd & 1 != 0 {
            packet = packet.ciaddr(ip);
            src = ip;
        } else {
            packet = packet.addr(opt::REQUESTED_IP, ip);
        }
        if odd & 2 != 0 {
            packet = packet.addr(opt::SERVER_ID, addr(1));
        }
        if odd & 4 != 0 {
            packet = packet.option(opt::CLIENT_ID, &[0, client % 12]);
        }
        if odd & 8 != 0 {
            packet = packet.option(opt::RAPID_COMMIT, &[]);
        }
        if odd & 16 != 0 {
            packet = packet.option(opt::LEASE_TIME, &opt::u32(u32::from(odd)));
        }
        // What a client gives back it no longer has, whether the server believes it or not.
        let gives_back = matches!(kind, MessageType::Release | MessageType::Decline);
        // And a client that starts over has dropped what it had.
        if gives_back || matches!(kind, MessageType::Discover) {
            self.told.retain(|_, t| t.client != mac);
            self.gave_up.insert(mac, self.steps);
        }
        self.input(Input::Packet4(arrival(mac, src), &packet.build()));
    }

    fn noise(&mut self, seed: u16) {
        let mut state = u32::from(seed) | 1;
        let bytes: Vec<u8> = (0..300)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        let mut packet = RequestV4::bootp(mac(7)).build();
        let from = usize::from(seed) % packet.len();
        packet[from..].copy_from_slice(&bytes[..300 - from]);
        self.input(Input::Packet4(arrival(mac(7), Ipv4Addr::UNSPECIFIED), &packet));
    }

    fn input(&mut self, input: Input<'_>) {
        let mut fx = Effects::default();
        self.engine.handle(self.now, input, &mut fx);
        let payload = |r: &foreshadow::engine::Reply| fx.bytes[r.payload.clone()].to_vec();
        for reply in fx.send_now.iter().map(payload) {
            let msg = Message::parse(&reply).expect("we write what we can read");
            assert!(
                msg.kind() != Kind::Dhcp(MessageType::Ack)
                    || msg.yiaddr().is_unspecified()
                    || self.is_durable(msg.yiaddr()),
                "an ACK left before its binding was durable"
            );
        }
        let after: Vec<_> = fx.send_after.iter().map(payload).collect();
        let Some(seq) = self.engine.end_batch() else {
            assert!(fx.changes.is_empty() && after.is_empty(), "changes without a batch");
            return;
        };
        self.last = seq;
        match (self.lost, self.holding) {
            (true, _) => panic!("a change while the store is lost: {:?}", fx.changes),
            (_, true) => self.held.push((seq, fx.changes, after, (self.now, self.steps))),
            (_, false) => self.durable(seq, fx.changes, after, (self.now, self.steps)),
        }
    }

    fn is_durable(&self, ip: Ipv4Addr) -> bool {
        let key = (NetworkId::of("lab"), ip.into());
        self.disk.get(&key).is_some_and(|l| l.state == State::Leased)
    }

    fn durable(&mut self, seq: Seq, changes: Vec<Change>, replies: Vec<Vec<u8>>, decided: Moment) {
        for change in changes {
            match change {
                Change::Put(l, _) => drop(self.disk.insert((l.network, l.resource), l)),
                Change::Remove(network, resource, _) => {
                    drop(self.disk.remove(&(network, resource)))
                }
                Change::Meta(..) | Change::Forget(_) | Change::Act(_) => {}
            }
        }
        for reply in replies {
            self.acknowledged(&reply, decided);
        }
        self.input(Input::Committed(seq));
    }

    /// An ACK left: its client is now the holder, and there must be no other.
    fn acknowledged(&mut self, reply: &[u8], (decided, step): Moment) {
        let msg = Message::parse(reply).expect("we write what we can read");
        assert_eq!(msg.kind(), Kind::Dhcp(MessageType::Ack));
        let client = msg.hw().mac().expect("Ethernet");
        let secs = msg.lease_time().expect("a lease time");
        // RFC 2131 s4.4.1: the client counts from when it asked.
        let until = Timestamp(decided.0 + u64::from(secs) * 1000);
        if let Some(other) = self.told.get(&msg.yiaddr()) {
            let over = other.until <= self.now || other.client == client;
            assert!(over, "{} is held by {} and {client}", msg.yiaddr(), other.client);
        }
        let id = msg.client_id().map(|id| id.to_vec());
        if self.gave_up.get(&client).is_some_and(|gave_up| *gave_up > step) {
            return;
        }
        // Who takes another address has given up the former.
        self.told.retain(|_, t| (t.client, &t.id) != (client, &id));
        self.told.insert(msg.yiaddr(), Told { client, id, until });
    }

    fn check(&self, at: usize, op: Op) {
        for (ip, told) in &self.told {
            if told.until <= self.now {
                continue;
            }
            let key = (NetworkId::of("lab"), Resource::V4(*ip));
            let stored = self.disk.get(&key);
            assert!(
                stored.is_some_and(|l| l.state == State::Leased && l.until >= told.until),
                "step {at} {op:?}: the lease of {ip} is not on disk: {stored:?}"
            );
        }
        let pending = |l: &Lease| self.engine.leases().is_pending(l.network, l.resource);
        for lease in self.engine.leases().iter().filter(|l| !pending(l)) {
            let stored = self.disk.get(&(lease.network, lease.resource));
            let same = stored.is_some_and(|s| *s == Lease { port: s.port, ..lease.clone() });
            assert!(same, "step {at} {op:?}: memory {lease:?}, disk {stored:?}");
        }
    }
}

fn arrival(mac: Mac, src: Ipv4Addr) -> Arrival {
    Arrival {
        link: LinkId(1),
        port: None,
        trusted: false,
        trunk: false,
        src_mac: Some(mac),
        src: SocketAddrV4::new(src, 68),
        dst: Ipv4Addr::BROADCAST,
        dst_port: 67,
    }
}

fn addr(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn mac(client: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, client % 12])
}
