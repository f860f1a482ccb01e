//! Tells the engine how much traffic instances have, as their telemetry says it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::api::command::{Command, NAMES_AT_ONCE, Post};
use crate::base::{Span, Timestamp};
use crate::lease::Uses;
use crate::telemetry::Telemetry;
use crate::telemetry::catalogue::Known;

/// What was said longer ago says nothing of now.
const FRESH: Span = Span::from_secs(600);

/// Reads telemetry, and tells what it has not told yet.
pub(super) struct Weigher {
    telemetry: Option<Telemetry>,
    post: Arc<dyn Post>,
    now: Box<dyn Fn() -> Timestamp + Send>,
    /// The time of the newest figure of each instance that was told.
    told: HashMap<Arc<str>, Timestamp>,
}

impl Weigher {
    pub(super) fn new(
        telemetry: Option<Telemetry>,
        post: Arc<dyn Post>,
        now: impl Fn() -> Timestamp + Send + 'static,
    ) -> Weigher {
        Weigher { telemetry, post, now: Box::new(now), told: HashMap::new() }
    }

    /// Tells what is new since the last time. What a busy engine does not take comes again.
    pub(super) fn weigh(&mut self) {
        let Some(telemetry) = &self.telemetry else { return };
        let oldest = (self.now)() - FRESH;
        self.told.retain(|_, time| *time >= oldest);
        let mut after: Option<Arc<str>> = None;
        loop {
            let told = &self.told;
            let is_new = |id: &str, known: &Known| {
                let (_, time) = traffic(known);
                time >= oldest && told.get(id).is_none_or(|told| *told < time)
            };
            let (page, more) = telemetry.instances(after.as_deref(), NAMES_AT_ONCE, is_new);
            let news = page.iter().map(|(id, known)| (id.clone(), traffic(known)));
            let news: Vec<(Arc<str>, (u8, Timestamp))> = news.collect();
            if news.is_empty() {
                return;
            }
            let levels = news.iter().map(|(id, (level, _))| (id.clone(), *level)).collect();
            if self.post.post(Command::Traffic(levels)).is_err() {
                return;
            }
            after = news.last().map(|(id, _)| id.clone());
            self.told.extend(news.into_iter().map(|(id, (_, time))| (id, time)));
            if !more {
                return;
            }
        }
    }
}

/// The level of an instance's traffic, and of when its newest figure is.
fn traffic(known: &Known) -> (u8, Timestamp) {
    let of = |metric: &str| known.series.get(metric);
    let value = |metric: &str| of(metric).map_or(0.0, |point| point.value);
    let metrics = ["network_rx", "network_tx", "connections"];
    let time = metrics.iter().filter_map(|m| of(m)).map(|point| point.time).max();
    let level = Uses::traffic_of(value("network_rx") + value("network_tx"), value("connections"));
    (level, time.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::telemetry::model::Point;

    #[test]
    fn both_ways_count_and_the_newest_figure_says_when() {
        let point = |secs, value| Point { time: Timestamp::from_secs(secs), value };
        let series = BTreeMap::from([
            ("network_rx".into(), point(10, 511.0)),
            ("network_tx".into(), point(20, 512.0)),
            ("cpu".into(), point(30, 4.0)),
        ]);
        let known = Known { series, ..Known::default() };
        assert_eq!(traffic(&known), (70, Timestamp::from_secs(20)));
        assert_eq!(traffic(&Known::default()), (0, Timestamp(0)));
    }
}
