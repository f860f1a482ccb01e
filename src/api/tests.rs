//! The control socket, spoken to as clients do: a real socket, a real store, a desk of its own
//! thread.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};

use axum::http::HeaderMap;

use crate::base::{ClientKey, HwAddr, Mac, NetworkId, Prefix4, Prefix6, Timestamp};
use crate::config::Policy;
use crate::config::policy::*;
use crate::lease::{Change, Details, Lease, Seq, State};
use crate::store::{BackupDone, Contents, Store, StoreError, StoreStats};

use super::caller::{Role, Scope};
use super::client::{Address, Client, ClientError};
use super::command::{Command, Post, Refusal, Reload};
use super::etag::Conditions;
use super::exposition::Exposition;
use super::gauges::Figures;
use super::leases::parse_network;
use super::live::{Live, Remote};
use super::metrics::{Measure, Metrics};
use super::peer::Peer;
use super::server::{Bound, Hub, Server};
use super::stopped::Stopped;
use super::view::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn network(name: &str, prefix: &str) -> Network {
    Network {
        id: NetworkId::of(name),
        name: name.into(),
        interfaces: vec![],
        trusted_ports: vec![],
        trunk_ports: vec![],
        relays: vec![],
        authoritative: false,
        identity: Identity::CloneSafe,
        server_id: None,
        rapid_commit: false,
        bootp: Bootp::Off,
        verify: Verify {
            enabled: false,
            ready: 0,
            probes_per_s: 1,
            wait: crate::base::Span::ZERO,
            fresh: crate::base::Span::ZERO,
        },
        offer_hold: crate::base::Span::from_secs(30),
        hold: Default::default(),
        lifecycle: crate::config::policy::Lifecycle::DEFAULT,
        tiers: None,
        relocation: Default::default(),
        standby: Default::default(),
        guard: Default::default(),
        reconcile: Default::default(),
        short_percent: 5,
        quarantine: crate::base::Span::from_secs(600),
        declines_max: 4,
        offers_max: 16,
        limits: crate::config::policy::Limits::DEFAULT,
        settings: Settings::default(),
        subnets: vec![Subnet {
            prefix: prefix.parse::<Prefix4>().unwrap(),
            region: None,
            settings: Settings::default(),
            pools: vec![],
        }],
        reservations: vec![],
        v6: Network6::default(),
        subnets6: vec![],
        reservations6: vec![],
    }
}

/// Nothing is counted.
struct Nothing;

impl Measure for Nothing {
    fn write(&self, _: &[Figures], _: &mut Exposition) {}
}

/// A policy of two networks without pools.
pub(crate) fn policy() -> Arc<Policy> {
    Arc::new(Policy {
        server: ServerPolicy {
            state_dir: "/nonexistent".into(),
            control_socket: "/nonexistent".into(),
            agent_socket: "/nonexistent".into(),
            hosts_file: None,
            server_duid: None,
        },
        log: LogPolicy {
            json: false,
            filter: "info".into(),
            bad_packets_per_s: 5,
            leases_per_s: 1000,
        },
        telemetry: Arc::default(),
        scrapes: Arc::default(),
        hooks: Arc::default(),
        agents: Arc::default(),
        drivers: Arc::default(),
        forecast: Default::default(),
        shadow: ShadowPolicy::default(),
        store: StorePolicy {
            journal_bytes: 1 << 20,
            checkpoint_every: crate::base::Span::from_secs(1),
            cache_bytes: 1 << 20,
        },
        audit: AuditPolicy::default(),
        metrics: MetricsPolicy::default(),
        api: ApiPolicy::default(),
        relay_interfaces: vec![],
        networks: vec![network("vms", "10.0.0.0/16"), network("lab", "10.9.0.0/24")],
        accounts: Vec::new(),
        classes: vec![],
        settings: Settings::default(),
    })
}

fn lease(n: u32) -> Lease {
    let hw = HwAddr::ethernet(Mac([0x52, 0x54, 0, (n >> 16) as u8, (n >> 8) as u8, n as u8]));
    Lease {
        network: NetworkId::of("vms"),
        resource: Ipv4Addr::from_bits(0x0a00_0001 + n).into(),
        client: ClientKey::hardware(&hw),
        hw,
        state: if n % 5 == 4 { State::Released } else { State::Leased },
        since: Timestamp(NOW.0 - 5000),
        updated: Timestamp(NOW.0 - 1000),
        until: Timestamp(NOW.0 + 3_600_000),
        port: None,
        uses: Default::default(),
        details: Arc::new(Details {
            hostname: Some(format!("vm-{n}").into()),
            account: (n == 3).then(|| "acme".into()),
            ..Details::default()
        }),
    }
}

/// Keeps batches in memory; refuses them when told to.
#[derive(Default)]
struct Batches {
    changes: Vec<Change>,
    full: bool,
}

impl Store for Batches {
    fn commit(&mut self, _: Seq, changes: &[Change]) -> Result<(), StoreError> {
        if self.full {
            return Err(StoreError::Broken);
        }
        self.changes.extend_from_slice(changes);
        Ok(())
    }
    fn maintain(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
    fn rebuild(&mut self, _: &Contents) -> Result<(), StoreError> {
        Ok(())
    }
    fn backup(&mut self, to: &Path, done: BackupDone) {
        let named = |source| StoreError::Io { what: "create", path: to.to_owned(), source };
        done(std::fs::create_dir(to).map_err(named));
    }
    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
}

enum Work {
    Command(Command),
    Stop,
}

struct Way(mpsc::Sender<Work>);

impl Post for Way {
    fn post(&self, command: Command) -> Result<(), Command> {
        self.0.send(Work::Command(command)).map_err(|error| match error.0 {
            Work::Command(command) => command,
            Work::Stop => unreachable!(),
        })
    }
}

struct Reloads;

impl Reload for Reloads {
    fn file(&self) -> &Path {
        Path::new("x.toml")
    }

    fn shown(&self) -> ConfigurationView {
        ConfigurationView { file: "x.toml".into(), text: "a = 1\n".into() }
    }

    fn check(&self, text: &str) -> CheckView {
        CheckView { valid: text.is_empty(), ..CheckView::default() }
    }

    fn reload(&self) -> Result<ReloadView, Refusal> {
        Err(Refusal::Faults("error: unknown key `netwrok`".into()))
    }
}

/// A server with `count` leases on a socket of its own.
struct Bench {
    dir: PathBuf,
    server: Option<Server>,
    stop: mpsc::Sender<Work>,
}

impl Bench {
    fn new(count: u32, full: bool) -> Bench {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("foreshadow-api-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (work, queue) = mpsc::channel();
        let contents = Contents { leases: (0..count).map(lease).collect(), ..Contents::default() };
        let store = Batches { full, ..Batches::default() };
        std::thread::spawn(move || {
            let mut desk = Stopped::new(policy(), NOW, contents, Some(Box::new(store)));
            while let Ok(Work::Command(command)) = queue.recv() {
                desk.run(command);
            }
        });
        let mut bench = Bench { dir, server: None, stop: work };
        bench.server = Some(Bound::new(&bench.socket()).unwrap().serve(bench.hub()).unwrap());
        bench
    }

    fn hub(&self) -> Hub {
        Hub {
            telemetry: None,
            scrapes: Box::new(Default::default),
            hosts: Arc::new(super::hosts::Nobody),
            findings: Arc::default(),
            post: Arc::new(Way(self.stop.clone())),
            reload: Arc::new(Reloads),
            archive: None,
            metrics: Arc::new(Metrics::new(Arc::new(Way(self.stop.clone())), Box::new(Nothing))),
            now: Box::new(|| NOW),
            live: Arc::new(Live::new(&ApiPolicy::default(), Peer::own().unwrap(), []).unwrap()),
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    fn client(&self) -> Client {
        Client::connect(Address::Socket(self.socket())).unwrap()
    }

    fn get(&self, path: &str) -> Result<LeasesView, ClientError> {
        self.client().get(path)
    }

    /// One request as bytes, and everything that comes back.
    fn raw(&self, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        // A server that refuses a body early may stop reading it.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn raw_post(&self, path: &str, body: &str) -> String {
        let length = body.len();
        self.raw(
            format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                 content-type: application/json\r\n\
                 content-length: {length}\r\n\r\n{body}"
            )
            .as_bytes(),
        )
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(self.server.take());
        let _ = self.stop.send(Work::Stop);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Refusal {
    match result {
        Err(ClientError::Refused(refusal)) => refusal,
        other => panic!("want a refusal, got {other:?}"),
    }
}

#[test]
fn every_lease_is_on_exactly_one_page() {
    let bench = Bench::new(2500, false);
    let mut client = bench.client();
    for (limit, filter, want) in [(1000, "", (2500, 3)), (7, "&state=released", (500, 72))] {
        let (mut seen, mut cursor, mut pages) = (std::collections::BTreeSet::new(), None, 0);
        loop {
            let from = cursor.map_or(String::new(), |cursor: String| format!("&cursor={cursor}"));
            let path = format!("/v1/leases?limit={limit}{filter}{from}");
            let page: LeasesView = client.get(&path).unwrap();
            page.leases.iter().for_each(|l| assert!(seen.insert(l.address.clone())));
            (cursor, pages) = (page.next, pages + 1);
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!((seen.len(), pages), want);
    }
}

#[test]
fn filters_narrow_and_say_what_they_do_not_know() {
    let bench = Bench::new(20, false);
    let count = |path: &str| bench.get(path).unwrap().leases.len();
    assert_eq!(count("/v1/leases?network=vms&state=released"), 4);
    assert_eq!(count("/v1/leases?network=lab"), 0);
    assert_eq!(count("/v1/leases?account=acme"), 1);
    assert!(matches!(refused(bench.get("/v1/leases?network=vsm")), Refusal::NotFound(_)));
    assert!(matches!(refused(bench.get("/v1/leases?state=lesaed")), Refusal::Invalid(_)));
    assert!(matches!(refused(bench.get("/v1/leases?sate=leased")), Refusal::Invalid(_)));
    assert!(matches!(refused(bench.get("/v1/leases?limit=0")), Refusal::Invalid(_)));
}

#[test]
fn one_lease_shows_all_that_is_known() {
    let bench = Bench::new(4, false);
    let shown = bench.get("/v1/leases/10.0.0.4").unwrap();
    let want = LeaseView {
        network: Some("vms".into()),
        address: "10.0.0.4".into(),
        state: "leased".into(),
        client: Some("hw:01:52:54:00:00:00:03".into()),
        hardware: Some("52:54:00:00:00:03".into()),
        hostname: Some("vm-3".into()),
        account: Some("acme".into()),
        since: Some("2027-01-15T07:59:55Z".into()),
        updated: Some("2027-01-15T07:59:59Z".into()),
        until: Some("2027-01-15T09:00:00Z".into()),
        ..LeaseView::default()
    };
    assert_eq!(shown.leases, [want]);
    assert!(matches!(refused(bench.get("/v1/leases/10.0.0.9")), Refusal::NotFound(_)));
    assert!(matches!(refused(bench.get("/v1/leases/10.0.0.300")), Refusal::NotFound(_)));
    assert!(matches!(refused(bench.get("/v1/leases/2001:db8::%2F56")), Refusal::NotFound(_)));
}

/// Hostile-input list: a subnet deleted while its lease is queried.
#[test]
fn a_lease_of_a_network_that_is_gone_is_shown_and_released() {
    let gone = Lease { network: NetworkId::of("gone"), ..lease(1) };
    let other_subnet = Lease { resource: Ipv4Addr::new(192, 168, 0, 9).into(), ..lease(2) };
    let contents = Contents { leases: vec![gone, other_subnet], ..Contents::default() };
    let store = Batches::default();
    let mut desk = Stopped::new(policy(), NOW, contents, Some(Box::new(store)));
    let name = format!("#{:08x}", NetworkId::of("gone").0);
    let id = parse_network(&name, &policy()).unwrap();
    // A network that the policy does not have is named by its number.
    for (resource, network, shown) in [("10.0.0.2", Some(id), &*name), ("192.168.0.9", None, "vms")]
    {
        let resource = resource.parse().unwrap();
        let page = desk
            .ask(|reply| Command::Lease { network, resource, scope: Scope::All, reply })
            .unwrap();
        let views: Vec<_> = page.leases.iter().map(|l| LeaseView::of(l, &page.policy)).collect();
        assert_eq!((views.len(), views[0].network.as_deref()), (1, Some(shown)));
        let (scope, conditions, who) = (Scope::All, Conditions::default(), "user x".into());
        let command = |reply| Command::Release { network, resource, scope, conditions, who, reply };
        let (was, _) = desk.ask(command).unwrap().unwrap();
        assert_eq!(was.resource, resource);
    }
}

#[test]
fn a_release_is_answered_once_it_is_durable() {
    let bench = Bench::new(1, false);
    let was: LeaseView = bench.client().post("/v1/leases/10.0.0.1/release", &()).unwrap();
    assert_eq!(was.state, "leased");
    assert_eq!(bench.get("/v1/leases/10.0.0.1").unwrap().leases[0].state, "released");

    let full = Bench::new(1, true);
    let answer = full.client().post::<LeaseView>("/v1/leases/10.0.0.1/release", &());
    assert!(matches!(refused(answer), Refusal::Store(_)));
}

#[test]
fn an_import_takes_what_fits_and_names_the_rest() {
    let bench = Bench::new(1, false);
    let give = |address: &str, client: &str| LeaseView {
        address: address.into(),
        client: Some(client.into()),
        until: Some("2030-01-01T00:00:00Z".into()),
        ..LeaseView::default()
    };
    let leases = vec![
        give("10.0.0.7", "id:01:02:03"),
        give("10.0.0.1", "id:01:02:03"),
        give("192.168.7.7", "id:01:02:03"),
        give("10.0.255.255", "id:01:02:03"),
        give("10.0.0.8", "name:bob"),
        LeaseView { until: None, ..give("10.0.0.9", "id:01") },
        LeaseView { network: Some("lab".into()), ..give("10.0.0.10", "id:01") },
    ];
    let mut request = ImportRequest { leases, dry_run: true };
    let dry: ImportView = bench.client().post("/v1/leases/import", &request).unwrap();
    assert_eq!((dry.imported, dry.refused.len()), (2, 5));
    assert!(bench.get("/v1/leases/10.0.0.7").is_err(), "a dry run changes nothing");

    request.dry_run = false;
    let real: ImportView = bench.client().post("/v1/leases/import", &request).unwrap();
    assert_eq!((real.imported, real.refused.len()), (1, 6));
    let kept = bench.get("/v1/leases/10.0.0.7").unwrap();
    assert_eq!(kept.leases[0].client.as_deref(), Some("id:01:02:03"));
    assert_eq!(kept.leases[0].network.as_deref(), Some("vms"));
}

#[test]
fn an_identifier_that_spells_the_hardware_is_imported_as_the_hardware() {
    let view = |client: &str| LeaseView {
        address: "10.0.0.7".into(),
        client: Some(client.into()),
        hardware: Some("52:54:00:00:00:07".into()),
        until: Some("never".into()),
        ..LeaseView::default()
    };
    let key = |client: &str| view(client).to_lease(&policy(), NOW).unwrap().client.to_string();
    assert_eq!(key("id:01:52:54:00:00:00:07"), "hw:01:52:54:00:00:00:07");
    assert_eq!(key("id:01:52:54:00:00:00:08"), "id:01:52:54:00:00:00:08");
}

/// The policy with an IPv6 subnet that delegates prefixes of 56 to 60 bits.
fn policy6() -> Arc<Policy> {
    let mut policy = (*policy()).clone();
    let prefix = |text: &str| text.parse::<Prefix6>().unwrap();
    policy.networks[0].subnets6.push(Subnet6 {
        prefix: prefix("2001:db8:1::/64"),
        region: None,
        settings: Settings::default(),
        pools: vec![],
        delegations: vec![DelegationPool {
            prefix: prefix("2001:db8:8000::/40"),
            length: 56,
            min_length: 56,
            max_length: 60,
            excluded: vec![],
            exclude: None,
            allow: vec![],
            deny: vec![],
            install_route: false,
            settings: Settings::default(),
        }],
        interface_ids: vec![],
    });
    policy.networks[0].reservations6.push(Reservation6 {
        host: HostId6::Duid([0, 3, 0, 1, 9].as_slice().into()),
        addrs: vec![],
        prefixes: vec![prefix("2001:db8:9000::/48")],
        hostname: None,
        settings: Settings::default(),
    });
    Arc::new(policy)
}

/// An address needs an association for addresses, a prefix one for prefixes, IPv4 none; and each
/// needs a place.
#[test]
fn a_lease_of_dhcpv6_has_its_place_and_its_client() {
    let (ia, pd) = ("ia:00:00:00:01:00:03:00:01:52:54", "ia-pd:00:00:00:01:00:03:00:01:52:54");
    let clone = ClientKey::ia_clone(&[0, 3, 0, 1], 7, &HwAddr::ethernet(Mac([2; 6]))).to_string();
    let said = |address: &str, client: &str| {
        let view = LeaseView {
            address: address.into(),
            client: Some(client.into()).filter(|client: &String| !client.is_empty()),
            hardware: Some("52:54:00:00:00:07".into()),
            until: Some("never".into()),
            ..LeaseView::default()
        };
        view.to_lease(&policy6(), NOW).map(|lease| LeaseView::of(&lease, &policy6()))
    };
    for (address, client) in [
        ("2001:db8:1::7", ia),
        ("2001:db8:1::7", &clone),
        ("2001:db8:8000:100::/56", pd),
        ("2001:db8:8000:110::/60", pd),
        ("2001:db8:8000:110::/60", &clone),
        ("2001:db8:9000::/48", pd),
    ] {
        let kept = said(address, client).unwrap();
        assert_eq!((&*kept.address, kept.client.as_deref()), (address, Some(client)));
        assert_eq!(kept.network.as_deref(), Some("vms"));
    }
    for (address, client, why) in [
        ("2001:db8:1::", ia, "is no host address of a subnet of any network"),
        ("2001:db8:2::7", ia, "is no host address of a subnet of any network"),
        ("2001:db8:8000::/55", pd, "is no prefix of a delegation, or reserved one, of any"),
        ("2001:db8:8000::/61", pd, "is no prefix"),
        ("2001:db8:8000:1::/56", pd, "is no prefix"),
        ("2001:db8:8100::/56", pd, "is no prefix"),
        ("2001:db8:9000::/56", pd, "is no prefix"),
        ("2001:db8:1::7", pd, "want `ia:`"),
        ("2001:db8:1::7", "", "want `ia:`"),
        ("2001:db8:1::7", "hw:01:52:54:00:00:00:07", "want `ia:`"),
        ("2001:db8:1::7", "ia:00:00:00:01:00:03", "want `ia:`"),
        ("2001:db8:8000:100::/56", ia, "want `ia-pd:`"),
        ("10.0.0.7", ia, "has a client of DHCPv6"),
    ] {
        let refused = said(address, client).unwrap_err();
        assert!(refused.contains(why), "{address} {client}: {refused}");
    }
}

/// A prefix that is held in part is held.
#[test]
fn prefixes_that_overlap_are_not_both_taken() {
    let mut stopped =
        Stopped::new(policy6(), NOW, Contents::default(), Some(Box::new(Batches::default())));
    let mut take = |address: &str, iaid: u32, state: &str| {
        let view = LeaseView {
            address: address.into(),
            client: Some(ClientKey::ia_pd(&[0, 3, 0, 1], iaid).to_string()),
            state: state.into(),
            until: Some("never".into()),
            ..LeaseView::default()
        };
        let leases = vec![view.to_lease(&policy6(), NOW).unwrap()];
        stopped
            .ask(|reply| Command::Import { leases, who: "user x".into(), reply })
            .unwrap()
            .unwrap()
    };
    for (address, iaid, state, taken) in [
        ("2001:db8:8000:100::/56", 1, "released", true),
        ("2001:db8:8000:110::/60", 1, "leased", true),
        ("2001:db8:8000:100::/56", 2, "leased", false),
        ("2001:db8:8000:120::/60", 3, "leased", true),
        ("2001:db8:8000:200::/56", 4, "leased", true),
        ("2001:db8:8000:2f0::/60", 4, "leased", false),
        ("2001:db8:8000:300::/60", 4, "leased", true),
    ] {
        assert_eq!(take(address, iaid, state), [taken], "{address}");
    }
}

/// Hostile-input list: a lease whose text fields hold separators and newlines.
#[test]
fn imported_names_are_cleaned() {
    let bench = Bench::new(0, false);
    let leases = vec![LeaseView {
        address: "10.0.0.7".into(),
        client: Some("id:01".into()),
        hostname: Some("a\n127.0.0.1 bank".into()),
        until: Some("never".into()),
        ..LeaseView::default()
    }];
    let request = ImportRequest { leases, dry_run: false };
    let done: ImportView = bench.client().post("/v1/leases/import", &request).unwrap();
    assert_eq!(done.imported, 1);
    assert_eq!(
        bench.get("/v1/leases/10.0.0.7").unwrap().leases[0].hostname.as_deref(),
        Some("a127.0.0.1-bank")
    );
}

#[test]
fn what_was_exported_can_be_imported() {
    let bench = Bench::new(1200, false);
    let json: Vec<LeaseView> = bench.client().get("/v1/leases/export").unwrap();
    assert_eq!(json.len(), 1200);
    let csv = bench.raw(b"GET /v1/leases/export?format=csv HTTP/1.0\r\nhost: x\r\n\r\n");
    let (head, body) = csv.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("text/csv"), "{head}");
    let back = super::transfer::read(super::transfer::Format::Csv, body.as_bytes()).unwrap();
    assert_eq!(back, json);
    for (view, n) in back.iter().zip(0..) {
        assert_eq!(view.to_lease(&policy(), NOW), Ok(lease(n)));
    }
}

#[test]
fn faults_of_a_reload_come_back_as_drawn() {
    let bench = Bench::new(0, false);
    let answer = refused(bench.client().post::<ReloadView>("/v1/configuration/reload", &()));
    assert_eq!(answer, Refusal::Faults("error: unknown key `netwrok`".into()));
}

#[test]
fn a_backup_goes_to_an_absolute_new_directory() {
    let bench = Bench::new(0, false);
    let to = bench.dir.join("copy");
    let ask = |directory: &str| {
        let request = BackupRequest { directory: directory.into() };
        bench.client().post::<()>("/v1/backup", &request)
    };
    assert!(matches!(refused(ask("copy")), Refusal::Invalid(_)));
    ask(to.to_str().unwrap()).unwrap();
    assert!(to.is_dir());
    assert!(matches!(refused(ask(to.to_str().unwrap())), Refusal::Conflict(_)));
}

#[test]
fn every_error_is_a_problem_document() {
    let bench = Bench::new(0, false);
    for (request, status) in [
        ("GET /v2/status HTTP/1.0\r\n\r\n", 404),
        ("DELETE /v1/status HTTP/1.0\r\n\r\n", 405),
        ("GET /v1/leases/%ff HTTP/1.0\r\n\r\n", 400),
        ("POST /v1/leases/%ff/release HTTP/1.0\r\n\r\n", 400),
        ("GET /v1/leases/export?format=xml HTTP/1.0\r\n\r\n", 400),
        (
            "POST /v1/leases/import HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{]",
            400,
        ),
    ] {
        let answer = bench.raw(request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.0 {status}")), "{request}: {answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(serde_json::from_str::<ProblemView>(body).unwrap().status, status);
    }
}

/// Hostile-input list: JSON nested 10,000 deep at the API.
#[test]
fn json_nested_ten_thousand_deep_is_refused() {
    let bench = Bench::new(1, false);
    for deep in [
        format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
        format!("{{\"leases\":{}", "[".repeat(10_000)),
        format!("{}1{}", "{\"leases\":".repeat(10_000), "}".repeat(10_000)),
    ] {
        let answer = bench.raw_post("/v1/leases/import", &deep);
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert_eq!(bench.get("/v1/leases").unwrap().leases.len(), 1);
}

#[test]
fn a_body_over_the_limit_is_refused_and_the_server_lives() {
    let bench = Bench::new(1, false);
    let answer = bench.raw_post("/v1/leases/import", &" ".repeat((4 << 20) + 1));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    bench.raw(b"\x16\x03\x01 this is not HTTP\r\n\r\n");
    assert_eq!(bench.get("/v1/leases").unwrap().leases.len(), 1);
}

#[test]
fn the_socket_is_for_its_user_and_group_and_outlives_a_crash() {
    let mut bench = Bench::new(0, false);
    let mode = std::fs::metadata(bench.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
    let second = Bound::new(&bench.socket()).unwrap_err();
    assert!(second.to_string().contains("another server"), "{second}");

    drop(bench.server.take());
    assert!(matches!(
        Client::connect(Address::Socket(bench.socket())),
        Err(ClientError::NotRunning { .. })
    ));
    // What a killed server leaves behind: a socket that nobody listens on.
    drop(std::os::unix::net::UnixListener::bind(bench.socket()).unwrap());
    bench.server = Some(Bound::new(&bench.socket()).unwrap().serve(bench.hub()).unwrap());
    let status: StatusView = bench.client().get("/v1/status").unwrap();
    assert_eq!(status.networks.len(), 2);
}

#[test]
fn strangers_may_not_change_anything() {
    let bench = Bench::new(0, false);
    let live = bench.hub().live;
    let role = |peer| {
        let caller = live.caller(&Remote::Local(peer), &HeaderMap::new(), NOW);
        caller.map(|caller| caller.role).map_err(|problem| problem.status.as_u16())
    };
    assert_eq!(role(None), Err(401));
    assert_eq!(role(Some(Peer { uid: 4_000_000, gid: 4_000_000 })), Ok(Role::Read));
    assert_eq!(role(Some(Peer::own().unwrap())), Ok(Role::Admin));
}

#[test]
fn a_server_that_stops_does_not_wait_for_idle_connections() {
    let mut bench = Bench::new(0, false);
    let _idle = bench.client();
    let _silent = UnixStream::connect(bench.socket()).unwrap();
    drop(bench.server.take());
    assert!(!bench.socket().exists());
}
