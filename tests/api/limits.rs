//! Too much of everything: rates, bodies, depth, and writes that are sent twice.

use std::fs;

use crate::served::{ADDRESS, ADMIN, OPERATOR, READER, Served};

#[test]
fn who_asks_too_often_hears_when_to_come_back() {
    let served = Served::start("rate", "rate = 1\nburst = 3");
    let answers: Vec<_> = (0..6).map(|_| served.ask(READER, "GET", "/v1/status", "")).collect();
    let refused = answers.iter().find(|answer| answer.status == 429).expect("one too many");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.body.contains("api.rate"), "{refused:?}");
    assert_eq!(served.ask(OPERATOR, "GET", "/v1/status", "").status, 200, "others may");
}

/// Hostile-input list: JSON nested 10,000 deep, and a body of a gigabyte.
#[test]
fn deep_and_huge_bodies_cost_nothing() {
    let served = Served::start("huge", "");
    let deep = served.file("deep.json");
    fs::write(&deep, "[".repeat(10_000)).unwrap();
    let huge = served.file("huge.json");
    fs::File::create(&huge).unwrap().set_len(1 << 30).unwrap();
    let before = served.peak_kib();
    let bearer = format!("authorization: Bearer {ADMIN}");
    let json = "content-type: application/json";
    let sent = ["-X", "POST", "-H", &*bearer, "-H", json];
    for path in ["/v1/leases/import", "/v1/configuration/check"] {
        for (file, want) in [(&deep, 400), (&huge, 413)] {
            let answer = served.curl(path, &[&sent[..], &["-T", file]].concat());
            assert_eq!(answer.status, want, "{path} {file}: {answer:?}");
        }
        // Sent without asking first, it is cut off at some point: the answer may not be read.
        let url = format!("https://{ADDRESS}{path}");
        let blind = ["curl", "-sS", "-k", "-H", "expect:", "-T", &huge];
        let argv = [&blind[..], &sent[..], &[&*url]].concat();
        drop(served.host.command(&argv).output().unwrap());
        assert_eq!(served.ask(ADMIN, "GET", "/v1/status", "").status, 200);
    }
    let grown = served.peak_kib() - before;
    assert!(grown < 64 << 10, "{grown} KiB for bodies that are refused");
}

#[test]
fn a_write_with_a_key_is_done_once() {
    let served = Served::start("once", "");
    let make = |key: &str, name: &str| {
        let bearer = format!("authorization: Bearer {ADMIN}");
        let key = format!("idempotency-key: {key}");
        let body = format!("{{\"name\":\"{name}\",\"role\":\"read\"}}");
        let json = "content-type: application/json";
        served
            .curl("/v1/tokens", &["-X", "POST", "-H", &bearer, "-H", &key, "-H", json, "-d", &body])
    };
    let first = make("k1", "one");
    assert_eq!(first.status, 201, "{first:?}");
    let again = make("k1", "one");
    assert_eq!((again.status, &again.body), (201, &first.body), "the same token, not another");
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(make("k1", "two").status, 422);
    assert_eq!(make("k2", "one").status, 409, "another request");
    // What may pass by itself is asked anew.
    assert_eq!(make("k2", "one").header("idempotency-replayed"), None);
    let bearer = format!("authorization: Bearer {ADMIN}");
    assert_eq!(served.curl("/v1/tokens/one", &["-X", "DELETE", "-H", &bearer]).status, 204);
    assert_eq!(make("k2", "one").status, 201);
}

#[test]
fn a_token_that_is_made_anew_has_keys_of_its_own() {
    let served = Served::start("anew", "");
    let token = |account: &str| {
        let body = format!("{{\"name\":\"ci\",\"role\":\"admin\",\"accounts\":[{account}]}}");
        let made = served.ask(ADMIN, "POST", "/v1/tokens", &body);
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["secret"].as_str().unwrap().to_owned()
    };
    let make = |secret: &str| {
        let bearer = format!("authorization: Bearer {secret}");
        let body = "{\"name\":\"two\",\"role\":\"read\"}";
        let json = "content-type: application/json";
        let key = "idempotency-key: k";
        let more = ["-X", "POST", "-H", &bearer, "-H", key, "-H", json, "-d", body];
        served.curl("/v1/tokens", &more)
    };
    assert_eq!(make(&token("")).status, 201);
    assert_eq!(served.ask(ADMIN, "DELETE", "/v1/tokens/ci", "").status, 204);
    let answer = make(&token("\"elsewhere\""));
    assert_eq!(answer.status, 403, "the secret of a token that it may not make: {answer:?}");
}

#[test]
fn versions_save_answers_and_guard_changes() {
    let served = Served::start("versions", "");
    let secret = served.server.ask(&["token", "add", "ci", "--role", "read"]);
    assert!(secret.starts_with("foreshadow_"), "{secret}");
    let bearer = format!("authorization: Bearer {ADMIN}");
    let ask = |path: &str, more: &[&str]| served.curl(path, &[&["-H", &bearer][..], more].concat());
    for path in ["/v1/tokens/ci", "/v1/configuration"] {
        let shown = ask(path, &[]);
        let tag = shown.header("etag").expect("a version").to_owned();
        let known = format!("if-none-match: {tag}");
        assert_eq!(ask(path, &["-H", &known]).status, 304, "{path}");
    }
    let stale = ["-X", "DELETE", "-H", "if-match: \"0\""];
    assert_eq!(ask("/v1/tokens/ci", &stale).status, 412);
    let tag = ask("/v1/tokens/ci", &[]).header("etag").unwrap().to_owned();
    let fresh = format!("if-match: {tag}");
    assert_eq!(ask("/v1/tokens/ci", &["-X", "DELETE", "-H", &fresh]).status, 204);
    assert_eq!(ask("/v1/tokens/ci", &[]).status, 404);
    let shown = ask("/v1/configuration", &[]).json();
    let text = shown["text"].as_str().unwrap();
    assert!(text.contains("hash = \"(secret)\"") && text.contains("[[network.subnet]]"), "{text}");
}
