//! A world of its own for each test: network namespaces that nothing else sees.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::{Proc, kill_pid};

const RUN: &str = "/run/netns";
const MARK: &str = "fs-t";

/// Namespaces, a directory, and everything that runs in them; gone when dropped, also on panic.
pub(crate) struct World {
    name: String,
    dir: PathBuf,
    hosts: Mutex<Vec<String>>,
    ports: AtomicU32,
}

/// A network namespace of a world: a machine on its network.
#[derive(Clone)]
pub(crate) struct Host {
    /// The name that `ip netns` knows.
    pub(crate) ns: Arc<str>,
    /// What the test calls it.
    pub(crate) name: Arc<str>,
}

impl World {
    /// A new world with nothing in it; `name` is for people who look at it.
    pub(crate) fn new(name: &str) -> World {
        static SWEEP: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        super::require("ip", "iproute2");
        assert!(rustix::process::geteuid().is_root(), "these tests need root: namespaces, sockets");
        SWEEP.call_once(sweep);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{MARK}{}-{number}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(&name);
        fs::create_dir_all(&dir).unwrap();
        World { name, dir, hosts: Mutex::default(), ports: AtomicU32::new(0) }
    }

    /// A world with a server host whose bridge `br0` has 10.77.1.1/24.
    pub(crate) fn with_bridge(name: &str) -> (World, Host) {
        let world = World::new(name);
        let server = world.host("server");
        server.bridge("br0", Some("10.77.1.1/24"));
        (world, server)
    }

    /// The directory of this world, on a real disk where `/tmp` is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A new machine with nothing but a loopback.
    pub(crate) fn host(&self, name: &str) -> Host {
        let ns = format!("{}-{name}", self.name);
        ip(&["netns", "add", &ns]);
        self.hosts.lock().unwrap().push(ns.clone());
        let host = Host { ns: ns.into(), name: name.into() };
        // No router solicitations and no duplicate address detection: only what a test sends.
        host.enter(|| {
            for (key, value) in [("accept_dad", "0"), ("router_solicitations", "0")] {
                for scope in ["all", "default"] {
                    let path = format!("/proc/sys/net/ipv6/conf/{scope}/{key}");
                    drop(fs::write(path, value));
                }
            }
        });
        host.ip("link set lo up");
        host
    }

    /// A new machine whose `eth0` is plugged into `bridge` of `server`; without an address.
    pub(crate) fn client(&self, name: &str, server: &Host, bridge: &str) -> Host {
        let host = self.host(name);
        self.plug(&host, "eth0", server, bridge);
        host
    }

    /// Gives `host` an interface `link` that is plugged into `bridge` of `server`; returns the
    /// name of the bridge port.
    pub(crate) fn plug(&self, host: &Host, link: &str, server: &Host, bridge: &str) -> String {
        let number = self.ports.fetch_add(1, Ordering::Relaxed);
        let port = format!("port{number}");
        let mac = format!("02:c1:00:00:{:02x}:{:02x}", number >> 8, number & 255);
        server.ip(&format!(
            "link add {port} type veth peer name {link} address {mac} netns {}",
            host.ns
        ));
        server.ip(&format!("link set {port} master {bridge} up"));
        host.ip(&format!("link set {link} up"));
        port
    }

    /// Starts a program on `host`; its output goes to `<label>.log` in [`World::dir`].
    pub(crate) fn spawn(&self, host: &Host, label: &str, argv: &[&str]) -> Proc {
        let mut command = host.command(argv);
        command.current_dir(&self.dir);
        Proc::start(command, &self.dir.join(format!("{label}.log")))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() {
            tell_logs(&self.dir);
        }
        for ns in self.hosts.get_mut().unwrap().drain(..) {
            remove_namespace(&ns);
        }
        if std::env::var_os("FORESHADOW_KEEP").is_none() {
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}

impl Host {
    /// A bridge that forwards at once, up, with this address and prefix.
    pub(crate) fn bridge(&self, bridge: &str, address: Option<&str>) {
        self.ip(&format!(
            "link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        ));
        if let Some(address) = address {
            self.ip(&format!("addr add {address} dev {bridge}"));
        }
        self.ip(&format!("link set {bridge} up"));
    }

    /// Runs `ip` with these words here; fails the test if it fails.
    #[track_caller]
    pub(crate) fn ip(&self, words: &str) -> String {
        let mut args = vec!["-n", &*self.ns];
        args.extend(words.split_whitespace());
        ip(&args)
    }

    /// A command that runs on this machine.
    pub(crate) fn command(&self, argv: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.ns]).args(argv).stdin(Stdio::null());
        command
    }

    /// Runs a shell line here and returns what it wrote; fails the test if it fails.
    #[track_caller]
    pub(crate) fn sh(&self, line: &str) -> String {
        let done = self.command(&["sh", "-c", line]).output().unwrap();
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "on {}: {line}: {error}", self.name);
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Calls `work` on a thread of its own that is on this machine's network: sockets opened
    /// there stay on it.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let ns = fs::File::open(Path::new(RUN).join(&*self.ns)).unwrap();
                move_into_link_name_space(ns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            match inside.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// The index of an interface.
    pub(crate) fn index_of(&self, link: &str) -> u32 {
        let shown = self.ip(&format!("-o link show dev {link}"));
        shown.split(':').next().unwrap().trim().parse().unwrap()
    }

    /// The hardware address of an interface.
    pub(crate) fn mac_of(&self, link: &str) -> [u8; 6] {
        let shown = self.ip(&format!("-o link show dev {link}"));
        let text = shown.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
        let mut mac = [0; 6];
        for (byte, hex) in mac.iter_mut().zip(text.split(':')) {
            *byte = u8::from_str_radix(hex, 16).unwrap();
        }
        mac
    }

    /// The global IPv6 addresses of an interface that are proven its own, without prefix lengths.
    pub(crate) fn addresses6(&self, link: &str) -> Vec<String> {
        let shown = self.ip(&format!("-6 -o addr show dev {link} scope global"));
        let unsure = |line: &&str| line.contains("tentative") || line.contains("dadfailed");
        let after = |line: &str| Some(line.split("inet6 ").nth(1)?.split('/').next()?.to_owned());
        shown.lines().filter(|line| !unsure(line)).filter_map(after).collect()
    }

    /// The IPv4 addresses of an interface, without prefix lengths.
    pub(crate) fn addresses(&self, link: &str) -> Vec<String> {
        let shown = self.ip(&format!("-4 -o addr show dev {link}"));
        let after = |line: &str| Some(line.split("inet ").nth(1)?.split('/').next()?.to_owned());
        shown.lines().filter_map(after).collect()
    }
}

#[track_caller]
fn ip(args: &[&str]) -> String {
    let done = Command::new("ip").args(args).output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {}: {error}", args.join(" "));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Ends what still runs in a namespace of ours and removes it.
fn remove_namespace(ns: &str) {
    if let Ok(found) = Command::new("ip").args(["netns", "pids", ns]).output() {
        for pid in String::from_utf8_lossy(&found.stdout).split_whitespace() {
            kill_pid(pid.parse().unwrap_or(0));
        }
    }
    drop(Command::new("ip").args(["netns", "del", ns]).stderr(Stdio::null()).status());
}

/// Removes what earlier test processes left that were killed before they could.
fn sweep() {
    let left = |dir: &Path| {
        let names = fs::read_dir(dir).into_iter().flatten().flatten();
        let dead = |name: &String| {
            let pid = name.strip_prefix(MARK).and_then(|rest| rest.split('-').next());
            pid.is_some_and(|pid| {
                pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()
            })
        };
        names.filter_map(|e| e.file_name().into_string().ok()).filter(dead).collect::<Vec<_>>()
    };
    for ns in left(Path::new(RUN)) {
        remove_namespace(&ns);
    }
    for dir in left(&std::env::temp_dir()) {
        drop(fs::remove_dir_all(std::env::temp_dir().join(dir)));
    }
}

/// Prints the end of every log of a failed test.
fn tell_logs(dir: &Path) {
    let mut out = std::io::stderr().lock();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "log" && e != "events") {
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(40);
        drop(writeln!(out, "--- {}\n{}", path.display(), lines[from..].join("\n")));
    }
}
