//! What DHCPv4 clients say, and the other packets of IPv4.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use foreshadow::base::{LinkId, Mac};
use foreshadow::engine::effects::{Neighbour, Source};
use foreshadow::engine::{Arrival, Input};
use foreshadow::wire::v4_build::RequestV4;
use foreshadow::wire::{MessageType, options as opt};

use super::words::{addr, bytes, mac};
use super::world::{Outcome, World};

impl World {
    pub(super) fn arrival(&self, src_mac: Mac, src: Ipv4Addr) -> Arrival {
        Arrival {
            link: LinkId(1),
            port: None,
            trusted: false,
            trunk: false,
            src_mac: Some(src_mac),
            src: SocketAddrV4::new(src, 68),
            dst: Ipv4Addr::BROADCAST,
            dst_port: 67,
        }
    }

    pub(super) fn ask4(
        &mut self,
        who: &str,
        words: &[&str],
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let (verb, mut rest) = words.split_first().ok_or("no verb")?;
        let mut target = None;
        if let Some((first, others)) = rest.split_first()
            && !first.contains('=')
            && (first.contains('.') || *verb == "force")
        {
            target = Some(*first);
            rest = others;
        }
        let source = rest.iter().find_map(|w| w.strip_prefix("mac=")).unwrap_or(who);
        let mac = mac(source)?;
        let mut arrival = self.arrival(mac, Ipv4Addr::UNSPECIFIED);
        let mut packet = request(verb, target, mac, rest, &mut arrival)?.xid(self.now.0 as u32);
        for word in rest {
            packet = argument(packet, word, &mut arrival)?;
        }
        self.input(Input::Packet4(arrival, &packet.build()), outcome);
        Ok(())
    }

    /// Somebody says by ARP or neighbour discovery that it has an address.
    pub(super) fn neighbour(
        &mut self,
        who: &str,
        addr: IpAddr,
        rest: &[&str],
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let mac_of = mac(who)?;
        let given = |key: &str| rest.iter().find_map(|w| w.strip_prefix(key));
        let frame_source = given("from=").map_or(Ok(mac_of), mac)?;
        let port = given("port=").and_then(|p| p.parse().ok()).map(LinkId);
        let source = match (given("port="), port) {
            (Some("?"), _) => Source::Unknown,
            (_, Some(port)) => Source::Port(port),
            _ => Source::Behind(mac_of),
        };
        let seen = Neighbour { addr, mac: mac_of, frame_source, source };
        self.input(Input::Neighbour(LinkId(1), seen), outcome);
        Ok(())
    }

    /// A relayed message that is cut short.
    pub(super) fn relayed(&mut self, length: &str, outcome: &mut Outcome) -> Result<(), String> {
        let length = length.parse::<usize>().map_err(|_| "relayed BYTES")?;
        let mut packet = RequestV4::bootp(mac("c1")?).giaddr(addr(".1")?).build();
        packet.truncate(length);
        let arrival = Arrival { src_mac: None, ..self.arrival(mac("c1")?, addr(".1")?) };
        self.input(Input::Packet4(arrival, &packet), outcome);
        Ok(())
    }

    /// Another server's offer.
    pub(super) fn heard(
        &mut self,
        server: &str,
        ip: &str,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let payload = RequestV4::new(MessageType::Offer, mac("c1")?)
            .op(2)
            .addr(opt::SERVER_ID, addr(server)?)
            .addr(opt::REQUESTED_IP, addr(ip)?)
            .build();
        let arrival = Arrival { dst_port: 68, ..self.arrival(mac("c99")?, addr(server)?) };
        self.input(Input::Packet4(arrival, &payload), outcome);
        Ok(())
    }
}

fn request(
    verb: &str,
    target: Option<&str>,
    mac: Mac,
    rest: &[&str],
    arrival: &mut Arrival,
) -> Result<RequestV4, String> {
    let ip = || addr(target.ok_or("no address")?);
    let server = match rest.iter().find_map(|w| w.strip_prefix("server=")) {
        Some("none") => None,
        Some(text) => Some(addr(text)?),
        None => Some(Ipv4Addr::new(10, 0, 0, 1)),
    };
    let named = |r: RequestV4| match server {
        Some(id) => r.addr(opt::SERVER_ID, id),
        None => r,
    };
    use MessageType::*;
    Ok(match verb {
        "discover" => RequestV4::new(Discover, mac),
        "bootp" => RequestV4::bootp(mac),
        "select" => named(RequestV4::new(Request, mac)).addr(opt::REQUESTED_IP, ip()?),
        "reboot" => RequestV4::new(Request, mac).addr(opt::REQUESTED_IP, ip()?),
        "decline" => named(RequestV4::new(Decline, mac)).addr(opt::REQUESTED_IP, ip()?),
        "renew" | "rebind" | "release" | "inform" => {
            arrival.src = SocketAddrV4::new(ip()?, 68);
            if matches!(verb, "renew" | "release") {
                arrival.dst = server.unwrap_or(Ipv4Addr::new(10, 0, 0, 1));
            }
            let kind = match verb {
                "release" => Release,
                "inform" => Inform,
                _ => Request,
            };
            let message = RequestV4::new(kind, mac).ciaddr(ip()?);
            if verb == "release" { named(message) } else { message }
        }
        "force" => {
            let kind: u8 = target.and_then(|t| t.parse().ok()).ok_or("no type")?;
            RequestV4::bootp(mac).option(opt::MESSAGE_TYPE, &[kind])
        }
        _ => return Err(format!("what is {verb}?")),
    })
}

fn argument(packet: RequestV4, word: &str, arrival: &mut Arrival) -> Result<RequestV4, String> {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    let number = || value.parse::<u32>().map_err(|_| format!("no number: {word}"));
    Ok(match key {
        "mac" | "server" => packet,
        "eth" => {
            arrival.src_mac = Some(mac(value)?);
            packet
        }
        "want" => packet.addr(opt::REQUESTED_IP, addr(value)?),
        "id" => packet.option(opt::CLIENT_ID, &bytes(value)?),
        "relay" => {
            let giaddr = addr(value)?;
            arrival.src = SocketAddrV4::new(giaddr, 67);
            arrival.dst = Ipv4Addr::new(10, 0, 0, 1);
            arrival.src_mac = None;
            packet.giaddr(giaddr).hops(1)
        }
        "from" => {
            arrival.src.set_port(number()? as u16);
            packet
        }
        "src" => {
            arrival.src.set_ip(addr(value)?);
            packet
        }
        "info" => packet.relay_info(&bytes(value)?),
        "on" => {
            arrival.link = LinkId(number()?);
            packet
        }
        "port" => {
            arrival.port = Some(LinkId(number()?));
            packet
        }
        "trusted" => {
            arrival.trusted = true;
            packet
        }
        "trunk" => {
            arrival.trunk = true;
            packet
        }
        "vendor" => packet.option(opt::VENDOR_CLASS, value.as_bytes()),
        "user" => packet.option(opt::USER_CLASS, value.as_bytes()),
        "arch" => packet.option(opt::CLIENT_ARCH, &opt::u16(number()? as u16)),
        "host" => packet.option(opt::HOST_NAME, &bytes(value)?),
        "fqdn" => packet.option(opt::CLIENT_FQDN, &[&[0, 0, 0], value.as_bytes()].concat()),
        "asks" => packet.option(opt::LEASE_TIME, &opt::u32(number()?)),
        "prl" => {
            let codes: Result<Vec<u8>, _> = value.split(',').map(str::parse).collect();
            packet.option(opt::PARAMETER_LIST, &codes.map_err(|_| "prl=1,3,6")?)
        }
        "max" => packet.option(opt::MAX_MESSAGE_SIZE, &opt::u16(number()? as u16)),
        "bcast" => packet.flags(0x8000),
        "rapid" => packet.option(opt::RAPID_COMMIT, &[]),
        "autoconf" => packet.option(opt::AUTO_CONFIGURE, &[1]),
        "link" => packet.addr(opt::SUBNET_SELECTION, addr(value)?),
        "opt" => {
            let (code, data) = value.split_once(':').ok_or("opt=CODE:0xHEX")?;
            packet.option(code.parse().map_err(|_| "opt=CODE:0xHEX")?, &bytes(data)?)
        }
        "hlen" => packet.chaddr(1, number()? as u8, &[9; 16]),
        "htype" => packet.chaddr(number()? as u8, 6, &[2, 0, 0, 0, 0, 1]),
        _ => return Err(format!("what is {word}?")),
    })
}
