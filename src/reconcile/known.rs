//! What is known of a network, and what holders of an address mean in its light.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::addr6::{Prefix6, Range6};
use crate::base::{Mac, Prefix4, Range4, Timestamp};

use super::finding::Kind;
use super::seen::{NO_ADDR, Server};

/// To whom an address belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The hardware address of its holder, if known.
    pub mac: Option<Mac>,
    /// It is leased: its client is expected to answer, and anybody else has taken it away. Else it
    /// is offered, held or declared, and whoever else answers sits in the pool.
    pub leased: bool,
}

/// An address that two hosts share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Who speaks for it.
    pub active: Mac,
    /// Who is not to.
    pub standby: Mac,
}

/// Servers that may be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// By their hardware address.
    pub macs: BTreeSet<Mac>,
    /// By their address.
    pub addrs: BTreeSet<IpAddr>,
    /// All of them: nobody knows who is to be there.
    pub all: bool,
}

impl Allowed {
    fn allows(&self, addr: IpAddr, mac: Mac) -> bool {
        self.all || self.macs.contains(&mac) || (addr != NO_ADDR && self.addrs.contains(&addr))
    }
}

/// What is known of one network at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// When it was so; [`Timestamp::NEVER`] if it does not change.
    pub as_of: Timestamp,
    /// The IPv4 subnets of the link: claims for other addresses are nobody's business here.
    pub subnets4: Vec<Prefix4>,
    /// The IPv6 prefixes of the link.
    pub subnets6: Vec<Prefix6>,
    /// IPv4 addresses that only the server gives out.
    pub pools4: Vec<Range4>,
    /// IPv6 addresses that only the server gives out.
    pub pools6: Vec<Range6>,
    /// Addresses that belong to somebody.
    pub bound: BTreeMap<IpAddr, Bound>,
    /// Addresses that two share.
    pub pairs: BTreeMap<IpAddr, Pair>,
    /// This host's own addresses.
    pub own: BTreeSet<IpAddr>,
    /// This host's own hardware addresses, and how it is called by that of the link.
    pub own_macs: BTreeSet<Mac>,
    /// The hardware address of the link that is asked.
    pub own_mac: Mac,
    /// Hardware addresses that belong to one host each, which may answer with any of its own.
    pub hosts: Vec<BTreeSet<Mac>>,
    /// DHCP servers that may be there.
    pub servers: Allowed,
    /// Routers that may be there. They may also answer for others (proxy ARP).
    pub routers: Allowed,
}

impl Known {
    /// Whether `addr` is one of the link, and can be a host's.
    pub fn is_of_link(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => self.subnets4.iter().any(|subnet| subnet.is_host(addr)),
            IpAddr::V6(addr) => {
                addr.is_unicast_link_local() || self.subnets6.iter().any(|s| s.is_host(addr))
            }
        }
    }

    /// Whether `addr` is one that only the server gives out.
    pub fn is_pooled(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => self.pools4.iter().any(|pool| pool.contains(addr)),
            IpAddr::V6(addr) => self.pools6.iter().any(|pool| pool.contains(addr)),
        }
    }

    /// Whether `mac` may speak for `addr`.
    pub fn is_bound_to(&self, addr: IpAddr, mac: Mac) -> bool {
        let is = |other: Mac| self.is_same_host(mac, other);
        let bound = self.bound.get(&addr);
        bound.is_some_and(|bound| bound.mac.is_none_or(is))
            || self.pairs.get(&addr).is_some_and(|pair| is(pair.active) || is(pair.standby))
    }

    /// Whether it says something that `mac` answers for `addr`, beside who else does: an address
    /// that is not its own. IPv6 hosts make themselves addresses, as many as they like.
    pub(super) fn is_foreign(&self, addr: IpAddr, mac: Mac) -> bool {
        let of_another = || self.bound.contains_key(&addr) || self.pairs.contains_key(&addr);
        let matters = addr.is_ipv4() || self.is_pooled(addr) || of_another();
        matters && !self.is_bound_to(addr, mac)
    }

    /// Whether both are of one host.
    pub fn is_same_host(&self, one: Mac, other: Mac) -> bool {
        let share = |host: &BTreeSet<Mac>| host.contains(&one) && host.contains(&other);
        one == other || self.hosts.iter().any(share)
    }

    /// Whether it is one of this host's own.
    pub fn is_own_mac(&self, mac: Mac) -> bool {
        mac == self.own_mac || self.own_macs.contains(&mac)
    }

    /// Whom one would expect to answer for `addr`.
    pub(super) fn expected(&self, addr: IpAddr) -> impl Iterator<Item = Mac> + use<> {
        let bound = self.bound.get(&addr).and_then(|bound| bound.mac);
        let active = self.pairs.get(&addr).map(|pair| pair.active);
        bound.into_iter().chain(active)
    }

    /// The kind of finding that a server is, if it is one.
    pub(super) fn judge_server(&self, server: Server, addr: IpAddr, mac: Mac) -> Option<Kind> {
        let (allowed, kind) = match server {
            Server::Dhcp4 => (&self.servers, Kind::RogueDhcp),
            Server::Dhcp6 => (&self.servers, Kind::RogueDhcpV6),
            Server::Router => (&self.routers, Kind::RogueRa),
        };
        let is_known = self.is_own_mac(mac) || allowed.allows(addr, mac);
        (!is_known).then_some(kind)
    }

    /// What it means that `holders`, and nobody else, answer for `addr`: the finding and who is to
    /// blame, or at odds. Two MACs of one host are one holder.
    pub fn judge(&self, addr: IpAddr, holders: &[Mac]) -> Option<(Kind, Vec<Mac>)> {
        let mut others: Vec<Mac> =
            holders.iter().copied().filter(|mac| !self.is_own_mac(*mac)).collect();
        others.sort();
        others.dedup();
        if self.own.contains(&addr) {
            let duplicate = || (Kind::duplicate(addr), with(&others, self.own_mac));
            return (!others.is_empty()).then(duplicate);
        }
        let mut owner = self.bound.get(&addr).and_then(|bound| bound.mac);
        if let Some(Pair { active, standby }) = self.pairs.get(&addr) {
            if others.iter().any(|mac| self.is_same_host(*mac, *standby)) {
                return Some((Kind::StandbySpeaks, vec![*standby]));
            }
            owner = Some(*active);
        }
        let leased = self.pairs.contains_key(&addr)
            || self.bound.get(&addr).is_some_and(|bound| bound.leased);
        if let Some(owner) = owner {
            let strangers: Vec<Mac> =
                others.iter().copied().filter(|mac| !self.is_same_host(*mac, owner)).collect();
            return match (strangers.is_empty(), strangers.len() == others.len()) {
                (true, _) => None,
                (false, false) => Some((Kind::duplicate(addr), others)),
                (false, true) if leased => Some((Kind::LeaseHijack, strangers)),
                (false, true) => Some((self.squatted(addr, &strangers)?, strangers)),
            };
        }
        if self.bound.contains_key(&addr) {
            return (self.hosts_among(&others) > 1).then(|| (Kind::duplicate(addr), others));
        }
        Some((self.squatted(addr, &others)?, others))
    }

    /// `others` answer for an address that is not theirs.
    fn squatted(&self, addr: IpAddr, others: &[Mac]) -> Option<Kind> {
        match self.hosts_among(others) {
            0 => None,
            1 => self.is_pooled(addr).then_some(Kind::StaticInPool),
            _ => Some(Kind::duplicate(addr)),
        }
    }

    fn hosts_among(&self, macs: &[Mac]) -> usize {
        let is_first = |(at, mac): &(usize, &Mac)| {
            !macs.iter().take(*at).any(|earlier| self.is_same_host(*earlier, **mac))
        };
        macs.iter().enumerate().filter(is_first).count()
    }
}

fn with(macs: &[Mac], one: Mac) -> Vec<Mac> {
    let mut all = [macs, &[one]].concat();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
    const C: Mac = Mac([2, 0, 0, 0, 0, 0xc]);
    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn known() -> Known {
        let leased = |mac| Bound { mac: Some(mac), leased: true };
        Known {
            subnets4: vec!["10.0.0.0/24".parse().unwrap()],
            pools4: vec![Range4 { first: [10, 0, 0, 50].into(), last: [10, 0, 0, 99].into() }],
            bound: BTreeMap::from([
                (ip("10.0.0.50"), leased(A)),
                (ip("10.0.0.51"), Bound { mac: Some(A), leased: false }),
                (ip("10.0.0.9"), Bound { mac: None, leased: false }),
                (ip("2001:db8::50"), leased(A)),
            ]),
            pairs: BTreeMap::from([(ip("10.0.0.30"), Pair { active: A, standby: B })]),
            own: BTreeSet::from([ip("10.0.0.1")]),
            own_mac: OWN,
            ..Known::default()
        }
    }

    /// An address, who answers for it, and what that means.
    type Row = (&'static str, &'static [Mac], Option<(Kind, &'static [Mac])>);

    #[test]
    fn holders_mean_what_the_table_says() {
        let rows: &[Row] = &[
            ("10.0.0.50", &[A], None),
            ("10.0.0.50", &[], None),
            ("10.0.0.50", &[B], Some((Kind::LeaseHijack, &[B]))),
            ("10.0.0.50", &[B, A], Some((Kind::DuplicateV4, &[A, B]))),
            ("10.0.0.51", &[B], Some((Kind::StaticInPool, &[B]))),
            ("10.0.0.51", &[A, B], Some((Kind::DuplicateV4, &[A, B]))),
            ("10.0.0.9", &[C], None),
            ("10.0.0.9", &[C, B], Some((Kind::DuplicateV4, &[B, C]))),
            ("10.0.0.60", &[C], Some((Kind::StaticInPool, &[C]))),
            ("10.0.0.60", &[C, B], Some((Kind::DuplicateV4, &[B, C]))),
            ("10.0.0.60", &[OWN], None),
            ("10.0.0.10", &[C], None),
            ("10.0.0.10", &[C, C], None),
            ("10.0.0.10", &[C, OWN], None),
            ("10.0.0.10", &[C, A], Some((Kind::DuplicateV4, &[A, C]))),
            ("10.0.0.30", &[A], None),
            ("10.0.0.30", &[B], Some((Kind::StandbySpeaks, &[B]))),
            ("10.0.0.30", &[A, B], Some((Kind::StandbySpeaks, &[B]))),
            ("10.0.0.30", &[A, C], Some((Kind::DuplicateV4, &[A, C]))),
            ("10.0.0.30", &[C], Some((Kind::LeaseHijack, &[C]))),
            ("10.0.0.1", &[OWN], None),
            ("10.0.0.1", &[C, OWN], Some((Kind::DuplicateV4, &[OWN, C]))),
            ("2001:db8::50", &[A, B], Some((Kind::DuplicateV6, &[A, B]))),
        ];
        for (addr, holders, want) in rows {
            let want = want.map(|(kind, macs)| (kind, macs.to_vec()));
            assert_eq!(known().judge(ip(addr), holders), want, "{addr} {holders:?}");
        }
    }

    #[test]
    fn macs_of_one_host_are_one_holder() {
        let known = Known { hosts: vec![BTreeSet::from([A, B])], ..known() };
        for addr in ["10.0.0.10", "10.0.0.50", "10.0.0.9"] {
            assert_eq!(known.judge(ip(addr), &[A, B]), None, "{addr}");
        }
        let (kind, macs) = known.judge(ip("10.0.0.60"), &[A, B]).unwrap();
        assert_eq!((kind, macs), (Kind::StaticInPool, vec![A, B]));
        assert!(known.judge(ip("10.0.0.10"), &[A, B, C]).is_some());
    }

    #[test]
    fn servers_are_known_by_either_address() {
        let mut known = known();
        let judge = |known: &Known| known.judge_server(Server::Dhcp4, ip("10.0.0.5"), C);
        assert_eq!(judge(&known), Some(Kind::RogueDhcp));
        known.servers.addrs.insert(ip("10.0.0.5"));
        assert_eq!(judge(&known), None);
        known.servers.addrs.clear();
        known.servers.macs.insert(C);
        assert_eq!(judge(&known), None);
        assert_eq!(
            known.judge_server(Server::Router, ip("fe80::5"), C),
            Some(Kind::RogueRa),
            "a DHCP server is no router"
        );
        assert_eq!(known.judge_server(Server::Dhcp4, ip("10.0.0.1"), OWN), None);
        assert!(
            known.judge_server(Server::Dhcp4, ip("10.0.0.1"), B).is_some(),
            "with our address, but not ours"
        );
    }
}
