//! The API is flooded: what clients on the wire notice of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use foreshadow::api::token;

use crate::cases::Bench;
use crate::common::world::Host;
use crate::flood::OTHERS;
use crate::load::Pace;
use crate::peer::{Family, LAN, Peer, Running, fresh_dir};
use crate::speech::Way;

pub(crate) const QUIET: &str = "no API flood";
pub(crate) const ASKED: &str = "API flood";

const LISTEN: &str = "127.0.0.1:8067";
/// Connections of each transport, each with one request after another.
const CONNECTIONS: usize = 4;
const TOKEN: &str = "flood";
const REQUEST: &str =
    "GET /v1/leases?limit=1000 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer flood\r\n\r\n";
/// Those who flood have a machine of their own where there is one: here they give way.
const NICE: i32 = 19;

/// Answers to clients without a flood of the API and with one, over both its transports.
pub(crate) fn api_flood(bench: &mut Bench) {
    let hash: String = token::hash(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect();
    let body = format!(
        "[api]\nlisten = [\"{LISTEN}\"]\ninsecure_loopback = true\nrate = 0\n\
         [[api.token]]\nname = \"flood\"\nrole = \"read\"\nhash = \"{hash}\"\n{LAN}"
    );
    for _ in 0..bench.sizes.repetitions {
        for case in [QUIET, ASKED] {
            let dir = fresh_dir(&bench.stage);
            let mut server = Running::launch_foreshadow(&bench.stage, &dir, &body);
            server.wait_first(&mut bench.load, Family::V4);
            bench.load.forget();
            let (stop, answers) = (AtomicBool::new(case == QUIET), AtomicU64::new(0));
            let (socket, count) = (dir.join("control.sock"), OTHERS * bench.sizes.seconds);
            let host = bench.stage.server.clone();
            thread::scope(|scope| {
                for _ in 0..CONNECTIONS {
                    scope.spawn(|| pour(|| by_tcp(&host), &stop, &answers));
                    scope.spawn(|| pour(|| by_unix(&socket), &stop, &answers));
                }
                bench.measure(case, Peer::Foreshadow, server.pid(), |load| {
                    load.bind(
                        Way::Direct,
                        0..count as u32,
                        Pace::Rate(OTHERS),
                        Duration::from_secs(60),
                    )
                });
                stop.store(true, Ordering::Relaxed);
            });
            println!("{case:22} {} reads of answers", answers.load(Ordering::Relaxed));
            server.remove();
        }
    }
}

trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

fn by_tcp(host: &Host) -> Box<dyn Duplex> {
    Box::new(host.enter(|| TcpStream::connect(LISTEN)).expect("the API by TCP"))
}

fn by_unix(socket: &Path) -> Box<dyn Duplex> {
    Box::new(UnixStream::connect(socket).expect("the control socket"))
}

/// Asks again and again until `stop`.
fn pour(connect: impl Fn() -> Box<dyn Duplex>, stop: &AtomicBool, answers: &AtomicU64) {
    let thread = rustix::thread::gettid();
    rustix::process::setpriority_process(Some(thread), NICE).expect("a lower priority");
    let mut buffer = vec![0; 1 << 20];
    while !stop.load(Ordering::Relaxed) {
        let mut stream = connect();
        while !stop.load(Ordering::Relaxed) && stream.write_all(REQUEST.as_bytes()).is_ok() {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(_) => answers.fetch_add(1, Ordering::Relaxed),
            };
        }
    }
}
