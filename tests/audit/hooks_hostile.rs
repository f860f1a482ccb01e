//! Hooks that are told over TLS, and receivers and programs that mean harm: they cost nobody but
//! themselves.

use std::fs;

use crate::audit::hooks::{SECRET, heard, heard_at, metric, receiver, webhook};
use crate::certificates::certificate;
use crate::common::link::{Raw, mac};
use crate::common::server::{Server, calm_lan};
use crate::common::world::World;
use crate::common::{PATIENCE, wait_until};

/// More than any of it may cost, in KiB.
const GROWTH_MAX: u64 = 32 << 10;

fn peak_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.proc.pid())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    peak.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn command(name: &str, script: &str) -> String {
    format!(
        "[[hook]]\nname = \"{name}\"\nevents = [\"granted\"]\ntimeout = \"2s\"\n\
         command = [\"/bin/sh\", \"-c\", '''{script}''']\n"
    )
}

#[test]
fn over_tls_only_who_is_trusted_and_rightly_named_is_told() {
    let (world, host) = World::with_bridge("hook-tls");
    certificate(&world, &host, "right", "127.0.0.1");
    certificate(&world, &host, "elsewhere", "127.0.0.9");
    let file = |name: &str| world.dir().join(name).display().to_string();
    host.sh(&format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
         -keyout {} -out {} -subj /CN=other 2>&1",
        file("other.key"),
        file("other.pem")
    ));
    let https = |name: &str, port: u16, authority: &str| {
        let hook = webhook(&world, name, port).replace("http://", "https://");
        hook + &format!("ca_file = \"{}\"\n", file(authority))
    };
    let hooks = [
        https("good", 9443, "ca.pem"),
        https("stranger", 9444, "other.pem"),
        https("misnamed", 9445, "ca.pem"),
        https("plain", 9446, "ca.pem"),
        // Whom the system trusts, and that is nobody whom we made.
        webhook(&world, "system", 9447).replace("http://", "https://"),
    ];
    let serve = |port: u16, name: &str| {
        let (cert, key) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
        receiver(&world, &host, port, SECRET, &["tls", &cert, &key])
    };
    let _up = [serve(9443, "right"), serve(9444, "right"), serve(9445, "elsewhere")];
    let _more = [receiver(&world, &host, 9446, SECRET, &[]), serve(9447, "right")];
    let mut server = Server::start(&world, &host, &format!("{}{}", calm_lan(), hooks.concat()));
    let mut raw = Raw::on(&world.client("c1", &host, "br0"));
    (1..=3).for_each(|n| _ = raw.lease(mac(n)));
    wait_until("3 events", PATIENCE, || heard(&heard_at(&world, 9443)).len() == 3);
    for (hook, port) in [("stranger", 9444), ("misnamed", 9445), ("plain", 9446), ("system", 9447)]
    {
        wait_until(hook, PATIENCE, || {
            metric(&world, &host, "foreshadow_hook_failures_total", hook) > 1
        });
        assert!(heard(&heard_at(&world, port)).is_empty(), "{hook}");
    }
    assert_eq!(metric(&world, &host, "foreshadow_hook_failures_total", "good"), 0);
    let log = fs::read_to_string(world.dir().join("server.log")).unwrap();
    for (hook, why) in
        [("stranger", "UnknownIssuer"), ("misnamed", "not valid for"), ("plain", "TLS")]
    {
        let said = |line: &&str| line.contains(&format!("hook {hook}: ")) && line.contains(why);
        assert!(log.lines().any(|line| said(&line)), "{hook} {why}: {log}");
    }
    server.stop();
}

#[test]
fn receivers_that_mean_harm_are_left_behind() {
    let (world, host) = World::with_bridge("hook-receivers");
    let hooks: Vec<String> =
        [("good", 9002), ("redirected", 9003), ("endless", 9004), ("headers", 9005)]
            .map(|(name, port)| webhook(&world, name, port))
            .into();
    let _good = receiver(&world, &host, 9002, SECRET, &[]);
    // Where it is sent to would take it.
    let _target = receiver(&world, &host, 9006, SECRET, &[]);
    let mut away =
        receiver(&world, &host, 9003, SECRET, &["redirect", "http://127.0.0.1:9006/dhcp"]);
    let mut endless = receiver(&world, &host, 9004, SECRET, &["endless"]);
    let mut headers = receiver(&world, &host, 9005, SECRET, &["headers"]);
    let mut server = Server::start(&world, &host, &format!("{}{}", calm_lan(), hooks.concat()));
    let mut raw = Raw::on(&world.client("c1", &host, "br0"));
    let before = peak_kib(&server);
    (1..=10).for_each(|n| _ = raw.lease(mac(n)));
    away.wait_line("redirects");
    endless.wait_line("has enough");
    headers.wait_line("has enough");
    wait_until("10 events", PATIENCE, || heard(&heard_at(&world, 9002)).len() == 10);
    let count =
        |name: &str, hook| metric(&world, &host, &format!("foreshadow_hook_{name}_total"), hook);
    wait_until("failures", PATIENCE, || count("failures", "redirected") > 1);
    wait_until("more failures", PATIENCE, || count("failures", "headers") > 1);
    // Its status says that it took them; what follows is not read.
    wait_until("deliveries", PATIENCE, || count("deliveries", "endless") == 10);
    assert_eq!((count("deliveries", "redirected"), count("deliveries", "headers")), (0, 0));
    assert!(heard(&heard_at(&world, 9006)).is_empty(), "a redirect is not followed");
    let grown = peak_kib(&server) - before;
    assert!(grown < GROWTH_MAX, "{grown} KiB");
    server.stop();
}

#[test]
fn programs_that_mean_harm_end_and_hold_up_nobody() {
    let (world, host) = World::with_bridge("hook-programs");
    let hooks = [
        command("floods", "head -c 300000000 /dev/zero; head -c 300000000 /dev/zero >&2"),
        command("deaf", "exec 0<&-; exit 0"),
        command("dies", "kill -9 $$"),
        command("forks", "for i in 1 2 3 4 5 6 7 8 9; do (sleep 4343 & wait) & done; wait"),
        command("stubborn", "trap '' TERM INT HUP; while :; do sleep 4344; done"),
        "[[hook]]\nname = \"missing\"\nevents = [\"granted\"]\ncommand = [\"/nowhere/at/all\"]\n"
            .to_owned(),
    ];
    let mut server = Server::start(&world, &host, &format!("{}{}", calm_lan(), hooks.concat()));
    let mut raw = Raw::on(&world.client("c1", &host, "br0"));
    let before = peak_kib(&server);
    (1..=3).for_each(|n| _ = raw.lease(mac(n)));
    let count =
        |name: &str, hook| metric(&world, &host, &format!("foreshadow_hook_{name}_total"), hook);
    for hook in ["floods", "deaf"] {
        wait_until(hook, PATIENCE, || count("deliveries", hook) == 3);
    }
    for hook in ["dies", "missing", "forks", "stubborn"] {
        wait_until(hook, PATIENCE, || count("failures", hook) > 1);
        assert_eq!(count("deliveries", hook), 0, "{hook}");
    }
    let log = fs::read_to_string(world.dir().join("server.log")).unwrap();
    assert!(log.contains("signal: 9") && log.contains("/nowhere/at/all"), "{log}");
    let grown = peak_kib(&server) - before;
    assert!(grown < GROWTH_MAX, "{grown} KiB");
    server.stop();
    let left = host.sh("pgrep -f 'sleep 434[34]' || true");
    assert!(left.trim().is_empty(), "left behind: {left}");
}
