//! The server under test, and the dnsmasq that it takes over from or lives beside.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;

use super::process::Proc;
use super::require;
use super::world::{Host, World};

/// The built server.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_foreshadow");

/// A configuration body for the bridge of [`World::with_bridge`]: one hundred addresses, leases
/// short enough to be renewed, no verifier, so that a test sees only what it asks for, and no
/// limits, for crowds that come through one port.
pub(crate) const LAN: &str = r#"
[[network]]
name = "lan"
interfaces = ["br0"]
authoritative = true
verify = false
limits = false
lease = { min = "10s", default = "2m", max = "1d", t1 = "3s", t2 = "6s" }
[[network.subnet]]
prefix = "10.77.1.0/24"
pools = ["10.77.1.100-10.77.1.199"]
options = { routers = ["10.77.1.1"], domain-name-servers = ["10.77.1.53", "10.77.1.54"] }
"#;

/// [`LAN`] with leases that last longer than any test.
pub(crate) fn calm_lan() -> String {
    LAN.replace("default = \"2m\"", "default = \"1h\"")
        .replace("t1 = \"3s\", t2 = \"6s\"", "t1 = \"30m\", t2 = \"50m\"")
}

/// What follows [`LAN`] for a network of both families: four thousand IPv6 addresses, and as many
/// prefixes as anybody wants.
pub(crate) const LAN6: &str = r#"
[[network.subnet]]
prefix = "2001:db8:77:1::/64"
pools = ["2001:db8:77:1::1000-2001:db8:77:1::1fff"]
delegations = [{ prefix = "2001:db8:8000::/36", length = 56 }]
options6 = { dns-servers = ["2001:db8:77:1::53"], domain-search = ["a.example", "b.example"] }
"#;

/// A running foreshadow.
pub(crate) struct Server {
    pub(crate) proc: Proc,
    host: Host,
    dir: PathBuf,
    flags: Vec<String>,
    mounts_of: Option<u32>,
    under: Vec<String>,
}

/// How to start a server.
#[derive(Clone, Copy, Default)]
pub(crate) struct Setup<'a> {
    /// Lines of `[server]` beside the paths.
    pub(crate) keys: &'a str,
    /// Where the store lives; in the directory of the world by default.
    pub(crate) state: Option<&'a str>,
    /// Flags of `serve`.
    pub(crate) flags: &'a [&'a str],
    /// A process whose mounts the server sees.
    pub(crate) mounts_of: Option<u32>,
    /// A program with its first arguments that runs the server.
    pub(crate) under: &'a [&'a str],
}

impl Server {
    /// Starts the server on `host` with this configuration below its `[server]` table, and waits
    /// until it is ready.
    #[track_caller]
    pub(crate) fn start(world: &World, host: &Host, body: &str) -> Server {
        Server::start_with(world, host, body, Setup::default())
    }

    /// The same, set up in another way.
    #[track_caller]
    pub(crate) fn start_with(world: &World, host: &Host, body: &str, setup: Setup<'_>) -> Server {
        let dir = world.dir().to_owned();
        let state = setup.state.map_or_else(|| dir.join("state"), PathBuf::from);
        let server = format!(
            "[server]\nstate_dir = \"{}\"\ncontrol_socket = \"{}\"\n{}\n",
            state.display(),
            dir.join("control.sock").display(),
            setup.keys
        );
        fs::write(dir.join("header"), &server).unwrap();
        fs::write(dir.join("foreshadow.toml"), server + body).unwrap();
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let (flags, under): (Vec<String>, Vec<String>) = (owned(setup.flags), owned(setup.under));
        let mounts_of = setup.mounts_of;
        let proc = launch(&dir, host, &under, &flags, mounts_of);
        let mut server = Server { proc, host: host.clone(), dir, flags, mounts_of, under };
        server.wait_ready();
        server
    }

    /// Waits until all sockets are bound.
    #[track_caller]
    pub(crate) fn wait_ready(&mut self) {
        self.proc.wait_line("ready");
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("foreshadow.toml")
    }

    /// Writes another configuration body; it takes effect at a reload or restart.
    pub(crate) fn write_config(&self, body: &str) {
        let header = fs::read_to_string(self.dir.join("header")).unwrap();
        // Whole at any time: the reload before this one may still be reading.
        let beside = self.dir.join("next");
        fs::write(&beside, header + body).unwrap();
        fs::rename(&beside, self.config()).unwrap();
    }

    /// SIGHUP: reads the configuration again.
    pub(crate) fn hang_up(&self) {
        self.proc.signal(Signal::HUP);
    }

    /// kill -9.
    pub(crate) fn kill9(&mut self) {
        self.proc.kill9();
    }

    /// An orderly stop.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let status = self.proc.stop();
        assert!(status.success(), "the server ended with {status}");
    }

    /// Starts it again as it was, after [`Server::stop`] or [`Server::kill9`].
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.proc = launch(&self.dir, &self.host, &self.under, &self.flags, self.mounts_of);
        self.wait_ready();
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.proc.pid()
    }

    /// Tampers with the server's system calls, until the strace that is returned ends: `how` are
    /// its options, such as `-e inject=fdatasync:error=EIO`.
    #[track_caller]
    pub(crate) fn tamper(&self, world: &World, host: &Host, how: &[&str]) -> Proc {
        require("strace", "strace");
        let pid = self.proc.pid().to_string();
        let argv = [&["strace", "-f", "-o", "/dev/null", "-p", &pid], how].concat();
        let mut strace = world.spawn(host, "strace", &argv);
        strace.wait_line("attached");
        strace
    }

    /// What `status` knows.
    #[track_caller]
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.ask(&["status", "--json"])).unwrap()
    }

    /// Whether an alarm in `status` contains this.
    #[track_caller]
    pub(crate) fn has_alarm(&self, text: &str) -> bool {
        self.ask(&["status"]).lines().any(|l| l.starts_with("ALARM") && l.contains(text))
    }

    /// Runs a subcommand with this server's configuration.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(BINARY);
        command.args(words).arg("--config").arg(self.config());
        command.output().unwrap()
    }

    /// The standard output of a subcommand that must succeed.
    #[track_caller]
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let done = self.run(words);
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "foreshadow {words:?}: {error}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// All bindings that the server holds.
    #[track_caller]
    pub(crate) fn leases(&self) -> Vec<serde_json::Value> {
        let text = self.ask(&["leases", "list", "--json"]);
        match serde_json::from_str(&text).unwrap() {
            serde_json::Value::Array(leases) => leases,
            serde_json::Value::Object(mut found) => match found.remove("leases") {
                Some(serde_json::Value::Array(leases)) => leases,
                _ => panic!("no list of leases in {text}"),
            },
            _ => panic!("no list of leases in {text}"),
        }
    }

    /// The binding of an address.
    #[track_caller]
    pub(crate) fn lease_of(&self, addr: Ipv4Addr) -> Option<serde_json::Value> {
        self.lease_named(&addr.to_string())
    }

    /// The binding of an address or prefix, as `leases` writes it.
    #[track_caller]
    pub(crate) fn lease_named(&self, name: &str) -> Option<serde_json::Value> {
        self.leases().into_iter().find(|lease| lease["address"] == name)
    }

    /// The state of an address or prefix; `free` where there is no binding.
    #[track_caller]
    pub(crate) fn state_of(&self, name: &str) -> String {
        let lease = self.lease_named(name);
        lease.and_then(|l| Some(l["state"].as_str()?.to_owned())).unwrap_or("free".to_owned())
    }
}

fn launch(
    dir: &Path,
    host: &Host,
    under: &[String],
    flags: &[String],
    mounts_of: Option<u32>,
) -> Proc {
    let config = dir.join("foreshadow.toml");
    let mut argv: Vec<&str> = under.iter().map(String::as_str).collect();
    argv.extend([BINARY, "serve", "--config", config.to_str().unwrap()]);
    argv.extend(flags.iter().map(String::as_str));
    let mut command = host.command(&argv);
    if let Some(pid) = mounts_of {
        let inner = std::mem::replace(&mut command, Command::new("nsenter"));
        command.arg(format!("--mount=/proc/{pid}/ns/mnt")).arg(inner.get_program());
        command.args(inner.get_args());
    }
    Proc::start(command, &dir.join("server.log"))
}

/// Starts a dnsmasq for DHCP alone on `link` of `host`, with a pool like "10.77.1.100,10.77.1.199"
/// and perhaps a second of IPv6; its leases are in `<label>.leases`.
pub(crate) fn dnsmasq(world: &World, host: &Host, label: &str, link: &str, pool: &str) -> Proc {
    require("dnsmasq", "dnsmasq-base");
    let leases = world.dir().join(format!("{label}.leases"));
    let argv = [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
        "--pid-file=",
        "--log-facility=-",
        "--log-dhcp",
        "--no-ping",
        "--bind-interfaces",
        "--except-interface=lo",
        "--dhcp-authoritative",
        &format!("--interface={link}"),
        &format!("--dhcp-leasefile={}", leases.display()),
    ];
    let ranges: Vec<_> = pool.split(' ').map(|pool| format!("--dhcp-range={pool},1h")).collect();
    let argv: Vec<_> = argv.into_iter().chain(ranges.iter().map(String::as_str)).collect();
    let mut proc = world.spawn(host, label, &argv);
    proc.wait_line("DHCP, sockets bound exclusively");
    proc
}
