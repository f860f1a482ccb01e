//! schemathesis against a real server, with all of its checks.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::common::link::{Raw, mac};
use crate::served::{ADDRESS, ADMIN, Served};

/// Accounts that schemathesis finds there.
const DECLARED: &str = "rate = 0\n[[account]]\nname = \"base\"\n\
    [[account.application]]\nname = \"web\"\n";

/// How a report is written of what was generated: the document says only that it is text.
const HOOKS: &str = r#"
import json
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    if not isinstance(value, str):
        return json.dumps(value).encode()
    return json.dumps({"instance": "vm-1", "metrics": {"load": len(value)}}).encode()
"#;

/// Leases of machines on the wire, instances and a reservation: answers are to have something in
/// them.
fn furnish(served: &Served) {
    let guest = served.world.client("guest", &served.host, "br0");
    let mut raw = Raw::on(&guest);
    for number in 1..=20 {
        raw.lease(mac(number));
    }
    for number in 0..20 {
        let body = json!({ "id": format!("vm-{number}"), "network": "lan", "account": "base",
            "application": "web", "hostname": format!("vm-{number}") });
        let made = served.ask(ADMIN, "POST", "/v1/instances", &body.to_string());
        assert_eq!(made.status, 201, "{made:?}");
    }
    let body = json!({ "id": "printer", "network": "lan", "mac": "02:00:00:00:09:01",
        "address": "10.77.1.9", "account": "base" });
    let made = served.ask(ADMIN, "POST", "/v1/reservations", &body.to_string());
    assert_eq!(made.status, 201, "{made:?}");
}

#[test]
fn schemathesis_finds_nothing() {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/schemathesis/bin/st");
    assert!(tool.exists(), "{} is missing: run scripts/ensure-packages test", tool.display());
    let served = Served::start("schema", DECLARED);
    furnish(&served);
    let hooks = served.file("hooks.py");
    fs::write(&hooks, HOOKS).unwrap();
    let config = served.file("schemathesis.toml");
    // What is right by its schema may still not go together with what is there, or be too much.
    // Who follows events waits for some.
    let text = format!(
        "headers = {{ Authorization = \"Bearer {ADMIN}\" }}\ntls-verify = \"{}\"\n\
         [checks.positive_data_acceptance]\n\
         expected-statuses = [\"2xx\", \"304\", \"401\", \"403\", \"404\", \"409\", \"412\", \"413\", \"422\"]\n\
         [[operations]]\ninclude-path = \"/v1/events\"\nparameters = {{ \"query.follow\" = 0 }}\n\
         [phases.stateful.inference]\nalgorithms = [\"dependency-analysis\"]\n",
        served.file("ca.pem"),
    );
    fs::write(&config, text).unwrap();
    let url = format!("https://{ADDRESS}/openapi.json");
    let argv = [
        tool.to_str().unwrap(),
        "--config-file",
        &config,
        "run",
        "--no-color",
        "--seed",
        "1",
        "-n",
        "20",
        &url,
    ];
    let mut command = served.host.command(&argv);
    command.env("SCHEMATHESIS_HOOKS", &hooks);
    let done = command.current_dir(served.world.dir()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let shown = said.find("= ERRORS =").or(said.find("= FAILURES =")).unwrap_or(0);
    assert!(done.status.success(), "{}", &said[shown..]);
    assert!(said.contains("Tested: "), "{said}");
}
