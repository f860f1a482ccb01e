//! Routes of the server's host to the prefixes that it delegates, with dhclient as the router.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::common::process::Proc;
use crate::common::server::{BINARY, Server, Setup};
use crate::common::world::{Host, World};
use crate::common::{PATIENCE, require, wait_until};

/// One network on the bridge that delegates prefixes and routes to them.
const ROUTED: &str = r#"
[[network]]
name = "lan"
interfaces = ["br0"]
verify = false
[[network.subnet]]
prefix = "2001:db8:1::/64"
[[network.subnet.delegation]]
prefix = "2001:db8:8000::/40"
length = 56
exclude = { length = 64, id = 0 }
install_route = true
"#;

/// Left by a server that was killed before a lease ended.
const STALE: &str = "2001:db8:8000:ff00::/56 via fe80::99 dev br0 proto 196 metric 2048";
/// Somebody else's.
const FOREIGN: &str = "2001:db8:8000:fe00::/56 via fe80::98 dev br0 proto static metric 2048";

fn not_routed() -> String {
    ROUTED.replace("install_route = true", "install_route = false")
}

fn world(name: &str) -> (World, Host) {
    let world = World::new(name);
    let host = world.host("server");
    host.bridge("br0", Some("2001:db8:1::1/64"));
    (world, host)
}

fn ours(server: &Host) -> String {
    server.ip("-6 route show proto 196")
}

#[track_caller]
fn wait_routes(what: &str, server: &Host, wanted: bool) {
    wait_until(what, PATIENCE, || ours(server).is_empty() != wanted);
}

/// dhclient as a requesting router.
struct Router {
    host: Host,
    dir: PathBuf,
    _proc: Proc,
}

impl Router {
    fn start(world: &World, server: &Host) -> Router {
        require("dhclient", "isc-dhcp-client");
        let host = world.client("router", server, "br0");
        let dir = world.dir().join("router");
        fs::create_dir_all(&dir).unwrap();
        let argv = Router::argv(&dir, "-d");
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        let proc = world.spawn(&host, "router", &words);
        Router { host, dir, _proc: proc }
    }

    fn argv(dir: &std::path::Path, how: &str) -> Vec<String> {
        let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let files = ["-cf", "/dev/null", "-sf", "/bin/true"].map(String::from);
        let kept = ["-lf".to_owned(), at("leases"), "-pf".to_owned(), at("pid")];
        let head = ["dhclient", "-6", "-P", how].map(String::from);
        head.into_iter().chain(files).chain(kept).chain(["eth0".to_owned()]).collect()
    }

    /// Its own address on the link.
    fn link_local(&self) -> String {
        let shown = self.host.ip("-6 -o addr show dev eth0 scope link");
        shown.split("inet6 ").nth(1).unwrap().split('/').next().unwrap().to_owned()
    }

    fn release(&self) {
        let argv = Router::argv(&self.dir, "-r");
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        let done = self.host.command(&words).output().unwrap();
        assert!(done.status.success(), "dhclient -r: {done:?}");
    }
}

/// The prefix that is leased, and its next hop.
fn delegated(server: &Server) -> (String, String) {
    let leases = server.leases();
    let lease = leases.iter().find(|lease| lease["state"] == "leased").unwrap();
    let text = |key: &str| lease[key].as_str().unwrap().to_owned();
    (text("address"), text("next_hop"))
}

/// A route comes with the prefix, by the router's own address; it stays when the server stops, and
/// goes when the router gives the prefix back.
#[test]
fn a_route_lives_as_long_as_its_prefix() {
    let (world, host) = world("routes");
    let mut server = Server::start(&world, &host, ROUTED);
    assert_eq!(ours(&host), "");
    let router = Router::start(&world, &host);
    wait_routes("a route to the prefix", &host, true);
    let (prefix, hop) = delegated(&server);
    let via = router.link_local();
    assert_eq!(hop, format!("{via}%br0"));
    let shown = ours(&host);
    assert!(shown.starts_with(&format!("{prefix} via {via} dev br0 metric 2048")), "{shown}");
    assert_eq!(shown.lines().count(), 1, "{shown}");
    assert_eq!(prefix, "2001:db8:8000::/56");
    assert!(host.ip("-6 route get 2001:db8:8000:5::1").contains(&via));
    // What is on the link with the router (RFC 6603) is reached there.
    host.ip("-6 route add 2001:db8:8000::/64 dev br0");
    let on_link = host.ip("-6 route get 2001:db8:8000::5");
    assert!(!on_link.contains("via"), "{on_link}");
    host.ip("-6 route del 2001:db8:8000::/64 dev br0");

    server.stop();
    assert!(ours(&host).starts_with(&prefix), "clients go on while the server restarts");
    host.ip(&format!("-6 route del {prefix} proto 196"));
    host.ip(&format!("-6 route add {STALE}"));
    host.ip(&format!("-6 route add {FOREIGN}"));
    server.start_again();
    wait_until("the stale route goes and the missing one comes", PATIENCE, || {
        let shown = ours(&host);
        shown.starts_with(&format!("{prefix} via {via}")) && shown.lines().count() == 1
    });

    router.release();
    wait_routes("no route to a prefix that was given back", &host, false);
    let foreign = host.ip("-6 route show proto static");
    assert!(foreign.starts_with("2001:db8:8000:fe00::/56"), "{foreign}");
}

/// The policy turns routes off and on, the interface takes them along when it goes down, and an
/// operator ends the lease.
#[test]
fn routes_follow_the_policy_the_interface_and_the_operator() {
    let (world, host) = world("follow");
    let server = Server::start(&world, &host, &not_routed());
    let _router = Router::start(&world, &host);
    wait_until("a delegated prefix", PATIENCE, || !server.leases().is_empty());
    assert_eq!(ours(&host), "");
    let (prefix, _) = delegated(&server);
    for (body, wanted) in [(ROUTED, true), (&*not_routed(), false), (ROUTED, true)] {
        server.write_config(body);
        server.ask(&["reload"]);
        wait_routes("the routes of the policy", &host, wanted);
    }
    host.ip("link set br0 down");
    assert_eq!(ours(&host), "");
    host.ip("link set br0 up");
    wait_routes("the route is back with its interface", &host, true);
    server.ask(&["leases", "release", &prefix]);
    wait_routes("no route to a prefix that was released", &host, false);
}

/// The server without the right to change routes: `serve` and `reload` say who wants it, where,
/// and what to do; an observer needs no right, and changes nothing.
#[test]
fn without_the_capability_nothing_is_promised() {
    require("setpriv", "util-linux");
    let (world, host) = world("denied");
    host.ip(&format!("-6 route add {STALE}"));
    let mut server = Server::start_with(
        &world,
        &host,
        ROUTED,
        Setup { flags: &["--observe"], ..Setup::default() },
    );
    server.stop();
    assert!(ours(&host).starts_with("2001:db8:8000:ff00::/56"), "an observer touched a route");

    let config = server.config();
    let serve = [
        "setpriv",
        "--bounding-set=-net_admin",
        BINARY,
        "serve",
        "--config",
        config.to_str().unwrap(),
    ];
    let mut denied = world.spawn(&host, "denied", &serve);
    let status = denied.wait_end();
    let said = denied.output();
    assert!(!status.success(), "{said}");
    let says = |text: &str| {
        for word in ["delegation 2001:db8:8000::/40", "`install_route` needs CAP_NET_ADMIN"] {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert!(text.contains("`AmbientCapabilities=CAP_NET_ADMIN`"), "{text}");
    };
    says(&said);
    assert!(said.contains(config.to_str().unwrap()), "{said}");

    server.write_config(&not_routed());
    let mut running = world.spawn(&host, "unrouted", &serve);
    running.wait_line("ready");
    server.write_config(ROUTED);
    let reload = Command::new(BINARY).arg("reload").arg("--config").arg(&config).output().unwrap();
    assert!(!reload.status.success(), "{reload:?}");
    says(&String::from_utf8_lossy(&reload.stderr));
    running.wait_line("the policy in force stays");
}
