//! What the directory holds: instances, reservations made at run time, accounts and applications.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::{Foresight, Owner, Standby, standby_name};
use crate::base::{HwAddr, Mac, NetworkId, Prefix6, Resource, Timestamp};
use crate::config::policy::{
    Account, Application, HostId, HostId6, Reservation, Reservation6, Settings,
};

/// One durable entry.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A machine that an orchestrator has registered.
    Instance(Arc<Instance>),
    /// A reservation made at run time.
    Host(Arc<Host>),
    /// An account made at run time, without its applications.
    Account(Arc<Account>),
    /// An application made at run time, of the account of that name.
    Application(Arc<str>, Arc<Application>),
    /// How many instances of an owner are foreseen on a network.
    Foresight(Arc<Foresight>),
    /// An active and its standby.
    Standby(Arc<Standby>),
}

/// A registered machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// What it is called by whoever made it; unique on this server.
    pub id: Arc<str>,
    /// Who it is, and what is kept for it.
    pub kept: Arc<Kept>,
    /// The MAC was made here, and its guest is to boot with it.
    pub mac_made: bool,
    /// The DUID was seen in its messages, and not named by whoever made it.
    pub duid_seen: bool,
    /// The addresses that were asked for when it was made.
    pub wished: Vec<Resource>,
    /// Where it runs.
    pub region: Option<Box<str>>,
    /// Whatever its maker wants to find it by.
    pub tags: BTreeMap<Box<str>, Box<str>>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub changed: Timestamp,
}

/// A reservation made at run time.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// What it is called; unique on this server.
    pub id: Arc<str>,
    /// Who it is for, and what is kept for it.
    pub kept: Arc<Kept>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub changed: Timestamp,
}

/// How a client is known. At least one of them is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identifiers {
    /// Hardware address, of both protocols.
    pub mac: Option<Mac>,
    /// DHCPv6 DUID.
    pub duid: Option<Box<[u8]>>,
    /// DHCPv4 client identifier; of reservations only.
    pub client_id: Option<Box<[u8]>>,
    /// Circuit id (DHCPv4) or interface-id (DHCPv6) that its relay or switch gives its port.
    pub port: Option<Box<[u8]>>,
}

/// A client that is known by name, and what is kept for it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The segment.
    pub network: NetworkId,
    /// How it is known.
    pub who: Identifiers,
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 addresses.
    pub v6: Vec<Ipv6Addr>,
    /// Its delegated prefixes.
    pub prefixes: Vec<Prefix6>,
    /// The name it is told, and is known by.
    pub hostname: Option<Arc<str>>,
    /// The instance, if it is one.
    pub instance: Option<Arc<str>>,
    /// What is said of it: whom it belongs to.
    pub settings: Settings,
    /// What is kept, as the policy writes it.
    rule4: Option<Reservation>,
    rule6: Option<Reservation6>,
}

/// What [`Kept::new`] is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptParts {
    /// The segment.
    pub network: NetworkId,
    /// How it is known.
    pub who: Identifiers,
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 addresses.
    pub v6: Vec<Ipv6Addr>,
    /// Its delegated prefixes.
    pub prefixes: Vec<Prefix6>,
    /// The name it is told.
    pub hostname: Option<Arc<str>>,
    /// Whom it belongs to.
    pub account: Option<Arc<str>>,
    /// What runs in it.
    pub application: Option<Arc<str>>,
    /// The instance, if it is one.
    pub instance: Option<Arc<str>>,
}

impl Kept {
    /// What is kept, ready to be found by packets.
    pub fn new(parts: KeptParts) -> Kept {
        let KeptParts { network, who, v4, v6, prefixes, hostname, account, application, instance } =
            parts;
        let settings = Settings { account, application, ..Settings::default() };
        let rule = |host, addr| Reservation {
            host,
            addr,
            hostname: hostname.clone(),
            settings: Settings::default(),
        };
        let rule4 = who.host4().zip(v4).map(|(host, addr)| rule(host, addr));
        let some6 = !v6.is_empty() || !prefixes.is_empty() || hostname.is_some();
        let rule6 = who.host6().filter(|_| some6).map(|host| Reservation6 {
            host,
            addrs: v6.clone(),
            prefixes: prefixes.clone(),
            hostname: hostname.clone(),
            settings: Settings::default(),
        });
        Kept { network, who, v4, v6, prefixes, hostname, instance, settings, rule4, rule6 }
    }

    /// Back to what it was made of, to be changed.
    pub fn parts(&self) -> KeptParts {
        KeptParts {
            network: self.network,
            who: self.who.clone(),
            v4: self.v4,
            v6: self.v6.clone(),
            prefixes: self.prefixes.clone(),
            hostname: self.hostname.clone(),
            account: self.settings.account.clone(),
            application: self.settings.application.clone(),
            instance: self.instance.clone(),
        }
    }

    /// Its IPv4 reservation.
    pub fn rule4(&self) -> Option<&Reservation> {
        self.rule4.as_ref()
    }

    /// Its IPv6 reservation.
    pub fn rule6(&self) -> Option<&Reservation6> {
        self.rule6.as_ref()
    }

    /// All that is kept.
    pub fn resources(&self) -> impl Iterator<Item = Resource> + '_ {
        let v6 = self.v6.iter().map(|addr| Resource::V6(*addr));
        let prefixes = self.prefixes.iter().map(|prefix| Resource::from(*prefix));
        self.v4.map(Resource::V4).into_iter().chain(v6).chain(prefixes)
    }

    /// Whether `resource` is kept.
    pub fn keeps(&self, resource: Resource) -> bool {
        self.resources().any(|own| own == resource)
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Kept) -> bool {
        self.parts() == other.parts()
    }
}

impl Identifiers {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Identifiers::default()
    }

    /// The hardware address as packets have it.
    pub fn hw(&self) -> Option<HwAddr> {
        self.mac.map(HwAddr::ethernet)
    }

    fn host4(&self) -> Option<HostId> {
        let hardware = self.mac.map(HostId::from);
        let id = || self.client_id.clone().map(HostId::ClientId);
        hardware.or_else(id).or_else(|| self.port.clone().map(HostId::CircuitId))
    }

    /// The hardware address before the DUID: clones share that.
    fn host6(&self) -> Option<HostId6> {
        let hardware = self.hw().map(HostId6::Hardware);
        let duid = || self.duid.clone().map(HostId6::Duid);
        hardware.or_else(duid).or_else(|| self.port.clone().map(HostId6::InterfaceId))
    }
}

impl Entry {
    /// The name of the fact that holds it.
    pub fn name(&self) -> Box<str> {
        match self {
            Entry::Instance(instance) => instance_name(&instance.id),
            Entry::Host(host) => host_name(&host.id),
            Entry::Account(account) => account_name(&account.name),
            Entry::Application(account, application) => {
                application_name(account, &application.name)
            }
            Entry::Foresight(foresight) => foresight_name(foresight.network, &foresight.owner),
            Entry::Standby(standby) => standby_name(&standby.id),
        }
    }

    /// What it keeps for a client, if it does.
    pub fn kept(&self) -> Option<&Arc<Kept>> {
        match self {
            Entry::Instance(instance) => Some(&instance.kept),
            Entry::Host(host) => Some(&host.kept),
            Entry::Account(_)
            | Entry::Application(..)
            | Entry::Foresight(_)
            | Entry::Standby(_) => None,
        }
    }
}

/// The name of an instance's fact.
pub fn instance_name(id: &str) -> Box<str> {
    format!("instance/{id}").into()
}

/// The name of the fact of a reservation made at run time.
pub fn host_name(id: &str) -> Box<str> {
    format!("host/{id}").into()
}

/// The name of the fact of what is foreseen for an owner on a network.
pub fn foresight_name(network: NetworkId, owner: &Owner) -> Box<str> {
    let application = owner.1.as_deref().unwrap_or_default();
    format!("foresight/{:08x}/{}/{application}", network.0, owner.0).into()
}

/// The name of an account's fact.
pub fn account_name(name: &str) -> Box<str> {
    format!("account/{name}").into()
}

/// The name of an application's fact. Names of accounts have no slash.
pub fn application_name(account: &str, name: &str) -> Box<str> {
    format!("application/{account}/{name}").into()
}
