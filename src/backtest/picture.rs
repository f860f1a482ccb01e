//! A day as a picture: instances that came, those that found no address ready, and what was held.

use std::fmt::Write;

use super::report::{Bucket, Report};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 48.0;
const TOP: f64 = 40.0;

/// The last day of a report, as SVG.
pub fn svg(report: &Report) -> String {
    let most = report.day.iter().map(|b| b.creates.max(b.held as u64)).max().unwrap_or(0).max(1);
    let x = |at: usize| LEFT + at as f64 * WIDTH / 96.0;
    let y = |n: u64| TOP + HEIGHT - n as f64 * HEIGHT / most as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {:.0}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\">hit rate {:.1} %, {:.1} idle addresses; a fixed pool of the same waste \
         {:.1} %</text>\n",
        LEFT + WIDTH + 24.0,
        TOP + HEIGHT + 40.0,
        report.hit_rate * 100.0,
        report.idle,
        report.fixed_same_waste.hit_rate * 100.0,
    );
    let width = WIDTH / 96.0 - 1.0;
    let mut bar = |at: usize, n: u64, fill: &str, what: &str| {
        if n > 0 {
            // Writing to a string does not fail.
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{fill}\">\
                 <title>{n} {what}</title></rect>",
                x(at),
                y(n),
                TOP + HEIGHT - y(n),
            );
        }
    };
    for (at, Bucket { creates, misses, .. }) in report.day.iter().enumerate() {
        bar(at, *creates, "#9ecae1", "came");
        bar(at, *misses, "#e6550d", "found none ready");
    }
    let line: Vec<String> = report
        .day
        .iter()
        .enumerate()
        .map(|(at, b)| format!("{:.1},{:.1}", x(at) + width / 2.0, y(b.held as u64)))
        .collect();
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#31a354\" stroke-width=\"2\"/>",
        line.join(" ")
    );
    for hour in (0..=24).step_by(3) {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{hour} h</text>",
            LEFT + f64::from(hour) * WIDTH / 24.0,
            TOP + HEIGHT + 18.0
        );
    }
    let _ = writeln!(out, "<text x=\"4\" y=\"{:.1}\">{most}</text>", TOP + 12.0);
    out.push_str("</svg>\n");
    out
}
