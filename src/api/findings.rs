//! What is wrong on a network, as JSON.

use std::sync::Arc;

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
