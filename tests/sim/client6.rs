//! A DHCPv6 client as machines have it (RFC 9915 s18.2): one address and one delegated prefix.

use foreshadow::base::{Mac, Resource};
use foreshadow::wire::v6_build::{RequestV6, ia_addr, ia_prefix};
use foreshadow::wire::{IaKind, Kind6, Message6, MessageType6};

use super::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Off,
    Soliciting,
    Requesting,
    Confirming,
    Bound,
    Renewing,
    Rebinding,
}

#[derive(Debug)]
pub(crate) struct Client6 {
    pub(crate) mac: Mac,
    duid: Vec<u8>,
    delegates: bool,
    pub(crate) state: State,
    pub(crate) held: Vec<Resource>,
    server: Vec<u8>,
    xid: u32,
    tries: u32,
    began: u64,
    t1: u64,
    t2: u64,
    until: u64,
    pub(crate) alarm: u64,
}

impl Client6 {
    pub(crate) fn new(mac: Mac, duid: Vec<u8>, delegates: bool, alarm: u64) -> Client6 {
        Client6 {
            mac,
            duid,
            delegates,
            state: State::Off,
            held: Vec::new(),
            server: Vec::new(),
            xid: 0,
            tries: 0,
            began: 0,
            t1: 0,
            t2: 0,
            until: 0,
            alarm,
        }
    }

    fn is_configured(&self) -> bool {
        matches!(self.state, State::Bound | State::Renewing | State::Rebinding)
    }

    /// Whether its interface has an address now.
    pub(crate) fn has(&self, now: u64, resource: Resource) -> bool {
        self.is_configured() && now < self.until && self.held.contains(&resource)
    }

    /// Time has come.
    pub(crate) fn wake(&mut self, now: u64, random: &mut Random) -> Option<Vec<u8>> {
        if self.is_configured() && now >= self.until {
            return Some(self.start_over(now, random));
        }
        match self.state {
            State::Off if !self.held.is_empty() && now < self.until && random.chance(600) => {
                self.enter(State::Confirming, now, random);
                Some(self.ask(now, random))
            }
            State::Off => Some(self.start_over(now, random)),
            State::Soliciting | State::Requesting | State::Confirming if self.tries >= 4 => {
                Some(self.start_over(now, random))
            }
            State::Bound if random.chance(250) => self.whim(now, random),
            State::Bound | State::Renewing | State::Rebinding => {
                let state = if now < self.t2 { State::Renewing } else { State::Rebinding };
                if self.state != state {
                    self.enter(state, now, random);
                }
                Some(self.ask(now, random))
            }
            _ => Some(self.ask(now, random)),
        }
    }

    /// What machines do beside renewing in time.
    fn whim(&mut self, now: u64, random: &mut Random) -> Option<Vec<u8>> {
        let whim = random.below(5);
        let said = match whim {
            0 | 1 => Some(self.say(MessageType6::Release, true)),
            2 => Some(self.say(MessageType6::Decline, true)),
            3 => {
                self.xid = random.next() as u32 & 0xff_ffff;
                self.alarm = self.t1.max(now + 1000);
                return Some(
                    RequestV6::new(MessageType6::InformationRequest, self.xid)
                        .client_id(&self.duid)
                        .build(),
                );
            }
            _ => None,
        };
        if said.is_some() {
            self.held.clear();
        }
        self.state = State::Off;
        self.alarm = now + random.within(500, 90_000);
        said
    }

    fn start_over(&mut self, now: u64, random: &mut Random) -> Vec<u8> {
        self.enter(State::Soliciting, now, random);
        self.ask(now, random)
    }

    fn enter(&mut self, state: State, now: u64, random: &mut Random) {
        (self.state, self.tries, self.began) = (state, 0, now);
        self.xid = random.next() as u32 & 0xff_ffff;
    }

    fn ask(&mut self, now: u64, random: &mut Random) -> Vec<u8> {
        self.tries += 1;
        self.alarm = now + (1000 << self.tries.min(5)) + random.below(1000);
        match self.state {
            State::Requesting => self.say(MessageType6::Request, true),
            State::Confirming => self.say(MessageType6::Confirm, true),
            State::Renewing => {
                self.alarm = self.alarm.min(self.t2.max(now + 1));
                self.say(MessageType6::Renew, true)
            }
            State::Rebinding => {
                self.alarm = self.alarm.min(self.until.max(now + 1));
                self.say(MessageType6::Rebind, true)
            }
            _ => self.say(MessageType6::Solicit, random.chance(400)),
        }
    }

    fn say(&self, kind: MessageType6, names: bool) -> Vec<u8> {
        use MessageType6::{Confirm, Decline, Rebind, Release, Renew, Request, Solicit};
        let mut packet = RequestV6::new(kind, self.xid).client_id(&self.duid);
        if matches!(kind, Request | Renew | Release | Decline) {
            packet = packet.server_id(&self.server);
        }
        // Some ask for two messages only.
        if kind == Solicit && self.xid & 3 == 0 {
            packet = packet.rapid_commit();
        }
        let held = |delegated: bool| -> Vec<Vec<u8>> {
            let inside = self.held.iter().filter(|_| names).filter_map(|held| match held {
                Resource::V6(addr) if !delegated => Some(ia_addr(*addr, 0, 0, &[])),
                Resource::Prefix6(addr, len) if delegated => {
                    Some(ia_prefix(*addr, *len, 0, 0, &[]))
                }
                _ => None,
            });
            inside.collect()
        };
        let addrs = held(false);
        let starts = matches!(kind, Solicit | Request | Renew | Rebind);
        if starts || !addrs.is_empty() {
            packet = packet.ia(IaKind::Na, 1, &addrs);
        }
        let prefixes = held(true);
        let delegates = self.delegates && !matches!(kind, Confirm | Decline);
        if delegates && (starts || !prefixes.is_empty()) {
            packet = packet.ia(IaKind::Pd, 2, &prefixes);
        }
        packet.build()
    }

    /// A packet of the server has come.
    pub(crate) fn hear(&mut self, now: u64, bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
        let msg = Message6::parse(bytes).ok()?;
        if msg.xid() != self.xid || msg.client_id() != Some(&self.duid) {
            return None;
        }
        match (msg.kind(), self.state) {
            (Kind6::Known(MessageType6::Advertise), State::Soliciting) => {
                let offered = granted(&msg);
                if offered.is_empty() {
                    return None;
                }
                self.held = offered.iter().map(|(resource, _)| *resource).collect();
                self.server = msg.server_id()?.to_vec();
                self.enter(State::Requesting, now, random);
                Some(self.ask(now, random))
            }
            (Kind6::Known(MessageType6::Reply), State::Confirming) => {
                if msg.status().is_some_and(|status| status.code != 0) {
                    return Some(self.start_over(now, random));
                }
                self.state = State::Bound;
                self.alarm = self.t1.max(now + 1);
                None
            }
            (Kind6::Known(MessageType6::Reply), state)
                if !matches!(state, State::Off | State::Bound) =>
            {
                self.bind(now, &msg, random)
            }
            _ => None,
        }
    }

    fn bind(&mut self, now: u64, msg: &Message6<'_>, random: &mut Random) -> Option<Vec<u8>> {
        let leased = granted(msg);
        let Some(secs) = leased.iter().map(|(_, secs)| *secs).min() else {
            self.held.clear();
            return Some(self.start_over(now, random));
        };
        self.held = leased.iter().map(|(resource, _)| *resource).collect();
        self.server = msg.server_id()?.to_vec();
        let (from, lease) = (self.began, u64::from(secs) * 1000);
        (self.t1, self.t2, self.until) = (from + lease / 2, from + lease / 5 * 4, from + lease);
        self.state = State::Bound;
        let early = random.chance(200);
        self.alarm = if early { now + random.below(2000) } else { self.t1.max(now + 1) };
        None
    }
}

/// What a message leases, with valid lifetimes in seconds.
pub(crate) fn granted(msg: &Message6<'_>) -> Vec<(Resource, u32)> {
    let mut out = named(msg);
    out.retain(|(_, valid)| *valid > 0);
    out
}

/// What the IAs of a message name.
pub(crate) fn named(msg: &Message6<'_>) -> Vec<(Resource, u32)> {
    let mut out = Vec::new();
    for ia in msg.ias() {
        out.extend(ia.addrs().map(|a| (Resource::V6(a.addr), a.valid)));
        out.extend(ia.prefixes().map(|p| (Resource::Prefix6(p.prefix, p.len), p.valid)));
    }
    out
}
