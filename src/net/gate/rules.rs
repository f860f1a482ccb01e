//! What the gate is to let through: sets of the kernel, and how one state of them becomes another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::base::Mac;

use super::message::{Writer, flag, kind};
use super::ruleset::{Set, TABLE};

/// The name of a network interface: 1 to 15 bytes, no slash and no space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port([u8; Port::BYTES]);

/// A name that no interface has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of an interface, want 1 to 15 bytes without space and slash")]
pub struct BadPort(pub String);

impl Port {
    const BYTES: usize = 16;

    /// The port of that name.
    pub fn new(name: &str) -> Result<Port, BadPort> {
        let bad = |b: u8| b == b'/' || b == 0 || b.is_ascii_whitespace();
        if name.is_empty() || name.len() >= Port::BYTES || name.bytes().any(bad) {
            return Err(BadPort(name.into()));
        }
        let mut bytes = [0; Port::BYTES];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Port(bytes))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        let len = self.0.iter().position(|b| *b == 0).unwrap_or(Port::BYTES);
        std::str::from_utf8(&self.0[..len]).unwrap_or_default()
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is to hold on a host's bridges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Ports of guests: what they send is in one VLAN at most.
    pub guests: BTreeSet<Port>,
    /// Addresses that a port neither speaks for nor hears of, though whoever is behind it has them:
    /// they are another's. An address is the same in every VLAN.
    pub silent: BTreeSet<(Port, IpAddr)>,
    /// Addresses that were a port's a moment ago: its ARP and neighbour discovery of them are
    /// silent, and IP still passes, since neighbours have yet to hear of the new holder.
    pub leaving: BTreeSet<(Port, IpAddr)>,
    /// Ports that say only what is their own, and the hardware addresses that they send from. Of a
    /// port without any nothing is known yet: it is no DHCP server and no router, and its sources
    /// are not asked for.
    pub guarded: BTreeMap<Port, BTreeSet<Mac>>,
    /// Guarded ports whose global IPv6 addresses are not asked for: guests make those themselves
    /// (RFC 4862 s5.5, RFC 8981).
    pub any6: BTreeSet<Port>,
    /// Ports that nothing comes from at all.
    pub fenced: BTreeSet<Port>,
    /// The addresses that guarded ports send from. Link-local IPv6 addresses are not asked for.
    pub sources: BTreeSet<(Port, IpAddr)>,
    /// Addresses of DHCP servers and routers: clients may renew there by unicast, and no guarded
    /// port speaks for them.
    pub servers: BTreeSet<IpAddr>,
    /// Messages to DHCP servers that a guarded port may send in a second; no limit if `None`.
    pub dhcp_per_s: Option<u32>,
}

/// An element of a set, as the kernel has it.
pub(super) type Key = Vec<u8>;

/// Bytes of elements in one message: the length of an attribute has 16 bits.
const CHUNK: usize = 32 << 10;

impl Rules {
    /// The elements of a set.
    pub(super) fn elements(&self, set: Set) -> BTreeSet<Key> {
        let v4 = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => Some(ip.octets().to_vec()),
            IpAddr::V6(_) => None,
        };
        let v6 = |ip: &IpAddr| match ip {
            IpAddr::V6(ip) => Some(ip.octets().to_vec()),
            IpAddr::V4(_) => None,
        };
        let of = |port: &Port, key: Key| [&port.0[..], &key].concat();
        let pair4 = |(port, ip): &(Port, IpAddr)| v4(ip).map(|key| of(port, key));
        let pair6 = |(port, ip): &(Port, IpAddr)| v6(ip).map(|key| of(port, key));
        match set {
            Set::Guests => {
                let all = self.guests.iter().chain(self.guarded.keys());
                all.map(|port| port.0.to_vec()).collect()
            }
            Set::Guarded => self.guarded.keys().map(|port| port.0.to_vec()).collect(),
            Set::Bound => self.bound().map(|port| port.0.to_vec()).collect(),
            Set::Bound6 => {
                let bound = self.bound().filter(|port| !self.any6.contains(port));
                bound.map(|port| port.0.to_vec()).collect()
            }
            Set::Fenced => self.fenced.iter().map(|port| port.0.to_vec()).collect(),
            Set::Macs => {
                let pairs =
                    self.guarded.iter().flat_map(|(p, macs)| macs.iter().map(move |m| (p, m)));
                pairs.map(|(port, mac)| mac_key(port, *mac)).collect()
            }
            Set::Sources4 => self.sources.iter().filter_map(pair4).collect(),
            Set::Sources6 => self.sources.iter().filter_map(pair6).collect(),
            Set::Servers4 => self.servers.iter().filter_map(v4).collect(),
            Set::Servers6 => self.servers.iter().filter_map(v6).collect(),
            Set::Silent4 => self.silent.iter().filter_map(pair4).collect(),
            Set::Silent6 => self.silent.iter().filter_map(pair6).collect(),
            Set::Unnamed4 => self.silent.union(&self.leaving).filter_map(pair4).collect(),
            Set::Unnamed6 => self.silent.union(&self.leaving).filter_map(pair6).collect(),
            Set::Asked => BTreeSet::new(),
        }
    }

    /// The messages that bring the kernel from `before` to these. `None` if they are the same.
    pub(super) fn change_from(&self, before: &Rules) -> Option<Writer> {
        let mut writer = Writer::transaction();
        let mut changed = false;
        for (gone, kind, flags) in
            [(true, kind::DEL_ELEMENT, 0), (false, kind::NEW_ELEMENT, flag::CREATE)]
        {
            for set in Set::ALL {
                let (old, new) = (before.elements(set), self.elements(set));
                let (from, without) = if gone { (&old, &new) } else { (&new, &old) };
                let keys: Vec<&Key> = from.difference(without).collect();
                changed |= !keys.is_empty();
                write_elements(&mut writer, kind, flags, set, &keys);
            }
        }
        changed.then_some(writer)
    }

    fn bound(&self) -> impl Iterator<Item = &Port> {
        self.guarded.iter().filter(|(_, macs)| !macs.is_empty()).map(|(port, _)| port)
    }

    /// Takes away what is in `gone`, then adds what is in `new`, and the messages that bring the
    /// kernel there; `None` if nothing changes. Costs as much as is in both, however much there is
    /// beside. A guarded port that is gone is so with all that is its own but its sources; the limit
    /// of `new` does not count.
    pub(super) fn alter(&mut self, gone: &Rules, new: &Rules) -> Option<Writer> {
        let mut touched: Vec<(Set, Key)> = Vec::new();
        for set in Set::ALL {
            let mut keys = gone.elements(set);
            keys.append(&mut new.elements(set));
            touched.extend(keys.into_iter().map(|key| (set, key)));
        }
        // What a port is bound by follows from more than is named.
        for port in gone.guarded.keys().chain(new.guarded.keys()) {
            let known = self.guarded.get(port).into_iter().flatten();
            touched.extend(known.map(|mac| (Set::Macs, mac_key(port, *mac))));
        }
        for port in [&gone.any6, &new.any6].into_iter().flatten().chain(gone.guarded.keys()) {
            touched.extend([Set::Bound, Set::Bound6].map(|set| (set, port.0.to_vec())));
        }
        touched.extend(
            new.guarded
                .keys()
                .flat_map(|port| [Set::Bound, Set::Bound6].map(|set| (set, port.0.to_vec()))),
        );
        touched.sort_unstable_by(|a, b| (a.0 as u8, &a.1).cmp(&(b.0 as u8, &b.1)));
        touched.dedup();
        let before: Vec<bool> = touched.iter().map(|(set, key)| self.has(*set, key)).collect();
        self.take_away(gone);
        self.add(new);
        let mut writer = Writer::transaction();
        let mut changed = false;
        for (kind, flags) in [(kind::DEL_ELEMENT, 0), (kind::NEW_ELEMENT, flag::CREATE)] {
            for set in Set::ALL {
                let was_there = kind == kind::DEL_ELEMENT;
                let keys: Vec<&Key> = (touched.iter().zip(&before))
                    .filter(|((of, key), was)| {
                        *of == set && **was == was_there && self.has(set, key) != was_there
                    })
                    .map(|((_, key), _)| key)
                    .collect();
                changed |= !keys.is_empty();
                write_elements(&mut writer, kind, flags, set, &keys);
            }
        }
        changed.then_some(writer)
    }

    fn take_away(&mut self, gone: &Rules) {
        remove_all(&mut self.guests, &gone.guests);
        remove_all(&mut self.silent, &gone.silent);
        remove_all(&mut self.leaving, &gone.leaving);
        for port in gone.guarded.keys() {
            self.guarded.remove(port);
        }
        remove_all(&mut self.any6, &gone.any6);
        remove_all(&mut self.fenced, &gone.fenced);
        remove_all(&mut self.sources, &gone.sources);
        remove_all(&mut self.servers, &gone.servers);
    }

    fn add(&mut self, new: &Rules) {
        self.guests.extend(&new.guests);
        self.silent.extend(&new.silent);
        self.leaving.extend(&new.leaving);
        for (port, macs) in &new.guarded {
            self.guarded.entry(*port).or_default().extend(macs);
        }
        self.any6.extend(&new.any6);
        self.fenced.extend(&new.fenced);
        self.sources.extend(&new.sources);
        self.servers.extend(&new.servers);
    }

    /// Whether a set has an element.
    fn has(&self, set: Set, key: &[u8]) -> bool {
        let Some((name, rest)) = key.split_first_chunk::<{ Port::BYTES }>() else {
            return ip(key).is_some_and(|ip| self.servers.contains(&ip));
        };
        let port = Port(*name);
        let pair = || ip(rest).map(|ip| (port, ip));
        let is_in = |of: &BTreeSet<(Port, IpAddr)>| pair().is_some_and(|pair| of.contains(&pair));
        let is_bound = || self.guarded.get(&port).is_some_and(|macs| !macs.is_empty());
        match set {
            Set::Guests => self.guests.contains(&port) || self.guarded.contains_key(&port),
            Set::Guarded => self.guarded.contains_key(&port),
            Set::Bound => is_bound(),
            Set::Bound6 => is_bound() && !self.any6.contains(&port),
            Set::Fenced => self.fenced.contains(&port),
            Set::Macs => {
                let mac = rest.first_chunk().map(|mac| Mac(*mac));
                let macs = self.guarded.get(&port);
                mac.is_some_and(|mac| macs.is_some_and(|macs| macs.contains(&mac)))
            }
            Set::Sources4 | Set::Sources6 => is_in(&self.sources),
            Set::Silent4 | Set::Silent6 => is_in(&self.silent),
            Set::Unnamed4 | Set::Unnamed6 => is_in(&self.silent) || is_in(&self.leaving),
            // A server's key of 16 bytes has no rest.
            Set::Servers4 | Set::Servers6 => self.servers.contains(&Ipv6Addr::from(*name).into()),
            Set::Asked => false,
        }
    }

    /// Adds all elements.
    pub(super) fn write_all(&self, writer: &mut Writer) {
        for set in Set::ALL {
            let keys = self.elements(set);
            let keys: Vec<&Key> = keys.iter().collect();
            write_elements(writer, kind::NEW_ELEMENT, flag::CREATE, set, &keys);
        }
    }
}

/// The kernel keeps each part of a key in whole words.
fn mac_key(port: &Port, mac: Mac) -> Key {
    [&port.0[..], &mac.0, &[0; 2]].concat()
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4().or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

fn remove_all<T: Ord>(from: &mut BTreeSet<T>, what: &BTreeSet<T>) {
    for one in what {
        from.remove(one);
    }
}

fn write_elements(writer: &mut Writer, kind: u16, flags: u16, set: Set, keys: &[&Key]) {
    // Each key is in three attributes with a header of 4 bytes.
    for keys in keys.chunks(CHUNK / (set.key_bytes() + 12)) {
        writer.message(kind, flags, |w| {
            w.name(1, TABLE).name(2, set.name()).nested(3, |w| {
                for key in keys {
                    w.nested(1, |w| {
                        w.nested(1, |w| {
                            w.bytes(1, key);
                        });
                    });
                }
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::answers;
    use super::*;

    fn port(name: &str) -> Port {
        Port::new(name).unwrap()
    }

    #[test]
    fn names_of_ports_are_checked() {
        assert_eq!(port("tap0").name(), "tap0");
        assert_eq!(port("a23456789012345").name(), "a23456789012345");
        for bad in ["", "a234567890123456", "a/b", "a b", "a\0b"] {
            assert_eq!(Port::new(bad), Err(BadPort(bad.into())));
        }
    }

    #[test]
    fn a_change_is_what_differs() {
        let ip: IpAddr = "10.0.0.7".parse().unwrap();
        let (active, standby) = (port("vm1"), port("vm2"));
        let guests = [active, standby].into();
        let before = Rules { guests, silent: [(standby, ip)].into(), ..Rules::default() };
        let after = Rules { silent: [(active, ip)].into(), ..before.clone() };
        let (bytes, acknowledged) = after.change_from(&before).unwrap().commit();
        let kinds: Vec<u16> = answers(&bytes).map(|m| m.kind & 0xff).collect();
        let (gone, new) = ([kind::DEL_ELEMENT; 2], [kind::NEW_ELEMENT; 2]);
        assert_eq!(kinds, [&[0x10][..], &gone, &new, &[0x11]].concat());
        assert_eq!(acknowledged, 5);
        assert!(after.change_from(&after).is_none());
    }

    #[test]
    fn what_is_altered_is_as_if_made_anew() {
        let ips: [IpAddr; 2] = ["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let (one, two) = (port("vm1"), port("vm2"));
        let macs = |n| BTreeSet::from([Mac([2, 0, 0, 0, 0, n])]);
        let parts = [
            Rules { guarded: [(one, BTreeSet::new())].into(), ..Rules::default() },
            Rules { guarded: [(one, macs(1))].into(), any6: [one].into(), ..Rules::default() },
            Rules { sources: ips.map(|ip| (one, ip)).into(), ..Rules::default() },
            Rules { guarded: [(two, macs(2))].into(), fenced: [two].into(), ..Rules::default() },
            Rules { silent: ips.map(|ip| (two, ip)).into(), ..Rules::default() },
            Rules { leaving: ips.map(|ip| (two, ip)).into(), ..Rules::default() },
            Rules { servers: ips.into(), guests: [one].into(), ..Rules::default() },
        ];
        let mut rules = Rules::default();
        let mut kernel: Vec<BTreeSet<Key>> = Set::ALL.map(|_| BTreeSet::new()).into();
        let empty = Rules::default();
        for n in 0..200usize {
            let (gone, new) = (&parts[n * 5 % 7], &parts[n * 3 % 7]);
            let (gone, new) = if n % 3 == 0 { (&empty, new) } else { (gone, new) };
            let before = rules.clone();
            let writer = rules.alter(gone, new);
            assert_eq!(writer.is_some(), rules.change_from(&before).is_some(), "step {n}");
            // The same elements, whether told apart or by what both states have.
            let bytes = |writer: Option<Writer>| writer.map(|w| w.commit().0.len());
            assert_eq!(bytes(writer), bytes(rules.change_from(&before)), "step {n}");
            for (set, known) in Set::ALL.into_iter().zip(&mut kernel) {
                *known = rules.elements(set);
                assert!(known.iter().all(|key| rules.has(set, key)), "{set:?} {n}");
            }
        }
    }

    #[test]
    fn many_elements_are_several_messages() {
        let ips = (0..10_000u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()));
        let rules = Rules { silent: ips.map(|ip| (port("vm1"), ip)).collect(), ..Rules::default() };
        let (bytes, _) = rules.change_from(&Rules::default()).unwrap().commit();
        let longest = answers(&bytes).map(|m| m.body.len()).max().unwrap();
        assert!(longest < 1 << 16, "{longest} bytes");
        assert_eq!(answers(&bytes).count(), 2 * 10_000usize.div_ceil(CHUNK / 32) + 2);
    }
}
