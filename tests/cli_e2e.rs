//! The program as an operator meets it: its commands against a running server, against the store
//! of a stopped one, and against what can go wrong with either.

// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

// The tests of real components use the rest of it.
#[allow(dead_code)]
mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::link::{Raw, mac};
use common::process::Proc;
use common::server::{BINARY, LAN6, Server, Setup, calm_lan};
use common::world::{Host, World};
use common::{PATIENCE, require, wait_until};
use foreshadow::base::Resource;
use serde_json::Value;

/// The user and group `nobody`, which own nothing.
const STRANGER: u32 = 65534;

/// Nothing is written behind the journal while a test runs.
const LAZY: &str = "[store]\njournal = \"1MiB\"\ncheckpoint = \"1h\"\n";

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command that must end with `code` said to standard error.
#[track_caller]
fn fails(done: &Output, code: i32) -> String {
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(code), "{said}");
    said
}

/// Runs a command with the configuration at `config`.
fn run(words: &[&str], config: &Path) -> Output {
    Command::new(BINARY).args(words).arg("--config").arg(config).output().unwrap()
}

/// What a command that must succeed wrote.
#[track_caller]
fn ask(words: &[&str], config: &Path) -> String {
    let done = run(words, config);
    assert!(done.status.success(), "{words:?}: {}", text(&done.stderr));
    text(&done.stdout)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// All leases that the server of `config` knows, by address.
#[track_caller]
fn leases(config: &Path) -> Vec<Value> {
    let Value::Array(mut found) = json(&ask(&["leases", "list", "--json"], config)) else {
        panic!("no list")
    };
    found.sort_by_key(|lease| lease["address"].as_str().unwrap().parse::<Resource>().unwrap());
    found
}

fn states(leases: &[Value]) -> Vec<&str> {
    leases.iter().map(|lease| lease["state"].as_str().unwrap()).collect()
}

/// Three leases with host names; their addresses in ascending order.
fn three_leases(world: &World, server_host: &Host) -> [String; 3] {
    let host = world.client("clients", server_host, "br0");
    let mut raw = Raw::on(&host);
    let mut got = [1, 2, 3].map(|n| {
        let name = format!("vm,{n}\"");
        raw.lease_with(mac(n), &[(12, name.into_bytes())]).addr
    });
    got.sort();
    got.map(|addr| addr.to_string())
}

/// Another configuration beside the server's: `change`d, in the file `name`.
fn other_config(server: &Server, name: &str, change: impl Fn(String) -> String) -> PathBuf {
    let path = server.config().with_file_name(name);
    fs::write(&path, change(fs::read_to_string(server.config()).unwrap())).unwrap();
    path
}

/// A configuration with a state directory and a socket of its own.
fn elsewhere(server: &Server, name: &str) -> PathBuf {
    other_config(server, &format!("{name}.toml"), |config| {
        config
            .replace("/state\"", &format!("/{name}\""))
            .replace("control.sock", &format!("{name}.sock"))
    })
}

/// Runs `serve` with this configuration until it ends by itself.
#[track_caller]
fn serve_ends(world: &World, host: &Host, config: &Path, code: i32) -> String {
    let argv = [BINARY, "serve", "--config", config.to_str().unwrap()];
    let mut proc = world.spawn(host, "refused", &argv);
    let status = proc.wait_end();
    assert_eq!(status.code(), Some(code), "{}", proc.output());
    proc.output()
}

#[test]
fn a_running_server_answers_and_a_stopped_one_is_read_and_changed() {
    let (world, server_host) = World::with_bridge("commands");
    let mut server = Server::start(&world, &server_host, &calm_lan());
    let [first, second, third] = three_leases(&world, &server_host);
    let config = server.config();

    let status = json(&ask(&["status", "--json"], &config));
    assert_eq!(status["networks"][0]["leased"], 3);
    assert_eq!(status["mode"], "serving");
    assert!(ask(&["status"], &config).contains("\nlan      br0         100        3 "));
    let table = ask(&["leases", "list", "--state", "leased"], &config);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(ask(&["leases", "show", &first], &config).contains("vm-1") || first > second);
    assert_eq!(ask(&["leases", "list", "--state", "expired"], &config).lines().count(), 1);
    fails(&server.run(&["leases", "list", "--network", "wan"]), 6);
    let said = fails(&server.run(&["leases", "show", "10.77.1.7"]), 6);
    assert_eq!(said, "error: no binding of 10.77.1.7\n");

    let said = ask(&["leases", "quarantine", "10.77.1.7", "--seconds", "90"], &config);
    assert!(said.starts_with("10.77.1.7 is in quarantine until 20"), "{said}");
    assert_eq!(ask(&["leases", "list", "--state", "quarantined"], &config).lines().count(), 2);
    let said = ask(&["leases", "lift", "10.77.1.7"], &config);
    assert_eq!(said, "10.77.1.7 is free; it was quarantined\n");
    let said = fails(&server.run(&["leases", "lift", "10.77.1.7"]), 1);
    assert_eq!(said, "error: 10.77.1.7 is not in quarantine\n");

    let said = ask(&["leases", "release", &second], &config);
    assert!(said.starts_with(&format!("{second} is free; it was leased by 02:aa:")), "{said}");
    let before = leases(&config);
    assert_eq!(states(&before), ["leased", "released", "leased"]);
    let saved = world.dir().join("saved.json");
    ask(&["leases", "export", "--output", saved.to_str().unwrap()], &config);

    server.stop();
    assert_eq!(leases(&config), before);
    let done = server.run(&["leases", "show", &third]);
    let note = format!("reading a copy of {}\n", world.dir().join("state").display());
    assert!(text(&done.stderr).ends_with(&note), "{}", text(&done.stderr));
    fails(&server.run(&["status"]), 4);
    fails(&server.run(&["reload"]), 4);

    let store = world.dir().join("state");
    chown(&store, Some(STRANGER), Some(STRANGER)).unwrap();
    ask(&["leases", "release", &first], &config);
    let again = ask(&["leases", "import", saved.to_str().unwrap()], &config);
    assert_eq!(again, "2 imported, 1 not\n");
    let owner = |path: &Path| fs::metadata(path).unwrap().uid();
    let left = walk(&store).into_iter().find(|path| owner(path) != STRANGER);
    assert_eq!(left, None, "files go to the owner of the directory");
    chown_all(&store, 0);
    server.start_again();
    assert_eq!(states(&leases(&config)), ["leased", "released", "leased"]);
}

/// Everything below `dir`.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut pending) = (vec![], vec![dir.to_owned()]);
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

fn chown_all(dir: &Path, user: u32) {
    for path in walk(dir).iter().chain([&dir.to_owned()]) {
        chown(path, Some(user), Some(user)).unwrap();
    }
}

#[test]
fn what_is_exported_or_backed_up_comes_back_whole() {
    let (world, server_host) = World::with_bridge("export");
    let server = Server::start(&world, &server_host, &calm_lan());
    let addresses = three_leases(&world, &server_host);
    let config = server.config();
    ask(&["leases", "release", &addresses[1]], &config);
    let all = leases(&config);
    let file = |name: &str| world.dir().join(name).to_str().unwrap().to_owned();

    // To the store of a server that never ran.
    for format in ["json", "csv"] {
        let (export, fresh) = (file(&format!("export.{format}")), elsewhere(&server, format));
        ask(&["leases", "export", "--output", &export], &config);
        let dry = ask(&["leases", "import", &export, "--dry-run"], &fresh);
        assert_eq!(dry, "3 could be imported, 0 not\n");
        assert_eq!(leases(&fresh), [Value::Null; 0], "a dry run changes nothing");
        assert_eq!(ask(&["leases", "import", &export], &fresh), "3 imported, 0 not\n");
        assert_eq!(leases(&fresh), all, "{format}");
    }

    // To a running server, which writes its hosts file by it.
    let hosts = file("hosts");
    let running = other_config(&server, "running.toml", |config| {
        let keys = format!("hosts_file = \"{hosts}\"\nstate_dir");
        config.replace("/state\"", "/running\"").replace("control.sock", "running.sock").replacen(
            "state_dir",
            &keys,
            1,
        )
    });
    let apart = world.host("apart");
    apart.bridge("br0", Some("10.77.1.1/24"));
    let argv = [BINARY, "serve", "--config", running.to_str().unwrap()];
    let mut second: Proc = world.spawn(&apart, "second", &argv);
    second.wait_line("ready");
    assert_eq!(ask(&["leases", "import", &file("export.csv")], &running), "3 imported, 0 not\n");
    assert_eq!(leases(&running), all);
    let named = || fs::read_to_string(&hosts).unwrap().lines().count() == 3;
    wait_until("two names below the title", PATIENCE, named);

    // A backup is a store.
    fs::create_dir(file("copy")).unwrap();
    ask(&["backup", &file("copy/store")], &config);
    assert_eq!(leases(&elsewhere(&server, "copy")), all);
    let said = fails(&server.run(&["backup", &file("copy/store")]), 1);
    assert!(said.contains("/copy/store: directory not empty"), "{said}");
}

/// Turns over the bits of `count` bytes of a file, from behind the middle of those that are not
/// zero.
fn damage(path: &Path, count: usize) {
    let mut bytes = fs::read(path).unwrap();
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    used[used.len() * 5 / 8..].iter().take(count).for_each(|at| bytes[*at] ^= 0xff);
    fs::write(path, bytes).unwrap();
}

/// Flips bits of what a journal says of an address first.
fn damage_lease(path: &Path, address: &str) {
    let mut bytes = fs::read(path).unwrap();
    let octets = address.parse::<std::net::Ipv4Addr>().unwrap().octets();
    let at = bytes.windows(4).position(|window| window == octets).unwrap();
    bytes[at..at + 4].iter_mut().for_each(|byte| *byte ^= 0xff);
    fs::write(path, bytes).unwrap();
}

/// Starts with `--recover`, and returns how many leases there are.
#[track_caller]
fn recovered(world: &World, host: &Host, server: &Server) -> usize {
    let config = server.config();
    let argv = [BINARY, "serve", "--recover", "--config", config.to_str().unwrap()];
    let mut proc = world.spawn(host, "recover", &argv);
    proc.wait_line("could not be read");
    let line = proc.wait_line("the damaged files are kept");
    let kept = line.split("path=").nth(1).unwrap();
    assert!(Path::new(kept).join("CURRENT").exists(), "{line}");
    proc.wait_line("ready");
    let found = leases(&config).len();
    proc.stop();
    found
}

/// Damage gives exit code 5 and is named, to every command and at start; the files stay as they
/// are until `--recover`.
#[test]
fn a_damaged_store_is_named_and_opened_only_when_told() {
    let (world, server_host) = World::with_bridge("damage");
    let mut server = Server::start(&world, &server_host, &(LAZY.to_owned() + &calm_lan()));
    let addresses = three_leases(&world, &server_host);
    server.kill9();
    let (config, store) = (server.config(), world.dir().join("state/store"));
    let way_out = "; `foreshadow serve --recover` starts without what cannot be read\n";

    let journal = store.join("journal-1.a");
    damage_lease(&journal, &addresses[1]);
    for said in [
        fails(&server.run(&["leases", "list"]), 5),
        fails(&server.run(&["leases", "release", &addresses[0]]), 5),
        serve_ends(&world, &server_host, &config, 5),
    ] {
        assert!(said.contains(&format!("{}: record at byte ", journal.display())), "{said}");
        assert!(said.contains("the last good batch is ") && said.ends_with(way_out), "{said}");
    }
    let left = recovered(&world, &server_host, &server);
    assert!((1..3).contains(&left), "{left} of 3 leases can be read");

    // What --recover wrote is in a new checkpoint.
    let is_checkpoint = |path: &PathBuf| {
        path.ends_with("db") && !path.components().any(|c| c.as_os_str() == "damaged-2")
    };
    let checkpoint = walk(&store).into_iter().find(is_checkpoint).unwrap();
    let size = fs::metadata(&checkpoint).unwrap().len() as usize;
    damage(&checkpoint, size);
    for said in
        [fails(&server.run(&["leases", "list"]), 5), serve_ends(&world, &server_host, &config, 5)]
    {
        let directory = checkpoint.parent().unwrap().display().to_string();
        assert!(said.contains(&directory) && said.ends_with(way_out), "{said}");
    }
    recovered(&world, &server_host, &server);
    server.start_again();
}

#[test]
fn status_knows_ipv6_and_the_duid() {
    let (world, server_host) = World::with_bridge("status6");
    let server = Server::start(&world, &server_host, &(calm_lan() + LAN6));
    let config = server.config();
    let file = world.dir().join("some.csv");
    let until = "ia:00:00:00:01:00:03:00:01:52:54:00:12:34:56,2099-01-01T00:00:00Z";
    let lines = format!(
        "address,client,until\n2001:db8:77:1::1005,{until}\n2001:db8:8000:100::/56,{}\n",
        until.replace("ia:", "ia-pd:")
    );
    fs::write(&file, lines).unwrap();
    assert_eq!(ask(&["leases", "import", file.to_str().unwrap()], &config), "2 imported, 0 not\n");

    let status = json(&ask(&["status", "--json"], &config));
    let network = &status["networks"][0];
    assert_eq!((&network["leased"], &network["addresses"]), (&0.into(), &100.into()));
    let want = r#"{"addresses":"4096","leased":1,"quarantined":0,"in_use":0,"free":"4095",
        "proven":0,"prefixes_leased":1,"prefixes_free":"1048575"}"#;
    assert_eq!(network["ipv6"], json(want));
    let shown = ask(&["status"], &config);
    let duid = status["duid"].as_str().unwrap();
    assert_eq!((duid.len(), &duid[..6]), (18 * 3 - 1, "00:04:"));
    assert!(shown.contains(&format!("\nDUID {duid}\n")), "{shown}");
    let log = server.proc.output();
    assert!(log.contains(&format!("known to DHCPv6 clients as duid={duid}\n")), "{log}");
    let row = shown.lines().skip_while(|line| !line.contains("IPV6 ADDRESSES")).nth(1).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells, ["lan", "br0", "4096", "1", "4095", "0", "0", "0", "1", "1048575"]);
}

/// What real servers wrote of DHCPv6 goes into a store, and as an export into another; the DUID
/// that their clients renew with is told.
#[test]
fn leases_of_dhcpv6_come_from_other_servers() {
    let (world, server_host) = World::with_bridge("import6");
    let mut server = Server::start(&world, &server_host, &(calm_lan() + LAN6));
    server.stop();
    let file = |name: &str| world.dir().join(name).to_str().unwrap().to_owned();
    fs::write(file("kea-dhcp6-serverid"), "00:01:00:01:32:95:fa:e1:26:81:b8:30:d4:77").unwrap();
    for (from, name, done, duid) in [
        ("dnsmasq", "dnsmasq6.leases", "4 imported, 1 not\n", "00:01:00:01:32:95:fa:0e:aa:"),
        ("isc", "dhcpd6.leases", "8 imported, 4 not\n", "00:01:00:01:32:95:fa:28:1a:"),
        ("kea", "kea-leases6.csv", "7 imported, 3 not\n", "00:01:00:01:32:95:fa:e1:26:"),
        ("dnsmasq", "dnsmasq.leases", "0 imported, 6 not\n", "00:01:00:01:32:95:cd:1e:1e:"),
    ] {
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(name);
        fs::copy(real, file(name)).unwrap();
        let config = elsewhere(&server, &format!("{name}-store"));
        let said = run(&["import", "--from", from, &file(name)], &config);
        assert_eq!(text(&said.stdout), done, "{}", text(&said.stderr));
        let key = format!("duid = \"{duid}");
        assert!(text(&said.stderr).contains(&key), "{}", text(&said.stderr));
        let all = leases(&config);
        for format in ["json", "csv"] {
            let (export, again) = (file(&format!("{name}.{format}")), format!("{name}-{format}"));
            let again = elsewhere(&server, &again);
            ask(&["leases", "export", "--output", &export], &config);
            ask(&["leases", "import", &export], &again);
            assert_eq!(leases(&again), all, "{format}");
        }
    }
    // What is not known is said too.
    fs::remove_file(file("kea-dhcp6-serverid")).unwrap();
    let words = ["import", "--dry-run", "--from", "kea", &file("kea-leases6.csv")];
    let said = run(&words, &elsewhere(&server, "unknown"));
    assert!(text(&said.stderr).contains("was not found"), "{}", text(&said.stderr));
}

#[test]
fn a_second_server_is_refused_and_disturbs_nothing() {
    let (world, server_host) = World::with_bridge("second");
    let server = Server::start(&world, &server_host, &calm_lan());
    let [address, ..] = three_leases(&world, &server_host);
    let config = server.config();
    let answers = "control.sock: another server answers on this socket\n";

    let said = serve_ends(&world, &server_host, &config, 1);
    assert!(said.ends_with(answers), "{said}");
    let same_socket = other_config(&server, "same-socket.toml", |config| {
        config.replace("/state\"", "/other-state\"")
    });
    let said = serve_ends(&world, &server_host, &same_socket, 1);
    assert!(said.ends_with(answers), "{said}");

    let same_store = other_config(&server, "same-store.toml", |config| {
        config.replace("control.sock", "other.sock")
    });
    let said = serve_ends(&world, &server_host, &same_store, 1);
    assert!(
        said.ends_with("/store: another server, or a command, has this store open\n"),
        "{said}"
    );
    for words in [&["leases", "list"][..], &["leases", "release", &address]] {
        let said = fails(&run(words, &same_store), 1);
        assert!(
            said.contains("/store: in use by another process; its server has another"),
            "{said}"
        );
    }
    let dnsmasq = world.dir().join("dnsmasq.leases");
    fs::write(&dnsmasq, "2000000000 52:54:00:00:00:01 10.77.1.9 * *\n").unwrap();
    let import = ["import", "--from", "dnsmasq", dnsmasq.to_str().unwrap()];
    let said = fails(&run(&import, &same_store), 1);
    assert!(said.contains("in use by another process"), "{said}");
    assert_eq!(states(&leases(&config)), ["leased"; 3]);
    assert!(!world.dir().join("other.sock").exists());
}

#[test]
fn strangers_may_read_what_the_socket_lets_them_and_change_nothing() {
    require("setpriv", "util-linux");
    let (world, server_host) = World::with_bridge("strangers");
    let server = Server::start(&world, &server_host, &calm_lan());
    let [address, ..] = three_leases(&world, &server_host);
    // Where anybody may come.
    fs::set_permissions(world.dir(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = world.dir().join("foreshadow");
    fs::copy(BINARY, &program).unwrap();
    let stranger = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        let user = format!("--reuid={STRANGER}");
        let group = format!("--regid={STRANGER}");
        command.args([&user, &group, "--clear-groups"]).arg(&program).args(words);
        command.arg("--config").arg(server.config()).output().unwrap()
    };
    let socket = world.dir().join("control.sock");
    for words in [&["status"][..], &["leases", "list"], &["reload"]] {
        let said = fails(&stranger(words), 4);
        let why = "permission denied: it is for root, the server's user and its group";
        assert_eq!(said, format!("error: control socket {}: {why}\n", socket.display()));
    }

    fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    let done = stranger(&["leases", "list"]);
    assert!(done.status.success() && text(&done.stdout).contains(&address));
    let export = world.dir().join("export.csv");
    ask(&["leases", "export", "--output", export.to_str().unwrap()], &server.config());
    let export = export.to_str().unwrap();
    for words in [
        &["leases", "release", &address][..],
        &["leases", "import", export],
        &["reload"],
        &["backup", "/nonexistent/copy"],
    ] {
        let said = fails(&stranger(words), 1);
        let why = "which root and the server's group have\n";
        assert!(said.starts_with("error: user nobody may read; this needs the role "), "{said}");
        assert!(said.ends_with(why), "{said}");
    }
    assert_eq!(states(&leases(&server.config())), ["leased"; 3]);
}

#[test]
fn a_bad_file_leaves_the_policy_and_says_why() {
    let (world, server_host) = World::with_bridge("reloads");
    let mut server = Server::start(&world, &server_host, &calm_lan());
    let two = format!("{}{}", calm_lan(), calm_lan().replace("lan", "wan").replace(".1.", ".2."));
    let two = two.replacen("interfaces = [\"br0\"]", "interfaces = [\"br1\"]", 1);
    let networks = |server: &Server| {
        let status = json(&server.ask(&["status", "--json"]));
        status["networks"].as_array().unwrap().len()
    };
    server.write_config(&two);
    assert_eq!(server.ask(&["reload"]), "reloaded: 2 networks\n");
    assert_eq!(networks(&server), 2);

    server.write_config(&two.replacen("authoritative", "authoritativ", 1));
    let fault = "error[unknown-key]: unknown key `authoritativ`";
    let said = fails(&server.run(&["reload"]), 3);
    assert!(said.contains(fault) && said.contains("^^^^"), "{said}");
    server.hang_up();
    let log = |server: &Server| server.proc.output().matches(fault).count();
    wait_until("the faults of both reloads in the log", PATIENCE, || log(&server) == 2);
    assert!(server.proc.output().contains("the policy in force stays"));
    assert_eq!(networks(&server), 2);
    let said = fails(&Command::new(BINARY).arg("check").arg(server.config()).output().unwrap(), 3);
    assert!(said.contains(fault), "{said}");

    server.write_config(&calm_lan());
    server.hang_up();
    server.proc.wait_line("configuration reloaded networks=1");
    assert_eq!(networks(&server), 1);
}

/// Started as root, the server keeps no right to write what belongs to others.
#[test]
fn a_state_directory_of_another_user_is_explained() {
    let (world, server_host) = World::with_bridge("owner");
    let mut server = Server::start_with(&world, &server_host, &calm_lan(), Setup::default());
    server.stop();
    let state = world.dir().join("state");
    chown_all(&state, STRANGER);
    fs::set_permissions(&state, PermissionsExt::from_mode(0o750)).unwrap();
    let said = serve_ends(&world, &server_host, &server.config(), 1);
    let what = format!("state_dir {0}: Permission denied (os error 13): {0}", state.display());
    assert!(said.contains(&what), "{said}");
    assert!(said.contains("belongs to user nobody, and the server runs as user root"), "{said}");
}
