//! Debian's prometheus scrapes a server under traffic and answers every query of the dashboard and
//! of the rules; its promtool says that the rules are right, and that each alert fires.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::common::process::Proc;
use crate::common::world::World;
use crate::common::{PATIENCE, look_for, require, wait_until};
use crate::http::{encode, tcp};
use crate::traffic::{LISTEN, Stage};

/// Where prometheus answers, on the loopback of the server's host.
const PROMETHEUS: &str = "127.0.0.1:9090";
/// Queries of the dashboard that are empty while all is well.
const CALM: [&str; 1] = ["changes(process_start_time_seconds"];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[track_caller]
fn promtool(words: &[&str]) -> Output {
    require("promtool", "prometheus");
    let done = Command::new("promtool").args(words).current_dir(path("")).output().unwrap();
    let said = [&done.stdout[..], &done.stderr[..]].concat();
    assert!(done.status.success(), "promtool {words:?}: {}", String::from_utf8_lossy(&said));
    done
}

/// What a rule of a file in `config/prometheus` says: its name, its expression, the rest.
struct Rule {
    name: String,
    expr: String,
    rest: String,
}

/// The rules of a file, which is written plainly: one key a line, expressions in blocks.
fn rules(file: &str) -> Vec<Rule> {
    let text = read(&format!("config/prometheus/{file}"));
    let rules = text.split("\n      - ").skip(1).map(|rule| {
        let (head, body) = rule.split_once('\n').unwrap();
        let name = head.split_once(": ").unwrap().1.to_owned();
        let (_, after) = body.split_once("        expr: ").unwrap();
        let key = |line: &&str| line.starts_with("        ") && !line.starts_with("          ");
        let of_expr = |line: &&str| !key(line);
        let mut lines = after.lines();
        let first = lines.next().unwrap();
        let block: Vec<&str> = lines.clone().take_while(of_expr).map(str::trim).collect();
        let expr = if first.starts_with('>') || first.starts_with('|') {
            block.join(" ")
        } else {
            first.to_owned()
        };
        Rule { name, expr, rest: after.to_owned() }
    });
    rules.collect()
}

/// The anchors of the headings of a page.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    let anchor = |heading: &str| heading.to_lowercase().replace(' ', "-").replace([',', '`'], "");
    headings.map(anchor).collect()
}

#[test]
fn every_alert_is_valid_fires_and_leads_to_what_to_do() {
    promtool(&["check", "config", "config/prometheus/prometheus.yml"]);
    promtool(&[
        "check",
        "rules",
        "config/prometheus/recording.yml",
        "config/prometheus/alerts.yml",
    ]);
    promtool(&["test", "rules", "tests/metrics/rules.yml"]);
    let (tests, pages) = (read("tests/metrics/rules.yml"), anchors(&read("docs/operations.md")));
    let alerts = rules("alerts.yml");
    assert!(alerts.len() > 20, "{}", alerts.len());
    for Rule { name, rest, .. } in alerts {
        let fires = format!("alertname: {name}\n");
        let test = tests.split_once(&fires).unwrap_or_else(|| panic!("no test of {name}")).1;
        let expected = test.lines().nth(1).unwrap_or_default();
        assert!(expected.contains("exp_alerts:"), "{name} is not seen to fire");
        let (_, runbook) = rest.split_once("runbook: \"docs/operations.md#").expect(&name);
        let anchor = runbook.split('"').next().unwrap();
        assert!(pages.contains(anchor), "{name} leads to #{anchor}, which is not there");
        assert!(rest.contains("summary: \"") && rest.contains("severity: "), "{name}");
    }
}

/// A prometheus that scrapes the server, with the rules of `config/prometheus`.
fn start(stage: &Stage) -> Proc {
    require("prometheus", "prometheus");
    let dir = stage.world.dir();
    for file in ["alerts.yml", "recording.yml"] {
        fs::copy(path("config/prometheus").join(file), dir.join(file)).unwrap();
    }
    let example = read("config/prometheus/prometheus.yml");
    assert!(example.contains(LISTEN));
    let config = dir.join("prometheus.yml");
    fs::write(&config, example.replace("interval: 15s", "interval: 1s")).unwrap();
    let argv = [
        "prometheus".to_owned(),
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", dir.join("tsdb").display()),
        format!("--web.listen-address={PROMETHEUS}"),
    ];
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let proc = stage.world.spawn(&stage.host, "prometheus", &argv);
    wait_until("prometheus", PATIENCE, || {
        tcp(&stage.host, PROMETHEUS, "/-/ready", "*/*").is_some_and(|a| a.status == 200)
    });
    proc
}

/// The answer to a query: how many series there are with a number.
#[track_caller]
fn ask(stage: &Stage, query: &str) -> usize {
    let path = format!("/api/v1/query?query={}", encode(query));
    let answer = tcp(&stage.host, PROMETHEUS, &path, "*/*").expect("an answer of prometheus");
    let said: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(said["status"], "success", "{query}: {said}");
    let series = said["data"]["result"].as_array().expect("series");
    series.iter().filter(|series| series["value"][1] != "NaN").count()
}

/// Waits until `query` has data, while clients go on; whether it ever has.
fn has_data(stage: &Stage, query: &str) -> bool {
    look_for(PATIENCE, || (ask(stage, query) > 0).then_some(())).is_some()
}

/// Every query of the dashboard, its variables set to what Grafana would set them to.
fn queries_of_dashboard() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("expr").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| collect(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    let dashboard = serde_json::from_str(&read("config/grafana/foreshadow.json")).unwrap();
    collect(&dashboard, &mut found);
    let set = |query: String| {
        let query = query.replace("$instance", ".*").replace("$network", ".*");
        let query = query.replace("$__rate_interval", "1m");
        assert!(!query.contains('$'), "{query}");
        query
    };
    found.into_iter().map(set).collect()
}

/// The selectors in a query: names of metrics with their matchers.
fn selectors(query: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let mut found = BTreeSet::new();
    let mut rest = query;
    while let Some(at) = rest.find(|c: char| is_name(c) || c == '"') {
        rest = &rest[at..];
        if let Some(text) = rest.strip_prefix('"') {
            rest = text.split_once('"').expect("a closing quote").1;
            continue;
        }
        let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        if !name.starts_with("foreshadow") && !name.starts_with("process_") && name != "up" {
            continue;
        }
        let matchers = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let matchers = matchers.map_or(String::new(), |(inside, _)| format!("{{{inside}}}"));
        rest = &after[matchers.len()..];
        found.insert(name.to_owned() + &matchers);
    }
    found
}

#[test]
fn prometheus_scrapes_and_answers_every_query() {
    let mut stage = Stage::set("metrics-prometheus");
    let _prometheus = start(&stage);
    wait_until("the first scrape", PATIENCE, || ask(&stage, "up{job=\"foreshadow\"} == 1") == 1);
    // What happens after the first scrape has a rate.
    stage.play(100);
    let mut empty = Vec::new();
    let dashboard = queries_of_dashboard();
    assert!(dashboard.len() > 50);
    for query in dashboard {
        let is_calm = CALM.iter().any(|calm| query.starts_with(calm));
        let wanted = if is_calm { selectors(&query) } else { BTreeSet::from([query.clone()]) };
        ask(&stage, &query);
        empty.extend(wanted.into_iter().filter(|query| !has_data(&stage, query)));
    }
    for Rule { expr, .. } in rules("recording.yml") {
        empty.extend(Some(expr).filter(|expr| !has_data(&stage, expr)));
    }
    // Nothing is wrong here, so that no alert fires: what they look at must be there.
    for Rule { name, expr, .. } in rules("alerts.yml") {
        ask(&stage, &expr);
        let looked_at = selectors(&expr);
        assert!(!looked_at.is_empty(), "{name}: {expr}");
        empty.extend(looked_at.into_iter().filter(|selector| !has_data(&stage, selector)));
    }
    assert!(empty.is_empty(), "without data: {empty:#?}");
    let firing = "ALERTS{alertstate=\"firing\", severity=\"critical\"}";
    assert_eq!(ask(&stage, firing), 0, "a critical alert while all is well");
}

#[test]
fn promtool_finds_no_fault_in_the_names() {
    let stage = Stage::set("metrics-lint");
    let text = tcp(&stage.host, LISTEN, "/metrics", "text/plain").expect("an answer").body;
    let mut lint = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of the Debian package prometheus");
    lint.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = lint.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    drop::<World>(stage.world);
}
