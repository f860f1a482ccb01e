//! What the documentation tells a newcomer to type does what it says.

use serde_json::Value;

use crate::common::link::Raw;
use crate::common::server::BINARY;
use crate::served::{ADDRESS, ADMIN, Served};

/// The shell examples of the page that ask by HTTP.
fn examples() -> Vec<&'static str> {
    let page = include_str!("../../docs/operations.md");
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.filter(|block| block.contains("curl ")).collect()
}

/// Runs an example as it stands, but for where the server is and its addresses.
#[track_caller]
fn run(served: &Served, example: &str) -> String {
    let here = example
        .replace("/run/foreshadow/control.sock", &served.file("control.sock"))
        .replace("10.0.0.1:8067", ADDRESS)
        .replace("10.0.0.", "10.77.1.");
    let (dir, config) = (served.world.dir().display(), served.server.config());
    served.host.sh(&format!(
        "set -e; cd {dir}; TOKEN={ADMIN}\n\
         curl() {{ command curl -sS --fail-with-body --max-time 60 \"$@\"; }}\n\
         foreshadow() {{ {BINARY} \"$@\" --config {}; }}\n{here}",
        config.display()
    ))
}

#[test]
fn the_examples_of_the_documentation_work() {
    let served = Served::start("walk", "");
    let examples = examples();
    assert!(examples.len() >= 4, "{examples:#?}");
    for example in &examples {
        assert!(!run(&served, example).is_empty(), "{example}");
    }
    let get = |path: &str| served.ask(ADMIN, "GET", path, "").json();
    // An instance with a MAC to boot with, whose address is there before it boots.
    let instances = get("/v1/instances");
    let all = instances["instances"].as_array().unwrap();
    let made: Vec<&Value> = all.iter().filter(|one| one["mac_made"] == true).collect();
    assert_eq!((all.len(), made.len()), (2, 2), "{instances}");
    let shop = get("/v1/instances/vm-7");
    assert_eq!((&shop["account"], &shop["application"]), (&"shop".into(), &"web".into()), "{shop}");
    let mac: foreshadow::base::Mac = shop["mac"].as_str().unwrap().parse().unwrap();
    let mut raw = Raw::on(&served.world.client("c1", &served.host, "br0"));
    assert_eq!(raw.lease(mac.0).addr.to_string(), shop["address"].as_str().unwrap());
    // What is in quarantine is let go again.
    assert_eq!(served.server.state_of("10.77.1.150"), "quarantined");
    served.server.ask(&["leases", "release", "10.77.1.150"]);
    assert_ne!(served.server.state_of("10.77.1.150"), "quarantined");
    // What was reported is there, and every write has its record.
    let reported = served.server.ask(&["telemetry", "instances"]);
    assert!(reported.contains("vm-7"), "{reported}");
    let acts = served.server.ask(&["audit", "--json"]);
    for of in ["vm-7", "shop", "web"] {
        assert!(acts.contains(of), "{of}: {acts}");
    }
    let who = served.server.ask(&["who", shop["address"].as_str().unwrap()]);
    assert!(who.contains("account shop"), "{who}");
}
