//! Failures of VMs on a real bridge: processes that end, links that are lost, guests that hang, and
//! guests that do not.
//!
//! Each failure is made `FORESHADOW_TIMES` times (once if that is not set) and how long it took to
//! be found is printed; nothing is asserted of that.
// A panic is how a test fails, and the figures are for people.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

// The tests of real components use the rest of it.
#[allow(dead_code)]
mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use common::link::open;
use common::process::Proc;
use common::world::{Host, World};
use common::{PATIENCE, require, wait_for};
use foreshadow::base::Mac;
use foreshadow::net::watch::{Event, Handle, RefusedWatch, Watcher};
use foreshadow::watch::{
    Health, Missing, Place, ProbePolicy, Process, Reporter, Verdict, Watch, WatchId, Why,
};
use foreshadow::wire::arp::{self, ArpFrame};
use rustix::process::Signal;

const ADDR: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 50);
const ADDR6: &str = "fd77::50";
const ID: WatchId = WatchId(7);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 0x99]);

fn times() -> usize {
    std::env::var("FORESHADOW_TIMES").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// A bridge with a watcher on its host.
struct Rig {
    world: World,
    host: Host,
    handle: Handle,
    events: Receiver<Event>,
    took: Vec<Duration>,
}

impl Rig {
    fn new(name: &str) -> Rig {
        let (world, host) = World::with_bridge(name);
        host.sh("nft 'table bridge t { set hung { type ifname; }; \
             chain a { type filter hook prerouting priority -300; iifname @hung drop; }; \
             chain b { type filter hook postrouting priority 0; oifname @hung drop; }; }'");
        let (handle, events) = host.enter(Watcher::start_with_channel).unwrap();
        Rig { world, host, handle, events, took: Vec::new() }
    }

    /// A guest with both addresses, and its port.
    fn guest(&self, name: &str) -> (Host, String) {
        let guest = self.world.host(name);
        let port = self.world.plug(&guest, "eth0", &self.host, "br0");
        guest.ip(&format!("addr add {ADDR}/24 dev eth0"));
        guest.ip(&format!("addr add {ADDR6}/64 dev eth0 nodad"));
        (guest, port)
    }

    fn watch_of(&self, guest: &Host, port: &str, policy: ProbePolicy) -> Watch {
        Watch {
            id: ID,
            addrs: vec![ADDR.into()],
            mac: Mac(guest.mac_of("eth0")),
            place: Place::Port(port.into()),
            process: None,
            policy,
        }
    }

    /// Begins to watch, and waits until that is so.
    fn begin(&self, watch: Watch) {
        let probed = !watch.addrs.is_empty();
        self.handle.watch(watch);
        assert!(matches!(self.next(), Event::Watching(ID)));
        if probed {
            assert!(matches!(self.verdict(), Verdict::Answers { .. }));
        }
    }

    fn next(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("an event")
    }

    fn verdict(&self) -> Verdict {
        match self.next() {
            Event::Verdict { id: ID, verdict, .. } => verdict,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for a confirmed failure; why.
    fn failure(&mut self, since: Instant) -> Why {
        let Verdict::Confirmed { why, at, .. } = self.confirmed() else { unreachable!() };
        self.took.push(self.handle.instant(at).saturating_duration_since(since));
        why
    }

    fn confirmed(&self) -> Verdict {
        loop {
            match self.next() {
                Event::Verdict { verdict: verdict @ Verdict::Confirmed { .. }, .. } => {
                    return verdict;
                }
                // The bridge port still hears something of the guest, which is no failure yet.
                Event::Verdict { verdict: Verdict::Suspected { .. }, .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn hang(&self, port: &str) {
        self.host.sh(&format!("nft add element bridge t hung '{{ {port} }}'"));
    }

    fn unhang(&self) {
        self.host.sh("nft flush set bridge t hung");
    }
}

impl Rig {
    /// Prints how long failures took to be found.
    fn tell(&mut self, what: &str) {
        self.took.sort();
        if let (Some(first), Some(last)) = (self.took.first(), self.took.last()) {
            let middle = self.took[self.took.len() / 2];
            eprintln!(
                "{what}: {} times, median {middle:?}, {first:?} to {last:?}",
                self.took.len()
            );
        }
        self.took.clear();
    }
}

fn fast() -> ProbePolicy {
    ProbePolicy::new(10, 3, true).unwrap()
}

/// So seldom that no probe is lost in the test.
fn seldom() -> ProbePolicy {
    ProbePolicy::new(60_000, 3, true).unwrap()
}

#[test]
fn a_lost_link_is_a_failure_until_it_is_back() {
    let mut rig = Rig::new("link");
    let (guest, port) = rig.guest("vm");
    rig.begin(rig.watch_of(&guest, &port, fast()));
    for _ in 0..times() {
        let since = Instant::now();
        guest.enter(|| {
            drop(std::process::Command::new("ip").args(["link", "set", "eth0", "down"]).status())
        });
        assert_eq!(rig.failure(since), Why::LinkDown);
        guest.ip("link set eth0 up");
        assert!(matches!(rig.verdict(), Verdict::Recovered { misfire: false, .. }));
    }
    rig.host.ip(&format!("link del {port}"));
    // It goes down before it is gone.
    assert!(matches!(rig.failure(Instant::now()), Why::LinkDown | Why::LinkGone));
    rig.took.pop();
    rig.tell("a lost link");
}

#[test]
fn a_port_that_is_made_anew_is_watched_again() {
    let mut rig = Rig::new("anew");
    let (guest, port) = rig.guest("vm");
    let watch = rig.watch_of(&guest, &port, fast());
    let mac = guest.mac_of("eth0").map(|byte| format!("{byte:02x}")).join(":");
    rig.begin(watch);
    rig.host.ip(&format!("link del {port}"));
    assert!(matches!(rig.failure(Instant::now()), Why::LinkDown | Why::LinkGone));
    rig.host.sh(&format!(
        "ip link add {port} type veth peer name made address {mac} && ip link set {port} master br0 up"
    ));
    let (mut sender, _receiver) = open(&rig.host, "made");
    rig.host.ip("link set made up");
    let mut says = Vec::new();
    let reply = ArpFrame {
        eth_src: Mac(guest_mac(&mac)),
        sender: Mac(guest_mac(&mac)),
        sender_ip: ADDR,
        target: Mac::ZERO,
        target_ip: ADDR,
        is_reply: false,
    };
    arp::write(&mut says, Mac::BROADCAST, &reply);
    let recovered = wait_for("recovery", PATIENCE, || {
        drop(sender.send_to(&says, None));
        rig.events.try_recv().ok()
    });
    assert!(
        matches!(
            recovered,
            Event::Verdict { verdict: Verdict::Recovered { misfire: false, .. }, .. }
        ),
        "{recovered:?}"
    );
}

fn guest_mac(text: &str) -> [u8; 6] {
    let mut mac = [0; 6];
    for (byte, hex) in mac.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(hex, 16).unwrap();
    }
    mac
}

#[test]
fn the_end_of_a_process_is_a_failure() {
    let mut rig = Rig::new("process");
    let (guest, port) = rig.guest("vm");
    for n in 0..2 * times() {
        let vm = rig.world.spawn(&rig.host, "vm", &["sleep", "600"]);
        let file = rig.world.dir().join("vm.pid");
        std::fs::write(&file, format!("{}\n", vm.pid())).unwrap();
        let process = match n % 2 {
            0 => Process::Pid(vm.pid()),
            _ => Process::PidFile(file),
        };
        let watch = rig.watch_of(&guest, &port, seldom());
        rig.begin(Watch { addrs: Vec::new(), process: Some(process), ..watch });
        let since = Instant::now();
        vm.signal(Signal::KILL);
        assert_eq!(rig.failure(since), Why::ProcessEnded);
        drop(vm);
    }
    rig.tell("the end of a process");
}

#[test]
fn the_death_of_a_real_machine_is_seen_by_its_end_and_by_its_link() {
    require("qemu-system-x86_64", "qemu-system-x86");
    let mut rig = Rig::new("qemu");
    rig.host.ip("tuntap add dev tap0 mode tap");
    rig.host.ip("link set tap0 master br0 up");
    for (label, has_process) in
        [("a machine by its process or link", true), ("a machine by its link", false)]
    {
        for _ in 0..times() {
            let vm = machine(&rig);
            let pid = rig.world.dir().join("qemu.pid");
            let watch = Watch {
                id: ID,
                addrs: Vec::new(),
                mac: OTHER,
                place: Place::Port("tap0".into()),
                process: has_process.then_some(Process::PidFile(pid)),
                policy: ProbePolicy::default(),
            };
            // Until it has opened its interface and said who it is, there is nothing to watch.
            wait_for("the machine to run", PATIENCE, || {
                rig.handle.watch(watch.clone());
                matches!(rig.next(), Event::Watching(_)).then_some(())
            });
            let since = Instant::now();
            vm.signal(Signal::KILL);
            let why = rig.failure(since);
            assert!(why == Why::LinkDown || has_process && why == Why::ProcessEnded, "{why:?}");
            drop(vm);
            rig.handle.unwatch(ID);
        }
        rig.tell(label);
    }
}

fn machine(rig: &Rig) -> Proc {
    let pid = rig.world.dir().join("qemu.pid");
    drop(std::fs::remove_file(&pid));
    let line = format!(
        "qemu-system-x86_64 -accel tcg -m 256 -display none -nodefaults -pidfile {} \
         -netdev tap,id=n,ifname=tap0,script=no,downscript=no -device virtio-net-pci,netdev=n",
        pid.display()
    );
    rig.world.spawn(&rig.host, "qemu", &line.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn a_guest_that_hangs_is_found_by_its_silence() {
    let mut rig = Rig::new("hang");
    let (guest, port) = rig.guest("vm");
    rig.begin(rig.watch_of(&guest, &port, fast()));
    for _ in 0..times() {
        rig.hang(&port);
        // It hung after it was last heard, so it took no longer than this.
        let Verdict::Confirmed { why: Why::PortSilent, evidence, at } = rig.confirmed() else {
            panic!();
        };
        rig.took.push(Duration::from_nanos(at.nanos_since(evidence.last_life.unwrap())));
        rig.unhang();
        assert!(matches!(rig.verdict(), Verdict::Recovered { misfire: true, .. }));
    }
    rig.tell("a silent guest, every 10 ms, three lost");
}

#[test]
fn ipv6_alone_is_a_sign_of_life_and_its_silence_is_none() {
    let mut rig = Rig::new("six");
    let (guest, port) = rig.guest("vm");
    let addrs: Vec<IpAddr> = vec![ADDR.into(), ADDR6.parse().unwrap()];
    // Hung only after the counters of what the guest sends of itself stand still.
    rig.begin(Watch { addrs, ..rig.watch_of(&guest, &port, fast()) });
    guest.ip(&format!("addr del {ADDR}/24 dev eth0"));
    // It is silent in one family, for many rounds: which ones are answered is seen on the wire.
    let (_sender, mut receiver) = open(&guest, "eth0");
    let mut adverts = 0;
    wait_for("answers by IPv6", PATIENCE, || {
        let frame = receiver.next().ok()?;
        adverts +=
            usize::from(frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.get(54) == Some(&136));
        (adverts >= 20).then_some(())
    });
    assert!(rig.events.try_recv().is_err(), "one family is enough");
    rig.hang(&port);
    assert_eq!(rig.failure(Instant::now()), Why::PortSilent);
}

#[test]
fn a_bridge_without_an_address_asks_too() {
    let mut rig = Rig::new("bare");
    rig.host.ip("addr flush dev br0");
    let (guest, port) = rig.guest("vm");
    let addrs: Vec<IpAddr> = vec![ADDR.into(), ADDR6.parse().unwrap()];
    for addr in addrs {
        rig.begin(Watch { addrs: vec![addr], ..rig.watch_of(&guest, &port, fast()) });
        rig.hang(&port);
        assert_eq!(rig.failure(Instant::now()), Why::PortSilent);
        rig.unhang();
        rig.handle.unwatch(ID);
        // What was on its way is over when the next command is obeyed.
        rig.handle.watch(Watch {
            place: Place::Port("nothing".into()),
            ..rig.watch_of(&guest, &port, fast())
        });
        while !matches!(rig.next(), Event::Refused { .. }) {}
    }
}

/// A guest that does what a test wants: it hears questions for its address, and answers or not.
fn scripted(
    rig: &Rig,
    rounds: u32,
    mut answer: impl FnMut(u32, &ArpFrame, Mac) -> Option<ArpFrame>,
) {
    let guest = rig.world.host("script");
    let port = rig.world.plug(&guest, "eth0", &rig.host, "br0");
    let mac = Mac(guest.mac_of("eth0"));
    let (mut sender, mut receiver) = open(&guest, "eth0");
    rig.handle.watch(rig.watch_of(&guest, &port, ProbePolicy::new(50, 6, true).unwrap()));
    let mut round = 0;
    while round < rounds {
        let Some(asked) = receiver.next().ok().and_then(arp::read) else { continue };
        if asked.is_reply || asked.target_ip != ADDR || asked.eth_src == mac {
            continue;
        }
        if let Some(reply) = answer(round, &asked, mac) {
            let mut frame = Vec::new();
            arp::write(&mut frame, asked.eth_src, &reply);
            sender.send_to(&frame, None).unwrap().unwrap();
        }
        round += 1;
    }
}

fn says(asked: &ArpFrame, by: Mac, addr: Ipv4Addr) -> ArpFrame {
    ArpFrame {
        eth_src: by,
        sender: by,
        sender_ip: addr,
        target: asked.sender,
        target_ip: asked.sender_ip,
        is_reply: true,
    }
}

#[test]
fn a_guest_that_answers_now_and_then_is_well() {
    let rig = Rig::new("lossy");
    scripted(&rig, 60, |round, asked, mac| (round % 4 == 0).then(|| says(asked, mac, ADDR)));
    let events: Vec<Event> = rig.events.try_iter().collect();
    assert!(
        matches!(
            events[..],
            [Event::Watching(_), Event::Verdict { verdict: Verdict::Answers { .. }, .. }]
        ),
        "{events:?}"
    );
}

#[test]
fn a_guest_that_is_busy_with_other_things_is_only_suspected() {
    let rig = Rig::new("busy");
    // After its first answer it says something else each time.
    let other = Ipv4Addr::new(10, 77, 1, 99);
    scripted(&rig, 40, |round, asked, mac| {
        Some(says(asked, mac, if round == 0 { ADDR } else { other }))
    });
    let events: Vec<Event> = rig.events.try_iter().collect();
    let is_suspicion = |event: &Event| {
        matches!(
            event,
            Event::Verdict { verdict: Verdict::Suspected { missing: Missing::SecondSign, .. }, .. }
        )
    };
    assert_eq!(events.len(), 3, "{events:?}");
    assert!(is_suspicion(&events[2]), "{events:?}");
    // Its own word is a second sign.
    rig.handle.report(ID, Reporter::Guest, Health::Failing);
    let why = match rig.verdict() {
        Verdict::Confirmed { why, .. } => why,
        other => panic!("{other:?}"),
    };
    // By now nothing plays the guest: its port may be still as well.
    assert!(matches!(why, Why::Reported(Reporter::Guest) | Why::PortSilent), "{why:?}");
}

#[test]
fn somebody_elses_answer_is_no_sign_of_life() {
    let rig = Rig::new("foreign");
    let (guest, _port) = rig.guest("other");
    let (mut sender, _receiver) = open(&guest, "eth0");
    guest.ip(&format!("addr del {ADDR}/24 dev eth0"));
    // The guest is silent from its second round on; somebody else says what it said.
    let to = Mac(rig.host.mac_of("br0"));
    scripted(&rig, 20, |round, asked, mac| {
        if round == 0 {
            return Some(says(asked, mac, ADDR));
        }
        let mut frame = Vec::new();
        arp::write(&mut frame, to, &says(asked, OTHER, ADDR));
        sender.send_to(&frame, None).unwrap().unwrap();
        None
    });
    let evidence = wait_for("a verdict", PATIENCE, || match rig.next() {
        Event::Verdict { verdict: Verdict::Confirmed { evidence, .. }, .. } => Some(evidence),
        _ => None,
    });
    assert_eq!(evidence.other_mac, Some(OTHER));
    assert!(evidence.lost >= 6);
}

#[test]
fn a_paused_guest_is_not_judged_until_the_pause_is_over() {
    let mut rig = Rig::new("pause");
    let (guest, port) = rig.guest("vm");
    let vm = rig.world.spawn(&rig.host, "vm", &["sleep", "600"]);
    let watch = rig.watch_of(&guest, &port, fast());
    rig.begin(Watch { process: Some(Process::Pid(vm.pid())), ..watch });
    rig.handle.pause(ID, Duration::from_secs(600));
    rig.hang(&port);
    // A second watch lives through many of the rounds that the first is spared.
    let mut other = rig.watch_of(&guest, &port, fast());
    other.id = WatchId(8);
    rig.handle.watch(other);
    assert!(matches!(rig.next(), Event::Watching(WatchId(8))));
    let met = rig.next();
    assert!(
        matches!(met, Event::Verdict { id: WatchId(8), verdict: Verdict::Suspected { .. }, .. }),
        "{met:?}"
    );
    vm.signal(Signal::KILL);
    drop(vm);
    rig.handle.unwatch(WatchId(8));
    rig.handle.resume(ID);
    assert_eq!(rig.failure(Instant::now()), Why::ProcessEnded);
}

#[test]
fn what_cannot_be_watched_is_refused_and_said_why() {
    let rig = Rig::new("refused");
    let (guest, port) = rig.guest("vm");
    let good = rig.watch_of(&guest, &port, fast());
    let refused = |watch: Watch| {
        rig.handle.watch(watch);
        match rig.next() {
            Event::Refused { id: ID, why } => why,
            other => panic!("{other:?}"),
        }
    };
    let at = |name: &str| Watch { place: Place::Port(name.into()), ..good.clone() };
    assert_eq!(refused(at("nothing")), RefusedWatch::NoPort("nothing".into()));
    rig.host.ip("tuntap add dev tap9 mode tap");
    rig.host.ip("link set tap9 up");
    assert_eq!(refused(at("tap9")), RefusedWatch::NoLink("tap9".into()));
    let none = Watch { process: Some(Process::Pid(i32::MAX as u32)), ..good.clone() };
    assert_eq!(refused(none), RefusedWatch::NoProcess(i32::MAX as u32));
    let many = Watch { addrs: vec![ADDR.into(); 9], ..good.clone() };
    assert_eq!(refused(many), RefusedWatch::Addrs(9));
    // After all that it watches.
    rig.begin(good);
}

#[test]
fn what_is_lost_on_the_way_to_another_host_is_no_lost_link() {
    let rig = Rig::new("beyond");
    let (guest, port) = rig.guest("vm");
    let watch = rig.watch_of(&guest, &port, fast());
    rig.begin(Watch { place: Place::Beyond(port.into()), ..watch });
    guest.ip("link set eth0 down");
    assert!(matches!(rig.verdict(), Verdict::Suspected { missing: Missing::SecondSign, .. }));
    rig.handle.report(ID, Reporter::Agent, Health::Failing);
    let verdict = rig.verdict();
    let why = Why::Reported(Reporter::Agent);
    assert!(matches!(verdict, Verdict::Confirmed { why: w, .. } if w == why), "{verdict:?}");
}

/// What the watcher's thread has used, in clock ticks.
fn ticks() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let stat = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("stat")).ok();
    let of = |stat: String| {
        let (name, rest) = stat.split_once(") ")?;
        let used = rest.split(' ').skip(11).take(2).filter_map(|n| n.parse::<u64>().ok());
        name.ends_with("(watch").then(|| used.sum::<u64>())
    };
    tasks.filter_map(stat).filter_map(of).sum()
}

#[test]
fn thousands_are_watched_by_one_thread() {
    const COUNT: u16 = 2000;
    let rig = Rig::new("many");
    let (guest, port) = rig.guest("vm");
    let addr = |n: u16| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 78, 0, 0)) + u32::from(n));
    let list = rig.world.dir().join("addrs");
    let lines = (0..COUNT).map(|n| format!("addr add {}/16 dev eth0\n", addr(n)));
    std::fs::write(&list, lines.collect::<String>()).unwrap();
    guest.ip(&format!("-batch {}", list.display()));
    for n in 0..COUNT {
        let watch = rig.watch_of(&guest, &port, ProbePolicy::default());
        rig.handle.watch(Watch { id: WatchId(n.into()), addrs: vec![addr(n).into()], ..watch });
    }
    // Each is watched, and answers.
    let mut answering = 0;
    while answering < COUNT {
        match rig.next() {
            Event::Verdict { verdict: Verdict::Answers { .. }, .. } => answering += 1,
            Event::Watching(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let (since, used) = (Instant::now(), ticks());
    let (_sender, mut receiver) = open(&guest, "eth0");
    let mut asked = 0;
    wait_for("questions", PATIENCE, || {
        while asked < 5 * usize::from(COUNT) {
            let arp = arp::read(receiver.next().ok()?)?;
            asked += usize::from(!arp.is_reply);
        }
        Some(())
    });
    assert!(rig.events.try_recv().is_err(), "all answer");
    eprintln!("{COUNT} watched: {} ticks in {:?}", ticks() - used, since.elapsed());
    rig.hang(&port);
    let mut failed = std::collections::BTreeSet::new();
    while failed.len() < usize::from(COUNT) {
        match rig.next() {
            Event::Verdict {
                id, verdict: Verdict::Confirmed { why: Why::PortSilent, .. }, ..
            } => {
                failed.insert(id);
            }
            Event::Verdict { verdict: Verdict::Suspected { .. }, .. } => {}
            other => panic!("{other:?}"),
        }
    }
}
