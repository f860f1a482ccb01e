//! What is acknowledged is there after kill -9.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::common::server::{LAN, Server};
use crate::common::world::World;
use crate::common::{PATIENCE, wait_until};

use super::http::{get, history, request};

const PUSHERS: u64 = 8;
const ROUNDS: usize = 4;
const INSTANCES: u64 = 20;

/// Pushes until the server is gone. Each number is the value of a line of its own.
fn push(socket: &Path, next: &AtomicU64, acknowledged: &Mutex<Vec<u64>>) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let instance = number % INSTANCES;
        // Values of one moment take each other's place: the fraction keeps them apart.
        let body = format!(
            "{{\"instance\":\"vm-{instance}\",\"metrics\":{{\"m{}\":{number}}}}}\n",
            number / INSTANCES % 50
        );
        match request(socket, "POST", "/v1/telemetry", &body) {
            Some((200, answer)) => {
                assert_eq!(answer["values"], 1, "{answer}");
                acknowledged.lock().unwrap().push(number);
            }
            // Too much at once.
            Some((status, answer)) => assert_eq!(status, 429, "{answer}"),
            None => return,
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let (world, host) = World::with_bridge("telemetry-kill");
    let mut server = Server::start(&world, &host, LAN);
    let socket = world.dir().join("control.sock");
    let (next, acknowledged) = (AtomicU64::new(1), Mutex::new(Vec::new()));
    for round in 1..=ROUNDS {
        wait_until("telemetry is open", PATIENCE, || {
            get(&socket, "/v1/telemetry")["state"] == "open"
        });
        std::thread::scope(|scope| {
            for _ in 0..PUSHERS {
                scope.spawn(|| push(&socket, &next, &acknowledged));
            }
            let count = || acknowledged.lock().unwrap().len();
            wait_until("pushes are acknowledged", PATIENCE, || count() >= round * 150);
            server.kill9();
        });
        server.start_again();
    }
    wait_until("telemetry is open", PATIENCE, || get(&socket, "/v1/telemetry")["state"] == "open");
    let mut found = BTreeSet::new();
    for instance in 0..INSTANCES {
        for metric in 0..50 {
            let all = history(&socket, &format!("vm-{instance}"), &format!("m{metric}"));
            found.extend(all.iter().map(|(_, value)| *value as u64));
        }
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    let lost: Vec<&u64> = acknowledged.iter().filter(|number| !found.contains(number)).collect();
    assert!(lost.is_empty(), "of {} acknowledged, lost: {lost:?}", acknowledged.len());
    assert!(acknowledged.len() >= ROUNDS * 150);
    server.stop();
}

#[test]
fn damage_keeps_nobody_from_an_address() {
    let (world, host) = World::with_bridge("telemetry-damage");
    let mut server = Server::start(&world, &host, LAN);
    let socket = world.dir().join("control.sock");
    wait_until("telemetry is open", PATIENCE, || get(&socket, "/v1/telemetry")["state"] == "open");
    server.stop();
    let dir = world.dir().join("state/telemetry");
    for entry in std::fs::read_dir(&dir).unwrap() {
        std::fs::write(entry.unwrap().path(), "no telemetry").unwrap();
    }
    std::fs::write(dir.join("raw-1800000000-3600-1.seg"), "no segment").unwrap();
    server.start_again();
    wait_until("telemetry is open", PATIENCE, || get(&socket, "/v1/telemetry")["state"] == "open");
    let status = get(&socket, "/v1/telemetry");
    assert!(status["damaged"].as_array().unwrap().len() >= 2, "{status}");
    server.stop();
    // A directory that cannot even be one.
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::write(&dir, "a file").unwrap();
    server.start_again();
    wait_until("it is said", PATIENCE, || get(&socket, "/v1/telemetry")["state"] != "opening");
    let (status, answer) =
        request(&socket, "POST", "/v1/telemetry", "{\"instance\":\"a\",\"metrics\":{\"b\":1}}")
            .unwrap();
    assert_eq!(status, 507, "{answer}");
    server.stop();
}
