//! Reservations: what is asked of the engine's thread about them, and how they are shown. Those of
//! the configuration file are there too, as `NETWORK@ADDRESS`, and stay as they are.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::Resource;
use crate::config::Policy;
use crate::config::policy::{HostId, HostId6, Network, Reservation, Reservation6};
use crate::engine::hosts::HostWish;
use crate::lease::directory::{Entry, Host};

use super::command::Refusal;
use super::instances::hex;
use super::leases::{network_text, parse_network, time_text};
use super::registry::{Deed, Told, Turn};

/// A reservation: what one client gets on one network, and nobody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReservationView {
    /// What it is called; unique on this server.
    pub id: String,
    /// Its network.
    pub network: String,
    /// The hardware address of its client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The DUID of its client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duid: Option<String>,
    /// The client identifier of its client (DHCPv4), in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The circuit id or interface-id of its client's port, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_id: Option<String>,
    /// The remote id that the relay of its client gives, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// The name that its client is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Its IPv4 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its IPv6 addresses.
    pub addresses6: Vec<String>,
    /// Its delegated prefixes.
    pub prefixes: Vec<String>,
    /// Whom its client belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// What runs in its client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// The configuration file says so, and it is changed there.
    pub configured: bool,
    /// When it was made, if that was at run time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// When it was last changed, if it was made at run time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
}

impl ReservationView {
    fn made(host: &Host, policy: &Policy) -> ReservationView {
        let (kept, settings) = (&host.kept, &host.kept.settings);
        ReservationView {
            id: host.id.to_string(),
            network: network_text(kept.network, policy),
            mac: kept.who.mac.map(|mac| mac.to_string()),
            duid: kept.who.duid.as_deref().map(hex),
            client_id: kept.who.client_id.as_deref().map(hex),
            port_id: kept.who.port.as_deref().map(hex),
            remote_id: None,
            hostname: kept.hostname.as_deref().map(Into::into),
            address: kept.v4.map(|addr| addr.to_string()),
            addresses6: kept.v6.iter().map(ToString::to_string).collect(),
            prefixes: kept.prefixes.iter().map(ToString::to_string).collect(),
            account: settings.account.as_deref().map(Into::into),
            application: settings.application.as_deref().map(Into::into),
            configured: false,
            created: Some(time_text(host.created)),
            changed: Some(time_text(host.changed)),
        }
    }

    fn of_file4(network: &Network, of: &Reservation) -> ReservationView {
        let mut view = ReservationView {
            id: format!("{}@{}", network.name, of.addr),
            network: network.name.to_string(),
            hostname: of.hostname.as_deref().map(Into::into),
            address: Some(of.addr.to_string()),
            account: of.settings.account.as_deref().map(Into::into),
            application: of.settings.application.as_deref().map(Into::into),
            configured: true,
            ..ReservationView::default()
        };
        match &of.host {
            HostId::Hardware(hw) => view.mac = Some(hw.to_string()),
            HostId::ClientId(id) => view.client_id = Some(hex(id)),
            HostId::CircuitId(id) => view.port_id = Some(hex(id)),
            HostId::RemoteId(id) => view.remote_id = Some(hex(id)),
        }
        view
    }

    fn of_file6(network: &Network, of: &Reservation6) -> ReservationView {
        let mut view = ReservationView {
            network: network.name.to_string(),
            hostname: of.hostname.as_deref().map(Into::into),
            addresses6: of.addrs.iter().map(ToString::to_string).collect(),
            prefixes: of.prefixes.iter().map(ToString::to_string).collect(),
            account: of.settings.account.as_deref().map(Into::into),
            application: of.settings.application.as_deref().map(Into::into),
            configured: true,
            ..ReservationView::default()
        };
        let who = match &of.host {
            HostId6::Duid(id) => view.duid.insert(hex(id)),
            HostId6::Hardware(hw) => view.mac.insert(hw.to_string()),
            HostId6::InterfaceId(id) => view.port_id.insert(hex(id)),
        };
        // One that reserves a name alone goes by its client.
        let what = view.addresses6.first().or(view.prefixes.first()).unwrap_or(who);
        view.id = format!("{}@{what}", network.name);
        view
    }
}

/// What to do with reservations.
#[derive(Debug)]
pub enum ReservationDeed {
    /// Make one.
    Create(Box<HostWish>),
    /// Put another in the place of one.
    Change(Box<str>, Box<HostWish>),
    /// Remove one.
    Remove(Box<str>),
    /// Show one.
    Show(Box<str>),
    /// From this cursor on, so many at most.
    List(Option<Box<str>>, usize),
}

impl Deed for ReservationDeed {
    type View = ReservationView;

    fn run(self, turn: &mut Turn<'_, '_>) -> Result<Told<ReservationView>, Refusal> {
        let policy = turn.policy;
        match self {
            ReservationDeed::Create(wish) => {
                let (engine, now, fx) = turn.parts();
                let (host, new) = engine.create_host(now, &wish, fx)?;
                let view = ReservationView::made(&host, policy);
                if new {
                    audit(turn, "create", &host, None, Some(&view));
                }
                Ok(Told::one(view, new))
            }
            ReservationDeed::Change(id, wish) => {
                let before = changeable(turn, &id)?;
                let (engine, now, fx) = turn.parts();
                let host = engine.change_host(now, &id, &wish, fx)?;
                let after = ReservationView::made(&host, policy);
                if after != before {
                    audit(turn, "change", &host, Some(&before), Some(&after));
                }
                Ok(Told::one(after, false))
            }
            ReservationDeed::Remove(id) => {
                let before = changeable(turn, &id)?;
                let (engine, _, fx) = turn.parts();
                let host = engine.remove_host(&id, fx)?;
                audit(turn, "delete", &host, Some(&before), None);
                Ok(Told::one(before, false))
            }
            ReservationDeed::Show(id) => Ok(Told::one(visible(turn, &id)?, false)),
            ReservationDeed::List(cursor, most) => Ok(list(turn, cursor.as_deref(), most)),
        }
    }
}

fn audit(
    turn: &mut Turn<'_, '_>,
    verb: &str,
    of: &Host,
    before: Option<&ReservationView>,
    after: Option<&ReservationView>,
) {
    let object = format!("reservations/{}", of.id);
    turn.audit(verb, &object, of.kept.settings.account.as_deref(), before, after);
}

/// One that is not the configuration's, and is what the caller thinks.
fn changeable(turn: &Turn<'_, '_>, id: &str) -> Result<ReservationView, Refusal> {
    let view = visible(turn, id)?;
    if view.configured {
        return Err(Refusal::Configured(format!("reservation \"{id}\"")));
    }
    turn.conditions.allow_change(&view)?;
    Ok(view)
}

fn visible(turn: &Turn<'_, '_>, id: &str) -> Result<ReservationView, Refusal> {
    let made = turn.engine().directory().host(id);
    let view = made.map(|host| ReservationView::made(host, turn.policy));
    let found = view.or_else(|| configured(turn.policy, id));
    let own = found.filter(|view| turn.scope.holds(view.account.as_deref()));
    own.ok_or_else(|| Refusal::NotFound(format!("no reservation is called \"{id}\"")))
}

/// The reservation of the configuration that is shown under that id.
fn configured(policy: &Policy, id: &str) -> Option<ReservationView> {
    let (network, what) = id.rsplit_once('@')?;
    let network = parse_network(network, policy)?;
    let network = policy.networks.iter().find(|n| n.id == network)?;
    if let Ok(addr) = what.parse::<Ipv4Addr>() {
        let found = network.reservations.iter().find(|r| r.addr == addr)?;
        return Some(ReservationView::of_file4(network, found)).filter(|view| view.id == id);
    }
    let first = |r: &Reservation6| {
        let prefix = r.prefixes.first().map(|prefix| Resource::from(*prefix));
        r.addrs.first().map(|addr| Resource::V6(*addr)).or(prefix)
    };
    let wanted = what.parse().ok();
    let six = network.reservations6.iter().filter(|r| first(r).is_none() || first(r) == wanted);
    six.map(|r| ReservationView::of_file6(network, r)).find(|view| view.id == id)
}

/// First those that were made at run time, in the order of their ids, then those of the
/// configuration, in its order. Looks at so many at most; the page may be short, and yet not the
/// last.
fn list(turn: &Turn<'_, '_>, cursor: Option<&str>, most: usize) -> Told<ReservationView> {
    let (mut seen, mut next) = (Vec::new(), None);
    let of_file = cursor.and_then(|cursor| cursor.strip_prefix('@')?.parse::<usize>().ok());
    if of_file.is_none() {
        let after = cursor.map(|id| format!("host/{id}"));
        let hosts = turn.engine().directory().list("host/", after.as_deref());
        let hosts = hosts.filter_map(|entry| match entry {
            Entry::Host(host) => Some(host),
            _ => None,
        });
        let page: Vec<&Arc<Host>> = hosts.take(most).collect();
        next = page.last().filter(|_| page.len() == most).map(|host| host.id.to_string());
        seen.extend(page.into_iter().map(|host| ReservationView::made(host, turn.policy)));
    }
    if next.is_none() {
        let (from, room) = (of_file.unwrap_or(0), most - seen.len());
        seen.extend(of_policy(turn.policy, from, room));
        let total: usize = turn.policy.networks.iter().map(count).sum();
        let end = from.saturating_add(room);
        next = (end < total).then(|| format!("@{end}"));
    }
    seen.retain(|view| turn.scope.holds(view.account.as_deref()));
    Told { entries: seen, new: false, next }
}

fn count(network: &Network) -> usize {
    network.reservations.len() + network.reservations6.len()
}

/// So many reservations of the configuration, from a position on.
fn of_policy(policy: &Policy, mut from: usize, most: usize) -> Vec<ReservationView> {
    let mut found = Vec::new();
    for network in &policy.networks {
        if from >= count(network) {
            from -= count(network);
            continue;
        }
        let four = network.reservations.iter();
        let six = network.reservations6.iter();
        let four = four.skip(from).map(|r| ReservationView::of_file4(network, r));
        let later = from.saturating_sub(network.reservations.len());
        let six = six.skip(later).map(|r| ReservationView::of_file6(network, r));
        found.extend(four.chain(six).take(most - found.len()));
        from = 0;
        if found.len() == most {
            break;
        }
    }
    found
}
