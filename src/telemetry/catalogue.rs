//! Which series live, and what their instances are: what bounds the number of both.
//!
//! A series is there from its first point until it has had none for [`SERIES_AGE`]. What it had
//! stays in the segments for as long as the retention says, and can be read by its name.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::{Span, Timestamp};
use crate::config::policy::TelemetryLimits;

use super::line::{LineFault, Report};
use super::model::{InstanceRecord, Point};

/// A series that had no point for so long makes room for others.
pub const SERIES_AGE: Span = Span::from_secs(86_400);
/// Most names of metrics at once, of all instances together.
pub const METRICS_MAX: usize = 1000;

/// What is known of an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// What it is.
    pub record: InstanceRecord,
    /// The latest point of each of its series.
    #[serde(with = "latest")]
    pub series: BTreeMap<Arc<str>, Point>,
    /// When it was last heard of, by the time of what was said.
    #[serde(with = "millis")]
    pub seen: Timestamp,
}

/// Whose instances a caller may speak of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    #[default]
    All,
    /// Those of these accounts.
    Accounts(Arc<[Arc<str>]>),
}

impl Scope {
    /// Whether it has this account; what has no account is everybody's who may see all.
    pub fn has(&self, account: Option<&str>) -> bool {
        match self {
            Scope::All => true,
            Scope::Accounts(accounts) => accounts.iter().any(|own| Some(&**own) == account),
        }
    }

    /// The account of whoever has only one.
    pub fn only(&self) -> Option<Arc<str>> {
        match self {
            Scope::Accounts(accounts) if accounts.len() == 1 => accounts.first().cloned(),
            _ => None,
        }
    }
}

/// The live series.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    instances: BTreeMap<Arc<str>, Known>,
    /// How many series each metric has.
    metrics: HashMap<Arc<str>, usize>,
    /// How many series each account has.
    accounts: HashMap<Arc<str>, usize>,
    series: usize,
}

impl Catalogue {
    /// How many series live.
    pub(super) fn series(&self) -> usize {
        self.series
    }

    /// All instances by name.
    pub(super) fn instances(&self) -> &BTreeMap<Arc<str>, Known> {
        &self.instances
    }

    /// Instances after `after`, in order.
    pub(super) fn after<'a>(
        &'a self,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Known)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.instances.range::<str, _>((from, Bound::Unbounded))
    }

    /// Whether `report` may be taken from one who speaks of `scope`. Names that are known are put
    /// in place of those in it, and what it adds is noted.
    pub(super) fn admit(
        &mut self,
        line: u64,
        report: &mut Report,
        scope: &Scope,
        limits: &TelemetryLimits,
    ) -> Result<(), LineFault> {
        let bad = |field: &str, why: String| LineFault { line, field: field.into(), why };
        let known = self.instances.get_key_value(&report.instance);
        let owner = known.and_then(|(_, known)| known.record.account.clone());
        if report.about.account.is_none() && owner.is_none() {
            report.about.account = scope.only();
        }
        let said = report.about.account.clone();
        for account in [&owner, &said] {
            if account.is_some() && !scope.has(account.as_deref()) {
                return Err(bad("instance", "it belongs to an account that is not yours".into()));
            }
        }
        let account = said.or(owner);
        if !scope.has(account.as_deref()) {
            return Err(bad("account", "missing, want one of yours".into()));
        }
        if let Some((name, _)) = known {
            report.instance = name.clone();
        }
        let had = known.map(|(_, known)| &known.series);
        let is_new = |metric: &Arc<str>| had.is_none_or(|had| !had.contains_key(metric));
        let new = report.values.iter().filter(|(metric, _)| is_new(metric)).count();
        let count = had.map_or(0, BTreeMap::len);
        self.check_room(known.is_none(), new, count, account.as_deref(), limits)
            .map_err(|(field, why)| bad(field, why))?;
        let strange = report.values.iter().filter(|(name, _)| !self.metrics.contains_key(name));
        if self.metrics.len() + strange.count() > METRICS_MAX {
            let why = format!("over {METRICS_MAX} different metrics, want fewer names");
            return Err(bad("metrics", why));
        }
        for (metric, _) in &mut report.values {
            if let Some((name, _)) = self.metrics.get_key_value(metric) {
                *metric = name.clone();
            }
        }
        self.note(report);
        Ok(())
    }

    /// Whether there is room for `new` series of an instance that has `count`.
    fn check_room(
        &self,
        new_instance: bool,
        new: usize,
        count: usize,
        account: Option<&str>,
        limits: &TelemetryLimits,
    ) -> Result<(), (&'static str, String)> {
        if new_instance && self.instances.len() >= limits.series {
            let why = format!("{} instances already", self.instances.len());
            return Err(("instance", why + " ([telemetry] series)"));
        }
        if new == 0 {
            return Ok(());
        }
        if count + new > limits.series_per_instance {
            let most = limits.series_per_instance;
            let why = format!("{} metrics of this instance, at most {most}", count + new);
            return Err(("metrics", why + " ([telemetry] series_per_instance)"));
        }
        let of_account = account.and_then(|a| self.accounts.get(a)).copied().unwrap_or_default();
        if account.is_some() && of_account + new > limits.series_per_account {
            let most = limits.series_per_account;
            let why = format!("{} series of its account, at most {most}", of_account + new);
            return Err(("metrics", why + " ([telemetry] series_per_account)"));
        }
        if self.series + new > limits.series {
            let why = format!("{} series, at most {}", self.series + new, limits.series);
            return Err(("metrics", why + " ([telemetry] series)"));
        }
        Ok(())
    }

    /// Takes in what `report` says; bounds were checked.
    pub(super) fn note(&mut self, report: &Report) {
        let known = self.instances.entry(report.instance.clone()).or_default();
        let before = (known.record.account.clone(), known.series.len());
        known.record.update(&report.about);
        known.seen = known.seen.max(report.time);
        for (metric, value) in &report.values {
            let point = Point { time: report.time, value: *value };
            match known.series.get_mut(metric) {
                Some(last) if last.time <= point.time => *last = point,
                Some(_) => {}
                None => {
                    known.series.insert(metric.clone(), point);
                    *self.metrics.entry(metric.clone()).or_default() += 1;
                    self.series += 1;
                }
            }
        }
        let after = (known.record.account.clone(), known.series.len());
        self.recount(before, after);
    }

    /// An instance had so many series in one account, and has so many in another.
    fn recount(&mut self, before: (Option<Arc<str>>, usize), after: (Option<Arc<str>>, usize)) {
        if before == after {
            return;
        }
        if let Some(account) = before.0 {
            take(&mut self.accounts, &account, before.1);
        }
        if let Some(account) = after.0.filter(|_| after.1 > 0) {
            *self.accounts.entry(account).or_default() += after.1;
        }
    }

    /// Lets go of what was not heard of since before `oldest`.
    pub(super) fn forget_before(&mut self, oldest: Timestamp) {
        let (metrics, accounts) = (&mut self.metrics, &mut self.accounts);
        let mut gone = 0;
        for known in self.instances.values_mut() {
            let before = known.series.len();
            known.series.retain(|metric, last| {
                let keep = last.time >= oldest;
                if !keep {
                    take(metrics, metric, 1);
                }
                keep
            });
            let lost = before - known.series.len();
            gone += lost;
            if let Some(account) = &known.record.account {
                take(accounts, account, lost);
            }
        }
        self.series -= gone;
        self.instances.retain(|_, known| !known.series.is_empty() || known.seen >= oldest);
    }

    /// Puts back what a snapshot had.
    pub(super) fn restore(&mut self, instance: Arc<str>, known: Known) {
        let Known { record: about, series, seen } = known;
        let report = |(metric, point): (Arc<str>, Point)| Report {
            instance: instance.clone(),
            time: point.time,
            values: vec![(metric, point.value)],
            about: InstanceRecord::default(),
        };
        let what = Report { instance: instance.clone(), time: seen, values: Vec::new(), about };
        self.note(&what);
        series.into_iter().map(report).for_each(|report| self.note(&report));
    }

    /// The latest time of any point.
    pub(super) fn latest(&self) -> Timestamp {
        self.instances.values().map(|known| known.seen).max().unwrap_or_default()
    }
}

/// Takes `count` off, and the entry away with its last.
fn take(counts: &mut HashMap<Arc<str>, usize>, name: &Arc<str>, count: usize) {
    if let Some(left) = counts.get_mut(name) {
        *left = left.saturating_sub(count);
        if *left == 0 {
            counts.remove(name);
        }
    }
}

/// Points as pairs of milliseconds and value.
mod latest {
    use super::{Arc, BTreeMap, Point, Timestamp};
    use serde::{Deserialize, Deserializer, Serializer};

    type Series = BTreeMap<Arc<str>, Point>;

    pub(super) fn serialize<S: Serializer>(series: &Series, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(series.iter().map(|(metric, p)| (metric, (p.time.0, p.value))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Series, D::Error> {
        let pairs = BTreeMap::<Arc<str>, (u64, f64)>::deserialize(d)?;
        let point = |(time, value)| Point { time: Timestamp(time), value };
        Ok(pairs.into_iter().map(|(metric, pair)| (metric, point(pair))).collect())
    }
}

mod millis {
    use super::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(time.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(d).map(Timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> TelemetryLimits {
        TelemetryLimits { series: 4, series_per_instance: 3, series_per_account: 3 }
    }

    fn report(instance: &str, time: u64, account: Option<&str>, metrics: &[&str]) -> Report {
        Report {
            instance: instance.into(),
            time: Timestamp(time),
            values: metrics.iter().map(|metric| ((*metric).into(), 1.0)).collect(),
            about: InstanceRecord { account: account.map(Arc::from), ..Default::default() },
        }
    }

    #[track_caller]
    fn refused(catalogue: &mut Catalogue, mut report: Report, scope: &Scope, why: &str) {
        let fault = catalogue.admit(3, &mut report, scope, &limits()).unwrap_err();
        assert!(fault.why.contains(why), "{fault:?}");
        assert_eq!(fault.line, 3);
    }

    #[test]
    fn series_are_bounded_in_each_way() {
        let mut catalogue = Catalogue::default();
        let all = Scope::All;
        let mut take = |report: Report| {
            let mut report = report;
            catalogue.admit(1, &mut report, &all, &limits()).unwrap();
        };
        take(report("a", 1, Some("acme"), &["cpu", "load"]));
        take(report("b", 1, Some("acme"), &["cpu"]));
        take(report("a", 2, None, &["cpu", "load"]));
        assert_eq!(catalogue.series(), 3);
        refused(&mut catalogue, report("a", 1, None, &["x", "y"]), &all, "at most 3");
        refused(&mut catalogue, report("b", 1, None, &["load"]), &all, "of its account");
        refused(&mut catalogue, report("c", 1, None, &["a", "b"]), &all, "series, at most 4");
        assert_eq!(catalogue.instances["a"].series["cpu"].time, Timestamp(2));
        catalogue.forget_before(Timestamp(2));
        assert_eq!((catalogue.series(), catalogue.instances().len()), (2, 1));
        let mut room = report("c", 3, Some("acme"), &["cpu"]);
        catalogue.admit(1, &mut room, &all, &limits()).unwrap();
    }

    #[test]
    fn nobody_speaks_of_what_is_not_theirs() {
        let mut catalogue = Catalogue::default();
        let of =
            |names: &[&str]| Scope::Accounts(names.iter().map(|name| Arc::from(*name)).collect());
        let mut first = report("a", 1, None, &["cpu"]);
        catalogue.admit(1, &mut first, &of(&["acme"]), &limits()).unwrap();
        assert_eq!(first.about.account.as_deref(), Some("acme"), "the only one it can be");
        refused(&mut catalogue, report("a", 1, None, &["cpu"]), &of(&["other"]), "not yours");
        refused(
            &mut catalogue,
            report("b", 1, Some("acme"), &["cpu"]),
            &of(&["other"]),
            "not yours",
        );
        refused(&mut catalogue, report("b", 1, None, &["cpu"]), &of(&["x", "y"]), "one of yours");
    }

    #[test]
    fn a_snapshot_brings_all_of_it_back() {
        let mut catalogue = Catalogue::default();
        catalogue.note(&report("a", 5, Some("acme"), &["cpu", "load"]));
        let known = catalogue.instances().get("a").unwrap();
        let text = serde_json::to_string(known).unwrap();
        let mut other = Catalogue::default();
        other.restore("a".into(), serde_json::from_str(&text).unwrap());
        assert_eq!(other.instances(), catalogue.instances());
        assert_eq!((other.series(), other.latest()), (2, Timestamp(5)));
        assert_eq!(other.accounts, catalogue.accounts);
    }
}
