//! What DHCPv6 clients and their relays say.

use std::net::{Ipv6Addr, SocketAddrV6};

use foreshadow::base::{LinkId, Mac};
use foreshadow::engine::Input;
use foreshadow::engine::effects::Arrival6;
use foreshadow::wire::v6_build::{RequestV6, ia_addr, ia_prefix, relay_forward};
use foreshadow::wire::{IaKind, MessageType6, options6 as opt};

use super::words::{addr6, bytes, duid, ia as ia_words, mac, prefix6};
use super::world::{DUID, Outcome, World};

const VERBS: [(&str, MessageType6); 8] = [
    ("solicit", MessageType6::Solicit),
    ("request", MessageType6::Request),
    ("confirm", MessageType6::Confirm),
    ("renew6", MessageType6::Renew),
    ("rebind6", MessageType6::Rebind),
    ("release6", MessageType6::Release),
    ("decline6", MessageType6::Decline),
    ("information", MessageType6::InformationRequest),
];

/// The group of all servers and relays (RFC 9915 s7.1).
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

pub(super) fn is_verb(word: &str) -> bool {
    word == "force6" || VERBS.iter().any(|(verb, _)| *verb == word)
}

impl World {
    /// A client's message, through relays if the words say so.
    pub(super) fn ask6(
        &mut self,
        who: &str,
        words: &[&str],
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let (verb, mut rest) = words.split_first().ok_or("no verb")?;
        let kind = VERBS.iter().find(|(known, _)| known == verb).map(|(_, kind)| *kind as u8);
        let kind = match kind {
            Some(kind) => kind,
            None => {
                let (number, others) = rest.split_first().ok_or("force6 TYPE")?;
                rest = others;
                number.parse().map_err(|_| "force6 TYPE")?
            }
        };
        let source = mac(who)?;
        let mut arrival = self.arrival6(source);
        let mut packet = begin(kind, source, rest, self.now.0 as u32)?;
        for word in rest {
            packet = argument(packet, word, &mut arrival)?;
        }
        let payload = wrapped(packet.build(), rest, &mut arrival)?;
        self.input(Input::Packet6(arrival, &payload), outcome);
        Ok(())
    }

    fn arrival6(&self, source: Mac) -> Arrival6 {
        Arrival6 {
            link: LinkId(1),
            port: None,
            trunk: false,
            src_mac: Some(source),
            src: SocketAddrV6::new(link_local(source), 546, 0, 0),
            dst: SERVERS,
        }
    }
}

/// The address that a host makes of its MAC (RFC 4291 appendix A).
fn link_local(Mac([a, b, c, d, e, f]): Mac) -> Ipv6Addr {
    let [one, two, three, four] =
        [[a ^ 2, b], [c, 0xff], [0xfe, d], [e, f]].map(u16::from_be_bytes);
    Ipv6Addr::new(0xfe80, 0, 0, 0, one, two, three, four)
}

/// The message with both identifiers, as far as its kind has them.
fn begin(kind: u8, source: Mac, rest: &[&str], xid: u32) -> Result<RequestV6, String> {
    let given = |key: &str| rest.iter().find_map(|word| word.strip_prefix(key));
    let packet = RequestV6::with_type(kind, xid);
    let packet = match given("duid=") {
        Some("none") => packet,
        Some(text) => packet.client_id(&bytes(text)?),
        None => packet.client_id(&duid(source)),
    };
    use MessageType6::*;
    let names_us = [Request, Renew, Release, Decline].iter().any(|named| *named as u8 == kind);
    Ok(match given("server=") {
        Some("none") => packet,
        Some("ours") => packet.server_id(DUID),
        Some(text) => packet.server_id(&bytes(text)?),
        None if names_us => packet.server_id(DUID),
        None => packet,
    })
}

/// `7[.10@60-120,.11]`: an IA with what it names and the lifetimes that it hints at.
fn ia(packet: RequestV6, kind: IaKind, text: &str) -> Result<RequestV6, String> {
    let (iaid, items) = ia_words(text)?;
    let item = |item: &&str| {
        let (name, times) = item.split_once('@').unwrap_or((item, "0-0"));
        let (preferred, valid) = times.split_once('-').ok_or("@PREFERRED-VALID")?;
        let secs = |text: &str| text.parse::<u32>().map_err(|_| format!("no seconds: {text}"));
        let (preferred, valid) = (secs(preferred)?, secs(valid)?);
        Ok(match name.split_once('/') {
            Some(_) => {
                let (prefix, len) = prefix6(name)?;
                ia_prefix(prefix, len, preferred, valid, &[])
            }
            None => ia_addr(addr6(name)?, preferred, valid, &[]),
        })
    };
    let inside: Vec<Vec<u8>> = items.iter().map(item).collect::<Result<_, String>>()?;
    Ok(packet.ia(kind, iaid, &inside))
}

fn argument(packet: RequestV6, word: &str, arrival: &mut Arrival6) -> Result<RequestV6, String> {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    let number = || value.parse::<u32>().map_err(|_| format!("no number: {word}"));
    let counted = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    match key {
        "eth" => arrival.src_mac = Some(mac(value)?),
        "src" => arrival.src.set_ip(addr6(value)?),
        "dst" => arrival.dst = addr6(value)?,
        "on" => arrival.link = LinkId(number()?),
        "port" => arrival.port = Some(LinkId(number()?)),
        "trunk" => arrival.trunk = true,
        _ => {}
    }
    Ok(match key {
        "eth" | "src" | "dst" | "on" | "port" | "trunk" => packet,
        "duid" | "server" | "relay" | "nest" | "cut" => packet,
        "na" => ia(packet, IaKind::Na, value)?,
        "pd" => ia(packet, IaKind::Pd, value)?,
        "ta" => ia(packet, IaKind::Ta, value)?,
        // Many empty IAs, IAIDs 1 and up.
        "nas" => (1..=number()?).fold(packet, |packet, iaid| packet.ia(IaKind::Na, iaid, &[])),
        "pds" => (1..=number()?).fold(packet, |packet, iaid| packet.ia(IaKind::Pd, iaid, &[])),
        "rapid" => packet.rapid_commit(),
        "elapsed" => packet.elapsed(number()? as u16),
        "oro" => {
            let codes: Result<Vec<u16>, _> = value.split(',').map(str::parse).collect();
            packet.oro(&codes.map_err(|_| "oro=23,24")?)
        }
        "user" => packet.option(opt::USER_CLASS, &counted(value)),
        "vendor" => {
            let (enterprise, text) = value.split_once(':').ok_or("vendor=ENTERPRISE:TEXT")?;
            let enterprise: u32 = enterprise.parse().map_err(|_| "vendor=ENTERPRISE:TEXT")?;
            let data = [&enterprise.to_be_bytes()[..], &counted(text)].concat();
            packet.option(opt::VENDOR_CLASS, &data)
        }
        "arch" => packet.option(opt::CLIENT_ARCH, &(number()? as u16).to_be_bytes()),
        "fqdn" => {
            let mut data = vec![1];
            for label in value.split('.').filter(|label| !label.is_empty()) {
                data.push(label.len() as u8);
                data.extend_from_slice(label.as_bytes());
            }
            packet.option(opt::CLIENT_FQDN, &data)
        }
        "opt" => {
            let (code, data) = value.split_once(':').ok_or("opt=CODE:0xHEX")?;
            packet.option(code.parse().map_err(|_| "opt=CODE:0xHEX")?, &bytes(data)?)
        }
        _ => return Err(format!("what is {word}?")),
    })
}

/// The message as it reaches us: within the relays that the words name, the nearest to the client
/// first, and cut short if they say so.
fn wrapped(message: Vec<u8>, words: &[&str], arrival: &mut Arrival6) -> Result<Vec<u8>, String> {
    let mut payload = message;
    let mut hops = 0;
    for word in words {
        if let Some(text) = word.strip_prefix("relay=") {
            payload = relayed(&payload, text, hops, arrival)?;
            hops += 1;
        } else if let Some(times) = word.strip_prefix("nest=") {
            for _ in 0..times.parse::<u8>().map_err(|_| "nest=N")? {
                payload = relayed(&payload, "2001:db8:2::1", hops, arrival)?;
                hops += 1;
            }
        } else if let Some(len) = word.strip_prefix("cut=") {
            payload.truncate(len.parse().map_err(|_| "cut=BYTES")?);
        }
    }
    if hops > 0 {
        arrival.src_mac = None;
        let chosen = |key: &str| words.iter().any(|word| word.starts_with(key));
        if !chosen("src=") {
            arrival.src.set_ip(addr6("2001:db8:2::fe")?);
        }
        if !chosen("dst=") {
            arrival.dst = addr6(".1")?;
        }
    }
    Ok(payload)
}

/// `LINK,if=TEXT,remote=ENTERPRISE:TEXT,sub=TEXT,hw=cN,peer=ADDR,port,echo=CODE,opt=CODE:HEX`.
fn relayed(
    message: &[u8],
    text: &str,
    hops: u8,
    arrival: &mut Arrival6,
) -> Result<Vec<u8>, String> {
    let mut parts = text.split(',');
    let link = addr6(parts.next().ok_or("relay=LINK")?)?;
    let mut peer = *arrival.src.ip();
    let mut options: Vec<(u16, Vec<u8>)> = Vec::new();
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        options.push(match key {
            "peer" => {
                peer = addr6(value)?;
                continue;
            }
            "if" => (opt::INTERFACE_ID, bytes(value)?),
            "remote" => {
                let (enterprise, id) = value.split_once(':').ok_or("remote=ENTERPRISE:TEXT")?;
                let enterprise: u32 = enterprise.parse().map_err(|_| "remote=ENTERPRISE:TEXT")?;
                (opt::REMOTE_ID, [&enterprise.to_be_bytes()[..], &bytes(id)?].concat())
            }
            "sub" => (opt::SUBSCRIBER_ID, bytes(value)?),
            "hw" => (opt::CLIENT_LINKLAYER_ADDR, [&[0, 1][..], &mac(value)?.0].concat()),
            "port" => {
                arrival.src.set_port(50_000);
                (opt::RELAY_PORT, vec![0, 0])
            }
            _ => return Err(format!("what is {part}?")),
        });
    }
    let options: Vec<(u16, &[u8])> = options.iter().map(|(c, data)| (*c, &**data)).collect();
    Ok(relay_forward(hops, link, peer, &options, message))
}
