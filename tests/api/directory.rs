//! Accounts, applications, reservations and instances, as an orchestrator makes and ends them.

use foreshadow::lease::Change;
use foreshadow::store::archive::Forward;
use serde_json::{Value, json};

use crate::served::{ADMIN, Answer, OPERATOR, SCOPED, Served};

/// What the configuration declares beside the network `lan`.
const DECLARED: &str = "rate = 0\n[[account]]\nname = \"base\"\nmax_addresses = 3\n\
    [[account.application]]\nname = \"web\"\nmax_addresses = 1\n\
    [[account]]\nname = \"elsewhere\"\n";

fn put(served: &Served, path: &str, body: &Value) -> Answer {
    served.ask(OPERATOR, "PUT", path, &body.to_string())
}

fn post(served: &Served, path: &str, body: &Value) -> Answer {
    served.ask(OPERATOR, "POST", path, &body.to_string())
}

fn get(served: &Served, path: &str) -> Answer {
    served.ask(OPERATOR, "GET", path, "")
}

fn delete(served: &Served, path: &str) -> Answer {
    served.ask(OPERATOR, "DELETE", path, "")
}

/// A refusal with this status, whose detail has these words.
#[track_caller]
fn refused(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(words), "{detail}, want {words}");
}

/// The field that a refusal names.
#[track_caller]
fn field(answer: &Answer) -> String {
    answer.json()["errors"][0]["field"].as_str().unwrap().to_owned()
}

/// One value of every entry of a list, over all of its pages of two.
fn pages(served: &Served, path: &str, list: &str, key: &str) -> Vec<String> {
    let (mut found, mut next) = (Vec::new(), String::new());
    loop {
        let page = get(served, &format!("{path}?limit=2{next}")).json();
        let entries = page[list].as_array().unwrap();
        assert!(entries.len() <= 2, "{page}");
        found.extend(entries.iter().map(|entry| entry[key].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next"].as_str() else { return found };
        next = format!("&cursor={}", cursor.replace('@', "%40"));
    }
}

#[test]
fn accounts_live_beside_those_of_the_file() {
    let mut served = Served::start("accounts", DECLARED);
    let path = "/v1/accounts/shop";
    let terms = json!({ "level": "premium", "max_addresses": 2, "hold_max_s": 60 });
    let body = json!({ "terms": terms, "networks": ["lan"], "pools": ["10.77.1.0/24"] });
    let made = put(&served, path, &body);
    assert_eq!((made.status, made.header("location")), (201, Some(path)), "{made:?}");
    assert_eq!(made.json()["terms"], terms);
    assert_eq!(made.json()["configured"], false);
    // What is there is not made again where that is not wanted, nor changed by who knows another.
    let with = |header: &str| {
        let bearer = format!("authorization: Bearer {OPERATOR}");
        let json = "content-type: application/json";
        served.curl(path, &["-X", "PUT", "-H", &bearer, "-H", json, "-H", header, "-d", "{}"])
    };
    assert_eq!(with("if-none-match: *").status, 412);
    assert_eq!(with("if-match: \"0\"").status, 412);
    let tag = get(&served, path).header("etag").unwrap().to_owned();
    let changed = with(&format!("if-match: {tag}"));
    assert_eq!((changed.status, &changed.json()["terms"]), (200, &json!({})), "{changed:?}");
    put(&served, path, &body);

    for (body, name) in [
        (json!({ "terms": { "requests_burst": 4 } }), "terms.requests_burst"),
        (json!({ "terms": { "hold_min_s": 9, "hold_max_s": 8 } }), "terms.hold_min_s"),
        (json!({ "terms": { "priority": 10 } }), "terms.priority"),
        (json!({ "networks": ["lan", "wan"] }), "networks[1]"),
        (json!({ "pools": ["10.0.0.9-10.0.0.1"] }), "pools[0]"),
        (json!({ "limits": {} }), "limits"),
    ] {
        let answer = put(&served, path, &body);
        assert!([400, 422].contains(&answer.status), "{answer:?}");
        assert_eq!(field(&answer), name, "{answer:?}");
    }
    let file = served.server.config().display().to_string();
    let kept = put(&served, "/v1/accounts/base", &json!({}));
    refused(&kept, 409, &format!("account \"base\" stands in {file}, and is changed there"));
    refused(&delete(&served, "/v1/accounts/base"), 409, &file);
    refused(&put(&served, "/v1/accounts/base/applications/web", &json!({})), 409, &file);

    // An application of the file's account, and one of an account that is not there.
    let of_base = "/v1/accounts/base/applications/db";
    assert_eq!(put(&served, of_base, &json!({ "terms": { "max_addresses": 1 } })).status, 201);
    assert_eq!(put(&served, "/v1/accounts/none/applications/db", &json!({})).status, 404);
    let names = |path: &str, list: &str| pages(&served, path, list, "name");
    assert_eq!(names("/v1/accounts", "accounts"), ["base", "elsewhere", "shop"]);
    assert_eq!(names("/v1/accounts/base/applications", "applications"), ["db", "web"]);
    let seen = served.ask(SCOPED, "GET", "/v1/accounts", "").json();
    assert_eq!(seen["accounts"].as_array().unwrap().len(), 1, "{seen}");
    assert_eq!(served.ask(SCOPED, "GET", path, "").status, 404);

    // Its limit, and who is still there when it is to be removed.
    let of_shop = json!({ "network": "lan", "account": "shop" });
    for _ in 0..2 {
        assert_eq!(post(&served, "/v1/instances", &of_shop).status, 201);
    }
    let third = post(&served, "/v1/instances", &of_shop);
    refused(&third, 409, "account shop has its max_addresses = 2");
    refused(&delete(&served, path), 409, "it has 2 instances and reservations");
    let usage = get(&served, &format!("{path}/usage")).json();
    assert_eq!(usage, json!({ "addresses": 2, "prefixes": 0, "entries": 2 }));

    served.server.kill9();
    served.server.start_again();
    assert_eq!(get(&served, path).json()["terms"], terms);
    assert_eq!(get(&served, of_base).status, 200);
    for instance in get(&served, "/v1/instances").json()["instances"].as_array().unwrap() {
        let path = format!("/v1/instances/{}", instance["id"].as_str().unwrap());
        assert_eq!(delete(&served, &path).status, 200);
    }
    assert_eq!(put(&served, &format!("{path}/applications/web"), &json!({})).status, 201);
    assert_eq!(delete(&served, path).status, 200);
    assert_eq!(get(&served, path).status, 404);
    assert_eq!(get(&served, &format!("{path}/applications/web")).status, 404);
    assert_eq!(
        audited(&mut served, "accounts/"),
        [
            "create accounts/shop",
            "change accounts/shop",
            "change accounts/shop",
            "create accounts/base/applications/db",
            "create accounts/shop/applications/web",
            "delete accounts/shop/applications/web",
            "delete accounts/shop",
        ]
    );
}

#[test]
fn reservations_live_beside_those_of_the_file() {
    let reserved = "[[network.reservation]]\nmac = \"02:00:00:00:00:99\"\naddress = \"10.77.1.99\"";
    let mut served = Served::start_beside("reserved", DECLARED, reserved);
    let path = "/v1/reservations";
    let body = json!({ "id": "printer", "network": "lan", "mac": "02:00:00:00:00:01",
        "address": "10.77.1.9", "hostname": "Printer", "account": "base" });
    let made = post(&served, path, &body);
    assert_eq!((made.status, made.header("location")), (201, Some("/v1/reservations/printer")));
    assert_eq!(made.json()["hostname"], "printer", "{made:?}");
    assert_eq!(post(&served, path, &body).status, 200, "the same again");
    for (changed, status, words) in [
        (json!({ "address": "10.77.1.99" }), 409, "10.77.1.99 is reserved in the configuration"),
        (json!({ "address": "10.77.1.9" }), 409, "10.77.1.9 is reserved at run time"),
        (json!({ "mac": "02:00:00:00:00:01" }), 409, "MAC 02:00:00:00:00:01 is reserved at run"),
        (json!({ "address": "10.9.9.9" }), 422, "address: 10.9.9.9 is of no subnet"),
        (json!({ "address": "10.77.1" }), 422, "address: found \"10.77.1\", want one as 10.0.0.7"),
        (json!({ "account": "none" }), 422, "account: no account is called \"none\""),
        (json!({ "network": "wan" }), 404, "no network `wan`"),
    ] {
        let mut body = json!({ "network": "lan", "mac": "02:00:00:00:00:02",
            "address": "10.77.1.8" });
        body.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        refused(&post(&served, path, &body), status, words);
    }
    let none = post(&served, path, &json!({ "network": "lan", "address": "10.77.1.8" }));
    assert_eq!((none.status, field(&none).as_str()), (422, "mac"), "{none:?}");
    let instance = json!({ "network": "lan", "address": "10.77.1.9" });
    refused(&post(&served, "/v1/instances", &instance), 409, "10.77.1.9 is reserved at run time");

    for n in 2..5 {
        let mac = format!("02:00:00:00:00:0{n}");
        let body = json!({ "id": format!("r{n}"), "network": "lan", "mac": mac,
            "address": format!("10.77.1.1{n}") });
        assert_eq!(post(&served, path, &body).status, 201);
    }
    let ids = ["printer", "r2", "r3", "r4", "lan@10.77.1.99"];
    assert_eq!(pages(&served, path, "reservations", "id"), ids);
    let of_file = get(&served, "/v1/reservations/lan%4010.77.1.99");
    assert_eq!(of_file.json()["configured"], true, "{of_file:?}");
    let file = served.server.config().display().to_string();
    refused(&delete(&served, "/v1/reservations/lan@10.77.1.99"), 409, &file);
    assert_eq!(served.ask(SCOPED, "GET", "/v1/reservations/r2", "").status, 404);

    served.server.kill9();
    served.server.start_again();
    let other = json!({ "mac": "02:00:00:00:00:02", "address": "10.77.1.22" });
    let changed = put(&served, "/v1/reservations/r2", &other);
    assert_eq!((changed.status, &changed.json()["address"]), (200, &json!("10.77.1.22")));
    assert_eq!(delete(&served, "/v1/reservations/r3").status, 200);
    assert_eq!(get(&served, "/v1/reservations/r3").status, 404);
    let audited = audited(&mut served, "reservations/");
    assert_eq!(
        audited[3..],
        ["create reservations/r4", "change reservations/r2", "delete reservations/r3"]
    );
}

/// What the audit says was done to objects of this kind, after the server has stopped.
fn audited(served: &mut Served, kind: &str) -> Vec<String> {
    served.server.stop();
    let dir = served.world.dir().join("state/audit");
    let mut records = Forward::from(&dir, 1);
    let mut found = Vec::new();
    while let Some(entry) = records.read().unwrap() {
        let Change::Act(act) = entry.change else { continue };
        if !act.object.starts_with(kind) {
            continue;
        }
        assert_eq!(&*act.who, "token operator");
        let (before, after) = (act.before.is_some(), act.after.is_some());
        let want = match &*act.verb {
            "create" => (false, true),
            "change" => (true, true),
            _ => (true, false),
        };
        assert_eq!((before, after), want, "{act:?}");
        found.push(format!("{} {}", act.verb, act.object));
    }
    found
}

#[test]
fn an_operator_may_and_a_tenant_may_not() {
    let served = Served::start("tenant", DECLARED);
    let of = |account: &str| json!({ "network": "lan", "account": account }).to_string();
    let create = |token: &str, account: &str| {
        served.ask(token, "POST", "/v1/instances", &of(account)).status
    };
    assert_eq!(create(SCOPED, "base"), 403);
    assert_eq!(create(SCOPED, "elsewhere"), 201);
    assert_eq!(create(ADMIN, "base"), 201);
    assert_eq!(served.ask(SCOPED, "PUT", "/v1/accounts/elsewhere", "{}").status, 403);
    let seen = served.ask(SCOPED, "GET", "/v1/instances", "").json();
    assert_eq!(seen["instances"].as_array().unwrap().len(), 1, "{seen}");
}
