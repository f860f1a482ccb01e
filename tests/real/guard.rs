//! Guests that lie at guarded ports: nobody hears it, and honest ones notice nothing.

use std::net::Ipv4Addr;

use pnet::datalink::DataLinkSender;

use crate::common::clients::{Client, Kind};
use crate::common::link::{EVERYONE, Sniffer, open};
use crate::common::process::Proc;
use crate::common::server::{BINARY, Server, Setup, calm_lan};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, wait_until};

type Mac = [u8; 6];

/// A tag that frames of these tests end with.
const TAG: &[u8; 8] = b"by-guest";

fn tag(frame: &[u8]) -> Option<u32> {
    let end = frame.last_chunk::<12>()?;
    let (tag, number) = end.split_at(8);
    (tag == TAG).then(|| u32::from_be_bytes(number.try_into().unwrap()))
}

fn ethernet(source: Mac, kind: u16, body: &[u8]) -> Vec<u8> {
    [&EVERYONE[..], &source, &kind.to_be_bytes(), body].concat()
}

fn arp(source: Mac, sender: Mac, ip: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, 1];
    let body = [&head[..], &sender, &ip.octets(), &[0; 6], &target.octets()].concat();
    ethernet(source, 0x0806, &body)
}

fn udp(source: Mac, ip: Ipv4Addr, ports: (u16, u16)) -> Vec<u8> {
    let mut head = vec![0x45, 0, 0, 60, 0, 1, 0, 0, 64, 17, 0, 0];
    head.extend(ip.octets());
    head.extend([255; 4]);
    let sum: u32 = head.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
    let sum = !((sum & 0xffff) as u16).wrapping_add((sum >> 16) as u16);
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    head.extend(ports.0.to_be_bytes());
    head.extend(ports.1.to_be_bytes());
    head.extend([0, 40, 0, 0]);
    head.extend([0; 20]);
    ethernet(source, 0x0800, &head)
}

fn icmp6(source: Mac, ip: [u8; 16], kind: u8) -> Vec<u8> {
    let mut body = vec![0x60, 0, 0, 0, 0, 36, 58, 255];
    body.extend(ip);
    body.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    body.push(kind);
    body.extend([0; 23]);
    ethernet(source, 0x86dd, &body)
}

const LINK_LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
const GLOBAL: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// Somebody who sends raw frames from a guest.
struct Voice {
    to: Box<dyn DataLinkSender>,
    sent: u32,
}

impl Voice {
    fn of(host: &Host) -> Voice {
        Voice { to: open(host, "eth0").0, sent: 0 }
    }

    fn say(&mut self, frame: Vec<u8>) -> u32 {
        let mut frame = frame;
        frame.extend(TAG);
        frame.extend(self.sent.to_be_bytes());
        self.sent += 1;
        self.to.send_to(&frame, None).unwrap().unwrap();
        self.sent - 1
    }
}

fn run_agent(world: &World, host: &Host) -> Proc {
    let socket = world.dir().join("agent/agent.sock");
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let words = [BINARY, "agent", "run", "--socket", socket.to_str().unwrap()];
    let mut agent = world.spawn(host, "agent", &words);
    agent.wait_line("agent ready");
    agent
}

/// What the agent says of the ports: its answer as text, in which names and addresses are found.
fn ports(world: &World, host: &Host) -> String {
    let socket = world.dir().join("agent/agent.sock");
    let words =
        [BINARY, "agent", "status", "--ports", "--json", "--socket", socket.to_str().unwrap()];
    let output = host.command(&words).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

struct Lan {
    world: World,
    host: Host,
    agent: Proc,
    server: Server,
    ears: Sniffer<u32>,
    /// A port that is no guest's.
    uplink: Host,
}

impl Lan {
    fn new(name: &str) -> Lan {
        let (world, host) = World::with_bridge(name);
        let agent = run_agent(&world, &host);
        let keys = format!("agent_socket = \"{}\"", world.dir().join("agent/agent.sock").display());
        // The first plug of this world is the uplink.
        let uplink = world.client("uplink", &host, "br0");
        let guard = "trunk_ports = [\"port0\"]\n[network.guard]\nmode = \"enforce\"\n\
            ports = [\"port*\"]\n[[network.subnet]]";
        let body = calm_lan().replacen("[[network.subnet]]", guard, 1);
        let setup = Setup { keys: &keys, ..Setup::default() };
        let server = Server::start_with(&world, &host, &body, setup);
        let ears = Sniffer::of(&uplink, "eth0", tag);
        Lan { world, host, agent, server, ears, uplink }
    }

    fn boot(&self, name: &str, kind: Kind) -> (Host, Client, Ipv4Addr) {
        let guest = self.world.client(name, &self.host, "br0");
        let client = Client::start(&self.world, &guest, kind, name);
        let addr = client.wait_bound();
        self.wait_for_ports(&format!("\"{addr}\""), true);
        (guest, client, addr)
    }

    fn wait_for_ports(&self, text: &str, there: bool) {
        wait_until("the agent to know", PATIENCE, || {
            ports(&self.world, &self.host).contains(text) == there
        });
    }

    fn is_heard(&self, number: u32) -> bool {
        self.ears.all().contains(&number)
    }

    /// Which of these frames are heard, though they should not be, or the other way round.
    fn faults(&self, voice: &mut Voice, frames: &[(&str, bool, Vec<u8>)]) -> Vec<String> {
        let mut said = Vec::new();
        for (name, passes, frame) in frames {
            said.push((*name, *passes, voice.say(frame.clone())));
        }
        // What passes comes in order: the first frame always does.
        let last = voice.say(frames[0].2.clone());
        wait_until("a mark", PATIENCE, || self.is_heard(last));
        let wrong = |(_, passes, number): &&(&str, bool, u32)| self.is_heard(*number) != *passes;
        said.iter().filter(wrong).map(|(name, ..)| (*name).to_owned()).collect()
    }
}

/// Frames of a guest that has this, and of one that claims to have what is another's.
fn frames(own: (Mac, Ipv4Addr), other: (Mac, Ipv4Addr)) -> Vec<(&'static str, bool, Vec<u8>)> {
    let ((mac, ip), nobody) = (own, Ipv4Addr::UNSPECIFIED);
    let mut tagged = udp(mac, ip, (9, 9));
    tagged.splice(12..12, [0x81, 0, 0, 7, 0x81, 0, 0, 8]);
    vec![
        ("own ARP", true, arp(mac, mac, ip, other.1)),
        ("own IPv4", true, udp(mac, ip, (9, 9))),
        ("ARP probe", true, arp(mac, mac, nobody, other.1)),
        ("DISCOVER", true, udp(mac, nobody, (68, 67))),
        ("link-local IPv6", true, icmp6(mac, LINK_LOCAL, 128)),
        ("DAD", true, icmp6(mac, [0; 16], 135)),
        ("an address that it made itself", true, icmp6(mac, GLOBAL, 128)),
        ("a forged source", false, arp(other.0, mac, ip, other.1)),
        ("a forged ARP sender", false, arp(mac, other.0, ip, other.1)),
        ("another's address by ARP", false, arp(mac, mac, other.1, ip)),
        ("another's address", false, udp(mac, other.1, (9, 9))),
        ("no address, and no DHCP", false, udp(mac, nobody, (9, 9))),
        ("a DHCP server", false, udp(mac, ip, (67, 68))),
        ("a router", false, icmp6(mac, LINK_LOCAL, 134)),
        ("a redirect", false, icmp6(mac, LINK_LOCAL, 137)),
        ("something else", false, ethernet(mac, 0x88b5, &[0; 46])),
        ("two tags", false, tagged),
    ]
}

#[test]
fn who_lies_is_not_heard_whoever_is_killed() {
    let mut lan = Lan::new("guarded");
    let (a, _a, a_ip) = lan.boot("honest", Kind::Dhclient);
    let (b, mut client, b_ip) = lan.boot("liar", Kind::Udhcpc);
    let (a, b_mac) = ((a.mac_of("eth0"), a_ip), b.mac_of("eth0"));
    let frames = frames((b_mac, b_ip), a);
    let mut voice = Voice::of(&b);
    assert_eq!(lan.faults(&mut voice, &frames), Vec::<String>::new());
    let mut uplink = Voice::of(&lan.uplink);
    uplink.say(arp([2, 9, 9, 9, 9, 9], [2, 9, 9, 9, 9, 9], a_ip, b_ip));
    assert!(!ports(&lan.world, &lan.host).contains("\"port0\""), "the uplink is guarded");
    // Who is killed leaves the rules, and comes back to them.
    lan.server.kill9();
    assert_eq!(lan.faults(&mut voice, &frames), Vec::<String>::new(), "without the server");
    lan.agent.kill9();
    assert_eq!(lan.faults(&mut voice, &frames), Vec::<String>::new(), "without both");
    lan.agent = run_agent(&lan.world, &lan.host);
    assert!(ports(&lan.world, &lan.host).contains(&format!("\"{b_ip}\"")), "kept");
    assert_eq!(lan.faults(&mut voice, &frames), Vec::<String>::new(), "with the agent");
    // Nobody was heard of late.
    lan.host.ip("link set br0 type bridge fdb_flush");
    lan.server.start_again();
    client.renew();
    assert_eq!(lan.faults(&mut voice, &frames), Vec::<String>::new(), "with both");
    // Who gives its address back has none, and gets one again at the same port.
    client.release();
    lan.wait_for_ports(&format!("\"{b_ip}\""), false);
    assert!(ports(&lan.world, &lan.host).contains(&format!("\"{a_ip}\"")), "an idle guest");
    let (probe, own) = (&frames[2], &frames[1]);
    let silent = [probe.clone(), ("a former address", false, own.2.clone())];
    assert_eq!(lan.faults(&mut voice, &silent), Vec::<String>::new());
    let again = Client::start(&lan.world, &b, Kind::Dhclient, "again");
    let addr = again.wait_bound();
    lan.wait_for_ports(&format!("\"{addr}\""), true);
    let own = [("own again", true, udp(b_mac, addr, (9, 9)))];
    assert_eq!(lan.faults(&mut voice, &own), Vec::<String>::new());
    // Without the policy nobody is guarded.
    let body = calm_lan();
    lan.server.write_config(&body);
    lan.server.hang_up();
    lan.wait_for_ports("\"port1\"", false);
    let free = frames.iter().map(|(name, _, frame)| (*name, true, frame.clone()));
    let free: Vec<_> = free.filter(|(name, ..)| *name == "another's address").collect();
    assert_eq!(lan.faults(&mut voice, &free), Vec::<String>::new());
}
