//! From samples to reports of instances, as a `[[scrape]]` says.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::base::Timestamp;
use crate::config::policy::{ScrapeMetric, ScrapePolicy, Source};

use super::super::line::{Entry, Report};
use super::super::model::{InstanceRecord, is_name, is_value};
use super::text::{self, Sample};

/// Counters as they were at former scrapes of one target.
#[derive(Debug, Default)]
pub struct Counters {
    seen: HashMap<u64, Seen>,
    hasher: RandomState,
    /// Which scrape it is.
    turn: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    time: Timestamp,
    value: f64,
    turn: u64,
}

impl Counters {
    /// Begins a scrape. Counters that were in neither of the last two are forgotten.
    fn begin(&mut self) {
        let turn = self.turn;
        self.seen.retain(|_, seen| seen.turn + 1 >= turn);
        self.turn += 1;
    }

    /// The rate a second since the value before. A counter that went down began anew at 0.
    fn rate(&mut self, sample: &Sample<'_>, time: Timestamp) -> Option<f64> {
        let (key, value) = (self.hasher.hash_one((sample.name, sample.raw_labels)), sample.value);
        if !is_value(value) || value < 0.0 {
            return None;
        }
        let turn = self.turn;
        let before = self.seen.insert(key, Seen { time, value, turn })?;
        let seconds = time.since(before.time).0 as f64 / 1000.0;
        if seconds <= 0.0 {
            // A federation endpoint repeats what it has until it has more.
            self.seen.insert(key, Seen { turn, ..before });
            return None;
        }
        let increase = if value >= before.value { value - before.value } else { value };
        Some(increase / seconds)
    }
}

/// There are more samples than are to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess;

/// What one instance reports.
#[derive(Debug, Default)]
struct Reported {
    time: Timestamp,
    account: Option<Arc<str>>,
    application: Option<Arc<str>>,
    /// By the number of the metric: the sum, and whether there was what is taken off.
    values: BTreeMap<usize, (Option<f64>, bool)>,
}

/// Takes the lines of one scrape.
pub struct Collector<'a> {
    policy: &'a ScrapePolicy,
    counters: &'a mut Counters,
    /// The metrics that want samples of a name; `true` where it is taken off.
    wanted: HashMap<&'a str, Vec<(usize, bool)>>,
    now: Timestamp,
    samples: usize,
    faults: usize,
    instances: BTreeMap<Arc<str>, Reported>,
}

impl<'a> Collector<'a> {
    /// For a scrape at `now`.
    pub fn new(
        policy: &'a ScrapePolicy,
        counters: &'a mut Counters,
        now: Timestamp,
    ) -> Collector<'a> {
        let mut wanted: HashMap<&str, Vec<(usize, bool)>> = HashMap::new();
        for (at, metric) in policy.metrics.iter().enumerate() {
            wanted.entry(&metric.from).or_default().push((at, false));
            if let Some(minus) = &metric.minus {
                wanted.entry(minus).or_default().push((at, true));
            }
        }
        counters.begin();
        let instances = BTreeMap::new();
        Collector { policy, counters, wanted, now, samples: 0, faults: 0, instances }
    }

    /// Takes one line.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Excess> {
        match text::parse(line) {
            Ok(None) => {}
            Ok(Some(sample)) => {
                self.samples += 1;
                if self.samples > self.policy.samples_max {
                    return Err(Excess);
                }
                self.sample(&sample);
            }
            Err(_) => self.faults += 1,
        }
        Ok(())
    }

    /// Samples so far, and lines that are none.
    pub fn counts(&self) -> (usize, usize) {
        (self.samples, self.faults)
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        let Some(wanted) = self.wanted.get(sample.name).cloned() else { return };
        let time = sample.time.unwrap_or(self.now);
        let metric = |at: usize| self.policy.metrics.get(at);
        let wanted: Vec<(usize, bool, bool)> = wanted
            .into_iter()
            .filter_map(|(at, off)| Some((at, off, metric(at)?)))
            .filter(|(_, _, metric)| has_labels(sample, metric))
            .map(|(at, off, metric)| (at, off, metric.rate))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let of_url = || strip_port(&self.policy.url.host).to_owned();
        let instance = name_of(sample, &self.policy.instance);
        let instance = instance.map_or_else(of_url, |name| strip_port(&name).to_owned());
        if !is_name(&instance) {
            return;
        }
        // Once for each sample, however many want it.
        let rate = wanted.iter().any(|(_, _, rate)| *rate);
        let rate = if rate { self.counters.rate(sample, time) } else { None };
        let reported = self.instances.entry(instance.into()).or_default();
        reported.time = reported.time.max(time);
        let (account, application) = (&self.policy.account, &self.policy.application);
        let named = |source| name_of(sample, source).filter(|name| is_name(name)).map(Arc::from);
        reported.account = reported.account.take().or_else(|| named(account));
        reported.application = reported.application.take().or_else(|| named(application));
        for (at, off, is_rate) in wanted {
            let value = if is_rate { rate } else { Some(sample.value).filter(|v| is_value(*v)) };
            let (sum, had_off) = reported.values.entry(at).or_default();
            if let Some(value) = value {
                *sum = Some(sum.unwrap_or_default() + if off { -value } else { value });
                *had_off |= off;
            }
        }
    }

    /// A report for each instance.
    pub fn finish(self) -> Vec<Entry> {
        let metrics = &self.policy.metrics;
        let report = |(instance, reported): (Arc<str>, Reported)| {
            let value = |(at, (sum, had_off)): (usize, (Option<f64>, bool))| {
                let metric = metrics.get(at)?;
                let whole = metric.minus.is_none() || had_off;
                let sum = sum.filter(|sum| whole && is_value(*sum))?;
                // A rate is a quotient: more than seven digits of it mean nothing, and cost room.
                let sum = if metric.rate { f64::from(sum as f32) } else { sum };
                Some((metric.to.clone(), sum))
            };
            let values: Vec<_> = reported.values.into_iter().filter_map(value).collect();
            let about = InstanceRecord {
                account: reported.account,
                application: reported.application,
                ..Default::default()
            };
            let report = Report { instance, time: reported.time, values, about };
            (!report.values.is_empty()).then_some(Entry::Report(report))
        };
        self.instances.into_iter().filter_map(report).collect()
    }
}

fn has_labels(sample: &Sample<'_>, metric: &ScrapeMetric) -> bool {
    metric.only.iter().all(|(label, (not, value))| {
        // A label that is missing is one that is empty.
        (sample.label(label).unwrap_or_default() == &**value) != *not
    })
}

fn name_of(sample: &Sample<'_>, source: &Source) -> Option<String> {
    let labelled = source.label.as_deref().and_then(|label| sample.label(label));
    labelled.filter(|name| !name.is_empty()).or(source.fixed.as_deref()).map(str::to_owned)
}

/// `10.0.0.7:9100` is the instance `10.0.0.7`; `[2001:db8::7]:9100` is `2001:db8::7`.
fn strip_port(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
                Some(inside) => inside,
                None if host.is_empty() || host.contains(':') => name,
                None => host,
            }
        }
        _ => name,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config;

    /// The first `[[scrape]]` of a file that has these lines.
    pub(crate) fn scrape(lines: &str) -> ScrapePolicy {
        let text = format!(
            "[[scrape]]\nname = \"t\"\n{lines}\n[[network]]\nname = \"n\"\ninterfaces = [\"br0\"]\n\
             [[network.subnet]]\nprefix = \"10.0.0.0/24\"\npools = [\"10.0.0.10-10.0.0.20\"]\n"
        );
        let loaded = config::check(&text, "t").map_err(|faults| faults.render(false)).unwrap();
        loaded.policy.scrapes.first().unwrap().clone()
    }

    fn collect(
        policy: &ScrapePolicy,
        counters: &mut Counters,
        now: u64,
        text: &str,
    ) -> Vec<(String, String, f64)> {
        let mut collector = Collector::new(policy, counters, Timestamp(now));
        text.lines().for_each(|line| collector.line(line.as_bytes()).unwrap());
        let mut out = Vec::new();
        for entry in collector.finish() {
            let Entry::Report(report) = entry else { panic!() };
            let of = |(metric, value): (Arc<str>, f64)| {
                (report.instance.to_string(), metric.to_string(), value)
            };
            out.extend(report.values.iter().cloned().map(of));
        }
        out
    }

    #[test]
    fn what_node_exporter_says_is_understood() {
        let policy = scrape("url = \"http://10.0.0.7:9100\"");
        let mut counters = Counters::default();
        let text = |cpu: f64, bytes: u64| {
            format!(
                "# TYPE node_cpu_seconds_total counter\n\
                 node_cpu_seconds_total{{cpu=\"0\",mode=\"idle\"}} {}\n\
                 node_cpu_seconds_total{{cpu=\"0\",mode=\"user\"}} {cpu}\n\
                 node_cpu_seconds_total{{cpu=\"1\",mode=\"user\"}} {cpu}\n\
                 node_memory_MemTotal_bytes 8e9\nnode_memory_MemAvailable_bytes 6e9\n\
                 node_network_receive_bytes_total{{device=\"lo\"}} 1e9\n\
                 node_network_receive_bytes_total{{device=\"eth0\"}} {bytes}\n\
                 node_load1 0.5\n",
                cpu * 7.0
            )
        };
        let own = |metric: &str, value| ("10.0.0.7".to_owned(), metric.to_owned(), value);
        let first = collect(&policy, &mut counters, 0, &text(100.0, 5000));
        assert_eq!(first, [own("memory", 2e9), own("load", 0.5)]);
        let second = collect(&policy, &mut counters, 10_000, &text(104.0, 6000));
        let gauges = [own("memory", 2e9), own("network_rx", 100.0), own("load", 0.5)];
        assert_eq!(second, [&[own("cpu", f64::from(0.8f32))], &gauges[..]].concat());
        // Begun anew: counted from 0.
        let third = collect(&policy, &mut counters, 20_000, &text(1.0, 50));
        assert_eq!(third[0], own("cpu", f64::from(0.2f32)));
        assert_eq!(third[2], own("network_rx", 5.0));
    }

    #[test]
    fn labels_say_whose_it_is() {
        let policy = scrape(
            "url = \"http://p:9090/federate\"\nmatch = [\"{job='vm'}\"]\naccount_label = \"tenant\"\n\
             instance_label = \"vm\"\napplication = \"web\"\n\
             [[scrape.metric]]\nfrom = \"http_requests_total\"\nas = \"requests\"\nrate = true\n\
             only = { code = \"!500\" }\n[[scrape.metric]]\nfrom = \"depth\"\n",
        );
        let mut counters = Counters::default();
        let text = |n: u64, time: u64| {
            format!(
                "http_requests_total{{vm=\"a:80\",tenant=\"acme\",code=\"200\"}} {n} {time}\n\
                 http_requests_total{{vm=\"a:80\",tenant=\"acme\",code=\"500\"}} 99 {time}\n\
                 depth{{vm=\"[2001:db8::7]:1\"}} 4\ndepth{{vm=\"b c\"}} 4\ndepth NaN\n"
            )
        };
        let a = |value| ("a".to_owned(), "requests".to_owned(), value);
        let b = ("2001:db8::7".to_owned(), "depth".to_owned(), 4.0);
        assert_eq!(
            collect(&policy, &mut counters, 1000, &text(10, 1000)),
            std::slice::from_ref(&b)
        );
        // The same again: Prometheus has not scraped since.
        assert_eq!(
            collect(&policy, &mut counters, 2000, &text(10, 1000)),
            std::slice::from_ref(&b)
        );
        assert_eq!(collect(&policy, &mut counters, 3000, &text(20, 3000)), [b, a(5.0)]);
    }

    #[test]
    fn too_many_samples_end_a_scrape() {
        let policy = scrape("url = \"http://a\"\nsamples_max = 2");
        let mut counters = Counters::default();
        let mut collector = Collector::new(&policy, &mut counters, Timestamp(0));
        assert_eq!(collector.line(b"x 1"), Ok(()));
        assert_eq!(collector.line(b"garbage"), Ok(()));
        assert_eq!(collector.line(b"x 1"), Ok(()));
        assert_eq!(collector.line(b"x 1"), Err(Excess));
        assert_eq!(collector.counts(), (3, 1));
    }

    #[test]
    fn ports_are_left_out() {
        let cases = [
            ("a:1", "a"),
            ("a", "a"),
            ("::1", "::1"),
            ("[::1]:9100", "::1"),
            ("a:b", "a:b"),
            (":1", ":1"),
        ];
        for (name, want) in cases {
            assert_eq!(strip_port(name), want);
        }
    }
}
