//! The gate by frames: what gets through a bridge, from whom and to whom, before a switchover and
//! after it.
#![allow(clippy::unwrap_used)] // A panic is how a test fails.

#[path = "net_gate/frames.rs"]
mod frames;
mod net_rig;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use foreshadow::net::gate::{Gate, GateError, Port, Rules};
use frames::{FREE, GUARDED, Kind, OWN, Reach, SERVER, SPEAKS, TAGGED, TOWARDS, VIP4, VIP6, mac};
use net_rig::{ip, veth, wait_for};
use pnet::datalink::{self, Channel, DataLinkReceiver, DataLinkSender, NetworkInterface};

/// Who is there: three guests behind their ports, and the host of the bridge.
const STATIONS: [&str; 4] = ["g0", "g1", "g2", "br0"];
const HOST: usize = 3;
/// How often each frame is sent.
const TIMES: usize = 5;

struct Lab {
    links: Vec<(Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>)>,
    sent: u32,
}

impl Lab {
    /// A bridge with three ports that learn nothing: every frame is flooded.
    fn new() -> Lab {
        ip("link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0");
        ip("addr add 10.0.0.1/24 dev br0");
        for n in 0..3 {
            veth(&format!("p{n}"), &format!("g{n}"));
            ip(&format!("link set p{n} master br0"));
            ip(&format!("link set p{n} type bridge_slave learning off flood on"));
        }
        ip("link set br0 up");
        wait_for("the ports to forward", || {
            let state = |n| std::fs::read_to_string(format!("/sys/class/net/p{n}/brport/state"));
            let up = |n| state(n).map_or(true, |state| state.trim() == "3");
            (0..3).all(up).then_some(())
        });
        Lab { links: STATIONS.iter().map(|name| open(name)).collect(), sent: 0 }
    }

    /// Who hears a frame that a station sends so often: how often each does.
    fn heard(&mut self, from: usize, kind: &Kind, times: usize) -> [usize; 4] {
        let first = self.sent;
        for _ in 0..times {
            self.send(from, &(kind.frame)(from));
        }
        let last = self.sent;
        let mut heard = [0; 4];
        // What went before is through when two more have gone the same way.
        for _ in 0..2 {
            for (at, tags) in self.flush().into_iter().enumerate() {
                heard[at] += tags.iter().filter(|tag| (first..last).contains(tag)).count();
            }
        }
        heard
    }

    fn send(&mut self, from: usize, frame: &[u8]) {
        let mut frame = frame.to_vec();
        frame.resize(frame.len().max(60), 0);
        frame.extend(self.sent.to_be_bytes());
        self.sent += 1;
        self.links[from].0.send_to(&frame, None).unwrap().unwrap();
    }

    /// The numbers of all frames that each station hears until one that the gate has no say in.
    fn flush(&mut self) -> Vec<Vec<u32>> {
        let marks = [self.sent, self.sent + 1];
        self.send(HOST, &frames::mark(HOST));
        self.send(0, &frames::mark(0));
        let links = self.links.iter_mut().enumerate();
        links.map(|(at, (_, receiver))| until(receiver, marks[usize::from(at == HOST)])).collect()
    }
}

fn until(receiver: &mut Box<dyn DataLinkReceiver>, mark: u32) -> Vec<u32> {
    let mut tags = Vec::new();
    wait_for("a mark", || {
        let frame = receiver.next().ok()?;
        let tag = frame.last_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))?;
        tags.push(tag);
        (tag == mark).then_some(())
    });
    tags
}

fn open(name: &str) -> (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>) {
    let index = net_rig::index(name).0;
    let link = NetworkInterface {
        name: name.into(),
        description: String::new(),
        index,
        mac: None,
        ips: Vec::new(),
        flags: 0,
    };
    let config = datalink::Config {
        read_timeout: Some(Duration::from_millis(20)),
        promiscuous: true,
        ..datalink::Config::default()
    };
    match datalink::channel(&link, config).unwrap() {
        Channel::Ethernet(sender, receiver) => (sender, receiver),
        _ => panic!("{name} is no Ethernet"),
    }
}

fn port(n: usize) -> Port {
    Port::new(&format!("p{n}")).unwrap()
}

const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP4), IpAddr::V6(VIP6)];

/// An address of the first two guests is one's, and the other is silent.
fn held_by(owner: usize) -> Rules {
    Rules {
        guests: [port(0), port(1), port(2)].into(),
        silent: VIPS.map(|ip| (port(1 - owner), ip)).into(),
        servers: [SERVER.0.into(), SERVER.1.into()].into(),
        ..Rules::default()
    }
}

/// Whether a frame is IP, and none of the neighbour discovery.
fn is_plain_ip(frame: &[u8]) -> bool {
    let neighbours = (133..=137).contains(&frame[54.min(frame.len() - 1)]);
    match frame[12..14] {
        [0x08, 0x00] => true,
        [0x86, 0xdd] => frame[20] != 58 || !neighbours,
        _ => false,
    }
}

/// What is wrong with who hears what, while one of the first two guests has their address and the
/// other is silent, or leaving it.
fn faults(lab: &mut Lab, owner: usize, leaves: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let mut look = |from: usize, kind: &Kind, want: [bool; 4]| {
        let want = want.map(|hears| if hears { TIMES } else { 0 });
        let heard = lab.heard(from, kind, TIMES);
        let wrong = (0..4).any(|at| at != from && heard[at] != want[at]);
        if wrong {
            faults.push(format!("{} of {}: {heard:?}, want {want:?}", kind.name, STATIONS[from]));
        }
    };
    let other = 1 - owner;
    for kind in SPEAKS {
        for from in 0..3 {
            let speaks = from != other || leaves && is_plain_ip(&(kind.frame)(from));
            let hears = |at| kind.reach == Reach::All || at != other;
            look(from, kind, [0, 1, 2, 3].map(|at| speaks && hears(at)));
        }
    }
    for kind in FREE {
        for from in 0..4 {
            look(from, kind, [true; 4]);
        }
    }
    for kind in TOWARDS {
        for from in [2, HOST] {
            let hears_yet = leaves && is_plain_ip(&(kind.frame)(from));
            let hears = |at| kind.reach == Reach::All || at != other || hears_yet;
            look(from, kind, [0, 1, 2, 3].map(hears));
        }
    }
    for kind in TAGGED {
        for from in 0..3 {
            look(from, kind, [false; 4]);
        }
    }
    faults
}

isolated_tests! {
    fn only_the_owner_of_an_address_is_heard_and_hears() {
        let mut lab = Lab::new();
        let mut gate = Gate::install(held_by(0)).unwrap();
        assert_eq!(faults(&mut lab, 0, false), Vec::<String>::new(), "before");
        let leaving = VIPS.map(|ip| (port(0), ip)).into();
        gate.apply(Rules { leaving, silent: [].into(), ..held_by(1) }).unwrap();
        assert_eq!(faults(&mut lab, 1, true), Vec::<String>::new(), "at the switchover");
        gate.apply(held_by(1)).unwrap();
        assert_eq!(faults(&mut lab, 1, false), Vec::<String>::new(), "after the switchover");
        gate.apply(held_by(0)).unwrap();
        assert_eq!(faults(&mut lab, 0, false), Vec::<String>::new(), "after it was taken back");
        drop(gate);
        assert_eq!(faults(&mut lab, 0, false), Vec::<String>::new(), "left in place");
        let gate = Gate::install(held_by(1)).unwrap();
        assert_eq!(faults(&mut lab, 1, false), Vec::<String>::new(), "made anew");
        gate.remove().unwrap();
        assert!(!faults(&mut lab, 1, false).is_empty(), "without a gate");
    }

    fn a_guarded_port_says_only_what_is_its_own() {
        let mut lab = Lab::new();
        let rules = Rules {
            guarded: [(port(1), [mac(1)].into())].into(),
            sources: OWN.iter().map(|ip| (port(1), *ip)).collect(),
            servers: [SERVER.0.into(), SERVER.1.into()].into(),
            ..Rules::default()
        };
        let gate = Gate::install(rules).unwrap();
        for (kind, passes) in GUARDED {
            let heard = lab.heard(1, kind, TIMES);
            let want = if *passes { TIMES } else { 0 };
            assert_eq!(heard, [want, 0, want, want], "{}", kind.name);
            assert_eq!(lab.heard(2, kind, TIMES), [TIMES, TIMES, 0, TIMES], "{} of g2", kind.name);
        }
        gate.remove().unwrap();
    }

    fn what_is_altered_is_in_force_and_a_fenced_port_is_not_heard() {
        let mut lab = Lab::new();
        let none = Rules::default();
        let mut gate = Gate::install(held_by(1)).unwrap();
        let own = OWN.iter().map(|ip| (port(1), *ip)).collect();
        let guard = Rules {
            guarded: [(port(1), [mac(1)].into()), (port(2), BTreeSet::new())].into(),
            sources: own,
            ..Rules::default()
        };
        gate.alter(&none, &guard).unwrap();
        assert!(gate.is_in_force().unwrap());
        for (kind, passes) in GUARDED {
            let heard = lab.heard(1, kind, TIMES)[HOST];
            assert_eq!(heard, if *passes { TIMES } else { 0 }, "{}", kind.name);
        }
        // Of the second nothing is known: whatever it says as its own passes.
        assert_eq!(lab.heard(2, &SPEAKS[2], TIMES)[HOST], TIMES);
        let fence = Rules { fenced: [port(2)].into(), ..Rules::default() };
        gate.alter(&guard, &fence).unwrap();
        assert!(gate.is_in_force().unwrap());
        for kind in SPEAKS.iter().chain(FREE) {
            assert_eq!(lab.heard(2, kind, TIMES), [0; 4], "{} of a fenced port", kind.name);
        }
        gate.alter(&fence, &none).unwrap();
        assert_eq!(gate.rules(), &held_by(1));
        assert!(gate.is_in_force().unwrap());
        // Somebody takes the table away: a change makes all of it anew.
        Gate::install(none.clone()).unwrap().remove().unwrap();
        gate.alter(&none, &fence).unwrap();
        assert!(gate.is_in_force().unwrap());
        gate.remove().unwrap();
    }

    fn a_port_asks_for_leases_no_faster_than_it_may() {
        let mut lab = Lab::new();
        let guard = |n: usize| (port(n), BTreeSet::from([mac(n)]));
        let rules = Rules {
            guarded: BTreeMap::from([guard(1), guard(2)]),
            dhcp_per_s: Some(1),
            ..Rules::default()
        };
        let mut gate = Gate::install(rules.clone()).unwrap();
        for kind in &FREE[..2] {
            let heard = lab.heard(1, kind, 200);
            assert!((1..100).contains(&heard[HOST]), "{}: {heard:?}", kind.name);
            assert_eq!(lab.heard(2, kind, 1)[HOST], 1, "{} of another port", kind.name);
            // Another limit is another table: nobody is remembered.
            let other = gate.rules().dhcp_per_s.map(|n| n + 1);
            gate.apply(Rules { dhcp_per_s: other, ..rules.clone() }).unwrap();
        }
    }

    fn what_the_kernel_has_is_compared_and_made_anew() {
        let (mine, other) = (held_by(0), held_by(1));
        let mut gate = Gate::install(mine.clone()).unwrap();
        assert!(gate.is_in_force().unwrap());
        let intruder = Gate::install(other.clone()).unwrap();
        assert!(!gate.is_in_force().unwrap());
        // Nothing of a change is made if a part of it cannot be.
        let crowd = [port(0), port(2)].map(|port| (port, VIPS[0])).into();
        let changed = Rules { silent: crowd, ..mine.clone() };
        assert!(matches!(gate.apply(changed), Err(GateError::Astray)));
        assert_eq!(gate.rules(), &mine);
        gate.install_anew().unwrap();
        assert!(gate.is_in_force().unwrap());
        intruder.remove().unwrap();
        assert!(!gate.is_in_force().unwrap());
        let crowd = (0..10_000u32).map(|n| (port(1), IpAddr::from((0x0a00_0000 + n).to_be_bytes())));
        let crowd = Rules { silent: crowd.collect(), ..mine };
        let mut gate = Gate::install(crowd).unwrap();
        assert!(gate.is_in_force().unwrap());
        gate.apply(held_by(0)).unwrap();
        assert!(gate.is_in_force().unwrap());
        gate.remove().unwrap();
    }
}
