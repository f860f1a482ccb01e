//! A pair on two hosts: each has an agent, and the server tells that of the other host by TLS.

use std::thread;
use std::time::Duration;

use crate::certificates::certificate;
use crate::common::process::Proc;
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, wait_until};

use super::switchover::Pair;

const FAR: &str = "10.77.1.2:7644";

/// Two bridges that are one segment; the agent of the second obeys the server on the first.
struct Two {
    pair: Pair,
    far: Host,
    far_agent: Proc,
}

fn run_far_agent(world: &World, far: &Host) -> Proc {
    let dir = world.dir().join("far");
    std::fs::create_dir_all(&dir).unwrap();
    let path = |name: &str| world.dir().join(name).display().to_string();
    let socket = dir.join("agent.sock").display().to_string();
    let (ca, certificate, key) = (path("ca.pem"), path("hv2.pem"), path("hv2.key"));
    let argv = [
        env!("CARGO_BIN_EXE_foreshadow"),
        "agent",
        "run",
        "--socket",
        &socket,
        "--listen",
        FAR,
        "--ca",
        &ca,
        "--certificate",
        &certificate,
        "--key",
        &key,
    ];
    let mut agent = world.spawn(far, "far-agent", &argv);
    agent.wait_line("agent ready");
    agent
}

impl Two {
    fn ready(name: &str) -> Two {
        let (world, near) = World::with_bridge(name);
        let far = world.host("hv2");
        far.bridge("br0", Some("10.77.1.2/24"));
        world.plug(&far, "uplink", &near, "br0");
        far.ip("link set uplink master br0");
        certificate(&world, &near, "hv2", "hv2");
        certificate(&world, &near, "foreshadow", "foreshadow");
        let far_agent = run_far_agent(&world, &far);
        let path = |name: &str| world.dir().join(name).display().to_string();
        let told = format!(
            "\n[agents]\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n\
             [[agents.host]]\nname = \"hv2\"\naddress = \"{FAR}\"\n",
            path("ca.pem"),
            path("foreshadow.pem"),
            path("foreshadow.key"),
        );
        let mut pair = Pair::with(world, near, Some(&far), ("", &told));
        pair.make_ready();
        Two { pair, far, far_agent }
    }
}

#[test]
fn a_planned_switchover_to_another_host_loses_nothing() {
    let mut two = Two::ready("two-planned");
    let checks = two.pair.server.ask(&["standby", "switch", "web", "--dry-run"]);
    assert!(!checks.contains("bad"), "{checks}");
    let (report, lost) = two.pair.switch_over();
    assert!(report.contains("nobody answered for"), "{report}");
    assert_eq!(lost, Vec::<u64>::new());
}

#[test]
fn a_standby_on_another_host_takes_over() {
    let mut two = Two::ready("two-failed");
    two.pair.active.host.ip("link set eth0 down");
    two.pair.check_over();
    let state = two.pair.state();
    assert_eq!(state["switchover"]["kind"], "failure", "{state}");
}

#[test]
fn whoever_of_two_hosts_is_killed_goes_on_where_it_was() {
    for round in 0..4 {
        let mut two = Two::ready(&format!("two-killed{round}"));
        let pair = &mut two.pair;
        pair.begin();
        thread::sleep(Duration::from_millis(2 * round));
        two.far_agent.kill9();
        if round % 2 == 1 {
            pair.agent.kill9();
        }
        pair.server.kill9();
        pair.check_claims();
        two.far_agent = run_far_agent(&pair.world, &two.far);
        if round % 2 == 1 {
            pair.agent = super::switchover::run_agent(&pair.world, &pair.server_host);
        }
        pair.server.start_again();
        wait_until("the promotion", PATIENCE * 2, || {
            let state = pair.state();
            // The kill may have come before it began.
            if state["state"] == "ready" {
                pair.begin();
            }
            state["state"] == "promoted"
        });
        pair.check_over();
    }
}

#[test]
fn an_agent_obeys_its_server_alone() {
    let two = Two::ready("two-strangers");
    let (world, near) = (&two.pair.world, &two.pair.server_host);
    certificate(world, near, "somebody", "somebody");
    let ask = |with: &str| {
        let line = format!(
            "cd {}; (echo '\"hello\"'; sleep 1) | timeout 5 openssl s_client -quiet -tls1_3 -connect {FAR} {with} 2>&1",
            world.dir().display()
        );
        let done = near.command(&["sh", "-c", &line]).output().unwrap();
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let own = ask("-cert foreshadow.pem -key foreshadow.key");
    assert!(own.contains("\"version\""), "{own}");
    for stranger in ["", "-cert somebody.pem -key somebody.key", "-cert hv2.pem -key hv2.key"] {
        let told = ask(stranger);
        assert!(!told.contains("\"version\""), "{stranger}: {told}");
    }
    // Another authority signs the same name.
    near.sh(&format!(
        "mkdir -p {0}/other && cp {0}/foreshadow.key {0}/other/",
        world.dir().display()
    ));
    let dir = world.dir().join("other");
    near.sh(&format!(
        "cd {} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
         -keyout self.key -out self.pem -days 2 -subj /CN=foreshadow 2>&1",
        dir.display()
    ));
    let told = ask("-cert other/self.pem -key other/self.key");
    assert!(!told.contains("\"version\""), "{told}");
    // Whoever holds connections open without a word keeps nobody out.
    let flood = "for i in $(seq 40); do timeout 20 busybox nc 10.77.1.2 7644 < /dev/zero > /dev/null & done; wait";
    let _flood = world.spawn(near, "flood", &["sh", "-c", flood]);
    wait_until("an answer in a flood", PATIENCE, || {
        ask("-cert foreshadow.pem -key foreshadow.key").contains("\"version\"")
    });
}
