//! Server and agent are killed at each of the steps of a switchover: at each write of the one that is
//! to be durable, at each change of the other's file, of the kernel's rules, and each announcement.
//!
//! `FORESHADOW_TIMES` is up to which of them; the first four where nothing is said.

use std::thread;

use crate::common::api::Api;
use crate::common::process::Proc;
use crate::common::{PATIENCE, require, wait_until};

use super::switchover::{Pair, run_agent};

/// Who is killed, and at which of its system calls.
#[derive(Clone, Copy, Debug)]
enum Whom {
    Server(&'static str),
    Agent(&'static str),
}

const STEPS: [Whom; 3] =
    [Whom::Server("fdatasync"), Whom::Agent("rename"), Whom::Agent("sendto,sendmsg,sendmmsg")];

/// Has one be killed at the `n`th of these calls, from now on.
fn trap(pair: &Pair, whom: Whom, n: u32) -> Proc {
    let (pid, calls) = match whom {
        Whom::Server(calls) => (pair.server.pid(), calls),
        Whom::Agent(calls) => (pair.agent.pid(), calls),
    };
    require("strace", "strace");
    let how = format!("inject={calls}:signal=SIGKILL:when={n}");
    let pid = pid.to_string();
    let argv = ["strace", "-f", "-o", "/dev/null", "-p", &pid, "-e", &how];
    let mut strace = pair.world.spawn(&pair.server_host, "strace", &argv);
    strace.wait_line("attached");
    strace
}

/// One switchover; whether anybody was killed in it.
fn is_cut(pair: &mut Pair, whom: Whom, n: u32, fails: bool) -> bool {
    pair.make_ready();
    let mut strace = trap(pair, whom, n);
    if fails {
        pair.active.host.ip("link set eth0 down");
    }
    let is_promoted = |pair: &Pair| {
        let shown = pair.server.run(&["standby", "show", "web", "--json"]);
        String::from_utf8_lossy(&shown.stdout).contains("\"promoted\"")
    };
    if !fails {
        let socket = pair.world.dir().join("control.sock");
        // Whoever asks may get no answer: the server is killed meanwhile.
        thread::spawn(move || {
            Api::at(&socket).ask("POST", "/v1/standbys/web/switchover", &serde_json::json!({}))
        });
    }
    wait_until("a promotion, or a kill", PATIENCE * 2, || {
        strace.ended().is_some() || is_promoted(pair)
    });
    let killed = strace.ended().is_some();
    if !killed {
        strace.kill9();
    }
    pair.check_claims();
    if killed {
        match whom {
            Whom::Server(_) => pair.server.start_again(),
            Whom::Agent(_) => pair.agent = run_agent(&pair.world, &pair.server_host),
        }
    }
    wait_until("the promotion", PATIENCE * 2, || {
        let state = pair.state();
        // The kill may have come before it was durable that it begins.
        if state["state"] == "ready" && !fails {
            pair.begin();
        }
        state["state"] == "promoted"
    });
    pair.check_over();
    killed
}

fn at_each_step(name: &str, fails: bool) {
    let most = std::env::var("FORESHADOW_TIMES").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    for (kind, whom) in STEPS.into_iter().enumerate() {
        let cut = (1..=most).take_while(|n| {
            let mut pair = Pair::ready(&format!("{name}{kind}-{n}"));
            is_cut(&mut pair, whom, *n, fails)
        });
        assert!(cut.count() > 0, "{whom:?} were never at a step");
    }
}

#[test]
fn whoever_is_killed_at_a_step_of_a_planned_one_goes_on() {
    at_each_step("step", false);
}

#[test]
fn whoever_is_killed_at_a_step_after_a_failure_goes_on() {
    at_each_step("fstep", true);
}
