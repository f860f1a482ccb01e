//! Two virtual machines with an operating system of their own and one address: whoever speaks TCP
//! with the one goes on with the other.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::common::process::Proc;
use crate::common::server::{Server, Setup, calm_lan};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, require, wait_for, wait_until};

use super::switchover::{POLICY, run_agent};

const SERVICE: u16 = 7000;
/// Those of a virtual network card, each after what it needs; some kernels have them built in.
const MODULES: [&str; 8] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
];
/// Gets an address, and serves whoever connects: first who it is, then what it hears.
const INIT: &str = "#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in MODULES; do [ -e /m/$module.ko ] && insmod /m/$module.ko; done
for word in $(cat /proc/cmdline); do case $word in who=*) echo ${word#who=} >/who ;; esac; done
ip link set lo up
ip link set eth0 up
nc -ll -p 7000 -e /service &
while :; do udhcpc -f -i eth0 -s /configure -t 20 -T 2; sleep 1; done
";
const SERVICE_OF_GUEST: &str = "#!/bin/sh\ncat /who\nexec cat\n";
const CONFIGURE: &str =
    "#!/bin/sh\n[ -z \"$ip\" ] || { ip addr flush dev eth0; ip addr add $ip/24 dev eth0; }\n";

/// What the machines boot: a kernel as distributed, and busybox.
fn system(dir: &Path) -> (PathBuf, PathBuf) {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/guest");
    let kernel = tools.join("vmlinuz");
    assert!(kernel.exists(), "{} is missing: scripts/ensure-packages test", kernel.display());
    require("busybox", "busybox");
    require("gzip", "gzip");
    let root = dir.join("root");
    for of in ["bin", "dev", "m", "proc", "lib64"] {
        fs::create_dir_all(root.join(of)).unwrap();
    }
    let find = format!(
        "set -e; cd {}; busybox=$(command -v busybox); cp $busybox bin/busybox; \
         for file in $(ldd $busybox | grep -o '/[^ ]*'); do cp --parents -L $file .; done; \
         for module in {}; do find {}/lib -name $module.ko -exec cp {{}} m/ \\; ; done",
        root.display(),
        MODULES.join(" "),
        tools.display(),
    );
    sh(&find);
    for applet in ["sh", "mount", "insmod", "cat", "ip", "nc", "udhcpc", "sleep"] {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let init = INIT.replace("MODULES", &MODULES.join(" "));
    for (name, text) in [("init", &*init), ("service", SERVICE_OF_GUEST), ("configure", CONFIGURE)]
    {
        fs::write(root.join(name), text).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let image = dir.join("initrd.gz");
    let pack = "busybox find . | busybox cpio -o -H newc | gzip -1";
    sh(&format!("cd {} && {pack} > {}", root.display(), image.display()));
    (kernel, image)
}

fn sh(line: &str) {
    let done = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
}

struct Machine {
    proc: Proc,
    tap: String,
    mac: String,
}

fn boot(world: &World, host: &Host, system: &(PathBuf, PathBuf), number: u8) -> Machine {
    let (tap, mac) = (format!("tap{number}"), format!("52:54:00:00:07:{number:02x}"));
    host.ip(&format!("tuntap add dev {tap} mode tap"));
    host.ip(&format!("link set {tap} master br0 up"));
    let line = format!(
        "qemu-system-x86_64 -accel tcg -cpu max -m 128 -display none -nodefaults -no-reboot \
         -serial stdio -netdev tap,id=n0,ifname={tap},script=no,downscript=no \
         -device virtio-net-pci,netdev=n0,mac={mac},romfile= -kernel {} -initrd {} -append",
        system.0.display(),
        system.1.display(),
    );
    let words = format!("console=ttyS0 quiet panic=-1 who=web-{number}");
    let argv: Vec<&str> = line.split_whitespace().chain([words.as_str()]).collect();
    let proc = world.spawn(host, &format!("machine{number}"), &argv);
    Machine { proc, tap, mac }
}

/// Somebody who keeps one connection, and makes a new one when that is lost.
struct Caller<'a> {
    host: &'a Host,
    to: SocketAddr,
    line: Option<BufReader<TcpStream>>,
    /// Who answered each of its connections.
    spoke_with: Vec<String>,
}

impl Caller<'_> {
    /// Says something, and hears it back.
    fn speak(&mut self) -> std::io::Result<()> {
        let line = match self.line.take() {
            Some(line) => self.line.insert(line),
            None => {
                let within = Duration::from_secs(1);
                let stream = self.host.enter(|| TcpStream::connect_timeout(&self.to, within))?;
                stream.set_read_timeout(Some(within))?;
                let mut line = BufReader::new(stream);
                let mut who = String::new();
                line.read_line(&mut who)?;
                self.spoke_with.push(who.trim().to_owned());
                self.line.insert(line)
            }
        };
        let mut heard = String::new();
        let done =
            line.get_mut().write_all(b"so\n").and_then(|()| line.read_line(&mut heard)).and_then(
                |_| if heard == "so\n" { Ok(()) } else { Err(std::io::ErrorKind::Other.into()) },
            );
        if done.is_err() {
            self.line = None;
        }
        done
    }

    fn speak_with(&mut self, who: &str) {
        wait_until(&format!("a word of {who}"), PATIENCE * 3, || {
            self.speak().is_ok() && self.spoke_with.last().is_some_and(|last| last == who)
        });
    }
}

/// Two machines with one address, and somebody who speaks with the first; `ends` does something
/// after which it is the second.
fn one_after_the_other(name: &str, ends: impl FnOnce(&Server, &mut Machine)) {
    require("qemu-system-x86_64", "qemu-system-x86");
    let (world, server_host) = World::with_bridge(name);
    let system = system(world.dir());
    let _agent = run_agent(&world, &server_host);
    let keys = format!("agent_socket = \"{}\"", world.dir().join("agent/agent.sock").display());
    let body = calm_lan().replacen("[[network.subnet]]", &format!("{POLICY}[[network.subnet]]"), 1);
    let setup = Setup { keys: &keys, ..Setup::default() };
    let server = Server::start_with(&world, &server_host, &body, setup);
    let mut active = boot(&world, &server_host, &system, 1);
    let leased = |mac: &str| -> Option<Ipv4Addr> {
        let leases = server.leases();
        let of = leases.iter().find(|of| of["hardware"] == mac && of["state"] == "leased")?;
        of["address"].as_str()?.parse().ok()
    };
    let addr = wait_for("an active", PATIENCE * 4, || leased(&active.mac));
    let caller = world.client("caller", &server_host, "br0");
    caller.ip("addr add 10.77.1.9/24 dev eth0");
    let to = (addr, SERVICE).into();
    let mut caller = Caller { host: &caller, to, line: None, spoke_with: vec![] };
    caller.speak_with("web-1");
    let standby = boot(&world, &server_host, &system, 2);
    let of = addr.to_string();
    let pair = ["--network", "lan", "--id", "web", "--address", &of, "--active-mac", &active.mac];
    let whose = ["--active-port", &active.tap, "--standby-port", &standby.tap];
    server
        .ask(&[&["standby", "add"], &pair[..], &whose, &["--standby-mac", &standby.mac]].concat());
    // It is ready when it has the address, which it asks for as every machine does.
    wait_until("a standby that is ready", PATIENCE * 4, || {
        server.run(&["standby", "report", "web", "ready"]).status.success()
    });
    caller.speak_with("web-1");
    assert_eq!(caller.spoke_with, ["web-1"], "nothing happened to the connection");
    ends(&server, &mut active);
    caller.speak_with("web-2");
    assert_eq!(caller.spoke_with, ["web-1", "web-2"]);
}

#[test]
fn a_connection_is_made_anew_to_the_standby() {
    one_after_the_other("guests", |server, _| {
        server.ask(&["standby", "switch", "web"]);
    });
}

#[test]
fn a_connection_is_made_anew_after_the_active_was_killed() {
    one_after_the_other("dead-guest", |_, active| active.proc.kill9());
}
