//! A flood of API requests: DHCP goes on as if nobody asked.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::common::crowd::Crowd;
use crate::common::server::{Server, calm_lan};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, wait_until};

/// Where the API listens beside its socket.
const LISTEN: &str = "127.0.0.1:8067";
/// Connections of each transport.
const CONNECTIONS: usize = 6;
/// Exchanges under the flood.
const CLIENTS: usize = 2_000;

/// What is asked, again and again: dear to read, dear to check, refused, and written.
const REQUESTS: [&str; 4] = [
    "GET /v1/leases?limit=1000 HTTP/1.1\r\nhost: x\r\n\r\n",
    "POST /v1/configuration/check HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
     content-length: 11\r\n\r\n{\"text\":\"\"}",
    "GET /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n",
    "POST /v1/leases/10.77.200.1/release HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
];

trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

/// Sends a pipeline of all requests by ever new connections until `stop`, and counts the answers.
fn flood(connect: impl Fn() -> Box<dyn Duplex>, stop: &AtomicBool, answers: &AtomicU64) {
    let pipeline = REQUESTS.concat();
    let mut buffer = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        let mut stream = connect();
        for _ in 0..50 {
            // One that the server ends is one of too many: the next one asks.
            if stop.load(Ordering::Relaxed) || stream.write_all(pipeline.as_bytes()).is_err() {
                break;
            }
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(_) => answers.fetch_add(1, Ordering::Relaxed),
            };
        }
    }
}

fn by_tcp(host: &Host) -> Box<dyn Duplex> {
    Box::new(host.enter(|| TcpStream::connect(LISTEN)).unwrap())
}

fn by_unix(socket: &Path) -> Box<dyn Duplex> {
    Box::new(UnixStream::connect(socket).unwrap())
}

/// New clients come while the API is flooded on both its transports, without a limit on the rate:
/// each is answered at its first word, and nothing is dropped.
#[test]
fn a_flood_of_the_api_loses_no_exchange() {
    let (world, server_host) = World::with_bridge("apiflood");
    let guest = world.client("guest", &server_host, "br0");
    let body = calm_lan()
        .replace("10.77.1.0/24", "10.77.0.0/16")
        .replace("10.77.1.100-10.77.1.199", "10.77.4.0-10.77.19.255");
    // No TLS: what its own work costs the sender would be less of a flood.
    let api = format!("[api]\nlisten = [\"{LISTEN}\"]\ninsecure_loopback = true\nrate = 0\n{body}");
    let server = Server::start(&world, &server_host, &api);
    let socket = world.dir().join("control.sock");
    let mut crowd = Crowd::on(&guest, 1);
    crowd.lease(500, |_| true);
    let (stop, tcp, unix) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let before = crowd.resent;
    let dropped = || {
        let dropped = server.status()["dropped"].clone();
        assert!(dropped.is_object(), "{dropped}");
        dropped
    };
    let dropped_before = dropped();
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| flood(|| by_tcp(&server_host), &stop, &tcp));
            scope.spawn(|| flood(|| by_unix(&socket), &stop, &unix));
        }
        wait_until("answers to the flood", PATIENCE, || {
            tcp.load(Ordering::Relaxed) > 100 && unix.load(Ordering::Relaxed) > 100
        });
        let answered = || tcp.load(Ordering::Relaxed) + unix.load(Ordering::Relaxed);
        let begun = answered();
        crowd.lease(CLIENTS, |_| true);
        assert!(answered() > begun, "the flood goes on");
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!((crowd.resent - before, crowd.naks), (0, 0), "sent again, refused");
    assert_eq!(crowd.acked.len(), 500 + CLIENTS);
    assert_eq!(dropped(), dropped_before);
}
