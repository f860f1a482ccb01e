//! Bindings as text and back: what the views of leases mean.

use std::net::Ipv4Addr;
use std::sync::Arc;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::base::addr::{parse_hex, write_hex};
use crate::base::ident::KeyKind;
use crate::base::name::clean_hostname;
use crate::base::{ClientKey, HwAddr, Mac, NetworkId, Prefix6, Resource, Timestamp};
use crate::config::Policy;
use crate::config::policy::{Identity, Network};
use crate::lease::{Details, Lease, QuarantineReason, State};

use super::command::Refusal;
use super::view::{ImportView, LeaseView, RefusedView};

/// Every state by the name that a filter may give it; the last one is none that an import takes.
pub const STATES: [&str; 8] =
    ["leased", "expired", "released", "declined", "in-use", "quarantined", "leaving", "shadow"];

/// Longest text field of an import, in bytes.
const TEXT_MAX: usize = 255;
/// Longest circuit and remote id of an import, in bytes: what an option of DHCPv4 holds, and what
/// a packet of DHCPv6 does.
const ID_MAX: usize = 255;
const ID_MAX_6: usize = 1500;
/// A DUID: its type of two bytes, then 1 to 128 bytes (RFC 9915 s11.1).
const DUID_BYTES: std::ops::RangeInclusive<usize> = 3..=130;
/// Longest client key as text: a circuit and a remote id in hexadecimal.
const KEY_TEXT_MAX: usize = 2048;

/// Whether a filter's state is one.
pub fn check_state(state: Option<&str>) -> Result<(), Refusal> {
    match state.filter(|state| !STATES.contains(state)) {
        Some(other) => {
            let want = STATES.join(", ");
            Err(Refusal::Invalid(format!("state is `{other}`, want one of {want}")))
        }
        None => Ok(()),
    }
}

/// A time in RFC 3339, or `never`.
pub fn time_text(at: Timestamp) -> String {
    let nanos = i128::from(at.0) * 1_000_000;
    let date = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
    date.and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_else(|| "never".into())
}

/// Back from [`time_text`]; also seconds since the epoch.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    if text == "never" {
        return Some(Timestamp::NEVER);
    }
    if let Ok(secs) = text.parse() {
        return Some(Timestamp::from_secs(secs));
    }
    let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    u64::try_from(nanos / 1_000_000).ok().map(Timestamp)
}

/// The name of a network, or its number where the policy has none of that identity (any more).
pub fn network_text(id: NetworkId, policy: &Policy) -> String {
    match policy.networks.iter().find(|network| network.id == id) {
        Some(network) => network.name.to_string(),
        None => format!("#{:08x}", id.0),
    }
}

/// Back from [`network_text`]. `None` if the policy has no such network.
pub fn parse_network(text: &str, policy: &Policy) -> Option<NetworkId> {
    if let Some(hex) = text.strip_prefix('#') {
        return u32::from_str_radix(hex, 16).ok().map(NetworkId);
    }
    policy.networks.iter().find(|network| *network.name == *text).map(|network| network.id)
}

/// A hardware address, back from how it displays.
pub fn parse_hardware(text: &str) -> Option<HwAddr> {
    match text.split_once('/') {
        Some((htype, hex)) => HwAddr::new(htype.parse().ok()?, &parse_hex(hex)?),
        None => text.parse::<Mac>().ok().map(HwAddr::ethernet),
    }
}

fn hex_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    // Writing to a string cannot fail.
    let _ = write_hex(&mut text, bytes, ":");
    text
}

impl LeaseView {
    /// A binding as the control plane shows it.
    pub fn of(lease: &Lease, policy: &Policy) -> LeaseView {
        let details = &lease.details;
        let leased = lease.state == State::Leased;
        let answered = match lease.state {
            State::Quarantined(QuarantineReason::InUse(mac)) => Some(mac.to_string()),
            _ => None,
        };
        LeaseView {
            network: Some(network_text(lease.network, policy)),
            address: lease.resource.to_string(),
            state: lease.state.to_string(),
            client: Some(lease.client.to_string()),
            hardware: (!lease.hw.bytes().is_empty()).then(|| lease.hw.to_string()),
            hostname: details.hostname.as_deref().map(Into::into),
            account: details.account.as_deref().map(Into::into),
            application: details.application.as_deref().map(Into::into),
            instance: details.instance.as_deref().map(Into::into),
            since: Some(time_text(lease.since)),
            updated: Some(time_text(lease.updated)),
            until: Some(time_text(lease.until)),
            circuit_id: details.circuit_id.as_deref().map(hex_text),
            remote_id: details.remote_id.as_deref().map(hex_text),
            relay: details.relay.map(|relay| relay.to_string()),
            next_hop: details.next_hop.as_ref().map(|hop| hop.to_string()),
            boot_stage: details.boot_stage,
            tier: details.tier.filter(|_| leased).map(|tier| tier.as_str().into()),
            draining: details.draining.filter(|_| leased).map(|drain| time_text(drain.since)),
            answered,
        }
    }

    /// The binding that an import asks for, on the network that it belongs to by `policy`.
    /// On error: what does not fit, and what would.
    pub fn to_lease(&self, policy: &Policy, now: Timestamp) -> Result<Lease, String> {
        let resource: Resource = self
            .address
            .parse()
            .map_err(|()| format!("address is `{}`, want an address or a prefix", self.address))?;
        let network = self.place(resource, policy)?;
        let hw = match &self.hardware {
            Some(text) => parse_hardware(text)
                .ok_or_else(|| format!("hardware is `{text}`, want 52:54:00:12:34:56"))?,
            None => HwAddr::default(),
        };
        let time = |name: &str, text: &Option<String>, default: Option<Timestamp>| match text {
            Some(text) => parse_time(text)
                .ok_or_else(|| format!("{name} is `{text}`, want 2026-01-31T12:00:00Z or never")),
            None => default.ok_or_else(|| format!("no {name}: when does it end?")),
        };
        let until = time("until", &self.until, None)?;
        Ok(Lease {
            network: network.id,
            resource,
            client: self.key(resource, network, &hw)?,
            hw,
            state: self.state()?,
            since: time("since", &self.since, Some(now))?,
            updated: time("updated", &self.updated, Some(now))?,
            until,
            port: None,
            uses: Default::default(),
            details: Arc::new(self.details(resource)?),
        })
    }

    /// The network: the one named, which must have a place for the resource, else the one that
    /// has.
    fn place<'p>(&self, resource: Resource, policy: &'p Policy) -> Result<&'p Network, String> {
        let what = match resource {
            Resource::Prefix6(..) => "prefix of a delegation, or reserved one,",
            _ => "host address of a subnet",
        };
        let holds = |network: &Network| has_place(network, resource);
        match &self.network {
            Some(name) => {
                let network = parse_network(name, policy)
                    .and_then(|id| policy.networks.iter().find(|network| network.id == id))
                    .ok_or_else(|| format!("no network `{name}`"))?;
                let misfit = || format!("{resource} is no {what} of `{name}`");
                holds(network).then_some(network).ok_or_else(misfit)
            }
            None => {
                let mut fits = policy.networks.iter().filter(|network| holds(network));
                match (fits.next(), fits.next()) {
                    (Some(network), None) => Ok(network),
                    (None, _) => Err(format!("{resource} is no {what} of any network")),
                    (Some(a), Some(b)) => Err(format!(
                        "{resource} fits the networks `{}` and `{}`: name one",
                        a.name, b.name
                    )),
                }
            }
        }
    }

    /// The key by which the network knows such a client.
    fn key(&self, resource: Resource, network: &Network, hw: &HwAddr) -> Result<ClientKey, String> {
        let given = self.given_key()?;
        let kind = given.as_ref().map(ClientKey::kind);
        let is_v6 = matches!(kind, Some(KeyKind::Ia | KeyKind::IaPd | KeyKind::IaClone));
        if resource.v4().is_none() {
            return given.filter(|given| names_association(given, resource)).ok_or_else(|| {
                let want = if matches!(resource, Resource::V6(_)) { "ia" } else { "ia-pd" };
                let text = self.client.as_deref().unwrap_or("unknown");
                format!("client is `{text}`, want `{want}:` and IAID and DUID in hexadecimal")
            });
        }
        if is_v6 {
            return Err(format!("{resource} has a client of DHCPv6"));
        }
        let hardware = (!hw.bytes().is_empty()).then(|| ClientKey::hardware(hw));
        // As the engine knows it: an identifier that spells the hardware address says nothing more.
        let spelt = |given: &ClientKey| given.option_61().is_some_and(|id| hw.is_spelt_by(id));
        match network.identity {
            Identity::CloneSafe if given.as_ref().is_some_and(spelt) => hardware,
            Identity::Mac => hardware.or(given),
            Identity::CloneSafe | Identity::ClientId | Identity::CircuitId => given.or(hardware),
        }
        .ok_or_else(|| "neither client nor hardware: whose is it?".into())
    }

    fn given_key(&self) -> Result<Option<ClientKey>, String> {
        match &self.client {
            Some(text) if text.len() > KEY_TEXT_MAX => {
                Err(format!("client has {} characters, at most {KEY_TEXT_MAX}", text.len()))
            }
            Some(text) => text.parse().map(Some).map_err(|()| {
                format!("client is `{text}`, want a kind and hexadecimal as in id:01:52:54")
            }),
            None => Ok(None),
        }
    }

    fn state(&self) -> Result<State, String> {
        Ok(match self.state.as_str() {
            "" | "leased" => State::Leased,
            "expired" => State::Expired,
            "released" => State::Released,
            "declined" => State::Quarantined(QuarantineReason::Declined),
            "leaving" => State::Quarantined(QuarantineReason::Leaving),
            "quarantined" => State::Quarantined(QuarantineReason::Operator),
            "in-use" => {
                let mac = self.answered.as_deref().and_then(|text| text.parse().ok());
                State::Quarantined(QuarantineReason::InUse(mac.unwrap_or_default()))
            }
            other => {
                let want = STATES[..7].join(", ");
                return Err(format!("state is `{other}`, want one of {want}"));
            }
        })
    }

    fn details(&self, resource: Resource) -> Result<Details, String> {
        let most = if resource.v4().is_some() { ID_MAX } else { ID_MAX_6 };
        let bytes = |name: &str, text: &Option<String>| match text {
            Some(text) => match parse_hex(text).filter(|bytes| bytes.len() <= most) {
                Some(bytes) => Ok(Some(bytes.into_boxed_slice())),
                None => Err(format!("{name} is `{text}`, want up to {most} bytes in hexadecimal")),
            },
            None => Ok(None),
        };
        let texts = [
            ("account", &self.account),
            ("application", &self.application),
            ("instance", &self.instance),
        ];
        for (name, text) in texts {
            if let Some(text) = text.as_ref().filter(|text| text.len() > TEXT_MAX) {
                return Err(format!("{name} has {} bytes, at most {TEXT_MAX}", text.len()));
            }
        }
        let relay = match &self.relay {
            Some(text) => Some(
                text.parse::<Ipv4Addr>()
                    .map_err(|_| format!("relay is `{text}`, want an IPv4 address"))?,
            ),
            None => None,
        };
        let next_hop = match &self.next_hop {
            Some(text) => {
                Some(text.parse().map_err(|()| format!("next_hop is `{text}`, want fe80::1%br0"))?)
            }
            None => None,
        };
        Ok(Details {
            // Cleaned as one from the wire is.
            hostname: self.hostname.as_deref().and_then(|name| clean_hostname(name.as_bytes())),
            account: self.account.as_deref().map(Into::into),
            application: self.application.as_deref().map(Into::into),
            // Of no weight until it is known to be registered here.
            instance: self.instance.as_deref().map(Into::into),
            circuit_id: bytes("circuit_id", &self.circuit_id)?,
            remote_id: bytes("remote_id", &self.remote_id)?,
            relay,
            boot_stage: self.boot_stage,
            next_hop,
            foreseen: None,
            tier: None,
            draining: None,
            wakes: false,
        })
    }
}

/// Whether the network can have a binding of `resource`. A prefix must be of a length that is
/// delegated there: one of another would not be out of its pool.
pub(super) fn has_place(network: &Network, resource: Resource) -> bool {
    match resource {
        Resource::V4(addr) => network.subnet_of(addr).is_some_and(|s| s.prefix.is_host(addr)),
        Resource::V6(addr) => network.subnet6_of(addr).is_some_and(|s| s.prefix.is_host(addr)),
        Resource::Prefix6(addr, len) => Prefix6::new(addr, len).is_some_and(|prefix| {
            let mut pools = network.subnets6.iter().flat_map(|s| &s.delegations);
            let mut reserved = network.reservations6.iter().flat_map(|r| &r.prefixes);
            let is_cut = pools.any(|pool| {
                pool.prefix.holds(&prefix)
                    && (pool.min_length..=pool.max_length).contains(&prefix.len())
            });
            prefix.network() == addr && (is_cut || reserved.any(|r| *r == prefix))
        }),
    }
}

/// Whether a key is that of an association which may have `resource`.
fn names_association(key: &ClientKey, resource: Resource) -> bool {
    let fits = match key.kind() {
        KeyKind::Ia => matches!(resource, Resource::V6(_)),
        KeyKind::IaPd => matches!(resource, Resource::Prefix6(..)),
        KeyKind::IaClone => true,
        _ => false,
    };
    fits && key.duid().is_some_and(|duid| DUID_BYTES.contains(&duid.len()))
}

/// An import on its way: what fits the policy, and what does not.
#[derive(Debug)]
pub struct ImportPlan {
    leases: Vec<Lease>,
    resources: Vec<Resource>,
    view: ImportView,
}

impl ImportPlan {
    /// Sorts out what was given.
    pub fn new(given: Vec<LeaseView>, policy: &Policy, now: Timestamp) -> ImportPlan {
        let mut view = ImportView::default();
        let mut leases = Vec::new();
        for given in given {
            match given.to_lease(policy, now) {
                Ok(lease) => leases.push(lease),
                Err(reason) => view.refused.push(RefusedView { address: given.address, reason }),
            }
        }
        let resources = leases.iter().map(|lease: &Lease| lease.resource).collect();
        ImportPlan { leases, resources, view }
    }

    /// What would be imported into a server that holds nothing yet.
    pub fn dry(self) -> ImportView {
        ImportView { imported: self.resources.len() as u64, ..self.view }
    }

    /// The bindings to import.
    pub fn take_leases(&mut self) -> Vec<Lease> {
        std::mem::take(&mut self.leases)
    }

    /// The outcome; `taken` has an entry for each of [`ImportPlan::take_leases`].
    pub fn done(mut self, taken: &[bool]) -> ImportView {
        for (resource, taken) in self.resources.iter().zip(taken) {
            if *taken {
                self.view.imported += 1;
            } else {
                let reason = "held by another client, or by this one for longer".into();
                self.view.refused.push(RefusedView { address: resource.to_string(), reason });
            }
        }
        self.view
    }
}
