//! The page: targets, tables, method.

use std::fmt::Write;

use crate::api_flood::{ASKED, QUIET};
use crate::cases::{self, Bench, SCENARIOS, Scenario};
use crate::figures::{Figures, What};
use crate::flood;
use crate::foresight;
use crate::many;
use crate::meter;
use crate::peer::Peer;
use crate::replay;

const OURS: Peer = Peer::Foreshadow;

/// A row of the table of targets.
struct Target {
    what: String,
    want: &'static str,
    ours: String,
    /// What is compared with the bound; `None` if it was not measured.
    value: Option<f64>,
    met: fn(f64) -> bool,
}

/// docs/benchmarks.md.
pub(crate) fn page(bench: &Bench) -> String {
    let mut page = String::new();
    let figures = &bench.figures;
    intro(bench, &mut page);
    page += "\n## Targets\n\n| what | want | measured | ratio | met |\n| --- | --- | --- | --- | --- |\n";
    for target in targets(bench) {
        let (ratio, met) = match target.value {
            None => ("-".to_owned(), "not measured"),
            Some(value) => (text(value), if (target.met)(value) { "yes" } else { "**no**" }),
        };
        let Target { what, want, ours, .. } = target;
        let _ = writeln!(page, "| {what} | {want} | {ours} | {ratio} | {met} |");
    }
    costs(figures, &mut page);
    rates(figures, &mut page);
    storms(figures, &mut page);
    latencies(figures, &mut page);
    leases(bench, &mut page);
    page += &foreseen(figures);
    page += NOTES;
    page += METHOD;
    page
}

fn text(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

fn intro(bench: &Bench, page: &mut String) {
    let versions: Vec<String> = bench.peers.iter().filter_map(|peer| peer.version()).collect();
    let mut others = bench.figures.all(What::Others);
    others.sort_by(f64::total_cmp);
    let noise = |at: f64| others.get((others.len() as f64 * at) as usize).copied().unwrap_or(0.0);
    let kind =
        if bench.sizes.quick { "`make bench QUICK=1`, a first look" } else { "`make bench`" };
    let _ = write!(
        page,
        "# Benchmarks\n\nWritten by {kind}: do not edit. Figures are medians, with the range of {} \
         repetitions behind them. They are of one machine and one hour; ratios travel better.\n\n\
         - Machine: {}.\n- Measured beside foreshadow {}: {}.\n- Noise: what ran beside server and \
         generator took {:.0} % of the machine in the median run, {:.0} % in the worst tenth.\n",
        bench.sizes.repetitions,
        meter::machine(&std::env::temp_dir()),
        env!("CARGO_PKG_VERSION"),
        if versions.is_empty() { "nothing".to_owned() } else { versions.join(", ") },
        noise(0.5),
        noise(0.9),
    );
}

/// Ours divided by theirs.
fn share(figures: &Figures, case: &'static str, of: Peer, what: What) -> Option<f64> {
    Some(figures.median(case, OURS, what)? / figures.median(case, of, what)?)
}

fn against(figures: &Figures, case: &'static str, of: Peer, what: What) -> String {
    let (ours, theirs) = (figures.median(case, OURS, what), figures.median(case, of, what));
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return "-".to_owned() };
    let unit = if what == What::Cpu { "µs" } else { "/s" };
    format!("{} {unit}, {} {} {unit}", text(ours), of.name(), text(theirs))
}

fn targets(bench: &Bench) -> Vec<Target> {
    let figures = &bench.figures;
    let mut all = Vec::new();
    for scenario in &SCENARIOS {
        all.extend(cost_targets(figures, scenario));
    }
    let ratio = |what: &str, want, case, of, kind, met| Target {
        what: what.to_owned(),
        want,
        ours: against(figures, case, of, kind),
        value: share(figures, case, of, kind),
        met,
    };
    all.push(ratio(
        "highest rate with under 1 % lost, against Kea",
        "8 or more",
        cases::HIGHEST,
        Peer::Kea,
        What::Rate,
        |v| v >= 8.0,
    ));
    all.push(ratio(
        "the same, against the trivial responder",
        "0.5 or more",
        cases::HIGHEST,
        Peer::Trivial,
        What::Rate,
        |v| v >= 0.5,
    ));
    all.extend(storm_targets(figures));
    all.extend(many_targets(bench));
    all.extend(latency_targets(figures));
    all.extend(ahead_targets(figures));
    all
}

fn cost_targets(figures: &Figures, scenario: &Scenario) -> [Target; 2] {
    let one = |case, want, met| Target {
        what: format!("CPU per {case}, against Kea"),
        want,
        ours: against(figures, case, Peer::Kea, What::Cpu),
        value: share(figures, case, Peer::Kea, What::Cpu),
        met,
    };
    [
        one(scenario.low, "1/5 or less", |v| v <= 0.2),
        one(scenario.closed, "1/8 or less", |v| v <= 0.125),
    ]
}

fn storm_targets(figures: &Figures) -> Vec<Target> {
    let storm = |what| figures.median(cases::STORM_CASE, OURS, what);
    let seconds = |peer| figures.median(cases::STORM_CASE, peer, What::Seconds);
    let unbound = storm(What::Bound).map(|bound| 10_000.0 - bound);
    let ours = format!(
        "{} bound in {} s, {} sent again; trivial responder {} s",
        figures.text(cases::STORM_CASE, OURS, What::Bound, 0),
        figures.text(cases::STORM_CASE, OURS, What::Seconds, 2),
        figures.text(cases::STORM_CASE, OURS, What::Resent, 0),
        figures.text(cases::STORM_CASE, Peer::Trivial, What::Seconds, 2),
    );
    vec![
        Target {
            what: "10,000 clients at once: not bound, or asked again".to_owned(),
            want: "0",
            ours,
            value: unbound.zip(storm(What::Resent)).map(|(a, b)| a + b),
            met: |v| v == 0.0,
        },
        Target {
            what: "their time, against the trivial responder".to_owned(),
            want: "2 or less",
            ours: format!("{} s", figures.text(cases::STORM_CASE, OURS, What::Seconds, 2)),
            value: seconds(OURS).zip(seconds(Peer::Trivial)).map(|(a, b)| a / b),
            met: |v| v <= 2.0,
        },
    ]
}

fn many_targets(bench: &Bench) -> Vec<Target> {
    let figures = &bench.figures;
    let get = |case, what| figures.median(case, OURS, what);
    let ratio = |what: &str, case, base| {
        let (a, b) = (get(case, What::Cpu), get(base, What::Cpu));
        Target {
            what: what.to_owned(),
            want: "1.25 or less",
            ours: a.zip(b).map_or("-".into(), |(a, b)| format!("{} and {} µs", text(a), text(b))),
            value: a.zip(b).map(|(a, b)| a / b),
            met: |v| v <= 1.25,
        }
    };
    let bytes = |what: String, case| Target {
        what,
        want: "400 or less",
        ours: format!("{} bytes", figures.text(case, OURS, What::Each, 0)),
        value: get(case, What::Each),
        met: |v| v <= 400.0,
    };
    let count = thousands(bench.sizes.leases);
    vec![
        ratio(
            &format!("CPU per exchange with {count} leases held, against 1,000"),
            many::MANY,
            many::FEW,
        ),
        ratio("CPU per exchange on a /8, against a /16", many::FEW, many::NARROW),
        bytes(format!("memory per lease, {count} held, all made since the start"), many::FILLED),
        bytes(format!("memory per lease, {count} held, read at the start"), many::RESTARTED),
        Target {
            what: format!("seconds from the start to the first OFFER with {count} leases"),
            want: "3 or less",
            ours: format!("{} s", figures.text(many::MANY, OURS, What::Seconds, 2)),
            value: get(many::MANY, What::Seconds),
            met: |v| v <= 3.0,
        },
    ]
}

fn latency_targets(figures: &Figures) -> Vec<Target> {
    let disk = figures.median(cases::DISK, OURS, What::AckP99);
    let one = |name: &str, what| {
        let ours = figures.median(cases::HALF, OURS, what);
        Target {
            what: format!("{name} p99 at half load, against p99 of the disk's sync"),
            want: "3 or less",
            ours: ours.zip(disk).map_or("-".into(), |(a, b)| format!("{a:.0} and {b:.0} µs")),
            value: ours.zip(disk).map(|(a, b)| a / b),
            met: |v| v <= 3.0,
        }
    };
    let ack = |case| figures.median(case, OURS, What::AckP99);
    let (calm, flooded) = (ack(flood::CALM), ack(flood::FLOODED));
    let (quiet, asked) = (ack(QUIET), ack(ASKED));
    vec![
        one("OFFER", What::OfferP99),
        one("ACK", What::AckP99),
        Target {
            what: "ACK p99 of the others while one port floods, against no flood".to_owned(),
            want: "about 1",
            ours: flooded.zip(calm).map_or("-".into(), |(a, b)| format!("{a:.0} and {b:.0} µs")),
            value: flooded.zip(calm).map(|(a, b)| a / b),
            met: |v| v <= 1.5,
        },
        Target {
            what: "ACK p99 while the API is flooded, against no flood".to_owned(),
            want: "about 1",
            ours: asked.zip(quiet).map_or("-".into(), |(a, b)| format!("{a:.0} and {b:.0} µs")),
            value: asked.zip(quiet).map(|(a, b)| a / b),
            met: |v| v <= 1.5,
        },
    ]
}

fn costs(figures: &Figures, page: &mut String) {
    *page += "\n## CPU per exchange\n\nIn microseconds of all the server's threads. At 500/s each packet \
        pays a wake-up and cold caches; the closed loop is as fast as the server can.\n\n\
        | exchange | server | µs at 500/s | µs in a closed loop | its rate, /s | lost, % |\n\
        | --- | --- | --- | --- | --- | --- |\n";
    for Scenario { low, closed, .. } in &SCENARIOS {
        for peer in figures.peers(closed) {
            let _ = writeln!(
                page,
                "| {closed} | {} | {} | {} | {} | {} |",
                peer.name(),
                figures.text(low, peer, What::Cpu, 1),
                figures.text(closed, peer, What::Cpu, 1),
                figures.text(closed, peer, What::Rate, 0),
                figures.text(closed, peer, What::Lost, 2),
            );
        }
    }
}

fn rates(figures: &Figures, page: &mut String) {
    *page += "\n## Highest rate\n\nExchanges of new v4 clients a second, whether or not they are \
        answered, of which less than 1 % come to nothing; found in steps of 7 %.\n\n\
        | server | exchanges/s |\n| --- | --- |\n";
    for peer in figures.peers(cases::HIGHEST) {
        let rate = figures.text(cases::HIGHEST, peer, What::Rate, 0);
        let _ = writeln!(page, "| {} | {rate} |", peer.name());
    }
}

fn storms(figures: &Figures, page: &mut String) {
    *page += "\n## 10,000 clients at once\n\nEach asks again after four seconds without an answer, a second more or less; after half a minute the \
        rest is given up.\n\n\
        | server | bound | seconds | messages sent again |\n| --- | --- | --- | --- |\n";
    for peer in figures.peers(cases::STORM_CASE) {
        let text = |what, decimals| figures.text(cases::STORM_CASE, peer, what, decimals);
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            peer.name(),
            text(What::Bound, 0),
            text(What::Seconds, 2),
            text(What::Resent, 0)
        );
    }
}

fn latencies(figures: &Figures, page: &mut String) {
    *page += "\n## Latency\n\nIn microseconds, as the client sees it. Half load is half of the server's own \
        highest rate. The disk's sync is one block appended and `fdatasync`, in the same directory, on \
        an idle machine.\n\n\
        | case | server | OFFER p50 | OFFER p99 | ACK p50 | ACK p99 |\n\
        | --- | --- | --- | --- | --- | --- |\n";
    for case in [cases::HALF, flood::CALM, flood::FLOODED, QUIET, ASKED] {
        for peer in figures.peers(case) {
            let text = |what| figures.text(case, peer, what, 0);
            let _ = writeln!(
                page,
                "| {case} | {} | {} | {} | {} | {} |",
                peer.name(),
                text(What::OfferP50),
                text(What::OfferP99),
                text(What::AckP50),
                text(What::AckP99),
            );
        }
    }
    let text = |what| figures.text(cases::DISK, OURS, what, 0);
    let _ = writeln!(
        page,
        "| the disk's sync | - | - | - | {} | {} |",
        text(What::AckP50),
        text(What::AckP99)
    );
}

fn leases(bench: &Bench, page: &mut String) {
    let mib = |case| {
        let bytes = bench.figures.median(case, OURS, What::Bytes);
        bytes.map_or("-".to_owned(), |bytes| format!("{:.0}", bytes / (1u64 << 20) as f64))
    };
    let _ = write!(
        page,
        "\n## {} leases\n\n| what | MiB |\n| --- | --- |\n| memory of the empty server | {} |\n\
         | memory when they were leased one after another | {} |\n\
         | memory after a restart | {} |\n| store on disk | {} |\n",
        thousands(bench.sizes.leases),
        mib(many::EMPTY),
        mib(many::FILLED),
        mib(many::RESTARTED),
        mib(many::STORE),
    );
}

fn ahead_targets(figures: &Figures) -> Vec<Target> {
    let median = |case, what| figures.median(case, OURS, what);
    let claim = |what: &str, [plain, shadow]: [&'static str; 2]| {
        let both = median(shadow, What::Cpu).zip(median(plain, What::Cpu));
        Target {
            what: format!("CPU per {what} that claims a shadow, against one that does not"),
            want: "1 or less",
            ours: both.map_or("-".into(), |(a, b)| format!("{} and {} µs", text(a), text(b))),
            value: both.map(|(a, b)| a / b),
            met: |v| v <= 1.0,
        }
    };
    let replayed = replay::REPLAYED.into_iter().filter_map(|case| median(case, What::Seconds));
    let slowest = replayed.max_by(f64::total_cmp);
    let month = Target {
        what: "seconds to replay a month of 1,000,000 events".to_owned(),
        want: "60 or less",
        ours: slowest.map_or("-".into(), |s| format!("{} s", text(s))),
        value: slowest,
        met: |v| v <= 60.0,
    };
    vec![claim("instance", foresight::API), claim("exchange", foresight::DHCP), month]
}

/// What it costs to look ahead.
pub(crate) fn foreseen(figures: &Figures) -> String {
    let mut page = format!(
        "\n## Looking ahead\n\nIn an engine with {} demand shadows of {} accounts. An instance is one \
         that is registered before it boots; an exchange, DISCOVER to ACK of a machine that nobody \
         registered. Each finds a shadow of its account, or is of an account that has none, in turns.\n\n\
         | what | plain, µs of CPU | claims a shadow, µs |\n| --- | --- | --- |\n",
        thousands(foresight::ACCOUNTS * foresight::READY),
        thousands(foresight::ACCOUNTS),
    );
    for (what, [plain, shadow]) in [("instance", foresight::API), ("exchange", foresight::DHCP)] {
        let text = |case| figures.text(case, OURS, What::Cpu, 2);
        let _ = writeln!(page, "| {what} | {} | {} |", text(plain), text(shadow));
    }
    let made = |what, decimals| figures.text(foresight::MADE, OURS, what, decimals);
    let _ = writeln!(
        page,
        "\nMaking a shadow takes {} µs of CPU, and it holds {} bytes of memory.",
        made(What::Cpu, 2),
        made(What::Each, 0)
    );
    page += "\n| a month of 1,000,000 events | seconds |\n| --- | --- |\n";
    for case in replay::REPLAYED {
        let _ = writeln!(page, "| {case} | {} |", figures.text(case, OURS, What::Seconds, 1));
    }
    page
}

/// With commas.
fn thousands(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const NOTES: &str = concat!("\n## Notes\n\n", include_str!("notes.md"));

const METHOD: &str = concat!("\n## Method\n\n", include_str!("method.md"));
