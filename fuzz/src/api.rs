//! Any bytes on the control socket, as they are and as a request that is well formed: a real
//! server answers or closes, it changes nothing unless it was told to, and what it takes over can
//! be stored.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use foreshadow::api::exposition::{Exposition, Family};
use foreshadow::api::gauges::Figures;
use foreshadow::api::hosts;
use foreshadow::api::live::Live;
use foreshadow::api::metrics::{Measure, Metrics};
use foreshadow::api::peer::Peer;
use foreshadow::api::server::{Bound, Hub, Server};
use foreshadow::api::stopped::Stopped;
use foreshadow::api::view::{CheckView, ConfigurationView, ReloadView};
use foreshadow::api::{Command, Post, Refusal, Reload};
use foreshadow::base::{ClientKey, HwAddr, Mac, NetworkId, Resource, Timestamp};
use foreshadow::config::policy::ApiPolicy;
use foreshadow::config::{self, Policy};
use foreshadow::lease::{Cause, Change, Details, Lease, QuarantineReason, Seq, State};
use foreshadow::store::Store;
use foreshadow::store::mem::MemDisk;
use foreshadow::store::record::encode;

/// Requests and what stands in them.
pub const WORDS: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"/metrics",
    b"/v1/status",
    b"/v1/leases",
    b"/v1/leases/export?format=csv",
    b"/v1/leases/import",
    b"/v1/leases/10.0.0.1/release",
    b"/v1/leases/2001:db8:1::1",
    b"/v1/configuration",
    b"/v1/configuration/check",
    b"/v1/configuration/reload",
    b"/v1/tokens",
    b"/v1/tokens/ci/rotate",
    b"/v1/pools",
    b"/openapi.json",
    b"/v1/backup",
    b"?network=vms",
    b"&state=leased",
    b"&account=acme",
    b"&cursor=1&limit=7",
    b"&resource=10.0.0.0/24&mac=52:54:00:00:00:01",
    b"{\"name\":\"ci\",\"role\":\"admin\",\"lifetime_s\":3600.0}",
    b"{\"text\":\"[api]\\nlisten=7\"}",
    b"%2F56",
    b"%ff%00",
    b" HTTP/1.1\r\n",
    b"content-length: 2\r\n",
    b"transfer-encoding: chunked\r\n",
    b"expect: 100-continue\r\n",
    b"\r\n\r\n",
    b"{\"leases\":[{\"address\":\"10.0.0.7\",\"client\":\"id:01\",\"state\":\"leased\",\"until\":\"never\"}]}",
    b"\"hardware\":\"52:54:00:00:00:07\",",
    b"\"hostname\":\"a\\nb\",",
    b"\"dry_run\":true,",
    b"\"client\":\"ia:00000001:00030001\",",
    b"\"until\":\"9999-12-31T23:59:59Z\",",
    b"{\"directory\":\"/nowhere\"}",
    b"[[[[[[[[[[[[[[[[",
    b"\"\\ud800\"",
    b"1e999",
];

const POLICY: &str = "[[network]]\nname='vms'\ninterfaces=['br0']\n\
    [[network.subnet]]\nprefix='10.0.0.0/24'\n[[network.subnet]]\nprefix='2001:db8:1::/64'\n\
    delegations=[{prefix='2001:db8:aa00::/48',length=56}]\n\
    [[network]]\nname='lab'\nrelays=['10.9.0.1/32']\n[[network.subnet]]\nprefix='10.9.0.0/24'\n";
const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// The longest answer: everything that a few leases can be asked for, many times over.
const ANSWER_MAX: u64 = 4 << 20;
/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Plays one input.
pub fn run(data: &[u8]) {
    static BENCH: LazyLock<Mutex<Bench>> = LazyLock::new(|| Mutex::new(Bench::new()));
    let bench = BENCH.lock().unwrap_or_else(PoisonError::into_inner);
    bench.send_as_it_is(data);
    if let Some(request) = Request::of(data) {
        bench.send(&request);
    }
    assert!(!PANICKED.load(Ordering::SeqCst), "the server's thread panicked");
}

/// Whether the server's thread ever panicked: the runtime catches what a request does to it.
static PANICKED: AtomicBool = AtomicBool::new(false);

fn watch_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() == Some("control") {
            PANICKED.store(true, Ordering::SeqCst);
        }
        before(info);
    }));
}

/// Where requests are answered, on the server's own thread.
struct Way(Arc<Mutex<Stopped>>);

impl Post for Way {
    fn post(&self, command: Command) -> Result<(), Command> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).run(command);
        Ok(())
    }
}

struct Reloads;

impl Reload for Reloads {
    fn file(&self) -> &std::path::Path {
        std::path::Path::new("x.toml")
    }

    fn shown(&self) -> ConfigurationView {
        ConfigurationView::default()
    }

    fn check(&self, text: &str) -> CheckView {
        let valid = config::check(text, "fuzz").is_ok();
        CheckView { valid, ..CheckView::default() }
    }

    fn reload(&self) -> Result<ReloadView, Refusal> {
        Err(Refusal::Faults("error: unknown key `netwrok`".into()))
    }
}

/// A server with a few bindings, the same for every input.
struct Bench {
    socket: PathBuf,
    desk: Arc<Mutex<Stopped>>,
    policy: Arc<Policy>,
    _server: Server,
}

/// What there is to measure of a desk without a server.
struct Bindings;

impl Measure for Bindings {
    fn write(&self, pages: &[Figures], out: &mut Exposition) {
        out.family(Family::gauge("bindings", "All."));
        pages.iter().for_each(|page| out.count(&[], page.bindings));
    }
}

impl Bench {
    fn new() -> Bench {
        watch_panics();
        let policy = match config::check(POLICY, "fuzz") {
            Ok(loaded) => Arc::new(loaded.policy),
            Err(faults) => panic!("{}", faults.render(false)),
        };
        let desk = Arc::new(Mutex::new(stopped(&policy, &MemDisk::new(1))));
        let way = Arc::new(Way(desk.clone()));
        let hub = Hub {
            findings: Arc::default(),
            hosts: Arc::new(hosts::Nobody),
            telemetry: None,
            scrapes: Box::new(Default::default),
            metrics: Arc::new(Metrics::new(way.clone(), Box::new(Bindings))),
            post: way,
            archive: None,
            reload: Arc::new(Reloads),
            now: Box::new(|| NOW),
            live: Arc::new(live()),
        };
        let socket = super::store::scratch("api").join("control.sock");
        let server = Bound::new(&socket).and_then(|bound| bound.serve(hub)).expect("a socket");
        Bench { socket, desk, policy, _server: server }
    }

    /// A new desk over a new disk.
    fn begin(&self) -> MemDisk {
        let disk = MemDisk::new(1);
        let desk = stopped(&self.policy, &disk);
        *self.desk.lock().unwrap_or_else(PoisonError::into_inner) = desk;
        disk
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream
    }

    /// The bytes, and then nothing more: whatever comes back, it comes to an end.
    fn send_as_it_is(&self, data: &[u8]) {
        let disk = self.begin();
        let mut stream = self.connect();
        // A server that refuses early may stop reading.
        let _ = stream.write_all(data);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let answer = read_to_end(stream);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{answer:?}");
        check_stored(&disk);
    }

    fn send(&self, request: &Request<'_>) {
        let disk = self.begin();
        let mut stream = self.connect();
        let _ = stream.write_all(&request.bytes());
        let answer = read_to_end(stream);
        request.check(&answer);
        let stored = check_stored(&disk);
        let writes = matches!(&*request.method, "POST" | "DELETE");
        assert!(writes || stored == Seq(1), "{} wrote", request.method);
    }
}

/// Believes us, whatever we ask and how often.
fn live() -> Live {
    let mut policy = ApiPolicy::default();
    policy.limits.rate.per_s = 0;
    Live::new(&policy, Peer::own().expect("our own user"), []).expect("no certificate")
}

fn read_to_end(stream: UnixStream) -> Vec<u8> {
    let mut answer = Vec::new();
    if let Err(error) = stream.take(ANSWER_MAX).read_to_end(&mut answer) {
        let late = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
        assert!(!late.contains(&error.kind()), "no end of the answer: {error}");
    }
    assert!((answer.len() as u64) < ANSWER_MAX);
    answer
}

/// What the disk holds can be stored and read again; returns its last batch.
fn check_stored(disk: &MemDisk) -> Seq {
    let (_, contents) = disk.open();
    for lease in contents.leases {
        super::wire_support::check_hostname(lease.details.hostname.as_deref());
        let is_plain = |text: &str| text.len() <= 255 && !text.contains(|c: char| c.is_control());
        assert!(lease.details.account.as_deref().is_none_or(is_plain), "{lease:?}");
        encode(&Change::Put(lease, Cause::Renewed), &mut Vec::new())
            .expect("what was imported can be stored");
    }
    contents.seq
}

fn stopped(policy: &Arc<Policy>, disk: &MemDisk) -> Stopped {
    let leases = [
        lease("10.0.0.1", 1, State::Leased),
        lease("10.0.0.2", 2, State::Released),
        lease("10.0.0.3", 3, State::Quarantined(QuarantineReason::Declined)),
        lease("2001:db8:1::1", 4, State::Leased),
        lease("2001:db8:aa00:100::/56", 5, State::Leased),
    ];
    let (mut store, _) = disk.open();
    store
        .commit(Seq(1), &leases.map(|lease| Change::Put(lease, Cause::Granted)))
        .expect("committed");
    let (_, contents) = disk.open();
    Stopped::new(policy.clone(), NOW, contents, Some(Box::new(store)))
}

fn lease(resource: &str, host: u8, state: State) -> Lease {
    let resource: Resource = resource.parse().expect("an address or prefix");
    let hw = HwAddr::ethernet(Mac([0x52, 0x54, 0, 0, 0, host]));
    let client = match resource {
        Resource::V4(_) => ClientKey::hardware(&hw),
        Resource::V6(_) => ClientKey::ia(&[0, 3, 0, 1, host], 1),
        Resource::Prefix6(..) => ClientKey::ia_pd(&[0, 3, 0, 1, host], 1),
    };
    Lease {
        network: NetworkId::of("vms"),
        resource,
        client,
        hw,
        state,
        since: Timestamp(NOW.0 - 5000),
        updated: Timestamp(NOW.0 - 1000),
        until: Timestamp(NOW.0 + 3_600_000),
        port: None,
        uses: Default::default(),
        details: Arc::new(Details {
            hostname: Some(format!("vm-{host}").into()),
            account: Some("acme".into()),
            ..Details::default()
        }),
    }
}

/// A request that HTTP has nothing to say against, made of any bytes: a line with method and
/// target, headers that do not matter, an empty line, the body.
struct Request<'a> {
    method: String,
    target: String,
    body: &'a [u8],
}

impl Request<'_> {
    fn of(data: &[u8]) -> Option<Request<'_>> {
        let end = data.iter().position(|byte| *byte == b'\n')?;
        let line = data[..end].split(|byte| *byte == b' ').map(visible);
        let mut words = line.filter(|word| !word.is_empty());
        let (method, target) = (words.next()?, words.next()?);
        let is_token = method.bytes().all(|byte| byte.is_ascii_uppercase());
        let blank = data.windows(4).position(|four| four == b"\r\n\r\n");
        let body = blank.map_or(&[][..], |at| &data[at + 4..]);
        // A proxy's requests have rules of their own, and to a target that is none, with HTTP/2's
        // first bytes behind it, hyper says nothing.
        let is_ours = is_token
            && target.starts_with('/')
            && !matches!(&*method, "HEAD" | "CONNECT")
            && !body.starts_with(b"PRI * HTTP/2.0");
        is_ours.then_some(Request { method, target, body })
    }

    fn bytes(&self) -> Vec<u8> {
        let Request { method, target, body } = self;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    /// One whole answer; an error is a problem document (RFC 9457).
    fn check(&self, answer: &[u8]) {
        let text = String::from_utf8_lossy(answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status: u16 = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        match status {
            200 | 201 | 204 => {
                assert!(matches!(&*self.method, "GET" | "POST" | "DELETE"), "{text}");
            }
            // hyper's own, of a target that is none.
            400 | 414 | 431 if body.is_empty() => {}
            400 | 403 | 404 | 405 | 409 | 413 | 415 | 422 | 503 | 507 => {
                assert!(head.contains("application/problem+json"), "{text}");
                assert!(body.contains(&format!("\"status\":{status}")), "{text}");
            }
            _ => panic!("{} {}: {text:?}", self.method, self.target),
        }
    }
}

fn visible(word: &[u8]) -> String {
    word.iter().filter(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte)).collect()
}
