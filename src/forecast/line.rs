//! Requests and responses as JSON, one a line: the protocol of `foreshadow forecast` and
//! `foreshadow anomaly`.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::base::{Span, Timestamp};

use super::anomaly::Detector;
use super::creates::{Asked, Fleet};
use super::plan::Plan;
use super::{Request, forecast};

/// The most steps that are forecast, however many are asked for.
pub const HORIZON_MAX: usize = 4_032;
/// The most quantiles of one request.
pub const QUANTILES_MAX: usize = 256;

/// A forecast that is wanted. Other fields are ignored.
#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(default)]
    id: String,
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    frequency_seconds: f64,
    #[serde(default)]
    start: Option<String>,
    history: Vec<Option<f64>>,
    horizon_steps: usize,
    quantiles: Vec<f64>,
    #[serde(default)]
    season_lengths: Vec<Option<f64>>,
    #[serde(default)]
    known_events: Vec<Event>,
}

/// Creates that are announced.
#[derive(Debug, Deserialize)]
struct Event {
    #[serde(default)]
    announced: Option<String>,
    at: String,
    count: f64,
    #[serde(default)]
    duration_s: f64,
}

/// A series to look for anomalies in.
#[derive(Debug, Deserialize)]
struct Suspect {
    values: Vec<Option<f64>>,
    #[serde(default)]
    frequency_seconds: f64,
    #[serde(default)]
    probation: usize,
}

#[derive(Debug, Serialize)]
struct Scores {
    scores: Vec<f64>,
}

/// Answers requests for forecasts; what accounts create is learnt from one request to the next.
#[derive(Debug, Default)]
pub struct Forecaster {
    fleet: Fleet,
}

impl Forecaster {
    /// One that has seen nothing yet.
    pub fn new() -> Forecaster {
        Forecaster::default()
    }

    /// The response to one request, without the end of the line.
    ///
    /// # Errors
    ///
    /// Says in words what is wrong with a request that is no JSON, lacks a field, or asks for too
    /// much.
    pub fn answer(&mut self, request: &str) -> Result<String, String> {
        let wanted: Wanted = serde_json::from_str(request).map_err(|why| why.to_string())?;
        if wanted.horizon_steps > HORIZON_MAX {
            let steps = wanted.horizon_steps;
            return Err(format!("horizon_steps is {steps}, want at most {HORIZON_MAX}"));
        }
        if wanted.quantiles.len() > QUANTILES_MAX {
            let many = wanted.quantiles.len();
            return Err(format!("{many} quantiles, want at most {QUANTILES_MAX}"));
        }
        if let Some(odd) = wanted.quantiles.iter().find(|q| !(0.0..=1.0).contains(*q)) {
            return Err(format!("quantile {odd}, want one from 0 to 1"));
        }
        let history: Vec<f64> =
            wanted.history.iter().map(|value| value.unwrap_or(f64::NAN)).collect();
        let rows = match creates(&wanted, &history)? {
            Some((start, step, plans)) => self.fleet.forecast(&Asked {
                // A key of its own for each series: an account, or an application of one.
                account: if wanted.id.is_empty() {
                    wanted.account.as_deref().unwrap_or_default()
                } else {
                    &wanted.id
                },
                start,
                step,
                history: &history,
                horizon: wanted.horizon_steps,
                quantiles: &wanted.quantiles,
                plans: &plans,
            }),
            None => {
                let seasons = seasons(&wanted.season_lengths);
                let (horizon, quantiles) = (wanted.horizon_steps, &wanted.quantiles);
                forecast(&Request { history: &history, horizon, quantiles, seasons: &seasons })
                    .values
            }
        };
        Ok(written(&wanted.quantiles, &rows))
    }
}

type Creates = (Timestamp, Span, Vec<Plan>);

/// What the model of creates needs beyond a history, if that is what is asked about and its time
/// is known.
fn creates(wanted: &Wanted, history: &[f64]) -> Result<Option<Creates>, String> {
    if wanted.kind.as_deref() != Some("creates") || history.is_empty() {
        return Ok(None);
    }
    let Some(start) = &wanted.start else { return Ok(None) };
    let step_ms = wanted.frequency_seconds * 1e3;
    if !(1e3..=1e12).contains(&step_ms) {
        return Ok(None);
    }
    let start = parse_time(start)?;
    let mut plans = Vec::with_capacity(wanted.known_events.len());
    for event in &wanted.known_events {
        let at = parse_time(&event.at)?;
        let announced = event.announced.as_deref().map_or(Ok(Timestamp(0)), parse_time)?;
        if !(event.count.is_finite() && event.count > 0.0) {
            continue;
        }
        // As casts go, what is no number becomes zero, and what is too large the largest.
        let (count, duration) = (event.count.min(1e9) as u64, event.duration_s.min(1e9) as u64);
        plans.push(Plan { announced, at, count, duration: Span::from_secs(duration) });
    }
    Ok(Some((start, Span::from_ms(step_ms as u64), plans)))
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let odd = || format!("time {text:?}, want one as in 2026-01-05T00:00:00Z");
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| odd())?;
    u64::try_from(at.unix_timestamp()).map(Timestamp::from_secs).map_err(|_| odd())
}

fn seasons(wanted: &[Option<f64>]) -> Vec<usize> {
    let whole = |season: &f64| (2.0..=1e6).contains(season);
    wanted.iter().flatten().filter(|season| whole(season)).map(|&season| season as usize).collect()
}

/// The response: each quantile under its number, in the order asked.
fn written(quantiles: &[f64], rows: &[Vec<f64>]) -> String {
    let mut text = String::from("{\"quantiles\":{");
    for (at, (wanted, row)) in quantiles.iter().zip(rows).enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // As in the request, and as Python writes it: 0.1, 0.5, 1.0.
        text.push_str(&format!("{comma}\"{wanted:?}\":["));
        for (at, value) in row.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            text.push_str(&format!("{comma}{value:?}"));
        }
        text.push(']');
    }
    text.push_str("}}");
    text
}

/// How many values a day has; 0 if that is not known.
fn a_day(step_s: f64) -> usize {
    if (1.0..=86_400.0).contains(&step_s) { (86_400.0 / step_s) as usize } else { 0 }
}

/// The response to one series: a score for each of its values.
///
/// # Errors
///
/// Says in words what is wrong with a request that is no JSON or lacks a field.
pub fn anomalies(request: &str) -> Result<String, String> {
    let suspect: Suspect = serde_json::from_str(request).map_err(|why| why.to_string())?;
    let mut detector = Detector::new(suspect.probation, a_day(suspect.frequency_seconds));
    let values = suspect.values.iter().map(|value| value.unwrap_or(f64::NAN));
    let scores = Scores { scores: values.map(|value| detector.score(value)).collect() };
    serde_json::to_string(&scores).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(request: &str) -> serde_json::Value {
        serde_json::from_str(&Forecaster::new().answer(request).unwrap()).unwrap()
    }

    #[test]
    fn a_request_gets_each_quantile_at_each_step() {
        let found = answer(
            r#"{"id":"a","origin":3,"frequency_seconds":300,"start":"2026-01-05T00:00:00Z",
                "history":[1,null,2,1,2,1,2,1],"horizon_steps":2,"quantiles":[0.1,0.5,0.9],
                "season_lengths":[288,2016],"known_events":[]}"#,
        );
        for wanted in ["0.1", "0.5", "0.9"] {
            assert_eq!(found["quantiles"][wanted].as_array().unwrap().len(), 2, "{found}");
        }
    }

    #[test]
    fn an_announcement_is_expected_when_its_time_comes() {
        let history = vec!["0"; 700].join(",");
        let ask = |at: &str| {
            let request = format!(
                r#"{{"id":"a","account":"a","kind":"creates","frequency_seconds":900,
                "start":"2026-01-05T00:00:00Z","history":[{history}],"horizon_steps":1,
                "quantiles":[0.5,0.95],"known_events":[{{"announced":"2026-01-11T00:00:00Z",
                "at":"{at}","count":40,"duration_s":3600}}]}}"#
            );
            answer(&request)["quantiles"]["0.5"][0].as_f64().unwrap()
        };
        // The history ends on the 12th at 07:00.
        assert!(ask("2026-01-12T07:00:00Z") > 20.0);
        assert!(ask("2026-01-12T12:00:00Z") < 1.0);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let says = |request: &str| Forecaster::new().answer(request).unwrap_err();
        assert!(says("nonsense").contains("expected"));
        assert!(says(r#"{"history":[],"quantiles":[]}"#).contains("horizon_steps"));
        let with = |horizon: &str, quantile: &str| {
            format!(r#"{{"history":[1],"horizon_steps":{horizon},"quantiles":[{quantile}]}}"#)
        };
        assert!(says(&with("100000", "0.5")).contains("want at most 4032"));
        assert!(says(&with("1", "1.5")).contains("want one from 0 to 1"));
        assert!(Forecaster::new().answer(&with("0", "0.5")).is_ok());
    }

    #[test]
    fn a_series_gets_a_score_for_each_value() {
        let said = anomalies(r#"{"id":"x","values":[1,2,null,3],"probation":1}"#).unwrap();
        assert_eq!(said.matches(',').count(), 3, "{said}");
        assert!(anomalies(r#"{"id":"x"}"#).unwrap_err().contains("values"));
    }
}
