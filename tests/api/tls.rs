//! Certificates and tokens, and both exchanged without a restart.

use std::fs;

use crate::certificates::certificate;
use crate::common::{PATIENCE, wait_until};
use crate::served::{ADDRESS, ADMIN, Served};

#[test]
fn a_certificate_of_a_client_says_who_calls() {
    let served = Served::start("certs", "");
    let (cert, key) = (served.file("orchestrator.pem"), served.file("orchestrator.key"));
    let with = ["--cert", &*cert, "--key", &*key];
    assert_eq!(served.curl("/v1/status", &with).status, 200);
    let refused = served.curl("/v1/tokens", &with);
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("certificate orchestrator may operate"), "{refused:?}");
    // Signed, and known to nobody.
    let (cert, key) = (served.file("server.pem"), served.file("server.key"));
    assert_eq!(served.curl("/v1/status", &["--cert", &cert, "--key", &key]).status, 401);
    assert_eq!(served.curl("/v1/status", &[]).status, 401);
}

#[test]
fn a_reload_takes_a_new_certificate_and_a_bad_one_changes_nothing() {
    let served = Served::start("newcert", "");
    let serial = || {
        let shown = served.host.sh(&format!(
            "openssl s_client -connect {ADDRESS} -tls1_3 </dev/null 2>/dev/null | \
             openssl x509 -noout -serial"
        ));
        shown.trim().to_owned()
    };
    let before = serial();
    certificate(&served.world, &served.host, "server", "127.0.0.1");
    assert_eq!(serial(), before, "not before it is told");
    served.server.ask(&["reload"]);
    assert_ne!(serial(), before);
    let now = serial();
    fs::write(served.file("server.pem"), "no certificate").unwrap();
    let refused = served.server.run(&["reload"]);
    assert_eq!(refused.status.code(), Some(3));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("server.pem"), "{said}");
    assert_eq!(serial(), now);
    assert_eq!(served.ask(ADMIN, "GET", "/v1/status", "").status, 200);
}

#[test]
fn tokens_are_made_renewed_and_ended_without_a_restart() {
    let mut served = Served::start("tokens", "");
    let cli = |served: &Served, words: &[&str]| served.server.ask(words).trim().to_owned();
    let first = cli(&served, &["token", "add", "ci", "--role", "operate", "--days", "30"]);
    let status = |served: &Served, token: &str| served.ask(token, "GET", "/v1/leases", "").status;
    assert_eq!(status(&served, &first), 200);
    let second = cli(&served, &["token", "rotate", "ci", "--overlap", "3600"]);
    assert_eq!((status(&served, &first), status(&served, &second)), (200, 200));
    let third = cli(&served, &["token", "rotate", "ci"]);
    assert_eq!(status(&served, &second), 401);
    let listed = cli(&served, &["token", "list"]);
    assert!(listed.contains("ci") && listed.contains("configuration"), "{listed}");
    let log = fs::read_to_string(served.world.dir().join("server.log")).unwrap();
    for secret in [&first, &second, &third] {
        assert!(!listed.contains(secret.as_str()) && !log.contains(secret.as_str()));
    }
    served.server.kill9();
    served.server.start_again();
    assert_eq!(status(&served, &third), 200, "durable");
    cli(&served, &["token", "revoke", "ci"]);
    assert_eq!(status(&served, &third), 401);
    served.server.kill9();
    served.server.start_again();
    assert_eq!(status(&served, &third), 401, "its end is durable too");
    // One of the configuration goes with it.
    served.write_config("rate = 7");
    let body = fs::read_to_string(served.server.config()).unwrap();
    fs::write(served.server.config(), body.replace("name = \"reader\"", "name = \"other\""))
        .unwrap();
    served.server.hang_up();
    wait_until("the new name", PATIENCE, || {
        served.ask(ADMIN, "GET", "/v1/tokens/other", "").status == 200
    });
}

#[test]
fn the_command_line_reaches_a_server_by_tls() {
    let served = Served::start("remote", "");
    let token = served.file("token");
    fs::write(&token, format!("{ADMIN}\n")).unwrap();
    let (url, ca) = (format!("https://{ADDRESS}"), served.file("ca.pem"));
    let run = |words: &[&str]| {
        let to = ["--api", &*url, "--token-file", &*token, "--ca", &*ca];
        let argv = [&[crate::common::server::BINARY], words, &to[..]].concat();
        let done = served.host.command(&argv).output().unwrap();
        let (out, err) = (done.stdout, done.stderr);
        (done.status.code(), String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    };
    let (code, out, err) = run(&["status", "--json"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("\"serving\""));
    assert_eq!(run(&["leases", "list"]).0, Some(0));
    fs::write(&token, "wrong").unwrap();
    let (code, _, err) = run(&["status"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("want a bearer token"), "{err}");
}

/// The recipe of docs/operations.md, which a newcomer follows to the letter.
#[test]
fn the_certificate_of_the_documentation_is_believed() {
    let served = Served::start("recipe", "");
    let text = include_str!("../../docs/operations.md");
    let from = text.find("openssl req -x509 -newkey").unwrap();
    let recipe = &text[from..from + text[from..].find("\nchgrp").unwrap()];
    let (url, token) = (format!("https://{ADDRESS}"), served.file("token"));
    fs::write(&token, ADMIN).unwrap();
    let run = |recipe: &str| {
        let recipe = recipe.replace("/etc/foreshadow/api", &served.file("server"));
        served.host.sh(&format!("{} 2>&1", recipe.replace("10.0.0.1", "127.0.0.1")));
        served.server.ask(&["reload"]);
        let ca = served.file("server.pem");
        let to = ["--api", &*url, "--token-file", &*token, "--ca", &*ca];
        let argv = [&[crate::common::server::BINARY, "status"][..], &to].concat();
        let done = served.host.command(&argv).output().unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    assert_eq!(run(recipe), (Some(0), String::new()));
    let without = recipe.replace("-addext basicConstraints=critical,CA:FALSE", "");
    assert_ne!(without, recipe);
    let (code, said) = run(&without);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("is an authority's") && said.contains("CA:FALSE"), "{said}");
}

#[test]
fn what_others_can_read_is_a_warning() {
    let served = Served::start("open", "");
    let config = served.file("foreshadow.toml");
    let check = || {
        let argv = [crate::common::server::BINARY, "check", &*config];
        let done = served.host.command(&argv).output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        String::from_utf8(done.stderr).unwrap()
    };
    let said = check();
    assert!(!said.contains("others on this machine"), "{said}");
    let (key, state) = (served.file("server.key"), served.file("state"));
    for (path, mode, remedy) in [(&key, "644", "chmod 640"), (&state, "755", "chmod 750")] {
        served.host.sh(&format!("chmod {mode} {path}"));
        let said = check();
        let wants = [&*format!("others on this machine can read {path}"), remedy];
        assert!(wants.iter().all(|want| said.contains(want)), "{said}");
        served.host.sh(&format!("chmod o= {path}"));
    }
}

#[test]
fn a_token_for_an_account_that_is_not_there_is_a_warning() {
    let served = Served::start("nosuch", "[[account]]\nname = \"acme\"\n");
    let add = |name: &str, account: &str| {
        let done =
            served.server.run(&["token", "add", name, "--role", "read", "--account", account]);
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        String::from_utf8(done.stderr).unwrap()
    };
    assert_eq!(add("a", "acme"), "");
    let said = add("b", "nosuch");
    assert!(said.contains("no account is called \"nosuch\""), "{said}");
}

#[test]
fn plain_tcp_is_for_loopback_that_says_so() {
    let served = Served::start("plain", "");
    for (api, code) in [
        ("listen = [\"127.0.0.1:1\"]", 3),
        ("listen = [\"10.77.1.1:1\"]\ninsecure_loopback = true", 3),
        ("listen = [\"127.0.0.1:1\"]\ninsecure_loopback = true", 0),
    ] {
        let file = served.file("other.toml");
        fs::write(&file, format!("[api]\n{api}\n[[network]]\nname = \"a\"\ninterfaces = \"x\"\n"))
            .unwrap();
        let argv = [crate::common::server::BINARY, "check", &file];
        let done = served.host.command(&argv).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{api}: {said}");
        assert_eq!(said.contains("without TLS"), code == 3, "{said}");
    }
}
