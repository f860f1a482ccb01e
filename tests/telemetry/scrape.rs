//! Prometheus targets: real ones of Debian, and all that behave badly.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::common::server::{LAN, Server};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, require, wait_until};

use super::http::{get, history};

/// A target that answers each connection by `answer`, with the number of the connection.
fn target(host: &Host, port: u16, answer: impl Fn(u64, &mut TcpStream) + Send + Sync + 'static) {
    let listener = host.enter(|| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let (count, answer) = (AtomicU64::new(0), Arc::new(answer));
    // Ends with the process of the tests.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (number, answer) = (count.fetch_add(1, Ordering::Relaxed), answer.clone());
            std::thread::spawn(move || answer(number, &mut stream.unwrap()));
        }
    });
}

/// Reads a request up to its empty line.
fn read_request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn say(stream: &mut TcpStream, body: &str) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = stream.write_all((head + body).as_bytes());
}

fn scrape(name: &str, port: u16, more: &str) -> String {
    format!(
        "[[scrape]]\nname = \"{name}\"\nurl = \"http://127.0.0.1:{port}/m\"\ninterval = \"1s\"\n\
         timeout = \"1s\"\n{more}\n"
    )
}

fn status(socket: &std::path::Path, name: &str) -> Value {
    let all = get(socket, "/v1/telemetry/scrapes");
    let found = all["scrapes"].as_array().unwrap().iter().find(|s| s["name"] == name);
    found.cloned().unwrap_or_default()
}

#[test]
fn targets_that_behave_badly_are_told_and_others_go_on() {
    let (world, host) = World::with_bridge("telemetry-scrape");
    host.ip("link set lo up");
    let secret = world.dir().join("token");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let seen = Arc::new(Mutex::new(String::new()));
    let noted = seen.clone();
    target(&host, 9001, move |number, stream| {
        *noted.lock().unwrap() = read_request(stream);
        // A counter that begins anew at each third scrape.
        let count = (number % 3) * 1000 + 10;
        say(
            stream,
            &format!("c_total{{instance=\"vm-1:80\"}} {count}\ng{{instance=\"vm-1\"}} 4\n"),
        );
    });
    target(&host, 9002, |_, stream| {
        read_request(stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\ng 1\n");
    });
    target(&host, 9003, |_, stream| {
        // Slow: nothing comes, until the other side has had enough.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    target(&host, 9004, |_, stream| {
        read_request(stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    target(&host, 9005, |_, stream| {
        read_request(stream);
        say(stream, &"g 1\n".repeat(100));
    });
    target(&host, 9006, |_, stream| {
        read_request(stream);
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    });
    let metrics = "[[scrape.metric]]\nfrom = \"c_total\"\nas = \"requests\"\nrate = true\n\
                   [[scrape.metric]]\nfrom = \"g\"\n";
    let token = format!("bearer_token_file = \"{}\"\naccount = \"acme\"\n", secret.display());
    let scrapes = [
        scrape("good", 9001, &(token + metrics)),
        scrape("half", 9002, metrics),
        scrape("slow", 9003, metrics),
        scrape("huge", 9004, &format!("body_max = \"1MiB\"\n{metrics}")),
        scrape("many", 9005, &format!("samples_max = 50\n{metrics}")),
        scrape("forbidden", 9006, metrics),
        scrape("absent", 9007, metrics),
    ];
    let mut server = Server::start(&world, &host, &format!("{}{LAN}", scrapes.concat()));
    let socket = world.dir().join("control.sock");
    let reasons = [
        ("half", "HTTP"),
        ("slow", "not done in 1s"),
        ("huge", "body_max"),
        ("many", "samples_max"),
        ("forbidden", "403"),
        ("absent", "cannot connect"),
    ];
    for (name, why) in reasons {
        let error = || status(&socket, name)["error"].as_str().unwrap_or_default().to_owned();
        wait_until(name, PATIENCE, || error().contains(why));
    }
    wait_until("rates are there", PATIENCE, || history(&socket, "vm-1", "requests").len() >= 4);
    let rates: Vec<f64> = history(&socket, "vm-1", "requests").iter().map(|p| p.1).collect();
    // Where it began anew, only what it has since counts.
    assert!(rates.iter().all(|rate| *rate > 0.0), "{rates:?}");
    assert!(rates.iter().any(|rate| *rate < 100.0) && rates.iter().any(|rate| *rate > 300.0));
    assert_eq!(history(&socket, "vm-1", "g")[0].1, 4.0);
    let instance = &get(&socket, "/v1/telemetry/instances?account=acme")["instances"][0];
    assert_eq!(instance["instance"], "vm-1");
    let request = seen.lock().unwrap().to_lowercase();
    assert!(request.contains("authorization: bearer s3cret"), "{request}");
    assert!(!server.proc.output().contains("s3cret"));
    assert!(status(&socket, "good")["error"].is_null());

    // Another policy: what stays goes on, the rest ends.
    server.write_config(&format!("{}{LAN}", scrapes[0]));
    server.hang_up();
    wait_until("the others are gone", PATIENCE, || {
        get(&socket, "/v1/telemetry/scrapes")["scrapes"].as_array().unwrap().len() == 1
    });
    server.stop();
}

#[test]
fn node_exporter_and_federation_of_prometheus_are_understood() {
    require("prometheus-node-exporter", "prometheus-node-exporter");
    require("prometheus", "prometheus");
    let (world, host) = World::with_bridge("telemetry-prometheus");
    host.ip("link set lo up");
    let dir = world.dir().to_owned();
    let mut exporter = world.spawn(
        &host,
        "exporter",
        &["prometheus-node-exporter", "--web.listen-address=127.0.0.1:9100"],
    );
    let config = dir.join("prometheus.yml");
    std::fs::write(
        &config,
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: node\n  static_configs:\n\
         \x20 - targets: ['127.0.0.1:9100']\n    labels: {vm: vm-9, tenant: acme}\n",
    )
    .unwrap();
    let words = [
        "prometheus".to_owned(),
        "--web.listen-address=127.0.0.1:9090".to_owned(),
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", dir.join("tsdb").display()),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut prometheus = world.spawn(&host, "prometheus", &words);
    let body = format!(
        "[[scrape]]\nname = \"direct\"\nurl = \"http://127.0.0.1:9100\"\ninterval = \"1s\"\n\
         timeout = \"1s\"\ninstance = \"vm-8\"\n\
         [[scrape]]\nname = \"federated\"\nurl = \"http://127.0.0.1:9090/federate\"\n\
         match = [\"{{job=\\\"node\\\"}}\"]\ninterval = \"1s\"\ntimeout = \"1s\"\n\
         instance_label = \"vm\"\naccount_label = \"tenant\"\n{LAN}"
    );
    let mut server = Server::start(&world, &host, &body);
    let socket = world.dir().join("control.sock");
    for instance in ["vm-8", "vm-9"] {
        for metric in ["cpu", "memory", "load"] {
            let what = format!("{metric} of {instance}");
            wait_until(&what, PATIENCE, || !history(&socket, instance, metric).is_empty());
        }
        let memory = history(&socket, instance, "memory")[0].1;
        assert!((1e6..1e15).contains(&memory), "{memory}");
        let cpu = history(&socket, instance, "cpu")[0].1;
        assert!((0.0..4096.0).contains(&cpu), "{cpu}");
    }
    let of_acme = get(&socket, "/v1/telemetry/instances?account=acme");
    assert_eq!(of_acme["instances"][0]["instance"], "vm-9");
    server.stop();
    prometheus.stop();
    exporter.stop();
}
