//! What is wrong on the networks that are watched.

use std::collections::BTreeMap;

use crate::api::exposition::{Exposition, Family};
use crate::api::findings::{Findings, ScanView};
use crate::reconcile::Kind;

/// Interfaces that have series of their own.
const SCANS_MAX: usize = 100;

/// Writes the figures of each network that is watched.
pub(super) fn write(findings: &Findings, out: &mut Exposition) {
    let mut view = findings.view(None);
    view.scans.truncate(SCANS_MAX);
    let mut networks: BTreeMap<&str, [u64; Kind::ALL.len()]> =
        view.scans.iter().map(|scan| (scan.network.as_str(), Default::default())).collect();
    for finding in &view.findings {
        let network = finding.network.as_deref().unwrap_or_default();
        let at = Kind::ALL.iter().position(|kind| kind.name() == finding.kind);
        let of = networks.get_mut(network).and_then(|counts| counts.get_mut(at?));
        of.into_iter().for_each(|count| *count += 1);
    }
    let help = "What is wrong on the wire now, by kind.";
    out.family(Family::gauge("foreshadow_conflicts", help));
    for (network, counts) in &networks {
        for (kind, count) in Kind::ALL.iter().zip(counts) {
            out.count(&[("network", network), ("kind", kind.name())], *count);
        }
    }
    let mut family = |family: Family, figure: &dyn Fn(&ScanView) -> u64| {
        out.family(family);
        for scan in &view.scans {
            let labels = [("network", &*scan.network), ("interface", &*scan.interface)];
            out.count(&labels, figure(scan));
        }
    };
    let help = "Sweeps over a network that are done.";
    family(Family::counter("foreshadow_scan_sweeps", help), &|scan| scan.sweeps);
    let help = "Questions that were asked to find conflicts.";
    family(Family::counter("foreshadow_scan_questions", help), &|scan| scan.asked);
    let help = "Claims to addresses of the network that were heard.";
    family(Family::counter("foreshadow_scan_claims", help), &|scan| scan.claims);
    let help = "Findings, questions and doubts that found no room.";
    family(Family::counter("foreshadow_scan_lost", help), &|scan| scan.lost);
}
