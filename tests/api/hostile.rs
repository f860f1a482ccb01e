//! Callers that mean harm, over TLS and on the control socket. Whatever they do, it costs the
//! server little memory, others are answered, and DHCP goes on.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use foreshadow::telemetry::scrape::trust;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConnection, StreamOwned};

use crate::common::link::{Raw, mac};
use crate::common::{PATIENCE, wait_until};
use crate::served::{ADDRESS, ADMIN, READER, Served};

/// More than any of it may cost, in KiB; what is sent is far more.
const GROWTH_MAX: u64 = 64 << 10;
/// Connections of one hostile peer: fewer than `api.connections_per_peer`, to which the caller
/// that must be answered all the same counts too.
const CONNECTIONS: usize = 48;
/// More than is ever taken of anybody.
const GIGABYTE: usize = 1 << 30;

/// One end of a connection.
trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// How a caller comes.
#[derive(Clone, Copy, Debug)]
enum Way {
    Socket,
    Tls,
}

/// Connects as often as this.
fn connect(served: &Served, way: Way, count: usize) -> Vec<Box<dyn Wire>> {
    let socket = served.file("control.sock");
    let trusted = Arc::new(trust(Some(Path::new(&served.file("ca.pem")))).unwrap());
    let one = || -> Box<dyn Wire> {
        match way {
            Way::Socket => {
                let stream = UnixStream::connect(&socket).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
            Way::Tls => {
                let name = ServerName::try_from("127.0.0.1").unwrap();
                let session = ClientConnection::new(trusted.clone(), name).unwrap();
                Box::new(StreamOwned::new(session, tcp()))
            }
        }
    };
    served.host.enter(|| (0..count).map(|_| one()).collect())
}

/// A connection without TLS, from where the server is.
fn tcp() -> TcpStream {
    let stream = TcpStream::connect(ADDRESS).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The beginning of a request, and the headers that it needs to be let in.
fn head(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\n")
}

/// What comes until the server closes; fails the test if it does not.
#[track_caller]
fn rest(wire: &mut dyn Wire) -> String {
    let mut answer = Vec::new();
    if let Err(error) = wire.read_to_end(&mut answer) {
        let waits = [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind());
        assert!(!waits, "not closed: {}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// What comes until it holds as many answers.
#[track_caller]
fn answers(wire: &mut dyn Wire, count: usize) -> String {
    let (mut text, mut block) = (String::new(), vec![0; 1 << 16]);
    while text.matches("HTTP/1.1 ").count() < count {
        let got = wire.read(&mut block).unwrap();
        assert!(got > 0, "closed after {text}");
        text += &String::from_utf8_lossy(&block[..got]);
    }
    text
}

/// Sends it as a whole, as the last request, and returns the answer: empty where the server closed
/// before it was asked.
#[track_caller]
fn send(served: &Served, way: Way, request: &str) -> String {
    let mut wire = connect(served, way, 1).remove(0);
    let _ = wire.write_all(request.as_bytes());
    rest(&mut *wire)
}

/// Sends `begin`, and then `more` again and again until the server has had enough: the bytes that
/// it took of that.
fn flood(served: &Served, way: Way, begin: &str, more: &[u8]) -> usize {
    let mut wire = connect(served, way, 1).remove(0);
    wire.write_all(begin.as_bytes()).unwrap();
    let mut sent = 0;
    while sent < GIGABYTE && wire.write_all(more).is_ok() {
        sent += more.len();
    }
    sent
}

/// Starts a server, and sees that `attack` by each way leaves it as it was.
#[track_caller]
fn endures(name: &str, more: &str, attack: impl Fn(&Served, Way, &mut dyn FnMut())) {
    let served = Served::start(name, more);
    let mut raw = Raw::on(&served.world.client("c1", &served.host, "br0"));
    let mut guest = 0;
    let mut serves = || {
        assert_eq!(served.ask(READER, "GET", "/v1/status", "").status, 200);
        guest += 1;
        raw.lease(mac(guest));
    };
    serves();
    let before = served.peak_kib();
    for way in [Way::Socket, Way::Tls] {
        attack(&served, way, &mut serves);
        serves();
    }
    let grown = served.peak_kib() - before;
    assert!(grown < GROWTH_MAX, "{grown} KiB");
}

#[test]
fn heads_without_end_are_refused() {
    endures("hostile-head", "", |served, way, _| {
        let request = |count| {
            let mut text = head("GET", "/v1/status");
            (0..count).for_each(|n| write!(text, "x-{n}: y\r\n").unwrap());
            text + "connection: close\r\n\r\n"
        };
        let answer = send(served, way, &request(50));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{way:?}: {answer}");
        let answer = send(served, way, &request(100));
        assert!(answer.starts_with("HTTP/1.1 431 "), "{way:?}: {answer}");
        let answer = send(served, way, &request(100_000));
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{way:?}: {answer}");
        for endless in ["GET /", "GET / HTTP/1.1\r\nx: ", "GET / HTTP/1.1\r\n"] {
            let sent = flood(served, way, endless, &[b'a'; 16 << 10]);
            assert!(sent < 8 << 20, "{way:?}: {sent} bytes of {endless:?}");
        }
    });
}

#[test]
fn queries_without_end_are_refused() {
    endures("hostile-query", "", |served, way, _| {
        let ask =
            |target: &str| send(served, way, &(head("GET", target) + "connection: close\r\n\r\n"));
        let answer = ask(&format!("/v1/leases?limit=1{}", "&a=1".repeat(6000)));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{way:?}: {answer}");
        assert!(answer.len() < 16 << 10, "{answer}");
        let answer = ask(&format!("/v1/leases?cursor={}", "%41".repeat(10_000)));
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.len() < 4 << 10, "{way:?}: {answer}");
        let answer = ask(&format!("/v1/leases?cursor={}", "a".repeat(1 << 20)));
        let refused = ["HTTP/1.1 414 ", "HTTP/1.1 431 "].iter().any(|it| answer.starts_with(it));
        assert!(answer.is_empty() || refused, "{way:?}: {answer}");
    });
}

#[test]
fn slow_heads_and_bodies_are_cut_off() {
    endures("hostile-slow", "timeout = \"2s\"", |served, way, serves| {
        let status = head("GET", "/v1/status");
        let check = head("POST", "/v1/configuration/check") + "content-type: application/json\r\n";
        // Nothing at all, half a head, and a head without its body.
        for begin in ["", &status, &format!("{check}content-length: 1000\r\n\r\n{{")] {
            let mut wires = connect(served, way, CONNECTIONS);
            wires.iter_mut().for_each(|wire| wire.write_all(begin.as_bytes()).unwrap());
            serves();
            for wire in &mut wires {
                let answer = rest(&mut **wire);
                // As many of one caller as are answered at once; the others hear of that.
                let told =
                    ["HTTP/1.1 408 ", "HTTP/1.1 429 "].iter().any(|it| answer.starts_with(it));
                let is_right = told || !begin.contains("content-length");
                assert!(is_right && !answer.contains(" 200 "), "{way:?} {begin:?}: {answer}");
            }
        }
        // A byte now and then does not help.
        for (begin, more) in
            [(status, "a"), (check + "transfer-encoding: chunked\r\n\r\n", "1\r\na\r\n")]
        {
            let mut wire = connect(served, way, 1).remove(0);
            wire.write_all(begin.as_bytes()).unwrap();
            wait_until("its end", PATIENCE, || {
                wire.write_all(more.as_bytes()).and_then(|()| wire.flush()).is_err()
            });
        }
    });
}

#[test]
fn bodies_without_end_are_refused() {
    endures("hostile-body", "", |served, way, _| {
        for path in ["/v1/configuration/check", "/v1/leases/import", "/v1/telemetry"] {
            let kind =
                if path == "/v1/telemetry" { "application/x-ndjson" } else { "application/json" };
            let chunked = "transfer-encoding: chunked\r\n";
            let begin = format!("{}content-type: {kind}\r\n{chunked}", head("POST", path));
            let chunk = [&b"10000\r\n"[..], &[b' '; 1 << 16], b"\r\n"].concat();
            let sent = flood(served, way, &format!("{begin}\r\n"), &chunk);
            assert!(sent < 128 << 20, "{way:?} {path}: {sent} bytes of a body");
            let sent = flood(served, way, &format!("{begin}\r\n1;"), &[b'a'; 16 << 10]);
            assert!(sent < 8 << 20, "{way:?} {path}: {sent} bytes beside a chunk");
            let sent = flood(served, way, &format!("{begin}\r\n0\r\n"), &b"x: y\r\n".repeat(3000));
            assert!(sent < 8 << 20, "{way:?} {path}: {sent} bytes behind a body");
            let key = format!("{begin}idempotency-key: k\r\n\r\n");
            let sent = flood(served, way, &key, &chunk);
            assert!(sent < 64 << 20, "{way:?} {path}: {sent} bytes of a body with a key");
        }
    });
}

/// Who is refused by the head of their request hears of it whatever they go on to send, and their
/// connection is as good as before.
#[test]
fn a_body_that_nobody_reads_is_taken() {
    let served = Served::start("hostile-unread", "");
    for way in [Way::Socket, Way::Tls] {
        let mut wire = connect(&served, way, 1).remove(0);
        for _ in 0..3 {
            let refused = "PUT /v1/instances HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n";
            wire.write_all(refused.as_bytes()).unwrap();
            wire.flush().unwrap();
            for _ in 0..6 {
                // The server is at work on the head by now.
                served.ask(ADMIN, "GET", "/v1/status", "");
                wire.write_all(&[b'x'; 10_000]).unwrap();
                wire.flush().unwrap();
            }
            let answer = answers(wire.as_mut(), 1);
            let refusal = if matches!(way, Way::Socket) { "405" } else { "401" };
            assert!(answer.starts_with(&format!("HTTP/1.1 {refusal} ")), "{way:?}: {answer}");
        }
    }
}

#[test]
fn json_of_any_depth_is_refused() {
    endures("hostile-deep", "", |served, way, _| {
        let telemetry = ["{\"instance\":", "{\"a\":", "["].map(|open| open.repeat(10_000));
        let paths =
            ["/v1/configuration/check", "/v1/instances", "/v1/leases/import", "/v1/telemetry"];
        for (path, body) in
            paths.iter().flat_map(|path| telemetry.iter().map(move |body| (path, body)))
        {
            let begin =
                head("POST", path) + "content-type: application/json\r\nconnection: close\r\n";
            let request = format!("{begin}content-length: {}\r\n\r\n{body}", body.len());
            let answer = send(served, way, &request);
            assert!(answer.starts_with("HTTP/1.1 4"), "{way:?} {path}: {answer}");
        }
    });
}

#[test]
fn pipelined_requests_are_answered_one_by_one() {
    endures("hostile-pipe", "rate = 100", |served, way, serves| {
        let one = head("GET", "/v1/status") + "\r\n";
        let last = head("GET", "/v1/status") + "connection: close\r\n\r\n";
        let mut wire = connect(served, way, 1).remove(0);
        // Few enough ahead of the answers that are read for the buffers on the way.
        let mut text = String::new();
        for _ in 0..200 {
            wire.write_all(one.repeat(50).as_bytes()).unwrap();
            text += &answers(&mut *wire, 50);
        }

        wire.write_all(last.as_bytes()).unwrap();
        text += &rest(&mut *wire);
        let count = |status: &str| text.matches(&format!("HTTP/1.1 {status} ")).count();
        assert_eq!(count("200") + count("429"), 10_001, "{way:?}");
        assert!(count("200") > 0 && count("429") > 0, "{way:?}");
        // Whoever asks and never reads holds up nobody, and is answered no more than fits.
        let mut deaf = connect(served, way, 8);
        for wire in &mut deaf {
            wire.write_all(one.repeat(500).as_bytes()).unwrap();
        }

        serves();
    });
}

#[test]
fn one_peer_does_not_take_the_places_of_others() {
    endures("hostile-many", "timeout = \"10m\"", |served, way, serves| {
        let status = head("GET", "/v1/status") + "connection: close\r\n\r\n";
        let mut wires = connect(served, way, 200);
        assert_eq!(rest(&mut *wires[199]), "", "one too many");
        wires[0].write_all(status.as_bytes()).unwrap();
        assert!(rest(&mut *wires[0]).starts_with("HTTP/1.1 200 "));
        match way {
            Way::Socket => serves(),
            Way::Tls => {
                let bearer = format!("authorization: Bearer {ADMIN}");
                let other = ["--interface", "127.0.0.2", "-H", &bearer];
                assert_eq!(served.curl("/v1/status", &other).status, 200);
            }
        }
        drop(wires);
        wait_until("a place", PATIENCE, || send(served, way, &status).contains(" 200 "));
    });
}

#[test]
fn tls_that_does_not_begin_is_cut_off() {
    endures("hostile-tls", "timeout = \"2s\"", |served, _, serves| {
        // Nothing, half a record, a record of another protocol, and one that is too long.
        for begin in [&b""[..], &[22, 3, 1], b"GET / HTTP/1.1\r\n\r\n", &[22, 3, 1, 255, 255, 1]] {
            let open = || (0..CONNECTIONS).map(|_| tcp()).collect::<Vec<_>>();
            let mut wires = served.host.enter(open);
            wires.iter_mut().for_each(|wire| wire.write_all(begin).unwrap());
            serves();
            wires.iter_mut().for_each(|wire| assert!(!rest(wire).contains("HTTP/")));
        }
    });
}
