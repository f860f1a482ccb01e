//! The wires: what reaches the server and what leaves it, on the bridge and through relays.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use foreshadow::base::{LinkId, Mac, NetworkId, Prefix4, Resource};
use foreshadow::engine::effects::{Arrival6, LinkUp, Neighbour, Probe, Source};
use foreshadow::engine::{Arrival, Destination, Input};
use foreshadow::lease::Lease;
use foreshadow::wire::{Kind, Message, MessageType};

use super::client6;
use super::cloud;
use super::relays::{
    RELAY, RELAY6, UPLINK, UPLINK_ADDR, UPLINK_ADDR6, network_of, relay4, relay6, unwrap6,
};
use super::server::Outgoing;
use super::witness::Moment;
use super::world::{
    CLIENTS, CLIENTS6, DUID, Event, Machines, OWN, OWN6, PORTS, World, is_access, spelt, spelt6,
};

/// All relay agents and servers (RFC 9915 s7.1).
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

impl World {
    pub(crate) fn deliver4(&mut self, i: usize, bytes: &[u8], broadcast: bool) {
        let (client, is_relayed) = (&self.clients[i], i >= CLIENTS);
        let addr = client.addr.filter(|addr| client.has(self.now, *addr));
        let src = addr.filter(|_| !broadcast).unwrap_or(Ipv4Addr::UNSPECIFIED);
        let arrival = Arrival {
            link: UPLINK,
            port: None,
            trusted: false,
            trunk: false,
            src_mac: None,
            src: SocketAddrV4::new(src, 68),
            dst: UPLINK_ADDR,
            dst_port: 67,
        };
        if is_relayed && broadcast {
            return self.relay4_arrives(bytes, i as u8);
        }
        if is_relayed {
            self.tally.seen("DHCPv4 packets routed around a relay");
            return self.arrives4(arrival, bytes);
        }
        let Some(link) = self.bridge else {
            return self.tally.fault("packet while the bridge is away");
        };
        let arrival = Arrival {
            link,
            port: is_access(i).then_some(LinkId(PORTS + i as u32)),
            trunk: !is_access(i),
            src_mac: Some(client.mac),
            dst: if broadcast { Ipv4Addr::BROADCAST } else { OWN },
            ..arrival
        };
        self.arrives4(arrival, bytes);
    }

    /// A DHCPv4 broadcast that came through the relay.
    pub(crate) fn relay4_arrives(&mut self, bytes: &[u8], circuit: u8) {
        let arrival = Arrival {
            link: UPLINK,
            port: None,
            trusted: false,
            trunk: false,
            src_mac: None,
            src: SocketAddrV4::new(RELAY, 67),
            dst: UPLINK_ADDR,
            dst_port: 67,
        };
        self.tally.seen("DHCPv4 packets through a relay");
        self.arrives4(arrival, &relay4(bytes, circuit));
    }

    fn arrives4(&mut self, arrival: Arrival, bytes: &[u8]) {
        let live = Machines(&self.clients, &self.clients6, self.now, &self.cloud);
        let believed = self.server.store_ok().then(|| self.quarantine());
        self.witness.arrives4(self.moment(), bytes, Some(believed), &live);
        self.meet4(bytes);
        self.server.input(self.server_now(), Input::Packet4(arrival, bytes));
        self.forget_declined(bytes);
    }

    pub(crate) fn deliver6(&mut self, i: usize, bytes: &[u8]) {
        let mac = self.clients6[i].mac;
        if i < CLIENTS6 {
            let port = is_access(i).then_some(LinkId(PORTS + i as u32));
            return self.comes6_from(mac, port, bytes);
        }
        let arrival = Arrival6 {
            link: UPLINK,
            port: None,
            trunk: false,
            src_mac: None,
            src: SocketAddrV6::new(RELAY6, 547, 0, 0),
            dst: UPLINK_ADDR6,
        };
        self.tally.seen("DHCPv6 messages through a relay");
        self.arrives6(arrival, mac, bytes, &relay6(bytes, mac, i as u8));
    }

    /// A DHCPv6 message from the bridge.
    pub(crate) fn comes6_from(&mut self, mac: Mac, port: Option<LinkId>, bytes: &[u8]) {
        let Some(link) = self.bridge else {
            return self.tally.fault("packet while the bridge is away");
        };
        let arrival = Arrival6 {
            link,
            port,
            trunk: port.is_none(),
            src_mac: Some(mac),
            src: SocketAddrV6::new(mac.link_local(), 546, 0, 0),
            dst: SERVERS,
        };
        self.arrives6(arrival, mac, bytes, bytes);
    }

    fn arrives6(&mut self, arrival: Arrival6, mac: Mac, bytes: &[u8], relayed: &[u8]) {
        if self.verbose {
            println!("{:>10} {mac} says {}", self.now, spelt6(bytes));
        }
        let live = Machines(&self.clients, &self.clients6, self.now, &self.cloud);
        let believed = self.server.store_ok().then(|| self.quarantine());
        self.witness.arrives6(self.moment(), mac, bytes, believed, &live);
        self.meet6(bytes, mac);
        self.server.input(self.server_now(), Input::Packet6(arrival, relayed));
        self.forget_declined6(bytes);
    }

    /// How long what is declined is out of use, in milliseconds.
    fn quarantine(&self) -> u64 {
        self.policies[self.current].networks[0].quarantine.0
    }

    pub(crate) fn leaves(&mut self, out: Outgoing) {
        if self.verbose {
            let inner = unwrap6(&out.bytes).map_or(&out.bytes[..], |(_, bytes)| bytes);
            let said = match out.to {
                Destination::Frame6 { .. } | Destination::Udp6 { .. } => spelt6(inner),
                _ => spelt(inner),
            };
            println!("{:>10} leaves {said}", self.now);
        }
        for byte in &out.bytes {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        match out.to {
            Destination::Frame6 { .. } | Destination::Udp6 { .. } => self.leaves6(&out),
            _ => self.leaves4(&out),
        }
    }

    fn leaves6(&mut self, out: &Outgoing) {
        let (to, bytes, link) = match out.to {
            Destination::Frame6 { mac, link, .. } => (mac.link_local(), &out.bytes[..], link),
            Destination::Udp6 { to, .. } => {
                assert_eq!(to, (RELAY6, 547), "an answer goes to who asked");
                let (peer, bytes) =
                    unwrap6(&out.bytes).expect("relays get what they can take apart");
                (peer, bytes, UPLINK)
            }
            _ => return,
        };
        let (decided, durable) = (self.decided(out), self.durable());
        let (at, live) =
            (self.moment(), Machines(&self.clients, &self.clients6, self.now, &self.cloud));
        let found = self.clients6.iter().position(|client| client.mac.link_local() == to);
        let guest = (0..4).map(|n| Mac([2, 0, 0, 0, 1, n])).find(|mac| mac.link_local() == to);
        let machine = (link == cloud::LINK).then(|| cloud::mac_of(to)).flatten();
        let mac = found.map(|i| self.clients6[i].mac).or(guest).or(machine);
        let mac = mac.expect("only who is there asks");
        self.witness.leaves6(at, decided, mac, bytes, &durable, &live);
        if link == cloud::LINK {
            return self.cloud_leaves6(decided, mac, bytes);
        }
        self.judge_affinity6(mac, bytes);
        if let Some(i) = found.filter(|_| self.carries(link)) {
            for copy in self.copies() {
                self.at(copy, Event::ToClient6(i, bytes.to_vec()));
            }
        }
    }

    fn leaves4(&mut self, out: &Outgoing) {
        let (decided, durable) = (self.decided(out), self.durable());
        let (at, live) =
            (self.moment(), Machines(&self.clients, &self.clients6, self.now, &self.cloud));
        self.witness.leaves4(at, decided, &out.bytes, &durable, self.time.is_trusted(), &live);
        let msg = Message::parse(&out.bytes).expect("we write what we can read");
        let mac = msg.hw().mac().expect("Ethernet");
        let found = self.clients.iter().position(|client| client.mac == mac);
        let link = match out.to {
            Destination::Frame { link, mac: to, .. } => {
                assert!(to == mac || to == Mac::BROADCAST, "an answer to {mac} is sent to {to}");
                link
            }
            Destination::Udp { to, .. } => {
                let relayed = to == SocketAddrV4::new(RELAY, 67) && msg.giaddr() == RELAY;
                // A NAK has no ciaddr (RFC 2131 s4.3.1, table 3).
                let is_nak = msg.kind() == Kind::Dhcp(MessageType::Nak);
                let routed = to.port() == 68 && (is_nak || *to.ip() == msg.ciaddr());
                assert!(relayed || routed, "an answer to {mac} is sent to {to}");
                UPLINK
            }
            _ => return,
        };
        if link == cloud::LINK {
            return self.cloud_leaves4(decided, mac, &out.bytes);
        }
        self.judge_affinity4(mac, &out.bytes);
        if let Some(i) = found.filter(|_| self.carries(link)) {
            for copy in self.copies() {
                self.at(copy, Event::ToClient4(i, out.bytes.clone()));
            }
        }
    }

    /// Whether what is sent by a link gets anywhere.
    fn carries(&self, link: LinkId) -> bool {
        link == UPLINK || self.bridge == Some(link)
    }

    fn decided(&self, out: &Outgoing) -> Moment {
        let (server, turn) = out.decided;
        Moment { now: server.0 - self.time.ahead(), server, turn }
    }

    /// What the disk would say of an address.
    fn durable(&self) -> impl Fn(Resource) -> Option<Lease> + use<> {
        let durable = self.durable.clone();
        move |r| durable.with(|facts| facts.get(&(network_of(r), r)).cloned())
    }

    /// The server forgot what was not on disk.
    pub(crate) fn declines_lost(&mut self) {
        let durable = self.durable();
        self.witness.lost(&durable);
    }

    /// Who has the address answers for it, in time.
    pub(crate) fn answer(&mut self, probe: &Probe) {
        if self.verbose {
            println!("{:>10} who has {}? To {:?}", self.now, probe.target, probe.to);
        }
        if probe.link == cloud::LINK {
            return self.cloud_answers(probe);
        }
        if self.bridge != Some(probe.link) {
            return;
        }
        let asked = |mac: Mac| probe.to.is_none_or(|to| to == mac);
        let holders: Vec<Mac> = match probe.target {
            IpAddr::V4(target) => {
                let has = self.clients[..CLIENTS].iter().filter(|c| c.has(self.now, target));
                has.map(|c| c.mac).filter(|mac| asked(*mac)).collect()
            }
            IpAddr::V6(target) => {
                let has = self.clients6[..CLIENTS6].iter().filter(|c| {
                    let is_on = c.state != client6::State::Off;
                    c.has(self.now, target.into()) || (is_on && c.mac.link_local() == target)
                });
                has.map(|c| c.mac).filter(|mac| asked(*mac)).collect()
            }
        };
        for mac in holders {
            let source = Source::Behind(mac);
            let seen = Neighbour { addr: probe.target, mac, frame_source: mac, source };
            let delay = self.random.below(50);
            self.at(delay, Event::Neighbour(seen));
        }
    }

    pub(crate) fn heard(&mut self, seen: Neighbour) {
        let Some(link) = self.bridge else { return };
        let addr = Resource::from(seen.addr);
        self.server.input(self.server_now(), Input::Neighbour(link, seen));
        self.forget_quarantined(addr);
    }

    pub(crate) fn identify(&mut self) {
        self.server.engine.set_identity(DUID, [7; 16]);
        self.server.input(self.server_now(), Input::ClockTrusted(self.time.is_trusted()));
        self.server.input(self.server_now(), Input::LinkUp(cloud::link()));
        if let Some(link) = self.bridge {
            self.server.input(self.server_now(), Input::LinkUp(bridge(link)));
        }
    }

    /// The bridge is taken down; whoever is on it stays, and hears nothing.
    pub(crate) fn link_away(&mut self) {
        let Some(link) = self.bridge.take() else { return };
        self.tally.fault("the bridge goes away");
        self.server.input(self.server_now(), Input::LinkDown(link));
        let back = self.random.within(100, 20_000);
        self.at(back, Event::LinkBack);
    }

    /// It is there again, as another interface.
    pub(crate) fn link_back(&mut self) {
        self.bridges += 1;
        let link = LinkId(UPLINK.0 + self.bridges);
        self.bridge = Some(link);
        self.server.input(self.server_now(), Input::LinkUp(bridge(link)));
    }
}

/// The interface that the server listens on.
pub(crate) fn bridge(link: LinkId) -> LinkUp {
    LinkUp {
        link,
        name: "br0".into(),
        network: NetworkId::of("lab"),
        mac: Mac([2, 0xff, 0, 0, 0, 1]),
        addrs: vec![(OWN, Prefix4::new(Ipv4Addr::new(10, 0, 0, 0), 24).expect("a prefix"))],
        addrs6: vec![OWN6],
    }
}
