//! What the gate is to let through: sets of the kernel, and how one state of them becomes another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

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
    /// Ports that say only what is their own, and the hardware addresses that they send from.
    pub guarded: BTreeMap<Port, BTreeSet<Mac>>,
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
            Set::Macs => {
                let pairs =
                    self.guarded.iter().flat_map(|(p, macs)| macs.iter().map(move |m| (p, m)));
                // The kernel keeps each part of a key in whole words.
                pairs.map(|(port, mac)| of(port, [&mac.0[..], &[0; 2]].concat())).collect()
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

    /// Adds all elements.
    pub(super) fn write_all(&self, writer: &mut Writer) {
        for set in Set::ALL {
            let keys = self.elements(set);
            let keys: Vec<&Key> = keys.iter().collect();
            write_elements(writer, kind::NEW_ELEMENT, flag::CREATE, set, &keys);
        }
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
    fn many_elements_are_several_messages() {
        let ips = (0..10_000u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()));
        let rules = Rules { silent: ips.map(|ip| (port("vm1"), ip)).collect(), ..Rules::default() };
        let (bytes, _) = rules.change_from(&Rules::default()).unwrap().commit();
        let longest = answers(&bytes).map(|m| m.body.len()).max().unwrap();
        assert!(longest < 1 << 16, "{longest} bytes");
        assert_eq!(answers(&bytes).count(), 2 * 10_000usize.div_ceil(CHUNK / 32) + 2);
    }
}
