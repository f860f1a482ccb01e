//! The commands about instances, reservations, accounts and applications, against a real server.

use foreshadow::base::Mac;
use serde_json::Value;

use crate::common::link::Raw;
use crate::common::server::{LAN, Server};
use crate::common::world::World;
use crate::common::{PATIENCE, wait_for};

/// What a command that must fail with this code says.
#[track_caller]
fn fails(server: &Server, words: &[&str], code: i32) -> String {
    let done = server.run(words);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(code), "{words:?}: {said}");
    said
}

#[track_caller]
fn json(server: &Server, words: &[&str]) -> Value {
    let told = server.ask(&[words, &["--json"]].concat());
    serde_json::from_str(&told).unwrap_or_else(|e| panic!("{e}: {told}"))
}

/// The value of a field, as `show` prints it.
#[track_caller]
fn shown(server: &Server, words: &[&str], field: &str) -> String {
    let told = server.ask(words);
    let line = told.lines().find(|line| line.split_whitespace().next() == Some(field));
    let line = line.unwrap_or_else(|| panic!("no {field} in {told}"));
    line[field.len()..].trim().to_owned()
}

#[test]
fn a_machine_boots_with_the_mac_that_it_was_given() {
    let (world, host) = World::with_bridge("boots");
    let server = Server::start(&world, &host, LAN);
    let new = ["instances", "create", "--network", "lan", "--id", "vm-1", "--tag", "rack=7"];
    let made = json(&server, &new);
    assert_eq!((&made["mac_made"], &made["tags"]["rack"]), (&true.into(), &"7".into()), "{made}");
    let mac: Mac = made["mac"].as_str().unwrap().parse().unwrap();
    assert_eq!(mac.0[0] & 3, 2, "locally administered, and of one machine");

    let clients = world.client("clients", &host, "br0");
    let leased = Raw::on(&clients).lease_with(mac.0, &[]);
    assert_eq!(leased.addr.to_string(), made["address"].as_str().unwrap());
    let lease = server.lease_of(leased.addr).unwrap();
    assert_eq!(lease["instance"], "vm-1", "{lease}");

    let renamed = ["instances", "change", "vm-1", "--hostname", "db", "--mac", "02:00:00:00:00:07"];
    assert_eq!(shown(&server, &renamed, "hostname"), "db");
    assert_eq!(shown(&server, &["instances", "show", "vm-1"], "mac"), "02:00:00:00:00:07");
    let listed = server.ask(&["instances", "list", "--network", "lan"]);
    assert!(listed.lines().nth(1).unwrap().starts_with("vm-1  lan"), "{listed}");
    assert_eq!(server.ask(&["instances", "list", "--account", "x"]).lines().count(), 1);
    assert_eq!(server.ask(&["instances", "list", "--application", "x"]).lines().count(), 1);
    assert_eq!(server.ask(&["instances", "end", "vm-1"]), "instance vm-1 is ended\n");
    fails(&server, &["instances", "show", "vm-1"], 6);
    let said = fails(&server, &["instances", "create", "--network", "lan", "--mac", "x"], 1);
    assert_eq!(said, "error: mac: found \"x\", want one as 52:54:00:12:34:56\n");
}

#[test]
fn accounts_and_reservations_are_changed_in_part() {
    let (world, host) = World::with_bridge("parts");
    let declared = "[[account]]\nname = \"base\"\n";
    let server = Server::start(&world, &host, &format!("{declared}{LAN}"));
    let add = ["accounts", "add", "shop", "--level", "premium", "--max-addresses", "1"];
    let more = ["--requests-per-s", "5", "--requests-burst", "9", "--network", "lan"];
    json(&server, &[&add[..], &more].concat());
    let said = fails(&server, &add, 1);
    assert!(said.contains("it is there"), "{said}");
    let words = ["accounts", "change", "shop", "--hold-max", "60", "--requests-per-s", "none"];
    let terms = &json(&server, &words)["terms"];
    let want = r#"{"hold_max_s":60,"level":"premium","max_addresses":1}"#;
    assert_eq!(serde_json::to_string(terms).unwrap(), want);
    let said = fails(&server, &["accounts", "change", "base", "--level", "economy"], 1);
    let file = server.config().display().to_string();
    assert!(said.contains(&file), "{said}");
    let listed = server.ask(&["accounts", "list"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.lines().nth(1).unwrap().ends_with("configuration"), "{listed}");

    let web = ["applications", "add", "shop", "web", "--priority", "9"];
    assert_eq!(json(&server, &web)["terms"]["priority"], 9);
    let change = ["applications", "change", "shop", "web", "--max-prefixes", "0"];
    assert_eq!(json(&server, &change)["terms"]["priority"], 9, "what is not said stays");
    let of = ["--network", "lan", "--account", "shop", "--application"];
    let said = fails(&server, &[&["instances", "create"], &of[..], &["db"]].concat(), 1);
    assert_eq!(said, "error: application: account shop has no application \"db\"\n");
    server.ask(&[&["instances", "create", "--id", "i"], &of[..], &["web"]].concat());
    assert_eq!(shown(&server, &["applications", "show", "shop", "web"], "addresses"), "1");
    let said = fails(&server, &[&["instances", "create"], &of[..], &["web"]].concat(), 1);
    assert_eq!(said, "error: account shop has its max_addresses = 1\n");
    let said = fails(&server, &["applications", "remove", "shop", "web"], 1);
    assert!(said.contains("1 instances and reservations"), "{said}");
    assert!(server.ask(&["applications", "list", "shop"]).contains("web"));
    server.ask(&["instances", "end", "i"]);
    server.ask(&["applications", "remove", "shop", "web"]);
    assert_eq!(server.ask(&["accounts", "remove", "shop"]), "account shop is removed\n");

    let add = ["reservations", "add", "--network", "lan", "--id", "nas", "--address", "10.77.1.9"];
    let who = ["--mac", "02:00:00:00:00:09", "--hostname", "nas"];
    json(&server, &[&add[..], &who].concat());
    let said = fails(&server, &[&add[..], &who, &["--account", "base"]].concat(), 1);
    assert!(said.contains("there with other content"), "{said}");
    let change = ["reservations", "change", "nas", "--address", "10.77.1.10", "--hostname", "none"];
    let now = json(&server, &change);
    assert_eq!((&now["address"], &now["hostname"]), (&"10.77.1.10".into(), &Value::Null), "{now}");
    assert_eq!(now["mac"], "02:00:00:00:00:09");
    assert!(server.ask(&["reservations", "list"]).contains("10.77.1.10"));
    assert_eq!(shown(&server, &["reservations", "show", "nas"], "address"), "10.77.1.10");
    server.ask(&["reservations", "remove", "nas"]);
    fails(&server, &["reservations", "remove", "nas"], 6);
}

#[test]
fn what_is_foreseen_is_held() {
    let (world, host) = World::with_bridge("foresee");
    let server = Server::start(&world, &host, &format!("[[account]]\nname = \"shop\"\n{LAN}"));
    let whom = ["--network", "lan", "--account", "shop"];
    let predict =
        [&["predict", "2", "--horizon", "600", "--quantile", "0.8=2"][..], &whom].concat();
    assert_eq!(shown(&server, &predict, "wanted"), "2");
    let available = [&["shadows", "available"][..], &whom].concat();
    wait_for("two that are ready", PATIENCE, || {
        (json(&server, &available)["available"] == 2).then_some(())
    });
    let held =
        json(&server, &[&["shadows", "reserve", "1", "--seconds", "60"][..], &whom].concat());
    let address = held[0]["address"].as_str().unwrap();
    let until = shown(&server, &["shadows", "extend", address, "--seconds", "900"], "until");
    assert!(*until > *held[0]["until"].as_str().unwrap(), "{until}");
    let score = server.ask(&["score", address]);
    assert!(score.starts_with(&format!("{address} on lan, shadow: score 0.1852\n")), "{score}");
    assert!(score.contains("priority 5 of 9, of shop"), "{score}");
    fails(&server, &["score", "192.0.2.1"], 6);
    let listed = server.ask(&["shadows", "list", "--account", "shop"]);
    assert_eq!(listed.lines().count(), 4, "{listed}");
    assert_eq!(server.ask(&["shadows", "release", address]), format!("{address} is free\n"));
    let audit = ["audit", "--address", address, "--kind", "foreseen,lifted"];
    wait_for("its beginning and its end in the audit", PATIENCE, || {
        let told = server.ask(&audit);
        (told.contains("foreseen") && told.contains("lifted")).then_some(())
    });
    let said = fails(&server, &["shadows", "release", address], 6);
    assert_eq!(said, format!("error: {address} is no shadow\n"));
    let new = [&["instances", "create"][..], &whom].concat();
    assert_eq!(shown(&server, &new, "shadow"), "hit");
    let tally = server.ask(&["shadows", "tally", "shop"]);
    assert!(tally.lines().nth(1).unwrap().starts_with("-            1        1"), "{tally}");
    assert_eq!(server.ask(&["shadows", "predictions"]).lines().count(), 2);
    let said = fails(&server, &[&["predict", "-1"][..], &whom].concat(), 1);
    assert_eq!(said, "error: count: found -1, want 0 to 1000000\n");
}
