//! schemathesis against a real server, with all of its checks.

use std::fs;
use std::path::Path;

use crate::served::{ADDRESS, ADMIN, Served};

#[test]
fn schemathesis_finds_nothing() {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/schemathesis/bin/st");
    assert!(tool.exists(), "{} is missing: run scripts/ensure-packages test", tool.display());
    let served = Served::start("schema", "rate = 0");
    let config = served.file("schemathesis.toml");
    // What is right by its schema may still not go together with what is there, or be too much.
    // Who follows events waits for some.
    let text = format!(
        "headers = {{ Authorization = \"Bearer {ADMIN}\" }}\ntls-verify = \"{}\"\n\
         [checks.positive_data_acceptance]\n\
         expected-statuses = [\"2xx\", \"304\", \"401\", \"403\", \"404\", \"409\", \"412\", \"413\", \"422\"]\n\
         [[operations]]\ninclude-path = \"/v1/events\"\nparameters = {{ \"query.follow\" = 0 }}\n",
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
    let done = command.current_dir(served.world.dir()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let shown = said.find("= ERRORS =").or(said.find("= FAILURES =")).unwrap_or(0);
    assert!(done.status.success(), "{}", &said[shown..]);
    assert!(said.contains("Tested: "), "{said}");
}
