//! Many leases: what they cost in memory, at start, and per exchange.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use crate::cases::{Bench, WINDOW};
use crate::figures::What;
use crate::load::{Load, Pace};
use crate::meter;
use crate::peer::{Family, LAN, Peer, Running, fresh_dir};
use crate::speech::Way;
use crate::stage::Stage;

pub(crate) const FEW: &str = "few leases, /8";
pub(crate) const NARROW: &str = "few leases, /16";
pub(crate) const MANY: &str = "many leases, /8";
pub(crate) const EMPTY: &str = "empty server";
pub(crate) const FILLED: &str = "after filling";
pub(crate) const RESTARTED: &str = "after a restart";
pub(crate) const STORE: &str = "store on disk";

/// Leases that a server with few of them holds.
const HELD: u32 = 1_000;
/// How long filling may take.
const FILLING: Duration = Duration::from_secs(300);
/// A server that has nothing to do for so long has written its checkpoint.
const SETTLING: Duration = Duration::from_secs(5);

/// A pool of four million in a /8.
const WIDE: &str = r#"
[[network]]
name = "lan"
interfaces = ["s0"]
authoritative = true
verify = false
[[network.subnet]]
prefix = "10.0.0.0/8"
pools = ["10.128.0.0-10.191.255.255"]
options = { routers = ["10.77.0.1"], domain-name-servers = ["10.77.0.1"], domain-name = "bench.test" }
"#;

impl Bench {
    /// Many leases against few, and a large subnet against a small one.
    pub(crate) fn many(&mut self) {
        let wide = Stage::new("many", 8);
        let load = Load::on(&wide);
        let narrow =
            (std::mem::replace(&mut self.stage, wide), std::mem::replace(&mut self.load, load));
        let dir = self.fill();
        let mut next = self.sizes.leases;
        let (mut stage, mut load) = narrow;
        for _ in 0..self.sizes.repetitions {
            // Few leases on a /8.
            self.few(FEW, WIDE);
            // Few leases on a /16.
            std::mem::swap(&mut self.stage, &mut stage);
            std::mem::swap(&mut self.load, &mut load);
            self.few(NARROW, LAN);
            std::mem::swap(&mut self.stage, &mut stage);
            std::mem::swap(&mut self.load, &mut load);
            // Many on a /8, by the server that was filled.
            let mut server = Running::launch_foreshadow(&self.stage, &dir, WIDE);
            let seconds = server.wait_first(&mut self.load, Family::V4);
            self.add(MANY, What::Seconds, seconds);
            thread::sleep(SETTLING);
            self.memory(RESTARTED, &server, next);
            let end = next + self.sizes.exchanges;
            self.closed_loop(MANY, &server, next..end);
            next = end;
            server.stop();
        }
        (self.stage, self.load) = (stage, load);
    }

    /// Makes a store with many leases by leasing them; where it is.
    fn fill(&mut self) -> std::path::PathBuf {
        let dir = fresh_dir(&self.stage);
        let mut server = Running::launch_foreshadow(&self.stage, &dir, WIDE);
        server.wait_first(&mut self.load, Family::V4);
        self.add(EMPTY, What::Bytes, meter::resident(server.pid()));
        let (clients, pace) = (0..self.sizes.leases, Pace::Window(WINDOW * 4));
        let outcome = self.load.bind(Way::Direct, clients, pace, FILLING);
        assert!(outcome.lost_share() < 0.01, "{} of the leases were lost", outcome.lost);
        thread::sleep(SETTLING);
        self.memory(FILLED, &server, self.sizes.leases);
        self.add(STORE, What::Bytes, meter::on_disk(server.dir()));
        println!("{FILLED}: {} leases at {:.0}/s", outcome.done, outcome.rate());
        server.stop();
        dir
    }

    fn few(&mut self, case: &'static str, body: &str) {
        let dir = fresh_dir(&self.stage);
        let mut server = Running::launch_foreshadow(&self.stage, &dir, body);
        server.wait_first(&mut self.load, Family::V4);
        self.load.forget();
        self.load.bind(Way::Direct, 0..HELD, Pace::Window(WINDOW), FILLING);
        let end = HELD + self.sizes.exchanges;
        self.closed_loop(case, &server, HELD..end);
        server.remove();
    }

    fn closed_loop(&mut self, case: &'static str, server: &Running, clients: Range<u32>) {
        self.measure(case, Peer::Foreshadow, server.pid(), |load| {
            load.bind(Way::Direct, clients, Pace::Window(WINDOW), FILLING)
        });
    }

    /// What a server that holds so many leases has in memory.
    fn memory(&mut self, case: &'static str, server: &Running, leases: u32) {
        let resident = meter::resident(server.pid());
        let empty = self.figures.median(EMPTY, Peer::Foreshadow, What::Bytes).unwrap_or(0.0);
        self.add(case, What::Bytes, resident);
        self.add(case, What::Each, (resident - empty) / f64::from(leases));
    }

    fn add(&mut self, case: &'static str, what: What, value: f64) {
        println!("{case:22} {:18} {what:?} {value:.2}", Peer::Foreshadow.name());
        self.figures.add(case, Peer::Foreshadow, what, value);
    }
}
