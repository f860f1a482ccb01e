//! Packets of guests who mean no good, and in which state the server meets a message.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use foreshadow::base::{LinkId, Mac, Resource};
use foreshadow::engine::{Arrival, Input};
use foreshadow::lease::State;
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::v6_build::{RequestV6, ia_addr, ia_prefix};
use foreshadow::wire::{
    IaKind, Kind, Kind6, Message, Message6, MessageType, MessageType6, options as opt,
};

use super::client6::named;
use super::relays::network_of;
use super::world::{CLIENTS, CLIENTS6, DUID, Event, FLOODER, Machines, OWN, PORTS, World, duid};

/// Packets of one flood.
const FLOOD: u32 = 150;

impl World {
    /// A guest has heard what somebody was offered, or has nothing better to do.
    pub(crate) fn guest_acts(&mut self, about: Option<Resource>) {
        let picked = about.or_else(|| self.left_behind());
        match picked {
            Some(Resource::V4(addr)) => self.hostile(Some(addr)),
            Some(Resource::V6(addr)) => self.hostile6(Some(addr)),
            _ if self.random.chance(500) => self.hostile(None),
            _ => self.hostile6(None),
        }
        if about.is_none() {
            let next = self.random.within(10, 2000);
            self.at(next, Event::Hostile(None));
        }
    }

    /// Now and then an address that somebody had.
    fn left_behind(&mut self) -> Option<Resource> {
        let is_one = self.random.chance(250);
        let leases = self.server.engine.leases().iter().filter(|_| is_one);
        let mut found: Vec<Resource> = leases
            .filter(|l| l.state.is_remembered() && l.network == network_of(OWN.into()))
            .map(|l| l.resource)
            .collect();
        found.sort();
        let pick = self.random.below(found.len() as u64) as usize;
        found.get(pick).copied()
    }

    /// A packet of a guest's own making: noise, a message that makes no sense, or one that speaks
    /// for somebody else.
    fn hostile(&mut self, about: Option<Ipv4Addr>) {
        let own = Mac([2, 0, 0, 0, 1, self.random.below(4) as u8]);
        let victim = self.random.below(CLIENTS as u64) as usize;
        let (victim, has) = (self.clients[victim].mac, self.clients[victim].addr);
        let forged = self.random.chance(500);
        self.tally.fault(if forged { "packet forged" } else { "packet hostile" });
        let kind = self.random.pick(&MessageType::ALL);
        let addr = Ipv4Addr::new(10, 0, 0, self.random.below(26) as u8);
        let addr = about.unwrap_or(addr);
        // Everybody knows who has which address.
        let (kind, addr) = match has.filter(|_| forged && self.random.chance(300)) {
            Some(has) => (MessageType::Release, has),
            None => (kind, addr),
        };
        let named = if forged { victim } else { own };
        let mut packet = RequestV4::new(kind, named).xid(self.random.next() as u32);
        if self.random.chance(500) {
            packet = packet.ciaddr(addr);
        }
        if self.random.chance(500) {
            packet = packet.addr(opt::REQUESTED_IP, addr);
        }
        if self.random.chance(300) {
            packet = packet.addr(opt::SERVER_ID, OWN);
        }
        let mut bytes = packet.build();
        if !forged {
            self.damage(&mut bytes, 44);
        }
        // It can choose everything but the port that it is behind, and the bridge drops frames
        // in another's name.
        let port = LinkId(PORTS + 50 + u32::from(own.0[5]));
        self.meet4(&bytes);
        let Some(link) = self.bridge else { return };
        self.witness.arrives4(
            self.moment(),
            &bytes,
            // What it gives up itself, it has no longer.
            (!forged).then_some(None),
            &Machines(&self.clients, &self.clients6, self.now, &self.cloud),
        );
        let arrival = Arrival {
            link,
            port: Some(port),
            trusted: false,
            trunk: false,
            src_mac: Some(own),
            src: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            dst: Ipv4Addr::BROADCAST,
            dst_port: 67,
        };
        self.server.input(self.server_now(), Input::Packet4(arrival, &bytes));
    }

    /// Noise from somewhere on, or the end cut off, behind a header that may be read.
    fn damage(&mut self, bytes: &mut Vec<u8>, header: u64) {
        let from = self.random.within(header, bytes.len() as u64) as usize;
        match self.random.below(10) {
            0 | 1 => bytes[from..].iter_mut().for_each(|byte| *byte = self.random.next() as u8),
            2 => bytes.truncate(from),
            _ => {}
        }
    }

    /// Very many packets at once from behind the relay: of one machine under many names, which
    /// takes what it gets, or of as many machines that never ask again.
    pub(crate) fn flood(&mut self) {
        self.tally.fault("flood");
        let many = self.random.chance(500);
        for n in 0..FLOOD {
            let (high, low) = ((n >> 8) as u8, n as u8);
            let mac = if many { Mac([2, 0, 0, 1, high, low]) } else { FLOODER };
            let packet = RequestV4::new(MessageType::Discover, mac).xid(self.random.next() as u32);
            let name = self.random.below(600).to_be_bytes();
            let packet = match many {
                true if n % 2 == 0 => packet,
                true => packet.addr(opt::REQUESTED_IP, Ipv4Addr::new(10, 9, 0, low)),
                false => packet
                    .option(opt::CLIENT_ID, &[0, b'n', name[6], name[7]])
                    .option(opt::RAPID_COMMIT, &[]),
            };
            self.relay4_arrives(&packet.build(), 200);
        }
    }

    /// Notes in which state of what it names the server meets a message.
    pub(crate) fn meet4(&mut self, bytes: &[u8]) {
        let Ok(msg) = Message::parse(bytes) else { return };
        let ciaddr = Some(msg.ciaddr()).filter(|addr| !addr.is_unspecified());
        let message = match (msg.kind(), msg.server_id().is_some(), ciaddr.is_some()) {
            (Kind::Dhcp(MessageType::Discover), ..) => "DISCOVER",
            (Kind::Dhcp(MessageType::Request), true, _) => "SELECT",
            (Kind::Dhcp(MessageType::Request), false, true) => "RENEW4",
            (Kind::Dhcp(MessageType::Request), false, false) => "REBOOT",
            (Kind::Dhcp(MessageType::Decline), ..) => "DECLINE4",
            (Kind::Dhcp(MessageType::Release), ..) => "RELEASE4",
            (Kind::Dhcp(MessageType::Inform), ..) => "INFORM",
            _ => "other",
        };
        let Some(addr) = msg.requested_ip().or(ciaddr) else {
            return self.tally.met("nothing named", message);
        };
        let state = self.state_of(addr.into(), msg.hw().mac().unwrap_or(Mac::ZERO));
        self.tally.met(state, message);
    }

    /// The same by DHCPv6: under its own name or another's, of what it may not have.
    fn hostile6(&mut self, about: Option<Ipv6Addr>) {
        self.tally.fault("DHCPv6 packet hostile");
        let own = Mac([2, 0, 0, 0, 1, self.random.below(4) as u8]);
        let victim = self.random.below(CLIENTS6 as u64) as usize;
        let duid = match self.random.below(2) {
            0 => [&[0, 3, 0, 1][..], &own.0].concat(),
            _ => duid(victim),
        };
        let kind = self.random.pick(&MessageType6::ALL);
        let mut packet = RequestV6::new(kind, self.random.next() as u32 & 0xff_ffff);
        packet = packet.client_id(&duid);
        if self.random.chance(500) {
            packet = packet.server_id(DUID);
        }
        let low = self.random.below(24) as u16;
        let addr = about.unwrap_or(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, low));
        packet = packet.ia(IaKind::Na, 1, &[ia_addr(addr, 0, 0, &[])]);
        if self.random.chance(300) {
            let prefix = Ipv6Addr::new(0x2001, 0xdb8, 0xaa00, (low % 16) << 4, 0, 0, 0, 0);
            packet = packet.ia(IaKind::Pd, 2, &[ia_prefix(prefix, 60, 0, 0, &[])]);
        }
        let mut bytes = packet.build();
        self.damage(&mut bytes, 4);
        self.comes6_from(own, Some(LinkId(PORTS + 50 + u32::from(own.0[5]))), &bytes);
    }

    pub(crate) fn meet6(&mut self, bytes: &[u8], mac: Mac) {
        let Ok(msg) = Message6::parse(bytes) else { return };
        let message = match msg.kind() {
            Kind6::Known(MessageType6::Solicit) => "SOLICIT",
            Kind6::Known(MessageType6::Request) => "REQUEST",
            Kind6::Known(MessageType6::Confirm) => "CONFIRM",
            Kind6::Known(MessageType6::Renew) => "RENEW",
            Kind6::Known(MessageType6::Rebind) => "REBIND",
            Kind6::Known(MessageType6::Release) => "RELEASE",
            Kind6::Known(MessageType6::Decline) => "DECLINE",
            _ => "INFORMATION",
        };
        let state = match named(&msg).first() {
            Some((resource, _)) => self.state_of(*resource, mac),
            None => "nothing named",
        };
        self.tally.met(state, message);
    }

    /// How the server knows what a message of `mac` names.
    pub(crate) fn state_of(&self, resource: Resource, mac: Mac) -> &'static str {
        let (network, engine) = (network_of(resource), &self.server.engine);
        let table = engine.leases();
        match table.get(network, resource) {
            Some(l) if table.is_pending(network, resource) && l.hw.mac() == Some(mac) => "pending",
            Some(l) if l.state == State::Leased && l.hw.mac() == Some(mac) => "leased",
            Some(l) if l.state == State::Leased => "another's",
            _ if engine.offers().get(network, resource).is_some() => "offered",
            Some(l) if l.state == State::Expired => "expired",
            Some(l) if l.state == State::Released => "released",
            Some(_) => "quarantined",
            None => "free",
        }
    }
}
