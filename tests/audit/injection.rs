//! Names that would drive a terminal, begin a line of a log or end a string: nothing that is
//! written for people or programs lets them.

use std::fs;

use serde_json::{Value, json};

use crate::common::api::Api;
use crate::common::link::{Raw, mac};
use crate::common::server::{Server, calm_lan};
use crate::common::world::World;
use crate::common::{PATIENCE, wait_until};

/// A line that ends, another that begins, colours, and what a shell or JSON would heed.
const EVIL: &[u8] = b"a\r\nFORGED \x1b[31m\x1b]0;t\x07\x00\"'$(id)`id`;\\\xff\xe2\x80\xae";

/// Nothing but the line ends of whoever writes, and no line that somebody else began.
#[track_caller]
fn is_clean(what: &str, text: &[u8]) {
    let bad = |byte: &u8| byte.is_ascii_control() && *byte != b'\n' && *byte != b'\t';
    let text_of = || String::from_utf8_lossy(text).into_owned();
    assert!(!text.iter().any(bad), "{what}: {:?}", text_of());
    // What programs read may hold it, in tags and regions that somebody gave.
    let reorders = text_of().contains('\u{202e}') && !what.contains("--json");
    assert!(!reorders, "{what}: {:?}", text_of());
    let forged = text_of().lines().any(|line| line.trim_start().starts_with("FORGED"));
    assert!(!forged, "{what}: {}", text_of());
}

#[test]
fn names_from_the_wire_and_the_api_write_no_line_of_their_own() {
    let (world, host) = World::with_bridge("injection");
    let heard = world.dir().join("heard");
    let hook = format!(
        "[[hook]]\nname = \"tell\"\nevents = [\"granted\", \"released\", \"declined\"]\n\
         command = [\"/bin/sh\", \"-c\", \"cat >> {0}; echo >> {0}; env >> {0}.env\"]\n",
        heard.display()
    );
    let hosts = world.dir().join("hosts");
    let keys = format!("hosts_file = \"{}\"", hosts.display());
    let setup = crate::common::server::Setup { keys: &keys, ..Default::default() };
    let body = format!("[log]\nlevel = \"debug\"\n{}{hook}", calm_lan());
    let mut server = Server::start_with(&world, &host, &body, setup);
    let mut raw = Raw::on(&world.client("c1", &host, "br0"));
    let evil = EVIL.to_vec();
    let fqdn = [&[0, 0, 0][..], EVIL].concat();
    let port = [&[1, EVIL.len() as u8][..], EVIL, &[2, EVIL.len() as u8], EVIL].concat();
    let options = [(12, evil.clone()), (15, evil.clone()), (60, evil.clone()), (77, evil.clone())];
    let got = raw.lease_with(mac(1), &[&options[..], &[(61, evil.clone())]].concat());
    raw.lease_with(mac(2), &[(81, fqdn), (82, port)]);
    // Through the API: refused, or written so that it does no harm.
    let mut api = Api::at(&world.dir().join("control.sock"));
    let text = String::from_utf8_lossy(EVIL).replace('\0', "");
    for (n, (field, value)) in [
        ("hostname", json!(text)),
        ("region", json!(text)),
        ("port_id", json!(text)),
        ("account", json!(text)),
        ("tags", json!({ text.clone(): "x" })),
        ("tags", json!({ "x": text })),
    ]
    .into_iter()
    .enumerate()
    {
        let (status, said) =
            api.ask("POST", "/v1/instances", &json!({ "network": "lan", field: value }));
        assert!([201, 400, 404, 422].contains(&status), "{n} {field}: {said}");
    }
    let (status, said) = api.ask("GET", "/v1/leases?hostname=%0aFORGED%1b%5b31m", &Value::Null);
    assert!([200, 400].contains(&status), "{said}");
    let (status, _) =
        api.ask("POST", "/v1/known-events", &json!({ "kind": "campaign", "name": text }));
    assert!(status < 500);
    server.ask(&["leases", "release", &got.addr.to_string()]);
    let told = || fs::read_to_string(&heard).unwrap_or_default().lines().count();
    wait_until("events", PATIENCE, || told() >= 3);
    for words in [
        &["leases", "list"][..],
        &["instances", "list"],
        &["audit"],
        &["status"],
        &["accounts", "list"],
        &["who", &got.addr.to_string()],
        &["leases", "list", "--json"],
        &["instances", "list", "--json"],
        &["audit", "--json"],
    ] {
        let done = server.run(words);
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        is_clean(&format!("{words:?}"), &[done.stdout, done.stderr].concat());
    }
    let refused = server.run(&["leases", "list", "--hostname", "x\nFORGED\x1b[31m"]);
    is_clean("an argument", &[refused.stdout, refused.stderr].concat());
    server.stop();
    is_clean("the log", &fs::read(world.dir().join("server.log")).unwrap());
    is_clean("the hosts file", &fs::read(&hosts).unwrap());
    let environment = world.dir().join("heard.env");
    is_clean("the environment", &fs::read(environment).unwrap());
    for line in fs::read_to_string(&heard).unwrap().lines() {
        is_clean("a hook", line.as_bytes());
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}
