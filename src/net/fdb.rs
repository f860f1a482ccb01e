//! Forwarding tables of bridges, as far as they fit: forged source addresses must fill neither
//! memory nor the place of others.

use hashbrown::HashMap;

use crate::base::{LinkId, Mac};

/// Entries kept at most, of all watched bridges.
const ENTRIES_MAX: usize = 1 << 17;

/// Behind which port each address was heard last.
#[derive(Debug)]
pub(super) struct Fdb {
    entries: HashMap<(LinkId, Mac), LinkId>,
    /// How many entries each port has.
    of_port: HashMap<LinkId, usize>,
    max: usize,
}

impl Default for Fdb {
    fn default() -> Fdb {
        Fdb { entries: HashMap::new(), of_port: HashMap::new(), max: ENTRIES_MAX }
    }
}

impl Fdb {
    /// The port of `mac` on a bridge.
    pub(super) fn get(&self, bridge: LinkId, mac: Mac) -> Option<LinkId> {
        self.entries.get(&(bridge, mac)).copied()
    }

    /// Notes the port of an address. A port has at most as many entries as are left for others:
    /// one alone fills half of the table, two a third each.
    pub(super) fn insert(&mut self, bridge: LinkId, mac: Mac, port: LinkId) {
        let held = self.of_port.get(&port).copied().unwrap_or(0);
        let left = self.max - self.entries.len().min(self.max);
        let known = self.entries.get(&(bridge, mac)).copied();
        if known == Some(port) {
            return;
        }
        if let Some(other) = known {
            self.remove(bridge, mac, other);
        }
        if held < left {
            self.entries.insert((bridge, mac), port);
            *self.of_port.entry(port).or_default() += 1;
        }
    }

    /// Forgets an address, if it is still behind that port.
    pub(super) fn remove(&mut self, bridge: LinkId, mac: Mac, port: LinkId) {
        if self.get(bridge, mac) != Some(port) {
            return;
        }
        self.entries.remove(&(bridge, mac));
        if let Some(count) = self.of_port.get_mut(&port) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_port.remove(&port);
            }
        }
    }

    /// Forgets a bridge.
    pub(super) fn forget(&mut self, bridge: LinkId) {
        self.entries.retain(|(of, _), _| *of != bridge);
        self.of_port.clear();
        for port in self.entries.values() {
            *self.of_port.entry(*port).or_default() += 1;
        }
    }

    /// Takes over what `newer` knows.
    pub(super) fn update(&mut self, newer: &Fdb) {
        for ((bridge, mac), port) in &newer.entries {
            self.insert(*bridge, *mac, *port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIDGE: LinkId = LinkId(1);

    fn mac(port: u32, n: u32) -> Mac {
        let [_, _, a, b] = n.to_be_bytes();
        Mac([2, 0, 0, port as u8, a, b])
    }

    #[test]
    fn a_flood_through_one_port_leaves_room_for_the_others() {
        let mut fdb = Fdb { max: 1000, ..Fdb::default() };
        (0..5000).for_each(|n| fdb.insert(BRIDGE, mac(2, n), LinkId(2)));
        assert_eq!(fdb.entries.len(), 500);
        (0..200).for_each(|n| fdb.insert(BRIDGE, mac(3, n), LinkId(3)));
        assert!((0..200).all(|n| fdb.get(BRIDGE, mac(3, n)) == Some(LinkId(3))));
        (0..5000).for_each(|n| fdb.insert(BRIDGE, mac(4, n), LinkId(4)));
        assert_eq!(fdb.entries.len(), 850);
    }

    #[test]
    fn counts_follow_what_moves_and_goes() {
        let mut fdb = Fdb { max: 10, ..Fdb::default() };
        fdb.insert(BRIDGE, mac(2, 1), LinkId(2));
        fdb.insert(BRIDGE, mac(2, 1), LinkId(3));
        assert_eq!(fdb.get(BRIDGE, mac(2, 1)), Some(LinkId(3)));
        fdb.remove(BRIDGE, mac(2, 1), LinkId(2));
        assert_eq!(fdb.get(BRIDGE, mac(2, 1)), Some(LinkId(3)), "told late of where it was");
        assert_eq!(fdb.of_port.get(&LinkId(2)), None);
        fdb.insert(LinkId(9), mac(2, 1), LinkId(3));
        fdb.forget(BRIDGE);
        assert_eq!((fdb.entries.len(), fdb.of_port.get(&LinkId(3))), (1, Some(&1)));
        fdb.remove(LinkId(9), mac(2, 1), LinkId(3));
        assert!(fdb.of_port.is_empty());
    }
}
