//! An orchestrator's book: what it has made and ended, and what must be true because of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::api::{Api, Ask, ask_all};
use crate::common::server::Server;
use crate::common::world::Host;
use crate::common::{PATIENCE, wait_until};

use super::wire::{Mac, Wire, scan};

/// All addresses of the /23 but its first and last, and the server's.
pub(super) const POOL: usize = 509;
pub(super) const POOL6: usize = 1024;
const WORKERS: usize = 6;

/// A registered machine.
#[derive(Clone, Debug)]
pub(super) struct Vm {
    pub(super) mac: Mac,
    pub(super) addr: Ipv4Addr,
    pub(super) addr6: Ipv6Addr,
    pub(super) booted: bool,
}

/// The orchestrator.
pub(super) struct Day {
    socket: PathBuf,
    apis: Vec<Api>,
    pub(super) wire: Wire,
    guests: Host,
    server: (Mac, Ipv4Addr),
    pub(super) vms: BTreeMap<String, Vm>,
    /// Addresses of destroyed machines that answer still.
    pub(super) ghosts: BTreeMap<Ipv4Addr, Mac>,
    /// Addresses that real machines have without being registered.
    pub(super) plain: BTreeSet<Ipv4Addr>,
    /// Real machines of their own: they answer without [`Wire`].
    pub(super) elsewhere: BTreeSet<Ipv4Addr>,
    pub(super) made: usize,
    pub(super) ended: usize,
    pub(super) refused: usize,
}

impl Day {
    pub(super) fn begin(socket: PathBuf, guests: &Host, server: (Mac, Ipv4Addr)) -> Day {
        Day {
            apis: Vec::new(),
            wire: Wire::on(guests),
            guests: guests.clone(),
            server,
            vms: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            plain: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            made: 0,
            ended: 0,
            refused: 0,
            socket,
        }
        .connected()
    }

    fn connected(mut self) -> Day {
        self.connect();
        self
    }

    /// Speaks to a server that was started anew.
    pub(super) fn connect(&mut self) {
        self.apis = (0..WORKERS).map(|_| Api::at(&self.socket)).collect();
    }

    pub(super) fn api(&mut self) -> &mut Api {
        &mut self.apis[0]
    }

    /// Registers `count` machines; the ids of those that were let in.
    pub(super) fn create(&mut self, count: usize) -> Vec<String> {
        let first = self.made + self.refused;
        let bodies: Vec<Value> = (first..first + count).map(wish).collect();
        let ask = |body: &Value| -> Ask { ("POST", "/v1/instances".to_owned(), body.clone()) };
        let answers = ask_all(&mut self.apis, bodies.iter().map(ask).collect());
        let mut new = Vec::new();
        for (body, (status, view)) in bodies.iter().zip(answers) {
            let id = body["id"].as_str().unwrap().to_owned();
            if status == 409 {
                let why = view["detail"].as_str().unwrap_or_default().to_owned();
                assert!(why.contains("is free for it"), "{view}");
                self.refused += 1;
                continue;
            }
            assert_eq!(status, 201, "{view}");
            self.enter(&id, &view);
            new.push(id);
        }
        new
    }

    /// Registers one machine by these words.
    pub(super) fn create_one(&mut self, id: &str, body: &Value) -> Vm {
        let (status, view) = self.api().ask("POST", "/v1/instances", body);
        assert_eq!(status, 201, "{view}");
        self.enter(id, &view);
        self.vms[id].clone()
    }

    /// Writes down what was promised: it is nobody else's.
    fn enter(&mut self, id: &str, view: &Value) {
        let addr: Ipv4Addr = view["address"].as_str().unwrap().parse().unwrap();
        let addr6: Ipv6Addr = view["address6"].as_str().unwrap().parse().unwrap();
        let mac = mac_of(view["mac"].as_str().unwrap());
        let other = self.vms.iter().find(|(_, vm)| vm.addr == addr || vm.addr6 == addr6);
        assert!(other.is_none(), "{view} is promised, and {other:?} has it");
        assert!(!self.wire.has(addr), "{addr} is promised to {id}, and somebody answers for it");
        assert!(!self.ghosts.contains_key(&addr), "{addr} is promised to {id}: a ghost has it");
        assert!(!self.plain.contains(&addr), "{addr} is promised to {id}: it is leased");
        self.made += 1;
        self.vms.insert(id.to_owned(), Vm { mac, addr, addr6, booted: false });
    }

    /// These boot, and get what was promised.
    pub(super) fn boot(&mut self, ids: &[String]) {
        let macs: Vec<Mac> = ids.iter().map(|id| self.vms[id].mac).collect();
        let given = self.wire.boot(&macs);
        for id in ids {
            let vm = self.vms.get_mut(id).unwrap();
            assert_eq!(given.get(&vm.mac), Some(&vm.addr), "what {id} is given");
            vm.booted = true;
            self.wire.takes(vm.addr, vm.mac);
        }
    }

    /// These are destroyed. Every other one that runs releases; of the others some answer on.
    pub(super) fn destroy(&mut self, ids: &[String]) {
        let gone: Vec<Vm> = ids.iter().map(|id| self.vms.remove(id).unwrap()).collect();
        for (n, vm) in gone.iter().enumerate().filter(|(_, vm)| vm.booted) {
            match n % 8 {
                n if n % 2 == 0 => {
                    self.wire.releases(vm.addr, vm.mac, self.server);
                    self.wire.drops(vm.addr);
                }
                // The last of them go down a little later than the orchestrator says.
                5 => {}
                1 if n < 16 => drop(self.ghosts.insert(vm.addr, vm.mac)),
                _ => self.wire.drops(vm.addr),
            }
        }
        let ask = |id: &String| -> Ask { ("DELETE", format!("/v1/instances/{id}"), Value::Null) };
        for (status, view) in ask_all(&mut self.apis, ids.iter().map(ask).collect()) {
            assert_eq!(status, 200, "{view}");
            self.ended += 1;
        }
        let late = gone.iter().filter(|vm| !self.ghosts.contains_key(&vm.addr));
        late.filter(|vm| vm.booted).for_each(|vm| self.wire.drops(vm.addr));
    }

    /// A ghost is gone at last.
    pub(super) fn lay(&mut self, addr: Ipv4Addr) {
        self.ghosts.remove(&addr);
        self.wire.drops(addr);
    }

    /// Addresses that the server says are free.
    pub(super) fn free(&mut self) -> usize {
        self.api().get("/v1/networks/lan")["free"].as_u64().unwrap() as usize
    }

    /// Whether every address is somebody's, or may still be.
    pub(super) fn is_exhausted(&self) -> bool {
        self.ghosts.len() + self.vms.len() + self.plain.len() == POOL
    }

    /// Waits until all that may be free is free.
    pub(super) fn settle(&mut self, server: &Server) {
        let ghosts: BTreeSet<String> = self.ghosts.keys().map(Ipv4Addr::to_string).collect();
        wait_until("the wire to be believed silent", PATIENCE, || {
            in_state(server, "leaving") == ghosts
        });
    }

    /// API, leases, wire and figures agree with the book.
    pub(super) fn agree(&mut self, server: &Server, hosts_file: &std::path::Path) {
        self.agree_instances();
        let booted: BTreeMap<String, Ipv4Addr> = self.booted();
        let mut leased: BTreeSet<Ipv4Addr> = booted.values().copied().collect();
        leased.extend(&self.plain);
        let texts = leased.iter().map(Ipv4Addr::to_string).collect();
        assert_eq!(in_state(server, "leased"), texts, "leases");
        let ghosts: BTreeSet<String> = self.ghosts.keys().map(Ipv4Addr::to_string).collect();
        assert_eq!(in_state(server, "leaving"), ghosts, "what is kept back");
        for state in ["in-use", "declined", "quarantined"] {
            assert_eq!(in_state(server, state), BTreeSet::new(), "{state}");
        }
        for lease in server.leases().iter().filter(|lease| lease["state"] == "leased") {
            let id = self.vms.iter().find(|(_, vm)| lease["address"] == vm.addr.to_string());
            let id = id.map(|(id, _)| id.as_str());
            assert_eq!(lease["instance"].as_str(), id, "{lease}");
        }
        // Who is there, by the book of the wire and by asking.
        let mut there: BTreeSet<Ipv4Addr> = self.wire.holders().into_keys().collect();
        there.extend(&self.elsewhere);
        let all: Vec<Ipv4Addr> = (2..=510).map(|n| Ipv4Addr::from(0x0a4d_0200 + n)).collect();
        assert_eq!(scan(&self.guests, &all, &there), there, "who answers");
        leased.extend(self.ghosts.keys());
        assert_eq!(there, leased, "who is there, and who is known");
        self.agree_figures();
        wait_until("the hosts file", PATIENCE, || hosts(hosts_file) == booted);
    }

    fn booted(&self) -> BTreeMap<String, Ipv4Addr> {
        let booted = self.vms.iter().filter(|(_, vm)| vm.booted);
        booted.map(|(id, vm)| (id.clone(), vm.addr)).collect()
    }

    fn agree_figures(&mut self) {
        let expected = POOL - self.vms.len() - self.ghosts.len() - self.plain.len();
        assert_eq!(self.free(), expected, "free");
        let free6 = self.api().get("/v1/networks/lan")["ipv6"]["free"].clone();
        assert_eq!(free6, (POOL6 - self.vms.len()).to_string(), "free of IPv6");
        let metrics = self.api().get("/metrics");
        let is_free = |line: &&str| {
            let words = ["pool_addresses{", "family=\"v4\"", "state=\"free\""];
            words.iter().all(|word| line.contains(word))
        };
        let line = metrics.as_str().unwrap().lines().find(is_free).expect("free of IPv4");
        assert_eq!(line.split(' ').nth(1), Some(&*expected.to_string()), "{line}");
    }

    fn agree_instances(&mut self) {
        let (mut listed, mut after) = (BTreeMap::new(), String::new());
        loop {
            let page = self.api().get(&format!("/v1/instances?limit=97{after}"));
            for view in page["instances"].as_array().unwrap() {
                let text = |key: &str| view[key].as_str().unwrap().to_owned();
                listed.insert(text("id"), (text("address"), mac_of(&text("mac"))));
            }
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&cursor={next}");
        }
        let own = |(id, vm): (&String, &Vm)| (id.clone(), (vm.addr.to_string(), vm.mac));
        let book: BTreeMap<_, _> = self.vms.iter().map(own).collect();
        assert_eq!(listed, book, "instances");
    }
}

/// Every third machine has no MAC of its own.
fn wish(n: usize) -> Value {
    let id = format!("vm-{n}");
    let mut body = json!({ "id": id, "network": "lan", "account": "cloud", "hostname": id });
    if !n.is_multiple_of(3) {
        body["mac"] = format!("02:0d:00:00:{:02x}:{:02x}", n >> 8, n & 255).into();
    }
    body
}

pub(super) fn in_state(server: &Server, state: &str) -> BTreeSet<String> {
    let leases = server.leases().into_iter().filter(|lease| lease["state"] == state);
    leases.map(|lease| lease["address"].as_str().unwrap().to_owned()).collect()
}

fn mac_of(text: &str) -> Mac {
    let bytes: Vec<u8> = text.split(':').map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// Names of registered machines in the hosts file.
fn hosts(path: &std::path::Path) -> BTreeMap<String, Ipv4Addr> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let addr = words.next()?.parse().ok()?;
        let name = words.find(|name| name.starts_with("vm-"))?;
        Some((name.split('.').next()?.to_owned(), addr))
    };
    text.lines().filter_map(entry).collect()
}
