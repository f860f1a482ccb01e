//! The twin of `tests/model` for DHCPv6: who was told that they have which addresses and prefixes.
//!
//! A REPLY makes a holder; time, RELEASE and DECLINE end it. Two holders of one address, prefixes
//! of two holders that overlap, a lost lease after a restart, a REPLY that was never durable, and
//! what is free in no pool though nobody holds it are faults.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

use foreshadow::base::{LinkId, Mac, NetworkId, Prefix6, Resource, Timestamp};
use foreshadow::config::{self, Policy};
use foreshadow::engine::effects::{Arrival6, LinkUp, Neighbour, Probe, Source};
use foreshadow::engine::{Destination, Effects, Engine, Input};
use foreshadow::lease::{Change, Lease, Seq, State};
use foreshadow::wire::v6_build::{RequestV6, ia_addr, ia_prefix};
use foreshadow::wire::{IaKind, Kind6, Message6, MessageType6};

/// One step. Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// A client's message: who, message type, which IAs, what they name, and a bit set of oddities.
    Send { client: u8, kind: u8, ias: u8, name: u8, odd: u8 },
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
    /// The other policy: other pools, prefixes of other lengths, another lease time.
    Reload,
    /// A message whose bytes from some place on are a seed's.
    Noise(u16),
}

impl Op {
    /// Reads one step from up to six bytes; every sequence of bytes is one.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Op {
        let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
        let wide = u16::from_be_bytes([at(1), at(2)]);
        match at(0) % 24 {
            0..=14 => Op::Send { client: at(1), kind: at(2), ias: at(3), name: at(4), odd: at(5) },
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
    "[[network]]\nname='lab'\ninterfaces=['br0']\nquarantine='30s'\nverify=false\n\
     lease={min='5s',default='60s'}\n\
     [[network.subnet]]\nprefix='2001:db8:1::/64'\npools=['2001:db8:1::1-2001:db8:1::7']\n\
     delegations=[{prefix='2001:db8:aa00::/56',length=60,min_length=58,max_length=61}]\n\
     [[network.reservation]]\nduid='0x00030001020000000001'\n\
     addresses=['2001:db8:1::5','2001:db8:1::e']\nprefixes=['2001:db8:aa00:40::/60']\n\
     [[network.reservation]]\nmac='02:00:00:00:00:02'\naddresses=['2001:db8:1::f']\n",
    "[[network]]\nname='lab'\ninterfaces=['br0']\nidentity='client-id'\nrapid_commit=true\n\
     quarantine='30s'\nverify=false\noffers_max=6\nlease={min='5s',default='20s'}\n\
     [[network.subnet]]\nprefix='2001:db8:1::/64'\npools=['2001:db8:1::4-2001:db8:1::a']\n\
     delegations=[{prefix='2001:db8:aa00::/56',length=59,min_length=57}]\n\
     [[network.reservation]]\nmac='02:00:00:00:00:03'\naddresses=['2001:db8:1::6']\n\
     prefixes=['2001:db8:aa00:80::/58']\n",
];

const DUID: &[u8] = b"\0\x04our-own-duid-1234";
/// Clients with hardware of their own.
const CLIENTS: u8 = 8;

struct Told {
    client: Mac,
    duid: Vec<u8>,
    until: Timestamp,
}

/// A batch that is not durable yet: its number, changes, replies, and when it was decided.
type Batch = (Seq, Vec<Change>, Vec<Sent>, Moment);
/// To whom, and what.
type Sent = (Mac, Vec<u8>);
/// When something happened: by the clock, in which step, and under which policy.
type Moment = (Timestamp, usize, usize);

/// The engine, its disk, and what clients were told.
pub(crate) struct Model {
    engine: Engine,
    policies: Vec<Arc<Policy>>,
    current: usize,
    /// The pools have ever been cut otherwise than now.
    now: Timestamp,
    disk: BTreeMap<(NetworkId, Resource), Lease>,
    told: BTreeMap<Resource, Told>,
    /// In which step a client last gave something up.
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
    model.check_pools();
}

impl Model {
    fn new() -> Model {
        let parse = |text: &&str| Arc::new(config::check(text, "model").expect("sound").policy);
        let policies: Vec<_> = POLICIES.iter().map(parse).collect();
        let mut model = Model {
            engine: Engine::new(policies[0].clone(), Vec::new(), Seq(0)),
            policies,
            current: 0,
            now: Timestamp(1_700_000_000_000),
            disk: BTreeMap::new(),
            told: BTreeMap::new(),
            gave_up: BTreeMap::new(),
            steps: 0,
            holding: false,
            lost: false,
            held: Vec::new(),
            last: Seq(0),
        };
        link_up(&mut model.engine, model.now);
        model
    }

    fn step(&mut self, op: Op) {
        self.steps += 1;
        match op {
            Op::Send { client, kind, ias, name, odd } => self.send(client, kind, ias, name, odd),
            Op::Advance(units) => self.advance(u64::from(units) * 100),
            Op::Hold => self.holding = !self.lost,
            Op::Commit => {
                for (seq, changes, replies, decided) in std::mem::take(&mut self.held) {
                    self.durable(seq, changes, replies, decided);
                }
                self.holding = false;
            }
            Op::Lose => {
                if let Some(first) = self.held.first().map(|(seq, ..)| *seq) {
                    self.held.clear();
                    (self.lost, self.holding) = (true, false);
                    self.input(Input::CommitFailed(first));
                }
            }
            Op::Repair => {
                if std::mem::take(&mut self.lost) {
                    self.input(Input::StoreReady);
                }
            }
            Op::Crash => {
                self.held.clear();
                (self.holding, self.lost) = (false, false);
                self.engine = self.restarted();
            }
            Op::Reload => {
                self.current = 1 - self.current;
                self.engine.set_policy(self.policies[self.current].clone());
            }
            Op::Noise(seed) => self.noise(seed),
        }
    }

    fn restarted(&self) -> Engine {
        let leases = self.disk.values().cloned().collect();
        let mut engine = Engine::new(self.policies[self.current].clone(), leases, self.last);
        link_up(&mut engine, self.now);
        engine
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

    fn send(&mut self, client: u8, kind: u8, ias: u8, name: u8, odd: u8) {
        let mac = mac(client);
        let (packet, kind, named) = message(client, kind, ias, name, odd, self.now.0 as u32);
        // What a client gives back it no longer has, whether the server believes it or not; and
        // one that starts over has dropped what it had.
        let starts_over = kind == MessageType6::Solicit;
        if starts_over || matches!(kind, MessageType6::Release | MessageType6::Decline) {
            self.told.retain(|resource, told| {
                told.client != mac || !(starts_over || named.contains(resource))
            });
            self.gave_up.insert(mac, self.steps);
        }
        self.input(Input::Packet6(arrival(mac), &packet));
    }

    fn noise(&mut self, seed: u16) {
        let [a, b] = seed.to_be_bytes();
        // Not of a type that tells the server what its sender gives up.
        let (mut packet, ..) = message(7, [1, 3, 4][usize::from(a % 3)], a, b, 1, u32::from(seed));
        let from = 4 + usize::from(seed) % (packet.len() - 4);
        let mut state = u32::from(seed) | 1;
        for byte in &mut packet[from..] {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        self.input(Input::Packet6(arrival(mac(7)), &packet));
    }

    fn input(&mut self, input: Input<'_>) {
        let mut fx = Effects::default();
        self.engine.handle(self.now, input, &mut fx);
        let probes = std::mem::take(&mut fx.probes);
        self.carry_out(fx);
        probes.iter().for_each(|probe| self.answer(probe));
    }

    /// The holder of an address answers for it, if it is the one who is asked. All machines live.
    fn answer(&mut self, probe: &Probe) {
        let has = |(resource, told): &(&Resource, &Told)| {
            **resource == probe.target.into() && told.until > self.now
        };
        let machine = (0..CLIENTS).map(mac).find(|mac| mac.link_local() == probe.target);
        let holder = machine.or_else(|| self.told.iter().find(has).map(|(_, told)| told.client));
        if let Some(mac) = holder.filter(|mac| probe.to.is_none_or(|to| to == *mac)) {
            let seen = Neighbour {
                addr: probe.target,
                mac,
                frame_source: mac,
                source: Source::Behind(mac),
            };
            self.input(Input::Neighbour(probe.link, seen));
        }
    }

    fn carry_out(&mut self, fx: Effects) {
        let payload = |r: &foreshadow::engine::Reply| {
            let Destination::Frame6 { mac, .. } = r.to else { panic!("sent to {:?}", r.to) };
            (mac, fx.bytes[r.payload.clone()].to_vec())
        };
        for (_, reply) in fx.send_now.iter().map(payload) {
            assert!(granted(&reply).is_empty(), "a promise left before it was durable");
        }
        let after: Vec<Sent> = fx.send_after.iter().map(payload).collect();
        let Some(seq) = self.engine.end_batch() else {
            assert!(fx.changes.is_empty(), "changes without a batch");
            assert!(
                after.iter().all(|(_, reply)| granted(reply).is_empty()),
                "a promise of nothing"
            );
            return;
        };
        self.last = seq;
        let moment = (self.now, self.steps, self.current);
        match (self.lost, self.holding) {
            (true, _) => panic!("a change while the store is lost: {:?}", fx.changes),
            (_, true) => self.held.push((seq, fx.changes, after, moment)),
            (_, false) => self.durable(seq, fx.changes, after, moment),
        }
    }

    fn durable(&mut self, seq: Seq, changes: Vec<Change>, replies: Vec<Sent>, decided: Moment) {
        for change in changes {
            match change {
                Change::Put(l, _) => drop(self.disk.insert((l.network, l.resource), l)),
                Change::Remove(network, resource, _) => {
                    drop(self.disk.remove(&(network, resource)))
                }
                Change::Meta(..) | Change::Forget(_) | Change::Act(_) => {}
            }
        }
        for (client, reply) in replies {
            self.acknowledged(client, &reply, decided);
        }
        self.input(Input::Committed(seq));
    }

    /// A REPLY left: its client is now the holder of what it grants, and there must be no other.
    fn acknowledged(&mut self, client: Mac, reply: &[u8], (decided, step, policy): Moment) {
        let msg = Message6::parse(reply).expect("we write what we can read");
        let duid = msg.client_id().unwrap_or_default().to_vec();
        for (resource, valid) in granted(reply) {
            for (other, told) in self.told.iter().filter(|(other, _)| overlap(**other, resource)) {
                // A machine is itself by whatever name, and by policy who has its name.
                let itself = told.client == client
                    || (*other == resource && told.duid == duid && policy == 1);
                let over = told.until <= self.now || itself;
                assert!(over, "{resource} of {client} is held as {other} by {}", told.client);
            }
            if self.gave_up.get(&client).is_some_and(|gave_up| *gave_up > step) {
                self.told.remove(&resource);
                continue;
            }
            let until = Timestamp(decided.0 + u64::from(valid) * 1000);
            self.told.insert(resource, Told { client, duid: duid.clone(), until });
        }
    }

    fn check(&self, at: usize, op: Op) {
        for (resource, told) in self.told.iter().filter(|(_, told)| told.until > self.now) {
            let stored = self.disk.get(&(NetworkId::of("lab"), *resource));
            assert!(
                stored.is_some_and(|l| l.state == State::Leased && l.until >= told.until),
                "step {at} {op:?}: the lease of {resource} is not on disk: {stored:?}"
            );
        }
        let pending = |l: &Lease| self.engine.leases().is_pending(l.network, l.resource);
        for lease in self.engine.leases().iter().filter(|l| !pending(l)) {
            let stored = self.disk.get(&(lease.network, lease.resource));
            let same = stored.is_some_and(|s| *s == Lease { port: s.port, ..lease.clone() });
            assert!(same, "step {at} {op:?}: memory {lease:?}, disk {stored:?}");
        }
    }

    /// Once all offers have lapsed, what is free is what a restart would find free.
    fn check_pools(&mut self) {
        self.step(Op::Commit);
        self.step(Op::Repair);
        self.advance(200_000);
        let free = |engine: &Engine| -> Vec<u128> {
            let net = &engine.networks()[0];
            let addrs = net.pools6.iter().map(|p| p.free.available());
            addrs.chain(net.delegations.iter().map(|p| p.free.available())).collect()
        };
        assert_eq!(self.engine.offers().iter().count(), 0);
        assert_eq!(free(&self.engine), free(&self.restarted()), "lost from a pool");
    }
}

/// What a REPLY promises, with valid lifetimes in seconds. Every answer is checked for its form.
fn granted(reply: &[u8]) -> Vec<(Resource, u32)> {
    assert!(reply.len() <= 1452, "an answer of {} bytes", reply.len());
    let msg = Message6::parse(reply).expect("we write what we can read");
    assert_eq!(msg.server_id(), Some(DUID));
    if msg.kind() != Kind6::Known(MessageType6::Reply) {
        return Vec::new();
    }
    let mut seen = Vec::new();
    let mut out = Vec::new();
    for ia in msg.ias() {
        assert!(!seen.contains(&(ia.kind, ia.iaid)), "two answers for one IA");
        seen.push((ia.kind, ia.iaid));
        let before = out.len();
        out.extend(ia.addrs().map(|a| (Resource::V6(a.addr), a.valid)));
        out.extend(ia.prefixes().map(|p| (Resource::Prefix6(p.prefix, p.len), p.valid)));
        let live = out[before..].iter().any(|(_, valid)| *valid > 0);
        assert!(!live || (ia.status().is_none() && ia.t1 <= ia.t2 && ia.t1 > 0));
    }
    out.retain(|(_, valid)| *valid > 0);
    out
}

fn overlap(one: Resource, other: Resource) -> bool {
    let prefix = |resource| match resource {
        Resource::Prefix6(addr, len) => Prefix6::new(addr, len),
        _ => None,
    };
    match (prefix(one), prefix(other)) {
        (Some(one), Some(other)) => one.overlaps(&other),
        _ => one == other,
    }
}

/// A message, of which kind it is, and what its IAs name.
fn message(
    client: u8,
    kind: u8,
    ias: u8,
    name: u8,
    odd: u8,
    xid: u32,
) -> (Vec<u8>, MessageType6, Vec<Resource>) {
    use MessageType6::*;
    let kinds = [Solicit, Request, Confirm, Renew, Rebind, Release, Decline, InformationRequest];
    let kind = kinds[usize::from(kind % 8)];
    let mut packet = RequestV6::new(kind, xid).client_id(&duid(client, odd)).oro(&[23]);
    if matches!(kind, Request | Renew | Release | Decline) != (odd & 128 != 0) {
        packet = packet.server_id(DUID);
    }
    if odd & 8 != 0 {
        packet = packet.rapid_commit();
    }
    let mut named = Vec::new();
    for i in 0..=(ias & 3) {
        // Without that bit all IAs have one IAID.
        let iaid = 1 + if ias & 64 != 0 { u32::from(i) } else { 0 };
        let at = name.wrapping_add(i);
        let delegates = ias >> (2 + i) & 1 != 0;
        let len = 57 + (at >> 4) % 5;
        let addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(at % 16));
        let prefix = Ipv6Addr::new(0x2001, 0xdb8, 0xaa00, u16::from(at % 16) << 4, 0, 0, 0, 0);
        let inside = match (odd & 1 != 0, delegates) {
            (false, _) => Vec::new(),
            (true, false) => {
                named.push(Resource::V6(addr));
                vec![ia_addr(addr, 0, 0, &[])]
            }
            (true, true) => {
                let whole = Prefix6::new(prefix, len).expect("a prefix");
                named.push(Resource::Prefix6(whole.network(), len));
                vec![ia_prefix(prefix, len, 0, 0, &[])]
            }
        };
        packet = packet.ia(if delegates { IaKind::Pd } else { IaKind::Na }, iaid, &inside);
    }
    (packet.build(), kind, named)
}

/// A client's DUID: its own, one that all clones share, or what its firmware calls itself.
fn duid(client: u8, odd: u8) -> Vec<u8> {
    let Mac(mac) = mac(client);
    match odd & 6 {
        2 => b"\0\x02image".to_vec(),
        4 => [&[0, 4][..], &mac].concat(),
        _ => [&[0, 3, 0, 1][..], &mac].concat(),
    }
}

fn link_up(engine: &mut Engine, now: Timestamp) {
    engine.set_identity(DUID, [7; 16]);
    let up = LinkUp {
        link: LinkId(1),
        name: "br0".into(),
        network: NetworkId::of("lab"),
        mac: Mac([2, 0xff, 0, 0, 0, 1]),
        addrs: Vec::new(),
        addrs6: vec![Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)],
    };
    engine.handle(now, Input::LinkUp(up), &mut Effects::default());
}

fn arrival(mac: Mac) -> Arrival6 {
    Arrival6 {
        link: LinkId(1),
        port: None,
        trunk: false,
        src_mac: Some(mac),
        src: SocketAddrV6::new(mac.link_local(), 546, 0, 0),
        dst: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2),
    }
}

fn mac(client: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, client % CLIENTS])
}
