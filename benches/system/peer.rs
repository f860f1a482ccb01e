//! The servers that are measured: how each is configured, started with an empty store, and ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::process::Proc;
use crate::load::Load;
use crate::speech::Way;
use crate::stage::{SERVER_LINK, Stage};

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Foreshadow,
    Kea,
    Dnsmasq,
    Dhcpd,
    /// Answers without deciding or keeping anything: what packets alone cost here.
    Trivial,
}

/// A protocol; Kea and dhcpd have a process for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(way: Way) -> Family {
        match way {
            Way::Direct | Way::Relayed => Family::V4,
            Way::Address6 | Way::Prefix6 => Family::V6,
        }
    }
}

/// The client that asks until a server answers; no other run uses its number.
const FIRST_CLIENT: u32 = 0xff_fff0;
/// How long a server may take to begin.
const STARTING: Duration = Duration::from_secs(60);

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Foreshadow => "foreshadow",
            Peer::Kea => "Kea",
            Peer::Dnsmasq => "dnsmasq",
            Peer::Dhcpd => "ISC dhcpd",
            Peer::Trivial => "trivial responder",
        }
    }

    /// Those that can be measured here, by DHCPv4.
    pub(crate) fn installed() -> Vec<Peer> {
        let all = [Peer::Foreshadow, Peer::Kea, Peer::Dnsmasq, Peer::Dhcpd, Peer::Trivial];
        all.into_iter().filter(|peer| peer.speaks(Family::V4)).collect()
    }

    /// How many clients a run may bind. dnsmasq has the kernel note the hardware address of each
    /// before it answers.
    pub(crate) fn clients(self) -> u32 {
        if self == Peer::Dnsmasq { NEIGHBOURS } else { POOL }
    }

    /// Whether it is installed and measured for this protocol.
    pub(crate) fn speaks(self, family: Family) -> bool {
        match (self, family) {
            (Peer::Foreshadow, _) | (Peer::Trivial, Family::V4) => true,
            (Peer::Kea, Family::V4) => exists("kea-dhcp4"),
            (Peer::Kea, Family::V6) => exists("kea-dhcp6"),
            (Peer::Dnsmasq, Family::V4) => exists("dnsmasq"),
            (Peer::Dhcpd, Family::V4) => exists("dhcpd"),
            (_, Family::V6) => false,
        }
    }

    /// Its version, as it says itself.
    pub(crate) fn version(self) -> Option<String> {
        let (program, flag) = match self {
            Peer::Kea => ("kea-dhcp4", "-v"),
            Peer::Dnsmasq => ("dnsmasq", "--version"),
            Peer::Dhcpd => ("dhcpd", "--version"),
            Peer::Foreshadow | Peer::Trivial => return None,
        };
        let out = Command::new(program).arg(flag).output().ok()?;
        let text = [out.stdout, out.stderr].concat();
        let line = String::from_utf8_lossy(&text).lines().next()?.to_owned();
        // dnsmasq and dhcpd say more than a number.
        let number =
            line.split([' ', '-']).find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        number.map(|number| format!("{} {number}", self.name()))
    }
}

fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).any(|dir| dir.join(program).exists())
}

/// A running server. Its state goes with it.
pub(crate) struct Running {
    proc: Proc,
    dir: PathBuf,
    born: Instant,
}

/// The built foreshadow, or another build of it that `FORESHADOW_BENCH_BINARY` names.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("FORESHADOW_BENCH_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_foreshadow").into(), PathBuf::from)
}

/// What foreshadow serves in most runs: what the others serve, too.
pub(crate) const LAN: &str = r#"
[[network]]
name = "lan"
interfaces = ["s0"]
authoritative = true
verify = false
[[network.subnet]]
prefix = "10.77.0.0/16"
pools = ["10.77.16.0-10.77.255.250"]
options = { routers = ["10.77.0.1"], domain-name-servers = ["10.77.0.1"], domain-name = "bench.test" }
[[network.subnet]]
prefix = "fd00:77::/64"
pools = ["fd00:77::1:0-fd00:77::ffff:ffff"]
delegations = [{ prefix = "fd00:7800::/32", length = 56 }]
options6 = { dns-servers = ["fd00:77::1"] }
"#;

/// A line of [`LAN`] by which its clients come through the generator as their relay. Those on the
/// link itself are then taken for clients behind a router.
const RELAYED: &str = "relays = [\"10.77.0.2\"]\nauthoritative";

/// Addresses in the pool of [`LAN`], a few less.
const POOL: u32 = 60_000;
/// Entries of the kernel's neighbour table, a few less (`net.ipv4.neigh.default.gc_thresh3`).
const NEIGHBOURS: u32 = 900;

impl Running {
    /// Starts `peer` with an empty store, and waits until it offers.
    pub(crate) fn start(stage: &Stage, load: &mut Load, peer: Peer, way: Way) -> Running {
        stage.server.ip(&format!("neigh flush dev {SERVER_LINK} nud all"));
        let mut running = Running::launch(stage, peer, way);
        running.wait_first(load, Family::of(way));
        load.forget();
        running
    }

    /// The same with a configuration of foreshadow's own, and perhaps a store.
    pub(crate) fn launch_foreshadow(stage: &Stage, dir: &Path, body: &str) -> Running {
        fs::create_dir_all(dir).expect("a directory");
        let server = format!(
            "[server]\nstate_dir = \"{0}/state\"\ncontrol_socket = \"{0}/control.sock\"\n\
             [log]\nlevel = \"warn\"\n",
            dir.display()
        );
        let config = dir.join("foreshadow.toml");
        fs::write(&config, server + body).expect("configuration");
        let binary = binary();
        let argv = [binary.to_str(), Some("serve"), Some("--config"), config.to_str()];
        let argv: Vec<&str> = argv.into_iter().flatten().collect();
        Running::new(stage, dir, &argv, &[])
    }

    fn launch(stage: &Stage, peer: Peer, way: Way) -> Running {
        let dir = fresh_dir(stage);
        let at = |name: &str| dir.join(name).display().to_string();
        let write = |name: &str, text: String| fs::write(dir.join(name), text).expect("a file");
        let v6 = Family::of(way) == Family::V6;
        let me = std::env::current_exe().expect("own path").display().to_string();
        let argv: Vec<String> = match peer {
            Peer::Foreshadow => {
                let relayed = LAN.replacen("authoritative", RELAYED, 1);
                let body = if way == Way::Relayed { &relayed } else { LAN };
                return Running::launch_foreshadow(stage, &dir, body);
            }
            Peer::Kea => {
                write("kea.conf", if v6 { kea6(&dir) } else { kea4(&dir) });
                let program = if v6 { "kea-dhcp6" } else { "kea-dhcp4" };
                vec![program.into(), "-c".into(), at("kea.conf")]
            }
            Peer::Dnsmasq => {
                write("dnsmasq.conf", dnsmasq(&dir));
                vec!["dnsmasq".into(), "-k".into(), "-C".into(), at("dnsmasq.conf")]
            }
            Peer::Dhcpd => {
                write("dhcpd.conf", DHCPD.into());
                write("leases", String::new());
                let words = ["dhcpd", "-4", "-f", "-q", "-cf", &at("dhcpd.conf"), "-lf"];
                let more = [&at("leases"), "-pf", &at("pid"), SERVER_LINK];
                words.into_iter().chain(more.map(|s| s as &str)).map(str::to_owned).collect()
            }
            Peer::Trivial => {
                vec![me, "respond".into(), stage.server.index_of(SERVER_LINK).to_string()]
            }
        };
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let kea = ["KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR"].map(|key| (key, dir.as_path()));
        Running::new(stage, &dir, &argv, &kea)
    }

    fn new(stage: &Stage, dir: &Path, argv: &[&str], env: &[(&str, &Path)]) -> Running {
        let mut command = stage.server.command(argv);
        command.current_dir(dir).envs(env.iter().copied());
        let born = Instant::now();
        Running { proc: Proc::start(command, &dir.join("output")), dir: dir.to_owned(), born }
    }

    /// Waits for the first OFFER or ADVERTISE; seconds from the start of the process to it.
    #[track_caller]
    pub(crate) fn wait_first(&mut self, load: &mut Load, family: Family) -> f64 {
        let way = if family == Family::V6 { Way::Address6 } else { Way::Direct };
        while self.born.elapsed() < STARTING {
            if let Some(status) = self.proc.ended() {
                panic!("a server ended with {status}:\n{}", self.proc.output());
            }
            // Asks every few milliseconds and never gives up by itself.
            if load.knock(way, FIRST_CLIENT) {
                return self.born.elapsed().as_secs_f64();
            }
        }
        panic!("no offer within {} s:\n{}", STARTING.as_secs(), self.proc.output());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.proc.pid()
    }

    /// Where its files are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it wrote to its log.
    pub(crate) fn log(&self) -> String {
        self.proc.output()
    }

    /// Ends it and keeps its store.
    pub(crate) fn stop(mut self) {
        self.proc.stop();
    }

    /// Ends it and removes its store.
    pub(crate) fn remove(self) {
        let dir = self.dir.clone();
        self.stop();
        fs::remove_dir_all(dir).expect("remove");
    }
}

/// A new directory on the disk.
pub(crate) fn fresh_dir(stage: &Stage) -> PathBuf {
    let new = |n: &u32| !stage.world.dir().join(format!("run-{n}")).exists();
    let number = (0..).find(new).unwrap_or_default();
    let dir = stage.world.dir().join(format!("run-{number}"));
    fs::create_dir(&dir).expect("a directory");
    dir
}

fn kea4(dir: &Path) -> String {
    let options = r#""option-data": [{"name": "routers", "data": "10.77.0.1"},
        {"name": "domain-name-servers", "data": "10.77.0.1"}, {"name": "domain-name", "data": "bench.test"}]"#;
    kea(
        dir,
        "Dhcp4",
        &format!(
            r#""subnet4": [{{"id": 1, "subnet": "10.77.0.0/16",
        "pools": [{{"pool": "10.77.16.0 - 10.77.255.250"}}], {options}}}]"#
        ),
    )
}

fn kea6(dir: &Path) -> String {
    kea(
        dir,
        "Dhcp6",
        &format!(
            r#""data-directory": "{}", "preferred-lifetime": 1800, "subnet6": [{{"id": 1,
        "subnet": "fd00:77::/64", "interface": "{SERVER_LINK}",
        "pools": [{{"pool": "fd00:77::1:0 - fd00:77::ffff:ffff"}}],
        "pd-pools": [{{"prefix": "fd00:7800::", "prefix-len": 32, "delegated-len": 56}}],
        "option-data": [{{"name": "dns-servers", "data": "fd00:77::1"}}]}}]"#,
            dir.display()
        ),
    )
}

/// One thread, which is faster than several on two cores, and leases in a file that is never
/// synced.
fn kea(dir: &Path, family: &str, subnet: &str) -> String {
    let dir = dir.display();
    format!(
        r#"{{"{family}": {{"interfaces-config": {{"interfaces": ["{SERVER_LINK}"]}},
        "lease-database": {{"type": "memfile", "persist": true, "name": "{dir}/leases.csv",
            "lfc-interval": 0}},
        "multi-threading": {{"enable-multi-threading": false}},
        "valid-lifetime": 3600, "renew-timer": 900, "rebind-timer": 1800,
        "loggers": [{{"name": "kea-{}", "severity": "ERROR",
            "output_options": [{{"output": "{dir}/kea.log"}}]}}],
        {subnet}}}}}"#,
        family.to_lowercase()
    )
}

fn dnsmasq(dir: &Path) -> String {
    format!(
        "port=0\nuser=root\nconf-file=\npid-file=\nlog-facility={0}/log\ninterface={SERVER_LINK}\n\
         bind-interfaces\nno-ping\nquiet-dhcp\ndhcp-authoritative\ndhcp-lease-max=100000\n\
         dhcp-leasefile={0}/leases\ndhcp-range=10.77.16.0,10.77.255.250,1h\n\
         dhcp-option=option:router,10.77.0.1\ndhcp-option=option:dns-server,10.77.0.1\n\
         domain=bench.test\n",
        dir.display()
    )
}

const DHCPD: &str = "authoritative; ddns-update-style none; ping-check false;\n\
    default-lease-time 3600; max-lease-time 7200;\n\
    subnet 10.77.0.0 netmask 255.255.0.0 { range 10.77.16.0 10.77.255.250;\n\
    option routers 10.77.0.1; option domain-name-servers 10.77.0.1;\n\
    option domain-name \"bench.test\"; }\n";
