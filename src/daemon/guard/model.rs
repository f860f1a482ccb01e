//! What each port of a bridge may say: from the leases, and from where their holders are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::agent::ports::Guarded;
use crate::base::Mac;

/// The guests of one bridge. It does no IO.
#[derive(Debug, Default)]
pub(super) struct Guests {
    /// IPv6 sources are not asked for.
    any6: bool,
    /// Who holds each address by a lease.
    holder: BTreeMap<IpAddr, Mac>,
    leased: BTreeMap<Mac, BTreeSet<IpAddr>>,
    /// What pairs hold beside their leases.
    shared: BTreeMap<Mac, BTreeSet<IpAddr>>,
    /// The port of each holder.
    at: BTreeMap<Mac, Box<str>>,
    /// Ports that are there, and who is behind each.
    ports: BTreeMap<Box<str>, BTreeSet<Mac>>,
    /// Ports of which something may have changed.
    changed: BTreeSet<Box<str>>,
    /// Ports that are gone.
    gone: BTreeSet<Box<str>>,
}

impl Guests {
    pub(super) fn new(any6: bool) -> Guests {
        Guests { any6, ..Guests::default() }
    }

    /// Only these ports are there, of those that are to be guarded.
    pub(super) fn set_ports(&mut self, names: BTreeSet<Box<str>>) {
        let gone: Vec<Box<str>> =
            self.ports.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in gone {
            for mac in self.ports.remove(&name).into_iter().flatten() {
                self.at.remove(&mac);
            }
            self.changed.remove(&name);
            self.gone.insert(name);
        }
        for name in names {
            if !self.ports.contains_key(&name) {
                self.gone.remove(&name);
                self.changed.insert(name.clone());
                self.ports.insert(name, BTreeSet::new());
            }
        }
    }

    /// An address is somebody's, or nobody's any more.
    pub(super) fn set_holder(&mut self, addr: IpAddr, mac: Option<Mac>) {
        let before = self.holder.get(&addr).copied();
        if before == mac {
            return;
        }
        if let Some(before) = before {
            self.holder.remove(&addr);
            if let Some(of) = self.leased.get_mut(&before) {
                of.remove(&addr);
            }
            self.touch(before);
        }
        if let Some(mac) = mac {
            self.holder.insert(addr, mac);
            self.leased.entry(mac).or_default().insert(addr);
            self.touch(mac);
        }
    }

    /// What guests of pairs have though the leases are others'.
    pub(super) fn set_shared(&mut self, shared: BTreeMap<Mac, BTreeSet<IpAddr>>) {
        let before = std::mem::replace(&mut self.shared, shared);
        let all: BTreeSet<Mac> = before.keys().chain(self.shared.keys()).copied().collect();
        all.into_iter().for_each(|mac| self.touch(mac));
    }

    /// Where somebody was heard. A guest stays at the port where it was found first until that is
    /// gone: whoever forges its hardware address elsewhere does not get its rights.
    pub(super) fn place(&mut self, mac: Mac, port: &str) {
        if self.at.contains_key(&mac) || !self.holds_any(mac) {
            return;
        }
        let Some(behind) = self.ports.get_mut(port) else { return };
        behind.insert(mac);
        self.at.insert(mac, port.into());
        self.changed.insert(port.into());
    }

    /// Holders whose port is not known.
    pub(super) fn unplaced(&self) -> impl Iterator<Item = Mac> {
        let all = self.leased.iter().filter(|(_, of)| !of.is_empty());
        all.map(|(mac, _)| *mac).filter(|mac| !self.at.contains_key(mac))
    }

    /// What changed since it was asked last: ports as they are now, and those that are gone.
    pub(super) fn take_changes(&mut self) -> (Vec<Guarded>, Vec<Box<str>>) {
        let changed = std::mem::take(&mut self.changed);
        let gone = std::mem::take(&mut self.gone);
        (changed.iter().filter_map(|port| self.port(port)).collect(), gone.into_iter().collect())
    }

    /// All ports are to be told again.
    pub(super) fn tell_all(&mut self) {
        self.changed.extend(self.ports.keys().cloned());
        self.gone.clear();
    }

    fn port(&self, port: &str) -> Option<Guarded> {
        let macs = self.ports.get(port)?;
        let of = |mac| self.leased.get(mac).into_iter().chain(self.shared.get(mac)).flatten();
        let addresses: BTreeSet<IpAddr> = macs.iter().flat_map(of).copied().collect();
        Some(Guarded {
            port: port.into(),
            macs: macs.iter().copied().collect(),
            addresses: addresses.into_iter().collect(),
            any6: self.any6,
            fenced: false,
        })
    }

    fn holds_any(&self, mac: Mac) -> bool {
        self.leased.get(&mac).is_some_and(|of| !of.is_empty())
    }

    fn touch(&mut self, mac: Mac) {
        if let Some(port) = self.at.get(&mac) {
            self.changed.insert(port.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const TWO: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn addr(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn shown(guests: &mut Guests) -> String {
        let (changed, gone) = guests.take_changes();
        let changed = changed.iter().map(|of| {
            format!("{} {} {:?}", of.port, of.macs.len(), of.addresses).replace("10.0.0.", ".")
        });
        changed.chain(gone.iter().map(|port| format!("-{port}"))).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn a_port_is_bound_when_its_guest_has_a_lease() {
        let mut guests = Guests::new(true);
        guests.set_ports(["tap1".into(), "tap2".into()].into());
        assert_eq!(shown(&mut guests), "tap1 0 [] | tap2 0 []");
        guests.place(ONE, "tap1");
        assert_eq!(shown(&mut guests), "", "without a lease it may be anybody");
        guests.set_holder(addr(7), Some(ONE));
        assert_eq!(guests.unplaced().collect::<Vec<_>>(), [ONE]);
        guests.place(ONE, "tap1");
        assert_eq!(shown(&mut guests), "tap1 1 [.7]");
        guests.place(ONE, "tap2");
        assert_eq!(shown(&mut guests), "", "somebody forges it");
        guests.set_holder(addr(7), None);
        assert_eq!(shown(&mut guests), "tap1 1 []");
        guests.set_holder(addr(8), Some(ONE));
        assert_eq!(shown(&mut guests), "tap1 1 [.8]");
    }

    #[test]
    fn who_moved_is_placed_when_the_old_port_is_gone() {
        let mut guests = Guests::new(false);
        guests.set_ports(["tap1".into(), "tap2".into()].into());
        guests.set_holder(addr(7), Some(ONE));
        guests.place(ONE, "tap1");
        shown(&mut guests);
        guests.set_ports(["tap2".into()].into());
        guests.place(ONE, "tap2");
        assert_eq!(shown(&mut guests), "tap2 1 [.7] | -tap1");
        guests.set_holder(addr(7), Some(TWO));
        guests.place(TWO, "elsewhere");
        assert_eq!(shown(&mut guests), "tap2 1 []");
        guests.set_ports(["tap1".into(), "tap2".into()].into());
        assert_eq!(shown(&mut guests), "tap1 0 []");
    }

    #[test]
    fn a_standby_may_say_what_it_shares() {
        let mut guests = Guests::new(true);
        guests.set_ports(["tap2".into()].into());
        guests.set_holder(addr(8), Some(TWO));
        guests.place(TWO, "tap2");
        guests.set_shared([(TWO, [addr(7)].into())].into());
        assert_eq!(shown(&mut guests), "tap2 1 [.7, .8]");
        guests.set_shared(BTreeMap::new());
        assert_eq!(shown(&mut guests), "tap2 1 [.8]");
        guests.tell_all();
        assert_eq!(shown(&mut guests), "tap2 1 [.8]");
    }
}
