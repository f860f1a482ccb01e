//! Every write of the document has its audit record, with the name of who did it.

use serde_json::Value;

use crate::common::link::{Raw, mac};
use crate::common::{PATIENCE, wait_for};
use crate::served::{ADMIN, Served};

/// A write: method, path of the document, path, body; and the verb and object of its record.
type Write = (&'static str, &'static str, String, String, &'static str, String);

/// Writes that change nothing that is kept, or are reports.
const NONE: &[(&str, &str)] = &[
    ("post", "/v1/configuration/check"),
    ("post", "/v1/telemetry"),
    // Its record is in the test of a switchover: it takes an agent.
    ("post", "/v1/standbys/{id}/active"),
];

/// All of them, in an order in which each is possible. `{event}` stands for a number that is told.
fn writes(leased: &str, copy: &str) -> Vec<Write> {
    let one = |method, path: &'static str, at: &str, body: &str, verb, object: &str| {
        (method, path, at.to_owned(), body.to_owned(), verb, object.to_owned())
    };
    let same = |method, path: &'static str, body: &str, verb, object: &str| {
        one(method, path, path, body, verb, object)
    };
    let import = r#"{"leases":[{"address":"10.77.1.9","client":"id:01:02:03","state":"leased",
        "until":"2099-01-01T00:00:00Z"}]}"#;
    let [release, drain, stay] =
        ["release", "drain", "stay"].map(|verb| format!("/v1/leases/{leased}/{verb}"));
    let copy = format!(r#"{{"directory":"{copy}"}}"#);
    let (account, applications) =
        ("/v1/accounts/{name}", "/v1/accounts/{name}/applications/{application}");
    let (vm, printer) = ("/v1/instances/{id}", "/v1/reservations/{id}");
    let (token, event) = ("/v1/tokens/{name}", "/v1/known-events/{id}");
    let host =
        r#"{"id":"printer","network":"lan","mac":"02:00:00:00:00:21","address":"10.77.1.21"}"#;
    let changed = r#"{"mac":"02:00:00:00:00:21","address":"10.77.1.22"}"#;
    let pair = r#"{"id":"db","network":"lan","addresses":["10.77.1.33"],
        "active":{"mac":"02:00:00:00:00:31"},"standby":{"mac":"02:00:00:00:00:32"}}"#;
    let second = r#"{"id":"db2","network":"lan","addresses":["10.77.1.34"],
        "active":{"mac":"02:00:00:00:00:33"},"standby":{"mac":"02:00:00:00:00:34"}}"#;
    let foresee = r#"{"network":"lan","account":"acme","count":0}"#;
    let held = r#"{"network":"lan","account":"acme","count":1}"#;
    vec![
        one("put", account, "/v1/accounts/acme", "{}", "create", "accounts/acme"),
        one(
            "put",
            applications,
            "/v1/accounts/acme/applications/web",
            "{}",
            "create",
            "accounts/acme/applications/web",
        ),
        same("post", "/v1/instances", r#"{"id":"vm","network":"lan"}"#, "create", "instances/vm"),
        one("patch", vm, "/v1/instances/vm", r#"{"hostname":"web"}"#, "change", "instances/vm"),
        one("delete", vm, "/v1/instances/vm", "", "delete", "instances/vm"),
        same("post", "/v1/reservations", host, "create", "reservations/printer"),
        one("put", printer, "/v1/reservations/printer", changed, "change", "reservations/printer"),
        one("delete", printer, "/v1/reservations/printer", "", "delete", "reservations/printer"),
        same("post", "/v1/standbys", pair, "create", "standbys/db"),
        one(
            "post",
            "/v1/standbys/{id}/report",
            "/v1/standbys/db/report",
            r#"{"state":"synced"}"#,
            "report",
            "standbys/db",
        ),
        one("delete", "/v1/standbys/{id}", "/v1/standbys/db", "", "delete", "standbys/db"),
        same("post", "/v1/standbys", second, "create", "standbys/db2"),
        one(
            "post",
            "/v1/standbys/{id}/switchover",
            "/v1/standbys/db2/switchover",
            r#"{"force":true,"failed":true}"#,
            "switchover",
            "standbys/db2",
        ),
        one(
            "delete",
            applications,
            "/v1/accounts/acme/applications/web",
            "",
            "delete",
            "accounts/acme/applications/web",
        ),
        same("post", "/v1/predict_instances", foresee, "create", "predictions/{told}"),
        same("post", "/predict_instances", foresee, "create", "predictions/{told}"),
        same("post", "/v1/shadows", held, "reserve", "shadows"),
        one(
            "patch",
            "/v1/shadows/{address}",
            "/v1/shadows/{shadow}",
            r#"{"seconds":60}"#,
            "extend",
            "shadows/{shadow}",
        ),
        one(
            "delete",
            "/v1/shadows/{address}",
            "/v1/shadows/{shadow}",
            "",
            "release",
            "shadows/{shadow}",
        ),
        one("delete", account, "/v1/accounts/acme", "", "delete", "accounts/acme"),
        same("post", "/v1/tokens", r#"{"name":"ci","role":"read"}"#, "create", "tokens/ci"),
        one(
            "post",
            "/v1/tokens/{name}/rotate",
            "/v1/tokens/ci/rotate",
            "{}",
            "rotate",
            "tokens/ci",
        ),
        one("delete", token, "/v1/tokens/ci", "", "delete", "tokens/ci"),
        same("post", "/v1/known-events", r#"{"kind":"deploy"}"#, "create", "known-events/{event}"),
        one("delete", event, "/v1/known-events/{event}", "", "delete", "known-events/{event}"),
        same("post", "/v1/leases/import", import, "import", "leases"),
        one(
            "post",
            "/v1/leases/{resource}/drain",
            &drain,
            "",
            "drain",
            &format!("leases/{leased}"),
        ),
        one("post", "/v1/leases/{resource}/stay", &stay, "", "stay", &format!("leases/{leased}")),
        one(
            "post",
            "/v1/leases/{resource}/release",
            &release,
            "",
            "release",
            &format!("leases/{leased}"),
        ),
        one(
            "post",
            "/v1/leases/{resource}/quarantine",
            "/v1/leases/10.77.1.9/quarantine",
            "{}",
            "quarantine",
            "leases/10.77.1.9",
        ),
        one(
            "post",
            "/v1/leases/{resource}/lift",
            "/v1/leases/10.77.1.9/lift",
            "",
            "lift",
            "leases/10.77.1.9",
        ),
        same("post", "/v1/configuration/reload", "", "reload", "configuration"),
        same("post", "/v1/scans", "{}", "create", "scans"),
        same("post", "/v1/backup", &copy, "create", "backup"),
    ]
}

fn found(served: &Served, verb: &str, object: &str) -> Option<Value> {
    let list = served.ask(ADMIN, "GET", "/v1/audit?kind=act&limit=1000", "").json();
    let is_it =
        |record: &&Value| record["act"]["verb"] == verb && record["act"]["object"] == object;
    list["records"].as_array().unwrap().iter().find(is_it).cloned()
}

#[test]
fn every_write_has_its_record_with_the_name_of_the_caller() {
    let second = "[[network.subnet]]\nprefix = \"10.77.9.0/24\"\npools = [\"10.77.9.5\"]\n";
    let served = Served::start_beside("audited", "rate = 0", second);
    let guest = served.world.client("guest", &served.host, "br0");
    let leased = Raw::on(&guest).lease(mac(7)).addr.to_string();
    let copy = served.file("copy");
    let writes = writes(&leased, &copy);
    let document = served.ask("", "GET", "/openapi.json", "").json();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|method| *method != "get") {
            let is_here = writes.iter().any(|(m, p, ..)| (m, p) == (&&**method, &&**path));
            let is_none = NONE.contains(&(&**method, &**path));
            assert!(is_here || is_none, "{method} {path}: say in `writes` what its record is");
        }
    }
    let (mut event, mut shadow, mut secrets) = (String::new(), String::new(), Vec::new());
    for (method, _, path, body, verb, object) in writes {
        let path = path.replace("{event}", &event).replace("{shadow}", &shadow);
        let answer = served.ask(ADMIN, &method.to_uppercase(), &path, &body);
        assert!(answer.status < 300, "{method} {path}: {answer:?}");
        let told = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        if path == "/v1/known-events" {
            event = told["id"].to_string();
        }
        if path == "/v1/shadows" {
            shadow = told["shadows"][0]["address"].as_str().unwrap().into();
        }
        secrets.extend(told["secret"].as_str().map(str::to_owned));
        let object = object.replace("{event}", &event).replace("{shadow}", &shadow);
        let object = object.replace("{told}", told["id"].as_str().unwrap_or_default());
        let record = wait_for(&format!("the record of {verb} {object}"), PATIENCE, || {
            found(&served, verb, &object)
        });
        let act = &record["act"];
        assert_eq!(act["who"], "token admin", "{record}");
        let (before, after) = (act["before"].is_object(), act["after"].is_object());
        let want = match verb {
            "create" | "import" | "reserve" => (false, true),
            "delete" | "lift" => (true, false),
            "release" if path.starts_with("/v1/shadows") => (true, false),
            _ => (true, true),
        };
        assert_eq!((before, after), want, "{record}");
    }
    let all = served.ask(ADMIN, "GET", "/v1/audit/export", "").body;
    assert_eq!(secrets.len(), 2);
    for secret in secrets {
        let hash = foreshadow::api::token::hash(&secret);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!all.contains(&secret) && !all.contains(&hash), "a secret in the audit");
    }
}
