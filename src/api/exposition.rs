//! Metrics as text, in the two formats that scrapers know: OpenMetrics 1.0 and the older text
//! format of Prometheus (0.0.4).
//!
//! Written here because prometheus-client writes the first format alone, does not escape the
//! values of labels, and wants counters of its own kind in place of those of the packet path.

use std::fmt::Write;

use axum::http::{HeaderMap, header};

/// A format of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Text 0.0.4, which every Prometheus reads.
    Text,
}

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It grows; `_total` is added to its name.
    Counter,
    /// It is what it is.
    Gauge,
    /// A distribution.
    Histogram,
    /// Labels alone; `_info` is added to its name.
    Info,
}

/// Figures of one name.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The name, without what its kind adds.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it means, in one sentence.
    pub help: &'static str,
}

/// Labels of one figure: names, and values as they are.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// The text, as it grows.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    text: String,
    family: Option<Family>,
}

impl Format {
    /// The one that the scraper likes better, by what it accepts (RFC 9110 s12.5.1).
    pub fn wanted(headers: &HeaderMap) -> Format {
        let (mut open, mut text) = (0.0f32, 0.0f32);
        let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
        for range in accepts.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let mut quality = 1.0f32;
            let mut version = None;
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            match kind.as_str() {
                "application/openmetrics-text"
                    if matches!(version, None | Some("1.0.0" | "0.0.1")) =>
                {
                    open = quality.max(open);
                }
                "text/plain" | "text/*" | "*/*" => text = quality.max(text),
                _ => {}
            }
        }
        if open > 0.0 && open >= text { Format::OpenMetrics } else { Format::Text }
    }

    /// What the answer says that it is.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Kind {
    /// Its name in both formats.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        }
    }

    /// What it adds to the name of each figure.
    fn suffix(self) -> &'static str {
        match self {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        }
    }
}

impl Family {
    /// A counter of this name.
    pub const fn counter(name: &'static str, help: &'static str) -> Family {
        Family { name, kind: Kind::Counter, help }
    }

    /// A gauge of this name.
    pub const fn gauge(name: &'static str, help: &'static str) -> Family {
        Family { name, kind: Kind::Gauge, help }
    }

    /// A histogram of this name.
    pub const fn histogram(name: &'static str, help: &'static str) -> Family {
        Family { name, kind: Kind::Histogram, help }
    }

    /// The unit that its name ends with, if it ends with one.
    fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes"]
            .into_iter()
            .find(|unit| self.name.strip_suffix(unit).is_some_and(|before| before.ends_with('_')))
    }
}

impl Exposition {
    /// Nothing yet.
    pub fn new(format: Format) -> Exposition {
        Exposition { format, text: String::with_capacity(32 << 10), family: None }
    }

    /// Begins a family; its figures follow.
    pub fn family(&mut self, family: Family) {
        let Family { name, kind, help } = family;
        self.family = Some(family);
        let (name, kind) = match (self.format, kind) {
            // The older format knows neither families of counters nor infos.
            (Format::Text, Kind::Counter) => (format!("{name}_total"), "counter"),
            (Format::Text, Kind::Info) => (format!("{name}_info"), "gauge"),
            _ => (name.to_owned(), kind.as_str()),
        };
        let text = &mut self.text;
        // Nothing can fail to be written to a string.
        let _ = writeln!(text, "# TYPE {name} {kind}");
        if let (Format::OpenMetrics, Some(unit)) = (self.format, family.unit()) {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(text, "# HELP {name} {}", help.replace('\\', "\\\\").replace('\n', "\\n"));
    }

    /// A figure of the family, whole.
    pub fn count(&mut self, labels: Labels<'_>, value: u64) {
        self.start(self.suffix(), labels, None);
        let _ = writeln!(self.text, " {value}");
    }

    /// A figure of the family.
    pub fn value(&mut self, labels: Labels<'_>, value: f64) {
        self.start(self.suffix(), labels, None);
        let _ = writeln!(self.text, " {value}");
    }

    /// A distribution of the family: how many were at most each bound, beyond the last one and in
    /// all, and their sum.
    pub fn histogram(&mut self, labels: Labels<'_>, below: &[(f64, u64)], count: u64, sum: f64) {
        for (bound, n) in below {
            self.start("_bucket", labels, Some(&bound_text(*bound)));
            let _ = writeln!(self.text, " {n}");
        }
        self.start("_bucket", labels, Some("+Inf"));
        let _ = writeln!(self.text, " {count}");
        self.start("_sum", labels, None);
        let _ = writeln!(self.text, " {sum}");
        self.start("_count", labels, None);
        let _ = writeln!(self.text, " {count}");
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn suffix(&self) -> &'static str {
        self.family.map_or("", |family| family.kind.suffix())
    }

    /// Name and labels of one line; `bound` is the value of `le`.
    fn start(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&str>) {
        self.text.push_str(self.family.map_or("", |family| family.name));
        self.text.push_str(suffix);
        let mut before = '{';
        for (name, value) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
            self.text.push(before);
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(value, &mut self.text);
            self.text.push('"');
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
    }
}

/// Both formats give a meaning to these three in the value of a label.
fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// OpenMetrics wants bounds as floating-point numbers, and the same text each time.
fn bound_text(bound: f64) -> String {
    let text = bound.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn wanted(accept: &str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        Format::wanted(&headers)
    }

    #[test]
    fn the_scraper_chooses_the_format() {
        let prometheus = "application/openmetrics-text;version=1.0.0,\
                          application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(wanted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::Text);
        for (accept, want) in [
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; charset=utf-8", Format::OpenMetrics),
            ("application/openmetrics-text; version=2.0.0, text/plain;q=0.1", Format::Text),
            ("application/openmetrics-text;q=0, */*;q=0.1", Format::Text),
            ("application/openmetrics-text;q=0.3,text/plain;q=0.5", Format::Text),
            ("text/html, */*", Format::Text),
            (";;=,q=,\u{20},", Format::Text),
        ] {
            assert_eq!(wanted(accept), want, "{accept}");
        }
    }

    fn example(format: Format) -> String {
        let mut out = Exposition::new(format);
        out.family(Family::counter("a_seconds", "All \\ of\nit."));
        out.count(&[], 3);
        out.family(Family::gauge("b", "B."));
        out.value(&[("x", "\"quoted\\\"\n{le=\"1\"} 7"), ("y", "")], 0.25);
        out.family(Family::histogram("c_bytes", "C."));
        out.histogram(&[("x", "1")], &[(0.000002, 1), (4.0, 3)], 5, 9.5);
        out.family(Family { name: "d", kind: Kind::Info, help: "D." });
        out.count(&[("v", "1")], 1);
        out.finish()
    }

    #[test]
    fn both_formats_say_the_same() {
        let open = [
            "# TYPE a_seconds counter",
            "# UNIT a_seconds seconds",
            "# HELP a_seconds All \\\\ of\\nit.",
            "a_seconds_total 3",
            "# TYPE b gauge",
            "# HELP b B.",
            "b{x=\"\\\"quoted\\\\\\\"\\n{le=\\\"1\\\"} 7\",y=\"\"} 0.25",
            "# TYPE c_bytes histogram",
            "# UNIT c_bytes bytes",
            "# HELP c_bytes C.",
            "c_bytes_bucket{x=\"1\",le=\"0.000002\"} 1",
            "c_bytes_bucket{x=\"1\",le=\"4.0\"} 3",
            "c_bytes_bucket{x=\"1\",le=\"+Inf\"} 5",
            "c_bytes_sum{x=\"1\"} 9.5",
            "c_bytes_count{x=\"1\"} 5",
            "# TYPE d info",
            "# HELP d D.",
            "d_info{v=\"1\"} 1",
            "# EOF",
        ];
        assert_eq!(example(Format::OpenMetrics).lines().collect::<Vec<_>>(), open);
        let text = example(Format::Text);
        let figures = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(figures(&text), figures(&open.join("\n")));
        assert!(text.starts_with("# TYPE a_seconds_total counter\n# HELP a_seconds_total All"));
        assert!(text.contains("# TYPE d_info gauge\n"), "{text}");
        assert!(!text.contains("UNIT") && !text.contains("EOF"), "{text}");
    }
}
