//! What one account has is not there for another: by every operation of the document.

use serde_json::{Value, json};

use crate::common::link::{Raw, mac};
use crate::served::{ADMIN, Answer, SCOPED, Served};

/// What the token of `elsewhere` is not to hear of has this in its name.
const MARK: &str = "acme";
const DECLARED: &str = "rate = 0\n[[account]]\nname = \"acme\"\n\
    [[account.application]]\nname = \"acme-web\"\n[[account]]\nname = \"elsewhere\"\n";
const INSTANCE: &str = "acme-vm-1";
const ADDRESS: &str = "10.77.1.111";

/// Gives `acme` something of everything that has an account.
fn furnish(served: &Served) -> Theirs {
    let post = |path: &str, body: &Value| {
        let answer = served.ask(ADMIN, "POST", path, &body.to_string());
        assert!(answer.status < 300, "{path}: {answer:?}");
        answer.json()
    };
    post(
        "/v1/instances",
        &json!({ "id": INSTANCE, "network": "lan", "account": "acme", "application": "acme-web",
            "mac": "02:aa:00:00:00:05", "hostname": "acme-host", "address": ADDRESS,
            "tags": { "of": "acme" } }),
    );
    let guest = served.world.client("guest", &served.host, "br0");
    let mut raw = Raw::on(&guest);
    assert_eq!(raw.lease(mac(5)).addr.to_string(), ADDRESS);
    // Of a machine that is nobody's.
    raw.lease(mac(6));
    post(
        "/v1/reservations",
        &json!({ "id": "acme-printer", "network": "lan", "mac": "02:00:00:00:00:21",
            "address": "10.77.1.21", "hostname": "acme-printer", "account": "acme" }),
    );
    post(
        "/v1/standbys",
        &json!({ "id": "acme-pair", "network": "lan", "addresses": [ADDRESS],
            "standby": { "mac": "02:00:00:00:00:22" }, "hostname": "acme-pair" }),
    );
    let event = post(
        "/v1/known-events",
        &json!({ "kind": "deploy", "account": "acme",
        "application": "acme-web" }),
    );
    let report = format!("{{\"instance\":\"{INSTANCE}\",\"metrics\":{{\"cpu\":0.5}}}}");
    let bearer = format!("authorization: Bearer {ADMIN}");
    let sent = served.curl(
        "/v1/telemetry",
        &["-H", &bearer, "-H", "content-type: application/x-ndjson", "-d", &report],
    );
    assert_eq!(sent.status, 200, "{sent:?}");
    let foreseen = json!({ "network": "lan", "account": "acme", "count": 1 });
    post("/v1/predict_instances", &foreseen);
    let held = post("/v1/shadows", &foreseen);
    let id = &event["id"];
    let event = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    Theirs { event, shadow: held["shadows"][0]["address"].as_str().unwrap().into() }
}

/// What `acme` has that is not called by a name of the test's own.
struct Theirs {
    event: String,
    shadow: String,
}

/// A path about what `acme` has, and one about what is not there; `None` where it names nothing.
fn targets(path: &str, Theirs { event, shadow }: &Theirs) -> Option<(String, String)> {
    let id = match path {
        _ if path.starts_with("/v1/known-events/") => event,
        _ if path.starts_with("/v1/reservations/") => "acme-printer",
        _ if path.starts_with("/v1/standbys/") => "acme-pair",
        _ => INSTANCE,
    };
    let name = if path.starts_with("/v1/accounts/") { "acme" } else { "lan" };
    let of = |name: &str, application: &str, id: &str, resource: &str| {
        let path = path.replace("{name}", name).replace("{application}", application);
        path.replace("{id}", id).replace("{resource}", resource)
    };
    let theirs = of(name, "acme-web", id, ADDRESS).replace("{address}", shadow);
    assert!(!theirs.contains('{'), "{path}: say here what `acme` has of it");
    // An event's id is a number or a text as its own are.
    let none = if id == event { "999999999" } else { "nothing" };
    let none = of("nothing", "nothing", none, "10.77.1.112").replace("{address}", "10.77.1.113");
    (theirs != path).then_some((theirs, none))
}

/// Whether a part of a path may be a name or a number.
fn is_name(part: &str) -> bool {
    part.len() > 3 || part.parse::<u64>().is_ok()
}

/// What a refusal says, without the names that the request itself had.
fn said(answer: &Answer, path: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').filter(|part| is_name(part)).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts.iter().fold(answer.body.clone(), |text, part| text.replace(part, "_"))
}

/// What is asked of lists, where they take it.
const QUERIES: &[(&str, &str)] = &[
    ("account", "acme"),
    ("address", ADDRESS),
    ("instance", INSTANCE),
    ("metric", "cpu"),
    ("hostname", "acme-host"),
    ("resource", ADDRESS),
];

fn query(operation: &Value) -> String {
    let named = operation["parameters"].as_array().into_iter().flatten();
    let names = named.filter(|parameter| parameter["in"] == "query");
    let of = |parameter: &Value| {
        let (name, value) =
            QUERIES.iter().find(|(name, _)| parameter["name"].as_str() == Some(name))?;
        Some(format!("{name}={value}"))
    };
    names.filter_map(of).collect::<Vec<_>>().join("&")
}

/// Everything that an admin is shown of what `acme` has.
fn seen(served: &Served) -> Vec<Value> {
    let ask = |path: &str| served.ask(ADMIN, "GET", path, "").json();
    [
        "/v1/instances",
        "/v1/reservations",
        "/v1/standbys",
        "/v1/accounts",
        "/v1/known-events",
        "/v1/leases",
        "/v1/shadows",
        "/v1/predictions",
    ]
    .map(ask)
    .into()
}

#[test]
fn what_another_account_has_is_neither_read_nor_changed() {
    let served = Served::start("scope", DECLARED);
    let theirs = furnish(&served);
    let before = seen(&served);
    assert!(before.iter().all(|list| list.to_string().contains(MARK)), "{before:?}");
    let document = served.ask("", "GET", "/openapi.json", "").json();
    for (path, item) in document["paths"].as_object().unwrap() {
        if ["/docs", "/openapi.json"].contains(&path.as_str()) {
            continue;
        }
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase();
            let body = if ["POST", "PUT", "PATCH"].contains(&&*method) { "{}" } else { "" };
            let ask = |path: &str| served.ask(SCOPED, &method, path, body);
            if method == "GET" {
                for query in [String::new(), query(operation)] {
                    let path = targets(path, &theirs).map_or(path.clone(), |(of_acme, _)| of_acme);
                    let answer = ask(&format!("{path}?{query}"));
                    if answer.status < 300 {
                        assert!(!answer.body.contains(MARK), "{path}?{query}: {answer:?}");
                    }
                }
            }
            let Some((of_acme, none)) = targets(path, &theirs) else { continue };
            if path.starts_with("/v1/networks/") {
                continue; // A network is everybody's.
            }
            let (of_theirs, of_none) = (ask(&of_acme), ask(&none));
            assert!(of_theirs.status >= 400, "{method} {path}: {of_theirs:?}");
            assert_eq!(of_theirs.status, of_none.status, "{method} {path}: {of_theirs:?}");
            assert_eq!(said(&of_theirs, &of_acme), said(&of_none, &none), "{method} {path}");
        }
    }
    assert_eq!(seen(&served), before);
    // Nor under its name.
    for (path, body) in [
        ("/v1/instances", json!({ "network": "lan", "account": "acme" })),
        ("/v1/instances", json!({ "network": "lan" })),
        ("/v1/known-events", json!({ "kind": "deploy", "account": "acme" })),
        ("/v1/predict_instances", json!({ "network": "lan", "account": "acme", "count": 1 })),
        ("/v1/shadows", json!({ "network": "lan", "account": "acme", "count": 1 })),
    ] {
        let answer = served.ask(SCOPED, "POST", path, &body.to_string());
        assert_eq!(answer.status, 403, "{path} {body}: {answer:?}");
    }
    // Whoever names a MAC has what it is bound to, and ends it.
    let stolen = json!({ "network": "lan", "account": "elsewhere", "mac": "02:aa:00:00:00:06" });
    let answer = served.ask(SCOPED, "POST", "/v1/instances", &stolen.to_string());
    assert_eq!(answer.status, 409, "{answer:?}");
    let own = json!({ "id": "own", "network": "lan", "account": "elsewhere" }).to_string();
    assert_eq!(served.ask(SCOPED, "POST", "/v1/instances", &own).status, 201);
    let answer = served.ask(SCOPED, "PATCH", "/v1/instances/own", &stolen_mac());
    assert_eq!(answer.status, 409, "{answer:?}");
    assert_eq!(served.ask(SCOPED, "DELETE", "/v1/instances/own", "").status, 200);
    // What no record of the store can hold fails nobody's commit.
    for value in ["x".repeat(256), "\u{1}".repeat(256)] {
        let tags: std::collections::BTreeMap<_, _> =
            (0..32).map(|n| (format!("tag-{n}"), value.clone())).collect();
        let body = json!({ "network": "lan", "account": "elsewhere", "tags": tags }).to_string();
        let answer = served.ask(SCOPED, "POST", "/v1/instances", &body);
        assert_eq!((answer.status, answer.body.contains("tags")), (422, true), "{answer:?}");
    }
    assert_eq!(seen(&served), before);
}

/// Who has something is for their own account, and for those that are bound to none.
#[test]
fn a_conflict_names_no_machine_of_another_account() {
    let served = Served::start("conflict", DECLARED);
    furnish(&served);
    let own = json!({ "id": "own", "network": "lan", "account": "elsewhere",
        "address": "10.77.1.112" });
    assert_eq!(served.ask(SCOPED, "POST", "/v1/instances", &own.to_string()).status, 201);
    let instance = |address: &str| json!({ "id": "new", "network": "lan", "account": "elsewhere", "address": address });
    let known = json!({ "id": "new", "network": "lan", "account": "elsewhere",
        "mac": "02:00:00:00:00:21" });
    for (wish, names) in [
        (instance(ADDRESS), "acme-vm-1"),
        (instance("10.77.1.21"), "reserved at run time"),
        (known, "reserved at run time"),
    ] {
        let ask = |token| served.ask(token, "POST", "/v1/instances", &wish.to_string());
        let (told, hidden) = (ask(ADMIN), ask(SCOPED));
        assert_eq!((told.status, hidden.status), (409, 409), "{told:?} {hidden:?}");
        assert!(told.body.contains(names), "{told:?}");
        assert!(hidden.body.contains("is somebody else's"), "{hidden:?}");
        assert!(!hidden.body.contains(MARK) && !hidden.body.contains(names), "{hidden:?}");
    }
    let wish = instance("10.77.1.112").to_string();
    let told = served.ask(SCOPED, "POST", "/v1/instances", &wish);
    assert!(told.status == 409 && told.body.contains("of instance"), "its own: {told:?}");
}

#[test]
fn nobody_reports_for_a_machine_of_another_account() {
    let served = Served::start("others", DECLARED);
    let body = json!({ "id": INSTANCE, "network": "lan", "account": "acme" }).to_string();
    assert_eq!(served.ask(ADMIN, "POST", "/v1/instances", &body).status, 201);
    let body = json!({ "id": "nobodys", "network": "lan" }).to_string();
    assert_eq!(served.ask(ADMIN, "POST", "/v1/instances", &body).status, 201);
    let line =
        |instance: &str| format!("{{\"instance\":\"{instance}\",\"metrics\":{{\"cpu\":1}}}}");
    let event = format!(
        "{{\"event\":{{\"kind\":\"deploy\",\"account\":\"elsewhere\",\"instance\":\"{INSTANCE}\"}}}}"
    );
    let lines = [line(INSTANCE), line("nobodys"), line("unregistered"), event].join("\n");
    let bearer = format!("authorization: Bearer {SCOPED}");
    let sent = served.curl(
        "/v1/telemetry",
        &["-H", &bearer, "-H", "content-type: application/x-ndjson", "-d", &lines],
    );
    assert_eq!(sent.status, 200, "{sent:?}");
    let taken = sent.json();
    assert_eq!((&taken["lines"], &taken["refused"]), (&json!(1), &json!(3)), "{taken}");
    let faults: Vec<_> = taken["faults"].as_array().unwrap().iter().map(|f| &f["line"]).collect();
    assert_eq!(faults, [1, 2, 4], "{taken}");
    let known = served.ask(ADMIN, "GET", "/v1/telemetry/instances", "").body;
    assert!(known.contains("unregistered") && !known.contains(INSTANCE), "{known}");
    let event = json!({ "kind": "deploy", "account": "elsewhere", "instance": INSTANCE });
    let said = served.ask(SCOPED, "POST", "/v1/known-events", &event.to_string());
    assert_eq!(said.status, 403, "{said:?}");
}

fn stolen_mac() -> String {
    json!({ "mac": "02:aa:00:00:00:06" }).to_string()
}
