//! Any lines as requests to look ahead, or to look for what is unusual: each is answered, by finite
//! numbers in order, or by its fault.

use foreshadow::forecast::line::{Forecaster, anomalies};
use serde_json::Value;

/// Words of the requests.
pub const WORDS: &[&[u8]] = &[
    b"\"history\":[",
    b"\"values\":[",
    b"\"horizon_steps\":12,",
    b"\"quantiles\":[0,0.5,1],",
    b"\"season_lengths\":[2,null,14],",
    b"\"kind\":\"creates\",",
    b"\"account\":\"b\",",
    b"\"frequency_seconds\":86400,",
    b"\"start\":\"9999-12-31T23:59:59Z\",",
    b"\"known_events\":[{\"at\":\"1970-01-02T00:00:00Z\",\"count\":7,\"duration_s\":1e9}],",
    b"\"probation\":18446744073709551615,",
    b"null,null,null,null,null,null,null,null,",
    b"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,",
    b"0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,",
    b"1e308,",
    b"-1e15,",
    b"5e-324,",
    b"]}\n{\"id\":\"",
];

/// Requests of one input that are played.
const LINES_MAX: usize = 6;

/// Plays one input.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut forecaster = Forecaster::new();
    for line in text.lines().take(LINES_MAX) {
        if let Ok(response) = anomalies(line) {
            let said: Value = serde_json::from_str(&response).expect("JSON");
            let scores = said["scores"].as_array().expect("scores");
            let is_score = |score: &Value| (0.0..=1.0).contains(&score.as_f64().expect("a number"));
            assert!(scores.iter().all(is_score), "{response}");
        }
        if let Ok(response) = forecaster.answer(line) {
            rising(line, &response);
        }
    }
}

/// At each step, a higher quantile is no lower number.
fn rising(request: &str, response: &str) {
    let (asked, said): (Value, Value) = (
        serde_json::from_str(request).expect("it was understood"),
        serde_json::from_str(response).expect("JSON"),
    );
    let mut wanted: Vec<f64> =
        asked["quantiles"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
    wanted.sort_by(f64::total_cmp);
    let row = |wanted: &f64| -> Vec<f64> {
        let row = said["quantiles"][format!("{wanted:?}")].as_array().expect("a row");
        row.iter().map(|value| value.as_f64().expect("a finite number")).collect()
    };
    let rows: Vec<Vec<f64>> = wanted.iter().map(row).collect();
    for pair in rows.windows(2) {
        let slack = |low: &f64| 1e-6 * low.abs().max(1.0);
        let rises = pair[0].iter().zip(&pair[1]).all(|(low, high)| *low <= high + slack(low));
        assert!(rises, "{request}: {response}");
    }
}
