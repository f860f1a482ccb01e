//! Hooks: a real receiver that verifies signatures, a real command, and kill -9 in the middle.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::link::{Raw, mac};
use crate::common::process::Proc;
use crate::common::server::{Server, calm_lan};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, require, wait_until};

pub(super) const SECRET: &str = "a secret of the receiver";

/// Starts a receiver of what is signed by `secret`; what it takes goes to `heard-PORT`.
pub(super) fn receiver(world: &World, host: &Host, port: u16, secret: &str, more: &[&str]) -> Proc {
    require("python3", "python3");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/audit/receiver.py");
    let (at, into) = (port.to_string(), heard_at(world, port).display().to_string());
    let argv = [&["python3", script, &at, secret, &into], more].concat();
    let mut started = world.spawn(host, &format!("receiver-{port}"), &argv);
    started.wait_line("listens");
    started
}

pub(super) fn heard_at(world: &World, port: u16) -> PathBuf {
    world.dir().join(format!("heard-{port}"))
}

/// What was heard: how often, by the number of the record.
pub(super) fn heard(file: &Path) -> BTreeMap<u64, usize> {
    let mut all = BTreeMap::new();
    for line in fs::read_to_string(file).unwrap_or_default().lines() {
        // The last line may be on its way.
        if let Ok(told) = serde_json::from_str::<Value>(line) {
            *all.entry(told["record"]["number"].as_u64().unwrap()).or_default() += 1;
        }
    }
    all
}

pub(super) fn webhook(world: &World, name: &str, port: u16) -> String {
    let secret = world.dir().join("secret");
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    format!(
        "[[hook]]\nname = \"{name}\"\nevents = [\"granted\", \"released\"]\n\
         url = \"http://127.0.0.1:{port}/dhcp\"\nsecret_file = \"{}\"\ntimeout = \"2s\"\n",
        secret.display()
    )
}

pub(super) fn metric(world: &World, host: &Host, name: &str, hook: &str) -> u64 {
    let socket = world.dir().join("control.sock");
    let shown = host.sh(&format!("curl -sS --unix-socket {} http://x/metrics", socket.display()));
    let start = format!("{name}{{hook=\"{hook}\"}} ");
    let found = shown.lines().find_map(|line| line.strip_prefix(&start));
    found.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
}

#[test]
fn every_grant_is_told_across_kill_9_and_a_receiver_that_is_down() {
    let (world, host) = World::with_bridge("hook");
    let body = format!("{}{}", calm_lan(), webhook(&world, "cmdb", 9001));
    let mut server = Server::start(&world, &host, &body);
    let mut raw = Raw::on(&world.client("c1", &host, "br0"));
    let file = heard_at(&world, 9001);
    let mut up = receiver(&world, &host, 9001, SECRET, &[]);
    (1..=10).for_each(|n| _ = raw.lease(mac(n)));
    wait_until("10 events", PATIENCE, || heard(&file).len() == 10);
    up.kill9();
    (11..=20).for_each(|n| _ = raw.lease(mac(n)));
    wait_until("a failure", PATIENCE, || {
        metric(&world, &host, "foreshadow_hook_failures_total", "cmdb") > 0
    });
    server.kill9();
    server.start_again();
    let _up = receiver(&world, &host, 9001, SECRET, &[]);
    wait_until("20 events", PATIENCE, || heard(&file).len() == 20);
    for round in 0..3 {
        let first = 21 + 10 * round;
        (first..first + 10).for_each(|n| _ = raw.lease(mac(n)));
        server.kill9();
        server.start_again();
    }
    wait_until("50 events", PATIENCE, || heard(&file).len() == 50);
    let text = fs::read_to_string(&file).unwrap();
    for n in 1..=50 {
        assert!(text.contains(&format!("02:aa:00:00:00:{n:02x}")), "{n}");
    }
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&first["hook"], &first["event"]), (&"cmdb".into(), &"granted".into()));
    assert_eq!(first["record"]["binding"]["state"], "leased");
    let delivered = || metric(&world, &host, "foreshadow_hook_lag", "cmdb");
    wait_until("nothing is left", PATIENCE, || delivered() == 0);
    server.stop();
}

#[test]
fn a_wrong_key_is_refused_and_a_hook_that_hangs_delays_no_other() {
    let (world, host) = World::with_bridge("hook-key");
    let hooks = [
        webhook(&world, "good", 9002),
        webhook(&world, "bad", 9003),
        webhook(&world, "hung", 9004),
    ];
    let _good = receiver(&world, &host, 9002, SECRET, &[]);
    let _bad = receiver(&world, &host, 9003, "another secret of 16", &[]);
    let mut hung = receiver(&world, &host, 9004, SECRET, &["hang"]);
    let server = Server::start(&world, &host, &format!("{}{}", calm_lan(), hooks.concat()));
    let mut raw = Raw::on(&world.client("c1", &host, "br0"));
    raw.lease(mac(1));
    hung.wait_line("hangs");
    (2..=20).for_each(|n| _ = raw.lease(mac(n)));
    wait_until("20 events", PATIENCE, || heard(&heard_at(&world, 9002)).len() == 20);
    let failures = |hook| metric(&world, &host, "foreshadow_hook_failures_total", hook);
    wait_until("refusals", PATIENCE, || failures("bad") > 1 && failures("hung") > 0);
    assert_eq!((failures("good"), heard(&heard_at(&world, 9003)).len()), (0, 0));
    assert!(metric(&world, &host, "foreshadow_hook_lag", "hung") >= 20);
    // A reload puts the key right, and what waited goes out.
    fs::write(world.dir().join("secret"), "another secret of 16\n").unwrap();
    wait_until("its events", PATIENCE, || heard(&heard_at(&world, 9003)).len() == 20);
    let log = fs::read_to_string(world.dir().join("server.log")).unwrap();
    assert!(log.contains("401") && !log.contains(SECRET));
    drop(server);
}

#[test]
fn what_a_receiver_will_not_have_is_set_aside_and_a_lost_place_begins_anew() {
    let (world, host) = World::with_bridge("hook-refusal");
    let mut receiver_of = receiver(&world, &host, 9002, SECRET, &["refuse", "2"]);
    let lan = format!("{}{}", calm_lan(), webhook(&world, "cmdb", 9002));
    let mut server = Server::start(&world, &host, &lan);
    let mut raw = Raw::on(&world.client("c1", &host, "br0"));
    (1..=4).for_each(|n| _ = raw.lease(mac(n)));
    let told = || heard(&heard_at(&world, 9002));
    wait_until("the others", PATIENCE, || told().len() == 3);
    assert!(!told().contains_key(&2));
    assert_eq!(metric(&world, &host, "foreshadow_hook_refused_total", "cmdb"), 1);
    server.stop();

    let place = world.dir().join("state/hooks/cmdb.hook");
    fs::write(&place, "foreshadow hook\nnext 7\n").unwrap();
    receiver_of.kill9();
    let _receiver = receiver(&world, &host, 9002, SECRET, &[]);
    let mut server = Server::start(&world, &host, &lan);
    wait_until("everything again", PATIENCE, || told().len() == 4);
    assert_eq!(told()[&1], 2);
    server.stop();
}

#[test]
fn a_command_hears_of_events_and_may_do_nothing_else() {
    let (world, host) = World::with_bridge("hook-run");
    let (program, file) = (world.dir().join("tell"), world.dir().join("heard"));
    let text = format!(
        "#!/bin/sh\ntest \"$1\" = '$(x) y' || exit 9\ntest -z \"$HOME\" || exit 8\n\
         grep Cap /proc/self/status > {0}.caps\nls -l /proc/self/fd > {0}.fds\n\
         cat >> {0} && echo >> {0}\n",
        file.display()
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let hook = |name: &str, argv: &str| {
        format!(
            "[[hook]]\nname = \"{name}\"\nevents = [\"granted\"]\ncommand = {argv}\ntimeout = \"1s\"\n"
        )
    };
    let tell = hook("tell", &format!("[\"{}\", \"$(x) y\"]", program.display()));
    let sleeps = hook("sleeps", "[\"/bin/sh\", \"-c\", \"sleep 4242 & wait\"]");
    let body = format!("{}{tell}{sleeps}", calm_lan());
    let server = Server::start(&world, &host, &body);
    let mut raw = Raw::on(&world.client("c1", &host, "br0"));
    (1..=3).for_each(|n| _ = raw.lease(mac(n)));
    wait_until("3 events", PATIENCE, || heard(&file).len() == 3);
    // No other run rewrites these: each wrote them before its event.
    let caps = fs::read_to_string(file.with_extension("caps")).unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(caps.contains(&format!("{set}:\t0000000000000000")), "{caps}");
    }
    let fds = fs::read_to_string(file.with_extension("fds")).unwrap();
    assert!(!fds.contains("socket:") && !fds.contains("state"), "{fds}");
    let failures = |hook| metric(&world, &host, "foreshadow_hook_failures_total", hook);
    wait_until("the end of its time", PATIENCE, || failures("sleeps") > 0);
    // A reload ends a hook, with all that it started, and begins another from now on.
    let second = hook("second", &format!("[\"{}\", \"$(x) y\"]", program.display()));
    server.write_config(&format!("{}{second}", calm_lan()));
    server.ask(&["reload"]);
    let sleepers = || host.sh("pgrep -f 'sleep 424[2]' || true");
    wait_until("no sleeper", PATIENCE, || sleepers().trim().is_empty());
    fs::remove_file(&file).unwrap();
    let begun = world.dir().join("state/hooks/second.hook");
    wait_until("its place", PATIENCE, || begun.exists());
    raw.lease(mac(9));
    wait_until("an event", PATIENCE, || heard(&file).len() == 1);
    assert!(fs::read_to_string(&file).unwrap().contains("02:aa:00:00:00:09"), "from now on");
    assert!(!world.dir().join("state/hooks/tell.hook").exists());
}
