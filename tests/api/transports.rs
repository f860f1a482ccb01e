//! Who a caller is by the socket: by the kernel's word on the control socket, by a certificate or a
//! token on TCP; for every operation of the document.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::common::require;
use crate::roles::{body, filled};
use crate::served::{ADDRESS, OPERATOR, Served};

/// Somebody who owns nothing, and is in no group.
const STRANGER: &str = "65534";

/// The roles, from the least.
const ROLES: [&str; 3] = ["read", "operate", "admin"];

/// The status of a request by these words in front of curl's.
fn status(served: &Served, by: &[&str], method: &str, url: &str, body: &str) -> u16 {
    let mut argv = by.to_vec();
    argv.extend(["--max-time", "60", "-o", "/dev/null", "-w", "%{http_code}", "-X", method]);
    if !body.is_empty() {
        argv.extend(["-H", "content-type: application/json", "--data-binary", body]);
    }
    argv.push(url);
    let done = served.host.command(&argv).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    said.parse().unwrap_or_else(|_| panic!("{argv:?}: {said}"))
}

fn rank(role: &str) -> Option<usize> {
    ROLES.iter().position(|known| *known == role)
}

/// How a caller of this role is refused what needs another, if at all.
fn denied(role: Option<&str>, needed: Option<&str>) -> Option<u16> {
    match (role, needed) {
        (_, None) => None,
        (None, Some(_)) => Some(401),
        (Some(role), Some(needed)) => (rank(role) < rank(needed)).then_some(403),
    }
}

#[test]
fn the_socket_says_who_calls() {
    require("setpriv", "util-linux");
    let served = Served::start("transports", "rate = 0");
    let socket = served.file("control.sock");
    // As an operator who opened it further: then the peer's user and group decide.
    std::fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    std::fs::set_permissions(served.world.dir(), Permissions::from_mode(0o755)).unwrap();
    let local = ["curl", "-sS", "--unix-socket", &socket];
    let user = |uid: &str, gid: &str| {
        let (uid, gid) = (format!("--reuid={uid}"), format!("--regid={gid}"));
        let words = ["setpriv", &uid, &gid, "--clear-groups"].map(str::to_owned);
        words.into_iter().chain(local.map(str::to_owned)).collect::<Vec<_>>()
    };
    let (authority, cert, key) =
        (served.file("ca.pem"), served.file("orchestrator.pem"), served.file("orchestrator.key"));
    let bearer = format!("authorization: Bearer {OPERATOR}");
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let tcp = ["curl", "-sS", "--cacert", &authority];
    let at_tcp = format!("https://{ADDRESS}");
    let callers = [
        ("root", owned(&local), "http://foreshadow", Some("admin")),
        ("the server's group", user(STRANGER, "0"), "http://foreshadow", Some("admin")),
        ("a stranger", user(STRANGER, STRANGER), "http://foreshadow", Some("read")),
        // A token counts before the user, and gives no less for it.
        (
            "a stranger's token",
            [user(STRANGER, STRANGER), owned(&["-H", &bearer])].concat(),
            "http://foreshadow",
            Some("operate"),
        ),
        (
            "root's wrong token",
            owned(&[&local[..], &["-H", "authorization: Bearer no"]].concat()),
            "http://foreshadow",
            None,
        ),
        (
            "a certificate",
            owned(&[&tcp[..], &["--cert", &cert, "--key", &key]].concat()),
            &*at_tcp,
            Some("operate"),
        ),
        ("a token", owned(&[&tcp[..], &["-H", &bearer]].concat()), &*at_tcp, Some("operate")),
        ("nobody", owned(&tcp), &*at_tcp, None),
    ];
    let document = served.ask("", "GET", "/openapi.json", "").json();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let needed = operation.pointer("/security/0/bearer/0").and_then(Value::as_str);
            let open =
                operation.pointer("/security/0").is_some_and(|it| *it == serde_json::json!({}));
            assert!(open || needed.and_then(rank).is_some(), "{method} {path} declares no role");
            for (who, by, url, role) in &callers {
                let by: Vec<&str> = by.iter().map(String::as_str).collect();
                let url = format!("{url}{}", filled(path));
                let got = status(&served, &by, &method.to_uppercase(), &url, body(method, path));
                let what = format!("{method} {path} by {who}: {got}");
                match denied(*role, needed) {
                    Some(want) => assert_eq!(got, want, "{what}"),
                    None => assert!(![401, 403].contains(&got), "{what}"),
                }
            }
        }
    }
}
