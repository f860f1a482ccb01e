//! A DHCPv4 client as machines have it (RFC 2131 s4.4), without its sockets: told the time and
//! what arrives, it says what it sends and when it wants to be told the time again.

use std::net::Ipv4Addr;

use foreshadow::base::Mac;
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::{Kind, Message, MessageType, options as opt};

use super::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Off,
    Rebooting,
    Selecting,
    Requesting,
    Bound,
    Renewing,
    Rebinding,
}

/// Something to be sent, and whether to everybody.
pub(crate) struct Said {
    pub(crate) bytes: Vec<u8>,
    pub(crate) broadcast: bool,
}

#[derive(Debug)]
pub(crate) struct Client4 {
    pub(crate) mac: Mac,
    /// Option 61, if it sends one: clones share theirs.
    id: Option<Vec<u8>>,
    pub(crate) state: State,
    pub(crate) addr: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    xid: u32,
    tries: u32,
    /// When what it waits for began to be sent.
    began: u64,
    t1: u64,
    t2: u64,
    until: u64,
    /// When it wants to be told the time.
    pub(crate) alarm: u64,
}

impl Client4 {
    pub(crate) fn new(mac: Mac, id: Option<Vec<u8>>, alarm: u64) -> Client4 {
        Client4 {
            mac,
            id,
            state: State::Off,
            addr: None,
            server: None,
            xid: 0,
            tries: 0,
            began: 0,
            t1: 0,
            t2: 0,
            until: 0,
            alarm,
        }
    }

    /// Whether its interface has an address now.
    pub(crate) fn has(&self, now: u64, addr: Ipv4Addr) -> bool {
        let configured = matches!(self.state, State::Bound | State::Renewing | State::Rebinding);
        configured && self.addr == Some(addr) && now < self.until
    }

    /// Time has come.
    pub(crate) fn wake(&mut self, now: u64, random: &mut Random) -> Vec<Said> {
        let configured = matches!(self.state, State::Bound | State::Renewing | State::Rebinding);
        if configured && now >= self.until {
            return self.start_over(now, random);
        }
        match self.state {
            State::Off => match self.addr {
                Some(_) if random.chance(600) => {
                    self.enter(State::Rebooting, now, random);
                    self.ask(now, random)
                }
                _ => self.start_over(now, random),
            },
            State::Rebooting | State::Selecting | State::Requesting if self.tries >= 4 => {
                self.start_over(now, random)
            }
            State::Rebooting | State::Selecting | State::Requesting => self.ask(now, random),
            State::Bound if random.chance(250) => self.whim(now, random),
            State::Bound | State::Renewing | State::Rebinding => {
                let state = if now < self.t2 { State::Renewing } else { State::Rebinding };
                if self.state != state {
                    self.enter(state, now, random);
                }
                self.ask(now, random)
            }
        }
    }

    /// What machines do beside renewing in time.
    fn whim(&mut self, now: u64, random: &mut Random) -> Vec<Said> {
        let addr = self.addr.unwrap_or(Ipv4Addr::UNSPECIFIED);
        match random.below(6) {
            0 | 1 => {
                let release = self.say(MessageType::Release).ciaddr(addr);
                self.turn_off(now, random);
                vec![self.unicast(release)]
            }
            2 => {
                let decline = self.say(MessageType::Decline).addr(opt::REQUESTED_IP, addr);
                self.addr = None;
                self.turn_off(now, random);
                vec![self.to_all(decline.addr(opt::SERVER_ID, self.server_id()))]
            }
            3 => {
                let inform = self.say(MessageType::Inform).ciaddr(addr);
                self.alarm = self.t1.max(now + 1000);
                vec![self.unicast(inform)]
            }
            // Its plug is pulled; or it starts from nothing, as one whose disk was wiped.
            4 => {
                self.turn_off(now, random);
                Vec::new()
            }
            _ => self.start_over(now, random),
        }
    }

    fn server_id(&self) -> Ipv4Addr {
        self.server.unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    fn turn_off(&mut self, now: u64, random: &mut Random) {
        self.state = State::Off;
        self.alarm = now + random.within(500, 90_000);
    }

    fn start_over(&mut self, now: u64, random: &mut Random) -> Vec<Said> {
        self.enter(State::Selecting, now, random);
        self.ask(now, random)
    }

    fn enter(&mut self, state: State, now: u64, random: &mut Random) {
        (self.state, self.tries, self.began) = (state, 0, now);
        // A REQUEST goes on with the number of its OFFER.
        if state != State::Requesting {
            self.xid = random.next() as u32;
        }
    }

    /// Sends what its state asks for, and sets the alarm for the next try.
    fn ask(&mut self, now: u64, random: &mut Random) -> Vec<Said> {
        self.tries += 1;
        let addr = self.addr.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let backoff = (1000 << self.tries.min(5)) + random.below(1000);
        self.alarm = now + backoff;
        match self.state {
            State::Selecting => {
                let mut packet = self.say(MessageType::Discover);
                if random.chance(300) {
                    packet = packet.option(opt::RAPID_COMMIT, &[]);
                }
                if let Some(addr) = self.addr.filter(|_| random.chance(500)) {
                    packet = packet.addr(opt::REQUESTED_IP, addr);
                }
                vec![self.to_all(packet)]
            }
            State::Requesting => {
                let packet = self.say(MessageType::Request).addr(opt::REQUESTED_IP, addr);
                vec![self.to_all(packet.addr(opt::SERVER_ID, self.server_id()))]
            }
            State::Rebooting => {
                let packet = self.say(MessageType::Request).addr(opt::REQUESTED_IP, addr);
                vec![self.to_all(packet)]
            }
            _ => {
                let is_renewal = self.state == State::Renewing;
                let end = if is_renewal { self.t2 } else { self.until };
                self.alarm = self.alarm.min(end.max(now + 1));
                let packet = self.say(MessageType::Request).ciaddr(addr);
                vec![if is_renewal { self.unicast(packet) } else { self.to_all(packet) }]
            }
        }
    }

    fn say(&self, kind: MessageType) -> RequestV4 {
        let packet = RequestV4::new(kind, self.mac).xid(self.xid);
        match &self.id {
            Some(id) => packet.option(opt::CLIENT_ID, id),
            None => packet,
        }
    }

    fn unicast(&self, packet: RequestV4) -> Said {
        Said { bytes: packet.build(), broadcast: false }
    }

    fn to_all(&self, packet: RequestV4) -> Said {
        Said { bytes: packet.build(), broadcast: true }
    }

    /// A packet of the server has come.
    pub(crate) fn hear(&mut self, now: u64, bytes: &[u8], random: &mut Random) -> Vec<Said> {
        let Ok(msg) = Message::parse(bytes) else { return Vec::new() };
        if msg.xid() != self.xid || msg.hw().mac() != Some(self.mac) {
            return Vec::new();
        }
        match (msg.kind(), self.state) {
            (Kind::Dhcp(MessageType::Offer), State::Selecting) => {
                (self.addr, self.server) = (Some(msg.yiaddr()), msg.server_id());
                self.enter(State::Requesting, now, random);
                self.ask(now, random)
            }
            (Kind::Dhcp(MessageType::Ack), State::Selecting) if !msg.rapid_commit() => Vec::new(),
            (Kind::Dhcp(MessageType::Ack), state)
                if !matches!(state, State::Off | State::Bound) =>
            {
                self.bind(now, &msg, random);
                Vec::new()
            }
            (Kind::Dhcp(MessageType::Nak), state)
                if !matches!(state, State::Off | State::Selecting | State::Bound) =>
            {
                self.addr = None;
                self.start_over(now, random)
            }
            _ => Vec::new(),
        }
    }

    fn bind(&mut self, now: u64, msg: &Message<'_>, random: &mut Random) {
        let Some(secs) = msg.lease_time() else { return };
        let lease = u64::from(secs) * 1000;
        // RFC 2131 s4.4.1: counted from when it asked.
        let from = self.began;
        (self.t1, self.t2, self.until) = (from + lease / 2, from + lease / 8 * 7, from + lease);
        (self.addr, self.state) = (Some(msg.yiaddr()), State::Bound);
        self.server = msg.server_id().or(self.server);
        let early = random.chance(200);
        self.alarm = if early { now + random.below(2000) } else { self.t1.max(now + 1) };
    }
}
