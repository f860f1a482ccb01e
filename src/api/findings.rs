//! What is wrong on a network, as JSON.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::LinkId;
use crate::reconcile::Finding;

use super::leases::time_text;

/// Something that is wrong on a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    /// What: `duplicate-ipv4`, `duplicate-ipv6`, `static-in-pool`, `lease-hijack`,
    /// `leased-silent`, `standby-speaks`, `rogue-dhcp`, `rogue-dhcpv6`, `rogue-ra` or `proxy`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The address that it is about; of a server, its own; of a proxy, the lowest that it was seen
    /// to answer for.
    pub ip: String,
    /// The hardware addresses that are to blame, or at odds; of a silent lease, its client's.
    pub macs: Vec<String>,
    /// How bad it is: `info`, `warning` or `critical`.
    pub severity: String,
    /// Who showed it.
    pub evidence: Vec<EvidenceView>,
    /// When it was found.
    pub first_seen: String,
    /// When it was last seen to be so.
    pub last_seen: String,
}

/// What one host was seen to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceView {
    /// Its hardware address.
    pub mac: String,
    /// The Ethernet source of its frames, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eth_src: Option<String>,
    /// The port of the bridge that it is behind, or the interface.
    pub port: String,
    /// By what it was heard last: `arp-reply`, `arp-request`, `arp-announcement`,
    /// `neighbour-advertisement`, `unsolicited-advertisement`, `neighbour-solicitation`,
    /// `echo-reply`, `dhcp` or `router-advertisement`.
    pub by: String,
    /// How often.
    pub times: u32,
    /// When first.
    pub first: String,
    /// When last.
    pub last: String,
}

impl FindingView {
    /// A finding on `network`; `name_of` says how a port is called.
    pub fn of(
        finding: &Finding,
        network: Option<&str>,
        name_of: impl Fn(Option<LinkId>) -> Arc<str>,
    ) -> FindingView {
        let evidence = finding.evidence.iter().map(|of| EvidenceView {
            mac: of.mac.to_string(),
            eth_src: of.eth_src.map(|mac| mac.to_string()),
            port: name_of(of.port).to_string(),
            by: of.by.name().into(),
            times: of.times,
            first: time_text(of.first),
            last: time_text(of.last),
        });
        FindingView {
            kind: finding.kind.name().into(),
            network: network.map(Into::into),
            ip: finding.addr.to_string(),
            macs: finding.macs.iter().map(ToString::to_string).collect(),
            severity: finding.severity().name().into(),
            evidence: evidence.collect(),
            first_seen: time_text(finding.first_seen),
            last_seen: time_text(finding.last_seen),
        }
    }
}

/// How a network is watched, by one of its interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScanView {
    /// The network.
    pub network: String,
    /// The interface.
    pub interface: String,
    /// What the policy says: `report` or `act`.
    pub mode: String,
    /// Sweeps that are done.
    pub sweeps: u64,
    /// Of these, how many left nothing in doubt.
    pub settled: u64,
    /// A sweep goes on.
    pub sweeping: bool,
    /// Questions asked.
    pub asked: u64,
    /// Claims that were heard for addresses of the network.
    pub claims: u64,
    /// Findings, questions and doubts that found no room.
    pub lost: u64,
}

/// What is wrong, and how that is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingsView {
    /// What is wrong now.
    pub findings: Vec<FindingView>,
    /// The networks that are watched.
    pub scans: Vec<ScanView>,
}

/// A network that is to be swept now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScanRequest {
    /// Which; all that are watched if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub network: Option<String>,
}

/// Ends the wait of whoever watches an interface.
pub type Wake = Box<dyn Fn() + Send>;

struct Watched {
    findings: Vec<FindingView>,
    scan: ScanView,
    /// A sweep is asked for.
    wanted: bool,
    wake: Wake,
}

/// What was found, by network and interface. Those who watch write it, the API reads it; no thread
/// that answers packets has to do with it.
#[derive(Default)]
pub struct Findings(Mutex<ByPlace>);

/// By network and interface.
type ByPlace = BTreeMap<(Arc<str>, Arc<str>), Watched>;

impl std::fmt::Debug for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Findings")
    }
}

impl Findings {
    fn all(&self) -> std::sync::MutexGuard<'_, ByPlace> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An interface of a network is watched from now on.
    pub fn begin(&self, network: &Arc<str>, interface: &Arc<str>, wake: Wake) {
        let watched = Watched { findings: vec![], scan: ScanView::default(), wanted: false, wake };
        self.all().insert((network.clone(), interface.clone()), watched);
    }

    /// It is not any more.
    pub fn end(&self, network: &Arc<str>, interface: &Arc<str>) {
        self.all().remove(&(network.clone(), interface.clone()));
    }

    /// What is wrong there now.
    pub fn publish(
        &self,
        network: &Arc<str>,
        interface: &Arc<str>,
        scan: ScanView,
        findings: Option<Vec<FindingView>>,
    ) {
        if let Some(watched) = self.all().get_mut(&(network.clone(), interface.clone())) {
            watched.scan = scan;
            if let Some(findings) = findings {
                watched.findings = findings;
            }
        }
    }

    /// Whether a sweep was asked for since the last call.
    pub fn take_wanted(&self, network: &Arc<str>, interface: &Arc<str>) -> bool {
        let mut all = self.all();
        let watched = all.get_mut(&(network.clone(), interface.clone()));
        watched.is_some_and(|watched| std::mem::take(&mut watched.wanted))
    }

    /// Asks for a sweep of one network or of all; those that will be swept, as they are now.
    pub fn sweep(&self, network: Option<&str>) -> Vec<ScanView> {
        let mut scans = vec![];
        for ((of, _), watched) in self.all().iter_mut() {
            if network.is_none_or(|network| **of == *network) {
                watched.wanted = true;
                (watched.wake)();
                scans.push(watched.scan.clone());
            }
        }
        scans
    }

    /// What is wrong on one network or on all.
    pub fn view(&self, network: Option<&str>) -> FindingsView {
        let mut view = FindingsView::default();
        for ((of, _), watched) in self.all().iter() {
            if network.is_none_or(|network| **of == *network) {
                view.scans.push(watched.scan.clone());
                view.findings.extend(watched.findings.iter().cloned());
            }
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_is_asked_for_once_and_of_whom_it_is() {
        let (findings, eth0): (_, Arc<str>) = (Findings::default(), "eth0".into());
        let names: [Arc<str>; 2] = ["a".into(), "b".into()];
        for name in &names {
            findings.begin(name, &eth0, Box::new(|| ()));
        }
        assert_eq!(findings.sweep(Some("a")).len(), 1);
        assert!(findings.take_wanted(&names[0], &eth0) && !findings.take_wanted(&names[0], &eth0));
        assert!(!findings.take_wanted(&names[1], &eth0));
        assert_eq!(findings.sweep(None).len(), 2);
        assert!(findings.take_wanted(&names[1], &eth0));
        findings.end(&names[1], &eth0);
        assert_eq!(findings.view(None).scans.len(), 1);
        assert_eq!(findings.sweep(Some("b")), []);
    }
}
