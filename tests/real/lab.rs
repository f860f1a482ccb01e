//! `foreshadow lab` from outside: it shows what it should, and leaves nothing behind.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::common::process::Proc;
use crate::common::server::BINARY;
use crate::common::world::World;

/// A lab that was started, and where its directory is while it runs.
fn start(world: &World, args: &[&str]) -> (Proc, PathBuf) {
    let mut command = Command::new(BINARY);
    command.arg("lab").args(args);
    let lab = Proc::start(command, &world.dir().join("lab.log"));
    let dir = PathBuf::from(format!("/var/tmp/foreshadow-lab-{}", lab.pid()));
    (lab, dir)
}

/// Neither its directory, nor a process that works in it, nor a namespace of a guest.
fn assert_nothing_left(dir: &std::path::Path) {
    assert!(!dir.exists(), "{} is left", dir.display());
    let name = dir.to_str().unwrap();
    let commands = fs::read_dir("/proc").unwrap().flatten().filter_map(|process| {
        let line = fs::read(process.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    let left: Vec<_> = commands.filter(|line| line.contains(name)).collect();
    assert!(left.is_empty(), "still running: {left:?}");
    for guest in ["dhclient", "udhcpc", "dhcpcd", "router", "standby"] {
        assert!(!std::path::Path::new("/run/netns").join(guest).exists());
    }
}

/// Three guests and a router get, renew and keep addresses of both families and a prefix over a
/// crash of the server, one gives its addresses back, another's is given to a standby; Ctrl-C
/// ends it, and nothing is left.
#[test]
fn the_lab_plays_to_the_end() {
    let world = World::new("lab");
    let (mut lab, dir) = start(&world, &[]);
    for guest in ["dhclient", "udhcpc", "dhcpcd", "router"] {
        lab.wait_line(&format!("{guest:<8} | has 10.99.0."));
        lab.wait_line(&format!("{guest:<8} | has fd00:99::1"));
        lab.wait_line(&format!("{guest:<8} | renewed fd00:99::1"));
    }
    lab.wait_line("router   | has the prefix fd00:99:1");
    lab.wait_line("router   | gave fd00:99:1");
    lab.wait_line("same addresses and prefix as before the crash");
    lab.wait_line("udhcpc   | gave 10.99.0.");
    lab.wait_line("udhcpc   | gave fd00:99::1");
    lab.wait_line("standby  | has 10.99.0.");
    lab.wait_line("shadow is promoted");
    lab.wait_line("nobody answered for");
    lab.wait_line("that was all");
    lab.signal(Signal::INT);
    let status = lab.wait_end();
    assert!(status.success(), "{status}: {}", lab.output());
    assert_nothing_left(&dir);
}

/// `--for` ends it, even in the midst of the play.
#[test]
fn the_lab_ends_in_time() {
    let world = World::new("lab-for");
    let (mut lab, dir) = start(&world, &["--for", "2"]);
    let status = lab.wait_end();
    assert!(status.success(), "{status}: {}", lab.output());
    assert_nothing_left(&dir);
}

/// Without the right to make namespaces it says so, and how to go on.
#[test]
fn the_lab_wants_root() {
    crate::common::require("setpriv", "util-linux");
    let argv = ["--inh-caps=-all", "--bounding-set=-all", BINARY, "lab", "--for", "1"];
    let done = Command::new("setpriv").args(argv).output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success());
    assert!(error.contains("root"), "{error}");
}
