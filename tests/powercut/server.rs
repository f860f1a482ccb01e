//! The whole server: clients of both protocols drive it through three lives, with journals that
//! take turns, a failed sync, a kill and an orderly stop; and whatever a power cut leaves of its
//! files keeps every promise that had left it by then.

use std::path::{Path, PathBuf};
use std::time::Duration;

use foreshadow::base::Span;
use foreshadow::store::archive::ArchiveOptions;
use foreshadow::store::disk::Disk;
use foreshadow::store::{Contents, DiskStore, StoreOptions};
use rustix::process::Signal;

use crate::Work;
use crate::archive::History;
use crate::clients4::Clients4;
use crate::clients6::Clients6;
use crate::common::crowd::Crowd;
use crate::common::crowd6::Crowd6;
use crate::common::link::Raw;
use crate::common::server::{LAN6, Server, Setup, calm_lan};
use crate::common::world::World;
use crate::common::{dhcp, wait_until};
use crate::ledger::{Ledger, now_us};
use crate::oracle::{self, Oracle};
use crate::recorder;
use crate::replay::{self, Log, Loss, Random};

/// Power cuts in a normal run.
const CUTS: usize = 100;
/// Acknowledgements in each of the server's lives.
const ACKS: usize = 1000;
/// After every so many cuts the server is started on what is left.
const STARTS_EVERY: usize = 20;
const PATIENCE: Duration = Duration::from_secs(120);

/// Small journals that take turns all the time.
const STORE: &str = "[store]\njournal = \"1MiB\"\ncheckpoint = \"100ms\"\ncache = \"1MiB\"\n";

fn options() -> StoreOptions {
    let checkpoint_every = Span::from_ms(100);
    StoreOptions { journal_bytes: 1 << 20, checkpoint_every, cache_bytes: 1 << 20 }
}

/// Two hundred addresses of IPv4, 256 addresses and as many prefixes of IPv6.
fn config() -> String {
    let lan = calm_lan()
        .replace("min = \"10s\"", "min = \"1s\"")
        .replace("100-10.77.1.199", "10-10.77.1.209")
        .replace("limits = false", "limits = false\nquarantine = \"2s\"");
    let lan6 = LAN6.replace("::1fff", "::10ff").replace("/36", "/48");
    [STORE, &lan, &lan6].concat()
}

fn number_from(name: &str, default: usize) -> usize {
    let given = std::env::var(name).ok().filter(|text| !text.is_empty());
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
}

#[test]
fn every_promise_of_the_server_survives() {
    let cuts = number_from("POWERCUT_CUTS", CUTS);
    let seed = number_from("POWERCUT_SEED", (now_us() >> 8) as usize & 0xffff_ffff);
    println!("{cuts} power cuts; again by: make powercut CUT_SEED={seed} CUTS={cuts}");
    let work = Work::new("server");
    let ledger = Ledger::default();
    let root = work.0.join("state");
    live(&work.0, &root, &ledger, seed as u64);

    // What the kill left to the archive is in the journals still.
    open(&root).unwrap_or_else(|e| panic!("at the end: {e}"));
    let history = History::read(&root.join("audit"), &ledger).unwrap_or_else(|e| panic!("{e}"));
    let log = Log::read(&work.0.join("log"));
    let mut random = Random::new(seed as u64);
    let mut cuts = choose_cuts(&log, cuts, &mut random).into_iter().peekable();
    let mut disk = replay::Disk::new(&log, &root);
    let mut oracle = Oracle::new(&ledger);
    let mut looked_at = 0;
    for (at, event) in log.events.iter().enumerate() {
        oracle.advance(event.at_us);
        if event.kind == b'a' {
            oracle.leaves(event.at_us, log.data(event)).unwrap_or_else(|e| panic!("{at}: {e}"));
        }
        disk.apply(event);
        while cuts.next_if_eq(&at).is_some() {
            let loss = random.of(&Loss::ALL);
            let left = work.0.join("left");
            disk.leave(&left, loss, &mut random);
            let case = format!("cut after event {at}, {loss:?}, {} ACKs, seed {seed}", oracle.acks);
            let contents = open(&left).unwrap_or_else(|e| panic!("{case}: {e}"));
            oracle.judge(event.at_us, &contents).unwrap_or_else(|e| panic!("{case}: {e}"));
            let judged = history.judge(&left.join("audit"), &contents, event.at_us, &oracle);
            judged.unwrap_or_else(|e| panic!("{case}: {e}"));
            looked_at += 1;
            if looked_at % STARTS_EVERY == 0 {
                start_on(&left, &oracle, &mut random, &case);
            }
            std::fs::remove_dir_all(&left).unwrap();
        }
    }
    println!("{} events, {} acknowledgements, {looked_at} cuts", log.events.len(), oracle.acks);
    history.tells_of(&oracle.granted).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(*ledger.refused.lock().unwrap(), Vec::<String>::new(), "refused");
    assert!(oracle.acks >= 3 * ACKS, "{} acknowledgements", oracle.acks);
}

/// The recorded lives of the server.
fn live(work: &Path, root: &Path, ledger: &Ledger, seed: u64) {
    let recorder = recorder::build(work);
    std::fs::create_dir(root).unwrap();
    let (world, host) = World::with_bridge("cut");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (recorder, log, state) = (path(&recorder), path(&work.join("log")), path(root));
    let under = [&*recorder, &*log, &*state];
    let setup = Setup { state: Some(&state), under: &under, ..Setup::default() };
    let mut server = Server::start_with(&world, &host, &config(), setup);
    let guests = [world.client("four", &host, "br0"), world.client("six", &host, "br0")];
    let address = (host.mac_of("br0"), "10.77.1.1".parse().unwrap());
    let clients4 = Clients4::on(&guests[0], address, ledger, seed);
    let clients6 = Clients6::on(&guests[1], ledger, seed);
    std::thread::scope(|scope| {
        scope.spawn(|| clients4.run());
        scope.spawn(|| clients6.run());
        // However this ends, the clients do too.
        let _end = End(ledger);
        let until = |count: usize| {
            wait_until(&format!("{count} acknowledgements"), PATIENCE, || ledger.acks() >= count);
        };
        until(ACKS / 2);
        fail_sync(&mut server);
        until(ACKS);
        kill(&mut server);
        server.start_again();
        until(ACKS + ACKS / 2);
        fail_sync(&mut server);
        until(2 * ACKS);
        met_everything(&server.status());
        server.stop();
        server.start_again();
        until(3 * ACKS);
        kill(&mut server);
    });
}

/// A run that met too little proves nothing.
fn met_everything(status: &serde_json::Value) {
    let packets = &status["packets"];
    for name in ["granted", "renewed", "released", "declined", "exhausted", "commits_failed"] {
        assert!(packets[name].as_u64() > Some(0), "no packet was {name}: {status}");
    }
    assert!(status["store"]["checkpoints"].as_u64() > Some(0), "no checkpoint: {status}");
}

struct End<'a>(&'a Ledger);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The next sync of a journal fails, and the server writes its store anew.
fn fail_sync(server: &mut Server) {
    server.proc.signal(Signal::USR2);
    server.proc.wait_line("commit failed");
    server.proc.wait_line("the store can write again");
}

/// kill -9, at a moment that the log knows exactly.
fn kill(server: &mut Server) {
    server.proc.signal(Signal::USR1);
    let ended = server.proc.wait_end();
    assert!(ended.success(), "the recorder ended with {ended}");
}

/// A third of the cuts anywhere, a third right after an acknowledgement, a third right after a
/// change of names: there the order of syncs matters most.
fn choose_cuts(log: &Log, count: usize, random: &mut Random) -> Vec<usize> {
    let mut acks = log.of_kind(b"a");
    acks.retain(|i| oracle::is_promise(log.data(&log.events[*i])));
    let names = log.of_kind(b"odmu");
    let mut cuts: Vec<usize> = (0..count)
        .map(|i| match i % 3 {
            0 => random.below(log.events.len()),
            1 => random.of(&acks),
            _ => random.of(&names),
        })
        .collect();
    cuts.sort_unstable();
    cuts
}

/// Opens what is left, without help, until the archive has what the journals have for it.
fn open(state: &Path) -> Result<Contents, String> {
    let dir: PathBuf = state.join("store");
    let archive = ArchiveOptions::at(&state.join("audit"));
    let opened = DiskStore::open_archived(Disk::default(), &dir, &options(), archive, false);
    let (store, contents, recovery) = opened.map_err(|e| format!("does not open: {e}"))?;
    drop(store);
    match recovery.lost.is_empty() && recovery.kept.is_none() {
        true => Ok(contents),
        false => Err(format!("opens with losses: {recovery:?}")),
    }
}

/// Starts the server on what is left: its clients keep what they have, and others get something
/// else.
fn start_on(state: &Path, oracle: &Oracle, random: &mut Random, case: &str) {
    let (world, host) = World::with_bridge("left");
    let setup = Setup { state: state.to_str(), ..Setup::default() };
    let server = Server::start_with(&world, &host, &config(), setup);
    // What runs out while this is being looked at is nobody's business.
    let alive: Vec<_> = oracle.alive(now_us() + 60_000_000).collect();
    let guest = world.client("guest", &host, "br0");
    let mut raw = Raw::on(&guest);
    let of_v4: Vec<_> = alive.iter().filter(|(name, _)| name.parse().is_ok_and(is_v4)).collect();
    for _ in 0..of_v4.len().min(5) {
        let (name, promise) = random.of(&of_v4);
        let answer = raw.init_reboot(promise.client, name.parse().unwrap());
        let is_kept =
            answer.is_some_and(|m| m.kind() == dhcp::ACK && m.yiaddr.to_string() == **name);
        assert!(is_kept, "{case}: {name} is not given to its client again");
    }
    let taken = server.leases().iter().filter(|lease| is_taken(lease)).count();
    let mut others = Crowd::on(&guest, 0x0900_0000);
    others.lease((200usize).saturating_sub(taken).min(20), |_| true);
    let mut others6 = Crowd6::on(&guest, 0x0a00_0000);
    others6.lease(20, |_| true);
    let given = others.acked.keys().map(ToString::to_string).chain(others6.acked.into_keys());
    let twice: Vec<String> = given.filter(|n| alive.iter().any(|(held, _)| *held == n)).collect();
    assert!(twice.is_empty(), "{case}: given twice: {twice:?}");
}

fn is_v4(addr: std::net::IpAddr) -> bool {
    addr.is_ipv4()
}

/// Whether this is an address of IPv4 that nobody else can get.
fn is_taken(lease: &serde_json::Value) -> bool {
    let is_v4 = lease["address"].as_str().is_some_and(|a| a.parse().is_ok_and(is_v4));
    is_v4 && !matches!(lease["state"].as_str(), Some("expired" | "released"))
}
