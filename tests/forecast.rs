//! The commands that look ahead without a server, as processes, on series that are made here.

// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_foreshadow");
const WANTED: [&str; 5] = ["0.025", "0.1", "0.5", "0.9", "0.975"];

fn started(words: &[&str]) -> Child {
    Command::new(PROGRAM)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// One request to a process of its own.
fn once(command: &str, request: &str) -> Output {
    let mut child = started(&[command]);
    child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A process that answers line by line.
struct Talk {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Talk {
    fn new(command: &str) -> Talk {
        let mut child = started(&[command, "--jsonl"]);
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Talk { child, input, output: BufReader::new(output) }
    }

    /// Asks, and has the answer before anything else is asked.
    fn ask(&mut self, request: &str) -> Value {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{request}").unwrap();
        input.flush().unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line:?}"))
    }

    /// No more is asked: the process ends, and well.
    fn end(mut self) {
        drop(self.input.take());
        assert!(self.child.wait().unwrap().success());
    }
}

fn request(history: &[Option<f64>], horizon: usize) -> Value {
    json!({
        "id": "made", "origin": history.len(), "frequency_seconds": 300,
        "start": "2026-01-05T00:00:00Z", "history": history, "horizon_steps": horizon,
        "quantiles": [0.025, 0.1, 0.5, 0.9, 0.975], "season_lengths": [288, 2016],
        "known_events": [], "not_known": {"to": "anyone"},
    })
}

/// A day's wave of five-minute points with a little noise.
fn wave(t: usize) -> f64 {
    let noise = ((t * t * 7_919 + t * 31) % 101) as f64 / 101.0 - 0.5;
    60.0 + 30.0 * (t as f64 * std::f64::consts::TAU / 288.0).sin() + 3.0 * noise
}

/// The rows of a response, by quantile; checked to be whole.
#[track_caller]
fn rows(response: &Value, horizon: usize) -> Vec<Vec<f64>> {
    let row = |wanted: &&str| -> Vec<f64> {
        let row = response["quantiles"][*wanted].as_array();
        let row = row.unwrap_or_else(|| panic!("no {wanted}: {response}"));
        row.iter().map(|value| value.as_f64().filter(|value| value.is_finite()).unwrap()).collect()
    };
    let rows: Vec<Vec<f64>> = WANTED.iter().map(row).collect();
    assert!(rows.iter().all(|row| row.len() == horizon), "{response}");
    for step in 0..horizon {
        let sorted = rows.windows(2).all(|pair| pair[0][step] <= pair[1][step] + 1e-9);
        assert!(sorted, "quantiles cross at step {step}: {response}");
    }
    rows
}

#[test]
fn one_request_gets_one_response() {
    let history: Vec<Option<f64>> = (0..2_000).map(|t| (t % 97 != 5).then(|| wave(t))).collect();
    // Over several lines, as people write it.
    let pretty = serde_json::to_string_pretty(&request(&history, 6)).unwrap();
    let done = once("forecast", &pretty);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let rows = rows(&serde_json::from_slice(&done.stdout).unwrap(), 6);
    for (step, said) in rows[2].iter().enumerate() {
        let comes = wave(2_000 + step);
        assert!((said - comes).abs() < 3.0, "step {step}: {said} for {comes}");
        let width = rows[3][step] - rows[1][step];
        assert!((0.5..8.0).contains(&width), "the 80 % band of noise of 3 is {width} wide");
    }
}

#[test]
fn lines_are_answered_as_they_come_and_bad_ones_by_their_fault() {
    let mut talk = Talk::new("forecast");
    let good = request(&(0..500).map(|t| Some(wave(t))).collect::<Vec<_>>(), 3).to_string();
    let first = talk.ask(&good);
    rows(&first, 3);
    let with = |key: &str, value: Value| {
        let mut request = request(&[Some(1.0)], 1);
        request[key] = value;
        request.to_string()
    };
    let bad = [
        ("nonsense".to_owned(), "expected"),
        ("{}".to_owned(), "history"),
        (r#"{"history":[NaN],"horizon_steps":1,"quantiles":[0.5]}"#.to_owned(), "line 1"),
        (with("history", json!(["many"])), "invalid type"),
        (with("horizon_steps", json!(-1)), "expected usize"),
        (with("horizon_steps", json!(1_000_000)), "at most 4032"),
        (with("quantiles", json!([0.5, 1.01])), "from 0 to 1"),
        (with("quantiles", json!(vec![0.5; 300])), "at most 256"),
    ];
    for (line, why) in bad {
        let said = talk.ask(&line);
        let fault = said["error"].as_str().unwrap_or_else(|| panic!("{line}: {said}"));
        assert!(fault.contains(why), "{line}: {fault}");
    }
    assert_eq!(talk.ask(&good), first, "the same question has the same answer");
    talk.end();
    let done = once("forecast", "nonsense");
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).starts_with("error: expected"));
    assert!(done.stdout.is_empty());
}

#[test]
fn bad_histories_have_a_stated_fallback() {
    let mut talk = Talk::new("forecast");
    let mut of = |history: Vec<Option<f64>>| {
        let found = talk.ask(&request(&history, 4).to_string());
        rows(&found, 4)
    };
    // Nothing is known: zero, give or take one.
    for history in [vec![], vec![None; 700], vec![Some(1e300); 50]] {
        let rows = of(history);
        assert_eq!(rows[2], [0.0; 4]);
        assert!(rows[4][3] > 1.0);
    }
    // Constants stay. Seen six times they are doubted, seen often they are not.
    let (few, many) = (of(vec![Some(7.0); 6]), of(vec![Some(7.0); 900]));
    assert_eq!((few[2][0], many[2][0]), (7.0, 7.0));
    assert!(few[3][0] - few[1][0] > 1.0 && many[3][0] - many[1][0] < 0.01);
    // Too few for models: the last one, with bands as wide as what changed.
    let few = of([4.0, 9.0, 5.0, 8.0].map(Some).to_vec());
    assert!(few[2][0] == 8.0 && few[3][0] - few[1][0] > 4.0, "{few:?}");
    assert!(few.iter().flatten().all(|&value| value >= 0.0), "{few:?}");
    // Counts that are negative are no counts: what is said may be negative as well.
    let below = of((0..900).map(|t| Some(-wave(t))).collect());
    assert!((below[2][0] + wave(900)).abs() < 3.0, "{below:?}");
    // What was never negative will not be.
    let counts = of((0..900).map(|t| Some(f64::from(u8::from(t % 50 == 0)))).collect());
    assert!(counts.iter().flatten().all(|&value| value >= 0.0));
    // One absurd value is a gap, and spoils nothing.
    let mut spoilt: Vec<Option<f64>> = (0..900).map(|t| Some(wave(t))).collect();
    (spoilt[700], spoilt[850]) = (Some(1e200), Some(-1e18));
    let rows = of(spoilt);
    assert!((rows[2][0] - wave(900)).abs() < 3.0, "{rows:?}");
    // The newest are missing: wider.
    let mut stale: Vec<Option<f64>> = (0..900).map(|t| Some(wave(t))).collect();
    let width = |rows: &[Vec<f64>]| rows[3][0] - rows[1][0];
    let fresh = width(&of(stale.clone()));
    stale[860..].fill(None);
    assert!(width(&of(stale)) > 1.5 * fresh);
    talk.end();
}

fn creates(account: &str, start: &str, history: &[f64], events: Value) -> String {
    json!({
        "id": account, "account": account, "kind": "creates", "frequency_seconds": 900,
        "start": start, "history": history, "horizon_steps": 1,
        "quantiles": [0.025, 0.1, 0.5, 0.9, 0.975], "season_lengths": [96, 672],
        "known_events": events,
    })
    .to_string()
}

/// A batch of thirty at a quarter past two each night, and a quiet day.
fn nightly(periods: usize) -> Vec<f64> {
    (0..periods).map(|t| if t % 96 == 9 { 30.0 } else { 0.0 }).collect()
}

#[test]
fn creates_come_when_they_usually_do_and_when_they_were_announced() {
    let mut talk = Talk::new("forecast");
    let start = "2026-01-05T00:00:00Z";
    let mut median = |periods: usize, events: Value| {
        let found = talk.ask(&creates("a", start, &nightly(periods), events));
        rows(&found, 1)[2][0]
    };
    assert!((26.0..34.0).contains(&median(10 * 96 + 9, json!([]))));
    assert_eq!(median(10 * 96 + 40, json!([])), 0.0);
    let campaign = json!([{"announced": "2026-01-14T00:00:00Z", "at": "2026-01-15T12:00:00Z",
        "count": 50, "duration_s": 3600}]);
    assert!(median(10 * 96 + 48, campaign.clone()) > 25.0);
    assert_eq!(median(10 * 96 + 60, campaign), 0.0);
    talk.end();
}

#[test]
fn clocks_that_jump_and_counts_that_are_none_are_survived() {
    let mut talk = Talk::new("forecast");
    let odd = json!([{"at": "2026-01-15T12:00:00Z", "count": -5.0}, {"at": "2026-01-15T12:00:00Z",
        "count": 1e300, "duration_s": -1e300}]);
    let mut history = nightly(10 * 96 + 9);
    (history[50], history[51]) = (-3.0, 1e12);
    for start in ["2026-01-05T00:00:00Z", "2031-06-05T00:00:01Z", "1970-01-01T00:00:00Z"] {
        rows(&talk.ask(&creates("a", start, &history, odd.clone())), 1);
    }
    let right = talk.ask(&creates("a", "2026-01-05T00:00:00Z", &nightly(10 * 96 + 9), json!([])));
    assert!((26.0..34.0).contains(&rows(&right, 1)[2][0]), "{right}");
    let said = talk.ask(&creates("a", "yesterday", &nightly(9), json!([])));
    assert!(said["error"].as_str().unwrap().contains("\"yesterday\""), "{said}");
    talk.end();
}

#[test]
fn what_is_unusual_scores_when_it_comes() {
    let values = |spike: bool| -> Vec<Option<f64>> {
        let value = |t: usize| if spike && t == 1_500 { 300.0 } else { wave(t) };
        (0..1_700).map(|t| (t % 211 != 7).then(|| value(t))).collect()
    };
    let asked = |values: &[Option<f64>]| {
        json!({"id": "x", "timestamps": [], "values": values, "frequency_seconds": 300,
            "probation": 255})
        .to_string()
    };
    let scores = |said: &Value| -> Vec<f64> {
        said["scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect()
    };
    let mut talk = Talk::new("anomaly");
    let spiked = scores(&talk.ask(&asked(&values(true))));
    assert_eq!(spiked.len(), 1_700);
    assert!(spiked.iter().all(|score| (0.0..=1.0).contains(score)));
    let highest = (255..1_700).max_by(|a, b| spiked[*a].total_cmp(&spiked[*b])).unwrap();
    assert_eq!(highest, 1_500);
    assert!((0..1_700).filter(|t| t % 211 == 7).all(|t| spiked[t] == 0.0), "a gap scores");
    // What came later changed nothing before.
    let quiet = scores(&talk.ask(&asked(&values(false))));
    assert_eq!(quiet[..1_500], spiked[..1_500]);
    assert!(quiet[1_500] < 0.4 && spiked[1_500] > 0.5, "{} {}", quiet[1_500], spiked[1_500]);
    let fault = talk.ask(r#"{"values":"many"}"#);
    assert!(fault["error"].as_str().unwrap().contains("invalid type"), "{fault}");
    assert_eq!(talk.ask(r#"{"values":[]}"#), json!({"scores": []}));
    talk.end();
}
