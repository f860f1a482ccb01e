//! `docs/metrics.md` lists what the endpoint says, no more and no less; both listeners and both
//! formats say the same. `BLESS=1 cargo test` rewrites the table.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::common::{PATIENCE, wait_for};
use crate::http::{tcp, unix};
use crate::text::{Family, Figure, parse};
use crate::traffic::{LISTEN, Stage};

const OPEN: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
const BEGIN: &str = "<!-- metrics: begin -->\n";
const END: &str = "<!-- metrics: end -->";

/// The value of the figure of this name with these labels among its own.
pub(crate) fn value(figures: &[Figure], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |of: &BTreeMap<String, String>| {
        labels.iter().all(|(label, want)| of.get(*label).is_some_and(|found| found == want))
    };
    figures.iter().find(|(n, of, _)| n == name && fits(of)).map(|(.., value)| *value)
}

/// The table as the endpoint would have it.
fn table(families: &BTreeMap<String, Family>) -> String {
    let mut table = "| name | type | labels | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for (name, family) in families {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels, help) = (&family.kind, labels.join(", "), &family.help);
        table += &format!("| `{name}` | {kind} | {labels} | {help} |\n");
    }
    table
}

fn compare_with_docs(families: &BTreeMap<String, Family>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let mut text = fs::read_to_string(&path).unwrap();
    let range = |text: &str| {
        let begin = text.find(BEGIN).expect("where the table begins") + BEGIN.len();
        begin..begin + text[begin..].find(END).expect("where it ends")
    };
    let want = table(families);
    if std::env::var_os("BLESS").is_some() {
        text.replace_range(range(&text), &want);
        fs::write(&path, &text).unwrap();
    }
    for (found, want) in text[range(&text)].lines().zip(want.lines()) {
        assert_eq!(found, want, "docs/metrics.md: run with BLESS=1");
    }
    assert_eq!(text[range(&text)], want, "docs/metrics.md: run with BLESS=1");
}

#[test]
fn the_table_is_what_the_endpoint_says_in_every_format_and_place() {
    let stage = Stage::set("metrics-names");
    let socket = stage.world.dir().join("control.sock");
    let answer = |accept: &str| {
        let answer = tcp(&stage.host, LISTEN, "/metrics", accept).expect("an answer");
        assert_eq!(answer.status, 200);
        answer
    };
    // The last packets may still be on their way.
    let open = wait_for("what the clients did", PATIENCE, || {
        let open = answer(OPEN);
        let (_, figures) = parse(&open.body);
        let bound =
            value(&figures, "foreshadow_bindings", &[("family", "v4"), ("state", "declined")]);
        let other = [("type", "other"), ("reason", "unknown-type")];
        let dropped = value(&figures, "foreshadow_packets_total", &other);
        // The forecaster looks by itself, now and then; it tells the engine even that it knows nothing.
        let forecast = |name: &str| value(&figures, &format!("foreshadow_forecast_{name}"), &[]);
        let foreseen = forecast("up") == Some(1.0) && forecast("histories") == Some(1.0);
        let told = foreseen && forecast("told_total") == Some(1.0);
        (told && bound == Some(1.0) && dropped == Some(1.0)).then_some(open)
    });
    assert!(open.head.contains("content-type: application/openmetrics-text; version=1.0.0"));
    let (families, figures) = parse(&open.body);
    compare_with_docs(&families);

    let text = answer("text/plain");
    assert!(text.head.contains("content-type: text/plain; version=0.0.4"), "{}", text.head);
    assert_eq!(parse(&text.body).0, families);
    let local = unix(&socket, "/metrics", OPEN).expect("the control socket's answer");
    assert_eq!((local.status, parse(&local.body).0), (200, families));
    assert_eq!(tcp(&stage.host, LISTEN, "/v1/status", "*/*").map(|a| a.status), Some(404));

    let of = |name: &str, labels: &[(&str, &str)]| {
        value(&figures, name, labels).unwrap_or_else(|| panic!("no {name} {labels:?}"))
    };
    let lan = [("network", "lan"), ("family", "v4")];
    let state = |state| of("foreshadow_pool_addresses", &[lan[0], lan[1], ("state", state)]);
    assert_eq!((state("leased"), state("quarantined"), state("held")), (20.0, 1.0, 0.0));
    assert_eq!(state("free") + 21.0, of("foreshadow_pool_size", &lan));
    let answered = [("family", "v4"), ("type", "discover"), ("outcome", "answered")];
    assert!(of("foreshadow_packets_total", &answered) >= 22.0);
    let acks = of("foreshadow_reply_duration_seconds_count", &[("family", "v4"), ("type", "ack")]);
    assert!(acks >= 22.0, "{acks}");
    assert_eq!(of("foreshadow_store_writable", &[]), 1.0);
    assert_eq!(of("foreshadow_engine_up", &[]), 1.0);
    assert!(of("foreshadow_store_commits_total", &[]) > 0.0);
    assert!(of("process_resident_memory_bytes", &[]) > 1e6);
    assert!(of("process_cpu_seconds_total", &[]) >= 0.0);
}
