//! Standbys, over HTTP and on the command line, of a real server.

use foreshadow::base::Mac;
use serde_json::{Value, json};

use crate::common::link::{Raw, mac};
use crate::common::server::{LAN, Server};
use crate::common::world::World;
use crate::served::{ADMIN, Answer, OPERATOR, READER, Served};

fn post(served: &Served, path: &str, body: &Value) -> Answer {
    served.ask(OPERATOR, "POST", path, &body.to_string())
}

fn mac_text(number: u32) -> String {
    Mac(mac(number)).to_string()
}

#[track_caller]
fn refused(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(words), "{detail}, want {words}");
}

#[test]
fn a_standby_is_named_once_and_survives_a_kill() {
    let agents = "[agents]\nca = \"/nowhere\"\ncertificate = \"/nowhere\"\nkey = \"/nowhere\"\n\
        [[agents.host]]\nname = \"hv2\"\naddress = \"127.0.0.1:1\"\n";
    let mut served = Served::start_beside("standbys", "rate = 0", agents);
    let guest = served.world.client("guest", &served.host, "br0");
    let leased = Raw::on(&guest).lease(mac(7)).addr.to_string();
    let path = "/v1/standbys";
    let standby = json!({ "mac": mac_text(8), "port": "tap8", "host": "hv2" });
    let body = json!({ "id": "db", "network": "lan", "addresses": [leased], "standby": standby,
        "hostname": "DB-b", "on_failure": "switch", "timeout_s": 3600 });
    let elsewhere = |standby: Value| {
        let mut body = body.clone();
        body["standby"] = standby;
        post(&served, path, &body)
    };
    let unknown = json!({ "mac": mac_text(8), "port": "tap8", "host": "hv3" });
    refused(&elsewhere(unknown), 422, "no agent of host \"hv3\" is configured, want one of: hv2");
    let somewhere = json!({ "mac": mac_text(8), "host": "hv2" });
    refused(&elsewhere(somewhere), 422, "which port of hv2 is not said");
    let made = post(&served, path, &body);
    assert_eq!((made.status, made.header("location")), (201, Some("/v1/standbys/db")), "{made:?}");
    let view = made.json();
    assert_eq!(view["active"]["mac"], mac_text(7), "it follows from the lease");
    assert_eq!((&view["state"], &view["hostname"]), (&json!("preparing"), &json!("db-b")));
    let missing = ["its gate is not confirmed".into(), format!("it has not got {leased} yet")];
    assert_eq!(view["missing"], json!(missing));
    assert_eq!(post(&served, path, &body).status, 200, "the same again");

    for (changed, status, words) in [
        (json!({ "network": "wan" }), 404, "no network `wan`"),
        (json!({ "standby": {} }), 422, "standby.mac: no MAC"),
        (json!({ "standby": { "mac": "x" } }), 422, "standby.mac: found \"x\", want one as 52:54"),
        (json!({ "standby": { "mac": mac_text(7) } }), 422, "is the active's"),
        (json!({ "standby": { "mac": mac_text(8) } }), 409, "of the pair of standby \"db\""),
        (json!({ "addresses": ["10.77.1"] }), 422, "addresses[0]: found \"10.77.1\""),
        (
            json!({ "addresses": ["192.0.2.1"], "active": { "mac": mac_text(6) } }),
            422,
            "192.0.2.1 is leased to nobody",
        ),
        (json!({ "addresses": [leased] }), 409, "of the pair of standby \"db\""),
        (json!({ "timeout_s": 1 }), 400, "timeout_s"),
        (json!({ "on_failure": "panic" }), 400, "on_failure"),
    ] {
        let mut other = body.clone();
        let fields = other.as_object_mut().unwrap();
        fields.remove("id");
        fields.insert("addresses".into(), json!(["10.77.1.9"]));
        fields.insert("active".into(), json!({ "mac": mac_text(7) }));
        fields.insert("standby".into(), json!({ "mac": mac_text(9) }));
        fields.extend(changed.as_object().unwrap().clone());
        refused(&post(&served, path, &other), status, words);
    }
    let report = format!("{path}/db/report");
    refused(
        &post(&served, &report, &json!({ "state": "ready" })),
        409,
        "its gate is not confirmed",
    );
    assert_eq!(post(&served, &report, &json!({ "progress": 40 })).json()["progress"], 40);
    assert_eq!(post(&served, &report, &json!({ "progress": 101 })).status, 400);
    assert_eq!(served.ask(READER, "DELETE", "/v1/standbys/db", "").status, 403);

    served.server.kill9();
    served.server.start_again();
    let shown = served.ask(OPERATOR, "GET", "/v1/standbys/db", "");
    assert_eq!(shown.json()["progress"], 40, "{shown:?}");
    let old = shown.header("etag").unwrap().to_owned();
    assert_eq!(post(&served, &report, &json!({ "state": "synced" })).json()["state"], "synced");
    let stale = served.curl(
        "/v1/standbys/db",
        &[
            "-X",
            "DELETE",
            "-H",
            &format!("if-match: {old}"),
            "-H",
            &format!("authorization: Bearer {ADMIN}"),
        ],
    );
    assert_eq!(stale.status, 412, "{stale:?}");
    for n in 0..3 {
        let (active, standby) = (mac_text(20 + n), mac_text(30 + n));
        let body = json!({ "id": format!("s{n}"), "network": "lan", "standby": { "mac": standby },
            "active": { "mac": active }, "addresses": [format!("10.77.1.24{n}")] });
        assert_eq!(post(&served, path, &body).status, 201);
    }
    let first = served.ask(OPERATOR, "GET", "/v1/standbys?limit=3", "").json();
    assert_eq!((first["standbys"].as_array().unwrap().len(), &first["next"]), (3, &json!("s1")));
    let rest = served.ask(OPERATOR, "GET", "/v1/standbys?limit=3&cursor=s1", "").json();
    assert_eq!((&rest["standbys"][0]["id"], &rest["next"]), (&json!("s2"), &Value::Null));
    // A standby without a gate is not answered.
    assert_eq!(served.ask(OPERATOR, "DELETE", "/v1/standbys/db", "").status, 200);
    assert_eq!(served.ask(OPERATOR, "GET", "/v1/standbys/db", "").status, 404);
}

#[test]
fn a_standby_is_named_shown_and_dropped_by_commands() {
    let (world, host) = World::with_bridge("standby");
    let server = Server::start(&world, &host, LAN);
    let add = ["standby", "add", "--network", "lan", "--id", "db", "--address", "10.77.1.240"];
    let who = ["--active-mac", "02:00:00:00:00:01", "--standby-mac", "02:00:00:00:00:02"];
    let more = ["--standby-port", "tap2", "--unfenced", "allow", "--timeout", "600"];
    let made = server.ask(&[&add[..], &who, &more].concat());
    assert!(
        made.lines().any(|line| line.split_whitespace().eq(["standby.port", "tap2"])),
        "{made}"
    );
    assert!(made.lines().any(|line| line.split_whitespace().eq(["unfenced", "true"])), "{made}");
    let listed = server.ask(&["standby", "list"]);
    let line = listed.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let want = "db lan 10.77.1.240 02:00:00:00:00:01 02:00:00:00:00:02 preparing 0 % no -";
    assert_eq!(line, want);
    assert_eq!(server.ask(&["standby", "list", "--network", "none"]).lines().count(), 1);
    let done = server.run(&["standby", "report", "db", "ready"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(said, "error: standby \"db\" is not ready: its gate is not confirmed\n");
    let told = server.ask(&["standby", "report", "db", "--progress", "7", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["progress"], 7);
    assert!(server.ask(&["standby", "show", "db"]).contains("its gate is not confirmed"));
    assert_eq!(server.ask(&["standby", "drop", "db"]), "standby db is dropped\n");
    assert_eq!(server.run(&["standby", "drop", "db"]).status.code(), Some(6));
}
