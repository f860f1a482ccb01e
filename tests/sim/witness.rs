//! What must hold, judged from outside: by what reaches the server, what leaves it, and what its
//! disk would say after a power cut. It knows nothing of tables and pools.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Ipv4Addr;

use foreshadow::base::{Mac, Resource, Timestamp};
use foreshadow::lease::{Lease, State};
use foreshadow::store::Contents;
use foreshadow::wire::{Kind, Message, MessageType};

/// How long an answer may take: a disk that hangs makes it late, and no longer than that here.
const ANSWER_WITHIN: u64 = 600_000;

/// Somebody was told that an address is theirs.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) client: Mac,
    /// What it calls itself: all clones do alike.
    pub(crate) name: Vec<u8>,
    /// By everybody's time.
    pub(crate) until: u64,
    /// By the server's.
    pub(crate) until_server: Timestamp,
}

/// A question, and how often it was asked and not answered.
#[derive(Debug)]
pub(crate) struct Asked {
    at: u64,
    kind: u8,
    addr: Ipv4Addr,
    rapid: bool,
    /// Copies that arrived, less answers that left.
    open: u32,
}

impl Asked {
    pub(crate) fn v6(at: u64) -> Asked {
        Asked { at, kind: 0, addr: Ipv4Addr::UNSPECIFIED, rapid: false, open: 0 }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Witness {
    pub(crate) told: BTreeMap<Resource, Told>,
    /// What was declined by who had it: since which turn, and until when by the server's time.
    declined: BTreeMap<Resource, (u64, Timestamp)>,
    asked: HashMap<(Mac, u32, u8), Asked>,
    dropped: VecDeque<(Moment, Mac, Drops)>,
    pruned: u64,
}

/// What a client has no longer, by its own word.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Drops {
    One(Resource),
    V4,
    V4But(Resource),
    V6,
}

impl Drops {
    fn covers(self, resource: Resource) -> bool {
        match self {
            Drops::One(one) => one == resource,
            Drops::V6 => !matches!(resource, Resource::V4(_)),
            Drops::V4 => matches!(resource, Resource::V4(_)),
            Drops::V4But(kept) => matches!(resource, Resource::V4(_)) && resource != kept,
        }
    }
}

/// Who is there to answer for what it has.
pub(crate) trait Live {
    fn has(&self, client: Mac, resource: Resource) -> bool;
}

/// The moment, on both clocks and by the server's turns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: u64,
    pub(crate) server: Timestamp,
    /// How often the server had decided something.
    pub(crate) turn: u64,
}

impl Witness {
    /// A packet is about to reach the server. `genuine`: it comes from whom it names, and a DECLINE
    /// is believed for so long.
    pub(crate) fn arrives4(
        &mut self,
        at: Moment,
        bytes: &[u8],
        genuine: Option<Option<u64>>,
        live: &dyn Live,
    ) {
        let now = at.now;
        let Ok(msg) = Message::parse(bytes) else { return };
        let Some(mac) = msg.hw().mac() else { return };
        let ciaddr = Some(msg.ciaddr()).filter(|addr| !addr.is_unspecified());
        let addr = msg.requested_ip().or(ciaddr).unwrap_or(Ipv4Addr::UNSPECIFIED);
        let (kind, rapid) = (kind_byte(&msg), msg.rapid_commit());
        let what = match kind_of(&msg).filter(|_| genuine.is_some()) {
            Some(MessageType::Release | MessageType::Decline) => Some(Drops::One(addr.into())),
            // Who takes another address has dropped the one before, told of the new one or not.
            Some(MessageType::Request) => Some(Drops::V4But(addr.into())),
            Some(MessageType::Discover) if rapid => Some(Drops::V4),
            _ => None,
        };
        if kind == MessageType::Decline as u8 {
            self.declines(at, mac, addr.into(), genuine.flatten());
        }
        if let Some(what) = what {
            self.gives_up(at, mac, what);
        }
        let name = msg.client_id().unwrap_or_default();
        self.namesakes(mac, &name, live);
        self.asks(at, (mac, msg.xid(), kind), Asked { at: now, kind, addr, rapid, open: 0 });
    }

    pub(crate) fn asks(&mut self, at: Moment, key: (Mac, u32, u8), fresh: Asked) {
        let (now, addr, rapid) = (at.now, fresh.addr, fresh.rapid);
        let asked = self.asked.entry(key).or_insert(fresh);
        (asked.at, asked.addr) = (now, addr);
        asked.rapid |= rapid;
        asked.open += 1;
        if now >= self.pruned + ANSWER_WITHIN {
            self.pruned = now;
            self.asked.retain(|_, asked| asked.at + ANSWER_WITHIN > now);
        }
    }

    /// One of these kinds was asked and has no answer yet.
    pub(crate) fn answers(
        &mut self,
        (mac, xid): (Mac, u32),
        mut by: impl Iterator<Item = u8>,
        what: &str,
    ) {
        let open = |kind: &u8| self.asked.get(&(mac, xid, *kind)).is_some_and(|a| a.open > 0);
        let kind = by.find(open);
        let kind = kind.unwrap_or_else(|| panic!("{what} to {mac}, who did not ask for it"));
        if let Some(asked) = self.asked.get_mut(&(mac, xid, kind)) {
            asked.open -= 1;
        }
    }

    /// Who has an address says that somebody else uses it. (Of machines of one name the server must
    /// find out first which one it is.)
    pub(crate) fn declines(&mut self, at: Moment, mac: Mac, of: Resource, believed: Option<u64>) {
        let its = |told: &&Told| {
            let shared = told.name.windows(5).any(|word| word == b"image");
            told.client == mac && told.until_server > at.server && !shared
        };
        if let (Some(_), Some(ms)) = (self.told.get(&of).filter(its), believed) {
            self.declined.insert(of, (at.turn, Timestamp(at.server.0 + ms)));
        }
    }

    /// An operator puts an address out of use until then.
    pub(crate) fn puts_out(&mut self, at: Moment, resource: Resource, until: Timestamp) {
        self.declined.insert(resource, (at.turn, until));
    }

    /// And back.
    pub(crate) fn lifts(&mut self, resource: Resource) {
        self.declined.remove(&resource);
    }

    /// Of what was declined only what is on disk is remembered.
    pub(crate) fn lost(&mut self, durable: &dyn Fn(Resource) -> Option<Lease>) {
        let kept = |lease: Lease| matches!(lease.state, State::Quarantined(_));
        self.declined.retain(|resource, _| durable(*resource).is_some_and(kept));
    }

    /// Nobody gets what is out of use.
    pub(crate) fn is_in_use(&mut self, at: Moment, decided: Moment, to: Mac, what: Resource) {
        self.declined.retain(|_, (_, until)| *until > at.server);
        let declined = self.declined.get(&what).filter(|(turn, _)| decided.turn > *turn);
        assert!(declined.is_none(), "{what} goes to {to}, and was declined: {declined:?}");
    }

    /// A client drops what it had, and what it is about to be told.
    pub(crate) fn gives_up(&mut self, at: Moment, mac: Mac, what: Drops) {
        self.told.retain(|resource, told| told.client != mac || !what.covers(*resource));
        self.dropped.push_back((at, mac, what));
        while self.dropped.front().is_some_and(|(old, ..)| old.now + ANSWER_WITHIN < at.now) {
            self.dropped.pop_front();
        }
    }

    /// Whether it was dropped since that was decided.
    pub(crate) fn is_dropped(&self, decided: Moment, mac: Mac, resource: Resource) -> bool {
        let mut later = self.dropped.iter().rev().take_while(|(at, ..)| at.turn >= decided.turn);
        later.any(|(_, who, what)| *who == mac && what.covers(resource))
    }

    /// Somebody is told so. Who was told of a longer time before may not hear of a shorter one.
    pub(crate) fn tells(&mut self, resource: Resource, mut new: Told) {
        if let Some(old) = self.told.get(&resource).filter(|old| old.client == new.client) {
            new.until = new.until.max(old.until);
            new.until_server = new.until_server.max(old.until_server);
        }
        self.told.insert(resource, new);
    }

    /// Another machine of the same name has spoken: who is silent by then is taken for the same
    /// one with other hardware, and what it had moves on.
    pub(crate) fn namesakes(&mut self, mac: Mac, name: &[u8], live: &dyn Live) {
        if !name.is_empty() {
            self.told.retain(|resource, told| {
                told.name != name || told.client == mac || live.has(told.client, *resource)
            });
        }
    }

    /// A packet leaves the server. `durable` is what its disk would say.
    pub(crate) fn leaves4(
        &mut self,
        at: Moment,
        decided: Moment,
        bytes: &[u8],
        durable: &dyn Fn(Resource) -> Option<Lease>,
        trusts_clock: bool,
        live: &dyn Live,
    ) {
        let msg = Message::parse(bytes).expect("we write what we can read");
        assert!(bytes.len() <= 1472, "a packet of {} bytes", bytes.len());
        let mac = msg.hw().mac().expect("only Ethernet asks");
        let answer = kind_of(&msg).expect("nobody is served by BOOTP");
        self.was_asked(mac, &msg, answer);
        match answer {
            MessageType::Offer => {
                self.is_in_use(at, decided, mac, msg.yiaddr().into());
                self.offered(at, mac, msg.yiaddr(), durable);
            }
            MessageType::Ack if !msg.yiaddr().is_unspecified() => {
                self.is_in_use(at, decided, mac, msg.yiaddr().into());
                let stored = durable(msg.yiaddr().into());
                self.namesakes(mac, &msg.client_id().unwrap_or_default(), live);
                self.acknowledged(at, decided, &msg, mac, stored, trusts_clock);
            }
            MessageType::Ack => {}
            MessageType::Nak => {}
            other => panic!("the server says {other:?}"),
        }
    }

    /// Answers go to who asked, for what was asked, and one for each time it was asked.
    fn was_asked(&mut self, mac: Mac, msg: &Message<'_>, answer: MessageType) {
        let by: &[MessageType] = match answer {
            MessageType::Offer => &[MessageType::Discover],
            MessageType::Nak => &[MessageType::Request],
            _ => &[MessageType::Request, MessageType::Inform, MessageType::Discover],
        };
        let fits = |asked: &Asked| match MessageType::from_byte(asked.kind) {
            Some(MessageType::Discover) => answer == MessageType::Offer || asked.rapid,
            Some(MessageType::Request) if answer == MessageType::Ack => asked.addr == msg.yiaddr(),
            Some(MessageType::Inform) => msg.yiaddr().is_unspecified(),
            _ => true,
        };
        let open = by.iter().find(|kind| {
            let asked = self.asked.get(&(mac, msg.xid(), **kind as u8));
            asked.is_some_and(|asked| asked.open > 0 && fits(asked))
        });
        let open = open.unwrap_or_else(|| panic!("{answer:?} to {mac}, who did not ask for it"));
        if let Some(asked) = self.asked.get_mut(&(mac, msg.xid(), *open as u8)) {
            asked.open -= 1;
        }
    }

    /// An offer is of what nobody has and what is not out of use.
    fn offered(
        &self,
        at: Moment,
        mac: Mac,
        addr: Ipv4Addr,
        durable: &dyn Fn(Resource) -> Option<Lease>,
    ) {
        let Some(stored) = durable(addr.into()) else { return };
        let out = matches!(stored.state, State::Quarantined(_)) && stored.until > at.server;
        assert!(!out, "{addr} is offered to {mac}, and out of use: {stored:?}");
    }

    fn acknowledged(
        &mut self,
        at: Moment,
        decided: Moment,
        msg: &Message<'_>,
        mac: Mac,
        stored: Option<Lease>,
        trusts_clock: bool,
    ) {
        let (addr, secs) = (msg.yiaddr(), msg.lease_time().expect("a lease has a length"));
        let name = msg.client_id().map(|id| id.to_vec()).unwrap_or_default();
        let until_server = Timestamp(decided.server.0 + u64::from(secs) * 1000);
        let until = decided.now + u64::from(secs) * 1000;
        let kept = stored.as_ref().is_some_and(|lease| {
            lease.state == State::Leased
                && lease.hw.mac() == Some(mac)
                && lease.until >= until_server
        });
        let told = Told { client: mac, name, until, until_server };
        self.nobody_else(at, addr.into(), &told, trusts_clock);
        // The disk may know already that the client dropped it since.
        let is_dropped = self.is_dropped(decided, mac, addr.into());
        let when = "before it is durable";
        assert!(kept || is_dropped, "{addr} is acknowledged to {mac} {when}: {stored:?}");
        // Who takes another address has given up the former.
        let other = |r: &Resource| matches!(r, Resource::V4(other) if *other != addr);
        self.told.retain(|resource, old| old.client != mac || !other(resource));
        if !is_dropped {
            self.tells(addr.into(), told);
        }
    }

    fn nobody_else(&self, at: Moment, resource: Resource, new: &Told, trusts_clock: bool) {
        let Some(old) = self.told.get(&resource).filter(|old| old.client != new.client) else {
            return;
        };
        let over = old.until <= at.now && trusts_clock;
        assert!(over, "{resource} is acknowledged to {}, and {old:?} has it", new.client);
    }

    /// What is over by now ended while time was known to be right.
    pub(crate) fn forget_over(&mut self, at: Moment) {
        self.told.retain(|_, told| told.until > at.now);
    }

    /// Everything that was promised and is not over must be in `contents`.
    pub(crate) fn survives(&self, at: Moment, contents: &Contents) {
        let stored: HashMap<Resource, &Lease> =
            contents.leases.iter().map(|lease| (lease.resource, lease)).collect();
        for (resource, told) in self.told.iter().filter(|(_, told)| told.until > at.now) {
            let lease = stored.get(resource);
            let kept = lease.is_some_and(|lease| {
                let same = lease.hw.mac() == Some(told.client);
                lease.state == State::Leased && same && lease.until >= told.until_server
            });
            assert!(kept, "{resource} of {told:?} is lost; on disk is {lease:?}");
        }
    }
}

fn kind_of(msg: &Message<'_>) -> Option<MessageType> {
    match msg.kind() {
        Kind::Dhcp(kind) => Some(kind),
        _ => None,
    }
}

fn kind_byte(msg: &Message<'_>) -> u8 {
    kind_of(msg).map_or(0, |kind| kind as u8)
}
