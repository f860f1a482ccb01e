//! What drivers do to guests at a switchover: real programs, and the monitors of real QEMUs.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::common::process::Proc;
use crate::common::world::World;
use crate::common::{PATIENCE, require, wait_until};

use super::switchover::Pair;

/// A QEMU without a disk, paused or not, whose monitor is at `NAME.qmp`.
fn qemu(world: &World, host: &crate::common::world::Host, name: &str, paused: bool) -> Proc {
    require("qemu-system-x86_64", "qemu-system-x86");
    let monitor = world.dir().join(format!("{name}.qmp"));
    let qmp = format!("unix:{},server=on,wait=off", monitor.display());
    let base = ["qemu-system-x86_64", "-accel", "tcg", "-m", "32", "-display", "none"];
    let more = ["-nodefaults", "-qmp", &qmp];
    let paused: &[&str] = if paused { &["-S"] } else { &[] };
    let proc = world.spawn(host, name, &[&base[..], &more, paused].concat());
    wait_until("a monitor", PATIENCE, || monitor.exists());
    proc
}

/// What a QEMU says of itself.
fn status(monitor: &Path) -> String {
    let Ok(mut stream) = UnixStream::connect(monitor) else { return "gone".into() };
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for ask in ["qmp_capabilities", "query-status"] {
        writeln!(stream, "{{\"execute\":\"{ask}\"}}").unwrap();
        while let Some(Ok(line)) = lines.next() {
            let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
            if let Some(found) = answer["return"]["status"].as_str() {
                return found.into();
            }
            if answer.get("return").is_some() {
                break;
            }
        }
    }
    String::new()
}

/// A program in the world's directory.
fn script(world: &World, name: &str, text: &str) -> String {
    let path = world.dir().join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn ready(name: &str, acts: impl FnOnce(&World) -> String) -> Pair {
    let mut pair = named(name, acts);
    pair.make_ready();
    pair
}

/// A pair with a driver, whose standby was just named.
fn named(name: &str, acts: impl FnOnce(&World) -> String) -> Pair {
    let (world, host) = World::with_bridge(name);
    let acts = acts(&world);
    let tables = format!("\n[[driver]]\nname = \"vms\"\ntimeout = \"2s\"\n{acts}");
    Pair::with(world, host, None, ("driver = \"vms\"\n", &tables))
}

#[test]
fn state_is_brought_over_and_one_wakes_and_the_other_ends() {
    let mut pair = ready("driven", |world| {
        let dir = world.dir().display();
        let last = script(world, "last", &format!("echo \"$@\" >> {dir}/last.log"));
        format!(
            "final_pass = {{ command = [\"{last}\", \"{{id}}\", \"{{standby.mac}}\"] }}\n\
             wake = {{ qmp = \"{dir}/{{id}}-b.qmp\" }}\nend = {{ qmp = \"{dir}/{{id}}-a.qmp\" }}\n"
        )
    });
    let dir = pair.world.dir().to_owned();
    let log = dir.join("last.log");
    let mut active = qemu(&pair.world, &pair.server_host, "web-a", false);
    let _standby = qemu(&pair.world, &pair.server_host, "web-b", true);
    assert_ne!(status(&dir.join("web-b.qmp")), "running");
    let report = pair.server.ask(&["standby", "switch", "web"]);
    assert!(report.contains("promoted"), "{report}");
    let told = fs::read_to_string(&log).unwrap();
    assert_eq!(told, format!("web {}\n", pair.standby.mac));
    assert_eq!(status(&dir.join("web-b.qmp")), "running");
    wait_until("the end of the former active", PATIENCE, || active.ended().is_some());
    // It is over: nobody has to drop it.
    wait_until("no pair", PATIENCE, || !pair.server.ask(&["standby", "list"]).contains("web"));
    pair.user.ask_until_answered_by(pair.standby.mac, 50);
}

#[test]
fn what_fails_before_the_gate_is_open_is_taken_back() {
    for act in [
        "final_pass = { command = [\"/bin/false\"] }",
        "final_pass = { command = [\"/bin/sleep\", \"60\"] }",
        "wake = { qmp = \"/nowhere/{id}.qmp\" }",
    ] {
        let mut pair = ready("undone", |_| format!("{act}\n"));
        let refused = pair.server.run(&["standby", "switch", "web"]);
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(why.contains("taken back"), "{act}: {why}");
        assert_eq!(pair.state()["state"], "ready");
        let asked = pair.user.answers.len();
        pair.user.ask_until_answered_by(pair.active.mac, 50);
        let by_standby = |(_, who): &&(u64, u8)| *who == pair.standby.mac.0[5];
        assert_eq!(pair.user.answers[asked..].iter().filter(by_standby).count(), 0, "{act}");
    }
}

#[test]
fn a_pass_that_was_cut_off_is_made_again() {
    let mut pair = ready("cut-off", |world| {
        let dir = world.dir().display().to_string();
        let pass =
            script(world, "pass", &format!("echo >> {dir}/passes; [ -e {dir}/go ] || sleep 60"));
        format!("final_pass = {{ command = [\"{pass}\"] }}\n")
    });
    let dir = pair.world.dir().to_owned();
    let passes = || fs::read_to_string(dir.join("passes")).map_or(0, |text| text.lines().count());
    pair.begin();
    wait_until("a pass", PATIENCE, || passes() == 1);
    pair.server.kill9();
    fs::write(dir.join("go"), "").unwrap();
    pair.server.start_again();
    wait_until("the promotion", PATIENCE, || pair.state()["state"] == "promoted");
    assert_eq!(passes(), 2);
    pair.check_over();
}

#[test]
fn a_standby_is_made_and_gets_the_state_of_its_active() {
    require("rsync", "rsync");
    let (world, host) = World::with_bridge("made");
    let dir = world.dir().to_owned();
    let at = |name: &str| dir.join(name).display().to_string();
    fs::create_dir_all(dir.join("web-state")).unwrap();
    fs::write(dir.join("web-state/ledger"), "one\n").unwrap();
    let check = script(&world, "check", &format!("[ -e {} ]", at("is-well")));
    let monitor = at("{id}-b.qmp");
    let copy = format!("{{ rsync = [\"{}\", \"{}\"] }}", at("{id}-state/"), at("{id}-copy/"));
    let driver = format!(
        "\n[[driver]]\nname = \"vms\"\ncreate = {{ qmp = \"{monitor}\" }}\nsync = {copy}\n\
         check = {{ command = [\"{check}\"] }}\nfinal_pass = {copy}\n\
         discard = {{ qmp = \"{monitor}\" }}\n"
    );
    let mut machine = qemu(&world, &host, "web-b", true);
    let mut pair = Pair::with(world, host, None, ("driver = \"vms\"\n", &driver));
    wait_until("a standby that runs", PATIENCE, || status(&dir.join("web-b.qmp")) == "running");
    wait_until("its state", PATIENCE, || pair.state()["state"] == "synced");
    assert_eq!(pair.state()["progress"], 100);
    let copied = || fs::read_to_string(dir.join("web-copy/ledger")).unwrap();
    assert_eq!(copied(), "one\n");
    // It is ready once it is found to be well, though nobody says so.
    fs::write(dir.join("is-well"), "").unwrap();
    pair.check_ready();
    // What changed since comes with the last pass.
    fs::write(dir.join("web-state/ledger"), "one\ntwo\n").unwrap();
    pair.server.ask(&["standby", "switch", "web"]);
    assert_eq!(copied(), "one\ntwo\n");
    pair.check_over();
    // One that was promoted is nobody's to discard.
    pair.server.ask(&["standby", "drop", "web"]);
    pair.user.ask_until_answered_by(pair.standby.mac, 50);
    assert_eq!(status(&dir.join("web-b.qmp")), "running");
    assert_eq!(machine.ended(), None);
}

#[test]
fn a_standby_that_nobody_needs_is_discarded() {
    let (world, host) = World::with_bridge("discarded");
    let dir = world.dir().to_owned();
    let mut machine = qemu(&world, &host, "web-b", true);
    let monitor = dir.join("{id}-b.qmp").display().to_string();
    let acts = format!("create = {{ qmp = \"{monitor}\" }}\ndiscard = {{ qmp = \"{monitor}\" }}\n");
    let driver = format!("\n[[driver]]\nname = \"vms\"\n{acts}");
    let mut pair = Pair::with(world, host, None, ("driver = \"vms\"\n", &driver));
    pair.check_ready();
    assert_eq!(status(&dir.join("web-b.qmp")), "running");
    pair.server.ask(&["standby", "drop", "web"]);
    wait_until("its end", PATIENCE, || machine.ended().is_some());
}

#[test]
fn a_pass_tells_how_far_it_is_and_makes_way_for_a_switchover() {
    let mut pair = named("passes", |world| {
        let dir = world.dir().display().to_string();
        let pass = script(
            world,
            "pass",
            &format!("echo $$ >> {dir}/passes; echo 2%; printf 'so much: 40%% of it\\r'; sleep 60"),
        );
        format!("sync = {{ command = [\"{pass}\"] }}\n")
    });
    let dir = pair.world.dir().to_owned();
    let passes = || -> Vec<String> {
        let text = fs::read_to_string(dir.join("passes")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let runs = |pid: &String| Path::new("/proc").join(pid).exists();
    wait_until("progress", PATIENCE, || pair.state()["progress"] == 40);
    assert_eq!(pair.state()["state"], "preparing");
    // Whoever was killed has it made again.
    pair.server.kill9();
    pair.server.start_again();
    wait_until("another pass", PATIENCE, || passes().len() == 2);
    pair.check_quiet();
    pair.server.ask(&["standby", "switch", "web", "--force"]);
    wait_until("no pass", PATIENCE, || !runs(&passes()[1]));
    pair.check_over();
    assert_eq!(passes().len(), 2);
}
