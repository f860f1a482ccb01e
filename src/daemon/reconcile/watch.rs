//! One interface of one network, watched.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::api::findings::{FindingView, Findings, ScanView};
use crate::api::record::Done;
use crate::api::view::LeaseView;
use crate::base::{NetworkId, Span, Timestamp};
use crate::config::policy::{Reconcile, ReconcileMode};
use crate::engine::Engine;
use crate::reconcile::{Detector, Finding, Outcome, Settings, Severity};
use crate::scan::Wire;
use crate::telemetry::lower_priority;

use super::super::privilege;
use super::super::work::{JobError, Jobs};
use super::{Now, ledger};

/// The longest that it waits: how soon it notices that it is to end.
const WAIT_MAX: Span = Span(250);
/// Addresses put out of use in one sweep at most: who answers for addresses with a MAC for each
/// must not empty a pool.
const QUARANTINES_MAX: usize = 16;
/// Findings that come and go are audited so often in one sweep at most.
const RECORDS_MAX: usize = 256;
/// Who does it, in the audit.
const WHO: &str = "reconcile";

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The network.
    pub(super) id: NetworkId,
    /// Its name.
    pub(super) network: Arc<str>,
    /// By which interface.
    pub(super) interface: Arc<str>,
}

/// What is done about a finding, beside telling it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// Its address is put out of use.
    quarantine: bool,
    /// Its hosts are to be cut off at their ports: for the agent that holds the gate.
    fence: bool,
}

impl Decision {
    /// As the policy says.
    pub(super) fn about(finding: &Finding, policy: &Reconcile) -> Decision {
        let name = finding.kind.name();
        let acts = policy.mode == ReconcileMode::Act;
        Decision {
            quarantine: acts && finding.kind.is_of_address() && policy.quarantine.contains(&name),
            fence: acts && policy.fence.contains(&name),
        }
    }

    fn name(self) -> &'static str {
        match (self.quarantine, self.fence) {
            (false, false) => "report",
            (true, false) => "quarantine",
            (false, true) => "fence",
            (true, true) => "quarantine, fence",
        }
    }
}

/// What a watching thread works with.
pub(super) struct Watch {
    pub(super) place: Place,
    pub(super) policy: Reconcile,
    pub(super) jobs: Jobs<Engine>,
    pub(super) now: Now,
    pub(super) findings: Arc<Findings>,
    pub(super) stop: Arc<AtomicBool>,
}

/// What may still be done in this sweep.
struct Left {
    quarantines: usize,
    records: usize,
}

const LEFT: Left = Left { quarantines: QUARANTINES_MAX, records: RECORDS_MAX };

impl Watch {
    /// Until it is to end, or the interface is gone.
    pub(super) fn run(self) {
        let Place { network, interface, .. } = &self.place;
        lower_priority();
        let echo_id = ((self.now)().0 & 0xffff) as u16;
        let mut wire = match Wire::open(interface, echo_id) {
            Ok(wire) => wire,
            Err(error) => {
                tracing::warn!(%network, %interface, "cannot be watched: {error}");
                return;
            }
        };
        // The sockets are open, and strangers speak to them.
        privilege::drop_all();
        let waker = wire.waker();
        self.findings.begin(network, interface, Box::new(move || waker.wake()));
        tracing::info!(%network, %interface, "watched for conflicts");
        if let Err(error) = self.watch(&mut wire) {
            tracing::warn!(%network, %interface, "is not watched any more: {error:#}");
        }
        self.findings.end(network, interface);
    }

    fn watch(&self, wire: &mut Wire) -> anyhow::Result<()> {
        let start = (self.now)();
        let mut detector = Detector::new(self.settings(start), ledger::nothing(wire), start);
        let (known, _) = ledger::all(&self.jobs, self.place.id, &self.policy, wire)?;
        detector.learn(known, start, &mut Outcome::default());
        let mut left = LEFT;
        while !self.stop.load(Ordering::Relaxed) {
            let now = (self.now)();
            let mut new = Outcome::default();
            wire.receive(|heard| detector.heard(heard, now, &mut new))?;
            if self.findings.take_wanted(&self.place.network, &self.place.interface) {
                detector.sweep_now(now);
            }
            detector.poll(now, &mut new);
            wire.send(&new.asks);
            if let Err(error) = self.look(&mut detector, wire, &mut new, &mut left) {
                match error {
                    JobError::Stopped => return Ok(()),
                    // It asks again.
                    error => tracing::debug!("reconcile: {error}"),
                }
            }
            self.tell(&new, wire, &mut left)?;
            self.publish(&detector, &new, wire);
            let wait = detector.next_wakeup().since(now).min(WAIT_MAX).max(Span(1));
            wire.wait(Some(wait))?;
        }
        Ok(())
    }

    fn settings(&self, start: Timestamp) -> Settings {
        let Reconcile { rate, interval, whole, probe, silent, .. } = self.policy;
        Settings {
            rate,
            interval,
            whole_subnets: whole,
            probe_servers: probe,
            silent_sweeps: silent,
            seed: start.0 ^ u64::from(self.place.id.0) << 32,
            ..Settings::default()
        }
    }

    /// Hands in what the detector wants to know.
    fn look(
        &self,
        detector: &mut Detector,
        wire: &Wire,
        new: &mut Outcome,
        left: &mut Left,
    ) -> Result<(), JobError> {
        if new.refresh {
            *left = LEFT;
            let (known, out_of_use) = ledger::all(&self.jobs, self.place.id, &self.policy, wire)?;
            detector.learn(known, (self.now)(), new);
            self.renew(detector, &out_of_use, left)?;
        }
        let undecided: Vec<IpAddr> = detector.undecided().collect();
        if !undecided.is_empty() {
            let bound = ledger::of(&self.jobs, self.place.id, undecided)?;
            detector.learn_of(bound, (self.now)(), new);
        }
        Ok(())
    }

    /// Addresses that are still answered for when their time out of use is over.
    fn renew(
        &self,
        detector: &Detector,
        out_of_use: &BTreeSet<IpAddr>,
        left: &mut Left,
    ) -> Result<(), JobError> {
        for finding in detector.findings() {
            let decision = Decision::about(finding, &self.policy);
            if decision.quarantine && !out_of_use.contains(&finding.addr) {
                self.quarantine(finding, left)?;
            }
        }
        Ok(())
    }

    /// Logs and audits what was found and what is gone, and does what the policy says.
    fn tell(&self, new: &Outcome, wire: &Wire, left: &mut Left) -> Result<(), JobError> {
        for finding in &new.found {
            let decision = Decision::about(finding, &self.policy);
            self.log(finding, decision, wire);
            self.audit("find", finding, wire, left)?;
            if decision.fence {
                self.audit("fence", finding, wire, left)?;
            }
            if decision.quarantine {
                self.quarantine(finding, left)?;
            }
        }
        for finding in &new.cleared {
            let (kind, addr) = (finding.kind.name(), finding.addr);
            tracing::info!(network = %self.place.network, kind, %addr, "is gone");
            self.audit("clear", finding, wire, left)?;
        }
        Ok(())
    }

    fn log(&self, finding: &Finding, decision: Decision, wire: &Wire) {
        let (network, kind, addr) = (&self.place.network, finding.kind.name(), finding.addr);
        let view = self.view(finding, wire);
        let macs = view.macs.join(" ");
        let ports: Vec<&str> = view.evidence.iter().map(|of| of.port.as_str()).collect();
        let (ports, decision) = (ports.join(" "), decision.name());
        match finding.severity() {
            Severity::Info => tracing::info!(%network, kind, %addr, macs, ports, decision, "found"),
            _ => tracing::warn!(%network, kind, %addr, macs, ports, decision, "found"),
        }
    }

    fn audit(
        &self,
        verb: &'static str,
        finding: &Finding,
        wire: &Wire,
        left: &mut Left,
    ) -> Result<(), JobError> {
        let Some(records) = left.records.checked_sub(1) else { return Ok(()) };
        left.records = records;
        let (view, object) = (self.view(finding, wire), format!("findings/{}", finding.addr));
        self.jobs.call(move |bench| {
            let done = Done { who: WHO, verb, object: &object, account: None };
            let (before, after) = match verb {
                "clear" => (Some(&view), None),
                _ => (None, Some(&view)),
            };
            for act in done.acts(bench.now, before, after) {
                bench.machine.audit(act, bench.fx);
            }
        })
    }

    /// Puts the address of a finding out of use, if it may be.
    fn quarantine(&self, finding: &Finding, left: &mut Left) -> Result<(), JobError> {
        let (id, resource) = (self.place.id, finding.addr.into());
        let Some(quarantines) = left.quarantines.checked_sub(1) else {
            tracing::warn!(network = %self.place.network, addr = %finding.addr,
                "is not put out of use: too many were in this sweep");
            return Ok(());
        };
        left.quarantines = quarantines;
        let refused = self.jobs.call(move |bench| {
            let policy = bench.machine.policy().clone();
            let before = bench.machine.leases().get(id, resource).cloned();
            let put = bench.machine.quarantine(bench.now, id, resource, None, bench.fx);
            let lease = match put {
                Ok(lease) => lease,
                Err(denied) => return Some(denied.to_string()),
            };
            let account = before.as_ref().and_then(|lease| lease.details.account.clone());
            let before = before.map(|lease| LeaseView::of(&lease, &policy));
            let after = LeaseView::of(&lease, &policy);
            let object = format!("leases/{resource}");
            let account = account.as_deref();
            let done = Done { who: WHO, verb: "quarantine", object: &object, account };
            for act in done.acts(bench.now, before.as_ref(), Some(&after)) {
                bench.machine.audit(act, bench.fx);
            }
            None
        })?;
        if let Some(why) = refused {
            tracing::warn!(network = %self.place.network, addr = %finding.addr,
                "is not put out of use: {why}");
        }
        Ok(())
    }

    fn publish(&self, detector: &Detector, new: &Outcome, wire: &Wire) {
        let Place { network, interface, .. } = &self.place;
        let counts = detector.counts();
        let scan = ScanView {
            network: network.to_string(),
            interface: interface.to_string(),
            mode: match self.policy.mode {
                ReconcileMode::Act => "act".into(),
                _ => "report".into(),
            },
            sweeps: counts.sweeps,
            settled: detector.settled(),
            sweeping: detector.is_sweeping(),
            asked: counts.asked,
            claims: counts.claims,
            lost: counts.lost,
        };
        // What was last seen changes with each sweep.
        let is_news = new.refresh || !new.found.is_empty() || !new.cleared.is_empty();
        let views = || detector.findings().map(|finding| self.view(finding, wire)).collect();
        self.findings.publish(network, interface, scan, is_news.then(views));
    }

    fn view(&self, finding: &Finding, wire: &Wire) -> FindingView {
        FindingView::of(finding, Some(&self.place.network), |port| wire.name_of(port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::Kind;

    #[test]
    fn only_what_the_policy_names_is_done_and_only_where_it_acts() {
        let finding = |kind| Finding {
            kind,
            addr: [10, 0, 0, 9].into(),
            macs: vec![],
            evidence: vec![],
            first_seen: Timestamp(0),
            last_seen: Timestamp(0),
        };
        let policy = |mode| Reconcile {
            mode,
            quarantine: vec!["static-in-pool"],
            fence: vec!["rogue-dhcp", "static-in-pool"],
            ..Reconcile::default()
        };
        let name = |kind, mode| Decision::about(&finding(kind), &policy(mode)).name();
        assert_eq!(name(Kind::StaticInPool, ReconcileMode::Act), "quarantine, fence");
        assert_eq!(name(Kind::RogueDhcp, ReconcileMode::Act), "fence");
        assert_eq!(name(Kind::LeaseHijack, ReconcileMode::Act), "report");
        assert_eq!(name(Kind::Proxy, ReconcileMode::Act), "report");
        for kind in Kind::ALL {
            assert_eq!(name(kind, ReconcileMode::Report), "report");
        }
    }
}
