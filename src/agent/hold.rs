//! What a pair of guests with one address is to be on a host.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::base::Mac;
use crate::net::gate::{BadPort, Port, Rules};
use crate::switchover::Stage;
use crate::watch::PolicyError;

use super::guard;

/// Most addresses of a pair.
pub const ADDRESSES_MAX: usize = 64;
/// Longest name of a pair, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Two guests with the same addresses, as one host has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// What the pair is called on its server; 1 to 128 bytes.
    pub pair: Box<str>,
    /// Rises with each switchover of the pair.
    pub epoch: u64,
    /// The bridge of the segment on this host; empty: the one that the guest's port is of.
    pub bridge: Box<str>,
    /// What both have: 1 to 64 addresses.
    pub addresses: Vec<IpAddr>,
    /// Whose the addresses are, or were.
    pub active: Holder,
    /// Whose they will be, or are.
    pub standby: Holder,
    /// How far it is.
    pub stage: Stage,
    /// How the active is watched while it speaks, where it is on this host; not at all if `None`.
    #[serde(default)]
    pub watch: Option<guard::Policy>,
}

/// One guest of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Its hardware address.
    #[serde(with = "text")]
    pub mac: Mac,
    /// The port of the bridge that it is behind; empty of one elsewhere: where it was heard.
    pub port: Box<str>,
    /// It is on another host: the port leads there, and others are behind it too.
    #[serde(default)]
    pub elsewhere: bool,
}

/// What is wrong with a hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Faulty {
    /// Its name.
    #[error("pair: a name of {0} bytes, want 1 to 128")]
    Name(usize),
    /// The number of its addresses.
    #[error("addresses: {0}, want 1 to 64")]
    Addresses(usize),
    /// An address that no guest has for itself.
    #[error("addresses: {0} is no address of one host")]
    Address(IpAddr),
    /// A port or the bridge.
    #[error(transparent)]
    Port(#[from] BadPort),
    /// The guests are one.
    #[error("active and standby have the same hardware address {0}")]
    SameMac(Mac),
    /// The guests are behind one port of this host: the gate cannot tell them apart.
    #[error("active and standby are behind the same port {0}")]
    SamePort(Box<str>),
    /// None of them is here.
    #[error("neither active nor standby is on this host")]
    Elsewhere,
    /// How the active is to be watched.
    #[error("watch: {0}")]
    Watch(#[from] PolicyError),
    /// A hardware address that no guest has for itself.
    #[error("{0} is no hardware address of one guest")]
    Mac(Mac),
}

impl Hold {
    /// Whether it can be brought about at all.
    pub fn check(&self) -> Result<(), Faulty> {
        if !(1..=NAME_BYTES_MAX).contains(&self.pair.len()) {
            return Err(Faulty::Name(self.pair.len()));
        }
        if !(1..=ADDRESSES_MAX).contains(&self.addresses.len()) {
            return Err(Faulty::Addresses(self.addresses.len()));
        }
        if let Some(bad) = self.addresses.iter().find(|addr| !is_of_one_host(addr)) {
            return Err(Faulty::Address(*bad));
        }
        let Hold { active, standby, .. } = self;
        let told = |of: &Holder| !(of.elsewhere && of.port.is_empty());
        let ports = [active, standby].into_iter().filter(|of| told(of)).map(|of| &of.port);
        for name in ports.chain(Some(&self.bridge).filter(|bridge| !bridge.is_empty())) {
            Port::new(name)?;
        }
        if let Some(bad) = [active.mac, standby.mac].into_iter().find(|mac| !is_of_one_guest(*mac))
        {
            return Err(Faulty::Mac(bad));
        }
        if active.mac == standby.mac {
            return Err(Faulty::SameMac(active.mac));
        }
        if active.elsewhere && standby.elsewhere {
            return Err(Faulty::Elsewhere);
        }
        if let Some(policy) = &self.watch {
            policy.probes()?;
        }
        if active.port == standby.port {
            return Err(Faulty::SamePort(active.port.clone()));
        }
        Ok(())
    }

    /// Who speaks for the addresses now; nobody if they are fenced.
    pub fn speaker(&self) -> Option<&Holder> {
        match self.stage {
            Stage::Standby => Some(&self.active),
            Stage::Fenced => None,
            Stage::Leaving | Stage::Promoted => Some(&self.standby),
        }
    }

    /// The guests of this host that do not speak for the addresses.
    pub fn silent(&self) -> impl Iterator<Item = &Holder> {
        let both = [&self.active, &self.standby];
        let speaker = self.speaker().map(|speaker| speaker.mac);
        both.into_iter().filter(move |of| !of.elsewhere && Some(of.mac) != speaker)
    }

    /// Adds what it takes of the gate. A port that leads elsewhere is never silent: the gate of the
    /// other host sees to that.
    fn add_to(&self, rules: &mut Rules) {
        let here = |holder: &Holder| Port::new(&holder.port).ok().filter(|_| !holder.elsewhere);
        let (active, standby) = (here(&self.active), here(&self.standby));
        rules.guests.extend(active.iter().chain(&standby));
        let each =
            |port: Option<Port>| self.addresses.iter().filter_map(move |addr| Some((port?, *addr)));
        match self.stage {
            Stage::Standby => rules.silent.extend(each(standby)),
            Stage::Fenced => rules.silent.extend(each(active).chain(each(standby))),
            Stage::Leaving => rules.leaving.extend(each(active)),
            Stage::Promoted => rules.silent.extend(each(active)),
        }
    }
}

/// The rules of a host with these pairs.
pub fn rules<'a>(holds: impl IntoIterator<Item = &'a Hold>) -> Rules {
    let mut rules = Rules::default();
    holds.into_iter().for_each(|hold| hold.add_to(&mut rules));
    rules
}

fn is_of_one_host(addr: &IpAddr) -> bool {
    let special = addr.is_unspecified() || addr.is_loopback() || addr.is_multicast();
    let is_broadcast = matches!(addr, IpAddr::V4(addr) if addr.is_broadcast());
    !special && !is_broadcast
}

fn is_of_one_guest(mac: Mac) -> bool {
    !mac.is_group() && mac != Mac::ZERO
}

/// Hardware addresses as people write them.
mod text {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::base::Mac;

    pub(super) fn serialize<S: Serializer>(mac: &Mac, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(mac)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Mac, D::Error> {
        let text = String::deserialize(from)?;
        let want = || format!("`{text}` is no hardware address, want aa:bb:cc:dd:ee:ff");
        text.parse().map_err(|()| serde::de::Error::custom(want()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(n: u8, port: &str) -> Holder {
        Holder { mac: Mac([2, 0, 0, 0, 0, n]), port: port.into(), elsewhere: false }
    }

    fn hold() -> Hold {
        Hold {
            pair: "web-1".into(),
            epoch: 1,
            bridge: "br0".into(),
            addresses: vec!["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()],
            active: holder(1, "tap1"),
            standby: holder(2, "tap2"),
            stage: Stage::Standby,
            watch: None,
        }
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(hold().check(), Ok(()));
        let of = |change: fn(&mut Hold)| {
            let mut hold = hold();
            change(&mut hold);
            hold.check().unwrap_err().to_string()
        };
        assert_eq!(of(|h| h.pair = "".into()), "pair: a name of 0 bytes, want 1 to 128");
        assert_eq!(of(|h| h.addresses.clear()), "addresses: 0, want 1 to 64");
        let everybody = of(|h| h.addresses.push("255.255.255.255".parse().unwrap()));
        assert_eq!(everybody, "addresses: 255.255.255.255 is no address of one host");
        let port = of(|h| h.standby.port = "a/b".into());
        assert_eq!(
            port,
            "`a/b` is no name of an interface, want 1 to 15 bytes without space and slash"
        );
        let same = of(|h| h.standby.mac = h.active.mac);
        assert_eq!(same, "active and standby have the same hardware address 02:00:00:00:00:01");
        let same = of(|h| h.standby.port = h.active.port.clone());
        assert_eq!(same, "active and standby are behind the same port tap1");
        let none = of(|h| (h.active.elsewhere, h.standby.elsewhere) = (true, true));
        assert_eq!(none, "neither active nor standby is on this host");
        let group = of(|h| h.active.mac = Mac::BROADCAST);
        assert_eq!(group, "ff:ff:ff:ff:ff:ff is no hardware address of one guest");
    }

    #[test]
    fn each_stage_silences_whose_addresses_they_are_not() {
        let of = |stage, elsewhere| {
            let active = Holder { elsewhere, ..holder(1, "tap1") };
            let hold = Hold { stage, active, ..hold() };
            let rules = rules([&hold]);
            let names = |set: &std::collections::BTreeSet<(Port, IpAddr)>| {
                let all: Vec<_> = set.iter().map(|(port, _)| port.name().to_owned()).collect();
                all.chunks(2).map(|both| both[0].clone()).collect::<Vec<_>>()
            };
            (names(&rules.silent), names(&rules.leaving))
        };
        let (tap1, tap2) = (|| vec!["tap1".to_owned()], || vec!["tap2".to_owned()]);
        assert_eq!(of(Stage::Standby, false), (tap2(), vec![]));
        assert_eq!(of(Stage::Fenced, false), (vec!["tap1".into(), "tap2".into()], vec![]));
        assert_eq!(of(Stage::Leaving, false), (vec![], tap1()));
        assert_eq!(of(Stage::Promoted, false), (tap1(), vec![]));
        assert_eq!(of(Stage::Fenced, true), (tap2(), vec![]));
        assert_eq!(of(Stage::Promoted, true), (vec![], vec![]));
    }

    #[test]
    fn what_is_written_is_read() {
        let text = serde_json::to_string(&hold()).unwrap();
        assert_eq!(serde_json::from_str::<Hold>(&text).unwrap(), hold());
        let odd = text.replace("02:00:00:00:00:01", "02:00");
        assert!(serde_json::from_str::<Hold>(&odd).unwrap_err().to_string().contains("`02:00`"));
        let more = text.replacen('{', r#"{"more":1,"#, 1);
        assert!(serde_json::from_str::<Hold>(&more).is_err());
    }
}
