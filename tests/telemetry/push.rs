//! Pushes, good and hostile.

use std::path::Path;
use std::process::Command;

use crate::common::server::{BINARY, LAN, Server};
use crate::common::world::World;
use crate::common::{PATIENCE, wait_until};

use super::http::{exchange, get, history, request};

/// Resident memory of a process, in KiB.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn post(socket: &Path, body: &str) -> (u16, serde_json::Value) {
    request(socket, "POST", "/v1/telemetry", body).expect("an answer")
}

#[test]
fn what_is_pushed_is_read_and_what_is_wrong_is_named() {
    let (world, host) = World::with_bridge("telemetry-push");
    let mut server = Server::start(&world, &host, LAN);
    let socket = world.dir().join("control.sock");
    wait_until("telemetry is open", PATIENCE, || get(&socket, "/v1/telemetry")["state"] == "open");

    let body = "{\"instance\":\"a\",\"account\":\"acme\",\"metrics\":{\"cpu\":0.25,\"load\":3}}\n\
                {\"instance\":\"a\",\"metrics\":{\"cpu\":\"much\"}}\n\n\
                {\"event\":{\"kind\":\"deploy\",\"account\":\"acme\",\"note\":\"v7\"}}\n\
                {\"instance\":\"b\",\"type\":\"m5\",\"requires\":{\"cpu\":2}}";
    let (status, answer) = post(&socket, body);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["lines"], &answer["values"], &answer["events"], &answer["refused"]),
        (&3.into(), &2.into(), &1.into(), &1.into())
    );
    assert_eq!(answer["faults"][0]["line"], 2);
    assert_eq!(answer["faults"][0]["field"], "metrics.cpu");
    assert_eq!(history(&socket, "a", "cpu").iter().map(|p| p.1).collect::<Vec<_>>(), [0.25]);
    let page = get(&socket, "/v1/telemetry/instances?limit=1");
    assert_eq!(page["instances"][0]["metrics"]["load"]["value"], 3.0);
    let rest = get(&socket, "/v1/telemetry/instances?cursor=a");
    assert_eq!(rest["instances"][0]["requires"]["cpu"], 2.0);
    assert!(rest["next"].is_null());
    assert_eq!(get(&socket, "/v1/known-events")["events"][0]["note"], "v7");
    let (status, _) = request(&socket, "DELETE", "/v1/known-events/1", "").unwrap();
    assert_eq!(status, 204);
    assert!(get(&socket, "/v1/known-events")["events"].as_array().unwrap().is_empty());

    for nothing in ["", "\n \n", "[]", "nonsense\n{}\n"] {
        let (status, answer) = post(&socket, nothing);
        assert_eq!(status, 400, "{nothing:?}: {answer}");
    }
    let file = world.dir().join("lines");
    std::fs::write(&file, "{\"instance\":\"c\",\"metrics\":{\"cpu\":1}}\n{}\n").unwrap();
    let run = |words: &[&str]| {
        let socket = socket.to_str().unwrap();
        let output = Command::new(BINARY).args(words).args(["--socket", socket]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = run(&["telemetry", "push", file.to_str().unwrap()]);
    assert!(said.contains("line 2: instance: missing"), "{said}");
    assert!(said.contains("1 lines taken: 1 values"), "{said}");
    assert!(run(&["telemetry", "instances"]).contains("acme"));
    assert!(run(&["telemetry", "history", "c", "cpu", "--resolution", "5m"]).contains("COUNT"));
    assert!(run(&["telemetry", "status"]).contains("telemetry: open"));
    server.stop();
}

#[test]
fn hostile_bodies_cost_nothing() {
    let (world, host) = World::with_bridge("telemetry-hostile");
    let body = format!("[telemetry]\nbody = \"32MiB\"\n{LAN}");
    let mut server = Server::start(&world, &host, &body);
    let socket = world.dir().join("control.sock");
    wait_until("telemetry is open", PATIENCE, || get(&socket, "/v1/telemetry")["state"] == "open");
    let before = memory(server.proc.pid());

    let deep = "[".repeat(1 << 20);
    assert_eq!(post(&socket, &deep).0, 400);
    let head = "POST /v1/telemetry HTTP/1.1\r\nhost: x\r\ncontent-type: application/jsonl\r\n\
                connection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    // Lines without end, up to where the server has had enough.
    let piece = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let mut pieces = vec![head.as_bytes()];
    pieces.extend(std::iter::repeat_n(piece.as_bytes(), 64));
    let (status, answer) = exchange(&socket, &pieces).unwrap();
    assert_eq!(status, 413, "{answer}");
    // A great many lines that are wrong, and of names that are ever new.
    let wrong = "{\"instance\":1}\n".repeat(200_000);
    assert_eq!(post(&socket, &wrong).0, 400);
    let line = |i| format!("{{\"instance\":\"v{}\",\"metrics\":{{\"m{i}\":1}}}}\n", i % 7);
    let many: String = (0..3000).map(line).collect();
    let (status, answer) = post(&socket, &many);
    assert_eq!(status, 200);
    assert_eq!(answer["values"], 7 * 64, "series of an instance are bounded: {answer}");
    assert_eq!(answer["faults"].as_array().unwrap().len(), 100);
    let other = "POST /v1/telemetry HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n\
                 content-length: 2\r\nconnection: close\r\n\r\n{}";
    assert_eq!(exchange(&socket, &[other.as_bytes()]).unwrap().0, 415);

    let grown = memory(server.proc.pid()).saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
    server.stop();
}
