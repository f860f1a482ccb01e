//! The IPv6 part of the [policy](super::policy): what it has in common with IPv4 is there.

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::base::addr::write_hex;
use crate::base::{HwAddr, NetworkId, Prefix6, Span};

use super::policy::{Bytes, ClassId, LeaseTimes, Matcher, Network, Settings};

/// What a network says of IPv6 beside its subnets and reservations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network6 {
    /// Sent with every ADVERTISE (RFC 9915 s21.8); none is sent by default, which counts as 0.
    pub preference: Option<u8>,
    /// Which relays are believed for this network, by their source or link address; none by
    /// default.
    pub relays6: Vec<Prefix6>,
    /// Router advertisements; none are sent by default.
    pub ra: Option<RaPolicy>,
}

/// `[network.router_advertisements]` (RFC 4861 s6.2.1), every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaPolicy {
    /// M flag: addresses are given by DHCPv6. By default where the network has some to give.
    pub managed: bool,
    /// O flag: options are given by DHCPv6. By default where the network has some to give.
    pub other: bool,
    /// Whether this host routes for the link; if not, the lifetime sent is 0.
    pub router: bool,
    /// Router Lifetime where `router` holds (default three times `max_interval`).
    pub router_lifetime: Span,
    /// Least time between unsolicited advertisements (default 200 s).
    pub min_interval: Span,
    /// Most time between unsolicited advertisements (default 600 s).
    pub max_interval: Span,
    /// MTU option, in bytes; none by default.
    pub mtu: Option<u32>,
    /// Prefix information, ascending; by default the network's subnets on the link.
    pub prefixes: Vec<RaPrefix>,
    /// DNS servers (RFC 8106 s5.1); by default those of `options6`.
    pub rdnss: Vec<Ipv6Addr>,
    /// Search list (RFC 8106 s5.2), names as text; by default that of `options6`.
    pub dnssl: Vec<Arc<str>>,
    /// Lifetime of both (default three times `max_interval`).
    pub dns_lifetime: Span,
    /// NAT64 prefix and its lifetime, a multiple of 8 s (RFC 8781); none by default.
    pub pref64: Option<(Prefix6, Span)>,
    /// A final advertisement with lifetime 0 when the server stops (off by default).
    pub goodbye: bool,
}

/// A prefix information option (RFC 4861 s4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaPrefix {
    /// The prefix.
    pub prefix: Prefix6,
    /// L flag: its addresses are reached without a router (default yes).
    pub on_link: bool,
    /// A flag: hosts may make addresses of it by themselves (default no).
    pub autonomous: bool,
    /// Valid lifetime (default 30 d); [`Span::FOREVER`] where the file says `"infinite"`.
    pub valid: Span,
    /// Preferred lifetime (default 7 d), at most `valid`.
    pub preferred: Span,
}

/// An IPv6 subnet.
#[derive(Clone, Debug)]
pub struct Subnet6 {
    /// Its prefix.
    pub prefix: Prefix6,
    /// Where it is, if it says so.
    pub region: Option<Arc<str>>,
    /// Options, boot fields, times and account at subnet level.
    pub settings: Settings,
    /// Disjoint and in ascending order.
    pub pools: Vec<Pool6>,
    /// Prefixes to delegate to clients here; disjoint and in ascending order.
    pub delegations: Vec<DelegationPool>,
    /// Clients behind a relay with one of these interface-ids (RFC 9915 s21.18) are here.
    pub interface_ids: Vec<Bytes>,
}

/// A range of addresses that are given to whoever asks and may.
#[derive(Clone, Debug)]
pub struct Pool6 {
    /// Lowest address.
    pub first: Ipv6Addr,
    /// Highest address.
    pub last: Ipv6Addr,
    /// Inclusive ranges that are never given dynamically: `exclude`, reserved addresses and the
    /// anycast addresses of the subnet; disjoint and in ascending order.
    pub excluded: Vec<(Ipv6Addr, Ipv6Addr)>,
    /// How a new address is chosen.
    pub generate: Generate,
    /// If not empty: only clients of one of these classes.
    pub allow: Vec<ClassId>,
    /// Never clients of one of these classes.
    pub deny: Vec<ClassId>,
    /// Options, boot fields and times at pool level.
    pub settings: Settings,
}

/// `generate` of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Generate {
    /// One after another; what pools written as a range do.
    #[default]
    Iterative,
    /// Not guessable (RFC 7707 s4); what pools written as a prefix do.
    Random,
    /// The same for the same client, also after its lease is forgotten (RFC 7943).
    Stable,
}

/// Prefixes that are delegated to whoever asks and may.
#[derive(Clone, Debug)]
pub struct DelegationPool {
    /// What is cut into delegated prefixes.
    pub prefix: Prefix6,
    /// Length of a delegated prefix for clients that ask for none.
    pub length: u8,
    /// Shortest length that a hint may ask for, `prefix.len()` to `length`; `length` by default.
    pub min_length: u8,
    /// Longest length that a hint may ask for, `length` to 128; `length` by default.
    pub max_length: u8,
    /// Reserved prefixes that overlap the pool, never given dynamically; disjoint and ascending.
    pub excluded: Vec<Prefix6>,
    /// The part of each delegated prefix that its holder must not use (RFC 6603).
    pub exclude: Option<PrefixExclude>,
    /// If not empty: only clients of one of these classes.
    pub allow: Vec<ClassId>,
    /// Never clients of one of these classes.
    pub deny: Vec<ClassId>,
    /// Whether a route to each delegated prefix is kept in this host's table (off by default; needs
    /// CAP_NET_ADMIN).
    pub install_route: bool,
    /// Options and times at pool level.
    pub settings: Settings,
}

/// Which part of a delegated prefix is excluded, whatever its length (RFC 6603 s4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixExclude {
    /// Length of the excluded prefix, longer than any delegated one of its pool.
    pub length: u8,
    /// Number of the excluded prefix, from 0, among those of its length in the delegated one.
    pub id: u128,
}

/// Fixed addresses and prefixes of one client.
#[derive(Clone, Debug)]
pub struct Reservation6 {
    /// Who.
    pub host: HostId6,
    /// Addresses within subnets of its network, in the order of the file.
    pub addrs: Vec<Ipv6Addr>,
    /// Prefixes, in the order of the file; inside or outside delegation pools.
    pub prefixes: Vec<Prefix6>,
    /// Host name told to the client (option 39) and written to the hosts file.
    pub hostname: Option<Arc<str>>,
    /// Options, boot fields, times and account of this host.
    pub settings: Settings,
}

/// How a reservation knows its DHCPv6 client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostId6 {
    /// Whole DUID.
    Duid(Bytes),
    /// Hardware address: from the relay (RFC 6939), the link layer or the DUID.
    Hardware(HwAddr),
    /// Whole interface-id of the relay next to the client.
    InterfaceId(Bytes),
}

/// As the configuration says it: the key, and its value.
impl fmt::Display for HostId6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, bytes) = match self {
            HostId6::Hardware(hw) => return write!(f, "mac {hw}"),
            HostId6::Duid(id) => ("duid", id),
            HostId6::InterfaceId(id) => ("interface_id", id),
        };
        write!(f, "{key} ")?;
        write_hex(f, bytes, ":")
    }
}

/// DHCPv6 options of one level, encoded. What `boot_file` (if it is a URL), `boot_file_url` and
/// `boot_params` say is in it as options 59 and 60.
#[derive(Clone, Debug, Default)]
pub struct OptionSet6 {
    /// Ascending by code. An option that stands several times in a message, as vendor options of
    /// several enterprises do (RFC 9915 s21.17), has an entry for each; they are set as one.
    pub entries: Vec<PolicyOption6>,
}

/// One configured DHCPv6 option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyOption6 {
    /// Option code, 1 to 65,535.
    pub code: u16,
    /// Its value on the wire.
    pub data: Bytes,
    /// Sent even if the client did not ask for it.
    pub always: bool,
}

impl OptionSet6 {
    /// Every instance of the option of that code; empty if this level does not set it.
    pub fn get(&self, code: u16) -> &[PolicyOption6] {
        let first = self.entries.partition_point(|o| o.code < code);
        let rest = self.entries.get(first..).unwrap_or_default();
        rest.split(|o| o.code != code).next().unwrap_or_default()
    }
}

impl super::policy::Policy {
    /// The delegations to whose prefixes this host is to have routes, with their networks.
    pub fn routed(&self) -> impl Iterator<Item = (&Network, &DelegationPool)> {
        self.networks.iter().flat_map(|network| network.routed().map(move |pool| (network, pool)))
    }

    /// Whether this host is to have a route to a prefix that is delegated on a network; a reserved
    /// one belongs to the delegation that it lies in.
    pub fn routes_to(&self, network: NetworkId, prefix: Prefix6) -> bool {
        let mut of = self.networks.iter().filter(|n| n.id == network);
        of.any(|network| network.routed().any(|pool| pool.prefix.holds(&prefix)))
    }
}

impl Pool6 {
    /// Whether `addr` is one that this pool gives out.
    pub fn gives(&self, addr: Ipv6Addr) -> bool {
        let after = self.excluded.partition_point(|(first, _)| *first <= addr);
        let gap = after.checked_sub(1).and_then(|at| self.excluded.get(at));
        (self.first..=self.last).contains(&addr) && gap.is_none_or(|(_, last)| *last < addr)
    }
}

impl DelegationPool {
    /// Whether `prefix` is one that this pool delegates.
    pub fn gives(&self, prefix: Prefix6) -> bool {
        self.prefix.holds(&prefix)
            && (self.min_length..=self.max_length).contains(&prefix.len())
            && !self.excluded.iter().any(|taken| taken.overlaps(&prefix))
    }
}

impl PrefixExclude {
    /// The excluded prefix of `delegated`; `None` if that is not shorter or has no such part,
    /// which no pool of a checked policy delegates.
    pub fn of(&self, delegated: Prefix6) -> Option<Prefix6> {
        let bits = self.length.checked_sub(delegated.len()).filter(|bits| *bits > 0)?;
        if self.id.checked_shr(u32::from(bits)).unwrap_or(0) != 0 {
            return None;
        }
        let shift = 128u32.checked_sub(u32::from(self.length))?;
        let addr = delegated.network().to_bits() | self.id.checked_shl(shift)?;
        Prefix6::new(Ipv6Addr::from_bits(addr), self.length)
    }
}

impl Matcher {
    /// Whether a key says something of DHCPv6 alone, so that no DHCPv4 client matches.
    pub fn only_v6(&self) -> bool {
        !(self.duid_prefix.is_empty()
            && self.interface_id.is_empty()
            && self.subscriber_id.is_empty()
            && self.link_address.is_empty())
    }

    /// Whether it looks at nothing but the hardware address, so that a machine can be told to match
    /// before it has said anything.
    pub fn only_mac(&self) -> bool {
        let silent = self.vendor_class.is_empty()
            && self.user_class.is_empty()
            && self.hostname.is_empty()
            && self.arch.is_empty()
            && self.remote_id.is_empty();
        silent && !self.mac_prefix.is_empty() && !self.only_v4() && !self.only_v6()
    }

    /// Whether a key says something of DHCPv4 alone, so that no DHCPv6 client matches.
    pub fn only_v4(&self) -> bool {
        !(self.circuit_id.is_empty() && self.giaddr.is_empty())
    }
}

impl LeaseTimes {
    /// Preferred lifetime of an address with the valid lifetime `valid`, from the times that hold
    /// for it: what is configured, at most `valid`; without that the same as `valid`.
    pub fn preferred_of(&self, valid: Span) -> Span {
        self.preferred.map_or(valid, |preferred| preferred.min(valid))
    }
}

impl Network {
    /// The IPv6 subnet whose prefix holds `addr`.
    pub fn subnet6_of(&self, addr: Ipv6Addr) -> Option<&Subnet6> {
        self.subnets6.iter().find(|s| s.prefix.contains(addr))
    }

    /// Whether an IPv6 subnet is on the link itself, and not one that only relays reach.
    pub fn is_local6(&self, subnet: &Subnet6) -> bool {
        let relayed = !subnet.interface_ids.is_empty()
            || self.v6.relays6.iter().any(|r| r.overlaps(&subnet.prefix));
        !relayed && !self.interfaces.is_empty()
    }

    /// The delegations to whose prefixes this host is to have routes.
    pub fn routed(&self) -> impl Iterator<Item = &DelegationPool> {
        self.subnets6.iter().flat_map(|s| &s.delegations).filter(|pool| pool.install_route)
    }

    /// Whether relays at `addr` are believed for this network.
    pub fn believes6(&self, addr: Ipv6Addr) -> bool {
        self.v6.relays6.iter().any(|p| p.contains(addr))
    }
}
