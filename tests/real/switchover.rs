//! One address, two guests: a standby that boots by DHCP behind its gate, and takes over.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use foreshadow::base::Mac;
use foreshadow::wire::arp;

use crate::common::api::Api;
use crate::common::clients::{Client, Kind};
use crate::common::link::Sniffer;
use crate::common::process::Proc;
use crate::common::server::{Server, Setup, calm_lan};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, require, wait_until};

const SERVICE: u16 = 9000;
pub(super) const POLICY: &str = "[network.standby]\non_failure = \"switch\"\n\
    [network.standby.detect]\ninterval = \"20ms\"\nlost = 3\n";

/// A guest on the bridge: a machine with a DHCP client and a service that says who it is.
pub(super) struct Guest {
    pub(super) host: Host,
    port: String,
    pub(super) mac: Mac,
    client: Client,
    ends: Arc<AtomicBool>,
    service: Option<JoinHandle<()>>,
}

impl Guest {
    fn boot(world: &World, server: &Host, name: &str, kind: Kind) -> Guest {
        let host = world.host(name);
        let port = world.plug(&host, "eth0", server, "br0");
        let mac = Mac(host.mac_of("eth0"));
        let socket = host.enter(|| UdpSocket::bind(("0.0.0.0", SERVICE)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let (ended, last) = (ends.clone(), mac.0[5]);
        let service = thread::spawn(move || {
            let mut asked = [0; 8];
            while !ended.load(Ordering::Relaxed) {
                if let Ok((len, from)) = socket.recv_from(&mut asked) {
                    let _ = socket.send_to(&[&asked[..len], &[last]].concat(), from);
                }
            }
        });
        let client = Client::start(world, &host, kind, name);
        Guest { host, port, mac, client, ends, service: Some(service) }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        drop(self.service.take().map(JoinHandle::join));
    }
}

/// Who says by ARP that it has an address: the source of the frame, and whose hardware it names.
type Claim = (Mac, Mac, Ipv4Addr);

fn claim(frame: &[u8]) -> Option<Claim> {
    let arp = arp::read(frame).filter(|arp| !arp.sender_ip.is_unspecified())?;
    Some((arp.eth_src, arp.sender, arp.sender_ip))
}

/// Somebody who uses the service, a question each millisecond.
pub(super) struct User {
    socket: UdpSocket,
    service: SocketAddr,
    pub(super) asked: u64,
    pub(super) answers: Vec<(u64, u8)>,
}

impl User {
    fn on(host: &Host, addr: Ipv4Addr) -> User {
        host.ip("addr add 10.77.1.9/24 dev eth0");
        let socket = host.enter(|| UdpSocket::bind(("0.0.0.0", 0)).unwrap());
        socket.set_nonblocking(true).unwrap();
        User { socket, service: (addr, SERVICE).into(), asked: 0, answers: Vec::new() }
    }

    pub(super) fn ask_while(&mut self, mut goes_on: impl FnMut(&User) -> bool) {
        while goes_on(self) {
            let _ = self.socket.send_to(&self.asked.to_be_bytes(), self.service);
            self.asked += 1;
            thread::sleep(Duration::from_millis(1));
            self.hear();
        }
    }

    pub(super) fn hear(&mut self) {
        let mut answer = [0; 9];
        while let Ok((9, _)) = self.socket.recv_from(&mut answer) {
            let number = u64::from_be_bytes(answer[..8].try_into().unwrap());
            self.answers.push((number, answer[8]));
        }
    }

    /// Asks until this one has answered so often.
    pub(super) fn ask_until_answered_by(&mut self, mac: Mac, times: usize) {
        let (start, from) = (Instant::now(), self.answers.len());
        self.ask_while(|user| {
            assert!(start.elapsed() < PATIENCE * 2, "{mac} does not answer");
            let by = user.answers[from..].iter().filter(|(_, who)| *who == mac.0[5]);
            by.count() < times
        });
    }
}

pub(super) struct Pair {
    pub(super) world: World,
    pub(super) server_host: Host,
    pub(super) server: Server,
    pub(super) agent: Proc,
    pub(super) active: Guest,
    pub(super) standby: Guest,
    pub(super) user: User,
    addr: Ipv4Addr,
    /// What is heard at each port, and whose port it is.
    claims: Vec<(Mac, Sniffer<Claim>)>,
}

pub(super) fn run_agent(world: &World, host: &Host) -> Proc {
    let socket = world.dir().join("agent/agent.sock");
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let exe = env!("CARGO_BIN_EXE_foreshadow");
    let words = [exe, "agent", "run", "--socket", socket.to_str().unwrap()];
    let mut agent = world.spawn(host, "agent", &words);
    agent.wait_line("agent ready");
    agent
}

impl Pair {
    /// An active and its standby with one address, both by DHCP.
    pub(super) fn ready(name: &str) -> Pair {
        let (world, server_host) = World::with_bridge(name);
        Pair::with(world, server_host, None, ("", ""))
    }

    /// The same, with the standby on another host, keys of `[network.standby]`, and other tables.
    pub(super) fn with(
        world: World,
        server_host: Host,
        far: Option<&Host>,
        (keys_of_standby, tables): (&str, &str),
    ) -> Pair {
        let agent = run_agent(&world, &server_host);
        let keys = format!("agent_socket = \"{}\"", world.dir().join("agent/agent.sock").display());
        let body = calm_lan().replacen(
            "[[network.subnet]]",
            &(POLICY.replace("on_failure", &format!("{keys_of_standby}on_failure"))
                + "[[network.subnet]]"),
            1,
        );
        let body = body + tables;
        let setup = Setup { keys: &keys, ..Setup::default() };
        let server = Server::start_with(&world, &server_host, &body, setup);
        let active = Guest::boot(&world, &server_host, "active", Kind::Dhclient);
        let addr = active.client.wait_bound();
        let bystander = world.client("bystander", &server_host, "br0");
        let hear = |host: &Host| (Mac(host.mac_of("eth0")), Sniffer::of(host, "eth0", claim));
        let mut claims = vec![hear(&bystander), hear(&active.host)];
        let mut user = User::on(&bystander, addr);
        user.ask_until_answered_by(active.mac, 20);
        let on = far.unwrap_or(&server_host);
        let standby = Guest::boot(&world, on, "stands-by", Kind::Udhcpc);
        claims.push(hear(&standby.host));
        let (mac, of) = (standby.mac.to_string(), addr.to_string());
        let words = ["standby", "add", "--network", "lan", "--id", "web", "--address", &of];
        let ports = ["--active-port", &active.port, "--standby-port", &standby.port];
        let place: &[&str] = if far.is_some() { &["--standby-host", "hv2"] } else { &[] };
        server.ask(&[&words[..], &ports, &["--standby-mac", &mac], place].concat());
        Pair { world, server_host, server, agent, active, standby, user, addr, claims }
    }

    pub(super) fn state(&self) -> serde_json::Value {
        serde_json::from_str(&self.server.ask(&["standby", "show", "web", "--json"])).unwrap()
    }

    /// Has the switchover begin, and does not wait for it.
    pub(super) fn begin(&self) {
        let mut api = Api::at(&self.world.dir().join("control.sock"));
        api.ask("POST", "/v1/standbys/web/switchover", &serde_json::json!({}));
    }

    pub(super) fn make_ready(&mut self) {
        assert_eq!(self.standby.client.wait_bound(), self.addr, "both have it");
        self.server.ask(&["standby", "report", "web", "ready"]);
        self.check_ready();
    }

    /// The standby is ready, and nobody has heard of it.
    pub(super) fn check_ready(&mut self) {
        wait_until("a standby that is ready", PATIENCE, || self.state()["state"] == "ready");
        self.check_quiet();
    }

    /// The active goes on, and nobody has heard of the standby, which has the address.
    pub(super) fn check_quiet(&mut self) {
        assert_eq!(self.standby.client.wait_bound(), self.addr, "both have it");
        self.user.ask_until_answered_by(self.active.mac, 100);
        let by = |mac: Mac| self.user.answers.iter().filter(|(_, who)| *who == mac.0[5]).count();
        assert_eq!(by(self.standby.mac), 0);
        self.check_claims();
    }

    /// Of the guests, the standby is not heard before it was announced, nor the active afterwards,
    /// at no port but their own.
    pub(super) fn check_claims(&self) {
        let (active, standby) = (self.active.mac, self.standby.mac);
        for (own, heard) in &self.claims {
            let all = heard.all();
            let is_heard = |(from, _, addr): &&Claim| *addr == self.addr && from != own;
            let of: Vec<&Claim> = all.iter().filter(is_heard).collect();
            let told = of.iter().position(|(_, named, _)| *named == standby).unwrap_or(of.len());
            let early = of[..told].iter().any(|(from, ..)| *from == standby);
            let late =
                of[told..].iter().any(|(from, named, _)| *from == active || *named == active);
            assert!(!early && !late, "at {own}: {of:?}, active {active}, standby {standby}");
        }
    }

    pub(super) fn check_over(&mut self) {
        self.user.ask_until_answered_by(self.standby.mac, 100);
        self.check_claims();
        let lease = self.server.lease_of(self.addr).unwrap();
        assert_eq!(lease["hardware"], self.standby.mac.to_string(), "{lease}");
        let since = self.user.answers.iter().position(|(_, who)| *who == self.standby.mac.0[5]);
        let after = &self.user.answers[since.unwrap() + 30..];
        assert!(after.iter().all(|(_, who)| *who == self.standby.mac.0[5]), "the active answers");
    }
}

impl Pair {
    /// Has it switched over while the user goes on; what the command said, and which questions were
    /// lost.
    pub(super) fn switch_over(&mut self) -> (String, Vec<u64>) {
        let asked = self.user.asked;
        let report = thread::scope(|scope| {
            let done = scope.spawn(|| self.server.ask(&["standby", "switch", "web"]));
            self.user.ask_while(|_| !done.is_finished());
            done.join().unwrap()
        });
        self.check_over();
        self.user.hear();
        let last = self.user.asked - 50;
        let mut answered: Vec<u64> = self.user.answers.iter().map(|(number, _)| *number).collect();
        answered.sort_unstable();
        let lost = (asked..last).filter(|n| answered.binary_search(n).is_err());
        (report, lost.collect())
    }
}

#[test]
fn a_planned_switchover_loses_nothing() {
    let mut pair = Pair::ready("planned");
    // What would keep it from going well is said beforehand.
    let checks = |pair: &Pair| -> Vec<(String, String)> {
        let mut api = Api::at(&pair.world.dir().join("control.sock"));
        let found = api.get("/v1/standbys/web/checks");
        let list = found["checks"].as_array().unwrap().iter();
        let text = |of: &serde_json::Value, key: &str| of[key].as_str().unwrap().to_owned();
        list.map(|of| (text(of, "what"), text(of, "state"))).collect()
    };
    let is = |what: &str, state: &str| (what.to_owned(), state.to_owned());
    assert!(checks(&pair).contains(&is("state", "bad")));
    pair.make_ready();
    let found = checks(&pair);
    for what in ["state", "gate", "active", "standby", "active port", "standby port", "neighbours"]
    {
        assert!(found.contains(&is(what, "good")), "{what}: {found:?}");
    }
    assert!(found.iter().all(|(_, state)| state == "good"), "{found:?}");
    pair.server.ask(&["standby", "switch", "web", "--dry-run"]);
    assert_eq!(pair.state()["state"], "ready");
    let (report, lost) = pair.switch_over();
    for words in ["web is promoted", "announced", "nobody answered for"] {
        assert!(report.contains(words), "{words}: {report}");
    }
    assert_eq!(lost, Vec::<u64>::new());
    // The former active comes back, and is told to look for another address.
    pair.active.client.kill9();
    let label = "active";
    pair.active.client = Client::start(&pair.world, &pair.active.host, Kind::Dhclient, label);
    wait_until("another address for the former active", PATIENCE * 2, || {
        let other = |lease: &serde_json::Value| {
            lease["hardware"] == pair.active.mac.to_string() && lease["state"] == "leased"
        };
        pair.server.leases().iter().any(other)
    });
    pair.check_claims();
}

#[test]
fn the_standby_takes_over_when_the_active_is_gone() {
    let mut pair = Pair::ready("failed");
    pair.make_ready();
    pair.active.host.ip("link set eth0 down");
    pair.check_over();
    let state = pair.state();
    assert_eq!(state["switchover"]["kind"], "failure", "{state}");
}

/// A QEMU without a system behind a tap of the bridge, as a guest that only lives.
fn qemu(world: &World, server: &Host, name: &str, mac: &str) -> Proc {
    require("qemu-system-x86_64", "qemu-system-x86");
    server.ip(&format!("tuntap add dev {name} mode tap"));
    server.ip(&format!("link set {name} master br0 up"));
    let netdev = format!("tap,id=n,ifname={name},script=no,downscript=no");
    let device = format!("virtio-net-pci,netdev=n,mac={mac},romfile=");
    let base = ["qemu-system-x86_64", "-accel", "tcg", "-m", "32", "-display", "none"];
    let more = ["-nodefaults", "-S", "-netdev", &netdev, "-device", &device];
    let proc = world.spawn(server, name, &[&base[..], &more].concat());
    wait_until("a QEMU at its tap", PATIENCE, || {
        server.ip(&format!("-o link show dev {name}")).contains("LOWER_UP")
    });
    proc
}

/// From the end of the process to the first answer of the standby. `FORESHADOW_TIMES=20` has it
/// measured so often; the times are printed.
#[test]
#[allow(clippy::print_stdout, reason = "figures are for people")]
fn the_standby_of_a_killed_qemu_answers() {
    let times = std::env::var("FORESHADOW_TIMES").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let (world, server_host) = World::with_bridge("killed-vm");
    let _agent = run_agent(&world, &server_host);
    let keys = format!("agent_socket = \"{}\"", world.dir().join("agent/agent.sock").display());
    let body = calm_lan().replacen("[[network.subnet]]", &format!("{POLICY}[[network.subnet]]"), 1);
    let setup = Setup { keys: &keys, ..Setup::default() };
    let server = Server::start_with(&world, &server_host, &body, setup);
    let bystander = world.client("bystander", &server_host, "br0");
    let mut took = Vec::new();
    for run in 0..times {
        let (tap, id) = (format!("tap{run}"), format!("vm{run}"));
        let (addr, mac) = (Ipv4Addr::new(10, 77, 1, 20 + run), format!("02:aa:00:00:01:{run:02x}"));
        let mut vm = qemu(&world, &server_host, &tap, &mac);
        let standby = Guest::boot(&world, &server_host, &format!("standby{run}"), Kind::Udhcpc);
        let (of, standby_mac) = (addr.to_string(), standby.mac.to_string());
        let pair = ["--network", "lan", "--id", &id, "--address", &of, "--active-mac", &mac];
        let ends = ["--active-port", &tap, "--standby-port", &standby.port];
        let whose = ["--standby-mac", &standby_mac];
        server.ask(&[&["standby", "add"], &pair[..], &ends, &whose].concat());
        assert_eq!(standby.client.wait_bound(), addr);
        server.ask(&["standby", "report", &id, "ready"]);
        bystander.ip("addr flush dev eth0");
        let mut user = User::on(&bystander, addr);
        let asked = user.asked + 20;
        user.ask_while(|user| user.asked < asked);
        assert!(user.answers.is_empty(), "the standby speaks");
        let killed = Instant::now();
        vm.kill9();
        user.ask_until_answered_by(standby.mac, 1);
        took.push(killed.elapsed());
    }
    took.sort_unstable();
    println!("killed QEMU to first answer: median {:?}, all {took:?}", took[took.len() / 2]);
}

#[test]
fn what_is_announced_is_no_failure() {
    let mut pair = Pair::ready("migrates");
    pair.make_ready();
    pair.server.ask(&["standby", "active", "web", "migrating"]);
    pair.active.host.ip("link set eth0 down");
    // It would have been found ten times by now.
    let until = pair.user.asked + 200;
    pair.user.ask_while(|user| user.asked < until);
    assert_eq!(pair.state()["state"], "ready");
    pair.server.ask(&["standby", "active", "web", "migrated"]);
    wait_until("a record of it", PATIENCE, || {
        pair.server.ask(&["audit", "--json"]).contains("migrated")
    });
    pair.check_over();
    wait_until("the time that nobody answered", PATIENCE, || {
        pair.state()["switchover"]["outage_ms"].as_f64().is_some()
    });
}

/// `FORESHADOW_TIMES=50` has it done so often: every third time after a failure, at moments that
/// differ by a millisecond.
#[test]
fn whoever_is_killed_goes_on_where_it_was() {
    let times = std::env::var("FORESHADOW_TIMES").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    for round in 0..times {
        let mut pair = Pair::ready(&format!("killed{round}"));
        pair.make_ready();
        match round % 3 {
            2 => pair.active.host.ip("link set eth0 down"),
            _ => {
                pair.begin();
                String::new()
            }
        };
        thread::sleep(Duration::from_millis(3 * (round % 4) + round / 4));
        pair.agent.kill9();
        thread::sleep(Duration::from_millis(5 * (round % 3)));
        pair.server.kill9();
        pair.check_claims();
        pair.agent = run_agent(&pair.world, &pair.server_host);
        pair.server.start_again();
        wait_until("the promotion", PATIENCE * 2, || {
            let state = pair.state();
            // The kill may have come before it began.
            if state["state"] == "ready" {
                pair.begin();
            }
            state["state"] == "promoted"
        });
        pair.check_over();
    }
}
