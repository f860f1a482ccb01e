//! What came of shadows, by account and application.

use crate::api::exposition::{Exposition, Family};
use crate::api::gauges::{Figures, ShadowFigures};
use crate::engine::shadows::Tally;

use super::pools::OTHER;

type Count = fn(&Tally) -> u64;

/// Writes all of it.
pub(super) fn write(page: Option<&Figures>, out: &mut Exposition) {
    let all = page.map(|page| &page.shadows[..]).unwrap_or_default();
    let help = "Addresses that are held ahead of need, by account and application; the rest is \
                `(other)`.";
    out.family(Family::gauge("foreshadow_shadows", help));
    all.iter().for_each(|of| out.count(&labels(of), of.held));
    let help = "Instances that came, by what they found: a shadow that was ready (hit), one that was \
                not proven or not durable yet (unready), none (miss).";
    let found: [(&str, Count); 3] =
        [("hit", |t| t.hits), ("unready", |t| t.unready), ("miss", |t| t.misses)];
    several(all, Family::counter("foreshadow_shadow_creates", help), "found", &found, out);
    let help = "Shadows that were made.";
    one(all, Family::counter("foreshadow_shadow_held", help), |t| t.held, out);
    let help = "Shadows that nobody claimed, by why they went: not claimed in their time (aged), too \
                many (given-back), for clients of others (yielded), somebody answered (conflict).";
    let gone: [(&str, Count); 4] = [
        ("aged", |t| t.aged),
        ("given-back", |t| t.given_back),
        ("yielded", |t| t.yielded),
        ("conflict", |t| t.conflicts),
    ];
    several(all, Family::counter("foreshadow_shadow_gone", help), "why", &gone, out);
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let help = "How long shadows were held that nobody claimed.";
    out.family(Family::counter("foreshadow_shadow_unused_seconds", help));
    all.iter().for_each(|of| out.value(&labels(of), seconds(of.tally.unused_ms)));
    let help = "How long shadows were held before they were claimed.";
    out.family(Family::counter("foreshadow_shadow_waited_seconds", help));
    all.iter().for_each(|of| out.value(&labels(of), seconds(of.tally.waited_ms)));
}

fn labels(of: &ShadowFigures) -> [(&'static str, &str); 2] {
    let (account, application) = match &of.owner {
        Some((account, application)) => (&**account, application.as_deref().unwrap_or_default()),
        None => (OTHER, OTHER),
    };
    [("account", account), ("application", application)]
}

fn one(all: &[ShadowFigures], family: Family, count: Count, out: &mut Exposition) {
    out.family(family);
    all.iter().for_each(|of| out.count(&labels(of), count(&of.tally)));
}

fn several(
    all: &[ShadowFigures],
    family: Family,
    name: &'static str,
    counts: &[(&str, Count)],
    out: &mut Exposition,
) {
    out.family(family);
    for of in all {
        let [account, application] = labels(of);
        for (word, count) in counts {
            out.count(&[account, application, (name, word)], count(&of.tally));
        }
    }
}
