//! Questions about the past, by the command line and by a token that may not know everything.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::common::link::{Raw, mac};
use crate::common::server::{BINARY, Server, calm_lan};
use crate::common::world::World;
use crate::common::{PATIENCE, require, wait_for, wait_until};

fn records(server: &Server, words: &[&str]) -> Vec<Value> {
    let words = [&["audit", "--json"], words].concat();
    serde_json::from_str(&server.ask(&words)).unwrap()
}

fn who(server: &Server, address: &str, at: &str) -> Value {
    let found: Value =
        serde_json::from_str(&server.ask(&["who", address, "--at", at, "--json"])).unwrap();
    assert_eq!(found["networks"].as_array().unwrap().len(), 1, "{found}");
    found["networks"][0].clone()
}

#[test]
fn it_answers_who_had_an_address() {
    let (world, host) = World::with_bridge("who");
    // One address, so that the next client gets the same.
    let lan = calm_lan().replace("10.77.1.100-10.77.1.199", "10.77.1.100-10.77.1.100");
    let server = Server::start(&world, &host, &format!("{lan}account = \"acme\"\n"));
    let mut raw = Raw::on(&world.client("c1", &host, "br0"));
    let first = raw.lease_with(mac(1), &[(12, b"web-1".to_vec())]);
    let addr = first.addr.to_string();
    let granted = wait_for("the grant", PATIENCE, || {
        records(&server, &["--kind", "granted"]).first().map(|r| r["time"].as_str().unwrap().into())
    });
    let granted: String = granted;
    let shown = server.ask(&["who", &addr]);
    for word in [&*addr, "02:aa:00:00:00:01", "web-1", "account acme", "on lan", "granted"] {
        assert!(shown.contains(word), "{word} in {shown}");
    }
    server.ask(&["leases", "release", &addr]);
    let released: String = wait_for("the release", PATIENCE, || {
        records(&server, &["--kind", "operator"])
            .first()
            .map(|r| r["time"].as_str().unwrap().into())
    });
    // By another client, to the same address.
    let second = raw.lease(mac(2));
    assert_eq!(second.addr, first.addr);
    let again: String = wait_for("the second grant", PATIENCE, || {
        let found = records(&server, &["--kind", "granted"]);
        (found.len() == 2).then(|| found[0]["time"].as_str().unwrap().into())
    });
    let then = who(&server, &addr, &granted);
    assert_eq!((&then["held"], &then["until"]), (&true.into(), &released.as_str().into()));
    assert_eq!(then["binding"]["hardware"], "02:aa:00:00:00:01");
    let between = who(&server, &addr, &released);
    assert_eq!(
        (&between["held"], &between["binding"]["state"]),
        (&false.into(), &"released".into())
    );
    let now = who(&server, &addr, &again);
    assert_eq!(now["binding"]["hardware"], "02:aa:00:00:00:02");
    assert_eq!(who(&server, &addr, "2020-01-01T00:00:00Z")["held"], false);
    assert!(server.ask(&["who", "10.77.1.150"]).starts_with("nobody had 10.77.1.150"));
    let refused = server.run(&["who", &addr, "--at", "noon"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("want a time as in"));
}

#[test]
fn records_are_filtered_paged_and_exported_whole() {
    let (world, host) = World::with_bridge("audit");
    let server = Server::start(&world, &host, &calm_lan());
    let mut raw = Raw::on(&world.client("c1", &host, "br0"));
    let leased: Vec<_> = (1..=30).map(|n| raw.lease(mac(n))).collect();
    wait_until("30 records", PATIENCE, || records(&server, &[]).len() >= 30);
    let all = records(&server, &[]);
    let numbers: Vec<u64> = all.iter().map(|r| r["number"].as_u64().unwrap()).collect();
    let count = numbers.len() as u64;
    assert_eq!(numbers, (1..=count).rev().collect::<Vec<_>>(), "newest first, without gaps");
    assert_eq!(records(&server, &["--limit", "7"]), all[..7]);
    let about = |words: &[&str]| records(&server, words).len();
    assert_eq!(about(&["--client", "02:aa:00:00:00:07"]), 1);
    assert_eq!(about(&["--address", &leased[3].addr.to_string()]), 1);
    assert_eq!(about(&["--address", "10.77.1.0/24"]), 30);
    assert_eq!(about(&["--network", "lan", "--kind", "granted"]), 30);
    assert_eq!(about(&["--kind", "released,expired"]), 0);
    assert_eq!(about(&["--account", "nobody"]), 0);
    assert_eq!(about(&["--to", "2020-01-01"]), 0);
    assert_eq!(about(&["--from", "2020-01-01"]), all.len());
    let file = world.dir().join("records.csv");
    server.ask(&["audit", "--export", "csv", "--output", file.to_str().unwrap()]);
    let rows = std::fs::read_to_string(file).unwrap();
    assert!(rows.starts_with("number,time,kind,account,network,address,state,client,"), "{rows}");
    assert_eq!(rows.lines().count() as u64, count + 1);
    let lines = server.ask(&["audit", "--export", "jsonl"]);
    let mut exported: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    exported.reverse();
    assert_eq!(exported, all);
}

#[test]
fn a_follower_misses_nothing_across_kill_9() {
    let (world, host) = World::with_bridge("follow");
    let mut server = Server::start(&world, &host, &calm_lan());
    let mut raw = Raw::on(&world.client("c1", &host, "br0"));
    raw.lease(mac(1));
    wait_until("the first record", PATIENCE, || !records(&server, &[]).is_empty());
    let config = server.config().display().to_string();
    let argv = [BINARY, "events", "--follow", "--json", "--last", "100", "--config", &config];
    let mut follower = world.spawn(&host, "follower", &argv);
    follower.wait_line("02:aa:00:00:00:01");
    for round in 0..3 {
        let first = 10 * (round + 1);
        (first..first + 10).for_each(|n| _ = raw.lease(mac(n)));
        server.kill9();
        server.start_again();
    }
    raw.lease(mac(99));
    follower.wait_line("02:aa:00:00:00:63");
    let seen = follower.output();
    let numbers: Vec<u64> = seen
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["number"].as_u64())
        .collect();
    let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(distinct, (1..=numbers.len() as u64).collect(), "each once");
    for n in (1..2).chain(10..40) {
        let hardware = format!("02:aa:00:00:00:{n:02x}");
        assert!(seen.contains(&hardware), "{hardware}");
    }
    assert!(seen.contains("trying again"));
}

#[test]
fn a_reader_that_does_not_read_holds_up_nobody() {
    let (world, host) = World::with_bridge("slow");
    let mut server = Server::start(&world, &host, &calm_lan());
    let mut raw = Raw::on(&world.client("c1", &host, "br0"));
    let mut slow = UnixStream::connect(world.dir().join("control.sock")).unwrap();
    let ask = "GET /v1/events?position=1&follow=86400 HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n";
    slow.write_all(ask.as_bytes()).unwrap();
    let mut head = [0; 12];
    slow.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    (1..=60).for_each(|n| _ = raw.lease(mac(n)));
    wait_until("60 records", PATIENCE, || records(&server, &["--kind", "granted"]).len() == 60);
    // Nor its end: what follows is told to go on elsewhere.
    server.stop();
    let mut rest = String::new();
    slow.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.matches("event: granted\n").count(), 60, "{rest}");
    assert!(rest.ends_with("0\r\n\r\n"), "a whole body: {rest}");
}

#[test]
fn a_token_of_an_account_sees_its_records_alone() {
    require("curl", "curl");
    let (world, host) = World::with_bridge("audit-scope");
    let body = format!(
        "[api]\nlisten = [\"127.0.0.1:8067\"]\ninsecure_loopback = true\n{}account = \"acme\"\n",
        calm_lan()
    );
    let server = Server::start(&world, &host, &body);
    let mut raw = Raw::on(&world.client("c1", &host, "br0"));
    let addr = raw.lease(mac(1)).addr;
    wait_until("the record", PATIENCE, || !records(&server, &["--kind", "granted"]).is_empty());
    let token = |name: &str, account: &str| {
        let words = ["token", "add", name, "--role", "read", "--account", account];
        server.ask(&words).trim().to_owned()
    };
    let (theirs, others) = (token("theirs", "acme"), token("others", "beta"));
    let get = |token: &str, path: &str| {
        host.sh(&format!(
            "curl -sS -H 'authorization: Bearer {token}' 'http://127.0.0.1:8067{path}'"
        ))
    };
    for path in [
        "/v1/audit",
        "/v1/audit/export",
        "/v1/events?position=1",
        &format!("/v1/who?address={addr}"),
    ] {
        assert!(get(&theirs, path).contains("02:aa:00:00:00:01"), "{path}: {}", get(&theirs, path));
        let hidden = get(&others, path);
        assert!(!hidden.contains("02:aa"), "{path}: {hidden}");
    }
    let kinds: Value = serde_json::from_str(&get(&theirs, "/v1/audit")).unwrap();
    let foreign = |r: &Value| r["account"] != "acme";
    assert!(!kinds["records"].as_array().unwrap().iter().any(foreign), "{kinds}");
}
