//! Addresses near one that nobody is known to have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::Mac;

use super::{Ask, Detector, Timestamp};
use crate::reconcile::speakers::UNBOUND_MAX;

/// How far away they may be.
const REACH: u32 = 16;

impl Detector {
    /// Has `mac` asked for addresses near `addr` that nobody has: a proxy has them too.
    pub(super) fn bait(&mut self, addr: IpAddr, mac: Mac, now: Timestamp) {
        if !self.known.is_foreign(addr, mac) || !self.speakers.bait(mac, now) {
            return;
        }
        let free = |addr: &IpAddr| {
            let is_held = self.addrs.get(addr).is_some_and(|entry| !entry.holders.is_empty());
            let is_ours = self.known.own.contains(addr) || self.known.bound.contains_key(addr);
            self.known.is_of_link(*addr) && !is_held && !is_ours
        };
        let near = (1..=REACH).flat_map(|by| [above(addr, by), below(addr, by)]).flatten();
        let baits: Vec<IpAddr> = near.filter(free).take(UNBOUND_MAX + 1).collect();
        for addr in baits {
            self.question(Ask::Who { addr, to: Some(mac) });
        }
    }
}

fn above(addr: IpAddr, by: u32) -> Option<IpAddr> {
    match addr {
        IpAddr::V4(addr) => Some(Ipv4Addr::from_bits(addr.to_bits().checked_add(by)?).into()),
        IpAddr::V6(addr) => {
            Some(Ipv6Addr::from_bits(addr.to_bits().checked_add(u128::from(by))?).into())
        }
    }
}

fn below(addr: IpAddr, by: u32) -> Option<IpAddr> {
    match addr {
        IpAddr::V4(addr) => Some(Ipv4Addr::from_bits(addr.to_bits().checked_sub(by)?).into()),
        IpAddr::V6(addr) => {
            Some(Ipv6Addr::from_bits(addr.to_bits().checked_sub(u128::from(by))?).into())
        }
    }
}
