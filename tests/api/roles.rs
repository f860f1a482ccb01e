//! Every operation of the document, by every kind of caller.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::served::{ADMIN, OPERATOR, OVER, READER, SCOPED, Served};

/// What each operation needs. One that is not here fails the test: say what it is to need.
const NEEDED: &[(&str, &str, Needs)] = &[
    ("get", "/docs", Needs::Nothing),
    ("get", "/openapi.json", Needs::Nothing),
    ("get", "/metrics", Needs::Everything(0)),
    ("get", "/v1/status", Needs::Role(0)),
    ("get", "/v1/networks", Needs::Role(0)),
    ("get", "/v1/networks/{name}", Needs::Role(0)),
    ("get", "/v1/subnets", Needs::Role(0)),
    ("get", "/v1/pools", Needs::Role(0)),
    ("get", "/v1/leases", Needs::Role(0)),
    ("get", "/v1/leases/export", Needs::Role(0)),
    ("get", "/v1/leases/{resource}", Needs::Role(0)),
    ("post", "/v1/leases/{resource}/release", Needs::Role(1)),
    ("post", "/v1/leases/{resource}/quarantine", Needs::Role(1)),
    ("post", "/v1/leases/{resource}/lift", Needs::Role(1)),
    ("post", "/v1/leases/{resource}/drain", Needs::Role(1)),
    ("post", "/v1/leases/{resource}/stay", Needs::Role(1)),
    ("get", "/v1/networks/{name}/relocations", Needs::Role(0)),
    ("get", "/v1/findings", Needs::Everything(0)),
    ("post", "/v1/scans", Needs::Everything(1)),
    ("post", "/v1/leases/import", Needs::Everything(1)),
    ("get", "/v1/audit", Needs::Role(0)),
    ("get", "/v1/audit/export", Needs::Role(0)),
    ("get", "/v1/events", Needs::Role(0)),
    ("get", "/v1/who", Needs::Role(0)),
    ("get", "/v1/configuration", Needs::Everything(1)),
    ("post", "/v1/configuration/check", Needs::Everything(1)),
    ("post", "/v1/configuration/reload", Needs::Everything(2)),
    ("post", "/v1/backup", Needs::Everything(2)),
    ("get", "/v1/tokens", Needs::Everything(2)),
    ("post", "/v1/tokens", Needs::Everything(2)),
    ("get", "/v1/tokens/{name}", Needs::Everything(2)),
    ("delete", "/v1/tokens/{name}", Needs::Everything(2)),
    ("post", "/v1/tokens/{name}/rotate", Needs::Everything(2)),
    ("get", "/v1/telemetry", Needs::Role(0)),
    ("post", "/v1/telemetry", Needs::Role(1)),
    ("get", "/v1/telemetry/instances", Needs::Role(0)),
    ("get", "/v1/telemetry/history", Needs::Role(0)),
    ("get", "/v1/telemetry/scrapes", Needs::Everything(0)),
    ("get", "/v1/known-events", Needs::Role(0)),
    ("post", "/v1/known-events", Needs::Role(1)),
    ("get", "/v1/known-events/{id}", Needs::Role(0)),
    ("delete", "/v1/known-events/{id}", Needs::Role(1)),
    ("get", "/v1/instances", Needs::Role(0)),
    ("post", "/v1/instances", Needs::Role(1)),
    ("get", "/v1/instances/{id}", Needs::Role(0)),
    ("patch", "/v1/instances/{id}", Needs::Role(1)),
    ("delete", "/v1/instances/{id}", Needs::Role(1)),
    ("get", "/v1/shadows", Needs::Role(0)),
    ("post", "/v1/shadows", Needs::Role(1)),
    ("delete", "/v1/shadows/{address}", Needs::Role(1)),
    ("patch", "/v1/shadows/{address}", Needs::Role(1)),
    ("get", "/v1/predictions", Needs::Role(0)),
    ("post", "/v1/predict_instances", Needs::Role(1)),
    ("post", "/predict_instances", Needs::Role(1)),
    ("get", "/v1/scores/{address}", Needs::Role(0)),
    ("get", "/v1/available_shadow_address", Needs::Role(0)),
    ("get", "/available_shadow_address", Needs::Role(0)),
    ("get", "/v1/reservations", Needs::Role(0)),
    ("post", "/v1/reservations", Needs::Everything(1)),
    ("get", "/v1/reservations/{id}", Needs::Role(0)),
    ("put", "/v1/reservations/{id}", Needs::Everything(1)),
    ("delete", "/v1/reservations/{id}", Needs::Everything(1)),
    ("get", "/v1/standbys", Needs::Role(0)),
    ("post", "/v1/standbys", Needs::Everything(1)),
    ("get", "/v1/standbys/{id}", Needs::Role(0)),
    ("delete", "/v1/standbys/{id}", Needs::Everything(1)),
    ("post", "/v1/standbys/{id}/report", Needs::Everything(1)),
    ("post", "/v1/standbys/{id}/switchover", Needs::Everything(1)),
    ("get", "/v1/standbys/{id}/checks", Needs::Everything(1)),
    ("post", "/v1/standbys/{id}/active", Needs::Everything(1)),
    ("get", "/v1/accounts", Needs::Role(0)),
    ("get", "/v1/accounts/{name}", Needs::Role(0)),
    ("put", "/v1/accounts/{name}", Needs::Everything(1)),
    ("delete", "/v1/accounts/{name}", Needs::Everything(1)),
    ("get", "/v1/accounts/{name}/usage", Needs::Role(0)),
    ("get", "/v1/accounts/{name}/shadows", Needs::Role(0)),
    ("get", "/v1/accounts/{name}/applications", Needs::Role(0)),
    ("get", "/v1/accounts/{name}/applications/{application}", Needs::Role(0)),
    ("put", "/v1/accounts/{name}/applications/{application}", Needs::Everything(1)),
    ("delete", "/v1/accounts/{name}/applications/{application}", Needs::Everything(1)),
    ("get", "/v1/accounts/{name}/applications/{application}/usage", Needs::Role(0)),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Anybody may ask.
    Nothing,
    /// A role: 0 to read, 1 to operate, 2 for admins.
    Role(usize),
    /// A role, of somebody who is bound to no account.
    Everything(usize),
}

impl Needs {
    fn role(self) -> usize {
        match self {
            Needs::Nothing => 0,
            Needs::Role(role) | Needs::Everything(role) => role,
        }
    }
}

fn operations(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        methods.map(move |method| (method.clone(), path.clone()))
    });
    all.collect()
}

/// A path with something in its places that is not there.
pub(crate) fn filled(path: &str) -> String {
    path.replace("{name}", "nothing")
        .replace("{resource}", "10.77.1.9")
        .replace("{id}", "nothing")
        .replace("{application}", "nothing")
}

/// A body that its operation takes, and that does no harm.
pub(crate) fn body(method: &str, path: &str) -> &'static str {
    match (method, path) {
        ("post", "/v1/tokens") => r#"{"name":"reader","role":"read"}"#,
        ("post", "/v1/leases/import") => r#"{"leases":[],"dry_run":true}"#,
        ("post", "/v1/configuration/check") => r#"{"text":""}"#,
        ("post", "/v1/backup") => r#"{"directory":"/proc/nowhere"}"#,
        ("post", "/v1/instances") => r#"{"network":"nowhere","account":"elsewhere"}"#,
        ("post", "/v1/standbys/{id}/active") => r#"{"state":"well"}"#,
        ("post", "/v1/standbys") => r#"{"network":"nowhere","standby":{}}"#,
        ("post", "/v1/reservations") => r#"{"network":"nowhere"}"#,
        ("post" | "put" | "patch", _) => "{}",
        _ => "",
    }
}

#[test]
fn every_operation_asks_for_its_role() {
    let served = Served::start("roles", "rate = 0");
    let document = served.ask("", "GET", "/openapi.json", "").json();
    let found = operations(&document);
    let known: BTreeSet<_> = NEEDED.iter().map(|(method, path, _)| (*method, *path)).collect();
    for (method, path) in &found {
        let one = (method.as_str(), path.as_str());
        assert!(known.contains(&one), "{one:?}: say in NEEDED what it is to need");
        let (_, _, needs) = *NEEDED.iter().find(|(m, p, _)| (*m, *p) == one).unwrap();
        let target = filled(path);
        let ask = |token: Option<&str>| match token {
            Some(token) => served.ask(token, &method.to_uppercase(), &target, body(method, path)),
            None => served.curl(&target, &["-X", &method.to_uppercase()]),
        };
        for (who, token) in [("nobody", None), ("a liar", Some("x")), ("the past", Some(OVER))] {
            let status = ask(token).status;
            let want = if needs == Needs::Nothing { 200 } else { 401 };
            assert_eq!(status, want, "{one:?} by {who}");
        }
        for (rank, token) in [READER, OPERATOR, ADMIN].into_iter().enumerate() {
            let answer = ask(Some(token));
            let may = rank >= needs.role();
            assert_eq!(answer.status != 403, may, "{one:?} by {token}: {answer:?}");
            assert_ne!(answer.status, 401, "{one:?} by {token}");
            assert!(answer.status < 500, "{one:?} by {token}: {answer:?}");
        }
        let status = ask(Some(SCOPED)).status;
        assert_eq!(status == 403, matches!(needs, Needs::Everything(_)), "{one:?} by {SCOPED}");
    }
    assert_eq!(found.len(), NEEDED.len(), "NEEDED has operations that are not there");
}

#[test]
fn what_is_not_in_the_document_is_not_served() {
    let served = Served::start("unserved", "");
    let status = served.ask(ADMIN, "DELETE", "/v1/status", "");
    assert_eq!((status.status, status.header("allow")), (405, Some("get")));
    assert_eq!(served.ask(ADMIN, "GET", "/v2/status", "").status, 404);
    assert_eq!(served.curl("/v2/status", &[]).status, 401);
    assert_eq!(served.ask(READER, "HEAD", "/v1/status", "").status, 200);
    assert_eq!(served.curl("/v1/status", &["-I"]).status, 401);
    // A page in a browser of somebody who has a certificate.
    let cross = served.curl(
        "/v1/leases/10.77.1.9/release",
        &[
            "-X",
            "POST",
            "-H",
            "origin: https://evil.example",
            "-H",
            "authorization: Bearer admin-token",
        ],
    );
    assert_eq!(cross.status, 403, "{cross:?}");
}
